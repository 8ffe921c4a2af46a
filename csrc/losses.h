/* The softmax family and cross entropy, over rows of n numbers. Included once per REAL by kernels.c.
   a) Every formula is a pass over blocks of LANES numbers, with one maximum, one sum a lane. In a long row a block is
      its next LANES elements, the last one padded, and in the end the lanes are folded into one. Short rows are taken
      LANES at a time and transposed: a lane is a row, a block one class of each, and there is nothing to fold. Which
      way a row goes depends on n alone.
   b) Passes are functions that are not inlined: the compiler vectorises them whole, once. Long rows are given to them
      in segments, because sums of sums round off less.
   c) A pass reads its blocks where they lie, and the padded one in its turn: of its own it would take as long as ten.
   d) Rows of a thousand classes go through each pass several after another: one has nothing to do while a maximum or
      a sum is folded. */
#define LANES 32
#define SHORT 64   /* the longest row that is transposed */
#define SEGMENT 64 /* blocks in a segment */
#define GROUP 8    /* long rows that go through a pass one after another, */
#define GROUP_OF 8192 /* if they have not more numbers than these */
#define EACH(l) SIMD for (int l = 0; l < LANES; l++)
#define EACH_VECTOR(v) _Pragma("GCC unroll 16") for (int v = 0; v < LANES / F(lanes); v++)
#define PASS static __attribute__((noinline))
#define LANE_ARRAY(name) REAL name[LANES] __attribute__((aligned(64)))
#define PANEL(name) REAL name[SHORT * LANES] __attribute__((aligned(64)))
#define LARGEST (FNN_IS_DOUBLE ? DBL_MAX : FLT_MAX)

/* e^x for x <= 88.37 (float64: 709.4), and 0 where that would be subnormal: power_of_2 is 0 for the least n. One power
   of r less than elsewhere, for speed: the rounding of x - max costs as much. */
FNN_INLINE REAL F(exp_flush)(REAL x)
{
    const REAL least = C(FNN_IS_DOUBLE ? -709.1 : -88.03), z = x < least ? least : x;
    const REAL t = F(exponent)(-z, 0), r = F(remainder)(-z, t, 0);
#if FNN_IS_DOUBLE
    const double p = 1 + (r + r * r * exp_rest_f64(r));
#else /* to 2^-23.2 */
    static const float c[] = {1, 1, 0.499992311f, 0.166671142f, 0.0418902114f, 0.00831251405f};
    const float p = polynomial_f32(r, c, 5);
#endif
    return p * F(power_of_2)(F(bits)(t));
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

/* How many rows a pass takes: a short one, or LANES of them, counts as one. */
FNN_INLINE int F(group)(ptrdiff_t n) { return n <= SHORT || n > GROUP_OF / 2 ? 1 : n < GROUP_OF / GROUP ? GROUP : (int)(GROUP_OF / n); }

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
    REAL *at, *rest;        /* the whole blocks, one after another, and the padded one, or one that stands for all */
    ptrdiff_t whole, count; /* how many are whole, and how many there are */
} F(blocks);

FNN_INLINE REAL *F(block)(const F(blocks) *x, ptrdiff_t i) { return i < x->whole ? x->at + i * LANES : x->rest; }

/* Part of a row: blocks `start` to `end` */
typedef struct {
    ptrdiff_t start, end;
} F(segment);

#define EACH_SEGMENT(part, count)                                                                     \
    for (F(segment) part = {0, 0}; part.end = (count) - part.start < SEGMENT ? (count) : part.start + SEGMENT, \
                   part.start < (count);                                                              \
         part.start = part.end)
#define EACH_BLOCK(i, part) for (ptrdiff_t i = (part).start; i < (part).end; i++)

/* One block for all: of zeros, or to write what nobody reads */
FNN_INLINE F(blocks) F(same)(REAL *block) { return (F(blocks)){block, block, 0, 0}; }

/* A long row where it lies, or short ones in `space`, to be filled */
FNN_INLINE F(blocks) F(room)(REAL *x, ptrdiff_t n, REAL *space)
{
    if (n > SHORT) return (F(blocks)){x, space, n / LANES, (n + LANES - 1) / LANES};
    return (F(blocks)){space, space, n, n};
}

/* The same with what x holds, rows `step` apart: the rest of a long row is padded, lanes without a row hold zeros.
   Short rows are turned over square by square; as these reach beyond a row's end, it is done in memory of our own. */
