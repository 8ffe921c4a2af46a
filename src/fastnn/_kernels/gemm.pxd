from fastnn._kernels.fastnn cimport fnn_real

cdef struct factors:
    const fnn_real *table
    char *out
    const char *init
    const char *a
    const char *b
    Py_ssize_t unit, m, n, depth, init_row, a_row, row, column

cdef void multiply(factors *f) noexcept nogil

cdef struct packed:
    const fnn_real *table
    char *panels
    Py_ssize_t unit, depth, n, rows  # the rows that most products will have

cdef Py_ssize_t packed_size(Py_ssize_t depth, Py_ssize_t n) noexcept nogil
cdef void pack(packed *p, const char *b, Py_ssize_t row, Py_ssize_t column) noexcept nogil
cdef void multiply_packed(const packed *p, char *out, Py_ssize_t out_row, const char *init, Py_ssize_t init_row,
                          const char *a, Py_ssize_t a_row, Py_ssize_t m) noexcept nogil
