"""Multi-layer perceptrons for scikit-learn, made of fastnn's layers, losses and optimisers.

`MLPClassifier` and `MLPRegressor` take the place of scikit-learn's: the same parameters with the same meaning and
defaults, the same attributes, and with the same `random_state` the same initial weights, mini-batches and steps, so
that a fit differs from scikit-learn's by rounding alone. Only the time differs, and what else there is to choose: every
activation of fastnn, `dropout`, and the solver "adamw".
"""

import math
import warnings
from itertools import pairwise
from numbers import Integral, Real

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import check_array, check_random_state, column_or_1d, gen_batches
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import type_of_target, unique_labels
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f"fastnn.sklearn needs scikit-learn 1.6 or later ({error}): pip install 'fastnn-core[sklearn]'"
    ) from error

from fastnn import nn, optim
from fastnn._backend import functions as F

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]

STOCHASTIC = ("sgd", "adam", "adamw")
ACTIVATIONS = (
    "identity",
    "logistic",
    *(name for name in F.activations.__all__ if f"{name}_backward" in F.activations.__all__),
)
OUTPUTS = {"softmax": nn.Softmax, "logistic": lambda: nn.Activation("sigmoid"), "exp": nn.Exp}  # the layer of each


def _layer(coef, intercept):
    """Return a layer with weights as scikit-learn keeps them, one column a neuron."""
    return nn.Linear.from_state_dict({"weight": np.transpose(coef), "bias": intercept})


def _hidden(activation):
    """Return the layers of an activation by its name here, none for the identity."""
    return [] if activation == "identity" else [nn.Activation("sigmoid" if activation == "logistic" else activation)]


def _between(linear, make):
    """Return the layers with weights, and what `make()` returns between any two of them."""
    first, *others = linear
    return [first, *(layer for other in others for layer in (*make(), other))]


def from_sklearn(fitted):
    """Return a fitted multi-layer perceptron as a network of fastnn, which needs no scikit-learn any more.

    Parameters
    ----------
    fitted : MLPClassifier or MLPRegressor
        Of scikit-learn, or of this module.

    Returns
    -------
    network : fastnn.nn.Sequential
        Its outputs are what the estimator tells, to within rounding, in the dtype of its weights, which are copied:
        `predict_proba(X)` for several classes or labels; one column, the probability of `classes_[1]`, for two classes;
        `predict(X)` as columns for regression. Those probabilities come from the last layer, so `network[:-1]` gives
        the logits that losses take, to train on.

    Raises
    ------
    TypeError
        If it is another kind of object.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).standard_normal((100, 3)), np.arange(100) % 3
    >>> fitted = MLPClassifier((8,), tol=1.0, random_state=0).fit(X, y)
    >>> network = from_sklearn(fitted)
    >>> network
    Sequential(
      (0): Linear(in_features=3, out_features=8)
      (1): Activation('relu')
      (2): Linear(in_features=8, out_features=3)
      (3): Softmax()
    )
    >>> bool(abs(network(X) - fitted.predict_proba(X)).max() < 1e-6)
    True
    """
    if not isinstance(fitted, BaseEstimator) or not {"hidden_layer_sizes", "activation"} <= fitted.get_params().keys():
        raise TypeError(f"fitted is {fitted!r}, expected an MLPClassifier or an MLPRegressor")
    check_is_fitted(fitted, "coefs_")
    if isinstance(fitted, _Perceptron):  # what was fitted: parameters may have been set since
        network = fitted.network_.astype(fitted.network_[0].weight.value.dtype)
        layers = [layer for layer in network if not isinstance(layer, nn.Dropout)]
    else:
        linear = map(_layer, fitted.coefs_, fitted.intercepts_)
        layers = _between(linear, lambda: _hidden(fitted.activation))
    if fitted.out_activation_ != "identity":
        layers.append(OUTPUTS[fitted.out_activation_]())
    return nn.Sequential(*layers)


def _squares(parameters):
    """Return the sum of the squares of all numbers."""
    return F.clip_by_global_norm([parameter.value for parameter in parameters], math.inf) ** 2  # nothing is clipped


