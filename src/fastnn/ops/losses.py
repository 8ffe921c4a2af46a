"""The softmax family and losses, each of which gives its gradient in the same pass."""

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
    narrowed,
    working,
)
from fastnn._kernels import losses as kernels
from fastnn.ops._arrays import assign, by_dtype, dense, finish, room, rows

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

_softmax = by_dtype(kernels.softmax)
_log_softmax = by_dtype(kernels.log_softmax)
_logsumexp = by_dtype(kernels.logsumexp)
_softmax_backward = by_dtype(kernels.softmax_backward)
_log_softmax_backward = by_dtype(kernels.log_softmax_backward)
_masked_softmax = by_dtype(kernels.masked_softmax)
_masked_softmax_backward = by_dtype(kernels.masked_softmax_backward)
_ragged_softmax = by_dtype(kernels.ragged_softmax)
_ragged_softmax_backward = by_dtype(kernels.ragged_softmax_backward)
_softmax_cross_entropy = by_dtype(kernels.softmax_cross_entropy)
_nll_loss = by_dtype(kernels.nll_loss)
_element_loss = by_dtype(kernels.element_loss)


# What is most common, a matrix with the classes last, dense and of the right dtype, goes straight to the kernel, which
# checks for itself. What it will not take, and what is wrong, is seen to after that.
_UNUSUAL = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


def _stacked(x, shape):
    """Return an array that lies densely as a matrix of rows, as they lie; a ValueError tells of one that does not."""
    if x.shape == shape:
        if len(shape) == 1:
            return x[None]
        if shape and x.flags.c_contiguous:
            return x.reshape(-1, shape[-1])
    raise ValueError


def _stacked_parts(part, shape):
    """Return masks as `_stacked` does, lengths as they are."""
    return [_stacked(each, shape) if each.ndim > 1 else each for each in part]


def _transform(kernel, x, axis, out, *part, part_of=None):
    """Return what the kernel makes of x; `part` tells what of it counts, part_of(part, x, axis) in any layout."""
    if axis == -1:
        try:
            y = np.empty(x.shape, x.dtype) if out is None else out
            if x.ndim == 2:
                kernel[x.dtype](y, x, *part)
            else:
                shape = x.shape
                kernel[x.dtype](_stacked(y, shape), _stacked(x, shape), *_stacked_parts(part, shape))
            return y
        except _UNUSUAL:
            pass
    x = as_float(x, "x")
    axis = class_axis(axis, x, "x")
    part = [part_of(each, x, axis) for each in part]
    if out is not None:
        check_out(out, x.shape, x.dtype)
    matrix = rows(narrowed(x, working(x.dtype)), axis)
    y = room(out, axis, matrix, *part)
    kernel[y.dtype](y, matrix, *part)
    return finish(y, out, x.shape, axis, x.dtype)


def _backward(kernel, dy, y, axis, *part, part_of=None):
    if axis == -1:
        try:
            dx = np.empty(y.shape, y.dtype)
            if y.ndim == 2:
                kernel[y.dtype](dx, dy, y, *part)
            else:
                shape = y.shape
                matrices = [_stacked(each, shape) for each in (dx, dy, y)]
                kernel[y.dtype](*matrices, *_stacked_parts(part, shape))
            return dx
        except _UNUSUAL:
            pass
    dy, y = as_float(dy, "dy"), as_float(y, "y")
    axis, dtype = class_axis(axis, y, "y"), np.result_type(dy, y)
    part = [part_of(each, y, axis) for each in part]
    check_shape(dy, y.shape, "dy")
    matrix = rows(narrowed(y, working(dtype)), axis)
    dx = np.empty(matrix.shape, matrix.dtype)
    kernel[dx.dtype](dx, rows(narrowed(dy, dx.dtype), axis), matrix, *part)
    return finish(dx, None, y.shape, axis, dtype)


def _mask_rows(mask, x, axis):
    """Return the mask as bytes, in rows as those of x."""
    return rows(as_mask(mask, x.shape), axis).view(np.uint8)


def _lengths(lengths, x, axis):
    """Return the lengths of runs along this axis of x, checked."""
    return np.diff(as_bounds(lengths, x.shape[axis]))


