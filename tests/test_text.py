"""Tokenizers, and the vocabulary of characters or words."""

import sys

import numpy as np
import pytest

from fastnn.data import Vocabulary, consecutive_windows, detokenize, random_windows, shakespeare, tokenize
from fastnn.data.text import as_tokens
from fastnn.data.tokenizers import TOKENIZERS

CHEN = "Mr. Chen doesn't agree with my suggestion."

# tokenizers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["word", "nltk", "spacy"])
def test_the_sentence_of_the_seed(kind):
    if kind in ("nltk", "spacy"):
        pytest.importorskip(kind)
    assert tokenize(CHEN, kind) == ["Mr.", "Chen", "does", "n't", "agree", "with", "my", "suggestion", "."]
    assert detokenize(tokenize(CHEN, kind), kind) == CHEN


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ""),
        (" \n\t ", ""),
        ("I can't; won't you?", "I ca n't ; wo n't you ?"),
        ("It's the king's, they've", "It 's the king 's , they 've"),
        ("DON'T don’t we’ll", "DO N'T do n’t we ’ll"),
        ("o'er the mother-in-law's well-didn't", "o'er the mother-in-law 's well-did n't"),
        ("cannot canny", "can not canny"),
        ("U.S. e.g. J. Smith. It was I. We", "U.S. e.g. J. Smith . It was I . We"),
        ("worst. mr. Mr.", "worst . mr . Mr."),
        ("$1,000.50 at 12:30, 50% off 3.", "$ 1,000.50 at 12:30 , 50 % off 3 ."),
        ('wait... "so" -- (yes)!?', 'wait ... " so " -- ( yes ) ! ?'),
        ("深度学习, deep学习2", "深 度 学 习 , deep 学 习 2"),
        ("naïve Ελλάδα שלום", "naïve Ελλάδα שלום"),
    ],
)
def test_words(text, tokens):
    assert tokenize(text) == tokens.split()


def test_words_lose_nothing_but_white_space():
    text = shakespeare() + CHEN
    assert "".join(tokenize(text)) == "".join(text.split())


@pytest.mark.parametrize("unit", ["a", "a-", "a--", "a'", "n't", "-", "a.b", "1.", "a.", "’", "学a"])
def test_words_take_linear_time(unit):
    """A quadratic pattern would take minutes."""
    assert "".join(tokenize(unit * 50_000)) == unit * 50_000


def test_other_tokenizers():
    assert tokenize("a b\n学", "character") == ["a", " ", "b", "\n", "学"]
    assert tokenize("a-b  c.\n", "whitespace") == ["a-b", "c."]
    assert detokenize(["a", " ", "学"], "character") == "a 学"
    assert detokenize(["a", ".", "b"], "whitespace") == "a . b"


@pytest.mark.parametrize(
    "text", [CHEN, "They'd (really) sell 50% at $5; won't we?", "春眠不觉晓，处处闻啼鸟。", "say U.S. twice: U.S."]
)
def test_detokenize_gives_back_plain_sentences(text):
    assert detokenize(tokenize(text)) == text


