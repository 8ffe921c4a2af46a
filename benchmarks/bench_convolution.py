"""Convolution and pooling, the value alone and with its gradients, as a step of training asks for them."""

import pytest

from fastnn import bench


@pytest.mark.parametrize("row", bench.rows("convolution"), ids=str)
def bench_convolution(race, row):
    race(row)
