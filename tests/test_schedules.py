"""Learning rates: PyTorch's values where it has the same schedule, the seeds' formulas, and the range test."""

import json
import math

import numpy as np
import pytest

from fastnn import nn, optim, schedules
from fastnn.schedules import Plateau
from fastnn.training import Trainer

# torch 2.13.0, torch.optim.lr_scheduler, an optimiser with lr=0.5: the rate of each step
STEP = [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625]
MULTI_STEP = [0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.0005, 0.0005]
EXPONENTIAL = [0.5, 0.45, 0.405, 0.3645, 0.32805]
TRIANGULAR = [0.1, 0.233333333333, 0.366666666667, 0.5, 0.3, 0.1, 0.233333333333, 0.366666666667, 0.5, 0.3, 0.1]
TRIANGULAR2 = [0.1, 0.233333333333, 0.366666666667, 0.5, 0.3, 0.1, 0.166666666667, 0.233333333333, 0.3, 0.2, 0.1]
EXP_RANGE = [0.1, 0.22, 0.316, 0.3916, 0.23122, 0.1, 0.1708588, 0.22754584, 0.272186884, 0.1774840978, 0.1]
LINEAR = [0.125, 0.21875, 0.3125, 0.40625, 0.5, 0.5, 0.5]
COSINE = [0.5, 0.469855715851, 0.3875, 0.275, 0.1625, 0.080144284149, 0.05]
POLYNOMIAL = [0.5, 0.32, 0.18, 0.08, 0.02, 0.0, 0.0, 0.0]
ONE_CYCLE = [0.02, 0.26, 0.5, 0.475242316007, 0.405872826975, 0.305631010968, 0.194370989032, 0.094129173025]
ONE_CYCLE += [0.024759683993, 2e-06]
ONE_CYCLE_LINEAR = [0.02, 0.18, 0.34, 0.5, 0.416667, 0.333334, 0.250001, 0.166668, 0.083335, 2e-06]
RESTARTS = [0.5, 0.3875, 0.1625, 0.5, 0.469855715851, 0.3875, 0.275, 0.1625, 0.080144284149, 0.5, 0.492333310915]
RESTARTS += [0.469855715851, 0.434099025767, 0.3875]
SEQUENTIAL = [0.05, 0.05, 0.05, 0.5, 0.45, 0.405, 0.3645]
SCORES = [5, 4, 4, 4, 4, 3, 3.0001, 3, 3, 3, 3, 2, 9, 9, 9, 9, 9]
PLATEAU = [0.5] * 5 + [0.05] * 4 + [0.005] * 6 + [0.0005] * 2
PLATEAU_OPTIONS = [0.5] * 3 + [0.25] * 4 + [0.125] * 4 + [0.1] * 6


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (schedules.halving(0.5, 3), STEP),
        (schedules.multi_step(0.5, [5, 2, 6]), MULTI_STEP),
        (schedules.exponential(0.5, -math.log(0.9)), EXPONENTIAL),
        (schedules.cyclical(0.1, 0.5, 3, 2), TRIANGULAR),
        (schedules.cyclical(0.1, 0.5, 3, 2, mode="triangular2"), TRIANGULAR2),
        (schedules.cyclical(0.1, 0.5, 3, 2, mode="exp_range", gamma=0.9), EXP_RANGE),
        (schedules.linear(0.125, 0.5, 4), LINEAR),
        (schedules.warm_up(0.5, 4, start=0.25), LINEAR),
        (schedules.cosine(0.5, 6, final=0.05), COSINE),
        (schedules.polynomial(0.5, 5, power=2), POLYNOMIAL),
        (schedules.one_cycle(0.5, 10), ONE_CYCLE),
        (schedules.one_cycle(0.5, 10, rise=0.4, shape="linear"), ONE_CYCLE_LINEAR),
        (schedules.restarts(0.5, 3, growth=2, final=0.05), RESTARTS),
        (schedules.restarts(0.5, 3, final=0.05), RESTARTS[:3] * 4),
        (schedules.join([0.05, schedules.exponential(0.5, -math.log(0.9))], [3]), SEQUENTIAL),
    ],
)
def test_pytorch_has_the_same(schedule, rates):
    assert [schedule(step) for step in range(len(rates))] == pytest.approx(rates, abs=1e-11)


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"patience": 2}, PLATEAU),
        (
            {
                "factor": 0.5,
                "patience": 1,
                "maximize": True,
                "threshold": 0.1,
                "relative": False,
                "cooldown": 2,
                "least": 0.1,
            },
            PLATEAU_OPTIONS,
        ),
    ],
)
def test_plateau(options, rates):
    schedule, seen = Plateau(0.5, **options), []
    for score in SCORES:
        seen.append(schedule(len(seen)))
        schedule.observe(score)
        again = Plateau(0.5, **options)
        again.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
        schedule = again
    assert seen == pytest.approx(rates)


