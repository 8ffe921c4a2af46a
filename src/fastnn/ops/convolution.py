"""Convolution and pooling over sequences (N, C, L) and images (N, C, H, W)."""

import math
from functools import lru_cache

import numpy as np

from fastnn._checks import as_gradient, narrowed, working
from fastnn._kernels import convolution as kernels
from fastnn._windows import (
    AvgPoolCache,
    Axis,
    ConvolutionCache,
    MaxPoolCache,
    TimeCache,
    check_cache,
    convolution_operands,
    pool_operands,
    time_operands,
    window_sizes,
)
from fastnn.ops._arrays import by_dtype, dense

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

_CONV = by_dtype(kernels.conv2d)
_CONV_BACKWARD = by_dtype(kernels.conv2d_backward)
_MAX_POOL = by_dtype(kernels.max_pool2d)
_MAX_POOL_BACKWARD = by_dtype(kernels.max_pool2d_backward)
_AVG_POOL = by_dtype(kernels.avg_pool2d)
_AVG_POOL_BACKWARD = by_dtype(kernels.avg_pool2d_backward)
_MAX_OVER_TIME = by_dtype(kernels.max_over_time)
_MAX_OVER_TIME_BACKWARD = by_dtype(kernels.max_over_time_backward)

quiet = np.errstate(all="ignore")


def _image(x):
    """Return a sequence (N, C, L) as an image of one column; an image as it is."""
    return x if x.ndim == 4 else x[..., None]


@lru_cache(maxsize=256)
def _plain(axes, sequence):
    """Return both axes as the kernels take them; that of a sequence is followed or preceded by one of length 1."""
    axes = axes if len(axes) == 2 else (*axes, Axis(1, 1))[:: -1 if sequence == "row" else 1]
    return tuple((a.size, a.kernel, a.stride, a.before, a.dilation, a.out) for a in axes)


def _out(axes):
    return tuple(axis.out for axis in axes)


def _as(gradients, dtype):
    return {name: narrowed(x, dtype) for name, x in gradients.items()}


def _convolve(axes, x, weight, bias, stride, padding, dilation, groups):
    bias, cache = convolution_operands(axes, x, weight, bias, stride, padding, dilation, groups)
    cache = cache._replace(x=dense(cache.x), weight=dense(cache.weight))
    x, weight = cache.x, cache.weight
    y = np.empty((len(x), len(weight), *_out(cache.axes)), x.dtype)
    bias = np.zeros(len(weight), x.dtype) if bias is None else dense(bias)
    _CONV[x.dtype](_image(y), _image(x), _image(weight), bias, _plain(cache.axes, "column"), cache.groups)
    return narrowed(y, cache.dtype), cache


@quiet
def _convolve_backward(dy, cache, need_dx, name):
    x, weight, has_bias, axes, groups, dtype = check_cache(cache, ConvolutionCache, name)
    dy = dense(as_gradient(dy, (len(x), len(weight), *_out(axes)), x.dtype, "dy"))
    gradients = {"x": np.zeros_like(x)} if need_dx else {}
    gradients["weight"] = np.zeros_like(weight)
    if has_bias:
        gradients["bias"] = np.zeros(len(weight), x.dtype)
    dx, dweight = _image(gradients["x"]) if need_dx else None, _image(gradients["weight"])
    _CONV_BACKWARD[x.dtype](
        dx, dweight, gradients.get("bias"), _image(dy), _image(x), _image(weight), _plain(axes, "column"), groups
    )
    return _as(gradients, dtype)


def _rows(x):
    """Return (N, C, L) or (N, C, H, W) as N * C dense images, a sequence as an image of one row."""
    return dense(x).reshape(math.prod(x.shape[:2]), *[1] * (4 - x.ndim), *x.shape[2:])


def _max_pool(axes, x, kernel_size, stride, padding, dilation, ceil_mode, keep):
    x, axes, dtype = pool_operands(axes, x, kernel_size, stride, padding, dilation, ceil_mode)
    y = np.empty((*x.shape[:2], *_out(axes)), x.dtype)
    at = np.empty((math.prod(x.shape[:2]), math.prod(_out(axes))), np.int32) if keep else None
    _MAX_POOL[y.dtype](_rows(y), _rows(x), at, _plain(axes, "row"))
    return narrowed(y, dtype), MaxPoolCache(x.shape, axes, at, dtype)


def _pool_gradient(dy, cache):
    """Return dy in the dtype to compute in."""
    return as_gradient(dy, (*cache.shape[:2], *_out(cache.axes)), working(cache.dtype), "dy")


