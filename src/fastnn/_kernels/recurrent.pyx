"""Recurrent cells over typed memoryviews: one step, and the walk over time, forwards and back.

a) States stand in one array (T + 1, B, H). Walking forwards slot 0 is the initial state and slot t + 1 the one after
   step t; in reverse slot T is the initial one and slot t the one after step t. So y and the states before each step
   are views of it, and no step copies anything.
b) Time is cut into chunks that stay in the cache. In each one product adds what the inputs say to all its gates; the
   walk adds the product with the last state and applies the cell, step by step; on the way back products of the whole
   chunk follow, for the inputs and the weights. All factors that come again are packed once.
c) What only a gradient needs (gates, cell states) is kept where there is room for it, else overwritten.
d) A row past its length carries its state: it is computed with the others, then put back. On the way back the
   gradient of its state passes, and its gates get none.
e) Threads take rows of the batch within the walk, rows or columns of the result within products. Neither sees the
   others, so a result does not depend on the cuts.
f) A stream keeps its weights packed, those of x and h side by side: a step is one product and one cell a layer. Its
   results are bit for bit those of a sequence.
"""
cimport cython
cimport numpy as cnp
from cython cimport floating
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from fastnn._kernels.checks cimport check_aligned
from fastnn._kernels.cpu cimport active, num_threads, ops, parallel
from fastnn._kernels.fastnn cimport (
    FNN_gru_backward_cell, FNN_gru_cell, FNN_gru_reset_backward_cell, FNN_gru_reset_cell,
    FNN_gru_update_backward_cell, FNN_gru_update_cell, FNN_lstm_backward_cell, FNN_lstm_cell, FNN_N_OPS, fnn_kernel,
    fnn_real,
)
from fastnn._kernels.gemm cimport factors, multiply, multiply_packed, pack, packed, packed_size

cnp.import_array()

cdef enum:
    CHUNK = 1 << 18  # bytes of gates that are worked on at a time, if the weights are not larger
    CHUNK_ROWS = 48  # at least, so that products are efficient
    TURNED = 512  # rows of gates that are turned over at a time
    GATES = 64  # of whose weights a thread takes the gradients at a time
    PARALLEL = 1 << 23  # multiply-adds; from there on waking a thread pays
    PARALLEL_ROWS = 8  # of the batch that a thread should have
    LARGE = 1 << 18  # multiply-adds of a step; from there on others may have the interpreter meanwhile
    FEW = 4  # rows of a step from which on packing pays
    MAX_ARRAYS = 12

