"""What both twins ask of their arguments: the dtype rule, the class axis, and errors that name the argument."""

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

_KEPT = {np.dtype(kind) for kind in "efd"}


def as_float(x, name):
    """Return x as an array of float16, float32 or float64; integers and bool become float64, others a TypeError."""
    x = np.asarray(x)
    if x.dtype in _KEPT:
        return x
    if x.dtype.kind in "biu":
        return x.astype(np.float64)
    if x.dtype.newbyteorder("=") in _KEPT:
        return x.astype(x.dtype.newbyteorder("="))
    raise TypeError(f"{name} has dtype {x.dtype}, expected a real number type of at most 64 bits")


def working(dtype):
    """Return the dtype that a result of this dtype is computed in: float16 goes through float32."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def class_axis(axis, x, name):
    """Return the axis of x counted from 0."""
    return normalize_axis_index(axis, x.ndim, name)


def check_shape(x, shape, name):
    """Raise ValueError unless x has this shape."""
    if x.shape != shape:
        raise ValueError(f"{name} has shape {x.shape}, expected {shape}")


def check_out(out, shape, dtype, name="out"):
    """Raise unless `out` can take a result of this shape and dtype."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} is a {type(out).__name__}, expected a NumPy array")
    check_shape(out, shape, name)
    if out.dtype != dtype:
        raise TypeError(f"{name} has dtype {out.dtype}, expected {dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")


def check_choice(value, choices, name):
    """Raise ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")


def class_targets(targets, logits, axis, ignore_index):
    """Return the targets as int64 indices, or as probabilities with the classes on `axis`, as their shape tells."""
    targets = np.asarray(targets)
    rows = logits.shape[:axis] + logits.shape[axis + 1 :]
    if targets.shape == logits.shape:
        if ignore_index is not None:
            raise ValueError(f"ignore_index is {ignore_index}, but targets are probabilities, which have no index")
        return as_float(targets, "targets")
    if targets.shape != rows:
        raise ValueError(
            f"targets have shape {targets.shape}, expected {rows} for class indices or {logits.shape} for probabilities"
        )
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets of shape {rows} are class indices, expected integers and not {targets.dtype}")
    classes = logits.shape[axis]
    wrong = (targets < 0) | (targets >= classes)
    if ignore_index is not None:
        wrong &= targets != ignore_index
    if wrong.any():
        raise IndexError(f"targets hold {targets[wrong].flat[0]}, which is not among the {classes} classes")
    return targets.astype(np.int64, copy=False)


def check_update(param, grad, **state):
    """Raise unless an update can work in place: arrays of one shape, dtype and dense layout, none overlapping."""
    arrays = {"param": param, "grad": grad, **state}
    for name, x in arrays.items():
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{name} is a {type(x).__name__}, expected a NumPy array, since updates work in place")
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} has dtype {x.dtype}, expected float32 or float64")
        if x.dtype != param.dtype:
            raise TypeError(f"{name} has dtype {x.dtype}, expected {param.dtype} as param has")
        check_shape(x, param.shape, name)
        if not (x.flags.forc and x.flags.aligned):
            raise ValueError(f"{name} is not contiguous, expected a dense array, since updates work in place")
        if (x.flags.c_contiguous, x.flags.f_contiguous) != (param.flags.c_contiguous, param.flags.f_contiguous):
            raise ValueError(f"{name} is in {'C' if x.flags.c_contiguous else 'Fortran'} order and param is not")
        if name != "grad" and not x.flags.writeable:
            raise ValueError(f"{name} is read-only, expected an array to update in place")
    names = list(arrays)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if np.may_share_memory(arrays[first], arrays[second]):
                raise ValueError(f"{first} and {second} overlap in memory, expected separate arrays")
