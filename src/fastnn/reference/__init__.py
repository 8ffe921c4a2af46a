"""The same functions in plain NumPy: the specification of the kernels, and a drop-in twin of `fastnn`."""

from fastnn.reference import activations, losses, updates
from fastnn.reference.activations import *
from fastnn.reference.losses import *
from fastnn.reference.updates import *

__all__ = [*activations.__all__, *losses.__all__, *updates.__all__]
