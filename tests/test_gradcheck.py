"""Numerical gradients, what `gradcheck` makes of them, and every layer of `nn` under it."""

import numpy as np
import pytest

import fastnn
from fastnn import gradcheck, nn, numerical_gradient

LIMIT = 1e-6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---- numerical_gradient -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_numerical_gradient(shape, rng):
    x = rng.standard_normal(shape)
    before = x.copy()
    gradient = numerical_gradient(lambda x: np.sin(x).sum(), x)
    assert gradient.shape == shape
    np.testing.assert_allclose(gradient, np.cos(x), atol=1e-9)
    np.testing.assert_array_equal(x, before)


def test_numerical_gradient_perturbs_a_float64_array_in_place(rng):
    x = rng.standard_normal((4, 3)).T  # f closes over the array it is given
    np.testing.assert_allclose(numerical_gradient(lambda _: (x**2).sum(), x), 2 * x, atol=1e-9)


def test_numerical_gradient_restores_x_even_if_f_raises(rng):
    x = rng.standard_normal(5)
    before = x.copy()
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) == 6:
            raise RuntimeError("stop")
        return x.sum()

    with pytest.raises(RuntimeError, match="stop"):
        numerical_gradient(f, x)
    np.testing.assert_array_equal(x, before)


def test_numerical_gradient_copies_what_it_cannot_perturb():
    x = np.arange(3.0)
    x.flags.writeable = False
    np.testing.assert_allclose(numerical_gradient(lambda x: (x**2).sum(), x), [0, 2, 4], atol=1e-9)
    for other in ([0, 1, 2], np.arange(3), np.arange(3, dtype=np.float32)):
        gradient = numerical_gradient(lambda x: (x**2).sum(), other)
        assert gradient.dtype == np.float64
        np.testing.assert_allclose(gradient, [0, 2, 4], atol=1e-9)


def test_numerical_gradient_takes_its_step_from_eps():
    assert numerical_gradient(lambda x: x**3, np.array(0.0), eps=0.5) == 0.25
    with pytest.raises(ValueError, match=r"f returned an array of shape \(3,\), expected a number"):
        numerical_gradient(lambda x: x, np.ones(3))


# ---- gradcheck itself ---------------------------------------------------------------------------------------


def test_a_right_function_passes_and_a_wrong_one_is_caught(rng):
    x = rng.standard_normal((3, 2))
    assert gradcheck(lambda x: ((x**3).sum(), 3 * x**2), x).error < LIMIT

    def wrong(x):
        gradient = 3 * x**2
        gradient[1, 0] *= 1.01
        return (x**3).sum(), gradient

    report = gradcheck(wrong, x)
    worst = report["x"]
    assert worst.index == (1, 0)
    assert abs(worst.error - 0.01 / 1.01) < 1e-6
    assert abs(worst.analytic / worst.numerical - 1.01) < 1e-6
    assert report.error == worst.error
    assert str(report).splitlines()[1].split()[:4] == ["x", "9.9e-03", "(1,", "0)"]


def test_small_elements_count_as_soon_as_they_can_be_told(rng):
    """A wrong element a thousand times smaller than the others is still far above the limit."""
    x = np.array([1.0, 1e-3])
    report = gradcheck(lambda x: ((x**2).sum(), np.array([2 * x[0], 0.0])), x)
    assert report["x"].index == (1,)
    assert report.error > 0.1
    assert gradcheck(lambda x: (1 + 0 * x.sum(), 0 * x), x).error < LIMIT


def test_several_inputs_and_other_shapes(rng):
    x, w = rng.standard_normal(3), rng.standard_normal(3)
    report = gradcheck(lambda x, w: (x @ w, (w, x)), x, w)
    assert list(report) == ["x0", "x1"]
    assert report.error < LIMIT
    assert gradcheck(lambda x, w: (x @ w, (w, None)), x, w)["x1"].error == 1
    with pytest.raises(ValueError, match=r"gradient of x has shape \(2,\), expected \(3,\)"):
        gradcheck(lambda x: (x.sum(), np.ones(2)), x)
    assert gradcheck(lambda x, scale: (scale * x.sum(), np.full(3, scale)), x, scale=3.0).error < LIMIT


