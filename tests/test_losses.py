"""The softmax family and cross entropy: values, gradients, edges, layouts, errors."""

import itertools
import math

import numpy as np
import pytest

import fastnn
from fastnn import reference
from fastnn._backend import BACKEND

DTYPES = [np.float32, np.float64]
CLASSES = [1, 2, 3, 9, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000]
ROWS = [0, 1, 2, 31, 32, 33, 70]
INF, NAN = np.inf, np.nan

# name, arguments that follow from logits, tolerance in units of the dtype's precision: relative, absolute.
# exp turns the rounding of x - max, half a unit of its size, into a relative error: hence the first numbers.
CASES = [
    ("softmax", lambda x, rng: (x,), 16, 1),
    ("log_softmax", lambda x, rng: (x,), 2, 6),
    ("logsumexp", lambda x, rng: (x,), 2, 4),
    ("softmax_backward", lambda x, rng: (noise(x, rng), reference.softmax(x)), 2, 6),
    ("log_softmax_backward", lambda x, rng: (noise(x, rng), reference.log_softmax(x)), 4, 120),
    ("masked_softmax", lambda x, rng: (x, some(x, rng)), 16, 1),
    ("masked_softmax_backward", lambda x, rng: (noise(x, rng), reference.softmax(x), some(x, rng)), 2, 8),
    ("ragged_softmax", lambda x, rng: (x, runs(x, rng)), 16, 1),
    ("ragged_softmax_backward", lambda x, rng: (noise(x, rng), reference.softmax(x), runs(x, rng)), 2, 8),
]


def noise(like, rng):
    return rng.normal(size=like.shape).astype(like.dtype)


def some(like, rng):
    """Return a mask, of which some rows are wholly False."""
    return (rng.random(like.shape) < 0.7) & (rng.random((len(like), 1)) < 0.9)


