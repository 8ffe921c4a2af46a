"""Elementwise activations: for each name f, f_derivative and f_backward.

Those without parameters are NumPy ufuncs; the others are functions over the ufuncs in `fastnn.ufuncs`.
"""

from textwrap import fill
from typing import NamedTuple

from fastnn import ufuncs
from fastnn._kernels.activations import OPS, SAVED, call, ufunc

__all__ = [*OPS, "saved_for"]


class _Row(NamedTuple):
    """What the docstrings of an activation's three functions tell."""

    formula: str
    slope: str
    saved_slope: str  # as a function of what is saved
    error: str  # the bound on that of the formula, in units in the last place
    source: str
    results: tuple  # of the three examples
    parameters: str = ""
    selects: bool = False


_ROWS = {
    "relu": _Row(
        "max(x, 0)",
        "1 where x > 0, else 0",
        "1 where y > 0, else 0",
        "exact",
        (
            "Nair and Hinton, 'Rectified linear units improve restricted Boltzmann machines', 2010; seed notes 000 "
            "to 004. Its slope at 0 is 0; note 003 has 1."
        ),
        ("[0. , 0.5, 4. ]", "[0., 1., 1.]", "[ 0., 10., 10.]"),
        selects=True,
    ),
    "sigmoid": _Row(
        "1 / (1 + exp(-x))",
        "f(x) * f(-x)",
        "y * (1 - y)",
        "2.5 ULP",
        "Seed notes 000, 001, 003 and 004.",
        ("[0.269, 0.622, 0.982]", "[0.197, 0.235, 0.018]", "[1.966, 2.35 , 0.177]"),
    ),
    "tanh": _Row(
        "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
        "1 - tanh(x)^2, computed so that nothing cancels",
        "(1 - y) * (1 + y)",
        "2.5 ULP",
        "Seed notes 000, 001, 003 and 004.",
        ("[-0.762,  0.462,  0.999]", "[0.42 , 0.786, 0.001]", "[4.2  , 7.864, 0.013]"),
    ),
    "softplus": _Row(
        "log(1 + exp(x))",
        "1 / (1 + exp(-x))",
        "1 - exp(-y)",
        "3 ULP",
        "Dugas et al., 'Incorporating second-order functional knowledge for better option pricing', 2000.",
        ("[0.313, 0.974, 4.018]", "[0.269, 0.622, 0.982]", "[2.689, 6.225, 9.82 ]"),
    ),
    "log_sigmoid": _Row(
        "log(1 / (1 + exp(-x)))",
        "1 / (1 + exp(x))",
        "1 - exp(y)",
        "3 ULP",
        "The logarithm of `sigmoid`, and minus the softplus of -x.",
        ("[-1.313, -0.474, -0.018]", "[0.731, 0.378, 0.018]", "[7.311, 3.775, 0.18 ]"),
    ),
    "softsign": _Row(
        "x / (1 + |x|)",
        "1 / (1 + |x|)^2",
        "1 / (1 + |x|)^2",
        "2 ULP",
        (
            "Bergstra et al., 'Quadratic polynomials learn better image features', 2009; seed note 000, whose slope"
            " sgn(x) / (1 + x)^2 is wrong for x < 0."
        ),
        ("[-0.5  ,  0.333,  0.8  ]", "[0.25 , 0.444, 0.04 ]", "[2.5  , 4.444, 0.4  ]"),
    ),
    "hardsigmoid": _Row(
        "(x + 3) / 6, at least 0, at most 1",
        "1/6 where -3 < x < 3, else 0",
        "1/6 where -3 < x < 3, else 0",
        "1 ULP",
        "Howard et al., 'Searching for MobileNetV3', 2019.",
        ("[0.333, 0.583, 1.   ]", "[0.167, 0.167, 0.   ]", "[1.667, 1.667, 0.   ]"),
        selects=True,
    ),
    "hardswish": _Row(
        "x * hardsigmoid(x)",
        "x/3 + 1/2 where -3 < x < 3, 0 below, 1 above",
        "x/3 + 1/2 where -3 < x < 3, 0 below, 1 above",
        "2 ULP",
        "Howard et al., 'Searching for MobileNetV3', 2019.",
        ("[-0.333,  0.292,  4.   ]", "[0.167, 0.667, 1.   ]", "[ 1.667,  6.667, 10.   ]"),
    ),
    "selu": _Row(
        "1.0507... * (x where x > 0, else 1.6732... * (exp(x) - 1))",
        "1.0507... * (1 where x > 0, else 1.6732... * exp(x))",
        "1.0507... * (1 where x > 0, else 1.6732... * exp(x))",
        "2 ULP",
        "Klambauer et al., 'Self-normalizing neural networks', 2017.",
        ("[-1.111,  0.525,  4.203]", "[0.647, 1.051, 1.051]", "[ 6.468, 10.507, 10.507]"),
    ),
    "silu": _Row(
        "x / (1 + exp(-x)) = x * sigmoid(x)",
        "s + x * s * (1 - s) with s = sigmoid(x)",
        "s + x * s * (1 - s) with s = sigmoid(x)",
        "3.5 ULP",
        (
            "Elfwing et al., 'Sigmoid-weighted linear units', 2018; as swish, Ramachandran et al., 'Searching for "
            "activation functions', 2017."
        ),
        ("[-0.269,  0.311,  3.928]", "[0.072, 0.74 , 1.053]", "[ 0.723,  7.4  , 10.527]"),
    ),
    "mish": _Row(
        "x * tanh(softplus(x))",
        "t + x * sigmoid(x) * (1 - t^2) with t = tanh(softplus(x))",
        "t + x * sigmoid(x) * (1 - t^2) with t = tanh(softplus(x))",
        "5 ULP",
        "Misra, 'Mish: a self regularized non-monotonic activation function', 2020.",
        ("[-0.303,  0.375,  3.997]", "[0.059, 0.886, 1.004]", "[ 0.592,  8.864, 10.044]"),
    ),
    "gelu": _Row(
        "x * P(X <= x) with X standard normal",
        "P(X <= x) + x * exp(-x^2 / 2) / sqrt(2 pi)",
        "P(X <= x) + x * exp(-x^2 / 2) / sqrt(2 pi)",
        "6 ULP, the negative tail included",
        "Hendrycks and Gimpel, 'Gaussian error linear units', 2016.",
        ("[-0.159,  0.346,  4.   ]", "[-0.083,  0.867,  1.001]", "[-0.833,  8.675, 10.005]"),
    ),
    "gelu_tanh": _Row(
        "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2",
        "s + x * s * (1 - s) * u'(x) with s = sigmoid(u), u = sqrt(8 / pi) * (x + 0.044715 x^3)",
        "s + x * s * (1 - s) * u'(x) with s = sigmoid(u), u = sqrt(8 / pi) * (x + 0.044715 x^3)",
        "4 ULP for x >= -1, half a unit in the last place of 1 below",
        "Hendrycks and Gimpel, 'Gaussian error linear units', 2016: an approximation of `gelu`.",
        ("[-0.159,  0.346,  4.   ]", "[-0.083,  0.867,  1.   ]", "[-0.83 ,  8.674, 10.003]"),
    ),
    "leaky_relu": _Row(
        "x where x > 0, else negative_slope * x",
        "1 where x > 0, else negative_slope",
        "1 where x > 0, else negative_slope",
        "half a ULP",
        (
            "Maas et al., 'Rectifier nonlinearities improve neural network acoustic models', 2013; seed notes 000 "
            "and 003. With an array of slopes, PReLU: He et al., 'Delving deep into rectifiers', 2015."
        ),
        ("[-0.01,  0.5 ,  4.  ]", "[0.01, 1.  , 1.  ]", "[ 0.1, 10. , 10. ]"),
        parameters="negative_slope : array_like, default 0.01",
        selects=True,
    ),
    "elu": _Row(
        "x where x > 0, else alpha * (exp(x) - 1)",
        "1 where x > 0, else alpha * exp(x)",
        "1 where x > 0, else alpha * exp(x)",
        "2 ULP for alpha = 1",
        "Clevert et al., 'Fast and accurate deep network learning by exponential linear units', 2016.",
        ("[-0.632,  0.5  ,  4.   ]", "[0.368, 1.   , 1.   ]", "[ 3.679, 10.   , 10.   ]"),
        parameters="alpha : array_like, default 1.0",
    ),
    "hardtanh": _Row(
        "x, at least min_val, at most max_val",
        "1 where min_val < x < max_val, else 0",
        "1 where min_val < x < max_val, else 0",
        "exact",
        "Collobert, 'Large scale machine learning', 2004; seed note 000. Its slope is 0 at both ends, as in PyTorch.",
        ("[-1. ,  0.5,  1. ]", "[0., 1., 0.]", "[ 0., 10.,  0.]"),
        parameters="min_val, max_val : array_like, default -1.0 and 1.0",
        selects=True,
    ),
}

