"""What the elementwise functions promise as NumPy ufuncs, and to other people's Cython."""

import gc
import importlib
import pickle
import pydoc
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cases import CASES

import fastnn
from fastnn import ops, ufuncs
from fastnn._kernels.activations import OPS

X = np.linspace(-3, 3, 25, dtype="f")
ODDITIES = [0, -0.0, 1, -1, 3, -3, 1e4, -1e4, 6e4, 6e-8, -6e-8, 1e-40, -1e-40, 5e-324, 1e300, -1e300]
ODDITIES += [-88, -100, -104, -745, np.inf, -np.inf, np.nan]
PARAMETERS = {case.name: case.parameters[0] for case in CASES}
WITH_PARAMETERS = [name for name in OPS if hasattr(ufuncs, name)]
ANY_UFUNC = [getattr(ufuncs, name, None) or getattr(ops, name) for name in OPS]


def parameters(name):
    return PARAMETERS[name.removesuffix("_derivative").removesuffix("_backward")]


# --- what NumPy does around a loop -----------------------------------------------------------------------------------
def test_out(rng):
    for name in OPS:
        f = getattr(fastnn, name)
        arguments = [X, X][: 1 + name.endswith("_backward")]
        want = f(*arguments)
        out = np.empty_like(X)
        assert f(*arguments, out=out) is out
        np.testing.assert_array_equal(out, want)
        wide = np.empty(50, "d")[::2]
        assert f(*arguments, out=wide) is wide
        np.testing.assert_array_equal(wide, want)
        x = X.copy()
        np.testing.assert_array_equal(f(*[x] * len(arguments), out=x), f(*[X] * len(arguments)))


def test_out_must_fit():
    for name in OPS:
        arguments = [X, X][: 1 + name.endswith("_backward")]
        with pytest.raises(ValueError, match="read-only"):
            getattr(fastnn, name)(*arguments, out=np.broadcast_to(np.float32(0), 25))
        with pytest.raises(ValueError, match="broadcast"):
            getattr(fastnn, name)(*arguments, out=np.empty(24, "f"))
        with pytest.raises(TypeError, match=r"[cC]a(st|nnot)"):
            getattr(fastnn, name)(*arguments, out=np.empty(25, "i8"))


def test_where():
    for name in OPS:
        arguments = [X, X][: 1 + name.endswith("_backward")]
        out = np.full(25, 7, "f")
        getattr(fastnn, name)(*arguments, out=out, where=X > 0)
        np.testing.assert_array_equal(out, np.where(X > 0, getattr(fastnn, name)(*arguments), np.float32(7)))


def test_dtype():
    for name in OPS:
        arguments = [X, X][: 1 + name.endswith("_backward")]
        for dtype in "efd":
            assert getattr(fastnn, name)(*arguments, dtype=dtype).dtype == dtype
        want = getattr(fastnn, name)(*(a.astype("d") for a in arguments))
        np.testing.assert_array_equal(getattr(fastnn, name)(*arguments, dtype="d"), want)


def test_broadcasting(rng):
    column, row = rng.standard_normal((2, 40)).astype("f")
    column = column[:, None]
    for case in CASES:
        backward = getattr(fastnn, f"{case.name}_backward")
        got = backward(column, row)
        assert got.shape == (40, 40)
        np.testing.assert_array_equal(got, backward(*map(np.ascontiguousarray, np.broadcast_arrays(column, row))))
        np.testing.assert_array_equal(backward(row, column), backward(row[:, None], column.T).T)


@pytest.mark.parametrize("bad", [1j, None, "1", np.array([1], object), np.array(1j), np.longdouble(1)], ids=repr)
def test_other_dtypes_are_type_errors(bad):
    for name in OPS:
        with pytest.raises(TypeError, match="not support"):
            getattr(fastnn, name)(*[bad] * (1 + name.endswith("_backward")))


KINDS = "?bBhHiIqQefd"
RESULTS = [  # of a second operand and a first of each of KINDS
    (0.1, "dddddddddefd"),  # numbers of Python's are weak
    (1, "deeffddddefd"),
    (np.float16(0.1), "eeeffddddefd"),  # of others the smallest type that holds all operands
    (np.float32(0.1), "fffffddddffd"),
    (np.float64(0.1), "dddddddddddd"),
]


