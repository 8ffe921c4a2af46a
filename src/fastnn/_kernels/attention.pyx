"""Attention over typed memoryviews: query (T, B, Q), keys (S, B, K), values (S, B, V), time first.

a) Each sequence of the batch, or a few of them, are a task. It works on the first `length` keys and values of each
   alone: what stands after them is never read, and costs nothing.
b) The scores are -inf past the lengths: there the softmax makes them 0, and so all of a row that is wholly -inf.
   A NaN goes through the whole row, so that they are set to 0 once more.
c) From FEW queries on the products are those of matrices, and the softmax of all sequences is taken at once; fewer
   take the keys and values as they lie, and go through all steps while some sequences are in the cache.
d) With v the score is additive; query and keys are then the projected ones.
"""
from cython cimport floating
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport FNN_softmax, FNN_softmax_backward, fnn_real, fnn_task

cdef enum:
    FEW = 4
    TOGETHER = 8  # small sequences that go through all steps before the next, so that the softmax takes several
    PARALLEL = 1 << 23  # multiply-adds from which on waking a thread pays
    TANH = 16           # of them for a term of an additive score
    SOFTMAX = 64        # and for one of a softmax

cdef struct rows:  # at [t, b] n numbers in a row
    char *at
    Py_ssize_t step, batch, n  # how many numbers lead to the next t, to the next b

cdef struct job:
    const fnn_real *table
    Py_ssize_t unit, targets, sources, batch, together
    const int64_t *lengths
    double scale
    const char *v
    char *dv
    char *zeros
    char *turned
    rows query, keys, values, context, weights, dscores, dquery, dkeys, dvalues, dcontext


cdef rows rows_of(str name, const floating[:, :, :] x, Py_ssize_t steps, Py_ssize_t batch, Py_ssize_t n) except *:
    """Check the shape, -1 being any, and that the last axis lies densely."""
    cdef rows r
    cdef Py_ssize_t unit = sizeof(floating)
    if x.shape[0] != steps or x.shape[1] != batch or x.shape[2] != n:
        raise ValueError(f"{name} has shape {tuple(x.shape)[:3]}, expected {(steps, batch, n)}")
    if n > 1 and x.strides[2] != unit or x.strides[0] % unit or x.strides[1] % unit:
        raise ValueError(f"{name} does not lie densely along its last axis")
    r.at = <char *>&x[0, 0, 0] if steps and batch and n else NULL
    r.step, r.batch, r.n = x.strides[0] // unit, x.strides[1] // unit, n
    return r


cdef inline char *row(const job *j, const rows *x, Py_ssize_t t, Py_ssize_t b) noexcept nogil:
    return x.at + (t * x.step + b * x.batch) * j.unit


cdef inline void scale_row(const job *j, char *x, Py_ssize_t n, double scale) noexcept nogil:
    cdef Py_ssize_t k
    if scale == 1:
        return
    if j.unit == sizeof(float):
        for k in range(n):
            (<float *>x)[k] *= <float>scale
    else:
        for k in range(n):
            (<double *>x)[k] *= scale


cdef inline void clear(char *x, Py_ssize_t size) noexcept nogil:
    """Set so many bytes to 0; of none x may be NULL, which memset does not allow."""
    if size:
        memset(x, 0, size)


cdef inline void fill_row(const job *j, char *x, Py_ssize_t start, Py_ssize_t end, double value) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(start, end):
        if j.unit == sizeof(float):
            (<float *>x)[k] = <float>value
        else:
            (<double *>x)[k] = value


# --- the three products of a sequence: n is its length ---------------------------------------------------------------
cdef void add_dots(const job *j, const rows *out, const rows *left, const rows *right, Py_ssize_t b,
                   Py_ssize_t n) noexcept nogil:
    """out[t, s] += left[t] @ right[s]"""
    cdef char *to = row(j, out, 0, b)
    cdef Py_ssize_t t
    if j.targets >= FEW:
        j.table.matmul(to, to, row(j, left, 0, b), row(j, right, 0, b), j.targets, n, left.n, out.step, out.step,
                       left.step, 1, right.step)
        return
    for t in range(j.targets):
        j.table.matvec(row(j, out, t, b), row(j, right, 0, b), row(j, left, t, b), n, left.n, right.step)


