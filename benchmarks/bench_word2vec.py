"""Windows of words sampled and trained; `memoryview` is the entry over typed memoryviews."""

import numpy as np
import pytest

from fastnn import bench
from fastnn._kernels import word2vec as kernels

ENTRIES = {
    "alias_table": "np.multiply(weights, len(weights) / weights.sum(), threshold); f(threshold, alias)",
    "alias_sample": "f(draws, threshold, alias, rng)",
    "context_windows": "kept, m = f(room_of_centres, kept_ends, bounds, room, tokens, ends, 5, rng, None, True); "
    "centres, contexts = room_of_centres[:kept], room[:m]",
    "skipgram_step": "loss = f(vectors, output, inputs, bounds, targets, 0.01, 1, True)",
    "cbow_step": "loss = f(vectors, output, inputs, bounds, targets, 0.01, 1, True, True)",
}


@pytest.mark.parametrize("row", bench.rows("word2vec"), ids=str)
def bench_word2vec(race, row):
    f, v = getattr(kernels, row.name), row.variables()
    names = {"f": f["float"] if row.name.endswith("step") else f, "np": np}
    if row.name == "alias_sample":
        names |= {"draws": np.empty((2000, 5), np.int32)}
    if row.name == "context_windows":
        names |= {"room_of_centres": np.empty(2008, np.int32), "kept_ends": np.empty_like(v["ends"])}
        names |= {"bounds": np.empty(2001, np.int64), "room": np.empty(20_008, np.int32)}
    race(row, memoryview=(ENTRIES[row.name], names))
