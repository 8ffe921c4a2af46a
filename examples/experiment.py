"""What the examples share: sizes from the command line, drawings of computation graphs and of networks."""

import argparse
import math
import sys

from matplotlib import colors, patches
from matplotlib import pyplot as plt

VALUE, GRADIENT = "#0072B2", "#D55E00"  # the colours of what flows forward and of what flows back
INK, PALE = "0.35", "0.6"
BLUE, ORANGE, GREEN, GREY = "#DCE9F3", "#FBE6D4", "#DDEEE4", "#F1F1F1"


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
        arrow = {"arrowstyle": "->", "color": PALE, "shrinkA": 12, "shrinkB": 12}
        ax.annotate("", target, begin, arrowprops=arrow)
        at = [0.6 * b + 0.4 * t for b, t in zip(begin, target, strict=True)]
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
        look = {"ha": "center", "textcoords": "offset points", "fontsize": "small", "bbox": paper}
        ax.annotate(value, at, (0, 2), va="bottom", color=VALUE, **look)
        ax.annotate(gradient, at, (0, -2), va="top", color=GRADIENT, **look)
    for label, x, y in nodes.values():
        circle = {"boxstyle": "circle,pad=0.3", "facecolor": "white", "edgecolor": "0.4"}
        ax.text(x, y, label, ha="center", va="center", bbox=circle)
        ax.update_datalim([(x, y)])
    ax.margins(0.08, 0.15)
    ax.autoscale_view()
    ax.set_axis_off()


def number(x):
    """Return a number as text: two digits after the point, a minus sign, no negative zero."""
    return f"{round(float(x), 2) + 0:.2f}".replace("-", "\N{MINUS SIGN}")


def canvas(width, height, title):
    """Return Axes that fill a new figure, with inches as coordinates, and a line of text at the top."""
    ax = plt.figure(figsize=(width, height), dpi=150).add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    ax.text(width / 2, height - 0.33, title, ha="center")
    return ax


def box(ax, x, y, text="", width=0.72, height=0.46, *, face=BLUE, edge=INK, layer=2, **look):
    """Draw a box with a text in its middle."""
    corner = x - width / 2, y - height / 2
    style = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": face, "edgecolor": edge, "zorder": layer}
    ax.add_patch(patches.FancyBboxPatch(corner, width, height, **style))
    ax.text(x, y, text, ha="center", va="center", zorder=layer + 1, **look)


def circle(ax, x, y, text, radius=0.2, *, face="white", **look):
    """Draw a circle with a text in its middle."""
    ax.add_patch(patches.Circle((x, y), radius, facecolor=face, edgecolor=INK, zorder=2))
    ax.text(x, y, text, ha="center", va="center", zorder=3, **look)


def grid(ax, x, y, numbers, *, framed=None, form=number, width=0.62, height=0.4):
    """Draw a matrix as cells from its top left corner on: blue above 0, orange below, the paler the nearer to 0.

    A frame goes around one row, if any.
    """
    for r, row in enumerate(numbers):
        for k, value in enumerate(row):
            corner = x + width * k, y - height * (r + 1)
            shade = colors.to_rgba(BLUE if value > 0 else ORANGE, min(abs(value), 1))
            cell = {"facecolor": shade, "edgecolor": "0.8", "linewidth": 0.6, "zorder": 2}
            ax.add_patch(patches.Rectangle(corner, width, height, **cell))
            middle = corner[0] + width / 2, corner[1] + height / 2
            ax.text(*middle, form(value), ha="center", va="center", fontsize="small", zorder=3)
        if r == framed:
            frame = {"fill": False, "edgecolor": INK, "linewidth": 1.8, "zorder": 4}
            ax.add_patch(patches.Rectangle((x, corner[1]), width * len(row), height, **frame))


def arrow(ax, *points, value="", gradient="", at=0.5, color=PALE, ink=None):
    """Draw an arrow by way of some points, and beside its last stretch what flows along it and what flows back.

    Of one that goes to the right, the value stands above and the gradient below; of one that goes up, left and right.
    """
    ax.plot(*zip(*points[:-1], strict=True), color=color, linewidth=1.2, zorder=1)
    begin, end = points[-2:]
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, begin, arrowprops=style, zorder=1)
    dx, dy = end[0] - begin[0], end[1] - begin[1]
    length, middle = math.hypot(dx, dy), (begin[0] + at * dx, begin[1] + at * dy)
    for text, shade, side in (value, VALUE, 1), (gradient, GRADIENT, -1):
        right, up = -side * dy / length, side * dx / length
        look = {"ha": "center", "va": "bottom" if up > 0 else "top"}
        if abs(right) > 0.5:
            look = {"ha": "left" if right > 0 else "right", "va": "center"}
        place = {"textcoords": "offset points", "fontsize": "small", "zorder": 4}
        ax.annotate(text, middle, (4 * right, 4 * up), color=ink or shade, **place, **look)
