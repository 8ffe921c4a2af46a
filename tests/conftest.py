"""Fixtures of every test: the instruction sets to force, and what to leave out under the NumPy twin."""

import numpy as np
import pytest

from fastnn._backend import BACKEND

if BACKEND == "compiled":
    from fastnn._kernels import cpu

    ISAS = cpu.supported()
else:
    ISAS = ["numpy"]


@pytest.fixture(params=ISAS)
def isa(request):
    """Run the test once per instruction set this CPU has (once, with NumPy, under the reference backend)."""
    if BACKEND != "compiled":
        yield request.param
        return
    before = cpu.isa()
    cpu.select(request.param)
    yield request.param
    cpu.select(before)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pytest_collection_modifyitems(items):
    if BACKEND != "compiled":
        reason = pytest.mark.skip(reason="the NumPy twin has no compiled kernels")
        for item in items:
            if item.get_closest_marker("kernels"):
                item.add_marker(reason)
