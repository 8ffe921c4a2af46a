"""Optimiser updates, in place: one pass over memory each, for one parameter or a list of them.

`kernels.update` returns whether the arrays fit; where they do not, `check_update` finds the words.
"""

from fastnn._checks import as_count, check_limit, check_momentum, check_pairs, check_sparse_update, check_update
from fastnn._kernels import updates as kernels
from fastnn.ops._arrays import by_dtype, dense
from fastnn.reference import updates as twin

__all__ = [
    "adagrad_update",
    "adam_update",
    "clip_by_global_norm",
    "momentum_update",
    "rmsprop_update",
    "sgd_update",
    "sparse_adagrad_update",
    "sparse_adam_update",
    "sparse_sgd_update",
]

_SGD, _MOMENTUM, _ADAGRAD = (kernels.OPS[name] for name in ("sgd_update", "momentum_update", "adagrad_update"))
_ADAM, _AMSGRAD = kernels.OPS["adam_update"], kernels.OPS["amsgrad_update"]
_sparse_sgd_update = by_dtype(kernels.sparse_sgd_update)
_sparse_adagrad_update = by_dtype(kernels.sparse_adagrad_update)
_sparse_adam_update = by_dtype(kernels.sparse_adam_update)


def sgd_update(param, grad, *, lr, weight_decay=0.0, maximize=False):
    """Descend along the gradient, in place: param -= lr * g with g = grad + weight_decay * param.

    Parameters
    ----------
    param : ndarray, or list of ndarrays
        Of float32 or float64, dense in C or Fortran order. Changed in place.
    grad : ndarray, or list
        Of the shape, dtype and layout of param.
    lr : float
        The learning rate.
    weight_decay : float
        The weight of a penalty weight_decay / 2 * sum(param**2), whose gradient is added to g.
    maximize : bool
        Whether to climb: g = -grad before the penalty.

    Raises
    ------
    TypeError
        If an array is not a NumPy array of float32 or float64, or their dtypes differ.
    ValueError
        If shapes or layouts differ, arrays overlap, or one to be changed is read-only.

    All of them before anything is written: nothing is copied back silently.

    Notes
    -----
    Lists of equal lengths are updated in one call, here and in the other updates of this family.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> param = np.array([1.0, 2.0])
    >>> fastnn.sgd_update(param, np.array([4.0, -4.0]), lr=0.25)
    >>> param
    array([0., 3.])
    """
    if not kernels.update(_SGD, (param, grad), (lr, weight_decay, maximize)):
        check_update(param, grad)


def momentum_update(
    param,
    grad,
    velocity,
    *,
    lr,
    momentum=0.9,
    dampening=0.0,
    nesterov=False,
    ema=False,
    weight_decay=0.0,
    maximize=False,
    step=None,
):
    """Descend along a running sum of gradients, in place.

    g = grad + weight_decay * param;  velocity = momentum * velocity + gain * g;  param -= lr * velocity.

    Parameters
    ----------
    param : ndarray, or list of ndarrays
        Of float32 or float64, dense in C or Fortran order. Changed in place.
    grad : ndarray, or list
        Of the shape, dtype and layout of param.
    velocity : ndarray, or list
        Alike; zeros before the first step, unless that is called with step=1. Changed in place.
    lr : float
        The learning rate.
    momentum : float
        What stays of the velocity.
    dampening : float
        gain = 1 - dampening.
    nesterov : bool
        Whether to go along gain * g + momentum * velocity, with the velocity just made.
    ema : bool
        Whether gain = 1 - momentum, so that the velocity is an exponential moving average.
    weight_decay : float
        The weight of a penalty weight_decay / 2 * sum(param**2), whose gradient is added to g.
    maximize : bool
        Whether to climb: g = -grad before the penalty.
    step : int, optional
        Counts from 1; the first sets velocity = g, whatever it held, as PyTorch's first step does.

    Raises
    ------
    TypeError
        If an array is not a NumPy array of float32 or float64, or their dtypes differ.
    ValueError
        If shapes or layouts differ, arrays overlap, or one to be changed is read-only,
        `step` is below 1, or `dampening` is given with `nesterov` or `ema`.

    All of them before anything is written: nothing is copied back silently.

    Notes
    -----
    Polyak's heavy ball (1964); Nesterov's form as Sutskever et al. write it (2013), and PyTorch. `ema=True` is the form
    of Ng's course 2, V = beta V + (1 - beta) dW, W -= alpha V, whose steps are 1 - momentum times as long.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> param, velocity = np.array([1.0]), np.array([4.0])
    >>> fastnn.momentum_update(param, np.array([2.0]), velocity, lr=0.5, momentum=0.5)
    >>> param, velocity
    (array([-1.]), array([4.]))
    """
    check_momentum(dampening, nesterov, ema, step)
    gain = 1 - momentum if ema else 1 - dampening
    numbers = (lr, momentum, gain, nesterov, step == 1, weight_decay, maximize)
    if not kernels.update(_MOMENTUM, (param, grad, velocity), numbers):
        check_update(param, grad, velocity=velocity)


