"""The softmax family and losses, each of which gives its gradient in the same pass."""

import numpy as np

from fastnn._checks import as_float, check_out, check_shape, class_axis, cross_entropy_arguments, working
from fastnn._kernels import losses as kernels
from fastnn.ops._arrays import by_dtype, dense, finish, room, rows

__all__ = [
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]

_softmax = by_dtype(kernels.softmax)
_log_softmax = by_dtype(kernels.log_softmax)
_logsumexp = by_dtype(kernels.logsumexp)
_softmax_backward = by_dtype(kernels.softmax_backward)
_log_softmax_backward = by_dtype(kernels.log_softmax_backward)
_softmax_cross_entropy = by_dtype(kernels.softmax_cross_entropy)


def _transform(kernel, x, axis, out):
    x = as_float(x, "x")
    axis = class_axis(axis, x, "x")
    if out is not None:
        check_out(out, x.shape, x.dtype)
    matrix = rows(x.astype(working(x.dtype), copy=False), axis)
    y = room(out, axis, matrix)
    kernel[y.dtype](y, matrix)
    return finish(y, out, x.shape, axis, x.dtype)


def _backward(kernel, dy, y, axis):
    dy, y = as_float(dy, "dy"), as_float(y, "y")
    check_shape(dy, y.shape, "dy")
    axis, dtype = class_axis(axis, y, "y"), np.result_type(dy, y)
    matrix = rows(y.astype(working(dtype), copy=False), axis)
    dx = np.empty(matrix.shape, matrix.dtype)
    kernel[dx.dtype](dx, rows(dy.astype(dx.dtype, copy=False), axis), matrix)
    return finish(dx, None, y.shape, axis, dtype)


def softmax(x, axis=-1, *, out=None):
    return _transform(_softmax, x, axis, out)


def log_softmax(x, axis=-1, *, out=None):
    return _transform(_log_softmax, x, axis, out)


def logsumexp(x, axis=-1, keepdims=False):
    x = as_float(x, "x")
    axis = class_axis(axis, x, "x")
    matrix = rows(x.astype(working(x.dtype), copy=False), axis)
    y = np.empty(matrix.shape[0], matrix.dtype)
    _logsumexp[y.dtype](y, matrix)
    shape = x.shape[:axis] + (1,) * keepdims + x.shape[axis + 1 :]
    return y.astype(x.dtype, copy=False).reshape(shape)


def softmax_backward(dy, y, axis=-1):
    return _backward(_softmax_backward, dy, y, axis)


def log_softmax_backward(dy, y, axis=-1):
    return _backward(_log_softmax_backward, dy, y, axis)


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
    if axis == -1 and reduction in ("mean", "sum") and 0 <= label_smoothing <= 1 and (need_grad or grad_out is None):
        # Straight to the kernel with what is most common: a matrix, indices, all dense and of the right dtype. It
        # checks for itself; what it will not take, and what is wrong, is seen to below.
        try:
            gradient = np.empty(logits.shape, logits.dtype) if need_grad and grad_out is None else grad_out
            kernel, mean = _softmax_cross_entropy[logits.dtype], reduction == "mean"
            return kernel(logits, targets, None, weight, ignore_index, label_smoothing, mean, gradient), gradient
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
    logits, targets, axis, weight = cross_entropy_arguments(
        logits, targets, axis, weight, ignore_index, label_smoothing, reduction, need_grad, grad_out
    )
    dtype = working(logits.dtype)
    z = rows(logits.astype(dtype, copy=False), axis)
    index = probabilities = losses = gradient = None
    if targets.ndim == logits.ndim:
        probabilities = rows(targets.astype(dtype, copy=False), axis)
    else:
        index = dense(targets).reshape(-1)
    if weight is not None:
        weight = dense(weight.astype(dtype, copy=False))
    if reduction == "none":
        losses = np.empty(z.shape[0], dtype)
    if need_grad:
        gradient = room(grad_out, axis, z, index, probabilities, weight)
    loss = _softmax_cross_entropy[dtype](
        z, index, probabilities, weight, ignore_index, label_smoothing, reduction == "mean", gradient, losses
    )
    if reduction == "none":
        loss = losses.astype(logits.dtype, copy=False).reshape(logits.shape[:axis] + logits.shape[axis + 1 :])
    return loss, finish(gradient, grad_out, logits.shape, axis, logits.dtype) if need_grad else None
