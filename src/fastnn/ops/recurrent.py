"""Recurrent cells: one step, a sequence of steps, and their gradients."""

from typing import NamedTuple

import numpy as np

from fastnn._checks import as_gradient, check_choice, check_lengths, recurrent_operands
from fastnn._kernels import gemm, recurrent
from fastnn._kernels.activations import OPS, evaluate
from fastnn.ops._arrays import by_dtype, dense

__all__ = ["rnn_backward", "rnn_forward", "rnn_step", "rnn_step_backward", "rnn_step_forward"]

_MATMUL = by_dtype(gemm.matmul)
_EVALUATE = by_dtype(evaluate)
_RNN_STEP = by_dtype(recurrent.rnn_step)
_RNN_FORWARD = by_dtype(recurrent.rnn_forward)
_RNN_BACKWARD = by_dtype(recurrent.rnn_backward)
_OPERATIONS = {"tanh": OPS["tanh"], "relu": OPS["relu"]}
_BACKWARD_OPERATIONS = {"tanh": OPS["tanh_backward"], "relu": OPS["relu_backward"]}

quiet = np.errstate(all="ignore")


class _Step(NamedTuple):
    """What the backward pass of one step needs; `dtype` is that of the gradients."""

    operands: dict
    y: np.ndarray
    nonlinearity: str
    dtype: np.dtype


class _Sequence(NamedTuple):
    """What the backward pass of a sequence needs: operands as they entered the walk, all states, what was asked."""

    operands: dict
    states: np.ndarray
    lengths: np.ndarray | None
    reverse: bool
    nonlinearity: str
    dtype: np.dtype


def _operands(gates, **arrays):
    """Return the checked arguments of a cell, dense and of one dtype, and the dtype of the results."""
    arrays, dtype = recurrent_operands(gates, **arrays)
    return {name: None if x is None else dense(x) for name, x in arrays.items()}, dtype


def _cache(cache, kind, name):
    if not isinstance(cache, kind):
        raise TypeError(f"cache is a {type(cache).__name__}, expected what {name} returned")
    return cache


def _bias(a):
    """Return the sum of both biases, or None."""
    given = [b for b in (a["b_ih"], a["b_hh"]) if b is not None]
    return sum(given[1:], start=given[0]) if given else None


def _active(lengths, steps):
    """Return the mask (T, B, 1) of the steps within the lengths."""
    return (np.arange(steps)[:, None] < lengths)[:, :, None]