def test_plateau_below_zero_and_nan():
    schedule = Plateau(schedules.linear(0, 1, 4), factor=0.5, patience=0)
    for score in (math.nan, -5.0, -5.0, math.nan):
        schedule.observe(score)
    assert schedule.falls == 3
    assert schedule.best == -5
    assert [schedule(step) for step in (0, 2, 4)] == [0, 0.0625, 0.125]


def test_the_formulas_of_the_seeds():
    t = np.arange(1000)
    annealing = schedules.annealing(0.3, 70)
    np.testing.assert_array_equal([annealing(i) for i in t], 0.3 * 70 / np.maximum(t, 70))
    halving = schedules.by_epoch(schedules.halving(0.3, 3), 10)
    np.testing.assert_array_equal([halving(int(i)) for i in t], 0.3 * 0.5 ** (t // 10 // 3))
    exponential = schedules.exponential(0.3, 0.01)
    np.testing.assert_allclose([exponential(i) for i in t], 0.3 * np.exp(-0.01 * t), rtol=1e-14)
    noam = schedules.noam(64, 40, factor=2)
    expected = 2 * 64**-0.5 * np.minimum((t + 1) ** -0.5, (t + 1) * 40**-1.5)
    np.testing.assert_allclose([noam(i) for i in t], expected, rtol=1e-14)
    assert {schedules.constant(1e-3)(i) for i in t} == {1e-3}


def test_warm_up_comes_before_the_schedule():
    schedule = schedules.warm_up(schedules.cosine(0.2, 10), 4)
    assert [schedule(i) for i in range(5)] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert schedule(9) == pytest.approx(0.1)
    assert schedule(99) == 0
    three = schedules.join([1, schedules.linear(0, 4, 4), 3], [2, 4])
    assert [three(i) for i in range(6)] == [1, 1, 0, 1, 3, 3]


def test_a_cycle_that_only_rises_ends_as_well():
    schedule = schedules.one_cycle(1.0, 10, rise=1.0, final=0.5)
    assert [schedule(i) for i in (9, 10, 11)] == [1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: schedules.constant(-1), ValueError, "rate is -1"),
        (lambda: schedules.constant(math.nan), ValueError, "rate is nan"),
        (lambda: schedules.annealing(1, 0), ValueError, "tau is 0"),
        (lambda: schedules.halving(1, 0), ValueError, "every is 0"),
        (lambda: schedules.halving(1, 2.5), TypeError, "every is 2.5"),
        (lambda: schedules.cosine(1, 0), ValueError, "steps is 0"),
        (lambda: schedules.cyclical(0, 1, 2, mode="x"), ValueError, "mode is 'x'"),
        (lambda: schedules.one_cycle(1, 9, rise=2), ValueError, "rise is 2"),
        (lambda: schedules.one_cycle(1, 9, shape="x"), ValueError, "shape is 'x'"),
        (lambda: schedules.join([1, 2], []), ValueError, r"boundaries are \[\], expected 1 steps"),
        (lambda: schedules.join([1, 2, 3], [5, 2]), ValueError, r"boundaries are \[5, 2\], expected 2 steps in rising"),
        (lambda: schedules.warm_up(-2, 3), ValueError, "schedule is -2"),
        (lambda: schedules.constant(math.inf), ValueError, "rate is inf, expected at least 0 and finite"),
        (
            lambda: schedules.warm_up(Plateau(1), 3),
            TypeError,
            "schedule is a Plateau, to which nobody tells the scores",
        ),
        (lambda: schedules.by_epoch(Plateau(1), 3), TypeError, "schedule is a Plateau"),
        (lambda: schedules.join([1, Plateau(1)], [3]), TypeError, "one of schedules is a Plateau"),
        (lambda: Plateau(1).load_state_dict({"best": 1}), ValueError, "state holds .'best'., expected best, waited"),
        (lambda: Plateau(1, factor=1), ValueError, "factor is 1"),
        (lambda: Plateau(1, patience=-1), ValueError, "patience is -1"),
    ],
)
def test_rejects(make, error, words):
    with pytest.raises(error, match=words):
        make()


