"""Diagrams of an embedding matrix, of which a one-hot row picks a row, and of beam search.

The matrix is a small one with columns that mean something; the beam is that of the seed notes, I and My first.
"""

# %%
import numpy as np
from experiment import GREEN, INK, PALE, VALUE, arrow, box, canvas, grid, number, settings

import fastnn
from fastnn.models import beam_search

settings(__doc__)

# %% [markdown]
# ## The embedding matrix
# A one-hot row times the matrix is a row of the matrix, so a lookup gives the same and multiplies nothing. The numbers
# are made up; those that training finds have columns without a name, but the same differences between words.

# %%
words, features = ["man", "woman", "king", "queen", "apple", "orange"], ["gender", "royal", "age", "food"]
E = np.array(
    [
        [-0.98, 0.02, 0.05, 0.01],
        [0.97, 0.01, 0.03, 0.02],
        [-0.95, 0.93, 0.68, 0.03],
        [0.96, 0.95, 0.66, 0.01],
        [0.02, 0.01, 0.04, 0.95],
        [0.01, -0.02, 0.03, 0.97],
    ]
)
word = words.index("queen")
one_hot = np.eye(len(words))[[word]]
row = fastnn.embedding_lookup(E, [word])
same = np.array_equal(one_hot @ E, row)
print("queen:", *map(number, row[0]), "by lookup, the same by the product:", same)

ax = canvas(9.6, 3.6, r"$o_\mathrm{queen}\,E=e_\mathrm{queen}$")
small = {"fontsize": "small", "color": INK}
sign = {"ha": "center", "va": "center", "fontsize": "xx-large", "color": INK}
middle = 1.5
grid(ax, 0.35, middle + 0.2, one_hot, form="{:g}".format, width=0.36)
for k, name in enumerate(words):
    ax.text(0.35 + 0.36 * (k + 0.5), middle + 0.27, name, rotation=60, rotation_mode="anchor", **small)
ax.text(2.8, middle, "×", **sign)
grid(ax, 3.9, middle + 1.2, E, framed=word)
ax.text(6.67, middle, "=", **sign)
grid(ax, 6.95, middle + 0.2, row, framed=0)
for k, name in enumerate(features):
    for left, top in (3.9, middle + 1.2), (6.95, middle + 0.2):
        ax.text(left + 0.62 * (k + 0.5), top + 0.07, name, ha="center", **small)
for r, name in enumerate(words):
    ax.text(3.8, middle + 1 - 0.4 * r, name, ha="right", va="center", **small)
ax.figure.savefig("embedding_matrix.png")

# %% [markdown]
# ## Beam search
# A beam of two: of all words that may come first the two likeliest stay, of all that may follow these the two likeliest
# pairs. The greedy search, which keeps one, takes I, and never finds the likelier sentence that begins with My.

# %%
chances = {
    "<s>": {"I": 0.5, "My": 0.35, "The": 0.15},
    "I": {"decided": 0.5, "thought": 0.3, "was": 0.2},
    "My": {"decision": 0.9, "thought": 0.1},
}
vocabulary = ["<s>", "I", "My", "The", "decided", "thought", "was", "decision"]
table = np.full((len(vocabulary),) * 2, -np.inf)
for before, following in chances.items():
    for after, chance in following.items():
        table[vocabulary.index(before), vocabulary.index(after)] = np.log(chance)
total, kept = {("<s>",): 1.0}, []  # the probability of every beginning, and which ones stayed at each step


def step(tokens, past):
    """Return the log-probabilities of what may follow; the state is all that was said, and note is kept of all."""
    past = np.column_stack([past, tokens])
    kept.append([tuple(vocabulary[token] for token in beginning) for beginning in past])
    for said in kept[-1]:
        total.update({(*said, word): total[said] * chance for word, chance in chances[said[-1]].items()})
    return table[tokens], past


(found,) = beam_search(step, np.empty((1, 0), np.int64), [0], end=None, max_length=2, beam=2, n_best=2)
kept.append([("<s>", *(vocabulary[token] for token in hypothesis.tokens)) for hypothesis in found])
for said, hypothesis in zip(kept[-1], found, strict=True):
    print(" ".join(said[1:]), f"{np.exp(hypothesis.log_probability):.3g}")

# %%
ax = canvas(9.2, 4.6, "beam search, b = 2: what stays is green; in blue the probability of all that was said")
nodes = {("<s>",): (0.9, 2.0)}
for length, left, top, apart in (2, 3.7, 3.3, 1.3), (3, 7.4, 3.7, 0.85):
    of_this_length = [said for said in total if len(said) == length]
    nodes |= {said: (left, top - apart * place) for place, said in enumerate(of_this_length)}
for said, (left, height) in nodes.items():
    stays = said in kept[len(said) - 1]
    ink = INK if stays else PALE
    width = 1.4 if len(said) == 3 else 0.9
    face, text = (GREEN, "black") if stays else ("white", PALE)
    box(ax, left, height, " ".join(said[1:]) or said[0], width, 0.42, face=face, edge=ink, color=text)
    if len(said) > 1:
        *before, word = said
        x, y = nodes[tuple(before)]
        chance = f"{chances[before[-1]][word]:g}"
        arrow(ax, (x + 0.47, y), (left - width / 2 - 0.02, height), value=chance, at=0.6, color=ink, ink=ink)
        beside = (left + width / 2 + 0.08, height - 0.04) if len(said) == 3 else (left - 0.12, height + 0.27)
        ax.text(*beside, f"{total[said]:.3g}", color=VALUE if stays else PALE, fontsize="small")
ax.figure.savefig("beam_search.png")
