/* Elementwise activations. Included once per REAL by kernels.c.
   Each is three scalar formulas: f(x), f'(x), and dy f' from what is saved of the forward pass.
   Most are written with e = e^-|x| <= 1, so that nothing overflows; E is e lifted (see vmath.h), for what may be
   subnormal. */

/* dy * slope, and 0 where the slope is 0 even if dy is infinite or NaN; masked, as GCC makes branches of a conditional
   product for SSE2 */
FNN_INLINE REAL F(select)(REAL dy, REAL slope) { return F(from_bits)(F(bits)(dy * slope) & -(F(uint))(slope != C(0))); }

FNN_INLINE REAL F(relu)(REAL x) { return x < C(0) ? C(0) : x; }
FNN_INLINE REAL F(relu_derivative)(REAL x) { return x != x ? x : x > C(0) ? C(1) : C(0); }
FNN_INLINE REAL F(relu_backward)(REAL dy, REAL y) { return y > C(0) ? dy : y != y ? y : C(0); }

FNN_INLINE REAL F(leaky_relu)(REAL x, REAL negative_slope) { return x < C(0) ? x * negative_slope : x; }
FNN_INLINE REAL F(leaky_relu_derivative)(REAL x, REAL negative_slope)
{
    return x > C(0) ? C(1) : x != x ? x : negative_slope;
}
FNN_INLINE REAL F(leaky_relu_backward)(REAL dy, REAL x, REAL negative_slope)
{
    const REAL below = F(select)(dy, negative_slope);
    return x > C(0) ? dy : x != x ? x : below;
}

FNN_INLINE REAL F(hardtanh)(REAL x, REAL min_val, REAL max_val)
{
    const REAL y = x < min_val ? min_val : x;
    return max_val < y ? max_val : y;
}
FNN_INLINE REAL F(hardtanh_derivative)(REAL x, REAL min_val, REAL max_val)
{
    return x != x ? x : ((x > min_val) & (x < max_val)) ? C(1) : C(0);
}
FNN_INLINE REAL F(hardtanh_backward)(REAL dy, REAL x, REAL min_val, REAL max_val)
{
    return ((x > min_val) & (x < max_val)) ? dy : x != x ? x : C(0);
}

BOUND(hard_low, -3, -3);
BOUND(hard_high, 3, 3);
FNN_INLINE REAL F(hardsigmoid)(REAL x) { return (F(hardtanh)(x, *F(hard_low), *F(hard_high)) + C(3)) / C(6); }
FNN_INLINE REAL F(hardsigmoid_derivative)(REAL x) { return F(hardtanh_derivative)(x, C(-3), C(3)) * (C(1) / C(6)); }
FNN_INLINE REAL F(hardsigmoid_backward)(REAL dy, REAL x) { return F(hardtanh_backward)(dy * (C(1) / C(6)), x, C(-3), C(3)); }

FNN_INLINE REAL F(hardswish)(REAL x) { return (x < *F(hard_low) ? *F(hard_low) : x) * F(hardsigmoid)(x); }
FNN_INLINE REAL F(hardswish_derivative)(REAL x)
{
    const REAL inside = x / C(3) + C(0.5), low = x > C(-3) ? inside : x != x ? x : C(0);
    return x >= C(3) ? C(1) : low;
}
FNN_INLINE REAL F(hardswish_backward)(REAL dy, REAL x) { return dy * F(hardswish_derivative)(x); }

BOUND(softsign_cap, 0x1p120, 0x1p1000);
FNN_INLINE REAL F(softsign)(REAL x)
{
    const REAL a = F(capped)(x, *F(softsign_cap));
    return F(with_sign_of)(a / (C(1) + a), x);
}
FNN_INLINE REAL F(softsign_derivative)(REAL x)
{
    const REAL r = C(1) / (C(1) + F(abs)(x));
    return r * r;
}
FNN_INLINE REAL F(softsign_backward)(REAL dy, REAL x) { return dy * F(softsign_derivative)(x); }

FNN_INLINE REAL F(sigmoid)(REAL x)
{
    const REAL E = F(exp_minus)(F(capped)(x, *F(exp_cap)));
    return (x < C(0) ? E : FNN_LIFTED_1) / (FNN_LIFTED_1 + E);
}
FNN_INLINE REAL F(sigmoid_derivative)(REAL x) /* (1 + e)^2 as 1 + e (2 + e), which rounds less */
{
    const REAL E = F(exp_minus)(F(capped)(x, *F(exp_cap)));
    return E / (FNN_LIFTED_1 + E * (C(2) + F(lowered)(E)));
}
FNN_INLINE REAL F(sigmoid_slope)(REAL y) { return y * (C(1) - y); }
FNN_INLINE REAL F(sigmoid_backward)(REAL dy, REAL y) { return dy * F(sigmoid_slope)(y); }

