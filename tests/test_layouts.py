"""Properties of every function: a result depends neither on how its inputs lie in memory nor on where it is written.

The build of `nox -s sanitize` stops where a kernel is given what it must not be given.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_grid import CASES, NAMES, cast, flat, normal

import fastnn
from fastnn import bench, reference


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


def further():
    """Yield cases of the arrays that those of the grid hold fixed: name, function of F and all its arrays, these."""
    x, dy = normal((6, 5), (6, 5))
    index, weight, mask = np.array([0, 3, 4, 1, 1, 2]), np.abs(normal(5)[0]), dy > 0
    chances = fastnn.softmax(dy)
    for name in "softmax_cross_entropy", "nll_loss":
        loss = lambda F, x, t, w, name=name: getattr(F, name)(x, t, weight=w, ignore_index=1, reduction="none")
        yield name, loss, [x, index, weight]
        yield name, lambda F, x, t, name=name: getattr(F, name)(x, t), [x, index]
    yield "softmax_cross_entropy", lambda F, x, t, w: F.softmax_cross_entropy(x, t, weight=w), [x, chances, weight]
    yield "softmax_cross_entropy", lambda F, x, t: F.softmax_cross_entropy(x, t), [x, chances]
    for name, (keywords, make) in bench.ELEMENT_LOSSES.items():
        loss = lambda F, x, t, name=name, keywords=keywords: getattr(F, name)(x, t, **keywords)
        yield name, loss, [x, make(dy)]
    weighted = lambda F, x, t, p, w: F.sigmoid_cross_entropy(x, t, pos_weight=p, weight=w)
    yield "sigmoid_cross_entropy", weighted, [x, chances, np.abs(dy), weight]
    yield "masked_softmax", lambda F, x, mask: F.masked_softmax(x, mask), [x, mask]
    yield "masked_softmax_backward", lambda F, *a: F.masked_softmax_backward(*a), [dy, chances, mask]
    yield "ragged_softmax", lambda F, x, n: F.ragged_softmax(x, n), [x, np.array([2, 0, 3])]
    yield "ragged_softmax_backward", lambda F, *a: F.ragged_softmax_backward(*a), [dy, chances, np.array([2, 0, 3])]
    yield "dropout_backward", lambda F, dy, mask: F.dropout_backward(dy, mask, 0.5), [dy, mask]

    for cell, (gates, state) in bench.CELLS.items():
        x, step, *states = normal((4, 3, 2), (3, 2), *[(3, 5)] * len(state))
        weights = normal((5 * gates, 2), (5 * gates, 5), (5 * gates,), (5 * gates,))
        dy, *final = normal((4, 3, 5), *[(3, 5)] * len(state))

        def training(F, dy, *arrays, cell=cell, kept=state):
            *final, lengths = arrays[: len(kept) + 1]
            *results, cache = getattr(F, f"{cell}_forward")(*arrays[len(kept) + 1 :], lengths=lengths)
            return results, getattr(F, f"{cell}_backward")(dy, *final, cache)

        def one_step(F, *arrays, cell=cell, kept=state):
            *results, cache = getattr(F, f"{cell}_step_forward")(*arrays[len(kept) :])
            return results, getattr(F, f"{cell}_step_backward")(*arrays[: len(kept)], cache)

        yield f"{cell}_backward", training, [dy, *final, np.array([4, 0, 2]), x, *states, *weights]
        yield f"{cell}_step_backward", one_step, [*final, step, *states, *weights]

    def attention(F, dcontext, dweights, lengths, *arrays):
        *results, cache = F.attention_forward(*arrays, lengths=lengths)
        return results, F.attention_backward(dcontext, dweights, cache)

    operands = normal((4, 3, 7), (4, 3, 6), (4, 3, 5), (6, 3, 5), (6, 3, 7))
    yield "attention_backward", attention, [*operands[:2], np.array([6, 0, 2]), *operands[2:]]

    table, dy, bags = normal((4, 3), (2, 5, 3), (2, 3))
    indices, offsets, shares = np.array([[0, 1, 1, 3, 0], [3, 3, 0, 1, 1]]), np.array([0, 7]), np.abs(normal(10)[0])
    yield "embedding_lookup", lambda F, table, i: F.embedding_lookup(table, i), [table, indices]
    yield "embedding_lookup_backward", lambda F, dy, i: F.embedding_lookup_backward(dy, i, 4), [dy, indices]
    yield "coalesce", lambda F, i, values: F.coalesce(i, values), [indices.reshape(-1), dy.reshape(10, 3)]
    bag = lambda F, table, i, o, w: F.embedding_bag(table, i, o, mode="sum", per_sample_weights=w)
    yield "embedding_bag", bag, [table, indices.reshape(-1), offsets, shares]
    pull = lambda F, d, table, i, o, w: F.embedding_bag_backward(d, table, i, o, mode="sum", per_sample_weights=w)
    yield "embedding_bag_backward", pull, [bags, table, indices.reshape(-1), offsets, shares]

    def normalize(F, dy, x, mean, variance, weight, bias):
        y, cache = F.batch_norm(x, mean, variance, weight, bias)
        return y, F.batch_norm_backward(dy, cache)

    (x, dy), statistics = normal((6, 5), (6, 5)), np.abs(normal((5,), (5,), (5,), (5,)))
    yield "batch_norm_backward", normalize, [dy, x, *statistics]
    for name in "layer_norm", "rms_norm":

        def run(F, dy, *arrays, name=name):
            y, cache = getattr(F, name)(*arrays)
            return y, getattr(F, f"{name}_backward")(dy, cache)

        yield f"{name}_backward", run, [dy, x, *statistics[: 2 if name == "layer_norm" else 1]]

    def pooled(F, dy, x, lengths):
        y, cache = F.max_over_time_forward(x, lengths)
        return y, F.max_over_time_backward(dy, cache)

    yield "max_over_time_backward", pooled, [*normal((2, 4), (2, 4, 8)), np.array([8, 5])]


STEPS = ("skipgram_step", "cbow_step")
CASES = [case[:3] for case in CASES if NAMES[case[0]] != "updates" and case[0] not in STEPS]
FURTHER = list(further())
EVERY = [pytest.param(*case, id=case[0]) for case in CASES]
EVERY += [pytest.param(*case, id=f"{case[0]}, all arrays") for case in FURTHER]
FLOATS = st.sampled_from([np.float32, np.float64])


def same(value, arrays, given):
    """Assert that a function makes the same of arrays that lie otherwise."""
    for result, want in zip(flat(value(fastnn, *given)), flat(value(fastnn, *arrays)), strict=True):
        np.testing.assert_array_equal(result, want)
        assert np.asarray(result).dtype.isnative


@pytest.mark.kernels  # NumPy's own products are another way round where arrays lie otherwise
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "value", "inputs"), EVERY)
def test_of_inputs(name, value, inputs, dtype):
    arrays = [cast(x, dtype) for x in inputs]
    for layout in LAYOUTS.values():
        same(value, arrays, [layout(x) for x in arrays])


@pytest.mark.kernels
@pytest.mark.parametrize(("name", "value", "inputs"), EVERY)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(data=st.data(), dtype=FLOATS)
def test_of_inputs_each_another(name, value, inputs, data, dtype):
    arrays = [cast(x, dtype) for x in inputs]
    same(value, arrays, [LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))](x) for x in arrays])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "value", "inputs"), EVERY)
def test_of_inputs_without_elements(name, value, inputs, dtype):
    """With all axes of one length cut down to 0, both twins make the same of it, or raise the same."""

    def outcome(F, arrays):
        try:
            return flat(value(F, *arrays))
        except (TypeError, ValueError, IndexError) as error:
            return type(error)

    arrays = [cast(x, dtype) for x in inputs]
    for length in {length for x in arrays for length in x.shape}:
        cut = [x[tuple(slice(0 if n == length else n) for n in x.shape)] for x in arrays]
        got, want = outcome(fastnn, cut), outcome(reference, cut)
        if isinstance(got, type) or isinstance(want, type):
            assert got is want
            continue
        for result, truth in zip(got, want, strict=True):
            tolerance = 64 * np.finfo(dtype).eps
            np.testing.assert_allclose(result, truth, rtol=tolerance, atol=tolerance)
            assert np.shape(result) == np.shape(truth)


def test_every_function_has_a_case():
    """But for those that write in place, whose tests follow."""
    in_place = {*bench.UPDATES, *bench.SPARSE_UPDATES, "clip_by_global_norm", *STEPS}
    assert {name for name, *_ in CASES} == NAMES.keys() - in_place


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


@pytest.mark.parametrize("name", bench.SPARSE_UPDATES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_rows_updated_in_place(name, layout):
    """What is only read may lie anyhow, what is written not."""
    numbers, state = bench.SPARSE_UPDATES[name]
    given = dict(zip(("param", *state, "grad_rows"), np.abs(normal(*[(4, 5)] * (2 + len(state)))), strict=True))
    given |= {"grad_rows": given["grad_rows"][:3], "rows": np.array([2, 0, 2])}
    call = f"F.{name}({', '.join(('param', 'rows', 'grad_rows', *state))}, {numbers})"
    update = lambda arrays: exec(call, {"F": fastnn, **arrays})
    want = {key: x.copy() for key, x in given.items()}
    update(want)
    for laid_out in [("rows", "grad_rows")], [(key,) for key in ("param", *state)]:
        for names in laid_out:
            arrays = {key: LAYOUTS[layout](x) if key in names else x.copy() for key, x in given.items()}
            if layout == "dense" or ("rows" in names and layout != "bytes swapped"):
                update(arrays)
            else:
                with pytest.raises((TypeError, ValueError), match=f"^({'|'.join(given)}) "):
                    update(arrays)
            refused = layout != "dense" and ("rows" not in names or layout == "bytes swapped")
            for key in ("param", *state):
                np.testing.assert_array_equal(arrays[key], (given if refused else want)[key])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_gradients_clipped_in_place(layout):
    grads, want = normal((4, 5), (3,)), normal((4, 5), (3,))
    arrays = [LAYOUTS[layout](x) for x in grads]
    if layout in ("read-only", "bytes swapped"):
        with pytest.raises((TypeError, ValueError), match=r"^grads\[0\] "):
            fastnn.clip_by_global_norm(arrays, 0.5)
        return
    assert fastnn.clip_by_global_norm(arrays, 0.5) == pytest.approx(fastnn.clip_by_global_norm(want, 0.5), rel=1e-14)
    for array, clipped in zip(arrays, want, strict=True):
        np.testing.assert_allclose(array, clipped, rtol=1e-14)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_tables_trained_in_place(name, layout):
    numbers = [np.array(x) for x in ([1, 2, 1, 3, 0, 2], [0, 3, 3, 6], [[0, 4, 0, 4], [1, 2, 3, 4], [3, 1, 2, 0]])]
    step = lambda tables, numbers: getattr(fastnn, name)(*tables, *numbers, lr=0.5)
    tables, want = normal((4, 21), (5, 21)), normal((4, 21), (5, 21))
    assert step(tables, [LAYOUTS[layout](x) for x in numbers]) == step(want, numbers)
    np.testing.assert_array_equal(tables[0], want[0])
    arrays = [LAYOUTS[layout](x) for x in tables]
    if layout == "dense":
        step(arrays, numbers)
        step(tables, numbers)
    else:
        with pytest.raises((TypeError, ValueError), match=r"^vectors "):
            step(arrays, numbers)
    for mine, table in zip(arrays, tables, strict=True):
        np.testing.assert_array_equal(mine, table)


OUTPUTS = {
    "sigmoid": lambda out: fastnn.sigmoid(X, out=out),
    "leaky_relu": lambda out: fastnn.leaky_relu(X, out=out),
    "softmax": lambda out: fastnn.softmax(X, out=out),
    "masked_softmax": lambda out: fastnn.masked_softmax(X, X > 0, out=out),
    "ragged_softmax": lambda out: fastnn.ragged_softmax(X, [2, 0, 3], out=out),
    "softmax_cross_entropy": lambda out: fastnn.softmax_cross_entropy(X, [0, 3, 4, 1, 1, 2], grad_out=out)[1],
    "nll_loss": lambda out: fastnn.nll_loss(X, [0, 3, 4, 1, 1, 2], grad_out=out)[1],
    "huber_loss": lambda out: fastnn.huber_loss(X, X[::-1], grad_out=out)[1],
}
(X,) = normal((6, 5))


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_outputs(name, layout):
    """A result is written where it is asked for, or refused before anything is written."""
    want, out = OUTPUTS[name](None), LAYOUTS[layout](np.full(X.shape, 7.0))
    if layout == "read-only" or (layout == "bytes swapped" and name not in ("sigmoid", "leaky_relu")):
        with pytest.raises((TypeError, ValueError)):
            OUTPUTS[name](out)
        assert (out == 7).all()
    else:
        assert OUTPUTS[name](out) is out
        np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_what_is_added_to(layout):
    dy, *statistics = normal((6, 5), (5,), (5,))
    total = LAYOUTS[layout](np.ones((4, 5)))
    running = [LAYOUTS[layout](np.abs(x)) for x in statistics]
    add = lambda: fastnn.embedding_lookup_backward(dy, [0, 3, 1, 1, 3, 0], 4, add_to=total)
    move = lambda: fastnn.batch_norm(dy, *running, training=True)
    if layout in ("read-only", "bytes swapped"):
        for call in add, move:
            with pytest.raises((TypeError, ValueError)):
                call()
        return
    assert add() is total
    move()
    np.testing.assert_allclose(total, 1 + reference.embedding_lookup_backward(dy, [0, 3, 1, 1, 3, 0], 4))
    want = [np.abs(x) for x in statistics]
    reference.batch_norm(dy, *want, training=True)
    np.testing.assert_allclose(running, want)


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
