"""The loop that trains any model with any loss: minibatches, validation, early stopping, a history.

a) A batch is a tuple of arrays: the last one is the target, the others are what `model.vjp` takes.
b) Nothing of a training hides in the loop: `step`, `epoch`, `batch`, `history` and the rest are attributes, so that
   callbacks get the trainer itself, and a checkpoint is what stands there.
c) A step is whole or was not made: an error in the data, a loss that is not finite and Ctrl-C leave the weights and the
   running statistics as they were after the last step, and `fit` goes on from there.
d) A checkpoint is one file that `fastnn.load` reads: the best weights, as `save` writes them, and beside them what a
   run needs to go on as if it had never stopped, the last weights among it. So the two never disagree.
"""

import copy
import csv
import inspect
import io
import json
import math
import os
import shutil
import signal
import threading
import time
from itertools import islice

import numpy as np

from fastnn import optim
from fastnn._backend import functions as F
from fastnn._checks import as_count, as_positive, check_rate, check_shape
from fastnn.data import batches
from fastnn.io import check_writable, load_arrays, plain, remove_leftovers, restored, save, write_whole
from fastnn.nn.module import Buffer, Module

__all__ = ["History", "Trainer", "accuracy", "binary_accuracy"]


def accuracy(output, target, ignore_index=None):
    """Return the share of rows whose largest output is that of the target.

    Parameters
    ----------
    output : array (..., C)
    target : array of int (...), or of probabilities (..., C)
    ignore_index : int, optional
        A target that does not count, such as padding. Without any other the share is 0.

    Raises
    ------
    ValueError
        If the target has neither of these shapes.

    Examples
    --------
    >>> from fastnn.training import accuracy
    >>> accuracy(np.array([[0.1, 2.0], [3.0, -1.0]]), np.array([1, 1]))
    0.5
    """
    target, shape = np.asarray(target), np.shape(output)
    if target.shape not in (shape, shape[:-1]):
        raise ValueError(
            f"target has shape {target.shape}, expected {shape[:-1]} for classes or {shape} for probabilities"
        )
    if target.shape == shape:
        target = target.argmax(axis=-1)
    right = np.argmax(output, axis=-1) == target
    if ignore_index is not None:
        right = right[target != ignore_index]
    return float(right.mean()) if right.size else 0.0


def binary_accuracy(output, target):
    """Return the share of elements whose logit is above 0 where the target is 1, and not where it is 0.

    Raises
    ------
    ValueError
        If the shapes of output and target differ.

    Examples
    --------
    >>> from fastnn.training import binary_accuracy
    >>> binary_accuracy(np.array([2.0, -1.0, 0.5, -3.0]), np.array([1, 0, 0, 0]))
    0.75
    """
    output, target = np.asarray(output), np.asarray(target)
    check_shape(target, output.shape, "target")
    return float(((output > 0) == (target > 0.5)).mean())


POSITION = ("step", "epoch", "batch", "seconds", "best", "_stale", "_length")  # of a training, for its checkpoint
METRICS = {"accuracy": accuracy, "binary_accuracy": binary_accuracy}
REPORTED = ("epoch", "step", "seconds", "rate", "speed", "loss")  # in every report


class History(list):
    """What a training reports: a list with a dict for each report.

    Examples
    --------
    >>> from fastnn.training import History
    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history.column("loss")
    [0.5, 0.25]
    """

    def column(self, name):
        """Return the values of one name, None where a report lacks it."""
        return [report.get(name) for report in self]

    def save(self, path):
        """Write a file, whole or not at all: JSON if its name ends in .json, CSV with a heading if in .csv.

        Raises
        ------
        ValueError
            If the name ends in neither.
        OSError
            If the file cannot be written.
        """
        kind = os.path.splitext(os.fspath(path))[1]
        if kind == ".json":
            text = json.dumps(plain(self), indent=1) + "\n"
        elif kind == ".csv":
            rows = io.StringIO()
            names = list(dict.fromkeys(name for report in self for name in report))
            table = csv.DictWriter(rows, names, lineterminator="\n")
            table.writeheader()
            table.writerows(self)
            text = rows.getvalue()
        else:
            raise ValueError(f"path is {os.fspath(path)!r}, expected a name that ends in .json or .csv")
        write_whole(path, text.encode())


