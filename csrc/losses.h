/* The softmax family and cross entropy, over rows of n numbers. Included once per REAL by kernels.c.
   A formula is written once, over blocks of LANES numbers with one maximum, one sum a lane. In a long row a block is
   its next LANES elements, and after each pass the lanes are folded into one. Short rows are taken LANES at a time
   and transposed: a lane is a row, a block one class of each, and there is nothing to fold. Which way a row goes
   depends on n alone. */
#define LANES 32
#define SHORT 32 /* the longest row that is transposed */
#define GROUP 32 /* blocks in a partial sum: with sums of sums, 32,000 terms round off no more than 64 would */
#define AT_ONCE(n) ((n) > SHORT ? 1 : LANES)
#define EACH(l) SIMD for (int l = 0; l < LANES; l++)
#define LANE_ARRAY(name) REAL name[LANES] __attribute__((aligned(64)))
#define PANEL(name) REAL name[SHORT * LANES] __attribute__((aligned(64)))
#define LARGEST (FNN_IS_DOUBLE ? DBL_MAX : FLT_MAX)

/* e^x for x <= 0, and 0 where that would be subnormal: 2^n is made of n + bias, and that is 0 for the least n */
FNN_INLINE REAL F(exp_flush)(REAL x)
{
    const REAL bias = C(FNN_IS_DOUBLE ? 1023 : 127), least = C(FNN_IS_DOUBLE ? -709.1 : -88.03);
    const REAL z = x < least ? least : x, round = C(FNN_ROUND) + bias;
    const REAL t = z * C(FNN_LOG2E) + round, n = t - round;
    const REAL r = (z - n * C(FNN_LN2_HI)) - n * C(FNN_LN2_LO);
    const REAL p = (F(exp_rest)(r) * r + C(1)) * r + C(1);
    return p * F(from_bits)(F(bits)(t) << FNN_MANTISSA);
}

/* log(x) for x >= 1, and -inf for 0: with x = 2^n (1 + e), n log(2) + log(1 + e) */
FNN_INLINE REAL F(log)(REAL x)
{
    const F(uint) b = F(bits)(x), above = b - FNN_ONE_BITS, exponent = above >> FNN_MANTISSA;
    const REAL e = F(from_bits)(b - (exponent << FNN_MANTISSA)) - C(1);
    const REAL y = C(exponent) * C(0.69314718055994530942) + e * F(log1p_ratio)(e);
    return x == C(0) ? -C(INFINITY) : x != x ? x : y;
}

/* --- rows as blocks ------------------------------------------------------------------------------------------- */
typedef struct {
    REAL *at, *rest; /* `full` blocks lie one after another from `at`; any further one is `rest` */
    ptrdiff_t full, count;
} F(blocks);

FNN_INLINE REAL *F(block)(F(blocks) x, ptrdiff_t k) { return k < x.full ? x.at + k * LANES : x.rest; }

/* A long row where it lies, or short ones in `space`, to be filled. */
FNN_INLINE F(blocks) F(blocks_for)(REAL *x, ptrdiff_t n, REAL *space)
{
    if (n > SHORT) return (F(blocks)){x, space, n / LANES, (n + LANES - 1) / LANES};
    return (F(blocks)){space, space, n, n};
}

/* The same, with what x holds: rows `step` apart; the rest of a long one is padded, lanes without a row hold zeros. */
FNN_INLINE F(blocks) F(read_rows)(const REAL *x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t n, REAL padding, REAL *space)
{
    const F(blocks) to = F(blocks_for)((REAL *)x, n, space);
    if (n > SHORT) {
        EACH(l) space[l] = padding;
        memcpy(space, x + to.full * LANES, (size_t)(n - to.full * LANES) * sizeof(REAL));
    } else {
        if (rows < LANES) memset(space, 0, (size_t)(n * LANES) * sizeof(REAL));
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t k = 0; k < n; k++) space[k * LANES + r] = x[r * step + k];
    }
    return to;
}

FNN_INLINE void F(write_rows)(REAL *y, ptrdiff_t rows, ptrdiff_t n, F(blocks) from)
{
    if (n > SHORT) {
        memcpy(y + from.full * LANES, from.rest, (size_t)(n - from.full * LANES) * sizeof(REAL));
    } else {
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t k = 0; k < n; k++) y[r * n + k] = from.at[k * LANES + r];
    }
}

FNN_INLINE REAL F(greater)(REAL a, REAL b) { return a > b ? a : b; } /* b where a is NaN */

