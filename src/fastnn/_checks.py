"""What both twins ask of their arguments: the dtype rule, the class axis, and errors that name the argument."""

import math
import operator
from typing import NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

_KEPT = {np.dtype(kind) for kind in "efd"}
_COMPUTED_IN = {np.dtype(kind) for kind in "fd"}
_BIASES = "b_ih", "b_hh"


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


def as_floats(**arrays):
    """Return the arrays in the dtype to compute in, those that are None as they are, and the result's dtype."""
    dtype = None
    for x in arrays.values():
        if x is None:
            continue
        if type(x) is not np.ndarray or (x.dtype is not dtype and dtype is not None):
            break
        dtype = x.dtype
    else:  # as they mostly are; the rest takes a microsecond
        if dtype in _COMPUTED_IN:
            return arrays.values(), dtype
    given = {name: as_float(x, name) for name, x in arrays.items() if x is not None}
    dtype = np.result_type(*given.values())
    kind = working(dtype)
    return [narrowed(given[name], kind) if name in given else None for name in arrays], dtype


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


def as_count(value, name, least=1):
    """Return value as an int, or raise unless it is a whole number of at least `least`."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, expected a whole number") from None
    if count < least:
        raise ValueError(f"{name} is {count}, expected at least {least}")
    if count >= 2**63:
        raise ValueError(f"{name} is {count}, expected less than 2**63")
    return count


def as_generator(rng, name="rng"):
    """Return a Generator for what draws again and again: the one given, or a fresh one for None."""
    if rng is None:
        return np.random.default_rng()
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{name} is {rng!r}, expected a numpy.random.Generator, since anything else would repeat the same draw"
        )
    return rng


def as_mask(mask, shape=None):
    """Return a mask of bool, broadcast to this shape if one is given."""
    mask = np.asarray(mask)
    if mask.dtype.kind != "b":
        raise TypeError(f"mask has dtype {mask.dtype}, expected bool")
    if shape is None or mask.shape == shape:
        return mask
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"mask has shape {mask.shape}, expected one that broadcasts to {shape}") from None


def as_bounds(lengths, n):
    """Return where runs of these lengths begin, and n, where the last of them ends."""
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths have dtype {lengths.dtype}, expected integers")
    check_shape(lengths, (lengths.size,), "lengths")
    if (lengths < 0).any():
        raise ValueError(f"lengths hold {lengths.min()}, expected numbers of at least 0")
    if (lengths > n).any():  # their sum may not fit either
        raise ValueError(f"lengths hold {lengths.max()}, expected numbers of at most {n}, the length of the axis")
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    if bounds[-1] != n:
        raise ValueError(f"lengths add up to {bounds[-1]}, expected {n}, the length of the axis")
    return bounds


def check_reduction(reduction, need_grad, grad_out, prediction, choices=("mean", "sum", "none")):
    """Raise unless a loss can be reduced so, and `grad_out` can take the gradient in the prediction."""
    check_choice(reduction, choices, "reduction")
    if grad_out is not None:
        if not need_grad:
            raise ValueError("grad_out is given, but need_grad is False")
        check_out(grad_out, prediction.shape, prediction.dtype, "grad_out")


def loss_arguments(prediction, target, names, *reduction):
    """Return the checked prediction and target of a loss of single numbers; the rest is as `check_reduction` takes it.

    `reduction` is that, need_grad, grad_out, and what else it may be.
    """
    prediction, target = as_float(prediction, names[0]), as_float(target, names[1])
    check_shape(target, prediction.shape, names[1])
    check_reduction(*reduction[:3], prediction, ("mean", "sum", "none", *reduction[3:]))
    return prediction, target


def as_factor(x, shape, dtype, name):
    """Return a factor of a loss, 1 for None, as an array of this shape and dtype."""
    x = narrowed(as_float(1.0 if x is None else x, name), dtype)
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {x.shape}, expected one that broadcasts to {shape}") from None


def as_positive(value, name, zero=False):
    """Return value as a float, or raise unless it is a number above 0, or 0 where that will do."""
    if not (value > 0 or (zero and value == 0)):
        raise ValueError(f"{name} is {value}, expected a number {'of at least' if zero else 'above'} 0")
    return float(value)


def cross_entropy_arguments(
    logits, targets, axis, weight, ignore_index, label_smoothing, reduction, need_grad, grad_out, name="logits"
):
    """Return the checked logits, targets, axis and weight of a cross entropy; `name` is what it calls the logits.

    Targets of the logits' shape are probabilities, others int64 indices; whether these are classes is still to be seen.
    """
    logits, targets = as_float(logits, name), np.asarray(targets)
    if ignore_index is not None:
        ignore_index = as_count(ignore_index, "ignore_index", least=np.iinfo(np.int64).min)
    axis = class_axis(axis, logits, name)
    rows, classes = logits.shape[:axis] + logits.shape[axis + 1 :], logits.shape[axis]
    if targets.shape == logits.shape:
        if ignore_index is not None:
            raise ValueError(f"ignore_index is {ignore_index}, but targets are probabilities, which have no index")
        targets = as_float(targets, "targets")
    elif targets.shape != rows:
        raise ValueError(
            f"targets have shape {targets.shape}, expected {rows} for class indices or {logits.shape} for probabilities"
        )
    elif targets.dtype.kind not in "iu":
        raise TypeError(f"targets of shape {rows} are class indices, expected integers and not {targets.dtype}")
    else:
        targets = targets.astype(np.int64, copy=False)
    if weight is not None:
        weight = as_float(weight, "weight")
        check_shape(weight, (classes,), "weight")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}, expected a number from 0 to 1")
    check_reduction(reduction, need_grad, grad_out, logits)
    return logits, targets, axis, weight


def check_update(param, grad, **state):
    """Raise unless an update can work in place: arrays of one shape, dtype and dense layout, none overlapping.

    Return the tuples (param, grad, ...) to work on: one, or of lists as many as these are long.
    """
    arrays = {"param": param, "grad": grad, **state}
    if not isinstance(param, (list, tuple)):
        _check_dense(arrays, "grad")
        return [tuple(arrays.values())]
    for name, several in arrays.items():
        if not isinstance(several, (list, tuple)) or len(several) != len(param):
            what = f"holds {len(several)} arrays" if isinstance(several, (list, tuple)) else "is not a list"
            raise ValueError(f"{name} {what}, expected {len(param)} arrays, as many as param")
    for i in range(len(param)):
        _check_dense({f"{name}[{i}]": several[i] for name, several in arrays.items()}, f"grad[{i}]")
    return list(zip(*arrays.values(), strict=True))


def _check_dense(arrays, source=None):
    """Raise unless an update can work in place on arrays, by name: the first is the parameter, `source` only read."""
    reference, param = next(iter(arrays.items()))
    for name, x in arrays.items():
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{name} is a {type(x).__name__}, expected a NumPy array, since updates work in place")
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} has dtype {x.dtype}, expected float32 or float64")
        if x.dtype != param.dtype:
            raise TypeError(f"{name} has dtype {x.dtype}, expected {param.dtype} as {reference} has")
        check_shape(x, param.shape, name)
        if not (x.flags.forc and x.flags.aligned):
            trouble = "aligned in memory" if x.flags.forc else "contiguous"
            raise ValueError(f"{name} is not {trouble}, expected a dense array, since updates work in place")
        if (x.flags.c_contiguous, x.flags.f_contiguous) != (param.flags.c_contiguous, param.flags.f_contiguous):
            raise ValueError(f"{name} is in {'C' if x.flags.c_contiguous else 'Fortran'} order and {reference} is not")
        if name != source and not x.flags.writeable:
            raise ValueError(f"{name} is read-only, expected an array to update in place")
    _check_apart(arrays)


def _check_apart(arrays):
    """Raise ValueError if two of the arrays overlap."""
    names = list(arrays)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if np.may_share_memory(arrays[first], arrays[second]):
                raise ValueError(f"{first} and {second} overlap in memory, expected separate arrays")


def check_sparse_update(param, rows, grad_rows, **state):
    """Return the rows as int64, or raise unless an update of those rows of param and its state can work in place."""
    _check_dense({"param": param, **state})
    if param.ndim != 2 or not param.flags.c_contiguous:
        raise ValueError(f"param has shape {param.shape}, expected a matrix in C order")
    if not isinstance(grad_rows, np.ndarray) or grad_rows.dtype != param.dtype:
        kind = grad_rows.dtype if isinstance(grad_rows, np.ndarray) else type(grad_rows).__name__
        raise TypeError(f"grad_rows is of {kind}, expected an array of {param.dtype} as param is")
    rows = row_indices(rows, len(param), "rows")
    check_shape(rows, (rows.size,), "rows")
    check_shape(grad_rows, (len(rows), param.shape[1]), "grad_rows")
    _check_apart({"param": param, "rows": rows, "grad_rows": grad_rows, **state})
    return rows


def check_arrays(arrays, name):
    """Raise unless all of these are NumPy arrays of float32 or float64 that may be written to."""
    for i, x in enumerate(arrays):
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{name}[{i}] is a {type(x).__name__}, expected a NumPy array")
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name}[{i}] has dtype {x.dtype}, expected float32 or float64")
        if not x.flags.writeable:
            raise ValueError(f"{name}[{i}] is read-only")


def check_rate(name, value):
    """Raise ValueError unless a rate is a finite number of at least 0."""
    try:
        right = bool(0 <= value < math.inf)
    except (TypeError, ValueError):  # no number, or several
        right = False
    if not right:
        raise ValueError(f"{name} is {value!r}, expected at least 0 and finite")


def check_limit(name, value):
    """Raise ValueError unless a limit is a number of at least 0."""
    if not value >= 0:
        raise ValueError(f"{name} is {value}, expected at least 0")


def check_pairs(**options):
    """Raise ValueError unless the array that an option needs is there exactly when that option is set."""
    for option, (value, name, array) in options.items():
        if bool(value) != (array is not None):
            raise ValueError(f"{name} is needed with {option} and only then, but {option} is {value}")


def check_momentum(dampening, nesterov, ema, step):
    """Raise unless the options of momentum go together."""
    if dampening and (nesterov or ema):
        option = "nesterov" if nesterov else "ema"
        raise ValueError(f"dampening is {dampening}, expected 0 with {option}=True")
    if step is not None:
        as_count(step, "step")


def row_indices(indices, rows, name="indices"):
    """Return integer indices as int64, each from 0 to rows - 1, else IndexError; NumPy's negative indices are none."""
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{name} have dtype {indices.dtype}, expected integers")
    wrong = (indices < 0) | (indices >= rows)
    if wrong.any():
        raise IndexError(f"{name} hold {indices[wrong].flat[0]}, which is not among the {rows} rows")
    return indices.astype(np.int64, copy=False)


