from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def attention_forward(
    context: NDArray[_Floating],
    weights: NDArray[_Floating],
    query: NDArray[_Floating],
    keys: NDArray[_Floating],
    values: NDArray[_Floating],
    lengths: NDArray[np.int64],
    scale: float,
    v: NDArray[_Floating] | None,
) -> None: ...
def attention_backward(
    dquery: NDArray[_Floating],
    dkeys: NDArray[_Floating],
    dvalues: NDArray[_Floating],
    dv: NDArray[_Floating] | None,
    dscores: NDArray[_Floating],
    dcontext: NDArray[_Floating],
    query: NDArray[_Floating],
    keys: NDArray[_Floating],
    values: NDArray[_Floating],
    weights: NDArray[_Floating],
    lengths: NDArray[np.int64],
    scale: float,
    v: NDArray[_Floating] | None,
) -> None: ...
