"""ONNX operators in terms of fastnn: adapters that rename, reorder and transpose, and the cases left out, with reasons.

An adapter has its operator's name, takes the inputs in their order (None for one left out) and the attributes by name,
and returns the outputs in their order.
"""

from fnmatch import fnmatch

import numpy as np

import fastnn
from fastnn import nn

FAMILIES = {
    "activations": (
        *("Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu"),
        *("Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
    ),
    "losses": ("LogSoftmax", "NegativeLogLikelihoodLoss", "ReduceLogSumExp", "Softmax", "SoftmaxCrossEntropyLoss"),
    "updates": ("Adagrad", "Adam", "Momentum"),
    "normalization": ("BatchNormalization", "LayerNormalization", "RMSNormalization"),
    "convolution": ("AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"),
    "attention": ("Attention",),
    "recurrent": ("GRU", "LSTM", "RNN"),
    "embedding": ("Gather",),
    "regularization": ("Dropout",),
    "linear": ("Gemm",),
}

# reason -> patterns of names
SKIPPED = {
    "no such function: celu": ["test_celu*"],
    "no such function: thresholded relu": ["test_thresholdedrelu*"],
    "hardsigmoid has PyTorch's slope of 1/6, ONNX asks for others": ["test_hardsigmoid*"],
    "selu has the constants of its paper, the case asks for others": ["test_selu", "test_selu_example"],
    "integers in, integers out: fastnn gives float64": ["test_clip_default_int8*", "test_maxpool_2d_uint8"],
    "pooling is over sequences and images": ["test_averagepool_3d*", "test_maxpool_3d*"],
    "no dilation where means are taken, as in PyTorch": ["test_averagepool_2d_dilations"],
    "an index below 0 is an error": ["test_gather_negative_indices"],
    "no bfloat16": ["test_attention_*_bf16"],
    "attention masks by lengths, not by arrays": [
        "test_attention_*mask*",
        "test_attention_*_with_qk_matmul_*",
        "test_attention_*_softmax_precision",
        *(
            "test_attention_4d_with_past*",
            "test_attention_4d_gqa_with_past*",
            "test_attention_4d_diff_heads_with_past*",
        ),
        "test_attention_3d_*past*",
    ],
    "attention has no windows": [
        *("test_attention_*local_window", "test_attention_local_window_with_past"),
        "test_attention_bidirectional_window",
    ],
    "attention scales by 1 / sqrt(features)": ["test_attention_*_scaled"],
    "attention does not cap its scores": ["test_attention_*_softcap"],
    "no peephole connections": ["test_lstm_with_peepholes"],
    "the mask is drawn by a generator of ONNX": [
        *("test_training_dropout", "test_training_dropout_mask"),
        *("test_training_dropout_default", "test_training_dropout_default_mask"),
    ],
    "linear layers neither scale their terms nor add a matrix or a number": [
        *("test_gemm_alpha", "test_gemm_beta", "test_gemm_all_attributes"),
        *("test_gemm_default_scalar_bias", "test_gemm_default_single_elem_vector_bias"),
        "test_gemm_default_matrix_bias",
    ],
}


# operator -> why an adapter gives None for some outputs
OMITTED = {
    "Attention": "the scores are not kept, only their softmax",
    "BatchNormalization": "the running variance moves towards the unbiased estimate, as in PyTorch",
    "MaxPool": "the places of the maxima stay in the cache",
    "LayerNormalization": "the mean and the inverse of the deviation stay in the cache",
}


# cases whose answers have four digits
ROUNDED = ["test_averagepool_2d_ceil_last_window_starts_on_pad"]


def skipped(case):
    """Return why a case is left out, or None."""
    return next((why for why, names in SKIPPED.items() if any(fnmatch(case, name) for name in names)), None)


# --- activations -----------------------------------------------------------------------------------------------------
HardSwish, Mish, PRelu, Relu = fastnn.hardswish, fastnn.mish, fastnn.leaky_relu, fastnn.relu
Selu, Sigmoid, Softplus, Softsign, Tanh = (
    fastnn.selu,
    fastnn.sigmoid,
    fastnn.softplus,
    fastnn.softsign,
    fastnn.tanh,
)


def Clip(x, low=None, high=None):
    return fastnn.hardtanh(x, -np.inf if low is None else low, np.inf if high is None else high)


def Elu(x, alpha=1.0):
    return fastnn.elu(x, alpha)


def Gelu(x, approximate="none"):
    return {"none": fastnn.gelu, "tanh": fastnn.gelu_tanh}[approximate](x)


def LeakyRelu(x, alpha=0.01):
    return fastnn.leaky_relu(x, alpha)


def Swish(x, alpha):
    assert alpha == 1
    return fastnn.silu(x)


# --- losses ----------------------------------------------------------------------------------------------------------
def Softmax(x, axis=-1):
    return fastnn.softmax(x, axis)


def LogSoftmax(x, axis=-1):
    return fastnn.log_softmax(x, axis)


def ReduceLogSumExp(x, axes, keepdims=1):
    if axes.size == 0:
        return fastnn.logsumexp(x.reshape(-1)).reshape((1,) * x.ndim)
    return fastnn.logsumexp(x, *axes, keepdims=bool(keepdims))


def SoftmaxCrossEntropyLoss(x, targets, weight=None, **options):
    loss, _ = fastnn.softmax_cross_entropy(x, targets, axis=1, weight=weight, **options)
    return loss, fastnn.log_softmax(x, axis=1)


def NegativeLogLikelihoodLoss(x, targets, weight=None, **options):
    return fastnn.nll_loss(x, targets, axis=1, weight=weight, **options)[0]


# --- updates ---------------------------------------------------------------------------------------------------------
def updated(update, lr, arrays, slots):
    """Apply an update to copies of several parameters; return these, then each of their slots."""
    n = len(arrays) // (2 + slots)
    arrays = [x.copy() for x in arrays]
    for i in range(n):
        update(*arrays[i::n], lr=float(lr))
    return *arrays[:n], *arrays[2 * n :]


def Adagrad(lr, step, *arrays, epsilon, norm_coefficient, decay_factor):
    update = lambda *a, lr: fastnn.adagrad_update(*a, lr=lr, eps=epsilon, weight_decay=norm_coefficient)
    return updated(update, lr / (1 + step * decay_factor), arrays, 1)


def Adam(lr, step, *arrays, alpha, beta, epsilon, norm_coefficient):
    assert step == 0, "the first step corrects no bias, which is what ours does after many"
    options = {"beta1": alpha, "beta2": beta, "eps": epsilon, "weight_decay": norm_coefficient}
    return updated(lambda *a, lr: fastnn.adam_update(*a, step=10**6, lr=lr, **options), lr, arrays, 2)


def Momentum(lr, step, *arrays, alpha, beta, mode, norm_coefficient):
    dampening = 1 - beta if step > 0 else 0.0
    options = {"momentum": alpha, "dampening": dampening, "weight_decay": norm_coefficient}
    update = lambda *a, lr: fastnn.momentum_update(*a, lr=lr, nesterov=mode == "nesterov", **options)
    return updated(update, lr, arrays, 1)


# --- normalization ---------------------------------------------------------------------------------------------------
def BatchNormalization(x, weight, bias, mean, var, epsilon=1e-5, momentum=0.9, training_mode=0):
    mean, var, training = mean.copy(), var.copy(), bool(training_mode)
    y, _ = fastnn.batch_norm(x, mean, var, weight, bias, training=training, momentum=1 - momentum, eps=epsilon)
    return y, mean, None


def LayerNormalization(x, weight, bias, axis=-1, epsilon=1e-5):
    return fastnn.layer_norm(x, weight, bias, eps=epsilon)[0], None, None


def RMSNormalization(x, weight, axis=-1, epsilon=1e-5):
    return fastnn.rms_norm(x, weight, eps=epsilon)[0]


# --- convolution -----------------------------------------------------------------------------------------------------
def paddings(x, kernel, strides, pads, auto_pad):
    """Return (before, after) for each axis: given as all before, then all after, or what keeps ceil(size / stride)."""
    if auto_pad == "NOTSET":
        return list(zip(*np.reshape(pads, (2, -1)).tolist(), strict=True))
    short = [max(0, -(-n // s) * s - s + k - n) for n, k, s in zip(x.shape[2:], kernel, strides, strict=True)]
    return [(n // 2, n - n // 2) if auto_pad == "SAME_UPPER" else (n - n // 2, n // 2) for n in short]


def windows(x, kernel_shape, strides=None, pads=None, auto_pad="NOTSET", **options):
    """Return the options of a function over windows, and how many axes these have."""
    n = len(kernel_shape)
    strides, pads = strides or [1] * n, pads or [0] * 2 * n
    return n, {"stride": strides, "padding": paddings(x, kernel_shape, strides, pads, auto_pad), **options}


def Conv(x, weight, **attributes):
    n, options = windows(x, **attributes)
    return getattr(fastnn, f"conv{n}d")(x, weight, **options)


def MaxPool(x, ceil_mode=0, storage_order=0, dilations=1, **attributes):
    n, options = windows(x, **attributes)
    options |= {"dilation": dilations, "ceil_mode": bool(ceil_mode)}
    return getattr(fastnn, f"max_pool{n}d")(x, attributes["kernel_shape"], **options), None


def AveragePool(x, ceil_mode=0, count_include_pad=0, **attributes):
    n, options = windows(x, **attributes)
    options |= {"count_include_pad": bool(count_include_pad), "ceil_mode": bool(ceil_mode)}
    return getattr(fastnn, f"avg_pool{n}d")(x, attributes["kernel_shape"], **options)


def GlobalAveragePool(x):
    return fastnn.avg_pool2d(x, x.shape[2:])


def GlobalMaxPool(x):
    return fastnn.max_pool2d(x, x.shape[2:])


# --- attention -------------------------------------------------------------------------------------------------------
def heads(x, n):
    """Return x as (batch, heads, steps, features), from (batch, steps, heads * features)."""
    return x if x.ndim == 4 else x.reshape(*x.shape[:2], n, -1).swapaxes(1, 2)


def attended(q, k, v, lengths):
    """Attend with arrays (batch, heads, steps, features); queries that share a head of keys follow in time."""
    time_first = lambda x: x.reshape(k.shape[0] * k.shape[1], -1, x.shape[3]).swapaxes(0, 1)
    if lengths is not None:
        lengths = np.broadcast_to(np.clip(lengths, 0, k.shape[2]), len(k)).repeat(k.shape[1])
    context, _, _ = fastnn.attention_forward(*map(time_first, (q, k, v)), lengths=lengths)
    return context.swapaxes(0, 1).reshape(*q.shape[:3], -1)


def Attention(q, k, v, mask=None, pk=None, pv=None, known=None, is_causal=0, q_num_heads=0, kv_num_heads=0, **windows):
    q4, k4, v4, n = heads(q, q_num_heads), heads(k, kv_num_heads), heads(v, kv_num_heads), q.shape[-2]
    if pk is not None:  # the past comes before what is new
        k4, v4, known = *(np.concatenate(pair, axis=2) for pair in ((pk, k4), (pv, v4))), pk.shape[2] + k4.shape[2]
    y = attended(q4, k4, v4, known)
    if is_causal:  # what is seen ends at the step itself, or that far before the end of what is known
        ends = [t + 1 if known is None else known - n + t + 1 for t in range(n)]
        y = np.concatenate([attended(q4[:, :, t : t + 1], k4, v4, ends[t]) for t in range(n)], axis=2)
    return y if q.ndim == 4 else y.swapaxes(1, 2).reshape(*q.shape[:2], -1), k4, v4, None


# --- recurrent -------------------------------------------------------------------------------------------------------
def directions(forward, x, weights, lengths, initial, direction, layout, **options):
    """Run a cell's function for each direction; return y (steps, directions, batch, hidden) and the last states."""
    x, runs = x.swapaxes(0, 1) if layout else x, []
    for k, arrays in enumerate(zip(*weights, strict=True)):
        start = [np.zeros((x.shape[1], arrays[1].shape[1]), x.dtype) if s is None else s[k] for s in initial]
        backwards = direction == "reverse" or k == 1
        runs.append(forward(x, *start, *arrays, lengths=lengths, reverse=backwards, **options)[:-1])
    y, *last = (np.stack(parts, axis) for parts, axis in zip(zip(*runs, strict=True), (1, 0, 0), strict=False))
    return (y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in last)) if layout else (y, *last)


def reordered(order, *weights, bias):
    """Return the weights, and both halves of the bias if there is one, with their gates in another order."""
    parts = [*weights, *(np.split(bias, 2, axis=1) if bias is not None else ())]
    gates = [np.split(x, len(order), axis=1) for x in parts]
    return [np.concatenate([x[i] for i in order], axis=1) for x in gates]


def RNN(x, w, r, b=None, lengths=None, h=None, *, direction="forward", layout=0, hidden_size):
    return directions(fastnn.rnn_forward, x, reordered([0], w, r, bias=b), lengths, [h], direction, layout)


def LSTM(x, w, r, b=None, lengths=None, h=None, c=None, *, direction="forward", layout=0, hidden_size):
    weights = reordered([0, 2, 3, 1], w, r, bias=b)  # from i, o, f, c
    return directions(fastnn.lstm_forward, x, weights, lengths, [h, c], direction, layout)


def GRU(x, w, r, b=None, lengths=None, h=None, *, direction="forward", layout=0, hidden_size, linear_before_reset=0):
    weights, after = reordered([1, 0, 2], w, r, bias=b), bool(linear_before_reset)  # from z, r, h
    return directions(fastnn.gru_forward, x, weights, lengths, [h], direction, layout, reset_after=after)


# --- embedding, regularization, linear -------------------------------------------------------------------------------
def Gather(x, indices, axis=0):
    x = np.moveaxis(x, axis, 0)
    y = fastnn.embedding_lookup(x.reshape(len(x), -1), indices).reshape(*indices.shape, *x.shape[1:])
    return np.moveaxis(y, range(indices.ndim), range(axis, axis + indices.ndim))


def Dropout(x, p=None, training=None, *, seed=0, ratio=0.5):
    p = 0.0 if not training else ratio if p is None else float(p)
    return fastnn.dropout(x, p, np.random.default_rng(seed))


def Gemm(a, b, c=None, transA=0, transB=0):
    a, b = a.T if transA else a, b if transB else b.T
    layer = nn.Linear(*b.shape[::-1], bias=c is not None)
    layer.load_state_dict({"weight": b} | ({} if c is None else {"bias": c.reshape(-1)}))
    return layer(a)


ADAPTERS = {name: globals()[name] for names in FAMILIES.values() for name in names if name in globals()}
