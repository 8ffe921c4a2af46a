"""Dropout: a mask drawn from a generator, and the product with it."""

import numpy as np

from fastnn._checks import as_float, check_probability, dropout_arguments, mask_argument, narrowed, working
from fastnn._kernels import regularization as kernels
from fastnn.ops._arrays import by_dtype, dense

__all__ = ["dropout", "dropout_backward"]

_dropout = by_dtype(kernels.dropout)
_dropout_backward = by_dtype(kernels.dropout_backward)


def _scaled(x, mask, p):
    """Return x / (1 - p) where the mask is set, and 0 elsewhere."""
    if mask.shape != x.shape:
        leading = next((i for i, size in enumerate(mask.shape) if size != 1), mask.ndim)
        if mask.shape[leading:] != x.shape[leading:]:  # one that is shared along the first axes alone just repeats
            mask = np.broadcast_to(mask, x.shape)
    values = dense(narrowed(x, working(x.dtype)))
    y = np.empty(values.shape, values.dtype)
    _dropout_backward[y.dtype](y.reshape(-1), values.reshape(-1), dense(mask).reshape(-1).view(np.uint8), p)
    return narrowed(y, x.dtype)


def dropout(x, p, rng, *, shared_axes=()):
    """Set each element to 0 with probability p, and scale the others by 1 / (1 - p), which keeps the mean.

    Parameters
    ----------
    x : array_like
    p : float
        From 0, which keeps everything, to 1, which keeps nothing; both exactly, and any other to 69 bits.
    rng : numpy.random.Generator
        An int is refused: it would draw the same mask in every call.
    shared_axes : int or sequence of int
        Axes along which all elements are kept or dropped together: 0 for the same mask at every step of a sequence
        (T, B, H), as in Gal's variational dropout.

    Returns
    -------
    y : ndarray
        Of the shape and dtype of x; 0 where dropped, even if x is infinite or NaN there.
    mask : ndarray of bool
        What was kept, of the shape of x but for a length of 1 along the shared axes.

    Raises
    ------
    TypeError
        If x is complex, holds objects or the like, or `rng` is no Generator.
    ValueError
        If p is no probability, or x has no such axis.

    Notes
    -----
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting", scaled in training
    ("inverted") so that inference needs nothing. Gal and Ghahramani (2016), "A theoretically grounded application of
    dropout in recurrent neural networks". The mask takes 16 bits an element from the generator; the compiled functions
    and their twin draw the same ones.

    Examples
    --------
    >>> y, mask = dropout(np.ones(6), 0.5, np.random.default_rng(2))
    >>> y
    array([0., 2., 0., 0., 0., 0.])
    >>> y, mask = dropout(np.ones((2, 6)), 0.5, np.random.default_rng(0), shared_axes=0)
    >>> mask.shape, bool((y[0] == y[1]).all())
    ((1, 6), True)
    """
    x, shape = dropout_arguments(x, p, rng, shared_axes)
    mask = np.empty(shape, bool)
    flat = mask.reshape(-1).view(np.uint8)
    if shape != x.shape:
        _dropout[np.dtype(np.float32)](None, flat, None, p, rng)
        return _scaled(x, mask, p), mask
    values = dense(narrowed(x, working(x.dtype)))
    y = np.empty(shape, values.dtype)
    _dropout[y.dtype](y.reshape(-1), flat, values.reshape(-1), p, rng)
    return narrowed(y, x.dtype), mask


def dropout_backward(dy, mask, p):
    """Return dy / (1 - p) where the mask is set, and 0 elsewhere: the gradient of x.

    Parameters
    ----------
    dy : array_like
    mask : ndarray of bool
        As `dropout` returned it: of the shape of dy, or with a length of 1 along axes that it is shared along.
    p : float

    Returns
    -------
    ndarray
        Of the shape and dtype of dy.

    Raises
    ------
    TypeError
        If dy is complex, holds objects or the like, or the mask is not one of bool.
    ValueError
        If p is no probability, or the mask of another shape.

    Examples
    --------
    >>> dropout_backward(np.ones(3), np.array([True, False, True]), 0.75)
    array([4., 0., 4.])
    """
    dy = as_float(dy, "dy")
    check_probability(p)
    return _scaled(dy, mask_argument(mask, dy), p)
