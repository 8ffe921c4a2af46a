"""Instruction-set selection, and the C library's table for the other modules."""
import os

from fastnn._kernels.fastnn cimport (
    FNN_MAX_THREADS, fastnn_get_num_threads, fastnn_set_num_threads, fnn_active, fnn_built_isa, fnn_ops, fnn_parallel,
    fnn_runs_isa, fnn_select,
)

active = &fnn_active
ops = fnn_ops
parallel = fnn_parallel
num_threads = fastnn_get_num_threads


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


def get_num_threads():
    """Return how many threads large problems are cut over, the caller's included."""
    return fastnn_get_num_threads()


def set_num_threads(n):
    """Let large problems be cut over n threads, the caller's included; results do not depend on n."""
    if not 1 <= n <= FNN_MAX_THREADS:
        raise ValueError(f"n is {n}, expected 1 to {FNN_MAX_THREADS} threads")
    fastnn_set_num_threads(n)


def _usable_cores():
    """The smaller of the affinity mask and the container's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    for path, parse in (
        ("/sys/fs/cgroup/cpu.max", str.split),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", lambda quota: (quota, "100000")),
    ):
        try:
            with open(path) as file:
                quota, period = parse(file.read())
            if int(quota) > 0:
                cores = min(cores, max(1, round(int(quota) / int(period))))
        except (OSError, ValueError):  # no such file, or no quota ("max")
            pass
    return cores


def _start():
    """Pick the instruction set and the number of threads: the best, or what the environment names."""
    threads = os.environ.get("FASTNN_NUM_THREADS") or min(_usable_cores(), FNN_MAX_THREADS)
    try:
        set_num_threads(int(threads))
    except ValueError:
        limits = f"1 to {FNN_MAX_THREADS}"
        raise ImportError(f"FASTNN_NUM_THREADS={threads!r} is not a number of threads, {limits}") from None
    name = os.environ.get("FASTNN_ISA")
    if name:
        if name not in supported():
            raise ImportError(f"FASTNN_ISA={name!r} is not one of those this build and CPU have: {supported()}")
        select(name)
    elif fnn_select(NULL) == NULL:
        raise ImportError(f"fastnn was built for {built()}; this CPU has none of them (x86-64-v2 is the least)")


_start()
