"""Windows of words sampled from text and trained with negative sampling, over typed memoryviews.

Steps go through windows in blocks. The gains of a block's windows, lr (label - sigmoid(score)), are computed first, all
from the tables as they are; then the windows update the tables one after the other. The pool cuts the first part by
windows and the second by columns, so a result does not depend on the threads. In blocks of one window the two parts are
the step of word2vec itself, and no thread is asked.
"""
cimport cython
import numpy as np
from cython cimport floating
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from fastnn._kernels.cpu cimport active, num_threads, parallel
from fastnn._kernels.fastnn cimport fnn_real

cdef extern from "numpy/random/bitgen.h":  # NumPy's own declaration would import numpy.random with this module
    ctypedef struct bitgen_t:
        void *state
        double (*next_double)(void *) noexcept nogil

cdef enum:
    AHEAD = 2  # windows from one to the one whose rows are fetched
    PARALLEL = 4000000  # multiply-adds of one product of a block that threads are woken for
    GRAIN = 16  # windows, and columns, that go together
    FEW = 8  # ids that are copied together


cdef bitgen_t *source_of(bit_generator):
    return <bitgen_t *>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")


cdef int check_ids(const int32_t *ids, Py_ssize_t n, Py_ssize_t rows, str name, str of="rows") except -1:
    """Raise IndexError unless every id is one of `rows`."""
    cdef Py_ssize_t i
    cdef uint32_t wrong = 0, count = <uint32_t>min(rows, <Py_ssize_t>0x80000000)
    for i in range(n):
        wrong |= <uint32_t>ids[i] >= count  # negative ones are large
    if wrong:
        for i in range(n):
            if not 0 <= ids[i] < rows:
                raise IndexError(f"{name} hold {ids[i]}, which is not among the {rows} {of}")
    return 0


# --- sampling --------------------------------------------------------------------------------------------------------
def alias_table(double[::1] threshold, int32_t[::1] alias):
    """Turn weights whose mean is 1, which `threshold` holds, into Walker's table, by Vose's method."""
    cdef Py_ssize_t n = threshold.shape[0], i, small = 0, large = 0
    cdef int32_t *rest  # the indices of small weights from the front, those of large ones from the back
    cdef Py_ssize_t low, high
    if alias.shape[0] != n:
        raise ValueError(f"alias has length {alias.shape[0]}, expected {n} as threshold has")
    rest = <int32_t *>malloc(max(n, 1) * sizeof(int32_t))
    if rest == NULL:
        raise MemoryError
    with nogil:
        for i in range(n):
            alias[i] = <int32_t>i
            if threshold[i] < 1:
                rest[small] = <int32_t>i
                small += 1
            else:
                large += 1
                rest[n - large] = <int32_t>i
        while small and large:
            small -= 1
            low, high = rest[small], rest[n - large]
            alias[low] = <int32_t>high
            threshold[high] -= 1 - threshold[low]
            if threshold[high] < 1:
                large -= 1
                rest[small] = <int32_t>high
                small += 1
        for i in range(small):  # but for rounding they are 1
            threshold[rest[i]] = 1
        for i in range(large):
            threshold[rest[n - 1 - i]] = 1
    free(rest)


def alias_sample(int32_t[:, :] out, const double[::1] threshold, const int32_t[::1] alias, rng):
    """Fill `out` with indices drawn from a table."""
    cdef Py_ssize_t n = threshold.shape[0], i, j, k
    cdef double u
    cdef bitgen_t *source
    if alias.shape[0] != n or n == 0:
        raise ValueError(f"threshold and alias have lengths {n} and {alias.shape[0]}, expected the same above 0")
    generator = rng.bit_generator
    source = source_of(generator)
    with generator.lock, nogil:
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                u = source.next_double(source.state) * n
                k = <Py_ssize_t>u
                out[i, j] = <int32_t>(k + (-<Py_ssize_t>(u - k >= threshold[k]) & (alias[k] - k)))  # without a branch


