from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def embedding_lookup(out: NDArray[np.uint8], weight: NDArray[np.uint8], indices: NDArray[np.int64]) -> None: ...
def take_rows(weight: NDArray[np.floating], indices: NDArray[np.integer]) -> NDArray[np.floating] | None: ...
def embedding_lookup_backward(grad: NDArray[_Floating], dy: NDArray[_Floating], indices: NDArray[np.int64]) -> None: ...
def coalesce(
    distinct: NDArray[np.int64], sums: NDArray[_Floating], rows: NDArray[np.int64], values: NDArray[_Floating]
) -> int: ...
def embedding_bag(
    out: NDArray[_Floating],
    weight: NDArray[_Floating],
    indices: NDArray[np.int64],
    bounds: NDArray[np.int64],
    mean: bool,
    padding: int = -1,
    per_sample_weights: NDArray[_Floating] | None = None,
) -> None: ...
def embedding_bag_backward(
    rows: NDArray[_Floating],
    dy: NDArray[_Floating],
    weight: NDArray[_Floating],
    indices: NDArray[np.int64],
    bounds: NDArray[np.int64],
    mean: bool,
    padding: int = -1,
    per_sample_weights: NDArray[_Floating] | None = None,
    weights_grad: NDArray[_Floating] | None = None,
) -> None: ...
