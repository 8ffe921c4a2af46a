"""Normalization by rows (layer_norm, rms_norm) and by channels (batch_norm), and the gradients."""

import math

import numpy as np

from fastnn._checks import NormCache, as_gradient, channel_operands, check_cache, check_eps, narrowed, row_operands
from fastnn._kernels import normalization as kernels
from fastnn.ops._arrays import by_dtype, dense

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "rms_norm_backward",
]

_layer_norm = by_dtype(kernels.layer_norm)
_layer_norm_backward = by_dtype(kernels.layer_norm_backward)
_rms_norm = by_dtype(kernels.rms_norm)
_rms_norm_backward = by_dtype(kernels.rms_norm_backward)
_batch_norm = by_dtype(kernels.batch_norm)
_batch_norm_backward = by_dtype(kernels.batch_norm_backward)
_EPS = {dtype: np.finfo(dtype).eps for dtype in _rms_norm}


def _flat(parameter):
    """Return a parameter, if there is one, as a dense vector."""
    return parameter if parameter is None else dense(parameter) if parameter.ndim == 1 else dense(parameter).reshape(-1)


def _room(parameter):
    """Return room for the gradient of a parameter, if there is one."""
    return None if parameter is None else np.empty(parameter.shape, parameter.dtype)


def _finish(dtype, **gradients):
    return {name: narrowed(value, dtype) for name, value in gradients.items() if value is not None}


def _as_rows(x, shape):
    """Return x as a dense matrix of rows of this shape, and the shape of a statistic of each row."""
    if x.ndim == 2 and len(shape) == 1:
        return dense(x), (len(x), 1)
    lead = x.shape[: x.ndim - len(shape)]
    return dense(x).reshape(math.prod(lead), math.prod(shape)), lead + (1,) * len(shape)


def _as_channels(x):
    """Return x as a dense array (samples, channels, length)."""
    return dense(x)[:, :, None] if x.ndim == 2 else dense(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))


def layer_norm(x, weight=None, bias=None, *, eps=1e-5):
    """Return (x - mean) / sqrt(variance + eps) * weight + bias, with the statistics of each row, and a cache.

    Parameters
    ----------
    x : array_like (..., *shape)
    weight, bias : array_like (*shape), optional
        Their shape tells which axes of x, the last ones, are a row; with neither it is the last axis.
    eps : float
        Added to the variance, which is the mean of the squared deviations.

    Returns
    -------
    y : ndarray
        Of the shape of x, and its dtype; float64 for integers and bool. float16 is computed in float32.
    cache
        For `layer_norm_backward`; `mean` and `rstd`, 1 / sqrt(variance + eps), are for all to read. It refers to the
        arguments, which must stay as they are until then.

    Raises
    ------
    ValueError
        If x does not end in the shape of weight or bias, those differ, or eps is negative.
    TypeError
        If an array is complex or holds objects.

    Notes
    -----
    Ba, Kiros and Hinton, Layer normalization, 2016. Statistics are joined in float64, so float32 numbers far from 0
    lose nothing; the squares are float32, so deviations have to lie below 1.8e19.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> y, cache = fastnn.layer_norm(np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 10.0]]))
    >>> y.round(3)
    array([[-1.225,  0.   ,  1.225],
           [-0.707, -0.707,  1.414]])
    >>> cache.mean
    array([[2.],
           [6.]])
    """
    eps = check_eps(eps)
    if type(x) is type(weight) is type(bias) is np.ndarray and x.ndim == 2:
        try:  # as they are, if the kernel finds that they fit
            y, mean, rstd = np.empty(x.shape, x.dtype), np.empty(len(x)), np.empty(len(x))
            _layer_norm[x.dtype](y, mean, rstd, x, weight, bias, eps)
            return y, NormCache("layer_norm", x, weight, bias, mean[:, None], rstd[:, None], False, x.dtype)
        except (KeyError, ValueError):
            pass
    x, weight, bias, shape, dtype = row_operands(x, weight, bias)
    rows, statistic = _as_rows(x, shape)
    y, mean, rstd = np.empty(rows.shape, rows.dtype), np.empty(len(rows)), np.empty(len(rows))
    _layer_norm[y.dtype](y, mean, rstd, rows, _flat(weight), _flat(bias), eps)
    cache = NormCache("layer_norm", x, weight, bias, mean.reshape(statistic), rstd.reshape(statistic), False, dtype)
    return narrowed(y.reshape(x.shape), dtype), cache


