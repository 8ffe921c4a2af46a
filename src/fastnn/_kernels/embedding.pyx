"""Rows of an embedding gathered by index, and their gradients scattered back, over typed memoryviews."""
from cython cimport floating
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastnn._kernels.cpu cimport active
from fastnn._kernels.fastnn cimport fnn_real


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


def embedding_lookup(unsigned char[:, ::1] out, const unsigned char[:, :] weight, const int64_t[::1] indices):
    """Copy the rows of `weight` that the indices name; of whatever dtype, seen as bytes."""
    cdef Py_ssize_t size = weight.shape[1]
    if out.shape[0] != indices.shape[0] or out.shape[1] != size or weight.strides[1] != 1:
        raise ValueError(f"out has shape ({out.shape[0]}, {out.shape[1]}), expected ({indices.shape[0]}, {size}), "
                         "and the rows of weight to lie densely")
    check_rows(indices, weight.shape[0])
    if size and indices.shape[0]:
        with nogil:
            active[0].gather(&out[0, 0], &weight[0, 0], &indices[0], indices.shape[0], size, weight.strides[0])


def embedding_lookup_backward(floating[:, ::1] grad, const floating[:, ::1] dy, const int64_t[::1] indices):
    """Add each row of dy to the row of `grad` that its index names, one after the other."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t i, n = grad.shape[1]
    if dy.shape[0] != indices.shape[0] or dy.shape[1] != n:
        raise ValueError(f"dy has shape ({dy.shape[0]}, {dy.shape[1]}), expected ({indices.shape[0]}, {n})")
    check_rows(indices, grad.shape[0])
    if n:
        with nogil:
            for i in range(indices.shape[0]):
                table.accumulate(&grad[indices[i], 0], &dy[i, 0], n)


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
