"""Readers of IDX and CSV files, parts held out, and normalisation."""

import gzip
import math
import os
import re

import numpy as np
import pytest

from fastnn.data import Normalizer, read_csv, read_idx, split

# ---- IDX ----------------------------------------------------------------------------------------------------

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return (
        bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
        + sizes
        + array.astype(array.dtype.str[1:]).astype(array.dtype.newbyteorder(">")).tobytes()
    )


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("compressed", [False, True])
def test_idx(tmp_path, kind, shape, compressed):
    array = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    read = read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.flags.writeable
    np.testing.assert_array_equal(read, array)


WHOLE = idx(np.arange(12, dtype="i2").reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "array is not an IDX file: it begins with nothing"),
        (b"PK\3\4", "array is not an IDX file: it begins with 50 4b 03 04"),
        (WHOLE[:9], "array has 9 bytes, expected 12 for the heading alone"),
        (WHOLE[:-1], r"array has 35 bytes, expected 36 for int16 of shape \(3, 4\)"),
        (WHOLE + b"x", "array has 37 bytes, expected 36"),
        (b"\0\0\x0e\3" + b"\xff" * 12, "array has 16 bytes, expected 633825299"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x", "array has 255 axes, expected at most 64"),
        (gzip.compress(WHOLE)[:-9], "array is compressed, and damaged"),
        (gzip.compress(WHOLE)[:-6] + b"xxxxxx", "array is compressed, and damaged"),
    ],
)
def test_idx_rejects(tmp_path, content, words):
    path = tmp_path / "array"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_idx(path)
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "none")


# ---- CSV ----------------------------------------------------------------------------------------------------

TEXT = 'a, "b b",kind\r\n1,-2.5e3,"x, y"\r\n\r\n.5,4,z\r\n0,inf,z\r\n'


@pytest.mark.parametrize("compressed", [False, True])
def test_csv(tmp_path, compressed):
    path = tmp_path / "table.csv"
    content = ("\ufeff" + TEXT.replace(' "b b"', '"b b"')).encode()
    path.write_bytes(gzip.compress(content) if compressed else content)
    table = read_csv(path, target="kind", labels=True)
    np.testing.assert_array_equal(table.x, np.array([[1, -2500], [0.5, 4], [0, np.inf]], np.float32))
    assert table.x.dtype == np.float32
    assert table.x.flags.c_contiguous
    assert table.names == ["a", "b b"]
    assert table.classes == ["x, y", "z"]
    np.testing.assert_array_equal(table.target, [0, 1, 1])
    assert table.target.dtype == np.int64
    table = read_csv(path, target=0, columns=["b b"], dtype=np.float64)
    np.testing.assert_array_equal(table.x, [[-2500], [4], [np.inf]])
    np.testing.assert_array_equal(table.target, [1, 0.5, 0])
    assert table.x.dtype == table.target.dtype == np.float64


def test_csv_without_a_header(tmp_path):
    path = tmp_path / "table"
    path.write_text("3;1\n\n10;\n3; \n")
    table = read_csv(path, header=False, delimiter=";", target=0, labels=True, missing=math.nan)
    np.testing.assert_array_equal(table.x, [[1], [np.nan], [np.nan]])
    assert table.names == ["1"]
    assert table.classes == [3, 10]
    table = read_csv(path, header=False, delimiter=";", missing=-1)
    np.testing.assert_array_equal(table.x, [[3, 1], [10, -1], [3, -1]])
    assert table.target is table.classes is None
    assert read_csv(path, header=False, delimiter=";", columns=[], target=0).x.shape[1] == 0


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "table has no row of numbers"),
        ("a,b\n", {}, "table has no row of numbers"),
        ("a,b\n1,2\n\n3\n", {}, "table has 1 fields in line 4, expected 2"),
        ("a,b\n1,2,3\n", {}, "table has 3 fields in line 2, expected 2"),
        ("a,b\n1,2\n3,four\n", {}, "table has 'four' in line 3, column b, expected a number"),
        ("a,b\n1,2\n3,\n", {}, "table has '' in line 3, column b, expected a number"),
        ("a,b\n1,2\n3,x\n", {"missing": 0}, "table has 'x' in line 3, column b"),
        ("a,b\n1,2\n3,\n", {"missing": 0, "target": "b"}, "table has '' in line 3, column b"),
        ("a,b\n1,2\n", {"target": "c"}, "table has no column 'c', expected one of a, b"),
        ("a,b\n1,2\n", {"columns": [2]}, "table has no column 2, expected one of a, b"),
        ("a,b\n1,2\n", {"target": 1.0}, "table has no column 1.0, expected one of a, b"),
        ("a,a\n1,2\n", {"target": "a"}, "table has 2 columns 'a', expected the number of one of them"),
        ("a,b\n1,x\n2, \n", {"target": "b", "labels": True}, "table has no label in line 3, column b"),
        ("a,b\n1,2\n1e39,3\n", {}, "table has '1e39' in line 3, column a, which float32 cannot hold"),
        ('a,b\n1,"2\n3,4\n', {}, "table is not CSV in line 3: unexpected end of data"),
        ("a,b\n1," + "9" * 140_000, {}, r"table is not CSV in line 2: field larger than field limit"),
        ("a\n\udcff\n", {}, "table is not text in UTF-8"),
    ],
)
def test_csv_rejects(tmp_path, text, options, words):
    path = tmp_path / "table"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}{os.sep}") + words):
        read_csv(path, **options)


