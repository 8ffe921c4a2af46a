"""The numbers of the words of a text."""

import numpy as np

__all__ = ["WordIndex"]


class WordIndex:
    """The numbers of words, given as bytes."""

    def __init__(self, words):
        self._numbers = {word: i for i, word in enumerate(words)}

    def encode(self, data):
        """Return the numbers of the known words in lines of text, where lines end, and how many words there are."""
        ids, ends, words = [], [], 0
        for line in bytes(data).split(b"\n"):
            found = line.split()
            known = [self._numbers[word] for word in found if word in self._numbers]
            ids += known
            ends += [len(ids)] if known else []
            words += len(found)
        return np.array(ids, np.int32), np.array(ends, np.int64), words
