"""Matrix products over typed memoryviews, with the product of csrc/gemm.h: right factors are packed on the way.

`multiply` packs while it multiplies, on all threads; `multiply_packed` takes a factor packed once for many products.
A result is the same either way, and whatever the cuts. `affine` and its backward pass look at NumPy arrays themselves:
for small layers, memoryviews cost as much as the products. One row, and narrow results, are dot products there, whose
lanes are summed last: the one case in which a row alone and in a batch may differ in the last bits.
"""
from cython cimport floating
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
cimport numpy as cnp

from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport fnn_pack_workspace

cnp.import_array()

cdef enum:
    ROWS = 512  # of the result, a task
    COLUMNS = 32
    DEPTH = 512  # of a factor that is packed, or turned over, at a time
    PARALLEL = 1 << 23  # multiply-adds; from there on waking a thread pays
    QUIET = 1 << 14  # multiply-adds up to which keeping the interpreter's lock costs nobody anything
    NARROW = 7  # columns of a result up to which dot products are quicker than tiles, whose vectors they do not fill
    LONG = 32  # numbers from which on a dot product is worth the sum of its lanes


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
                     p.n, row, column, p.rows)
        k += DEPTH


cdef void multiply_packed(const packed *p, char *out, Py_ssize_t out_row, const char *init, Py_ssize_t init_row,
                          const char *a, Py_ssize_t a_row, Py_ssize_t m) noexcept nogil:
    """Write init + a (m, depth) @ the packed factor into out, which may be init."""
    cdef Py_ssize_t k = 0
    while k == 0 or k < p.depth:
        p.table.product(out, init, a + k * p.unit, p.panels + fnn_pack_workspace(k, p.n) * p.unit, m, p.n,
                        min(DEPTH, p.depth - k), out_row, init_row, a_row, p.rows)
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
    f.a = <const char *>&a[0, 0] if f.depth else NULL
    f.b = <const char *>&b[0, 0] if f.depth else NULL
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


cdef void dot_block(void *context, Py_ssize_t block) noexcept nogil:
    """Write some rows of init + a @ b as dot products, where the columns of b lie densely, and init is one row."""
    cdef factors *f = <factors *>context
    cdef Py_ssize_t first = block * ROWS
    if f.m == 1:
        memcpy(f.out, f.init, f.n * f.unit)
        f.table.matvec(f.out, f.b, f.a, f.n, f.depth, f.column)
    else:
        f.table.matvecs(f.out + first * f.n * f.unit, f.init, f.b, f.a + first * f.a_row * f.unit,
                        min(ROWS, f.m - first), f.n, f.depth, f.n, f.column, f.a_row)


cdef bint plain(cnp.ndarray x, int ndim, int kind) noexcept:
    """Whether x is a dense array of this type, float32 or float64, in C order and ready to use."""
    cdef int wanted = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
    return (
        cnp.PyArray_TYPE(x) == kind and (kind == cnp.NPY_FLOAT32 or kind == cnp.NPY_FLOAT64)
        and cnp.PyArray_NDIM(x) == ndim and cnp.PyArray_FLAGS(x) & wanted == wanted
        and not cnp.PyArray_ISBYTESWAPPED(x) and cnp.PyArray_SIZE(x) > 0
    )


def affine(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias):
    """Return x @ weight.T + bias; None where the arrays do not lie densely in C order, or are empty."""
    cdef factors f
    cdef cnp.npy_intp[2] shape
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef Py_ssize_t i
    if not plain(x, 2, kind) or not plain(weight, 2, kind) or not plain(bias, 1, kind):
        return None
    f.m, f.depth, f.n = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(weight, 0)
    if cnp.PyArray_DIM(weight, 1) != f.depth or cnp.PyArray_DIM(bias, 0) != f.n:
        raise ValueError(f"x has {f.depth} columns, expected weight ({f.n}, {f.depth}) and bias ({f.n},)")
    shape[0], shape[1] = f.m, f.n
    y = cnp.PyArray_EMPTY(2, shape, kind, 0)
    f.table = &active[0].f32 if kind == cnp.NPY_FLOAT32 else &active[0].f64
    f.unit = cnp.PyArray_ITEMSIZE(x)
    f.out, f.init = cnp.PyArray_BYTES(y), cnp.PyArray_BYTES(bias)
    f.a, f.b = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(weight)
    f.init_row, f.a_row, f.row, f.column = 0, f.depth, 1, f.depth
    if f.m == 1 and f.n * f.depth <= QUIET:
        dot_block(&f, 0)
        return y
    with nogil:
        if f.m > 1 and (f.n > NARROW or f.depth < LONG):
            multiply(&f)
        elif f.m * f.n * f.depth < PARALLEL:
            for i in range((f.m + ROWS - 1) // ROWS):
                dot_block(&f, i)
        else:
            parallel(dot_block, &f, (f.m + ROWS - 1) // ROWS)
    return y


def affine_backward(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, bint need_dx=True):
    """Return dy @ weight, None if not needed, dy.T @ x and the sum of dy's rows.

    None instead of all where arrays do not lie densely in C order.
    """
    cdef factors f
    cdef cnp.npy_intp[2] shape
    cdef int kind = cnp.PyArray_TYPE(dy)
    cdef Py_ssize_t m, n, depth, i
    cdef char *space
    cdef char *rows
    cdef char *total
    cdef cnp.ndarray dx = None
    if not plain(dy, 2, kind) or not plain(x, 2, kind) or not plain(weight, 2, kind):
        return None
    m, n, depth = cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1), cnp.PyArray_DIM(x, 1)
    if cnp.PyArray_DIM(x, 0) != m or cnp.PyArray_DIM(weight, 0) != n or cnp.PyArray_DIM(weight, 1) != depth:
        raise ValueError(f"dy has shape ({m}, {n}), expected x ({m}, {depth}) and weight ({n}, {depth})")
    shape[0], shape[1] = m, depth
    if need_dx:
        dx = cnp.PyArray_EMPTY(2, shape, kind, 0)
    shape[0] = n
    dweight = cnp.PyArray_EMPTY(2, shape, kind, 0)
    dbias = cnp.PyArray_ZEROS(1, shape, kind, 0)
    f.table = &active[0].f32 if kind == cnp.NPY_FLOAT32 else &active[0].f64
    f.unit = cnp.PyArray_ITEMSIZE(dy)
    space = <char *>calloc(depth + n * min(DEPTH, m), f.unit)  # a row of zeros, and dy turned over
    if space == NULL:
        raise MemoryError
    f.init, f.init_row, f.n, f.row, f.column = space, 0, depth, depth, 1
    rows, total = cnp.PyArray_BYTES(dy), cnp.PyArray_BYTES(dbias)
    with nogil:
        for i in range(m):
            f.table.accumulate(total, rows + i * n * f.unit, n)
    if need_dx:
        f.m, f.depth, f.a_row = m, n, n
        f.out, f.a, f.b = cnp.PyArray_BYTES(dx), rows, cnp.PyArray_BYTES(weight)
        with nogil:
            multiply(&f)
    f.m, f.depth, f.a_row = n, m, 1
    f.out, f.a, f.b = cnp.PyArray_BYTES(dweight), rows, cnp.PyArray_BYTES(x)
    with nogil:
        multiply_transposed(&f, space + depth * f.unit, n)
    free(space)
    return dx, dweight, dbias
