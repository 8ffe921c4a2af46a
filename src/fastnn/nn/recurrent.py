"""Recurrent layers: RNN, GRU and LSTM over sequences, their cells for one step, and Pool over time.

A kind of cell names its gates, the arrays of its state, and the family of fastnn's functions (`rnn_forward`, ...).
All else, that is layers, directions, dropout, the order of axes and PyTorch's names, is common to the kinds.
"""

import re

import numpy as np

from fastnn._backend import functions as F
from fastnn._checks import check_choice, check_lengths
from fastnn.nn.module import Module, Parameter, complaint, positive, real_array, real_dtype

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "Pool", "RNNCell"]

# the functions' names of the weights -> PyTorch's
_NAMES = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}

quiet = np.errstate(all="ignore")


class _Kind(Module):
    """A kind of cell: its weights, its state, its functions."""

    kind = ""  # what its functions' names begin with
    gates = 1
    states = "h"  # one letter an array

    def _options(self):
        """Return the keyword arguments of the kind's functions."""
        return {}

    def _function(self, name):
        return getattr(F, f"{self.kind}_{name}")

    def _add_weights(self, suffix, input_size, rng, dtype):
        """Add the parameters of one cell, drawn from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        rows, bound = self.gates * self.hidden_size, self.hidden_size**-0.5
        shapes = [(rows, input_size), (rows, self.hidden_size)] + [(rows,), (rows,)] * self.bias
        for name, shape in zip(_NAMES.values(), shapes, strict=False):
            setattr(self, name + suffix, Parameter(rng.uniform(-bound, bound, shape).astype(dtype)))

    def _cell(self, suffix):
        """Return the parameters of one cell by the functions' names."""
        members = vars(self)
        return {argument: members[name + suffix] for argument, name in _NAMES.items() if name + suffix in members}

    def _initial(self, state, shape, dtype):
        """Return the arrays of a state, zeros for None."""
        if state is None:
            return [np.zeros(shape, dtype)] * len(self.states)
        arrays = state if len(self.states) > 1 else [state]
        if len(arrays) != len(self.states):
            raise complaint(self, f"state holds {len(arrays)} arrays, expected {len(self.states)}")
        arrays = [np.zeros(shape, dtype) if array is None else real_array(array, dtype, "state") for array in arrays]
        for array in arrays:
            if array.shape != shape:
                raise complaint(self, f"state has shape {array.shape}, expected {shape}")
        return arrays

    def _packed(self, arrays):
        """Return the arrays of a state as callers know it: a tuple only if there are several."""
        return tuple(arrays) if len(self.states) > 1 else arrays[0]


class _Plain(_Kind):
    kind = "rnn"

    def _options(self):
        return {"nonlinearity": self.nonlinearity}

    def _choose(self, nonlinearity, init):
        check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity")
        check_choice(init, ("uniform", "identity"), "init")
        self.nonlinearity, self.init = nonlinearity, init

    def _add_weights(self, suffix, input_size, rng, dtype):
        super()._add_weights(suffix, input_size, rng, dtype)
        if self.init == "identity":
            cell = self._cell(suffix)
            cell["w_hh"].value[...] = np.eye(self.hidden_size)
            for name in cell.keys() & {"b_ih", "b_hh"}:
                cell[name].value[...] = 0


class _Gated(_Kind):
    kind = "gru"
    gates = 3

    def _options(self):
        return {"reset_after": self.reset_after}


class _LongShort(_Kind):
    kind = "lstm"
    gates = 4
    states = "hc"

    def _choose(self, forget_bias, bias):
        if forget_bias is not None and not (bias and np.isfinite(forget_bias)):
            expected = "a finite number" if bias else "None, since bias is False"
            raise ValueError(f"forget_bias is {forget_bias}, expected {expected}")
        self.forget_bias = forget_bias

    def _add_weights(self, suffix, input_size, rng, dtype):
        super()._add_weights(suffix, input_size, rng, dtype)
        if self.forget_bias is not None:
            cell, forget = self._cell(suffix), slice(self.hidden_size, 2 * self.hidden_size)
            cell["b_ih"].value[forget], cell["b_hh"].value[forget] = self.forget_bias, 0


