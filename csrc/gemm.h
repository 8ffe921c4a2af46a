/* Matrix products in register blocks. Included once per REAL by kernels.c.
   The right factor is laid in panels: row after row, zeros for the columns that it lacks. They are `panel_width` columns
   wide, for products of few rows a multiple of it, so that memory is read in order: from the second cache one row is
   then multiplied up to 1.6 times as fast. The left factor is read in rows, as it is. A tile of the result stays in registers over the whole depth, each sum in one
   accumulator and in the order of k, so that a result depends neither on its place nor on how the rest is cut. */
#ifndef FNN_VECTOR
#if defined(__AVX512F__)
#define FNN_VECTOR 64 /* bytes */
#define FNN_TILE_ROWS 12 /* with 2 vectors 24 sums of 32 registers: 253 of 256 GFLOP/s on a Zen 5 */
#elif defined(__AVX__)
#define FNN_VECTOR 32
#define FNN_TILE_ROWS 6 /* 12 sums of 16 registers: 126 of 128 */
#else
#define FNN_VECTOR 16
#define FNN_TILE_ROWS 6
#endif
#endif

#if FNN_IS_DOUBLE
typedef int64_t F(integer);
#else
typedef int32_t F(integer);
#endif
#define FNN_VECTOR_OF(type) type __attribute__((vector_size(FNN_VECTOR), aligned(sizeof(REAL)), may_alias))
typedef FNN_VECTOR_OF(REAL) F(vector);
typedef FNN_VECTOR_OF(F(integer)) F(integers);
#undef FNN_VECTOR_OF
enum { F(lanes) = FNN_VECTOR / sizeof(REAL), F(panel_width) = 2 * F(lanes) };
enum { F(panel_depth) = 32768 / (F(panel_width) * sizeof(REAL)) }; /* rows of a panel that fill 32 KB */

#include "vectors.h"

/* Columns that a tile of so many rows takes: low ones are wider, since a sum is ready for its next term only after four
   cycles. */
FNN_INLINE ptrdiff_t F(tile_width)(ptrdiff_t rows) { return (rows == 1 ? 4 : rows <= 3 ? 2 : 1) * F(panel_width); }

/* The width of a panel where `columns` are left. */
FNN_INLINE ptrdiff_t F(row_of_panel)(ptrdiff_t columns, ptrdiff_t width)
{
    return columns < width ? (columns + F(panel_width) - 1) / F(panel_width) * F(panel_width) : width;
}

/* out = init + a @ panel, a tile of rows x vectors; rows of the panel lie `step` apart. */
FNN_INLINE void F(tile)(const int rows, const int vectors, REAL *out, const REAL *init, const REAL *a,
                        const REAL *panel, ptrdiff_t out_row, ptrdiff_t init_row, ptrdiff_t a_row, ptrdiff_t step,
                        ptrdiff_t depth)
{
    F(vector) sum[FNN_TILE_ROWS][8], b[8];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) sum[r][v] = *(const F(vector) *)(init + r * init_row + v * F(lanes));
    for (ptrdiff_t k = 0; k < depth; k++, panel += step) {
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) b[v] = *(const F(vector) *)(panel + v * F(lanes));
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
            for (int v = 0; v < vectors; v++) sum[r][v] += a[r * a_row + k] * b[v];
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) *(F(vector) *)(out + r * out_row + v * F(lanes)) = sum[r][v];
}

static void F(any_tile)(int rows, int vectors, REAL *out, const REAL *init, const REAL *a, const REAL *panel,
                        ptrdiff_t out_row, ptrdiff_t init_row, ptrdiff_t a_row, ptrdiff_t step, ptrdiff_t depth)
{
    switch (rows * 8 + vectors - 1) {
#define TILE(rows, vectors)                                                                                      \
    case rows * 8 + vectors - 1:                                                                                 \
        F(tile)(rows, vectors, out, init, a, panel, out_row, init_row, a_row, step, depth);                   \
        break;
        TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6) TILE(1, 7) TILE(1, 8)
        TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(2, 4) TILE(3, 1) TILE(3, 2) TILE(3, 3) TILE(3, 4)
        TILE(4, 1) TILE(4, 2) TILE(5, 1) TILE(5, 2) TILE(6, 1) TILE(6, 2)
#if FNN_TILE_ROWS == 12
        TILE(7, 1) TILE(7, 2) TILE(8, 1) TILE(8, 2) TILE(9, 1) TILE(9, 2)
        TILE(10, 1) TILE(10, 2) TILE(11, 1) TILE(11, 2) TILE(12, 1) TILE(12, 2)
#endif
#undef TILE
    }
}