cdef struct walk
ctypedef void walk_rows(const walk *, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef struct walk:
    const fnn_real *table
    fnn_kernel *function  # of rnn
    walk_rows *rows
    const int64_t *lengths
    bint reverse, reset_after
    Py_ssize_t steps, batch, inputs, hidden, gates, dgates, unit
    # the chunk at work is the steps begin..end - 1, `chunk` at most
    Py_ssize_t chunk, begin, end, blocks
    # the arrays of the sequence; gates and cells stand in as many slots as are kept
    const char *x
    char *h
    char *c
    char *g
    char *of_h
    Py_ssize_t c_slots, g_slots
    # their gradients; dg is of the chunk alone
    const char *dy
    char *dh
    char *dc
    char *dg
    char *dof_h
    char *dx
    char *dw_ih
    char *dw_hh
    char *dbias
    char *turned
    char *total
    const char *bias
    const char *b_hn
    const char *zeros
    # the weights of the inputs, of the states (in gru of r and z), and in gru of n
    packed w_ih, w_hh, w_hn


# --- what all walks share --------------------------------------------------------------------------------------------
cdef inline Py_ssize_t at(const walk *w, Py_ssize_t slot, Py_ssize_t first, Py_ssize_t columns) noexcept nogil:
    """Return the offset of a row of the batch in a slot of an array with so many numbers a row."""
    return (slot * w.batch + first) * columns * w.unit


cdef inline Py_ssize_t before(const walk *w, Py_ssize_t t) noexcept nogil:
    """Return the slot of the states before step t."""
    return t + w.reverse


cdef inline Py_ssize_t after(const walk *w, Py_ssize_t t) noexcept nogil:
    return t + 1 - w.reverse


cdef inline Py_ssize_t time(const walk *w, Py_ssize_t k) noexcept nogil:
    """Return the k-th step of the chunk in the order of the walk."""
    return w.end - 1 - k if w.reverse else w.begin + k


cdef inline bint ended(const walk *w, Py_ssize_t t, Py_ssize_t row) noexcept nogil:
    return w.lengths != NULL and t >= w.lengths[row]


cdef void keep(const walk *w, char *states, Py_ssize_t slots, Py_ssize_t t, Py_ssize_t first,
               Py_ssize_t rows) noexcept nogil:
    """Put back the states of the rows that have ended."""
    cdef Py_ssize_t i
    if w.lengths != NULL:
        for i in range(first, first + rows):
            if ended(w, t, i):
                memcpy(states + at(w, after(w, t) % slots, i, w.hidden),
                       states + at(w, before(w, t) % slots, i, w.hidden), w.hidden * w.unit)


cdef void active_cell(const walk *w, int op, char **arrays, const Py_ssize_t *columns, int n, Py_ssize_t t,
                      Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Run a cell on the rows that have not ended."""
    cdef char *row[MAX_ARRAYS]
    cdef Py_ssize_t i
    cdef int k
    if w.lengths == NULL:
        w.table.cells[op](<void **>arrays, columns, rows, w.hidden)
        return
    for i in range(rows):
        if not ended(w, t, first + i):
            for k in range(n):
                row[k] = arrays[k] + i * columns[k] * w.unit
            w.table.cells[op](<void **>row, columns, 1, w.hidden)


cdef char *dgates(const walk *w, Py_ssize_t t, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Return where the gradients of the gates at step t go, cleared for the rows that have ended."""
    cdef char *dg = w.dg + at(w, t - w.begin, first, w.dgates)
    cdef Py_ssize_t row = w.dgates * w.unit, i
    if w.lengths != NULL:
        for i in range(rows):
            if ended(w, t, first + i):
                memset(dg + i * row, 0, row)
    return dg


cdef const char *pass_back(const walk *w, Py_ssize_t t, Py_ssize_t first, Py_ssize_t rows, bint spent) noexcept nogil:
    """Return what the gradient of the states before step t starts from: dy there, and of dh what is not `spent`.

    A row that has not ended has spent its dh on its gates.
    """
    cdef Py_ssize_t row = w.hidden * w.unit, i
    cdef char *dh = w.dh + first * row
    cdef const char *dy = NULL
    if w.dy != NULL and 0 <= t + 2 * w.reverse - 1 < w.steps:
        dy = w.dy + at(w, t + 2 * w.reverse - 1, first, w.hidden)
    if spent:
        if w.lengths == NULL:
            if dy != NULL:
                return dy
            memset(dh, 0, rows * row)
        else:
            for i in range(rows):
                if not ended(w, t, first + i):
                    memset(dh + i * row, 0, row)
    if dy != NULL:
        w.table.accumulate(dh, dy, rows * w.hidden)
    return dh


# --- rnn -------------------------------------------------------------------------------------------------------------
cdef void rnn_rows(const walk *w, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t H = w.hidden, k, t
    cdef char *h
    cdef const void *operands[1]
    for k in range(w.end - w.begin):
        t = time(w, k)
        h = w.h + at(w, after(w, t), first, H)
        multiply_packed(&w.w_hh, h, H, h, H, w.h + at(w, before(w, t), first, H), H, rows)
        operands[0] = h
        w.function(h, operands, rows * H)
        keep(w, w.h, w.steps + 1, t, first, rows)


cdef void rnn_backward_rows(const walk *w, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t H = w.hidden, k, t
    cdef char *dh = w.dh + first * H * w.unit
    cdef char *dg
    cdef const void *operands[2]
    for k in reversed(range(w.end - w.begin)):
        t = time(w, k)
        operands[0], operands[1] = dh, w.h + at(w, after(w, t), first, H)
        w.function(w.dg + at(w, t - w.begin, first, H), operands, rows * H)
        dg = dgates(w, t, first, rows)
        multiply_packed(&w.w_hh, dh, H, pass_back(w, t, first, rows, True), H, dg, H, rows)


# --- lstm ------------------------------------------------------------------------------------------------------------
cdef void lstm_rows(const walk *w, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t H = w.hidden, G = 4 * H, size = H * w.unit, k, t
    cdef Py_ssize_t *columns = [H, H, G, G, G, G, H]
    cdef char *i
    cdef char *arrays[7]
    for k in range(w.end - w.begin):
        t = time(w, k)
        i = w.g + at(w, t % w.g_slots, first, G)
        multiply_packed(&w.w_hh, i, G, i, G, w.h + at(w, before(w, t), first, H), H, rows)
        arrays = [w.h + at(w, after(w, t), first, H), w.c + at(w, after(w, t) % w.c_slots, first, H), i, i + size,
                  i + 2 * size, i + 3 * size, w.c + at(w, before(w, t) % w.c_slots, first, H)]
        w.table.cells[FNN_lstm_cell](<void **>arrays, columns, rows, H)
        keep(w, w.h, w.steps + 1, t, first, rows)
        keep(w, w.c, w.c_slots, t, first, rows)


cdef void lstm_backward_rows(const walk *w, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t H = w.hidden, G = 4 * H, size = H * w.unit, k, t
    cdef Py_ssize_t *columns = [G, G, G, G, H, H, G, G, G, G, H, H]
    cdef char *dh = w.dh + first * size
    cdef char *i
    cdef char *di
    cdef char *arrays[12]
    for k in reversed(range(w.end - w.begin)):
        t = time(w, k)
        i, di = w.g + at(w, t, first, G), dgates(w, t, first, rows)
        arrays = [di, di + size, di + 2 * size, di + 3 * size, w.dc + first * size, dh, i, i + size, i + 2 * size,
                  i + 3 * size, w.c + at(w, after(w, t), first, H), w.c + at(w, before(w, t), first, H)]
        active_cell(w, FNN_lstm_backward_cell, arrays, columns, 12, t, first, rows)
        multiply_packed(&w.w_hh, dh, H, pass_back(w, t, first, rows, True), H, di, G, rows)


# --- gru -------------------------------------------------------------------------------------------------------------
cdef void gru_cell(const fnn_real *table, char *h, char *r, char *of_h, char *h_before, Py_ssize_t size,
                   Py_ssize_t rows, Py_ssize_t H) noexcept nogil:
    cdef Py_ssize_t *columns = [H, 3 * H, 3 * H, 3 * H, H, H]
    cdef char **arrays = [h, r, r + size, r + 2 * size, of_h, h_before]
    table.cells[FNN_gru_cell](<void **>arrays, columns, rows, H)


cdef void gru_reset_cell(const fnn_real *table, char *of_h, char *r, char *h_before, Py_ssize_t rows,
                         Py_ssize_t H) noexcept nogil:
    cdef Py_ssize_t *columns = [H, 3 * H, H]
    cdef char **arrays = [of_h, r, h_before]
    table.cells[FNN_gru_reset_cell](<void **>arrays, columns, rows, H)


cdef void gru_update_cell(const fnn_real *table, char *h, char *r, char *h_before, Py_ssize_t size, Py_ssize_t rows,
                          Py_ssize_t H) noexcept nogil:
    cdef Py_ssize_t *columns = [H, 3 * H, 3 * H, H]
    cdef char **arrays = [h, r + size, r + 2 * size, h_before]
    table.cells[FNN_gru_update_cell](<void **>arrays, columns, rows, H)


cdef void gru_rows(const walk *w, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t H = w.hidden, G = 3 * H, size = H * w.unit, k, t
    cdef char *h
    cdef char *h_before
    cdef char *r
    cdef char *of_h
    for k in range(w.end - w.begin):
        t = time(w, k)
        h, h_before = w.h + at(w, after(w, t), first, H), w.h + at(w, before(w, t), first, H)
        r, of_h = w.g + at(w, t % w.g_slots, first, G), w.of_h + at(w, t % w.g_slots, first, H)
        multiply_packed(&w.w_hh, r, G, r, G, h_before, H, rows)
        if w.reset_after:
            multiply_packed(&w.w_hn, of_h, H, w.b_hn, 0, h_before, H, rows)
            gru_cell(w.table, h, r, of_h, h_before, size, rows, H)
        else:
            gru_reset_cell(w.table, of_h, r, h_before, rows, H)
            multiply_packed(&w.w_hn, r + 2 * size, G, r + 2 * size, G, of_h, H, rows)
            gru_update_cell(w.table, h, r, h_before, size, rows, H)
        keep(w, w.h, w.steps + 1, t, first, rows)


cdef void gru_backward_rows(const walk *w, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """The gradients of the gates are dr, dz, dn and, where the reset gate comes after the product, dof_h."""
    cdef Py_ssize_t H = w.hidden, G = 3 * H, D = w.dgates, size = H * w.unit, k, t
    cdef Py_ssize_t *after_columns = [D, D, D, D, H, G, G, G, H, H]
    cdef Py_ssize_t *update_columns = [D, D, H, G, G, H]
    cdef Py_ssize_t *reset_columns = [D, H, H, G, H]
    cdef char *dh = w.dh + first * size
    cdef char *dof_h = w.dof_h + first * size
    cdef char *h_before
    cdef char *r
    cdef char *dr
    cdef char *of_h
    cdef char *after_arrays[10]
    cdef char *update_arrays[6]
    cdef char *reset_arrays[5]
    for k in reversed(range(w.end - w.begin)):
        t = time(w, k)
        r, of_h = w.g + at(w, t, first, G), w.of_h + at(w, t, first, H)
        dr, h_before = dgates(w, t, first, rows), w.h + at(w, before(w, t), first, H)
        if w.reset_after:
            after_arrays = [dr, dr + size, dr + 2 * size, dr + 3 * size, dh, r, r + size, r + 2 * size, of_h, h_before]
            active_cell(w, FNN_gru_backward_cell, after_arrays, after_columns, 10, t, first, rows)
        else:
            update_arrays = [dr + size, dr + 2 * size, dh, r + size, r + 2 * size, h_before]
            active_cell(w, FNN_gru_update_backward_cell, update_arrays, update_columns, 6, t, first, rows)
            multiply_packed(&w.w_hn, dof_h, H, w.zeros, 0, dr + 2 * size, D, rows)
            reset_arrays = [dr, dh, dof_h, r, h_before]
            active_cell(w, FNN_gru_reset_backward_cell, reset_arrays, reset_columns, 5, t, first, rows)
        pass_back(w, t, first, rows, False)
        multiply_packed(&w.w_hh, dh, H, dh, H, dr, D, rows)
        if w.reset_after:
            multiply_packed(&w.w_hn, dh, H, dh, H, dr + 3 * size, D, rows)


# --- chunks ----------------------------------------------------------------------------------------------------------
cdef void project(const walk *w, Py_ssize_t t, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Write what the inputs add to so many rows from a row of step t on, which may reach into later steps."""
    cdef char *out = w.h + at(w, after(w, t), first, w.hidden)
    if w.g != NULL:
        out = w.g + at(w, t % w.g_slots, first, w.gates)
    multiply_packed(&w.w_ih, out, w.gates, w.bias, 0, w.x + at(w, t, first, w.inputs), w.inputs, rows)


cdef void write_dx(const walk *w, Py_ssize_t t, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Write the gradients of so many rows of the inputs."""
    multiply_packed(&w.w_ih, w.dx + at(w, t, first, w.inputs), w.inputs, w.zeros, 0,
                    w.dg + at(w, t - w.begin, first, w.dgates), w.dgates, rows)


cdef void add_rows(const walk *w, char *dw, Py_ssize_t begin, Py_ssize_t end, const char *turned, Py_ssize_t low,
                   Py_ssize_t high, const char *right, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    """Add the product of the gates' gradients of m rows, turned over, with as many rows of `right` to dw.

    There are those of the gates low..high - 1, and dw has rows for the gates begin..end - 1.
    """
    cdef Py_ssize_t first = max(low, begin)
    cdef factors f
    f.table, f.unit, f.m, f.n, f.depth = w.table, w.unit, min(high, end) - first, n, m
    f.out = dw + (first - begin) * n * w.unit
    f.init, f.init_row = f.out, n
    f.a, f.a_row = turned + (first - low) * m * w.unit, m
    f.b, f.row, f.column = right, n, 1
    if f.m > 0:
        multiply(&f)


cdef void weight_gradients(const walk *w, Py_ssize_t low, Py_ssize_t high) noexcept nogil:
    """Add what comes from the chunk to the gradients of the weights and biases of the gates low..high - 1."""
    cdef Py_ssize_t H = w.hidden, D = w.dgates, rows = (w.end - w.begin) * w.batch, first = 0, i, m
    cdef const char *h
    cdef const char *of_h
    cdef char *dg
    cdef char *total = w.total + low * w.unit
    cdef char *turned = w.turned + low * min(w.chunk * w.batch, TURNED) * w.unit
    while first < rows:
        m = min(TURNED, rows - first)
        dg = w.dg + (first * D + low) * w.unit
        h = w.h + at(w, before(w, w.begin), first, H)
        memset(total, 0, (high - low) * w.unit)
        for i in range(m):
            w.table.accumulate(total, dg + i * D * w.unit, high - low)
        w.table.accumulate(w.dbias + low * w.unit, total, high - low)
        w.table.transpose(turned, dg, m, high - low, m, D)
        add_rows(w, w.dw_ih, 0, w.gates, turned, low, high, w.x + at(w, w.begin, first, w.inputs), w.inputs, m)
        if w.w_hn.n == 0:
            add_rows(w, w.dw_hh, 0, w.gates, turned, low, high, h, H, m)
        else:
            of_h = h if w.reset_after else w.of_h + at(w, w.begin, first, H)
            add_rows(w, w.dw_hh, 0, 2 * H, turned, low, high, h, H, m)
            add_rows(w, w.dw_hh + 2 * H * H * w.unit, D - H, D, turned, low, high, of_h, H, m)
        first += TURNED


cdef inline void enter_chunk(walk *w, Py_ssize_t k, bint forward) noexcept nogil:
    """Take up the k-th chunk of the walk."""
    cdef Py_ssize_t chunks = (w.steps + w.chunk - 1) // w.chunk
    w.begin = (k if forward != w.reverse else chunks - 1 - k) * w.chunk
    w.end = min(w.begin + w.chunk, w.steps)


cdef void walk_forward(void *context, Py_ssize_t block) noexcept nogil:
    """Walk over all steps with some rows of the batch, which need nothing of the others."""
    cdef walk w = (<walk *>context)[0]
    cdef Py_ssize_t first = w.batch * block // w.blocks, rows = w.batch * (block + 1) // w.blocks - first, k, t
    for k in range((w.steps + w.chunk - 1) // w.chunk):
        enter_chunk(&w, k, True)
        if w.blocks == 1:
            project(&w, w.begin, 0, (w.end - w.begin) * w.batch)
        else:
            for t in range(w.begin, w.end):
                project(&w, t, first, rows)
        w.rows(&w, first, rows)


cdef void walk_back(void *context, Py_ssize_t block) noexcept nogil:
    """The same back; the gradients of the gates of all steps are kept for the weights'."""
    cdef walk w = (<walk *>context)[0]
    cdef Py_ssize_t first = w.batch * block // w.blocks, rows = w.batch * (block + 1) // w.blocks - first, k, t
    cdef char *dg = w.dg
    for k in range((w.steps + w.chunk - 1) // w.chunk):
        enter_chunk(&w, k, False)
        w.dg = dg + at(&w, w.begin, 0, w.dgates)
        w.rows(&w, first, rows)
        for t in range(w.begin, w.end):
            write_dx(&w, t, first, rows)


cdef void some_weight_gradients(void *context, Py_ssize_t part) noexcept nogil:
    cdef walk w = (<walk *>context)[0]
    cdef Py_ssize_t low = part * GATES, k
    cdef char *dg = w.dg
    for k in range((w.steps + w.chunk - 1) // w.chunk):
        enter_chunk(&w, k, False)
        w.dg = dg + at(&w, w.begin, 0, w.dgates)
        weight_gradients(&w, low, min(low + GATES, w.dgates))


cdef void walk_all(walk *w, bint forward) noexcept nogil:
    """Walk over all steps. One thread takes chunk after chunk while it is in the cache; the sums are the same."""
    cdef Py_ssize_t k
    if forward:
        parallel(walk_forward, w, w.blocks)
    elif w.blocks > 1:
        parallel(walk_back, w, w.blocks)
        parallel(some_weight_gradients, w, (w.dgates + GATES - 1) // GATES)
    else:
        for k in range((w.steps + w.chunk - 1) // w.chunk):
            enter_chunk(w, k, False)
            w.rows(w, 0, w.batch)
            write_dx(w, w.begin, 0, (w.end - w.begin) * w.batch)
            weight_gradients(w, 0, w.dgates)


# --- from memoryviews to walks ---------------------------------------------------------------------------------------
cdef inline int shape(str name, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t m, Py_ssize_t n) except -1:
    if rows != m or columns != n:
        raise ValueError(f"{name} has shape ({rows}, {columns}), expected ({m}, {n})")
    return 0


cdef inline floating *begin(const floating[:, ::1] x) noexcept nogil:
    """Return where x begins, NULL if it holds nothing."""
    return <floating *>&x[0, 0] if x.shape[0] and x.shape[1] else NULL


cdef char *sequence(str name, const floating[:, :, ::1] x, Py_ssize_t steps, Py_ssize_t batch,
                    Py_ssize_t n) except? NULL:
    """Return where a sequence begins, NULL if it holds nothing."""
    if x.shape[0] != steps or x.shape[1] != batch or x.shape[2] != n:
        raise ValueError(
            f"{name} has shape ({x.shape[0]}, {x.shape[1]}, {x.shape[2]}), expected ({steps}, {batch}, {n})")
    if not steps or not batch or not n:
        return NULL
    check_aligned(sizeof(floating), &x[0, 0, 0])
    return <char *>&x[0, 0, 0]


cdef char *matrix(str name, const floating[:, ::1] x, Py_ssize_t m, Py_ssize_t n) except? NULL:
    """Return where a matrix begins, NULL if it holds nothing."""
    shape(name, x.shape[0], x.shape[1], m, n)
    check_aligned(sizeof(floating), begin(x))
    return <char *>begin(x)


cdef char *vector(str name, const floating[::1] x, Py_ssize_t n) except? NULL:
    """Return where a vector begins, NULL if there is none."""
    if x is None:
        return NULL
    shape(name, x.shape[0], 1, n, 1)
    if not n:
        return NULL
    check_aligned(sizeof(floating), &x[0])
    return <char *>&x[0]


cdef fnn_kernel *function(const fnn_real *table, int op, int n_in) except NULL:
    if op < 0 or op >= FNN_N_OPS or ops[op].n_in != n_in:
        raise ValueError(f"operation {op} does not take {n_in} arrays")
    return table.elementwise[op]


cdef int gradients(walk *w, Py_ssize_t dgates, floating[:, :, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dw_ih,
                   floating[:, ::1] dw_hh, floating[::1] dbias, const floating[:, :, ::1] dy) except -1:
    w.dgates = dgates
    w.dx = sequence("dx", dx, w.steps, w.batch, w.inputs)
    w.dh = matrix("dh", dh, w.batch, w.hidden)
    w.dw_ih, w.dw_hh = matrix("dw_ih", dw_ih, w.gates, w.inputs), matrix("dw_hh", dw_hh, w.gates, w.hidden)
    w.dbias = vector("dbias", dbias, dgates)
    if dy is not None:
        w.dy = sequence("dy", dy, w.steps, w.batch, w.hidden)
    return 0


cdef walk plan(walk_rows *rows, int gates, const floating[:, :, ::1] states, const floating[:, :, ::1] x,
               const floating[:, ::1] w_ih, const floating[:, ::1] w_hh, const int64_t[::1] lengths,
               bint reverse) except *:
    cdef walk w
    cdef Py_ssize_t H = states.shape[2]
    memset(&w, 0, sizeof(w))
    w.table = &active[0].f32 if floating is float else &active[0].f64
    w.steps, w.batch, w.inputs, w.hidden, w.unit = x.shape[0], x.shape[1], x.shape[2], H, sizeof(floating)
    w.rows, w.reverse, w.gates = rows, reverse, gates * H
    w.x = sequence("x", x, w.steps, w.batch, w.inputs)
    w.h = sequence("states", states, w.steps + 1, w.batch, H)
    matrix("w_ih", w_ih, w.gates, w.inputs)
    matrix("w_hh", w_hh, w.gates, H)
    if lengths is not None:
        shape("lengths", lengths.shape[0], 1, w.batch, 1)
        w.lengths = &lengths[0] if w.batch else NULL
    return w


cdef inline char *take(char **space, Py_ssize_t size) noexcept nogil:
    """Return so many bytes of the workspace, on a multiple of 64."""
    cdef char *start = space[0]
    space[0] += (size + 63) // 64 * 64
    return start


cdef int run(walk *w, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh, bint forward) except -1:
    """Take the workspace, pack the weights, and walk."""
    cdef Py_ssize_t H = w.hidden, unit = w.unit, main = 2 * H if w.gates == 3 * H else w.gates
    cdef bint gated = w.gates > H
    cdef Py_ssize_t least = (CHUNK_ROWS + w.batch - 1) // max(w.batch, 1), bytes = w.batch * w.gates * unit, m, kept
    cdef Py_ssize_t weights = w.gates * (w.inputs + H) * unit
    cdef void *block
    cdef char *space
    if w.batch == 0 or H == 0:
        if not forward and w.dx != NULL:
            memset(w.dx, 0, w.steps * w.batch * w.inputs * unit)
        return 0
    w.chunk = max(1, min(w.steps, max(least, max(CHUNK, weights // 2) // bytes)))
    m = w.chunk * w.batch
    w.blocks = 1
    if w.steps * w.batch * w.gates * H >= PARALLEL:
        w.blocks = max(1, min(num_threads(), w.batch // PARALLEL_ROWS))
    w.w_ih.table = w.w_hh.table = w.w_hn.table = w.table
    w.w_ih.unit = w.w_hh.unit = w.w_hn.unit = unit
    w.w_ih.rows, w.w_hh.rows, w.w_hn.rows = m, w.batch, w.batch
    w.w_ih.depth, w.w_ih.n = (w.inputs, w.gates) if forward else (w.gates, w.inputs)
    w.w_hh.depth, w.w_hh.n = (H, main) if forward else (main, H)
    if main < w.gates:
        w.w_hn.depth = w.w_hn.n = H
    kept = m if w.blocks == 1 else w.steps * w.batch
    block = malloc((packed_size(w.w_ih.depth, w.w_ih.n) + packed_size(w.w_hh.depth, w.w_hh.n)
                    + packed_size(w.w_hn.depth, w.w_hn.n) + max(w.gates, w.inputs) + 2 * w.batch * H
                    + (m * (w.gates + H) if forward else (kept + min(m, TURNED) + 1) * w.dgates)) * unit + 12 * 64)
    if block == NULL:
        raise MemoryError
    with nogil:
        space = <char *>((<size_t>block + 63) & ~<size_t>63)
        w.w_ih.panels = take(&space, packed_size(w.w_ih.depth, w.w_ih.n) * unit)
        w.w_hh.panels = take(&space, packed_size(w.w_hh.depth, w.w_hh.n) * unit)
        w.w_hn.panels = take(&space, packed_size(w.w_hn.depth, w.w_hn.n) * unit)
        w.zeros = <const char *>memset(take(&space, max(w.gates, w.inputs) * unit), 0, max(w.gates, w.inputs) * unit)
        w.dof_h = take(&space, w.batch * H * unit)
        if forward:
            if w.bias == NULL:
                w.bias = w.zeros
            if w.b_hn == NULL:
                w.b_hn = w.zeros
            if gated and w.g == NULL:
                w.g, w.g_slots = take(&space, m * w.gates * unit), w.chunk
                w.of_h = take(&space, m * H * unit)
            pack(&w.w_ih, <const char *>begin(w_ih), 1, w.inputs)
            pack(&w.w_hh, <const char *>&w_hh[0, 0], 1, H)
            if main < w.gates:
                pack(&w.w_hn, <const char *>&w_hh[main, 0], 1, H)
        else:
            w.dg = take(&space, kept * w.dgates * unit)
            w.turned = take(&space, min(m, TURNED) * w.dgates * unit)
            w.total = take(&space, w.dgates * unit)
            pack(&w.w_ih, <const char *>begin(w_ih), w.inputs, 1)
            pack(&w.w_hh, <const char *>&w_hh[0, 0], H, 1)
            if main < w.gates:
                pack(&w.w_hn, <const char *>&w_hh[main, 0], H, 1)
            if w.dy != NULL and w.steps:  # of the last step of the walk; pass_back adds the others
                w.table.accumulate(w.dh, w.dy + at(w, 0 if w.reverse else w.steps - 1, 0, H), w.batch * H)
        walk_all(w, forward)
        free(block)
    return 0


# --- the entries: outputs, inputs, what to do with them --------------------------------------------------------------
def rnn_forward(int op, floating[:, :, ::1] states, const floating[:, :, ::1] x, const floating[:, ::1] w_ih,
                const floating[:, ::1] w_hh, const floating[::1] bias, const int64_t[::1] lengths, bint reverse):
    """Walk over time: `states` hold the initial state, then all."""
    cdef walk w = plan(rnn_rows, 1, states, x, w_ih, w_hh, lengths, reverse)
    w.function = function(w.table, op, 1)
    w.bias = vector("bias", bias, w.gates)
    run(&w, w_ih, w_hh, True)


def rnn_backward(int op, floating[:, :, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dw_ih, floating[:, ::1] dw_hh,
                 floating[::1] dbias, const floating[:, :, ::1] dy, const floating[:, :, ::1] states,
                 const floating[:, :, ::1] x, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh,
                 const int64_t[::1] lengths, bint reverse):
    """Walk back: write dx, turn dh from the final state to the initial one, add to dw_ih, dw_hh and dbias.

    dy is 0 past the lengths, or None.
    """
    cdef walk w = plan(rnn_backward_rows, 1, states, x, w_ih, w_hh, lengths, reverse)
    w.function = function(w.table, op, 2)
    gradients(&w, w.gates, dx, dh, dw_ih, dw_hh, dbias, dy)
    run(&w, w_ih, w_hh, False)


def lstm_forward(floating[:, :, ::1] states, floating[:, :, ::1] cells, floating[:, :, ::1] gates,
                 const floating[:, :, ::1] x, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh,
                 const floating[::1] bias, const int64_t[::1] lengths, bint reverse):
    """Walk over time: `states` and `cells` hold the initial state, then all; `gates` get i, f, g, o.

    Where no gradient is needed `gates` are None, and `cells` may have two slots only, used in turn.
    """
    cdef walk w = plan(lstm_rows, 4, states, x, w_ih, w_hh, lengths, reverse)
    w.c_slots = 2 if cells.shape[0] == 2 else w.steps + 1
    w.c = sequence("cells", cells, w.c_slots, w.batch, w.hidden)
    w.bias = vector("bias", bias, w.gates)
    if gates is not None:
        w.g, w.g_slots = sequence("gates", gates, w.steps, w.batch, w.gates), w.steps
    run(&w, w_ih, w_hh, True)


def lstm_backward(floating[:, :, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dc, floating[:, ::1] dw_ih,
                  floating[:, ::1] dw_hh, floating[::1] dbias, const floating[:, :, ::1] dy,
                  const floating[:, :, ::1] states, const floating[:, :, ::1] cells, const floating[:, :, ::1] gates,
                  const floating[:, :, ::1] x, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh,
                  const int64_t[::1] lengths, bint reverse):
    """Walk back: write dx, turn dh and dc from the final state to the initial one, add to dw_ih, dw_hh and dbias."""
    cdef walk w = plan(lstm_backward_rows, 4, states, x, w_ih, w_hh, lengths, reverse)
    gradients(&w, w.gates, dx, dh, dw_ih, dw_hh, dbias, dy)
    w.c = sequence("cells", cells, w.steps + 1, w.batch, w.hidden)
    w.g = sequence("gates", gates, w.steps, w.batch, w.gates)
    w.dc = matrix("dc", dc, w.batch, w.hidden)
    run(&w, w_ih, w_hh, False)


def gru_forward(floating[:, :, ::1] states, floating[:, :, ::1] gates, floating[:, :, ::1] of_h,
                const floating[:, :, ::1] x, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh,
                const floating[::1] bias, const floating[::1] b_hn, bint reset_after, const int64_t[::1] lengths,
                bint reverse):
    """Walk over time: `states` hold the initial state, then all; `gates` get r, z, n.

    With reset_after `of_h` gets h_before @ w_hn.T + b_hn, else r * h_before, and `bias` counts b_hn in. Where no
    gradient is needed both are None.
    """
    cdef walk w = plan(gru_rows, 3, states, x, w_ih, w_hh, lengths, reverse)
    w.reset_after = reset_after
    w.bias, w.b_hn = vector("bias", bias, w.gates), vector("b_hn", b_hn, w.hidden)
    if gates is not None:
        w.g, w.g_slots = sequence("gates", gates, w.steps, w.batch, w.gates), w.steps
        w.of_h = sequence("of_h", of_h, w.steps, w.batch, w.hidden)
    run(&w, w_ih, w_hh, True)


def gru_backward(floating[:, :, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dw_ih, floating[:, ::1] dw_hh,
                 floating[::1] dbias, const floating[:, :, ::1] dy, const floating[:, :, ::1] states,
                 const floating[:, :, ::1] gates, const floating[:, :, ::1] of_h, const floating[:, :, ::1] x,
                 const floating[:, ::1] w_ih, const floating[:, ::1] w_hh, bint reset_after,
                 const int64_t[::1] lengths, bint reverse):
    """Walk back: write dx, turn dh from the final state to the initial one, add to dw_ih, dw_hh and dbias.

    With reset_after dbias has a fourth part, the gradient of b_hn.
    """
    cdef walk w = plan(gru_backward_rows, 3, states, x, w_ih, w_hh, lengths, reverse)
    w.reset_after = reset_after
    gradients(&w, w.gates + reset_after * w.hidden, dx, dh, dw_ih, dw_hh, dbias, dy)
    w.g = sequence("gates", gates, w.steps, w.batch, w.gates)
    w.of_h = sequence("of_h", of_h, w.steps, w.batch, w.hidden)
    run(&w, w_ih, w_hh, False)


# --- one step --------------------------------------------------------------------------------------------------------
cdef void set_rows(floating *out, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t out_row, const floating *bias,
                   bint add) noexcept nogil:
    """Set each row to the bias, 0 if there is none, or add it."""
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(n):
            out[i * out_row + j] = (out[i * out_row + j] if add else 0) + (0 if bias == NULL else bias[j])


cdef void add_product(const fnn_real *table, floating *out, const floating *x, const floating *w, Py_ssize_t rows,
                      Py_ssize_t n, Py_ssize_t depth, Py_ssize_t out_row) noexcept nogil:
    """Add x (rows, depth) @ w.T to out, w having n rows."""
    cdef Py_ssize_t i
    if rows >= FEW:
        table.matmul(out, out, x, w, rows, n, depth, out_row, out_row, depth, 1, depth)
    else:
        for i in range(rows):
            table.matvec(out + i * out_row, w, x + i * depth, n, depth, depth)


cdef int step_shapes(int gates, const floating[:, ::1] y, const floating[:, ::1] x, const floating[:, ::1] h,
                     const floating[:, ::1] w_ih, const floating[:, ::1] w_hh) except -1:
    cdef Py_ssize_t batch = h.shape[0], H = h.shape[1], inputs = x.shape[1]
    shape("y", y.shape[0], y.shape[1], batch, H)
    shape("x", x.shape[0], x.shape[1], batch, inputs)
    shape("w_ih", w_ih.shape[0], w_ih.shape[1], gates * H, inputs)
    shape("w_hh", w_hh.shape[0], w_hh.shape[1], gates * H, H)
    if not batch or not H:
        return 0
    check_aligned(sizeof(floating), &y[0, 0], &h[0, 0], &w_hh[0, 0])
    check_aligned(sizeof(floating), begin(x), begin(w_ih))
    return 1


def rnn_step(int op, floating[:, ::1] y, const floating[:, ::1] x, const floating[:, ::1] h,
             const floating[:, ::1] w_ih, const floating[:, ::1] w_hh, const floating[::1] b_ih,
             const floating[::1] b_hh):
    """Write the state after one step into y, which may not be one of the inputs."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef fnn_kernel *apply = function(table, op, 1)
    cdef Py_ssize_t batch = h.shape[0], H = h.shape[1]
    cdef const floating *first = <const floating *>vector("b_ih", b_ih, H)
    cdef const floating *second = <const floating *>vector("b_hh", b_hh, H)
    cdef const void *operands[1]
    if step_shapes(1, y, x, h, w_ih, w_hh):
        with nogil:
            set_rows(&y[0, 0], batch, H, H, first, False)
            set_rows(&y[0, 0], batch, H, H, second, True)
            add_product(table, &y[0, 0], begin(x), begin(w_ih), batch, H, x.shape[1], H)
            add_product(table, &y[0, 0], &h[0, 0], &w_hh[0, 0], batch, H, H, H)
            operands[0] = &y[0, 0]
            apply(&y[0, 0], operands, batch * H)


def lstm_step(floating[:, ::1] y, floating[:, ::1] c_new, floating[:, ::1] gates, const floating[:, ::1] x,
              const floating[:, ::1] h, const floating[:, ::1] c, const floating[:, ::1] w_ih,
              const floating[:, ::1] w_hh, const floating[::1] b_ih, const floating[::1] b_hh):
    """Write the state after one step into y and c_new, no inputs; `gates` are room for (B, 4 * H)."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t batch = h.shape[0], H = h.shape[1], G = 4 * H
    cdef const floating *first = <const floating *>vector("b_ih", b_ih, G)
    cdef const floating *second = <const floating *>vector("b_hh", b_hh, G)
    cdef Py_ssize_t *columns = [H, H, G, G, G, G, H]
    cdef floating *i
    cdef void *arrays[7]
    shape("c_new", c_new.shape[0], c_new.shape[1], batch, H)
    shape("gates", gates.shape[0], gates.shape[1], batch, G)
    shape("c", c.shape[0], c.shape[1], batch, H)
    if step_shapes(4, y, x, h, w_ih, w_hh):
        check_aligned(sizeof(floating), &c[0, 0], &c_new[0, 0], &gates[0, 0])
        with nogil:
            i = &gates[0, 0]
            set_rows(i, batch, G, G, first, False)
            set_rows(i, batch, G, G, second, True)
            add_product(table, i, begin(x), begin(w_ih), batch, G, x.shape[1], G)
            add_product(table, i, &h[0, 0], &w_hh[0, 0], batch, G, H, G)
            arrays = [&y[0, 0], &c_new[0, 0], i, i + H, i + 2 * H, i + 3 * H, <void *>&c[0, 0]]
            table.cells[FNN_lstm_cell](arrays, columns, batch, H)


def gru_step(floating[:, ::1] y, floating[:, ::1] gates, floating[:, ::1] of_h, const floating[:, ::1] x,
             const floating[:, ::1] h, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh,
             const floating[::1] b_ih, const floating[::1] b_hh, bint reset_after):
    """Write the state after one step into y, no input; `gates` are room for (B, 3 * H), `of_h` for (B, H)."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t batch = h.shape[0], H = h.shape[1], G = 3 * H, size = H * sizeof(floating)
    cdef const floating *first = <const floating *>vector("b_ih", b_ih, G)
    cdef const floating *second = <const floating *>vector("b_hh", b_hh, G)
    cdef floating *r
    cdef floating *m
    cdef char *before
    shape("gates", gates.shape[0], gates.shape[1], batch, G)
    shape("of_h", of_h.shape[0], of_h.shape[1], batch, H)
    if step_shapes(3, y, x, h, w_ih, w_hh):
        check_aligned(sizeof(floating), &gates[0, 0], &of_h[0, 0])
        with nogil:
            r, m, before = &gates[0, 0], &of_h[0, 0], <char *>&h[0, 0]
            set_rows(r, batch, G, G, first, False)
            set_rows(r, batch, 2 * H if reset_after else G, G, second, True)
            add_product(table, r, begin(x), begin(w_ih), batch, G, x.shape[1], G)
            add_product(table, r, &h[0, 0], &w_hh[0, 0], batch, 2 * H, H, G)
            if reset_after:
                if second != NULL:
                    second += 2 * H
                set_rows(m, batch, H, H, second, False)
                add_product(table, m, &h[0, 0], &w_hh[2 * H, 0], batch, H, H, H)
                gru_cell(table, <char *>&y[0, 0], <char *>r, <char *>m, before, size, batch, H)
            else:
                gru_reset_cell(table, <char *>m, <char *>r, before, batch, H)
                add_product(table, r + 2 * H, m, &w_hh[2 * H, 0], batch, H, H, G)
                gru_update_cell(table, <char *>&y[0, 0], <char *>r, before, size, batch, H)


# --- one step back ---------------------------------------------------------------------------------------------------
cdef struct back:
    # a step whose gates have their gradients in dg; `turned` and `zeros` are at work
    const fnn_real *table
    char *dg
    char *turned
    char *zeros
    Py_ssize_t batch, inputs, hidden, dgates, unit


cdef void *begin_back(back *b, const fnn_real *table, Py_ssize_t batch, Py_ssize_t inputs, Py_ssize_t hidden,
                      Py_ssize_t dgates, Py_ssize_t unit) except NULL:
    """Take the workspace, and return it."""
    cdef Py_ssize_t gates = batch * dgates * unit, widest = max(inputs, hidden) * unit
    cdef void *block = malloc(2 * gates + widest + 4 * 64)
    cdef char *space = <char *>((<size_t>block + 63) & ~<size_t>63)
    if block == NULL:
        raise MemoryError
    b.table, b.batch, b.inputs, b.hidden, b.dgates, b.unit = table, batch, inputs, hidden, dgates, unit
    b.dg, b.turned = take(&space, gates), take(&space, gates)
    b.zeros = <char *>memset(take(&space, widest), 0, widest)
    return block


cdef void pull(const back *b, char *out, bint add, Py_ssize_t gate, Py_ssize_t gates, const void *w,
               Py_ssize_t n) noexcept nogil:
    """Write the product of the gradients of some gates with their weights (gates, n) to out, or add it."""
    b.table.matmul(out, out if add else b.zeros, b.dg + gate * b.unit, w, b.batch, n, gates, n, n if add else 0,
                   b.dgates, n, 1)


cdef void weigh(const back *b, void *dw, Py_ssize_t gate, Py_ssize_t gates, const void *right,
                Py_ssize_t n) noexcept nogil:
    """Write the product of the gradients of some gates, turned over, with right (batch, n) to dw."""
    cdef const char *dg = b.dg + gate * b.unit
    cdef Py_ssize_t i
    if b.batch >= FEW:
        b.table.transpose(b.turned, dg, b.batch, gates, b.batch, b.dgates)
        b.table.matmul(dw, b.zeros, b.turned, right, gates, n, b.batch, n, 0, b.batch, n, 1)
        return
    for i in range(b.batch):
        b.table.matmul(dw, dw if i else b.zeros, dg + i * b.dgates * b.unit, <char *>right + i * n * b.unit, gates,
                       n, 1, n, n if i else 0, 1, n, 1)


cdef void total(const back *b, void *dbias) noexcept nogil:
    cdef Py_ssize_t i
    memset(dbias, 0, b.dgates * b.unit)
    for i in range(b.batch):
        b.table.accumulate(dbias, b.dg + i * b.dgates * b.unit, b.dgates)


cdef int back_shapes(int gates, floating[:, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dw_ih,
                     floating[:, ::1] dw_hh, floating[::1] dbias, Py_ssize_t parts, const floating[:, ::1] x,
                     const floating[:, ::1] h, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh) except -1:
    """Check what all cells have; return whether there is anything to do, after setting to 0 what would not be."""
    cdef int some = step_shapes(gates, dh, x, h, w_ih, w_hh)
    shape("dx", dx.shape[0], dx.shape[1], x.shape[0], x.shape[1])
    shape("dw_ih", dw_ih.shape[0], dw_ih.shape[1], w_ih.shape[0], w_ih.shape[1])
    shape("dw_hh", dw_hh.shape[0], dw_hh.shape[1], w_hh.shape[0], w_hh.shape[1])
    shape("dbias", dbias.shape[0], 1, parts * h.shape[1], 1)
    if not some:
        dx[:] = 0
        dw_ih[:] = 0
        dw_hh[:] = 0
        dbias[:] = 0
    return some


def rnn_step_backward(int op, floating[:, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dw_ih, floating[:, ::1] dw_hh,
                      floating[::1] dbias, const floating[:, ::1] y, const floating[:, ::1] x,
                      const floating[:, ::1] h, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh):
    """Turn dh from the state after the step to that before, and write the other gradients."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef fnn_kernel *apply = function(table, op, 2)
    cdef Py_ssize_t H = h.shape[1], inputs = x.shape[1]
    cdef const void *operands[2]
    cdef back b
    shape("y", y.shape[0], y.shape[1], h.shape[0], H)
    if not back_shapes(1, dx, dh, dw_ih, dw_hh, dbias, 1, x, h, w_ih, w_hh):
        return
    cdef void *block = begin_back(&b, table, h.shape[0], inputs, H, H, sizeof(floating))
    with nogil:
        operands[0], operands[1] = &dh[0, 0], &y[0, 0]
        apply(b.dg, operands, b.batch * H)
        pull(&b, <char *>begin(dx), False, 0, H, begin(w_ih), inputs)
        pull(&b, <char *>&dh[0, 0], False, 0, H, &w_hh[0, 0], H)
        weigh(&b, begin(dw_ih), 0, H, begin(x), inputs)
        weigh(&b, &dw_hh[0, 0], 0, H, &h[0, 0], H)
        total(&b, &dbias[0])
        free(block)


def lstm_step_backward(floating[:, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dc, floating[:, ::1] dw_ih,
                       floating[:, ::1] dw_hh, floating[::1] dbias, const floating[:, ::1] c_new,
                       const floating[:, ::1] gates, const floating[:, ::1] x, const floating[:, ::1] h,
                       const floating[:, ::1] c, const floating[:, ::1] w_ih, const floating[:, ::1] w_hh):
    """Turn dh and dc from the states after the step to those before, and write the other gradients."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t batch = h.shape[0], H = h.shape[1], inputs = x.shape[1], G = 4 * H, size = H * sizeof(floating)
    cdef Py_ssize_t *columns = [G, G, G, G, H, H, G, G, G, G, H, H]
    cdef char *i
    cdef void *arrays[12]
    cdef back b
    shape("dc", dc.shape[0], dc.shape[1], batch, H)
    shape("c_new", c_new.shape[0], c_new.shape[1], batch, H)
    shape("c", c.shape[0], c.shape[1], batch, H)
    shape("gates", gates.shape[0], gates.shape[1], batch, G)
    if not back_shapes(4, dx, dh, dw_ih, dw_hh, dbias, 4, x, h, w_ih, w_hh):
        return
    cdef void *block = begin_back(&b, table, batch, inputs, H, G, sizeof(floating))
    with nogil:
        i = <char *>&gates[0, 0]
        arrays = [b.dg, b.dg + size, b.dg + 2 * size, b.dg + 3 * size, &dc[0, 0], &dh[0, 0], i, i + size, i + 2 * size,
                  i + 3 * size, <void *>&c_new[0, 0], <void *>&c[0, 0]]
        table.cells[FNN_lstm_backward_cell](arrays, columns, batch, H)
        pull(&b, <char *>begin(dx), False, 0, G, begin(w_ih), inputs)
        pull(&b, <char *>&dh[0, 0], False, 0, G, &w_hh[0, 0], H)
        weigh(&b, begin(dw_ih), 0, G, begin(x), inputs)
        weigh(&b, &dw_hh[0, 0], 0, G, &h[0, 0], H)
        total(&b, &dbias[0])
        free(block)


def gru_step_backward(floating[:, ::1] dx, floating[:, ::1] dh, floating[:, ::1] dw_ih, floating[:, ::1] dw_hh,
                      floating[::1] dbias, const floating[:, ::1] gates, const floating[:, ::1] of_h,
                      const floating[:, ::1] x, const floating[:, ::1] h, const floating[:, ::1] w_ih,
                      const floating[:, ::1] w_hh, bint reset_after):
    """Turn dh from the state after the step to that before, and write the other gradients.

    With reset_after dbias has a fourth part, the gradient of b_hn.
    """
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t batch = h.shape[0], H = h.shape[1], inputs = x.shape[1], G = 3 * H, D = G + reset_after * H
    cdef Py_ssize_t size = H * sizeof(floating)
    cdef Py_ssize_t *after_columns = [D, D, D, D, H, G, G, G, H, H]
    cdef Py_ssize_t *update_columns = [D, D, H, G, G, H]
    cdef Py_ssize_t *reset_columns = [D, H, H, G, H]
    cdef char *r
    cdef char *dr
    cdef char *m
    cdef char *before
    cdef char *dof_h
    cdef void *arrays[10]
    cdef back b
    shape("gates", gates.shape[0], gates.shape[1], batch, G)
    shape("of_h", of_h.shape[0], of_h.shape[1], batch, H)
    if not back_shapes(3, dx, dh, dw_ih, dw_hh, dbias, 3 + reset_after, x, h, w_ih, w_hh):
        return
    cdef void *block = begin_back(&b, table, batch, inputs, H, D, sizeof(floating))
    with nogil:
        r, m, before, dr = <char *>&gates[0, 0], <char *>&of_h[0, 0], <char *>&h[0, 0], b.dg
        if reset_after:
            arrays = [dr, dr + size, dr + 2 * size, dr + 3 * size, &dh[0, 0], r, r + size, r + 2 * size, m, before]
            table.cells[FNN_gru_backward_cell](arrays, after_columns, batch, H)
            weigh(&b, &dw_hh[2 * H, 0], G, H, before, H)
        else:
            dof_h = b.turned  # weigh comes later
            arrays[:6] = [dr + size, dr + 2 * size, &dh[0, 0], r + size, r + 2 * size, before]
            table.cells[FNN_gru_update_backward_cell](arrays, update_columns, batch, H)
            pull(&b, dof_h, False, 2 * H, H, &w_hh[2 * H, 0], H)
            arrays[:5] = [dr, &dh[0, 0], dof_h, r, before]
            table.cells[FNN_gru_reset_backward_cell](arrays, reset_columns, batch, H)
            weigh(&b, &dw_hh[2 * H, 0], 2 * H, H, m, H)
        pull(&b, <char *>begin(dx), False, 0, G, begin(w_ih), inputs)
        pull(&b, <char *>&dh[0, 0], True, 0, 2 * H, &w_hh[0, 0], H)
        if reset_after:
            pull(&b, <char *>&dh[0, 0], True, G, H, &w_hh[2 * H, 0], H)
        weigh(&b, begin(dw_ih), 0, G, begin(x), inputs)
        weigh(&b, &dw_hh[0, 0], 0, 2 * H, before, H)
        total(&b, &dbias[0])
        free(block)


# --- streams ---------------------------------------------------------------------------------------------------------
cdef struct stage:
    packed w, w_in, w_hn  # the weights of (x, h), in gru of r and z; in gru of n those of x and of h
    const char *bias
    char *h
    char *c
    Py_ssize_t inputs


@cython.auto_pickle(False)
cdef class Stream:
    """Layers that run one step a call; a subclass has `_prepare(x)`, which makes of any x one that a step can read."""
    cdef const fnn_real *table
    cdef fnn_kernel *function
    cdef stage *stages
    cdef void *block
    cdef char *a  # rows (x, h) of the layer at work
    cdef char *g
    cdef char *of_h
    cdef char *out
    cdef Py_ssize_t layers, batch, inputs, hidden, gates, unit
    cdef int type
    cdef bint residual, reset_after, large
    cdef object y, kept

    def __dealloc__(self):
        free(self.stages)
        free(self.block)

    def __call__(self, x):
        """Write the output after one more step into the stream's array, and return that."""
        cdef const char *start
        if self.stages == NULL:
            raise ValueError("stream is empty")
        if not (cnp.PyArray_Check(x) and cnp.PyArray_TYPE(x) == self.type and cnp.PyArray_ISCARRAY_RO(x)
                and cnp.PyArray_NDIM(x) == 2 and cnp.PyArray_DIM(x, 0) == self.batch
                and cnp.PyArray_DIM(x, 1) == self.inputs):
            x = self._prepare(x)
        start = <const char *>cnp.PyArray_DATA(x)
        if self.large:
            with nogil:
                self.step(start)
        else:
            self.step(start)
        return self.y

    cdef void step(self, const char *x) noexcept nogil:
        cdef Py_ssize_t row = self.hidden * self.unit, width, k, i
        cdef stage *s
        for k in range(self.layers):
            s = &self.stages[k]
            width = s.inputs * self.unit
            for i in range(self.batch):
                memcpy(self.a + i * (width + row), x + i * width, width)
                memcpy(self.a + i * (width + row) + width, s.h + i * row, row)
            if self.gates == 1:
                self.rnn(s)
            elif self.gates == 3:
                self.gru(s)
            else:
                self.lstm(s)
            if self.residual and k:
                self.table.accumulate(self.out, s.h, self.batch * self.hidden)
            else:
                memcpy(self.out, s.h, self.batch * row)
            x = self.out

    cdef void rnn(self, stage *s) noexcept nogil:
        cdef Py_ssize_t H = self.hidden
        cdef const void *operands[1]
        operands[0] = s.h
        multiply_packed(&s.w, s.h, H, s.bias, 0, self.a, s.inputs + H, self.batch)
        self.function(s.h, operands, self.batch * H)

    cdef void lstm(self, stage *s) noexcept nogil:
        cdef Py_ssize_t H = self.hidden, G = 4 * H, size = H * self.unit
        cdef Py_ssize_t *columns = [H, H, G, G, G, G, H]
        cdef char *i = self.g
        cdef char **arrays = [s.h, s.c, i, i + size, i + 2 * size, i + 3 * size, s.c]
        multiply_packed(&s.w, i, G, s.bias, 0, self.a, s.inputs + H, self.batch)
        self.table.cells[FNN_lstm_cell](<void **>arrays, columns, self.batch, H)

    cdef void gru(self, stage *s) noexcept nogil:
        cdef Py_ssize_t H = self.hidden, G = 3 * H, depth = s.inputs + H, size = H * self.unit, rows = self.batch
        cdef char *r = self.g
        cdef char *n = r + 2 * size
        multiply_packed(&s.w, r, G, s.bias, 0, self.a, depth, rows)
        multiply_packed(&s.w_in, n, G, s.bias + 2 * size, 0, self.a, depth, rows)
        if self.reset_after:
            multiply_packed(&s.w_hn, self.of_h, H, s.bias + 3 * size, 0, self.a + s.inputs * self.unit, depth, rows)
            gru_cell(self.table, s.h, r, self.of_h, s.h, size, rows, H)
        else:
            gru_reset_cell(self.table, self.of_h, r, s.h, rows, H)
            multiply_packed(&s.w_hn, n, G, n, G, self.of_h, H, rows)
            gru_update_cell(self.table, s.h, r, s.h, size, rows, H)


cdef char *pack_part(packed *p, Stream stream, const char *w, Py_ssize_t depth, Py_ssize_t n, Py_ssize_t row,
                     char *space) noexcept:
    """Pack n rows of weights, `depth` numbers of each, `row` apart; return where the rest of the space begins."""
    p.table, p.unit, p.depth, p.n, p.rows = stream.table, stream.unit, depth, n, stream.batch
    p.panels = take(&space, packed_size(depth, n) * p.unit)
    pack(p, w, 1, row)
    return space


cdef int fill(Stream stream, int gates, int parts, floating[:, ::1] y, floating[:, :, ::1] h, list layers,
              bint residual) except -1:
    """Give a new stream its output, its state, and its weights: for each layer w (gates * H, I + H) and a bias."""
    cdef Py_ssize_t batch = h.shape[1], H = h.shape[2], unit = sizeof(floating)
    cdef Py_ssize_t main = 2 * H if gates == 3 else gates * H, size = 0, work = 0, widest = 0, depth, k
    cdef const floating[:, ::1] w
    cdef const floating[::1] bias
    cdef stage *s
    cdef char *space
    if stream.stages != NULL or batch == 0 or H == 0 or not layers or len(layers) != h.shape[0]:
        raise ValueError(f"h has shape ({h.shape[0]}, {batch}, {H}), expected ({len(layers)}, B, H), none of them 0, "
                         "and a new stream")
    shape("y", y.shape[0], y.shape[1], batch, H)
    for w, bias in layers:
        depth = w.shape[1] if size == 0 else 2 * H
        shape("w", w.shape[0], w.shape[1], gates * H, max(depth, H + 1))
        vector("bias", bias, parts * H)
        widest = max(widest, depth)
        work += batch * gates * H * depth
        size += packed_size(depth, main) + (packed_size(depth, H) + packed_size(H, H) if gates == 3 else 0)
        size += parts * H + 4 * 16
    stream.stages = <stage *>calloc(len(layers), sizeof(stage))
    stream.block = malloc((size + batch * (widest + gates * H + H)) * unit + 4 * 64)
    if stream.stages == NULL or stream.block == NULL:
        raise MemoryError
    stream.table = &active[0].f32 if floating is float else &active[0].f64
    stream.type = cnp.NPY_FLOAT if floating is float else cnp.NPY_DOUBLE
    stream.batch, stream.hidden, stream.gates, stream.unit = batch, H, gates, unit
    stream.residual, stream.out, stream.y, stream.kept = residual, <char *>&y[0, 0], y.base, h.base
    space = <char *>((<size_t>stream.block + 63) & ~<size_t>63)
    stream.a = take(&space, batch * widest * unit)
    stream.g = take(&space, batch * gates * H * unit)
    stream.of_h = take(&space, batch * H * unit)
    for k, (w, bias) in enumerate(layers):
        s, depth = &stream.stages[k], w.shape[1]
        s.inputs, s.h = depth - H, <char *>&h[k, 0, 0]
        s.bias = <const char *>memcpy(take(&space, parts * H * unit), &bias[0], parts * H * unit)
        space = pack_part(&s.w, stream, <const char *>&w[0, 0], depth, main, depth, space)
        if gates == 3:
            space = pack_part(&s.w_in, stream, <const char *>&w[main, 0], s.inputs, H, depth, space)
            space = pack_part(&s.w_hn, stream, <const char *>&w[main, s.inputs], H, H, depth, space)
    stream.large = work >= LARGE
    stream.inputs, stream.layers = stream.stages[0].inputs, len(layers)
    return 0


def rnn_stream(Stream stream, floating[:, ::1] y, floating[:, :, ::1] h, list layers, bint residual, int op):
    """Make a new stream one of plain layers; it writes to y and h."""
    stream.function = function(&active[0].f32 if floating is float else &active[0].f64, op, 1)
    fill(stream, 1, 1, y, h, layers, residual)


def lstm_stream(Stream stream, floating[:, ::1] y, floating[:, :, ::1] h, floating[:, :, ::1] c, list layers,
                bint residual):
    """Make a new stream one of long short-term memory; it writes to y, h and c."""
    cdef char *cells = sequence("c", c, h.shape[0], h.shape[1], h.shape[2])
    cdef Py_ssize_t k
    fill(stream, 4, 4, y, h, layers, residual)
    stream.kept = h.base, c.base
    for k in range(stream.layers):
        stream.stages[k].c = cells + k * stream.batch * stream.hidden * stream.unit


def gru_stream(Stream stream, floating[:, ::1] y, floating[:, :, ::1] h, list layers, bint residual,
               bint reset_after):
    """Make a new stream one of gated recurrent units; it writes to y and h. The last part of a bias is b_hn."""
    fill(stream, 3, 4, y, h, layers, residual)
    stream.reset_after = reset_after
