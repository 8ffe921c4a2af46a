"""Language models over characters or words: a recurrent network, and what it is measured against.

a) Perplexity is exp of the mean cross-entropy in nats a token. Every token of a text is scored once, with the state
   carried from one to the next: no windows, no warm-up that would be left out of the count.
b) Training is truncated back-propagation through time, by `fastnn.training.Trainer`. The state goes from window to
   window as a plain array, so no gradient flows through it.
c) A checkpoint is the trainer's, with the settings in its notes, so that a training goes on with nothing but its texts.
"""

import hashlib
import math
import os

import numpy as np

from fastnn import nn, optim
from fastnn._backend import functions as F
from fastnn._checks import as_count, as_positive, check_choice
from fastnn.data import consecutive_windows, random_windows
from fastnn.data.text import Vocabulary, as_tokens
from fastnn.io import load, load_arrays
from fastnn.training import History, Trainer

__all__ = ["CharLM", "LanguageModel", "perplexity", "unigram_perplexity"]

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SAMPLINGS = ("consecutive", "random")
OPTIMIZERS = {"sgd": optim.SGD, "rmsprop": optim.RMSprop, "adam": optim.Adam, "adamw": optim.AdamW}
CHUNK = 4096  # tokens that `perplexity` scores at a time, if the vocabulary
LOGITS = 2**23  # leaves it at no more logits than these
CONTEXT = 500  # tokens of the text that a validation text is read after
HEADING = "   step  epoch  seconds  train perplexity  validation perplexity  {:>12}"


def perplexity(nats):
    """Return exp(nats), the perplexity that belongs to a mean cross-entropy in nats a token.

    It is 1 for perfect predictions, the number of classes for uniform ones, and infinite if a probability was 0.

    Parameters
    ----------
    nats : float

    Returns
    -------
    float

    Notes
    -----
    "Perplexity" in section 6 of the seed notes on Dive into Deep Learning.

    Examples
    --------
    >>> import math
    >>> from fastnn.models import perplexity
    >>> perplexity(0.0), perplexity(math.log(2)), perplexity(math.inf), perplexity(1e9)
    (1.0, 2.0, inf, inf)
    """
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def unigram_perplexity(text, validation, vocabulary):
    """Return the perplexity on `validation` of a model that knows how frequent each token is in `text`.

    Every token of the vocabulary counts once more than it occurs (Laplace), so none is impossible. ValueError if
    there is nothing to validate.

    Examples
    --------
    >>> from fastnn.data import Vocabulary
    >>> round(unigram_perplexity("aab", "ab", Vocabulary("ab")), 3)  # p(a) = 3/5, p(b) = 2/5
    2.041
    """
    counts = 1 + np.bincount(as_tokens(text, vocabulary), minlength=len(vocabulary))
    validation = as_tokens(validation, vocabulary)
    if not len(validation):
        raise ValueError("validation is empty, expected at least one token")
    return perplexity(-np.mean(np.log(counts / counts.sum())[validation]))


