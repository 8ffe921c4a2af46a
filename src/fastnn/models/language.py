"""Language models over characters or words: a recurrent network, and what it is measured against.

a) Perplexity is exp of the mean cross-entropy in nats a token. Every token of a text is scored once, with the state
   carried from one to the next: no windows, no warm-up that would be left out of the count.
b) Training is truncated back-propagation through time. The state goes from window to window as a plain array, so no
   gradient flows through it.
c) A checkpoint is one file that `fastnn.load` reads: the best weights, as `save` writes them, and beside them what a
   run needs to go on as if it had never stopped (last weights, optimiser, random state, position, history).
"""

import copy
import errno
import hashlib
import itertools
import math
import os
import shutil
import tempfile
import time

import numpy as np

from fastnn import nn, optim
from fastnn._backend import functions as F
from fastnn._checks import as_count, check_choice
from fastnn.data import consecutive_windows, random_windows
from fastnn.data.text import Vocabulary, as_tokens
from fastnn.io import load, load_arrays, save

__all__ = ["CharLM", "LanguageModel", "perplexity", "unigram_perplexity"]

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SAMPLINGS = ("consecutive", "random")
OPTIMIZERS = {"sgd": optim.SGD, "rmsprop": optim.RMSprop, "adam": optim.Adam, "adamw": optim.AdamW}
CHUNK = 4096  # tokens that `perplexity` scores at a time, if the vocabulary
LOGITS = 2**23  # leaves it at no more logits than these
CONTEXT = 500  # tokens of the text that a validation text is read after
POSITION = ("seed", "step", "epoch", "window", "length", "seconds", "best_perplexity")  # of a training
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

    Every token of the vocabulary counts once more than it occurs (Laplace), so none is impossible.

    Examples
    --------
    >>> from fastnn.data import Vocabulary
    >>> round(unigram_perplexity("aab", "ab", Vocabulary("ab")), 3)  # p(a) = 3/5, p(b) = 2/5
    2.041
    """
    counts = 1 + np.bincount(as_tokens(text, vocabulary), minlength=len(vocabulary))
    return perplexity(-np.mean(np.log(counts / counts.sum())[as_tokens(validation, vocabulary)]))


class LanguageModel(nn.Module):
    """A language model over characters or words: embedding, recurrent layers, and a linear layer to the next token.

    A text is whatever the vocabulary is made of: a str for one of characters, a list of str for one of words, such as
    `fastnn.data.tokenize` returns; or indices, as an array.

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
    history : list of dict
        The reports of the last training: "step", "epoch", "seconds", "train" and "validation" (perplexities, the
        latter None without a validation text) and "speed", in tokens a second.

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
        self.drop = nn.Dropout(dropout, rng=rng)
        self.input_drop = nn.Dropout(input_dropout, rng=rng)
        self.output = nn.Linear(hidden_size, len(self.vocabulary), rng=rng, dtype=dtype)
        if tied:
            self.embedding.weight = self.output.weight
        self.history = []

    def config(self):
        return super().config() | {"vocabulary": self.vocabulary.config()}

    def __call__(self, x, state=None):
        y, state = self.recurrent(self.embedding(x), state)
        return self.output(y), state

    def vjp(self, x, state=None, *, training=True):
        x, back_embedding = self.embedding.vjp(x)
        dropping = training and self.input_dropout > 0
        if dropping:
            input_mask = self.input_drop.vjp(np.ones((1, *x.shape[1:]), x.dtype))[0]
            x = x * input_mask
        (y, state), back_recurrent = self.recurrent.vjp(x, state, training=training)
        if training:
            mask = self.drop.vjp(np.ones((1, *y.shape[1:]), y.dtype))[0]
            y = y * mask
        logits, back_output = self.output.vjp(y)

        def back(dlogits, dstate=None):
            dy = back_output(dlogits)
            if training:
                dy *= mask
            dx, dstate = back_recurrent(dy, dstate)
            back_embedding(dx * input_mask if dropping else dx)
            return None, dstate

        return (logits, state), back

    def perplexity(self, text, prefix=""):
        """Return exp of the mean cross-entropy in nats a token.

        Parameters
        ----------
        text : str, iterable of str, or array of int
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
        nats, scored = map(sum, zip(*self._losses(text, prefix, "sum"), strict=True))
        return perplexity(nats / scored)

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
        prefix : str, iterable of str, or array of int
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
        logits, state = self(prefix[:, None])
        step, logits, drawn = self.recurrent.stream(), logits[-1], []
        step.state = state
        while len(drawn) < n:
            logits[0, unknown] = -np.inf
            drawn.append(draw(logits[0], temperature, top_k, top_p, rng))
            logits = self.output(step(self.embedding(drawn[-1:])))
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
        text : str, iterable of str, or array of int
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
            A file to write at each report, whole or not at all. `fastnn.load` reads the model from it, `resume` goes
            on with the training.
        verbose : bool
            Print the reports and, on a terminal, show a progress bar.

        Returns
        -------
        LanguageModel
            The model itself.

        Raises
        ------
        ValueError
            If the text is too short, a token is unknown, an argument is out of range, or the loss overflows.
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
        Training(self, text, validation, settings).run(checkpoint, verbose)
        return self

    @classmethod
    def resume(cls, checkpoint, text, *, validation=None, seconds=None, epochs=None, verbose=False):
        """Go on with a training that was interrupted, or is to last longer, from the last report in its checkpoint.

        All settings are those that `fit` was given. With epochs as the budget the weights are bit for bit those of a
        training that was not interrupted.

        Parameters
        ----------
        checkpoint : path
            The file that `fit` wrote; it goes on to be written.
        text, validation : str, iterable of str, or array of int
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
        lm = load(checkpoint)
        arrays, metadata = load_arrays(checkpoint)
        if not isinstance(lm, cls) or "training" not in metadata:
            raise ValueError(f"{os.fspath(checkpoint)} holds a {type(lm).__name__} without a training to go on with")
        settings = metadata["training"]["settings"]
        if seconds is not None or epochs is not None:
            settings |= {"seconds": seconds, "epochs": epochs}
        training = Training(lm, text, validation, settings)
        training.restore(checkpoint, arrays, metadata["training"])
        training.run(checkpoint, verbose)
        return lm


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


