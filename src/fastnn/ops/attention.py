"""Attention: scores of queries against the keys of a source, their softmax, and the values that it weights."""

import math
from typing import NamedTuple

import numpy as np

from fastnn._checks import as_gradient, attention_operands, check_cache, narrowed
from fastnn._kernels import attention as kernels
from fastnn._kernels import gemm
from fastnn.ops._arrays import by_dtype, dense

__all__ = ["attention_backward", "attention_forward"]

_MATMUL = by_dtype(gemm.matmul)
_FORWARD = by_dtype(kernels.attention_forward)
_BACKWARD = by_dtype(kernels.attention_backward)

quiet = np.errstate(all="ignore")


class _Cache(NamedTuple):
    """What the backward pass needs; query and keys as they entered the scores, a single step as a sequence of one."""

    maker: str
    operands: dict
    query: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    lengths: np.ndarray
    scale: float
    score: str
    dtype: np.dtype


def _steps(x):
    """Return x (n, B, features), or a copy if the features do not lie densely; time or batch may come first."""
    flags, strides = x.flags, x.strides
    return x if flags.aligned and strides[2] == x.itemsize and min(strides) >= 0 else dense(x)


def _matrix(x):
    """Return x (n, B, features) as a dense matrix of n * B rows."""
    return dense(x).reshape(x.shape[0] * x.shape[1], x.shape[2])


def _product(x, matrix, bias=None):
    """Return x @ matrix + bias for x (n, B, features)."""
    y = np.empty((*x.shape[:2], matrix.shape[1]), x.dtype)
    _MATMUL[x.dtype](_matrix(y), _matrix(x), matrix, bias)
    return y


def _outer(x, y):
    """Return the sum over (n, B) of the outer products of x and y."""
    total = np.empty((x.shape[2], y.shape[2]), x.dtype)
    _MATMUL[x.dtype](total, _matrix(x).T, _matrix(y))
    return total


@quiet
def attention_forward(
    query, keys, values, *, score="scaled_dot", lengths=None, w_query=None, w_keys=None, v=None, bias=None
):
    """Return the context sum(weights * values), the weights softmax(scores) over the keys, and a cache.

    The score of a query q and a key k is

    - "dot": q . k
    - "scaled_dot": q . k / sqrt(features)
    - "general": q . (w_keys k)
    - "additive": v . tanh(w_query q + w_keys k + bias)

    Parameters
    ----------
    query : array_like (B, Q) or (T, B, Q)
        Of one step, such as a decoder's state, or of a sequence.
    keys : array_like (S, B, K)
        Of the source. K is Q for the dot scores.
    values : array_like (S, B, V)
    score : {"scaled_dot", "dot", "general", "additive"}
    lengths : array_like (B,) of integers, optional
        How many keys and values each sequence of the source has, in any order, 0 allowed. What stands past them is
        never read.
    w_keys : array_like
        (Q, K) for the general score. (A, K) for the additive one; None where the keys have A features already, as
        when a projection is reused from step to step.
    w_query : array_like (A, Q), optional
        For the additive score; None where the query has A features already.
    v : array_like (A,)
    bias : array_like (A,), optional
        Both for the additive score.

    Returns
    -------
    context : ndarray (B, V) or (T, B, V)
        Zeros where the length is 0.
    weights : ndarray (B, S) or (T, B, S)
        0 past the lengths. Both are of the dtype of the arguments, float64 for integers and bool; float16 is computed
        in float32.
    cache
        For `attention_backward`. It refers to the arguments, which must stay as they are until then.

    Raises
    ------
    ValueError
        If a shape does not fit, a length is negative or above S, the score is unknown, or an array is missing that it
        needs or given that it has no use for.
    TypeError
        If an array is complex or holds objects, or lengths are not integers.

    Notes
    -----
    The additive score is that of Bahdanau, Cho and Bengio, Neural machine translation by jointly learning to align and
    translate, 2015; the dot and general ones are those of Luong, Pham and Manning, Effective approaches to
    attention-based neural machine translation, 2015; the scaled one is that of Vaswani and others, Attention is all
    you need, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> keys = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[9.0, 9.0]]])
    >>> values = np.array([[[10.0]], [[20.0]], [[90.0]]])
    >>> context, weights, cache = fastnn.attention_forward([[2.0, 0.0]], keys, values, score="dot", lengths=[2])
    >>> weights.round(3)
    array([[0.881, 0.119, 0.   ]])
    >>> context.round(3)
    array([[11.192]])
    """
    a, lengths, dtype = attention_operands(
        score, lengths, query=query, keys=keys, values=values, w_query=w_query, w_keys=w_keys, v=v, bias=bias
    )
    a |= {name: dense(a[name]) for name in ("w_query", "w_keys", "v", "bias") if a[name] is not None}
    query, keys, values = a["query"], a["keys"], a["values"]
    query = query if query.ndim == 3 else query[None]
    scale = 1.0
    if score == "scaled_dot":
        scale = 1 / math.sqrt(max(1, query.shape[2]))
    elif score == "general":
        query = _product(query, a["w_keys"])
    elif score == "additive":
        if a["w_query"] is not None:
            query = _product(query, a["w_query"].T, a["bias"])
        elif a["bias"] is not None:
            query = query + a["bias"]
        if a["w_keys"] is not None:
            if lengths.min(initial=len(keys)) < len(keys):  # what stands past a length could be NaN
                keys = a["keys"] = np.where(np.arange(len(keys))[:, None, None] < lengths[:, None], keys, 0)
            keys = _product(keys, a["w_keys"].T)
    query, keys, values, lengths = _steps(query), _steps(keys), _steps(values), dense(lengths)
    context = np.empty((*query.shape[:2], values.shape[2]), query.dtype)
    weights = np.empty((*query.shape[:2], len(keys)), query.dtype)
    _FORWARD[query.dtype](context, weights, query, keys, values, lengths, scale, a["v"])
    cache = _Cache("attention_forward", a, query, keys, values, weights, lengths, scale, score, dtype)
    if a["query"].ndim == 2:
        context, weights = context[0], weights[0]
    return narrowed(context, dtype), narrowed(weights, dtype), cache


