"""Penalties on weights: each adds its gradient to that of the loss, and returns its value.

Called between `back` and the optimiser's step, or by `Trainer(..., penalty=...)`.

The three ways in which the seed notes write the L2 penalty are one function with different scales, and so is the
`weight_decay` of optimisers:

==============================================================  =====================
objective                                                       scale
==============================================================  =====================
J + lambda * sum of squares (CS224n 2019, lecture 4)            lambda
J + lambda * sum of ||W||_F^2 (CS224n, notes 7)                 lambda
J + lambda / (2 m) * ||W||^2, m samples (key concepts)          lambda / (2 m)
weight_decay of SGD, Adam, ... (added to the gradient)          weight_decay / 2
decoupled weight_decay of AdamW (shrinks the weights)           weight_decay / 2, for plain SGD alone
==============================================================  =====================

The last line: a step of plain SGD on J + scale * sum of squares is w <- (1 - 2 * lr * scale) * w - lr * dJ/dw, which is
decoupled decay by weight_decay = 2 * scale. Momentum and adaptive methods carry the penalty's gradient along or divide
it, so for them the two differ. The first line counts biases too, as it is written; `weights` leaves them out.
"""

import numpy as np

from fastnn._checks import as_positive, check_limit
from fastnn.nn.module import Parameter

__all__ = ["l1", "l2", "max_norm", "weights"]


def weights(model):
    """Return the parameters of at least two axes: no biases, no scales of normalizations.

    Nor does it return those that none but layers with `freeze` have: a penalty would move them.

    Examples
    --------
    >>> from fastnn import nn
    >>> weights(nn.Sequential(nn.Embedding.from_vectors(np.eye(3)), nn.Linear(3, 4), nn.LayerNorm(4)))
    [Parameter((4, 3), float32)]
    """
    layers = [layer for _, layer in model.named_modules() if not getattr(layer, "freeze", False)]
    members = (member for layer in layers for _, member in layer._members() if isinstance(member, Parameter))
    return list({id(parameter): parameter for parameter in members if parameter.value.ndim > 1}.values())


def l2(params, scale):
    """Add 2 * scale * w to the gradients, and return scale * sum of w^2.

    Parameters
    ----------
    params : iterable of Parameter
        Such as `weights(model)`; those of layers with `freeze`, which that leaves out, would move.
    scale : float
        The table at the head of this module has the scale for each way to write the penalty.

    Returns
    -------
    penalty : float

    Examples
    --------
    >>> from fastnn import nn
    >>> w = nn.Parameter(np.array([1.0, -2.0]))
    >>> l2([w], 0.1), w.grad
    (0.5, array([ 0.2, -0.4]))
    """
    return _penalty(params, scale, np.square, lambda value: 2 * value)


def l1(params, scale):
    """Add scale * sign(w) to the gradients, and return scale * sum of |w|; the sign of 0 is 0.

    Parameters
    ----------
    params : iterable of Parameter
    scale : float

    Returns
    -------
    penalty : float

    Examples
    --------
    >>> from fastnn import nn
    >>> w = nn.Parameter(np.array([1.0, -2.0, 0.0]))
    >>> round(l1([w], 0.1), 6), w.grad
    (0.3, array([ 0.1, -0.1,  0. ]))
    """
    return _penalty(params, scale, np.abs, np.sign)


def _penalty(params, scale, f, derivative):
    check_limit("scale", scale)
    total = 0.0
    with np.errstate(all="ignore"):
        for parameter in params:
            value = parameter.value
            total += float(f(value).sum(dtype=np.float64))
            parameter.accumulate(value.dtype.type(scale) * derivative(value))
        return scale * total


def max_norm(params, limit):
    """Scale each neuron's weights down, in place, to a Euclidean norm of at most `limit`.

    Parameters
    ----------
    params : iterable of Parameter
        Each row of a weight (out, in, ...) is a neuron's; parameters of one axis stay as they are.
    limit : float
        Often 3 or 4.

    Notes
    -----
    Called after the optimiser's step. Srebro and Shraibman (2005), "Rank, trace-norm and max-norm"; with dropout in
    Srivastava et al. (2014).

    Examples
    --------
    >>> from fastnn import nn
    >>> w = nn.Parameter(np.array([[3.0, 4.0], [0.3, 0.4]]))
    >>> max_norm([w], 1.0)
    >>> w.value
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    limit = as_positive(limit, "limit")
    for parameter in params:
        value = parameter.value
        if value.ndim > 1:
            with np.errstate(all="ignore"):
                norms = np.sqrt(np.square(value, dtype=np.float64).sum(axis=tuple(range(1, value.ndim)), keepdims=True))
                np.multiply(value, limit / norms, out=value, where=norms > limit, casting="same_kind")
