"""Dropout in plain NumPy, for both twins: drawing the mask is nearly all of its time."""

import numpy as np

from fastnn._checks import as_float, check_shape, working


def _check_probability(p):
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}, expected a probability from 0 to 1")


def _scaled(x, mask, p):
    """Return x / (1 - p) where the mask is set, and 0 elsewhere, whatever x is there."""
    scale = 1 / (1 - p) if p < 1 else 0.0
    with np.errstate(all="ignore"):
        return np.where(mask, x.astype(working(x.dtype), copy=False) * scale, 0).astype(x.dtype, copy=False)


def dropout(x, p, rng):
    """Set each element to 0 with probability p, and scale the others by 1 / (1 - p), which keeps the mean.

    Parameters
    ----------
    x : array_like
    p : float
        From 0, which keeps everything, to 1, which keeps nothing; both exactly.
    rng : numpy.random.Generator
        An int is refused: it would draw the same mask in every call.

    Returns
    -------
    y : ndarray
        Of the shape and dtype of x; 0 where dropped, even if x is infinite or NaN there.
    mask : ndarray of bool
        What was kept.

    Notes
    -----
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting", scaled in training
    ("inverted") so that inference needs nothing.

    Examples
    --------
    >>> y, mask = dropout(np.ones(6), 0.5, np.random.default_rng(0))
    >>> y
    array([2., 2., 2., 0., 0., 0.])
    """
    x = as_float(x, "x")
    _check_probability(p)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng is {rng!r}, expected a numpy.random.Generator: anything else would repeat one mask in every call"
        )
    mask = rng.random(x.shape, np.float32) >= p
    return _scaled(x, mask, p), mask


def dropout_backward(dy, mask, p):
    """Return dy / (1 - p) where the mask is set, and 0 elsewhere: the gradient of x.

    Parameters
    ----------
    dy : array_like
    mask : ndarray of bool
        As `dropout` returned it, of the shape of dy.
    p : float

    Examples
    --------
    >>> dropout_backward(np.ones(3), np.array([True, False, True]), 0.75)
    array([4., 0., 4.])
    """
    dy, mask = as_float(dy, "dy"), np.asarray(mask)
    _check_probability(p)
    check_shape(mask, dy.shape, "mask")
    if mask.dtype != bool:
        raise TypeError(f"mask has dtype {mask.dtype}, expected bool")
    return _scaled(dy, mask, p)
