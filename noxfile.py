"""`nox` runs the tests on every Python at hand and the linters; `nox -s bench` measures and renders the report."""

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
def bench(session):
    """Measure every row and render docs/benchmarks; arguments go to pytest."""
    session.install(".[test,plot]")
    store = f"{session.create_tmp()}/benchmarks.json"
    session.run("pytest", "benchmarks", f"--benchmark-json={store}", *session.posargs)
    session.run("python", "benchmarks/report.py", store, "docs/benchmarks")


@nox.session
def package(session):
    """Build the source distribution, and the wheel from it alone, and check the wheel's size and contents."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", session.create_tmp())
