"""Models that learn from text, and searches for what they would say."""

from fastnn.models.decoding import Hypothesis, beam_search, greedy_decode
from fastnn.models.language import CharLM, perplexity, unigram_perplexity
from fastnn.models.ngram import NGramLM
from fastnn.models.seq2seq import Seq2Seq

__all__ = [
    "CharLM",
    "Hypothesis",
    "NGramLM",
    "Seq2Seq",
    "beam_search",
    "greedy_decode",
    "perplexity",
    "unigram_perplexity",
]