@quiet
def _max_pool_backward(dy, cache, name):
    check_cache(cache, MaxPoolCache, name)
    dy = _pool_gradient(dy, cache)
    dx = np.zeros(cache.shape, dy.dtype)
    _MAX_POOL_BACKWARD[dy.dtype](_rows(dx), _rows(dy), cache.at, _plain(cache.axes, "row"))
    return _as({"x": dx}, cache.dtype)


def _sizes(cache):
    """Return the sizes of windows along rows and columns; a sequence is one row."""
    return cache.sizes if len(cache.sizes) == 2 else (np.ones_like(cache.sizes[0], shape=1), *cache.sizes)


@quiet
def _avg_pool(axes, x, kernel_size, stride, padding, ceil_mode, count_include_pad):
    x, axes, dtype = pool_operands(axes, x, kernel_size, stride, padding, 1, ceil_mode)
    cache = AvgPoolCache(x.shape, axes, window_sizes(axes, count_include_pad, x.dtype), dtype)
    y = np.empty((*x.shape[:2], *_out(axes)), x.dtype)
    _AVG_POOL[y.dtype](_rows(y), _rows(x), *_sizes(cache), _plain(axes, "row"))
    return narrowed(y, dtype), cache


@quiet
def _avg_pool_backward(dy, cache, name):
    check_cache(cache, AvgPoolCache, name)
    dy = _pool_gradient(dy, cache)
    dx = np.zeros(cache.shape, dy.dtype)
    _AVG_POOL_BACKWARD[dx.dtype](_rows(dx), _rows(dy), *_sizes(cache), _plain(cache.axes, "row"))
    return _as({"x": dx}, cache.dtype)


def conv1d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the cross-correlation of sequences with a kernel, as PyTorch's `conv1d` does.

    y[n, o, i] = bias[o] + sum over c and k of weight[o, c, k] * x[n, c, i * stride + k * dilation - padding],
    where x is 0 outside of its range.

    Parameters
    ----------
    x : array_like (N, C, L)
        Sequences, channels before time.
    weight : array_like (O, C / groups, K)
    bias : array_like (O,), optional
    stride, dilation : int
        The steps from one window to the next, and from one element of a window to the next.
    padding : int, (int, int), "same" or "valid"
        The zeros before and after x; ((2, 0),) puts 2 before and none after, which with K = 3 makes a causal
        convolution. "same" keeps the length, the odd one coming after, and wants a stride of 1; "valid" is 0.
    groups : int
        Channels and outputs are cut into so many groups, each of which sees only its own channels.

    Returns
    -------
    ndarray (N, O, L_out)
        L_out = (L + padding before and after - dilation * (K - 1) - 1) // stride + 1. Of the common dtype of the
        arguments; float64 for integers.

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit, an option is out of range, or no window fits into the padded input.

    See Also
    --------
    conv1d_forward : the same, with what a gradient needs.
    max_over_time : what a convolutional text classifier does next.

    Notes
    -----
    Terms are added in stretches of 256, each in one accumulator: a result depends neither on its position nor on the
    number of threads. The sliding windows of LeCun et al. (1998), "Gradient-based learning applied to document
    recognition"; over words, Kim (2014), "Convolutional neural networks for sentence classification".

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> x = np.array([[[1.0, 2.0, 4.0, 8.0]]])
    >>> fastnn.conv1d(x, [[[-1.0, 1.0]]])
    array([[[1., 2., 4.]]])
    >>> fastnn.conv1d(x, [[[-1.0, 1.0]]], padding=((1, 0),))
    array([[[1., 1., 2., 4.]]])
    """
    return _convolve(1, x, weight, bias, stride, padding, dilation, groups)[0]


def conv1d_forward(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the result of `conv1d`, and a cache for `conv1d_backward`.

    The cache refers to x and weight, which must not change until the backward pass.

    Returns
    -------
    y : ndarray (N, O, L_out)
    cache

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> y, cache = fastnn.conv1d_forward(np.array([[[1.0, 2.0, 4.0]]]), np.array([[[-1.0, 1.0]]]), np.zeros(1))
    >>> fastnn.conv1d_backward(np.ones_like(y), cache)
    {'x': array([[[-1.,  0.,  1.]]]), 'weight': array([[[3., 6.]]]), 'bias': array([2.])}
    """
    return _convolve(1, x, weight, bias, stride, padding, dilation, groups)


