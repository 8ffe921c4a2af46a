"""Edit distance, error rates and BLEU, against the table written out, and what sacrebleu 2.6 says."""

import numpy as np
import pytest

from fastnn.metrics import bleu, edit_distance, error_rate, sequence_error_rate


def table(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@pytest.mark.parametrize("symbols", [1, 2, 5, 40])
def test_edit_distance_is_that_of_the_table(symbols):
    rng = np.random.default_rng(symbols)
    for _ in range(200):
        a, b = (rng.integers(0, symbols, rng.integers(0, 20)).tolist() for _ in "ab")
        assert edit_distance(a, b) == edit_distance(b, a) == table(a, b)
        assert edit_distance(a, a) == 0


def test_edit_distance_of_more_than_64_tokens():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 4, n) for n in (150, 131))
    assert edit_distance(a, b) == table(a.tolist(), b.tolist())


def test_error_rate_counts_the_nearest_reference():
    assert error_rate(["abc", "x"], [["abd", "zzz"], ["x"]]) == 1 / 4
    assert error_rate(["ab"], [["a", "abc"]]) == 1 / 3  # both at a distance of 1: the longer one
    assert error_rate(["abcd"], [["a"]]) == 3


def test_sequence_error_rate():
    assert sequence_error_rate([np.array([1, 2]), [3]], [[[1, 2], [9]], [[3, 4]]]) == 0.5


@pytest.mark.parametrize(
    ("hypotheses", "references", "exp", "none"),
    [
        (["the cat is on the mat"], [["the cat sat on the mat"]], 37.99178428257963, 0.0),
        (
            ["0 1 2 3 4 5", "7 7 7"],
            [["0 1 2 3 5", "1 2 3 4"], ["7 7", "8 7 7 7 7"]],
            82.22672338010396,
            82.22672338010396,
        ),
        (["a b c d e"], [["a b c d e f g h"]], 54.88116360940264, 54.88116360940264),  # too short
        (["a a a a a"], [["a b"]], 10.682175159905848, 0.0),  # counted at most as often as there
        (["a b c"], [["a b c"]], 0.0, 0.0),  # nothing of four tokens
        (["x y z w"], [["a b c d"]], 0.0, 0.0),
    ],
)
def test_bleu_is_that_of_sacrebleu(hypotheses, references, exp, none):
    hypotheses = [sentence.split() for sentence in hypotheses]
    references = [[sentence.split() for sentence in several] for several in references]
    assert bleu(hypotheses, references) == pytest.approx(exp, abs=1e-9)
    assert bleu(hypotheses, references, smoothing="none") == pytest.approx(none, abs=1e-9)


def test_bleu_of_fewer_orders():
    assert bleu([[1, 2, 3]], [[[1, 2, 4]]], max_order=1) == pytest.approx(200 / 3)
    assert bleu([[1, 2]], [[[1, 2]]], max_order=2) == pytest.approx(100)


@pytest.mark.parametrize("metric", [error_rate, sequence_error_rate, bleu])
def test_bad_pairs(metric):
    with pytest.raises(ValueError, match="references are 1, expected 2, as many as hypotheses"):
        metric(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="hypotheses are empty"):
        metric([], [])
    with pytest.raises(ValueError, match=r"references\[1\] is empty"):
        metric(["a", "b"], [["a"], []])


def test_bad_arguments():
    with pytest.raises(ValueError, match="references hold no token"):
        error_rate(["a"], [[""]])
    with pytest.raises(ValueError, match="smoothing is 'floor', expected one of 'exp', 'none'"):
        bleu(["a"], [["a"]], smoothing="floor")
    with pytest.raises(ValueError, match="max_order is 0"):
        bleu(["a"], [["a"]], max_order=0)
