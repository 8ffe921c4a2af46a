"""word2vec: vectors of words, learnt from what stands around them.

a) Text is read in jobs of about `batch_words` words. A job is all that a thread needs (words as integers, learning
   rate, and a generator seeded by its place), so what it does depends on no other job but through the tables.
b) Several threads take jobs in turn and update the tables at the same time, without locks. In the deterministic mode
   jobs follow one another, and threads share the work within each where that is worth waking them.
c) Rows of the tables are padded to whole vectors of the processor; `wv.vectors` is a view without the padding, which
   stays 0.
"""

import os
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain

import numpy as np

from fastnn._backend import functions as F
from fastnn._checks import as_count, as_positive
from fastnn.models.keyedvectors import KeyedVectors
from fastnn.nn.module import Buffer, Module

__all__ = ["Word2Vec"]

STALE = 2, 1024  # how often the commonest word is, and how many windows are, in a block of the deterministic mode
SCAN = 200_000  # words that are counted at a time
LETTERS = 6  # of a word and the space after it, about
SEEN = ("corpus_count", "corpus_total_words")  # of the text, which a file keeps
SHARING = 3  # words of a context, at most, that share negatives
SPACES = b" \t\n\v\f\r"  # between words
TOGETHER = 16  # windows whose softmax is taken at once
PADDING = 16  # numbers that rows are a multiple of


