# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=True
"""Recurrent cells over typed memoryviews: one step, and the walk over time, forwards and back.

a) States stand in one array (T + 1, B, H). Walking forwards slot 0 is the initial state and slot t + 1 the one after
   step t; in reverse slot T is the initial one and slot t the one after step t. So y and the states before each step
   are views of it, and no step copies anything.
b) What the inputs add to each step is computed for all steps at once, before the walk and straight into the slots;
   the walk adds the product with the last state and applies the function. The weights are packed once a walk.
c) A row past its length carries its state: nothing is skipped, the row is put back.
"""
from cython cimport floating
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastnn._kernels.cpu cimport active, ops
from fastnn._kernels.fastnn cimport FNN_N_OPS, fnn_kernel, fnn_pack_workspace, fnn_real

cdef enum:
    FEW = 4  # rows of a step from which on packing pays

cdef struct walk:
    const fnn_real *table
    fnn_kernel *function
    char *states
    const char *panels
    const int64_t *lengths
    bint reverse
    Py_ssize_t steps, batch, hidden, unit


cdef void forward_rows(walk *w, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t H = w.hidden, row = H * w.unit, slot = w.batch * row, step, t, i
    cdef const char *before
    cdef char *after
    cdef const void *operands[1]
    for step in range(w.steps):
        t = w.steps - 1 - step if w.reverse else step
        before = w.states + (t + w.reverse) * slot + first * row
        after = w.states + (t + 1 - w.reverse) * slot + first * row
        w.table.product(after, after, before, w.panels, rows, H, H, H, H, H)
        operands[0] = after
        w.function(after, operands, rows * H)
        if w.lengths != NULL:
            for i in range(rows):
                if t >= w.lengths[first + i]:
                    memcpy(after + i * row, before + i * row, row)


cdef void backward_rows(walk *w, char *dpre, char *dstate, const char *dy, char *space, Py_ssize_t first,
                        Py_ssize_t rows) noexcept nogil:
    """`dstate` holds the gradient of the final state, then that of the initial one; `space` two blocks and a row."""
    cdef Py_ssize_t H = w.hidden, row = H * w.unit, slot = w.batch * row, step, t, i
    cdef char *dh = space
    cdef char *dbefore = space + rows * row
    cdef char *zeros = space + 2 * rows * row
    cdef const char *dy_before
    cdef char *at
    cdef const void *operands[2]
    memset(zeros, 0, row)
    memcpy(dh, dstate + first * row, rows * row)
    if dy != NULL:
        w.table.accumulate(dh, dy + (0 if w.reverse else w.steps - 1) * slot + first * row, rows * H)
    for step in range(w.steps):
        t = step if w.reverse else w.steps - 1 - step
        at = dpre + t * slot + first * row
        operands[0], operands[1] = dh, w.states + (t + 1 - w.reverse) * slot + first * row
        w.function(at, operands, rows * H)
        if w.lengths != NULL:
            for i in range(rows):
                if t >= w.lengths[first + i]:
                    memset(at + i * row, 0, row)
        if dy == NULL or step == w.steps - 1:
            w.table.product(dbefore, zeros, at, w.panels, rows, H, H, H, 0, H)
        else:
            dy_before = dy + (t + 1 if w.reverse else t - 1) * slot + first * row
            w.table.product(dbefore, dy_before, at, w.panels, rows, H, H, H, H, H)
        if w.lengths != NULL:
            for i in range(rows):
                if t >= w.lengths[first + i]:
                    w.table.accumulate(dbefore + i * row, dh + i * row, H)
        dh, dbefore = dbefore, dh
    memcpy(dstate + first * row, dh, rows * row)


cdef inline int shape(str name, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t m, Py_ssize_t n) except -1:
    if rows != m or columns != n:
        raise ValueError(f"{name} has shape ({rows}, {columns}), expected ({m}, {n})")
    return 0


cdef fnn_kernel *function(const fnn_real *table, int op, int n_in) except NULL:
    if op < 0 or op >= FNN_N_OPS or ops[op].n_in != n_in:
        raise ValueError(f"operation {op} does not take {n_in} arrays")
    return table.elementwise[op]


cdef walk plan(int op, int n_in, const floating[:, :, ::1] states, const floating[:, ::1] w_hh,
               const int64_t[::1] lengths, bint reverse) except *:
    cdef walk w
    cdef Py_ssize_t batch = states.shape[1], H = states.shape[2]
    w.table = &active[0].f32 if floating is float else &active[0].f64
    w.function = function(w.table, op, n_in)
    shape("w_hh", w_hh.shape[0], w_hh.shape[1], H, H)
    if states.shape[0] == 0:
        raise ValueError("states have no slot for the initial state")
    if lengths is not None and lengths.shape[0] != batch:
        raise ValueError(f"lengths have shape ({lengths.shape[0]},), expected ({batch},)")
    w.states = <char *>&states[0, 0, 0]
    w.lengths = NULL
    if lengths is not None:
        w.lengths = &lengths[0]
    w.reverse, w.steps, w.batch, w.hidden, w.unit = reverse, states.shape[0] - 1, batch, H, sizeof(floating)
    return w


cdef char *workspace(Py_ssize_t size, void **block) except NULL:
    """Return room for as many bytes, on a multiple of 64, within a block for free()."""
    block[0] = malloc(size + 63)
    if block[0] == NULL:
        raise MemoryError
    return <char *>((<size_t>block[0] + 63) & ~<size_t>63)


def rnn_forward(int op, floating[:, :, ::1] states, const floating[:, ::1] w_hh, const int64_t[::1] lengths,
                bint reverse):
    """Walk over time: `states` hold the initial state and, in the slots of the others, what the inputs add."""
    cdef walk w = plan(op, 1, states, w_hh, lengths, reverse)
    cdef Py_ssize_t H = w.hidden
    cdef void *block = NULL
    if w.steps == 0 or w.batch == 0 or H == 0:
        return
    w.panels = workspace(fnn_pack_workspace(H, H) * w.unit, &block)
    with nogil:
        w.table.pack(<void *>w.panels, &w_hh[0, 0], H, H, 1, H)
        forward_rows(&w, 0, w.batch)
        free(block)


def rnn_backward(int op, floating[:, :, ::1] dpre, floating[:, ::1] dh, const floating[:, :, ::1] dy,
                 const floating[:, :, ::1] states, const floating[:, ::1] w_hh, const int64_t[::1] lengths,
                 bint reverse):
    """Walk back: write the gradient before the function of every step, and turn dh from the final to the initial.

    dy is 0 past the lengths, or None.
    """
    cdef walk w = plan(op, 2, states, w_hh, lengths, reverse)
    cdef Py_ssize_t H = w.hidden, panels
    cdef const char *dy_data = NULL
    cdef void *block = NULL
    shape("dh", dh.shape[0], dh.shape[1], w.batch, H)
    shape("dpre", dpre.shape[0] * dpre.shape[1], dpre.shape[2], w.steps * w.batch, H)
    if dy is not None:
        shape("dy", dy.shape[0] * dy.shape[1], dy.shape[2], w.steps * w.batch, H)
        dy_data = <const char *>&dy[0, 0, 0]
    if w.steps == 0 or w.batch == 0 or H == 0:
        return
    panels = fnn_pack_workspace(H, H) * w.unit
    w.panels = workspace(panels + (2 * w.batch + 1) * H * w.unit, &block)
    with nogil:
        w.table.pack(<void *>w.panels, &w_hh[0, 0], H, H, H, 1)
        backward_rows(&w, <char *>&dpre[0, 0, 0], <char *>&dh[0, 0], dy_data, <char *>w.panels + panels, 0, w.batch)
        free(block)


def rnn_step(int op, floating[:, ::1] out, const floating[:, ::1] x, const floating[:, ::1] h,
             const floating[:, ::1] w_ih, const floating[:, ::1] w_hh, const floating[::1] b_ih,
             const floating[::1] b_hh):
    """Write the state after one step into out, which may not be one of the inputs."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef fnn_kernel *apply = function(table, op, 1)
    cdef Py_ssize_t batch = h.shape[0], H = h.shape[1], inputs = x.shape[1], i, j
    cdef const void *operands[1]
    shape("out", out.shape[0], out.shape[1], batch, H)
    shape("x", x.shape[0], x.shape[1], batch, inputs)
    shape("w_ih", w_ih.shape[0], w_ih.shape[1], H, inputs)
    shape("w_hh", w_hh.shape[0], w_hh.shape[1], H, H)
    if b_ih is not None:
        shape("b_ih", b_ih.shape[0], 1, H, 1)
    if b_hh is not None:
        shape("b_hh", b_hh.shape[0], 1, H, 1)
    if batch == 0 or H == 0:
        return
    with nogil:
        for j in range(H):
            out[0, j] = (0 if b_ih is None else b_ih[j]) + (0 if b_hh is None else b_hh[j])
        for i in range(1, batch):
            memcpy(&out[i, 0], &out[0, 0], H * sizeof(floating))
        if batch < FEW:
            for i in range(batch):
                table.matvec(&out[i, 0], &w_ih[0, 0], &x[i, 0], H, inputs, inputs)
                table.matvec(&out[i, 0], &w_hh[0, 0], &h[i, 0], H, H, H)
        else:
            table.matmul(&out[0, 0], &out[0, 0], &x[0, 0], &w_ih[0, 0], batch, H, inputs, H, H, inputs, 1, inputs)
            table.matmul(&out[0, 0], &out[0, 0], &h[0, 0], &w_hh[0, 0], batch, H, H, H, H, H, 1, H)
        operands[0] = &out[0, 0]
        apply(&out[0, 0], operands, batch * H)
