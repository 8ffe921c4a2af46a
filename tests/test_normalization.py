"""Normalization: values, gradients and statistics against the reference in float64, shapes, layouts, layers, errors."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn, reference

DTYPES = [np.float32, np.float64]
# lead, row: around the widths of the vectors, the four sums at a time, the stretches and the groups of rows
ROWS = [
    ((), (5,)),
    ((3,), (1,)),
    ((0,), (4,)),
    ((4,), (0,)),
    ((2, 3), (17,)),
    ((7,), (64,)),
    ((130,), (3,)),
    ((65, 2), (2, 9)),
    ((2,), (4099,)),
    ((1,), (9001,)),
]
CHANNELS = [
    (2, 1),
    (5, 7),
    (3, 0),
    (64, 16),
    (70, 65),
    (300, 3),
    (1, 2, 3),
    (4, 3, 1),
    (3, 2, 17),
    (2, 3, 8, 9),
    (2, 2, 4099),
    (2, 3, 2, 2, 2),
]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def wide(*arrays):
    return [None if x is None else x.astype(np.float64) for x in arrays]


def close(result, truth, dtype, scale=1.0):
    """Compare within some dozen roundings of the largest number, or of `scale` if that is larger."""
    assert result.dtype == dtype
    assert result.shape == truth.shape
    atol = 40 * np.finfo(dtype).eps * np.abs(truth).max(initial=scale)
    np.testing.assert_allclose(result, truth, rtol=0, atol=atol)


def compare(name, arguments, options, dy, dtype):
    """Compare a normalization and its gradients with the reference in float64; return the cache."""
    y, cache = getattr(fastnn, name)(*arguments, **options)
    truth, true_cache = getattr(reference, name)(*wide(*arguments), **options)
    close(y, truth, dtype)
    gradients = getattr(fastnn, f"{name}_backward")(dy, cache)
    truths = getattr(reference, f"{name}_backward")(dy, true_cache)
    assert list(gradients) == list(truths)
    for key, value in truths.items():
        # a sum of n numbers is as exact as n of their size would be, whatever is left of them
        close(gradients[key], value, dtype, scale=1.0 if key == "x" else np.sqrt(dy.size / max(1, value.size)))
    return cache


# --- values and gradients --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("lead", "row"), ROWS, ids=str)
def test_by_row(isa, rng, lead, row, dtype):
    x, dy = rng.normal(size=(2, *lead, *row)).astype(dtype)
    weight, bias = rng.normal(size=(2, *row)).astype(dtype)
    eps = 0.1 if row == (1,) else 1e-5  # of one number nothing but rounding is left
    for w, b in itertools.product((weight, None), (bias, None)):
        if len(row) == 1 or not (w is b is None):
            compare("layer_norm", (x, w, b), {"eps": eps}, dy, dtype)
    for w in (weight, None)[: 3 - len(row)]:
        compare("rms_norm", (x, w), {"eps": eps}, dy, dtype)
    assert [value.dtype for value in fastnn.layer_norm_backward(None, fastnn.layer_norm(x, weight)[1]).values()] == [
        dtype
    ] * 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", CHANNELS, ids=str)
def test_by_channel(isa, rng, shape, dtype):
    x, dy = rng.normal(size=(2, *shape)).astype(dtype)
    weight, bias, mean = rng.normal(size=(3, shape[1])).astype(dtype)
    var = rng.uniform(0.5, 2, shape[1]).astype(dtype)
    for w, b, training in itertools.product((weight, None), (bias, None), (True, False)):
        running, options = (mean.copy(), var.copy()), {"training": training, "momentum": 0.3, "eps": 1e-3}
        truths = wide(mean, var)
        y, cache = fastnn.batch_norm(x, *running, w, b, **options)
        truth, true_cache = reference.batch_norm(*wide(x), *truths, *wide(w, b), **options)
        close(y, truth, dtype)
        close(running[0], truths[0], dtype)
        close(running[1], truths[1], dtype)
        assert training or (running[0] == mean).all()
        gradients = fastnn.batch_norm_backward(dy, cache)
        true_gradients = reference.batch_norm_backward(dy, true_cache)
        assert list(gradients) == list(true_gradients)
        for key, value in true_gradients.items():
            close(gradients[key], value, dtype, scale=1.0 if key == "x" else np.sqrt(max(1, x.size)))
    assert (fastnn.batch_norm(x, training=True)[0] == fastnn.batch_norm(x, mean, var, training=True)[0]).all()


def test_formulas(rng):
    """By hand, since both twins could be wrong alike."""
    x = rng.normal(size=(6, 4))
    weight, bias = rng.normal(size=(2, 4))
    expected = [(row - row.mean()) / np.sqrt(row.var() + 0.1) * weight + bias for row in x]
    np.testing.assert_allclose(fastnn.layer_norm(x, weight, bias, eps=0.1)[0], expected, rtol=1e-12)
    expected = [row / np.sqrt((row**2).mean() + 0.1) * weight for row in x]
    np.testing.assert_allclose(fastnn.rms_norm(x, weight, eps=0.1)[0], expected, rtol=1e-12)
    mean, var = np.ones(4), np.full(4, 2.0)
    y, cache = fastnn.batch_norm(x, mean, var, weight, bias, training=True, momentum=0.25, eps=0.1)
    expected = np.transpose(
        [(c - c.mean()) / np.sqrt(c.var() + 0.1) * w + b for c, w, b in zip(x.T, weight, bias, strict=True)]
    )
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    np.testing.assert_allclose(mean, 0.75 + 0.25 * x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(var, 1.5 + 0.25 * x.var(0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(cache.mean, x.mean(0, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(cache.rstd, 1 / np.sqrt(x.var(0, keepdims=True) + 0.1), rtol=1e-12)
    expected = (x - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(fastnn.batch_norm(x, mean, var)[0], expected, rtol=1e-12)


def test_eps_of_rms_norm_is_that_of_the_dtype():
    for dtype, eps in ((np.float32, 2.0**-23), (np.float64, 2.0**-52), (np.float16, 2.0**-23)):
        _, cache = fastnn.rms_norm(np.zeros((1, 3), dtype))
        np.testing.assert_allclose(cache.rstd, eps**-0.5, rtol=1e-6)


# --- numerics --------------------------------------------------------------------------------------------------------
@pytest.mark.kernels
@pytest.mark.parametrize("shape", [(3, 40), (2, 5000), (400, 20)], ids=str)
def test_float32_far_from_zero_loses_nothing(isa, rng, shape):
    far = 30_000
    x, dy = (rng.normal(size=shape) + far).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    exact = x.astype(np.float64) - far
    for name, options in (("layer_norm", {}), ("batch_norm", {"training": True})):
        y, cache = getattr(fastnn, name)(x, **options)
        truth, true_cache = getattr(reference, name)(exact, **options)
        close(y, truth, np.float32)
        backward = getattr(fastnn, f"{name}_backward")
        close(backward(dy, cache)["x"], backward(dy, true_cache)["x"], np.float32)


def test_large_and_small_numbers(isa):
    for dtype in DTYPES:
        x = np.array([[1, 2, 3, 4]], dtype) * dtype(1e15)
        close(fastnn.layer_norm(x)[0], reference.layer_norm(np.arange(1.0, 5.0)[None], eps=0)[0], dtype)
        same = np.full((3, 5), dtype(0.1))
        y, cache = fastnn.layer_norm(same)
        assert np.abs(y).max() <= 1e-5
        assert np.isfinite(fastnn.layer_norm_backward(same, cache)["x"]).all()
        np.testing.assert_array_equal(fastnn.rms_norm(np.zeros((2, 3), dtype))[0], np.zeros((2, 3)))


def test_nan_stays_in_its_row_or_channel(isa):
    x = np.random.default_rng(0).normal(size=(9, 40)).astype(np.float32)
    x[4, 7] = np.nan
    x[5, 8] = np.inf
    for name, infinite in (("layer_norm", np.nan), ("rms_norm", 0)):
        y = getattr(fastnn, name)(x)[0]
        assert np.isnan(y[4]).all()
        np.testing.assert_array_equal(abs(np.delete(y[5], 8)), infinite)
        assert np.isnan(y[5, 8])
        assert np.isfinite(np.delete(y, [4, 5], 0)).all()
    y = fastnn.batch_norm(x, training=True)[0]
    assert np.isnan(y[:, 7]).all()
    assert np.isfinite(np.delete(y, [7, 8], axis=1)).all()


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_its_place(isa, rng, dtype):
    room = rng.normal(size=5000 * 5 + 1).astype(dtype)
    for n in (1, 7, 33, 100, 4100):
        rows = room[: 5 * n].reshape(5, n)  # of which four go back together
        weight = room[:n].copy()
        y, cache = fastnn.layer_norm(rows, weight)
        dx = fastnn.layer_norm_backward(rows, cache)["x"]
        shifted = room[1 : 5 * n + 1].reshape(5, n)  # not at the address of a vector
        shifted[:] = rows.copy()
        again, cache = fastnn.layer_norm(shifted[1:2], weight)
        np.testing.assert_array_equal(again, y[1:2])
        np.testing.assert_array_equal(fastnn.layer_norm_backward(shifted[1:2], cache)["x"], dx[1:2])


@pytest.mark.kernels
@pytest.mark.parametrize("shape", [(2500, 300), (600_000, 1), (4, 3, 300, 200), (3000, 250), (9, 70_000)], ids=str)
def test_threads_change_nothing(rng, shape):
    from fastnn._kernels import cpu

    x, dy = rng.standard_normal(size=(2, *shape), dtype=np.float32)
    weight, bias = rng.normal(size=(2, shape[-1])).astype(np.float32)
    calls = [
        ("layer_norm", (x, weight, bias), {}),
        ("rms_norm", (x, weight), {}),
        ("batch_norm", (x,), {"training": 1}),
    ]
    results, before = [], cpu.get_num_threads()
    for n in (1, 3):
        cpu.set_num_threads(n)
        for name, arguments, options in calls:
            y, cache = getattr(fastnn, name)(*arguments, **options)
            results += [y, *getattr(fastnn, f"{name}_backward")(dy, cache).values()]
    cpu.set_num_threads(before)
    half = len(results) // 2
    for one, three in zip(results[:half], results[half:], strict=True):
        np.testing.assert_array_equal(one, three)


# --- what comes in ---------------------------------------------------------------------------------------------------
def runs(x, dy, weight, mean, var):
    """Yield the results of every function with these arrays, the running statistics copied."""
    y, cache = fastnn.layer_norm(x, weight, weight)
    yield from (y, *fastnn.layer_norm_backward(dy, cache).values())
    y, cache = fastnn.rms_norm(x, weight)
    yield from (y, *fastnn.rms_norm_backward(dy, cache).values())
    for training in (True, False):
        y, cache = fastnn.batch_norm(x, mean, var, weight, weight, training=training)
        yield from (y, *fastnn.batch_norm_backward(dy, cache).values(), mean, var)


def test_layouts(isa, rng):
    x, dy = rng.normal(size=(2, 6, 4, 4))
    weight, mean, var = rng.normal(size=(3, 4)) ** 2
    expected = list(runs(x, dy, weight, mean.copy(), var.copy()))

    def unaligned(a):
        room = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
        room[...] = a
        return room

    def read_only(a):
        a = a.copy()
        a.flags.writeable = False
        return a

    def apart(a):
        return a.repeat(2, -1)[..., ::2]

    def backwards(a):
        return a[..., ::-1].copy()[..., ::-1]

    for change in (
        np.asfortranarray,
        apart,
        backwards,
        unaligned,
        read_only,
        lambda a: a.astype(">f8"),
        np.ndarray.tolist,
    ):
        given = [change(a) for a in (x, dy, weight)]
        place = apart if change is apart else np.copy
        for result, truth in zip(runs(*given, place(mean), place(var)), expected, strict=True):
            np.testing.assert_allclose(result, truth, rtol=0, atol=1e-13 if isa == "numpy" else 0)
    before = [a.copy() for a in (x, dy, weight)]
    list(runs(x, dy, weight, mean.copy(), var.copy()))
    for a, b in zip((x, dy, weight), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dtypes(rng):
    x = rng.normal(size=(6, 4))
    for given, expected in [
        (np.int8, np.float64),
        (bool, np.float64),
        (np.float16, np.float16),
        (np.float32, np.float32),
    ]:
        a = x.astype(given)
        for name, options in (("layer_norm", {}), ("rms_norm", {}), ("batch_norm", {"training": True})):
            y, cache = getattr(fastnn, name)(a, **options)
            assert y.dtype == getattr(fastnn, f"{name}_backward")(x, cache)["x"].dtype == expected
    half, mean, var = x.astype(np.float16), np.zeros(4, np.float32), np.ones(4, np.float32)
    y, _ = fastnn.batch_norm(half, mean, var, training=True)
    np.testing.assert_allclose(y, fastnn.batch_norm(x, training=True)[0], atol=2e-3)
    assert fastnn.layer_norm(half, np.ones(4, np.float32))[0].dtype == np.float32
    for bad in (complex, object, "U1"):
        for name in ("layer_norm", "rms_norm", "batch_norm"):
            with pytest.raises(TypeError, match=r"^x has dtype"):
                getattr(fastnn, name)(np.ones((2, 2)).astype(bad))


def test_no_warning_escapes(isa):
    for dtype, value in itertools.product(
        (np.float16, np.float32, np.float64), (np.inf, np.nan, 6e4, 3e38, 1e300, 1e-45)
    ):
        with np.errstate(all="ignore"):
            x = np.array([[value, 1, -value], [value, value, 0]]).astype(dtype)
        with np.errstate(all="raise"):
            list(runs(x, x, x[0], *(np.full(3, v, np.float32 if dtype == np.float16 else dtype) for v in (0, 1))))
            _, cache = fastnn.layer_norm(np.ones((1, 2), np.float32))
            fastnn.layer_norm_backward(np.full((1, 2), 1e300), cache)


def test_shape_errors(rng):
    x = rng.normal(size=(6, 4))
    for name in ("layer_norm", "rms_norm"):
        f = getattr(fastnn, name)
        with pytest.raises(ValueError, match=r"^x has shape \(6, 4\), expected \(..., 3\)"):
            f(x, np.ones(3))
        with pytest.raises(ValueError, match=r"^x has shape \(6, 4\), expected \(..., 1, 6, 4\)"):
            f(x, np.ones((1, 6, 4)))
        for wrong in (x[0, 0], np.ones(())):
            with pytest.raises(ValueError, match=r"^x has shape \(\), expected \(..., features\)"):
                f(wrong)
        with pytest.raises(ValueError, match=r"^eps is -1.0, expected 0 or more"):
            f(x, eps=-1)
        with pytest.raises(ValueError, match=r"^dy has shape \(4,\), expected \(6, 4\)"):
            getattr(fastnn, f"{name}_backward")(x[0], f(x)[1])
    with pytest.raises(ValueError, match=r"^bias has shape \(6, 4\), expected \(4,\)"):
        fastnn.layer_norm(x, np.ones(4), x)
    for name in ("weight", "bias"):
        with pytest.raises(ValueError, match=rf"^{name} has shape \(6,\), expected \(4,\)"):
            fastnn.batch_norm(x, training=True, **{name: np.ones(6)})
    with pytest.raises(ValueError, match=r"^x has shape \(4,\), expected \(N, C, ...\)"):
        fastnn.batch_norm(x[0], training=True)
    with pytest.raises(ValueError, match=r"^running_mean has shape \(3,\), expected \(4,\)"):
        fastnn.batch_norm(x, np.ones(3), np.ones(3))


def test_errors_of_running_statistics(rng):
    x, mean, var = rng.normal(size=(6, 4)), np.zeros(4), np.ones(4)
    with pytest.raises(ValueError, match=r"^running_mean is None, expected an array$"):
        fastnn.batch_norm(x)
    with pytest.raises(ValueError, match=r"^running_var is None, expected an array unless both are None"):
        fastnn.batch_norm(x, mean, training=True)
    for few in (x[:1], x[:0], np.ones((3, 4, 0))):
        with pytest.raises(ValueError, match=r"expected at least two values a channel to train on"):
            fastnn.batch_norm(few, mean, var, training=True)
    read_only = var.copy()
    read_only.flags.writeable = False
    for wrong, error in (
        (read_only, ValueError),
        (var.astype("f"), TypeError),
        ([1.0] * 4, TypeError),
        (mean, ValueError),
    ):
        with pytest.raises(error, match=r"running_var (is|has|overlap)"):
            fastnn.batch_norm(x, mean, wrong, training=True)
    for momentum in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"^momentum is .*, expected a number from 0 to 1"):
            fastnn.batch_norm(x, mean, var, training=True, momentum=momentum)
    assert not mean.any()
    assert (var == 1).all()


def test_a_cache_is_for_its_own_function():
    x = np.eye(3)
    caches = {"layer_norm": fastnn.layer_norm(x)[1], "rms_norm": fastnn.rms_norm(x)[1]}
    caches["batch_norm"] = fastnn.batch_norm(x, training=True)[1]
    for (one, cache), other in itertools.product(caches.items(), caches):
        if one != other:
            with pytest.raises(TypeError, match=f"^cache is of {one}, expected that of {other}"):
                getattr(fastnn, f"{other}_backward")(x, cache)
    with pytest.raises(TypeError, match=r"^cache is a NoneType, expected that of layer_norm"):
        fastnn.layer_norm_backward(x, None)


# --- layers ----------------------------------------------------------------------------------------------------------
def test_layers_by_row(rng):
    x, dy = rng.normal(size=(2, 6, 3, 4))
    for shape in (4, (3, 4)):
        row = np.atleast_1d(shape)
        weight, bias = rng.normal(size=(2, *row))
        layer, plain = nn.LayerNorm(shape, dtype=np.float64), nn.LayerNorm(shape, elementwise_affine=False)
        layer.load_state_dict({"weight": weight, "bias": bias})
        y, back = layer.vjp(x)
        expected, cache = fastnn.layer_norm(x, weight, bias)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(layer(x), expected)
        gradients = fastnn.layer_norm_backward(dy, cache)
        np.testing.assert_array_equal(back(dy), gradients["x"])
        back(dy)
        np.testing.assert_array_equal(layer.weight.grad, 2 * gradients["weight"])
        np.testing.assert_array_equal(layer.bias.grad, 2 * gradients["bias"])
        np.testing.assert_array_equal(plain(x), fastnn.layer_norm(x, np.ones(row))[0])
        assert plain.state_dict() == {}
        rms = nn.RMSNorm(shape, dtype=np.float64)
        rms.load_state_dict({"weight": weight})
        np.testing.assert_array_equal(rms(x), fastnn.rms_norm(x, weight)[0])
    assert list(nn.LayerNorm(4, bias=False).state_dict()) == ["weight"]
    assert nn.LayerNorm(4)(x).dtype == np.float32
    assert nn.LayerNorm(4, elementwise_affine=False)(x).dtype == np.float64
    assert nn.LayerNorm(4).vjp(np.ones((2, 4), int))[1](np.ones((2, 4))) is None
    with pytest.raises(ValueError, match=r"^1 \(LayerNorm\): x has shape \(6, 3, 4\), expected \(..., 4, 4\)"):
        nn.Sequential(nn.RMSNorm(4), nn.LayerNorm((4, 4)))(x)
    with pytest.raises(ValueError, match=r"dy has shape \(3, 4\), expected \(6, 3, 4\)"):
        nn.LayerNorm(4).vjp(x)[1](dy[0])
    for wrong in (0, (), (3, -1), 2.5):
        with pytest.raises(ValueError, match=r"^normalized_shape is"):
            nn.LayerNorm(wrong)


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (6, 4)), (nn.BatchNorm2d, (6, 4, 2, 3))])
def test_layers_by_channel(rng, kind, shape):
    layer, xs = kind(4, momentum=0.3, dtype=np.float64), rng.normal(size=(3, *shape))
    mean, var = np.zeros(4), np.ones(4)
    for i, x in enumerate(xs):
        y, back = layer.vjp(x)
        expected, cache = fastnn.batch_norm(x, mean, var, np.ones(4), np.zeros(4), training=True, momentum=0.3)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(layer.running_mean.value, mean)
        np.testing.assert_array_equal(layer.running_var.value, var)
        assert layer.num_batches_tracked.value == i + 1
        np.testing.assert_array_equal(back(xs[0]), fastnn.batch_norm_backward(xs[0], cache)["x"])
    expected = fastnn.batch_norm(x, mean, var)[0]
    np.testing.assert_array_equal(layer(x), expected)
    np.testing.assert_array_equal(layer.vjp(x, training=False)[0], expected)
    np.testing.assert_array_equal(layer.running_mean.value, mean)
    assert layer.num_batches_tracked.value == 3
    untracked = kind(4, affine=False, track_running_stats=False)
    assert untracked.state_dict() == {}
    np.testing.assert_array_equal(untracked(x), fastnn.batch_norm(x, training=True)[0])
    averaging = kind(4, momentum=None, dtype=np.float64)
    for x in xs:
        averaging.vjp(x)
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(averaging.running_mean.value, np.mean([x.mean(axes) for x in xs], 0), rtol=1e-12)
    np.testing.assert_allclose(averaging.running_var.value, np.mean([x.var(axes, ddof=1) for x in xs], 0), rtol=1e-12)
    with pytest.raises(ValueError, match=r"^0 \(BatchNorm.d\): x has shape .*, expected \(N, 3"):
        nn.Sequential(kind(3))(x)


def test_buffers_are_state_and_not_trained(rng, tmp_path):
    layer = nn.BatchNorm2d(3)
    layer.vjp(rng.normal(size=(2, 3, 4, 4)))
    net = nn.Sequential(layer, nn.Activation("relu"))
    state = net.state_dict()
    assert [(name, value.shape, value.dtype) for name, value in state.items()] == [
        ("0.weight", (3,), np.float32),
        ("0.bias", (3,), np.float32),
        ("0.running_mean", (3,), np.float32),
        ("0.running_var", (3,), np.float32),
        ("0.num_batches_tracked", (), np.int64),
    ]
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert len(net.parameters()) == 2
    net.save(tmp_path / "net.safetensors")
    same = fastnn.load(tmp_path / "net.safetensors")
    for name, value in same.state_dict().items():
        np.testing.assert_array_equal(value, state[name], strict=True)
    double = net.astype(np.float64)
    assert double[0].running_mean.value.dtype == np.float64
    assert double[0].num_batches_tracked.value.dtype == np.int64
    double[0].vjp(rng.normal(size=(2, 3, 4, 4)))
    assert layer.num_batches_tracked.value == 1
    assert same[0].config() == layer.config()