def row_number(name, index, n):
    """Return the number of one of n rows, counted from 0, for one that may be negative; None stays None."""
    if index is None:
        return None
    index = operator.index(index)
    if not -n <= index < n:
        raise ValueError(f"{name} is {index}, expected from {-n} to {n - 1}")
    return index % n


def bag_arguments(weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx):
    """Return weight, indices, the bounds of the bags among them, their weights in one row, whether to average, padding.

    Bag b holds the indices from bounds[b] to bounds[b + 1]; the padding is -1 where there is none. Whether the indices
    are rows of the weight is still to be seen.
    """
    weight, indices = as_float(weight, "weight"), np.asarray(indices)
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {weight.shape}, expected (num_embeddings, embedding_dim)")
    check_choice(mode, ("mean", "sum"), "mode")
    if offsets is None:
        if indices.ndim != 2:
            raise ValueError(f"indices have shape {indices.shape}, expected (bags, length) where offsets is None")
        if include_last_offset:
            raise ValueError("include_last_offset is True, but offsets is None")
        bags, length = indices.shape
        bounds = np.arange(0, bags * length + 1, length) if length else np.zeros(bags + 1, np.int64)
    else:
        if indices.ndim != 1:
            raise ValueError(f"indices have shape {indices.shape}, expected (n,) with offsets")
        offsets = np.asarray(offsets)
        if offsets.dtype.kind not in "iu":
            raise TypeError(f"offsets have dtype {offsets.dtype}, expected integers")
        if offsets.ndim != 1 or (include_last_offset and not len(offsets)):
            raise ValueError(
                f"offsets have shape {offsets.shape}, expected one dimension, and a last offset if included"
            )
        bounds = offsets if include_last_offset else np.append(offsets, len(indices))
        bounds = bounds.astype(np.int64, copy=False)
        if bounds[0] != 0 or bounds[-1] > len(indices) or (bounds[1:] < bounds[:-1]).any():
            raise ValueError(f"offsets are {offsets}, expected them to rise from 0 to at most {len(indices)}")
    if per_sample_weights is not None:
        per_sample_weights = as_float(per_sample_weights, "per_sample_weights")
        check_shape(per_sample_weights, indices.shape, "per_sample_weights")
        if mode != "sum":
            raise ValueError(f"per_sample_weights are given, but mode is {mode!r}, expected 'sum'")
        per_sample_weights = per_sample_weights.reshape(-1)
    padding = row_number("padding_idx", padding_idx, len(weight))
    return weight, indices, bounds, per_sample_weights, mode == "mean", -1 if padding is None else padding


