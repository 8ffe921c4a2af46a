"""Initial values of weights: each function returns a new array of the given shape.

The fans of a shape are (shape[1], shape[0]) times the size of the remaining axes, as for PyTorch's weights
(out, in, *kernel).
"""

import math

import numpy as np

__all__ = ["he_normal", "he_uniform", "uniform", "xavier_normal", "xavier_uniform"]


def _fans(shape):
    """Return fan_in and fan_out of a weight."""
    if len(shape) < 2:
        raise ValueError(f"shape is {tuple(shape)}, expected at least two axes (out, in, ...), since fans need both")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _he_fan(shape, mode):
    """Return the fan that a mode names."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    return _fans(shape)[mode == "fan_out"]


def _normal(shape, rng, std, dtype):
    return (std * np.random.default_rng(rng).standard_normal(shape)).astype(dtype)


def uniform(shape, rng=None, *, bound, dtype=np.float32):
    """Return values from U(-bound, bound).

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator, int or None
    bound : float
    dtype : dtype
        The draws are made in float64 and rounded.

    Examples
    --------
    >>> uniform((2, 2), 0, bound=0.1).round(3)
    array([[ 0.027, -0.046],
           [-0.092, -0.097]], dtype=float32)
    """
    return np.random.default_rng(rng).uniform(-bound, bound, shape).astype(dtype)


def xavier_uniform(shape, rng=None, *, gain=1.0, dtype=np.float32):
    """Return values from U(-r, r), r = gain * sqrt(6 / (fan_in + fan_out)): variance 2 / (fan_in + fan_out).

    Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks".

    Examples
    --------
    >>> bool(abs(xavier_uniform((30, 20), 0)).max() <= (6 / 50) ** 0.5)
    True
    """
    return uniform(shape, rng, bound=gain * math.sqrt(6 / sum(_fans(shape))), dtype=dtype)


def xavier_normal(shape, rng=None, *, gain=1.0, dtype=np.float32):
    """Return values from N(0, s^2), s = gain * sqrt(2 / (fan_in + fan_out)).

    Glorot and Bengio (2010), as `xavier_uniform`.

    Examples
    --------
    >>> round(float(xavier_normal((500, 300), 0).std()), 3), round((2 / 800) ** 0.5, 3)
    (0.05, 0.05)
    """
    return _normal(shape, rng, gain * math.sqrt(2 / sum(_fans(shape))), dtype)


def he_uniform(shape, rng=None, *, gain=2**0.5, mode="fan_in", dtype=np.float32):
    """Return values from U(-r, r), r = gain * sqrt(3 / fan): variance 2 / fan with the gain of relu.

    He et al. (2015), "Delving deep into rectifiers". `mode` is "fan_in", which keeps the variance of the activations,
    or "fan_out", which keeps that of the gradients.

    Examples
    --------
    >>> bool(abs(he_uniform((30, 24), 0)).max() <= 0.5)
    True
    """
    return uniform(shape, rng, bound=gain * math.sqrt(3 / _he_fan(shape, mode)), dtype=dtype)


def he_normal(shape, rng=None, *, gain=2**0.5, mode="fan_in", dtype=np.float32):
    """Return values from N(0, s^2), s = gain / sqrt(fan); `mode` as in `he_uniform`.

    Examples
    --------
    >>> round(float(he_normal((500, 200), 0).std()), 2)
    0.1
    """
    return _normal(shape, rng, gain / math.sqrt(_he_fan(shape, mode)), dtype)
