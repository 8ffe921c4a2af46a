"""`nox` runs the tests on every Python at hand and the linters; `nox -s bench` measures and renders the report."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint"]
PROJECT = nox.project.load_toml("pyproject.toml")


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
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
def docs(session):
    """Build the site into docs/_build."""
    session.install(".[plot,sklearn]", *nox.project.dependency_groups(PROJECT, "docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build")


@nox.session
def conformance(session):
    """Compare with PyTorch itself, on more cases than those whose answers are stored."""
    session.install(".[test,conformance]")
    session.run("pytest", "-m", "live", "tests/conformance", *session.posargs)


@nox.session
def bench(session):
    """Measure every row, with AVX2 alone too, and render docs/benchmarks; arguments go to pytest."""
    session.install(".[test,plot,peers]")
    avx2 = {
        "FASTNN_ISA": "x86_v3",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
    }
    stores = []
    for name, limits in ("best", {}), ("avx2", avx2):
        stores.append(f"{session.create_tmp()}/{name}.json")
        session.run("pytest", "benchmarks", "--peers", f"--benchmark-json={stores[-1]}", *session.posargs, env=limits)
    session.run("python", "benchmarks/report.py", *stores, "docs/benchmarks")


@nox.session
def sanitize(session):
    """Run the tests on a build that stops at bad addresses, undefined behaviour and indices out of bounds.

    Those that measure time or memory are left out: this build takes more of both, and keeps what is freed for a while.
    """
    options = "-Ccmake.define.FASTNN_SANITIZE=ON", "-Cbuild-dir=build/sanitize", "-Cinstall.strip=false"
    session.install(".[test]", *options)
    libraries = [
        session.run("cc", f"-print-file-name={name}", external=True, silent=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    checks = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter keeps what it has until the end
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    session.run("pytest", "-m", "not live and not costs", *session.posargs, env=checks)


@nox.session
def leaks(session):
    """Call every function 10,000 times and see that no memory is kept."""
    session.install(".[test]")
    session.run("pytest", "tests/test_leaks.py", *session.posargs, env={"FASTNN_LEAK_CALLS": "10000"})


@nox.session
def cross(session):
    """Compile csrc for other systems and processors; run the primitives for one of them, where qemu-aarch64 is."""
    session.install("ziglang")
    flags = "-std=gnu11", "-Wall", "-Wextra", "-Wno-pass-failed", "-Icsrc"
    kernels = "-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"
    x86 = {"baseline": "x86_64_v2", "x86_v3": "x86_64_v3", "x86_v4": "x86_64_v4"}
    folder = Path(session.create_tmp()).resolve()
    for target, isas in {
        "aarch64-linux-musl": {"baseline": "generic"},
        "aarch64-macos": {"baseline": "generic"},
        "x86_64-windows-gnu": x86,
    }.items():
        cc = "python", "-m", "ziglang", "cc", "-target", target, *flags
        objects = [str(folder / f"{target}-{name}.o") for name in (*isas, "dispatch", "threads")]
        for (isa, cpu), out in zip(isas.items(), objects, strict=False):
            session.run(*cc, *kernels, f"-mcpu={cpu}", f"-DFNN_ISA={isa}", "-c", "csrc/kernels.c", "-o", out)
        for name, out in zip(("dispatch", "threads"), objects[-2:], strict=True):
            session.run(*cc, "-O2", "-c", f"csrc/{name}.c", "-o", out)
        session.run(*cc, "-O2", "tests/primitives.c", *objects, "-lm", "-o", str(folder / f"{target}.exe"))
    if emulator := shutil.which("qemu-aarch64"):
        session.run(emulator, str(folder / "aarch64-linux-musl.exe"), external=True)
    else:
        session.warn("qemu-aarch64 is not here (Debian: qemu-user): compiled, not run")


@nox.session
def package(session):
    """Build the source distribution, and from it alone the wheel, whose size and contents are checked."""
    session.install("build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", str(folder))
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        assert not [name for name in files.getnames() if name.endswith((".pyc", ".so"))]
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.stat().st_size <= 2e6, f"the wheel has {wheel.stat().st_size} bytes"
    assert [name for name in names if name.endswith(".pxd")] == ["fastnn/_kernels/activations.pxd"]
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx")) or "tests" in name]