class Trainer:
    """A training: a model, what it is to minimise and by which steps, and how far it has come.

    Parameters
    ----------
    model : Module
        Of one that returns (output, state) the output counts.
    loss : str or callable
        The name of a loss of fastnn, or a function of (output, target) that returns (loss, gradient of the output).
        One that takes `need_grad` gets False in validation. Averages weigh a batch by the elements of its target, those
        of the `ignore_index` of a `functools.partial` aside.
    optimizer : Optimizer
        Over parameters of the model, all or some: the others stay as they are.
    metrics : sequence of str, or dict of str to callable
        Functions of (output, target) that return a number: "accuracy", "binary_accuracy", or others by name. Their
        averages go into the history, so they bear other names than what stands there.
    schedule : callable, optional
        From the number of steps made so far to the learning rate of the next one: see `fastnn.schedules`. A parameter
        group that was given to the optimiser with half the rate of its own `lr` gets half of it, and so on.
    clip_norm : float, optional
        The largest norm of the gradient of all parameters of the optimiser together.
    penalty : callable, optional
        Gets the model once its gradients are there, and adds to them: see `fastnn.regularize`. The loss that is
        reported is that without it, so that it compares with a validation's.
    carry_state : bool
        Whether a model that returns (output, state) gets `state` with the next batch, as in truncated back-propagation
        through time over batches that go on from each other: see `data.consecutive_windows`. An epoch begins with None.
    rng : numpy.random.Generator, int or None
        Shuffles the batches.

    Attributes
    ----------
    step : int
        Steps made.
    epoch, batch : int
        Epochs completed, and batches of the present one.
    seconds, progress : float
        How long `fit` has taken so far, and how much of its epochs or seconds is spent, from 0 to 1.
    history : History
        The reports, a dict for each: "epoch", "step", "seconds", "rate", "speed" (elements of targets a second,
        validation aside), "loss", the metrics, and for a validation "validation_loss" and so on. Loss and metrics of
        the training are averages since the report before, of a model that changed meanwhile and had dropout.
    best : dict or None
        The best report so far.

    Examples
    --------
    >>> from fastnn import nn, optim
    >>> from fastnn.training import Trainer
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 2)).astype(np.float32)
    >>> label = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> net = nn.Sequential(nn.Linear(2, 16, rng=rng), nn.Activation("tanh"), nn.Linear(16, 2, rng=rng))
    >>> trainer = Trainer(
    ...     net, "softmax_cross_entropy", optim.Adam(net.parameters(), lr=0.02), metrics=["accuracy"], rng=0
    ... )
    >>> history = trainer.fit((x[:150], label[:150]), epochs=30, validation=(x[150:], label[150:]))
    >>> len(history), trainer.best["validation_accuracy"] > 0.9
    (30, True)
    """

    def __init__(
        self,
        model,
        loss,
        optimizer,
        *,
        metrics=(),
        schedule=None,
        clip_norm=None,
        penalty=None,
        carry_state=False,
        rng=None,
    ):
        if not isinstance(model, Module):
            raise TypeError(f"model is a {type(model).__name__}, expected a Module")
        self.model, self.optimizer, self.schedule, self.penalty = model, optimizer, schedule, penalty
        self._bind()
        self.loss = getattr(F, loss, None) if isinstance(loss, str) else loss
        if not callable(self.loss) or (isinstance(loss, str) and not loss.endswith(("_loss", "_cross_entropy"))):
            raise ValueError(f"loss is {loss!r}, expected the name of a loss of fastnn, or a function")
        self.metrics = metrics if isinstance(metrics, dict) else {name: METRICS.get(name) for name in metrics}
        unknown = [name for name, metric in self.metrics.items() if not callable(metric)]
        if unknown:
            raise ValueError(f"metrics hold {unknown[0]!r}, expected names among {', '.join(METRICS)}, or a dict")
        taken = [name for name in self.metrics if name in REPORTED or name.startswith("validation_")]
        if taken:
            raise ValueError(f"metrics hold the name {taken[0]!r}, expected another one, since reports use that")
        self.clip_norm = None if clip_norm is None else as_positive(clip_norm, "clip_norm")
        self.carry_state, self.rng = carry_state, np.random.default_rng(rng)
        self.step = self.epoch = self.batch = 0
        self.seconds = self.progress = 0.0
        self.history, self.best = History(), None
        self._best_state, self._stale = None, 0  # weights of the best report, and how many came after it
        self._sums = Sums()  # since the last report
        self._length = 0  # of the present epoch in batches, if it is known
        self._order = None  # the state of the generator of orders when it began
        self._state = None  # that the next batch goes on from
        self._stopping = False
        accepted = inspect.signature(self.loss).parameters
        self._without_gradient = {"need_grad": False} if "need_grad" in accepted else {}
        self._without_dx = {"need_dx": False} if getattr(model, "skips_dx", False) else {}
        self._ignored = getattr(self.loss, "keywords", {}).get("ignore_index")

    def _bind(self):
        """Look up what every step needs of the model and of the optimiser."""
        self._parameters = self.model.parameters()
        self._buffers = [array for _, array in self.model.named_arrays() if isinstance(array, Buffer)]
        groups, default = self.optimizer.param_groups, self.optimizer._defaults["lr"]
        self._trained = [parameter for group in groups for parameter in group["params"]]
        strange = {id(parameter) for parameter in self._trained} - {id(parameter) for parameter in self._parameters}
        if strange:
            raise ValueError(
                f"optimizer holds {len(strange)} parameters that are not the model's, expected one that was made from "
                f"this model, after `astype` or other changes"
            )
        self._factors = [group["initial_lr"] / default if default else 1.0 for group in groups]

    def stop(self):
        """Let the training end here, with a report on what came after the last one; for callbacks."""
        self._stopping = True

    def fit(
        self,
        train,
        *,
        epochs=None,
        seconds=None,
        reports=None,
        validation=None,
        batch_size=32,
        shuffle=True,
        monitor=None,
        maximize=None,
        patience=None,
        restore_best=None,
        checkpoint=None,
        checkpoint_every=None,
        notes=None,
        resume=False,
        callbacks=(),
        step_callbacks=(),
        verbose=False,
    ):
        """Train for so many epochs or seconds in all, from where the training stands.

        Ctrl-C lets the step that is being made end, and what must be written be written, before it raises
        KeyboardInterrupt; pressed again it does so at once.

        Parameters
        ----------
        train : tuple of arrays, iterable of batches, or callable
            Arrays with equally many rows, the last one the targets: they are cut into batches, in a new order each
            epoch, the last short batch kept. An iterable is gone through once an epoch, such as `data.batches(...)` or
            a list, and yields tuples of arrays. A callable gets the number of epochs completed, and returns the
            iterable of the next one.
        epochs, seconds : float, optional
            At least one of them; what is spent first ends the training. Those of earlier calls are included: a second
            `fit` with the same numbers does nothing. A part of an epoch asks for batches whose number is known.
        reports : int, optional
            How many, evenly spread over epochs or seconds. None: one after every epoch, and one at the end.
        validation : tuple of arrays, iterable of batches, or callable, optional
            Scored for each report. A callable gets the model and returns the loss, or a dict with "loss" and others.
        batch_size : int
            Rows in a batch, of arrays.
        shuffle : bool
            Whether batches of arrays come in a new order each epoch.
        monitor : str
            What decides which report is the best, a name in the history: "validation_loss", or "loss" without a
            validation, if None.
        maximize : bool
            Whether that is to rise. None: a loss is to fall, anything else to rise.
        patience : int, optional
            Stop after so many reports in a row that did not improve on the best.
        restore_best : bool
            Whether the model ends with the weights of the best report. None: if there is a validation. One that is to
            be trained further wants False.
        checkpoint : path, optional
            A file to write after every report, and when Ctrl-C stops the training: whole or not at all. `fastnn.load`
            reads the model with its best weights from it.
        checkpoint_every : int, optional
            Write it after every so many steps, too.
        notes : dict, optional
            What else it is to hold, anything that JSON can: `fastnn.io.load_arrays(checkpoint)[1]["notes"]`.
        resume : bool
            Go on from the checkpoint, if it is there yet, with a trainer and arguments like those that it was written
            with. The weights are then bit for bit those of a training that nothing stopped, unless seconds end it: an
            iterable of batches has to repeat itself for that, or to draw its order from a generator in its attribute
            `rng`, as `data.batches` does, a callable to return the same for the same number.
        callbacks, step_callbacks : sequence of callable
            Called with the trainer after every report, when it stands in `history`, and after every step.
        verbose : bool or callable
            Print the reports and, on a terminal, show a progress bar. A callable gets a report and returns its row.

        Returns
        -------
        History
            `history`, which holds earlier calls too.

        Raises
        ------
        ValueError
            If there is nothing to train on, an argument is out of range, or the checkpoint is damaged or of another
            training, in which case nothing has changed.
        OSError
            If the checkpoint cannot be read or written. The one before it stays, and so does what was learnt: a second
            `fit` goes on.
        FloatingPointError
            If the loss or the gradient is not finite: it names the step, and the first layer or array that is not. That
            step is not made. Or if NaN in the data of a validation made its loss NaN.
        """
        if epochs is None and seconds is None:
            raise ValueError("seconds and epochs are both None, expected at least one of them")
        epochs = math.inf if epochs is None else as_positive(epochs, "epochs")
        seconds = math.inf if seconds is None else as_positive(seconds, "seconds")
        reports = None if reports is None else as_count(reports, "reports")
        patience = None if patience is None else as_count(patience, "patience")
        checkpoint_every = None if checkpoint_every is None else as_count(checkpoint_every, "checkpoint_every")
        if checkpoint is None and (resume or checkpoint_every):
            raise ValueError("checkpoint is None, expected a path to resume from or to write to")
        callbacks, step_callbacks = functions(callbacks, "callbacks"), functions(step_callbacks, "step_callbacks")
        check_json(notes, "notes")
        self._bind()
        self._data, self._notes = described(train, batch_size, shuffle), notes
        train = self._batches(train, "train", batch_size, shuffle)
        validate = self._validation(validation, batch_size)
        monitor = monitor or ("loss" if validation is None else "validation_loss")
        if not callable(validation):
            scores = [] if validation is None else ["loss", *self.metrics]
            check_monitor(monitor, [*REPORTED, *self.metrics, *(f"validation_{name}" for name in scores)])
        maximize = not monitor.endswith("loss") if maximize is None else maximize
        if getattr(self.schedule, "maximize", maximize) != maximize:
            raise ValueError(f"schedule has maximize={not maximize}, expected {maximize}, as {monitor} is monitored")
        restore_best = validation is not None if restore_best is None else restore_best
        if checkpoint is not None:
            check_json(self.model, "model")
            check_writable(checkpoint)
            remove_leftovers(checkpoint)
            if resume and os.path.exists(checkpoint):
                self._restore(checkpoint, train)
        if self.best is not None and monitor not in self.best:  # an earlier `fit` looked at another one
            self.best, self._best_state, self._stale = None, None, 0
        self._stopping = False
        self.progress = self._spent(epochs, seconds)
        began = time.perf_counter() - self.seconds
        with Interrupt() as interrupt, Display(self, verbose) as show:
            # The report on the last epoch is due if it failed.
            due = not self.batch and bool(self._sums.totals) and (reports is None or self.progress == 1)
            ahead, loss = self._ahead(train), None
            while due or not (self.progress == 1 or self._stopping or self._out_of(patience)):
                if not due:
                    loss, before = self._advance(ahead), self.progress
                    self.seconds = time.perf_counter() - began
                    self.progress = self._spent(epochs, seconds)
                    if loss is not None:
                        for callback in step_callbacks:
                            callback(self)
                        show.step(loss)
                    due = loss is None if reports is None else told(self.progress, reports) > told(before, reports)
                    due = bool(self._sums.totals) and (due or self._stopping or self.progress == 1)
                if due:
                    self._judge(self._report(validate), monitor, maximize)
                    show.report()
                    for callback in callbacks:
                        callback(self)
                every = checkpoint_every and loss is not None and self.step % checkpoint_every == 0
                if due or every or interrupt.asked:
                    self._save(checkpoint, train)
                    interrupt.obey(self.step, checkpoint)
                due = False
        if restore_best and self._best_state is not None:
            self.model.load_state_dict(self._best_state)
        return self.history

    def evaluate(self, data, *, batch_size=256):
        """Return a dict of the loss and the metrics, averaged over arrays or batches, without training.

        Parameters
        ----------
        data : tuple of arrays, or iterable of batches
        batch_size : int
            Rows in a batch, of arrays.
        """
        return self._evaluate(self._batches(data, "data", batch_size, False))

    def range_test(self, train, *, low=1e-6, high=1.0, steps=100, batch_size=32, stop=4.0):
        """Return rates, and the losses of steps made with them, one after the other, rising from low to high.

        All is done by copies: model, optimiser and generators stay as they are. A good rate lies a few times below that
        with which the losses begin to rise.

        Parameters
        ----------
        train : tuple of arrays, iterable of batches, or callable
            As of `fit`.
        low, high : float
            The first and the last rate; those between form a geometric series.
        steps : int
        batch_size : int
            Rows in a batch, of arrays.
        stop : float
            End when a loss is not finite, or their running average exceeds so many times its smallest value.

        Returns
        -------
        rates, losses : ndarray (n,)
            n is `steps` or less. losses[i] is the loss before the step with rates[i].

        Raises
        ------
        FloatingPointError
            If the loss is not finite before any step, or the data are not.

        Notes
        -----
        Smith (2017), "Cyclical learning rates for training neural networks", section 3.3.

        Examples
        --------
        >>> from fastnn import nn, optim
        >>> net = nn.Linear(3, 1, rng=0)
        >>> x = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
        >>> trainer = Trainer(net, "mse_loss", optim.SGD(net.parameters()), rng=0)
        >>> rates, losses = trainer.range_test((x, x @ np.ones((3, 1), np.float32)), high=10.0)
        >>> bool(0.01 < rates[losses.argmin()] < 1 < rates[-1] < 10)
        True
        """
        low, high, steps = as_positive(low, "low"), as_positive(high, "high"), as_count(steps, "steps", least=2)
        trial = copy.deepcopy(self)
        trial._bind()
        trial.metrics, first = {}, trial.step
        trial.schedule = lambda step: low * (high / low) ** ((step - first) / (steps - 1))
        train = trial._batches(train, "train", batch_size, True)
        rng = getattr(train, "rng", None)
        before = rng and rng.bit_generator.state
        losses, average, least = [], 0.0, math.inf
        try:
            while len(losses) < steps and average <= stop * least:
                made, trial._state = len(losses), None
                for batch in trial._epoch_of(train):
                    losses.append(trial._learn(batch))
                    share = max(0.1, 1 / len(losses))
                    average += share * (losses[-1] - average)
                    least = min(least, average)
                    if len(losses) == steps or average > stop * least:
                        break
                if len(losses) == made:
                    raise ValueError("train yielded no batch, expected at least one an epoch")
                trial.epoch += 1
        except FloatingPointError:
            if not losses or bad_data(batch[:-1], batch[-1]):
                raise
        finally:
            if rng:
                rng.bit_generator.state = before
        return np.array([trial.schedule(first + i) for i in range(len(losses))]), np.array(losses)

    # ---- the loop -------------------------------------------------------------------------------------------

    def _spent(self, epochs, seconds):
        """Return how much of the budget is spent, 1 being all of it. The last batch of an epoch does not yet end it."""
        share = min(self.batch, self._length - 1) / self._length if self._length else 0.0
        return min(max((self.epoch + share) / epochs, self.seconds / seconds), 1.0)

    def _out_of(self, patience):
        """Say whether the last reports did not improve on the best, as many as the patience is."""
        return patience is not None and self._stale >= patience

    def _epoch_of(self, train):
        """Return the batches of the present epoch, and note their number."""
        batches = train if hasattr(train, "__iter__") else train(self.epoch)
        self._length = len(batches) if hasattr(batches, "__len__") else 0
        return batches

    def _ahead(self, train):
        """Yield the batches yet to come, of one epoch after the other, and None after the last one of each."""
        while True:
            yield from self._rest(self._epoch_of(train), train)
            if not self.batch:
                raise ValueError("train yielded no batch, expected at least one an epoch")
            yield None

    def _rest(self, batches, train):
        """Yield the batches of this epoch that are yet to come."""
        rng = getattr(batches, "rng", None)
        if not self.batch:
            self._order = rng and rng.bit_generator.state
            yield from batches
            return
        generators = self._generators(train)
        now = {name: generator.bit_generator.state for name, generator in generators.items()}
        if rng:
            rng.bit_generator.state = self._order
        rows = iter(batches)
        for _ in islice(rows, self.batch):
            pass
        for name, generator in generators.items():
            generator.bit_generator.state = now[name]
        yield from rows

    def _advance(self, ahead):
        """Make one step and return its loss, or end an epoch and return None."""
        began, loss = time.perf_counter(), None
        batch = next(ahead)
        if batch is None:
            self.epoch, self.batch, self._state = self.epoch + 1, 0, None
        else:
            loss = self._learn(batch)
        self._sums.seconds += time.perf_counter() - began
        return loss

    def _learn(self, batch):
        """Make one step and return its loss, or leave model and optimiser as they are."""
        *inputs, target = self._checked(batch)
        kept = [(buffer, buffer.value.copy()) for buffer in self._buffers]
        try:
            loss, scores, state = self._update(inputs, target)
        except BaseException:
            for buffer, before in kept:
                buffer.value[...] = before
            raise
        self.step, self.batch, self._state = self.step + 1, self.batch + 1, state if self.carry_state else None
        self._sums.add(*scores)
        return loss

    def _update(self, inputs, target):
        """Update parameters by a batch, and return its loss, its scores, and the state of the model."""
        output, back = self.model.vjp(*inputs, **self._without_dx, **self._carried(self._state))
        output, state = parted(output)
        loss, gradient = self.loss(output, target)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} in step {self.step + 1}: {self._culprit(inputs, target)}")
        scores = scored(loss, output, target, self.metrics, self._ignored)
        for parameter in self._parameters:  # those of no optimiser get gradients as well
            parameter.grad = None
        back(gradient)
        if self.penalty is not None:
            self.penalty(self.model)
        if self.clip_norm is not None:
            norm = optim.clip_grad_norm(self._trained, self.clip_norm)
            if not math.isfinite(norm):
                raise FloatingPointError(
                    f"the norm of the gradient is {norm} in step {self.step + 1}: {self._culprit(inputs, target)}"
                )
        if self.schedule is not None:
            rate = self.schedule(self.step)
            check_rate(f"the schedule's rate of step {self.step + 1}", rate)
            for group, factor in zip(self.optimizer.param_groups, self._factors, strict=True):
                group["lr"] = rate * factor
        self.optimizer.step()
        return loss, scores, state

    def _carried(self, state):
        """Return the keyword that hands a state to the model."""
        return {"state": state} if self.carry_state else {}

    def _report(self, validate):
        """Return a report, and begin with the next one."""
        sums, scores = self._sums, {f"validation_{name}": value for name, value in validate().items()}
        self._sums = Sums()
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "rate": self.optimizer.param_groups[0]["lr"],
            "speed": round(sums.count / sums.seconds),
            **sums.means(),
            **scores,
        }

    def _judge(self, report, monitor, maximize):
        """Add a report to the history, and keep the weights if they are the best so far."""
        check_monitor(monitor, report)
        self.history.append(report)
        score, sign = report[monitor], -1 if maximize else 1
        best = math.nan if self.best is None else self.best[monitor]
        if self.best is None or sign * score < sign * best or (math.isnan(best) and not math.isnan(score)):
            self.best, self._best_state, self._stale = report, self.model.state_dict(), 0
        else:
            self._stale += 1
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(score)

    def _evaluate(self, data):
        sums, state = Sums(), None
        for batch in data:
            *inputs, target = self._checked(batch)
            output = self.model(*inputs, **self._carried(state))
            output, state = parted(output)
            loss, _ = self.loss(output, target, **self._without_gradient)
            if math.isnan(loss) and (found := bad_data(inputs, target)):
                raise FloatingPointError(f"the loss without training is nan: {found}")
            sums.add(*scored(loss, output, target, self.metrics, self._ignored))
        if not sums.totals:
            raise ValueError("data yielded no batch, expected at least one")
        return sums.means()

    # ---- checkpoints ----------------------------------------------------------------------------------------

    def _generators(self, train):
        """Return every generator that the training draws from, by name."""
        found = {"rng": self.rng, "train": getattr(train, "rng", None)}
        for path, module in self.model.named_modules():
            for name, value in vars(module).items():
                found[f"model.{path}.{name}"] = value
                if isinstance(value, list | tuple):
                    found |= {f"model.{path}.{name}.{i}": item for i, item in enumerate(value)}
        return {name: value for name, value in found.items() if isinstance(value, np.random.Generator)}

    def _save(self, path, train):
        """Write the checkpoint, if there is to be one."""
        if path is None:
            return
        last = self.model.state_dict()
        best = copy.deepcopy(self.model)
        best.load_state_dict(self._best_state or last)
        optimizer = self.optimizer.state_dict()
        arrays = {f"last/{name}": value for name, value in last.items()}
        for i, slots in optimizer["state"].items():
            arrays |= {f"optimizer/{i}/{slot}": slots.pop(slot) for slot in slots.keys() - {"step"}}
        state = self._state if isinstance(self._state, tuple) else (self._state,)
        arrays |= {f"state/{i}": array for i, array in enumerate(state) if array is not None}
        random = {name: generator.bit_generator.state for name, generator in self._generators(train).items()}
        training = {
            **{name: getattr(self, name) for name in POSITION},
            "history": self.history,
            "sums": vars(self._sums),
            "order": self._order,
            "random": random,
            "optimizer": {"class": type(self.optimizer).__name__, **optimizer},
            "schedule": self.schedule.state_dict() if hasattr(self.schedule, "state_dict") else None,
            "data": self._data,
        }
        save(best, path, {"training": plain(training), "notes": plain(self._notes)}, arrays)

    def _restore(self, path, train):
        """Take the place of the training that wrote a checkpoint, or leave all as it is."""
        arrays, metadata = load_arrays(path)
        try:
            if "training" not in metadata:
                raise ValueError("it holds no training")
            training = metadata["training"]
            own = {"train": self._data, "optimizer": type(self.optimizer).__name__}
            given = {"train": training["data"], "optimizer": training["optimizer"].pop("class")}
            for what in own:
                if given[what] != own[what]:
                    raise ValueError(f"its {what} was {given[what]}, and is now {own[what]}")
            optimizer = training["optimizer"]
            optimizer["state"] = {int(i): slots for i, slots in optimizer["state"].items()}
            for name in [name for name in arrays if name.startswith("optimizer/")]:
                _, i, slot = name.split("/")
                optimizer["state"][int(i)][slot] = arrays[name]
            last = {name.removeprefix("last/"): array for name, array in arrays.items() if name.startswith("last/")}
            parts, states = [self.model, self.optimizer], [last, optimizer]
            if training["schedule"] is not None:
                if not hasattr(self.schedule, "load_state_dict"):
                    raise ValueError("its schedule had a memory, and the present one has none")
                parts.append(self.schedule)
                states.append(training["schedule"])
            for part, given in zip(copy.deepcopy(parts), states, strict=True):
                part.load_state_dict(given)  # what does not fit raises here, before anything is written
            random, generators = training["random"], self._generators(train)
            for name, generator in generators.items():
                if name not in random:
                    raise ValueError(f"no generator {name} in the checkpoint")
                kinds = random[name]["bit_generator"], generator.bit_generator.state["bit_generator"]
                if kinds[0] != kinds[1]:
                    raise ValueError(f"its generator {name} was a {kinds[0]}, and is now a {kinds[1]}")
            state = [arrays[f"state/{i}"] for i in range(sum(name.startswith("state/") for name in arrays))]
            found = {name: training[name] for name in POSITION} | {
                "_best_state": None if training["best"] is None else {n: arrays[n] for n in self.model.state_dict()},
                "_sums": Sums(**training["sums"]),
                "_order": restored(training["order"]),
                "_state": tuple(state) if len(state) > 1 else state[0] if state else None,
            }
            history = training["history"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} cannot be gone on with: {error}") from error
        for part, given in zip(parts, states, strict=True):
            part.load_state_dict(given)
        for name, generator in generators.items():
            generator.bit_generator.state = restored(random[name])
        vars(self).update(found)
        self.history[:] = history

    # ---- data -----------------------------------------------------------------------------------------------

    def _batches(self, data, name, batch_size, shuffle):
        """Return something to go through once an epoch."""
        if isinstance(data, tuple):
            arrays = [np.asarray(array) for array in data]
            shapes = ", ".join(str(array.shape) for array in arrays)
            if len(arrays) < 2 or not all(array.ndim for array in arrays) or len({len(a) for a in arrays}) > 1:
                raise ValueError(f"{name} has shapes {shapes}, expected inputs and targets with equally many rows")
            if not len(arrays[0]):
                raise ValueError(f"{name} has shapes {shapes}, expected at least one row")
            return batches(*arrays, size=batch_size, shuffle=shuffle, rng=self.rng)
        if name == "train" and callable(data):
            return data
        if not hasattr(data, "__iter__"):
            raise TypeError(f"{name} is a {type(data).__name__}, expected a tuple of arrays or an iterable of batches")
        if iter(data) is data:
            raise TypeError(f"{name} can be gone through only once, expected what can be begun anew, such as a list")
        return data

    def _validation(self, data, batch_size):
        """Return a function that returns the scores."""
        if data is None:
            return dict
        if callable(data):
            return lambda: {"loss": result} if not isinstance(result := data(self.model), dict) else result
        data = self._batches(data, "validation", batch_size, False)
        return lambda: self._evaluate(data)

    def _checked(self, batch):
        if not isinstance(batch, tuple) or len(batch) < 2:
            raise TypeError(f"a batch is a {type(batch).__name__}, expected a tuple of inputs and, last, the target")
        return batch

    def _culprit(self, inputs, target):
        """Say what was not finite first: the data, a parameter, the output of a layer, a gradient, or the loss."""
        found = bad_data(inputs, target)
        if found:
            return found
        for name, parameter in self.model.named_parameters():
            at = first_bad(parameter.value)
            if at is not None:
                return f"{name} holds {parameter.value[at]} at {at}, so an earlier step was too large"
        layer = first_bad_layer(copy.deepcopy(self.model), inputs, self._carried(self._state))
        if layer:
            return f"the output of {layer} is the first that is not finite"
        for name, parameter in self.model.named_parameters():
            at = None if parameter.grad is None else first_bad(getattr(parameter.grad, "values", parameter.grad))
            if at is not None:
                return f"the gradient of {name} is the first that is not finite, at {at}"
        return "data, parameters and the outputs of all layers are finite, so the loss itself overflowed"


