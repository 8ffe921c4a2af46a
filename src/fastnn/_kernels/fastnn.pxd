"""csrc/fastnn.h as Cython sees it."""
from libc.stdint cimport uint16_t

cdef extern from "fastnn.h" nogil:
    enum: FNN_N_OPS
    enum: FNN_MAX_IN
    ctypedef struct fnn_op:
        const char *name
        int n_in
        const char *saved
    ctypedef void fnn_kernel(void *, const void *const *, Py_ssize_t) noexcept nogil
    ctypedef struct fnn_real:
        fnn_kernel *elementwise[FNN_N_OPS]
    ctypedef struct fnn_kernels:
        const char *isa
        fnn_real f32
        fnn_real f64
        void (*from_half)(float *, const uint16_t *, Py_ssize_t) noexcept nogil
        void (*to_half)(uint16_t *, const float *, Py_ssize_t) noexcept nogil
    ctypedef void fnn_task(void *, Py_ssize_t) noexcept nogil
    void fnn_parallel(fnn_task *, void *, Py_ssize_t)
    int fastnn_get_num_threads()
    void fastnn_set_num_threads(int)
    const fnn_op fnn_ops[FNN_N_OPS]
    const fnn_kernels *fnn_active
    const fnn_kernels *fnn_select(const char *isa)
    const char *fnn_built_isa(int i)
    int fnn_runs_isa(int i)
