"""What `fastnn bench` and benchmarks/ time, and how: each row once, as the statement that a user would write."""

import math
import os
import subprocess
import sys
import timeit
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn import reference, tuned_numpy
from fastnn._backend import functions
from fastnn._kernels import gemm

SIZES = {"float32": (16, 1000, 16_384, 1_000_000, 16_000_000), "float64": (16_384,)}
LARGE = 1_000_000  # elements from which on a row of activations is large
SHORT = (
    "activations/sigmoid/float32/16",
    "activations/sigmoid/float32/16384",
    "activations/tanh/float32/16384",
    "activations/gelu_tanh/float32/16384",
    "activations/softplus/float32/16384",
    "activations/silu_backward/float32/16384",
    "losses/softmax_cross_entropy/float32/32x10",
    "losses/softmax_cross_entropy/float32/32x1000",
    "updates/adam_update/float32/1000",
    "updates/adam_update/float32/1000000",
    "recurrent/rnn_step/float32/1x64x64",
    "recurrent/rnn_training/float32/35x20x200x200",
    "recurrent/rnn_training/float32/100x1x64x64",
    "embedding/embedding_lookup_backward/float32/100x64x1120",
    "convolution/conv2d/float32/64x1x28x28-16x3",
    "convolution/conv2d_training/float32/64x16x13x13-32x3",
    "convolution/max_pool2d_training/float32/64x16x26x26-2",
)
PRODUCT = 512  # the size of the square product that tells how many multiply-adds a second there are


class Row(NamedTuple):
    """A statement to time, and what it is timed on. In the statements F is fastnn or its NumPy twin."""

    family: str
    name: str
    dtype: str
    size: str
    statement: str
    results: str  # the variables to compare: those that the statement makes, and those that it writes into
    variables: Callable[[], dict]  # makes the statement's other variables, anew each time
    limit: str = ""  # a statement that moves the same memory and does nothing else; "" for products
    products: int = 0  # multiply-adds of a statement that is bound by them
    setup: str = ""  # a statement that comes before all, not timed
    large: bool = False  # takes long: left out where rows are only run, and timed a few times without the readable form

    def __str__(self):
        return "/".join(self[:4])

    def form(self, functions):
        """Return the statement and its variables, F being these functions."""
        variables = self.variables() | {"F": functions}
        exec(self.setup, variables)
        return self.statement, variables


def race(forms, seconds=0.3, rounds=7):
    """Return the least time of each form in seconds, all taking turns.

    `forms` maps a label to a statement and its variables. There are at least `rounds` turns, more while `seconds`
    have not passed; in each turn a statement is repeated until about half a millisecond is over.
    """
    timers = {label: timeit.Timer(statement, globals=variables) for label, (statement, variables) in forms.items()}
    repeats = {label: max(1, int(5e-4 / min(timer.repeat(3, 1)))) for label, timer in timers.items()}
    best = dict.fromkeys(timers, float("inf"))
    end = timeit.default_timer() + seconds
    while rounds > 0 or timeit.default_timer() < end:
        for label, timer in timers.items():
            best[label] = min(best[label], timer.timeit(repeats[label]) / repeats[label])
        rounds -= 1
    return best


def tuned_forms(row, suffix=""):
    """List the forms of a row in tuned NumPy, those of `<name><suffix>` in benchmarks/tuned_numpy.py."""
    prepare = getattr(tuned_numpy, row.name + suffix, None)
    if prepare is None:
        return []
    if row.family == "activations":
        prepare = tuned_numpy.blocks(prepare)
    made = [name for name in row.results.split(", ") if name not in row.variables()]
    statement = f"{', '.join(made)} = call()" if made else "call()"
    forms = []
    while True:  # each form gets variables of its own
        variables = row.variables()
        calls = prepare(*variables.values())
        calls = calls if isinstance(calls, tuple) else (calls,)
        if len(forms) == len(calls):
            return forms
        call = calls[len(forms)]
        forms.append((call if isinstance(call, str) else statement, variables | {"call": call, "np": np}))


