"""The numbers of the words of a text, and vectors from files."""

import numpy as np

__all__ = ["WordIndex", "read_binary", "read_text"]


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


def read_binary(vectors, spans, data, at):
    """Read a word, a space and float32 numbers for each row; return how many rows there are, and where they end."""
    data, size = bytes(data), 4 * vectors.shape[1]
    for row in range(len(vectors)):
        while data[at : at + 1] == b"\n":
            at += 1
        space = data.find(b" ", at)
        if space < 0 or space + 1 + size > len(data):
            return row, at
        spans[row] = at, space
        vectors[row] = np.frombuffer(data, "<f4", vectors.shape[1], space + 1)
        at = space + 1 + size
    return len(vectors), at


def read_text(vectors, spans, data, at):
    """Read a line with a word and numbers for each row; return how many rows there are, and where they end."""
    data = bytes(data)
    for row in range(len(vectors)):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        parts = data[at:end].rstrip().rsplit(maxsplit=vectors.shape[1])
        try:
            if len(parts) <= vectors.shape[1] or b"_" in b"".join(parts[1:]):  # which Python allows in numbers
                return row, at
            vectors[row] = [float(number) for number in parts[1:]]
        except ValueError:
            return row, at
        spans[row] = at, at + len(parts[0])
        at = end + 1
    return len(vectors), at