class Word2Vec(Module):
    """Skip-gram or continuous bag of words, with negative sampling; arguments and defaults are gensim's.

    Parameters
    ----------
    sentences : iterable of lists of str, optional
        The text; gone through 1 + epochs times, so not a generator. It may be larger than memory.
    corpus_file : path, optional
        The text instead: a sentence a line, words between white space, in UTF-8.
    vector_size : int
        Length of a vector.
    alpha, min_alpha : float
        The learning rate at the start, and at the end; it falls in proportion to the words gone through.
    window : int
        How far a context reaches to both sides, at most.
    min_count : int
        Rarer words are left out, as if they were not in the text.
    sample : float
        Words that make up more than about this share of the text are dropped at random; 0 keeps all.
    seed : int
    workers : int
        Threads. With more than one results differ a little from run to run, unless `deterministic`.
    sg : {0, 1}
        1 for skip-gram, 0 for continuous bag of words.
    negative : int
        Negative samples a window; 0 for the softmax over all words instead, which is for small vocabularies.
    ns_exponent : float
        They are drawn in proportion to count ** ns_exponent.
    cbow_mean : {0, 1}
        Whether continuous bag of words takes the mean of the vectors or their sum.
    epochs : int
    batch_words : int
        Words of a job.
    compute_loss : bool
        Whether to sum the loss up, for `get_latest_training_loss`.
    shrink_windows : bool
        Whether the reach of each context is drawn from 1 to `window`.
    deterministic : bool
        Whether the vectors are to be the same for any number of workers, bit for bit.

    Attributes
    ----------
    wv : KeyedVectors
    syn1neg : ndarray
        The vectors of words as what is predicted.

    Raises
    ------
    ValueError
        If an argument is out of range, or the text holds fewer than two words that are common enough.
    FloatingPointError
        If vectors have grown beyond all bounds, which a smaller `alpha` prevents.

    Notes
    -----
    Mikolov et al. (2013), arXiv:1301.3781 and "Distributed representations of words and phrases and their
    compositionality". In skip-gram three words of a context share negatives, as in Ji et al. (arXiv:1604.04661) all do:
    it takes a quarter longer, and neighbours come out nearly as much like gensim's as those of its own runs. Kept of a
    word with the share f of the text is sqrt(sample / f) + sample / f. Vectors begin uniform between -1 and 1, over
    vector_size, as in gensim; the exponential is computed, not looked up, and no score is left out for being large.

    Examples
    --------
    >>> from fastnn.models import Word2Vec
    >>> text = [["the", animal, "eats", food] for animal in ("cat", "dog") for food in ("meat", "fish")] * 200
    >>> text += [["a", vehicle, "needs", fuel] for vehicle in ("car", "bus") for fuel in ("petrol", "gas")] * 200
    >>> model = Word2Vec(text, vector_size=16, min_count=1, sample=0, sg=1, workers=1)
    >>> model.wv.most_similar("cat", topn=1)[0][0]
    'dog'
    """

    def __init__(
        self,
        sentences=None,
        corpus_file=None,
        *,
        vector_size=100,
        alpha=0.025,
        window=5,
        min_count=5,
        sample=1e-3,
        seed=1,
        workers=3,
        min_alpha=0.0001,
        sg=0,
        negative=5,
        ns_exponent=0.75,
        cbow_mean=1,
        epochs=5,
        batch_words=10_000,
        compute_loss=False,
        shrink_windows=True,
        deterministic=False,
    ):
        self.vector_size = as_count(vector_size, "vector_size")
        self.alpha, self.min_alpha = _as_rate(alpha, "alpha"), _as_rate(min_alpha, "min_alpha", zero=True)
        self.window, self.min_count = as_count(window, "window"), as_count(min_count, "min_count", least=0)
        self.sample, self.ns_exponent = as_positive(sample, "sample", zero=True), float(ns_exponent)
        self.seed, self.workers = as_count(seed, "seed", least=0), as_count(workers, "workers")
        self.negative, self.epochs = as_count(negative, "negative", least=0), as_count(epochs, "epochs")
        self.sg, self.cbow_mean = int(bool(sg)), int(bool(cbow_mean))
        self.batch_words = as_count(batch_words, "batch_words")
        self.compute_loss, self.shrink_windows = bool(compute_loss), bool(shrink_windows)
        self.deterministic = bool(deterministic)
        self.corpus_count = self.corpus_total_words = 0
        self.running_training_loss = 0.0
        self.wv = KeyedVectors(self.vector_size)
        self.output = Buffer(np.zeros((0, self.vector_size), np.float32))
        if sentences is not None or corpus_file is not None:
            self.build_vocab(sentences, corpus_file)
            self.train(sentences, corpus_file)

    @property
    def syn1neg(self):
        return self.output.value

    def build_vocab(self, sentences=None, corpus_file=None):
        """Count the words of a text, and give each that is common enough a vector."""
        text = _text(sentences, corpus_file)
        counts, self.corpus_count, self.corpus_total_words = text.count()
        counts = {word: count for word, count in counts.items() if count >= self.min_count}
        if len(counts) < 2:
            raise ValueError(
                f"the text holds {len(counts)} different words of at least min_count = {self.min_count}, expected 2"
            )
        words = sorted(counts, key=counts.get, reverse=True)
        self._make_tables(words, [counts[word] for word in words])
        start = np.random.default_rng(self.seed).random(self.wv.vectors.shape, np.float32)
        self.wv.vectors[...] = (start * 2 - 1) / self.vector_size

    def _make_tables(self, words, counts):
        self.wv = KeyedVectors(self.vector_size, words, counts)
        self.wv.weight.value = _padded(len(words), self.vector_size)
        self.output.value = _padded(len(words), self.vector_size)

    # ---- training -------------------------------------------------------------------------------------------

    def train(
        self,
        sentences=None,
        corpus_file=None,
        *,
        total_words=None,
        epochs=None,
        start_alpha=None,
        end_alpha=None,
        progress=None,
    ):
        """Go through a text, by default as often and at the rates that the constructor was given.

        Parameters
        ----------
        sentences, corpus_file
            As for the constructor.
        total_words : int, optional
            How many words `sentences` have, by default as many as those that `build_vocab` saw.
        epochs : int, optional
        start_alpha, end_alpha : float, optional
        progress : callable, optional
            Called with the share of the work that has been given out, from 0 to 1.

        Returns
        -------
        trained, raw : int
            How many words were trained on, and how many gone through.

        Raises
        ------
        ValueError
            If there is no vocabulary yet, or an argument is out of range.
        FloatingPointError
            If vectors have grown beyond all bounds, which a smaller `start_alpha` prevents; they are of no use then.
        """
        if not len(self.wv):
            raise ValueError("there is no vocabulary yet: call build_vocab, or give a text to the constructor")
        epochs = self.epochs if epochs is None else as_count(epochs, "epochs")
        start = self.alpha if start_alpha is None else _as_rate(start_alpha, "start_alpha")
        end = self.min_alpha if end_alpha is None else _as_rate(end_alpha, "end_alpha", zero=True)
        self.running_training_loss = 0.0
        self._prepare()
        text = _text(sentences, corpus_file, total_words or self.corpus_total_words)
        work = partial(self._train, text.encoder(self.wv))
        trained = raw = 0
        threads = 1 if self.deterministic else self.workers
        with _pool(self.workers) if self.deterministic else nullcontext():
            results = _in_threads(work, self._jobs(text, epochs, start, end, progress), threads)
        for kept, words, loss in results:
            trained, raw = trained + kept, raw + words
            self.running_training_loss += loss
        with np.errstate(all="ignore"):
            self.wv.fill_norms()
        if not (np.isfinite(self.wv.get_norms()).all() and np.isfinite(self.syn1neg).all()):
            raise FloatingPointError(
                f"vectors have grown beyond all bounds, at a learning rate of {start:g} at the start"
            )
        return trained, raw

    def _prepare(self):
        """Make what sampling needs of the counts."""
        counts = self.wv.counts.astype(float)
        share = counts / counts.sum()
        self._keep = np.minimum(np.sqrt(self.sample / share) + self.sample / share, 1) if self.sample else None
        with np.errstate(all="ignore"):
            weights = counts**self.ns_exponent
        if not 0 < weights.sum() < np.inf:
            raise ValueError(f"ns_exponent is {self.ns_exponent}, which takes counts beyond what a float holds")
        self._table = F.alias_table(weights)
        kept = share if self._keep is None else share * self._keep
        self._block = max(1, min(int(STALE[0] * kept.sum() / kept.max()), STALE[1])) if self.deterministic else 1

    def _jobs(self, text, epochs, start, end, progress):
        """Yield (piece of the text, learning rate, seed)."""
        for epoch in range(epochs):
            for number, (piece, share) in enumerate(text.pieces(self.batch_words)):
                done = (epoch + share) / epochs
                yield piece, start + (end - start) * done, (self.seed, epoch, number)
                if progress is not None:
                    progress(done)
        if progress is not None:
            progress(1.0)

    def _train(self, encode, piece, rate, seed):
        """Train on a piece of text; return the words trained on, those gone through, and the loss."""
        ids, ends, words = encode(piece)
        rng = np.random.Generator(np.random.PCG64(seed))
        centres, contexts, bounds = F.context_windows(
            ids, ends, self.window, rng, keep=self._keep, shrink=self.shrink_windows
        )
        if not self.negative:
            with np.errstate(all="ignore"):  # numbers beyond all bounds are found when all is done
                return len(centres), words, self._softmax_steps(centres, contexts, bounds, rate)
        trained = len(centres)
        if self.sg:
            centres, bounds = _parts(centres, bounds, SHARING)
        targets = np.empty((len(centres), 1 + self.negative), np.int32)
        targets[:, 0] = centres
        targets[:, 1:] = F.alias_sample(*self._table, (len(centres), self.negative), rng)
        options = {"lr": rate, "block": self._block, "need_loss": self.compute_loss}
        if not self.sg:
            options["mean"] = bool(self.cbow_mean)
        step = F.skipgram_step if self.sg else F.cbow_step
        loss = step(_whole(self.wv.vectors), _whole(self.syn1neg), contexts, bounds, targets, **options)
        return trained, words, loss or 0.0

    def _softmax_steps(self, centres, contexts, bounds, rate):
        """Train to tell the words in the middle from all others, some windows at a time; return the loss."""
        vectors, output, loss = _whole(self.wv.vectors), _whole(self.syn1neg), 0.0
        no_bias = np.zeros(len(output), output.dtype)
        for start in range(0, len(centres), TOGETHER):
            part = slice(start, start + TOGETHER)
            around = contexts[bounds[start] : bounds[min(start + TOGETHER, len(centres))]]
            lengths = np.diff(bounds[start : start + TOGETHER + 1])
            targets, owner = centres[part], np.repeat(np.arange(len(lengths)), lengths)
            if self.sg:
                rows, targets = vectors[around], targets[owner]
            else:
                mode, offsets = (
                    ("mean" if self.cbow_mean else "sum"),
                    bounds[start : start + len(lengths)] - bounds[start],
                )
                some = lengths > 0
                rows = F.embedding_bag(vectors, around, offsets, mode=mode)[some]
                targets, owner = targets[some], (np.cumsum(some) - 1)[owner]
            if not len(rows):
                continue
            missed, gradient = F.softmax_cross_entropy(F.affine(rows, output, no_bias), targets, reduction="sum")
            drows, doutput, _ = F.affine_backward(gradient, rows, output)
            gain = -rate * drows
            output -= rate * doutput
            if not self.sg:
                gain = (gain if self.cbow_mean else gain / lengths[some, None])[owner]
            np.add.at(vectors, around, gain)
            loss += missed
        return loss

    def get_latest_training_loss(self):
        """Return the loss, summed over all that the last `train` trained on; 0 unless `compute_loss`."""
        return self.running_training_loss

    # ---- files ----------------------------------------------------------------------------------------------

    def config(self):
        names = (
            "vector_size alpha window min_count sample seed workers min_alpha sg negative ns_exponent cbow_mean epochs"
        )
        names += " batch_words compute_loss shrink_windows deterministic corpus_count corpus_total_words"
        vocabulary = {"words": self.wv.index_to_key, "counts": self.wv.config()["counts"]}
        return {name: getattr(self, name) for name in names.split()} | {"vocabulary": vocabulary}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        vocabulary, seen = config.pop("vocabulary"), {name: config.pop(name) for name in SEEN}
        model = cls(**config)
        if vocabulary["words"]:
            model._make_tables(vocabulary["words"], vocabulary["counts"])
        vars(model).update(seen)
        return model

    def __repr__(self):
        return f"Word2Vec({len(self.wv):,} words, vector_size={self.vector_size}, alpha={self.alpha})"


