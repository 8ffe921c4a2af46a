"""Classifiers of sequences: gradients, lengths, files, and that they learn what they are made for."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.models import RecurrentClassifier, TextCNN
from fastnn.training import Trainer

TOKENS = np.array([[1, 2, 3, 4, 0], [5, 0, 0, 0, 0], [2, 2, 6, 1, 5]])
LENGTHS = np.array([4, 1, 5])
KINDS = {
    "cnn": lambda source, **options: TextCNN(source, 3, (2, 3), 4, **options),
    **{
        f"{cell}-{pool}": lambda source, cell=cell, pool=pool, **options: RecurrentClassifier(
            source, 3, cell, 2, 2, pool=pool, **options
        )
        for cell, pool in [("lstm", "state"), ("lstm", "max"), ("gru", "state"), ("gru", "mean"), ("rnn", "state")]
    },
}


def words(**options):
    return nn.Embedding(7, 3, rng=0, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    lengths = {"lengths": LENGTHS}
    assert fastnn.gradcheck(KINDS[kind](words(), dropout=0.3, rng=1), TOKENS, **lengths).error < 1e-5
    x = np.random.default_rng(0).standard_normal((3, 5, 2))
    assert fastnn.gradcheck(KINDS[kind](2, rng=1), x, **lengths).error < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_past_a_length_changes_nothing(kind):
    model = KINDS[kind](words(dtype=np.float64), rng=1, dtype=np.float64)
    expected = np.concatenate([model(row[None, :n]) for row, n in zip(TOKENS, LENGTHS, strict=True)])
    assert model(TOKENS, LENGTHS) == pytest.approx(expected, rel=1e-12)
    other = np.where(np.arange(5) < LENGTHS[:, None], TOKENS, 6)
    assert np.array_equal(model(other, LENGTHS), model(TOKENS, LENGTHS))
    wider = np.pad(TOKENS, [(0, 0), (0, 9)], constant_values=3)
    assert model(wider, LENGTHS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_is_kept_in_a_file(tmp_path, kind):
    for source, x in ((words(), TOKENS), (2, np.ones((3, 5, 2), np.float32))):
        model = KINDS[kind](source, rng=1)
        model.save(tmp_path / "model")
        same = fastnn.load(tmp_path / "model")
        assert same.config().keys() == model.config().keys()
        assert np.array_equal(same(x, LENGTHS), model(x, LENGTHS))


def order_matters(rng, n):
    """Sequences of different lengths whose class is which of 1 and 2 comes first."""
    lengths = rng.integers(2, 11, n)
    x, label = rng.integers(3, 9, (n, 10)), rng.integers(0, 2, n)
    for row, length, first in zip(x, lengths, label, strict=True):
        at = np.sort(rng.choice(length, 2, replace=False))
        row[at] = [1 + first, 2 - first]
    return x, lengths, label


def pairs_matter(rng, n):
    """Sequences whose class is whether a 1 stands right before a 2."""
    lengths = rng.integers(4, 11, n)
    x, label = rng.integers(3, 9, (n, 10)), rng.integers(0, 2, n)
    for row, length, adjacent in zip(x, lengths, label, strict=True):
        at = rng.integers(0, length - 2)
        row[at], row[at + 2 - adjacent] = 1, 2
    return x, lengths, label


@pytest.mark.parametrize(
    ("make", "task"),
    [
        (lambda source: TextCNN(source, 2, (2, 3), 16, rng=0), pairs_matter),
        (lambda source: RecurrentClassifier(source, 2, "lstm", 16, rng=0), order_matters),
        (lambda source: RecurrentClassifier(source, 2, "gru", 16, pool="max", rng=0), order_matters),
    ],
)
def test_classifiers_learn(make, task):
    rng = np.random.default_rng(0)
    model = make(nn.Embedding(9, 8, rng=0))
    trainer = Trainer(
        model, "softmax_cross_entropy", optim.Adam(model.parameters(), lr=0.01), metrics=["accuracy"], rng=0
    )
    trainer.fit(task(rng, 400), epochs=15)
    assert trainer.evaluate(task(rng, 200))["accuracy"] > 0.95


def test_frozen_vectors_stay_and_others_are_fine_tuned():
    vectors = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    for freeze in (True, False):
        model = TextCNN(nn.Embedding.from_vectors(vectors, freeze=freeze), 3, (2,), 4, rng=0)
        trainer = Trainer(model, "softmax_cross_entropy", optim.Adam(model.parameters(), lr=0.1), rng=0)
        trainer.fit((TOKENS, LENGTHS, np.arange(3)), epochs=2)
        assert np.array_equal(model.source.weight.value, vectors) == freeze


@pytest.mark.parametrize("make", [TextCNN, RecurrentClassifier])
def test_the_number_of_features_may_be_numpys(make, tmp_path):
    make(np.int64(3), 2).save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model")(np.zeros((4, 10, 3), "f"), [10, 3, 7, 1]).shape == (4, 2)


@pytest.mark.parametrize(
    ("make", "error", "words_of_it"),
    [
        (lambda: TextCNN(2.0, 3), TypeError, "source is 2.0, expected a whole number"),
        (lambda: TextCNN(words(), 1), ValueError, "num_classes is 1, expected at least 2"),
        (lambda: TextCNN(words(), 3, ()), ValueError, "kernel_sizes are empty"),
        (lambda: TextCNN(words(), 3, (0,)), ValueError, "kernel_size is 0"),
        (lambda: TextCNN(words(), 3, dropout=2), ValueError, "p is 2"),
        (lambda: RecurrentClassifier(2, 3, "x"), ValueError, "cell is 'x'"),
        (lambda: RecurrentClassifier(2, 3, pool="last"), ValueError, "pool is 'last'"),
        (
            lambda: KINDS["cnn"](words())(TOKENS, [4, 0, 5]),
            ValueError,
            "lengths hold 0, expected sequences",
        ),
        (lambda: KINDS["gru-mean"](words())(TOKENS, [4, 9, 5]), ValueError, "length"),
        (lambda: KINDS["cnn"](words())(TOKENS[0]), ValueError, r"x has shape \(5,\), expected \(batch, time\)"),
        (lambda: KINDS["cnn"](2)(TOKENS), ValueError, r"x has shape \(3, 5\), expected \(batch, time, 2\)"),
        (lambda: KINDS["cnn"](words())(TOKENS + 5), IndexError, "not among the 7"),
    ],
)
def test_classifiers_reject(make, error, words_of_it):
    with pytest.raises(error, match=words_of_it):
        make()