def softmax(x, axis=-1, *, out=None):
    """Return exp(x) / sum(exp(x)) along an axis.

    Parameters
    ----------
    x : array_like
        At least one-dimensional.
    axis : int
        The axis of the classes.
    out : ndarray, optional
        Takes the result; it has the shape and dtype of that, and may be x.

    Returns
    -------
    ndarray
        Of the shape and dtype of x; float64 for integers and bool. Computed as exp(x - max(x)), so that nothing
        overflows; terms below 2^-126 of a float32 row's largest may be 0. A row wholly -inf gives 0, one with +inf
        or NaN gives NaN.

    Raises
    ------
    TypeError
        If x is complex, holds objects or the like, or `out` is of another dtype.
    ValueError
        If x has no such axis, or `out` is of another shape or read-only.

    Notes
    -----
    The last layer of softmax regression (Dive into Deep Learning, chapter 3).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.softmax(np.log([1.0, 2.0, 5.0]))
    array([0.125, 0.25 , 0.625])
    """
    return _transform(_softmax, x, axis, out)


def log_softmax(x, axis=-1, *, out=None):
    """Return log(softmax(x)) along an axis, as (x - max(x)) - log(sum(exp(x - max(x)))).

    Parameters
    ----------
    x : array_like
        At least one-dimensional.
    axis : int
        The axis of the classes.
    out : ndarray, optional
        Takes the result; it has the shape and dtype of that, and may be x.

    Returns
    -------
    ndarray
        Of the shape and dtype of x; float64 for integers and bool. A row wholly -inf stays so, one with +inf or NaN
        gives NaN.

    Raises
    ------
    TypeError
        If x is complex, holds objects or the like, or `out` is of another dtype.
    ValueError
        If x has no such axis, or `out` is of another shape or read-only.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> np.exp(fastnn.log_softmax([-1000.0, 0.0, 0.0]))
    array([0. , 0.5, 0.5])
    """
    return _transform(_log_softmax, x, axis, out)


def logsumexp(x, axis=-1, keepdims=False):
    """Return log(sum(exp(x))) along an axis, as max(x) + log(sum(exp(x - max(x)))).

    Parameters
    ----------
    x : array_like
        At least one-dimensional.
    axis : int
        The axis to sum over.
    keepdims : bool
        Whether that axis stays, with length 1.

    Returns
    -------
    ndarray
        Of the dtype of x; float64 for integers and bool. A row wholly -inf, or empty, gives -inf, one with +inf gives
        +inf, one with NaN gives NaN.

    Raises
    ------
    TypeError
        If x is complex, holds objects or the like.
    ValueError
        If x has no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.logsumexp([[1000.0, 1000.0], [0.0, -np.inf]]) - [1000, 0]
    array([0.69314718, 0.        ])
    """
    if axis == -1 and not keepdims:
        try:
            y = np.empty(len(x), x.dtype)
            _logsumexp[x.dtype](y, x)
            return y
        except _UNUSUAL:
            pass
    x = as_float(x, "x")
    axis = class_axis(axis, x, "x")
    matrix = rows(narrowed(x, working(x.dtype)), axis)
    y = np.empty(matrix.shape[0], matrix.dtype)
    _logsumexp[y.dtype](y, matrix)
    shape = x.shape[:axis] + (1,) * keepdims + x.shape[axis + 1 :]
    return narrowed(y, x.dtype).reshape(shape)


def softmax_backward(dy, y, axis=-1):
    """Return the gradient in x of a function whose gradient in y = softmax(x) is dy: y * (dy - sum(y * dy)).

    Parameters
    ----------
    dy, y : array_like
        Of one shape; y is what `softmax` returned.
    axis : int
        The axis of the classes.

    Returns
    -------
    ndarray
        Of that shape, and of the dtype that NumPy gives dy and y together; float64 for integers and bool.

    Raises
    ------
    TypeError
        If dy or y is complex, holds objects or the like.
    ValueError
        If their shapes differ, or there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.softmax_backward([1.0, 0.0, 0.0], [0.5, 0.25, 0.25])
    array([ 0.25 , -0.125, -0.125])
    """
    return _backward(_softmax_backward, dy, y, axis)


