"""fastnn against the node cases of ONNX."""

import inspect

import pytest
from conformance.frozen import TOLERANCES, answers, compare, onnx_cases
from conformance.operators import ADAPTERS, FAMILIES, OMITTED, ROUNDED, SKIPPED, skipped

RUN = [case for case in onnx_cases() if not skipped(case)]


@pytest.mark.parametrize("case", RUN)
def test_node(case):
    told, arrays = onnx_cases()[case], answers("onnx")[case]
    inputs = [arrays[f"input{i}"] if there else None for i, there in enumerate(told["input"])]
    results = ADAPTERS[told["operator"]](*inputs, **told["attributes"])
    results = results if isinstance(results, tuple) else (results,)
    for i, there in enumerate(told["output"]):
        if there and results[i] is None:
            assert told["operator"] in OMITTED
        elif there:
            want = arrays[f"output{i}"]
            compare({"": results[i]}, {"": want}, want.dtype, TOLERANCES["float16"] if case in ROUNDED else None)


def test_every_skip_skips():
    reasons = {skipped(case) for case in onnx_cases()}
    assert reasons == {None, *SKIPPED}
    operators = {told["operator"] for told in onnx_cases().values()}
    assert operators == {name for names in FAMILIES.values() for name in names}


@pytest.mark.parametrize("name", [name for name, adapter in ADAPTERS.items() if inspect.isfunction(adapter)])
def test_adapters_are_short(name):
    assert len(inspect.getsource(ADAPTERS[name]).splitlines()) <= 10
