/* exp and its kin as branch-free code that the compiler vectorises. Included once per REAL by kernels.c.

   a) Powers of e are taken of -a, a >= 0 capped by the caller.
   b) NaN flows through everything, so a cap is written `top < a ? top : a`: one instruction (min), if `top` is a
      BOUND. If GCC knows the number it computes what follows for it and for `a`, and selects later (20 % slower).
   c) Nothing relies on a fused multiply-add; where there is one the results are a little better.
   d) The polynomials are minimax fits, lowest power first; their errors are relative to the function named. */
#if FNN_IS_DOUBLE
typedef uint64_t uint_f64;
#else
typedef uint32_t uint_f32;
#endif
#define FNN_MANTISSA (FNN_IS_DOUBLE ? 52 : 23)
#define FNN_ONE_BITS (FNN_IS_DOUBLE ? 0x3ff0000000000000 : 0x3f800000)
#define FNN_HIGH_HALF (FNN_IS_DOUBLE ? 0xfffffffff8000000 : 0xfffff000) /* with the upper half of the mantissa */
#define FNN_ROUND (FNN_IS_DOUBLE ? 0x1.8p52 + 1023 : 0x1.8p23 + 127) /* see power_of_2 */
#define FNN_LOG2E 1.44269504088896340736
#define FNN_LN2_HI (FNN_IS_DOUBLE ? 0x1.62e42feep-1 : 0x1.62e4p-1) /* short, so that n FNN_LN2_HI is exact */
#define FNN_LN2_LO (FNN_IS_DOUBLE ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cp-20)
#define FNN_LIFT (FNN_IS_DOUBLE ? 80 : 40) /* 2^FNN_LIFT e^-exp_cap is a normal number */

#define BOUND(name, f32, f64) __attribute__((weak)) const REAL F(name)[] = {FNN_IS_DOUBLE ? C(f64) : C(f32)}
BOUND(exp_cap, 112, 760); /* a e^-a is 0 from there on */
BOUND(expm1_cap, 40, 40); /* e^-a - 1 is -1 */

FNN_INLINE F(uint) F(bits)(REAL x)
{
    F(uint) b;
    memcpy(&b, &x, sizeof b);
    return b;
}

FNN_INLINE REAL F(from_bits)(F(uint) b)
{
    REAL x;
    memcpy(&x, &b, sizeof x);
    return x;
}

#if FNN_IS_DOUBLE
FNN_INLINE REAL F(abs)(REAL x) { return __builtin_fabs(x); }
#else
FNN_INLINE REAL F(abs)(REAL x) { return __builtin_fabsf(x); }
#endif

/* |x|, at most `cap` */
FNN_INLINE REAL F(capped)(REAL x, REAL cap)
{
    const REAL a = F(abs)(x);
    return cap < a ? cap : a;
}

FNN_INLINE REAL F(with_sign_of)(REAL magnitude, REAL x)
{
    return FNN_IS_DOUBLE ? C(__builtin_copysign(magnitude, x)) : C(__builtin_copysignf(magnitude, x));
}

/* c[0] + c[1] x + ... + c[degree] x^degree */
FNN_INLINE REAL F(polynomial)(REAL x, const REAL *c, int degree)
{
    REAL p = c[degree];
    _Pragma("GCC unroll 32") for (int k = degree - 1; k >= 0; k--) p = p * x + c[k];
    return p;
}

/* 2^n from the bits of x + FNN_ROUND, n being the integer nearest to x: the lowest of them are its exponent */
FNN_INLINE REAL F(power_of_2)(F(uint) t) { return F(from_bits)(t << FNN_MANTISSA); }

/* (e^r - 1 - r) / r^2 for |r| <= 0.35 */
FNN_INLINE REAL F(exp_rest)(REAL r)
{
#if FNN_IS_DOUBLE /* e^r - 1 to 2^-55.3 */
    static const double c[] = {0.50000000000000056,    0.16666666666666685,    0.04166666666657505,
                               0.0083333333333141142,  0.0013888888932704249,  0.00019841269904712848,
                               2.4801503430416697e-05, 2.7557225972381635e-06, 2.7626910939815929e-07,
                               2.5115227400747318e-08};
    return F(polynomial)(r, c, 9);
#else /* e^r - 1 to 2^-25.9 */
    static const float c[] = {0.5f, 0.166665405f, 0.0416662693f, 0.00836700387f, 0.00139474939f};
    return F(polynomial)(r, c, 4);
#endif
}

/* e^-a = 2^n e^r: n + FNN_ROUND + lift, and r, which follows from it */
FNN_INLINE REAL F(exponent)(REAL a, int lift) { return a * C(-FNN_LOG2E) + C(FNN_ROUND + lift); }
FNN_INLINE REAL F(remainder)(REAL a, REAL t, int lift)
{
    const REAL n = t - C(FNN_ROUND + lift);
    return (-a - n * C(FNN_LN2_HI)) - n * C(FNN_LN2_LO);
}

/* e^-a comes lifted, 2^FNN_LIFT times too large. What it is a factor of is lowered last, or divided by something
   lifted: only then can it be subnormal, and it is rounded as such once. */
FNN_INLINE REAL F(lifted_exp)(REAL r, REAL t)
{
    return (C(1) + r * (C(1) + r * F(exp_rest)(r))) * F(power_of_2)(F(bits)(t));
}
FNN_INLINE REAL F(lowered)(REAL x) { return x * C(FNN_IS_DOUBLE ? 0x1p-80 : 0x1p-40); }
#define FNN_LIFTED_1 C(FNN_IS_DOUBLE ? 0x1p80 : 0x1p40)

