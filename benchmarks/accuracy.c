/* What the elementwise kernels should give, by the C library in a wider type, and how far off they are.
   accuracy.py compiles it with REAL float and WIDE double, and with REAL double and WIDE long double.
   Written without regard to csrc: in the wider type, with a good library, the plain formula is right. */
#include <math.h>
#include <stddef.h>
#include <tgmath.h>

static const WIDE sqrt_half = 0.707106781186547524400844362104849039L, sqrt_pi = 1.77245385090551602729816748334114518L,
                  sqrt_8_pi = 1.59576912160573071175978423973752747L, cubic = 0.044715L,
                  selu_scale = 1.05070098735548049341933498529460142L,
                  selu_scale_alpha = 1.75809934084737685994021752081231934L;

static WIDE within(WIDE x, WIDE bound) { return fmax(-bound, fmin(x, bound)); } /* not for NaN */
static WIDE logistic(WIDE x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static WIDE log_1_exp(WIDE x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static WIDE sech2(WIDE x) { return 1 / (cosh(x) * cosh(x)); }
static WIDE argument(WIDE x) { return sqrt_8_pi * x * (1 + cubic * x * x); }
static WIDE argument_slope(WIDE x) { return sqrt_8_pi * (1 + 3 * cubic * x * x); }
static WIDE density(WIDE x) { return exp(-x * x / 2) * sqrt_half / sqrt_pi; }
static WIDE share_below(WIDE x) /* erfc of a rounded product, and its slope times what rounding lost */
{
    const WIDE z = -x * sqrt_half, lost = fma(-x, sqrt_half, -z);
    return erfc(z) / 2 - lost * exp(-z * z) / sqrt_pi;
}

/* b is x as far as anything bends */
#define TRUTH(name, formula)                                      \
    void name(WIDE *t, const REAL *from, ptrdiff_t n)             \
    {                                                             \
        for (ptrdiff_t i = 0; i < n; i++) {                       \
            const WIDE x = from[i], b = within(x, 1200);          \
            (void)b;                                              \
            t[i] = isnan(x) ? x : (formula);                      \
        }                                                         \
    }
TRUTH(relu, fmax(x, 0))
TRUTH(relu_derivative, x > 0)
TRUTH(leaky_relu, x > 0 ? x : x / 4)
TRUTH(leaky_relu_derivative, x > 0 ? 1 : (WIDE)0.25)
TRUTH(hardtanh, within(x, 1))
TRUTH(hardtanh_derivative, fabs(x) < 1)
TRUTH(hardsigmoid, (within(x, 3) + 3) / 6)
TRUTH(hardsigmoid_derivative, fabs(x) < 3 ? (WIDE)1 / 6 : 0)
TRUTH(hardswish, x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6)
TRUTH(hardswish_derivative, x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6)
TRUTH(sigmoid, logistic(x))
TRUTH(sigmoid_derivative, logistic(x) * logistic(-x))
TRUTH(sigmoid_backward, x * (1 - x))
TRUTH(tanh_, tanh(x))
TRUTH(tanh_derivative, sech2(x))
TRUTH(tanh_backward, (1 - x) * (1 + x))
TRUTH(softsign, isinf(x) ? copysign((WIDE)1, x) : x / (1 + fabs(x)))
TRUTH(softsign_derivative, 1 / ((1 + fabs(x)) * (1 + fabs(x))))
TRUTH(softplus, log_1_exp(x))
TRUTH(softplus_derivative, logistic(x))
TRUTH(softplus_backward, -expm1(-x))
TRUTH(log_sigmoid, -log_1_exp(-x))
TRUTH(log_sigmoid_derivative, logistic(-x))
TRUTH(log_sigmoid_backward, -expm1(x))
TRUTH(elu, x > 0 ? x : expm1(x))
TRUTH(elu_derivative, x > 0 ? 1 : exp(x))
TRUTH(selu, x > 0 ? selu_scale * x : selu_scale_alpha * expm1(x))
TRUTH(selu_derivative, x > 0 ? selu_scale : selu_scale_alpha * exp(x))
TRUTH(silu, x < -1200 ? 0 : x * logistic(x))
TRUTH(silu_derivative, logistic(b) * (1 + b * logistic(-b)))
TRUTH(mish, x < -1200 ? 0 : x * tanh(log_1_exp(x)))
TRUTH(mish_derivative, tanh(log_1_exp(b)) + b * logistic(b) * sech2(log_1_exp(b)))
TRUTH(gelu, x < -1200 ? 0 : x * share_below(x))
TRUTH(gelu_derivative, share_below(b) + b * density(b))
TRUTH(gelu_tanh, x < -1200 ? 0 : x * logistic(argument(b)))
TRUTH(gelu_tanh_derivative,
      logistic(argument(b)) + b * argument_slope(b) * logistic(argument(b)) * logistic(-argument(b)))

/* The largest error so far in units in the last place of the truth, a truth below 2^least counting as one of 2^least;
   the largest as it is, of a truth below 1; each with its place. */
typedef struct {
    double ulp, ulp_at, absolute, absolute_at;
    long long count, nan_mismatches;
} worst;

void compare(worst *w, const REAL *x, const REAL *y, const WIDE *t, ptrdiff_t n, int least)
{
    const int mantissa = sizeof(REAL) == 4 ? 23 : 52;
    const double half_ulp = ldexp(0.5, -mantissa);
    w->count += n;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (isnan(t[i]) || isnan(y[i])) {
            w->nan_mismatches += !isnan(t[i]) || !isnan(y[i]);
            continue;
        }
        const WIDE error = y[i] == (REAL)t[i] && isinf(y[i]) ? 0 : fabs(y[i] - t[i]);
        if (error > w->absolute && fabs(t[i]) < 1) w->absolute = error, w->absolute_at = x[i];
        if (error <= w->ulp * fabs(t[i]) * half_ulp) continue; /* an ulp is at least that */
        const int e = t[i] == 0 ? least : ilogb(t[i]);
        const double ulp = (double)scalbn(error, mantissa - (e < least ? least : e));
        if (ulp > w->ulp) w->ulp = ulp, w->ulp_at = x[i];
    }
}