/* out (m, n) = init + a (m, depth) @ panels, which were packed for products of `packed_for` rows; out may be init; an
   init_row of 0 repeats the first row. */
static void F(product)(void *out_, const void *init_, const void *a_, const void *panels_, ptrdiff_t m, ptrdiff_t n,
                       ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t init_row, ptrdiff_t a_row, ptrdiff_t packed_for)
{
    REAL *const out = out_, pad[FNN_TILE_ROWS * F(panel_width)];
    const REAL *const init = init_, *const a = a_;
    const ptrdiff_t tiles = (m + FNN_TILE_ROWS - 1) / FNN_TILE_ROWS, width = F(tile_width)(packed_for);
    const ptrdiff_t wide = F(tile_width)(m) < width ? F(tile_width)(m) : width;
    for (ptrdiff_t j = 0; j < n; j += wide) {
        const ptrdiff_t first = j / width * width, step = F(row_of_panel)(n - first, width);
        const ptrdiff_t columns = n - j < wide ? n - j : wide;
        const REAL *const panel = (const REAL *)panels_ + first * depth + (j - first);
        const int vectors = (int)((columns + F(lanes) - 1) / F(lanes));
        for (ptrdiff_t t = 0; t < tiles; t++) {
            const ptrdiff_t i = m * t / tiles;
            const int rows = (int)(m * (t + 1) / tiles - i);
            REAL *const to = out + i * out_row + j;
            const REAL *const from = init + i * init_row + j, *const left = a + i * a_row;
            if (columns % F(lanes) == 0) {
                F(any_tile)(rows, vectors, to, from, left, panel, out_row, init_row, a_row, step, depth);
                continue;
            }
            const ptrdiff_t row = vectors * F(lanes);
            for (int r = 0; r < rows; r++)
                for (ptrdiff_t v = 0; v < row; v += F(lanes))
                    *(F(vector) *)(pad + r * row + v) = F(take)(from + r * init_row + v, columns - v, 0);
            F(any_tile)(rows, vectors, pad, pad, left, panel, row, row, a_row, step, depth);
            for (int r = 0; r < rows; r++)
                for (ptrdiff_t v = 0; v < row; v += F(lanes))
                    F(give)(to + r * out_row + v, *(const F(vector) *)(pad + r * row + v), columns - v);
        }
    }
}

/* The elements of a and b by turns, from `start` on. */
FNN_INLINE F(vector) F(zip)(F(vector) a, F(vector) b, int start)
{
#ifdef __clang__
    F(vector) z;
    for (int i = 0; i < F(lanes); i++) z[i] = i % 2 ? b[start + i / 2] : a[start + i / 2];
    return z;
#else
    F(integers) order;
#pragma GCC unroll 16
    for (int i = 0; i < F(lanes); i++) order[i] = start + i / 2 + i % 2 * F(lanes);
    return __builtin_shuffle(a, b, order);
#endif
}

/* The first `rows` rows of a square of lanes x lanes turned over, by log2(lanes) perfect shuffles of its rows */
FNN_INLINE void F(turn_square)(REAL *out, const REAL *in, ptrdiff_t out_row, ptrdiff_t in_row, ptrdiff_t rows)
{
    F(vector) square[2][F(lanes)];
#pragma GCC unroll 16
    for (int r = 0; r < F(lanes); r++) square[0][r] = *(const F(vector) *)(in + r * in_row);
    int from = 0;
#pragma GCC unroll 4
    for (int stage = 1; stage < F(lanes); stage *= 2, from = !from)
#pragma GCC unroll 8
        for (int r = 0; r < F(lanes) / 2; r++) {
            square[!from][2 * r] = F(zip)(square[from][r], square[from][r + F(lanes) / 2], 0);
            square[!from][2 * r + 1] = F(zip)(square[from][r], square[from][r + F(lanes) / 2], F(lanes) / 2);
        }
#pragma GCC unroll 16
    for (int r = 0; r < F(lanes); r++)
        if (r < rows) *(F(vector) *)(out + r * out_row) = square[from][r];
}

/* out (columns, rows) = in (rows, columns) turned over: whole squares, and the rest one by one. */
static void F(transpose)(void *out_, const void *in_, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t out_row,
                         ptrdiff_t in_row)
{
    REAL *const out = out_;
    const REAL *const in = in_;
    const ptrdiff_t whole_rows = rows / F(lanes) * F(lanes), whole_columns = columns / F(lanes) * F(lanes);
    for (ptrdiff_t j = 0; j < whole_columns; j += F(lanes))
        for (ptrdiff_t i = 0; i < whole_rows; i += F(lanes))
            F(turn_square)(out + j * out_row + i, in + i * in_row + j, out_row, in_row, F(lanes));
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = i < whole_rows ? whole_columns : 0; j < columns; j++) out[j * out_row + i] = in[i * in_row + j];
}

