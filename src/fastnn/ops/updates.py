"""Optimiser updates, in place: one pass over memory each."""

from fastnn._checks import as_count, check_momentum, check_update
from fastnn._kernels import updates as kernels
from fastnn.ops._arrays import by_dtype

__all__ = ["adagrad_update", "adam_update", "momentum_update", "rmsprop_update", "sgd_update"]

_sgd_update = by_dtype(kernels.sgd_update)
_momentum_update = by_dtype(kernels.momentum_update)
_adagrad_update = by_dtype(kernels.adagrad_update)
_rmsprop_update = by_dtype(kernels.rmsprop_update)
_centered_rmsprop_update = by_dtype(kernels.centered_rmsprop_update)
_adam_update = by_dtype(kernels.adam_update)


def _update(kernel, arrays, hyper, *state):
    """Call a kernel on arrays that the update may work on in place: param, grad, and those that `state` names.

    The kernel's own checks are the quick ones; where they fail, or say less, `check_update` finds the words.
    """
    try:
        if arrays[0].ndim != 1:
            check_update(*arrays[:2], **dict(zip(state, arrays[2:], strict=True)))
            arrays = [x.ravel("K") for x in arrays]
        kernel[arrays[0].dtype](*arrays, *hyper)
    except (AttributeError, KeyError, TypeError, ValueError):
        check_update(*arrays[:2], **dict(zip(state, arrays[2:], strict=True)))
        raise


def sgd_update(param, grad, *, lr, weight_decay=0.0, maximize=False):
    _update(_sgd_update, (param, grad), (lr, weight_decay, maximize))


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
    check_momentum(dampening, nesterov, ema, step)
    gain = 1 - momentum if ema else 1 - dampening
    hyper = (lr, momentum, gain, nesterov, step == 1, weight_decay, maximize)
    _update(_momentum_update, (param, grad, velocity), hyper, "velocity")


def adagrad_update(param, grad, sum_sq, *, lr, eps=1e-10, eps_inside=False, weight_decay=0.0, maximize=False):
    _update(_adagrad_update, (param, grad, sum_sq), (lr, eps, eps_inside, weight_decay, maximize), "sum_sq")


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
    weight_decay=0.0,
    maximize=False,
):
    if centered != (grad_avg is not None):
        raise ValueError("grad_avg is needed with centered=True and only then")
    hyper = (lr, alpha, eps, eps_inside, weight_decay, maximize)
    if centered:
        _update(_centered_rmsprop_update, (param, grad, square_avg, grad_avg), hyper, "square_avg", "grad_avg")
    else:
        _update(_rmsprop_update, (param, grad, square_avg), hyper, "square_avg")


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
    maximize=False,
):
    as_count(step, "step")
    _update(
        _adam_update, (param, grad, m, v), (step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize), "m", "v"
    )
