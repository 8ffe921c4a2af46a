"""Softmax with cross entropy, node by node, against the fused function.

The graph of "Deep Learning from Scratch", appendix A: exponentials, their sum, a division, logarithms, a product with
the target. Each node knows its own derivative alone; together they give the short answer y - t.
"""

# %%
import numpy as np
from experiment import draw_graph, settings
from matplotlib import pyplot as plt

import fastnn

settings(__doc__)

a = np.array([0.3, 2.9, 4.0])
t = np.array([0.0, 1.0, 0.0])

# %% [markdown]
# Forward. The loss is -sum(t log y); there is no small number within the logarithm, which would bias it.

# %%
exponentials = np.exp(a)  # 1: exp
total = exponentials.sum()  # 2: +
share = 1 / total  # 3: /
y = exponentials * share  # 4: x
logs = np.log(y)  # 5: log
products = t * logs  # 6: x, and the loss adds them up
loss = -products.sum()

# %% [markdown]
# Backward, from the last node to the first. A node that several others use gets the sum of their gradients.

# %%
dproducts = -np.ones(3)
dlogs = dproducts * t
dy = dlogs / y
dshare = (dy * exponentials).sum()  # the share went to all three products
dtotal = -dshare / total**2
dexponentials = dy * share + dtotal  # by way of the product, and of the sum
da = dexponentials * exponentials

# %%
fused_loss, fused_gradient = fastnn.softmax_cross_entropy(a[None], np.array([1]))
print(f"y          {y.round(6)}")
print(f"loss       {loss:.12f}, fused {fused_loss:.12f}")
print(f"gradient   {da}")
print(f"y - t      {y - t}")
print(f"fused      {fused_gradient[0]}")
difference = max(abs(loss - fused_loss), np.abs(da - fused_gradient[0]).max(), np.abs(da - (y - t)).max())
print(f"largest difference {difference:.0e}")

# %% [markdown]
# For logits as large as a network may have, the nodes overflow. The fused function subtracts the maximum first.

# %%
large = np.array([[10.0, 800.0, 790.0]])
with np.errstate(over="ignore", invalid="ignore"):
    print("node by node:", np.exp(large) / np.exp(large).sum(), "  fused:", fastnn.softmax(large).round(6))

# %% [markdown]
# The graph with its numbers: values above the edges, gradients below.

# %%
nodes = {"+": ("+", 2.5, -1), "/": ("1/x", 3.5, -1), "sum": ("+", 8, 1), "-": ("−", 9, 1), "L": ("L", 10, 1)}
edges = [("+", "/", total, dtotal), ("sum", "-", products.sum(), -1.0), ("-", "L", loss, 1.0)]
for i in range(3):
    row = 2 - i
    nodes |= {f"a{i}": (f"$a_{i + 1}$", 0, row), f"exp{i}": ("exp", 1.4, row), f"x{i}": ("×", 4.7, row)}
    nodes |= {f"log{i}": ("log", 5.8, row), f"t{i}": (f"×$t_{i + 1}$", 7, row)}
    edges += [
        (f"a{i}", f"exp{i}", a[i], da[i]),
        (f"exp{i}", f"x{i}", exponentials[i], dy[i] * share),
        (f"exp{i}", "+", exponentials[i], dtotal),
        ("/", f"x{i}", share, dy[i] * exponentials[i]),
        (f"x{i}", f"log{i}", y[i], dy[i]),
        (f"log{i}", f"t{i}", logs[i], dlogs[i]),
        (f"t{i}", "sum", products[i], dproducts[i]),
    ]
edges = [(start, end, f"{value + 0:.3g}", f"{gradient + 0:.3g}") for start, end, value, gradient in edges]
figure, ax = plt.subplots(figsize=(13, 5), layout="constrained")
draw_graph(ax, nodes, edges)
ax.set_title("softmax with cross entropy: values (blue) and gradients (red)")
figure.savefig("softmax_with_loss.png")
