/* Windows of words: the dot products of their vectors with those of target words, and what both gain. Included once per
   REAL by kernels.c. Rows of a table lie `step` numbers apart. */
#if FNN_VECTOR == 64
enum { F(score_rows) = 4, F(score_columns) = 6 }; /* 24 sums and 7 factors in 32 registers */
#else
enum { F(score_rows) = 3, F(score_columns) = 3 }; /* 9 and 4 in 16 */
#endif
#define UPDATE_COLUMNS 6 /* with their sums, 12 of 16 registers */
#define UNROLL _Pragma("GCC unroll 32")

/* Lane i of the result is the sum of the lanes of v[i], for `lanes` vectors, which are used up. */
FNN_INLINE F(vector) F(lane_sums)(F(vector) *v)
{
#define HALVE(half) \
    UNROLL for (int i = 0; i < half; i++) v[i] = F(zip)(v[i], v[i + half], 0) + F(zip)(v[i], v[i + half], F(lanes) / 2);
    if (F(lanes) > 8) HALVE(8)
    if (F(lanes) > 4) HALVE(4)
    if (F(lanes) > 2) HALVE(2)
    HALVE(1)
#undef HALVE
    return v[0];
}

FNN_INLINE void F(score_tile)(const int rows, const int columns, REAL *scores, const REAL *const *x,
                              const REAL *const *y, ptrdiff_t m, ptrdiff_t n)
{
    enum { ROOM = (F(score_rows) * F(score_columns) + F(lanes) - 1) / F(lanes) * F(lanes) };
    F(vector) sum[ROOM], b[F(score_columns)];
    REAL out[ROOM] __attribute__((aligned(FNN_VECTOR)));
    UNROLL for (int i = 0; i < ROOM; i++) sum[i] = (F(vector)){0};
    ptrdiff_t k = 0;
#define MULTIPLY(load)                                                                              \
    UNROLL for (int j = 0; j < columns; j++) b[j] = load(y[j] + k);                                 \
    UNROLL for (int i = 0; i < rows; i++) {                                                         \
        const F(vector) a = load(x[i] + k);                                                         \
        UNROLL for (int j = 0; j < columns; j++) sum[i * columns + j] += a * b[j];                  \
    }
#define WHOLE(p) (*(const F(vector) *)(p))
#define REST(p) F(take)(p, n - k, C(0))
    for (; k + F(lanes) <= n; k += F(lanes)) { MULTIPLY(WHOLE) }
    if (k < n) { MULTIPLY(REST) }
#undef REST
#undef WHOLE
#undef MULTIPLY
    UNROLL for (int i = 0; i < rows * columns; i += F(lanes)) *(F(vector) *)(out + i) = F(lane_sums)(sum + i);
    if (m == columns) {
        memcpy(scores, out, (size_t)(rows * columns) * sizeof(REAL));
        return;
    }
    for (int i = 0; i < rows; i++) memcpy(scores + i * m, out + i * columns, (size_t)columns * sizeof(REAL));
}

static void F(any_score_tile)(int rows, int columns, REAL *scores, const REAL *const *x, const REAL *const *y,
                              ptrdiff_t m, ptrdiff_t n)
{
    switch (rows * 8 + columns) {
#define TILE(rows, columns) \
    case rows * 8 + columns: F(score_tile)(rows, columns, scores, x, y, m, n); break;
        TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(3, 1) TILE(3, 2) TILE(3, 3)
#if FNN_VECTOR == 64
        TILE(1, 4) TILE(1, 5) TILE(1, 6) TILE(2, 4) TILE(2, 5) TILE(2, 6) TILE(3, 4) TILE(3, 5) TILE(3, 6)
        TILE(4, 1) TILE(4, 2) TILE(4, 3) TILE(4, 4) TILE(4, 5) TILE(4, 6)
#endif
#undef TILE
    }
}

