/* The softmax family and cross entropy, over rows of n numbers. Included once per REAL by kernels.c.
   a) Every formula is a pass over blocks of LANES numbers, with one maximum, one sum a lane. In a long row a block is
      its next LANES elements, the last one padded, and in the end the lanes are folded into one. Short rows are taken
      LANES at a time and transposed: a lane is a row, a block one class of each, and there is nothing to fold. Which
      way a row goes depends on n alone.
   b) Passes are functions that are not inlined: the compiler vectorises them whole, once. Long rows are given to them
      in segments, because sums of sums round off less. */
#define LANES 32
#define SHORT 64   /* the longest row that is transposed */
#define SEGMENT 64 /* blocks in a segment */
#define EACH(l) SIMD for (int l = 0; l < LANES; l++)
#define BLOCKS(i, count) for (ptrdiff_t i = 0; i < (count) * LANES; i += LANES)
#define PASS static __attribute__((noinline))
#define LANE_ARRAY(name) REAL name[LANES] __attribute__((aligned(64)))
#define PANEL(name) REAL name[SHORT * LANES] __attribute__((aligned(64)))
#define LARGEST (FNN_IS_DOUBLE ? DBL_MAX : FLT_MAX)

/* e^x for x <= 88.37 (float64: 709.4), and 0 where that would be subnormal: power_of_2 is 0 for the least n */
FNN_INLINE REAL F(exp_flush)(REAL x)
{
    const REAL least = C(FNN_IS_DOUBLE ? -709.1 : -88.03), z = x < least ? least : x;
    const REAL t = F(exponent)(-z, 0), r = F(remainder)(-z, t, 0);
    return (C(1) + (r + r * r * F(exp_rest)(r))) * F(power_of_2)(F(bits)(t));
}

/* log(x): with x = 2^n (1 + e), 1 + e between the roots of 1/2 and 2, n log(2) + log(1 + e) */
FNN_INLINE REAL F(log)(REAL x)
{
    const F(uint) up = FNN_IS_DOUBLE ? 0x00095f619980c433 : 0x004afb0d; /* bits of 1, less those of the root of 1/2 */
    const REAL lift = C(FNN_IS_DOUBLE ? 0x1p54 : 0x1p25), bias = C(FNN_IS_DOUBLE ? 1023 : 127);
    const int tiny = x < (FNN_IS_DOUBLE ? C(DBL_MIN) : C(FLT_MIN));
    const F(uint) b = F(bits)(tiny ? x * lift : x), exponent = (b + up) >> FNN_MANTISSA;
    const REAL n = F(from_bits)(F(bits)(C(FNN_ROUND)) + exponent) - (C(FNN_ROUND) + bias);
    const REAL e = F(from_bits)(b - (exponent << FNN_MANTISSA) + FNN_ONE_BITS) - C(1);
    const REAL of_2 = (tiny ? n - C(FNN_IS_DOUBLE ? 54 : 25) : n) * C(0.69314718055994530942);
    const REAL y = of_2 + F(log_quotient)(C(2) * e / (C(2) + e));
    return x > LARGEST ? x : x > C(0) ? y : x == C(0) ? -C(INFINITY) : C(NAN);
}

FNN_INLINE REAL F(greater)(REAL a, REAL b) { return a > b ? a : b; } /* b where a is NaN */
FNN_INLINE REAL F(plus)(REAL a, REAL b) { return a + b; }

/* Give every lane the maximum, or the sum, of all. */
#define FOLD(name, op)                                                   \
    PASS void F(name)(REAL *x)                                           \
    {                                                                    \
        SIMD for (int l = 0; l < 16; l++) x[l] = F(op)(x[l + 16], x[l]); \
        SIMD for (int l = 0; l < 8; l++) x[l] = F(op)(x[l + 8], x[l]);   \
        SIMD for (int l = 0; l < 4; l++) x[l] = F(op)(x[l + 4], x[l]);   \
        const REAL all = F(op)(F(op)(x[3], x[1]), F(op)(x[2], x[0]));    \
        EACH(l) x[l] = all;                                              \
    }
FOLD(fold_max, greater)
FOLD(fold_sum, plus)

