"""Recurrent steps and sequences; `memoryview` is the entry of a step over typed memoryviews, called from Python."""

import numpy as np
import pytest

from fastnn import bench
from fastnn._kernels.activations import OPS
from fastnn._kernels.recurrent import rnn_step


@pytest.mark.parametrize("row", bench.rows("recurrent"), ids=str)
def bench_recurrent(race, row):
    columns = {}
    if row.name == "rnn_step":
        names = {"rnn_step": rnn_step["float"], "op": OPS["tanh"], "y": np.empty_like(row.variables()["h"])}
        columns["memoryview"] = "rnn_step(op, y, x, h, w_ih, w_hh, b_ih, b_hh)", names
    race(row, **columns)
