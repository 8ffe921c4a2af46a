"""The compiled functions: dtype, axis, `out` and documentation around the kernels."""

from fastnn.ops import activations, regularization
from fastnn.ops.activations import *
from fastnn.ops.regularization import *

__all__ = [*activations.__all__, *regularization.__all__]
