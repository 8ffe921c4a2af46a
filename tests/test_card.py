"""The kernels that this project is for, by their entry over typed memoryviews: what other people's Cython calls.

Elementwise activations and their derivatives, softmax cross entropy, the Adam and RMSProp updates, the step of a plain
recurrent network: values against the twin in float64, gradients against differences, read-only inputs, arrays that
do not fit.
"""

from typing import NamedTuple

import numpy as np
import pytest

import fastnn
from fastnn import reference
from fastnn._kernels import activations, gemm, losses, recurrent, updates

pytestmark = pytest.mark.kernels
DTYPES = [np.float32, np.float64]
TARGETS = np.array([3, 0, 9, 9, 1, 2, 7])
PARAMETERS = {"leaky_relu": [0.2], "elu": [1.5], "hardtanh": [-0.5, 2.0]}
NAMES = [name for name in activations.OPS if f"{name}_backward" in activations.OPS]


def normal(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


class Card(NamedTuple):
    name: str
    call: object  # of the arrays, those that are written first
    written: int  # how many these are
    arrays: list
    truth: object  # of the arrays in float64: what the written ones should hold, and what the call returns if anything


def activation(name):
    """Return a call of (out, x) or (out, dy, saved), with the parameters that some names have."""
    base = name.removesuffix("_derivative").removesuffix("_backward")

    def call(out, *operands):
        params = np.array(PARAMETERS[base], out.dtype) if base in PARAMETERS else None
        activations.evaluate(activations.OPS[name], out, *operands, params=params)

    def truth(_, *operands):
        return [getattr(reference, name)(*operands, *PARAMETERS.get(base, ()))]

    arrays = normal(*[(1000,)] * (3 if name.endswith("_backward") else 2))
    if name.endswith("_backward") and activations.SAVED[base] == "y":
        arrays[-1] = getattr(reference, base)(arrays[-1])
    return Card(name, call, 1, arrays, truth)


def cross_entropy(gradient, logits):
    return losses.softmax_cross_entropy(logits, TARGETS, gradient=gradient)


def cross_entropy_truth(_, logits):
    loss, gradient = reference.softmax_cross_entropy(logits, TARGETS)
    return [gradient, loss]


def rmsprop(param, square_avg, grad):
    updates.rmsprop_update(param, grad, square_avg, 0.01, 0.99, 1e-8, False, 0.1, False)


def rmsprop_truth(param, square_avg, grad):
    reference.rmsprop_update(param, grad, square_avg, lr=0.01, weight_decay=0.1)
    return [param, square_avg]


def adam(param, m, v, grad):
    updates.adam_update(param, grad, m, v, 3, 0.01, 0.9, 0.999, 1e-8, 0.1, True, False)


def adam_truth(param, m, v, grad):
    reference.adam_update(param, grad, m, v, 3, lr=0.01, weight_decay=0.1, decoupled=True)
    return [param, m, v]


def step(y, *arrays):
    recurrent.rnn_step(activations.OPS["tanh"], y, *arrays)


CELL = normal((7, 5), (7, 11), (11, 5), (11, 11), (11,), (11,))  # x, h, w_ih, w_hh, b_ih, b_hh
CARDS = [
    *map(activation, activations.OPS),
    Card("softmax_cross_entropy", cross_entropy, 1, normal((7, 10), (7, 10)), cross_entropy_truth),
    Card("rmsprop_update", rmsprop, 2, [np.abs(x) for x in normal(*[(1000,)] * 3)], rmsprop_truth),
    Card("adam_update", adam, 3, [np.abs(x) for x in normal(*[(1000,)] * 4)], adam_truth),
    Card("rnn_step", step, 1, [np.zeros((7, 11)), *CELL], lambda _, *arrays: [reference.rnn_step(*arrays)]),
]


@pytest.fixture(params=CARDS, ids=lambda card: card.name)
def card(request):
    return request.param


def copies(card, dtype=np.float64):
    return [x.astype(dtype) for x in card.arrays]


def freeze(arrays):
    for x in arrays:
        x.flags.writeable = False


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_with_read_only_inputs(isa, card, dtype):
    arrays = copies(card, dtype)
    truth = card.truth(*(x.astype(np.float64) for x in arrays))
    inputs = [x.copy() for x in arrays[card.written :]]
    freeze(arrays[card.written :])
    returned = card.call(*arrays)
    got = arrays[: card.written] + ([] if returned is None else [returned])
    for result, expected in zip(got, truth, strict=True):
        np.testing.assert_allclose(result, expected, rtol=32 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)
    for x, before in zip(arrays[card.written :], inputs, strict=True):
        np.testing.assert_array_equal(x, before)


def refuses(card, arrays, *errors):
    """Assert that the call raises, and writes nothing."""
    before = [x.copy() for x in arrays]
    with pytest.raises(errors):
        card.call(*arrays)
    for x, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(x, old)


def test_read_only_results_are_refused(card):
    for k in range(card.written):
        arrays = copies(card)
        freeze(arrays[k : k + 1])
        refuses(card, arrays, ValueError)


def test_wrong_shapes_are_refused(card):
    for k, shape in enumerate(x.shape for x in card.arrays):
        for wrong in ((*shape[:-1], shape[-1] + 1), (*shape[:-1], shape[-1] - 1)):
            arrays = copies(card)
            arrays[k] = np.ones(wrong)
            refuses(card, arrays, ValueError)
        arrays[k] = np.ones((*shape, 1))
        refuses(card, arrays, ValueError, TypeError)


def test_wrong_dtypes_and_layouts_are_refused(card):
    for k, shape in enumerate(x.shape for x in card.arrays):
        for wrong in (np.ones(shape, np.int64), np.ones(shape, np.float16), np.ones((*shape, 2))[..., 0]):
            arrays = copies(card)
            arrays[k] = wrong
            refuses(card, arrays, ValueError, TypeError)


# --- gradients -----------------------------------------------------------------------------------------------------


def close(gradient, f, x):
    expected = fastnn.numerical_gradient(f, x)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_activations(isa, name):
    x, dy = normal((200,), (200,))
    f, derivative, backward = (activation(name + end).call for end in ("", "_derivative", "_backward"))
    y, slope, dx = np.empty((3, 200))
    f(y, x)
    derivative(slope, x)
    backward(dx, dy, y if activations.SAVED[name] == "y" else x)

    def value(x):
        out = np.empty_like(x)
        f(out, x)
        return out

    close(slope, lambda x: value(x).sum(), x)
    close(dx, lambda x: (dy * value(x)).sum(), x)


def test_gradient_of_cross_entropy(isa):
    gradient, logits = normal((7, 10), (7, 10))
    cross_entropy(gradient, logits)
    close(gradient, lambda z: losses.softmax_cross_entropy(z, TARGETS), logits)


def test_gradient_of_a_step(isa):
    """The chain of three entries: the step, the activation's backward pass, products with the weights and the state."""
    x, h, w_ih, w_hh, _, _ = CELL
    y = np.empty((7, 11))
    step(y, *CELL)
    dy, dpre = np.cos(np.arange(77.0)).reshape(7, 11), np.empty((7, 11))
    activation("tanh_backward").call(dpre.reshape(-1), dy.reshape(-1), y.reshape(-1))
    gradients = [np.empty_like(each) for each in CELL[:4]]
    for out, a, b in zip(gradients, (dpre, dpre, dpre.T, dpre.T), (w_ih, w_hh, x, h), strict=True):
        gemm.matmul(out, a, b)
    gradients += [dpre.sum(0), dpre.sum(0)]

    def value(k, changed):
        out = np.empty_like(y)
        step(out, *CELL[:k], changed, *CELL[k + 1 :])
        return (dy * out).sum()

    for k, gradient in enumerate(gradients):
        close(gradient, lambda changed, k=k: value(k, changed), CELL[k].copy())