class Recurrent(_Kind):
    """The base of the layers that run over whole sequences; `RNN` documents the arguments."""

    takes_lengths = True
    returns_state = True

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        *,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        residual=False,
        rng=None,
        dtype=np.float32,
    ):
        self.input_size = positive("input_size", input_size)
        self.hidden_size = positive("hidden_size", hidden_size)
        self.num_layers = positive("num_layers", num_layers)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        self.residual = bool(residual)
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout}, expected a probability from 0 to 1")
        for name, value in (("dropout", dropout), ("residual", residual)):
            if value and self.num_layers == 1:
                raise ValueError(f"{name} is {value}, but it works between layers, and num_layers is 1")
        self.dropout = float(dropout)
        self._rng, dtype = np.random.default_rng(rng), real_dtype(dtype)
        self._directions = ["", "_reverse"][: 1 + self.bidirectional]
        for layer in range(self.num_layers):
            size = self.hidden_size * len(self._directions) if layer else self.input_size
            for direction in self._directions:
                self._add_weights(f"_l{layer}{direction}", size, self._rng, dtype)

    @classmethod
    def _sizes(cls, shapes):
        (_, inputs), (_, hidden) = shapes["weight_ih_l0"], shapes["weight_hh_l0"]
        return {
            "input_size": inputs,
            "hidden_size": hidden,
            "num_layers": sum(re.fullmatch(r"weight_ih_l\d+", name) is not None for name in shapes),
            "bias": "bias_ih_l0" in shapes,
            "bidirectional": "weight_ih_l0_reverse" in shapes,
        }

    def __call__(self, x, state=None, lengths=None):
        return self._run(x, state, lengths, False, False)[0]

    def vjp(self, x, state=None, lengths=None, *, training=True):
        integers = np.asarray(x).dtype.kind != "f"
        (y, final), pullbacks = self._run(x, state, lengths, training, True)
        shape, dtype = y.shape, y.dtype
        state_shape = (self.num_layers * len(self._directions), shape[1 - self.batch_first], self.hidden_size)

        @quiet
        def back(dy, dstate=None):
            if dy is not None:
                dy = real_array(dy, dtype, "dy")
                if dy.shape != shape:
                    raise complaint(self, f"dy has shape {dy.shape}, expected {shape}")
                dy = self._time_first(dy)
            dfinal = [[None] * state_shape[0]] * len(self.states)
            if dstate is not None:
                dfinal = self._initial(dstate, state_shape, dtype)
            dinitial = [np.empty(state_shape, dtype) for _ in self.states]
            for layer, (pull, mask) in reversed(list(enumerate(pullbacks))):
                dx = pull(dy, dfinal, dinitial)
                if mask is not None:
                    dx = F.dropout_backward(dx, mask, self.dropout)
                dy = dx + dy if self.residual and layer and dy is not None else dx
            return None if integers else self._time_first(dy), self._packed(dinitial)

        return (y, final), back

    def stream(self, batch_size=1):
        """Return the layers as they are now, to run one step a call: `y = step(x)`.

        Parameters
        ----------
        batch_size : int
            How many sequences run side by side.

        Returns
        -------
        step
            A call takes the inputs (batch_size, input_size) of one step and returns the outputs (batch_size,
            hidden_size): an array that the next call writes again. With an array of the weights' dtype, in C order, it
            allocates nothing. `step.state` is shaped as a state of the layer; reading it copies, assigning to it is
            allowed, and `step.reset()` sets it to zeros. Dropout is off.

        Raises
        ------
        ValueError
            If the layer is bidirectional.

        Examples
        --------
        >>> gru = fastnn.nn.GRU(3, 4, num_layers=2, rng=0)
        >>> x = np.ones((5, 1, 3), np.float32)
        >>> step = gru.stream()
        >>> for x_t in x:
        ...     y = step(x_t)
        >>> np.allclose(y, gru(x)[0][-1], rtol=1e-5), step.state.shape
        (True, (2, 1, 4))
        """
        if self.bidirectional:
            raise ValueError("a bidirectional layer reads sequences from their ends too, so it cannot run step by step")
        cells = [self._cell(f"_l{layer}") for layer in range(self.num_layers)]
        layers = [{name: parameter.value for name, parameter in cell.items()} for cell in cells]
        return self._function("stream")(layers, batch_size, residual=self.residual, **self._options())

    def _time_first(self, x):
        """Return x with time first if it has the batch first, and the other way round."""
        return x.swapaxes(0, 1) if self.batch_first else x

    @quiet
    def _run(self, x, state, lengths, training, need_grad):
        """Return the output and state, and the pullback and dropout mask of each layer."""
        dtype = self.weight_ih_l0.value.dtype
        x = real_array(x, dtype)
        if x.ndim != 3 or x.shape[2] != self.input_size:
            axes = "batch, time" if self.batch_first else "time, batch"
            raise complaint(self, f"x has shape {x.shape}, expected ({axes}, {self.input_size})")
        y = self._time_first(x)
        n_cells = self.num_layers * len(self._directions)
        initial = self._initial(state, (n_cells, y.shape[1], self.hidden_size), dtype)
        final = [np.empty_like(array) for array in initial]
        pullbacks = []
        for layer in range(self.num_layers):
            below, mask = y, None
            if layer and self.dropout and training:
                y, mask = F.dropout(y, self.dropout, self._rng)
            y, pull = self._layer(layer, y, lengths, initial, final, need_grad)
            if self.residual and layer:
                y = below + y
            pullbacks.append((pull, mask))
        return (self._time_first(y), self._packed(final)), pullbacks

    def _layer(self, layer, x, lengths, initial, final, need_grad):
        """Run the cells of one layer from `initial`, write their last states to `final`; return y and the pullback.

        The pullback is from dy and `dfinal`, writes the gradients of the first states to `dinitial`, and returns dx.
        """
        forward, backward = self._function("forward"), self._function("backward")
        options = {"lengths": lengths, "need_grad": need_grad, **self._options()}
        first, size = layer * len(self._directions), self.hidden_size
        outputs, runs = [], []
        for k, direction in enumerate(self._directions, first):
            cell = self._cell(f"_l{layer}{direction}")
            weights = {name: parameter.value for name, parameter in cell.items()}
            start = [array[k] for array in initial]
            y, *last, cache = forward(x, *start, **weights, reverse=direction == "_reverse", **options)
            for array, value in zip(final, last, strict=True):
                array[k] = value
            outputs.append(y)
            runs.append((k, cell, cache))

        def pull(dy, dfinal, dinitial):
            dxs = []
            for k, cell, cache in runs:
                half = slice((k - first) * size, (k - first + 1) * size)
                part = dy[:, :, half] if self.bidirectional and dy is not None else dy
                gradients = backward(part, *(array[k] for array in dfinal), cache)
                for name, parameter in cell.items():
                    parameter.accumulate(gradients[name])
                for letter, array in zip(self.states, dinitial, strict=True):
                    array[k] = gradients[f"{letter}0"]
                dxs.append(gradients["x"])
            return dxs[0] + dxs[1] if self.bidirectional else dxs[0]

        return (np.concatenate(outputs, axis=2) if self.bidirectional else outputs[0]), pull


