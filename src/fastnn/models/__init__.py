"""Models that learn from text."""

from fastnn.models.language import CharLM, perplexity, unigram_perplexity
from fastnn.models.ngram import NGramLM

__all__ = ["CharLM", "NGramLM", "perplexity", "unigram_perplexity"]
