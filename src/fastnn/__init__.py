"""Neural-network kernels for people who live in NumPy."""

from fastnn._backend import functions

__version__ = "0.1.0"

globals().update({name: getattr(functions, name) for name in functions.__all__})
