"""Sphinx's configuration; `nox -s docs` builds the site into docs/_build, and fails on any warning."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
from docutils import nodes
from latex2mathml.converter import convert

import fastnn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "seeds"))
import render  # noqa: E402

project, author, release = "fastnn", "the authors of fastnn", fastnn.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "fastnn"
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
default_role = "code"
nitpick_ignore_regex = [("py:.*", r"(?!fastnn).*")]  # types in docstrings are prose: "array_like (B, C)"
suppress_warnings = ["myst.header", "ref.python"]  # a word of a docstring that several layers have as attribute

# The pages of the API: a title, the module, and what of it; None for its __all__
FAMILIES = "activations", "losses", "updates", "recurrent", "embedding", "word2vec", "normalization", "regularization"
FAMILIES = *FAMILIES, "convolution", "attention"
MODULES = {
    "api/layers": ["nn"],
    "api/training": ["optim", "schedules", "init", "regularize", "training", "gradients"],
    "api/data": ["data", "io", "metrics"],
    "api/models": ["models"],
    "api/tools": ["config", "sklearn", "plot"],
}
TOP = {"config": "Configuration", "gradients": "Gradient checks"}  # whose names are names of fastnn itself


def _entry(module, name):
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, type):
        members = [] if hasattr(value, "_fields") else ["   :members:"]
        return [f".. autoclass:: {module}.{name}", *members, ""]
    kind = "data" if isinstance(value, np.ufunc) or not callable(value) else "function"
    return [f".. auto{kind}:: {module}.{name}", *(["   :no-value:"] if kind == "data" else []), ""]


def _functions():
    lines = ["# Functions", "", "All are names of `fastnn` itself, and of `fastnn.reference`.", ""]
    for family in FAMILIES:
        names = importlib.import_module(f"fastnn.ops.{family}").__all__
        entries = [line for name in names for line in _entry("fastnn", name)]
        lines += [f"## {family.capitalize()}", "", "```{eval-rst}", *entries, "```", ""]
    return lines


def _modules(title, modules):
    lines = [f"# {title.split('/')[1].capitalize()}", ""]
    for module in modules:
        name = f"fastnn.{module}"
        public = importlib.import_module(name).__all__
        where = "fastnn" if module in TOP else name
        entries = [line for public_name in public if hasattr(importlib.import_module(where), public_name)
                   for line in _entry(where, public_name)]  # fmt: skip
        lines += [f"## {TOP.get(module, name)}", "", "```{eval-rst}", *entries, "```", ""]
    return lines


def _generate(app, docname, source):
    """Fill in the pages that are lists of what the package holds."""
    if docname == "api/functions":
        source[0] = "\n".join(_functions())
    elif docname in MODULES:
        source[0] = "\n".join(_modules(docname, MODULES[docname]))
    elif docname in ("seeds/en", "seeds/zh"):
        source[0] += "\n" + render.page(docname[-2:])


def _escape(app, what, name, value, options, lines):
    """Docstrings are prose with formulas: what reStructuredText would take for markup is escaped, but for examples."""
    example = False
    for place, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            line = re.sub(r"[*|]", r"\\\g<0>", line)
            lines[place] = line if re.match(r"\s*\w+_($| : )", line) else re.sub(r"(?<=\w)_(?!\w)", r"\\_", line)


def _skip(app, what, name, value, skip, options):
    """Leave out what scikit-learn adds to estimators for the routing of metadata."""
    return skip or re.fullmatch(r"set_\w+_request", name) is not None or None


def _mathml(self, node):
    """Write a formula as MathML, which browsers show by themselves."""
    display, tag = ("block", "div") if isinstance(node, nodes.math_block) else ("inline", "span")
    formula = convert(node.astext(), display=display)
    if "\\" in formula or "<mi>&</mi>" in formula:  # what the converter does not know it leaves as it is
        raise ValueError(f"latex2mathml cannot convert {node.astext()}")
    self.body.append(f'<{tag} style="padding: 0.4em 0; overflow: auto">{formula}</{tag}>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (_mathml, None), (_mathml, None))
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _escape, priority=400)
    app.connect("source-read", _generate)
