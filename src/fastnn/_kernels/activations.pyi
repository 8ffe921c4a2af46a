from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Floating = TypeVar("_Floating", np.float32, np.float64)

OPS: dict[str, int]
SAVED: dict[str, str]

def ufunc(name: str, module: str, doc: str) -> np.ufunc: ...
def call(
    op: int,
    arrays: tuple[object, ...],
    parameters: tuple[object, ...],
    out: object,
    keywords: dict[str, object],
) -> object: ...
def evaluate(
    op: int,
    out: NDArray[_Floating],
    a: NDArray[_Floating],
    b: NDArray[_Floating] | None = None,
    params: NDArray[_Floating] | None = None,
) -> int: ...
