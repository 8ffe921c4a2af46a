"""The grid of families and rooms: every family has its file in every room, every name its function, cases and row."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import bench, ops, reference

ROOT = Path(__file__).parents[1]
ROOMS = {
    "src/fastnn/ops": "{}.py",
    "src/fastnn/reference": "{}.py",
    "src/fastnn/_kernels": "{}.pyx",
    "csrc": "{}.h",
    "tests": "test_{}.py",
    "benchmarks": "bench_{}.py",
}
STEPS = {f"{cell}_step_forward" for cell in bench.CELLS}  # a step, kept
FAMILIES = sorted(path.stem for path in (ROOT / "src/fastnn/ops").glob("[!_]*.py"))
NAMES = {name: family for family in FAMILIES for name in importlib.import_module(f"fastnn.ops.{family}").__all__}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_in_every_room(family):
    files = [ROOT / room / ROOMS[room].format(family) for room in ROOMS]
    assert [file for file in files if not file.exists()] == []
    assert (ROOT / "src/fastnn/_kernels" / f"{family}.pyi").exists()


def test_no_room_has_more():
    for room, stems in {
        "src/fastnn/reference": {path.stem for path in (ROOT / "src/fastnn/reference").glob("[!_]*.py")},
        "src/fastnn/_kernels": {path.stem for path in (ROOT / "src/fastnn/_kernels").glob("*.pyx")} - {"cpu", "gemm"},
        "benchmarks": {path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py")}
        - {"sklearn"},
    }.items():
        assert stems <= set(FAMILIES), room


@pytest.mark.parametrize("family", FAMILIES)
def test_the_twins_have_the_same_names(family):
    names = importlib.import_module(f"fastnn.ops.{family}").__all__
    assert sorted(names) == sorted(importlib.import_module(f"fastnn.reference.{family}").__all__)
    assert [name for name in names if name not in fastnn.__all__] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "saved_for"])
def test_the_kernel_has_the_same_name(name):
    kernels = importlib.import_module(f"fastnn._kernels.{NAMES[name]}")
    if NAMES[name] == "convolution":  # to a kernel a sequence is an image of one column
        name = name.replace("1d", "2d").removesuffix("_forward")
    assert name in getattr(kernels, "OPS", STEPS) or callable(getattr(kernels, name, None))


@pytest.mark.parametrize("name", NAMES)
def test_signatures_agree(name):
    function, twin = getattr(ops, name), inspect.signature(getattr(reference, name))
    if isinstance(function, np.ufunc):
        operands = [p for p in twin.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert len(operands) == function.nin
        assert "out" in twin.parameters
    else:
        assert inspect.signature(function) == twin


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_benchmark_row(name):
    statements = [row.setup + row.statement for family in FAMILIES for row in bench.rows(family)]
    assert name in {found for statement in statements for found in re.findall(r"F\.(\w+)", statement)} | {"saved_for"}


def test_rows_are_there_once():
    rows = [str(row) for family in FAMILIES for row in bench.rows(family)]
    assert len(set(rows)) == len(rows)
    assert set(bench.SHORT) <= set(rows)


# --- cases: every name's value against the twin in float64, and its gradient against differences --------------------
# A case is the name, a function of F and float64 arrays whose results are compared, those arrays, and None or what
# `gradcheck` takes: a function that returns a value and the gradients, and the arrays to check them at.


def normal(*shapes):
    """Return arrays of these shapes, the same in every call."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


def pair(name, saved=None, more=()):
    """Yield the cases of a function of one array, and of the backward function that takes what is saved of it."""

    def value(F, x):
        return getattr(F, name)(x, *more)

    def backward(F, dy, x):
        return getattr(F, f"{name}_backward")(dy, saved(F, name, x) if saved else value(F, x), *more)

    x, dy = normal((6, 5), (6, 5))
    check = lambda x: ((dy * value(fastnn, x)).sum(), backward(fastnn, dy, x)), [x]
    yield name, value, [x], check
    yield f"{name}_backward", backward, [dy, x], check


def activations():
    for name in (name for name in ops.activations.__all__ if f"{name}_backward" in NAMES):
        yield from pair(name, lambda F, name, x: x if F.saved_for(name) == "x" else getattr(F, name)(x))
        f, slope = getattr(fastnn, name), getattr(fastnn, f"{name}_derivative")
        check = lambda x, f=f, slope=slope: (f(x).sum(), slope(x)), normal((6, 5))
        yield f"{name}_derivative", lambda F, x, name=f"{name}_derivative": getattr(F, name)(x), normal((6, 5)), check
    yield "saved_for", lambda F: np.array([F.saved_for(name) == "x" for name in ("gelu", "tanh")]), [], None


