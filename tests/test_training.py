"""The trainer: its steps, its reports, what it keeps, and what it says when something is wrong."""

import csv
import errno
import functools
import io
import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.data import batches
from fastnn.io import load_arrays
from fastnn.schedules import Plateau
from fastnn.training import History, Trainer, accuracy, binary_accuracy

X = np.random.default_rng(0).standard_normal((70, 3)).astype(np.float32)
LABEL = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
DATA = X[:50], LABEL[:50]
HELD_OUT = X[50:], LABEL[50:]


def network(*, dropout=0.0, classes=2):
    rng = np.random.default_rng(1)
    layers = nn.Linear(3, 8, rng=rng), nn.Activation("tanh"), nn.Dropout(dropout, rng=2), nn.Linear(8, classes, rng=rng)
    return nn.Sequential(*layers)


def trainer(model=None, *, lr=0.05, **options):
    model = network() if model is None else model
    options = {"metrics": ["accuracy"], "rng": 0, **options}
    return Trainer(model, "softmax_cross_entropy", optim.Adam(model.parameters(), lr=lr), **options)


def weights(model):
    return np.concatenate([value.ravel() for value in model.state_dict().values()])


# ---- steps --------------------------------------------------------------------------------------------------


def test_fit_is_the_loop_one_would_write():
    net, mine = network(dropout=0.2), network(dropout=0.2)
    history = trainer(net).fit(DATA, epochs=3, batch_size=16, validation=HELD_OUT, restore_best=False)
    optimizer, rng, losses = optim.Adam(mine.parameters(), lr=0.05), np.random.default_rng(0), []
    rows = batches(*DATA, size=16, rng=rng)
    for _ in range(3):
        total = 0.0
        for x, target in rows:
            logits, back = mine.vjp(x)
            loss, gradient = fastnn.softmax_cross_entropy(logits, target)
            optimizer.zero_grad()
            back(gradient)
            optimizer.step()
            total += len(x) * loss
        losses.append(total / 50)
    np.testing.assert_array_equal(weights(net), weights(mine))
    assert history.column("loss") == pytest.approx(losses)
    assert history.column("step") == [4, 8, 12]  # the last batch, of 2, counts
    logits = mine(HELD_OUT[0])
    assert history[-1]["validation_loss"] == pytest.approx(fastnn.softmax_cross_entropy(logits, HELD_OUT[1])[0])
    assert history[-1]["validation_accuracy"] == (logits.argmax(axis=1) == HELD_OUT[1]).mean()


def test_it_learns():
    run = trainer()
    run.fit(DATA, epochs=60, restore_best=False)
    assert run.history[0]["accuracy"] < 0.7
    assert run.evaluate(DATA)["accuracy"] > 0.95
    assert run.evaluate(HELD_OUT)["accuracy"] > 0.75


@pytest.mark.parametrize("make", [lambda: batches(*DATA, size=20, shuffle=False), lambda: [DATA, DATA]])
def test_any_iterable_of_batches(make):
    one, other = network(), network()
    trainer(one).fit(make(), epochs=2)
    run = trainer(other)
    run.fit(make(), epochs=1)
    assert run.epoch == 1
    run.fit(make(), epochs=2)  # epochs count as a whole
    assert run.epoch == len(run.history) == 2
    np.testing.assert_array_equal(weights(one), weights(other))


class TwoInputs(nn.Module):
    """x * scale + y, which returns a state as well."""

    returns_state = True

    def __init__(self):
        self.scale = nn.Parameter(np.zeros(1))

    def vjp(self, x, y, *, training=True):
        def back(dz, dstate=None):
            self.scale.accumulate((dz * x).sum(keepdims=True).reshape(1))
            return dz * self.scale.value, dz

        return (x * self.scale.value + y, None), back


def test_several_inputs_a_state_and_a_loss_of_ones_own():
    x, y = np.arange(6.0), np.ones(6)
    model, asked = TwoInputs(), []

    def loss(output, target, need_grad=True):
        asked.append(need_grad)
        return ((output - target) ** 2).mean(), 2 * (output - target) / len(target)

    run = Trainer(model, loss, optim.SGD(model.parameters(), lr=0.02))
    run.fit((x, y, 3 * x + 1), epochs=50, batch_size=6, validation=(x, y, 3 * x + 1))
    assert model.scale.value == pytest.approx(3, abs=1e-6)
    assert asked == [True, False] * 50


def test_the_schedule_sets_the_rate_of_every_group():
    net = network()
    groups = [{"params": net[0].parameters()}, {"params": net[3].parameters(), "lr": 0.1}]
    optimizer, rates = optim.SGD(groups, lr=0.2), []

    def watch(run):
        rates.append([group["lr"] for group in run.optimizer.param_groups])

    run = Trainer(net, "softmax_cross_entropy", optimizer, schedule=lambda step: 1 / (1 + step))
    history = run.fit(DATA, epochs=2, batch_size=25, step_callbacks=[watch])
    assert rates == [[1, 0.5], [1 / 2, 1 / 4], [1 / 3, 1 / 6], [1 / 4, 1 / 8]]
    assert history.column("rate") == [1 / 2, 1 / 4]


