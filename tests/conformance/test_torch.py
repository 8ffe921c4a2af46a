"""fastnn against PyTorch: its frozen answers, and PyTorch itself on a wider grid (`pytest -m live`)."""

import numpy as np
import pytest
from conformance.frozen import answers, compare
from conformance.operations import OPERATIONS, ours, theirs

FROZEN = [(operation, *case) for operation in OPERATIONS for case in operation.cases()]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("operation", "case", "options"), FROZEN, ids=[case for _, case, _ in FROZEN])
def test_frozen(operation, case, options, dtype):
    compare(ours(operation, case, options, dtype), answers(operation.family)[case], dtype)


@pytest.mark.parametrize("family", sorted({operation.family for operation in OPERATIONS}))
def test_every_case_is_frozen_once(family):
    cases = [case for operation, case, _ in FROZEN if operation.family == family]
    assert sorted(cases) == sorted(answers(family))


@pytest.mark.live
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_live(operation, dtype):
    torch = pytest.importorskip("torch")
    for case, options in operation.cases(live=True):
        for seed in "AB":
            got = ours(operation, f"{case}{seed}", options, dtype)
            compare(got, theirs(torch, operation, f"{case}{seed}", options), dtype)
