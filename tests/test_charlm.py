"""The language model of characters or words: its perplexity, its samples, its training and its checkpoints."""

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.data import Vocabulary, tokenize
from fastnn.io import load_arrays
from fastnn.models import CharLM, LanguageModel, language, perplexity, unigram_perplexity
from fastnn.training import Trainer

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 12
SMALL = {"hidden_size": 16, "embedding_size": 8}
STEPS = {"num_steps": 8, "batch_size": 4, "reports": 4}


def weights(lm):
    return np.concatenate([value.ravel() for value in lm.state_dict().values()])


def set_weights(lm, **values):
    """Set parameters to the given arrays, the others to 0."""
    names = {"embedding": "embedding.weight", "w_ih": "recurrent.weight_ih_l0", "output": "output.weight"}
    given = {names.get(name, name): value for name, value in values.items()}
    lm.load_state_dict({name: given.get(name, np.zeros_like(old)) for name, old in lm.state_dict().items()})


def alternating():
    """A model that is certain that b follows a and a follows b."""
    lm = CharLM("ab", "rnn", hidden_size=2, embedding_size=2)
    set_weights(lm, embedding=np.eye(2), w_ih=50 * np.eye(2), output=1000 * np.array([[0.0, 1.0], [1.0, 0.0]]))
    return lm


# perplexity ------------------------------------------------------------------------------------------------------


def test_perplexity_of_nats():
    assert perplexity(0.0) == 1
    assert perplexity(math.log(74)) == pytest.approx(74)
    assert perplexity(math.inf) == perplexity(1e6) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_perfect_predictions_give_one():
    with np.errstate(all="raise"):
        assert alternating().perplexity("ab" * 50) == 1
        assert alternating().perplexity("ba" * 50, prefix="a") == 1


def test_uniform_predictions_give_the_size_of_the_vocabulary():
    lm = CharLM(TEXT, **SMALL)
    set_weights(lm)
    assert lm.perplexity(TEXT) == pytest.approx(len(lm.vocabulary), rel=1e-6)


def test_a_probability_of_zero_gives_infinity_without_a_warning():
    lm = CharLM("ab", **SMALL)
    set_weights(lm, **{"output.bias": np.array([0, -np.inf])})
    with np.errstate(all="raise"):
        assert lm.perplexity("aaba") == math.inf
        assert lm.perplexity("aaaa") == 1


def test_unigram_perplexity():
    vocabulary = Vocabulary("abc")
    expected = math.exp(-(2 * math.log(4 / 7) + math.log(2 / 7) + math.log(1 / 7)) / 4)
    assert unigram_perplexity("aaab", "aabc", vocabulary) == pytest.approx(expected)
    with pytest.raises(ValueError, match="validation is empty"):
        unigram_perplexity("aaab", "", vocabulary)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("prefix", ["", "t", "the cat sat on the mat, the "])
def test_perplexity_scores_every_character_once_with_the_state_carried(monkeypatch, chunk, prefix):
    monkeypatch.setattr(language, "CHUNK", chunk)
    lm = CharLM(TEXT, "rnn", hidden_size=5, embedding_size=4, num_layers=2, rng=1, dtype=np.float64)
    text = TEXT[3:53]
    tokens = lm.vocabulary.encode(prefix + text)
    w = lm.state_dict()
    h, nats = np.zeros((2, 5)), []
    for now, then in itertools.pairwise(tokens):
        x = w["embedding.weight"][now]
        for layer in range(2):
            pre = w[f"recurrent.weight_ih_l{layer}"] @ x + w[f"recurrent.weight_hh_l{layer}"] @ h[layer]
            x = h[layer] = np.tanh(pre + w[f"recurrent.bias_ih_l{layer}"] + w[f"recurrent.bias_hh_l{layer}"])
        logits = w["output.weight"] @ x + w["output.bias"]
        nats.append(np.log(np.exp(logits).sum()) - logits[then])
    scored = len(text) if prefix else len(text) - 1
    assert lm.perplexity(text, prefix) == pytest.approx(math.exp(np.mean(nats[-scored:])), rel=1e-10)


