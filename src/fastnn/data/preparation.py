"""What is done to arrays before training: a part held out, and columns brought to one scale."""

import operator

import numpy as np

from fastnn._checks import as_float, check_choice

__all__ = ["Normalizer", "split"]


def split(*arrays, held_out=0.1, stratify=None, rng=None):
    """Divide the rows of arrays at random into those to train on and those held out.

    Parameters
    ----------
    *arrays : array_like
        With equally many rows.
    held_out : float or int
        A share of the rows between 0 and 1, or their number.
    stratify : array_like (n,), optional
        Classes: each one is divided in the same proportion, to within one row.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    train, held_out : tuple of ndarray
        Rows keep their order.

    Raises
    ------
    ValueError
        If numbers of rows differ, or no row would be left in one of the two.

    Examples
    --------
    >>> from fastnn.data import split
    >>> x, y = np.arange(12).reshape(6, 2), np.array([0, 1, 0, 1, 0, 0])
    >>> train, validation = split(x, y, held_out=3, stratify=y, rng=0)
    >>> [len(array) for array in train], sorted(validation[1].tolist())
    ([3, 3], [0, 0, 1])
    """
    if not arrays:
        raise ValueError("split needs at least one array")
    arrays = [np.asarray(array) for array in arrays]
    shapes = [array.shape for array in arrays]
    if any(array.ndim == 0 for array in arrays) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"arrays have shapes {', '.join(map(str, shapes))}, expected one first dimension for all")
    rows = shapes[0][0]
    count = round(held_out * rows) if isinstance(held_out, float | np.floating) else operator.index(held_out)
    if not 0 < count < rows:
        raise ValueError(f"held_out is {held_out}, which leaves {count} of {rows} rows, expected some in either part")
    rng = np.random.default_rng(rng)
    if stratify is None:
        chosen = rng.permutation(rows)[:count]
    else:
        stratify = np.asarray(stratify)
        if stratify.shape != (rows,):
            raise ValueError(f"stratify has shape {stratify.shape}, expected ({rows},)")
        _, classes, sizes = np.unique(stratify, return_inverse=True, return_counts=True)
        # Each class gives what its share comes to, rounded down; those with the largest remainders give one more.
        exact = sizes * count / rows
        counts = exact.astype(int)
        counts[np.argsort(counts - exact, kind="stable")[: count - counts.sum()]] += 1
        order = rng.permutation(rows)
        members = [order[classes[order] == i] for i in range(len(sizes))]
        chosen = np.concatenate([rows[:n] for rows, n in zip(members, counts, strict=True)])
    held = np.zeros(rows, bool)
    held[chosen] = True
    return tuple(array[~held] for array in arrays), tuple(array[held] for array in arrays)


class Normalizer:
    """(x - shift) / scale, with a shift and a scale taken from training data alone, for all data alike.

    Parameters
    ----------
    x : array_like
        The training data.
    kind : {"standard", "range"}
        Mean 0 and standard deviation 1, or least value 0 and largest 1.
    axis : int, tuple of int or None
        Along which to take mean or range: 0 for each column of a table, (0, 2, 3) for each channel of images
        (N, C, H, W), None for one of all.

    Attributes
    ----------
    shift, scale : ndarray
        In float64. Where x is constant, up to rounding, the scale is 1 and so the result 0.

    Raises
    ------
    ValueError
        If x has no rows, or holds a number that is not finite.

    Examples
    --------
    >>> from fastnn.data import Normalizer
    >>> train = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> normalize = Normalizer(train)
    >>> normalize(train)
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> normalize(np.array([[2.0, 7.0]])), normalize.inverse([[0.0, 2.0]])
    (array([[0., 2.]]), array([[2., 7.]]))
    """

    def __init__(self, x, kind="standard", axis=0):
        check_choice(kind, ("standard", "range"), "kind")
        x = as_float(x, "x")
        if not x.size:
            raise ValueError(f"x has shape {x.shape}, expected at least one row")
        if not np.isfinite(x).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
            raise ValueError(f"x holds {x[at]} at {at}, expected finite numbers")
        if kind == "standard":
            self.shift = x.mean(axis, dtype=np.float64, keepdims=True)
            self.scale = np.sqrt(np.mean((x - self.shift) ** 2, axis, keepdims=True))
        else:
            self.shift = x.min(axis, keepdims=True).astype(np.float64)
            self.scale = x.max(axis, keepdims=True) - self.shift
        self.scale[self.scale <= 10 * np.finfo(x.dtype).eps * abs(self.shift)] = 1.0

    def __call__(self, x):
        """Return x normalised, in its own dtype (float64 for integers)."""
        x = as_float(x, "x")
        return ((x - self.shift) / self.scale).astype(x.dtype, copy=False)

    def inverse(self, y):
        """Return what, normalised, is y."""
        y = as_float(y, "y")
        return (y * self.scale + self.shift).astype(y.dtype, copy=False)

    def __repr__(self):
        return f"Normalizer of shape {self.shift.shape}"