def log_softmax_backward(dy, y, axis=-1):
    """Return the gradient in x of a function whose gradient in y = log_softmax(x) is dy: dy - exp(y) * sum(dy).

    Parameters
    ----------
    dy, y : array_like
        Of one shape; y is what `log_softmax` returned.
    axis : int
        The axis of the classes.

    Returns
    -------
    ndarray
        Of that shape, and of the dtype that NumPy gives dy and y together; float64 for integers and bool. 0 for a row
        wholly -inf.

    Raises
    ------
    TypeError
        If dy or y is complex, holds objects or the like.
    ValueError
        If their shapes differ, or there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.log_softmax_backward([-1.0, 0.0, 0.0], np.log([0.5, 0.25, 0.25]))
    array([-0.5 ,  0.25,  0.25])
    """
    return _backward(_log_softmax_backward, dy, y, axis)


def masked_softmax(x, mask, axis=-1, *, out=None):
    """Return exp(x) / sum(exp(x)) along an axis over the elements that count, and 0 for the others.

    Parameters
    ----------
    x : array_like
        At least one-dimensional.
    mask : array_like of bool
        True where an element counts, as NumPy's `where` has it; of a shape that broadcasts to that of x. What stands
        where it is False makes no difference, be it NaN.
    axis : int
        The axis of the classes.
    out : ndarray, optional
        Takes the result; it has the shape and dtype of that, and may be x.

    Returns
    -------
    ndarray
        Of the shape and dtype of x; float64 for integers and bool. 0 where the mask is False, and in a row of which
        nothing counts, or nothing but -inf. What counts in a row is NaN where there is +inf or NaN among it.

    Raises
    ------
    TypeError
        If x is complex, holds objects or the like, the mask is not one of bool, or `out` is of another dtype than x.
    ValueError
        If x has no such axis, the mask is of another shape, or `out` is, or is read-only.

    Notes
    -----
    For sequences of several lengths, padded, the mask is `np.arange(x.shape[-1]) < lengths[:, None]`, as in the masked
    softmax of attention (Dive into Deep Learning, section 11.3); `ragged_softmax` takes them without padding.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> scores = np.log([[1.0, 3.0, 5.0], [2.0, 2.0, 4.0]])
    >>> fastnn.masked_softmax(scores, np.arange(3) < [[2], [3]])
    array([[0.25, 0.75, 0.  ],
           [0.25, 0.25, 0.5 ]])
    """
    return _transform(_masked_softmax, x, axis, out, as_mask(mask), part_of=_mask_rows)


def masked_softmax_backward(dy, y, mask, axis=-1):
    """Return the gradient in x of a function whose gradient in y = masked_softmax(x, mask) is dy.

    It is y * (dy - sum(y * dy)) over the elements that count, and 0 for the others.

    Parameters
    ----------
    dy, y : array_like
        Of one shape; y is what `masked_softmax` returned. What stands in dy where the mask is False makes no
        difference.
    mask : array_like of bool
        As `masked_softmax` took it.
    axis : int
        The axis of the classes.

    Returns
    -------
    ndarray
        Of the shape of y, and of the dtype that NumPy gives dy and y together; float64 for integers and bool.

    Raises
    ------
    TypeError
        If dy or y is complex, holds objects or the like, or the mask is not one of bool.
    ValueError
        If shapes differ, or there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.masked_softmax_backward([1.0, 0.0, np.nan], [0.25, 0.75, 0.0], [True, True, False])
    array([ 0.1875, -0.1875,  0.    ])
    """
    return _backward(_masked_softmax_backward, dy, y, axis, as_mask(mask), part_of=_mask_rows)


def ragged_softmax(x, lengths, axis=-1, *, out=None):
    """Return the softmax of each of several runs of any lengths that follow each other along an axis.

    Parameters
    ----------
    x : array_like
        At least one-dimensional: sequences without padding, one after another.
    lengths : array_like of integers (runs,)
        How long each of them is, 0 allowed; they add up to the length of the axis.
    axis : int
        The axis of the runs.
    out : ndarray, optional
        Takes the result; it has the shape and dtype of that, and may be x.

    Returns
    -------
    ndarray
        Of the shape and dtype of x; float64 for integers and bool. A run is what `softmax` makes of it, to the bit.

    Raises
    ------
    TypeError
        If x is complex, holds objects or the like, lengths are not integers, or `out` is of another dtype than x.
    ValueError
        If x has no such axis, a length is negative, they add up to something else, or `out` is of another shape or
        read-only.

    Notes
    -----
    Attention over documents of several lengths without padding (thinc calls it `softmax_sequences`).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.ragged_softmax(np.log([1.0, 3.0, 2.0, 2.0, 4.0]), [2, 3])
    array([0.25, 0.75, 0.25, 0.25, 0.5 ])
    """
    return _transform(_ragged_softmax, x, axis, out, lengths, part_of=_lengths)


