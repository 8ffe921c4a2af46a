"""word2vec in plain NumPy: windows of words sampled from text, and trained with negative sampling."""

import numpy as np

from fastnn._checks import as_count, as_generator, step_arguments, table_arguments, weights_argument, windows_arguments
from fastnn.reference.activations import sigmoid, softplus

__all__ = ["alias_sample", "alias_table", "cbow_step", "context_windows", "skipgram_step"]


def _check_ids(ids, rows, name, of="rows"):
    wrong = (ids < 0) | (ids >= rows)
    if wrong.any():
        raise IndexError(f"{name} hold {ids[wrong][0]}, which is not among the {rows} {of}")


def alias_table(weights):
    """Return Walker's table, made by Vose's method: what a small weight leaves free of its place a large one takes."""
    threshold = weights_argument(weights)
    alias = np.arange(len(threshold), dtype=np.int32)
    small, large = list(np.flatnonzero(threshold < 1)), list(np.flatnonzero(threshold >= 1))
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        threshold[high] -= 1 - threshold[low]
        if threshold[high] < 1:
            small.append(large.pop())
    threshold[small + large] = 1  # but for rounding they are
    return threshold, alias


def alias_sample(threshold, alias, size, rng):
    """Return indices drawn from a table: a place, and by the rest of the same number the index or its alias."""
    threshold, alias, shape = table_arguments(threshold, alias, size)
    u = as_generator(rng).random(shape) * len(threshold)
    place = u.astype(np.int32)
    return np.where(u - place < threshold[place], place, alias[place])


def context_windows(tokens, ends, window, rng, *, keep=None, shrink=True):
    """Drop each word with probability 1 - keep[word]; then take around each up to `reach` words of its sentence."""
    tokens, ends, keep = windows_arguments(tokens, ends, keep)
    window, rng = as_count(window, "window"), as_generator(rng)
    if keep is not None:
        _check_ids(tokens, len(keep), "tokens", "of keep")
    tokens = tokens[: ends[-1] if len(ends) else 0]
    kept = np.ones(len(tokens), bool) if keep is None else rng.random(len(tokens)) < keep[tokens]
    centres, ends = tokens[kept], np.concatenate([[0], np.cumsum(kept)])[ends]
    reach = 1 + (rng.random(len(centres)) * window).astype(int) if shrink else np.full(len(centres), window)
    contexts, bounds, begin = [], [0], 0
    for end in ends:
        for i in range(begin, end):
            around = [j for j in range(max(begin, i - reach[i]), min(end, i + reach[i] + 1)) if j != i]
            contexts.append(centres[around])
            bounds.append(bounds[-1] + len(around))
        begin = end
    return centres, np.concatenate([*contexts, np.empty(0, np.int32)]), np.array(bounds)


def _gains(scores, targets, lr):
    """Return lr (label - sigmoid(score)) and the loss, -log sigmoid(score) or, for label 0, -log sigmoid(-score)."""
    sign = np.where(np.arange(len(targets)) == 0, 1, -1)  # the label as 1 or -1
    counts = (targets != targets[0]) | (sign == 1)  # a negative that is the word itself is none
    wrong = np.where(counts, -sign * scores, -np.inf)
    return (lr * sign * sigmoid(wrong)).astype(scores.dtype), softplus(wrong).sum(dtype=np.float64)


@np.errstate(all="ignore")
def _step(vectors, output, inputs, bounds, targets, lr, block, hidden, spread):
    """Go through blocks of windows: the gains of all first, then what each window's vectors gain of them.

    `hidden` makes the rows that are scored of the vectors of a window, `spread` what those gain of the rows' gain.
    """
    loss = 0.0
    for start in range(0, len(targets), block):
        found = []
        for i in range(start, min(start + block, len(targets))):
            words, outputs = inputs[bounds[i] : bounds[i + 1]], targets[i]
            if len(words):
                gains, missed = _gains(hidden(vectors[words]) @ output[outputs].T, outputs, lr)
                found.append((words, outputs, gains))
                loss += missed
        for words, outputs, gains in found:
            rows, columns = hidden(vectors[words]), output[outputs]
            np.add.at(vectors, words, spread(gains @ columns, len(words)))
            np.add.at(output, outputs, gains.T @ rows)
    return loss


def skipgram_step(vectors, output, inputs, bounds, targets, *, lr, block=1, need_loss=True):
    """Train every input of a window alone to tell the first of its targets from the others."""
    inputs, bounds, targets, block = step_arguments(vectors, output, inputs, bounds, targets, block)
    _check_ids(inputs, len(vectors), "inputs")
    _check_ids(targets, len(output), "targets")
    loss = _step(vectors, output, inputs, bounds, targets, lr, block, lambda rows: rows, lambda gain, n: gain)
    return loss if need_loss else None


def cbow_step(vectors, output, inputs, bounds, targets, *, lr, mean=True, block=1, need_loss=True):
    """Train the mean, or the sum, of the inputs of a window to tell the first of its targets from the others."""
    inputs, bounds, targets, block = step_arguments(vectors, output, inputs, bounds, targets, block)
    _check_ids(inputs, len(vectors), "inputs")
    _check_ids(targets, len(output), "targets")
    hidden = lambda rows: (rows.mean if mean else rows.sum)(axis=0, keepdims=True)
    spread = lambda gain, n: gain if mean else gain / n
    loss = _step(vectors, output, inputs, bounds, targets, lr, block, hidden, spread)
    return loss if need_loss else None
