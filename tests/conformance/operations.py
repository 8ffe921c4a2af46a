"""What fastnn and PyTorch both compute, told once: for the frozen vectors, the tests and the live comparison.

A row of `OPERATIONS` says what goes in, what fastnn makes of it, what PyTorch makes of it, and the options to cross.
"""

import itertools
import math
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

import fastnn
from fastnn import nn, optim

# What fastnn does otherwise on purpose; no case runs into it.
DIFFERENCES = {
    "Cross entropy, mean, no target counts": "loss and gradient are 0 (PyTorch: NaN)",
    "Cross entropy, probability targets and an ignore_index": "ValueError (PyTorch: only for an index of at least 0)",
    "Hardsigmoid, gradient in float64": "dy / 6 (PyTorch: times 1 / 6 rounded to float32, wrong by 3e-8)",
    "Recurrent layers, a length of 0": "the final state is the initial one (PyTorch: an error)",
    "clip_grad_norm": "scales by max_norm / norm (PyTorch: by max_norm / (norm + 1e-6))",
}


class Operation(NamedTuple):
    family: str
    name: str
    inputs: Callable  # (draw, options) -> arrays by name
    ours: Callable  # (arrays, options) -> results by name, and the function from their gradients to those of inputs
    theirs: Callable  # (torch, tensors, options) -> results by name
    grid: dict  # the values of each option: their product is frozen
    live: dict | None = None  # options with other values in the live comparison
    where: Callable = lambda o: True  # the combinations that exist
    constant: tuple = ()  # the inputs that get no gradient, besides integers
    graded: bool = True  # whether there are gradients
    weighed: bool = True  # whether gradients are those of a weighted sum of the results, or of the plain one

    def cases(self, live=False):
        """Yield (id, options) for every combination."""
        grid = self.grid | (self.live or {} if live else {})
        for values in itertools.product(*grid.values()):
            options = SimpleNamespace(**dict(zip(grid, values, strict=True)))
            if self.where(options):
                shown = [f"{name}={value}" for name, value in vars(options).items() if len(grid[name]) > 1]
                yield f"{self.name}({', '.join(shown)})", options


class Draw:
    """Numbers made of a generator's raw bits, which are the same in all versions of NumPy."""

    def __init__(self, seed):
        self._bits = np.random.PCG64(zlib.crc32(seed.encode()))

    def __call__(self, *shape):
        """Return numbers from -2 to below 2, all exact in float32."""
        raw = self._bits.random_raw(math.prod(shape)) >> np.uint64(40)
        return raw.reshape(shape) / 2.0**22 - 2

    def below(self, n, *shape):
        """Return integers from 0 to n - 1."""
        return (self._bits.random_raw(math.prod(shape)) % np.uint64(n)).astype(np.int64).reshape(shape)


SWITCH = [False, True]


# --- both sides of a case --------------------------------------------------------------------------------------------
def cotangents(operation, seed, results):
    """Return gradients of the results, to pull back."""
    draw = lambda name, shape: Draw(f"{seed} {name}")(*shape) if operation.weighed else np.ones(shape)
    return {name: draw(name, np.shape(y)) for name, y in results.items()}


def ours(operation, seed, options, dtype):
    """Return the results and gradients by name, as fastnn computes them in this dtype."""
    cast = lambda arrays: {n: x.astype(dtype) if x.dtype == np.float64 else x for n, x in arrays.items()}
    results, back = operation.ours(cast(operation.inputs(Draw(seed), options)), options)
    gradients = back(cast(cotangents(operation, seed, results))) if back else {}
    return results | {f"d{name}": gradient for name, gradient in gradients.items()}


def theirs(torch, operation, seed, options):
    """Return the same as PyTorch computes it, in float64."""
    tensors = {name: torch.tensor(x) for name, x in operation.inputs(Draw(seed), options).items()}
    graded = operation.graded
    varied = {n: x for n, x in tensors.items() if graded and x.is_floating_point() and n not in operation.constant}
    for x in varied.values():
        x.requires_grad_()
    results = operation.theirs(torch, tensors, options)
    values = {name: y.detach().numpy() for name, y in results.items()}
    if varied:
        dresults = cotangents(operation, seed, values)
        total = sum((y * torch.tensor(dresults[name])).sum() for name, y in results.items())
        gradients = torch.autograd.grad(total, list(varied.values()), materialize_grads=True)
        values |= {f"d{name}": gradient.numpy() for name, gradient in zip(varied, gradients, strict=True)}
    return values


# --- activations -----------------------------------------------------------------------------------------------------
KINKS = np.array([-3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0])


