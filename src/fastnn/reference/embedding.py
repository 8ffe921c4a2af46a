"""Embeddings in plain NumPy: rows gathered by index, their gradients scattered back."""

import operator

import numpy as np

from fastnn._checks import as_float, bag_arguments, check_out, check_rows_of_values, check_shape, row_indices, working

__all__ = [
    "coalesce",
    "embedding_bag",
    "embedding_bag_backward",
    "embedding_lookup",
    "embedding_lookup_backward",
]


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


def _factors(weight, indices, bounds, weights, mean, padding):
    """Return the indices that are in a bag, the number of that bag, and what the row is multiplied by in its result."""
    indices = row_indices(indices, len(weight)).reshape(-1)[: bounds[-1]]
    bags = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    counted = indices != padding
    if weights is not None:
        return indices, bags, weights[: len(indices)] * counted
    counts = np.bincount(bags, counted, len(bounds) - 1) if mean else np.ones(len(bounds) - 1)
    return indices, bags, counted / np.maximum(counts, 1)[bags]


@np.errstate(all="ignore")
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
    """y[b] = sum_i w_i * weight[indices[i]] for the i of bag b, with w_i = 1, given, or 1 / count; 0 for padding."""
    weight, indices, bounds, weights, mean, padding = bag_arguments(
        weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx
    )
    indices, bags, factors = _factors(weight, indices, bounds, weights, mean, padding)
    y = np.zeros((len(bounds) - 1, weight.shape[1]), working(weight.dtype))
    counted = indices != padding
    rows = (weight[indices] * factors[:, None]).astype(y.dtype)
    np.add.at(y, bags[counted], rows[counted])
    return y.astype(weight.dtype, copy=False)


@np.errstate(all="ignore")
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
    """For i of bag b the gradient of the row is w_i * dy[b], that of w_i the dot product of dy[b] and the row."""
    dy, shape = as_float(dy, "dy"), np.shape(indices)
    weight, indices, bounds, weights, mean, padding = bag_arguments(
        weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx
    )
    check_shape(dy, (len(bounds) - 1, weight.shape[1]), "dy")
    indices, bags, factors = _factors(weight, indices, bounds, weights, mean, padding)
    dtype, counted = np.result_type(dy, weight), indices != padding
    rows, weights_grad = np.zeros((*shape, weight.shape[1]), dtype), np.zeros(shape, dtype)
    spread = np.where(counted[:, None], dy[bags] * factors[:, None], 0)
    rows.reshape(np.size(weights_grad), weight.shape[1])[: len(indices)] = spread
    if weights is None:
        return {"rows": rows}
    weights_grad.reshape(-1)[: len(indices)] = np.where(counted, (dy[bags] * weight[indices]).sum(1), 0)
    return {"rows": rows, "per_sample_weights": weights_grad}