@pytest.mark.parametrize(("text", "prefix"), [("", ""), ("t", ""), ("", "the")])
def test_perplexity_needs_a_token_to_score(text, prefix):
    with pytest.raises(ValueError, match="no token to score"):
        CharLM(TEXT, **SMALL).perplexity(text, prefix)


# samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", language.CELLS)
def test_greedy_sample_takes_the_likeliest_each_time(cell):
    assert alternating().sample("aab", 7) == "abababa"
    lm = CharLM(TEXT, cell, **SMALL, num_layers=2, rng=3)
    text = "the"
    for _ in range(10):
        text += lm.vocabulary.decode(lm(lm.vocabulary.encode(text)[:, None])[0][-1, 0].argmax())
    assert lm.sample("the", 10) == text[3:]
    assert lm.sample("the", 10, temperature=1e-300, rng=0) == text[3:]
    assert lm.sample("the", 10, temperature=5, top_k=1, rng=0) == text[3:]
    assert lm.sample("the", 0) == ""


def test_a_prefix_is_read_without_logits(monkeypatch):
    lm, rows = CharLM(TEXT, **SMALL), []
    monkeypatch.setattr(type(lm.output), "__call__", lambda _, x: rows.append(x.shape) or np.zeros((len(x), 99)))
    lm.sample("the cat", 2)
    assert rows == 2 * [(1, SMALL["hidden_size"])]


def test_samples_follow_the_probabilities():
    lm = CharLM("abcd", **SMALL)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    set_weights(lm, **{"output.bias": np.log(p)})
    n = 4000

    def frequencies(**options):
        return np.bincount(lm.vocabulary.encode(lm.sample("a", n, rng=0, **options)), minlength=4) / n

    assert frequencies(temperature=1) == pytest.approx(p, abs=0.03)
    assert frequencies(temperature=0.5) == pytest.approx(p**2 / (p**2).sum(), abs=0.03)
    assert frequencies(temperature=1, top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert frequencies(temperature=1, top_k=99) == pytest.approx(p, abs=0.03)
    assert frequencies(temperature=1, top_p=0.79) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert frequencies(temperature=1, top_p=0.81) == pytest.approx([10 / 19, 6 / 19, 3 / 19, 0], abs=0.03)
    assert frequencies(temperature=1, top_k=3, top_p=0.5) == pytest.approx([1, 0, 0, 0], abs=0.03)
    assert frequencies(temperature=1, top_p=1) == pytest.approx(p, abs=0.03)


def test_samples_repeat_with_the_seed():
    lm = CharLM(TEXT, **SMALL, rng=0)
    assert lm.sample("the", 50, 1.0, rng=1) == lm.sample("the", 50, 1.0, rng=1) != lm.sample("the", 50, 1.0, rng=2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("", 3), ValueError, "prefix is empty"),
        (("中", 3), ValueError, r"'中' \(U\+4E2D\)"),
        (("t", -1), ValueError, "n is -1"),
        (("t", 3, -0.5), ValueError, "temperature is -0.5"),
        (("t", 3, math.nan), ValueError, "temperature is nan"),
        (("t", 3, 1, 0), ValueError, "top_k is 0"),
        (("t", 3, 1, 1.5), TypeError, "top_k is 1.5"),
        (("t", 3, 1, None, 0), ValueError, "top_p is 0"),
        (("t", 3, 1, None, math.nan), ValueError, "top_p is nan"),
    ],
)
def test_sample_rejects(arguments, error, words):
    with pytest.raises(error, match=words):
        CharLM(TEXT, **SMALL).sample(*arguments)


