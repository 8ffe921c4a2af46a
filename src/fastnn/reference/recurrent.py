"""Recurrent cells in plain NumPy: one step, a sequence of steps, and their gradients.

A sequence is its steps one after the other; its gradient is back-propagation through time, step by step. The
compiled functions compute the same with one matrix product for all inputs and one for each weight gradient.
"""

import numpy as np

from fastnn._checks import as_gradient, check_choice, check_lengths, recurrent_operands
from fastnn._stream import Stream
from fastnn.reference.activations import sigmoid

__all__ = [
    "gru_backward",
    "gru_forward",
    "gru_step",
    "gru_step_backward",
    "gru_step_forward",
    "gru_stream",
    "lstm_backward",
    "lstm_forward",
    "lstm_step",
    "lstm_step_backward",
    "lstm_step_forward",
    "lstm_stream",
    "rnn_backward",
    "rnn_forward",
    "rnn_step",
    "rnn_step_backward",
    "rnn_step_forward",
    "rnn_stream",
]

quiet = np.errstate(all="ignore")


# --- the cells: the new state and a cache; the gradients of x, of the state before, and of the weights ---------------
def _linear(x, weight, bias):
    return x @ weight.T if bias is None else x @ weight.T + bias


def _linear_backward(dy, x, weight, bias):
    """Return the gradients of x, weight and bias."""
    return dy @ weight, dy.T @ x, None if bias is None else dy.sum(0)


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


