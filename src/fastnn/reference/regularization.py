"""Dropout, which is plain NumPy in both rooms."""

from fastnn._dropout import dropout, dropout_backward

__all__ = ["dropout", "dropout_backward"]
