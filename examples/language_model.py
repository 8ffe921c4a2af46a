"""A character language model: counted, and recurrent with random and with consecutive sampling; its perplexities.

As in "Dive into Deep Learning", sections 6.2 to 6.5: windows of the text in two orders, a gated recurrent network,
gradients clipped by their norm, a greedy continuation of a prefix, and the perplexity, which is the number of
characters for a model that knows nothing and 1 for one that knows all.
"""

# %%
import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

import fastnn
from fastnn import data, nn, optim, plot
from fastnn.models import NGramLM, perplexity

size = settings(__doc__, characters=(200_000, 3_000), units=(128, 16), epochs=(8, 2))

text = data.shakespeare()[: size.characters]
vocabulary = data.Vocabulary(text)
indices = vocabulary.encode(text)
known, held_out = np.split(indices, [len(indices) * 9 // 10])

# %% [markdown]
# ## By counting
# An n-gram model is a Markov chain of order n - 1. Without smoothing anything unseen would have an infinite perplexity.

# %%
counted = {n: NGramLM(vocabulary, order=n).fit(known).perplexity(held_out) for n in (1, 2, 3, 5)}
for n, value in counted.items():
    print(f"{n}-grams                {value:6.2f}")


# %% [markdown]
# ## By a recurrent network
# Random sampling begins every window with a state of zeros. With consecutive sampling a window goes on where the one
# before it ended, and takes over its state, though no gradient: a state is an array, and knows not how it came about.


# %%
class Model(nn.Module):
    """Characters as vectors, a gated recurrent network, and scores of the next character."""

    def __init__(self, characters, units, rng):
        self.embedding = nn.Embedding(characters, units, rng=rng)
        self.rnn = nn.GRU(units, units, rng=rng)
        self.head = nn.Linear(units, characters, rng=rng)

    def vjp(self, x, state=None, *, training=True):
        vectors, to_embedding = self.embedding.vjp(x)
        (h, state), to_rnn = self.rnn.vjp(vectors, state)
        logits, to_head = self.head.vjp(h)
        return (logits, state), lambda dy: to_embedding(to_rnn(to_head(dy))[0])


def train(windows, carry):
    """Return a model, and its losses on what it learns from and on what is held out, by epoch."""
    model, curves = Model(len(vocabulary), size.units, np.random.default_rng(0)), ([], [])
    adam = optim.Adam(model.parameters(), lr=0.004)
    for _ in range(size.epochs):
        state, losses = None, []
        for x, target in windows:
            (logits, state), back = model.vjp(x, state if carry else None)
            loss, gradient = fastnn.softmax_cross_entropy(logits, target)
            adam.zero_grad()
            back(gradient)
            optim.clip_grad_norm(model.parameters(), 1.0)
            adam.step()
            losses.append(loss)
        (logits, _), _ = model.vjp(held_out[:-1, None])
        loss, _ = fastnn.softmax_cross_entropy(logits, held_out[1:, None], need_grad=False)
        for curve, value in zip(curves, (np.mean(losses), loss), strict=True):
            curve.append(value)
    return model, curves


def go_on(model, prefix, count):
    """Return the prefix, read character by character, and after it the likeliest next one, again and again."""
    step, read = model.rnn.stream(batch_size=1), list(vocabulary.encode(prefix))
    for i in range(len(prefix) + count - 1):
        h = step(model.embedding(read[i : i + 1]))
        if i >= len(prefix) - 1:
            read.append(int(model.head(h).argmax()))
    return "".join(vocabulary.decode(read))


steps, batch = 35, 32 if size.characters > 10_000 else 8
kinds = {
    "random": data.random_windows(known, steps, batch, rng=np.random.default_rng(1)),
    "consecutive": data.consecutive_windows(known, steps, batch),
}
curves = {}
for name, windows in kinds.items():
    model, (learnt, held) = train(windows, carry=name == "consecutive")
    curves |= {f"{name}, training": learnt, f"{name}, held out": held}
    print(f"{name:12s} sampling  {perplexity(held[-1]):6.2f}:", repr(go_on(model, "KATHARINA:", 60)))

# %%
figure, ax = plt.subplots(layout="constrained")
plot.perplexities(curves, vocabulary=len(vocabulary), ax=ax)
ax.set_title("perplexity of the next character")
figure.savefig("language_model.png")
