"""Learning rates that change: plain functions from a step to the rate of that step.

A step is the number of steps made before it, so the first one is 0. What counts steps may as well count epochs:
`by_epoch` makes the one of the other. Where a function takes a schedule, a number stands for `constant` of it.

`Trainer(..., schedule=...)` sets the rates; by hand: ``optimizer.param_groups[0]["lr"] = schedule(step)``.
"""

import math
from bisect import bisect_right

from fastnn._checks import as_count, as_positive, check_choice, check_rate
from fastnn.nn.embedding import Embedding, EmbeddingBag

__all__ = [
    "Plateau",
    "annealing",
    "by_epoch",
    "constant",
    "cosine",
    "cyclical",
    "exponential",
    "halving",
    "join",
    "linear",
    "multi_step",
    "noam",
    "one_cycle",
    "polynomial",
    "restarts",
    "scaled_by_fan_in",
    "warm_up",
]


def _rate(value, name="rate"):
    """Return a rate, a finite number of at least 0."""
    check_rate(name, value)
    return float(value)


def _schedule(value, name="schedule"):
    """Return what others may be made of: a schedule without a memory, such as that of a number."""
    if hasattr(value, "observe"):
        kind = type(value).__name__
        raise TypeError(f"{name} is a {kind}, to which nobody tells the scores there: put it around the others instead")
    return value if callable(value) else constant(_rate(value, name))


