"""Recurrent cells: values and gradients against the reference in float64, lengths, layouts, positions, errors."""

import contextlib
import copy
import functools
import importlib
import itertools
import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest

import fastnn
from fastnn import reference

DTYPES = [np.float32, np.float64]
WEIGHTS = ["w_ih", "w_hh", "b_ih", "b_hh"]
# T, B, I, H: the batch around the tile heights of each instruction set, H around the widths of its vectors and panels
SIZES = [
    (0, 3, 2, 4),
    (1, 1, 1, 1),
    (3, 0, 2, 4),
    (3, 2, 0, 4),
    (2, 2, 3, 0),
    (4, 1, 5, 7),
    (3, 1, 3, 65),
    (3, 2, 16, 16),
    (2, 3, 9, 33),
    (3, 5, 4, 31),
    (2, 13, 300, 32),
    (3, 21, 17, 24),
]


class Cell(NamedTuple):
    """A kind of cell: its functions, gates, arrays of state and options, in fastnn and in the reference."""

    name: str
    gates: int
    state: str
    options: dict

    def __str__(self):
        return "-".join([self.name, *map(str, self.options.values())])

    def of(self, module, part):
        function = getattr(module, f"{self.name}_{part}")
        return functools.partial(function, **self.options) if not part.endswith("backward") else function

    def arguments(self, rng, sizes, dtype=np.float64, biases=("b_ih", "b_hh")):
        """Return the arguments of the forward function by name, None for the biases left out."""
        steps, batch, inputs, hidden = sizes
        rows, scale = self.gates * hidden, max(hidden, 1) ** -0.5
        shapes = {"x": (steps, batch, inputs)} | {f"{letter}0": (batch, hidden) for letter in self.state}
        shapes |= {"w_ih": (rows, inputs), "w_hh": (rows, hidden), "b_ih": (rows,), "b_hh": (rows,)}
        made = {}
        for name, shape in shapes.items():
            x = rng.normal(size=shape) * (scale if name in WEIGHTS else 1)
            made[name] = None if name.startswith("b_") and name not in biases else x.astype(dtype)
        return made

    def step_arguments(self, rng, sizes, *rest):
        a = self.arguments(rng, (1, *sizes[1:]), *rest)
        return {name.removesuffix("0"): x[0] if name == "x" else x for name, x in a.items()}


CELLS = [
    Cell("rnn", 1, "h", {"nonlinearity": "tanh"}),
    Cell("rnn", 1, "h", {"nonlinearity": "relu"}),
    Cell("lstm", 4, "hc", {}),
    Cell("gru", 3, "h", {"reset_after": True}),
    Cell("gru", 3, "h", {"reset_after": False}),
]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=str)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def wide(a):
    """Return the arguments in float64."""
    return {name: None if x is None else x.astype(np.float64) for name, x in a.items()}


def close(result, truth, dtype):
    """Compare within some hundred roundings of the largest number."""
    assert result.dtype == dtype
    assert result.shape == truth.shape
    scale = np.abs(truth).max(initial=1)
    np.testing.assert_allclose(result, truth, rtol=0, atol=300 * np.finfo(dtype).eps * scale)


def close_all(results, truths, dtype):
    assert list(results) == list(truths)
    for name, truth in truths.items():
        close(results[name], truth, dtype)


def noise(like, rng):
    return rng.normal(size=like.shape).astype(like.dtype)


def some_lengths(rng, steps, batch):
    """Return lengths in no order, 0 and T among them where there is room."""
    lengths = rng.integers(0, steps + 1, size=batch)
    lengths[:2] = [0, steps][:batch]
    return rng.permutation(lengths)


# --- values and gradients --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@each_cell
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sequence(isa, rng, sizes, cell, dtype):
    for reverse, lengths in itertools.product((False, True), (None, some_lengths(rng, *sizes[:2]))):
        a = cell.arguments(rng, sizes, dtype)
        options = {"lengths": lengths, "reverse": reverse}
        *results, cache = cell.of(fastnn, "forward")(**a, **options)
        *truths, true_cache = cell.of(reference, "forward")(**wide(a), **options)
        for result, truth in zip(results, truths, strict=True):
            close(result, truth, dtype)
        for given in itertools.product((False, True), repeat=len(results)):
            d = [noise(x, rng) if is_given else None for x, is_given in zip(results, given, strict=True)]
            gradients = cell.of(fastnn, "backward")(*d, cache)
            close_all(gradients, cell.of(reference, "backward")(*d, true_cache), dtype)
            assert all(gradients[name].shape == x.shape for name, x in a.items())


