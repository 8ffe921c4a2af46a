"""LSTM and GRU against formulas written out, residual stacking, identity initialisation, pooling over time.

What is common to all kinds of cells is tested with RNN in test_nn.py, gradients in test_gradcheck.py.
"""

import numpy as np
import pytest

import fastnn
from fastnn import nn


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, state, w_ih, w_hh, b_ih, b_hh, layer):
    h, c = state
    i, f, g, o = np.split(w_ih @ x + b_ih + w_hh @ h + b_hh, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, state, w_ih, w_hh, b_ih, b_hh, layer):
    (h,) = state
    of_x, size = w_ih @ x + b_ih, len(h)
    r, z = np.split(sigmoid(of_x[: 2 * size] + w_hh[: 2 * size] @ h + b_hh[: 2 * size]), 2)
    w_hn, b_hn = w_hh[2 * size :], b_hh[2 * size :]
    of_h = r * (w_hn @ h + b_hn) if layer.reset_after else w_hn @ (r * h) + b_hn
    n = np.tanh(of_x[2 * size :] + of_h)
    return ((1 - z) * n + z * h,)


KINDS = {
    "lstm": (nn.LSTM, nn.LSTMCell, {}, lstm_step, 2),
    "gru": (nn.GRU, nn.GRUCell, {}, gru_step, 1),
    "gru-reset-before": (nn.GRU, nn.GRUCell, {"reset_after": False}, gru_step, 1),
}


def packed(arrays):
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def unpacked(state):
    return state if isinstance(state, tuple) else (state,)


def by_hand(layer, step, x, states, index, length):
    """Run one cell over one sequence as the formulas say; return y and the final state."""
    weights, names = layer.state_dict(), ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    directions = 1 + layer.bidirectional
    suffix, reverse = f"_l{index // directions}", index % directions
    weights = [weights.get(name + suffix + "_reverse" * reverse, 0) for name in names]
    weights = [w if np.ndim(w) else np.zeros(len(weights[0])) for w in weights]
    y, state = np.zeros((len(x), layer.hidden_size)), [array[index] for array in states]
    for t in range(length)[:: -1 if reverse else 1]:
        state = step(x[t], state, *weights, layer)
        y[t] = state[0]
    return y, state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3, 5]])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_layers(kind, bidirectional, lengths, batch_first, residual, rng):
    make, _, options, step, n_states = KINDS[kind]
    directions, bias = 1 + bidirectional, lengths is None
    layer = make(
        3,
        4,
        2,
        bias=bias,
        bidirectional=bidirectional,
        batch_first=batch_first,
        residual=residual,
        rng=1,
        dtype=np.float64,
        **options,
    )
    x, states = rng.standard_normal((5, 4, 3)), list(rng.standard_normal((n_states, 2 * directions, 4, 4)))
    expected, final = np.zeros((5, 4, 4 * directions)), [np.zeros_like(array) for array in states]
    for b, length in enumerate(lengths or [5] * 4):
        below = x[:, b]
        for first in (0, directions):
            runs = [
                by_hand(layer, step, below, [array[:, b] for array in states], first + d, length)
                for d in range(directions)
            ]
            for d, (_, state) in enumerate(runs):
                for array, value in zip(final, state, strict=True):
                    array[first + d, b] = value
            y = np.concatenate([y for y, _ in runs], axis=1)
            below = y + below if residual and first else y
        expected[:, b] = below
    given = x.swapaxes(0, 1) if batch_first else x
    y, last = layer(given, packed(states), lengths)
    np.testing.assert_allclose(y.swapaxes(0, 1) if batch_first else y, expected, atol=1e-13)
    for array, value in zip(unpacked(last), final, strict=True):
        np.testing.assert_allclose(array, value, atol=1e-13)
    (same, _), _ = layer.vjp(given, packed(states), lengths)
    np.testing.assert_array_equal(same, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [False, True])
def test_cells(kind, bias, rng):
    _, make, options, step, n_states = KINDS[kind]
    cell = make(3, 4, bias, rng=0, dtype=np.float64, **options)
    x, states = rng.standard_normal((2, 3)), list(rng.standard_normal((n_states, 2, 4)))
    weights = cell.state_dict()
    weights = [weights.get(name, np.zeros(len(cell.weight_ih.value))) for name in
               ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]  # fmt: skip
    expected = [step(row, [array[b] for array in states], *weights, cell) for b, row in enumerate(x)]
    new, back = cell.vjp(x, packed(states))
    for k, (array, same) in enumerate(zip(unpacked(new), unpacked(cell(x, packed(states))), strict=True)):
        np.testing.assert_allclose(array, [state[k] for state in expected], atol=1e-14)
        np.testing.assert_array_equal(array, same)
    _, dstate = back(*unpacked(new))
    assert [array.shape for array in unpacked(dstate)] == [(2, 4)] * n_states