PASS F(blocks) F(read_rows)(const REAL *x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t n, REAL padding, REAL *space)
{
    const F(blocks) to = F(room)((REAL *)x, n, space);
    if (n > SHORT) {
        EACH(l) space[l] = padding;
        memcpy(space, x + to.whole * LANES, (size_t)(n - to.whole * LANES) * sizeof(REAL));
    } else {
        REAL own[SHORT * LANES + LANES];
        const size_t held = (size_t)(step ? rows * n : n) * sizeof(REAL);
        memcpy(own, x, held);
        if (step && rows < LANES) memset((char *)own + held, 0, (size_t)((LANES - rows) * n) * sizeof(REAL));
        for (ptrdiff_t j = 0; j < n; j += F(lanes))
            for (ptrdiff_t r = 0; r < LANES; r += F(lanes))
                F(turn_square)(space + j * LANES + r, own + r * step + j, LANES, step, n - j);
    }
    return to;
}

/* Squares reach beyond a row's end here too: into rows, or columns, that are written later. */
PASS void F(write_rows)(REAL *y, ptrdiff_t rows, ptrdiff_t n, F(blocks) from)
{
    if (n > SHORT) {
        memcpy(y + from.whole * LANES, from.rest, (size_t)(n - from.whole * LANES) * sizeof(REAL));
    } else {
        REAL own[SHORT * LANES + LANES];
        for (ptrdiff_t r = 0; r < LANES; r += F(lanes))
            for (ptrdiff_t j = (n - 1) / F(lanes) * F(lanes); j >= 0; j -= F(lanes))
                F(turn_square)(own + r * n + j, from.at + j * LANES + r, n, LANES, F(lanes));
        memcpy(y, own, (size_t)(rows * n) * sizeof(REAL));
    }
}

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

PASS void F(pass_max)(REAL *m, const F(blocks) *x, F(segment) part)
{
    LANE_ARRAY(most);
    EACH(l) most[l] = m[l];
    EACH_BLOCK(i, part) {
        const REAL *const at = F(block)(x, i);
        EACH(l) most[l] = F(greater)(at[l], most[l]);
    }
    EACH(l) m[l] = most[l];
}

PASS void F(pass_exp)(F(totals) *of, const F(blocks) *e, const F(blocks) *x, ptrdiff_t ahead, F(segment) part)
{
    LANE_ARRAY(m);
    LANE_ARRAY(s) = {0};
    EACH(l) m[l] = of->m[l];
    EACH_BLOCK(i, part) {
        const REAL *const at = F(block)(x, i);
        REAL *const to = F(block)(e, i);
        for (int l = 0; l < LANES; l += 64 / sizeof(REAL)) __builtin_prefetch(at + l + ahead, 0, 2);
        EACH(l) s[l] += to[l] = F(exp_flush)(at[l] - m[l]);
    }
    EACH(l) of->s[l] += s[l];
}

PASS void F(pass_soft)(F(totals) *of, const F(blocks) *e, const F(blocks) *x, const F(soft) *soft, F(segment) part)
{
    const REAL keep = soft->keep, spread = soft->spread;
    LANE_ARRAY(m);
    LANE_ARRAY(s) = {0};
    LANE_ARRAY(b) = {0};
    LANE_ARRAY(dot) = {0};
    EACH(l) m[l] = of->m[l];
    EACH_BLOCK(i, part) {
        const REAL *const at = F(block)(x, i), *const t = F(block)(&soft->t, i), *const w = F(block)(&soft->weight, i);
        REAL *const to = F(block)(e, i);
        EACH(l) {
            const REAL d = at[l] - m[l], target = w[l] * (keep * t[l] + spread);
            s[l] += to[l] = F(exp_flush)(d);
            b[l] += target;
            dot[l] += F(term)(target, d);
        }
    }
    EACH(l) of->s[l] += s[l], of->b[l] += b[l], of->dot[l] += dot[l];
}

#define EACH_OF(k, many) for (int k = 0; k < (many); k++)

