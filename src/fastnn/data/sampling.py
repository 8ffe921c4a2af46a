"""Minibatches: rows of arrays, and the two ways to cut a text into windows."""

import math

import numpy as np

from fastnn._checks import as_count, as_generator

__all__ = ["batches", "consecutive_windows", "random_windows"]


class Passes:
    """What every sampler returns: `len` batches, gone through afresh each time it is iterated.

    `rng` draws their order, None if nothing does: its state when a pass begins decides all of it.
    """

    def __init__(self, length, one_pass, rng=None):
        self._length = length
        self._one_pass = one_pass
        self.rng = rng

    def __len__(self):
        return self._length

    def __iter__(self):
        return self._one_pass()


def batches(*arrays, size=32, shuffle=True, rng=None, drop_last=False):
    """Go through arrays in minibatches along their first axis.

    Parameters
    ----------
    *arrays : array_like
        One or more arrays with equally many rows.
    size : int
        Rows in a batch.
    shuffle : bool
        Draw a new order for each pass; without it the batches are slices, in order.
    rng : numpy.random.Generator, optional
        Where the orders come from; a fresh one when None.
    drop_last : bool
        Leave out the last batch when it is short.

    Returns
    -------
    iterable
        Yields a tuple with one piece of every array (the piece itself for a single array). It has a length and can
        be iterated again, in a new order.

    Raises
    ------
    TypeError
        If `rng` is not a Generator.
    ValueError
        If there is no array, the numbers of rows differ, or `size` is less than 1.

    Notes
    -----
    The seed notes on deep learning (key concepts, "mini-batch"): samples 1 to 1000, 1001 to 2000, and so on.

    Examples
    --------
    >>> from fastnn.data import batches
    >>> rows = batches([1, 2, 3, 4, 5], list("abcde"), size=2, shuffle=False)
    >>> len(rows)
    3
    >>> for numbers, letters in rows:
    ...     print(numbers, letters)
    [1 2] ['a' 'b']
    [3 4] ['c' 'd']
    [5] ['e']
    """
    if not arrays:
        raise ValueError("batches needs at least one array")
    arrays = [np.asarray(array) for array in arrays]
    shapes = [array.shape for array in arrays]
    if any(array.ndim == 0 for array in arrays) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"arrays have shapes {', '.join(map(str, shapes))}, expected one first dimension for all")
    size = as_count(size, "size")
    rng = as_generator(rng)
    rows = shapes[0][0]
    count = rows // size if drop_last else math.ceil(rows / size)

    def one_pass():
        order = rng.permutation(rows) if shuffle else None
        for start in range(0, count * size, size):
            picked = slice(start, start + size) if order is None else order[start : start + size]
            batch = tuple(array[picked] for array in arrays)
            yield batch if len(arrays) > 1 else batch[0]

    return Passes(count, one_pass, rng if shuffle else None)