# the layer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", language.CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_gradients(cell, tied):
    lm = CharLM(
        "abc", cell, hidden_size=4, num_layers=2, embedding_size=4, dropout=0.4, input_dropout=0.3, tied=tied, rng=0
    )
    x = np.array([[0, 1], [2, 0], [1, 1]])
    state = np.random.default_rng(1).standard_normal((2, 2, 2, 4))
    assert fastnn.gradcheck(lm, x, tuple(state) if cell == "lstm" else state[0]).error < 1e-6


@pytest.mark.parametrize("cell", language.CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_layer_has_names_a_configuration_and_a_file(tmp_path, cell, tied):
    lm = CharLM("深度学习", cell, hidden_size=4, num_layers=2, embedding_size=4, dropout=0.1, tied=tied, rng=0)
    assert list(lm.state_dict())[:2] == ["embedding.weight", "recurrent.weight_ih_l0"]
    assert (lm.embedding.weight is lm.output.weight) == tied
    lm.save(tmp_path / "lm")
    same = fastnn.load(tmp_path / "lm")
    assert same.config() == lm.config()
    assert (same.embedding.weight is same.output.weight) == tied
    assert same.vocabulary == lm.vocabulary
    assert same.perplexity("学习学度") == lm.perplexity("学习学度")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cell": "elman"}, "cell is 'elman'"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"dropout": 2}, "p is 2"),
        ({"input_dropout": -1}, "p is -1"),
        ({"vocabulary": "aaa"}, "vocabulary has 1 token, expected at least two"),
        ({"vocabulary": ["the"]}, "vocabulary has 1 token"),
        ({"tied": True}, "embedding_size is 64, expected the hidden_size 256, being tied"),
    ],
)
def test_model_rejects(options, words):
    with pytest.raises(ValueError, match=words):
        CharLM(**{"vocabulary": TEXT, **options})


# training --------------------------------------------------------------------------------------------------------


