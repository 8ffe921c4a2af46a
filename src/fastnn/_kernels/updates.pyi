from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

OPS: dict[str, int]

def update(op: int, arrays: tuple[object, ...], numbers: tuple[float, ...]) -> bool: ...
def clip_by_global_norm(grads: list[NDArray[np.floating]], max_norm: float) -> float: ...
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
    grad_avg: NDArray[_Floating] | None = None,
    momentum: float = 0,
    velocity: NDArray[_Floating] | None = None,
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
    v_max: NDArray[_Floating] | None = None,
) -> None: ...
def sparse_sgd_update(
    param: NDArray[_Floating], rows: NDArray[np.int64], grad_rows: NDArray[_Floating], lr: float, maximize: bool
) -> None: ...
def sparse_adagrad_update(
    param: NDArray[_Floating],
    rows: NDArray[np.int64],
    grad_rows: NDArray[_Floating],
    sum_sq: NDArray[_Floating],
    lr: float,
    eps: float,
    eps_inside: bool,
    maximize: bool,
) -> None: ...
def sparse_adam_update(
    param: NDArray[_Floating],
    rows: NDArray[np.int64],
    grad_rows: NDArray[_Floating],
    m: NDArray[_Floating],
    v: NDArray[_Floating],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    maximize: bool,
) -> None: ...