def _half_squared_error(prediction, target, *, reduction):
    """Return half the squared errors, as the mean over the outputs, and the gradient of their sum, as scikit-learn."""
    loss, gradient = F.mse_loss(prediction, target, reduction=reduction)
    gradient *= 0.5
    return loss * (0.5 / prediction.shape[1]), gradient


def _half_poisson_deviance(log_rate, target, *, reduction):
    """Return t log(t / r) - t + r, half of the deviance, for the rate r = e^log_rate, and the gradient."""
    with np.errstate(all="ignore"):
        rate = np.exp(log_rate)
        logs = np.log(np.where(target > 0, target, 1))
        loss = np.where(target > 0, target * (logs - log_rate) - target, 0) + rate
        return loss if reduction == "none" else float(loss.sum(dtype=np.float64)), rate - target


CRITERIA = {  # the loss of each output activation, as a function of what goes into that
    "softmax": F.softmax_cross_entropy,
    "logistic": F.sigmoid_cross_entropy,
    "identity": _half_squared_error,
    "exp": _half_poisson_deviance,
}


def _number(low, high=math.inf, kind=Real, *, above=False, below=False):
    """Return what fits a parameter, and its words; `above` and `below` leave out the limits themselves."""
    name = "an integer" if kind is Integral else "a number"
    words = f"{name} {'above' if above else 'from'} {low}"
    if high < math.inf:
        words += f" to {'below ' if below else ''}{high}"

    def fits(value):
        inside = isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
        return inside and (low < value if above else low <= value) and (value < high if below else value <= high)

    return fits, words


def _choice(*names):
    return (lambda value: isinstance(value, str) and value in names), f"one of {', '.join(map(repr, names))}"


_FLAG = (lambda value: isinstance(value, (bool, np.bool_))), "True or False"
_PARAMETERS = {
    "activation": _choice(*ACTIVATIONS),
    "solver": _choice("lbfgs", *STOCHASTIC),
    "alpha": _number(0),
    "batch_size": (lambda value: value == "auto" or _number(1, kind=Integral)[0](value), "'auto' or an integer from 1"),
    "learning_rate": _choice("constant", "invscaling", "adaptive"),
    "learning_rate_init": _number(0, above=True),
    "power_t": _number(0),
    "max_iter": _number(1, kind=Integral),
    "shuffle": _FLAG,
    "tol": _number(0),
    "verbose": (lambda value: isinstance(value, (bool, np.bool_, Integral)) and value >= 0, "True, False or a count"),
    "warm_start": _FLAG,
    "momentum": _number(0, 1),
    "nesterovs_momentum": _FLAG,
    "early_stopping": _FLAG,
    "validation_fraction": _number(0, 1, below=True),
    "beta_1": _number(0, 1, below=True),
    "beta_2": _number(0, 1, below=True),
    "epsilon": _number(0, above=True),
    "n_iter_no_change": (
        lambda value: value == math.inf or _number(1, kind=Integral)[0](value),
        "an integer from 1, or inf",
    ),
    "max_fun": _number(1, kind=Integral),
    "dropout": _number(0, 1, below=True),
    "loss": _choice("squared_error", "poisson"),
}


def _is_stochastic(estimator):
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(f"partial_fit needs one of the solvers {', '.join(STOCHASTIC)}, not {estimator.solver!r}")
    return True


