"""Layers: values, names, errors, re-entrancy. Their gradients are checked in test_gradcheck.py."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import nn


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def mlp(rng=0, dtype=np.float32):
    rng = np.random.default_rng(rng)
    return nn.Sequential(
        nn.Linear(6, 5, rng=rng, dtype=dtype), nn.Activation("tanh"), nn.Linear(5, 3, rng=rng, dtype=dtype)
    )


class Twice(nn.Module):
    """A module that names its parts itself, runs one of them twice, and keeps others in a list."""

    def __init__(self, size):
        self.size = size
        self.net = nn.Sequential(nn.Activation("relu"), nn.Activation("tanh"), nn.Linear(size, size, rng=0))
        self.more = [nn.Linear(size, 1, rng=1)]
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def vjp(self, x, *, training=True):
        h, first = self.net.vjp(x, training=training)
        h, second = self.net.vjp(h, training=training)
        y, last = self.more[0].vjp(h, training=training)
        return y, lambda dy: first(second(last(dy)))


# ---- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (1, 6), (4, 6), (0, 6), (3, 4, 6), (2, 0, 6), (2, 3, 4, 6)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, dtype, bias, rng):
    layer = nn.Linear(6, 5, bias=bias, rng=1, dtype=dtype)
    x = rng.standard_normal(shape).astype(dtype)
    weight = layer.weight.value.astype(np.float64)
    expected = x @ weight.T + (layer.bias.value if bias else 0)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    y, back = layer.vjp(x)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = back(dy)
    assert y.dtype == dx.dtype == layer.weight.grad.dtype == dtype
    assert y.shape == (*shape[:-1], 5)
    assert dx.shape == shape
    np.testing.assert_allclose(y, expected, atol=tolerance)
    np.testing.assert_array_equal(layer(x), y)
    np.testing.assert_allclose(dx, dy @ weight, atol=10 * tolerance)
    rows, drows = x.reshape(-1, 6).astype(np.float64), dy.reshape(-1, 5).astype(np.float64)
    np.testing.assert_allclose(layer.weight.grad, drows.T @ rows, atol=10 * tolerance)
    if bias:
        np.testing.assert_allclose(layer.bias.grad, drows.sum(0), atol=10 * tolerance)


def test_inputs_are_converted_to_the_layers_dtype():
    layer = nn.Linear(2, 2, rng=0)
    for x in ([[1, 2]], np.array([[1, 2]]), np.array([[1.0, 2.0]]), np.array([[1, 2]], np.float16)):
        assert layer(x).dtype == np.float32
        np.testing.assert_array_equal(layer(x), layer(np.array([[1, 2]], np.float32)))
    with pytest.raises(TypeError, match="x has dtype complex128"):
        layer(np.ones((1, 2), complex))
    assert layer.astype(np.float64)(np.ones((1, 2), np.float32)).dtype == np.float64


def test_integer_inputs_have_no_gradient():
    x = np.ones((3, 2, 4), np.uint8)
    plain = nn.Activation("tanh"), nn.Softmax(), nn.Exp()
    for layer in (nn.Linear(4, 2), *plain, nn.Linear(4, 2).astype(np.float64)):
        y, back = layer.vjp(x)
        assert back(np.ones_like(y)) is None
    (y, _), back = nn.RNN(4, 2).vjp(x)
    assert back(np.ones_like(y))[0] is None
    y, back = nn.Embedding(4, 2).vjp(x)
    assert back(np.ones_like(y)) is None


def test_activation(rng):
    x, dy = rng.standard_normal((2, 7)), rng.standard_normal((2, 7))
    for name in ("relu", "sigmoid", "tanh"):
        y, back = nn.Activation(name).vjp(x)
        np.testing.assert_array_equal(y, getattr(fastnn, name)(x))
        np.testing.assert_allclose(back(dy), dy * getattr(fastnn, f"{name}_derivative")(x), rtol=1e-12)
    layer = nn.Activation("leaky_relu", negative_slope=0.3)
    np.testing.assert_allclose(layer(x), np.where(x > 0, x, 0.3 * x))
    np.testing.assert_allclose(layer.vjp(x)[1](dy), np.where(x > 0, dy, 0.3 * dy))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outputs(dtype, rng):
    x, dy = rng.standard_normal((2, 4, 3)).astype(dtype)
    for layer, want in (
        (nn.Softmax(), fastnn.softmax(x)),
        (nn.Softmax(0), fastnn.softmax(x, 0)),
        (nn.Exp(), np.exp(x)),
    ):
        y, back = layer.vjp(x)
        assert y.dtype == back(dy).dtype == dtype
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(layer(x), want)
    with np.errstate(all="raise"):
        y, back = nn.Exp().vjp(np.array([1000.0, -1000.0]))
        np.testing.assert_array_equal(back(y), [np.inf, 0])


def test_the_gradient_of_the_inputs_is_made_when_needed(rng):
    rows, images = rng.standard_normal((5, 6), np.float32), rng.standard_normal((5, 3, 6, 7), np.float32)
    first = nn.Linear(6, 4, rng=0), nn.Activation("tanh"), nn.LayerNorm(6)
    convolutions = nn.Conv1d(3, 2, 3, rng=0), nn.Conv2d(3, 4, 3, rng=0)
    for layer in (*first, nn.Sequential(*first[:2]), *convolutions):
        x = {nn.Conv1d: images[..., 0], nn.Conv2d: images}.get(type(layer), rows)
        net = copy.deepcopy(nn.Sequential(layer, nn.Activation("relu")))
        y, back = net.vjp(x)
        assert back(y).shape == x.shape
        want = [parameter.grad for parameter in net.parameters()]
        for parameter in net.parameters():
            parameter.grad = None
        y, back = net.vjp(x, need_dx=False)
        assert back(y) is None
        for parameter, gradient in zip(net.parameters(), want, strict=True):
            np.testing.assert_array_equal(parameter.grad, gradient)


def test_activation_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="rleu"):
        nn.Activation("rleu")
    with pytest.raises(TypeError, match=r"relu does not take the parameters \{'slope': 1\}"):
        nn.Activation("relu", slope=1)


def test_embedding():
    layer = nn.Embedding(5, 3, padding_idx=-2, rng=0)
    assert layer.padding_idx == 3
    assert not layer.weight.value[3].any()
    x = np.array([[0, 3, 0], [4, 3, 0]])
    y, back = layer.vjp(x)
    np.testing.assert_array_equal(y, layer.weight.value[x])
    np.testing.assert_array_equal(layer(x), y)
    back(np.ones_like(y))
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [3, 0, 0, 0, 1])
    back(np.ones_like(y))
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [6, 0, 0, 0, 2])
    for wrong in ([5], [-1]):
        with pytest.raises(IndexError):
            layer(np.array(wrong))
    with pytest.raises(ValueError, match="padding_idx is 5, expected from -5 to 4"):
        nn.Embedding(5, 3, padding_idx=5)


# ---- dropout ------------------------------------------------------------------------------------------------


def test_dropout_trains_and_infers():
    layer = nn.Dropout(0.25, rng=0)
    x = np.ones((100, 100), np.float32)
    assert layer(x) is x
    y, back = layer.vjp(x, training=False)
    assert y is x
    assert back(x) is x
    y, back = layer.vjp(x)
    kept = y != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_array_equal(y[kept], np.float32(1 / 0.75))
    np.testing.assert_array_equal(back(x), y)
    assert (layer.vjp(x)[0] != y).any()
    np.testing.assert_array_equal(nn.Dropout(0.25, rng=0).vjp(x)[0], y)


def test_dropout_that_scales_when_not_in_training():
    layer = nn.Dropout(0.5, inverted=False, shared_axes=0, rng=0)
    x = np.arange(1, 41, dtype=np.float32).reshape(4, 10)
    y, back = layer.vjp(x)
    mask = nn.Dropout(0.5, shared_axes=0, rng=0).vjp(x)[0] != 0
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(y, x * mask)
    np.testing.assert_array_equal(back(x), x * mask)
    y, back = layer.vjp(x, training=False)
    for found in layer(x), y, back(x):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, x * np.float32(0.5))
    assert repr(layer) == "Dropout(inverted=False, shared_axes=(0,))"
    none, all_of_them = nn.Dropout(0, inverted=False), nn.Dropout(1, inverted=False)
    assert np.array_equal(none(x), x)
    assert np.array_equal(none.vjp(x)[0], x)
    assert not all_of_them(x).any()
    assert not all_of_them.vjp(x)[0].any()
    with np.errstate(all="raise"):
        found, _ = layer.vjp(np.full(x.shape, 3e38, np.float32))
    assert set(found.ravel()) == {np.float32(3e38), np.float32(0)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dropout_is_exact_at_its_ends(dtype):
    x = np.array([1.1, np.nan, np.inf, -0.0], dtype)
    y, mask = fastnn.dropout(x, 0, np.random.default_rng(0))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, x)
    assert mask.all()
    np.testing.assert_array_equal(fastnn.dropout_backward(x, mask, 0), x)
    with np.errstate(all="raise"):
        y, mask = fastnn.dropout(x, 1, np.random.default_rng(0))
    assert not mask.any()
    np.testing.assert_array_equal(y, np.zeros(4))
    np.testing.assert_array_equal(fastnn.dropout_backward(x, mask, 1), np.zeros(4))


def test_dropout_errors():
    x = np.ones(3)
    for wrong in (0, None, np.random):
        with pytest.raises(TypeError, match="would repeat one mask in every call"):
            fastnn.dropout(x, 0.5, wrong)
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
            fastnn.dropout(x, wrong, np.random.default_rng(0))
        with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
            nn.Dropout(wrong)
    with pytest.raises(ValueError, match=r"mask has shape \(2,\), expected \(3,\)"):
        fastnn.dropout_backward(x, np.ones(2, bool), 0.5)
    with pytest.raises(TypeError, match="mask has dtype int64, expected bool"):
        fastnn.dropout_backward(x, np.ones(3, np.int64), 0.5)
    with pytest.raises(TypeError, match="x has dtype complex128"):
        fastnn.dropout(x.astype(complex), 0.5, np.random.default_rng(0))


# ---- recurrent ----------------------------------------------------------------------------------------------


def by_hand(rnn, x, h, layer, reverse, length):
    """Run one cell over one sequence, as the formula says; return y and the final state."""
    suffix = f"_l{layer}" + "_reverse" * reverse
    weights = {name: parameter.value for name, parameter in rnn.named_parameters()}
    f = np.tanh if rnn.nonlinearity == "tanh" else lambda z: np.maximum(z, 0)
    y = np.zeros((len(x), rnn.hidden_size))
    for t in range(length)[:: -1 if reverse else 1]:
        z = weights[f"weight_ih{suffix}"] @ x[t] + weights[f"weight_hh{suffix}"] @ h
        if rnn.bias:
            z = z + weights[f"bias_ih{suffix}"] + weights[f"bias_hh{suffix}"]
        y[t] = h = f(z)
    return y, h


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3, 5]])
@pytest.mark.parametrize("batch_first", [False, True])
def test_rnn(nonlinearity, bidirectional, lengths, batch_first, rng):
    rnn = nn.RNN(
        3,
        4,
        2,
        nonlinearity=nonlinearity,
        bidirectional=bidirectional,
        batch_first=batch_first,
        bias=lengths is None,
        rng=1,
        dtype=np.float64,
    )
    directions = 1 + bidirectional
    x, state = rng.standard_normal((5, 4, 3)), rng.standard_normal((2 * directions, 4, 4))
    expected, final = np.zeros((5, 4, 4 * directions)), np.zeros_like(state)
    for b, length in enumerate(lengths or [5] * 4):
        below = x[:, b]
        for layer in range(2):
            runs = [
                by_hand(rnn, below, state[layer * directions + d, b], layer, d == 1, length) for d in range(directions)
            ]
            below = np.concatenate([y for y, _ in runs], axis=1)
            final[layer * directions : (layer + 1) * directions, b] = [h for _, h in runs]
        expected[:, b] = below
    y, h = rnn(x.swapaxes(0, 1) if batch_first else x, state, lengths)
    np.testing.assert_allclose(y.swapaxes(0, 1) if batch_first else y, expected, atol=1e-13)
    np.testing.assert_allclose(h, final, atol=1e-13)


def test_rnn_without_a_state_starts_from_zeros(rng):
    rnn, x = nn.RNN(3, 4, 2, rng=0), rng.standard_normal((5, 2, 3))
    np.testing.assert_array_equal(rnn(x)[0], rnn(x, np.zeros((2, 2, 4)))[0])
    cell = nn.RNNCell(3, 4, rng=0)
    np.testing.assert_array_equal(cell(x[0]), cell(x[0], np.zeros((2, 4))))


def test_rnn_pulls_back_from_its_output_its_state_or_both(rng):
    rnn, x = nn.RNN(3, 4, 2, bidirectional=True, rng=0, dtype=np.float64), rng.standard_normal((5, 2, 3))
    (y, h), back = rnn.vjp(x)
    dy, dh = rng.standard_normal(y.shape), rng.standard_normal(h.shape)
    both, from_y, from_h = back(dy, dh), back(dy), back(None, dh)
    for whole, a, b in zip(both, from_y, from_h, strict=True):
        np.testing.assert_allclose(whole, a + b, atol=1e-14)


def test_rnn_cell_is_a_step_of_rnn(rng):
    for bias in (True, False):
        rnn = nn.RNN(3, 4, bias=bias, nonlinearity="relu", rng=0)
        cell = nn.RNNCell(3, 4, bias, "relu")
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in rnn.state_dict().items()})
        x, h = rng.standard_normal((1, 2, 3)), rng.standard_normal((2, 4))
        np.testing.assert_allclose(cell(x[0], h), rnn(x, h[None])[1][0], rtol=1e-6)
        (_, state), back = rnn.vjp(x, h[None])
        y, cell_back = cell.vjp(x[0], h)
        np.testing.assert_array_equal(y, cell(x[0], h))
        dx, dstate = back(None, np.ones_like(state))
        cell_dx, cell_dh = cell_back(np.ones_like(y))
        np.testing.assert_allclose(cell_dx, dx[0], atol=1e-6)
        np.testing.assert_allclose(cell_dh, dstate[0], atol=1e-6)
        for name, parameter in cell.named_parameters():
            np.testing.assert_allclose(parameter.grad, getattr(rnn, f"{name}_l0").grad, atol=1e-6)


def test_recurrent_dropout_is_between_layers_in_training(rng):
    rnn, x = nn.RNN(3, 50, 2, dropout=0.5, rng=0), rng.standard_normal((4, 2, 3))
    (first, _), _ = rnn.vjp(x)
    (second, _), _ = rnn.vjp(x)
    assert (first != second).any()
    np.testing.assert_array_equal(rnn(x)[0], rnn.vjp(x, training=False)[0][0])
    np.testing.assert_array_equal(rnn.vjp(x)[0][1][0], rnn(x)[1][0])  # the first layer is never thinned
    with pytest.raises(ValueError, match=r"dropout is 0.5, but it works between layers, and num_layers is 1"):
        nn.RNN(3, 4, dropout=0.5)


def test_bias_gradients_are_arrays_of_their_own():
    rnn = nn.RNN(3, 4, rng=0)
    (y, _), back = rnn.vjp(np.ones((2, 1, 3), np.float32))
    back(np.ones_like(y))
    grads = [parameter.grad for parameter in rnn.parameters()]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(grads) for b in grads[i + 1 :])


def test_sequential_hands_on_outputs_and_lengths(rng):
    rnn, linear = nn.RNN(4, 3, rng=0), nn.Linear(3, 2, rng=1)
    net = nn.Sequential(nn.Sequential(nn.Embedding(7, 4, rng=2), rnn), linear)
    ids = rng.integers(0, 7, (5, 2))
    y, back = net.vjp(ids, lengths=[5, 2])
    np.testing.assert_array_equal(y, linear(rnn(net[0][0](ids), lengths=[5, 2])[0]))
    np.testing.assert_array_equal(net(ids, lengths=[5, 2]), y)
    assert back(np.ones_like(y)) is None
    assert all(parameter.grad is not None for parameter in net.parameters())
    with pytest.raises(ValueError, match="lengths were given, but no layer takes them"):
        nn.Sequential(linear)(np.ones((1, 3)), lengths=[1])
    with pytest.raises(TypeError, match="layer 1 is 'relu', expected a Module"):
        nn.Sequential(linear, "relu")
    assert len(net) == 2
    assert list(net)[1] is net[1] is linear
    assert net[1:].layers == (linear,)


# ---- pullbacks ----------------------------------------------------------------------------------------------


def test_a_layer_may_run_many_times_before_any_pullback(rng):
    net = nn.Sequential(nn.RNN(4, 5, rng=0), nn.Linear(5, 3, rng=1), nn.Activation("gelu"), nn.Dropout(0.5, rng=2))
    net = net.astype(np.float64)
    xs = rng.standard_normal((2, 3, 2, 4))
    together = copy.deepcopy(net)
    runs = [together.vjp(x) for x in xs]
    dys = [np.cos(y) for y, _ in runs]
    dxs = [back(dy) for (_, back), dy in zip(runs, dys, strict=True)]
    for x, (y, _), dy, dx in zip(xs, runs, dys, dxs, strict=True):
        alone, back = net.vjp(x)
        np.testing.assert_array_equal(alone, y)
        np.testing.assert_array_equal(back(dy), dx)
    for one, other in zip(net.parameters(), together.parameters(), strict=True):
        np.testing.assert_allclose(one.grad, other.grad, rtol=1e-12)


def test_gradients_accumulate():
    net, x = mlp(), np.ones((2, 6), np.float32)
    y, back = net.vjp(x)
    back(np.ones_like(y))
    once = [parameter.grad.copy() for parameter in net.parameters()]
    back(np.ones_like(y))
    for parameter, grad in zip(net.parameters(), once, strict=True):
        np.testing.assert_array_equal(parameter.grad, 2 * grad)


def test_a_shared_parameter_gets_both_gradients(rng):
    a, b = nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1)
    b.weight = a.weight
    net = nn.Sequential(a, b)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    report = fastnn.gradcheck(net, rng.standard_normal((2, 3)))
    assert report.error < 1e-6
    assert Twice(2).astype(np.float64).net[2].weight.value.dtype == np.float64
    assert fastnn.gradcheck(Twice(2), rng.standard_normal((4, 2))).error < 1e-6


def test_no_floating_point_warning_leaves_a_layer():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.RNN(4, 2, 2, bidirectional=True), nn.Activation("silu"))
    for value in (np.inf, -np.inf, np.nan, 3e38, 1e-45):
        with np.errstate(all="raise"):
            x = np.full((3, 2, 4), value, np.float32)
            y, back = net.vjp(x)
            back(np.full_like(y, value))
            back(np.full_like(y, value))
            net(x)
            (_, state), back = net[2].vjp(x)
            back(None, np.full_like(state, value))


def test_numbers_too_large_for_the_layers_dtype_are_infinite():
    big = np.full((2, 3), 1e200)
    with np.errstate(all="raise"):
        for layer, x in (
            (nn.Linear(3, 2), big),
            (nn.Conv1d(3, 2, 1), big[..., None]),
            (nn.LayerNorm(3), big),
            (nn.BatchNorm1d(3), big),
            (nn.RNN(3, 2), big[None]),
        ):
            layer(x)
        y, back = nn.Linear(3, 2).vjp(np.ones((2, 3)))
        back(np.full(y.shape, 1e200))
        net = nn.Linear(3, 2, dtype=np.float64)
        net.load_state_dict({"weight": big, "bias": np.zeros(2)})
        assert np.isinf(net.astype(np.float32).weight.value).all()
        layer = nn.Linear(3, 2)
        layer.load_state_dict(net.state_dict())
        assert np.isinf(layer.weight.value).all()
        assert np.isinf(nn.Embedding.from_vectors(big.astype(np.longdouble)).weight.value).all()


def test_inputs_stay_as_they_are(rng):
    net = nn.Sequential(nn.Linear(4, 4), nn.Activation("relu"), nn.Dropout(0.5), nn.RNN(4, 2))
    x, dy = rng.standard_normal((3, 2, 4)).astype(np.float32), rng.standard_normal((3, 2, 2)).astype(np.float32)
    before = x.copy(), dy.copy()
    x.flags.writeable = dy.flags.writeable = False
    y, back = net.vjp(x)
    back(dy)
    back(dy)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(dy, before[1])
    assert not np.shares_memory(y, dy)


# ---- names, weights, text -----------------------------------------------------------------------------------


def test_names_and_shapes_are_pytorchs():
    rnn = nn.RNN(3, 4, 2, bidirectional=True)
    assert {name: value.shape for name, value in rnn.state_dict().items()} == {
        "weight_ih_l0": (4, 3),
        "weight_hh_l0": (4, 4),
        "bias_ih_l0": (4,),
        "bias_hh_l0": (4,),
        "weight_ih_l0_reverse": (4, 3),
        "weight_hh_l0_reverse": (4, 4),
        "bias_ih_l0_reverse": (4,),
        "bias_hh_l0_reverse": (4,),
        "weight_ih_l1": (4, 8),
        "weight_hh_l1": (4, 4),
        "bias_ih_l1": (4,),
        "bias_hh_l1": (4,),
        "weight_ih_l1_reverse": (4, 8),
        "weight_hh_l1_reverse": (4, 4),
        "bias_ih_l1_reverse": (4,),
        "bias_hh_l1_reverse": (4,),
    }
    assert list(nn.RNN(3, 4, bias=False).state_dict()) == ["weight_ih_l0", "weight_hh_l0"]
    cell = {name: value.shape for name, value in nn.RNNCell(3, 4).state_dict().items()}
    assert cell == {"weight_ih": (4, 3), "weight_hh": (4, 4), "bias_ih": (4,), "bias_hh": (4,)}
    assert list(nn.Embedding(3, 4).state_dict()) == ["weight"]
    assert list(nn.Linear(3, 4, bias=False).state_dict()) == ["weight"]
    names = ["scale", "net.2.weight", "net.2.bias", "more.0.weight", "more.0.bias"]
    assert list(Twice(2).state_dict()) == names


@pytest.mark.parametrize(
    ("layer", "bound"),
    [(nn.Linear(400, 300, rng=0), 0.05), (nn.RNN(30, 400, 2, rng=0), 0.05), (nn.RNNCell(30, 400, rng=0), 0.05)],
)
def test_first_values_are_pytorchs(layer, bound):
    for parameter in layer.parameters():
        assert abs(parameter.value).max() <= bound
        assert abs(parameter.value).max() > 0.95 * bound
        assert abs(parameter.value.mean()) < 0.1 * bound
    assert abs(nn.Embedding(300, 300, rng=0).weight.value.std() - 1) < 0.02


def test_the_same_rng_gives_the_same_weights():
    for make in (lambda rng: nn.Linear(3, 2, rng=rng), lambda rng: nn.RNN(3, 2, rng=rng)):
        for one, other in zip(make(5).parameters(), make(np.random.default_rng(5)).parameters(), strict=True):
            np.testing.assert_array_equal(one.value, other.value)
        assert (make(None).parameters()[0].value != make(None).parameters()[0].value).any()


def test_state_dict_round_trip():
    net, other = mlp(0), mlp(1)
    state = net.state_dict()
    assert other.load_state_dict(state) == ([], [])
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    state["0.weight"][:] = 7  # a copy
    assert (net.layers[0].weight.value != 7).all()
    wide = mlp(2, np.float64)
    wide.load_state_dict(net.state_dict())
    assert wide.layers[0].weight.value.dtype == np.float64


def test_load_state_dict_lists_everything_that_is_wrong_and_writes_nothing():
    net = mlp()
    before = net.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    del state["0.bias"]
    state["2.weight"] = np.ones((2, 2))
    state["2.bias"] = np.ones(3, complex)
    state["extra"] = np.ones(1)
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    for part in (
        "missing: 0.bias",
        "unexpected: extra",
        "2.weight has shape (2, 2), expected (3, 5)",
        "2.bias has dtype complex128, expected float32",
    ):
        assert part in str(caught.value)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(ValueError, match=r"2\.weight has shape"):
        net.load_state_dict(state, strict=False)
    del state["2.weight"], state["2.bias"]
    assert net.load_state_dict(state, strict=False) == (["0.bias", "2.weight", "2.bias"], ["extra"])
    np.testing.assert_array_equal(net.layers[0].weight.value, before["0.weight"] + 1)


def test_repr_and_summary():
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 2, bias=False), nn.Dropout(0.1)), nn.RNN(2, 4, 2, batch_first=True))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=2, bias=False)\n"
        "    (1): Dropout(p=0.1)\n"
        "  )\n"
        "  (1): RNN(input_size=2, hidden_size=4, num_layers=2, batch_first=True)\n"
        ")"
    )
    assert repr(nn.Dropout()) == "Dropout()"
    assert repr(nn.Parameter(np.ones(2))) == "Parameter((2,), float64)"
    table = net.summary(np.ones((5, 6, 3), np.float32)).splitlines()
    assert [line.split() for line in table[1:3]] == [
        ["Sequential", "(5,", "6,", "4)", "78"],
        ["0", "Sequential", "(5,", "6,", "2)", "6"],
    ]
    assert table[-1].split() == ["1", "RNN", "(5,", "6,", "4),", "(2,", "5,", "4)", "72"]
    shared, joined = nn.Linear(2, 2), nn.Flatten(0, 1)
    table = nn.Sequential(shared, joined, shared).summary(np.ones((5, 6, 2), np.float32)).splitlines()
    assert [line.split()[:-1] for line in (table[2], table[4])] == [
        ["0", "Linear", "(5,", "6,", "2)"],
        ["2", "Linear", "(30,", "2)"],
    ]
    assert "vjp" not in vars(net)
    with pytest.raises(ValueError):
        net.summary(np.ones(2))
    assert not any("vjp" in vars(module) for _, module in net.named_modules())


def test_shape_errors_name_the_layer():
    cases = [
        (nn.Linear(64, 3), (32, 31), r"^Linear: x has shape \(32, 31\), expected \(..., 64\)$"),
        (nn.Linear(64, 3), (), r"^Linear: x has shape \(\), expected \(..., 64\)$"),
        (mlp(), (2, 5), r"^0 \(Linear\): x has shape \(2, 5\), expected \(..., 6\)$"),
        (nn.Sequential(mlp(), nn.Linear(4, 1)), (2, 6), r"^1 \(Linear\): x has shape \(2, 3\), expected \(..., 4\)$"),
        (Twice(4), (2, 3), r"^net\.2 \(Linear\): x has shape \(2, 3\), expected \(..., 4\)$"),
        (nn.RNN(3, 4), (2, 3), r"^RNN: x has shape \(2, 3\), expected \(time, batch, 3\)$"),
        (nn.RNN(3, 4, batch_first=True), (5, 2, 4), r"expected \(batch, time, 3\)$"),
        (nn.RNNCell(3, 4), (2, 4), r"^RNNCell: x has shape \(2, 4\), expected \(batch, 3\)$"),
    ]
    for layer, shape, message in cases:
        for call in (layer, layer.vjp):
            with pytest.raises(ValueError, match=message):
                call(np.ones(shape, np.float32))


def test_errors_of_gradients_and_states():
    net = mlp()
    _, back = net.vjp(np.ones((2, 6)))
    with pytest.raises(ValueError, match=r"Linear.: dy has shape \(3, 3\), expected \(2, 3\)|Linear: dy has"):
        back(np.ones((3, 3)))
    rnn = nn.RNN(3, 4, 2)
    with pytest.raises(ValueError, match=r"state has shape \(1, 5, 4\), expected \(2, 5, 4\)"):
        rnn(np.ones((6, 5, 3)), np.ones((1, 5, 4)))
    _, back = rnn.vjp(np.ones((6, 5, 3)))
    with pytest.raises(ValueError, match=r"dy has shape \(5, 6, 4\), expected \(6, 5, 4\)"):
        back(np.ones((5, 6, 4)))
    with pytest.raises(ValueError, match=r"state has shape \(4,\), expected \(2, 4\)"):
        nn.RNNCell(3, 4)(np.ones((2, 3)), np.ones(4))


def test_constructors_refuse_nonsense():
    for wrong in (0, -1, 2.5, "2", None):
        with pytest.raises(ValueError, match=r"in_features is .*, expected a positive integer"):
            nn.Linear(wrong, 2)
        with pytest.raises(ValueError, match=r"hidden_size is .*, expected a positive integer"):
            nn.RNN(2, wrong)
        with pytest.raises(ValueError, match=r"num_embeddings is .*, expected a positive integer"):
            nn.Embedding(wrong, 2)
    for wrong in (np.int64, np.float16, complex):
        with pytest.raises(TypeError, match="expected float32 or float64"):
            nn.Linear(2, 2, dtype=wrong)
        with pytest.raises(TypeError, match="expected float32 or float64"):
            mlp().astype(wrong)
        with pytest.raises(TypeError, match="expected float32 or float64"):
            nn.Parameter(np.ones(2, wrong))
    with pytest.raises(ValueError, match="nonlinearity is 'sigmoid', expected one of 'tanh', 'relu'"):
        nn.RNN(2, 2, nonlinearity="sigmoid")


def test_a_parameter_is_a_copy():
    value = np.ones((2, 3)).T
    value.flags.writeable = False
    parameter = nn.Parameter(value)
    parameter.value += 1
    assert parameter.value.flags.c_contiguous
    assert (value == 1).all()


def test_modules_can_be_copied_and_pickled():
    net = nn.Sequential(nn.Linear(2, 3), nn.Activation("elu", alpha=0.5), nn.Dropout(0.5), nn.RNN(3, 2))
    x = np.ones((4, 1, 2), np.float32)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(x), net(x))
        assert twin.layers[0].weight is not net.layers[0].weight


# ---- the whole ----------------------------------------------------------------------------------------------


def test_a_network_trained_by_hand_learns(rng):
    """The README's block for teachers: two spirals that no straight line parts."""
    turn = rng.uniform(0.5, 3, 200) * np.pi
    label = rng.integers(0, 2, 200)
    x = np.stack([np.cos(turn + label * np.pi), np.sin(turn + label * np.pi)], axis=1) * turn[:, None] / 10
    net = nn.Sequential(nn.Linear(2, 32, rng=rng), nn.Activation("tanh"), nn.Linear(32, 2, rng=rng))
    opt = fastnn.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(600):
        logits, back = net.vjp(x)
        loss, dlogits = fastnn.softmax_cross_entropy(logits, label)
        opt.zero_grad()
        back(dlogits)
        opt.step()
    assert loss < 0.1
    assert (net(x).argmax(axis=1) == label).mean() > 0.97