class RNN(_Plain, Recurrent):
    """h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), over sequences; y holds every h_t of the last layer.

    Elman (1990), "Finding structure in time". Names, shapes and first values of the parameters are PyTorch's.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    nonlinearity : {"tanh", "relu"}
    bias : bool
    batch_first : bool
        Whether x and y are (batch, time, features) and not (time, batch, features). States never are.
    dropout : float
        Probability, between layers.
    bidirectional : bool
        Whether a second cell a layer reads each sequence from its end; y holds both outputs side by side.
    residual : bool
        Whether every layer but the first adds its input, as it was before dropout, to its output (Wu et al. 2016,
        "Google's neural machine translation system").
    init : {"uniform", "identity"}
        First values: U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), or W_hh as the identity and the biases as 0, with
        which a relu network keeps what it saw (Le, Jaitly and Hinton 2015, "A simple way to initialize recurrent
        networks of rectified linear units").
    rng : numpy.random.Generator, int or None
        Draws the parameters, and the dropout masks.
    dtype : float32 or float64

    Notes
    -----
    `y, state = rnn(x, state=None, lengths=None)`; `(y, state), back = rnn.vjp(x, state=None, lengths=None)`;
    `dx, dstate = back(dy, dstate=None)`, where dy may be None as well.
    The state has shape (num_layers * directions, batch, hidden_size); None stands for zeros. Past a sequence's length
    y is 0, and its state is that of its last step.

    Examples
    --------
    >>> rnn = RNN(3, 4, num_layers=2, bidirectional=True, rng=0)
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> (y, state), back = rnn.vjp(x, lengths=[5, 3])
    >>> y.shape, state.shape
    ((5, 2, 8), (4, 2, 4))
    >>> dx, dstate = back(np.ones_like(y))
    >>> dx.shape, dstate.shape
    ((5, 2, 3), (4, 2, 4))
    >>> bool((dx[3:, 1] == 0).all())
    True
    """

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        *,
        nonlinearity="tanh",
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        residual=False,
        init="uniform",
        rng=None,
        dtype=np.float32,
    ):
        self._choose(nonlinearity, init)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            residual=residual,
            rng=rng,
            dtype=dtype,
        )


