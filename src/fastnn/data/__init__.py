"""Files of numbers, minibatches, windows of text, vocabularies, and small texts to try them on."""

from fastnn.data.bucketing import bucketed_batches, pad_sequences
from fastnn.data.files import Table, read_csv, read_idx
from fastnn.data.preparation import Normalizer, split
from fastnn.data.sampling import batches, consecutive_windows, random_windows
from fastnn.data.text import Vocabulary, chinese_poems, shakespeare
from fastnn.data.tokenizers import detokenize, tokenize

__all__ = [
    "Normalizer",
    "Table",
    "Vocabulary",
    "batches",
    "bucketed_batches",
    "chinese_poems",
    "consecutive_windows",
    "detokenize",
    "pad_sequences",
    "random_windows",
    "read_csv",
    "read_idx",
    "shakespeare",
    "split",
    "tokenize",
]
