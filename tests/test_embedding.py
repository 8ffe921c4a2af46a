"""Embeddings: rows gathered and scattered back, duplicates, bounds, layouts, dtypes, errors."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, reference

INTEGERS = [np.dtype(kind) for kind in "bBhHiIlLqQ"] + [np.dtype(">i4")]


@pytest.fixture
def rng():
    return np.random.default_rng(6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 3, 16, 65])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (4, 3), (2, 0, 3)], ids=str)
def test_values_and_gradient(isa, rng, shape, size, dtype):
    weight = rng.normal(size=(9, size)).astype(dtype)
    indices = rng.integers(0, 9, size=shape)
    y = fastnn.embedding_lookup(weight, indices)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, weight[indices])
    assert not np.may_share_memory(y, weight)
    dy = rng.normal(size=y.shape).astype(dtype)
    result = fastnn.embedding_lookup_backward(dy, indices, 9)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, reference.embedding_lookup_backward(dy, indices, 9))


def test_duplicates_are_added_in_order(isa, rng):
    indices = rng.integers(0, 3, size=(50, 4))
    dy = (rng.normal(size=(50, 4, 5)) * 10.0 ** rng.integers(-3, 4, size=(50, 4, 1))).astype(np.float32)
    grad = rng.normal(size=(4, 5)).astype(np.float32)
    expected = grad.copy()
    for i, row in zip(indices.ravel(), dy.reshape(-1, 5), strict=True):
        expected[i] += row
    result = fastnn.embedding_lookup_backward(dy, indices, 4, add_to=grad)
    assert result is grad
    np.testing.assert_array_equal(grad, expected)


def test_gradient_is_that_of_the_one_hot_product(rng):
    indices = rng.integers(0, 6, size=20)
    dy = rng.normal(size=(20, 3))
    one_hot = np.eye(6)[indices]
    np.testing.assert_allclose(fastnn.embedding_lookup_backward(dy, indices, 6), one_hot.T @ dy, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
def test_integer_types(rng, kind):
    weight = rng.normal(size=(9, 4))
    indices = np.array([[8, 0], [3, 8]], kind)
    np.testing.assert_array_equal(fastnn.embedding_lookup(weight, indices), weight[[[8, 0], [3, 8]]])
    dy = rng.normal(size=(2, 2, 4))
    expected = fastnn.embedding_lookup_backward(dy, [[8, 0], [3, 8]], 9)
    np.testing.assert_array_equal(fastnn.embedding_lookup_backward(dy, indices, 9), expected)


def test_layouts(isa, rng):
    weight, indices = rng.normal(size=(9, 6)), rng.integers(0, 9, size=(5, 4))
    dy = rng.normal(size=(5, 4, 6))
    expected = fastnn.embedding_lookup_backward(dy, indices, 9)
    read_only = [x.copy() for x in (weight, indices, dy)]
    for x in read_only:
        x.flags.writeable = False
    strided = weight.repeat(2, 0)[::2], indices.repeat(2, 1)[:, ::2], dy[::-1].copy()[::-1]
    columns = weight.repeat(2, 1)[:, ::2], indices.T.copy().T, dy.repeat(3, 2)[..., ::3]
    backwards = weight[:, ::-1].copy()[:, ::-1], indices[::-1].copy()[::-1], dy[..., ::-1].copy()[..., ::-1]
    swapped = weight.astype(">f8"), indices.astype(">i8"), dy.astype(">f8")
    for w, i, g in (read_only, map(np.asfortranarray, (weight, indices, dy)), strided, columns, backwards, swapped):
        np.testing.assert_array_equal(fastnn.embedding_lookup(w, i), weight[indices])
        np.testing.assert_array_equal(fastnn.embedding_lookup_backward(g, i, 9), expected)
    room = np.zeros((9, 12))
    fastnn.embedding_lookup_backward(dy, indices, 9, add_to=room[:, ::2])
    np.testing.assert_array_equal(room[:, ::2], expected)
    assert not room[:, 1::2].any()
    both = rng.normal(size=(9, 6))
    overlapping = both + fastnn.embedding_lookup_backward(both[:4], [0, 1, 1, 5], 9)
    fastnn.embedding_lookup_backward(both[:4], [0, 1, 1, 5], 9, add_to=both)
    np.testing.assert_allclose(both, overlapping, rtol=1e-15)


def test_dtypes(rng):
    assert fastnn.embedding_lookup([[1, 2], [3, 4]], [1]).dtype == np.float64
    assert fastnn.embedding_lookup_backward([[1, 2]], [1], 3).dtype == np.float64
    half = fastnn.embedding_lookup_backward(np.full((5000, 1), 1e-1, np.float16), np.zeros(5000, int), 1)
    assert half.dtype == np.float16
    assert abs(half.item() - 500) < 0.5  # added in float32: in float16 it would stop at 256
    for bad in (complex, object, "U1"):
        with pytest.raises(TypeError, match=r"^weight has dtype"):
            fastnn.embedding_lookup(np.ones((2, 2)).astype(bad), [0])


@pytest.mark.parametrize("bad", [-1, 9, 2**62, -(2**63), np.uint64(2**64 - 1)], ids=str)
def test_out_of_range(isa, rng, bad):
    indices = np.array([0, 8, bad], getattr(bad, "dtype", np.int64))
    grad = np.zeros((9, 4))
    message = rf"indices hold {bad}, which is not among the 9 rows"
    with pytest.raises(IndexError, match=message):
        fastnn.embedding_lookup(np.ones((9, 4)), indices)
    with pytest.raises(IndexError, match=message):
        fastnn.embedding_lookup_backward(np.ones((3, 4)), indices, 9, add_to=grad)
    assert not grad.any()
    with pytest.raises(IndexError):
        fastnn.embedding_lookup(np.ones((0, 4)), [0])


def test_no_warning_escapes(isa):
    with np.errstate(all="raise"):
        grad = fastnn.embedding_lookup_backward(np.full((2, 3), 3e38, np.float32), [0, 0], 1)
        assert np.isinf(grad).all()
        fastnn.embedding_lookup_backward(np.full((2, 3), 6e4, np.float16), [0, 0], 1)
        fastnn.embedding_lookup(np.full((2, 3), np.nan, np.float32), [0, 0])


def test_errors():
    weight, dy = np.ones((9, 4)), np.ones((2, 4))
    for indices in ([0.0], [True], ["0"], np.array([0], object), []):
        with pytest.raises(TypeError, match=r"^indices have dtype"):
            fastnn.embedding_lookup(weight, indices)
        with pytest.raises(TypeError, match=r"^indices have dtype"):
            fastnn.embedding_lookup_backward(dy[: len(indices)], indices, 9)
    with pytest.raises(ValueError, match=r"^weight has shape \(9,\)"):
        fastnn.embedding_lookup(np.ones(9), [0])
    for bad in (dy[:1], dy[0], np.float64(1)):
        with pytest.raises(ValueError, match=r"^dy has shape"):
            fastnn.embedding_lookup_backward(bad, [0, 1], 9)
    with pytest.raises(ValueError, match=r"^num_embeddings is -1"):
        fastnn.embedding_lookup_backward(dy, [0, 1], -1)
    with pytest.raises(TypeError, match=r"'float' object"):
        fastnn.embedding_lookup_backward(dy, [0, 1], 9.0)
    read_only = np.zeros((9, 4))
    read_only.flags.writeable = False
    for add_to, error in [
        (np.zeros((8, 4)), ValueError),
        (np.zeros((9, 4), np.float32), TypeError),
        ([[0.0] * 4] * 9, TypeError),
        (read_only, ValueError),
    ]:
        with pytest.raises(error, match=r"^add_to "):
            fastnn.embedding_lookup_backward(dy, [0, 1], 9, add_to=add_to)


# --- sparse gradients and layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("n", "size", "among"), [(0, 3, 5), (1, 1, 1), (100, 4, 7), (1000, 0, 9), (500, 17, 2**62)])
def test_coalesce(isa, rng, n, size, among, dtype):
    rows, values = rng.integers(0, among, n), rng.normal(size=(n, size)).astype(dtype)
    distinct, sums = fastnn.coalesce(rows, values)
    assert (distinct.dtype, sums.dtype) == (np.int64, dtype)
    assert list(distinct) == list(dict.fromkeys(rows.tolist()))
    expected_rows, expected = reference.coalesce(rows, values)
    np.testing.assert_array_equal(distinct, expected_rows)
    np.testing.assert_array_equal(sums, expected)
    for i in range(min(5, len(distinct))):
        total = values[rows == distinct[i]].astype(float).sum(0)
        np.testing.assert_allclose(sums[i], total, rtol=1e-2 if dtype == np.float16 else 1e-4, atol=1e-2)


def test_coalesce_refuses_what_does_not_fit():
    for rows, values, error, words in [
        ([-1], [[1.0]], IndexError, "rows hold -1"),
        ([0.5], [[1.0]], TypeError, "rows have dtype float64"),
        ([[0]], [[1.0]], ValueError, r"rows has shape \(1, 1\)"),
        ([0, 1], [[1.0]], ValueError, r"values have shape \(1, 1\), expected \(2, dim\)"),
        ([0], [1.0], ValueError, "values have shape"),
        ([0], [[1j]], TypeError, "values has dtype complex128"),
    ]:
        with pytest.raises(error, match=words):
            fastnn.coalesce(np.array(rows), values)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_a_sparse_gradient_is_the_dense_one(rng, padding_idx):
    dense, sparse = (nn.Embedding(6, 3, padding_idx, sparse=sparse, rng=0) for sparse in (False, True))
    x = rng.integers(0, 6, (4, 5))
    for layer in (dense, sparse):
        for _ in range(2):  # gradients add up
            y, back = layer.vjp(x)
            assert back(np.ones_like(y)) is None
    assert isinstance(sparse.weight.grad, nn.SparseGrad)
    np.testing.assert_array_equal(sparse.weight.grad.to_dense(6), dense.weight.grad)
    assert layer.padding_idx not in sparse.weight.grad.rows


def test_from_vectors():
    vectors = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    for kind, dtype in ((np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32)):
        layer = nn.Embedding.from_vectors(np.array(vectors, kind), padding_idx=0)
        np.testing.assert_array_equal(layer.weight.value, vectors)
        assert layer.weight.value.dtype == dtype
        y, back = layer.vjp(np.array([2, 0]))
        back(np.ones_like(y))
        assert layer.weight.grad is None
    layer = nn.Embedding.from_vectors(vectors, freeze=False)
    y, back = layer.vjp(np.array([2, 0]))
    back(np.ones_like(y))
    np.testing.assert_array_equal(layer.weight.grad, [[1, 1], [0, 0], [1, 1]])
    for bad, error in ((np.ones(3), ValueError), (np.ones((2, 2), complex), TypeError)):
        with pytest.raises(error, match=r"vectors (have|has)"):
            nn.Embedding.from_vectors(bad)
