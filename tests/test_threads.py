"""The pool: the same results for any number of threads, from several callers at once, and after a fork."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastnn

pytestmark = pytest.mark.kernels
X = np.random.default_rng(0).standard_normal(1_300_001).astype("f")


@pytest.fixture
def num_threads():
    """Give the pool four threads, whatever the machine has, and put things back."""
    from fastnn._kernels import cpu

    before = cpu.get_num_threads()
    cpu.set_num_threads(4)
    yield cpu.set_num_threads
    cpu.set_num_threads(before)


def test_results_do_not_depend_on_the_number(num_threads):
    results = []
    for n in (1, 2, 3, 7):
        num_threads(n)
        results.append(fastnn.tanh(X))
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_callers_at_once(num_threads):
    want, wrong = fastnn.sigmoid(X), []

    def work():
        wrong.extend(1 for _ in range(10) if not np.array_equal(fastnn.sigmoid(X), want))

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own(num_threads):
    want = fastnn.sigmoid(X)  # the parent's pool has run
    child = os.fork()
    if child == 0:
        os._exit(7 if np.array_equal(fastnn.sigmoid(X), want) else 8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_bad_numbers(num_threads):
    with pytest.raises(ValueError, match="n is 0, expected at least 1"):
        num_threads(0)
    for bad in ("0", "two", "-1"):
        run = subprocess.run(
            [sys.executable, "-c", "import fastnn"],
            env={**os.environ, "FASTNN_NUM_THREADS": bad},
            capture_output=True,
            text=True,
        )
        assert run.returncode != 0
        assert f"FASTNN_NUM_THREADS='{bad}' is not a number of threads" in run.stderr
