"""Whose vowel is it? 9 speakers, 270 utterances of 12 coefficients over 7 to 29 steps to learn, 370 to test.

    python benchmarks/experiments/japanese_vowels.py DIRECTORY [--seeds 5]

DIRECTORY holds JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts (Kudo, Toyama and Shimbo 1999, UCI), as the Python
package `aeon` has them in aeon/datasets/data/JapaneseVowels: `pip download --no-deps aeon`, unpacked. Settings were
chosen on the training utterances alone: each seed of --validate leaves out another fifth of them.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from fastnn import optim, schedules
from fastnn.data import batches
from fastnn.models import RecurrentClassifier
from fastnn.training import Trainer


def read(path):
    """Return features (N, T, 12), lengths and labels of a file of the UEA archive: channels apart by colons."""
    sequences, labels = [], []
    for line in Path(path).read_text().splitlines():
        if line and line[0] not in "#@":
            *channels, label = line.split(":")
            channels = [
                [float(value) for value in channel.split(",") if value not in ("NaN", "?")] for channel in channels
            ]
            sequences.append(np.array(channels, np.float32).T)
            labels.append(int(label) - 1)
    lengths = np.array([len(sequence) for sequence in sequences])
    x = np.zeros((len(sequences), lengths.max(), sequences[0].shape[1]), np.float32)
    for row, sequence in zip(x, sequences, strict=True):
        row[: len(sequence)] = sequence
    return x, lengths, np.array(labels)


class Noisy:
    """Batches of arrays whose features differ a little each time, so that none is learnt by heart."""

    def __init__(self, arrays, noise, seed):
        self.rng = np.random.default_rng(seed)
        self.batches, self.noise = batches(*arrays, size=16, rng=self.rng), noise

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for x, *others in self.batches:
            yield (x + self.noise * self.rng.standard_normal(x.shape, np.float32), *others)


def accuracy(train, test, seed, options):
    known = np.arange(train[0].shape[1]) < train[1][:, None]
    mean, std = train[0][known].mean(axis=0), train[0][known].std(axis=0)
    train, test = (((x - mean) / std, lengths, labels) for x, lengths, labels in (train, test))
    model = RecurrentClassifier(
        12, 9, options.cell, options.hidden_size, pool=options.pool, dropout=options.dropout, rng=seed
    )
    steps = options.epochs * -(-len(train[0]) // 16)
    trainer = Trainer(
        model,
        "softmax_cross_entropy",
        optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay),
        metrics=["accuracy"],
        schedule=schedules.cosine(options.lr, steps),
        clip_norm=1.0,
        rng=seed,
    )
    trainer.fit(Noisy(train, options.noise, seed), epochs=options.epochs)
    return trainer.evaluate(test)["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cell", default="gru")
    parser.add_argument("--hidden-size", type=int, default=100)
    parser.add_argument("--pool", default="mean")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--noise", type=float, default=1.0, help="added to features, whose deviation is 1")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--validate", action="store_true", help="leave the test files alone")
    options = parser.parse_args()

    train = read(options.directory / "JapaneseVowels_TRAIN.ts")
    test = None if options.validate else read(options.directory / "JapaneseVowels_TEST.ts")
    began, found = time.perf_counter(), []
    for seed in range(options.seeds):
        if options.validate:
            held = np.arange(len(train[0])) % 5 == seed % 5
            parts = tuple(array[~held] for array in train), tuple(array[held] for array in train)
        else:
            parts = train, test
        found.append(accuracy(*parts, seed, options))
        print(f"seed {seed}: accuracy {found[-1]:.4f} after {time.perf_counter() - began:.1f} s", flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"mean {np.mean(found):.4f}, median {np.median(found):.4f}, least {min(found):.4f}; peak memory {memory:.0f} MB"
    )


if __name__ == "__main__":
    main()
