/* exp and its kin as branch-free code that the compiler vectorises. Included once per REAL by kernels.c.

   a) Powers of e are taken of -a, a in [0, FNN_A_MAX]: beyond it x e^-|x| is 0. NaN flows through everything.
   b) Nothing here relies on a fused multiply-add; where one is there the results are a little better.
   c) The polynomials are minimax, coefficients from the highest power down; their errors are relative. */
#if FNN_IS_DOUBLE
typedef uint64_t uint_f64;
#else
typedef uint32_t uint_f32;
#endif
#define FNN_MANTISSA (FNN_IS_DOUBLE ? 52 : 23)
#define FNN_ONE_BITS (FNN_IS_DOUBLE ? 0x3ff0000000000000 : 0x3f800000)
#define FNN_ROUND (FNN_IS_DOUBLE ? 0x1.8p52 : 0x1.8p23)  /* x + FNN_ROUND has the integer nearest to x in its low bits */
#define FNN_MIN_EXP (FNN_IS_DOUBLE ? -1021 : -125)       /* p 2^FNN_MIN_EXP is normal for p in [1 / 2, 1] */
#define FNN_LN2_HI (FNN_IS_DOUBLE ? 0x1.62e42feep-1 : 0x1.62e4p-1) /* short: n FNN_LN2_HI is exact */
#define FNN_LN2_LO (FNN_IS_DOUBLE ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cp-20)
#define FNN_A_MAX (FNN_IS_DOUBLE ? 760.0 : 112.0)
#define FNN_HIGH_HALF (FNN_IS_DOUBLE ? 0xfffffffff8000000 : 0xfffff000) /* the upper half of a mantissa */
#define FNN_LOG2E 1.44269504088896340736

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

/* |x|, at most FNN_A_MAX */
FNN_INLINE REAL F(magnitude)(REAL x)
{
    const REAL a = x < C(0) ? -x : x;
    return C(FNN_A_MAX) < a ? C(FNN_A_MAX) : a;
}

FNN_INLINE REAL F(with_sign_of)(REAL magnitude, REAL x)
{
    const F(uint) sign = (F(uint))1 << (8 * sizeof(REAL) - 1);
    return F(from_bits)((F(bits)(magnitude) & ~sign) | (F(bits)(x) & sign));
}

/* 2^n, n in the low bits of t */
FNN_INLINE REAL F(power_of_2)(F(uint) t) { return F(from_bits)((t << FNN_MANTISSA) + FNN_ONE_BITS); }

/* (e^r - 1 - r) / r^2 for |r| <= 0.353 */
FNN_INLINE REAL F(exp_rest)(REAL r)
{
#if FNN_IS_DOUBLE /* expm1 to 2^-60.5 */
    REAL p = C(2.09233931668295382e-09);
    p = p * r + C(2.51073552626060427e-08); p = p * r + C(2.75572474711125625e-07);
    p = p * r + C(2.75572501588247278e-06); p = p * r + C(2.48015873530838545e-05);
    p = p * r + C(1.98412698790369844e-04); p = p * r + C(1.38888888888719236e-03);
    p = p * r + C(8.33333333332490434e-03); p = p * r + C(4.16666666666666875e-02);
    p = p * r + C(1.66666666666666719e-01); p = p * r + C(0.5);
#else /* expm1 to 2^-25.3 */
    REAL p = C(1.39432244632671370e-03);
    p = p * r + C(8.36438608640477665e-03); p = p * r + C(4.16663512429589015e-02);
    p = p * r + C(1.66665695775736412e-01); p = p * r + C(5.00000003032414799e-01);
#endif
    return p;
}

/* e^-(a + rest) = normal * tail: tail is a power of 2, and 1 unless the product is subnormal. What a tail is to be
   multiplied by is multiplied by `normal` first, so that only one rounding is a subnormal one. */
typedef struct {
    REAL normal, tail;
} F(split);

FNN_INLINE F(split) F(exp_minus_sum)(REAL a, REAL rest)
{
    const REAL t = (a + rest) * C(-FNN_LOG2E) + C(FNN_ROUND), n = t - C(FNN_ROUND), low = C(FNN_ROUND + FNN_MIN_EXP);
    const REAL r = ((-a - n * C(FNN_LN2_HI)) - n * C(FNN_LN2_LO)) - rest;
    const REAL p = C(1) + (r + r * r * F(exp_rest)(r));
    const REAL first = t < low ? low : t;
    return (F(split)){p * F(power_of_2)(F(bits)(first)), F(power_of_2)(F(bits)(t) - F(bits)(first))};
}
FNN_INLINE F(split) F(exp_minus)(REAL a) { return F(exp_minus_sum)(a, C(0)); }

