"""The product of a layer: not public, since NumPy has all but its speed."""

from fastnn._kernels import gemm
from fastnn.reference import _products as twin

__all__ = ["affine", "affine_backward"]

LARGE = 1 << 29  # multiply-adds from which on BLAS is as quick as our own product, which adds the bias on the way


def affine(x, weight, bias):
    """Return x @ weight.T + bias for matrices of one dtype; bias may be None."""
    y = None
    if bias is not None and x.size * len(weight) < LARGE:
        y = gemm.affine(x, weight, bias)
    return twin.affine(x, weight, bias) if y is None else y


def affine_backward(dy, x, weight, need_dx=True):
    """Return dy @ weight, dy.T @ x and dy.sum(0): the gradients of x, or None if not needed, of weight and bias."""
    gradients = None
    if x.size * len(weight) < LARGE:
        gradients = gemm.affine_backward(dy, x, weight, need_dx)
    return twin.affine_backward(dy, x, weight, need_dx) if gradients is None else gradients
