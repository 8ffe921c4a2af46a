"""csrc/fastnn.h as Cython sees it."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

cdef extern from "fastnn.h" nogil:
    enum: FNN_N_OPS
    enum: FNN_MAX_IN
    ctypedef struct fnn_op:
        const char *name
        int n_in
        const char *saved
    ctypedef void fnn_kernel(void *, const void *const *, Py_ssize_t) noexcept nogil
    enum:
        FNN_softmax
        FNN_log_softmax
        FNN_logsumexp
        FNN_softmax_backward
        FNN_log_softmax_backward
        FNN_N_ROW_OPS
    enum:
        FNN_sigmoid_cross_entropy
        FNN_weighted_sigmoid_cross_entropy
        FNN_mse_loss
        FNN_l1_loss
        FNN_huber_loss
        FNN_smooth_l1_loss
        FNN_hinge_loss
        FNN_kl_div
        FNN_kl_div_of_logs
        FNN_N_LOSSES
        FNN_MAX_LOSS_IN
    enum:
        FNN_sgd_update
        FNN_momentum_update
        FNN_adagrad_update
        FNN_rmsprop_update
        FNN_rmsprop_momentum_update
        FNN_centered_rmsprop_update
        FNN_centered_rmsprop_momentum_update
        FNN_adam_update
        FNN_amsgrad_update
        FNN_N_UPDATES
        FNN_MAX_STATE
    ctypedef struct fnn_hyper:
        double lr
        double sign
        double weight_decay
        double shrink
        double beta1
        double gain1
        double beta2
        double gain2
        double eps
        double eps_inside
        double momentum
        double nesterov
        double first
    ctypedef struct fnn_targets:
        const int64_t *index
        int64_t ignore
        const void *soft
        const void *weight
        double keep
        double spread
        double scale
    ctypedef void fnn_row_kernel(void *, const void *const *, Py_ssize_t, Py_ssize_t) noexcept nogil
    ctypedef void fnn_cross_entropy(
        double *, void *, const void *, const fnn_targets *, Py_ssize_t, Py_ssize_t) noexcept nogil
    ctypedef double fnn_loss(
        void *, void *, const void *const *, double, double, Py_ssize_t) noexcept nogil
    ctypedef void fnn_update(void *, const void *, void *const *, const fnn_hyper *, Py_ssize_t) noexcept nogil
    enum:
        FNN_lstm_cell
        FNN_lstm_backward_cell
        FNN_gru_cell
        FNN_gru_backward_cell
        FNN_gru_reset_cell
        FNN_gru_update_cell
        FNN_gru_update_backward_cell
        FNN_gru_reset_backward_cell
        FNN_N_CELLS
    ctypedef void fnn_cell(void *const *, const Py_ssize_t *, Py_ssize_t, Py_ssize_t) noexcept nogil
    ctypedef struct fnn_axis:
        Py_ssize_t size
        Py_ssize_t kernel
        Py_ssize_t stride
        Py_ssize_t before
        Py_ssize_t dilation
        Py_ssize_t out
    ctypedef struct fnn_plane:
        Py_ssize_t height
        Py_ssize_t width
        Py_ssize_t row
        Py_ssize_t row_step
        Py_ssize_t rows
        Py_ssize_t column
        Py_ssize_t column_step
        Py_ssize_t columns
    ctypedef struct fnn_real:
        fnn_kernel *elementwise[FNN_N_OPS]
        fnn_kernel *uniform[FNN_N_OPS]
        fnn_row_kernel *rows[FNN_N_ROW_OPS]
        fnn_cross_entropy *softmax_cross_entropy
        fnn_loss *losses[FNN_N_LOSSES]
        fnn_update *updates[FNN_N_UPDATES]
        void (*transpose)(
            void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*pack)(
            void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*product)(
            void *, const void *, const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
            Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*matmul)(
            void *, const void *, const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
            Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*matvec)(void *, const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*matvecs)(void *, const void *, const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                        Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        fnn_cell *cells[FNN_N_CELLS]
        void (*mask_scale)(void *, const void *, const uint8_t *, double, double, Py_ssize_t) noexcept nogil
        void (*accumulate)(void *, const void *, Py_ssize_t) noexcept nogil
        void (*bag)(
            void *, const void *, const int64_t *, const void *, int64_t, int, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*scaled)(void *, const void *, double, Py_ssize_t) noexcept nogil
        void (*layer_norm)(
            void *, double *, double *, const void *, const void *, const void *, double, Py_ssize_t,
            Py_ssize_t) noexcept nogil
        void (*layer_norm_backward)(
            void *, double *, double *, void *, const void *, const void *, const void *, const double *,
            const double *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*row_moments)(double *, double *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*column_moments)(double *, double *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*row_dots)(
            double *, double *, const void *, const void *, const double *, Py_ssize_t, Py_ssize_t,
            Py_ssize_t) noexcept nogil
        void (*column_dots)(
            double *, double *, const void *, const void *, const double *, Py_ssize_t, Py_ssize_t,
            Py_ssize_t) noexcept nogil
        void (*affine)(
            void *, const void *, const void *, const void *, const void *, const void *, const void *, Py_ssize_t,
            Py_ssize_t, int) noexcept nogil
        void (*read_plane)(void *, const void *, const void *, const fnn_plane *, double) noexcept nogil
        void (*add_plane)(void *, void *, const fnn_plane *) noexcept nogil
        void (*crop)(void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*window_product)(
            void *, const void *, const void *, const Py_ssize_t *, const void *, const Py_ssize_t *, Py_ssize_t,
            Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*window_dots)(
            void *, const void *, const Py_ssize_t *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*max_pool)(
            void *, int32_t *, const void *, const void *, void *, const fnn_axis *, const fnn_axis *,
            Py_ssize_t) noexcept nogil
        void (*avg_pool)(
            void *, const void *, const void *, const void *, const void *, void *, const fnn_axis *,
            const fnn_axis *, Py_ssize_t) noexcept nogil
        void (*avg_pool_backward)(
            void *, const void *, const void *, const void *, void *, const fnn_axis *, const fnn_axis *,
            Py_ssize_t) noexcept nogil
        void (*largest)(void *, int32_t *, const void *, Py_ssize_t) noexcept nogil
        double (*squared_norm)(const void *, Py_ssize_t) noexcept nogil
        void (*weighted_rows)(
            void *, const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*additive_scores)(
            void *, const void *, const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*additive_backward)(
            void *, void *, void *, const void *, const void *, const void *, const void *, Py_ssize_t, Py_ssize_t,
            Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*window_scores)(
            void *, const void *, const void *, const int32_t *, const int32_t *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
            Py_ssize_t, Py_ssize_t) noexcept nogil
        double (*window_gains)(void *, const int32_t *, double, int, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*window_update)(
            void *, void *, const void *, const int32_t *, const int32_t *, void *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
            Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*window_sum)(
            void *, const void *, const int32_t *, double, Py_ssize_t, Py_ssize_t, Py_ssize_t,
            Py_ssize_t) noexcept nogil
        void (*window_spread)(
            void *, void *, const void *, const void *, const int32_t *, const int32_t *, double, Py_ssize_t,
            Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
    ctypedef struct fnn_kernels:
        const char *isa
        fnn_real f32
        fnn_real f64
        int (*compare_bits)(uint8_t *, const uint16_t *, uint16_t, Py_ssize_t) noexcept nogil
        void (*from_half)(float *, const uint16_t *, Py_ssize_t) noexcept nogil
        void (*to_half)(uint16_t *, const float *, Py_ssize_t) noexcept nogil
        void (*gather)(void *, const void *, const int64_t *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        int (*outside)(const int64_t *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*fetch_rows)(const void *, const int32_t *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
    Py_ssize_t fnn_pack_workspace(Py_ssize_t, Py_ssize_t)
    Py_ssize_t fnn_pool_width(const fnn_axis *) nogil
    ctypedef void fnn_task(void *, Py_ssize_t) noexcept nogil
    void fnn_parallel(fnn_task *, void *, Py_ssize_t)
    enum: FNN_MAX_THREADS
    int fastnn_get_num_threads()
    void fastnn_set_num_threads(int)
    const fnn_op fnn_ops[FNN_N_OPS]
    const fnn_kernels *fnn_active
    const fnn_kernels *fnn_select(const char *isa)
    const char *fnn_built_isa(int i)
    int fnn_runs_isa(int i)
