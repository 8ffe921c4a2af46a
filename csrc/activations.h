/* Elementwise activations. Included once per REAL by kernels.c.
   Each is three scalar formulas: f(x), f'(x) (_derivative), and f' as a function of what is saved (_slope).
   Most are written with e = e^-|x| <= 1, so that nothing overflows and a negative tail keeps its digits. */

/* e * factor without rounding twice in the subnormal range */
FNN_INLINE REAL F(times_exp)(REAL factor, F(split) e) { return factor * e.normal * e.tail; }

/* How a slope meets dy. Masked, as GCC makes branches of a conditional product for SSE2. */
FNN_INLINE REAL F(times)(REAL dy, REAL slope) { return dy * slope; }
FNN_INLINE REAL F(select)(REAL dy, REAL slope) { return F(from_bits)(F(bits)(dy * slope) & -(F(uint))(slope != C(0))); }

FNN_INLINE REAL F(relu)(REAL x) { return x < C(0) ? C(0) : x; }
FNN_INLINE REAL F(relu_derivative)(REAL x) { return x != x ? x : x > C(0) ? C(1) : C(0); }
FNN_INLINE REAL F(relu_slope)(REAL y) { return F(relu_derivative)(y); }

FNN_INLINE REAL F(leaky_relu)(REAL x, REAL negative_slope) { return x < C(0) ? x * negative_slope : x; }
FNN_INLINE REAL F(leaky_relu_derivative)(REAL x, REAL negative_slope)
{
    return x > C(0) ? C(1) : x != x ? x : negative_slope;
}
FNN_INLINE REAL F(leaky_relu_slope)(REAL x, REAL negative_slope) { return F(leaky_relu_derivative)(x, negative_slope); }

FNN_INLINE REAL F(hardtanh)(REAL x, REAL min_val, REAL max_val)
{
    const REAL y = x < min_val ? min_val : x;
    return max_val < y ? max_val : y;
}
FNN_INLINE REAL F(hardtanh_derivative)(REAL x, REAL min_val, REAL max_val)
{
    return x != x ? x : (x > min_val) & (x < max_val) ? C(1) : C(0);
}
FNN_INLINE REAL F(hardtanh_slope)(REAL x, REAL min_val, REAL max_val)
{
    return F(hardtanh_derivative)(x, min_val, max_val);
}

FNN_INLINE REAL F(hardsigmoid)(REAL x)
{
    const REAL u = x + C(3), v = u < C(0) ? C(0) : u;
    return (C(6) < v ? C(6) : v) / C(6);
}
FNN_INLINE REAL F(hardsigmoid_derivative)(REAL x) { return F(hardtanh_derivative)(x, C(-3), C(3)) * (C(1) / C(6)); }
FNN_INLINE REAL F(hardsigmoid_slope)(REAL x) { return F(hardsigmoid_derivative)(x); }

FNN_INLINE REAL F(hardswish)(REAL x) { return (x < C(-3) ? C(-3) : x) * F(hardsigmoid)(x); }
FNN_INLINE REAL F(hardswish_derivative)(REAL x)
{
    const REAL inside = x / C(3) + C(0.5), low = x > C(-3) ? inside : x != x ? x : C(0);
    return x >= C(3) ? C(1) : low;
}
FNN_INLINE REAL F(hardswish_slope)(REAL x) { return F(hardswish_derivative)(x); }

FNN_INLINE REAL F(softsign)(REAL x)
{
    const REAL top = FNN_IS_DOUBLE ? C(0x1p1000) : C(0x1p120), a = x < C(0) ? -x : x, b = top < a ? top : a;
    return F(with_sign_of)(b / (C(1) + b), x);
}
FNN_INLINE REAL F(softsign_derivative)(REAL x)
{
    const REAL r = C(1) / (C(1) + (x < C(0) ? -x : x));
    return r * r;
}
FNN_INLINE REAL F(softsign_slope)(REAL x) { return F(softsign_derivative)(x); }

