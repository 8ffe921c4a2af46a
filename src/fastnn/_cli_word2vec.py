"""`fastnn word2vec train` and `fastnn word2vec query`."""

import argparse
import inspect
import os
import sys
import time

OUT = "fastnn-word2vec.safetensors"
FORMATS = (".txt", ".bin")  # of word2vec, to write; what is read tells its format itself


def add_commands(commands):
    """Add both commands to a parser's."""
    word2vec = commands.add_parser("word2vec", help="vectors of words, learnt from a text").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add_train(word2vec.add_parser("train", help="learn vectors from a text, a sentence a line"))
    _add_query(word2vec.add_parser("query", help="ask which words are near"))


def _add_train(parser):
    from fastnn.models import Word2Vec

    known = inspect.signature(Word2Vec).parameters

    def option(flag, kind, text, name=None, **keywords):
        name = name or flag.strip("-").replace("-", "_")
        text = f"{text} (default {known[name].default})"
        parser.add_argument(flag, type=kind, dest=name, default=argparse.SUPPRESS, help=text, **keywords)

    parser.set_defaults(command=train_command)
    parser.add_argument("text", metavar="FILE", help="UTF-8 text, a sentence a line, words between white space")
    parser.add_argument(
        "--out",
        default=OUT,
        metavar="FILE",
        help="the model, or its vectors alone for a name that ends with .txt or .bin (default %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace that file if there is one")
    option("--vector-size", int, "length of a vector")
    option("--window", int, "how far a context reaches to both sides")
    option("--sg", int, "1 for skip-gram, 0 for continuous bag of words", choices=(0, 1))
    option("--negative", int, "negative samples a window, 0 for the full softmax")
    option("--ns-exponent", float, "they are drawn in proportion to count ** this")
    option("--min-count", int, "rarer words are left out")
    option("--sample", float, "share of the text above which words are dropped at random, 0 for none")
    option("--epochs", int, "how often to go through the text")
    option("--alpha", float, "learning rate at the start")
    option("--min-alpha", float, "learning rate at the end")
    option("--workers", int, "threads")
    option("--seed", int, "of all that is random")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        default=argparse.SUPPRESS,
        help="the same vectors for any number of threads",
    )


def train_command(*, text, out, overwrite, **options):
    """Train a model, and show what is near its commonest words."""
    from fastnn.io import check_writable
    from fastnn.models import Word2Vec

    if os.path.exists(out) and not overwrite:
        raise ValueError(f"{out} exists: --overwrite replaces it, --out names another file")
    check_writable(out)
    model = Word2Vec(**options)
    model.build_vocab(corpus_file=text)
    print(f"{text}: {model.corpus_total_words:,} words in {model.corpus_count:,} lines; {len(model.wv):,} are learnt")
    start = time.perf_counter()
    trained, raw = model.train(corpus_file=text, progress=_bar(model.corpus_total_words * model.epochs))
    seconds = time.perf_counter() - start
    print(f"{raw:,} words gone through in {seconds:.1f} s, {raw / seconds:,.0f} a second; {trained:,} trained on")
    if out.endswith(FORMATS):
        model.wv.save_word2vec_format(out, binary=out.endswith(".bin"))
    else:
        model.save(out)
    for word in model.wv.index_to_key[100:103] or model.wv.index_to_key[:3]:
        print(f"near {word}: {', '.join(near for near, _ in model.wv.most_similar(word, topn=5))}")
    print(f"vectors: {out}; for more: fastnn word2vec query {out} WORD ...")


def _bar(words):
    """Return what shows how far a training has come, on a terminal."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    bar = tqdm(total=words, unit=" words", unit_scale=True, leave=False)

    def show(share):
        bar.update(int(share * words) - bar.n)
        if share == 1:
            bar.close()

    return show


def _add_query(parser):
    parser.set_defaults(command=query_command)
    parser.add_argument("vectors", metavar="FILE", help="what fastnn word2vec train wrote, or word2vec or GloVe")
    parser.add_argument("words", nargs="+", metavar="WORD", help="what the answers are to be near to")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="WORD", help="and far from: king woman --without man"
    )
    parser.add_argument("--topn", type=int, default=10, help="answers (default %(default)s)")
    parser.add_argument("--no-header", action="store_true", help="FILE is one of GloVe")


def query_command(*, vectors, words, without, topn, no_header):
    """Print the words nearest to some."""
    wv = _vectors(vectors, no_header)
    unknown = [word for word in (*words, *without) if word not in wv]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))} not among the {len(wv):,} words of {vectors}")
    for word, cosine in wv.most_similar(words, without, topn=topn):
        print(f"{cosine:.4f}  {word}")


def _vectors(path, no_header):
    from fastnn import load
    from fastnn.models import KeyedVectors, Word2Vec
    from fastnn.models.keyedvectors import HEADER

    with open(path, "rb") as file:
        start = file.read(8)
        file.seek(0)
        first, second = file.readline(100), file.readline()
    headed = not no_header and HEADER.fullmatch(first) is not None
    if headed or no_header or b"\0" not in start:  # a file of fastnn begins with a length in eight bytes
        binary = headed and not _ends_in_numbers(second, int(first.split()[1]))
        return KeyedVectors.load_word2vec_format(path, binary=binary, no_header=no_header)
    model = load(path)
    if not isinstance(model, Word2Vec | KeyedVectors):
        raise ValueError(f"{path} holds a {type(model).__name__}, expected Word2Vec or KeyedVectors")
    return model.wv if isinstance(model, Word2Vec) else model


def _ends_in_numbers(line, n):
    """Return whether the last n parts of a line are numbers; those of no line are."""
    try:
        list(map(float, line.split()[-n:]))
    except ValueError:
        return False
    return True
