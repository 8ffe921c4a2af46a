"""Vectors by word: what is near what, analogies, and how well that agrees with people's judgement.

Names and arguments are gensim's.
"""

import itertools
import json
import math
import mmap
import os
import re
from numbers import Real

import numpy as np

from fastnn._backend import functions as F
from fastnn._checks import as_count, check_choice
from fastnn.nn.module import Buffer, Module

__all__ = ["KeyedVectors"]

HEADER = re.compile(rb"\s*[-+]?\d+\s+[-+]?\d+\s*")
SCAN = 1 << 24  # bytes of a file whose lines are counted at a time


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
        positive, negative : str, vector, (word or vector, weight), or sequence of these
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
            If nothing is given, or something else.
        """
        keys, weights = [], []
        for sign, given in ((1.0, positive), (-1.0, negative)):
            for key in _listed(given):
                key, weight = key if _is_pair(key) else (key, sign)
                if not isinstance(key, str) and np.shape(key) != (self.vector_size,):
                    raise ValueError(
                        f"a key is {key!r}, expected a word, {self.vector_size} numbers, or one with a weight"
                    )
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

    # ---- judged by people -----------------------------------------------------------------------------------

    def evaluate_word_pairs(
        self, pairs, delimiter="\t", encoding="utf8", restrict_vocab=300_000, case_insensitive=True, dummy4unknown=False
    ):
        """Compare the cosines of pairs of words with how alike people find them.

        Parameters
        ----------
        pairs : path
            A file of lines with two words and a number; lines that begin with # are left out.
        delimiter, encoding : str
        restrict_vocab : int
            The words that count, from the first on.
        case_insensitive : bool
            Whether to compare words in upper case; of those that are then equal the first counts.
        dummy4unknown : bool
            Whether a pair with an unknown word counts with a cosine of 0, or not at all.

        Returns
        -------
        pearson, spearman : (float, float)
            The correlation and the probability of one at least as far from 0 by chance.
        oov_ratio : float
            The percentage of pairs with an unknown word.

        Raises
        ------
        ValueError
            If a line is not of that form, or fewer than three pairs are left.
        """
        fold = str.upper if case_insensitive else str
        index = self._folded(fold, restrict_vocab)
        judged, cosines, unknown = [], [], 0
        for number, line in enumerate(_lines(pairs, encoding), 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                a, b, value = (part.strip() for part in line.split(delimiter))
                value = float(value)
            except ValueError:
                raise ValueError(f"line {number} of {pairs} is {line!r}, expected two words and a number") from None
            a, b = index.get(fold(a)), index.get(fold(b))
            unknown += a is None or b is None
            if a is not None and b is not None:
                cosines.append(self._unit([a])[0] @ self._unit([b])[0])
            elif dummy4unknown:
                cosines.append(0.0)
            else:
                continue
            judged.append(value)
        if len(judged) < 3:
            raise ValueError(f"{pairs} holds {len(judged)} pairs of known words, expected at least 3")
        pearson = _correlation(np.array(judged), np.array(cosines, float))
        spearman = _correlation(_ranks(judged), _ranks(cosines))
        return pearson, spearman, 100 * unknown / (len(judged) + (0 if dummy4unknown else unknown))

    def evaluate_word_analogies(
        self,
        analogies,
        restrict_vocab=300_000,
        case_insensitive=True,
        dummy4unknown=False,
        similarity_function="most_similar",
    ):
        """Count for how many questions "a is to b as c is to what" the nearest word to b - a + c is the one expected.

        Parameters
        ----------
        analogies : path
            A file of lines of four words; lines that begin with a colon name the section that follows.
        restrict_vocab : int
            The words that count, from the first on.
        case_insensitive : bool
            Whether to compare words in upper case; of those that are then equal the first counts.
        dummy4unknown : bool
            Whether a question with an unknown word counts as wrong, or not at all.
        similarity_function : {"most_similar"}

        Returns
        -------
        score : float
            The share that is right, 0 if there are none.
        sections : list of dict
            For each "section", its name, "correct" and "incorrect", lists of the questions; the last one is of all.

        Raises
        ------
        ValueError
            If a line is not of that form.
        """
        check_choice(similarity_function, ("most_similar",), "similarity_function")
        fold = str.upper if case_insensitive else str
        index = self._folded(fold, restrict_vocab)
        sections = []
        for number, line in enumerate(_lines(analogies, "utf8"), 1):
            if line.startswith(":"):
                sections.append({"section": line[1:].strip(), "correct": [], "incorrect": [], "asked": []})
                continue
            words = tuple(map(fold, line.split()))
            if not words:
                continue
            if len(words) != 4 or not sections:
                raise ValueError(
                    f"line {number} of {analogies} is {line!r}, expected four words below a line with a colon"
                )
            if all(word in index for word in words):
                sections[-1]["asked"].append(words)
            elif dummy4unknown:
                sections[-1]["incorrect"].append(words)
        unit = self._unit(list(index.values()))
        place = dict(zip(index, range(len(index)), strict=True))
        for section in sections:
            asked = section.pop("asked")
            for words, right in zip(asked, _analogies(unit, [[place[word] for word in q] for q in asked]), strict=True):
                section["correct" if right else "incorrect"].append(words)
        total = {"section": "Total accuracy"}
        total |= {kind: list(itertools.chain(*(s[kind] for s in sections))) for kind in ("correct", "incorrect")}
        answered = len(total["correct"]) + len(total["incorrect"])
        return len(total["correct"]) / max(1, answered), [*sections, total]

    def _folded(self, fold, restrict_vocab):
        """Return the indices of the first words, by the word as it is compared; the first of equal ones stays."""
        index = {}
        for i, key in enumerate(self.index_to_key[:restrict_vocab]):
            index.setdefault(fold(key), i)
        return index

    def _unit(self, rows):
        return self.vectors[rows] / self.get_norms()[rows, None]

    # ---- files ----------------------------------------------------------------------------------------------

    @classmethod
    def load_word2vec_format(
        cls, fname, fvocab=None, binary=False, encoding="utf8", unicode_errors="strict", limit=None, no_header=False
    ):
        """Read a file of word2vec, text or binary, or with `no_header` one of GloVe.

        Parameters
        ----------
        fname : path
            A line with the numbers of words and of numbers of each; then for each a word, a space, and its numbers, in
            a line or as float32.
        fvocab : path, optional
            A file with lines of a word and how often it was seen.
        binary : bool
        encoding, unicode_errors : str
            Of words, as `bytes.decode` takes them.
        limit : int, optional
            Read no more than the first so many words.
        no_header : bool
            Whether the first line is one of the words.

        Returns
        -------
        KeyedVectors
            Of a word that is there twice the first vector stays.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If it is truncated, its first line is wrong or claims more than the file can hold, or a line is not of its
            form.
        """
        fname = os.fspath(fname)
        with open(fname, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ValueError(f"{fname} is empty, expected vectors of words")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if no_header and binary:
                    raise ValueError("no_header is for text, but binary is True")
                limit = size if limit is None else as_count(limit, "limit", least=0)
                count, dim, at = _unheaded(fname, data, limit) if no_header else _header(fname, data)
                least = count * (2 + 4 * dim if binary else 1 + 2 * dim)
                if least > size - at:
                    raise ValueError(
                        f"{fname} claims {count} vectors of {dim} numbers, which take at least {least} bytes, but "
                        f"{size - at} are there for them"
                    )
                wanted = min(count, limit)
                vectors, spans = np.empty((wanted, dim), np.float32), np.empty((wanted, 2), np.int64)
                view = np.frombuffer(data, np.uint8)
                try:
                    rows, at = (F.read_binary if binary else F.read_text)(vectors, spans, view, at)
                finally:
                    del view  # or the map could not be closed
                if rows < wanted:
                    raise ValueError(
                        f"{fname} ends in vector {rows + 1} of {wanted}"
                        if binary or at >= size
                        else f"{fname} holds {data[at : min(_line_end(data, at), at + 40)]!r} as vector {rows + 1}, "
                        f"expected a word and {dim} numbers"
                    )
                word = data[slice(*spans[0].tolist())] if wanted and not binary else b""
                if _ends_in_number(word):
                    raise ValueError(
                        f"{fname} holds {word!r} as a word before {dim} numbers, expected a header that counts all "
                        f"numbers of a line"
                    )
                if wanted == count and not no_header and data[at : at + 4096].strip():
                    raise ValueError(f"{fname} goes on after the {count} vectors that its header claims")
                try:
                    keys = [data[start:end].decode(encoding, unicode_errors) for start, end in spans.tolist()]
                except UnicodeDecodeError as error:
                    raise ValueError(f"{fname} holds the word {error.object!r}, which is not {encoding}") from None
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        if len(first) < len(keys):
            kept = sorted(first.values())
            keys, vectors = [keys[i] for i in kept], vectors[kept]
        counts = None
        if fvocab is not None:
            seen = _counts(fvocab, encoding)
            counts = [seen.get(key, 0) for key in keys]
        wv = cls(dim, keys, counts)
        wv.weight.value = vectors
        return wv

    def save_word2vec_format(self, fname, fvocab=None, binary=False, write_header=True):
        """Write a file as `load_word2vec_format` reads it; without the header, as text, it is one of GloVe.

        Each file is written whole or not at all. Numbers have nine digits in text, which is all that float32 holds.

        Raises
        ------
        OSError
            If a file cannot be written.
        ValueError
            If a word cannot be told from what stands around it: it is empty, holds a line feed, in a binary file a
            space, or ends in text in a space and a number; or without the header the first one holds a space.
        """
        from fastnn.io import write_whole

        if binary and not write_header:
            raise ValueError("write_header is False, but binary files have one")
        forbidden = set(" \n") if binary else set("\n")
        for i, key in enumerate(self.index_to_key):
            first = i == 0 and not write_header and len(key.split()) > 1  # whose line tells how many numbers there are
            if first or not key or set(key) & forbidden or (not binary and _ends_in_number(key.encode())):
                raise ValueError(f"keys hold {key!r}, which a {'binary' if binary else 'text'} file of word2vec cannot")
        pattern = " %.9g" * self.vector_size + "\n"

        def lines():
            if write_header:
                yield f"{len(self)} {self.vector_size}\n".encode()
            for key, row in zip(self.index_to_key, self.vectors, strict=True):
                numbers = row.astype("<f4").tobytes() + b"\n" if binary else (pattern % tuple(row.tolist())).encode()
                yield key.encode() + b" " * binary + numbers

        write_whole(fname, lines())
        if fvocab is not None:
            counts = np.zeros(len(self), int) if self.counts is None else self.counts
            pairs = zip(self.index_to_key, counts, strict=True)
            write_whole(fvocab, (f"{key} {count}\n".encode() for key, count in pairs))

    @classmethod
    def load(cls, path, mmap=None):
        """Return what `save` wrote; with mmap="r" the vectors stay in the file, which is read as they are used.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is truncated, claims what it does not hold, or holds something else.
        """
        from fastnn.io import load

        check_choice(mmap, (None, "r"), "mmap")
        wv = load(path) if mmap is None else cls._mapped(os.fspath(path))
        if not isinstance(wv, KeyedVectors):
            raise ValueError(f"{os.fspath(path)} holds a {type(wv).__name__}, expected KeyedVectors")
        return wv

    @classmethod
    def _mapped(cls, path):
        from safetensors import SafetensorError, safe_open

        with open(path, "rb") as file:
            try:
                with safe_open(path, "numpy"):  # which finds out whether the header is true
                    length = int.from_bytes(file.read(8), "little")
                    header = json.loads(file.read(length))
            except SafetensorError as error:
                raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from None
        try:
            config, tensor = json.loads(header["__metadata__"]["fastnn"])["module"]["config"], header["weight"]
            wv = cls(config["vector_size"])
            wv._set_keys(config["keys"], config["counts"])
            if tensor["shape"] != [len(wv), wv.vector_size]:
                raise ValueError(f"weight has shape {tensor['shape']}, expected {[len(wv), wv.vector_size]}")
            dtype, offset = {"F32": "<f4", "F64": "<f8"}[tensor["dtype"]], 8 + length + tensor["data_offsets"][0]
            wv.weight.value = np.memmap(path, dtype, "r", offset, tuple(tensor["shape"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no KeyedVectors: {error}") from None
        return wv


def _header(fname, data):
    """Return the two numbers of the first line of a file of vectors, and where it ends."""
    end = _line_end(data, 0)
    line = data[: min(end, 100)]
    if not HEADER.fullmatch(line):
        raise ValueError(f"{fname} begins with {line!r}, expected the numbers of words and of numbers of each")
    count, dim = map(int, line.split())
    if count < 0 or dim < 1:
        raise ValueError(f"the header of {fname} claims {count} vectors of {dim} numbers")
    return count, dim, min(end + 1, len(data))


def _unheaded(fname, data, limit):
    """Return how many lines a file of vectors has, or `limit` if that is fewer, how many numbers its first, and 0."""
    line = data[: _line_end(data, 0)]
    dim, count = len(line.split()) - 1, 0
    if dim < 1:
        raise ValueError(f"{fname} begins with a line of {dim + 1} parts, expected a word and numbers")
    if HEADER.fullmatch(line):
        raise ValueError(f"{fname} begins with {line!r}, which looks like a header, but no_header is True")
    for start in range(0, len(data), SCAN):
        count += data[start : start + SCAN].count(b"\n")
        if count >= limit:
            break
    return min(count + (data[-1:] != b"\n"), limit), dim, 0


def _ends_in_number(word):
    """Return whether a word, as bytes, is one of several parts of which the last is a number."""
    parts = word.split()
    if len(parts) < 2 or b"_" in parts[-1]:
        return False
    try:
        float(parts[-1])
    except ValueError:
        return False
    return True


def _line_end(data, at):
    end = data.find(b"\n", at)
    return len(data) if end < 0 else end


def _counts(path, encoding):
    """Return how often each word was seen, as a file tells it."""
    counts = {}
    for number, line in enumerate(_lines(path, encoding), 1):
        if not line.strip():
            continue
        try:
            word, count = line.rsplit(maxsplit=1)
            counts[word] = int(count)
        except ValueError:
            raise ValueError(
                f"line {number} of {path} is {line!r}, expected a word and how often it was seen"
            ) from None
    return counts


def _lines(path, encoding):
    with open(path, encoding=encoding) as file:
        yield from (line.rstrip("\n") for line in file)


def _analogies(unit, questions, together=256):
    """Yield whether the nearest vector to b - a + c, but for these, is d; all four are rows of `unit`."""
    for start in range(0, len(questions), together):
        part = np.array(questions[start : start + together])
        a, b, c, d = part.T
        cosines = (unit[b] - unit[a] + unit[c]) @ unit.T
        np.put_along_axis(cosines, part[:, :3], -np.inf, axis=1)
        yield from cosines.argmax(axis=1) == d


def _ranks(values):
    """Return the rank of each value, equal ones having the mean of theirs."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[number]


