"""Normalization by rows and by channels; `memoryview` is the entry over typed memoryviews, called from Python."""

import numpy as np
import pytest

from fastnn import bench
from fastnn._kernels import normalization as kernels

ENTRIES = {
    "layer_norm": "f(y, mean, rstd, x, weight, bias, 1e-5)",
    "rms_norm": "f(y, rstd, x, weight, 2.0**-23)",
}


@pytest.mark.parametrize("row", bench.rows("normalization"), ids=str)
def bench_normalization(race, row):
    columns = {}
    if row.name in ENTRIES:
        mean, rstd = np.empty((2, len(row.variables()["x"])))
        names = {"f": getattr(kernels, row.name)["float"], "mean": mean, "rstd": rstd}
        columns["memoryview"] = ENTRIES[row.name], names
    race(row, **columns)