def limit(row):
    """Return the form whose time, times the factor that is returned too, no implementation of the row can beat."""
    if not row.products:
        return (row.limit, row.variables() | {"np": np}), 1
    a, b, c = np.random.default_rng(0).standard_normal((3, PRODUCT, PRODUCT)).astype(row.dtype)
    matmul = gemm.matmul["float" if row.dtype == "float32" else "double"]  # it comes nearest to the peak
    return ("matmul(c, a, b)", {"matmul": matmul, "a": a, "b": b, "c": c}), row.products / PRODUCT**3


def rows(family):
    """List the rows of a family."""
    return list(ROWS[family]())


def _activations():
    names = functions.activations.__all__
    for name in (name for name in names if f"{name}_backward" in names):
        for dtype, sizes in SIZES.items():
            for n in sizes:
                yield from _activation(name, dtype, n)


def _activation(name, dtype, n):
    def draw(*keys):
        rng = np.random.default_rng(0)
        return {key: np.resize((3 * rng.standard_normal(min(n, LARGE))).astype(dtype), n) for key in keys}

    def draw_backward():
        v = draw("dy", "saved", "dx")
        if functions.saved_for(name) == "y":
            v["saved"] = getattr(functions, name)(v["saved"])
        return v

    large = n >= LARGE
    for f in (name, f"{name}_derivative") if n in (16, 16_384) else (name,):
        statement, copy = f"F.{f}(x, out=y)", "np.copyto(y, x)"
        yield Row("activations", f, dtype, str(n), statement, "y", lambda: draw("x", "y"), copy, large=large)
    f, copy = f"{name}_backward", "np.add(dy, saved, out=dx)"
    yield Row("activations", f, dtype, str(n), f"F.{f}(dy, saved, out=dx)", "dx", draw_backward, copy, large=large)


LOSS_SHAPES = ((32, 10), (128, 10), (32, 1000))
LARGE_LOSS_SHAPES = ((700, 10_000), (2048, 32_000))  # of softmax_cross_entropy alone
ELEMENT_LOSSES = {  # options, and targets made from normal numbers
    "sigmoid_cross_entropy": ({}, lambda t: (t > 0).astype(t.dtype)),
    "mse_loss": ({}, np.copy),
    "l1_loss": ({}, np.copy),
    "huber_loss": ({"delta": 0.5}, np.copy),
    "smooth_l1_loss": ({"beta": 0.5}, np.copy),
    "hinge_loss": ({}, np.sign),
    "kl_div": ({}, np.exp),
}


