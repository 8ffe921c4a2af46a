"""Convolution and pooling in plain NumPy.

Everything is said of columns: all windows of the padded input, one a column, with a tap (an element of the window)
a row. Convolution is a product with the columns, pooling their maximum or mean, and a gradient with respect to the
columns is added back to where they were read.
"""

import functools
import itertools
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastnn._checks import as_gradient, working
from fastnn._windows import (
    AvgPoolCache,
    ConvolutionCache,
    MaxPoolCache,
    TimeCache,
    check_cache,
    convolution_operands,
    pool_operands,
    time_operands,
    window_sizes,
)

__all__ = [
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool1d_forward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "conv1d",
    "conv1d_backward",
    "conv1d_forward",
    "conv2d",
    "conv2d_backward",
    "conv2d_forward",
    "max_over_time",
    "max_over_time_backward",
    "max_over_time_forward",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool1d_forward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_forward",
]

quiet = np.errstate(all="ignore")


def _out(axes):
    return tuple(axis.out for axis in axes)


def _taps(axes):
    return math.prod(axis.kernel for axis in axes)


def _padded(shape, axes):
    """Return the shape with the padding the windows reach into."""
    return (*shape[:2], *(a.before + max(a.size, (a.out - 1) * a.stride + a.extent - a.before) for a in axes))


def _inside(axes):
    """Return the index of the input in its padded form."""
    return ..., *(slice(axis.before, axis.before + axis.size) for axis in axes)


def _columns(x, axes, fill=0):
    """Return the windows of x (N, C, ...) as columns (N, C, taps, windows)."""
    padded = np.full(_padded(x.shape, axes), fill, x.dtype)
    padded[_inside(axes)] = x
    views = sliding_window_view(padded, [axis.extent for axis in axes], range(2, x.ndim))
    views = views[
        :, :, *(slice(0, a.out * a.stride, a.stride) for a in axes), *(slice(None, None, a.dilation) for a in axes)
    ]
    taps_first = np.moveaxis(views, range(-len(axes), 0), range(2, 2 + len(axes)))
    return taps_first.reshape(*x.shape[:2], _taps(axes), math.prod(_out(axes)))


def _add_columns(dcolumns, shape, axes):
    """Return the gradient of x, of this shape, from that of its columns."""
    dpadded = np.zeros(_padded(shape, axes), dcolumns.dtype)
    for k, tap in enumerate(itertools.product(*(range(axis.kernel) for axis in axes))):
        starts = [at * axis.dilation for at, axis in zip(tap, axes, strict=True)]
        read = [slice(start, start + a.out * a.stride, a.stride) for start, a in zip(starts, axes, strict=True)]
        dpadded[:, :, *read] += dcolumns[:, :, k].reshape(*shape[:2], *_out(axes))
    return dpadded[_inside(axes)]


