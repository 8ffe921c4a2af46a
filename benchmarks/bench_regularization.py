"""Dropout, which is NumPy on both sides: the row shows what the readable form costs."""

import pytest

from fastnn import bench


@pytest.mark.parametrize("row", bench.rows("regularization"), ids=str)
def bench_regularization(race, row):
    race(row)
