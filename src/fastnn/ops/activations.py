"""Elementwise activations: for each name f, f_derivative and f_backward."""

from fastnn import ufuncs
from fastnn._kernels.activations import OPS, SAVED, ufunc

__all__ = [*OPS, "saved_for"]


def saved_for(name):
    """Return what `<name>_backward(dy, saved)` takes: "x", the input of the activation, or "y", its output.

    Examples
    --------
    >>> fastnn.saved_for("tanh"), fastnn.saved_for("gelu")
    ('y', 'x')
    """
    if name not in SAVED:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(SAVED)}")
    return SAVED[name]


def _ufuncs(name, formula):
    """Make the three ufuncs of a name without parameters."""
    return [
        ufunc(name, "fastnn", f"{name}(x) = {formula}"),
        ufunc(f"{name}_derivative", "fastnn", f"{name}_derivative(x): the slope of `{name}` at x."),
        ufunc(f"{name}_backward", "fastnn", f"{name}_backward(dy, {SAVED[name]}) = dy * {name}_derivative(x)."),
    ]


relu, relu_derivative, relu_backward = _ufuncs("relu", "max(x, 0)")
sigmoid, sigmoid_derivative, sigmoid_backward = _ufuncs("sigmoid", "1 / (1 + exp(-x))")
tanh, tanh_derivative, tanh_backward = _ufuncs("tanh", "hyperbolic tangent of x")
softplus, softplus_derivative, softplus_backward = _ufuncs("softplus", "log(1 + exp(x))")
log_sigmoid, log_sigmoid_derivative, log_sigmoid_backward = _ufuncs("log_sigmoid", "log(1 / (1 + exp(-x)))")
softsign, softsign_derivative, softsign_backward = _ufuncs("softsign", "x / (1 + |x|)")
hardsigmoid, hardsigmoid_derivative, hardsigmoid_backward = _ufuncs("hardsigmoid", "(x + 3) / 6 between 0 and 1")
hardswish, hardswish_derivative, hardswish_backward = _ufuncs("hardswish", "x * hardsigmoid(x)")
selu, selu_derivative, selu_backward = _ufuncs("selu", "1.0507 * (x where x > 0, else 1.6733 * (exp(x) - 1))")
silu, silu_derivative, silu_backward = _ufuncs("silu", "x / (1 + exp(-x))")
mish, mish_derivative, mish_backward = _ufuncs("mish", "x * tanh(softplus(x))")
gelu, gelu_derivative, gelu_backward = _ufuncs("gelu", "x * erfc(-x / sqrt(2)) / 2")
gelu_tanh, gelu_tanh_derivative, gelu_tanh_backward = _ufuncs(
    "gelu_tanh", "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2"
)


def leaky_relu(x, negative_slope=0.01, *, out=None, **ufunc_keywords):
    """Return x where x > 0, else negative_slope * x."""
    return ufuncs.leaky_relu(x, negative_slope, out=out, **ufunc_keywords)


def leaky_relu_derivative(x, negative_slope=0.01, *, out=None, **ufunc_keywords):
    """Return 1 where x > 0, else negative_slope."""
    return ufuncs.leaky_relu_derivative(x, negative_slope, out=out, **ufunc_keywords)


def leaky_relu_backward(dy, x, negative_slope=0.01, *, out=None, **ufunc_keywords):
    """Return dy * leaky_relu_derivative(x, negative_slope)."""
    return ufuncs.leaky_relu_backward(dy, x, negative_slope, out=out, **ufunc_keywords)


def elu(x, alpha=1.0, *, out=None, **ufunc_keywords):
    """Return x where x > 0, else alpha * (exp(x) - 1)."""
    return ufuncs.elu(x, alpha, out=out, **ufunc_keywords)


def elu_derivative(x, alpha=1.0, *, out=None, **ufunc_keywords):
    """Return 1 where x > 0, else alpha * exp(x)."""
    return ufuncs.elu_derivative(x, alpha, out=out, **ufunc_keywords)


def elu_backward(dy, x, alpha=1.0, *, out=None, **ufunc_keywords):
    """Return dy * elu_derivative(x, alpha)."""
    return ufuncs.elu_backward(dy, x, alpha, out=out, **ufunc_keywords)


def hardtanh(x, min_val=-1.0, max_val=1.0, *, out=None, **ufunc_keywords):
    """Return x held between min_val and max_val."""
    return ufuncs.hardtanh(x, min_val, max_val, out=out, **ufunc_keywords)


def hardtanh_derivative(x, min_val=-1.0, max_val=1.0, *, out=None, **ufunc_keywords):
    """Return 1 where min_val < x < max_val, else 0."""
    return ufuncs.hardtanh_derivative(x, min_val, max_val, out=out, **ufunc_keywords)


def hardtanh_backward(dy, x, min_val=-1.0, max_val=1.0, *, out=None, **ufunc_keywords):
    """Return dy where min_val < x < max_val, else 0."""
    return ufuncs.hardtanh_backward(dy, x, min_val, max_val, out=out, **ufunc_keywords)
