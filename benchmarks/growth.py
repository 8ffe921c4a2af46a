"""Measure how time grows with size, and what memory a step of training takes: python benchmarks/growth.py FOLDER.

Writes FOLDER/growth.md and FOLDER/growth-*.png: the time of every family over six decades of its work, and of the
recurrent layers against steps, batch and width, each beside its arithmetic; and the peak memory of a step.
"""

import math
import subprocess
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import fastnn
from fastnn import nn, optim
from fastnn.bench import CELLS

DECADES = tuple(10**k for k in range(1, 8))

INTRODUCTION = """# Growth

Time against work, one thread, the least of several; made by `python benchmarks/growth.py docs/benchmarks`. Work is what
the arithmetic of a call grows with: elements, or multiply-adds. *Most over least* is the time of a unit of work at the
largest size over the least such time at any size: 1 where time grows as the arithmetic or more slowly all the way, and
above where arrays leave the caches, so that the speed of memory counts, and where results are made anew, which costs
the system a page at a time. Beside it stands the same quotient of `np.copyto` on as many elements: no row but
those that make large results anew is above it. Small sizes cost a call.
"""

MEMORY = """## Peak memory of a step of training

Of an LSTM layer with T steps, B rows, H inputs and units, float32, with its loss and Adam; measured in a process of its
own, above what the process had with parameters, optimiser state and batch in place. *Kept* is what a step must hold
until its backward pass: outputs y and cells c (T B H each) and the four gates (4 T B H); *made* is the
gradient of the input and of y (2 T B H) and of the weights (8 H^2); the weights are also packed for the products
(8 H^2). All else is scratch that does not grow with T: chunks of the gates' gradients. These are kept for all steps
(4 T B H more) where several threads work, since the rows of the batch go their own ways until the weights' gradients.
"""


class Curve(NamedTuple):
    """A statement whose work grows; `variables(n)` makes what it is timed on, `work(n)` is its arithmetic."""

    name: str
    sizes: tuple
    statement: str
    variables: Callable[[int], dict]
    work: Callable[[int], float] = lambda n: n


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def positive(names, n):
    return {name: np.abs(drawn(n)) for name in names}


