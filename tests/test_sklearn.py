"""The estimators beside scikit-learn's: its own checks, equal fits, and the ways in which they are used."""

import inspect
import io
import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

import joblib
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastnn
from fastnn import nn, sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:400] / 16, Y[:400]
LABELS = np.stack([Y % 2, Y % 3 == 0, Y > 5], axis=1).astype(int)
WEIGHT = np.random.default_rng(0).random(len(X))
SHORT = {"hidden_layer_sizes": (16,), "batch_size": 64, "max_iter": 6, "random_state": 3}


@pytest.mark.filterwarnings("default")
@parametrize_with_checks([sklearn.MLPClassifier(), sklearn.MLPRegressor()])
def test_conventions(estimator, check):
    check(estimator)


# --- the same as scikit-learn ----------------------------------------------------------------------------------------

OPTIONS = {
    "defaults": {},
    "two layers": {"hidden_layer_sizes": (12, 8), "activation": "tanh"},
    "logistic": {"activation": "logistic"},
    "no hidden layer": {"hidden_layer_sizes": (), "activation": "identity"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 1, "tol": 0.01},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.05, "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.1, "verbose": True},
    "plain sgd": {"solver": "sgd", "momentum": 0, "shuffle": False},
    "lbfgs": {"solver": "lbfgs"},
}
TARGETS = {
    "classes": ("MLPClassifier", np.array(list("abcdefghij"))[Y], {}),
    "two classes": ("MLPClassifier", Y > 4, {}),
    "labels": ("MLPClassifier", LABELS, {}),
    "one output": ("MLPRegressor", Y / 10, {}),
    "outputs": ("MLPRegressor", LABELS + X[:, 20:23], {}),
    "poisson": ("MLPRegressor", Y, {"loss": "poisson"}),
}


def both(name, options, *data, **keywords):
    """Return the two estimators, ours first, fitted to the same."""
    fitted = [getattr(module, name)(**SHORT | options) for module in (sklearn, theirs)]
    return [estimator.fit(*data, **keywords) for estimator in fitted]


def assert_same(ours, other, tolerance):
    """Assert that two fits ended with the same weights, in the same way."""
    for got, want in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())
    for name in ("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_"):
        if getattr(other, name, None) is None:
            assert getattr(ours, name, None) is None
        else:
            np.testing.assert_allclose(getattr(ours, name), getattr(other, name), rtol=10 * tolerance, atol=1e-9)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(other, name)


def several(*options):
    """Return the pairs of targets and options to cross: all targets with the first option, all options with two."""
    return [(target, options[0]) for target in TARGETS] + [
        (target, option) for option in options[1:] for target in ("classes", "outputs")
    ]


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(("target", "option"), several(*OPTIONS))
def test_fits_are_scikit_learns(target, option, weighted, capsys):
    name, y, more = TARGETS[target]
    options = OPTIONS[option] | more
    if weighted and "sample_weight" not in inspect.signature(theirs.MLPClassifier.fit).parameters:
        pytest.skip("this scikit-learn's take no sample_weight")
    with np.errstate(all="raise"):
        ours = getattr(sklearn, name)(**SHORT | options).fit(X, y, **{"sample_weight": WEIGHT} if weighted else {})
    told = capsys.readouterr().out
    other = getattr(theirs, name)(**SHORT | options).fit(X, y, **{"sample_weight": WEIGHT} if weighted else {})
    assert told == capsys.readouterr().out
    assert_same(ours, other, 1e-8)
    np.testing.assert_allclose(
        ours.predict(X) if name == "MLPRegressor" else ours.predict_proba(X),
        other.predict(X) if name == "MLPRegressor" else other.predict_proba(X),
        atol=1e-7,
    )
    if name == "MLPClassifier":
        np.testing.assert_array_equal(ours.classes_, other.classes_)
        np.testing.assert_array_equal(ours.predict(X), other.predict(X))
        np.testing.assert_allclose(ours.predict_log_proba(X), np.log(ours.predict_proba(X)), atol=1e-9)


