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
    *first = at < 0 ? -at : 0;
    *last = size > at ? size - at : 0;
    if (step > 1) { /* a division takes as long as a row */
        *first = (*first + step - 1) / step;
        *last = (*last + step - 1) / step;
    }
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

/* The first columns of rows, behind which a vector may be read, one row after the other. */
static void F(crop)(void *to_, const void *from_, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from_row)
{
    REAL *to = to_;
    const REAL *from = from_;
    if (columns == from_row) columns *= rows, rows = 1;
    for (; rows--; to += columns, from += from_row)
        for (ptrdiff_t c = 0; c < columns; c += F(lanes)) F(give)(to + c, *(const F(vector) *)(from + c), columns - c);
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

/* --- pooling. A vector holds as many windows of a row; an image with padding is copied, so that taps need no bounds. */
enum { F(MEANS), F(MAXIMA), F(MAXIMA_AND_TAPS) };

/* Every step-th of the numbers at `from`, `left` of them; other lanes read beyond, by less than 2 vectors. `near` is the
   step where it is known to the compiler, or 0. */
FNN_INLINE F(vector) F(every)(const int near, const REAL *from, ptrdiff_t step, ptrdiff_t left)
{
    if (near == 1) return *(const F(vector) *)from;
    if (near == 2) return F(evens)(*(const F(vector) *)from, *(const F(vector) *)(from + F(lanes)));
    F(vector) v = {0};
    for (int l = 0; l < F(lanes) && l < left; l++) v[l] = from[l * step];
    return v;
}

/* Keep the larger of both and where it came from: of equals the first, of NaN the last. */
FNN_INLINE void F(keep)(F(vector) *best, F(integers) *at, F(vector) v, F(integers) here)
{
    const F(integers) wins = (v > *best) | (v != v);
    *best = (F(vector))((wins & (F(integers))v) | (~wins & (F(integers))*best));
    *at = (wins & here) | (~wins & *at);
}

FNN_INLINE void F(give_taps)(int32_t *to, F(integers) tap, ptrdiff_t left)
{
    F(integer) v[F(lanes)] __attribute__((aligned(FNN_VECTOR)));
    *(F(integers) *)v = tap;
    const int n = left < F(lanes) ? (int)left : F(lanes);
    SIMD for (int l = 0; l < F(lanes); l++) if (l < n) to[l] = (int32_t)v[l];
}

/* The first tap of window i that lies inside of the axis, or `kernel`, and the one behind the last. */
FNN_INLINE void F(taps_inside)(ptrdiff_t *first, ptrdiff_t *last, const fnn_axis *a, ptrdiff_t i)
{
    const ptrdiff_t at = i * a->stride - a->before;
    F(inside)(first, last, a->size, at, a->dilation, a->kernel);
    if (*first == *last) *first = a->kernel;
}

FNN_INLINE void F(pool)(const int how, const int near, REAL *y, int32_t *at, const REAL *x, const REAL *end, const REAL *h_size,
                        const REAL *w_size, REAL *scratch, const fnn_axis *h, const fnn_axis *w, ptrdiff_t images)
{
    const ptrdiff_t wide = fnn_pool_width(w), size = h->size * w->size;
    const int padded = w->before || (w->out - 1) * w->stride + (w->kernel - 1) * w->dilation >= w->size;
    const REAL fill = how == F(MEANS) ? C(0) : -C(INFINITY);
    int blank = 0;
    for (ptrdiff_t i = 0; i < images; i++, x += size) {
        const REAL *rows = x;
        ptrdiff_t pitch = w->size;
        if (padded || end - (x + size) < wide - w->size) {
            if (!blank++)
                for (ptrdiff_t k = 0; k < h->size * wide; k++) scratch[k] = fill;
            for (ptrdiff_t r = 0; r < h->size; r++)
                memcpy(scratch + r * wide + w->before, x + r * w->size, (size_t)w->size * sizeof(REAL));
            rows = scratch;
            pitch = wide;
        }
        for (ptrdiff_t r = 0; r < h->out; r++) {
            ptrdiff_t top, bottom;
            F(taps_inside)(&top, &bottom, h, r);
            const REAL *const corner = rows + (r * h->stride - h->before) * pitch;
            for (ptrdiff_t c = 0; c < w->out; c += F(lanes)) {
                const ptrdiff_t left = w->out - c;
                F(vector) best = F(all)(fill);
                F(integers) tap = {0};
                if (how == F(MAXIMA_AND_TAPS)) {
                    tap += (F(integer))(top < bottom ? top * w->kernel : -1);
                    for (int l = 0; padded && l < F(lanes) && l < left; l++) {
                        ptrdiff_t first, last;
                        F(taps_inside)(&first, &last, w, c + l);
                        tap[l] = first < w->kernel && top < bottom ? (F(integer))(top * w->kernel + first) : -1;
                    }
                }
                for (ptrdiff_t j = top; j < bottom; j++)
                    for (ptrdiff_t k = 0; k < w->kernel; k++) {
                        const REAL *const from = corner + j * h->dilation * pitch + c * w->stride + k * w->dilation;
                        const F(vector) v = F(every)(near, from, w->stride, left);
                        if (how == F(MEANS)) best += v;
                        else F(keep)(&best, &tap, v, (F(integers)){0} + (F(integer))(j * w->kernel + k));
                    }
                if (how == F(MEANS)) best /= h_size[r] * (w_size ? F(take)(w_size + c, left, 1) : F(all)((REAL)w->kernel));
                F(give)(y + c, best, left);
                if (how == F(MAXIMA_AND_TAPS)) F(give_taps)(at + c, tap, left);
            }
            y += w->out;
            if (how == F(MAXIMA_AND_TAPS)) at += w->out;
        }
    }
}

#define POOL(how, ...)                                             \
    if (w->stride == 1) F(pool)(how, 1, __VA_ARGS__);              \
    else if (w->stride == 2) F(pool)(how, 2, __VA_ARGS__);         \
    else F(pool)(how, 0, __VA_ARGS__)

/* The largest element of each window of images, and the tap it came from, -1 for none; `at` may be NULL. */
static void F(max_pool)(void *y, int32_t *at, const void *x, const void *end, void *scratch, const fnn_axis *h,
                        const fnn_axis *w, ptrdiff_t images)
{
    if (at) {
        POOL(F(MAXIMA_AND_TAPS), y, at, x, end, 0, 0, scratch, h, w, images);
    } else {
        POOL(F(MAXIMA), y, 0, x, end, 0, 0, scratch, h, w, images);
    }
}

/* The sum of each window over the product of its sizes; without w_size the columns' is the kernel. */
static void F(avg_pool)(void *y, const void *x, const void *end, const void *h_size, const void *w_size, void *scratch,
                        const fnn_axis *h, const fnn_axis *w, ptrdiff_t images)
{
    POOL(F(MEANS), y, 0, x, end, h_size, w_size, scratch, h, w, images);
}
#undef POOL

/* to[c * step + k * dilation] += from[c] for all taps k. */
FNN_INLINE void F(spread)(REAL *to, const REAL *from, ptrdiff_t step, ptrdiff_t kernel, ptrdiff_t dilation, ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k < kernel; k++)
        for (ptrdiff_t c = 0; c < n; c++) to[c * step + k * dilation] += from[c];
}

