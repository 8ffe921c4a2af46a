"""How the arrays of a call reach a kernel: by dtype, as rows, dense and aligned."""

import math

import numpy as np

from fastnn._checks import narrowed


def by_dtype(kernel):
    """Return the two specialisations of a kernel, keyed by dtype: picking one here saves the call's own search."""
    return {np.dtype(np.float32): kernel["float"], np.dtype(np.float64): kernel["double"]}


_DENSE = 0x101  # NumPy's flags C_CONTIGUOUS and ALIGNED


def dense(x):
    """Return x, or a copy of it in C order if it does not lie so already."""
    return x if x.flags.num & _DENSE == _DENSE else x.copy()


def rows(x, axis=-1):
    """Return x as a dense matrix with `axis` last, a view where x lies so already."""
    if axis not in (-1, x.ndim - 1):
        x = np.moveaxis(x, axis, -1)
    return dense(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def room(out, axis, like, *others):
    """Return a matrix for the result of a kernel that reads `like`, shaped as that: `out` as rows where it serves.

    It does when it lies densely, holds `like` itself or nothing of it, and nothing of the other inputs.
    """
    if out is not None and out.dtype == like.dtype and axis == out.ndim - 1 and out.flags.carray:
        apart = not np.may_share_memory(out, like) or _address(out) == _address(like)
        if apart and not any(np.may_share_memory(out, x) for x in others if x is not None):
            return out.reshape(like.shape)
    return np.empty(like.shape, like.dtype)


def finish(y, out, shape, axis, dtype):
    """Return a matrix of rows as an array of this shape with the rows along `axis`, in `out` if that is given."""
    if out is not None and np.may_share_memory(y, out):
        return out
    if axis == len(shape) - 1:
        y = y.reshape(shape)
    else:
        y = np.moveaxis(y.reshape(*shape[:axis], *shape[axis + 1 :], shape[axis]), -1, axis)
    if out is not None:
        assign(out, y)
        return out
    return np.asarray(narrowed(y, dtype), order="C")


@np.errstate(all="ignore")
def assign(out, y):
    """Write y into an array whose dtype it may not fit, without a warning."""
    out[...] = y


def _address(x):
    return x.__array_interface__["data"][0]
