"""`nox` runs the tests on every Python at hand and the linters; `nox -s bench` measures and renders the report."""

import zipfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint"]
PROJECT = nox.project.load_toml("pyproject.toml")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session):
    """Run the tests on the compiled functions, and on their NumPy twin."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)
    session.run("pytest", *session.posargs, env={"FASTNN_BACKEND": "reference"})


@nox.session
def lint(session):
    """Check style, and the stubs against the compiled modules."""
    session.install(".", *nox.project.dependency_groups(PROJECT, "lint"))
    session.run("bash", ".ci/lint", external=True)


@nox.session
def conformance(session):
    """Compare with PyTorch itself, on more cases than those whose answers are stored."""
    session.install(".[test,conformance]")
    session.run("pytest", "-m", "live", "tests/conformance", *session.posargs)


@nox.session
def bench(session):
    """Measure every row, with AVX2 alone too, and render docs/benchmarks; arguments go to pytest."""
    session.install(".[test,plot]")
    avx2 = {
        "FASTNN_ISA": "x86_v3",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    }
    stores = []
    for name, limits in ("best", {}), ("avx2", avx2):
        stores.append(f"{session.create_tmp()}/{name}.json")
        session.run("pytest", "benchmarks", f"--benchmark-json={stores[-1]}", *session.posargs, env=limits)
    session.run("python", "benchmarks/report.py", *stores, "docs/benchmarks")


@nox.session
def package(session):
    """Build the source distribution, and from it alone the wheel, whose size and contents are checked."""
    session.install("build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", str(folder))
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.stat().st_size <= 2e6, f"the wheel has {wheel.stat().st_size} bytes"
    assert "fastnn/_kernels/activations.pxd" in names
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx")) or "tests" in name]
