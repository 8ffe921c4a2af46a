"""Measure the errors of the elementwise kernels over every float32 there is, and over a sample of the float64.

    python benchmarks/accuracy.py                     every float32, on every instruction set (an hour a core)
    python benchmarks/accuracy.py --every 4099        one in 4099 of them (seconds)
    python benchmarks/accuracy.py --every 4099 --peers   beside the usual NumPy formulas, SciPy and PyTorch

The truth is the C library's erfc, exp, expm1, log1p and tanh in double precision (long double for float64), itself
compared with mpmath at 1,000 points first. docs/accuracy.md holds what this prints.
"""

import argparse
import ctypes
import math
import multiprocessing
import platform
import subprocess
import tempfile
from functools import cache, partial
from pathlib import Path

import mpmath
import numpy as np

import fastnn
from fastnn._kernels import cpu
from fastnn._kernels.activations import OPS

PARAMETERS = {"hardtanh": [-1, 1], "elu": [1], "leaky_relu": [0.25]}
CHANGE_SIGN = {f"{name}_derivative" for name in ("gelu", "gelu_tanh", "silu", "mish", "hardswish")}
RANGE = {"sigmoid_backward": (0, 1), "tanh_backward": (-1, 1)}
RANGE |= {"softplus_backward": (0, np.inf), "log_sigmoid_backward": (-np.inf, 0)}
CHUNK = 1 << 20


class Worst(ctypes.Structure):
    """The largest errors; see accuracy.c."""

    _fields_ = [(name, ctypes.c_double) for name in ("ulp", "ulp_at", "absolute", "absolute_at")]
    _fields_ += [("count", ctypes.c_longlong), ("nan_mismatches", ctypes.c_longlong)]


@cache
def library(dtype):
    """Compile accuracy.c for a dtype."""
    real, wide = {"f": ("float", "double"), "d": ("double", "long double")}[dtype]
    path = Path(tempfile.mkdtemp()) / "accuracy.so"
    source = Path(__file__).with_name("accuracy.c")
    flags = ["-std=gnu11", "-O2", "-fno-math-errno", "-fno-builtin-tanh", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, f"-DREAL={real}", f"-DWIDE={wide}", source, "-o", path, "-lm"], check=True)
    return ctypes.CDLL(path)


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def truth(name, x):
    """Evaluate a function in the next wider type."""
    wide = np.empty(x.shape, np.longdouble if x.dtype == "d" else "d")
    function = library(x.dtype.char)["tanh_" if name == "tanh" else name]
    function(pointer(wide), pointer(x), ctypes.c_ssize_t(x.size))
    return wide


def kernels(name):
    """Return a call of fastnn's function for each instruction set; in a backward function dy is 1."""
    stem = name.removesuffix("_derivative").removesuffix("_backward")

    def run(isa, x):
        cpu.select(isa)
        dy = [x.dtype.type(1)] * name.endswith("_backward")
        return getattr(fastnn, name)(*dy, x, *map(x.dtype.type, PARAMETERS.get(stem, [])))

    return {isa: partial(run, isa) for isa in cpu.supported()}


def logistic(x):
    return 1 / (1 + np.exp(-x))


def tanh_argument(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)


USUAL = {  # as they are commonly written with NumPy
    "sigmoid": logistic,
    "sigmoid_derivative": lambda x: logistic(x) * (1 - logistic(x)),
    "tanh": np.tanh,
    "tanh_derivative": lambda x: 1 - np.tanh(x) ** 2,
    "softplus": lambda x: np.logaddexp(0, x, dtype=x.dtype),
    "softplus_derivative": logistic,
    "log_sigmoid": lambda x: -np.logaddexp(0, -x, dtype=x.dtype),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softsign_derivative": lambda x: 1 / (1 + np.abs(x)) ** 2,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: (
        x.dtype.type(1.0507009873554805) * np.where(x > 0, x, x.dtype.type(1.6732632423543772) * np.expm1(x))
    ),
    "silu": lambda x: x * logistic(x),
    "silu_derivative": lambda x: logistic(x) * (1 + x * (1 - logistic(x))),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(tanh_argument(x))),
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}


