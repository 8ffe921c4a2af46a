"""The compiled functions: dtype, axis, `out` and documentation around the kernels."""

from fastnn.ops import (
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
from fastnn.ops._products import affine as affine
from fastnn.ops._products import affine_backward as affine_backward
from fastnn.ops._words import WordIndex as WordIndex
from fastnn.ops._words import read_binary as read_binary
from fastnn.ops._words import read_text as read_text
from fastnn.ops.activations import *
from fastnn.ops.attention import *
from fastnn.ops.convolution import *
from fastnn.ops.embedding import *
from fastnn.ops.losses import *
from fastnn.ops.normalization import *
from fastnn.ops.recurrent import *
from fastnn.ops.regularization import *
from fastnn.ops.updates import *
from fastnn.ops.word2vec import *

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