def _losses():
    dtype = "float32"
    for shape in LOSS_SHAPES + LARGE_LOSS_SHAPES:

        def draw(*keys, shape=shape):
            rng = np.random.default_rng(0)
            some = 3 * rng.standard_normal((len(keys), min(math.prod(shape), LARGE)), dtype)
            v = {key: np.resize(x, shape) for key, x in zip(keys, some, strict=True)}
            if "targets" in v:
                v["targets"] = rng.integers(0, shape[1], shape[0])
            if "mask" in v:
                v["mask"] = np.arange(shape[1]) < rng.integers(1, shape[1] + 1, (shape[0], 1))
                if "dy" in v:  # y is that of a softmax there
                    v["y"] *= v["mask"]
            if "lengths" in v:  # as many runs as there are rows, shorter and longer ones
                v |= {key: x.reshape(-1) for key, x in v.items() if key != "lengths"}
                t = np.linspace(0, 1, shape[0] + 1)
                v["lengths"] = np.diff((v[keys[0]].size * (t + t * t) / 2).round().astype(int))
            return v

        def row(name, arguments, results, keys, limit, shape=shape, draw=draw):
            made = f"{results} = " if "out" not in arguments or "," in results else ""
            size = "x".join(map(str, shape))
            statement, large = f"{made}F.{name}({arguments})", shape in LARGE_LOSS_SHAPES
            return Row("losses", name, dtype, size, statement, results, lambda: draw(*keys), limit, large=large)

        yield row(
            "softmax_cross_entropy",
            "logits, targets, grad_out=out",
            "loss, dlogits",
            ("logits", "targets", "out"),
            "np.copyto(out, logits)",
        )
        if shape in LARGE_LOSS_SHAPES:
            continue
        yield row("softmax", "x, out=y", "y", "xy", "np.copyto(y, x)")
        yield row("log_softmax", "x, out=y", "y", "xy", "np.copyto(y, x)")
        yield row("logsumexp", "x", "y", "x", "x.max()")
        yield row("softmax_backward", "dy, y", "dx", ("dy", "y"), "np.add(dy, y)")
        yield row("log_softmax_backward", "dy, y", "dx", ("dy", "y"), "np.add(dy, y)")
        yield row("masked_softmax", "x, mask, out=y", "y", ("x", "mask", "y"), "np.copyto(y, x)")
        yield row("masked_softmax_backward", "dy, y, mask", "dx", ("dy", "y", "mask"), "np.add(dy, y)")
        yield row("ragged_softmax", "x, lengths, out=y", "y", ("x", "lengths", "y"), "np.copyto(y, x)")
        yield row("ragged_softmax_backward", "dy, y, lengths", "dx", ("dy", "y", "lengths"), "np.add(dy, y)")
        yield row(
            "nll_loss",
            "logits, targets, grad_out=out",
            "loss, dlogits",
            ("logits", "targets", "out"),
            "out.fill(0)",
        )
    for name, (keywords, make) in ELEMENT_LOSSES.items():
        for n in (1000, 100_000):

            def draw(n=n, make=make):
                rng = np.random.default_rng(0)
                x, t, out = 3 * rng.standard_normal((3, n), dtype)
                return {"x": x, "t": make(t), "out": out}

            options = "".join(f", {key}={value}" for key, value in keywords.items())
            call = f"loss, dx = F.{name}(x, t{options}, grad_out=out)"
            yield Row("losses", name, dtype, str(n), call, "loss, dx", draw, "np.subtract(x, t, out)")


UPDATES = {
    "sgd_update": ("lr=0.01", ()),
    "momentum_update": ("lr=0.01", ("velocity",)),
    "adagrad_update": ("lr=0.01", ("sum_sq",)),
    "rmsprop_update": ("lr=0.01", ("square_avg",)),
    "adam_update": ("10, lr=1e-3", ("m", "v")),
}

SPARSE_UPDATES = {
    "sparse_sgd_update": ("lr=0.01", ()),
    "sparse_adagrad_update": ("lr=0.01", ("sum_sq",)),
    "sparse_adam_update": ("10, lr=1e-3", ("m", "v")),
}


def _updates():
    for name, (numbers, state) in UPDATES.items():
        for n in (1000, 100_000, 1_000_000, 16_000_000):

            def draw(n=n, state=state):
                rng = np.random.default_rng(0)
                keys = ("param", "grad", *state)
                return {key: np.resize(np.abs(rng.standard_normal(min(n, LARGE), "f")), n) for key in keys}

            # one addition in place reads two arrays and writes one; each further array is read and written
            limit = "; ".join(["np.add(param, grad, out=param)", *(f"np.negative({s}, out={s})" for s in state)])
            arrays = ", ".join(("param", "grad", *state))
            results = ", ".join(("param", *state))
            statement = f"F.{name}({arrays}, {numbers})"
            yield Row("updates", name, "float32", str(n), statement, results, draw, limit, large=n > LARGE)
    for name, (numbers, state) in SPARSE_UPDATES.items():

        def draw_rows(state=state):
            rng = np.random.default_rng(0)
            v = {key: np.abs(rng.standard_normal((100_000, 64), "f")) for key in ("param", *state)}
            gradient = {"rows": rng.integers(0, 100_000, 1024), "grad_rows": rng.standard_normal((1024, 64), "f")}
            return {"param": v.pop("param")} | gradient | v

        arrays = ", ".join(("param", "rows", "grad_rows", *state))
        results = ", ".join(("param", *state))
        limit = "; ".join(f"{x}[:1024] += grad_rows" for x in ("param", *state))
        statement = f"F.{name}({arrays}, {numbers})"
        yield Row("updates", name, "float32", "100000x64x1024", statement, results, draw_rows, limit)
    for shapes in (((32, 64), (32,), (10, 32), (10,)), ((512, 512), (512,)) * 3):

        def draw_list(shapes=shapes):
            rng = np.random.default_rng(0)
            v = {key: [np.abs(rng.standard_normal(shape, "f")) for shape in shapes] for key in ("p", "g", "m", "v")}
            return v | {f"p{i}": x for i, x in enumerate(v["p"])}

        size = f"{len(shapes)} of {sum(math.prod(shape) for shape in shapes)}"
        results = ", ".join(f"p{i}" for i in range(len(shapes)))
        limit = "; ".join(
            f"np.add(p{i}, g[{i}], out=p{i}); np.negative(m[{i}], out=m[{i}]); np.negative(v[{i}], out=v[{i}])"
            for i in range(len(shapes))
        )
        yield Row(
            "updates", "adam_update_list", "float32", size, "F.adam_update(p, g, m, v, 10)", results, draw_list, limit
        )

    def draw_gradients():
        return {"g": list(np.random.default_rng(0).standard_normal((4, 250_000), "f"))}

    yield Row(
        "updates",
        "clip_by_global_norm",
        "float32",
        "4 of 1000000",
        "norm = F.clip_by_global_norm(g, 1e9)",
        "norm",
        draw_gradients,
        "for x in g: x.max()",
    )


