"""Dropout in plain NumPy."""

import math

import numpy as np

from fastnn._checks import as_float, check_probability, dropout_arguments, mask_argument, working

__all__ = ["dropout", "dropout_backward"]


def _draw(shape, p, rng):
    """Return a mask, set with probability 1 - p: 16 bits a number are compared with the first 16 of p.

    Where they are equal, a number from 0 to 1 is compared with the rest of it.
    """
    n = math.prod(shape)
    draws = rng.integers(0, 2**64 - 1, -(-n // 4), np.uint64, endpoint=True)
    bits = (draws[:, None] >> np.arange(0, 64, 16, dtype=np.uint64)).astype(np.uint16).reshape(-1)[:n]
    first = min(int(p * 65536), 65535)
    mask = bits > first
    equal = np.flatnonzero(bits == first)
    mask[equal] = rng.random(len(equal)) >= p * 65536 - first
    return mask.reshape(shape)


@np.errstate(all="ignore")
def _scaled(x, mask, p):
    """Return x / (1 - p) where the mask is set, and 0 elsewhere, whatever x is there."""
    scale = 1 / (1 - p) if p < 1 else 0.0
    return np.where(mask, x.astype(working(x.dtype), copy=False) * scale, 0).astype(x.dtype, copy=False)


def dropout(x, p, rng, *, shared_axes=()):
    """Return x / (1 - p) where a mask is set, which it is with probability 1 - p, else 0; and the mask."""
    x, shape = dropout_arguments(x, p, rng, shared_axes)
    mask = _draw(shape, p, rng)
    return _scaled(x, mask, p), mask


def dropout_backward(dy, mask, p):
    """Return dy / (1 - p) where the mask is set, and 0 elsewhere."""
    dy = as_float(dy, "dy")
    check_probability(p)
    return _scaled(dy, mask_argument(mask, dy), p)