/* Of `many` rows, one after another; soft is NULL if there are no soft targets, else there is one a row. */
FNN_INLINE void F(measure)(F(totals) *of, const F(blocks) *e, const F(blocks) *x, const F(soft) *soft, int many,
                           int fold)
{
    /* The next row is fetched behind the exponentials: a fifth of the time of 10,000 classes, if the cache holds it. */
    const ptrdiff_t ahead = x->count < 2048 ? x->count * LANES : 0;
    EACH_OF(k, many) {
        EACH(l) of[k].m[l] = -LARGEST, of[k].s[l] = of[k].b[l] = of[k].dot[l] = C(0);
        F(pass_max)(of[k].m, x + k, (F(segment)){0, x->count});
    }
    if (fold) EACH_OF(k, many) F(fold_max)(of[k].m);
    EACH_OF(k, many) EACH_SEGMENT(part, x->count) {
        if (soft)
            F(pass_soft)(of + k, e + k, x + k, soft + k, part);
        else
            F(pass_exp)(of + k, e + k, x + k, ahead, part);
    }
    if (fold) EACH_OF(k, many) F(fold_sum)(of[k].s);
    if (fold && soft) EACH_OF(k, many) F(fold_sum)(of[k].b), F(fold_sum)(of[k].dot);
}

PASS void F(pass_scale)(const F(blocks) *e, const REAL *scale)
{
    LANE_ARRAY(by);
    EACH(l) by[l] = scale[l];
    for (ptrdiff_t i = 0; i < e->count; i++) {
        REAL *const at = F(block)(e, i);
        EACH(l) at[l] *= by[l];
    }
}

/* --- one operation on a long row, whose lanes are folded, or on LANES short ones ------------------------------- */
typedef void F(row_op)(const F(blocks) *y, const F(blocks) *a, const F(blocks) *b, int many, int fold);

FNN_INLINE void F(softmax)(const F(blocks) *y, const F(blocks) *x, const F(blocks) *unused, int many, int fold)
{
    F(totals) of[GROUP];
    (void)unused;
    F(measure)(of, y, x, 0, many, fold);
    EACH_OF(k, many) {
        REAL *const s = of[k].s;
        EACH(l) s[l] = s[l] == C(0) ? C(0) : C(1) / s[l];
        F(pass_scale)(y + k, s);
    }
}

PASS void F(pass_log_softmax)(const F(blocks) *y, const F(blocks) *x, const REAL *m, const REAL *log_s)
{
    for (ptrdiff_t i = 0; i < x->count; i++) {
        const REAL *const at = F(block)(x, i);
        REAL *const to = F(block)(y, i);
        EACH(l) to[l] = (at[l] - m[l]) - log_s[l];
    }
}

FNN_INLINE void F(log_softmax)(const F(blocks) *y, const F(blocks) *x, const F(blocks) *unused, int many, int fold)
{
    F(totals) of[GROUP];
    F(measure)(of, unused, x, 0, many, fold);
    EACH_OF(k, many) {
        REAL *const s = of[k].s;
        EACH(l) s[l] = s[l] == C(0) ? C(0) : F(log)(s[l]); /* a row of -inf stays so */
        F(pass_log_softmax)(y + k, x + k, of[k].m, s);
    }
}

PASS void F(pass_nan)(REAL *nan, const F(blocks) *x)
{
    for (ptrdiff_t i = 0; i < x->count; i++) {
        const REAL *const at = F(block)(x, i);
        EACH(l) nan[l] += at[l] == at[l] ? C(0) : at[l];
    }
}

FNN_INLINE void F(logsumexp)(const F(blocks) *y, const F(blocks) *x, const F(blocks) *unused, int many, int fold)
{
    F(totals) of[GROUP];
    F(measure)(of, unused, x, 0, many, fold);
    EACH_OF(k, many) {
        const REAL *const m = of[k].m, *const s = of[k].s;
        REAL *const to = y[k].rest;
        LANE_ARRAY(nan) = {0}; /* tells a row with NaN from one with +inf, whose s is NaN too */
        int infinite = 0;
        for (int l = 0; l < LANES; l++) infinite |= m[l] > LARGEST;
        if (infinite) F(pass_nan)(nan, x + k);
        if (infinite && fold) F(fold_sum)(nan);
        EACH(l) to[l] = m[l] + (m[l] > LARGEST ? nan[l] : F(log)(s[l]));
    }
}

PASS void F(pass_dot)(REAL *dot, const F(blocks) *a, const F(blocks) *b, F(segment) part)
{
    F(vector) sum[LANES / F(lanes)] = {0}; /* of lanes in plain arrays GCC makes the outer loop */
    EACH_BLOCK(i, part) {
        const F(vector) *const at = (const F(vector) *)F(block)(a, i), *const with = (const F(vector) *)F(block)(b, i);
        EACH_VECTOR(v) sum[v] += at[v] * with[v];
    }
    EACH_VECTOR(v) ((F(vector) *)dot)[v] += sum[v];
}