class GRU(_Gated, Recurrent):
    """Gated recurrent units over sequences; y holds every h_t of the last layer.

    With (r, z, n) = W_ih x_t + b_ih and (r', z', n') = W_hh h_(t-1) + b_hh: r = sigmoid(r + r'), z = sigmoid(z + z'),
    n = tanh(n + r * n'), h_t = (1 - z) * n + z * h_(t-1).

    Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder for statistical machine translation".
    Names, shapes and first values of the parameters are PyTorch's.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    bias, batch_first, dropout, bidirectional, residual
        As in `RNN`.
    reset_after : bool
        Whether the reset gate acts after the product with the state, as above, in cuDNN and in PyTorch; if not, before
        it, as in the paper: n' = W_hn (r * h_(t-1)) + b_hn, n = tanh(n + n').
    rng : numpy.random.Generator, int or None
        Draws the parameters from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), and the dropout masks.
    dtype : float32 or float64

    Notes
    -----
    Calls, states and lengths are those of `RNN`.

    Examples
    --------
    >>> gru = GRU(3, 4, reset_after=False, rng=0)
    >>> gru
    GRU(input_size=3, hidden_size=4, reset_after=False)
    >>> y, state = gru(np.ones((5, 2, 3), np.float32))
    >>> y.shape, state.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        *,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        residual=False,
        reset_after=True,
        rng=None,
        dtype=np.float32,
    ):
        self.reset_after = bool(reset_after)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            residual=residual,
            rng=rng,
            dtype=dtype,
        )


class LSTM(_LongShort, Recurrent):
    """Long short-term memory over sequences; y holds every h_t of the last layer.

    With (i, f, g, o) = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh: c_t = sigmoid(f) * c_(t-1) + sigmoid(i) * tanh(g) and
    h_t = sigmoid(o) * tanh(c_t).

    Hochreiter and Schmidhuber (1997), "Long short-term memory"; Gers et al. (2000), "Learning to forget". Names, shapes
    and first values of the parameters are PyTorch's.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    bias, batch_first, dropout, bidirectional, residual
        As in `RNN`.
    forget_bias : float or None
        First value of the forget gate's bias, b_ih + b_hh; None draws it like the others. With 1 a new layer keeps
        three quarters of its cell at a step (Jozefowicz et al. 2015, "An empirical exploration of recurrent network
        architectures").
    rng : numpy.random.Generator, int or None
        Draws the parameters from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), and the dropout masks.
    dtype : float32 or float64

    Notes
    -----
    Calls and lengths are those of `RNN`, but a state is a pair (h, c), both (num_layers * directions, batch,
    hidden_size); in a gradient of a state one of them may be None.

    Examples
    --------
    >>> lstm = LSTM(3, 4, num_layers=2, rng=0)
    >>> (y, (h, c)), back = lstm.vjp(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 4), (2, 2, 4), (2, 2, 4))
    >>> dx, (dh, dc) = back(np.ones_like(y))
    >>> dx.shape, dh.shape, dc.shape
    ((5, 2, 3), (2, 2, 4), (2, 2, 4))
    """

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        *,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        residual=False,
        forget_bias=None,
        rng=None,
        dtype=np.float32,
    ):
        self._choose(forget_bias, bias)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            residual=residual,
            rng=rng,
            dtype=dtype,
        )


class Cell(_Kind):
    """The base of the layers that make one step; `RNNCell` documents the arguments."""

    def __init__(self, input_size, hidden_size, bias=True, *, rng=None, dtype=np.float32):
        self.input_size = positive("input_size", input_size)
        self.hidden_size = positive("hidden_size", hidden_size)
        self.bias = bool(bias)
        self._add_weights("", self.input_size, np.random.default_rng(rng), real_dtype(dtype))

    @classmethod
    def _sizes(cls, shapes):
        (_, inputs), (_, hidden) = shapes["weight_ih"], shapes["weight_hh"]
        return {"input_size": inputs, "hidden_size": hidden, "bias": "bias_ih" in shapes}

    def _arguments(self, x, state):
        """Return x and the state's arrays, checked, and the weights by name."""
        dtype = self.weight_ih.value.dtype
        x = real_array(x, dtype)
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise complaint(self, f"x has shape {x.shape}, expected (batch, {self.input_size})")
        return [x, *self._initial(state, (len(x), self.hidden_size), dtype)]

    @quiet
    def __call__(self, x, state=None):
        weights = {name: parameter.value for name, parameter in self._cell("").items()}
        return self._function("step")(*self._arguments(x, state), **weights, **self._options())

    @quiet
    def vjp(self, x, state=None, *, training=True):
        integers, cell = np.asarray(x).dtype.kind != "f", self._cell("")
        weights = {name: parameter.value for name, parameter in cell.items()}
        *new, cache = self._function("step_forward")(*self._arguments(x, state), **weights, **self._options())

        @quiet
        def back(*dstate):
            dstate = self._initial(self._packed(dstate), new[0].shape, new[0].dtype)
            gradients = self._function("step_backward")(*dstate, cache)
            for name, parameter in cell.items():
                parameter.accumulate(gradients[name])
            return None if integers else gradients["x"], self._packed([gradients[letter] for letter in self.states])

        return self._packed(new), back