def _regularization():
    def draw(*keys):
        rng = np.random.default_rng(0)
        v = {key: rng.standard_normal(16_384, "f") for key in keys}
        return v | ({"rng": rng} if "x" in keys else {"mask": v["dy"] > 0})

    for name, call, results, keys in (
        ("dropout", "dropout(x, 0.5, rng)", "y, mask", "x"),
        ("dropout_backward", "dropout_backward(dy, mask, 0.5)", "dx", ("dy",)),
    ):
        limit = f"np.copyto({keys[0]}, {keys[0]})"
        statement = f"{results} = F.{call}"
        yield Row("regularization", name, "float32", "16384", statement, results, lambda keys=keys: draw(*keys), limit)


SEQUENCES = ((35, 20, 200, 200), (35, 32, 512, 512), (100, 64, 128, 128), (100, 1, 128, 128), (100, 1, 64, 64))
STEPS = ((1, 64, 64), (1, 128, 128), (32, 128, 128))


CELLS = {"rnn": (1, "h"), "lstm": (4, "hc"), "gru": (3, "h")}  # gates, arrays of the state


def _recurrent():
    for cell, (gates, state) in CELLS.items():
        arguments = ", ".join(["x", *state, "w_ih, w_hh, b_ih, b_hh"])
        final = "".join(f", {array}_n" for array in state)
        nones = ", None" * len(state)
        forward = f"y{final}, cache = F.{cell}_forward({arguments})"
        back = f"gradients = F.{cell}_backward(dy{nones}, cache)"
        for size in SEQUENCES:
            yield _recurrent_row(f"{cell}_forward", gates, state, size, forward, f"y{final}", 1)
            yield _recurrent_row(f"{cell}_training", gates, state, size, f"{forward}; {back}", "y, gradients", 3)
        rest = final.removeprefix(", h_n")
        forward = f"y{rest}, cache = F.{cell}_step_forward({arguments})"
        back = f"gradients = F.{cell}_step_backward(dy{nones.removeprefix(', None')}, cache)"
        step = f"y{rest} = F.{cell}_step({arguments})"
        weights = '{"w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh}'
        setup = f"stream = F.{cell}_stream([{weights}], len(x))"
        for size in STEPS:
            yield _recurrent_row(f"{cell}_stream", gates, state, size, "y = stream(x)", "y", 1, setup)
            yield _recurrent_row(f"{cell}_step", gates, state, size, step, f"y{rest}", 1)
            yield _recurrent_row(f"{cell}_step_training", gates, state, size, f"{forward}; {back}", "y, gradients", 3)