def _cosine(start, end, share):
    """Return what lies between two rates, along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _line(start, end, share):
    return start + (end - start) * share


def constant(rate):
    """Return the same rate for every step.

    The seed notes (CS224n 2019, lecture 4) begin at 0.001, and try powers of 10.

    Examples
    --------
    >>> constant(0.001)(7)
    0.001
    """
    rate = _rate(rate)
    return lambda step: rate


def annealing(rate, tau):
    """Return rate * tau / max(step, tau): constant up to step tau, then falling as 1 / step.

    The seed notes (CS224n, notes 7), which write t for tau.

    Examples
    --------
    >>> schedule = annealing(0.1, tau=100)
    >>> [round(schedule(step), 4) for step in (0, 100, 200, 1000)]
    [0.1, 0.1, 0.05, 0.01]
    """
    rate, tau = _rate(rate), as_positive(tau, "tau")
    return lambda step: rate * tau / max(step, tau)


def halving(rate, every, *, factor=0.5):
    """Return rate * factor^floor(step / every): after every so many steps, half of it.

    The seed notes (CS224n 2019, lecture 4). PyTorch's StepLR, with another default.

    Examples
    --------
    >>> schedule = halving(0.1, every=3)
    >>> [schedule(epoch) for epoch in range(7)]
    [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025]
    """
    rate, every, factor = _rate(rate), as_count(every, "every"), as_positive(factor, "factor")
    return lambda step: rate * factor ** (step // every)


def multi_step(rate, milestones, *, factor=0.1):
    """Return rate * factor^(the number of milestones up to this step).

    Examples
    --------
    >>> schedule = multi_step(1.0, [2, 5], factor=0.5)
    >>> [schedule(step) for step in range(7)]
    [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    """
    rate, factor, milestones = _rate(rate), as_positive(factor, "factor"), sorted(milestones)
    return lambda step: rate * factor ** bisect_right(milestones, step)


def exponential(rate, k):
    """Return rate * exp(-k * step).

    The seed notes (CS224n 2019, lecture 4), which count epochs. PyTorch's ExponentialLR multiplies by gamma instead:
    k is -log(gamma).

    Examples
    --------
    >>> schedule = exponential(0.1, k=0.5)
    >>> [round(schedule(epoch), 4) for epoch in range(4)]
    [0.1, 0.0607, 0.0368, 0.0223]
    """
    rate, k = _rate(rate), _rate(k, "k")
    return lambda step: rate * math.exp(-k * step)


def linear(start, end, steps):
    """Return a rate that goes from start to end along a line within so many steps, and stays there.

    Examples
    --------
    >>> schedule = linear(0.0, 1.0, steps=4)
    >>> [schedule(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    start, end, steps = _rate(start, "start"), _rate(end, "end"), as_count(steps, "steps")
    return lambda step: _line(start, end, min(step / steps, 1))


def polynomial(rate, steps, *, power=1.0, final=0.0):
    """Return final + (rate - final) * (1 - step / steps)^power, and final from step `steps` on.

    Examples
    --------
    >>> schedule = polynomial(1.0, steps=4, power=2)
    >>> [schedule(step) for step in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """
    rate, final = _rate(rate), _rate(final, "final")
    steps, power = as_count(steps, "steps"), as_positive(power, "power")
    return lambda step: final + (rate - final) * (1 - min(step / steps, 1)) ** power


def cosine(rate, steps, *, final=0.0):
    """Return final + (rate - final) * (1 + cos(pi * step / steps)) / 2, and final from step `steps` on.

    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", without the restarts.

    Examples
    --------
    >>> schedule = cosine(1.0, steps=4)
    >>> [round(schedule(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    rate, steps, final = _rate(rate), as_count(steps, "steps"), _rate(final, "final")
    return lambda step: _cosine(rate, final, min(step / steps, 1))


def restarts(rate, steps, *, growth=1, final=0.0):
    """Return a cosine that begins anew after `steps`, then after growth times as many, and so on.

    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts"; `growth` is their T_mult, a
    whole number.

    Examples
    --------
    >>> schedule = restarts(1.0, steps=2, growth=2)
    >>> [round(schedule(step), 3) for step in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """
    rate, final = _rate(rate), _rate(final, "final")
    steps, growth = as_count(steps, "steps"), as_count(growth, "growth")

    def schedule(step):
        length = steps
        if growth == 1:
            step %= length
        while step >= length:
            step, length = step - length, length * growth
        return _cosine(rate, final, step / length)

    return schedule


def cyclical(low, high, up, down=None, *, mode="triangular", gamma=1.0):
    """Return a rate that rises from low to high along a line in `up` steps, falls back in `down`, and so on.

    Parameters
    ----------
    low, high : float
    up, down : int
        `down` is `up` if None.
    mode : {"triangular", "triangular2", "exp_range"}
        What becomes of the height, high - low: it stays, halves after each cycle, or is gamma^step times as large.
    gamma : float

    Notes
    -----
    Smith (2017), "Cyclical learning rates for training neural networks", named in the seed notes (CS224n 2019,
    lecture 4). PyTorch's CyclicLR with cycle_momentum=False.

    Examples
    --------
    >>> schedule = cyclical(1.0, 3.0, up=2, mode="triangular2")
    >>> [schedule(step) for step in range(9)]
    [1.0, 2.0, 3.0, 2.0, 1.0, 1.5, 2.0, 1.5, 1.0]
    """
    low, high, up = _rate(low, "low"), _rate(high, "high"), as_count(up, "up")
    down = up if down is None else as_count(down, "down")
    check_choice(mode, ("triangular", "triangular2", "exp_range"), "mode")
    gamma = as_positive(gamma, "gamma")

    def schedule(step):
        cycle, at = divmod(step, up + down)
        share = at / up if at <= up else (up + down - at) / down
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": gamma**step}[mode]
        return low + (high - low) * share * scale

    return schedule


def one_cycle(peak, steps, *, rise=0.3, start=1 / 25, final=4e-6, shape="cosine"):
    """Return a rate that rises to its peak once, and falls to nearly nothing within so many steps.

    Parameters
    ----------
    peak : float
    steps : int
        The last of them, and all after it, have the final rate (with rise=1 the last one has the peak).
    rise : float
        The share of the steps that rise, from 0 to 1.
    start, final : float
        The first and the last rate, as shares of the peak.
    shape : {"cosine", "linear"}

    Notes
    -----
    Smith and Topin (2018), "Super-convergence". PyTorch's OneCycleLR with its defaults, but for the momentum, which
    stays: `start` is 1 / div_factor, `final` 1 / (div_factor * final_div_factor).

    Examples
    --------
    >>> schedule = one_cycle(1.0, steps=6, rise=0.5, start=0.2, final=0.0, shape="linear")
    >>> [round(schedule(step), 3) for step in range(8)]
    [0.2, 0.6, 1.0, 0.667, 0.333, 0.0, 0.0, 0.0]
    """
    peak, steps = _rate(peak, "peak"), as_count(steps, "steps", least=2)
    start, final = peak * _rate(start, "start"), peak * _rate(final, "final")
    if not 0 <= rise <= 1:
        raise ValueError(f"rise is {rise}, expected a share from 0 to 1")
    check_choice(shape, ("cosine", "linear"), "shape")
    between, top, last = {"cosine": _cosine, "linear": _line}[shape], rise * steps - 1, steps - 1

    def schedule(step):
        if step <= top:
            return between(start, peak, step / top if top > 0 else 1.0)
        return between(peak, final, (step - top) / (last - top) if step < last else 1.0)

    return schedule


def noam(size, steps, *, factor=1.0):
    """Return factor * size^-0.5 * min(t^-0.5, t * steps^-1.5), t = step + 1: a rise in `steps`, then t^-0.5.

    Vaswani et al. (2017), "Attention is all you need"; `size` is that of the model's vectors.

    Examples
    --------
    >>> schedule = noam(512, steps=4000)
    >>> [f"{schedule(step):.2e}" for step in (0, 1999, 3999, 15999)]
    ['1.75e-07', '3.49e-04', '6.99e-04', '3.49e-04']
    """
    size, steps, factor = as_positive(size, "size"), as_count(steps, "steps"), _rate(factor, "factor")
    return lambda step: factor * size**-0.5 * min((step + 1) ** -0.5, (step + 1) * steps**-1.5)


def warm_up(schedule, steps, *, start=0.0):
    """Return a rate that rises along a line to that with which a schedule begins, within so many steps, and then it.

    Parameters
    ----------
    schedule : callable or float
        Its step 0 is the step `steps` of the result.
    steps : int
    start : float
        The first rate, as a share of what it rises to.

    Examples
    --------
    >>> schedule = warm_up(halving(1.0, every=2), steps=4)
    >>> [schedule(step) for step in range(9)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5, 0.25]
    """
    schedule = _schedule(schedule)
    top = schedule(0)
    return join([linear(_rate(start, "start") * top, top, steps), schedule], [steps])


def join(schedules, boundaries):
    """Return several schedules one after the other: each counts its steps from the boundary at which it begins.

    Examples
    --------
    >>> schedule = join([0.1, exponential(1.0, k=math.log(2))], boundaries=[2])
    >>> [round(schedule(step), 3) for step in range(5)]
    [0.1, 0.1, 1.0, 0.5, 0.25]
    """
    schedules, boundaries = [_schedule(s, "one of schedules") for s in schedules], [0, *boundaries]
    if len(boundaries) != len(schedules) or boundaries != sorted(boundaries):
        raise ValueError(
            f"boundaries are {boundaries[1:]}, expected {len(schedules) - 1} steps in rising order, "
            f"one between each two of the {len(schedules)} schedules"
        )

    def schedule(step):
        i = bisect_right(boundaries, step) - 1
        return schedules[i](step - boundaries[i])

    return schedule


def by_epoch(schedule, steps):
    """Return a schedule of epochs as one of steps, of which an epoch has so many.

    Examples
    --------
    >>> schedule = by_epoch(exponential(1.0, k=1), steps=100)
    >>> schedule(0), schedule(99), round(schedule(100), 3)
    (1.0, 1.0, 0.368)
    """
    schedule, steps = _schedule(schedule), as_count(steps, "steps")
    return lambda step: schedule(step // steps)


class Plateau:
    """A rate that falls when a score no longer gets better: a schedule with a memory.

    `Trainer` tells it the score of every epoch, the one that it monitors, and keeps its memory in the checkpoint; by
    hand that is `observe`, `state_dict` and `load_state_dict`. It stands outermost, as in Plateau(warm_up(...)).

    Parameters
    ----------
    schedule : callable or float
        What it multiplies by 1, then factor, then factor^2, and so on.
    factor : float
        Below 1.
    patience : int
        How many scores in a row may fail to improve: with the next one the rate falls.
    threshold : float
        An improvement is one by more than this share of the best score, or by more than this, if `relative` is False.
    relative : bool
    maximize : bool
        Whether the score is to rise.
    cooldown : int
        After a fall, how many scores are not counted.
    least : float
        What the rate does not fall below.

    Notes
    -----
    PyTorch's ReduceLROnPlateau, with its defaults; but there a score below 0 that stays the same is an improvement.

    Examples
    --------
    >>> schedule = Plateau(0.1, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.1, 1.9):
    ...     schedule.observe(loss)
    ...     print(schedule(0), end=" ")
    0.1 0.1 0.1 0.05 0.05
    """

    def __init__(
        self,
        schedule,
        *,
        factor=0.1,
        patience=10,
        threshold=1e-4,
        relative=True,
        maximize=False,
        cooldown=0,
        least=0.0,
    ):
        self._schedule = _schedule(schedule)
        if not 0 < factor < 1:
            raise ValueError(f"factor is {factor}, expected a number between 0 and 1")
        self._factor, self._least = float(factor), _rate(least, "least")
        self._patience = as_count(patience, "patience", least=0)
        self._cooldown = as_count(cooldown, "cooldown", least=0)
        self._threshold, self._relative, self.maximize = _rate(threshold, "threshold"), relative, maximize
        self.best, self.waited, self.cooling, self.falls = None, 0, 0, 0

    def __call__(self, step):
        rate = self._schedule(step)
        return max(rate * self._factor**self.falls, min(rate, self._least))

    def observe(self, score):
        """Take note of a score."""
        if not math.isnan(score) and (self.best is None or self._better(score)):
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.cooling:
            self.cooling, self.waited = self.cooling - 1, 0
        if self.waited > self._patience:
            self.falls, self.cooling, self.waited = self.falls + 1, self._cooldown, 0

    def _better(self, score):
        margin = self._threshold * (abs(self.best) if self._relative else 1)
        return score > self.best + margin if self.maximize else score < self.best - margin

    def state_dict(self):
        """Return what it has seen, as a dict of numbers."""
        return {name: getattr(self, name) for name in ("best", "waited", "cooling", "falls")}

    def load_state_dict(self, state):
        """Take over what `state_dict` returned."""
        if self.state_dict().keys() - state.keys():
            raise ValueError(f"state holds {list(state)}, expected {', '.join(self.state_dict())}")
        for name in self.state_dict():
            setattr(self, name, state[name])


def scaled_by_fan_in(model, rate):
    """Return groups of parameters for an optimiser, with the rate divided by the root of each weight's fan-in.

    Parameters
    ----------
    model : Module
    rate : float
        That of biases, and of embeddings, whose rows are looked up and not summed over.

    Returns
    -------
    list of dict
        With "params" and "lr", one for each fan-in: the number of inputs of a neuron, prod(shape[1:]) of its weight.
        Give the optimiser `lr=rate` too: by that a `Trainer` with a schedule compares the rates of groups.

    Notes
    -----
    The seed notes (CS224n, notes 7) on Collobert; Plaut and Hinton (1987).

    Examples
    --------
    >>> from fastnn import nn, optim
    >>> net = nn.Sequential(nn.Linear(100, 16), nn.Activation("tanh"), nn.Linear(16, 2))
    >>> optimizer = optim.SGD(scaled_by_fan_in(net, 0.5), lr=0.5)
    >>> [(group["lr"], group["params"]) for group in optimizer.param_groups]
    [(0.05, [Parameter((16, 100), float32)]),
     (0.5, [Parameter((16,), float32), Parameter((2,), float32)]),
     (0.125, [Parameter((2, 16), float32)])]
    """
    rate, groups = _rate(rate), {}
    tables = [module for _, module in model.named_modules() if isinstance(module, (Embedding, EmbeddingBag))]
    looked_up = {id(parameter) for table in tables for parameter in table.parameters()}
    for parameter in model.parameters():
        shape = parameter.value.shape
        fan = 1 if len(shape) < 2 or id(parameter) in looked_up else math.prod(shape[1:])
        groups.setdefault(fan, []).append(parameter)
    return [{"params": params, "lr": rate / math.sqrt(fan)} for fan, params in groups.items()]
