"""Windows that slide over the last axes of an array: what convolution and pooling ask of their arguments."""

import operator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastnn._checks import as_float, check_lengths, check_shape, working


class Axis(NamedTuple):
    """One axis that windows slide along; window i begins at i * stride - before, `size` is without the padding."""

    size: int
    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    out: int = 1  # the number of windows

    @property
    def extent(self):
        """How far a window reaches."""
        return (self.kernel - 1) * self.dilation + 1


class ConvolutionCache(NamedTuple):
    """What the gradients of a convolution need."""

    x: np.ndarray
    weight: np.ndarray
    has_bias: bool
    axes: tuple
    groups: int
    dtype: np.dtype


class MaxPoolCache(NamedTuple):
    """What the gradient of a maximum needs: `at` is the tap that each came from."""

    shape: tuple
    axes: tuple
    at: np.ndarray
    dtype: np.dtype


class AvgPoolCache(NamedTuple):
    """What the gradient of a mean needs: `sizes` are those of the windows, along each axis."""

    shape: tuple
    axes: tuple
    sizes: list
    dtype: np.dtype


class TimeCache(NamedTuple):
    """What the gradient of a maximum over time needs: `at` is the step that each came from."""

    shape: tuple
    at: np.ndarray
    dtype: np.dtype


def check_cache(cache, kind, name):
    """Return the cache if it is what the function of this name returns."""
    if not isinstance(cache, kind):
        raise TypeError(f"cache is a {type(cache).__name__}, expected what {name} returned")
    return cache


def numbers(value, n, name, least):
    """Return n integers, from one for all axes or a sequence."""
    try:
        values = (operator.index(value),) * n
    except TypeError:
        values = tuple(value) if isinstance(value, (tuple, list)) else ()
        values = tuple(map(operator.index, values)) if all(hasattr(v, "__index__") for v in values) else ()
    if len(values) != n or min(values) < least:
        expected = "an integer" if n == 1 else f"an integer or {n} of them"
        raise ValueError(f"{name} is {value!r}, expected {expected}, at least {least}")
    return values