def runs(like, rng):
    """Return lengths of all sizes, 0 among them, that add up to the columns."""
    n = like.shape[1]
    cuts = np.sort(rng.integers(0, n + 1, n // 20 + rng.integers(4)))
    return np.diff(cuts, prepend=0, append=n)


def agree(result, expected, dtype):
    """Compare bit for bit, which the twin cannot promise: NumPy's sums depend on the layout."""
    if BACKEND == "compiled":
        np.testing.assert_array_equal(result, expected)
    else:
        close(result, expected, dtype, 8, 8)


def close(result, truth, dtype, relative, absolute):
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(result, truth, rtol=relative * eps, atol=absolute * eps)


# --- values ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "arguments", "relative", "absolute"), CASES, ids=[case[0] for case in CASES])
def test_values(isa, rng, name, arguments, relative, absolute, dtype):
    for n, rows in itertools.product(CLASSES, ROWS):
        x = (4 * rng.normal(size=(rows, n))).astype(dtype)
        args = arguments(x, rng)
        result = getattr(fastnn, name)(*args)
        truth = getattr(reference, name)(*(a.astype(np.float64) if a.dtype == dtype else a for a in args))
        assert result.dtype == dtype
        assert result.shape == truth.shape
        close(result, truth, dtype, relative, absolute)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_classes_round_off_no_more_than_few(isa, rng, dtype):
    x = rng.random(50_000).astype(dtype)
    truth = math.log(math.fsum(np.exp(x.astype(np.float64))))
    close(fastnn.logsumexp(x), truth, dtype, 1, 0)
    close(fastnn.softmax(x).sum(dtype=np.float64), 1, dtype, 4, 0)


def test_far_terms_may_vanish_but_not_blur(isa):
    x = np.array([[0, -80, -87, -88, -100, -1e30, -3e38]], np.float32)
    y = fastnn.softmax(np.hstack([x, np.full((1, 60), -500, np.float32)]))[0]
    np.testing.assert_allclose(y[:3], np.exp(np.float64([0, -80, -87])), rtol=1e-6)
    assert np.all(y[3:] < 2.0**-125)


# --- rows of which a part counts, rows made of runs -----------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 70])
def test_what_is_masked_makes_no_difference(isa, rng, n, dtype):
    x, dy = rng.normal(size=(2, 40, n)).astype(dtype)
    mask = some(x, rng)
    mask[0], mask[1] = True, False
    y = fastnn.masked_softmax(x, mask)
    gradient = fastnn.masked_softmax_backward(dy, y, mask)
    agree(y[0], fastnn.softmax(x[0]), dtype)
    assert not y[~mask].any()
    assert not gradient[~mask].any()
    for junk in INF, -INF, NAN:
        x[~mask] = dy[~mask] = junk
        np.testing.assert_array_equal(fastnn.masked_softmax(x, mask), y)
        np.testing.assert_array_equal(fastnn.masked_softmax_backward(dy, y, mask), gradient)


def test_what_counts_is_as_in_softmax(isa):
    x = np.array([[NAN, 1, 2, 9], [INF, 1, 2, 9], [-INF, -INF, -INF, 9], [-INF, 0, 0, 9]])
    y = fastnn.masked_softmax(x, [True, True, True, False])
    np.testing.assert_array_equal(y, [[NAN, NAN, NAN, 0], [NAN, NAN, NAN, 0], [0, 0, 0, 0], [0, 0.5, 0.5, 0]])


@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 1), (4, 5), (3, 1, 1), (1, 4, 5), (3, 4, 5)])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_masks_broadcast(rng, shape, axis):
    x, dy = rng.normal(size=(2, 3, 4, 5))
    mask = rng.random(shape) < 0.6
    whole = np.broadcast_to(mask, x.shape)
    y = fastnn.masked_softmax(x, mask, axis)
    close(y, fastnn.masked_softmax(x, whole.copy(), axis), np.float64, 2, 0)
    close(y, reference.masked_softmax(x, mask, axis), np.float64, 8, 1)
    dx = fastnn.masked_softmax_backward(dy, y, mask, axis)
    close(dx, reference.masked_softmax_backward(dy, y, whole, axis), np.float64, 8, 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_is_a_row(isa, rng, dtype):
    """Bit for bit, whatever stands beside it."""
    for lengths in [], [0], [1], [64, 65], [3, 0, 70, 64, 1, 0, 7, 33], [2] * 100, [1000, 5, 500], list(range(90)):
        x, dy = (4 * rng.normal(size=(2, 3, sum(lengths)))).astype(dtype)
        y = fastnn.ragged_softmax(x, np.array(lengths, int))
        dx = fastnn.ragged_softmax_backward(dy, y, np.array(lengths, int))
        start = 0
        for length in lengths:
            run = slice(start, start := start + length)
            agree(y[:, run], fastnn.softmax(x[:, run].copy()), dtype)
            agree(dx[:, run], fastnn.softmax_backward(dy[:, run].copy(), y[:, run].copy()), dtype)
        agree(fastnn.ragged_softmax(x.T, np.array(lengths, int), 0).T, y, dtype)
        agree(fastnn.ragged_softmax(x.copy(), np.array(lengths, int), out=x), y, dtype)


def test_padded_and_packed_sequences_agree(rng):
    lengths = np.array([3, 0, 5, 1])
    counts = np.arange(5) < lengths[:, None]
    x = rng.normal(size=(4, 5))
    agree(fastnn.masked_softmax(x, counts)[counts], fastnn.ragged_softmax(x[counts], lengths), np.float64)


# --- cross entropy ---------------------------------------------------------------------------------------------------
SHAPES = [((7,), 0), ((5, 7), -1), ((40, 10), 1), ((3, 40), 1), ((4, 3, 5), 1), ((6, 2, 3), 0), ((2, 35, 3), 1)]
OPTIONS = [
    dict(zip(("weighted", "ignore", "label_smoothing", "reduction", "kind"), values, strict=True))
    for values in itertools.product(
        (False, True), (False, True), (0.0, 0.1, 1.0), ("mean", "sum", "none"), ("index", "probabilities")
    )
    if not (values[1] and values[4] == "probabilities")
]


def problem(rng, shape, axis, dtype, weighted, ignore, label_smoothing, reduction, kind):
    """Make logits, targets and keyword arguments."""
    classes = shape[axis]
    logits = (3 * rng.normal(size=shape)).astype(dtype)
    rows = np.moveaxis(logits, axis, -1).shape[:-1]
    if kind == "index":
        targets = rng.integers(0, classes, rows)
    else:
        targets = np.moveaxis(rng.dirichlet(np.ones(classes), rows), -1, axis).astype(dtype)
    keywords = {"axis": axis, "label_smoothing": label_smoothing, "reduction": reduction}
    if weighted:
        keywords["weight"] = rng.random(classes).astype(dtype)
    if ignore:
        keywords["ignore_index"] = -100
        targets = np.where(rng.random(rows) < 0.3, -100, targets)
    return logits, targets, keywords


def name_of(options):
    return "-".join(str(v) for v in options.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_cross_entropy_values(isa, rng, options, dtype):
    for shape, axis in SHAPES:
        logits, targets, keywords = problem(rng, shape, axis, dtype, **options)
        loss, gradient = fastnn.softmax_cross_entropy(logits, targets, **keywords)
        truth, slope = reference.softmax_cross_entropy(logits.astype(np.float64), targets, **keywords)
        if options["reduction"] == "none":
            assert loss.dtype == dtype
            assert loss.shape == truth.shape
        else:
            assert type(loss) is float
        assert gradient.dtype == dtype
        close(loss, truth, dtype, 8, 8)
        close(gradient, slope, dtype, 16, 4)
        again, nothing = fastnn.softmax_cross_entropy(logits, targets, need_grad=False, **keywords)
        assert nothing is None
        np.testing.assert_array_equal(again, loss)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_cross_entropy_sizes(isa, rng, kind, dtype):
    for n, rows, weighted in itertools.product(CLASSES, ROWS, (False, True)):
        options = {"weighted": weighted, "ignore": False, "label_smoothing": 0.0, "reduction": "none", "kind": kind}
        logits, targets, keywords = problem(rng, (rows, n), -1, dtype, **options)
        loss, gradient = fastnn.softmax_cross_entropy(logits, targets, **keywords)
        truth, slope = reference.softmax_cross_entropy(logits.astype(np.float64), targets, **keywords)
        close(loss, truth, dtype, 8, 8)
        close(gradient, slope, dtype, 16, 4)


SMALL = [((3, 4), -1), ((2, 34), -1), ((2, 3, 2), 1), ((5,), 0)]


@pytest.mark.parametrize(("shape", "axis"), SMALL)
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_cross_entropy_gradient_by_differences(rng, options, shape, axis):
    logits, targets, keywords = problem(rng, shape, axis, np.float64, **options)
    _, gradient = fastnn.softmax_cross_entropy(logits, targets, **keywords)
    value = lambda: np.sum(fastnn.softmax_cross_entropy(logits, targets, need_grad=False, **keywords)[0])
    np.testing.assert_allclose(gradient, differences(value, logits), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("shape", "axis"), SMALL)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_backward_by_differences(isa, rng, name, shape, axis):
    f, backward = getattr(fastnn, name), getattr(fastnn, f"{name}_backward")
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    dx = backward(dy, f(x, axis), axis)
    np.testing.assert_allclose(dx, differences(lambda: np.sum(dy * f(x, axis)), x), rtol=1e-6, atol=1e-8)


def differences(value, x, step=1e-5):
    """Return the gradient of value() in x, element by element, by central differences."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        at = x[i]
        x[i] = at + step
        above = value()
        x[i] = at - step
        gradient[i] = (above - value()) / (2 * step)
        x[i] = at
    return gradient


def test_the_reference_by_hand():
    """Logits log(1), log(2), log(5) have the probabilities 1/8, 1/4, 5/8."""
    for functions in (fastnn, reference):
        z = np.log([[1.0, 2, 5], [4, 2, 2]])
        p = np.array([[0.125, 0.25, 0.625], [0.5, 0.25, 0.25]])
        np.testing.assert_allclose(functions.softmax(z), p, rtol=1e-15)
        np.testing.assert_allclose(functions.log_softmax(z), np.log(p), rtol=1e-14)
        np.testing.assert_allclose(functions.logsumexp(z), [math.log(8), math.log(8)], rtol=1e-15)
        loss = functions.softmax_cross_entropy

        value, gradient = loss(z, [1, 0])
        assert value == pytest.approx((math.log(4) + math.log(2)) / 2, rel=1e-15)
        np.testing.assert_allclose(gradient, [[1 / 16, -3 / 8, 5 / 16], [-1 / 4, 1 / 8, 1 / 8]], rtol=1e-14)

        # weights 3 and 1 of the two targets: divided by 4
        value, gradient = loss(z, [1, 0], weight=[1.0, 3, 7])
        assert value == pytest.approx((3 * math.log(4) + math.log(2)) / 4, rel=1e-15)
        np.testing.assert_allclose(gradient, [[3 / 32, -9 / 16, 15 / 32], [-1 / 8, 1 / 16, 1 / 16]], rtol=1e-14)

        # the second row does not count
        value, gradient = loss(z, [1, 2], ignore_index=2)
        assert value == pytest.approx(math.log(4), rel=1e-15)
        np.testing.assert_allclose(gradient, [[1 / 8, -3 / 4, 5 / 8], [0, 0, 0]], rtol=1e-14)

        # 0.3 / 3 on each class, the rest on the target
        value, gradient = loss(z, [1, 0], label_smoothing=0.3, reduction="none")
        first = 0.1 * math.log(8) + 0.8 * math.log(4) + 0.1 * math.log(1.6)
        np.testing.assert_allclose(value, [first, 0.8 * math.log(2) + 0.2 * math.log(4)], rtol=1e-14)
        np.testing.assert_allclose(gradient, [[0.025, -0.55, 0.525], [-0.3, 0.15, 0.15]], rtol=1e-13)

        # smoothing meets weights: b = (0.1, 2.4, 0.7), which sum to 3.2; divided by the target's weight
        value, gradient = loss(z[:1], [1], weight=[1.0, 3, 7], label_smoothing=0.3)
        b = np.array([0.1, 2.4, 0.7])
        assert value == pytest.approx(-np.sum(b * np.log(p[0])) / 3, rel=1e-14)
        np.testing.assert_allclose(gradient, [(3.2 * p[0] - b) / 3], rtol=1e-13)

        # probabilities: divided by the number of rows, whatever the weights
        value, gradient = loss(z, [[0.5, 0.5, 0], [0, 0, 1]], weight=[1.0, 3, 7])
        assert value == pytest.approx((0.5 * math.log(8) + 1.5 * math.log(4) + 7 * math.log(4)) / 2, rel=1e-14)
        b = np.array([[0.5, 1.5, 0], [0, 0, 7]])
        np.testing.assert_allclose(gradient, (b.sum(1, keepdims=True) * p - b) / 2, rtol=1e-13)


# --- losses of single numbers ----------------------------------------------------------------------------------------
# name, keywords, targets made from normal numbers
ELEMENTS = [
    ("sigmoid_cross_entropy", {}, lambda t: t > 0),
    ("sigmoid_cross_entropy", {}, lambda t: 1 / (1 + np.exp(-t))),
    ("sigmoid_cross_entropy", {"pos_weight": np.float32(3)}, lambda t: 1 / (1 + np.exp(-t))),
    ("sigmoid_cross_entropy", {"weight": np.float32(0.5)}, lambda t: t > 0),
    ("mse_loss", {}, np.array),
    ("l1_loss", {}, np.array),
    ("huber_loss", {}, np.array),
    ("huber_loss", {"delta": 0.3}, np.array),
    ("smooth_l1_loss", {"beta": 3.0}, np.array),
    ("smooth_l1_loss", {"beta": 0}, np.array),
    ("hinge_loss", {}, lambda t: np.where(t > 0, 1, -1)),
    ("kl_div", {}, lambda t: np.where(t > 1, 0, np.exp(t))),
    ("kl_div", {"log_target": True}, lambda t: t - 3),
]
ELEMENT_IDS = [name + "".join(f"-{key}" for key in keywords) for name, keywords, _ in ELEMENTS]
element_losses = pytest.mark.parametrize(("name", "keywords", "make"), ELEMENTS, ids=ELEMENT_IDS)


@pytest.mark.parametrize("dtype", DTYPES)
@element_losses
def test_element_losses(isa, rng, name, keywords, make, dtype):
    for shape in [(), (0,), (1,), (63,), (64,), (65,), (3, 7, 11), (1000,), (300_000,)]:
        x, t = (3 * rng.normal(size=shape)).astype(dtype), np.asarray(make(rng.normal(size=shape))).astype(dtype)
        for reduction in ("mean", "sum", "none", "batchmean")[: 4 if name == "kl_div" else 3]:
            options = {"reduction": reduction, **keywords}
            loss, gradient = getattr(fastnn, name)(x, t, **options)
            truth, slope = getattr(reference, name)(x.astype(np.float64), t.astype(np.float64), **options)
            assert gradient.dtype == dtype
            assert gradient.shape == x.shape
            if reduction == "none":
                assert loss.dtype == dtype
                assert loss.shape == x.shape
            else:
                assert type(loss) is float
            terms = np.abs(getattr(reference, name)(x, t, **keywords, reduction="none")[0].astype(np.float64))
            size = {"mean": x.size, "batchmean": len(x) if x.ndim else 1}.get(reduction, 1)
            sums = terms.sum() / max(size, 1) if reduction != "none" else 1
            close(loss, truth, dtype, 16, 16 * max(sums, 1))  # of log(t) - x, and 1 - x t, which cancel
            close(gradient, slope, dtype, 4, 1)
            again, nothing = getattr(fastnn, name)(x, t, need_grad=False, **options)
            assert nothing is None
            np.testing.assert_array_equal(again, loss)


@element_losses
def test_element_losses_by_differences(isa, rng, name, keywords, make):
    t = make(rng.normal(size=(4, 5)))
    f = lambda x: getattr(fastnn, name)(x, t, **keywords)
    assert fastnn.gradcheck(f, 3 * rng.normal(size=(4, 5))).error < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_cross_entropy_keeps_what_is_small(isa, dtype):
    z = np.array([-80, -40, -20, 20, 40, 80], dtype)
    t = (z > 0).astype(dtype)
    loss, gradient = fastnn.sigmoid_cross_entropy(z, t, reduction="none")
    small = np.exp(-np.abs(z.astype(np.float64)))
    close(loss, np.log1p(small), dtype, 4, 0)
    close(gradient, -np.sign(z) * small / (1 + small), dtype, 4, 0)


def test_factors_broadcast(rng):
    z, t = rng.normal(size=(2, 3, 4)), rng.random((2, 3, 4))
    positive, weight = rng.random(4), rng.random((3, 1))
    loss, gradient = fastnn.sigmoid_cross_entropy(z, t, pos_weight=positive, weight=weight, reduction="none")
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(loss, -weight * (positive * t * np.log(p) + (1 - t) * np.log(1 - p)), rtol=1e-13)
    np.testing.assert_allclose(gradient, weight * ((1 - t) * p - positive * t * (1 - p)), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_element_losses_at_the_edges(isa, dtype):
    tiny, none = np.finfo(dtype).smallest_subnormal, {"reduction": "none"}
    with np.errstate(all="raise"):
        loss, gradient = fastnn.sigmoid_cross_entropy(
            np.array([INF, -INF, INF, -INF, NAN, NAN, -3e38, 3e38], dtype), [1, 0, 0, 1, 0, 1, 0, 1], **none
        )
        np.testing.assert_array_equal(loss, [0, 0, INF, INF, NAN, NAN, 0, 0])
        np.testing.assert_array_equal(gradient, [0, 0, 1, -1, NAN, NAN, 0, 0])
        x, t = np.array([INF, -INF, NAN, 0, INF, -0.0], dtype), np.array([0, 0, 0, NAN, INF, 0], dtype)
        for name in ("l1_loss", "mse_loss", "huber_loss", "smooth_l1_loss"):
            loss, gradient = getattr(fastnn, name)(x, t, **none)
            np.testing.assert_array_equal(loss, [INF, INF, NAN, NAN, NAN, 0])
            np.testing.assert_array_equal(np.sign(gradient), [1, -1, NAN, NAN, NAN, 0])
        loss, gradient = fastnn.hinge_loss(x, [1, 1, 1, 1, -1, -1], **none)
        np.testing.assert_array_equal(loss, [0, INF, NAN, 1, INF, 1])
        np.testing.assert_array_equal(gradient, [0, -1, NAN, -1, 1, 1])
        log_p, q = np.array([-INF, -INF, 0, 0, NAN, 0], dtype), np.array([0, 1, tiny, 1, 1, INF], dtype)
        loss, gradient = fastnn.kl_div(log_p, q, **none)
        np.testing.assert_array_equal(loss[[0, 1, 3, 4, 5]], [0, INF, 0, NAN, INF])
        np.testing.assert_array_equal(gradient, -q)
        assert float(loss[2]) == pytest.approx(float(tiny) * math.log(tiny), rel=0.01)
        loss, gradient = fastnn.kl_div(
            np.zeros(5, dtype), np.array([-INF, 0, NAN, INF, -80], dtype), log_target=True, **none
        )
        np.testing.assert_array_equal(loss[:4], [0, 0, NAN, INF])
        np.testing.assert_array_equal(gradient[:4], [0, -1, NAN, -INF])


def test_logarithms_over_the_whole_range(isa):
    q = np.ldexp(np.float32(1) + np.arange(1000, dtype=np.float32) / 1000, np.arange(1000) % 250 - 140)
    near = np.float32(1) + np.arange(-500, 500, dtype=np.float32) * np.float32(2**-12)
    for t in (q, near, near.astype(np.float64)):
        loss, _ = fastnn.kl_div(np.zeros_like(t), t, reduction="none")
        wide = t.astype(np.longdouble)
        np.testing.assert_allclose(
            loss, (wide * np.log(wide)).astype(np.float64), rtol=3 * np.finfo(t.dtype).eps, atol=1e-45
        )


def test_the_mean_of_many_losses_is_right(isa):
    """Numbers of which a sum in float32 would lose the half."""
    x = np.full(10_000_000, 0.1, np.float32)
    value = float(np.float32(0.1)) ** 2
    assert fastnn.mse_loss(x, np.zeros_like(x), need_grad=False)[0] == pytest.approx(value, rel=1e-7)
    assert fastnn.l1_loss(x, np.zeros_like(x), need_grad=False)[0] == pytest.approx(float(x[0]), rel=1e-12)


@pytest.mark.kernels
def test_threads_change_nothing(rng):
    from fastnn._kernels import cpu

    def compute():
        yield from fastnn.huber_loss(x, t)
        for rows, index, lengths in (
            (x[: 50 * 9001].reshape(50, 9001), t[:50] > 0, [9001] * 50),
            (x[:700_000].reshape(-1, 7), t[:100_000] > 0, [3, 11] * 50_000),
        ):
            y = fastnn.softmax(rows)
            yield from (y, fastnn.logsumexp(rows), fastnn.softmax_backward(rows, y))
            yield from (fastnn.masked_softmax(rows, y > 0.1), fastnn.ragged_softmax(rows.ravel(), lengths))
            yield from fastnn.softmax_cross_entropy(rows, index.astype(np.int64))
            yield from fastnn.softmax_cross_entropy(rows, y, reduction="none")

    x, t = rng.normal(size=(2, 700_001)).astype("f")
    before, results = cpu.get_num_threads(), []
    for threads in (1, 3):
        cpu.set_num_threads(threads)
        results.append(list(compute()))
    cpu.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("name", sorted({name for name, *_ in ELEMENTS}))
def test_element_loss_layouts(rng, name):
    x, t = rng.normal(size=(6, 8)), rng.random((6, 8))
    f = getattr(fastnn, name)
    loss, gradient = f(x, t)
    for a, b in ((x[::-1], t[::-1]), (x.T, t.T), (x[:, ::2], t[:, ::2])):
        value, slope = f(a, b, reduction="sum")
        want, dense = f(a.copy(), b.copy(), reduction="sum")
        assert value == pytest.approx(want, rel=1e-14)
        np.testing.assert_array_equal(slope, dense)
    out = np.asfortranarray(np.zeros_like(x))
    for to in (np.zeros_like(x), out, x.copy()):
        value, returned = f(x, t, grad_out=to)
        assert value == loss
        assert returned is to
        np.testing.assert_array_equal(to, gradient)
    memory = np.vstack([x, x[:1]])
    assert f(memory[:6], t, grad_out=memory[1:])[0] == loss
    np.testing.assert_array_equal(memory[1:], gradient)
    half, ints = f(x.astype("e"), t)[1], f(np.arange(3), [0, 1, 0])[1]
    assert (half.dtype, ints.dtype) == (np.float16, np.float64)
    in_place = x.copy()
    assert f(in_place, t, grad_out=in_place)[0] == loss
    np.testing.assert_array_equal(in_place, gradient)


# --- negative log-likelihood -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options", [o for o in OPTIONS if o["kind"] == "index" and not o["label_smoothing"]], ids=name_of
)
def test_nll_loss(rng, options, dtype):
    for shape, axis in SHAPES:
        logits, targets, keywords = problem(rng, shape, axis, dtype, **options)
        del keywords["label_smoothing"]
        log_p = fastnn.log_softmax(logits, axis)
        loss, gradient = fastnn.nll_loss(log_p, targets, **keywords)
        truth, slope = reference.nll_loss(log_p.astype(np.float64), targets, **keywords)
        assert gradient.dtype == dtype
        close(loss, truth, dtype, 4, 4)
        close(gradient, slope, dtype, 4, 0)
        same, dlogits = fastnn.softmax_cross_entropy(logits, targets, **keywords)
        close(loss, same, dtype, 16, 16)
        close(fastnn.log_softmax_backward(gradient, log_p, axis), dlogits, dtype, 16, 16)
        in_place = log_p.copy()
        assert fastnn.nll_loss(in_place, targets, grad_out=in_place, **keywords)[1] is in_place
        np.testing.assert_array_equal(in_place, gradient)
        again, nothing = fastnn.nll_loss(log_p, targets, need_grad=False, **keywords)
        assert nothing is None
        np.testing.assert_array_equal(again, loss)


def test_nll_loss_edges():
    x = np.array([[-INF, 0], [0, -INF]])
    loss, gradient = fastnn.nll_loss(x, [0, 5], ignore_index=5)
    assert loss == INF
    np.testing.assert_array_equal(gradient, [[-1, 0], [0, 0]])
    assert fastnn.nll_loss(x, [0, 0], weight=[0, 1])[0] == 0
    assert fastnn.nll_loss(x, [5, 5], ignore_index=5)[0] == 0
    assert fastnn.nll_loss(np.zeros((0, 2)), np.zeros(0, int))[0] == 0


# --- edges -----------------------------------------------------------------------------------------------------------
# a row, its softmax, log_softmax, logsumexp, and the cross entropy and gradient of class 0
EDGES = [
    ([-INF, -INF], [0, 0], [-INF, -INF], -INF, INF, [0, 0]),
    ([0, -INF], [1, 0], [0, -INF], 0, 0, [0, 0]),
    ([-INF, 0], [0, 1], [-INF, 0], 0, INF, [-1, 1]),
    ([INF, 0], [NAN, NAN], [NAN, NAN], INF, NAN, [NAN, NAN]),
    ([INF, INF], [NAN, NAN], [NAN, NAN], INF, NAN, [NAN, NAN]),
    ([INF, -INF], [NAN, NAN], [NAN, NAN], INF, NAN, [NAN, NAN]),
    ([NAN, 0], [NAN, NAN], [NAN, NAN], NAN, NAN, [NAN, NAN]),
    ([NAN, INF], [NAN, NAN], [NAN, NAN], NAN, NAN, [NAN, NAN]),
    ([1e38, -1e38], [1, 0], [0, -2e38], 1e38, 0, [0, 0]),
    ([-0.0, -0.0], [0.5, 0.5], [-math.log(2)] * 2, math.log(2), math.log(2), [-0.5, 0.5]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("more", [0, 31, 64])
def test_edges(isa, more, dtype):
    """Alone and in a long row, among other rows, and without a warning."""
    x = np.array([row[0] for row in EDGES], dtype)
    x = np.hstack([x, np.full((len(x), more), -INF, dtype)])
    softmax, log_softmax, logsumexp, loss, slope = (np.array([row[i] for row in EDGES]) for i in range(1, 6))
    index, onehot = np.zeros(len(x), int), (np.arange(x.shape[1]) == 0) * np.ones((len(x), 1))
    with np.errstate(all="raise"):
        results = fastnn.softmax(x), fastnn.log_softmax(x), fastnn.logsumexp(x)
        by_index = fastnn.softmax_cross_entropy(x, index, reduction="none")
        by_probability = fastnn.softmax_cross_entropy(x, onehot, reduction="none")
        total, _ = fastnn.softmax_cross_entropy(x, index)
        dx = fastnn.log_softmax_backward(np.ones_like(x), results[1])
        fastnn.softmax_backward(np.ones_like(x), results[0])
    tolerance = {"rtol": 2 * np.finfo(dtype).eps}
    np.testing.assert_allclose(results[0][:, :2], softmax, **tolerance)
    np.testing.assert_allclose(results[1][:, :2], log_softmax, **tolerance)
    np.testing.assert_allclose(results[2], logsumexp, **tolerance)
    for value, gradient in (by_index, by_probability):
        np.testing.assert_allclose(value, loss, **tolerance)
        np.testing.assert_allclose(gradient[:, :2], slope, **tolerance)
    assert math.isnan(total)
    np.testing.assert_array_equal(dx[0], 0)


def test_smoothing_over_an_impossible_class_costs_infinitely(isa):
    assert fastnn.softmax_cross_entropy([[0, -INF]], [0], label_smoothing=0.1)[0] == INF
    assert fastnn.softmax_cross_entropy([[0, -INF]], [0], weight=[1, 0], label_smoothing=0.1)[0] == 0


def test_what_a_nan_reaches(isa):
    for n in (3, 40):
        z = np.zeros((2, n))
        z[0, 1] = NAN
        y = fastnn.log_softmax(z)
        dx = fastnn.log_softmax_backward(np.ones_like(y), y)
        assert np.isnan(dx[0]).all()
        assert np.isfinite(dx[1]).all()
        weight = np.ones(n)
        weight[2] = 0
        assert fastnn.softmax_cross_entropy(z, [2, 2], weight=weight, reduction="sum")[0] == 0


def test_any_byte_of_a_mask_but_0_counts(isa):
    mask = np.array([[0, 1, 2, 255]], np.uint8).view(bool)
    np.testing.assert_allclose(fastnn.masked_softmax(np.zeros((1, 4)), mask), [[0, 1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_array_equal(fastnn.dropout_backward(np.ones((1, 4)), mask, 0.5), [[0, 2, 2, 2]])


def test_a_beta_too_small_for_the_dtype(isa):
    loss, gradient = fastnn.smooth_l1_loss(np.float32([0, 1]), np.zeros(2, "f"), beta=1e-50, reduction="none")
    np.testing.assert_array_equal(loss, [0, 1])
    np.testing.assert_array_equal(gradient, [0, 1])


CASTS = {
    "loss": lambda: fastnn.mse_loss(np.float16([300]), np.zeros(1, "e"), reduction="none"),
    "target": lambda: fastnn.mse_loss(np.zeros(2, "f"), np.array([1e-300, 1e300])),
    "weight": lambda: fastnn.softmax_cross_entropy(np.zeros((1, 2), "f"), [0], weight=np.array([1e300, 1e-300])),
    "out": lambda: fastnn.softmax(np.float16([0, -1, -12]), out=np.empty(3, "e")),
    "axis": lambda: fastnn.softmax(np.float16([[0, -1, -12]]), axis=0),
    "convolution": lambda: fastnn.conv1d(np.full((1, 1, 5), 6e4, "e"), np.full((1, 1, 3), 6e4, "e")),
    "dropout": lambda: fastnn.dropout(np.full(50, 6e4, "e"), 0.5, np.random.default_rng(0)),
}


@pytest.mark.parametrize("name", CASTS)
def test_casts_do_not_warn(name):
    with np.errstate(all="raise"):
        CASTS[name]()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_targets_and_weights_give_nan(isa, dtype):
    for n in (3, 40):
        z = np.zeros((2, n), dtype)
        p = np.full((2, n), 1 / n)
        p[0, 1] = NAN
        with np.errstate(all="raise"):
            loss, gradient = fastnn.softmax_cross_entropy(z, p, reduction="none")
        assert np.isnan(loss).tolist() == [True, False]
        assert np.isnan(gradient[0]).all()
        assert np.isfinite(gradient[1]).all()


@pytest.mark.parametrize("n", [3, 40])
def test_ignored_rows_are_zero_whatever_they_hold(isa, n):
    z = np.full((3, n), NAN)
    z[1] = 0
    loss, gradient = fastnn.softmax_cross_entropy(z, [7, 0, 7], ignore_index=7)
    assert loss == pytest.approx(math.log(n))
    assert not gradient[[0, 2]].any()
    np.testing.assert_allclose(gradient[1, 1:], 1 / n)


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_when_no_target_counts_all_is_zero(isa, n, reduction):
    for rows in (0, 4):
        z = np.ones((rows, n), np.float32)
        loss, gradient = fastnn.softmax_cross_entropy(z, np.full(rows, -1), ignore_index=-1, reduction=reduction)
        assert (loss, gradient.shape, gradient.any()) == (0.0, (rows, n), False)
    loss, gradient = fastnn.softmax_cross_entropy(z, [0] * 4, weight=np.zeros(n), reduction=reduction)
    assert (loss, gradient.any()) == (0.0, False)


def test_empty():
    assert fastnn.softmax(np.zeros((3, 0))).shape == (3, 0)
    assert fastnn.log_softmax(np.zeros((0, 3), np.float16)).dtype == np.float16
    np.testing.assert_array_equal(fastnn.logsumexp(np.zeros((2, 0))), [-INF, -INF])
    assert fastnn.softmax_backward(np.zeros((2, 0)), np.zeros((2, 0))).shape == (2, 0)
    loss, gradient = fastnn.softmax_cross_entropy(np.zeros((0, 3)), np.zeros(0, int), reduction="none")
    assert (loss.shape, gradient.shape) == ((0,), (0, 3))
    loss, gradient = fastnn.softmax_cross_entropy(np.zeros((2, 0)), np.zeros((2, 0)))
    assert (loss, gradient.shape) == (0.0, (2, 0))


# --- dtypes and layouts ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "result"),
    [("f2", "f2"), ("f4", "f4"), ("f8", "f8"), (">f4", "f4"), ("i1", "f8"), ("u8", "f8"), ("?", "f8")],
)
def test_dtypes(given, result):
    x = np.array([[0, 1, 1], [1, 0, 0]], given)
    exact = reference.softmax(x.astype(np.float64))
    y = fastnn.softmax(x)
    assert y.dtype == result
    np.testing.assert_allclose(y, exact, rtol=2 * np.finfo(result).eps)
    assert fastnn.log_softmax(x).dtype == fastnn.logsumexp(x).dtype == fastnn.softmax_backward(x, y).dtype == result
    loss, gradient = fastnn.softmax_cross_entropy(x, [0, 1], reduction="none")
    assert loss.dtype == gradient.dtype == result
    loss, gradient = fastnn.softmax_cross_entropy(x, [[1, 0, 0], [0, 1, 0]], weight=np.ones(3, np.float16))
    assert gradient.dtype == result


@pytest.mark.parametrize("kind", ["c8", "O", "U3", "M8[s]", "g"])
def test_other_dtypes_raise(kind):
    x = np.zeros((2, 3), kind)
    for call in (
        lambda: fastnn.softmax(x),
        lambda: fastnn.logsumexp(x),
        lambda: fastnn.softmax_cross_entropy(x, [0, 1]),
        lambda: fastnn.softmax_cross_entropy(np.zeros((2, 3)), [0, 1], weight=x[0]),
    ):
        with pytest.raises(TypeError, match="has dtype"):
            call()


@pytest.mark.parametrize("index", ["i1", "u1", "i4", "u8", ">i8"])
def test_index_dtypes(index):
    z = np.eye(3)
    expected, _ = reference.softmax_cross_entropy(z, np.arange(3))
    assert fastnn.softmax_cross_entropy(z, np.arange(3).astype(index))[0] == pytest.approx(expected, rel=1e-14)


def layouts(x):
    """Yield read-only arrays equal to x that lie otherwise."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    for other in (x, np.asfortranarray(x), wide[..., ::2], x[::-1].copy()[::-1], shifted):
        other.flags.writeable = False
        yield other


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(isa, rng, dtype):
    for shape, axis in [((5, 7), -1), ((5, 40), -1), ((4, 3, 5), 1), ((35, 2, 3), 0), ((6,), 0)]:
        x = rng.normal(size=shape).astype(dtype)
        rows = np.moveaxis(x, axis, -1).shape[:-1]
        p, index = fastnn.softmax(x, axis), rng.integers(0, shape[axis], rows)
        dx = fastnn.softmax_backward(x, p, axis)
        log_sum = fastnn.logsumexp(x, axis)
        loss, gradient = fastnn.softmax_cross_entropy(x, index, axis=axis)
        soft_loss, soft_gradient = fastnn.softmax_cross_entropy(x, p, axis=axis)
        assert p.flags.c_contiguous
        assert gradient.flags.c_contiguous
        for other in layouts(x.copy()):
            agree(fastnn.softmax(other, axis), p, dtype)
            agree(fastnn.logsumexp(other, axis), log_sum, dtype)
            agree(fastnn.logsumexp(other, axis, keepdims=True).squeeze(axis), log_sum, dtype)
            value, slope = fastnn.softmax_cross_entropy(other, index, axis=axis)
            agree(value, loss, dtype)
            agree(slope, gradient, dtype)
        for other in layouts(p.copy()):
            agree(fastnn.softmax_backward(x, other, axis), dx, dtype)
            value, slope = fastnn.softmax_cross_entropy(x, other, axis=axis)
            agree(value, soft_loss, dtype)
            agree(slope, soft_gradient, dtype)


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 31, 32, 33, 64, 100])
def test_a_row_does_not_depend_on_its_place(isa, rng, n, dtype):
    """Bit for bit the same alone, among others, and at an odd address."""
    x = (3 * rng.normal(size=(70, n))).astype(dtype)
    w, t, p = rng.random(n).astype(dtype), rng.integers(0, n, 70), fastnn.softmax(x[::-1])
    odd = np.empty(x.size + 1, dtype)[1:].reshape(x.shape)
    odd[...] = x
    results = {
        "softmax": lambda a, i: fastnn.softmax(a),
        "log_softmax": lambda a, i: fastnn.log_softmax(a),
        "logsumexp": lambda a, i: fastnn.logsumexp(a),
        "softmax_backward": lambda a, i: fastnn.softmax_backward(a, p[i]),
        "log_softmax_backward": lambda a, i: fastnn.log_softmax_backward(a, p[i]),
        "hard": lambda a, i: np.column_stack(fastnn.softmax_cross_entropy(a, t[i], reduction="none")),
        "soft": lambda a, i: np.column_stack(
            fastnn.softmax_cross_entropy(a, t[i], weight=w, label_smoothing=0.1, reduction="none")
        ),
        "probabilities": lambda a, i: np.column_stack(fastnn.softmax_cross_entropy(a, p[i], reduction="none")),
    }
    for name, f in results.items():
        every = f(x, slice(None))
        np.testing.assert_array_equal(f(odd, slice(None)), every, err_msg=name)
        for rows in (slice(0, 1), slice(3, 4), slice(5, 38), slice(69, 70)):
            np.testing.assert_array_equal(f(x[rows], rows), every[rows], err_msg=name)


