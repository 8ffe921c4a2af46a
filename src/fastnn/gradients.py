"""Are the gradients right? Central differences, and the comparison with what a pullback returns."""

import copy
import inspect
from typing import NamedTuple

import numpy as np

from fastnn.nn.module import Module, SparseGrad

__all__ = ["GradientReport", "Worst", "gradcheck", "numerical_gradient"]


def numerical_gradient(f, x, eps=1e-5):
    """Return (f(x + eps e_i) - f(x - eps e_i)) / (2 eps) for every element i of x.

    Parameters
    ----------
    f : callable
        From an array to a number.
    x : array_like
        A float64 array is perturbed in place, element by element, and left as it was, even if f raises; anything else,
        a read-only array too, is copied to float64 first.
    eps : float

    Returns
    -------
    gradient : ndarray of float64
        Of the shape of x.

    Examples
    --------
    >>> numerical_gradient(lambda x: (x**2).sum(), np.array([1.0, -2.0])).round(6)
    array([ 2., -4.])
    """
    if not (isinstance(x, np.ndarray) and x.dtype == np.float64 and x.flags.writeable):
        x = np.array(x, np.float64)
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        value = x[index]
        try:
            x[index] = value + eps
            above = _number(f(x))
            x[index] = value - eps
            gradient[index] = (above - _number(f(x))) / (2 * eps)
        finally:
            x[index] = value
    return gradient


def _number(value):
    if np.size(value) != 1:
        raise ValueError(f"f returned an array of shape {np.shape(value)}, expected a number")
    return float(np.asarray(value).reshape(()))


class Worst(NamedTuple):
    """The element of an array whose two gradients differ most, relatively; `kinks` were left out."""

    error: float
    index: tuple
    analytic: float
    numerical: float
    kinks: tuple = ()


