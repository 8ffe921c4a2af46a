"""Vectors by word: what is near what, analogies, and how well that agrees with people's judgement.

Names and arguments are gensim's.
"""

import numpy as np

from fastnn._checks import as_count
from fastnn.nn.module import Buffer, Module

__all__ = ["KeyedVectors"]


class KeyedVectors(Module):
    """Words and a vector for each.

    Parameters
    ----------
    vector_size : int
    keys : sequence of str
        The words, each once; the commonest first, if `restrict_vocab` is to mean the common ones.
    counts : sequence of int, optional
        How often each was seen.
    dtype : {float32, float64}

    Attributes
    ----------
    vectors : ndarray (words, vector_size)
        0 at first.
    index_to_key : list of str
    key_to_index : dict of str to int

    Examples
    --------
    >>> from fastnn.models import KeyedVectors
    >>> wv = KeyedVectors(2)
    >>> wv.add_vectors(["king", "queen", "man", "woman"], [[3, 1], [3, 2], [1, 1], [1, 2]])
    >>> [word for word, cosine in wv.most_similar("king", topn=2)]
    ['queen', 'man']
    >>> wv["queen"], "prince" in wv
    (array([3., 2.], dtype=float32), False)
    """

    def __init__(self, vector_size, keys=(), counts=None, *, dtype=np.float32):
        self.vector_size = as_count(vector_size, "vector_size")
        self._set_keys(keys, counts)
        self.weight = Buffer(np.zeros((len(self.index_to_key), self.vector_size), dtype))

    def _set_keys(self, keys, counts):
        self.index_to_key = list(keys)
        self.key_to_index = {key: i for i, key in enumerate(self.index_to_key)}
        if len(self.key_to_index) < len(self.index_to_key):
            twice = next(key for i, key in enumerate(self.index_to_key) if self.key_to_index[key] != i)
            raise ValueError(f"keys hold {twice!r} more than once")
        if counts is not None and len(counts) != len(self.index_to_key):
            raise ValueError(f"counts have length {len(counts)}, expected {len(self.index_to_key)} as keys have")
        self.counts = None if counts is None else np.array(counts, np.int64)
        self._norms = None

    def config(self):
        counts = None if self.counts is None else self.counts.tolist()
        return {"vector_size": self.vector_size, "keys": self.index_to_key, "counts": counts}

    def __repr__(self):
        return f"KeyedVectors(vector_size={self.vector_size}, {len(self):,} keys)"

    def __len__(self):
        return len(self.index_to_key)

    def __contains__(self, key):
        return key in self.key_to_index

    def __getitem__(self, key):
        return self.get_vector(key) if isinstance(key, str) else np.array([self.get_vector(one) for one in key])

    @property
    def vectors(self):
        return self.weight.value

    def add_vectors(self, keys, weights, replace=False):
        """Add words with their vectors; those that are there already keep theirs, unless `replace`.

        Parameters
        ----------
        keys : str or sequence of str
        weights : array_like (len(keys), vector_size)
        replace : bool
        """
        keys, weights = ([keys], [weights]) if isinstance(keys, str) else (list(keys), weights)
        weights = np.asarray(weights, self.vectors.dtype)
        if weights.shape != (len(keys), self.vector_size):
            raise ValueError(f"weights have shape {weights.shape}, expected {(len(keys), self.vector_size)}")
        last = dict(zip(keys, range(len(keys)), strict=True))
        new = [key for key in last if key not in self.key_to_index]
        known = [key for key in last if key in self.key_to_index] if replace else []
        vectors = np.concatenate([self.vectors, weights[[last[key] for key in new]].reshape(-1, self.vector_size)])
        vectors[[self.key_to_index[key] for key in known]] = weights[[last[key] for key in known]]
        counts = None if self.counts is None else np.concatenate([self.counts, np.zeros(len(new), np.int64)])
        self._set_keys([*self.index_to_key, *new], counts)
        self.weight.value = vectors

    # ---- single words ---------------------------------------------------------------------------------------

    def get_index(self, key):
        """Return the index of a word, or raise KeyError."""
        try:
            return self.key_to_index[key]
        except KeyError:
            raise KeyError(f"{key!r} is not among the {len(self):,} keys") from None

    def get_vector(self, key, norm=False):
        """Return the vector of a word, scaled to length 1 if `norm`."""
        vector = self.vectors[self.get_index(key)]
        return vector / self.get_norms()[self.get_index(key)] if norm else vector.copy()

    def get_norms(self):
        """Return the lengths of all vectors, 1 for those that are 0; kept until `fill_norms` is called."""
        if self._norms is None:
            self.fill_norms()
        return self._norms

    def fill_norms(self):
        """Compute the lengths of all vectors anew, after `vectors` was written into."""
        norms = np.sqrt(np.einsum("ij,ij->i", self.vectors, self.vectors))
        norms[norms == 0] = 1
        self._norms = norms

    def similarity(self, w1, w2):
        """Return the cosine of the angle between the vectors of two words."""
        return float(self.get_vector(w1, norm=True) @ self.get_vector(w2, norm=True))

    def get_mean_vector(self, keys, weights=None, pre_normalize=True, post_normalize=False):
        """Return the mean of the vectors of words, or vectors themselves, each times its weight.

        As in gensim the sum is divided by the sum of the absolute weights.
        """
        if not len(keys):
            raise ValueError("keys are empty, expected at least one word or vector")
        weights = np.ones(len(keys)) if weights is None else np.asarray(weights, float)
        if len(weights) != len(keys):
            raise ValueError(f"weights have length {len(weights)}, expected {len(keys)} as keys have")
        rows = np.array([self.get_vector(key) if isinstance(key, str) else np.asarray(key) for key in keys], np.float64)
        if rows.shape[1:] != (self.vector_size,):
            raise ValueError(f"a vector has shape {rows.shape[1:]}, expected {(self.vector_size,)}")
        if pre_normalize:
            rows /= _lengths(rows)[:, None]
        mean = weights @ rows / max(np.abs(weights).sum(), np.finfo(float).tiny)
        if post_normalize:
            mean /= _lengths(mean[None])[0]
        return mean.astype(self.vectors.dtype)

    # ---- neighbours -----------------------------------------------------------------------------------------

    def most_similar(self, positive=None, negative=None, topn=10, clip_start=0, clip_end=None, restrict_vocab=None):
        """Return the words nearest to the positive ones and farthest from the negative ones, by cosine.

        Parameters
        ----------
        positive, negative : str, vector, or list of these or of (word or vector, weight)
            Their unit vectors are averaged, those of the negative ones times -1; words among them are no answers.
        topn : int or None
            How many to return; None for the cosines of all words, as an array.
        clip_start, clip_end : int
            The answers are among the words from the one index to before the other.
        restrict_vocab : int, optional
            Another name for clip_end.

        Returns
        -------
        list of (str, float)

        Raises
        ------
        KeyError
            If a word is unknown.
        ValueError
            If nothing is given.
        """
        keys, weights = [], []
        for sign, given in ((1.0, positive), (-1.0, negative)):
            for key in _listed(given):
                key, weight = key if isinstance(key, tuple) else (key, sign)
                keys.append(key)
                weights.append(weight)
        if not keys:
            raise ValueError("positive and negative are empty, expected at least one word or vector")
        mean = self.get_mean_vector(keys, weights, post_normalize=True)
        clip_end = restrict_vocab if restrict_vocab else clip_end
        part = slice(clip_start, clip_end)
        cosines = self.vectors[part] @ mean / self.get_norms()[part]
        if topn is None:
            return cosines
        start = part.indices(len(self))[0]
        asked = [self.key_to_index[key] - start for key in keys if isinstance(key, str)]
        return [(self.index_to_key[start + i], float(cosines[i])) for i in _largest(cosines, topn, asked)]

    def similar_by_word(self, word, topn=10, restrict_vocab=None):
        """Return the words nearest to a word."""
        return self.most_similar([word], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_vector(self, vector, topn=10, restrict_vocab=None):
        """Return the words nearest to a vector."""
        return self.most_similar([np.asarray(vector)], topn=topn, restrict_vocab=restrict_vocab)

    def doesnt_match(self, words):
        """Return the word that is farthest from the mean of all; unknown words are left out.

        Raises
        ------
        ValueError
            If none is known.
        """
        known = [word for word in words if word in self.key_to_index]
        if not known:
            raise ValueError("words hold none that is among the keys")
        rows = np.array([self.get_vector(word, norm=True) for word in known])
        return known[int(np.argmin(rows @ self.get_mean_vector(known, post_normalize=True)))]


def _lengths(rows):
    norms = np.sqrt((rows * rows).sum(axis=1))
    norms[norms == 0] = 1
    return norms


def _listed(given):
    """Return what was given for `positive` or `negative` as a list of words, vectors and pairs."""
    if given is None:
        return []
    return [given] if isinstance(given, str | tuple) or (isinstance(given, np.ndarray) and given.ndim == 1) else given


def _largest(values, n, without):
    """Return the indices of the n largest values, in descending order, without some."""
    wanted = as_count(n, "topn", least=0)
    n = min(wanted + len(without), len(values))
    if n == 0:
        return []
    found = np.argpartition(values, -n)[-n:]
    found = found[np.argsort(-values[found], kind="stable")]
    return found[~np.isin(found, without)][:wanted]