def ragged_softmax_backward(dy, y, lengths, axis=-1):
    """Return the gradient in x of a function whose gradient in y = ragged_softmax(x, lengths) is dy.

    It is y * (dy - sum(y * dy)) over each run.

    Parameters
    ----------
    dy, y : array_like
        Of one shape; y is what `ragged_softmax` returned.
    lengths : array_like of integers (runs,)
        As `ragged_softmax` took them.
    axis : int
        The axis of the runs.

    Returns
    -------
    ndarray
        Of the shape of y, and of the dtype that NumPy gives dy and y together; float64 for integers and bool.

    Raises
    ------
    TypeError
        If dy or y is complex, holds objects or the like, or lengths are not integers.
    ValueError
        If shapes differ, there is no such axis, or lengths are negative or do not add up to its length.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.ragged_softmax_backward([1.0, 0.0, 0.0, 0.0, 1.0], [0.25, 0.75, 0.25, 0.25, 0.5], [2, 3])
    array([ 0.1875, -0.1875, -0.125 , -0.125 ,  0.25  ])
    """
    return _backward(_ragged_softmax_backward, dy, y, axis, lengths, part_of=_lengths)


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
    """Return the cross entropy of softmax(logits) against targets, and its gradient in the logits, from one pass.

    Parameters
    ----------
    logits : array_like (..., C)
        The classes along `axis`, the other axes in any number.
    targets : array_like
        Integers (...), the shape of the logits without `axis`: the class of each row, from 0 to C - 1. Or numbers of
        the logits' shape: the probability of each class, which need not add up to 1.
    axis : int
        The axis of the classes.
    weight : array_like (C,), optional
        A factor for each class, 1 by default.
    ignore_index : int, optional
        Rows with this target, class or not, do not count: their loss and gradient are 0.
    label_smoothing : float
        The share, from 0 to 1, of each target that is spread evenly over all classes.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum of the losses by the weights of the classes that count, or by the number of rows if the
        targets are probabilities; if nothing counts, loss and gradient are 0.
    need_grad : bool
        Whether to compute the gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the logits, and may be those.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the logits' dtype, one loss a row.
    gradient : ndarray or None
        Of the shape and dtype of the logits (float64 for integers and bool); for "none" that of the losses' sum.

    Raises
    ------
    IndexError
        If a target is neither a class nor `ignore_index`; the message names it.
    TypeError
        If the targets are neither integers nor of the logits' shape, `grad_out` is of another dtype than the logits,
        or any array is complex, holds objects or the like.
    ValueError
        If a shape, an option or the axis is wrong, probabilities meet an `ignore_index`, or `grad_out` is read-only.

    All of them before anything is written.

    Notes
    -----
    With the effective target b = weight * ((1 - label_smoothing) * t + label_smoothing / C), t one-hot or the
    probabilities, and p = softmax(logits): loss = -sum(b * log(p)), gradient = sum(b) * p - b. Without options that is
    the y - t of the graph Softmax-with-Loss (Saito, Deep Learning from Scratch, appendix A). These are PyTorch's
    definitions, but for two: it gives NaN where no target counts, and where a b of 0 meets a logit of -inf, a term that
    is 0 here. A row wholly -inf has the loss +inf and the gradient 0; NaN in a row, logit or probability, gives NaN
    there. Label smoothing is Szegedy et al.'s (arXiv:1512.00567).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> logits = np.log([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]])
    >>> loss, gradient = fastnn.softmax_cross_entropy(logits, [1, 0])
    >>> round(loss, 6)  # (log(4) + log(2)) / 2
    1.039721
    >>> gradient
    array([[ 0.0625, -0.375 ,  0.3125],
           [-0.25  ,  0.125 ,  0.125 ]])
    >>> loss, _ = fastnn.softmax_cross_entropy(logits, [[0, 1, 0], [0.5, 0.25, 0.25]], need_grad=False)
    >>> loss, _ = fastnn.softmax_cross_entropy(logits, [1, -1], ignore_index=-1, label_smoothing=0.1)
    """
    if axis == -1 and reduction in ("mean", "sum") and 0 <= label_smoothing <= 1 and (need_grad or grad_out is None):
        try:
            gradient = np.empty(logits.shape, logits.dtype) if need_grad and grad_out is None else grad_out
            kernel, mean = _softmax_cross_entropy[logits.dtype], reduction == "mean"
            return kernel(logits, targets, None, weight, ignore_index, label_smoothing, mean, gradient), gradient
        except _UNUSUAL:
            pass
    logits, targets, axis, weight = cross_entropy_arguments(
        logits, targets, axis, weight, ignore_index, label_smoothing, reduction, need_grad, grad_out
    )
    dtype = working(logits.dtype)
    z = rows(narrowed(logits, dtype), axis)
    index = probabilities = losses = gradient = None
    if targets.ndim == logits.ndim:
        probabilities = rows(narrowed(targets, dtype), axis)
    else:
        index = dense(targets).reshape(-1)
    if weight is not None:
        weight = dense(narrowed(weight, dtype))
    if reduction == "none":
        losses = np.empty(z.shape[0], dtype)
    if need_grad:
        gradient = room(grad_out, axis, z, index, probabilities, weight)
    loss = _softmax_cross_entropy[dtype](
        z, index, probabilities, weight, ignore_index, label_smoothing, reduction == "mean", gradient, losses
    )
    if reduction == "none":
        loss = narrowed(losses, logits.dtype).reshape(logits.shape[:axis] + logits.shape[axis + 1 :])
    return loss, finish(gradient, grad_out, logits.shape, axis, logits.dtype) if need_grad else None


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
    """Return -weight * log_probabilities at the class of each row, and the gradient in the log-probabilities.

    After `log_softmax` it is `softmax_cross_entropy`, which does both at once and faster.

    Parameters
    ----------
    log_probabilities : array_like (..., C)
        The classes along `axis`, the other axes in any number.
    targets : array_like of int (...)
        The class of each row, from 0 to C - 1.
    axis : int
        The axis of the classes.
    weight : array_like (C,), optional
        A factor for each class, 1 by default.
    ignore_index : int, optional
        Rows with this target, class or not, do not count: their loss and gradient are 0.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the weights of the classes that count; if none counts, loss and gradient are 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the log-probabilities, and may be those.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the input's dtype, one loss a row.
    gradient : ndarray or None
        Of the shape and dtype of the log-probabilities (float64 for integers and bool), 0 but at the targets; for
        "none" that of the losses' sum.

    Raises
    ------
    IndexError
        If a target is neither a class nor `ignore_index`.
    TypeError
        If the targets are not integers, `grad_out` is of another dtype than the log-probabilities, or any array is
        complex, holds objects or the like.
    ValueError
        If a shape, an option or the axis is wrong, or `grad_out` is read-only.

    Notes
    -----
    The negative log-likelihood as PyTorch defines it, but that the classes are along `axis`, the last, and that it
    gives NaN where no target counts.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> loss, gradient = fastnn.nll_loss(np.log([[0.25, 0.75], [0.5, 0.5]]), [0, 1])
    >>> round(loss, 6)  # (log(4) + log(2)) / 2
    1.039721
    >>> gradient
    array([[-0.5,  0. ],
           [ 0. , -0.5]])
    """
    if axis == -1 and reduction in ("mean", "sum") and (need_grad or grad_out is None):
        try:
            x = log_probabilities
            gradient = np.empty(x.shape, x.dtype) if need_grad and grad_out is None else grad_out
            return _nll_loss[x.dtype](x, targets, weight, ignore_index, reduction == "mean", gradient), gradient
        except _UNUSUAL:
            pass
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
    dtype = working(x.dtype)
    matrix, losses = rows(narrowed(x, dtype), axis), None
    if weight is not None:
        weight = dense(narrowed(weight, dtype))
    if reduction == "none":
        losses = np.empty(matrix.shape[0], dtype)
    index = dense(targets).reshape(-1)
    gradient = room(grad_out, axis, matrix, index, weight) if need_grad else None
    loss = _nll_loss[dtype](matrix, index, weight, ignore_index, reduction == "mean", gradient, losses)
    if reduction == "none":
        loss = narrowed(losses, x.dtype).reshape(targets.shape)
    return loss, finish(gradient, grad_out, x.shape, axis, x.dtype) if need_grad else None


