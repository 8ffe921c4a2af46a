"""Figures of what networks do and how they learn. Needs matplotlib: pip install 'fastnn-core[plot]'.

Every function draws into `ax`, or into an Axes of a new figure, and returns the Axes:

    losses(history, ax=ax)                             # a panel of your own figure
    losses(history).figure.savefig("losses.png")       # a figure of its own

A new figure is known to nobody but its Axes: pyplot's current figure, its settings and its windows stay as they are.
Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart, and shades of one blue.
"""

from collections.abc import Mapping

import numpy as np

from fastnn._backend import functions as F
from fastnn._checks import as_count

__all__ = [
    "activations",
    "attention",
    "confusion_matrix",
    "gradient_norms",
    "histograms",
    "learning_rate_finder",
    "losses",
    "perplexities",
    "schedules",
    "trajectories",
    "word_map",
]

COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLES = ["-", "--", ":", "-."]
# Fonts that have Chinese, Japanese and Korean, which matplotlib's own has not
CJK = [
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("PingFang SC", "Hiragino Sans", "Microsoft YaHei", "SimHei", "Arial Unicode MS", "Unifont"),
]


def activations(names=("sigmoid", "tanh", "relu", "gelu"), *, x=None, derivatives=True, ax=None):
    """Draw activations, and dashed their derivatives.

    Parameters
    ----------
    names : str or sequence of str
        Activations of fastnn.
    x : array_like (n,), optional
        Where; by default 1001 points from -5 to 5.
    derivatives : bool
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Examples
    --------
    >>> ax = activations("softsign", x=[-1.0, 0.0, 1.0])
    >>> [line.get_ydata().tolist() for line in ax.lines]
    [[-0.5, 0.0, 0.5], [0.25, 1.0, 0.25]]
    """
    names = [names] if isinstance(names, str) else names
    x = np.linspace(-5, 5, 1001) if x is None else np.asarray(x)
    _check_some(names, "names")
    for name in names:
        F.saved_for(name)  # raises for what is no activation
    ax = _axes(ax)
    for i, name in enumerate(names):
        color = COLORS[i % len(COLORS)]
        ax.plot(x, getattr(F, name)(x), color=color, label=name)
        if derivatives:
            ax.plot(x, getattr(F, f"{name}_derivative")(x), "--", color=color, label=f"{name}′")
    return _finish(ax, "x", "f(x)", legend="upper left", columns=1 + derivatives)


def histograms(layers, *, bins=30, range=None, limit=None, ax=None):
    """Draw what the activations of each layer are like: a histogram a layer, on its side, one beside the other.

    Parameters
    ----------
    layers : sequence of array_like, or dict of them by name
        The activations of each layer, of any shape; without names layers are numbered from 1.
    bins : int
    range : pair of float, optional
        Of the activations that are drawn; by default all are.
    limit : float, optional
        The share of a layer's activations at which a bar is cut off, so that many zeros do not hide the others; by
        default the largest of all bars.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
        The length of a bar is its share of the layer's activations, 0.9 standing for `limit`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ax = histograms([rng.random(1000) ** power for power in (1, 2, 3)], bins=10)
    >>> [float((patch.get_data().values - i).max().round(2)) for i, patch in enumerate(ax.patches)]
    [0.22, 0.64, 0.9]
    """
    layers = layers if isinstance(layers, Mapping) else {str(i): layer for i, layer in enumerate(layers, 1)}
    _check_some(layers, "layers")
    arrays = [np.ravel(layer) for layer in layers.values()]
    for name, array in zip(layers, arrays, strict=True):
        _check_finite(array, f"layer {name!r}")
    bins = as_count(bins, "bins")
    range = range or (min(a.min() for a in arrays), max(a.max() for a in arrays))
    counts, edges = zip(*(np.histogram(a, bins, range) for a in arrays), strict=True)
    shares = np.array([count / max(1, a.size) for count, a in zip(counts, arrays, strict=True)])
    limit = limit or shares.max() or 1.0
    ax = _axes(ax)
    for i, bars in enumerate(0.9 * np.minimum(1, shares / limit)):
        ax.stairs(i + bars, edges[i], baseline=i, orientation="horizontal", fill=True, color=COLORS[0])
    ax.set_xticks(np.arange(len(layers)), layers, ha="left")
    return _finish(ax, "layer", "activation")


