"""The command line: `fastnn info`, `bench`, `lm train`, `lm sample`, `word2vec train`, `word2vec query`.

An option that is not given is not passed on: the defaults are those of the functions that do the work, and `--help`
reads them there.
"""

import argparse
import inspect
import json
import os
import shlex
import statistics
import subprocess
import sys
import textwrap

import fastnn
from fastnn import _cli_word2vec
from fastnn._backend import BACKEND

__all__ = ["main"]

CHECKPOINT = "fastnn-lm.safetensors"
SECONDS = 60.0
MIN_FREQ, UNKNOWN = 2, "<unk>"  # of words
SAMPLE = {"length": 400, "temperature": 0.8}  # of `lm sample`, and of what `lm train` shows at its end
TWIN = """
import json, sys
from fastnn.models import LanguageModel
model, text, fit = json.load(sys.stdin)
print(LanguageModel(**model, rng=0).fit(text, **fit, rng=0).history[-1]["speed"])
"""


def main(argv=None):
    """Run the command line, and return its exit status: 0, 1 without memory, 2 for bad input, 130 after Ctrl-C."""
    options = vars(_parser().parse_args(argv))
    command = options.pop("command")
    try:
        command(**options)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else error, 2)
    except (ValueError, FloatingPointError) as error:
        return _fail(error, 2)
    except MemoryError as error:
        return _fail(error if error.args else "there is not enough memory", 1)
    except KeyboardInterrupt as interrupt:
        return _fail(interrupt if interrupt.args else "interrupted", 130)
    return 0


def _fail(problem, status):
    print(f"fastnn: {problem}", file=sys.stderr)
    return status


