from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def softmax(y: NDArray[_Floating], x: NDArray[_Floating]) -> None: ...
def log_softmax(y: NDArray[_Floating], x: NDArray[_Floating]) -> None: ...
def logsumexp(y: NDArray[_Floating], x: NDArray[_Floating]) -> None: ...
def softmax_backward(dx: NDArray[_Floating], dy: NDArray[_Floating], y: NDArray[_Floating]) -> None: ...
def log_softmax_backward(dx: NDArray[_Floating], dy: NDArray[_Floating], y: NDArray[_Floating]) -> None: ...
def softmax_cross_entropy(
    logits: NDArray[_Floating],
    index: NDArray[np.int64] | None,
    probabilities: NDArray[_Floating] | None = None,
    weight: NDArray[_Floating] | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0,
    mean: bool = True,
    gradient: NDArray[_Floating] | None = None,
    losses: NDArray[_Floating] | None = None,
) -> float: ...
