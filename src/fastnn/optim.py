"""Optimisers: PyTorch's names, arguments and defaults over fastnn's fused update functions."""

import math

import numpy as np

from fastnn._backend import functions as F
from fastnn.nn.module import Parameter

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "clip_grad_norm", "clip_grad_value"]


class Optimizer:
    """The base of all optimisers.

    Attributes
    ----------
    param_groups : list of dict
        Each with its "params" and its own options; a change, say of "lr", holds from the next step on.

    A subclass names the arrays it may keep for a parameter in `slots`, and writes `_update(value, grad, state, group)`.
    """

    slots = ()

    def __init__(self, params, defaults):
        self.param_groups = []
        self._state = {}  # parameter -> {"step": count, slot: array}
        self._defaults = defaults
        groups = list(params)
        if not groups:
            raise ValueError("params is empty, expected parameters or dicts that hold them")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group):
        """Add a dict of "params" and the options in which they differ from the defaults."""
        params = group["params"]
        group = {**self._defaults, **group, "params": [params] if isinstance(params, Parameter) else list(params)}
        unknown = sorted(group.keys() - self._defaults.keys() - {"params"})
        if unknown:
            raise ValueError(f"{type(self).__name__} has no option {', '.join(unknown)}")
        known = {id(parameter) for other in self.param_groups for parameter in other["params"]}
        for parameter in group["params"]:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"params holds {parameter!r}, expected a Parameter")
            if id(parameter) in known:
                raise ValueError(f"{parameter!r} is there twice, expected each parameter in one group, once")
            known.add(id(parameter))
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group):
        """Raise ValueError unless the options of a group are in their ranges."""
        for name in ("lr", "eps", "weight_decay", "momentum", "alpha"):
            if name in group and not group[name] >= 0:
                raise ValueError(f"{name} is {group[name]}, expected at least 0")

    def zero_grad(self):
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self):
        """Update every parameter that has a gradient, in place."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._state.setdefault(parameter, {"step": 0})
                state["step"] += 1
                self._update(parameter.value, parameter.grad, state, group)

    def _numbered(self):
        """Yield (number, parameter), counted through all groups."""
        return enumerate(parameter for group in self.param_groups for parameter in group["params"])

    def state_dict(self):
        """Return {"state": {number: {"step": ..., slot: array}}, "param_groups": [...]} of copies, as PyTorch does.

        Parameters are numbered through all groups; in the groups those numbers stand for them.
        """
        numbers = {id(parameter): i for i, parameter in self._numbered()}
        state = {
            i: {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in self._state[p].items()}
            for i, p in self._numbered()
            if p in self._state
        }
        groups = [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state):
        """Take over what `state_dict` returned for parameters of the same shapes, in the same groups.

        Raises
        ------
        ValueError
            If groups, numbers or shapes differ; nothing is changed then.
        """
        groups = state["param_groups"]
        sizes = [len(group["params"]) for group in groups]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise ValueError(f"state has groups of {sizes} parameters, expected {own_sizes}")
        numbers = [number for group in groups for number in group["params"]]
        loaded = {}
        for number, (_, parameter) in zip(numbers, self._numbered(), strict=True):
            if number not in state["state"]:
                continue
            entry = dict(state["state"][number])
            unknown = sorted(entry.keys() - {"step", *self.slots})
            if unknown:
                raise ValueError(f"state of parameter {number} holds {', '.join(unknown)}, expected {self.slots}")
            for slot in entry.keys() - {"step"}:
                array = np.array(entry[slot], parameter.value.dtype)
                if array.shape != parameter.value.shape:
                    raise ValueError(
                        f"{slot} of parameter {number} has shape {array.shape}, expected {parameter.value.shape}"
                    )
                entry[slot] = array
            loaded[parameter] = entry
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update({name: value for name, value in group.items() if name != "params"})
        self._state = loaded

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])


def _slot(state, name, value):
    """Return an array of the state, zeros at first."""
    array = state.get(name)
    if array is None:
        array = state[name] = np.zeros_like(value)
    return array


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if it is not 0: `fastnn.sgd_update`, `fastnn.momentum_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr, momentum, dampening, weight_decay : float
    nesterov, maximize : bool

    Examples
    --------
    >>> weight = Parameter(np.ones(2))
    >>> optimizer = SGD([weight], lr=0.5)
    >>> weight.grad = np.array([1.0, 2.0])
    >>> optimizer.step()
    >>> weight.value
    array([0.5, 0. ])
    """

    slots = ("momentum_buffer",)

    def __init__(
        self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, maximize=False
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check(self, group):
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("nesterov=True needs a momentum above 0 and dampening=0")

    def _update(self, value, grad, state, group):
        options = {name: group[name] for name in ("lr", "weight_decay", "maximize")}
        if group["momentum"] == 0:
            F.sgd_update(value, grad, **options)
            return
        first = "momentum_buffer" not in state
        F.momentum_update(
            value,
            grad,
            _slot(state, "momentum_buffer", value),
            momentum=group["momentum"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            step=1 if first else None,
            **options,
        )


class RMSprop(Optimizer):
    """Divide the gradient by a running root mean square of itself: `fastnn.rmsprop_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr, alpha, eps, weight_decay : float
    centered, maximize : bool

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> optimizer = RMSprop([weight], lr=0.01)
    >>> weight.grad = np.array([5.0, -0.1])
    >>> optimizer.step()
    >>> weight.value.round(3)
    array([-0.1,  0.1])
    """

    slots = ("square_avg", "grad_avg")

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, *, centered=False, maximize=False):
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _update(self, value, grad, state, group):
        F.rmsprop_update(
            value,
            grad,
            _slot(state, "square_avg", value),
            grad_avg=_slot(state, "grad_avg", value) if group["centered"] else None,
            **{name: option for name, option in group.items() if name != "params"},
        )


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba, 2015): `fastnn.adam_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
    betas : pair of float
        Decay of the averages of the gradient and of its square.
    eps, weight_decay : float
    maximize : bool

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> optimizer = Adam([weight], lr=0.1)
    >>> weight.grad = np.array([5.0, -0.1])
    >>> optimizer.step()
    >>> weight.value.round(3)
    array([-0.1,  0.1])
    """

    slots = ("exp_avg", "exp_avg_sq")
    decoupled = False  # whether the decay shrinks the weights themselves, rather than adding to the gradient

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, maximize=False):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def _check(self, group):
        super()._check(group)
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"betas is {group['betas']}, expected two numbers from 0 to below 1")

    def _update(self, value, grad, state, group):
        beta1, beta2 = group["betas"]
        F.adam_update(
            value,
            grad,
            _slot(state, "exp_avg", value),
            _slot(state, "exp_avg_sq", value),
            state["step"],
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=self.decoupled,
            maximize=group["maximize"],
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves (Loshchilov and Hutter, 2019).

    The parameters are Adam's.

    Examples
    --------
    >>> weight = Parameter(np.ones(2))
    >>> optimizer = AdamW([weight], lr=0.1, weight_decay=0.5)
    >>> weight.grad = np.zeros(2)
    >>> optimizer.step()
    >>> weight.value
    array([0.95, 0.95])
    """

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, *, maximize=False):
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)


def _check_limit(name, value):
    if not value >= 0:
        raise ValueError(f"{name} is {value}, expected at least 0")


def _gradients(params):
    """Return the gradients that are there."""
    return [parameter.grad for parameter in params if parameter.grad is not None]


@np.errstate(all="ignore")
def clip_grad_norm(params, max_norm):
    """Scale all gradients together so that their norm is at most `max_norm`: g *= min(1, max_norm / norm).

    Parameters
    ----------
    params : iterable of Parameter
    max_norm : float

    Returns
    -------
    norm : float
        The Euclidean norm of all gradients as one vector, before scaling. If it is not finite the gradients stay as
        they are, and the caller decides.

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> weight.grad = np.array([3.0, 4.0])
    >>> clip_grad_norm([weight], 1.0), weight.grad
    (5.0, array([0.6, 0.8]))
    """
    _check_limit("max_norm", max_norm)
    gradients = _gradients(params)
    norm = math.hypot(*map(_norm, gradients))
    if max_norm < norm < math.inf:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


def _norm(gradient):
    """Return the Euclidean norm of an array, from float64 and scaled if its squares leave the dtype's range."""
    flat = gradient.ravel(order="K")
    square = float(flat.dot(flat))
    if 1e-30 < square < math.inf:
        return math.sqrt(square)
    flat = flat.astype(np.float64)
    largest = float(abs(flat).max(initial=0))
    if not 0 < largest < math.inf:
        return largest
    flat /= largest
    return largest * math.sqrt(flat.dot(flat))


def clip_grad_value(params, clip_value):
    """Limit every element of every gradient to the range from -clip_value to clip_value, in place.

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> weight.grad = np.array([3.0, -0.5])
    >>> clip_grad_value([weight], 1.0)
    >>> weight.grad
    array([ 1. , -0.5])
    """
    _check_limit("clip_value", clip_value)
    for gradient in _gradients(params):
        gradient.clip(-clip_value, clip_value, out=gradient)
