"""Optimiser updates, in place: over typed memoryviews, and over NumPy arrays of any dense layout or lists of them.

a) The C formulas have no options: a function of this module turns hyper-parameters into the formula's own.
b) `update` takes any number of parameters in one call. It looks at the arrays themselves, which costs 5 ns each where
   a memoryview costs 130, so nothing need be remembered between steps, and nothing can be out of date.
c) Sparse gradients are (rows, values): duplicate rows are summed first, in their order, and only the rows that are
   named are read or written.
"""
from cython cimport floating
from libc.math cimport INFINITY, pow, sqrt
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, qsort
cimport numpy as cnp

from fastnn._kernels.cpu cimport active, num_threads, parallel
from fastnn._kernels.embedding cimport check_rows, number_rows, sum_rows, table_size
from fastnn._kernels.fastnn cimport (
    FNN_MAX_STATE, FNN_N_UPDATES, FNN_adagrad_update, FNN_adam_update, FNN_amsgrad_update,
    FNN_centered_rmsprop_momentum_update, FNN_centered_rmsprop_update, FNN_momentum_update,
    FNN_rmsprop_momentum_update, FNN_rmsprop_update, FNN_sgd_update, fnn_hyper, fnn_real, fnn_task, fnn_update
)

cnp.import_array()

cdef enum:
    PIECE = 1 << 15  # elements a thread takes at a time
    PARALLEL = 1 << 19  # elements from which on waking a thread pays
    QUIET = 1 << 12  # elements up to which keeping the interpreter's lock costs nobody anything
    ORDER = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_F_CONTIGUOUS

OPS = {
    "sgd_update": FNN_sgd_update,
    "momentum_update": FNN_momentum_update,
    "adagrad_update": FNN_adagrad_update,
    "rmsprop_update": FNN_rmsprop_update,
    "rmsprop_momentum_update": FNN_rmsprop_momentum_update,
    "centered_rmsprop_update": FNN_centered_rmsprop_update,
    "centered_rmsprop_momentum_update": FNN_centered_rmsprop_momentum_update,
    "adam_update": FNN_adam_update,
    "amsgrad_update": FNN_amsgrad_update,
}

cdef int[FNN_N_UPDATES] n_state = [0, 1, 1, 1, 2, 2, 3, 2, 3]


# --- hyper-parameters, as the C formulas want them -------------------------------------------------------------------


cdef fnn_hyper sgd(double lr, double weight_decay, bint maximize) noexcept:
    """g = sign * grad + weight_decay * param"""
    cdef fnn_hyper hyper
    hyper.lr = lr
    hyper.sign = -1 if maximize else 1
    hyper.weight_decay = weight_decay
    hyper.shrink = 1
    hyper.beta1 = hyper.gain1 = hyper.beta2 = hyper.gain2 = hyper.momentum = 0
    hyper.eps = hyper.eps_inside = hyper.nesterov = hyper.first = 0
    return hyper


cdef fnn_hyper momentum_of(double lr, double momentum, double gain, bint nesterov, bint first, double weight_decay,
                           bint maximize) noexcept:
    cdef fnn_hyper hyper = sgd(lr, weight_decay, maximize)
    hyper.momentum, hyper.gain1, hyper.nesterov, hyper.first = momentum, gain, nesterov, first
    return hyper


cdef fnn_hyper adagrad(double lr, double eps, bint eps_inside, double weight_decay, bint maximize) noexcept:
    cdef fnn_hyper hyper = sgd(lr, weight_decay, maximize)
    if eps_inside:
        hyper.eps_inside = eps
    else:
        hyper.eps = eps
    return hyper


cdef fnn_hyper rmsprop(double lr, double alpha, double eps, bint eps_inside, double momentum, double weight_decay,
                       bint maximize) noexcept:
    cdef fnn_hyper hyper = adagrad(lr, eps, eps_inside, weight_decay, maximize)
    hyper.beta1 = hyper.beta2 = alpha
    hyper.gain1 = hyper.gain2 = 1 - alpha
    hyper.momentum = momentum
    return hyper


cdef fnn_hyper adam(Py_ssize_t step, double lr, double beta1, double beta2, double eps, double weight_decay,
                    bint decoupled, bint maximize) noexcept:
    """m^ = m / (1 - beta1**step) and v^ alike: both corrections go into lr and eps"""
    cdef fnn_hyper hyper = sgd(lr, 0 if decoupled else weight_decay, maximize)
    cdef double root = sqrt(1 - pow(beta2, step))
    if decoupled:
        hyper.shrink = 1 - lr * weight_decay
    hyper.lr = lr * root / (1 - pow(beta1, step))
    hyper.eps = eps * root
    hyper.beta1, hyper.gain1 = beta1, 1 - beta1
    hyper.beta2, hyper.gain2 = beta2, 1 - beta2
    return hyper


