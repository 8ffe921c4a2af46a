"""Where frozen answers stand, and how near to them a result must be."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

VECTORS = Path(__file__).parent / "vectors"

# dtype -> how far off an element may be: relative to itself, and to the largest of its array, since what cancels out is
# measured by what it is a rest of. In float64 that shows whether a formula is right, in float32 how it is computed. A
# rounding error of 1 is allowed besides: the inputs are of that size.
TOLERANCES = {
    "float64": (1e-9, 1e-12, 2**-52),
    "float32": (1e-5, 1e-5, 2**-23),
    "float16": (1e-3, 1e-3, 2**-10),
    "bool": (0, 0, 0),
}


@cache
def arrays(name):
    """Return the arrays of a file."""
    return load_file(VECTORS / f"{name}.safetensors")


@cache
def answers(family):
    """Return PyTorch's answers in float64: results by name, by case."""
    cases = {}
    for key, value in arrays(family).items():
        case, name = key.rsplit(" ", 1)
        cases.setdefault(case, {})[name] = value
    return cases


def metadata(name):
    """Return what a file says of itself."""
    with safe_open(VECTORS / f"{name}.safetensors", "numpy") as file:
        return file.metadata()


@cache
def onnx_cases():
    """Return the operator, its attributes, and what its inputs and outputs are called in the file, by case."""
    return json.loads(metadata("onnx")["cases"])


def compare(got, want, dtype, tolerances=None):
    """Assert that results have the names, shapes, dtype and values they should have."""
    assert got.keys() == want.keys()
    relative, to_largest, least = tolerances or TOLERANCES[np.dtype(dtype).name]
    for name, value in want.items():
        result = got[name]
        assert np.shape(result) == value.shape, name
        assert isinstance(result, float) or result.dtype == (value.dtype if value.dtype.kind in "ib" else dtype), name
        absolute = max(least, to_largest * np.abs(value).max(initial=0))
        np.testing.assert_allclose(result, value, relative, absolute, err_msg=f"{name}, {dtype}")
