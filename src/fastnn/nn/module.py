"""What every layer is: parameters with names, a forward call, a pullback.

a) A layer writes `vjp`, which returns its output and a closure `back`. All that the backward pass needs lives in that
   closure, so a layer may run many times before any `back`, and nothing has to be kept on the layer.
b) Parameters and layers are plain attributes. Whoever needs them (names, weights, optimisers) walks the attributes;
   nothing is registered, and a parameter that two layers share is simply the same object.
c) A call pays for one comparison of shapes. Whatever makes an error readable, such as the layer's dotted path, is
   found out when there is an error.
"""

import copy
import functools
import importlib
import inspect
import sys

import numpy as np

from fastnn._backend import functions as F

__all__ = ["Buffer", "Module", "Parameter", "SparseGrad"]

_classes = {}


class Parameter:
    """An array that is trained: `value`, and `grad`, the gradient that pullbacks have accumulated.

    Parameters
    ----------
    value : array_like of float32 or float64
        Copied, so that training never writes into the caller's array.

    Attributes
    ----------
    value : ndarray
    grad : ndarray or None
        None until a pullback writes it; an optimiser's `zero_grad` resets it.

    Examples
    --------
    >>> weight = Parameter(np.ones((2, 3), np.float32))
    >>> weight
    Parameter((2, 3), float32)
    >>> weight.grad is None
    True
    """

    __slots__ = ("grad", "value")

    def __init__(self, value):
        self.value = np.array(value, order="C")
        self.grad = None
        if self.value.dtype not in (np.float32, np.float64):
            raise TypeError(f"value has dtype {self.value.dtype}, expected float32 or float64")

    def __repr__(self):
        return f"Parameter({self.value.shape}, {self.value.dtype})"

    def accumulate(self, gradient):
        """Add a gradient to `grad`. The first one becomes `grad` itself, so it must be the caller's to give away."""
        if self.grad is None:
            self.grad = gradient
        elif isinstance(gradient, SparseGrad) and not isinstance(self.grad, SparseGrad):
            gradient.add_to(self.grad)
        else:
            with np.errstate(all="ignore"):
                self.grad += gradient


class SparseGrad:
    """The gradient of a matrix of which few rows were used: `values[i]` is that of row `rows[i]`, 0 that of others.

    A row may be there several times; its gradient is the sum. Optimisers that know it touch no other row.

    Parameters
    ----------
    rows : ndarray of int64 (n,)
    values : ndarray (n, dim)

    Examples
    --------
    >>> grad = SparseGrad(np.array([2, 0, 2]), np.array([[1.0], [2.0], [3.0]]))
    >>> grad
    SparseGrad((3, 1), float64)
    >>> grad.coalesce()
    >>> grad.rows, grad.values.ravel()
    (array([2, 0]), array([4., 2.]))
    >>> grad.to_dense(4).ravel()
    array([2., 0., 4., 0.])
    """

    __slots__ = ("rows", "values")

    def __init__(self, rows, values):
        self.rows, self.values = rows, values

    def __repr__(self):
        return f"SparseGrad({self.values.shape}, {self.values.dtype})"

    def __iadd__(self, other):
        """Take in the rows of another one; with a dense gradient the sum is dense."""
        if not isinstance(other, SparseGrad):
            return self.add_to(other)
        self.rows = np.concatenate([self.rows, other.rows])
        self.values = np.concatenate([self.values, other.values])
        return self

    def coalesce(self):
        """Sum the values of equal rows, after which each row is there once."""
        self.rows, self.values = F.coalesce(self.rows, self.values)

    def add_to(self, gradient):
        """Add this to a dense gradient, in place, and return that."""
        return F.embedding_lookup_backward(self.values, self.rows, len(gradient), add_to=gradient)

    def to_dense(self, num_embeddings):
        """Return the whole matrix."""
        return F.embedding_lookup_backward(self.values, self.rows, num_embeddings)


