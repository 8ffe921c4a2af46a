/* The one header Cython sees: lists of operations, signatures, the table of primitives. */
#ifndef FASTNN_H
#define FASTNN_H
#include <stddef.h>
#include <stdint.h>

/* One row an activation: name, what its backward pass wants saved, number of parameters.
   A row makes three operations: f(x, ...), f_derivative(x, ...), f_backward(dy, saved, ...). */
#define FNN_ACTIVATIONS(X)                                                                             \
    X(relu, y, 0) X(sigmoid, y, 0) X(tanh, y, 0) X(softplus, y, 0) X(log_sigmoid, y, 0)                \
    X(softsign, x, 0) X(hardsigmoid, x, 0) X(hardswish, x, 0) X(selu, x, 0) X(silu, x, 0)              \
    X(mish, x, 0) X(gelu, x, 0) X(gelu_tanh, x, 0) X(leaky_relu, x, 1) X(elu, x, 1) X(hardtanh, x, 2)

enum {
#define X(name, saved, params) FNN_##name, FNN_##name##_derivative, FNN_##name##_backward,
    FNN_ACTIVATIONS(X)
#undef X
    FNN_N_OPS,
    FNN_MAX_IN = 4
};

typedef struct {
    const char *name;
    int n_in;
    const char *saved; /* what its activation's backward pass wants: "x" or "y" */
} fnn_op;

/* out[i] = f(in[0][i], in[1][i], ...), going forward in blocks; out may be one of the inputs. */
typedef void fnn_kernel(void *out, const void *const *in, ptrdiff_t n);

/* One row an operation on rows of n numbers: name, inputs, length of a row of the result, and what pads the last
   input. */
#define FNN_ROW_OPS(X)                                                                              \
    X(softmax, 1, n, -C(INFINITY)) X(log_softmax, 1, n, -C(INFINITY)) X(logsumexp, 1, 1, -C(INFINITY)) \
    X(softmax_backward, 2, n, C(0)) X(log_softmax_backward, 2, n, -C(INFINITY))

/* One row a loss of single numbers: name, and inputs: prediction, target, and two factors, of targets and of losses. */
#define FNN_LOSSES(X)                                                                               \
    X(sigmoid_cross_entropy, 2) X(weighted_sigmoid_cross_entropy, 4) X(mse_loss, 2) X(l1_loss, 2)   \
    X(huber_loss, 2) X(smooth_l1_loss, 2) X(hinge_loss, 2) X(kl_div, 2) X(kl_div_of_logs, 2)

/* One row an optimiser update: name, number of state arrays. */
#define FNN_UPDATES(X)                                                                              \
    X(sgd_update, 0) X(momentum_update, 1) X(adagrad_update, 1) X(rmsprop_update, 1)                \
    X(rmsprop_momentum_update, 2) X(centered_rmsprop_update, 2) X(centered_rmsprop_momentum_update, 3) \
    X(adam_update, 2) X(amsgrad_update, 3)

/* The hyper-parameters of all updates. Every gradient enters as sign * grad + weight_decay * param; beta and gain
   are the two factors of a running average, the first of gradients, the second of their squares. */
#define FNN_HYPER(X)                                                                                \
    X(lr) X(sign) X(weight_decay) X(shrink) X(beta1) X(gain1) X(beta2) X(gain2) X(eps) X(eps_inside) \
    X(momentum) X(nesterov) X(first)

enum {
#define X(name, n_in, width, padding) FNN_##name,
    FNN_ROW_OPS(X)
#undef X
    FNN_N_ROW_OPS
};

enum {
#define X(name, n_in) FNN_##name,
    FNN_LOSSES(X)
#undef X
    FNN_N_LOSSES,
    FNN_MAX_LOSS_IN = 4
};

enum {
#define X(name, n_state) FNN_##name,
    FNN_UPDATES(X)
#undef X
    FNN_N_UPDATES,
    FNN_MAX_STATE = 3
};

typedef struct {
#define X(name) double name;
    FNN_HYPER(X)
#undef X
} fnn_hyper;

