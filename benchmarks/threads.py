"""Measure what a second thread brings: python benchmarks/threads.py FOLDER.

Writes FOLDER/threads.md: the rows of the benchmarks that take at least 0.2 milliseconds on one thread; on one and on
two, beside PyTorch. All take turns.
"""

import os

os.environ |= {"FASTNN_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}  # before NumPy loads

import sys
import timeit
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import peers
import torch
from report import duration, table
from threadpoolctl import ThreadpoolController

import fastnn
from fastnn import bench
from fastnn._kernels import cpu

LEAST = 2e-4  # seconds on one thread
ROUNDS = 7
BLAS = ThreadpoolController()

INTRODUCTION = """# Two threads

Rows that take at least 0.2 milliseconds, on one thread and on two, {isa}, {cores} cores; the least of {rounds} turns,
made by `python benchmarks/threads.py docs/benchmarks`. PyTorch and NumPy's BLAS have as many threads as fastnn. What
only moves memory can gain no more than copying does: two threads that copied 64 MB each did it {copying:.2f} times as
fast as one that copied both.

"""


def set_threads(n):
    fastnn.set_num_threads(n)
    torch.set_num_threads(n)
    BLAS.limit(limits=n, user_api="blas")


def least(forms, numbers=(1, 2)):
    """Return the least time of each form on each number of threads, all taking turns."""
    timers = {label: timeit.Timer(statement, globals=variables) for label, (statement, variables) in forms.items()}
    best = {}
    for _ in range(ROUNDS):
        for n in numbers:
            set_threads(n)
            for label, timer in timers.items():
                best[label, n] = min(best.get((label, n), float("inf")), timer.timeit(1))
    return best


def copying():
    """Return how much faster two threads copy than one."""
    with ThreadPoolExecutor(2) as pool:
        arrays = np.ones((2, 2, 16_000_000), np.float32)
        one = lambda: [np.copyto(*pair) for pair in arrays]
        two = lambda: list(pool.map(np.copyto, *zip(*arrays, strict=True)))
        times = least({call: ("call()", {"call": call}) for call in (one, two)}, [1])
    return times[one, 1] / times[two, 1]


def main(folder):
    lines = []
    for row in (row for family in bench.ROWS for row in bench.rows(family)):
        forms = {"fastnn": row.form(fastnn)}
        if least(forms, [1])["fastnn", 1] < LEAST:
            continue
        forms |= {label: form for label, form in peers.forms(row).items() if label == "torch"}
        best = least(forms)
        cells = [f"{row.name} {row.dtype} {row.size}"]
        for label in "fastnn", "torch":
            times = [best.get((label, n)) for n in (1, 2)]
            cells += [*map(duration, times), f"{times[0] / times[1]:.2f}"] if times[0] else [""] * 3
        lines.append(cells)
        print(" | ".join(cells), flush=True)
    header = "row", "one", "two", "faster", "torch, one", "two", "faster"
    told = {"isa": cpu.isa(), "cores": os.cpu_count(), "rounds": ROUNDS, "copying": copying()}
    Path(folder, "threads.md").write_text(INTRODUCTION.format(**told) + "\n".join(table(header, lines)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