@pytest.mark.parametrize("kind", ["nltk", "spacy"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, kind):
    from fastnn.data import tokenizers

    tokenizers._english.cache_clear()
    for name in ("nltk", "nltk.tokenize", "spacy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"tokenizer '{kind}' needs a package: pip install 'fastnn-core\[text\]'"):
        tokenize("a", kind)


def test_tokenize_rejects():
    with pytest.raises(ValueError, match="kind is 'bpe', expected one of 'word', 'character'"):
        tokenize("a", "bpe")
    with pytest.raises(ValueError, match="kind is 'bpe'"):
        detokenize(["a"], "bpe")
    for kind in TOKENIZERS:
        with pytest.raises(TypeError, match="text is a bytes, expected a str"):
            tokenize(b"a", kind)


# vocabulary ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hello\r\n\tworld", "深度学习学习笔记(一)", "a😀\U0010ffff\0é", "\ud800 alone", "x"])
def test_vocabulary_round_trip(text):
    vocabulary = Vocabulary(text)
    indices = vocabulary.encode(text)
    assert indices.dtype == np.int64
    assert vocabulary.decode(indices) == text
    assert list(vocabulary.tokens) == sorted(set(text))
    assert [vocabulary.tokens[i] for i in indices] == list(text)
    assert vocabulary.config() == "".join(vocabulary.tokens)
    assert Vocabulary(vocabulary.config()) == Vocabulary.from_config(vocabulary.config()) == vocabulary
    assert eval(repr(vocabulary)) == vocabulary


def test_vocabulary_basics():
    vocabulary = Vocabulary("banana")
    assert len(vocabulary) == 3
    assert "n" in vocabulary
    assert not any(text in vocabulary for text in ("z", "", "ab"))
    assert vocabulary != Vocabulary("bananas")
    assert hash(vocabulary) == hash(Vocabulary("abn"))
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [("ab中", r"'中' \(U\+4E2D\) at position 2"), ("!a", r"'!' \(U\+0021\) at position 0"), ("aby", "'y'")],
)
def test_vocabulary_names_the_unknown_character(text, words):
    with pytest.raises(ValueError, match=words):
        Vocabulary("abc").encode(text)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_vocabulary_rejects(wrong):
    with pytest.raises(IndexError, match=f"indices hold {wrong}"):
        Vocabulary("abc").decode([0, wrong])
    with pytest.raises(TypeError, match="indices have dtype float64, expected integers"):
        Vocabulary("abc").decode([0.9])
    with pytest.raises(ValueError, match="text is empty"):
        Vocabulary("")


# vocabulary of words, reserved tokens, unknown ones ----------------------------------------------------------------

WORDS = ["the", "cat", "and", "the", "dog", "and", "the", "mat"]
KEPT = {"min_freq": 2, "reserved": ["<pad>", "<bos>"], "unk": "<unk>"}


def test_words_come_by_frequency_and_then_alphabetically():
    assert Vocabulary(WORDS).tokens == ("the", "and", "cat", "dog", "mat")
    assert Vocabulary(iter(WORDS), min_freq=2).tokens == ("the", "and")
    vocabulary = Vocabulary(WORDS, **KEPT)
    assert vocabulary.tokens == ("<unk>", "<pad>", "<bos>", "the", "and")
    assert np.array_equal(vocabulary.encode(["the", "bird", "<pad>", "<unk>"]), [3, 0, 1, 0])
    assert vocabulary.decode([3, 0, 1]) == ["the", "<unk>", "<pad>"]
    assert "cat" not in vocabulary
    assert "<bos>" in vocabulary
    assert Vocabulary(["b", "a", "<pad>"], reserved=["<pad>"]).tokens == ("<pad>", "a", "b")


def test_unk_may_stand_among_the_reserved():
    assert Vocabulary(WORDS, reserved=["<pad>", "<unk>"], unk="<unk>").encode(["owl"]).tolist() == [1]


def test_characters_have_reserved_tokens_and_unknown_ones_too():
    vocabulary = Vocabulary("abcab", **KEPT)
    assert vocabulary.tokens == ("<unk>", "<pad>", "<bos>", "a", "b")
    assert vocabulary.encode("abcz").tolist() == [3, 4, 0, 0]
    assert vocabulary.encode(["<bos>", "a", "z"]).tolist() == [2, 3, 0]
    assert vocabulary.decode([2, 3, 0]) == "<bos>a<unk>"
    assert Vocabulary("ab", min_freq=9, unk="<unk>").encode("ab").tolist() == [0, 0]


@pytest.mark.parametrize("text", [WORDS, "深度学习", "\ud800b", ["a\nb", '"', "学"]])
@pytest.mark.parametrize("options", [{}, {"reserved": ["<pad>"]}, {"unk": "<unk>"}, {"min_freq": 1}])
def test_a_vocabulary_is_kept_in_a_file(tmp_path, text, options):
    vocabulary = Vocabulary(text, **options)
    vocabulary.save(tmp_path / "vocabulary.json")
    same = Vocabulary.load(tmp_path / "vocabulary.json")
    assert same == vocabulary
    assert hash(same) == hash(vocabulary)
    assert same.decode(same.encode(text)) == text
    assert repr(same) == repr(vocabulary)


def test_vocabularies_differ_in_kind_and_unknown():
    assert Vocabulary("ab") != Vocabulary(["a", "b"])
    assert Vocabulary("ab", reserved=["<unk>"]) != Vocabulary("ab", unk="<unk>")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'""',
        b"\xff",
        b'{"tokens": ["a", "a"], "unk": null}',
        b'{"tokens": [1, 2], "unk": null, "of_characters": false}',
    ],
)
def test_load_rejects_what_is_no_vocabulary(tmp_path, content):
    (tmp_path / "vocabulary.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"vocabulary\.json holds no vocabulary"):
        Vocabulary.load(tmp_path / "vocabulary.json")
    with pytest.raises(OSError, match="missing"):
        Vocabulary.load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "options", "error", "words"),
    [
        ([], {}, ValueError, "text is empty, expected at least one token"),
        ([], {"unk": "<unk>"}, ValueError, "text is empty"),
        (WORDS, {"min_freq": 9}, ValueError, "min_freq is 9, which leaves no token"),
        (WORDS, {"min_freq": 0}, ValueError, "min_freq is 0"),
        (WORDS, {"reserved": ["<pad>", "<pad>"]}, ValueError, "expected each token once"),
        ([1, 2], {}, TypeError, "a token is 1, expected a str"),
        (WORDS, {"unk": 0}, TypeError, "a token is 0, expected a str"),
    ],
)
def test_vocabulary_of_words_rejects(text, options, error, words):
    with pytest.raises(error, match=words):
        Vocabulary(text, **options)