class LanguageModel(nn.Module):
    """A language model over characters or words: embedding, recurrent layers, and a linear layer to the next token.

    A text is whatever the vocabulary is made of: a str for one of characters, a list of str for one of words, such as
    `fastnn.data.tokenize` returns; or indices, as an array or a list.

    Parameters
    ----------
    vocabulary : Vocabulary, str or iterable of str
        The tokens it knows, or a text that holds them all.
    cell : {"rnn", "gru", "lstm"}
        The kind of recurrent layer.
    hidden_size, num_layers, embedding_size : int
    dropout : float
        Probability, in training, on the output of every recurrent layer. On that of the last one, all time steps of
        a window share the mask (Gal and Ghahramani, 2016), which learns as well and costs a fraction.
    input_dropout : float
        The same for the embeddings, with such a shared mask.
    tied : bool
        Whether embedding and output share their weight, which asks for an embedding_size of hidden_size (Press and Wolf
        2017, "Using the output embedding to improve language models").
    rng : numpy.random.Generator, int or None
        Draws the first weights, and the dropout masks of a training that names no `rng` of its own.
    dtype : float32 or float64

    Attributes
    ----------
    vocabulary : Vocabulary
    history : History
        The reports of the last training, as `fastnn.training.Trainer` makes them: "loss" and "validation_loss" are in
        nats a token, `perplexity` of them is the perplexity, "speed" is in tokens a second.

    Raises
    ------
    ValueError
        If the vocabulary has fewer than two tokens, or an argument is out of range.

    Notes
    -----
    As a layer it maps indices (T, B) to logits (T, B, V): `logits, state = lm(x, state=None)`,
    `(logits, state), back = lm.vjp(x, state=None)`, `_, dstate = back(dlogits, dstate=None)`.

    "Recurrent neural networks", section 6 of the seed notes on Dive into Deep Learning.

    Examples
    --------
    >>> from fastnn.models import LanguageModel
    >>> words = "the cat sat on the mat .".split() * 40
    >>> lm = LanguageModel(words, hidden_size=32, embedding_size=8, dropout=0, rng=0)
    >>> lm = lm.fit(words, epochs=20, num_steps=12, batch_size=8, lr=0.02, rng=0)
    >>> lm.sample(["the", "cat"], 6)
    ['sat', 'on', 'the', 'mat', '.', 'the']
    """

    returns_state = True

    def __init__(
        self,
        vocabulary,
        cell="gru",
        hidden_size=256,
        num_layers=1,
        embedding_size=64,
        dropout=0.7,
        *,
        input_dropout=0.0,
        tied=False,
        rng=None,
        dtype=np.float32,
    ):
        check_choice(cell, CELLS, "cell")
        if tied and embedding_size != hidden_size:
            raise ValueError(f"embedding_size is {embedding_size}, expected the hidden_size {hidden_size}, being tied")
        if isinstance(vocabulary, dict):  # as a file tells it
            vocabulary = Vocabulary.from_config(vocabulary)
        self.vocabulary = vocabulary if isinstance(vocabulary, Vocabulary) else Vocabulary(vocabulary)
        if len(self.vocabulary) < 2:
            raise ValueError(f"vocabulary has {len(self.vocabulary)} token, expected at least two to choose between")
        self.cell, self.hidden_size, self.num_layers = cell, hidden_size, num_layers
        self.embedding_size, self.tied = embedding_size, bool(tied)
        self.dropout, self.input_dropout = dropout, input_dropout
        self._rng = rng = _own_generator(rng)
        between = dropout if num_layers > 1 else 0.0
        self.embedding = nn.Embedding(len(self.vocabulary), embedding_size, rng=rng, dtype=dtype)
        self.recurrent = CELLS[cell](embedding_size, hidden_size, num_layers, dropout=between, rng=rng, dtype=dtype)
        self.drop = nn.Dropout(dropout, shared_axes=0, rng=rng)
        self.input_drop = nn.Dropout(input_dropout, shared_axes=0, rng=rng)
        self.output = nn.Linear(hidden_size, len(self.vocabulary), rng=rng, dtype=dtype)
        if tied:
            self.embedding.weight = self.output.weight
        self.history = History()

    def config(self):
        return super().config() | {"vocabulary": self.vocabulary.config()}

    def __call__(self, x, state=None):
        y, state = self.recurrent(self.embedding(x), state)
        return self.output(y), state

    def vjp(self, x, state=None, *, training=True):
        x, back_embedding = self.embedding.vjp(x)
        x, back_input_drop = self.input_drop.vjp(x, training=training)
        (y, state), back_recurrent = self.recurrent.vjp(x, state, training=training)
        y, back_drop = self.drop.vjp(y, training=training)
        logits, back_output = self.output.vjp(y)

        def back(dlogits, dstate=None):
            dx, dstate = back_recurrent(back_drop(back_output(dlogits)), dstate)
            back_embedding(back_input_drop(dx))
            return None, dstate

        return (logits, state), back

    def perplexity(self, text, prefix=""):
        """Return exp of the mean cross-entropy in nats a token.

        Parameters
        ----------
        text : str, iterable of str, or array_like of int
            Scored once, in order, with the state carried.
        prefix : the same
            What stands before the text; it is read but not scored. Without one the first token of the text takes its
            place, since nothing predicts it.

        Returns
        -------
        float
            Infinite if a token had probability 0.

        Raises
        ------
        ValueError
            If there is no token to score, or one that the vocabulary lacks.
        """
        return perplexity(self._nats(text, prefix))

    def _nats(self, text, prefix):
        """Return the mean cross-entropy in nats a token."""
        nats, scored = map(sum, zip(*self._losses(text, prefix, "sum"), strict=True))
        return nats / scored

    def scores(self, text, prefix=""):
        """Return the probability of every token that `perplexity` scores; the arguments are the same.

        Returns
        -------
        numpy.ndarray of float64
            One for each token, but for the first if there is no prefix.
        """
        return np.concatenate([np.exp(-nats[:, 0].astype(float)) for nats, _ in self._losses(text, prefix, "none")])

    def _losses(self, text, prefix, reduction):
        """Yield the losses of one chunk of a text after the other, and how many tokens were scored in it."""
        prefix, text = self.encode(prefix), self.encode(text)
        if not len(prefix):
            prefix, text = text[:1], text[1:]
        if not len(text):
            raise ValueError("text has no token to score, expected at least one after the prefix or the first")
        tokens, state = np.concatenate([prefix, text]), None
        chunk = max(min(CHUNK, LOGITS // len(self.vocabulary)), 1)
        for start in range(0, len(tokens) - 1, chunk):
            window = tokens[start : start + chunk + 1, None]
            logits, state = self(window[:-1], state)
            skip = max(len(prefix) - 1 - start, 0)  # the prefix may reach beyond this chunk
            logits, scored = logits[skip:], window[1 + skip :]
            if len(scored):
                yield F.softmax_cross_entropy(logits, scored, reduction=reduction, need_grad=False)[0], len(scored)

    def encode(self, text):
        """Return a text as indices: a str of characters, a list of words, or indices as they are."""
        return as_tokens(text, self.vocabulary)

    def sample(self, prefix, n, temperature=0, top_k=None, top_p=None, rng=None):
        """Return n tokens that go on from a prefix; never the one that stands for unknown ones.

        Parameters
        ----------
        prefix : str, iterable of str, or array_like of int
            At least one token.
        n : int
        temperature : float
            0 takes the likeliest token each time; otherwise tokens are drawn from softmax(logits / temperature).
        top_k : int, optional
            Draw among the k likeliest alone.
        top_p : float, optional
            Draw among the likeliest alone, as few as have a probability of top_p together (nucleus sampling, Holtzman
            et al. 2020, "The curious case of neural text degeneration"); of those that top_k leaves, if both are given.
        rng : numpy.random.Generator, int or None

        Returns
        -------
        str or list of str
            Characters or words.

        Raises
        ------
        ValueError
            If the prefix is empty or holds a token that the vocabulary lacks, or a number is out of range.

        Notes
        -----
        At temperature 0 this is the prefix prediction of section 6 of the seed notes on Dive into Deep Learning.
        """
        n = as_count(n, "n", least=0)
        prefix = self.encode(prefix)
        if not len(prefix):
            raise ValueError("prefix is empty, expected at least one token to go on from")
        rng = np.random.default_rng(rng)
        unknown = [] if self.vocabulary.unk is None else self.vocabulary.encode([self.vocabulary.unk])
        y, state = self.recurrent(self.embedding(prefix[:, None]))
        step, y, drawn = self.recurrent.stream(), y[-1], []
        step.state = state
        while len(drawn) < n:
            logits = self.output(y)[0]
            logits[unknown] = -np.inf
            drawn.append(draw(logits, temperature, top_k, top_p, rng))
            y = step(self.embedding(drawn[-1:]))
        return self.vocabulary.decode(drawn)

    def fit(
        self,
        text,
        *,
        validation=None,
        seconds=None,
        epochs=None,
        num_steps=64,
        batch_size=32,
        sampling="consecutive",
        optimizer="adam",
        lr=1.5e-3,
        weight_decay=0.0,
        clip=1.0,
        reports=20,
        rng=None,
        checkpoint=None,
        verbose=False,
    ):
        """Train on a text by truncated back-propagation through time.

        The learning rate falls to 0 along half a cosine over the seconds or epochs. With a validation text the model
        ends with the weights that did best on it, without one with the last.

        Parameters
        ----------
        text : str, iterable of str, or array_like of int
        validation : the same, optional
            Scored at each report, as what follows `text`.
        seconds, epochs : float, int
            How long to train: at least one of them. Only with epochs alone does the same `rng` give the same weights.
        num_steps, batch_size : int
            A step learns from a window of (num_steps, batch_size) tokens.
        sampling : {"consecutive", "random"}
            Consecutive windows, with the state carried from one to the next, or random ones, each from a state of
            zeros. Their borders move from epoch to epoch.
        optimizer : {"sgd", "rmsprop", "adam", "adamw"}
        lr, weight_decay : float
            For the optimiser, whose other arguments have their defaults.
        clip : float or None
            The largest norm of the gradient of all parameters together.
        reports : int
            How many, evenly spread; each scores the validation text and writes the checkpoint.
        rng : numpy.random.Generator, int or None
            Draws the windows and the dropout masks; None goes on with the model's own.
        checkpoint : path, optional
            A file to write at each report, and when Ctrl-C stops the training: whole or not at all. `fastnn.load`
            reads the model from it, `resume` goes on with the training.
        verbose : bool
            Print the reports and, on a terminal, show a progress bar.

        Returns
        -------
        LanguageModel
            The model itself.

        Raises
        ------
        ValueError
            If the text is too short, a token is unknown, or an argument is out of range.
        FloatingPointError
            If the loss or the gradient is not finite, as after steps that were too large.
        OSError
            If the checkpoint cannot be written.
        """
        settings = {
            "seconds": seconds,
            "epochs": epochs,
            "num_steps": num_steps,
            "batch_size": batch_size,
            "sampling": sampling,
            "optimizer": optimizer,
            "lr": lr,
            "weight_decay": weight_decay,
            "clip": clip,
            "reports": reports,
        }
        if rng is not None:
            self._rng.bit_generator.state = _own_generator(rng).bit_generator.state
        self._train(text, validation, settings, int(self._rng.integers(2**63)), checkpoint, verbose)
        return self

    @classmethod
    def resume(cls, checkpoint, text, *, validation=None, seconds=None, epochs=None, verbose=False):
        """Go on with a training that was interrupted, or is to last longer, from its checkpoint.

        All settings are those that `fit` was given. With epochs as the budget the weights are bit for bit those of a
        training that was not interrupted.

        Parameters
        ----------
        checkpoint : path
            The file that `fit` wrote; it goes on to be written.
        text, validation : str, iterable of str, or array_like of int
            The same as before.
        seconds, epochs : float, int, optional
            Another budget for the training as a whole, what has been done included.
        verbose : bool

        Returns
        -------
        LanguageModel

        Raises
        ------
        ValueError
            If the file is damaged, of another model or another text, or the budget has been spent.
        OSError
            If it cannot be read or written.
        """
        lm, path = load(checkpoint), os.fspath(checkpoint)
        metadata = load_arrays(checkpoint)[1]
        notes = metadata.get("notes") or {}
        if not isinstance(lm, cls) or not notes.keys() >= {"settings", "seed", "texts"}:
            raise ValueError(f"{path} holds a {type(lm).__name__} without a training to go on with")
        if seconds is not None or epochs is not None:
            notes["settings"] |= {"seconds": seconds, "epochs": epochs}
        trainer = lm._train(text, validation, notes["settings"], notes["seed"], checkpoint, verbose, notes["texts"])
        if trainer.step == metadata["training"]["step"]:
            raise ValueError(
                f"the training has lasted {trainer.seconds:.0f} seconds and {trainer.epoch} epochs, which is all of "
                f"its budget: expected more seconds or epochs"
            )
        return lm

    def _train(self, text, validation, settings, seed, checkpoint, verbose, texts=None):
        """Train, or go on with a training on texts of that digest, and return the trainer."""
        check_choice(settings["optimizer"], OPTIMIZERS, "optimizer")
        check_choice(settings["sampling"], SAMPLINGS, "sampling")
        num_steps, batch_size = (as_count(settings[name], name) for name in ("num_steps", "batch_size"))
        lr, clip, consecutive = settings["lr"], settings["clip"], settings["sampling"] == "consecutive"
        if clip is not None:
            as_positive(clip, "clip")
        text, unit = self.encode(text), "characters" if self.vocabulary.of_characters else "words"
        needed = (num_steps + 1) * (batch_size if consecutive else 1)
        if len(text) < needed:
            raise ValueError(
                f"text has {len(text)} {unit}, expected at least {needed} "
                f"for num_steps={num_steps} and batch_size={batch_size}"
            )
        digest = hashlib.sha256(text.tobytes())
        if validation is not None:
            validation = self.encode(validation)
            if not len(validation):
                raise ValueError("validation is empty, expected at least one token, or None")
            digest.update(b"validation" + validation.tobytes())
        if texts not in (None, digest.hexdigest()):
            raise ValueError(
                f"{os.fspath(checkpoint)} cannot be gone on with: its training was on another text, or with another "
                f"validation text"
            )

        def windows(epoch):
            rng = np.random.default_rng([seed, epoch])
            offset = int(rng.integers(min(num_steps, len(text) - needed + 1)))
            if consecutive:
                return consecutive_windows(text, num_steps, batch_size, offset=offset)
            return random_windows(text, num_steps, batch_size, offset=offset, rng=rng)

        def keep_history(trainer):
            self.history = trainer.history

        trainer = Trainer(
            self,
            lambda logits, target: F.softmax_cross_entropy(logits, target, grad_out=logits),
            OPTIMIZERS[settings["optimizer"]](self.parameters(), lr=lr, weight_decay=settings["weight_decay"]),
            schedule=lambda step: lr * (1 + math.cos(math.pi * trainer.progress)) / 2,
            clip_norm=clip,
            carry_state=consecutive,
        )
        trainer.fit(
            windows,
            epochs=settings["epochs"],
            seconds=settings["seconds"],
            reports=settings["reports"],
            validation=None if validation is None else lambda lm: lm._nats(validation, text[-CONTEXT:]),
            monitor="step" if validation is None else "validation_loss",  # "step": the last weights are the best
            restore_best=True,
            checkpoint=checkpoint,
            notes={"settings": settings, "seed": seed, "texts": digest.hexdigest()},
            resume=texts is not None,
            verbose=verbose and _table(unit),
            callbacks=[keep_history],
        )
        return trainer


class CharLM(LanguageModel):
    """A language model over characters, which takes and returns texts as str: `LanguageModel` under its first name.

    Examples
    --------
    >>> from fastnn.models import CharLM
    >>> text = "the cat sat on the mat. " * 40
    >>> lm = CharLM(text, hidden_size=32, embedding_size=8, dropout=0, rng=0)
    >>> lm = lm.fit(text, epochs=20, num_steps=12, batch_size=8, lr=0.02, rng=0)
    >>> lm.perplexity(text) < 1.5
    True
    >>> lm.sample("the c", 20)
    'at sat on the mat. t'
    """


def _table(unit):
    """Return what makes a row of a report, the first one under a heading."""
    heading = [HEADING.format(f"{unit}/s")]

    def row(report):
        scored = f"{perplexity(report['validation_loss']):.3f}" if "validation_loss" in report else "-"
        rows = [
            *heading,
            f"{report['step']:7,}  {report['epoch']:5}  {report['seconds']:7.1f}  {perplexity(report['loss']):16.3f}"
            f"  {scored:>21}  {report['speed']:12,}",
        ]
        heading.clear()
        return "\n".join(rows)

    return row


def _own_generator(rng):
    """Return a generator that nobody else draws from, of a kind whose state a checkpoint can hold."""
    return np.random.Generator(np.random.PCG64(int(np.random.default_rng(rng).integers(2**63))))


def draw(logits, temperature, top_k, top_p, rng):
    """Return the index of the next token; the arguments are those of `CharLM.sample`."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}, expected a number of at least 0")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, expected a number above 0, and at most 1")
    top_k = len(logits) if top_k is None else min(as_count(top_k, "top_k"), len(logits))
    if temperature == 0:
        return int(logits.argmax())
    likeliest = np.argpartition(logits, -top_k)[-top_k:]
    logits = logits[likeliest].astype(np.float64)
    with np.errstate(all="ignore"):  # a low temperature sends all but the likeliest to -inf
        p = F.softmax((logits - logits.max()) / temperature)
    if top_p is not None:
        order = p.argsort()[::-1]
        kept = order[: np.searchsorted(np.cumsum(p[order]), top_p) + 1]
        likeliest, p = likeliest[kept], p[kept] / p[kept].sum()
    return int(rng.choice(likeliest, p=p))
