# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=True
"""Rows of an embedding gathered by index, and their gradients scattered back, over typed memoryviews."""
from cython cimport floating
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastnn._kernels.cpu cimport active
from fastnn._kernels.fastnn cimport fnn_real


cdef int check(const int64_t[::1] indices, Py_ssize_t rows) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(indices.shape[0]):
        if indices[i] < 0 or indices[i] >= rows:
            raise IndexError(f"indices hold {indices[i]}, which is not among the {rows} rows")
    return 0


def embedding_lookup(unsigned char[:, ::1] out, const unsigned char[:, :] weight, const int64_t[::1] indices):
    """Copy the rows of `weight` that the indices name; of whatever dtype, seen as bytes."""
    cdef Py_ssize_t i, size = weight.shape[1]
    if out.shape[0] != indices.shape[0] or out.shape[1] != size or weight.strides[1] != 1:
        raise ValueError(f"out has shape ({out.shape[0]}, {out.shape[1]}), expected ({indices.shape[0]}, {size}), "
                         "and the rows of weight to lie densely")
    with nogil:
        check(indices, weight.shape[0])
        if size:
            for i in range(indices.shape[0]):
                memcpy(&out[i, 0], &weight[indices[i], 0], size)


def embedding_lookup_backward(floating[:, ::1] grad, const floating[:, ::1] dy, const int64_t[::1] indices):
    """Add each row of dy to the row of `grad` that its index names, one after the other."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t i, n = grad.shape[1]
    if dy.shape[0] != indices.shape[0] or dy.shape[1] != n:
        raise ValueError(f"dy has shape ({dy.shape[0]}, {dy.shape[1]}), expected ({indices.shape[0]}, {n})")
    with nogil:
        check(indices, grad.shape[0])
        if n:
            for i in range(indices.shape[0]):
                table.accumulate(&grad[indices[i], 0], &dy[i, 0], n)
