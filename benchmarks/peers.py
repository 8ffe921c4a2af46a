"""The rows of the report as other libraries compute them: SciPy, PyTorch, ONNX Runtime.

`pytest benchmarks --peers` times them in turn with fastnn, each on as many threads as fastnn has. Every form is the
quickest that the library's own interface offers for the row: with `out` where there is one, without autograd where a
backward function can be called. Arrays are shared, so that the results are compared as those of every other form.
gensim has no form of a row of word2vec, since it draws windows and negatives in the same call:
see `experiments/word2vec_gensim.py`.
"""

import os
from functools import partial

import numpy as np
import scipy.special
import torch
from torch import nn
from torch.nn import functional

THREADS = int(os.environ.get("FASTNN_NUM_THREADS", "1"))
HELD_BACK = "FASTNN_ISA" in os.environ  # ONNX Runtime cannot be: it has no say over the instructions it uses
torch.set_num_threads(THREADS)
aten = torch.ops.aten

SCIPY = {
    "sigmoid": scipy.special.expit,
    "log_sigmoid": scipy.special.log_expit,
    "softmax": scipy.special.softmax,
    "log_softmax": scipy.special.log_softmax,
    "logsumexp": scipy.special.logsumexp,
}
OUT = {  # PyTorch's names of the functions that write into `out`
    **{
        name: getattr(aten, name).out
        for name in ("sigmoid", "tanh", "softplus", "elu", "silu", "mish", "hardsigmoid", "hardswish", "gelu")
    },
    "leaky_relu": lambda x, out: aten.leaky_relu.out(x, 0.01, out=out),
    "hardtanh": lambda x, out: aten.hardtanh.out(x, -1.0, 1.0, out=out),
    "gelu_tanh": lambda x, out: aten.gelu.out(x, approximate="tanh", out=out),
    "relu": lambda x, out: aten.clamp_min.out(x, 0, out=out),
}
NEW = {"selu": functional.selu, "log_sigmoid": functional.logsigmoid, "softsign": functional.softsign}
SELU = 1.6732632423543772, 1.0507009873554805
BACKWARD = {  # of dy, what fastnn saves, and out
    "sigmoid": lambda dy, y, dx: aten.sigmoid_backward.grad_input(dy, y, grad_input=dx),
    "tanh": lambda dy, y, dx: aten.tanh_backward.grad_input(dy, y, grad_input=dx),
    "relu": lambda dy, y, dx: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dx),
    "leaky_relu": lambda dy, x, dx: aten.leaky_relu_backward.grad_input(dy, x, 0.01, False, grad_input=dx),
    "hardtanh": lambda dy, x, dx: aten.hardtanh_backward.grad_input(dy, x, -1.0, 1.0, grad_input=dx),
    "elu": lambda dy, x, dx: aten.elu_backward.grad_input(dy, 1.0, 1.0, 1.0, False, x, grad_input=dx),
    "selu": lambda dy, x, dx: aten.elu_backward.grad_input(dy, *SELU, 1.0, False, x, grad_input=dx),
    "silu": lambda dy, x, dx: aten.silu_backward.grad_input(dy, x, grad_input=dx),
    "gelu": lambda dy, x, dx: aten.gelu_backward.grad_input(dy, x, grad_input=dx),
    "gelu_tanh": lambda dy, x, dx: aten.gelu_backward.grad_input(dy, x, approximate="tanh", grad_input=dx),
    "hardsigmoid": lambda dy, x, dx: aten.hardsigmoid_backward.grad_input(dy, x, grad_input=dx),
    "hardswish": lambda dy, x, dx: aten.hardswish_backward.out(dy, x, out=dx),
    "mish": lambda dy, x, dx: dx.copy_(aten.mish_backward(dy, x)),
}
OPTIMIZERS = {
    "sgd_update": (lambda p: torch.optim.SGD(p, lr=0.01, fused=True), ()),
    "momentum_update": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True), ("momentum_buffer",)),
    "adagrad_update": (lambda p: torch.optim.Adagrad(p, lr=0.01, fused=True), ("sum",)),
    "rmsprop_update": (lambda p: torch.optim.RMSprop(p, lr=0.01, foreach=True), ("square_avg",)),
    "adam_update": (lambda p: torch.optim.Adam(p, lr=1e-3, fused=True), ("exp_avg", "exp_avg_sq")),
}


