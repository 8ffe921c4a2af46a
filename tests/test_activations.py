"""Elementwise activations: value, derivative and backward pass of every case row; edges, layouts, positions."""

import functools

import mpmath
import numpy as np
import pytest
from accuracy import mpmath_truth
from cases import CASES
from ulp import ulp_error

import fastnn
from fastnn import reference
from fastnn._backend import BACKEND

INF, NAN = np.inf, np.nan
SIZES = [0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000]
LAYOUTS = {
    "strided": lambda a: np.repeat(a, 3)[::3],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
    "two-dimensional": lambda a: np.asfortranarray(a.reshape(2, -1)) if a.size % 2 == 0 else a,
}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_dtype = pytest.mark.parametrize("dtype", "efd")


@functools.cache
def inputs(dtype):
    """Return numbers of every size, NaN and infinity, and more of them where functions bend and where they end."""
    if dtype == "f":
        everywhere = np.arange(0, 1 << 32, 16411, dtype="u4").view("f")
        end = 120
    else:
        everywhere = np.random.default_rng(0).integers(0, 1 << 64, 100_000, dtype="u8").view("d")
        end = 760
    bends = [np.linspace(-a, a, 20_001, dtype=dtype) for a in (1e-3, 4, 20, end)]
    everywhere[np.isnan(everywhere)] = NAN  # casts complain of other NaNs
    return np.concatenate([everywhere, *bends, np.array([0, -0.0, INF, -INF], dtype)])


def call(module, name, operands, parameters):
    return getattr(module, name)(*operands, *parameters)


@functools.cache
def truth(name, parameters):
    """Evaluate the twin in float64 at the float32 numbers; parameters are those that float32 has."""
    parameters = np.array(parameters, "f").astype("d")
    return call(reference, name, [inputs("f").astype("d")], parameters)


@np.errstate(invalid="ignore", over="ignore")  # of two infinities; of what rounds to one
def check(case, got, want, *, slope=False, x=None, scale=1.0):
    """Assert that results are as near as the case row says."""
    if BACKEND != "compiled":  # the twin's formulas keep fewer digits in their tails
        eps = np.finfo(got.dtype).eps
        np.testing.assert_allclose(got, want.astype(got.dtype), rtol=40 * eps, atol=40 * eps)
        return
    if slope:
        error = ulp_error(got, want)
        if case.changes_sign:
            half_unit = np.finfo(got.dtype).epsneg * scale  # a unit in the last place of 1/2
            error = np.where(np.abs(got - want) <= case.slope_ulp * half_unit, 0, error)
        assert error.max(initial=0) <= case.slope_ulp
    else:
        error = ulp_error(got, want)
        if case.name == "gelu_tanh":  # its tail is bounded absolutely, by 6e-8 in float32
            error = np.where((x < -1) & (np.abs(got - want) <= 1.0066 * np.finfo(got.dtype).epsneg), 0, error)
        assert error.max(initial=0) <= case.ulp


@every_case
def test_values_and_slopes_of_float32(isa, case):
    x = inputs("f")
    for parameters in case.parameters:
        with np.errstate(all="raise"):
            y = call(fastnn, case.name, [x], parameters)
            slope = call(fastnn, f"{case.name}_derivative", [x], parameters)
        assert y.dtype == slope.dtype == np.float32
        check(case, y, truth(case.name, parameters), x=x)
        check(case, slope, truth(f"{case.name}_derivative", parameters), slope=True)


@every_case
def test_backward_of_float32(isa, case, rng):
    x = inputs("f")
    dy = rng.uniform(-2, 2, x.size).astype("f")
    for parameters in case.parameters:
        y = call(fastnn, case.name, [x], parameters)
        saved = {"x": x, "y": y}[fastnn.saved_for(case.name)]
        with np.errstate(all="raise"):
            dx = call(fastnn, f"{case.name}_backward", [dy, saved], parameters)
        wide = np.array(parameters, "f").astype("d")
        want = call(reference, f"{case.name}_backward", [dy.astype("d"), saved.astype("d")], wide)
        assert dx.dtype == np.float32
        check(case, dx, want, slope=True, scale=np.abs(dy))


@functools.cache
def precise(name):
    """Evaluate a function at 260 float64 numbers with 60 digits, rounded to long double."""
    x = np.concatenate([np.linspace(-40, 40, 161), np.linspace(-745, -690, 41), np.geomspace(1e-320, 1e3, 29)])
    x = np.concatenate([x, -np.geomspace(1e-320, 1e3, 29)])
    exact = [mpmath_truth(name, v) for v in x]
    return x, np.array([np.longdouble(mpmath.nstr(v, 25)) if v and mpmath.log10(abs(v)) > -4000 else 0 for v in exact])


