"""Neural-network kernels for people who live in NumPy."""

import importlib

from fastnn._backend import functions

__version__ = "0.1.0"

globals().update({name: getattr(functions, name) for name in functions.__all__})

# Imported when first used, so that whoever wants the functions alone does not wait: name -> module it lives in
_ROOMS = "data init io metrics models nn optim plot reference regularize schedules training"
_LAZY = {
    **dict.fromkeys(_ROOMS.split()),
    **dict.fromkeys(("gradcheck", "numerical_gradient"), "gradients"),
    "load": "io",
    **dict.fromkeys(("get_num_threads", "set_num_threads", "show_config"), "config"),
}
_EXTRA = {"from_sklearn": "sklearn", "sklearn": None}  # need scikit-learn: found by name, not by `*` or help()

__all__ = [*functions.__all__, *_LAZY]


def __getattr__(name):
    homes = _LAZY | _EXTRA
    if name not in homes:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    room = importlib.import_module(f"fastnn.{homes[name] or name}")
    value = globals()[name] = getattr(room, name) if homes[name] else room
    return value


def __dir__():
    return sorted({*globals(), *_LAZY})