/* scores (c, m) = the dot products of the rows of x and of y that the indices name */
static void F(window_scores)(void *scores_, const void *x, const void *y, const int32_t *inputs, const int32_t *targets,
                             ptrdiff_t c, ptrdiff_t m, ptrdiff_t n, ptrdiff_t x_step, ptrdiff_t y_step)
{
    REAL *const scores = scores_;
    const ptrdiff_t row_tiles = (c + F(score_rows) - 1) / F(score_rows);
    const ptrdiff_t column_tiles = (m + F(score_columns) - 1) / F(score_columns);
    for (ptrdiff_t u = 0; u < column_tiles; u++) {
        const ptrdiff_t j = m * u / column_tiles, columns = m * (u + 1) / column_tiles - j;
        const REAL *b[F(score_columns)];
        for (ptrdiff_t l = 0; l < columns; l++) b[l] = (const REAL *)y + targets[j + l] * y_step;
        for (ptrdiff_t t = 0; t < row_tiles; t++) {
            const ptrdiff_t i = c * t / row_tiles, rows = c * (t + 1) / row_tiles - i;
            const REAL *a[F(score_rows)];
            for (ptrdiff_t l = 0; l < rows; l++) a[l] = (const REAL *)x + inputs[i + l] * x_step;
            F(any_score_tile)((int)rows, (int)columns, scores + i * m + j, a, b, m, n);
        }
    }
}

/* Scores (c, m) become what they gain, lr (label - sigmoid(score)): the label of the first target is 1, of the others 0;
   one that is the first again gains nothing. There is room up to a multiple of 16. Returns the loss, the sum of
   -log sigmoid(+-score), if it is asked for. */
static double F(window_gains)(void *scores_, const int32_t *targets, double lr, int need_loss, ptrdiff_t c, ptrdiff_t m)
{
    REAL *const scores = scores_;
    double loss = 0;
    for (ptrdiff_t j = 0; j < m; j++) {
        if (j && targets[j] != targets[0]) continue;
        for (ptrdiff_t i = 0; i < c; i++) scores[i * m + j] = j ? -C(INFINITY) : -scores[i * m];
    }
    enum { FEW = 16 };
    for (ptrdiff_t start = 0; start < c * m; start += FEW) {
        REAL *const s = scores + start;
        if (need_loss) {
            REAL losses[FEW];
            SIMD for (int i = 0; i < FEW; i++) losses[i] = F(softplus)(s[i]);
            for (int i = 0; i < FEW && start + i < c * m; i++) loss += losses[i];
        }
        SIMD for (int i = 0; i < FEW; i++) s[i] = C(-lr) * F(sigmoid)(s[i]);
    }
    for (ptrdiff_t i = 0; i < c; i++) scores[i * m] = -scores[i * m];
    return loss;
}

/* Both products for `columns` targets and all inputs of a window, none of which is there twice, in whole vectors: row i of
   x is added to target j times gains[i, j], and target j, as it was, to row i of x. */
FNN_INLINE void F(update_rows)(const int columns, REAL *const *x, REAL *const *y, const REAL *gains, ptrdiff_t c,
                               ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k + F(lanes) <= n; k += F(lanes)) {
        F(vector) sum[UPDATE_COLUMNS], b[UPDATE_COLUMNS];
        UNROLL for (int j = 0; j < columns; j++) sum[j] = b[j] = *(const F(vector) *)(y[j] + k);
        const REAL *g = gains;
        for (ptrdiff_t i = 0; i < c; i++, g += columns) {
            const F(vector) a = *(const F(vector) *)(x[i] + k);
            F(vector) d = a;
            UNROLL for (int j = 0; j < columns; j++) {
                sum[j] += g[j] * a;
                d += g[j] * b[j];
            }
            *(F(vector) *)(x[i] + k) = d;
        }
        UNROLL for (int j = 0; j < columns; j++) *(F(vector) *)(y[j] + k) = sum[j];
    }
}

/* The same for any number of targets, and for words that are there twice, which gain twice: for the vector of each row
   at k, of which `left` numbers are used. Scratch has room for 2 (c + m) vectors. */
