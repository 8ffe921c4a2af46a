"""The same functions as well as NumPy can do them: no temporaries, dtype kept, nothing converted twice.

Each function takes the variables of a row, prepares constants and scratch once, and returns a call without arguments
that writes what the row's statement writes, or the statement if one ufunc does it all; or several of them, where it
depends on size or processor which is fastest.
The last argument of a ufunc is where it writes. Measured, though it looks odd: `maximum` with a whole array of zeros
takes a quarter of the time that one zero takes; a constant that is a Python number costs 0.2 microseconds more than an
array without axes; reciprocal, copysign, sign, heaviside, where= and putmask are slow loops (heaviside still wins on
small arrays, being one call for two).

A form named `..._loose` is quicker and loses small results, since its error is absolute and not relative; its time
stands in a column of its own, and no claim counts it.
"""

import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np
from numpy import (
    abs,
    add,
    clip,
    copyto,
    divide,
    exp,
    expm1,
    greater,
    heaviside,
    less,
    log,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    sqrt,
    square,
    subtract,
)

SELU_SCALE, SELU_SCALE_ALPHA = 1.0507009873554805, 1.7580993408473766
TANH_SLOPE, TANH_CUBE = np.sqrt(2 / np.pi), 0.044715


def constants(x, *values):
    """Return the values as arrays without axes, of x's dtype."""
    return [np.asarray(value, x.dtype) for value in values]


BLOCK = 16_384
_shared = None  # while blocks are prepared: their scratch, and how much of it the block at hand has taken


def scratch(x, value=0, dtype=None):
    """Return an array like x full of a value; the blocks of an array, which take turns, share theirs."""
    if _shared is None:
        return np.full_like(x, value, dtype)
    if len(_shared.rooms) == _shared.taken:
        _shared.rooms.append(np.full_like(x, value, dtype))
    _shared.taken += 1
    return _shared.rooms[_shared.taken - 1][: len(x)]


def blocks(prepare):
    """Return what makes further forms for large arrays: block by block, so that passes find operands in the cache."""

    def forms(*arrays):
        global _shared
        whole = prepare(*arrays)
        several = whole if isinstance(whole, tuple) else (whole,)
        if arrays[0].size <= BLOCK or any(isinstance(form, str) for form in several):
            return whole
        calls, _shared = [], SimpleNamespace(rooms=[])
        for start in range(0, arrays[0].size, BLOCK):
            _shared.taken = 0
            made = prepare(*(a[start : start + BLOCK] for a in arrays))
            calls.append(made if isinstance(made, tuple) else (made,))
        _shared = None

        def in_turn(form):
            def run():
                for call in form:
                    call()

            return run

        return *several, *map(in_turn, zip(*calls, strict=True))

    return forms


def mask_of(x):
    return scratch(x, dtype=bool)


def times_dy(slope, dy, saved, dx):
    """Return the calls that write the slope at `saved`, each followed by its product with dy."""
    calls = slope(saved, dx)

    def after(call):
        return lambda: (call(), multiply(dx, dy, dx))

    return tuple(after(call) for call in (calls if isinstance(calls, tuple) else (calls,)))


# --- piecewise linear --------------------------------------------------------------------


def relu(x, y):
    return partial(maximum, x, scratch(x), out=y)


def relu_derivative(x, y):
    (zero,), mask = constants(x, 0), mask_of(x)
    return partial(heaviside, x, zero, y), lambda: copyto(y, greater(x, zero, mask))


def relu_backward(dy, saved, dx):
    (zero,), mask = constants(saved, 0), mask_of(saved)
    return (
        lambda: multiply(heaviside(saved, zero, dx), dy, dx),
        lambda: multiply(dy, greater(saved, zero, mask), dx),
    )


def leaky_relu(x, y):
    (slope,) = constants(x, 0.01)
    return lambda: maximum(x, multiply(x, slope, y), out=y)


def leaky_relu_derivative(x, y):
    (zero, slope, rest), mask = constants(x, 0, 0.01, 0.99), mask_of(x)
    return (
        lambda: add(multiply(heaviside(x, zero, y), rest, y), slope, y),
        lambda: add(multiply(greater(x, zero, mask), rest, y), slope, y),
    )


leaky_relu_backward = partial(times_dy, leaky_relu_derivative)


def hardtanh(x, y):
    low, high, limits = scratch(x, -1), scratch(x, 1), constants(x, -1, 1)
    return lambda: minimum(maximum(x, low, out=y), high, out=y), partial(clip, x, *limits, y)


def hardtanh_derivative(x, y):
    (one,), mask = constants(x, 1), mask_of(x)
    return lambda: copyto(y, less(abs(x, y), one, mask))


def hardtanh_backward(dy, saved, dx):
    (one,), mask = constants(saved, 1), mask_of(saved)
    return lambda: multiply(dy, less(abs(saved, dx), one, mask), dx)


def hardsigmoid(x, y):
    (sixth, half), limits = constants(x, 1 / 6, 0.5), constants(x, 0, 1)
    zeros, ones = scratch(x), scratch(x, 1)
    return (
        lambda: minimum(maximum(add(multiply(x, sixth, y), half, y), zeros, out=y), ones, out=y),
        lambda: clip(add(multiply(x, sixth, y), half, y), *limits, y),
    )


def hardsigmoid_derivative(x, y):
    (three, sixth), mask = constants(x, 3, 1 / 6), mask_of(x)
    return lambda: multiply(less(abs(x, y), three, mask), sixth, y)


hardsigmoid_backward = partial(times_dy, hardsigmoid_derivative)


def hardswish(x, y):
    return times_dy(hardsigmoid, x, x, y)


def hardswish_derivative(x, y):
    """hardsigmoid(x), plus x / 6 where it slopes."""
    (sixth, three), mask, inner = constants(x, 1 / 6, 3), mask_of(x), scratch(x)
    shares = hardsigmoid(x, y)

    def after(share):
        def run():
            multiply(multiply(x, sixth, inner), less(abs(x, y), three, mask), inner)
            share()
            add(y, inner, y)

        return run

    return tuple(after(share) for share in shares)


hardswish_backward = partial(times_dy, hardswish_derivative)


# --- sigmoid and tanh --------------------------------------------------------------------


def sigmoid(x, y):
    (one,) = constants(x, 1)
    return lambda: divide(one, add(exp(negative(x, y), y), one, y), y)


def sigmoid_loose(x, y):
    (half,) = constants(x, 0.5)
    return lambda: add(multiply(np.tanh(multiply(x, half, y), y), half, y), half, y)


def sigmoid_derivative(x, y):
    """e / (1 + e)^2 with e = exp(-|x|): right in both tails."""
    (one,), e = constants(x, 1), scratch(x)
    return lambda: divide(e, square(add(exp(negative(abs(x, e), e), e), one, y), y), y)


def sigmoid_derivative_loose(x, y):
    """1/4 - (tanh(x / 2) / 2)^2."""
    half, quarter = constants(x, 0.5, 0.25)
    return lambda: subtract(quarter, square(multiply(np.tanh(multiply(x, half, y), y), half, y), y), y)


def sigmoid_backward(dy, saved, dx):
    (one,) = constants(saved, 1)
    return lambda: multiply(multiply(subtract(one, saved, dx), saved, dx), dy, dx)


def tanh(x, y):
    return "np.tanh(x, out=y)"


def tanh_derivative(x, y):
    """(2 e / (1 + e^2))^2 with e = exp(-|x|)."""
    one, two, e = *constants(x, 1, 2), scratch(x)
    return lambda: square(divide(multiply(exp(negative(abs(x, e), e), e), two, y), add(square(e, e), one, e), y), y)


def tanh_derivative_loose(x, y):
    (one,) = constants(x, 1)
    return lambda: subtract(one, square(np.tanh(x, y), y), y)


def tanh_backward(dy, saved, dx):
    (one,) = constants(saved, 1)
    return lambda: multiply(subtract(one, square(saved, dx), dx), dy, dx)


def softsign(x, y):
    (one,) = constants(x, 1)
    return lambda: divide(x, add(abs(x, y), one, y), y)


def softsign_derivative(x, y):
    (one,) = constants(x, 1)
    return lambda: divide(one, square(add(abs(x, y), one, y), y), y)


def softsign_backward(dy, saved, dx):
    (one,) = constants(saved, 1)
    return lambda: divide(dy, square(add(abs(saved, dx), one, dx), dx), dx)


# --- logarithms of sigmoids --------------------------------------------------------------


def softplus(x, y):
    zeros, above = scratch(x), scratch(x)
    return lambda: add(log1p(exp(negative(abs(x, y), y), y), y), maximum(x, zeros, out=above), y)


def softplus_loose(x, y):
    (one,), zeros, above = constants(x, 1), scratch(x), scratch(x)
    return lambda: add(log(add(exp(negative(abs(x, y), y), y), one, y), y), maximum(x, zeros, out=above), y)


softplus_derivative, softplus_derivative_loose = sigmoid, sigmoid_loose


def softplus_backward(dy, saved, dx):
    opposite = scratch(dy)
    return lambda: multiply(expm1(negative(saved, dx), dx), negative(dy, opposite), dx)


def softplus_backward_loose(dy, saved, dx):
    (one,) = constants(saved, 1)
    return lambda: multiply(subtract(one, exp(negative(saved, dx), dx), dx), dy, dx)


def log_sigmoid(x, y):
    zeros, below = scratch(x), scratch(x)
    return lambda: subtract(minimum(x, zeros, out=below), log1p(exp(negative(abs(x, y), y), y), y), y)


def log_sigmoid_loose(x, y):
    (one,), zeros, below = constants(x, 1), scratch(x), scratch(x)
    return lambda: subtract(minimum(x, zeros, out=below), log(add(exp(negative(abs(x, y), y), y), one, y), y), y)


def log_sigmoid_derivative(x, y):
    (one,) = constants(x, 1)
    return lambda: divide(one, add(exp(x, y), one, y), y)