def _correlation(x, y):
    """Return Pearson's correlation, and the probability of one as far from 0 if there is none: Student's t."""
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt((x @ x) * (y @ y))
    r = max(-1.0, min(1.0, float(x @ y) / scale)) if scale else math.nan
    return r, _beta_share((len(x) - 2) / 2, 0.5, 1 - r * r)


def _beta_share(a, b, x):
    """Return the regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun, 26.5.8)."""
    if not 0 < x < 1:
        return x  # 0, 1 or NaN
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(b, a, 1 - x)
    tiny, c = 1e-300, 1.0
    d = 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 500):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log) * value / a


def _lengths(rows):
    norms = np.sqrt((rows * rows).sum(axis=1))
    norms[norms == 0] = 1
    return norms


def _is_pair(given):
    """Return whether this is a word or vector with its weight."""
    return (
        isinstance(given, tuple) and len(given) == 2 and not isinstance(given[0], Real) and isinstance(given[1], Real)
    )


def _listed(given):
    """Return what was given for `positive` or `negative` as a list of words, vectors and pairs."""
    if given is None:
        return []
    vector = isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in "iuf"
    return [given] if isinstance(given, str) or vector or _is_pair(given) else given


def _largest(values, n, without):
    """Return the indices of the n largest values, in descending order, without some."""
    wanted = as_count(n, "topn", least=0)
    n = min(wanted + len(without), len(values))
    if n == 0:
        return []
    found = np.argpartition(values, -n)[-n:]
    found = found[np.argsort(-values[found], kind="stable")]
    return found[~np.isin(found, without)][:wanted]
