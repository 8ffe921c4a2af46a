"""Searches over toy models whose every probability is known: exhaustive search, greedy search, limits, bad input."""

import itertools
import re

import numpy as np
import pytest

from fastnn.models import Seq2Seq, beam_search, greedy_decode

END = 0
LENGTH, GNMT = ("length", 0.7), ("gnmt", 1.3)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def history_model(vocabulary, sharp, seed):
    """A step function whose probabilities depend on all tokens so far, by way of a state that each one changes."""
    rng = np.random.default_rng(seed)
    mix, out = rng.standard_normal((vocabulary, 6, 6)), sharp * rng.standard_normal((6, vocabulary))

    def step(tokens, state):
        (h,), count = state["h"], state["count"]
        h = np.tanh(np.einsum("nij,nj->ni", mix[tokens], h))
        return log_softmax(h @ out), {"h": (h,), "count": count + 1}

    def state(batch):
        return {"h": (np.linspace(-1, 1, 6 * batch).reshape(batch, 6),), "count": np.zeros(batch, np.int64)}

    return step, state


def few_branches(vocabulary, seed):
    """As `history_model`, but only two tokens can follow any beginning, of which the end token may be one."""
    step, state = history_model(vocabulary, 1.0, seed)

    def narrow(tokens, state):
        scores, state = step(tokens, state)
        least = np.sort(scores, axis=1)[:, -2, None]
        return log_softmax(np.where(scores >= least, scores, -np.inf)), state

    return narrow, state


def every_hypothesis(step, state, start, max_length, min_length, penalty):
    """Return (score, log-probability, tokens) of all that can be said, best first; by trying everything."""
    found = []

    def extend(tokens, last, state, total):
        scores, state = step(np.array([last]), state)
        for token, score in enumerate(scores[0]):
            if token == END and len(tokens) >= min_length and score > -np.inf:
                n = len(tokens) + 1
                by = {"length": n ** penalty[1], "gnmt": ((5 + n) / 6) ** penalty[1], None: 1}[penalty[0]]
                found.append(((total + score) / by, total + score, tokens))
            elif token != END and len(tokens) < max_length and score > -np.inf:
                extend((*tokens, token), token, state, total + score)

    extend((), start, state, 0.0)
    return sorted(found, reverse=True)


