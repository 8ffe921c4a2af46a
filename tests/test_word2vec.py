"""word2vec: sampling against its probabilities, steps against the published formula, models on small texts."""

import numpy as np
import pytest

import fastnn
from fastnn import reference
from fastnn.models import KeyedVectors, Word2Vec

# --- sampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [[1.0], [1, 0, 3], np.arange(1000) ** 0.75, [1e-300, 1e300], [5, 5, 5, 5]])
def test_a_table_holds_the_weights(weights):
    threshold, alias = fastnn.alias_table(weights)
    mass = np.bincount(np.arange(len(threshold)), threshold) + np.bincount(alias, 1 - threshold, len(threshold))
    np.testing.assert_allclose(mass / len(threshold), np.divide(weights, np.sum(weights)), atol=1e-15)
    assert ((threshold >= 0) & (threshold <= 1)).all()
    for one, other in zip((threshold, alias), reference.alias_table(weights), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("weights", [[], [[1.0]], [1, -1], [0, 0], [np.nan, 1], [np.inf, 1], [1e308, 1e308]])
def test_weights_that_are_none(weights):
    with pytest.raises(ValueError, match="weights"):
        fastnn.alias_table(weights)


def test_draws_are_those_of_the_twin():
    table = fastnn.alias_table(1 / np.arange(1, 101))
    got = fastnn.alias_sample(*table, (50, 7), np.random.default_rng(3))
    assert got.shape == (50, 7)
    assert got.dtype == np.int32
    assert (got == reference.alias_sample(*table, (50, 7), np.random.default_rng(3))).all()
    with pytest.raises(TypeError, match="rng"):
        fastnn.alias_sample(*table, 3, 0)


@pytest.mark.parametrize("shrink", [True, False])
@pytest.mark.parametrize("window", [1, 3, 100, 2**62])
def test_windows_are_those_of_the_twin(shrink, window, rng):
    tokens, ends = rng.integers(0, 9, 60), [0, 7, 7, 30, 59]  # empty sentences, and a word after the last one
    keep = np.linspace(0, 1, 9)
    both = [
        F.context_windows(tokens, ends, window, np.random.default_rng(0), keep=keep, shrink=shrink)
        for F in (fastnn, reference)
    ]
    for got, want in zip(*both, strict=True):
        assert got.dtype == want.dtype
        assert (got == want).all()


def test_windows_of_no_words():
    for tokens, ends in (([], []), ([], [0, 0]), ([1, 2], [])):
        centres, contexts, bounds = fastnn.context_windows(np.array(tokens, int), ends, 2, np.random.default_rng(0))
        assert len(centres) == len(contexts) == 0
        assert bounds.tolist() == [0]


def test_words_that_are_dropped_leave_no_gap():
    found = fastnn.context_windows([1, 0, 2], [3], 1, np.random.default_rng(0), keep=[0.0, 1, 1], shrink=False)
    assert [x.tolist() for x in found] == [[1, 2], [2, 1], [0, 1, 2]]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"tokens": [0, 5]}, IndexError, "tokens hold 5, which is not among the 2 of keep"),
        ({"tokens": [0, -1]}, IndexError, "tokens hold -1"),
        ({"tokens": [0.5, 1]}, TypeError, "tokens have dtype float64"),
        ({"tokens": [2**40, 1]}, IndexError, "tokens hold 1099511627776"),
        ({"ends": [2, 1]}, ValueError, "ends do not rise from 0 to 2"),
        ({"ends": [3]}, ValueError, "ends do not rise"),
        ({"ends": [-1, 2]}, ValueError, "ends do not rise"),
        ({"window": 0}, ValueError, "window is 0"),
        ({"rng": 3}, TypeError, "rng is 3"),
    ],
)
def test_windows_of_bad_arguments(change, error, match):
    given = {"tokens": [0, 1], "ends": [2], "window": 1, "rng": np.random.default_rng(0), "keep": [1.0, 1]} | change
    with pytest.raises(error, match=match):
        fastnn.context_windows(**given)


# --- steps -----------------------------------------------------------------------------------------------------------


