"""From one sequence to another: an encoder, a decoder that attends to it, and searches for what the decoder would say.

In training the whole target is known, so the decoder runs over it as one sequence and attends for all of its steps at
once (Luong, Pham and Manning 2015): attention reads what the recurrent layers wrote and does not feed into them.
"""

import numpy as np

from fastnn import nn
from fastnn._backend import functions as F
from fastnn._checks import check_choice, check_lengths
from fastnn.models.decoding import beam_search
from fastnn.models.language import CELLS

__all__ = ["Seq2Seq"]

quiet = np.errstate(all="ignore")


class Seq2Seq(nn.Module):
    """An encoder and a decoder of recurrent layers, with attention between them.

    The encoder reads the source; its last states, those of both directions side by side, are the first of the decoder,
    which reads the target up to each step. With y its output, c the context that y attends to in the encoder's outputs,
    and [c, y] both side by side: logits = W tanh(W_c [c, y]) + b. Without attention they are W y + b.

    Parameters
    ----------
    source_size, target_size : int
        Of the two vocabularies.
    cell : {"lstm", "gru", "rnn"}
    hidden_size : int
        Of the decoder. The encoder has as many outputs: in two directions half of them each.
    num_layers : int
        Of the encoder, and of the decoder.
    embedding_size : int
    bidirectional : bool
        Whether the encoder also reads the source from its end.
    residual : bool
        Whether every recurrent layer but the first adds its input to its output.
    score : {"general", "dot", "scaled_dot", "additive", None}
        Of the attention; None for none.
    skip : bool
        Whether there is a residual connection from the encoder to the output of the decoder: c is added to
        tanh(W_c [c, y]), or, without attention, the encoder's last state to y.
    dropout : float
        Probability, in training, on embeddings, between recurrent layers, and on what the last layer reads. All steps
        of a sequence share a mask, but not between layers.
    start, end : int
        The tokens of the target vocabulary that begin and end every target.
    rng : numpy.random.Generator, int or None
        Draws the first weights and the dropout masks.
    dtype : float32 or float64

    Notes
    -----
    `logits = model(source, lengths, target_in)`, `logits, back = model.vjp(source, lengths, target_in)`: source (S, B),
    its lengths (B,), target_in (T, B), which begins with `start`, logits (T, B, target_size). What stands past a length
    changes nothing. Targets need no lengths: no step depends on later ones, and the loss leaves padding out by its
    `ignore_index`.

    Sutskever, Vinyals and Le (2014), "Sequence to sequence learning with neural networks"; "Sequence to sequence" in
    the seed notes on Ng's course, with the improvements they name: stacked layers, dropout, residual connections
    between encoder and decoder, attention.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import optim
    >>> from fastnn.data import bucketed_batches
    >>> from fastnn.models import Seq2Seq
    >>> words = [[3, 4, 5], [5, 4], [4, 4, 3, 5], [3, 5]]  # to be written backwards
    >>> batches = bucketed_batches(words, [word[::-1] for word in words], size=2, rng=np.random.default_rng(0))
    >>> model = Seq2Seq(6, 6, hidden_size=16, embedding_size=8, rng=0)
    >>> optimizer = optim.Adam(model.parameters(), lr=0.02)
    >>> for _ in range(50):
    ...     for *inputs, target in batches:
    ...         logits, back = model.vjp(*inputs)
    ...         loss, dlogits = fastnn.softmax_cross_entropy(logits, target, ignore_index=0)
    ...         optimizer.zero_grad()
    ...         _ = back(dlogits)
    ...         optimizer.step()
    >>> ((best,),) = model.translate([[3], [4], [5]], [3], max_length=5)
    >>> best.tokens, best.attention.shape
    (array([5, 4, 3]), (4, 3))
    """

    def __init__(
        self,
        source_size,
        target_size,
        cell="lstm",
        hidden_size=256,
        num_layers=1,
        embedding_size=64,
        *,
        bidirectional=True,
        residual=False,
        score="general",
        skip=False,
        dropout=0.0,
        start=1,
        end=2,
        rng=None,
        dtype=np.float32,
    ):
        check_choice(cell, CELLS, "cell")
        if bidirectional and hidden_size % 2:
            raise ValueError(f"hidden_size is {hidden_size}, expected an even number, half for each direction")
        for name, token in (("start", start), ("end", end)):
            if not 0 <= token < target_size:
                raise ValueError(
                    f"{name} is {token}, expected one of the {target_size} tokens of the target vocabulary"
                )
        self.source_size, self.target_size = source_size, target_size
        self.cell, self.hidden_size, self.num_layers, self.embedding_size = (
            cell,
            hidden_size,
            num_layers,
            embedding_size,
        )
        self.bidirectional, self.residual, self.skip = bool(bidirectional), bool(residual), bool(skip)
        self.score, self.dropout, self.start, self.end = score, dropout, int(start), int(end)
        rng = np.random.default_rng(rng)
        common = {"rng": rng, "dtype": dtype}
        stack = {"residual": residual, "dropout": dropout if num_layers > 1 else 0.0, **common}
        half = hidden_size // (1 + self.bidirectional)
        self.source_embedding = nn.Embedding(source_size, embedding_size, **common)
        self.encoder = CELLS[cell](embedding_size, half, num_layers, bidirectional=bidirectional, **stack)
        self.target_embedding = nn.Embedding(target_size, embedding_size, **common)
        self.decoder = CELLS[cell](embedding_size, hidden_size, num_layers, **stack)
        self.attention = self.combine = None
        if score is not None:
            sizes = {"general": 2, "additive": 3}.get(score, 0) * (hidden_size,)
            self.attention = nn.Attention(score, *sizes, **common)
            self.combine = nn.Linear(2 * hidden_size, hidden_size, bias=False, **common)
        self.drop = nn.Dropout(dropout, shared_axes=0, rng=rng)
        self.output = nn.Linear(hidden_size, target_size, **common)

    def vjp(self, source, lengths, target_in, *, training=True):
        source, lengths = self._source(source, lengths)
        target_in = _tokens(target_in, self.target_size, "target_in")
        if target_in.shape[1] != source.shape[1]:
            raise ValueError(f"target_in has shape {target_in.shape}, expected (T, {source.shape[1]})")
        x, back_source = self._embedded(self.source_embedding, source, training)
        (memory, last), back_encoder = self.encoder.vjp(x, None, lengths, training=training)
        state = self._joined(last)
        x, back_target = self._embedded(self.target_embedding, target_in, training)
        (y, _), back_decoder = self.decoder.vjp(x, state, training=training)
        if self.attention is None:
            summary = (state[0] if self.cell == "lstm" else state)[-1]  # of the last layer
            features = y + summary if self.skip else y
        else:
            (context, _), back_attention = self.attention.vjp(y, memory, lengths=lengths)
            mixed, back_combine = self.combine.vjp(np.concatenate([context, y], axis=2))
            mixed = F.tanh(mixed, out=mixed)
            features = mixed + context if self.skip else mixed
        features, back_drop = self.drop.vjp(features, training=training)
        logits, back_output = self.output.vjp(features)

        @quiet
        def back(dlogits):
            dfeatures = back_drop(back_output(dlogits))
            dmemory = None
            if self.attention is None:
                dy = dfeatures
            else:
                dboth = back_combine(F.tanh_backward(dfeatures, mixed))
                dcontext, dy = dboth[:, :, : self.hidden_size], dboth[:, :, self.hidden_size :]
                if self.skip:
                    dcontext += dfeatures
                dquery, dmemory, _ = back_attention(dcontext)
                dy = dquery + dy
            dx, dstate = back_decoder(dy)
            back_target(dx)
            if self.skip and self.attention is None:
                (dstate[0] if self.cell == "lstm" else dstate)[-1] += dfeatures.sum(axis=0)
            dx, _ = back_encoder(dmemory, self._split(dstate))
            back_source(dx)
            return None, None, None

        return logits, back

    def decoding(self, source, lengths):
        """Return `step` and `state` for `greedy_decode` and `beam_search`, which begin with the tokens `start`.

        The source is encoded, and its keys are projected, once.

        Parameters
        ----------
        source : array_like (S, B) of integers
        lengths : array_like (B,) of integers

        Returns
        -------
        step : callable
            `log_probabilities, state, weights = step(tokens, state)`, for any multiple of B rows; weights (N, S) are
            those of the attention, absent without it.
        state : tuple of ndarray (B, num_layers, hidden_size)

        Examples
        --------
        >>> from fastnn.models import Seq2Seq, greedy_decode
        >>> model = Seq2Seq(5, 4, hidden_size=8, embedding_size=4, rng=0)
        >>> step, state = model.decoding([[3], [4]], [2])
        >>> (best,) = greedy_decode(step, state, [model.start], end=None, max_length=3)
        >>> len(best.tokens), best.attention.shape
        (3, (3, 2))
        """
        source, lengths = self._source(source, lengths)
        memory, last = self.encoder(self.source_embedding(source), None, lengths)
        state = self._joined(last)
        first = state if self.cell == "lstm" else (state,)
        attend = self.attention and self.attention.over(memory, lengths=lengths)
        streams = {}

        @quiet
        def step(tokens, state):
            tokens = np.asarray(tokens)
            rows = len(tokens)
            run = streams.get(rows) or streams.setdefault(rows, self.decoder.stream(rows))
            arrays = [array.swapaxes(0, 1) for array in state]
            run.state = arrays if self.cell == "lstm" else arrays[0]
            y = run(self.target_embedding(tokens)).reshape(-1, len(lengths), self.hidden_size)
            if attend:
                context, weights = attend(y)
                features = F.tanh(self.combine(np.concatenate([context, y], axis=2)))
                features = features + context if self.skip else features
            else:
                features = y + first[0][-1] if self.skip else y
            logits = self.output(features).reshape(rows, self.target_size)
            arrays = run.state if self.cell == "lstm" else (run.state,)
            state = tuple(array.swapaxes(0, 1) for array in arrays)
            return F.log_softmax(logits), state, *([weights.reshape(rows, -1)] if attend else [])

        return step, tuple(array.swapaxes(0, 1) for array in first)

    def translate(self, source, lengths, *, max_length, **options):
        """Return the best targets of a batch of sources.

        Parameters
        ----------
        source : array_like (S, B) of integers
        lengths : array_like (B,) of integers
        max_length : int
        **options
            Others of `beam_search`: beam, n_best, length_penalty, ...

        Returns
        -------
        list of list of Hypothesis
            For each source the hypotheses, best first. The attention of each covers the steps of its source.

        Raises
        ------
        ValueError
            If a source has no token, the beam is larger than the target vocabulary, or a number is out of range.
        IndexError
            If a token is not in the source vocabulary.
        """
        step, state = self.decoding(source, lengths)
        start = np.full(len(lengths), self.start)
        found = beam_search(step, state, start, end=self.end, max_length=max_length, **options)
        if self.attention is None:
            return found
        return [
            [hypothesis._replace(attention=hypothesis.attention[:, :length]) for hypothesis in several]
            for several, length in zip(found, lengths, strict=True)
        ]

    def _source(self, source, lengths):
        """Return the source and its lengths, checked."""
        source = _tokens(source, self.source_size, "source")
        lengths = check_lengths(lengths, *source.shape, "source")
        if not lengths.all():
            raise ValueError(f"lengths hold 0 at {int(lengths.argmin())}, expected at least one token in every source")
        return source, lengths

    def _embedded(self, embedding, tokens, training):
        """Return the vectors of tokens, after dropout, and the pullback."""
        x, back_embedding = embedding.vjp(tokens)
        x, back_drop = self.drop.vjp(x, training=training)
        return x, lambda dx: back_embedding(back_drop(dx))

    def _joined(self, state):
        """Return a state of the encoder as one of the decoder: both directions of a layer side by side."""
        if self.cell == "lstm":
            return tuple(map(self._of_layers, state))
        return self._of_layers(state)

    def _of_layers(self, h):
        return h.reshape(self.num_layers, -1, *h.shape[1:]).swapaxes(1, 2).reshape(self.num_layers, h.shape[1], -1)

    def _split(self, state):
        """Undo `_joined`."""
        if self.cell == "lstm":
            return tuple(map(self._of_directions, state))
        return self._of_directions(state)

    def _of_directions(self, h):
        size = self.encoder.hidden_size
        return h.reshape(*h.shape[:2], -1, size).swapaxes(1, 2).reshape(-1, h.shape[1], size)


def _tokens(x, size, name):
    """Return indices (T, B), or raise unless they are of a vocabulary of this size."""
    x = np.asarray(x)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {x.dtype}, expected integers")
    if x.ndim != 2 or not x.size:
        raise ValueError(f"{name} has shape {x.shape}, expected (time, batch), both at least 1")
    if x.min() < 0 or x.max() >= size:
        wrong = x[(x < 0) | (x >= size)][0]
        raise IndexError(f"{name} holds {wrong}, expected tokens from 0 to {size - 1}")
    return x
