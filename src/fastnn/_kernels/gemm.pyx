"""Matrix products over typed memoryviews, with the product of csrc/gemm.h: right factors are packed on the way.

`multiply` packs while it multiplies, on all threads; `multiply_packed` takes a factor packed once for many products.
A result is the same either way, and whatever the cuts.
"""
from cython cimport floating
from libc.stdlib cimport calloc, free

from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport fnn_pack_workspace

cdef enum:
    ROWS = 512  # of the result, a task
    COLUMNS = 32
    DEPTH = 512  # of a factor that is packed, or turned over, at a time
    PARALLEL = 1 << 23  # multiply-adds; from there on waking a thread pays


cdef void multiply_part(factors *f, Py_ssize_t i, Py_ssize_t rows, Py_ssize_t j, Py_ssize_t columns) noexcept nogil:
    f.table.matmul(f.out + (i * f.n + j) * f.unit, f.init + (i * f.init_row + j) * f.unit, f.a + i * f.a_row * f.unit,
                   f.b + j * f.column * f.unit, rows, columns, f.depth, f.n, f.init_row, f.a_row, f.row, f.column)


cdef void multiply_block(void *context, Py_ssize_t block) noexcept nogil:
    cdef factors *f = <factors *>context
    cdef Py_ssize_t across = (f.n + COLUMNS - 1) // COLUMNS
    cdef Py_ssize_t i = block // across * ROWS, j = block % across * COLUMNS
    multiply_part(f, i, min(ROWS, f.m - i), j, min(COLUMNS, f.n - j))


cdef void multiply(factors *f) noexcept nogil:
    """Write init + a @ b into out (m, n), which may be init; an init_row of 0 repeats the first row of init.

    Rows of a lie densely, and rows or columns of b.
    """
    if f.m * f.n * f.depth < PARALLEL:
        multiply_part(f, 0, f.m, 0, f.n)
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
        multiply(&part)
        part.init, part.init_row = f.out, f.n
        k += DEPTH


cdef Py_ssize_t packed_size(Py_ssize_t depth, Py_ssize_t n) noexcept nogil:
    """Return how many numbers a packed factor takes."""
    return fnn_pack_workspace(depth, n)


cdef void pack(packed *p, const char *b, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    """Pack b (depth, n), element (k, j) at b[k * row + j * column], into the panels, DEPTH rows at a time."""
    cdef Py_ssize_t k = 0
    while k < p.depth:
        p.table.pack(p.panels + fnn_pack_workspace(k, p.n) * p.unit, b + k * row * p.unit, min(DEPTH, p.depth - k),
                     p.n, row, column)
        k += DEPTH


cdef void multiply_packed(const packed *p, char *out, Py_ssize_t out_row, const char *init, Py_ssize_t init_row,
                          const char *a, Py_ssize_t a_row, Py_ssize_t m) noexcept nogil:
    """Write init + a (m, depth) @ the packed factor into out, which may be init."""
    cdef Py_ssize_t k = 0
    while k == 0 or k < p.depth:
        p.table.product(out, init, a + k * p.unit, p.panels + fnn_pack_workspace(k, p.n) * p.unit, m, p.n,
                        min(DEPTH, p.depth - k), out_row, init_row, a_row)
        init, init_row = out, out_row
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
            multiply(&f)
        free(space)
