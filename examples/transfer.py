"""Transfer learning on Fashion-MNIST: from classes 0 to 4 to classes 5 to 9, of which there are 20 images each.

A convolutional network that has learned T-shirts, trousers, pullovers, dresses and coats from 30,000 images goes on to
sandals, shirts, sneakers, bags and ankle boots: with its features frozen and only a new last layer, with all of it
fine-tuned, and beside that a network that starts from scratch.
"""

# %%
import numpy as np
from experiment import settings
from fashion import Varied, convolutions, load
from matplotlib import pyplot as plt

from fastnn import nn, optim, schedules
from fastnn.training import Trainer

size = settings(__doc__, epochs=(10, 1), steps=(400, 5), seeds=(5, 1), examples=(20, 5))


class Frozen(nn.Module):
    """A layer that is used as it is: no gradient goes into it, and running statistics stay."""

    def __init__(self, layer):
        self.layer = layer

    def vjp(self, x, *, training=True):
        return self.layer(x), lambda dy: None


def learn(features, examples, groups, rate, epochs, batch, rng):
    """Train a new last layer on these features, and what else `groups` holds; return the network."""
    head = nn.Linear(576, 5, rng=rng)
    network = nn.Sequential(features, nn.Dropout(0.3, rng=rng), head)
    batches = Varied(*examples, size=batch, shift=1, rng=rng)
    optimizer = optim.AdamW([{"params": head.parameters()}, *groups], lr=rate)
    schedule = schedules.one_cycle(rate, epochs * len(batches))
    trainer = Trainer(network, "softmax_cross_entropy", optimizer, schedule=schedule)
    trainer.fit(batches, epochs=epochs)
    return network


def accuracy(network, examples):
    return Trainer(network, "softmax_cross_entropy", optim.SGD(network.parameters()), metrics=["accuracy"]).evaluate(
        examples
    )["accuracy"]


# %%
train, test = load(quick=size.quick)
first = train[1] < 5
source = train[0][first], train[1][first]
target = test[0][test[1] >= 5], test[1][test[1] >= 5] - 5
scores = {"scratch": [], "frozen": [], "fine-tuned": []}
for seed in range(size.seeds):
    rng = np.random.default_rng(seed)
    features = convolutions(rng)
    learn(features, source, [{"params": features.parameters()}], 2e-3, size.epochs, 128, rng)
    chosen = np.concatenate([rng.choice(np.flatnonzero(train[1] == c), size.examples, False) for c in range(5, 10)])
    few = train[0][chosen], train[1][chosen] - 5
    epochs = max(1, size.steps * 25 // len(chosen))
    for way in scores:
        own = convolutions(rng)
        if way != "scratch":
            own.load_state_dict(features.state_dict())
        groups = [] if way == "frozen" else [{"params": own.parameters()}]
        network = learn(Frozen(own) if way == "frozen" else own, few, groups, 2e-3, epochs, 25, rng)
        scores[way].append(accuracy(network, target))
    print(f"seed {seed}: " + ", ".join(f"{way} {found[-1]:.4f}" for way, found in scores.items()), flush=True)
for way, found in scores.items():
    print(f"{way:11s} mean {np.mean(found):.4f}, from {min(found):.4f} to {max(found):.4f}")
gain = np.mean(scores["fine-tuned"]) - np.mean(scores["scratch"])
print(f"fine-tuned over scratch: {100 * gain:+.1f} points")

# %%
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for i, found in enumerate(scores.values()):
    ax.plot(np.full(len(found), i), found, "o", color="#0072B2", alpha=0.6)
    ax.plot([i - 0.2, i + 0.2], [np.mean(found)] * 2, color="#D55E00")
ax.set_xticks(range(len(scores)), scores)
ax.set(xlim=(-0.5, 2.5), ylabel="test accuracy, classes 5 to 9", title=f"{size.examples} images of each class")
ax.spines[["top", "right"]].set_visible(False)
figure.savefig("transfer.png")