def log_sigmoid_derivative_loose(x, y):
    half, less_half = constants(x, 0.5, -0.5)
    return lambda: add(multiply(np.tanh(multiply(x, half, y), y), less_half, y), half, y)


def log_sigmoid_backward(dy, saved, dx):
    return lambda: negative(multiply(expm1(saved, dx), dy, dx), dx)


def log_sigmoid_backward_loose(dy, saved, dx):
    (one,) = constants(saved, 1)
    return lambda: multiply(subtract(one, exp(saved, dx), dx), dy, dx)


# --- exponential units -------------------------------------------------------------------


def elu(x, y):
    zeros, below = scratch(x), scratch(x)
    return lambda: add(expm1(minimum(x, zeros, out=below), below), maximum(x, zeros, out=y), y)


def elu_loose(x, y):
    (one,), zeros, below = constants(x, 1), scratch(x), scratch(x)
    return lambda: add(subtract(exp(minimum(x, zeros, out=below), below), one, below), maximum(x, zeros, out=y), y)


def elu_derivative(x, y):
    zeros = scratch(x)
    return lambda: exp(minimum(x, zeros, out=y), y)


elu_backward = partial(times_dy, elu_derivative)


def selu(x, y):
    (scale, scale_alpha), zeros, below = constants(x, SELU_SCALE, SELU_SCALE_ALPHA), scratch(x), scratch(x)
    return lambda: add(
        multiply(expm1(minimum(x, zeros, out=below), below), scale_alpha, below),
        multiply(maximum(x, zeros, out=y), scale, y),
        y,
    )


def selu_loose(x, y):
    (scale, scale_alpha), zeros, below = constants(x, SELU_SCALE, SELU_SCALE_ALPHA), scratch(x), scratch(x)
    return lambda: add(
        subtract(multiply(exp(minimum(x, zeros, out=below), below), scale_alpha, below), scale_alpha, below),
        multiply(maximum(x, zeros, out=y), scale, y),
        y,
    )


def selu_derivative(x, y):
    """scale alpha exp(min(x, 0)), less what is too much where x > 0."""
    (zero, scale_alpha, over), mask = constants(x, 0, SELU_SCALE_ALPHA, SELU_SCALE - SELU_SCALE_ALPHA), mask_of(x)
    zeros, above = scratch(x), scratch(x)
    return lambda: add(
        multiply(exp(minimum(x, zeros, out=y), y), scale_alpha, y),
        multiply(greater(x, zero, mask), over, above),
        y,
    )


selu_backward = partial(times_dy, selu_derivative)


# --- x times a share between 0 and 1 -----------------------------------------------------


def silu(x, y):
    (one,) = constants(x, 1)
    return lambda: divide(x, add(exp(negative(x, y), y), one, y), y)


def silu_derivative(x, y):
    """s (1 + x (1 - s)), s = sigmoid(x)."""
    (one,), s = constants(x, 1), scratch(x)
    share = sigmoid(x, s)
    return lambda: multiply(add(multiply(subtract(one, share(), y), x, y), one, y), s, y)


silu_backward = partial(times_dy, silu_derivative)


def mish(x, y):
    """x n / (n + 2), n = e (e + 2), e = exp(x); beyond 20 the quotient is 1."""
    (two,), most, n = constants(x, 2), scratch(x, 20), scratch(x)

    def run():
        exp(minimum(x, most, out=y), y)
        multiply(add(y, two, n), y, n)
        multiply(divide(n, add(n, two, y), y), x, y)

    return run


def mish_derivative(x, y):
    """(n + 4 x e (e + 1) / d) / d, n = e (e + 2), d = n + 2, e = exp(x)."""
    (one, two, four), most = constants(x, 1, 2, 4), scratch(x, 20)
    e, n = scratch(x), scratch(x)

    def run():
        exp(minimum(x, most, out=e), e)
        multiply(add(e, two, n), e, n)
        multiply(multiply(multiply(add(e, one, y), e, y), four, y), x, y)
        add(n, two, e)
        divide(add(divide(y, e, y), n, y), e, y)

    return run


mish_backward = partial(times_dy, mish_derivative)


def normal_tail(x, h, z):
    """Return a call that writes P(X > |x|) into h and exp(-x^2 / 2) into z: Abramowitz and Stegun, 7.1.26.

    NumPy has no erf; this one is right to 1.5e-7, enough for float32 alone.
    """
    coefficients = constants(x, *(value / 2 for value in (1.061405429, -1.453152027, 1.421413741, -0.284496736)))
    last, one, p, less_half = constants(x, 0.254829592 / 2, 1, 0.3275911 * np.sqrt(0.5), -0.5)
    t = scratch(x)

    def run():
        divide(one, add(multiply(abs(x, t), p, t), one, t), t)
        multiply(t, coefficients[0], h)
        for coefficient in coefficients[1:]:
            multiply(add(h, coefficient, h), t, h)
        multiply(add(h, last, h), t, h)
        multiply(h, exp(multiply(square(x, z), less_half, z), z), h)

    return run


def gelu_loose(x, y):
    """max(x, 0) - |x| P(X > |x|)."""
    if x.dtype != np.float32:
        return ()
    h, z, zeros = scratch(x), scratch(x), scratch(x)
    tail = normal_tail(x, h, z)

    def run():
        tail()
        subtract(maximum(x, zeros, out=y), multiply(h, abs(x, z), h), y)

    return run


def gelu_derivative_loose(x, y):
    """P(X <= x) + x exp(-x^2 / 2) / sqrt(2 pi), P(X <= x) = h + (x > 0) (1 - 2 h)."""
    if x.dtype != np.float32:
        return ()
    h, z, mask = scratch(x), scratch(x), mask_of(x)
    zero, one, two, k = constants(x, 0, 1, 2, 1 / np.sqrt(2 * np.pi))
    tail = normal_tail(x, h, z)

    def run():
        tail()
        add(multiply(subtract(one, multiply(h, two, y), y), greater(x, zero, mask), y), h, y)
        add(y, multiply(multiply(z, x, z), k, z), y)

    return run


gelu_backward_loose = partial(times_dy, gelu_derivative_loose)


def gelu_tanh(x, y):
    cube, slope, minus_cube, minus_slope = constants(
        x, TANH_SLOPE * TANH_CUBE, TANH_SLOPE, -2 * TANH_SLOPE * TANH_CUBE, -2 * TANH_SLOPE
    )
    one, half = constants(x, 1, 0.5)
    return (
        lambda: multiply(
            multiply(add(np.tanh(multiply(add(multiply(square(x, y), cube, y), slope, y), x, y), y), one, y), x, y),
            half,
            y,
        ),
        lambda: divide(
            x,
            add(exp(multiply(add(multiply(square(x, y), minus_cube, y), minus_slope, y), x, y), y), one, y),
            y,
        ),
    )


def gelu_tanh_derivative(x, y):
    """(1 + t) / 2 + x (1 - t^2) v' / 2, or s + x s (1 - s) (2 v)' with s = (1 + t) / 2 = sigmoid(2 v)."""
    cube, slope, cube_3 = constants(x, TANH_SLOPE * TANH_CUBE, TANH_SLOPE, 3 * TANH_SLOPE * TANH_CUBE)
    minus_2, two, one, half = constants(x, -2, 2, 1, 0.5)
    x2, t = scratch(x), scratch(x)

    def by_tanh():
        square(x, x2)
        np.tanh(multiply(add(multiply(x2, cube, t), slope, t), x, t), t)
        multiply(add(multiply(x2, cube_3, y), slope, y), x, y)
        multiply(subtract(one, square(t, x2), x2), y, y)
        multiply(add(add(y, t, y), one, y), half, y)

    def by_exp():
        square(x, x2)
        exp(multiply(multiply(add(multiply(x2, cube, t), slope, t), x, t), minus_2, t), t)
        divide(one, add(t, one, t), t)
        multiply(multiply(add(multiply(x2, cube_3, y), slope, y), x, y), two, y)
        add(multiply(multiply(subtract(one, t, x2), y, y), t, y), t, y)

    return by_tanh, by_exp


gelu_tanh_backward = partial(times_dy, gelu_tanh_derivative)


# --- softmax family: short rows are quicker transposed, where a reduction works on whole rows -------------------------


class Rows:
    """x - max, exp of it and its sums, in y; the sums by BLAS."""

    def __init__(self, x, y):
        n, classes = x.shape
        self.x, self.y = x, y
        self.peak, self.total, self.ones = np.empty((n, 1), x.dtype), np.empty(n, x.dtype), np.ones(classes, x.dtype)
        self.spread, self.first, self.stride = self.total[:, None], np.arange(n) * classes, 1

    def shift(self):
        return subtract(self.x, np.maximum.reduce(self.x, 1, None, self.peak, True), self.y)

    def sum(self, y):
        return np.dot(y, self.ones, self.total)

    def finish(self):
        pass


class Columns:
    """The same on a transposed copy, which `finish` copies back."""

    def __init__(self, x, y):
        n, classes = x.shape
        self.x, self.y, self.out = x.T, np.empty((classes, n), x.dtype), y.T
        self.peak, self.total, self.ones = np.empty(n, x.dtype), np.empty(n, x.dtype), np.ones(classes, x.dtype)
        self.spread, self.first, self.stride = self.total, np.arange(n), n

    def shift(self):
        copyto(self.y, self.x)
        return subtract(self.y, np.maximum.reduce(self.y, 0, None, self.peak), self.y)

    def sum(self, y):
        return np.dot(self.ones, y, self.total)

    def finish(self):
        copyto(self.out, self.y)


def softmax(x, y):
    (one,) = constants(x, 1)

    def form(at):
        def run():
            divide(one, at.sum(exp(at.shift(), at.y)), at.total)
            multiply(at.y, at.spread, at.y)
            at.finish()

        return run

    return form(Rows(x, y)), form(Columns(x, y))


def log_softmax(x, y):
    def form(at):
        e = np.empty_like(at.y)

        def run():
            log(at.sum(exp(at.shift(), e)), at.total)
            subtract(at.y, at.spread, at.y)
            at.finish()

        return run

    return form(Rows(x, y)), form(Columns(x, y))


