"""Dates as people write them, turned into ISO 8601: an encoder-decoder with attention, and the beam of its search.

The decoder writes one character at a time. The figure shows where in the source it looks meanwhile; what a beam of two
keeps, step by step, is printed.
"""

# %%
import datetime

import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

import fastnn
from fastnn import optim, plot
from fastnn.data import Vocabulary, bucketed_batches, pad_sequences
from fastnn.metrics import error_rate, sequence_error_rate
from fastnn.models import Seq2Seq, beam_search
from fastnn.training import Trainer

size = settings(__doc__, dates=(6000, 300), epochs=(8, 2), units=(64, 16))
rng = np.random.default_rng(0)
forms = ("%d %B %Y", "%B %d, %Y", "%d/%m/%y", "%a %d %b %Y", "%d. %b %y")
days = [datetime.date(1970, 1, 1) + datetime.timedelta(int(day)) for day in rng.integers(0, 20000, size.dates + 200)]
written = [day.strftime(rng.choice(forms)).lower() for day in days]
letters = Vocabulary("".join(written), reserved=["<pad>"])
digits = Vocabulary("0123456789-", reserved=["<pad>", "<s>", "</s>"])
sources = [letters.encode(text) for text in written]
targets = [digits.encode(day.isoformat()) for day in days]


def loss(logits, target, need_grad=True):
    return fastnn.softmax_cross_entropy(logits, target, ignore_index=0, need_grad=need_grad)


# %%
model = Seq2Seq(len(letters), len(digits), hidden_size=size.units, embedding_size=32, rng=rng)
batches = bucketed_batches(sources[:-200], targets[:-200], size=50, rng=rng)
trainer = Trainer(model, loss, optim.Adam(model.parameters(), lr=5e-3), clip_norm=1.0)
trainer.fit(batches, epochs=size.epochs)
found = [best.tokens for best, *_ in model.translate(*pad_sequences(sources[-200:]), max_length=12, beam=5)]
listed = [[target] for target in targets[-200:]]
wrong, characters = 100 * sequence_error_rate(found, listed), 100 * error_rate(found, listed)
print(f"of 200 dates not seen before {wrong:.1f} % are wrong, of their characters {characters:.1f} %\n")

# %%
text = written[-1]
source, lengths = pad_sequences(sources[-1:])
step, state = model.decoding(source, lengths)
print(f"{text}, a beam of two:")
for length in range(1, 11):
    (kept,) = beam_search(step, state, [model.start], end=None, max_length=length, beam=2, n_best=2)
    print("   ".join(f"{digits.decode(one.tokens):10s} {np.exp(one.score):6.4f}" for one in kept))

# %%
((best,),) = model.translate(source, lengths, max_length=12, beam=2)
ax = plot.attention(best.attention, list(text), [*digits.decode(best.tokens), "</s>"])
ax.figure.savefig("seq2seq.png")
plt.close(ax.figure)
