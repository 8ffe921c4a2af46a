"""What `fastnn bench` does: time forms in turns, and print a table."""

import re
import time

from fastnn import bench


def test_race_takes_the_least_time_of_each():
    times = bench.race(
        {"short": ("sleep(0.001)", vars(time)), "long": ("sleep(0.004)", vars(time))}, seconds=0, rounds=3
    )
    assert 0.001 <= times["short"] < times["long"]
    assert times["long"] >= 0.004


def test_tuned_forms_have_variables_of_their_own():
    row = next(row for row in bench.rows("updates") if str(row) == "updates/sgd_update/float32/1000000")
    (_, first), (_, second) = bench.tuned_forms(row)
    assert first["param"] is not second["param"]


def test_table(monkeypatch, capsys):
    monkeypatch.setattr(bench, "SHORT", bench.SHORT[:2])
    bench.table()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == list(bench.SHORT)
    assert all(re.fullmatch(r"\S+( +[\d.]+){4} +\d+%", line) for line in lines[-2:])