def check_rows_of_values(rows, values):
    """Return rows as int64 (n,) and values (n, dim) as float16, float32 or float64."""
    rows, values = row_indices(rows, np.iinfo(np.int64).max, "rows"), as_float(values, "values")
    check_shape(rows, (rows.size,), "rows")
    if values.ndim != 2 or len(values) != len(rows):
        raise ValueError(f"values have shape {values.shape}, expected ({len(rows)}, dim), a row for each of rows")
    return rows, values


def _ready(arrays):
    """Return whether the arguments of a cell are float32 or float64 arrays, all alike: the case that must be quick."""
    dtype = getattr(arrays["w_hh"], "dtype", None)
    if dtype not in _COMPUTED_IN:
        return False
    for name, x in arrays.items():
        if (type(x) is not np.ndarray or x.dtype is not dtype) and (x is not None or name not in _BIASES):
            return False
    return True


def recurrent_operands(gates, **arrays):
    """Return the arguments of a cell in the dtype to compute in, absent biases as None, and the results' dtype.

    w_hh (gates * H, H) tells H; x is (B, I) or (T, B, I), states are (B, H), biases (gates * H).
    """
    ready = _ready(arrays)
    if not ready:
        arrays = {k: None if v is None and k in _BIASES else as_float(v, k) for k, v in arrays.items()}
    ndim = 3 if "h0" in arrays else 2
    x, w_hh = arrays["x"], arrays["w_hh"]
    if x.ndim != ndim:
        raise ValueError(f"x has shape {x.shape}, expected {'(T, B, I)' if ndim == 3 else '(B, I)'}")
    if w_hh.ndim != 2 or w_hh.shape[0] != gates * w_hh.shape[1]:
        raise ValueError(f"w_hh has shape {w_hh.shape}, expected {'(H, H)' if gates == 1 else f'({gates} * H, H)'}")
    (batch, inputs), hidden = x.shape[-2:], w_hh.shape[1]
    shapes = {"x": x.shape, "w_ih": (gates * hidden, inputs), "w_hh": w_hh.shape}
    shapes["b_ih"] = shapes["b_hh"] = (gates * hidden,)
    state = batch, hidden
    for name, value in arrays.items():
        if value is not None and value.shape != shapes.get(name, state):
            check_shape(value, shapes.get(name, state), name)
    if ready:
        return arrays, x.dtype
    dtype = np.result_type(*(value for value in arrays.values() if value is not None))
    kind = working(dtype)
    return {name: value if value is None else narrowed(value, kind) for name, value in arrays.items()}, dtype