def shared(v):
    """Return PyTorch's tensors over the arrays of a row."""
    return {key: torch.from_numpy(x) for key, x in v.items() if isinstance(x, np.ndarray)}


def activation(row, v):
    t = shared(v)
    if row.name == "hardsigmoid_backward" and row.dtype == "float64":
        return None  # PyTorch multiplies by a sixth that was rounded to float32
    if row.name.endswith("_backward"):
        call = BACKWARD.get(row.name.removesuffix("_backward"))
        return call and (lambda: call(t["dy"], t["saved"], t["dx"]))
    if row.name in NEW:
        return lambda: NEW[row.name](t["x"])
    call = OUT.get(row.name)
    return call and (lambda: call(t["x"], out=t["y"]))


def loss(row, v):
    t = shared(v)
    if row.name == "softmax_cross_entropy":
        logits, targets = t["logits"].requires_grad_(), t["targets"]

        def call():
            logits.grad = None
            value = functional.cross_entropy(logits, targets)
            value.backward()
            return value.item(), logits.grad

        return call
    x, y, dy = t.get("x"), t.get("y"), t.get("dy")
    return {
        "softmax": lambda: aten._softmax.out(x, -1, False, out=y),
        "log_softmax": lambda: aten._log_softmax.out(x, -1, False, out=y),
        "masked_softmax": lambda: aten._softmax.out(torch.where(t["mask"], x, -torch.inf), -1, False, out=y),
        "logsumexp": lambda: torch.logsumexp(x, -1),
        "softmax_backward": lambda: aten._softmax_backward_data(dy, y, -1, torch.float32),
        "log_softmax_backward": lambda: aten._log_softmax_backward_data(dy, y, -1, torch.float32),
    }.get(row.name)


def update(row, v):
    """Return the step of a fused optimiser; its count starts where the row's does, its state is the row's."""
    if row.name not in OPTIMIZERS:
        return None
    make, names = OPTIMIZERS[row.name]
    t = shared(v)
    param = nn.Parameter(t.pop("param"))
    param.grad = t.pop("grad")
    optimizer = make([param])
    count = {"step": torch.tensor(9.0)} if row.name == "adam_update" else {"step": torch.tensor(1.0)}
    optimizer.state[param] = dict(zip(names, t.values(), strict=True)) | (count if names else {})
    return optimizer.step


def recurrent(row, v):
    cell, _, what = row.name.partition("_")
    if what not in ("forward", "training", "stream"):
        return {}
    *_, features = v["x"].shape
    hidden = v["h"].shape[-1]
    layer = getattr(nn, cell.upper())(features, hidden)
    t = shared(v)
    for name in ("w_ih", "w_hh", "b_ih", "b_hh"):
        getattr(layer, {"w": "weight", "b": "bias"}[name[0]] + name[1:] + "_l0").data = t[name]
    x = t["x"] if what != "stream" else t["x"][None]
    state = [t[key][None] for key in ("h", "c") if key in t]
    state = tuple(state) if len(state) == 2 else state[0]

    def training():
        layer.zero_grad()
        moving.grad = None
        y, _ = layer(moving, state)
        y.backward(t["dy"])
        return y.detach()

    if what == "training":
        moving = x.requires_grad_()
        return {"torch": training}

    @torch.inference_mode()
    def forward():
        return layer(x, state)[0]

    @torch.inference_mode()
    def stream():
        y, carried[0] = layer(x, carried[0])
        return y[0]

    carried = [None]
    if HELD_BACK:
        return {"torch": stream if what == "stream" else forward}
    run, feed = onnx_session(layer, cell, x.numpy(), state, what == "stream")

    def onnxruntime_stream():
        y, feed["h"], *c = run(None, feed)
        if c:
            feed["c"] = c[0]
        return y[0, 0]

    if what == "stream":
        return {"torch": stream, "onnxruntime": onnxruntime_stream}
    return {"torch": forward, "onnxruntime": lambda: run(None, feed)[0][:, 0]}