/* One panel: `depth` rows of `columns` numbers, element (k, j) at b[k * row + j * column], each in room for `step`. */
FNN_INLINE void F(pack_panel)(REAL *panel, const REAL *b, ptrdiff_t depth, ptrdiff_t columns, ptrdiff_t row,
                              ptrdiff_t column, ptrdiff_t step)
{
    if (columns < step) memset(panel, 0, (size_t)(depth * step) * sizeof(REAL));
    if (row == 1 && column != 1)
        F(transpose)(panel, b, columns, depth, step, column);
    else if (columns == step)
        for (ptrdiff_t k = 0; k < depth; k++) memcpy(panel + k * step, b + k * row, (size_t)step * sizeof(REAL));
    else
        for (ptrdiff_t k = 0; k < depth; k++)
            for (ptrdiff_t j = 0; j < columns; j++) panel[k * step + j] = b[k * row + j];
}

/* All panels of b (depth, n), for products of `rows` rows. */
static void F(pack)(void *panels, const void *b, ptrdiff_t depth, ptrdiff_t n, ptrdiff_t row, ptrdiff_t column,
                    ptrdiff_t rows)
{
    const ptrdiff_t width = F(tile_width)(rows);
    for (ptrdiff_t j = 0; j < n; j += width)
        F(pack_panel)((REAL *)panels + j * depth, (const REAL *)b + j * column, depth, n - j < width ? n - j : width,
                      row, column, F(row_of_panel)(n - j, width));
}

/* out (m, n) = init + a (m, depth) @ b, packed panel by panel in the first cache. */
static void F(matmul)(void *out, const void *init, const void *a, const void *b, ptrdiff_t m, ptrdiff_t n,
                      ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t init_row, ptrdiff_t a_row, ptrdiff_t row,
                      ptrdiff_t column)
{
    REAL panel[F(panel_depth) * F(panel_width)] __attribute__((aligned(64)));
    ptrdiff_t j = 0;
    if (m <= FNN_TILE_ROWS && column == 1) /* what is read once needs no packing, but for a part of a vector */
        for (const ptrdiff_t whole = n / F(lanes) * F(lanes), width = F(tile_width)(m); j < whole;) {
            const int vectors = (int)((whole - j < width ? whole - j : width) / F(lanes));
            F(any_tile)((int)m, vectors, (REAL *)out + j, (const REAL *)init + j, a, (const REAL *)b + j, out_row, init_row,
                        a_row, row, depth);
            j += vectors * F(lanes);
        }
    for (; j < n; j += F(panel_width)) {
        const ptrdiff_t columns = n - j < F(panel_width) ? n - j : F(panel_width);
        REAL *const to = (REAL *)out + j;
        for (ptrdiff_t k = 0; k == 0 || k < depth; k += F(panel_depth)) {
            const ptrdiff_t part = depth - k < F(panel_depth) ? depth - k : F(panel_depth);
            F(pack_panel)(panel, (const REAL *)b + k * row + j * column, part, columns, row, column, F(panel_width));
            F(product)(to, k ? to : (const REAL *)init + j, (const REAL *)a + k, panel, m, columns, part, out_row,
                       k ? out_row : init_row, a_row, FNN_TILE_ROWS);
        }
    }
}

/* v with every two neighbouring groups of `size` lanes exchanged */
FNN_INLINE F(vector) F(swapped)(F(vector) v, int size)
{
#ifdef __clang__
    F(vector) z;
    for (int i = 0; i < F(lanes); i++) z[i] = v[i ^ size];
    return z;
#else
    F(integers) order;
#pragma GCC unroll 16
    for (int i = 0; i < F(lanes); i++) order[i] = i ^ size;
    return __builtin_shuffle(v, order);
#endif
}

/* The sum of the lanes, in halves. */
FNN_INLINE REAL F(lane_sum)(F(vector) v)
{
    if (F(lanes) > 8) v += F(swapped)(v, 8);
    if (F(lanes) > 4) v += F(swapped)(v, 4);
    if (F(lanes) > 2) v += F(swapped)(v, 2);
    return v[0] + v[1];
}