FNN_INLINE REAL F(tanh)(REAL x)
{
    const F(exp_and_1) e = F(exp_minus_and_1)(F(capped)(C(2) * x, *F(expm1_cap)));
    return F(with_sign_of)(e.difference / e.sum, x);
}
FNN_INLINE REAL F(tanh_derivative)(REAL x)
{
    const REAL E = F(exp_minus)(F(capped)(C(2) * x, *F(exp_cap)));
    return E / (C(0.25) * FNN_LIFTED_1 + E * (C(0.5) + F(lowered)(C(0.25) * E)));
}
FNN_INLINE REAL F(tanh_slope)(REAL y) { return (C(1) - y) * (C(1) + y); }
FNN_INLINE REAL F(tanh_backward)(REAL dy, REAL y) { return dy * F(tanh_slope)(y); }

FNN_INLINE REAL F(softplus)(REAL x)
{
    const REAL E = F(exp_minus)(F(capped)(x, *F(exp_cap)));
    return (x < C(0) ? C(0) : x) + F(log_quotient)((E + E) / (C(2) * FNN_LIFTED_1 + E));
}
FNN_INLINE REAL F(softplus_derivative)(REAL x) { return F(sigmoid)(x); }
FNN_INLINE REAL F(softplus_slope)(REAL y) { return -F(exp_minus_and_1)(F(capped)(y, *F(expm1_cap))).difference; }
FNN_INLINE REAL F(softplus_backward)(REAL dy, REAL y) { return dy * F(softplus_slope)(y); }

FNN_INLINE REAL F(log_sigmoid)(REAL x) { return -F(softplus)(-x); }
FNN_INLINE REAL F(log_sigmoid_derivative)(REAL x) { return F(sigmoid)(-x); }
FNN_INLINE REAL F(log_sigmoid_slope)(REAL y) { return F(softplus_slope)(-y); }
FNN_INLINE REAL F(log_sigmoid_backward)(REAL dy, REAL y) { return dy * F(log_sigmoid_slope)(y); }

FNN_INLINE REAL F(elu)(REAL x, REAL alpha)
{
    const REAL below = alpha * F(with_sign_of)(F(exp_minus_and_1)(F(capped)(x, *F(expm1_cap))).difference, x);
    return x > C(0) ? x : below;
}
FNN_INLINE REAL F(elu_derivative)(REAL x, REAL alpha)
{
    const REAL below = alpha * F(lowered)(F(exp_minus)(F(capped)(x, *F(exp_cap))));
    return x > C(0) ? C(1) : below;
}
FNN_INLINE REAL F(elu_backward)(REAL dy, REAL x, REAL alpha) { return dy * F(elu_derivative)(x, alpha); }

#define FNN_SELU_SCALE C(1.0507009873554804934)
#define FNN_SELU_SCALE_ALPHA C(1.7580993408473768599)
FNN_INLINE REAL F(selu)(REAL x)
{
    const REAL below = F(elu)(x, FNN_SELU_SCALE_ALPHA);
    return x > C(0) ? x + C(0.0507009873554804934) * x : below; /* rounds once, so that the largest do not overflow */
}
FNN_INLINE REAL F(selu_derivative)(REAL x)
{
    const REAL below = F(lowered)(FNN_SELU_SCALE_ALPHA * F(exp_minus)(F(capped)(x, *F(exp_cap))));
    return x > C(0) ? FNN_SELU_SCALE : below;
}
FNN_INLINE REAL F(selu_backward)(REAL dy, REAL x) { return dy * F(selu_derivative)(x); }

/* x / (1 + e^-u), u of x's sign, given |x| capped where the result ends and e^-|u| lifted */
FNN_INLINE REAL F(gated)(REAL x, REAL a, REAL E)
{
    return (x < C(0) ? -F(lowered)(a * E) : x) / (C(1) + F(lowered)(E));
}
/* An f with f(x) - x/2 even has f'(x) + f'(-x) = 1; `left` is f'(-|x|). */
FNN_INLINE REAL F(mirrored)(REAL x, REAL left) { return x < C(0) ? left : C(1) - left; }

