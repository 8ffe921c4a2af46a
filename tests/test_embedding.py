"""Embeddings: rows gathered and scattered back, duplicates, bounds, layouts, dtypes, errors."""

import itertools

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


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("other_first", [False, True])
def test_padding_keeps_what_others_add(sparse, other_first):
    """Of a table that an output layer shares, or another embedding, as in PyTorch."""
    layer, output = nn.Embedding(4, 2, padding_idx=0, sparse=sparse, rng=0), nn.Linear(2, 4, bias=False)
    another = nn.Embedding(4, 2, sparse=True, rng=0)
    for shared, given, want in (
        (output, np.ones((3, 2)), np.full(4, 3.0)),
        (another, np.array([0, 0, 3]), [2, 0, 0, 1]),
    ):
        shared.weight = layer.weight
        layer.weight.grad = None
        calls = [(layer, np.array([0, 1, 1])), (shared, given)]
        for each, x in calls[::-1] if other_first else calls:
            y, back = each.vjp(x)
            back(np.ones_like(y))
        grad = layer.weight.grad
        if shared is another:
            assert isinstance(grad, nn.SparseGrad) == sparse  # with a dense gradient the sum is dense
        if isinstance(grad, nn.SparseGrad):
            grad = grad.to_dense(4)
        np.testing.assert_array_equal(grad[:, 0], np.array([0, 2, 0, 0]) + want)


def test_a_sparse_gradient_is_no_view_of_what_it_was_given():
    layer, x, dy = nn.Embedding(4, 2, sparse=True), np.array([0, 1]), np.ones((2, 2), np.float32)
    layer.vjp(x)[1](dy)
    grad = layer.weight.grad
    assert not np.shares_memory(grad.values, dy)
    assert not np.shares_memory(grad.rows, x)


def test_gradients_of_the_wrong_shape():
    for options in ({}, {"sparse": True}, {"padding_idx": 1}):
        layer = nn.Embedding(4, 2, **options)
        with pytest.raises(ValueError, match=r"Embedding: dy has shape \(2, 3\), expected \(3, 2\)"):
            layer.vjp(np.array([0, 1, 2]))[1](np.ones((2, 3)))


def test_freeze_is_saved(tmp_path):
    for layer in (nn.Embedding.from_vectors(np.eye(3)), nn.EmbeddingBag(3, 2, freeze=True), nn.Embedding(3, 2)):
        layer.save(tmp_path / "layer")
        same = fastnn.load(tmp_path / "layer")
        assert same.freeze == layer.freeze == ("freeze=True" in repr(layer))
        y, back = same.vjp(np.array([[0, 1]]))
        back(np.ones_like(y))
        assert (same.weight.grad is None) == same.freeze


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


# --- bags ------------------------------------------------------------------------------------------------------------


def bag_by_hand(weight, bags, mode, weights, padding):
    """The bags as lists, summed one after the other."""
    y = np.zeros((len(bags), weight.shape[1]))
    for b, bag in enumerate(bags):
        counted = [i for i, index in enumerate(bag) if index != padding]
        for i in counted:
            factor = 1 if weights is None else weights[b][i]
            y[b] += factor * weight[bag[i]] / (len(counted) if mode == "mean" else 1)
    return y


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 5, 64, 65, 200])
@pytest.mark.parametrize("lengths", [[], [0], [3], [2, 0, 7, 1], [0, 0, 4, 0]], ids=str)
def test_bags(isa, rng, lengths, size, dtype):
    weight = rng.normal(size=(9, size)).astype(dtype)
    bags = [rng.integers(0, 9, n).tolist() for n in lengths]
    flat, ends = np.concatenate([np.zeros(0, int), *map(np.array, bags)]).astype(int), np.cumsum([0, *lengths])
    rtol = {np.float16: 2e-3, np.float32: 1e-5, np.float64: 1e-13}[dtype]
    for mode, padding, weighted, last in itertools.product(
        ("mean", "sum"), (None, 4, -2), (False, True), (False, True)
    ):
        if weighted and mode == "mean":
            continue
        w = rng.normal(size=len(flat)).astype(dtype) if weighted else None
        options = {"mode": mode, "padding_idx": padding, "per_sample_weights": w, "include_last_offset": last}
        offsets = ends if last else ends[:-1]
        y = fastnn.embedding_bag(weight, flat, offsets, **options)
        assert (y.dtype, y.shape) == (dtype, (len(bags), size))
        weights = None if w is None else np.split(w.astype(float), ends[1:-1])
        expected = bag_by_hand(weight.astype(float), bags, mode, weights, None if padding is None else padding % 9)
        np.testing.assert_allclose(y, expected, rtol=rtol, atol=5 * rtol)
        dy = rng.normal(size=y.shape).astype(dtype)
        gradients = fastnn.embedding_bag_backward(dy, weight, flat, offsets, **options)
        truth = reference.embedding_bag_backward(dy, weight, flat, offsets, **options)
        assert list(gradients) == list(truth) == ["rows"] + ["per_sample_weights"] * weighted
        for name, gradient in gradients.items():
            assert gradient.dtype == dtype
            np.testing.assert_allclose(gradient, truth[name], rtol=rtol, atol=20 * rtol)


