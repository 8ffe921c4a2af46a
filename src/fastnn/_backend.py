"""Which set of functions the library runs on: `functions`, the compiled ones or their NumPy twin."""

import os

BACKEND = os.environ.get("FASTNN_BACKEND") or "compiled"

if BACKEND == "compiled":
    from fastnn import ops as functions
elif BACKEND == "reference":
    from fastnn import reference as functions
else:
    raise ImportError(f"FASTNN_BACKEND={BACKEND!r} is neither 'compiled' nor 'reference'")

__all__ = ["BACKEND", "functions"]
