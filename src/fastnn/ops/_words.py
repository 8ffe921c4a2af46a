"""The numbers of the words of a text."""

from fastnn._kernels.word2vec import WordIndex

__all__ = ["WordIndex"]