def test_clip_norm_limits_a_step():
    net = network()
    before = weights(net)
    run = Trainer(net, "softmax_cross_entropy", optim.SGD(net.parameters(), lr=1.0), clip_norm=1e-3)
    run.fit(DATA, epochs=1, batch_size=50)
    assert np.linalg.norm(weights(net) - before) == pytest.approx(1e-3, rel=1e-4)


class Seen(nn.Module):
    """A layer that counts its calls, in a buffer."""

    def __init__(self):
        self.calls = nn.Buffer(np.zeros(2))

    def vjp(self, x, *, training=True):
        self.calls.value = self.calls.value + 1
        return x, lambda dy: dy


def test_parameters_of_no_optimiser_stay_and_do_not_count():
    net, alone = network(), network()[3]
    hidden = np.tanh(net[0](DATA[0]))
    options = {"clip_norm": 0.3, "rng": 0}
    Trainer(net, "softmax_cross_entropy", optim.SGD(net[3].parameters(), lr=0.5), **options).fit(DATA, epochs=20)
    run = Trainer(alone, "softmax_cross_entropy", optim.SGD(alone.parameters(), lr=0.5), **options)
    run.fit((hidden, DATA[1]), epochs=20)
    np.testing.assert_allclose(net[3].weight.value, alone.weight.value, rtol=1e-4)
    np.testing.assert_array_equal(net[0].weight.value, network()[0].weight.value)
    table = nn.Embedding(4, 3, sparse=True, rng=0)
    net = nn.Sequential(table, nn.Linear(3, 2, rng=1))
    run = Trainer(net, "softmax_cross_entropy", optim.SGD(net[1].parameters()))
    run.fit((np.arange(20) % 4, np.arange(20) % 2), epochs=9, batch_size=10)
    assert len(table.weight.grad.rows) == 10


@pytest.mark.parametrize("what", ["data", "metric", "schedule", "optimizer", "clip"])
def test_a_step_that_raises_was_not_made(what):
    norm, seen, x = nn.BatchNorm1d(3), Seen(), DATA[0].copy()
    net = nn.Sequential(norm, seen, nn.Linear(3, 2, rng=0))
    options = {"metrics": {"m": lambda output, target: 1 / (len(target) - 10)}} if what == "metric" else {}
    options |= {"schedule": lambda step: [0.1, 0.1, math.nan][step]} if what == "schedule" else {}
    options |= {"clip_norm": 1, "penalty": lambda model: run.step == 2 and spoil()} if what == "clip" else {}
    x[45] = np.nan if what == "data" else 0

    def spoil():
        net[2].bias.grad[:] = np.inf

    run = Trainer(net, "softmax_cross_entropy", optim.SGD(net.parameters(), lr=0.1), **options)
    if what == "optimizer":
        run.penalty = lambda model: run.step == 2 and setattr(net[2].bias, "grad", np.ones(9, np.float32))
    with pytest.raises((FloatingPointError, ZeroDivisionError, ValueError)) as raised:
        run.fit((x, DATA[1]), epochs=1, batch_size=20, shuffle=False)
    assert what != "schedule" or "the schedule's rate of step 3 is nan" in str(raised.value)
    other = trainer(nn.Sequential(nn.BatchNorm1d(3), Seen(), nn.Linear(3, 2, rng=0)))
    other.optimizer = optim.SGD(other.model.parameters(), lr=0.1)
    other.fit((DATA[0][:40], DATA[1][:40]), epochs=1, batch_size=20, shuffle=False)
    np.testing.assert_array_equal(weights(net), weights(other.model))
    assert (run.step, run._sums.count, seen.calls.value[0]) == (2, 40, 2)


def test_a_second_trainer_takes_the_rates_that_groups_were_given():
    net = network()
    groups = [{"params": net[0].parameters()}, {"params": net[3].parameters(), "lr": 0.1}]
    optimizer = optim.RMSprop(groups, lr=0.2)
    for schedule in (lambda step: 0.0, lambda step: 0.2):
        Trainer(net, "softmax_cross_entropy", optimizer, schedule=schedule).fit(DATA, epochs=1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.1]
    again = optim.RMSprop(groups, lr=0.4)
    again.load_state_dict(optimizer.state_dict())  # the rates of now, not those that were given
    assert [group["initial_lr"] for group in again.param_groups] == [0.4, 0.1]


def test_a_first_layer_is_not_asked_for_what_nobody_reads():
    net, asked = network(), []
    vjp = net[0].vjp
    net[0].vjp = lambda x, **keywords: asked.append(keywords) or vjp(x, **keywords)
    trainer(net).fit(DATA, epochs=1, batch_size=50)
    assert asked == [{"training": True, "need_dx": False}]