/* dx += the share of dy that each element of a window has; dx holds zeros. */
static void F(avg_pool_backward)(void *dx_, const void *dy_, const void *h_size_, const void *w_size_, void *scratch,
                                 const fnn_axis *h, const fnn_axis *w, ptrdiff_t images)
{
    REAL *dx = dx_, *const share = scratch, *const row = share + w->out;
    const REAL *dy = dy_, *const h_size = h_size_, *const w_size = w_size_;
    const ptrdiff_t wide = fnn_pool_width(w);
    memset(row, 0, (size_t)wide * sizeof(REAL));
    for (ptrdiff_t i = 0; i < images; i++, dx += h->size * w->size)
        for (ptrdiff_t r = 0; r < h->out; r++, dy += w->out) {
            ptrdiff_t top, bottom;
            F(taps_inside)(&top, &bottom, h, r);
            if (w_size)
                for (ptrdiff_t c = 0; c < w->out; c++) share[c] = dy[c] / (h_size[r] * w_size[c]);
            else
                for (ptrdiff_t c = 0; c < w->out; c++) share[c] = dy[c] / (h_size[r] * (REAL)w->kernel);
            if (w->stride == 2 && w->kernel == 2 && w->dilation == 1) {
                for (ptrdiff_t c = 0; c < w->out; c++) row[2 * c] = row[2 * c + 1] = share[c];
            } else {
                memset(row, 0, (size_t)wide * sizeof(REAL));
                if (w->stride == 1) F(spread)(row, share, 1, w->kernel, w->dilation, w->out);
                else F(spread)(row, share, w->stride, w->kernel, w->dilation, w->out);
            }
            for (ptrdiff_t j = top; j < bottom; j++) {
                REAL *const to = dx + (r * h->stride - h->before + j * h->dilation) * w->size;
                const REAL *const from = row + w->before;
                for (ptrdiff_t c = 0; c < w->size; c++) to[c] += from[c];
            }
        }
}

/* The maximum of n > 0 numbers and its index: of equals the first, of NaN the last. */
static void F(largest)(void *y, int32_t *at, const void *x_, ptrdiff_t n)
{
    const REAL *x = x_;
    F(integers) here, tap;
    for (int l = 0; l < F(lanes); l++) here[l] = l;
    F(vector) best = F(take)(x, n, -C(INFINITY));
    tap = here;
    for (ptrdiff_t i = F(lanes); i < n; i += F(lanes))
        F(keep)(&best, &tap, F(take)(x + i, n - i, -C(INFINITY)), here + (F(integer))i);
    REAL value[F(lanes)];
    memcpy(value, &best, sizeof value);
#pragma GCC unroll 8
    for (int half = F(lanes) / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int l = 0; l < half; l++) {
            const REAL other = value[l + half];
            value[l] = other > value[l] || other != other ? other : value[l];
        }
    const int nan = value[0] != value[0];
    const F(integers) hit = nan ? best != best : best == F(all)(value[0]);
    const F(integers) order = (hit & (nan ? -tap : tap)) | (~hit & INT32_MAX);
    F(integer) place[F(lanes)];
    memcpy(place, &order, sizeof place);
#pragma GCC unroll 8
    for (int half = F(lanes) / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int l = 0; l < half; l++) place[l] = place[l + half] < place[l] ? place[l + half] : place[l];
    *(REAL *)y = value[0];
    *at = (int32_t)(nan ? -place[0] : place[0]);
}