def test_warm_start_and_partial_fit_are_scikit_learns():
    for name, y in (("MLPClassifier", Y), ("MLPRegressor", Y / 10)):
        ours, other = both(name, {"warm_start": True, "max_iter": 2}, X, y)
        assert_same(ours.fit(X, y), other.fit(X, y), 1e-8)
        assert len(ours.loss_curve_) == 4
        ours, other = (getattr(module, name)(**SHORT) for module in (sklearn, theirs))
        for part in (slice(0, 200), slice(200, 400), slice(0, 50)):
            classes = {"classes": np.arange(10)} if name == "MLPClassifier" else {}
            with warnings.catch_warnings():  # of scikit-learn's: the last part is less than a batch
                warnings.simplefilter("ignore", UserWarning)
                assert_same(*(e.partial_fit(X[part], y[part], **classes) for e in (ours, other)), 1e-8)


@pytest.mark.parametrize("going_on", ["fit", "partial_fit"])
def test_going_on_with_other_parameters(going_on):
    changed = {"activation": "tanh", "alpha": 0.1}
    ours, other = (module.MLPClassifier(**SHORT | {"warm_start": True}).fit(X, Y) for module in (sklearn, theirs))
    assert_same(*(getattr(e.set_params(**changed), going_on)(X, Y) for e in (ours, other)), 1e-8)
    fitted = ours.predict_proba(X)
    network = fastnn.from_sklearn(ours.set_params(activation="relu"))  # without fitting it again
    np.testing.assert_allclose(network(X), fitted, atol=1e-12)
    getattr(ours.set_params(dropout=0.5), going_on)(X, Y)
    assert [type(layer).__name__ for layer in ours.network_] == ["Linear", "Activation", "Dropout", "Linear"]
    assert ours.network_[1].name == "relu"
    before = ours.coefs_[0].copy()
    with pytest.raises(ValueError, match=r"hidden_layer_sizes is \(9, 9\), expected \[16\] as before"):
        getattr(ours.set_params(hidden_layer_sizes=(9, 9)), going_on)(X, Y)
    np.testing.assert_array_equal(ours.coefs_[0], before)


def test_one_weight_for_all_samples():
    for weight in (2.0, 2, np.float32(2)):
        assert_same(*(module.MLPClassifier(**SHORT).fit(X, Y, weight) for module in (sklearn, theirs)), 1e-8)


def test_parameters_are_scikit_learns():
    for name in ("MLPClassifier", "MLPRegressor"):
        ours, other = (inspect.signature(getattr(module, name)).parameters for module in (sklearn, theirs))
        assert {key: ours[key] for key in other}.items() <= ours.items()
        assert [ours[key] for key in other] == list(other.values()) or "loss" not in other
        assert ours.keys() - other.keys() <= {"dropout", "loss"}


# --- what scikit-learn's lack ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", sklearn.ACTIVATIONS)
def test_every_activation(activation):
    fitted = sklearn.MLPClassifier((32,), activation, max_iter=60, learning_rate_init=0.01, random_state=0).fit(X, Y)
    assert fitted.score(X, Y) > 0.9
    network = fastnn.from_sklearn(fitted)
    np.testing.assert_allclose(network(X), fitted.predict_proba(X), atol=1e-12)


def test_dropout():
    plain, dropped, again, other = (
        sklearn.MLPClassifier(**SHORT | {"dropout": p, "random_state": seed}).fit(X, Y)
        for p, seed in ((0, 1), (0.5, 1), (0.5, 1), (0.5, 2))
    )
    assert dropped.loss_ > plain.loss_
    np.testing.assert_array_equal(dropped.coefs_[0], again.coefs_[0])
    assert (dropped.coefs_[0] != other.coefs_[0]).any()
    np.testing.assert_array_equal(dropped.predict_proba(X), dropped.predict_proba(X))
    assert [type(layer).__name__ for layer in dropped.network_] == ["Linear", "Activation", "Dropout", "Linear"]
    assert "Dropout" not in repr(fastnn.from_sklearn(dropped))


