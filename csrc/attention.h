/* Attention: scores of a query against rows of keys, and sums of rows. Included once per REAL by kernels.c.
   Products of matrices are gemm.h's; here is what a single query needs, and the additive score. */

/* out = the sum of weights[r] * row r, over `rows` rows of n that are `step` apart */
static void F(weighted_rows)(void *out_, const void *weights_, const void *x_, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n)
{
    const REAL *const weights = weights_, *const x = x_;
    REAL *const out = out_;
    ptrdiff_t k = 0;
    for (; k + 8 * F(lanes) <= n; k += 8 * F(lanes)) {
        F(vector) sum[8] = {0};
        for (ptrdiff_t r = 0; r < rows; r++)
            for (int a = 0; a < 8; a++) sum[a] += weights[r] * *(const F(vector) *)(x + r * step + k + a * F(lanes));
        for (int a = 0; a < 8; a++) *(F(vector) *)(out + k + a * F(lanes)) = sum[a];
    }
    for (; k < n; k += F(lanes)) {
        F(vector) sum = {0};
        for (ptrdiff_t r = 0; r < rows; r++) sum += weights[r] * F(take)(x + r * step + k, n - k, C(0));
        F(give)(out + k, sum, n - k);
    }
}

FNN_INLINE F(vector) F(tanhs)(F(vector) x)
{
    REAL v[F(lanes)] __attribute__((aligned(FNN_VECTOR)));
    *(F(vector) *)v = x;
    SIMD for (int l = 0; l < F(lanes); l++) v[l] = F(tanh)(v[l]);
    return *(F(vector) *)v;
}

/* Rows that go together, so that query and v are read once for all. */
#define TOGETHER 4
#define BY_ROWS(call)                                                          \
    for (; r + TOGETHER <= rows; r += TOGETHER) call(TOGETHER);                \
    for (; r < rows; r++) call(1)

FNN_INLINE void F(few_additive_scores)(const int rows, REAL *scores, const REAL *query, const REAL *v, const REAL *keys,
                                       ptrdiff_t step, ptrdiff_t n)
{
    F(vector) sum[TOGETHER] = {0};
    for (ptrdiff_t k = 0; k < n; k += F(lanes)) {
        const F(vector) q = F(take)(query + k, n - k, C(0)), factor = F(take)(v + k, n - k, C(0));
        for (int r = 0; r < rows; r++) sum[r] += factor * F(tanhs)(q + F(take)(keys + r * step + k, n - k, C(0)));
    }
    for (int r = 0; r < rows; r++) scores[r] = F(lane_sum)(sum[r]);
}

/* scores[r] = sum(v * tanh(query + key r)), over keys that are `step` apart */
static void F(additive_scores)(void *scores, const void *query, const void *v, const void *keys, ptrdiff_t rows,
                               ptrdiff_t step, ptrdiff_t n)
{
    ptrdiff_t r = 0;
#define SCORES(few) F(few_additive_scores)(few, (REAL *)scores + r, query, v, (const REAL *)keys + r * step, step, n)
    BY_ROWS(SCORES);
#undef SCORES
}

FNN_INLINE void F(few_additive_backward)(const int rows, REAL *dquery, REAL *dkeys, REAL *dv, const REAL *dscores,
                                         const REAL *query, const REAL *v, const REAL *keys, ptrdiff_t dstep,
                                         ptrdiff_t step, ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k < n; k += F(lanes)) {
        const F(vector) q = F(take)(query + k, n - k, C(0)), factor = F(take)(v + k, n - k, C(0));
        F(vector) q_gain = F(take)(dquery + k, n - k, C(0)), v_gain = F(take)(dv + k, n - k, C(0));
        for (int r = 0; r < rows; r++) {
            REAL *const to = dkeys + r * dstep + k;
            const F(vector) t = F(tanhs)(q + F(take)(keys + r * step + k, n - k, C(0)));
            const F(vector) g = (dscores[r] * factor) * ((C(1) - t) * (C(1) + t));
            v_gain += dscores[r] * t;
            q_gain += g;
            F(give)(to, F(take)(to, n - k, C(0)) + g, n - k);
        }
        F(give)(dquery + k, q_gain, n - k);
        F(give)(dv + k, v_gain, n - k);
    }
}

/* dquery, and what dkeys and dv gain, of the gradients of the scores */
static void F(additive_backward)(void *dquery, void *dkeys, void *dv, const void *dscores, const void *query,
                                 const void *v, const void *keys, ptrdiff_t rows, ptrdiff_t dstep, ptrdiff_t step,
                                 ptrdiff_t n)
{
    ptrdiff_t r = 0;
    memset(dquery, 0, (size_t)n * sizeof(REAL));
#define BACKWARD(few)                                                                                              \
    F(few_additive_backward)(few, dquery, (REAL *)dkeys + r * dstep, dv, (const REAL *)dscores + r, query, v,      \
                             (const REAL *)keys + r * step, dstep, step, n)
    BY_ROWS(BACKWARD);
#undef BACKWARD
}
#undef TOGETHER
#undef BY_ROWS
