from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)
_Axis = tuple[int, int, int, int, int, int]

def conv2d(
    y: NDArray[_Floating],
    x: NDArray[_Floating],
    weight: NDArray[_Floating],
    bias: NDArray[_Floating],
    axes: tuple[_Axis, _Axis],
    groups: int,
) -> None: ...
def conv2d_backward(
    dx: NDArray[_Floating] | None,
    dweight: NDArray[_Floating],
    dbias: NDArray[_Floating] | None,
    dy: NDArray[_Floating],
    x: NDArray[_Floating],
    weight: NDArray[_Floating],
    axes: tuple[_Axis, _Axis],
    groups: int,
) -> None: ...
def max_pool2d(
    y: NDArray[_Floating], x: NDArray[_Floating], at: NDArray[np.int32] | None, axes: tuple[_Axis, _Axis]
) -> None: ...
def avg_pool2d(
    y: NDArray[_Floating],
    x: NDArray[_Floating],
    h_size: NDArray[_Floating],
    w_size: NDArray[_Floating],
    axes: tuple[_Axis, _Axis],
) -> None: ...
def max_pool2d_backward(
    dx: NDArray[_Floating], dy: NDArray[_Floating], at: NDArray[np.int32], axes: tuple[_Axis, _Axis]
) -> None: ...
def avg_pool2d_backward(
    dx: NDArray[_Floating],
    dy: NDArray[_Floating],
    h_size: NDArray[_Floating],
    w_size: NDArray[_Floating],
    axes: tuple[_Axis, _Axis],
) -> None: ...
def max_over_time(
    y: NDArray[_Floating], at: NDArray[np.int32], x: NDArray[_Floating], lengths: NDArray[np.int64]
) -> None: ...
def max_over_time_backward(dx: NDArray[_Floating], dy: NDArray[_Floating], at: NDArray[np.int32]) -> None: ...