def test_names_shapes_and_first_values():
    for make, gates in ((nn.LSTM, 4), (nn.GRU, 3)):
        layer = make(3, 400, 2, rng=0)
        shapes = {name: value.shape for name, value in layer.state_dict().items()}
        assert shapes["weight_ih_l0"] == (gates * 400, 3)
        assert shapes["weight_ih_l1"] == shapes["weight_hh_l1"] == (gates * 400, 400)
        assert shapes["bias_hh_l1"] == (gates * 400,)
        assert all(0.045 < abs(parameter.value).max() <= 0.05 for parameter in layer.parameters())


def test_states_of_lstm_are_pairs(rng):
    lstm, x = nn.LSTM(3, 4, rng=0), rng.standard_normal((5, 2, 3))
    with pytest.raises(ValueError, match="LSTM: state holds 1 arrays, expected 2"):
        lstm(x, np.zeros((1, 2, 4)))
    (y, (h, c)), back = lstm.vjp(x)
    from_h, from_c = back(None, (h, None))[0], back(None, (None, c))[0]
    np.testing.assert_allclose(from_h + from_c, back(None, (h, c))[0], atol=1e-6)
    np.testing.assert_array_equal(y[-1], h[0])


def test_bias_of_the_forget_gate():
    drawn = nn.LSTM(2, 3, 2, bidirectional=True, rng=0)
    chosen = nn.LSTM(2, 3, 2, bidirectional=True, forget_bias=1, rng=0)
    for (name, one), other in zip(drawn.named_parameters(), chosen.parameters(), strict=True):
        expected = one.value.copy()
        if name.startswith("bias"):
            expected[3:6] = name.startswith("bias_ih")
        np.testing.assert_array_equal(other.value, expected, err_msg=name)
    cell = nn.LSTMCell(2, 3, forget_bias=-0.5)
    np.testing.assert_array_equal(cell.bias_ih.value[3:6] + cell.bias_hh.value[3:6], -0.5)
    assert repr(cell) == "LSTMCell(input_size=2, hidden_size=3, forget_bias=-0.5)"
    assert nn.LSTM.from_state_dict(chosen.state_dict()).forget_bias is None
    for layer in nn.LSTM, nn.LSTMCell:
        with pytest.raises(ValueError, match="forget_bias is 1, expected None, since bias is False"):
            layer(2, 3, bias=False, forget_bias=1)
        with pytest.raises(ValueError, match="forget_bias is nan, expected a finite number"):
            layer(2, 3, forget_bias=np.nan)


def test_identity_initialisation():
    """A relu network keeps what it saw, and its gradient neither vanishes nor explodes."""
    rnn = nn.RNN(2, 3, 2, bidirectional=True, nonlinearity="relu", init="identity", rng=0)
    for name, value in rnn.state_dict().items():
        if name.startswith("weight_hh"):
            np.testing.assert_array_equal(value, np.eye(3))
        assert name.startswith("weight") or not value.any()
    rnn = nn.RNN(2, 3, nonlinearity="relu", init="identity", bias=False)
    x = np.zeros((100, 1, 2), np.float32)
    x[0] = 1
    rnn.weight_ih_l0.value[...] = 1
    (y, _), back = rnn.vjp(x)
    assert (y == 2).all()
    _, dstate = back(None, np.ones((1, 1, 3)))
    assert (dstate == 1).all()
    cell = nn.RNNCell(2, 3, nonlinearity="relu", init="identity")
    np.testing.assert_array_equal(cell(np.zeros((1, 2)), [[1, 2, 3]]), [[1, 2, 3]])
    with pytest.raises(ValueError, match="init is 'orthogonal', expected one of 'uniform', 'identity'"):
        nn.RNN(2, 3, init="orthogonal")


def test_residual_needs_layers():
    with pytest.raises(ValueError, match="residual is True, but it works between layers, and num_layers is 1"):
        nn.GRU(3, 4, residual=True)