def activation(name, there=None, **parameters):
    """An elementwise function, scaled to several ranges, and where some have kinks."""

    def inputs(draw, o):
        return {"x": KINKS.copy() if o.at == "kinks" else draw(3, 4) * o.at}

    def run(a, o):
        options = {key: getattr(o, key) for key in parameters}
        y = getattr(fastnn, name)(a["x"], **options)
        saved = a["x"] if fastnn.saved_for(name) == "x" else y
        slope = getattr(fastnn, f"{name}_derivative")(a["x"], **options)
        back = lambda d: {"x": getattr(fastnn, f"{name}_backward")(d["y"], saved, **options)}
        return {"y": y, "slope": slope}, back

    def theirs(torch, a, o):
        options = {key: getattr(o, key) for key in parameters}
        F, x = torch.nn.functional, a["x"]
        y = there(F, x) if there else getattr(F, name)(x, **options)
        return {"y": y, "slope": torch.autograd.grad(y.sum(), x, retain_graph=True)[0]}

    grid = {"at": [0.5, 4, "kinks"], **parameters}
    return Operation("activations", name, inputs, run, theirs, grid, live={"at": [0.001, 1, 2, 4, "kinks"]})


def activations():
    for name in ("sigmoid", "tanh", "relu", "softplus", "softsign", "selu", "gelu", "silu", "mish", "hardswish"):
        yield activation(name)
    yield activation("log_sigmoid", lambda F, x: F.logsigmoid(x))
    yield activation("gelu_tanh", lambda F, x: F.gelu(x, approximate="tanh"))
    yield activation("hardsigmoid", lambda F, x: F.relu6(x + 3) / 6)
    yield activation("hardtanh", min_val=[-1.0, -0.5], max_val=[1.0, 6.0])
    yield activation("leaky_relu", negative_slope=[0.01, 0.25, 0.0, -1.0])
    yield activation("elu", alpha=[1.0, 0.5, 2.0])


# --- losses ----------------------------------------------------------------------------------------------------------
ROWS = {"shape": [(4,), (3, 5), (2, 3, 4)], "axis": [-1, 0]}
MORE_ROWS = {"shape": [(1,), (40,), (7, 1), (3, 40), (2, 3, 4, 5)]}


def rows(name):
    def run(a, o):
        y = getattr(fastnn, name)(a["x"], o.axis)
        return {"y": y}, lambda d: {"x": getattr(fastnn, f"{name}_backward")(d["y"], y, o.axis)}

    theirs = lambda torch, a, o: {"y": getattr(torch, name)(a["x"], o.axis)}
    return Operation("losses", name, lambda draw, o: {"x": 3 * draw(*o.shape)}, run, theirs, ROWS, MORE_ROWS)


def logsumexp():
    def run(a, o):
        expanded = lambda y: y if o.keepdims else np.expand_dims(y, o.axis)
        y = fastnn.logsumexp(a["x"], o.axis, o.keepdims)
        return {"y": y}, lambda d: {"x": expanded(d["y"]) * fastnn.softmax(a["x"], o.axis)}

    theirs = lambda torch, a, o: {"y": torch.logsumexp(a["x"], o.axis, o.keepdims)}
    grid = ROWS | {"keepdims": SWITCH}
    return Operation("losses", "logsumexp", lambda draw, o: {"x": 3 * draw(*o.shape)}, run, theirs, grid, MORE_ROWS)


def parts(name, number, of, there):
    """A softmax of parts of the rows, which `of` makes of the length of the axis, in their words `there`."""

    def inputs(draw, o):
        return {"x": 3 * draw(*o.shape), "part": of(draw, o.shape[o.axis], o)}

    def run(a, o):
        y = getattr(fastnn, name)(a["x"], a["part"], o.axis)
        return {"y": y}, lambda d: {"x": getattr(fastnn, f"{name}_backward")(d["y"], y, a["part"], o.axis)}

    theirs = lambda torch, a, o: {"y": there(torch, a["x"], a["part"], o.axis)}
    return Operation("losses", name, inputs, run, theirs, ROWS | number, MORE_ROWS)


def of_parts():
    """PyTorch's own softmax of what may be wholly masked is the one in its attention."""
    masks = lambda draw, n, o: draw(*o.shape[-o.axes :]) > (-0.5 if o.axes else 0)
    masked = lambda torch, x, mask, axis: torch.ops.aten._safe_softmax(torch.where(mask, x, -torch.inf), axis)
    yield parts("masked_softmax", {"axes": [0, 1]}, masks, masked)
    cut = lambda draw, n, o: np.diff(np.sort(draw.below(n + 1, o.cuts)), prepend=0, append=n)
    ragged = lambda torch, x, n, axis: torch.cat([run.softmax(axis) for run in x.split(n.tolist(), axis)], axis)
    yield parts("ragged_softmax", {"cuts": [0, 1, 4]}, cut, ragged)