/* The first `n` of the numbers at p, fewer than a vector; what follows is 0, and only read where `readable`. */
FNN_INLINE F(vector) F(few)(const REAL *p, ptrdiff_t n, int readable)
{
    REAL copy[F(lanes)] = {0};
    if (!readable) {
        for (ptrdiff_t i = 0; i < n; i++) copy[i] = p[i];
        p = copy;
    }
    F(integers) lane;
#pragma GCC unroll 16
    for (int i = 0; i < F(lanes); i++) lane[i] = i;
    return (F(vector))(*(const F(integers) *)p & (lane < (F(integer))n));
}

/* The last `n` numbers before `end`, in the last lanes; the others are 0, though their numbers are read. */
FNN_INLINE F(vector) F(last)(const REAL *end, ptrdiff_t n)
{
    F(integers) lane;
#pragma GCC unroll 16
    for (int i = 0; i < F(lanes); i++) lane[i] = i;
    return (F(vector))(*(const F(integers) *)(end - F(lanes)) & (lane >= (F(integer))(F(lanes) - n)));
}

/* out = init + the dot products of `rows` rows of a with `columns` rows of w; init is one row, and may be out of one. */
FNN_INLINE void F(dots)(const int rows, const int columns, REAL *out, const REAL *init, const REAL *w, const REAL *a,
                        ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t w_row, ptrdiff_t a_row)
{
    const ptrdiff_t whole = depth / F(lanes) * F(lanes), left = depth - whole;
    F(vector) sum[FNN_TILE_ROWS / 3][8], right[8];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) sum[r][j] = (F(vector)){0};
#define ADD(LOAD, offset)                                                                        \
    _Pragma("GCC unroll 8") for (int j = 0; j < columns; j++) right[j] = LOAD(w + j * w_row + offset); \
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)                                       \
    {                                                                                            \
        const F(vector) from = LOAD(a + r * a_row + offset);                                     \
        _Pragma("GCC unroll 8") for (int j = 0; j < columns; j++) sum[r][j] += from * right[j];  \
    }
#define WHOLE(p) *(const F(vector) *)(p)
#define LAST(p) F(last)(p, left)
#define ALL(p) F(take)(p, left, 0)
    for (ptrdiff_t k = 0; k < whole; k += F(lanes)) {
#pragma GCC unroll 8
        for (int r = 0; r < rows && rows > 1; r++) __builtin_prefetch(a + (rows + r) * a_row + k);
        ADD(WHOLE, k)
    }
    if (left && whole) {
        ADD(LAST, depth)
    } else if (left) {
        ADD(ALL, 0)
    }
#undef ALL
#undef LAST
#undef WHOLE
#undef ADD
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) out[r * out_row + j] = init[j] + F(lane_sum)(sum[r][j]);
}

static void F(any_dots)(int rows, int columns, REAL *out, const REAL *init, const REAL *w, const REAL *a,
                        ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t w_row, ptrdiff_t a_row)
{
    switch (columns) {
#define DOTS(columns)                                                                           \
    case columns:                                                                               \
        if (rows == 1)                                                                          \
            F(dots)(1, columns, out, init, w, a, depth, out_row, w_row, a_row);                 \
        else                                                                                    \
            F(dots)(FNN_TILE_ROWS / 3, columns, out, init, w, a, depth, out_row, w_row, a_row); \
        break;
        DOTS(1) DOTS(2) DOTS(3) DOTS(4) DOTS(5) DOTS(6) DOTS(7)
#undef DOTS
    }
}

/* out (n) += w (n, depth) @ a: one row against weights as they lie. */
static void F(matvec)(void *out_, const void *w_, const void *a, ptrdiff_t n, ptrdiff_t depth, ptrdiff_t w_row)
{
    REAL *out = out_;
    const REAL *w = w_;
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8, w += 8 * w_row) F(dots)(1, 8, out + j, out + j, w, a, depth, 0, w_row, 0);
    F(any_dots)(1, (int)(n - j), out + j, out + j, w, a, depth, 0, w_row, 0);
}

/* out (m, n) = init + a (m, depth) @ w (n, depth) turned over, where n is below 8, so that results fill no vector: the
   rows are summed along. init is one row. Four rows at a time use the registers well, so that 500 x 300 by 5 takes
   three fifths of the time of tiles. */
static void F(matvecs)(void *out_, const void *init, const void *w, const void *a_, ptrdiff_t m, ptrdiff_t n,
                       ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t w_row, ptrdiff_t a_row)
{
    REAL *const out = out_;
    const REAL *const a = a_;
    for (ptrdiff_t i = 0; i < m;) {
        const int rows = m - i < FNN_TILE_ROWS / 3 ? 1 : FNN_TILE_ROWS / 3;
        F(any_dots)(rows, (int)n, out + i * out_row, init, w, a + i * a_row, depth, out_row, w_row, a_row);
        i += rows;
    }
}