def test_truncated_back_propagation_carries_the_state(rng):
    """Windows with the state carried give the outputs of the whole sequence; gradients end at their borders."""
    lstm, x = nn.LSTM(3, 4, 2, rng=0, dtype=np.float64), rng.standard_normal((6, 2, 3))
    whole, last = lstm(x)
    first, state = lstm(x[:4])
    (second, state), back = lstm.vjp(x[4:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-15)
    np.testing.assert_allclose(state, last, atol=1e-15)
    dx, dstate = back(np.ones_like(second))
    assert dx.shape == (2, 2, 3)
    assert all(array.any() for array in dstate)


def test_no_floating_point_warning_leaves_a_gated_layer():
    for layer in (nn.LSTM(4, 4, 2, residual=True), nn.GRU(4, 4), nn.GRU(4, 4, reset_after=False), nn.Pool("mean")):
        for value in (np.inf, -np.inf, np.nan, 3e38, 1e-45):
            with np.errstate(all="raise"):
                x = np.full((3, 2, 4), value, np.float32)
                y, back = nn.Residual(layer).vjp(x) if layer.returns_state else layer.vjp(x)
                back(np.full_like(y, value))
                layer(x)


# ---- containers ---------------------------------------------------------------------------------------------


def test_residual(rng):
    x = rng.standard_normal((5, 2, 4)).astype(np.float32)
    gru = nn.GRU(4, 4, rng=0)
    net = nn.Sequential(nn.Residual(gru), nn.Residual(nn.Linear(4, 4, rng=1)), nn.Pool("last"))
    h = x + gru(x, lengths=[5, 2])[0]
    h = h + net[1].layer(h)
    np.testing.assert_array_equal(net(x, lengths=[5, 2]), [h[4, 0], h[1, 1]])
    np.testing.assert_array_equal(net.vjp(x, lengths=[5, 2])[0], net(x, lengths=[5, 2]))
    assert net[0](x.astype(np.float64)).dtype == np.float32
    assert repr(net[1]) == "Residual(\n  (layer): Linear(in_features=4, out_features=4)\n)"
    _, back = net[1].vjp(np.ones((2, 4), np.int64))
    assert back(np.ones((2, 4))) is None
    with pytest.raises(ValueError, match=r"Residual: the layer turned \(2, 4\) into \(2, 3\), expected the same shape"):
        nn.Residual(nn.Linear(4, 3))(np.ones((2, 4)))
    with pytest.raises(TypeError, match="layer is 'relu', expected a Module"):
        nn.Residual("relu")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pool(batch_first, dtype, rng):
    x, lengths = rng.standard_normal((4, 3, 2)).astype(dtype), [4, 0, 2]
    x[2:, 2] = np.nan  # past the end
    given = x.swapaxes(0, 1) if batch_first else x
    expected = {"last": lambda s: s[-1], "mean": lambda s: s.mean(axis=0), "max": lambda s: s.max(axis=0)}
    for how, f in expected.items():
        pool = nn.Pool(how, batch_first=batch_first)
        y = pool(given, lengths=lengths)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, [f(x[:4, 0]), [0, 0], f(x[:2, 2])], rtol=2e-3 if dtype == np.float16 else 1e-6)
        y, back = pool.vjp(given, lengths=lengths)
        dx = back(np.ones_like(y))
        assert dx.shape == given.shape
        dx = dx.swapaxes(0, 1) if batch_first else dx
        np.testing.assert_allclose(dx.sum(axis=0, dtype=float), [[1, 1], [0, 0], [1, 1]], rtol=1e-3)
        assert not dx[2:, 2].any()
        np.testing.assert_allclose(pool(given[:, :1] if not batch_first else given[:1])[0], f(x[:, 0]), rtol=2e-3)


def test_pool_at_the_edges():
    for how in ("last", "mean", "max"):
        pool = nn.Pool(how)
        y, back = pool.vjp(np.zeros((0, 2, 3)))
        np.testing.assert_array_equal(y, np.zeros((2, 3)))
        assert back(y).shape == (0, 2, 3)
        assert np.isnan(pool(np.full((2, 1, 1), np.nan))).all()
        y, back = pool.vjp(np.ones((2, 1, 1), np.int64))
        assert y == 1
        assert back(y) is None
        with pytest.raises(ValueError, match=r"Pool: x has shape \(2, 3\), expected \(time, batch, features\)"):
            pool(np.ones((2, 3)))
        with pytest.raises(ValueError, match=r"Pool: dy has shape \(2,\), expected \(1, 1\)"):
            back(np.ones(2))
        with pytest.raises(ValueError, match="lengths hold 3"):
            pool(np.ones((2, 1, 1)), lengths=[3])
    np.testing.assert_array_equal(nn.Pool("max").vjp(np.ones((3, 1, 1)))[1]([[1.0]])[:, 0, 0], [1, 0, 0])
    assert nn.Pool("max")(np.full((2, 1, 1), -np.inf)) == -np.inf
    with pytest.raises(ValueError, match="how is 'first', expected one of 'last', 'mean', 'max'"):
        nn.Pool("first")


def test_a_classifier_over_ragged_sequences_learns(rng):
    """Whether the steps before the end of a sequence have a positive sum."""
    x, lengths = rng.standard_normal((8, 64, 1)).astype(np.float32), rng.integers(2, 9, 64)
    target = np.array([x[: lengths[b], b].sum() > 0 for b in range(64)]).astype(int)
    net = nn.Sequential(nn.GRU(1, 8, rng=rng), nn.Pool("mean"), nn.Linear(8, 2, rng=rng))
    opt = fastnn.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(60):
        logits, back = net.vjp(x, lengths=lengths)
        _, dlogits = fastnn.softmax_cross_entropy(logits, target)
        opt.zero_grad()
        back(dlogits)
        opt.step()
    assert (net(x, lengths=lengths).argmax(axis=1) == target).mean() > 0.97
