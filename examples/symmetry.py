"""Equal weights stay equal: why networks begin with random weights.

Units that begin alike get the same gradient and remain one unit, whatever their number. Here a network of 8 hidden
units learns whether x1 and x2 have the same sign, once from equal weights and once from random ones.
"""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

from fastnn import nn, optim, plot
from fastnn.training import Trainer

size = settings(__doc__, epochs=(60, 5))
rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
label = (x[:, 0] * x[:, 1] > 0).astype(int)
histories, units = {}, {}

for start in "equal", "random":
    net = nn.Sequential(nn.Linear(2, 8, rng=1), nn.Activation("tanh"), nn.Linear(8, 2, rng=1))
    if start == "equal":
        for parameter in net.parameters():
            parameter.value[:] = 0.1
    trainer = Trainer(net, "softmax_cross_entropy", optim.Adam(net.parameters(), lr=0.02), metrics=["accuracy"], rng=0)
    histories[start] = trainer.fit((x, label), epochs=size.epochs)
    units[start] = len(np.unique(net[0].weight.value, axis=0))
    accuracy = trainer.evaluate((x, label))["accuracy"]
    print(f"{start:6s} weights: {units[start]} different units of 8, accuracy {accuracy:.3f}")

# %%
figure, ax = plt.subplots(layout="constrained")
plot.losses({f"{start} weights": history.column("loss") for start, history in histories.items()}, ax=ax)
figure.savefig("symmetry.png")