class Training:
    """A training of a `LanguageModel`: its settings, where it stands, and how a checkpoint keeps both."""

    def __init__(self, lm, text, validation, settings):
        check_choice(settings["optimizer"], OPTIMIZERS, "optimizer")
        check_choice(settings["sampling"], SAMPLINGS, "sampling")
        for name in ("num_steps", "batch_size", "reports"):
            settings[name] = as_count(settings[name], name)
        for name in ("seconds", "epochs", "clip"):
            if settings[name] is not None and not settings[name] > 0:
                raise ValueError(f"{name} is {settings[name]}, expected a number above 0, or None")
        if settings["seconds"] is None and settings["epochs"] is None:
            raise ValueError("seconds and epochs are both None, expected at least one of them")
        self.consecutive = settings["sampling"] == "consecutive"
        self.unit = "characters" if lm.vocabulary.of_characters else "words"
        text = lm.encode(text)
        needed = (settings["num_steps"] + 1) * (settings["batch_size"] if self.consecutive else 1)
        if len(text) < needed:
            raise ValueError(
                f"text has {len(text)} {self.unit}, expected at least {needed} "
                f"for num_steps={settings['num_steps']} and batch_size={settings['batch_size']}"
            )
        if validation is not None:  # what will not do raises now, not at the first report
            validation = lm.encode(validation)
            if not len(validation):
                raise ValueError("validation is empty, expected at least one token, or None")
        self.offsets = min(settings["num_steps"], len(text) - needed + 1)
        self.lm, self.text, self.validation, self.settings = lm, text, validation, settings
        self.optimizer = OPTIMIZERS[settings["optimizer"]](
            lm.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"]
        )
        self.seed = int(lm._rng.integers(2**63))
        self.step = self.epoch = self.window = 0
        self.length = 1  # windows in this epoch
        self.seconds = 0.0
        self.state = None
        self.best, self.best_perplexity = copy.deepcopy(lm), math.inf
        lm.history = []

    def run(self, checkpoint, verbose):
        """Train until the budget is spent."""
        from tqdm import tqdm

        if checkpoint is not None:
            check_writable(checkpoint)
        reports, lr = self.settings["reports"], self.settings["lr"]
        progress = self._progress()
        if progress >= 1:
            raise ValueError(
                f"the training has lasted {self.seconds:.0f} seconds and {self.epoch} epochs, which is all of its "
                f"budget: expected more seconds or epochs"
            )
        if verbose:
            tqdm.write(HEADING.format(f"{self.unit}/s"))
        columns, lines = shutil.get_terminal_size()  # not left to tqdm, which hides itself if a terminal has no size
        bar = tqdm(
            total=1,
            initial=progress,
            leave=False,
            disable=None if verbose else True,  # None: shown on a terminal only
            ncols=columns - 1,
            nrows=lines,
            bar_format="{percentage:3.0f}% |{bar}| {elapsed}, {remaining} to go",
        )
        with bar:
            began = time.perf_counter() - self.seconds
            nats, tokens, since = 0.0, 0, time.perf_counter()
            for x, y in self._windows():
                nats += x.size * self._learn(x, y, lr * (1 + math.cos(math.pi * progress)) / 2)
                tokens += x.size
                now = time.perf_counter()
                self.seconds = now - began
                before, progress = progress, min(self._progress(), 1.0)
                bar.update(progress - before)
                if int(progress * reports) > int(before * reports):
                    self._report(nats / tokens, tokens / (now - since))
                    if verbose:
                        tqdm.write(_line(self.lm.history[-1]))
                    if checkpoint is not None:
                        self.save(checkpoint)
                    nats, tokens, since = 0.0, 0, time.perf_counter()
                if progress == 1:
                    break
        self.lm.load_state_dict(self.best.state_dict())

    def _progress(self):
        """Return how much of the budget is spent, 1 being all of it."""
        seconds, epochs = self.settings["seconds"], self.settings["epochs"]
        return max(
            self.seconds / seconds if seconds else 0.0,
            (self.epoch + self.window / self.length) / epochs if epochs else 0.0,
        )

    def _windows(self):
        """Yield the windows of epoch after epoch, from where the training stands."""
        while True:
            # The seed and the number of an epoch decide its windows, so that a checkpoint need not keep their order.
            rng = np.random.default_rng([self.seed, self.epoch])
            size = {name: self.settings[name] for name in ("num_steps", "batch_size")}
            offset = int(rng.integers(self.offsets))
            if self.consecutive:
                windows = consecutive_windows(self.text, **size, offset=offset)
            else:
                windows = random_windows(self.text, **size, offset=offset, rng=rng)
            self.length = len(windows)
            for x, y in itertools.islice(windows, self.window, None):
                self.window += 1
                yield x, y
            self.epoch, self.window, self.state = self.epoch + 1, 0, None

    def _learn(self, x, y, lr):
        """Make one step, and return its loss in nats a token."""
        (logits, state), back = self.lm.vjp(x, self.state)
        loss, dlogits = F.softmax_cross_entropy(logits, y, grad_out=logits)
        if not math.isfinite(loss):
            raise ValueError(f"lr is {self.settings['lr']}, with which the loss became {loss} in step {self.step + 1}")
        self.optimizer.zero_grad()
        back(dlogits)
        if self.settings["clip"] is not None:
            optim.clip_grad_norm(self.lm.parameters(), self.settings["clip"])
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        self.state = state if self.consecutive else None
        self.step += 1
        return loss

    def _report(self, nats, speed):
        """Add to the history, and keep the weights if they are the best so far."""
        lm, scored = self.lm, None
        if self.validation is not None:
            scored = lm.perplexity(self.validation, prefix=self.text[-CONTEXT:])
        if scored is None or scored < self.best_perplexity:
            self.best.load_state_dict(lm.state_dict())
            self.best_perplexity = math.inf if scored is None else scored
        lm.history.append(
            {
                "step": self.step,
                "epoch": self.epoch,
                "seconds": self.seconds,
                "train": perplexity(nats),
                "validation": scored,
                "speed": speed,
            }
        )

    # ---- checkpoints ----------------------------------------------------------------------------------------

    def save(self, path):
        """Write the best model for `fastnn.load`, and beside it what `restore` needs."""
        arrays = {f"last/{name}": value for name, value in self.lm.state_dict().items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer/{i}/{slot}": value for slot, value in slots.items() if slot != "step"}
        if self.state is not None:
            state = self.state if isinstance(self.state, tuple) else (self.state,)
            arrays |= {f"state/{i}": value for i, value in enumerate(state)}
        training = {
            "settings": self.settings,
            "texts": self._texts(),
            "position": {name: getattr(self, name) for name in POSITION},
            "random": self.lm._rng.bit_generator.state,
            "history": self.lm.history,
        }
        save(self.best, path, {"training": training}, arrays)

    def restore(self, path, arrays, training):
        """Take the place of the training that wrote this checkpoint."""
        try:
            if training["texts"] != self._texts():
                raise ValueError("its training was on another text, or with another validation text")
            for name in POSITION:
                setattr(self, name, training["position"][name])
            self.lm.load_state_dict({name: arrays[f"last/{name}"] for name in self.lm.state_dict()})
            state = [arrays[name] for name in sorted(arrays) if name.startswith("state/")]
            self.state = None if not state else state[0] if len(state) == 1 else tuple(state)
            optimizer = self.optimizer.state_dict()
            for i, _ in enumerate(self.lm.parameters()):
                slots = {
                    slot: arrays[name] for slot in self.optimizer.slots if (name := f"optimizer/{i}/{slot}") in arrays
                }
                optimizer["state"][i] = {"step": self.step, **slots}
            self.optimizer.load_state_dict(optimizer)
            self.lm._rng.bit_generator.state = training["random"]
            self.lm.history = training["history"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} cannot be gone on with: {error}") from error

    def _texts(self):
        """Return what tells one pair of texts from another."""
        texts = hashlib.sha256(self.text.tobytes())
        if self.validation is not None:
            texts.update(b"validation" + self.validation.tobytes())
        return texts.hexdigest()


def _line(report):
    """Return a report as a row under `HEADING`."""
    scored = "-" if report["validation"] is None else f"{report['validation']:.3f}"
    return (
        f"{report['step']:7,}  {report['epoch']:5}  {report['seconds']:7.1f}  {report['train']:16.3f}"
        f"  {scored:>21}  {report['speed']:12,.0f}"
    )


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


def check_writable(path):
    """Raise OSError, naming the path, unless a file can be put there; what is there stays."""
    if os.path.isdir(os.path.realpath(path)):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
