"""Elementwise activations; `memoryview` is their entry for other people's Cython, called from Python."""

import numpy as np
import pytest

from fastnn import bench
from fastnn._kernels.activations import OPS, evaluate

PARAMETERS = {"leaky_relu": [0.01], "elu": [1.0], "hardtanh": [-1.0, 1.0]}
CTYPES = {"float32": "float", "float64": "double"}


@pytest.mark.parametrize("row", bench.rows("activations"), ids=str)
def bench_activation(race, row):
    base = row.name.removesuffix("_derivative").removesuffix("_backward")
    statement = {"y": "evaluate(op, y, x", "dx": "evaluate(op, dx, dy, saved"}[row.results]
    names = {"evaluate": evaluate[CTYPES[row.dtype]], "op": OPS[row.name]}
    if base in PARAMETERS:
        statement += ", params=params"
        names["params"] = np.array(PARAMETERS[base], row.dtype)
    race(row, memoryview=(statement + ")", names))
