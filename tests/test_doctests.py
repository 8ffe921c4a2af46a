"""The examples of every docstring of the installed package, `np` and `fastnn` being there as in the documentation."""

import doctest
import importlib.util
import pkgutil

import numpy as np
import pytest

import fastnn

MODULES = [module.name for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")]
MODULES = ["fastnn", *(name for name in MODULES if not name.endswith("__main__"))]
EXTRAS = {"fastnn.sklearn": "sklearn"}  # what a module needs besides
MODULES = [name for name in MODULES if importlib.util.find_spec(EXTRAS.get(name, "fastnn"))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {"np": np, "fastnn": fastnn} | vars(module)
    failed = 0
    for example in finder.find(module, name, globs=names):
        failed += doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example).failed
    assert not failed


def test_there_are_examples():
    """Guards the test above: a finder that sees nothing would pass."""
    finder = doctest.DocTestFinder()
    assert any(test.examples for name in MODULES for test in finder.find(importlib.import_module(name), name))
