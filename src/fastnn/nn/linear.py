"""Layers that multiply by a weight matrix: Linear."""

import numpy as np

from fastnn._backend import functions as F
from fastnn.nn.module import Module, Parameter, complaint, positive, real_array, real_dtype

__all__ = ["Linear"]


class Linear(Module):
    """y = x W^T + b.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : numpy.random.Generator, int or None
        Draws weight and bias from U(-1/sqrt(in_features), 1/sqrt(in_features)), as PyTorch does.
    dtype : float32 or float64
        Of the parameters. Inputs are converted to it.

    Attributes
    ----------
    weight : Parameter
        Of shape (out_features, in_features).
    bias : Parameter or None
        Of shape (out_features,).

    Examples
    --------
    >>> layer = Linear(3, 2, rng=0)
    >>> layer
    Linear(in_features=3, out_features=2)
    >>> x = np.ones((5, 4, 3), np.float32)
    >>> y, back = layer.vjp(x)
    >>> y.shape, back(np.ones_like(y)).shape
    ((5, 4, 2), (5, 4, 3))
    >>> layer.bias.grad
    array([20., 20.], dtype=float32)
    """

    skips_dx = True

    def __init__(self, in_features, out_features, bias=True, *, rng=None, dtype=np.float32):
        self.in_features = positive("in_features", in_features)
        self.out_features = positive("out_features", out_features)
        rng, dtype, bound = np.random.default_rng(rng), real_dtype(dtype), self.in_features**-0.5
        self.weight = Parameter(rng.uniform(-bound, bound, (self.out_features, self.in_features)).astype(dtype))
        self.bias = Parameter(rng.uniform(-bound, bound, self.out_features).astype(dtype)) if bias else None

    def config(self):
        return super().config() | {"bias": self.bias is not None}

    @classmethod
    def _sizes(cls, shapes):
        rows, columns = shapes["weight"]
        return {"in_features": columns, "out_features": rows, "bias": "bias" in shapes}

    def _forward(self, x):
        """Return y, and x as rows of the weight's dtype."""
        weight, bias = self.weight.value, self.bias
        if type(x) is not np.ndarray or x.dtype != weight.dtype:
            x = real_array(x, weight.dtype)
        shape, bias = x.shape, None if bias is None else bias.value
        if len(shape) == 2 and shape[1] == self.in_features:
            return F.affine(x, weight, bias), x
        if shape[-1:] != (self.in_features,):
            raise complaint(self, f"x has shape {shape}, expected (..., {self.in_features})")
        rows = x.reshape(-1, self.in_features)
        return F.affine(rows, weight, bias).reshape(*shape[:-1], self.out_features), rows

    def __call__(self, x):
        return self._forward(x)[0]

    def vjp(self, x, *, training=True, need_dx=True):
        y, rows = self._forward(x)
        shape, need_dx = y.shape, need_dx and (rows is x or np.asarray(x).dtype.kind == "f")
        return y, lambda dy: self._backward(dy, rows, shape, need_dx)

    def _backward(self, dy, rows, shape, need_dx):
        if type(dy) is not np.ndarray or dy.dtype != rows.dtype:
            dy = real_array(dy, rows.dtype, "dy")
        if dy.shape != shape:
            raise complaint(self, f"dy has shape {dy.shape}, expected {shape}")
        if len(shape) != 2:
            dy = dy.reshape(-1, self.out_features)
        dx, dweight, dbias = F.affine_backward(dy, rows, self.weight.value, need_dx)
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)
        return dx if len(shape) == 2 or dx is None else dx.reshape(*shape[:-1], self.in_features)
