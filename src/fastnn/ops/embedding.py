"""Embeddings: rows gathered by index, their gradients scattered back."""

import operator

import numpy as np

from fastnn._checks import (
    as_float,
    bag_arguments,
    check_out,
    check_rows_of_values,
    check_shape,
    narrowed,
    row_indices,
    working,
)
from fastnn._kernels import embedding as kernels
from fastnn.ops._arrays import by_dtype, dense

__all__ = [
    "coalesce",
    "embedding_bag",
    "embedding_bag_backward",
    "embedding_lookup",
    "embedding_lookup_backward",
]

_BACKWARD = by_dtype(kernels.embedding_lookup_backward)
_COALESCE = by_dtype(kernels.coalesce)
_BAG = by_dtype(kernels.embedding_bag)
_BAG_BACKWARD = by_dtype(kernels.embedding_bag_backward)


def _flat(indices, rows):
    """Return the indices as the kernels want them, which check their range, and their shape."""
    indices = np.asarray(indices)
    if indices.dtype.kind != "i":  # unsigned ones may not fit int64; others are an error
        indices = row_indices(indices, rows)
    return dense(indices.astype(np.int64, copy=False).reshape(-1)), indices.shape


def embedding_lookup(weight, indices):
    """Return weight[indices], one row an index.

    Parameters
    ----------
    weight : array_like (num_embeddings, embedding_dim)
    indices : array_like (...) of integers
        Each from 0 to num_embeddings - 1: negative ones do not count from the end.

    Returns
    -------
    ndarray (..., embedding_dim)
        A copy, of the dtype of `weight`; float64 for integers and bool.

    Raises
    ------
    IndexError
        If an index is out of range; the message names it.
    TypeError
        If the indices are not integers, or `weight` is complex or holds objects.
    ValueError
        If `weight` is not a matrix.

    Notes
    -----
    The product of a one-hot vector and a matrix is a row of the matrix: E.T @ onehot(k) = E[k] (word embeddings in
    Ng's course 5).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> weight = np.array([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
    >>> fastnn.embedding_lookup(weight, [2, 0])
    array([[2. , 2.5],
           [0. , 0.5]])
    """
    if type(weight) is type(indices) is np.ndarray:  # the most common layout goes straight to the kernel
        out = kernels.take_rows(weight, indices)
        if out is not None:
            return out
    weight = as_float(weight, "weight")
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {weight.shape}, expected (num_embeddings, embedding_dim)")
    rows, size = weight.shape
    indices, shape = _flat(indices, rows)
    out = np.empty((*shape, size), weight.dtype)
    if weight.strides[1] != weight.itemsize or size == 0:
        weight = np.ascontiguousarray(weight)
    kernels.embedding_lookup(
        out.reshape(len(indices), size).view(np.uint8) if size else np.empty((len(indices), 0), np.uint8),
        weight.view(np.uint8) if size else np.empty((rows, 0), np.uint8),
        indices,
    )
    return out


@np.errstate(all="ignore")
def embedding_lookup_backward(dy, indices, num_embeddings, *, add_to=None):
    """Return the gradient of `weight` in `embedding_lookup`: row k is the sum of the dy whose index is k.

    Parameters
    ----------
    dy : array_like (..., embedding_dim)
        The gradient of the result.
    indices : array_like (...) of integers
    num_embeddings : int
        The number of rows of `weight`.
    add_to : ndarray (num_embeddings, embedding_dim), optional
        A gradient, of the dtype of dy, to add to in place: only the rows that are named are touched.

    Returns
    -------
    ndarray (num_embeddings, embedding_dim)
        `add_to`, or a new array of the dtype of dy; rows that no index names are 0. Rows that several indices name
        are added one after the other, so the result is the same on every run.

    Raises
    ------
    IndexError
        If an index is out of range; nothing has been added then.
    TypeError
        If the indices are not integers, or an array is of another dtype than said.
    ValueError
        If a shape does not fit, or `add_to` is read-only.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> fastnn.embedding_lookup_backward(np.ones((3, 2)), [0, 2, 2], 4)
    array([[1., 1.],
           [0., 0.],
           [2., 2.],
           [0., 0.]])
    """
    dy = as_float(dy, "dy")
    num_embeddings = operator.index(num_embeddings)
    if num_embeddings < 0:
        raise ValueError(f"num_embeddings is {num_embeddings}, expected 0 or more")
    indices, shape = _flat(indices, num_embeddings)
    if dy.ndim == 0:
        raise ValueError("dy has shape (), expected (..., embedding_dim)")
    size = dy.shape[-1]
    check_shape(dy, (*shape, size), "dy")
    kind = working(dy.dtype)
    grad = add_to
    if add_to is not None:
        check_out(add_to, (num_embeddings, size), dy.dtype, "add_to")
    if add_to is None or kind != dy.dtype or not add_to.flags.carray or np.may_share_memory(add_to, dy):
        grad = np.zeros((num_embeddings, size), kind)
        if add_to is not None:
            grad[...] = add_to
    _BACKWARD[kind](grad, dense(dy.astype(kind, copy=False)).reshape(len(indices), size), indices)
    if add_to is None:
        return grad.astype(dy.dtype, copy=False)
    if grad is not add_to:
        add_to[...] = grad
    return add_to


