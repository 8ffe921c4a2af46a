"""Attention: values and gradients against the reference in float64, lengths, layouts, dtypes, the layer, errors."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn, reference

DTYPES = [np.float32, np.float64]
SCORES = ["dot", "scaled_dot", "general", "additive", "additive-projected"]
# T (None: one step), B, S, Q, K, V, A: few and many queries, features around the widths of the vectors
SIZES = [
    (None, 1, 1, 1, 1, 1, 1),
    (None, 3, 7, 5, 4, 6, 9),
    (None, 2, 70, 130, 129, 300, 65),
    (0, 3, 4, 2, 2, 2, 2),
    (2, 0, 4, 2, 2, 2, 2),
    (2, 3, 0, 2, 2, 2, 2),
    (2, 3, 4, 0, 0, 2, 2),
    (2, 3, 4, 2, 2, 0, 0),
    (2, 3, 5, 16, 16, 17, 16),
    (3, 2, 33, 8, 7, 9, 31),
    (4, 3, 9, 33, 32, 5, 8),
    (7, 2, 40, 17, 16, 64, 33),
]


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def operands(rng, score, sizes, dtype=np.float64):
    """Return the arguments for a score; the plain additive one takes a query and keys that are projected already."""
    steps, batch, source, query, keys, values, hidden = sizes
    keys = query if score in ("dot", "scaled_dot", "additive") else keys
    shapes = {"query": (batch, query) if steps is None else (steps, batch, query)}
    shapes |= {"keys": (source, batch, keys), "values": (source, batch, values)}
    if score == "general":
        shapes["w_keys"] = (query, keys)
    elif score == "additive":
        shapes["v"] = (query,)
    elif score == "additive-projected":
        shapes |= {"w_query": (hidden, query), "w_keys": (hidden, keys), "v": (hidden,), "bias": (hidden,)}
    scale = max(1, query) ** -0.25
    return {name: (scale * rng.normal(size=shape)).astype(dtype) for name, shape in shapes.items()}


def wide(a):
    return {name: x.astype(np.float64) for name, x in a.items()}


def close(result, truth, dtype):
    """Compare within some hundred roundings of the largest number."""
    assert result.dtype == dtype
    assert result.shape == truth.shape
    np.testing.assert_allclose(result, truth, rtol=0, atol=200 * np.finfo(dtype).eps * np.abs(truth).max(initial=1))


def run(module, a, score, lengths, d=None):
    """Return context and weights, and the gradients for d by name."""
    *results, cache = module.attention_forward(**a, score=score.split("-")[0], lengths=lengths)
    d = [np.ones_like(x) for x in results] if d is None else d
    return results, module.attention_backward(*d, cache)


# --- values and gradients --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients(isa, rng, sizes, score, dtype):
    a = operands(rng, score, sizes, dtype)
    batch, source = sizes[1:3]
    some = rng.integers(0, source + 1, batch)
    some[:2] = [0, source][:batch]
    for lengths in (None, some):
        shapes = [x.shape for x in run(reference, wide(a), score, lengths)[0]]
        noise = [rng.normal(size=shape).astype(dtype) for shape in shapes]
        for given in itertools.product((True, False), repeat=2):
            d = [x if is_given else None for x, is_given in zip(noise, given, strict=True)]
            (results, gradients), (truths, true_gradients) = (
                run(fastnn, a, score, lengths, d),
                run(reference, wide(a), score, lengths, d),
            )
            for result, truth in zip(results, truths, strict=True):
                close(result, truth, dtype)
            assert list(gradients) == list(a)
            for name, gradient in gradients.items():
                close(gradient, true_gradients[name], dtype)


def test_formulas(rng):
    """By hand, since both twins could be wrong alike."""
    for score in SCORES:
        a = operands(rng, score, (2, 3, 5, 4, 6, 7, 8))
        (context, weights), _ = run(fastnn, a, score, [5, 3, 1])
        for t, (b, length) in itertools.product(range(2), enumerate([5, 3, 1])):
            q, scores = a["query"][t, b], []
            for k in a["keys"][:length, b]:
                if score.endswith("dot"):
                    scores.append(q @ k / (2 if score == "scaled_dot" else 1))
                elif score == "general":
                    scores.append(q @ (a["w_keys"] @ k))
                elif score == "additive":
                    scores.append(a["v"] @ np.tanh(q + k))
                else:
                    scores.append(a["v"] @ np.tanh(a["w_query"] @ q + a["w_keys"] @ k + a["bias"]))
            e = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[t, b, :length], e, rtol=1e-12)
            assert not weights[t, b, length:].any()
            np.testing.assert_allclose(context[t, b], e @ a["values"][:length, b], rtol=1e-10)


def test_one_step_is_a_sequence_of_one(isa, rng):
    for score in SCORES:
        a = operands(rng, score, (1, 3, 5, 4, 6, 7, 8))
        results, gradients = run(fastnn, a, score, [5, 0, 2])
        step, step_gradients = run(fastnn, a | {"query": a["query"][0]}, score, [5, 0, 2])
        for one, sequence in zip(step, results, strict=True):
            np.testing.assert_array_equal(one, sequence[0])
        assert step_gradients["query"].shape == (3, 4)
        for name, gradient in step_gradients.items():
            np.testing.assert_array_equal(gradient, gradients[name].reshape(gradient.shape))


# --- lengths ---------------------------------------------------------------------------------------------------------
def test_what_stands_past_a_length_does_not_matter(isa, rng):
    lengths = np.array([3, 0, 6, 1])
    past = np.arange(6)[:, None] >= lengths
    for steps, score in itertools.product((None, 2, 5), SCORES):
        a = operands(rng, score, (steps, 4, 6, 9, 9, 7, 8))
        results, gradients = run(fastnn, a, score, lengths)
        assert not results[0][..., 1, :].any()
        assert not results[1][..., 1, :].any()
        for name in ("keys", "values"):
            assert not gradients[name][past].any()
            a[name][past] = np.nan
        d = [np.ones_like(x) for x in results]
        d[1][..., past.T] = np.nan
        again, gradients_again = run(fastnn, a, score, lengths, d)
        for result, expected in zip(again, results, strict=True):
            np.testing.assert_array_equal(result, expected)
        for name, expected in gradients.items():
            np.testing.assert_array_equal(gradients_again[name], expected)


def test_a_sequence_does_not_depend_on_the_others(isa, rng):
    for score in SCORES:
        a = operands(rng, score, (5, 4, 9, 6, 6, 7, 8), np.float32)
        (context, weights), _ = run(fastnn, a, score, [9, 3, 4, 9])
        part = a | {name: a[name][:, 1:3].copy() for name in ("query", "keys", "values")}
        (some_context, some_weights), _ = run(fastnn, part, score, [3, 4])
        if isa == "numpy":
            np.testing.assert_allclose(some_weights, weights[:, 1:3], rtol=1e-5)
        else:
            np.testing.assert_array_equal(some_context, context[:, 1:3])
            np.testing.assert_array_equal(some_weights, weights[:, 1:3])


@pytest.mark.kernels
@pytest.mark.parametrize("score", SCORES)
def test_threads_change_nothing(rng, score):
    from fastnn._kernels import cpu

    a, results, before = operands(rng, score, (40, 33, 50, 160, 160, 160, 160), np.float32), [], cpu.get_num_threads()
    for n in (1, 3):
        cpu.set_num_threads(n)
        pair, gradients = run(fastnn, a, score, None)
        results.append([*pair, *gradients.values()])
    cpu.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(one, three)


# --- numerics --------------------------------------------------------------------------------------------------------
def test_large_scores_are_as_exact(isa):
    keys = np.array([[[200.0]], [[100.0]], [[200.0]]])
    for dtype in DTYPES:
        k = keys.astype(dtype)
        context, weights, _ = fastnn.attention_forward(np.full((1, 1), 1e4, dtype), k, k, score="dot")
        np.testing.assert_array_equal(weights, [[0.5, 0, 0.5]])
        np.testing.assert_array_equal(context, [[200]])


def test_no_warning_escapes(isa, rng):
    for score, dtype, value in itertools.product(
        SCORES, (np.float16, np.float32, np.float64), (np.inf, np.nan, 6e4, 3e38, 1e-45)
    ):
        with np.errstate(all="ignore"):
            a = {name: np.full_like(x, value, dtype) for name, x in operands(rng, score, (2, 3, 4, 5, 5, 5, 5)).items()}
        with np.errstate(all="raise"):
            run(fastnn, a, score, [4, 2, 0])
            if dtype != np.float16:
                layer = nn.Attention("dot")
                results, back = layer.vjp(a["query"], a["keys"])
                back(np.full_like(results[0], value))


# --- what comes in ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("score", SCORES)
def test_layouts(isa, rng, score):
    a = operands(rng, score, (5, 3, 6, 4, 4, 7, 8))
    before = {name: x.copy() for name, x in a.items()}
    expected, expected_gradients = run(fastnn, a, score, [6, 2, 5])

    def batch_first(x):
        return x.swapaxes(0, 1).copy().swapaxes(0, 1) if x.ndim == 3 else x

    def unaligned(x):
        room = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
        room[...] = x
        return room

    def read_only(x):
        x = x.copy()
        x.flags.writeable = False
        return x

    for change in (
        batch_first,
        np.asfortranarray,
        lambda x: x.repeat(2, -1)[..., ::2],
        lambda x: x.repeat(2, 0)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x[..., ::-1].copy()[..., ::-1],
        unaligned,
        read_only,
        lambda x: x.astype(">f8"),
        np.ndarray.tolist,
    ):
        results, gradients = run(fastnn, {name: change(x) for name, x in a.items()}, score, np.array([6, 2, 5], ">i4"))
        atol = 1e-14 if isa == "numpy" else 0
        for result, truth in zip(
            [*results, *gradients.values()], [*expected, *expected_gradients.values()], strict=True
        ):
            np.testing.assert_allclose(result, truth, rtol=0, atol=10 * atol)
    for name, x in a.items():
        np.testing.assert_array_equal(x, before[name])


def test_gradients_that_come_in_stay_as_they_are(rng):
    a = operands(rng, "dot", (2, 3, 4, 5, 5, 5, 5))
    *results, cache = fastnn.attention_forward(**a)
    d = [rng.normal(size=x.shape) for x in results]
    before = [x.copy() for x in d]
    for _ in range(2):
        gradients = fastnn.attention_backward(*d, cache)
    for x, y in zip(d, before, strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(fastnn.attention_backward(*d, cache).values(), gradients.values(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_dtypes(rng):
    for score in SCORES:
        a = operands(rng, score, (2, 3, 4, 5, 5, 5, 5))
        for given, expected in [(np.int8, np.float64), (bool, np.float64), (np.float16, np.float16)]:
            results, gradients = run(fastnn, {name: x.astype(given) for name, x in a.items()}, score, None)
            assert {x.dtype for x in (*results, *gradients.values())} == {np.dtype(expected)}
        (context, _), _ = run(fastnn, a | {"values": a["values"].astype(np.float32)}, score, None)
        assert context.dtype == np.float64
        for name in a:
            with pytest.raises(TypeError, match=f"^{name} has dtype complex128"):
                run(fastnn, a | {name: a[name].astype(complex)}, score, None)


def test_errors(rng):
    a = operands(rng, "dot", (2, 3, 4, 5, 5, 6, 5))
    for changed, message in [
        ({"query": a["query"][0, 0]}, r"^query has shape \(5,\), expected \(B, Q\) for one step or \(T, B, Q\)"),
        ({"query": a["query"][..., :4]}, r"^keys have shape \(4, 3, 5\), expected 4 features"),
        ({"keys": a["keys"][:, :2]}, r"^keys have shape \(4, 2, 5\), expected \(S, 3, K\)"),
        ({"values": a["values"][:3]}, r"^values have shape \(3, 3, 6\), expected \(4, 3, V\)"),
        ({"lengths": [1, 2]}, r"^lengths has shape \(2,\), expected \(3,\)"),
        ({"lengths": [1, 2, 5]}, r"^lengths hold 5, expected numbers from 0 to the 4 steps of keys"),
        ({"lengths": [1, 2, -1]}, r"^lengths hold -1"),
        ({"score": "cosine"}, r"^score is 'cosine', expected one of 'dot', 'scaled_dot', 'general', 'additive'"),
        ({"v": np.ones(5)}, r"^v is given, but score='dot' has no use for it"),
        ({"score": "general"}, r"^w_keys is None, expected an array with score='general'"),
        ({"score": "general", "w_keys": np.ones((5, 4))}, r"^w_keys has shape \(5, 4\), expected \(5, 5\)"),
        ({"score": "additive"}, r"^v is None, expected an array with score='additive'"),
        ({"score": "additive", "v": np.ones(4)}, r"^query has shape \(2, 3, 5\), expected 4 features"),
        ({"score": "additive", "v": np.ones(5), "bias": np.ones(4)}, r"^bias has shape \(4,\), expected \(5,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastnn.attention_forward(**({"score": "dot"} | a | changed))
    with pytest.raises(TypeError, match=r"^lengths have dtype float64, expected integers"):
        fastnn.attention_forward(**a, lengths=[1.0, 2.0, 3.0])
    context, weights, cache = fastnn.attention_forward(**a)
    with pytest.raises(ValueError, match=r"^dcontext has shape \(3, 6\), expected \(2, 3, 6\)"):
        fastnn.attention_backward(context[0], None, cache)
    with pytest.raises(ValueError, match=r"^dweights has shape \(3, 4\), expected \(2, 3, 4\)"):
        fastnn.attention_backward(context, weights[0], cache)
    with pytest.raises(TypeError, match=r"^cache is of layer_norm, expected that of attention_forward"):
        fastnn.attention_backward(context, None, fastnn.layer_norm(context)[1])


# --- the layer -------------------------------------------------------------------------------------------------------
def test_layer(rng):
    a = operands(rng, "additive-projected", (2, 3, 4, 5, 6, 7, 8), np.float32)
    layer = nn.Attention("additive", 5, 6, 8, bias=True, rng=0)
    assert {name: value.shape for name, value in layer.state_dict().items()} == {
        "w_query": (8, 5),
        "w_keys": (8, 6),
        "v": (8,),
        "bias": (8,),
    }
    layer.load_state_dict({name: a[name] for name in layer.state_dict()})
    inputs = a["query"], a["keys"], a["values"]
    results, gradients = run(fastnn, a, "additive", [4, 0, 2])
    outputs, back = layer.vjp(*inputs, lengths=[4, 0, 2])
    for result, expected in zip((*outputs, *layer(*inputs, lengths=[4, 0, 2])), (*results, *results), strict=True):
        np.testing.assert_array_equal(result, expected)
    for _ in range(2):
        for name, d in zip(("query", "keys", "values"), back(*map(np.ones_like, outputs)), strict=True):
            np.testing.assert_array_equal(d, gradients[name])
    for name, parameter in layer.named_parameters():
        np.testing.assert_array_equal(parameter.grad, 2 * gradients[name])
    assert list(nn.Attention("general", 5, 6, rng=0).state_dict()) == ["w_keys"]
    assert nn.Attention("dot").state_dict() == {}
    assert nn.Attention("dot")(*(x.astype(np.float64) for x in inputs[:1] * 3))[0].dtype == np.float64
    assert layer(*(x.astype(np.float64) for x in inputs))[0].dtype == np.float32


def test_layer_without_values(rng):
    query, keys = rng.normal(size=(2, 3, 5)), rng.normal(size=(4, 3, 5))
    layer = nn.Attention()
    (context, weights), back = layer.vjp(query, keys)
    expected = layer(query, keys, keys)
    np.testing.assert_array_equal(context, expected[0])
    np.testing.assert_array_equal(weights, expected[1])
    dquery, dkeys, dvalues = back(context)
    assert dvalues is None
    *_, apart = layer.vjp(query, keys, keys)
    expected = apart(context)
    np.testing.assert_array_equal(dquery, expected[0])
    np.testing.assert_allclose(dkeys, expected[1] + expected[2], rtol=1e-12)
    assert layer.vjp(np.ones((3, 5), int), keys)[1](context[0])[0] is None


def test_layer_is_saved(rng, tmp_path):
    layer = nn.Attention("additive", 5, 6, 8, bias=True, rng=0)
    layer.save(tmp_path / "attention.safetensors")
    same = fastnn.load(tmp_path / "attention.safetensors")
    assert (
        repr(same) == repr(layer) == "Attention(score='additive', query_size=5, key_size=6, hidden_size=8, bias=True)"
    )
    for name, value in same.state_dict().items():
        np.testing.assert_array_equal(value, layer.state_dict()[name])
    assert abs(layer.w_query.value).max() <= 5**-0.5


def test_layer_errors(rng):
    x = rng.normal(size=(2, 3, 5))
    for arguments, message in [
        (("cosine",), r"^score is 'cosine', expected one of"),
        (("dot", 5), r"^query_size is 5, but score='dot' has no use for it"),
        (("general", 5, 6, 7), r"^hidden_size is 7, but score='general' has no use for it"),
        (("general", 5), r"^key_size is None, expected a positive integer"),
        (("additive", 5, 6, 0), r"^hidden_size is 0, expected a positive integer"),
        (("general", 5, 6, None, True), r"^bias is True, but score='general' has none"),
    ]:
        with pytest.raises(ValueError, match=message):
            nn.Attention(*arguments)
    with pytest.raises(ValueError, match=r"^Attention: query has shape \(2, 3, 5\), expected \(..., 4\)"):
        nn.Attention("general", 4, 5)(x, x)
    with pytest.raises(ValueError, match=r"^Attention: keys has shape \(2, 3, 5\), expected \(..., 4\)"):
        nn.Attention("general", 5, 4)(x, x)