def losses():
    yield from pair("softmax")
    yield from pair("log_softmax")
    yield from pair("masked_softmax", more=[np.arange(5) < [[5], [0], [2], [3], [5], [1]]])
    yield from pair("ragged_softmax", more=[[2, 0, 3]])
    check = lambda x: (fastnn.logsumexp(x).sum(), fastnn.softmax(x)), normal((6, 5))
    yield "logsumexp", lambda F, x: F.logsumexp(x), normal((6, 5)), check
    targets = np.array([0, 3, 4, 1, 1, 2])
    loss = lambda F, x: F.softmax_cross_entropy(x, targets, label_smoothing=0.1)
    yield "softmax_cross_entropy", loss, normal((6, 5)), (lambda x: loss(fastnn, x), normal((6, 5)))
    loss = lambda F, x: F.nll_loss(x, targets)
    yield "nll_loss", loss, normal((6, 5)), (lambda x: loss(fastnn, x), normal((6, 5)))
    for name, (keywords, make) in bench.ELEMENT_LOSSES.items():
        x, noise = normal((6, 5), (6, 5))
        t = make(noise)
        loss = lambda F, x, name=name, t=t, keywords=keywords: getattr(F, name)(x, t, **keywords)
        yield name, loss, [x], (lambda x, loss=loss: loss(fastnn, x), [x])


def updates():
    for name, (numbers, state) in bench.UPDATES.items():
        names = ", ".join(("param", "grad", *state))

        def value(F, *arrays, name=name, statement=f"F.{name}({names}, {numbers})", names=names):
            variables = dict(zip(names.split(", "), (a.copy() for a in arrays), strict=True))
            exec(statement, {"F": F, **variables})
            return list(variables.values())

        yield name, value, [np.abs(a) for a in normal(*[(4, 5)] * (2 + len(state)))], None  # they have no gradient
    for name, (numbers, state) in bench.SPARSE_UPDATES.items():

        def sparse(F, param, grad_rows, *state, name=name, numbers=numbers):
            param, *state = (a.copy() for a in (param, *state))
            names = [f"s{i}" for i in range(len(state))]
            call = f"F.{name}(param, [2, 0, 2], grad_rows, {''.join(f'{s}, ' for s in names)}{numbers})"
            exec(call, {"F": F, "param": param, "grad_rows": grad_rows, **dict(zip(names, state, strict=True))})
            return param, state

        yield name, sparse, [np.abs(a) for a in normal((4, 5), (3, 5), *[(4, 5)] * len(state))], None

    def clip(F, *grads):
        grads = [a.copy() for a in grads]
        return F.clip_by_global_norm(grads, 0.5), grads

    yield "clip_by_global_norm", clip, normal((4, 5), (3,)), None


def recurrent():
    for cell, (gates, state) in bench.CELLS.items():
        yield from recurrent_cell(cell, gates, state)


def recurrent_cell(cell, gates, state):
    initial, final = normal(*[(3, 5)] * len(state)), normal(*[(3, 5)] * len(state))
    x, xs, dy, *weights = normal(
        (3, 2), (4, 3, 2), (4, 3, 5), (5 * gates, 2), (5 * gates, 5), (5 * gates,), (5 * gates,)
    )
    lengths = [4, 0, 2]

    def step(F, *arrays):
        *after, cache = getattr(F, f"{cell}_step_forward")(*arrays)
        return *after, getattr(F, f"{cell}_step_backward")(*(cast(d, after[0].dtype) for d in final), cache)

    def sequence(F, *arrays):
        y, *last, cache = getattr(F, f"{cell}_forward")(*arrays, lengths=lengths, reverse=True)
        return y, *last, getattr(F, f"{cell}_backward")(*(cast(d, y.dtype) for d in (dy, *final)), cache)

    def stream(F, *arrays):
        weights = dict(zip(("w_ih", "w_hh", "b_ih", "b_hh"), arrays[1:], strict=True))
        running = getattr(F, f"{cell}_stream")([weights], 3)
        return [running(x).copy() for x in arrays[0]], running.state

    def checked(run, weighed):
        def check(*arrays):
            *results, gradients = run(fastnn, *arrays)
            value = sum((d * result).sum() for d, result in zip(weighed, results, strict=True))
            return value, tuple(gradients.values())

        return check

    of_step, of_sequence = [x, *initial, *weights], [xs, *initial, *weights]
    yield f"{cell}_stream", stream, [xs, *weights], None
    check = checked(step, final), of_step
    yield f"{cell}_step", lambda F, *arrays: getattr(F, f"{cell}_step")(*arrays), of_step, None
    yield f"{cell}_step_forward", step, of_step, check
    yield f"{cell}_step_backward", step, of_step, check
    check = checked(sequence, (dy, *final)), of_sequence
    yield f"{cell}_forward", sequence, of_sequence, check
    yield f"{cell}_backward", sequence, of_sequence, check


