"""word2vec: sampling against its probabilities, steps against the published formula, models on small texts."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import reference
from fastnn._backend import BACKEND
from fastnn._backend import functions as F
from fastnn.cli import main
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
@pytest.mark.parametrize("windows", [5000, 5001])  # in the second case the last block is a window alone
def test_bits_do_not_depend_on_threads_or_layout(isa, name, windows, rng):
    from fastnn._kernels import cpu

    vectors, output, *rest = problem(rng, dim=90, windows=windows, words=3000, negative=9, dtype=np.float32)
    wide = [np.full((len(table), 101), 7, "f") for table in (vectors, output)]
    before, found = cpu.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            cpu.set_num_threads(threads)
            found.append(stepped(fastnn, name, (vectors, output), *rest, lr=0.01, block=5000))
    finally:
        cpu.set_num_threads(before)
    for table, values in zip(wide, (vectors, output), strict=True):
        table[:, 3:93] = values
    views = [table[:, 3:93] for table in wide]
    found.append((getattr(fastnn, name)(*views, *rest, lr=0.01, block=5000), *views))
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


def text(sentences=300 if BACKEND == "compiled" else 60):
    """Sentences about animals and about vehicles, which have no word in common but for `the`."""
    animals = ["cat", "dog", "cow", "pig", "eats", "sleeps", "runs", "breathes", "the"]
    vehicles = ["car", "bus", "van", "tram", "brakes", "starts", "rolls", "honks", "the"]
    rng = np.random.default_rng(0)
    return [[str(word) for word in rng.choice((animals, vehicles)[i % 2], 8)] for i in range(sentences)]


OPTIONS = {"vector_size": 20, "min_count": 1, "epochs": 10, "workers": 1, "sample": 0, "alpha": 0.05}
if BACKEND == "reference":
    OPTIONS |= {"alpha": 0.15}


@pytest.mark.parametrize(
    "options",
    [
        {"sg": 1},
        {"sg": 0},
        {"sg": 0, "cbow_mean": 0},
        {"sg": 1, "deterministic": True},
        {"sg": 1, "negative": 0},
        {"sg": 0, "negative": 0},
        {"sg": 0, "negative": 0, "cbow_mean": 0},
    ],
)
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
    assert model.train(text()) == 2 * (10 * 8 * len(text()),)


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
    rewritten(tmp_path / "model.safetensors", lambda header: header.replace(b'size\\": 20', b'size\\": 10000000000000'))
    with pytest.raises(ValueError, match="does not describe a module: Unable to allocate"):
        fastnn.load(tmp_path / "model.safetensors")
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


@pytest.mark.parametrize(
    "options", [{"sg": 0, "alpha": 1e10}, {"sg": 1, "alpha": 1e10}, {"alpha": 1e10, "negative": 0}]
)
def test_vectors_beyond_all_bounds_are_an_error(options):
    with (
        np.errstate(all="raise"),
        pytest.raises(FloatingPointError, match="vectors have grown beyond all bounds, at a"),
    ):
        Word2Vec(text(50), **OPTIONS | options)


def test_rates_and_exponents_that_will_not_do():
    model = Word2Vec(**OPTIONS)
    model.build_vocab(text(50))
    for wrong in (0, -1, np.nan, np.inf):
        for name, train in (("start_alpha", model.train), ("alpha", Word2Vec)):
            with pytest.raises(ValueError, match=f"^{name} is {wrong}, expected a "):
                train(text(50), **{name: wrong})
    for name, train in (("end_alpha", model.train), ("min_alpha", Word2Vec)):
        with pytest.raises(ValueError, match=f"{name} is inf, expected a finite number"):
            train(text(50), **{name: np.inf})
    for wrong in (1000, -1000, np.nan):
        with pytest.raises(ValueError, match=r"ns_exponent is .*, which takes counts beyond"):
            Word2Vec(text(50), **OPTIONS, ns_exponent=wrong)


def test_a_file_is_the_same_text_as_its_sentences(tmp_path):
    path, sentences = tmp_path / "text.txt", text(50)
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
    one, other = Word2Vec(sentences, **OPTIONS), Word2Vec(corpus_file=path, **OPTIONS)
    assert one.config() == other.config()
    assert np.array_equal(one.wv.vectors, other.wv.vectors)  # as it is one job


def test_files_in_many_pieces(tmp_path):
    """Every word arrives once, however lines and pieces lie, and none is cut in two."""
    from fastnn.models.word2vec import _Lines

    rng, path = np.random.default_rng(0), tmp_path / "text"
    for lengths in ([3, 0, 50, 1], [400], [1] * 60, [0, 0, 0]):
        lines = [" ".join("é" * int(n) for n in rng.integers(1, 9, length)) for length in lengths]
        for end, space in (("", " "), ("\n", " "), ("\n", "\t"), ("\r\n", "\v\f")):
            content = ("\n".join(lines) + end).replace(" ", space).encode()
            path.write_bytes(content)
            for size in (1, 3, 20, 10_000):
                pieces = [piece for piece, _ in _Lines(path).pieces(size)]
                assert _Lines(path).count()[1] == content.count(b"\n") + (content[-1:] not in (b"", b"\n"))
                assert b"".join(pieces) == content
                assert max(map(len, pieces), default=0) <= 2 * 6 * size + 6 * size + 16
                assert [word for piece in pieces for word in piece.split()] == content.split()


def test_numbers_of_words():
    index = F.WordIndex([b"a", b"bb", "é".encode()])
    ids, ends, words = index.encode(" a bb\tx a\n\n x\n\u00e9\r\na".encode())
    assert (ids.tolist(), ends.tolist(), words) == ([0, 1, 0, 2, 0], [3, 4, 5], 7)
    many = [b"%d" % i for i in range(5000)]
    assert F.WordIndex(many).encode(b" ".join(many))[0].tolist() == list(range(5000))
    assert [len(x) for x in index.encode(b"")[:2]] == [0, 0]


def test_the_loss_of_a_model_falls_and_is_that_of_its_steps():
    model = Word2Vec(**OPTIONS | {"epochs": 1}, sg=1, compute_loss=True)
    model.build_vocab(text())
    model.train(text(), start_alpha=1e-9, end_alpha=0)  # at first all scores are 0
    windows = fastnn.context_windows(np.zeros(8, int), [8], 5, np.random.default_rng(0), shrink=False)
    assert len(windows[1]) > 0
    first = model.get_latest_training_loss()
    model.train(text(), epochs=10)
    assert model.get_latest_training_loss() < 10 * first
    softmax = Word2Vec(**OPTIONS | {"epochs": 1}, sg=0, negative=0)
    softmax.build_vocab(text())
    assert softmax.train(text(), start_alpha=1e-12, end_alpha=0)[0] == 8 * len(text())
    assert softmax.get_latest_training_loss() == pytest.approx(8 * len(text()) * np.log(len(softmax.wv)), rel=1e-5)


def test_an_error_in_a_thread_is_the_callers():
    class Text:
        def __init__(self, good):
            self.good = good

        def __iter__(self):
            yield from text(20)
            if not self.good:
                raise OSError("the disk is gone")

    model = Word2Vec(**OPTIONS | {"workers": 3}, batch_words=20)
    model.build_vocab(Text(True))
    with pytest.raises(OSError, match="the disk is gone"):
        model.train(Text(False))


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
    assert wv.most_similar(("king", "woman"), ("man",)) == wv.most_similar(["king", "woman"], ["man"])
    assert wv.most_similar(np.array(["king", "woman"])) == wv.most_similar(["king", "woman"])
    assert wv.most_similar(("king", np.float32(2))) == wv.most_similar("king")
    assert wv.most_similar([("king", 1), (np.array([1, 1]), -1)], topn=1) == wv.most_similar("king", "man", topn=1)
    for wrong in ([("man",)], [1.0, 2.0], ("king", None), (3, 4)):
        with pytest.raises(ValueError, match=r"a key is .*, expected a word, 2 numbers, or one with a weight"):
            wv.most_similar(wrong)


@pytest.fixture
def many():
    rng, keys = np.random.default_rng(0), ["the", "é", "wort", "New York", *(f"w{i}" for i in range(50))]
    wv = KeyedVectors(7, keys, range(len(keys), 0, -1))
    wv.vectors[...] = rng.standard_normal(wv.vectors.shape) * 10.0 ** rng.integers(-30, 30, wv.vectors.shape)
    wv.vectors[0] = [0, -0.0, 1, np.inf, -np.inf, 1e-45, 3.4028235e38]
    return wv


@pytest.mark.parametrize("form", ["text", "binary", "glove"])
def test_files_of_vectors(tmp_path, many, form):
    path = tmp_path / "vectors"
    if form == "binary":
        many.index_to_key[3] = "NewYork"
    many.save_word2vec_format(path, tmp_path / "counts", binary=form == "binary", write_header=form != "glove")
    options = {"binary": form == "binary", "no_header": form == "glove"}
    wv = KeyedVectors.load_word2vec_format(path, tmp_path / "counts", **options)
    assert wv.index_to_key == many.index_to_key
    assert wv.vectors.tobytes() == many.vectors.tobytes()
    assert (wv.counts == many.counts).all()
    few = KeyedVectors.load_word2vec_format(path, limit=3, **options)
    assert few.index_to_key == many.index_to_key[:3]


def test_numbers_in_text(tmp_path):
    """Read as Python reads them, exact or not in a double."""
    text = "1 -1 +.5 5. 1e3 1E-3 -1.5e+2 0.1 3.4028235e38 1e-45 123456789012345678 1234567890123456789 1e-60 1e23 inf"
    text += " -Infinity nan 0.000000000000000000000000012345 9007199254740993 1e22 007"
    numbers = text.split()
    path = tmp_path / "numbers"
    path.write_text(f"1 {len(numbers)}\nword {' '.join(numbers)}  \n\n")
    with np.errstate(all="ignore"):
        want = np.array([float(x) for x in numbers]).astype("f")
    assert KeyedVectors.load_word2vec_format(path)["word"].tobytes() == want.tobytes()


def test_a_word_that_is_there_twice_keeps_its_first_vector(tmp_path):
    (tmp_path / "twice").write_text("3 1\na 1\nb 2\na 3\n")
    wv = KeyedVectors.load_word2vec_format(tmp_path / "twice")
    assert (wv.index_to_key, wv.vectors[:, 0].tolist()) == (["a", "b"], [1, 2])


@pytest.mark.parametrize(
    ("content", "options", "match"),
    [
        (b"", {}, "is empty"),
        (b"one two\n", {}, "begins with b'one two', expected the numbers"),
        (b"a 1 2 3\nb 1 2 3\n", {}, "begins with b'a 1 2 3'"),
        (b"2\na 1\n", {}, "begins with b'2'"),
        (b"-5 10\na 1\n", {}, "claims -5 vectors of 10 numbers"),
        (b"5 -10\na 1\n", {}, "claims 5 vectors of -10 numbers"),
        (b"5 0\na 1\n", {}, "claims 5 vectors of 0 numbers"),
        (b"1000000000000 1000000\na 1\n", {}, "take at least 2000001000000000000 bytes, but 4 are there"),
        (b"1000000000000 1000000\na 1\n", {"binary": True}, "bytes, but 4 are there"),
        (b"1000000000000 1000000", {}, "bytes, but 0 are there"),
        (
            b"a" + b" 1" * 10_000 + b"\n" * 30_000,
            {"no_header": True},
            "claims 30000 vectors of 10000 numbers, which take",
        ),
        (b"2 3\na 1 2 3 9\nb 4 5 6 9\n", {}, "holds b'a 1' as a word before 3 numbers, expected a header"),
        (b"2 3\na 1 2 3\nb 1 2 3\n", {"no_header": True}, "begins with b'2 3', which looks like a header"),
        (b"1 2\na 1_0 2\n", {}, "as vector 1, expected a word and 2 numbers"),
        (b"1_0 2\na 1 2\n", {}, "begins with b'1_0 2', expected the numbers"),
        (b"3 2\na 1 1111\nb 1 1111\n", {}, "ends in vector 3 of 3"),
        (b"2 2\na 1 1\nb 1 \n", {}, "as vector 2, expected a word and 2 numbers"),
        (b"2 2\na 1 1\nb 1 x\n", {}, r"holds b'b 1 x' as vector 2"),
        (b"1 2\n3.5 1\n", {}, r"holds b'3.5 1' as vector 1"),
        (b"1 1\na 1\nb 2\n", {}, "goes on after the 1 vectors that its header claims"),
        (b"1 1\n\xff 1\n", {}, r"holds the word b'\\xff', which is not utf8"),
        (b"2 2\naa 12345678b 1234567", {"binary": True}, "ends in vector 2 of 2"),
        (b"1 2\naaaaaaaaaaaaaaaaaaa", {"binary": True}, "ends in vector 1 of 1"),
        (b"a\n", {"no_header": True}, "begins with a line of 1 parts"),
        (b"a 1\nb\n", {"no_header": True}, "as vector 2, expected a word and 1 numbers"),
        (b"a 1\n", {"no_header": True, "binary": True}, "no_header is for text"),
    ],
)
def test_corrupt_files(tmp_path, content, options, match):
    path = tmp_path / "corrupt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        KeyedVectors.load_word2vec_format(path, **options)
    assert "\n" not in str(caught.value)


def test_words_and_numbers_that_a_text_file_cannot_tell_apart(tmp_path):
    wv = KeyedVectors(2, ["the", "Apollo 11"])
    for header in (True, False):
        with pytest.raises(ValueError, match="keys hold 'Apollo 11', which a text file of word2vec cannot"):
            wv.save_word2vec_format(tmp_path / "vectors", write_header=header)
    wv = KeyedVectors(2, ["Apollo_11", "New York", "1969", "11 o'clock"])
    wv.save_word2vec_format(tmp_path / "vectors")
    assert KeyedVectors.load_word2vec_format(tmp_path / "vectors").index_to_key == wv.index_to_key
    with pytest.raises(ValueError, match="keys hold 'New York', which a text file of word2vec cannot"):
        KeyedVectors(2, ["New York"]).save_word2vec_format(tmp_path / "vectors", write_header=False)


@pytest.mark.parametrize("line", ["a", "a many", "a 1.5"])
def test_corrupt_counts(tmp_path, line):
    (tmp_path / "vectors").write_text("1 1\na 1\n")
    (tmp_path / "counts").write_text(f"b 2\n\n{line}\n")
    with pytest.raises(ValueError, match=f"line 3 of .*counts is '{line}', expected a word and how often it was seen"):
        KeyedVectors.load_word2vec_format(tmp_path / "vectors", tmp_path / "counts")


def test_of_the_lines_of_a_large_file_a_few_are_counted(tmp_path, monkeypatch):
    from fastnn.models import keyedvectors

    monkeypatch.setattr(keyedvectors, "SCAN", 8)
    (tmp_path / "glove").write_text("".join(f"w{i} {i}\n" for i in range(50)))
    for limit in (0, 1, 7, 50, 99, None):
        wv = KeyedVectors.load_word2vec_format(tmp_path / "glove", no_header=True, limit=limit)
        assert wv.vectors[:, 0].tolist() == [float(i) for i in range(50 if limit is None else min(limit, 50))]


def rewritten(path, change):
    """Change the header of a safetensors file, a dict, or its bytes."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = change(content[8 : 8 + length])
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda header: b"#" + header[1:], "is truncated or not a safetensors file"),
        (lambda header: header.replace(b"wort", b"\xff\xff\xff\xff"), "is truncated or not a safetensors file"),
        (lambda header: header.replace(b"[0,1512]", b"[8,1520]"), "is truncated or not a safetensors file"),
        (lambda header: header.replace(b"[0,1512]", b"[0,9999]"), "is truncated or not a safetensors file"),
        (lambda header: header.replace(b"[54,7]", b"[53,7]"), "is truncated or not a safetensors file"),
        (lambda header: header.replace(b"[54,7]", b"[7,54]"), r"\[7, 54\], expected \[54, 7\]|does not describe"),
        (lambda header: header.replace(b'\\"wort\\", ', b""), "counts have length 54, expected 53"),
        (
            lambda header: header.replace(b'size\\": 7', b'size\\": 8'),
            r"\[54, 7\], expected \[54, 8\]|does not describe",
        ),
        (lambda header: header.replace(b'size\\": 7', b'size\\": 10000000000000'), "expected|Unable to allocate"),
    ],
)
@pytest.mark.parametrize("mmap", ["r", None])
def test_files_that_claim_what_they_do_not_hold(tmp_path, many, change, match, mmap):
    path = tmp_path / "wv.safetensors"
    many.save(path)
    rewritten(path, change)
    with pytest.raises(ValueError, match=match) as caught:
        KeyedVectors.load(path, mmap=mmap)
    assert str(caught.value).startswith(str(path))