class RNNCell(_Plain, Cell):
    """One step of a recurrent network: h' = f(W_ih x + b_ih + W_hh h + b_hh).

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    nonlinearity : {"tanh", "relu"}
    init : {"uniform", "identity"}
        As in `RNN`.
    rng : numpy.random.Generator, int or None
        Draws the parameters.
    dtype : float32 or float64

    Notes
    -----
    `h = cell(x, state=None)`; `h, back = cell.vjp(x, state=None)`; `dx, dstate = back(dh)`. x has shape
    (batch, input_size), the state (batch, hidden_size); None stands for zeros.

    Examples
    --------
    >>> cell = RNNCell(3, 4, rng=0)
    >>> h, back = cell.vjp(np.ones((2, 3), np.float32))
    >>> dx, dstate = back(np.ones_like(h))
    >>> h.shape, dx.shape, dstate.shape
    ((2, 4), (2, 3), (2, 4))
    """

    def __init__(
        self, input_size, hidden_size, bias=True, nonlinearity="tanh", *, init="uniform", rng=None, dtype=np.float32
    ):
        self._choose(nonlinearity, init)
        super().__init__(input_size, hidden_size, bias, rng=rng, dtype=dtype)


class GRUCell(_Gated, Cell):
    """One step of gated recurrent units, that of `GRU`.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    reset_after : bool
        As in `GRU`.
    rng : numpy.random.Generator, int or None
        Draws the parameters from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).
    dtype : float32 or float64

    Notes
    -----
    Calls and states are those of `RNNCell`.

    Examples
    --------
    >>> GRUCell(3, 4, rng=0)(np.ones((2, 3), np.float32)).shape
    (2, 4)
    """

    def __init__(self, input_size, hidden_size, bias=True, *, reset_after=True, rng=None, dtype=np.float32):
        self.reset_after = bool(reset_after)
        super().__init__(input_size, hidden_size, bias, rng=rng, dtype=dtype)