def _as_rate(value, name, zero=False):
    """Return a learning rate, or raise unless it is a finite number above 0, or 0 where that will do."""
    rate = as_positive(value, name, zero)
    if rate == np.inf:
        raise ValueError(f"{name} is inf, expected a finite number")
    return rate


def _parts(centres, bounds, most):
    """Cut windows into equal parts of at most so many words; return the words in the middle, and the bounds."""
    lengths = np.diff(bounds)
    parts = -(-lengths // most)
    owner = np.repeat(np.arange(len(centres)), parts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    return centres[owner], np.append(bounds[owner] + lengths[owner] * number // parts[owner], bounds[-1])


def _padded(rows, columns):
    """Return a matrix of zeros, the first columns of one that is aligned and whose rows are whole vectors."""
    width = -(-columns // PADDING) * PADDING
    space = np.zeros(rows * width + PADDING, np.float32)
    start = -space.ctypes.data % 64 // 4
    return space[start : start + rows * width].reshape(rows, width)[:, :columns]


def _whole(table):
    """Return a table with its padding, if it has one."""
    width = table.strides[0] // table.itemsize
    return np.lib.stride_tricks.as_strided(table, (len(table), width))


@contextmanager
def _pool(threads):
    """Let the kernels use so many threads."""
    from fastnn._kernels import cpu

    before = cpu.get_num_threads()
    cpu.set_num_threads(threads)
    try:
        yield
    finally:
        cpu.set_num_threads(before)


def _text(sentences, corpus_file, words=0):
    """Return the text that is given, of so many words where that is known."""
    if (sentences is None) == (corpus_file is None):
        raise ValueError("expected a text, either sentences or corpus_file")
    return _Lines(corpus_file) if sentences is None else _Sentences(sentences, words)


class _Sentences:
    """A text as an iterable of lists of words."""

    def __init__(self, sentences, words):
        if isinstance(sentences, str) or not hasattr(sentences, "__iter__"):
            raise TypeError(f"sentences is a {type(sentences).__name__}, expected an iterable of lists of words")
        if iter(sentences) is sentences:
            raise TypeError("sentences can be gone through only once, expected an iterable such as a list")
        self.sentences, self.words = sentences, words

    def count(self):
        """Return the counts of words, and how many sentences and words there are."""
        counts, number = Counter(), 0
        for number, sentence in enumerate(self.sentences, 1):
            if isinstance(sentence, str):
                raise TypeError(f"sentence {number - 1} is a str, expected a list of words")
            counts.update(sentence)
        return counts, number, counts.total()

    def pieces(self, size):
        """Yield (lists of words, share of the text before them), of about so many words in all."""
        total, seen, words, piece = max(1, self.words), 0, 0, []
        for sentence in self.sentences:
            for first in range(0, len(sentence), size):
                part = sentence[first : first + size]
                if words + len(part) > size:
                    yield piece, min(1, seen / total)
                    seen, words, piece = seen + words, 0, []
                piece.append(part)
                words += len(part)
        if piece:
            yield piece, min(1, seen / total)

    def encoder(self, wv):
        """Return a function from a piece to the numbers of known words, ends of sentences, and the number of words."""
        number = wv.key_to_index

        def encode(piece):
            known = [[number[word] for word in sentence if word in number] for sentence in piece]
            ids = np.fromiter(chain.from_iterable(known), np.int32)
            return ids, np.cumsum(list(map(len, known)), dtype=np.int64), sum(map(len, piece))

        return encode


class _Lines:
    """A text as a file: a sentence a line, words between white space."""

    def __init__(self, path):
        self.path = path

    def count(self):
        counts, lines, piece = Counter(), 0, b"\n"
        for piece, _ in self.pieces(SCAN):
            counts.update(piece.split())
            lines += piece.count(b"\n")
        lines += not piece.endswith(b"\n")  # the last one may lack its end
        try:
            return {word.decode(): count for word, count in counts.items()}, lines, counts.total()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is not UTF-8 text: it holds the word {error.object!r}") from None

    def pieces(self, size):
        """Yield (bytes, share of the text before them): whole lines, or words where a line is longer."""
        size, seen, rest, held = LETTERS * size, 0, [], 0
        with open(self.path, "rb") as file:
            total = max(1, os.fstat(file.fileno()).st_size)
            while chunk := file.read(size):
                cut = 1 + (chunk.rfind(b"\n") if held < size else max(map(chunk.rfind, SPACES)))
                if cut == 0:
                    rest.append(chunk)
                    held += len(chunk)
                    continue
                yield b"".join([*rest, chunk[:cut]]), min(1, seen / total)
                seen, rest, held = seen + held + cut, [chunk[cut:]], len(chunk) - cut
        if held:
            yield b"".join(rest), min(1, seen / total)

    def encoder(self, wv):
        return F.WordIndex([word.encode() for word in wv.index_to_key]).encode


def _in_threads(work, jobs, n):
    """Return what work(*job) returned for all jobs, done by n threads that take one after the other."""
    if n == 1:
        return [work(*job) for job in jobs]
    lock, results, problems = threading.Lock(), [], []

    def run():
        while not problems:
            try:
                with lock:
                    job = next(jobs, None)
                if job is None:
                    return
                results.append(work(*job))
            except BaseException as error:
                problems.append(error)

    threads = [threading.Thread(target=run) for _ in range(n)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:
        problems.append(error)
        for thread in threads:
            thread.join()
    if problems:
        raise problems[0]
    return results
