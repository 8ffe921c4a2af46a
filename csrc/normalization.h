/* Normalization by rows and by channels. Included once per REAL by kernels.c.
   Statistics are double in either dtype. A mean meets an element as (x - centre) - rest, centre being the REAL next to
   it, so that numbers far from 0 lose nothing. Long sums are taken in stretches, and those joined in double. */
#define STRETCH 4096 /* numbers in one sum: they are still in the cache for a second pass */
#define GROUP 64     /* rows in one sum */
#define SUMS 4       /* at a time, since an addition takes four cycles */
#define EACH_SUM(a) for (int a = 0; a < SUMS; a++)
#define STEP (SUMS * F(lanes))
#define TOTAL(s) F(lane_sum)((s[0] + s[1]) + (s[2] + s[3]))

/* Join `added` numbers to `count` others: their mean and the sum of squared deviations from it. */
FNN_INLINE void F(join)(double *mean, double *m2, double count, double added_mean, double added_m2, double added)
{
    const double delta = added_mean - *mean, share = added / (count + added);
    *mean += delta * share;
    *m2 += added_m2 + delta * (count * share) * delta;
}

/* The squared deviations from the mean, of those from a number that is `rest` below it. */
FNN_INLINE double F(about_mean)(double squares, double rest, double sum)
{
    return squares < rest * sum ? 0 : squares - rest * sum;
}

/* Join n numbers of which a number near the mean is known, and the sums of the deviations from it and of their squares. */
FNN_INLINE void F(join_sums)(double *mean, double *m2, double count, double centre, double sum, double squares, double n)
{
    const double rest = sum / n, exact = F(about_mean)(squares, rest, sum);
    F(join)(mean, m2, count, centre + rest, exact, n);
}

/* What join_sums wants of a stretch: one pass for the mean, one for the deviations, which fetches what comes next. */
FNN_INLINE REAL F(deviations)(double *sum, double *squares, const REAL *x, ptrdiff_t n, double inverse, const REAL *next)
{
    F(vector) s[SUMS] = {0}, q[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + STEP <= n; i += STEP) EACH_SUM(a) s[a] += F(take)(x + i + a * F(lanes), STEP, C(0));
    for (; i < n; i += F(lanes)) s[0] += F(take)(x + i, n - i, C(0));
    const REAL centre = TOTAL(s) * (REAL)inverse;
#define DEVIATE(a, x)                        \
    do {                                     \
        const F(vector) d = (x) - centre;    \
        s[a] += d;                           \
        q[a] += d * d;                       \
    } while (0)
    EACH_SUM(a) s[a] = F(all)(C(0));
    for (i = 0; i + STEP <= n; i += STEP) {
        EACH_SUM(a) __builtin_prefetch(next + i + a * F(lanes));
        EACH_SUM(a) DEVIATE(a, F(take)(x + i + a * F(lanes), STEP, centre));
    }
    for (; i < n; i += F(lanes)) DEVIATE(0, F(take)(x + i, n - i, centre));
#undef DEVIATE
    *sum = TOTAL(s);
    *squares = TOTAL(q);
    return centre;
}

/* Mean and sum of squared deviations of all numbers of some rows, `step` apart. */
FNN_INLINE void F(moments)(double *mean, double *m2, const REAL *x, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n)
{
    *mean = *m2 = 0;
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t i = 0; i < n; i += STRETCH) {
            const ptrdiff_t m = n - i < STRETCH ? n - i : STRETCH;
            const REAL *const at = x + r * step + i, *const next = x + r * step + (i + m < n ? i + m : step);
            double sum, squares;
            const REAL centre = F(deviations)(&sum, &squares, at, m, 1 / (double)m, next);
            F(join_sums)(mean, m2, (double)(r * n + i), centre, sum, squares, (double)m);
        }
}

static void F(row_moments)(double *mean, double *m2, const void *x, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n)
{
    F(moments)(mean, m2, x, rows, step, n);
}

FNN_INLINE double F(square_sum)(const REAL *x, ptrdiff_t n)
{
    double total = 0;
    for (ptrdiff_t start = 0; start < n; start += STRETCH) {
        const ptrdiff_t end = n - start < STRETCH ? n : start + STRETCH;
        F(vector) q[SUMS] = {0};
        ptrdiff_t i = start;
        for (; i + STEP <= end; i += STEP)
            EACH_SUM(a) {
                const F(vector) v = F(take)(x + i + a * F(lanes), STEP, C(0));
                __builtin_prefetch(x + i + n + a * F(lanes));
                q[a] += v * v;
            }
        for (; i < end; i += F(lanes)) {
            const F(vector) v = F(take)(x + i, end - i, C(0));
            q[0] += v * v;
        }
        total += TOTAL(q);
    }
    return total;
}

