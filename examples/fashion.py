"""What the examples on Fashion-MNIST share: the images, random shifts and mirror images of them, the protocol."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastnn import data, nn, optim, schedules
from fastnn.training import Trainer

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
HELD_OUT = 5000  # of the 60,000 training images, for choosing


def load(*, quick=False):
    """Return (images, labels) for training and for the test, the images (n, 1, 28, 28) of mean 0 and deviation 1.

    With `quick`, a toy of ten shapes in noise instead of Fashion-MNIST.
    """
    if quick:
        rng = np.random.default_rng(0)
        shapes = rng.standard_normal((10, 1, 7, 7), np.float32).repeat(4, axis=2).repeat(4, axis=3)
        labels = rng.permutation(np.arange(600) % 10)
        images = shapes[labels] + rng.standard_normal((600, 1, 28, 28), np.float32)
        return (images[:500], labels[:500]), (images[500:], labels[500:])
    if not FOLDER.exists():
        raise SystemExit(f"Fashion-MNIST is not in {FOLDER}: apt-get install dataset-fashion-mnist, or try --quick")
    parts = []
    for part in "train", "t10k":
        images = data.read_idx(FOLDER / f"{part}-images-idx3-ubyte.gz")
        labels = data.read_idx(FOLDER / f"{part}-labels-idx1-ubyte.gz")
        parts.append(((images[:, None].astype(np.float32) - 72.94) / 90.02, labels.astype(np.int64)))
    return parts


def convolutions(rng):
    """Return three times convolution, batch normalization, ReLU and pooling, which make 576 features of an image."""
    layers, channels = [], 1
    for filters in 16, 32, 64:
        convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=False, rng=rng)
        layers += [convolution, nn.BatchNorm2d(filters), nn.Activation("relu"), nn.MaxPool2d(2)]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten())


class Varied:
    """Batches in a new order each pass, half of their images mirrored, each shifted by up to so many pixels."""

    def __init__(self, images, labels, *, size, shift, rng):
        self.batches = data.batches(images, labels, size=size, rng=rng)
        self.shift, self.rng = shift, rng

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for images, labels in self.batches:
            n, s = len(images), self.shift
            mirrored = self.rng.random(n) < 0.5
            images[mirrored] = images[mirrored, :, :, ::-1]  # of the batch, which is a copy
            wide = np.pad(images, ((0, 0), (0, 0), (s, s), (s, s)), mode="edge")
            down, right = self.rng.integers(0, 2 * s + 1, (2, n))
            yield sliding_window_view(wide, images.shape[2:], axis=(2, 3))[np.arange(n), :, down, right], labels


def experiment(build, size, *, rate, shift=0, weight_decay=0.01):
    """Train `build(rng)` for each seed, score the test once with the epoch that the held-out images chose, and print.

    Returns the scores, and of the seed with the median score the network, its predictions and its history.
    """
    train, test = load(quick=size.quick)
    runs = []
    for seed in range(size.seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(train[0]))
        held = order[: min(HELD_OUT, len(order) // 10)]
        rest = order[len(held) :]
        network = build(rng)
        batches = Varied(train[0][rest], train[1][rest], size=size.batch, shift=shift, rng=rng)
        trainer = Trainer(
            network,
            "softmax_cross_entropy",
            optim.AdamW(network.parameters(), weight_decay=weight_decay),
            metrics=["accuracy"],
            schedule=schedules.one_cycle(rate, size.epochs * len(batches)),
        )
        chosen_on = train[0][held], train[1][held]
        history = trainer.fit(
            batches, epochs=size.epochs, validation=chosen_on, batch_size=500, monitor="validation_accuracy"
        )
        predictions = np.concatenate([network(x).argmax(1) for x, _ in data.batches(*test, size=500, shuffle=False)])
        score = float((predictions == test[1]).mean())
        print(
            f"seed {seed}: test {score:.4f}, held out {trainer.best['validation_accuracy']:.4f}",
            f"in epoch {trainer.best['epoch']} of {size.epochs}, {trainer.seconds:.0f} s of training",
            flush=True,
        )
        runs.append(SimpleNamespace(score=score, network=network, predictions=predictions, history=history))
    runs.sort(key=lambda run: run.score)
    median = runs[len(runs) // 2]
    parameters = sum(parameter.value.size for parameter in median.network.parameters())
    print(f"median of {len(runs)} seeds: {median.score:.4f} with {parameters:,} parameters")
    return [run.score for run in runs], median, test[1]
