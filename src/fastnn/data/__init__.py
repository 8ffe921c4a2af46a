"""Minibatches, windows of text, vocabularies, and a small text to try them on."""

from fastnn.data.sampling import batches, consecutive_windows, random_windows
from fastnn.data.text import Vocabulary, shakespeare
from fastnn.data.tokenizers import detokenize, tokenize

__all__ = ["Vocabulary", "batches", "consecutive_windows", "detokenize", "random_windows", "shakespeare", "tokenize"]
