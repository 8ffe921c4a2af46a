"""fastnn against PyTorch: its frozen answers, and PyTorch itself on a wider grid (`pytest -m live`)."""

import numpy as np
import pytest
from conformance.frozen import answers, compare
from conformance.operations import OPERATIONS, ours, theirs

FROZEN = [(operation, *case) for operation in OPERATIONS for case in operation.cases()]


@pytest.mark.parametrize(("operation", "case", "options"), FROZEN, ids=[case for _, case, _ in FROZEN])
def test_frozen(operation, case, options):
    for dtype in np.float64, np.float32:
        compare(ours(operation, case, options, dtype), answers(operation.family)[case], dtype)


@pytest.mark.parametrize("family", sorted({operation.family for operation in OPERATIONS}))
def test_every_case_is_frozen_once(family):
    cases = [case for operation, case, _ in FROZEN if operation.family == family]
    assert sorted(cases) == sorted(answers(family))


@pytest.mark.live
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_live(operation):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # small arrays
    for case, options in operation.cases(live=True):
        for seed in (f"{case} A", f"{case} B"):
            want = theirs(torch, operation, seed, options)
            for dtype in np.float64, np.float32:
                compare(ours(operation, seed, options, dtype), want, dtype)
