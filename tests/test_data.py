"""Minibatches, the two samplings of text, and the bundled text."""

import hashlib

import numpy as np
import pytest

from fastnn.data import batches, chinese_poems, consecutive_windows, random_windows, shakespeare


def windows(sampler):
    """All examples of a pass as one list of (x, y) pairs of plain lists, in order."""
    return [(x[:, b].tolist(), y[:, b].tolist()) for x, y in sampler for b in range(x.shape[1])]


# batches ---------------------------------------------------------------------------------------------------------


def test_batches_in_order_are_slices():
    x, y = np.arange(1, 2501), np.arange(1, 2501) * 2
    pieces = list(batches(x, y, size=1000, shuffle=False))
    assert [(a[0], a[-1]) for a, _ in pieces] == [(1, 1000), (1001, 2000), (2001, 2500)]
    assert all(np.array_equal(b, 2 * a) and a.base is x for a, b in pieces)


@pytest.mark.parametrize(("rows", "drop_last", "sizes"), [(10, False, [4, 4, 2]), (10, True, [4, 4]), (0, False, [])])
def test_batches_sizes_and_length(rows, drop_last, sizes):
    it = batches(np.zeros((rows, 3)), size=4, drop_last=drop_last)
    assert len(it) == len(sizes)
    assert [len(x) for x in it] == sizes


def test_batches_shuffle_keeps_rows_together_and_takes_a_new_order_each_pass():
    it = batches(np.arange(50), -np.arange(50), size=7, rng=np.random.default_rng(0))
    first, second = ([np.concatenate(part) for part in zip(*it, strict=True)] for _ in range(2))
    assert np.array_equal(first[0], -first[1])
    assert sorted(first[0]) == sorted(second[0]) == list(range(50))
    assert not np.array_equal(first[0], second[0])
    again = np.concatenate(list(batches(np.arange(50), size=7, rng=np.random.default_rng(0))))
    assert np.array_equal(first[0], again)


@pytest.mark.parametrize(
    ("arrays", "options", "error", "words"),
    [
        ((), {}, ValueError, "at least one array"),
        ((np.zeros(3), np.zeros(4)), {}, ValueError, r"\(3,\), \(4,\)"),
        ((np.float64(1),), {}, ValueError, "first dimension"),
        ((np.zeros(3),), {"size": 0}, ValueError, "size is 0"),
        ((np.zeros(3),), {"size": 2.5}, TypeError, "size is 2.5"),
        ((np.zeros(3),), {"rng": 7}, TypeError, "rng is 7, .* repeat the same draw"),
    ],
)
def test_batches_reject(arrays, options, error, words):
    with pytest.raises(error, match=words):
        batches(*arrays, **options)


# random windows --------------------------------------------------------------------------------------------------


def test_random_windows_are_the_thirty_numbers_of_the_d2l_notes():
    sampler = random_windows(range(30), num_steps=6, batch_size=2, rng=np.random.default_rng(0))
    assert len(sampler) == 2
    pairs = windows(sampler)
    assert sorted(pairs) == [([*range(s, s + 6)], [*range(s + 1, s + 7)]) for s in (0, 6, 12, 18)]


@pytest.mark.parametrize(("length", "offset", "examples"), [(30, 0, 4), (31, 0, 5), (31, 1, 4), (31, 5, 4), (7, 0, 1)])
def test_random_windows_count_every_window_once(length, offset, examples):
    sampler = random_windows(range(length), 6, 2, offset=offset, rng=np.random.default_rng(0))
    starts = sorted(x[0] for x, _ in windows(sampler))
    assert starts == [offset + 6 * i for i in range(examples)]
    assert len(sampler) == -(-examples // 2)


def test_random_windows_take_a_new_order_each_pass_and_may_drop_the_short_batch():
    sampler = random_windows(range(64), 3, 4, rng=np.random.default_rng(0), drop_last=True)
    assert len(sampler) == 5
    assert all(x.shape == y.shape == (3, 4) for x, y in sampler)
    assert windows(sampler) != windows(sampler)


# consecutive windows ---------------------------------------------------------------------------------------------


def test_consecutive_windows_slide_along_the_rows():
    batch = list(consecutive_windows(range(30), num_steps=6, batch_size=2))
    assert [(x.T.tolist(), y.T.tolist()) for x, y in batch] == [
        ([[*range(6)], [*range(15, 21)]], [[*range(1, 7)], [*range(16, 22)]]),
        ([[*range(6, 12)], [*range(21, 27)]], [[*range(7, 13)], [*range(22, 28)]]),
    ]


@pytest.mark.parametrize(("length", "offset", "count"), [(30, 0, 2), (25, 0, 1), (26, 0, 2), (31, 5, 2), (30, 5, 1)])
def test_consecutive_windows_count(length, offset, count):
    sampler = consecutive_windows(range(length), 6, 2, offset=offset)
    pieces = list(sampler)
    assert len(sampler) == len(pieces) == count
    assert pieces[0][0][0, 0] == offset
    flat = np.concatenate([x for x, _ in sampler])
    assert np.array_equal(np.diff(flat, axis=0), np.ones_like(flat)[1:])


@pytest.mark.parametrize("sampler", [random_windows, consecutive_windows])
def test_windows_are_time_first_int64_and_leave_the_text_alone(sampler):
    tokens = np.arange(100, dtype=np.uint8)
    for x, y in sampler(tokens, 5, 3):
        assert x.dtype == y.dtype == np.int64
        assert x.shape == y.shape
        assert x.shape[0] == 5
        assert x.flags.c_contiguous
        assert y.flags.c_contiguous
        assert np.array_equal(y, x + 1)
    assert np.array_equal(tokens, np.arange(100))


@pytest.mark.parametrize("sampler", [random_windows, consecutive_windows])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([0.5, 1.5], 1, 1), TypeError, "tokens have dtype float64"),
        (([[1, 2]], 1, 1), ValueError, r"tokens have shape \(1, 2\)"),
        ((range(9), 0, 1), ValueError, "num_steps is 0"),
        ((range(9), 2, -1), ValueError, "batch_size is -1"),
        ((range(9), 2, 1.5), TypeError, "batch_size is 1.5"),
        ((range(9), 9, 1), ValueError, "tokens have length 9, expected at least 10"),
    ],
)
def test_windows_reject(sampler, arguments, error, words):
    with pytest.raises(error, match=words):
        sampler(*arguments)


def test_windows_reject_a_negative_offset_and_an_int_for_rng():
    with pytest.raises(ValueError, match="offset is -1"):
        consecutive_windows(range(9), 2, 1, offset=-1)
    with pytest.raises(ValueError, match="expected at least 14"):
        consecutive_windows(range(13), 2, 4, offset=2)
    with pytest.raises(TypeError, match="rng is 3"):
        random_windows(range(9), 2, 1, rng=3)


# the bundled text ------------------------------------------------------------------------------------------------


def test_bundled_text_is_what_its_note_says():
    text = shakespeare()
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "37e491dc10cd564028a5703eb3fb1f926b8a9b608a4af000996f326e786a450f"
    )
    assert text[:103_427].endswith("[Flourish. Exeunt.]")
    assert text[103_427:].startswith("THE TWO GENTLEMEN OF VERONA\n")


def test_bundled_poems_are_what_their_note_says():
    text = chinese_poems()
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "9bf4570f4eb69305590dd07e5ad505a2b81a8b043d514ff6ccf309e434a71e25"
    )
    assert len(text.split("\n\n")) == 510
    assert "白日依山盡，黃河入海流。" in text
