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

/* scores[r] = sum(v * tanh(query + key r)), over keys that are `step` apart */
static void F(additive_scores)(void *scores, const void *query_, const void *v_, const void *keys_, ptrdiff_t rows,
                               ptrdiff_t step, ptrdiff_t n)
{
    const REAL *const query = query_, *const v = v_, *keys = keys_;
    for (ptrdiff_t r = 0; r < rows; r++, keys += step) {
        F(vector) sum = {0};
        for (ptrdiff_t k = 0; k < n; k += F(lanes)) {
            const F(vector) t = F(tanhs)(F(take)(query + k, n - k, C(0)) + F(take)(keys + k, n - k, C(0)));
            sum += F(take)(v + k, n - k, C(0)) * t;
        }
        ((REAL *)scores)[r] = F(lane_sum)(sum);
    }
}

/* dquery, and what dkeys and dv gain, of the gradients of the scores */
static void F(additive_backward)(void *dquery_, void *dkeys_, void *dv_, const void *dscores_, const void *query_,
                                 const void *v_, const void *keys_, ptrdiff_t rows, ptrdiff_t dstep, ptrdiff_t step,
                                 ptrdiff_t n)
{
    const REAL *const dscores = dscores_, *const query = query_, *const v = v_, *const keys = keys_;
    REAL *const dquery = dquery_, *const dkeys = dkeys_, *const dv = dv_;
    for (ptrdiff_t k = 0; k < n; k += F(lanes)) {
        const F(vector) q = F(take)(query + k, n - k, C(0)), factor = F(take)(v + k, n - k, C(0));
        F(vector) q_sum = {0}, v_sum = F(take)(dv + k, n - k, C(0));
        for (ptrdiff_t r = 0; r < rows; r++) {
            const F(vector) t = F(tanhs)(q + F(take)(keys + r * step + k, n - k, C(0)));
            const F(vector) g = (dscores[r] * factor) * ((C(1) - t) * (C(1) + t));
            v_sum += dscores[r] * t;
            q_sum += g;
            F(give)(dkeys + r * dstep + k, F(take)(dkeys + r * dstep + k, n - k, C(0)) + g, n - k);
        }
        F(give)(dquery + k, q_sum, n - k);
        F(give)(dv + k, v_sum, n - k);
    }
}
