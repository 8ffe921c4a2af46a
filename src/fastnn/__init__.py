"""Neural-network kernels for people who live in NumPy."""

import importlib

from fastnn._backend import functions

__version__ = "0.1.0"

globals().update({name: getattr(functions, name) for name in functions.__all__})

# Imported when first used, so that whoever wants the functions alone does not wait: name -> module it lives in
_LAZY = {
    **dict.fromkeys(
        ("data", "init", "io", "metrics", "nn", "optim", "plot", "reference", "regularize", "schedules", "training")
    ),
    "gradcheck": "gradients",
    "from_sklearn": "sklearn",
    "load": "io",
    "numerical_gradient": "gradients",
    **dict.fromkeys(("get_num_threads", "set_num_threads", "show_config"), "config"),
}

# What needs scikit-learn is not for `from fastnn import *`
__all__ = [*functions.__all__, *(name for name in _LAZY if name != "from_sklearn")]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    room = importlib.import_module(f"fastnn.{_LAZY[name] or name}")
    value = globals()[name] = getattr(room, name) if _LAZY[name] else room
    return value


def __dir__():
    return sorted({*globals(), *_LAZY})