def problem(rng, *, dim=20, windows=40, words=30, negative=5, dtype=np.float64, widest=12):
    lengths = rng.integers(0, widest, windows)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    vectors, output = rng.standard_normal((2, words, dim)).astype(dtype) / dim**0.5
    inputs, targets = rng.integers(0, words, bounds[-1]), rng.integers(0, words, (windows, 1 + negative))
    return vectors, output, inputs, bounds, targets


def stepped(F, name, tables, *rest, **options):
    tables = [table.copy() for table in tables]
    return getattr(F, name)(*tables, *rest, **options), *tables


@pytest.mark.parametrize("name", ["skipgram_step", "cbow_step"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "sizes",
    [{"dim": 1}, {"dim": 16}, {"dim": 37, "negative": 1}, {"dim": 100, "negative": 15}, {"negative": 0}]
    + [{"negative": n, "dim": 33, "widest": 3 * n} for n in range(2, 14, 3)],
)
@pytest.mark.parametrize("block", [1, 7])
def test_steps_equal_the_twin(isa, rng, name, dtype, sizes, block):
    vectors, output, *rest = problem(rng, **sizes)
    got = stepped(fastnn, name, (vectors.astype(dtype), output.astype(dtype)), *rest, lr=0.1, block=block)
    want = stepped(reference, name, (vectors, output), *rest, lr=0.1, block=block)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mean", [True, False])
def test_the_mean_and_the_sum(isa, rng, mean):
    vectors, output, *rest = problem(rng)
    got = stepped(fastnn, "cbow_step", (vectors, output), *rest, lr=0.1, mean=mean)
    want = stepped(reference, "cbow_step", (vectors, output), *rest, lr=0.1, mean=mean)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["skipgram_step", "cbow_step"])
def test_a_step_is_the_published_formula(name):
    """One pair after the other, in numbers: no word is there twice, so nothing depends on their order."""
    v, u = np.array([[0.5, -1], [2, 1], [0, 3]]), np.array([[1.0, 1], [0.5, -0.5], [-1, 2]])
    loss, vectors, output = stepped(fastnn, name, (v, u), [0, 2], [0, 2], [[1, 2, 0]], lr=0.1)
    rows = v[[0, 2]] if name == "skipgram_step" else v[[0, 2]].mean(axis=0, keepdims=True)
    want_v, want_u, want_loss = v.copy(), u.copy(), 0
    for i, row in enumerate(rows):
        for j, label in ((1, 1), (2, 0), (0, 0)):
            p = 1 / (1 + np.exp(-row @ u[j]))
            want_loss -= np.log(p if label else 1 - p)
            want_v[[[0, 2][i]] if name == "skipgram_step" else [0, 2]] += 0.1 * (label - p) * u[j]
            want_u[j] += 0.1 * (label - p) * row
    assert loss == pytest.approx(want_loss, rel=1e-12)
    np.testing.assert_allclose(vectors, want_v, rtol=1e-12)
    np.testing.assert_allclose(output, want_u, rtol=1e-12)