cdef inline void copy_ids(int32_t *to, const int32_t *ids, Py_ssize_t n) noexcept nogil:
    """Copy n ids, or some more up to a multiple of FEW, which takes no branch for each."""
    cdef Py_ssize_t i = 0
    while i < n:
        memcpy(to + i, ids + i, FEW * sizeof(int32_t))
        i += FEW


def context_windows(
    int32_t[::1] centres, int64_t[::1] ends_kept, int64_t[::1] bounds, int32_t[::1] contexts, const int32_t[::1] tokens,
    const int64_t[::1] ends, Py_ssize_t window, rng, const double[::1] keep, bint shrink
):
    """Write the words that are kept, and around each its context; return how many words and contexts there are.

    `centres` and `contexts` need room for FEW more, into which anything may be written.
    """
    cdef Py_ssize_t n = tokens.shape[0], i, s, kept = 0, count = 0, begin, end, reach, first, last
    cdef bitgen_t *source
    begin = 0
    for s in range(ends.shape[0]):
        if not begin <= ends[s] <= n:
            raise ValueError(f"ends[{s}] is {ends[s]}, expected from {begin} to {n}")
        count += (ends[s] - begin) * min(2 * min(window, n), ends[s] - begin)
        begin = ends[s]
    if centres.shape[0] < n + FEW or bounds.shape[0] < n + 1 or ends_kept.shape[0] != ends.shape[0] or (
        contexts.shape[0] < count + FEW or window < 1
    ):
        raise ValueError(f"there is no room for the windows of {n} words")
    count = 0
    if keep is not None and n:
        check_ids(&tokens[0], n, keep.shape[0], "tokens", "of keep")
    generator = rng.bit_generator
    source = source_of(generator)
    with generator.lock, nogil:
        i = 0
        for s in range(ends.shape[0]):
            while i < ends[s]:
                centres[kept] = tokens[i]
                kept += keep is None or source.next_double(source.state) < keep[tokens[i]]  # without a branch
                i += 1
            ends_kept[s] = kept
        bounds[0] = begin = 0
        for s in range(ends.shape[0]):
            end = ends_kept[s]
            for i in range(begin, end):
                reach = window
                if shrink:
                    reach = 1 + <Py_ssize_t>(source.next_double(source.state) * window)
                first, last = i - min(reach, i - begin), i + min(reach, end - i - 1)
                copy_ids(&contexts[count], &centres[first], i - first)
                count += i - first
                copy_ids(&contexts[count], &centres[i] + 1, last - i)
                count += last - i
                bounds[i + 1] = count
            begin = end
    return kept, count


# --- steps -----------------------------------------------------------------------------------------------------------
ctypedef struct walk:
    const fnn_real *table
    Py_ssize_t unit  # bytes of a number
    char *vectors
    char *output
    Py_ssize_t vectors_step, output_step, columns
    const int32_t *inputs
    const int64_t *bounds
    const int32_t *targets
    Py_ssize_t windows, m, widest  # windows in all, targets of each, and the most inputs of one
    bint cbow, mean, need_loss
    double lr
    Py_ssize_t begin, end  # the windows of the block
    Py_ssize_t parts  # in which it is cut
    Py_ssize_t gains_room, scratch_room  # numbers for one window; bytes for one part
    char *gains
    double *losses  # one a window of the block
    char *scratch


cdef inline Py_ssize_t inputs_of(const walk *w, Py_ssize_t i) noexcept nogil:
    return w.bounds[i + 1] - w.bounds[i]


cdef inline char *gains_of(const walk *w, Py_ssize_t i) noexcept nogil:
    return w.gains + (i - w.begin) * w.gains_room * w.unit


cdef const int32_t FIRST = 0  # the one row of what is no table