static void F(update_vectors)(REAL *const *x, REAL *const *y, const REAL *gains, F(vector) *scratch, ptrdiff_t c,
                              ptrdiff_t m, ptrdiff_t k, ptrdiff_t left)
{
    F(vector) *const a = scratch, *const b = a + c, *const gain = b + m, *const target_gain = gain + c;
    for (ptrdiff_t i = 0; i < c; i++) a[i] = F(take)(x[i] + k, left, C(0));
    for (ptrdiff_t j = 0; j < m; j++) b[j] = F(take)(y[j] + k, left, C(0));
    for (ptrdiff_t i = 0; i < c; i++) gain[i] = (F(vector)){0};
    for (ptrdiff_t j = 0; j < m; j++) {
        F(vector) sum = {0};
        for (ptrdiff_t i = 0; i < c; i++) {
            sum += gains[i * m + j] * a[i];
            gain[i] += gains[i * m + j] * b[j];
        }
        target_gain[j] = sum;
    }
    for (ptrdiff_t i = 0; i < c; i++) F(give)(x[i] + k, F(take)(x[i] + k, left, C(0)) + gain[i], left);
    for (ptrdiff_t j = 0; j < m; j++) F(give)(y[j] + k, F(take)(y[j] + k, left, C(0)) + target_gain[j], left);
}

/* With gains (c, m), row i of x gains the rows of y times gains[i], and row j of y those of x times gains[:, j], both as
   they were before. Numbers first to first + n of the rows. Scratch is aligned and has room for c + m vectors of 2 x 64
   bytes, and for 2 (c + m) pointers. */
static void F(window_update)(void *x_, void *y_, const void *gains_, const int32_t *inputs, const int32_t *targets,
                             void *scratch, ptrdiff_t c, ptrdiff_t m, ptrdiff_t first, ptrdiff_t n, ptrdiff_t x_step,
                             ptrdiff_t y_step)
{
    const REAL *const gains = gains_;
    F(vector) *const vectors = scratch;
    REAL **const x = (REAL **)((char *)scratch + 128 * (c + m)), **const y = x + c;
    int twice = 0;
    for (ptrdiff_t i = 0; i < c; i++) {
        x[i] = (REAL *)x_ + first + inputs[i] * x_step;
        for (ptrdiff_t l = 0; l < i; l++) twice |= inputs[l] == inputs[i];
    }
    for (ptrdiff_t j = 0; j < m; j++) {
        y[j] = (REAL *)y_ + first + targets[j] * y_step;
        for (ptrdiff_t l = 0; l < j; l++) twice |= targets[l] == targets[j];
    }
    ptrdiff_t k = 0;
    if (!twice && m <= UPDATE_COLUMNS) {
        switch (m) {
#define CASE(count) case count: F(update_rows)(count, x, y, gains, c, n); break;
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#undef CASE
        }
        k = n / F(lanes) * F(lanes);
    }
    for (; k < n; k += F(lanes)) F(update_vectors)(x, y, gains, vectors, c, m, k, n - k);
}

/* part(vectors, left) for all numbers k of n: so many vectors, whole ones unless `left` is below `lanes` */
#define IN_PARTS(part)                                                      \
    for (ptrdiff_t k = 0, vectors; k < n; k += vectors * F(lanes)) {        \
        vectors = (n - k) / F(lanes);                                       \
        switch (vectors) {                                                  \
            case 0: part(1, n - k) vectors = 1; break;                      \
            case 1: part(1, F(lanes)) break;                                \
            case 2: part(2, F(lanes)) break;                                \
            case 3: part(3, F(lanes)) break;                                \
            case 4: part(4, F(lanes)) break;                                \
            case 5: part(5, F(lanes)) break;                                \
            case 6: part(6, F(lanes)) break;                                \
            case 7: part(7, F(lanes)) break;                                \
            default: part(8, F(lanes)) vectors = 8;                         \
        }                                                                   \
    }
