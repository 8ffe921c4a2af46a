from cython cimport floating
from libc.stdint cimport int64_t

cdef int check_rows(const int64_t[::1] rows, Py_ssize_t count, str name=*) except -1
cdef Py_ssize_t table_size(Py_ssize_t n) noexcept nogil
cdef Py_ssize_t number_rows(
    const int64_t *rows, Py_ssize_t n, int64_t *distinct, int64_t *number, int64_t *table) noexcept nogil
cdef void sum_rows(floating *sums, const floating[:, ::1] values, const int64_t *number) noexcept nogil