@each_cell
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [(25, 50, 3, 64), (2, 2, 3, 530)], ids=["chunks_of_time", "blocks_of_depth"])
def test_large_sequence(isa, rng, sizes, reverse, cell):
    a = cell.arguments(rng, sizes, np.float32)
    options = {"lengths": some_lengths(rng, *sizes[:2]), "reverse": reverse}
    *results, cache = cell.of(fastnn, "forward")(**a, **options)
    *truths, true_cache = cell.of(reference, "forward")(**wide(a), **options)
    d = [noise(x, rng) for x in results]
    gradients = cell.of(fastnn, "backward")(*d, cache)
    for result, truth in zip(results, truths, strict=True):
        close(result, truth, np.float32)
    close_all(gradients, cell.of(reference, "backward")(*d, true_cache), np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@each_cell
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_step(isa, rng, sizes, cell, dtype):
    a = cell.step_arguments(rng, sizes, dtype)
    *truths, true_cache = cell.of(reference, "step_forward")(**wide(a))
    *results, cache = cell.of(fastnn, "step_forward")(**a)
    alone = cell.of(fastnn, "step")(**a)
    alone = [alone] if cell.state == "h" else alone
    for result, other, truth in zip(results, alone, truths, strict=True):
        close(result, truth, dtype)
        np.testing.assert_array_equal(other, result)
    d = [noise(x, rng) for x in results]
    gradients = cell.of(fastnn, "step_backward")(*d, cache)
    close_all(gradients, cell.of(reference, "step_backward")(*d, true_cache), dtype)
    assert all(gradients[name].shape == x.shape for name, x in a.items())


@each_cell
@pytest.mark.parametrize("biases", [(), ("b_ih",), ("b_hh",)], ids=str)
def test_absent_biases(isa, rng, cell, biases):
    for part, a in [
        ("", cell.arguments(rng, (3, 2, 4, 5), np.float64, biases)),
        ("step_", cell.step_arguments(rng, (1, 2, 4, 5), np.float64, biases)),
    ]:
        *results, cache = cell.of(fastnn, f"{part}forward")(**a)
        *truths, true_cache = cell.of(reference, f"{part}forward")(**a)
        for result, truth in zip(results, truths, strict=True):
            close(result, truth, np.float64)
        gradients = cell.of(fastnn, f"{part}backward")(*truths, cache)
        close_all(gradients, cell.of(reference, f"{part}backward")(*truths, true_cache), np.float64)
        assert list(gradients) == [name for name, x in a.items() if x is not None]
        if part:
            np.testing.assert_allclose(cell.of(fastnn, "step")(**a), cell.of(reference, "step")(**a), atol=1e-13)


@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_by_differences(rng, cell, reverse):
    a = cell.arguments(rng, (4, 3, 2, 3))
    run = functools.partial(cell.of(fastnn, "forward"), lengths=[2, 4, 0], reverse=reverse)
    *results, cache = run(**a)
    d = [noise(x, rng) for x in results]
    gradients = cell.of(fastnn, "backward")(*d, cache)

    def value():
        return sum((result * dresult).sum() for result, dresult in zip(run(**a), d, strict=False))

    for name, x in a.items():
        for index in np.ndindex(x.shape):
            kept, difference = x[index], 0
            for sign in (1, -1):
                x[index] = kept + sign * 1e-6
                difference += sign * value()
            x[index] = kept
            assert abs(difference / 2e-6 - gradients[name][index]) < 1e-7, (name, index)


# --- what the arguments mean -----------------------------------------------------------------------------------------
@each_cell
def test_a_sequence_is_its_steps(isa, rng, cell):
    a = cell.arguments(rng, (5, 3, 4, 6))
    y, *final, _ = cell.of(fastnn, "forward")(**a)
    state = [a[f"{letter}0"] for letter in cell.state]
    for t in range(5):
        state = cell.of(fastnn, "step")(a["x"][t], *state, *(a[name] for name in WEIGHTS))
        state = [state] if cell.state == "h" else state
        close(y[t], state[0], np.float64)
    for result, truth in zip(final, state, strict=True):
        close(result, truth, np.float64)
    np.testing.assert_array_equal(final[0], y[-1])


def test_gru_matches_its_definition(rng):
    """The two forms differ in the candidate alone, and are one where h is 0 or w_hn diagonal with b_hn = 0."""
    cell = CELLS[3]
    a = cell.step_arguments(rng, (1, 2, 3, 4))
    before, after = (fastnn.gru_step(**a, reset_after=reset_after) for reset_after in (False, True))
    assert np.abs(before - after).max() > 1e-3
    a["w_hh"][8:], a["b_hh"][8:] = np.diag([1.0, 2, 3, 4]), 0
    np.testing.assert_allclose(
        fastnn.gru_step(**a, reset_after=False), fastnn.gru_step(**a, reset_after=True), rtol=1e-14
    )


@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_are_shorter_sequences(isa, rng, cell, reverse):
    a = cell.arguments(rng, (5, 4, 3, 6))
    lengths = [2, 0, 5, 3]
    run = functools.partial(cell.of(fastnn, "forward"), reverse=reverse)
    y, *final, cache = run(**a, lengths=lengths)
    dy = noise(y, rng)
    dx = cell.of(fastnn, "backward")(dy, *final, cache)["x"]
    for b, n in enumerate(lengths):
        its_y, *its_final, its_cache = run(**a | {"x": a["x"][:n, b : b + 1]} | initial(cell, a, slice(b, b + 1)))
        close(y[:n, b], its_y[:, 0], np.float64)
        for result, truth in zip(final, its_final, strict=True):
            close(result[b], truth[0], np.float64)
        assert not y[n:, b].any()
        its_dx = cell.of(fastnn, "backward")(dy[:n, b : b + 1], *its_final, its_cache)["x"]
        close(dx[:n, b], its_dx[:, 0], np.float64)
        assert not dx[n:, b].any()


def initial(cell, a, rows):
    return {f"{letter}0": a[f"{letter}0"][rows] for letter in cell.state}


@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_past_a_length_is_used(isa, rng, cell, reverse):
    a = cell.arguments(rng, (4, 3, 2, 5))
    lengths = np.array([1, 4, 0])
    past = np.arange(4)[:, None] >= lengths
    dy = rng.normal(size=(4, 3, 5))
    results = []
    for filler in (0, np.nan):
        a["x"][past] = dy[past] = filler
        *forward, cache = cell.of(fastnn, "forward")(**a, lengths=lengths, reverse=reverse)
        nones = [None] * len(cell.state)
        results.append([*forward, *cell.of(fastnn, "backward")(dy, *nones, cache).values()])
    for clean, filled in zip(*results, strict=True):
        np.testing.assert_array_equal(clean, filled)


@each_cell
def test_results_are_the_callers(rng, cell):
    a = cell.arguments(rng, (3, 2, 4, 5))
    y, *final, cache = cell.of(fastnn, "forward")(**a)
    dy, nones = noise(y, rng), [None] * len(final)
    before = cell.of(fastnn, "backward")(dy, *nones, cache)
    for x in final:
        x[:] = np.nan
    gradients = cell.of(fastnn, "backward")(dy, *nones, cache)
    for name in a:
        np.testing.assert_array_equal(gradients[name], before[name])
    for name, x in gradients.items():
        x[:] = np.nan
        assert all(np.isfinite(other).all() for key, other in before.items()), name
    fresh = cell.of(fastnn, "backward")(dy, *nones, cache)
    fresh["b_ih"][:] = np.nan
    np.testing.assert_array_equal(fresh["b_hh"], before["b_hh"])


@pytest.mark.kernels
@each_cell
def test_the_cache_holds_references(rng, cell):
    a = cell.arguments(rng, (3, 2, 4, 5))
    *_, cache = cell.of(fastnn, "forward")(**a)
    assert all(cache.operands[name] is x for name, x in a.items())
    a = cell.step_arguments(rng, (1, 2, 4, 5))
    *_, cache = cell.of(fastnn, "step_forward")(**a)
    assert all(cache.operands[name] is a[name] for name in WEIGHTS)
    assert np.may_share_memory(cache.operands["x"], a["x"])


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", DTYPES)
@each_cell
def test_a_row_does_not_depend_on_its_place(isa, rng, cell, dtype):
    a = cell.arguments(rng, (3, 29, 19, 45), dtype)
    y, *final, cache = cell.of(fastnn, "forward")(**a)
    dy = noise(y, rng)
    dx = cell.of(fastnn, "backward")(dy, *final, cache)["x"]
    for rows in (slice(3, 4), slice(1, 3), slice(5, 12), rng.permutation(29)):
        part = a | {"x": a["x"][:, rows]} | initial(cell, a, rows)
        its_y, *its_final, cache = cell.of(fastnn, "forward")(**part)
        np.testing.assert_array_equal(its_y, y[:, rows])
        its_dx = cell.of(fastnn, "backward")(dy[:, rows], *its_final, cache)["x"]
        np.testing.assert_array_equal(its_dx, dx[:, rows])


@contextlib.contextmanager
def threads(n):
    cpu = importlib.import_module("fastnn._kernels.cpu")
    before = cpu.get_num_threads()
    cpu.set_num_threads(n)
    yield
    cpu.set_num_threads(before)


@pytest.mark.kernels
@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_threads_and_need_change_nothing(rng, cell, reverse):
    a = cell.arguments(rng, (5, 67, 40, 300), np.float32)
    lengths = some_lengths(rng, 5, 67)
    forward, backward = cell.of(fastnn, "forward"), cell.of(fastnn, "backward")
    runs = []
    for n in (1, 2, 3):
        with threads(n):
            *results, cache = forward(**a, lengths=lengths, reverse=reverse)
            runs.append([*results, *backward(*results, cache).values()])
    for run in runs[1:]:
        for result, truth in zip(run, runs[0], strict=True):
            np.testing.assert_array_equal(result, truth)
    *results, cache = forward(**a, lengths=lengths, reverse=reverse, need_grad=False)
    assert cache is None
    for result, truth in zip(results, runs[0], strict=False):
        np.testing.assert_array_equal(result, truth)


# --- what arrays may be ----------------------------------------------------------------------------------------------
def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(x.tobytes(), np.uint8)
    return raw.view(x.dtype).reshape(x.shape)


@each_cell
@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        lambda x: x.repeat(2, -1)[..., ::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x[..., ::-1].copy()[..., ::-1],
        lambda x: x.astype(x.dtype.newbyteorder()),
        read_only,
        unaligned,
        np.ndarray.tolist,
    ],
    ids=["fortran", "strided", "backwards", "mirrored", "swapped", "read_only", "unaligned", "list"],
)
def test_layouts(isa, rng, cell, view):
    a = cell.arguments(rng, (4, 3, 2, 5))
    *results, cache = cell.of(fastnn, "forward")(**a)
    gradients = cell.of(fastnn, "backward")(*results, cache)
    *viewed, cache = cell.of(fastnn, "forward")(**{name: view(x) for name, x in a.items()})
    for result, truth in zip(viewed, results, strict=True):
        close(result, truth, np.float64)
    close_all(cell.of(fastnn, "backward")(*map(view, results), cache), gradients, np.float64)
    step = {name.removesuffix("0"): view(x[0] if name == "x" else x) for name, x in a.items()}
    h = cell.of(fastnn, "step")(**step)
    close(h if cell.state == "h" else h[0], results[0][0], np.float64)