@pytest.mark.parametrize("penalty", [(None, 1), LENGTH, GNMT])
@pytest.mark.parametrize("min_length", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_that_holds_everything_is_exhaustive_search(seed, min_length, penalty):
    step, state = few_branches(20, seed)
    options = {"max_length": 4, "min_length": min_length, "length_penalty": penalty[0], "alpha": penalty[1]}
    all_found = beam_search(step, state(3), [1, 2, 3], end=END, beam=20, n_best=4, **options)
    for b, found in enumerate(all_found):
        one = {"h": (state(3)["h"][0][b : b + 1],), "count": np.zeros(1)}
        expected = every_hypothesis(step, one, b + 1, 4, min_length, penalty)[:4]
        assert [tuple(hypothesis.tokens) for hypothesis in found] == [tokens for _, _, tokens in expected]
        np.testing.assert_allclose([h.score for h in found], [score for score, _, _ in expected], rtol=1e-12)
        np.testing.assert_allclose([h.log_probability for h in found], [p for _, p, _ in expected], rtol=1e-12)


@pytest.mark.parametrize(("end", "min_length"), [(END, 0), (END, 3), (None, 0)])
@pytest.mark.parametrize("sharp", [0.3, 2.0])
def test_beam_of_one_is_greedy(sharp, end, min_length):
    step, state = history_model(5, sharp, 0)
    limits = {"end": end, "max_length": 6, "min_length": min_length}
    start = np.arange(8) % 5
    greedy = greedy_decode(step, state(8), start, **limits)
    searched = beam_search(step, state(8), start, beam=1, **limits)
    assert len({len(hypothesis.tokens) for hypothesis in greedy}) > 1 or end is None
    for one, (other,) in zip(greedy, searched, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert one.score == other.score == one.log_probability
        assert len(one.tokens) == 6 if end is None else min_length <= len(one.tokens) <= 6


@pytest.mark.parametrize("penalty", [(None, 1), LENGTH])
def test_a_batch_finds_what_each_of_it_finds_alone(penalty):
    step, state = history_model(9, 1.5, 1)
    options = {"end": END, "max_length": 7, "beam": 4, "n_best": 3, "length_penalty": penalty[0], "alpha": penalty[1]}
    together = beam_search(step, state(6), np.arange(6), **options)
    for b in range(6):
        (alone,) = beam_search(step, {"h": (state(6)["h"][0][b : b + 1],), "count": np.zeros(1)}, [b], **options)
        assert [h.tokens.tolist() for h in alone] == [h.tokens.tolist() for h in together[b]]
        np.testing.assert_allclose([h.score for h in alone], [h.score for h in together[b]], rtol=1e-12)
        assert sorted((h.score for h in alone), reverse=True) == [h.score for h in alone]


def test_the_figure_of_the_seed():
    """b = 2: I and My first; then I decided, I thought, My decision; the two best of these go on."""
    words = ["</s>", "<s>", "I", "My", "The", "decided", "thought", "decision", "was"]
    chances = {
        "<s>": {"I": 0.5, "My": 0.35, "The": 0.15},
        "I": {"decided": 0.5, "thought": 0.3, "was": 0.2},
        "My": {"decision": 0.9, "thought": 0.1},
        "The": {"decision": 1.0},
    }
    table = np.full((9, 9), -np.inf)
    table[5:, 0] = 0.0
    for word, following in chances.items():
        for other, chance in following.items():
            table[words.index(word), words.index(other)] = np.log(chance)
    asked = []

    def step(tokens, state):
        asked.append([words[token] for token in tokens])
        return table[tokens], state

    def said(found):
        return {" ".join(words[token] for token in h.tokens): round(np.exp(h.log_probability), 3) for h in found}

    (one,) = beam_search(step, None, [1], end=None, max_length=1, beam=2, n_best=2)
    assert said(one) == {"I": 0.5, "My": 0.35}
    (three,) = beam_search(step, None, [1], end=None, max_length=2, beam=3, n_best=3)
    assert said(three) == {"My decision": 0.315, "I decided": 0.25, "I thought": 0.15}
    asked.clear()
    (two,) = beam_search(step, None, [1], end=END, max_length=2, beam=2, n_best=2)
    assert said(two) == {"My decision": 0.315, "I decided": 0.25}
    assert asked == [["<s>"], ["I", "My"], ["decision", "decided"]]
    (greedy,) = greedy_decode(step, None, [1], end=END, max_length=2)
    assert said([greedy]) == {"I decided": 0.25}


def test_length_penalties_by_their_formulas():
    table = np.full((4, 4), -np.inf)
    table[1, [0, 2]] = np.log([0.4, 0.6])
    table[2, 3] = np.log(0.5)
    table[3, 0] = 0.0

    def best(**options):
        (found,) = beam_search(
            lambda tokens, state: (table[tokens], state), None, [1], end=0, max_length=3, beam=2, n_best=2, **options
        )
        return [(h.tokens.tolist(), h.score) for h in found]

    short, long = np.log(0.4), np.log(0.3)
    assert best() == [([], pytest.approx(short)), ([2, 3], pytest.approx(long))]
    assert best(length_penalty="length") == [([2, 3], pytest.approx(long / 3)), ([], pytest.approx(short))]
    assert best(length_penalty="length", alpha=0) == best()
    assert best(length_penalty="gnmt", alpha=2) == [
        ([2, 3], pytest.approx(long / (8 / 6) ** 2)),
        ([], pytest.approx(short)),
    ]


def test_limits_hold_where_they_cost_probability():
    table = np.log([[0.98, 0.01, 0.01], [0.98, 0.01, 0.01], [0.01, 0.01, 0.98]])
    limits = {"end": 0, "max_length": 3, "min_length": 2}
    first, second = greedy_decode(lambda t, s: (table[t], s), None, [1, 2], **limits)
    assert len(first.tokens) == 2
    assert second.tokens.tolist() == [2, 2, 2]
    assert second.log_probability == pytest.approx(3 * np.log(0.98) + np.log(0.01))  # the end token's counted
    (first,), (second,) = beam_search(lambda t, s: (table[t], s), None, [1, 2], beam=3, **limits)
    assert len(first.tokens) == 2
    assert second.tokens.tolist() == [2, 2]
    assert second.log_probability == pytest.approx(2 * np.log(0.98) + np.log(0.01))


def test_nothing_can_be_said():
    table = np.full((3, 3), -np.inf)
    table[:, 1] = 0.0  # never ends
    (found,) = beam_search(lambda t, s: (table[t], s), None, [1], end=0, max_length=2, beam=2)
    assert found == []


def test_equal_probabilities_take_the_lower_token():
    table = np.full((4, 4), -np.log(4))
    found = greedy_decode(lambda t, s: (table[t], s), None, [3], end=3, max_length=2)
    ((best, *_),) = beam_search(lambda t, s: (table[t], s), None, [3], end=3, max_length=2, beam=1)
    assert found[0].tokens.tolist() == best.tokens.tolist() == [0, 0]


def test_attention_follows_the_hypothesis():
    """Weights that name the token they were chosen with: each row must be of the token before it."""
    step, state = history_model(6, 0.5, 2)

    def attending(tokens, state):
        return *step(tokens, state), np.eye(6)[tokens]

    for found in (
        *beam_search(attending, state(3), [1, 2, 3], end=END, max_length=5, min_length=2, beam=6, n_best=4),
        [*greedy_decode(attending, state(3), [1, 2, 3], end=END, max_length=5, min_length=2)][:1],
    ):
        for hypothesis in found:
            assert hypothesis.attention.shape == (len(hypothesis.tokens) + 1, 6)
            assert hypothesis.attention[1:].argmax(1).tolist() == hypothesis.tokens.tolist()
    (found,) = beam_search(attending, state(1), [1], end=None, max_length=3, beam=2)
    assert found[0].attention.shape == (3, 6)


def test_the_state_may_be_anything_made_of_arrays():
    seen = []

    def step(tokens, state):
        seen.append(state["a"][0][:, 0].tolist())
        return log_softmax(np.tile(np.linspace(0, 1, 5), (len(tokens), 1))), {"a": [state["a"][0] + 1], "b": None}

    beam_search(step, {"a": [np.array([[0.0], [10.0]])], "b": None}, [1, 2], end=None, max_length=3, beam=2)
    assert seen == [[0, 10], [1, 11, 1, 11], [2, 12, 2, 12]]


def test_large_vocabularies_find_the_same():
    rng = np.random.default_rng(3)
    scores = log_softmax(rng.standard_normal((4, 5000)))
    found = beam_search(lambda t, s: (scores[: len(t)], s), None, [0] * 4, end=None, max_length=1, beam=7, n_best=7)
    for row, several in zip(scores, found, strict=True):
        assert [h.tokens[0] for h in several] == np.argsort(-row)[:7].tolist()


BAD = [
    ({"beam": 6}, ValueError, "beam is 6, expected at most the 5 tokens of the vocabulary"),
    ({"beam": 0}, ValueError, "beam is 0"),
    ({"beam": 2.0}, TypeError, "beam is 2.0"),
    ({"n_best": 4}, ValueError, "n_best is 4, expected at most the beam of 3"),
    ({"end": 5}, ValueError, "end is 5, expected one of the 5 tokens of the vocabulary"),
    ({"end": -1}, ValueError, "end is -1"),
    ({"max_length": 0}, ValueError, "max_length is 0"),
    ({"min_length": 9}, ValueError, "min_length is 9, expected at most the max_length of 4"),
    ({"length_penalty": "wu"}, ValueError, "length_penalty is 'wu', expected one of 'length', 'gnmt'"),
    ({"alpha": -1}, ValueError, "alpha is -1"),
    ({"start": [0.5]}, TypeError, "start has dtype float64, expected integers"),
    ({"start": []}, TypeError, "start has dtype float64"),
    ({"start": np.zeros((1, 1), int)}, ValueError, r"start has shape \(1, 1\), expected \(B,\)"),
    ({"state": "text"}, TypeError, "state holds a str, expected arrays"),
]


@pytest.mark.parametrize(("changed", "error", "message"), BAD)
def test_bad_arguments(changed, error, message):
    arguments = {"state": None, "start": [1, 2], "end": 0, "max_length": 4, "beam": 3} | changed
    uniform = np.full((2 * 3, 5), -np.log(5))
    with pytest.raises(error, match=message):
        beam_search(lambda tokens, state: (uniform[: len(tokens)], state), **arguments)


@pytest.mark.parametrize("search", [greedy_decode, beam_search])
@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros((2, 3, 4)), r"array of float64 and shape (2, 3, 4), expected log-probabilities (2, V)"),
        (np.zeros((3, 4)), r"shape (3, 4)"),
        (np.zeros((2, 9), int), r"array of int64"),
        (np.full((2, 9), np.nan), "step returned nan, expected log-probabilities, at most 0"),
        (np.full((2, 9), 0.25), "step returned 0.25, expected log-probabilities, at most 0"),
    ],
)
def test_what_step_returns_is_checked(search, returned, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        search(lambda tokens, state: (returned, state), None, [1, 2], end=0, max_length=3)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_model_is_searched_exhaustively(cell):
    """Over all targets of a Seq2Seq, scored one by one by teacher forcing."""
    model = Seq2Seq(5, 9, cell, 8, 2, 6, skip=True, rng=5, dtype=np.float64)
    for parameter in model.parameters():
        parameter.value *= 3
    source, lengths = np.array([[3, 4], [1, 2], [4, 0]]), np.array([3, 2])
    model.output.bias.value[[0, 1, 5, 6, 7, 8]] = -1e3  # leaves tokens 2, the end, 3 and 4
    targets = [t for n in range(4) for t in itertools.product((3, 4), repeat=n)]
    scored = np.zeros((2, len(targets)))
    for i, target in enumerate(targets):
        target_in = np.array([[model.start] * 2, *([token] * 2 for token in target)])
        scores = log_softmax(model(source, lengths, target_in))
        scored[:, i] = sum(scores[t, :, token] for t, token in enumerate((*target, model.end)))
    found = model.translate(source, lengths, max_length=3, beam=9, n_best=5)
    for b, several in enumerate(found):
        best = np.argsort(-scored[b])[:5]
        assert [tuple(h.tokens) for h in several] == [targets[i] for i in best]
        np.testing.assert_allclose([h.score for h in several], scored[b, best], rtol=1e-9)
        assert all(h.attention.shape == (len(h.tokens) + 1, lengths[b]) for h in several)
        np.testing.assert_allclose(np.concatenate([h.attention.sum(1) for h in several]), 1)