def _flat(x):
    """Return the numbers of an array that lies densely, as they lie; a ValueError tells of one that does not."""
    if x.ndim == 1:
        return x
    if not x.flags.c_contiguous:
        raise ValueError
    return x.reshape(-1)


_PAIR = ("prediction", "target")


def _losses(op, names, x, target, parameter, reduction, need_grad, grad_out, further=(), pos_weight=None, weight=None):
    """Return a loss of single numbers, by the name of its kernel and of its arguments, and its gradient."""
    weighted = pos_weight is not None or weight is not None
    if reduction in ("mean", "sum") and not weighted and (need_grad or grad_out is None):
        try:
            shape, scale = x.shape, 1.0 if reduction == "sum" else 1 / x.size
            gradient = np.empty(shape, x.dtype) if need_grad and grad_out is None else grad_out
            if shape == target.shape and (gradient is None or gradient.shape == shape):
                flat = _flat(x), _flat(target), parameter, scale, None if gradient is None else _flat(gradient)
                return _element_loss[x.dtype](kernels.OPS[op], *flat) * scale, gradient
        except (*_UNUSUAL, ZeroDivisionError):
            pass
    x, target = loss_arguments(x, target, names, reduction, need_grad, grad_out, *further)
    factors = {}
    if weighted:
        op, like = f"weighted_{op}", (x.shape, working(x.dtype))
        factors = {"positive": as_factor(pos_weight, *like, "pos_weight"), "weight": as_factor(weight, *like, "weight")}
    dtype, divisor = working(x.dtype), {"mean": x.size, "batchmean": len(x) if x.ndim else 1}.get(reduction, 1)
    scale, losses = 1 / max(divisor, 1), None
    flat, target = (dense(narrowed(a, dtype)).reshape(-1) for a in (x, target))
    factors = {name: dense(factor).reshape(-1) for name, factor in factors.items()}
    if reduction == "none":
        losses = np.empty(flat.shape, dtype)
    gradient = room(grad_out, x.ndim - 1, flat, target, *factors.values()) if need_grad else None
    loss = _element_loss[dtype](kernels.OPS[op], flat, target, parameter, scale, gradient, losses, **factors) * scale
    if losses is not None:
        loss = narrowed(losses, x.dtype).reshape(x.shape)
    if need_grad:
        gradient = gradient.reshape(x.shape)
        if grad_out is None:
            gradient = narrowed(gradient, x.dtype)
        elif not np.may_share_memory(gradient, grad_out):
            assign(grad_out, gradient)
        gradient = gradient if grad_out is None else grad_out
    return loss, gradient