def losses(curves, *, x=None, xlabel="epoch", ylabel="loss (nats)", ax=None):
    """Draw how losses go down.

    Parameters
    ----------
    curves : dict from name to array_like (n,), or one array_like
        NaN and None stand for steps at which nothing was measured, and are left out.
    x : array_like, optional
        Of the points, for all curves; by default 1, 2, ...
    xlabel, ylabel : str
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Examples
    --------
    >>> ax = losses({"training": [2.3, 1.1, 0.7], "validation": [1.9, None, 0.9]})
    >>> [(line.get_label(), line.get_xydata().tolist()) for line in ax.lines]
    [('training', [[1.0, 2.3], [2.0, 1.1], [3.0, 0.7]]), ('validation', [[1.0, 1.9], [3.0, 0.9]])]
    """
    curves = _curves(curves, x)
    return _finish(_lines(_axes(ax), curves), xlabel, ylabel, legend="upper right" if any(curves) else None)


def perplexities(curves, *, x=None, xlabel="epoch", vocabulary=None, ax=None):
    """Draw the perplexities, exp(loss), of losses in nats, on a logarithmic axis.

    Parameters
    ----------
    curves, x, xlabel
        As of `losses`.
    vocabulary : int, optional
        Its size, the perplexity of a uniform guess, gets a line.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Examples
    --------
    >>> ax = perplexities([np.log(60.0), np.log(8.0)], vocabulary=65)
    >>> ax.lines[0].get_ydata().round(3), ax.get_yscale()
    (array([60.,  8.]), 'log')
    """
    with np.errstate(over="ignore"):
        curves = {name: (at, np.exp(nats)) for name, (at, nats) in _curves(curves, x).items()}
    ax = _lines(_axes(ax), curves)
    if vocabulary is not None:
        ax.axhline(vocabulary, color="0.5", linestyle=":", linewidth=1, label=f"uniform guess, {vocabulary}")
    from matplotlib.ticker import LogFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    legend = "best" if any(curves) or vocabulary is not None else None
    return _finish(ax, xlabel, "perplexity", legend=legend)


