"""Recurrent cells: one step, a sequence of steps, and their gradients."""

from typing import NamedTuple

import numpy as np

from fastnn._checks import as_gradient, check_choice, check_lengths, recurrent_operands
from fastnn._kernels import recurrent
from fastnn._kernels.activations import OPS
from fastnn._stream import Stream
from fastnn.ops._arrays import by_dtype, dense

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

_RNN_STEP, _RNN_STEP_BACKWARD, _RNN_FORWARD, _RNN_BACKWARD = map(
    by_dtype, (recurrent.rnn_step, recurrent.rnn_step_backward, recurrent.rnn_forward, recurrent.rnn_backward)
)
_LSTM_STEP, _LSTM_STEP_BACKWARD, _LSTM_FORWARD, _LSTM_BACKWARD = map(
    by_dtype, (recurrent.lstm_step, recurrent.lstm_step_backward, recurrent.lstm_forward, recurrent.lstm_backward)
)
_GRU_STEP, _GRU_STEP_BACKWARD, _GRU_FORWARD, _GRU_BACKWARD = map(
    by_dtype, (recurrent.gru_step, recurrent.gru_step_backward, recurrent.gru_forward, recurrent.gru_backward)
)
_RNN_STREAM, _LSTM_STREAM, _GRU_STREAM = map(
    by_dtype, (recurrent.rnn_stream, recurrent.lstm_stream, recurrent.gru_stream)
)
_OPERATIONS = {"tanh": OPS["tanh"], "relu": OPS["relu"]}
_BACKWARD_OPERATIONS = {"tanh": OPS["tanh_backward"], "relu": OPS["relu_backward"]}
_NOT_READY = AttributeError, KeyError, TypeError, ValueError  # what a step's kernel says of arrays to prepare first

quiet = np.errstate(all="ignore")


# --- what steps and sequences share -----------------------------------------------------------------------------------
class _Cache(NamedTuple):
    """What a backward pass needs: who made it, operands as the kernel read them, the arrays that it wrote."""

    maker: str
    operands: dict
    arrays: tuple
    dtype: np.dtype
    option: object = None
    lengths: np.ndarray | None = None
    reverse: bool = False


@quiet
def _operands(gates, arrays):
    """Return the checked arguments of a cell, dense and of one dtype, and the dtype of the results."""
    arrays, dtype = recurrent_operands(gates, **arrays)
    return {name: None if x is None else dense(x) for name, x in arrays.items()}, dtype


def _as(x, dtype):
    return x if x.dtype == dtype else _cast(x, dtype)


@quiet
def _cast(x, dtype):
    return x.astype(dtype)


def _checked(cache, maker):
    """Return the fields of a cache that this function made."""
    if not isinstance(cache, _Cache) or cache.maker != maker:
        made = f"of {cache.maker}" if isinstance(cache, _Cache) else f"a {type(cache).__name__}"
        raise TypeError(f"cache is {made}, expected that of {maker}")
    return cache[1:]


def _room(new, a, parts, **dfinal):
    """Return what a walk back writes, by argument, and room for the gradients of so many parts of bias.

    Of the states it turns the gradients of the final ones, given by name, into those of the initial ones.
    """
    states = ("h0", "c0") if "h0" in a else ("h", "c")
    shape, kind = a[states[0]].shape, a["x"].dtype
    gradients = {"x": np.empty(a["x"].shape, kind)}
    for state, (name, d) in zip(states, dfinal.items(), strict=False):
        ready = type(d) is np.ndarray and d.dtype == kind and d.shape == shape
        gradients[state] = d.copy() if ready else _final(d, shape, kind, name)
    for name in ("w_ih", "w_hh"):
        gradients[name] = new(a[name].shape, kind)
    return gradients, new(parts * shape[1], kind)


@quiet
def _final(d, shape, kind, name):
    return np.zeros(shape, kind) if d is None else as_gradient(d, shape, kind, name).copy()


