from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

_Floating = TypeVar("_Floating", np.float32, np.float64)

def alias_table(threshold: NDArray[np.float64], alias: NDArray[np.int32]) -> None: ...
def alias_sample(
    out: NDArray[np.int32], threshold: NDArray[np.float64], alias: NDArray[np.int32], rng: np.random.Generator
) -> None: ...
def context_windows(
    centres: NDArray[np.int32],
    ends_kept: NDArray[np.int64],
    bounds: NDArray[np.int64],
    contexts: NDArray[np.int32],
    tokens: NDArray[np.int32],
    ends: NDArray[np.int64],
    window: int,
    rng: np.random.Generator,
    keep: NDArray[np.float64] | None,
    shrink: bool,
) -> tuple[int, int]: ...
def skipgram_step(
    vectors: NDArray[_Floating],
    output: NDArray[_Floating],
    inputs: NDArray[np.int32],
    bounds: NDArray[np.int64],
    targets: NDArray[np.int32],
    lr: float,
    block: int,
    need_loss: bool,
) -> float: ...
def cbow_step(
    vectors: NDArray[_Floating],
    output: NDArray[_Floating],
    inputs: NDArray[np.int32],
    bounds: NDArray[np.int64],
    targets: NDArray[np.int32],
    lr: float,
    block: int,
    need_loss: bool,
    mean: bool,
) -> float: ...

@disjoint_base
class WordIndex:
    def __new__(cls, words: list[bytes]) -> Self: ...
    def encode(self, data: bytes) -> tuple[NDArray[np.int32], NDArray[np.int64], int]: ...

def read_binary(
    vectors: NDArray[np.float32], spans: NDArray[np.int64], data: NDArray[np.uint8], at: int
) -> tuple[int, int]: ...
def read_text(
    vectors: NDArray[np.float32], spans: NDArray[np.int64], data: NDArray[np.uint8], at: int
) -> tuple[int, int]: ...