def schedules(functions, steps, *, ax=None):
    """Draw learning rates over the steps 0 to `steps` - 1.

    Parameters
    ----------
    functions : dict from name to function, or one function
        From a step to a rate.
    steps : int
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Examples
    --------
    >>> ax = schedules({"halved": lambda step: 0.5 ** (step // 2)}, 5)
    >>> ax.lines[0].get_ydata().tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    functions = {"": functions} if callable(functions) else functions
    if not (isinstance(functions, Mapping) and functions and all(map(callable, functions.values()))):
        raise ValueError(f"functions is {functions!r}, expected a function or a dict of some")
    at = np.arange(as_count(steps, "steps"))
    rates = {name: (at, np.array([function(int(step)) for step in at])) for name, function in functions.items()}
    ax = _lines(_axes(ax), rates)
    ax.set_ylim(bottom=0)
    return _finish(ax, "step", "learning rate", legend="upper right" if any(rates) else None)


def learning_rate_finder(rates, losses, *, chosen=None, ax=None):
    """Draw the losses of a range test, whose learning rate grows step by step until the loss does.

    Parameters
    ----------
    rates, losses : array_like (n,)
    chosen : float, optional
        A rate to mark.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
        Cut off above the first loss by half the way that the loss went down: what comes after has diverged.

    Notes
    -----
    Smith (2017), "Cyclical learning rates for training neural networks", section 3.3.

    Examples
    --------
    >>> ax = learning_rate_finder([0.01, 0.1, 1.0], [2.3, 1.1, 60.0], chosen=0.1)
    >>> ax.get_xscale(), float(ax.get_ylim()[1].round(3))
    ('log', 2.9)
    """
    ((rates, losses),) = _curves(losses, rates).values()
    if not (len(rates) and (rates > 0).all()):
        raise ValueError(f"rates hold {rates.min() if len(rates) else 'none with a loss'}, expected numbers above 0")
    ax = _lines(_axes(ax), {"": (rates, losses)})
    if chosen is not None:
        ax.axvline(chosen, color=COLORS[1], linestyle="--", label=f"chosen, {chosen:.2g}")
    ax.set_xscale("log")
    lowest, drop = losses.min(), losses[0] - losses.min()
    if drop > 0:
        ax.set_ylim(lowest - 0.1 * drop, losses[0] + 0.5 * drop)
    return _finish(ax, "learning rate", "loss", legend=None if chosen is None else "upper left")


def trajectories(f, paths, *, xlim, ylim, minimum=None, ax=None):
    """Draw the ways of optimisers over the contour of a function of two variables.

    Parameters
    ----------
    f : callable
        From arrays x and y of one shape to the values, of that shape.
    paths : dict from name to array_like (steps, 2)
        The points that an optimiser came through, the first one included.
    xlim, ylim : pair of float
    minimum : pair of float, optional
        A point to mark.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
        Its contour lines part the area shown into 16 equal shares.

    Examples
    --------
    >>> ax = trajectories(lambda x, y: x**2 + y**2, {"SGD": [(2, 1), (1, 0.5)]}, xlim=(-3, 3), ylim=(-2, 2))
    >>> ax.lines[0].get_xydata().tolist()
    [[2.0, 1.0], [1.0, 0.5]]
    """
    _check_some(paths, "paths")
    paths = {name: np.asarray(path, float) for name, path in paths.items()}
    for name, limits in ("xlim", xlim), ("ylim", ylim):
        if not limits[0] < limits[1]:
            raise ValueError(f"{name} is {limits}, expected a lower and an upper limit")
    for name, path in paths.items():
        if path.ndim != 2 or path.shape[1] != 2:
            raise ValueError(f"path {name!r} has shape {path.shape}, expected (steps, 2)")
    grid = np.meshgrid(np.linspace(*xlim, 201), np.linspace(*ylim, 201))
    heights = np.asarray(f(*grid), float)
    _check_finite(heights, "f")
    ax = _axes(ax)
    levels = np.unique(np.quantile(heights, np.linspace(0, 1, 17)[1:-1]))
    ax.contour(*grid, heights, levels, colors="0.8", linewidths=0.8)
    for i, (name, path) in enumerate(paths.items()):
        look = {"color": COLORS[i % len(COLORS)], "linestyle": STYLES[i // len(COLORS) % len(STYLES)]}
        ax.plot(*path.T, marker=".", markersize=3, linewidth=1.2, label=name, **look)
    if minimum is not None:
        ax.plot(*minimum, "*", color="black", markersize=10, linestyle="none", label="minimum")
    ax.set(xlim=xlim, ylim=ylim)
    return _finish(ax, "x", "y", legend="upper right")


def gradient_norms(norms, *, x=None, xlabel="time step", ax=None):
    """Draw the norms of gradients through time, on a logarithmic axis: straight lines vanish or explode exponentially.

    Parameters
    ----------
    norms : dict from name to array_like (T,), or one array_like
    x : array_like, optional
        Of the points; by default 1, 2, ...
    xlabel : str
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Examples
    --------
    >>> ax = gradient_norms({"shrinking": 0.5 ** np.arange(4)})
    >>> ax.lines[0].get_ydata().tolist()
    [1.0, 0.5, 0.25, 0.125]
    """
    curves = _curves(norms, x)
    least = min((y.min() for _, y in curves.values() if len(y)), default=0)
    if least < 0:
        raise ValueError(f"norms hold {least}, expected numbers of at least 0")
    ax = _lines(_axes(ax), curves)
    if any((y > 0).any() for _, y in curves.values()):  # else there is nothing that a logarithmic axis could show
        ax.set_yscale("log")
    return _finish(ax, xlabel, "norm of the gradient", legend="best" if any(curves) else None)


def confusion_matrix(targets, predictions, labels=None, *, ax=None):
    """Draw how many examples of each class (rows) were taken for which (columns).

    Parameters
    ----------
    targets, predictions : array_like of int (n,)
    labels : sequence of str, optional
        Of the classes; by default their numbers up to the largest.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
        The colour of a cell is its share of the row, so that rare classes are seen too; its number is the count.

    Examples
    --------
    >>> ax = confusion_matrix([0, 0, 1, 1, 1], [0, 1, 1, 1, 0], ["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]
    ['1', '1', '1', '2']
    """
    targets, predictions = np.ravel(targets), np.ravel(predictions)
    for name, array in ("targets", targets), ("predictions", predictions):
        if array.dtype.kind not in "iu" or array.size == 0 or array.min() < 0:
            raise ValueError(f"{name} has dtype {array.dtype} and {array.size} elements, expected classes from 0 up")
    if len(targets) != len(predictions):
        raise ValueError(f"predictions has {len(predictions)} elements, expected {len(targets)}, one for each target")
    n = 1 + int(max(targets.max(), predictions.max()))
    if labels is None:
        labels = range(n)
    elif len(labels) < n:
        raise ValueError(f"labels has {len(labels)} elements, expected at least {n}")
    labels = [str(label) for label in labels]
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (targets, predictions), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    ax = _heat_map(_axes(ax), shares, labels, labels, "share of the row", top=1.0)
    if len(labels) <= 15:
        for row, column in np.ndindex(counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, str(counts[row, column]), color=color, ha="center", va="center", fontsize="small")
    return _finish(ax, "predicted class", "true class", plain=False)


def attention(weights, source, target, *, ax=None):
    """Draw what each token of the target (rows) looked at in the source (columns).

    Parameters
    ----------
    weights : array_like (len(target), len(source))
    source, target : sequence of str
        In any script for which there is a font.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Examples
    --------
    >>> ax = attention([[0.9, 0.1], [0.2, 0.8]], ["good", "day"], ["bon", "jour"])
    >>> ax.images[0].get_array().data.tolist()
    [[0.9, 0.1], [0.2, 0.8]]
    """
    weights = np.asarray(weights, float)
    if weights.shape != (len(target), len(source)):
        expected = f"({len(target)}, {len(source)}), (target, source)"
        raise ValueError(f"weights has shape {weights.shape}, expected {expected}")
    _check_finite(weights, "weights")
    ax = _heat_map(_axes(ax), weights, target, source, "attention weight", top=None)
    ax.xaxis.set_label_position("top")
    ax.xaxis.tick_top()
    return _finish(ax, "source", "target", plain=False)


def word_map(vectors, words, *, ax=None):
    """Draw words where the first two principal components of their vectors are.

    Parameters
    ----------
    vectors : array_like (n, dim)
    words : sequence of str
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
        Its labels tell how much of the variance each component holds.

    Examples
    --------
    >>> ax = word_map([[3, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]], ["north", "south", "east", "west"])
    >>> ax.get_xlabel()
    'first principal component (90 % of the variance)'
    """
    vectors = np.asarray(vectors, float)
    if vectors.ndim != 2 or len(vectors) != len(words) or min(vectors.shape, default=0) < 2:
        raise ValueError(f"vectors has shape {vectors.shape}, expected ({len(words)}, dim), both at least 2")
    _check_finite(vectors, "vectors")
    centred = vectors - vectors.mean(axis=0)
    u, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    points = u[:, :2] * lengths[:2]
    ax = _axes(ax)
    ax.scatter(*points.T, s=12, color=COLORS[0])
    for word, point in zip(words, points, strict=True):
        ax.annotate(word, point, (3, 3), textcoords="offset points", fontsize="small", **_font([word]))
    ax.margins(0.1)
    first, second = (100 * lengths**2 / max(sum(lengths**2), 1e-300))[:2]
    names = f"first principal component ({first:.0f} % of the variance)", f"second ({second:.0f} %)"
    return _finish(ax, *names)


# ---- what they share ----------------------------------------------------------------------------------------


def _axes(ax):
    """Return ax, or the Axes of a new figure."""
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError:
        message = "fastnn.plot needs matplotlib, which is not installed: pip install 'fastnn-core[plot]'"
        raise ImportError(message) from None
    return Figure(layout="constrained").add_subplot()


def _check_some(collection, name):
    """Raise ValueError if there is nothing to draw."""
    if not len(collection):
        raise ValueError(f"{name} is {collection!r}, expected at least one")


def _check_finite(array, name):
    """Raise ValueError unless an array holds numbers, all of them finite."""
    if not array.size:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one number")
    finite = np.isfinite(array)
    if not finite.all():
        at = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} holds {array[at]} at {at}, expected finite numbers")


def _finish(ax, xlabel, ylabel, *, legend=None, columns=1, plain=True):
    """Label the axes, draw a grid instead of a frame (`plain`), and a legend if it says where."""
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if plain:
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(loc=legend, ncols=columns, framealpha=0.8, edgecolor="none")
    return ax


def _curves(curves, x):
    """Return a dict from name to (x, y), without the points where y is NaN or None."""
    curves = curves if isinstance(curves, Mapping) else {"": curves}
    _check_some(curves, "curves")
    found = {}
    for name, values in curves.items():
        values = np.array(values, float)
        at = np.arange(1, values.size + 1) if x is None else np.asarray(x)
        if values.ndim != 1 or at.shape != values.shape or not values.size:
            of_x = "" if x is None else f", and x {at.shape}"
            raise ValueError(f"curve {name!r} has shape {values.shape}{of_x}, expected (n,) with at least one number")
        measured = ~np.isnan(values)
        found[name] = at[measured], values[measured]
    return found


def _lines(ax, curves):
    """Draw lines by name; points too where they are few. Whole numbers along x have whole numbers as ticks."""
    if all(x.dtype.kind in "iu" for x, _ in curves.values()):
        ax.xaxis.get_major_locator().set_params(integer=True)
    for i, (name, (x, y)) in enumerate(curves.items()):
        look = {"color": COLORS[i % len(COLORS)], "linestyle": STYLES[i // len(COLORS) % len(STYLES)]}
        ax.plot(x, y, marker="." if len(x) <= 40 else None, label=name or None, **look)
    return ax


def _heat_map(ax, values, rows, columns, label, *, top):
    """Draw a matrix with the names of its rows and columns, and what its colours mean."""
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=top)
    ax.set_yticks(np.arange(len(rows)), rows, **_font(rows))
    slant = {"rotation": 90} if max(map(len, columns), default=0) > 3 else {}
    ax.set_xticks(np.arange(len(columns)), columns, **slant, **_font(columns))
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def _font(texts):
    """Return the keyword that names fonts in which these texts can be read."""
    if max(map(max, filter(None, texts)), default="") < "\u2e80":
        return {}
    from matplotlib import font_manager, rcParams

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {"fontfamily": [*rcParams["font.family"], *(name for name in CJK if name in installed)]}
