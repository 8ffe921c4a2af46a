"""Dropout. It is the twin's own code: one draw, one comparison and one product leave a kernel nothing to fuse."""

from fastnn.reference.regularization import dropout, dropout_backward

__all__ = ["dropout", "dropout_backward"]