#define EACH_VECTOR UNROLL for (int v = 0; v < vectors; v++)
#define OF(p) F(take)(p + v * F(lanes), left, C(0))

FNN_INLINE void F(sum_rows)(const int vectors, const ptrdiff_t left, REAL *out, const REAL *x, const int32_t *inputs,
                            REAL factor, ptrdiff_t c, ptrdiff_t x_step)
{
    F(vector) sum[8];
    EACH_VECTOR sum[v] = (F(vector)){0};
    for (ptrdiff_t i = 0; i < c; i++) {
        const REAL *const row = x + inputs[i] * x_step;
        EACH_VECTOR sum[v] += OF(row);
    }
    EACH_VECTOR F(give)(out + v * F(lanes), sum[v] * factor, left);
}

/* out = the sum of the rows of x that the indices name, times `factor`; numbers first to first + n of them */
static void F(window_sum)(void *out_, const void *x_, const int32_t *inputs, double factor, ptrdiff_t c, ptrdiff_t first,
                          ptrdiff_t n, ptrdiff_t x_step)
{
    const REAL *const x = (const REAL *)x_ + first;
    REAL *const out = (REAL *)out_ + first;
#define PART(vectors, left) F(sum_rows)(vectors, left, out + k, x + k, inputs, C(factor), c, x_step);
    IN_PARTS(PART)
#undef PART
}

FNN_INLINE void F(spread_rows)(const int vectors, const ptrdiff_t left, REAL *x, REAL *y, const REAL *row,
                               const REAL *gains, const int32_t *inputs, const int32_t *targets, REAL factor,
                               ptrdiff_t c, ptrdiff_t m, ptrdiff_t x_step, ptrdiff_t y_step)
{
    F(vector) gain[8], a[8];
    EACH_VECTOR gain[v] = (F(vector)){0};
    EACH_VECTOR a[v] = OF(row);
    for (ptrdiff_t j = 0; j < m; j++) {
        const REAL *const from = y + targets[j] * y_step;
        EACH_VECTOR gain[v] += gains[j] * OF(from);
    }
    for (ptrdiff_t j = 0; j < m; j++) { /* not before, for one that is there twice */
        REAL *const to = y + targets[j] * y_step;
        EACH_VECTOR F(give)(to + v * F(lanes), OF(to) + gains[j] * a[v], left);
    }
    EACH_VECTOR gain[v] *= factor;
    for (ptrdiff_t i = 0; i < c; i++) {
        REAL *const to = x + inputs[i] * x_step;
        EACH_VECTOR F(give)(to + v * F(lanes), OF(to) + gain[v], left);
    }
}

/* The m targets, rows of y, each gain `row` times its gain; each of the c inputs, rows of x, gains the targets as they
   were, times their gains, times `factor`. Numbers first to first + n of the rows. */
static void F(window_spread)(void *x_, void *y_, const void *row_, const void *gains, const int32_t *inputs,
                             const int32_t *targets, double factor, ptrdiff_t c, ptrdiff_t m, ptrdiff_t first,
                             ptrdiff_t n, ptrdiff_t x_step, ptrdiff_t y_step)
{
    REAL *const x = (REAL *)x_ + first, *const y = (REAL *)y_ + first;
    const REAL *const row = (const REAL *)row_ + first;
#define PART(vectors, left)                                                                                          \
    F(spread_rows)(vectors, left, x + k, y + k, row + k, gains, inputs, targets, C(factor), c, m, x_step, y_step);
    IN_PARTS(PART)
#undef PART
}
#undef OF
#undef EACH_VECTOR
#undef IN_PARTS

#if !FNN_IS_DOUBLE /* asks for rows that are wanted soon */
static void fetch_rows(const void *table, const int32_t *index, ptrdiff_t n, ptrdiff_t size, ptrdiff_t row)
{
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j < size; j += 64) __builtin_prefetch((const char *)table + index[i] * row + j);
}
#endif
#undef UNROLL
#undef UPDATE_COLUMNS