def scored(loss, output, target, metrics, ignored):
    """Return the number of elements of the target that count, and the loss and the metrics as a dict."""
    n = np.size(target) if ignored is None else int(np.count_nonzero(np.asarray(target) != ignored))
    scores = {"loss": float(loss)}
    for name, metric in metrics.items():
        scores[name] = float(metric(output, target))
    return n, scores


class Sums:
    """Sums of losses and metrics over batches, each weighted by the elements of its target that count, and of time."""

    def __init__(self, count=0, totals=None, seconds=0.0):
        self.count, self.totals, self.seconds = count, totals or {}, seconds

    def add(self, n, scores):
        self.count += n
        for name, score in scores.items():
            self.totals[name] = self.totals.get(name, 0.0) + n * score

    def means(self):
        return {name: total / max(self.count, 1) for name, total in self.totals.items()}


class Interrupt:
    """Ctrl-C put off until it does no harm, where Python's own handler would have it (so in the main thread alone)."""

    def __enter__(self):
        self.asked = False
        main = threading.current_thread() is threading.main_thread()
        self._mine = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._mine:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error):
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, *signal_and_frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def obey(self, step, checkpoint):
        if self.asked:
            kept = "" if checkpoint is None else f", which {os.fspath(checkpoint)} holds"
            raise KeyboardInterrupt(f"interrupted after step {step}{kept}")


