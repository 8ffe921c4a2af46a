from fastnn._kernels.fastnn cimport fnn_kernels, fnn_op

cdef const fnn_kernels **active  # what it points to is the table in use
cdef const fnn_op *ops