class Running(nn.Module):
    """The sum of what it has seen, times a weight; and the states that it went on from."""

    def __init__(self):
        self.weight, self.states = nn.Parameter(np.ones(1)), []

    def vjp(self, x, state=None, *, training=True):
        self.states.append(state if state is None else state[0])
        state = x if state is None else state + x
        return (self.weight.value * state, state), lambda dy: self.weight.accumulate((dy * state).sum(keepdims=True))


@pytest.mark.parametrize("carry", [True, False])
def test_a_state_goes_from_batch_to_batch(carry):
    model, one = Running(), np.ones(1)
    run = Trainer(model, "mse_loss", optim.SGD(model.parameters(), lr=0.0), carry_state=carry)
    parts = [(one, one), (2 * one, one), (4 * one, one)]
    run.fit(parts, epochs=2)
    scores = run.evaluate(parts)
    assert model.states == 3 * ([None, 1, 3] if carry else [None, None, None])
    assert run.history.column("loss") == [scores["loss"]] * 2
    assert scores["loss"] == pytest.approx((0 + 4 + 36) / 3 if carry else (0 + 1 + 9) / 3)


# ---- how long, and when to report ---------------------------------------------------------------------------


def test_seconds_end_a_training_within_an_epoch():
    slow = [lambda run: time.sleep(0.01)]
    run = trainer()
    history = run.fit(DATA, seconds=0.1, batch_size=1, step_callbacks=slow)
    assert len(history) == 1
    assert 0.1 <= history[-1]["seconds"] < 5
    assert (run.epoch, run.progress) == (0, 1)
    assert 0 < run.batch == run.step == history[-1]["step"] <= 11  # the first ten sleep
    run.fit(DATA, seconds=0.1, batch_size=1, step_callbacks=slow)  # spent already
    assert len(history) == 1
    run.fit(DATA, seconds=1000, epochs=1, batch_size=1)
    assert (run.epoch, run.batch, run.step, len(history)) == (1, 0, 50, 2)


@pytest.mark.parametrize(
    ("epochs", "reports", "steps"),
    [(3, None, [5, 10, 15]), (3, 1, [15]), (3, 6, [3, 5, 8, 10, 13, 15]), (1.5, 2, [4, 8]), (0.3, None, [2])],
)
def test_reports_are_spread_evenly(epochs, reports, steps):
    run, rates = trainer(), []
    run.schedule = lambda step: rates.append(run.progress) or 1 - run.progress
    history = run.fit(DATA, epochs=epochs, reports=reports, batch_size=10)
    assert history.column("step") == steps
    assert history.column("epoch") == [step // 5 for step in steps]
    assert rates == pytest.approx([step / 5 / epochs for step in range(steps[-1])])
    assert run.progress == 1


def test_rounding_puts_off_no_report():
    history = trainer().fit(DATA, epochs=49, reports=49, batch_size=50)
    assert history.column("step") == list(range(1, 50))


def test_a_second_fit_may_look_at_another_score():
    run = trainer()
    run.fit(DATA, epochs=2)
    run.fit(DATA, epochs=4, validation=HELD_OUT, patience=1)
    assert run.best in run.history[2:]


def test_a_report_averages_what_came_after_the_one_before():
    run, losses = trainer(), []
    learn = run._learn
    run._learn = lambda batch: losses.append(learn(batch)) or losses[-1]
    history = run.fit(DATA, epochs=2, reports=4, batch_size=10)
    assert history.column("step") == [3, 5, 8, 10]
    parts = losses[:3], losses[3:5], losses[5:8], losses[8:]
    assert history.column("loss") == pytest.approx([np.mean(part) for part in parts])
    assert min(history.column("speed")) > 0


def test_a_report_that_failed_is_made_up_for():
    def broken(model):
        raise ZeroDivisionError

    run = trainer()
    with pytest.raises(ZeroDivisionError):
        run.fit(DATA, epochs=1, batch_size=10, validation=broken)
    assert run.fit(DATA, epochs=1, batch_size=10, validation=lambda model: 2.0).column("validation_loss") == [2]


def test_stop_within_an_epoch_ends_with_a_report():
    run = trainer()
    history = run.fit(DATA, epochs=9, batch_size=10, step_callbacks=[lambda run: run.step == 7 and run.stop()])
    assert history.column("step") == [5, 7]
    run.fit(DATA, epochs=2, batch_size=10)
    assert history.column("step") == [5, 7, 10]


def test_batches_of_an_epoch_by_its_number(tmp_path):
    seen = []

    def rows(epoch):
        seen.append(epoch)
        order = np.random.default_rng([7, epoch])
        return batches(*(array[epoch:] for array in DATA), size=9, rng=order)

    whole = trainer(network(dropout=0.3))
    whole.fit(rows, epochs=3, reports=5)
    assert seen == [0, 1, 2]
    options = {"epochs": 3, "reports": 5, "checkpoint": tmp_path / "run", "resume": True}
    for stop in (2, 6, 9, 13):
        with pytest.raises(KeyboardInterrupt):
            trainer(network(dropout=0.3)).fit(rows, **options, checkpoint_every=1, step_callbacks=[stop_at(stop)])
    run = trainer(network(dropout=0.3))
    run.fit(rows, **options)
    np.testing.assert_array_equal(weights(run.model), weights(whole.model))
    for name in ("step", "epoch", "loss"):
        assert run.history.column(name) == whole.history.column(name)
    rates, losses = run.range_test(rows, steps=20)
    assert len(rates) == len(losses) == 20


def test_a_checkpoint_keeps_notes(tmp_path):
    trainer().fit(DATA, epochs=1, checkpoint=tmp_path / "run", notes={"who": ["me", 1]})
    assert load_arrays(tmp_path / "run")[1]["notes"] == {"who": ["me", 1]}


# ---- validation, early stopping, history --------------------------------------------------------------------


def test_early_stopping_and_the_best_weights():
    scores, kept = iter([3.0, 1.0, 2.0, 1.5, 0.0]), []
    run = trainer()
    run.fit(
        DATA,
        epochs=10,
        validation=lambda model: next(scores),
        patience=2,
        callbacks=[lambda run: kept.append(weights(run.model))],
    )
    assert run.history.column("validation_loss") == [3, 1, 2, 1.5]
    assert run.best["epoch"] == 2
    np.testing.assert_array_equal(weights(run.model), kept[1])


def test_monitor_knows_its_direction():
    for monitor, maximize, best in (("validation_score", None, 2), ("validation_score", False, 1), (None, None, 3)):
        scores = iter([{"loss": 3, "score": 0}, {"loss": 2, "score": 5}, {"loss": 1, "score": 2}])
        run = trainer()
        run.fit(DATA, epochs=3, validation=lambda m, s=scores: next(s), monitor=monitor, maximize=maximize)
        assert run.best["epoch"] == best
    run = trainer()
    run.fit(DATA, epochs=2, callbacks=[lambda run: run.stop()])
    assert run.epoch == 1
    with pytest.raises(ValueError, match="monitor is 'x', expected one of epoch, step, seconds, rate, speed, loss"):
        run.fit(DATA, epochs=2, monitor="x")


def test_history_files(tmp_path):
    history = trainer().fit(DATA, epochs=2, validation=HELD_OUT)
    history.save(tmp_path / "h.json")
    assert json.loads((tmp_path / "h.json").read_text()) == history
    history.save(tmp_path / "h.csv")
    with open(tmp_path / "h.csv", newline="") as file:
        assert [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)] == history
    with pytest.raises(ValueError, match=r"h\.txt', expected a name that ends in \.json or \.csv"):
        history.save(tmp_path / "h.txt")
    assert History([{"a": 1}, {"b": 2}]).column("a") == [1, None]