def logsumexp(x):
    def form(at):
        peak, y = at.peak.ravel(), np.empty(len(x), x.dtype)
        return lambda: add(log(at.sum(exp(at.shift(), at.y)), y), peak, y)

    scratch = np.empty_like(x)
    return form(Rows(x, scratch)), form(Columns(x, scratch))


def softmax_backward(dy, y):
    """y (dy - sum(y dy))."""
    dx, ones, total = np.empty_like(y), np.ones(y.shape[1], y.dtype), np.empty(len(y), y.dtype)
    spread = total[:, None]

    def by_dot():
        np.dot(multiply(dy, y, dx), ones, total)
        return multiply(subtract(dy, spread, dx), y, dx)

    def by_vecdot():
        np.vecdot(dy, y, total)
        return multiply(subtract(dy, spread, dx), y, dx)

    return by_dot, by_vecdot


def log_softmax_backward(dy, y):
    """dy - exp(y) sum(dy)."""
    dx, ones, total = np.empty_like(y), np.ones(y.shape[1], y.dtype), np.empty(len(y), y.dtype)
    spread = total[:, None]

    def run():
        np.dot(dy, ones, total)
        return subtract(dy, multiply(exp(y, dx), spread, dx), dx)

    return run


def masked_softmax(x, mask, y):
    """-inf where the mask is not set, then softmax."""
    filled = np.empty_like(x)

    def by_copy():
        filled.fill(-np.inf)
        copyto(filled, x, where=mask)

    def by_choice():
        copyto(filled, np.where(mask, x, np.float32(-np.inf)))

    def both(fill, form):
        return lambda: (fill(), form())

    return tuple(both(fill, form) for form in softmax(filled, y) for fill in (by_copy, by_choice))


def masked_softmax_backward(dy, y, mask):
    """y is 0 where the mask is not set, and so is what comes of it."""
    return softmax_backward(dy, y)


def ragged_softmax(x, lengths, y):
    """Reductions over all runs at once, or one run after the other."""

    def at_once():
        starts = np.cumsum(lengths) - lengths
        exp(subtract(x, np.repeat(np.maximum.reduceat(x, starts), lengths), y), y)
        divide(y, np.repeat(np.add.reduceat(y, starts), lengths), y)

    def in_turn():
        start = 0
        for length in lengths.tolist():
            run = y[start : start + length]
            exp(subtract(x[start : start + length], x[start : start + length].max(), run), run)
            divide(run, run.sum(), run)
            start += length

    return at_once, in_turn


def ragged_softmax_backward(dy, y, lengths):
    dx = np.empty_like(y)

    def at_once():
        starts = np.cumsum(lengths) - lengths
        dots = np.add.reduceat(multiply(dy, y, dx), starts)
        return multiply(subtract(dy, np.repeat(dots, lengths), dx), y, dx)

    def in_turn():
        start = 0
        for length in lengths.tolist():
            run = slice(start, start + length)
            multiply(subtract(dy[run], np.dot(dy[run], y[run]), dx[run]), y[run], dx[run])
            start += length
        return dx

    return at_once, in_turn


