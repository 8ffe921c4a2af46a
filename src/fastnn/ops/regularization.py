"""Dropout: one draw, one comparison and one product, which leave a kernel nothing to fuse."""

from fastnn._dropout import dropout, dropout_backward

__all__ = ["dropout", "dropout_backward"]
