"""Optimiser updates: values, options, layouts, and arrays they must refuse."""

import inspect
import itertools
import math

import numpy as np
import pytest

import fastnn
from fastnn import reference

DTYPES = [np.float32, np.float64]
SIZES = [0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 129, 1000]
COMMON = {"weight_decay": [0.0, 0.1], "maximize": [False, True]}
EPS = {"eps": [1e-8, 1e-2], "eps_inside": [False, True]}

# name, its state arrays, the step where it is positional, the options to combine, tolerance in units of precision
CASES = [
    ("sgd_update", [], [], {}, 2),
    ("momentum_update", ["velocity"], [], {"nesterov": [False, True], "ema": [False, True], "step": [None, 1, 2]}, 4),
    ("momentum_update", ["velocity"], [], {"dampening": [0.3], "momentum": [0.0, 0.5], "step": [None, 1]}, 4),
    ("adagrad_update", ["sum_sq"], [], EPS, 4),
    ("rmsprop_update", ["square_avg"], [], EPS | {"alpha": [0.99, 0.5]}, 4),
    ("rmsprop_update", ["square_avg", "grad_avg"], [], EPS, 16),
    ("rmsprop_update", ["square_avg", "velocity"], [], EPS | {"momentum": [0.5, 0.9]}, 4),
    ("rmsprop_update", ["square_avg", "grad_avg", "velocity"], [], {"momentum": [0.9], "eps": [1e-2]}, 16),
    ("adam_update", ["m", "v"], [1], {"decoupled": [False, True]}, 4),
    ("adam_update", ["m", "v"], [1000], {"beta1": [0.0, 0.9], "beta2": [0.5, 0.999], "eps": [1e-2]}, 4),
    ("adam_update", ["m", "v", "v_max"], [3], {"decoupled": [False, True], "eps": [1e-8, 1e-2]}, 4),
]
OPTIONAL = [("centered", True, "grad_avg"), ("momentum", 0.9, "velocity"), ("amsgrad", True, "v_max")]
UPDATES = sorted({(name, tuple(state), (1,) if at else ()) for name, state, at, _, _ in CASES})


def arrays(rng, name, state, shape, dtype=np.float64):
    """Make param, grad and a state that earlier steps may have left."""
    made = {"param": rng.normal(size=shape), "grad": rng.normal(size=shape)}
    made |= {s: rng.random(shape) for s in state}
    if "grad_avg" in made:
        made["grad_avg"] *= 0.3 * np.sqrt(made["square_avg"])
    return {k: np.asarray(v, dtype) for k, v in made.items()}


def update(functions, name, made, at, **options):
    """Call an update on arrays by name; `at` holds the step where that is a positional argument."""
    for option, value, array in OPTIONAL:
        if array in made and name != "momentum_update":
            options = {option: value} | options | {array: made[array]}
    keywords = {"grad_avg", "v_max"} if name == "momentum_update" else {array for *_, array in OPTIONAL}
    getattr(functions, name)(*(v for k, v in made.items() if k not in keywords), *at, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "state", "at", "options", "units"), CASES)
def test_values(isa, rng, name, state, at, options, units, dtype):
    options = options | COMMON
    eps = np.finfo(dtype).eps
    for values in itertools.product(*options.values()):
        chosen = dict(zip(options, values, strict=True))
        for n in SIZES if not any(values[-2:]) else (65,):
            ours = arrays(rng, name, state, n, dtype)
            before, truth = ours["grad"].copy(), {k: v.astype(np.float64) for k, v in ours.items()}
            update(fastnn, name, ours, at, lr=0.05, **chosen)
            update(reference, name, truth, at, lr=0.05, **chosen)
            np.testing.assert_array_equal(ours["grad"], before)
            for k, v in ours.items():
                np.testing.assert_allclose(v, truth[k], rtol=units * eps, atol=units * eps, err_msg=f"{k} {chosen}")


def step_by_hand(param, grad, moments, t):
    """Adam as its authors write it, on one number."""
    m, v = (0.9 * moments[0] + 0.1 * grad, 0.999 * moments[1] + 0.001 * grad**2)
    return param - 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v)


