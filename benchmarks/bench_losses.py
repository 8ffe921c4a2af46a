"""The softmax family and losses; `memoryview` is their entry over typed memoryviews, called from Python."""

import pytest

from fastnn import bench
from fastnn._kernels import losses as kernels

ENTRIES = {
    "softmax": "f(y, x)",
    "log_softmax": "f(y, x)",
    "logsumexp": "f(y, x)",
    "softmax_backward": "f(dx, dy, y)",
    "log_softmax_backward": "f(dx, dy, y)",
    "softmax_cross_entropy": "loss, dlogits = f(logits, targets, gradient=out), out",
}


@pytest.mark.parametrize("row", bench.rows("losses"), ids=str)
def bench_loss(race, row):
    names = {"f": getattr(kernels, row.name)["float"]}
    if row.results == "dx":
        names["dx"] = row.variables()["dy"]
    if row.name == "logsumexp":
        names["y"] = row.variables()["x"][:, 0].copy()
    race(row, memoryview=(ENTRIES[row.name], names))