def attention():
    operands = {"query": (4, 3, 5), "keys": (6, 3, 2), "values": (6, 3, 4), "w_query": (7, 5), "w_keys": (7, 2)}
    operands |= {"v": (7,), "bias": (7,)}
    *arrays, dcontext, dweights = normal(*operands.values(), (4, 3, 4), (4, 3, 6))

    def run(F, *arrays):
        given = dict(zip(operands, arrays, strict=True))
        *results, cache = F.attention_forward(**given, score="additive", lengths=[6, 0, 2])
        gradients = F.attention_backward(*(cast(d, results[0].dtype) for d in (dcontext, dweights)), cache)
        return *results, gradients

    def check(*arrays):
        context, weights, gradients = run(fastnn, *arrays)
        return (dcontext * context).sum() + (dweights * weights).sum(), tuple(gradients.values())

    yield "attention_forward", run, arrays, (check, arrays)
    yield "attention_backward", run, arrays, (check, arrays)


def embedding():
    weight, dy, indices = *normal((4, 3), (2, 5, 3)), np.array([[0, 1, 1, 3, 0], [3, 3, 0, 1, 1]])
    value = lambda F, weight: F.embedding_lookup(weight, indices)
    backward = lambda F, dy: F.embedding_lookup_backward(dy, indices, 4)
    check = lambda weight: ((dy * value(fastnn, weight)).sum(), backward(fastnn, dy)), [weight]
    (dbag, w) = normal((2, 3), (2, 5))
    bag = lambda F, weight, w: F.embedding_bag(weight, indices, mode="sum", per_sample_weights=w, padding_idx=1)
    keywords = {"mode": "sum", "padding_idx": 1}
    pull = lambda F, dbag, weight, w: F.embedding_bag_backward(dbag, weight, indices, per_sample_weights=w, **keywords)

    def check_bag(weight, w):
        gradients = pull(fastnn, dbag, weight, w)
        rows = fastnn.embedding_lookup_backward(gradients["rows"], indices, 4)
        return (dbag * bag(fastnn, weight, w)).sum(), (rows, gradients["per_sample_weights"])

    yield "embedding_bag", bag, [weight, w], (check_bag, [weight, w])
    yield "embedding_bag_backward", pull, [dbag, weight, w], (check_bag, [weight, w])
    rows = indices.reshape(-1)
    yield "coalesce", lambda F, values: F.coalesce(rows, values)[1], [dy.reshape(10, 3)], None
    yield "embedding_lookup", value, [weight], check
    yield "embedding_lookup_backward", backward, [dy], check


def normalization():
    x, dy, weight, bias = normal((6, 5), (6, 5), (5,), (5,))
    for name, parameters in (("layer_norm", (weight, bias)), ("rms_norm", (weight,)), ("batch_norm", (weight, bias))):
        forward = lambda F, *arrays, name=name: getattr(F, name)(*arrays)
        if name == "batch_norm":
            forward = lambda F, x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True)

        def run(F, *arrays, name=name, forward=forward):
            y, cache = forward(F, *arrays)
            return y, getattr(F, f"{name}_backward")(cast(dy, y.dtype), cache)

        def check(*arrays, run=run):
            y, gradients = run(fastnn, *arrays)
            return (dy * y).sum(), tuple(gradients.values())

        arrays = [x, *parameters]
        yield name, run, arrays, (check, arrays)
        yield f"{name}_backward", run, arrays, (check, arrays)


def convolution():
    weight, bias, x, image = normal((4, 2, 3), (4,), (2, 4, 8), (2, 4, 6, 5))
    options = {"stride": 2, "padding": 1, "groups": 2}
    yield from windowed("conv1d", [x, weight, bias], **options)
    yield from windowed("conv2d", [image, weight[..., None] * weight[:, :, None], bias], **options)
    for kind in ("max", "avg"):
        yield from windowed(f"{kind}_pool1d", [x], kernel_size=3, stride=2, padding=1)
        yield from windowed(f"{kind}_pool2d", [image], kernel_size=3, stride=2, padding=1)
    yield from windowed("max_over_time", [x], lengths=[8, 5])