def families():
    """Return a curve of each family; sizes are elements, or what gives the work by `work`."""
    sides = (4, 10, 32, 100, 316, 1000, 2000)
    steps = (1, 10, 100, 1000, 10_000, 100_000)
    return [
        Curve("activations: gelu", DECADES, "F.gelu(x, out=y)", lambda n: {"x": drawn(n), "y": drawn(n)}),
        Curve(
            "losses: softmax_cross_entropy, 10 classes",
            DECADES,
            "F.softmax_cross_entropy(x, t, grad_out=y)",
            lambda n: {"x": drawn(n // 10, 10), "t": np.arange(n // 10) % 10, "y": drawn(n // 10, 10)},
        ),
        Curve("updates: adam_update", DECADES, "F.adam_update(p, g, m, v, 3)", lambda n: positive("pgmv", n)),
        Curve("regularization: dropout", DECADES, "F.dropout(x, 0.5, r)", lambda n: {"x": drawn(n), "r": rng}),
        Curve(
            "normalization: layer_norm, 50 features",
            tuple(5 * n for n in DECADES),
            "F.layer_norm(x, w, w)",
            lambda n: {"x": drawn(n // 50, 50), "w": drawn(50)},
        ),
        Curve(
            "embedding: lookup and gradient, 64 features",
            tuple(64 * n for n in steps),
            "F.embedding_lookup_backward(F.embedding_lookup(w, i), i, 10)",
            lambda n: {"w": drawn(10, 64), "i": rng.integers(0, 10, n // 64)},
            lambda n: n + 640,  # the table's gradient is written whole
        ),
        Curve(
            "attention: one query, 64 features",
            tuple(128 * n for n in steps),
            "F.attention_forward(q, k, k)",
            lambda n: {"q": drawn(1, 64), "k": drawn(n // 128, 1, 64)},
        ),
        Curve(
            "convolution: conv2d, 3 x 3, 8 to 8 channels",
            sides,
            "F.conv2d(x, w)",
            lambda n: {"x": drawn(1, 8, n, n), "w": drawn(8, 8, 3, 3)},
            lambda n: 576 * (n - 2) ** 2,
        ),
        Curve(
            "convolution: max_pool2d",
            sides,
            "F.max_pool2d(x, 2)",
            lambda n: {"x": drawn(1, 8, n, n)},
            lambda n: 8 * n * n,
        ),
    ]


def recurrent():
    """Yield a curve of training for each cell against T, B and H."""
    for cell, (gates, state) in CELLS.items():
        names, nones = ", ".join("h" * len(state)), ", None" * len(state)
        statement = f"F.{cell}_backward(x{nones}, F.{cell}_forward(x, {names}, w, w)[-1])"
        for letter, sizes in (
            ("T", (1, 10, 100, 1000, 10_000)),
            ("B", (1, 4, 16, 64, 256, 1024)),
            ("H", (2, 8, 32, 128, 512)),
        ):

            def variables(n, letter=letter, gates=gates):
                size = {"T": 20, "B": 4, "H": 32} | {letter: n}
                x = drawn(size["T"], size["B"], size["H"])
                return {"x": x, "h": np.zeros_like(x[0]), "w": 0.1 * drawn(gates * size["H"], size["H"])}

            # two products a step and pass; per unit each gate counts as so many multiply-adds
            work = lambda n, letter=letter: n if letter != "H" else n * n + 16 * n
            yield Curve(f"{cell} against {letter}", sizes, statement, variables, work)


rng = np.random.default_rng(0)


def seconds(statement, variables):
    """Return the least time of a statement, of what a fifth of a second has room for."""
    timer = timeit.Timer(statement, globals=variables | {"F": fastnn})
    once = min(timer.repeat(2, 1))
    number = max(1, int(1e-3 / once))
    return min(timer.repeat(max(3, int(0.2 / once / number)), number)) / number


def copying(sizes):
    """Return the times of copying arrays of so many elements."""
    return [seconds("np.copyto(y, x)", {"x": drawn(n), "y": drawn(n), "np": np}) for n in sizes]


def over_least(times, work):
    each = [t / w for t, w in zip(times, work, strict=True)]
    return each[-1] / min(each)


def draw(path, title, measured):
    figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
    for curve, times in measured.items():
        axis.plot([curve.work(n) for n in curve.sizes], times, "o-", markersize=4, label=curve.name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    start, end = min(c.work(c.sizes[0]) for c in measured), max(c.work(c.sizes[-1]) for c in measured)
    least = min(t[-1] / c.work(c.sizes[-1]) for c, t in measured.items())
    axis.plot([start, end], [least * start, least * end], "--", color="grey", label="as the arithmetic")
    axis.set_xlabel("work of a call")
    axis.set_ylabel("seconds")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    axis.set_title(title)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def peak(steps, batch, hidden):
    """Return the bytes that a step of training takes at its peak, measured in this process, which is to do no other."""
    status = lambda key: int(Path("/proc/self/status").read_text().partition(f"{key}:")[2].split()[0]) * 1024
    layer = nn.LSTM(hidden, hidden, rng=0)
    optimizer = optim.Adam(layer.parameters())
    warm, x = drawn(1, batch, hidden), drawn(steps, batch, hidden)

    def step(x):
        (y, _), back = layer.vjp(x)
        _, dy = fastnn.mse_loss(y, y, grad_out=np.empty_like(y))
        optimizer.zero_grad()
        back(dy)
        optimizer.step()

    step(warm)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step(x)
    return status("VmHWM") - before


def write(folder):
    lines = [INTRODUCTION]
    for key, curves in ("families", families()), ("recurrent", list(recurrent())):
        measured = {curve: [seconds(curve.statement, curve.variables(n)) for n in curve.sizes] for curve in curves}
        draw(folder / f"growth-{key}.png", f"Time against work, {key}", measured)
        lines += [f"## {key.capitalize()}", "", f"![Time against work, {key}](growth-{key}.png)", ""]
        lines += ["| | least work | most work | time of a unit, least | most over least | of copying |"]
        lines += ["| --- |" + " ---: |" * 5]
        for curve, times in measured.items():
            work = [curve.work(n) for n in curve.sizes]
            unit = 1e9 * min(t / w for t, w in zip(times, work, strict=True))
            copied = ""
            if key == "families" and work[-1] < 1e9:  # elements
                copied = f"{over_least(copying(work), work):.2f}"
            growth = f"{over_least(times, work):.2f}"
            lines += [f"| {curve.name} | {work[0]:.2g} | {work[-1]:.2g} | {unit:.3g} ns | {growth} | {copied} |"]
        lines += [""]
    lines += [MEMORY, "| T, B, H | measured | kept | made | packed |", "| --- | ---: | ---: | ---: | ---: |"]
    for size in (35, 20, 200), (35, 32, 512), (100, 64, 128), (400, 64, 128):
        command = [sys.executable, "-c", f"import growth; print(growth.peak{size})"]
        measured = int(subprocess.check_output(command, cwd=Path(__file__).parent))
        units, weights = 4 * math.prod(size), 4 * 8 * size[2] ** 2
        parts = measured, 6 * units, 2 * units + weights, weights
        lines += [f"| {', '.join(map(str, size))} | " + " | ".join(f"{part / 1e6:.1f} MB" for part in parts) + " |"]
    (folder / "growth.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