@pytest.mark.parametrize("share", [0, 0.1, 0.2, 0.33, 0.5, 0.9, -0.2, -0.7])
def test_kinks_are_flagged_and_do_not_count(share, rng):
    x = rng.standard_normal(5)
    x[[1, 3]] = 1e-5 * share
    for f, slope in ((lambda x: np.maximum(x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)), (abs, np.sign)):
        report = gradcheck(lambda x, f=f, slope=slope: ((f(x) + x**2).sum(), slope(x) + 2 * x), x)
        assert report.error < LIMIT
        if f is not abs or share:  # the difference across the corner of abs is its gradient there
            assert report["x"].kinks == ((1,), (3,))
            assert report.kinks == 2
            assert str(report).splitlines()[0].endswith("kinks")


def test_only_kinks_are_flagged(rng):
    x = np.array([0.0, 1.0])
    report = gradcheck(lambda x: (abs(x).sum(), np.array([1.5, 1.0])), x)  # no slope on either side
    assert report["x"].index == (0,)
    assert (report.error, report.kinks) == (1.5 / 1.5, 0)
    report = gradcheck(lambda x: (np.sin(30 * x).sum(), 0 * x), x)  # curved, and wrong
    assert (report.error, report.kinks) == (1, 0)
    report = gradcheck(lambda x: ((x > 1e-7).sum(), 0 * x), x)  # a step
    assert (report.error, report.kinks) == (1, 0)
    assert gradcheck(nn.Activation("relu"), np.array([0.0, -1.0, 2.0]))["x"].kinks == ((0,),)
    assert gradcheck(nn.MaxPool1d(2), np.zeros((1, 1, 4))).kinks > 0