# --- out and grad_out ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float16, *DTYPES])
@pytest.mark.parametrize(("shape", "axis"), [((5, 7), -1), ((5, 40), 1), ((5, 7), 0), ((2, 3, 4), 1)])
def test_out(isa, rng, shape, axis, dtype):
    x = rng.normal(size=shape).astype(dtype)
    index = np.zeros(np.moveaxis(x, axis, -1).shape[:-1], int)
    for f in (fastnn.softmax, fastnn.log_softmax):
        expected = f(x, axis)
        for out in (np.empty(shape, dtype), np.empty(shape, dtype, "F"), np.empty((*shape, 2), dtype)[..., 0]):
            assert f(x, axis, out=out) is out
            np.testing.assert_array_equal(out, expected)
        same = x.copy()
        assert f(same, axis, out=same) is same
        np.testing.assert_array_equal(same, expected)
    loss, gradient = fastnn.softmax_cross_entropy(x, index, axis=axis)
    for out in (np.empty(shape, dtype), np.empty(shape, dtype, "F"), x.copy()):
        logits = out if np.array_equal(out, x) else x
        value, slope = fastnn.softmax_cross_entropy(logits, index, axis=axis, grad_out=out)
        assert value == loss
        assert slope is out
        np.testing.assert_array_equal(out, gradient)