def _lstm(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = np.split(_linear(x, w_ih, b_ih) + _linear(h, w_hh, b_hh), 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c_new = f * c + i * g
    tanh_c = np.tanh(c_new)
    return (o * tanh_c, c_new), (x, h, c, w_ih, w_hh, b_ih, b_hh, i, f, g, o, tanh_c)


def _lstm_backward(dstate, cache):
    (dh, dc), (x, h, c, w_ih, w_hh, b_ih, b_hh, i, f, g, o, tanh_c) = dstate, cache
    dc = dc + dh * o * (1 - tanh_c) * (1 + tanh_c)
    di = dc * g * i * (1 - i)
    df = dc * c * f * (1 - f)
    dg = dc * i * (1 - g) * (1 + g)
    do = dh * tanh_c * o * (1 - o)
    dpre = np.concatenate([di, df, dg, do], axis=1)
    dx, dw_ih, db_ih = _linear_backward(dpre, x, w_ih, b_ih)
    dh, dw_hh, db_hh = _linear_backward(dpre, h, w_hh, b_hh)
    return dx, (dh, dc * f), {"w_ih": dw_ih, "w_hh": dw_hh, "b_ih": db_ih, "b_hh": db_hh}


def _gru(x, state, w_ih, w_hh, b_ih, b_hh, reset_after):
    (h,) = state
    size = h.shape[1]
    from_x = _linear(x, w_ih, b_ih)
    rz = slice(0, 2 * size), slice(2 * size, None)
    weights = [(w_hh[part], None if b_hh is None else b_hh[part]) for part in rz]
    r, z = np.split(sigmoid(from_x[:, rz[0]] + _linear(h, *weights[0])), 2, axis=1)
    if reset_after:
        of_h = _linear(h, *weights[1])
        n = np.tanh(from_x[:, rz[1]] + r * of_h)
    else:
        of_h = r * h
        n = np.tanh(from_x[:, rz[1]] + _linear(of_h, *weights[1]))
    return (n + z * (h - n),), (x, h, w_ih, b_ih, weights, reset_after, r, z, n, of_h)


def _gru_backward(dstate, cache):
    (dh_new,), (x, h, w_ih, b_ih, weights, reset_after, r, z, n, of_h) = dstate, cache
    dn = dh_new * (1 - z) * (1 - n) * (1 + n)
    dz = dh_new * (h - n) * z * (1 - z)
    dh = dh_new * z
    if reset_after:
        dr = dn * of_h
        dh_n, dw_n, db_n = _linear_backward(dn * r, h, *weights[1])
        dh = dh + dh_n
    else:
        dof_h, dw_n, db_n = _linear_backward(dn, of_h, *weights[1])
        dr = dof_h * h
        dh = dh + dof_h * r
    drz = np.concatenate([dr * r * (1 - r), dz], axis=1)
    dh_rz, dw_rz, db_rz = _linear_backward(drz, h, *weights[0])
    dx, dw_ih, db_ih = _linear_backward(np.concatenate([drz, dn], axis=1), x, w_ih, b_ih)
    db_hh = None if db_n is None else np.concatenate([db_rz, db_n])
    return dx, (dh + dh_rz,), {"w_ih": dw_ih, "w_hh": np.concatenate([dw_rz, dw_n]), "b_ih": db_ih, "b_hh": db_hh}


# --- one step --------------------------------------------------------------------------------------------------------
def _as(arrays, dtype):
    return [array.astype(dtype, copy=False) for array in arrays]


def _given(gradients, dtype):
    """Drop the gradients of arguments that were None, and give the others their dtype."""
    return {name: value.astype(dtype, copy=False) for name, value in gradients.items() if value is not None}


def _weights(a):
    return a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"]


@quiet
def _step_forward(cell, letters, a, dtype, *options):
    state, cache = cell(a["x"], tuple(a[letter] for letter in letters), *_weights(a), *options)
    return *_as(state, dtype), (cache, a, dtype)


@quiet
def _step_backward(cell_backward, letters, dstate, cache):
    cache, a, dtype = cache
    dstate = [as_gradient(d, a["h"].shape, a["h"].dtype, f"d{k}") for k, d in zip(letters, dstate, strict=True)]
    dx, dbefore, gradients = cell_backward(tuple(dstate), cache)
    return _given({"x": dx} | dict(zip(letters, dbefore, strict=True)) | gradients, dtype)


# --- a sequence of steps ---------------------------------------------------------------------------------------------
@quiet
def _forward(cell, letters, a, dtype, lengths, reverse, need_grad, *options):
    """Run a cell over time; a sequence that has ended, or in reverse not yet begun, keeps its state."""
    x, state = a["x"], tuple(a[f"{letter}0"] for letter in letters)
    lengths = check_lengths(lengths, *x.shape[:2])
    steps = range(len(x))
    y = np.zeros((*x.shape[:2], state[0].shape[1]), x.dtype)
    caches = []
    for t in reversed(steps) if reverse else steps:
        active = (t < lengths)[:, None]
        new, cache = cell(np.where(active, x[t], 0), state, *_weights(a), *options)
        state = tuple(np.where(active, after, before) for after, before in zip(new, state, strict=True))
        y[t] = np.where(active, state[0], 0)
        caches.append((t, active, cache))
    return *_as([y, *(array.copy() for array in state)], dtype), (caches, a, dtype) if need_grad else None


@quiet
def _backward(cell_backward, letters, dy, dstate, cache):
    """Walk the steps the other way, adding up the gradients of the weights."""
    caches, a, dtype = cache
    total = {name: None if value is None else np.zeros_like(value) for name, value in a.items()}
    shape = a["h0"].shape
    dy = as_gradient(dy, (len(a["x"]), *shape), a["h0"].dtype, "dy")
    dstate = [as_gradient(d, shape, dy.dtype, f"d{letter}_n") for letter, d in zip(letters, dstate, strict=True)]
    for t, active, cache in reversed(caches):
        dstate[0] = dstate[0] + np.where(active, dy[t], 0)
        dx, dbefore, gradients = cell_backward([np.where(active, each, 0) for each in dstate], cache)
        total["x"][t] = dx
        dstate = [np.where(active, before, after) for before, after in zip(dbefore, dstate, strict=True)]
        for name, gradient in gradients.items():
            if gradient is not None:
                total[name] += gradient
    return _given(total | {f"{letter}0": each for letter, each in zip(letters, dstate, strict=True)}, dtype)


# --- a stream: one step a call ---------------------------------------------------------------------------------------
class _Stream(Stream):
    def __init__(self, cell, gates, letters, layers, batch_size, residual, *options):
        super().__init__(gates, letters, layers, batch_size, residual)
        self._cell, self._options = cell, options

    @quiet
    def __call__(self, x):
        x = self._prepare(x)
        for k, weights in enumerate(self._weights):
            new, _ = self._cell(x, tuple(array[k] for array in self._arrays), *weights.values(), *self._options)
            for array, after in zip(self._arrays, new, strict=True):
                array[k] = after
            x = x + new[0] if self._residual and k else new[0]
        self._y[...] = x
        return self._y


# --- rnn: h = f(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh), f being tanh or relu -----------------------------------------
def rnn_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    """Return the new h."""
    return rnn_step_forward(x, h, w_ih, w_hh, b_ih, b_hh, nonlinearity=nonlinearity)[0]


def rnn_step_forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    """Return the new h, and a cache for `rnn_step_backward`."""
    check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity")
    a, dtype = recurrent_operands(1, x=x, h=h, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _step_forward(_rnn, "h", a, dtype, nonlinearity)


def rnn_step_backward(dh, cache):
    """Return the gradients of the arguments by name."""
    return _step_backward(_rnn_backward, "h", [dh], cache)


def rnn_forward(
    x, h0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, need_grad=True, nonlinearity="tanh"
):
    """Return y, the final state h_n, and a cache for `rnn_backward`."""
    check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity")
    a, dtype = recurrent_operands(1, x=x, h0=h0, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _forward(_rnn, "h", a, dtype, lengths, reverse, need_grad, nonlinearity)


def rnn_backward(dy, dh_n, cache):
    """Return the gradients of the arguments by name; dy and dh_n may be None."""
    return _backward(_rnn_backward, "h", dy, [dh_n], cache)


def rnn_stream(layers, batch_size=1, *, residual=False, nonlinearity="tanh"):
    """Return what runs layers, dicts of weights, one step a call, with its state."""
    check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity")
    return _Stream(_rnn, 1, "h", layers, batch_size, residual, nonlinearity)


# --- lstm: c = f * c + i * g, h = o * tanh(c), with the gates i, f, g, o of x @ w_ih.T + b_ih + h @ w_hh.T + b_hh -----
def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """Return the new h and c."""
    return lstm_step_forward(x, h, c, w_ih, w_hh, b_ih, b_hh)[:2]


def lstm_step_forward(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """Return the new h and c, and a cache for `lstm_step_backward`."""
    a, dtype = recurrent_operands(4, x=x, h=h, c=c, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _step_forward(_lstm, "hc", a, dtype)


def lstm_step_backward(dh, dc, cache):
    """Return the gradients of the arguments by name; dh and dc may be None."""
    return _step_backward(_lstm_backward, "hc", [dh, dc], cache)


def lstm_forward(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, need_grad=True):
    """Return y, the final states h_n and c_n, and a cache for `lstm_backward`."""
    a, dtype = recurrent_operands(4, x=x, h0=h0, c0=c0, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _forward(_lstm, "hc", a, dtype, lengths, reverse, need_grad)


def lstm_backward(dy, dh_n, dc_n, cache):
    """Return the gradients of the arguments by name; dy, dh_n and dc_n may be None."""
    return _backward(_lstm_backward, "hc", dy, [dh_n, dc_n], cache)


def lstm_stream(layers, batch_size=1, *, residual=False):
    """Return what runs layers, dicts of weights, one step a call, with its state."""
    return _Stream(_lstm, 4, "hc", layers, batch_size, residual)


# --- gru: h = (1 - z) * n + z * h, with gates r and z, and n = tanh(... + r * (h @ w_hn.T + b_hn)) --------------------
def gru_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, reset_after=True):
    """Return the new h."""
    return gru_step_forward(x, h, w_ih, w_hh, b_ih, b_hh, reset_after=reset_after)[0]


def gru_step_forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, reset_after=True):
    """Return the new h, and a cache for `gru_step_backward`."""
    a, dtype = recurrent_operands(3, x=x, h=h, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _step_forward(_gru, "h", a, dtype, reset_after)


def gru_step_backward(dh, cache):
    """Return the gradients of the arguments by name."""
    return _step_backward(_gru_backward, "h", [dh], cache)


def gru_forward(
    x, h0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, need_grad=True, reset_after=True
):
    """Return y, the final state h_n, and a cache for `gru_backward`."""
    a, dtype = recurrent_operands(3, x=x, h0=h0, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _forward(_gru, "h", a, dtype, lengths, reverse, need_grad, reset_after)


def gru_backward(dy, dh_n, cache):
    """Return the gradients of the arguments by name; dy and dh_n may be None."""
    return _backward(_gru_backward, "h", dy, [dh_n], cache)


def gru_stream(layers, batch_size=1, *, residual=False, reset_after=True):
    """Return what runs layers, dicts of weights, one step a call, with its state."""
    return _Stream(_gru, 3, "h", layers, batch_size, residual, reset_after)