/* What rows of logits are compared with: an `index` a row, unless that is `ignore`, and `soft` targets, a row of them
   for each. The effective target is weight * (keep * target + spread); `scale` is the gradient's. Pointers may be NULL,
   but not `weight` where there are soft targets or a spread. */
typedef struct {
    const int64_t *index;
    int64_t ignore;
    const void *soft, *weight;
    double keep, spread, scale;
} fnn_targets;

/* `rows` rows of n numbers, one after another; out may be one of the inputs. */
typedef void fnn_row_kernel(void *out, const void *const *in, ptrdiff_t rows, ptrdiff_t n);

/* One loss a row; the gradient may be NULL, or the logits. */
typedef void fnn_cross_entropy(double *loss, void *gradient, const void *logits, const fnn_targets *targets,
                               ptrdiff_t rows, ptrdiff_t n);

/* Returns the sum of n losses, added up in float64. Losses and `scale` times their slopes are written where there is
   room; the gradient may be an input. `parameter` is what the loss's one option is. */
typedef double fnn_loss(void *losses, void *gradient, const void *const *in, double parameter, double scale,
                        ptrdiff_t n);

typedef void fnn_update(void *param, const void *grad, void *const *state, const fnn_hyper *hyper, ptrdiff_t n);

/* One row a recurrent cell: what a walk over time does between two matrix products. */
#define FNN_CELLS(X)                                                                                \
    X(lstm) X(lstm_backward) X(gru) X(gru_backward) X(gru_reset) X(gru_update) X(gru_update_backward) \
    X(gru_reset_backward)

enum {
#define X(name) FNN_##name##_cell,
    FNN_CELLS(X)
#undef X
    FNN_N_CELLS
};

/* Over rows of n units; array k, those that are written first, has its rows row[k] numbers apart. */
typedef void fnn_cell(void *const *array, const ptrdiff_t *row, ptrdiff_t rows, ptrdiff_t n);

/* An axis that windows slide along: window i begins at i * stride - before, `size` is without the padding. */
typedef struct {
    ptrdiff_t size, kernel, stride, before, dilation, out;
} fnn_axis;

/* What one tap of a window sees of an image: `rows` rows from `row` on, `columns` columns from `column` on, each so many
   steps apart. They may lie outside of the image, in its padding. */
typedef struct {
    ptrdiff_t height, width, row, row_step, rows, column, column_step, columns;
} fnn_plane;

