"""Normalization over typed memoryviews: by rows of a matrix, and by channels of (samples, channels, length).

a) Every pass is a task over rows or over channels. Large ones are cut for the threads, by the problem alone.
b) Statistics are double in either dtype. A batch normalization turns them into the few factors that C multiplies by.
c) With length 1 the channels are the columns of a matrix, and go as such; else each is a row in each sample.
"""
from cython cimport floating
from libc.math cimport sqrt
from libc.stdlib cimport calloc, free, malloc

from fastnn._kernels.checks cimport check_aligned
from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport fnn_real, fnn_task

cdef enum:
    PART = 1 << 17  # elements a thread takes at a time; from four times that on, waking one pays
    MOST_PARTS = 16  # where each part has sums of its own,
    LEAST_ROWS = 8   # so that they take no more room than the rows
    LANES = 16       # numbers in the longest vector
    COLUMNS = 64     # that are worth a part, since memory comes in lines


cdef struct job:
    const fnn_real *table
    Py_ssize_t unit  # bytes a number
    Py_ssize_t part  # rows or channels in a part
    Py_ssize_t rows, n, samples, channels, length
    char *out
    const char *x
    const char *dy
    const char *weight
    const char *bias
    char *scratch
    double *mean
    double *rstd
    double *sum
    double *dot
    double eps
    char *factors[4]  # centre, scale, offset and dy_scale of each channel


cdef inline job job_of(floating *out, const floating *x, const floating *dy) noexcept:
    cdef job j
    j.table = &active[0].f32 if floating is float else &active[0].f64
    j.unit = sizeof(floating)
    j.out, j.x, j.dy = <char *>out, <const char *>x, <const char *>dy
    return j


cdef inline floating *begin(const floating[:, :, ::1] x) noexcept:
    """Return where x begins, NULL if it holds nothing."""
    return <floating *>&x[0, 0, 0] if x.shape[0] and x.shape[1] and x.shape[2] else NULL


