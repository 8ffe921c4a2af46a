"""Language models that count n-grams, in sorted arrays.

a) An n-gram of k tokens is a row of level k. Its key is (row of its first k - 1 tokens) * V + (last token); the keys of
   a level are sorted, so its rows are found by bisection, and those that go on from one context lie side by side.
   Level 1 has a row for every token of the vocabulary, level 0 the empty context alone.
b) A smoothing is two tables a level: `alpha`, what an n-gram's own count gives it, and `gamma`, what its context leaves
   to shorter ones. Both end with the value for what was never counted, so that row -1 needs no special case.
"""

import os

import numpy as np

from fastnn._checks import as_count, check_choice
from fastnn.data.text import Vocabulary, as_tokens
from fastnn.io import load_arrays, save_arrays
from fastnn.models.language import draw, perplexity

__all__ = ["NGramLM"]

# The options of each smoothing, with their defaults.
SMOOTHINGS = {
    "mle": {},
    "laplace": {},
    "lidstone": {"gamma": 0.1},
    "stupid_backoff": {"alpha": 0.4},
    "witten_bell": {"uniform": True},
    "absolute_discounting": {"discount": 0.75, "uniform": True},
    "kneser_ney": {"discount": None, "uniform": True},
}
FIXED_DISCOUNT = 0.75  # of Kneser-Ney, where counts of counts allow no estimate