/* Give every lane the maximum, or the sum, of all. */
#define FOLD(x, op)                                                       \
    do {                                                                  \
        for (int l = 0; l < 16; l++) x[l] = op(x[l + 16], x[l]);          \
        for (int l = 0; l < 8; l++) x[l] = op(x[l + 8], x[l]);            \
        for (int l = 0; l < 4; l++) x[l] = op(x[l + 4], x[l]);            \
        const REAL all = op(op(x[3], x[1]), op(x[2], x[0]));              \
        EACH(l) x[l] = all;                                               \
    } while (0)
FNN_INLINE REAL F(plus)(REAL a, REAL b) { return a + b; }
FNN_INLINE void F(fold_max)(REAL *m) { FOLD(m, F(greater)); }
FNN_INLINE void F(fold_sum)(REAL *s) { FOLD(s, F(plus)); }

/* The maximum, NaN left out; finite where all are -inf, so that x - max is -inf there and exp(x - max) sums to 0. */
FNN_INLINE void F(row_max)(REAL *m, F(blocks) x, int fold)
{
    EACH(l) m[l] = -LARGEST;
    for (ptrdiff_t k = 0; k < x.count; k++) {
        const REAL *v = F(block)(x, k);
        EACH(l) m[l] = F(greater)(v[l], m[l]);
    }
    if (fold) F(fold_max)(m);
}

/* s = the sum of `term`, an expression in k and l, over the blocks; `before` stands ahead of each block's terms. */
#define SUM(s, blocks, before, term)                                               \
    do {                                                                           \
        EACH(l) s[l] = C(0);                                                       \
        for (ptrdiff_t start = 0; start < blocks; start += GROUP) {                \
            const ptrdiff_t end = blocks - start < GROUP ? blocks : start + GROUP; \
            LANE_ARRAY(part) = {0};                                                \
            for (ptrdiff_t k = start; k < end; k++) {                              \
                before;                                                            \
                EACH(l) part[l] += term;                                           \
            }                                                                      \
            EACH(l) s[l] += part[l];                                               \
        }                                                                          \
        if (fold) F(fold_sum)(s);                                                  \
    } while (0)

/* s = the sum of exp(x - m); its terms are kept in e where there is one */
FNN_INLINE void F(exp_sum)(REAL *s, F(blocks) e, F(blocks) x, const REAL *m, int fold)
{
    if (e.at)
        SUM(s, x.count, REAL *v = F(block)(x, k); REAL *to = F(block)(e, k), (to[l] = F(exp_flush)(v[l] - m[l])));
    else
        SUM(s, x.count, REAL *v = F(block)(x, k), F(exp_flush)(v[l] - m[l]));
}

/* --- one operation on a long row, whose lanes are folded, or on LANES short ones ------------------------------- */
typedef void F(row_op)(F(blocks) y, F(blocks) a, F(blocks) b, int fold);

FNN_INLINE void F(softmax)(F(blocks) y, F(blocks) x, F(blocks) none, int fold)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s);
    (void)none;
    F(row_max)(m, x, fold);
    F(exp_sum)(s, y, x, m, fold);
    EACH(l) s[l] = s[l] == C(0) ? C(0) : C(1) / s[l];
    for (ptrdiff_t k = 0; k < y.count; k++) {
        REAL *e = F(block)(y, k);
        EACH(l) e[l] *= s[l];
    }
}

FNN_INLINE void F(log_softmax)(F(blocks) y, F(blocks) x, F(blocks) none, int fold)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s);
    F(row_max)(m, x, fold);
    F(exp_sum)(s, none, x, m, fold);
    EACH(l) s[l] = s[l] == C(0) ? C(0) : F(log)(s[l]); /* a row of -inf stays so */
    for (ptrdiff_t k = 0; k < y.count; k++) {
        REAL *v = F(block)(x, k), *to = F(block)(y, k);
        EACH(l) to[l] = (v[l] - m[l]) - s[l];
    }
}

FNN_INLINE void F(logsumexp)(F(blocks) y, F(blocks) x, F(blocks) none, int fold)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s);
    LANE_ARRAY(finite);
    F(row_max)(m, x, fold);
    (void)none;
    EACH(l) finite[l] = m[l] > LARGEST ? LARGEST : m[l]; /* so that +inf less it is not NaN */
    SUM(s, x.count, REAL *v = F(block)(x, k), F(exp_flush)(v[l] > finite[l] ? C(0) : v[l] - finite[l]));
    REAL *to = F(block)(y, 0);
    EACH(l) to[l] = m[l] + F(log)(s[l]);
}

