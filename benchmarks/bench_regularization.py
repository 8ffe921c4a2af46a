"""Dropout; `memoryview` is its entry over typed memoryviews, called from Python."""

import numpy as np
import pytest

from fastnn import bench
from fastnn._kernels import regularization as kernels

ENTRIES = {
    "dropout": "f(y, mask.view('u1'), x, 0.5, rng)",
    "dropout_backward": "f(dx, dy, mask.view('u1'), 0.5)",
}


@pytest.mark.parametrize("row", bench.rows("regularization"), ids=str)
def bench_regularization(race, row):
    n, names = int(row.size), {"f": getattr(kernels, row.name)["float"]}
    names |= {"y": np.empty(n, "f"), "mask": np.empty(n, bool)} if row.name == "dropout" else {"dx": np.empty(n, "f")}
    race(row, memoryview=(ENTRIES[row.name], names))