class NGramLM:
    """A language model over n-grams: what follows the last `order - 1` tokens, from counts, smoothed.

    Parameters
    ----------
    vocabulary : Vocabulary or int
        The tokens it knows, characters or words; or how many there are, for texts that are indices already.
    order : int
        n, the length of its longest n-grams; a Markov chain of order n - 1.
    smoothing : str
        With h a context, h' the same without its first token, c(hw) and c(h) = sum of c(hw) over w the counts, T(h) the
        number of distinct tokens after h, and V the size of the vocabulary:

        - "mle": c(hw) / c(h), with h the longest context that was seen.
        - "laplace": (c(hw) + 1) / (c(h) + V).
        - "lidstone": (c(hw) + gamma) / (c(h) + gamma V), option `gamma` = 0.1.
        - "stupid_backoff": c(hw) / c(h) if hw was seen, else alpha times the score after h', option `alpha` = 0.4
          (Brants et al. 2007); 0 for a token never seen. These scores do not sum to one.
        - "witten_bell": (c(hw) + T(h) p(w|h')) / (c(h) + T(h)) (Witten and Bell 1991).
        - "absolute_discounting": (max(c(hw) - D, 0) + D T(h) p(w|h')) / c(h), option `discount` = 0.75 (Ney
          et al. 1994).
        - "kneser_ney": interpolated and modified (Chen and Goodman 1998): three discounts an order, for counts of 1, 2
          and more; below the highest order, c(hw) is the number of distinct tokens before hw. The discounts are
          estimated from how many n-grams have counts of 1 to 4. Where one of those numbers is 0, or a discount does not
          lie between 0 and its count (as for single words, once rare ones are merged), that order has 0.75 for all
          three; option `discount` fixes another number for all orders. `discounts` tells what was taken.
    **options
        `gamma`, `alpha` and `discount` as above. `uniform` = True of the last three: whether single tokens are
        interpolated in turn, with 1 / V; otherwise a token that was never counted has probability 0, as in NLTK.

    Attributes
    ----------
    discounts : list of (float, float, float)
        Of Kneser-Ney, for n-grams of 1, 2, ... tokens.

    Raises
    ------
    ValueError
        If the vocabulary has fewer than two tokens, or an option is out of range or not one of this smoothing.

    Notes
    -----
    "Language models", section 5 of the seed notes on Dive into Deep Learning.

    Examples
    --------
    >>> from fastnn.data.text import Vocabulary, as_tokens
    >>> from fastnn.models import NGramLM
    >>> text = "the cat sat on the mat. " * 40
    >>> lm = NGramLM(Vocabulary(text), order=4).fit(text)
    >>> lm.perplexity(text) < 1.5
    True
    >>> lm.sample("the c", 20, temperature=0)
    'at on the cat on the'
    >>> bool(abs(lm.distribution("the ").sum() - 1) < 1e-12)
    True
    """

    def __init__(self, vocabulary, order=3, smoothing="kneser_ney", **options):
        check_choice(smoothing, SMOOTHINGS, "smoothing")
        for name in options:
            check_choice(name, SMOOTHINGS[smoothing] or ("no option",), f"an option of {smoothing}")
        self.vocabulary = vocabulary if isinstance(vocabulary, Vocabulary) else as_count(vocabulary, "vocabulary", 0)
        self.size = vocabulary if isinstance(self.vocabulary, int) else len(vocabulary)
        if self.size < 2:
            raise ValueError(f"vocabulary has {self.size} tokens, expected at least two to choose between")
        self.order, self.smoothing = as_count(order, "order"), smoothing
        self.options = SMOOTHINGS[smoothing] | options
        for name, most in (("gamma", 1e300 / self.size), ("alpha", 1), ("discount", 1)):
            value = self.options.get(name)
            if value != SMOOTHINGS[smoothing].get(name) and (value is None or not 0 < value <= most):
                raise ValueError(f"{name} is {value}, expected more than 0, and at most {most}")
        self._counts = None

    # ---- counting -------------------------------------------------------------------------------------------

    def fit(self, text, lengths=None):
        """Count the n-grams of a text; what was counted before is forgotten.

        Parameters
        ----------
        text : str, iterable of str, or array_like of int
            Characters, words or indices, whatever the vocabulary has.
        lengths : array_like of int, optional
            The lengths of the sentences that the text consists of: no n-gram reaches from one into the next. Padding
            them, if it is wanted, is up to the caller.

        Returns
        -------
        NGramLM
            The model itself.

        Raises
        ------
        ValueError
            If the text is empty, a token is unknown, or the lengths do not add up to its own.
        IndexError
            If an index is not in 0..V - 1.
        """
        tokens = self._encode(text)
        if not len(tokens):
            raise ValueError("text is empty, expected at least one token")
        room = _room(lengths, len(tokens))
        self._keys = [None, np.arange(self.size)]
        self._counts = [None, np.bincount(tokens, minlength=self.size)]
        last, rows = _ends(room, len(tokens)), tokens
        for _ in range(2, self.order + 1):
            last, _, keys = self._longer(tokens, room, last, rows)
            by_key = keys.argsort()
            keys = keys[by_key]
            first = np.ones(len(keys), bool)
            np.not_equal(keys[1:], keys[:-1], out=first[1:])
            borders = np.flatnonzero(first)
            self._keys.append(keys[borders])
            self._counts.append(np.diff(borders, append=len(keys)))
            rows = np.empty_like(keys)
            rows[by_key] = np.cumsum(first) - 1
        self._smooth()
        return self

    def _longer(self, tokens, room, last, rows):
        """Return where n-grams end that are one token longer, the rows of their contexts, and their keys.

        `last` and `rows` say the same of the n-grams that become the contexts, some of which end their sentence.
        """
        if room is None:  # one text, for which slices do
            last, rows = slice(last.start + 1, None), rows[:-1]
        else:
            enough = room[last] > 1
            last, rows = last[enough] + 1, rows[enough]
        return last, rows, rows * self.size + tokens[last]

    def _find(self, length, keys):
        """Return the rows of n-grams of this length, -1 for those that were not counted."""
        if length == 1:
            return keys
        table, found = self._keys[length], np.full(len(keys), -1)
        possible = np.flatnonzero(keys >= 0) if len(table) else []  # a context without a row makes a negative key
        if len(possible):
            keys = keys.take(possible)
            order = keys.argsort()  # sorted questions walk through the table, where others would jump about
            keys = keys.take(order)
            rows = table.searchsorted(keys)
            rows[rows == len(table)] = -1
            found[possible.take(order)] = np.where(table.take(rows) == keys, rows, -1)
        return found

    # ---- smoothing ------------------------------------------------------------------------------------------

    def _smooth(self):
        """Turn counts into `alpha`, for n-grams of 1, 2, ... tokens, and `gamma`, for contexts of 0, 1, ... of them."""
        self._alpha, self._gamma, self.discounts = [None], [], []
        counts = self._adjusted() if self.smoothing == "kneser_ney" else self._counts
        contexts = 1
        for length, (keys, c) in enumerate(zip(self._keys[1:], counts[1:], strict=True), 1):
            context = keys // self.size
            total = np.bincount(context, weights=c, minlength=contexts).astype(float)
            taken = self._discounts(c)[np.minimum(c, 3)]
            if length == 1 and not self.options.get("uniform", True):
                taken[:] = 0
            left = np.bincount(context, weights=taken, minlength=contexts).astype(float)  # of nothing it has integers
            if self.smoothing == "witten_bell":
                total, taken = total + left, 0.0
            elif self.smoothing in ("laplace", "lidstone"):
                left += self.options.get("gamma", 1.0) * self.size
                total += left
            elif self.smoothing == "stupid_backoff" and length > 1:
                left = self.options["alpha"] * total
            at_an_end = total == 0  # contexts that nothing was seen after, so all is left to shorter ones
            total[at_an_end], left[at_an_end] = 1.0, self.options.get("alpha", 1.0)
            self._alpha.append(np.append((c - taken) / total[context], 0.0))
            self._gamma.append(np.append(left / total, self.options.get("alpha", 1.0)))
            contexts = len(keys)

    def _discounts(self, c):
        """Return what is taken from counts of 0, 1, 2 and more; for Witten-Bell, 1 to be shared with each."""
        if self.smoothing != "kneser_ney":
            fixed = 1.0 if self.smoothing == "witten_bell" else self.options.get("discount", 0.0)
            return np.array([0.0, fixed, fixed, fixed])
        taken = np.full(3, self.options["discount"] or FIXED_DISCOUNT)
        n = np.bincount(np.minimum(c, 5), minlength=6)[1:5]  # how many counts are 1, 2, 3, 4
        if self.options["discount"] is None and n.all():
            r = np.arange(1, 4)
            estimate = r - (r + 1) * n[0] / (n[0] + 2 * n[1]) * n[1:] / n[:-1]
            if (estimate > 0).all():
                taken = estimate
        self.discounts.append(tuple(taken.tolist()))
        return np.array([0.0, *taken])

    def _adjusted(self):
        """Return the counts, but below the highest order how many distinct tokens stand before an n-gram.

        The beginning of a text counts as one of them.
        """
        counts, rest = list(self._counts), None
        for length in range(2, self.order + 1):
            context, last = np.divmod(self._keys[length], self.size)
            rest = last if length == 2 else self._find(length - 1, rest[context] * self.size + last)
            shorter = self._counts[length - 1]
            continued = np.bincount(rest, weights=self._counts[length], minlength=len(shorter))
            counts[length - 1] = np.bincount(rest, minlength=len(shorter)) + (shorter > continued)
        return counts

    # ---- probabilities --------------------------------------------------------------------------------------

    def scores(self, text, prefix=(), lengths=None):
        """Return the probability of every token of a text, after those before it.

        Parameters
        ----------
        text : str, iterable of str, or array_like of int
        prefix : the same
            What stands before the text; it is read but not scored.
        lengths : array_like of int, optional
            Those of sentences, as in `fit`; a prefix belongs to the first of them.

        Returns
        -------
        numpy.ndarray of float64, shape (len(text),)
            Probabilities; with stupid backoff scores that do not sum to one.
        """
        self._check_counted()
        before, text = self._encode(prefix), self._encode(text)
        if len(before) and lengths is not None:
            lengths = np.array(lengths)
            lengths[:1] += len(before)
        tokens = np.concatenate([before, text])
        room = _room(lengths, len(tokens))
        p = self._mixed(1 / self.size, self._alpha[1][tokens], self._gamma[0][0])
        last, rows = _ends(room, len(tokens)), tokens
        for length in range(2, self.order + 1):
            last, contexts, keys = self._longer(tokens, room, last, rows)
            rows = self._find(length, keys)
            p[last] = self._mixed(p[last], self._alpha[length][rows], self._gamma[length - 1][contexts])
        return p[len(before) :]

    def distribution(self, context=()):
        """Return the probabilities of all tokens of the vocabulary after a context.

        Parameters
        ----------
        context : str, iterable of str, or array_like of int
            Of any length; the last order - 1 tokens count.

        Returns
        -------
        numpy.ndarray of float64, shape (V,)
        """
        self._check_counted()
        context = self._encode(context)
        p = self._mixed(1 / self.size, self._alpha[1][:-1], self._gamma[0][0])
        for length in range(1, min(len(context), self.order - 1) + 1):
            row = context[-length:][:1]
            for i in range(2, length + 1):
                row = self._find(i, row * self.size + context[i - length - 1])
            alpha, row = np.zeros(self.size), int(row[0])
            if row >= 0:
                keys, after = self._keys[length + 1], row * self.size
                after_it = slice(*np.searchsorted(keys, [after, after + self.size]))
                alpha[keys[after_it] - after] = self._alpha[length + 1][after_it]
            p = self._mixed(p, alpha, self._gamma[length][row])
        return p

    def _mixed(self, p, alpha, gamma):
        """Return the probabilities after a context from those after the shorter one, p."""
        if self.smoothing in ("laplace", "lidstone"):
            return alpha + gamma / self.size
        return np.where(alpha > 0, alpha, gamma * p) if self.smoothing == "stupid_backoff" else alpha + gamma * p

    def perplexity(self, text, prefix=(), lengths=None):
        """Return exp of the mean of -log p over the tokens of a text; the arguments are those of `scores`.

        Returns
        -------
        float
            Infinite if a token had probability 0. With stupid backoff it compares with nothing but itself.

        Raises
        ------
        ValueError
            If there is no token to score, or an unknown one.
        """
        p = self.scores(text, prefix, lengths)
        if not len(p):
            raise ValueError("text is empty, expected at least one token to score")
        return perplexity(-np.log(p).mean()) if p.all() else np.inf

    def sample(self, prefix, n, temperature=1, top_k=None, top_p=None, rng=None):
        """Return n tokens that go on from a prefix, which may be empty.

        The arguments are those of `CharLM.sample`, except that the model's own probabilities, temperature 1, are the
        default, and that the unknown word may be drawn, since nothing else may follow. Characters come as a str,
        words as a list, indices as an array.
        """
        self._check_counted()
        n, rng = as_count(n, "n", least=0), np.random.default_rng(rng)
        tokens = self._encode(prefix).tolist()
        read = len(tokens)
        while len(tokens) < read + n:
            p = self.distribution(np.array(tokens[max(len(tokens) - self.order + 1, 0) :], np.int64))
            logits = np.log(p, where=p > 0, out=np.full(self.size, -np.inf))
            tokens.append(draw(logits, temperature, top_k, top_p, rng))
        drawn = np.array(tokens[read:], np.int64)
        return drawn if isinstance(self.vocabulary, int) else self.vocabulary.decode(drawn)

    # ---- files ----------------------------------------------------------------------------------------------

    def save(self, path):
        """Write the counts and the settings to a safetensors file, whole or not at all."""
        self._check_counted()
        keys = {f"keys.{length}": keys for length, keys in enumerate(self._keys) if length > 1}
        counts = {f"counts.{length}": counts for length, counts in enumerate(self._counts) if length}
        vocabulary = self.vocabulary if isinstance(self.vocabulary, int) else {"of": self.vocabulary.config()}
        settings = {"order": self.order, "smoothing": self.smoothing, **self.options}
        save_arrays(path, keys | counts, {"ngram": {"vocabulary": vocabulary, "settings": settings}})

    @classmethod
    def load(cls, path):
        """Return the model in a file that `save` wrote.

        Raises
        ------
        ValueError
            If the file is damaged, or holds something else.
        OSError
            If it cannot be read.
        """
        arrays, metadata = load_arrays(path)
        try:
            described = metadata["ngram"]
            vocabulary = described["vocabulary"]
            if not isinstance(vocabulary, int):
                vocabulary = Vocabulary.from_config(vocabulary["of"])
            lm = cls(vocabulary, **described["settings"])
            lm._counts = [None, *(arrays[f"counts.{length}"] for length in range(1, lm.order + 1))]
            if len(lm._counts[1]) != lm.size:
                raise ValueError(f"there are counts of {len(lm._counts[1])} tokens, expected {lm.size}")
            lm._keys = [None, np.arange(lm.size), *(arrays[f"keys.{length}"] for length in range(2, lm.order + 1))]
            rows = 1
            for keys, counts in zip(lm._keys[1:], lm._counts[1:], strict=True):
                if keys.shape != counts.shape or keys.dtype != np.int64 or counts.dtype != np.int64:
                    raise ValueError("keys and counts do not belong together")
                if len(keys) and not (keys[0] >= 0 and keys[-1] < rows * lm.size and (np.diff(keys) > 0).all()):
                    raise ValueError("keys are not in order")
                rows = len(keys)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} holds no model of n-grams: {error}") from None
        lm._smooth()
        return lm

    def _check_counted(self):
        if self._counts is None:
            raise ValueError("the model has counted no text yet: fit comes first")

    def _encode(self, text):
        """Return a text as indices."""
        return as_tokens(text, self.vocabulary)

    def __repr__(self):
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"<NGramLM of order {self.order} over {self.size} tokens, {self.smoothing}{options}>"


def _room(lengths, n):
    """Return how many tokens there are from each one to the end of its sentence, itself included; None for one text."""
    if lengths is None:
        return None
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any() or lengths.sum() != n:
        raise ValueError(f"lengths are {lengths!r}, expected whole numbers that add up to the {n} of the text")
    return np.repeat(np.cumsum(lengths), lengths) - np.arange(n)


def _ends(room, n):
    """Return where n-grams of one token end."""
    return slice(0, None) if room is None else np.arange(n)