def test_adamw_decays_the_coefficients_alone():
    """At a gradient of nearly 0 a step multiplies them by 1 - rate * alpha."""
    options = {"solver": "adamw", "alpha": 0.5, "learning_rate_init": 0.1, "max_iter": 1, "epsilon": 1e12}
    fitted = sklearn.MLPRegressor(**SHORT | options).fit(X, Y / 10)
    start = sklearn.MLPRegressor(**SHORT | options | {"alpha": 0.0}).fit(X, Y / 10)
    for got, want in zip(fitted.coefs_, start.coefs_, strict=True):
        np.testing.assert_allclose(got, want * 0.95**7, rtol=1e-6)
    for got, want in zip(fitted.intercepts_, start.intercepts_, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    plain = sklearn.MLPClassifier(**SHORT | {"alpha": 0.0}).fit(X, Y)
    np.testing.assert_allclose(
        sklearn.MLPClassifier(**SHORT | {"alpha": 0.0, "solver": "adamw"}).fit(X, Y).coefs_[0], plain.coefs_[0]
    )


def test_log_probabilities_of_the_impossible_are_finite():
    fitted = sklearn.MLPClassifier((), "identity", max_iter=1, random_state=0).fit(X, Y > 4)
    with np.errstate(all="raise"):
        low, high = fitted.predict_log_proba(1e4 * X[:1] * np.sign(fitted.coefs_[0].T))[0]
    assert low < -100
    assert high == 0


# --- dtypes and inputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays(solver, dtype):
    x = X.astype(dtype)
    fitted = sklearn.MLPClassifier(**SHORT | {"solver": solver}).fit(x, Y)
    assert {a.dtype for a in fitted.coefs_ + fitted.intercepts_} == {np.dtype(dtype)}
    assert fitted.predict_proba(x).dtype == fitted.predict_log_proba(x).dtype == dtype
    regression = sklearn.MLPRegressor(**SHORT | {"solver": solver, "learning_rate_init": 1e-4}).fit(x, Y)
    assert regression.predict(x).dtype == dtype
    if dtype == np.float32:
        other = theirs.MLPClassifier(**SHORT | {"solver": solver.replace("adamw", "adam"), "alpha": 1e-9}).fit(x, Y)
        if solver in ("adam", "sgd"):
            ours = sklearn.MLPClassifier(**SHORT | {"solver": solver, "alpha": 1e-9}).fit(x, Y)
            assert_same(ours, other, 1e-5)


def test_sparse_samples():
    x = np.where(X > 0.5, X, 0)
    for name, y in (("MLPClassifier", Y), ("MLPRegressor", Y / 10)):
        dense = getattr(sklearn, name)(**SHORT | {"early_stopping": True}).fit(x, y)
        for form in (sparse.csr_array(x), sparse.csc_matrix(x)):
            fitted = getattr(sklearn, name)(**SHORT | {"early_stopping": True}).fit(form, y)
            assert_same(fitted, dense, 1e-12)
            np.testing.assert_array_equal(fitted.predict(form), dense.predict(x))
        getattr(sklearn, name)(**SHORT | {"solver": "lbfgs"}).fit(form, y)
    fitted = sklearn.MLPClassifier(**SHORT).fit(x, sparse.csr_array(LABELS))
    assert sparse.issparse(fitted.predict(x))


def test_predictions_see_what_validation_would():
    """The short way for plain arrays of floats lets nothing through."""
    fitted = sklearn.MLPClassifier(**SHORT | {"activation": "tanh"}).fit(X, Y)
    for value in (np.nan, np.inf, -np.inf):
        bad = X[:2].copy()
        bad[1, 7] = value
        with np.errstate(all="raise"), pytest.raises(ValueError, match=r"NaN|infinity"):
            fitted.predict_proba(bad)
    with pytest.raises(ValueError, match="63 features"):
        fitted.predict(X[:, :63])
    with pytest.raises(ValueError, match="1D array"):
        fitted.predict(X[0])
    with pytest.raises(ValueError, match="0 sample"):
        fitted.predict(X[:0])
    want = fitted.predict_proba(X[:50])
    big = np.full((1, 64), 1e200)
    assert np.isfinite(fitted.predict_proba(big)).all()  # the sum of its squares is not
    for same in (X[:50].tolist(), np.asfortranarray(X[:50]), X[:50].astype(">f8"), np.ma.array(X[:50])):
        np.testing.assert_allclose(fitted.predict_proba(same), want, atol=1e-14)
    with pytest.raises(NotFittedError):
        sklearn.MLPClassifier().predict(X)


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    fitted = sklearn.MLPClassifier(**SHORT).fit(frame, Y)
    assert list(fitted.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(fitted.predict(frame), sklearn.MLPClassifier(**SHORT).fit(X, Y).predict(X))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation", "sine"),
        ("solver", "newton"),
        ("alpha", -1),
        ("batch_size", 0),
        ("batch_size", "all"),
        ("learning_rate_init", 0),
        ("max_iter", 1.5),
        ("shuffle", 1),
        ("momentum", 1.5),
        ("validation_fraction", 1.0),
        ("beta_2", 1),
        ("n_iter_no_change", 0.5),
        ("dropout", 1),
        ("hidden_layer_sizes", (3, 0)),
        ("hidden_layer_sizes", "16"),
    ],
)
def test_parameters_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*expected"):
        sklearn.MLPClassifier(**{name: value}).fit(X, Y)