@pytest.mark.parametrize(("second", "results"), RESULTS, ids=lambda value: f"{type(value).__name__}-{value}")
def test_result_dtypes_of_several_operands(second, results):
    for kind, result in zip(KINDS, results, strict=True):
        x = np.ones(3, kind)
        for name in OPS:
            f = getattr(fastnn, name)
            given = [second] * len(parameters(name))
            if name.endswith("_backward"):
                assert f(x, second, *given).dtype == f(second, x, *given).dtype == result
            elif given:
                assert f(x, *given).dtype == result


@pytest.mark.parametrize("kind", KINDS)
def test_result_dtypes_of_one_operand(kind):
    """The float that it is, or float64."""
    x = np.ones(3, kind)
    for name in OPS:
        if not (parameters(name) or name.endswith("_backward")):
            assert getattr(fastnn, name)(x).dtype == (kind if kind in "efd" else "d")
            assert getattr(fastnn, name)(x[0]).dtype == (kind if kind in "efd" else "d")


def test_numbers():
    for name in OPS:
        f, n = getattr(fastnn, name), 1 + name.endswith("_backward")
        assert type(f(*[0.5] * n)) is type(f(*[np.array(0.5)] * n)) is np.float64
        assert type(f(*[np.float32(0.5)] * n)) is np.float32


# --- floating-point status -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", "efd")
@pytest.mark.parametrize("name", OPS)
def test_no_floating_point_warning_leaves(isa, name, dtype):
    f = getattr(fastnn, name)
    with np.errstate(all="ignore"):
        pairs = [grid.ravel() for grid in np.meshgrid(*np.array([ODDITIES, ODDITIES]).astype(dtype))]
        given = [*pairs, *np.array(parameters(name), dtype)]
        arguments = given[(not name.endswith("_backward")) :]
    with np.errstate(all="raise"):
        f(*arguments)
        f(*(a[::2] if a.ndim else a for a in arguments))
        for numbers in zip(*arguments[: 1 + name.endswith("_backward")], strict=True):
            f(*numbers, *arguments[1 + name.endswith("_backward") :])


@pytest.mark.kernels
def test_a_cast_still_warns():
    x = np.ones(20_000)
    x[-1] = 1e300  # in NumPy's third buffer of 8192
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        fastnn.sigmoid(x, dtype="f")


# --- memory ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shift", [-300, -65, -17, -1, 0, 1, 17, 65, 300])
@pytest.mark.parametrize("dtype", "efd")
def test_overlap(isa, dtype, shift):
    """NumPy copies when `out` lies ahead of x, and not when it lies behind: there the loop must go forward."""
    for step in (1, 2, -1):
        memory = np.linspace(-4, 4, 2000).astype(dtype)
        x, out = memory[400:1400][::step], memory[400 + shift : 1400 + shift][::step]
        slopes = np.linspace(0, 1, len(x)).astype(dtype)
        want = fastnn.leaky_relu(fastnn.sigmoid(x.copy()), slopes)
        fastnn.leaky_relu(fastnn.sigmoid(x, out=out), slopes, out=out)
        np.testing.assert_array_equal(out, want)


def test_references_do_not_leak():
    out, slope = np.empty_like(X), np.float32(0.1)
    fastnn.leaky_relu(X, slope, out=out)
    gc.collect()
    before = [sys.getrefcount(a) for a in (X, out, slope)]
    tracemalloc.start()
    try:
        for _ in range(10_000):
            fastnn.leaky_relu(X, slope, out=out)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(a) for a in (X, out, slope)] == before
    assert kept < 10_000


