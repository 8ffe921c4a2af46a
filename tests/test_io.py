"""Files: round trips in any memory order, whole or not at all, and one clear sentence for whatever is not ours."""

import json
import os
import stat
import struct

import numpy as np
import pytest

import fastnn
from fastnn import data, io, nn
from fastnn.training import History


class Net(nn.Module):
    """A user's own module, with a module and a list among its arguments."""

    def __init__(self, body, sizes, *, rng=None):
        self.body = body
        self.sizes = sizes
        self.head = nn.Linear(*sizes, rng=rng)

    def vjp(self, x, *, training=True):
        h, first = self.body.vjp(x, training=training)
        y, second = self.head.vjp(h, training=training)
        return y, lambda dy: first(second(dy))


MODULES = {
    "linear": nn.Linear(6, 5, bias=False, rng=0),
    "float64": nn.Linear(6, 5, rng=0, dtype=np.float64),
    "rnn": nn.RNN(6, 3, 2, nonlinearity="relu", bias=False, bidirectional=True, batch_first=True, dropout=0.5, rng=0),
    "lstm": nn.LSTM(6, 3, 2, residual=True, rng=0),
    "gru": nn.GRU(6, 3, reset_after=False, rng=0),
    "residual": nn.Sequential(nn.Residual(nn.Linear(6, 6, rng=0)), nn.Pool("max", batch_first=True)),
    "sequential": nn.Sequential(
        nn.Linear(6, 4, rng=0), nn.Activation("leaky_relu", negative_slope=0.2), nn.Dropout(0.1), nn.RNN(4, 2, rng=1)
    ),
    "nested": nn.Sequential(nn.Sequential(nn.Linear(6, 4, rng=0)), nn.Sequential()),
    "own": Net(nn.Sequential(nn.Linear(6, 4, rng=0), nn.Activation("tanh")), [4, 2], rng=1),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


def rewrite(path, change, key="fastnn"):
    """Let `change` edit the JSON that fastnn put into a file's metadata."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    ours = json.loads(header["__metadata__"][key])
    change(ours)
    header["__metadata__"][key] = json.dumps(ours)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


# ---- round trips --------------------------------------------------------------------------------------------


def test_arrays_of_any_kind_and_order(path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {
        "plain": base,
        "fortran": np.asfortranarray(base),
        "transposed": base.T,
        "strided": base[::2, 1::2],
        "reversed": base[::-1],
        "broadcast": np.broadcast_to(base[0], (3, 6)),
        "swapped": base.astype(">f4"),
        "scalar": np.float64(3.5),
        "empty": np.zeros((0, 3)),
        "integers": np.arange(3),
        "bool": np.array([True, False]),
        "half": base.astype(np.float16),
        "dotted.name": [1.0, 2.0],
    }
    metadata = {"step": 3, "text": "é 文", "nested": {"list": [1, None, 2.5]}}
    io.save_arrays(path, arrays, metadata)
    loaded, found = io.load_arrays(path)
    assert found == metadata
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].shape == np.shape(array)
        assert loaded[name].dtype == np.asarray(array).dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("case", MODULES)
def test_modules(case, path):
    module = MODULES[case]
    module.save(path)
    loaded = fastnn.load(path)
    assert repr(loaded) == repr(module)
    assert loaded.config().keys() == module.config().keys()
    x = np.random.default_rng(0).standard_normal((3, 2, 6))
    for one, other in zip(module.parameters(), loaded.parameters(), strict=True):
        assert one.value.dtype == other.value.dtype
        np.testing.assert_array_equal(one.value, other.value)
    output, same = (out if isinstance(out, tuple) else (out,) for out in (module(x), loaded(x)))
    for one, other in zip(output, same, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_in_any_memory_order(path):
    layer = nn.Linear(4, 3, rng=0)
    base = np.arange(48, dtype=np.float32).reshape(6, 8)
    for weight in (np.asfortranarray(base[:3, :4]), base[::2, ::2], base[:4, :3].T, base[2::-1, 3::-1]):
        layer.weight.value = weight
        layer.save(path)
        loaded = fastnn.load(path).weight.value
        np.testing.assert_array_equal(loaded, weight)
        assert loaded.flags.c_contiguous
        assert loaded.flags.writeable


def test_shared_parameters_stay_shared(path):
    shared = nn.Linear(3, 3, rng=0)
    net = nn.Sequential(shared, nn.Activation("tanh"), shared, nn.Linear(3, 3, rng=1))
    net.layers[3].weight = shared.weight
    net.save(path)
    assert list(io.load_arrays(path)[0]) == sorted(net.state_dict())
    loaded = fastnn.load(path)
    assert loaded.layers[0].weight is loaded.layers[2].weight is loaded.layers[3].weight
    assert loaded.layers[0].bias is loaded.layers[2].bias
    assert loaded.layers[0].bias is not loaded.layers[3].bias
    np.testing.assert_array_equal(loaded(np.eye(3)), net(np.eye(3)))


class Tied(nn.Module):
    """A user's own module, with parameters in a list and in a tuple."""

    def __init__(self):
        self.first = nn.Parameter(np.ones(2))
        self.listed = [self.first, nn.Parameter(np.zeros(2))]
        self.others = nn.Parameter(np.ones(3)), nn.Parameter(np.zeros(2))


def test_parameters_in_lists_stay_shared(path):
    inner = Tied()
    inner.others = inner.others[0], inner.first
    nn.Sequential(nn.Linear(2, 2), inner).save(path)
    loaded = fastnn.load(path)[1]
    assert loaded.first is loaded.listed[0] is loaded.others[1]
    assert len(loaded.parameters()) == 3
    assert isinstance(loaded.listed, list)


def test_arguments_may_be_numpys(path):
    for layer in (
        nn.Conv2d(1, 2, np.int64(3), stride=(np.int64(1), 2)),
        nn.MaxPool2d(np.int64(2)),
        nn.LayerNorm(3, np.float32(1e-5), np.True_),
        nn.BatchNorm1d(3, momentum=np.float32(0.1)),
        nn.LSTM(2, 3, forget_bias=np.int64(1)),
        nn.Softmax(np.int64(1)),
        nn.Flatten(np.int64(1)),
        nn.Dropout(np.float64(0.5), shared_axes=np.int64(0)),
        nn.Activation("elu", alpha=np.float32(0.1)),
        nn.Activation("leaky_relu", negative_slope=np.array([0.1, 0.2], np.float32)),
    ):
        layer.save(path)
        loaded, before = fastnn.load(path).config(), layer.config()
        assert loaded.keys() == before.keys()
        for name, value in before.items():
            np.testing.assert_array_equal(loaded[name], value)
            assert isinstance(loaded[name], np.ndarray) == isinstance(value, np.ndarray)


def test_a_loaded_module_trains_on(path):
    MODULES["sequential"].save(path)
    net = fastnn.load(path)
    opt = fastnn.optim.SGD(net.parameters(), lr=0.1)
    before = net.state_dict()
    y, back = net.vjp(np.ones((3, 2, 6), np.float32))
    back(np.ones_like(y))
    opt.step()
    assert any((before[name] != value).any() for name, value in net.state_dict().items())


def test_a_file_of_another_program_gives_its_arrays(path):
    from safetensors.numpy import save_file

    save_file({"weight": np.ones((2, 3))}, path)
    arrays, metadata = io.load_arrays(path)
    assert metadata == {}
    layer = nn.Linear(3, 2, bias=False)
    layer.load_state_dict(arrays)
    assert (layer.weight.value == 1).all()


# ---- weights from and for PyTorch ---------------------------------------------------------------------------

FROM_WEIGHTS = {
    "linear": nn.Linear(6, 5, rng=0),
    "linear-float64": nn.Linear(6, 5, bias=False, rng=0, dtype=np.float64),
    "embedding": nn.Embedding(7, 5, rng=0),
    "rnn": nn.RNN(6, 5, 3, rng=0),
    "gru": nn.GRU(6, 5, bias=False, rng=0),
    "lstm": nn.LSTM(6, 5, 11, bidirectional=True, rng=0, dtype=np.float64),
    "rnn-cell": nn.RNNCell(6, 5, rng=0),
    "gru-cell": nn.GRUCell(6, 5, False, rng=0),
    "lstm-cell": nn.LSTMCell(6, 5, rng=0),
    "layer-norm": nn.LayerNorm((4, 3), bias=False),
    "rms-norm": nn.RMSNorm(4),
    "batch-norm": nn.BatchNorm1d(4),
    "batch-norm-plain": nn.BatchNorm2d(4, track_running_stats=False),
}


@pytest.mark.parametrize("case", FROM_WEIGHTS)
@pytest.mark.parametrize("prefix", ["", "encoder.0."])
def test_sizes_are_those_of_the_weights(case, prefix):
    layer = FROM_WEIGHTS[case]
    state = {prefix + name: value for name, value in layer.state_dict().items()}
    if prefix:
        state["decoder.weight"] = np.ones(3)
    twin = type(layer).from_state_dict(state, prefix)
    assert repr(twin) == repr(layer)
    for one, other in zip(twin.parameters(), layer.parameters(), strict=True):
        assert one.value.dtype == other.value.dtype
        np.testing.assert_array_equal(one.value, other.value)
    assert type(layer).from_state_dict(state, prefix, dtype=np.float64).parameters()[0].value.dtype == np.float64
    halves = {name: value.astype(np.float16) if value.dtype.kind == "f" else value for name, value in state.items()}
    assert type(layer).from_state_dict(halves, prefix).parameters()[0].value.dtype == np.float32


def test_options_that_no_shape_tells():
    weights = nn.RNN(3, 4, 2, rng=0).state_dict()
    rnn = nn.RNN.from_state_dict(weights, nonlinearity="relu", batch_first=True, dropout=0.5, residual=True)
    assert repr(rnn) == (
        "RNN(input_size=3, hidden_size=4, num_layers=2, nonlinearity='relu', batch_first=True, dropout=0.5, "
        "residual=True)"
    )
    assert nn.Embedding.from_state_dict({"weight": np.ones((3, 2))}, padding_idx=0).weight.value.all()


def test_weights_that_do_not_make_a_layer():
    lstm = nn.LSTM(3, 4, rng=0).state_dict()
    cases = [
        (nn.GRU, lstm, "weight_ih_l0 has shape (16, 3), expected (12, 3)"),
        (nn.LSTM, lstm | {"weight_hr_l0": np.ones((2, 4))}, "unexpected: weight_hr_l0"),
        (nn.LSTM, {"weight_ih_l0": lstm["weight_ih_l0"]}, "state holds no weight_hh_l0, which LSTM needs"),
        (nn.Linear, {}, "state holds no weight, which Linear needs"),
        (nn.Linear, {"weight": np.ones((2, 3, 4))}, "state holds weight (2, 3, 4), which does not fit a Linear"),
    ]
    for kind, state, message in cases:
        with pytest.raises(ValueError) as caught:
            kind.from_state_dict(state)
        assert message in str(caught.value)
    with pytest.raises(TypeError, match="the shapes of its weights do not tell what a Sequential is made of"):
        nn.Sequential.from_state_dict(lstm)


def test_a_file_of_weights_makes_a_layer(path):
    from safetensors.numpy import save_file

    lstm, x = nn.LSTM(3, 4, 2, rng=0), np.ones((5, 1, 3), np.float32)
    save_file({f"rnn.{name}": value for name, value in lstm.state_dict().items()}, path)

    weights, _ = io.load_arrays(path)
    step = nn.LSTM.from_state_dict(weights, "rnn.").stream()
    y = [step(x_t).copy() for x_t in x]

    np.testing.assert_allclose(y, lstm(x)[0], atol=1e-6)


@pytest.mark.live
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "Linear", "Embedding"])
def test_weights_go_to_pytorch_and_come_back(kind, path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    theirs = getattr(torch.nn, kind)(7, 4, **({"num_layers": 2, "bidirectional": True} if len(kind) < 5 else {}))
    x = np.random.default_rng(0).standard_normal((5, 2, 7)).astype(np.float32)
    x = np.arange(6) if kind == "Embedding" else x
    save_file(theirs.state_dict(), path)
    ours = getattr(nn, kind).from_state_dict(io.load_arrays(path)[0])
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.value *= 1.5
        ours.save(path)
        theirs.load_state_dict(load_file(path))
        outputs = theirs(torch.tensor(x)), ours(x)
    for want, got in zip(*(out if isinstance(out, tuple) else (out,) for out in outputs), strict=True):
        for one, other in zip(*(a if isinstance(a, tuple) else (a,) for a in (want, got)), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


# ---- writing ------------------------------------------------------------------------------------------------


def test_what_is_there_survives_a_failure(path, monkeypatch):
    io.save_arrays(path, {"a": np.ones(3)})
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    def interrupt(*_):
        raise KeyboardInterrupt

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="No space left on device") as caught:
                io.save_arrays(path, {"a": np.zeros(3)})
            assert caught.value.filename == str(path)
            patch.setattr(os, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                io.save_arrays(path, {"a": np.zeros(3)})
    with pytest.raises(TypeError):
        io.save_arrays(path, {"a": np.zeros(3)}, {"not JSON": object()})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def _vectors(size):
    from fastnn.models import KeyedVectors

    wv = KeyedVectors(8)
    wv.add_vectors([f"word{i}" for i in range(size)], np.ones((size, 8), np.float32))
    return wv


WRITERS = {
    "module": lambda size, path: nn.Linear(8, size, rng=0).save(path),
    "arrays": lambda size, path: io.save_arrays(path, {"a": np.ones(8 * size)}),
    "history": lambda size, path: History([{"loss": 1.0}] * size).save(path),
    "vocabulary": lambda size, path: data.Vocabulary([f"word{i}" for i in range(size)]).save(path),
    "vectors, binary": lambda size, path: _vectors(size).save_word2vec_format(path, binary=True),
    "vectors, text": lambda size, path: _vectors(size).save_word2vec_format(path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_disk_without_room_keeps_the_old_file(kind, tmp_path):
    """A limit on the size of files is met in the midst of a write, as the end of a disk is."""
    resource = pytest.importorskip("resource")
    path, write = tmp_path / "file.json", WRITERS[kind]
    write(2, path)
    before, there = path.read_bytes(), sorted(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*file\.json"):
            write(4000, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ({"a": np.array(["x"])}, None, "array 'a' has dtype <U1, expected real numbers"),
        ({"a": np.ones(2, complex)}, None, "array 'a' has dtype complex128, expected real numbers"),
        ({"a": [None]}, None, "array 'a' has dtype object, expected real numbers"),
        ({3: np.ones(2)}, None, "arrays have the name 3, expected a string"),
        ({}, {"f": print}, "metadata cannot be written as JSON: Object of type builtin_function_or_method"),
    ],
)
def test_what_a_file_cannot_hold(arrays, metadata, message, path):
    path.write_text("old")
    with pytest.raises(TypeError, match=message):
        io.save_arrays(path, arrays, metadata)
    assert path.read_text() == "old"
    assert len(list(path.parent.iterdir())) == 1


def test_flushed_before_renamed(path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (order.append(name), real(*args)))
    io.save_arrays(path, {"a": np.ones(3)})
    assert order == ["fsync", "replace", "fsync"]  # the last one of the directory


def test_a_path_that_cannot_be_written_is_named(path):
    for wrong in (path.parent / "missing" / "x", path.parent):
        with pytest.raises(OSError) as caught:
            io.save_arrays(wrong, {"a": np.ones(3)})
        assert caught.value.filename == str(wrong)
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_what_is_no_file_is_not_replaced(path):
    os.mkfifo(path)
    link = path.parent / "link"
    link.symlink_to(path.name)
    for wrong in (path, link):
        for write in (io.check_writable, lambda path: io.save_arrays(path, {"a": np.ones(3)})):
            with pytest.raises(OSError, match="Not a regular file") as caught:
                write(wrong)
            assert caught.value.filename == str(wrong)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert set(path.parent.iterdir()) == {path, link}


def test_a_link_is_followed_and_permissions_are_the_usual_ones(path):
    link = path.parent / "link"
    link.symlink_to(path.name)
    io.save_arrays(link, {"a": np.ones(3)})
    assert link.is_symlink()
    assert (io.load_arrays(path)[0]["a"] == 1).all()
    usual = path.parent / "usual"
    usual.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


# ---- reading what is not right ------------------------------------------------------------------------------


def test_truncated_files(path):
    MODULES["linear"].save(path)
    content = path.read_bytes()
    for size in (0, 1, 7, 8, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        for load in (fastnn.load, io.load_arrays):
            with pytest.raises(ValueError) as caught:
                load(path)
            assert str(caught.value).startswith(f"{path} is truncated or not a safetensors file: ")


def test_files_that_are_something_else(path):
    for content in (b"#!/bin/sh\necho hello\n" * 20, b"PK\x03\x04" * 50, b"\xff" * 100, b"{}"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is truncated or not a safetensors file"):
            fastnn.load(path)
    with pytest.raises(FileNotFoundError) as caught:
        fastnn.load(path.parent / "missing")
    assert caught.value.filename == str(path.parent / "missing")
    with pytest.raises(IsADirectoryError):
        fastnn.load(path.parent)


def test_numbers_that_numpy_lacks(path):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match=r"holds numbers that NumPy lacks: .*bfloat16"):
        io.load_arrays(path)


def test_files_that_hold_no_module(path):
    from safetensors.numpy import save_file

    io.save_arrays(path, {"a": np.ones(3)}, {"step": 1})
    with pytest.raises(ValueError, match=r"holds no module of fastnn; load_arrays reads its arrays"):
        fastnn.load(path)
    save_file({"a": np.ones(3)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"holds no module of fastnn; load_arrays reads its arrays"):
        fastnn.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta: meta["module"].update({"class": "Missing"}), "class 'Missing' is unknown here; import the code"),
        (lambda meta: meta["module"].update({"class": "fastnn.nn.os"}), "class 'fastnn.nn.os' is unknown here"),
        (lambda meta: meta["module"]["config"].update({"depth": 3}), "unexpected keyword argument 'depth'"),
        (lambda meta: meta["module"]["config"].update({"in_features": -1}), "in_features is -1"),
        (lambda meta: meta["module"]["config"].update({"in_features": 7}), "weight has shape (5, 6), expected (5, 7)"),
        (lambda meta: meta["module"]["config"].update({"bias": True}), "missing: bias"),
        (lambda meta: meta["module"].pop("config"), "class and config are missing"),
        (lambda meta: meta.update({"tied": {"weight": "nothing"}}), "nothing"),
    ],
)
def test_modules_that_do_not_fit_their_description(path, change, message):
    MODULES["linear"].save(path)
    rewrite(path, change)
    with pytest.raises(ValueError) as caught:
        fastnn.load(path)
    assert str(caught.value).startswith(f"{path} does not describe a module: ")
    assert message in str(caught.value)
