"""What the streams of both twins share: checks of their weights, and their state."""

import numpy as np

from fastnn._checks import as_count, as_float, check_shape, recurrent_operands


class Stream:
    """Recurrent layers that run one step a call: `y = stream(x)`.

    `layers` are dicts of the weights of a step function, by its argument names; `letters` names the arrays of a state.
    """

    def __init__(self, gates, letters, layers, batch_size, residual):
        batch, self._residual = as_count(batch_size, "batch_size"), bool(residual)
        if not layers:
            raise ValueError("layers are empty, expected the weights of at least one layer")
        self._weights = [_operands(gates, batch, **layer) for layer in layers]
        hidden = self._weights[0]["w_hh"].shape[1]
        for weights in self._weights[1:]:
            check_shape(weights["w_ih"], (gates * hidden, hidden), "w_ih of a layer on another")
            check_shape(weights["w_hh"], (gates * hidden, hidden), "w_hh of a layer on another")
        arrays = [array for weights in self._weights for array in weights.values() if array is not None]
        dtype = np.result_type(*arrays)
        for weights in self._weights:
            weights |= {name: array.astype(dtype) for name, array in weights.items() if array is not None}
        self._shape = batch, self._weights[0]["w_ih"].shape[1]
        self._y = np.zeros((batch, hidden), dtype)
        self._arrays = [np.zeros((len(layers), batch, hidden), dtype) for _ in letters]

    def __reduce__(self):
        raise TypeError("a stream cannot be copied or pickled, since its weights are packed for this machine")

    def _prepare(self, x):
        """Return x as a dense array of the stream's dtype."""
        x = as_float(x, "x")
        check_shape(x, self._shape, "x")
        with np.errstate(all="ignore"):
            return np.require(x, self._y.dtype, ["C", "A"])

    @property
    def state(self):
        """The state, h or (h, c), each (layers, batch, hidden): reading copies it, assigning to it is allowed."""
        copies = [array.copy() for array in self._arrays]
        return tuple(copies) if len(copies) > 1 else copies[0]

    @state.setter
    def state(self, state):
        arrays = state if len(self._arrays) > 1 else [state]
        if len(arrays) != len(self._arrays):
            raise ValueError(f"state holds {len(arrays)} arrays, expected {len(self._arrays)}")
        arrays = [as_float(array, "state") for array in arrays]
        for array in arrays:
            check_shape(array, self._arrays[0].shape, "state")
        with np.errstate(all="ignore"):
            for mine, array in zip(self._arrays, arrays, strict=True):
                mine[...] = array

    def reset(self):
        """Set the state to zeros."""
        for array in self._arrays:
            array.fill(0)


def _operands(gates, batch, w_ih, w_hh, b_ih=None, b_hh=None):
    """Return the weights of a layer, checked, in the dtype to compute in."""
    w_ih, w_hh = as_float(w_ih, "w_ih"), as_float(w_hh, "w_hh")
    x, h = (np.zeros((batch, w.shape[-1] if w.ndim == 2 else 0), np.float16) for w in (w_ih, w_hh))
    a, _ = recurrent_operands(gates, x=x, h=h, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    if not w_ih.size or not w_hh.size:
        raise ValueError(f"w_ih has shape {w_ih.shape} and w_hh {w_hh.shape}, expected no size of 0")
    return {name: array for name, array in a.items() if name not in ("x", "h")}
