"""Initial values: their distributions, the fans they take them from, and what a whole model gets."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import init, nn, optim

SHAPE = (200, 30, 5)  # fan_in 150, fan_out 1000
NORMAL = {
    "xavier_normal": (init.xavier_normal, {"gain": 3.0}, 3 * math.sqrt(2 / 1150)),
    "he_normal": (init.he_normal, {}, math.sqrt(2 / 150)),
    "he_normal-out": (init.he_normal, {"mode": "fan_out", "gain": 1.0}, math.sqrt(1 / 1000)),
    "lecun_normal": (init.lecun_normal, {}, math.sqrt(1 / 150)),
    "normal": (init.normal, {"std": 0.3}, 0.3),
}
UNIFORM = {
    "xavier_uniform": (init.xavier_uniform, {"gain": 3.0}, 3 * math.sqrt(6 / 1150)),
    "he_uniform": (init.he_uniform, {}, math.sqrt(6 / 150)),
    "he_uniform-out": (init.he_uniform, {"mode": "fan_out", "gain": 1.0}, math.sqrt(3 / 1000)),
    "lecun_uniform": (init.lecun_uniform, {}, math.sqrt(3 / 150)),
    "uniform": (init.uniform, {"bound": 0.3}, 0.3),
}


@pytest.mark.parametrize("case", NORMAL)
def test_normal(case):
    function, options, std = NORMAL[case]
    values = function(SHAPE, 0, **options)
    assert values.shape == SHAPE
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) < 0.02 * std
    assert abs(values).max() > 3.5 * std
    np.testing.assert_array_equal(values, function(SHAPE, np.random.default_rng(0), **options))
    assert function((3, 2), 1, dtype=np.float64, **options).dtype == np.float64


@pytest.mark.parametrize("case", UNIFORM)
def test_uniform(case):
    function, options, bound = UNIFORM[case]
    values = function(SHAPE, 0, **options)
    assert values.shape == SHAPE
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert 0.99 * bound < abs(values).max() <= bound * (1 + 1e-6)
    assert function((3, 2), 1, dtype=np.float64, **options).dtype == np.float64


def test_truncated_normal():
    values = init.truncated_normal(SHAPE, 0, std=0.1, bound=1.5, dtype=np.float64)
    assert 0.149 < abs(values).max() <= 0.15
    density = math.exp(-(1.5**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * 1.5 * density / math.erf(1.5 / math.sqrt(2))
    assert values.std() == pytest.approx(0.1 * math.sqrt(variance), rel=0.02)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (2, 3, 4), (9, 2, 2), (1, 1)])
def test_orthogonal(shape):
    w = init.orthogonal(shape, 0, gain=2.0, dtype=np.float64)
    assert w.shape == shape
    flat = w.reshape(shape[0], -1)
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_matrices_are_evenly_spread():
    drawn = np.array([init.orthogonal((2, 2), seed)[0, 0] for seed in range(400)])  # the cosine of an even angle
    assert abs(drawn.mean()) < 0.1
    assert np.mean(drawn**2) == pytest.approx(0.5, abs=0.05)


def test_constant_and_identity():
    np.testing.assert_array_equal(init.constant((2, 3), 0.5), np.full((2, 3), 0.5, np.float32))
    np.testing.assert_array_equal(init.identity((3, 2), gain=0.1, dtype=np.float64), 0.1 * np.eye(3, 2))
    assert init.identity((3, 2)).dtype == np.float32


def test_gains_are_those_of_pytorch():
    expected = {"linear": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": 2**0.5, "leaky_relu": 1.414142853528862, "selu": 0.75}
    assert {name: init.gain(name) for name in expected} == pytest.approx(expected)
    assert init.gain("leaky_relu", 1) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: init.he_normal((3,)), r"shape is \(3,\), expected at least two axes"),
        (lambda: init.orthogonal((3,)), r"shape is \(3,\), expected at least two axes"),
        (lambda: init.he_uniform((3, 2), mode="fan"), "mode is 'fan'"),
        (lambda: init.identity((3, 2, 1)), r"shape is \(3, 2, 1\), expected two axes"),
        (lambda: init.gain("gelu"), "nonlinearity is 'gelu'"),
        (lambda: init.truncated_normal((3,), std=1, bound=0), "bound is 0"),
        (lambda: init.output_bias([0.5], "softmax_cross_entropy"), "target has dtype float64"),
        (lambda: init.output_bias([-1], "softmax_cross_entropy"), "least value -1"),
        (lambda: init.output_bias([], "mse_loss"), r"target has shape \(0,\)"),
        (lambda: init.output_bias([1], "hinge_loss"), "loss is 'hinge_loss'"),
    ],
)
def test_rejects(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- the output's bias --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ("softmax_cross_entropy", np.array([0, 2, 1, 2, 2, 0])),
        ("sigmoid_cross_entropy", np.array([[0, 1], [1, 1], [0, 0], [0, 1.0]])),
        ("mse_loss", np.array([[0.3, 5], [1, -2], [7, 1]])),
        ("l1_loss", np.array([[0.3, 5], [1, -2], [7, 1]])),
    ],
)
def test_with_weights_of_zero_the_gradient_of_the_bias_is_zero(loss, target):
    bias = init.output_bias(target, loss, dtype=np.float64)
    _, gradient = getattr(fastnn, loss)(np.tile(bias, (len(target), 1)), target)
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-12)


def test_what_never_occurs_gets_a_finite_bias():
    bias = init.output_bias([0, 0, 2], "softmax_cross_entropy", classes=4)
    np.testing.assert_allclose(bias, np.log(np.array([2, 0.5, 1, 0.5]) / 4), rtol=1e-6)
    bias = init.output_bias([[0, 1], [0, 1]], "sigmoid_cross_entropy")
    np.testing.assert_allclose(bias, [-math.log(3), math.log(3)], rtol=1e-6)
    with pytest.raises(IndexError, match="target holds 2, expected classes below 2"):
        init.output_bias([2], "softmax_cross_entropy", classes=2)


# ---- a model ------------------------------------------------------------------------------------------------


def test_initialize():
    net = nn.Sequential(nn.Linear(30, 200), nn.LayerNorm(200), nn.GRU(200, 50), nn.Linear(50, 2))
    net[1].weight.value[:] = 3
    init.initialize(net, init.he_normal, rng=0, biases=0.5, gain=1.0)
    for name, parameter in net.named_parameters():
        if "bias" in name:
            assert (parameter.value == 0.5).all()
        elif name != "1.weight":
            fan_in = parameter.value.shape[1]
            assert parameter.value.std() == pytest.approx(fan_in**-0.5, rel=0.2)
    assert (net[1].weight.value == 3).all()
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(net[0].weight.value, init.he_normal((200, 30), rng, gain=1.0))
    init.initialize(net, init.constant, value=0.25)
    assert (net[3].weight.value == 0.25).all()


def test_equal_weights_stay_equal():
    """Symmetry never breaks: all hidden units remain the same (seed notes, initialisation)."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((20, 3)).astype(np.float32), rng.integers(2, size=20)
    net = nn.Sequential(nn.Linear(3, 4), nn.Activation("tanh"), nn.Linear(4, 2))
    init.initialize(net, init.constant, value=0.1)
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    for _ in range(10):
        logits, back = net.vjp(x)
        optimizer.zero_grad()
        back(fastnn.softmax_cross_entropy(logits, target)[1])
        optimizer.step()
    w = net[0].weight.value
    assert abs(w - w[0]).max() < 1e-6 < abs(w - 0.1).max()
