"""The softmax family and losses over typed memoryviews: rows of numbers, classes last, or numbers one by one.

A result may be written over an input of its shape. Everything is checked before anything is written.
"""
from cython cimport floating
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from fastnn._kernels.checks cimport check_aligned
from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport (
    FNN_MAX_LOSS_IN, FNN_N_LOSSES, FNN_hinge_loss, FNN_huber_loss, FNN_kl_div, FNN_kl_div_of_logs, FNN_l1_loss,
    FNN_log_softmax, FNN_log_softmax_backward, FNN_logsumexp, FNN_mse_loss, FNN_sigmoid_cross_entropy,
    FNN_smooth_l1_loss, FNN_softmax, FNN_softmax_backward, FNN_weighted_sigmoid_cross_entropy, fnn_cross_entropy,
    fnn_loss, fnn_real, fnn_row_kernel, fnn_targets, fnn_task
)

cdef enum:
    CHUNK = 64  # rows whose losses are added up at a time
    PART = 1 << 16  # elements a thread takes at a time, if there are more than four times as many
    PARTS = 256  # and no more of them than these
    SHORT = 64  # the longest of the rows that go through C side by side,
    TOGETHER = 32  # and how many of them do
    SPAN = 1 << 13  # elements that stay in the cache from one pass to the next
    PIECE = 1 << 12  # elements that are added up at a time: sums of sums round off less

# The losses of single numbers, as `element_loss` takes them
OPS = {
    "sigmoid_cross_entropy": FNN_sigmoid_cross_entropy,
    "weighted_sigmoid_cross_entropy": FNN_weighted_sigmoid_cross_entropy,
    "mse_loss": FNN_mse_loss,
    "l1_loss": FNN_l1_loss,
    "huber_loss": FNN_huber_loss,
    "smooth_l1_loss": FNN_smooth_l1_loss,
    "hinge_loss": FNN_hinge_loss,
    "kl_div": FNN_kl_div,
    "kl_div_of_logs": FNN_kl_div_of_logs,
}


cdef inline void check(str name, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t want_rows, Py_ssize_t want_n) except *:
    if rows != want_rows or n != want_n:
        raise ValueError(f"{name} has shape ({rows}, {n}), expected ({want_rows}, {want_n})")


cdef inline void check_length(str name, Py_ssize_t length, Py_ssize_t want) except *:
    if length != want:
        raise ValueError(f"{name} has length {length}, expected {want}")


cdef inline bint apart(const void *a, size_t n, const void *b, size_t m) noexcept:
    """Return whether n bytes at a and m bytes at b share no memory; NULL shares none."""
    return b == NULL or <size_t>a + n <= <size_t>b or <size_t>b + m <= <size_t>a


