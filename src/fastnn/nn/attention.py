"""Weighted means of a source, by how well its keys match a query: Attention."""

import numpy as np

from fastnn._backend import functions as F
from fastnn._checks import SCORES, check_choice
from fastnn.nn.module import Module, Parameter, complaint, positive, real_array, real_dtype

__all__ = ["Attention"]

quiet = np.errstate(all="ignore")


class Attention(Module):
    """context = sum(weights * values), weights = softmax(score(query, keys)) over the steps of a source, time first.

    `context, weights = attention(query, keys, values, lengths=lengths)`, and for training
    `(context, weights), back = attention.vjp(...)` with `dquery, dkeys, dvalues = back(dcontext, dweights=None)`.
    The query is (B, Q), one step of a decoder, or (T, B, Q); keys are (S, B, K), values (S, B, V). Without values these
    are the keys, whose gradient then holds both, and dvalues is None. `lengths` tells how many steps of the source
    count.

    Parameters
    ----------
    score : {"scaled_dot", "dot", "general", "additive"}
        q . k / sqrt(Q), q . k, q . (w_keys k), or v . tanh(w_query q + w_keys k + bias).
    query_size, key_size : int
        Q and K: for the general and the additive score, which have weights.
    hidden_size : int
        Of the additive score: the length of v.
    bias : bool
        Whether the additive score has one.
    rng : numpy.random.Generator, int or None
        Draws the weights from U(-1/sqrt(n), 1/sqrt(n)), n being the length of what they are multiplied with, as PyTorch
        does in a linear layer.
    dtype : float32 or float64
        Of the weights. Inputs are converted to it; where there are none, inputs keep theirs.

    Attributes
    ----------
    w_query, w_keys, v, bias : Parameter or None
        Of shapes (hidden_size, query_size), (hidden_size, key_size), (hidden_size,) and (hidden_size,). The general
        score has w_keys alone, of shape (query_size, key_size).

    Examples
    --------
    >>> attention = Attention("additive", query_size=3, key_size=4, hidden_size=8, rng=0)
    >>> attention
    Attention(score='additive', query_size=3, key_size=4, hidden_size=8)
    >>> rng = np.random.default_rng(0)
    >>> query, keys = rng.standard_normal((2, 3), np.float32), rng.standard_normal((5, 2, 4), np.float32)
    >>> (context, weights), back = attention.vjp(query, keys, lengths=[5, 2])
    >>> context.shape, weights.shape, weights[1, 2:]
    ((2, 4), (2, 5), array([0., 0., 0.], dtype=float32))
    >>> dquery, dkeys, _ = back(np.ones_like(context))
    >>> dquery.shape, dkeys.shape
    ((2, 3), (5, 2, 4))
    """

    def __init__(
        self,
        score="scaled_dot",
        query_size=None,
        key_size=None,
        hidden_size=None,
        bias=False,
        *,
        rng=None,
        dtype=np.float32,
    ):
        check_choice(score, SCORES, "score")
        sizes = {"query_size": query_size, "key_size": key_size, "hidden_size": hidden_size}
        wanted = {"general": 2, "additive": 3}.get(score, 0)
        for i, (name, size) in enumerate(sizes.items()):
            if i >= wanted and size is not None:
                raise ValueError(f"{name} is {size}, but score={score!r} has no use for it")
            setattr(self, name, positive(name, size) if i < wanted else None)
        if bias and score != "additive":
            raise ValueError(f"bias is {bias}, but score={score!r} has none")
        self.score = score
        rng, dtype = np.random.default_rng(rng), real_dtype(dtype)

        def draw(n, *shape):
            return Parameter(rng.uniform(-(n**-0.5), n**-0.5, shape).astype(dtype))

        self.w_query = self.w_keys = self.v = self.bias = None
        if score == "general":
            self.w_keys = draw(key_size, query_size, key_size)
        elif score == "additive":
            self.w_query, self.w_keys = draw(query_size, hidden_size, query_size), draw(key_size, hidden_size, key_size)
            self.v = draw(hidden_size, hidden_size)
            self.bias = draw(query_size, hidden_size) if bias else None

    def config(self):
        return super().config() | {"bias": self.bias is not None}

    @quiet
    def over(self, keys, values=None, *, lengths=None):
        """Return `attend(query) -> (context, weights)` over one source, for a decoder that asks it step after step.

        What the keys are multiplied with is done once; all else is as in a call of the layer.

        Parameters
        ----------
        keys : array_like (S, B, K)
        values : array_like (S, B, V), optional
        lengths : array_like (B,) of integers, optional

        Examples
        --------
        >>> attention = Attention("general", query_size=3, key_size=4, rng=0)
        >>> rng = np.random.default_rng(0)
        >>> query, keys = rng.standard_normal((2, 3), np.float32), rng.standard_normal((5, 2, 4), np.float32)
        >>> context, weights = attention.over(keys)(query)
        >>> np.allclose(context, attention(query, keys)[0], atol=1e-6)
        True
        """
        values = keys if values is None else values
        score, given = self.score, {}
        if self.w_keys is not None:
            dtype = self.w_keys.value.dtype
            keys, values = real_array(keys, dtype, "keys"), real_array(values, dtype, "values")
            if keys.shape[-1:] != (self.key_size,):
                raise complaint(self, f"keys has shape {keys.shape}, expected (..., {self.key_size})")
            keys = keys @ self.w_keys.value.T
            score = "dot" if score == "general" else score
        if score == "additive":
            parameters = {"w_query": self.w_query, "v": self.v, "bias": self.bias}
            given = {name: parameter.value for name, parameter in parameters.items() if parameter is not None}

        def attend(query):
            return F.attention_forward(query, keys, values, score=score, lengths=lengths, **given)[:2]

        return attend

    def vjp(self, query, keys, values=None, *, lengths=None, training=True):
        given = query, keys, values
        parameters = {name: getattr(self, name) for name in ("w_query", "w_keys", "v", "bias")}
        weights = {name: parameter.value for name, parameter in parameters.items() if parameter is not None}
        values = keys if values is None else values
        if self.w_keys is not None:
            names = ("query", "keys", "values")
            dtype = self.w_keys.value.dtype
            query, keys, values = (
                real_array(x, dtype, name) for name, x in zip(names, (query, keys, values), strict=True)
            )
            for name, x, size in (("query", query, self.query_size), ("keys", keys, self.key_size)):
                if x.shape[-1:] != (size,):
                    raise complaint(self, f"{name} has shape {x.shape}, expected (..., {size})")
        *results, cache = F.attention_forward(query, keys, values, score=self.score, lengths=lengths, **weights)
        integers = [x is None or np.asarray(x).dtype.kind != "f" for x in given]

        @quiet
        def back(dcontext, dweights=None):
            gradients = F.attention_backward(dcontext, dweights, cache)
            for name in weights:
                parameters[name].accumulate(gradients[name])
            if given[2] is None:
                gradients["keys"] += gradients["values"]
            inputs = (gradients[name] for name in ("query", "keys", "values"))
            return tuple(None if left_out else x for x, left_out in zip(inputs, integers, strict=True))

        return tuple(results), back
