"""The README keeps its promises: its blocks run, and its numbers are those of the report."""

import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import nn

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
TEACHER, DEPLOYER, NUMPY_USER = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", [TEACHER, DEPLOYER, NUMPY_USER])
def test_blocks_are_short(block):
    assert len(block.strip().splitlines()) <= 8


def test_a_network_learns():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((10, 64), np.float32)
    labels = rng.integers(0, 10, 2000)
    images = centres[labels] + rng.standard_normal((2000, 64), np.float32)
    names = {"images": images, "labels": labels}
    exec(TEACHER, names)
    assert (names["net"](images).argmax(1) == labels).mean() > 0.9


def test_a_saved_network_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lstm = nn.LSTM(8, 64, num_layers=2, rng=0)
    lstm.save("lstm.safetensors")
    readings = np.random.default_rng(0).standard_normal((5, 1, 8), np.float32)
    names = {"readings": readings}
    exec(DEPLOYER, names)
    y, _ = lstm(readings)
    np.testing.assert_allclose(names["y"], y[-1], rtol=1e-5, atol=1e-6)


def test_the_twin_is_a_replacement():
    compiled, twin = {}, {}
    exec(NUMPY_USER, compiled)
    exec(NUMPY_USER.replace("import fastnn ", "import fastnn.reference as fastnn "), twin)
    assert twin["fastnn"] is fastnn.reference
    for name in ("y", "dx"):
        np.testing.assert_allclose(compiled[name], twin[name], rtol=1e-5, atol=1e-6)


def test_commands_are_those_of_ci():
    commands = re.findall(r"```sh\n(.*?)\n```", TEXT, re.DOTALL)
    assert commands == ["pip install . && fastnn lm train", "pip install '.[test]' && pytest"]
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def rows(text):
    """Return the rows of a Markdown text's tables by title, each a dict of its cells; the first of a title counts."""
    found, header = {}, []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| row |"):
            header = cells
        elif header and line.startswith("| ") and len(cells) == len(header):
            found.setdefault(cells[0], dict(zip(header, cells, strict=True)))
    return found


def test_numbers_are_those_of_the_report():
    report = rows((ROOT / "docs" / "benchmarks" / "README.md").read_text())
    quoted = rows(TEXT)
    assert len(quoted) > 5
    for title, row in quoted.items():
        assert row.items() <= report[title].items()
