"""word2vec: windows of words sampled from text, and trained with negative sampling."""

import numpy as np

from fastnn._checks import as_count, as_generator, step_arguments, table_arguments, weights_argument, windows_arguments
from fastnn._kernels import word2vec as kernels
from fastnn.ops._arrays import by_dtype

__all__ = ["alias_sample", "alias_table", "cbow_step", "context_windows", "skipgram_step"]

_SKIPGRAM, _CBOW = by_dtype(kernels.skipgram_step), by_dtype(kernels.cbow_step)


def alias_table(weights):
    """Return the table from which `alias_sample` draws index i with probability weights[i] / sum(weights).

    Parameters
    ----------
    weights : array_like (n,)
        At least 0, and not all 0.

    Returns
    -------
    threshold : ndarray of float64 (n,)
    alias : ndarray of int32 (n,)
        Of the n equal places, place i belongs to index i up to threshold[i], and from there on to alias[i].

    Raises
    ------
    TypeError
        If weights are complex, objects or the like.
    ValueError
        If weights have another shape, are negative or not finite, or their sum is 0.

    Notes
    -----
    Walker (1977), "An efficient method for generating discrete random variables with general distributions", in the
    form of Vose (1991): made in time n, and a draw takes the same time whatever n is.

    Examples
    --------
    >>> threshold, alias = alias_table([1, 3])
    >>> threshold, alias
    (array([0.5, 1. ]), array([1, 1], dtype=int32))
    """
    threshold = weights_argument(weights)
    alias = np.empty(len(threshold), np.int32)
    kernels.alias_table(threshold, alias)
    return threshold, alias


def alias_sample(threshold, alias, size, rng):
    """Return indices drawn with the probabilities of a table.

    Parameters
    ----------
    threshold, alias : ndarray (n,)
        What `alias_table` returned.
    size : int or tuple of int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int32
        Of shape `size`.

    Raises
    ------
    IndexError
        If an alias is not among the n places.
    TypeError
        If `rng` is no Generator.
    ValueError
        If the arrays are of different lengths, or empty.

    Examples
    --------
    >>> draws = alias_sample(*alias_table([1, 0, 3]), 10_000, np.random.default_rng(0))
    >>> np.bincount(draws) / 10_000
    array([0.2524, 0.    , 0.7476])
    """
    threshold, alias, shape = table_arguments(threshold, alias, size)
    out = np.empty(shape, np.int32)
    kernels.alias_sample(out.reshape(1, -1), threshold, alias, as_generator(rng))
    return out


def context_windows(tokens, ends, window, rng, *, keep=None, shrink=True):
    """Return the words of sentences that are kept, and around each the words of its context.

    Parameters
    ----------
    tokens : array_like of integers (n,)
        The words, sentence after sentence.
    ends : array_like of integers (sentences,)
        Where each sentence ends among them.
    window : int
        How far a context reaches to both sides, at most.
    rng : numpy.random.Generator
    keep : array_like (words,), optional
        The probability with which each word of the vocabulary is kept; without it all are. Words that are dropped are
        gone before contexts are taken, which then reach further.
    shrink : bool
        Whether the reach of each context is drawn from 1 to `window`, which weighs near words more.

    Returns
    -------
    centres : ndarray of int32 (kept,)
    contexts : ndarray of int32 (m,)
    bounds : ndarray of int64 (kept + 1,)
        The context of centres[i] is contexts[bounds[i]:bounds[i + 1]]: the words before it and those after it.

    Raises
    ------
    IndexError
        If a token is negative, or not among `keep`.
    TypeError
        If tokens or ends are not integers, or `rng` is no Generator.
    ValueError
        If ends do not rise from 0 to n, or window is less than 1.

    Notes
    -----
    Mikolov et al. (2013), "Distributed representations of words and phrases and their compositionality". Where there is
    `keep` a number is drawn for each word, and then, to shrink, one for each that was kept.

    Examples
    --------
    >>> centres, contexts, bounds = context_windows([5, 6, 7, 8], [3, 4], 1, np.random.default_rng(0))
    >>> [(int(c), contexts[i:j].tolist()) for c, i, j in zip(centres, bounds[:-1], bounds[1:])]
    [(5, [6]), (6, [5, 7]), (7, [6]), (8, [])]
    """
    tokens, ends, keep = windows_arguments(tokens, ends, keep)
    window, rng = as_count(window, "window"), as_generator(rng)
    n, lengths = len(tokens), np.diff(ends, prepend=0)
    centres, bounds = np.empty(n + 8, np.int32), np.empty(n + 1, np.int64)  # 8 more, as the kernel asks
    contexts = np.empty((lengths * np.minimum(lengths, 2 * min(window, n))).sum() + 8, np.int32)
    kept, m = kernels.context_windows(
        centres, np.empty_like(ends), bounds, contexts, tokens, ends, window, rng, keep, bool(shrink)
    )
    return centres[:kept], contexts[:m], bounds[: kept + 1]