def _flat(x):
    """Return x (T, B, n) as (T * B, n)."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _after(states, reverse):
    """Return the states after each step, aligned with x, those before, and the final one; views all."""
    return (states[:-1], states[1:], states[0]) if reverse else (states[1:], states[:-1], states[-1])


def _linear_gradients(dpre, x, h, a):
    """Return the gradients of x, the weights and the biases for pre = x @ w_ih.T + b_ih + h @ w_hh.T + b_hh."""
    matmul = _MATMUL[dpre.dtype]
    gradients = {name: np.empty_like(a[name]) for name in ("x", "w_ih", "w_hh")}
    matmul(gradients["x"].reshape(x.shape), dpre, a["w_ih"])
    matmul(gradients["w_ih"], dpre.T, x)
    matmul(gradients["w_hh"], dpre.T, h)
    for name in ("b_ih", "b_hh"):
        if a[name] is not None:
            gradients[name] = dpre.sum(0)
    return gradients


def _as(gradients, a, dtype):
    """Return the gradients in the order of the arguments."""
    return {name: gradients[name].astype(dtype, copy=False) for name in a if name in gradients}


def rnn_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    """Return the state after one step, f(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).

    Parameters
    ----------
    x : array_like (B, I)
        The input.
    h : array_like (B, H)
        The state before.
    w_ih, w_hh : array_like (H, I), (H, H)
        The weights.
    b_ih, b_hh : array_like (H,), optional
        The biases; the sum of both counts.
    nonlinearity : {"tanh", "relu"}
        The function f.

    Returns
    -------
    ndarray (B, H)
        A new array, of the common dtype of the arguments; float64 for integers.

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit, or the nonlinearity is unknown.

    See Also
    --------
    rnn_step_forward : the same, with what a gradient needs.
    rnn_forward : all steps of a sequence, faster.

    Notes
    -----
    Names, shapes and the two biases are those of PyTorch's `RNNCell`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> h = np.zeros((1, 2))
    >>> w_ih, w_hh = np.array([[1.0], [-1.0]]), np.eye(2)
    >>> fastnn.rnn_step([[0.5]], h, w_ih, w_hh, nonlinearity="relu")
    array([[0.5, 0. ]])
    """
    try:  # arrays that lie ready are checked by the kernel alone
        y = np.empty(h.shape, h.dtype)
        _RNN_STEP[h.dtype](_OPERATIONS[nonlinearity], y, x, h, w_ih, w_hh, b_ih, b_hh)
        return y
    except (AttributeError, KeyError, TypeError, ValueError):
        return rnn_step_forward(x, h, w_ih, w_hh, b_ih, b_hh, nonlinearity=nonlinearity)[0]


@quiet
def rnn_step_forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    """Return the state after one step as `rnn_step` does, and a cache for `rnn_step_backward`.

    The cache refers to the arguments and to the result, which must not change until the backward pass.

    Returns
    -------
    h : ndarray (B, H)
    cache

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> h, cache = fastnn.rnn_step_forward(np.ones((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.eye(1))
    >>> {name: gradient.item() for name, gradient in fastnn.rnn_step_backward(np.ones((1, 1)), cache).items()}
    {'x': 0.0, 'h': 1.0, 'w_ih': 1.0, 'w_hh': 0.0}
    """
    check_choice(nonlinearity, tuple(_OPERATIONS), "nonlinearity")
    a, dtype = _operands(1, x=x, h=h, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    y = np.empty_like(a["h"])
    _RNN_STEP[y.dtype](_OPERATIONS[nonlinearity], y, *a.values())
    return y.astype(dtype, copy=False), _Step(a, y, nonlinearity, dtype)


@quiet
def rnn_step_backward(dh, cache):
    """Return the gradients of the arguments of `rnn_step_forward`, by name.

    Parameters
    ----------
    dh : array_like (B, H)
        The gradient of the state after the step.
    cache
        What `rnn_step_forward` returned.

    Returns
    -------
    dict
        Arrays under "x", "h", "w_ih", "w_hh" and, where the biases were given, "b_ih", "b_hh":
        dpre = dh * f'(pre), dx = dpre @ w_ih, dh = dpre @ w_hh, dw_ih = dpre.T @ x, dw_hh = dpre.T @ h, db = sum(dpre).
    """
    a, y, nonlinearity, dtype = _cache(cache, _Step, "rnn_step_forward")
    dpre = np.empty_like(y)
    _EVALUATE[y.dtype](
        _BACKWARD_OPERATIONS[nonlinearity],
        dpre.reshape(-1),
        dense(as_gradient(dh, y.shape, y.dtype, "dh")).reshape(-1),
        y.reshape(-1),
    )
    gradients = _linear_gradients(dpre, a["x"], a["h"], a)
    gradients["h"] = np.empty_like(y)
    _MATMUL[y.dtype](gradients["h"], dpre, a["w_hh"])
    return _as(gradients, a, dtype)


@quiet
def rnn_forward(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, nonlinearity="tanh"):
    """Run a recurrent network over sequences: h_t = f(x_t @ w_ih.T + b_ih + h_(t-1) @ w_hh.T + b_hh).

    Parameters
    ----------
    x : array_like (T, B, I)
        The inputs, time first.
    h0 : array_like (B, H)
        The initial state.
    w_ih, w_hh : array_like (H, I), (H, H)
        The weights.
    b_ih, b_hh : array_like (H,), optional
        The biases; the sum of both counts.
    lengths : array_like (B,) of integers, optional
        The number of steps of each sequence, in any order, each from 0 to T; what x holds past them is not used.
    reverse : bool
        Walk from the end of each sequence to its start.
    nonlinearity : {"tanh", "relu"}
        The function f.

    Returns
    -------
    y : ndarray (T, B, H)
        The state after each step, aligned with x; 0 past the length of a sequence.
    h_n : ndarray (B, H)
        The last state of each sequence: that at its end, in reverse that at its start, h0 where the length is 0.
    cache
        For `rnn_backward`. It refers to the arguments and to y, which must not change until then.

    Raises
    ------
    TypeError
        If an array is complex or holds objects, or the lengths are not integers.
    ValueError
        If a shape does not fit, a length is out of range, or the nonlinearity is unknown.

    Notes
    -----
    Names and shapes are those of PyTorch's `RNN`; the recurrence is that of Ng's course 5,
    a_t = g(W_aa a_(t-1) + W_ax x_t + b_a). A sequence is not packed, nor sorted by length: a row that has ended
    carries its state. The result of a row does not depend on the others.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> x = np.ones((3, 2, 1))
    >>> y, h_n, cache = fastnn.rnn_forward(
    ...     x, np.zeros((2, 1)), np.ones((1, 1)), np.ones((1, 1)), lengths=[3, 1], nonlinearity="relu"
    ... )
    >>> y[:, :, 0]
    array([[1., 1.],
           [2., 0.],
           [3., 0.]])
    >>> h_n[:, 0]
    array([3., 1.])
    >>> gradients = fastnn.rnn_backward(np.ones_like(y), None, cache)
    >>> gradients["x"][:, :, 0]
    array([[3., 1.],
           [2., 0.],
           [1., 0.]])
    """
    check_choice(nonlinearity, tuple(_OPERATIONS), "nonlinearity")
    a, dtype = _operands(1, x=x, h0=h0, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    x, h0 = a["x"], a["h0"]
    steps = len(x)
    if lengths is not None:
        lengths = check_lengths(lengths, steps, len(h0))
        active = _active(lengths, steps)
        a["x"] = x = np.where(active, x, 0)
    states = np.empty((steps + 1, *h0.shape), x.dtype)
    states[steps if reverse else 0] = h0
    y, _, h_n = _after(states, reverse)
    _MATMUL[x.dtype](_flat(y), _flat(x), a["w_ih"].T, _bias(a))
    _RNN_FORWARD[x.dtype](_OPERATIONS[nonlinearity], states, a["w_hh"], lengths, bool(reverse))
    if lengths is not None:
        y = np.where(active, y, 0)
    cache = _Sequence(a, states, lengths, bool(reverse), nonlinearity, dtype)
    return y.astype(dtype, copy=False), h_n.astype(dtype), cache


@quiet
def rnn_backward(dy, dh_n, cache):
    """Return the gradients of the arguments of `rnn_forward`, by name: back-propagation through time.

    Parameters
    ----------
    dy : array_like (T, B, H) or None
        The gradient of y, not used past the lengths; None is 0.
    dh_n : array_like (B, H) or None
        The gradient of the last state, on top of what dy says of it; None is 0.
    cache
        What `rnn_forward` returned.

    Returns
    -------
    dict
        Arrays under "x", "h0", "w_ih", "w_hh" and, where the biases were given, "b_ih", "b_hh", shaped as those.

    Raises
    ------
    TypeError, ValueError
        If a gradient has not the dtype or shape of its result.
    """
    a, states, lengths, reverse, nonlinearity, dtype = _cache(cache, _Sequence, "rnn_forward")
    y, before, _ = _after(states, reverse)
    dh = np.array(as_gradient(dh_n, y.shape[1:], y.dtype, "dh_n"), order="C")
    if dy is not None:
        dy = dense(as_gradient(dy, y.shape, y.dtype, "dy"))
        if lengths is not None:
            dy = np.where(_active(lengths, len(y)), dy, 0)
    dpre = np.empty_like(y)
    _RNN_BACKWARD[y.dtype](_BACKWARD_OPERATIONS[nonlinearity], dpre, dh, dy, states, a["w_hh"], lengths, reverse)
    gradients = _linear_gradients(_flat(dpre), _flat(a["x"]), _flat(before), a)
    gradients["h0"] = dh
    return _as(gradients, a, dtype)