cdef fnn_hyper hyper_of(int op, tuple numbers) except *:
    """Return the hyper-parameters of an operation, given in the order of its function above."""
    if op == FNN_sgd_update:
        lr, weight_decay, maximize = numbers
        return sgd(lr, weight_decay, maximize)
    if op == FNN_momentum_update:
        lr, momentum, gain, nesterov, first, weight_decay, maximize = numbers
        return momentum_of(lr, momentum, gain, nesterov, first, weight_decay, maximize)
    if op == FNN_adagrad_update:
        lr, eps, eps_inside, weight_decay, maximize = numbers
        return adagrad(lr, eps, eps_inside, weight_decay, maximize)
    if op < FNN_adam_update:
        lr, alpha, eps, eps_inside, momentum, weight_decay, maximize = numbers
        return rmsprop(lr, alpha, eps, eps_inside, momentum, weight_decay, maximize)
    step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize = numbers
    return adam(step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize)


# --- NumPy arrays, any number of them --------------------------------------------------------------------------------


cdef struct tensor:  # a parameter, its gradient and state, or a piece of them
    fnn_update *update
    char *at[2 + FNN_MAX_STATE]
    Py_ssize_t n, unit


cdef struct work:
    tensor *tensors
    const fnn_hyper *hyper


cdef void run_tensor(void *context, Py_ssize_t i) noexcept nogil:
    cdef work *w = <work *>context
    cdef tensor *t = &w.tensors[i]
    t.update(t.at[0], t.at[1], <void *const *>&t.at[2], w.hyper, t.n)


