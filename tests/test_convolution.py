"""Convolution and pooling: values by definition, gradients, options, odd sizes, layouts, special values, errors."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn, reference

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


def windows(shape, kernel, stride, padding, dilation):
    """Yield each window's place in the output and the (tap, place in x) of its elements inside x."""
    out = [
        (n + 2 * p - (k - 1) * d - 1) // s + 1
        for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    ]
    for place in np.ndindex(*out):
        inside = []
        for tap in np.ndindex(*kernel):
            at = [i * s + t * d - p for i, s, t, d, p in zip(place, stride, tap, dilation, padding, strict=True)]
            if all(0 <= a < n for a, n in zip(at, shape, strict=True)):
                inside.append((tap, tuple(at)))
        yield place, inside


def convolve(x, weight, bias, stride, padding, dilation, groups):
    """Return the convolution as the sum that defines it."""
    outputs, channels = weight.shape[0] // groups, weight.shape[1]
    found = list(windows(x.shape[2:], weight.shape[2:], stride, padding, dilation))
    y = np.zeros((len(x), len(weight), *(i + 1 for i in found[-1][0])))
    for place, inside in found:
        for o in range(len(weight)):
            group = slice(o // outputs * channels, (o // outputs + 1) * channels)
            y[:, o, *place] = bias[o] + sum(x[:, group, *at] @ weight[o, :, *tap] for tap, at in inside)
    return y


def close(got, want, dtype):
    """Assert that two arrays agree, relative to the largest element, and that the first is of the dtype."""
    assert got.dtype == dtype
    atol = TOLERANCE[dtype] * max(1, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[dtype], atol=atol)


def both(name, dtype, arrays, *arguments, **options):
    """Run a function and its gradient on both twins, the reference in float64; assert that they agree."""
    arrays = [None if a is None else a.astype(dtype) for a in arrays]
    y, cache = getattr(fastnn, f"{name}_forward")(*arrays, *arguments, **options)
    wide = [None if a is None else a.astype(np.float64) for a in arrays]
    truth, true_cache = getattr(reference, f"{name}_forward")(*wide, *arguments, **options)
    close(y, truth, dtype)
    np.testing.assert_array_equal(getattr(fastnn, name)(*arrays, *arguments, **options), y)
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(dtype)
    gradients = getattr(fastnn, f"{name}_backward")(dy, cache)
    true_gradients = getattr(reference, f"{name}_backward")(dy.astype(np.float64), true_cache)
    assert gradients.keys() == true_gradients.keys()
    for key, gradient in gradients.items():
        close(gradient, true_gradients[key], dtype)
    return y, gradients


# ---- convolution --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2), (3, 1, 2)])
def test_convolution_is_the_sum_that_defines_it(isa, rng, stride, padding, dilation, groups):
    for axes in (1, 2):
        x = rng.standard_normal((2, 4, *(7, 6)[:axes]))
        weight, bias = rng.standard_normal((6, 4 // groups, *(3, 2)[:axes])), rng.standard_normal(6)
        many = [(number,) * axes for number in (stride, padding, dilation)]
        want = convolve(x, weight, bias, *many, groups)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        for twin in (fastnn, reference):
            np.testing.assert_allclose(getattr(twin, f"conv{axes}d")(x, weight, bias, **options), want, atol=1e-13)


# x, weight, and options: images smaller and larger than the units that the work is cut into, with sizes around those
# of vectors and tiles; as many planes as taps, or few that are read shifted; few filters and many; no channel shared.
CASES = [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((3, 1, 8, 8), (4, 1, 3, 3), {"padding": 1}),
    ((5, 3, 9, 7), (5, 3, 2, 3), {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)}),
    ((2, 1, 28, 28), (17, 1, 3, 3), {}),
    ((9, 16, 13, 13), (33, 16, 3, 3), {}),
    ((11, 6, 14, 14), (16, 6, 5, 5), {}),
    ((5, 8, 20, 20), (6, 4, 4, 4), {"stride": 2, "groups": 2}),
    ((3, 4, 11, 15), (5, 4, 3, 3), {"dilation": 2, "padding": 1}),
    ((2, 6, 45, 43), (4, 3, 5, 3), {"groups": 2, "padding": ((3, 0), (1, 2))}),
    ((2, 6, 45, 43), (10, 3, 5, 3), {"groups": 2, "stride": (2, 3), "dilation": (3, 2)}),
    ((2, 5, 40, 40), (10, 1, 3, 3), {"groups": 5, "padding": "same"}),
    ((2, 2, 70, 16), (3, 2, 7, 1), {"stride": (4, 1), "dilation": (2, 1)}),
    ((2, 2, 70, 17), (9, 2, 6, 2), {"stride": (4, 2), "dilation": (6, 1), "padding": (2, 1)}),
    ((2, 300, 5, 5), (3, 300, 2, 2), {}),
    ((1, 2, 3, 600), (2, 2, 3, 4), {"padding": (1, 0)}),
    ((3, 2, 4, 4), (8, 2, 4, 4), {"padding": 3}),
    ((2, 3, 5, 4), (2, 3, 1, 1), {"stride": 2}),
    ((2, 2, 2, 1), (2, 2, 3, 3), {"padding": 4, "stride": 2, "dilation": 2}),
    ((4, 3, 12, 9), (5, 3, 3, 2), {"padding": "same", "dilation": 2}),
    ((2, 7, 200), (9, 7, 5), {"padding": "same"}),
    ((3, 4, 31), (6, 2, 4), {"stride": 3, "padding": ((3, 0),), "dilation": 2, "groups": 2}),
    ((2, 1, 2100), (3, 1, 9), {"stride": 2}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_its_gradients(isa, rng, case, dtype):
    shape, weight, options = case
    arrays = rng.standard_normal(shape), rng.standard_normal(weight)
    name = f"conv{len(shape) - 2}d"
    _, gradients = both(name, dtype, [*arrays, rng.standard_normal(weight[0])], **options)
    assert [*gradients] == ["x", "weight", "bias"]
    _, gradients = both(name, dtype, [*arrays, None], **options)
    assert [*gradients] == ["x", "weight"]


def test_convolution_over_many_arguments(isa, rng):
    """A sample of the cross product of all options, drawn anew for each instruction set in the same way."""
    done = 0
    while done < 60:
        axes, groups = rng.integers(1, 3), rng.choice([1, 1, 2, 3])
        kernel, stride, padding, dilation = rng.integers((1, 1, 0, 1), (6, 4, 4, 4), (axes, 4)).T
        size = rng.integers(1, 12, axes) + rng.integers(0, 40, axes) * rng.integers(0, 2)
        if (size + 2 * padding < (kernel - 1) * dilation + 1).any():
            continue
        channels, filters = groups * rng.integers(1, 6), groups * rng.integers(1, 12)
        x = rng.standard_normal((rng.choice([1, 2, 7]), channels, *size))
        weight, bias = rng.standard_normal((filters, channels // groups, *kernel)), rng.standard_normal(filters)
        options = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation), "groups": groups}
        both(f"conv{axes}d", (np.float32, np.float64)[done % 2], [x, weight, bias], **options)
        done += 1


@pytest.mark.parametrize(
    ("x", "weight", "options"),
    [
        ((0, 2, 5, 5), (3, 2, 2, 2), {}),
        ((2, 0, 5, 5), (3, 0, 2, 2), {}),
        ((2, 2, 5, 5), (0, 2, 2, 2), {}),
        ((2, 2, 0, 5), (3, 2, 2, 2), {"padding": 2}),
        ((2, 2, 0), (3, 2, 2), {"padding": 2}),
    ],
)
def test_convolution_of_nothing(x, weight, options):
    bias = np.arange(float(weight[0]))
    y, gradients = both(f"conv{len(x) - 2}d", np.float64, [np.ones(x), np.ones(weight), bias], **options)
    assert [gradient.shape for gradient in gradients.values()] == [x, weight, bias.shape]
    if y.size and 0 in x[1:2]:
        np.testing.assert_array_equal(y, np.broadcast_to(bias[:, None, None], y.shape))


def test_padding_by_name_and_in_pairs(rng):
    x, weight = rng.standard_normal((2, 3, 9)), rng.standard_normal((4, 3, 4))
    same = fastnn.conv1d(x, weight, padding="same", dilation=3)
    assert same.shape == (2, 4, 9)
    np.testing.assert_array_equal(same, fastnn.conv1d(x, weight, padding=((4, 5),), dilation=3))
    np.testing.assert_array_equal(
        fastnn.conv1d(x, weight, padding="valid"), fastnn.conv1d(x, weight, padding=(0,), stride=[1])
    )
    causal = fastnn.conv1d(x, weight, padding=((3, 0),))
    x[:, :, 5:] = 0
    np.testing.assert_array_equal(fastnn.conv1d(x, weight, padding=((3, 0),))[:, :, :5], causal[:, :, :5])


@pytest.mark.kernels
def test_an_image_gives_the_same_alone_and_among_others(isa, rng):
    for size in (6, 28, 50):
        x, weight = rng.standard_normal((7, 3, size, size), "f"), rng.standard_normal((5, 3, 3, 3), "f")
        y, cache = fastnn.conv2d_forward(x, weight, padding=1)
        dx = fastnn.conv2d_backward(y, cache)["x"]
        for i in (0, 3, 6):
            alone, cache = fastnn.conv2d_forward(x[i : i + 1], weight, padding=1)
            np.testing.assert_array_equal(alone, y[i : i + 1])
            np.testing.assert_array_equal(fastnn.conv2d_backward(alone, cache)["x"], dx[i : i + 1])


@pytest.mark.kernels
def test_the_number_of_threads_does_not_matter(rng):
    from fastnn._kernels import cpu

    before = cpu.get_num_threads()
    try:
        for shape, weight in (((40, 8, 14, 14), (24, 8, 3, 3)), ((3, 8, 70, 70), (16, 8, 3, 3))):
            x, weight, bias = (rng.standard_normal(s, "f") for s in (shape, weight, weight[0]))
            results = []
            for threads in (1, 2, 3):
                cpu.set_num_threads(threads)
                y, cache = fastnn.conv2d_forward(x, weight, bias)
                pooled, pool_cache = fastnn.max_pool2d_forward(y, 2)
                dy = fastnn.max_pool2d_backward(pooled, pool_cache)["x"]
                results.append([y, pooled, dy, *fastnn.conv2d_backward(dy, cache).values()])
            for other in results[1:]:
                for a, b in zip(results[0], other, strict=True):
                    np.testing.assert_array_equal(a, b)
    finally:
        cpu.set_num_threads(before)


@pytest.mark.parametrize("channels", [1, 4])
def test_infinities_and_nan_reach_only_the_windows_that_hold_them(isa, channels):
    x = np.ones((1, channels, 9, 9), np.float32)
    x[0, 0, 4, 4], x[0, 0, 0, 0] = np.nan, np.inf
    with np.errstate(all="raise"):
        y, cache = fastnn.conv2d_forward(x, np.ones((2, channels, 3, 3), np.float32), padding=1)
        gradients = fastnn.conv2d_backward(np.where(np.isfinite(y), y, np.nan), cache)
    assert np.isnan(y[0, :, 3:6, 3:6]).all()
    assert np.isnan(y).sum() == 18
    assert np.isposinf(y[0, :, :2, :2]).all()
    assert np.isposinf(y).sum() == 8
    assert np.isnan(gradients["x"][0, 0, 2:7, 2:7]).all()
    assert np.isfinite(gradients["x"][0, 0, :2, 4:]).all()
    assert np.isfinite(gradients["x"][0, 0, 4:, :2]).all()
    assert np.isfinite(gradients["x"][0, 0, 7:]).all()


# ---- pooling ------------------------------------------------------------------------------------------------


def pool_options(axes):
    """Yield x's size, the window, and options."""
    yield (5, 6)[:axes], (2, 3)[:axes], {}
    yield (7, 9)[:axes], (3, 2)[:axes], {"stride": (2, 1)[:axes]}
    yield (8, 5)[:axes], (3, 3)[:axes], {"stride": 2, "padding": 1}
    yield (33, 34)[:axes], (3, 3)[:axes], {"stride": 1, "padding": (1, 0)[:axes]}
    yield (8, 11)[:axes], (3, 4)[:axes], {"stride": 3, "padding": 1, "ceil_mode": True}
    yield (70, 35)[:axes], 2, {"ceil_mode": True}
    yield (6, 6)[:axes], 3, {"stride": 2, "padding": ((1, 0), (0, 1))[:axes], "ceil_mode": True}
    yield (4, 4)[:axes], 2, {"stride": 5}
    yield (1, 1)[:axes], 1, {}


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_and_its_gradient(isa, rng, kind, dtype, axes):
    more = [{"dilation": 2}, {}] if kind == "max" else [{"count_include_pad": False}, {}]
    for (size, kernel, options), extra in itertools.product(pool_options(axes), more):
        if extra.get("dilation", 1) > 1 and min(size) < 5:
            continue
        x = rng.standard_normal((3, 2, *size)).round(1)  # with equal elements
        both(f"{kind}_pool{axes}d", dtype, [x], kernel, **options, **extra)


def test_pooling_is_what_its_name_says(isa, rng):
    x = rng.standard_normal((2, 3, 7, 8))
    for stride, padding in ((1, 0), (2, 1), (3, 1)):
        largest, mean, mean_inside = (
            fastnn.max_pool2d(x, (3, 2), stride, padding=padding),
            fastnn.avg_pool2d(x, (3, 2), stride, padding=padding),
            fastnn.avg_pool2d(x, (3, 2), stride, padding=padding, count_include_pad=False),
        )
        for place, inside in windows((7, 8), (3, 2), [stride] * 2, [padding] * 2, [1, 1]):
            elements = np.array([x[:, :, *at] for _, at in inside])
            np.testing.assert_array_equal(largest[:, :, *place], elements.max(0))
            np.testing.assert_allclose(mean[:, :, *place], elements.sum(0) / 6, rtol=1e-13, atol=1e-15)
            np.testing.assert_allclose(mean_inside[:, :, *place], elements.mean(0), rtol=1e-13, atol=1e-15)


def test_the_last_window_in_ceil_mode_begins_inside():
    x = np.arange(5.0).reshape(1, 1, 5)
    np.testing.assert_array_equal(fastnn.max_pool1d(x, 2, ceil_mode=True), [[[1, 3, 4]]])
    np.testing.assert_array_equal(fastnn.avg_pool1d(x, 2, ceil_mode=True), [[[0.5, 2.5, 4]]])
    assert fastnn.max_pool1d(x, 1, 3, ceil_mode=True).shape == (1, 1, 2)  # a third would begin beyond x
    x = np.arange(6.0).reshape(1, 1, 6)
    padded = {"padding": 1, "ceil_mode": True}
    np.testing.assert_allclose(fastnn.avg_pool1d(x, 3, 2, **padded), [[[1 / 3, 2, 4, 5 / 2]]])
    np.testing.assert_allclose(fastnn.avg_pool1d(x, 3, 2, count_include_pad=False, **padded), [[[1 / 2, 2, 4, 5]]])


def test_max_pool_with_nan_infinities_and_nothing(isa):
    nan, inf = np.nan, np.inf
    x = np.array([[[1, nan, nan, 2, -inf, -inf, 3, 3]]], np.float32)
    with np.errstate(all="raise"):
        y, cache = fastnn.max_pool1d_forward(x, 2)
        dx = fastnn.max_pool1d_backward(np.array([[[1, 2, 3, 4]]], np.float32), cache)["x"]
    np.testing.assert_array_equal(y, [[[nan, nan, -inf, 3]]])
    np.testing.assert_array_equal(dx, [[[0, 1, 2, 0, 3, 0, 4, 0]]])
    y, cache = fastnn.max_pool1d_forward([[[nan, 5, nan]]], 3)
    np.testing.assert_array_equal(fastnn.max_pool1d_backward(np.ones_like(y), cache)["x"], [[[0, 0, 1]]])
    # a window whose taps jump over all of x
    y, cache = fastnn.max_pool1d_forward([[[7.0]]], 2, padding=1, dilation=2)
    assert y.tolist() == [[[-inf]]]
    assert fastnn.max_pool1d_backward(np.ones_like(y), cache)["x"].tolist() == [[[0]]]


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_of_nothing(kind):
    for shape in ((0, 2, 5, 5), (2, 0, 5, 5)):
        y, gradients = both(f"{kind}_pool2d", np.float64, [np.ones(shape)], 2)
        assert y.shape == (*shape[:2], 2, 2)
        assert gradients["x"].shape == shape


# ---- maximum over time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [1, 2, 63, 64, 65, 300])
def test_max_over_time(isa, rng, steps, dtype):
    x = rng.standard_normal((5, 3, steps)).round(1)
    both("max_over_time", dtype, [x])
    lengths = rng.integers(0, steps + 1, 5)
    lengths[:2] = 0, steps
    y, gradients = both("max_over_time", dtype, [x], lengths)
    assert not y[0].any()
    assert not gradients["x"][0].any()
    for row, sequence, length in zip(y[1:], x.astype(dtype)[1:], lengths[1:], strict=True):
        np.testing.assert_array_equal(row, sequence[:, :length].max(1) if length else np.zeros(3))


def test_max_over_time_with_nan_and_infinities(isa):
    x = np.full((1, 3, 200), -np.inf)
    x[0, 1, [3, 150]], x[0, 2, [70, 71]] = np.nan, np.inf
    y, cache = fastnn.max_over_time_forward(x)
    np.testing.assert_array_equal(y, [[-np.inf, np.nan, np.inf]])
    dx = fastnn.max_over_time_backward(np.ones_like(y), cache)["x"]
    assert dx.argmax(2).tolist() == [[0, 150, 70]]
    assert dx.sum() == 3


# ---- dtypes and layouts -------------------------------------------------------------------------------------

WEIGHT = np.arange(16, dtype="f2").reshape(2, 2, 2, 2) % 5 - 2
FUNCTIONS = {
    "conv1d": lambda F, x: F.conv1d_forward(x[:, :, 0], WEIGHT[:, :, 0]),
    "conv2d": lambda F, x: F.conv2d_forward(x, WEIGHT, padding=1),
    "max_pool2d": lambda F, x: F.max_pool2d_forward(x, 2, 1),
    "avg_pool2d": lambda F, x: F.avg_pool2d_forward(x, 2, 1),
    "max_over_time": lambda F, x: F.max_over_time_forward(x[:, :, 0], [3, 1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", "i4", "u1", "?"])
def test_dtypes(name, kind):
    x = (np.arange(40).reshape(2, 2, 2, 5) % 7).astype(kind)
    expected = np.float64 if x.dtype.kind in "iub" else x.dtype.newbyteorder("=")
    y, cache = FUNCTIONS[name](fastnn, x)
    assert y.dtype == expected
    np.testing.assert_array_equal(y, FUNCTIONS[name](reference, x.astype(np.float64))[0])
    gradients = getattr(fastnn, f"{name}_backward")(y, cache)
    assert {gradient.dtype for gradient in gradients.values()} == {np.dtype(expected)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts(name, rng):
    x = rng.standard_normal((2, 2, 4, 5))
    want, cache = FUNCTIONS[name](fastnn, x)
    dwant = getattr(fastnn, f"{name}_backward")(want, cache)
    strided, unaligned = np.zeros((4, 2, 8, 5)), np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    strided[::2, :, ::-2], unaligned[...] = x, x
    read_only = x.copy()
    read_only.flags.writeable = False
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for other in (strided[::2, :, ::-2], unaligned, np.asfortranarray(x), read_only, channels_last):
        y, cache = FUNCTIONS[name](fastnn, other)
        np.testing.assert_array_equal(y, want)
        gradients = getattr(fastnn, f"{name}_backward")(np.asfortranarray(y), cache)
        for key, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, dwant[key])


def test_mixed_dtypes_meet_and_a_missing_gradient_is_zero():
    x, weight = np.ones((1, 1, 3), np.float32), np.ones((1, 1, 2))
    y, cache = fastnn.conv1d_forward(x, weight, np.ones(1, np.float16))
    assert y.dtype == np.float64
    assert all(not gradient.any() for gradient in fastnn.conv1d_backward(None, cache).values())


@pytest.mark.parametrize("images", [0, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [1, 2])
def test_the_gradient_of_x_is_made_when_wanted(axes, groups, images, rng):
    x = rng.standard_normal((images, 4, *[9, 8][:axes]))
    weight, bias = rng.standard_normal((6, 4 // groups, *[3, 2][:axes])), np.ones(6)
    y, cache = getattr(fastnn, f"conv{axes}d_forward")(x, weight, bias, stride=2, padding=1, groups=groups)
    backward = getattr(fastnn, f"conv{axes}d_backward")
    dy = rng.standard_normal(y.shape)
    want, found = backward(dy, cache), backward(dy, cache, need_dx=False)
    assert want.pop("x").shape == x.shape
    assert found.keys() == {"weight", "bias"}
    for name, gradient in want.items():
        np.testing.assert_array_equal(found[name], gradient)


# ---- errors -------------------------------------------------------------------------------------------------

X, W = np.ones((2, 4, 5, 6)), np.ones((6, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda F: F.conv2d(X[0], W), ValueError, r"x has shape \(4, 5, 6\), expected \(N, C, H, W\)"),
        (lambda F: F.conv1d(X, W), ValueError, r"x has shape \(2, 4, 5, 6\), expected \(N, C, L\)"),
        (lambda F: F.conv2d(X, W), ValueError, r"weight has shape \(6, 2, 3, 3\), expected \(out channels, 4, "),
        (lambda F: F.conv2d(X, W, groups=3), ValueError, "groups is 3, expected a divisor of the 4 channels of x"),
        (lambda F: F.conv2d(X, W[:5], groups=2), ValueError, "groups is 2, expected a divisor of the 5 rows of weight"),
        (lambda F: F.conv2d(X, W, np.ones(5), groups=2), ValueError, r"bias has shape \(5,\), expected \(6,\)"),
        (lambda F: F.conv2d(X, W, groups=2, stride=0), ValueError, "stride is 0, expected an integer or 2 of them, at"),
        (lambda F: F.conv2d(X, W, groups=2, stride=1.5), ValueError, "stride is 1.5, expected an integer"),
        (lambda F: F.conv2d(X, W, groups=2, dilation=(1, 1, 1)), ValueError, r"dilation is \(1, 1, 1\), expected"),
        (lambda F: F.conv2d(X, W, groups=2, padding=-1), ValueError, "padding is -1, expected an integer or 2"),
        (lambda F: F.conv2d(X, W, groups=2, padding="full"), ValueError, "padding is 'full', expected 'same'"),
        (lambda F: F.conv2d(X, W, groups=2, padding="same", stride=2), ValueError, "expected a stride of 1"),
        (lambda F: F.conv2d(X, W, groups=2, dilation=3), ValueError, r"expected at least 7 along axis -2"),
        (lambda F: F.conv2d(X + 0j, W), TypeError, "x has dtype complex128"),
        (lambda F: F.conv2d(X, W.astype(object), groups=2), TypeError, "weight has dtype object"),
        (lambda F: F.max_pool2d(X, 7), ValueError, r"expected at least 7 along axis -2"),
        (lambda F: F.max_pool2d(X, 2, padding=2), ValueError, "padding is 2, expected less than the window's extent 2"),
        (lambda F: F.avg_pool2d(X, 0), ValueError, "kernel_size is 0, expected an integer or 2 of them, at least 1"),
        (lambda F: F.avg_pool2d(X, 2, padding="same"), ValueError, "padding is 'same', expected numbers"),
        (lambda F: F.max_pool1d(X, 2), ValueError, r"expected \(N, C, L\)"),
        (lambda F: F.max_over_time(X), ValueError, r"x has shape \(2, 4, 5, 6\), expected \(N, C, L\)"),
        (lambda F: F.max_over_time(X[:, :, 0], [1, 7]), ValueError, "lengths hold 7, expected numbers from 0 to the 6"),
        (lambda F: F.max_over_time(X[:, :, 0], [1.0, 2.0]), TypeError, "lengths have dtype float64"),
        (lambda F: F.max_over_time(np.ones((2, 3, 0))), ValueError, "expected at least one step"),
        (lambda F: F.conv2d_backward(X, None), TypeError, "cache is a NoneType, expected what conv2d_forward"),
        (lambda F: F.conv2d_backward(X, F.conv2d_forward(X, W, groups=2)[1]), ValueError, r"expected \(2, 6, 3, 4\)"),
        (lambda F: F.max_pool2d_backward(X, F.max_pool2d_forward(X, 2)[1]), ValueError, r"expected \(2, 4, 2, 3\)"),
    ],
)
def test_errors(call, error, message):
    for twin in (fastnn, reference):
        with pytest.raises(error, match=message):
            call(twin)


# ---- layers -------------------------------------------------------------------------------------------------


def test_layers_have_pytorchs_arguments_and_names(rng):
    conv = nn.Conv2d(4, 6, (3, 2), 2, "valid", 1, 2, False, rng=0)
    assert repr(conv) == (
        "Conv2d(in_channels=4, out_channels=6, kernel_size=(3, 2), stride=2, padding='valid', groups=2, bias=False)"
    )
    assert {name: value.shape for name, value in conv.state_dict().items()} == {"weight": (6, 2, 3, 2)}
    assert [*nn.Conv1d(4, 6, 3).state_dict()] == ["weight", "bias"]
    x = rng.standard_normal((2, 4, 8, 9), "f")
    np.testing.assert_array_equal(conv(x), fastnn.conv2d(x, conv.weight.value, stride=2, groups=2))
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x), fastnn.max_pool2d(x, 2))
    np.testing.assert_array_equal(nn.AvgPool2d(2, 1, 1, True, False)(x), reference_pool(x))
    np.testing.assert_array_equal(
        nn.MaxPool1d(3, 1, 1, 2, True)(x[:, 0]), nn.MaxPool1d(3, 1, 1, 2, True).vjp(x[:, 0])[0]
    )
    np.testing.assert_array_equal(nn.AvgPool1d(2)(x[:, 0]), fastnn.avg_pool1d(x[:, 0], 2))


def reference_pool(x):
    return fastnn.avg_pool2d(x, 2, 1, padding=1, ceil_mode=True, count_include_pad=False)


def test_first_weights_lie_in_pytorchs_range():
    conv = nn.Conv2d(8, 64, 3, groups=2, rng=0)
    bound = (4 * 9) ** -0.5
    for value in (conv.weight.value, conv.bias.value):
        assert value.dtype == np.float32
        assert np.abs(value).max() <= bound
    assert abs(conv.weight.value.std() - bound / 3**0.5) < 0.02 * bound


def test_a_network_is_saved_and_loaded(tmp_path, rng):
    net = nn.Sequential(
        nn.Conv2d(1, 4, (3, 3), padding=((1, 0), (0, 1)), rng=0),
        nn.Activation("relu"),
        nn.MaxPool2d((2, 2)),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3, rng=1),
    )
    x = rng.standard_normal((2, 1, 9, 9), "f")
    net.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(fastnn.load(tmp_path / "net.safetensors")(x), net(x))
    assert "(2, 4, 8, 8)" in net.summary(x)


def test_layers_are_made_of_their_weights():
    for layer, told in (
        (nn.Conv1d(4, 6, 3), {}),
        (nn.Conv2d(4, 6, (3, 2), stride=2, bias=False), {"stride": 2}),
        (nn.Conv2d(4, 6, (3, 2), groups=2), {"groups": 2, "in_channels": 4}),
    ):
        state = {f"net.{name}": value for name, value in layer.state_dict().items()}
        made = type(layer).from_state_dict(state, "net.", **told)
        assert repr(made) == repr(layer)
        np.testing.assert_array_equal(made.weight.value, layer.weight.value)
    with pytest.raises(ValueError, match=r"kernel_size is \(3, 3\), expected an integer, at least 1"):
        nn.Conv1d.from_state_dict({"weight": np.ones((2, 2, 3, 3))})


def test_layers_convert_x_and_give_integers_no_gradient():
    x = np.arange(72).reshape(2, 4, 9)
    for layer in (nn.Conv1d(4, 2, 3), nn.MaxPool1d(2), nn.AvgPool1d(2), nn.MaxOverTime(), nn.Flatten()):
        y, back = layer.vjp(x)
        assert back(np.ones_like(y)) is None
    assert nn.Conv1d(4, 2, 3)(x.astype(np.float64)).dtype == np.float32


def test_layer_errors_name_the_layer():
    net = nn.Sequential(nn.Activation("relu"), nn.Sequential(nn.Conv2d(3, 2, 5), nn.MaxPool2d(3)))
    for shape, message in (
        ((1, 4, 8, 8), r"layers.1.layers.0 \(Conv2d\): x has shape .* expected \(batch, 3, height, width\)"),
        ((3, 8, 8), r"\(Conv2d\): x has shape \(3, 8, 8\), expected \(batch, 3, height, width\)"),
        ((1, 3, 4, 8), r"\(Conv2d\): x has shape .* expected at least 5 along axis -2"),
        ((1, 3, 6, 8), r"layers.1.layers.1 \(MaxPool2d\): x has shape .* expected at least 3 along axis -2"),
    ):
        with pytest.raises(ValueError, match=message.replace("layers.1.layers.", r"[\w.]*1[\w.]*\.")):
            net(np.zeros(shape, np.float32))
    back = nn.Conv2d(3, 2, 5).vjp(np.zeros((1, 3, 5, 5)))[1]
    with pytest.raises(ValueError, match=r"Conv2d: dy has shape \(1,\), expected \(1, 2, 1, 1\)"):
        back(np.zeros(1))
    for call, message in (
        (lambda: nn.Conv2d(3, 4, 2, groups=2), "groups is 2, expected a divisor of in_channels, which is 3"),
        (lambda: nn.Conv2d(4, 3, 2, groups=2), "groups is 2, expected a divisor of out_channels, which is 3"),
        (lambda: nn.Conv2d(0, 3, 2), "in_channels is 0, expected a positive integer"),
        (lambda: nn.Conv2d(2, 3, (2, 0)), r"kernel_size is \(2, 0\), expected an integer or 2 of them"),
        (lambda: nn.Conv1d(2, 3, 2, stride=0), "stride is 0, expected an integer, at least 1"),
        (lambda: nn.Conv1d(2, 3, 2, padding="x"), "padding is 'x'"),
        (lambda: nn.MaxPool2d(0), "kernel_size is 0, expected an integer or 2 of them, at least 1"),
        (lambda: nn.MaxPool2d(2, padding="same"), "padding is 'same', expected numbers"),
        (lambda: nn.AvgPool1d(2, padding=2), "padding is 2, expected less than the window's extent 2"),
        (lambda: nn.AvgPool2d(2, stride=(1, 0)), r"stride is \(1, 0\), expected"),
        (lambda: nn.MaxPool1d(2, dilation=0), "dilation is 0, expected"),
        (lambda: nn.Flatten(2, 3)(np.ones((2, 2))), "Flatten: x has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_flatten(rng):
    x = rng.standard_normal((2, 3, 4, 5))
    for options, shape in (({}, (2, 60)), ({"start_dim": 2}, (2, 3, 20)), ({"start_dim": 0, "end_dim": 1}, (6, 4, 5))):
        y, back = nn.Flatten(**options).vjp(x)
        np.testing.assert_array_equal(y, x.reshape(shape))
        np.testing.assert_array_equal(back(2 * y), 2 * x)


def test_max_over_time_reads_lengths_in_a_sequential(rng):
    x = rng.standard_normal((2, 3, 7))
    net = nn.Sequential(nn.Activation("relu"), nn.MaxOverTime())
    np.testing.assert_array_equal(net(x, lengths=[2, 7]), fastnn.max_over_time(np.maximum(x, 0), [2, 7]))
    np.testing.assert_array_equal(nn.MaxOverTime()(x, [3, 5]), nn.Pool("max")(x.transpose(2, 0, 1), [3, 5]))


def test_a_small_network_learns(rng):
    """Bars across or along images, wherever they lie: the thing that convolution is for."""
    from fastnn import optim

    labels = rng.integers(0, 2, 200)
    images = 0.3 * rng.standard_normal((200, 1, 10, 10), "f")
    for image, label, at in zip(images, labels, rng.integers(0, 10, 200), strict=True):
        image[0, at, :] += 1 - label
        image[0, :, at] += label
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, rng=0), nn.Activation("relu"), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 2, rng=1)
    )
    opt = optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(30):
        logits, back = net.vjp(images[:150])
        _, dlogits = fastnn.softmax_cross_entropy(logits, labels[:150])
        opt.zero_grad()
        back(dlogits)
        opt.step()
    assert (net(images[150:]).argmax(1) == labels[150:]).mean() > 0.9


@pytest.mark.kernels
def test_kernels_refuse_arrays_that_do_not_go_together():
    from fastnn._kernels import convolution as kernels

    axes = ((5, 3, 1, 0, 1, 3), (6, 3, 1, 0, 1, 4))
    x, weight, y, bias = X, W, np.empty((2, 6, 3, 4)), np.ones(6)
    kernels.conv2d(y, x, weight, bias, axes, 2)
    for arguments in (
        (y, x, weight, bias, axes, 1),
        (y[:, :5], x, weight, bias, axes, 2),
        (np.empty((2, 6, 3, 5)), x, weight, bias, axes, 2),
        (y, x, weight, bias[:5], axes, 2),
    ):
        with pytest.raises(ValueError, match=r"go with|expected"):
            kernels.conv2d(*(np.ascontiguousarray(a) for a in arguments[:4]), *arguments[4:])
    with pytest.raises(ValueError, match="has not the shape"):
        kernels.conv2d_backward(x[:, :, :4].copy(), weight, bias, y, x, weight, axes, 2)
    with pytest.raises(ValueError, match="has not the shape"):
        kernels.conv2d_backward["double"](None, weight[:5].copy(), bias, y, x, weight, axes, 2)
    images = X.reshape(8, 5, 6)
    for call in (
        lambda: kernels.max_pool2d(np.empty((8, 3, 5)), images, None, axes),
        lambda: kernels.max_pool2d(np.empty((8, 3, 4)), images, np.empty((8, 11), "i"), axes),
        lambda: kernels.avg_pool2d(np.empty((8, 3, 4)), images, np.ones(3), np.ones(3), axes),
        lambda: kernels.max_pool2d_backward(images.copy(), np.empty((8, 3, 4)), np.empty((8, 11), "i"), axes),
        lambda: kernels.avg_pool2d_backward(images.copy(), np.empty((7, 3, 4)), np.ones(3), np.ones(4), axes),
        lambda: kernels.max_over_time(np.empty((8, 5)), np.empty((8, 5), "i"), images, np.full(8, 7)),
        lambda: kernels.max_over_time(np.empty((8, 4)), np.empty((8, 5), "i"), images, np.full(8, 6)),
        lambda: kernels.max_over_time_backward(images.copy(), np.empty((8, 4)), np.empty((8, 5), "i")),
    ):
        with pytest.raises(ValueError, match=r"go with|expected"):
            call()