_DOCUMENT = """{name}({arguments}) = {formula}

Parameters
----------
{inputs}
out, where, dtype, ... :
    As every `numpy.ufunc` takes them.

Returns
-------
ndarray or number
    Of the shape that the inputs broadcast to, {dtype}.
    float16 is computed as float32.

Raises
------
TypeError
    For complex numbers, objects, and all that is no real number of at most 64 bits.

Notes
-----
{notes}

{source}

Examples
--------
{example}
array({result})
"""
_EXAMPLE = ">>> fastnn.{name}({dy}np.array([-1, 0.5, 4])).round(3)"
_EXAMPLE_OF_SAVED = """>>> y = fastnn.{base}(np.array([-1, 0.5, 4]))
>>> fastnn.{name}(10, y).round(3)"""


def _document(name):
    """Return the docstring of a function."""
    base = name.removesuffix("_derivative").removesuffix("_backward")
    row, saved, example, dy = _ROWS[base], "x", _EXAMPLE, ""
    inputs = ["x : array_like"]
    if name == base:
        formula, result = row.formula, row.results[0]
        notes = "The result is exact." if row.error == "exact" else f"The error is at most {row.error}."
    elif name.endswith("_derivative"):
        formula, result = row.slope, row.results[1]
        notes = f"The slope of `{base}`. The error is at most 4 ULP, or 4 units in the last place of 1/2."
    else:
        saved, formula, result, dy = SAVED[base], f"dy * ({row.saved_slope})", row.results[2], "10, "
        inputs = ["dy : array_like\n    The gradient of a loss in y.", f"{saved} : array_like"]
        inputs[1] += f"\n    {'What' if saved == 'x' else 'The result of what'} `{base}` was called with."
        notes = f"The gradient of a loss in x, where y = {base}(x)."
        if row.selects:
            notes += " Where the slope is 0 so is the result, even for an infinite or undefined dy."
        if saved == "y":
            example = _EXAMPLE_OF_SAVED
    names = ["dy"] * bool(dy) + [saved]
    if row.parameters:
        inputs.append(row.parameters)
        names.append(row.parameters.partition(" :")[0])
    one = "of its dtype (float64 for integers and bool)"
    dtype = one if len(names) == 1 else "of the smallest float dtype that holds all"
    return _DOCUMENT.format(
        name=name,
        arguments=", ".join(names),
        formula=formula,
        inputs="\n".join(inputs),
        dtype=dtype,
        notes=fill(notes, 100),
        source=fill(row.source, 100),
        example=example.format(name=name, base=base, dy=dy),
        result=result,
    )