@every_case
def test_values_and_slopes_of_float64(isa, case):
    x, want = precise(case.name)
    check(case, call(fastnn, case.name, [x], case.parameters[0]), want, x=x)
    x, want = precise(f"{case.name}_derivative")
    check(case, call(fastnn, f"{case.name}_derivative", [x], case.parameters[0]), want, slope=True)


@every_case
def test_backward_of_float64(isa, case):
    for parameters in case.parameters:
        x = inputs("d")
        saved = x if case.saved == "x" else call(fastnn, case.name, [x], parameters)
        dy = np.cos(np.arange(x.size))
        dx = call(fastnn, f"{case.name}_backward", [dy, saved], parameters)
        want = call(reference, f"{case.name}_backward", [dy, saved], parameters)
        eps = np.finfo("d").eps
        np.testing.assert_allclose(dx, want, rtol=16 * eps, atol=16 * eps)


@every_case
def test_slopes_are_those_of_the_values(isa, case):
    step = 1e-6
    x = np.linspace(-6.0005, 6, 1201)
    x = x[np.all([np.abs(x - kink) > 2 * step for kink in (*case.kinks, INF)], axis=0)]
    for parameters in case.parameters:
        above, below = (call(fastnn, case.name, [x + h], parameters) for h in (step, -step))
        slope = call(fastnn, f"{case.name}_derivative", [x], parameters)
        np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-8, atol=1e-9)


@every_case
def test_every_half_goes_through_float32(isa, case):
    x = np.arange(1 << 16, dtype="u2").view("e")
    dy = x[::-1].copy()
    for name, operands in (case.name, [x]), (f"{case.name}_derivative", [x]), (f"{case.name}_backward", [dy, x]):
        got = call(fastnn, name, operands, np.array(case.parameters[0], "e"))
        with np.errstate(all="ignore"):
            want = call(fastnn, name, [a.astype("f") for a in operands], np.array(case.parameters[0], "e").astype("f"))
            want = want.astype("e")
        assert got.dtype == np.float16
        np.testing.assert_array_equal(got, want)
        number = ~np.isnan(want)
        np.testing.assert_array_equal(got.view("u2")[number], want.view("u2")[number])


# --- edges -----------------------------------------------------------------------------------------------------------
EDGES = {  # f(-inf), f(inf), f'(-inf), f'(0), f'(inf)
    "relu": (0, INF, 0, 0, 1),
    "leaky_relu": (-INF, INF, 0.01, 0.01, 1),
    "hardtanh": (-1, 1, 0, 1, 0),
    "hardsigmoid": (0, 1, 0, 1 / 6, 0),
    "hardswish": (0, INF, 0, 0.5, 1),
    "sigmoid": (0, 1, 0, 0.25, 0),
    "tanh": (-1, 1, 0, 1, 0),
    "softsign": (-1, 1, 0, 1, 0),
    "softplus": (0, INF, 0, 0.5, 1),
    "log_sigmoid": (-INF, 0, 1, 0.5, 0),
    "elu": (-1, INF, 0, 1, 1),
    "selu": (-1.7580993408473766, INF, 0, 1.7580993408473766, 1.0507009873554805),
    "silu": (0, INF, 0, 0.5, 1),
    "mish": (0, INF, 0, 0.6, 1),
    "gelu": (0, INF, 0, 0.5, 1),
    "gelu_tanh": (0, INF, 0, 0.5, 1),
}


@every_dtype
@every_case
def test_infinities_zeros_and_nan(isa, case, dtype):
    f, slope, backward = (getattr(fastnn, case.name + end) for end in ("", "_derivative", "_backward"))
    low, high, slope_low, slope_0, slope_high = np.array(EDGES[case.name], dtype)
    eps = np.finfo(dtype).eps
    infinities = np.array([-INF, INF], dtype)
    np.testing.assert_allclose(f(infinities), [low, high], rtol=eps, atol=0)
    np.testing.assert_allclose(slope(infinities), [slope_low, slope_high], rtol=eps, atol=0)
    for zero in np.array([0, -0.0], dtype):
        np.testing.assert_allclose(slope(zero), slope_0, rtol=2 * eps, atol=0)
        if case.odd:
            assert np.signbit(f(zero)) == np.signbit(zero)
    nan = np.array(NAN, dtype)
    assert np.isnan([f(nan), slope(nan), backward(np.ones_like(nan), nan)]).all()


