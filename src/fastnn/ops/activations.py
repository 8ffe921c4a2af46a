"""Elementwise activations: for each name f, f_derivative and f_backward."""

from fastnn._kernels.activations import OPS, ufunc

__all__ = list(OPS)


def _ufuncs(name, saved, formula):
    """Make the three ufuncs of a name without parameters."""
    return [
        ufunc(name, "fastnn", f"{name}(x) = {formula}"),
        ufunc(f"{name}_derivative", "fastnn", f"{name}_derivative(x): the slope of `{name}` at x."),
        ufunc(f"{name}_backward", "fastnn", f"{name}_backward(dy, {saved}) = dy * {name}_derivative(x)."),
    ]


relu, relu_derivative, relu_backward = _ufuncs("relu", "y", "max(x, 0)")
sigmoid, sigmoid_derivative, sigmoid_backward = _ufuncs("sigmoid", "y", "1 / (1 + exp(-x))")
tanh, tanh_derivative, tanh_backward = _ufuncs("tanh", "y", "hyperbolic tangent of x")
