"""Every example runs at toy size and draws its figure; those that are quick reproduce their published numbers."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
SHARED = {"experiment", "fashion"}
EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples").glob("*.py")) if path.stem not in SHARED}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture
def run(monkeypatch):
    """Run an example as from the command line; return its names."""

    def run(name, *arguments):
        monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
        return runpy.run_path(str(EXAMPLES[name]), run_name="__main__")

    return run


def sized(name):
    return "size = settings(" in EXAMPLES[name].read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_is_a_percent_script_with_a_title_and_a_record(name):
    text = EXAMPLES[name].read_text()
    assert re.match(r'"""[A-Z][^\n]+[.:]', text)
    assert re.search(r"^# %%$", text, re.MULTILINE)
    assert f"`{name}.py`" in (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if sized(name)])
def test_runs_at_toy_size(name, run, capsys):
    run(name, "--quick")
    assert capsys.readouterr().out
    assert Path(f"{name}.png").exists()


@pytest.mark.parametrize("name", [name for name in EXAMPLES if "from fashion" in EXAMPLES[name].read_text()])
def test_says_which_package_is_missing(name, run, monkeypatch, tmp_path):
    import fashion

    monkeypatch.setattr(fashion, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="nowhere: apt-get install dataset-fashion-mnist"):
        run(name)


def test_varied_images_are_the_same_images(rng, monkeypatch):
    from fashion import Varied

    images = rng.standard_normal((20, 1, 28, 28)).astype(np.float32)
    before = images.copy()
    kinds = {(down, right, mirrored): 0 for down in range(3) for right in range(3) for mirrored in (False, True)}
    batches = Varied(images, np.arange(20), size=8, shift=1, rng=rng)
    assert len(batches) == 3
    for _ in range(20):
        for varied, labels in batches:
            assert varied.shape == (len(labels), 1, 28, 28)
            for image, label in zip(varied, labels, strict=True):
                found = [
                    (down, right, mirrored)
                    for down, right, mirrored in kinds
                    if np.array_equal(
                        image[0, 1:-1, 1:-1],
                        images[label, 0, :, :: -1 if mirrored else 1][down : down + 26, right : right + 26],
                    )
                ]
                assert len(found) == 1
                kinds[found[0]] += 1
    assert min(kinds.values()) > 5  # of 400, in 18 ways
    assert np.array_equal(images, before)


def test_fashion_mnist_is_read():
    import fashion

    if not fashion.FOLDER.exists():
        pytest.skip("dataset-fashion-mnist is not installed")
    (images, labels), (others, _) = fashion.load()
    assert images.shape == (60_000, 1, 28, 28)
    assert others.shape == (10_000, 1, 28, 28)
    assert labels[:3].tolist() == [9, 0, 0]
    assert abs(images.mean()) < 0.01
    assert abs(images.std() - 1) < 0.01


def test_learning_rates(run):
    names = run("learning_rates")
    assert 0.01 < names["chosen"] < 3
    for functions in names["kinds"].values():
        for function in functions.values():
            rates = [function(step) for step in range(names["n"])]
            assert 0.7 < max(rates) < 1.001


@pytest.mark.parametrize("name", EXAMPLES)
def test_tells_its_options_and_refuses_others(name, run, capsys):
    with pytest.raises(SystemExit, match="0"):
        run(name, "--help")
    assert "--quick" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        run(name, "--nonsense")


def test_activations(run):
    slopes = run("activations")["slopes"]
    assert slopes["sigmoid"] == (0.25, 0.25)
    assert slopes["tanh"] == (1, 1)
    assert slopes["relu"] == (0, 1)


def test_initialisation_gives_the_published_numbers(run):
    names = run("initialisation")
    for key, expected in {
        ("sigmoid", "1"): [0.459, 0.439, 0.436, 0.438, 0.440],
        ("sigmoid", "0.01"): [0.025, 0.0123, 0.0123, 0.0123, 0.0123],
        ("sigmoid", "Xavier"): [0.208, 0.126, 0.118, 0.122, 0.123],
        ("relu", "0.01"): [5.8e-2, 4e-3, 2.9e-4, 2e-5, 1.5e-6],
        ("relu", "Xavier"): [0.584, 0.405, 0.288, 0.202, 0.149],
        ("relu", "He"): [0.827, 0.809, 0.813, 0.807, 0.842],
    }.items():
        np.testing.assert_allclose(names["deviations"][key], expected, rtol=0.03, err_msg=str(key))
    assert ((names["saturated"] > 0.64) & (names["saturated"] < 0.78)).all()


def test_linear_regression_finds_the_closed_form(run):
    names = run("linear_regression")
    np.testing.assert_allclose(names["descended"], names["closed"], atol=1e-4)
    np.testing.assert_allclose(names["closed"], names["true"], atol=2e-3)


def test_softmax_with_loss_is_the_fused_function(run):
    assert run("softmax_with_loss")["difference"] < 1e-14


def test_computation_graph_of_the_lecture(run):
    names = run("computation_graph")
    assert [names[name] for name in ("f", "dx", "dy", "dz")] == [6, 2, 5, 0]
    np.testing.assert_allclose(names["numerical"], [2, 5, 0], atol=1e-9)


def test_weight_gradient(run):
    names = run("weight_gradient")
    for derived, numerical in names["checks"].values():
        np.testing.assert_allclose(derived, numerical, atol=1e-9)
    assert names["report"].error < 1e-6


def test_equal_weights_stay_equal(run):
    assert run("symmetry", "--quick")["units"] == {"equal": 1, "random": 8}


def test_gradients_of_a_relu_rnn(run):
    norms = run("relu_rnn")["found"]
    change = {name: values[0] / values[-1] for name, values in norms.items()}
    assert 0.1 < change["identity"] < 10
    assert change["random, g = 1"] < 1e-8
    assert change["random, g = 2"] > 1e8


def pictures():
    return {path.stem for path in Path().glob("*.png")}


def test_diagrams_of_recurrent_networks(run):
    names = run("recurrent_diagrams")
    assert pictures() == {"lstm_cell", "rnn_unrolled", "rnn_two_directions", "rnn_back_through_time"}
    states = names["h"].ravel()
    np.testing.assert_allclose(states, np.tanh([1, 0.5 * states[0], 0.5 * states[1] - 1, 0.5 * states[2] + 0.5]))
    assert names["difference"] < 1e-15
    assert names["lstm_difference"] < 1e-15


def test_diagrams_of_text(run):
    names = run("text_diagrams")
    assert pictures() == {"embedding_matrix", "beam_search"}
    assert names["same"]
    assert [{" ".join(said[1:]) for said in stayed} for stayed in names["kept"]] == [
        {""},
        {"I", "My"},
        {"My decision", "I decided"},
    ]
    for said, hypothesis in zip(names["kept"][-1], names["found"], strict=True):
        assert names["total"][said] == pytest.approx(np.exp(hypothesis.score))


def test_optimisers_all_find_the_minimum(run):
    values = run("optimisers")["values"]
    assert all(value < 0.1 for value in values.values())  # from 6.45
    assert values["SparseAdam"] == pytest.approx(values["Adam"])
    assert values["momentum"] < values["SGD"]
