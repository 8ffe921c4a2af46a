"""Fits and predictions of `fastnn.sklearn` beside scikit-learn's (`--peers`), and small networks beside tuned NumPy.

A fit has scikit-learn's settings, samples and initial weights; both accuracies on held-out samples are kept with the
times, and may differ by a hundredth. Fashion-MNIST is Debian's package dataset-fashion-mnist; without it that row is
left out.
"""

import gzip
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import neural_network as theirs
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastnn
from fastnn import bench, nn, optim
from fastnn import sklearn as ours

FASHION = Path("/usr/share/datasets/fashion-mnist")
FITS = {"digits": {"max_iter": 60}, "fashion-mnist": {"max_iter": 5}}
HIDDEN = 100
ROWS = [
    *(
        bench.Row("sklearn", "fit", dtype, data, "fitted = M(random_state=0, **options).fit(X, y)", "", dict)
        for data in FITS
        for dtype in ("float32", "float64")
    ),
    *(
        bench.Row(
            "sklearn", "predict_proba", dtype, size, "probabilities = fitted.predict_proba(X)", "probabilities", dict
        )
        for size in ("1x64", "1000x64")
        for dtype in ("float32", "float64")
    ),
    bench.Row("sklearn", "training_step", "float32", "32x64-32-10", "loss = step()", "loss", dict),
    *(
        bench.Row("sklearn", "linear", dtype, "500x300-5", "y = layer(x)", "y", dict)
        for dtype in ("float32", "float64")
    ),
]
ROWS = [row._replace(large=row.size == "fashion-mnist") for row in ROWS]


def read(data, dtype):
    """Return samples and labels to fit, and those held out."""
    if data == "digits":
        X, y = load_digits(return_X_y=True)
        X, held_out, y, labels = train_test_split(X / 16, y, test_size=500, random_state=0, stratify=y)
        return X.astype(dtype), y, held_out.astype(dtype), labels
    if not FASHION.exists():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    parts = []
    for part in ("train", "t10k"):
        files = [next(FASHION.glob(f"{part}-{kind}*")) for kind in ("images", "labels")]
        images, labels = (gzip.decompress(file.read_bytes()) for file in files)
        parts += [np.frombuffer(images, "u1", offset=16).reshape(-1, 784) / np.array(255, dtype)]
        parts += [np.frombuffer(labels, "u1", offset=8)]
    return parts


def fits(row, peers):
    X, y, held_out, labels = read(row.size, row.dtype)
    modules = {"fastnn": ours, "scikit-learn": theirs} if peers else {"fastnn": ours}
    given = {"X": X, "y": y, "options": FITS[row.size], "held_out": (held_out, labels)}
    forms = {label: [(row.statement, given | {"M": module.MLPClassifier})] for label, module in modules.items()}
    weights = HIDDEN * (X.shape[1] + 10)  # their products forward and back, and that with the last layer's turned over
    return forms, FITS[row.size]["max_iter"] * len(X) * (2 * weights + 10 * HIDDEN)


def predictions(row, peers):
    X, y, _, _ = read("digits", row.dtype)
    options = {"random_state": 0, "max_iter": 3}
    fitted, other = (module.MLPClassifier(**options).fit(X, y) for module in (ours, theirs))
    X = X[: int(row.size.partition("x")[0])]
    (w1, b1), (w2, b2) = zip(fitted.coefs_, fitted.intercepts_, strict=True)
    w1, w2 = np.ascontiguousarray(w1), np.ascontiguousarray(w2)
    hidden, out = np.empty((len(X), len(b1)), X.dtype), np.empty((len(X), len(b2)), X.dtype)

    def call():
        np.matmul(X, w1, out=hidden)
        np.add(hidden, b1, out=hidden)
        np.maximum(hidden, 0, out=hidden)
        np.matmul(hidden, w2, out=out)
        np.add(out, b2, out=out)
        np.subtract(out, out.max(axis=1, keepdims=True), out=out)
        np.exp(out, out=out)
        return np.divide(out, out.sum(axis=1, keepdims=True), out=out)

    forms = {
        "fastnn": [(row.statement, {"fitted": fitted, "X": X})],
        "tuned": [("probabilities = call()", {"call": call})],
    }
    if peers:
        forms["scikit-learn"] = [(row.statement, {"fitted": other, "X": X})]
    return forms, X.size * HIDDEN + len(X) * HIDDEN * 10


