"""One row an activation: what its tests need to know."""

from typing import NamedTuple


class Case(NamedTuple):
    name: str
    saved: str
    ulp: float  # the bound on f, in float32 and float64
    slope_ulp: float = 4  # on f' and on the backward function
    changes_sign: bool = False  # f' does: below 1/2 its error is bounded by what it may be at 1/2
    odd: bool = False
    kinks: tuple = ()  # where f' jumps
    parameters: tuple = ((),)  # samples


CASES = [
    Case("relu", "y", 0, 0, kinks=(0,)),
    Case("leaky_relu", "x", 0.5, 0.5, kinks=(0,), parameters=((0.25,), (0.01,), (-2,), (0,), (1,))),
    Case("hardtanh", "x", 0, 0, kinks=(-1, -0.5, 0, 1, 2, 6), parameters=((-1, 1), (-0.5, 2), (0, 6))),
    Case("hardsigmoid", "x", 1, 1, kinks=(-3, 3)),
    Case("hardswish", "x", 2, changes_sign=True, kinks=(-3, 3)),
    Case("sigmoid", "y", 2.5),
    Case("tanh", "y", 2.5, odd=True),
    Case("softsign", "x", 2, odd=True),
    Case("softplus", "y", 3),
    Case("log_sigmoid", "y", 3),
    Case("elu", "x", 2, parameters=((1,), (0.5,), (-2,)), kinks=(0,)),
    Case("selu", "x", 2, kinks=(0,)),
    Case("silu", "x", 3.5, changes_sign=True),
    Case("mish", "x", 5, changes_sign=True),
    Case("gelu", "x", 6, changes_sign=True),
    Case("gelu_tanh", "x", 4, changes_sign=True),
]
