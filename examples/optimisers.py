"""All optimisers on one problem: a valley twenty times as steep across as along.

f(x, y) = x^2 / 20 + y^2 from (-7, 2), as in "Deep Learning from Scratch", chapter 6. Each optimiser takes the best of a
few rates, so that what is compared is the method.
"""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

from fastnn import nn, optim, plot

settings(__doc__)

start, steps = (-7.0, 2.0), 40
rates = [10**exponent for exponent in np.arange(-2, 0.26, 0.25)]
optimisers = {
    "SGD": optim.SGD,
    "momentum": lambda params, lr: optim.SGD(params, lr, momentum=0.9),
    "Nesterov": lambda params, lr: optim.SGD(params, lr, momentum=0.9, nesterov=True),
    "AdaGrad": optim.Adagrad,
    "RMSprop": lambda params, lr: optim.RMSprop(params, lr, alpha=0.9),
    "Adam": optim.Adam,
    "AMSGrad": lambda params, lr: optim.Adam(params, lr, amsgrad=True),
    "AdamW": lambda params, lr: optim.AdamW(params, lr, weight_decay=0.01),
    "SparseAdam": optim.SparseAdam,
}


def f(x, y):
    return x**2 / 20 + y**2


def path(optimiser, rate):
    """Return the points that an optimiser comes through, (steps + 1, 2)."""
    point = nn.Parameter(np.array([start]))
    optimizer = optimiser([point], lr=rate)
    points = [point.value[0].copy()]
    for _ in range(steps):
        gradient = point.value * [0.1, 2.0]
        sparse = isinstance(optimizer, optim.SparseAdam)  # which takes the rows that a batch used: here the only one
        point.grad = nn.SparseGrad(np.array([0]), gradient) if sparse else gradient
        optimizer.step()
        points.append(point.value[0].copy())
    return np.array(points)


# %%
paths, values = {}, {}
for name, optimiser in optimisers.items():
    tried = {rate: path(optimiser, rate) for rate in rates}
    best = min(tried, key=lambda rate: f(*tried[rate][-10:].T).mean())  # not lucky once, but there
    paths[name], values[name] = tried[best], f(*tried[best][-1])
    print(f"{name:11s} rate {best:6.3f}: f = {values[name]:.1e} after {steps} steps")

# %%
figure, axes = plt.subplots(3, 3, figsize=(11, 8), layout="constrained", sharex=True, sharey=True)
for ax, (name, points) in zip(axes.flat, paths.items(), strict=True):
    plot.trajectories(f, {name: points}, xlim=(-8, 4), ylim=(-3, 3), minimum=(0, 0), ax=ax)
figure.savefig("optimisers.png")
