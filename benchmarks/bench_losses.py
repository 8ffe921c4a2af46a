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
    "masked_softmax": "f(y, x, mask)",
    "masked_softmax_backward": "f(dx, dy, y, mask)",
    "ragged_softmax": "f(y[None], x[None], lengths)",
    "ragged_softmax_backward": "f(dx[None], dy[None], y[None], lengths)",
    "softmax_cross_entropy": "loss, dlogits = f(logits, targets, gradient=out), out",
    "nll_loss": "loss, dlogits = f(logits, targets, gradient=out), out",
}


@pytest.mark.parametrize("row", bench.rows("losses"), ids=str)
def bench_loss(race, row):
    if row.name in bench.ELEMENT_LOSSES:
        parameter, n = sum(bench.ELEMENT_LOSSES[row.name][0].values()), int(row.size)
        call = f"loss, dx = f({kernels.OPS[row.name]}, x, t, {parameter}, {1 / n}, out) / {n}, out"
        return race(row, memoryview=(call, {"f": kernels.element_loss["float"]}))
    names = {"f": getattr(kernels, row.name)["float"]}
    if row.results == "dx":
        names["dx"] = row.variables()["dy"]
    if row.name == "logsumexp":
        names["y"] = row.variables()["x"][:, 0].copy()
    return race(row, memoryview=(ENTRIES[row.name], names))
