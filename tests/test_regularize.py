"""Penalties: their values and gradients, the conventions of the seeds, and what they are to weight decay."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, numerical_gradient, optim, regularize
from fastnn.training import Trainer

RNG = np.random.default_rng(0)
X, TARGET = RNG.standard_normal((12, 3)), RNG.integers(2, size=12)


def network():
    return nn.Sequential(nn.Linear(3, 4, rng=0), nn.Activation("tanh"), nn.Linear(4, 2, rng=1)).astype(np.float64)


def gradients(net):
    logits, back = net.vjp(X)
    for parameter in net.parameters():
        parameter.grad = None
    back(fastnn.softmax_cross_entropy(logits, TARGET)[1])
    return net.parameters()


@pytest.mark.parametrize("penalty", [regularize.l1, regularize.l2])
def test_the_gradient_is_that_of_the_value(penalty):
    values = RNG.standard_normal((3, 2)), RNG.standard_normal(4)
    for i, value in enumerate(values):

        def f(x, i=i):
            return penalty([nn.Parameter(x if j == i else other) for j, other in enumerate(values)], 0.3)

        parameters = [nn.Parameter(v) for v in values]
        penalty(parameters, 0.3)
        np.testing.assert_allclose(parameters[i].grad, numerical_gradient(f, value), atol=1e-8)


def test_a_penalty_adds_to_the_gradient_it_finds():
    dense, empty, sparse = (nn.Parameter(np.array([[1.0, 2], [3, -4], [0, 0]], np.float32)) for _ in range(3))
    dense.grad = np.full((3, 2), 10, np.float32)
    sparse.grad = nn.SparseGrad(np.array([1, 1]), np.ones((2, 2), np.float32))
    assert regularize.l2([dense, empty, sparse], 0.5) == 0.5 * 3 * 30
    np.testing.assert_array_equal(empty.grad, empty.value)
    np.testing.assert_array_equal(dense.grad, 10 + dense.value)
    np.testing.assert_array_equal(sparse.grad, [[1, 2], [5, -2], [0, 0]])
    empty.grad = None
    assert regularize.l1([empty], 0.5) == 5
    np.testing.assert_array_equal(empty.grad, [[0.5, 0.5], [0.5, -0.5], [0, 0]])
    assert empty.grad.dtype == np.float32
    with np.errstate(all="raise"):
        assert regularize.l2([nn.Parameter(np.array([1e38], np.float32))], 1e3) > 0


def test_weights_leave_out_what_is_frozen():
    source = nn.Embedding.from_vectors(np.eye(3))
    net = nn.Sequential(source, nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3))
    assert regularize.weights(net) == [net[1].weight]
    net[1].weight = source.weight  # trained by the other layer
    assert regularize.weights(net) == [source.weight]


@pytest.mark.parametrize("convention", ["sum", "frobenius", "mean"])
def test_the_three_conventions_of_the_seeds(convention):
    net, strength, m = network(), 0.7, len(X)
    values = [parameter.value for parameter in net.parameters()]
    expected, scale, params = {
        "sum": (strength * sum((v**2).sum() for v in values), strength, net.parameters()),
        "frobenius": (
            strength * sum(np.linalg.norm(v) ** 2 for v in values if v.ndim == 2),
            strength,
            regularize.weights(net),
        ),
        "mean": (strength / (2 * m) * sum((v**2).sum() for v in values), strength / (2 * m), net.parameters()),
    }[convention]
    assert regularize.l2(params, scale) == pytest.approx(expected)


@pytest.mark.parametrize("make", [optim.SGD, optim.RMSprop, optim.Adam])
def test_weight_decay_is_twice_the_scale(make):
    penalised, decayed = network(), network()
    one, other = make(penalised.parameters(), lr=0.1), make(decayed.parameters(), lr=0.1, weight_decay=0.06)
    for _ in range(5):
        regularize.l2(gradients(penalised), 0.03)
        one.step()
        gradients(decayed)
        other.step()
    for a, b in zip(penalised.parameters(), decayed.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-9)


def test_decoupled_decay_is_the_same_for_plain_sgd_alone():
    def step(make, penalty):
        """Return the weights after three steps on lambda / 2m, or with weights shrunk by 1 - lr * lambda / m."""
        net, lr, strength, m = network(), 0.1, 0.5, len(X)
        optimizer = make(net.parameters(), lr)
        for _ in range(3):
            params = gradients(net)
            if penalty:
                regularize.l2(params, strength / (2 * m))
            else:
                for parameter in params:
                    parameter.value *= 1 - lr * strength / m
            optimizer.step()
        return np.concatenate([parameter.value.ravel() for parameter in net.parameters()])

    np.testing.assert_allclose(step(optim.SGD, True), step(optim.SGD, False), rtol=1e-12)
    for make in (optim.Adam, lambda params, lr: optim.SGD(params, lr, momentum=0.9)):
        assert abs(step(make, True) - step(make, False)).max() > 1e-4

    def adamw(params, lr):
        return optim.AdamW(params, lr, weight_decay=0.5 / len(X))

    def adam(params, lr):
        return optim.Adam(params, lr)

    shrunk = step(adam, False)
    net = network()
    optimizer = adamw(net.parameters(), 0.1)
    for _ in range(3):
        gradients(net)
        optimizer.step()
    np.testing.assert_allclose(np.concatenate([p.value.ravel() for p in net.parameters()]), shrunk, rtol=1e-12)


def test_max_norm():
    w = nn.Parameter(RNG.standard_normal((5, 3, 2)).astype(np.float32))
    bias, before = nn.Parameter(np.full(4, 9.0)), w.value.copy()
    norms = np.linalg.norm(before.reshape(5, -1), axis=1)
    limit = float(np.median(norms))
    regularize.max_norm([w, bias], limit)
    after = np.linalg.norm(w.value.reshape(5, -1), axis=1)
    np.testing.assert_allclose(after, np.minimum(norms, limit), rtol=1e-6)
    np.testing.assert_array_equal(w.value[norms <= limit], before[norms <= limit])
    np.testing.assert_array_equal(bias.value, np.full(4, 9.0))
    with np.errstate(all="raise"):
        regularize.max_norm([nn.Parameter(np.zeros((2, 2)))], 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: regularize.l2([], -1), "scale is -1"),
        (lambda: regularize.l1([], float("nan")), "scale is nan"),
        (lambda: regularize.max_norm([], 0), "limit is 0"),
    ],
)
def test_rejects(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_in_a_training():
    one, other = network(), network()
    options = {"epochs": 3, "batch_size": 5}
    decay = optim.SGD(other.parameters(), lr=0.1, weight_decay=0.2)
    Trainer(other, "softmax_cross_entropy", decay, rng=0).fit((X, TARGET), **options)
    plain = optim.SGD(one.parameters(), lr=0.1)
    run = Trainer(one, "softmax_cross_entropy", plain, rng=0, penalty=lambda net: regularize.l2(net.parameters(), 0.1))
    run.range_test((X, TARGET), steps=3)  # works on copies
    run.fit((X, TARGET), **options)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-9)
    run.fit((X, TARGET), epochs=4, step_callbacks=[lambda run: regularize.max_norm(run.model.parameters(), 0.1)])
    assert np.linalg.norm(one[0].weight.value, axis=1).max() < 0.1 + 1e-6
