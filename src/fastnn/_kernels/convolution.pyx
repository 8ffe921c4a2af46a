"""Convolution and pooling over typed memoryviews: images (N, C, H, W), sequences being images of one column.

A convolution never lays out all its columns. For each group of channels it reads planes of the padded input: a plane
is what one tap sees, every stride-th element from an offset on, so that other taps see the same plane from a later row
or column on. A product whose right factor is these shifted planes gives the output; with dy in their place, and the
weight turned round, it gives planes of the input's gradient, which are added to where they were read from; with dy
transposed on its right it gives the gradient of the weight. Rows of a plane that is seen from several columns are wider
than those of the output: what a product makes of the rest is dropped, and dy is 0 there. Work is cut into units that
fit into the cache: some rows of an image, or, of small images, several, whose planes then serve one kernel row each.
"""
from cython cimport floating
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import numpy as np

from fastnn._kernels.cpu cimport active, parallel
from fastnn._kernels.fastnn cimport fnn_axis, fnn_plane, fnn_pool_width, fnn_real

cdef enum:
    SLACK = 64  # elements behind an array that whole vectors may touch
    SMALL = 128  # outputs of an image below which several are taken together, and planes shared across instead of down
    NARROW = 2  # outputs in a row, at least, for each column that sharing across adds
    CHANNELS = 4  # of a group, at least, for sharing across: cropping costs as much whatever their number
    POINTS = 1024  # outputs of a unit, about
    PLANES = 1 << 18  # elements of its planes, about
    PARALLEL = 1 << 22  # multiply-adds that a thread takes at a time
    PARTS = 16
    POOLED = 1 << 18  # elements of windows that a thread takes at a time
    SEQUENCES = 2048  # elements of sequences that are pooled as one
    FEW = 4  # filters of a group for which dot products beat products whose vectors run along the filters

cdef struct sharing:
    Py_ssize_t lines  # how many taps have planes of their own; the others shift these
    Py_ssize_t jump  # by how much the next one does
    Py_ssize_t reach  # the longest shift


cdef struct convolution:
    const fnn_real *table
    const char *x
    const char *x_end
    const char *weight
    const char *bias
    const char *dy
    const char *dy_end
    char *y
    char *dx  # NULL if it is not wanted
    char *sums  # the gradient of weight and bias, transposed: parts x groups x rows x filters
    Py_ssize_t unit  # bytes of an element
    Py_ssize_t images, groups, channels, filters  # of one group
    fnn_axis h, w
    Py_ssize_t taps, terms, rows, points
    sharing v, u  # of planes, by the rows and by the columns of the kernel
    Py_ssize_t width  # of a plane
    Py_ssize_t batch, band, blocks, bands, parts  # images and rows in a unit, and how many of these
    Py_ssize_t channel, dy_row, dx_row, depth  # distances: of a channel's planes, rows of dy, dx planes, turned weight
    Py_ssize_t *start  # by line: where its planes begin
    Py_ssize_t *pitch  # by line: the distance of its planes
    Py_ssize_t *tap  # by term: where it lies in the planes; then the ones that give the bias its gradient
    Py_ssize_t *weight_row
    Py_ssize_t *point
    Py_ssize_t *turned_row
    Py_ssize_t *turned_tap
    const char *turned  # the weight as (lines, channels * lines across, filters * taps that share a plane)
    const char *zeros
    bint failed


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline Py_ssize_t spaced(Py_ssize_t n) noexcept nogil:
    """Return a distance for rows of n elements that lets them start in different sets of the cache."""
    return (ceil_div(n, 16) | 1) * 16


cdef inline char *aligned(void *block) noexcept nogil:
    return <char *>((<uintptr_t>block + 63) & ~<uintptr_t>63)