def conv1d_backward(dy, cache, *, need_dx=True):
    """Return the gradients of the arguments of `conv1d_forward`, by name.

    Parameters
    ----------
    dy : array_like (N, O, L_out)
        The gradient of y; None is 0.
    cache
        What `conv1d_forward` returned.
    need_dx : bool
        Whether the gradient of x is wanted, which is half of the work.

    Returns
    -------
    dict
        New arrays under "x" if wanted, "weight" and, if there was one, "bias": each term of the sum in `conv1d` sends
        dy * weight to x, dy * x to weight, and dy to bias.
    """
    return _convolve_backward(dy, cache, need_dx, "conv1d_forward")


def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the cross-correlation of images with a kernel, as PyTorch's `conv2d` does.

    y[n, o, i, j] = bias[o] + sum over c, k and l of weight[o, c, k, l]
    * x[n, c, i * stride + k * dilation - padding, j * stride + l * dilation - padding].

    Parameters
    ----------
    x : array_like (N, C, H, W)
        Images, channels before rows and columns.
    weight : array_like (O, C / groups, K_h, K_w)
    bias : array_like (O,), optional
    stride, dilation : int or (int, int)
        As in `conv1d`; two numbers are for rows and columns.
    padding : int, (int, int), ((int, int), (int, int)), "same" or "valid"
        As in `conv1d`; pairs of pairs are the zeros before and after rows and columns.
    groups : int

    Returns
    -------
    ndarray (N, O, H_out, W_out)
        The sizes follow from H and W as L_out follows from L in `conv1d`.

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit, an option is out of range, or no window fits into the padded input.

    See Also
    --------
    conv2d_forward : the same, with what a gradient needs.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> fastnn.conv2d(x, [[[[0.0, 1.0], [1.0, 0.0]]]])
    array([[[[ 4.,  6.],
             [10., 12.]]]])
    >>> fastnn.conv2d(x, np.ones((2, 1, 3, 3)), stride=2, padding=1).shape
    (1, 2, 2, 2)
    """
    return _convolve(2, x, weight, bias, stride, padding, dilation, groups)[0]


def conv2d_forward(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the result of `conv2d`, and a cache for `conv2d_backward`.

    The cache refers to x and weight, which must not change until the backward pass.

    Returns
    -------
    y : ndarray (N, O, H_out, W_out)
    cache

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> y, cache = fastnn.conv2d_forward(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))
    >>> fastnn.conv2d_backward(np.ones_like(y), cache)["x"]
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    return _convolve(2, x, weight, bias, stride, padding, dilation, groups)


def conv2d_backward(dy, cache, *, need_dx=True):
    """Return the gradients of the arguments of `conv2d_forward`, by name, as `conv1d_backward` does.

    Parameters
    ----------
    dy : array_like (N, O, H_out, W_out)
        The gradient of y; None is 0.
    cache
        What `conv2d_forward` returned.
    need_dx : bool
        As in `conv1d_backward`.

    Returns
    -------
    dict
        New arrays under "x" if wanted, "weight" and, if there was one, "bias". Where the arguments or dy hold inf or
        NaN, more of them may be NaN than the sums alone would make so.
    """
    return _convolve_backward(dy, cache, need_dx, "conv2d_forward")


def max_pool1d(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the largest element of each window of sequences, as PyTorch's `max_pool1d` does.

    y[n, c, i] = max over k < kernel_size of x[n, c, i * stride + k * dilation - padding], over those inside x.

    Parameters
    ----------
    x : array_like (N, C, L)
    kernel_size : int
    stride : int, optional
        By default the kernel size.
    padding : int or ((int, int),)
        How far windows reach beyond x, before and after it: less than the extent of a window.
    dilation : int
    ceil_mode : bool
        Whether a last window may reach beyond the padding.

    Returns
    -------
    ndarray (N, C, L_out)
        Of the dtype of x; float64 for integers. NaN where a window holds one, -inf where nothing of x is in it.

    Raises
    ------
    TypeError
        If x is complex or holds objects.
    ValueError
        If x has not three axes, an option is out of range, or no window fits.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.max_pool1d([[[1.0, 5.0, 2.0, 3.0, 4.0]]], 2)
    array([[[5., 3.]]])
    >>> fastnn.max_pool1d([[[1.0, 5.0, 2.0, 3.0, 4.0]]], 2, ceil_mode=True)
    array([[[5., 3., 4.]]])
    """
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, False)[0]