cdef void mix(const job *j, const rows *out, const rows *left, const rows *right, Py_ssize_t b,
              Py_ssize_t n) noexcept nogil:
    """out[t] = sum(left[t, s] * right[s])"""
    cdef Py_ssize_t t
    if j.targets >= FEW:
        j.table.matmul(row(j, out, 0, b), j.zeros, row(j, left, 0, b), row(j, right, 0, b), j.targets, right.n, n,
                       out.step, 0, left.step, right.step, 1)
        return
    for t in range(j.targets):
        j.table.weighted_rows(row(j, out, t, b), row(j, left, t, b), row(j, right, 0, b), n, right.step, right.n)


cdef void mix_back(const job *j, const rows *out, const rows *left, const rows *right, Py_ssize_t b,
                   Py_ssize_t n) noexcept nogil:
    """out[s] = sum(left[t, s] * right[t]), and 0 past the length"""
    cdef char *turned = row(j, left, 0, b)
    cdef Py_ssize_t s, targets = j.targets
    if targets > 1:
        turned = j.turned + b * targets * j.sources * j.unit
        j.table.transpose(turned, row(j, left, 0, b), targets, n, targets, left.step)
    if targets >= FEW:
        j.table.matmul(row(j, out, 0, b), j.zeros, turned, row(j, right, 0, b), n, right.n, targets, out.step, 0,
                       targets, right.step, 1)
    else:
        for s in range(n):
            j.table.weighted_rows(row(j, out, s, b), turned + s * targets * j.unit, row(j, right, 0, b), targets,
                                  right.step, right.n)
    for s in range(n, j.sources):
        clear(row(j, out, s, b), out.n * j.unit)


# --- the tasks -------------------------------------------------------------------------------------------------------
cdef void score(void *context, Py_ssize_t b) noexcept nogil:
    cdef const job *j = <const job *>context
    cdef Py_ssize_t n = j.lengths[b], t
    cdef char *to
    if j.v == NULL:
        for t in range(j.targets):
            clear(row(j, &j.weights, t, b), n * j.unit)
        add_dots(j, &j.weights, &j.query, &j.keys, b, n)
    for t in range(j.targets):
        to = row(j, &j.weights, t, b)
        if j.v != NULL:
            j.table.additive_scores(to, row(j, &j.query, t, b), j.v, row(j, &j.keys, 0, b), n, j.keys.step, j.keys.n)
        scale_row(j, to, n, j.scale)
        fill_row(j, to, n, j.sources, -INFINITY)


cdef void softmax_rows(const job *j, Py_ssize_t t, Py_ssize_t b, Py_ssize_t count) noexcept nogil:
    cdef const void *inputs[1]
    inputs[0] = row(j, &j.weights, t, b)
    if j.sources:
        j.table.rows[FNN_softmax](<void *>inputs[0], inputs, count, j.sources)


cdef void softmax(void *context, Py_ssize_t t) noexcept nogil:
    softmax_rows(<const job *>context, t, 0, (<const job *>context).batch)


cdef void summarize(void *context, Py_ssize_t b) noexcept nogil:
    cdef const job *j = <const job *>context
    cdef Py_ssize_t n = j.lengths[b], t
    for t in range(j.targets):
        fill_row(j, row(j, &j.weights, t, b), n, j.sources, 0)
    mix(j, &j.context, &j.weights, &j.values, b, n)


cdef void attend(void *context, Py_ssize_t part) noexcept nogil:
    cdef const job *j = <const job *>context
    cdef Py_ssize_t first = part * j.together, end = min(first + j.together, j.batch), b, t
    for b in range(first, end):
        score(context, b)
    for t in range(j.targets):
        softmax_rows(j, t, first, end - first)
    for b in range(first, end):
        summarize(context, b)