def of_classes(name, there, first, **grid):
    """A loss of one row of numbers a target; PyTorch has the classes on axis 1, or the only one."""
    class_axis = lambda o: o.axis % len(o.shape) if len(o.shape) > 1 else 0
    passed = ["reduction", *grid.keys() & {"label_smoothing"}]

    def inputs(draw, o):
        axis = class_axis(o)
        classes, rows = o.shape[axis], o.shape[:axis] + o.shape[axis + 1 :]
        a = {first: 3 * draw(*o.shape) - 6 * (first == "log_probabilities")}
        if o.targets == "probabilities":
            chances = draw(*o.shape) + 2
            a["targets"] = chances / chances.sum(axis, keepdims=True)
        else:
            index = a["targets"] = draw.below(classes, *rows)
            if o.ignore_index is not None:
                index[(draw(*rows) > 1) | (o.targets == "all ignored")] = o.ignore_index
            if o.targets == "indices" and index.size and o.ignore_index != classes - 1:
                index.flat[0] = classes - 1  # one counts
        if o.weight:
            a["weight"] = draw(classes) + 2
            a["weight"][0] *= o.weight == "positive"
        return a

    def run(a, o):
        options = {key: getattr(o, key) for key in ("ignore_index", *passed)}
        loss, gradient = getattr(fastnn, name)(**a, axis=class_axis(o), **options)
        return {"loss": loss}, lambda d: {first: gradient}

    def theirs(torch, a, o):
        options = {key: getattr(o, key) for key in passed}
        ignore_index = -100 if o.ignore_index is None else o.ignore_index
        move = lambda x: x.movedim(class_axis(o), min(1, x.ndim - 1)).contiguous()
        targets = move(a["targets"]) if o.targets == "probabilities" else a["targets"]
        f = getattr(torch.nn.functional, there)
        return {"loss": f(move(a[first]), targets, a.get("weight"), ignore_index=ignore_index, **options)}

    def where(o):
        if o.ignore_index is None:
            return o.targets != "all ignored" and (0 not in o.shape or o.reduction != "mean")
        counts = o.targets == "indices" and 0 not in o.shape and o.ignore_index != o.shape[class_axis(o)] - 1
        return o.targets != "probabilities" and (counts or o.reduction != "mean")

    grid = {
        "shape": [(5,), (4, 5), (2, 5, 3), (2, 4, 2, 3)],
        "axis": [1],
        "weight": [None, "positive", "with a zero"],
        "ignore_index": [None, 1, -100],
        "reduction": ["mean", "sum", "none"],
        **grid,
    }
    live = {
        "shape": [(5,), (0, 5), (4, 5), (40, 70), (2, 5, 3), (2, 4, 2, 3), (2, 3, 2, 3, 2)],
        "axis": [1, -1],
        "ignore_index": [None, 0, 1, -1, -100, 1000],
    }
    constant = ("targets", "weight")
    return Operation("losses", name, inputs, run, theirs, grid, live, where, constant, weighed=False)


def of_pairs(name, inputs, there=None, **grid):
    """A loss of one number a target; PyTorch's has the same name and arguments, or is made of its functions."""
    options = [key for key in grid if key not in ("weight", "pos_weight")]

    def given(draw, o):
        a = inputs(draw, o)
        if getattr(o, "weight", False):
            a["weight"] = draw(*o.shape) + 2
        if getattr(o, "pos_weight", False):
            a["pos_weight"] = draw(*o.shape[-1:]) + 2
        return a

    def run(a, o):
        loss, gradient = getattr(fastnn, name)(**a, **{key: getattr(o, key) for key in options})
        return {"loss": loss}, lambda d: {next(iter(a)): gradient}

    def theirs(torch, a, o):
        F, (prediction, target, *_) = torch.nn.functional, a.values()
        arguments = {key: a[key] for key in ("weight", "pos_weight") if key in a}
        arguments |= {key: getattr(o, key) for key in options}
        if there:
            return {"loss": there(F, prediction, target, **arguments)}
        return {"loss": getattr(F, name)(prediction, target, **arguments)}

    grid = {"shape": [(), (4,), (3, 4), (2, 3, 2)], **grid}
    live = {"shape": [(), (1,), (300,), (3, 4), (2, 3, 2, 2)]}
    constant = ("target", "targets", "weight", "pos_weight")
    return Operation("losses", name, given, run, theirs, grid, live, constant=constant, weighed=False)


