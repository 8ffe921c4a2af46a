"""Classifiers of sequences of different lengths: convolutional windows, or recurrent layers in both directions.

Both take a batch first, (B, T) tokens or (B, T, F) features, and its lengths, so that `fastnn.training.Trainer` cuts
their arrays into batches: `trainer.fit((x, lengths, labels), ...)`. What stands past a length changes nothing.
"""

import numpy as np

from fastnn import nn
from fastnn._checks import as_count, check_choice, check_lengths
from fastnn.nn.module import complaint

__all__ = ["RecurrentClassifier", "TextCNN"]

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def _source(source):
    return source if isinstance(source, nn.Module) else as_count(source, "source")


class _Classifier(nn.Module):
    """What the two have in common: how tokens or features come in, and how classes come out."""

    takes_lengths = True

    def _make(self, source, num_classes, dropout, features, rng, dtype):
        self.num_classes, self.dropout = as_count(num_classes, "num_classes", 2), dropout
        self.drop = nn.Dropout(dropout, rng=rng)
        self.output = nn.Linear(features, self.num_classes, rng=rng, dtype=dtype)

    def _read(self, x, lengths):
        """Return the features of every step, 0 past the lengths, the pullback to x, and the lengths."""
        x = np.asarray(x)
        if isinstance(self.source, int):
            if x.ndim != 3 or x.shape[2] != self.source:
                raise complaint(self, f"x has shape {x.shape}, expected (batch, time, {self.source})")
            back = lambda dx: dx
        elif x.ndim != 2:
            raise complaint(self, f"x has shape {x.shape}, expected (batch, time)")
        batch, steps = x.shape[:2]
        lengths = check_lengths(lengths, steps, batch)
        if (lengths == 0).any():
            raise complaint(self, "lengths hold 0, expected sequences of at least one step")
        if not isinstance(self.source, int):
            x, back = self.source.vjp(x)
        past = np.arange(steps) >= lengths[:, None]
        if past.any():
            x = np.where(past[:, :, None], x.dtype.type(0), x)
        return x, lambda dx: back(np.where(past[:, :, None], dx.dtype.type(0), dx)), lengths

    def __call__(self, x, lengths=None):
        return self.vjp(x, lengths, training=False)[0]


class TextCNN(_Classifier):
    """Windows of several widths slide over a text; the largest answer of each of their channels decides its class.

    Embedding, one `Conv1d` a width with zeros beyond both ends, maximum over time, ReLU, dropout, linear layer
    (Kim 2014, "Convolutional neural networks for sentence classification").

    Parameters
    ----------
    source : nn.Embedding or int
        What the tokens are looked up in, `nn.Embedding.from_vectors(...)` for pre-trained vectors; or how many features
        a step has, for sequences of features.
    num_classes : int
    kernel_sizes : sequence of int
        The widths of the windows.
    channels : int
        Of each width.
    dropout : float
    rng : numpy.random.Generator, int or None
        Draws the weights and the dropout masks.
    dtype : float32 or float64

    Notes
    -----
    `logits = model(x, lengths=None)`, `logits, back = model.vjp(x, lengths=None)`: x (B, T) or (B, T, F), logits
    (B, num_classes). "A window that slides over the text", sequence models in the seed notes on deep learning.

    Examples
    --------
    >>> from fastnn import nn, optim
    >>> from fastnn.models import TextCNN
    >>> from fastnn.training import Trainer
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 10, (200, 12))
    >>> label = ((x[:, :-1] == 3) & (x[:, 1:] == 4)).any(axis=1).astype(int)  # is there a 3 before a 4?
    >>> x[:100, 5:7], label[:100] = [3, 4], 1
    >>> model = TextCNN(nn.Embedding(10, 8, rng=rng), 2, kernel_sizes=[2], channels=16, rng=rng)
    >>> trainer = Trainer(model, "softmax_cross_entropy", optim.Adam(model.parameters(), lr=0.01), rng=0)
    >>> history = trainer.fit((x, np.full(200, 12), label), epochs=30)
    >>> bool((model(x).argmax(axis=1) == label).mean() > 0.95)
    True
    """

    def __init__(
        self, source, num_classes, kernel_sizes=(3, 4, 5), channels=100, dropout=0.5, *, rng=None, dtype=np.float32
    ):
        source = _source(source)
        self.source, self.kernel_sizes, self.channels = source, tuple(kernel_sizes), channels
        rng = np.random.default_rng(rng)
        features = source if isinstance(source, int) else source.embedding_dim
        self.windows = [
            nn.Conv1d(features, channels, size, padding="same", rng=rng, dtype=dtype) for size in self.kernel_sizes
        ]
        if not self.windows:
            raise ValueError("kernel_sizes are empty, expected at least one width")
        self._make(source, num_classes, dropout, channels * len(self.windows), rng, dtype)

    def vjp(self, x, lengths=None, *, training=True):
        x, back_source, lengths = self._read(x, lengths)
        x = np.ascontiguousarray(x.swapaxes(1, 2))
        largest, pullbacks = [], []
        for window in self.windows:
            y, back_window = window.vjp(x)
            y, back_pool = nn.MaxOverTime().vjp(y, lengths)
            largest.append(y)
            pullbacks.append((back_window, back_pool))
        y, back_relu = nn.Activation("relu").vjp(np.concatenate(largest, axis=1))
        y, back_drop = self.drop.vjp(y, training=training)
        logits, back_output = self.output.vjp(y)

        def back(dlogits):
            parts = np.split(back_relu(back_drop(back_output(dlogits))), len(pullbacks), axis=1)
            dx = sum(
                back_window(back_pool(np.ascontiguousarray(part)))
                for part, (back_window, back_pool) in zip(parts, pullbacks, strict=True)
            )
            return back_source(np.ascontiguousarray(dx.swapaxes(1, 2)))

        return logits, back