cdef void weights_backward(void *context, Py_ssize_t b) noexcept nogil:
    cdef const job *j = <const job *>context
    cdef Py_ssize_t t
    add_dots(j, &j.dscores, &j.dcontext, &j.values, b, j.lengths[b])
    for t in range(j.targets):
        fill_row(j, row(j, &j.dscores, t, b), j.lengths[b], j.sources, 0)
    mix_back(j, &j.dvalues, &j.weights, &j.dcontext, b, j.lengths[b])


cdef void softmax_rows_backward(const job *j, Py_ssize_t t, Py_ssize_t b, Py_ssize_t count) noexcept nogil:
    cdef const void *inputs[2]
    inputs[0], inputs[1] = row(j, &j.dscores, t, b), row(j, &j.weights, t, b)
    if j.sources:
        j.table.rows[FNN_softmax_backward](<void *>inputs[0], inputs, count, j.sources)


cdef void softmax_backward(void *context, Py_ssize_t t) noexcept nogil:
    softmax_rows_backward(<const job *>context, t, 0, (<const job *>context).batch)


cdef void scores_backward(void *context, Py_ssize_t b) noexcept nogil:
    cdef const job *j = <const job *>context
    cdef Py_ssize_t n = j.lengths[b], t, s
    for t in range(j.targets):
        scale_row(j, row(j, &j.dscores, t, b), n, j.scale)
    if j.v == NULL:
        mix(j, &j.dquery, &j.dscores, &j.keys, b, n)
        mix_back(j, &j.dkeys, &j.dscores, &j.query, b, n)
        return
    for s in range(j.sources):
        clear(row(j, &j.dkeys, s, b), j.dkeys.n * j.unit)
    for t in range(j.targets):
        j.table.additive_backward(
            row(j, &j.dquery, t, b), row(j, &j.dkeys, 0, b), j.dv + b * j.keys.n * j.unit, row(j, &j.dscores, t, b),
            row(j, &j.query, t, b), j.v, row(j, &j.keys, 0, b), n, j.dkeys.step, j.keys.step, j.keys.n)


cdef void attend_backward(void *context, Py_ssize_t part) noexcept nogil:
    cdef const job *j = <const job *>context
    cdef Py_ssize_t first = part * j.together, end = min(first + j.together, j.batch), b, t
    for b in range(first, end):
        weights_backward(context, b)
    for t in range(j.targets):
        softmax_rows_backward(j, t, first, end - first)
    for b in range(first, end):
        scores_backward(context, b)


cdef inline bint large(const job *j, Py_ssize_t work) noexcept nogil:
    return j.targets * j.sources * j.batch * work >= PARALLEL


cdef void run(fnn_task *task, job *j, Py_ssize_t items, Py_ssize_t work) noexcept nogil:
    """Run the items, which take `work` multiply-adds a pair of target and source."""
    cdef Py_ssize_t item
    if large(j, work):
        parallel(task, j, items)
    else:
        for item in range(items):
            task(j, item)


