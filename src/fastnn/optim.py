"""Optimisers: PyTorch's names, arguments and defaults over fastnn's fused update functions.

A step hands all parameters that are alike to one call of an update, whatever their number.
"""

from operator import itemgetter

import numpy as np

from fastnn._backend import functions as F
from fastnn._checks import check_limit, check_rate, check_sparse_update, check_update
from fastnn.nn.module import Parameter, SparseGrad

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "SparseAdam",
    "clip_grad_norm",
    "clip_grad_value",
]

# what groups hold that is not taken over: options by which PyTorch chooses how it computes, and what a group was given
_LEFT_ASIDE = {"foreach", "fused", "capturable", "differentiable", "initial_lr", "params"}


def _step_alone(state):
    return (state["step"],)


class Optimizer:
    """The base of all optimisers.

    Attributes
    ----------
    param_groups : list of dict
        Each with its "params" and its own options; a change, say of "lr", holds from the next step on. "initial_lr"
        stays the rate that the group was given.

    A subclass names in `_slots(group)` the arrays that it keeps for each parameter, and writes
    `_update(group, step, values, grads, *slots)` for lists of parameters at the same step; where it can,
    `_update_rows(group, step, value, rows, grad_rows, *slots)` for one with a sparse gradient. `_check_kind` says which
    gradients it takes.
    """

    slots = ()  # the names of all arrays that there may be

    def __init__(self, params, **defaults):
        self.param_groups = []
        self._state = {}  # parameter -> {"step": count, slot: array}
        self._defaults = defaults
        if not hasattr(params, "__iter__"):
            raise TypeError(f"params is {params!r}, expected several parameters, or dicts that hold them, in a list")
        groups = list(params)
        if not groups:
            raise ValueError("params is empty, expected parameters or dicts that hold them")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group):
        """Add a dict of "params" and the options in which they differ from the defaults."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"params holds {group!r}, expected a dict with 'params'")
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
        self.param_groups.append({**group, "initial_lr": group["lr"]})

    def _check(self, group):
        """Raise ValueError unless the options of a group are in their ranges."""
        for name in ("lr", "eps", "weight_decay", "momentum", "alpha", "lr_decay", "initial_accumulator_value"):
            if name in group:
                check_rate(name, group[name])
        betas = group.get("betas", (0, 0))
        if np.shape(betas) != (2,) or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas is {betas}, expected two numbers from 0 to below 1")

    def zero_grad(self):
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self):
        """Update every parameter that has a gradient, in place; none if there is a gradient that does not fit."""
        dense, sparse = [], []
        for group in self.param_groups:
            batches = {}  # by number of steps, the states and the arrays of parameters
            names = self._slots(group)
            kept = itemgetter("step", *names) if names else _step_alone
            for parameter in group["params"]:
                grad = parameter.grad
                if grad is None:
                    continue
                state = self._state.get(parameter)
                try:
                    step, *arrays = kept(state)
                except (KeyError, TypeError):  # the first step, or the first with these options
                    state = self._begin(group, parameter, names)
                    step, *arrays = kept(state)
                step += 1
                if type(grad) is SparseGrad:
                    self._check_kind(group, sparse=True)
                    sparse.append((group, step, state, (parameter.value, grad.rows, grad.values, *arrays)))
                    continue
                if step not in batches:
                    batches[step] = [], []
                states, batch = batches[step]
                states.append(state)
                batch.append((parameter.value, grad, *arrays))
            if batches:
                self._check_kind(group, sparse=False)
                for step, batch in batches.items():
                    dense.append((group, step, batch))
        if len(dense) + len(sparse) > 1:  # a single update checks all before it writes
            _check_gradients(dense, sparse)
        for group, step, (states, batch) in dense:
            self._update(group, step, *zip(*batch, strict=True))
            for state in states:  # only now: an update may raise
                state["step"] = step
        for group, step, state, arrays in sparse:
            self._update_rows(group, step, *arrays)
            state["step"] = step

    def _begin(self, group, parameter, names):
        """Return the state of a parameter with all these arrays; new ones hold zeros, or what `_initial` says."""
        state = self._state.setdefault(parameter, {"step": 0})
        for name in names:
            if name not in state:
                state[name] = np.full_like(parameter.value, self._initial(group, name))
        return state

    def _slots(self, group):
        """Return the names of the arrays that a parameter of the group needs."""
        return self.slots

    def _initial(self, group, name):
        return 0.0

    def _check_kind(self, group, sparse):
        """Raise unless the group takes gradients of this kind."""
        if sparse:
            raise TypeError(f"{type(self).__name__} does not take sparse gradients; SGD, Adagrad and SparseAdam do")

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
            If groups, numbers or shapes differ, or an option is out of range; nothing is changed then.
        """
        if not {"state", "param_groups"} <= state.keys():
            raise ValueError(f"state holds {list(state)}, expected 'state' and 'param_groups'")
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
            entry["step"] = int(entry.get("step", 1))  # PyTorch's is an array, and plain SGD's counts none
            entry = {name: value for name, value in entry.items() if value is not None}
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
        options = [{k: v for k, v in group.items() if k not in _LEFT_ASIDE} for group in groups]
        unknown = sorted({name for group in options for name in group} - self._defaults.keys())
        if unknown:
            raise ValueError(f"state has the options {', '.join(unknown)}, which {type(self).__name__} has not")
        merged = [{**own, **group} for own, group in zip(self.param_groups, options, strict=True)]
        for group in merged:
            self._check(group)
        for own, group in zip(self.param_groups, merged, strict=True):
            own.update(group)
        self._state = loaded

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{name}={value}" for name, value in group.items() if name in self._defaults)
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if it is not 0: `fastnn.sgd_update`, `fastnn.momentum_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr, momentum, dampening, weight_decay : float
    nesterov, maximize : bool
    ema : bool
        Whether the velocity is the moving average momentum * velocity + (1 - momentum) * gradient, from 0, as in the
        seed notes (key concepts), rather than PyTorch's sum.

    Sparse gradients are taken without momentum and weight decay.

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
        self,
        params,
        lr=1e-3,
        momentum=0.0,
        dampening=0.0,
        weight_decay=0.0,
        nesterov=False,
        *,
        maximize=False,
        ema=False,
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            ema=ema,
        )

    def _check(self, group):
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("nesterov=True needs a momentum above 0 and dampening=0")
        if group["ema"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("ema=True needs a momentum above 0 and dampening=0")

    def _slots(self, group):
        return self.slots if group["momentum"] else ()

    def _begin(self, group, parameter, names):
        state = super()._begin(group, parameter, names)
        state["step"] = 0  # a velocity counts from its first gradient, which sets it
        return state

    def _update(self, group, step, values, grads, velocities=None):
        options = {name: group[name] for name in ("lr", "weight_decay", "maximize")}
        if velocities is None:
            F.sgd_update(values, grads, **options)
            return
        options |= {name: group[name] for name in ("momentum", "dampening", "nesterov", "ema")}
        F.momentum_update(values, grads, velocities, step=None if group["ema"] else step, **options)

    def _check_kind(self, group, sparse):
        if sparse and (group["momentum"] or group["weight_decay"]):
            raise ValueError("a sparse gradient needs momentum=0 and weight_decay=0: other rows would change as well")

    def _update_rows(self, group, step, value, rows, grad_rows):
        F.sparse_sgd_update(value, rows, grad_rows, lr=group["lr"], maximize=group["maximize"])


class Adagrad(Optimizer):
    """Divide the gradient by the root of the sum of its squares: `fastnn.adagrad_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
    lr_decay : float
        The learning rate of step t is lr / (1 + (t - 1) * lr_decay).
    weight_decay : float
        Sparse gradients want 0.
    initial_accumulator_value : float
        What the sums begin with.
    eps : float
    maximize : bool
    eps_inside : bool
        Whether to divide by sqrt(sum + eps), as in the seed notes (CS224n, notes 7), rather than sqrt(sum) + eps.

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> optimizer = Adagrad([weight], lr=0.1)
    >>> weight.grad = np.array([5.0, -0.1])
    >>> optimizer.step()
    >>> weight.value.round(3)
    array([-0.1,  0.1])
    """

    slots = ("sum",)

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0.0,
        weight_decay=0.0,
        initial_accumulator_value=0.0,
        eps=1e-10,
        *,
        maximize=False,
        eps_inside=False,
    ):
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
            eps_inside=eps_inside,
        )

    def _initial(self, group, name):
        return group["initial_accumulator_value"]

    def _options(self, group, step):
        lr = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        return {"lr": lr} | {name: group[name] for name in ("eps", "eps_inside", "maximize")}

    def _update(self, group, step, values, grads, sums):
        F.adagrad_update(values, grads, sums, weight_decay=group["weight_decay"], **self._options(group, step))

    def _check_kind(self, group, sparse):
        if sparse and group["weight_decay"]:
            raise ValueError("a sparse gradient needs weight_decay=0: other rows would change as well")

    def _update_rows(self, group, step, value, rows, grad_rows, sum_sq):
        F.sparse_adagrad_update(value, rows, grad_rows, sum_sq, **self._options(group, step))


class RMSprop(Optimizer):
    """Divide the gradient by a running root mean square of itself: `fastnn.rmsprop_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr, alpha, eps, weight_decay, momentum : float
    centered, maximize : bool
    eps_inside : bool
        Whether to divide by sqrt(square_avg + eps) rather than sqrt(square_avg) + eps.

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> optimizer = RMSprop([weight], lr=0.01)
    >>> weight.grad = np.array([5.0, -0.1])
    >>> optimizer.step()
    >>> weight.value.round(3)
    array([-0.1,  0.1])
    """

    slots = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0.0,
        momentum=0.0,
        centered=False,
        *,
        maximize=False,
        eps_inside=False,
    ):
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
            eps_inside=eps_inside,
        )

    def _slots(self, group):
        return "square_avg", *["grad_avg"] * group["centered"], *["momentum_buffer"] * (group["momentum"] > 0)

    def _update(self, group, step, values, grads, squares, *others):
        argument = {"grad_avg": "grad_avg", "momentum_buffer": "velocity"}
        arrays = {argument[slot]: several for slot, several in zip(self._slots(group)[1:], others, strict=True)}
        F.rmsprop_update(values, grads, squares, **arrays, **{name: group[name] for name in self._defaults})


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba, 2015): `fastnn.adam_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
    lr : float
    betas : pair of float
        Decay of the averages of the gradient and of its square.
    eps, weight_decay : float
    amsgrad : bool
        Whether to divide by the root of the largest average of squares there has been.
    maximize : bool
    decoupled_weight_decay : bool
        Whether the decay shrinks the weights themselves, as AdamW's does, rather than adding to the gradient.

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> optimizer = Adam([weight], lr=0.1)
    >>> weight.grad = np.array([5.0, -0.1])
    >>> optimizer.step()
    >>> weight.value.round(3)
    array([-0.1,  0.1])
    """

    slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        amsgrad=False,
        *,
        maximize=False,
        decoupled_weight_decay=False,
    ):
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def _slots(self, group):
        return self.slots if group["amsgrad"] else self.slots[:2]

    def _update(self, group, step, values, grads, means, squares, largest=None):
        beta1, beta2 = group["betas"]
        F.adam_update(
            values,
            grads,
            means,
            squares,
            step,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"],
            amsgrad=largest is not None,
            v_max=largest,
            maximize=group["maximize"],
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves (Loshchilov and Hutter, 2019).

    The parameters are Adam's, but for the last one.

    Examples
    --------
    >>> weight = Parameter(np.ones(2))
    >>> optimizer = AdamW([weight], lr=0.1, weight_decay=0.5)
    >>> weight.grad = np.zeros(2)
    >>> optimizer.step()
    >>> weight.value
    array([0.95, 0.95])
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False
    ):
        options = {"maximize": maximize, "decoupled_weight_decay": True}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **options)


class SparseAdam(Optimizer):
    """Adam for sparse gradients, which touches the rows that have one: `fastnn.sparse_adam_update`.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        Of embeddings with sparse=True; a dense gradient raises TypeError.
    lr : float
    betas : pair of float
    eps : float
    maximize : bool

    Examples
    --------
    >>> from fastnn import nn
    >>> table = nn.Embedding(4, 2, sparse=True, rng=0)
    >>> before = table.weight.value.copy()
    >>> optimizer = SparseAdam(table.parameters(), lr=0.1)
    >>> y, back = table.vjp(np.array([3, 1, 3]))
    >>> back(np.ones_like(y))
    >>> optimizer.step()
    >>> (before - table.weight.value).round(3)
    array([[0. , 0. ],
           [0.1, 0.1],
           [0. , 0. ],
           [0.1, 0.1]], dtype=float32)
    """

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, *, maximize=False):
        super().__init__(params, lr=lr, betas=betas, eps=eps, maximize=maximize)

    def _check_kind(self, group, sparse):
        if not sparse:
            raise TypeError("SparseAdam takes sparse gradients only; Adam takes dense ones")

    def _update_rows(self, group, step, value, rows, grad_rows, mean, square):
        beta1, beta2 = group["betas"]
        options = {name: group[name] for name in ("lr", "eps", "maximize")}
        F.sparse_adam_update(value, rows, grad_rows, mean, square, step, beta1=beta1, beta2=beta2, **options)


def _check_gradients(dense, sparse):
    """Raise unless all gradients fit their parameters."""
    for _, _, (_, batch) in dense:
        for arrays in batch:
            value, grad = arrays[:2]
            alike = type(grad) is np.ndarray and grad.dtype is value.dtype
            if not (alike and grad.shape == value.shape and grad.strides == value.strides):
                check_update(value, grad)
    for *_, (value, rows, grad_rows, *_) in sparse:
        check_sparse_update(value, rows, grad_rows)


def _gradients(params):
    """Return the gradients that are there; of sparse ones the values, with those of equal rows summed."""
    gradients = [parameter.grad for parameter in params if parameter.grad is not None]
    for gradient in gradients:
        if isinstance(gradient, SparseGrad):
            gradient.coalesce()
    return [gradient.values if isinstance(gradient, SparseGrad) else gradient for gradient in gradients]


def clip_grad_norm(params, max_norm):
    """Scale all gradients together so that their norm is at most `max_norm`: `fastnn.clip_by_global_norm`.

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
    return F.clip_by_global_norm(_gradients(params), max_norm)


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
    check_limit("clip_value", clip_value)
    for gradient in _gradients(params):
        gradient.clip(-clip_value, clip_value, out=gradient)
