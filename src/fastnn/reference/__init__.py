"""The same functions in plain NumPy: the specification of the kernels, and a drop-in twin of `fastnn`."""

from fastnn.reference import activations
from fastnn.reference.activations import *

__all__ = [*activations.__all__]
