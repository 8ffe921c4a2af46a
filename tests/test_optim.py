"""Optimisers against the formulas of their papers, written out once more; groups, state, clipping."""

import numpy as np
import pytest

from fastnn import optim
from fastnn.nn import Parameter, SparseGrad


def sgd(w, grads, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    buffer = None
    for g in grads(w):
        g = (-g if maximize else g) + weight_decay * w
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        w -= lr * g


def adagrad(
    w, grads, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, maximize=False
):
    total = initial_accumulator_value
    for t, g in enumerate(grads(w)):
        g = (-g if maximize else g) + weight_decay * w
        total = total + g * g
        w -= lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)


def rmsprop(w, grads, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, maximize=False):
    square = mean = buffer = 0
    for g in grads(w):
        g = (-g if maximize else g) + weight_decay * w
        square = alpha * square + (1 - alpha) * g * g
        mean = alpha * mean + (1 - alpha) * g
        buffer = momentum * buffer + g / (np.sqrt(square - mean * mean if centered else square) + eps)
        w -= lr * buffer


def adam(
    w,
    grads,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    maximize=False,
    decoupled_weight_decay=False,
):
    m = v = largest = 0
    for t, g in enumerate(grads(w), 1):
        g = -g if maximize else g
        if decoupled_weight_decay:
            w *= 1 - lr * weight_decay
        else:
            g = g + weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        largest = np.maximum(largest, v)
        root = np.sqrt((largest if amsgrad else v) / (1 - betas[1] ** t))
        w -= lr * m / (1 - betas[0] ** t) / (root + eps)


def adamw(w, grads, weight_decay=1e-2, **options):
    adam(w, grads, weight_decay=weight_decay, decoupled_weight_decay=True, **options)


CASES = [
    (optim.SGD, sgd, {}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    (optim.Adagrad, adagrad, {}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.1, "maximize": True}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-2}),
    (optim.RMSprop, rmsprop, {}),
    (optim.RMSprop, rmsprop, {"momentum": 0.9, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"momentum": 0.5, "centered": True, "maximize": True, "eps": 1e-4}),
    (optim.RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"centered": True, "maximize": True}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    (optim.Adam, adam, {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.5)}),
    (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    (optim.AdamW, adamw, {}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.3}),
]


def slope(w, t):
    """The gradient at step t of a function with a curve of its own in each direction."""
    return np.sin(w * np.linspace(0.5, 3, w.size).reshape(w.shape) + t)


