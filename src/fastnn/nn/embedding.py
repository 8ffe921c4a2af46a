"""Rows of a table by index: Embedding."""

import operator

import numpy as np

from fastnn._backend import functions as F
from fastnn.nn.module import Module, Parameter, positive, real_dtype

__all__ = ["Embedding"]


class Embedding(Module):
    """y[...] = weight[x[...]], for integers x of any shape.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int or None
        A row that starts at 0 and gets no gradient; negative counts from the end.
    rng : numpy.random.Generator, int or None
        Draws the weight from N(0, 1), as PyTorch does.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter
        Of shape (num_embeddings, embedding_dim).

    Raises
    ------
    IndexError
        By a call, if x holds an index outside 0..num_embeddings-1.

    Examples
    --------
    >>> layer = Embedding(4, 2, rng=0)
    >>> y, back = layer.vjp(np.array([3, 1, 3]))
    >>> back(np.ones_like(y)) is None
    True
    >>> layer.weight.grad
    array([[0., 0.],
           [1., 1.],
           [0., 0.],
           [2., 2.]], dtype=float32)
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, *, rng=None, dtype=np.float32):
        self.num_embeddings = n = positive("num_embeddings", num_embeddings)
        self.embedding_dim = positive("embedding_dim", embedding_dim)
        if padding_idx is not None:
            padding_idx = operator.index(padding_idx)
            if not -n <= padding_idx < n:
                raise ValueError(f"padding_idx is {padding_idx}, expected from {-n} to {n - 1}")
            padding_idx %= n
        self.padding_idx = padding_idx
        self.weight = Parameter(
            np.random.default_rng(rng).standard_normal((n, embedding_dim)).astype(real_dtype(dtype))
        )
        if padding_idx is not None:
            self.weight.value[padding_idx] = 0

    @classmethod
    def _sizes(cls, shapes):
        rows, columns = shapes["weight"]
        return {"num_embeddings": rows, "embedding_dim": columns}

    def __call__(self, x):
        return F.embedding_lookup(self.weight.value, x)

    def vjp(self, x, *, training=True):
        weight = self.weight

        def back(dy):
            weight.grad = F.embedding_lookup_backward(dy, x, self.num_embeddings, add_to=weight.grad)
            if self.padding_idx is not None:
                weight.grad[self.padding_idx] = 0

        return F.embedding_lookup(weight.value, x), back