def _named(gradients, b_ih, b_hh, a, dtype):
    """Return the gradients of the arguments that were given, in their order."""
    if a["b_ih"] is not None:
        gradients["b_ih"] = b_ih
    if a["b_hh"] is not None:
        gradients["b_hh"] = b_hh
    return gradients if b_ih.dtype == dtype else {name: _cast(x, dtype) for name, x in gradients.items()}


# --- a step, whatever the cell ---------------------------------------------------------------------------------------
def _step(gates, run, option, **a):
    """Return the arrays that a step has written, its arguments as it read them, and the dtype of the results."""
    try:  # arrays that lie ready are checked by the kernel alone
        return run(option, **a), a, a["h"].dtype
    except _NOT_READY:
        a, dtype = _operands(gates, a)
        return run(option, **a), a, dtype


# --- a sequence, whatever the cell -----------------------------------------------------------------------------------
def _masked(x, lengths):
    """Return x (T, B, n), 0 past the lengths."""
    return x if lengths is None else np.where((np.arange(len(x))[:, None] < lengths)[:, :, None], x, 0)


def _prepare(a, lengths):
    """Clear x past the lengths; return the lengths as the kernels want them, and the sizes T, B, H."""
    if lengths is not None:
        lengths = dense(check_lengths(lengths, *a["x"].shape[:2]))
        a["x"] = _masked(a["x"], lengths)
    return lengths, len(a["x"]), *a["h0"].shape


def _states(initial, steps, reverse, slots):
    """Return room for the states before and after all steps, or the last two, with the initial one written."""
    states = np.empty((slots, *initial.shape), initial.dtype)
    states[(steps if reverse else 0) % slots] = initial
    return states


def _bias(b_ih, b_hh):
    """Return the sum of both biases, or None."""
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def _finish(states, steps, lengths, reverse, dtype):
    """Return y and the final state, as the caller's."""
    y = states[:-1] if reverse else states[1:]
    return _as(_masked(y, lengths), dtype), _last(states, steps, reverse, dtype)


def _last(states, steps, reverse, dtype):
    return states[(0 if reverse else steps) % len(states)].astype(dtype)


def _gradient(dy, a, lengths):
    """Return the gradient of y as a walk back reads it."""
    if dy is not None:
        dy = as_gradient(dy, (len(a["x"]), *a["h0"].shape), a["x"].dtype, "dy")
        dy = dense(_masked(dy, lengths))
    return dy


# --- a stream, whatever the cell -------------------------------------------------------------------------------------
class _Stream(Stream, recurrent.Stream):
    """A stream whose weights the kernel has packed, and whose calls are the kernel's."""

    def _packed(self, kernel, bias, *options):
        """Return the stream, ready; `bias` makes one array of the biases of a layer."""
        layers = [(dense(np.concatenate([w["w_ih"], w["w_hh"]], axis=1)), bias(w)) for w in self._weights]
        kernel[self._y.dtype](self, self._y, *self._arrays, layers, self._residual, *options)
        return self


def _biases(weights):
    """Return b_ih and b_hh, zeros for None."""
    return (
        np.zeros(len(weights["w_hh"]), weights["w_hh"].dtype) if b is None else b for b in list(weights.values())[2:]
    )


