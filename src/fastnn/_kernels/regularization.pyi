from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def dropout(
    y: NDArray[_Floating] | None,
    mask: NDArray[np.uint8],
    x: NDArray[_Floating] | None,
    p: float,
    rng: np.random.Generator,
) -> None: ...
def dropout_backward(dx: NDArray[_Floating], dy: NDArray[_Floating], mask: NDArray[np.uint8], p: float) -> None: ...
