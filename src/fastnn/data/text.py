"""Characters as indices, and the text that ships with the package."""

import gzip
from pathlib import Path

import numpy as np

__all__ = ["Vocabulary", "shakespeare"]


class Vocabulary:
    """The distinct characters of a text, in the order of their code points.

    Parameters
    ----------
    text : str
        Any text, in any script: its characters become the vocabulary.

    Attributes
    ----------
    characters : str
        The characters, so that ``characters[i]`` is the one with index i. ``Vocabulary(v.characters)`` equals ``v``,
        which is how a checkpoint keeps it.

    Raises
    ------
    ValueError
        If the text is empty.

    Examples
    --------
    >>> from fastnn.data import Vocabulary
    >>> vocabulary = Vocabulary("深度学习, deep learning")
    >>> len(vocabulary), vocabulary.characters
    (15, ' ,adegilnpr习学度深')
    >>> vocabulary.encode("学习")
    array([12, 11])
    >>> vocabulary.decode([12, 11])
    '学习'
    """

    def __init__(self, text):
        self.characters = "".join(sorted(set(text)))
        if not self.characters:
            raise ValueError("text is empty, expected at least one character")
        self._points = _code_points(self.characters)

    def encode(self, text):
        """Return the index of every character.

        Parameters
        ----------
        text : str

        Returns
        -------
        numpy.ndarray of int64, shape (len(text),)

        Raises
        ------
        ValueError
            If a character is not in the vocabulary; the message names it.
        """
        points = _code_points(text)
        indices = np.searchsorted(self._points, points)
        unknown = np.flatnonzero(self._points[np.minimum(indices, len(self) - 1)] != points)
        if len(unknown):
            at = unknown[0]
            raise ValueError(
                f"character {text[at]!r} (U+{ord(text[at]):04X}) at position {at} "
                f"is not among the {len(self)} of the vocabulary"
            )
        return indices.astype(np.int64, copy=False)

    def decode(self, indices):
        """Return the text that these indices stand for.

        Parameters
        ----------
        indices : array_like of int

        Returns
        -------
        str

        Raises
        ------
        IndexError
            If an index is not in 0..len - 1.
        """
        indices = np.asarray(indices, dtype=np.int64).ravel()
        wrong = indices[(indices < 0) | (indices >= len(self))]
        if len(wrong):
            raise IndexError(f"indices hold {wrong[0]}, which is not among the {len(self)} of the vocabulary")
        return self._points[indices].tobytes().decode("utf-32-le", "surrogatepass")

    def __len__(self):
        return len(self.characters)

    def __contains__(self, character):
        return len(character) == 1 and character in self.characters

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self):
        return hash(self.characters)

    def __repr__(self):
        return f"Vocabulary({self.characters!r})"


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
    return gzip.decompress(Path(__file__).with_name("shakespeare.txt.gz").read_bytes()).decode("ascii")
