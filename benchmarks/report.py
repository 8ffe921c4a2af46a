"""Render what `pytest benchmarks --benchmark-json=FILE` measured: python benchmarks/report.py FILE... FOLDER.

Writes FOLDER/README.md, with a section for each FILE and a picture for each family in it, and puts the rows of the
first FILE in place of those that README.md quotes.
"""

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INTRODUCTION = """# Benchmarks

One process, one thread on both sides. In every row fastnn and the forms it is compared with take turns, after it was
checked that their results agree, and the least of many times counts; only the ratios within a row mean something, and
on a machine that others use they still move by some per cent. Columns:

- **fastnn**: the public function, called as in the row's statement.
- **memoryview**: the same kernel by its entry over typed memoryviews, called from Python. Other people's Cython calls
  it without the cost of a Python call.
- **tuned**: NumPy as well as it can be written: `out=` everywhere, scratch made beforehand, dtype kept, the fastest of
  the forms in `benchmarks/tuned_numpy.py`. Ratios and claims use this column.
- **loose**: a quicker NumPy form that loses small results; shown, not counted.
- **scipy**, **torch**, **onnxruntime**, **scikit-learn**: these libraries, on as many threads, by the quickest form
  that they offer for the row (`benchmarks/peers.py`), if `--peers` was given. ONNX Runtime cannot be held to AVX2 and
  is left out there.
- **readable**: `fastnn.reference`, NumPy that a student can read, its checks of arguments included. The largest rows
  are only checked against it.
- **ratio**: tuned over fastnn. Above 1 fastnn is faster.
- **limit**: what moving the memory alone takes (`np.copyto` or `np.add` at this size; for products, the multiply-adds
  at the speed of a large square product), as a share of fastnn's time. On small arrays it is a call of NumPy's, and
  may exceed 100 %.

What a second thread brings stands in [threads.md](threads.md); how time grows with size, and what memory a step of
training takes, in [growth.md](growth.md).
"""

ROOT = Path(__file__).parents[1]
PEERS = ("scipy", "torch", "onnxruntime", "scikit-learn")
COLUMNS = ("fastnn", "memoryview", "tuned", "loose", *PEERS, "reference")


def duration(seconds):
    """Return a time with three significant digits and its unit."""
    for unit, scale in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        value = seconds * scale
        if value < 999.5:
            return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f} {unit}"
    return f"{seconds:.3g} s"


def read(path):
    """Return the machine, and the rows by family: each a dict of the row's name, dtype, size, times and limit."""
    store = json.loads(Path(path).read_text())
    families = {}
    for each in store["benchmarks"]:
        family, name, dtype, size = each["group"].split("/", 3)
        times, limit = each["extra_info"]["seconds"], each["extra_info"]["share of the limit"]
        ratio = times["tuned"] / times["fastnn"] if "tuned" in times else None
        row = {"name": name, "dtype": dtype, "size": size, "times": times, "ratio": ratio, "limit": limit}
        families.setdefault(family, []).append(row)
    return store["machine_info"], families


