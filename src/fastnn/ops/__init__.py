"""The compiled functions: dtype, axis, `out` and documentation around the kernels."""

from fastnn.ops import activations
from fastnn.ops.activations import *

__all__ = [*activations.__all__]
