/* Elementwise activations. Included once per REAL by kernels.c.
   Each is three scalar formulas: f(x), f'(x) (_derivative), and f' as a function of what is saved (_slope). */
FNN_INLINE REAL F(relu)(REAL x) { return x < C(0) ? C(0) : x; }
FNN_INLINE REAL F(relu_derivative)(REAL x) { return x != x ? x : x > C(0) ? C(1) : C(0); }
FNN_INLINE REAL F(relu_slope)(REAL y) { return F(relu_derivative)(y); }

FNN_INLINE REAL F(sigmoid)(REAL x) { return C(1) / (C(1) + F(exp)(-x)); }
FNN_INLINE REAL F(sigmoid_slope)(REAL y) { return y * (C(1) - y); }
FNN_INLINE REAL F(sigmoid_derivative)(REAL x) { return F(sigmoid_slope)(F(sigmoid)(x)); }

FNN_INLINE REAL F(tanh)(REAL x) { return C(1) - C(2) / (C(1) + F(exp)(x + x)); }
FNN_INLINE REAL F(tanh_slope)(REAL y) { return (C(1) - y) * (C(1) + y); }
FNN_INLINE REAL F(tanh_derivative)(REAL x) { return F(tanh_slope)(F(tanh)(x)); }