@each_cell
def test_dtypes(rng, cell):
    a = cell.arguments(rng, (3, 2, 4, 5), np.float16)
    *results, cache = cell.of(fastnn, "forward")(**a)
    *truths, _ = cell.of(reference, "forward")(**wide(a))
    for result, truth in zip(results, truths, strict=True):
        assert result.dtype == np.float16
        np.testing.assert_allclose(result, truth, atol=2e-3)
    gradients = cell.of(fastnn, "backward")(*results, cache)
    assert {x.dtype for x in gradients.values()} == {np.dtype(np.float16)}
    step = {name.removesuffix("0"): x[0] if name == "x" else x for name, x in a.items()}
    assert np.asarray(cell.of(fastnn, "step")(**step)).dtype == np.float16
    assert np.asarray(cell.of(fastnn, "step")(**wide(step) | {"x": step["x"]})).dtype == np.float64
    integers = {name: x.astype(int) for name, x in step.items()}
    assert np.asarray(cell.of(fastnn, "step")(**integers)).dtype == np.float64


@each_cell
@pytest.mark.parametrize("value", [np.finfo(np.float32).max, np.inf, np.nan, 1e-45], ids=str)
def test_no_warning_escapes(isa, cell, rng, value):
    a = {name: np.full_like(x, value) for name, x in cell.arguments(rng, (2, 3, 4, 5), np.float32).items()}
    step = {name.removesuffix("0"): x[0] if name == "x" else x for name, x in a.items()}
    with np.errstate(all="raise"):
        *results, cache = cell.of(fastnn, "forward")(**a)
        cell.of(fastnn, "backward")(*results, cache)
        *results, cache = cell.of(fastnn, "step_forward")(**step)
        cell.of(fastnn, "step_backward")(*results, cache)
        cell.of(fastnn, "step")(**step)
        half = {name: np.full_like(x, 6e4, np.float16) for name, x in step.items()}
        cell.of(fastnn, "step")(**half)


