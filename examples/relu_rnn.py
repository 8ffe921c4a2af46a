"""Gradients through time in a ReLU RNN: identity recurrent weights against random ones.

As long as its units are active, the gradient that comes back over t steps holds t factors W_hh. Unless these are close
to the identity the product vanishes or explodes (Le, Jaitly, Hinton 2015, "A simple way to initialize recurrent
networks of rectified linear units").
"""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

from fastnn import nn, plot

size = settings(__doc__, steps=(100, 20), units=(100, 20))


def norms(cell):
    """Return the norm of dL/dh_t for each step t, where L is the sum of the last state."""
    rng = np.random.default_rng(1)
    h, pullbacks = np.zeros((16, size.units)), []
    for _ in range(size.steps):
        h, back = cell.vjp(0.1 * rng.standard_normal((16, 10)), h)
        pullbacks.append(back)
    dh, found = np.ones_like(h), []
    for back in reversed(pullbacks):
        found.append(np.linalg.norm(dh))
        _, dh = back(dh)
    return np.array(found[::-1])


# %% [markdown]
# Random weights from N(0, g^2 / n). Half of the units of a ReLU network are off, so that g = sqrt(2) keeps the size of
# the gradient on average; the curves beside it show how narrow that path is.

# %%
cells = {"identity": nn.RNNCell(10, size.units, nonlinearity="relu", init="identity", rng=0, dtype=np.float64)}
for gain in 1.0, 2**0.5, 2.0:
    cell = nn.RNNCell(10, size.units, nonlinearity="relu", rng=0, dtype=np.float64)
    cell.weight_hh.value[:] = gain * np.random.default_rng(2).standard_normal((size.units,) * 2) / size.units**0.5
    cells[f"random, g = {gain:.3g}"] = cell
found = {name: norms(cell) for name, cell in cells.items()}
for name, values in found.items():
    print(f"{name:18s} over {size.steps} steps the norm changes by a factor of {values[0] / values[-1]:.1e}")

# %%
figure, ax = plt.subplots(layout="constrained")
plot.gradient_norms(found, ax=ax)
ax.set(title="norm of the gradient of the last state's sum")
figure.savefig("relu_rnn.png")