@quiet
def attention_backward(dcontext, dweights, cache):
    """Return the gradients of what `attention_forward` was given.

    With s the scores: dvalues = sum(weights * dcontext), g = dweights + dcontext . values,
    ds = weights * (g - sum(weights * g)), and from ds by the formula of the score.

    Parameters
    ----------
    dcontext, dweights : array_like or None
        The gradients of context and weights, of their shapes; None is zeros.
    cache
        What `attention_forward` returned.

    Returns
    -------
    dict
        From the names of the arguments, where they were given, to their gradients, of the dtype of the context. Those
        of keys and values are 0 past the lengths.

    Raises
    ------
    ValueError
        If a gradient has another shape than its result.
    TypeError
        If the cache is of another function, or a gradient is complex or holds objects.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> keys = values = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> context, weights, cache = fastnn.attention_forward([[0.0, 0.0]], keys, values, score="dot")
    >>> gradients = fastnn.attention_backward([[1.0, 0.0]], None, cache)
    >>> gradients["query"], gradients["values"][:, 0]
    (array([[ 0.25, -0.25]]), array([[0.5, 0. ],
           [0.5, 0. ]]))
    """
    check_cache(cache, "attention_forward")
    _, a, query, keys, values, weights, lengths, scale, score, dtype = cache
    steps = a["query"].shape[:-1]
    dcontext = as_gradient(dcontext, (*steps, values.shape[2]), query.dtype, "dcontext")
    dscores = np.array(as_gradient(dweights, (*steps, len(keys)), query.dtype, "dweights"), order="C")
    dquery, dkeys, dvalues = (np.empty(x.shape, x.dtype) for x in (query, keys, values))
    dv = None if a["v"] is None else np.zeros(keys.shape[1:], keys.dtype)
    _BACKWARD[query.dtype](
        dquery,
        dkeys,
        dvalues,
        dv,
        dscores.reshape(weights.shape),
        dense(dcontext).reshape(*weights.shape[:2], values.shape[2]),
        query,
        keys,
        values,
        weights,
        lengths,
        scale,
        a["v"],
    )
    gradients = {"query": dquery, "keys": dkeys, "values": dvalues}
    given = a["query"] if a["query"].ndim == 3 else a["query"][None]
    if score == "general":
        gradients["w_keys"] = _outer(given, dquery)
        gradients["query"] = _product(dquery, a["w_keys"].T)
    elif score == "additive":
        gradients["v"] = dv.sum(0)
        if a["bias"] is not None:
            gradients["bias"] = _matrix(dquery).sum(0)
        if a["w_query"] is not None:
            gradients["w_query"] = _outer(dquery, given)
            gradients["query"] = _product(dquery, a["w_query"])
        if a["w_keys"] is not None:
            gradients["w_keys"] = _outer(dkeys, a["keys"])
            gradients["keys"] = _product(dkeys, a["w_keys"])
    gradients["query"] = gradients["query"].reshape(a["query"].shape)
    return {name: narrowed(gradients[name], dtype) for name in a if name in gradients}
