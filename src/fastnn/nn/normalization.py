"""Layers that normalize: LayerNorm and RMSNorm by rows, BatchNorm1d and BatchNorm2d by channels."""

import math

import numpy as np

from fastnn._backend import functions as F
from fastnn.nn.module import Buffer, Module, Parameter, complaint, positive, real_array, real_dtype

__all__ = ["BatchNorm1d", "BatchNorm2d", "LayerNorm", "RMSNorm"]


_CALLED = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)"}


def _values(*parameters):
    return [None if parameter is None else parameter.value for parameter in parameters]


def _pullback(layer, backward, cache, x, shape):
    """Return `back` of a layer, whose gradients `backward` gives, that of x to get this shape."""
    integers = np.asarray(x).dtype.kind != "f"

    def back(dy):
        dy = np.asarray(dy)
        if dy.shape != shape:
            raise complaint(layer, f"dy has shape {dy.shape}, expected {shape}")
        gradients = backward(dy.reshape(cache.x.shape), cache)
        for name in ("weight", "bias"):
            if name in gradients:
                getattr(layer, name).accumulate(gradients[name])
        return None if integers else gradients["x"].reshape(shape)

    return back


class _ByRow(Module):
    """What LayerNorm and RMSNorm share: the shape of a row, and x as such rows."""

    def _rows(self, x):
        """Return x in the dtype of the weight, and what F takes, where the axes of a row without weight are one."""
        if self.weight is not None:
            x = real_array(x, self.weight.value.dtype)
        x = np.asarray(x)
        lead = x.ndim - len(self.normalized_shape)
        if lead < 0 or x.shape[lead:] != self.normalized_shape:
            expected = ", ".join(["...", *map(str, self.normalized_shape)])
            raise complaint(self, f"x has shape {x.shape}, expected ({expected})")
        if self.weight is not None:
            return x, x
        return x, x.reshape(*x.shape[:lead], math.prod(self.normalized_shape))


class LayerNorm(_ByRow):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, with the statistics of each row, in training and after it.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Of a row: the last axes of x.
    eps : float
    elementwise_affine : bool
        Whether there are a weight, of ones at first, and a bias.
    bias : bool
        Whether there is a bias, of zeros at first, beside the weight.
    dtype : float32 or float64
        Of the parameters. Inputs are converted to it; where there are none, inputs keep theirs.

    Attributes
    ----------
    weight, bias : Parameter or None
        Of the shape of a row.

    Examples
    --------
    >>> layer = LayerNorm(3)
    >>> layer
    LayerNorm(normalized_shape=(3,))
    >>> y, back = layer.vjp(np.array([[1, 2, 3]], np.float32))
    >>> y.round(3)
    array([[-1.225,  0.   ,  1.225]], dtype=float32)
    >>> back(np.array([[0, 1, 0]], np.float32)).round(3)
    array([[-0.408,  0.816, -0.408]], dtype=float32)
    >>> layer.bias.grad
    array([0., 1., 0.], dtype=float32)
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, *, dtype=np.float32):
        self.normalized_shape, self.eps = _row_shape(normalized_shape), eps
        self.elementwise_affine = elementwise_affine
        dtype = real_dtype(dtype)
        self.weight = Parameter(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, dtype)) if elementwise_affine and bias else None

    def config(self):
        return super().config() | {"bias": self.bias is not None or not self.elementwise_affine}

    @classmethod
    def _sizes(cls, shapes):
        return {"normalized_shape": shapes["weight"], "bias": "bias" in shapes}

    def vjp(self, x, *, training=True):
        given, rows = self._rows(x)
        y, cache = F.layer_norm(rows, *_values(self.weight, self.bias), eps=self.eps)
        return y.reshape(given.shape), _pullback(self, F.layer_norm_backward, cache, x, given.shape)


class RMSNorm(_ByRow):
    """y = x / sqrt(mean(x**2) + eps) * weight, with the mean of each row, in training and after it.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Of a row: the last axes of x.
    eps : float or None
        None is the machine epsilon of the dtype.
    elementwise_affine : bool
        Whether there is a weight, of ones at first.
    dtype : float32 or float64
        Of the weight. Inputs are converted to it; where there is none, inputs keep theirs.

    Attributes
    ----------
    weight : Parameter or None
        Of the shape of a row.

    Examples
    --------
    >>> layer = RMSNorm(2)
    >>> layer
    RMSNorm(normalized_shape=(2,))
    >>> layer(np.array([[1, 7], [-3, 3]], np.float32))
    array([[ 0.2,  1.4],
           [-1. ,  1. ]], dtype=float32)
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, *, dtype=np.float32):
        self.normalized_shape, self.eps = _row_shape(normalized_shape), eps
        self.elementwise_affine, dtype = elementwise_affine, real_dtype(dtype)
        self.weight = Parameter(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None

    @classmethod
    def _sizes(cls, shapes):
        return {"normalized_shape": shapes["weight"]}

    def vjp(self, x, *, training=True):
        given, rows = self._rows(x)
        y, cache = F.rms_norm(rows, *_values(self.weight), eps=self.eps)
        return y.reshape(given.shape), _pullback(self, F.rms_norm_backward, cache, x, given.shape)


def _row_shape(shape):
    """Return the shape of a row, given as one number or several, as a tuple of at least one."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not shape:
        raise ValueError("normalized_shape is (), expected at least one axis")
    return tuple(positive("normalized_shape", n) for n in shape)