def losses():
    yield rows("softmax")
    yield rows("log_softmax")
    yield logsumexp()
    yield from of_parts()
    targets = ["indices", "probabilities", "all ignored"]
    smoothing = {"label_smoothing": [0.0, 0.1, 1.0]}
    yield of_classes("softmax_cross_entropy", "cross_entropy", "logits", targets=targets, **smoothing)
    yield of_classes("nll_loss", "nll_loss", "log_probabilities", targets=["indices", "all ignored"])

    reduction = {"reduction": ["mean", "sum", "none"]}
    pair = lambda draw, o: {"prediction": draw(*o.shape), "target": draw(*o.shape)}
    yield of_pairs("mse_loss", pair, **reduction)
    yield of_pairs("l1_loss", pair, **reduction)
    yield of_pairs("huber_loss", pair, delta=[1.0, 0.3, 5.0], **reduction)
    yield of_pairs("smooth_l1_loss", pair, beta=[1.0, 0.3, 5.0, 0.0], **reduction)

    def hinge(F, prediction, target, reduction):
        losses = F.relu(1 - target * prediction)
        return losses if reduction == "none" else getattr(losses, reduction)()

    signs = lambda draw, o: pair(draw, o) | {"target": np.sign(draw(*o.shape))}
    yield of_pairs("hinge_loss", signs, hinge, **reduction)
    probabilities = lambda draw, o: {"logits": 3 * draw(*o.shape), "targets": draw(*o.shape) / 4 + 0.5}
    entropy = lambda F, *a, **o: F.binary_cross_entropy_with_logits(*a, **o)
    yield of_pairs("sigmoid_cross_entropy", probabilities, entropy, weight=SWITCH, pos_weight=SWITCH, **reduction)

    def with_zeros(draw, o):
        a = {"log_probabilities": draw(*o.shape) - 2, "targets": draw(*o.shape)}
        return a if o.log_target else a | {"targets": np.maximum(a["targets"], 0)}

    reduction = {"reduction": ["mean", "sum", "none", "batchmean"]}
    yield of_pairs("kl_div", with_zeros, log_target=SWITCH, **reduction)


# --- layers ----------------------------------------------------------------------------------------------------------
CALL = {"shape", "training", "offsets", "weighted", "state", "lengths"}  # options of a call, not of the layer


def made(room, name, sizes, o):
    """Return a layer of fastnn.nn or torch.nn."""
    return getattr(room, name)(*sizes, **{key: value for key, value in vars(o).items() if key not in CALL})


def weights(draw, name, sizes, o):
    """Return parameters and buffers for a layer, with the names and shapes of fastnn's; PyTorch takes no others."""
    state = {}
    for key, value in made(nn, name, sizes, o).state_dict().items():
        state[key] = draw(*value.shape) / 4 if value.dtype.kind == "f" else draw.below(9, *value.shape)
        state[key] += key == "running_var"
    return state


def loaded(a, name, sizes, o):
    """Return fastnn's layer with the weights of a case, in their dtype."""
    layer = made(nn, name, sizes, o)
    state = {key: a[key] for key in layer.state_dict()}
    dtypes = {value.dtype for value in state.values() if value.dtype.kind == "f"}
    layer = layer.astype(*dtypes) if dtypes else layer
    layer.load_state_dict(state)
    return layer


def gradients(layer):
    return {name: parameter.grad for name, parameter in layer.named_parameters()}


def applied(torch, a, name, sizes, o, arguments):
    """Return what PyTorch's layer makes of arguments; its state is in the tensors of the case, which it may write."""
    layer = made(torch.nn, name, sizes, o).train(getattr(o, "training", True))
    state = {key: a[key] for key in layer.state_dict()}
    return torch.func.functional_call(layer, state, arguments, strict=True)


def layer(family, name, sizes, x, buffers=(), **more):
    """A layer that takes one array and returns one; its buffers are results too."""

    def inputs(draw, o):
        return {"x": x(draw, o), **weights(draw, name, sizes, o)}

    def run(a, o):
        layer = loaded(a, name, sizes, o)
        y, back = layer.vjp(a["x"], training=getattr(o, "training", True))

        def pull(d):
            dx = back(d["y"])
            return ({} if dx is None else {"x": dx}) | gradients(layer)

        state = layer.state_dict()
        return {"y": y} | {f"{key}_after": state[key] for key in buffers if key in state}, pull

    def theirs(torch, a, o):
        y = applied(torch, a, name, sizes, o, (a["x"],))
        return {"y": y} | {f"{key}_after": a[key] for key in buffers if key in a}

    return Operation(family, name, inputs, run, theirs, constant=buffers, **more)


def shaped(draw, o):
    return draw(*o.shape)


def layers():
    grid = {"shape": [(3,), (4, 3), (2, 4, 3), (0, 3)], "bias": SWITCH}
    yield layer("linear", "Linear", (3, 5), shaped, grid=grid)
    grid = {"shape": [(), (4,), (2, 3), (0,)], "padding_idx": [None, 0, -1]}
    yield layer("embedding", "Embedding", (5, 3), lambda draw, o: draw.below(5, *o.shape), grid=grid)
    yield bags()
    grid = {"shape": [(3, 4)], "p": [0.0, 1.0], "training": SWITCH}
    yield layer("regularization", "Dropout", (), shaped, grid=grid)
    grid = {"shape": [(2, 3, 4, 2), (2, 0, 3, 1)], "start_dim": [0, 1, -3], "end_dim": [-1, 1, 2]}
    yield layer("convolution", "Flatten", (), shaped, grid=grid)