def adagrad_update(param, grad, sum_sq, *, lr, eps=1e-10, eps_inside=False, weight_decay=0.0, maximize=False):
    """Descend by steps that shrink with the sum of the squared gradients, in place.

    g = grad + weight_decay * param;  sum_sq += g**2;  param -= lr * g / (sqrt(sum_sq) + eps).

    Parameters
    ----------
    param : ndarray, or list of ndarrays
        Of float32 or float64, dense in C or Fortran order. Changed in place.
    grad : ndarray, or list
        Of the shape, dtype and layout of param.
    sum_sq : ndarray, or list
        Alike; zeros before the first step, or a small number. Changed in place.
    lr : float
        The learning rate.
    eps : float
        Keeps the division from 0 / 0.
    eps_inside : bool
        Whether eps stands inside the root: g / sqrt(sum_sq + eps) instead of g / (sqrt(sum_sq) + eps).
    weight_decay : float
        The weight of a penalty weight_decay / 2 * sum(param**2), whose gradient is added to g.
    maximize : bool
        Whether to climb: g = -grad before the penalty.

    Raises
    ------
    TypeError
        If an array is not a NumPy array of float32 or float64, or their dtypes differ.
    ValueError
        If shapes or layouts differ, arrays overlap, or one to be changed is read-only.

    All of them before anything is written: nothing is copied back silently.

    Notes
    -----
    Duchi et al., JMLR 12 (2011). PyTorch has eps outside the root; the notes of Stanford's CS224n have 1e-8 inside it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> param, sum_sq = np.array([1.0]), np.array([12.0])
    >>> fastnn.adagrad_update(param, np.array([2.0]), sum_sq, lr=0.5, eps=0.0)
    >>> param, sum_sq
    (array([0.75]), array([16.]))
    """
    if not kernels.update(_ADAGRAD, (param, grad, sum_sq), (lr, eps, eps_inside, weight_decay, maximize)):
        check_update(param, grad, sum_sq=sum_sq)