def sigmoid_cross_entropy(
    logits, targets, *, pos_weight=None, weight=None, reduction="mean", need_grad=True, grad_out=None
):
    """Return the cross entropy of sigmoid(logits) against targets, and its gradient in the logits, from one pass.

    Parameters
    ----------
    logits, targets : array_like
        Of one shape; each target is the probability, 0 and 1 included, that its logit is to give.
    pos_weight : array_like, optional
        A factor of what the targets ask for, beside what 1 - targets do; it broadcasts to that shape.
    weight : array_like, optional
        A factor of each loss; it broadcasts to that shape.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum of the losses by their number; the mean of nothing is 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the first argument, and may be that.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the first argument's shape and dtype.
    gradient : ndarray or None
        In the first argument, of its shape and dtype (float64 for integers and bool); for "none" that of the losses'
        sum.

    Raises
    ------
    TypeError
        If an array is complex, holds objects or the like, or `grad_out` is of another dtype than the first argument.
    ValueError
        If the shapes differ, an option is wrong, or `grad_out` is read-only.

    Notes
    -----
    loss = -weight * (pos_weight * t * log(p) + (1 - t) * log(1 - p)) with p = sigmoid(z), and the gradient is
    weight * ((1 - t) * p - pos_weight * t * (1 - p)). Both are added up from terms that are accurate however small
    they are: log(p) = -log(1 + e^-z) = -(max(-z, 0) + log(1 + e^-|z|)). Powers of e below 2^-126, in float32, may be 0.
    As PyTorch's binary_cross_entropy_with_logits, but that an infinite logit whose target is right has the loss 0, not
    NaN, and that "mean" of nothing is 0.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> loss, gradient = fastnn.sigmoid_cross_entropy([0.0, np.log(3.0)], [1.0, 1.0], reduction="none")
    >>> np.exp(-loss), gradient  # sigmoid of the logits, and that less 1
    (array([0.5 , 0.75]), array([-0.5 , -0.25]))
    """
    factors, names = {"pos_weight": pos_weight, "weight": weight}, ("logits", "targets")
    return _losses("sigmoid_cross_entropy", names, logits, targets, 0.0, reduction, need_grad, grad_out, **factors)


