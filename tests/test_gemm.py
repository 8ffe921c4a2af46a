"""The matrix product: against NumPy's, over views, and bit for bit the same wherever a row or column stands."""

import numpy as np
import pytest

from fastnn._kernels import gemm

pytestmark = pytest.mark.kernels

DTYPES = [np.float32, np.float64]
# m, n, depth: around tile heights, panels and vectors, the depth of a packed block
SIZES = [
    (1, 1, 1), (1, 7, 5), (2, 31, 3), (3, 33, 64), (4, 16, 17), (5, 65, 1), (6, 8, 200), (7, 4, 0), (11, 130, 9),
    (12, 32, 256), (13, 32, 257), (25, 40, 600), (64, 3, 31), (600, 2, 2), (0, 3, 2), (3, 0, 2),
]  # fmt: skip


def rounded(a, b):
    """Return the product and how far from it rounding may lead."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return a @ b, (a.shape[1] + 2) * (np.abs(a) @ np.abs(b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_matmul(isa, sizes, dtype):
    m, n, depth = sizes
    rng = np.random.default_rng(7)
    left, right = rng.normal(size=(m, depth)).astype(dtype), rng.normal(size=(depth, n)).astype(dtype)
    bias, before = rng.normal(size=n).astype(dtype), rng.normal(size=(m, n)).astype(dtype)
    product, error = rounded(left, right)
    error = (error + np.abs(bias) + np.abs(before)) * np.finfo(dtype).eps
    results = []
    for a in (left, np.asfortranarray(left), left.repeat(2, 0)[::2]):
        for b in (right, np.asfortranarray(right), right.repeat(2, 0)[::2]):
            out = np.full((m, n), np.nan, dtype)
            gemm.matmul(out, a, b)
            assert np.all(np.abs(out - product) <= error)
            results.append(out)
    for out in results[1:]:
        np.testing.assert_array_equal(out, results[0])
    gemm.matmul(out, left, right, bias)
    assert np.all(np.abs(out - product - bias) <= error)
    out = before.copy()
    gemm.matmul(out, left, right, accumulate=True)
    assert np.all(np.abs(out - product - before) <= error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_result_does_not_depend_on_its_place(isa, dtype):
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(31, 300)).astype(dtype), rng.normal(size=(300, 70)).astype(dtype)
    out = np.empty((31, 70), dtype)
    gemm.matmul(out, a, b)
    for rows, columns in [((3, 4), (0, 70)), ((0, 2), (5, 64)), ((4, 7), (1, 2)), ((1, 24), (30, 70))]:
        part = np.empty((rows[1] - rows[0], columns[1] - columns[0]), dtype)
        gemm.matmul(part, a[slice(*rows)], np.ascontiguousarray(b[:, slice(*columns)]))
        np.testing.assert_array_equal(part, out[slice(*rows), slice(*columns)])


def test_large_products_are_cut_alike(isa):
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(1300, 90)).astype(np.float32), rng.normal(size=(90, 100)).astype(np.float32)
    out, part = np.empty((1300, 100), np.float32), np.empty((1, 100), np.float32)
    gemm.matmul(out, a, b)
    for i in (0, 511, 512, 1299):
        gemm.matmul(part, a[i : i + 1], b)
        np.testing.assert_array_equal(part[0], out[i])


def test_errors():
    a, b, out = np.ones((2, 3)), np.ones((3, 4)), np.ones((2, 4))
    for wrong in [(out, b, a), (out, a, a), (out.T.copy(), a, b), (out[:, :2].copy(), a, b)]:
        with pytest.raises(ValueError, match="do not fit"):
            gemm.matmul(*wrong)
    with pytest.raises(ValueError, match=r"^bias has shape"):
        gemm.matmul(out, a, b, np.ones(3))
    with pytest.raises(ValueError, match="no accumulation"):
        gemm.matmul(out, a, b, np.ones(4), accumulate=True)
    with pytest.raises(ValueError, match="densely along one"):
        gemm.matmul(out, np.ones((4, 6))[::2, ::2], b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("m", "depth", "n"),
    [
        (1, 1, 1),
        (3, 5, 2),
        (32, 64, 32),
        (33, 17, 45),
        (600, 3, 65),
        (1, 300, 70),
        (1, 3, 9),
        (1030, 300, 5),
        (7, 41, 7),
        (5, 40, 1),
        (200, 64, 2),
    ],
)
def test_a_layer_forward_and_backward(isa, m, depth, n, dtype):
    rng = np.random.default_rng(0)
    x, weight, bias, dy = (rng.standard_normal(s).astype(dtype) for s in ((m, depth), (n, depth), n, (m, n)))
    wide = [array.astype(np.float64) for array in (x, weight, bias, dy)]
    want = wide[0] @ wide[1].T + wide[2], wide[3] @ wide[1], wide[3].T @ wide[0], wide[3].sum(0)
    got = gemm.affine(x, weight, bias), *gemm.affine_backward(dy, x, weight)
    for ours, truth in zip(got, want, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, truth, rtol=0, atol=(m + n + depth) * np.finfo(dtype).eps * 4)
    dx, dweight, dbias = gemm.affine_backward(dy, x, weight, False)
    assert dx is None
    np.testing.assert_array_equal(dweight, got[2])
    np.testing.assert_array_equal(dbias, got[3])


def test_a_layer_leaves_other_arrays_to_others():
    x, weight, bias = np.ones((4, 3)), np.ones((2, 3)), np.ones(2)
    swapped, unaligned = x.astype(">f8"), np.zeros(97, "u1")[1:].view("f8").reshape(4, 3)
    for other in (x.astype("f4"), x.astype(int), np.asfortranarray(x), swapped, unaligned, x[:0], np.ones((4, 3, 1))):
        assert gemm.affine(other, weight, bias) is None
        assert gemm.affine_backward(np.ones((len(other), 2)), other, weight) is None
    with pytest.raises(ValueError, match=r"x has 3 columns, expected weight \(2, 3\) and bias \(2,\)"):
        gemm.affine(x, weight, np.ones(3))
    with pytest.raises(ValueError, match=r"dy has shape \(4, 2\), expected x \(4, 3\) and weight \(2, 3\)"):
        gemm.affine_backward(np.ones((4, 2)), x, np.ones((2, 4)))