def max_pool1d_forward(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the result of `max_pool1d`, and a cache for `max_pool1d_backward`.

    Returns
    -------
    y : ndarray (N, C, L_out)
    cache

    Examples
    --------
    >>> import fastnn
    >>> y, cache = fastnn.max_pool1d_forward([[[1.0, 5.0, 5.0]]], 3)
    >>> fastnn.max_pool1d_backward([[[1.0]]], cache)
    {'x': array([[[0., 1., 0.]]])}
    """
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool1d_backward(dy, cache):
    """Return the gradient of x in `max_pool1d_forward`, by name: dy where the maximum came from.

    Of equal elements that is the first, of several NaN the last, as in PyTorch.

    Parameters
    ----------
    dy : array_like (N, C, L_out)
        The gradient of y; None is 0.
    cache
        What `max_pool1d_forward` returned.

    Returns
    -------
    dict
        A new array (N, C, L) under "x".
    """
    return _max_pool_backward(dy, cache, "max_pool1d_forward")


def max_pool2d(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the largest element of each window of images, as PyTorch's `max_pool2d` does.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        By default the kernel size.
    padding : int, (int, int) or ((int, int), (int, int))
        As in `max_pool1d`, for rows and columns.
    dilation : int or (int, int)
    ceil_mode : bool
        Whether last windows may reach beyond the padding.

    Returns
    -------
    ndarray (N, C, H_out, W_out)

    Raises
    ------
    TypeError
        If x is complex or holds objects.
    ValueError
        If x has not four axes, an option is out of range, or no window fits.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, False)[0]


def max_pool2d_forward(x, kernel_size, stride=None, *, padding=0, dilation=1, ceil_mode=False):
    """Return the result of `max_pool2d`, and a cache for `max_pool2d_backward`.

    Returns
    -------
    y : ndarray (N, C, H_out, W_out)
    cache

    Examples
    --------
    >>> import fastnn
    >>> y, cache = fastnn.max_pool2d_forward([[[[1.0, 3.0], [2.0, 0.0]]]], 2)
    >>> fastnn.max_pool2d_backward([[[[1.0]]]], cache)
    {'x': array([[[[0., 1.],
             [0., 0.]]]])}
    """
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_backward(dy, cache):
    """Return the gradient of x in `max_pool2d_forward`, by name, as `max_pool1d_backward` does.

    Parameters
    ----------
    dy : array_like (N, C, H_out, W_out)
        The gradient of y; None is 0.
    cache
        What `max_pool2d_forward` returned.

    Returns
    -------
    dict
        A new array (N, C, H, W) under "x".
    """
    return _max_pool_backward(dy, cache, "max_pool2d_forward")


def avg_pool1d(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the mean of each window of sequences, as PyTorch's `avg_pool1d` does.

    y[n, c, i] = sum over k < kernel_size of x[n, c, i * stride + k - padding], divided by the size of the window.

    Parameters
    ----------
    x : array_like (N, C, L)
    kernel_size : int
    stride : int, optional
        By default the kernel size.
    padding : int or ((int, int),)
        How far windows reach beyond x, before and after it: less than the kernel size.
    ceil_mode : bool
        Whether a last window may reach beyond the padding; what it finds there never counts.
    count_include_pad : bool
        Whether padding counts in the size of a window, as zeros.

    Returns
    -------
    ndarray (N, C, L_out)
        Of the dtype of x; float64 for integers.

    Raises
    ------
    TypeError
        If x is complex or holds objects.
    ValueError
        If x has not three axes, an option is out of range, or no window fits.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.avg_pool1d([[[1.0, 5.0, 2.0, 4.0]]], 2)
    array([[[3., 3.]]])
    >>> fastnn.avg_pool1d([[[1.0, 5.0, 2.0, 4.0]]], 2, padding=1, count_include_pad=False)
    array([[[1. , 3.5, 4. ]]])
    """
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)[0]


