"""Rows of an embedding gathered by index, summed in bags, and their gradients scattered back, over typed memoryviews.

`take_rows` looks at NumPy arrays themselves: for few rows, memoryviews cost more than copying.
"""
from cython cimport floating
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
cimport numpy as cnp

from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport fnn_real

cnp.import_array()

cdef enum:
    PART = 1 << 20  # bytes that a thread takes at a time; from four times that on, waking one pays
    COLUMNS = 64  # that a thread takes at a time of rows that are added up, since several may go to one


cdef int check_rows(const int64_t[::1] rows, Py_ssize_t count, str name="indices") except -1:
    """Raise IndexError unless every row is one of `count`."""
    cdef Py_ssize_t i
    if rows.shape[0] and active[0].outside(&rows[0], rows.shape[0], count):
        for i in range(rows.shape[0]):
            if not 0 <= rows[i] < count:
                raise IndexError(f"{name} hold {rows[i]}, which is not among the {count} rows")
    return 0


cdef Py_ssize_t table_size(Py_ssize_t n) noexcept nogil:
    """Return the size of the hash table that n rows want: a power of two, half of it empty."""
    cdef Py_ssize_t size = 2
    while size < 2 * n:
        size *= 2
    return size


cdef Py_ssize_t number_rows(
    const int64_t *rows, Py_ssize_t n, int64_t *distinct, int64_t *number, int64_t *table
) noexcept nogil:
    """Write the distinct rows in the order in which they appear, and the number of each row among them.

    Return how many are distinct. `table`, of `table_size(n)`, holds numbers by the hash of their row.
    """
    cdef Py_ssize_t size = table_size(n), count = 0, i
    cdef uint64_t slot
    memset(table, -1, size * sizeof(int64_t))
    for i in range(n):
        slot = <uint64_t>rows[i] * <uint64_t>0x9E3779B97F4A7C15  # Knuth's multiplicative hash, by the golden ratio
        slot = (slot >> 32) & (size - 1)
        while table[slot] >= 0 and distinct[table[slot]] != rows[i]:
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot] = count
            distinct[count] = rows[i]
            count += 1
        number[i] = table[slot]
    return count


cdef void sum_rows(floating *sums, const floating[:, ::1] values, const int64_t *number) noexcept nogil:
    """Sum the rows of the same number, in their order; numbers appear in ascending order."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t size = values.shape[1], count = 0, i
    for i in range(values.shape[0]):
        if number[i] == count:
            memcpy(sums + count * size, &values[i, 0], size * sizeof(floating))
            count += 1
        else:
            table.accumulate(sums + number[i] * size, &values[i, 0], size)


cdef struct gathering:
    char *to
    const char *table
    const int64_t *index
    Py_ssize_t n, size, row, part


cdef void gather_part(void *context, Py_ssize_t part) noexcept nogil:
    cdef gathering *g = <gathering *>context
    cdef Py_ssize_t first = part * g.part
    active[0].gather(g.to + first * g.size, g.table, g.index + first, min(g.part, g.n - first), g.size, g.row)


cdef void gather(char *to, const char *table, const int64_t *index, Py_ssize_t n, Py_ssize_t size,
                 Py_ssize_t row) noexcept nogil:
    """Copy n rows of so many bytes, which lie `row` bytes apart in the table."""
    cdef gathering g
    g.to, g.table, g.index, g.n, g.size, g.row, g.part = to, table, index, n, size, row, n
    if n * size >= 4 * PART:
        g.part = max(1, PART // size)
    parallel(gather_part, &g, (n + g.part - 1) // g.part)


def embedding_lookup(unsigned char[:, ::1] out, const unsigned char[:, :] weight, const int64_t[::1] indices):
    """Copy the rows of `weight` that the indices name; of whatever dtype, seen as bytes."""
    cdef Py_ssize_t size = weight.shape[1]
    if out.shape[0] != indices.shape[0] or out.shape[1] != size or weight.strides[1] != 1:
        raise ValueError(f"out has shape ({out.shape[0]}, {out.shape[1]}), expected ({indices.shape[0]}, {size}), "
                         "and the rows of weight to lie densely")
    check_rows(indices, weight.shape[0])
    if size and indices.shape[0]:
        with nogil:
            gather(<char *>&out[0, 0], <const char *>&weight[0, 0], &indices[0], indices.shape[0], size,
                   weight.strides[0])


cdef inline bint plain(cnp.ndarray x) noexcept:
    """Whether x is in C order, aligned, and in the machine's byte order."""
    cdef int wanted = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
    return cnp.PyArray_FLAGS(x) & wanted == wanted and not cnp.PyArray_ISBYTESWAPPED(x)