class Display:
    """What a verbose training shows: a row for each report, and on a terminal a progress bar."""

    def __init__(self, trainer, verbose):
        self.trainer, self.bar, self.headed = trainer, None, callable(verbose)
        self.row = verbose if callable(verbose) else row
        if verbose:
            from tqdm import tqdm

            columns, lines = shutil.get_terminal_size()  # not left to tqdm, which hides itself if it has no size
            self.bar = tqdm(
                total=1,
                initial=trainer.progress,
                leave=False,
                disable=None,  # shown on a terminal only
                ncols=columns - 1,
                nrows=lines,
                bar_format="{percentage:3.0f}% |{bar}| {elapsed}, {remaining} to go{postfix}",
            )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()

    def step(self, loss):
        if self.bar is not None and not self.bar.disable:
            self.bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            self.bar.update(self.trainer.progress - self.bar.n)

    def report(self):
        if self.bar is None:
            return
        report = self.trainer.history[-1]
        if not self.headed:
            self.bar.write("  ".join(f"{name:>10}" for name in report))
            self.headed = True
        self.bar.write(self.row(report))
        self.bar.update(self.trainer.progress - self.bar.n)


def row(report):
    """Return a report as a row under the names of its values."""
    values = ((name, f"{value:,}" if isinstance(value, int) else f"{value:.5g}") for name, value in report.items())
    return "  ".join(f"{value:>{max(10, len(name))}}" for name, value in values)


