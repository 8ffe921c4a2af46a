"""How soon do equal models reach a loss of 1.60 nats a character on tiny Shakespeare, here and in PyTorch?

    python benchmarks/experiments/shakespeare_torch.py TEXT [--cell lstm] [--hidden-size 256] [--threads 2] [--seeds 3]

Needs PyTorch (`pip install torch`). Both sides start from the same weights and learn from the same windows, in the same
order, with Adam, the same clipping and masks drawn alike; every --every steps fastnn scores the last tenth of the text
with either's weights. The clock runs for the steps alone, which the two take in turns, so that whatever else the
machine does slows both.
"""

import argparse
import copy
import itertools
import math
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import fastnn
from fastnn import optim
from fastnn.data import Vocabulary, consecutive_windows
from fastnn.models import LanguageModel


class Here:
    """The model of fastnn and its steps."""

    name = "fastnn"

    def __init__(self, lm, options):
        self.lm, self.clip, self.state = lm, options.clip, None
        self.optimizer = optim.Adam(lm.parameters(), lr=options.lr)

    def step(self, x, y):
        (logits, self.state), back = self.lm.vjp(x, self.state)
        loss, dlogits = fastnn.softmax_cross_entropy(logits, y, grad_out=logits)
        self.optimizer.zero_grad()
        back(dlogits)
        optim.clip_grad_norm(self.lm.parameters(), self.clip)
        self.optimizer.step()
        return loss

    def weights(self):
        return self.lm.state_dict()


class Peer(torch.nn.Module):
    """The same in PyTorch."""

    name = "PyTorch"

    def __init__(self, lm, options):
        super().__init__()
        vocabulary, embedded, hidden = len(lm.vocabulary), lm.embedding_size, lm.hidden_size
        cell = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[lm.cell]
        self.embedding = torch.nn.Embedding(vocabulary, embedded)
        self.recurrent = cell(embedded, hidden, lm.num_layers, dropout=options.dropout if lm.num_layers > 1 else 0)
        self.output = torch.nn.Linear(hidden, vocabulary)
        self.load_state_dict({name: torch.tensor(value) for name, value in lm.state_dict().items()})
        self.clip, self.dropout, self.state = options.clip, options.dropout, None
        self.optimizer = torch.optim.Adam(self.parameters(), lr=options.lr, fused=True)

    def step(self, x, y):
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        hidden, state = self.recurrent(self.embedding(x), self.state)
        self.state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
        if self.dropout:  # one mask for all steps, as in fastnn
            hidden = hidden * torch.nn.functional.dropout(torch.ones_like(hidden[:1]), self.dropout)
        loss = torch.nn.functional.cross_entropy(self.output(hidden).flatten(0, 1), y.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.clip, foreach=True)
        self.optimizer.step()
        return loss.item()

    def weights(self):
        return {name: value.numpy() for name, value in self.state_dict().items()}


def windows(text, batch_size, seed):
    """Yield (whether an epoch begins, x, y) without end."""
    rng = np.random.default_rng(seed)
    while True:
        offset = int(rng.integers(64))
        for i, (x, y) in enumerate(consecutive_windows(text, num_steps=64, batch_size=batch_size, offset=offset)):
            yield i == 0, x.copy(), y.copy()  # PyTorch warns of read-only arrays


def race(text, validation, vocabulary, seed, options):
    """Return, for each side, the seconds and the steps until the goal."""
    lm = LanguageModel(vocabulary, options.cell, options.hidden_size, options.layers, dropout=options.dropout, rng=seed)
    judge = copy.deepcopy(lm)
    torch.manual_seed(seed)
    running = [Here(lm, options), Peer(lm, options)]
    seconds, found = {side.name: 0.0 for side in running}, {}
    source, steps = windows(text, options.batch_size, seed), 0
    while running and steps < options.steps:
        span = list(itertools.islice(source, options.every))
        steps += len(span)
        for side in list(running):
            began = time.perf_counter()
            for fresh, x, y in span:
                if fresh:
                    side.state = None
                side.step(x, y)
            seconds[side.name] += time.perf_counter() - began
            judge.load_state_dict(side.weights())
            nats = math.log(judge.perplexity(validation, prefix=text[-500:]))
            if nats <= options.goal:
                found[side.name] = seconds[side.name], steps
                running.remove(side)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--cell", default="lstm", choices=("rnn", "gru", "lstm"))
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--goal", type=float, default=1.60, help="nats a character")
    parser.add_argument("--every", type=int, default=100, help="steps between two looks at the validation text")
    parser.add_argument("--steps", type=int, default=20000, help="after which a side has failed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    fastnn.set_num_threads(options.threads)
    text = options.text.read_text(encoding="utf-8")
    vocabulary = Vocabulary(text)
    tokens = vocabulary.encode(text)
    text, validation = np.split(tokens, [int(0.9 * len(tokens))])
    ratios = []
    for seed in range(options.seeds):
        found = race(text, validation, vocabulary, seed, options)
        for name, (seconds, steps) in found.items():
            print(f"seed {seed}: {name} in {seconds:.1f} s and {steps} steps", flush=True)
        if len(found) == 2:
            ratios.append(found["PyTorch"][0] / found["fastnn"][0])
    print(
        f"ratios of the times {', '.join(f'{ratio:.2f}' for ratio in ratios)}: median {statistics.median(ratios):.2f}"
    )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, both libraries together")


if __name__ == "__main__":
    main()