class GradientReport(dict):
    """From the name of an array to its `Worst` element.

    `error` is the largest relative error of all, `kinks` the number of elements left out; printing shows a table.
    """

    @property
    def error(self):
        """The largest relative error."""
        return max((worst.error for worst in self.values()), default=0.0)

    @property
    def kinks(self):
        """The number of elements with a kink nearby, which do not count."""
        return sum(len(worst.kinks) for worst in self.values())

    def __str__(self):
        rows = [("array", "error", "at", "analytic", "numerical", *["kinks"] * bool(self.kinks))]
        rows += [
            (name, f"{w.error:.1e}", str(w.index), f"{w.analytic:.9g}", f"{w.numerical:.9g}", str(len(w.kinks)))
            for name, w in self.items()
        ]
        widths = [max(map(len, column)) for column in zip(*(row[: len(rows[0])] for row in rows), strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def gradcheck(f, *inputs, eps=1e-5, training=True, rng=0, **keywords):
    """Compare gradients with central differences, in float64.

    Parameters
    ----------
    f : Module, or callable
        A layer is checked in a float64 copy that is made anew for every evaluation, so that dropout draws the same mask
        each time: its inputs and its parameters, for a random gradient of its output. A callable returns
        (value, gradient), with a tuple of gradients for several inputs. A gradient of None counts as 0.
    *inputs : array_like, or tuples of arrays
        Integer arrays and None are passed on as they are, and not checked.
    eps : float
    training : bool
        Given to the layer's `vjp`.
    rng : numpy.random.Generator, int or None
        Draws the gradient of the output.
    **keywords
        Passed on.

    Returns
    -------
    report : GradientReport
        The error of an element is the difference of its two gradients relative to the larger of them. Elements below a
        thousandth of the array's largest, or too small for the rounding of f to let them be known to 1e-6, are measured
        against that limit instead. An element within eps of a kink, as relu has one at 0, is flagged and left out, if
        the gradient is one of those on either side or between them.

    Raises
    ------
    ValueError
        If a gradient has another shape than its array, or f gives two values for the same inputs, being random.

    Notes
    -----
    The seed notes (CS224n, notes 7, "gradient check"). Errors below 1e-7 are what a right gradient has; above 1e-2 it
    is wrong (CS231n).

    Examples
    --------
    >>> from fastnn import nn
    >>> report = gradcheck(nn.Linear(3, 2, rng=0), np.ones((4, 3)))
    >>> list(report), report.error < 1e-6
    (['x', 'weight', 'bias'], True)
    >>> bad = gradcheck(lambda x: ((x**2).sum(), x), np.array([1.0, -2.0]))
    >>> print(bad)
    array  error    at    analytic  numerical
    x      5.0e-01  (0,)  1         2
    >>> print(gradcheck(lambda x: (np.maximum(x, 0).sum(), x > 0), np.array([0.0, -2.0])))
    array  error    at    analytic  numerical  kinks
    x      0.0e+00  (0,)  0         0.5        1
    """
    inputs = tuple(_as_float64(x) for x in inputs)
    if isinstance(f, Module):
        names = list(inspect.signature(f.vjp).parameters)[: len(inputs)]
        original = f.astype(np.float64)

        def run():
            layer = copy.deepcopy(original)
            return layer, *layer.vjp(*inputs, training=training, **keywords)

        def value(_):
            return sum(np.vdot(y, dy) for y, dy in zip(_leaves(run()[1]), _leaves(dys), strict=True))

        layer, y, back = run()
        dys = _like(y, np.random.default_rng(rng))
        gradients = back(*dys) if isinstance(y, tuple) else back(dys)
        parameters = dict(layer.named_parameters())
        checked = [(name, p.value, parameters[name].grad) for name, p in original.named_parameters()]
    else:
        names = [f"x{i}" for i in range(len(inputs))] if len(inputs) > 1 else ["x"]
        gradients = f(*inputs, **keywords)[1]
        checked = []

        def value(_):
            return f(*inputs, **keywords)[0]

    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    gradients += (None,) * (len(inputs) - len(gradients))
    checked = [row for row in _rows(names, inputs, gradients) if row[1].dtype == np.float64] + checked
    here = float(value(None))
    if float(value(None)) != here and not np.isnan(here):
        raise ValueError(f"f returned {here} and {float(value(None))} for the same inputs, expected the same each time")
    noise = np.finfo(float).eps * abs(here) / eps
    return GradientReport(
        (name, _worst(name, value, x, gradient, eps, noise)) for name, x, gradient in checked if x.size
    )


def _as_float64(x):
    """Return real inputs as new float64 arrays, others as they are."""
    if isinstance(x, tuple):
        return tuple(map(_as_float64, x))
    return np.array(x, np.float64) if x is not None and np.asarray(x).dtype.kind == "f" else x


def _leaves(value):
    """Return the arrays in nested tuples."""
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, tuple) else [value]


def _like(y, rng):
    """Return random arrays of the shapes of y."""
    return tuple(_like(item, rng) for item in y) if isinstance(y, tuple) else rng.standard_normal(np.shape(y))


def _rows(names, inputs, gradients):
    """Yield (name, array, gradient) for every input, those in tuples by number."""
    for name, x, gradient in zip(names, inputs, gradients, strict=False):
        if isinstance(x, tuple):
            yield from _rows([f"{name}[{i}]" for i in range(len(x))], x, gradient)
        else:
            yield name, np.asarray(x), gradient


def _worst(name, f, x, analytic, eps, noise):
    numerical = numerical_gradient(f, x, eps)
    if isinstance(analytic, SparseGrad):
        analytic = analytic.to_dense(len(x))
    analytic = np.zeros_like(numerical) if analytic is None else np.asarray(analytic, np.float64)
    if analytic.shape != numerical.shape:
        raise ValueError(f"the gradient of {name} has shape {analytic.shape}, expected {numerical.shape}")
    larger = np.maximum(abs(analytic), abs(numerical))
    limit = max(1e-3 * float(larger.max()), 1e6 * noise, np.finfo(float).tiny)
    error = abs(analytic - numerical) / np.maximum(larger, limit)
    suspects = [tuple(map(int, index)) for index in np.argwhere(error > 1e-6)]
    kinks = tuple(index for index in suspects if _is_kink(f, x, index, analytic[index], eps, noise))
    for index in kinks:
        error[index] = 0
    index = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    return Worst(float(error[index]), index, float(analytic[index]), float(numerical[index]), kinks)


def _is_kink(f, x, index, analytic, eps, noise):
    """Say whether f has a kink within eps of x, and the gradient is among the slopes on its two sides.

    Of a smooth function the slopes before and behind x differ by as little as the step is small; at a kink they do not.
    """
    shares = 1, 1 / 4, 1 / 16
    slopes = np.array([_slopes(f, x, index, eps * share) for share in shares])
    jumps = abs(slopes[:, 0] - slopes[:, 1])
    noises = [4 * noise / share for share in shares]
    smooth = all(
        abs(jumps[i] - shares[i] * jumps[0]) <= shares[i] / 2 * jumps[0] + noises[i] for i in range(1, len(shares))
    )
    continuous = jumps[1:].max() <= 2 * jumps[0]  # a step, rather than a kink, would become the steeper
    slack = 1e-3 * jumps[0] + noises[-1]
    between = slopes.min() - slack <= analytic <= slopes.max() + slack
    return bool(jumps[0] > noises[0] and not smooth and continuous and between)


def _slopes(f, x, index, eps):
    """Return the slopes of f from x - eps to x and from x to x + eps."""
    value, here = x[index], float(f(x))
    try:
        x[index] = value + eps
        above = float(f(x))
        x[index] = value - eps
        return (here - float(f(x))) / eps, (above - here) / eps
    finally:
        x[index] = value
