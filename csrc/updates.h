/* Optimiser updates, in place, one pass over memory. Included once per REAL by kernels.c.
   Each is one scalar formula: it returns the new parameter for p and the gradient g, and changes its state. */
typedef struct {
#define X(name) REAL name;
    FNN_HYPER(X)
#undef X
} F(hyper);

FNN_INLINE REAL F(sgd_update)(REAL p, REAL g, REAL *unused, REAL *unused_2, REAL *unused_3, const F(hyper) *h)
{
    (void)unused, (void)unused_2, (void)unused_3;
    return p - h->lr * g;
}

FNN_INLINE REAL F(momentum_update)(REAL p, REAL g, REAL *velocity, REAL *unused, REAL *unused_2, const F(hyper) *h)
{
    (void)unused, (void)unused_2;
    const REAL v = h->first ? g : h->momentum * *velocity + h->gain1 * g;
    *velocity = v;
    return p - h->lr * (h->nesterov ? h->momentum * v + h->gain1 * g : v);
}

/* g over the root of a mean of its squares; eps stands in one of two places, 0 in the other */
FNN_INLINE REAL F(over_root)(REAL g, REAL square, const F(hyper) *h)
{
    return g / (F(sqrt)(square + h->eps_inside) + h->eps);
}

FNN_INLINE REAL F(adagrad_update)(REAL p, REAL g, REAL *sum_sq, REAL *unused, REAL *unused_2, const F(hyper) *h)
{
    (void)unused, (void)unused_2;
    *sum_sq += g * g;
    return p - h->lr * F(over_root)(g, *sum_sq, h);
}

/* The step of rmsprop_update, whose learning rate may be applied after a momentum. */
FNN_INLINE REAL F(rmsprop_step)(REAL g, REAL *square_avg, const F(hyper) *h)
{
    *square_avg = h->beta2 * *square_avg + h->gain2 * g * g;
    return F(over_root)(g, *square_avg, h);
}

FNN_INLINE REAL F(centered_rmsprop_step)(REAL g, REAL *square_avg, REAL *grad_avg, const F(hyper) *h)
{
    *square_avg = h->beta2 * *square_avg + h->gain2 * g * g;
    *grad_avg = h->beta1 * *grad_avg + h->gain1 * g;
    const REAL variance = *square_avg - *grad_avg * *grad_avg;
    return F(over_root)(g, variance < C(0) ? C(0) : variance, h);
}

FNN_INLINE REAL F(rmsprop_update)(REAL p, REAL g, REAL *square_avg, REAL *unused, REAL *unused_2, const F(hyper) *h)
{
    (void)unused, (void)unused_2;
    return p - h->lr * F(rmsprop_step)(g, square_avg, h);
}

FNN_INLINE REAL F(rmsprop_momentum_update)(REAL p, REAL g, REAL *square_avg, REAL *velocity, REAL *unused,
                                           const F(hyper) *h)
{
    (void)unused;
    *velocity = h->momentum * *velocity + F(rmsprop_step)(g, square_avg, h);
    return p - h->lr * *velocity;
}

FNN_INLINE REAL F(centered_rmsprop_update)(REAL p, REAL g, REAL *square_avg, REAL *grad_avg, REAL *unused,
                                           const F(hyper) *h)
{
    (void)unused;
    return p - h->lr * F(centered_rmsprop_step)(g, square_avg, grad_avg, h);
}

FNN_INLINE REAL F(centered_rmsprop_momentum_update)(REAL p, REAL g, REAL *square_avg, REAL *grad_avg, REAL *velocity,
                                                    const F(hyper) *h)
{
    *velocity = h->momentum * *velocity + F(centered_rmsprop_step)(g, square_avg, grad_avg, h);
    return p - h->lr * *velocity;
}