def onnx_session(layer, cell, x, state, zero):
    """Return the run of a session whose model has one node, and its inputs; ONNX orders the gates otherwise."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    order = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}[cell]
    gates = lambda p: np.concatenate([np.split(p.detach().numpy(), len(order))[i] for i in order])
    w, r = gates(layer.weight_ih_l0)[None], gates(layer.weight_hh_l0)[None]
    b = np.concatenate([gates(layer.bias_ih_l0), gates(layer.bias_hh_l0)])[None]
    hidden = w.shape[1] // len(order)
    states = ["h", "c"][: 1 + (cell == "lstm")]
    inputs = ["x", "w", "r", "b", "", *states]
    options = {"linear_before_reset": 1} if cell == "gru" else {}
    outputs = ["y", *(f"{s}_n" for s in states)]
    node = helper.make_node(cell.upper(), inputs, outputs, hidden_size=hidden, **options)
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [node],
        cell,
        [value(name) for name in ("x", *states)],
        [value(name) for name in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in (("w", w), ("r", r), ("b", b))],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = state if isinstance(state, tuple) else (state,)
    given = [np.zeros_like(s.numpy()) if zero else s.numpy() for s in given]
    return session.run, {"x": x, **dict(zip(states, given, strict=True))}


def embedding(row, v):
    if row.name != "embedding_lookup":
        return None
    t = shared(v)
    return lambda: functional.embedding(t["indices"], t["weight"])


def normalization(row, v):
    t = shared(v)
    x, weight, bias = t["x"], t["weight"], t["bias"]
    calls = {
        "layer_norm": lambda: functional.layer_norm(x, weight.shape, weight, bias, 1e-5),
        "rms_norm": lambda: functional.rms_norm(x, weight.shape, weight, 1e-5),
        "batch_norm": lambda: functional.batch_norm(x, None, None, weight, bias, True),
        "batch_norm_inference": lambda: functional.batch_norm(x, t["mean"], t["var"], weight, bias),
    }
    call = calls.get(row.name)
    return call and (lambda: call())


def convolution(row, v):
    name, training, _ = row.name.partition("_training")
    t = shared(v)
    if name == "max_over_time":
        return None
    given = [t["x"], *(t[key] for key in ("weight", "bias") if key in t)]
    if len(given) == 1:
        given.append(int(row.size.rpartition("-")[2]))
    call = getattr(functional, name)
    if not training:
        return lambda: call(*given)
    leaves = [x.requires_grad_() for x in given if isinstance(x, torch.Tensor)]

    def both():
        for leaf in leaves:
            leaf.grad = None
        y = call(*given)
        y.backward(t["dy"])
        return y.detach()

    return both


FAMILIES = {
    "activations": activation,
    "losses": loss,
    "updates": update,
    "recurrent": recurrent,
    "embedding": embedding,
    "normalization": normalization,
    "convolution": convolution,
}


def forms(row):
    """Return the forms of a row by library: a statement and its variables."""
    v, calls = row.variables(), {}
    if row.family in FAMILIES:
        calls = FAMILIES[row.family](row, v)
        calls = calls if isinstance(calls, dict) else {"torch": calls}
    if row.name in SCIPY:
        options = {"out": v["y"]} if row.family == "activations" else {"axis": -1}
        calls["scipy"] = partial(SCIPY[row.name], v["x"], **options)
    made = {"updates": "", "losses": f"{row.results} = "}.get(row.family, f"{row.results.split(', ')[0]} = ")
    return {label: (f"{made}call()", v | {"call": call}) for label, call in calls.items() if call}
