"""The softmax family and cross entropy over typed memoryviews: rows of numbers, classes last.

A result may be written over an input of its shape. Everything is checked before anything is written.
"""
from cython cimport floating
from libc.stdint cimport int64_t

import numpy as np

from fastnn._kernels.cpu cimport active
from fastnn._kernels.fastnn cimport (
    FNN_log_softmax, FNN_log_softmax_backward, FNN_logsumexp, FNN_softmax, FNN_softmax_backward, fnn_real, fnn_targets
)

cdef enum:
    CHUNK = 64  # rows whose losses are added up at a time


cdef inline void check(str name, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t want_rows, Py_ssize_t want_n) except *:
    if rows != want_rows or n != want_n:
        raise ValueError(f"{name} has shape ({rows}, {n}), expected ({want_rows}, {want_n})")


cdef bint apart(const void *a, Py_ssize_t n, const void *b, Py_ssize_t m) noexcept:
    """Return whether n bytes at a and m bytes at b share no memory; NULL shares none."""
    return a == NULL or b == NULL or <size_t>a + n <= <size_t>b or <size_t>b + m <= <size_t>a


cdef void run(int op, floating *y, const floating[:, ::1] a, const floating *b) noexcept nogil:
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef const void *inputs[2]
    inputs[0] = &a[0, 0]
    inputs[1] = b
    table.rows[op](y, inputs, a.shape[0], a.shape[1])


cdef void transform(int op, floating[:, ::1] y, const floating[:, ::1] x) except *:
    check("y", y.shape[0], y.shape[1], x.shape[0], x.shape[1])
    if y.shape[0] and y.shape[1]:
        with nogil:
            run(op, &y[0, 0], x, NULL)


cdef void backward(int op, floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y) except *:
    check("dy", dy.shape[0], dy.shape[1], y.shape[0], y.shape[1])
    check("dx", dx.shape[0], dx.shape[1], y.shape[0], y.shape[1])
    if y.shape[0] and y.shape[1]:
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
    if y.shape[0] != x.shape[0]:
        raise ValueError(f"y has length {y.shape[0]}, expected {x.shape[0]}, one for each row")
    if not x.shape[1]:
        y[:] = -np.inf
    elif x.shape[0]:
        with nogil:
            run(FNN_logsumexp, &y[0], x, NULL)


def softmax_backward(floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y):
    """Write y * (dy - sum(y * dy)) of each row into dx."""
    backward(FNN_softmax_backward, dx, dy, y)


def log_softmax_backward(floating[:, ::1] dx, const floating[:, ::1] dy, const floating[:, ::1] y):
    """Write dy - exp(y) * sum(dy) of each row into dx."""
    backward(FNN_log_softmax_backward, dx, dy, y)


cdef double count(const int64_t[::1] index, Py_ssize_t classes, const floating[::1] weight, bint can_ignore,
                  int64_t ignore) except -1:
    """Return the sum of the weights of the targets that count, each of which must be a class."""
    cdef double total = 0
    cdef Py_ssize_t r
    cdef int64_t target
    for r in range(index.shape[0]):
        target = index[r]
        if can_ignore and target == ignore:
            continue
        if not 0 <= target < classes:
            raise IndexError(f"targets hold {target}, which is not among the {classes} classes")
        total += 1 if weight is None else weight[target]
    return total


def softmax_cross_entropy(
    const floating[:, ::1] logits, const int64_t[::1] index, const floating[:, ::1] probabilities=None,
    const floating[::1] weight=None, ignore_index=None, double label_smoothing=0, bint mean=True,
    floating[:, ::1] gradient=None, floating[::1] losses=None,
):
    """Return the mean or sum of the rows' losses; write these, and the gradient, where there is room given for them.

    Targets are an `index` or `probabilities`, the other is None; the gradient may be written over the logits.
    """
    cdef Py_ssize_t rows = logits.shape[0], n = logits.shape[1], start, m, r, size
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef fnn_targets targets
    cdef double chunk[CHUNK]
    cdef double total = 0, counted
    cdef floating *dz = NULL
    if (index is None) == (probabilities is None):
        raise TypeError("targets are an index or probabilities, one of the two")
    if gradient is not None:
        check("gradient", gradient.shape[0], gradient.shape[1], rows, n)
    if losses is not None and losses.shape[0] != rows:
        raise ValueError(f"losses have length {losses.shape[0]}, expected {rows}, one for each row")
    if weight is not None and weight.shape[0] != n:
        raise ValueError(f"weight has length {weight.shape[0]}, expected {n}, one for each class")
    if weight is None and (probabilities is not None or label_smoothing):
        weight = np.ones(n, np.float32 if floating is float else np.float64)

    targets.index = NULL
    targets.ignore = -1
    targets.soft = NULL
    targets.weight = NULL if weight is None or n == 0 else &weight[0]
    if index is not None:
        if index.shape[0] != rows:
            raise ValueError(f"index has length {index.shape[0]}, expected {rows}, one for each row")
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

    if gradient is not None:
        dz = &gradient[0, 0]
        size = rows * n * sizeof(floating)
        if not (
            (dz == &logits[0, 0] or apart(dz, size, &logits[0, 0], size)) and apart(dz, size, targets.soft, size)
            and apart(dz, size, targets.weight, n * sizeof(floating))
            and apart(dz, size, targets.index, rows * sizeof(int64_t))
        ):
            raise ValueError("gradient overlaps an input, expected the logits themselves or memory of its own")
    with nogil:
        start = 0
        while start < rows:
            m = min(rows - start, <Py_ssize_t>CHUNK)
            table.softmax_cross_entropy(chunk, dz, &logits[start, 0], &targets, m, n)
            for r in range(m):
                total += chunk[r]
                if losses is not None:
                    losses[start + r] = <floating>chunk[r]
            if dz != NULL:
                dz += m * n
            if targets.index != NULL:
                targets.index += m
            else:
                targets.soft = <const floating *>targets.soft + m * n
            start += m
    return total * targets.scale if targets.scale else 0.0