def avg_pool1d_forward(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the result of `avg_pool1d`, and a cache for `avg_pool1d_backward`.

    Returns
    -------
    y : ndarray (N, C, L_out)
    cache

    Examples
    --------
    >>> import fastnn
    >>> y, cache = fastnn.avg_pool1d_forward([[[1.0, 5.0, 2.0]]], 2, stride=1)
    >>> fastnn.avg_pool1d_backward([[[1.0, 1.0]]], cache)
    {'x': array([[[0.5, 1. , 0.5]]])}
    """
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool1d_backward(dy, cache):
    """Return the gradient of x in `avg_pool1d_forward`, by name: dy shared out evenly over each window.

    Parameters
    ----------
    dy : array_like (N, C, L_out)
        The gradient of y; None is 0.
    cache
        What `avg_pool1d_forward` returned.

    Returns
    -------
    dict
        A new array (N, C, L) under "x".
    """
    return _avg_pool_backward(dy, cache, "avg_pool1d_forward")


def avg_pool2d(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the mean of each window of images, as PyTorch's `avg_pool2d` does.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        By default the kernel size.
    padding : int, (int, int) or ((int, int), (int, int))
        As in `avg_pool1d`, for rows and columns.
    ceil_mode, count_include_pad : bool
        As in `avg_pool1d`.

    Returns
    -------
    ndarray (N, C, H_out, W_out)

    Raises
    ------
    TypeError
        If x is complex or holds objects.
    ValueError
        If x has not four axes, an option is out of range, or no window fits.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)[0]


def avg_pool2d_forward(x, kernel_size, stride=None, *, padding=0, ceil_mode=False, count_include_pad=True):
    """Return the result of `avg_pool2d`, and a cache for `avg_pool2d_backward`.

    Returns
    -------
    y : ndarray (N, C, H_out, W_out)
    cache

    Examples
    --------
    >>> import fastnn
    >>> y, cache = fastnn.avg_pool2d_forward([[[[1.0, 3.0], [2.0, 0.0]]]], 2)
    >>> fastnn.avg_pool2d_backward([[[[1.0]]]], cache)
    {'x': array([[[[0.25, 0.25],
             [0.25, 0.25]]]])}
    """
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d_backward(dy, cache):
    """Return the gradient of x in `avg_pool2d_forward`, by name, as `avg_pool1d_backward` does.

    Parameters
    ----------
    dy : array_like (N, C, H_out, W_out)
        The gradient of y; None is 0.
    cache
        What `avg_pool2d_forward` returned.

    Returns
    -------
    dict
        A new array (N, C, H, W) under "x".
    """
    return _avg_pool_backward(dy, cache, "avg_pool2d_forward")


def max_over_time(x, lengths=None):
    """Return the largest element of each channel over time: y[n, c] = max over t < lengths[n] of x[n, c, t].

    Parameters
    ----------
    x : array_like (N, C, L)
        At least one step long.
    lengths : array_like (N,) of integers, optional
        The steps of each sequence that count, from 0 to L; all of them by default.

    Returns
    -------
    ndarray (N, C)
        Of the dtype of x; float64 for integers. NaN where one counts, 0 for a length of 0.

    Raises
    ------
    TypeError
        If x is complex or holds objects, or the lengths are not integers.
    ValueError
        If x has not three axes or no step, or a length is out of range.

    Notes
    -----
    The pooling of Collobert et al. (2011), "Natural language processing (almost) from scratch", and of Kim (2014): it
    turns windows of words into one vector, however long the text is.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.max_over_time([[[1.0, 5.0, 7.0]], [[2.0, 4.0, 3.0]]], lengths=[2, 3])
    array([[5.],
           [4.]])
    """
    return max_over_time_forward(x, lengths)[0]


def max_over_time_forward(x, lengths=None):
    """Return the result of `max_over_time`, and a cache for `max_over_time_backward`.

    Returns
    -------
    y : ndarray (N, C)
    cache

    Examples
    --------
    >>> import fastnn
    >>> y, cache = fastnn.max_over_time_forward([[[1.0, 5.0, 7.0]]], lengths=[2])
    >>> fastnn.max_over_time_backward([[1.0]], cache)
    {'x': array([[[0., 1., 0.]]])}
    """
    x, lengths, dtype = time_operands(x, lengths)
    y, at = np.empty(x.shape[:2], x.dtype), np.empty(x.shape[:2], np.int32)
    _MAX_OVER_TIME[x.dtype](y, at, dense(x), dense(lengths))
    return narrowed(y, dtype), TimeCache(x.shape, at, dtype)


@quiet
def max_over_time_backward(dy, cache):
    """Return the gradient of x in `max_over_time_forward`, by name: dy at the step the maximum came from.

    Of equal steps that is the first, of several NaN the last; there is none for a length of 0.

    Parameters
    ----------
    dy : array_like (N, C)
        The gradient of y; None is 0.
    cache
        What `max_over_time_forward` returned.

    Returns
    -------
    dict
        A new array (N, C, L) under "x".
    """
    shape, at, dtype = check_cache(cache, TimeCache, "max_over_time_forward")
    dy = as_gradient(dy, shape[:2], working(dtype), "dy")
    dx = np.zeros(shape, dy.dtype)
    _MAX_OVER_TIME_BACKWARD[dy.dtype](dx, dense(dy), at)
    return _as({"x": dx}, dtype)