def test_csv_options_that_do_not_go_together(tmp_path):
    path = tmp_path / "table"
    path.write_text("a,b\n1,2.5\n1e39,nan\n")
    with pytest.raises(TypeError, match="dtype is int64, expected float32 or float64"):
        read_csv(path, dtype=int)
    with pytest.raises(ValueError, match="labels is True, but target is None"):
        read_csv(path, labels=True)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(read_csv(path, dtype=np.float64).x, [[1, 2.5], [1e39, np.nan]])


# ---- parts held out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("held_out", "count"), [(0.25, 10), (7, 7), (np.float32(0.5), 20), (np.int64(39), 39)])
def test_split(held_out, count):
    x, y = np.arange(80).reshape(40, 2), np.arange(40)
    train, held = split(x, y, held_out=held_out, rng=0)
    assert len(held[0]) == len(held[1]) == count
    assert sorted([*train[1], *held[1]]) == list(range(40))
    for part in (train, held):
        np.testing.assert_array_equal(part[0], x[part[1]])
        assert (np.diff(part[1]) > 0).all()
    again = split(x, y, held_out=held_out, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(held[1], again[1][1])
    assert not all(np.array_equal(held[1], split(y, held_out=held_out, rng=s)[1][0]) for s in range(1, 9))


def test_a_stratified_split_keeps_the_proportions():
    classes = np.array(list("aaaaaaaaaabbbbbbcccd"))
    for count in range(1, 20):
        train, held = split(classes, held_out=count, stratify=classes, rng=count)
        assert len(held[0]) == count
        for name in "abcd":
            exact = count * (classes == name).sum() / 20
            assert abs((held[0] == name).sum() - exact) < 1
            assert (held[0] == name).sum() + (train[0] == name).sum() == (classes == name).sum()


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ((), {}, "split needs at least one array"),
        (([1, 2], [1]), {}, r"arrays have shapes \(2,\), \(1,\)"),
        (([1, 2],), {"held_out": 0.1}, "held_out is 0.1, which leaves 0 of 2 rows"),
        (([1, 2],), {"held_out": 2}, "held_out is 2, which leaves 2 of 2 rows"),
        (([1, 2],), {"held_out": -1}, "held_out is -1"),
        (([],), {"held_out": 0.5}, "which leaves 0 of 0 rows"),
        (([1, 2],), {"held_out": 1, "stratify": [1]}, r"stratify has shape \(1,\), expected \(2,\)"),
    ],
)
def test_split_rejects(arrays, options, words):
    with pytest.raises(ValueError, match=words):
        split(*arrays, **options)


# ---- normalisation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalizer(dtype):
    rng = np.random.default_rng(0)
    train = (rng.standard_normal((50, 3)) * [1, 1e-3, 1e3] + [5, 0, -1e4]).astype(dtype)
    other = train[:7] + dtype(1)
    standard, within = Normalizer(train), Normalizer(train, "range")
    y = standard(train)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(within(train).min(axis=0), 0)
    np.testing.assert_allclose(within(train).max(axis=0), 1, rtol=1e-6)
    for normalize in (standard, within):
        np.testing.assert_allclose(normalize(other) * normalize.scale + normalize.shift, other, rtol=1e-4)
        np.testing.assert_allclose(normalize.inverse(normalize(other)), other, rtol=1e-4)


def test_constant_columns_become_zero():
    x = np.stack([np.full(30, 0.1), np.full(30, 3e10), np.zeros(30), np.arange(30)], axis=1)
    for dtype in (np.float32, np.float64):
        for kind in ("standard", "range"):
            normalize = Normalizer(x.astype(dtype), kind)
            with np.errstate(all="raise"):
                y = normalize(x.astype(dtype))
            np.testing.assert_allclose(y[:, :3], 0, atol=1e-4 if dtype == np.float32 else 1e-5)
            assert y[:, 3].max() >= 1
            assert normalize(np.array([[1.0, 0, 5, 0]]))[0, 2] == 5  # others are shifted alone


def test_other_axes_and_integers():
    images = np.random.default_rng(0).integers(0, 255, (6, 3, 4, 5)).astype(np.uint8)
    normalize = Normalizer(images, axis=(0, 2, 3))
    assert normalize.shift.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(normalize(images).std(axis=(0, 2, 3)), 1)
    y = Normalizer(images, "range", axis=None)(images)
    assert (y.min(), y.max(), y.dtype) == (0, 1, np.float64)


@pytest.mark.parametrize(
    ("x", "kind", "words"),
    [
        (np.ones((0, 3)), "standard", r"x has shape \(0, 3\)"),
        ([[1, 2], [3, np.nan]], "standard", r"x holds nan at \(1, 1\)"),
        ([[1, np.inf]], "range", r"x holds inf at \(0, 1\)"),
        ([[1]], "rows", "kind is 'rows'"),
    ],
)
def test_normalizer_rejects(x, kind, words):
    with pytest.raises(ValueError, match=words):
        Normalizer(x, kind)