/* The primitives of one dtype. Arguments: outputs, inputs, sizes; void pointers are to that dtype. */
typedef struct {
    fnn_kernel *elementwise[FNN_N_OPS];
    fnn_kernel *uniform[FNN_N_OPS]; /* the same where parameters are one number each */
    fnn_row_kernel *rows[FNN_N_ROW_OPS];
    fnn_cross_entropy *softmax_cross_entropy;
    fnn_loss *losses[FNN_N_LOSSES];
    fnn_update *updates[FNN_N_UPDATES];
    /* gemm.h: matrices whose rows lie `..._row` numbers apart, and panels that pack() makes of a right factor */
    void (*transpose)(void *out, const void *in, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t out_row,
                      ptrdiff_t in_row);
    void (*pack)(void *panels, const void *b, ptrdiff_t depth, ptrdiff_t n, ptrdiff_t row, ptrdiff_t column,
                 ptrdiff_t rows);
    void (*product)(void *out, const void *init, const void *a, const void *panels, ptrdiff_t m, ptrdiff_t n,
                    ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t init_row, ptrdiff_t a_row, ptrdiff_t packed_for);
    void (*matmul)(void *out, const void *init, const void *a, const void *b, ptrdiff_t m, ptrdiff_t n,
                   ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t init_row, ptrdiff_t a_row, ptrdiff_t row,
                   ptrdiff_t column);
    void (*matvec)(void *out, const void *w, const void *a, ptrdiff_t n, ptrdiff_t depth, ptrdiff_t w_row);
    void (*matvecs)(void *out, const void *init, const void *w, const void *a, ptrdiff_t m, ptrdiff_t n,
                    ptrdiff_t depth, ptrdiff_t out_row, ptrdiff_t w_row, ptrdiff_t a_row);
    fnn_cell *cells[FNN_N_CELLS];
    void (*mask_scale)(void *out, const void *in, const uint8_t *mask, double scale, double rest, ptrdiff_t n);
    /* embedding.h: out += in; the sum or mean of `count` rows of a table, `skip` and NULL weights aside; factor * in */
    void (*accumulate)(void *out, const void *in, ptrdiff_t n);
    void (*bag)(void *out, const void *table, const int64_t *index, const void *weight, int64_t skip, int mean,
                ptrdiff_t count, ptrdiff_t n);
    void (*scaled)(void *out, const void *in, double factor, ptrdiff_t n);
    /* normalization.h: statistics are double; they are means, 1 / sqrt(variance + eps), sums of squared deviations (m2) */
    void (*layer_norm)(void *y, double *mean, double *rstd, const void *x, const void *weight, const void *bias,
                       double eps, ptrdiff_t rows, ptrdiff_t n);
    void (*layer_norm_backward)(void *dx, double *dweight, double *dbias, void *scratch, const void *dy, const void *x,
                                const void *weight, const double *mean, const double *rstd, ptrdiff_t rows,
                                ptrdiff_t n);
    void (*row_moments)(double *mean, double *m2, const void *x, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n);
    void (*column_moments)(double *mean, double *m2, const void *x, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n);
    void (*row_dots)(double *sum, double *dot, const void *dy, const void *x, const double *mean, ptrdiff_t rows,
                     ptrdiff_t step, ptrdiff_t n);
    void (*column_dots)(double *sum, double *dot, const void *dy, const void *x, const double *mean, ptrdiff_t rows,
                        ptrdiff_t step, ptrdiff_t n);
    void (*affine)(void *out, const void *x, const void *dy, const void *centre, const void *scale, const void *offset,
                   const void *dy_scale, ptrdiff_t rows, ptrdiff_t n, int across);
    /* convolution.h: planes of images, products with rows that lie anywhere, pooling of images one after the other */
    void (*read_plane)(void *to, const void *image, const void *end, const fnn_plane *plane, double fill);
    void (*add_plane)(void *image, void *from, const fnn_plane *plane);
    void (*crop)(void *to, const void *from, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from_row);
    void (*window_product)(void *out, const void *init, const void *a, const ptrdiff_t *a_rows, const void *b,
                           const ptrdiff_t *b_rows, ptrdiff_t m, ptrdiff_t n, ptrdiff_t depth, ptrdiff_t out_row);
    void (*window_dots)(void *out, const void *a, const ptrdiff_t *a_rows, const void *b, ptrdiff_t m, ptrdiff_t depth,
                        ptrdiff_t out_row);
    void (*max_pool)(void *y, int32_t *at, const void *x, const void *end, void *scratch, const fnn_axis *h,
                     const fnn_axis *w, ptrdiff_t images);
    void (*avg_pool)(void *y, const void *x, const void *end, const void *h_size, const void *w_size, void *scratch,
                     const fnn_axis *h, const fnn_axis *w, ptrdiff_t images);
    void (*avg_pool_backward)(void *dx, const void *dy, const void *h_size, const void *w_size, void *scratch,
                              const fnn_axis *h, const fnn_axis *w, ptrdiff_t images);
    void (*largest)(void *y, int32_t *at, const void *x, ptrdiff_t n);
    /* updates.h: the sum of squares, in float64 */
    double (*squared_norm)(const void *in, ptrdiff_t n);
    /* attention.h: one query, and keys or values whose rows lie `step` numbers apart */
    void (*weighted_rows)(void *out, const void *weights, const void *x, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n);
    void (*additive_scores)(void *scores, const void *query, const void *v, const void *keys, ptrdiff_t rows,
                            ptrdiff_t step, ptrdiff_t n);
    void (*additive_backward)(void *dquery, void *dkeys, void *dv, const void *dscores, const void *query,
                              const void *v, const void *keys, ptrdiff_t rows, ptrdiff_t dstep, ptrdiff_t step,
                              ptrdiff_t n);
    /* word2vec.h: the c rows of x and the m rows of y that a window of words names */
    void (*window_scores)(void *scores, const void *x, const void *y, const int32_t *inputs, const int32_t *targets,
                          ptrdiff_t c, ptrdiff_t m, ptrdiff_t n, ptrdiff_t x_step, ptrdiff_t y_step);
    double (*window_gains)(void *scores, const int32_t *targets, double lr, int need_loss, ptrdiff_t c, ptrdiff_t m);
    void (*window_update)(void *x, void *y, const void *gains, const int32_t *inputs, const int32_t *targets,
                          void *scratch, ptrdiff_t c, ptrdiff_t m, ptrdiff_t first, ptrdiff_t n, ptrdiff_t x_step,
                          ptrdiff_t y_step);
    void (*window_sum)(void *out, const void *x, const int32_t *inputs, double factor, ptrdiff_t c, ptrdiff_t first,
                       ptrdiff_t n, ptrdiff_t x_step);
    void (*window_spread)(void *x, void *y, const void *row, const void *gains, const int32_t *inputs,
                          const int32_t *targets, double factor, ptrdiff_t c, ptrdiff_t m, ptrdiff_t first, ptrdiff_t n,
                          ptrdiff_t x_step, ptrdiff_t y_step);
} fnn_real;

