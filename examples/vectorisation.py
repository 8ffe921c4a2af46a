"""Vectorisation: one product of matrices instead of a loop over vectors.

The example of the CS224n lecture: N = 500 word vectors of d = 300 numbers, each multiplied by a matrix of C = 5 rows.
The lecture measured 639 microseconds for the loop and 53.8 for the product.
"""

# %%
import timeit

import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

from fastnn import nn

size = settings(__doc__, repeats=(200, 2))
N, d, C = 500, 300, 5
rng = np.random.default_rng(0)
weights = rng.random((C, d))
vectors = [rng.random((d, 1)) for _ in range(N)]
matrix = np.hstack(vectors)  # (d, N), the vectors as columns
rows = np.ascontiguousarray(matrix.T)  # (N, d), a batch as layers take it
layer = nn.Linear(d, C, dtype=np.float64)
layer.load_state_dict({"weight": weights, "bias": np.zeros(C)})

# %% [markdown]
# Three ways to the same 500 x 5 numbers.

# %%
ways = {
    "loop over vectors": lambda: [weights.dot(vector) for vector in vectors],
    "one product, NumPy": lambda: weights.dot(matrix),
    "one product, fastnn": lambda: layer(rows),
}
loop, product, fast = (way() for way in ways.values())
np.testing.assert_allclose(np.hstack(loop), product)
np.testing.assert_allclose(fast.T, product)

# %% [markdown]
# Measured in turns, so that whatever else the machine does is shared; the quickest run of each counts.

# %%
seconds = dict.fromkeys(ways, np.inf)
for _ in range(size.repeats):
    for name, way in ways.items():
        seconds[name] = min(seconds[name], timeit.timeit(way, number=1))
slowest = max(seconds.values())
for name, time in seconds.items():
    print(f"{name:20s} {1e6 * time:7.1f} us, {slowest / time:5.1f} times the slowest's speed")

# %%
figure, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
bars = ax.barh(list(seconds), [1e6 * time for time in seconds.values()], color="#0072B2")
ax.bar_label(bars, fmt="%.0f", padding=3)
ax.invert_yaxis()
ax.set(xlabel="time for 500 vectors (microseconds)")
ax.spines[["top", "right"]].set_visible(False)
figure.savefig("vectorisation.png")