FNN_INLINE void F(softmax_backward)(F(blocks) dx, F(blocks) dy, F(blocks) y, int fold)
{
    LANE_ARRAY(dot);
    SUM(dot, y.count, REAL *u = F(block)(dy, k); REAL *v = F(block)(y, k), u[l] * v[l]);
    for (ptrdiff_t k = 0; k < y.count; k++) {
        REAL *u = F(block)(dy, k), *v = F(block)(y, k), *to = F(block)(dx, k);
        EACH(l) to[l] = v[l] * (u[l] - dot[l]);
    }
}

FNN_INLINE void F(log_softmax_backward)(F(blocks) dx, F(blocks) dy, F(blocks) y, int fold)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s);
    F(row_max)(m, y, fold);
    SUM(s, y.count, REAL *u = F(block)(dy, k), u[l]);
    for (ptrdiff_t k = 0; k < y.count; k++) {
        REAL *u = F(block)(dy, k), *v = F(block)(y, k), *to = F(block)(dx, k);
        EACH(l) to[l] = m[l] == -LARGEST ? C(0) : u[l] - F(exp_flush)(v[l]) * s[l];
    }
}

/* Walk the rows. One of the result is `width` numbers long: n, or 1. The last input is padded with `padding`, a
   gradient before it with 0. */
FNN_INLINE void F(each_row)(F(row_op) *op, REAL *y, ptrdiff_t width, const REAL *a, const REAL *b, REAL padding,
                            ptrdiff_t rows, ptrdiff_t n)
{
    PANEL(y_space);
    PANEL(a_space);
    PANEL(b_space);
    const ptrdiff_t at_once = AT_ONCE(n);
    for (ptrdiff_t r = 0; r < rows; r += at_once) {
        const ptrdiff_t m = rows - r < at_once ? rows - r : at_once;
        const F(blocks) to = F(blocks_for)(y + r * width, width, y_space), none = {0};
        op(to, F(read_rows)(a + r * n, n, m, n, b ? C(0) : padding, a_space),
           b ? F(read_rows)(b + r * n, n, m, n, padding, b_space) : none, n > SHORT);
        F(write_rows)(y + r * width, m, width, to);
    }
}

#define ROW_KERNELS(name, n_in, width, padding)                                                \
    static void F(name##_rows)(void *y, const void *const *in, ptrdiff_t rows, ptrdiff_t n)    \
    {                                                                                          \
        F(each_row)(F(name), y, width, in[0], n_in > 1 ? in[n_in - 1] : 0, padding, rows, n);  \
    }
FNN_ROW_OPS(ROW_KERNELS)

/* --- cross entropy --------------------------------------------------------------------------------------------
   With d = z - max(z), e = exp(d), s = sum(e) and b the effective target: loss = sum(b * (log(s) - d)) and
   gradient = scale * (sum(b) * e / s - b). A term whose b is 0 is 0 even where d is -inf.
   b is the sum of `hard`, at the class of an index alone, and of `soft` numbers everywhere. */
FNN_INLINE REAL F(term)(REAL b, REAL d) { return b == C(0) ? C(0) : b * d; }

/* s = sum(e), b_sum = sum(soft), dot = sum(soft * d); e is kept where there is room for it */
FNN_INLINE void F(soft_sums)(REAL *s, REAL *b_sum, REAL *dot, F(blocks) e, F(blocks) z, const REAL *m, F(blocks) t,
                             F(blocks) w, const fnn_targets *targets, int fold)
{
    const REAL keep = C(targets->keep), spread = C(targets->spread);
    EACH(l) s[l] = b_sum[l] = dot[l] = C(0);
    for (ptrdiff_t start = 0; start < z.count; start += GROUP) {
        const ptrdiff_t end = z.count - start < GROUP ? z.count : start + GROUP;
        LANE_ARRAY(s_part) = {0};
        LANE_ARRAY(b_part) = {0};
        LANE_ARRAY(dot_part) = {0};
        LANE_ARRAY(unused);
        for (ptrdiff_t k = start; k < end; k++) {
            REAL *zk = F(block)(z, k), *tk = F(block)(t, k), *wk = F(block)(w, k), *to = e.at ? F(block)(e, k) : unused;
            EACH(l) {
                const REAL d = zk[l] - m[l], b = wk[l] * (keep * tk[l] + spread);
                s_part[l] += to[l] = F(exp_flush)(d);
                b_part[l] += b;
                dot_part[l] += F(term)(b, d);
            }
        }
        EACH(l) s[l] += s_part[l], b_sum[l] += b_part[l], dot[l] += dot_part[l];
    }
    if (fold) F(fold_sum)(s), F(fold_sum)(b_sum), F(fold_sum)(dot);
}

/* The losses and, where it has room, the gradient but for what an index takes off at its class: that is left in
   `hard`. `at` is the logit there. */
FNN_INLINE void F(cross_entropy)(REAL *loss, F(blocks) gradient, REAL *hard, const REAL *at, F(blocks) z, F(blocks) t,
                                 F(blocks) w, const fnn_targets *targets, int fold)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s);
    LANE_ARRAY(b_sum) = {0};
    LANE_ARRAY(dot) = {0};
    LANE_ARRAY(scale);
    const REAL keep = C(targets->keep), spread = C(targets->spread), full_scale = C(targets->scale);
    F(row_max)(m, z, fold);
    if (w.at)
        F(soft_sums)(s, b_sum, dot, gradient, z, m, t, w, targets, fold);
    else
        F(exp_sum)(s, gradient, z, m, fold);
    EACH(l) {
        const REAL total = b_sum[l] + hard[l], log_s = F(log)(s[l]), inverse = C(1) / s[l];
        const int dead = s[l] == C(0); /* a row of -inf: a loss of +inf and no gradient */
        loss[l] = total * (dead ? C(0) : log_s) - (dot[l] + F(term)(hard[l], at[l] - m[l]));
        scale[l] = dead ? C(0) : full_scale;
        s[l] = dead ? C(0) : scale[l] * total * inverse;
        hard[l] *= scale[l];
    }
    if (!gradient.at) return;
    for (ptrdiff_t k = 0; k < gradient.count; k++) {
        REAL *e = F(block)(gradient, k);
        if (w.at) {
            REAL *tk = F(block)(t, k), *wk = F(block)(w, k);
            EACH(l) e[l] = e[l] * s[l] - scale[l] * (wk[l] * (keep * tk[l] + spread));
        } else {
            EACH(l) e[l] *= s[l];
        }
    }
}