def test_relu_selects(isa):
    """Where the slope is 0 the gradient is 0, even for dy infinite or NaN."""
    one = np.ones((1, 1))
    _, _, cache = fastnn.rnn_forward(-np.ones((1, 2, 1)), np.zeros((2, 1)), one, one, nonlinearity="relu")
    gradients = fastnn.rnn_backward(np.array([[[np.inf], [np.nan]]]), None, cache)
    assert not any(x.any() for x in gradients.values())


# --- bad input -------------------------------------------------------------------------------------------------------
@each_cell
def test_errors_name_the_argument(rng, cell):
    a = cell.arguments(rng, (3, 2, 4, 5))
    step = cell.step_arguments(rng, (1, 2, 4, 5))
    for name, x in a.items():
        short = name.removesuffix("0")
        for bad, error in [
            (x[..., None], ValueError),
            (x[..., :-1], ValueError),
            (x.astype(complex), TypeError),
            (x.astype(object), TypeError),
        ]:
            if name == "x" and bad.shape == (3, 2, 3):
                continue  # then it is w_ih that does not fit
            with pytest.raises(error, match=rf"^{name} has "):
                cell.of(fastnn, "forward")(**a | {name: bad})
            for part in ("step", "step_forward"):
                with pytest.raises(error, match=rf"^{short} has "):
                    cell.of(fastnn, part)(**step | {short: bad[0] if name == "x" else bad})


