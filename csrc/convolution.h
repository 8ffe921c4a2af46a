/* Convolution and pooling. Included once per REAL by kernels.c.
   A plane is what one tap of a window sees of an image: every so many-th row and column of it, from an offset on, with
   padding around. A convolution is a product with the planes as they lie, pooling combines them element by element. */
#if defined(__AVX512F__)
enum { F(WINDOW_ROWS) = 8, F(WINDOW_VECTORS) = 3 }; /* 24 sums of 32 registers: 127 of 128 G multiply-adds/s on a Zen 5 */
#elif defined(__AVX__)
enum { F(WINDOW_ROWS) = 4, F(WINDOW_VECTORS) = 3 }; /* 12 of 16 */
#else
enum { F(WINDOW_ROWS) = 4, F(WINDOW_VECTORS) = 2 };
#endif
enum { F(WINDOW_WIDTH) = F(WINDOW_VECTORS) * F(lanes) };
#define WINDOW_DEPTH 256 /* terms in one sum: rows of b that fit into the first cache */
#define WINDOW_BLOCK 64  /* rows of a that stay in the second cache meanwhile */

/* Every other number of a, then of b. */
FNN_INLINE F(vector) F(evens)(F(vector) a, F(vector) b)
{
#ifdef __clang__
    F(vector) z;
    for (int i = 0; i < F(lanes); i++) z[i] = i < F(lanes) / 2 ? a[2 * i] : b[2 * i - F(lanes)];
    return z;
#else
    F(integers) order;
#pragma GCC unroll 16
    for (int i = 0; i < F(lanes); i++) order[i] = 2 * i;
    return __builtin_shuffle(a, b, order);
#endif
}

/* n numbers; whole vectors are written, so there must be room for one more. */
FNN_INLINE REAL *F(blank)(REAL *to, REAL fill, ptrdiff_t n)
{
    const F(vector) v = F(all)(fill);
    for (ptrdiff_t i = 0; i < n; i += F(lanes)) *(F(vector) *)(to + i) = v;
    return to + n;
}

/* The same with every step-th number at `from`; whole vectors are read where they end before `end`. */
FNN_INLINE REAL *F(pick)(REAL *to, const REAL *from, const REAL *end, ptrdiff_t step, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    if (step == 1)
        for (; i < n && end - (from + i) >= F(lanes); i += F(lanes)) *(F(vector) *)(to + i) = *(const F(vector) *)(from + i);
    else if (step == 2)
        for (; i < n && end - (from + 2 * i) >= 2 * F(lanes); i += F(lanes)) {
            const F(vector) *const pair = (const F(vector) *)(from + 2 * i);
            *(F(vector) *)(to + i) = F(evens)(pair[0], pair[1]);
        }
    for (; i < n; i++) to[i] = from[i * step];
    return to + n;
}

/* A plane with its rows [top, bottom) and columns [left, right) that lie inside the image. One that is as wide as the
   image and skips nothing is a single run of it, as soon as the columns outside are seen to; so is one column. */
typedef struct {
    fnn_plane p;
    ptrdiff_t top, bottom, left, right, run;
} F(inner);

FNN_INLINE void F(inside)(ptrdiff_t *first, ptrdiff_t *last, ptrdiff_t size, ptrdiff_t at, ptrdiff_t step, ptrdiff_t n)
{
    *first = at < 0 ? (step - 1 - at) / step : 0;
    *last = size > at ? (size - at + step - 1) / step : 0;
    if (*last > n) *last = n;
    if (*first > *last) *first = *last;
}

FNN_INLINE F(inner) F(inner_part)(const fnn_plane *plane)
{
    F(inner) in = {.p = *plane};
    fnn_plane *const p = &in.p;
    if (p->width == 1 && p->columns == 1 && p->column == 0)
        *p = (fnn_plane){1, p->height, 0, 1, 1, p->row, p->row_step, p->rows};
    F(inside)(&in.top, &in.bottom, p->height, p->row, p->row_step, p->rows);
    F(inside)(&in.left, &in.right, p->width, p->column, p->column_step, p->columns);
    if (p->columns == p->width && p->column_step == 1 && p->row_step == 1 && in.top < in.bottom && in.left < in.right)
        in.run = (in.bottom - in.top - 1) * p->columns + in.right - in.left;
    return in;
}

/* Fill the columns outside of the image, in the rows inside. */
FNN_INLINE void F(fill_sides)(REAL *to, REAL fill, const F(inner) *in)
{
    for (ptrdiff_t r = in->top; r < in->bottom; r++) {
        for (ptrdiff_t c = 0; c < in->left; c++) to[r * in->p.columns + c] = fill;
        for (ptrdiff_t c = in->right; c < in->p.columns; c++) to[r * in->p.columns + c] = fill;
    }
}

