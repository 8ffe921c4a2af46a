"""Optimiser updates in plain NumPy, in place."""

import numpy as np

from fastnn._checks import as_count, check_momentum, check_update

__all__ = ["adagrad_update", "adam_update", "momentum_update", "rmsprop_update", "sgd_update"]

quiet = np.errstate(all="ignore")


def _gradient(param, grad, weight_decay, maximize):
    """Return the gradient to descend along: turned round to maximise, with the penalty's own gradient added."""
    return (-grad if maximize else grad) + weight_decay * param


def _root(square, eps, eps_inside):
    """Return sqrt(square) + eps, or sqrt(square + eps)."""
    return np.sqrt(square + eps) if eps_inside else np.sqrt(square) + eps


@quiet
def sgd_update(param, grad, *, lr, weight_decay=0.0, maximize=False):
    """g = grad + weight_decay * param;  param -= lr * g."""
    check_update(param, grad)
    param -= lr * _gradient(param, grad, weight_decay, maximize)


@quiet
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
    """velocity = momentum * velocity + gain * g;  param -= lr * velocity, or lr * (gain * g + momentum * velocity).

    The gain is 1 - dampening, or 1 - momentum for an exponential moving average (`ema`); the second form is
    Nesterov's. `step=1` sets velocity = g, whatever it held.
    """
    check_update(param, grad, velocity=velocity)
    check_momentum(dampening, nesterov, ema, step)
    gain = 1 - momentum if ema else 1 - dampening
    g = _gradient(param, grad, weight_decay, maximize)
    velocity[...] = g if step == 1 else momentum * velocity + gain * g
    param -= lr * (gain * g + momentum * velocity if nesterov else velocity)


@quiet
def adagrad_update(param, grad, sum_sq, *, lr, eps=1e-10, eps_inside=False, weight_decay=0.0, maximize=False):
    """sum_sq += g**2;  param -= lr * g / (sqrt(sum_sq) + eps)."""
    check_update(param, grad, sum_sq=sum_sq)
    g = _gradient(param, grad, weight_decay, maximize)
    sum_sq += g * g
    param -= lr * g / _root(sum_sq, eps, eps_inside)


@quiet
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
    """square_avg = alpha * square_avg + (1 - alpha) * g**2;  param -= lr * g / (sqrt(square_avg) + eps).

    Centred, the root is taken of the variance square_avg - grad_avg**2, where grad_avg averages g alike.
    """
    if centered != (grad_avg is not None):
        raise ValueError("grad_avg is needed with centered=True and only then")
    check_update(param, grad, square_avg=square_avg, **({"grad_avg": grad_avg} if centered else {}))
    g = _gradient(param, grad, weight_decay, maximize)
    square_avg[...] = alpha * square_avg + (1 - alpha) * g * g
    square = square_avg
    if centered:
        grad_avg[...] = alpha * grad_avg + (1 - alpha) * g
        square = np.maximum(square_avg - grad_avg * grad_avg, 0)
    param -= lr * g / _root(square, eps, eps_inside)


@quiet
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
    """m and v average g and g**2;  param -= lr * m^ / (sqrt(v^) + eps), m^ = m / (1 - beta1**step), v^ alike.

    `decoupled` shrinks param by lr * weight_decay instead of adding weight_decay * param to g (AdamW).
    """
    check_update(param, grad, m=m, v=v)
    as_count(step, "step")
    if decoupled:
        param *= 1 - lr * weight_decay
        weight_decay = 0.0
    g = _gradient(param, grad, weight_decay, maximize)
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g * g
    param -= lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)
