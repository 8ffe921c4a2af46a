"""Elementwise activations in plain NumPy: for each name f, f_derivative and f_backward."""

import functools
import inspect
import math

import numpy as np

from fastnn._checks import working

_SQRT_2_PI = math.sqrt(2 * math.pi)
_FUNCTIONS = {}


def _elementwise(formula):
    """Give a formula over arrays of one dtype what a ufunc has: the dtype rule, out=, where=, dtype=, no warnings."""
    signature = inspect.signature(formula)

    @functools.wraps(formula)
    def function(*args, out=None, where=True, dtype=None, **named):
        bound = signature.bind(*args, **named)
        bound.apply_defaults()
        operands = [v if isinstance(v, (bool, int, float)) else np.asarray(v) for v in bound.arguments.values()]
        types = [np.result_type(v) for v in operands]
        if any(t.kind not in "biuf" or t.itemsize > 8 for t in types):
            raise TypeError(f"{formula.__name__} does not support operands of type {', '.join(map(str, types))}")
        dtype = np.dtype(dtype or np.result_type(*operands)).newbyteorder("=")
        if dtype.kind in "biu":  # the smallest float that holds all; for one operand always float64
            dtype = np.result_type(dtype, np.float64 if len(operands) == 1 else np.float16)
        if dtype.char not in "efd":
            raise TypeError(f"{formula.__name__} does not support dtype {dtype}")
        with np.errstate(all="ignore"):
            arrays = [np.asarray(v, dtype).astype(working(dtype)) for v in operands]
            result = np.asarray(formula(*arrays)).astype(dtype)
        (out,) = out if isinstance(out, tuple) else (out,)
        if out is None:
            return result[()] if where is True else np.where(where, result, 0)
        np.copyto(out, result, where=where)
        return out

    tail = inspect.signature(lambda *, out=None, **ufunc_keywords: None).parameters.values()
    function.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *tail])
    _FUNCTIONS[formula.__name__] = function
    return function


def saved_for(name):
    """Return what `<name>_backward(dy, saved)` takes: "x", the input of the activation, or "y", its output."""
    if f"{name}_backward" not in _FUNCTIONS:
        known = ", ".join(key.removesuffix("_backward") for key in _FUNCTIONS if key.endswith("_backward"))
        raise ValueError(f"name is {name!r}, expected one of {known}")
    return list(inspect.signature(_FUNCTIONS[f"{name}_backward"]).parameters)[1]


def _select(dy, slope):
    """Return dy * slope, and 0 where the slope is 0 even if dy is infinite or NaN."""
    return np.where(slope == 0, 0, dy * slope)


def _gate(x, share):
    """Return x * share, and 0 where the share is 0 even if x is infinite."""
    return np.where(share == 0, 0, x * share)


def _bounded(x):
    """Return x within bounds that no slope, and no share, changes beyond: its powers are finite there."""
    return np.clip(x, -1000, 1000)


# --- piecewise linear --------------------------------------------------------------------


@_elementwise
def relu(x):
    """max(x, 0)"""
    return np.where(x < 0, 0, x)


@_elementwise
def relu_derivative(x):
    """1 where x > 0, else 0"""
    return np.where(np.isnan(x), x, x > 0)


@_elementwise
def relu_backward(dy, y):
    """dy where y > 0, else 0"""
    return _select(dy, relu_derivative(y))


@_elementwise
def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else negative_slope * x"""
    return np.where(x < 0, negative_slope * x, x)


@_elementwise
def leaky_relu_derivative(x, negative_slope=0.01):
    """1 where x > 0, else negative_slope"""
    return np.where(x > 0, 1, np.where(np.isnan(x), x, negative_slope))


@_elementwise
def leaky_relu_backward(dy, x, negative_slope=0.01):
    """dy where x > 0, else dy * negative_slope"""
    return _select(dy, leaky_relu_derivative(x, negative_slope))


@_elementwise
def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x held between min_val and max_val"""
    y = np.where(x < min_val, min_val, x)
    return np.where(y > max_val, max_val, y)


@_elementwise
def hardtanh_derivative(x, min_val=-1.0, max_val=1.0):
    """1 where min_val < x < max_val, else 0"""
    return np.where(np.isnan(x), x, (min_val < x) & (x < max_val))


@_elementwise
def hardtanh_backward(dy, x, min_val=-1.0, max_val=1.0):
    """dy where min_val < x < max_val, else 0"""
    return _select(dy, hardtanh_derivative(x, min_val, max_val))


@_elementwise
def hardsigmoid(x):
    """(x + 3) / 6 held between 0 and 1"""
    return np.clip(x + 3, 0, 6) / 6


@_elementwise
def hardsigmoid_derivative(x):
    """1/6 where -3 < x < 3, else 0"""
    return hardtanh_derivative(x, -3, 3) / 6


@_elementwise
def hardsigmoid_backward(dy, x):
    """dy / 6 where -3 < x < 3, else 0"""
    return _select(dy, hardsigmoid_derivative(x))


@_elementwise
def hardswish(x):
    """x * hardsigmoid(x)"""
    return _gate(x, hardsigmoid(x))


@_elementwise
def hardswish_derivative(x):
    """x/3 + 1/2 where -3 < x < 3, 0 below, 1 above"""
    return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))


@_elementwise
def hardswish_backward(dy, x):
    """dy * hardswish_derivative(x)"""
    return dy * hardswish_derivative(x)


# --- sigmoid and tanh --------------------------------------------------------------------


@_elementwise
def sigmoid(x):
    """1 / (1 + exp(-x)), written so that exp cannot overflow"""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


