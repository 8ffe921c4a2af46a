"""Decoding: sequences of tokens from any function that tells the log-probabilities of the next one.

a) A step function knows the model, the search knows none: `log_probabilities, state = step(tokens, state)`.
b) All sequences of a batch are searched side by side, in arrays. Row k * B + b of a step is place k in the beam of
   sequence b, so that a model may look at its rows as (places, B, ...) and attend to B sources without copies of them.
c) A search keeps, step by step, which token each place took and which place it came from. Hypotheses are read back
   from there once the search is over, the few that are asked for.
"""

import itertools
from typing import NamedTuple

import numpy as np

from fastnn._checks import as_count, as_positive, check_choice

__all__ = ["Hypothesis", "beam_search", "greedy_decode"]

PENALTIES = {
    "length": lambda n, alpha: np.asarray(n, np.float64) ** alpha,
    "gnmt": lambda n, alpha: ((5.0 + np.asarray(n)) / 6.0) ** alpha,
}
ROUNDING = 1e-3  # how far above 0 a log-probability may be

quiet = np.errstate(all="ignore")


class Hypothesis(NamedTuple):
    """A sequence that a search found.

    Attributes
    ----------
    tokens : ndarray of int64 (n,)
        Without the first and the end token.
    score : float
        What hypotheses are ranked by: the log-probability over the length penalty.
    log_probability : float
        Of the tokens and of the end token.
    attention : ndarray or None
        A row for each token, and one for the end token, of the weights that `step` returned when it chose them.
    """

    tokens: np.ndarray
    score: float
    log_probability: float
    attention: np.ndarray | None = None


@quiet
def greedy_decode(step, state, start, *, end, max_length, min_length=0):
    """Take the likeliest token at each step, for a batch of sequences.

    Parameters
    ----------
    step : callable
    state
    start : array_like (B,) of integers
    end : int or None
    max_length, min_length : int
        All as in `beam_search`, of which this is the case beam=1.

    Returns
    -------
    list of Hypothesis
        One for each sequence; its score is its log-probability.

    Raises
    ------
    ValueError, TypeError
        As `beam_search` raises them.

    Examples
    --------
    >>> from fastnn.models import greedy_decode
    >>> table = np.log([[1, 1e-9, 1e-9], [0.1, 0.3, 0.6], [0.7, 0.2, 0.1]])  # from each of three tokens to the next
    >>> first, second = greedy_decode(lambda tokens, _: (table[tokens], None), None, [1, 2], end=0, max_length=4)
    >>> first.tokens, second.tokens, round(float(np.exp(first.score)), 2)
    (array([2]), array([], dtype=int64), 0.42)
    """
    tokens, end, max_length, min_length = _limits(start, end, max_length, min_length)
    total, length, alive = np.zeros(len(tokens)), np.zeros(len(tokens), np.int64), np.ones(len(tokens), bool)
    taken, attention = [], []
    for t in range(max_length + (end is not None)):
        if not alive.any():
            break
        scores, state, *weights = _step(step, tokens, state, end, t, min_length, max_length)
        tokens = scores.argmax(1)
        total += np.where(alive, np.take_along_axis(scores, tokens[:, None], 1)[:, 0], 0)
        alive &= tokens != end
        length += alive
        taken.append(tokens)
        attention.extend(weights)
    taken = np.array(taken, np.int64).reshape(-1, len(total)).T
    rows = [None] * len(total)
    if attention:
        rows = [np.array([w[b] for w in attention[: n + (end is not None)]]) for b, n in enumerate(length)]
    return [
        Hypothesis(taken[b, :n].copy(), float(p), float(p), rows[b])
        for b, (n, p) in enumerate(zip(length, total, strict=True))
    ]