def rmsprop_update(
    param,
    grad,
    square_avg,
    *,
    lr,
    alpha=0.99,
    eps=1e-8,
    eps_inside=False,
    centered=False,
    grad_avg=None,
    momentum=0.0,
    velocity=None,
    weight_decay=0.0,
    maximize=False,
):
    """Descend by steps that shrink with the running mean of the squared gradients, in place.

    g = grad + weight_decay * param;  square_avg = alpha * square_avg + (1 - alpha) * g**2;
    param -= lr * g / (sqrt(square_avg) + eps).

    Parameters
    ----------
    param : ndarray, or list of ndarrays
        Of float32 or float64, dense in C or Fortran order. Changed in place.
    grad : ndarray, or list
        Of the shape, dtype and layout of param.
    square_avg : ndarray, or list
        Alike; zeros before the first step. Changed in place.
    lr : float
        The learning rate.
    alpha : float
        What stays of the mean.
    eps : float
        Keeps the division from 0 / 0.
    eps_inside : bool
        Whether eps stands inside the root: g / sqrt(square_avg + eps) instead of g / (sqrt(square_avg) + eps).
    centered : bool
        Whether the root is that of the variance, square_avg - grad_avg**2, taken as 0 where rounding makes it negative.
    grad_avg : ndarray, or list
        Needed when centred, and only then: the running mean of g, with the same alpha. Changed in place.
    momentum : float
        What stays of the velocity, if not 0: velocity = momentum * velocity + g / (sqrt(square_avg) + eps) and
        param -= lr * velocity.
    velocity : ndarray, or list
        Needed with a momentum, and only then; zeros before the first step. Changed in place.
    weight_decay : float
        The weight of a penalty weight_decay / 2 * sum(param**2), whose gradient is added to g.
    maximize : bool
        Whether to climb: g = -grad before the penalty.

    Raises
    ------
    TypeError
        If an array is not a NumPy array of float32 or float64, or their dtypes differ.
    ValueError
        If shapes or layouts differ, arrays overlap, or one to be changed is read-only,
        or `grad_avg` and `centered`, `velocity` and `momentum` do not go together.

    All of them before anything is written: nothing is copied back silently.

    Notes
    -----
    Tieleman and Hinton (2012, lecture 6.5 of Neural Networks for Machine Learning); centred, Graves (arXiv:1308.0850).
    PyTorch has eps outside the root, Dive into Deep Learning inside; Ng's course 2 has none, and divides 0 by 0 where a
    gradient is 0.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> param, square_avg = np.array([1.0]), np.array([4.0])
    >>> fastnn.rmsprop_update(param, np.array([2.0]), square_avg, lr=0.5, alpha=0.75, eps=0.0)
    >>> param, square_avg
    (array([0.5]), array([4.]))
    """
    check_pairs(centered=(centered, "grad_avg", grad_avg), momentum=(momentum, "velocity", velocity))
    state = {"square_avg": square_avg}
    op = "rmsprop_update"
    if momentum:
        op = "rmsprop_momentum_update"
    if centered:
        op, state["grad_avg"] = f"centered_{op}", grad_avg
    if momentum:
        state["velocity"] = velocity
    numbers = (lr, alpha, eps, eps_inside, momentum, weight_decay, maximize)
    if not kernels.update(kernels.OPS[op], (param, grad, *state.values()), numbers):
        check_update(param, grad, **state)


def adam_update(
    param,
    grad,
    m,
    v,
    step,
    *,
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    decoupled=False,
    amsgrad=False,
    v_max=None,
    maximize=False,
):
    """Descend along the running mean of the gradients over the root of that of their squares, in place.

    g = grad + weight_decay * param;  m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2;
    param -= lr * m^ / (sqrt(v^) + eps), with m^ = m / (1 - beta1**step) and v^ = v / (1 - beta2**step).

    Parameters
    ----------
    param : ndarray, or list of ndarrays
        Of float32 or float64, dense in C or Fortran order. Changed in place.
    grad : ndarray, or list
        Of the shape, dtype and layout of param.
    m, v : ndarray, or list
        Alike; zeros before the first step. Changed in place.
    step : int
        Counts from 1.
    lr : float
        The learning rate.
    beta1, beta2 : float
        What stays of the means m and v.
    eps : float
        Keeps the division from 0 / 0.
    weight_decay : float
        The weight of a penalty weight_decay / 2 * sum(param**2), whose gradient is added to g.
    decoupled : bool
        Whether param is multiplied by 1 - lr * weight_decay instead (AdamW).
    amsgrad : bool
        Whether the largest v there has been takes the place of v under the root.
    v_max : ndarray, or list
        Needed with `amsgrad`, and only then: that largest v; zeros before the first step. Changed in place.
    maximize : bool
        Whether to climb: g = -grad before the penalty.

    Raises
    ------
    TypeError
        If an array is not a NumPy array of float32 or float64, or their dtypes differ.
    ValueError
        If shapes or layouts differ, arrays overlap, or one to be changed is read-only,
        or `step` is below 1, or `v_max` and `amsgrad` do not go together.

    All of them before anything is written: nothing is copied back silently.

    Notes
    -----
    Kingma and Ba (arXiv:1412.6980); decoupled, Loshchilov and Hutter (arXiv:1711.05101); AMSGrad, Reddi et al.
    (arXiv:1904.09237), with the largest v taken before its correction, as in PyTorch. Both corrections of the bias
    are taken in float64 and put into lr and eps, which changes nothing but the number of divisions.

    Examples
    --------
    The first step is lr long whatever the gradient's size:

    >>> import numpy as np
    >>> import fastnn
    >>> param, m, v = np.ones(2), np.zeros(2), np.zeros(2)
    >>> fastnn.adam_update(param, np.array([100.0, -0.01]), m, v, step=1, lr=0.1)
    >>> param.round(6)
    array([0.9, 1.1])
    """
    if type(step) is not int or not 0 < step < 2**63:
        step = as_count(step, "step")
    numbers = (step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize)
    if amsgrad or v_max is not None:
        check_pairs(amsgrad=(amsgrad, "v_max", v_max))
        if not kernels.update(_AMSGRAD, (param, grad, m, v, v_max), numbers):
            check_update(param, grad, m=m, v=v, v_max=v_max)
    elif not kernels.update(_ADAM, (param, grad, m, v), numbers):
        check_update(param, grad, m=m, v=v)