def layer_norm_backward(dy, cache):
    """Return the gradients of x, weight and bias.

    With n = (x - mean) * rstd and g = dy * weight: dx = rstd * (g - mean(g) - n * mean(g * n)), the means being those
    of a row; dweight = sum(dy * n) and dbias = sum(dy), over the rows.

    Parameters
    ----------
    dy : array_like or None
        The gradient of y, of its shape; None is zeros.
    cache
        What `layer_norm` returned.

    Returns
    -------
    dict
        From the names of the arguments, where they were given, to their gradients, of the dtype of y.

    Raises
    ------
    ValueError
        If dy has another shape than y.
    TypeError
        If the cache is of another function, or dy is complex or holds objects.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> y, cache = fastnn.layer_norm(np.array([[1.0, 2.0, 3.0]]), bias=np.zeros(3))
    >>> gradients = fastnn.layer_norm_backward([[0.0, 1.0, 0.0]], cache)
    >>> gradients["x"].round(3)
    array([[-0.408,  0.816, -0.408]])
    >>> gradients["bias"]
    array([0., 1., 0.])
    """
    check_cache(cache, "layer_norm")
    _, x, weight, bias, mean, rstd, _, dtype = cache
    like = bias if weight is None else weight
    rows, _ = _as_rows(x, x.shape[-1:] if like is None else like.shape)
    dy = as_gradient(dy, x.shape, x.dtype, "dy")
    dx, dweight, dbias = np.empty(rows.shape, rows.dtype), _room(weight), _room(bias)
    _layer_norm_backward[dx.dtype](
        dx,
        _flat(dweight),
        _flat(dbias),
        dense(dy).reshape(rows.shape),
        rows,
        _flat(weight),
        mean.reshape(-1),
        rstd.reshape(-1),
    )
    return _finish(dtype, x=dx.reshape(x.shape), weight=dweight, bias=dbias)


def rms_norm(x, weight=None, *, eps=None):
    """Return x / sqrt(mean(x**2) + eps) * weight, with the mean of each row, and a cache.

    Parameters
    ----------
    x : array_like (..., *shape)
    weight : array_like (*shape), optional
        Its shape tells which axes of x, the last ones, are a row; without it that is the last axis.
    eps : float, optional
        None, the default, is the machine epsilon of the dtype that is computed in, as in PyTorch.

    Returns
    -------
    y : ndarray
        Of the shape of x, and its dtype; float64 for integers and bool. float16 is computed in float32.
    cache
        For `rms_norm_backward`; `rstd`, 1 / sqrt(mean(x**2) + eps), is for all to read. It refers to the arguments,
        which must stay as they are until then.

    Raises
    ------
    ValueError
        If x does not end in the shape of weight, or eps is negative.
    TypeError
        If an array is complex or holds objects.

    Notes
    -----
    Zhang and Sennrich, Root mean square layer normalization, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> y, cache = fastnn.rms_norm(np.array([[1.0, 7.0], [-3.0, 3.0]]))
    >>> y
    array([[ 0.2,  1.4],
           [-1. ,  1. ]])
    """
    if type(x) is type(weight) is np.ndarray and x.ndim == 2:
        try:  # as in layer_norm
            y, rstd = np.empty(x.shape, x.dtype), np.empty(len(x))
            _rms_norm[x.dtype](y, rstd, x, weight, _EPS[x.dtype] if eps is None else check_eps(eps))
            return y, NormCache("rms_norm", x, weight, None, None, rstd[:, None], False, x.dtype)
        except (KeyError, ValueError):
            pass
    x, weight, _, shape, dtype = row_operands(x, weight)
    eps = _EPS[x.dtype] if eps is None else check_eps(eps)
    rows, statistic = _as_rows(x, shape)
    y, rstd = np.empty(rows.shape, rows.dtype), np.empty(len(rows))
    _rms_norm[y.dtype](y, rstd, rows, _flat(weight), eps)
    cache = NormCache("rms_norm", x, weight, None, None, rstd.reshape(statistic), False, dtype)
    return narrowed(y.reshape(x.shape), dtype), cache


def rms_norm_backward(dy, cache):
    """Return the gradients of x and weight.

    With n = x * rstd and g = dy * weight: dx = rstd * (g - n * mean(g * n)), the mean being that of a row, and
    dweight = sum(dy * n) over the rows.

    Parameters
    ----------
    dy : array_like or None
        The gradient of y, of its shape; None is zeros.
    cache
        What `rms_norm` returned.

    Returns
    -------
    dict
        From the names of the arguments, where they were given, to their gradients, of the dtype of y.

    Raises
    ------
    ValueError
        If dy has another shape than y.
    TypeError
        If the cache is of another function, or dy is complex or holds objects.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> y, cache = fastnn.rms_norm(np.array([[1.0, 7.0]]), np.ones(2))
    >>> {name: gradient.round(3) for name, gradient in fastnn.rms_norm_backward([[1.0, 0.0]], cache).items()}
    {'x': array([[ 0.196, -0.028]]), 'weight': array([0.2, 0. ])}
    """
    check_cache(cache, "rms_norm")
    _, x, weight, _, _, rstd, _, dtype = cache
    rows, _ = _as_rows(x, x.shape[-1:] if weight is None else weight.shape)
    dy = as_gradient(dy, x.shape, x.dtype, "dy")
    dx, dweight = np.empty(rows.shape, rows.dtype), _room(weight)
    _rms_norm_backward[dx.dtype](
        dx, _flat(dweight), dense(dy).reshape(rows.shape), rows, _flat(weight), rstd.reshape(-1)
    )
    return _finish(dtype, x=dx.reshape(x.shape), weight=dweight)