def _documented(function):
    """Give a function with parameters its docstring."""
    function.__doc__ = _document(function.__name__)
    return function


def saved_for(name):
    """Return what `<name>_backward(dy, saved)` takes: "x", the input of the activation, or "y", its result.

    Raises
    ------
    ValueError
        For a name that is none of an activation.

    Examples
    --------
    >>> fastnn.saved_for("tanh"), fastnn.saved_for("gelu")
    ('y', 'x')
    """
    if name not in SAVED:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(SAVED)}")
    return SAVED[name]


def _ufuncs(name):
    """Make the three ufuncs of an activation without parameters."""
    return [ufunc(full, "fastnn", _document(full)) for full in (name, f"{name}_derivative", f"{name}_backward")]


relu, relu_derivative, relu_backward = _ufuncs("relu")
sigmoid, sigmoid_derivative, sigmoid_backward = _ufuncs("sigmoid")
tanh, tanh_derivative, tanh_backward = _ufuncs("tanh")
softplus, softplus_derivative, softplus_backward = _ufuncs("softplus")
log_sigmoid, log_sigmoid_derivative, log_sigmoid_backward = _ufuncs("log_sigmoid")
softsign, softsign_derivative, softsign_backward = _ufuncs("softsign")
hardsigmoid, hardsigmoid_derivative, hardsigmoid_backward = _ufuncs("hardsigmoid")
hardswish, hardswish_derivative, hardswish_backward = _ufuncs("hardswish")
selu, selu_derivative, selu_backward = _ufuncs("selu")
silu, silu_derivative, silu_backward = _ufuncs("silu")
mish, mish_derivative, mish_backward = _ufuncs("mish")
gelu, gelu_derivative, gelu_backward = _ufuncs("gelu")
gelu_tanh, gelu_tanh_derivative, gelu_tanh_backward = _ufuncs("gelu_tanh")


