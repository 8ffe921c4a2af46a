"""Softmax regression on Fashion-MNIST: one linear layer, softmax and cross entropy.

The section of "Dive into Deep Learning": batches of 256, a learning rate of 0.1, ten epochs. Each class has one
template, the weights of its unit, with which an image is compared.
"""

# %%
import numpy as np
from experiment import settings
from fashion import CLASSES, load
from matplotlib import pyplot as plt

from fastnn import init, nn, optim
from fastnn.training import Trainer

size = settings(__doc__, epochs=(10, 2), seeds=(3, 1))
train, test = load(quick=size.quick)

# %%
scores = []
for seed in range(size.seeds):
    rng = np.random.default_rng(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    init.initialize(network, init.normal, rng, std=0.01)
    trainer = Trainer(
        network, "softmax_cross_entropy", optim.SGD(network.parameters(), lr=0.1), metrics=["accuracy"], rng=rng
    )
    trainer.fit(train, epochs=size.epochs, batch_size=256)
    scores.append(trainer.evaluate(test)["accuracy"])
    print(f"seed {seed}: training loss {trainer.history[-1]['loss']:.4f}, test {scores[-1]:.4f}")
print(f"median of {size.seeds} seeds: {np.median(scores):.4f}")

# %%
figure, axes = plt.subplots(2, 5, figsize=(10, 4.5), layout="constrained")
templates = network[1].weight.value.reshape(10, 28, 28)
bound = np.abs(templates).max() / 2
for ax, template, name in zip(axes.flat, templates, CLASSES, strict=True):
    ax.imshow(template, cmap="RdBu_r", vmin=-bound, vmax=bound)
    ax.set_title(name)
    ax.set_axis_off()
figure.suptitle("the weights of each class: red counts for it, blue against it")
figure.savefig("softmax_regression.png")
