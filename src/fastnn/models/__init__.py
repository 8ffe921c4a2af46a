"""Models that learn from text."""

from fastnn.models.language import CharLM, perplexity, unigram_perplexity

__all__ = ["CharLM", "perplexity", "unigram_perplexity"]