/* (x - centre) * scale + shift, the numbers of a row with their statistics taken off */
typedef struct {
    REAL centre, scale, shift;
} F(normal);

FNN_INLINE F(normal) F(normal_of)(double mean, double rstd)
{
    const REAL centre = (REAL)mean;
    return (F(normal)){centre, (REAL)rstd, (REAL)((centre - mean) * rstd)};
}

FNN_INLINE F(vector) F(normalized)(F(vector) x, F(normal) by) { return (x - by.centre) * by.scale + by.shift; }

/* y = normalized(x) * weight + bias by rows; weight and bias may be NULL, and without `mean` none is taken off. */
static void F(layer_norm)(void *y_, double *mean, double *rstd, const void *x_, const void *weight_, const void *bias_,
                          double eps, ptrdiff_t rows, ptrdiff_t n)
{
    const REAL *x = x_, *const weight = weight_, *const bias = bias_;
    const double inverse = 1 / (double)n;
    REAL *y = y_;
    for (ptrdiff_t r = 0; r < rows; r++, x += n, y += n) {
        double m = 0, m2;
        if (!mean) {
            m2 = F(square_sum)(x, n);
        } else if (n <= STRETCH) {
            double sum, squares;
            const REAL centre = F(deviations)(&sum, &squares, x, n, inverse, x + n);
            m2 = F(about_mean)(squares, sum * inverse, sum);
            mean[r] = m = centre + sum * inverse;
        } else {
            F(moments)(&m, &m2, x, 1, n, n);
            mean[r] = m;
        }
        rstd[r] = 1 / sqrt(m2 * inverse + eps);
        const F(normal) by = F(normal_of)(m, rstd[r]);
        for (ptrdiff_t i = 0; i < n; i += F(lanes)) {
            F(vector) v = F(normalized)(F(take)(x + i, n - i, C(0)), by);
            if (weight) v *= F(take)(weight + i, n - i, C(0));
            if (bias) v += F(take)(bias + i, n - i, C(0));
            F(give)(y + i, v, n - i);
        }
    }
}

/* A few rows of layer_norm_backward: their dx, and what w_part and b_part gain. */
FNN_INLINE void F(backward_rows)(const int rows, REAL *dx, REAL *w_part, REAL *b_part, const REAL *dy, const REAL *x,
                                 const REAL *weight, const double *mean, const double *rstd, ptrdiff_t n)
{
    F(normal) by[SUMS];
    double sum[SUMS] = {0}, dot[SUMS] = {0};
    for (int r = 0; r < rows; r++) by[r] = F(normal_of)(mean ? mean[r] : 0, rstd[r]);
    for (ptrdiff_t i = 0; i < n; i += STRETCH) {
        const ptrdiff_t stop = n - i < STRETCH ? n : i + STRETCH;
        F(vector) s[SUMS] = {0}, d[SUMS] = {0};
        for (ptrdiff_t k = i; k < stop; k += F(lanes)) {
            F(vector) *const w_sum = (F(vector) *)(w_part + k), *const b_sum = (F(vector) *)(b_part + k);
            F(vector) w_gain = {0}, b_gain = {0};
            const F(vector) w = weight ? F(take)(weight + k, n - k, C(0)) : F(all)(C(1));
            for (int r = 0; r < rows; r++) {
                const F(vector) u = F(take)(dy + r * n + k, n - k, C(0)), g = u * w;
                const F(vector) v = F(normalized)(F(take)(x + r * n + k, n - k, C(0)), by[r]);
                s[r] += g;
                d[r] += g * v;
                w_gain += u * v;
                b_gain += u;
            }
            *w_sum += w_gain;
            *b_sum += b_gain;
        }
        for (int r = 0; r < rows; r++) {
            sum[r] += F(lane_sum)(s[r]);
            dot[r] += F(lane_sum)(d[r]);
        }
    }
    for (int r = 0; r < rows; r++, dx += n, dy += n, x += n) {
        const REAL a = mean ? (REAL)(sum[r] / (double)n) : C(0), b = (REAL)(dot[r] / (double)n);
        for (ptrdiff_t k = 0; k < n; k += F(lanes)) {
            F(vector) g = F(take)(dy + k, n - k, C(0));
            if (weight) g *= F(take)(weight + k, n - k, C(0));
            F(give)(dx + k, ((g - a) - F(normalized)(F(take)(x + k, n - k, C(0)), by[r]) * b) * by[r].scale, n - k);
        }
    }
}