def pairs(padding, n):
    """Return the padding (before, after) each of n axes, or the name that stands for it."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding is {padding!r}, expected 'same', 'valid' or numbers")
        return padding
    if isinstance(padding, (tuple, list)) and all(isinstance(pair, (tuple, list)) for pair in padding):
        if len(padding) != n:
            raise ValueError(f"padding is {padding!r}, expected {n} of (before, after)")
        return tuple(numbers(pair, 2, "padding", 0) for pair in padding)
    return tuple((p, p) for p in numbers(padding, n, "padding", 0))


@lru_cache(maxsize=256)
def _slide(shape, kernel, stride, padding, dilation, ceil_mode):
    """Return the windows along the last axes of an array of this shape."""
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if padding == "same":
        if max(stride) > 1:
            raise ValueError(f"padding is 'same' and stride is {stride}, expected a stride of 1")
        padding = [((extent - 1) // 2, extent // 2) for extent in extents]
    elif padding == "valid":
        padding = [(0, 0)] * len(kernel)
    axes = []
    sizes = shape[-len(kernel) :]
    for size, k, s, d, extent, (before, after) in zip(sizes, kernel, stride, dilation, extents, padding, strict=True):
        room = size + before + after - extent
        out = room // s + 1
        if ceil_mode and room % s and out * s < size + before:
            out += 1  # a last window that reaches beyond the padding, if it begins before that
        if out < 1:
            raise ValueError(
                f"x has shape {shape}, expected at least {extent - before - after} along axis "
                f"{len(axes) - len(kernel)}, since a window would reach beyond the padded input"
            )
        axes.append(Axis(size, k, s, before, after, d, out))
    return tuple(axes)


def convolution_operands(axes, x, weight, bias, stride, padding, dilation, groups):
    """Return what a convolution over so many axes works on: bias, and a cache with the rest."""
    x, weight = as_float(x, "x"), as_float(weight, "weight")
    bias = None if bias is None else as_float(bias, "bias")
    layout = "N, C, L" if axes == 1 else "N, C, H, W"
    if x.ndim != axes + 2:
        raise ValueError(f"x has shape {x.shape}, expected ({layout})")
    groups, channels = operator.index(groups), x.shape[1]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups is {groups}, expected a divisor of the {channels} channels of x")
    if weight.ndim != axes + 2 or weight.shape[1] != channels // groups or min(weight.shape[2:]) < 1:
        window = "kernel" if axes == 1 else "kernel height, kernel width"
        raise ValueError(f"weight has shape {weight.shape}, expected (out channels, {channels // groups}, {window})")
    if weight.shape[0] % groups:
        raise ValueError(f"groups is {groups}, expected a divisor of the {weight.shape[0]} rows of weight")
    if bias is not None:
        check_shape(bias, weight.shape[:1], "bias")
    stride, dilation = numbers(stride, axes, "stride", 1), numbers(dilation, axes, "dilation", 1)
    windows = _slide(x.shape, weight.shape[2:], stride, pairs(padding, axes), dilation, False)
    dtype = np.result_type(x, weight, *([] if bias is None else [bias]))
    kind = working(dtype)
    x, weight = x.astype(kind, copy=False), weight.astype(kind, copy=False)
    bias = None if bias is None else bias.astype(kind, copy=False)
    return bias, ConvolutionCache(x, weight, bias is not None, windows, groups, dtype)


def pool_windows(axes, kernel_size, stride, padding, dilation):
    """Return the checked kernel, stride, padding (before, after) and dilation of windows over so many axes."""
    kernel = numbers(kernel_size, axes, "kernel_size", 1)
    if isinstance(padding, str):
        raise ValueError(f"padding is {padding!r}, expected numbers")
    stride = kernel if stride is None else numbers(stride, axes, "stride", 1)
    dilation = numbers(dilation, axes, "dilation", 1)
    around = pairs(padding, axes)
    for k, d, sides in zip(kernel, dilation, around, strict=True):
        extent = (k - 1) * d + 1
        if max(sides) >= extent:
            raise ValueError(f"padding is {padding!r}, expected less than the window's extent {extent}")
    return kernel, stride, around, dilation


def pool_operands(axes, x, kernel_size, stride, padding, dilation, ceil_mode):
    """Return x in the dtype to compute in, its windows, and the dtype of the result."""
    x = as_float(x, "x")
    if x.ndim != axes + 2:
        raise ValueError(f"x has shape {x.shape}, expected ({'N, C, L' if axes == 1 else 'N, C, H, W'})")
    windows = _slide(x.shape, *pool_windows(axes, kernel_size, stride, padding, dilation), bool(ceil_mode))
    return x.astype(working(x.dtype), copy=False), windows, x.dtype


def window_sizes(axes, count_include_pad, dtype):
    """Return, for each axis, how many elements each of its windows holds.

    Those in the padding count if they are asked for, those beyond it never.
    """
    sizes = []
    for axis in axes:
        start = np.arange(axis.out) * axis.stride - axis.before
        end = np.minimum(start + axis.kernel, axis.size + (axis.after if count_include_pad else 0))
        sizes.append((end - (start if count_include_pad else np.maximum(start, 0))).astype(dtype))
    return sizes


def time_operands(x, lengths):
    """Return x in the dtype to compute in, its lengths, and the dtype of the result."""
    x = as_float(x, "x")
    if x.ndim != 3:
        raise ValueError(f"x has shape {x.shape}, expected (N, C, L)")
    if not x.shape[2]:
        raise ValueError(f"x has shape {x.shape}, expected at least one step")
    return x.astype(working(x.dtype), copy=False), check_lengths(lengths, x.shape[2], x.shape[0]), x.dtype