@pytest.mark.parametrize("dtype", "fd")
@every_case
def test_the_largest_numbers_are_as_good_as_infinite(isa, case, dtype):
    large = np.finfo(dtype).max
    for x, end in (-large, 0), (large, 1):
        edge = EDGES[case.name][end]
        if np.isfinite(edge):
            np.testing.assert_allclose(getattr(fastnn, case.name)(x), edge, rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(
            getattr(fastnn, f"{case.name}_derivative")(x), EDGES[case.name][2 + 2 * end], rtol=1e-6, atol=1e-30
        )


def test_where_the_pieces_meet(isa):
    ends = np.array([-3, 3.0])
    assert (fastnn.hardsigmoid_derivative(ends) == 0).all()
    assert fastnn.hardswish_derivative(ends).tolist() == [0, 1]
    assert (fastnn.hardtanh_derivative([-1, 1.0]) == 0).all()
    assert (fastnn.hardtanh_derivative([-2, 0.5], -2, 0.5) == 0).all()
    assert fastnn.leaky_relu_derivative(0.0, 0.3) == 0.3
    assert fastnn.elu_derivative(0.0, 0.3) == 0.3


@every_dtype
def test_a_slope_of_zero_selects(isa, dtype):
    """Unlike a product: 0 times an infinite or undefined gradient is not 0."""
    dy = np.array([INF, -INF, NAN, 7], dtype)
    flat = {
        "relu": [(-1,), (0,)],
        "leaky_relu": [(-1, 0), (0, 0)],
        "hardtanh": [(-1,), (1,), (5,)],
        "hardsigmoid": [(-3,), (3,), (9,)],
    }
    for name, points in flat.items():
        for x, *parameters in points:
            dx = getattr(fastnn, f"{name}_backward")(dy, np.full_like(dy, x), *np.array(parameters, dtype))
            np.testing.assert_array_equal(dx, np.zeros(4))
    for name, x in ("relu", 2), ("leaky_relu", 2), ("hardtanh", 0.5):
        np.testing.assert_array_equal(getattr(fastnn, f"{name}_backward")(dy, np.full_like(dy, x)), dy)


# --- layouts and positions -------------------------------------------------------------------------------------------
def same_bits(a, b):
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


def functions(case, dtype, size):
    """Yield each of the case's functions with operands and parameters."""
    rng = np.random.default_rng(size)
    x, dy = (4 * rng.standard_normal((2, size))).astype(dtype)
    parameters = np.array(case.parameters[-1], dtype)
    saved = x if case.saved == "x" else call(fastnn, case.name, [x], parameters)
    yield getattr(fastnn, case.name), [x], parameters
    yield getattr(fastnn, f"{case.name}_derivative"), [x], parameters
    yield getattr(fastnn, f"{case.name}_backward"), [dy, saved], parameters


@pytest.mark.kernels
@every_dtype
@every_case
def test_a_result_does_not_depend_on_where_its_element_lies(isa, case, dtype):
    for f, operands, parameters in functions(case, dtype, 1100):
        everything = f(*operands, *parameters)
        for size in SIZES:
            for first in (0, 1, 3, 17):
                part = slice(first, first + size)
                same_bits(f(*(a[part] for a in operands), *parameters), everything[part])


@pytest.mark.parametrize("layout", LAYOUTS)
@every_dtype
@every_case
def test_layouts(isa, case, dtype, layout):
    for size in (0, 1, 64, 300, 1000):
        for f, operands, parameters in functions(case, dtype, size):
            laid_out = [LAYOUTS[layout](a) for a in operands]
            same_bits(f(*laid_out, *parameters).ravel(), f(*operands, *parameters))


@every_dtype
@pytest.mark.parametrize("case", [case for case in CASES if case.parameters[0]], ids=lambda case: case.name)
def test_parameters_broadcast(isa, case, dtype):
    """One number for all, one a column (a channel of PReLU), one a row, one an element."""
    x = np.linspace(-3, 3, 21 * 30).astype(dtype).reshape(21, 30)
    number = np.array(case.parameters[0], dtype)
    for shape in (30,), (21, 1), (21, 30):
        arrays = [(p + np.arange(np.prod(shape)).reshape(shape) / 1000).astype(dtype) for p in number]
        for name in case.name, f"{case.name}_derivative", f"{case.name}_backward":
            operands = [x] * (1 + name.endswith("_backward"))
            got = call(fastnn, name, operands, arrays)
            full = [np.broadcast_to(p, x.shape) for p in arrays]
            for i in np.ndindex(x.shape):
                if (i[0] + i[1]) % 7 == 0:
                    same_bits(got[i], call(fastnn, name, [a[i] for a in operands], [p[i] for p in full]))
    named = dict(zip(["negative_slope"] if case.name == "leaky_relu" else ["alpha"], number, strict=False))
    if len(number) == 1:
        same_bits(getattr(fastnn, case.name)(x, **named), getattr(fastnn, case.name)(x, number[0]))


def test_saved_for():
    assert {case.name: fastnn.saved_for(case.name) for case in CASES} == {case.name: case.saved for case in CASES}
    with pytest.raises(ValueError, match="name is 'softmax', expected one of relu, "):
        fastnn.saved_for("softmax")


def test_every_activation_has_a_case():
    names = [name.removesuffix("_backward") for name in reference.activations.__all__ if name.endswith("_backward")]
    assert sorted(names) == sorted(case.name for case in CASES)
