"""Language models of n-grams: against sums written out over dictionaries, and against NLTK where it is installed."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from fastnn import nn
from fastnn.data import Vocabulary
from fastnn.io import load_arrays, save_arrays
from fastnn.models import NGramLM
from fastnn.models.ngram import SMOOTHINGS

V = 7  # of which token 6 is never seen
TEXT = np.random.default_rng(0).choice(6, 300, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
LENGTHS = [60, 0, 1, 2, 237]
CONTEXTS = [(), (0,), (1, 0), (0, 1, 0), (6,), (6, 0), (0, 6), tuple(TEXT[-3:].tolist()), (5, 5, 5, 0, 1)]
PROPER = [name for name in SMOOTHINGS if name != "stupid_backoff"]
WORDS = ["the", "cat", "sat", "on", "the", "mat", "the", "cat", "ran"]


class Dictionaries:
    """The same models as sums over dictionaries of tuples, as one reads them in the papers."""

    def __init__(self, text, lengths, order, smoothing, discounts=None, **options):
        sentences, at = [], 0
        for length in [len(text)] if lengths is None else lengths:
            sentences.append(tuple(text[at : at + length].tolist()))
            at += length
        self.order, self.smoothing, self.options, self.discounts = order, smoothing, options, discounts
        counts, before = Counter(), defaultdict(set)
        for sentence in sentences:
            for k in range(1, order + 1):
                for i in range(len(sentence) - k + 1):
                    counts[sentence[i : i + k]] += 1
                    before[sentence[i : i + k]].add(sentence[i - 1] if i else "begin")
        self.after = defaultdict(dict)
        for gram, count in counts.items():
            shorter = smoothing == "kneser_ney" and len(gram) < order
            self.after[gram[:-1]][gram[-1]] = len(before[gram]) if shorter else count

    def p(self, word, context):
        context = context[max(len(context) - self.order + 1, 0) :]
        after = self.after.get(context, {})
        c, total = after.get(word, 0), sum(after.values())
        if self.smoothing in ("laplace", "lidstone"):
            gamma = self.options.get("gamma", 1)
            return (c + gamma) / (total + gamma * V)
        if self.smoothing == "stupid_backoff":
            if c:
                return c / total
            return self.options["alpha"] * self.p(word, context[1:]) if context else 0
        shorter = self.p(word, context[1:]) if context else 1 / V
        if not after:
            return shorter
        if not context and not self.options.get("uniform", True):
            return c / total
        if self.smoothing == "mle":
            return c / total
        if self.smoothing == "witten_bell":
            return (c + len(after) * shorter) / (total + len(after))
        taken = lambda c: self.discounts[len(context)][min(c, 3) - 1] if c else 0
        return (c - taken(c) + sum(map(taken, after.values())) * shorter) / total


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize(
    ("smoothing", "options"),
    [
        ("mle", {}),
        ("laplace", {}),
        ("lidstone", {"gamma": 0.3}),
        ("stupid_backoff", {"alpha": 0.4}),
        ("witten_bell", {}),
        ("witten_bell", {"uniform": False}),
        ("absolute_discounting", {"discount": 0.6}),
        ("kneser_ney", {}),
        ("kneser_ney", {"discount": 0.5, "uniform": False}),
    ],
)
def test_probabilities_are_those_of_the_papers(lengths, order, smoothing, options):
    lm = NGramLM(V, order, smoothing, **options).fit(TEXT, lengths)
    discounts = lm.discounts if smoothing == "kneser_ney" else [(0.6,) * 3] * order
    peer = Dictionaries(TEXT, lengths, order, smoothing, discounts, **options)
    for context in CONTEXTS:
        expected = [peer.p(word, context) for word in range(V)]
        assert lm.distribution(context) == pytest.approx(expected, rel=1e-12), context
        assert [lm.scores([word], context)[0] for word in range(V)] == pytest.approx(expected, rel=1e-12), context


@pytest.mark.parametrize("smoothing", PROPER)
@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("text", [TEXT, [0], [0, 1], [3, 3, 3, 3], np.arange(7)])
def test_probabilities_sum_to_one(smoothing, order, text):
    with np.errstate(all="raise"):
        lm = NGramLM(V, order, smoothing).fit(text)
        for context in [*CONTEXTS, (3,), (3, 3), (0, 1)]:
            p = lm.distribution(context)
            assert p.sum() == pytest.approx(1, abs=1e-12)
            assert (p >= 0).all()


def test_estimated_discounts():
    """Three tokens occur once, two twice, one 3 times, one 4 times (Chen and Goodman 1998, section 3)."""
    lm = NGramLM(9, 1).fit(np.repeat(np.arange(8), [1, 1, 1, 2, 2, 3, 4, 9]))
    y = 3 / (3 + 2 * 2)
    assert lm.discounts == [pytest.approx((1 - 2 * y * 2 / 3, 2 - 3 * y * 1 / 2, 3 - 4 * y * 1 / 1))]


@pytest.mark.parametrize("counts", [[4, 5, 6], [1, 1, 2, 3, 3, 3, 4], [1, 2, 3, 5]])
def test_where_counts_of_counts_allow_no_estimate_the_discount_is_fixed(counts):
    """As of single words where rare ones are merged, so that no count is 1."""
    lm = NGramLM(9, 1).fit(np.repeat(np.arange(len(counts)), counts))
    assert lm.discounts == [(0.75, 0.75, 0.75)]
    assert lm.distribution().sum() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_scores_of_a_text_are_those_of_its_tokens(smoothing):
    lm = NGramLM(V, 3, smoothing).fit(TEXT[:200])
    expected = [lm.distribution(TEXT[200:i])[TEXT[i]] for i in range(200, 300)]
    assert lm.scores(TEXT[200:]) == pytest.approx(expected, rel=1e-12)
    expected = [lm.distribution(TEXT[:i])[TEXT[i]] for i in range(200, 300)]
    assert lm.scores(TEXT[200:], TEXT[:200]) == pytest.approx(expected, rel=1e-12)
    apart = np.concatenate([lm.scores(TEXT[200:230]), lm.scores(TEXT[230:])])
    assert lm.scores(TEXT[200:], lengths=[30, 70]) == pytest.approx(apart, rel=1e-12)
    apart[:30] = lm.scores(TEXT[200:230], TEXT[190:200])
    assert lm.scores(TEXT[200:], TEXT[190:200], lengths=[30, 70]) == pytest.approx(apart, rel=1e-12)


def test_perplexity():
    lm = NGramLM(V, 3).fit(TEXT[:200])
    assert lm.perplexity(TEXT[200:]) == pytest.approx(math.exp(-np.log(lm.scores(TEXT[200:])).mean()))
    assert NGramLM(V, 2, "laplace").fit([0]).perplexity([6, 6, 6]) == pytest.approx((8 * 7 * 7) ** (1 / 3))
    with np.errstate(all="raise"):
        assert NGramLM(V, 2, "mle").fit(TEXT).perplexity([0, 6]) == math.inf
    with pytest.raises(ValueError, match="text is empty, expected at least one token to score"):
        lm.perplexity([])


def test_characters_words_and_indices():
    characters = NGramLM(Vocabulary("abc"), 2).fit("abcab")
    assert characters.sample("a", 3, temperature=0) == "bca"
    words = NGramLM(Vocabulary(WORDS), 3, "mle").fit(WORDS)
    assert words.sample(["the", "cat", "sat"], 3, temperature=0) == ["on", "the", "mat"]
    assert words.distribution(["the"]).argmax() == words.vocabulary.encode(["cat"])
    indices = NGramLM(V, 2).fit([0, 1, 2, 0, 1])
    assert indices.sample([0], 3, temperature=0).tolist() == [1, 2, 0]
    assert np.array_equal(characters.scores("abba"), characters.scores(np.array([0, 1, 1, 0])))
    unknown = Vocabulary(WORDS, unk="<unk>")
    want = NGramLM(unknown, 2).fit(WORDS).scores(WORDS)
    for text in (np.array(WORDS), unknown.encode(WORDS), unknown.encode(WORDS).tolist()):
        assert np.array_equal(NGramLM(unknown, 2).fit(text).scores(text), want)


def test_samples_follow_the_probabilities():
    lm = NGramLM(V, 1).fit(TEXT)
    p = lm.distribution()

    def frequencies(**options):
        return np.bincount(lm.sample((), 3000, rng=0, **options), minlength=V) / 3000

    assert frequencies() == pytest.approx(p, abs=0.03)
    assert set(np.flatnonzero(frequencies(top_k=2))) == {0, 1}
    assert set(np.flatnonzero(frequencies(top_p=p[:3].sum() - 0.01))) == {0, 1, 2}
    assert np.array_equal(lm.sample((), 20, rng=1), lm.sample((), 20, rng=1))
    mle = NGramLM(V, 2, "mle").fit([0, 1, 2, 0, 1, 2])
    assert mle.sample([0], 6, rng=0).tolist() == [1, 2, 0, 1, 2, 0]


# NLTK ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smoothing", "options", "name", "arguments"),
    [
        ("mle", {}, "MLE", {}),
        ("laplace", {}, "Laplace", {}),
        ("lidstone", {"gamma": 0.2}, "Lidstone", {"gamma": 0.2}),
        ("stupid_backoff", {"alpha": 0.3}, "StupidBackoff", {"alpha": 0.3}),
        ("witten_bell", {"uniform": False}, "WittenBellInterpolated", {}),
        (
            "absolute_discounting",
            {"discount": 0.6, "uniform": False},
            "AbsoluteDiscountingInterpolated",
            {"discount": 0.6},
        ),
    ],
)
def test_values_are_those_of_nltk(smoothing, options, name, arguments):
    lm = pytest.importorskip("nltk.lm")
    from nltk.util import everygrams

    words = [chr(97 + i) for i in TEXT]
    peer = getattr(lm, name)(order=3, **arguments)
    peer.fit([list(everygrams(words, max_len=3))], vocabulary_text=words)
    assert len(peer.vocab) == V  # six letters and its <UNK>
    ours = NGramLM(V, 3, smoothing, **options).fit(TEXT)
    seen = [c for c in CONTEXTS if len(c) < 3 and 6 not in c]  # after others its values do not sum to one, or are none
    for context in seen:
        expected = [peer.score(chr(97 + w), [chr(97 + c) for c in context]) for w in range(6)]
        assert ours.distribution(context)[:6] == pytest.approx(expected, rel=1e-12), context


# files and errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("vocabulary", [V, Vocabulary("abcdefg"), Vocabulary(list("abcdefg"), unk="<unk>")])
def test_a_model_is_kept_in_a_file(tmp_path, smoothing, vocabulary):
    lm = NGramLM(vocabulary, 3, smoothing).fit(TEXT, LENGTHS)
    lm.save(tmp_path / "lm")
    same = NGramLM.load(tmp_path / "lm")
    assert np.array_equal(same.scores(TEXT), lm.scores(TEXT))
    assert same.vocabulary == lm.vocabulary
    assert repr(same) == repr(lm)


def test_load_rejects(tmp_path):
    path = tmp_path / "lm"
    lm = NGramLM(V, 3).fit(TEXT)
    lm.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    with pytest.raises(ValueError, match="truncated"):
        NGramLM.load(path)
    path.write_bytes(whole)
    arrays, metadata = load_arrays(path)
    for name, wrong in [
        ("keys.3", arrays["keys.3"][::-1]),
        ("keys.3", arrays["keys.3"] + 10**6),
        ("keys.2", arrays["keys.2"][:-1]),
        ("counts.3", arrays["counts.3"].astype(float)),
        ("counts.1", arrays["counts.1"][:3]),
    ]:
        save_arrays(path, arrays | {name: wrong}, metadata)
        with pytest.raises(ValueError, match="holds no model of n-grams"):
            NGramLM.load(path)
    metadata["ngram"]["vocabulary"] = 10**13
    save_arrays(path, arrays, metadata)
    with pytest.raises(ValueError, match="no model of n-grams: there are counts of 7 tokens, expected 10000000000000"):
        NGramLM.load(path)
    nn.Linear(2, 2).save(path)
    with pytest.raises(ValueError, match="holds no model of n-grams"):
        NGramLM.load(path)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((1,), {}, "vocabulary has 1 tokens, expected at least two"),
        ((Vocabulary("a"),), {}, "vocabulary has 1 tokens"),
        ((V, 0), {}, "order is 0"),
        ((V, 3, "good_turing"), {}, "smoothing is 'good_turing', expected one of 'mle'"),
        ((V, 3, "mle"), {"gamma": 1}, "an option of mle is 'gamma', expected one of 'no option'"),
        ((V, 3, "lidstone"), {"discount": 0.5}, "an option of lidstone is 'discount', expected one of 'gamma'"),
        ((V, 3, "lidstone"), {"gamma": 0}, "gamma is 0"),
        ((V, 3, "stupid_backoff"), {"alpha": 2}, "alpha is 2"),
        ((V, 3, "absolute_discounting"), {"discount": math.nan}, "discount is nan"),
        ((V, 3, "lidstone"), {"gamma": math.inf}, "gamma is inf, expected more than 0, and at most 1"),
        ((V, 3, "lidstone"), {"gamma": 1e308}, r"gamma is 1e\+308"),
        ((V, 3, "lidstone"), {"gamma": None}, "gamma is None"),
        ((V, 3, "stupid_backoff"), {"alpha": None}, "alpha is None"),
        ((V, 3, "absolute_discounting"), {"discount": None}, "discount is None"),
    ],
)
def test_model_rejects(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        NGramLM(*arguments, **options)


@pytest.mark.parametrize(
    ("text", "lengths", "error", "words"),
    [
        ([], None, ValueError, "text is empty, expected at least one token"),
        ([0, 7], None, IndexError, "text holds 7, which is not among the 7"),
        ([-1], None, IndexError, "text holds -1"),
        ([0.5], None, TypeError, "text has dtype float64"),
        ([[1, 2]], None, TypeError, r"text has dtype int64 and shape \(1, 2\)"),
        ([0, 1], [1], ValueError, "lengths are .* add up to the 2"),
        ([0, 1], [3, -1], ValueError, "lengths are"),
        ([0, 1], [1.0, 1.0], ValueError, "lengths are"),
    ],
)
def test_fit_rejects(text, lengths, error, words):
    with pytest.raises(error, match=words):
        NGramLM(V).fit(text, lengths)


def test_other_words_are_rejected():
    with pytest.raises(ValueError, match="token 'dog' at position 0"):
        NGramLM(Vocabulary(WORDS)).fit(["dog"])
    with pytest.raises(TypeError, match="text is a str, expected a list of words"):
        NGramLM(Vocabulary(WORDS)).fit("the cat")
    with pytest.raises(ValueError, match="fit comes first"):
        NGramLM(V).perplexity([1])
    lm = NGramLM(V).fit(TEXT)
    for options in ({"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
            lm.sample([0], 1, **options)
