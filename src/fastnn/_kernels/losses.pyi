from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

OPS: dict[str, int]

def softmax(y: NDArray[_Floating], x: NDArray[_Floating]) -> None: ...
def log_softmax(y: NDArray[_Floating], x: NDArray[_Floating]) -> None: ...
def logsumexp(y: NDArray[_Floating], x: NDArray[_Floating]) -> None: ...
def softmax_backward(dx: NDArray[_Floating], dy: NDArray[_Floating], y: NDArray[_Floating]) -> None: ...
def log_softmax_backward(dx: NDArray[_Floating], dy: NDArray[_Floating], y: NDArray[_Floating]) -> None: ...
def masked_softmax(y: NDArray[_Floating], x: NDArray[_Floating], mask: NDArray[np.uint8]) -> None: ...
def masked_softmax_backward(
    dx: NDArray[_Floating], dy: NDArray[_Floating], y: NDArray[_Floating], mask: NDArray[np.uint8]
) -> None: ...
def ragged_softmax(y: NDArray[_Floating], x: NDArray[_Floating], lengths: NDArray[np.int64]) -> None: ...
def ragged_softmax_backward(
    dx: NDArray[_Floating], dy: NDArray[_Floating], y: NDArray[_Floating], lengths: NDArray[np.int64]
) -> None: ...
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
def nll_loss(
    log_probabilities: NDArray[_Floating],
    index: NDArray[np.int64],
    weight: NDArray[_Floating] | None = None,
    ignore_index: int | None = None,
    mean: bool = True,
    gradient: NDArray[_Floating] | None = None,
    losses: NDArray[_Floating] | None = None,
) -> float: ...
def element_loss(
    op: int,
    prediction: NDArray[_Floating],
    target: NDArray[_Floating],
    parameter: float = 0,
    scale: float = 1,
    gradient: NDArray[_Floating] | None = None,
    losses: NDArray[_Floating] | None = None,
    positive: NDArray[_Floating] | None = None,
    weight: NDArray[_Floating] | None = None,
) -> float: ...