def skipgram_step(vectors, output, inputs, bounds, targets, *, lr, block=1, need_loss=True):
    """Train every word of a context to tell the word it stands around from words drawn at random, in place.

    For each window in turn, with v the vectors of its inputs and u the rows of `output` of its targets:

        s = v @ u.T,  g = lr * (label - sigmoid(s)),  v += g @ u,  u += g.T @ v

    where the label is 1 for the first target and 0 for the others, and both products take v and u as they were.

    Parameters
    ----------
    vectors : ndarray of float32 or float64 (words, dim)
        The vectors of words as inputs. Rows may lie apart (a view of the first columns of a wider array).
    output : ndarray (words, dim)
        The vectors of words as targets, of the same dtype.
    inputs : array_like of integers (n,)
        The words of all contexts, as `context_windows` returns them.
    bounds : array_like of integers (windows + 1,)
        Window i has the inputs from bounds[i] to bounds[i + 1]. One without inputs changes nothing.
    targets : array_like of integers (windows, 1 + negatives)
        The word in the middle, and negatives, which all inputs of the window share. A negative that equals the word is
        left out.
    lr : float
    block : int
        The gains g of so many windows are computed before any of them updates the tables. The default is the method as
        published; in larger blocks several threads share the work, and the result is the same for any number of them.
    need_loss : bool

    Returns
    -------
    float or None
        The loss before the update: the sum of -log sigmoid(s) of the first targets and -log sigmoid(-s) of the others.

    Raises
    ------
    IndexError
        If an input or a target is not a row of its table.
    TypeError
        If a table is no array of float32 or float64, or ids are not integers.
    ValueError
        If shapes do not fit, or rows of a table do not lie densely.

    Notes
    -----
    Skip-gram with negative sampling, Mikolov et al. (2013), "Distributed representations of words and phrases and their
    compositionality", in the direction of word2vec.c and gensim: the context predicts the word in its middle. Negatives
    are shared within a window as by Ji et al. (2016), arXiv:1604.04661, so that the step is three small products of
    matrices. The tables may be updated by several threads at once (each on windows of its own), without locks: Recht et
    al. (2011), "Hogwild!".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> vectors, output = rng.uniform(-0.5, 0.5, (5, 4)), np.zeros((5, 4))
    >>> for _ in range(30):
    ...     loss = skipgram_step(vectors, output, [1, 3], [0, 2], [[2, 0, 4]], lr=0.5)
    >>> round(loss, 4)  # it was 6 log 2
    0.0209
    """
    inputs, bounds, targets, block = step_arguments(vectors, output, inputs, bounds, targets, block)
    loss = _SKIPGRAM[vectors.dtype](vectors, output, inputs, bounds, targets, lr, block, need_loss)
    return loss if need_loss else None


def cbow_step(vectors, output, inputs, bounds, targets, *, lr, mean=True, block=1, need_loss=True):
    """Train the mean or sum of the words of a context to tell the word it stands around from others, in place.

    For each window in turn, with v the vectors of its inputs, h their mean, and u the rows of `output` of its targets:

        s = u @ h,  g = lr * (label - sigmoid(s)),  v += g @ u,  u += outer(g, h)

    where the label is 1 for the first target and 0 for the others, and both products take h and u as they were.

    Parameters
    ----------
    vectors, output, inputs, bounds, targets, lr, block, need_loss
        As for `skipgram_step`; the gains of a block meet vectors as they then are.
    mean : bool
        Whether h is the mean of the vectors or their sum; each vector of a sum gains its share g @ u / n. So do gensim
        and, for the mean, word2vec.c: it is the gradient times the number of words, or divided by it.

    Returns
    -------
    float or None
        The loss before the update, as of `skipgram_step`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As `skipgram_step`.

    Notes
    -----
    Continuous bag of words, Mikolov et al. (2013), "Efficient estimation of word representations in vector space",
    arXiv:1301.3781.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> vectors, output = rng.uniform(-0.5, 0.5, (5, 4)), np.zeros((5, 4))
    >>> for _ in range(30):
    ...     loss = cbow_step(vectors, output, [1, 3], [0, 2], [[2, 0, 4]], lr=0.5)
    >>> round(loss, 4)  # it was 3 log 2
    0.0184
    """
    inputs, bounds, targets, block = step_arguments(vectors, output, inputs, bounds, targets, block)
    loss = _CBOW[vectors.dtype](vectors, output, inputs, bounds, targets, lr, block, need_loss, mean)
    return loss if need_loss else None
