/* The vectors of gemm.h from and to rows that end anywhere. Included once per REAL by kernels.c. */
/* An option, which is above 0 if it was so in double. */
FNN_INLINE REAL F(as_real)(double x)
{
    return C(x) == C(0) && x > 0 ? (FNN_IS_DOUBLE ? C(DBL_MIN) : C(FLT_MIN)) : C(x);
}

FNN_INLINE F(vector) F(all)(REAL x) { return (F(vector)){0} + x; }

/* The first numbers at x, `left` of them where that is less than `lanes`; the other lanes hold `padding`. */
FNN_INLINE F(vector) F(take)(const REAL *x, ptrdiff_t left, REAL padding)
{
    if (left >= F(lanes)) return *(const F(vector) *)x;
    REAL v[F(lanes)] __attribute__((aligned(FNN_VECTOR)));
#if FNN_VECTOR > 16 /* masked, which SSE cannot */
    const int n = (int)left;
    SIMD for (int l = 0; l < F(lanes); l++) v[l] = l < n ? x[l] : padding;
#else
    for (int l = 0; l < F(lanes); l++) v[l] = padding;
    memcpy(v, x, (size_t)left * sizeof(REAL));
#endif
    return *(F(vector) *)v;
}

FNN_INLINE void F(give)(REAL *y, F(vector) value, ptrdiff_t left)
{
    if (left >= F(lanes)) {
        *(F(vector) *)y = value;
        return;
    }
    REAL v[F(lanes)] __attribute__((aligned(FNN_VECTOR)));
    *(F(vector) *)v = value;
#if FNN_VECTOR > 16
    const int n = (int)left;
    __asm__("" : "+m"(v)); /* else GCC 12 stores halves by vextractf64x4, whose mask does not keep it from faulting */
    SIMD for (int l = 0; l < F(lanes); l++) if (l < n) y[l] = v[l];
#else
    memcpy(y, v, (size_t)left * sizeof(REAL));
#endif
}
