"""Files: arrays and JSON in one safetensors file, and modules on top of that.

A file is written under another name in the same directory, flushed to the disk, and renamed: whatever happens, the old
file or the new one is there, whole. The directory is flushed too, so that the new one stays there.
"""

import errno
import glob
import json
import os
import tempfile

import numpy as np

from fastnn.nn.module import Module, find_class

__all__ = ["load", "load_arrays", "save", "save_arrays"]

_KEY = "fastnn"  # of the JSON text in the file's metadata


def save_arrays(path, arrays, metadata=None):
    """Write arrays, and anything JSON can hold, to a safetensors file, whole or not at all.

    Parameters
    ----------
    path : str or path
    arrays : dict of str to array_like
        In any memory order.
    metadata : dict, optional

    Raises
    ------
    OSError
        If the file cannot be written; what was there stays.
    TypeError
        If a name is not a string, an array holds something other than real numbers, or JSON cannot hold the metadata.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory) / "weights.safetensors"
    ...     save_arrays(path, {"w": np.arange(3.0)}, {"epoch": 7})
    ...     load_arrays(path)
    ({'w': array([0., 1., 2.])}, {'epoch': 7})
    """
    from safetensors.numpy import save

    # safetensors writes memory as it lies: other orders would come back permuted
    arrays = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    for name, array in arrays.items():
        if not isinstance(name, str):
            raise TypeError(f"arrays have the name {name!r}, expected a string")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"array {name!r} has dtype {array.dtype}, expected real numbers of at most 64 bits")
    try:
        text = json.dumps(metadata or {})
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata cannot be written as JSON: {error}") from None
    write_whole(path, save(arrays, {_KEY: text}))


def write_whole(path, content):
    """Write bytes, or one piece after the other of an iterable, to a temporary file beside `path` and rename it."""
    target = _target(path)
    temporary = f"{target}.{os.urandom(4).hex()}.tmp"
    try:
        try:
            with open(temporary, "xb") as file:
                for piece in [content] if isinstance(content, bytes) else content:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _flush_directory(os.path.dirname(target))
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _target(path):
    """Return where a path leads, or raise OSError if what is there is not a file that another one may replace."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe
        raise FileExistsError(errno.EEXIST, "Not a regular file", os.fspath(path))
    return os.path.realpath(path)


def _flush_directory(path):
    if not hasattr(os, "O_DIRECTORY"):  # Windows has no such thing
        return
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):  # not ours to read, or a file system that cannot
            raise


def check_writable(path):
    """Raise OSError, naming the path, unless a file can be put there; what is there stays."""
    target = _target(path)
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(target)):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def remove_leftovers(path):
    """Remove the temporary files that processes killed while writing `path` left beside it."""
    for name in glob.glob(f"{glob.escape(os.path.realpath(path))}.{'[0-9a-f]' * 8}.tmp"):
        os.remove(name)


def load_arrays(path):
    """Read a safetensors file.

    Returns
    -------
    arrays : dict of str to ndarray
    metadata : dict
        What `save_arrays` was given; empty for a file of another program.

    Raises
    ------
    ValueError
        If the file is truncated or not a safetensors file.
    OSError
        If it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    with open(path, "rb"):  # for Python's own message if it is not there
        pass
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads((file.metadata() or {}).get(_KEY, "{}"))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from None
    except TypeError as error:  # bfloat16 and smaller
        raise ValueError(f"{path} holds numbers that NumPy lacks: {error}") from None
    return arrays, metadata


def save(module, path, metadata=None, arrays=None):
    """Write a module, its weights and its configuration, for `load`.

    `metadata` and `arrays` go beside them into the file: `load_arrays` returns them, `load` leaves them aside.
    """
    names = {id(array): name for name, array in module.named_arrays()}
    every = module.named_arrays(unique=False)
    tied = {name: names[id(array)] for name, array in every if names[id(array)] != name}
    arrays = arrays or {}
    described = {"module": plain(module), "tied": tied, "beside": list(arrays)}
    save_arrays(path, {**arrays, **module.state_dict()}, {**(metadata or {}), **described})


def plain(value):
    """Return a value as JSON can hold it: modules and arrays as dicts, NumPy's numbers as Python's.

    Of a module that is the name of its class and its configuration, modules within it alike.
    """
    if isinstance(value, Module):
        return {"class": type(value)._file_name, "config": plain(value.config())}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.str}
    return value.item() if isinstance(value, np.generic) else value


def restored(value):
    """Return what `plain` was given, with lists for tuples; modules are made anew."""
    if isinstance(value, list):
        return [restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"array", "dtype"}:
        return np.array(value["array"], value["dtype"])
    items = {name: restored(item) for name, item in value.items()}
    return find_class(items["class"]).from_config(items["config"]) if items.keys() == {"class", "config"} else items


def load(path):
    """Return the module that `module.save(path)` wrote.

    Raises
    ------
    ValueError
        If the file is truncated, not a safetensors file, not written by `save`, or of a class that is not defined here.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from fastnn import nn
    >>> net = nn.Sequential(nn.Linear(4, 2, rng=0), nn.Activation("tanh"))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     net.save(f"{directory}/net.safetensors")
    ...     same = load(f"{directory}/net.safetensors")
    >>> same
    Sequential(
      (0): Linear(in_features=4, out_features=2)
      (1): Activation('tanh')
    )
    >>> x = np.ones((1, 4), np.float32)
    >>> bool((same(x) == net(x)).all())
    True
    """
    arrays, metadata = load_arrays(path)
    path = os.fspath(path)
    if "module" not in metadata:
        raise ValueError(f"{path} holds no module of fastnn; load_arrays reads its arrays")
    try:
        module = restored(metadata["module"])
        if not isinstance(module, Module):
            raise ValueError("class and config are missing")
        own = dict(module.named_arrays(unique=False))
        modules = dict(module.named_modules())
        for name, first in metadata.get("tied", {}).items():
            owner, _, attribute = name.rpartition(".")
            if owner not in modules:  # but an attribute that is a list
                owner, _, items = owner.rpartition(".")
                attribute = f"{items}.{attribute}"
            modules[owner]._put(attribute, own[first])
        module.load_state_dict({name: arrays[name] for name in arrays.keys() - set(metadata.get("beside", ()))})
        for name, array in module.named_arrays():
            if array.value.dtype.kind == "f":
                dtype = np.result_type(arrays[name], np.float32)  # the file's own, but nothing narrower
                array.value = arrays[name].astype(dtype, copy=False)
    except (KeyError, TypeError, ValueError, MemoryError) as error:  # sizes may be anything
        raise ValueError(f"{path} does not describe a module: {error}") from error
    return module