def windowed(name, inputs, **options):
    """Yield the cases of a function, the same with a cache, and its gradient."""

    def training(F, *arrays):
        y, cache = getattr(F, f"{name}_forward")(*arrays, **options)
        return y, getattr(F, f"{name}_backward")(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape), cache)

    def check(*arrays):
        y, gradients = training(fastnn, *arrays)
        return (np.cos(np.arange(y.size)).reshape(y.shape) * y).sum(), tuple(gradients.values())

    yield name, lambda F, *arrays: getattr(F, name)(*arrays, **options), inputs, None
    yield f"{name}_forward", training, inputs, None
    yield f"{name}_backward", training, inputs, (check, inputs)


def regularization():
    rng = lambda: np.random.default_rng(1)
    x, dy = normal((6, 5), (6, 5))
    mask = dy > 0
    yield "dropout", lambda F, x: F.dropout(x, 0.5, rng()), [x], None
    check = lambda x: ((dy * np.where(mask, 2 * x, 0)).sum(), fastnn.dropout_backward(dy, mask, 0.5)), [x]
    yield "dropout_backward", lambda F, dy: F.dropout_backward(dy, mask, 0.5), [dy], check


def word2vec():
    weights, rng = np.array([1.0, 5, 0, 2]), lambda: np.random.default_rng(1)
    yield "alias_table", lambda F: F.alias_table(weights)[0].tolist(), [], None
    yield (
        "alias_sample",
        lambda F: F.alias_sample(*F.alias_table(weights), (3, 5), rng()).astype(float).tolist(),
        [],
        None,
    )
    tokens, ends = [0, 3, 1, 1, 0, 2, 1, 3], [5, 5, 8]
    keep = np.array([1, 0.5, 1, 1])
    windows = lambda F: [x.astype(float).tolist() for x in F.context_windows(tokens, ends, 2, rng(), keep=keep)]
    yield "context_windows", windows, [], None
    inputs, bounds, targets = [1, 2, 1, 3, 0, 2], [0, 3, 3, 6], [[0, 4, 0, 4], [1, 2, 3, 4], [3, 1, 2, 0]]
    tables = [np.tanh(x) for x in normal((4, 21), (5, 21))]
    for name in ("skipgram_step", "cbow_step"):

        def step(F, vectors, output, name=name):
            vectors, output = vectors.copy(), output.copy()
            return getattr(F, name)(vectors, output, inputs, bounds, targets, lr=0.5), vectors, output

        def check(vectors, output, name=name):  # one window alone moves against its gradient
            tables = vectors.copy(), output.copy()
            extra = {} if name == "skipgram_step" else {"mean": False}
            loss = getattr(fastnn, name)(*tables, inputs[:3], bounds[:2], targets[:1], lr=1.0, **extra)
            gain = vectors - tables[0], output - tables[1]
            return loss, (gain[0] * (1 if name == "skipgram_step" else 3), gain[1])

        yield name, step, tables, (check, tables)


FAMILY_CASES = (
    activations,
    losses,
    updates,
    recurrent,
    attention,
    embedding,
    convolution,
    normalization,
    regularization,
    word2vec,
)
CASES = [case for cases in FAMILY_CASES for case in cases()]
GRADIENTS = [(name, *check) for name, _, _, check in CASES if check]


def cast(x, dtype):
    return x.astype(dtype) if x.dtype == np.float64 else x


def flat(results):
    """List the arrays and numbers in a result."""
    if isinstance(results, dict):
        return [value for key in sorted(results) for value in flat(results[key])]
    return [value for each in results for value in flat(each)] if isinstance(results, (list, tuple)) else [results]


def test_every_name_has_a_case():
    assert sorted({case[0] for case in CASES}) == sorted(NAMES)
    assert {name for name in NAMES if name.endswith("_backward")} <= {name for name, *_ in GRADIENTS}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "value", "inputs"), [case[:3] for case in CASES], ids=[case[0] for case in CASES])
def test_values(isa, name, value, inputs, dtype):
    got, want = flat(value(fastnn, *(cast(x, dtype) for x in inputs))), flat(value(reference, *inputs))
    assert len(got) == len(want)
    for result, truth in zip(got, want, strict=True):
        tolerance = 64 * np.finfo(dtype).eps
        np.testing.assert_allclose(result, truth, rtol=tolerance, atol=tolerance)
        assert np.asarray(result).dtype in (dtype, bool) or isinstance(result, float)


@pytest.mark.parametrize(("name", "f", "inputs"), GRADIENTS, ids=[case[0] for case in GRADIENTS])
def test_gradients(isa, name, f, inputs):
    assert fastnn.gradcheck(f, *inputs).error < 1e-6