/* --- rows as blocks ------------------------------------------------------------------------------------------- */
typedef struct {
    REAL *at, *rest;               /* the whole blocks, one after another, and the padded one */
    ptrdiff_t whole, count, every; /* every: a mask for the offset of a block, 0 if one block stands for all */
} F(blocks);

/* One block for all: of zeros, or to write what nobody reads */
FNN_INLINE F(blocks) F(same)(REAL *block) { return (F(blocks)){block, block, 0, 0, 0}; }

/* A long row where it lies, or short ones in `space`, to be filled */
FNN_INLINE F(blocks) F(room)(REAL *x, ptrdiff_t n, REAL *space)
{
    if (n > SHORT) return (F(blocks)){x, space, n / LANES, (n + LANES - 1) / LANES, -1};
    return (F(blocks)){space, space, n, n, -1};
}

/* The same with what x holds, rows `step` apart: the rest of a long row is padded, lanes without a row hold zeros. */
PASS F(blocks) F(read_rows)(const REAL *x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t n, REAL padding, REAL *space)
{
    const F(blocks) to = F(room)((REAL *)x, n, space);
    if (n > SHORT) {
        EACH(l) space[l] = padding;
        memcpy(space, x + to.whole * LANES, (size_t)(n - to.whole * LANES) * sizeof(REAL));
    } else {
        if (rows < LANES) memset(space, 0, (size_t)(n * LANES) * sizeof(REAL));
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t k = 0; k < n; k++) space[k * LANES + r] = x[r * step + k];
    }
    return to;
}

PASS void F(write_rows)(REAL *y, ptrdiff_t rows, ptrdiff_t n, F(blocks) from)
{
    if (n > SHORT) {
        memcpy(y + from.whole * LANES, from.rest, (size_t)(n - from.whole * LANES) * sizeof(REAL));
    } else {
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t k = 0; k < n; k++) y[r * n + k] = from.at[k * LANES + r];
    }
}

/* Segments: of whole blocks, and the padded one. */
FNN_INLINE ptrdiff_t F(segment_end)(F(blocks) x, ptrdiff_t start)
{
    return start == x.whole ? x.count : x.whole - start < SEGMENT ? x.whole : start + SEGMENT;
}
FNN_INLINE REAL *F(segment)(F(blocks) x, ptrdiff_t start) { return start < x.whole ? x.at + start * LANES : x.rest; }
#define EACH_SEGMENT(start, x) \
    for (ptrdiff_t start = 0, end = F(segment_end)(x, 0); start < x.count; start = end, end = F(segment_end)(x, start))

/* --- measuring a row -------------------------------------------------------------------------------------------
   m = max(x) without NaN, finite where all are -inf, so that d = x - m is -inf there; s = sum(e) with e = exp(d);
   for soft targets b = weight * (keep * t + spread): b = sum(b), dot = sum(b * d), where a term whose b is 0 is 0 even
   if d is -inf. */
typedef struct {
    LANE_ARRAY(m);
    LANE_ARRAY(s);
    LANE_ARRAY(b);
    LANE_ARRAY(dot);
} F(totals);

typedef struct {
    F(blocks) t, weight;
    REAL keep, spread;
} F(soft);

FNN_INLINE REAL F(term)(REAL b, REAL d) { return b == C(0) ? C(0) : b * d; }

PASS void F(pass_max)(REAL *m, const REAL *x, ptrdiff_t count)
{
    LANE_ARRAY(part);
    EACH(l) part[l] = m[l];
    BLOCKS(i, count) EACH(l) part[l] = F(greater)(x[i + l], part[l]);
    EACH(l) m[l] = part[l];
}

PASS void F(pass_exp)(F(totals) *of, REAL *e, ptrdiff_t every, const REAL *x, ptrdiff_t ahead, ptrdiff_t count)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s) = {0};
    EACH(l) m[l] = of->m[l];
    BLOCKS(i, count) {
        for (int l = 0; l < LANES; l += 64 / sizeof(REAL)) __builtin_prefetch(x + i + l + ahead, 0, 2);
        EACH(l) s[l] += e[(i & every) + l] = F(exp_flush)(x[i + l] - m[l]);
    }
    EACH(l) of->s[l] += s[l];
}

