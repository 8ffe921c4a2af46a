"""fastnn against the node cases of ONNX."""

import inspect

import pytest
from conformance import operators
from conformance.frozen import TOLERANCES, arrays, compare, onnx_cases
from conformance.operators import ADAPTERS, FAMILIES, OMITTED, ROUNDED, SKIPPED, skipped

OWN = [f for f in vars(operators).values() if inspect.isfunction(f) and f.__module__ == operators.__name__]
RUN = [case for case in onnx_cases() if not skipped(case)]


@pytest.mark.parametrize("case", RUN)
def test_node(case):
    told = onnx_cases()[case]
    inputs, outputs = ([name and arrays("onnx")[name] for name in told[kind]] for kind in ("inputs", "outputs"))
    results = ADAPTERS[told["operator"]](*inputs, **told["attributes"])
    results = results if isinstance(results, tuple) else (results,)
    for i, want in enumerate(outputs):
        if want is not None and results[i] is None:
            assert told["operator"] in OMITTED
        elif want is not None:
            compare({i: results[i]}, {i: want}, want.dtype, TOLERANCES["float16"] if case in ROUNDED else None)


def test_every_skip_skips():
    reasons = {skipped(case) for case in onnx_cases()}
    assert reasons == {None, *SKIPPED}
    names = {told["operator"] for told in onnx_cases().values()}
    assert names == {name for names in FAMILIES.values() for name in names}


@pytest.mark.parametrize("function", OWN)
def test_adapters_and_what_they_share_are_short(function):
    assert len(inspect.getsource(function).splitlines()) <= 10