/* A plane of the image, row after row; `end` is that of the array the image lies in. One vector more may be written. */
static void F(read_plane)(void *to_, const void *image_, const void *end, const fnn_plane *plane, double fill)
{
    REAL *to = to_;
    const F(inner) in = F(inner_part)(plane);
    const fnn_plane *const p = &in.p;
    const REAL *from = (const REAL *)image_ + (p->row + in.top * p->row_step) * p->width + p->column
                       + in.left * p->column_step;
    F(blank)(to, (REAL)fill, in.top * p->columns);
    if (in.run) {
        F(pick)(to + in.top * p->columns + in.left, from, end, 1, in.run);
        F(fill_sides)(to, (REAL)fill, &in);
    } else {
        to += in.top * p->columns;
        for (ptrdiff_t r = in.top; r < in.bottom; r++, from += p->row_step * p->width) {
            to = F(blank)(to, (REAL)fill, in.left);
            to = F(pick)(to, from, end, p->column_step, in.right - in.left);
            to = F(blank)(to, (REAL)fill, p->columns - in.right);
        }
    }
    F(blank)((REAL *)to_ + in.bottom * p->columns, (REAL)fill, (p->rows - in.bottom) * p->columns);
}

/* Add a plane to where it was read from; what was padding is dropped, or set to 0. */
static void F(add_plane)(void *image_, void *from_, const fnn_plane *plane)
{
    const F(inner) in = F(inner_part)(plane);
    const fnn_plane *const p = &in.p;
    const ptrdiff_t step = p->column_step;
    REAL *to = (REAL *)image_ + (p->row + in.top * p->row_step) * p->width + p->column + in.left * step;
    const REAL *from = (const REAL *)from_ + in.top * p->columns + in.left;
    if (in.run) {
        F(fill_sides)(from_, 0, &in);
        F(accumulate)(to, from, in.run);
        return;
    }
    for (ptrdiff_t r = in.top; r < in.bottom; r++, from += p->columns, to += p->row_step * p->width) {
        if (step == 1)
            for (ptrdiff_t c = 0; c < in.right - in.left; c++) to[c] += from[c];
        else
            for (ptrdiff_t c = 0; c < in.right - in.left; c++) to[c * step] += from[c];
    }
}

/* out = init + a @ b, or out += a @ b where there is no init (one number a row). */
FNN_INLINE void F(window_tile)(const int rows, const int vectors, REAL *out, const REAL *init, const REAL *a,
                               const ptrdiff_t *a_rows, const REAL *b, const ptrdiff_t *b_rows, ptrdiff_t depth,
                               ptrdiff_t out_row)
{
    F(vector) sum[8][4] = {0}, right[4];
    const REAL *left[8];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) left[r] = a + a_rows[r];
    for (ptrdiff_t k = 0; k < depth; k++) {
        const REAL *const row = b + b_rows[k];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) right[v] = *(const F(vector) *)(row + v * F(lanes));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sum[r][v] += left[r][k] * right[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            F(vector) *const to = (F(vector) *)(out + r * out_row + v * F(lanes));
            if (init) *to = sum[r][v] + init[r];
            else *to += sum[r][v];
        }
}

static void F(any_window_tile)(int rows, int vectors, REAL *out, const REAL *init, const REAL *a,
                               const ptrdiff_t *a_rows, const REAL *b, const ptrdiff_t *b_rows, ptrdiff_t depth,
                               ptrdiff_t out_row)
{
    switch (rows * 4 + vectors) {
#define TILE(rows, vectors)                                                                           \
    case rows * 4 + vectors:                                                                          \
        F(window_tile)(rows, vectors, out, init, a, a_rows, b, b_rows, depth, out_row);               \
        break;
        TILE(1, 1) TILE(1, 2) TILE(2, 1) TILE(2, 2) TILE(4, 1) TILE(4, 2)
#ifdef __AVX__
        TILE(1, 3) TILE(2, 3) TILE(4, 3)
#endif
#ifdef __AVX512F__
        TILE(8, 1) TILE(8, 2) TILE(8, 3)
#endif
#undef TILE
    }
}

/* One tile of up to WINDOW_VECTORS vectors; one that is not whole goes through a padded copy. */
static void F(window_columns)(int rows, ptrdiff_t columns, REAL *out, const REAL *init, const REAL *a,
                              const ptrdiff_t *a_rows, const REAL *b, const ptrdiff_t *b_rows, ptrdiff_t depth,
                              ptrdiff_t out_row)
{
    const int vectors = (int)((columns + F(lanes) - 1) / F(lanes));
    if (columns % F(lanes) == 0) {
        F(any_window_tile)(rows, vectors, out, init, a, a_rows, b, b_rows, depth, out_row);
        return;
    }
    REAL pad[F(WINDOW_ROWS) * F(WINDOW_WIDTH)];
    const size_t bytes = (size_t)columns * sizeof(REAL);
    if (!init)
        for (int r = 0; r < rows; r++) memcpy(pad + r * F(WINDOW_WIDTH), out + r * out_row, bytes);
    F(any_window_tile)(rows, vectors, pad, init, a, a_rows, b, b_rows, depth, F(WINDOW_WIDTH));
    for (int r = 0; r < rows; r++) memcpy(out + r * out_row, pad + r * F(WINDOW_WIDTH), bytes);
}