@each_cell
def test_errors_of_lengths_and_gradients(rng, cell):
    a = cell.arguments(rng, (3, 2, 4, 5))
    forward, backward = cell.of(fastnn, "forward"), cell.of(fastnn, "backward")
    for lengths in ([1], [[1, 2]], [4, 1], [-1, 1]):
        with pytest.raises(ValueError, match=r"^lengths"):
            forward(**a, lengths=lengths)
    with pytest.raises(TypeError, match=r"^lengths have dtype float64"):
        forward(**a, lengths=[1.0, 2.0])
    y, *final, cache = forward(**a)
    with pytest.raises(ValueError, match=r"^dy has shape \(2, 2, 5\), expected \(3, 2, 5\)"):
        backward(y[1:], *final, cache)
    with pytest.raises(TypeError, match=r"^dy has dtype complex128"):
        backward(y.astype(complex), *final, cache)
    *_, step_cache = cell.of(fastnn, "step_forward")(**cell.step_arguments(rng, (1, 2, 4, 5)))
    for k, letter in enumerate(cell.state):
        bad = [x[1:] if i == k else x for i, x in enumerate(final)]
        with pytest.raises(ValueError, match=rf"^d{letter}_n has shape \(1, 5\), expected \(2, 5\)"):
            backward(y, *bad, cache)
        with pytest.raises(ValueError, match=rf"^d{letter} has shape \(1, 5\), expected \(2, 5\)"):
            cell.of(fastnn, "step_backward")(*bad, step_cache)


@pytest.mark.kernels
@each_cell
def test_a_cache_is_for_its_own_backward(rng, cell):
    *results, cache = cell.of(fastnn, "forward")(**cell.arguments(rng, (3, 2, 4, 5)))
    for wrong, made in [(cache, f"of {cell.name}_forward"), (results[0], "a ndarray")]:
        with pytest.raises(TypeError, match=rf"^cache is {made}, expected that of {cell.name}_step_forward"):
            cell.of(fastnn, "step_backward")(*results[1:], wrong)


def test_nonlinearity_is_known(rng):
    for part in ("forward", "step", "step_forward"):
        cell = Cell("rnn", 1, "h", {"nonlinearity": "gelu"})
        a = (cell.arguments if part == "forward" else cell.step_arguments)(rng, (1, 2, 4, 5))
        with pytest.raises(ValueError, match=r"^nonlinearity is 'gelu', expected one of 'tanh', 'relu'"):
            cell.of(fastnn, part)(**a)


