"""The encoder-decoder: its gradient, what padding and batches may not change, files, bad input; bucketed batches."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import optim
from fastnn.data import bucketed_batches, pad_sequences
from fastnn.models import Seq2Seq
from fastnn.training import Trainer

CONFIGURATIONS = [
    {},
    {"cell": "gru", "num_layers": 2, "residual": True, "score": "additive", "skip": True},
    {"cell": "rnn", "num_layers": 2, "bidirectional": False, "score": "dot"},
    {"num_layers": 2, "score": None, "skip": True},
    {"cell": "gru", "score": None, "skip": True},
    {"score": "scaled_dot", "skip": True, "dropout": 0.3},
]
SOURCE = np.array([[3, 4, 2], [1, 2, 2], [4, 0, 3], [0, 0, 1]])
LENGTHS = np.array([3, 2, 4])
TARGET = np.array([[1, 1, 1], [3, 4, 2], [4, 0, 3]])


def model_of(dtype=np.float64, **configuration):
    return Seq2Seq(5, 6, **{"hidden_size": 4, "embedding_size": 2, "rng": 0, "dtype": dtype, **configuration})


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_gradient(configuration):
    assert fastnn.gradcheck(model_of(**configuration), SOURCE, LENGTHS, TARGET)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_padding_changes_nothing(configuration):
    """Neither what stands in it nor how much there is, in values, gradients and translations."""
    model = model_of(**configuration | {"dropout": 0.0})
    rng = np.random.default_rng(0)
    padded = np.concatenate([SOURCE, np.zeros((2, 3), int)])
    noise = np.where(np.arange(6)[:, None] < LENGTHS, padded, rng.integers(0, 5, padded.shape))
    longer = np.concatenate([TARGET, rng.integers(0, 6, (2, 3))])
    results = []
    for source, target in ((SOURCE, TARGET), (padded, TARGET), (noise, longer)):
        logits, back = model.vjp(source, LENGTHS, target)
        following = np.full(target.shape, 0)
        following[:3] = [[3, 4, 2], [4, 2, 3], [2, 0, 2]]
        _, dlogits = fastnn.softmax_cross_entropy(logits, following, ignore_index=0)
        for parameter in model.parameters():
            parameter.grad = None
        assert back(dlogits) == (None, None, None)
        found = model.translate(source, LENGTHS, max_length=4, beam=3, n_best=2)
        results.append(
            [
                logits[:3],
                *(parameter.grad for parameter in model.parameters()),
                *(h.score for several in found for h in several),
                *(h.attention if h.attention is not None else 0 for several in found for h in several),
            ]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_order_in_the_batch_changes_nothing(configuration):
    model = model_of(**configuration)
    order = np.array([2, 0, 1])
    logits = model(SOURCE, LENGTHS, TARGET)
    np.testing.assert_allclose(model(SOURCE[:, order], LENGTHS[order], TARGET[:, order]), logits[:, order], rtol=1e-12)
    options = {"max_length": 5, "beam": 4, "n_best": 2}
    found, moved = (
        model.translate(SOURCE, LENGTHS, **options),
        model.translate(SOURCE[:, order], LENGTHS[order], **options),
    )
    for b, several in zip(order, moved, strict=True):
        (alone,) = model.translate(SOURCE[: LENGTHS[b], b : b + 1], LENGTHS[b : b + 1], **options)
        for one, two, three in zip(found[b], several, alone, strict=True):
            assert one.tokens.tolist() == two.tokens.tolist() == three.tokens.tolist()
            np.testing.assert_allclose([two.score, three.score], one.score, rtol=1e-12)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_steps_say_what_teacher_forcing_says(configuration):
    model = model_of(**configuration)
    logits = model(SOURCE, LENGTHS, TARGET)
    step, state = model.decoding(SOURCE, LENGTHS)
    for row, tokens in zip(logits, TARGET, strict=True):
        scores, state, *weights = step(tokens, state)
        np.testing.assert_allclose(scores, fastnn.log_softmax(row), rtol=1e-10)
        for array in weights:
            assert (array[np.arange(4)[None] >= LENGTHS[:, None]] == 0).all()
            np.testing.assert_allclose(array.sum(1), 1)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_file_brings_back_the_model(tmp_path, configuration):
    model = model_of(np.float32, **configuration)
    model.save(tmp_path / "model.safetensors")
    same = fastnn.load(tmp_path / "model.safetensors")
    assert isinstance(same, Seq2Seq)
    assert same.config() == model.config()
    np.testing.assert_array_equal(same(SOURCE, LENGTHS, TARGET), model(SOURCE, LENGTHS, TARGET))


def test_dropout_is_of_training_alone():
    model = model_of(dropout=0.5, num_layers=2)
    logits = model(SOURCE, LENGTHS, TARGET)
    np.testing.assert_array_equal(model.vjp(SOURCE, LENGTHS, TARGET, training=False)[0], logits)
    assert (model.vjp(SOURCE, LENGTHS, TARGET)[0] != logits).any()


def test_a_training_goes_on_where_it_stopped(tmp_path):
    """Bit for bit, with dropout, batches in random order, and a stop in the middle of an epoch."""

    class Stop(Exception):
        pass

    def run(path, *, steps=None, resume=False):
        rng = np.random.default_rng(0)
        model = Seq2Seq(9, 9, hidden_size=8, num_layers=2, embedding_size=4, dropout=0.2, rng=rng)
        batches = bucketed_batches(*pairs(40), size=8, rng=rng)

        def loss(output, target, need_grad=True):
            return fastnn.softmax_cross_entropy(output, target, ignore_index=0, need_grad=need_grad)

        def stop(trainer):
            if trainer.step == steps:
                raise Stop

        trainer = Trainer(model, loss, optim.Adam(model.parameters()), clip_norm=1.0)
        trainer.fit(batches, epochs=3, checkpoint=path, checkpoint_every=4, resume=resume, step_callbacks=[stop])
        return model.state_dict()

    whole = run(tmp_path / "whole.safetensors")
    with pytest.raises(Stop):
        run(tmp_path / "part.safetensors", steps=10)
    resumed = run(tmp_path / "part.safetensors", resume=True)
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)


@pytest.mark.parametrize("score", ["general", "additive"])
def test_it_learns_to_reverse(score):
    words = [list(word) for n in (2, 3, 4) for word in itertools.product((3, 4, 5), repeat=n)]
    model = Seq2Seq(6, 6, hidden_size=24, embedding_size=8, score=score, rng=1)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    batches = bucketed_batches(words, [word[::-1] for word in words], size=16, rng=np.random.default_rng(0))
    for _ in range(14):
        for *inputs, target in batches:
            logits, back = model.vjp(*inputs)
            _, dlogits = fastnn.softmax_cross_entropy(logits, target, ignore_index=0)
            optimizer.zero_grad()
            back(dlogits)
            optimizer.step()
    found = model.translate(*pad_sequences(words), max_length=6, beam=3)
    assert np.mean([best.tokens.tolist() == word[::-1] for (best, *_), word in zip(found, words, strict=True)]) > 0.9


BAD = [
    ({"lengths": [3, 0, 4]}, ValueError, "lengths hold 0 at 1, expected at least one token in every source"),
    ({"lengths": [3, 2, 5]}, ValueError, "lengths hold 5, expected numbers from 0 to the 4 steps of source"),
    ({"lengths": [3, 2]}, ValueError, r"lengths has shape \(2,\), expected \(3,\)"),
    ({"source": SOURCE + 1}, IndexError, "source holds 5, expected tokens from 0 to 4"),
    ({"source": SOURCE - 1}, IndexError, "source holds -1, expected tokens from 0 to 4"),
    ({"source": SOURCE[:, 0]}, ValueError, r"source has shape \(4,\), expected \(time, batch\)"),
    ({"source": SOURCE[:0]}, ValueError, r"source has shape \(0, 3\), expected \(time, batch\), both at least 1"),
    ({"source": SOURCE * 1.0}, TypeError, "source has dtype float64, expected integers"),
    ({"target_in": TARGET + 2}, IndexError, "target_in holds 6, expected tokens from 0 to 5"),
    ({"target_in": TARGET[:, :2]}, ValueError, r"target_in has shape \(3, 2\), expected \(T, 3\)"),
]


@pytest.mark.parametrize(("changed", "error", "message"), BAD)
def test_bad_input(changed, error, message):
    with pytest.raises(error, match=message):
        model_of().vjp(**{"source": SOURCE, "lengths": LENGTHS, "target_in": TARGET} | changed)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"cell": "tree"}, "cell is 'tree', expected one of"),
        ({"score": "cosine"}, "score is 'cosine', expected one of"),
        ({"hidden_size": 7}, "hidden_size is 7, expected an even number, half for each direction"),
        ({"end": 6}, "end is 6, expected one of the 6 tokens"),
        ({"residual": True}, "residual is True, but it works between layers"),
    ],
)
def test_bad_configuration(configuration, message):
    with pytest.raises(ValueError, match=message):
        model_of(**configuration)


def test_a_beam_larger_than_the_vocabulary():
    with pytest.raises(ValueError, match="beam is 7, expected at most the 6 tokens of the vocabulary"):
        model_of().translate(SOURCE, LENGTHS, max_length=4, beam=7)


# bucketed batches ------------------------------------------------------------------------------------------------


def pairs(n):
    rng = np.random.default_rng(0)
    return [[rng.integers(3, 9, rng.integers(1, 12)).tolist() for _ in range(n)] for _ in "st"]


def unpadded(batch):
    """Return the pairs in a batch, and check how it is padded."""
    source, lengths, target_in, target_out = batch
    assert source.shape[0] == lengths.max()
    assert (source[np.arange(len(source))[:, None] >= lengths] == 0).all()
    found = []
    for b, length in enumerate(lengths):
        stop = target_out[:, b].tolist().index(2)
        assert target_in[0, b] == 1
        assert target_in[1 : stop + 1, b].tolist() == target_out[:stop, b].tolist()
        assert not target_in[stop + 1 :, b].any()
        assert not target_out[stop + 1 :, b].any()
        found.append((source[:length, b].tolist(), target_out[:stop, b].tolist()))
    return found


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_pass_has_every_pair_once(shuffle):
    sources, targets = pairs(103)
    batches = bucketed_batches(sources, targets, size=10, shuffle=shuffle, rng=np.random.default_rng(1))
    passes = [[unpadded(batch) for batch in batches] for _ in range(2)]
    assert len(batches) == len(passes[0]) == 11
    for one in passes:
        assert sorted(itertools.chain(*one)) == sorted(zip(sources, targets, strict=True))
    assert (passes[0] == passes[1]) != shuffle
    padding = sum((batch[0] == 0).sum() for batch in batches)
    assert padding < 0.1 * sum(map(len, sources))


def test_padded_sequences():
    padded, lengths = pad_sequences([[1, 2], [], np.array([3, 4, 5], np.int16)], padding=9)
    assert padded.T.tolist() == [[1, 2, 9], [9, 9, 9], [3, 4, 5]]
    assert lengths.tolist() == [2, 0, 3]
    assert padded.dtype == np.int64
    assert pad_sequences([[], []])[0].shape == (0, 2)


def test_bad_sequences():
    with pytest.raises(ValueError, match="sequences are empty"):
        pad_sequences([])
    with pytest.raises(TypeError, match=r"sequences\[1\] has shape \(1,\) and dtype float64"):
        pad_sequences([[1], [0.5]])
    with pytest.raises(TypeError, match=r"sequences\[0\] has shape \(\)"):
        pad_sequences([3])
    with pytest.raises(ValueError, match="targets are 1, expected 2, as many as sources"):
        bucketed_batches([[1], [2]], [[1]])
    with pytest.raises(ValueError, match="size is 0"):
        bucketed_batches([[1]], [[1]], size=0)
    with pytest.raises(TypeError, match="rng is 0, expected a numpy"):
        bucketed_batches([[1]], [[1]], rng=0)