def take_rows(cnp.ndarray weight, cnp.ndarray indices):
    """Return weight[indices] for plain arrays: a float matrix and up to 7 axes of int64; None for any others."""
    cdef int kind = cnp.PyArray_TYPE(weight), d, ndim = cnp.PyArray_NDIM(indices)
    cdef cnp.npy_intp[8] shape
    cdef Py_ssize_t rows, size, n = cnp.PyArray_SIZE(indices)
    cdef const int64_t *index = <const int64_t *>cnp.PyArray_DATA(indices)
    cdef const char *table = cnp.PyArray_BYTES(weight)
    cdef char *to
    if kind not in (cnp.NPY_FLOAT16, cnp.NPY_FLOAT32, cnp.NPY_FLOAT64) or cnp.PyArray_TYPE(indices) != cnp.NPY_INT64:
        return None
    if cnp.PyArray_NDIM(weight) != 2 or ndim > 7 or not plain(weight) or not plain(indices):
        return None
    rows = cnp.PyArray_DIM(weight, 0)
    size = cnp.PyArray_DIM(weight, 1) * cnp.PyArray_ITEMSIZE(weight)
    if n and active[0].outside(index, n, rows):
        return None  # who looks closer finds the words
    for d in range(ndim):
        shape[d] = cnp.PyArray_DIM(indices, d)
    shape[ndim] = cnp.PyArray_DIM(weight, 1)
    out = cnp.PyArray_EMPTY(ndim + 1, shape, kind, 0)
    to = cnp.PyArray_BYTES(out)
    if n and size:
        with nogil:
            gather(to, table, index, n, size, size)
    return out


cdef struct scattering:
    const fnn_real *table
    char *to
    const char *values
    const int64_t *index
    Py_ssize_t n, size, unit, columns


cdef void scatter_part(void *context, Py_ssize_t part) noexcept nogil:
    cdef scattering *s = <scattering *>context
    cdef Py_ssize_t first = part * s.columns, m = min(s.columns, s.size - first), i
    for i in range(s.n):
        s.table.accumulate(
            s.to + (s.index[i] * s.size + first) * s.unit, s.values + (i * s.size + first) * s.unit, m)


def embedding_lookup_backward(floating[:, ::1] grad, const floating[:, ::1] dy, const int64_t[::1] indices):
    """Add each row of dy to the row of `grad` that its index names, one after the other."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t n = grad.shape[1]
    cdef scattering s
    if dy.shape[0] != indices.shape[0] or dy.shape[1] != n:
        raise ValueError(f"dy has shape ({dy.shape[0]}, {dy.shape[1]}), expected ({indices.shape[0]}, {n})")
    check_rows(indices, grad.shape[0])
    if n and indices.shape[0]:
        s.table, s.to, s.values, s.index = table, <char *>&grad[0, 0], <const char *>&dy[0, 0], &indices[0]
        s.n, s.size, s.unit, s.columns = indices.shape[0], n, sizeof(floating), n
        if s.n * n * s.unit >= 4 * PART:
            s.columns = COLUMNS
        with nogil:
            parallel(scatter_part, &s, (n + s.columns - 1) // s.columns)


def coalesce(int64_t[::1] distinct, floating[:, ::1] sums, const int64_t[::1] rows, const floating[:, ::1] values):
    """Write the distinct rows in the order in which they appear, and the sums of their values; return their number."""
    cdef Py_ssize_t n = rows.shape[0], count = 0
    cdef int64_t *space
    if values.shape[0] != n or distinct.shape[0] != n or sums.shape[0] != n or sums.shape[1] != values.shape[1]:
        raise ValueError(f"values have shape ({values.shape[0]}, {values.shape[1]}), expected {n} rows, as many as "
                         "rows, distinct and sums")
    if n == 0:
        return 0
    space = <int64_t *>malloc((n + table_size(n)) * sizeof(int64_t))
    if space == NULL:
        raise MemoryError
    with nogil:
        count = number_rows(&rows[0], n, &distinct[0], space, space + n)
        if values.shape[1]:
            sum_rows(&sums[0, 0], values, space)
    free(space)
    return count


cdef int check_bags(const int64_t[::1] indices, const int64_t[::1] bounds, Py_ssize_t bags, Py_ssize_t rows,
                    Py_ssize_t weights) except -1:
    """Raise unless bag b can hold the indices from bounds[b] to bounds[b + 1], each with a weight if there are any."""
    cdef Py_ssize_t b
    check_rows(indices, rows)
    if bounds.shape[0] != bags + 1 or weights not in (-1, indices.shape[0]):
        raise ValueError(f"bounds have length {bounds.shape[0]} and weights {weights}, expected {bags + 1} and "
                         f"{indices.shape[0]}")
    if bounds[0] < 0 or bounds[bags] > indices.shape[0]:
        raise ValueError(f"bounds go from {bounds[0]} to {bounds[bags]}, expected from 0 to {indices.shape[0]}")
    for b in range(bags):
        if bounds[b] > bounds[b + 1]:
            raise ValueError(f"bounds fall from {bounds[b]} to {bounds[b + 1]}")
    return 0


def embedding_bag(floating[:, ::1] out, const floating[:, ::1] weight, const int64_t[::1] indices,
                  const int64_t[::1] bounds, bint mean, int64_t padding=-1,
                  const floating[::1] per_sample_weights=None):
    """Write the sum or the mean of each bag's rows, but for those of the padding, each times its weight."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t b, size = weight.shape[1]
    cdef bint weighted = per_sample_weights is not None and indices.shape[0] > 0
    cdef const void *factors
    if out.shape[1] != size:
        raise ValueError(f"out has rows of {out.shape[1]}, expected {size} as weight has")
    check_bags(indices, bounds, out.shape[0], weight.shape[0],
               -1 if per_sample_weights is None else per_sample_weights.shape[0])
    if size == 0:
        return
    if indices.shape[0] == 0:
        out[:] = 0
        return
    with nogil:
        for b in range(out.shape[0]):
            factors = &per_sample_weights[0] + bounds[b] if weighted else NULL
            table.bag(&out[b, 0], &weight[0, 0], &indices[0] + bounds[b], factors, padding, mean,
                      bounds[b + 1] - bounds[b], size)


