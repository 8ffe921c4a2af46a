"""Rows of a table by index: Embedding."""

import numpy as np

from fastnn._backend import functions as F
from fastnn._checks import check_choice, row_number
from fastnn.nn.module import Module, Parameter, SparseGrad, complaint, positive, real_array, real_dtype

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """A weight whose rows are looked up: what the two layers have in common."""

    def _make(self, num_embeddings, embedding_dim, padding_idx, sparse, freeze, rng, dtype):
        self.num_embeddings = positive("num_embeddings", num_embeddings)
        self.embedding_dim = positive("embedding_dim", embedding_dim)
        self.padding_idx, self.sparse = row_number("padding_idx", padding_idx, num_embeddings), bool(sparse)
        self.freeze = bool(freeze)
        weight = np.random.default_rng(rng).standard_normal((num_embeddings, embedding_dim))
        self.weight = Parameter(weight.astype(real_dtype(dtype)))
        if self.padding_idx is not None:
            self.weight.value[self.padding_idx] = 0

    @classmethod
    def from_vectors(cls, vectors, *, freeze=True, **options):
        """Return a layer with these vectors as its rows; `freeze` keeps its weight from getting a gradient.

        Parameters
        ----------
        vectors : array_like (num_embeddings, embedding_dim)
            Copied; float64 stays so, all else becomes float32.
        freeze : bool
        **options
            Of the constructor; the row of `padding_idx` is left as it is.

        Examples
        --------
        >>> from fastnn import nn
        >>> layer = nn.Embedding.from_vectors([[1.0, 2.0], [3.0, 4.0]])
        >>> layer(np.array([1]))
        array([[3., 4.]])
        """
        vectors = np.asarray(vectors)
        if vectors.dtype != np.float64:
            vectors = real_array(vectors, np.dtype(np.float32), "vectors")
        if vectors.ndim != 2:
            raise ValueError(f"vectors have shape {vectors.shape}, expected (num_embeddings, embedding_dim)")
        layer = cls(*vectors.shape, freeze=freeze, dtype=vectors.dtype, **options)
        layer.weight.value[...] = vectors
        return layer

    @classmethod
    def _sizes(cls, shapes):
        rows, columns = shapes["weight"]
        return {"num_embeddings": rows, "embedding_dim": columns}

    def _accumulate(self, rows, values):
        """Add the gradients of rows to that of the weight, but for the padding's."""
        weight = self.weight
        if self.freeze:
            return
        rows, values = np.asarray(rows, np.int64), real_array(values, weight.value.dtype, "dy")
        if values.shape != (*rows.shape, self.embedding_dim):
            raise complaint(self, f"dy has shape {values.shape}, expected {(*rows.shape, self.embedding_dim)}")
        rows, values = rows.reshape(-1), values.reshape(-1, self.embedding_dim)
        if self.sparse or self.padding_idx is not None:
            counted = rows != self.padding_idx  # a SparseGrad keeps the copies that this makes
            rows, values = rows.compress(counted), values.compress(counted, axis=0)
        gradient = SparseGrad(rows, values)
        if not self.sparse and not isinstance(weight.grad, np.ndarray):
            gradient = gradient.to_dense(self.num_embeddings)
        weight.accumulate(gradient)


class Embedding(_Table):
    """y[...] = weight[x[...]], for integers x of any shape.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int or None
        A row that starts at 0 and gets no gradient; negative counts from the end.
    sparse : bool
        Whether `weight.grad` becomes a `SparseGrad`, for optimisers that leave the rows of absent indices alone.
    freeze : bool
        Whether the weight gets no gradient, and `regularize.weights` leaves it out.
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

    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        padding_idx=None,
        *,
        sparse=False,
        freeze=False,
        rng=None,
        dtype=np.float32,
    ):
        self._make(num_embeddings, embedding_dim, padding_idx, sparse, freeze, rng, dtype)

    def __call__(self, x):
        return F.embedding_lookup(self.weight.value, x)

    def vjp(self, x, *, training=True):
        return F.embedding_lookup(self.weight.value, x), lambda dy: self._accumulate(x, dy)


class EmbeddingBag(_Table):
    """The mean or the sum of the rows of each bag of indices: `fastnn.embedding_bag`.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    mode : {"mean", "sum"}
    sparse : bool
        Whether `weight.grad` becomes a `SparseGrad`.
    freeze : bool
        Whether the weight gets no gradient, and `regularize.weights` leaves it out.
    include_last_offset : bool
        Whether offsets end with the end of the last bag.
    padding_idx : int or None
        An index that adds nothing to its bag; its row starts at 0 and gets no gradient. Negative counts from the end.
    rng : numpy.random.Generator, int or None
        Draws the weight from N(0, 1), as PyTorch does.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter
        Of shape (num_embeddings, embedding_dim).

    A call takes indices (bags, length), or (n,) with `offsets`, and `per_sample_weights` for sums; `back(dy)` returns
    the gradient of those weights, None without.

    Examples
    --------
    >>> layer = EmbeddingBag(4, 2, mode="sum", rng=0)
    >>> y, back = layer.vjp(np.array([3, 1, 3]), offsets=np.array([0, 1]))
    >>> y.shape, back(np.ones_like(y)) is None
    ((2, 2), True)
    >>> layer.weight.grad
    array([[0., 0.],
           [1., 1.],
           [0., 0.],
           [2., 2.]], dtype=float32)
    """

    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        *,
        mode="mean",
        sparse=False,
        freeze=False,
        include_last_offset=False,
        padding_idx=None,
        rng=None,
        dtype=np.float32,
    ):
        check_choice(mode, ("mean", "sum"), "mode")
        self.mode, self.include_last_offset = mode, bool(include_last_offset)
        self._make(num_embeddings, embedding_dim, padding_idx, sparse, freeze, rng, dtype)

    def _options(self, per_sample_weights):
        names = ("mode", "include_last_offset", "padding_idx")
        return {name: getattr(self, name) for name in names} | {"per_sample_weights": per_sample_weights}

    def __call__(self, x, offsets=None, per_sample_weights=None):
        return F.embedding_bag(self.weight.value, x, offsets, **self._options(per_sample_weights))

    def vjp(self, x, offsets=None, per_sample_weights=None, *, training=True):
        weight, options = self.weight.value, self._options(per_sample_weights)

        def back(dy):
            gradients = F.embedding_bag_backward(dy, weight, x, offsets, **options)
            self._accumulate(x, gradients["rows"])
            return gradients.get("per_sample_weights")

        return F.embedding_bag(weight, x, offsets, **options), back