/* With both bias corrections in lr and eps: one root and one division. */
FNN_INLINE REAL F(adam_update)(REAL p, REAL g, REAL *m, REAL *v, REAL *unused, const F(hyper) *h)
{
    (void)unused;
    *m = h->beta1 * *m + h->gain1 * g;
    *v = h->beta2 * *v + h->gain2 * g * g;
    return p * h->shrink - h->lr * F(over_root)(*m, *v, h);
}

FNN_INLINE REAL F(amsgrad_update)(REAL p, REAL g, REAL *m, REAL *v, REAL *v_max, const F(hyper) *h)
{
    *m = h->beta1 * *m + h->gain1 * g;
    *v = h->beta2 * *v + h->gain2 * g * g;
    *v_max = *v > *v_max || *v != *v ? *v : *v_max; /* a NaN in either goes on */
    return p * h->shrink - h->lr * F(over_root)(*m, *v_max, h);
}

#define UPDATE(name, n_state)                                                                             \
    static void F(name##_n)(void *param, const void *grad, void *const *state, const fnn_hyper *hyper, ptrdiff_t n) \
    {                                                                                                     \
        const F(hyper) h = {FNN_HYPER(AS_REAL)};                                                          \
        REAL pad[2 + FNN_MAX_STATE][BLOCK];                                                               \
        REAL *from[2 + FNN_MAX_STATE] = {param, (REAL *)grad};                                            \
        for (int k = 0; k < n_state; k++) from[2 + k] = state[k];                                         \
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {                                            \
            const size_t left = n - start < BLOCK ? (size_t)(n - start) * sizeof(REAL) : 0;               \
            REAL *at[2 + FNN_MAX_STATE] = {pad[0], pad[1], pad[2], pad[3], pad[4]};                       \
            for (int k = 0; k < 2 + n_state; k++) {                                                       \
                if (left) {                                                                               \
                    memset(pad[k], 0, sizeof pad[k]);                                                     \
                    memcpy(pad[k], from[k] + start, left);                                                \
                } else {                                                                                  \
                    at[k] = from[k] + start;                                                              \
                }                                                                                         \
            }                                                                                             \
            REAL *const p = at[0], *const g = at[1], *const a = at[2], *const b = at[3], *const c = at[4]; \
            SIMD for (int i = 0; i < BLOCK; i++)                                                          \
                p[i] = F(name)(p[i], h.sign * g[i] + h.weight_decay * p[i], a + i, b + i, c + i, &h);     \
            if (left)                                                                                     \
                for (int k = 0; k < 2 + n_state; k++)                                                     \
                    if (k != 1) memcpy(from[k] + start, at[k], left);                                     \
        }                                                                                                 \
    }
#define AS_REAL(name) .name = F(as_real)(hyper->name),
FNN_UPDATES(UPDATE)
#undef AS_REAL
#undef UPDATE

/* In lanes, so that the order of additions is the same everywhere; they are double whatever REAL is. */
typedef double F(wide) __attribute__((vector_size(FNN_VECTOR), may_alias));
enum { F(wide_lanes) = FNN_VECTOR / sizeof(double) };
typedef REAL F(narrow) __attribute__((vector_size(F(wide_lanes) * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
static double F(squared_norm)(const void *in_, ptrdiff_t n)
{
    enum { SUMS = 8, STEP = SUMS * F(wide_lanes) };
    const REAL *in = in_;
    REAL pad[STEP] = {0};
    F(wide) sums[SUMS] = {{0}};
    double sum = 0;
    for (ptrdiff_t start = 0; start < n; start += STEP) {
        const REAL *x = in + start;
        if (n - start < STEP) x = memcpy(pad, x, (size_t)(n - start) * sizeof(REAL));
#pragma GCC unroll 8
        for (int k = 0; k < SUMS; k++) {
            const F(wide) v = __builtin_convertvector(*(const F(narrow) *)(x + k * F(wide_lanes)), F(wide));
            sums[k] += v * v;
        }
    }
    for (int k = 0; k < SUMS; k++)
        for (int l = 0; l < F(wide_lanes); l++) sum += sums[k][l];
    return sum;
}