cdef inline Py_ssize_t rows_of_part(Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    """Return how many rows a thread takes at a time, so that there are at most PARTS; whole chunks of short rows."""
    cdef Py_ssize_t part = max(<Py_ssize_t>1, PART // n, (rows + PARTS - 1) // PARTS)
    return part if part < CHUNK else (part + CHUNK - 1) // CHUNK * CHUNK


cdef inline void each_part(fnn_task *task, void *job, Py_ssize_t parts, bint several) noexcept nogil:
    """Do all parts, on several threads if that is worth it."""
    cdef Py_ssize_t i
    if several:
        parallel(task, job, parts)
    else:
        for i in range(parts):
            task(job, i)


ctypedef struct transform_job:
    fnn_row_kernel *kernel
    char *y
    const char *a
    const char *b
    Py_ssize_t rows, n, width, part, unit


cdef void transform_part(void *context, Py_ssize_t i) noexcept nogil:
    cdef transform_job *job = <transform_job *>context
    cdef Py_ssize_t start = i * job.part, offset = start * job.n * job.unit
    cdef const void *inputs[2]
    inputs[0] = job.a + offset
    inputs[1] = job.b + offset if job.b else NULL
    job.kernel(job.y + start * job.width * job.unit, inputs, min(job.part, job.rows - start), job.n)


cdef void run(int op, floating *y, const floating[:, ::1] a, const floating *b) noexcept nogil:
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef transform_job job
    cdef Py_ssize_t blocks
    job.kernel = table.rows[op]
    job.y = <char *>y
    job.a = <const char *>&a[0, 0]
    job.b = <const char *>b
    job.rows, job.n, job.unit = a.shape[0], a.shape[1], sizeof(floating)
    job.width = 1 if op == FNN_logsumexp else job.n
    job.part = rows_of_part(job.rows, job.n)
    blocks = (job.rows + job.part - 1) // job.part
    each_part(transform_part, &job, blocks, blocks > 4)


cdef inline int check_apart(const void *out, const void *like, size_t size, const void *other, size_t n) except -1:
    """Raise unless `out` is what it is computed from, `size` bytes as itself, or apart from it and from the other."""
    if not (out == like or apart(out, size, like, size)) or not apart(out, size, other, n):
        raise ValueError("the result overlaps an input, expected the one of its shape or memory of its own")
    return 0


cdef void transform(int op, floating[:, ::1] y, const floating[:, ::1] x) except *:
    check("y", y.shape[0], y.shape[1], x.shape[0], x.shape[1])
    if y.shape[0] and y.shape[1]:
        check_aligned(sizeof(floating), &y[0, 0], &x[0, 0])
        check_apart(&y[0, 0], &x[0, 0], y.shape[0] * y.shape[1] * sizeof(floating), NULL, 0)
        with nogil:
            run(op, &y[0, 0], x, NULL)


cdef void backward(int op, floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y) except *:
    check("dy", dy.shape[0], dy.shape[1], y.shape[0], y.shape[1])
    check("dx", dx.shape[0], dx.shape[1], y.shape[0], y.shape[1])
    cdef size_t size = y.shape[0] * y.shape[1] * sizeof(floating)
    if size:
        check_aligned(sizeof(floating), &dx[0, 0], &dy[0, 0], &y[0, 0])
        check_apart(&dx[0, 0], &y[0, 0], size, NULL, 0)
        check_apart(&dx[0, 0], &dy[0, 0], size, NULL, 0)
        with nogil:
            run(op, &dx[0, 0], dy, &y[0, 0])


def softmax(floating[:, ::1] y, const floating[:, ::1] x):
    """Write the softmax of each row of x into y."""
    transform(FNN_softmax, y, x)


def log_softmax(floating[:, ::1] y, const floating[:, ::1] x):
    """Write the logarithm of the softmax of each row of x into y."""
    transform(FNN_log_softmax, y, x)


def logsumexp(floating[::1] y, const floating[:, ::1] x):
    """Write log(sum(exp(x))) of each row of x into y."""
    check_length("y", y.shape[0], x.shape[0])
    if not x.shape[1]:
        y[:] = -np.inf
    elif x.shape[0]:
        check_aligned(sizeof(floating), &y[0], &x[0, 0])
        with nogil:
            run(FNN_logsumexp, &y[0], x, NULL)


def softmax_backward(floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y):
    """Write y * (dy - sum(y * dy)) of each row into dx."""
    backward(FNN_softmax_backward, dx, dy, y)


def log_softmax_backward(floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y):
    """Write dy - exp(y) * sum(dy) of each row into dx."""
    backward(FNN_log_softmax_backward, dx, dy, y)


# --- rows of which a part counts -------------------------------------------------------------------------------------
ctypedef struct masked_job:
    const fnn_real *table
    char *y
    const char *a
    const char *b
    const uint8_t *mask
    Py_ssize_t rows, n, part, unit


cdef void masked_part(void *context, Py_ssize_t i) noexcept nogil:
    """Take out what does not count, with -inf for a softmax and 0 for a gradient, and see that 0 comes of it."""
    cdef masked_job *job = <masked_job *>context
    cdef Py_ssize_t start = i * job.part, end = min(start + job.part, job.rows)
    cdef Py_ssize_t most = max(<Py_ssize_t>1, SPAN // job.n), m, first
    cdef const uint8_t *mask
    cdef const void *inputs[2]
    cdef const char *a
    cdef char *y
    most -= most % CHUNK if most > CHUNK else 0
    while start < end:
        m, first = min(most, end - start), start * job.n
        y, a, mask = job.y + first * job.unit, job.a + first * job.unit, job.mask + first
        job.table.mask_scale(y, a, mask, 1, 0 if job.b else -INFINITY, m * job.n)
        inputs[0], inputs[1] = y, job.b + first * job.unit if job.b else NULL
        job.table.rows[FNN_softmax_backward if job.b else FNN_softmax](y, inputs, m, job.n)
        job.table.mask_scale(y, y, mask, 1, 0, m * job.n)  # a NaN among those that count is everywhere
        start += m


cdef void masked(floating *y, const floating[:, ::1] a, const floating *b, const uint8_t *mask) noexcept nogil:
    cdef masked_job job
    cdef Py_ssize_t blocks
    job.table = &active[0].f32 if floating is float else &active[0].f64
    job.y, job.a, job.b, job.mask = <char *>y, <const char *>&a[0, 0], <const char *>b, mask
    job.rows, job.n, job.unit, job.part = a.shape[0], a.shape[1], sizeof(floating), rows_of_part(a.shape[0], a.shape[1])
    blocks = (job.rows + job.part - 1) // job.part
    each_part(masked_part, &job, blocks, blocks > 4)


def masked_softmax(floating[:, ::1] y, const floating[:, ::1] x, const uint8_t[:, ::1] mask):
    """Write the softmax of what the mask, of 0 and 1, lets count of each row of x into y, and 0 elsewhere."""
    cdef size_t size = x.shape[0] * x.shape[1]
    check("y", y.shape[0], y.shape[1], x.shape[0], x.shape[1])
    check("mask", mask.shape[0], mask.shape[1], x.shape[0], x.shape[1])
    if size:
        check_aligned(sizeof(floating), &y[0, 0], &x[0, 0])
        check_apart(&y[0, 0], &x[0, 0], size * sizeof(floating), &mask[0, 0], size)
        with nogil:
            masked(&y[0, 0], x, NULL, &mask[0, 0])


def masked_softmax_backward(floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y,
                            const uint8_t[:, ::1] mask):
    """Write y * (dy - sum(y * dy)), over what counts of each row, into dx, which may be dy, and 0 elsewhere."""
    cdef size_t size = y.shape[0] * y.shape[1]
    check("dy", dy.shape[0], dy.shape[1], y.shape[0], y.shape[1])
    check("dx", dx.shape[0], dx.shape[1], y.shape[0], y.shape[1])
    check("mask", mask.shape[0], mask.shape[1], y.shape[0], y.shape[1])
    if size:
        check_aligned(sizeof(floating), &dx[0, 0], &dy[0, 0], &y[0, 0])
        check_apart(&dx[0, 0], &dy[0, 0], size * sizeof(floating), &mask[0, 0], size)
        check_apart(&dx[0, 0], &dy[0, 0], size * sizeof(floating), &y[0, 0], size * sizeof(floating))
        with nogil:
            masked(&dx[0, 0], dy, &y[0, 0], &mask[0, 0])


# --- rows made of runs ------------------------------------------------------------------------------------------------
ctypedef struct ragged_job:
    const fnn_real *table
    char *y
    const char *a
    const char *b
    const int64_t *bounds
    Py_ssize_t n, runs, part, across, unit


cdef inline void take_runs(floating *to, const floating *row, const int64_t *bounds, Py_ssize_t count,
                           Py_ssize_t width, floating padding) noexcept nogil:
    """Copy runs of a row into rows of this width."""
    cdef Py_ssize_t k, j
    for k in range(count):
        memcpy(to + k * width, row + bounds[k], (bounds[k + 1] - bounds[k]) * sizeof(floating))
        for j in range(bounds[k + 1] - bounds[k], width):
            to[k * width + j] = padding


cdef inline void runs_of_row(const fnn_real *table, floating *y, const floating *a, const floating *b,
                             const int64_t *bounds, Py_ssize_t runs) noexcept nogil:
    """Long runs go one by one, short ones side by side, padded to the longest of them: it changes no sum."""
    cdef fnn_row_kernel *kernel = table.rows[FNN_softmax if b == NULL else FNN_softmax_backward]
    cdef floating of_a[SHORT * TOGETHER]
    cdef floating of_b[SHORT * TOGETHER]
    cdef const void *inputs[2]
    cdef Py_ssize_t first = 0, count, width, length, k
    while first < runs:
        count = width = 0
        while count < TOGETHER and first + count < runs:
            length = bounds[first + count + 1] - bounds[first + count]
            if length > SHORT:
                break
            width, count = max(width, length), count + 1
        if not count:
            inputs[0], inputs[1] = a + bounds[first], b + bounds[first] if b else NULL
            kernel(y + bounds[first], inputs, 1, length)
            first += 1
        elif width:
            take_runs(of_a, a, bounds + first, count, width, <floating>0 if b else <floating>-INFINITY)
            if b:
                take_runs(of_b, b, bounds + first, count, width, <floating>0)
            inputs[0], inputs[1] = of_a, of_b
            kernel(of_a, inputs, count, width)
            for k in range(count):
                memcpy(y + bounds[first + k], of_a + k * width,
                       (bounds[first + k + 1] - bounds[first + k]) * sizeof(floating))
        first += count


cdef void ragged_part(void *context, Py_ssize_t i) noexcept nogil:
    cdef ragged_job *job = <ragged_job *>context
    cdef Py_ssize_t offset = i // job.across * job.n * job.unit, first = i % job.across * job.part
    cdef Py_ssize_t runs = min(job.part, job.runs - first)
    cdef char *y = job.y + offset
    cdef const char *a = job.a + offset
    cdef const char *b = job.b + offset if job.b else NULL
    if job.unit == sizeof(float):
        runs_of_row(job.table, <float *>y, <const float *>a, <const float *>b, job.bounds + first, runs)
    else:
        runs_of_row(job.table, <double *>y, <const double *>a, <const double *>b, job.bounds + first, runs)


cdef void ragged(floating *y, const floating[:, ::1] a, const floating *b, const int64_t *bounds,
                 Py_ssize_t runs) noexcept nogil:
    cdef ragged_job job
    job.table = &active[0].f32 if floating is float else &active[0].f64
    job.y, job.a, job.b, job.bounds = <char *>y, <const char *>&a[0, 0], <const char *>b, bounds
    job.n, job.runs, job.unit = a.shape[1], runs, sizeof(floating)
    job.part = max(<Py_ssize_t>1, PART * job.runs // job.n)
    job.across = (job.runs + job.part - 1) // job.part
    each_part(ragged_part, &job, a.shape[0] * job.across, a.shape[0] * job.n > 4 * PART)


cdef int64_t *bounds_of(const int64_t[::1] lengths, Py_ssize_t n) except NULL:
    """Return where runs of these lengths begin, and n, where the last of them ends; to be freed."""
    cdef Py_ssize_t runs = lengths.shape[0], i
    cdef int64_t *bounds
    cdef int64_t start = 0
    check_aligned(sizeof(int64_t), &lengths[0] if runs else NULL)
    bounds = <int64_t *>malloc((runs + 1) * sizeof(int64_t))
    if bounds == NULL:
        raise MemoryError
    for i in range(runs):
        bounds[i] = start
        if not 0 <= lengths[i] <= n - start:
            break
        start += lengths[i]
    else:
        if start == n:
            bounds[runs] = n
            return bounds
    free(bounds)
    raise ValueError(f"lengths do not add up to {n}, or some are negative")


def ragged_softmax(floating[:, ::1] y, const floating[:, ::1] x, const int64_t[::1] lengths):
    """Write the softmax of each run of each row of x into y; the runs are of these lengths."""
    cdef int64_t *bounds
    check("y", y.shape[0], y.shape[1], x.shape[0], x.shape[1])
    bounds = bounds_of(lengths, x.shape[1])
    try:
        if x.shape[0] and x.shape[1]:
            check_aligned(sizeof(floating), &y[0, 0], &x[0, 0])
            check_apart(&y[0, 0], &x[0, 0], x.shape[0] * x.shape[1] * sizeof(floating), NULL, 0)
            with nogil:
                ragged(&y[0, 0], x, NULL, bounds, lengths.shape[0])
    finally:
        free(bounds)


def ragged_softmax_backward(floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y,
                            const int64_t[::1] lengths):
    """Write y * (dy - sum(y * dy)) of each run into dx."""
    cdef size_t size = y.shape[0] * y.shape[1] * sizeof(floating)
    cdef int64_t *bounds
    check("dy", dy.shape[0], dy.shape[1], y.shape[0], y.shape[1])
    check("dx", dx.shape[0], dx.shape[1], y.shape[0], y.shape[1])
    bounds = bounds_of(lengths, y.shape[1])
    try:
        if size:
            check_aligned(sizeof(floating), &dx[0, 0], &dy[0, 0], &y[0, 0])
            check_apart(&dx[0, 0], &y[0, 0], size, NULL, 0)
            check_apart(&dx[0, 0], &dy[0, 0], size, NULL, 0)
            with nogil:
                ragged(&dx[0, 0], dy, &y[0, 0], bounds, lengths.shape[0])
    finally:
        free(bounds)


# --- losses -----------------------------------------------------------------------------------------------------------
cdef double count(const int64_t[::1] index, Py_ssize_t classes, const floating[::1] weight, bint can_ignore,
                  int64_t ignore) except -1:
    """Return the sum of the weights of the targets that count, each of which must be a class."""
    cdef double total = 0
    cdef Py_ssize_t r
    cdef int64_t target
    if index.shape[0]:
        check_aligned(sizeof(int64_t), &index[0])
        if weight is None and not can_ignore and not active[0].outside(&index[0], index.shape[0], classes):
            return index.shape[0]
    if weight is not None and classes:
        check_aligned(sizeof(floating), &weight[0])
    for r in range(index.shape[0]):
        target = index[r]
        if can_ignore and target == ignore:
            continue
        if not 0 <= target < classes:
            raise IndexError(f"targets hold {target}, which is not among the {classes} classes")
        total += 1 if weight is None else weight[target]
    return total


ctypedef struct cross_entropy_job:
    fnn_cross_entropy *kernel
    const char *logits
    char *gradient
    char *losses
    fnn_targets targets
    Py_ssize_t rows, n, part, unit
    double totals[PARTS]


cdef void cross_entropy_part(void *context, Py_ssize_t i) noexcept nogil:
    cdef cross_entropy_job *job = <cross_entropy_job *>context
    cdef fnn_targets targets = job.targets
    cdef Py_ssize_t start = i * job.part, end = min(start + job.part, job.rows), m, r, offset
    cdef double chunk[CHUNK]
    cdef double total = 0
    while start < end:
        m = min(end - start, <Py_ssize_t>CHUNK)
        offset = start * job.n * job.unit
        if job.targets.index != NULL:
            targets.index = job.targets.index + start
        else:
            targets.soft = <const char *>job.targets.soft + offset
        job.kernel(chunk, job.gradient + offset if job.gradient else NULL, job.logits + offset, &targets, m, job.n)
        if job.losses != NULL:
            for r in range(m):
                if job.unit == sizeof(float):
                    (<float *>job.losses)[start + r] = <float>chunk[r]
                else:
                    (<double *>job.losses)[start + r] = chunk[r]
        memset(chunk + m, 0, (CHUNK - m) % 4 * sizeof(double))
        for r in range(0, m, 4):  # one after the other would wait for each addition
            total += (chunk[r] + chunk[r + 1]) + (chunk[r + 2] + chunk[r + 3])
        start += m
    job.totals[i] = total


def softmax_cross_entropy(
    const floating[:, ::1] logits, const int64_t[::1] index, const floating[:, ::1] probabilities=None,
    const floating[::1] weight=None, ignore_index=None, double label_smoothing=0, bint mean=True,
    floating[:, ::1] gradient=None, floating[::1] losses=None,
):
    """Return the mean or sum of the rows' losses; write these, and the gradient, where there is room given for them.

    Targets are an `index` or `probabilities`, the other is None; the gradient may be written over the logits.
    """
    cdef Py_ssize_t rows = logits.shape[0], n = logits.shape[1], i, blocks
    cdef size_t size
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef cross_entropy_job job
    cdef fnn_targets targets
    cdef double total = 0, counted
    cdef floating *dz = NULL
    if (index is None) == (probabilities is None):
        raise TypeError("targets are an index or probabilities, one of the two")
    if gradient is not None:
        check("gradient", gradient.shape[0], gradient.shape[1], rows, n)
    check_length("losses", rows if losses is None else losses.shape[0], rows)
    check_length("weight", n if weight is None else weight.shape[0], n)
    if weight is None and (probabilities is not None or label_smoothing):
        weight = np.ones(n, np.float32 if floating is float else np.float64)

    targets.index = NULL
    targets.ignore = -1
    targets.soft = NULL
    targets.weight = NULL if weight is None or n == 0 else &weight[0]
    if index is not None:
        check_length("index", index.shape[0], rows)
        if ignore_index is not None:
            targets.ignore = ignore_index
        counted = count[floating](index, n, weight, ignore_index is not None, targets.ignore)
    else:
        check("probabilities", probabilities.shape[0], probabilities.shape[1], rows, n)
        counted = rows
    if rows == 0 or n == 0:
        if losses is not None:
            losses[:] = 0
        return 0.0
    if index is not None:
        targets.index = &index[0]
    else:
        targets.soft = &probabilities[0, 0]
    targets.keep = 1 - label_smoothing
    targets.spread = label_smoothing / n
    targets.scale = 1
    if mean:
        targets.scale = 1 / counted if counted else 0

    check_aligned(sizeof(floating), &logits[0, 0], targets.soft, targets.weight)
    if gradient is not None:
        dz = &gradient[0, 0]
        size = rows * n * sizeof(floating)
        check_aligned(sizeof(floating), dz)
        check_apart(dz, &logits[0, 0], size, targets.soft, size)
        check_apart(dz, &logits[0, 0], size, targets.weight, n * sizeof(floating))
        check_apart(dz, &logits[0, 0], size, targets.index, rows * sizeof(int64_t))
    job.kernel = table.softmax_cross_entropy
    job.logits = <const char *>&logits[0, 0]
    job.gradient = <char *>dz
    job.losses = NULL if losses is None else <char *>&losses[0]
    job.targets, job.rows, job.n, job.unit, job.part = targets, rows, n, sizeof(floating), rows_of_part(rows, n)
    with nogil:
        blocks = (rows + job.part - 1) // job.part
        each_part(cross_entropy_part, &job, blocks, blocks > 4)
        for i in range(blocks):
            total += job.totals[i]
    return total * targets.scale if targets.scale else 0.0


def nll_loss(
    const floating[:, ::1] log_probabilities, const int64_t[::1] index, const floating[::1] weight=None,
    ignore_index=None, bint mean=True, floating[:, ::1] gradient=None, floating[::1] losses=None,
):
    """Return the mean or sum of -weight * log_probabilities at the index of each row; write what there is room for."""
    cdef Py_ssize_t rows = log_probabilities.shape[0], n = log_probabilities.shape[1], r
    cdef double total = 0, scale = 1, counted
    cdef int64_t ignore = -1 if ignore_index is None else ignore_index
    cdef floating w, loss
    cdef size_t size
    check_length("index", index.shape[0], rows)
    if gradient is not None:
        check("gradient", gradient.shape[0], gradient.shape[1], rows, n)
    check_length("losses", rows if losses is None else losses.shape[0], rows)
    check_length("weight", n if weight is None else weight.shape[0], n)
    counted = count[floating](index, n, weight, ignore_index is not None, ignore)
    if mean:
        scale = 1 / counted if counted else 0
    if rows and n:
        check_aligned(sizeof(floating), &log_probabilities[0, 0], NULL if gradient is None else &gradient[0, 0])
    if gradient is not None and rows and n:
        size = rows * n * sizeof(floating)
        check_apart(&gradient[0, 0], &log_probabilities[0, 0], size, &index[0], rows * sizeof(int64_t))
        if weight is not None:
            check_apart(&gradient[0, 0], &log_probabilities[0, 0], size, &weight[0], n * sizeof(floating))
    with nogil:
        for r in range(rows):
            loss = w = 0
            if index[r] != ignore:
                w = 1 if weight is None else weight[index[r]]
                loss = -w * log_probabilities[r, index[r]] if w else 0
            total += loss
            if losses is not None:
                losses[r] = loss
            if gradient is not None and n:
                memset(&gradient[r, 0], 0, n * sizeof(floating))
                if index[r] != ignore:
                    gradient[r, index[r]] = <floating>(-scale * w)
    return total * scale if scale else 0.0


ctypedef struct parts:
    fnn_loss *loss
    const char *inputs[FNN_MAX_LOSS_IN]
    char *gradient
    char *losses
    double parameter, scale
    Py_ssize_t unit, n, part
    double totals[PARTS]


cdef void run_part(void *context, Py_ssize_t i) noexcept nogil:
    cdef parts *job = <parts *>context
    cdef Py_ssize_t start = i * job.part, end = min(start + job.part, job.n), offset, k
    cdef const void *inputs[FNN_MAX_LOSS_IN]
    job.totals[i] = 0
    while start < end:
        offset = start * job.unit
        for k in range(FNN_MAX_LOSS_IN):
            inputs[k] = job.inputs[k] + offset if job.inputs[k] else NULL
        job.totals[i] += job.loss(
            job.losses + offset if job.losses else NULL, job.gradient + offset if job.gradient else NULL, inputs,
            job.parameter, job.scale, min(<Py_ssize_t>PIECE, end - start))
        start += PIECE


def element_loss(
    int op, const floating[::1] prediction, const floating[::1] target, double parameter=0, double scale=1,
    floating[::1] gradient=None, floating[::1] losses=None, const floating[::1] positive=None,
    const floating[::1] weight=None,
):
    """Return the sum of one of OPS; write each loss, and `scale` times its slope, where there is room given for them.

    `positive` and `weight`, factors of the targets and of the losses, are for the weighted one alone. The gradient may
    be written over the prediction.
    """
    cdef parts job
    cdef double total = 0
    cdef Py_ssize_t n = prediction.shape[0], i, blocks
    cdef size_t size = n * sizeof(floating)
    if not 0 <= op < FNN_N_LOSSES or (op == FNN_weighted_sigmoid_cross_entropy) != (weight is not None):
        raise ValueError(f"operation {op} is not a loss that takes these arguments")
    if (positive is None) != (weight is None):
        raise TypeError("positive and weight are given together, or neither")
    check_length("target", target.shape[0], n)
    check_length("gradient", n if gradient is None else gradient.shape[0], n)
    check_length("losses", n if losses is None else losses.shape[0], n)
    check_length("positive", n if positive is None else positive.shape[0], n)
    check_length("weight", n if weight is None else weight.shape[0], n)
    if n == 0:
        return 0.0
    job.loss = active[0].f32.losses[op] if floating is float else active[0].f64.losses[op]
    job.inputs[0] = <const char *>&prediction[0]
    job.inputs[1] = <const char *>&target[0]
    job.inputs[2] = NULL if positive is None else <const char *>&positive[0]
    job.inputs[3] = NULL if weight is None else <const char *>&weight[0]
    job.gradient = NULL if gradient is None else <char *>&gradient[0]
    job.losses = NULL if losses is None else <char *>&losses[0]
    check_aligned(sizeof(floating), job.inputs[0], job.inputs[1], job.gradient)
    check_aligned(sizeof(floating), job.inputs[2], job.inputs[3])
    if job.gradient != NULL:
        for i in range(1, FNN_MAX_LOSS_IN):
            check_apart(job.gradient, job.inputs[0], size, job.inputs[i], size)
    job.parameter, job.scale, job.unit, job.n = parameter, scale, sizeof(floating), n
    with nogil:
        job.part = (n // (PARTS * PART) + 1) * PART
        blocks = (n + job.part - 1) // job.part
        each_part(run_part, &job, blocks, blocks > 4)
        for i in range(blocks):
            total += job.totals[i]
    return total