def _recurrent_row(name, gates, state, size, statement, results, passes, setup=""):
    *steps, batch, inputs, hidden = size
    shapes = {
        "x": (*steps, batch, inputs),
        **dict.fromkeys(state, (batch, hidden)),
        "w_ih": (gates * hidden, inputs),
        "w_hh": (gates * hidden, hidden),
        "b_ih": (gates * hidden,),
        "b_hh": (gates * hidden,),
        "dy": (*steps, batch, hidden),
    }

    def draw():
        rng = np.random.default_rng(0)
        v = {key: rng.standard_normal(shape, "f") for key, shape in shapes.items()}
        for key in ("w_ih", "w_hh", "b_ih", "b_hh"):
            v[key] /= hidden**0.5
        return v

    products = passes * gates * math.prod(size) * (inputs + hidden) // inputs
    size = "x".join(map(str, size))
    return Row("recurrent", name, "float32", size, statement, results, draw, products=products, setup=setup)


def _embedding():
    for vocabulary, width, n in ((100, 64, 1120), (10_000, 128, 700)):

        def draw(vocabulary=vocabulary, width=width, n=n):
            rng = np.random.default_rng(0)
            weight, dy, y = (rng.standard_normal((rows, width), "f") for rows in (vocabulary, n, n))
            return {"weight": weight, "dy": dy, "indices": rng.integers(0, vocabulary, n), "y": y}

        size = f"{vocabulary}x{width}x{n}"
        lookup = "rows = F.embedding_lookup(weight, indices)"
        yield Row("embedding", "embedding_lookup", "float32", size, lookup, "rows", draw, "np.copyto(y, dy)")
        back, limit = (
            f"grad = F.embedding_lookup_backward(dy, indices, {vocabulary})",
            "weight.fill(0); np.add(dy, y, y)",
        )
        yield Row("embedding", "embedding_lookup_backward", "float32", size, back, "grad", draw, limit)
        bags = n // 20
        bag, bag_limit = "F.embedding_bag(weight, indices.reshape(-1, 20), mode='sum')", "np.copyto(y, dy)"
        back = f"F.embedding_bag_backward(dy[:{bags}], weight, indices.reshape(-1, 20), mode='sum')['rows']"
        yield Row("embedding", "embedding_bag", "float32", f"{size}/20", f"y_bag = {bag}", "y_bag", draw, bag_limit)
        yield Row(
            "embedding", "embedding_bag_backward", "float32", f"{size}/20", f"rows = {back}", "rows", draw, bag_limit
        )
        copy, statement = "np.copyto(y, dy)", "rows, sums = F.coalesce(indices, dy)"
        yield Row("embedding", "coalesce", "float32", size, statement, "rows, sums", draw, copy)


ATTENTION_SHAPES = ((1, 64, 30, 256), (50, 64, 50, 64))  # queries, batch, length of the source, features


def _attention():
    for score in ("scaled_dot", "additive"):
        for shape in ATTENTION_SHAPES:
            yield from _attended(score, *shape)


def _attended(score, queries, batch, source, features):
    v = "v=v, " if score == "additive" else ""
    forward = f"context, weights, cache = F.attention_forward(query, keys, keys, {v}score={score!r})"
    back = "gradients = F.attention_backward(dcontext, None, cache)"

    def draw():
        rng = np.random.default_rng(0)
        shapes = (queries, batch, features), (source, batch, features), (queries, batch, features), (features,)
        query, keys, dcontext, v = (rng.standard_normal(shape, "f") for shape in shapes)
        return {"query": query, "keys": keys, "dcontext": dcontext, "v": v}

    # a tanh is counted as sixteen multiply-adds
    products = queries * batch * source * features * (16 if v else 1)
    size = "x".join(map(str, (queries, batch, source, features)))
    for name, statement, results, passes in (
        ("attention_forward", forward, "context, weights", 2),
        ("attention_training", f"{forward}; {back}", "context, gradients", 6),
    ):
        yield Row("attention", f"{name}_{score}", "float32", size, statement, results, draw, products=passes * products)


ROW_SHAPES = ((64, 64), (512, 768))
CHANNEL_SHAPES = ((128, 256), (32, 64, 14, 14))


def _normalization():
    for name, arguments, shapes in (
        ("layer_norm", "x, weight, bias", ROW_SHAPES),
        ("rms_norm", "x, weight", ROW_SHAPES),
        ("batch_norm", "x, None, None, weight, bias, training=True", CHANNEL_SHAPES),
        ("batch_norm_inference", "x, mean, var, weight, bias", CHANNEL_SHAPES),
    ):
        for shape in shapes:
            yield from _normalized(name, arguments, shape)