/* dx = rstd * (g - mean(g) - normalized(x) * mean(g * normalized(x))) with g = dy * weight, and what dweight and dbias
   gain. `scratch` has room for 2 rows of n and a vector more. */
static void F(layer_norm_backward)(void *dx_, double *dweight, double *dbias, void *scratch, const void *dy_, const void *x_,
                                   const void *weight, const double *mean, const double *rstd, ptrdiff_t rows, ptrdiff_t n)
{
    const REAL *const dy = dy_, *const x = x_;
    const ptrdiff_t room = n + F(lanes);
    REAL *const dx = dx_, *const w_part = scratch, *const b_part = w_part + room;
    for (ptrdiff_t start = 0; start < rows; start += GROUP) {
        const ptrdiff_t end = rows - start < GROUP ? rows : start + GROUP;
        ptrdiff_t r = start;
        memset(scratch, 0, (size_t)(2 * room) * sizeof(REAL));
#define ROWS(count) \
    F(backward_rows)(count, dx + r * n, w_part, b_part, dy + r * n, x + r * n, weight, mean ? mean + r : NULL, rstd + r, n)
        for (; r + SUMS <= end; r += SUMS) ROWS(SUMS);
        for (; r < end; r++) ROWS(1);
#undef ROWS
        if (dweight) SIMD for (ptrdiff_t k = 0; k < n; k++) dweight[k] += w_part[k];
        if (dbias) SIMD for (ptrdiff_t k = 0; k < n; k++) dbias[k] += b_part[k];
    }
}

/* Join `rows` rows to the moments of `width` vectors of columns, of which `left` numbers are columns. */
FNN_INLINE void F(join_columns)(double *mean, double *m2, double count, const REAL *x, ptrdiff_t rows, ptrdiff_t step,
                                const int width, ptrdiff_t left)
{
    REAL centres[STEP], sums[STEP], squares[STEP];
    F(vector) s[SUMS] = {0}, q[SUMS] = {0}, centre[SUMS];
    for (ptrdiff_t r = 0; r < rows; r++)
        for (int a = 0; a < width; a++) s[a] += F(take)(x + r * step + a * F(lanes), left - a * F(lanes), C(0));
    for (int a = 0; a < width; a++) {
        centre[a] = s[a] * (REAL)(1 / (double)rows);
        s[a] = F(all)(C(0));
    }
    for (ptrdiff_t r = 0; r < rows; r++)
        for (int a = 0; a < width; a++) {
            const F(vector) d = F(take)(x + r * step + a * F(lanes), left - a * F(lanes), C(0)) - centre[a];
            s[a] += d;
            q[a] += d * d;
        }
    for (int a = 0; a < width; a++) {
        *(F(vector) *)(centres + a * F(lanes)) = centre[a];
        *(F(vector) *)(sums + a * F(lanes)) = s[a];
        *(F(vector) *)(squares + a * F(lanes)) = q[a];
    }
    SIMD for (ptrdiff_t k = 0; k < left; k++)
        F(join_sums)(mean + k, m2 + k, count, centres[k], sums[k], squares[k], (double)rows);
}

/* Mean and sum of squared deviations of each of n columns, whose rows are `step` apart. */
static void F(column_moments)(double *mean, double *m2, const void *x_, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n)
{
    const REAL *const x = x_;
    memset(mean, 0, (size_t)n * sizeof *mean);
    memset(m2, 0, (size_t)n * sizeof *m2);
    for (ptrdiff_t r = 0; r < rows; r += STRETCH / STEP) {
        const ptrdiff_t m = rows - r < STRETCH / STEP ? rows - r : STRETCH / STEP;
        ptrdiff_t k = 0;
        for (; k + STEP <= n; k += STEP)
            F(join_columns)(mean + k, m2 + k, (double)r, x + r * step + k, m, step, SUMS, STEP);
        for (; k < n; k += F(lanes))
            F(join_columns)(mean + k, m2 + k, (double)r, x + r * step + k, m, step, 1, n - k < F(lanes) ? n - k : F(lanes));
    }
}

