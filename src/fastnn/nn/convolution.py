"""Layers over sequences (N, C, L) and images (N, C, H, W): convolution, pooling, Flatten."""

import math

import numpy as np

from fastnn._backend import functions as F
from fastnn._windows import numbers, pairs, pool_windows
from fastnn.nn.module import Module, Parameter, complaint, positive, real_array, real_dtype

__all__ = ["AvgPool1d", "AvgPool2d", "Conv1d", "Conv2d", "Flatten", "MaxOverTime", "MaxPool1d", "MaxPool2d"]


def _integers(x):
    return np.asarray(x).dtype.kind != "f"


class _Windows(Module):
    """A layer that is a function of windows: `kind` names it, `axes` is 1 for sequences and 2 for images."""

    kind = ""
    axes = 0

    def _call(self, suffix, *arguments, **options):
        """Call the layer's function; what it has to say about the shapes is said of this layer."""
        try:
            return getattr(F, f"{self.kind}{self.axes}d{suffix}")(*arguments, **options)
        except ValueError as error:
            raise complaint(self, str(error)) from None


class _Conv(_Windows):
    kind = "conv"
    skips_dx = True

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        *,
        rng=None,
        dtype=np.float32,
    ):
        self.in_channels, self.out_channels = (
            positive("in_channels", in_channels),
            positive("out_channels", out_channels),
        )
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.groups = positive("groups", groups)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"groups is {groups}, expected a divisor of {name}, which is {getattr(self, name)}")
        for name in ("stride", "dilation"):
            numbers(getattr(self, name), self.axes, name, 1)
        pairs(padding, self.axes)
        kernel = numbers(kernel_size, self.axes, "kernel_size", 1)
        shape = self.out_channels, self.in_channels // self.groups, *kernel
        rng, dtype, bound = np.random.default_rng(rng), real_dtype(dtype), math.prod(shape[1:]) ** -0.5
        self.weight = Parameter(rng.uniform(-bound, bound, shape).astype(dtype))
        self.bias = Parameter(rng.uniform(-bound, bound, self.out_channels).astype(dtype)) if bias else None

    def config(self):
        return super().config() | {"bias": self.bias is not None}

    @classmethod
    def _sizes(cls, shapes):
        """With groups, which no shape tells, `in_channels` is to be given too."""
        outputs, inputs, *kernel = shapes["weight"]
        kernel = kernel[0] if len(kernel) == 1 else tuple(kernel)
        return {"in_channels": inputs, "out_channels": outputs, "kernel_size": kernel, "bias": "bias" in shapes}

    def _forward(self, x, suffix):
        x = real_array(x, self.weight.value.dtype)
        if x.ndim != self.axes + 2 or x.shape[1] != self.in_channels:
            sizes = "length" if self.axes == 1 else "height, width"
            raise complaint(self, f"x has shape {x.shape}, expected (batch, {self.in_channels}, {sizes})")
        options = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        return self._call(suffix, x, self.weight.value, self.bias and self.bias.value, **options)

    def __call__(self, x):
        return self._forward(x, "")

    def vjp(self, x, *, training=True, need_dx=True):
        y, cache = self._forward(x, "_forward")
        need_dx = need_dx and not _integers(x)

        def back(dy):
            gradients = self._call("_backward", dy, cache, need_dx=need_dx)
            self.weight.accumulate(gradients["weight"])
            if self.bias is not None:
                self.bias.accumulate(gradients["bias"])
            return gradients.get("x")

        return y, back


class Conv1d(_Conv):
    """Convolution of sequences (N, C, L): see `fastnn.conv1d` for the formula.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
    stride, padding, dilation, groups
        As in `fastnn.conv1d`.
    bias : bool
    rng : numpy.random.Generator, int or None
        Draws weight and bias from U(-1/sqrt(n), 1/sqrt(n)), n being the number of terms in a sum, as PyTorch does.
    dtype : float32 or float64
        Of the parameters. Inputs are converted to it.

    Attributes
    ----------
    weight : Parameter
        Of shape (out_channels, in_channels / groups, kernel_size).
    bias : Parameter or None
        Of shape (out_channels,).

    Examples
    --------
    >>> layer = Conv1d(3, 2, 5, padding="same", rng=0)
    >>> layer
    Conv1d(in_channels=3, out_channels=2, kernel_size=5, padding='same')
    >>> y, back = layer.vjp(np.ones((4, 3, 10), np.float32))
    >>> y.shape, back(y).shape, layer.weight.grad.shape
    ((4, 2, 10), (4, 3, 10), (2, 3, 5))
    """

    axes = 1


