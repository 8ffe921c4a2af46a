from fastnn._kernels.fastnn cimport fnn_kernels, fnn_op, fnn_task

cdef const fnn_kernels **active  # what it points to is the table in use
cdef const fnn_op *ops
cdef void (*parallel)(fnn_task *, void *, Py_ssize_t) noexcept nogil
cdef int (*num_threads)() noexcept nogil