def geometric_mean(values):
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def table(header, rows):
    """Yield the lines of a Markdown table, its first column to the left and the others to the right."""
    yield "| " + " | ".join(header) + " |"
    yield "| --- |" + " ---: |" * (len(header) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def of(ratio):
    return "" if ratio is None else f"{ratio:.2f}" if ratio < 1 else f"**{ratio:.3g}**"


def label(row):
    return f"{row['name']} {row['dtype']} {row['size']}"


def section(machine, families, folder):
    """Yield the lines about one file, and draw its pictures."""
    isa, processor = machine["isa"], machine["cpu"].get("brand_raw", machine["machine"])
    yield f"## {isa}"
    yield ""
    yield (
        f"{processor}, {machine['cpu']['count']} cores, {machine['system']}; Python {machine['python_version']}, "
        f"NumPy {machine['numpy']}, {''.join(f'{name} {number}, ' for name, number in machine['peers'].items())}"
        f"fastnn {machine['fastnn']} on {isa}, threads: {machine['threads']}. Measured with"
    )
    yield ""
    yield f"    {machine['command']}"
    yield ""
    columns = [
        column for column in COLUMNS if any(column in row["times"] for rows in families.values() for row in rows)
    ]
    titles = ["readable" if column == "reference" else column for column in columns]
    by_ratio = lambda row: row["ratio"]
    counted = {family: [row for row in rows if row["ratio"] is not None] for family, rows in families.items()}
    lines = []
    for family, rows in counted.items():
        ratios = [row["ratio"] for row in rows]
        worst, best = min(rows, key=by_ratio), max(rows, key=by_ratio)
        lines.append(
            (
                family,
                str(len(rows)),
                f"{geometric_mean(ratios):.2f}",
                f"{sum(ratio < 1 for ratio in ratios)}",
                f"{label(worst)}: {worst['ratio']:.2f}",
                f"{label(best)}: {best['ratio']:.2f}",
            )
        )
    yield from table(("family", "rows", "geometric mean of the ratio", "rows behind", "least", "most"), lines)
    yield from compared(families)
    behind = sorted(
        (row for rows in counted.values() for row in rows if row["ratio"] < 1), key=lambda row: row["ratio"]
    )
    if behind:
        yield (
            "Behind tuned NumPy: "
            + ", ".join(f"{label(row)} ({row['ratio']:.2f})" for row in sorted(behind, key=by_ratio))
            + "."
        )
        yield ""
    for family, rows in families.items():
        picture = f"{family}-{isa}.png"
        draw(rows, f"{family}, {isa}", folder / picture)
        yield f"### {family}, {isa}"
        yield ""
        yield f"![The ratio and the limit of every row of the {family} family]({picture})"
        yield ""
        lines = [
            (
                label(row),
                *(duration(row["times"][column]) if column in row["times"] else "" for column in columns),
                of(row["ratio"]),
                f"{row['limit']:.0%}",
            )
            for row in rows
        ]
        yield from table(("row", *titles, "ratio", "limit"), lines)


def compared(families):
    """Yield the table of the speed beside each library's, by family, and the rows where a library is ahead."""
    lines, ahead = [], []
    for family, rows in families.items():
        for peer in PEERS:
            ratios = {label(row): row["times"][peer] / row["times"]["fastnn"] for row in rows if peer in row["times"]}
            if ratios:
                behind = [name for name in ratios if ratios[name] < 1]
                mean = f"{geometric_mean(ratios.values()):.2f}"
                lines.append((family, peer, str(len(ratios)), mean, str(len(behind)), f"{min(ratios.values()):.2f}"))
                ahead += [f"{name} ({peer}, {ratios[name]:.2f})" for name in behind]
    if lines:
        yield from table(("family", "library", "rows", "geometric mean", "rows behind", "least"), lines)
    if ahead:
        yield f"Behind another library: {', '.join(ahead)}."
        yield ""


def draw(rows, title, path):
    """Draw a dot for each row: how many times tuned NumPy's speed, and which share of the limit."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    kinds = list(dict.fromkeys((row["dtype"], row["size"]) for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(10, 1.6 + 0.22 * len(names)), sharey=True, layout="constrained")
    for kind, marker in zip(kinds, "osD^v<>P*X", strict=False):
        chosen = [row for row in rows if (row["dtype"], row["size"]) == kind]
        at = [names.index(row["name"]) for row in chosen]
        for axis, key in zip(axes, ("ratio", "limit"), strict=True):
            values = [math.nan if row[key] is None else row[key] for row in chosen]
            axis.plot(values, at, marker, label=" ".join(kind), markersize=5, alpha=0.8)
    for axis, text in zip(axes, ("speed over tuned NumPy's", "share of the physical limit"), strict=True):
        axis.set_xscale("log")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[-1] in "25" else "")
        axis.set_xlabel(text)
        axis.grid(axis="both", which="both", alpha=0.3)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    figure.suptitle(title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def cells(lines):
    """Yield each table row among the lines as its line number, its title and a dict of its cells by column."""
    for number, line in enumerate(lines):
        if line.startswith("| --- |"):
            header = lines[number - 1]
        elif line.startswith("| ") and not lines[number + 1].startswith("| --- |"):
            titles, values = ([cell.strip() for cell in row.strip("|").split("|")] for row in (header, line))
            yield number, values[0], dict(zip(titles, values, strict=True))


def refresh(readme, lines):
    """Put what was measured into the cells of the same row and column in a file's tables."""
    fresh = {}
    for _, title, row in cells(lines):
        fresh.setdefault(title, row)
    quoted = readme.read_text().splitlines()
    for number, title, row in list(cells(quoted)):
        if title in fresh:
            quoted[number] = "| " + " | ".join(fresh[title].get(column, row[column]) for column in row) + " |"
    readme.write_text("\n".join(quoted) + "\n")


def main(*arguments):
    *paths, folder = map(Path, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [INTRODUCTION]
    for path in paths:
        lines += section(*read(path), folder)
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")
    refresh(ROOT / "README.md", lines)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