PASS void F(pass_soft)(F(totals) *of, REAL *e, ptrdiff_t every, const REAL *x, const REAL *t, const F(soft) *soft,
                       const REAL *weight, ptrdiff_t count)
{
    const REAL keep = soft->keep, spread = soft->spread;
    const ptrdiff_t every_t = soft->t.every;
    LANE_ARRAY(m);
    LANE_ARRAY(s) = {0};
    LANE_ARRAY(b) = {0};
    LANE_ARRAY(dot) = {0};
    EACH(l) m[l] = of->m[l];
    BLOCKS(i, count) EACH(l) {
        const REAL d = x[i + l] - m[l], target = weight[i + l] * (keep * t[(i & every_t) + l] + spread);
        s[l] += e[(i & every) + l] = F(exp_flush)(d);
        b[l] += target;
        dot[l] += F(term)(target, d);
    }
    EACH(l) of->s[l] += s[l], of->b[l] += b[l], of->dot[l] += dot[l];
}

/* soft is NULL if there are no soft targets */
FNN_INLINE void F(measure)(F(totals) *of, F(blocks) e, F(blocks) x, const F(soft) *soft, int fold)
{
    /* The next row is fetched behind the exponentials: a fifth of the time of 10,000 classes, if the cache holds it. */
    const ptrdiff_t ahead = x.count < 2048 ? x.count * LANES : 0;
    EACH(l) of->m[l] = -LARGEST, of->s[l] = of->b[l] = of->dot[l] = C(0);
    EACH_SEGMENT(start, x) F(pass_max)(of->m, F(segment)(x, start), end - start);
    if (fold) F(fold_max)(of->m);
    EACH_SEGMENT(start, x) {
        if (soft)
            F(pass_soft)(of, F(segment)(e, start), e.every, F(segment)(x, start), F(segment)(soft->t, start), soft,
                         F(segment)(soft->weight, start), end - start);
        else
            F(pass_exp)(of, F(segment)(e, start), e.every, F(segment)(x, start), ahead, end - start);
    }
    if (fold) F(fold_sum)(of->s);
    if (fold && soft) F(fold_sum)(of->b), F(fold_sum)(of->dot);
}

PASS void F(pass_scale)(REAL *e, const REAL *scale, ptrdiff_t count)
{
    LANE_ARRAY(by);
    EACH(l) by[l] = scale[l];
    BLOCKS(i, count) EACH(l) e[i + l] *= by[l];
}

/* --- one operation on a long row, whose lanes are folded, or on LANES short ones ------------------------------- */
typedef void F(row_op)(F(blocks) y, F(blocks) a, F(blocks) b, int fold);

FNN_INLINE void F(softmax)(F(blocks) y, F(blocks) x, F(blocks) unused, int fold)
{
    F(totals) of;
    REAL *const s = of.s;
    (void)unused;
    F(measure)(&of, y, x, 0, fold);
    EACH(l) s[l] = s[l] == C(0) ? C(0) : C(1) / s[l];
    EACH_SEGMENT(start, y) F(pass_scale)(F(segment)(y, start), s, end - start);
}

PASS void F(pass_log_softmax)(REAL *y, const REAL *x, const REAL *m, const REAL *log_s, ptrdiff_t count)
{
    BLOCKS(i, count) EACH(l) y[i + l] = (x[i + l] - m[l]) - log_s[l];
}

FNN_INLINE void F(log_softmax)(F(blocks) y, F(blocks) x, F(blocks) unused, int fold)
{
    F(totals) of;
    REAL *const s = of.s;
    F(measure)(&of, unused, x, 0, fold);
    EACH(l) s[l] = s[l] == C(0) ? C(0) : F(log)(s[l]); /* a row of -inf stays so */
    EACH_SEGMENT(start, x) F(pass_log_softmax)(F(segment)(y, start), F(segment)(x, start), of.m, s, end - start);
}

PASS void F(pass_nan)(REAL *nan, const REAL *x, ptrdiff_t count)
{
    BLOCKS(i, count) EACH(l) nan[l] += x[i + l] == x[i + l] ? C(0) : x[i + l];
}

