"""Batches of sequences of unequal length: padded, and put together by length so that little is padding."""

import numpy as np

from fastnn._checks import as_count, as_generator
from fastnn.data.sampling import Passes

__all__ = ["bucketed_batches", "pad_sequences"]


def pad_sequences(sequences, padding=0):
    """Put sequences of indices side by side, time first, with padding below the short ones.

    Parameters
    ----------
    sequences : sequence of sequences of int
    padding : int

    Returns
    -------
    padded : ndarray of int64 (T, B)
        T is the length of the longest.
    lengths : ndarray of int64 (B,)

    Raises
    ------
    ValueError
        If there is no sequence.
    TypeError
        If one holds anything but integers.

    Examples
    --------
    >>> from fastnn.data import pad_sequences
    >>> padded, lengths = pad_sequences([[5, 6, 7], [8]])
    >>> padded
    array([[5, 8],
           [6, 0],
           [7, 0]])
    >>> lengths
    array([3, 1])
    """
    return _Ragged(sequences, "sequences").rows(np.arange(len(sequences)), padding)


def bucketed_batches(sources, targets, *, size=64, start=1, end=2, padding=0, shuffle=True, rng=None):
    """Go through pairs of sequences in minibatches of nearly equal lengths, ready for `models.Seq2Seq`.

    Each pass sorts the pairs by the length of their source, then of their target, draws the order of equally long ones
    anew, cuts this into batches, and draws the order of the batches.

    Parameters
    ----------
    sources, targets : sequence of sequences of int
        Equally many.
    size : int
        Pairs in a batch; the last batch of a pass may be short.
    start, end : int
        The tokens that targets get before and after them.
    padding : int
        What stands below short sequences.
    shuffle : bool
        Draw orders; without it the passes are all the same, from the shortest to the longest.
    rng : numpy.random.Generator, optional
        Where the orders come from; a fresh one when None.

    Returns
    -------
    iterable
        Yields tuples (source, lengths, target_in, target_out) of int64: source (S, B) and its lengths (B,), target_in
        (T, B), which begins with `start`, and target_out (T, B), which stops with `end`. It has a length and can be
        iterated again, in a new order.

    Raises
    ------
    TypeError
        If `rng` is not a Generator, or a sequence holds anything but integers.
    ValueError
        If there is no pair, there are not as many targets as sources, or `size` is less than 1.

    Examples
    --------
    >>> from fastnn.data import bucketed_batches
    >>> batches = bucketed_batches([[5, 6, 7], [8]], [[3], [4, 5]], size=2, shuffle=False)
    >>> ((source, lengths, target_in, target_out),) = batches
    >>> lengths
    array([1, 3])
    >>> target_in
    array([[1, 1],
           [4, 3],
           [5, 0]])
    >>> target_out
    array([[4, 3],
           [5, 2],
           [2, 0]])
    """
    source = _Ragged(sources, "sources")
    if len(targets) != len(sources):
        raise ValueError(f"targets are {len(targets)}, expected {len(sources)}, as many as sources")
    target = _Ragged([(start, *row, end) for row in targets], "targets")
    size, rng = as_count(size, "size"), as_generator(rng)
    count = -(-len(sources) // size)

    def one_pass():
        ties = rng.random(len(sources)) if shuffle else np.arange(len(sources))
        order = np.lexsort((ties, target.lengths, source.lengths))
        for i in rng.permutation(count) if shuffle else range(count):
            picked = order[i * size : (i + 1) * size]
            written, lengths = target.rows(picked, padding)
            following, preceding = written[1:], written[:-1]
            # The end token is no input: where a short target has it, padding stands.
            preceding = np.where(np.arange(len(preceding))[:, None] < lengths - 1, preceding, padding)
            yield *source.rows(picked, padding), preceding, following

    return Passes(count, one_pass, rng if shuffle else None)


class _Ragged:
    """Sequences of integers end to end, of which any can be taken out padded."""

    def __init__(self, sequences, name):
        if not len(sequences):
            raise ValueError(f"{name} are empty, expected at least one sequence")
        arrays = [np.asarray(sequence) for sequence in sequences]
        for i, array in enumerate(arrays):
            if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
                raise TypeError(
                    f"{name}[{i}] has shape {array.shape} and dtype {array.dtype}, expected a row of integers"
                )
        self.lengths = np.array([len(array) for array in arrays], np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.tokens = np.concatenate([*arrays, [0]]).astype(np.int64)  # one more, for sequences without any to point at

    def rows(self, picked, padding):
        """Return sequences padded (T, B), and their lengths."""
        lengths = self.lengths[picked]
        steps = np.arange(lengths.max())[:, None]
        inside = steps < lengths
        return np.where(inside, self.tokens[np.where(inside, self.starts[picked] + steps, -1)], padding), lengths