def _sparse_update(kernel, param, rows, grad_rows, numbers, **state):
    rows = check_sparse_update(param, rows, grad_rows, **state)
    kernel[param.dtype](param, dense(rows), dense(grad_rows), *state.values(), *numbers)


def sparse_sgd_update(param, rows, grad_rows, *, lr, maximize=False):
    """Descend along the gradients of some rows, in place: param[rows] -= lr * grad_rows.

    Parameters
    ----------
    param : ndarray (num, dim)
        Of float32 or float64, in C order. The rows that are named are changed in place, others are not even read.
    rows : array_like of integers (n,)
        Each from 0 to num - 1, in any order. The gradients of a row that is named several times are summed first.
    grad_rows : ndarray (n, dim)
        The gradient of each of those rows, of the dtype of param.
    lr : float
        The learning rate.
    maximize : bool
        Whether to climb.

    Raises
    ------
    IndexError
        If a row is out of range.
    TypeError
        If an array is not a NumPy array of float32 or float64, their dtypes differ, or rows are not integers.
    ValueError
        If shapes do not fit, arrays overlap, or one to be changed is read-only or not in C order.

    All of them before anything is written.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> param = np.zeros((4, 2))
    >>> fastnn.sparse_sgd_update(param, [3, 1, 3], np.ones((3, 2)), lr=0.5)
    >>> param
    array([[ 0. ,  0. ],
           [-0.5, -0.5],
           [ 0. ,  0. ],
           [-1. , -1. ]])
    """
    _sparse_update(_sparse_sgd_update, param, rows, grad_rows, (lr, maximize))


def sparse_adagrad_update(param, rows, grad_rows, sum_sq, *, lr, eps=1e-10, eps_inside=False, maximize=False):
    """Do what `adagrad_update` does to the rows that have a gradient, and nothing to the others, in place.

    Parameters
    ----------
    param : ndarray (num, dim)
        Of float32 or float64, in C order. The rows that are named are changed in place, others are not even read.
    rows : array_like of integers (n,)
        Each from 0 to num - 1, in any order. The gradients of a row that is named several times are summed first.
    grad_rows : ndarray (n, dim)
        The gradient of each of those rows, of the dtype of param.
    sum_sq : ndarray (num, dim)
        Zeros before the first step, or a small number. Changed in place like param.
    lr : float
        The learning rate.
    eps : float
        Keeps the division from 0 / 0.
    eps_inside : bool
        Whether eps stands inside the root.
    maximize : bool
        Whether to climb.

    Raises
    ------
    IndexError
        If a row is out of range.
    TypeError
        If an array is not a NumPy array of float32 or float64, their dtypes differ, or rows are not integers.
    ValueError
        If shapes do not fit, arrays overlap, or one to be changed is read-only or not in C order.

    All of them before anything is written.

    Notes
    -----
    A gradient of 0 changes nothing in AdaGrad, so the result is that of the dense update.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> param, sum_sq = np.zeros((3, 1)), np.zeros((3, 1))
    >>> fastnn.sparse_adagrad_update(param, [2, 2], np.ones((2, 1)), sum_sq, lr=0.5)
    >>> param.ravel(), sum_sq.ravel()
    (array([ 0. ,  0. , -0.5]), array([0., 0., 4.]))
    """
    numbers = (lr, eps, eps_inside, maximize)
    _sparse_update(_sparse_adagrad_update, param, rows, grad_rows, numbers, sum_sq=sum_sq)