cdef Py_ssize_t gcd(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef sharing shared(const fnn_axis *a) noexcept nogil:
    cdef sharing s
    s.lines = min(a.kernel, a.stride // gcd(a.stride, a.dilation))
    s.jump = s.lines * a.dilation // a.stride
    s.reach = (a.kernel - 1) // s.lines * s.jump
    return s


cdef sharing alone(const fnn_axis *a) noexcept nogil:
    cdef sharing s
    s.lines, s.jump, s.reach = a.kernel, 0, 0
    return s


cdef void plan(convolution *c, bint has_bias) noexcept nogil:
    """Fill in everything that follows from the sizes, tables aside."""
    cdef Py_ssize_t fit, columns
    c.taps = c.h.kernel * c.w.kernel
    c.terms = c.channels * c.taps
    c.rows = c.terms + has_bias
    c.points = c.h.out * c.w.out
    c.v, c.u = shared(&c.h), shared(&c.w)
    if c.points < SMALL:
        c.v = alone(&c.h)  # with no rows that only some planes need, images lie side by side
    if c.points >= SMALL or c.channels < CHANNELS or c.w.kernel % c.u.lines or NARROW * c.u.reach > c.w.out:
        c.u = alone(&c.w)
    c.width = c.w.out + c.u.reach
    c.batch, c.band = 1, c.h.out
    if c.v.reach == 0 and c.points < POINTS // 2:
        c.batch = max(1, min(c.images, min(POINTS // c.points, (1 << 20) // max(1, c.terms * c.points))))
    else:
        fit = min(<Py_ssize_t>POINTS, PLANES // max(1, c.channels * c.u.lines * c.v.lines)) // c.width
        c.band = ceil_div(c.h.out, ceil_div(c.h.out, max(1, fit, 4 * c.v.reach)))
    c.blocks = ceil_div(c.images, c.batch)
    c.bands = ceil_div(c.h.out, c.band)
    columns = c.batch * c.band * c.width
    c.depth = c.filters * ceil_div(c.h.kernel, c.v.lines) * (c.w.kernel // c.u.lines)
    c.dy_row = spaced(c.u.reach + columns + 2 * c.v.reach * c.batch * c.width)
    c.dx_row = spaced(columns + c.v.reach * c.batch * c.width)


cdef inline Py_ssize_t steps(const convolution *c, Py_ssize_t line) noexcept nogil:
    """Return the rows that the planes of a kernel row have besides those of the output."""
    return (c.h.kernel - 1 - line) // c.v.lines * c.v.jump


cdef void fill_tables(convolution *c, Py_ssize_t *space) noexcept nogil:
    """Cut the tables out of `space` and fill them."""
    cdef Py_ssize_t t, i, j, k, u, line, shared_taps = c.w.kernel // c.u.lines
    c.start, c.pitch = space, space + c.v.lines
    c.tap = c.pitch + c.v.lines
    c.weight_row = c.tap + c.terms + 1
    c.point = c.weight_row + c.filters
    c.turned_row = c.point + c.batch * c.band * c.width
    c.turned_tap = c.turned_row + c.channels * c.u.lines
    c.channel = 0
    for line in range(c.v.lines):
        c.start[line], c.pitch[line] = c.channel, spaced(c.batch * (c.band + steps(c, line)) * c.width)
        c.channel += c.u.lines * c.pitch[line]
    for i in range(c.channels):
        for j in range(c.h.kernel):
            line = j % c.v.lines
            for k in range(c.w.kernel):
                c.tap[i * c.taps + j * c.w.kernel + k] = (
                    i * c.channel + c.start[line] + k % c.u.lines * c.pitch[line]
                    + j // c.v.lines * c.v.jump * c.width + k // c.u.lines * c.u.jump)
    c.tap[c.terms] = c.channels * c.channel + c.u.reach + SLACK
    for i in range(c.filters):
        c.weight_row[i] = i * c.terms
    for i in range(c.batch * c.band * c.width):
        c.point[i] = i * c.filters
    for i in range(c.channels * c.u.lines):
        c.turned_row[i] = i * c.depth
    for line in range(c.v.lines):
        t = ceil_div(c.h.kernel - line, c.v.lines)
        for i in range(c.filters):
            for j in range(t):
                for u in range(shared_taps):
                    c.turned_tap[line * c.depth + (i * t + j) * shared_taps + u] = (
                        i * c.dy_row + c.u.reach - u * c.u.jump + (c.v.reach - j * c.v.jump) * c.width)


cdef Py_ssize_t table_size(convolution *c) noexcept nogil:
    return (2 * c.v.lines + c.terms + 1 + c.filters + c.batch * c.band * c.width + c.channels * c.u.lines
            + c.v.lines * c.depth)


cdef void move_planes(convolution *c, char *planes, bint back, Py_ssize_t line, Py_ssize_t group, Py_ssize_t image,
                      Py_ssize_t count, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
    """Read the planes of all lines, or add those of one line back, where they lie one after the other."""
    cdef fnn_plane p
    cdef Py_ssize_t i, j, u, k, at, image_size
    p.height, p.width, p.row_step, p.column_step, p.columns = c.h.size, c.w.size, c.h.stride, c.w.stride, c.width
    for i in range(c.channels):
        for u in range(line, line + 1 if back else c.v.lines):
            p.row, p.rows = row * c.h.stride + u * c.h.dilation - c.h.before, rows + steps(c, u)
            image_size = p.rows * c.width
            for k in range(c.u.lines):
                p.column = k * c.w.dilation - c.w.before
                for j in range(count):
                    at = (((image + j) * c.groups + group) * c.channels + i) * c.h.size * c.w.size * c.unit
                    if back:
                        c.table.add_plane(
                            c.dx + at, planes + ((i * c.u.lines + k) * c.dx_row + j * image_size) * c.unit, &p)
                    else:
                        c.table.read_plane(
                            planes + (i * c.channel + c.start[u] + k * c.pitch[u] + j * image_size) * c.unit,
                            c.x + at, c.x_end, &p, 0)


cdef void forward_part(void *context, Py_ssize_t part) noexcept nogil:
    cdef convolution *c = <convolution *>context
    cdef Py_ssize_t room = c.channels * c.channel + c.u.reach + SLACK, result_row = c.batch * c.band * c.width
    cdef Py_ssize_t i, g, j, k, image, count, row, rows
    cdef bint dense = c.batch == 1 and c.u.reach == 0  # as the output lies
    cdef void *block = malloc((room + (0 if dense else c.filters * result_row + SLACK)) * c.unit + 64)
    cdef char *planes = aligned(block)
    cdef char *result = planes + room * c.unit
    cdef char *y
    if block == NULL:
        c.failed = True
        return
    for i in range(part * c.blocks * c.bands // c.parts, (part + 1) * c.blocks * c.bands // c.parts):
        image, row = i // c.bands * c.batch, i % c.bands * c.band
        count, rows = min(c.batch, c.images - image), min(c.band, c.h.out - row)
        for g in range(c.groups):
            move_planes(c, planes, False, 0, g, image, count, row, rows)
            y = c.y + ((image * c.groups + g) * c.filters * c.points + row * c.w.out) * c.unit
            c.table.window_product(
                y if dense else result, c.bias + g * c.filters * c.unit, c.weight + g * c.filters * c.terms * c.unit,
                c.weight_row, planes, c.tap, c.filters, count * rows * c.width, c.terms,
                c.points if dense else result_row)
            if not dense:
                for j in range(count):
                    for k in range(c.filters):
                        c.table.crop(y + (j * c.groups * c.filters + k) * c.points * c.unit,
                                     result + (k * result_row + j * rows * c.width) * c.unit, rows, c.w.out, c.width)
    free(block)


cdef void backward_part(void *context, Py_ssize_t part) noexcept nogil:
    cdef convolution *c = <convolution *>context
    cdef Py_ssize_t columns = c.batch * c.band * c.width, t
    cdef Py_ssize_t i, g, j, k, line, image, count, row, rows, at, n
    cdef Py_ssize_t sizes[4]
    cdef fnn_plane p
    cdef void *block
    cdef char *planes
    cdef char *dy
    cdef char *first_dy
    cdef char *transposed
    cdef char *dplanes
    cdef char *sums = c.sums + part * c.groups * c.rows * c.filters * c.unit
    sizes[0] = c.channels * c.channel + c.u.reach + SLACK + columns + SLACK
    sizes[1] = c.filters * c.dy_row + SLACK
    sizes[2] = c.filters * columns + SLACK
    sizes[3] = c.channels * c.u.lines * c.dx_row + SLACK
    # zeros, since what lies between planes is multiplied with the zeros beside dy
    block = calloc((sizes[0] + sizes[1] + sizes[2] + sizes[3]) * c.unit + 64, 1)
    if block == NULL:
        c.failed = True
        return
    planes = aligned(block)
    dy = planes + sizes[0] * c.unit
    first_dy = dy + (c.u.reach + c.v.reach * c.width) * c.unit
    transposed = dy + sizes[1] * c.unit
    dplanes = transposed + sizes[2] * c.unit
    # a plane that lies outside of an image of height 0 is all fill
    p.height, p.width, p.row, p.row_step, p.rows, p.column, p.column_step, p.columns = 0, 1, 0, 1, 1, 0, 1, columns
    c.table.read_plane(planes + c.tap[c.terms] * c.unit, planes, planes, &p, 1)

    for i in range(part * c.blocks // c.parts * c.bands, (part + 1) * c.blocks // c.parts * c.bands):
        image, row = i // c.bands * c.batch, i % c.bands * c.band
        count, rows = min(c.batch, c.images - image), min(c.band, c.h.out - row)
        p.height, p.width, p.row, p.row_step, p.rows = rows, c.w.out, -c.v.reach, 1, rows + 2 * c.v.reach
        p.columns = c.width
        for g in range(c.groups):
            move_planes(c, planes, False, 0, g, image, count, row, rows)
            for k in range(c.filters):
                for j in range(count):
                    at = ((((image + j) * c.groups + g) * c.filters + k) * c.points + row * c.w.out) * c.unit
                    c.table.read_plane(dy + (k * c.dy_row + c.u.reach + j * rows * c.width) * c.unit, c.dy + at,
                                       c.dy_end, &p, 0)
            n = count * rows * c.width
            if c.filters <= FEW:
                for k in range(c.filters):
                    c.table.window_dots(sums + (g * c.rows * c.filters + k) * c.unit, planes, c.tap,
                                        first_dy + k * c.dy_row * c.unit, c.rows, n, c.filters)
            else:
                c.table.transpose(transposed, first_dy, c.filters, n, c.filters, c.dy_row)
                c.table.window_product(sums + g * c.rows * c.filters * c.unit, NULL, planes, c.tap, transposed,
                                       c.point, c.rows, c.filters, n, c.filters)
            for line in range(c.v.lines if c.dx != NULL else 0):
                t = ceil_div(c.h.kernel - line, c.v.lines) * (c.w.kernel // c.u.lines)
                c.table.window_product(
                    dplanes, c.zeros, c.turned + (g * c.v.lines + line) * c.channels * c.u.lines * c.depth * c.unit,
                    c.turned_row, dy, c.turned_tap + line * c.depth, c.channels * c.u.lines,
                    count * (rows + steps(c, line)) * c.width, c.filters * t, c.dx_row)
                move_planes(c, dplanes, True, line, g, image, count, row, rows)
    free(block)


cdef void turn(const convolution *c, floating *to, const floating *weight) noexcept nogil:
    """Lay the weight out for the gradient of x."""
    cdef Py_ssize_t g, f, i, j, k, line, t, shared_taps = c.w.kernel // c.u.lines
    cdef floating *first
    for g in range(c.groups):
        for j in range(c.h.kernel):
            line = j % c.v.lines
            t = ceil_div(c.h.kernel - line, c.v.lines) * shared_taps
            for k in range(c.w.kernel):
                first = to + ((g * c.v.lines + line) * c.channels * c.u.lines + k % c.u.lines) * c.depth
                first += j // c.v.lines * shared_taps + k // c.u.lines
                for f in range(c.filters):
                    for i in range(c.channels):
                        first[i * c.u.lines * c.depth + f * t] = weight[(f * c.channels + i) * c.taps]
                weight += 1
        weight += (c.filters * c.channels - 1) * c.taps


cdef tuple shape_of(const Py_ssize_t *shape, int axes):
    return tuple([shape[i] for i in range(axes)])


cdef inline Py_ssize_t volume(const Py_ssize_t *shape) noexcept nogil:
    return shape[0] * shape[1] * shape[2] * shape[3]


cdef bint same_shape(const Py_ssize_t *a, const Py_ssize_t *b) noexcept:
    return a[0] == b[0] and a[1] == b[1] and a[2] == b[2] and a[3] == b[3]


cdef int describe(convolution *c, const fnn_real *table, Py_ssize_t unit, axes, Py_ssize_t groups,
                  const Py_ssize_t *x, const Py_ssize_t *weight, const Py_ssize_t *y, bint has_bias) except -1:
    """Check that the shapes of x, weight and y go with the axes, and plan."""
    (c.h.size, c.h.kernel, c.h.stride, c.h.before, c.h.dilation, c.h.out), \
        (c.w.size, c.w.kernel, c.w.stride, c.w.before, c.w.dilation, c.w.out) = axes
    c.table, c.unit, c.groups, c.failed = table, unit, groups, False
    c.images = x[0]
    if (
        groups < 1 or x[1] % groups or weight[0] % groups or weight[1] != x[1] // groups or x[2] != c.h.size
        or x[3] != c.w.size or weight[2] != c.h.kernel or weight[3] != c.w.kernel or y[0] != x[0]
        or y[1] != weight[0] or y[2] != c.h.out or y[3] != c.w.out
        or min(c.h.kernel, c.h.stride, c.h.dilation, c.h.out, c.w.kernel, c.w.stride, c.w.dilation, c.w.out) < 1
    ):
        raise ValueError(f"x has shape {shape_of(x, 4)}, weight {shape_of(weight, 4)}, y or dy {shape_of(y, 4)}, "
                         f"which do not go with {groups} groups and axes {axes}")
    c.channels, c.filters = x[1] // groups, weight[0] // groups
    plan(c, has_bias)
    return 0


def conv2d(
    floating[:, :, :, ::1] y, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight,
    const floating[::1] bias, axes, Py_ssize_t groups,
):
    """Write the convolution of x into y; an axis is (size, kernel, stride, padding before, dilation, outputs)."""
    cdef convolution c
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t[::1] tables
    cdef Py_ssize_t i, j
    describe(&c, table, sizeof(floating), axes, groups, x.shape, weight.shape, y.shape, False)
    if bias.shape[0] != weight.shape[0]:
        raise ValueError(f"bias has length {bias.shape[0]}, expected {weight.shape[0]}")
    if volume(x.shape) == 0:  # every window lies in the padding
        for i in range(y.shape[0]):
            for j in range(y.shape[1]):
                y[i, j, :, :] = bias[j]
        return
    if volume(y.shape) == 0:
        return
    tables = np.empty(table_size(&c), np.intp)
    fill_tables(&c, &tables[0])
    c.y = <char *>&y[0, 0, 0, 0]
    c.x, c.weight, c.bias = <const char *>&x[0, 0, 0, 0], <const char *>&weight[0, 0, 0, 0], <const char *>&bias[0]
    c.x_end = c.x + volume(x.shape) * c.unit
    c.parts = max(1, min(c.blocks * c.bands, volume(y.shape) * c.terms // PARALLEL))
    with nogil:
        parallel(forward_part, &c, c.parts)
    if c.failed:
        raise MemoryError


def conv2d_backward(
    floating[:, :, :, ::1] dx, floating[:, :, :, ::1] dweight, floating[::1] dbias, const floating[:, :, :, ::1] dy,
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, axes, Py_ssize_t groups,
):
    """Write the gradients of weight and, unless None, of x and bias into arrays that hold zeros."""
    cdef convolution c
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef bint has_bias = dbias is not None, has_dx = dx is not None
    cdef Py_ssize_t[::1] tables
    cdef Py_ssize_t i, part, n, turned
    cdef floating *space
    describe(&c, table, sizeof(floating), axes, groups, x.shape, weight.shape, dy.shape, has_bias)
    if has_dx and not same_shape(dx.shape, x.shape) or not same_shape(dweight.shape, weight.shape) \
            or has_bias and dbias.shape[0] != weight.shape[0]:
        raise ValueError("dx, dweight or dbias has not the shape of x, weight or bias")
    if volume(x.shape) == 0:
        for i in range(dy.shape[0] if has_bias else 0):
            for n in range(dy.shape[1]):
                dbias[n] += np.sum(dy[i, n])
        return
    if volume(dy.shape) == 0:
        return
    tables = np.empty(table_size(&c), np.intp)
    fill_tables(&c, &tables[0])
    c.x, c.weight, c.dy = <const char *>&x[0, 0, 0, 0], <const char *>&weight[0, 0, 0, 0], <const char *>&dy[0, 0, 0, 0]
    c.x_end, c.dy_end = c.x + volume(x.shape) * c.unit, c.dy + volume(dy.shape) * c.unit
    c.dx = <char *>&dx[0, 0, 0, 0] if has_dx else NULL
    # how the sums are cut is theirs to keep: it must not depend on the threads
    c.parts = max(1, min(c.blocks, volume(dy.shape) * c.terms // PARALLEL, <Py_ssize_t>PARTS))
    n = groups * c.rows * c.filters
    turned = groups * c.v.lines * c.channels * c.u.lines * c.depth if has_dx else 0
    space = <floating *>calloc(c.parts * n + turned + c.channels * c.u.lines, sizeof(floating))
    if space == NULL:
        raise MemoryError
    c.sums = <char *>space
    c.turned = <const char *>(space + c.parts * n)
    c.zeros = c.turned + turned * c.unit
    with nogil:
        if has_dx:
            turn(&c, space + c.parts * n, &weight[0, 0, 0, 0])
        parallel(backward_part, &c, c.parts)
        for part in range(1, c.parts):
            table.accumulate(space, space + part * n, n)
        for i in range(groups):
            table.transpose(&dweight[i * c.filters, 0, 0, 0], space + i * c.rows * c.filters, c.terms, c.filters,
                            c.terms, c.filters)
            if has_bias:
                memcpy(&dbias[i * c.filters], space + (i * c.rows + c.terms) * c.filters, c.filters * c.unit)
        free(space)
    if c.failed:
        raise MemoryError


cdef struct pooling:
    const fnn_real *table
    Py_ssize_t unit, images, parts
    fnn_axis h, w
    char *x  # dx backward
    char *y  # dy backward
    const char *end
    int32_t *at
    const char *h_size  # NULL for maxima
    const char *w_size
    bint back, failed


cdef int describe_pool(pooling *p, const fnn_real *table, Py_ssize_t unit, axes, const Py_ssize_t *x,
                       const Py_ssize_t *y) except -1:
    """Check that the shapes of x and y, images and their pooled ones, go with the axes."""
    (p.h.size, p.h.kernel, p.h.stride, p.h.before, p.h.dilation, p.h.out), \
        (p.w.size, p.w.kernel, p.w.stride, p.w.before, p.w.dilation, p.w.out) = axes
    if (
        x[0] != y[0] or x[1] != p.h.size or x[2] != p.w.size or y[1] != p.h.out or y[2] != p.w.out
        or min(p.h.kernel, p.h.stride, p.h.dilation, p.w.kernel, p.w.stride, p.w.dilation) < 1
    ):
        raise ValueError(
            f"x or dx has shape {shape_of(x, 3)}, y or dy {shape_of(y, 3)}, which do not go with axes {axes}")
    p.table, p.unit, p.images, p.back, p.failed = table, unit, x[0], False, False
    p.parts = max(1, min(p.images, y[0] * y[1] * y[2] * p.h.kernel * p.w.kernel // POOLED))
    return 0


cdef int describe_sizes(pooling *p, Py_ssize_t rows, Py_ssize_t columns) except -1:
    if rows != p.h.out or columns != p.w.out:
        raise ValueError(f"sizes have lengths {rows} and {columns}, expected {p.h.out} and {p.w.out}")
    return 0


cdef int finish(pooling *p) except -1:
    if p.failed:
        raise MemoryError
    return 0


cdef void pool_part(void *context, Py_ssize_t part) noexcept nogil:
    cdef pooling *p = <pooling *>context
    cdef Py_ssize_t i = part * p.images // p.parts, end = (part + 1) * p.images // p.parts, n, group, step
    cdef fnn_axis w = p.w
    cdef const char *w_size = p.w_size
    cdef void *scratch
    # sequences that whole windows fill stand for one
    group = SEQUENCES // w.size if w.size == w.out * w.stride else 0
    if p.h.size > 1 or p.h.out > 1 or w.before or (w.kernel - 1) * w.dilation >= w.stride or group < 2:
        group = 0
    step = group if group else end - i
    w.size, w.out = w.size * max(group, 1), w.out * max(group, 1)
    scratch = malloc((p.h.size + 1) * fnn_pool_width(&w) * p.unit)
    if scratch == NULL:
        p.failed = True
        return
    while i < end:
        n = min(step, end - i)
        if group:
            w.size, w.out, w_size = n * p.w.size, n * p.w.out, NULL
        pool_images(p, i, scratch, &w, w_size, 1 if group else n)
        i += n
    free(scratch)


cdef void pool_images(pooling *p, Py_ssize_t i, void *scratch, const fnn_axis *w, const char *w_size,
                      Py_ssize_t n) noexcept nogil:
    cdef char *x = p.x + i * p.h.size * p.w.size * p.unit
    cdef char *y = p.y + i * p.h.out * p.w.out * p.unit
    if p.back:
        p.table.avg_pool_backward(x, y, p.h_size, w_size, scratch, &p.h, w, n)
    elif p.h_size == NULL:
        p.table.max_pool(y, NULL if p.at == NULL else p.at + i * p.h.out * p.w.out, x, p.end, scratch, &p.h, w, n)
    else:
        p.table.avg_pool(y, x, p.end, p.h_size, w_size, scratch, &p.h, w, n)


def max_pool2d(floating[:, :, ::1] y, const floating[:, :, ::1] x, int32_t[:, ::1] at, axes):
    """Write the largest of each window of images x into y, and the tap it came from into `at` unless that is None."""
    cdef pooling p
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t points = y.shape[1] * y.shape[2]
    describe_pool(&p, table, sizeof(floating), axes, x.shape, y.shape)
    if at is not None and (at.shape[0] != y.shape[0] or at.shape[1] != points):
        raise ValueError(f"at has shape ({at.shape[0]}, {at.shape[1]}), expected ({y.shape[0]}, {points})")
    if y.shape[0] == 0:
        return
    p.x, p.y, p.h_size, p.w_size = <char *>&x[0, 0, 0], <char *>&y[0, 0, 0], NULL, NULL
    p.end, p.at = <const char *>(&x[0, 0, 0] + x.shape[0] * x.shape[1] * x.shape[2]), NULL if at is None else &at[0, 0]
    with nogil:
        parallel(pool_part, &p, p.parts)
    finish(&p)


def avg_pool2d(floating[:, :, ::1] y, const floating[:, :, ::1] x, const floating[::1] h_size,
               const floating[::1] w_size, axes):
    """Write the sum of each window of images x over its size, the product of that of its row and column, into y."""
    cdef pooling p
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    describe_pool(&p, table, sizeof(floating), axes, x.shape, y.shape)
    describe_sizes(&p, h_size.shape[0], w_size.shape[0])
    if y.shape[0] == 0:
        return
    p.x, p.y, p.h_size, p.w_size = <char *>&x[0, 0, 0], <char *>&y[0, 0, 0], <char *>&h_size[0], <char *>&w_size[0]
    p.end, p.at = <const char *>(&x[0, 0, 0] + x.shape[0] * x.shape[1] * x.shape[2]), NULL
    with nogil:
        parallel(pool_part, &p, p.parts)
    finish(&p)


def max_pool2d_backward(floating[:, :, ::1] dx, const floating[:, :, ::1] dy, const int32_t[:, ::1] at, axes):
    """Add each dy to the element of dx that its maximum came from."""
    cdef pooling p
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t i, r, c, size = dx.shape[1] * dx.shape[2], place
    cdef const int32_t *tap
    cdef const floating *share
    cdef floating *to
    cdef Py_ssize_t[::1] offset
    describe_pool(&p, table, sizeof(floating), axes, dx.shape, dy.shape)
    if at.shape[0] != dy.shape[0] or at.shape[1] != dy.shape[1] * dy.shape[2]:
        raise ValueError(f"at has shape ({at.shape[0]}, {at.shape[1]}), expected an element for each of dy")
    if dy.shape[0] == 0:
        return
    offset = np.empty(p.h.kernel * p.w.kernel, np.intp)
    for i in range(offset.shape[0]):
        offset[i] = i // p.w.kernel * p.h.dilation * p.w.size + i % p.w.kernel * p.w.dilation
    tap, share = &at[0, 0], &dy[0, 0, 0]
    with nogil:
        for i in range(dy.shape[0]):
            to = &dx[i, 0, 0]
            for r in range(p.h.out):
                for c in range(p.w.out):
                    if 0 <= tap[c] < offset.shape[0]:
                        place = ((r * p.h.stride - p.h.before) * p.w.size + c * p.w.stride - p.w.before
                                 + offset[tap[c]])
                        if 0 <= place < size:
                            to[place] += share[c]
                tap += p.w.out
                share += p.w.out


def avg_pool2d_backward(floating[:, :, ::1] dx, const floating[:, :, ::1] dy, const floating[::1] h_size,
                        const floating[::1] w_size, axes):
    """Add to all elements of a window in dx, which holds zeros, their share of its dy."""
    cdef pooling p
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    describe_pool(&p, table, sizeof(floating), axes, dx.shape, dy.shape)
    describe_sizes(&p, h_size.shape[0], w_size.shape[0])
    if dy.shape[0] == 0:
        return
    p.x, p.y, p.h_size, p.w_size = <char *>&dx[0, 0, 0], <char *>&dy[0, 0, 0], <char *>&h_size[0], <char *>&w_size[0]
    p.back = True
    with nogil:
        parallel(pool_part, &p, p.parts)
    finish(&p)


def max_over_time(floating[:, ::1] y, int32_t[:, ::1] at, const floating[:, :, ::1] x, const int64_t[::1] lengths):
    """Write the maximum of the first steps of each row into y, and its step into `at`: 0 and -1 for no step."""
    cdef const fnn_real *table = &active[0].f32 if floating is float else &active[0].f64
    cdef Py_ssize_t i, j
    if not y.shape[0] == at.shape[0] == x.shape[0] == lengths.shape[0] or not y.shape[1] == at.shape[1] == x.shape[1]:
        raise ValueError(f"y, at or lengths do not go with x of shape {shape_of(x.shape, 3)}")
    for i in range(lengths.shape[0]):
        if not 0 <= lengths[i] <= x.shape[2]:
            raise ValueError(f"lengths hold {lengths[i]}, expected numbers from 0 to {x.shape[2]}")
    with nogil:
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                if lengths[i]:
                    table.largest(&y[i, j], &at[i, j], &x[i, j, 0], lengths[i])
                else:
                    y[i, j], at[i, j] = 0, -1


def max_over_time_backward(floating[:, :, ::1] dx, const floating[:, ::1] dy, const int32_t[:, ::1] at):
    """Add each dy to the step of dx that its maximum came from."""
    cdef Py_ssize_t i, j
    if not dx.shape[0] == dy.shape[0] == at.shape[0] or not dx.shape[1] == dy.shape[1] == at.shape[1]:
        raise ValueError(f"dy or at does not go with dx of shape {shape_of(dx.shape, 3)}")
    with nogil:
        for i in range(dx.shape[0]):
            for j in range(dx.shape[1]):
                if 0 <= at[i, j] < dx.shape[2]:
                    dx[i, j, at[i, j]] += dy[i, j]