# ---- streams ------------------------------------------------------------------------------------------------

STREAMS = {
    "rnn": (1, {}),
    "rnn-relu": (1, {"nonlinearity": "relu"}),
    "lstm": (4, {}),
    "gru": (3, {}),
    "gru-reset-before": (3, {"reset_after": False}),
}


def stream_weights(gates, inputs, hidden, layers, bias=True, dtype=np.float64):
    rng, rows = np.random.default_rng(3), gates * hidden
    widths = [inputs, *[hidden] * (layers - 1)]
    shapes = [
        {"w_ih": (rows, n), "w_hh": (rows, hidden)} | ({"b_ih": rows, "b_hh": rows} if bias else {}) for n in widths
    ]
    return [{name: rng.standard_normal(shape).astype(dtype) for name, shape in layer.items()} for layer in shapes]


def open_stream(kind, F=fastnn, layers=1, residual=False, batch=2, inputs=3, hidden=5, bias=True, dtype=np.float64):
    gates, options = STREAMS[kind]
    weights = stream_weights(gates, inputs, hidden, layers, bias, dtype)
    return getattr(F, f"{kind.split('-')[0]}_stream")(weights, batch, residual=residual, **options), weights


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_stream_goes_on_as_a_sequence_does(isa, kind, dtype, rng):
    """On one layer bit for bit, whatever the sizes; also with more inputs than are packed at a time."""
    _, options = STREAMS[kind]
    cell = kind.split("-")[0]
    for batch, inputs, hidden, bias in ((1, 3, 5, True), (1, 64, 64, False), (7, 17, 33, True), (2, 600, 20, True)):
        stream, (weights,) = open_stream(kind, batch=batch, inputs=inputs, hidden=hidden, bias=bias, dtype=dtype)
        x = rng.standard_normal((4, batch, inputs)).astype(dtype)
        states = [np.zeros((batch, hidden), dtype)] * (2 if cell == "lstm" else 1)
        y, *final, _ = getattr(fastnn, f"{cell}_forward")(x, *states, **weights, **options)
        got = [stream(x_t).copy() for x_t in x]
        state = stream.state if cell == "lstm" else (stream.state,)
        if isa == "numpy":
            np.testing.assert_allclose(got, y, rtol=1e-5)
        else:
            np.testing.assert_array_equal(got, y)
            np.testing.assert_array_equal([array[0] for array in state], final)
        assert got[0].dtype == dtype


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("residual", [False, True])
def test_layers_of_a_stream(kind, residual, rng):
    stream, weights = open_stream(kind, layers=3, residual=residual)
    twin, _ = open_stream(kind, reference, layers=3, residual=residual)
    alone = [getattr(fastnn, f"{kind.split('-')[0]}_stream")([w], 2, **STREAMS[kind][1]) for w in weights]
    for x in rng.standard_normal((4, 2, 3)):
        y = alone[0](x)
        for layer in alone[1:]:
            y = y + layer(y) if residual else layer(y)
        np.testing.assert_allclose(stream(x), y, rtol=1e-13)
        np.testing.assert_allclose(twin(x), y, rtol=1e-11)


def test_the_state_of_a_stream(rng):
    for kind, n_states in (("rnn", 1), ("lstm", 2)):
        stream, _ = open_stream(kind, layers=2)
        x = rng.standard_normal((2, 3))
        first, after = stream(x).copy(), stream.state
        second = stream(x).copy()
        assert (first != second).any()
        stream.state = after
        np.testing.assert_array_equal(stream(x), second)
        stream.reset()
        assert not np.any(stream.state)
        np.testing.assert_array_equal(stream(x), first)
        stream(x)[:] = 7  # the array is the caller's until the next step
        stream.state = after
        np.testing.assert_array_equal(stream(x), second)
        assert np.shape(stream.state) == ((2,) if n_states == 2 else ()) + (2, 2, 5)
        before = stream.state
        wrong = np.zeros((1, 2, 5))
        with pytest.raises(ValueError, match=r"state has shape \(1, 2, 5\), expected \(2, 2, 5\)"):
            stream.state = (np.ones((2, 2, 5)), wrong) if n_states == 2 else wrong
        np.testing.assert_array_equal(stream.state, before)
    with pytest.raises(ValueError, match="state holds 3 arrays, expected 2"):
        stream.state = np.zeros((3, 2, 5))