FNN_INLINE void F(logsumexp)(F(blocks) y, F(blocks) x, F(blocks) unused, int fold)
{
    F(totals) of;
    REAL *const m = of.m, *const s = of.s;
    LANE_ARRAY(nan) = {0}; /* tells a row with NaN from one with +inf, whose s is NaN too */
    F(measure)(&of, unused, x, 0, fold);
    EACH_SEGMENT(start, x) F(pass_nan)(nan, F(segment)(x, start), end - start);
    if (fold) F(fold_sum)(nan);
    EACH(l) y.rest[l] = m[l] + (m[l] > LARGEST ? nan[l] : F(log)(s[l]));
}

PASS void F(pass_dot)(REAL *dot, const REAL *a, const REAL *b, ptrdiff_t count)
{
    LANE_ARRAY(part) = {0};
    BLOCKS(i, count) EACH(l) part[l] += a[i + l] * b[i + l];
    EACH(l) dot[l] += part[l];
}

PASS void F(pass_softmax_backward)(REAL *dx, const REAL *dy, const REAL *y, const REAL *dot, ptrdiff_t count)
{
    BLOCKS(i, count) EACH(l) dx[i + l] = y[i + l] * (dy[i + l] - dot[l]);
}

FNN_INLINE void F(softmax_backward)(F(blocks) dx, F(blocks) dy, F(blocks) y, int fold)
{
    LANE_ARRAY(dot) = {0};
    EACH_SEGMENT(start, y) F(pass_dot)(dot, F(segment)(dy, start), F(segment)(y, start), end - start);
    if (fold) F(fold_sum)(dot);
    EACH_SEGMENT(start, y)
        F(pass_softmax_backward)(F(segment)(dx, start), F(segment)(dy, start), F(segment)(y, start), dot, end - start);
}

PASS void F(pass_sum)(REAL *s, const REAL *x, ptrdiff_t count)
{
    LANE_ARRAY(part) = {0};
    BLOCKS(i, count) EACH(l) part[l] += x[i + l];
    EACH(l) s[l] += part[l];
}

PASS void F(pass_log_softmax_backward)(REAL *dx, const REAL *dy, const REAL *y, const REAL *m, const REAL *s,
                                       ptrdiff_t count)
{
    BLOCKS(i, count) EACH(l) { /* a row of -inf has no gradient */
        const REAL slope = dy[i + l] - F(exp_flush)(y[i + l]) * s[l];
        dx[i + l] = m[l] == -LARGEST ? C(0) : slope;
    }
}

FNN_INLINE void F(log_softmax_backward)(F(blocks) dx, F(blocks) dy, F(blocks) y, int fold)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s) = {0};
    EACH(l) m[l] = -LARGEST;
    EACH_SEGMENT(start, y) {
        F(pass_max)(m, F(segment)(y, start), end - start);
        F(pass_sum)(s, F(segment)(dy, start), end - start);
    }
    if (fold) F(fold_max)(m), F(fold_sum)(s);
    EACH_SEGMENT(start, y)
        F(pass_log_softmax_backward)(F(segment)(dx, start), F(segment)(dy, start), F(segment)(y, start), m, s,
                                     end - start);
}

/* Walk the rows. One of the result is `width` numbers long: n, or 1. The last input is padded with `padding`, a
   gradient before it with 0. */
FNN_INLINE void F(each_row)(F(row_op) *op, REAL *y, ptrdiff_t width, const REAL *a, const REAL *b, REAL padding,
                            ptrdiff_t rows, ptrdiff_t n)
{
    PANEL(y_space);
    PANEL(a_space);
    PANEL(b_space);
    const ptrdiff_t at_once = n > SHORT ? 1 : LANES;
    for (ptrdiff_t r = 0; r < rows; r += at_once) {
        const ptrdiff_t m = rows - r < at_once ? rows - r : at_once;
        const F(blocks) to = F(room)(y + r * width, width, y_space);
        op(to, F(read_rows)(a + r * n, n, m, n, b ? C(0) : padding, a_space),
           b ? F(read_rows)(b + r * n, n, m, n, padding, b_space) : F(same)(b_space), n > SHORT);
        F(write_rows)(y + r * width, m, width, to);
    }
}