def test_vectors_stay_in_a_file(tmp_path, many):
    many.save(tmp_path / "wv.safetensors")
    wv = KeyedVectors.load(tmp_path / "wv.safetensors", mmap="r")
    assert isinstance(wv.vectors, np.memmap)
    assert np.array_equal(wv.vectors, many.vectors)
    assert wv.index_to_key == KeyedVectors.load(tmp_path / "wv.safetensors").index_to_key == many.index_to_key
    (tmp_path / "cut").write_bytes((tmp_path / "wv.safetensors").read_bytes()[:50])
    fastnn.nn.Linear(2, 2).save(tmp_path / "linear")
    for name, mmap, match in (
        ("cut", "r", "truncated"),
        ("linear", "r", "no KeyedVectors"),
        ("linear", None, "a Linear"),
    ):
        with pytest.raises(ValueError, match=match):
            KeyedVectors.load(tmp_path / name, mmap=mmap)


def test_pairs_and_analogies(tmp_path, wv):
    (tmp_path / "pairs").write_text("# a line\nKing\tqueen\t9\nman\twoman\t7\nking\tapple\t1\nman\tprince\t5\n")
    pearson, spearman, oov = wv.evaluate_word_pairs(tmp_path / "pairs")
    cosines = [wv.similarity(*pair) for pair in (("king", "queen"), ("man", "woman"), ("king", "apple"))]
    assert pearson[0] == pytest.approx(np.corrcoef([9, 7, 1], cosines)[0, 1])
    assert spearman == (1.0, 0.0)
    assert oov == 25.0
    (tmp_path / "analogies").write_text(
        ": people\nman woman king QUEEN\nman king woman queen\nman woman king prince\n: none\n"
    )
    score, sections = wv.evaluate_word_analogies(tmp_path / "analogies")
    assert [section["section"] for section in sections] == ["people", "none", "Total accuracy"]
    assert sections[0]["correct"] == [("MAN", "WOMAN", "KING", "QUEEN"), ("MAN", "KING", "WOMAN", "QUEEN")]
    assert score == 1.0
    assert wv.evaluate_word_analogies(tmp_path / "analogies", dummy4unknown=True)[0] == 2 / 3
    (tmp_path / "bad").write_text("king queen\n")
    with pytest.raises(ValueError, match=r"line 1 of .* is 'king queen', expected two words and a number"):
        wv.evaluate_word_pairs(tmp_path / "bad")
    with pytest.raises(ValueError, match=r"line 1 of .*, expected four words"):
        wv.evaluate_word_analogies(tmp_path / "bad")