class LSTMCell(_LongShort, Cell):
    """One step of long short-term memory, that of `LSTM`.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    forget_bias : float or None
        As in `LSTM`.
    rng : numpy.random.Generator, int or None
        Draws the parameters from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).
    dtype : float32 or float64

    Notes
    -----
    Calls are those of `RNNCell`, but a state is a pair (h, c): `(h, c), back = cell.vjp(x, state=None)`;
    `dx, dstate = back(dh, dc)`, one of which may be None.

    Examples
    --------
    >>> cell = LSTMCell(3, 4, rng=0)
    >>> (h, c), back = cell.vjp(np.ones((2, 3), np.float32))
    >>> dx, (dh, dc) = back(np.ones_like(h), None)
    >>> h.shape, c.shape, dx.shape
    ((2, 4), (2, 4), (2, 3))
    """

    def __init__(self, input_size, hidden_size, bias=True, *, forget_bias=None, rng=None, dtype=np.float32):
        self._choose(forget_bias, bias)
        super().__init__(input_size, hidden_size, bias, rng=rng, dtype=dtype)


class Pool(Module):
    """One row a sequence: its last step, or the mean or maximum of its steps.

    Parameters
    ----------
    how : {"last", "mean", "max"}
    batch_first : bool
        Whether x is (batch, time, features) and not (time, batch, features).

    Notes
    -----
    `y = pool(x, lengths=None)`, y (batch, features). Steps past a sequence's length do not count; a sequence without
    steps gives 0. The gradient of a maximum goes to the first step that has it.
    Of a bidirectional layer "last" takes the forward half after all steps, but the backward half after only one.

    Examples
    --------
    >>> x = np.array([[[1.0], [5.0]], [[3.0], [7.0]]])
    >>> Pool("mean")(x, lengths=[2, 1])
    array([[2.],
           [5.]])
    >>> y, back = Pool("last").vjp(x, lengths=[2, 1])
    >>> back(np.ones_like(y))[:, :, 0]
    array([[0., 1.],
           [1., 0.]])
    """

    takes_lengths = True

    def __init__(self, how, *, batch_first=False):
        check_choice(how, ("last", "mean", "max"), "how")
        self.how, self.batch_first = how, bool(batch_first)

    @quiet
    def vjp(self, x, lengths=None, *, training=True):
        x, integers = np.asarray(x), np.asarray(x).dtype.kind != "f"
        x = real_array(x, np.float64 if integers else x.dtype)
        if x.ndim != 3:
            axes = "batch, time" if self.batch_first else "time, batch"
            raise complaint(self, f"x has shape {x.shape}, expected ({axes}, features)")
        if self.batch_first:
            x = x.swapaxes(0, 1)
        shape = steps, batch, features = x.shape
        lengths = check_lengths(lengths, steps, batch)
        counts = (np.arange(steps)[:, None] < lengths)[:, :, None]  # which steps do
        some = (lengths > 0)[:, None]
        if self.how == "mean":
            y = np.where(counts, x, 0).sum(axis=0) / np.maximum(lengths, 1).astype(x.dtype)[:, None]
        else:
            at = np.broadcast_to(np.maximum(lengths - 1, 0)[:, None], (batch, features))
            if self.how == "max" and steps:
                at = np.where(counts, x, -np.inf).argmax(axis=0)
            y = np.where(some, np.take_along_axis(x, at[None], 0)[0], 0) if steps else np.zeros_like(x, shape=shape[1:])

        @quiet
        def back(dy):
            dy = real_array(dy, x.dtype, "dy")
            if dy.shape != shape[1:]:
                raise complaint(self, f"dy has shape {dy.shape}, expected {shape[1:]}")
            if integers:
                return None
            if self.how == "mean":
                dx = np.where(counts, dy / np.maximum(lengths, 1).astype(x.dtype)[:, None], 0)
            else:
                dx = np.zeros(shape, x.dtype)
                if steps:
                    np.put_along_axis(dx, at[None], np.where(some, dy, 0)[None], 0)
            return dx.swapaxes(0, 1) if self.batch_first else dx

        return y, back
