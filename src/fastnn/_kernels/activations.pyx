"""Elementwise kernels: as NumPy ufuncs, and over typed memoryviews.

a) One loop a dtype serves every operation: the ufunc's data is the operation's index, looked up in the active
   table on every call, so that tests can switch instruction sets.
b) Operands that lie densely go to the kernel as they are, and so do parameters that are one number each; others go
   through buffers of CHUNK elements, a broadcast operand gathered once.
c) NumPy would warn of floating-point flags that are up when a loop returns. They are tested afterwards and cleared
   only when new: testing costs 5 ns, clearing 60, and what NumPy's own casts raised before stays theirs.
"""
from cython cimport floating
from libc.float cimport FLT_MAX
from libc.stdint cimport uint16_t
cimport numpy as cnp

from fastnn._kernels.cpu cimport active, ops, parallel
from fastnn._kernels.fastnn cimport FNN_MAX_IN, FNN_N_OPS, fnn_kernel, fnn_real

cdef extern from "<fenv.h>" nogil:
    enum: FE_DIVBYZERO
    enum: FE_INVALID
    enum: FE_OVERFLOW
    enum: FE_UNDERFLOW
    int fetestexcept(int)
    int feclearexcept(int)

cnp.import_array()
cnp.import_ufunc()

cdef enum:
    CHUNK = 256
    PARALLEL = 1 << 17  # elements a thread takes at a time; from four times that on, waking one pays
    QUIET = 1 << 12  # elements up to which keeping the interpreter's lock costs nobody anything
    DENSE = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
    ERRORS = FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW | FE_UNDERFLOW

OPS = {ops[i].name.decode(): i for i in range(FNN_N_OPS)}
SAVED = {ops[i].name.decode(): ops[i].saved.decode() for i in range(0, FNN_N_OPS, 3)}

ctypedef fused number:
    uint16_t
    float
    double


