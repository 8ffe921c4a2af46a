from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

_Floating = TypeVar("_Floating", np.float32, np.float64)

def rnn_forward(
    op: int,
    states: NDArray[_Floating],
    x: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    bias: NDArray[_Floating] | None,
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def rnn_backward(
    op: int,
    dx: NDArray[_Floating],
    dh: NDArray[_Floating],
    dw_ih: NDArray[_Floating],
    dw_hh: NDArray[_Floating],
    dbias: NDArray[_Floating],
    dy: NDArray[_Floating] | None,
    states: NDArray[_Floating],
    x: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def lstm_forward(
    states: NDArray[_Floating],
    cells: NDArray[_Floating],
    gates: NDArray[_Floating] | None,
    x: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    bias: NDArray[_Floating] | None,
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def lstm_backward(
    dx: NDArray[_Floating],
    dh: NDArray[_Floating],
    dc: NDArray[_Floating],
    dw_ih: NDArray[_Floating],
    dw_hh: NDArray[_Floating],
    dbias: NDArray[_Floating],
    dy: NDArray[_Floating] | None,
    states: NDArray[_Floating],
    cells: NDArray[_Floating],
    gates: NDArray[_Floating],
    x: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def gru_forward(
    states: NDArray[_Floating],
    gates: NDArray[_Floating] | None,
    of_h: NDArray[_Floating] | None,
    x: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    bias: NDArray[_Floating] | None,
    b_hn: NDArray[_Floating] | None,
    reset_after: bool,
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def gru_backward(
    dx: NDArray[_Floating],
    dh: NDArray[_Floating],
    dw_ih: NDArray[_Floating],
    dw_hh: NDArray[_Floating],
    dbias: NDArray[_Floating],
    dy: NDArray[_Floating] | None,
    states: NDArray[_Floating],
    gates: NDArray[_Floating],
    of_h: NDArray[_Floating],
    x: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    reset_after: bool,
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> None: ...
def rnn_step(
    op: int,
    y: NDArray[_Floating],
    x: NDArray[_Floating],
    h: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    b_ih: NDArray[_Floating] | None,
    b_hh: NDArray[_Floating] | None,
) -> None: ...
def lstm_step(
    y: NDArray[_Floating],
    c_new: NDArray[_Floating],
    gates: NDArray[_Floating],
    x: NDArray[_Floating],
    h: NDArray[_Floating],
    c: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    b_ih: NDArray[_Floating] | None,
    b_hh: NDArray[_Floating] | None,
) -> None: ...
def gru_step(
    y: NDArray[_Floating],
    gates: NDArray[_Floating],
    of_h: NDArray[_Floating],
    x: NDArray[_Floating],
    h: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    b_ih: NDArray[_Floating] | None,
    b_hh: NDArray[_Floating] | None,
    reset_after: bool,
) -> None: ...

@disjoint_base
class Stream:
    def __call__(self, x: NDArray[_Floating]) -> NDArray[_Floating]: ...

def rnn_stream(
    stream: Stream,
    y: NDArray[_Floating],
    h: NDArray[_Floating],
    layers: list[tuple[NDArray[_Floating], NDArray[_Floating]]],
    residual: bool,
    op: int,
) -> None: ...
def lstm_stream(
    stream: Stream,
    y: NDArray[_Floating],
    h: NDArray[_Floating],
    c: NDArray[_Floating],
    layers: list[tuple[NDArray[_Floating], NDArray[_Floating]]],
    residual: bool,
) -> None: ...
def gru_stream(
    stream: Stream,
    y: NDArray[_Floating],
    h: NDArray[_Floating],
    layers: list[tuple[NDArray[_Floating], NDArray[_Floating]]],
    residual: bool,
    reset_after: bool,
) -> None: ...
def rnn_step_backward(
    op: int,
    dx: NDArray[_Floating],
    dh: NDArray[_Floating],
    dw_ih: NDArray[_Floating],
    dw_hh: NDArray[_Floating],
    dbias: NDArray[_Floating],
    y: NDArray[_Floating],
    x: NDArray[_Floating],
    h: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
) -> None: ...
def lstm_step_backward(
    dx: NDArray[_Floating],
    dh: NDArray[_Floating],
    dc: NDArray[_Floating],
    dw_ih: NDArray[_Floating],
    dw_hh: NDArray[_Floating],
    dbias: NDArray[_Floating],
    c_new: NDArray[_Floating],
    gates: NDArray[_Floating],
    x: NDArray[_Floating],
    h: NDArray[_Floating],
    c: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
) -> None: ...
def gru_step_backward(
    dx: NDArray[_Floating],
    dh: NDArray[_Floating],
    dw_ih: NDArray[_Floating],
    dw_hh: NDArray[_Floating],
    dbias: NDArray[_Floating],
    gates: NDArray[_Floating],
    of_h: NDArray[_Floating],
    x: NDArray[_Floating],
    h: NDArray[_Floating],
    w_ih: NDArray[_Floating],
    w_hh: NDArray[_Floating],
    reset_after: bool,
) -> None: ...