@pytest.mark.parametrize("name", ["skipgram_step", "cbow_step"])
def test_a_negative_that_is_the_word_is_none(isa, name, rng):
    vectors, output = rng.standard_normal((2, 4, 5))
    with_it = stepped(fastnn, name, (vectors, output), [0, 1], [0, 2], [[2, 3, 2]], lr=0.1)
    without = stepped(fastnn, name, (vectors, output), [0, 1], [0, 2], [[2, 3]], lr=0.1)
    for one, other in zip(with_it, without, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


@pytest.mark.parametrize("name", ["skipgram_step", "cbow_step"])
@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_large_scores(isa, name, scale):
    """Neither the loss nor the gain of a hopeless score is left out or wrong."""
    vectors, output = np.array([[scale, 0]], "f"), np.array([[-1.0, 0], [1, 0], [-1, 0]], "f")
    with np.errstate(all="raise"):
        loss = getattr(fastnn, name)(vectors, output, [0], [0, 1], [[0, 1, 2]], lr=0.5)
    assert loss == pytest.approx(2 * scale, rel=1e-6)
    np.testing.assert_allclose(output[:, 0], [0.5 * scale - 1, 1 - 0.5 * scale, -1], rtol=1e-6)


@pytest.mark.kernels
@pytest.mark.parametrize("name", ["skipgram_step", "cbow_step"])
def test_bits_do_not_depend_on_threads_or_layout(isa, name, rng):
    from fastnn._kernels import cpu

    vectors, output, *rest = problem(rng, dim=90, windows=500, words=100, dtype=np.float32)
    wide = [np.full((len(table), 101), 7, "f") for table in (vectors, output)]
    before, found = cpu.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            cpu.set_num_threads(threads)
            found.append(stepped(fastnn, name, (vectors, output), *rest, lr=0.1, block=200))
    finally:
        cpu.set_num_threads(before)
    for table, values in zip(wide, (vectors, output), strict=True):
        table[:, 3:93] = values
    views = [table[:, 3:93] for table in wide]
    found.append((getattr(fastnn, name)(*views, *rest, lr=0.1, block=200), *views))
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert np.array_equal(one, same)
    assert all((table[:, :3] == 7).all() and (table[:, 93:] == 7).all() for table in wide)


def test_no_windows_and_no_loss(rng):
    vectors, output, inputs, bounds, targets = problem(rng)
    assert stepped(fastnn, "skipgram_step", (vectors, output), [], [0], np.empty((0, 3), int), lr=1.0)[0] == 0
    lost = stepped(fastnn, "cbow_step", (vectors, output), inputs, bounds, targets, lr=0.1, need_loss=False)
    kept = stepped(fastnn, "cbow_step", (vectors, output), inputs, bounds, targets, lr=0.1)
    assert lost[0] is None
    assert all((one == other).all() for one, other in zip(lost[1:], kept[1:], strict=True))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"vectors": [[1.0]]}, TypeError, "vectors is a list"),
        ({"vectors": np.ones((3, 4), np.float16)}, TypeError, "vectors has dtype float16"),
        ({"vectors": np.ones((3, 4), np.float32)}, TypeError, "vectors and output have dtypes float32 and float64"),
        ({"vectors": np.ones((4, 3)).T}, ValueError, "rows lie densely"),
        ({"vectors": np.ones((3, 5))}, ValueError, "output has rows of 4 numbers, expected 5"),
        ({"output": np.broadcast_to(1.0, (3, 4)).copy()[::-1][:, ::-1]}, ValueError, "rows lie densely"),
        ({"inputs": [3, 0]}, IndexError, "inputs hold 3, which is not among the 3 rows"),
        ({"targets": [[0, -1]]}, IndexError, "targets hold -1"),
        ({"targets": [0, 1]}, ValueError, r"targets have shape \(2,\)"),
        ({"targets": np.empty((1, 0), int)}, ValueError, r"targets have shape \(1, 0\)"),
        ({"bounds": [0, 1]}, ValueError, "bounds do not rise from 0 to 2"),
        ({"bounds": [0, 3, 2]}, ValueError, "bounds do not rise"),
        ({"bounds": []}, ValueError, "bounds do not rise"),
        ({"block": 0}, ValueError, "block is 0"),
    ],
)
def test_steps_of_bad_arguments(change, error, match):
    given = {"vectors": np.ones((3, 4)), "output": np.ones((3, 4)), "inputs": [0, 1], "bounds": [0, 2]}
    given |= {"targets": [[0, 1]], "lr": 0.1} | change
    for name in ("skipgram_step", "cbow_step"):
        with pytest.raises(error, match=match):
            getattr(fastnn, name)(**given)


# --- models ----------------------------------------------------------------------------------------------------------


def text(sentences=300):
    """Sentences about animals and about vehicles, which have no word in common but for `the`."""
    animals = ["cat", "dog", "cow", "pig", "eats", "sleeps", "runs", "breathes", "the"]
    vehicles = ["car", "bus", "van", "tram", "brakes", "starts", "rolls", "honks", "the"]
    rng = np.random.default_rng(0)
    return [[str(word) for word in rng.choice((animals, vehicles)[i % 2], 8)] for i in range(sentences)]


