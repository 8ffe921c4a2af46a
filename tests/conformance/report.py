"""docs/conformance.md: how many cases there are, and what is left out."""

from pathlib import Path

from conformance import operators
from conformance.frozen import metadata, onnx_cases
from conformance.operations import DIFFERENCES, OPERATIONS

PAGE = Path(__file__).parents[2] / "docs/conformance.md"

HEAD = """\
# Conformance

What other libraries compute, compared with fastnn on both its backends; `tests/conformance/freeze.py` writes this page
and the answers that the tests read. `pytest -m live tests/conformance` asks an installed PyTorch again, on more cases.
"""

TORCH = """\
## {version}

Results and all gradients in float64, to 1e-9 relative, and in float32, to 1e-5 of the largest element; optimisers over
twenty steps, two parameter groups. The options are crossed: every combination that exists is a case.
"""

ONNX = """\
## {version}

The node cases, but for those whose names end in `_expanded`: they are others again, as graphs of simpler operators.
The adapters in `tests/conformance/operators.py` rename, reorder and transpose; no function there has over ten lines.
"""


def table(head, rows):
    """Return a table in Markdown, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [isinstance(cell, int) for cell in rows[0]]
    rule = ["-" * (w - r) + ":" * r for w, r in zip(widths, right, strict=True)]
    lines = [[c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)] for row in cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))


def of_torch():
    for o in OPERATIONS:
        options = ", ".join(name for name, values in o.grid.items() if len(values) > 1)
        yield o.family, o.name, options, len(list(o.cases())), len(list(o.cases(live=True)))


def of_onnx():
    cases = onnx_cases()
    for family, names in operators.FAMILIES.items():
        for name in names:
            mine = [case for case, told in cases.items() if told["operator"] == name]
            left_out = sum(bool(operators.skipped(case)) for case in mine)
            yield family, name, len(mine), len(mine) - left_out, left_out


def render():
    """Return the page."""
    torch, onnx = list(of_torch()), list(of_onnx())
    torch.append(("all", "", "", sum(row[3] for row in torch), sum(row[4] for row in torch)))
    onnx.append(("all", "", *(sum(row[i] for row in onnx) for i in (2, 3, 4))))
    cases = {why: [case for case in onnx_cases() if operators.skipped(case) == why] for why in operators.SKIPPED}
    left_out = "".join(f"- {why} ({len(names)}): {', '.join(names)}\n" for why, names in cases.items())
    return "\n".join(
        [
            HEAD,
            TORCH.format(version=metadata("losses")["made with"]),
            table(("family", "operation", "options", "frozen cases", "live cases"), torch),
            "What differs on purpose, and has no case:\n",
            table(("where", "fastnn"), list(DIFFERENCES.items())),
            ONNX.format(version=metadata("onnx")["made with"]),
            table(("family", "operator", "cases", "run", "left out"), onnx),
            "What is left out, and why:\n",
            left_out,
            "Outputs left out:\n",
            table(("operator", "why"), list(operators.OMITTED.items())),
        ]
    )
