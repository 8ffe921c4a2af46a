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
def affine(
    x: NDArray[_Floating], weight: NDArray[_Floating], bias: NDArray[_Floating]
) -> NDArray[_Floating] | None: ...
def affine_backward(
    dy: NDArray[_Floating], x: NDArray[_Floating], weight: NDArray[_Floating], need_dx: bool = True
) -> tuple[NDArray[_Floating] | None, NDArray[_Floating], NDArray[_Floating]] | None: ...