OPTIONS = {"vector_size": 20, "min_count": 1, "epochs": 10, "workers": 1, "sample": 0, "alpha": 0.05}


@pytest.mark.parametrize("options", [{"sg": 1}, {"sg": 0}, {"sg": 0, "cbow_mean": 0}, {"sg": 1, "deterministic": True}])
def test_a_model_learns_what_stands_together(options):
    model = Word2Vec(text(), **OPTIONS | options, compute_loss=True)
    near = [word for word, _ in model.wv.most_similar("cat", topn=5)]
    assert set(near) <= {"dog", "cow", "pig", "eats", "sleeps", "runs", "breathes", "the"}
    assert model.wv.doesnt_match(["dog", "cow", "bus", "pig"]) == "bus"
    assert model.get_latest_training_loss() > 0


def test_the_same_seed_gives_the_same_vectors():
    one, same, other = (Word2Vec(text(50), **OPTIONS, seed=seed).wv.vectors for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_two_threads_train_as_much_as_one():
    model = Word2Vec(**OPTIONS | {"workers": 2}, batch_words=100, compute_loss=True)
    model.build_vocab(text())
    assert model.train(text()) == (24_000, 24_000)


def test_the_deterministic_mode_is_the_same_for_all_workers():
    found = [
        Word2Vec(text(), **OPTIONS | {"workers": workers, "vector_size": 40}, sg=1, deterministic=True)
        for workers in (1, 2)
    ]
    assert (found[0].wv.vectors == found[1].wv.vectors).all()
    assert (found[0].syn1neg == found[1].syn1neg).all()


def test_a_model_is_saved(tmp_path):
    model = Word2Vec(text(50), **OPTIONS)
    model.save(tmp_path / "model.safetensors")
    same = fastnn.load(tmp_path / "model.safetensors")
    assert same.config() == model.config()
    assert (same.wv.vectors == model.wv.vectors).all()
    assert (same.syn1neg == model.syn1neg).all()
    assert same.wv.most_similar("cat") == model.wv.most_similar("cat")
    same.train(text(50))
    model.wv.save(tmp_path / "wv.safetensors")
    words = fastnn.load(tmp_path / "wv.safetensors")
    assert isinstance(words, KeyedVectors)
    assert words.index_to_key == model.wv.index_to_key


def test_texts_that_will_not_do():
    for sentences in ([], [[]], [["one", "one"]], [["a", "b"]]):
        with pytest.raises(ValueError, match="different words of at least min_count = 5"):
            Word2Vec(sentences)
    with pytest.raises(TypeError, match="only once"):
        Word2Vec(iter([["a"]]))
    with pytest.raises(TypeError, match="sentences is a str"):
        Word2Vec("text")
    with pytest.raises(ValueError, match="no vocabulary"):
        Word2Vec().train([["a"]])


# --- KeyedVectors ----------------------------------------------------------------------------------------------------


@pytest.fixture
def wv():
    wv = KeyedVectors(2)
    wv.add_vectors(["king", "queen", "man", "woman", "apple"], [[3, 1], [3, 2], [1, 1], [1, 2], [-1, 0]])
    return wv


def test_neighbours(wv):
    assert wv.most_similar("king", topn=1)[0] == ("queen", pytest.approx(11 / 130**0.5))
    assert wv.most_similar(positive=["king", "woman"], negative=["man"], topn=1)[0][0] == "queen"
    assert [word for word, _ in wv.most_similar("king", topn=99)] == ["queen", "man", "woman", "apple"]
    assert wv.most_similar("king", topn=0) == []
    assert wv.most_similar("king", topn=None).shape == (5,)
    assert [word for word, _ in wv.most_similar("king", clip_start=2, clip_end=4)] == ["man", "woman"]
    assert wv.similar_by_vector([0, 1], topn=1)[0][0] == "woman"
    assert wv.similarity("king", "queen") == pytest.approx(11 / 130**0.5)
    assert wv.doesnt_match(["king", "queen", "apple"]) == "apple"
    with pytest.raises(KeyError, match="'prince' is not among the 5 keys"):
        wv.most_similar("prince")
    with pytest.raises(ValueError, match="positive and negative are empty"):
        wv.most_similar()