class _Perceptron(BaseEstimator):
    """What the two estimators share."""

    def _keep(self, arguments):
        """Set the parameters that a constructor was given, its `locals()`."""
        vars(self).update((name, value) for name, value in arguments.items() if name not in ("self", "__class__"))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self):
        return "network_" in vars(self)

    # ---- the weights, as scikit-learn names them ------------------------------------------------------------------

    @property
    def _linear(self):
        """The layers that have weights."""
        if "network_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet, and has no weights")
        return [layer for layer in self.network_ if isinstance(layer, nn.Linear)]

    @property
    def coefs_(self):
        """The weights of each layer (n_in, n_out), views of those of `network_`."""
        return [layer.weight.value.T for layer in self._linear]

    @property
    def intercepts_(self):
        """The biases of each layer (n_out,), those of `network_` themselves."""
        return [layer.bias.value for layer in self._linear]

    @property
    def n_layers_(self):
        """The number of layers, input and output included."""
        return len(self._linear) + 1

    # ---- fit ------------------------------------------------------------------------------------------------------

    def _check_parameters(self):
        """Raise ValueError for a parameter that does not fit; return the sizes of the hidden layers."""
        for name, value in self.get_params(deep=False).items():
            fits, expected = _PARAMETERS.get(name, (lambda value: True, ""))
            if not fits(value):
                raise ValueError(f"{name} is {value!r}, expected {expected}")
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if np.iterable(sizes) and not isinstance(sizes, str) else [sizes]
        if not all(_number(1, kind=Integral)[0](size) for size in sizes):
            raise ValueError(f"hidden_layer_sizes is {self.hidden_layer_sizes!r}, expected integers, each from 1")
        return sizes

    @np.errstate(all="ignore")
    def _fit(self, X, y, sample_weight, incremental=False):
        hidden = self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        anew = not self.__sklearn_is_fitted__() or not (self.warm_start or incremental)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            order="C",
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            dtype=(np.float64, np.float32) if anew else self.network_[0].weight.value.dtype,
            reset=anew,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = self._targets(y, X.dtype, incremental)
        if sample_weight is not None:
            if isinstance(sample_weight, Real):
                sample_weight = np.full(X.shape[0], sample_weight)
            sample_weight = check_array(sample_weight, ensure_2d=False, dtype=X.dtype, input_name="sample_weight")
            if sample_weight.shape != X.shape[:1]:
                raise ValueError(f"sample_weight has shape {sample_weight.shape}, expected ({X.shape[0]},)")
            if not sample_weight.any():
                raise ValueError("sample_weight is zero for every sample, expected one at least that counts")
        random = self._random_state = check_random_state(self.random_state)
        if anew:
            self._begin([X.shape[1], *hidden, self.n_outputs_], X.dtype, random)
        else:
            self._go_on(hidden, random)
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, target, sample_weight)
        else:
            self._fit_stochastic(X, target, sample_weight, incremental, random)
        if not all(np.isfinite(parameter.value).all() for parameter in self.network_.parameters()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
                " preprocessed."
            )
        return self

    def _begin(self, sizes, dtype, random):
        """Make the network, and start to count."""
        linear, gain = [], 2 if self.activation in ("logistic", "sigmoid") else 6
        for fan_in, fan_out in pairwise(sizes):
            bound = math.sqrt(gain / (fan_in + fan_out))
            coef, intercept = (random.uniform(-bound, bound, shape) for shape in ((fan_in, fan_out), fan_out))
            linear.append(_layer(coef.astype(dtype), intercept.astype(dtype)))
        self._masks = None
        self._assemble(linear, random)
        self.n_iter_ = self.t_ = 0
        if self.solver in STOCHASTIC:
            self.loss_curve_ = []
            self._no_improvement_count = 0
            self.best_loss_, self.validation_scores_, self.best_validation_score_ = np.inf, None, None
            if self.early_stopping:
                self.best_loss_, self.validation_scores_, self.best_validation_score_ = None, [], -np.inf

    def _go_on(self, hidden, random):
        """Keep the weights, and take over the activation and the dropout that may have been set since."""
        *before, outputs = (layer.out_features for layer in self._linear)
        if hidden != before:
            raise ValueError(f"hidden_layer_sizes is {self.hidden_layer_sizes!r}, expected {before} as before")
        if self.n_outputs_ != outputs:
            raise ValueError(f"y has {self.n_outputs_} outputs, expected {outputs} as before")
        self._assemble(self._linear, random)

    def _assemble(self, linear, random):
        """Make the network of the layers with weights and of what stands between them."""
        if self.dropout and self._masks is None:
            self._masks = np.random.default_rng(random.randint(2**31))

        def make():
            return _hidden(self.activation) + ([nn.Dropout(self.dropout, rng=self._masks)] if self.dropout else [])

        self.network_ = nn.Sequential(*_between(linear, make))

    def _loss_and_gradient(self, output, target, weight):
        """Return the loss that `output` makes, the mean over the samples by weight, and its gradient."""
        criterion = CRITERIA[self.out_activation_]
        if weight is None:
            loss, gradient = criterion(output, target, reduction="sum")
            gradient *= 1 / len(output)
            return loss / len(output), gradient
        losses, gradient = criterion(output, target, reduction="none")
        total = weight.sum() or 1.0  # nothing counts of a batch without weight
        gradient *= (weight / total).reshape(-1, 1)
        return float(weight.dot(losses).sum() / total), gradient

    def _make_optimizer(self):
        groups = [{"params": [getattr(layer, name) for layer in self._linear]} for name in ("weight", "bias")]
        if self.solver == "sgd":
            nesterov = bool(self.nesterovs_momentum and self.momentum)
            return optim.SGD(groups, self.learning_rate_init, self.momentum, nesterov=nesterov)
        decay = {"decoupled_weight_decay": self.solver == "adamw", "betas": (self.beta_1, self.beta_2)}
        optimizer = optim.Adam(groups, self.learning_rate_init, **decay)
        optimizer.param_groups[0]["weight_decay"] = float(self.alpha)
        return optimizer

    def _fit_stochastic(self, X, target, weight, incremental, random):
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer, self._steps = self._make_optimizer(), 0
        held_out = None
        if self.early_stopping:
            stratify = target if isinstance(self, ClassifierMixin) and self.n_outputs_ == 1 else None
            arrays = [X, target] if weight is None else [X, target, weight]
            options = {"random_state": random, "test_size": self.validation_fraction, "stratify": stratify}
            parts = train_test_split(*arrays, **options)
            X, target, held_out = parts[0], parts[2], parts[1::2]
            weight = None if weight is None else parts[4]
            if held_out[0].shape[0] < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
        n = X.shape[0]
        size = min(200, n) if self.batch_size == "auto" else min(self.batch_size, n)
        if self.batch_size != "auto" and size < self.batch_size:
            warnings.warn(
                f"batch_size is {self.batch_size}, more than the {n} samples, all of which a batch takes then",
                stacklevel=4,
            )
        order = np.arange(n)
        best = self.network_.state_dict() if held_out else None
        try:
            self.n_iter_ = 0
            for _ in range(self.max_iter):
                if self.shuffle:
                    moved = np.arange(n)
                    random.shuffle(moved)
                    order = order[moved]  # what sklearn.utils.shuffle does, which takes as long as ten small batches
                total = 0.0
                for start in range(0, n, size):
                    rows = order[start : start + size]
                    x = F.embedding_lookup(X, rows) if isinstance(X, np.ndarray) else X[rows].toarray()
                    w = None if weight is None else weight[rows]
                    total += self._step(x, target[rows], w) * len(rows)
                self.n_iter_ += 1
                self.t_ += n
                self.loss_ = total / n
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if held_out is None:
                    better, gain = self.loss_ < self.best_loss_, self.loss_ <= self.best_loss_ - self.tol
                    self.best_loss_ = self.loss_ if better else self.best_loss_
                else:
                    score = self._held_out_score(*held_out)
                    self.validation_scores_.append(score)
                    if self.verbose:
                        print(f"Validation score: {score:f}")
                    gain = score >= self.best_validation_score_ + self.tol
                    if score > self.best_validation_score_:
                        self.best_validation_score_, best = score, self.network_.state_dict()
                self._no_improvement_count = 0 if gain else self._no_improvement_count + 1
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    self._set_rate(self.learning_rate_init / (self.t_ + 1) ** self.power_t)
                if self._no_improvement_count > self.n_iter_no_change:
                    if self._stops():
                        break
                    self._no_improvement_count = 0
                if incremental:
                    break
            else:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't"
                    " converged yet.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if best is not None:
            self.network_.load_state_dict(best)

    def _step(self, x, target, weight):
        """Train on one batch; return its loss, the penalty included."""
        optimizer, count = self._optimizer, len(x) if weight is None else weight.sum() or 1.0
        output, back = self.network_.vjp(x, need_dx=False)
        loss, gradient = self._loss_and_gradient(output, target, weight)
        if self.alpha and self.solver != "adamw":
            coefs = optimizer.param_groups[0]
            coefs["weight_decay"] = self.alpha / count
            loss += 0.5 * self.alpha / count * _squares(coefs["params"])
        self._steps += 1
        if self.solver != "sgd":  # epsilon stands beside the root of the average as it is, before its correction
            eps = self.epsilon / math.sqrt(1 - self.beta_2**self._steps)
            for group in optimizer.param_groups:
                group["eps"] = eps
        optimizer.zero_grad()
        back(gradient)
        optimizer.step()
        return loss

    def _set_rate(self, rate):
        """Change the rate of sgd from now on, but not what momentum has gathered: rates times gradients."""
        state = self._optimizer.state_dict()
        for velocity in state["state"].values():
            if "momentum_buffer" in velocity:
                velocity["momentum_buffer"] *= state["param_groups"][0]["lr"] / rate
        for group in state["param_groups"]:
            group["lr"] = rate
        self._optimizer.load_state_dict(state)

    def _stops(self):
        """Return whether training ends, now that nothing improves; an adaptive rate shrinks first, as low as 1e-6."""
        what = "Validation score" if self.early_stopping else "Training loss"
        told = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        rate = self._optimizer.param_groups[0]["lr"]
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
        ends = not adaptive or rate <= 1e-6
        if not ends:
            self._set_rate(rate / 5)
        if self.verbose:
            if ends:
                print(told, f"{'Learning rate too small. ' if adaptive else ''}Stopping.")
            else:
                print(told, f"Setting learning rate to {rate / 5:f}")
        return ends

    def _held_out_score(self, X, target, weight=None):
        output = self._output(X)
        return float(self._score(target, output, weight)) if np.isfinite(output).all() else math.nan

    def _fit_lbfgs(self, X, target, weight):
        """Minimise over all samples by SciPy, in float64: a line search sees differences that float32 does not."""
        from scipy.optimize import minimize

        network = self.network_.astype(np.float64)
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        parameters = [layer.weight for layer in linear] + [layer.bias for layer in linear]
        ends = np.cumsum([parameter.value.size for parameter in parameters])[:-1]
        X = np.asarray(X.toarray() if not isinstance(X, np.ndarray) else X, np.float64)
        count = X.shape[0] if weight is None else weight.sum(dtype=np.float64)
        if target.dtype.kind == "f":
            target = target.astype(np.float64)

        def evaluate(vector):
            for parameter, part in zip(parameters, np.split(vector, ends), strict=True):
                parameter.value[...] = part.reshape(parameter.value.shape)
                parameter.grad = None
            output, back = network.vjp(X, need_dx=False)
            loss, gradient = self._loss_and_gradient(output, target, weight)
            back(gradient)
            coefs = parameters[: len(linear)]
            for coef in coefs:
                coef.grad += self.alpha / count * coef.value
            loss += 0.5 * self.alpha / count * _squares(coefs)
            return loss, np.concatenate([parameter.grad.ravel() for parameter in parameters])

        start = np.concatenate([parameter.value.ravel() for parameter in parameters])
        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        result = minimize(evaluate, start, method="L-BFGS-B", jac=True, options=options)
        evaluate(result.x)
        self.network_.load_state_dict(network.state_dict())
        self.n_iter_, self.loss_ = min(result.nit, self.max_iter), float(result.fun)
        if result.status:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iterations: {result.message}. Increase max_iter, or"
                " scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    # ---- predict --------------------------------------------------------------------------------------------------

    def _output(self, X):
        """Return what the network tells of valid samples, before the output activation."""
        if isinstance(X, np.ndarray):
            return self.network_(X)
        return np.concatenate([self.network_(X[rows].toarray()) for rows in gen_batches(X.shape[0], 1000)])

    def _valid_output(self, X):
        """Return `_output` for samples that are validated first.

        An array of floats of the right width passes at once if its squares have a finite sum: then it holds no NaN and
        no infinity. Any other goes through scikit-learn's validation.
        """
        state = vars(self)
        if (
            type(X) is np.ndarray
            and X.dtype.char in "fd"
            and X.shape[1:] == (state.get("n_features_in_"),)
            and X.size
            and "feature_names_in_" not in state
            and math.isfinite(np.vdot(X, X))
        ):
            return self.network_(X)
        check_is_fitted(self)
        return self._output(validate_data(self, X, accept_sparse="csr", reset=False))


