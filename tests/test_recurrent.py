"""Recurrent cells: values and gradients against the reference in float64, lengths, layouts, positions, errors."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import reference
from fastnn._backend import BACKEND

DTYPES = [np.float32, np.float64]
NONLINEARITIES = ["tanh", "relu"]
NAMES = ["x", "h0", "w_ih", "w_hh", "b_ih", "b_hh"]
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


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def arguments(rng, sizes, dtype=np.float64, biases=("b_ih", "b_hh")):
    """Return the arguments of rnn_forward by name, None for the biases left out."""
    steps, batch, inputs, hidden = sizes
    shapes = [(steps, batch, inputs), (batch, hidden), (hidden, inputs), (hidden, hidden), (hidden,), (hidden,)]
    scale = [1, 1, *[max(hidden, 1) ** -0.5] * 4]
    made = [(rng.normal(size=shape) * s).astype(dtype) for shape, s in zip(shapes, scale, strict=True)]
    return {name: None if name[0] == "b" and name not in biases else x for name, x in zip(NAMES, made, strict=True)}


def step_arguments(*args, **keywords):
    a = arguments(*args, **keywords)
    return {name.removesuffix("0"): x[0] if name == "x" else x for name, x in a.items()}


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
    assert results.keys() == truths.keys()
    for name, truth in truths.items():
        close(results[name], truth, dtype)


def some_lengths(rng, steps, batch):
    """Return lengths in no order, 0 and T among them where there is room."""
    lengths = rng.integers(0, steps + 1, size=batch)
    lengths[:2] = [0, steps][:batch]
    return rng.permutation(lengths)


# --- values and gradients --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sequence(isa, rng, sizes, nonlinearity, dtype):
    for reverse, lengths in itertools.product((False, True), (None, some_lengths(rng, *sizes[:2]))):
        a = arguments(rng, sizes, dtype)
        options = {"lengths": lengths, "reverse": reverse, "nonlinearity": nonlinearity}
        y, h_n, cache = fastnn.rnn_forward(**a, **options)
        true_y, true_h, true_cache = reference.rnn_forward(**wide(a), **options)
        close(y, true_y, dtype)
        close(h_n, true_h, dtype)
        dy, dh_n = rng.normal(size=y.shape).astype(dtype), rng.normal(size=h_n.shape).astype(dtype)
        for gradients in [(dy, dh_n), (dy, None), (None, dh_n), (None, None)]:
            result = fastnn.rnn_backward(*gradients, cache)
            close_all(result, reference.rnn_backward(*gradients, true_cache), dtype)
            assert all(result[name].shape == a[name].shape for name in NAMES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_step(isa, rng, sizes, nonlinearity, dtype):
    a = step_arguments(rng, (1, *sizes[1:]), dtype)
    truth, true_cache = reference.rnn_step_forward(**wide(a), nonlinearity=nonlinearity)
    h, cache = fastnn.rnn_step_forward(**a, nonlinearity=nonlinearity)
    close(h, truth, dtype)
    np.testing.assert_array_equal(fastnn.rnn_step(**a, nonlinearity=nonlinearity), h)
    dh = rng.normal(size=h.shape).astype(dtype)
    close_all(fastnn.rnn_step_backward(dh, cache), reference.rnn_step_backward(dh, true_cache), dtype)


@pytest.mark.parametrize("biases", [(), ("b_ih",), ("b_hh",)], ids=str)
def test_absent_biases(isa, rng, biases):
    a = arguments(rng, (3, 2, 4, 5), biases=biases)
    y, h_n, cache = fastnn.rnn_forward(**a)
    truth = reference.rnn_forward(**a)
    close(y, truth[0], np.float64)
    close_all(fastnn.rnn_backward(y, h_n, cache), reference.rnn_backward(y, h_n, truth[2]), np.float64)
    a = step_arguments(rng, (1, 2, 4, 5), biases=biases)
    close(fastnn.rnn_step(**a), reference.rnn_step(**a), np.float64)
    gradients = fastnn.rnn_step_backward(a["h"], fastnn.rnn_step_forward(**a)[1])
    assert gradients.keys() == {name for name, x in a.items() if x is not None}


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_by_differences(rng, reverse, nonlinearity):
    a = arguments(rng, (4, 3, 2, 5))
    options = {"lengths": [2, 4, 0], "reverse": reverse, "nonlinearity": nonlinearity}
    y, h_n, cache = fastnn.rnn_forward(**a, **options)
    dy, dh_n = rng.normal(size=y.shape), rng.normal(size=h_n.shape)
    gradients = fastnn.rnn_backward(dy, dh_n, cache)

    def value():
        y, h_n, _ = fastnn.rnn_forward(**a, **options)
        return (y * dy).sum() + (h_n * dh_n).sum()

    for name, x in a.items():
        for index in np.ndindex(x.shape):
            kept, difference = x[index], 0
            for sign in (1, -1):
                x[index] = kept + sign * 1e-6
                difference += sign * value()
            x[index] = kept
            assert abs(difference / 2e-6 - gradients[name][index]) < 1e-7, (name, index)


# --- what the arguments mean -----------------------------------------------------------------------------------------
def test_a_sequence_is_its_steps(isa, rng):
    a = arguments(rng, (5, 3, 4, 6))
    y, h_n, _ = fastnn.rnn_forward(**a)
    h = a["h0"]
    for t in range(5):
        h = fastnn.rnn_step(a["x"][t], h, *list(a.values())[2:])
        close(y[t], h, np.float64)
    np.testing.assert_array_equal(h_n, y[-1])


def test_lengths_are_shorter_sequences(isa, rng):
    a = arguments(rng, (5, 4, 3, 6))
    lengths = [2, 0, 5, 3]
    for reverse in (False, True):
        y, h_n, cache = fastnn.rnn_forward(**a, lengths=lengths, reverse=reverse)
        dy = rng.normal(size=y.shape)
        dx = fastnn.rnn_backward(dy, h_n, cache)["x"]
        for b, n in enumerate(lengths):
            one = a | {"x": a["x"][:n, b : b + 1], "h0": a["h0"][b : b + 1]}
            its_y, its_h, its_cache = fastnn.rnn_forward(**one, reverse=reverse)
            close(y[:n, b], its_y[:, 0], np.float64)
            close(h_n[b], its_h[0], np.float64)
            assert not y[n:, b].any()
            its_dx = fastnn.rnn_backward(dy[:n, b : b + 1], h_n[b : b + 1], its_cache)["x"]
            close(dx[:n, b], its_dx[:, 0], np.float64)
            assert not dx[n:, b].any()


@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_past_a_length_is_used(isa, rng, reverse):
    a = arguments(rng, (4, 3, 2, 5))
    lengths = np.array([1, 4, 0])
    past = np.arange(4)[:, None] >= lengths
    dy = rng.normal(size=(4, 3, 5))
    results = []
    for filler in (0, np.nan):
        a["x"][past] = dy[past] = filler
        y, h_n, cache = fastnn.rnn_forward(**a, lengths=lengths, reverse=reverse)
        results.append([y, h_n, *fastnn.rnn_backward(dy, None, cache).values()])
    for clean, filled in zip(*results, strict=True):
        np.testing.assert_array_equal(clean, filled)


def test_h_n_is_the_callers(rng):
    a = arguments(rng, (3, 2, 4, 5))
    _, h_n, cache = fastnn.rnn_forward(**a)
    dy = rng.normal(size=(3, 2, 5))
    before = fastnn.rnn_backward(dy, None, cache)
    h_n[:] = np.nan
    gradients = fastnn.rnn_backward(dy, None, cache)
    for name in NAMES:
        np.testing.assert_array_equal(gradients[name], before[name])
    gradients["b_ih"] += 1
    np.testing.assert_array_equal(gradients["b_hh"], before["b_hh"])


@pytest.mark.kernels
def test_the_cache_holds_references(rng):
    a = arguments(rng, (3, 2, 4, 5))
    _, _, cache = fastnn.rnn_forward(**a)
    assert all(cache.operands[name] is a[name] for name in NAMES)
    step = step_arguments(rng, (1, 2, 4, 5))
    h, cache = fastnn.rnn_step_forward(**step)
    assert cache.y is h
    assert all(cache.operands[name] is step[name] for name in step)


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_its_place(isa, rng, dtype):
    a = arguments(rng, (3, 29, 19, 45), dtype)
    y, h_n, cache = fastnn.rnn_forward(**a)
    dy = rng.normal(size=y.shape).astype(dtype)
    dx = fastnn.rnn_backward(dy, h_n, cache)["x"]
    for rows in (slice(3, 4), slice(1, 3), slice(5, 12), rng.permutation(29)):
        part = a | {"x": a["x"][:, rows], "h0": a["h0"][rows]}
        its_y, _, cache = fastnn.rnn_forward(**part)
        np.testing.assert_array_equal(its_y, y[:, rows])
        np.testing.assert_array_equal(fastnn.rnn_backward(dy[:, rows], h_n[rows], cache)["x"], dx[:, rows])


# --- what arrays may be ----------------------------------------------------------------------------------------------
def test_layouts(isa, rng):
    a = arguments(rng, (4, 3, 2, 5))
    y, h_n, cache = fastnn.rnn_forward(**a)
    gradients = fastnn.rnn_backward(y, h_n, cache)
    for view in (np.asfortranarray, lambda x: x.repeat(2, -1)[..., ::2], lambda x: x[::-1].copy()[::-1], read_only):
        b = {name: view(x) for name, x in a.items()}
        its_y, _, cache = fastnn.rnn_forward(**b)
        close(its_y, y, np.float64)
        close_all(fastnn.rnn_backward(view(y), view(h_n), cache), gradients, np.float64)
        b = {name.removesuffix("0"): view(x[0] if name == "x" else x) for name, x in a.items()}
        close(fastnn.rnn_step(**b), y[0], np.float64)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def test_dtypes(rng):
    a = arguments(rng, (3, 2, 4, 5), np.float16)
    y, h_n, cache = fastnn.rnn_forward(**a)
    assert y.dtype == h_n.dtype == np.float16
    truth = reference.rnn_forward(**wide(a))[0]
    np.testing.assert_allclose(y, truth, atol=2e-3)
    assert {x.dtype for x in fastnn.rnn_backward(y, None, cache).values()} == {np.dtype(np.float16)}
    assert fastnn.rnn_step([[1, 2]], [[0]], [[1, 0]], [[1]], nonlinearity="relu").dtype == np.float64
    mixed = a | {"x": a["x"].astype(np.float64)}
    assert fastnn.rnn_forward(**mixed)[0].dtype == np.float64
    swapped = {name: x.astype(x.dtype.newbyteorder()) for name, x in wide(a).items()}
    close(fastnn.rnn_forward(**swapped)[0], truth, np.float64)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_no_warning_escapes(isa, nonlinearity):
    big = np.finfo(np.float32).max
    for value in (big, np.inf, np.nan, 1e-45):
        a = [np.full(shape, value, np.float32) for shape in ((2, 3, 4), (3, 5), (5, 4), (5, 5), (5,), (5,))]
        with np.errstate(all="raise"):
            y, h_n, cache = fastnn.rnn_forward(*a, nonlinearity=nonlinearity)
            fastnn.rnn_backward(y, h_n, cache)
            h, cache = fastnn.rnn_step_forward(a[0][0], *a[1:], nonlinearity=nonlinearity)
            fastnn.rnn_step_backward(h, cache)


def test_relu_selects(isa):
    """Where the slope is 0 the gradient is 0, even for dy infinite or NaN."""
    one = np.ones((1, 1))
    _, _, cache = fastnn.rnn_forward(-np.ones((1, 2, 1)), np.zeros((2, 1)), one, one, nonlinearity="relu")
    gradients = fastnn.rnn_backward(np.array([[[np.inf], [np.nan]]]), None, cache)
    assert not any(x.any() for x in gradients.values())


# --- bad input -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_errors_name_the_argument(rng, name):
    a = arguments(rng, (3, 2, 4, 5))
    step = step_arguments(rng, (1, 2, 4, 5))
    for bad, error in [
        (a[name][..., None], ValueError),
        (a[name][..., :-1], ValueError),
        (a[name].astype(complex), TypeError),
        (a[name].astype(object), TypeError),
    ]:
        if name == "x" and bad.shape == (3, 2, 3):
            continue  # then it is w_ih that does not fit
        with pytest.raises(error, match=rf"^{name} has "):
            fastnn.rnn_forward(**a | {name: bad})
        name_of_step = name.removesuffix("0")
        bad = bad[0] if name == "x" else bad
        for function in (fastnn.rnn_step, fastnn.rnn_step_forward):
            with pytest.raises(error, match=rf"^{name_of_step} has "):
                function(**step | {name_of_step: bad})


def test_other_errors(rng):
    a = arguments(rng, (3, 2, 4, 5))
    step = step_arguments(rng, (1, 2, 4, 5))
    with pytest.raises(ValueError, match="nonlinearity is 'gelu'"):
        fastnn.rnn_forward(**a, nonlinearity="gelu")
    with pytest.raises(ValueError, match="nonlinearity is 'gelu'"):
        fastnn.rnn_step(**step, nonlinearity="gelu")
    for lengths in ([1], [[1, 2]], [4, 1], [-1, 1]):
        with pytest.raises(ValueError, match=r"^lengths"):
            fastnn.rnn_forward(**a, lengths=lengths)
    with pytest.raises(TypeError, match=r"^lengths have dtype float64"):
        fastnn.rnn_forward(**a, lengths=[1.0, 2.0])
    y, h_n, cache = fastnn.rnn_forward(**a)
    with pytest.raises(ValueError, match=r"^dy has shape \(2, 2, 5\), expected \(3, 2, 5\)"):
        fastnn.rnn_backward(y[1:], None, cache)
    with pytest.raises(ValueError, match=r"^dh_n has shape \(1, 5\), expected \(2, 5\)"):
        fastnn.rnn_backward(y, h_n[1:], cache)
    with pytest.raises(TypeError, match=r"^dy has dtype complex128"):
        fastnn.rnn_backward(y.astype(complex), None, cache)
    _, cache_of_step = fastnn.rnn_step_forward(**step)
    with pytest.raises(ValueError, match=r"^dh has shape"):
        fastnn.rnn_step_backward(h_n[1:], cache_of_step)
    if BACKEND == "compiled":
        for backward, wrong in ((fastnn.rnn_backward, (y, None, y)), (fastnn.rnn_step_backward, (h_n, cache))):
            with pytest.raises(TypeError, match=r"^cache is a "):
                backward(*wrong)