def test_training_learns_and_reports():
    lm = CharLM(TEXT, hidden_size=32, embedding_size=8, dropout=0.1, rng=0)
    assert lm.fit(TEXT, validation=TEXT[:100], epochs=30, num_steps=12, batch_size=8, lr=0.02, reports=10, rng=0) is lm
    assert [*lm.history[0]] == ["epoch", "step", "seconds", "rate", "speed", "loss", "validation_loss"]
    assert len(lm.history) == 10
    assert lm.history[-1]["step"] == pytest.approx(30 * (len(TEXT) // 8 - 1) // 12, abs=30)
    assert lm.history[-1]["loss"] < 0.4
    best = min(lm.history.column("validation_loss"))
    assert lm.perplexity(TEXT[:100], prefix=TEXT[-500:]) == perplexity(best) < 1.3
    assert lm.sample("the cat", 8) == " sat on "


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_cell_learns(cell):
    lm = CharLM(TEXT, cell, 32, embedding_size=32, dropout=0.1, tied=True, rng=0)
    lm.fit(TEXT, epochs=30, num_steps=12, batch_size=8, lr=0.02, reports=1, rng=0)
    assert lm.perplexity(TEXT[:100], prefix=TEXT[-500:]) < 1.3
    assert lm.sample("the cat", 8) == " sat on "


def test_the_weights_that_did_best_are_kept():
    lm = CharLM(TEXT, **SMALL, rng=0)
    lm.fit(TEXT, validation="tatatata" * 5, epochs=20, **STEPS, rng=0)
    scores = lm.history.column("validation_loss")
    assert scores.index(min(scores)) < len(scores) - 1
    assert lm.perplexity("tatatata" * 5, prefix=TEXT[-500:]) == perplexity(min(scores))


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("sampling", ["consecutive", "random"])
def test_every_optimizer_and_sampling_learns(optimizer, sampling):
    lm = CharLM(TEXT, **SMALL, rng=0)
    before = lm.perplexity(TEXT)
    lr = {"sgd": 1.0}.get(optimizer, 0.01)
    lm.fit(TEXT, epochs=4, **STEPS, optimizer=optimizer, sampling=sampling, lr=lr, weight_decay=1e-5, rng=0)
    assert lm.perplexity(TEXT) < 0.7 * before


def test_the_seed_decides_the_weights():
    def trained(seed):
        return weights(CharLM(TEXT, **SMALL, rng=0).fit(TEXT, epochs=2, **STEPS, rng=seed))

    assert np.array_equal(trained(1), trained(1))
    assert not np.array_equal(trained(1), trained(2))


def test_seconds_are_a_budget_too():
    lm = CharLM(TEXT, **SMALL).fit(TEXT, seconds=0.3, **STEPS)
    assert len(lm.history) <= 4
    assert 0.3 <= lm.history[-1]["seconds"] < 3
    lm.fit(TEXT, seconds=60, epochs=1, **STEPS)
    assert lm.history[-1]["seconds"] < 10


def test_verbose_prints_the_reports(capsys):
    CharLM(TEXT, **SMALL).fit(TEXT, epochs=2, **STEPS, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert "step  epoch  seconds  train perplexity  validation perplexity  characters/s" in lines[0]
    assert len(lines) == 5
    assert {len(line) for line in lines} == {len(lines[0])}


@pytest.mark.parametrize(
    ("text", "options", "error", "words"),
    [
        (TEXT, {"epochs": None}, ValueError, "seconds and epochs are both None"),
        (TEXT, {"seconds": 0}, ValueError, "seconds is 0"),
        (TEXT, {"seconds": math.nan}, ValueError, "seconds is nan"),
        (TEXT, {"clip": -1}, ValueError, "clip is -1"),
        (TEXT, {"num_steps": 0}, ValueError, "num_steps is 0"),
        (TEXT, {"reports": 1.5}, TypeError, "reports is 1.5"),
        (TEXT, {"optimizer": "newton"}, ValueError, "optimizer is 'newton'"),
        (TEXT, {"sampling": "none"}, ValueError, "sampling is 'none'"),
        (TEXT, {"lr": -1}, ValueError, "lr is -1"),
        (TEXT, {"optimizer": "sgd", "lr": 1e38, "clip": None}, FloatingPointError, r"loss is \w+ in step \d: .* f"),
        ("the cat", {}, ValueError, "text has 7 characters, expected at least 36"),
        ("the cat", {"sampling": "random"}, ValueError, "text has 7 characters, expected at least 9"),
        ("The cat" * 20, {}, ValueError, "'T'"),
        (TEXT, {"validation": "The cat"}, ValueError, "'T'"),
        (TEXT, {"validation": ""}, ValueError, "validation is empty"),
    ],
)
def test_fit_rejects(text, options, error, words):
    lm = CharLM(TEXT, **SMALL, rng=0)
    with pytest.raises(error, match=words):
        lm.fit(text, **{**STEPS, "epochs": 1, **options})


# words -----------------------------------------------------------------------------------------------------------

WORDS = tokenize(TEXT)
KNOWN = Vocabulary(WORDS, unk="<unk>")


def test_words_are_learnt_like_characters(tmp_path, capsys):
    lm = LanguageModel(KNOWN, "gru", 32, embedding_size=32, dropout=0.1, input_dropout=0.1, tied=True, rng=0)
    options = {"epochs": 30, "num_steps": 6, "batch_size": 4, "lr": 0.02, "reports": 3, "rng": 0, "verbose": True}
    lm.fit(WORDS, validation=WORDS[:30], **options, checkpoint=tmp_path / "lm")
    assert "words/s" in capsys.readouterr().out
    assert lm.perplexity(WORDS[:30], prefix=WORDS[-30:]) < 1.6
    assert lm.sample(["the", "cat", "sat"], 4) == ["on", "the", "mat", ","]
    same = fastnn.load(tmp_path / "lm")
    assert same.vocabulary == lm.vocabulary
    assert same.perplexity(WORDS) == lm.perplexity(WORDS) == lm.perplexity(KNOWN.encode(WORDS))
    assert lm.perplexity(KNOWN.encode(WORDS).tolist()) == lm.perplexity(WORDS)
    resumed = LanguageModel.resume(tmp_path / "lm", WORDS, validation=WORDS[:30], epochs=31)
    assert resumed.history[-1]["epoch"] >= 30


def test_the_unknown_word_is_never_drawn():
    lm = LanguageModel(KNOWN, **SMALL)
    set_weights(lm, **{"output.bias": np.where(np.arange(len(KNOWN)) == 0, 50.0, 0.0)})
    assert "<unk>" not in lm.sample(["dog"], 200, temperature=1, rng=0) + lm.sample(["the"], 5)


def test_input_dropout_is_one_mask_for_all_steps():
    lm = CharLM("ab", "rnn", 4, embedding_size=50, dropout=0, input_dropout=0.5, rng=0)
    set_weights(lm, embedding=np.ones((2, 50)), w_ih=np.eye(4, 50) / 4, output=np.ones((2, 4)))
    logits = lm.vjp(np.zeros((6, 8), int))[0][0]
    assert (logits == logits[0]).all()
    assert len(np.unique(logits[0])) > 1
    still = lm.vjp(np.zeros((6, 8), int), training=False)[0][0]
    assert np.array_equal(still, lm(np.zeros((6, 8), int))[0])
    assert len(np.unique(still)) == 1


@pytest.mark.parametrize("prefix", ["", "the cat "])
def test_scores_are_what_perplexity_averages(monkeypatch, prefix):
    monkeypatch.setattr(language, "CHUNK", 7)
    lm = CharLM(TEXT, **SMALL, rng=0)
    p = lm.scores(TEXT[:40], prefix)
    assert p.dtype == np.float64
    assert len(p) == (40 if prefix else 39)
    assert lm.perplexity(TEXT[:40], prefix) == pytest.approx(math.exp(-np.log(p).mean()), rel=1e-6)


def test_chunks_shrink_for_large_vocabularies(monkeypatch):
    lm = CharLM(TEXT, **SMALL, rng=0)
    expected = lm.scores(TEXT)
    monkeypatch.setattr(language, "LOGITS", 5 * len(lm.vocabulary))
    assert lm.scores(TEXT) == pytest.approx(expected, rel=1e-5)


def test_words_reject():
    lm = LanguageModel(Vocabulary(WORDS), **SMALL)
    with pytest.raises(TypeError, match="text is a str, expected a list of words"):
        lm.perplexity("the cat")
    with pytest.raises(ValueError, match="token 'dog' at position 1"):
        lm.fit(["the", "dog"] * 50, epochs=1, **STEPS)
    with pytest.raises(ValueError, match="text has 3 words, expected at least 36"):
        lm.fit(WORDS[:3], epochs=1, **STEPS)
    with pytest.raises(IndexError, match="text holds 99"):
        lm.perplexity(np.array([1, 99]))
    for empty in ("", [], np.zeros(0, int)):
        with pytest.raises(ValueError, match="no token to score"):
            lm.perplexity(empty)
        with pytest.raises(ValueError, match="prefix is empty"):
            lm.sample(empty, 1)


# checkpoints -----------------------------------------------------------------------------------------------------


def stop_after(monkeypatch, reports):
    """Raise KeyboardInterrupt once that many checkpoints are written."""
    save, count = Trainer._save, iter(range(reports))

    def stopping(self, *arguments):
        if next(count, None) is None:
            raise KeyboardInterrupt
        save(self, *arguments)

    monkeypatch.setattr(Trainer, "_save", stopping)


@pytest.mark.parametrize(
    ("cell", "sampling", "optimizer"),
    [
        ("rnn", "consecutive", "sgd"),
        ("rnn", "random", "adam"),
        ("gru", "random", "sgd"),
        ("lstm", "consecutive", "adam"),
    ],
)
def test_a_resumed_training_ends_as_one_that_never_stopped(tmp_path, monkeypatch, cell, sampling, optimizer):
    path = tmp_path / "lm"
    options = {"validation": TEXT[:60], "epochs": 5, **STEPS, "sampling": sampling, "optimizer": optimizer, "rng": 0}

    def new():
        return CharLM(TEXT, cell, 16, 2, 16, 0.3, tied=cell != "rnn", rng=0)

    whole = new().fit(TEXT, **options)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            new().fit(TEXT, **options, checkpoint=path)
    assert fastnn.load(path).config() == whole.config()
    resumed = CharLM.resume(path, TEXT, validation=TEXT[:60])
    assert np.array_equal(weights(resumed), weights(whole))
    for name in ("step", "epoch", "rate", "loss", "validation_loss"):
        assert resumed.history.column(name) == whole.history.column(name)
    assert np.array_equal(weights(fastnn.load(path)), weights(whole))
    assert os.listdir(tmp_path) == ["lm"]


def test_a_finished_training_goes_on_with_a_larger_budget(tmp_path):
    path = tmp_path / "lm"
    CharLM(TEXT, **SMALL, rng=0).fit(TEXT, epochs=1, **STEPS, rng=0, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="all of its budget"):
        CharLM.resume(path, TEXT)
    assert path.read_bytes() == before
    lm = CharLM.resume(path, TEXT, epochs=3)
    assert len(lm.history) > 4
    assert lm.history[-1]["step"] > 2 * lm.history[3]["step"]


def test_resume_rejects(tmp_path):
    path = tmp_path / "lm"
    CharLM(TEXT, **SMALL, rng=0).fit(TEXT, epochs=1, **STEPS, checkpoint=path)
    whole = path.read_bytes()
    with pytest.raises(ValueError, match=r"lm cannot be gone on with: .* another text"):
        CharLM.resume(path, TEXT + "t", epochs=2)
    with pytest.raises(ValueError, match=r"another validation text"):
        CharLM.resume(path, TEXT, validation="the", epochs=2)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        CharLM.resume(path, TEXT, epochs=2)
    nn.Linear(2, 2).save(path)
    with pytest.raises(ValueError, match="lm holds a Linear without a training"):
        CharLM.resume(path, TEXT, epochs=2)
    with pytest.raises(FileNotFoundError):
        CharLM.resume(tmp_path / "none", TEXT)


@pytest.mark.parametrize("path", [".", "missing/lm", "file/lm"])
def test_a_checkpoint_that_cannot_be_written_is_found_before_training(tmp_path, path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"Is a directory|No such file|Not a directory"):
        CharLM(TEXT, **SMALL).fit(TEXT, seconds=1000, **STEPS, checkpoint=tmp_path / path)
    assert os.listdir(tmp_path) == ["file"]


# the twin --------------------------------------------------------------------------------------------------------

TWENTY = """
import sys
import numpy as np
from fastnn._backend import BACKEND
from fastnn.models import CharLM
text, path, cell = sys.argv[1:]
assert BACKEND == "reference"
lm = CharLM(text, cell, 64, rng=0).fit(text, epochs=1, num_steps=16, batch_size=8, rng=0, checkpoint=path)
"""


@pytest.mark.kernels
@pytest.mark.parametrize("cell", language.CELLS)
def test_twenty_steps_agree_with_the_numpy_twin(tmp_path, cell):
    text = (TEXT * 5)[: 8 * (20 * 16 + 1) + 15]  # twenty windows at whatever offset
    lm = CharLM(text, cell, 64, rng=0).fit(text, epochs=1, num_steps=16, batch_size=8, rng=0)
    assert lm.history[-1]["step"] == 20
    subprocess.run(
        [sys.executable, "-c", TWENTY, text, tmp_path / "twin", cell],
        env={**os.environ, "FASTNN_BACKEND": "reference"},
        check=True,
    )
    twin = load_arrays(tmp_path / "twin")
    assert np.abs(weights(lm) - weights(fastnn.load(tmp_path / "twin"))).max() < 1e-5
    assert lm.history.column("loss") == pytest.approx([r["loss"] for r in twin[1]["training"]["history"]], rel=1e-5)