class Conv2d(_Conv):
    """Convolution of images (N, C, H, W): see `fastnn.conv2d` for the formula.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
    stride, padding, dilation, groups
        As in `fastnn.conv2d`.
    bias : bool
    rng : numpy.random.Generator, int or None
        Draws weight and bias as `Conv1d` does.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter
        Of shape (out_channels, in_channels / groups, kernel height, kernel width).
    bias : Parameter or None

    Examples
    --------
    >>> from fastnn import nn
    >>> net = nn.Sequential(
    ...     nn.Conv2d(1, 8, 3, rng=0), nn.Activation("relu"), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 13 * 13, 10)
    ... )
    >>> net(np.zeros((5, 1, 28, 28), np.float32)).shape
    (5, 10)
    """

    axes = 2


class _Pool(_Windows):
    def _choose(self, kernel_size, stride, padding, dilation=1):
        pool_windows(self.axes, kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def vjp(self, x, *, training=True):
        y, cache = self._call("_forward", x, **self.config())
        integers = _integers(x)
        return y, lambda dy: None if integers else self._call("_backward", dy, cache)["x"]

    def __call__(self, x):
        return self._call("", x, **self.config())


class _MaxPool(_Pool):
    kind = "max_pool"

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        self._choose(kernel_size, stride, padding, dilation)
        self.dilation, self.ceil_mode = dilation, bool(ceil_mode)


class MaxPool1d(_MaxPool):
    """The largest element of each window of sequences (N, C, L): see `fastnn.max_pool1d` for the arguments.

    Examples
    --------
    >>> layer = MaxPool1d(2)
    >>> y, back = layer.vjp(np.array([[[1.0, 5.0, 3.0, 3.0]]]))
    >>> y, back(y)
    (array([[[5., 3.]]]), array([[[0., 5., 3., 0.]]]))
    """

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of images (N, C, H, W): see `fastnn.max_pool2d` for the arguments.

    Examples
    --------
    >>> layer = MaxPool2d(3, stride=2, padding=1)
    >>> layer
    MaxPool2d(kernel_size=3, stride=2, padding=1)
    >>> layer(np.zeros((1, 4, 9, 9))).shape
    (1, 4, 5, 5)
    """

    axes = 2


class _AvgPool(_Pool):
    kind = "avg_pool"

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        self._choose(kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = bool(ceil_mode), bool(count_include_pad)


class AvgPool1d(_AvgPool):
    """The mean of each window of sequences (N, C, L): see `fastnn.avg_pool1d` for the arguments.

    Examples
    --------
    >>> AvgPool1d(2)(np.array([[[1.0, 5.0, 3.0, 4.0]]]))
    array([[[3. , 3.5]]])
    """

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of images (N, C, H, W): see `fastnn.avg_pool2d` for the arguments.

    Examples
    --------
    >>> AvgPool2d(2)(np.array([[[[1.0, 5.0], [3.0, 4.0]]]]))
    array([[[[3.25]]]])
    """

    axes = 2


class MaxOverTime(Module):
    """The largest element of each channel of sequences (N, C, L) over time, up to their lengths: (N, C).

    As `Pool("max")` does where features come last.

    Examples
    --------
    >>> x = np.array([[[1.0, 5.0, 7.0]], [[2.0, 4.0, 3.0]]])
    >>> y, back = MaxOverTime().vjp(x, lengths=[2, 3])
    >>> y.tolist(), back(y).tolist()
    ([[5.0], [4.0]], [[[0.0, 5.0, 0.0]], [[0.0, 4.0, 0.0]]])
    """

    takes_lengths = True

    def vjp(self, x, lengths=None, *, training=True):
        y, cache = F.max_over_time_forward(x, lengths)
        integers = _integers(x)
        return y, lambda dy: None if integers else F.max_over_time_backward(dy, cache)["x"]


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim` into one: by default all but the batch.

    Examples
    --------
    >>> y, back = Flatten().vjp(np.zeros((5, 4, 3, 2)))
    >>> y.shape, back(y).shape
    ((5, 24), (5, 4, 3, 2))
    """

    def __init__(self, start_dim=1, end_dim=-1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def vjp(self, x, *, training=True):
        x = np.asarray(x)
        shape, n = x.shape, x.ndim
        first, last = (dim + n if dim < 0 else dim for dim in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < n:
            raise complaint(self, f"x has shape {shape}, expected axes {self.start_dim} to {self.end_dim}")
        y = x.reshape(*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
        return y, lambda dy: None if _integers(x) else np.reshape(dy, shape)