@quiet
def beam_search(
    step,
    state,
    start,
    *,
    end,
    max_length,
    min_length=0,
    beam=5,
    length_penalty=None,
    alpha=1.0,
    n_best=1,
):
    """Keep the `beam` likeliest beginnings at each step, extend them by every token, and keep the best again.

    A hypothesis that takes the end token while among the best leaves the beam. A sequence is done when `beam`
    hypotheses have ended, or when none that goes on could still be among the n best (Huang, Zhao and Ma 2017, "When to
    finish? Optimal beam search for neural text generation").

    Parameters
    ----------
    step : callable
        `log_probabilities, state = step(tokens, state)`, for tokens (N,), the last ones, and their states. Returns the
        log-probabilities (N, V) of the next tokens, -inf for what cannot follow, and the states after it; a third
        result, if any, is (N, S) weights of attention. N is B at first, then beam * B: row k * B + b is of sequence b.
    state
        Before the first token: an array of B rows, a tuple, list or dict of such (of such, ...), or None. The search
        only picks rows of it.
    start : array_like (B,) of integers
        The tokens given to the first step.
    end : int or None
        The token that ends a hypothesis; None if all have `max_length` tokens.
    max_length, min_length : int
        How many tokens a hypothesis may have, and has at least, the end token not counted. After max_length tokens only
        the end token can follow.
    beam : int
        From 1, which is greedy, to the V of the vocabulary.
    length_penalty : {None, "length", "gnmt"}
        What a log-probability is divided by to give the score, n being the number of tokens, the end token counted:
        1, n^alpha, or ((5 + n) / 6)^alpha (Wu et al. 2016, "Google's neural machine translation system").
    alpha : float
        At least 0.
    n_best : int
        How many hypotheses to return, at most `beam`.

    Returns
    -------
    list of list of Hypothesis
        For each sequence the hypotheses, best first: n_best of them, or all that were found, if fewer.

    Raises
    ------
    ValueError
        If the beam is larger than the vocabulary, a number is out of range, or what `step` returns has another shape, a
        NaN, or a number above 0, which is no log-probability.
    TypeError
        If start holds no integers, or the state something other than arrays.

    Notes
    -----
    Lowerre (1976), "The HARPY speech recognition system"; "Sequence to sequence" in the seed notes on Ng's course,
    whose figure is this:

    Examples
    --------
    >>> from fastnn.models import beam_search
    >>> words = ["<s>", "I", "My", "decided", "thought", "decision"]
    >>> table = np.full((6, 6), -np.inf)
    >>> table[0, [1, 2]] = np.log([0.6, 0.4])  # <s>: I, My
    >>> table[1, [3, 4]] = np.log([0.5, 0.4])  # I: decided, thought
    >>> table[2, 5] = np.log(0.9)              # My: decision
    >>> (found,) = beam_search(
    ...     lambda tokens, state: (table[tokens], state), None, [0], end=None, max_length=2, beam=2, n_best=2
    ... )
    >>> for hypothesis in found:
    ...     print(" ".join(words[i] for i in hypothesis.tokens), round(np.exp(hypothesis.score), 2))
    My decision 0.36
    I decided 0.3
    """
    tokens, end, max_length, min_length = _limits(start, end, max_length, min_length)
    beam, n_best = as_count(beam, "beam"), as_count(n_best, "n_best")
    if n_best > beam:
        raise ValueError(f"n_best is {n_best}, expected at most the beam of {beam}")
    if length_penalty is not None:
        check_choice(length_penalty, PENALTIES, "length_penalty")
    alpha = as_positive(alpha, "alpha", zero=True)

    def penalty(n):
        return PENALTIES[length_penalty](n, alpha) if length_penalty else 1.0

    batch = len(tokens)
    total = np.zeros((batch, 1))  # log-probabilities of what is in the beam; -inf marks an empty place
    best = np.full((batch, n_best), -np.inf)  # scores of the best that have ended, in rising order
    ended, over = np.zeros(batch, np.int64), np.zeros(batch, bool)
    path, completed = _Path(batch), []  # completed: (steps, sequences, places, log-probabilities, scores)
    longest = penalty(max_length + (end is not None))
    for t in range(max_length + (end is not None)):
        if over.all():
            break
        scores, state, *weights = _step(step, tokens, state, end, t, min_length, max_length)
        if beam > scores.shape[1]:
            raise ValueError(f"beam is {beam}, expected at most the {scores.shape[1]} tokens of the vocabulary")
        path.attention.extend(weights)
        # No more than 2 * beam of a row can be needed, since at most beam of them end; in the last step all do.
        following = _largest(scores, 1 if t == max_length else min(2 * beam, scores.shape[1]))
        found = np.take_along_axis(scores, following, 1).astype(np.float64)
        found, following = (x.reshape(-1, batch, x.shape[1]).swapaxes(0, 1) for x in (found, following))
        found = (total[:, :, None] + found).reshape(batch, -1)
        order = np.argsort(-found, axis=1, kind="stable")[:, : 2 * beam]
        places, found = order // following.shape[2], np.take_along_axis(found, order, 1)
        following = np.take_along_axis(following.reshape(batch, -1), order, 1)

        ends = following == end if end is not None else np.zeros(found.shape, bool)
        of, at = np.nonzero(ends[:, :beam] & (found[:, :beam] > -np.inf))
        if len(of):
            score = found[of, at] / penalty(t + 1)
            completed.append((np.full(len(of), t), of, places[of, at], found[of, at], score))
            ended += np.bincount(of, minlength=batch)
            new = np.full((batch, beam), -np.inf)
            new[of, at] = score
            best = np.sort(np.concatenate([best, new], axis=1), axis=1)[:, -n_best:]

        found[ends] = -np.inf
        order = np.argsort(-found, axis=1, kind="stable")[:, :beam]
        total, following, places = (np.take_along_axis(x, order, 1) for x in (found, following, places))
        over |= (ended >= beam) | (best[:, 0] >= total[:, 0] / longest)
        total[over] = -np.inf
        path.tokens.append(following)
        path.places.append(places)
        tokens = following.T.ravel()
        state = _rows(state, (places.T * batch + np.arange(batch)).ravel())
    if end is None:
        of, at = np.nonzero(total > -np.inf)
        completed.append((np.full(len(of), max_length), of, at, total[of, at], total[of, at] / longest))

    if not completed:
        return [[] for _ in range(batch)]
    steps, of, places, found, score = (np.concatenate(column) for column in zip(*completed, strict=True))
    order = np.lexsort((-score, of))
    first = np.searchsorted(of[order], np.arange(batch + 1))
    return [
        [path.read(steps[i], of[i], places[i], score[i], found[i]) for i in order[begin : min(begin + n_best, stop)]]
        for begin, stop in itertools.pairwise(first)
    ]


