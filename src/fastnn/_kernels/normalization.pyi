from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def layer_norm(
    y: NDArray[_Floating],
    mean: NDArray[np.float64],
    rstd: NDArray[np.float64],
    x: NDArray[_Floating],
    weight: NDArray[_Floating] | None,
    bias: NDArray[_Floating] | None,
    eps: float,
) -> None: ...
def layer_norm_backward(
    dx: NDArray[_Floating],
    dweight: NDArray[_Floating] | None,
    dbias: NDArray[_Floating] | None,
    dy: NDArray[_Floating],
    x: NDArray[_Floating],
    weight: NDArray[_Floating] | None,
    mean: NDArray[np.float64],
    rstd: NDArray[np.float64],
) -> None: ...
def rms_norm(
    y: NDArray[_Floating],
    rstd: NDArray[np.float64],
    x: NDArray[_Floating],
    weight: NDArray[_Floating] | None,
    eps: float,
) -> None: ...
def rms_norm_backward(
    dx: NDArray[_Floating],
    dweight: NDArray[_Floating] | None,
    dy: NDArray[_Floating],
    x: NDArray[_Floating],
    weight: NDArray[_Floating] | None,
    rstd: NDArray[np.float64],
) -> None: ...
def batch_norm(
    y: NDArray[_Floating],
    mean: NDArray[np.float64],
    rstd: NDArray[np.float64],
    x: NDArray[_Floating],
    running_mean: NDArray[_Floating] | None,
    running_var: NDArray[_Floating] | None,
    weight: NDArray[_Floating] | None,
    bias: NDArray[_Floating] | None,
    momentum: float,
    eps: float,
    training: bool,
) -> None: ...
def batch_norm_backward(
    dx: NDArray[_Floating],
    dweight: NDArray[_Floating] | None,
    dbias: NDArray[_Floating] | None,
    dy: NDArray[_Floating],
    x: NDArray[_Floating],
    weight: NDArray[_Floating] | None,
    mean: NDArray[np.float64],
    rstd: NDArray[np.float64],
    fixed: bool,
) -> None: ...