@pytest.mark.parametrize("functions", [fastnn, reference])
def test_by_hand(functions):
    """Numbers worked out with pencil and paper, the twin included."""

    def after(name, *args, **options):
        made = [np.array([a]) for a in args]
        getattr(functions, name)(*made, **options)
        return [m.item() for m in made]

    near = lambda *numbers: pytest.approx(list(numbers), rel=1e-14)
    assert after("sgd_update", 1.0, 2.0, lr=0.25) == near(0.5, 2)
    assert after("sgd_update", 1.0, 2.0, lr=0.25, weight_decay=0.5) == near(0.375, 2)
    assert after("sgd_update", 1.0, 2.0, lr=0.25, maximize=True) == near(1.5, 2)
    # velocity 0.9 * 4 + 2 = 5.6; Nesterov 2 + 0.9 * 5.6 = 7.04
    assert after("momentum_update", 1.0, 2.0, 4.0, lr=0.25) == near(-0.4, 2, 5.6)
    assert after("momentum_update", 1.0, 2.0, 4.0, lr=0.25, nesterov=True) == near(-0.76, 2, 5.6)
    assert after("momentum_update", 1.0, 2.0, 4.0, lr=0.25, dampening=0.5) == near(-0.15, 2, 4.6)
    assert after("momentum_update", 1.0, 2.0, 4.0, lr=0.25, ema=True) == near(0.05, 2, 3.8)
    assert after("momentum_update", 1.0, 2.0, math.nan, lr=0.25, dampening=0.5, step=1) == near(0.5, 2, 2)
    # sum 4 + 5 = 9
    assert after("adagrad_update", 1.0, 2.0, 5.0, lr=0.25, eps=0) == near(1 - 0.5 / 3, 2, 9)
    assert after("adagrad_update", 1.0, 2.0, 5.0, lr=0.25, eps=1.0) == near(0.875, 2, 9)
    assert after("adagrad_update", 1.0, 2.0, 5.0, lr=0.25, eps=7.0, eps_inside=True) == near(0.875, 2, 9)
    # 0.75 * 4 + 0.25 * 4 = 4
    assert after("rmsprop_update", 1.0, 2.0, 4.0, lr=0.25, alpha=0.75, eps=0) == near(0.75, 2, 4)
    assert after("rmsprop_update", 1.0, 2.0, 4.0, lr=0.25, alpha=0.75, eps=2.0) == near(0.875, 2, 4)
    assert after("rmsprop_update", 1.0, 2.0, 4.0, lr=0.25, alpha=0.75, eps=12.0, eps_inside=True) == near(0.875, 2, 4)
    made = [np.array([a]) for a in (1.0, 2.0, 4.0, 1.0)]  # mean 1.25, variance 4 - 1.5625
    functions.rmsprop_update(*made[:3], lr=0.25, alpha=0.75, eps=0, centered=True, grad_avg=made[3])
    assert [m.item() for m in made] == near(1 - 0.5 / math.sqrt(2.4375), 2, 4, 1.25)

    param, moments = 1.0, (0.0, 0.0)
    made = [np.array([a]) for a in (1.0, 0.0, 0.0, 0.0)]
    for t, grad in enumerate((2.0, -1.0, 0.5), 1):
        param, moments = step_by_hand(param, grad, moments, t)
        made[1][0] = grad
        functions.adam_update(*made, t, lr=0.1)
        assert made[0].item() == pytest.approx(param, rel=1e-13)
    # the first step goes lr whatever the gradient; AdamW shrinks the parameter besides
    assert after("adam_update", 1.0, 5.0, 0.0, 0.0, step=1, lr=0.1, eps=0) == near(0.9, 5, 0.5, 0.025)
    assert after("adam_update", 1.0, 5.0, 0.0, 0.0, step=1, lr=0.1, eps=0, weight_decay=0.5, decoupled=True) == near(
        0.85, 5, 0.5, 0.025
    )


@pytest.mark.parametrize(("name", "state", "at"), UPDATES)
def test_zero_gradients_leave_a_fresh_parameter_alone(isa, name, state, at):
    """No 0 / 0: eps stands under the division, and nothing warns."""
    made = {k: np.zeros(70, np.float32) for k in ("param", "grad", *state)}
    made["param"][:] = 3
    with np.errstate(all="raise"):
        update(fastnn, name, made, at, lr=0.1)
    assert (made["param"] == 3).all()