/* The sums of dy and of dy * (x - centre) over all numbers of some rows, `step` apart. */
static void F(row_dots)(double *sum, double *dot, const void *dy_, const void *x_, const double *mean, ptrdiff_t rows,
                        ptrdiff_t step, ptrdiff_t n)
{
    const REAL centre = (REAL)*mean;
    *sum = *dot = 0;
    for (ptrdiff_t r = 0; r < rows; r++) {
        const REAL *const dy = (const REAL *)dy_ + r * step, *const x = (const REAL *)x_ + r * step;
        for (ptrdiff_t start = 0; start < n; start += STRETCH) {
            const ptrdiff_t end = n - start < STRETCH ? n : start + STRETCH;
            F(vector) s[SUMS] = {0}, d[SUMS] = {0};
#define ADD(a, i, left)                                                              \
    do {                                                                             \
        const F(vector) u = F(take)(dy + (i), left, C(0));                           \
        s[a] += u;                                                                   \
        d[a] += u * (F(take)(x + (i), left, C(0)) - centre);                         \
    } while (0)
            ptrdiff_t i = start;
            for (; i + STEP <= end; i += STEP) EACH_SUM(a) ADD(a, i + a * F(lanes), STEP);
            for (; i < end; i += F(lanes)) ADD(0, i, end - i);
#undef ADD
            *sum += TOTAL(s);
            *dot += TOTAL(d);
        }
    }
    *dot -= (*mean - centre) * *sum;
}

/* The same over each column; join_columns' way through them. */
FNN_INLINE void F(add_columns)(double *sum, double *dot, const REAL *dy, const REAL *x, const double *mean, ptrdiff_t rows,
                               ptrdiff_t step, const int width, ptrdiff_t left)
{
    REAL centres[STEP] = {0}, sums[STEP], dots[STEP];
    F(vector) s[SUMS] = {0}, d[SUMS] = {0}, centre[SUMS];
    for (ptrdiff_t k = 0; k < left; k++) centres[k] = (REAL)mean[k];
    for (int a = 0; a < width; a++) centre[a] = *(F(vector) *)(centres + a * F(lanes));
    for (ptrdiff_t r = 0; r < rows; r++)
        for (int a = 0; a < width; a++) {
            const ptrdiff_t at = r * step + a * F(lanes), rest = left - a * F(lanes);
            const F(vector) u = F(take)(dy + at, rest, C(0));
            s[a] += u;
            d[a] += u * (F(take)(x + at, rest, C(0)) - centre[a]);
        }
    for (int a = 0; a < width; a++) {
        *(F(vector) *)(sums + a * F(lanes)) = s[a];
        *(F(vector) *)(dots + a * F(lanes)) = d[a];
    }
    SIMD for (ptrdiff_t k = 0; k < left; k++) {
        sum[k] += sums[k];
        dot[k] += dots[k] - (mean[k] - centres[k]) * sums[k];
    }
}

static void F(column_dots)(double *sum, double *dot, const void *dy_, const void *x_, const double *mean, ptrdiff_t rows,
                           ptrdiff_t step, ptrdiff_t n)
{
    const REAL *const dy = dy_, *const x = x_;
    memset(sum, 0, (size_t)n * sizeof *sum);
    memset(dot, 0, (size_t)n * sizeof *dot);
    for (ptrdiff_t r = 0; r < rows; r += STRETCH / STEP) {
        const ptrdiff_t m = rows - r < STRETCH / STEP ? rows - r : STRETCH / STEP, at = r * step;
        ptrdiff_t k = 0;
        for (; k + STEP <= n; k += STEP)
            F(add_columns)(sum + k, dot + k, dy + at + k, x + at + k, mean + k, m, step, SUMS, STEP);
        for (; k < n; k += F(lanes))
            F(add_columns)(sum + k, dot + k, dy + at + k, x + at + k, mean + k, m, step, 1, n - k < F(lanes) ? n - k : F(lanes));
    }
}

/* out = (x - centre) * scale + offset, and + dy * dy_scale where there is a dy. The factors are one of each, or one a
   column (`across`). */
static void F(affine)(void *out_, const void *x_, const void *dy_, const void *centre_, const void *scale_, const void *offset_,
                      const void *dy_scale_, ptrdiff_t rows, ptrdiff_t n, int across)
{
    const REAL *x = x_, *dy = dy_, *const centre = centre_, *const scale = scale_, *const offset = offset_;
    const REAL *const dy_scale = dy_scale_;
    REAL *out = out_;
#define FACTOR(f) (across ? F(take)(f + k, n - k, C(0)) : F(all)(*f))
    for (ptrdiff_t r = 0; r < rows; r++, x += n, out += n) {
        for (ptrdiff_t k = 0; k < n; k += F(lanes)) {
            F(vector) v = (F(take)(x + k, n - k, C(0)) - FACTOR(centre)) * FACTOR(scale) + FACTOR(offset);
            if (dy) v += F(take)(dy + k, n - k, C(0)) * FACTOR(dy_scale);
            F(give)(out + k, v, n - k);
        }
        if (dy) dy += n;
    }
#undef FACTOR
}
#undef STRETCH
#undef GROUP
#undef SUMS
#undef EACH_SUM
#undef STEP
#undef TOTAL
