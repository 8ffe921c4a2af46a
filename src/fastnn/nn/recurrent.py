"""Recurrent layers: RNN over sequences, RNNCell for one step.

A kind of cell names its gates, the arrays of its state, and the family of fastnn's functions (`rnn_forward`, ...).
All else, that is layers, directions, dropout, the order of axes and PyTorch's names, is common to the kinds.
"""

import numpy as np

from fastnn._backend import functions as F
from fastnn.nn.module import Module, Parameter, complaint, positive, real_array, real_dtype

__all__ = ["RNN", "RNNCell"]

# the functions' names of the weights -> PyTorch's
_NAMES = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}


class _Kind(Module):
    """A kind of cell: its weights, its state, its functions."""

    kind = "rnn"
    gates = 1
    states = "h"  # one letter an array

    def _options(self):
        """Return the keyword arguments of the kind's functions."""
        return {}

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
        arrays = [real_array(array, dtype, "state") for array in arrays]
        for array in arrays:
            if array.shape != shape:
                raise complaint(self, f"state has shape {array.shape}, expected {shape}")
        return arrays

    def _packed(self, arrays):
        """Return the arrays of a state as callers know it: a tuple only if there are several."""
        return tuple(arrays) if len(self.states) > 1 else arrays[0]


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
        rng=None,
        dtype=np.float32,
    ):
        self.input_size = positive("input_size", input_size)
        self.hidden_size = positive("hidden_size", hidden_size)
        self.num_layers = positive("num_layers", num_layers)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout}, expected a probability from 0 to 1")
        if dropout and self.num_layers == 1:
            raise ValueError(f"dropout is {dropout}, but it works between layers, and num_layers is 1")
        self.dropout = float(dropout)
        self._rng, dtype = np.random.default_rng(rng), real_dtype(dtype)
        self._directions = ["", "_reverse"][: 1 + self.bidirectional]
        for layer in range(self.num_layers):
            size = self.hidden_size * len(self._directions) if layer else self.input_size
            for direction in self._directions:
                self._add_weights(f"_l{layer}{direction}", size, self._rng, dtype)

    def vjp(self, x, state=None, lengths=None, *, training=True):
        integers, dtype = np.asarray(x).dtype.kind != "f", self.weight_ih_l0.value.dtype
        x = real_array(x, dtype)
        if x.ndim != 3 or x.shape[2] != self.input_size:
            axes = "batch, time" if self.batch_first else "time, batch"
            raise complaint(self, f"x has shape {x.shape}, expected ({axes}, {self.input_size})")
        y = x.swapaxes(0, 1) if self.batch_first else x
        n_cells = self.num_layers * len(self._directions)
        initial = self._initial(state, (n_cells, y.shape[1], self.hidden_size), dtype)
        final = [np.empty_like(array) for array in initial]
        pullbacks, masks = [], []
        for layer in range(self.num_layers):
            thin = layer and self.dropout and training
            y, mask = F.dropout(y, self.dropout, self._rng) if thin else (y, None)
            y, pull = self._layer(layer, y, lengths, initial, final)
            pullbacks.append(pull)
            masks.append(mask)
        if self.batch_first:
            y = y.swapaxes(0, 1)
        shape = y.shape

        @np.errstate(all="ignore")
        def back(dy, dstate=None):
            if dy is not None:
                dy = real_array(dy, dtype, "dy")
                if dy.shape != shape:
                    raise complaint(self, f"dy has shape {dy.shape}, expected {shape}")
                if self.batch_first:
                    dy = dy.swapaxes(0, 1)
            dfinal = [[None] * n_cells] * len(initial)
            if dstate is not None:
                dfinal = self._initial(dstate, initial[0].shape, dtype)
            dinitial = [np.empty_like(array) for array in initial]
            for pull, mask in zip(reversed(pullbacks), reversed(masks), strict=True):
                dy = pull(dy, dfinal, dinitial)
                if mask is not None:
                    dy = F.dropout_backward(dy, mask, self.dropout)
            dx = None if integers else dy.swapaxes(0, 1) if self.batch_first else dy
            return dx, self._packed(dinitial)

        return (y, self._packed(final)), back

    def _layer(self, layer, x, lengths, initial, final):
        """Run the cells of one layer from `initial`, write their last states to `final`; return y and the pullback.

        The pullback is from dy and `dfinal`, writes the gradients of the first states to `dinitial`, and returns dx.
        """
        forward, backward = getattr(F, f"{self.kind}_forward"), getattr(F, f"{self.kind}_backward")
        first, size = layer * len(self._directions), self.hidden_size
        outputs, runs = [], []
        for k, direction in enumerate(self._directions, first):
            cell = self._cell(f"_l{layer}{direction}")
            weights = {name: parameter.value for name, parameter in cell.items()}
            start = [array[k] for array in initial]
            y, *last, cache = forward(
                x, *start, **weights, lengths=lengths, reverse=direction == "_reverse", **self._options()
            )
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


class RNN(Recurrent):
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
    rng : numpy.random.Generator, int or None
        Draws the parameters from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), and the dropout masks.
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
        rng=None,
        dtype=np.float32,
    ):
        self.nonlinearity = _nonlinearity(nonlinearity)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            rng=rng,
            dtype=dtype,
        )

    def _options(self):
        return {"nonlinearity": self.nonlinearity}


class Cell(_Kind):
    """The base of the layers that make one step; `RNNCell` documents the arguments."""

    def __init__(self, input_size, hidden_size, bias=True, *, rng=None, dtype=np.float32):
        self.input_size = positive("input_size", input_size)
        self.hidden_size = positive("hidden_size", hidden_size)
        self.bias = bool(bias)
        self._add_weights("", self.input_size, np.random.default_rng(rng), real_dtype(dtype))

    def _arguments(self, x, state):
        """Return x and the state's arrays, checked, and the weights by name."""
        dtype = self.weight_ih.value.dtype
        x = real_array(x, dtype)
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise complaint(self, f"x has shape {x.shape}, expected (batch, {self.input_size})")
        return [x, *self._initial(state, (len(x), self.hidden_size), dtype)]

    def __call__(self, x, state=None):
        weights = {name: parameter.value for name, parameter in self._cell("").items()}
        return getattr(F, f"{self.kind}_step")(*self._arguments(x, state), **weights, **self._options())

    def vjp(self, x, state=None, *, training=True):
        integers, cell = np.asarray(x).dtype.kind != "f", self._cell("")
        weights = {name: parameter.value for name, parameter in cell.items()}
        forward, backward = getattr(F, f"{self.kind}_step_forward"), getattr(F, f"{self.kind}_step_backward")
        *new, cache = forward(*self._arguments(x, state), **weights, **self._options())

        @np.errstate(all="ignore")
        def back(dstate):
            gradients = backward(*self._initial(dstate, new[0].shape, new[0].dtype), cache)
            for name, parameter in cell.items():
                parameter.accumulate(gradients[name])
            return None if integers else gradients["x"], self._packed([gradients[letter] for letter in self.states])

        return self._packed(new), back


class RNNCell(Cell):
    """One step of a recurrent network: h' = f(W_ih x + b_ih + W_hh h + b_hh).

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    nonlinearity : {"tanh", "relu"}
    rng : numpy.random.Generator, int or None
        Draws the parameters from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).
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

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", *, rng=None, dtype=np.float32):
        self.nonlinearity = _nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, rng=rng, dtype=dtype)

    def _options(self):
        return {"nonlinearity": self.nonlinearity}


def _nonlinearity(name):
    if name not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity is {name!r}, expected 'tanh' or 'relu'")
    return name