def _grouped(cache):
    """Return the columns (N, groups, rows, windows), and the weight as matrices (groups, out, rows)."""
    x, weight, _, axes, groups, _ = cache
    columns = _columns(x, axes)
    n, channels, taps, windows = columns.shape
    rows = channels // groups * taps
    return columns.reshape(n, groups, rows, windows), weight.reshape(groups, weight.shape[0] // groups, rows)


@quiet
def _convolve(axes, x, weight, bias, stride, padding, dilation, groups):
    bias, cache = convolution_operands(axes, x, weight, bias, stride, padding, dilation, groups)
    columns, matrices = _grouped(cache)
    y = (matrices @ columns).reshape(len(cache.x), len(cache.weight), *_out(cache.axes))
    if bias is not None:
        y += bias.reshape(-1, *[1] * axes)
    return y.astype(cache.dtype, copy=False), cache


@quiet
def _convolve_backward(dy, cache, need_dx, name):
    x, weight, has_bias, axes, groups, dtype = check_cache(cache, ConvolutionCache, name)
    dy = as_gradient(dy, (len(x), len(weight), *_out(axes)), x.dtype, "dy")
    columns, matrices = _grouped(cache)
    dproduct = dy.reshape(len(x), groups, matrices.shape[1], columns.shape[3])
    gradients = {}
    if need_dx:
        dcolumns = (matrices.swapaxes(1, 2) @ dproduct).reshape(*x.shape[:2], _taps(axes), columns.shape[3])
        gradients["x"] = _add_columns(dcolumns, x.shape, axes)
    gradients["weight"] = (dproduct @ columns.swapaxes(2, 3)).sum(0).reshape(weight.shape)
    if has_bias:
        gradients["bias"] = dy.sum((0, *range(2, dy.ndim)))
    return {name: gradient.astype(dtype, copy=False) for name, gradient in gradients.items()}


def conv1d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return y[n, o, i] = bias[o] + sum over c, k of weight[o, c, k] * x[n, c, i * stride + k * dilation - padding]."""
    return _convolve(1, x, weight, bias, stride, padding, dilation, groups)[0]


def conv1d_forward(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the result of `conv1d`, and a cache for `conv1d_backward`."""
    return _convolve(1, x, weight, bias, stride, padding, dilation, groups)


def conv1d_backward(dy, cache, *, need_dx=True):
    """Return the gradients of x, weight and bias by name."""
    return _convolve_backward(dy, cache, need_dx, "conv1d_forward")


def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the two-dimensional form of `conv1d`: x is (N, C, H, W), weight (out channels, C / groups, kH, kW)."""
    return _convolve(2, x, weight, bias, stride, padding, dilation, groups)[0]


def conv2d_forward(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the result of `conv2d`, and a cache for `conv2d_backward`."""
    return _convolve(2, x, weight, bias, stride, padding, dilation, groups)


def conv2d_backward(dy, cache, *, need_dx=True):
    """Return the gradients of x, weight and bias by name."""
    return _convolve_backward(dy, cache, need_dx, "conv2d_forward")


def _largest(columns, valid):
    """Return the maximum over the taps, -inf where none is valid, and the tap it came from, then -1.

    Of equals it is the first tap, but the last NaN.
    """
    peak = np.where(valid, columns, -np.inf).max(2)
    nan = np.isnan(columns) & valid
    last_nan = columns.shape[2] - 1 - nan[:, :, ::-1].argmax(2)
    first = (valid & (columns == peak[:, :, None])).argmax(2)
    tap = np.where(nan.any(2), last_nan, first)
    return peak, np.where(valid.any(2), tap, -1)


def _spread(dy, tap, taps):
    """Return columns that hold dy at its tap and 0 elsewhere."""
    return np.where(tap[:, :, None] == np.arange(taps)[:, None], dy[:, :, None], 0)


@quiet
def _max_pool(axes, x, kernel_size, stride, padding, dilation, ceil_mode):
    x, axes, dtype = pool_operands(axes, x, kernel_size, stride, padding, dilation, ceil_mode)
    valid = _columns(np.ones((1, 1, *x.shape[2:]), bool), axes, False)
    y, tap = _largest(_columns(x, axes), valid)
    shape = *x.shape[:2], *_out(axes)
    return y.reshape(shape).astype(dtype, copy=False), MaxPoolCache(x.shape, axes, tap, dtype)


def _pool_gradient(dy, cache):
    """Return dy in the dtype to compute in, as (N, C, windows)."""
    dy = as_gradient(dy, (*cache.shape[:2], *_out(cache.axes)), working(cache.dtype), "dy")
    return dy.reshape(*cache.shape[:2], math.prod(_out(cache.axes)))


@quiet
def _max_pool_backward(dy, cache, name):
    check_cache(cache, MaxPoolCache, name)
    dcolumns = _spread(_pool_gradient(dy, cache), cache.at, _taps(cache.axes))
    return {"x": _add_columns(dcolumns, cache.shape, cache.axes).astype(cache.dtype, copy=False)}


def max_pool1d(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the maximum of each window of x (N, C, L); padding never counts."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)[0]


def max_pool1d_forward(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the result of `max_pool1d`, and a cache for `max_pool1d_backward`."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool1d_backward(dy, cache):
    """Return the gradient of x by name: dy where the maximum came from, of equals the first."""
    return _max_pool_backward(dy, cache, "max_pool1d_forward")


def max_pool2d(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the maximum of each window of x (N, C, H, W); padding never counts."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)[0]


def max_pool2d_forward(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the result of `max_pool2d`, and a cache for `max_pool2d_backward`."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d_backward(dy, cache):
    """Return the gradient of x by name: dy where the maximum came from, of equals the first."""
    return _max_pool_backward(dy, cache, "max_pool2d_forward")


def _volumes(sizes):
    """Return the number of elements of each window, from those along the axes."""
    return functools.reduce(np.multiply.outer, sizes).reshape(-1)


@quiet
def _avg_pool(axes, x, kernel_size, stride, padding, ceil_mode, count_include_pad):
    x, axes, dtype = pool_operands(axes, x, kernel_size, stride, padding, 1, ceil_mode)
    sizes = window_sizes(axes, count_include_pad, x.dtype)
    y = _columns(x, axes).sum(2) / _volumes(sizes)
    shape = *x.shape[:2], *_out(axes)
    return y.reshape(shape).astype(dtype, copy=False), AvgPoolCache(x.shape, axes, sizes, dtype)


@quiet
def _avg_pool_backward(dy, cache, name):
    check_cache(cache, AvgPoolCache, name)
    share = _pool_gradient(dy, cache) / _volumes(cache.sizes)
    taps = _taps(cache.axes)
    dcolumns = np.broadcast_to(share[:, :, None], (*share.shape[:2], taps, share.shape[2]))
    return {"x": _add_columns(dcolumns, cache.shape, cache.axes).astype(cache.dtype, copy=False)}


def avg_pool1d(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the mean of each window of x (N, C, L), in which padding counts as zeros or not at all."""
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)[0]


def avg_pool1d_forward(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the result of `avg_pool1d`, and a cache for `avg_pool1d_backward`."""
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool1d_backward(dy, cache):
    """Return the gradient of x by name: dy spread evenly over each window."""
    return _avg_pool_backward(dy, cache, "avg_pool1d_forward")


def avg_pool2d(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the mean of each window of x (N, C, H, W), in which padding counts as zeros or not at all."""
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)[0]


def avg_pool2d_forward(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the result of `avg_pool2d`, and a cache for `avg_pool2d_backward`."""
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d_backward(dy, cache):
    """Return the gradient of x by name: dy spread evenly over each window."""
    return _avg_pool_backward(dy, cache, "avg_pool2d_forward")


def max_over_time(x, lengths=None):
    """Return the maximum of x (N, C, L) over the first lengths[n] steps, 0 for a length of 0."""
    return max_over_time_forward(x, lengths)[0]


@quiet
def max_over_time_forward(x, lengths=None):
    """Return the result of `max_over_time`, and a cache for `max_over_time_backward`."""
    x, lengths, dtype = time_operands(x, lengths)
    valid = np.arange(x.shape[2])[:, None] < lengths[:, None, None, None]
    y, step = _largest(x[..., None], valid)
    y = np.where(step < 0, 0, y)[..., 0]
    return y.astype(dtype, copy=False), TimeCache(x.shape, step, dtype)


@quiet
def max_over_time_backward(dy, cache):
    """Return the gradient of x by name: dy at the step the maximum came from, of equals the first."""
    shape, step, dtype = check_cache(cache, TimeCache, "max_over_time_forward")
    dy = as_gradient(dy, shape[:2], working(dtype), "dy")
    return {"x": _spread(dy[..., None], step, shape[2])[..., 0].astype(dtype, copy=False)}
