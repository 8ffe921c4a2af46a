"""The product of a layer: not public, since NumPy has it all."""

from functools import lru_cache

import numpy as np

__all__ = ["affine", "affine_backward"]


@np.errstate(all="ignore")
def affine(x, weight, bias):
    """Return x @ weight.T + bias for matrices of one dtype; bias may be None."""
    y = x.dot(weight.T)
    if bias is not None:
        y += bias
    return y


@np.errstate(all="ignore")
def affine_backward(dy, x, weight, need_dx=True):
    """Return dy @ weight, dy.T @ x and dy.sum(0): the gradients of x, or None if not needed, of weight and bias."""
    return dy.dot(weight) if need_dx else None, dy.T.dot(x), _ones(len(dy), dy.dtype).dot(dy)


@lru_cache(maxsize=16)
def _ones(n, dtype):
    return np.ones(n, dtype)