def check_lengths(lengths, steps, batch, of="x"):
    """Return the lengths as int64, each from 0 to the number of steps; all of them where lengths is None."""
    if lengths is None:
        return np.full(batch, steps, np.int64)
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths have dtype {lengths.dtype}, expected integers")
    check_shape(lengths, (batch,), "lengths")
    wrong = (lengths < 0) | (lengths > steps)
    if wrong.any():
        raise ValueError(f"lengths hold {lengths[wrong][0]}, expected numbers from 0 to the {steps} steps of {of}")
    return lengths.astype(np.int64, copy=False)


@np.errstate(all="ignore")
def _narrowed(x, dtype):
    return x.astype(dtype)


def narrowed(x, dtype):
    """Return x in a dtype that it may not fit, without a warning."""
    return x if x.dtype == dtype else _narrowed(x, dtype)


def as_gradient(gradient, shape, dtype, name):
    """Return the gradient of a result as an array of this shape and dtype; None is zeros."""
    if gradient is None:
        return np.zeros(shape, dtype)
    if type(gradient) is not np.ndarray or gradient.dtype is not dtype:
        gradient = narrowed(as_float(gradient, name), dtype)
    check_shape(gradient, shape, name)
    return gradient


class NormCache(NamedTuple):
    """What the gradients of a normalization need; `mean` and `rstd`, 1 / sqrt(variance + eps), are for all to read."""

    maker: str
    x: np.ndarray
    weight: np.ndarray | None
    bias: np.ndarray | None
    mean: np.ndarray | None  # None: nothing was subtracted
    rstd: np.ndarray
    fixed: bool  # the statistics were given, not taken from x
    dtype: np.dtype


