# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=True
"""Matrix products over typed memoryviews, with the product of csrc/gemm.h: right factors are packed on the way."""
from cython cimport floating
from libc.stdlib cimport calloc, free

from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport fnn_real

cdef enum:
    ROWS = 512  # of the result, a task
    COLUMNS = 32
    DEPTH = 512  # of a left factor that is turned over at a time
    PARALLEL = 1 << 23  # multiply-adds; from there on waking a thread pays

cdef struct factors:
    const fnn_real *table
    char *out
    const char *init
    const char *a
    const char *b
    Py_ssize_t unit, m, n, depth, init_row, a_row, row, column


cdef void multiply(factors *f, Py_ssize_t i, Py_ssize_t rows, Py_ssize_t j, Py_ssize_t columns) noexcept nogil:
    f.table.matmul(f.out + (i * f.n + j) * f.unit, f.init + (i * f.init_row + j) * f.unit, f.a + i * f.a_row * f.unit,
                   f.b + j * f.column * f.unit, rows, columns, f.depth, f.n, f.init_row, f.a_row, f.row, f.column)


cdef void multiply_block(void *context, Py_ssize_t block) noexcept nogil:
    cdef factors *f = <factors *>context
    cdef Py_ssize_t across = (f.n + COLUMNS - 1) // COLUMNS
    cdef Py_ssize_t i = block // across * ROWS, j = block % across * COLUMNS
    multiply(f, i, min(ROWS, f.m - i), j, min(COLUMNS, f.n - j))


cdef void multiply_all(factors *f) noexcept nogil:
    if f.m * f.n * f.depth < PARALLEL:
        multiply(f, 0, f.m, 0, f.n)
    else:
        parallel(multiply_block, f, (f.m + ROWS - 1) // ROWS * ((f.n + COLUMNS - 1) // COLUMNS))


cdef void multiply_transposed(factors *f, char *space, Py_ssize_t a_column) noexcept nogil:
    """Turn over so many rows of the transposed left factor at a time that they stay in the cache."""
    cdef factors part = f[0]
    cdef Py_ssize_t k = 0
    while k == 0 or k < f.depth:
        part.depth = part.a_row = min(DEPTH, f.depth - k)
        f.table.transpose(space, f.a + k * a_column * f.unit, part.depth, f.m, part.depth, a_column)
        part.a, part.b = space, f.b + k * f.row * f.unit
        multiply_all(&part)
        part.init, part.init_row = f.out, f.n
        k += DEPTH


def matmul(floating[:, ::1] out, const floating[:, :] a, const floating[:, :] b, const floating[::1] bias=None,
           bint accumulate=False):
    """Write a @ b into out, or add it to that; `bias` is added to each row. Transposed views are welcome."""
    cdef factors f
    cdef Py_ssize_t unit = sizeof(floating), a_column
    cdef floating *space = NULL
    f.table = &active[0].f32 if floating is float else &active[0].f64
    f.unit, f.m, f.n, f.depth = unit, a.shape[0], b.shape[1], a.shape[1]
    if b.shape[0] != f.depth or out.shape[0] != f.m or out.shape[1] != f.n:
        raise ValueError(f"out has shape ({out.shape[0]}, {out.shape[1]}), a ({f.m}, {f.depth}), "
                         f"b ({b.shape[0]}, {f.n}), which do not fit")
    if bias is not None and (accumulate or bias.shape[0] != f.n):
        raise ValueError(f"bias has shape ({bias.shape[0]},), expected ({f.n},), and no accumulation")
    f.a_row, a_column = a.strides[0] // unit, a.strides[1] // unit
    f.row, f.column = b.strides[0] // unit, b.strides[1] // unit
    if f.n == 1:
        f.column = 1
    if f.depth == 1:
        a_column = f.row = 1
    if (f.column != 1 and f.row != 1) or (a_column != 1 and f.a_row != 1 and f.m != 1):
        raise ValueError("a and b must lie densely along one of their axes")
    if f.m == 0 or f.n == 0:
        return
    f.out = <char *>&out[0, 0]
    f.a, f.b = <const char *>&a[0, 0], <const char *>&b[0, 0]
    f.init_row = f.n if accumulate else 0
    if bias is not None:
        f.init = <const char *>&bias[0]
    if a_column != 1 or not (bias is not None or accumulate):
        space = <floating *>calloc(f.n + (f.m * min(DEPTH, f.depth) if a_column != 1 else 0), unit)
        if space == NULL:
            raise MemoryError
        if bias is None:
            f.init = <const char *>space
    if accumulate:
        f.init = f.out
    with nogil:
        if a_column != 1:
            multiply_transposed(&f, <char *>(space + f.n), a_column)
        else:
            multiply_all(&f)
        free(space)
