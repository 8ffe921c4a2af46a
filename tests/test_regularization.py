"""Dropout: what is kept, scaled and drawn. Edges and errors are tested with the layer."""

import numpy as np
import pytest

import fastnn


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kept_or_dropped(dtype):
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
