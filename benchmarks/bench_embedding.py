"""Rows of a table gathered, and their gradients scattered; `memoryview` is the entry over typed memoryviews."""

import numpy as np
import pytest

from fastnn import bench
from fastnn._kernels import embedding as kernels

ENTRIES = {
    "embedding_lookup": "f(rows.view('B'), weight.view('B'), indices)",
    "embedding_lookup_backward": "grad.fill(0); f(grad, dy, indices)",
    "embedding_bag": "f(y_bag, weight, indices, bounds, False)",
    "embedding_bag_backward": "f(all_rows, dy[: len(bounds) - 1], weight, indices, bounds, False)",
    "coalesce": "n = f(distinct, room, indices, dy); rows, sums = distinct[:n], room[:n]",
}


@pytest.mark.parametrize("row", bench.rows("embedding"), ids=str)
def bench_embedding(race, row):
    v, f = row.variables(), getattr(kernels, row.name)
    names = {"rows": np.empty_like(v["y"]), "grad": np.empty_like(v["weight"])}
    names |= {"distinct": np.empty_like(v["indices"]), "room": np.empty_like(v["y"])}
    names |= {"bounds": np.arange(0, len(v["indices"]) + 1, 20), "y_bag": np.empty_like(v["y"][::20])}
    names |= {"all_rows": names["rows"], "rows": names["rows"].reshape(-1, 20, v["y"].shape[1])}
    if row.name == "embedding_lookup":
        names["rows"] = names["all_rows"]
    race(row, memoryview=(ENTRIES[row.name], names | {"f": f if row.name == "embedding_lookup" else f["float"]}))
