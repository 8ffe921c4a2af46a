/* Optimiser updates, in place, one pass over memory. Included once per REAL by kernels.c.
   Each is one scalar formula: it returns the new parameter for p and the gradient g, and changes its state. */
typedef struct {
#define X(name) REAL name;
    FNN_HYPER(X)
#undef X
} F(hyper);

FNN_INLINE REAL F(sgd_update)(REAL p, REAL g, REAL *unused, REAL *unused_2, const F(hyper) *h)
{
    (void)unused, (void)unused_2;
    return p - h->lr * g;
}

FNN_INLINE REAL F(momentum_update)(REAL p, REAL g, REAL *velocity, REAL *unused, const F(hyper) *h)
{
    (void)unused;
    const REAL v = h->first ? g : h->beta1 * *velocity + h->gain1 * g;
    *velocity = v;
    return p - h->lr * (h->nesterov ? h->beta1 * v + h->gain1 * g : v);
}

/* g over the root of a mean of its squares; eps stands in one of two places, 0 in the other */
FNN_INLINE REAL F(over_root)(REAL g, REAL square, const F(hyper) *h)
{
    return g / (F(sqrt)(square + h->eps_inside) + h->eps);
}

FNN_INLINE REAL F(adagrad_update)(REAL p, REAL g, REAL *sum_sq, REAL *unused, const F(hyper) *h)
{
    (void)unused;
    *sum_sq += g * g;
    return p - h->lr * F(over_root)(g, *sum_sq, h);
}

FNN_INLINE REAL F(rmsprop_update)(REAL p, REAL g, REAL *square_avg, REAL *unused, const F(hyper) *h)
{
    (void)unused;
    *square_avg = h->beta2 * *square_avg + h->gain2 * g * g;
    return p - h->lr * F(over_root)(g, *square_avg, h);
}

FNN_INLINE REAL F(centered_rmsprop_update)(REAL p, REAL g, REAL *square_avg, REAL *grad_avg, const F(hyper) *h)
{
    *square_avg = h->beta2 * *square_avg + h->gain2 * g * g;
    *grad_avg = h->beta1 * *grad_avg + h->gain1 * g;
    const REAL variance = *square_avg - *grad_avg * *grad_avg;
    return p - h->lr * F(over_root)(g, variance < C(0) ? C(0) : variance, h);
}

/* With both bias corrections in lr and eps: one root and one division. */
FNN_INLINE REAL F(adam_update)(REAL p, REAL g, REAL *m, REAL *v, const F(hyper) *h)
{
    *m = h->beta1 * *m + h->gain1 * g;
    *v = h->beta2 * *v + h->gain2 * g * g;
    return p * h->shrink - h->lr * F(over_root)(*m, *v, h);
}

#define UPDATE(name, n_state)                                                                             \
    static void F(name##_n)(void *param, const void *grad, void *const *state, const fnn_hyper *hyper, ptrdiff_t n) \
    {                                                                                                     \
        const F(hyper) h = {FNN_HYPER(AS_REAL)};                                                          \
        REAL pad[2 + FNN_MAX_STATE][BLOCK];                                                               \
        REAL *const from[2 + FNN_MAX_STATE] = {param, (REAL *)grad, n_state > 0 ? state[0] : 0, n_state > 1 ? state[1] : 0}; \
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {                                            \
            const size_t left = n - start < BLOCK ? (size_t)(n - start) * sizeof(REAL) : 0;               \
            REAL *at[2 + FNN_MAX_STATE];                                                                  \
            for (int k = 0; k < 2 + n_state; k++) {                                                       \
                at[k] = from[k] + start;                                                                  \
                if (left) {                                                                               \
                    memset(pad[k], 0, sizeof pad[k]);                                                     \
                    at[k] = memcpy(pad[k], at[k], left);                                                  \
                }                                                                                         \
            }                                                                                             \
            REAL *const p = at[0], *const g = at[1];                                                      \
            REAL *const a = n_state > 0 ? at[2] : pad[2], *const b = n_state > 1 ? at[3] : pad[3];        \
            SIMD for (int i = 0; i < BLOCK; i++)                                                          \
                p[i] = F(name)(p[i], h.sign * g[i] + h.weight_decay * p[i], a + i, b + i, &h);            \
            if (left)                                                                                     \
                for (int k = 0; k < 2 + n_state; k++)                                                     \
                    if (k != 1) memcpy(from[k] + start, at[k], left);                                     \
        }                                                                                                 \
    }
#define AS_REAL(name) .name = C(hyper->name),
FNN_UPDATES(UPDATE)
#undef AS_REAL
#undef UPDATE