typedef struct {
    const char *isa;
    fnn_real f32, f64;
    int (*compare_bits)(uint8_t *mask, const uint16_t *bits, uint16_t least, ptrdiff_t n);
    void (*from_half)(float *out, const uint16_t *in, ptrdiff_t n);
    void (*to_half)(uint16_t *out, const float *in, ptrdiff_t n);
    /* embedding.h, for rows of whatever dtype: out = the rows of a table that the indices name, of `size` bytes and
       `row` bytes apart; whether any index is not among the rows */
    void (*gather)(void *out, const void *table, const int64_t *index, ptrdiff_t n, ptrdiff_t size, ptrdiff_t row);
    int (*outside)(const int64_t *index, ptrdiff_t n, ptrdiff_t rows);
    void (*fetch_rows)(const void *table, const int32_t *index, ptrdiff_t n, ptrdiff_t size, ptrdiff_t row);
} fnn_kernels;

/* Numbers that the panels of a right factor (depth, n) take, whatever the instruction set. */
static inline ptrdiff_t fnn_pack_workspace(ptrdiff_t depth, ptrdiff_t n) { return depth * ((n + 31) / 32 * 32); }

/* Numbers of a row with its padding that pooling reads, whatever the instruction set. */
static inline ptrdiff_t fnn_pool_width(const fnn_axis *a)
{
    const ptrdiff_t read = (a->out + 32) * a->stride + (a->kernel - 1) * a->dilation + 32;
    return read > a->before + a->size ? read : a->before + a->size;
}

/* Runs task(context, 0 .. blocks - 1), on several threads if there are; how blocks are cut must depend on the
   problem alone. Worth it from about 100 microseconds of work. */
typedef void fnn_task(void *context, ptrdiff_t block);
void fnn_parallel(fnn_task *task, void *context, ptrdiff_t blocks);

/* Visible from outside, so that threadpoolctl can find them. */
#define FNN_EXPORT __attribute__((visibility("default")))
enum { FNN_MAX_THREADS = 256 };
FNN_EXPORT int fastnn_get_num_threads(void);
FNN_EXPORT void fastnn_set_num_threads(int n);

extern const fnn_op fnn_ops[FNN_N_OPS];
extern const fnn_kernels *fnn_active;           /* the table in use */
const fnn_kernels *fnn_select(const char *isa); /* NULL: the best; returns NULL if this CPU has it not */
const char *fnn_built_isa(int i);               /* the instruction sets in this build, best first; NULL ends */
int fnn_runs_isa(int i);                        /* whether this CPU has that one */
#endif