@_documented
def leaky_relu(x, negative_slope=0.01, *, out=None, **ufunc_keywords):
    return call(OPS["leaky_relu"], (x,), (negative_slope,), out, ufunc_keywords)


@_documented
def leaky_relu_derivative(x, negative_slope=0.01, *, out=None, **ufunc_keywords):
    return call(OPS["leaky_relu_derivative"], (x,), (negative_slope,), out, ufunc_keywords)


@_documented
def leaky_relu_backward(dy, x, negative_slope=0.01, *, out=None, **ufunc_keywords):
    return call(OPS["leaky_relu_backward"], (dy, x), (negative_slope,), out, ufunc_keywords)


@_documented
def elu(x, alpha=1.0, *, out=None, **ufunc_keywords):
    return call(OPS["elu"], (x,), (alpha,), out, ufunc_keywords)


@_documented
def elu_derivative(x, alpha=1.0, *, out=None, **ufunc_keywords):
    return call(OPS["elu_derivative"], (x,), (alpha,), out, ufunc_keywords)


@_documented
def elu_backward(dy, x, alpha=1.0, *, out=None, **ufunc_keywords):
    return call(OPS["elu_backward"], (dy, x), (alpha,), out, ufunc_keywords)


@_documented
def hardtanh(x, min_val=-1.0, max_val=1.0, *, out=None, **ufunc_keywords):
    return call(OPS["hardtanh"], (x,), (min_val, max_val), out, ufunc_keywords)


@_documented
def hardtanh_derivative(x, min_val=-1.0, max_val=1.0, *, out=None, **ufunc_keywords):
    return call(OPS["hardtanh_derivative"], (x,), (min_val, max_val), out, ufunc_keywords)


@_documented
def hardtanh_backward(dy, x, min_val=-1.0, max_val=1.0, *, out=None, **ufunc_keywords):
    return call(OPS["hardtanh_backward"], (dy, x), (min_val, max_val), out, ufunc_keywords)


__test__ = {name: globals()[name].__doc__ for name in OPS if not hasattr(ufuncs, name)}  # doctest skips ufuncs