def test_verbose_prints_a_row_an_epoch(capsys):
    trainer().fit(DATA, epochs=2, validation=HELD_OUT, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("epoch", "step", "seconds", "rate", "speed", "loss", "accuracy", "validation_loss", "validation_accuracy")
    ]
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    trainer().fit(DATA, epochs=2, verbose=lambda report: f"after {report['step']} steps")
    assert capsys.readouterr().out == "after 2 steps\nafter 4 steps\n"


def test_a_terminal_gets_a_progress_bar(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    trainer().fit(DATA, epochs=3, batch_size=25, verbose=True, callbacks=[lambda run: time.sleep(0.11)])
    assert "  0% |" in screen.getvalue()
    assert " 50% |" in screen.getvalue()
    assert ", loss 0." in screen.getvalue()
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_metrics():
    logits = np.array([[[1.0, 0], [0, 1]], [[3, 2], [2, 3]]])
    assert accuracy(logits, np.array([[0, 0], [0, 0]])) == 0.5
    assert accuracy(logits, np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]])) == 0.75
    assert binary_accuracy([[0.1, -0.1]], [[True, True]]) == 0.5
    with pytest.raises(ValueError, match=r"target has shape \(3, 1\), expected \(3,\) for classes or \(3, 2\)"):
        accuracy(np.ones((3, 2)), np.ones((3, 1), int))
    with pytest.raises(ValueError, match=r"target has shape \(3,\), expected \(3, 1\)"):
        binary_accuracy(np.ones((3, 1)), np.ones(3))


# ---- checkpoints --------------------------------------------------------------------------------------------


def stop_at(step, error=KeyboardInterrupt):
    """Return a callback that raises an error after a step."""

    def stop(run):
        if run.step == step:
            raise error

    return stop


OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda params: optim.RMSprop(params, lr=0.01, momentum=0.5, centered=True),
    "adamw": lambda params: optim.AdamW([{"params": params[:2], "lr": 0.02}, {"params": params[2:]}], lr=0.01),
}