def over_time(name, x, there, **grid):
    """A layer that makes one row of each sequence; in PyTorch it is made of the steps that count."""

    def run(a, o):
        options = {key: getattr(o, key) for key in grid}
        y, back = getattr(nn, name)(**options).vjp(a["x"], LENGTHS if o.lengths else None)
        return {"y": y}, lambda d: {"x": back(d["y"])}

    def theirs(torch, a, o):
        rows = a["x"].movedim(1, 0) if getattr(o, "batch_first", True) is False else a["x"]
        rows = rows.mT if name == "MaxOverTime" else rows
        lengths = LENGTHS if o.lengths else [rows.shape[1]] * len(rows)
        return {"y": torch.stack([there(row[:n], o) for row, n in zip(rows, lengths, strict=True)])}

    return Operation("recurrent", name, x, run, theirs, grid | {"lengths": SWITCH})


def pools():
    def pool(steps, o):
        return {"last": lambda: steps[-1], "mean": lambda: steps.mean(0), "max": lambda: steps.amax(0)}[o.how]()

    sequences = lambda draw, o: {"x": draw(3, 4, 2) if o.batch_first else draw(4, 3, 2)}
    yield over_time("Pool", sequences, pool, how=["last", "mean", "max"], batch_first=SWITCH)
    yield over_time("MaxOverTime", lambda draw, o: {"x": draw(3, 2, 4)}, lambda steps, o: steps.amax(0))


def bags():
    """Bags are the rows of a matrix, or parts of a list, of which one is empty."""
    name, sizes = "EmbeddingBag", (5, 3)

    def inputs(draw, o):
        a = {"x": draw.below(5, 7) if o.offsets else draw.below(5, 3, 4)}
        if o.offsets:
            a["offsets"] = np.array([0, 3, 3] + [7] * o.include_last_offset)
        if o.weighted:
            a["per_sample_weights"] = draw(*a["x"].shape)
        return a | weights(draw, name, sizes, o)

    def run(a, o):
        layer = loaded(a, name, sizes, o)
        y, back = layer.vjp(*(a.get(key) for key in ("x", "offsets", "per_sample_weights")))

        def pull(d):
            dweights = back(d["y"])
            return ({"per_sample_weights": dweights} if o.weighted else {}) | gradients(layer)

        return {"y": y}, pull

    def theirs(torch, a, o):
        arguments = tuple(a.get(key) for key in ("x", "offsets", "per_sample_weights"))
        return {"y": applied(torch, a, name, sizes, o, arguments)}

    grid = {"mode": ["mean", "sum"], "padding_idx": [None, 1, -1]}
    grid |= dict.fromkeys(("offsets", "include_last_offset", "weighted"), SWITCH)
    where = lambda o: (o.mode == "sum" or not o.weighted) and (o.offsets or not o.include_last_offset)
    return Operation("embedding", name, inputs, run, theirs, grid, where=where)


# --- normalization ---------------------------------------------------------------------------------------------------
def normalization():
    rows = lambda draw, o: draw(*o.shape, *o.normalized_shape)
    grid = {
        "shape": [(), (4,), (2, 3)],
        "normalized_shape": [(5,), (2, 3)],
        "eps": [1e-5, 0.1],
        "elementwise_affine": SWITCH,
    }
    live = {"shape": [(), (1,), (4,), (2, 3), (0,)], "normalized_shape": [(3,), (5,), (300,), (2, 3)]}
    yield layer("normalization", "LayerNorm", (), rows, grid=grid | {"bias": SWITCH}, live=live)
    yield layer("normalization", "RMSNorm", (), rows, grid=grid | {"eps": [None, 1e-5, 0.1]}, live=live)
    options = {
        "training": SWITCH,
        "eps": [1e-5, 0.1],
        "momentum": [0.1, None],
        "affine": SWITCH,
        "track_running_stats": SWITCH,
    }
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    for name, shapes in {"BatchNorm1d": [(4, 3), (2, 3, 5)], "BatchNorm2d": [(2, 3, 2, 4)]}.items():
        live = {"shape": [*shapes, (200, 3, *shapes[0][2:])]}
        grid = {"shape": shapes} | options
        yield layer("normalization", name, (3,), shaped, buffers, grid=grid, live=live)


