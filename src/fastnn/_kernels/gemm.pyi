from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def matmul(
    out: NDArray[_Floating],
    a: NDArray[_Floating],
    b: NDArray[_Floating],
    bias: NDArray[_Floating] | None = None,
    accumulate: bool = False,
) -> None: ...
