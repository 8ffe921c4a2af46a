"""Activation functions and their derivatives."""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

import fastnn
from fastnn import plot

settings(__doc__)

# %% [markdown]
# The slope at 0 and the steepest one: what a gradient is multiplied by on its way through a layer.

# %%
families = {
    "bounded": ["sigmoid", "tanh", "softsign", "hardtanh", "hardsigmoid"],
    "rectifiers": ["relu", "leaky_relu", "elu", "selu", "softplus"],
    "smooth rectifiers": ["gelu", "gelu_tanh", "silu", "mish", "hardswish"],
}
x = np.linspace(-8, 8, 16001)
slopes = {}
for names in families.values():
    for name in names:
        derivative = getattr(fastnn, f"{name}_derivative")
        slopes[name] = derivative(np.zeros(1))[0], derivative(x).max()
        print("{:12s} slope at 0: {:.4f}, steepest: {:.4f}".format(name, *slopes[name]))

# %%
figure, axes = plt.subplots(1, 3, figsize=(14, 5), layout="constrained")
for ax, (family, names) in zip(axes, families.items(), strict=True):
    plot.activations(names, ax=ax)
    ax.set(title=family, ylim=(-2.2, 4))
figure.savefig("activations.png")