def batch_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, momentum=0.1, eps=1e-5
):
    """Return (x - mean) / sqrt(variance + eps) * weight + bias, with the statistics of each channel, and a cache.

    Parameters
    ----------
    x : array_like (N, C, ...)
        Axis 1 is that of the channels.
    running_mean, running_var : array_like (C,), optional
        The statistics to use. In training they may both be None; given, they must be arrays of x's dtype (float32 for
        float16), and move in place: running += momentum * (statistic - running), with the unbiased estimate of the
        variance, the sum of squared deviations over their number less one.
    weight, bias : array_like (C,), optional
    training : bool
        Whether the statistics are those of x, which needs two values a channel; the variance that x is divided by is
        the mean of the squared deviations.
    momentum : float
        From 0 to 1: the weight of the new statistics.
    eps : float
        Added to the variance.

    Returns
    -------
    y : ndarray
        Of the shape of x, and its dtype; float64 for integers and bool. float16 is computed in float32.
    cache
        For `batch_norm_backward`; `mean` and `rstd`, 1 / sqrt(variance + eps), are for all to read. It refers to the
        arguments, which must stay as they are until then.

    Raises
    ------
    ValueError
        If a shape does not fit, there are too few values to train on, running statistics are missing, overlap or are
        read-only, momentum is not from 0 to 1, or eps is negative.
    TypeError
        If an array is complex or holds objects, or running statistics cannot be moved in place.

    Notes
    -----
    Ioffe and Szegedy, Batch normalization, 2015, as PyTorch computes it. Deviations of float32 have to be below 1.8e19.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> mean, var = np.zeros(2), np.ones(2)
    >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> y, cache = fastnn.batch_norm(x, mean, var, training=True)
    >>> y.round(3)
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> mean, var
    (array([0.2, 0.5]), array([1.1, 0.9]))
    >>> fastnn.batch_norm(x, mean, var)[0].round(3)
    array([[0.763, 4.743],
           [2.67 , 4.743]])
    """
    eps = check_eps(eps)
    x, running_mean, running_var, weight, bias, dtype = channel_operands(
        x, running_mean, running_var, weight, bias, training, momentum
    )
    channels = _as_channels(x)
    y = np.empty(channels.shape, channels.dtype)
    running = moved = (None, None)
    mean, rstd = running_mean, running_var
    if training:
        mean, rstd, running = np.empty(x.shape[1]), np.empty(x.shape[1]), (running_mean, running_var)
        moved = [x if x is None or x.flags.aligned else x.copy() for x in running]
    _batch_norm[y.dtype](y, mean, rstd, channels, *moved, _flat(weight), _flat(bias), momentum, eps, training)
    if moved is not running:
        for given, after in zip(running, moved, strict=True):
            if after is not given:
                given[...] = after
    statistic = (1, x.shape[1], *(1,) * (x.ndim - 2))
    cache = NormCache(
        "batch_norm", x, weight, bias, mean.reshape(statistic), rstd.reshape(statistic), not training, dtype
    )
    return narrowed(y.reshape(x.shape), dtype), cache


def batch_norm_backward(dy, cache):
    """Return the gradients of x, weight and bias.

    With n = (x - mean) * rstd and g = dy * weight: dx = rstd * (g - mean(g) - n * mean(g * n)), the means being those
    of a channel, and dx = rstd * g where the statistics were given; dweight = sum(dy * n) and dbias = sum(dy), over
    all axes but that of the channels.

    Parameters
    ----------
    dy : array_like or None
        The gradient of y, of its shape; None is zeros.
    cache
        What `batch_norm` returned.

    Returns
    -------
    dict
        From the names of the arguments, where they were given, to their gradients, of the dtype of y.

    Raises
    ------
    ValueError
        If dy has another shape than y.
    TypeError
        If the cache is of another function, or dy is complex or holds objects.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> x, weight = np.array([[1.0], [2.0], [3.0]]), np.array([2.0])
    >>> y, cache = fastnn.batch_norm(x, weight=weight, training=True)
    >>> gradients = fastnn.batch_norm_backward([[0.0], [1.0], [0.0]], cache)
    >>> gradients["x"].round(3).ravel(), gradients["weight"]
    (array([-0.816,  1.633, -0.816]), array([0.]))
    """
    check_cache(cache, "batch_norm")
    _, x, weight, bias, mean, rstd, fixed, dtype = cache
    channels = _as_channels(x)
    dy = _as_channels(as_gradient(dy, x.shape, x.dtype, "dy"))
    dx, dweight, dbias = np.empty(channels.shape, channels.dtype), _room(weight), _room(bias)
    _batch_norm_backward[dx.dtype](
        dx, dweight, dbias, dy, channels, _flat(weight), mean.reshape(-1), rstd.reshape(-1), fixed
    )
    return _finish(dtype, x=dx.reshape(x.shape), weight=dweight, bias=dbias)