def check_cache(cache, maker):
    """Raise TypeError unless this is the cache of the function of that name."""
    made = getattr(cache, "maker", None)
    if made != maker:
        raise TypeError(f"cache is {f'of {made}' if made else f'a {type(cache).__name__}'}, expected that of {maker}")


def check_eps(eps):
    """Return eps as a number of 0 or more."""
    eps = float(eps)
    if not eps >= 0:
        raise ValueError(f"eps is {eps}, expected 0 or more")
    return eps


def row_operands(x, weight, bias=None):
    """Return the arguments in the dtype to compute in, the shape of the axes to normalise over, and the result's dtype.

    Those axes are the last ones of x, as many as weight, or else bias, has; one where both are None.
    """
    (x, weight, bias), dtype = as_floats(x=x, weight=weight, bias=bias)
    shape = x.shape[-1:] if weight is None and bias is None else bias.shape if weight is None else weight.shape
    if not shape or x.shape[-len(shape) :] != shape:
        expected = ", ".join(map(str, shape)) if shape else "features"
        raise ValueError(f"x has shape {x.shape}, expected (..., {expected})")
    if bias is not None:
        check_shape(bias, shape, "bias")
    return x, weight, bias, shape, dtype


def channel_operands(x, running_mean, running_var, weight, bias, training, momentum):
    """Return the arguments of `batch_norm` in the dtype to compute in, and the result's dtype.

    The running statistics come as they are for training, which writes into them, and as float64 otherwise.
    """
    (x, weight, bias), dtype = as_floats(x=x, weight=weight, bias=bias)
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}, expected (N, C, ...)")
    channels = x.shape[1:2]
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.shape != channels:
            check_shape(value, channels, name)
    absent = "running_mean" if running_mean is None else "running_var" if running_var is None else None
    if absent and not (training and running_mean is running_var):
        raise ValueError(f"{absent} is None, expected an array{' unless both are None' if training else ''}")
    running = {"running_mean": running_mean, "running_var": running_var}
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}, expected a number from 0 to 1")
    if training:
        if 0 < channels[0] > x.size // 2:
            raise ValueError(f"x has shape {x.shape}, expected at least two values a channel to train on")
        for name, value in running.items():
            if value is not None:
                check_out(value, channels, x.dtype, name)
        if not absent and np.may_share_memory(running_mean, running_var):
            raise ValueError("running_mean and running_var overlap in memory, expected separate arrays")
    else:
        for name, value in running.items():
            running[name] = value = as_float(value, name).astype(np.float64)
            if value.shape != channels:
                check_shape(value, channels, name)
    return x, *running.values(), weight, bias, dtype


SCORES = ("dot", "scaled_dot", "general", "additive")


