"""The fixture that times a row: fastnn, its readable twin and tuned NumPy take turns once it was seen that they agree.

`pytest benchmarks --benchmark-json=FILE` measures, `python benchmarks/report.py FILE` renders, and
`pytest benchmarks --benchmark-disable` only runs every row once and compares the results.
"""

import os
import shlex
from importlib.metadata import version

# One thread on both sides, unless told otherwise. BLAS reads this when NumPy loads.
for variable in ("FASTNN_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import pytest

import fastnn
from fastnn import bench, reference
from fastnn._kernels import cpu

TOLD = ("FASTNN_ISA", "FASTNN_NUM_THREADS", "NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY")
TOLD += ("MKL_ENABLE_INSTRUCTIONS", "DNNL_MAX_CPU_ISA")  # what may limit the two sides
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
LOOSE = {"loose": 10, "scipy": 10, "torch": 10, "onnxruntime": 10, "scikit-learn": 10}


def agree(got, want, tolerance, name):
    """Assert that two results are equal to within the tolerance, relative to the largest element."""
    if isinstance(want, dict):
        assert got.keys() == want.keys(), name
        for key, value in want.items():
            agree(got[key], value, tolerance, f"{name}[{key!r}]")
    else:
        atol = tolerance * np.abs(want).max(initial=0)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=atol, err_msg=name)


def pytest_addoption(parser):
    parser.addoption("--peers", action="store_true", help="time SciPy, PyTorch, ONNX Runtime and scikit-learn too")


def pytest_collection_modifyitems(config, items):
    """Leave large rows out where rows are only run once."""
    if config.getoption("benchmark_disable"):
        large = [item for item in items if item.callspec.params["row"].large]
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item not in large]


@pytest.fixture
def race(benchmark, request):
    """Return a function that times a row; further columns are statements with what they need besides the row's.

    A row of more than one function comes with `forms` of its own: lists of statements with their variables by column.
    """

    def peers_of(row):
        if not request.config.getoption("peers"):
            return {}
        import peers

        return {label: [form] for label, form in peers.forms(row).items()}

    @np.errstate(all="ignore")  # tuned forms may overflow on the way to a right result
    def run(row, forms=None, **columns):
        forms = forms or {
            "fastnn": [row.form(fastnn)],
            **{label: [(statement, row.variables() | extra)] for label, (statement, extra) in columns.items()},
            "reference": [row.form(reference)],
            "tuned": bench.tuned_forms(row),
            "loose": bench.tuned_forms(row, "_loose"),
            **peers_of(row),
        }
        forms = {(label, i): form for label, several in forms.items() for i, form in enumerate(several)}
        for statement, variables in forms.values():
            exec(statement, variables)
        model = forms.get(("reference", 0), forms["fastnn", 0])[1]
        for (label, _), (_, variables) in forms.items():
            for name in set(row.results.split(", ")) & variables.keys():  # peers keep gradients to themselves
                want = model[name]
                tolerance = LOOSE.get(label, 1) * TOLERANCE[row.dtype]
                agree(variables[name], want, tolerance, f"{label} {name}")

        benchmark.group = str(row)
        statement, variables = forms["fastnn", 0]
        exec(f"def call(): {statement}", variables)
        if benchmark.disabled:
            benchmark(variables["call"])
            return
        limit, factor = bench.limit(row)
        if row.large:
            forms.pop(("reference", 0), None)
        best = bench.race(forms | {("limit", 0): limit}, *((0, 3) if row.large else ()))
        times = {}
        for (label, _), seconds in best.items():
            times[label] = min(seconds, times.get(label, seconds))
        limit = factor * times.pop("limit")
        benchmark.extra_info["statement"] = row.statement
        benchmark.extra_info["seconds"] = times
        benchmark.extra_info["ratios"] = {label: seconds / times["fastnn"] for label, seconds in times.items()}
        benchmark.extra_info["share of the limit"] = limit / times["fastnn"]
        benchmark.pedantic(
            variables["call"], rounds=3 if row.large else 20, iterations=max(1, int(1e-3 / times["fastnn"]))
        )

    return run


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["fastnn"] = fastnn.__version__
    machine_info["numpy"] = np.__version__
    machine_info["isa"] = cpu.isa()
    machine_info["threads"] = cpu.get_num_threads()
    told = [f"{key}={shlex.quote(os.environ[key])}" for key in TOLD if key in os.environ]
    peers = ["--peers"] if config.getoption("peers") else []
    machine_info["command"] = " ".join([*told, "pytest benchmarks", *peers, "--benchmark-json=FILE"])
    machine_info["peers"] = {name: version(name) for name in ("scipy", "torch", "onnxruntime", "scikit-learn") if peers}