def _normalized(name, arguments, shape):
    features = shape[1]

    def draw():
        rng = np.random.default_rng(0)
        x, dy, y = rng.standard_normal((3, *shape), "f")
        weight, bias, mean = rng.standard_normal((3, features), "f")
        return {"x": x, "dy": dy, "y": y, "weight": weight, "bias": bias, "mean": mean, "var": np.square(bias)}

    def draw_backward():
        v = draw()
        exec(forward, {"F": functions}, v)
        return v

    size = "x".join(map(str, shape))
    f = name.removesuffix("_inference")
    forward = f"y, cache = F.{f}({arguments})"
    yield Row("normalization", name, "float32", size, forward, "y", draw, "np.copyto(y, x)")
    if f == name:
        back = f"gradients = F.{f}_backward(dy, cache)"
        limit = "np.add(dy, x, out=y)"
        yield Row("normalization", f"{name}_backward", "float32", size, back, "gradients", draw_backward, limit)


IMAGES = (((64, 1, 28, 28), 16, 3), ((64, 16, 13, 13), 32, 3), ((8, 64, 28, 28), 64, 3))
SENTENCES = (((32, 100, 50), 100, 5),)
POOLED = {1: ((64, 100, 50), 2), 2: ((64, 16, 26, 26), 2)}