FNN_INLINE REAL F(sigmoid)(REAL x)
{
    const F(split) e = F(exp_minus)(F(magnitude)(x));
    return (x < C(0) ? e.normal * e.tail : C(1)) / (C(1) + e.normal);
}
FNN_INLINE REAL F(sigmoid_derivative)(REAL x)
{
    const F(split) e = F(exp_minus)(F(magnitude)(x));
    const REAL d = C(1) + e.normal;
    return e.normal * e.tail / (d * d);
}
FNN_INLINE REAL F(sigmoid_slope)(REAL y) { return y * (C(1) - y); }

FNN_INLINE REAL F(tanh)(REAL x)
{
    const REAL E = F(expm1_minus)(C(2) * F(magnitude)(x));
    return F(with_sign_of)(E / (C(2) + E), x);
}
FNN_INLINE REAL F(tanh_derivative)(REAL x)
{
    const F(split) e = F(exp_minus)(F(magnitude)(x + x));
    const REAL d = C(1) + e.normal;
    return F(times_exp)(C(4), e) / (d * d);
}
FNN_INLINE REAL F(tanh_slope)(REAL y) { return (C(1) - y) * (C(1) + y); }

FNN_INLINE REAL F(softplus)(REAL x)
{
    const F(split) e = F(exp_minus)(F(magnitude)(x));
    const REAL log1p = F(times_exp)(F(log1p_ratio)(e.normal), e);
    return (x < C(0) ? C(0) : x) + log1p;
}
FNN_INLINE REAL F(softplus_derivative)(REAL x) { return F(sigmoid)(x); }
FNN_INLINE REAL F(softplus_slope)(REAL y) { return -F(expm1_minus)(F(magnitude)(y)); }

FNN_INLINE REAL F(log_sigmoid)(REAL x) { return -F(softplus)(-x); }
FNN_INLINE REAL F(log_sigmoid_derivative)(REAL x) { return F(sigmoid)(-x); }
FNN_INLINE REAL F(log_sigmoid_slope)(REAL y) { return F(softplus_slope)(-y); }

FNN_INLINE REAL F(elu)(REAL x, REAL alpha)
{
    const REAL E = alpha * F(with_sign_of)(F(expm1_minus)(F(magnitude)(x)), x);
    return x > C(0) ? x : E;
}
FNN_INLINE REAL F(elu_derivative)(REAL x, REAL alpha)
{
    const F(split) e = F(exp_minus)(F(magnitude)(x));
    return x > C(0) ? C(1) : F(times_exp)(alpha, e);
}
FNN_INLINE REAL F(elu_slope)(REAL x, REAL alpha) { return F(elu_derivative)(x, alpha); }

#define SELU_SCALE C(1.0507009873554804934)
#define SELU_SCALE_ALPHA C(1.7580993408473768599)
FNN_INLINE REAL F(selu)(REAL x)
{
    const REAL E = F(elu)(x, SELU_SCALE_ALPHA);
    return x > C(0) ? SELU_SCALE * x : E;
}
FNN_INLINE REAL F(selu_derivative)(REAL x)
{
    const REAL e = F(elu_derivative)(x, SELU_SCALE_ALPHA);
    return x > C(0) ? SELU_SCALE : e;
}
FNN_INLINE REAL F(selu_slope)(REAL x) { return F(selu_derivative)(x); }
#undef SELU_SCALE
#undef SELU_SCALE_ALPHA

/* x / (1 + e^-u), u of x's sign, given e^-|u| */
FNN_INLINE REAL F(gated)(REAL x, F(split) e)
{
    const REAL a = F(magnitude)(x), tail = -F(times_exp)(a, e);
    return (x < C(0) ? tail : x) / (C(1) + e.normal);
}
/* An f with f(x) - x/2 even has f'(x) + f'(-x) = 1; `left` is f'(-|x|). */
FNN_INLINE REAL F(mirrored)(REAL x, REAL left) { return x < C(0) ? left : C(1) - left; }

FNN_INLINE REAL F(silu)(REAL x) { return F(gated)(x, F(exp_minus)(F(magnitude)(x))); }
FNN_INLINE REAL F(silu_derivative)(REAL x)
{
    const REAL a = F(magnitude)(x);
    const F(split) e = F(exp_minus)(a);
    const REAL d = C(1) + e.normal;
    return F(mirrored)(x, F(times_exp)(d - a, e) / (d * d));
}
FNN_INLINE REAL F(silu_slope)(REAL x) { return F(silu_derivative)(x); }