@pytest.mark.parametrize(("optimizer", "formula", "options"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_twenty_steps(optimizer, formula, options, dtype):
    start = np.linspace(-1, 1, 35).reshape(5, 7)
    expected = start.copy()
    formula(expected, lambda w: (slope(w, t) for t in range(20)), **options)
    parameter = Parameter(start.astype(dtype))
    opt = optimizer([parameter], **options)
    for t in range(20):
        parameter.grad = slope(parameter.value.astype(np.float64), t).astype(dtype)
        opt.step()
    assert parameter.value.dtype == dtype
    # in float32 the trajectory itself magnifies what rounding does
    np.testing.assert_allclose(parameter.value, expected, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-11)


def test_a_step_works_in_place_and_leaves_out_what_has_no_gradient():
    a, b = Parameter(np.ones(3)), Parameter(np.ones(3))
    opt = optim.Adam([a, b])
    value, a.grad = a.value, np.ones(3)
    opt.step()
    assert a.value is value
    assert (a.value != 1).all()
    assert (b.value == 1).all()
    opt.zero_grad()
    assert a.grad is None
    before = a.value.copy()
    opt.step()
    np.testing.assert_array_equal(a.value, before)


def test_a_late_parameter_counts_its_own_steps():
    a, b = Parameter(np.ones(1)), Parameter(np.ones(1))
    opt = optim.Adam([a, b], lr=0.1)
    for t in range(3):
        a.grad, b.grad = np.ones(1), np.ones(1) if t == 2 else None
        opt.step()
    assert [state["step"] for state in opt.state_dict()["state"].values()] == [3, 1]
    np.testing.assert_allclose(b.value, 0.9)  # the whole of a first step


def test_groups_have_options_of_their_own():
    a, b = Parameter(np.ones(2)), Parameter(np.ones(2))
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    a.grad = b.grad = np.ones(2)
    opt.step()
    assert a.value.tolist() == [0.9, 0.9]
    assert b.value.tolist() == [0.5, 0.5]
    opt.param_groups[0]["lr"] = 0.4
    opt.param_groups[1]["momentum"] = 0.5  # from now on
    opt.step()
    opt.step()
    np.testing.assert_allclose(a.value, 0.1)
    np.testing.assert_allclose(b.value, 0.5 - 0.5 * 1 - 0.5 * 1.5)
    assert repr(opt).splitlines()[1] == (
        "  group 0: 1 parameters, lr=0.4, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, "
        "maximize=False, ema=False"
    )


@pytest.mark.parametrize(("optimizer", "options"), [(case[0], case[2]) for case in CASES])
def test_state_dict_round_trip(optimizer, options):
    def run(opt, parameters, steps):
        for t in steps:
            for parameter in parameters:
                parameter.grad = slope(parameter.value, t)
            opt.step()

    def make():
        parameters = [Parameter(np.ones((2, 2))), Parameter(np.full(3, 2.0))]
        return optimizer([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.2}], **options), parameters

    opt, parameters = make()
    run(opt, parameters, range(3))
    state, values = opt.state_dict(), [parameter.value.copy() for parameter in parameters]
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    run(opt, parameters, range(3, 6))
    other, others = make()
    other.param_groups[1]["lr"] = 7
    other.load_state_dict(state)
    for parameter, value in zip(others, values, strict=True):
        parameter.value[...] = value
    run(other, others, range(3, 6))
    for one, two in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(one.value, two.value)


def test_load_state_dict_refuses_what_does_not_fit():
    a = Parameter(np.ones(2))
    a.grad = np.ones(2)
    opt = optim.Adam([a])
    opt.step()
    state = opt.state_dict()
    with pytest.raises(ValueError, match=r"state has groups of \[1\] parameters, expected \[2\]"):
        optim.Adam([Parameter(np.ones(2)), Parameter(np.ones(2))]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"exp_avg.* of parameter 0 has shape \(2,\), expected \(3,\)"):
        optim.Adam([Parameter(np.ones(3))]).load_state_dict(state)
    with pytest.raises(ValueError, match="state of parameter 0 holds exp_avg, exp_avg_sq"):
        optim.SGD([Parameter(np.ones(2))]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"state holds \[\], expected 'state' and 'param_groups'"):
        opt.load_state_dict({})
    for rate in (-1.0, np.nan, np.inf):
        wrong = opt.state_dict()
        wrong["param_groups"][0]["lr"] = rate
        with pytest.raises(ValueError, match=f"lr is {rate}, expected at least 0 and finite"):
            opt.load_state_dict(wrong)
    assert opt.param_groups[0]["lr"] == 1e-3
    state["state"].clear()
    with pytest.raises(ValueError, match=r"state has the options amsgrad, betas, .*, which SGD has not"):
        optim.SGD([Parameter(np.ones(2))]).load_state_dict(state)


def test_load_state_dict_takes_what_pytorch_writes():
    a = Parameter(np.ones(2))
    opt = optim.SGD([a])
    group = {"lr": 0.5, "momentum": 0.9, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False}
    group |= {"foreach": None, "fused": None, "differentiable": False, "params": [0]}
    for buffer, moved in ((None, 0.5), (np.ones(2), 0.95)):
        a.value[...] = 1
        opt.load_state_dict({"state": {0: {"momentum_buffer": buffer}}, "param_groups": [group]})
        assert "foreach" not in opt.param_groups[0]
        a.grad = np.ones(2)
        opt.step()
        np.testing.assert_allclose(a.value, 1 - moved)


def test_constructors_refuse_nonsense():
    a = Parameter(np.ones(2))
    with pytest.raises(ValueError, match="params is empty"):
        optim.SGD([])
    with pytest.raises(TypeError, match="params holds array"):
        optim.SGD([np.ones(2)])
    with pytest.raises(ValueError, match="is there twice"):
        optim.SGD([a, a])
    with pytest.raises(ValueError, match="is there twice"):
        optim.SGD([{"params": [a]}, {"params": [a]}])
    with pytest.raises(ValueError, match="SGD has no option eps"):
        optim.SGD([{"params": [a], "eps": 1}])
    for options in ({"lr": -1}, {"lr": np.nan}, {"weight_decay": -1}, {"momentum": -0.1}):
        with pytest.raises(ValueError, match="expected at least 0"):
            optim.SGD([a], **options)
    with pytest.raises(ValueError, match="nesterov=True needs a momentum above 0"):
        optim.SGD([a], nesterov=True)
    with pytest.raises(ValueError, match="betas is"):
        optim.Adam([a], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match=r"betas is 0\.9, expected two numbers"):
        optim.Adam([a], betas=0.9)
    with pytest.raises(TypeError, match=r"params is Parameter\(\(2,\), float64\), expected .* in a list"):
        optim.SGD(a)
    for groups in ([{"lr": 1}], [{"params": a}, Parameter(np.ones(2))]):
        with pytest.raises(TypeError, match="expected a dict with 'params'"):
            optim.SGD(groups)


# ---- sparse gradients ---------------------------------------------------------------------------------------


def sparse_grads(w, t):
    """The rows and values of step t: rows named twice, and rows that no step names."""
    rows = np.array([t % 3, 3, t % 3])
    return rows, slope(w, t)[rows]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(
    ("optimizer", "dense", "options"),
    [
        (optim.SGD, optim.SGD, {"lr": 0.1}),
        (optim.Adagrad, optim.Adagrad, {"lr": 0.1, "lr_decay": 0.5, "initial_accumulator_value": 0.1}),
        (optim.SparseAdam, optim.Adam, {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0}),
    ],
)
def test_sparse_gradients(optimizer, dense, options, maximize):
    """A row's steps are those of the dense optimiser, as long as that forgets nothing meanwhile."""
    start = np.linspace(-1, 1, 35).reshape(5, 7)
    one, two = Parameter(start), Parameter(start)
    opt, other = optimizer([one], maximize=maximize, **options), dense([two], maximize=maximize, **options)
    for t in range(20):
        rows, values = sparse_grads(one.value, t)
        one.grad = SparseGrad(rows, values)
        two.grad = one.grad.to_dense(5)
        kept = two.value.copy()
        with np.errstate(all="ignore"):  # Adam with eps = 0 makes NaN of a zero gradient
            opt.step()
            other.step()
        absent = np.setdiff1d(np.arange(5), rows)
        two.value[absent] = kept[absent]
        np.testing.assert_allclose(one.value, two.value, rtol=1e-12)
    np.testing.assert_array_equal(one.value[4], start[4])


def test_optimisers_say_which_gradients_they_take():
    a = Parameter(np.ones((3, 2)))
    a.grad = SparseGrad(np.array([1]), np.ones((1, 2)))
    for optimizer in (optim.Adam, optim.AdamW, optim.RMSprop):
        with pytest.raises(TypeError, match=f"{optimizer.__name__} does not take sparse gradients"):
            optimizer([a]).step()
    for opt in (optim.SGD([a], momentum=0.9), optim.SGD([a], weight_decay=0.1), optim.Adagrad([a], weight_decay=0.1)):
        with pytest.raises(ValueError, match=r"a sparse gradient needs .*weight_decay=0"):
            opt.step()
    a.grad = np.ones((3, 2))
    with pytest.raises(TypeError, match="SparseAdam takes sparse gradients only"):
        optim.SparseAdam([a]).step()
    np.testing.assert_array_equal(a.value, 1)


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (optim.Adam, SparseGrad(np.array([1]), np.ones((1, 2)))),
        (optim.Adam, np.ones((2, 2))),
        (lambda params: optim.SGD(params, momentum=0.9), SparseGrad(np.array([1]), np.ones((1, 2)))),
        (lambda params: optim.SGD(params, momentum=0.9), np.ones(3)),
        (lambda params: optim.Adagrad(params, lr_decay=0.5), SparseGrad(np.array([3]), np.ones((1, 2)))),
        (lambda params: optim.RMSprop(params, centered=True), np.ones((3, 2), ">f8")),
    ],
)
def test_a_step_that_raises_has_not_counted(make, bad):
    """What was not updated goes on as if the bad gradient had never been."""
    a, b, other_a, other_b = (Parameter(np.ones((3, 2))) for _ in range(4))
    optimizer, other = make([a, b]), make([other_a, other_b])

    def step(optimizer, a, b):
        a.grad, b.grad = np.full((3, 2), 0.5), np.full((3, 2), -1.0)
        optimizer.step()

    step(optimizer, a, b)
    step(other, other_a, other_b)
    b.grad = bad
    with pytest.raises((TypeError, ValueError, IndexError)):
        optimizer.step()
    assert [state["step"] for state in optimizer.state_dict()["state"].values()] == [1, 1]
    for _ in range(2):
        step(optimizer, a, b)
        step(other, other_a, other_b)
    for mine, its in (a, other_a), (b, other_b):
        np.testing.assert_array_equal(mine.value, its.value)


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.Adagrad])
@pytest.mark.parametrize(
    "bad",
    [np.ones(3), np.ones((2, 2), np.float32), SparseGrad(np.array([2]), np.ones((1, 2))), np.ones((2, 2)).T[::-1]],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_step_that_raises_updates_nothing(optimizer, bad, together):
    """Neither parameters of other groups, nor others of the same group at another step."""
    a, b = Parameter(np.ones((2, 2))), Parameter(np.ones((2, 2)))
    opt = optimizer([a, b] if together else [{"params": [a]}, {"params": [b]}])
    a.grad = np.ones((2, 2))
    opt.step()
    before = a.value.copy()
    b.grad = bad
    with pytest.raises((TypeError, ValueError, IndexError)):
        opt.step()
    np.testing.assert_array_equal(a.value, before)
    np.testing.assert_array_equal(b.value, 1)


def test_sparse_gradients_add_up():
    one = lambda: SparseGrad(np.array([1, 1]), np.ones((2, 2)))
    a, dense = Parameter(np.zeros((3, 2))), np.full((3, 2), 5.0)
    a.accumulate(one())
    a.accumulate(one())
    np.testing.assert_array_equal(a.grad.to_dense(3), [[0, 0], [4, 4], [0, 0]])
    a.accumulate(dense.copy())
    np.testing.assert_array_equal(a.grad, [[5, 5], [9, 9], [5, 5]])
    a.accumulate(one())
    np.testing.assert_array_equal(a.grad, [[5, 5], [11, 11], [5, 5]])


def test_clipping_sums_the_rows_of_sparse_gradients():
    a, b = Parameter(np.zeros((3, 1))), Parameter(np.zeros(1))
    a.grad, b.grad = SparseGrad(np.array([2, 2]), np.array([[1.0], [2.0]])), np.array([4.0])
    assert optim.clip_grad_norm([a, b], 1.0) == 5
    np.testing.assert_allclose(a.grad.to_dense(3), [[0], [0], [0.6]])
    np.testing.assert_allclose(b.grad, 0.8)
    a.grad = SparseGrad(np.array([2, 2]), np.array([[1.0], [2.0]]))
    optim.clip_grad_value([a], 2.5)
    np.testing.assert_array_equal(a.grad.to_dense(3), [[0], [0], [2.5]])


# ---- clipping -----------------------------------------------------------------------------------------------


def with_gradients(*gradients):
    parameters = [Parameter(np.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.copy()
    return parameters


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (np.float32, 1),
        (np.float32, 1e-25),
        (np.float32, 1e25),
        (np.float64, 1),
        (np.float64, 1e-200),
        (np.float64, 1e200),
    ],
)
def test_clip_grad_norm(dtype, scale):
    a, b = np.array([3, 0], dtype) * dtype(scale), np.array([[4]], dtype) * dtype(scale)
    parameters = [*with_gradients(a, b), Parameter(np.ones(3))]
    for limit, factor in ((10, 1), (5, 1), (1, 0.2)):
        with np.errstate(all="raise"):
            norm = optim.clip_grad_norm(parameters, limit * scale)
        np.testing.assert_allclose(norm, 5 * scale, rtol=1e-6)
        np.testing.assert_allclose(parameters[0].grad, a * dtype(factor), rtol=1e-6)
        np.testing.assert_allclose(parameters[1].grad, b * dtype(factor), rtol=1e-6)
    assert optim.clip_grad_norm([parameters[2]], 1) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_changes_nothing(bad):
    parameters = with_gradients(np.array([1, bad]), np.ones(2))
    with np.errstate(all="raise"):
        norm = optim.clip_grad_norm(parameters, 0.1)
    assert not np.isfinite(norm)
    np.testing.assert_array_equal(parameters[0].grad, [1, bad])
    np.testing.assert_array_equal(parameters[1].grad, [1, 1])


def test_clip_grad_value():
    (parameter, _) = parameters = with_gradients(np.array([-5, -0.5, np.nan, np.inf]), np.ones(1))
    gradient = parameter.grad
    optim.clip_grad_value(parameters, 2)
    np.testing.assert_array_equal(gradient, [-2, -0.5, np.nan, 2])
    assert parameter.grad is gradient


def test_clipping_refuses_a_limit_below_zero():
    for limit in (-1, np.nan):
        with pytest.raises(ValueError, match=r"max_norm is .*, expected at least 0"):
            optim.clip_grad_norm([], limit)
        with pytest.raises(ValueError, match=r"clip_value is .*, expected at least 0"):
            optim.clip_grad_value([], limit)


def test_the_forms_of_the_seeds():
    rng = np.random.default_rng(0)
    grads = rng.standard_normal((6, 4))
    grads[:, 3] = 0

    def run(make):
        weight = Parameter(np.ones(4))
        optimizer = make([weight])
        for grad in grads:
            weight.grad = grad.copy()
            optimizer.step()
        return weight.value

    w, v, cache, square = np.ones((3, 4)), np.zeros(4), np.zeros(4), np.zeros(4)
    for g in grads:
        v = 0.9 * v + 0.1 * g  # key concepts
        w[0] -= 0.1 * v
        cache += g**2  # CS224n, notes 7
        w[1] -= 0.1 * g / np.sqrt(cache + 1e-8)
        square = 0.9 * square + 0.1 * g**2  # Dive into Deep Learning
        w[2] -= 0.1 * g / np.sqrt(square + 1e-6)
    np.testing.assert_allclose(run(lambda p: optim.SGD(p, lr=0.1, momentum=0.9, ema=True)), w[0], rtol=1e-12)
    np.testing.assert_allclose(run(lambda p: optim.Adagrad(p, lr=0.1, eps=1e-8, eps_inside=True)), w[1], rtol=1e-12)
    rmsprop = {"lr": 0.1, "alpha": 0.9, "eps": 1e-6, "eps_inside": True}
    np.testing.assert_allclose(run(lambda p: optim.RMSprop(p, **rmsprop)), w[2], rtol=1e-12)
    for options in ({}, {"momentum": 0.9, "dampening": 0.5}):
        with pytest.raises(ValueError, match="ema=True needs a momentum above 0 and dampening=0"):
            optim.SGD([Parameter(np.ones(2))], ema=True, **options)
