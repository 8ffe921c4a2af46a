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
#define FNN_ROUND (FNN_IS_DOUBLE ? 0x1.8p52 : 0x1.8p23) /* x + FNN_ROUND has the integer nearest to x in its low bits */
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

FNN_INLINE REAL F(abs)(REAL x) { return FNN_IS_DOUBLE ? C(__builtin_fabs(x)) : C(__builtin_fabsf(x)); }

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

/* 2^n, n in the low bits of t */
FNN_INLINE REAL F(power_of_2)(F(uint) t) { return F(from_bits)((t << FNN_MANTISSA) + FNN_ONE_BITS); }

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

/* e^-a = 2^n e^r: t holds n as FNN_ROUND does, and r follows */
FNN_INLINE REAL F(exponent)(REAL a) { return a * C(-FNN_LOG2E) + C(FNN_ROUND); }
FNN_INLINE REAL F(remainder)(REAL a, REAL t)
{
    const REAL n = t - C(FNN_ROUND);
    return (-a - n * C(FNN_LN2_HI)) - n * C(FNN_LN2_LO);
}

/* Lifted numbers, 2^FNN_LIFT times too large. A product with e^-a is taken of lifted ones and lowered last: only then
   can it be subnormal, and it is rounded as such once. */
FNN_INLINE REAL F(lifted_exp)(REAL r, REAL t)
{
    const F(uint) lift = (F(uint))FNN_LIFT << FNN_MANTISSA;
    return (C(1) + r * (C(1) + r * F(exp_rest)(r))) * F(from_bits)((F(bits)(t) << FNN_MANTISSA) + FNN_ONE_BITS + lift);
}
FNN_INLINE REAL F(lowered)(REAL x) { return x * C(FNN_IS_DOUBLE ? 0x1p-80 : 0x1p-40); }

/* e^-a, lifted; a <= exp_cap */
FNN_INLINE REAL F(exp_minus)(REAL a)
{
    const REAL t = F(exponent)(a);
    return F(lifted_exp)(F(remainder)(a, t), t);
}

/* e^-(a^2 / 2), lifted, its exponent in two parts, the first exact: an error in it would be one of the result */
FNN_INLINE REAL F(gauss)(REAL a)
{
    const REAL high = F(from_bits)(F(bits)(a) & FNN_HIGH_HALF);
    const REAL first = C(0.5) * high * high, second = C(0.5) * (a - high) * (a + high);
    const REAL t = F(exponent)(first + second);
    return F(lifted_exp)(F(remainder)(first, t) - second, t);
}

/* e^-a - 1 = difference, and e^-a + 1 = sum, each with one rounding; a <= expm1_cap */
typedef struct {
    REAL difference, sum;
} F(exp_and_1);
FNN_INLINE F(exp_and_1) F(exp_minus_and_1)(REAL a)
{
    const REAL t = F(exponent)(a), r = F(remainder)(a, t), power = F(power_of_2)(F(bits)(t));
    const REAL p = (r + r * r * F(exp_rest)(r)) * power;
    return (F(exp_and_1)){p + (power - C(1)), p + (power + C(1))};
}

/* log(1 + e) / e for e in [0, 1] */
FNN_INLINE REAL F(log1p_ratio)(REAL e)
{
#if FNN_IS_DOUBLE /* to 2^-56.6 */
    static const double c[] = {
        1,                      -0.49999999999999184,  0.33333333333211251,  -0.24999999992722036,
        0.19999999769455384,    -0.16666662178159686,  0.14285655677590586,  -0.12499456345009263,
        0.11107381093673865,    -0.09980505446764594,  0.090115497702722355, -0.080772760320723586,
        0.070279788265734305,   -0.05738816123772094,  0.042166555645071699, -0.026623268812364681,
        0.013756261994097924,   -0.0055021371222133374, 0.0015817103180896838, -0.00028880661080981978,
        2.5041625298475911e-05};
    return F(polynomial)(e, c, 20);
#else /* to 2^-27.7 */
    static const float c[] = {1,            -0.499999017f, 0.333299667f,   -0.249541685f, 0.19676061f,
                              -0.153058141f, 0.106038548f,  -0.0569600649f, 0.0198510941f, -0.00324381934f};
    return F(polynomial)(e, c, 9);
#endif
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
