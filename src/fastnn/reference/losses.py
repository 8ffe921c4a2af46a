"""The softmax family and losses in plain NumPy."""

import numpy as np

from fastnn._checks import (
    as_bounds,
    as_factor,
    as_float,
    as_mask,
    as_positive,
    check_out,
    check_shape,
    class_axis,
    cross_entropy_arguments,
    loss_arguments,
    working,
)

__all__ = [
    "hinge_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "masked_softmax",
    "masked_softmax_backward",
    "mse_loss",
    "nll_loss",
    "ragged_softmax",
    "ragged_softmax_backward",
    "sigmoid_cross_entropy",
    "smooth_l1_loss",
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
def masked_softmax(x, mask, axis=-1, *, out=None):
    """Return the softmax of what counts, where the mask is True, and 0 elsewhere."""
    x = as_float(x, "x")
    mask = as_mask(mask, x.shape)
    return _written(np.where(mask, softmax(np.where(mask, x, -np.inf), axis), 0), out, x.dtype)


@quiet
def masked_softmax_backward(dy, y, mask, axis=-1):
    """Return y * (dy - sum(y * dy)) over what counts, with y = masked_softmax(x, mask), and 0 elsewhere."""
    dy, y, axis, dtype = _pair(dy, y, axis)
    mask = as_mask(mask, y.shape)
    return np.where(mask, softmax_backward(np.where(mask, dy, 0), y, axis), 0).astype(dtype, copy=False)


def _each_run(f, lengths, axis, *arrays):
    """Return what f makes of each run of the arrays, in a row again; x, the last of them, tells the axis."""
    bounds = as_bounds(lengths, arrays[-1].shape[axis])
    runs = zip(*(np.split(x, bounds[1:-1], axis) for x in arrays), strict=True)
    return np.concatenate([f(*run, axis) for run in runs], axis)


@quiet
def ragged_softmax(x, lengths, axis=-1, *, out=None):
    """Return the softmax of each of the runs, of the given lengths, that follow each other along the axis."""
    x = as_float(x, "x")
    return _written(_each_run(softmax, lengths, class_axis(axis, x, "x"), x), out, x.dtype)


@quiet
def ragged_softmax_backward(dy, y, lengths, axis=-1):
    """Return y * (dy - sum(y * dy)) over each run, with y = ragged_softmax(x, lengths)."""
    dy, y, axis, dtype = _pair(dy, y, axis)
    return _each_run(softmax_backward, lengths, axis, dy, y).astype(dtype, copy=False)


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


@quiet
def nll_loss(
    log_probabilities,
    targets,
    *,
    axis=-1,
    weight=None,
    ignore_index=None,
    reduction="mean",
    need_grad=True,
    grad_out=None,
):
    """Return -weight * log_probabilities at the target of each row, reduced, and its gradient."""
    x, targets, axis, weight = cross_entropy_arguments(
        log_probabilities,
        targets,
        axis,
        weight,
        ignore_index,
        0.0,
        reduction,
        need_grad,
        grad_out,
        "log_probabilities",
    )
    if targets.dtype.kind == "f":
        raise TypeError(f"targets have the shape {targets.shape} of log_probabilities, expected one integer a row")
    dtype, classes = working(x.dtype), x.shape[axis]
    rows = np.moveaxis(x, axis, -1).astype(dtype)
    counts = np.ones(targets.shape, bool) if ignore_index is None else targets != ignore_index
    wrong = targets[counts & ((targets < 0) | (targets >= classes))]
    if wrong.size:
        raise IndexError(f"targets hold {wrong[0]}, which is not among the {classes} classes")
    weight = np.ones(classes, dtype) if weight is None else weight.astype(dtype)
    b = weight * (counts[..., None] & (targets[..., None] == np.arange(classes))).astype(dtype)
    losses = np.where(b == 0, 0, -b * rows).sum(-1)
    scale = 1.0
    if reduction == "mean":
        total = b.sum(dtype=np.float64)
        scale = float(1 / total) if total else 0.0
    loss = losses.astype(x.dtype) if reduction == "none" else _total(losses, scale)
    return loss, _written(np.moveaxis(0 - scale * b, -1, axis), grad_out, x.dtype) if need_grad else None


def _total(losses, scale):
    """Return the sum of losses, added up in float64, times a factor that may be 0 if no loss counts."""
    return float(losses.sum(dtype=np.float64) * scale) if scale else 0.0


def _reduced(x, losses, slopes, reduction, need_grad, grad_out):
    """Return losses as asked for, and their gradient in x."""
    divisor = {"mean": x.size, "batchmean": len(x) if x.ndim else 1}.get(reduction, 1)
    scale = 1 / max(divisor, 1)
    loss = losses.astype(x.dtype) if reduction == "none" else _total(losses, scale)
    return loss, _written(np.asarray(scale * slopes), grad_out, x.dtype) if need_grad else None


def _difference(prediction, target, reduction, need_grad, grad_out):
    """Return the checked prediction, and prediction - target."""
    x, t = loss_arguments(prediction, target, ("prediction", "target"), reduction, need_grad, grad_out)
    dtype = working(x.dtype)
    return x, x.astype(dtype) - t.astype(dtype)


def _where_not_0(factor, x):
    """Return factor * x, 0 where the factor is, whatever x is there."""
    return np.where(factor == 0, 0, factor * x)


@quiet
def sigmoid_cross_entropy(
    logits, targets, *, pos_weight=None, weight=None, reduction="mean", need_grad=True, grad_out=None
):
    """Return the loss weight * (pos_weight * t * log(1 + e^-z) + (1 - t) * log(1 + e^z)), reduced, and its gradient."""
    logits, targets = loss_arguments(logits, targets, ("logits", "targets"), reduction, need_grad, grad_out)
    dtype = working(logits.dtype)
    z, t = logits.astype(dtype), targets.astype(dtype)
    weight = as_factor(weight, z.shape, dtype, "weight")
    for_one, for_zero = t * as_factor(pos_weight, z.shape, dtype, "pos_weight"), 1 - t
    e = np.exp(-np.abs(z))
    most, least, rest = 1 / (1 + e), e / (1 + e), np.log1p(e)
    losses = _where_not_0(for_one, np.maximum(-z, 0) + rest) + _where_not_0(for_zero, np.maximum(z, 0) + rest)
    slopes = for_zero * np.where(z < 0, least, most) - for_one * np.where(z < 0, most, least)
    return _reduced(logits, weight * losses, weight * slopes, reduction, need_grad, grad_out)


@quiet
def mse_loss(prediction, target, *, reduction="mean", need_grad=True, grad_out=None):
    """Return d^2 with d = prediction - target, reduced, and its gradient 2 d."""
    x, d = _difference(prediction, target, reduction, need_grad, grad_out)
    return _reduced(x, d * d, 2 * d, reduction, need_grad, grad_out)


@quiet
def l1_loss(prediction, target, *, reduction="mean", need_grad=True, grad_out=None):
    """Return |d| with d = prediction - target, reduced, and its gradient, the sign of d."""
    x, d = _difference(prediction, target, reduction, need_grad, grad_out)
    return _reduced(x, np.abs(d), np.sign(d), reduction, need_grad, grad_out)


@quiet
def huber_loss(prediction, target, *, delta=1.0, reduction="mean", need_grad=True, grad_out=None):
    """Return d^2 / 2, or delta (|d| - delta / 2) where |d| > delta, reduced, and its gradient."""
    x, d = _difference(prediction, target, reduction, need_grad, grad_out)
    delta = as_positive(delta, "delta")
    a = np.abs(d)
    losses = np.where(a < delta, d * d / 2, delta * (a - delta / 2))
    return _reduced(x, losses, np.clip(d, -delta, delta), reduction, need_grad, grad_out)


@quiet
def smooth_l1_loss(prediction, target, *, beta=1.0, reduction="mean", need_grad=True, grad_out=None):
    """Return d^2 / (2 beta), or |d| - beta / 2 where |d| > beta, reduced, and its gradient."""
    x, d = _difference(prediction, target, reduction, need_grad, grad_out)
    beta = as_positive(beta, "beta", zero=True)
    a = np.abs(d)
    losses = np.where(a < beta, a / beta * a / 2, a - beta / 2)
    slopes = np.where(a < beta, d / beta, np.sign(d))
    return _reduced(x, losses, slopes, reduction, need_grad, grad_out)


@quiet
def hinge_loss(prediction, target, *, reduction="mean", need_grad=True, grad_out=None):
    """Return max(0, 1 - t x), reduced, and its gradient: -t where that is above 0."""
    prediction, target = loss_arguments(prediction, target, ("prediction", "target"), reduction, need_grad, grad_out)
    x, t = (a.astype(working(prediction.dtype)) for a in (prediction, target))
    short_of = 1 - x * t
    slopes = np.where(np.isnan(short_of), short_of, np.where(short_of > 0, -t, 0))
    return _reduced(prediction, np.maximum(short_of, 0), slopes, reduction, need_grad, grad_out)


@quiet
def kl_div(log_probabilities, targets, *, log_target=False, reduction="mean", need_grad=True, grad_out=None):
    """Return t (log(t) - log_probabilities), 0 where t is 0, reduced, and its gradient -t."""
    names = ("log_probabilities", "targets")
    x, targets = loss_arguments(log_probabilities, targets, names, reduction, need_grad, grad_out, "batchmean")
    log_p, targets = (a.astype(working(x.dtype)) for a in (x, targets))
    t, log_t = (np.exp(targets), targets) if log_target else (targets, np.log(targets))
    return _reduced(x, _where_not_0(t, log_t - log_p), -t, reduction, need_grad, grad_out)
