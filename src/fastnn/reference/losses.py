"""The softmax family and losses in plain NumPy."""

import numpy as np

from fastnn._checks import as_float, check_out, check_shape, class_axis, cross_entropy_arguments, working

__all__ = [
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]

quiet = np.errstate(all="ignore")


def _shifted(x, axis):
    """Return x less its row maximum, and that maximum: 0 for a row without a finite element or +inf."""
    peak = x.max(axis, keepdims=True, initial=-np.inf)
    peak = np.where(peak == -np.inf, 0, peak)
    return x - peak, peak


def _log_sum(shifted, axis):
    """Return log(sum(exp(x - peak))), -inf for a row wholly -inf."""
    return np.log(np.exp(shifted).sum(axis, keepdims=True))


def _pair(dy, y, axis):
    """Return the two arguments of a backward function in the dtype to compute in, the axis, the result's dtype."""
    dy, y = as_float(dy, "dy"), as_float(y, "y")
    check_shape(dy, y.shape, "dy")
    dtype = np.result_type(dy, y)
    return dy.astype(working(dtype)), y.astype(working(dtype)), class_axis(axis, y, "y"), dtype


def _written(result, out, dtype):
    """Return the result in its dtype, or `out` that now holds it."""
    if out is None:
        return result.astype(dtype, order="C", copy=False)
    check_out(out, result.shape, dtype)
    out[...] = result
    return out


@quiet
def softmax(x, axis=-1, *, out=None):
    """Return exp(x - max) / sum(exp(x - max)) along the axis; a row wholly -inf gives 0."""
    x = as_float(x, "x")
    axis = class_axis(axis, x, "x")
    e = np.exp(_shifted(x.astype(working(x.dtype)), axis)[0])
    total = e.sum(axis, keepdims=True)
    return _written(e / np.where(total == 0, 1, total), out, x.dtype)


@quiet
def log_softmax(x, axis=-1, *, out=None):
    """Return x - max - log(sum(exp(x - max))) along the axis; a row wholly -inf stays so."""
    x = as_float(x, "x")
    axis = class_axis(axis, x, "x")
    shifted, _ = _shifted(x.astype(working(x.dtype)), axis)
    log_sum = _log_sum(shifted, axis)
    return _written(shifted - np.where(log_sum == -np.inf, 0, log_sum), out, x.dtype)


@quiet
def logsumexp(x, axis=-1, keepdims=False):
    """Return max + log(sum(exp(x - max))) along the axis; a row with +inf and no NaN gives +inf."""
    x = as_float(x, "x")
    axis = class_axis(axis, x, "x")
    shifted, peak = _shifted(x.astype(working(x.dtype)), axis)
    result = np.where(peak == np.inf, np.inf, peak + _log_sum(shifted, axis)).astype(x.dtype)
    return result if keepdims else result.squeeze(axis)


@quiet
def softmax_backward(dy, y, axis=-1):
    """Return y * (dy - sum(y * dy)), with y = softmax(x)."""
    dy, y, axis, dtype = _pair(dy, y, axis)
    return (y * (dy - (y * dy).sum(axis, keepdims=True))).astype(dtype, copy=False)


@quiet
def log_softmax_backward(dy, y, axis=-1):
    """Return dy - exp(y) * sum(dy), with y = log_softmax(x); 0 for a row wholly -inf."""
    dy, y, axis, dtype = _pair(dy, y, axis)
    dead = (y == -np.inf).all(axis, keepdims=True)
    return np.where(dead, 0, dy - np.exp(y) * dy.sum(axis, keepdims=True)).astype(dtype, copy=False)


@quiet
def softmax_cross_entropy(
    logits,
    targets,
    *,
    axis=-1,
    weight=None,
    ignore_index=None,
    label_smoothing=0.0,
    reduction="mean",
    need_grad=True,
    grad_out=None,
):
    """Return the loss -sum(b * log_softmax(logits)) of each row, reduced, and its gradient in the logits.

    b = weight * ((1 - label_smoothing) * t + label_smoothing / C), where t is the one-hot form of integer targets,
    or the probabilities given; a term whose b is 0 adds 0 even where the logit is -inf.
    """
    logits, targets, axis, weight = cross_entropy_arguments(
        logits, targets, axis, weight, ignore_index, label_smoothing, reduction, need_grad, grad_out
    )
    dtype, classes = working(logits.dtype), logits.shape[axis]
    z = np.moveaxis(logits, axis, -1).astype(dtype)
    weight = np.ones(classes, dtype) if weight is None else weight.astype(dtype)
    if targets.shape == logits.shape:
        t = np.moveaxis(targets, axis, -1).astype(dtype)
        ignored = np.zeros(z.shape[:-1], bool)
        counts = np.ones(z.shape[:-1])
    else:
        ignored = np.equal(targets, ignore_index) if ignore_index is not None else np.zeros(z.shape[:-1], bool)
        wrong = targets[~ignored & ((targets < 0) | (targets >= classes))]
        if wrong.size:
            raise IndexError(f"targets hold {wrong[0]}, which is not among the {classes} classes")
        t = (targets[..., None] == np.arange(classes)).astype(dtype)
        counts = t @ weight.astype(np.float64)
    b = weight * ((1 - label_smoothing) * t + label_smoothing / max(classes, 1))

    log_p = log_softmax(z)
    losses = np.where(b == 0, 0, -b * log_p).sum(-1, dtype=np.float64)
    losses = np.where(ignored, 0, losses)
    scale = 1.0
    if reduction == "mean":
        total = counts[~ignored].sum()
        scale = float(1 / total) if total else 0.0

    total_loss = float(losses.sum() * scale) if scale else 0.0
    loss = losses.astype(logits.dtype) if reduction == "none" else total_loss
    if not need_grad:
        return loss, None
    dead = (z == -np.inf).all(-1)
    gradient = scale * (b.sum(-1, keepdims=True) * softmax(z) - b)
    gradient = np.where((ignored | dead)[..., None], 0, gradient)
    return loss, _written(np.moveaxis(gradient, -1, axis), grad_out, logits.dtype)