def embedding_bag_backward(floating[:, ::1] rows, const floating[:, ::1] dy, const floating[:, ::1] weight,
                           const int64_t[::1] indices, const int64_t[::1] bounds, bint mean, int64_t padding=-1,
                           const floating[::1] per_sample_weights=None, floating[::1] weights_grad=None):
    """Write the gradient of the row of each index, and that of its weight where there is room given for it."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t b, i, used, size = weight.shape[1]
    cdef double factor
    if dy.shape[1] != size or rows.shape[1] != size or rows.shape[0] != indices.shape[0]:
        raise ValueError(f"rows have shape ({rows.shape[0]}, {rows.shape[1]}) and dy rows of {dy.shape[1]}, "
                         f"expected ({indices.shape[0]}, {size}) and {size}")
    check_bags(indices, bounds, dy.shape[0], weight.shape[0],
               -1 if per_sample_weights is None else per_sample_weights.shape[0])
    if weights_grad is not None and weights_grad.shape[0] != indices.shape[0]:
        raise ValueError(f"weights_grad has length {weights_grad.shape[0]}, expected {indices.shape[0]}")
    if size == 0 or dy.shape[0] == 0:
        rows[:] = 0
        if weights_grad is not None:
            weights_grad[:] = 0
        return
    with nogil:
        for i in range(indices.shape[0]):  # those that are in no bag
            if not bounds[0] <= i < bounds[dy.shape[0]]:
                memset(&rows[i, 0], 0, size * sizeof(floating))
                if weights_grad is not None:
                    weights_grad[i] = 0
        for b in range(dy.shape[0]):
            used = 0
            for i in range(bounds[b], bounds[b + 1]):
                used += indices[i] != padding
            for i in range(bounds[b], bounds[b + 1]):
                factor = 1
                if weights_grad is not None:
                    weights_grad[i] = 0
                if indices[i] == padding:
                    memset(&rows[i, 0], 0, size * sizeof(floating))
                    continue
                if mean:
                    factor = 1.0 / used
                if per_sample_weights is not None:
                    factor = per_sample_weights[i]
                if factor == 1:
                    memcpy(&rows[i, 0], &dy[b, 0], size * sizeof(floating))
                else:
                    table.scaled(&rows[i, 0], &dy[b, 0], factor, size)
                if weights_grad is not None:
                    table.matvec(&weights_grad[i], &weight[indices[i], 0], &dy[b, 0], 1, size, size)