def test_the_probability_of_a_correlation():
    """Against what SciPy's pearsonr returns."""
    from fastnn.models.keyedvectors import _correlation, _ranks

    x = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    for y, want in (
        ([2.0, 1, 4, 3, 7, 8, 6, 5], (0.7380952380952379, 0.036552761052860906)),
        ([1.0, 3, 2, 2, 5, 1, 2, 2], (0.045501575519329034, 0.9148022304604484)),
    ):
        np.testing.assert_allclose(_correlation(x, np.array(y)), want, rtol=1e-10)
    assert _ranks([3, 1, 3, 2]).tolist() == [3.5, 1, 3.5, 2]


# --- the command line ------------------------------------------------------------------------------------------------


def test_training_and_asking(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n".join(" ".join(sentence) for sentence in text()))
    options = "--vector-size 16 --min-count 1 --sample 0 --sg 1 --epochs 10 --alpha 0.1"
    train = ["word2vec", "train", "text.txt", *options.split()]
    for name in ("model.safetensors", "vectors.txt", "vectors.bin", "model", "vectors.vec", "vectors"):
        if name.startswith("model") or Path(name).suffix in (".txt", ".bin"):
            assert main([*train, "--out", name, "--workers", "1"]) == 0
            assert "words gone through" in capsys.readouterr().out
        else:  # the format is that of the content
            Path(name).write_bytes(Path("vectors.txt" if name.endswith("vec") else "vectors.bin").read_bytes())
        assert main(["word2vec", "query", name, "cat", "dog", "--without", "bus", "--topn", "3"]) == 0
        answers = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
        assert set(answers) <= {"cow", "pig", "eats", "sleeps", "runs", "breathes", "the"}
    failing = {
        "text.txt exists": [*train, "--out", "text.txt"],
        "nothere: No such file": ["word2vec", "train", "nothere"],
        "'fish' not among the 17 words": ["word2vec", "query", "vectors.txt", "fish"],
        "is truncated or not a safetensors file": ["word2vec", "query", "text.txt.cut", "cat"],
        "text.txt begins with b'": ["word2vec", "query", "text.txt", "cat"],
        "empty is empty": ["word2vec", "query", "empty", "cat"],
        "vectors have grown beyond all bounds": [*train, "--alpha", "1e10", "--overwrite", "--out", "model"],
        "different words of at least min_count = 5000": [*train, "--min-count", "5000", "--out", "new"],
        "window is 0": [*train, "--window", "0", "--out", "new"],
    }
    (tmp_path / "text.txt.cut").write_bytes((tmp_path / "model").read_bytes()[:1000])
    (tmp_path / "empty").touch()
    before = (tmp_path / "model").read_bytes()
    for words, arguments in failing.items():
        assert main(arguments) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "model").read_bytes() == before
    for option, value in (("--vector-size", 10**14), ("--negative", 10**12)):
        assert main([*train, "--out", "new", option, str(value)]) == 1
        err = capsys.readouterr().err
        assert "Unable to allocate" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_file_whose_length_holds_a_line_feed_is_told_from_text(tmp_path, capsys):
    path = tmp_path / "vectors"
    KeyedVectors(2, ["cat", "w" * 2400]).save(path)
    assert path.read_bytes()[1:2] == b"\n"  # the header takes 2,560 to 2,815 bytes
    assert main(["word2vec", "query", str(path), "cat"]) == 0
    assert "www" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["word2vec", "word2vec train", "word2vec query"])
def test_help(command):
    done = subprocess.run([sys.executable, "-m", "fastnn", *command.split(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: fastnn word2vec" in done.stdout
