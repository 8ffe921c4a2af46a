"""Initial weights: what five layers of 100 units make of N(0, 1) inputs, by the spread of their weights.

The experiment of "Deep Learning from Scratch", chapter 6: with sigmoid units, a spread of 1 drives the activations to
0 and 1, where gradients vanish; 0.01 makes all units alike; Xavier's sqrt(1/n) keeps them apart. With ReLU that
shrinks them layer by layer, and He's sqrt(2/n) does not.
"""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

import fastnn
from fastnn import plot

settings(__doc__)

n, layers, seeds = 100, 5, 5
spreads = {"1": 1.0, "0.01": 0.01, "Xavier": (1 / n) ** 0.5, "He": (2 / n) ** 0.5}


def activations(f, spread, seed):
    """Return the activations of each layer, (layers, 1000, n)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1000, n))
    found = []
    for _ in range(layers):
        x = f(x @ (spread * rng.standard_normal((n, n))))
        found.append(x)
    return np.array(found)


# %% [markdown]
# The standard deviation of each layer's activations, mean of five seeds.

# %%
deviations = {}
for function in "sigmoid", "relu":
    for name, spread in spreads.items():
        runs = [activations(getattr(fastnn, function), spread, seed) for seed in range(seeds)]
        deviations[function, name] = np.mean([run.std(axis=(1, 2)) for run in runs], axis=0)
        numbers = "  ".join(f"{deviation:8.2g}" for deviation in deviations[function, name])
        print(f"{function:8s} {name:7s} {numbers}")

# %% [markdown]
# How many units of the sigmoid network with spread 1 are saturated.

# %%
saturated = np.mean(
    [np.abs(activations(fastnn.sigmoid, 1.0, seed) - 0.5) > 0.45 for seed in range(seeds)], axis=(0, 2, 3)
)
print("sigmoid, spread 1: below 0.05 or above 0.95 are", ", ".join(f"{share:.0%}" for share in saturated))

# %%
figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained", sharey="row")
for row, function in zip(axes, ("sigmoid", "relu"), strict=True):
    for ax, (name, spread) in zip(row, spreads.items(), strict=True):
        plot.histograms(activations(getattr(fastnn, function), spread, seed=0), range=(0, 1), limit=0.1, ax=ax)
        ax.set_title(f"{function}, weights {name}")
figure.savefig("initialisation.png")