# --- rnn -------------------------------------------------------------------------------------------------------------
def _rnn_step(nonlinearity, x, h, w_ih, w_hh, b_ih, b_hh):
    y = np.empty(h.shape, h.dtype)
    _RNN_STEP[h.dtype](_OPERATIONS[nonlinearity], y, x, h, w_ih, w_hh, b_ih, b_hh)
    return y


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
        A new array, of the common dtype of the arguments; float64 for integers and bool.

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
    >>> h = np.zeros((1, 2))
    >>> w_ih, w_hh = np.array([[1.0], [-1.0]]), np.eye(2)
    >>> fastnn.rnn_step([[0.5]], h, w_ih, w_hh, nonlinearity="relu")
    array([[0.5, 0. ]])
    """
    try:  # as in rnn_step_forward, without a cache
        return _rnn_step(nonlinearity, x, h, w_ih, w_hh, b_ih, b_hh)
    except _NOT_READY:
        return rnn_step_forward(x, h, w_ih, w_hh, b_ih, b_hh, nonlinearity=nonlinearity)[0]


def rnn_step_forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    """Return the state after one step as `rnn_step` does, and a cache for `rnn_step_backward`.

    The cache refers to the arguments and to the result, which must not change until the backward pass.

    Returns
    -------
    h : ndarray (B, H)
    cache

    Examples
    --------
    >>> h, cache = fastnn.rnn_step_forward(np.ones((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.eye(1))
    >>> {name: gradient.item() for name, gradient in fastnn.rnn_step_backward(np.ones((1, 1)), cache).items()}
    {'x': 0.0, 'h': 1.0, 'w_ih': 1.0, 'w_hh': 0.0}
    """
    check_choice(nonlinearity, tuple(_OPERATIONS), "nonlinearity")
    y, a, dtype = _step(1, _rnn_step, nonlinearity, x=x, h=h, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _as(y, dtype), _Cache("rnn_step_forward", a, (y,), dtype, nonlinearity)


def rnn_step_backward(dh, cache):
    """Return the gradients of the arguments of `rnn_step_forward`, by name.

    Parameters
    ----------
    dh : array_like (B, H) or None
        The gradient of the state after the step; None is 0.
    cache
        What `rnn_step_forward` returned.

    Returns
    -------
    dict
        Arrays under "x", "h", "w_ih", "w_hh" and, where the biases were given, "b_ih", "b_hh":
        dpre = dh * f'(pre), dx = dpre @ w_ih, dh = dpre @ w_hh, dw_ih = dpre.T @ x, dw_hh = dpre.T @ h, db = sum(dpre).

    Examples
    --------
    See `rnn_step_forward`.
    """
    a, (y,), dtype, nonlinearity, *_ = _checked(cache, "rnn_step_forward")
    gradients, bias = _room(np.empty, a, 1, dh=dh)
    arrays = y, a["x"], a["h"], a["w_ih"], a["w_hh"]
    _RNN_STEP_BACKWARD[bias.dtype](_BACKWARD_OPERATIONS[nonlinearity], *gradients.values(), bias, *arrays)
    return _named(gradients, bias, bias.copy(), a, dtype)


@quiet
def rnn_forward(
    x, h0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, need_grad=True, nonlinearity="tanh"
):
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
    need_grad : bool
        Whether a backward pass will follow; if not, the cache is None, and nothing is kept for it.
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
    a, dtype = _operands(1, {"x": x, "h0": h0, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh})
    lengths, steps, _, _ = _prepare(a, lengths)
    reverse, states = bool(reverse), _states(a["h0"], steps, reverse, steps + 1)
    bias = _bias(a["b_ih"], a["b_hh"])
    _RNN_FORWARD[states.dtype](_OPERATIONS[nonlinearity], states, a["x"], a["w_ih"], a["w_hh"], bias, lengths, reverse)
    cache = _Cache("rnn_forward", a, (states,), dtype, nonlinearity, lengths, reverse) if need_grad else None
    return *_finish(states, steps, lengths, reverse, dtype), cache


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

    Examples
    --------
    See `rnn_forward`.
    """
    a, (states,), dtype, nonlinearity, lengths, reverse = _checked(cache, "rnn_forward")
    gradients, bias = _room(np.zeros, a, 1, dh_n=dh_n)
    arrays = _gradient(dy, a, lengths), states, a["x"], a["w_ih"], a["w_hh"], lengths, reverse
    _RNN_BACKWARD[bias.dtype](_BACKWARD_OPERATIONS[nonlinearity], *gradients.values(), bias, *arrays)
    return _named(gradients, bias, bias.copy(), a, dtype)


def rnn_stream(layers, batch_size=1, *, residual=False, nonlinearity="tanh"):
    """Return recurrent layers that run one step a call, as fast as can be: `y = stream(x)`.

    Parameters
    ----------
    layers : list of dict
        For each layer its weights under "w_ih", "w_hh" and, if there are, "b_ih", "b_hh", shaped as in `rnn_step`.
        They are copied: what is done to them later does not change the stream.
    batch_size : int
        How many sequences run side by side.
    residual : bool
        Whether every layer but the first adds its input to its output.
    nonlinearity : {"tanh", "relu"}
        The function f.

    Returns
    -------
    stream
        A call takes the inputs x (batch_size, I) of one step and returns the outputs y (batch_size, H) of the last
        layer: an array that the next call writes again, so copy what is to stay. With x of the dtype of the weights
        and in C order a call allocates nothing. `stream.state`, zeros at first, is (layers, batch_size, H): reading it
        copies, and it may be assigned to. `stream.reset()` sets it to zeros.

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit, or the nonlinearity is unknown.

    Notes
    -----
    Weights are packed once, those of x and h side by side. With the compiled functions the outputs of one layer are
    bit for bit those of `rnn_forward`.

    Examples
    --------
    >>> stream = fastnn.rnn_stream([{"w_ih": np.ones((1, 1)), "w_hh": np.eye(1)}], nonlinearity="relu")
    >>> x = np.ones((1, 1))
    >>> [stream(x).item() for _ in range(3)]
    [1.0, 2.0, 3.0]
    >>> stream.state
    array([[[3.]]])
    """
    check_choice(nonlinearity, tuple(_OPERATIONS), "nonlinearity")
    stream = _Stream(1, "h", layers, batch_size, residual)
    return stream._packed(_RNN_STREAM, lambda w: np.add(*_biases(w)), _OPERATIONS[nonlinearity])


# --- lstm ------------------------------------------------------------------------------------------------------------
def _lstm_step(_, x, h, c, w_ih, w_hh, b_ih, b_hh):
    y, c_new, gates = np.empty(h.shape, h.dtype), np.empty(h.shape, h.dtype), np.empty((len(h), len(w_hh)), h.dtype)
    _LSTM_STEP[h.dtype](y, c_new, gates, x, h, c, w_ih, w_hh, b_ih, b_hh)
    return y, c_new, gates


def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """Return the states h and c after one step of long short-term memory.

    With (i, f, g, o) = x @ w_ih.T + b_ih + h @ w_hh.T + b_hh: c' = sigmoid(f) * c + sigmoid(i) * tanh(g) and
    h' = sigmoid(o) * tanh(c').

    Parameters
    ----------
    x : array_like (B, I)
        The input.
    h, c : array_like (B, H)
        The state before: hidden and cell.
    w_ih, w_hh : array_like (4 * H, I), (4 * H, H)
        The weights of the gates, in the order i, f, g, o.
    b_ih, b_hh : array_like (4 * H,), optional
        The biases; the sum of both counts.

    Returns
    -------
    h, c : ndarray (B, H)
        New arrays, of the common dtype of the arguments; float64 for integers and bool.

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit.

    Notes
    -----
    Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000). Names, shapes, the two biases and
    the order of the gates are those of PyTorch's `LSTMCell`.

    Examples
    --------
    >>> h, c = fastnn.lstm_step([[0.0]], [[0.0]], [[1.0]], np.zeros((4, 1)), np.zeros((4, 1)), [0, 100, 0, 100])
    >>> c, h.round(4)
    (array([[1.]]), array([[0.7616]]))
    """
    try:  # as in lstm_step_forward, without a cache
        return _lstm_step(None, x, h, c, w_ih, w_hh, b_ih, b_hh)[:2]
    except _NOT_READY:
        return lstm_step_forward(x, h, c, w_ih, w_hh, b_ih, b_hh)[:2]


def lstm_step_forward(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """Return the states after one step as `lstm_step` does, and a cache for `lstm_step_backward`.

    The cache refers to the arguments and to the result, which must not change until the backward pass.

    Returns
    -------
    h, c : ndarray (B, H)
    cache

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> h, c, cache = fastnn.lstm_step_forward(one, one, one, np.zeros((4, 1)), np.zeros((4, 1)))
    >>> fastnn.lstm_step_backward(None, one, cache)["c"]
    array([[0.5]])
    """
    arrays, a, dtype = _step(4, _lstm_step, None, x=x, h=h, c=c, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return *(_as(state, dtype) for state in arrays[:2]), _Cache("lstm_step_forward", a, arrays[1:], dtype)


def lstm_step_backward(dh, dc, cache):
    """Return the gradients of the arguments of `lstm_step_forward`, by name.

    Parameters
    ----------
    dh, dc : array_like (B, H) or None
        The gradients of the states after the step; None is 0.
    cache
        What `lstm_step_forward` returned.

    Returns
    -------
    dict
        Arrays under "x", "h", "c", "w_ih", "w_hh" and, where the biases were given, "b_ih", "b_hh".

    Examples
    --------
    See `lstm_step_forward`.
    """
    a, arrays, dtype, *_ = _checked(cache, "lstm_step_forward")
    gradients, bias = _room(np.empty, a, 4, dh=dh, dc=dc)
    arrays += a["x"], a["h"], a["c"], a["w_ih"], a["w_hh"]
    _LSTM_STEP_BACKWARD[bias.dtype](*gradients.values(), bias, *arrays)
    return _named(gradients, bias, bias.copy(), a, dtype)


@quiet
def lstm_forward(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, need_grad=True):
    """Run long short-term memory over sequences; each step is that of `lstm_step`.

    Parameters
    ----------
    x : array_like (T, B, I)
        The inputs, time first.
    h0, c0 : array_like (B, H)
        The initial state: hidden and cell.
    w_ih, w_hh, b_ih, b_hh
        As in `lstm_step`.
    lengths, reverse, need_grad
        As in `rnn_forward`.

    Returns
    -------
    y : ndarray (T, B, H)
        h after each step, aligned with x; 0 past the length of a sequence.
    h_n, c_n : ndarray (B, H)
        The last state of each sequence.
    cache
        For `lstm_backward`. It refers to the arguments and to y, which must not change until then.

    Raises
    ------
    TypeError
        If an array is complex or holds objects, or the lengths are not integers.
    ValueError
        If a shape does not fit, or a length is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> w_ih, w_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 4))
    >>> state = np.zeros((2, 4))
    >>> y, h_n, c_n, cache = fastnn.lstm_forward(rng.normal(size=(5, 2, 3)), state, state, w_ih, w_hh)
    >>> y.shape, bool((h_n == y[-1]).all())
    ((5, 2, 4), True)
    >>> list(fastnn.lstm_backward(y, None, None, cache))
    ['x', 'h0', 'c0', 'w_ih', 'w_hh']
    """
    a, dtype = _operands(4, {"x": x, "h0": h0, "c0": c0, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh})
    lengths, steps, batch, hidden = _prepare(a, lengths)
    reverse, states = bool(reverse), _states(a["h0"], steps, reverse, steps + 1)
    cells = _states(a["c0"], steps, reverse, steps + 1 if need_grad else 2)
    gates = np.empty((steps, batch, 4 * hidden), states.dtype) if need_grad else None
    bias = _bias(a["b_ih"], a["b_hh"])
    _LSTM_FORWARD[states.dtype](states, cells, gates, a["x"], a["w_ih"], a["w_hh"], bias, lengths, reverse)
    arrays = states, cells, gates
    cache = _Cache("lstm_forward", a, arrays, dtype, None, lengths, reverse) if need_grad else None
    return *_finish(states, steps, lengths, reverse, dtype), _last(cells, steps, reverse, dtype), cache


@quiet
def lstm_backward(dy, dh_n, dc_n, cache):
    """Return the gradients of the arguments of `lstm_forward`, by name: back-propagation through time.

    Parameters
    ----------
    dy : array_like (T, B, H) or None
        The gradient of y, not used past the lengths; None is 0.
    dh_n, dc_n : array_like (B, H) or None
        The gradients of the last states, on top of what dy says of h_n; None is 0.
    cache
        What `lstm_forward` returned.

    Returns
    -------
    dict
        Arrays under "x", "h0", "c0", "w_ih", "w_hh" and, where the biases were given, "b_ih", "b_hh".

    Raises
    ------
    TypeError, ValueError
        If a gradient has not the dtype or shape of its result.

    Examples
    --------
    See `lstm_forward`.
    """
    a, arrays, dtype, _, lengths, reverse = _checked(cache, "lstm_forward")
    gradients, bias = _room(np.zeros, a, 4, dh_n=dh_n, dc_n=dc_n)
    arrays = _gradient(dy, a, lengths), *arrays, a["x"], a["w_ih"], a["w_hh"], lengths, reverse
    _LSTM_BACKWARD[bias.dtype](*gradients.values(), bias, *arrays)
    return _named(gradients, bias, bias.copy(), a, dtype)


def lstm_stream(layers, batch_size=1, *, residual=False):
    """Return layers of long short-term memory that run one step a call.

    Parameters
    ----------
    layers : list of dict
        For each layer its weights under "w_ih", "w_hh" and, if there are, "b_ih", "b_hh", shaped as in `lstm_step`.
    batch_size, residual
        As in `rnn_stream`.

    Returns
    -------
    stream
        As that of `rnn_stream`, but its state is a pair (h, c).

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> w_ih, w_hh, x = rng.normal(size=(16, 3)), rng.normal(size=(16, 4)), rng.normal(size=(5, 1, 3))
    >>> stream = fastnn.lstm_stream([{"w_ih": w_ih, "w_hh": w_hh}])
    >>> y = [stream(x_t).copy() for x_t in x]
    >>> np.allclose(y, fastnn.lstm_forward(x, np.zeros((1, 4)), np.zeros((1, 4)), w_ih, w_hh)[0])
    True
    """
    stream = _Stream(4, "hc", layers, batch_size, residual)
    return stream._packed(_LSTM_STREAM, lambda w: np.add(*_biases(w)))


# --- gru -------------------------------------------------------------------------------------------------------------
def _gru_step(reset_after, x, h, w_ih, w_hh, b_ih, b_hh):
    y, of_h, gates = np.empty(h.shape, h.dtype), np.empty(h.shape, h.dtype), np.empty((len(h), len(w_hh)), h.dtype)
    _GRU_STEP[h.dtype](y, gates, of_h, x, h, w_ih, w_hh, b_ih, b_hh, reset_after)
    return y, gates, of_h


def _gru_named(gradients, bias, a, dtype, reset_after):
    rz, n = len(a["w_hh"]) // 3 * 2, len(a["w_hh"])  # with the reset after the product b_hn has its own gradient
    b_hh = np.concatenate([bias[:rz], bias[n:]]) if reset_after else bias.copy()
    return _named(gradients, bias[:n], b_hh, a, dtype)


def gru_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, reset_after=True):
    """Return the state after one step of a gated recurrent unit.

    With the three parts of x @ w_ih.T + b_ih written x_r, x_z, x_n and w_hh, b_hh cut alike:
    r = sigmoid(x_r + h @ w_hr.T + b_hr), z = sigmoid(x_z + h @ w_hz.T + b_hz),
    n = tanh(x_n + r * (h @ w_hn.T + b_hn)), or tanh(x_n + (r * h) @ w_hn.T + b_hn) where the reset comes before the
    product, and h' = (1 - z) * n + z * h.

    Parameters
    ----------
    x : array_like (B, I)
        The input.
    h : array_like (B, H)
        The state before.
    w_ih, w_hh : array_like (3 * H, I), (3 * H, H)
        The weights, in the order r, z, n.
    b_ih, b_hh : array_like (3 * H,), optional
        The biases.
    reset_after : bool
        Whether the reset gate comes after the product with w_hn: so in PyTorch and cuDNN. Before it: so in the paper.
        The two are not equivalent; weights trained for one do not serve the other.

    Returns
    -------
    ndarray (B, H)
        A new array, of the common dtype of the arguments; float64 for integers and bool.

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit.

    Notes
    -----
    Cho et al. (2014). Names, shapes, the two biases and the order of the gates are those of PyTorch's `GRUCell`. Some
    texts, "Deep Learning from Scratch" among them, have z and 1 - z change places.

    Examples
    --------
    >>> x, h, w = np.zeros((1, 1)), np.ones((1, 1)), np.zeros((3, 1))
    >>> fastnn.gru_step(x, h, w, w)  # both gates half open, n = 0
    array([[0.5]])
    """
    try:  # as in gru_step_forward, without a cache
        return _gru_step(reset_after, x, h, w_ih, w_hh, b_ih, b_hh)[0]
    except _NOT_READY:
        return gru_step_forward(x, h, w_ih, w_hh, b_ih, b_hh, reset_after=reset_after)[0]


def gru_step_forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, reset_after=True):
    """Return the state after one step as `gru_step` does, and a cache for `gru_step_backward`.

    The cache refers to the arguments and to the result, which must not change until the backward pass.

    Returns
    -------
    h : ndarray (B, H)
    cache

    Examples
    --------
    >>> x, h, w = np.zeros((1, 1)), np.ones((1, 1)), np.zeros((3, 1))
    >>> h, cache = fastnn.gru_step_forward(x, h, w, w)
    >>> fastnn.gru_step_backward(np.ones((1, 1)), cache)["h"]
    array([[0.5]])
    """
    reset_after = bool(reset_after)
    (y, *arrays), a, dtype = _step(3, _gru_step, reset_after, x=x, h=h, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    return _as(y, dtype), _Cache("gru_step_forward", a, tuple(arrays), dtype, reset_after)


def gru_step_backward(dh, cache):
    """Return the gradients of the arguments of `gru_step_forward`, by name.

    Parameters
    ----------
    dh : array_like (B, H) or None
        The gradient of the state after the step; None is 0.
    cache
        What `gru_step_forward` returned.

    Returns
    -------
    dict
        Arrays under "x", "h", "w_ih", "w_hh" and, where the biases were given, "b_ih", "b_hh".

    Examples
    --------
    See `gru_step_forward`.
    """
    a, arrays, dtype, reset_after, *_ = _checked(cache, "gru_step_forward")
    gradients, bias = _room(np.empty, a, 3 + reset_after, dh=dh)
    arrays += a["x"], a["h"], a["w_ih"], a["w_hh"]
    _GRU_STEP_BACKWARD[bias.dtype](*gradients.values(), bias, *arrays, reset_after)
    return _gru_named(gradients, bias, a, dtype, reset_after)


@quiet
def gru_forward(
    x, h0, w_ih, w_hh, b_ih=None, b_hh=None, *, lengths=None, reverse=False, need_grad=True, reset_after=True
):
    """Run gated recurrent units over sequences; each step is that of `gru_step`.

    Parameters
    ----------
    x : array_like (T, B, I)
        The inputs, time first.
    h0 : array_like (B, H)
        The initial state.
    w_ih, w_hh, b_ih, b_hh, reset_after
        As in `gru_step`.
    lengths, reverse, need_grad
        As in `rnn_forward`.

    Returns
    -------
    y : ndarray (T, B, H)
        The state after each step, aligned with x; 0 past the length of a sequence.
    h_n : ndarray (B, H)
        The last state of each sequence.
    cache
        For `gru_backward`. It refers to the arguments and to y, which must not change until then.

    Raises
    ------
    TypeError
        If an array is complex or holds objects, or the lengths are not integers.
    ValueError
        If a shape does not fit, or a length is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> w_ih, w_hh = rng.normal(size=(12, 3)), rng.normal(size=(12, 4))
    >>> y, h_n, cache = fastnn.gru_forward(rng.normal(size=(5, 2, 3)), np.zeros((2, 4)), w_ih, w_hh, lengths=[3, 5])
    >>> bool((h_n == [y[2, 0], y[4, 1]]).all())
    True
    >>> list(fastnn.gru_backward(y, None, cache))
    ['x', 'h0', 'w_ih', 'w_hh']
    """
    a, dtype = _operands(3, {"x": x, "h0": h0, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh})
    lengths, steps, batch, hidden = _prepare(a, lengths)
    reset_after, b_hh, b_hn = bool(reset_after), a["b_hh"], None
    if reset_after and b_hh is not None:  # the bias of n is added within the reset gate
        b_hh, b_hn = b_hh.copy(), b_hh[2 * hidden :]
        b_hh[2 * hidden :] = 0
    reverse, states = bool(reverse), _states(a["h0"], steps, reverse, steps + 1)
    gates, of_h = (np.empty((steps, batch, n * hidden), states.dtype) if need_grad else None for n in (3, 1))
    bias = _bias(a["b_ih"], b_hh)
    _GRU_FORWARD[states.dtype](
        states, gates, of_h, a["x"], a["w_ih"], a["w_hh"], bias, b_hn, reset_after, lengths, reverse
    )
    arrays = states, gates, of_h
    cache = _Cache("gru_forward", a, arrays, dtype, reset_after, lengths, reverse) if need_grad else None
    return *_finish(states, steps, lengths, reverse, dtype), cache


@quiet
def gru_backward(dy, dh_n, cache):
    """Return the gradients of the arguments of `gru_forward`, by name: back-propagation through time.

    Parameters
    ----------
    dy : array_like (T, B, H) or None
        The gradient of y, not used past the lengths; None is 0.
    dh_n : array_like (B, H) or None
        The gradient of the last state, on top of what dy says of it; None is 0.
    cache
        What `gru_forward` returned.

    Returns
    -------
    dict
        Arrays under "x", "h0", "w_ih", "w_hh" and, where the biases were given, "b_ih", "b_hh".

    Raises
    ------
    TypeError, ValueError
        If a gradient has not the dtype or shape of its result.

    Examples
    --------
    See `gru_forward`.
    """
    a, arrays, dtype, reset_after, lengths, reverse = _checked(cache, "gru_forward")
    gradients, bias = _room(np.zeros, a, 3 + reset_after, dh_n=dh_n)
    arrays = _gradient(dy, a, lengths), *arrays, a["x"], a["w_ih"], a["w_hh"], reset_after, lengths, reverse
    _GRU_BACKWARD[bias.dtype](*gradients.values(), bias, *arrays)
    return _gru_named(gradients, bias, a, dtype, reset_after)


def gru_stream(layers, batch_size=1, *, residual=False, reset_after=True):
    """Return layers of gated recurrent units that run one step a call.

    Parameters
    ----------
    layers : list of dict
        For each layer its weights under "w_ih", "w_hh" and, if there are, "b_ih", "b_hh", shaped as in `gru_step`.
    batch_size, residual
        As in `rnn_stream`.
    reset_after
        As in `gru_step`.

    Returns
    -------
    stream
        As that of `rnn_stream`.

    Raises
    ------
    TypeError
        If an array is complex or holds objects.
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> stream = fastnn.gru_stream([{"w_ih": np.ones((3, 1)), "w_hh": np.zeros((3, 1))}])
    >>> stream(np.zeros((1, 1)))
    array([[0.]])
    """
    reset_after = bool(reset_after)

    def bias(weights):
        b_ih, b_hh = _biases(weights)
        rz = len(b_hh) // 3 * 2
        if not reset_after:
            return np.concatenate([b_ih + b_hh, np.zeros_like(b_hh[rz:])])
        return np.concatenate([b_ih[:rz] + b_hh[:rz], b_ih[rz:], b_hh[rz:]])  # that of n acts within the reset gate

    return _Stream(3, "h", layers, batch_size, residual)._packed(_GRU_STREAM, bias, reset_after)
