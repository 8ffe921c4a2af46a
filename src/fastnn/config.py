"""What this installation is made of, and what it has chosen."""

import math
import platform

import numpy as np

import fastnn
from fastnn._backend import BACKEND
from fastnn._checks import as_count

if BACKEND == "compiled":
    from fastnn._kernels import cpu

MAX_THREADS = 256  # of the pool in csrc/threads.c; the twin refuses what it would

__all__ = ["get_num_threads", "set_num_threads", "show_config"]


def get_num_threads():
    """Return how many threads large problems are cut over, the caller's included; 1 of the NumPy twin.

    Returns
    -------
    int
        FASTNN_NUM_THREADS at first or, without it, the cores that this process may use.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.get_num_threads() >= 1
    True
    """
    return cpu.get_num_threads() if BACKEND == "compiled" else 1


def set_num_threads(n):
    """Cut large problems over n threads, the caller's included.

    Results do not depend on n, in any bit, but where a product goes through NumPy's BLAS, which has threads of its own
    (`threadpoolctl` limits both). Work of less than about 100 microseconds stays with the caller. The NumPy twin has
    no threads to set: it goes on with one.

    Parameters
    ----------
    n : int
        From 1 to 256.

    Raises
    ------
    ValueError
        If n is less than 1 or more than 256.
    TypeError
        If n is not an integer.

    Examples
    --------
    >>> import fastnn
    >>> before = fastnn.get_num_threads()
    >>> fastnn.set_num_threads(1)
    >>> fastnn.get_num_threads()
    1
    >>> fastnn.set_num_threads(before)
    """
    n = as_count(n, "n", least=-math.inf)
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"n is {n}, expected 1 to {MAX_THREADS} threads")
    if BACKEND == "compiled":
        cpu.set_num_threads(n)


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
    return {
        "backend": BACKEND,
        "built for": ", ".join(cpu.built()),
        "this CPU runs": ", ".join(cpu.supported()),
        "instruction set": cpu.isa(),
        "threads": str(cpu.get_num_threads()),
    }
