"""Models that learn from text and other sequences, and searches for what they would say."""

from fastnn.models.classifiers import RecurrentClassifier, TextCNN
from fastnn.models.decoding import Hypothesis, beam_search, greedy_decode
from fastnn.models.keyedvectors import KeyedVectors
from fastnn.models.language import CharLM, LanguageModel, perplexity, unigram_perplexity
from fastnn.models.ngram import NGramLM
from fastnn.models.seq2seq import Seq2Seq
from fastnn.models.word2vec import Word2Vec

__all__ = [
    "CharLM",
    "Hypothesis",
    "KeyedVectors",
    "LanguageModel",
    "NGramLM",
    "RecurrentClassifier",
    "Seq2Seq",
    "TextCNN",
    "Word2Vec",
    "beam_search",
    "greedy_decode",
    "perplexity",
    "unigram_perplexity",
]
