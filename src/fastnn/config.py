"""What this installation is made of, and what it has chosen."""

import platform

import numpy as np

import fastnn
from fastnn._backend import BACKEND

__all__ = ["show_config"]


def show_config():
    """Print the version, the instruction sets built and chosen, the threads, NumPy and its BLAS.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.show_config()  # doctest: +ELLIPSIS
    fastnn           0...
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    rows = {
        "fastnn": fastnn.__version__,
        **chosen(),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "NumPy": np.__version__,
        "NumPy's BLAS": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".rstrip(),
    }
    print("\n".join(f"{name:<16} {value}" for name, value in rows.items()))


def chosen():
    """Return what fastnn runs on, by name."""
    if BACKEND != "compiled":
        return {"backend": f"{BACKEND} (plain NumPy)"}
    from fastnn._kernels import cpu

    return {
        "backend": BACKEND,
        "built for": ", ".join(cpu.built()),
        "this CPU runs": ", ".join(cpu.supported()),
        "instruction set": cpu.isa(),
        "threads": str(cpu.get_num_threads()),
    }