@np.errstate(all="ignore")
def coalesce(rows, values):
    """Sum the values of equal rows, as in a gradient of an embedding that is kept as (rows, values).

    Parameters
    ----------
    rows : array_like of integers (n,)
        From 0 on.
    values : array_like (n, dim)

    Returns
    -------
    rows : ndarray of int64 (k,)
        The distinct rows, in the order in which they first appear.
    values : ndarray (k, dim)
        For each the sum of its values, added one after the other, of the dtype of `values`; float64 for integers.

    Raises
    ------
    IndexError
        If a row is negative.
    TypeError
        If rows are not integers, or values are complex or objects.
    ValueError
        If a shape does not fit.

    Notes
    -----
    As `torch.Tensor.coalesce`, but for the order. Takes time in proportion to n, by a hash table.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> rows, values = fastnn.coalesce([7, 2, 7], [[1.0], [2.0], [3.0]])
    >>> rows, values.ravel()
    (array([7, 2]), array([4., 2.]))
    """
    rows, values = check_rows_of_values(rows, values)
    kind = working(values.dtype)
    distinct, sums = np.empty(len(rows), np.int64), np.empty(values.shape, kind)
    count = _COALESCE[kind](distinct, sums, dense(rows), dense(values.astype(kind, copy=False)))
    return distinct[:count], sums[:count].astype(values.dtype, copy=False)


def embedding_bag(
    weight,
    indices,
    offsets=None,
    *,
    mode="mean",
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=None,
):
    """Return the mean or the sum of the rows of each bag of indices, without the rows in between.

    Parameters
    ----------
    weight : array_like (num_embeddings, embedding_dim)
    indices : array_like of integers (n,), or (bags, length) without offsets
        Each from 0 to num_embeddings - 1.
    offsets : array_like of integers (bags,), optional
        Where each bag begins among the indices; the first is 0. A bag may be empty.
    mode : {"mean", "sum"}
    per_sample_weights : array_like of the shape of the indices, optional
        What each row is multiplied by; for sums only.
    include_last_offset : bool
        Whether offsets end with the end of the last bag: (bags + 1,).
    padding_idx : int, optional
        An index that adds nothing to its bag, and does not count in its mean; negative ones count from the end.

    Returns
    -------
    ndarray (bags, embedding_dim)
        Of the dtype of weight; 0 for empty bags.

    Raises
    ------
    IndexError
        If an index is out of range.
    TypeError
        If indices or offsets are not integers, or weights complex or objects.
    ValueError
        If shapes do not fit, offsets do not rise from 0, or per_sample_weights are given for a mean.

    Notes
    -----
    The arguments are those of `torch.nn.functional.embedding_bag`. A bag of words is a mean of its words' vectors, as
    in continuous bag of words (Mikolov et al., arXiv:1301.3781).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> weight = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    >>> fastnn.embedding_bag(weight, [0, 2, 1, 1, 2], [0, 2], mode="sum")
    array([[ 4.,  6.],
           [ 8., 11.]])
    >>> fastnn.embedding_bag(weight, [[0, 2], [1, 1]])
    array([[2., 3.],
           [2., 3.]])
    """
    weight, indices, bounds, weights, mean, padding = bag_arguments(
        weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx
    )
    kind, (indices, _) = working(weight.dtype), _flat(indices, len(weight))
    if weights is not None:
        weights = dense(narrowed(weights, kind))
    out = np.empty((len(bounds) - 1, weight.shape[1]), kind)
    _BAG[kind](out, dense(narrowed(weight, kind)), indices, dense(bounds), mean, padding, weights)
    return narrowed(out, weight.dtype)


def embedding_bag_backward(
    dy,
    weight,
    indices,
    offsets=None,
    *,
    mode="mean",
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=None,
):
    """Return the gradients of the rows that `embedding_bag` took, and of their weights.

    Parameters
    ----------
    dy : array_like (bags, embedding_dim)
        The gradient of the result.
    weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx
        As given to `embedding_bag`.

    Returns
    -------
    dict
        "rows": the gradient of weight[indices], (n, embedding_dim), 0 for the padding: `nn.SparseGrad(indices, rows)`,
        or by `embedding_lookup_backward(rows, indices, num_embeddings)` the whole gradient of weight.
        "per_sample_weights": their gradient, of the shape of the indices, if they were given.

    Raises
    ------
    IndexError, TypeError, ValueError
        As `embedding_bag`, and if dy does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> weight, dy = np.ones((3, 2)), np.array([[1.0, 2.0], [3.0, 6.0]])
    >>> fastnn.embedding_bag_backward(dy, weight, [0, 2, 1, 1, 2], [0, 2])["rows"]
    array([[0.5, 1. ],
           [0.5, 1. ],
           [1. , 2. ],
           [1. , 2. ],
           [1. , 2. ]])
    """
    dy = as_float(dy, "dy")
    weight, indices, bounds, weights, mean, padding = bag_arguments(
        weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx
    )
    check_shape(dy, (len(bounds) - 1, weight.shape[1]), "dy")
    dtype = np.result_type(dy, weight)
    kind, (indices, shape) = working(dtype), _flat(indices, len(weight))
    rows, weights_grad = np.empty((len(indices), weight.shape[1]), kind), None
    if weights is not None:
        weights, weights_grad = dense(narrowed(weights, kind)), np.empty(len(indices), kind)
    weight = dense(narrowed(weight, kind))
    dy = dense(narrowed(dy, kind))
    _BAG_BACKWARD[kind](rows, dy, weight, indices, dense(bounds), mean, padding, weights, weights_grad)
    gradients = {"rows": narrowed(rows, dtype).reshape(*shape, weight.shape[1])}
    if weights is not None:
        gradients["per_sample_weights"] = narrowed(weights_grad, dtype).reshape(shape)
    return gradients
