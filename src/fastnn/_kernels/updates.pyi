from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

def sgd_update(
    param: NDArray[_Floating], grad: NDArray[_Floating], lr: float, weight_decay: float, maximize: bool
) -> None: ...
def momentum_update(
    param: NDArray[_Floating],
    grad: NDArray[_Floating],
    velocity: NDArray[_Floating],
    lr: float,
    momentum: float,
    gain: float,
    nesterov: bool,
    first: bool,
    weight_decay: float,
    maximize: bool,
) -> None: ...
def adagrad_update(
    param: NDArray[_Floating],
    grad: NDArray[_Floating],
    sum_sq: NDArray[_Floating],
    lr: float,
    eps: float,
    eps_inside: bool,
    weight_decay: float,
    maximize: bool,
) -> None: ...
def rmsprop_update(
    param: NDArray[_Floating],
    grad: NDArray[_Floating],
    square_avg: NDArray[_Floating],
    lr: float,
    alpha: float,
    eps: float,
    eps_inside: bool,
    weight_decay: float,
    maximize: bool,
) -> None: ...
def centered_rmsprop_update(
    param: NDArray[_Floating],
    grad: NDArray[_Floating],
    square_avg: NDArray[_Floating],
    grad_avg: NDArray[_Floating],
    lr: float,
    alpha: float,
    eps: float,
    eps_inside: bool,
    weight_decay: float,
    maximize: bool,
) -> None: ...
def adam_update(
    param: NDArray[_Floating],
    grad: NDArray[_Floating],
    m: NDArray[_Floating],
    v: NDArray[_Floating],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None: ...
