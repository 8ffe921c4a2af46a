# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=True
"""Optimiser updates over typed memoryviews, in place.

Each function turns its hyper-parameters into those of the C formula, which has no options, and hands over to `run`.
"""
from cython cimport floating

from fastnn._kernels.cpu cimport active
from fastnn._kernels.fastnn cimport (
    FNN_MAX_STATE, FNN_adagrad_update, FNN_adam_update, FNN_centered_rmsprop_update, FNN_momentum_update,
    FNN_rmsprop_update, FNN_sgd_update, fnn_hyper, fnn_real
)


cdef inline fnn_hyper common(double lr, double weight_decay, bint maximize) noexcept:
    cdef fnn_hyper hyper
    hyper.lr = lr
    hyper.sign = -1 if maximize else 1
    hyper.weight_decay = weight_decay
    hyper.shrink = 1
    hyper.beta1 = hyper.gain1 = hyper.beta2 = hyper.gain2 = 0
    hyper.eps = hyper.eps_inside = 0
    hyper.nesterov = hyper.first = 0
    return hyper


cdef inline void place_eps(fnn_hyper *hyper, double eps, bint inside) noexcept:
    if inside:
        hyper.eps_inside = eps
    else:
        hyper.eps = eps


cdef int run(int op, const fnn_hyper *hyper, floating[::1] param, const floating[::1] grad, floating[::1] first=None,
             floating[::1] second=None) except -1:
    """Check that the arrays are as long as param and lie apart, then update."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t n = param.shape[0]
    cdef int k, j
    cdef floating *arrays[2 + FNN_MAX_STATE]
    cdef int n_arrays = 2
    if grad.shape[0] != n or first is not None and first.shape[0] != n or second is not None and second.shape[0] != n:
        raise ValueError(f"param has length {n}, expected the same of grad and of the state")
    if n == 0:
        return 0
    arrays[0] = &param[0]
    arrays[1] = <floating *>&grad[0]
    if first is not None:
        arrays[2] = &first[0]
        n_arrays = 3
    if second is not None:
        arrays[3] = &second[0]
        n_arrays = 4
    for k in range(n_arrays):
        if <size_t>arrays[k] % sizeof(floating):
            raise ValueError("param, grad or the state is not aligned in memory")
        for j in range(k):
            if arrays[j] < arrays[k] + n and arrays[k] < arrays[j] + n:
                raise ValueError("param, grad and the state overlap in memory, expected separate arrays")
    with nogil:
        table.updates[op](arrays[0], arrays[1], <void *const *>&arrays[2], hyper, n)
    return 0


def sgd_update(floating[::1] param, const floating[::1] grad, double lr, double weight_decay, bint maximize):
    """param -= lr * g"""
    cdef fnn_hyper hyper = common(lr, weight_decay, maximize)
    run(FNN_sgd_update, &hyper, param, grad)


def momentum_update(
    floating[::1] param, const floating[::1] grad, floating[::1] velocity, double lr, double momentum, double gain,
    bint nesterov, bint first, double weight_decay, bint maximize,
):
    """velocity = g if first else momentum * velocity + gain * g;  param -= lr * velocity"""
    cdef fnn_hyper hyper = common(lr, weight_decay, maximize)
    hyper.beta1 = momentum
    hyper.gain1 = gain
    hyper.nesterov = nesterov
    hyper.first = first
    run(FNN_momentum_update, &hyper, param, grad, velocity)


def adagrad_update(
    floating[::1] param, const floating[::1] grad, floating[::1] sum_sq, double lr, double eps, bint eps_inside,
    double weight_decay, bint maximize,
):
    """sum_sq += g * g;  param -= lr * g / (sqrt(sum_sq) + eps)"""
    cdef fnn_hyper hyper = common(lr, weight_decay, maximize)
    place_eps(&hyper, eps, eps_inside)
    run(FNN_adagrad_update, &hyper, param, grad, sum_sq)


def rmsprop_update(
    floating[::1] param, const floating[::1] grad, floating[::1] square_avg, double lr, double alpha, double eps,
    bint eps_inside, double weight_decay, bint maximize,
):
    """square_avg = alpha * square_avg + (1 - alpha) * g * g;  param -= lr * g / (sqrt(square_avg) + eps)"""
    cdef fnn_hyper hyper = common(lr, weight_decay, maximize)
    hyper.beta2 = alpha
    hyper.gain2 = 1 - alpha
    place_eps(&hyper, eps, eps_inside)
    run(FNN_rmsprop_update, &hyper, param, grad, square_avg)


def centered_rmsprop_update(
    floating[::1] param, const floating[::1] grad, floating[::1] square_avg, floating[::1] grad_avg, double lr,
    double alpha, double eps, bint eps_inside, double weight_decay, bint maximize,
):
    """The same with the variance square_avg - grad_avg * grad_avg under the root."""
    cdef fnn_hyper hyper = common(lr, weight_decay, maximize)
    hyper.beta1 = hyper.beta2 = alpha
    hyper.gain1 = hyper.gain2 = 1 - alpha
    place_eps(&hyper, eps, eps_inside)
    run(FNN_centered_rmsprop_update, &hyper, param, grad, square_avg, grad_avg)


def adam_update(
    floating[::1] param, const floating[::1] grad, floating[::1] m, floating[::1] v, Py_ssize_t step, double lr,
    double beta1, double beta2, double eps, double weight_decay, bint decoupled, bint maximize,
):
    """param -= lr * m^ / (sqrt(v^) + eps), with m^ and v^ the averages over their bias"""
    cdef fnn_hyper hyper = common(lr, 0 if decoupled else weight_decay, maximize)
    cdef double root = (1 - beta2 ** step) ** 0.5
    if decoupled:
        hyper.shrink = 1 - lr * weight_decay
    hyper.lr = lr * root / (1 - beta1 ** step)
    hyper.eps = eps * root
    hyper.beta1 = beta1
    hyper.gain1 = 1 - beta1
    hyper.beta2 = beta2
    hyper.gain2 = 1 - beta2
    run(FNN_adam_update, &hyper, param, grad, m, v)
