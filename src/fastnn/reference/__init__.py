"""The same functions in plain NumPy: the specification of the kernels, and a drop-in twin of `fastnn`."""

from fastnn.reference import (
    activations,
    attention,
    convolution,
    embedding,
    losses,
    normalization,
    recurrent,
    regularization,
    updates,
    word2vec,
)
from fastnn.reference._products import affine as affine
from fastnn.reference._products import affine_backward as affine_backward
from fastnn.reference._words import WordIndex as WordIndex
from fastnn.reference._words import read_binary as read_binary
from fastnn.reference._words import read_text as read_text
from fastnn.reference.activations import *
from fastnn.reference.attention import *
from fastnn.reference.convolution import *
from fastnn.reference.embedding import *
from fastnn.reference.losses import *
from fastnn.reference.normalization import *
from fastnn.reference.recurrent import *
from fastnn.reference.regularization import *
from fastnn.reference.updates import *
from fastnn.reference.word2vec import *

__all__ = [
    *activations.__all__,
    *attention.__all__,
    *convolution.__all__,
    *embedding.__all__,
    *losses.__all__,
    *normalization.__all__,
    *recurrent.__all__,
    *regularization.__all__,
    *updates.__all__,
    *word2vec.__all__,
]