def _convolution():
    for axes, layers in ((1, SENTENCES), (2, IMAGES)):
        for shape, filters, kernel in layers:
            size = f"{'x'.join(map(str, shape))}-{filters}x{kernel}"
            yield from _convolution_rows(f"conv{axes}d", size, shape, filters, kernel)
    for axes, (shape, kernel) in POOLED.items():
        size = f"{'x'.join(map(str, shape))}-{kernel}"
        out = *shape[:2], *(n // kernel for n in shape[2:])
        for kind in ("max", "avg"):
            yield from _pooling_rows(f"{kind}_pool{axes}d", size, shape, f"x, {kernel}", out)
    shape, _ = POOLED[1]
    yield from _pooling_rows("max_over_time", "x".join(map(str, shape)), shape, "x", shape[:2])


def _forward_and_training(name, arguments):
    """Return the two statements that are timed of a function, and what they result in."""
    both = f"y, cache = F.{name}_forward({arguments}); gradients = F.{name}_backward(dy, cache)"
    return (name, f"y = F.{name}({arguments})", "y"), (f"{name}_training", both, "y, gradients")


def _convolution_rows(name, size, shape, filters, kernel):
    batch, channels, *inside = shape
    out = [n - kernel + 1 for n in inside]
    taps = channels * kernel ** len(inside)

    def draw():
        rng = np.random.default_rng(0)
        v = {"x": shape, "weight": (filters, channels, *[kernel] * len(inside)), "bias": (filters,)}
        v = {key: rng.standard_normal(s, "f") for key, s in (v | {"dy": (batch, filters, *out)}).items()}
        return v | {"weight": v["weight"] / taps**0.5}

    products = batch * filters * math.prod(out) * taps
    for n, (title, statement, results) in enumerate(_forward_and_training(name, "x, weight, bias")):
        times = (1 + 2 * n) * products
        yield Row("convolution", title, "float32", size, statement, results, draw, products=times)


def _pooling_rows(name, size, shape, arguments, out):
    def draw():
        rng = np.random.default_rng(0)
        return {key: rng.standard_normal(s, "f") for key, s in (("x", shape), ("dy", out), ("room", shape))}

    forward, training = _forward_and_training(name, arguments)
    yield Row("convolution", *forward[:1], "float32", size, *forward[1:], draw, "x.max()")
    yield Row("convolution", *training[:1], "float32", size, *training[1:], draw, "x.max(); room.fill(0)")


WORDS = 10_000  # of a vocabulary whose counts fall as 1 / rank


def _word2vec():
    def draw():
        rng = np.random.default_rng(0)
        weights = 1 / np.arange(1.0, WORDS + 1)
        threshold, alias = functions.alias_table(weights)
        tokens = functions.alias_sample(threshold, alias, 2000, rng)
        ends, copy = np.arange(10, 2001, 10), np.empty((2000, 5), np.int32)
        return {"weights": weights, "threshold": threshold, "alias": alias, "tokens": tokens, "ends": ends,
                "room": copy, "rng": rng}  # fmt: skip

    table, sample = (
        "threshold, alias = F.alias_table(weights)",
        "draws = F.alias_sample(threshold, alias, (2000, 5), rng)",
    )
    windows = "centres, contexts, bounds = F.context_windows(tokens, ends, 5, rng)"
    found = "centres, contexts, bounds"
    yield Row("word2vec", "alias_table", "float64", str(WORDS), table, "threshold, alias", draw, "weights.copy()")
    yield Row("word2vec", "alias_sample", "float64", "2000x5", sample, "draws", draw, "room.copy()")
    yield Row("word2vec", "context_windows", "float64", "2000x5", windows, found, draw, "tokens.copy()")
    for name in ("skipgram_step", "cbow_step"):
        for dim in (100, 300):
            yield _trained_windows(name, dim)


def _trained_windows(name, dim, windows=500, negative=5):
    def draw():
        rng = np.random.default_rng(0)
        table = functions.alias_table(1 / np.arange(1.0, WORDS + 1) ** 0.75)
        tokens = functions.alias_sample(*table, windows, rng)
        centres, inputs, bounds = functions.context_windows(tokens, [windows], 5, rng)
        negatives = functions.alias_sample(*table, (windows, negative), rng)
        vectors, output = rng.uniform(-0.1, 0.1, (2, WORDS, dim)).astype("f")
        targets = np.concatenate([centres[:, None], negatives], axis=1)
        return {"vectors": vectors, "output": output, "inputs": inputs, "bounds": bounds, "targets": targets}

    statement = f"loss = F.{name}(vectors, output, inputs, bounds, targets, lr=0.01)"
    rows = len(draw()["inputs"]) if name == "skipgram_step" else windows
    size = f"{windows}x{negative}x{dim}"
    products = 3 * rows * (1 + negative) * dim
    return Row("word2vec", name, "float32", size, statement, "loss, vectors, output", draw, products=products)


ROWS = {  # by family
    "activations": _activations,
    "losses": _losses,
    "updates": _updates,
    "recurrent": _recurrent,
    "attention": _attention,
    "embedding": _embedding,
    "normalization": _normalization,
    "convolution": _convolution,
    "regularization": _regularization,
    "word2vec": _word2vec,
}


@np.errstate(all="ignore")  # tuned forms may overflow on the way to a right result
def table():
    """Print how long the rows of SHORT take on this machine."""
    print("One thread, the least time of many, in microseconds. tuned: NumPy without temporaries; readable: the twin,")
    print("fastnn.reference; times: tuned over fastnn; limit: the share of it that moving the memory, or the")
    print("multiply-adds, would take alone.")
    print(f"{'':56}{'fastnn':>10}{'tuned':>10}{'readable':>10}{'times':>8}{'limit':>8}")
    chosen = {str(row): row for family in ROWS for row in rows(family) if str(row) in SHORT}
    for name in SHORT:
        row = chosen[name]
        limiting, factor = limit(row)
        forms = {
            "fastnn": row.form(functions),
            "readable": row.form(reference),
            "limit": limiting,
            **dict(enumerate(tuned_forms(row))),
        }
        times = race(forms)
        fast, readable, least = times.pop("fastnn"), times.pop("readable"), factor * times.pop("limit")
        tuned = min(times.values())
        columns = "".join(f"{1e6 * value:10.2f}" for value in (fast, tuned, readable))
        print(f"{name:56}{columns}{tuned / fast:8.1f}{least / fast:8.0%}", flush=True)


def main():
    """Print the table from a process where BLAS has one thread, which it must be told before NumPy loads."""
    one = dict.fromkeys(("FASTNN_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", "from fastnn import bench; bench.table()"]
    return subprocess.run(command, env=os.environ | one).returncode


if __name__ == "__main__":
    sys.exit(main())