class Buffer:
    """An array that belongs to a module's state and is not trained, such as running statistics.

    Parameters
    ----------
    value : array_like

    Attributes
    ----------
    value : ndarray

    Examples
    --------
    >>> Buffer(np.zeros(3))
    Buffer((3,), float64)
    """

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = np.array(value, order="C")

    def __repr__(self):
        return f"Buffer({self.value.shape}, {self.value.dtype})"


class Module:
    """The base of all layers and models.

    A subclass writes `vjp(self, x, *, training=True)`, which returns `(y, back)`: `back(dy)` accumulates into the
    parameters' `grad` and returns the gradient of x, None if x holds integers. `layer(x)` gives the output alone,
    as in inference; a subclass writes its own `__call__` where that saves work.

    Constructor arguments stand in attributes of the same name (`rng` and `dtype` aside): `repr`, `save` and
    `fastnn.load` read them there.

    Examples
    --------
    >>> class Scale(Module):
    ...     def __init__(self, size):
    ...         self.size = size
    ...         self.factor = Parameter(np.ones(size, np.float32))
    ...
    ...     def vjp(self, x, *, training=True):
    ...         def back(dy):
    ...             self.factor.accumulate((dy * x).sum(axis=0))
    ...             return dy * self.factor.value
    ...
    ...         return x * self.factor.value, back
    >>> layer = Scale(2)
    >>> layer
    Scale(size=2)
    >>> y, back = layer.vjp(np.array([[1, 2], [3, 4]], np.float32))
    >>> back(np.ones_like(y))
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    >>> layer.factor.grad
    array([4., 6.], dtype=float32)
    """

    takes_lengths = False  # whether `lengths=` is an argument, which Sequential then hands on
    skips_dx = False  # whether `need_dx=False`, for the first layer in training, is an argument of vjp: back gives None
    returns_state = False  # whether the output is (y, state) and `back` returns (dx, dstate)

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        package, room = (cls.__module__ + ".").split(".")[:2]
        cls._file_name = f"fastnn.{room}.{cls.__name__}" if package == "fastnn" else cls.__qualname__
        _classes[cls._file_name] = cls

    def vjp(self, x, *, training=True):
        """Return `(y, back)`: the output for x, and the function that pulls a gradient of y back to x.

        `training=False` turns dropout off and keeps running statistics as they are.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define vjp")

    def __call__(self, *inputs, **keywords):
        """Return the output alone, as in inference."""
        return self.vjp(*inputs, training=False, **keywords)[0]

    # ---- parameters and layers, by name ---------------------------------------------------------------------

    def _members(self):
        """Yield (name, parameter, buffer or module) in the order of the attributes, those in lists included."""
        kinds = (Parameter, Buffer, Module)
        for name, value in vars(self).items():
            if isinstance(value, kinds):
                yield name, value
            elif isinstance(value, (list, tuple)):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, kinds))

    def _put(self, name, member):
        """Put a parameter, buffer or module where `_members` yields one of this name."""
        attribute, _, i = name.partition(".")
        if i:
            items = list(getattr(self, attribute))
            items[int(i)] = member
            member = items if isinstance(getattr(self, attribute), list) else tuple(items)
        setattr(self, attribute, member)

    def named_modules(self):
        """Yield (dotted path, module) for this module, whose path is empty, and all below it."""
        yield "", self
        for name, member in self._members():
            if isinstance(member, Module):
                yield from ((f"{name}.{path}" if path else name, module) for path, module in member.named_modules())

    def named_arrays(self, *, unique=True):
        """Yield (dotted name, parameter or buffer), as in PyTorch; a shared one only once unless `unique` is False."""
        seen = set()
        for path, module in self.named_modules():
            for name, member in module._members():
                if not isinstance(member, Module) and not (unique and id(member) in seen):
                    seen.add(id(member))
                    yield f"{path}.{name}" if path else name, member

    def named_parameters(self, *, unique=True):
        """Yield (dotted name, parameter): what is trained of `named_arrays`."""
        return ((name, array) for name, array in self.named_arrays(unique=unique) if isinstance(array, Parameter))

    def parameters(self):
        """Return the list of parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    # ---- weights --------------------------------------------------------------------------------------------

    def state_dict(self):
        """Return a dict from dotted name to a copy of the array, with PyTorch's names and shapes."""
        return {name: array.value.copy() for name, array in self.named_arrays(unique=False)}

    def load_state_dict(self, state, strict=True):
        """Copy the arrays of a dict, such as `state_dict` returns, into parameters and buffers, whose dtypes stay.

        Parameters
        ----------
        state : dict of str to array_like
        strict : bool
            Whether every name must be there, and no other. A wrong shape is always an error.

        Returns
        -------
        missing, unexpected : list of str
            The names that `state` lacks, and those it should not have.

        Raises
        ------
        ValueError
            One that lists all names missing, unexpected and of another shape; nothing is written then.
        """
        own = dict(self.named_arrays(unique=False))
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        found = {name: np.asarray(state[name]) for name in own if name in state}
        mismatched = []
        for name, array in found.items():
            value = own[name].value
            if array.shape != value.shape:
                mismatched.append(f"{name} has shape {array.shape}, expected {value.shape}")
            elif not np.can_cast(array.dtype, value.dtype, "same_kind"):
                mismatched.append(f"{name} has dtype {array.dtype}, expected {value.dtype}")
        problems = [f"missing: {', '.join(missing)}"] if missing and strict else []
        problems += [f"unexpected: {', '.join(unexpected)}"] if unexpected and strict else []
        problems += mismatched
        if problems:
            raise ValueError(f"state does not fit {type(self).__name__}: {'; '.join(problems)}")
        with np.errstate(all="ignore"):
            for name, array in found.items():
                own[name].value[...] = array
        return missing, unexpected

    @classmethod
    def from_state_dict(cls, state, prefix="", **config):
        """Return a layer with the weights in a dict, such as PyTorch's `state_dict()`; their shapes tell its sizes.

        Parameters
        ----------
        state : dict of str to array_like
            With PyTorch's names and shapes.
        prefix : str
            What the names of this layer begin with in a larger network, such as "encoder."; others are left aside.
        **config
            Arguments of the constructor that no shape tells, such as `batch_first`. Without `dtype` it is that of the
            weights, float32 for anything narrower.

        Raises
        ------
        TypeError
            If shapes do not tell the sizes of this kind of layer.
        ValueError
            If a weight is missing, has another shape than the others tell, or is not one of this layer.

        Examples
        --------
        >>> from fastnn import nn
        >>> net = nn.Sequential(nn.GRU(3, 4, num_layers=2, bidirectional=True), nn.Linear(8, 2))
        >>> nn.GRU.from_state_dict(net.state_dict(), "0.")
        GRU(input_size=3, hidden_size=4, num_layers=2, bidirectional=True)
        """
        arrays = {name.removeprefix(prefix): np.asarray(a) for name, a in state.items() if name.startswith(prefix)}
        try:
            sizes = cls._sizes({name: array.shape for name, array in arrays.items()})
        except KeyError as error:
            raise ValueError(f"state holds no {prefix}{error.args[0]}, which {cls.__name__} needs") from None
        except ValueError:  # from unpacking a shape of another length
            shapes = ", ".join(f"{prefix}{name} {array.shape}" for name, array in arrays.items())
            raise ValueError(f"state holds {shapes}, which does not fit a {cls.__name__}") from None
        dtype = np.result_type(np.float32, *(array for array in arrays.values() if array.dtype.kind == "f"))
        layer = cls(**{"dtype": dtype, **sizes, **config})
        layer.load_state_dict(arrays)
        return layer

    @classmethod
    def _sizes(cls, shapes):
        """Return the constructor's arguments that the shapes of the weights, by name, tell."""
        raise TypeError(f"the shapes of its weights do not tell what a {cls.__name__} is made of")

    def astype(self, dtype):
        """Return a copy whose arrays have the dtype, float32 or float64 (those of integers stay), and no gradients."""
        dtype = real_dtype(dtype)
        module = copy.deepcopy(self)
        for _, array in module.named_arrays():
            if array.value.dtype.kind == "f":
                array.value = real_array(array.value, dtype)
        for parameter in module.parameters():
            parameter.grad = None
        return module

    def save(self, path):
        """Write the weights and the configuration to a safetensors file, which `fastnn.load` turns into a module.

        The file is written beside `path` under another name, flushed to the disk, and then renamed.
        """
        from fastnn.io import save

        save(self, path)

    # ---- what a reader sees ---------------------------------------------------------------------------------

    def config(self):
        """Return the constructor arguments by name, without `rng` and `dtype`."""
        return {name: getattr(self, name) for name in _arguments(type(self))}

    @classmethod
    def from_config(cls, config):
        """Make a module, newly initialised, from what `config` returned."""
        return cls(**config)

    def __repr__(self):
        layers = [(name, member) for name, member in self._members() if isinstance(member, Module)]
        if not layers:
            defaults = _arguments(type(self))  # shown: what is required, and what differs from its default
            shown = [f"{name}={value!r}" for name, value in self.config().items() if value != defaults[name]]
            return f"{type(self).__name__}({', '.join(shown)})"
        lines = [f"({name}): {member!r}".replace("\n", "\n  ") for name, member in layers]
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"

    def summary(self, *inputs, **keywords):
        """Return a table of the layers, their output shapes for these inputs and their numbers of parameters.

        Examples
        --------
        >>> from fastnn import nn
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.Activation("relu"), nn.Linear(32, 10))
        >>> print(net.summary(np.zeros((5, 64), np.float32)))
        layer  class       output   parameters
               Sequential  (5, 10)       2,410
        0      Linear      (5, 32)       2,080
        1      Activation  (5, 32)           0
        2      Linear      (5, 10)         330
        """
        modules = list(self.named_modules())
        shapes = {id(module): [] for _, module in modules}  # a shared layer may run at each of its paths

        def watched(module):
            def run(*inputs, **keywords):
                output, back = type(module).vjp(module, *inputs, **keywords)
                shapes[id(module)].append(_shapes(output))
                return output, back

            return run

        try:
            for _, module in modules:
                vars(module)["vjp"] = watched(module)
            self.vjp(*inputs, training=False, **keywords)
        finally:
            for _, module in modules:
                vars(module).pop("vjp", None)
        rows = [("layer", "class", "output", "parameters")]
        for path, module in modules:
            count = sum(parameter.value.size for parameter in module.parameters())
            runs = shapes[id(module)] or ["not run"]
            shape = runs.pop(0) if len(runs) > 1 else runs[0]
            rows.append((path, type(module).__name__, shape, f"{count:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(w) if i == 3 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def find_class(name):
    """Return the module class that a file names."""
    if name.startswith("fastnn.models."):
        importlib.import_module("fastnn.models")
    if name not in _classes:
        raise ValueError(f"class {name!r} is unknown here; import the code that defines it first")
    return _classes[name]


@functools.cache
def _arguments(cls):
    """Return the constructor's argument names with their defaults, `inspect.Parameter.empty` if required."""
    arguments = inspect.signature(cls).parameters
    return {name: argument.default for name, argument in arguments.items() if name not in ("rng", "dtype")}


def _shapes(output):
    """Return the shape of an array as text, or the shapes of a tuple of arrays."""
    if isinstance(output, tuple):
        return ", ".join(map(_shapes, output))
    return str(np.shape(output))


def complaint(layer, problem):
    """Return a ValueError that names the layer by its path in the outermost module now running."""
    path, frame = "", sys._getframe(1)
    while frame:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Module):
            path = next((path for path, module in owner.named_modules() if module is layer), path)
        frame = frame.f_back
    name = type(layer).__name__
    return ValueError(f"{path} ({name}): {problem}" if path else f"{name}: {problem}")


def real_dtype(dtype):
    """Return the dtype of a layer's weights, float32 or float64."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"dtype is {dtype}, expected float32 or float64")
    return dtype


def real_array(x, dtype, name="x"):
    """Return x as an array of the dtype of the layer's weights."""
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {x.dtype}, expected real numbers")
    if x.dtype == dtype:
        return x
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def positive(name, value):
    """Return a size as an int, at least 1."""
    size = getattr(value, "__index__", lambda: 0)()
    if size < 1:
        raise ValueError(f"{name} is {value!r}, expected a positive integer")
    return size