def functions(value, name):
    """Return callbacks as a list, or raise TypeError."""
    if not hasattr(value, "__iter__") or not all(map(callable, several := list(value))):
        raise TypeError(f"{name} is {value!r}, expected functions in a list")
    return several


def check_json(value, name):
    """Raise TypeError unless a checkpoint can hold a value, or the configuration of a model."""
    try:
        json.dumps(plain(value))
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be written to a checkpoint: {error}") from None


def check_monitor(monitor, names):
    """Raise ValueError unless a report has this name."""
    if monitor not in names:
        raise ValueError(f"monitor is {monitor!r}, expected one of {', '.join(names)}")


def told(progress, reports):
    """Return how many of the reports are due; rounding must not put one off, as 7 / 49 * 49 < 7 would."""
    return int(progress * reports * (1 + 1e-12))


def parted(output):
    """Return the output of a model, and the state that is returned with it, None without one."""
    return output if isinstance(output, tuple) else (output, None)


def described(train, batch_size, shuffle):
    """Return what tells one set of batches from another."""
    if isinstance(train, tuple):
        shapes = ", ".join(str(np.shape(array)) for array in train)
        return f"arrays of shapes {shapes} in {'shuffled ' * shuffle}batches of {batch_size}"
    return f"{len(train)} batches" if hasattr(train, "__len__") else "batches"