class Sampled:
    """Batches that draw from their generator all along, which the dropout shares."""

    def __init__(self, rng):
        self.rng = rng

    def __iter__(self):
        return (tuple(array[rows] for array in DATA) for rows in [self.rng.integers(50, size=9) for _ in range(6)])


def resumable(optimizer, generator, iterable):
    """Return a trainer and its data, as a script would make them each time it is started."""
    rng = np.random.Generator(generator(3))
    norm, act, drop = nn.BatchNorm1d(8), nn.Activation("tanh"), nn.Dropout(0.3, rng=rng)
    net = nn.Sequential(nn.Linear(3, 8, rng=rng), norm, act, drop, nn.Linear(8, 2, rng=rng))
    made = OPTIMIZERS[optimizer](net.parameters())
    options = {"schedule": lambda step: 0.1 / (1 + step), "rng": np.random.Generator(generator(4))}
    run = Trainer(net, "softmax_cross_entropy", made, metrics=["accuracy"], **options)
    return run, Sampled(rng) if iterable else DATA


@pytest.mark.parametrize(
    ("optimizer", "generator", "iterable"),
    [
        ("sgd", np.random.PCG64, False),
        ("rmsprop", np.random.MT19937, True),
        ("adamw", np.random.SFC64, False),
        ("adamw", np.random.Philox, True),
        ("sgd", np.random.PCG64DXSM, True),
    ],
)
@pytest.mark.parametrize("stop", [1, 6, 8, 15])
def test_a_resumed_training_ends_as_one_that_never_stopped(tmp_path, optimizer, generator, iterable, stop):
    options = {"epochs": 3, "batch_size": 9, "validation": HELD_OUT}
    whole, data = resumable(optimizer, generator, iterable)
    whole.fit(data, **options)
    options |= {"checkpoint": tmp_path / "run", "checkpoint_every": 2, "resume": True}
    run, data = resumable(optimizer, generator, iterable)
    with pytest.raises(KeyboardInterrupt):
        run.fit(data, **options, step_callbacks=[stop_at(stop)])
    run, data = resumable(optimizer, generator, iterable)
    run.fit(data, **options)
    np.testing.assert_array_equal(weights(run.model), weights(whole.model))
    same = whole.history[0].keys() - {"seconds", "speed"}
    assert [run.history.column(name) for name in same] == [whole.history.column(name) for name in same]
    np.testing.assert_array_equal(weights(fastnn.load(tmp_path / "run")), weights(whole.model))
    assert os.listdir(tmp_path) == ["run"]
    run, data = resumable(optimizer, generator, iterable)
    run.fit(data, **options)  # done already
    assert run.step == whole.step
    np.testing.assert_array_equal(weights(run.model), weights(whole.model))
    run.fit(data, **{**options, "epochs": 4})
    assert run.epoch == 4


def test_fit_goes_on_after_an_error_in_the_same_process():
    whole, run = trainer(network(dropout=0.3)), trainer(network(dropout=0.3))
    whole.fit(DATA, epochs=3, batch_size=16)
    for stop in (2, 4, 7):
        with pytest.raises(ZeroDivisionError):
            run.fit(DATA, epochs=3, batch_size=16, step_callbacks=[stop_at(stop, ZeroDivisionError)])
    history = run.fit(DATA, epochs=3, batch_size=16)
    np.testing.assert_array_equal(weights(run.model), weights(whole.model))
    assert history.column("loss") == whole.history.column("loss")


def test_an_early_stopped_training_stays_stopped(tmp_path):
    options = {"epochs": 9, "validation": lambda model: 1.0, "patience": 2, "checkpoint": tmp_path / "run"}
    for _ in range(2):
        run = trainer()
        run.fit(DATA, **options, resume=True)
        assert run.epoch == 3


