"""No function keeps memory: neither what tracemalloc sees nor what the process holds grows with the calls."""

import gc
import os
import tracemalloc
from pathlib import Path

import pytest
from test_grid import CASES

import fastnn

CALLS = int(os.environ.get("FASTNN_LEAK_CALLS", 100))  # `nox -s leaks` makes 10,000
STATM = Path("/proc/self/statm")


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    """Spare the collections what the other tests hold, which takes most of their time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def resident():
    """Return the bytes of memory that the process holds."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bad_call(name):
    """Return a call of the function that raises."""
    f = getattr(fastnn, name)

    def call():
        try:
            f(1j, 1j)
        except (TypeError, ValueError, IndexError):
            return
        raise AssertionError(name)

    return call


def growth(call):
    """Return by how many bytes CALLS calls make what is allocated, and what the process holds, grow."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        before = tracemalloc.get_traced_memory()[0], resident()
        for _ in range(CALLS):
            call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before[0], resident() - before[1]
    finally:
        tracemalloc.stop()


@pytest.mark.kernels
@pytest.mark.costs
@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell what memory a process holds")
@pytest.mark.parametrize(("name", "value", "inputs"), [case[:3] for case in CASES], ids=[case[0] for case in CASES])
def test_memory_stays(name, value, inputs):
    for call in (lambda: value(fastnn, *inputs)), bad_call(name):
        for _ in range(3):  # a leak grows every time, a cache once
            traced, held = growth(call)
            if traced < max(8192, 4 * CALLS) and held < 1e6 + 4 * CALLS:
                break
        else:
            raise AssertionError(f"{CALLS} calls keep {traced} bytes, the process {held} more")