/* e^-a - 1 */
FNN_INLINE REAL F(expm1_minus)(REAL a)
{
    a = C(40) < a ? C(40) : a; /* -1 from here on */
    const REAL t = a * C(-FNN_LOG2E) + C(FNN_ROUND), n = t - C(FNN_ROUND);
    const REAL r = (-a - n * C(FNN_LN2_HI)) - n * C(FNN_LN2_LO), s = F(power_of_2)(F(bits)(t));
    return (r + r * r * F(exp_rest)(r)) * s + (s - C(1));
}

/* e^x: 0 where that would be subnormal, infinite above the range */
FNN_INLINE REAL F(exp)(REAL x)
{
    const REAL top = FNN_IS_DOUBLE ? C(709.78271289338397) : C(88.7228317), bottom = FNN_IS_DOUBLE ? C(-708.39) : C(-87.33);
    REAL z = top < x ? top : x;
    z = z < bottom ? bottom : z;
    const REAL t = z * C(FNN_LOG2E) + C(FNN_ROUND), n = t - C(FNN_ROUND);
    const REAL r = (z - n * C(FNN_LN2_HI)) - n * C(FNN_LN2_LO);
    /* n may be one too high for an exponent: half of it goes into p */
    const REAL p = C(2) + (r + r * r * F(exp_rest)(r)) * C(2), e = p * F(power_of_2)(F(bits)(t) - 1);
    return x < bottom ? C(0) : top < x ? (REAL)INFINITY : e;
}

/* log(1 + e) / e for e in [0, 1] */
FNN_INLINE REAL F(log1p_ratio)(REAL e)
{
#if FNN_IS_DOUBLE /* 2 atanh(s) / e with s = e / (2 + e), to 2^-60 */
    const REAL d = C(2) + e, s = e / d, s2 = s * s;
    REAL p = C(0.156388413393015398);
    p = p * s2 + C(0.0748756189760394481); p = p * s2 + C(0.108462578762947754); p = p * s2 + C(0.117341382977108238);
    p = p * s2 + C(0.133351897200357826); p = p * s2 + C(0.153845434244618996); p = p * s2 + C(0.181818199139876266);
    p = p * s2 + C(0.222222221979639967); p = p * s2 + C(0.285714285716024554); p = p * s2 + C(0.399999999999995146);
    p = p * s2 + C(0.666666666666666669);
    return (C(2) + s2 * p) / d;
#else /* to 2^-27.6 */
    REAL p = C(-0.00324381944699704373);
    p = p * e + C(0.0198510937326827158); p = p * e + C(-0.0569600650930805689); p = p * e + C(0.106038550382673485);
    p = p * e + C(-0.153058144929264059); p = p * e + C(0.196760602712883976); p = p * e + C(-0.249541679932141255);
    p = p * e + C(0.333299671257169186); p = p * e + C(-0.499999026684326908); p = p * e + C(0.999999995308475469);
    return p;
#endif
}

/* erfc(a / sqrt(2)) e^(a^2 / 2) / 2 for a >= 0 */
FNN_INLINE REAL F(mills)(REAL a)
{
#if FNN_IS_DOUBLE /* a <= 38.7, to 2^-56.4 */
    REAL p = C(1.7362434973404629e-07), q = C(4.35211704207489123e-07);
    p = p * a + C(5.64911656828215396e-06); q = q * a + C(1.41602353168086356e-05);
    p = p * a + C(8.94320461950026473e-05); q = q * a + C(2.24608107347930563e-04);
    p = p * a + C(8.990268633233239e-04); q = q * a + C(2.26768639099572052e-03);
    p = p * a + C(6.32123305561504013e-03); q = q * a + C(1.60682839622477591e-02);
    p = p * a + C(3.23926247429557398e-02); q = q * a + C(8.34214753004513811e-02);
    p = p * a + C(1.2245492727727861e-01); q = q * a + C(3.22349958128545264e-01);
    p = p * a + C(3.37859628472898746e-01); q = q * a + C(9.23719552133797453e-01);
    p = p * a + C(6.5445631641964063e-01); q = q * a + C(1.91794376497879611);
    p = p * a + C(8.11878383588652733e-01); q = q * a + C(2.74110286023681234);
    p = p * a + C(0.5); q = q * a + C(2.42164132798017067);
    q = q * a + C(1);
#else /* a <= 14.5, to 2^-32 */
    REAL p = C(7.89623622159835879e-04), q = C(1.97929703539372942e-03);
    p = p * a + C(1.07131505673232316e-02); q = q * a + C(2.68536200253964427e-02);
    p = p * a + C(6.72664273836785199e-02); q = q * a + C(1.70598820340749343e-01);
    p = p * a + C(2.41187574564494622e-01); q = q * a + C(6.31292610300744658e-01);
    p = p * a + C(4.97197322626896221e-01); q = q * a + C(1.41240702359667248);
    p = p * a + C(0.5); q = q * a + C(1.7922792100037675);
    q = q * a + C(1);
#endif
    return p / q;
}