def attention_operands(score, lengths, **arrays):
    """Return the arguments of `attention_forward` in the dtype to compute in, the lengths, and the result's dtype.

    query is (B, Q) or (T, B, Q), keys (S, B, K), values (S, B, V), w_query (A, Q), w_keys (A, K), v and bias (A,); for
    the general score A is Q, and without its matrix query or keys have A features already.
    """
    check_choice(score, SCORES, "score")
    taken = {"general": ("w_keys",), "additive": ("w_query", "w_keys", "v", "bias")}.get(score, ())
    needed = {"general": "w_keys", "additive": "v"}.get(score)
    for name in ("w_query", "w_keys", "v", "bias"):
        if arrays[name] is not None and name not in taken:
            raise ValueError(f"{name} is given, but score={score!r} has no use for it")
        if arrays[name] is None and name == needed:
            raise ValueError(f"{name} is None, expected an array with score={score!r}")
    converted, dtype = as_floats(**arrays)
    arrays = dict(zip(arrays, converted, strict=True))
    query, keys, values = arrays["query"], arrays["keys"], arrays["values"]
    if query.ndim not in (2, 3):
        raise ValueError(f"query has shape {query.shape}, expected (B, Q) for one step or (T, B, Q) for a sequence")
    batch, features = query.shape[-2:]
    if keys.ndim != 3 or keys.shape[1] != batch:
        raise ValueError(f"keys have shape {keys.shape}, expected (S, {batch}, K)")
    if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
        raise ValueError(f"values have shape {values.shape}, expected ({len(keys)}, {batch}, V)")
    size = arrays["v"].size if score == "additive" else features
    shapes = {"w_query": (size, features), "w_keys": (size, keys.shape[2]), "v": (size,), "bias": (size,)}
    for name, shape in shapes.items():
        if arrays[name] is not None:
            check_shape(arrays[name], shape, name)
    if arrays["w_query"] is None and features != size:
        raise ValueError(f"query has shape {query.shape}, expected {size} features")
    if arrays["w_keys"] is None and keys.shape[2] != size:
        raise ValueError(f"keys have shape {keys.shape}, expected {size} features")
    return arrays, check_lengths(lengths, len(keys), batch, "keys"), dtype


def check_probability(p):
    """Raise ValueError unless p is a probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}, expected a probability from 0 to 1")


def dropout_arguments(x, p, rng, shared_axes):
    """Return x as floats, and the shape of its mask, whose shared axes have the length 1."""
    x = as_float(x, "x")
    check_probability(p)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng is {rng!r}, expected a numpy.random.Generator: anything else would repeat one mask in every call"
        )
    shared = normalize_axis_tuple(shared_axes, x.ndim, "shared_axes")
    return x, tuple(1 if axis in shared else size for axis, size in enumerate(x.shape)) if shared else x.shape


def mask_argument(mask, x):
    """Return the mask of a dropout of x, or raise unless it is one, of its shape or with lengths of 1."""
    mask = np.asarray(mask)
    if mask.shape != x.shape and (
        mask.ndim != x.ndim or any(m not in (1, n) for m, n in zip(mask.shape, x.shape, strict=True))
    ):
        raise ValueError(f"mask has shape {mask.shape}, expected {x.shape}, or 1 along shared axes")
    if mask.dtype != bool:
        raise TypeError(f"mask has dtype {mask.dtype}, expected bool")
    return mask


def weights_argument(weights):
    """Return weights as float64, scaled to a mean of 1, in an array of their own."""
    weights = as_float(weights, "weights").astype(np.float64)
    if weights.ndim != 1 or not weights.size:
        raise ValueError(f"weights have shape {weights.shape}, expected (n,) with n above 0")
    with np.errstate(all="ignore"):
        total = weights.sum()
        if not (weights.min() >= 0 and 0 < total < np.inf):
            raise ValueError("weights are not all finite and at least 0 with a sum above 0")
        if len(weights) / total == np.inf:
            weights /= weights.max()
            total = weights.sum()
        return weights * (len(weights) / total)


def word_ids(ids, name):
    """Return ids of words as a dense array of int32."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" and ids.size:
        raise TypeError(f"{name} have dtype {ids.dtype}, expected integers")
    if ids.dtype != np.int32 and ids.size and not (ids.min() >= 0 and ids.max() < 2**31):
        raise IndexError(f"{name} hold {ids.min() if ids.min() < 0 else ids.max()}, expected from 0 to 2^31 - 1")
    return np.require(ids, np.int32, ["C", "A"])


