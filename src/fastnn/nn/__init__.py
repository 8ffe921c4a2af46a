"""Layers: `y = layer(x)` for inference, `y, back = layer.vjp(x)` and `dx = back(dy)` for training."""

from fastnn.nn import (
    activations,
    attention,
    containers,
    convolution,
    embedding,
    linear,
    module,
    normalization,
    recurrent,
)
from fastnn.nn.activations import *
from fastnn.nn.attention import *
from fastnn.nn.containers import *
from fastnn.nn.convolution import *
from fastnn.nn.embedding import *
from fastnn.nn.linear import *
from fastnn.nn.module import *
from fastnn.nn.normalization import *
from fastnn.nn.recurrent import *

__all__ = [
    *activations.__all__,
    *attention.__all__,
    *containers.__all__,
    *convolution.__all__,
    *embedding.__all__,
    *linear.__all__,
    *module.__all__,
    *normalization.__all__,
    *recurrent.__all__,
]
