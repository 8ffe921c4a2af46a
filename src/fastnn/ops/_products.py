"""The product of a layer: not public, since NumPy has all but its speed."""

import numpy as np

from fastnn._kernels import gemm
from fastnn.ops._arrays import by_dtype, dense

__all__ = ["affine"]

LARGE = 1 << 29  # multiply-adds from which on BLAS is as quick as our own product, which adds the bias on the way

_matmul = by_dtype(gemm.matmul)


def affine(x, weight, bias):
    """Return x @ weight.T + bias for matrices of one dtype; bias may be None."""
    if x.size * len(weight) < LARGE:
        y = np.empty((len(x), len(weight)), x.dtype)
        _matmul[x.dtype](y, dense(x), dense(weight).T, bias)
        return y
    with np.errstate(all="ignore"):
        y = x.dot(weight.T)
        if bias is not None:
            y += bias
    return y