#define ROW_KERNELS(name, n_in, width, padding)                                                \
    static void F(name##_rows)(void *y, const void *const *in, ptrdiff_t rows, ptrdiff_t n)    \
    {                                                                                          \
        F(each_row)(F(name), y, width, in[0], n_in > 1 ? in[n_in - 1] : 0, padding, rows, n);  \
    }
FNN_ROW_OPS(ROW_KERNELS)

/* --- cross entropy ---------------------------------------------------------------------------------------------
   loss = sum(b) * log(s) - sum(b * d), gradient = scale * (sum(b) * e / s - b). b is the sum of `hard`, at the class of
   an index alone, and of the soft targets. */
PASS void F(pass_soft_gradient)(REAL *e, const REAL *scale, const REAL *b_scale, const REAL *t, const F(soft) *soft,
                                const REAL *weight, ptrdiff_t count)
{
    const REAL keep = soft->keep, spread = soft->spread;
    const ptrdiff_t every_t = soft->t.every;
    BLOCKS(i, count) EACH(l) {
        const REAL target = weight[i + l] * (keep * t[(i & every_t) + l] + spread);
        e[i + l] = e[i + l] * scale[l] - b_scale[l] * target;
    }
}

/* Everything of the gradient but what an index takes off at its class; in a long row hard[0] stands for all lanes. */
FNN_INLINE void F(write_gradient)(F(blocks) gradient, const F(totals) *of, const REAL *hard, int fold,
                                  const F(soft) *soft, REAL scale)
{
    LANE_ARRAY(b);
    LANE_ARRAY(ratio);
    LANE_ARRAY(b_scale);
    if (fold)
        EACH(l) b[l] = of->b[l] + hard[0];
    else
        EACH(l) b[l] = of->b[l] + hard[l];
    EACH(l) {
        const int dead = of->s[l] == C(0); /* a row of -inf has no gradient */
        const REAL full = scale * b[l] / of->s[l];
        ratio[l] = dead ? C(0) : full;
        b_scale[l] = dead ? C(0) : scale;
    }
    EACH_SEGMENT(start, gradient) {
        if (soft)
            F(pass_soft_gradient)(F(segment)(gradient, start), ratio, b_scale, F(segment)(soft->t, start), soft,
                                  F(segment)(soft->weight, start), end - start);
        else
            F(pass_scale)(F(segment)(gradient, start), ratio, end - start);
    }
}

/* The losses of LANES rows, now a row a lane; `at` is the logit at the index. */
PASS void F(pass_loss)(REAL *loss, const F(totals) *of, const REAL *hard, const REAL *at)
{
    EACH(l) {
        const REAL log_s = F(log)(of->s[l]), dot = of->dot[l] + F(term)(hard[l], at[l] - of->m[l]);
        loss[l] = (of->b[l] + hard[l]) * (of->s[l] == C(0) ? C(0) : log_s) - dot; /* a row of -inf: +inf */
    }
}

static void F(softmax_cross_entropy)(double *loss, void *gradient, const void *logits, const fnn_targets *targets,
                                     ptrdiff_t rows, ptrdiff_t n)
{
    const REAL *weight = targets->weight, scale = C(targets->scale);
    const int fold = n > SHORT;
    PANEL(dz_space);
    PANEL(z_space);
    PANEL(t_space);
    PANEL(weight_space);
    LANE_ARRAY(hard);
    LANE_ARRAY(at);
    LANE_ARRAY(losses);
    F(totals) of = {0};
    F(soft) soft_targets = {F(same)(t_space), F(same)(weight_space), C(targets->keep), C(targets->spread)};
    F(soft) *const soft = targets->soft || targets->spread > 0 ? &soft_targets : 0;
    if (soft) {
        EACH(l) t_space[l] = C(0);
        soft->weight = F(read_rows)(weight, 0, LANES, n, C(0), weight_space);
    }
    for (ptrdiff_t r = 0; r < rows; r += LANES) {
        const ptrdiff_t m = rows - r < LANES ? rows - r : LANES, at_once = fold ? 1 : m;
        const REAL *z = (const REAL *)logits + r * n, *t = targets->soft ? (const REAL *)targets->soft + r * n : 0;
        REAL *dz = gradient ? (REAL *)gradient + r * n : 0;
        const int64_t *index = targets->index ? targets->index + r : 0;
        EACH(l) hard[l] = at[l] = C(0);
        for (ptrdiff_t i = 0; index && i < m; i++)
            if (index[i] != targets->ignore) {
                hard[i] = C(targets->keep) * (weight ? weight[index[i]] : C(1));
                at[i] = z[i * n + index[i]];
            }
        for (ptrdiff_t i = 0; i < m; i += at_once) {
            F(totals) now;
            const F(blocks) to = dz ? F(room)(dz + i * n, n, dz_space) : F(same)(dz_space);
            if (t) soft->t = F(read_rows)(t + i * n, n, at_once, n, C(0), t_space);
            F(measure)(&now, to, F(read_rows)(z + i * n, n, at_once, n, -C(INFINITY), z_space), soft, fold);
            if (dz) {
                F(write_gradient)(to, &now, hard + i, fold, soft, scale);
                F(write_rows)(dz + i * n, at_once, n, to);
            }
            if (fold)
                of.m[i] = now.m[0], of.s[i] = now.s[0], of.b[i] = now.b[0], of.dot[i] = now.dot[0];
            else
                of = now;
        }
        F(pass_loss)(losses, &of, hard, at);
        for (ptrdiff_t i = 0; i < m; i++) {
            const int ignored = index && index[i] == targets->ignore;
            loss[r + i] = ignored ? 0 : losses[i];
            if (!dz) continue;
            if (ignored)
                memset(dz + i * n, 0, (size_t)n * sizeof(REAL));
            else if (index && of.s[i] != C(0))
                dz[i * n + index[i]] -= scale * hard[i];
        }
    }
}

/* --- losses of single numbers ----------------------------------------------------------------------------------
   The loss of a prediction x against its target t, and its slope in x; `weight` is NULL where there is none. */
typedef struct {
    REAL loss, slope;
} F(loss);

/* With L = log(1 + e^-|z|), log(1 + e^z) is max(z, 0) + L: sums of what is not negative, so nothing cancels. */
FNN_INLINE F(loss) F(weighted_sigmoid_cross_entropy)(REAL z, REAL t, REAL positive, REAL weight, REAL unused)
{
    const REAL e = F(exp_flush)(-F(abs)(z)), rest = F(log_quotient)(C(2) * e / (C(2) + e));
    const REAL most = C(1) / (C(1) + e), least = e * most;
    const REAL for_one = t * positive, for_zero = C(1) - t;
    (void)unused;
    return (F(loss)){
        weight * (F(term)(for_one, (z < C(0) ? -z : C(0)) + rest) + F(term)(for_zero, (z > C(0) ? z : C(0)) + rest)),
        weight * (for_zero * (z < C(0) ? least : most) - for_one * (z < C(0) ? most : least)),
    };
}

FNN_INLINE F(loss) F(sigmoid_cross_entropy)(REAL z, REAL t, REAL unused)
{
    return F(weighted_sigmoid_cross_entropy)(z, t, C(1), C(1), unused);
}

FNN_INLINE F(loss) F(mse_loss)(REAL x, REAL t, REAL unused)
{
    const REAL d = x - t;
    (void)unused;
    return (F(loss)){d * d, C(2) * d};
}

FNN_INLINE F(loss) F(l1_loss)(REAL x, REAL t, REAL unused)
{
    const REAL d = x - t;
    (void)unused;
    return (F(loss)){F(abs)(d), d > C(0) ? C(1) : d < C(0) ? C(-1) : d};
}

FNN_INLINE F(loss) F(huber_loss)(REAL x, REAL t, REAL delta)
{
    const REAL d = x - t, a = F(abs)(d), m = a < delta ? a : delta;
    return (F(loss)){m * (a - C(0.5) * m), d > delta ? delta : d < -delta ? -delta : d};
}

FNN_INLINE F(loss) F(smooth_l1_loss)(REAL x, REAL t, REAL beta)
{
    const REAL d = x - t, a = F(abs)(d), m = a < beta ? a : beta, slope = d / beta;
    return (F(loss)){m / beta * (a - C(0.5) * m), slope > C(1) ? C(1) : slope < C(-1) ? C(-1) : slope};
}

FNN_INLINE F(loss) F(hinge_loss)(REAL x, REAL t, REAL unused)
{
    const REAL short_of = C(1) - x * t;
    (void)unused;
    return (F(loss)){short_of < C(0) ? C(0) : short_of, short_of > C(0) ? -t : short_of <= C(0) ? C(0) : short_of};
}

FNN_INLINE F(loss) F(kl_div)(REAL x, REAL t, REAL unused)
{
    (void)unused;
    return (F(loss)){F(term)(t, F(log)(t) - x), -t};
}

FNN_INLINE F(loss) F(kl_div_of_logs)(REAL x, REAL log_t, REAL unused)
{
    const REAL top = C(FNN_IS_DOUBLE ? 709.4 : 88.37); /* what exp_flush can do: nearly all, and no target is so large */
    const REAL t = log_t > top ? C(INFINITY) : F(exp_flush)(log_t);
    (void)unused;
    return (F(loss)){F(term)(t, log_t - x), -t};
}

#define PARTS 16 /* sums taken in float64 at a time */
#define AFTER_TARGET_2
#define AFTER_TARGET_4 in[2][i], in[3][i],
#define ELEMENT_LOSS(name, n_in)                                                                              \
    static double F(name##_n)(void *losses, void *gradient, const void *const *from, double parameter,        \
                              double scale, ptrdiff_t n)                                                      \
    {                                                                                                         \
        const REAL option = C(parameter), factor = C(scale);                                                  \
        double sum[PARTS] = {0};                                                                              \
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {                                                \
            const ptrdiff_t m = n - start < BLOCK ? n - start : BLOCK;                                        \
            REAL pad[n_in][BLOCK], loss[BLOCK], slope[BLOCK];                                                 \
            const REAL *in[n_in];                                                                             \
            for (int k = 0; k < n_in; k++) {                                                                  \
                in[k] = (const REAL *)from[k] + start;                                                        \
                if (m < BLOCK) {                                                                              \
                    memset(pad[k], 0, sizeof pad[k]);                                                         \
                    in[k] = memcpy(pad[k], in[k], (size_t)m * sizeof(REAL));                                  \
                }                                                                                             \
            }                                                                                                 \
            REAL *const to = gradient && m == BLOCK ? (REAL *)gradient + start : slope;                       \
            SIMD for (int i = 0; i < BLOCK; i++) {                                                            \
                const F(loss) at = F(name)(in[0][i], in[1][i], AFTER_TARGET_##n_in option);                   \
                loss[i] = at.loss;                                                                            \
                to[i] = factor * at.slope;                                                                    \
            }                                                                                                 \
            if (losses) memcpy((REAL *)losses + start, loss, (size_t)m * sizeof(REAL));                       \
            if (m < BLOCK) {                                                                                  \
                memset(loss + m, 0, (size_t)(BLOCK - m) * sizeof(REAL));                                      \
                if (gradient) memcpy((REAL *)gradient + start, slope, (size_t)m * sizeof(REAL));              \
            }                                                                                                 \
            for (int k = 0; k < BLOCK; k += PARTS)                                                            \
                SIMD for (int l = 0; l < PARTS; l++) sum[l] += (double)loss[k + l];                           \
        }                                                                                                     \
        for (int half = PARTS / 2; half; half /= 2)                                                           \
            for (int l = 0; l < half; l++) sum[l] += sum[l + half];                                           \
        return sum[0];                                                                                        \
    }
FNN_LOSSES(ELEMENT_LOSS)

#undef LANES
#undef SHORT
#undef SEGMENT
#undef EACH
#undef BLOCKS
#undef PASS
#undef LANE_ARRAY
#undef PANEL
#undef LARGEST
#undef FOLD
#undef EACH_SEGMENT
#undef ROW_KERNELS
#undef PARTS
#undef AFTER_TARGET_2
#undef AFTER_TARGET_4
#undef ELEMENT_LOSS