def test_bags_of_equal_length_need_no_offsets(isa, rng):
    weight, indices = rng.normal(size=(9, 5)), rng.integers(0, 9, size=(4, 3))
    np.testing.assert_allclose(fastnn.embedding_bag(weight, indices), weight[indices].mean(1), rtol=1e-14)
    np.testing.assert_allclose(fastnn.embedding_bag(weight, indices, mode="sum"), weight[indices].sum(1), rtol=1e-14)
    assert fastnn.embedding_bag(weight, np.zeros((0, 3), int)).shape == (0, 5)
    assert not fastnn.embedding_bag(weight, np.zeros((2, 0), int)).any()
    gradient = fastnn.embedding_bag_backward(np.ones((4, 5)), weight, indices)["rows"]
    np.testing.assert_allclose(gradient, np.full((4, 3, 5), 1 / 3), rtol=1e-15)
    # what comes after the last offset is in no bag
    y = fastnn.embedding_bag(weight, [1, 2, 3], [0, 2], include_last_offset=True, mode="sum")
    np.testing.assert_allclose(y, [weight[1] + weight[2]], rtol=1e-15)
    rows = fastnn.embedding_bag_backward(np.ones((1, 5)), weight, [1, 2, 3], [0, 2], include_last_offset=True)["rows"]
    np.testing.assert_array_equal(rows, [[0.5] * 5, [0.5] * 5, [0] * 5])


def test_bags_refuse_what_does_not_fit():
    weight = np.ones((9, 4))
    for arguments, keywords, error, words in [
        ((weight, [0, 9], [0]), {}, IndexError, "indices hold 9, which is not among the 9 rows"),
        ((weight, [0, -1], [0]), {}, IndexError, "indices hold -1"),
        ((weight, [0.5], [0]), {}, TypeError, "indices have dtype float64"),
        ((weight, [0], [0.0]), {}, TypeError, "offsets have dtype float64"),
        ((weight, [0]), {}, ValueError, r"indices have shape \(1,\), expected \(bags, length\)"),
        ((weight, [[0]], [0]), {}, ValueError, r"indices have shape \(1, 1\), expected \(n,\)"),
        ((weight, [0, 1], [1]), {}, ValueError, "expected them to rise from 0"),
        ((weight, [0, 1], [0, 2, 1]), {}, ValueError, "expected them to rise from 0 to at most 2"),
        ((weight, [0, 1], [0, 3]), {}, ValueError, "expected them to rise from 0 to at most 2"),
        ((weight, [0, 1], np.zeros(0, int)), {"include_last_offset": True}, ValueError, "offsets have shape"),
        ((weight, [[0]]), {"include_last_offset": True}, ValueError, "include_last_offset is True"),
        ((weight, [[0]]), {"mode": "max"}, ValueError, "mode is 'max'"),
        ((weight, [[0]]), {"padding_idx": 9}, ValueError, "padding_idx is 9"),
        ((weight, [[0]]), {"per_sample_weights": [[1.0]]}, ValueError, "mode is 'mean', expected 'sum'"),
        ((weight, [[0]]), {"per_sample_weights": [1.0], "mode": "sum"}, ValueError, "per_sample_weights has shape"),
        ((weight[0], [[0]]), {}, ValueError, r"weight has shape \(4,\)"),
        ((weight.astype(complex), [[0]]), {}, TypeError, "weight has dtype complex128"),
    ]:
        with pytest.raises(error, match=words):
            fastnn.embedding_bag(*arguments, **keywords)
        with pytest.raises(error, match=words):
            fastnn.embedding_bag_backward(np.ones((1, 4)), *arguments, **keywords)
    with pytest.raises(ValueError, match=r"dy has shape \(2, 4\), expected \(1, 4\)"):
        fastnn.embedding_bag_backward(np.ones((2, 4)), weight, [[0]])


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_bag_layers(rng, mode):
    layers = [nn.EmbeddingBag(6, 3, mode=mode, sparse=sparse, padding_idx=-1, rng=0) for sparse in (False, True)]
    x, offsets = rng.integers(0, 6, 10), np.array([0, 4, 4])
    for layer in layers:
        y, back = layer.vjp(x, offsets)
        np.testing.assert_array_equal(layer(x, offsets), y)
        assert back(np.ones_like(y)) is None
    np.testing.assert_allclose(layers[1].weight.grad.to_dense(6), layers[0].weight.grad, rtol=1e-6)
    assert not layers[0].weight.value[5].any()
    assert not layers[0].weight.grad[5].any()
    frozen = nn.EmbeddingBag.from_vectors(layers[0].weight.value, mode=mode, padding_idx=5)
    np.testing.assert_array_equal(frozen(x, offsets), layers[0](x, offsets))