class RecurrentClassifier(_Classifier):
    """Recurrent layers read a sequence from both ends; what they say of it decides its class.

    Embedding, bidirectional recurrent layers, pooling, dropout, linear layer.

    Parameters
    ----------
    source : nn.Embedding or int
        What tokens are looked up in, or how many features a step has, as for `TextCNN`.
    num_classes : int
    cell : {"lstm", "gru", "rnn"}
    hidden_size : int
        Of each direction.
    num_layers : int
    pool : {"state", "mean", "max"}
        Whether the last states of both directions are taken, each at its own end of the sequence, or the mean or the
        largest of the outputs.
    dropout : float
        Probability, in training, between recurrent layers and on what is pooled.
    rng : numpy.random.Generator, int or None
        Draws the weights and the dropout masks.
    dtype : float32 or float64

    Notes
    -----
    Calls are those of `TextCNN`. "Bidirectional RNN", sequence models in the seed notes on deep learning.

    Examples
    --------
    >>> from fastnn.models import RecurrentClassifier
    >>> model = RecurrentClassifier(3, 2, hidden_size=8, rng=0)
    >>> model(np.zeros((4, 10, 3), np.float32), lengths=[10, 3, 7, 1]).shape
    (4, 2)
    """

    def __init__(
        self,
        source,
        num_classes,
        cell="lstm",
        hidden_size=64,
        num_layers=1,
        *,
        pool="state",
        dropout=0.5,
        rng=None,
        dtype=np.float32,
    ):
        check_choice(cell, CELLS, "cell")
        check_choice(pool, ("state", "mean", "max"), "pool")
        source = _source(source)
        self.source, self.cell, self.hidden_size, self.num_layers = source, cell, hidden_size, num_layers
        self.pool = pool
        rng = np.random.default_rng(rng)
        features = source if isinstance(source, int) else source.embedding_dim
        self.recurrent = CELLS[cell](
            features,
            hidden_size,
            num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if num_layers > 1 else 0.0,
            rng=rng,
            dtype=dtype,
        )
        self._make(source, num_classes, dropout, 2 * hidden_size, rng, dtype)

    def vjp(self, x, lengths=None, *, training=True):
        x, back_source, lengths = self._read(x, lengths)
        (y, state), back_recurrent = self.recurrent.vjp(x, lengths=lengths, training=training)
        if self.pool == "state":
            pooled = np.concatenate(list((state[0] if self.cell == "lstm" else state)[-2:]), axis=1)
        else:
            pooled, back_pool = nn.Pool(self.pool, batch_first=True).vjp(y, lengths)
        pooled, back_drop = self.drop.vjp(pooled, training=training)
        logits, back_output = self.output.vjp(pooled)

        def back(dlogits):
            dpooled = back_drop(back_output(dlogits))
            if self.pool == "state":
                dstate = np.zeros((2 * self.num_layers, len(y), self.hidden_size), y.dtype)
                dstate[-2:] = np.split(dpooled, 2, axis=1)
                dx, _ = back_recurrent(None, (dstate, np.zeros_like(dstate)) if self.cell == "lstm" else dstate)
            else:
                dx, _ = back_recurrent(back_pool(dpooled))
            return back_source(dx)

        return logits, back