# --- convolution -----------------------------------------------------------------------------------------------------
def convolution():
    ties = lambda draw, o: np.floor(draw(*o.shape))
    for axes, shape, pair in (1, (2, 4, 9), (2,)), (2, (2, 2, 5, 6), (2, 3)):
        larger, tight = (3, shape[1], *(12,) * axes), (1, 2, *(3,) * axes)
        grid = {"stride": [1, 2, pair], "padding": [0, 1], "dilation": [1, 2], "groups": [1, 2], "bias": SWITCH}
        grid = {"shape": [shape], "kernel_size": [3, pair]} | grid
        live = {"shape": [shape, larger], "kernel_size": [1, 3, pair], "padding": [0, 1, 2, pair, "valid", "same"]}
        same = lambda o: o.padding != "same" or o.stride == 1
        yield layer("convolution", f"Conv{axes}d", (shape[1], 4), shaped, grid=grid, live=live, where=same)
        grid = {"shape": [shape, tight], "kernel_size": [2, 3, pair], "stride": [None, 1, 2], "padding": [0, 1]}
        grid |= {"ceil_mode": SWITCH}
        live = {"shape": [shape, tight, larger], "stride": [None, 1, 2, 3, pair]}
        dilated = grid | {"dilation": [1, 2]}
        fits = lambda o: o.padding or o.dilation == 1 or o.kernel_size == 2 or o.shape[2] > 4
        yield layer("convolution", f"MaxPool{axes}d", (), ties, grid=dilated, live=live, where=fits)
        averaged = grid | {"count_include_pad": SWITCH}
        yield layer("convolution", f"AvgPool{axes}d", (), shaped, grid=averaged, live=live)


# --- attention -------------------------------------------------------------------------------------------------------
def attention():
    """PyTorch has the function for scaled products alone, and without the weights: the others are written out."""
    lengths = np.array([2, 4, 1])

    def options(o):
        sizes = {"query_size": 5, "key_size": 6}
        own = {"general": sizes, "additive": {**sizes, "hidden_size": 3, "bias": o.bias}}.get(o.score, {})
        return SimpleNamespace(score=o.score, **own)

    def inputs(draw, o):
        a = {"query": (draw(3, 5) if o.one_step else draw(2, 3, 5)) / 2}
        a["keys"] = draw(4, 3, 6 if o.score in ("general", "additive") else 5)
        if o.values:
            a["values"] = draw(4, 3, 2)
        return a | weights(draw, "Attention", (), options(o))

    def run(a, o):
        layer = loaded(a, "Attention", (), options(o))
        arrays = [a[key] for key in ("query", "keys", "values") if key in a]
        (context, weights), back = layer.vjp(*arrays, lengths=lengths if o.lengths else None)
        pull = lambda d: dict(zip(a, back(*d.values())[: len(arrays)], strict=False)) | gradients(layer)
        return {"context": context, "weights": weights}, pull

    def theirs(torch, a, o):
        q, k, v = (x.movedim(-2, 0) for x in (a["query"], a["keys"], a.get("values", a["keys"])))
        q = q[:, None] if o.one_step else q
        mask = torch.arange(4) < torch.tensor(lengths)[:, None, None] if o.lengths else torch.ones(3, 1, 4, dtype=bool)
        if o.score == "additive":
            hidden = (q @ a["w_query"].T)[:, :, None] + (k @ a["w_keys"].T)[:, None] + a.get("bias", 0)
            scores = torch.tanh(hidden) @ a["v"]
        else:
            scores = (q @ a["w_keys"] if o.score == "general" else q) @ k.mT
            scores = scores / math.sqrt(5) if o.score == "scaled_dot" else scores
        shares = torch.softmax(scores.masked_fill(~mask, -math.inf), -1)
        f = torch.nn.functional.scaled_dot_product_attention
        context = f(q, k, v, attn_mask=mask) if o.score == "scaled_dot" else shares @ v
        results = {"context": context, "weights": shares}
        return {key: x[:, 0] if o.one_step else x.swapaxes(0, 1) for key, x in results.items()}

    grid = {
        "score": ["dot", "scaled_dot", "general", "additive"],
        "bias": SWITCH,
        "values": SWITCH,
        "lengths": SWITCH,
        "one_step": SWITCH,
    }
    where = lambda o: o.score == "additive" or not o.bias
    yield Operation("attention", "Attention", inputs, run, theirs, grid, where=where)


# --- recurrent -------------------------------------------------------------------------------------------------------
STATES = {"RNN": "h", "GRU": "h", "LSTM": "hc"}
LENGTHS = np.array([2, 4, 1])


