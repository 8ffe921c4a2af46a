"""Rows of a table gathered, and their gradients scattered; `memoryview` is the entry over typed memoryviews."""

import numpy as np
import pytest

from fastnn import bench
from fastnn._kernels import embedding as kernels

ENTRIES = {
    "embedding_lookup": "f(rows.view('B'), weight.view('B'), indices)",
    "embedding_lookup_backward": "grad.fill(0); f(grad, dy, indices)",
    "coalesce": "n = f(distinct, room, indices, dy); rows, sums = distinct[:n], room[:n]",
}


@pytest.mark.parametrize("row", bench.rows("embedding"), ids=str)
def bench_embedding(race, row):
    v, f = row.variables(), getattr(kernels, row.name)
    names = {"rows": np.empty_like(v["y"]), "grad": np.empty_like(v["weight"])}
    names |= {"distinct": np.empty_like(v["indices"]), "room": np.empty_like(v["y"])}
    race(row, memoryview=(ENTRIES[row.name], names | {"f": f if row.name == "embedding_lookup" else f["float"]}))