class _ByChannel(Module):
    """What BatchNorm1d and BatchNorm2d share: all but the axes that x may have."""

    _axes = ()  # how many x may have

    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, *, dtype=np.float32
    ):
        self.num_features, self.eps, self.momentum = positive("num_features", num_features), eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        zeros, ones = (make(self.num_features, real_dtype(dtype)) for make in (np.zeros, np.ones))
        self.weight = Parameter(ones) if affine else None
        self.bias = Parameter(zeros) if affine else None
        self.running_mean = Buffer(zeros) if track_running_stats else None
        self.running_var = Buffer(ones) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.int64(0)) if track_running_stats else None

    @classmethod
    def _sizes(cls, shapes):
        affine, tracked = "weight" in shapes, "running_mean" in shapes
        (features,) = shapes["weight" if affine or not tracked else "running_mean"]
        return {"num_features": features, "affine": affine, "track_running_stats": tracked}

    def vjp(self, x, *, training=True):
        own = self.weight or self.running_mean
        values = np.asarray(x) if own is None else real_array(x, own.value.dtype)
        if values.ndim not in self._axes or values.shape[1] != self.num_features:
            expected = " or ".join(_CALLED[n] for n in self._axes).replace("C", str(self.num_features))
            raise complaint(self, f"x has shape {values.shape}, expected {expected}")
        momentum = self.momentum
        if momentum is None:  # the running statistics are means over the batches so far
            momentum = 1 / (1 + self.num_batches_tracked.value) if self.track_running_stats else 0
        y, cache = F.batch_norm(
            values,
            *_values(self.running_mean, self.running_var, self.weight, self.bias),
            training=training or not self.track_running_stats,
            momentum=momentum,
            eps=self.eps,
        )
        if training and self.track_running_stats:
            self.num_batches_tracked.value += 1
        return y, _pullback(self, F.batch_norm_backward, cache, x, y.shape)


class BatchNorm1d(_ByChannel):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, with the statistics of each channel, axis 1 of x.

    In training they are those of x, the variance being the mean of the squared deviations; otherwise the running ones,
    which each training call moves towards those of x, the variance towards its unbiased estimate.

    Parameters
    ----------
    num_features : int
        C, where x is (N, C) or (N, C, L).
    eps : float
    momentum : float or None
        The weight of the new statistics in the running ones; None makes these the mean over all batches so far.
    affine : bool
        Whether there are a weight, of ones at first, and a bias, of zeros.
    track_running_stats : bool
        Whether there are running statistics; without them those of x are used always.
    dtype : float32 or float64
        Of the parameters and statistics. Inputs are converted to it; where there are none, inputs keep theirs.

    Attributes
    ----------
    weight, bias : Parameter or None
        Of shape (num_features,).
    running_mean, running_var : Buffer or None
        Of shape (num_features,).
    num_batches_tracked : Buffer or None
        An int64 without axes.

    Examples
    --------
    >>> layer = BatchNorm1d(2)
    >>> layer
    BatchNorm1d(num_features=2)
    >>> x = np.array([[1, 5], [3, 9]], np.float32)
    >>> y, back = layer.vjp(x)
    >>> y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> layer.running_mean.value, layer.running_var.value.round(3)
    (array([0.2, 0.7], dtype=float32), array([1.1, 1.7], dtype=float32))
    >>> layer(x).round(3)
    array([[0.763, 3.298],
           [2.67 , 6.366]], dtype=float32)
    """

    _axes = (2, 3)


class BatchNorm2d(_ByChannel):
    """What `BatchNorm1d` does, for images: x is (N, C, H, W).

    Examples
    --------
    >>> layer = BatchNorm2d(3)
    >>> list(layer.state_dict())
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    >>> y, back = layer.vjp(np.ones((2, 3, 4, 4), np.float32))
    >>> back(y).shape
    (2, 3, 4, 4)
    """

    _axes = (4,)