@pytest.mark.parametrize("keep", [True, False])
def test_ctrl_c_ends_the_step_and_writes_the_checkpoint(tmp_path, keep):
    def press(run):
        if run.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    whole, run = trainer(network(dropout=0.3)), trainer(network(dropout=0.3))
    whole.fit(DATA, epochs=2, batch_size=16)
    options = {"epochs": 2, "batch_size": 16, "checkpoint": tmp_path / "run" if keep else None}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"interrupted after step 6(, which .*run holds)?$") as stopped:
            run.fit(DATA, **options, step_callbacks=[press])
        assert ("holds" in str(stopped.value)) == keep
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert (run.step, run.epoch, run.batch) == (6, 1, 2)
        if keep:
            run = trainer(network(dropout=0.3))
        run.fit(DATA, **options, resume=keep)
        np.testing.assert_array_equal(weights(run.model), weights(whole.model))
        with pytest.raises(KeyboardInterrupt):  # pressed twice
            trainer().fit(DATA, epochs=1, callbacks=[lambda run: [os.kill(os.getpid(), signal.SIGINT) for _ in "12"]])
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_ones_own_stays():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        trainer().fit(DATA, epochs=1, callbacks=[lambda run: os.kill(os.getpid(), signal.SIGINT)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]


def test_resume_rejects(tmp_path):
    path = tmp_path / "run"
    trainer().fit(DATA, epochs=1, checkpoint=path, resume=True)
    whole = path.read_bytes()
    options = {"epochs": 2, "checkpoint": path, "resume": True}
    for run, data, words in [
        (trainer(), (X, LABEL), r"its train was arrays of shapes \(50, 3\), .* and is now arrays of shapes \(70, 3\)"),
        (trainer(network(classes=3)), DATA, r"3.weight has shape \(2, 8\), expected \(3, 8\)"),
        (
            Trainer(net := network(), "mse_loss", optim.SGD(net.parameters())),
            DATA,
            "its optimizer was Adam, and is now",
        ),
    ]:
        with pytest.raises(ValueError, match=f"run cannot be gone on with: .*{words}"):
            run.fit(data, **options)
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        trainer().fit(DATA, **options)
    network().save(path)
    with pytest.raises(ValueError, match="it holds no training"):
        trainer().fit(DATA, **options)
    with pytest.raises(ValueError, match="checkpoint is None"):
        trainer().fit(DATA, epochs=2, resume=True)


class Several(nn.Module):
    """A layer with generators in a list."""

    def __init__(self):
        self.rngs, self.weight = [np.random.default_rng(i) for i in (3, 4)], nn.Parameter(np.ones(3, np.float32))

    def vjp(self, x, *, training=True):
        noise = np.float32(1) + sum(rng.standard_normal(dtype=np.float32) for rng in self.rngs)

        def back(dy):
            self.weight.accumulate((dy * x * noise).sum(axis=0))
            return dy * self.weight.value * noise

        return x * self.weight.value * noise, back


def test_generators_in_a_list_are_kept(tmp_path):
    def run(epochs, **options):
        net = nn.Sequential(Several(), nn.Linear(3, 2, rng=0))
        trainer(net).fit(DATA, epochs=epochs, **options)
        return weights(net)

    run(1, checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(run(2, checkpoint=tmp_path / "run", resume=True), run(2))


@pytest.mark.parametrize(
    ("middle", "change", "words"),
    [
        (nn.Dropout(0.1, rng=0), {}, r"no generator model\.1\._rng in the checkpoint"),
        (
            None,
            {"rng": np.random.Generator(np.random.MT19937(0))},
            "its generator rng was a PCG64, and is now a MT19937",
        ),
        (None, {"schedule": None}, "its schedule had a memory, and the present one has none"),
        (None, {"groups": 2}, r"state has groups of \[4\] parameters, expected \[2, 2\]"),
    ],
)
def test_what_cannot_be_gone_on_with_changes_nothing(tmp_path, middle, change, words):
    def made(seed, middle=None, groups=1, **options):
        net = nn.Sequential(nn.Linear(3, 8, rng=seed), middle or nn.Activation("tanh"), nn.Linear(8, 2, rng=seed))
        size = 4 // groups
        parts = [{"params": net.parameters()[i : i + size]} for i in range(0, 4, size)]
        options = {"schedule": Plateau(0.1), "rng": 0, **options}
        return Trainer(net, "softmax_cross_entropy", optim.Adam(parts), **options)

    made(0).fit(DATA, epochs=1, checkpoint=tmp_path / "run")
    run = made(1, middle, **change)
    before = weights(run.model)
    with pytest.raises(ValueError, match=words):
        run.fit(DATA, epochs=2, checkpoint=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(weights(run.model), before)
    assert (run.step, run.history, run.optimizer.state_dict()["state"]) == (0, [], {})


@pytest.mark.parametrize("path", [".", "missing/run", "file/run"])
def test_a_checkpoint_that_cannot_be_written_is_found_before_training(tmp_path, path):
    (tmp_path / "file").write_text("x")
    run = trainer()
    with pytest.raises(OSError, match=r"Is a directory|No such file|Not a directory"):
        run.fit(DATA, epochs=1, checkpoint=tmp_path / path)
    assert run.step == 0


def test_a_model_that_cannot_be_saved_is_found_before_training(tmp_path):
    class Forgetful(nn.Module):
        def __init__(self, size):
            self.last = nn.Linear(size, 2)
            self.vjp = self.last.vjp

    run = trainer(Forgetful(3))
    with pytest.raises(TypeError, match=r"model cannot be written to a checkpoint: .* no attribute 'size'"):
        run.fit(DATA, epochs=1, checkpoint=tmp_path / "run")
    assert run.step == 0


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    path, run = tmp_path / "run", trainer()
    run.fit(DATA, epochs=1, checkpoint=path)
    before = path.read_bytes()

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: .*run"):
            run.fit(DATA, epochs=5, checkpoint=path)
    assert os.listdir(tmp_path) == ["run"]
    assert path.read_bytes() == before
    run.fit(DATA, epochs=5, checkpoint=path)
    whole = trainer()
    whole.fit(DATA, epochs=5)
    np.testing.assert_array_equal(weights(run.model), weights(whole.model))


KILLED = """
import os, random, signal, sys, time
import numpy as np
from fastnn import io, nn, optim
from fastnn.training import Trainer

directory, kills = sys.argv[1], int(sys.argv[2])
os.chdir(directory)
x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
label = (x[:, 0] > 0).astype(int)

def train(checkpoint=None, on_step=None):
    net = nn.Sequential(nn.Linear(4, 8, rng=1), nn.Dropout(0.2, rng=2), nn.Activation("relu"), nn.Linear(8, 2, rng=3))
    trainer = Trainer(net, "softmax_cross_entropy", optim.Adam(net.parameters()), rng=4)
    options = {"checkpoint": checkpoint, "checkpoint_every": 3, "resume": True} if checkpoint else {}
    trainer.fit((x, label), epochs=8, batch_size=7, validation=(x, label), **options)
    return np.concatenate([a.ravel() for a in [*net.state_dict().values(), *trainer._best_state.values()]])

def killed(arrange, after=None):
    "Run the training in a child until it is killed; say whether it was."
    child = os.fork()
    if not child:
        arrange()
        train(f"run{runs}")
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Torn:
    "A file of which half is written when the process dies."
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        die()

def nth(n, name, before):
    "Die before or after the n-th call of a function of os."
    real, calls = getattr(os, name), []
    def call(*arguments):
        calls.append(1)
        if len(calls) == n and before: die()
        result = real(*arguments)
        if len(calls) == n: die()
        return result
    return lambda: setattr(os, name, call)

points = [lambda: setattr(io, "open", lambda *a: die() if "xb" in a else open(*a)),
          lambda: setattr(io, "open", lambda *a: Torn(open(*a)) if "xb" in a else open(*a))]
points += [nth(n, name, before) for name, n in [("fsync", 5), ("replace", 3), ("fsync", 6)] for before in (True, False)]

runs = 0
whole = train()
started = time.perf_counter()
train("run0")
took = time.perf_counter() - started
runs += 1
died = [killed(point) for point in points]
for _ in range(kills):
    runs += not killed(lambda: None, random.random() * took / 2)
same = [(train(f"run{i}") == whole).all() for i in range(runs + 1)]
print(died, same, sorted(os.listdir()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_killed_training_ends_with_the_same_bits(tmp_path):
    """Killed before, within and after each step of writing a checkpoint, and twenty times at random."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path, "20"], check=True, capture_output=True, text=True
    )
    died, same, left = map(eval, done.stdout.replace("] [", "];[").split(";"))
    assert died == [True] * 8, done.stderr
    assert all(same)
    assert left == sorted(f"run{i}" for i in range(len(same)))


def test_targets_that_do_not_count():
    target = DATA[1].copy()
    target[3:40] = -1
    loss = functools.partial(fastnn.softmax_cross_entropy, ignore_index=-1)
    net = network()
    metrics = {"accuracy": functools.partial(accuracy, ignore_index=-1)}
    run = Trainer(net, loss, optim.SGD(net.parameters()), metrics=metrics)
    scores = run.evaluate((DATA[0], target), batch_size=20)
    counted = target != -1
    logits = net(DATA[0][counted])
    assert scores["loss"] == pytest.approx(fastnn.softmax_cross_entropy(logits, target[counted])[0])
    assert scores["accuracy"] == (logits.argmax(axis=1) == target[counted]).mean()
    assert run.evaluate((DATA[0], np.full(50, -1))) == {"loss": 0, "accuracy": 0}


# ---- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "error", "words"),
    [
        ((X, LABEL[:50]), ValueError, r"train has shapes \(70, 3\), \(50,\), expected .* equally many rows"),
        ((X,), ValueError, "expected inputs and targets"),
        ((X[:0], LABEL[:0]), ValueError, "expected at least one row"),
        ([], ValueError, "train yielded no batch"),
        (iter([DATA]), TypeError, "can be gone through only once"),
        (3, TypeError, "train is a int"),
        ([X], TypeError, "a batch is a ndarray"),
        ((X, LABEL + 1), IndexError, "2"),
        ((X[:, :2], LABEL), ValueError, r"0 \(Linear\)"),
    ],
)
def test_fit_rejects(train, error, words):
    net = network()
    before = weights(net)
    with pytest.raises(error, match=words):
        trainer(net).fit(train, epochs=1, batch_size=70)
    np.testing.assert_array_equal(weights(net), before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "seconds and epochs are both None"),
        ({"epochs": 0}, "epochs is 0, expected a number above 0"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"epochs": 1, "reports": 0}, "reports is 0"),
        ({"epochs": 1, "patience": 0}, "patience is 0"),
        ({"epochs": 1, "monitor": "acuracy"}, "monitor is 'acuracy', expected one of epoch, .*, loss, accuracy$"),
        ({"epochs": 1, "monitor": "validation_loss"}, "monitor is 'validation_loss'"),
        ({"epochs": 1, "monitor": "accuracy"}, "schedule has maximize=False, expected True, as accuracy is monitored"),
        ({"epochs": 1, "callbacks": print}, "callbacks is <built-in function print>, expected functions in a list"),
        ({"epochs": 1, "step_callbacks": [3]}, r"step_callbacks is \[3\], expected functions"),
        ({"epochs": 1, "notes": {"a": {1}}}, "notes cannot be written to a checkpoint: .*set is not JSON"),
    ],
)
def test_fit_rejects_options(options, words):
    run = trainer(schedule=Plateau(0.1))
    with pytest.raises((ValueError, TypeError), match=words):
        run.fit(DATA, **options)
    assert run.step == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "sigmoid"}, "loss is 'sigmoid', expected the name of a loss"),
        ({"metrics": ["auc"]}, "metrics hold 'auc', expected names among accuracy, binary_accuracy"),
        ({"clip_norm": 0}, "clip_norm is 0"),
        ({"metrics": {"loss": accuracy}}, "metrics hold the name 'loss', expected another one"),
        ({"metrics": {"validation_loss": accuracy}}, "metrics hold the name 'validation_loss'"),
        ({"model": X}, "model is a ndarray, expected a Module"),
        ({"model": network().astype(np.float64)}, "optimizer holds 4 parameters that are not the model's"),
    ],
)
def test_trainer_rejects(options, words):
    net = network()
    options = {"model": net, **options}
    with pytest.raises((ValueError, TypeError), match=words):
        Trainer(**{"loss": "mse_loss", "optimizer": optim.SGD(net.parameters()), **options})