def test_what_a_stream_takes(rng):
    stream, _ = open_stream("gru", dtype=np.float32)
    x = rng.integers(-3, 4, (2, 3))
    want = stream(x.astype(np.float32)).copy()
    for same in (x, x.astype(np.float64), x.astype(np.float16), x.astype(">f4"), np.asfortranarray(x, np.float32),
                 x.astype(np.float32)[::-1][::-1], x.tolist()):  # fmt: skip
        stream.reset()
        np.testing.assert_array_equal(stream(same), want)
    frozen = x.astype(np.float32)
    frozen.flags.writeable = False
    stream.reset()
    np.testing.assert_array_equal(stream(frozen), want)
    state = stream.state
    for wrong in ((2, 4), (1, 3), (3,), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"x has shape .*, expected \(2, 3\)"):
            stream(np.ones(wrong, np.float32))
    with pytest.raises(TypeError, match="x has dtype complex128"):
        stream(np.ones((2, 3), complex))
    np.testing.assert_array_equal(stream.state, state)
    with np.errstate(all="raise"):
        for value in (np.inf, np.nan, 3e38, 1e300):
            stream(np.full((2, 3), value))


def test_streams_refuse_nonsense():
    layer, other = stream_weights(3, 4, 5, 2)
    with pytest.raises(ValueError, match="layers are empty"):
        fastnn.gru_stream([])
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        fastnn.gru_stream([layer], 0)
    with pytest.raises(ValueError, match=r"w_ih of a layer on another has shape \(15, 4\), expected \(15, 5\)"):
        fastnn.gru_stream([layer, layer])
    with pytest.raises(ValueError, match=r"w_hh has shape \(15, 5\), expected \(4 \* H, H\)"):
        fastnn.lstm_stream([layer])
    with pytest.raises(ValueError, match=r"b_ih has shape \(5,\), expected \(15,\)"):
        fastnn.gru_stream([layer | {"b_ih": np.ones(5)}])
    with pytest.raises(ValueError, match="nonlinearity is 'gelu'"):
        fastnn.rnn_stream([layer], nonlinearity="gelu")
    with pytest.raises(TypeError, match="w_x"):
        fastnn.gru_stream([layer | {"w_x": 1}])
    with pytest.raises(ValueError, match="expected no size of 0"):
        fastnn.gru_stream(stream_weights(3, 0, 5, 1))
    assert fastnn.gru_stream([layer, other])(np.zeros((1, 4))).shape == (1, 5)


def test_a_stream_is_not_copied():
    with pytest.raises(TypeError, match="a stream cannot be copied or pickled"):
        copy.deepcopy(open_stream("gru")[0])


def test_a_stream_has_weights_of_its_own():
    stream, (weights,) = open_stream("lstm")
    x = np.ones((2, 3))
    want = stream(x).copy()
    for array in weights.values():
        array[...] = 0
    stream.reset()
    np.testing.assert_array_equal(stream(x), want)


@pytest.mark.kernels
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_allocates_nothing(kind):
    """No array and no object remains of a call, nor was there one meanwhile."""
    stream, _ = open_stream(kind, layers=2)
    x = np.ones((2, 3))
    y = stream(x)
    tracemalloc.start()
    try:
        stream(x)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()
        for _ in range(100):
            assert stream(x) is y
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current <= before[0] + 64  # the loop's own numbers
    assert peak <= before[1] + 128


@pytest.mark.kernels
def test_an_empty_stream_and_one_in_use():
    from fastnn._kernels import recurrent

    with pytest.raises(ValueError, match="stream is empty"):
        recurrent.Stream()(np.ones((1, 1)))
    stream, _ = open_stream("rnn")
    y, h, w, bias = np.zeros((2, 5)), np.zeros((1, 2, 5)), np.zeros((5, 8)), np.zeros(5)
    with pytest.raises(ValueError, match=r"expected .* a new stream"):
        recurrent.rnn_stream["double"](stream, y, h, [(w, bias)], False, 0)
    with pytest.raises(ValueError, match=r"bias has shape \(4, 1\), expected \(5, 1\)"):
        recurrent.rnn_stream["double"](recurrent.Stream(), y, h, [(w, bias[:4].copy())], False, 0)
    with pytest.raises(ValueError, match=r"w has shape \(5, 5\), expected \(5, 6\)"):
        recurrent.rnn_stream["double"](recurrent.Stream(), y, h, [(w[:, :5].copy(), bias)], False, 0)
