"""A computation graph, forward and backward: (x + y) * max(y, z), the example of the CS224n lecture.

At x = 1, y = 2, z = 0 it is 6, and its gradient (2, 5, 0): y goes two ways, so its gradient is the sum of both.
"""

# %%
import numpy as np
from experiment import draw_graph, settings
from matplotlib import pyplot as plt

import fastnn

settings(__doc__)

x, y, z = 1.0, 2.0, 0.0

# %% [markdown]
# Forward: each node keeps what its backward step needs.

# %%
a = x + y
b = max(y, z)
f = a * b

# %% [markdown]
# Backward: each node multiplies the gradient from above by its local one. A sum hands it on, a maximum sends it to the
# larger input, a product swaps its inputs.

# %%
df = 1.0
da, db = df * b, df * a
dx = da
dy = da + db * (y > z)  # the fork
dz = db * (z > y)
print(f"f = {f:g}, gradient ({dx:g}, {dy:g}, {dz:g})")

# %% [markdown]
# Central differences find the same.

# %%
numerical = fastnn.numerical_gradient(lambda v: (v[0] + v[1]) * max(v[1], v[2]), np.array([x, y, z]))
print("central differences", numerical.round(6))

# %%
nodes = {"x": ("x", 0, 2), "y": ("y", 0, 1), "z": ("z", 0, 0), "+": ("+", 1.5, 1.7), "max": ("max", 1.5, 0.3)}
nodes |= {"*": ("×", 3, 1), "f": ("f", 4, 1)}
edges = [("x", "+", x, dx), ("y", "+", y, da), ("y", "max", y, db), ("z", "max", z, dz)]
edges += [("+", "*", a, da), ("max", "*", b, db), ("*", "f", f, df)]
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
draw_graph(ax, nodes, [(start, end, f"{value:g}", f"{gradient:g}") for start, end, value, gradient in edges])
ax.set_title("(x + y) max(y, z): values (blue) and gradients (red)")
figure.savefig("computation_graph.png")