PASS void F(pass_softmax_backward)(const F(blocks) *dx, const F(blocks) *dy, const F(blocks) *y, const REAL *dot)
{
    LANE_ARRAY(own_dot);
    EACH(l) own_dot[l] = dot[l];
    for (ptrdiff_t i = 0; i < y->count; i++) {
        const REAL *const at = F(block)(y, i), *const slope = F(block)(dy, i);
        REAL *const to = F(block)(dx, i);
        EACH(l) to[l] = at[l] * (slope[l] - own_dot[l]);
    }
}

FNN_INLINE void F(softmax_backward)(const F(blocks) *dx, const F(blocks) *dy, const F(blocks) *y, int many, int fold)
{
    F(totals) of[GROUP];
    EACH_OF(k, many) {
        EACH(l) of[k].dot[l] = C(0);
        EACH_SEGMENT(part, y->count) F(pass_dot)(of[k].dot, dy + k, y + k, part);
    }
    EACH_OF(k, many) {
        if (fold) F(fold_sum)(of[k].dot);
        F(pass_softmax_backward)(dx + k, dy + k, y + k, of[k].dot);
    }
}

PASS void F(pass_sum)(REAL *s, const F(blocks) *x, F(segment) part)
{
    F(vector) sum[LANES / F(lanes)] = {0};
    EACH_BLOCK(i, part) {
        const F(vector) *const at = (const F(vector) *)F(block)(x, i);
        EACH_VECTOR(v) sum[v] += at[v];
    }
    EACH_VECTOR(v) ((F(vector) *)s)[v] += sum[v];
}

PASS void F(pass_log_softmax_backward)(const F(blocks) *dx, const F(blocks) *dy, const F(blocks) *y, const REAL *m,
                                       const REAL *s)
{
    for (ptrdiff_t i = 0; i < y->count; i++) {
        const REAL *const at = F(block)(y, i), *const slope = F(block)(dy, i);
        REAL *const to = F(block)(dx, i);
        EACH(l) { /* a row of -inf has no gradient; one of NaN, which m is blind to, has NaN */
            const REAL full = slope[l] - F(exp_flush)(at[l]) * s[l];
            to[l] = m[l] == -LARGEST && at[l] == at[l] ? C(0) : full;
        }
    }
}