def test_errors():
    fitted = sklearn.MLPClassifier(**SHORT).fit(X, Y)
    with pytest.raises(ValueError, match="sample_weight has shape"):
        fitted.fit(X, Y, sample_weight=WEIGHT[:9])
    with pytest.raises(ValueError, match="sample_weight is zero"):
        fitted.fit(X, Y, sample_weight=0 * WEIGHT)
    with pytest.raises(ValueError, match="classes must be passed"):
        sklearn.MLPClassifier(**SHORT).partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"expected .* as on the first call"):
        fitted.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="has the classes"):
        fitted.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match="same classes"):
        sklearn.MLPClassifier(**SHORT | {"warm_start": True}).fit(X, Y).fit(X, Y % 3)
    with pytest.raises(ValueError, match="early_stopping"):
        sklearn.MLPClassifier(early_stopping=True).partial_fit(X, Y, classes=range(10))
    with pytest.raises(ValueError, match="validation set is too small"):
        sklearn.MLPRegressor(early_stopping=True).fit(X[:5], Y[:5])
    with pytest.raises(ValueError, match="y has 3 outputs, expected 1"):
        sklearn.MLPRegressor(**SHORT).partial_fit(X, Y / 10).partial_fit(X, LABELS)
    with pytest.raises(ValueError, match="no number below 0"):
        sklearn.MLPRegressor("poisson", **SHORT).fit(X, Y - 5)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        sklearn.MLPRegressor(**SHORT | {"solver": "sgd", "activation": "identity", "max_iter": 100}).fit(1e3 * X, Y)
    with pytest.warns(UserWarning, match="batch_size is 500"):
        sklearn.MLPClassifier(**SHORT | {"batch_size": 500}).fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        fitted.fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        sklearn.MLPClassifier(**SHORT | {"solver": "lbfgs"}).fit(X, Y)
    with pytest.raises(AttributeError, match="partial_fit"):
        sklearn.MLPClassifier(solver="lbfgs").partial_fit  # noqa: B018


def test_batches_without_weight_teach_nothing():
    weight = np.where(np.arange(len(X)) < 100, 1.0, 0.0)
    options = SHORT | {"shuffle": False, "alpha": 0.0, "solver": "sgd", "momentum": 0, "batch_size": 100}
    weighted = sklearn.MLPClassifier(**options).fit(X, Y, sample_weight=weight)
    alone = sklearn.MLPClassifier(**options).fit(X[:100], Y[:100])
    np.testing.assert_allclose(weighted.coefs_[0], alone.coefs_[0], atol=1e-12)