def test_a_random_function_is_refused(rng):
    with pytest.raises(ValueError, match=r"f returned .* for the same inputs, expected the same each time"):
        gradcheck(lambda x: (x.sum() + rng.random(), np.ones(2)), np.ones(2))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_inputs_stay_as_they_are_even_if_f_raises(dtype, rng):
    x, calls = rng.standard_normal(3).astype(dtype), []
    x.flags.writeable = False
    before = x.copy()

    def f(y):
        calls.append(y)
        if len(calls) == 6:
            raise RuntimeError("stop")
        return (y**2).sum(), 2 * y

    with pytest.raises(RuntimeError, match="stop"):
        gradcheck(f, x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(calls[0], before)  # what f got is restored too


class Wrong(nn.Linear):
    """A layer that forgets the bias's gradient, and mistakes that of its input."""

    def vjp(self, x, *, training=True):
        y, back = super().vjp(x)

        def wrong(dy):
            dx = back(dy)
            self.bias.grad = None
            return 2 * dx

        return y, wrong


def test_a_wrong_layer_is_caught(rng):
    layer, x = Wrong(3, 2, rng=0), rng.standard_normal((4, 3))
    report = gradcheck(layer, x)
    assert abs(report["x"].error - 0.5) < LIMIT
    assert report["weight"].error < LIMIT
    assert report["bias"].error == 1
    assert layer.weight.value.dtype == np.float32  # the check works on a copy
    assert layer.weight.grad is None


# ---- every layer --------------------------------------------------------------------------------------------

X = np.random.default_rng(1).standard_normal((4, 3, 5))
IMAGE = np.random.default_rng(3).standard_normal((2, 4, 6, 5))
IDS = np.array([[0, 2, 2], [6, 0, 2]])
STATE = np.random.default_rng(2).standard_normal((4, 3, 2))
RNN = {"num_layers": 2, "bidirectional": True, "rng": 0}

LAYERS = {
    "linear": (nn.Linear(5, 2, rng=0), [X], {}),
    "linear-row": (nn.Linear(5, 2, bias=False, rng=0), [X[0, 0]], {}),
    "embedding": (nn.Embedding(7, 3, rng=0), [IDS], {}),
    "embedding_bag": (nn.EmbeddingBag(7, 3, padding_idx=1, rng=0), [IDS], {}),
    "dropout": (nn.Dropout(0.4, rng=0), [X], {}),
    "dropout-inference": (nn.Dropout(0.4, rng=0), [X], {"training": False}),
    "softmax": (nn.Softmax(1), [X], {}),
    "exp": (nn.Exp(), [X], {}),
    "rnn": (nn.RNN(5, 2, rng=0), [X], {}),
    "rnn-relu": (nn.RNN(5, 2, nonlinearity="relu", bias=False, rng=3), [X], {}),
    "rnn-deep": (nn.RNN(5, 2, **RNN), [X, STATE], {}),
    "rnn-lengths": (nn.RNN(5, 2, **RNN), [X, STATE], {"lengths": [2, 0, 4]}),
    "rnn-batch-first": (nn.RNN(5, 2, batch_first=True, **RNN), [X.swapaxes(0, 1)], {"lengths": [2, 0, 4]}),
    "rnn-dropout": (nn.RNN(5, 2, dropout=0.5, **RNN), [X, STATE], {}),
    "cell": (nn.RNNCell(5, 2, rng=0), [X[0], STATE[0]], {}),
    "cell-relu": (nn.RNNCell(5, 2, False, "relu", rng=0), [X[0]], {}),
    "rnn-residual": (nn.RNN(5, 2, residual=True, dropout=0.5, **RNN), [X, STATE], {"lengths": [2, 0, 4]}),
    "lstm": (nn.LSTM(5, 2, bias=False, rng=0), [X], {}),
    "lstm-deep": (nn.LSTM(5, 2, dropout=0.5, residual=True, **RNN), [X, (STATE, -STATE)], {"lengths": [2, 0, 4]}),
    "gru": (nn.GRU(5, 2, bias=False, rng=0), [X], {}),
    "gru-deep": (nn.GRU(5, 2, batch_first=True, **RNN), [X.swapaxes(0, 1), STATE], {"lengths": [2, 0, 4]}),
    "gru-reset-before": (nn.GRU(5, 2, reset_after=False, **RNN), [X, STATE], {"lengths": [2, 0, 4]}),
    "lstm-cell": (nn.LSTMCell(5, 2, rng=0), [X[0], (STATE[0], STATE[1])], {}),
    "gru-cell": (nn.GRUCell(5, 2, rng=0), [X[0], STATE[0]], {}),
    "gru-cell-reset-before": (nn.GRUCell(5, 2, False, reset_after=False, rng=0), [X[0], STATE[0]], {}),
    **{f"pool-{how}": (nn.Pool(how), [X], {"lengths": [2, 0, 4]}) for how in ("last", "mean", "max")},
    "pool-batch-first": (nn.Pool("mean", batch_first=True), [X], {}),
    "residual": (nn.Residual(nn.Sequential(nn.Linear(5, 5, rng=0), nn.Activation("tanh"))), [X], {}),
    "residual-rnn": (nn.Residual(nn.GRU(5, 5, rng=0)), [X], {"lengths": [2, 0, 4]}),
    "attention": (nn.Attention(), [X[0], X], {}),
    "attention-dot": (nn.Attention("dot"), [X, X[:3], X[:3, :, :2]], {"lengths": [2, 0, 3]}),
    "attention-general": (nn.Attention("general", 5, 4, rng=0), [X, X[..., :4], X], {"lengths": [2, 0, 4]}),
    "attention-additive": (nn.Attention("additive", 5, 4, 6, bias=True, rng=0), [X[0], X[..., :4]], {}),
    "attention-additive-lengths": (nn.Attention("additive", 5, 5, 2, rng=0), [X, X, X], {"lengths": [2, 0, 4]}),
    "layer-norm": (nn.LayerNorm(5), [X], {}),
    "layer-norm-rows": (nn.LayerNorm((3, 5), eps=0.1, bias=False), [X], {}),
    "layer-norm-plain": (nn.LayerNorm((3, 5), elementwise_affine=False), [X], {}),
    "rms-norm": (nn.RMSNorm(5), [X], {}),
    "rms-norm-plain": (nn.RMSNorm((3, 5), 0.1, False), [X], {}),
    "batch-norm-1d": (nn.BatchNorm1d(3), [X], {}),
    "batch-norm-1d-columns": (nn.BatchNorm1d(5, eps=0.1), [X[0]], {}),
    "batch-norm-1d-inference": (nn.BatchNorm1d(3), [X], {"training": False}),
    "batch-norm-1d-plain": (nn.BatchNorm1d(3, affine=False, track_running_stats=False), [X], {"training": False}),
    "batch-norm-2d": (nn.BatchNorm2d(3, momentum=None), [X[:, :, None]], {}),
    "conv1d": (nn.Conv1d(3, 2, 3, padding="same", rng=0), [X], {}),
    "conv1d-options": (nn.Conv1d(3, 6, 2, 2, 1, 2, 3, False, rng=0), [X], {}),
    "conv2d": (nn.Conv2d(4, 3, (3, 2), padding=((2, 0), (0, 1)), rng=0), [IMAGE], {}),
    "conv2d-options": (nn.Conv2d(4, 6, (2, 3), (1, 2), 1, (2, 1), 2, rng=0), [IMAGE], {}),
    "max-pool1d": (nn.MaxPool1d(2, 1, 1, 2), [X], {}),
    "max-pool2d": (nn.MaxPool2d((3, 2), 2, (1, 0), ceil_mode=True), [IMAGE], {}),
    "avg-pool1d": (nn.AvgPool1d(2, 1, 1), [X], {}),
    "avg-pool2d": (nn.AvgPool2d(3, 2, 1, True, False), [IMAGE], {}),
    "max-over-time": (nn.MaxOverTime(), [X], {"lengths": [5, 0, 2, 3]}),
    "flatten": (nn.Flatten(), [IMAGE], {}),
    "sequential": (
        nn.Sequential(
            nn.Embedding(7, 3, rng=0),
            nn.RNN(3, 4, rng=1),
            nn.Dropout(0.3, rng=2),
            nn.Residual(nn.LSTM(4, 4, rng=3)),
            nn.Pool("mean"),
            nn.Linear(4, 2, rng=4),
        ),
        [IDS],
        {"lengths": [2, 1, 0]},
    ),
}
ACTIVATIONS = [name.removesuffix("_backward") for name in fastnn.__all__ if name.endswith("_backward")]
ACTIVATIONS = [name for name in ACTIVATIONS if f"{name}_derivative" in fastnn.__all__]
LAYERS |= {name: (nn.Activation(name), [X], {}) for name in ACTIVATIONS}
LAYERS |= {
    "leaky_relu-slope": (nn.Activation("leaky_relu", negative_slope=0.3), [X], {}),
    "elu-alpha": (nn.Activation("elu", alpha=0.5), [X], {}),
    "hardtanh-range": (nn.Activation("hardtanh", min_val=-0.2, max_val=0.7), [X], {}),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layer(case):
    layer, inputs, keywords = LAYERS[case]
    report = gradcheck(layer, *inputs, **keywords)
    assert report.error < LIMIT, f"\n{report}"


def test_sparse_gradients():
    assert gradcheck(nn.Embedding(7, 3, sparse=True, rng=0), IDS).error < LIMIT
    assert gradcheck(nn.EmbeddingBag(7, 3, mode="sum", sparse=True, rng=0), IDS).error < LIMIT


def test_padding_is_the_one_gradient_left_out():
    layer = nn.Embedding(7, 3, padding_idx=2, rng=0)
    assert gradcheck(layer, IDS)["weight"].error == 1
    assert gradcheck(layer, np.array([0, 1, 1])).error < LIMIT


def test_every_layer_is_checked():
    checked = {type(layer) for layer, _, _ in LAYERS.values()}
    assert checked == {getattr(nn, name) for name in nn.__all__} - {nn.Buffer, nn.Module, nn.Parameter, nn.SparseGrad}
