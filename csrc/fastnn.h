/* The one header Cython sees: lists of operations, signatures, the table of primitives. */
#ifndef FASTNN_H
#define FASTNN_H
#include <stddef.h>
#include <stdint.h>

/* One row an activation: name, what its backward pass wants saved, number of parameters, and how its slope
   meets dy: `times`, or `select` where a slope of 0 gives 0 whatever dy is.
   A row makes three operations: f(x, ...), f_derivative(x, ...), f_backward(dy, saved, ...). */
#define FNN_ACTIVATIONS(X)                                                                          \
    X(relu, y, 0, select) X(sigmoid, y, 0, times) X(tanh, y, 0, times) X(softplus, y, 0, times)       \
    X(log_sigmoid, y, 0, times) X(softsign, x, 0, times) X(hardsigmoid, x, 0, select)                 \
    X(hardswish, x, 0, times) X(selu, x, 0, times) X(silu, x, 0, times) X(mish, x, 0, times)          \
    X(gelu, x, 0, times) X(gelu_tanh, x, 0, times) X(leaky_relu, x, 1, select) X(elu, x, 1, times)    \
    X(hardtanh, x, 2, select)

enum {
#define X(name, saved, params, product) FNN_##name, FNN_##name##_derivative, FNN_##name##_backward,
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

/* The primitives of one dtype. Arguments: outputs, inputs, sizes; void pointers are to that dtype. */
typedef struct {
    fnn_kernel *elementwise[FNN_N_OPS];
} fnn_real;

typedef struct {
    const char *isa;
    fnn_real f32, f64;
    void (*from_half)(float *out, const uint16_t *in, ptrdiff_t n);
    void (*to_half)(uint16_t *out, const float *in, ptrdiff_t n);
} fnn_kernels;

/* Runs task(context, 0 .. blocks - 1), on several threads if there are; how blocks are cut must depend on the
   problem alone. Worth it from about 100 microseconds of work. */
typedef void fnn_task(void *context, ptrdiff_t block);
void fnn_parallel(fnn_task *task, void *context, ptrdiff_t blocks);

/* Visible from outside, so that threadpoolctl can find them. */
#define FNN_EXPORT __attribute__((visibility("default")))
FNN_EXPORT int fastnn_get_num_threads(void);
FNN_EXPORT void fastnn_set_num_threads(int n);

extern const fnn_op fnn_ops[FNN_N_OPS];
extern const fnn_kernels *fnn_active;           /* the table in use */
const fnn_kernels *fnn_select(const char *isa); /* NULL: the best; returns NULL if this CPU has it not */
const char *fnn_built_isa(int i);               /* the instruction sets in this build, best first; NULL ends */
int fnn_runs_isa(int i);                        /* whether this CPU has that one */
#endif
