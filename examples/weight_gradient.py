"""The derivative with respect to a matrix of weights, derived and checked: dL/dW = delta x^T.

For z = W x + b, h = f(z) and a loss L(h), let delta = dL/dz. W_ij enters z_i alone, and there with the factor x_j:

    dL/dW_ij = sum_k dL/dz_k dz_k/dW_ij = delta_i x_j,   so   dL/dW = delta x^T, dL/db = delta, dL/dx = W^T delta.

For a batch, whose rows are the x, the outer products add up to one product of matrices, Delta^T X.
"""

# %%
import numpy as np
from experiment import settings

import fastnn
from fastnn import nn

settings(__doc__)

rng = np.random.default_rng(0)
weight, bias = rng.standard_normal((3, 4)), rng.standard_normal(3)
batch = rng.standard_normal((5, 4))
u = rng.standard_normal(3)  # the lecture's score s = u^T f(W x + b), summed over the batch


def score(weight, bias, batch):
    return (fastnn.sigmoid(batch @ weight.T + bias) @ u).sum()


# %% [markdown]
# One example: an outer product.

# %%
x = batch[0]
delta = u * fastnn.sigmoid_derivative(weight @ x + bias)
outer = np.outer(delta, x)
numerical = fastnn.numerical_gradient(lambda w: score(w, bias, batch[:1]), weight)
print("one example:   delta x^T and central differences differ by", f"{np.abs(outer - numerical).max():.0e}")

# %% [markdown]
# A batch: the sum of the outer products is one product of matrices.

# %%
deltas = u * fastnn.sigmoid_derivative(batch @ weight.T + bias)
of_weight, of_bias, of_batch = deltas.T @ batch, deltas.sum(axis=0), deltas @ weight
assert np.allclose(of_weight, sum(np.outer(d, x) for d, x in zip(deltas, batch, strict=True)))
checks = {
    "weight": (of_weight, fastnn.numerical_gradient(lambda w: score(w, bias, batch), weight)),
    "bias": (of_bias, fastnn.numerical_gradient(lambda b: score(weight, b, batch), bias)),
    "x": (of_batch, fastnn.numerical_gradient(lambda x: score(weight, bias, x), batch)),
}
for name, (derived, numerical) in checks.items():
    print(f"batch, {name:7s} derived and central differences differ by {np.abs(derived - numerical).max():.0e}")

# %% [markdown]
# What the layers do is the same, and `gradcheck` looks at all of it at once.

# %%
net = nn.Sequential(nn.Linear(4, 3, dtype=np.float64), nn.Activation("sigmoid"))
net.load_state_dict({"0.weight": weight, "0.bias": bias})
h, back = net.vjp(batch)
back(np.tile(u, (5, 1)))
print("the layer's gradient differs by", f"{np.abs(net[0].weight.grad - of_weight).max():.0e}")
report = fastnn.gradcheck(net, batch)
print(report)