# ---- with a trainer -----------------------------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((40, 4))
DATA = X, X @ np.ones((4, 1))


def trainer(schedule=None, lr=0.1):
    net = nn.Linear(4, 1, rng=0, dtype=np.float64)
    return Trainer(net, "mse_loss", optim.SGD(net.parameters(), lr=lr), schedule=schedule, rng=0)


def test_a_plateau_is_told_the_scores_and_kept_in_the_checkpoint(tmp_path):
    scores = iter([3, 2, 2, 2, 2, 2])
    options = {"validation": lambda model: next(scores), "checkpoint": tmp_path / "run", "resume": True}
    run = trainer(Plateau(0.1, factor=0.5, patience=0))
    run.fit(DATA, epochs=3, **options)
    run = trainer(Plateau(0.1, factor=0.5, patience=0))
    history = run.fit(DATA, epochs=5, **options)
    assert history.column("rate") == [0.1, 0.1, 0.1, 0.05, 0.025]


def test_range_test_finds_where_losses_rise_and_changes_nothing():
    run = trainer()
    before = run.model.state_dict(), run.rng.bit_generator.state
    rates, losses = run.range_test(DATA, low=1e-4, high=1e4, steps=81, batch_size=10)
    assert len(rates) == len(losses) < 81  # it stopped
    np.testing.assert_allclose(rates, 10 ** (-4 + np.arange(len(rates)) / 10))
    assert rates[0] < 0.05 < rates[losses.argmin()] < 5
    assert losses[-1] > 4 * losses.min()
    for name, value in run.model.state_dict().items():
        np.testing.assert_array_equal(value, before[0][name])
    assert run.rng.bit_generator.state == before[1]
    assert run.step == 0
    assert run.optimizer.param_groups[0]["lr"] == 0.1
    rates, losses = run.range_test(DATA, low=1e-5, high=1e-4, steps=7)
    assert len(rates) == 7
    rates, losses = run.range_test(DATA, low=1e300, high=1e305, steps=7, stop=math.inf)
    assert len(rates) < 7  # overflow ends it as well
    bad = DATA[0].copy()
    bad[3, 2] = np.nan
    for size in (1, 40):  # found at once or later
        with pytest.raises(FloatingPointError, match=r"input 0 of the batch holds nan at \(\d+, 2\)"):
            trainer().range_test((bad, DATA[1]), batch_size=size, high=1e-3)


# ---- fan-in -------------------------------------------------------------------------------------------------


def test_rates_by_fan_in():
    net = nn.Sequential(nn.Embedding(10, 4), nn.Conv1d(4, 2, 3), nn.Linear(25, 2), nn.Residual(nn.Linear(12, 12)))
    groups = schedules.scaled_by_fan_in(net, 0.6)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {name: rates[id(p)] for name, p in net.named_parameters()} == pytest.approx(
        {
            "0.weight": 0.6,
            "1.weight": 0.6 / 12**0.5,
            "1.bias": 0.6,
            "2.weight": 0.12,
            "2.bias": 0.6,
            "3.layer.weight": 0.6 / 12**0.5,
            "3.layer.bias": 0.6,
        }
    )
    assert len(groups) == 3
    optim.SGD(groups)
