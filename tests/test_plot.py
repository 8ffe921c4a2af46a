"""Figures: what is drawn is what was given, the Axes come back, and nothing else of matplotlib changes."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import fastnn
from fastnn import plot

WEIGHTS = np.random.default_rng(1).dirichlet(np.ones(3), 2)
CALLS = {
    "activations": lambda **ax: plot.activations(**ax),
    "attention": lambda **ax: plot.attention(WEIGHTS, ["a", "b", "c"], ["d", "e"], **ax),
    "confusion_matrix": lambda **ax: plot.confusion_matrix([0, 1, 2, 2], [0, 1, 1, 2], **ax),
    "gradient_norms": lambda **ax: plot.gradient_norms([1.0, 0.5, 0.25], **ax),
    "histograms": lambda **ax: plot.histograms([[0.0, 1.0, 1.0], [0.5, 0.5, 1.0]], **ax),
    "learning_rate_finder": lambda **ax: plot.learning_rate_finder([0.1, 1, 10], [2, 1, 30], chosen=1, **ax),
    "losses": lambda **ax: plot.losses({"training": [3, 2], "validation": [3, 2.5]}, **ax),
    "perplexities": lambda **ax: plot.perplexities([3, 2], vocabulary=65, **ax),
    "schedules": lambda **ax: plot.schedules(lambda step: 1 / (1 + step), 9, **ax),
    "trajectories": lambda **ax: plot.trajectories(
        lambda x, y: x * x + y * y, {"SGD": [(1, 1), (0, 0)]}, xlim=(-2, 2), ylim=(-2, 2), minimum=(0, 0), **ax
    ),
    "word_map": lambda **ax: plot.word_map(np.eye(3), ["one", "two", "three"], **ax),
}


@pytest.mark.parametrize("name", plot.__all__)
def test_draws_into_the_axes_given_or_a_figure_nobody_knows(name, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("a window was opened"))
    before = dict(matplotlib.rcParams)
    ax = Figure().add_subplot()
    assert CALLS[name](ax=ax) is ax
    own = CALLS[name]()
    own.figure.canvas.draw()
    assert own is not ax
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
    assert own.get_xlabel()
    assert own.get_ylabel()


def data(ax):
    return {line.get_label(): line.get_xydata().T.tolist() for line in ax.lines}


def test_activations():
    x = np.linspace(-3, 3, 7)
    found = data(plot.activations(["tanh", "leaky_relu"], x=x))
    assert list(found) == ["tanh", "tanh′", "leaky_relu", "leaky_relu′"]
    for name in "tanh", "leaky_relu":
        assert found[name] == [x.tolist(), getattr(fastnn, name)(x).tolist()]
        assert found[f"{name}′"][1] == getattr(fastnn, f"{name}_derivative")(x).tolist()
    assert list(data(plot.activations("relu", derivatives=False))) == ["relu"]
    with pytest.raises(ValueError, match="softmax"):
        plot.activations("softmax")


def test_histograms(rng):
    layers = {"first": rng.random((50, 4)), "second": rng.random((50, 4)) ** 4}
    ax = plot.histograms(layers, bins=8, range=(0, 1))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first", "second"]
    counts = [np.histogram(layer, 8, (0, 1))[0] for layer in layers.values()]
    for i, (patch, count) in enumerate(zip(ax.patches, counts, strict=True)):
        drawn, edges, baseline = patch.get_data()
        assert baseline == i
        np.testing.assert_allclose(edges, np.linspace(0, 1, 9))
        np.testing.assert_allclose((drawn - i) / 0.9 * np.max(counts), count)
    cut, *_ = plot.histograms(layers, bins=8, range=(0, 1), limit=0.2).patches[1].get_data()
    np.testing.assert_allclose((cut - 1) / 0.9 * 0.2, np.minimum(counts[1] / 200, 0.2))


def test_curves_leave_out_what_was_not_measured():
    found = data(plot.losses({"a": [3, None, np.nan, 1.5], "b": np.arange(4)}, x=[10, 20, 30, 40], xlabel="step"))
    assert found == {"a": [[10, 40], [3, 1.5]], "b": [[10, 20, 30, 40], [0, 1, 2, 3]]}


def test_many_curves_differ():
    looks = {
        (line.get_color(), line.get_linestyle()) for line in plot.losses({str(i): [1, 2] for i in range(20)}).lines
    }
    assert len(looks) == 20


def test_perplexities_are_exponentials():
    ax = plot.perplexities({"train": np.log([9.0, 3.0]), "diverged": [800.0, 1000.0]}, vocabulary=65)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [9, 3])
    assert np.isinf(ax.lines[1].get_ydata()).all()
    assert ax.lines[2].get_ydata() == [65, 65]


def test_schedules_get_the_steps_as_int():
    seen = []
    plot.schedules({"seen": lambda step: seen.append(step) or 0.5}, 3)
    assert seen == [0, 1, 2]
    assert all(type(step) is int for step in seen)


def test_trajectories():
    path = np.array([[1.0, 1.0], [0.5, 0.2], [0.1, 0.1]])
    ax = plot.trajectories(np.hypot, {"Adam": path}, xlim=(-2, 2), ylim=(-1, 1), minimum=(0, 0))
    assert data(ax) == {"Adam": path.T.tolist(), "minimum": [[0], [0]]}
    assert ax.get_xlim() == (-2, 2)


def test_confusion_matrix_counts(rng):
    targets, predictions = rng.integers(0, 4, (2, 200))
    ax = plot.confusion_matrix(targets, predictions, list("abcde"))  # a class that is never seen
    expected = [((targets == i) & (predictions == j)).sum() for i in range(5) for j in range(5)]
    assert [int(text.get_text()) for text in ax.texts] == expected
    rows = ax.images[0].get_array().sum(axis=1)
    np.testing.assert_allclose(rows, [1, 1, 1, 1, 0])


def test_word_map_is_what_principal_components_are(rng):
    vectors = rng.standard_normal((30, 6)) * [9, 5, 1, 1, 1, 1] + 7
    words = [f"word{i}" for i in range(30)]
    ax = plot.word_map(vectors, words)
    points = ax.collections[0].get_offsets()
    values, axes = np.linalg.eigh(np.cov(vectors.T))
    expected = (vectors - vectors.mean(axis=0)) @ axes[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-10)
    assert f"({100 * values[-1] / values.sum():.0f} %" in ax.get_xlabel()
    assert [text.get_text() for text in ax.texts] == words


@pytest.mark.filterwarnings("ignore:Glyph")  # of a machine without such a font
def test_tokens_of_any_script():
    tokens = ["我", "喜欢", "ニューラル", "", "naïve"]
    ax = plot.attention(np.eye(5), tokens, tokens)
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_yticklabels()] == tokens
    assert matplotlib.rcParams["font.family"][0] == ax.get_yticklabels()[0].get_fontfamily()[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.losses(np.ones((2, 2))), r"curve '' has shape \(2, 2\), expected \(n,\)"),
        (lambda: plot.losses({"a": [1, 2]}, x=[1]), r"curve 'a' has shape \(2,\), and x \(1,\), expected"),
        (lambda: plot.attention(WEIGHTS, "ab", "cde"), r"weights has shape \(2, 3\), expected \(3, 2\)"),
        (lambda: plot.word_map(np.eye(3), ["a"]), r"vectors has shape \(3, 3\), expected \(1, dim\)"),
        (lambda: plot.confusion_matrix([0, 1], [0]), "predictions has 1 elements, expected 2"),
        (lambda: plot.confusion_matrix([0, -1], [0, 1]), "targets has dtype int64 and 2 elements, expected classes"),
        (lambda: plot.confusion_matrix([0, 1], [0, 2], ["a", "b"]), "labels has 2 elements, expected at least 3"),
        (
            lambda: plot.trajectories(np.hypot, {"a": [1, 2]}, xlim=(0, 1), ylim=(0, 1)),
            r"path 'a' has shape \(2,\), expected \(steps, 2\)",
        ),
        (lambda: plot.activations([]), r"names is \[\], expected at least one"),
        (lambda: plot.losses({}), r"curves is \{\}, expected at least one"),
        (lambda: plot.losses([]), r"curve '' has shape \(0,\), expected \(n,\) with at least one number"),
        (lambda: plot.histograms([]), r"layers is \{\}, expected at least one"),
        (lambda: plot.histograms({"a": [1.0], "b": []}), r"layer 'b' has shape \(0,\), expected at least one number"),
        (lambda: plot.histograms([[1.0, np.nan]]), r"layer '1' holds nan at \(1,\), expected finite numbers"),
        (lambda: plot.histograms([[1.0, 2.0]], bins=0), "bins is 0, expected at least 1"),
        (lambda: plot.schedules(np.sqrt, 0), "steps is 0, expected at least 1"),
        (lambda: plot.schedules({}, 3), r"functions is \{\}, expected a function or a dict of some"),
        (lambda: plot.learning_rate_finder([0.0, 1.0], [1, 2]), "rates hold 0.0, expected numbers above 0"),
        (lambda: plot.learning_rate_finder([1.0], [np.nan]), "rates hold none with a loss, expected numbers above 0"),
        (lambda: plot.trajectories(np.hypot, {}, xlim=(0, 1), ylim=(0, 1)), r"paths is \{\}, expected at least one"),
        (
            lambda: plot.trajectories(np.hypot, {"a": [[0, 0]]}, xlim=(1, 1), ylim=(0, 1)),
            r"xlim is \(1, 1\), expected a lower and an upper limit",
        ),
        (
            lambda: plot.trajectories(lambda x, y: x * np.nan, {"a": [[0, 0]]}, xlim=(0, 1), ylim=(0, 1)),
            r"f holds nan at \(0, 0\), expected finite numbers",
        ),
        (lambda: plot.gradient_norms([1.0, -2.0]), "norms hold -2.0, expected numbers of at least 0"),
        (lambda: plot.attention([[np.nan]], "a", "b"), r"weights holds nan at \(0, 0\), expected finite numbers"),
        (lambda: plot.attention(np.ones((0, 0)), [], []), r"weights has shape \(0, 0\), expected at least one number"),
        (lambda: plot.word_map([[1, np.inf], [2, 3]], "ab"), r"vectors holds inf at \(0, 1\), expected finite numbers"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gradients_that_are_all_zero_are_drawn():
    assert plot.gradient_norms([0.0, 0.0]).get_yscale() == "linear"
    assert plot.gradient_norms([0.0, 1.0]).get_yscale() == "log"


def test_says_what_is_missing_without_matplotlib():
    code = (
        "import sys; [setattr(f, 'rebuild_flag', False) for f in sys.meta_path if hasattr(f, 'rebuild_flag')]\n"
        "sys.modules['matplotlib'] = sys.modules['matplotlib.figure'] = None\n"
        "import fastnn.plot; fastnn.plot.losses([1, 2])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = "ImportError: fastnn.plot needs matplotlib, which is not installed: pip install 'fastnn-core[plot]'"
    assert done.stderr.strip().splitlines()[-1] == expected