FNN_INLINE void F(log_softmax_backward)(const F(blocks) *dx, const F(blocks) *dy, const F(blocks) *y, int many, int fold)
{
    F(totals) of[GROUP];
    EACH_OF(k, many) {
        EACH(l) of[k].m[l] = -LARGEST, of[k].s[l] = C(0);
        EACH_SEGMENT(part, y->count) {
            F(pass_max)(of[k].m, y + k, part);
            F(pass_sum)(of[k].s, dy + k, part);
        }
    }
    EACH_OF(k, many) {
        if (fold) F(fold_max)(of[k].m), F(fold_sum)(of[k].s);
        F(pass_log_softmax_backward)(dx + k, dy + k, y + k, of[k].m, of[k].s);
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
    const int fold = n > SHORT, many = F(group)(n);
    const ptrdiff_t at_once = fold ? 1 : LANES;
    for (ptrdiff_t r = 0; r < rows; r += many * at_once) {
        F(blocks) to[GROUP], from_a[GROUP], from_b[GROUP];
        int k = 0;
        for (ptrdiff_t i = r; k < many && i < rows; k++, i += at_once) {
            const ptrdiff_t m = rows - i < at_once ? rows - i : at_once, pad = k * LANES;
            to[k] = F(room)(y + i * width, width, y_space + pad);
            from_a[k] = F(read_rows)(a + i * n, n, m, n, b ? C(0) : padding, a_space + pad);
            from_b[k] = b ? F(read_rows)(b + i * n, n, m, n, padding, b_space + pad) : F(same)(b_space);
        }
        op(to, from_a, from_b, k, fold);
        while (k--)
            F(write_rows)(y + (r + k) * width, rows - r < at_once ? rows - r : at_once, width, to[k]);
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
PASS void F(pass_soft_gradient)(const F(blocks) *e, const REAL *scale, const REAL *b_scale, const F(soft) *soft)
{
    const REAL keep = soft->keep, spread = soft->spread;
    for (ptrdiff_t i = 0; i < e->count; i++) {
        const REAL *const t = F(block)(&soft->t, i), *const w = F(block)(&soft->weight, i);
        REAL *const at = F(block)(e, i);
        EACH(l) at[l] = at[l] * scale[l] - b_scale[l] * (w[l] * (keep * t[l] + spread));
    }
}

/* Everything of the gradient but what an index takes off at its class; in a long row hard[0] stands for all lanes. */
FNN_INLINE void F(write_gradient)(const F(blocks) *gradient, const F(totals) *of, const REAL *hard, int fold,
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
    if (soft)
        F(pass_soft_gradient)(gradient, ratio, b_scale, soft);
    else
        F(pass_scale)(gradient, ratio);
}

/* The losses of LANES rows, now a row a lane; `at` is the logit at the index. */
PASS void F(pass_loss)(REAL *loss, const F(totals) *of, const REAL *hard, const REAL *at)
{
    EACH(l) {
        const REAL log_s = F(log)(of->s[l]), dot = of->dot[l] + F(term)(hard[l], at[l] - of->m[l]);
        loss[l] = F(term)(of->b[l] + hard[l], of->s[l] == C(0) ? C(0) : log_s) - dot; /* a row of -inf: +inf */
    }
}

static void F(softmax_cross_entropy)(double *loss, void *gradient, const void *logits, const fnn_targets *targets,
                                     ptrdiff_t rows, ptrdiff_t n)
{
    const REAL *weight = targets->weight, scale = C(targets->scale);
    const int fold = n > SHORT, many = F(group)(n);
    PANEL(dz_space);
    PANEL(z_space);
    PANEL(t_space);
    PANEL(weight_space);
    LANE_ARRAY(hard);
    LANE_ARRAY(at);
    LANE_ARRAY(losses);
    F(totals) of, now[GROUP];
    F(soft) soft_targets[GROUP];
    F(soft) *const soft = targets->soft || targets->spread > 0 ? soft_targets : 0;
    memset(&of, 0, sizeof of);
    if (soft) {
        EACH(l) t_space[l] = C(0);
        soft_targets[0] = (F(soft)){F(same)(t_space), F(read_rows)(weight, 0, LANES, n, C(0), weight_space),
                                    C(targets->keep), C(targets->spread)};
        for (int k = 1; k < GROUP; k++) soft_targets[k] = soft_targets[0];
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
        for (ptrdiff_t first = 0; first < m; first += many * at_once) {
            F(blocks) to[GROUP], from[GROUP];
            int here = 0;
            for (ptrdiff_t i = first; here < many && i < m; here++, i += at_once) {
                const ptrdiff_t pad = here * LANES;
                to[here] = dz ? F(room)(dz + i * n, n, dz_space + pad) : F(same)(dz_space);
                from[here] = F(read_rows)(z + i * n, n, at_once, n, -C(INFINITY), z_space + pad);
                if (t) soft[here].t = F(read_rows)(t + i * n, n, at_once, n, C(0), t_space + pad);
            }
            F(measure)(now, to, from, soft, here, fold);
            EACH_OF(k, here) {
                const ptrdiff_t i = first + k * at_once;
                if (dz) {
                    F(write_gradient)(to + k, now + k, hard + i, fold, soft ? soft + k : 0, scale);
                    F(write_rows)(dz + i * n, at_once, n, to[k]);
                }
                if (fold) of.m[i] = now[k].m[0], of.s[i] = now[k].s[0], of.b[i] = now[k].b[0], of.dot[i] = now[k].dot[0];
            }
        }
        const F(totals) *const found = fold ? &of : now;
        F(pass_loss)(losses, found, hard, at);
        for (ptrdiff_t i = 0; i < m; i++) {
            const int ignored = index && index[i] == targets->ignore;
            loss[r + i] = ignored ? 0 : losses[i];
            if (!dz) continue;
            if (ignored)
                memset(dz + i * n, 0, (size_t)n * sizeof(REAL));
            else if (index && found->s[i] != C(0))
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
        const REAL option = F(as_real)(parameter), factor = C(scale);                                                  \
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
#undef GROUP
#undef GROUP_OF
#undef EACH_OF
#undef EACH
#undef EACH_VECTOR
#undef EACH_BLOCK
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