@pytest.mark.parametrize("n", [4, 40])
def test_out_that_overlaps_an_input_in_part(isa, rng, n):
    memory = rng.normal(size=(6, n))
    x, out = memory[:5], memory[1:]
    expected = fastnn.softmax(x.copy())
    np.testing.assert_array_equal(fastnn.softmax(x, out=out), expected)

    memory = fastnn.softmax(rng.normal(size=(6, n)))
    logits, p, out = rng.normal(size=(5, n)), memory[:5], memory[1:]
    loss, gradient = fastnn.softmax_cross_entropy(logits, p.copy())
    value, _ = fastnn.softmax_cross_entropy(logits, p, grad_out=out)
    assert value == loss
    np.testing.assert_array_equal(out, gradient)

    weight = rng.random((3, n))
    loss, gradient = fastnn.softmax_cross_entropy(logits[:3], [0, 1, 2], weight=weight[1].copy())
    value, _ = fastnn.softmax_cross_entropy(logits[:3], [0, 1, 2], weight=weight[1], grad_out=weight)
    assert value == loss
    np.testing.assert_array_equal(weight, gradient)


# --- errors ----------------------------------------------------------------------------------------------------------
Z = np.zeros((2, 3))
ERRORS = [
    (lambda: fastnn.softmax(Z, 2), ValueError, "x: axis 2"),
    (lambda: fastnn.softmax(0.0), ValueError, "x: axis -1"),
    (lambda: fastnn.logsumexp(Z, -3), ValueError, "x: axis -3"),
    (lambda: fastnn.softmax(Z, 0.5), TypeError, "integer"),
    (lambda: fastnn.softmax(Z, out=np.zeros((3, 2))), ValueError, r"out has shape \(3, 2\), expected \(2, 3\)"),
    (lambda: fastnn.softmax(Z, out=np.zeros((2, 3), "f")), TypeError, "out has dtype float32, expected float64"),
    (lambda: fastnn.softmax(Z, out=[[0] * 3] * 2), TypeError, "out is a list"),
    (lambda: fastnn.softmax_backward(Z[:1], Z), ValueError, r"dy has shape \(1, 3\), expected \(2, 3\)"),
    (lambda: fastnn.log_softmax_backward(Z, Z[0]), ValueError, r"dy has shape \(2, 3\), expected \(3,\)"),
    (lambda: fastnn.masked_softmax(Z, Z), TypeError, "mask has dtype float64, expected bool"),
    (lambda: fastnn.masked_softmax(Z, [True, False]), ValueError, r"mask has shape \(2,\), .* broadcasts to \(2, 3\)"),
    (lambda: fastnn.masked_softmax(Z, Z == 0, 2), ValueError, "x: axis 2"),
    (lambda: fastnn.masked_softmax(Z, Z == 0, out=Z[0]), ValueError, r"out has shape \(3,\), expected \(2, 3\)"),
    (lambda: fastnn.masked_softmax_backward(Z[0], Z, Z == 0), ValueError, r"dy has shape \(3,\), expected \(2, 3\)"),
    (lambda: fastnn.masked_softmax_backward(Z, Z, [0, 1, 1]), TypeError, "mask has dtype int64, expected bool"),
    (lambda: fastnn.ragged_softmax(Z, [2.0, 1.0]), TypeError, "lengths have dtype float64, expected integers"),
    (lambda: fastnn.ragged_softmax(Z, [2, 2]), ValueError, "lengths add up to 4, expected 3"),
    (lambda: fastnn.ragged_softmax(Z, np.uint64([2**63, 2**63, 3])), ValueError, "lengths hold 9223372036854775808"),
    (lambda: fastnn.ragged_softmax(Z, [4, -1]), ValueError, "lengths hold -1, expected numbers of at least 0"),
    (lambda: fastnn.ragged_softmax(Z, [[2], [1]]), ValueError, r"lengths has shape \(2, 1\), expected \(2,\)"),
    (lambda: fastnn.ragged_softmax(Z, [2, 1], -3), ValueError, "x: axis -3"),
    (lambda: fastnn.ragged_softmax_backward(Z, Z, [1, 1]), ValueError, "lengths add up to 2, expected 3"),
]
LOSS_ERRORS = [
    ({"targets": [0, 3]}, IndexError, "targets hold 3, which is not among the 3 classes"),
    ({"targets": [-1, 0]}, IndexError, "targets hold -1"),
    ({"targets": [0, -100]}, IndexError, "targets hold -100"),
    ({"targets": [5, -100], "ignore_index": -100}, IndexError, "targets hold 5"),
    ({"targets": np.array([2**63, 0], np.uint64)}, IndexError, "targets hold"),
    ({"targets": [0.0, 1.0]}, TypeError, "expected integers and not float64"),
    ({"targets": [True, False]}, TypeError, "expected integers and not bool"),
    ({"targets": [0, 1, 2]}, ValueError, r"targets have shape \(3,\), expected \(2,\) .* or \(2, 3\)"),
    ({"targets": Z, "ignore_index": 0}, ValueError, "ignore_index is 0, but targets are probabilities"),
    ({"targets": Z.astype(complex)}, TypeError, "targets has dtype complex128"),
    ({"weight": np.ones(2)}, ValueError, r"weight has shape \(2,\), expected \(3,\)"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing is 1.5"),
    ({"label_smoothing": NAN}, ValueError, "label_smoothing is nan"),
    ({"reduction": "avg"}, ValueError, "reduction is 'avg', expected one of 'mean', 'sum', 'none'"),
    ({"axis": 2}, ValueError, "logits: axis 2"),
    ({"ignore_index": 0.5}, TypeError, "ignore_index is 0.5"),
    ({"need_grad": False}, ValueError, "grad_out is given, but need_grad is False"),
]


PAIR_ERRORS = [
    (lambda **k: fastnn.mse_loss(Z, [0, 0], **k), {}, ValueError, r"target has shape \(2,\), expected \(2, 3\)"),
    (lambda **k: fastnn.mse_loss(Z, Z * 1j, **k), {}, TypeError, "target has dtype complex128"),
    (lambda **k: fastnn.l1_loss(Z, Z, **k), {"reduction": "batchmean"}, ValueError, "reduction is 'batchmean'"),
    (lambda **k: fastnn.kl_div(Z, Z, **k), {"reduction": "avg"}, ValueError, "or 'batchmean'|, 'batchmean'"),
    (lambda **k: fastnn.hinge_loss(Z, Z, **k), {"need_grad": False}, ValueError, "need_grad is False"),
    (lambda **k: fastnn.huber_loss(Z, Z, **k), {"delta": 0.0}, ValueError, "delta is 0.0, expected a number above 0"),
    (lambda **k: fastnn.smooth_l1_loss(Z, Z, **k), {"beta": NAN}, ValueError, "beta is nan, expected .* at least 0"),
    (
        lambda **k: fastnn.sigmoid_cross_entropy(Z, Z, **k),
        {"pos_weight": [1, 2]},
        ValueError,
        r"pos_weight has shape \(2,\), expected one that broadcasts to \(2, 3\)",
    ),
    (lambda **k: fastnn.nll_loss(Z, [0, 3], **k), {}, IndexError, "targets hold 3, which is not among the 3 classes"),
    (lambda **k: fastnn.nll_loss(Z, Z, **k), {}, TypeError, "expected one integer a row"),
    (lambda **k: fastnn.nll_loss(Z, [0.0, 1], **k), {}, TypeError, "expected integers and not float64"),
]


@pytest.mark.parametrize(("call", "keywords", "error", "words"), PAIR_ERRORS, ids=[words for *_, words in PAIR_ERRORS])
def test_other_loss_errors_leave_the_output_alone(call, keywords, error, words):
    gradient = np.full((2, 3), 7.0)
    with pytest.raises(error, match=words):
        call(grad_out=gradient, **keywords)
    assert (gradient == 7).all()


@pytest.mark.parametrize(("call", "error", "words"), ERRORS, ids=[words for _, _, words in ERRORS])
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(("keywords", "error", "words"), LOSS_ERRORS, ids=[words for _, _, words in LOSS_ERRORS])
def test_loss_errors_leave_the_output_alone(keywords, error, words):
    gradient = np.full((2, 3), 7.0)
    with pytest.raises(error, match=words):
        fastnn.softmax_cross_entropy(Z, **{"targets": [0, 1], "grad_out": gradient} | keywords)
    assert (gradient == 7).all()


def test_read_only_outputs_raise():
    out = np.zeros((2, 3))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        fastnn.softmax(Z, out=out)
    with pytest.raises(ValueError, match="grad_out is read-only"):
        fastnn.softmax_cross_entropy(Z, [0, 1], grad_out=out)


# --- the entry over typed memoryviews --------------------------------------------------------------------------------
@pytest.mark.kernels
def test_memoryview_entry_checks_shapes():
    from fastnn._kernels import losses

    ok, short = np.zeros((4, 3)), np.zeros((3, 3))
    index = np.zeros(4, np.int64)
    losses.softmax(ok, memoryview(np.ones((4, 3))))
    np.testing.assert_allclose(ok, 1 / 3)
    for call in (
        lambda: losses.softmax(short, ok),
        lambda: losses.logsumexp(short[0], ok),
        lambda: losses.softmax_backward(ok, short, ok),
        lambda: losses.log_softmax_backward(short, ok, ok),
        lambda: losses.softmax_cross_entropy(ok, index, gradient=short),
        lambda: losses.softmax_cross_entropy(ok, index, losses=short[0]),
        lambda: losses.softmax_cross_entropy(ok, index[1:]),
        lambda: losses.softmax_cross_entropy(ok, None, short),
        lambda: losses.softmax_cross_entropy(ok, index, None, np.ones(4)),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    for targets in ((index, ok), (None, None)):
        with pytest.raises(TypeError, match="an index or probabilities"):
            losses.softmax_cross_entropy(ok, *targets)
    with pytest.raises(IndexError, match="targets hold 3"):
        losses.softmax_cross_entropy(ok, index + 3)
    x = np.zeros(4)
    mse, weighted = losses.OPS["mse_loss"], losses.OPS["weighted_sigmoid_cross_entropy"]
    assert losses.element_loss(mse, x, x + 2) == 16
    for call in (
        lambda: losses.element_loss(mse, x, x[1:]),
        lambda: losses.element_loss(mse, x, x, gradient=x[1:]),
        lambda: losses.element_loss(weighted, x, x, positive=x, weight=x[1:]),
        lambda: losses.nll_loss(ok, index, gradient=short),
        lambda: losses.nll_loss(ok, index[1:]),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    for call in (
        lambda: losses.element_loss(99, x, x),
        lambda: losses.element_loss(weighted, x, x),
        lambda: losses.element_loss(mse, x, x, positive=x, weight=x),
    ):
        with pytest.raises(ValueError, match="is not a loss that takes these arguments"):
            call()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("softmax", [1.0]),
        ("log_softmax", [1.0]),
        ("logsumexp", [1.0]),
        ("masked_softmax", [1.0, True]),
        ("ragged_softmax", [1.0, 1]),
        ("softmax_backward", [1.0, 1.0]),
        ("log_softmax_backward", [1.0, 1.0]),
        ("masked_softmax_backward", [1.0, 1.0, True]),
        ("ragged_softmax_backward", [1.0, 1.0, 1]),
    ],
)
def test_a_number_has_no_axis(name, arguments):
    with pytest.raises(ValueError, match="axis -1 is out of bounds"):
        getattr(fastnn, name)(*map(np.array, arguments))