def packed(arrays):
    """Return a state as layers take and give it."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def named(letters, state, suffix=""):
    """Return the arrays of a state by name."""
    state = state if isinstance(state, tuple) else (state,)
    return {letter + suffix: array for letter, array in zip(letters, state, strict=True)}


def initial(a, letters, o):
    return packed([a[letter] for letter in letters]) if o.state else None


def sequences(name, **options):
    """A recurrent layer: any number of layers and directions, with lengths or without."""
    letters, sizes = STATES[name], (2, 3)

    def inputs(draw, o):
        cells = o.num_layers * (1 + o.bidirectional)
        state = {letter: draw(cells, 3, 3) for letter in letters} if o.state else {}
        return {"x": draw(3, 4, 2) if o.batch_first else draw(4, 3, 2), **state, **weights(draw, name, sizes, o)}

    def run(a, o):
        layer = loaded(a, name, sizes, o)
        (y, state), back = layer.vjp(a["x"], initial(a, letters, o), LENGTHS if o.lengths else None)

        def pull(d):
            dy, *dstate = d.values()
            dx, dstate = back(dy, packed(dstate))
            return {"x": dx} | (named(letters, dstate) if o.state else {}) | gradients(layer)

        return {"y": y} | named(letters, state, "_n"), pull

    def theirs(torch, a, o):
        rnn, x = torch.nn.utils.rnn, a["x"]
        if o.lengths:
            x = rnn.pack_padded_sequence(x, LENGTHS, o.batch_first, enforce_sorted=False)
        y, state = applied(torch, a, name, sizes, o, (x, initial(a, letters, o)))
        if o.lengths:
            y, _ = rnn.pad_packed_sequence(y, o.batch_first)
        return {"y": y} | named(letters, state, "_n")

    names = ("batch_first", "bidirectional", "lengths", "state")
    grid = options | {"num_layers": [1, 2], "bias": SWITCH} | dict.fromkeys(names, SWITCH)
    return Operation("recurrent", name, inputs, run, theirs, grid, {"num_layers": [1, 2, 3]})


def cell(kind, **options):
    """One step."""
    name, letters, sizes = f"{kind}Cell", STATES[kind], (2, 3)

    def inputs(draw, o):
        state = {letter: draw(3, 3) for letter in letters} if o.state else {}
        return {"x": draw(3, 2), **state, **weights(draw, name, sizes, o)}

    def run(a, o):
        layer = loaded(a, name, sizes, o)
        state, back = layer.vjp(a["x"], initial(a, letters, o))

        def pull(d):
            dx, dstate = back(*d.values())
            return {"x": dx} | (named(letters, dstate) if o.state else {}) | gradients(layer)

        return named(letters, state, "_n"), pull

    def theirs(torch, a, o):
        return named(letters, applied(torch, a, name, sizes, o, (a["x"], initial(a, letters, o))), "_n")

    grid = options | {"bias": SWITCH, "state": SWITCH}
    return Operation("recurrent", name, inputs, run, theirs, grid)


def stream(name, **options):
    """A recurrent layer that runs one step a call, against PyTorch's over the whole sequence."""
    letters, sizes = STATES[name], (2, 3)

    def inputs(draw, o):
        state = {letter: draw(o.num_layers, 3, 3) for letter in letters} if o.state else {}
        return {"x": draw(4, 3, 2), **state, **weights(draw, name, sizes, o)}

    def run(a, o):
        step = loaded(a, name, sizes, o).stream(batch_size=3)
        if o.state:
            step.state = initial(a, letters, o)
        y = np.stack([step(x).copy() for x in a["x"]])
        return {"y": y} | named(letters, step.state, "_n"), None

    def theirs(torch, a, o):
        y, state = applied(torch, a, name, sizes, o, (a["x"], initial(a, letters, o)))
        return {"y": y} | named(letters, state, "_n")

    grid = options | {"num_layers": [1, 2], "bias": SWITCH, "state": SWITCH}
    return Operation("recurrent", f"{name}, stream", inputs, run, theirs, grid, graded=False)


def recurrent():
    nonlinearity = {"nonlinearity": ["tanh", "relu"]}
    for kind, options in {"RNN": nonlinearity, "LSTM": {}, "GRU": {}}.items():
        yield sequences(kind, **options)
        yield cell(kind, **options)
        yield stream(kind, **options)
    yield from pools()


# --- updates ---------------------------------------------------------------------------------------------------------
STEPS = 20


def trajectory(optimizer, params, gradients, read):
    """Return what each parameter is after each step; `gradients` has one a step and parameter, None for none."""
    trail = []
    for step in zip(*gradients, strict=True):
        for parameter, gradient in zip(params, step, strict=True):
            parameter.grad = gradient
        optimizer.step()
        trail.append([read(parameter) for parameter in params])
    return zip(*trail, strict=True)