def test_a_validation_that_holds_nan_is_named():
    bad = X.copy()
    bad[7, 2] = np.nan
    run = trainer(network())
    message = r"loss without training is nan: input 0 of the batch holds nan at \(7, 2"
    with pytest.raises(FloatingPointError, match=message):
        run.fit((X, LABEL), epochs=1, validation=(bad, LABEL))
    with pytest.raises(FloatingPointError, match=message):
        run.evaluate((bad, LABEL))


def test_a_loss_that_is_not_finite_is_traced_to_the_data():
    bad = X.copy()
    bad[7, 2] = np.nan
    net = network()
    with pytest.raises(FloatingPointError, match=r"loss is nan in step 1: input 0 of the batch holds nan at \(7, 2"):
        trainer(net).fit((bad, LABEL), epochs=1, batch_size=70, shuffle=False)
    np.testing.assert_array_equal(weights(net), weights(network()))
    target = X[:, :2].copy()
    target[3, 1] = np.inf
    run = Trainer(net, "mse_loss", optim.SGD(net.parameters()))
    with pytest.raises(FloatingPointError, match=r"step 1: the target of the batch holds inf at \(3, 1\)"):
        run.fit((X, target), epochs=1, batch_size=70, shuffle=False)


def test_a_loss_that_is_not_finite_is_traced_to_the_layer():
    net = network()
    net[3].weight.value[:] = 3e38
    with pytest.raises(FloatingPointError, match=r"step 1: the output of 3 \(Linear\) is the first that is not finite"):
        trainer(net).fit(DATA, epochs=1)
    net[0].bias.value[4] = np.nan
    with pytest.raises(FloatingPointError, match=r"step 1: 0\.bias holds nan at \(4,\), so an earlier step was too"):
        trainer(net).fit(DATA, epochs=1)