def peers(name):
    """Return calls of what else computes the function: NumPy's usual formula, SciPy, PyTorch and its autograd."""
    import scipy.special
    import torch

    scipy_has = {
        "sigmoid": scipy.special.expit,
        "log_sigmoid": scipy.special.log_expit,
        "softplus": getattr(scipy.special, "softplus", None),
        "gelu": lambda x: x * scipy.special.ndtr(x),
    }
    stem = name.removesuffix("_derivative")
    torch_name = {"gelu_tanh": "gelu", "log_sigmoid": "logsigmoid"}.get(stem, stem)
    options = {"gelu_tanh": {"approximate": "tanh"}, "leaky_relu": {"negative_slope": 0.25}}.get(stem, {})

    def by_torch(x):
        x = torch.from_numpy(x).requires_grad_(name != stem)
        y = getattr(torch.nn.functional, torch_name, None) or getattr(torch, torch_name)
        y = y(x, **options)
        return (torch.autograd.grad(y.sum(), x)[0] if name != stem else y).numpy()

    calls = {"NumPy": USUAL.get(name), "SciPy": scipy_has.get(name), "PyTorch": by_torch}
    return {"fastnn": kernels(name)["baseline"]} | calls  # the instruction set with the largest errors


def float32_chunks(every):
    """Yield every n-th bit pattern as float32."""
    for first in range(0, 1 << 32, CHUNK * every):
        yield np.arange(first, min(first + CHUNK * every, 1 << 32), every, dtype="u4").view("f")