static void F(softmax_cross_entropy)(double *loss, void *gradient, const void *logits, const fnn_targets *targets,
                                     ptrdiff_t rows, ptrdiff_t n)
{
    const REAL *z = logits, *soft = targets->soft, *weight = targets->weight;
    REAL *dz = gradient;
    const ptrdiff_t at_once = AT_ONCE(n);
    PANEL(dz_space);
    PANEL(z_space);
    PANEL(t_space) = {0};
    PANEL(w_space);
    LANE_ARRAY(hard);
    LANE_ARRAY(at);
    LANE_ARRAY(losses);
    F(blocks) to = {0}, t = {t_space, t_space, 0, 0}, w = {0}; /* no room; zeros; nothing */
    if (soft || targets->spread > 0) w = F(read_rows)(weight, 0, at_once, n, C(0), w_space);
    for (ptrdiff_t r = 0; r < rows; r += at_once) {
        const ptrdiff_t m = rows - r < at_once ? rows - r : at_once;
        const int64_t *index = targets->index ? targets->index + r : 0;
        EACH(l) hard[l] = at[l] = C(0);
        if (index)
            for (ptrdiff_t i = 0; i < m; i++) {
                if (index[i] == targets->ignore) continue;
                hard[i] = C(targets->keep) * (weight ? weight[index[i]] : C(1));
                at[i] = z[(r + i) * n + index[i]];
            }
        if (n > SHORT) EACH(l) hard[l] = hard[0], at[l] = at[0];
        if (dz) to = F(blocks_for)(dz + r * n, n, dz_space);
        if (soft) t = F(read_rows)(soft + r * n, n, m, n, C(0), t_space);
        F(cross_entropy)(losses, to, hard, at, F(read_rows)(z + r * n, n, m, n, -C(INFINITY), z_space), t, w, targets,
                         n > SHORT);
        if (dz) F(write_rows)(dz + r * n, m, n, to);
        for (ptrdiff_t i = 0; i < m; i++) {
            const int ignored = index && index[i] == targets->ignore;
            loss[r + i] = ignored ? 0 : losses[i];
            if (dz && ignored) memset(dz + (r + i) * n, 0, (size_t)n * sizeof(REAL));
            if (dz && index && !ignored) dz[(r + i) * n + index[i]] -= hard[i];
        }
    }
}
#undef LANES
#undef SHORT
#undef GROUP
#undef AT_ONCE
#undef EACH
#undef LANE_ARRAY
#undef PANEL
#undef LARGEST
#undef LOWEST_EXPONENT
#undef SUM
#undef ROW_KERNELS