def test_the_layer_is_traced_with_the_state_that_the_step_had():
    class Doubling(nn.Module):
        def __init__(self):
            self.last = nn.Linear(1, 1, bias=False)
            self.last.weight.value[:] = 2e38

        def vjp(self, x, state=None, *, training=True):
            y, back = self.last.vjp(x if state is None else 2 * x)
            return (y, (y,)), lambda dy: back(dy)

    def loss(y, target):
        return float(y[0, 0]), np.zeros_like(y)

    net, ones = Doubling(), np.ones((1, 1), np.float32)
    run = Trainer(net, loss, optim.SGD(net.parameters()), carry_state=True)
    with pytest.raises(FloatingPointError, match=r"step 2: the output of last \(Linear\) is the first"):
        run.fit([(ones, ones)] * 2, epochs=1)


def test_a_loss_or_a_gradient_of_its_own_making():
    net = network()
    run = Trainer(net, lambda output, target: (math.inf, output), optim.SGD(net.parameters()))
    with pytest.raises(FloatingPointError, match="so the loss itself overflowed"):
        run.fit(DATA, epochs=1)
    run = Trainer(net, lambda o, t: (1.0, np.full_like(o, np.inf)), optim.SGD(net.parameters()), clip_norm=1)
    with pytest.raises(FloatingPointError, match=r"gradient is (inf|nan) in step 1: the gradient of 0\.weight"):
        run.fit(DATA, epochs=1)
    np.testing.assert_array_equal(weights(net), weights(network()))