def optimizer(name, where=lambda o: True, **grid):
    """Two parameters in two groups: the second learns twice as fast, and sometimes has no gradient."""
    numbered = lambda grads: [grads[0], [None if k % 7 == 3 else grad for k, grad in enumerate(grads[1])]]
    groups = lambda params, o: [{"params": [params[0]]}, {"params": [params[1]], "lr": 2 * o.lr}]

    def inputs(draw, o):
        return {"a": draw(3), "b": draw(2, 1), "grads of a": draw(STEPS, 3), "grads of b": draw(STEPS, 2, 1)}

    def run(a, o):
        *values, da, db = a.values()
        params = [nn.Parameter(value) for value in values]
        optimizer = getattr(optim, name)(groups(params, o), **vars(o))
        trails = trajectory(optimizer, params, numbered([da, db]), lambda p: p.value.copy())
        return {key: np.stack(trail) for key, trail in zip("ab", trails, strict=True)}, None

    def theirs(torch, a, o):
        *values, da, db = a.values()
        params = [torch.nn.Parameter(value.clone()) for value in values]
        optimizer = getattr(torch.optim, name)(groups(params, o), **vars(o))
        trails = trajectory(optimizer, params, numbered([da, db]), lambda p: p.detach().clone())
        return {key: torch.stack(trail) for key, trail in zip("ab", trails, strict=True)}

    constant = ("a", "b", "grads of a", "grads of b")
    return Operation("updates", name, inputs, run, theirs, grid, where=where, constant=constant)


def sparse_optimizer(name, **grid):
    """A table of which a few rows have gradients, some several."""

    def inputs(draw, o):
        return {"table": draw(6, 2), "rows": draw.below(5, STEPS, 3), "values": draw(STEPS, 3, 2)}

    def run(a, o):
        table = nn.Parameter(a["table"])
        grads = [nn.SparseGrad(rows.copy(), values.copy()) for rows, values in zip(a["rows"], a["values"], strict=True)]
        optimizer = getattr(optim, name)([table], **vars(o))
        return {"table": np.stack(*trajectory(optimizer, [table], [grads], lambda p: p.value.copy()))}, None

    def theirs(torch, a, o):
        table = torch.nn.Parameter(a["table"].clone())
        pairs = zip(a["rows"], a["values"], strict=True)
        grads = [
            torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=True) for rows, values in pairs
        ]
        optimizer = getattr(torch.optim, name)([table], **vars(o))
        return {"table": torch.stack(*trajectory(optimizer, [table], [grads], lambda p: p.detach().clone()))}

    grid["maximize"] = SWITCH
    return Operation("updates", f"{name}, sparse", inputs, run, theirs, grid, constant=("table", "values"))


def clipping(name, limits):
    """Two gradients at a time; PyTorch's function returns the norm, and ends in an underscore."""

    def run(a, o):
        params = [nn.Parameter(np.zeros_like(x)) for x in a.values()]
        for parameter, x in zip(params, a.values(), strict=True):
            parameter.grad = x.copy()
        norm = getattr(optim, name)(params, o.limit)
        results = {key: parameter.grad for key, parameter in zip(a, params, strict=True)}
        return results if norm is None else results | {"norm": norm}, None

    def theirs(torch, a, o):
        params = [torch.nn.Parameter(torch.zeros_like(x)) for x in a.values()]
        for parameter, x in zip(params, a.values(), strict=True):
            parameter.grad = x.clone()
        norm = getattr(torch.nn.utils, f"{name}_")(params, o.limit)
        results = {key: parameter.grad for key, parameter in zip(a, params, strict=True)}
        return results if norm is None else results | {"norm": norm}

    inputs = lambda draw, o: {"a": draw(3), "b": draw(2, 2)}
    return Operation("updates", name, inputs, run, theirs, {"limit": limits}, graded=False)


def updates():
    decay = {"weight_decay": [0.0, 0.1], "maximize": SWITCH}
    fits = lambda o: not o.nesterov or (o.momentum and not o.dampening)
    yield optimizer("SGD", fits, lr=[0.1], momentum=[0.0, 0.9], dampening=[0.0, 0.3], nesterov=SWITCH, **decay)
    adagrad = {"lr": [0.1], "lr_decay": [0.0, 0.1], "initial_accumulator_value": [0.0, 0.5], "eps": [1e-10, 0.01]}
    yield optimizer("Adagrad", **adagrad, **decay)
    rmsprop = {"alpha": [0.99, 0.5], "eps": [1e-8, 0.01], "momentum": [0.0, 0.9], "centered": SWITCH}
    yield optimizer("RMSprop", lr=[0.01], **rmsprop, **decay)
    adam = {"lr": [0.01], "betas": [(0.9, 0.999), (0.5, 0.8)], "eps": [1e-8, 0.01]}
    yield optimizer("Adam", **adam, amsgrad=SWITCH, decoupled_weight_decay=SWITCH, **decay)
    yield optimizer("AdamW", **adam, amsgrad=SWITCH, **decay)
    yield sparse_optimizer("SGD", lr=[0.1])
    yield sparse_optimizer("Adagrad", **adagrad)
    yield sparse_optimizer("SparseAdam", **adam)
    yield clipping("clip_grad_value", [0.0, 0.5, 10.0])
    yield clipping("clip_grad_norm", [10.0, math.inf])  # what is scaled differs on purpose


FAMILIES = (activations, losses, layers, normalization, convolution, attention, recurrent, updates)
OPERATIONS = [operation for family in FAMILIES for operation in family()]
