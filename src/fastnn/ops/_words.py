"""The numbers of the words of a text, and vectors from files."""

from fastnn._kernels.word2vec import WordIndex, read_binary, read_text

__all__ = ["WordIndex", "read_binary", "read_text"]
