"""How good sequences are that a model wrote: edit distance, error rates, BLEU.

Tokens are anything that can be hashed: words, phones, indices.
"""

import collections
import math

from fastnn._checks import as_count, check_choice

__all__ = ["bleu", "edit_distance", "error_rate", "sequence_error_rate"]

SMOOTHING = ("exp", "none")


def edit_distance(a, b):
    """Return the least number of insertions, deletions and substitutions that turn one sequence into another.

    The columns of the usual table are kept as differences, one bit a row, so a step is a dozen operations on integers
    of len(a) bits (Hyyrö 2003, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances").

    Parameters
    ----------
    a, b : sequence of hashable
        Lists of tokens, arrays of indices, strings.

    Returns
    -------
    int

    Examples
    --------
    >>> from fastnn.metrics import edit_distance
    >>> edit_distance("kitten", "sitting"), edit_distance(["R", "EH", "D"], ["R", "IY", "D"])
    (3, 1)
    """
    rows = len(a)
    if not rows or not len(b):
        return rows + len(b)
    positions = {}
    for i, token in enumerate(a):
        positions[token] = positions.get(token, 0) | 1 << i
    every, last, distance = (1 << rows) - 1, 1 << rows - 1, rows
    up, down = every, 0  # where the table grows, or falls, by 1 from row to row
    for token in b:
        equal = positions.get(token, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        right, left = (
            down | (every & ~(diagonal | up)),
            up & diagonal,
        )  # where it grows, or falls, from column to column
        distance += bool(right & last) - bool(left & last)
        right = right << 1 | 1
        up = every & (left << 1 | ~(diagonal | right))
        down = every & right & diagonal
    return distance


def error_rate(hypotheses, references):
    """Return the number of edits that the hypotheses need, over the number of tokens they should have.

    The word error rate if tokens are words, the phone error rate if they are phones. It can be above 1.

    Parameters
    ----------
    hypotheses : sequence of sequences of hashable
    references : sequence of lists of sequences
        For each hypothesis all that would be right. What counts is the nearest, of equally near ones the longest.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are not as many references as hypotheses, a hypothesis has none, or all are empty.

    Examples
    --------
    >>> from fastnn.metrics import error_rate
    >>> error_rate([["the", "cat", "sat"]], [[["the", "cat", "sat", "down"], ["a", "cat"]]])
    0.25
    """
    edits = tokens = 0
    for hypothesis, allowed in _pairs(hypotheses, references):
        distance, length = min((edit_distance(hypothesis, reference), -len(reference)) for reference in allowed)
        edits, tokens = edits + distance, tokens - length
    if not tokens:
        raise ValueError("references hold no token, expected at least one")
    return edits / tokens


def sequence_error_rate(hypotheses, references):
    """Return the share of hypotheses that equal none of their references.

    In the conversion of graphemes to phones, where a sequence is a word, this is called the word error rate.

    Parameters
    ----------
    hypotheses, references
        As in `error_rate`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are not as many references as hypotheses, a hypothesis has none, or there is none at all.

    Examples
    --------
    >>> from fastnn.metrics import sequence_error_rate
    >>> sequence_error_rate(["ab", "cd"], [["ab", "b"], ["c"]])
    0.5
    """
    pairs = _pairs(hypotheses, references)
    wrong = [all(list(hypothesis) != list(one) for one in allowed) for hypothesis, allowed in pairs]
    return sum(wrong) / len(wrong)


def bleu(hypotheses, references, *, max_order=4, smoothing="exp"):
    """Return the BLEU of a corpus, from 0 to 100.

    100 * min(1, exp(1 - r / c)) * (p_1 ... p_N)^(1/N): p_n is the share of the n-grams of all hypotheses that are in a
    reference, each counted at most as often as in the reference that has it most often; c is the number of tokens of
    all hypotheses, r that of their references, for each the one nearest in length (of equally near ones the shorter).
    This is what sacrebleu calls `corpus_bleu` with `tokenize="none"`.

    Parameters
    ----------
    hypotheses : sequence of sequences of hashable
    references : sequence of lists of sequences
        For each hypothesis one or more.
    max_order : int
        N.
    smoothing : {"exp", "none"}
        What p_n becomes when no n-gram is right: of m n-grams 1 / (2^k m) for the k-th such order, or 0. Orders longer
        than every hypothesis make BLEU 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are not as many references as hypotheses, a hypothesis has none, or there is none at all.

    Notes
    -----
    Papineni, Roukos, Ward and Zhu (2002), "BLEU: a method for automatic evaluation of machine translation"; Post
    (2018), "A call for clarity in reporting BLEU scores"; Chen and Cherry (2014) for the smoothing, their third.

    Examples
    --------
    >>> from fastnn.metrics import bleu
    >>> hypothesis = "the cat is on the mat".split()
    >>> round(bleu([hypothesis], [["the cat sat on the mat".split()]]), 2)
    37.99
    """
    max_order = as_count(max_order, "max_order")
    check_choice(smoothing, SMOOTHING, "smoothing")
    right, total, length, expected = [0] * max_order, [0] * max_order, 0, 0
    for hypothesis, allowed in _pairs(hypotheses, references):
        hypothesis, allowed = tuple(hypothesis), [tuple(reference) for reference in allowed]
        length += len(hypothesis)
        expected += min((abs(len(reference) - len(hypothesis)), len(reference)) for reference in allowed)[1]
        for i in range(max_order):
            most = collections.Counter()
            for reference in allowed:
                most |= _ngrams(reference, i + 1)
            counts = _ngrams(hypothesis, i + 1)
            right[i] += (counts & most).total()
            total[i] += counts.total()
    if not all(total) or not any(right):
        return 0.0
    logarithm, missed = 0.0, 0
    for n, m in zip(right, total, strict=True):
        missed += not n
        if not n and smoothing == "none":
            return 0.0
        logarithm += math.log(n / m if n else 1 / (2**missed * m))
    return 100 * math.exp(logarithm / max_order + min(0.0, 1 - expected / length))


def _ngrams(tokens, n):
    return collections.Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _pairs(hypotheses, references):
    """Return pairs of a hypothesis and its references, or raise unless each has one."""
    if len(hypotheses) != len(references):
        raise ValueError(f"references are {len(references)}, expected {len(hypotheses)}, as many as hypotheses")
    if not len(hypotheses):
        raise ValueError("hypotheses are empty, expected at least one")
    for i, allowed in enumerate(references):
        if not len(allowed):
            raise ValueError(f"references[{i}] is empty, expected at least one reference")
    return zip(hypotheses, references, strict=True)