#define TWO_U1 C(1.5957691216057307117)  /* sqrt(8 / pi) */
#define TWO_U3 C(0.071354816272600248776) /* sqrt(8 / pi) 0.044715 */
FNN_INLINE REAL F(gelu_tanh)(REAL x)
{
    const REAL top = FNN_IS_DOUBLE ? C(22) : C(12), a = F(magnitude)(x), b = top < a ? top : a;
    return F(gated)(x, F(exp_minus)(F(magnitude)(b * (TWO_U1 + TWO_U3 * (b * b)))));
}
FNN_INLINE REAL F(gelu_tanh_derivative)(REAL x)
{
    const REAL top = FNN_IS_DOUBLE ? C(22) : C(12), a = F(magnitude)(x), b = top < a ? top : a, b2 = b * b;
    const F(split) e = F(exp_minus)(F(magnitude)(b * (TWO_U1 + TWO_U3 * b2)));
    const REAL d = C(1) + e.normal;
    return F(mirrored)(x, F(times_exp)(d - b * (TWO_U1 + C(3) * TWO_U3 * b2), e) / (d * d));
}
FNN_INLINE REAL F(gelu_tanh_slope)(REAL x) { return F(gelu_tanh_derivative)(x); }
#undef TWO_U1
#undef TWO_U3

/* e^-(a^2 / 2), its exponent in two parts, the first exact: an error in it would be one of the result */
FNN_INLINE F(split) F(gauss)(REAL a)
{
    const REAL high = F(from_bits)(F(bits)(a) & FNN_HIGH_HALF);
    return F(exp_minus_sum)(C(0.5) * high * high, C(0.5) * (a - high) * (a + high));
}
FNN_INLINE REAL F(gelu)(REAL x)
{
    const REAL top = FNN_IS_DOUBLE ? C(38.7) : C(14.5), a = F(magnitude)(x), b = top < a ? top : a;
    const REAL tail = F(times_exp)(b * F(mills)(b), F(gauss)(b));
    return (x < C(0) ? C(0) : x) - tail;
}
FNN_INLINE REAL F(gelu_derivative)(REAL x)
{
    const REAL top = FNN_IS_DOUBLE ? C(38.7) : C(14.5), a = F(magnitude)(x), b = top < a ? top : a;
    return F(mirrored)(x, F(times_exp)(F(mills)(b) - b * C(0.39894228040143267794), F(gauss)(b)));
}
FNN_INLINE REAL F(gelu_slope)(REAL x) { return F(gelu_derivative)(x); }

/* x tanh(softplus(x)) = x n / (n + 2), n = e^2x + 2 e^x; for x > 0 both are multiplied by e^-2x */
FNN_INLINE REAL F(mish)(REAL x)
{
    const REAL a = F(magnitude)(x);
    const F(split) s = F(exp_minus)(a);
    const REAL e = s.normal, left = -F(times_exp)(a * (C(1) + C(0.5) * e), s), right = x * (C(1) + C(2) * e);
    return (x < C(0) ? left : right) / (x < C(0) ? C(1) + e * (C(1) + C(0.5) * e) : C(1) + C(2) * e * (C(1) + e));
}
FNN_INLINE REAL F(mish_derivative)(REAL x)
{
    const REAL a = F(magnitude)(x);
    const F(split) s = F(exp_minus)(a);
    const REAL e = s.normal;
    const REAL left = F(times_exp)(C(1) - a + e * (C(1.5) - a + e * (C(1) + C(0.25) * e)), s);
    const REAL right = C(1) + e * (C(4) + e * (C(6) + C(4) * a + e * (C(4) + C(4) * a)));
    const REAL d = x < C(0) ? C(1) + e * (C(1) + C(0.5) * e) : C(1) + C(2) * e * (C(1) + e);
    return (x < C(0) ? left : right) / (d * d);
}
FNN_INLINE REAL F(mish_slope)(REAL x) { return F(mish_derivative)(x); }