FNN_INLINE REAL F(silu)(REAL x)
{
    const REAL a = F(capped)(x, *F(exp_cap));
    return F(gated)(x, a, F(exp_minus)(a));
}
FNN_INLINE REAL F(silu_derivative)(REAL x)
{
    const REAL a = F(capped)(x, *F(exp_cap)), e = F(lowered)(F(exp_minus)(a)), d = C(1) + e;
    return F(mirrored)(x, e * (d - a) / (d * d));
}
FNN_INLINE REAL F(silu_backward)(REAL dy, REAL x) { return dy * F(silu_derivative)(x); }

/* gelu_tanh(x) = x / (1 + 2^-u), u = U1 x + U3 x^3 */
#define FNN_U1 C(2.30220819814432489)      /* sqrt(8 / pi) / log(2) */
#define FNN_U3 C(0.102943239580023487)     /* 0.044715 times that */
BOUND(gelu_tanh_floor, -10.061, -21.1598); /* -u is FNN_MOST: the result ends here */
BOUND(gelu_tanh_cap, 10.031, 21.1527);     /* -u is FNN_LEAST */
FNN_INLINE REAL F(gelu_tanh)(REAL x)
{
    const REAL b = x < *F(gelu_tanh_floor) ? *F(gelu_tanh_floor) : x;
    const REAL c = *F(gelu_tanh_cap) < b ? *F(gelu_tanh_cap) : b;
    return b / (C(1) + F(exp2)(c * (-FNN_U1 - FNN_U3 * (c * c))));
}
FNN_INLINE REAL F(gelu_tanh_derivative)(REAL x)
{
    const REAL a = F(capped)(x, *F(gelu_tanh_cap)), a2 = a * a, e = F(exp2)(a * (-FNN_U1 - FNN_U3 * a2)), d = C(1) + e;
    const REAL slope = C(1.59576912160573071) + C(0.214064448817800746) * a2; /* of u, times log(2) */
    return F(mirrored)(x, e * (d - a * slope) / (d * d));
}
FNN_INLINE REAL F(gelu_tanh_backward)(REAL dy, REAL x) { return dy * F(gelu_tanh_derivative)(x); }

BOUND(gelu_cap, 14.6, 38.8); /* where the slope ends, a little later than the value */
FNN_INLINE REAL F(gelu)(REAL x)
{
    const REAL a = F(capped)(x, *F(gelu_cap));
    return (x < C(0) ? C(0) : x) - F(lowered)(F(times_mills)(a, a) * F(gauss)(a));
}
FNN_INLINE REAL F(gelu_derivative)(REAL x)
{
    const REAL a = F(capped)(x, *F(gelu_cap));
    return F(mirrored)(x, F(lowered)((F(times_mills)(C(1), a) - a * C(0.39894228040143267794)) * F(gauss)(a)));
}
FNN_INLINE REAL F(gelu_backward)(REAL dy, REAL x) { return dy * F(gelu_derivative)(x); }

/* x tanh(softplus(x)) = x n / (n + 2), n = e^2x + 2 e^x: for x < 0 both halved and lifted, else divided by e^2x */
BOUND(mish_floor, -112, -760); /* minus exp_cap */
FNN_INLINE REAL F(mish)(REAL x)
{
    const REAL b = x < *F(mish_floor) ? *F(mish_floor) : x, E = F(exp_minus)(F(capped)(b, *F(exp_cap)));
    const REAL half = F(lowered)(C(0.5) * E), e = half + half, left = E + E * half, right = C(1) + (e + e);
    return b * (x < C(0) ? left : right) / (x < C(0) ? FNN_LIFTED_1 + left : right + (e + e) * e);
}
/* With d the unlifted divisor above, e (...) / d^2 for x < 0 and 1 + e^2 (...) / d^2 for x >= 0 */
FNN_INLINE REAL F(mish_derivative)(REAL x)
{
    const REAL a = F(capped)(x, *F(exp_cap)), e = F(lowered)(F(exp_minus)(a)), b = C(1) - a;
    const REAL left = e * (b + e * (b + C(0.5) + e * (C(1) + C(0.25) * e)));
    const REAL right = e * e * (C(2) - C(4) * b - C(4) * e * (b + e));
    const REAL d = x < C(0) ? C(1) + e * (C(1) + C(0.5) * e) : C(1) + C(2) * e * (C(1) + e);
    const REAL part = (x < C(0) ? left : right) / (d * d);
    return x < C(0) ? part : C(1) + part;
}
FNN_INLINE REAL F(mish_backward)(REAL dy, REAL x) { return dy * F(mish_derivative)(x); }