def test_threads():
    x = np.random.default_rng(0).standard_normal((4, 50_001)).astype("f")
    want, wrong = fastnn.silu(x), []

    def work(i):
        wrong.extend(i for _ in range(20) if not np.array_equal(fastnn.silu(x[i]), want[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- being ufuncs ----------------------------------------------------------------------------------------------------
@pytest.mark.kernels
@pytest.mark.parametrize("f", ANY_UFUNC, ids=lambda f: f.__name__)
def test_pickle_and_help(f):
    assert isinstance(f, np.ufunc)
    assert pickle.loads(pickle.dumps(f)) is f
    assert f"{f.__name__}(" in pydoc.render_doc(f).partition("out=None")[2]


@pytest.mark.kernels
@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_functions_with_parameters_call_their_ufunc(name):
    arrays = [X, X[::-1]][: 1 + name.endswith("_backward")]
    want = getattr(ufuncs, name)(*arrays, *parameters(name))
    np.testing.assert_array_equal(getattr(fastnn, name)(*arrays, *parameters(name)), want)
    with pytest.raises(TypeError, match=r"missing|required"):
        getattr(fastnn, name)()
    with pytest.raises(TypeError, match="positional"):
        getattr(fastnn, name)(*arrays, *parameters(name), X.copy())


@pytest.mark.kernels
@pytest.mark.parametrize("f", [f for f in ANY_UFUNC if f.nin == 2], ids=lambda f: f.__name__)
def test_reduce_and_accumulate_run_in_order(isa, f):
    values = np.linspace(-1, -2, 600)
    want = [values[0]]
    for value in values[1:]:
        want.append(f(want[-1], value))
    assert f.reduce(values) == want[-1]
    np.testing.assert_array_equal(f.accumulate(values), want)
    np.testing.assert_array_equal(f.accumulate(np.repeat(values, 2)[::2]), want)


@pytest.mark.kernels
def test_at_and_outer():
    x = X.copy()
    fastnn.relu.at(x, [0, 0, 24])
    np.testing.assert_array_equal(x[[0, 1, 24]], [0, X[1], X[24]])
    np.testing.assert_array_equal(ufuncs.leaky_relu.outer(X, X), ufuncs.leaky_relu(X[:, None], X))


@pytest.mark.kernels
def test_subclasses_and_masks():
    assert type(fastnn.sigmoid(X.view(type("Sub", (np.ndarray,), {})))).__name__ == "Sub"
    masked = fastnn.leaky_relu(np.ma.masked_less(X, 0), 0.1)
    np.testing.assert_array_equal(masked.mask, X < 0)
    np.testing.assert_array_equal(masked.compressed(), X[X >= 0])


# --- from Cython -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def client(tmp_path_factory):
    """Compile client.pyx outside the package, as its user would."""
    if not any(map(shutil.which, ("cc", "gcc", "clang", "cl"))):
        pytest.skip("there is no compiler")
    folder = tmp_path_factory.mktemp("client")
    shutil.copy(Path(__file__).with_name("client.pyx"), folder)
    subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "-i", "client.pyx"], cwd=folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("client")


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", "fd")
def test_evaluate_from_another_package(client, dtype):
    x, dy = X.astype(dtype), X[::-1].astype(dtype)
    for name, op in OPS.items():
        y = np.full_like(x, 7)
        arrays = [dy, x] if name.endswith("_backward") else [x]
        client.run(op, y, *arrays, params=np.array(parameters(name), dtype) if parameters(name) else None)
        np.testing.assert_array_equal(y, getattr(fastnn, name)(*arrays, *parameters(name)))
    y = x.copy()
    client.run(OPS["tanh"], y, y)
    np.testing.assert_array_equal(y, fastnn.tanh(x))
    client.run(OPS["tanh"], y[:0], x[:0])


@pytest.mark.kernels
def test_evaluate_checks_its_arguments(client):
    y = np.full_like(X, 7)
    for op, arrays in [
        (OPS["tanh"], [X[:3]]),
        (OPS["tanh"], [X, X]),
        (OPS["tanh"], [X, None, X[:1]]),
        (OPS["tanh_backward"], [X]),
        (OPS["tanh_backward"], [X, X[:3]]),
        (OPS["leaky_relu"], [X]),
        (-1, [X]),
        (len(OPS), [X]),
    ]:
        with pytest.raises(ValueError, match=r"length|does not take"):
            client.run(op, y, *arrays)
    with pytest.raises(ValueError, match="read-only"):
        client.run(OPS["tanh"], np.frombuffer(X.tobytes(), "f"), X)
    with pytest.raises(ValueError, match="contiguous"):
        client.run(OPS["tanh"], y, np.repeat(X, 2)[::2])
    with pytest.raises((ValueError, TypeError)):
        client.run(OPS["tanh"], y, X.astype("d"))
    assert (y == 7).all()