cdef void fetch(const walk *w, Py_ssize_t i) noexcept nogil:
    """Ask for the rows of a window: of the inputs for the last, as the others are mostly those of windows before it."""
    if i < w.windows:
        active[0].fetch_rows(w.vectors, w.inputs + w.bounds[i + 1] - 1, inputs_of(w, i) > 0, w.columns * w.unit,
                             w.vectors_step * w.unit)
        active[0].fetch_rows(w.output, w.targets + i * w.m, w.m, w.columns * w.unit, w.output_step * w.unit)


cdef void hidden(const walk *w, char *row, Py_ssize_t i, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Write the sum or the mean of the vectors of a window."""
    w.table.window_sum(row, w.vectors, w.inputs + w.bounds[i], 1. / inputs_of(w, i) if w.mean else 1, inputs_of(w, i),
                       first, n, w.vectors_step)


cdef void find_gains(const walk *w, Py_ssize_t i, char *scratch) noexcept nogil:
    cdef const char *x = w.vectors
    cdef const int32_t *inputs = w.inputs + w.bounds[i]
    cdef const int32_t *targets = w.targets + i * w.m
    cdef Py_ssize_t c = inputs_of(w, i)
    if c and w.cbow:
        hidden(w, scratch, i, 0, w.columns)
        x, inputs, c = scratch, &FIRST, 1
    if c:
        w.table.window_scores(gains_of(w, i), x, w.output, inputs, targets, c, w.m, w.columns, w.vectors_step,
                              w.output_step)
        w.losses[i - w.begin] = w.table.window_gains(gains_of(w, i), targets, w.lr, w.need_loss, c, w.m)
    else:
        w.losses[i - w.begin] = 0


cdef void update(const walk *w, Py_ssize_t i, Py_ssize_t first, Py_ssize_t n, char *scratch) noexcept nogil:
    cdef const int32_t *inputs = w.inputs + w.bounds[i]
    cdef const int32_t *targets = w.targets + i * w.m
    cdef Py_ssize_t c = inputs_of(w, i)
    if c and w.cbow:
        if w.parts > 1 or w.end - w.begin > 1:  # else it is there already
            hidden(w, scratch, i, first, n)
        w.table.window_spread(w.vectors, w.output, scratch, gains_of(w, i), inputs, targets,
                              1 if w.mean else 1. / c, c, w.m, first, n, w.vectors_step, w.output_step)
    elif c:
        w.table.window_update(w.vectors, w.output, gains_of(w, i), inputs, targets, scratch, c, w.m, first, n,
                              w.vectors_step, w.output_step)


cdef void gains_task(void *context, Py_ssize_t part) noexcept nogil:
    """Find the gains of some windows of the block."""
    cdef const walk *w = <const walk *>context
    cdef Py_ssize_t size = (w.end - w.begin + w.parts - 1) // w.parts, i
    for i in range(w.begin + part * size, min(w.end, w.begin + (part + 1) * size)):
        fetch(w, i + AHEAD)
        find_gains(w, i, w.scratch + part * w.scratch_room)


cdef void update_task(void *context, Py_ssize_t part) noexcept nogil:
    """Update some columns for all windows of the block."""
    cdef const walk *w = <const walk *>context
    cdef Py_ssize_t groups = (w.columns + GRAIN - 1) // GRAIN, i
    cdef Py_ssize_t first = groups * part // w.parts * GRAIN
    cdef Py_ssize_t last = min(w.columns, groups * (part + 1) // w.parts * GRAIN)
    for i in range(w.begin, w.end):
        update(w, i, first, last - first, w.scratch + part * w.scratch_room)


cdef double run(walk *w, Py_ssize_t block) noexcept nogil:
    """Go through all windows, and return their loss."""
    cdef double loss = 0
    cdef Py_ssize_t i
    w.begin = 0
    while w.begin < w.windows:
        w.end = min(w.begin + block, w.windows)
        if w.parts > 1:
            parallel(gains_task, w, w.parts)
            parallel(update_task, w, w.parts)
        else:
            gains_task(w, 0)
            update_task(w, 0)
        for i in range(w.end - w.begin):
            loss += w.losses[i]
        w.begin = w.end
    return loss


cdef double step(
    floating[:, :] vectors, floating[:, :] output, const int32_t[::1] inputs, const int64_t[::1] bounds,
    const int32_t[:, ::1] targets, double lr, Py_ssize_t block, bint need_loss, bint cbow, bint mean
) except? -1:
    cdef walk w
    cdef Py_ssize_t i, size, threads
    cdef char *space
    cdef double loss
    w.windows, w.m, w.columns = targets.shape[0], targets.shape[1], vectors.shape[1]
    if output.shape[1] != w.columns or (w.columns > 1 and (
        vectors.strides[1] != sizeof(floating) or output.strides[1] != sizeof(floating)
    )):
        raise ValueError(f"vectors and output have rows of {w.columns} and {output.shape[1]} numbers, expected as many "
                         "and lying densely")
    if bounds.shape[0] != w.windows + 1 or bounds[0] != 0 or bounds[w.windows] != inputs.shape[0]:
        raise ValueError(f"bounds have length {bounds.shape[0]}, expected {w.windows + 1}, from 0 to the number of "
                         f"inputs, {inputs.shape[0]}")
    if block < 1:
        raise ValueError(f"block is {block}, expected at least 1")
    w.widest = 1
    for i in range(w.windows):
        if bounds[i + 1] < bounds[i]:
            raise ValueError(f"bounds[{i + 1}] is {bounds[i + 1]}, expected at least {bounds[i]} as before it")
        w.widest = max(w.widest, bounds[i + 1] - bounds[i])
    if not w.windows or not w.m or not inputs.shape[0]:
        return 0
    check_ids(&inputs[0], inputs.shape[0], vectors.shape[0], "inputs")
    check_ids(&targets[0, 0], w.windows * w.m, output.shape[0], "targets")
    w.table = &active[0].f32 if floating is float else &active[0].f64
    w.unit = sizeof(floating)
    w.vectors, w.output = <char *>&vectors[0, 0], <char *>&output[0, 0]
    w.vectors_step, w.output_step = vectors.strides[0] // w.unit, output.strides[0] // w.unit
    w.inputs, w.bounds, w.targets = &inputs[0], &bounds[0], &targets[0, 0]
    w.cbow, w.mean, w.need_loss, w.lr = cbow, mean, need_loss, lr
    block = min(block, w.windows)
    size = block * w.m * w.columns * (1 if cbow else max(1, inputs.shape[0] // w.windows))
    threads = num_threads() if size >= PARALLEL else 1
    w.parts = max(1, min(threads, (w.columns + GRAIN - 1) // GRAIN, block // GRAIN))
    w.gains_room = ((1 if cbow else w.widest) * w.m + 63) // 64 * 64
    if cbow:  # room for the sum of the inputs, or for what window_update asks for
        w.scratch_room = (w.columns * w.unit + 63) // 64 * 64
    else:
        w.scratch_room = ((w.widest + w.m) * (128 + 2 * <Py_ssize_t>sizeof(void *)) + 63) // 64 * 64
    size = block * (w.gains_room * w.unit + <Py_ssize_t>sizeof(double)) + w.parts * w.scratch_room + 128
    space = <char *>malloc(size)
    if space == NULL:
        raise MemoryError
    memset(space, 0, size)
    w.gains = space + (-<Py_ssize_t>space & 63)
    w.scratch = w.gains + block * w.gains_room * w.unit
    w.losses = <double *>(w.scratch + w.parts * w.scratch_room)
    with nogil:
        loss = run(&w, block)
    free(space)
    return loss


def skipgram_step(
    floating[:, :] vectors, floating[:, :] output, const int32_t[::1] inputs, const int64_t[::1] bounds,
    const int32_t[:, ::1] targets, double lr, Py_ssize_t block, bint need_loss
):
    """Train each input of a window to tell the first of its targets from the others; return the loss."""
    return step(vectors, output, inputs, bounds, targets, lr, block, need_loss, False, False)


def cbow_step(
    floating[:, :] vectors, floating[:, :] output, const int32_t[::1] inputs, const int64_t[::1] bounds,
    const int32_t[:, ::1] targets, double lr, Py_ssize_t block, bint need_loss, bint mean
):
    """Train the sum or mean of the inputs of a window to tell the first of its targets; return the loss."""
    return step(vectors, output, inputs, bounds, targets, lr, block, need_loss, True, mean)


# --- text ------------------------------------------------------------------------------------------------------------
cdef inline bint is_space(uint8_t c) noexcept nogil:
    return c == 32 or 9 <= c <= 13


cdef struct entry:
    uint32_t tag  # the upper half of the hash
    int32_t id  # -1 where there is none
    int64_t start, length


@cython.auto_pickle(False)
cdef class WordIndex:
    """The numbers of words: a hash table of their bytes."""
    cdef bytes text  # all words, one after the other
    cdef const uint8_t[::1] letters
    cdef object room
    cdef entry *table  # at most half full
    cdef uint64_t mask

    def __cinit__(self, words):
        cdef Py_ssize_t n = len(words), size = 2, at = 0, i, k
        cdef uint64_t h, slot
        cdef const uint8_t[::1] room
        self.text = b"".join(words) + b" "
        self.letters = self.text
        while size < 2 * n + 1:
            size *= 2
        self.mask = size - 1
        self.room = np.full(size * sizeof(entry), 255, np.uint8)
        room = self.room
        self.table = <entry *>&room[0]
        for i in range(n):
            h = 0
            for k in range(at, at + len(words[i])):
                h = add_byte(h, self.letters[k])
            slot = (h ^ h >> 32) & self.mask
            while self.table[slot].id >= 0:
                slot = (slot + 1) & self.mask
            self.table[slot] = entry(<uint32_t>(h >> 32), <int32_t>i, at, len(words[i]))
            at += len(words[i])

    cdef inline int32_t find(self, const uint8_t *word, Py_ssize_t n, uint64_t h) noexcept nogil:
        """Return the number of a word, or -1."""
        cdef uint64_t slot = (h ^ h >> 32) & self.mask
        cdef const entry *e = &self.table[slot]
        while e.id >= 0:
            if e.tag == h >> 32 and e.length == n and memcmp(&self.letters[e.start], word, n) == 0:
                return e.id
            slot = (slot + 1) & self.mask
            e = &self.table[slot]
        return -1

    def encode(self, const uint8_t[::1] data):
        """Return the numbers of known words in lines of text, where lines end, and how many words there are.

        Words lie between ASCII white space.
        """
        cdef Py_ssize_t n = data.shape[0], i = 0, start, count = 0, lines = 0, words = 0
        cdef uint64_t h
        cdef int32_t found
        cdef int32_t[::1] ids = np.empty(n // 2 + 1, np.int32)
        cdef int64_t[::1] ends = np.empty(n // 2 + 2, np.int64)
        with nogil:
            while i < n:
                if is_space(data[i]):
                    if data[i] == 10 and count and (lines == 0 or ends[lines - 1] < count):
                        ends[lines] = count
                        lines += 1
                    i += 1
                    continue
                start, h = i, 0
                while i < n and not is_space(data[i]):
                    h = add_byte(h, data[i])
                    i += 1
                words += 1
                found = self.find(&data[start], i - start, h)
                ids[count] = found
                count += found >= 0
            if count and (lines == 0 or ends[lines - 1] < count):
                ends[lines] = count
                lines += 1
        return np.asarray(ids)[:count], np.asarray(ends)[:lines], words


cdef inline uint64_t add_byte(uint64_t h, uint8_t byte) noexcept nogil:
    """Go on with a hash, that of Fowler, Noll and Vo."""
    return ((h ^ byte) + 1) * <uint64_t>0x100000001b3


# --- files of vectors ------------------------------------------------------------------------------------------------
def read_binary(float[:, ::1] vectors, int64_t[:, ::1] spans, const uint8_t[::1] data, Py_ssize_t at):
    """Read a word, a space and the bytes of its numbers for each row, from data[at:] on; spans are the words' places.

    Return how many rows there are, and where they end.
    """
    cdef Py_ssize_t n = data.shape[0], size = vectors.shape[1] * sizeof(float), row
    cdef const uint8_t *space
    for row in range(vectors.shape[0]):
        while at < n and data[at] == 10:  # some end a row with a line feed
            at += 1
        space = <const uint8_t *>memchr(&data[at], 32, n - at) if at < n else NULL
        if space == NULL or space + 1 + size > &data[0] + n:
            return row, at
        spans[row, 0], spans[row, 1] = at, space - &data[0]
        memcpy(&vectors[row, 0], space + 1, size)
        at = spans[row, 1] + 1 + size
    return vectors.shape[0], at


cdef double[23] POWERS = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
                          1e17, 1e18, 1e19, 1e20, 1e21, 1e22]


cdef bint plain_number(double *value, const uint8_t *text, Py_ssize_t n) noexcept nogil:
    """Read a number whose digits and power of ten are both exact in a double, whose quotient is then rounded once."""
    cdef Py_ssize_t i = 0, digits = 0, scale = 0, power = 0
    cdef bint negative = False, minus, point = False
    cdef uint64_t mantissa = 0
    if i < n and (text[i] == c'-' or text[i] == c'+'):
        negative = text[i] == c'-'
        i += 1
    while i < n:
        if c'0' <= text[i] <= c'9':
            mantissa = 10 * mantissa + (text[i] - c'0')
            digits += 1
            scale -= point
        elif text[i] == c'.' and not point:
            point = True
        else:
            break
        i += 1
    if digits == 0 or digits > 18:
        return False
    if i < n and (text[i] == c'e' or text[i] == c'E'):
        i += 1
        minus = i < n and text[i] == c'-'
        if i < n and (text[i] == c'-' or text[i] == c'+'):
            i += 1
        if i == n or n - i > 3:
            return False
        while i < n and c'0' <= text[i] <= c'9':
            power = 10 * power + (text[i] - c'0')
            i += 1
        scale += -power if minus else power
    if i < n or mantissa >> 53 or not -22 <= scale <= 22:
        return False
    value[0] = mantissa * POWERS[scale] if scale >= 0 else mantissa / POWERS[-scale]
    if negative:
        value[0] = -value[0]
    return True


def read_text(float[:, ::1] vectors, int64_t[:, ::1] spans, const uint8_t[::1] data, Py_ssize_t at):
    """Read a line with a word and its numbers for each row, from data[at:] on; spans are the words' places.

    A word may hold spaces: the numbers are the last ones of a line. Return how many rows there are, and where they end.
    """
    cdef Py_ssize_t n = data.shape[0], dim = vectors.shape[1], row, k, end, stop, start
    cdef const uint8_t *feed
    cdef double value
    for row in range(vectors.shape[0]):
        if at >= n:
            return row, at
        feed = <const uint8_t *>memchr(&data[at], 10, n - at)
        end = n if feed == NULL else feed - &data[0]
        stop = end
        for k in range(dim - 1, -1, -1):
            while stop > at and is_space(data[stop - 1]):
                stop -= 1
            start = stop
            while start > at and not is_space(data[start - 1]):
                start -= 1
            if not plain_number(&value, &data[start], stop - start):
                if memchr(&data[start], c'_', stop - start) != NULL:  # which Python allows in numbers
                    return row, at
                try:
                    value = float(bytes(data[start:stop]))
                except ValueError:
                    return row, at
            vectors[row, k] = <float>value
            stop = start
        if stop <= at + 1:  # there is no word
            return row, at
        spans[row, 0], spans[row, 1] = at, stop - 1
        at = end + 1
    return vectors.shape[0], at