/* out (m, n) = init (m) + a @ b, or out += a @ b where init is NULL. Row i of a begins at a + a_rows[i], row k of b at
   b + b_rows[k], behind whose last column a tile may be read. */
static void F(window_product)(void *out_, const void *init_, const void *a_, const ptrdiff_t *a_rows, const void *b_,
                              const ptrdiff_t *b_rows, ptrdiff_t m, ptrdiff_t n, ptrdiff_t depth, ptrdiff_t out_row)
{
    REAL *const out = out_;
    const REAL *const init = init_, *const a = a_, *const b = b_;
    for (ptrdiff_t k = 0; k == 0 || k < depth; k += WINDOW_DEPTH) {
        const ptrdiff_t part = depth - k < WINDOW_DEPTH ? depth - k : WINDOW_DEPTH;
        for (ptrdiff_t top = 0; top < m; top += WINDOW_BLOCK) {
            const ptrdiff_t bottom = m - top < WINDOW_BLOCK ? m : top + WINDOW_BLOCK;
            for (ptrdiff_t j = 0; j < n; j += F(WINDOW_WIDTH)) {
                const ptrdiff_t columns = n - j < F(WINDOW_WIDTH) ? n - j : F(WINDOW_WIDTH);
                int rows = F(WINDOW_ROWS);
                for (ptrdiff_t i = top; i < bottom; i += rows) {
                    while (rows > bottom - i) rows /= 2;
                    F(window_columns)(rows, columns, out + i * out_row + j, init && k == 0 ? init + i : 0, a + k,
                                      a_rows + i, b + j, b_rows + k, part, out_row);
                }
            }
        }
    }
}

/* out[i * out_row] += the dot product of row i of a, which begins at a + a_rows[i], with b. */
static void F(window_dots)(void *out_, const void *a_, const ptrdiff_t *a_rows, const void *b_, ptrdiff_t m,
                           ptrdiff_t depth, ptrdiff_t out_row)
{
    REAL *const out = out_;
    const REAL *const a = a_, *const b = b_;
    const ptrdiff_t whole = depth / F(lanes) * F(lanes);
    for (ptrdiff_t top = 0; top < m; top += 8) {
        const int rows = m - top < 8 ? (int)(m - top) : 8;
        F(vector) sum[8] = {0};
        const REAL *left[8];
        for (int r = 0; r < 8; r++) left[r] = a + a_rows[top + (r < rows ? r : 0)];
        for (ptrdiff_t k = 0; k < whole; k += F(lanes)) {
            const F(vector) right = *(const F(vector) *)(b + k);
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) sum[r] += *(const F(vector) *)(left[r] + k) * right;
        }
        if (whole < depth) {
            const F(vector) right = F(few)(b + whole, depth - whole, 0);
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) sum[r] += F(few)(left[r] + whole, depth - whole, 1) * right;
        }
        for (int r = 0; r < rows; r++) out[(top + r) * out_row] += F(lane_sum)(sum[r]);
    }
}

/* y = max(y, x), and at = tap where x won: of equals the first stays, of NaN the last. `at` may be NULL. */
static void F(keep_max)(void *y_, int32_t *at, const void *x_, int32_t tap, ptrdiff_t n)
{
    REAL *y = y_;
    const REAL *x = x_;
    if (!at) {
        SIMD for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i] > y[i] || x[i] != x[i] ? x[i] : y[i];
        return;
    }
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const int wins = x[i] > y[i] || x[i] != x[i];
        y[i] = wins ? x[i] : y[i];
        at[i] = wins ? tap : at[i];
    }
}

/* The maximum of n > 0 numbers and its index, as above: one for each lane, then that of the lanes. */
static void F(largest)(void *y, int32_t *at, const void *x_, ptrdiff_t n)
{
    const REAL *x = x_;
    REAL top[BLOCK], rest[BLOCK];
    int32_t block[BLOCK] = {0}, k = 0, best = 0;
    for (int l = 0; l < BLOCK; l++) top[l] = rest[l] = -C(INFINITY);
    for (; n > BLOCK; n -= BLOCK, x += BLOCK) F(keep_max)(top, block, x, k++, BLOCK);
    memcpy(rest, x, (size_t)n * sizeof(REAL));
    F(keep_max)(top, block, rest, k, BLOCK);
    for (int32_t l = 1; l < BLOCK; l++) {
        const REAL a = top[l], b = top[best];
        const int before = block[l] < block[best]; /* else after, since l > best */
        if (a != a ? b == b || !before : a > b || (a == b && before)) best = l;
    }
    *(REAL *)y = top[best];
    *at = block[best] * BLOCK + best;
}
