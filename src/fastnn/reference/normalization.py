"""Normalization in plain NumPy: by rows (layer_norm, rms_norm) and by channels (batch_norm)."""

import numpy as np

from fastnn._checks import NormCache, as_gradient, channel_operands, check_cache, check_eps, row_operands

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "rms_norm_backward",
]

quiet = np.errstate(all="ignore")


def _mean(x, axes):
    """Return the mean over the axes, which stay with length 1; 0 where there is nothing to average."""
    return x.sum(axes, keepdims=True) / max(1, np.prod([x.shape[axis] for axis in axes]))


def _centred(x, mean):
    return x if mean is None else x - mean


def _scaled(normalized, weight, bias, dtype):
    """Return normalized * weight + bias, each if there is one."""
    if weight is not None:
        normalized = normalized * weight
    if bias is not None:
        normalized = normalized + bias
    return normalized.astype(dtype, copy=False)


def _by_row(maker, x, weight, bias, mean, shape, eps, dtype):
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    rstd = 1 / np.sqrt(_mean(_centred(x, mean) ** 2, axes) + eps)
    y = _scaled(_centred(x, mean) * rstd, weight, bias, dtype)
    return y, NormCache(maker, x, weight, bias, mean, rstd, False, dtype)


def _backward(dy, cache, weight, axes, parameter_axes):
    """Return the gradients; the statistics are over `axes`, a parameter is shared over `parameter_axes`."""
    _, x, _, bias, mean, rstd, fixed, dtype = cache
    dy = as_gradient(dy, x.shape, x.dtype, "dy")
    normalized = _centred(x, mean) * rstd
    dnormalized = dy if weight is None else dy * weight
    dx = rstd * dnormalized
    if not fixed:
        dx -= rstd * normalized * _mean(dnormalized * normalized, axes)
    if not fixed and mean is not None:
        dx -= rstd * _mean(dnormalized, axes)
    gradients = {"x": dx}
    if weight is not None:
        gradients["weight"] = (dy * normalized).sum(parameter_axes)
    if bias is not None:
        gradients["bias"] = dy.sum(parameter_axes)
    return {name: gradient.astype(dtype, copy=False) for name, gradient in gradients.items()}


def _by_row_backward(dy, cache):
    like = next((parameter for parameter in (cache.weight, cache.bias) if parameter is not None), None)
    first = cache.x.ndim - (1 if like is None else like.ndim)
    return _backward(dy, cache, cache.weight, tuple(range(first, cache.x.ndim)), tuple(range(first)))


@quiet
def layer_norm(x, weight=None, bias=None, *, eps=1e-5):
    """Return (x - mean) / sqrt(variance + eps) * weight + bias over the last axes, and a cache."""
    eps = check_eps(eps)
    x, weight, bias, shape, dtype = row_operands(x, weight, bias)
    mean = _mean(x, tuple(range(x.ndim - len(shape), x.ndim)))
    return _by_row("layer_norm", x, weight, bias, mean, shape, eps, dtype)


@quiet
def layer_norm_backward(dy, cache):
    """Return the gradients of x, weight and bias by name."""
    check_cache(cache, "layer_norm")
    return _by_row_backward(dy, cache)


@quiet
def rms_norm(x, weight=None, *, eps=None):
    """Return x / sqrt(mean(x**2) + eps) * weight over the last axes, and a cache; eps=None is that of the dtype."""
    x, weight, _, shape, dtype = row_operands(x, weight)
    eps = np.finfo(x.dtype).eps if eps is None else check_eps(eps)
    return _by_row("rms_norm", x, weight, None, None, shape, eps, dtype)


@quiet
def rms_norm_backward(dy, cache):
    """Return the gradients of x and weight by name."""
    check_cache(cache, "rms_norm")
    return _by_row_backward(dy, cache)


@quiet
def batch_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, momentum=0.1, eps=1e-5
):
    """Return (x - mean) / sqrt(variance + eps) * weight + bias for each channel, axis 1 of x, and a cache.

    In training the statistics are those of x, and the running ones move towards them by `momentum`, the variance
    as its unbiased estimate; otherwise the running ones are used.
    """
    eps = check_eps(eps)
    x, running_mean, running_var, weight, bias, dtype = channel_operands(
        x, running_mean, running_var, weight, bias, training, momentum
    )
    axes = (0, *range(2, x.ndim))
    if training:
        mean = _mean(x, axes)
        variance = _mean((x - mean) ** 2, axes)
        if running_mean is not None and x.size:
            count = x.size // x.shape[1]
            running_mean[...] = (1 - momentum) * running_mean + momentum * mean.ravel()
            running_var[...] = (1 - momentum) * running_var + momentum * variance.ravel() * (count / (count - 1))
    else:
        mean, variance = (_by_channel(each.astype(x.dtype), x) for each in (running_mean, running_var))
    rstd = 1 / np.sqrt(variance + eps)
    y = _scaled((x - mean) * rstd, _by_channel(weight, x), _by_channel(bias, x), dtype)
    return y, NormCache("batch_norm", x, weight, bias, mean, rstd, not training, dtype)


def _by_channel(parameter, x):
    """Return a parameter, if there is one, in the shape that broadcasts along axis 1 of x."""
    return None if parameter is None else parameter.reshape(-1, *(1,) * (x.ndim - 2))


@quiet
def batch_norm_backward(dy, cache):
    """Return the gradients of x, weight and bias by name."""
    check_cache(cache, "batch_norm")
    axes = (0, *range(2, cache.x.ndim))
    return _backward(dy, cache, _by_channel(cache.weight, cache.x), axes, axes)
