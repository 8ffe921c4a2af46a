"""Attention of one step and of a sequence; the tuned forms multiply whole batches."""

import pytest

from fastnn import bench


@pytest.mark.parametrize("row", bench.rows("attention"), ids=str)
def bench_attention(race, row):
    race(row)