def softmax_cross_entropy(logits, targets, out):
    """The mean over n rows of log(sum) - (x - max)[target], and softmax / n, less 1 / n at the target."""
    n, classes = logits.shape
    (share,), all_shares = constants(logits, 1 / n), np.full(n, 1 / n, logits.dtype)

    def form(kind, part=slice(None)):
        at, own, shares = kind(logits[part], out[part]), targets[part], all_shares[part]
        flat, index = at.y.reshape(-1), np.empty(len(own), np.int64)
        picked, logs, stride = np.empty_like(shares), np.empty_like(shares), np.asarray(at.stride)

        def run():
            add(multiply(own, stride, index) if at.stride > 1 else own, at.first, index)
            at.shift()
            flat.take(index, None, picked, "clip")
            at.sum(exp(at.y, at.y))
            loss = np.dot(subtract(log(at.total, logs), picked, logs), shares)
            divide(share, at.total, at.total)
            multiply(at.y, at.spread, at.y)
            flat[index] = subtract(flat.take(index, None, picked, "clip"), share, picked)
            at.finish()
            return float(loss), out

        return run

    if logits.size < 1_000_000:
        return form(Rows), form(Columns)
    size = max(1, 65_536 // classes)
    runs = [form(Rows, slice(start, start + size)) for start in range(0, n, size)]
    return form(Rows), lambda: (sum(run()[0] for run in runs), out)


def nll_loss(logits, targets, out):
    """The mean over n rows of -x[target], and -1 / n there."""
    n, classes = logits.shape
    first, index, picked = np.arange(n) * classes, np.empty(n, np.int64), np.empty(n, logits.dtype)
    flat, to, shares, (share,) = logits.reshape(-1), out.reshape(-1), np.full(n, -1 / n, "f"), constants(logits, -1 / n)

    def run():
        flat.take(add(targets, first, index), None, picked, "clip")
        out.fill(0)
        to[index] = share
        return float(np.dot(picked, shares)), out

    return run


def mean_of(losses, n):
    """The sum is NumPy's pairwise one: that of np.dot with ones is quicker, and wrong in the fifth digit of many."""
    return float(np.add.reduce(losses)) / n


def mse_loss(x, t, out):
    n = len(x)
    (two,) = constants(x, 2 / n)

    def run():
        d = subtract(x, t, out)
        loss = float(np.dot(d, d)) / n
        return loss, multiply(d, two, d)

    return run


def l1_loss(x, t, out):
    n, a = len(x), np.empty_like(x)
    (share,) = constants(x, 1 / n)

    def run():
        loss = mean_of(abs(subtract(x, t, out), a), n)
        return loss, np.copysign(share, out, out)

    return run


def huber_loss(x, t, out, delta=0.5, over=1.0):
    """m (|d| - m / 2) with m = min(|d|, delta)."""
    n, m, a = len(x), np.empty_like(x), np.empty_like(x)
    low, high, half, share = constants(x, -delta, delta, 0.5, 1 / (over * n))

    def run():
        d = subtract(x, t, out)
        minimum(abs(d, a), high, out=m)
        subtract(a, multiply(m, half, out), a)
        loss = float(np.dot(m, a)) / (over * n)
        clip(subtract(x, t, out), low, high, out)
        return loss, multiply(out, share, out)

    return run


def smooth_l1_loss(x, t, out):
    return huber_loss(x, t, out, 0.5, 0.5)


def hinge_loss(x, t, out):
    n, mask = len(x), mask_of(x)
    (one, share), zero = constants(x, 1, -1 / n), np.zeros_like(x)

    def run():
        a = subtract(one, multiply(x, t, out), out)
        np.greater(a, zero, mask)
        loss = mean_of(maximum(a, zero, out=a), n)
        multiply(t, share, out)
        return loss, multiply(out, mask, out)

    return run


def kl_div(x, t, out):
    """Right for targets above 0, which those of the rows are."""
    n = len(x)
    (share,) = constants(x, -1 / n)

    def run():
        loss = float(np.dot(t, subtract(log(t, out), x, out))) / n
        return loss, multiply(t, share, out)

    return run


def sigmoid_cross_entropy(x, t, out):
    """log(1 + e^-|x|) + max(x, 0) - t x; the gradient is sigmoid(x) - t."""
    n, e, a = len(x), np.empty_like(x), np.empty_like(x)
    (one, share), zero = constants(x, 1, 1 / n), np.zeros_like(x)

    def run():
        exp(negative(abs(x, a), e), e)
        loss = mean_of(log1p(e, a), n) + mean_of(maximum(x, zero, out=a), n) - float(np.dot(x, t)) / n
        exp(minimum(x, zero, out=a), a)
        divide(a, add(e, one, e), out)
        return loss, multiply(subtract(out, t, out), share, out)

    return run


# --- updates -----------------------------------------------------------------------------


@blocks
def sgd_update(param, grad):
    (lr,), t = constants(param, 0.01), scratch(param)
    return lambda: subtract(param, multiply(grad, lr, t), param)


@blocks
def momentum_update(param, grad, velocity):
    (lr, momentum), t = constants(param, 0.01, 0.9), scratch(param)

    def run():
        add(multiply(velocity, momentum, velocity), grad, velocity)
        subtract(param, multiply(velocity, lr, t), param)

    return run


@blocks
def adagrad_update(param, grad, sum_sq):
    (lr, eps), t = constants(param, 0.01, 1e-10), scratch(param)

    def run():
        add(sum_sq, square(grad, t), sum_sq)
        divide(grad, add(sqrt(sum_sq, t), eps, t), t)
        subtract(param, multiply(t, lr, t), param)

    return run


@blocks
def rmsprop_update(param, grad, square_avg):
    (lr, alpha, gain, eps), t = constants(param, 0.01, 0.99, 1 - 0.99, 1e-8), scratch(param)

    def run():
        multiply(square_avg, alpha, square_avg)
        add(square_avg, multiply(square(grad, t), gain, t), square_avg)
        divide(grad, add(sqrt(square_avg, t), eps, t), t)
        subtract(param, multiply(t, lr, t), param)

    return run


@blocks
def adam_update(param, grad, m, v):
    """The corrections for bias go into the learning rate and eps."""
    root = (1 - 0.999**10) ** 0.5
    (beta1, gain1, beta2, gain2) = constants(param, 0.9, 1 - 0.9, 0.999, 1 - 0.999)
    (lr, eps), t = constants(param, 1e-3 * root / (1 - 0.9**10), 1e-8 * root), scratch(param)

    def run():
        add(multiply(m, beta1, m), multiply(grad, gain1, t), m)
        add(multiply(v, beta2, v), multiply(square(grad, t), gain2, t), v)
        divide(m, add(sqrt(v, t), eps, t), t)
        subtract(param, multiply(t, lr, t), param)

    return run


def adam_update_list(p, g, m, v, *parts):
    """One array after the other, or flat copies of all, updated at once and put back."""
    calls = [adam_update(*arrays) for arrays in zip(p, g, m, v, strict=True)]
    calls = [call[-1] if isinstance(call, tuple) else call for call in calls]
    flat = [np.empty(sum(x.size for x in p), p[0].dtype) for _ in range(4)]
    ends = list(np.cumsum([x.size for x in p]))[:-1]
    views = [[part.reshape(x.shape) for part, x in zip(np.split(whole, ends), p, strict=True)] for whole in flat]
    whole = adam_update(*flat)
    whole = whole[-1] if isinstance(whole, tuple) else whole

    def one_by_one():
        for call in calls:
            call()

    def at_once():
        for kept, several in zip(views, (p, g, m, v), strict=True):
            for to, x in zip(kept, several, strict=True):
                np.copyto(to, x)
        whole()
        for kept, several in zip(views, (p, g, m, v), strict=True):
            for x, to in zip(several, kept, strict=True):
                np.copyto(x, to)

    return one_by_one, at_once


def clip_by_global_norm(g):
    """dot in the dtype of the arrays, which BLAS does in blocks."""

    def run():
        norm = sum(float(x.dot(x)) for x in g) ** 0.5
        if norm > 1e9:
            for x in g:
                multiply(x, 1e9 / norm, x)
        return norm

    return run


def summed(rows, grad_rows):
    """Return a call that returns distinct rows and the sums of their gradients."""

    def run():
        order = rows.argsort(kind="stable")
        ordered = rows[order]
        starts = np.concatenate(([0], (ordered[1:] != ordered[:-1]).nonzero()[0] + 1))
        return ordered[starts], np.add.reduceat(grad_rows.take(order, 0), starts, 0)

    return run


def sparse_sgd_update(param, rows, grad_rows):
    (lr,), total = constants(param, 0.01), summed(rows, grad_rows)

    def run():
        distinct, g = total()
        param[distinct] -= multiply(g, lr, g)

    return run


def sparse_adagrad_update(param, rows, grad_rows, sum_sq):
    (lr, eps), total = constants(param, 0.01, 1e-10), summed(rows, grad_rows)

    def run():
        distinct, g = total()
        s = sum_sq.take(distinct, 0)
        add(s, square(g), s)
        sum_sq[distinct] = s
        divide(g, add(sqrt(s, s), eps, s), g)
        param[distinct] -= multiply(g, lr, g)

    return run


def sparse_adam_update(param, rows, grad_rows, m, v):
    (beta1, gain1, beta2, gain2, eps) = constants(param, 0.9, 1 - 0.9, 0.999, 1 - 0.999, 1e-8)
    (lr,), total = constants(param, 1e-3 * (1 - 0.999**10) ** 0.5 / (1 - 0.9**10)), summed(rows, grad_rows)

    def run():
        distinct, g = total()
        mean, squares = m.take(distinct, 0), v.take(distinct, 0)
        add(multiply(mean, beta1, mean), g * gain1, mean)
        add(multiply(squares, beta2, squares), multiply(square(g, g), gain2, g), squares)
        m[distinct], v[distinct] = mean, squares
        divide(mean, add(sqrt(squares, squares), eps, squares), mean)
        param[distinct] -= multiply(mean, lr, mean)

    return run


# --- recurrent: one product for all inputs, BLAS by `dot`, whose call costs half of what matmul's does ---------------


def rnn_forward(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    return tuple(walk for walk, _ in rnn_walks(x, h, w_ih, w_hh, b_ih, b_hh, dy))


def rnn_walks(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    """Yield calls that return y and the last state, and the states they write, the first included."""
    states, bias, add_on = np.empty((len(x) + 1, *h.shape), h.dtype), np.empty_like(b_ih), np.empty_like(h)
    y = states[1:]
    flat_y, flat_x, w_ih_t, slots = y.reshape(-1, y.shape[2]), x.reshape(-1, x.shape[2]), w_ih.T, list(states)
    pairs = list(itertools.pairwise(slots))

    def walk(product, prepare):
        def run():
            prepare()
            copyto(slots[0], h)
            add(np.dot(flat_x, w_ih_t, flat_y), add(b_ih, b_hh, bias), flat_y)
            for before, after in pairs:
                np.tanh(add(after, np.dot(before, product, add_on), after), after)
            return y, after

        return run

    view, copy = w_hh.T, np.empty_like(w_hh)
    yield walk(view, lambda: None), states
    yield walk(copy, lambda: copyto(copy, view)), states


def rnn_training(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    """Back through time with 1 - y^2 of all steps at once; the weights' gradients are one product each."""
    (one,), dh = constants(x, 1), np.empty_like(h)
    dpre, ones = np.empty_like(dy), np.ones(dy.shape[0] * dy.shape[1], dy.dtype)
    gradients = {key: np.empty_like(v) for key, v in (("x", x), ("w_ih", w_ih), ("w_hh", w_hh), ("b_ih", b_ih))}
    flat_x, flat_dx, flat_dpre = (a.reshape(-1, a.shape[2]) for a in (x, gradients["x"], dpre))
    gradients |= {"h0": dh, "b_hh": gradients["b_ih"]}
    pairs = list(zip(dpre, dy, strict=True))[::-1]

    def train(walk, states):
        y, before = states[1:], states[:-1].reshape(-1, states.shape[2])

        def run():
            walk()
            subtract(one, square(y, dpre), dpre)
            dh.fill(0)
            for slope, dy_t in pairs:
                np.dot(multiply(slope, add(dh, dy_t, dh), slope), w_hh, dh)
            np.dot(flat_dpre, w_ih, flat_dx)
            np.dot(flat_dpre.T, flat_x, gradients["w_ih"])
            np.dot(flat_dpre.T, before, gradients["w_hh"])
            np.dot(ones, flat_dpre, gradients["b_ih"])
            return y, gradients

        return run

    return tuple(train(walk, states) for walk, states in rnn_walks(x, h, w_ih, w_hh, b_ih, b_hh, dy))


def rnn_step(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    y, add_on, w_ih_t, w_hh_t = np.empty_like(h), np.empty_like(h), w_ih.T, w_hh.T

    def run():
        add(np.dot(x, w_ih_t, y), b_ih, y)
        add(add(y, np.dot(h, w_hh_t, add_on), y), b_hh, y)
        return np.tanh(y, y)

    return run


def rnn_step_training(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    step, (one,), dpre = rnn_step(x, h, w_ih, w_hh, b_ih, b_hh, dy), constants(x, 1), np.empty_like(dy)
    named = (("x", x), ("h", h), ("w_ih", w_ih), ("w_hh", w_hh), ("b_ih", b_ih))
    gradients, dpre_t, ones = {key: np.empty_like(v) for key, v in named}, dpre.T, np.ones(len(x), x.dtype)
    gradients["b_hh"] = gradients["b_ih"]

    def run():
        y = step()
        multiply(subtract(one, square(y, dpre), dpre), dy, dpre)
        np.dot(dpre, w_ih, gradients["x"])
        np.dot(dpre, w_hh, gradients["h"])
        np.dot(dpre_t, x, gradients["w_ih"])
        np.dot(dpre_t, h, gradients["w_hh"])
        np.dot(ones, dpre, gradients["b_ih"])
        return y, gradients

    return run


def halves(like, *parts):
    """Return vectors over gates: what scales them before tanh, after it, and what is then added.

    Sigmoid is 0.5 + 0.5 * tanh(x / 2), so one call of tanh serves all gates; a part is 1 for tanh, 0.5 for sigmoid.
    """
    scale = np.repeat(np.array(parts, like.dtype), like.shape[1])
    return scale, 1 - scale


def cut(gates, parts):
    """Return the parts of gates (..., parts * H) as views."""
    size = gates.shape[-1] // parts
    return [gates[..., k * size : (k + 1) * size] for k in range(parts)]


def activate(gates, scale, shift):
    np.tanh(gates, gates)
    add(multiply(gates, scale, gates), shift, gates)


def lstm_walk(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """Return a call that runs all steps, and the arrays that it writes: states, cells, their tanh, gates."""
    (steps, batch), size = x.shape[:2], h.shape[1]
    states, cells = (np.empty((steps + 1, batch, size), h.dtype) for _ in range(2))
    gates, tanh_c = np.empty((steps, batch, 4 * size), h.dtype), np.empty((steps, batch, size), h.dtype)
    scale, shift = halves(h, 0.5, 0.5, 1, 0.5)
    from_x, from_h, bias = np.empty_like(w_ih.T, order="C"), np.empty_like(w_hh.T, order="C"), np.empty_like(b_ih)
    add_on, product = np.empty_like(gates[0]), np.empty_like(h)
    flat_x, flat_gates = x.reshape(-1, x.shape[2]), gates.reshape(-1, 4 * size)
    each = [
        (gates[t], *cut(gates[t], 4), states[t], states[t + 1], cells[t], cells[t + 1], tanh_c[t]) for t in range(steps)
    ]

    def run():
        multiply(w_ih.T, scale, from_x)
        multiply(w_hh.T, scale, from_h)
        multiply(add(b_ih, b_hh, bias), scale, bias)
        copyto(states[0], h)
        copyto(cells[0], c)
        add(np.dot(flat_x, from_x, flat_gates), bias, flat_gates)
        for g, i, f, u, o, before, after, c_before, c_after, y in each:
            activate(add(g, np.dot(before, from_h, add_on), g), scale, shift)
            add(multiply(f, c_before, c_after), multiply(i, u, product), c_after)
            multiply(o, np.tanh(c_after, y), after)
        return states[1:], after, c_after

    return run, (states, cells, tanh_c, gates)


def lstm_forward(x, h, c, w_ih, w_hh, b_ih, b_hh, dy):
    return lstm_walk(x, h, c, w_ih, w_hh, b_ih, b_hh)[0]


def lstm_slopes(i, f, g, o, tanh_c, c_before, out, one):
    """Return a call that writes what dc is multiplied by for di, df, dg, and dh for do; and dh for dc."""
    of_c, (di, df, dg, do) = np.empty_like(tanh_c), cut(out, 4)

    def run():
        multiply(multiply(i, subtract(one, i, di), di), g, di)
        multiply(multiply(f, subtract(one, f, df), df), c_before, df)
        multiply(subtract(one, square(g, dg), dg), i, dg)
        multiply(multiply(o, subtract(one, o, do), do), tanh_c, do)
        multiply(subtract(one, square(tanh_c, of_c), of_c), o, of_c)

    return run, of_c


def lstm_training(x, h, c, w_ih, w_hh, b_ih, b_hh, dy):
    """Back through time with the slopes of all steps at once; the weights' gradients are one product each."""
    walk, (states, cells, tanh_c, gates) = lstm_walk(x, h, c, w_ih, w_hh, b_ih, b_hh)
    (one,), size, d = constants(x, 1), h.shape[1], np.empty_like(gates)
    slopes, of_c = lstm_slopes(*cut(gates, 4), tanh_c, cells[:-1], d, one)
    gradients = {key: np.empty_like(v) for key, v in (("x", x), ("w_ih", w_ih), ("w_hh", w_hh), ("b_ih", b_ih))}
    dh, dc, product, ones = np.empty_like(h), np.empty_like(h), np.empty_like(h), np.ones(len(x) * len(h), x.dtype)
    gradients |= {"h0": dh, "c0": dc, "b_hh": gradients["b_ih"]}
    flat_x, flat_dx, flat_d, before = (a.reshape(-1, a.shape[2]) for a in (x, gradients["x"], d, states[:-1]))
    each = [
        (dy[t], of_c[t], d[t], d[t][:, : 3 * size].reshape(len(h), 3, size), d[t][:, 3 * size :], cut(gates[t], 4)[1])
        for t in reversed(range(len(x)))
    ]
    over_gates = dc[:, None]

    def run():
        walk()
        slopes()
        dh.fill(0)
        dc.fill(0)
        for dy_t, of_c_t, d_t, difg, do, f in each:
            add(dh, dy_t, dh)
            add(dc, multiply(dh, of_c_t, product), dc)
            multiply(difg, over_gates, difg)
            multiply(do, dh, do)
            multiply(dc, f, dc)
            np.dot(d_t, w_hh, dh)
        np.dot(flat_d, w_ih, flat_dx)
        np.dot(flat_d.T, flat_x, gradients["w_ih"])
        np.dot(flat_d.T, before, gradients["w_hh"])
        np.dot(ones, flat_d, gradients["b_ih"])
        return states[1:], gradients

    return run


def lstm_one(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """Return a call that makes one step, and the arrays that it writes."""
    gates, add_on = np.empty((2, len(h), len(w_hh)), h.dtype)
    y, c_new, tanh_c, product = np.empty((4, *h.shape), h.dtype)
    (scale, shift), (i, f, g, o), from_x, from_h = halves(h, 0.5, 0.5, 1, 0.5), cut(gates, 4), w_ih.T, w_hh.T

    def run():
        add(np.dot(x, from_x, gates), b_ih, gates)
        add(add(gates, np.dot(h, from_h, add_on), gates), b_hh, gates)
        activate(multiply(gates, scale, gates), scale, shift)
        add(multiply(f, c, c_new), multiply(i, g, product), c_new)
        return multiply(o, np.tanh(c_new, tanh_c), y), c_new

    return run, (gates, tanh_c)


def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh, dy):
    return lstm_one(x, h, c, w_ih, w_hh, b_ih, b_hh)[0]


def lstm_step_training(x, h, c, w_ih, w_hh, b_ih, b_hh, dy):
    step, (gates, tanh_c) = lstm_one(x, h, c, w_ih, w_hh, b_ih, b_hh)
    (one,), d, dc, (_, f, _, _) = constants(x, 1), np.empty_like(gates), np.empty_like(h), cut(gates, 4)
    slopes, of_c = lstm_slopes(*cut(gates, 4), tanh_c, c, d, one)
    named = (("x", x), ("h", h), ("w_ih", w_ih), ("w_hh", w_hh), ("b_ih", b_ih))
    gradients, ones, d_t = {key: np.empty_like(v) for key, v in named}, np.ones(len(x), x.dtype), d.T
    gradients |= {"c": dc, "b_hh": gradients["b_ih"]}
    parts = [(part, dc) for part in cut(d, 4)[:3]] + [(cut(d, 4)[3], dy)]

    def run():
        y, _ = step()
        slopes()
        multiply(dy, of_c, dc)
        for part, by in parts:
            multiply(part, by, part)
        multiply(dc, f, dc)
        np.dot(d, w_ih, gradients["x"])
        np.dot(d, w_hh, gradients["h"])
        np.dot(d_t, x, gradients["w_ih"])
        np.dot(d_t, h, gradients["w_hh"])
        np.dot(ones, d, gradients["b_ih"])
        return y, gradients

    return run


def gru_walk(x, h, w_ih, w_hh, b_ih, b_hh):
    """Return a call that runs all steps, and the arrays that it writes: states, gates, what r multiplies."""
    (steps, batch), size = x.shape[:2], h.shape[1]
    states, of_h = np.empty((steps + 1, batch, size), h.dtype), np.empty((steps, batch, size), h.dtype)
    gates, bias = np.empty((steps, batch, 3 * size), h.dtype), np.empty_like(b_ih)
    scale, _ = halves(h, 0.5, 0.5, 1)
    (half,), rz_part, b_hn = constants(x, 0.5), slice(2 * size), b_hh[2 * size :]
    from_x, from_h = np.empty_like(w_ih.T, order="C"), np.empty_like(w_hh.T, order="C")
    product = np.empty_like(gates[0])
    rz_product, n_product = product[:, rz_part], product[:, 2 * size :]
    flat_x, flat_gates = x.reshape(-1, x.shape[2]), gates.reshape(-1, 3 * size)
    each = [(gates[t][:, rz_part], *cut(gates[t], 3), states[t], states[t + 1], of_h[t]) for t in range(steps)]

    def run():
        multiply(w_ih.T, scale, from_x)
        multiply(w_hh.T, scale, from_h)
        copyto(bias, b_ih)
        add(bias[rz_part], b_hh[rz_part], bias[rz_part])
        multiply(bias, scale, bias)
        copyto(states[0], h)
        add(np.dot(flat_x, from_x, flat_gates), bias, flat_gates)
        for rz, r, z, n, before, after, m in each:
            np.dot(before, from_h, product)
            np.tanh(add(rz, rz_product, rz), rz)
            add(multiply(rz, half, rz), half, rz)
            multiply(r, add(n_product, b_hn, m), after)
            np.tanh(add(n, after, n), n)
            add(n, multiply(z, subtract(before, n, after), after), after)
        return states[1:], after

    return run, (states, gates, of_h)


def gru_forward(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    return gru_walk(x, h, w_ih, w_hh, b_ih, b_hh)[0]


def gru_slopes(r, z, n, m, before, out, one):
    """Return a call that writes what dh is multiplied by for dr, dz, what r multiplies, and dn, side by side."""
    (dr, dz, dm, dn), rest = cut(out, 4), np.empty_like(m)

    def run():
        multiply(subtract(one, square(n, dn), dn), subtract(one, z, dm), dn)
        multiply(multiply(z, dm, dz), subtract(before, n, dm), dz)
        multiply(dn, r, dm)
        multiply(multiply(dm, m, dr), subtract(one, r, rest), dr)

    return run


def gru_gradients(x, h, before, d, w_ih, w_hh, b_ih, b_hh):
    """Return the gradients, and a call that writes them but for that of the state, from d: dr, dz, dm, dn."""
    gradients = {key: np.empty_like(v) for key, v in (("x", x), ("w_ih", w_ih), ("w_hh", w_hh))}
    gradients |= {"b_ih": np.empty_like(b_ih), "b_hh": np.empty_like(b_hh)}
    size, ones, total = h.shape[1], np.ones(len(d), d.dtype), np.empty(d.shape[1], d.dtype)
    d_rz, d_h, d_n, rz, n = d[:, : 2 * size], d[:, : 3 * size], d[:, 3 * size :], slice(2 * size), slice(2 * size, None)
    flat_x, flat_dx = x.reshape(-1, x.shape[-1]), gradients["x"].reshape(-1, x.shape[-1])
    dx_n = np.empty_like(flat_dx)

    def run():
        add(np.dot(d_rz, w_ih[rz], flat_dx), np.dot(d_n, w_ih[n], dx_n), flat_dx)
        np.dot(d_rz.T, flat_x, gradients["w_ih"][rz])
        np.dot(d_n.T, flat_x, gradients["w_ih"][n])
        np.dot(d_h.T, before, gradients["w_hh"])
        np.dot(ones, d, total)
        gradients["b_hh"][:] = total[: 3 * size]
        gradients["b_ih"][rz], gradients["b_ih"][n] = total[rz], total[3 * size :]

    return gradients, run


def gru_training(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    walk, (states, gates, of_h) = gru_walk(x, h, w_ih, w_hh, b_ih, b_hh)
    (one,), size, (steps, batch) = constants(x, 1), h.shape[1], x.shape[:2]
    d, dh, product = np.empty((steps, batch, 4 * size), x.dtype), np.empty_like(h), np.empty_like(h)
    slopes = gru_slopes(*cut(gates, 3), of_h, states[:-1], d, one)
    before = states[:-1].reshape(-1, size)
    gradients, weights = gru_gradients(x, h, before, d.reshape(-1, 4 * size), w_ih, w_hh, b_ih, b_hh)
    gradients["h0"] = dh
    each = [
        (dy[t], d[t].reshape(batch, 4, size), d[t][:, : 3 * size], cut(gates[t], 3)[1]) for t in reversed(range(steps))
    ]
    over_gates = dh[:, None]

    def run():
        walk()
        slopes()
        dh.fill(0)
        for dy_t, d_t, d_h, z in each:
            add(dh, dy_t, dh)
            multiply(d_t, over_gates, d_t)
            add(multiply(dh, z, dh), np.dot(d_h, w_hh, product), dh)
        weights()
        return states[1:], gradients

    return run


def gru_one(x, h, w_ih, w_hh, b_ih, b_hh):
    """Return a call that makes one step, and the arrays that it writes."""
    gates, product = np.empty((2, len(h), len(w_hh)), h.dtype)
    (y, m), size, from_x, from_h = np.empty((2, *h.shape), h.dtype), h.shape[1], w_ih.T, w_hh.T
    (half,), (r, z, n), rz, of_h = constants(x, 0.5), cut(gates, 3), gates[:, : 2 * size], product[:, 2 * size :]
    rz_product = product[:, : 2 * size]

    def run():
        add(np.dot(x, from_x, gates), b_ih, gates)
        add(np.dot(h, from_h, product), b_hh, product)
        np.tanh(multiply(add(rz, rz_product, rz), half, rz), rz)
        add(multiply(rz, half, rz), half, rz)
        copyto(m, of_h)
        np.tanh(add(n, multiply(r, m, y), n), n)
        return add(n, multiply(z, subtract(h, n, y), y), y)

    return run, (gates, m)


def gru_step(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    return gru_one(x, h, w_ih, w_hh, b_ih, b_hh)[0]


def gru_step_training(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    step, (gates, m) = gru_one(x, h, w_ih, w_hh, b_ih, b_hh)
    (one,), size, d = constants(x, 1), h.shape[1], np.empty((len(h), 4 * h.shape[1]), h.dtype)
    slopes, (_, z, _) = gru_slopes(*cut(gates, 3), m, h, d, one), cut(gates, 3)
    gradients, weights = gru_gradients(x, h, h, d, w_ih, w_hh, b_ih, b_hh)
    gradients["h"] = dh = np.empty_like(h)
    product, over_gates, by_gate, d_h = np.empty_like(h), dy[:, None], d.reshape(len(h), 4, size), d[:, : 3 * size]

    def run():
        y = step()
        slopes()
        multiply(by_gate, over_gates, by_gate)
        add(multiply(dy, z, dh), np.dot(d_h, w_hh, product), dh)
        weights()
        return y, gradients

    return run


# Streams: the weights of x and h side by side, laid out once; the state stays in the array that is multiplied.


def beside(x, h, w_ih, w_hh):
    """Return room for (x, h), its two parts, and the weights that multiply it."""
    both = np.zeros((len(x), x.shape[1] + h.shape[1]), x.dtype)
    weights = np.ascontiguousarray(np.concatenate([w_ih, w_hh], axis=1).T)
    return both, both[:, : x.shape[1]], both[:, x.shape[1] :], weights


def rnn_stream(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    (both, of_x, of_h, weights), bias, y = beside(x, h, w_ih, w_hh), b_ih + b_hh, np.empty_like(h)

    def run():
        copyto(of_x, x)
        np.tanh(add(np.dot(both, weights, y), bias, y), y)
        copyto(of_h, y)
        return y

    return run


def lstm_stream(x, h, c, w_ih, w_hh, b_ih, b_hh, dy):
    scale, shift = halves(h, 0.5, 0.5, 1, 0.5)
    (both, of_x, of_h, weights), bias, cell = beside(x, h, w_ih, w_hh), (b_ih + b_hh) * scale, np.zeros_like(h)
    weights *= scale
    gates, y, product = np.empty((len(h), len(w_hh)), h.dtype), np.empty_like(h), np.empty_like(h)
    i, f, g, o = cut(gates, 4)

    def run():
        copyto(of_x, x)
        activate(add(np.dot(both, weights, gates), bias, gates), scale, shift)
        add(multiply(f, cell, cell), multiply(i, g, product), cell)
        copyto(of_h, multiply(o, np.tanh(cell, y), y))
        return y

    return run


def gru_stream(x, h, w_ih, w_hh, b_ih, b_hh, dy):
    """The gates r and z from x and h side by side, n from each."""
    (both, of_x, of_h, weights), size, (half,) = beside(x, h, w_ih, w_hh), h.shape[1], constants(x, 0.5)
    weights, bias = weights[:, : 2 * size] * half, (b_ih + b_hh)[: 2 * size] * half
    from_x, from_h = (np.ascontiguousarray(w[2 * size :].T) for w in (w_ih, w_hh))
    b_in, b_hn, state, n = b_ih[2 * size :], b_hh[2 * size :], np.zeros_like(h), np.empty_like(h)
    rz, m = np.empty((len(h), 2 * size), h.dtype), np.empty_like(h)
    r, z = cut(rz, 2)

    def run():
        copyto(of_x, x)
        np.tanh(add(np.dot(both, weights, rz), bias, rz), rz)
        add(multiply(rz, half, rz), half, rz)
        multiply(r, add(np.dot(state, from_h, m), b_hn, m), m)
        np.tanh(add(add(np.dot(x, from_x, n), b_in, n), m, n), n)
        add(n, multiply(z, subtract(state, n, state), state), state)
        copyto(of_h, state)
        return state

    return run


# --- attention: products of whole batches, one a sequence, which BLAS does as the arrays lie ---


class Weights:
    """The softmax of scores (B, T, S) in place, what it weights, and the gradient of the scores."""

    def __init__(self, query, keys):
        steps, batch, _ = query.shape
        self.scores, self.d = np.empty((2, batch, steps, len(keys)), query.dtype)
        self.column = np.empty((batch, steps, 1), query.dtype)
        self.total, self.ones = self.column[:, :, 0].reshape(-1), np.ones(len(keys), query.dtype)
        self.sums, self.rows = self.column[:, :, 0], self.scores.reshape(-1, len(keys))
        self.context, self.values = np.empty((batch, steps, keys.shape[2]), keys.dtype), keys.swapaxes(0, 1)

    def finish(self):
        subtract(self.scores, np.maximum.reduce(self.scores, 2, None, self.column, True), self.scores)
        np.dot(exp(self.scores, self.scores).reshape(self.rows.shape), self.ones, self.total)
        divide(self.scores, self.column, self.scores)
        np.matmul(self.scores, self.values, self.context)
        return self.context.swapaxes(0, 1), self.scores.swapaxes(0, 1)

    def backward(self, dcontext):
        dcontext = dcontext.swapaxes(0, 1)
        dvalues = np.matmul(self.scores.swapaxes(1, 2), dcontext)
        np.matmul(dcontext, self.values.swapaxes(1, 2), self.d)
        np.vecdot(self.scores, self.d, self.sums)
        multiply(subtract(self.d, self.column, self.d), self.scores, self.d)
        return dvalues.swapaxes(0, 1)


def attention_scaled_dot(query, keys, dcontext):
    """Return the calls of the forward and the backward pass."""
    at, (scale,) = Weights(query, keys), constants(query, query.shape[2] ** -0.5)
    scaled, dquery = np.empty_like(query), np.empty_like(at.context)

    def forward():
        multiply(query, scale, scaled)
        np.matmul(scaled.swapaxes(0, 1), keys.transpose(1, 2, 0), at.scores)
        return at.finish()

    def backward():
        dvalues = at.backward(dcontext)
        np.matmul(at.d, at.values, dquery)
        dkeys = np.matmul(at.d.swapaxes(1, 2), scaled.swapaxes(0, 1))
        return {
            "query": multiply(dquery, scale, dquery).swapaxes(0, 1),
            "keys": dkeys.swapaxes(0, 1),
            "values": dvalues,
        }

    return forward, backward


def attention_additive(query, keys, dcontext, v):
    """Query by query, keeping every tanh for the way back."""
    at, (one,) = Weights(query, keys), constants(query, 1)
    hidden, work = np.empty((len(query), *keys.shape), keys.dtype), np.empty_like(keys)
    flat = hidden.reshape(len(query), -1, len(v))
    dquery, dkeys, ds = np.empty_like(query), np.empty_like(keys), np.empty(keys.shape[:2], keys.dtype)

    def forward():
        for t, (q, h) in enumerate(zip(query, hidden, strict=True)):
            np.tanh(add(keys, q, h), h)
            at.scores[:, t] = np.dot(flat[t], v).reshape(keys.shape[:2]).T
        return at.finish()

    def backward():
        dvalues, dv = at.backward(dcontext), np.zeros_like(v)
        dkeys.fill(0)
        for t, h in enumerate(hidden):
            copyto(ds, at.d[:, t].T)
            add(dv, np.dot(ds.reshape(-1), flat[t]), dv)
            multiply(subtract(one, square(h, work), work), ds[:, :, None], work)
            add(dkeys, work, dkeys)
            multiply(np.add.reduce(work, 0, None, dquery[t]), v, dquery[t])
        return {"query": dquery, "keys": multiply(dkeys, v, dkeys), "values": dvalues, "v": dv}

    return forward, backward


def attention_forward_scaled_dot(query, keys, dcontext, v):
    return attention_scaled_dot(query, keys, dcontext)[0]


def attention_training_scaled_dot(query, keys, dcontext, v):
    forward, backward = attention_scaled_dot(query, keys, dcontext)
    return lambda: (forward()[0], backward())


def attention_forward_additive(query, keys, dcontext, v):
    return attention_additive(query, keys, dcontext, v)[0]


def attention_training_additive(query, keys, dcontext, v):
    forward, backward = attention_additive(query, keys, dcontext, v)
    return lambda: (forward()[0], backward())


# --- embedding ---------------------------------------------------------------------------


def embedding_lookup(weight, dy, indices, y):
    return partial(weight.take, indices, 0, y, "clip")


def embedding_lookup_backward(dy_weight, dy, indices, y):
    grad, ends = np.empty_like(dy_weight), np.empty(len(indices), bool)

    def by_add_at():
        grad.fill(0)
        np.add.at(grad, indices, dy)
        return grad

    def by_sorting():
        grad.fill(0)
        order = indices.argsort(kind="stable")
        ordered = indices[order]
        ends[0] = True
        np.not_equal(ordered[1:], ordered[:-1], ends[1:])
        starts = ends.nonzero()[0]
        grad[ordered[starts]] = np.add.reduceat(dy.take(order, 0, y, "clip"), starts, 0)
        return grad

    return by_add_at, by_sorting


def embedding_bag(weight, dy, indices, y):
    """All rows, then their sums; or row k of every bag in turn, which leaves no more than two in the cache."""
    bags = indices.reshape(-1, 20)
    out, row = np.empty((2, len(bags), weight.shape[1]), weight.dtype)
    by_place = np.ascontiguousarray(bags.T)

    def at_once():
        return weight.take(indices, 0, y, "clip").reshape(*bags.shape, -1).sum(1, out=out)

    def in_turn():
        weight.take(by_place[0], 0, out, "clip")
        for places in by_place[1:]:
            add(out, weight.take(places, 0, row, "clip"), out)
        return out

    return at_once, in_turn


def embedding_bag_backward(weight, dy, indices, y):
    rows = y.reshape(-1, 20, y.shape[1])

    def run():
        np.copyto(rows, dy[: len(rows), None])
        return rows

    return run


def coalesce(dy_weight, dy, indices, y):
    """In the order of first appearance; of the sorted rows that of their first places."""

    def run():
        order = indices.argsort(kind="stable")
        ordered = indices[order]
        starts = np.concatenate(([0], (ordered[1:] != ordered[:-1]).nonzero()[0] + 1))
        sums = np.add.reduceat(dy.take(order, 0, y, "clip"), starts, 0)
        appear = order[starts].argsort()
        return ordered[starts][appear], sums[appear]

    return run


# --- normalization: sums by BLAS, rows in blocks that stay in the cache ---------------------


def by_blocks(form, rows, n):
    """Return what runs form(slice) over all rows at once, and what does so block by block."""

    def over(size):
        runs = [form(slice(start, start + size)) for start in range(0, rows, size)]

        def run():
            for block in runs:
                block()

        return run

    return over(rows), over(max(1, 16_384 // n))


def normalize_rows(x, y, weight, bias, centred, eps):
    n = x.shape[1]
    mean, square, weights = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype), np.full(n, 1 / n, x.dtype)
    size, eps, one = constants(x, n, eps, 1)

    def form(at):
        a, b, m, q = x[at], y[at], mean[at], square[at]
        m_column, q_column = m[:, None], q[:, None]

        def run():
            if centred:
                np.dot(a, weights, m)
                subtract(a, m_column, b)
            z = b if centred else a
            divide(np.vecdot(z, z, q), size, q)
            divide(one, sqrt(add(q, eps, q), q), q)
            multiply(multiply(z, q_column, b), weight, b)
            if bias is not None:
                add(b, bias, b)

        return run

    return by_blocks(form, len(x), n)


def layer_norm(x, dy, y, weight, bias, mean, var):
    return normalize_rows(x, y, weight, bias, True, 1e-5)


def rms_norm(x, dy, y, weight, bias, mean, var):
    return normalize_rows(x, y, weight, None, False, 2.0**-23)


def normalize_rows_backward(dy, weight, cache, centred):
    """The normalized x is ready, as a forward pass could keep it."""
    x, rstd, n = cache.x, cache.rstd.astype("f"), cache.x.shape[1]
    normalized = ((x - cache.mean if centred else x) * cache.rstd).astype("f")
    dx, scratch = np.empty_like(x), np.empty_like(x)
    mean, dot, weights, ones = (
        np.empty(len(x), "f"),
        np.empty(len(x), "f"),
        np.full(n, 1 / n, "f"),
        np.ones(len(x), "f"),
    )
    dweight, dbias, part, (size,) = np.empty(n, "f"), np.empty(n, "f"), np.empty(n, "f"), constants(x, n)

    def form(at):
        g, z, r, out, work, m, d, one = (
            dy[at],
            normalized[at],
            rstd[at],
            dx[at],
            scratch[at],
            mean[at],
            dot[at],
            ones[at],
        )
        m_column, d_column = m[:, None], d[:, None]

        def run():
            add(dweight, np.dot(one, multiply(g, z, work), part), dweight)
            multiply(g, weight, out)
            divide(np.vecdot(out, z, d), size, d)
            if centred:
                add(dbias, np.dot(one, g, part), dbias)
                np.dot(out, weights, m)
                subtract(out, m_column, out)
            multiply(subtract(out, multiply(z, d_column, work), out), r, out)

        return run

    def whole(blocks):
        def run():
            dweight.fill(0)
            dbias.fill(0)
            blocks()
            return {"x": dx, "weight": dweight} | ({"bias": dbias} if centred else {})

        return run

    return tuple(map(whole, by_blocks(form, len(x), n)))


def layer_norm_backward(x, dy, y, weight, bias, mean, var, cache):
    return normalize_rows_backward(dy, weight, cache, True)


def rms_norm_backward(x, dy, y, weight, bias, mean, var, cache):
    return normalize_rows_backward(dy, weight, cache, False)


class Channels:
    """An array (N, C, ...) with its channels along an axis of its own, and sums over the others by BLAS."""

    def __init__(self, x):
        self.n, self.channels = x.shape[:2]
        self.shape = self.n, self.channels, x.size // (self.n * self.channels)
        self.ones, self.total = np.ones(self.shape[2], x.dtype), np.empty(self.n * self.channels, x.dtype)
        self.rows = np.ones(self.n, x.dtype)
        self.size = np.asarray(self.n * self.shape[2], x.dtype)

    def of(self, x):
        return x.reshape(self.shape)

    def sum(self, x, out):
        if len(self.ones) == 1:
            return np.dot(self.rows, x[:, :, 0], out)
        np.dot(x.reshape(-1, len(self.ones)), self.ones, self.total)
        return np.dot(self.rows, self.total.reshape(self.n, self.channels), out)

    def dot(self, x, y, out, scratch):
        if len(self.ones) == 1:
            return self.sum(multiply(x, y, scratch), out)
        total = self.total.reshape(self.n, self.channels)
        return np.dot(self.rows, np.vecdot(x, y, total), out)


def batch_norm(x, dy, y, weight, bias, mean, var):
    at = Channels(x)
    x, y, scratch = at.of(x), at.of(y), at.of(np.empty_like(x))
    total, square, (eps,) = np.empty_like(weight), np.empty_like(weight), constants(x, 1e-5)
    t_column, s_column, b_column = (each[:, None] for each in (total, square, bias))

    def run():
        divide(at.sum(x, total), at.size, total)
        subtract(x, t_column, y)
        divide(at.dot(y, y, square, scratch), at.size, square)
        divide(weight, sqrt(add(square, eps, square), square), square)
        add(multiply(y, s_column, y), b_column, y)

    def by_samples():
        divide(at.sum(x, total), at.size, total)
        subtract(x, t_column, y)
        divide(at.dot(y, y, square, scratch), at.size, square)
        divide(weight, sqrt(add(square, eps, square), square), square)
        for sample in y:
            add(multiply(sample, s_column, sample), b_column, sample)

    return run, by_samples


def batch_norm_inference(x, dy, y, weight, bias, mean, var):
    at = Channels(x)
    x, y = at.of(x), at.of(y)
    scale, shift, (eps,) = np.empty_like(weight), np.empty_like(weight), constants(x, 1e-5)
    scale_column, shift_column = scale[:, None], shift[:, None]

    def factors():
        divide(weight, sqrt(add(var, eps, scale), scale), scale)
        subtract(bias, multiply(mean, scale, shift), shift)

    def run():
        factors()
        add(multiply(x, scale_column, y), shift_column, y)

    def by_samples():
        factors()
        for a, b in zip(x, y, strict=True):
            add(multiply(a, scale_column, b), shift_column, b)

    return run, by_samples


def batch_norm_backward(x, dy, y, weight, bias, mean, var, cache):
    """The normalized x is ready, as a forward pass could keep it."""
    at, shape = Channels(x), x.shape
    normalized = at.of(((x - cache.mean) * cache.rstd).astype("f"))
    dy, dx, scratch = at.of(dy), at.of(np.empty_like(x)), at.of(np.empty_like(x))
    scale, dweight, dbias = weight * cache.rstd.ravel().astype("f"), np.empty_like(weight), np.empty_like(weight)
    slope, shift = np.empty_like(weight), np.empty_like(weight)
    columns = scale[:, None], slope[:, None], shift[:, None]

    def factors():
        divide(at.dot(dy, normalized, dweight, scratch), at.size, slope)
        divide(at.sum(dy, dbias), at.size, shift)

    def form(dy, z, out):
        scale, slope, shift = columns
        subtract(subtract(dy, multiply(z, slope, out), out), shift, out)
        multiply(out, scale, out)

    def run():
        factors()
        form(dy, normalized, dx)
        return {"x": dx.reshape(shape), "weight": dweight, "bias": dbias}

    def by_samples():
        factors()
        for sample in zip(dy, normalized, dx, strict=True):
            form(*sample)
        return {"x": dx.reshape(shape), "weight": dweight, "bias": dbias}

    return run, by_samples


# --- convolution ---------------------------------------------------------------------------
# Stride 1, no padding, as the rows have it. Columns are written tap by tap: few calls, whose inner loops are long.


class Unfolded:
    """All windows of x as columns, per image (N, C * taps, P) or of all images at once (C * taps, N * P)."""

    def __init__(self, x, weight, together):
        self.x, self.batch, self.kernel = x, len(x), weight.shape[2:]
        self.out = [n - k + 1 for n, k in zip(x.shape[2:], self.kernel, strict=True)]
        self.together, self.filters = together, len(weight)
        self.terms, self.points = weight[0].size, int(np.prod(self.out))
        shape = (*x.shape[1:2], *self.kernel, *self.out)
        self.array = np.empty((*shape[: -len(self.out)], self.batch, *self.out) if together else (len(x), *shape), "f")
        self.taps = self.pairs(self.array, x)
        if together:
            self.matrix = self.array.reshape(self.terms, self.batch * self.points)
            self.product = np.empty((self.filters, self.batch, self.points), "f")
        else:
            self.matrix = self.array.reshape(self.batch, self.terms, self.points)

    def pairs(self, columns, image):
        """List, for each tap, where it stands in the columns and in the image."""
        found = []
        for tap in np.ndindex(*self.kernel):
            seen = image[:, :, *(slice(t, t + n) for t, n in zip(tap, self.out, strict=True))]
            found.append((columns[:, *tap], seen.swapaxes(0, 1)) if self.together else (columns[:, :, *tap], seen))
        return found

    def fill(self):
        for columns, seen in self.taps:
            copyto(columns, seen)

    def images_last(self, y):
        """Return (N, O, ...) as (O, N, P)."""
        return y.reshape(self.batch, self.filters, self.points).swapaxes(0, 1)


def convolve(x, weight, bias, together):
    """Return the arrays, and a call that writes y."""
    columns = Unfolded(x, weight, together)
    matrix = weight.reshape(columns.filters, columns.terms)
    y = np.empty((len(x), columns.filters, columns.points), "f")
    shifts = bias[:, None]

    def run():
        columns.fill()
        if together:
            product = columns.product
            np.matmul(matrix, columns.matrix, product.reshape(columns.filters, -1))
            add(product.swapaxes(0, 1), shifts, y)
        else:
            np.matmul(matrix, columns.matrix, y)
            add(y, shifts, y)
        return y.reshape(len(x), columns.filters, *columns.out)

    return columns, run


def conv2d(x, weight, bias, dy):
    return tuple(convolve(x, weight, bias, together)[1] for together in (False, True))


def conv2d_training(x, weight, bias, dy):
    return tuple(convolve_and_back(x, weight, bias, dy, together) for together in (False, True))


def convolve_and_back(x, weight, bias, dy, together):
    columns, forward = convolve(x, weight, bias, together)
    matrix = weight.reshape(columns.filters, columns.terms)
    gradients = {"x": np.empty_like(x), "weight": np.empty_like(weight), "bias": np.empty_like(bias)}
    dcolumns, dmatrix = np.empty_like(columns.array), gradients["weight"].reshape(matrix.shape)
    dproduct = np.empty((columns.filters, columns.batch, columns.points), "f")
    ones = np.ones(columns.batch * columns.points, "f")
    each = np.empty((columns.batch, *matrix.shape), "f")
    taps = columns.pairs(dcolumns, gradients["x"])

    def run():
        y = forward()
        if together:
            copyto(dproduct, columns.images_last(dy))
            flat = dproduct.reshape(columns.filters, -1)
            np.matmul(flat, columns.matrix.T, dmatrix)
            np.matmul(matrix.T, flat, dcolumns.reshape(columns.matrix.shape))
            np.matmul(flat, ones, gradients["bias"])
        else:
            apart = dy.reshape(columns.batch, columns.filters, columns.points)
            np.matmul(apart, columns.matrix.swapaxes(1, 2), each)
            add.reduce(each, 0, out=dmatrix)
            np.matmul(matrix.T, apart, dcolumns.reshape(columns.matrix.shape))
            add.reduce(np.matmul(apart, ones[: columns.points]), 0, out=gradients["bias"])
        gradients["x"].fill(0)
        for dcolumn, seen in taps:
            add(seen, dcolumn, seen)
        return y, gradients

    return run


conv1d, conv1d_training = conv2d, conv2d_training


def pool_taps(x, out):
    """List what each tap sees of x, in windows of 2 that do not overlap."""
    return [
        x[:, :, *(slice(t, t + n * 2, 2) for t, n in zip(tap, out, strict=True))] for tap in np.ndindex(*[2] * len(out))
    ]


def pool_axes(combine, x, axes):
    """Return a call that combines every two neighbours along the last axes, first where that takes whole rows."""
    steps = []
    for axis in range(-axes, 0):
        even, odd = (x[..., i : x.shape[axis] // 2 * 2 : 2, *[slice(None)] * (-1 - axis)] for i in (0, 1))
        x = np.empty(odd.shape, x.dtype)
        steps.append((even, odd, x))

    def run():
        for even, odd, y in steps:
            combine(even, odd, out=y)
        return y

    return run


def max_pool2d(x, dy, room):
    return pool_axes(maximum, x, dy.ndim - 2)


def max_pool2d_training(x, dy, room):
    forward, taps = max_pool2d(x, dy, room), pool_taps(x, dy.shape[2:])
    dtaps, hit, free = pool_taps(room, dy.shape[2:]), mask_of(dy), mask_of(dy)

    def run():
        y = forward()
        free.fill(True)
        for tap, dtap in zip(taps, dtaps, strict=True):
            np.equal(tap, y, hit)
            np.logical_and(hit, free, hit)
            multiply(dy, hit, dtap)
            np.not_equal(free, hit, free)
        return y, {"x": room}

    return run


def avg_pool2d(x, dy, room):
    total, (share,) = pool_axes(add, x, dy.ndim - 2), constants(x, 0.5 ** (dy.ndim - 2))

    def run():
        y = total()
        return multiply(y, share, y)

    return run


def avg_pool2d_training(x, dy, room):
    forward, dtaps, part = avg_pool2d(x, dy, room), pool_taps(room, dy.shape[2:]), np.empty_like(dy)
    (share,) = constants(x, 1 / len(dtaps))

    def run():
        y = forward()
        multiply(dy, share, part)
        for dtap in dtaps:
            copyto(dtap, part)
        return y, {"x": room}

    return run


max_pool1d, max_pool1d_training = max_pool2d, max_pool2d_training
avg_pool1d, avg_pool1d_training = avg_pool2d, avg_pool2d_training


def max_over_time(x, dy, room):
    return partial(maximum.reduce, x, 2, None, np.empty_like(dy))


def max_over_time_training(x, dy, room):
    at, y = np.empty(dy.shape, np.intp), np.empty_like(dy)

    def run():
        np.argmax(x, 2, at)
        maximum.reduce(x, 2, None, y)
        room.fill(0)
        np.put_along_axis(room, at[..., None], dy[..., None], 2)
        return y, {"x": room}

    return run


# --- regularization ----------------------------------------------------------------------


def dropout(x, rng):
    """Kept where 16 bits are at least half of their range: for a p of so few bits that is exact."""
    y, mask, least = np.empty_like(x), mask_of(x), np.asarray(32_768, np.uint16)
    (scale,) = constants(x, 2)

    def run():
        bits = rng.bit_generator.random_raw(len(x) // 4).view(np.uint16)
        return multiply(multiply(x, scale, y), np.greater_equal(bits, least, mask), y), mask

    return run


def dropout_backward(dy, mask):
    (scale,), dx = constants(dy, 2), np.empty_like(dy)
    return lambda: multiply(multiply(dy, scale, dx), mask, dx)


# --- word2vec ----------------------------------------------------------------------------


def alias_table(weights, threshold, alias, *_):
    """Lists of Python's numbers, which are quicker than arrays where one element is wanted at a time."""

    def run():
        share = (weights * (len(weights) / weights.sum())).tolist()
        other = list(range(len(share)))
        small, large = [i for i, x in enumerate(share) if x < 1], [i for i, x in enumerate(share) if x >= 1]
        while small and large:
            low, high = small.pop(), large[-1]
            other[low] = high
            share[high] -= 1 - share[low]
            if share[high] < 1:
                small.append(large.pop())
        for i in small + large:
            share[i] = 1.0
        threshold[:], alias[:] = share, other

    return run


def alias_sample(weights, threshold, alias, tokens, ends, room, rng):
    u, taken = np.empty((2, 2000, 5))
    place, draws, chosen = np.empty((2000, 5), np.int32), np.empty((2000, 5), np.int32), mask_of(u)

    def run():
        rng.random(out=u)
        multiply(u, len(threshold), u)
        copyto(place, u, "unsafe")
        subtract(u, place, u)
        threshold.take(place, out=taken, mode="clip")
        less(u, taken, chosen)
        alias.take(place, out=draws, mode="clip")
        copyto(draws, place, where=chosen)
        return draws

    return run


def context_windows(weights, threshold, alias, tokens, ends, room, rng):
    """All offsets at once: a matrix of words by places, of which those within reach and sentence are taken."""
    offsets = np.array([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5])
    places = np.arange(len(tokens))

    def run():
        reach = (rng.random(len(tokens)) * 5).astype(int) + 1
        sentence = np.searchsorted(ends, places, side="right")
        begin, end = np.concatenate([[0], ends])[sentence], ends[sentence]
        first, last = maximum(begin, places - reach), minimum(end - 1, places + reach)
        at = places[:, None] + offsets
        inside = (at >= first[:, None]) & (at <= last[:, None])
        bounds = np.concatenate([[0], np.cumsum(last - first)])
        return tokens, tokens[at[inside]], bounds

    return run


def _trained(vectors, output, inputs, bounds, targets, hidden, spread):
    """Window after window, as small products; rows are added one by one only where a word is there twice."""
    windows = [(inputs[i:j], t) for i, j, t in zip(bounds[:-1], bounds[1:], targets, strict=True) if i < j]
    sign = np.where(np.arange(targets.shape[1]) == 0, 1, -1).astype(vectors.dtype)

    def add_rows(table, rows, gain):
        if len(set(rows.tolist())) == len(rows):
            table[rows] += gain
        else:
            add.at(table, rows, gain)

    def run():
        loss = 0.0
        for words, outputs in windows:
            v, u = hidden(vectors[words]), output[outputs]
            margin = (v @ u.T) * sign
            e = exp(-margin)
            missed = log1p(e)
            g = sign * (e / (1 + e)) * v.dtype.type(0.01)
            again = outputs == outputs[0]
            again[0] = False
            if again.any():
                g[:, again] = 0
                missed[:, again] = 0
            loss += float(missed.sum())
            add_rows(vectors, words, spread(g @ u, words))
            add_rows(output, outputs, g.T @ v)
        return loss

    return run


def skipgram_step(vectors, output, inputs, bounds, targets):
    return _trained(vectors, output, inputs, bounds, targets, lambda v: v, lambda gain, words: gain)


def cbow_step(vectors, output, inputs, bounds, targets):
    mean = lambda v: v.mean(axis=0, keepdims=True)
    spread = lambda gain, words: np.broadcast_to(gain, (len(words), gain.shape[1]))
    return _trained(vectors, output, inputs, bounds, targets, mean, spread)