def test_special_values_stay_in_their_place(isa):
    for bad in (np.inf, -np.inf, np.nan, 1e30):
        p, g, m, v = np.ones(100), np.full(100, 0.5), np.zeros(100), np.zeros(100)
        g[67] = bad
        with np.errstate(all="raise"):
            fastnn.adam_update(p.astype("f"), g.astype("f"), m.astype("f"), v.astype("f"), 1)
            fastnn.adam_update(p, g, m, v, 1)
        others = np.arange(100) != 67
        np.testing.assert_allclose(p[others], 0.999, rtol=1e-7)


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "state", "at"), UPDATES)
def test_an_element_does_not_depend_on_its_place(isa, rng, name, state, at, dtype):
    start = arrays(rng, name, state, 300, dtype)
    every = {k: v.copy() for k, v in start.items()}
    update(fastnn, name, every, at, lr=0.05, weight_decay=0.1)
    for part in (slice(0, 1), slice(1, 64), slice(3, 70), slice(299, 300)):
        made = {k: v.copy()[part] for k, v in start.items()}
        update(fastnn, name, made, at, lr=0.05, weight_decay=0.1)
        for k, v in made.items():
            np.testing.assert_array_equal(v, every[k][part])


@pytest.mark.parametrize(("name", "state", "at"), UPDATES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (1, 7), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_shapes_and_orders(rng, name, state, at, shape, order):
    truth = arrays(rng, name, state, shape)
    made = {k: np.array(v, order=order) for k, v in truth.items()}
    made["grad"].flags.writeable = False
    update(fastnn, name, made, at, lr=0.05)
    update(reference, name, truth, at, lr=0.05)
    for k, v in made.items():
        np.testing.assert_allclose(v, truth[k], rtol=1e-14)
    for k, v in truth.items():  # slices of larger arrays are dense too
        made[k] = np.stack([v, v])[1, ...]
    update(fastnn, name, made, at, lr=0.05)


# --- errors ----------------------------------------------------------------------------------------------------------
def read_only(x):
    x.flags.writeable = False
    return x


def overlapping(made, name):
    both = np.zeros(5)
    return made | {"param": both[:4], name: both[1:]}


# name of the argument, what becomes of the arrays, the error, its words
SPOILT = [
    (lambda made, k: made | {k: made[k].tolist()}, TypeError, "{} is a list, expected a NumPy array"),
    (lambda made, k: made | {k: made[k].astype("f2")}, TypeError, "{} has dtype float16, expected float32 or float64"),
    (lambda made, k: made | {k: made[k].astype(">f8")}, TypeError, "{} has dtype >f8"),
    (lambda made, k: made | {k: np.zeros(3)}, ValueError, r"{} has shape \(3,\), expected \(4,\)"),
    (lambda made, k: made | {k: made[k].reshape(2, 2)}, ValueError, r"{} has shape \(2, 2\), expected \(4,\)"),
    (lambda made, k: made | {k: np.zeros(8)[::2]}, ValueError, "{} is not contiguous"),
    (lambda made, k: made | {k: np.zeros(33, "u1")[1:].view("f8")}, ValueError, "{} is not aligned in memory"),
    (lambda made, k: made | {k: made[k].astype("f4")}, TypeError, "{} has dtype float32, expected float64"),
    (overlapping, ValueError, "param and {} overlap"),
]


@pytest.mark.parametrize(("spoil", "error", "words"), SPOILT, ids=[words for _, _, words in SPOILT])
@pytest.mark.parametrize(("name", "state", "at"), UPDATES)
def test_unfit_arrays_raise_and_nothing_is_written(rng, name, state, at, spoil, error, words):
    for k in ("grad", *state):
        made = spoil(arrays(rng, name, state, 4), k)
        before = {k: np.array(v) for k, v in made.items()}
        with pytest.raises(error, match=words.format(k)):
            update(fastnn, name, made, at, lr=0.05)
        for key, value in made.items():
            np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize(("name", "state", "at"), UPDATES)
def test_read_only_and_mixed_orders_raise(rng, name, state, at):
    for k in ("param", *state):
        made = arrays(rng, name, state, (3, 4))
        with pytest.raises(ValueError, match=f"{k} is read-only"):
            update(fastnn, name, made | {k: read_only(made[k])}, at, lr=0.05)
    for k in ("grad", *state):
        made = arrays(rng, name, state, (3, 4))
        with pytest.raises(ValueError, match=f"{k} is in Fortran order and param is not"):
            update(fastnn, name, made | {k: np.asfortranarray(made[k])}, at, lr=0.05)
        with pytest.raises(ValueError, match=f"param and {k} overlap"):
            update(fastnn, name, made | {"param": made[k]}, at, lr=0.05)


def test_options_that_contradict_each_other_raise():
    p, g, s = np.zeros(3), np.ones(3), np.zeros((2, 3))
    adam = lambda step: fastnn.adam_update(p, g, *s, step)
    for call, error, words in [
        (lambda: adam(0), ValueError, "step is 0, expected at least 1"),
        (lambda: adam(1.5), TypeError, "step is 1.5, expected a whole number"),
        (lambda: fastnn.momentum_update(p, g, s[0], lr=1, step=0), ValueError, "step is 0"),
        (
            lambda: fastnn.momentum_update(p, g, s[0], lr=1, dampening=0.1, nesterov=True),
            ValueError,
            "dampening is 0.1",
        ),
        (lambda: fastnn.momentum_update(p, g, s[0], lr=1, dampening=0.1, ema=True), ValueError, "dampening is 0.1"),
        (lambda: fastnn.rmsprop_update(p, g, s[0], lr=1, centered=True), ValueError, "grad_avg"),
        (lambda: fastnn.rmsprop_update(p, g, s[0], lr=1, grad_avg=s[1]), ValueError, "grad_avg"),
        (lambda: fastnn.rmsprop_update(p, g, s[0], lr=1, momentum=0.9), ValueError, "velocity is needed with momentum"),
        (lambda: fastnn.rmsprop_update(p, g, s[0], lr=1, velocity=s[1]), ValueError, "velocity"),
        (lambda: fastnn.adam_update(p, g, *s, 1, amsgrad=True), ValueError, "v_max"),
        (lambda: fastnn.adam_update(p, g, *s, 1, v_max=g), ValueError, "v_max is needed with amsgrad and only then"),
        (lambda: fastnn.sgd_update(p, g), TypeError, "lr"),
    ]:
        with pytest.raises(error, match=words):
            call()
    assert not p.any()


# --- lists -----------------------------------------------------------------------------------------------------------
SHAPES = [(3, 5), (0,), (), (70,), (2, 3, 4)]


@pytest.mark.parametrize(("name", "state", "at"), UPDATES)
def test_a_list_is_updated_as_its_arrays_are(isa, rng, name, state, at):
    alone = [arrays(rng, name, state, shape, dtype) for shape in SHAPES for dtype in DTYPES]
    several = [{k: v.copy() for k, v in made.items()} for made in alone]
    for made in alone:
        update(fastnn, name, made, at, lr=0.05, weight_decay=0.1)
    for container in (list, tuple):
        lists = {k: container(made[k].copy() for made in several) for k in several[0]}
        update(fastnn, name, lists, at, lr=0.05, weight_decay=0.1)
        for k, each in lists.items():
            for made, v in zip(alone, each, strict=True):
                np.testing.assert_array_equal(v, made[k])
    update(fastnn, name, {k: [] for k in several[0]}, at, lr=0.05)


@pytest.mark.parametrize(("spoil", "error", "words"), SPOILT, ids=[words for _, _, words in SPOILT])
@pytest.mark.parametrize(("name", "state", "at"), UPDATES)
def test_one_unfit_array_leaves_the_list_alone(rng, name, state, at, spoil, error, words):
    for k in ("grad", *state):
        all_made = [arrays(rng, name, state, 4), spoil(arrays(rng, name, state, 4), k)]
        before = [{k: np.array(v) for k, v in made.items()} for made in all_made]
        words_of_one = words.replace("param", r"param\[1\]").format(rf"{k}\[1\]")
        with pytest.raises(error, match=words_of_one):
            update(fastnn, name, {k: [made[k] for made in all_made] for k in all_made[0]}, at, lr=0.05)
        for made, old in zip(all_made, before, strict=True):
            for key, value in made.items():
                np.testing.assert_array_equal(value, old[key])


def test_lists_of_other_lengths_raise():
    p, g = [np.ones(2), np.ones(2)], [np.ones(2)]
    for grad, words in ((g, "grad holds 1 arrays, expected 2"), (g[0], "grad is not a list")):
        with pytest.raises(ValueError, match=words):
            fastnn.sgd_update(p, grad, lr=1)
    with pytest.raises(TypeError, match="grad is a list"):
        fastnn.sgd_update(p[0], g, lr=1)


@pytest.mark.kernels
def test_threads_change_nothing(rng):
    before = fastnn._kernels.cpu.get_num_threads()
    made = arrays(rng, "adam_update", ["m", "v"], 700_001, np.float32)
    results = []
    try:
        for threads in (1, 2, 3):
            fastnn._kernels.cpu.set_num_threads(threads)
            copies = {k: [v.copy(), v[:50].copy()] for k, v in made.items()}
            update(fastnn, "adam_update", copies, (2,), lr=0.05)
            results.append(copies)
    finally:
        fastnn._kernels.cpu.set_num_threads(before)
    for other in results[1:]:
        for k, (large, small) in results[0].items():
            np.testing.assert_array_equal(large, other[k][0])
            np.testing.assert_array_equal(small, other[k][1])


# --- sparse rows -----------------------------------------------------------------------------------------------------
SPARSE = [
    ("sparse_sgd_update", "sgd_update", [], [], {"lr": 0.1}),
    ("sparse_adagrad_update", "adagrad_update", ["sum_sq"], [], {"lr": 0.1, "eps": 1e-3}),
    ("sparse_adagrad_update", "adagrad_update", ["sum_sq"], [], {"lr": 0.1, "eps": 1e-3, "eps_inside": True}),
    ("sparse_adam_update", "adam_update", ["m", "v"], [4], {"lr": 0.1, "eps": 0.0}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("name", "dense", "state", "at", "options"), SPARSE)
def test_sparse_rows_are_updated_as_dense_ones(isa, rng, name, dense, state, at, options, maximize, dtype):
    for size, n in ((1, 1), (7, 50), (64, 20), (65, 0)):
        made = arrays(rng, dense, state, (30, size), dtype)
        rows, values = rng.integers(0, 30, n), rng.standard_normal((n, size)).astype(dtype)
        named = np.unique(rows)
        want = {k: v[named].astype(np.float64) for k, v in made.items()}
        want["grad"] = np.zeros((30, size))
        np.add.at(want["grad"], rows, values)
        want["grad"] = want["grad"][named]
        untouched = {k: np.delete(v, named, 0) for k, v in made.items()}
        del made["grad"]
        getattr(reference, dense)(*want.values(), *at, maximize=maximize, **options)
        getattr(fastnn, name)(made.pop("param"), rows, values, *made.values(), *at, maximize=maximize, **options)
        for k, v in made.items():
            np.testing.assert_allclose(v[named], want[k], rtol=50 * np.finfo(dtype).eps, atol=50 * np.finfo(dtype).eps)
            np.testing.assert_array_equal(np.delete(v, named, 0), untouched[k])


def test_sparse_adam_adds_eps_as_pytorch_does():
    param, m, v = np.zeros((3, 3, 1))
    fastnn.sparse_adam_update(param, [1], np.array([[2.0]]), m, v, 3, lr=0.5, beta1=0.5, beta2=0.75, eps=1.0)
    # m = 1, v = 1, step = 0.5 * sqrt(1 - 0.75**3) / (1 - 0.5**3)
    assert param.ravel().tolist() == [0, pytest.approx(-0.5 * math.sqrt(0.578125) / 0.875 / 2, rel=1e-14), 0]


@pytest.mark.parametrize(("name", "dense", "state", "at", "options"), SPARSE)
def test_sparse_updates_refuse_what_does_not_fit(rng, name, dense, state, at, options):
    made = arrays(rng, dense, state, (5, 3))
    rows, values = np.array([1, 4]), np.ones((2, 3))
    before = {k: v.copy() for k, v in made.items()}

    def call(rows=rows, values=values, **other):
        arrays = [v for k, v in (made | other).items() if k != "grad"]
        getattr(fastnn, name)(arrays[0], rows, values, *arrays[1:], *at, **options)

    for keywords, error, words in [
        ({"rows": [1, 5]}, IndexError, "rows hold 5, which is not among the 5 rows"),
        ({"rows": [-1, 2]}, IndexError, "rows hold -1"),
        ({"rows": [1.0, 2.0]}, TypeError, "rows have dtype float64"),
        ({"rows": [[1, 2]]}, ValueError, r"rows has shape \(1, 2\)"),
        ({"rows": [1]}, ValueError, r"grad_rows has shape \(2, 3\), expected \(1, 3\)"),
        ({"values": np.ones((2, 4))}, ValueError, "grad_rows has shape"),
        ({"values": np.ones((2, 3), "f")}, TypeError, "grad_rows is of float32, expected an array of float64"),
        ({"values": [[1.0] * 3] * 2}, TypeError, "grad_rows is of list"),
        ({"values": made["param"][:2]}, ValueError, "param and grad_rows overlap"),
        ({"param": made["param"].tolist()}, TypeError, "param is a list"),
        ({"param": np.asfortranarray(made["param"])}, ValueError, "param|in Fortran order|in C order"),
        ({"param": read_only(made["param"].copy())}, ValueError, "param is read-only"),
        *(({k: np.zeros((5, 4))}, ValueError, f"{k} has shape") for k in state),
        *(({k: made["param"]}, ValueError, f"param and {k} overlap") for k in state),
    ]:
        with pytest.raises(error, match=words):
            call(**keywords)
    for k, v in before.items():
        np.testing.assert_array_equal(made[k], v)


# --- clipping --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_by_global_norm(isa, rng, dtype):
    for shapes in ([], [(0,)], [(1,)], [(31,), (3, 33)], [(5000,), (), (2, 3)]):
        grads = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
        grads = [np.asarray(g) for g in grads]
        want = math.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in grads))
        for limit, factor in ((2 * want + 1, 1), (want / 3, 1 / 3), (0.0, 0)):
            clipped = [g.copy() for g in grads]
            assert fastnn.clip_by_global_norm(clipped, limit) == pytest.approx(want, rel=1e-14)
            for a, b in zip(clipped, grads, strict=True):
                np.testing.assert_allclose(a, factor * b.astype(float), rtol=2 * np.finfo(dtype).eps)


