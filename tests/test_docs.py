"""The pages of the documentation keep their promises: their examples run, and what they name exists."""

import doctest
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
READMES = "README.md", "README.zh.md"
TEXTS = [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md"))]
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```pycon" in page.read_text(encoding="utf-8"))

_spec = importlib.util.spec_from_file_location("render", DOCS / "seeds" / "render.py")
render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(render)
ITEMS = {item["en"]: item for section in render.sections() for item in section["item"]}


@pytest.fixture(autouse=True)
def _plots():
    pytest.importorskip("matplotlib").use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def run(text, name, **names):
    """Run examples in one namespace, and return how many there were and how many failed."""
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    return result.attempted, result.failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_pages(page):
    blocks = re.findall(r"```pycon\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    attempted, failed = run("\n".join(blocks), page.name)
    assert attempted
    assert not failed


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_examples_of_the_seed_notes(item):
    attempted, failed = run(item["example"], item["en"], np=np, fastnn=fastnn)
    assert attempted
    assert not failed


RESOLVE = """
import functools, importlib.util, sys
import fastnn
for name in sys.stdin.read().split():
    try:
        assert functools.reduce(getattr, name.split(".")[1:], fastnn).__doc__
    except AttributeError:  # some modules are for being imported alone
        assert name.count(".") == 1 and importlib.util.find_spec(name), name
"""


def test_names_resolve():
    """Whoever has imported no more than fastnn finds all that the seed notes and the pages name."""
    names = {name for item in ITEMS.values() for name in item["api"]}
    for page in TEXTS:
        for code in re.findall(r"`[^`\n]+`", page.read_text(encoding="utf-8")):
            names.update(re.findall(r"(?<![\w/.])fastnn(?:\.[A-Za-z_]\w*)+", code))
    names -= {"fastnn.h", "fastnn.f"}  # a header, and any function
    done = subprocess.run([sys.executable, "-c", RESOLVE], input="\n".join(names), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_files_and_translations_of_the_seed_notes(item):
    assert "script" not in item or (ROOT / item["script"]).is_file()
    assert "figure" not in item or (DOCS / "examples" / item["figure"]).is_file()
    assert ("erratum_en" in item) == ("erratum_zh" in item)


NAMES = {"", "MSE", "Huber", "hinge", "KL", "NLL", "(softmax)", "(sigmoid)"}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_the_words_of_formulas_are_chinese_on_the_chinese_page(item):
    words = re.findall(r"(?<!_)\\text\{\s*(.*?)\s*\}", render.formula(item, "zh"))
    assert not [word for word in words if word not in NAMES and not re.search(r"[\u4e00-\u9fff]", word)]
    assert render.formula(item, "en") == item["formula"]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_links_between_pages(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_chinese_readme_has_the_same_code():
    blocks = [re.findall(r"```.*?```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL) for name in READMES]
    assert blocks[0] == blocks[1]
    assert len(blocks[0]) == 5