def test_unknown_words_are_named():
    with pytest.raises(ValueError, match="token 'owl' at position 1 is not among the 5 of the vocabulary"):
        Vocabulary(WORDS).encode(["the", "owl"])
    with pytest.raises(TypeError, match="text is a str, expected a list of words"):
        Vocabulary(WORDS).encode("the owl")
    for vocabulary in (Vocabulary("ab"), Vocabulary(WORDS, unk="<unk>")):
        for wrong in (1, None, ["the"]):
            with pytest.raises(TypeError, match=r"text holds .*, expected a str for every token"):
                vocabulary.encode(["a", wrong])


@pytest.mark.parametrize("options", [{}, {"unk": "<unk>"}])
def test_texts_are_words_or_indices(options):
    vocabulary = Vocabulary(WORDS, **options)
    want = vocabulary.encode(WORDS)
    for text in (WORDS, iter(WORDS), np.array(WORDS), np.array(WORDS, object), want, want.tolist(), tuple(want)):
        assert np.array_equal(as_tokens(text, vocabulary), want)
    for empty in ("", [], (), np.array([], str)):
        assert as_tokens(empty, vocabulary).shape == (0,)
    for wrong in (["the", 1], [1, "the"], [0.5], [True], [[0]], [["the"]], np.array([WORDS]), np.array(0)):
        with pytest.raises(TypeError, match=r"^text h"):
            as_tokens(wrong, vocabulary)
    with pytest.raises(IndexError, match="text holds 99"):
        as_tokens([0, 99], vocabulary)


@pytest.mark.parametrize("sampler", [random_windows, consecutive_windows])
def test_words_are_sampled_like_characters(sampler):
    vocabulary = Vocabulary(tokenize(CHEN))
    x, y = next(iter(sampler(vocabulary.encode(tokenize(CHEN)), num_steps=8, batch_size=1)))
    assert vocabulary.decode(x) == tokenize(CHEN)[:-1]
    assert vocabulary.decode(y) == tokenize(CHEN)[1:]