def float64_chunks():
    """Yield 4 million float64: evenly spread where functions bend, and over all magnitudes."""
    rng = np.random.default_rng(0)
    for scale in (1, 8, 50, 800):
        yield rng.uniform(-scale, scale, CHUNK // 2)
    yield rng.integers(0, 1 << 64, CHUNK, dtype="u8").view("d")
    yield -np.exp(rng.uniform(-30, 7, CHUNK))


def sweep(name, chunks, regions, contestants):
    """Return the largest errors of each contestant, in each region (lo, hi, least)."""
    found = {label: [Worst() for _ in regions] for label, call in contestants.items() if call}
    for chunk in chunks:
        for i, (lo, hi, least) in enumerate(regions):
            with np.errstate(all="ignore"):
                x = np.ascontiguousarray(chunk[np.isnan(chunk) | ((chunk >= lo) & (chunk <= hi))])
                t = truth(name, x)
                for label, worst in found.items():
                    y = np.ascontiguousarray(contestants[label](x))
                    assert y.dtype == x.dtype, (name, label)
                    compare = library(x.dtype.char).compare
                    compare(ctypes.byref(worst[i]), pointer(x), pointer(y), pointer(t), ctypes.c_ssize_t(x.size), least)
    return found


def regions(name, dtype):
    """Where to look, and the exponent below which errors count as absolute ones."""
    smallest = np.finfo(dtype).minexp
    if name == "gelu_tanh":
        return [(-1, np.inf, smallest), (-np.inf, -1, 0)]
    return [(*RANGE.get(name, (-np.inf, np.inf)), -1 if name in CHANGE_SIGN else smallest)]


def measure(job):
    name, dtype, every, contestants = job
    chunks = float32_chunks(every) if dtype == "f" else float64_chunks()
    found = sweep(name, chunks, regions(name, dtype), contestants(name))
    return {
        label: [{field: getattr(w, field) for field, _ in Worst._fields_} for w in ws] for label, ws in found.items()
    }


def mpmath_truth(name, x):
    """Evaluate a function by its definition with 60 digits."""
    with mpmath.workdps(60):
        x, one = mpmath.mpf(float(x)), mpmath.mpf(1)
        e, cdf, density = mpmath.exp(x), mpmath.erfc(-x / mpmath.sqrt(2)) / 2, mpmath.npdf(x)
        v, slope = (mpmath.sqrt(8 / mpmath.pi) * w for w in (x + x**3 * 44715 / 10**6, 1 + 3 * x**2 * 44715 / 10**6))
        softplus, sigmoid, share = mpmath.log1p(e), e / (1 + e), 1 / (1 + mpmath.exp(-v))
        scale, alpha = mpmath.mpf("1.0507009873554804934193349852946"), mpmath.mpf("1.6732632423543772848170429916717")
        t, hard = mpmath.tanh(softplus), min(max(x + 3, 0 * x), 6 * one) / 6
        leaky = one if x > 0 else mpmath.mpf(PARAMETERS["leaky_relu"][0])
        return {
            "relu": lambda: max(x, 0 * x),
            "relu_derivative": lambda: one * (x > 0),
            "leaky_relu": lambda: x * leaky,
            "leaky_relu_derivative": lambda: leaky,
            "hardtanh": lambda: min(max(x, -one), one),
            "hardtanh_derivative": lambda: one * (abs(x) < 1),
            "hardsigmoid": lambda: hard,
            "hardsigmoid_derivative": lambda: (abs(x) < 3) * one / 6,
            "hardswish": lambda: x * hard,
            "hardswish_derivative": lambda: hard + (abs(x) < 3) * x / 6,
            "sigmoid": lambda: sigmoid,
            "sigmoid_derivative": lambda: sigmoid / (1 + e),
            "sigmoid_backward": lambda: x * (1 - x),
            "tanh": lambda: mpmath.tanh(x),
            "tanh_derivative": lambda: mpmath.sech(x) ** 2,
            "tanh_backward": lambda: 1 - x * x,
            "softsign": lambda: x / (1 + abs(x)),
            "softsign_derivative": lambda: 1 / (1 + abs(x)) ** 2,
            "softplus": lambda: softplus,
            "softplus_derivative": lambda: sigmoid,
            "softplus_backward": lambda: -mpmath.expm1(-x),
            "log_sigmoid": lambda: -mpmath.log1p(1 / e),
            "log_sigmoid_derivative": lambda: 1 / (1 + e),
            "log_sigmoid_backward": lambda: -mpmath.expm1(x),
            "elu": lambda: x if x > 0 else mpmath.expm1(x),
            "elu_derivative": lambda: one if x > 0 else e,
            "selu": lambda: scale * (x if x > 0 else alpha * mpmath.expm1(x)),
            "selu_derivative": lambda: scale * (one if x > 0 else alpha * e),
            "silu": lambda: x * sigmoid,
            "silu_derivative": lambda: sigmoid * (1 + x / (1 + e)),
            "mish": lambda: x * t,
            "mish_derivative": lambda: t + x * sigmoid * mpmath.sech(softplus) ** 2,
            "gelu": lambda: x * cdf,
            "gelu_derivative": lambda: cdf + x * density,
            "gelu_tanh": lambda: x * share,
            "gelu_tanh_derivative": lambda: share + x * slope * share * (1 - share),
        }[name]()


def check_truth(dtype, points=1000):
    """Return the largest error of the truth, in units in the last place of the dtype, over functions and points."""
    rng = np.random.default_rng(1)
    worst = 0.0
    for name in OPS:
        x = np.concatenate([rng.uniform(-1, 1, points // 2) * 40, -np.exp(rng.uniform(-9, 4.6, points // 2))]).astype(
            dtype
        )
        lo, hi, least = regions(name, dtype)[0]
        try:
            want = [mpmath_truth(name, v) for v in x]
        except KeyError:
            continue
        for w, t, v in zip(want, truth(name, x), x, strict=True):
            if w and lo <= v <= hi:
                exponent = max(int(mpmath.floor(mpmath.log(abs(w), 2))), least)
                t = mpmath.mpf(np.format_float_scientific(t, 30, unique=False))
                error = float(abs(t - w) / mpmath.mpf(2) ** (exponent - np.finfo(dtype).nmant))
                worst = max(worst, error)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take one float32 in N")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", nargs="+", default=list(OPS), metavar="NAME", help="functions, all by default")
    parser.add_argument("--dtype", choices="fd", nargs="+", default=["f", "d"], help="float32, float64")
    parser.add_argument("--peers", action="store_true", help="beside NumPy, SciPy and PyTorch")
    args = parser.parse_args()
    print(f"fastnn {fastnn.__version__}, {platform.machine()}, {platform.libc_ver()}")
    contestants = peers if args.peers else kernels
    labels = ["fastnn", "NumPy", "SciPy", "PyTorch"] if args.peers else cpu.supported()
    skip = (
        ("_backward",)
        if args.peers
        else tuple(name for name in OPS if name.endswith("_backward") and name not in RANGE)
    )
    with multiprocessing.Pool(args.jobs) as pool:
        for dtype in args.dtype:
            print(f"\n{np.dtype(dtype).name}: the truth is within {check_truth(dtype):.1e} ULP of mpmath\n")
            print("| function |", " | ".join(f"{label}: ULP | at" for label in labels), "| absolute |")
            print("|---|", "---|---|" * len(labels), "---|", sep="")
            names = [name for name in args.only if not name.endswith(skip)]
            jobs = [(name, dtype, args.every, contestants) for name in names]
            for name, found in zip(names, pool.imap(measure, jobs), strict=True):
                for i, own in enumerate(found[labels[0]]):
                    rows = [found[label][i] if label in found else None for label in labels]
                    cells = [f"{row['ulp']:.4g} | {row['ulp_at']:.6g}" if row else " | " for row in rows]
                    absolute = own["absolute"] if args.peers else max(row["absolute"] for row in rows)
                    where = "" if len(found[labels[0]]) == 1 else [", x >= -1", ", x < -1"][i]
                    print(f"| {name}{where} |", " | ".join(cells), f"| {absolute:.2g} |", flush=True)
                    assert args.peers or not any(row["nan_mismatches"] for row in rows), name


if __name__ == "__main__":
    main()
