from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def rnn_forward(
    op: int,
    states: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def rnn_backward(
    op: int,
    dpre: NDArray[_Floating],
    dh: NDArray[_Floating],
    dy: NDArray[_Floating] | None,
    states: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def rnn_step(
    op: int,
    out: NDArray[_Floating],
    x: NDArray[_Floating],
    h: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    b_ih: NDArray[_Floating] | None,
    b_hh: NDArray[_Floating] | None,
) -> None: ...