/* e^-a, lifted; a <= exp_cap */
FNN_INLINE REAL F(exp_minus)(REAL a)
{
    const REAL t = F(exponent)(a, FNN_LIFT);
    return F(lifted_exp)(F(remainder)(a, t, FNN_LIFT), t);
}

/* e^-(a^2 / 2), lifted, its exponent in two parts, the first exact: an error in it would be one of the result */
FNN_INLINE REAL F(gauss)(REAL a)
{
    const REAL high = F(from_bits)(F(bits)(a) & FNN_HIGH_HALF), half = C(0.5) * high;
    const REAL first = high * half, second = (a - high) * (C(0.5) * a + half);
    const REAL t = F(exponent)(first + second, FNN_LIFT);
    return F(lifted_exp)(F(remainder)(first, t, FNN_LIFT) - second, t);
}

/* 2^v, which is 0 where v rounds to FNN_LEAST and infinite where to FNN_MOST; beyond them v must not lie. An error of v
   is one of the result: for arguments that are rounded ones. */
#define FNN_LEAST (FNN_IS_DOUBLE ? -1023 : -127)
#define FNN_MOST (FNN_IS_DOUBLE ? 1024 : 128)
FNN_INLINE REAL F(exp2)(REAL v)
{
#if FNN_IS_DOUBLE /* (2^f - 1) / f, so that 2^f is right to 2^-58 */
    static const double c[] = {0.69314718055994529,    0.2402265069591013,     0.055504108664820084,
                               0.0096181291075941224,  0.001333355814677474,   0.00015403530457108885,
                               1.5252733493021979e-05, 1.3215435283933465e-06, 1.0178199613129043e-07,
                               7.0737829670346495e-09, 4.4347654445445993e-10};
    enum { degree = 10 };
#else /* to 2^-25.9 */
    static const float c[] = {0.693147182f,   0.240226477f,   0.0555033237f,
                              0.00961843692f, 0.00133988739f, 0.000153533663f};
    enum { degree = 5 };
#endif
    const REAL t = v + C(FNN_ROUND), f = v - (t - C(FNN_ROUND));
    return (C(1) + f * F(polynomial)(f, c, degree)) * F(power_of_2)(F(bits)(t));
}

/* e^-a - 1 = difference, and e^-a + 1 = sum, each with one rounding; a <= expm1_cap */
typedef struct {
    REAL difference, sum;
} F(exp_and_1);
FNN_INLINE F(exp_and_1) F(exp_minus_and_1)(REAL a)
{
    const REAL t = F(exponent)(a, 0), r = F(remainder)(a, t, 0), power = F(power_of_2)(F(bits)(t));
    const REAL p = (r + r * r * F(exp_rest)(r)) * power;
    return (F(exp_and_1)){p + (power - C(1)), p + (power + C(1))};
}

/* log((2 + q) / (2 - q)) = 2 artanh(q / 2) for q in [0, 2 / 3]: log(1 + e) if q = 2 e / (2 + e) */
FNN_INLINE REAL F(log_quotient)(REAL q)
{
#if FNN_IS_DOUBLE /* to 2^-57.6 */
    static const double c[] = {
        0.083333333333333273, 0.012500000000015263, 0.002232142856299441, 0.00043402779737362576,
        8.8778167012709471e-05, 1.8781815139491203e-05, 4.0610245772134314e-06, 9.2006221694107577e-07,
        1.6278925018406875e-07, 7.9501533947864285e-08};
    const REAL rest = F(polynomial)(q * q, c, 9);
#else /* to 2^-26.1 */
    static const float c[] = {0.0833331645f, 0.0125050154f, 0.00219379901f, 0.000540267036f};
    const REAL rest = F(polynomial)(q * q, c, 3);
#endif
    return q + q * (q * q) * rest;
}

/* times erfc(a / sqrt(2)) e^(a^2 / 2) / 2 for a >= 0, by a polynomial in (a - k) / (a + l); k and l are those among
   the round numbers tried that round least */
FNN_INLINE REAL F(times_mills)(REAL times, REAL a)
{
#if FNN_IS_DOUBLE /* a <= 38.7, to 2^-58 */
    static const double c[] = {
        0.92456100672743835,     -0.97327190141407838,    0.67479942241856661,     -0.26605799496301441,
        0.014432951289533872,    0.035162127953057419,    -0.006513588484301485,   -0.0063040157641965789,
        0.00097818009575776363,  0.0014732693972415313,   4.226313172475417e-05,   -0.0003441535613658828,
        -0.00010772838509998341, 5.4917533729130217e-05,  4.9214671649876592e-05,  4.4354991027108102e-06,
        -1.1949895506028577e-05, -7.0729589771648847e-06, -4.8684592094259072e-07, 2.6476496477129545e-06,
        2.0879706928246871e-06,  -8.3328925512264679e-07, -9.0374903723715348e-07, 3.8537700055638359e-07};
    const double d = a + 3.5;
    return times / d * F(polynomial)((a - 2) / d, c, 23);
#else /* a <= 14.5, to 2^-26 */
    static const float c[] = {1.25f,         -1.24339354f, 0.169633359f,  0.291635245f, 0.0571446232f,
                              -0.152865887f, 0.143319413f, -0.318780631f, 0.282769948f, -0.0805224627f};
    const float d = a + 2.5f;
    return times / d * F(polynomial)(a / d, c, 9);
#endif
}
