"""Layers without weights that keep the shape: Activation, Softmax, Exp and Dropout."""

import numpy as np

from fastnn._backend import functions as F
from fastnn.nn.module import Module

__all__ = ["Activation", "Dropout", "Exp", "Softmax"]


def _pullback(x, back):
    """Return `back`, or for integers what returns no gradient."""
    return back if (x.dtype if type(x) is np.ndarray else np.asarray(x).dtype).kind == "f" else lambda dy: None


class Activation(Module):
    """y = f(x), for the f of a name.

    Parameters
    ----------
    name : str
        An activation of fastnn: "relu", "tanh", "gelu", ...
    **parameters : float
        Of that function, such as `negative_slope`.

    Examples
    --------
    >>> layer = Activation("leaky_relu", negative_slope=0.5)
    >>> layer
    Activation('leaky_relu', negative_slope=0.5)
    >>> y, back = layer.vjp(np.array([-2.0, 3.0]))
    >>> y, back(np.ones(2))
    (array([-1.,  3.]), array([0.5, 1. ]))
    """

    def __init__(self, name, **parameters):
        self.name, self._options = name, parameters
        self._saves_x = F.saved_for(name) == "x"
        self._f, self._backward = getattr(F, name), getattr(F, f"{name}_backward")
        try:
            self._f(np.zeros(1), **parameters)
        except TypeError as error:
            raise TypeError(f"{name} does not take the parameters {parameters}") from error

    def config(self):
        return {"name": self.name, **self._options}

    def __repr__(self):
        parameters = "".join(f", {name}={value!r}" for name, value in self._options.items())
        return f"Activation({self.name!r}{parameters})"

    def __call__(self, x):
        return self._f(x, **self._options)

    def vjp(self, x, *, training=True):
        y = self._f(x, **self._options)
        saved = x if self._saves_x else y
        return y, _pullback(x, lambda dy: self._backward(dy, saved, **self._options))


class Softmax(Module):
    """y = softmax(x): probabilities, for a network that is to return them; losses take the logits before.

    Parameters
    ----------
    axis : int
        The axis of the classes.

    Examples
    --------
    >>> layer = Softmax()
    >>> y, back = layer.vjp(np.log([[1.0, 3.0]]))
    >>> y, back(np.array([[1.0, 0.0]]))
    (array([[0.25, 0.75]]), array([[ 0.1875, -0.1875]]))
    """

    def __init__(self, axis=-1):
        self.axis = axis

    def __call__(self, x):
        return F.softmax(x, self.axis)

    def vjp(self, x, *, training=True):
        y = F.softmax(x, self.axis)
        return y, _pullback(x, lambda dy: F.softmax_backward(dy, y, self.axis))


class Exp(Module):
    """y = e^x: outputs above 0, such as the rate of a Poisson distribution whose logarithm a network tells.

    Examples
    --------
    >>> y, back = Exp().vjp(np.log([1.0, 4.0]))
    >>> y.round(6), back(np.ones(2)).round(6)
    (array([1., 4.]), array([1., 4.]))
    """

    @np.errstate(all="ignore")
    def __call__(self, x):
        return np.exp(x)

    def vjp(self, x, *, training=True):
        y = self(x)
        return y, _pullback(x, np.errstate(all="ignore")(lambda dy: dy * y))


class Dropout(Module):
    """In training, set each element to 0 with probability p and scale the others by 1 / (1 - p).

    Parameters
    ----------
    p : float
        From 0 to 1.
    inverted : bool
        False leaves the others as they are, and scales all by 1 - p when not in training, as in the paper (Srivastava
        et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting") and in "Deep Learning from
        Scratch".
    shared_axes : int or sequence of int
        Axes along which a mask is the same, such as 0, the time, of (T, B, H).
    rng : numpy.random.Generator, int or None
        Draws the masks.

    Examples
    --------
    >>> layer = Dropout(0.5, rng=2)
    >>> x = np.ones(6, np.float32)
    >>> layer(x)
    array([1., 1., 1., 1., 1., 1.], dtype=float32)
    >>> y, back = layer.vjp(x)
    >>> sorted(set(y.tolist())), bool((back(x) == y).all())
    ([0.0, 2.0], True)
    """

    def __init__(self, p=0.5, *, inverted=True, shared_axes=(), rng=None):
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}, expected a probability from 0 to 1")
        self.p, self.inverted = float(p), bool(inverted)
        self.shared_axes = tuple(shared_axes) if np.iterable(shared_axes) else (shared_axes,)
        self._rng = np.random.default_rng(rng)

    def __call__(self, x):
        return x if self.inverted else self._scaled(x)

    def vjp(self, x, *, training=True):
        if not training:
            return self(x), self
        if not self.p:
            return x, lambda dy: dy
        y, mask = F.dropout(x, self.p, self._rng, shared_axes=self.shared_axes)
        if self.inverted:
            return y, lambda dy: F.dropout_backward(dy, mask, self.p)
        return F.dropout_backward(x, mask, 0), lambda dy: F.dropout_backward(dy, mask, 0)  # 0: none is scaled

    def _scaled(self, x):
        with np.errstate(all="ignore"):
            return np.multiply(x, 1 - self.p)