cdef Py_ssize_t plan(job *j, Py_ssize_t items, Py_ssize_t size, Py_ssize_t grain) noexcept nogil:
    """Cut items of this size into parts of some grains each, if they are many, and return the number of parts."""
    j.part = items
    if items * size >= 4 * PART:
        j.part = max(grain, PART // size // grain * grain)
    return (items + j.part - 1) // j.part


cdef int check_length(str name, Py_ssize_t got, Py_ssize_t want) except -1:
    if got != want:
        raise ValueError(f"{name} has length {got}, expected {want}")
    return 0


cdef int check_matrix(str name, const floating[:, ::1] got, const floating[:, ::1] want) except -1:
    if got.shape[0] != want.shape[0] or got.shape[1] != want.shape[1]:
        raise ValueError(f"{name} has shape {tuple(got.shape)[:2]}, expected {tuple(want.shape)[:2]}")
    return 0


# --- by rows ---------------------------------------------------------------------------------------------------------
cdef void layer_norm_part(void *context, Py_ssize_t part) noexcept nogil:
    cdef job *j = <job *>context
    cdef Py_ssize_t first = part * j.part, offset = first * j.n * j.unit
    j.table.layer_norm(
        j.out + offset, NULL if j.mean == NULL else j.mean + first, j.rstd + first, j.x + offset, j.weight, j.bias,
        j.eps, min(j.part, j.rows - first), j.n)


cdef int normalize(
    floating[:, ::1] y, double[::1] mean, double[::1] rstd, const floating[:, ::1] x, const floating[::1] weight,
    const floating[::1] bias, double eps,
) except -1:
    cdef Py_ssize_t rows = x.shape[0], n = x.shape[1]
    cdef job j
    check_matrix("y", y, x)
    check_length("rstd", rstd.shape[0], rows)
    check_length("mean", rows if mean is None else mean.shape[0], rows)
    check_length("weight", n if weight is None else weight.shape[0], n)
    check_length("bias", n if bias is None else bias.shape[0], n)
    if rows == 0 or n == 0:
        return 0
    j = job_of(&y[0, 0], &x[0, 0], <const floating *>NULL)
    j.rows, j.n, j.eps = rows, n, eps
    j.mean, j.rstd = NULL if mean is None else &mean[0], &rstd[0]
    j.weight = NULL if weight is None else <const char *>&weight[0]
    j.bias = NULL if bias is None else <const char *>&bias[0]
    check_aligned(sizeof(floating), j.x, j.weight, j.bias)
    with nogil:
        parallel(layer_norm_part, &j, plan(&j, rows, n, 1))
    return 0


cdef void layer_norm_backward_part(void *context, Py_ssize_t part) noexcept nogil:
    cdef job *j = <job *>context
    cdef Py_ssize_t first = part * j.part, offset = first * j.n * j.unit
    j.table.layer_norm_backward(
        j.out + offset, NULL if j.sum == NULL else j.sum + part * j.n, NULL if j.dot == NULL else j.dot + part * j.n,
        j.scratch + part * 2 * (j.n + LANES) * j.unit, j.dy + offset, j.x + offset, j.weight,
        NULL if j.mean == NULL else j.mean + first, j.rstd + first, min(j.part, j.rows - first), j.n)


cdef void add_parts(floating *out, const double *sums, Py_ssize_t parts, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k, part
    cdef double total
    for k in range(n):
        total = 0
        for part in range(parts):
            total += sums[part * n + k]
        out[k] = <floating>total


cdef int normalize_backward(
    floating[:, ::1] dx, floating[::1] dweight, floating[::1] dbias, const floating[:, ::1] dy,
    const floating[:, ::1] x, const floating[::1] weight, const double[::1] mean, const double[::1] rstd,
) except -1:
    cdef Py_ssize_t rows = x.shape[0], n = x.shape[1], parts
    cdef char *block
    cdef job j
    check_matrix("dx", dx, x)
    check_matrix("dy", dy, x)
    check_length("rstd", rstd.shape[0], rows)
    check_length("mean", rows if mean is None else mean.shape[0], rows)
    check_length("weight", n if weight is None else weight.shape[0], n)
    check_length("dweight", n if dweight is None else dweight.shape[0], n)
    check_length("dbias", n if dbias is None else dbias.shape[0], n)
    if rows == 0 or n == 0:
        if dweight is not None:
            dweight[:] = 0
        if dbias is not None:
            dbias[:] = 0
        return 0
    j = job_of(&dx[0, 0], &x[0, 0], &dy[0, 0])
    j.rows, j.n = rows, n
    j.mean, j.rstd = NULL if mean is None else <double *>&mean[0], <double *>&rstd[0]
    j.weight = NULL if weight is None else <const char *>&weight[0]
    parts = plan(&j, rows, n, max(LEAST_ROWS, (rows + MOST_PARTS - 1) // MOST_PARTS))
    block = <char *>calloc(parts * 2, n * sizeof(double) + (n + LANES) * sizeof(floating))
    if block == NULL:
        raise MemoryError
    with nogil:
        j.sum = NULL if dweight is None else <double *>block
        j.dot = NULL if dbias is None else <double *>block + parts * n
        j.scratch = block + 2 * parts * n * sizeof(double)
        parallel(layer_norm_backward_part, &j, parts)
        if dweight is not None:
            add_parts(&dweight[0], j.sum, parts, n)
        if dbias is not None:
            add_parts(&dbias[0], j.dot, parts, n)
        free(block)
    return 0


def layer_norm(
    floating[:, ::1] y, double[::1] mean not None, double[::1] rstd, const floating[:, ::1] x,
    const floating[::1] weight, const floating[::1] bias, double eps,
):
    """Write each row of x, normalized, times weight and plus bias, if given, into y, and its statistics."""
    normalize(y, mean, rstd, x, weight, bias, eps)


def layer_norm_backward(
    floating[:, ::1] dx, floating[::1] dweight, floating[::1] dbias, const floating[:, ::1] dy,
    const floating[:, ::1] x, const floating[::1] weight, const double[::1] mean not None, const double[::1] rstd,
):
    """Write the gradients of x and, where there is room for them, of weight and bias."""
    normalize_backward(dx, dweight, dbias, dy, x, weight, mean, rstd)


def rms_norm(
    floating[:, ::1] y, double[::1] rstd, const floating[:, ::1] x, const floating[::1] weight, double eps,
):
    """Write each row of x, over the root of its mean square and times weight, if given, into y, and its statistic."""
    cdef double[::1] mean = None
    cdef const floating[::1] bias = None
    normalize(y, mean, rstd, x, weight, bias, eps)


def rms_norm_backward(
    floating[:, ::1] dx, floating[::1] dweight, const floating[:, ::1] dy, const floating[:, ::1] x,
    const floating[::1] weight, const double[::1] rstd,
):
    """Write the gradients of x and, where there is room for it, of weight."""
    cdef floating[::1] dbias = None
    cdef const double[::1] mean = None
    normalize_backward(dx, dweight, dbias, dy, x, weight, mean, rstd)


# --- by channels -----------------------------------------------------------------------------------------------------
cdef void moments_part(void *context, Py_ssize_t part) noexcept nogil:
    """The mean of some channels, and in the place of rstd their sum of squared deviations."""
    cdef job *j = <job *>context
    cdef Py_ssize_t c = part * j.part, end = min(j.channels, c + j.part), step = j.channels * j.length
    if j.length == 1:
        j.table.column_moments(j.mean + c, j.rstd + c, j.x + c * j.unit, j.samples, step, end - c)
        return
    for c in range(c, end):
        j.table.row_moments(j.mean + c, j.rstd + c, j.x + c * j.length * j.unit, j.samples, step, j.length)


cdef void dots_part(void *context, Py_ssize_t part) noexcept nogil:
    """The sum of dy over some channels, and of dy * (x - mean)."""
    cdef job *j = <job *>context
    cdef Py_ssize_t c = part * j.part, end = min(j.channels, c + j.part), step = j.channels * j.length, at
    if j.length == 1:
        at = c * j.unit
        j.table.column_dots(j.sum + c, j.dot + c, j.dy + at, j.x + at, j.mean + c, j.samples, step, end - c)
        return
    for c in range(c, end):
        at = c * j.length * j.unit
        j.table.row_dots(j.sum + c, j.dot + c, j.dy + at, j.x + at, j.mean + c, j.samples, step, j.length)


cdef void affine_part(void *context, Py_ssize_t part) noexcept nogil:
    """Some rows of the result: samples where the channels are columns, else a channel of a sample each."""
    cdef job *j = <job *>context
    cdef Py_ssize_t r = part * j.part, end = min(j.rows, r + j.part), at = r * j.n * j.unit, c
    cdef char **f = j.factors
    if j.length == 1:
        j.table.affine(
            j.out + at, j.x + at, NULL if j.dy == NULL else j.dy + at, f[0], f[1], f[2], f[3], end - r, j.n, True)
        return
    for r in range(r, end):
        at, c = r * j.n * j.unit, r % j.channels * j.unit
        j.table.affine(
            j.out + at, j.x + at, NULL if j.dy == NULL else j.dy + at, f[0] + c, f[1] + c, f[2] + c, f[3] + c, 1, j.n,
            False)


cdef inline void each_channel(fnn_task *task, job *j) noexcept nogil:
    parallel(task, j, plan(j, j.channels, j.samples * j.length, COLUMNS if j.length == 1 else 1))


cdef inline void apply(job *j) noexcept nogil:
    j.rows, j.n = (j.samples, j.channels) if j.length == 1 else (j.samples * j.channels, j.length)
    parallel(affine_part, j, plan(j, j.rows, j.n, 1))


cdef int check_channels(str name, const floating[:, :, ::1] got, const floating[:, :, ::1] x, const double[::1] mean,
                        const double[::1] rstd, const floating[::1] weight) except -1:
    cdef Py_ssize_t channels = x.shape[1]
    if got.shape[0] != x.shape[0] or got.shape[1] != channels or got.shape[2] != x.shape[2]:
        raise ValueError(f"{name} has shape {tuple(got.shape)[:3]}, expected {tuple(x.shape)[:3]}")
    check_length("mean", mean.shape[0], channels)
    check_length("rstd", rstd.shape[0], channels)
    check_length("weight", channels if weight is None else weight.shape[0], channels)
    return 0


def batch_norm(
    floating[:, :, ::1] y, double[::1] mean, double[::1] rstd, const floating[:, :, ::1] x, floating[:] running_mean,
    floating[:] running_var, const floating[::1] weight, const floating[::1] bias, double momentum, double eps,
    bint training,
):
    """Write x, normalized by channel, times weight and plus bias, if given, into y.

    In training, mean and rstd are written, and the running statistics, if given, moved. Otherwise mean is the one to
    take off, and rstd holds the variance, which makes room for 1 / sqrt(variance + eps).
    """
    cdef Py_ssize_t channels = x.shape[1], c
    cdef double count = x.shape[0] * x.shape[2], variance, scale
    cdef floating *centre
    cdef job j
    check_channels("y", y, x, mean, rstd, weight)
    check_length("bias", channels if bias is None else bias.shape[0], channels)
    check_length("running_mean", channels if running_mean is None else running_mean.shape[0], channels)
    check_length("running_var", channels if running_var is None else running_var.shape[0], channels)
    if channels == 0 or training and count < 2:
        return
    j = job_of(begin(y), begin(x), <const floating *>NULL)
    j.samples, j.channels, j.length = x.shape[0], channels, x.shape[2]
    j.mean, j.rstd = &mean[0], &rstd[0]
    centre = <floating *>malloc(3 * channels * sizeof(floating))
    if centre == NULL:
        raise MemoryError
    with nogil:
        j.factors = [<char *>centre, <char *>(centre + channels), <char *>(centre + 2 * channels), NULL]
        if training:
            each_channel(moments_part, &j)
        for c in range(channels):
            variance = rstd[c] / count if training else rstd[c]
            if training and running_mean is not None:
                running_mean[c] = <floating>((1 - momentum) * running_mean[c] + momentum * mean[c])
            if training and running_var is not None:
                running_var[c] = <floating>((1 - momentum) * running_var[c] + momentum * rstd[c] / (count - 1))
            rstd[c] = 1 / sqrt(variance + eps)
            scale = rstd[c] if weight is None else rstd[c] * weight[c]
            centre[c] = <floating>mean[c]
            centre[channels + c] = <floating>scale
            centre[2 * channels + c] = <floating>((centre[c] - mean[c]) * scale + (0 if bias is None else bias[c]))
        if count:
            apply(&j)
        free(centre)


def batch_norm_backward(
    floating[:, :, ::1] dx, floating[::1] dweight, floating[::1] dbias, const floating[:, :, ::1] dy,
    const floating[:, :, ::1] x, const floating[::1] weight, const double[::1] mean, const double[::1] rstd, bint fixed,
):
    """Write the gradients of x and, where there is room for them, of weight and bias; `fixed` statistics have none."""
    cdef Py_ssize_t channels = x.shape[1], c
    cdef double count = x.shape[0] * x.shape[2], scale, slope
    cdef double *sums
    cdef floating *centre
    cdef job j
    check_channels("dx", dx, x, mean, rstd, weight)
    check_channels("dy", dy, x, mean, rstd, weight)
    check_length("dweight", channels if dweight is None else dweight.shape[0], channels)
    check_length("dbias", channels if dbias is None else dbias.shape[0], channels)
    if channels == 0:
        return
    j = job_of(begin(dx), begin(x), begin(dy))
    j.samples, j.channels, j.length = x.shape[0], channels, x.shape[2]
    j.mean, j.rstd = <double *>&mean[0], <double *>&rstd[0]
    sums = <double *>calloc(channels, 2 * sizeof(double) + 4 * sizeof(floating))
    if sums == NULL:
        raise MemoryError
    with nogil:
        j.sum, j.dot, centre = sums, sums + channels, <floating *>(sums + 2 * channels)
        for c in range(4):
            j.factors[c] = <char *>(centre + c * channels)
        if count and not (fixed and dweight is None and dbias is None):
            each_channel(dots_part, &j)
        for c in range(channels):
            if dweight is not None:
                dweight[c] = <floating>(j.dot[c] * rstd[c])
            if dbias is not None:
                dbias[c] = <floating>j.sum[c]
            scale = rstd[c] if weight is None else rstd[c] * weight[c]
            if fixed:
                centre[channels + c] = <floating>scale
                continue
            slope = -scale * rstd[c] * rstd[c] * j.dot[c] / count
            centre[c] = <floating>mean[c]
            centre[channels + c] = <floating>slope
            centre[2 * channels + c] = <floating>((centre[c] - mean[c]) * slope - scale * j.sum[c] / count)
            centre[3 * channels + c] = <floating>scale
        if fixed:  # dx = dy * scale
            j.x, j.dy = j.dy, NULL
        if count:
            apply(&j)
        free(sums)