def mse_loss(prediction, target, *, reduction="mean", need_grad=True, grad_out=None):
    """Return the squared error (prediction - target)^2 and its gradient, 2 (prediction - target), from one pass.

    Parameters
    ----------
    prediction, target : array_like
        Of one shape.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum of the losses by their number; the mean of nothing is 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the first argument, and may be that.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the first argument's shape and dtype.
    gradient : ndarray or None
        In the first argument, of its shape and dtype (float64 for integers and bool); for "none" that of the losses'
        sum.

    Raises
    ------
    TypeError
        If an array is complex, holds objects or the like, or `grad_out` is of another dtype than the first argument.
    ValueError
        If the shapes differ, an option is wrong, or `grad_out` is read-only.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.mse_loss([1.0, 2.0], [1.0, 5.0])
    (4.5, array([ 0., -3.]))
    """
    return _losses("mse_loss", _PAIR, prediction, target, 0.0, reduction, need_grad, grad_out)


def l1_loss(prediction, target, *, reduction="mean", need_grad=True, grad_out=None):
    """Return the absolute error |prediction - target| and its gradient, the sign, 0 where they are equal.

    Parameters
    ----------
    prediction, target : array_like
        Of one shape.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum of the losses by their number; the mean of nothing is 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the first argument, and may be that.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the first argument's shape and dtype.
    gradient : ndarray or None
        In the first argument, of its shape and dtype (float64 for integers and bool); for "none" that of the losses'
        sum.

    Raises
    ------
    TypeError
        If an array is complex, holds objects or the like, or `grad_out` is of another dtype than the first argument.
    ValueError
        If the shapes differ, an option is wrong, or `grad_out` is read-only.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.l1_loss([1.0, 2.0], [1.0, 5.0], reduction="sum")
    (3.0, array([ 0., -1.]))
    """
    return _losses("l1_loss", _PAIR, prediction, target, 0.0, reduction, need_grad, grad_out)


def huber_loss(prediction, target, *, delta=1.0, reduction="mean", need_grad=True, grad_out=None):
    """Return Huber's loss, d^2 / 2 where |d| <= delta and delta (|d| - delta / 2) beyond, and its gradient.

    d = prediction - target, and the gradient is d, from -delta to delta.

    Parameters
    ----------
    prediction, target : array_like
        Of one shape.
    delta : float
        Above 0; where the square gives way to the straight line.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum of the losses by their number; the mean of nothing is 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the first argument, and may be that.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the first argument's shape and dtype.
    gradient : ndarray or None
        In the first argument, of its shape and dtype (float64 for integers and bool); for "none" that of the losses'
        sum.

    Raises
    ------
    TypeError
        If an array is complex, holds objects or the like, or `grad_out` is of another dtype than the first argument.
    ValueError
        If the shapes differ, an option is wrong, or `grad_out` is read-only.

    Notes
    -----
    Huber (1964), "Robust estimation of a location parameter".

    Examples
    --------
    >>> import fastnn
    >>> fastnn.huber_loss([1.0, 9.0], [2.0, 5.0], delta=2.0, reduction="none")
    (array([0.5, 6. ]), array([-1.,  2.]))
    """
    return _losses("huber_loss", _PAIR, prediction, target, as_positive(delta, "delta"), reduction, need_grad, grad_out)