def test_an_interrupted_fit_keeps_what_it_learned(monkeypatch):
    steps = []

    def step(self, *batch):
        steps.append(1)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return original(self, *batch)

    original = sklearn.MLPClassifier._step
    monkeypatch.setattr(sklearn.MLPClassifier, "_step", step)
    with pytest.warns(UserWarning, match="interrupted"):
        fitted = sklearn.MLPClassifier(**SHORT).fit(X, Y)
    assert fitted.n_iter_ == 1
    assert fitted.predict(X).shape == Y.shape


# --- in scikit-learn's company ---------------------------------------------------------------------------------------


def test_pipelines_searches_and_clones():
    pipeline = make_pipeline(StandardScaler(), sklearn.MLPClassifier(**SHORT, learning_rate_init=0.01))
    grid = {"mlpclassifier__activation": ["relu", "gelu"], "mlpclassifier__dropout": [0.0, 0.2]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    assert search.best_score_ > 0.6
    assert search.best_estimator_[-1].activation == search.best_params_["mlpclassifier__activation"]
    copy = clone(search.best_estimator_[-1])
    assert copy.get_params() == search.best_estimator_[-1].get_params()
    assert not hasattr(copy, "coefs_")
    assert not hasattr(copy, "network_")


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_pickles_go_on_where_they_were(name):
    y = Y if name == "MLPClassifier" else Y / 10
    fitted = getattr(sklearn, name)(**SHORT | {"dropout": 0.1}).fit(X, y)
    file = io.BytesIO()
    joblib.dump(fitted, file)
    file.seek(0)
    for copy in (joblib.load(file), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(copy.predict(X), fitted.predict(X))
        copy.coefs_[0][...] = 0  # a view of its own network's
        assert not copy.network_[0].weight.value.any()
    file.seek(0)
    copy = joblib.load(file)
    np.testing.assert_array_equal(copy.partial_fit(X, y).coefs_[0], fitted.partial_fit(X, y).coefs_[0])


# --- from_sklearn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [theirs, sklearn], ids=["scikit-learn's", "ours"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", TARGETS)
def test_from_sklearn(target, dtype, module, tmp_path):
    name, y, options = TARGETS[target]
    x = X.astype(dtype)
    fitted = getattr(module, name)(**SHORT | {"hidden_layer_sizes": (12, 8), "activation": "tanh"} | options).fit(x, y)
    network = fastnn.from_sklearn(fitted)
    got = network(x)
    assert got.dtype == dtype
    if name == "MLPRegressor":
        want = fitted.predict(x).reshape(got.shape)
    else:
        want = fitted.predict_proba(x)[:, -got.shape[1] :]
    np.testing.assert_allclose(got, want, atol=1e-6, rtol=1e-6)
    network.save(tmp_path / "network.safetensors")
    np.testing.assert_array_equal(fastnn.load(tmp_path / "network.safetensors")(x), got)
    network[0].weight.value[...] = 0
    assert fitted.coefs_[0].any()


def test_logits_of_a_network_train_on():
    fitted = theirs.MLPClassifier(**SHORT).fit(X, Y)
    network = fastnn.from_sklearn(fitted)
    logits, back = network[:-1].vjp(X, need_dx=False)
    np.testing.assert_allclose(fastnn.softmax(logits), fitted.predict_proba(X), atol=1e-12)
    assert back(fastnn.softmax_cross_entropy(logits, Y)[1]) is None
    assert network[0].weight.grad.shape == (16, 64)


def test_from_sklearn_refuses_others():
    with pytest.raises(NotFittedError):
        fastnn.from_sklearn(theirs.MLPClassifier())
    for other in (LogisticRegression(), nn.Linear(2, 2), None):
        with pytest.raises(TypeError, match="expected an MLPClassifier or an MLPRegressor"):
            fastnn.from_sklearn(other)
