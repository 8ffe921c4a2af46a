"""Attention in plain NumPy: a query's scores over the keys of a source, their softmax, the mean of the values."""

from typing import NamedTuple

import numpy as np

from fastnn._checks import as_gradient, attention_operands, check_cache
from fastnn.reference.losses import masked_softmax, masked_softmax_backward

__all__ = ["attention_backward", "attention_forward"]

quiet = np.errstate(all="ignore")


class _Cache(NamedTuple):
    maker: str
    score: str
    operands: dict
    query: np.ndarray
    hidden: np.ndarray  # what met the keys or, of the additive score, v
    weights: np.ndarray
    mask: np.ndarray
    dtype: np.dtype


def _linear(x, weight):
    return x if weight is None else x @ weight.T


def _linear_backward(dy, x, weight):
    """Return the gradients of x and weight."""
    return (dy, None) if weight is None else (dy @ weight, np.tensordot(dy, x, ((0, 1), (0, 1))))


def _products(left, right):
    """Return left[:, b] @ right[:, b] for each sequence b, time first."""
    # np.einsum would be shorter, but NumPy 2.4's can return what it found in memory where an axis has length 0.
    return (left.swapaxes(0, 1) @ right.swapaxes(0, 1)).swapaxes(0, 1)


@quiet
def attention_forward(
    query, keys, values, *, score="scaled_dot", lengths=None, w_query=None, w_keys=None, v=None, bias=None
):
    """Return the context sum(weights * values), the weights softmax(scores) up to each length, and a cache.

    The score of query q and key k is q @ k, the same / sqrt(features), q @ w_keys @ k ("general"), or
    v @ tanh(w_query @ q + w_keys @ k + bias) ("additive").
    """
    a, lengths, dtype = attention_operands(
        score, lengths, query=query, keys=keys, values=values, w_query=w_query, w_keys=w_keys, v=v, bias=bias
    )
    mask = np.arange(len(a["keys"])) < lengths[:, None]  # (B, S)
    a |= {name: np.where(mask.T[:, :, None], a[name], 0) for name in ("keys", "values")}
    q = a["query"] if a["query"].ndim == 3 else a["query"][None]  # one step is a sequence of length 1
    if score == "additive":
        hidden = _linear(q, a["w_query"])[:, :, None] + _linear(a["keys"], a["w_keys"]).swapaxes(0, 1)
        hidden = np.tanh(hidden if a["bias"] is None else hidden + a["bias"])  # (T, B, S, A)
        scores = hidden @ a["v"]
    else:
        hidden = q @ a["w_keys"] if score == "general" else q / np.sqrt(q.shape[2]) if score == "scaled_dot" else q
        scores = _products(hidden, a["keys"].T)
    weights = masked_softmax(scores, mask)
    context = _products(weights, a["values"])
    cache = _Cache("attention_forward", score, a, q, hidden, weights, mask, dtype)
    if a["query"].ndim == 2:
        context, weights = context[0], weights[0]
    return context.astype(dtype, copy=False), weights.astype(dtype, copy=False), cache


@quiet
def attention_backward(dcontext, dweights, cache):
    """Return the gradients of the arguments by name; dcontext and dweights may be None."""
    check_cache(cache, "attention_forward")
    _, score, a, q, hidden, weights, mask, dtype = cache
    keys, values = a["keys"], a["values"]
    one_step = a["query"].ndim == 2
    steps = a["query"].shape[:-1]
    dcontext = as_gradient(dcontext, (*steps, values.shape[2]), q.dtype, "dcontext")
    dweights = as_gradient(dweights, (*steps, len(keys)), q.dtype, "dweights")
    if one_step:
        dcontext, dweights = dcontext[None], dweights[None]

    gradients = {"values": _products(weights.T, dcontext)}
    dweights = dweights + _products(dcontext, values.T)
    dscores = masked_softmax_backward(dweights, weights, mask)
    if score == "additive":
        dhidden = dscores[..., None] * a["v"] * (1 - hidden) * (1 + hidden)
        gradients["v"] = np.tensordot(dscores, hidden, 3)
        gradients["query"], gradients["w_query"] = _linear_backward(dhidden.sum(2), q, a["w_query"])
        gradients["keys"], gradients["w_keys"] = _linear_backward(dhidden.sum(0).swapaxes(0, 1), keys, a["w_keys"])
        gradients["bias"] = None if a["bias"] is None else dhidden.sum((0, 1, 2))
    else:
        dquery = _products(dscores, keys)
        gradients["keys"] = _products(dscores.T, hidden)
        if score == "general":
            gradients["w_keys"] = np.tensordot(q, dquery, ((0, 1), (0, 1)))
            dquery = dquery @ a["w_keys"].T
        elif score == "scaled_dot":
            dquery = dquery / np.sqrt(q.shape[2])
        gradients["query"] = dquery
    if one_step:
        gradients["query"] = gradients["query"][0]
    return {name: gradients[name].astype(dtype, copy=False) for name in a if gradients.get(name) is not None}