def training_steps(row, peers):
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((32, 64), "f"), rng.integers(0, 10, 32)
    net = nn.Sequential(nn.Linear(64, 32, rng=0), nn.Activation("relu"), nn.Linear(32, 10, rng=1))
    weights = net.state_dict()
    optimizer = optim.Adam(net.parameters())

    def step():
        logits, back = net.vjp(x)
        loss, gradient = fastnn.softmax_cross_entropy(logits, target)
        optimizer.zero_grad()
        back(gradient)
        optimizer.step()
        return loss

    forms = {
        "fastnn": [(row.statement, {"step": step})],
        "tuned": [(row.statement, {"step": numpy_step(x, target, weights)})],
    }
    if peers:
        forms["torch"] = [(row.statement, {"step": torch_step(x, target, weights)})]
    return forms, 3 * 32 * (64 * 32 + 32 * 10)


def numpy_step(x, target, weights):
    """Return the step in NumPy, its arrays made beforehand but for small ones that `out` would not make faster."""
    w1, b1, w2, b2 = parameters = [np.ascontiguousarray(value.T) for value in weights.values()]
    means, squares, scratch, other = ([np.zeros_like(p) for p in parameters] for _ in range(4))
    gradients = [np.empty_like(p) for p in parameters]
    hidden, dhidden, logits = np.empty((32, 32), "f"), np.empty((32, 32), "f"), np.empty((32, 10), "f")
    rows, steps = np.arange(32), iter(range(1, 1 << 60))

    def step():
        np.matmul(x, w1, out=hidden)
        np.add(hidden, b1, out=hidden)
        np.maximum(hidden, 0, out=hidden)
        np.matmul(hidden, w2, out=logits)
        np.add(logits, b2, out=logits)
        np.subtract(logits, logits.max(1, keepdims=True), out=logits)
        at_target = logits[rows, target]
        np.exp(logits, out=logits)
        total = logits.sum(1, keepdims=True)
        loss = (np.log(total[:, 0]) - at_target).mean()
        np.divide(logits, total, out=logits)
        logits[rows, target] -= 1
        np.multiply(logits, np.float32(1 / 32), out=logits)
        np.matmul(hidden.T, logits, out=gradients[2])
        np.add.reduce(logits, 0, out=gradients[3])
        np.matmul(logits, w2.T, out=dhidden)
        np.multiply(dhidden, hidden > 0, out=dhidden)
        np.matmul(x.T, dhidden, out=gradients[0])
        np.add.reduce(dhidden, 0, out=gradients[1])
        t = next(steps)
        root = (1 - 0.999**t) ** 0.5
        rate, eps = 0.001 * root / (1 - 0.9**t), 1e-8 * root
        for p, g, m, v, a, b in zip(parameters, gradients, means, squares, scratch, other, strict=True):
            np.multiply(m, 0.9, out=m)
            np.multiply(g, 0.1, out=a)
            np.add(m, a, out=m)
            np.multiply(v, 0.999, out=v)
            np.multiply(g, g, out=a)
            np.multiply(a, 0.001, out=a)
            np.add(v, a, out=v)
            np.sqrt(v, out=a)
            np.add(a, eps, out=a)
            np.divide(m, a, out=b)
            np.multiply(b, rate, out=b)
            np.subtract(p, b, out=p)
        return loss

    return step


def torch_step(x, target, weights):
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    net.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    x, target = torch.from_numpy(x), torch.from_numpy(target)

    def step():
        loss = torch.nn.functional.cross_entropy(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach().numpy()

    return step


def products(row, peers):
    rng = np.random.default_rng(0)
    layer = nn.Linear(300, 5, dtype=row.dtype, rng=0)
    x, y = rng.random((500, 300)).astype(row.dtype), np.empty((500, 5), row.dtype)
    given = {"x": x, "layer": layer, "np": np, "out": y}
    given |= {"w": np.ascontiguousarray(layer.weight.value.T), "rows": layer.weight.value, "b": layer.bias.value}
    tuned = [f"y = np.matmul(x, {w}, out=out); y += b" for w in ("w", "rows.T")]
    return {"fastnn": [(row.statement, given)], "tuned": [(form, given) for form in tuned]}, x.size * 5


KINDS = {"fit": fits, "predict_proba": predictions, "training_step": training_steps, "linear": products}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("row", ROWS, ids=str)
def bench_estimator(race, row, request, benchmark):
    forms, multiply_adds = KINDS[row.name](row, request.config.getoption("peers"))
    race(row._replace(products=multiply_adds), {label: list(several) for label, several in forms.items()})
    if row.name == "fit":
        accuracies = {}
        for label, [(_, variables)] in forms.items():
            accuracies[label] = variables["fitted"].score(*variables["held_out"])
        benchmark.extra_info["held-out accuracy"] = accuracies
        assert max(accuracies.values()) - min(accuracies.values()) < 0.01
        assert min(accuracies.values()) > 0.8
