# cython: freethreading_compatible=True
"""Instruction-set selection, and the C library's table for the other modules."""
import os

from fastnn._kernels.fastnn cimport fnn_active, fnn_built_isa, fnn_ops, fnn_runs_isa, fnn_select

active = &fnn_active
ops = fnn_ops


def isa():
    """Return the name of the instruction set in use."""
    return fnn_active.isa.decode()


def built():
    """List the instruction sets compiled into this build, best first."""
    cdef list names = []
    while fnn_built_isa(len(names)) != NULL:
        names.append(fnn_built_isa(len(names)).decode())
    return names


def supported():
    """List the built instruction sets that this CPU can run, best first."""
    return [name for i, name in enumerate(built()) if fnn_runs_isa(i)]


def select(str name):
    """Switch the whole process to another instruction set; meant for tests."""
    cdef bytes b = name.encode()
    if fnn_select(b) == NULL:
        raise ValueError(f"instruction set {name!r} is not one of those this build and CPU have: {supported()}")


def _start():
    """Pick the best instruction set, or the one that FASTNN_ISA names."""
    name = os.environ.get("FASTNN_ISA")
    if name:
        if name not in supported():
            raise ImportError(f"FASTNN_ISA={name!r} is not one of those this build and CPU have: {supported()}")
        select(name)
    elif fnn_select(NULL) == NULL:
        raise ImportError(f"fastnn was built for {built()}; this CPU has none of them (x86-64-v2 is the least)")


_start()