cdef void run_together(fnn_task *task, job *j, Py_ssize_t work) noexcept nogil:
    """Run tasks of several sequences, or of one where threads share them."""
    j.together = 1 if large(j, work) else TOGETHER
    run(task, j, (j.batch + j.together - 1) // j.together, work)


cdef job plan(const floating[:, :, :] query, const floating[:, :, :] keys, const floating[:, :, :] values,
              const floating[:, :, ::1] weights, const int64_t[::1] lengths, double scale,
              const floating[::1] v) except *:
    cdef job j
    cdef Py_ssize_t b
    j.table = &active[0].f32 if floating is float else &active[0].f64
    j.unit, j.targets, j.batch, j.sources = sizeof(floating), query.shape[0], query.shape[1], keys.shape[0]
    j.query = rows_of[floating]("query", query, j.targets, j.batch, query.shape[2])
    j.keys = rows_of[floating]("keys", keys, j.sources, j.batch, query.shape[2])
    j.values = rows_of[floating]("values", values, j.sources, j.batch, values.shape[2])
    j.weights = rows_of[floating]("weights", weights, j.targets, j.batch, j.sources)
    if v is not None and v.shape[0] != query.shape[2]:
        raise ValueError(f"v has length {v.shape[0]}, expected {query.shape[2]}")
    if lengths.shape[0] != j.batch:
        raise ValueError(f"lengths have length {lengths.shape[0]}, expected {j.batch}")
    for b in range(j.batch):
        if not 0 <= lengths[b] <= j.sources:
            raise ValueError(f"lengths hold {lengths[b]}, expected numbers from 0 to {j.sources}")
    j.lengths, j.scale = &lengths[0] if j.batch else NULL, scale
    j.v = <const char *>&v[0] if v is not None and v.shape[0] else NULL
    return j


def attention_forward(
    floating[:, :, ::1] context, floating[:, :, ::1] weights, const floating[:, :, :] query,
    const floating[:, :, :] keys, const floating[:, :, :] values, const int64_t[::1] lengths, double scale,
    const floating[::1] v,
):
    """Write the weights softmax(scale * score) and the context, the sums of the values that they weight."""
    cdef job j = plan[floating](query, keys, values, weights, lengths, scale, v)
    cdef Py_ssize_t of_scores = j.keys.n * (1 if j.v == NULL else TANH)
    j.context = rows_of[floating]("context", context, j.targets, j.batch, values.shape[2])
    j.zeros = <char *>calloc(values.shape[2] + 1, sizeof(floating))
    if j.zeros == NULL:
        raise MemoryError
    with nogil:
        if j.targets < FEW:
            run_together(attend, &j, of_scores + SOFTMAX + j.values.n)
        else:
            run(score, &j, j.batch, of_scores)
            run(softmax, &j, j.targets, SOFTMAX)
            run(summarize, &j, j.batch, j.values.n)
        free(j.zeros)


def attention_backward(
    floating[:, :, ::1] dquery, floating[:, :, ::1] dkeys, floating[:, :, ::1] dvalues, floating[:, ::1] dv,
    floating[:, :, ::1] dscores, const floating[:, :, ::1] dcontext, const floating[:, :, :] query,
    const floating[:, :, :] keys, const floating[:, :, :] values, const floating[:, :, ::1] weights,
    const int64_t[::1] lengths, double scale, const floating[::1] v,
):
    """Write the gradients; `dscores` enters as the weights' own gradient and ends as the scores'.

    dv, to be zeros at first, gets that of v for each sequence.
    """
    cdef job j = plan[floating](query, keys, values, weights, lengths, scale, v)
    cdef Py_ssize_t widest = max(j.keys.n, j.values.n, 1), of_scores = 2 * j.keys.n * (1 if j.v == NULL else TANH)
    j.dquery = rows_of[floating]("dquery", dquery, j.targets, j.batch, j.query.n)
    j.dkeys = rows_of[floating]("dkeys", dkeys, j.sources, j.batch, j.keys.n)
    j.dvalues = rows_of[floating]("dvalues", dvalues, j.sources, j.batch, j.values.n)
    j.dscores = rows_of[floating]("dscores", dscores, j.targets, j.batch, j.sources)
    j.dcontext = rows_of[floating]("dcontext", dcontext, j.targets, j.batch, j.values.n)
    if v is not None:
        if dv.shape[0] != j.batch or dv.shape[1] != j.keys.n:
            raise ValueError(f"dv has shape {tuple(dv.shape)[:2]}, expected {(j.batch, j.keys.n)}")
        j.dv = <char *>&dv[0, 0] if j.batch and j.keys.n else NULL
    j.zeros = <char *>calloc(widest + j.targets * j.sources * j.batch, sizeof(floating))
    if j.zeros == NULL:
        raise MemoryError
    j.turned = j.zeros + widest * j.unit
    with nogil:
        if j.targets < FEW:
            run_together(attend_backward, &j, of_scores + SOFTMAX + 2 * j.values.n)
        else:
            run(weights_backward, &j, j.batch, 2 * j.values.n)
            run(softmax_backward, &j, j.targets, SOFTMAX)
            run(scores_backward, &j, j.batch, of_scores)
        free(j.zeros)