def bad_data(inputs, target):
    """Say which array of a batch holds a number that is not finite, and where; None if none does."""
    for name, array in [*((f"input {i}", x) for i, x in enumerate(inputs)), ("the target", target)]:
        at = first_bad(array)
        if at is not None:
            return f"{name} of the batch holds {np.asarray(array)[at]} at {at}"
    return None


def first_bad(array):
    """Return the index of the first element that is not finite, None if there is none."""
    array = np.asarray(array)
    if array.dtype.kind != "f":
        return None
    bad = ~np.isfinite(array)
    return tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape)) if bad.any() else None


def leaves(value):
    """Return the arrays in tuples of tuples, one after the other."""
    if isinstance(value, tuple):
        return [array for item in value for array in leaves(item)]
    return [value] if isinstance(value, np.ndarray) else []


def first_bad_layer(model, inputs, keywords):
    """Return the path and class of the first layer whose output is not finite, None if there is none."""
    found = []

    def watched(path, module):
        vjp = module.vjp

        def run(*inputs, **keywords):
            output, back = vjp(*inputs, **keywords)
            if any(first_bad(array) is not None for array in leaves(output)):
                found.append(f"{path} ({type(module).__name__})" if path else f"the model ({type(module).__name__})")
            return output, back

        return run

    for path, module in model.named_modules():
        vars(module)["vjp"] = watched(path, module)
    model.vjp(*inputs, **keywords)
    return found[0] if found else None
