"""Updates of parameters in place; `memoryview` is their entry over typed memoryviews, called from Python."""

import pytest

from fastnn import bench
from fastnn._kernels import updates as kernels

# arguments after the arrays: learning rate and its kin, then weight_decay, (decoupled,) maximize
NUMBERS = {
    "sgd_update": "0.01, 0.0, False",
    "momentum_update": "0.01, 0.9, 1.0, False, False, 0.0, False",
    "adagrad_update": "0.01, 1e-10, False, 0.0, False",
    "rmsprop_update": "0.01, 0.99, 1e-8, False, 0.0, False",
    "adam_update": "10, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, False",
    "sparse_sgd_update": "0.01, False",
    "sparse_adagrad_update": "0.01, 1e-10, False, False",
    "sparse_adam_update": "10, 1e-3, 0.9, 0.999, 1e-8, False",
}


@pytest.mark.parametrize("row", bench.rows("updates"), ids=str)
def bench_update(race, row):
    columns = {}
    if row.name in NUMBERS:
        statement = f"f({', '.join(row.variables())}, {NUMBERS[row.name]})"
        columns["memoryview"] = statement, {"f": getattr(kernels, row.name)["float"]}
    race(row, **columns)
