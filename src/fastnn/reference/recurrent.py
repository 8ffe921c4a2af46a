"""Recurrent cells in plain NumPy: one step, a sequence of steps, and their gradients.

A sequence is its steps one after the other; its gradient is back-propagation through time, step by step. The
compiled functions compute the same with one matrix product for all inputs and one for each weight gradient.
"""

import numpy as np

from fastnn._checks import as_gradient, check_choice, check_lengths, recurrent_operands

__all__ = ["rnn_backward", "rnn_forward", "rnn_step", "rnn_step_backward", "rnn_step_forward"]

quiet = np.errstate(all="ignore")


def _linear(x, weight, bias):
    return x @ weight.T if bias is None else x @ weight.T + bias


def _linear_backward(dy, x, weight, bias):
    """Return the gradients of x, weight and bias."""
    return dy @ weight, dy.T @ x, None if bias is None else dy.sum(0)


def _given(gradients, dtype):
    """Drop the gradients of arguments that were None, and give the others their dtype."""
    return {name: value.astype(dtype, copy=False) for name, value in gradients.items() if value is not None}


def _rnn(x, state, w_ih, w_hh, b_ih, b_hh, nonlinearity):
    (h,) = state
    pre = _linear(x, w_ih, b_ih) + _linear(h, w_hh, b_hh)
    y = np.tanh(pre) if nonlinearity == "tanh" else np.maximum(pre, 0)
    return (y,), (x, h, w_ih, w_hh, b_ih, b_hh, nonlinearity, y)


def _rnn_backward(dstate, cache):
    (dy,), (x, h, w_ih, w_hh, b_ih, b_hh, nonlinearity, y) = dstate, cache
    dpre = dy * (1 - y) * (1 + y) if nonlinearity == "tanh" else np.where(y > 0, dy, 0)
    dx, dw_ih, db_ih = _linear_backward(dpre, x, w_ih, b_ih)
    dh, dw_hh, db_hh = _linear_backward(dpre, h, w_hh, b_hh)
    return dx, (dh,), {"w_ih": dw_ih, "w_hh": dw_hh, "b_ih": db_ih, "b_hh": db_hh}


def _walk(cell, x, state, lengths, reverse, *weights):
    """Run a cell over time; a sequence that has ended, or in reverse not yet begun, keeps its state."""
    steps = range(len(x))
    y = np.zeros((*x.shape[:2], state[0].shape[1]), x.dtype)
    caches = []
    for t in reversed(steps) if reverse else steps:
        active = (t < lengths)[:, None]
        new, cache = cell(np.where(active, x[t], 0), state, *weights)
        state = tuple(np.where(active, after, before) for after, before in zip(new, state, strict=True))
        y[t] = np.where(active, state[0], 0)
        caches.append((t, active, cache))
    return y, tuple(each.copy() for each in state), caches


def _walk_backward(cell_backward, dy, dstate, dx, caches, total):
    """Walk the steps the other way, adding the gradients of the weights into `total`."""
    for t, active, cache in reversed(caches):
        dh = dstate[0] + np.where(active, dy[t], 0)
        dnew = tuple(np.where(active, each, 0) for each in (dh, *dstate[1:]))
        dx[t], dbefore, gradients = cell_backward(dnew, cache)
        dstate = tuple(np.where(active, before, after) for before, after in zip(dbefore, dstate, strict=True))
        for name, gradient in gradients.items():
            if gradient is not None:
                total[name] += gradient
    return dstate


def rnn_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    """Return f(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh), f being tanh or relu."""
    return rnn_step_forward(x, h, w_ih, w_hh, b_ih, b_hh, nonlinearity=nonlinearity)[0]


@quiet
def rnn_step_forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    """Return the new h, and a cache for `rnn_step_backward`."""
    check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity")
    a, dtype = recurrent_operands(1, x=x, h=h, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    (y,), cache = _rnn(a["x"], (a["h"],), a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"], nonlinearity)
    return y.astype(dtype, copy=False), (cache, dtype)


@quiet
def rnn_step_backward(dh, cache):
    """Return the gradients of the arguments by name."""
    cache, dtype = cache
    y = cache[-1]
    dx, (dh,), gradients = _rnn_backward((as_gradient(dh, y.shape, y.dtype, "dh"),), cache)
    return _given({"x": dx, "h": dh} | gradients, dtype)


@quiet
def rnn_forward(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, nonlinearity="tanh"):
    """Return y, the final state h_n, and a cache for `rnn_backward`."""
    check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity")
    a, dtype = recurrent_operands(1, x=x, h0=h0, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    lengths = check_lengths(lengths, *a["x"].shape[:2])
    weights = a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"], nonlinearity
    y, (h_n,), caches = _walk(_rnn, a["x"], (a["h0"],), lengths, reverse, *weights)
    return y.astype(dtype, copy=False), h_n.astype(dtype, copy=False), (caches, a, dtype)


@quiet
def rnn_backward(dy, dh_n, cache):
    """Return the gradients of the arguments by name; dy and dh_n may be None."""
    caches, a, dtype = cache
    x, h0 = a["x"], a["h0"]
    total = {name: None if value is None else np.zeros_like(value) for name, value in a.items()}
    dy = as_gradient(dy, (*x.shape[:2], h0.shape[1]), x.dtype, "dy")
    dh_n = as_gradient(dh_n, h0.shape, x.dtype, "dh_n")
    (total["h0"],) = _walk_backward(_rnn_backward, dy, (dh_n,), total["x"], caches, total)
    return _given(total, dtype)