class _Path:
    """What each place of each beam took at each step, and which place it came from."""

    def __init__(self, batch):
        self.batch, self.tokens, self.places, self.attention = batch, [], [], []

    def read(self, steps, sequence, place, score, log_probability):
        """Return the hypothesis of this many steps that stood in a place of the beam of a sequence."""
        tokens, weights = [], []
        if len(self.attention) > steps:  # of the step that chose the end token
            weights.append(self.attention[steps][place * self.batch + sequence])
        for t in reversed(range(steps)):
            tokens.append(self.tokens[t][sequence, place])
            place = self.places[t][sequence, place]
            if self.attention:
                weights.append(self.attention[t][place * self.batch + sequence])
        attention = np.array(weights[::-1]) if self.attention else None
        return Hypothesis(np.array(tokens[::-1], np.int64), float(score), float(log_probability), attention)


def _limits(start, end, max_length, min_length):
    """Return the arguments that both searches check: the first tokens, the end token, and the lengths."""
    start = np.asarray(start)
    if start.dtype.kind not in "iu":
        raise TypeError(f"start has dtype {start.dtype}, expected integers")
    if start.ndim != 1 or not len(start):
        raise ValueError(f"start has shape {start.shape}, expected (B,) with at least one sequence")
    end = None if end is None else as_count(end, "end", least=0)
    max_length, min_length = as_count(max_length, "max_length"), as_count(min_length, "min_length", least=0)
    if min_length > max_length:
        raise ValueError(f"min_length is {min_length}, expected at most the max_length of {max_length}")
    return start.astype(np.int64), end, max_length, min_length


def _step(step, tokens, state, end, t, min_length, max_length):
    """Return what `step` returned, checked, and -inf for what may not follow after t tokens."""
    scores, *rest = step(tokens, state)
    scores = np.asarray(scores)
    if scores.dtype.kind != "f" or scores.ndim != 2 or len(scores) != len(tokens):
        raise ValueError(
            f"step returned an array of {scores.dtype} and shape {scores.shape}, "
            f"expected log-probabilities ({len(tokens)}, V)"
        )
    if end is not None and end >= scores.shape[1]:
        raise ValueError(f"end is {end}, expected one of the {scores.shape[1]} tokens of the vocabulary")
    largest = scores.max()
    if not largest <= ROUNDING:
        raise ValueError(f"step returned {largest}, expected log-probabilities, at most 0")
    if end is not None and t < min_length:
        scores = scores.copy()
        scores[:, end] = -np.inf
    elif t == max_length:
        scores = np.where(np.arange(scores.shape[1]) == end, scores, -np.inf)
    return scores, *rest


def _largest(x, k):
    """Return the columns of the k largest numbers of each row, largest first, of equal ones the leftmost first."""
    rows, columns = x.shape
    groups = max(columns // 32, 2 * k)
    if groups * 2 <= columns:  # the k-th largest of the maxima of groups is no larger than that of all
        members = columns // groups
        maxima = x[:, : members * groups].reshape(rows, members, groups).max(axis=1)
    else:
        maxima = x
    bound = np.partition(maxima, -k, axis=1)[:, -k, None]
    row, column = np.divmod(np.flatnonzero(x >= bound), columns)
    order = np.lexsort((-x[row, column], row))
    return column[order[np.searchsorted(row, np.arange(rows))[:, None] + np.arange(k)]]


def _rows(state, rows):
    """Return these rows of every array of a state."""
    if state is None:
        return None
    if isinstance(state, tuple | list):
        return type(state)(_rows(part, rows) for part in state)
    if isinstance(state, dict):
        return {name: _rows(part, rows) for name, part in state.items()}
    if isinstance(state, np.ndarray):
        return state[rows]
    raise TypeError(f"state holds a {type(state).__name__}, expected arrays, or tuples, lists and dicts of them")
