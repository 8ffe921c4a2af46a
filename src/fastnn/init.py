"""Initial values of weights: each function returns a new array of the given shape, `initialize` fills a model.

The fans of a shape are (shape[1], shape[0]) times the size of the remaining axes, as for PyTorch's weights
(out, in, *kernel).
"""

import inspect
import math

import numpy as np

from fastnn._checks import as_count, as_positive, check_choice

__all__ = [
    "constant",
    "gain",
    "he_normal",
    "he_uniform",
    "identity",
    "initialize",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "orthogonal",
    "output_bias",
    "truncated_normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
]

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse_loss", "l1_loss")


def _fans(shape):
    """Return fan_in and fan_out of a weight."""
    if len(shape) < 2:
        raise ValueError(f"shape is {tuple(shape)}, expected at least two axes (out, in, ...), since fans need both")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _he_fan(shape, mode):
    """Return the fan that a mode names."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    return _fans(shape)[mode == "fan_out"]


def gain(nonlinearity, negative_slope=0.01):
    """Return by how much to widen weights before an activation, for the variance to stay: PyTorch's calculate_gain.

    Parameters
    ----------
    nonlinearity : {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
        1 for linear and sigmoid, 5/3 for tanh, sqrt(2) for relu, sqrt(2 / (1 + negative_slope^2)) for leaky_relu, 3/4
        for selu.
    negative_slope : float
        Of leaky_relu.

    Examples
    --------
    >>> round(gain("relu"), 4), round(gain("leaky_relu", 0.2), 4)
    (1.4142, 1.3868)
    """
    check_choice(nonlinearity, (*GAINS, "leaky_relu"), "nonlinearity")
    return math.sqrt(2 / (1 + negative_slope**2)) if nonlinearity == "leaky_relu" else GAINS[nonlinearity]


def constant(shape, value=0.0, *, dtype=np.float32):
    """Return one value everywhere.

    For biases, which begin at 0. Equal weights stay equal, since equal units get equal gradients (the seed notes on
    CS224n 2019, lecture 4, and on "Deep Learning from Scratch").

    Examples
    --------
    >>> constant((2, 2), 0.5)
    array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """
    return np.full(shape, value, dtype)


def normal(shape, rng=None, *, std, dtype=np.float32):
    """Return values from N(0, std^2), the draws in float64.

    Examples
    --------
    >>> round(float(normal((500, 200), 0, std=0.01).std()), 4)
    0.01
    """
    return (std * np.random.default_rng(rng).standard_normal(shape)).astype(dtype)


def truncated_normal(shape, rng=None, *, std, bound=2.0, dtype=np.float32):
    """Return values from N(0, std^2) without those beyond bound * std, each of which is drawn again.

    What is left has a smaller standard deviation than `std`, 0.88 of it for a bound of 2.

    Examples
    --------
    >>> w = truncated_normal((500, 200), 0, std=0.1)
    >>> bool(abs(w).max() <= 0.2), round(float(w.std()), 3)
    (True, 0.088)
    """
    rng, bound = np.random.default_rng(rng), as_positive(bound, "bound")
    values = rng.standard_normal(shape)
    while (beyond := abs(values) > bound).any():
        values[beyond] = rng.standard_normal(np.count_nonzero(beyond))
    return (std * values).astype(dtype)


def uniform(shape, rng=None, *, bound, dtype=np.float32):
    """Return values from U(-bound, bound).

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator, int or None
    bound : float
    dtype : dtype
        The draws are made in float64 and rounded.

    Examples
    --------
    >>> uniform((2, 2), 0, bound=0.1).round(3)
    array([[ 0.027, -0.046],
           [-0.092, -0.097]], dtype=float32)
    """
    return np.random.default_rng(rng).uniform(-bound, bound, shape).astype(dtype)


def xavier_uniform(shape, rng=None, *, gain=1.0, dtype=np.float32):
    """Return values from U(-r, r), r = gain * sqrt(6 / (fan_in + fan_out)): variance 2 / (fan_in + fan_out).

    Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks".

    Examples
    --------
    >>> bool(abs(xavier_uniform((30, 20), 0)).max() <= (6 / 50) ** 0.5)
    True
    """
    return uniform(shape, rng, bound=gain * math.sqrt(6 / sum(_fans(shape))), dtype=dtype)


def xavier_normal(shape, rng=None, *, gain=1.0, dtype=np.float32):
    """Return values from N(0, s^2), s = gain * sqrt(2 / (fan_in + fan_out)).

    Glorot and Bengio (2010), as `xavier_uniform`.

    Examples
    --------
    >>> round(float(xavier_normal((500, 300), 0).std()), 3), round((2 / 800) ** 0.5, 3)
    (0.05, 0.05)
    """
    return normal(shape, rng, std=gain * math.sqrt(2 / sum(_fans(shape))), dtype=dtype)


def he_uniform(shape, rng=None, *, gain=2**0.5, mode="fan_in", dtype=np.float32):
    """Return values from U(-r, r), r = gain * sqrt(3 / fan): variance 2 / fan with the gain of relu.

    He et al. (2015), "Delving deep into rectifiers". `mode` is "fan_in", which keeps the variance of the activations,
    or "fan_out", which keeps that of the gradients.

    Examples
    --------
    >>> bool(abs(he_uniform((30, 24), 0)).max() <= 0.5)
    True
    """
    return uniform(shape, rng, bound=gain * math.sqrt(3 / _he_fan(shape, mode)), dtype=dtype)


def he_normal(shape, rng=None, *, gain=2**0.5, mode="fan_in", dtype=np.float32):
    """Return values from N(0, s^2), s = gain / sqrt(fan); `mode` as in `he_uniform`.

    Examples
    --------
    >>> round(float(he_normal((500, 200), 0).std()), 2)
    0.1
    """
    return normal(shape, rng, std=gain / math.sqrt(_he_fan(shape, mode)), dtype=dtype)


def lecun_uniform(shape, rng=None, *, dtype=np.float32):
    """Return values from U(-r, r), r = sqrt(3 / fan_in): variance 1 / fan_in.

    LeCun et al. (1998), "Efficient backprop"; for selu too (Klambauer et al., 2017).

    Examples
    --------
    >>> bool(abs(lecun_uniform((30, 12), 0)).max() <= 0.5)
    True
    """
    return he_uniform(shape, rng, gain=1.0, dtype=dtype)


def lecun_normal(shape, rng=None, *, dtype=np.float32):
    """Return values from N(0, 1 / fan_in), as `lecun_uniform`.

    The seed notes on "Deep Learning from Scratch" call this Xavier's, which it is for as many inputs as outputs.

    Examples
    --------
    >>> round(float(lecun_normal((500, 400), 0).std()), 3)
    0.05
    """
    return he_normal(shape, rng, gain=1.0, dtype=dtype)


def orthogonal(shape, rng=None, *, gain=1.0, dtype=np.float32):
    """Return a random matrix W with W W^T = gain^2 I, or W^T W where it has more rows than columns.

    Of more than two axes, those after the first are taken together. Saxe et al. (2014), "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks".

    Examples
    --------
    >>> w = orthogonal((2, 3), 0, dtype=np.float64)
    >>> (w @ w.T).round(12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    fan_in, _ = _fans(shape)
    rows = shape[0]
    normal = np.random.default_rng(rng).standard_normal((max(rows, fan_in), min(rows, fan_in)))
    q, r = np.linalg.qr(normal)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # so that every such matrix is equally likely
    return (gain * (q if rows >= fan_in else q.T)).reshape(shape).astype(dtype)


def identity(shape, *, gain=1.0, dtype=np.float32):
    """Return gain on the diagonal of a matrix, and 0 elsewhere.

    For the weights between the states of a ReLU RNN, which otherwise make gradients vanish or explode (Le et al., 2015,
    "A simple way to initialize recurrent networks of rectified linear units"; section 1 of the seed notes on course 5).

    Examples
    --------
    >>> identity((2, 3))
    array([[1., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """
    if len(shape) != 2:
        raise ValueError(f"shape is {tuple(shape)}, expected two axes")
    return gain * np.eye(*shape, dtype=dtype)


def output_bias(target, loss, *, classes=None, dtype=np.float32):
    """Return the bias of the last layer that is best for a loss while the weights into that layer are 0.

    Training then need not find the frequencies of the classes, or the mean of the targets, first.

    Parameters
    ----------
    target : array_like
        As the loss takes it, for "softmax_cross_entropy" integers (n,); the bias of a column is that for its targets.
    loss : {"softmax_cross_entropy", "sigmoid_cross_entropy", "mse_loss", "l1_loss"}
        For which the bias is the logarithm of the shares of the classes, the log-odds log(p / (1 - p)), the mean, the
        median.
    classes : int, optional
        How many, for "softmax_cross_entropy"; those that occur, if None.
    dtype : dtype

    Returns
    -------
    bias : ndarray (C,)
        What never occurs is counted as half a time, as is what always occurs: its best bias would be infinite.

    Notes
    -----
    The seed notes (CS224n, notes 7; CS224n 2019, lecture 4): the output's bias at its optimum if weights were 0.

    Examples
    --------
    >>> output_bias([0, 1, 1, 1], "softmax_cross_entropy").round(3)
    array([-1.386, -0.288], dtype=float32)
    >>> output_bias([[0], [1], [1], [1]], "sigmoid_cross_entropy").round(3)
    array([1.099], dtype=float32)
    >>> output_bias([[1.0, 2.0], [3.0, 2.0]], "mse_loss")
    array([2., 2.], dtype=float32)
    """
    check_choice(loss, LOSSES, "loss")
    target = np.asarray(target)
    if not target.size:
        raise ValueError(f"target has shape {target.shape}, expected at least one")
    if loss == "softmax_cross_entropy":
        if target.dtype.kind not in "iu" or target.min() < 0:
            raise ValueError(f"target has dtype {target.dtype} and least value {target.min()}, expected classes from 0")
        classes = int(target.max()) + 1 if classes is None else as_count(classes, "classes")
        if target.max() >= classes:
            raise IndexError(f"target holds {target.max()}, expected classes below {classes}")
        counts = np.maximum(np.bincount(target.ravel(), minlength=classes), 0.5)
        return np.log(counts / counts.sum()).astype(dtype)
    columns = target.reshape(len(target), -1).astype(np.float64)
    if loss == "sigmoid_cross_entropy":
        share = columns.mean(axis=0).clip(0.5 / len(columns), 1 - 0.5 / len(columns))
        return np.log(share / (1 - share)).astype(dtype)
    return (columns.mean(axis=0) if loss == "mse_loss" else np.median(columns, axis=0)).astype(dtype)


def initialize(model, weights, rng=None, *, biases=0.0, **options):
    """Fill every weight of a model anew, and set its biases.

    Parameters
    ----------
    model : Module
    weights : callable
        A function of this module, for all parameters of at least two axes.
    rng : numpy.random.Generator, int or None
    biases : float
        For the parameters of one axis whose names hold "bias"; others, such as the scale of a normalization, stay.
    **options
        Of the function, such as `gain`.

    Examples
    --------
    >>> from fastnn import nn
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.Activation("relu"), nn.Linear(4, 2))
    >>> initialize(net, he_normal, rng=0, mode="fan_out")
    >>> net[2].bias.value
    array([0., 0.], dtype=float32)
    """
    if "rng" in inspect.signature(weights).parameters:
        options["rng"] = np.random.default_rng(rng)
    for name, parameter in model.named_parameters():
        value = parameter.value
        if value.ndim > 1:
            value[...] = weights(value.shape, **options, dtype=value.dtype)
        elif "bias" in name.rpartition(".")[2]:
            value[...] = biases
