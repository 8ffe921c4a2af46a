"""Where frozen answers stand, and how near to them a result must be."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

VECTORS = Path(__file__).parent / "vectors"

# dtype -> how far off an element may be: relative to itself, and to the largest of its array, since what cancels out is
# measured by what it is a rest of. In float64 that shows whether a formula is right, in float32 how it is computed.
TOLERANCES = {"float64": (1e-9, 1e-12), "float32": (1e-5, 1e-5), "float16": (1e-3, 1e-3), "bool": (0, 0)}


@cache
def answers(name):
    """Return the arrays of a file by what they are, by case."""
    cases = {}
    for key, value in load_file(VECTORS / f"{name}.safetensors").items():
        case, what = key.rsplit(" ", 1)
        cases.setdefault(case, {})[what] = value
    return cases


def metadata(name):
    """Return what a file says of itself."""
    with safe_open(VECTORS / f"{name}.safetensors", "numpy") as file:
        return file.metadata()


@cache
def onnx_cases():
    """Return operator, attributes, and which inputs and outputs there are, by the name of a case."""
    return json.loads(metadata("onnx")["cases"])


def compare(got, want, dtype, tolerances=None):
    """Assert that results have the names, shapes, dtype and values they should have."""
    assert got.keys() == want.keys()
    relative, to_largest = tolerances or TOLERANCES[np.dtype(dtype).name]
    for name, value in want.items():
        result = got[name]
        assert np.shape(result) == value.shape, name
        assert isinstance(result, float) or result.dtype == (value.dtype if value.dtype.kind in "ib" else dtype), name
        np.testing.assert_allclose(
            result, value, relative, to_largest * np.abs(value).max(initial=0), err_msg=f"{name}, {dtype}"
        )
