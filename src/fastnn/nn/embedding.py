"""Rows of a table by index: Embedding."""

import operator

import numpy as np

from fastnn._backend import functions as F
from fastnn.nn.module import Module, Parameter, SparseGrad, positive, real_array, real_dtype

__all__ = ["Embedding"]


class Embedding(Module):
    """y[...] = weight[x[...]], for integers x of any shape.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int or None
        A row that starts at 0 and gets no gradient; negative counts from the end.
    sparse : bool
        Whether `weight.grad` becomes a `SparseGrad`, for optimisers that leave the rows of absent indices alone.
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

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, *, sparse=False, rng=None, dtype=np.float32):
        self.num_embeddings = positive("num_embeddings", num_embeddings)
        self.embedding_dim = positive("embedding_dim", embedding_dim)
        self.padding_idx, self.sparse = row_number("padding_idx", padding_idx, num_embeddings), bool(sparse)
        self.freeze = False
        weight = np.random.default_rng(rng).standard_normal((num_embeddings, embedding_dim))
        self.weight = Parameter(weight.astype(real_dtype(dtype)))
        if self.padding_idx is not None:
            self.weight.value[self.padding_idx] = 0

    @classmethod
    def from_vectors(cls, vectors, *, freeze=True, padding_idx=None, sparse=False):
        """Return a layer with these vectors as its rows; `freeze` keeps its weight from getting a gradient.

        Parameters
        ----------
        vectors : array_like (num_embeddings, embedding_dim)
            Copied; float64 stays so, all else becomes float32.
        freeze : bool
        padding_idx, sparse
            As in the constructor; the row of padding_idx is left as it is.

        Examples
        --------
        >>> layer = Embedding.from_vectors([[1.0, 2.0], [3.0, 4.0]])
        >>> layer(np.array([1]))
        array([[3., 4.]])
        """
        vectors = np.asarray(vectors)
        if vectors.dtype != np.float64:
            vectors = real_array(vectors, np.dtype(np.float32), "vectors")
        if vectors.ndim != 2:
            raise ValueError(f"vectors have shape {vectors.shape}, expected (num_embeddings, embedding_dim)")
        layer = cls(*vectors.shape, padding_idx=padding_idx, sparse=sparse, dtype=vectors.dtype)
        layer.weight.value[...] = vectors
        layer.freeze = bool(freeze)
        return layer

    @classmethod
    def _sizes(cls, shapes):
        rows, columns = shapes["weight"]
        return {"num_embeddings": rows, "embedding_dim": columns}

    def __call__(self, x):
        return F.embedding_lookup(self.weight.value, x)

    def vjp(self, x, *, training=True):
        def back(dy):
            if not self.freeze:
                accumulate_rows(self, x, dy)

        return F.embedding_lookup(self.weight.value, x), back


def row_number(name, index, n):
    """Return the number of one of n rows, counted from 0, for one that may be negative or None."""
    if index is None:
        return None
    index = operator.index(index)
    if not -n <= index < n:
        raise ValueError(f"{name} is {index}, expected from {-n} to {n - 1}")
    return index % n


def accumulate_rows(layer, x, dy):
    """Add the gradients dy of the rows x to the gradient of the layer's weight, but for the padding's."""
    weight, padding = layer.weight, layer.padding_idx
    if layer.sparse:
        rows, values = np.asarray(x, np.int64).reshape(-1), real_array(dy, weight.value.dtype, "dy")
        values = values.reshape(len(rows), layer.embedding_dim)
        counted = slice(None) if padding is None else rows != padding
        weight.accumulate(SparseGrad(rows[counted], values[counted]))
    else:
        weight.grad = F.embedding_lookup_backward(dy, x, layer.num_embeddings, add_to=weight.grad)
        if padding is not None:
            weight.grad[padding] = 0