def _parser():
    parser = argparse.ArgumentParser(prog="fastnn", description="Neural-network kernels for NumPy, at work.")
    parser.add_argument("--version", action="version", version=f"fastnn {fastnn.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_info(commands.add_parser("info", help="what this installation is made of, and what it has chosen"))
    _add_bench(commands.add_parser("bench", help="time some of the functions beside NumPy on this machine"))
    lm = commands.add_parser("lm", help="language models over characters or words").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add_train(lm.add_parser("train", help="train a model on a text, by default on two plays of Shakespeare"))
    _add_sample(lm.add_parser("sample", help="let a trained model go on from a prefix"))
    _cli_word2vec.add_commands(commands)
    return parser


# ---- fastnn info --------------------------------------------------------------------------------------------


def _add_info(parser):
    parser.set_defaults(command=fastnn.show_config)


# ---- fastnn bench -------------------------------------------------------------------------------------------


def _add_bench(parser):
    parser.set_defaults(command=_bench)


def _bench():
    from fastnn import bench

    bench.main()


# ---- fastnn lm train ----------------------------------------------------------------------------------------


def _add_train(parser):
    from fastnn.models.language import CELLS, OPTIMIZERS, SAMPLINGS, CharLM

    known = {**inspect.signature(CharLM).parameters, **inspect.signature(CharLM.fit).parameters}

    def option(flag, kind, text, name=None, **keywords):
        name = name or flag.strip("-").replace("-", "_")
        text = text if known[name].default is None else f"{text} (default {known[name].default})"
        parser.add_argument(flag, type=kind, dest=name, default=argparse.SUPPRESS, help=text, **keywords)

    parser.set_defaults(command=train_command)
    parser.add_argument("text", nargs="?", metavar="FILE", help="UTF-8 text to learn; its last tenth validates")
    parser.add_argument(
        "--text",
        dest="bundled",
        choices=["en", "zh"],
        help="without FILE: two plays of Shakespeare (en, the default), or classical Chinese verse (zh)",
    )
    parser.add_argument(
        "--words", action="store_true", default=argparse.SUPPRESS, help="learn words and marks instead of characters"
    )
    parser.add_argument(
        "--min-freq",
        type=int,
        default=argparse.SUPPRESS,
        help=f"with --words: rarer ones are one unknown word (default {MIN_FREQ})",
    )
    parser.add_argument("--out", default=CHECKPOINT, metavar="FILE", help="the checkpoint (default %(default)s)")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the training that the checkpoint holds")
    existing.add_argument("--overwrite", action="store_true", help="replace the checkpoint if there is one")
    option("--seconds", float, f"how long to train (default {SECONDS:g}, unless --epochs is given)")
    option("--epochs", float, "how often to go through the text")
    option("--cell", str, "kind of recurrent layer", choices=sorted(CELLS))
    option("--hidden-size", int, "units of a recurrent layer")
    option("--layers", int, "recurrent layers", name="num_layers")
    option("--embedding-size", int, "numbers that stand for a character or word")
    option("--dropout", float, "share of the recurrent output that is dropped")
    option("--input-dropout", float, "share of the embeddings that is dropped")
    parser.add_argument(
        "--tied",
        action="store_true",
        default=argparse.SUPPRESS,
        help=("let embedding and output share their weight, which asks for equal --embedding-size and --hidden-size"),
    )
    option("--seq-length", int, "characters or words that a gradient goes back", name="num_steps")
    option("--batch-size", int, "sequences side by side")
    option("--sampling", str, "how the text is cut", choices=SAMPLINGS)
    option("--optimizer", str, "how the weights are updated", choices=sorted(OPTIMIZERS))
    option("--lr", float, "learning rate at the start")
    option("--weight-decay", float, "pull of the weights towards 0")
    option("--clip", _number_or_none, "largest norm of the gradient, or none")
    option("--reports", int, "how many, evenly spread")
    parser.add_argument("--seed", type=seed, default=argparse.SUPPRESS, help="of all that is random (default 0)")
    parser.add_argument("--prefix", help="what the sample goes on from (default: a line of the text)")
    parser.add_argument(
        "--twin-seconds",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long to time the same training in plain NumPy (default %(default)g; 0: not at all)",
    )


def seed(text):
    """Return a seed, which cannot be negative; the name is what argparse shows."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _number_or_none(text):
    return None if text == "none" else float(text)


def train_command(*, text, bundled, out, resume, overwrite, prefix, twin_seconds, **options):
    """Train a model, and show what has become of it."""
    from fastnn.data import Vocabulary
    from fastnn.io import check_writable
    from fastnn.models import CharLM, LanguageModel

    if not twin_seconds >= 0:
        raise ValueError(f"twin_seconds is {twin_seconds}, expected at least 0")
    if os.path.exists(out) and not (resume or overwrite):
        raise ValueError(f"{out} exists: --resume goes on with it, --overwrite replaces it, --out names another file")
    check_writable(out)
    name, text = _read(text, bundled)
    cut = len(text) * 9 // 10
    train, validation = text[:cut], text[cut:]
    prefix = _a_line(validation) if prefix is None else prefix
    budget = {key: options.pop(key) for key in ("seconds", "epochs") if key in options}
    if resume and options:
        raise ValueError(f"{', '.join(options)} cannot change, since --resume goes on with the settings in {out}")
    rng = options.pop("seed", 0)
    sizes = {key: options.pop(key) for key in inspect.signature(CharLM).parameters.keys() & options}
    words, min_freq = options.pop("words", False), options.pop("min_freq", None)
    if min_freq is not None and not words:
        raise ValueError(f"min_freq is {min_freq}, but only --words has use for it")
    if resume:
        lm = _load(out)
    elif words:
        lm = LanguageModel(
            Vocabulary(_tokens(train), min_freq=MIN_FREQ if min_freq is None else min_freq, unk=UNKNOWN),
            **sizes,
            rng=rng,
        )
    else:
        lm = CharLM(text, **sizes, rng=rng)
    train, validation = _split(lm, train), _split(lm, validation)
    if not len(validation):
        raise ValueError(f"the last tenth of {name}, which is to validate, holds no {_unit(lm)}")
    lm.sample(_split(lm, prefix), 0)  # a prefix that will not do is to be found before the training, not after it

    _introduce(lm, name, train, validation)
    run = {"validation": validation, "verbose": True}
    try:
        if resume:
            lm = type(lm).resume(out, train, **run, **budget)
        else:
            lm.fit(train, **run, **options, **(budget or {"seconds": SECONDS}), rng=rng, checkpoint=out)
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            raise KeyboardInterrupt(f"{interrupt}, and --resume goes on from it") from None
        raise
    _conclude(lm, train, out, twin_seconds)
    sample = _continued(lm, prefix, SAMPLE["length"], SAMPLE["temperature"], rng=rng)
    print(f"\nfrom {prefix!r} the model goes on:\n\n{sample}\n\ncheckpoint: {out}\nfor more of it:")
    print(f"fastnn lm sample {shlex.quote(out)} --prefix {shlex.quote(prefix)}")


def _tokens(text):
    from fastnn.data import tokenize

    return tokenize(text)


def _split(lm, text):
    """Return a text as what the model takes: itself, or its words."""
    return text if lm.vocabulary.of_characters else _tokens(text)


def _continued(lm, prefix, length, temperature, **options):
    """Return a prefix and what the model makes of it, as lines if it is of words."""
    from fastnn.data import detokenize

    sample = lm.sample(_split(lm, prefix), length, temperature, **options)
    return prefix + sample if lm.vocabulary.of_characters else textwrap.fill(f"{prefix} {detokenize(sample)}", 100)


def _unit(lm):
    return "characters" if lm.vocabulary.of_characters else "words"


def _introduce(lm, name, train, validation):
    from fastnn.config import chosen
    from fastnn.models import unigram_perplexity

    machine = chosen()
    shown = [f"{key} {machine[key]}" for key in ("backend", "instruction set", "threads") if key in machine]
    print(f"fastnn {fastnn.__version__}, {', '.join(shown)}")
    print(f"text: {name}, {len(train):,} {_unit(lm)} to learn, the last {len(validation):,} to validate")
    print(f"vocabulary: {len(lm.vocabulary)} {_unit(lm)}")
    print(f"validation perplexity of a uniform model: {len(lm.vocabulary)}")
    print(f"validation perplexity of a unigram model: {unigram_perplexity(train, validation, lm.vocabulary):.2f}")
    print(f"model: {sum(parameter.value.size for parameter in lm.parameters()):,} parameters in {lm}\n")


def _conclude(lm, train, out, twin_seconds):
    """Print the best report, and how fast training was beside the NumPy twin."""
    from fastnn.io import load_arrays
    from fastnn.models import perplexity

    best = min(lm.history, key=lambda report: report["validation_loss"])
    score = perplexity(best["validation_loss"])
    speed = statistics.median(report["speed"] for report in lm.history)
    print(f"\nbest validation perplexity: {score:.3f}, in step {best['step']:,}; its weights are kept")
    print(f"training speed: {speed:,.0f} {_unit(lm)} a second")
    if BACKEND == "reference" or not twin_seconds:
        return
    settings = load_arrays(out)[1]["notes"]["settings"]
    settings |= {"seconds": twin_seconds, "epochs": None, "reports": 1}
    twin = subprocess.run(
        [sys.executable, "-c", TWIN],
        input=json.dumps([lm.config(), train, settings]),
        env={**os.environ, "FASTNN_BACKEND": "reference"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    slow = float(twin.stdout)
    print(f"the NumPy twin: {slow:,.0f} {_unit(lm)} a second, {speed / slow:.1f} times slower")


# ---- fastnn lm sample ---------------------------------------------------------------------------------------


def _add_sample(parser):
    parser.set_defaults(command=sample_command)
    parser.add_argument("checkpoint", metavar="FILE", help="what fastnn lm train wrote")
    parser.add_argument("--prefix", required=True, help="what to go on from")
    parser.add_argument(
        "--length", type=int, default=SAMPLE["length"], help="characters or words (default %(default)s)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=SAMPLE["temperature"],
        help="0 for the likeliest each time, 1 for the model's own probabilities (default %(default)s)",
    )
    parser.add_argument("--top-k", type=int, help="draw among the k likeliest alone")
    parser.add_argument("--top-p", type=float, help="draw among the likeliest that have this probability together")
    parser.add_argument("--seed", type=seed, help="for the same text each time")


def sample_command(*, checkpoint, prefix, length, temperature, top_k, top_p, seed):
    """Print a prefix and what a model makes of it."""
    lm = _load(checkpoint)
    print(_continued(lm, prefix, length, temperature, top_k=top_k, top_p=top_p, rng=seed))


# ---- files --------------------------------------------------------------------------------------------------


def _read(path, bundled):
    """Return a name and the text of a file, line ends as they are, or a bundled text."""
    if path is not None and bundled is not None:
        raise ValueError(f"both {path} and --text {bundled} are given, expected one of them")
    if path is None:
        from fastnn.data import chinese_poems, shakespeare

        if bundled == "zh":
            return "Three Hundred Tang Poems and Poems of a Thousand Masters", chinese_poems()
        return "Macbeth and The Two Gentlemen of Verona", shakespeare()
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return path, file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _load(path):
    lm = fastnn.load(path)
    if type(lm).__name__ not in ("CharLM", "LanguageModel"):
        raise ValueError(f"{path} holds a {type(lm).__name__}, expected a model that fastnn lm train wrote")
    return lm


def _a_line(text):
    """Return the first whole line of at most 40 characters, or the first that is not white space if there is none."""
    lines = [line.strip() for line in text.splitlines()[1:-1]]
    return next((line for line in lines if 0 < len(line) <= 40), text.strip()[:1] or text[:1])