class MLPClassifier(ClassifierMixin, _Perceptron):
    """A multi-layer perceptron that classifies, trained on the cross entropy.

    Labels are of two classes or more, or the rows of a 0/1 matrix, any number of labels a sample.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, or int
        The number of neurons of each hidden layer; none makes a linear model.
    activation : str
        Of the hidden layers: "identity", "logistic" (which is "sigmoid"), or any activation of fastnn: "relu", "tanh",
        "gelu", "silu", ...
    solver : {"adam", "adamw", "sgd", "lbfgs"}
        "lbfgs" is SciPy's L-BFGS-B, over all samples at once and in float64.
    alpha : float
        The strength of the penalty alpha / 2 * sum(coefficients**2), divided by the number of samples in a batch (by
        the sum of their weights). For "adamw" the decoupled weight decay instead: each step scales the coefficients by
        1 - learning_rate_init * alpha, whatever the batch.
    batch_size : int or "auto"
        "auto" is min(200, n_samples).
    learning_rate : {"constant", "invscaling", "adaptive"}
        For "sgd": constant; learning_rate_init / (t_ + 1)**power_t after each pass; or a fifth of what it was whenever
        training would stop, down to 1e-6.
    learning_rate_init, power_t : float
    max_iter : int
        Passes over the data; for "lbfgs" iterations.
    shuffle : bool
        Whether each pass takes the samples in a new order.
    random_state : int, numpy.random.RandomState or None
        Draws initial weights, the held-out samples, the order and the masks of dropout.
    tol : float
    verbose : bool
    warm_start : bool
        Whether `fit` goes on from the weights there are. The activation and dropout may be others then, as in
        `partial_fit`, but not the sizes of the hidden layers.
    momentum, nesterovs_momentum : float, bool
        For "sgd".
    early_stopping : bool
        Whether to hold out `validation_fraction` of the samples, and keep the weights that scored best on them.
    validation_fraction : float
    beta_1, beta_2, epsilon : float
        For "adam" and "adamw".
    n_iter_no_change : int
        Training stops after so many passes in a row without an improvement by `tol`.
    max_fun : int
        For "lbfgs".
    dropout : float
        With this probability the output of a hidden neuron is 0 in a training step; the others are scaled by
        1 / (1 - dropout).

    Attributes
    ----------
    network_ : fastnn.nn.Sequential
        The network, without the output's activation: `network_(X)` are logits (for regression the predictions).
    coefs_, intercepts_ : list of ndarray
        The weights (n_in, n_out) and biases (n_out,) of each layer, views of those of `network_`, of the dtype of the X
        fitted: float32 stays float32.
    classes_ : ndarray
        Their labels, sorted.
    loss_, best_loss_, loss_curve_ : float, float or None, list of float
        The mean loss of the last pass, the least, and that of every pass; None with early stopping.
    validation_scores_, best_validation_score_ : list of float, float
        Of the samples held out for early stopping; None without it.
    n_iter_, t_ : int
        Passes of the last call, and samples seen in all.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.

    Notes
    -----
    With the same parameters, `random_state` and dtype, weights after a fit are scikit-learn's to within rounding; so
    are losses, but that scikit-learn cuts probabilities off at eps. X may be sparse: batches are made dense one by one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> X = (X / 16).astype(np.float32)
    >>> fitted = MLPClassifier((32,), activation="gelu", tol=0.01, random_state=0).fit(X[:1500], y[:1500])
    >>> fitted.predict(X[:5])
    array([0, 1, 2, 3, 4])
    >>> fitted.coefs_[0].shape, fitted.coefs_[0].dtype
    ((64, 32), dtype('float32'))
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
    ):
        self._keep(locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit the network to samples X (n_samples, n_features) and their labels y; return self."""
        return self._fit(X, y, sample_weight)

    @available_if(_is_stochastic)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Make one pass over the samples; return self. The first call wants all `classes` there will be."""
        if not hasattr(self, "classes_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._set_classes(y if type_of_target(y).startswith("multilabel") else classes)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(f"classes is {classes!r}, expected {self.classes_} as on the first call to partial_fit")
        return self._fit(X, y, sample_weight, incremental=True)

    def _set_classes(self, y):
        self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _targets(self, y, dtype, incremental):
        """Return the numbers of the classes, or for two classes and for labels a matrix of 0 and 1."""
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._set_classes(y)
        else:
            classes = unique_labels(y)
            if self.warm_start and set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit."
                    f" Previously got {self.classes_}, `y` has {classes}"
                )
            if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(f"`y` has the classes {classes}, expected those of `classes_`, {self.classes_}")
        targets = self._label_binarizer.transform(y)
        self.n_outputs_ = targets.shape[1]
        if self._label_binarizer.y_type_ == "multiclass":
            self.out_activation_ = "softmax"
            return targets.argmax(axis=1)
        self.out_activation_ = "logistic"
        return (targets.toarray() if hasattr(targets, "toarray") else targets).astype(dtype)

    def _labels(self, output):
        if self.out_activation_ == "softmax":
            return self.classes_.take(output.argmax(axis=1))
        probability = F.sigmoid(output)
        if self._label_binarizer.y_type_ == "binary":
            return self.classes_.take((probability.ravel() > 0.5) & (len(self.classes_) > 1))
        return self._label_binarizer.inverse_transform(probability)

    def _score(self, target, output, weight):
        if self.out_activation_ == "softmax":
            return accuracy_score(target, output.argmax(axis=1), sample_weight=weight)
        return accuracy_score(target > 0.5, output > 0, sample_weight=weight)

    def predict(self, X):
        """Return the class of each sample, (n_samples,), or its labels, (n_samples, n_labels)."""
        return self._labels(self._valid_output(X))

    def predict_proba(self, X):
        """Return the probability of each class as in `classes_`, or of each label: (n_samples, n_classes)."""
        output = self._valid_output(X)
        if self.out_activation_ == "softmax":
            return F.softmax(output, out=output)
        probability = F.sigmoid(output)
        return probability if self.n_outputs_ > 1 else np.hstack([1 - probability, probability])

    def predict_log_proba(self, X):
        """Return the logarithm of `predict_proba(X)`, taken of the logits, so that small ones are finite."""
        output = self._valid_output(X)
        if self.out_activation_ == "softmax":
            return F.log_softmax(output, out=output)
        log_probability = F.log_sigmoid(output)
        return log_probability if self.n_outputs_ > 1 else np.hstack([F.log_sigmoid(-output), log_probability])


class MLPRegressor(RegressorMixin, _Perceptron):
    """A multi-layer perceptron for regression, of one output or several.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        Half the squared error; or half the deviance of counts, whose rates are e^output.

    The other parameters, and the attributes, are those of `MLPClassifier`.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> fitted = MLPRegressor(activation="tanh", solver="lbfgs", random_state=0).fit(X, np.sin(3 * X[:, 0]))
    >>> fitted.predict([[0.5]]).round(1)
    array([1.])
    """

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
    ):
        self._keep(locals())

    def fit(self, X, y, sample_weight=None):
        """Fit the network to samples X (n_samples, n_features) and their targets y; return self."""
        return self._fit(X, y, sample_weight)

    @available_if(_is_stochastic)
    def partial_fit(self, X, y, sample_weight=None):
        """Make one pass over the samples; return self."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _targets(self, y, dtype, incremental):
        target = y.reshape(len(y), -1).astype(dtype, copy=False)
        self.n_outputs_, self.out_activation_ = target.shape[1], "identity"
        if self.loss == "poisson":
            if (target < 0).any():
                raise ValueError(f"y holds {target.min()}, expected no number below 0 with loss='poisson'")
            self.out_activation_ = "exp"
        return target

    def _labels(self, output):
        if self.out_activation_ == "exp":
            with np.errstate(all="ignore"):
                output = np.exp(output)
        return output.ravel() if self.n_outputs_ == 1 else output

    def _score(self, target, output, weight):
        return r2_score(target, self._labels(output), sample_weight=weight)

    def predict(self, X):
        """Return the predictions, (n_samples,) or for several outputs (n_samples, n_outputs)."""
        return self._labels(self._valid_output(X))
