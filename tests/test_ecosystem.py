"""Activations on others' arrays: dask stays lazy, xarray keeps labels, pandas and masked arrays their types."""

import numpy as np
import pandas
import pytest
import xarray
from cases import CASES
from dask import array

import fastnn

X = np.linspace(-3, 3, 24, dtype="f")
FUNCTIONS = [f"{case.name}{suffix}" for case in CASES for suffix in ("", "_derivative", "_backward")]

pytestmark = pytest.mark.kernels  # the twin's functions are plain NumPy: what they return is NumPy's business


@pytest.fixture(params=FUNCTIONS)
def function(request):
    return request.param


def call(function, wrap):
    """Return the result for wrapped arrays, and that for plain ones."""
    arrays = [X, X[::-1]][: 1 + function.endswith("_backward")]
    f = getattr(fastnn, function)
    return f(*map(wrap, arrays)), f(*arrays)


def test_dask_stays_lazy(function):
    got, want = call(function, lambda x: array.from_array(x, chunks=7))
    assert isinstance(got, array.Array)
    assert got.chunks == ((7, 7, 7, 3),)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.compute(), want)


def test_xarray_keeps_labels(function):
    coordinates = {"time": np.arange(24), "half": ("time", np.repeat([0, 1], 12))}
    got, want = call(function, lambda x: xarray.DataArray(x, coords=coordinates, dims="time"))
    assert isinstance(got, xarray.DataArray)
    assert got.dims == ("time",)
    np.testing.assert_array_equal(got.coords["half"], coordinates["half"][1])
    np.testing.assert_array_equal(got.values, want)


def test_pandas_keeps_series_and_frames(function):
    index = list("abcdefghijklmnopqrstuvwx")
    got, want = call(function, lambda x: pandas.Series(x, index=index))
    assert isinstance(got, pandas.Series)
    assert list(got.index) == index
    np.testing.assert_array_equal(got.to_numpy(), want)
    got, want = call(function, lambda x: pandas.DataFrame(x.reshape(6, 4), columns=list("abcd")))
    assert isinstance(got, pandas.DataFrame)
    assert list(got.columns) == list("abcd")
    np.testing.assert_allclose(got.to_numpy().ravel(), want, rtol=1e-6)  # beside a frame pandas makes 0.01 a float64


def test_masked_arrays_keep_their_mask(function):
    mask = np.arange(24) % 5 == 0
    got, want = call(function, lambda x: np.ma.array(x, mask=mask))
    assert isinstance(got, np.ma.MaskedArray)
    np.testing.assert_array_equal(got.mask, mask)
    np.testing.assert_array_equal(got.compressed(), want[~mask])