cdef int run_pieces(tensor *tensors, Py_ssize_t count, const fnn_hyper *hyper, Py_ssize_t total) noexcept nogil:
    """Cut the tensors, `total` elements, into pieces for several threads; return -1 where there is no memory."""
    cdef Py_ssize_t i, start, k, made = 0
    cdef work w
    w.hyper = hyper
    w.tensors = <tensor *>malloc((total // PIECE + count) * sizeof(tensor))
    if w.tensors == NULL:
        return -1
    for i in range(count):
        start = 0
        while start < tensors[i].n:
            w.tensors[made] = tensors[i]
            w.tensors[made].n = min(PIECE, tensors[i].n - start)
            for k in range(2 + FNN_MAX_STATE):
                w.tensors[made].at[k] += start * tensors[i].unit
            made += 1
            start += PIECE
    parallel(run_tensor, &w, made)
    free(w.tensors)
    return 0


cdef struct span:
    char *begin
    char *end
    bint written


cdef int earlier(const void *a, const void *b) noexcept nogil:
    cdef char *x = (<span *>a).begin
    cdef char *y = (<span *>b).begin
    return (x > y) - (x < y)


cdef bint apart(const tensor *tensors, Py_ssize_t count) noexcept nogil:
    """Say whether nothing that one of the updates writes is among what another reads or writes."""
    cdef span *spans = <span *>malloc(count * (2 + FNN_MAX_STATE) * sizeof(span))
    cdef Py_ssize_t i, k, n = 0
    cdef char *read = NULL
    cdef char *written = NULL
    cdef bint found = spans != NULL
    if not found:
        return False
    for i in range(count):
        for k in range(2 + FNN_MAX_STATE):
            if tensors[i].at[k] != NULL and tensors[i].n:
                spans[n] = span(tensors[i].at[k], tensors[i].at[k] + tensors[i].n * tensors[i].unit, k != 1)
                n += 1
    qsort(spans, n, sizeof(span), earlier)
    for i in range(n):
        found &= spans[i].begin >= written and (spans[i].begin >= read or not spans[i].written)
        if spans[i].written:
            written = max(written, spans[i].end)
        else:
            read = max(read, spans[i].end)
    free(spans)
    return found


cdef void run_all(tensor *tensors, Py_ssize_t count, const fnn_hyper *hyper, Py_ssize_t total) noexcept nogil:
    cdef work w
    cdef Py_ssize_t i
    if total >= PARALLEL and num_threads() > 1 and apart(tensors, count):
        if run_pieces(tensors, count, hyper, total) == 0:
            return
    w.tensors, w.hyper = tensors, hyper
    for i in range(count):
        run_tensor(&w, i)


cdef bint fill(tensor *t, int op, tuple arrays, Py_ssize_t i, bint many) except -1:
    """Take up the i-th parameter with its gradient and state; return whether an update can work on them in place."""
    cdef cnp.ndarray param, x
    cdef Py_ssize_t size
    cdef int k, j, d, flags
    for k in range(2 + n_state[op]):
        item = arrays[k][i] if many else arrays[k]
        if not isinstance(item, cnp.ndarray):
            return False
        x = item
        if k == 0:
            param = x
            flags = cnp.PyArray_FLAGS(x)
            if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
                t.update, t.unit = active[0].f32.updates[op], 4
            elif cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT64:
                t.update, t.unit = active[0].f64.updates[op], 8
            else:
                return False
            t.n = cnp.PyArray_SIZE(x)
            size = t.n * t.unit
            if not flags & ORDER:
                return False
        if (
            cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(param) or cnp.PyArray_ISBYTESWAPPED(x)
            or cnp.PyArray_FLAGS(x) & ORDER != flags & ORDER or not cnp.PyArray_FLAGS(x) & cnp.NPY_ARRAY_ALIGNED
            or k != 1 and not cnp.PyArray_FLAGS(x) & cnp.NPY_ARRAY_WRITEABLE
            or cnp.PyArray_NDIM(x) != cnp.PyArray_NDIM(param)
        ):
            return False
        for d in range(cnp.PyArray_NDIM(x)):
            if cnp.PyArray_DIM(x, d) != cnp.PyArray_DIM(param, d):
                return False
        t.at[k] = <char *>cnp.PyArray_DATA(x)
        for j in range(k):
            if t.at[j] < t.at[k] + size and t.at[k] < t.at[j] + size:
                return False
    for k in range(2 + n_state[op], 2 + FNN_MAX_STATE):
        t.at[k] = NULL
    return True


def update(int op, tuple arrays, tuple numbers):
    """Update one parameter or several in place, and return whether the arrays were fit for that; else nothing is done.

    Of the arrays (param, grad and what state the operation has) each is one, or each a list.
    """
    cdef fnn_hyper hyper = hyper_of(op, numbers)
    cdef bint many = isinstance(arrays[0], (list, tuple))
    cdef Py_ssize_t i, count = len(arrays[0]) if many else 1, total = 0
    cdef tensor one
    cdef tensor *tensors = &one
    if len(arrays) != 2 + n_state[op]:
        raise TypeError(f"operation {op} got {len(arrays)} arrays, expected {2 + n_state[op]}")
    if many:
        for x in arrays:
            if not isinstance(x, (list, tuple)) or len(x) != count:
                return False
        tensors = <tensor *>malloc(max(1, count) * sizeof(tensor))
        if tensors == NULL:
            raise MemoryError
    try:
        for i in range(count):
            if not fill(&tensors[i], op, arrays, i, many):
                return False
            total += tensors[i].n
        if total <= QUIET:
            run_all(tensors, count, &hyper, total)
        else:
            with nogil:
                run_all(tensors, count, &hyper, total)
    finally:
        if many:
            free(tensors)
    return True


cdef const fnn_real *table_of(cnp.ndarray x) noexcept:
    """Return the primitives for a dense array that may be written to, NULL for any other."""
    cdef int flags = cnp.PyArray_FLAGS(x)
    if not flags & ORDER or not flags & cnp.NPY_ARRAY_WRITEABLE or not flags & cnp.NPY_ARRAY_ALIGNED:
        return NULL
    if cnp.PyArray_ISBYTESWAPPED(x):
        return NULL
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        return &active[0].f32
    return &active[0].f64 if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT64 else NULL


cdef struct array:
    const fnn_real *table
    char *at
    Py_ssize_t n, unit
    double factor, total
    double *sums


cdef void norm_part(void *context, Py_ssize_t i) noexcept nogil:
    cdef array *a = <array *>context
    a.sums[i] = a.table.squared_norm(a.at + i * PIECE * a.unit, min(PIECE, a.n - i * PIECE))


cdef void scale_part(void *context, Py_ssize_t i) noexcept nogil:
    cdef array *a = <array *>context
    cdef char *at = a.at + i * PIECE * a.unit
    a.table.scaled(at, at, a.factor, min(PIECE, a.n - i * PIECE))


cdef void each_piece(fnn_task *task, array *a) noexcept nogil:
    cdef Py_ssize_t i, pieces = (a.n + PIECE - 1) // PIECE
    if a.n >= PARALLEL:
        parallel(task, a, pieces)
    else:
        for i in range(pieces):
            task(a, i)


cdef int square(array *a) except -1:
    """Sum the squares, piece by piece."""
    cdef Py_ssize_t i, pieces = (a.n + PIECE - 1) // PIECE
    a.total = 0
    a.sums = <double *>malloc(max(1, pieces) * sizeof(double))
    if a.sums == NULL:
        raise MemoryError
    with nogil:
        each_piece(norm_part, a)
        for i in range(pieces):
            a.total += a.sums[i]
        free(a.sums)
    return 0


def clip_by_global_norm(list grads, double max_norm):
    """Return the Euclidean norm of all arrays as one vector, and scale them so that it is at most max_norm.

    They stay as they are if the norm is not finite, and also if the result is -1: then an array is not dense or not of
    float32 or float64, or the square of the norm is out of range.
    """
    cdef double norm, total = 0
    cdef cnp.ndarray x
    cdef array a
    for x in grads:
        a.table, a.at, a.n, a.unit = table_of(x), cnp.PyArray_BYTES(x), cnp.PyArray_SIZE(x), cnp.PyArray_ITEMSIZE(x)
        if a.table == NULL:
            return -1.0
        square(&a)
        total += a.total
    if not 1e-290 < total < INFINITY:
        return -1.0
    norm = sqrt(total)
    if norm > max_norm:
        a.factor = max_norm / norm
        for x in grads:
            a.table, a.at, a.n, a.unit = table_of(x), cnp.PyArray_BYTES(x), cnp.PyArray_SIZE(x), cnp.PyArray_ITEMSIZE(x)
            with nogil:
                each_piece(scale_part, &a)
    return norm


# --- typed memoryviews -----------------------------------------------------------------------------------------------


cdef int run(int op, const fnn_hyper *hyper, floating[::1] param, const floating[::1] grad, floating[::1] first=None,
             floating[::1] second=None, floating[::1] third=None) except -1:
    """Check that the arrays, those of the state that are there, are as long as param and lie apart, then update."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t n = param.shape[0]
    cdef int k, j, n_arrays = 2
    cdef floating *arrays[2 + FNN_MAX_STATE]
    cdef floating[::1] x
    if grad.shape[0] != n:
        raise ValueError(f"param has length {n}, expected the same of grad and of the state")
    for k in range(FNN_MAX_STATE):
        x = first if k == 0 else second if k == 1 else third
        if x is None:
            continue
        if x.shape[0] != n:
            raise ValueError(f"param has length {n}, expected the same of grad and of the state")
        if n:
            arrays[n_arrays] = &x[0]
        n_arrays += 1
    if n == 0:
        return 0
    arrays[0] = &param[0]
    arrays[1] = <floating *>&grad[0]
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
    cdef fnn_hyper hyper = sgd(lr, weight_decay, maximize)
    run(FNN_sgd_update, &hyper, param, grad)


def momentum_update(
    floating[::1] param, const floating[::1] grad, floating[::1] velocity, double lr, double momentum, double gain,
    bint nesterov, bint first, double weight_decay, bint maximize,
):
    """velocity = g if first else momentum * velocity + gain * g;  param -= lr * velocity"""
    cdef fnn_hyper hyper = momentum_of(lr, momentum, gain, nesterov, first, weight_decay, maximize)
    run(FNN_momentum_update, &hyper, param, grad, velocity)


def adagrad_update(
    floating[::1] param, const floating[::1] grad, floating[::1] sum_sq, double lr, double eps, bint eps_inside,
    double weight_decay, bint maximize,
):
    """sum_sq += g * g;  param -= lr * g / (sqrt(sum_sq) + eps)"""
    cdef fnn_hyper hyper = adagrad(lr, eps, eps_inside, weight_decay, maximize)
    run(FNN_adagrad_update, &hyper, param, grad, sum_sq)


def rmsprop_update(
    floating[::1] param, const floating[::1] grad, floating[::1] square_avg, double lr, double alpha, double eps,
    bint eps_inside, double weight_decay, bint maximize, floating[::1] grad_avg=None, double momentum=0,
    floating[::1] velocity=None,
):
    """square_avg = alpha * square_avg + (1 - alpha) * g * g;  param -= lr * g / (sqrt(square_avg) + eps)

    With grad_avg the variance square_avg - grad_avg * grad_avg stands under the root; with a velocity, what lr
    multiplies goes through velocity = momentum * velocity + what it was.
    """
    cdef fnn_hyper hyper = rmsprop(lr, alpha, eps, eps_inside, momentum, weight_decay, maximize)
    cdef int plain = FNN_rmsprop_update if grad_avg is None else FNN_centered_rmsprop_update
    cdef int heavy = FNN_rmsprop_momentum_update if grad_avg is None else FNN_centered_rmsprop_momentum_update
    run(plain if velocity is None else heavy, &hyper, param, grad, square_avg, grad_avg, velocity)


def adam_update(
    floating[::1] param, const floating[::1] grad, floating[::1] m, floating[::1] v, Py_ssize_t step, double lr,
    double beta1, double beta2, double eps, double weight_decay, bint decoupled, bint maximize,
    floating[::1] v_max=None,
):
    """param -= lr * m^ / (sqrt(v^) + eps), with m^ and v^ the averages over their bias, or the largest v for v"""
    cdef fnn_hyper hyper = adam(step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize)
    run(FNN_adam_update if v_max is None else FNN_amsgrad_update, &hyper, param, grad, m, v, v_max)


# --- sparse rows -----------------------------------------------------------------------------------------------------


cdef int run_rows(int op, const fnn_hyper *hyper, floating[:, ::1] param, const int64_t[::1] rows,
                  const floating[:, ::1] grad_rows, floating[:, ::1] first=None,
                  floating[:, ::1] second=None) except -1:
    """Check the shapes and the rows, sum the gradients of a row, then update the rows one after the other."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t n = rows.shape[0], size = param.shape[1], count, i
    cdef void *state[FNN_MAX_STATE]
    cdef floating *sums
    cdef int64_t *numbers
    if grad_rows.shape[0] != n or grad_rows.shape[1] != size:
        raise ValueError(f"grad_rows has shape ({grad_rows.shape[0]}, {grad_rows.shape[1]}), expected ({n}, {size})")
    if (
        first is not None and (first.shape[0] != param.shape[0] or first.shape[1] != size)
        or second is not None and (second.shape[0] != param.shape[0] or second.shape[1] != size)
    ):
        raise ValueError(f"param has shape ({param.shape[0]}, {size}), expected the same of the state")
    check_rows(rows, param.shape[0], "rows")
    if n == 0 or size == 0:
        return 0
    numbers = <int64_t *>malloc((2 * n + table_size(n)) * sizeof(int64_t))
    sums = <floating *>malloc(n * size * sizeof(floating))
    if numbers == NULL or sums == NULL:
        free(numbers)
        free(sums)
        raise MemoryError
    with nogil:
        count = number_rows(&rows[0], n, numbers, numbers + n, numbers + 2 * n)
        sum_rows(sums, grad_rows, numbers + n)
        for i in range(count):
            state[0] = NULL if first is None else <void *>&first[numbers[i], 0]
            state[1] = NULL if second is None else <void *>&second[numbers[i], 0]
            table.updates[op](&param[numbers[i], 0], sums + i * size, state, hyper, size)
    free(numbers)
    free(sums)
    return 0


def sparse_sgd_update(
    floating[:, ::1] param, const int64_t[::1] rows, const floating[:, ::1] grad_rows, double lr, bint maximize,
):
    """sgd_update of the rows that are named"""
    cdef fnn_hyper hyper = sgd(lr, 0, maximize)
    run_rows(FNN_sgd_update, &hyper, param, rows, grad_rows)


def sparse_adagrad_update(
    floating[:, ::1] param, const int64_t[::1] rows, const floating[:, ::1] grad_rows, floating[:, ::1] sum_sq,
    double lr, double eps, bint eps_inside, bint maximize,
):
    """adagrad_update of the rows that are named"""
    cdef fnn_hyper hyper = adagrad(lr, eps, eps_inside, 0, maximize)
    run_rows(FNN_adagrad_update, &hyper, param, rows, grad_rows, sum_sq)


def sparse_adam_update(
    floating[:, ::1] param, const int64_t[::1] rows, const floating[:, ::1] grad_rows, floating[:, ::1] m,
    floating[:, ::1] v, Py_ssize_t step, double lr, double beta1, double beta2, double eps, bint maximize,
):
    """adam_update of the rows that are named, with eps added to the root before its correction"""
    cdef fnn_hyper hyper = adam(step, lr, beta1, beta2, 0, 0, False, maximize)
    hyper.eps = eps
    run_rows(FNN_adam_update, &hyper, param, rows, grad_rows, m, v)