def test_clipping_takes_any_layout_and_nothing_but_arrays():
    strided = np.ones((4, 4))[::2, ::2]
    assert fastnn.clip_by_global_norm([strided, np.ones(5)[:, None]], 1.0) == 3
    np.testing.assert_allclose(strided, 1 / 3)
    for grads, error, words in [
        ([np.ones(2), [3.0]], TypeError, r"grads\[1\] is a list"),
        ([np.ones(2, int)], TypeError, r"grads\[0\] has dtype int64"),
        ([read_only(np.ones(2))], ValueError, r"grads\[0\] is read-only"),
    ]:
        with pytest.raises(error, match=words):
            fastnn.clip_by_global_norm(grads, 0.5)
    with pytest.raises(ValueError, match="max_norm is -1"):
        fastnn.clip_by_global_norm([], -1)


def test_signatures_and_defaults_are_those_of_the_twin():
    for name in {case[0] for case in CASES}:
        assert inspect.signature(getattr(fastnn, name)) == inspect.signature(getattr(reference, name))


@pytest.mark.kernels
def test_memoryview_entry_checks_arrays():
    from fastnn._kernels import updates

    p, g, m, v = np.ones((4, 5))
    updates.adam_update(p, memoryview(read_only(g)), m, v, 1, 0.5, 0.9, 0.999, 1e-8, 0, False, False)
    np.testing.assert_allclose(m, 1)
    for arrays in ((p, g[1:], m, v), (p, g, m[1:], v), (p, g, m, v[1:])):
        with pytest.raises(ValueError, match="has length 5, expected the same"):
            updates.adam_update(*arrays, 1, 0.5, 0.9, 0.999, 1e-8, 0, False, False)
    with pytest.raises(ValueError, match="overlap"):
        updates.adam_update(p, g, m, m, 1, 0.5, 0.9, 0.999, 1e-8, 0, False, False)
    with pytest.raises(ValueError, match="read-only"):
        updates.sgd_update(g, p, 0.5, 0, False)


