"""Embeddings in plain NumPy: rows gathered by index, their gradients scattered back."""

import operator

import numpy as np

from fastnn._checks import as_float, check_out, check_rows_of_values, check_shape, row_indices, working

__all__ = ["coalesce", "embedding_lookup", "embedding_lookup_backward"]


def embedding_lookup(weight, indices):
    """Return weight[indices], one row an index."""
    weight = as_float(weight, "weight")
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {weight.shape}, expected (num_embeddings, embedding_dim)")
    return weight[row_indices(indices, len(weight))]


@np.errstate(all="ignore")
def embedding_lookup_backward(dy, indices, num_embeddings, *, add_to=None):
    """Return the gradient of `weight`: row k is the sum, in order, of the dy whose index is k, on top of `add_to`."""
    dy = as_float(dy, "dy")
    num_embeddings = operator.index(num_embeddings)
    if num_embeddings < 0:
        raise ValueError(f"num_embeddings is {num_embeddings}, expected 0 or more")
    indices = row_indices(indices, num_embeddings)
    if dy.ndim == 0:
        raise ValueError("dy has shape (), expected (..., embedding_dim)")
    check_shape(dy, (*indices.shape, dy.shape[-1]), "dy")
    shape = (num_embeddings, dy.shape[-1])
    if add_to is None:
        gradient = np.zeros(shape, working(dy.dtype))
    else:
        check_out(add_to, shape, dy.dtype, "add_to")
        gradient = add_to.astype(working(dy.dtype))
    np.add.at(gradient, indices.ravel(), dy.reshape(indices.size, shape[1]).astype(gradient.dtype))
    if add_to is None:
        return gradient.astype(dy.dtype, copy=False)
    add_to[...] = gradient
    return add_to


@np.errstate(all="ignore")
def coalesce(rows, values):
    """Return the distinct rows in the order in which they appear, and the sums of their values."""
    rows, values = check_rows_of_values(rows, values)
    distinct, first, number = np.unique(rows, return_index=True, return_inverse=True)
    order = first.argsort()
    sums = np.zeros((len(distinct), values.shape[1]), working(values.dtype))
    np.add.at(sums, order.argsort()[number], values.astype(sums.dtype))
    return distinct[order], sums.astype(values.dtype, copy=False)