def smooth_l1_loss(prediction, target, *, beta=1.0, reduction="mean", need_grad=True, grad_out=None):
    """Return Huber's loss over beta: d^2 / (2 beta) where |d| <= beta and |d| - beta / 2 beyond, and its gradient.

    d = prediction - target, and the gradient is d / beta, from -1 to 1.

    Parameters
    ----------
    prediction, target : array_like
        Of one shape.
    beta : float
        At least 0, which makes it the absolute error.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum of the losses by their number; the mean of nothing is 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the first argument, and may be that.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the first argument's shape and dtype.
    gradient : ndarray or None
        In the first argument, of its shape and dtype (float64 for integers and bool); for "none" that of the losses'
        sum.

    Raises
    ------
    TypeError
        If an array is complex, holds objects or the like, or `grad_out` is of another dtype than the first argument.
    ValueError
        If the shapes differ, an option is wrong, or `grad_out` is read-only.

    Notes
    -----
    Girshick (2015), "Fast R-CNN"; with beta as in PyTorch.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.smooth_l1_loss([1.0, 9.0], [2.0, 5.0], beta=2.0, reduction="none")
    (array([0.25, 3.  ]), array([-0.5,  1. ]))
    """
    beta = as_positive(beta, "beta", zero=True)
    return _losses(
        "smooth_l1_loss" if beta else "l1_loss", _PAIR, prediction, target, beta, reduction, need_grad, grad_out
    )


def hinge_loss(prediction, target, *, reduction="mean", need_grad=True, grad_out=None):
    """Return max(0, 1 - target * prediction) and its gradient, -target where that is above 0, from one pass.

    Parameters
    ----------
    prediction, target : array_like
        Of one shape; a prediction is a number whose sign tells the class, a target is 1 or -1.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum of the losses by their number; the mean of nothing is 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the first argument, and may be that.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the first argument's shape and dtype.
    gradient : ndarray or None
        In the first argument, of its shape and dtype (float64 for integers and bool); for "none" that of the losses'
        sum.

    Raises
    ------
    TypeError
        If an array is complex, holds objects or the like, or `grad_out` is of another dtype than the first argument.
    ValueError
        If the shapes differ, an option is wrong, or `grad_out` is read-only.

    Notes
    -----
    The loss of support vector machines (Cortes and Vapnik, 1995).

    Examples
    --------
    >>> import fastnn
    >>> fastnn.hinge_loss([0.5, -2.0, 3.0], [1.0, 1.0, 1.0], reduction="none")
    (array([0.5, 3. , 0. ]), array([-1., -1.,  0.]))
    """
    return _losses("hinge_loss", _PAIR, prediction, target, 0.0, reduction, need_grad, grad_out)


def kl_div(log_probabilities, targets, *, log_target=False, reduction="mean", need_grad=True, grad_out=None):
    """Return t * (log(t) - log_probabilities), the terms of a Kullback-Leibler divergence, and the gradient -t.

    Parameters
    ----------
    log_probabilities, targets : array_like
        Of one shape; t is a target, or its exponential if the targets are logarithms too. Where t is 0 the term is.
    log_target : bool
        Whether the targets are logarithms.
    reduction : {"mean", "sum", "none", "batchmean"}
        "batchmean" divides the sum by the length of the first axis: the mean divergence of the rows of a matrix. "mean"
        divides it by the number of elements, as PyTorch does, which is no divergence. The mean of nothing is 0.
    need_grad : bool
        Whether to return a gradient.
    grad_out : ndarray, optional
        Takes the gradient; it has the shape and dtype of the log-probabilities, and may be those.

    Returns
    -------
    loss : float or ndarray
        A Python float, summed in float64; for "none" an array of the first argument's shape and dtype.
    gradient : ndarray or None
        In the first argument, of its shape and dtype (float64 for integers and bool); for "none" that of the losses'
        sum.

    Raises
    ------
    TypeError
        If an array is complex, holds objects or the like, or `grad_out` is of another dtype than the first argument.
    ValueError
        If the shapes differ, an option is wrong, or `grad_out` is read-only.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> log_p, q = np.log([[0.5, 0.5], [0.25, 0.75]]), [[1.0, 0.0], [0.25, 0.75]]
    >>> loss, gradient = fastnn.kl_div(log_p, q, reduction="batchmean")
    >>> round(loss, 6)  # (log(2) + 0) / 2
    0.346574
    >>> gradient
    array([[-0.5  , -0.   ],
           [-0.125, -0.375]])
    """
    names = ("log_probabilities", "targets")
    op = "kl_div_of_logs" if log_target else "kl_div"
    return _losses(op, names, log_probabilities, targets, 0.0, reduction, need_grad, grad_out, ("batchmean",))
