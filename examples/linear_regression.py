"""Linear regression: the closed form against stochastic gradient descent.

A thousand points of y = 2 x1 - 3.4 x2 + 4.2 + noise, as in "Dive into Deep Learning", whose parameters both find.
"""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

from fastnn import nn, optim, plot
from fastnn.training import Trainer

size = settings(__doc__, epochs=(20, 20))
true = np.array([2.0, -3.4, 4.2])  # two slopes and the intercept
rng = np.random.default_rng(0)
x = rng.standard_normal((1000, 2))
y = x @ true[:2] + true[2] + 0.01 * rng.standard_normal(1000)

# %% [markdown]
# The closed form: the parameters that solve X^T X w = X^T y, X having a column of ones for the intercept.

# %%
design = np.column_stack([x, np.ones(len(x))])
closed = np.linalg.solve(design.T @ design, design.T @ y)
residual = np.mean((design @ closed - y) ** 2)

# %% [markdown]
# Gradient descent on the same mean square: batches of ten, and a rate that falls so that the noise of the batches
# averages out.

# %%
model = nn.Linear(2, 1, rng=0, dtype=np.float64)
trainer = Trainer(
    model,
    "mse_loss",
    optim.SGD(model.parameters()),
    schedule=lambda step: 0.05 / (1 + step / 100),
    rng=0,
)


def parameters():
    return np.append(model.weight.value, model.bias.value)


distances = []
history = trainer.fit(
    (x, y[:, None]),
    epochs=size.epochs,
    batch_size=10,
    callbacks=[lambda trainer: distances.append(np.abs(parameters() - closed).max())],
)
descended = parameters()

# %%
for name, found in ("true", true), ("closed form", closed), ("SGD", descended):
    print(f"{name:12s}" + "".join(f"{value:10.5f}" for value in found))
print(f"largest difference of the two: {np.abs(descended - closed).max():.1e}")
print(f"mean square left: closed form {residual:.4e}, SGD {history[-1]['loss']:.4e}")

# %%
figure, ax = plt.subplots(layout="constrained")
plot.losses(distances, ylabel="largest difference from the closed form", ax=ax)
ax.set_yscale("log")
figure.savefig("linear_regression.png")