def random_windows(tokens, num_steps, batch_size, *, offset=0, rng=None, drop_last=False):
    """Cut a text into windows that lie end to end, and deal them out in random order.

    Windows of one batch, and of batches that follow each other, are not neighbours in the text, so a recurrent state
    must start from zero in every batch.

    Parameters
    ----------
    tokens : array_like of int, shape (N,)
        The text as indices.
    num_steps : int
        T, the characters in a window.
    batch_size : int
        B, the windows in a batch.
    offset : int
        Characters left out at the start; another offset in each epoch moves the windows' borders.
    rng : numpy.random.Generator, optional
        Where the orders come from; a fresh one when None.
    drop_last : bool
        Leave out the last batch when it is short.

    Returns
    -------
    iterable
        Yields (x, y), both int64 of shape (T, B), time first; y is x one character later. Every one of the
        (N - offset - 1) // num_steps windows comes once a pass.

    Raises
    ------
    TypeError
        If `tokens` are not integers or `rng` is not a Generator.
    ValueError
        If the text is too short for one window, or a number is out of range.

    Notes
    -----
    "Random sampling" in section 5 of the seed notes on Dive into Deep Learning.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.data import random_windows
    >>> for x, y in random_windows(range(10), num_steps=3, batch_size=2, rng=np.random.default_rng(3)):
    ...     print(x.T.tolist(), y.T.tolist())
    [[6, 7, 8], [3, 4, 5]] [[7, 8, 9], [4, 5, 6]]
    [[0, 1, 2]] [[1, 2, 3]]
    """
    tokens, num_steps, batch_size, offset = _checked(tokens, num_steps, batch_size, offset)
    rng = as_generator(rng)
    examples = (len(tokens) - offset - 1) // num_steps
    if examples < 1:
        raise ValueError(
            f"tokens have length {len(tokens)}, expected at least {offset + num_steps + 1} "
            f"for one window of {num_steps} steps at offset {offset}"
        )
    stop = offset + examples * num_steps
    x = tokens[offset:stop].reshape(examples, num_steps)
    y = tokens[offset + 1 : stop + 1].reshape(examples, num_steps)
    rows = batches(x, y, size=batch_size, rng=rng, drop_last=drop_last)

    def one_pass():
        for xs, ys in rows:
            yield np.ascontiguousarray(xs.T), np.ascontiguousarray(ys.T)

    return Passes(len(rows), one_pass, rng)


def consecutive_windows(tokens, num_steps, batch_size, *, offset=0):
    """Cut a text into `batch_size` long rows, and slide one window along all of them.

    Each batch goes on where the one before stopped, so the recurrent state is carried over (detached: truncated
    back-propagation through time).

    Parameters
    ----------
    tokens : array_like of int, shape (N,)
        The text as indices.
    num_steps : int
        T, the characters in a window.
    batch_size : int
        B, the rows; each has L = (N - offset) // batch_size characters.
    offset : int
        Characters left out at the start.

    Returns
    -------
    iterable
        Yields (x, y), both int64 of shape (T, B), time first; y is x one character later. They are read-only views.
        There are (L - 1) // num_steps of them.

    Raises
    ------
    TypeError
        If `tokens` are not integers.
    ValueError
        If the rows are too short for one window, or a number is out of range.

    Notes
    -----
    "Consecutive sampling" in section 5 of the seed notes on Dive into Deep Learning.

    Examples
    --------
    >>> from fastnn.data import consecutive_windows
    >>> for x, y in consecutive_windows(range(16), num_steps=3, batch_size=2):
    ...     print(x.T.tolist(), y.T.tolist())
    [[0, 1, 2], [8, 9, 10]] [[1, 2, 3], [9, 10, 11]]
    [[3, 4, 5], [11, 12, 13]] [[4, 5, 6], [12, 13, 14]]
    """
    tokens, num_steps, batch_size, offset = _checked(tokens, num_steps, batch_size, offset)
    length = (len(tokens) - offset) // batch_size
    count = (length - 1) // num_steps
    if count < 1:
        raise ValueError(
            f"tokens have length {len(tokens)}, expected at least {offset + batch_size * (num_steps + 1)} "
            f"for {batch_size} rows of one window of {num_steps} steps at offset {offset}"
        )
    # Time first from the start, so that every window is a contiguous slice.
    rows = np.ascontiguousarray(tokens[offset : offset + batch_size * length].reshape(batch_size, length).T)
    rows.flags.writeable = False

    def one_pass():
        for start in range(0, count * num_steps, num_steps):
            yield rows[start : start + num_steps], rows[start + 1 : start + num_steps + 1]

    return Passes(count, one_pass)


def _checked(tokens, num_steps, batch_size, offset):
    """Return the arguments of the text samplers as one int64 array and plain ints."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 1:
        raise ValueError(f"tokens have shape {tokens.shape}, expected one dimension")
    if tokens.dtype.kind not in "iu":
        raise TypeError(f"tokens have dtype {tokens.dtype}, expected integers")
    num_steps, batch_size = as_count(num_steps, "num_steps"), as_count(batch_size, "batch_size")
    return tokens.astype(np.int64, copy=False), num_steps, batch_size, as_count(offset, "offset", least=0)