def test_parameters_of_a_list_that_share_memory_are_updated_one_after_the_other():
    n, before, found = 1 << 19, fastnn.get_num_threads(), []
    try:
        for threads in (1, 4):
            fastnn.set_num_threads(threads)
            param, velocity = np.zeros(n + 1, "f"), np.zeros((2, n), "f")
            for _ in range(5):
                params = [param[:-1], param[1:]]
                fastnn.momentum_update(params, [np.full(n, 1, "f"), param[:-1].copy()], list(velocity), lr=0.1)
            found.append(param)
    finally:
        fastnn.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_an_eps_too_small_for_the_dtype(isa):
    param, *arrays = np.zeros((4, 3), "f")
    fastnn.adam_update(param, *arrays, 1, eps=1e-44)
    np.testing.assert_array_equal(param, 0)


def test_amsgrad_keeps_a_nan(isa):
    param, grad, m, v, v_max = np.ones((5, 2))
    v_max[0] = np.nan
    fastnn.adam_update(param, grad, m, v, 1, amsgrad=True, v_max=v_max)
    assert np.isnan([param[0], v_max[0]]).all()


def test_a_generator_of_gradients_is_clipped():
    grads = [np.full(3, 10.0)]
    assert fastnn.clip_by_global_norm((grad for grad in grads), 1.0) == pytest.approx(300**0.5)
    np.testing.assert_allclose(grads[0], 3**-0.5)
