"""What the examples share: sizes from the command line, and drawings of computation graphs."""

import argparse
import sys


def settings(doc, **sizes):
    """Return what the command line says about an example: each size is a pair, the full one and that of --quick.

    In a notebook there is no command line, and sizes are the full ones.
    """
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="toy sizes: done in a second or two")
    for name, (full, quick) in sizes.items():
        shown = f"{full} by default, {quick} with --quick"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(full), metavar="N", help=shown)
    chosen = parser.parse_args([] if "ipykernel" in sys.modules else None)
    for name, pair in sizes.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, pair[chosen.quick])
    return chosen


def draw_graph(ax, nodes, edges):
    """Draw a computation graph: at each edge the value that flows along it and, below, the gradient that flows back.

    Parameters
    ----------
    nodes : dict from name to (label, x, y)
    edges : list of (from, to, value, gradient)
    """
    for start, end, value, gradient in edges:
        (_, *begin), (_, *target) = nodes[start], nodes[end]
        arrow = {"arrowstyle": "->", "color": "0.6", "shrinkA": 12, "shrinkB": 12}
        ax.annotate("", target, begin, arrowprops=arrow)
        at = [0.6 * b + 0.4 * t for b, t in zip(begin, target, strict=True)]
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
        look = {"ha": "center", "textcoords": "offset points", "fontsize": "small", "bbox": paper}
        ax.annotate(value, at, (0, 2), va="bottom", color="#0072B2", **look)
        ax.annotate(gradient, at, (0, -2), va="top", color="#D55E00", **look)
    for label, x, y in nodes.values():
        circle = {"boxstyle": "circle,pad=0.3", "facecolor": "white", "edgecolor": "0.4"}
        ax.text(x, y, label, ha="center", va="center", bbox=circle)
        ax.update_datalim([(x, y)])
    ax.margins(0.08, 0.15)
    ax.autoscale_view()
    ax.set_axis_off()