cdef inline void gather(number *to, const char *source, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        to[i] = (<const number *>(source + i * step))[0]


cdef inline void scatter(char *to, Py_ssize_t step, const number *source, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        (<number *>(to + i * step))[0] = source[i]


cdef inline void read(floating *to, const char *source, Py_ssize_t step, Py_ssize_t n, bint half) noexcept nogil:
    cdef uint16_t halves[CHUNK]
    if floating is float and half:
        gather(halves, source, step, n)
        active[0].from_half(to, halves, n)
    else:
        gather(to, source, step, n)


cdef inline void write(char *to, Py_ssize_t step, const floating *source, Py_ssize_t n, bint half) noexcept nogil:
    cdef uint16_t halves[CHUNK]
    if floating is float and half:
        active[0].to_half(halves, source, n)
        scatter(to, step, halves, n)
    else:
        scatter(to, step, source, n)


cdef struct dense_job:
    fnn_kernel *kernel
    char **args
    int n_in
    int arrays
    Py_ssize_t n
    Py_ssize_t unit


cdef void run_part(void *context, Py_ssize_t part) noexcept nogil:
    """Run one part of a job whose operands all lie densely."""
    cdef dense_job *job = <dense_job *>context
    cdef Py_ssize_t start = part * PARALLEL
    cdef const void *operands[FNN_MAX_IN]
    cdef int k
    for k in range(job.n_in):
        operands[k] = job.args[k] + (start * job.unit if k < job.arrays else 0)
    job.kernel(job.args[job.n_in] + start * job.unit, operands, min(PARALLEL, job.n - start))


cdef inline void run(floating *buffer, char **args, Py_ssize_t n, const Py_ssize_t *steps, int op,
                     bint half) noexcept nogil:
    """Run one operation on n elements; `buffer` has room for FNN_MAX_IN + 1 chunks."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef fnn_kernel *kernel = table.elementwise[op]
    cdef int n_in = ops[op].n_in, arrays = 2 if op % 3 == 2 else 1, k, raised, before = fetestexcept(ERRORS)
    cdef Py_ssize_t i, m, distance, chunk = n, unit = sizeof(floating)
    cdef bint direct[FNN_MAX_IN + 1]
    cdef const void *operands[FNN_MAX_IN]
    cdef char *source
    cdef char *to
    cdef dense_job job
    # reduce and accumulate make each result the first operand of the next
    cdef bint chained = n > 1 and n_in == 2 and args[0] + steps[0] == args[2] and steps[0] == steps[2]

    for k in range(arrays, n_in):
        if steps[k]:
            arrays = n_in
    if arrays < n_in:
        kernel = table.uniform[op]
    for k in range(n_in + 1):
        direct[k] = not half and (n == 1 or steps[k] == unit or arrays <= k < n_in)
    for k in range(n_in):  # a partial overlap goes through the output's buffer
        distance = args[k] - args[n_in]
        if direct[n_in] and distance != 0 and -n * unit < distance < n * unit:
            direct[n_in] = False
    for k in range(n_in + 1):
        if not direct[k]:
            chunk = CHUNK
    if chained:
        chunk = 1

    if chunk == n and n >= 4 * PARALLEL:
        job.kernel, job.args, job.n_in, job.arrays, job.n, job.unit = kernel, args, n_in, arrays, n, unit
        parallel(run_part, &job, (n + PARALLEL - 1) // PARALLEL)
        n = 0

    i = 0
    while i < n:
        m = min(chunk, n - i)
        for k in range(n_in):
            source = args[k] + i * steps[k]
            if direct[k]:
                operands[k] = source
            else:
                operands[k] = buffer + k * CHUNK
                if steps[k] or i == 0 or chained:
                    read(buffer + k * CHUNK, source, steps[k], m if k < arrays else 1, half)
        to = args[n_in] + i * steps[n_in]
        if direct[n_in]:
            kernel(to, operands, m)
        else:
            kernel(buffer + n_in * CHUNK, operands, m)
            write(to, steps[n_in], buffer + n_in * CHUNK, m, half)
        i += m

    raised = fetestexcept(ERRORS) & ~before
    if raised:
        feclearexcept(raised)


cdef void loop_f16(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *op) noexcept nogil:
    cdef float buffer[(FNN_MAX_IN + 1) * CHUNK]
    run(buffer, args, n[0], <const Py_ssize_t *>steps, <int><Py_ssize_t>op, True)


cdef void loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *op) noexcept nogil:
    cdef float buffer[(FNN_MAX_IN + 1) * CHUNK]
    run(buffer, args, n[0], <const Py_ssize_t *>steps, <int><Py_ssize_t>op, False)


cdef void loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *op) noexcept nogil:
    cdef double buffer[(FNN_MAX_IN + 1) * CHUNK]
    run(buffer, args, n[0], <const Py_ssize_t *>steps, <int><Py_ssize_t>op, False)


# NumPy stores the addresses it is given and takes no reference. With one operand d comes first, so that integers
# become float64; with several e comes first, or f(float32, 0.01) would be float64.
cdef cnp.PyUFuncGenericFunction *loops_of_one = [loop_f64, loop_f32, loop_f16]
cdef cnp.PyUFuncGenericFunction *loops_of_several = [loop_f16, loop_f32, loop_f64]
cdef void *data[FNN_N_OPS][3]
cdef list keep = []
cdef dict made = {}


def ufunc(str name, str module, str doc):
    """Make the ufunc of one operation; `module` is where users, and pickle, find it under `name`."""
    cdef int op = OPS[name], n_args = ops[op].n_in + 1
    cdef bytes text = doc.encode()
    order = [cnp.NPY_FLOAT16, cnp.NPY_FLOAT32, cnp.NPY_FLOAT64]
    if n_args == 2:
        order.reverse()
    cdef bytes types = bytes(kind for kind in order for _ in range(n_args))  # numbers: letters would find no loop
    keep.append((text, types))
    data[op] = [<void *><Py_ssize_t>op, <void *><Py_ssize_t>op, <void *><Py_ssize_t>op]
    made[op] = function = cnp.PyUFunc_FromFuncAndData(
        loops_of_one if n_args == 2 else loops_of_several, data[op], types, 3, n_args - 1, 1, cnp.PyUFunc_None,
        <char *>ops[op].name, text, 0)
    if hasattr(function, "__dict__"):  # since NumPy 2.2; before that, pickle searches sys.modules
        function.__module__ = module
        function.__qualname__ = name
    return function


cdef bint alike(object x, cnp.ndarray first) noexcept:
    """Whether x is an array in C order, aligned, of the dtype and shape of the first."""
    if type(x) is not cnp.ndarray or cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(first):
        return False
    return (
        cnp.PyArray_FLAGS(x) & DENSE == DENSE and not cnp.PyArray_ISBYTESWAPPED(x)
        and cnp.PyArray_SAMESHAPE(x, first)
    )


cdef object evaluate_arrays(int op, tuple arrays, tuple parameters, object out):
    """Return an operation on plain arrays and Python floats, or None where NumPy has to look at them."""
    cdef char *args[FNN_MAX_IN + 1]
    cdef Py_ssize_t steps[FNN_MAX_IN + 1]
    cdef Py_ssize_t distance, n, k = 0, size
    cdef double number
    cdef bint single
    if type(arrays[0]) is not cnp.ndarray:
        return None
    cdef cnp.ndarray x = arrays[0]
    if cnp.PyArray_NDIM(x) == 0 or cnp.PyArray_TYPE(x) not in (cnp.NPY_FLOAT32, cnp.NPY_FLOAT64):
        return None
    single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32
    if out is None:
        out = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    elif not alike(out, x) or not cnp.PyArray_ISWRITEABLE(out):
        return None
    n, size = cnp.PyArray_SIZE(x), cnp.PyArray_NBYTES(x)
    for array in arrays:
        if not alike(array, x):
            return None
        args[k], steps[k] = cnp.PyArray_BYTES(array), cnp.PyArray_ITEMSIZE(x)
        distance = args[k] - cnp.PyArray_BYTES(out)
        if distance != 0 and -size < distance < size:
            return None
        k += 1
    cdef double[FNN_MAX_IN] wide
    cdef float[FNN_MAX_IN] narrow
    for parameter in parameters:
        if type(parameter) is not float:
            return None
        number = parameter
        if single and not -FLT_MAX <= number <= FLT_MAX:
            return None
        wide[k] = number
        if single:
            narrow[k] = <float>number
        args[k], steps[k] = <char *>&narrow[k] if single else <char *>&wide[k], 0
        k += 1
    args[k], steps[k] = cnp.PyArray_BYTES(out), cnp.PyArray_ITEMSIZE(x)
    if n > QUIET:
        with nogil:
            walk(args, n, steps, op, single)
    elif n:
        walk(args, n, steps, op, single)
    return out


cdef void walk(char **args, Py_ssize_t n, const Py_ssize_t *steps, int op, bint single) noexcept nogil:
    if single:
        loop_f32(args, <cnp.npy_intp *>&n, <const cnp.npy_intp *>steps, <void *><Py_ssize_t>op)
    else:
        loop_f64(args, <cnp.npy_intp *>&n, <const cnp.npy_intp *>steps, <void *><Py_ssize_t>op)


def call(int op, tuple arrays, tuple parameters, object out, dict keywords):
    """Call the ufunc of an operation with parameters; plain arrays and Python floats go to its loop directly.

    NumPy spends 0.2 microseconds on each Python number.
    """
    y = None if keywords else evaluate_arrays(op, arrays, parameters, out)
    return made[op](*arrays, *parameters, out=out, **keywords) if y is None else y


cpdef int evaluate(int op, floating[::1] out, const floating[::1] a, const floating[::1] b=None,
                   const floating[::1] params=None) except -1 nogil:
    """Write an operation on a, or on a and b, into out, which may be one of them; each parameter is one number."""
    cdef char *args[FNN_MAX_IN + 1]
    cdef Py_ssize_t steps[FNN_MAX_IN + 1]
    cdef floating buffer[(FNN_MAX_IN + 1) * CHUNK]
    cdef Py_ssize_t n = out.shape[0], k
    cdef Py_ssize_t n_arrays = 1 if b is None else 2, n_params = 0 if params is None else params.shape[0]
    if op < 0 or op >= FNN_N_OPS or ops[op].n_in != n_arrays + n_params:
        raise ValueError(f"operation {op} does not take {n_arrays} arrays and {n_params} parameters")
    if a.shape[0] != n or n_arrays == 2 and b.shape[0] != n:
        raise ValueError(f"out has length {n}, a {a.shape[0]}, b {n if b is None else b.shape[0]}")
    if n == 0:
        return 0
    args[0] = <char *>&a[0]
    if n_arrays == 2:
        args[1] = <char *>&b[0]
    for k in range(n_params):
        args[n_arrays + k] = <char *>&params[k]
    args[n_arrays + n_params] = <char *>&out[0]
    for k in range(n_arrays + n_params + 1):
        steps[k] = 0 if n_arrays <= k < n_arrays + n_params else sizeof(floating)
    run(buffer, args, n, steps, op, False)
    return 0