def _offsets(ends, name):
    ends = np.asarray(ends)
    if ends.dtype.kind not in "iu" and ends.size:
        raise TypeError(f"{name} have dtype {ends.dtype}, expected integers")
    if ends.ndim != 1:
        raise ValueError(f"{name} have shape {ends.shape}, expected one axis")
    return np.require(ends, np.int64, ["C", "A"])


def table_arguments(threshold, alias, size):
    """Return the checked arrays of a table, and the size of a sample as a shape."""
    threshold = np.require(as_float(threshold, "threshold"), np.float64, ["C", "A"])
    alias = word_ids(alias, "alias")
    if threshold.ndim != 1 or not threshold.size:
        raise ValueError(f"threshold has shape {threshold.shape}, expected (n,) with n above 0")
    check_shape(alias, threshold.shape, "alias")
    if alias.max() >= len(alias) or alias.min() < 0:
        wrong = alias.min() if alias.min() < 0 else alias.max()
        raise IndexError(f"alias holds {wrong}, which is not among the {len(alias)} places")
    sizes = size if isinstance(size, tuple) else (size,)
    return threshold, alias, tuple(as_count(n, "size", least=0) for n in sizes)


def windows_arguments(tokens, ends, keep):
    """Return the checked ids, ends of sentences, and probabilities of `context_windows`.

    Whether ids are among those of `keep` is still to be seen.
    """
    tokens, ends = word_ids(tokens, "tokens"), _offsets(ends, "ends")
    if tokens.ndim != 1:
        raise ValueError(f"tokens have shape {tokens.shape}, expected one axis")
    rising = np.diff(ends, prepend=0, append=len(tokens)) >= 0
    if not rising.all():
        raise ValueError(f"ends do not rise from 0 to {len(tokens)}, the number of tokens")
    if keep is not None:
        keep = np.require(as_float(keep, "keep"), np.float64, ["C", "A"])
        if keep.ndim != 1:
            raise ValueError(f"keep has shape {keep.shape}, expected one axis")
    return tokens, ends, keep


def step_arguments(vectors, output, inputs, bounds, targets, block):
    """Return the checked inputs, bounds, targets and block of a step that updates two tables in place.

    Whether inputs and targets are rows of the tables is still to be seen.
    """
    for name, table in (("vectors", vectors), ("output", output)):
        if not isinstance(table, np.ndarray):
            raise TypeError(f"{name} is a {type(table).__name__}, expected a NumPy array, to be updated in place")
        if table.dtype not in _COMPUTED_IN:
            raise TypeError(f"{name} has dtype {table.dtype}, expected float32 or float64")
        if table.ndim != 2 or table.shape[1] == 0 or (table.shape[1] > 1 and table.strides[1] != table.itemsize):
            raise ValueError(f"{name} has shape {table.shape}, expected a matrix whose rows lie densely")
        if not (table.flags.aligned and table.flags.writeable and table.strides[0] % table.itemsize == 0):
            raise ValueError(f"{name} is read-only or not aligned")
    if vectors.dtype != output.dtype:
        raise TypeError(f"vectors and output have dtypes {vectors.dtype} and {output.dtype}, expected the same")
    if vectors.shape[1] != output.shape[1]:
        raise ValueError(f"output has rows of {output.shape[1]} numbers, expected {vectors.shape[1]} as vectors have")
    if np.may_share_memory(vectors, output):
        raise ValueError("vectors and output share memory, expected two tables")
    inputs, targets, bounds = word_ids(inputs, "inputs"), word_ids(targets, "targets"), _offsets(bounds, "bounds")
    if inputs.ndim != 1:
        raise ValueError(f"inputs have shape {inputs.shape}, expected one axis")
    if targets.ndim != 2 or not targets.shape[1]:
        raise ValueError(f"targets have shape {targets.shape}, expected (windows, 1 + negatives)")
    if len(bounds) != len(targets) + 1 or bounds[0] != 0 or bounds[-1] != len(inputs) or (np.diff(bounds) < 0).any():
        raise ValueError(f"bounds do not rise from 0 to {len(inputs)}, the number of inputs, in {len(targets)} windows")
    return inputs, bounds, targets, as_count(block, "block")
