"""Dropout: what is kept, scaled and drawn. Edges and errors are tested with the layer."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, reference

GENERATORS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kept_or_dropped(isa, dtype):
    x = np.arange(1, 10_001).astype(dtype)
    y, mask = fastnn.dropout(x, 0.2, np.random.default_rng(0))
    assert (y.dtype, mask.dtype) == (dtype, bool)
    assert mask.mean() == pytest.approx(0.8, abs=0.02)
    np.testing.assert_array_equal(y[~mask], 0)
    np.testing.assert_allclose(y[mask], x[mask] / 0.8, rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(fastnn.dropout_backward(x, mask, 0.2), y)


def test_the_generator_decides():
    rng = np.random.default_rng(1)
    first, second = (fastnn.dropout(np.ones(100), 0.5, rng)[1] for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(fastnn.dropout(np.ones(100), 0.5, np.random.default_rng(1))[1], first)


def test_what_is_dropped_is_zero_whatever_it_was():
    mask = np.array([True, False, False])
    np.testing.assert_array_equal(fastnn.dropout_backward([1, np.inf, np.nan], mask, 0.5), [2, 0, 0])


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda g: g.__name__)
def test_both_twins_draw_the_same(isa, generator):
    """And leave the generator in the same state; p of few bits, and of many, and next to the ends."""
    for n in (0, 1, 3, 64, 4095, 4097, 300_001):
        x = np.ones(n, np.float32)
        for p in (0, 2**-17, 0.1, 0.5, 1 - 2**-20, 1):
            one, other = (np.random.Generator(generator(5)) for _ in range(2))
            y, mask = fastnn.dropout(x, p, one)
            twin, twin_mask = reference.dropout(x, p, other)
            np.testing.assert_array_equal(mask, twin_mask)
            np.testing.assert_array_equal(y, twin)
            assert mask.view(np.uint8).max(initial=0) <= 1
            assert one.random() == other.random()
            if p in (0, 1):
                assert (mask == (p == 0)).all()


def test_a_small_probability_is_not_rounded_to_0():
    """2^-18 is less than the 16 bits that are drawn first can tell."""
    dropped = 2**22 - fastnn.dropout(np.ones(2**22, np.float32), 2.0**-18, np.random.default_rng(0))[1].sum()
    assert 4 <= dropped <= 32  # 16 is expected


def test_neighbours_are_independent():
    mask = fastnn.dropout(np.ones(400_000, np.float32), 0.3, np.random.default_rng(0))[1]
    for lag in (1, 2, 3, 4, 5, 4096):
        assert np.mean(mask[:-lag] & mask[lag:]) == pytest.approx(0.49, abs=0.005)


@pytest.mark.parametrize("axes", [0, 1, -1, (0, 1), (0, 2), (0, 1, 2), ()])
def test_shared_masks(isa, rng, axes):
    x = rng.normal(size=(5, 4, 6)).astype("f")
    y, mask = fastnn.dropout(x, 0.4, np.random.default_rng(3), shared_axes=axes)
    twin, twin_mask = reference.dropout(x, 0.4, np.random.default_rng(3), shared_axes=axes)
    np.testing.assert_array_equal(mask, twin_mask)
    np.testing.assert_array_equal(y, twin)
    shared = {axis % 3 for axis in np.atleast_1d(axes).astype(int)}
    assert mask.shape == tuple(1 if axis in shared else n for axis, n in enumerate(x.shape))
    np.testing.assert_array_equal(y != 0, np.broadcast_to(mask, x.shape))
    np.testing.assert_array_equal(fastnn.dropout_backward(x, mask, 0.4), y)
    np.testing.assert_array_equal(
        fastnn.dropout_backward(x[::-1], mask, 0.4), reference.dropout_backward(x[::-1], mask, 0.4)
    )


def test_a_layer_with_a_mask_for_all_steps(rng):
    layer = nn.Dropout(0.5, shared_axes=0, rng=0)
    assert repr(layer) == "Dropout(shared_axes=(0,))"
    x = rng.normal(size=(7, 3, 20)).astype("f")
    y, back = layer.vjp(x)
    np.testing.assert_array_equal(y == 0, np.broadcast_to(y[:1] == 0, y.shape))
    np.testing.assert_array_equal(back(x), y)


def test_layouts(rng):
    x = rng.normal(size=(6, 8))
    want, _ = fastnn.dropout(x.T.copy(), 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(fastnn.dropout(x.T, 0.5, np.random.default_rng(0))[0], want)
    mask = rng.random((6, 8)) < 0.5
    for array, keep in ((x[::-1], mask[::-1]), (x[:, ::2], mask[:, ::2]), (x.T, mask.T)):
        np.testing.assert_array_equal(fastnn.dropout_backward(array, keep, 0.5), np.where(keep, 2 * array, 0))


def test_shared_axes_errors():
    with pytest.raises(ValueError, match="shared_axes: axis 2"):
        fastnn.dropout(np.ones((2, 3)), 0.5, np.random.default_rng(0), shared_axes=2)
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2\), expected \(2, 3\), or 1 along shared axes"):
        fastnn.dropout_backward(np.ones((2, 3)), np.ones((2, 2), bool), 0.5)


@pytest.mark.kernels
def test_memoryview_entry_checks():
    from fastnn._kernels import regularization

    x, mask = np.ones(4), np.zeros(4, np.uint8)
    for call in (
        lambda: regularization.dropout(x[1:].copy(), mask, x, 0.5, np.random.default_rng(0)),
        lambda: regularization.dropout_backward(x[1:].copy(), x, mask, 0.5),
        lambda: regularization.dropout_backward(x.copy(), x, mask[1:], 0.5),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    with pytest.raises(TypeError, match="together"):
        regularization.dropout(x, mask, None, 0.5, np.random.default_rng(0))
