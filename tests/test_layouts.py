"""Properties of every function: a result depends neither on how its inputs lie in memory nor on where it is written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_grid import CASES, NAMES, cast, flat

import fastnn
from fastnn import bench


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def unaligned(x):
    buffer = np.empty(x.nbytes + 1, np.uint8)
    y = buffer[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


LAYOUTS = {
    "dense": np.copy,
    "read-only": frozen,
    "columns first": np.asfortranarray,
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "unaligned": unaligned,
    "bytes swapped": lambda x: x.astype(x.dtype.newbyteorder()),
}
CASES = [case[:3] for case in CASES if NAMES[case[0]] != "updates"]
FLOATS = st.sampled_from([np.float32, np.float64])


@pytest.mark.kernels  # NumPy's own products are another way round where arrays lie otherwise
@pytest.mark.parametrize(("name", "value", "inputs"), CASES, ids=[case[0] for case in CASES])
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(data=st.data(), dtype=FLOATS)
def test_of_inputs(name, value, inputs, data, dtype):
    layouts = [data.draw(st.sampled_from(sorted(LAYOUTS))) for _ in inputs]
    arrays = [cast(x, dtype) for x in inputs]
    given = [LAYOUTS[layout](x) for layout, x in zip(layouts, arrays, strict=True)]
    for result, want in zip(flat(value(fastnn, *given)), flat(value(fastnn, *arrays)), strict=True):
        np.testing.assert_array_equal(result, want)
        assert np.asarray(result).dtype.isnative


@pytest.mark.parametrize("name", bench.UPDATES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_arrays_updated_in_place(name, layout):
    """An update is done in the arrays given, or refused before anything is written."""
    numbers, state = bench.UPDATES[name]
    names = ["param", "grad", *state]
    rng = np.random.default_rng(0)
    dense = dict(zip(names, np.abs(rng.standard_normal((len(names), 3, 4))).astype("f"), strict=True))
    arrays = {name: LAYOUTS[layout](x) for name, x in dense.items()}
    update = lambda arrays: exec(f"F.{name}({', '.join(names)}, {numbers})", {"F": fastnn, **arrays})
    if layout in ("dense", "columns first"):
        update(arrays)
        update(dense)
    else:
        with pytest.raises((TypeError, ValueError), match=f"^({'|'.join(names)}) "):
            update(arrays)
    for key in names:
        np.testing.assert_array_equal(arrays[key], dense[key])


SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(shape=SHAPES, dtype=FLOATS, axis=st.integers(-4, 3), seed=st.integers(0, 99))
def test_of_rows_of_any_axis_and_length(shape, dtype, axis, seed):
    x, dy = np.random.default_rng(seed).standard_normal((2, *shape)).astype(dtype)
    if not -x.ndim <= axis < x.ndim:
        with pytest.raises(ValueError, match="axis"):
            fastnn.softmax(x, axis)
        return
    last = lambda x: np.moveaxis(x, axis, -1).copy()
    for name in "softmax", "log_softmax":
        y = getattr(fastnn, name)(x, axis)
        np.testing.assert_array_equal(last(y), getattr(fastnn, name)(last(x)))
        dx = getattr(fastnn, f"{name}_backward")(dy, y, axis)
        np.testing.assert_array_equal(last(dx), getattr(fastnn, f"{name}_backward")(last(dy), last(y)))
    np.testing.assert_array_equal(fastnn.logsumexp(x, axis), fastnn.logsumexp(last(x)))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(distance=st.integers(-24, 24), name=st.sampled_from(["sigmoid", "gelu", "relu", "softmax", "log_softmax"]))
def test_of_a_result_that_overlaps_its_input(distance, name):
    """Out may be the input itself, or lie across it."""
    f = getattr(fastnn, name)
    buffer = np.random.default_rng(0).standard_normal(200).astype("f")
    x, out = (buffer[start : start + 96].reshape(8, 12) for start in (50, 50 + distance))
    want = f(x.copy())
    assert f(x, out=out) is out
    np.testing.assert_array_equal(out, want)