def sparse_adam_update(
    param, rows, grad_rows, m, v, step, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, maximize=False
):
    """Do what Adam does to the rows that have a gradient, and nothing to the others, in place.

    m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2;
    param -= lr * sqrt(1 - beta2**step) / (1 - beta1**step) * m / (sqrt(v) + eps).

    Parameters
    ----------
    param : ndarray (num, dim)
        Of float32 or float64, in C order. The rows that are named are changed in place, others are not even read.
    rows : array_like of integers (n,)
        Each from 0 to num - 1, in any order. The gradients of a row that is named several times are summed first.
    grad_rows : ndarray (n, dim)
        The gradient of each of those rows, of the dtype of param.
    m, v : ndarray (num, dim)
        Zeros before the first step. Changed in place like param.
    step : int
        Counts from 1, for all rows alike.
    lr : float
        The learning rate.
    beta1, beta2 : float
        What stays of the means m and v.
    eps : float
        Keeps the division from 0 / 0; it is added before the root is corrected for bias, as in PyTorch's SparseAdam.
    maximize : bool
        Whether to climb.

    Raises
    ------
    IndexError
        If a row is out of range.
    TypeError
        If an array is not a NumPy array of float32 or float64, their dtypes differ, or rows are not integers.
    ValueError
        If shapes do not fit, arrays overlap, or one to be changed is read-only or not in C order, or `step` is below 1.

    All of them before anything is written.

    Notes
    -----
    The lazy form of Kingma and Ba's Adam (arXiv:1412.6980): the means of a row decay only in the steps that name it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> param, m, v = np.zeros((3, 3, 1))
    >>> fastnn.sparse_adam_update(param, [2], np.array([[7.0]]), m, v, step=1, lr=0.1)
    >>> param.ravel().round(6)
    array([ 0. ,  0. , -0.1])
    """
    numbers = (as_count(step, "step"), lr, beta1, beta2, eps, maximize)
    _sparse_update(_sparse_adam_update, param, rows, grad_rows, numbers, m=m, v=v)


def clip_by_global_norm(grads, max_norm):
    """Scale arrays together, in place, so that their norm is at most `max_norm`: g *= min(1, max_norm / norm).

    Parameters
    ----------
    grads : list of ndarray
        Of float32 or float64, in any layout.
    max_norm : float

    Returns
    -------
    norm : float
        The Euclidean norm of all arrays as one vector, before scaling, summed in float64. If it is not finite the
        arrays stay as they are, and the caller decides.

    Raises
    ------
    TypeError
        If `grads` holds anything but NumPy arrays of float32 or float64.
    ValueError
        If `max_norm` is not at least 0, or an array is read-only.

    Notes
    -----
    Pascanu, Mikolov and Bengio (arXiv:1211.5063).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> grads = [np.array([3.0]), np.array([[0.0], [4.0]])]
    >>> fastnn.clip_by_global_norm(grads, 1.0)
    5.0
    >>> grads[1].ravel()
    array([0. , 0.8])
    """
    check_limit("max_norm", max_norm)
    try:
        norm = kernels.clip_by_global_norm(list(grads), max_norm)
    except TypeError:
        norm = -1.0
    return twin.clip_by_global_norm(grads, max_norm) if norm < 0 else norm
