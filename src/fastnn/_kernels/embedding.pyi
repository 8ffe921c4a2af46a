from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def embedding_lookup(out: NDArray[np.uint8], weight: NDArray[np.uint8], indices: NDArray[np.int64]) -> None: ...
def embedding_lookup_backward(grad: NDArray[_Floating], dy: NDArray[_Floating], indices: NDArray[np.int64]) -> None: ...
def coalesce(
    distinct: NDArray[np.int64], sums: NDArray[_Floating], rows: NDArray[np.int64], values: NDArray[_Floating]
) -> int: ...