@_elementwise
def sigmoid_derivative(x):
    """sigmoid(x) * sigmoid(-x)"""
    e = np.exp(-np.abs(x))
    return e / (1 + e) ** 2


@_elementwise
def sigmoid_backward(dy, y):
    """dy * y * (1 - y)"""
    return dy * (y * (1 - y))


@_elementwise
def tanh(x):
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))"""
    return np.tanh(x)


@_elementwise
def tanh_derivative(x):
    """1 - tanh(x)^2, written so that nothing cancels"""
    e = np.exp(-2 * np.abs(x))
    return 4 * e / (1 + e) ** 2


@_elementwise
def tanh_backward(dy, y):
    """dy * (1 - y) * (1 + y)"""
    return dy * ((1 - y) * (1 + y))


@_elementwise
def softsign(x):
    """x / (1 + |x|)"""
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


@_elementwise
def softsign_derivative(x):
    """1 / (1 + |x|)^2"""
    r = 1 / (1 + np.abs(x))
    return r * r


@_elementwise
def softsign_backward(dy, x):
    """dy * softsign_derivative(x)"""
    return dy * softsign_derivative(x)


# --- logarithms of sigmoids --------------------------------------------------------------


@_elementwise
def softplus(x):
    """log(1 + exp(x)), written so that exp cannot overflow"""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@_elementwise
def softplus_derivative(x):
    """sigmoid(x)"""
    return sigmoid(x)


@_elementwise
def softplus_backward(dy, y):
    """dy * (1 - exp(-y))"""
    return dy * -np.expm1(-y)


@_elementwise
def log_sigmoid(x):
    """log(sigmoid(x)) = -softplus(-x)"""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@_elementwise
def log_sigmoid_derivative(x):
    """sigmoid(-x)"""
    return sigmoid(-x)


@_elementwise
def log_sigmoid_backward(dy, y):
    """dy * (1 - exp(y))"""
    return dy * -np.expm1(y)


# --- exponential units -------------------------------------------------------------------


@_elementwise
def elu(x, alpha=1.0):
    """x where x > 0, else alpha * (exp(x) - 1)"""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@_elementwise
def elu_derivative(x, alpha=1.0):
    """1 where x > 0, else alpha * exp(x)"""
    return np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))


@_elementwise
def elu_backward(dy, x, alpha=1.0):
    """dy * elu_derivative(x)"""
    return dy * elu_derivative(x, alpha)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


@_elementwise
def selu(x):
    """scale * elu(x, alpha) with scale = 1.0507..., alpha = 1.6732..."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


@_elementwise
def selu_derivative(x):
    """scale where x > 0, else scale * alpha * exp(x)"""
    return _SELU_SCALE * elu_derivative(x, _SELU_ALPHA)


@_elementwise
def selu_backward(dy, x):
    """dy * selu_derivative(x)"""
    return dy * selu_derivative(x)


# --- x times a share between 0 and 1 -----------------------------------------------------


@_elementwise
def silu(x):
    """x * sigmoid(x)"""
    return _gate(x, sigmoid(x))


@_elementwise
def silu_derivative(x):
    """sigmoid(x) * (1 + x * sigmoid(-x))"""
    x = _bounded(x)
    return sigmoid(x) * (1 + x * sigmoid(-x))


@_elementwise
def silu_backward(dy, x):
    """dy * silu_derivative(x)"""
    return dy * silu_derivative(x)


@_elementwise
def mish(x):
    """x * tanh(softplus(x))"""
    return _gate(x, np.tanh(softplus(x)))


@_elementwise
def mish_derivative(x):
    """t + x * sigmoid(x) * (1 - t^2) with t = tanh(softplus(x))"""
    x = _bounded(x)
    s = softplus(x)
    return np.tanh(s) + x * sigmoid(x) * tanh_derivative(s)


@_elementwise
def mish_backward(dy, x):
    """dy * mish_derivative(x)"""
    return dy * mish_derivative(x)


def _normal_cdf(x):
    """The share of a standard normal distribution below x."""
    return np.vectorize(math.erfc, otypes=[float])(-x * math.sqrt(0.5)).astype(x.dtype) / 2


@_elementwise
def gelu(x):
    """x * P(X <= x), X standard normal"""
    return _gate(x, _normal_cdf(x))


@_elementwise
def gelu_derivative(x):
    """P(X <= x) + x * exp(-x^2 / 2) / sqrt(2 pi)"""
    x = _bounded(x)
    return _normal_cdf(x) + x * np.exp(-x * x / 2) / _SQRT_2_PI


@_elementwise
def gelu_backward(dy, x):
    """dy * gelu_derivative(x)"""
    return dy * gelu_derivative(x)


def _gelu_tanh_argument(x):
    """Return v and its slope: (1 + tanh(v / 2)) / 2 = sigmoid(v) is near P(X <= x)."""
    k = math.sqrt(8 / math.pi)
    return k * x * (1 + 0.044715 * x * x), k * (1 + 3 * 0.044715 * x * x)


@_elementwise
def gelu_tanh(x):
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2"""
    v, _ = _gelu_tanh_argument(_bounded(x))
    return _gate(x, sigmoid(v))


@_elementwise
def gelu_tanh_derivative(x):
    """s + x * s * (1 - s) * v'(x) with s = sigmoid(v), v = sqrt(8 / pi) * (x + 0.044715 x^3)"""
    x = _bounded(x)
    v, slope = _gelu_tanh_argument(x)
    return sigmoid(v) + x * slope * sigmoid_derivative(v)


@_elementwise
def gelu_tanh_backward(dy, x):
    """dy * gelu_tanh_derivative(x)"""
    return dy * gelu_tanh_derivative(x)


__all__ = [*_FUNCTIONS, "saved_for"]
