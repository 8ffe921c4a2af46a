"""Learning rates: the schedules of the notes, and a range test that shows how large a rate may be."""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

from fastnn import nn, optim, plot, schedules
from fastnn.training import Trainer

size = settings(__doc__, steps=(200, 30))
n = 100
kinds = {
    "decaying": {
        "annealing, tau = 20": schedules.annealing(1.0, 20),
        "halved every 25": schedules.halving(1.0, 25),
        "at 40 and 70": schedules.multi_step(1.0, [40, 70]),
        "exponential, k = 0.05": schedules.exponential(1.0, 0.05),
        "polynomial": schedules.polynomial(1.0, n, power=2.0),
    },
    "cyclical": {
        mode: schedules.cyclical(0.1, 1.0, 15, mode=mode, gamma=0.98)
        for mode in ("triangular", "triangular2", "exp_range")
    },
    "warmed up": {
        "cosine after warm-up": schedules.warm_up(schedules.cosine(1.0, n - 10), 10),
        "one cycle": schedules.one_cycle(1.0, n),
        "restarts": schedules.restarts(1.0, 14, growth=2),
        "Noam": schedules.noam(10, 10, factor=10),
    },
}

# %% [markdown]
# The range test: a network of the plane makes steps with ever larger rates, until the loss explodes. A good rate is a
# few times below the one with which it begins to rise.

# %%
rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (2000, 2)).astype(np.float32)
label = (np.sin(4 * x[:, 0]) > x[:, 1]).astype(int)
network = nn.Sequential(nn.Linear(2, 64, rng=rng), nn.Activation("relu"), nn.Linear(64, 2, rng=rng))
trainer = Trainer(network, "softmax_cross_entropy", optim.SGD(network.parameters(), momentum=0.9), rng=0)
rates, losses = trainer.range_test((x, label), low=1e-3, high=100.0, steps=size.steps, batch_size=128)
chosen = rates[losses.argmin()] / 3
print(f"lowest loss {losses.min():.3f} with rate {rates[losses.argmin()]:.2g}; a third of it is {chosen:.2g}")

# %%
figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
for ax, (kind, functions) in zip(axes.flat, kinds.items(), strict=False):
    plot.schedules(functions, n, ax=ax)
    ax.set_title(kind)
plot.learning_rate_finder(rates, losses, chosen=chosen, ax=axes[1, 1])
axes[1, 1].set_title("range test")
figure.savefig("learning_rates.png")
