"""The pool: the same results for any number of threads, from several callers at once, and after a fork."""

import os
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest

import fastnn
from fastnn import bench

pytestmark = pytest.mark.kernels
X = np.random.default_rng(0).standard_normal(1_300_001).astype("f")


@pytest.fixture
def num_threads():
    """Give the pool four threads, whatever the machine has, and put things back."""
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(4)
    assert fastnn.get_num_threads() == 4
    yield fastnn.set_num_threads
    fastnn.set_num_threads(before)


def drawn(*shape):
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def updated():
    param, grad, m, v = np.abs(drawn(4, 700_001))
    fastnn.adam_update(param, grad, m, v, 3)
    grads = [2 * grad, m]
    return param, m, v, fastnn.clip_by_global_norm(grads, 1.0), *grads


def recurrent(cell, **options):
    x, h, weights = drawn(37, 40, 96), drawn(40, 96), 0.1 * drawn(2, 4 * 96, 96)[:, : bench.CELLS[cell][0] * 96]
    state = [h] * len(bench.CELLS[cell][1])
    *results, cache = getattr(fastnn, f"{cell}_forward")(x, *state, *weights, **options)
    gradients = getattr(fastnn, f"{cell}_backward")(x, *[None] * len(state), cache)
    return *results, *gradients.values()


def convolved():
    x, w = drawn(8, 16, 32, 32), drawn(32, 16, 3, 3)
    y, cache = fastnn.conv2d_forward(x, w)
    pooled, pooling = fastnn.max_pool2d_forward(y, 2)
    dy = fastnn.max_pool2d_backward(pooled, pooling)
    return pooled, *fastnn.conv2d_backward(dy["x"], cache).values()


def normalized(f):
    x, weight, bias = drawn(1500, 700), drawn(700), drawn(700)
    more = {"batch_norm": ({"training": True}, (None, None))}.get(f, ({}, ()))
    y, cache = getattr(fastnn, f)(x, *more[1], weight, *[bias] * (f != "rms_norm"), **more[0])[:2]
    return y, *getattr(fastnn, f"{f}_backward")(x, cache).values()


def embedded():
    table, indices = drawn(3000, 300), np.random.default_rng(2).integers(0, 3000, 9000)
    rows = fastnn.embedding_lookup(table, indices)
    return rows, fastnn.embedding_lookup_backward(rows, indices, 3000)


def attended():
    query, keys = drawn(50, 30, 64), drawn(50, 30, 64)
    context, weights, cache = fastnn.attention_forward(query, keys, keys)
    return context, weights, *fastnn.attention_backward(context, None, cache).values()


CASES = {
    "tanh": lambda: [fastnn.tanh(X)],
    "hardtanh_backward": lambda: [fastnn.hardtanh_backward(X, X)],
    "softmax": lambda: [fastnn.softmax(drawn(1300, 401))],
    "softmax_cross_entropy": lambda: fastnn.softmax_cross_entropy(drawn(1300, 401), np.arange(1300) % 401),
    "mse_loss": lambda: fastnn.mse_loss(X, X[::-1].copy()),
    "updates": updated,
    **{cell: partial(recurrent, cell) for cell in bench.CELLS},
    "gru, reset before": partial(recurrent, "gru", reset_after=False, reverse=True, lengths=np.arange(40) % 38),
    "convolution": convolved,
    **{f: partial(normalized, f) for f in ("layer_norm", "rms_norm", "batch_norm")},
    "embedding": embedded,
    "attention": attended,
}


@pytest.mark.parametrize("case", CASES)
def test_every_family_gives_the_same_bits_for_any_number(num_threads, case):
    results = []
    for n in (1, 2, 5):
        num_threads(n)
        results.append([np.copy(result) for result in CASES[case]()])
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(got, want)


def test_threadpoolctl_finds_the_pool(num_threads):
    """A controller of ten lines is all it takes: both functions are symbols of the one module that links C."""
    threadpoolctl = pytest.importorskip("threadpoolctl")

    class Controller(threadpoolctl.LibController):
        user_api = internal_api = "fastnn"
        filename_prefixes = ("cpu",)
        check_symbols = ("fastnn_get_num_threads",)

        def get_num_threads(self):
            return self.dynlib.fastnn_get_num_threads()

        def set_num_threads(self, num_threads):
            self.dynlib.fastnn_set_num_threads(num_threads)

        def get_version(self):
            return fastnn.__version__

        def set_additional_attributes(self):
            pass

    from fastnn._kernels import cpu

    threadpoolctl.register(Controller)
    (found,) = threadpoolctl.ThreadpoolController().select(user_api="fastnn").lib_controllers
    assert found.num_threads == 4
    with threadpoolctl.threadpool_limits(1, user_api="fastnn"):
        assert cpu.get_num_threads() == 1
    assert cpu.get_num_threads() == 4


def test_the_default_is_what_the_process_may_use(monkeypatch):
    from fastnn._kernels import cpu

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert 1 <= cpu._usable_cores() <= 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert cpu._usable_cores() == 1


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
    num_threads(256)
    for bad in (0, -1, 257, 10**10):
        with pytest.raises(ValueError, match=f"n is {bad}, expected 1 to 256 threads"):
            num_threads(bad)
    assert fastnn.get_num_threads() == 256
    with pytest.raises(TypeError, match=r"n is 1\.5, expected a whole number"):
        num_threads(1.5)
    for bad in ("0", "two", "-1", "257", "99999999999"):
        run = subprocess.run(
            [sys.executable, "-c", "import fastnn"],
            env={**os.environ, "FASTNN_NUM_THREADS": bad},
            capture_output=True,
            text=True,
        )
        assert run.returncode != 0
        assert f"FASTNN_NUM_THREADS='{bad}' is not a number of threads, 1 to 256" in run.stderr
