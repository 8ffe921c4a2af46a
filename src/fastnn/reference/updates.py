"""Optimiser updates in plain NumPy, in place."""

import math

import numpy as np

from fastnn._checks import (
    as_count,
    check_arrays,
    check_limit,
    check_momentum,
    check_pairs,
    check_sparse_update,
    check_update,
)
from fastnn.reference.embedding import coalesce

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
    for p, g in check_update(param, grad):
        p -= lr * _gradient(p, g, weight_decay, maximize)


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
    check_momentum(dampening, nesterov, ema, step)
    gain = 1 - momentum if ema else 1 - dampening
    for p, g, v in check_update(param, grad, velocity=velocity):
        g = _gradient(p, g, weight_decay, maximize)
        v[...] = g if step == 1 else momentum * v + gain * g
        p -= lr * (gain * g + momentum * v if nesterov else v)


@quiet
def adagrad_update(param, grad, sum_sq, *, lr, eps=1e-10, eps_inside=False, weight_decay=0.0, maximize=False):
    """sum_sq += g**2;  param -= lr * g / (sqrt(sum_sq) + eps)."""
    for p, g, s in check_update(param, grad, sum_sq=sum_sq):
        g = _gradient(p, g, weight_decay, maximize)
        s += g * g
        p -= lr * g / _root(s, eps, eps_inside)


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
    momentum=0.0,
    velocity=None,
    weight_decay=0.0,
    maximize=False,
):
    """square_avg = alpha * square_avg + (1 - alpha) * g**2;  param -= lr * g / (sqrt(square_avg) + eps).

    Centred, the root is taken of the variance square_avg - grad_avg**2, where grad_avg averages g alike. With a
    momentum, what lr multiplies is added to momentum * velocity, which becomes the velocity.
    """
    check_pairs(centered=(centered, "grad_avg", grad_avg), momentum=(momentum, "velocity", velocity))
    state = {"square_avg": square_avg} | ({"grad_avg": grad_avg} if centered else {})
    state |= {"velocity": velocity} if momentum else {}
    for p, g, s, *rest in check_update(param, grad, **state):
        g = _gradient(p, g, weight_decay, maximize)
        s[...] = alpha * s + (1 - alpha) * g * g
        square = s
        if centered:
            mean = rest[0]
            mean[...] = alpha * mean + (1 - alpha) * g
            square = np.maximum(s - mean * mean, 0)
        step = g / _root(square, eps, eps_inside)
        if momentum:
            rest[-1][...] = step = momentum * rest[-1] + step
        p -= lr * step


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
    amsgrad=False,
    v_max=None,
    maximize=False,
):
    """m and v average g and g**2;  param -= lr * m^ / (sqrt(v^) + eps), m^ = m / (1 - beta1**step), v^ alike.

    `decoupled` shrinks param by lr * weight_decay instead of adding weight_decay * param to g (AdamW); with `amsgrad`,
    the largest v there has been takes the place of v.
    """
    as_count(step, "step")
    check_pairs(amsgrad=(amsgrad, "v_max", v_max))
    for p, g, mean, square, *largest in check_update(param, grad, m=m, v=v, **({"v_max": v_max} if amsgrad else {})):
        g = _gradient(p, g, 0.0 if decoupled else weight_decay, maximize)
        if decoupled:
            p *= 1 - lr * weight_decay
        mean[...] = beta1 * mean + (1 - beta1) * g
        square[...] = beta2 * square + (1 - beta2) * g * g
        if amsgrad:
            largest[0][...] = square = np.maximum(largest[0], square)
        p -= lr * (mean / (1 - beta1**step)) / (np.sqrt(square / (1 - beta2**step)) + eps)


@quiet
def sparse_sgd_update(param, rows, grad_rows, *, lr, maximize=False):
    """param[rows] -= lr * grad_rows, the gradients of equal rows summed."""
    rows, g = coalesce(check_sparse_update(param, rows, grad_rows), grad_rows)
    param[rows] -= lr * (-g if maximize else g)


@quiet
def sparse_adagrad_update(param, rows, grad_rows, sum_sq, *, lr, eps=1e-10, eps_inside=False, maximize=False):
    """adagrad_update of the rows that are named."""
    rows, g = coalesce(check_sparse_update(param, rows, grad_rows, sum_sq=sum_sq), grad_rows)
    sum_sq[rows] += g * g
    param[rows] -= lr * (-g if maximize else g) / _root(sum_sq[rows], eps, eps_inside)


@quiet
def sparse_adam_update(
    param, rows, grad_rows, m, v, step, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, maximize=False
):
    """adam_update of the rows that are named, with eps added to the root before its correction."""
    as_count(step, "step")
    rows, g = coalesce(check_sparse_update(param, rows, grad_rows, m=m, v=v), grad_rows)
    g = -g if maximize else g
    m[rows] = beta1 * m[rows] + (1 - beta1) * g
    v[rows] = beta2 * v[rows] + (1 - beta2) * g * g
    param[rows] -= lr * math.sqrt(1 - beta2**step) / (1 - beta1**step) * m[rows] / (np.sqrt(v[rows]) + eps)


@quiet
def clip_by_global_norm(grads, max_norm):
    """Return the norm of all arrays as one vector;  g *= max_norm / norm for each if the norm is larger and finite."""
    check_limit("max_norm", max_norm)
    grads = list(grads)
    check_arrays(grads, "grads")
    norm = math.hypot(*map(_norm, grads))
    if max_norm < norm < math.inf:
        for gradient in grads:
            gradient *= max_norm / norm
    return norm


def _norm(gradient):
    """Return the Euclidean norm of an array, in float64 and scaled, so that no square leaves the range."""
    flat = gradient.astype(np.float64).ravel(order="K")
    largest = float(abs(flat).max(initial=0))
    if not 0 < largest < math.inf:
        return largest
    flat /= largest
    return largest * math.sqrt(flat.dot(flat))
