"""The command line, run as a user runs it: what it prints, what it leaves on the disk, how it fails."""

import os
import re
import select
import shlex
import signal
import subprocess
import sys

import pytest

import fastnn
from fastnn import nn
from fastnn.cli import main

TEXT = "the cat sat on the mat, the rat sat on the cat.\r\n" * 40
QUICK = ["--hidden-size", "8", "--embedding-size", "4", "--seq-length", "8", "--batch-size", "4", "--twin-seconds", "0"]
TRAIN = ["lm", "train", "text.txt", "--epochs", "2", *QUICK]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Run every test in a directory of its own, with a text in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, newline="")
    return tmp_path


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_info_tells_what_is_installed_and_chosen(capsys):
    assert main(["info"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["fastnn"] == fastnn.__version__
    assert "backend" in told
    assert fastnn.show_config() is None
    assert "NumPy's BLAS" in capsys.readouterr().out


@pytest.mark.kernels
def test_info_names_the_instruction_sets_and_threads(capsys):
    from fastnn._kernels import cpu

    main(["info"])
    out = capsys.readouterr().out
    assert re.search(rf"instruction set +{cpu.isa()}\n", out)
    assert re.search(rf"built for +{', '.join(cpu.built())}\n", out)
    assert re.search(rf"threads +{cpu.get_num_threads()}\n", out)


def test_python_m_fastnn_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "fastnn", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fastnn {fastnn.__version__}\n"


@pytest.mark.parametrize("command", [[], ["info"], ["lm"], ["lm", "train"], ["lm", "sample"]])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert "usage: fastnn" in capsys.readouterr().out


def test_train_tells_everything_and_names_the_command_for_more(capsys, directory):
    assert main(TRAIN) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"fastnn {fastnn.__version__}, ")
    for part in (
        "text: text.txt, 1,764 characters to learn, the last 196 to validate",
        "vocabulary: 15 characters",
        "of a uniform model: 15\n",
        "of a unigram model: 10.",
        "best validation perplexity: ",
        "checkpoint: fastnn-lm.safetensors",
    ):
        assert part in out
    assert len(re.findall(r"(?m)^ +\d+ +\d+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d,]+$", out)) >= 10
    assert set(files(directory)) == {"text.txt", "fastnn-lm.safetensors"}
    assert fastnn.load("fastnn-lm.safetensors").vocabulary.tokens == tuple(sorted(set(TEXT)))
    words = shlex.split(out.splitlines()[-1])
    assert words[:3] == ["fastnn", "lm", "sample"]
    for extra in ([], ["--temperature", "0"], ["--top-k", "3", "--length", "10", "--seed", "1"]):
        assert main([*words[1:], *extra]) == 0
        assert capsys.readouterr().out.startswith(words[-1])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_train_other_cells(capsys, cell):
    assert main([*TRAIN, "--cell", cell, "--tied", "--hidden-size", "4"]) == 0
    lm = fastnn.load("fastnn-lm.safetensors")
    assert (lm.cell, lm.tied, lm.hidden_size) == (cell, True, 4)
    assert main(["lm", "sample", "fastnn-lm.safetensors", "--prefix", "the", "--length", "3"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*TRAIN, "--cell", "elman"])
    assert stop.value.code == 2


def test_sample_repeats_with_the_seed_and_goes_on_for_its_length(capsys):
    main([*TRAIN, "--out", "lm"])
    capsys.readouterr()
    outs = []
    for seed in ("1", "1", "2"):
        assert main(["lm", "sample", "lm", "--prefix", "the", "--length", "50", "--seed", seed]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] != outs[2]
    assert len(outs[0]) == 3 + 50 + 1


def test_a_second_run_keeps_the_checkpoint_unless_told_otherwise(capsys, directory):
    assert main(TRAIN) == 0
    before = files(directory)
    assert main(TRAIN) == 2
    err = capsys.readouterr().err
    assert "--resume" in err
    assert "--overwrite" in err
    assert files(directory) == before
    assert main([*TRAIN, "--overwrite", "--seed", "5"]) == 0
    assert files(directory) != before
    assert main([*TRAIN, "--out", "another"]) == 0
    assert (directory / "another").exists()


def test_resume_goes_on_with_the_settings_of_the_checkpoint(capsys, directory):
    assert main(TRAIN) == 0
    before = files(directory)
    for options, words in (([], "all of its budget"), (["--epochs", "4", "--lr", "1"], "lr cannot change")):
        assert main(["lm", "train", "text.txt", "--resume", "--twin-seconds", "0", *options]) == 2
        assert words in capsys.readouterr().err
        assert files(directory) == before
    assert main(["lm", "train", "text.txt", "--resume", "--epochs", "4", "--twin-seconds", "0"]) == 0
    steps = re.findall(r"(?m)^ +(\d+) +\d+ +[\d.]+ ", capsys.readouterr().out)
    assert int(steps[0]) > 100


@pytest.mark.kernels
def test_the_twin_is_timed(capsys):
    assert main([*TRAIN[:-1], "0.2"]) == 0
    out = capsys.readouterr().out
    fast = float(re.search(r"training speed: ([\d,]+) characters a second", out)[1].replace(",", ""))
    slow, ratio = re.search(r"NumPy twin: ([\d,]+) characters a second, ([\d.]+) times slower", out).groups()
    assert fast / float(slow.replace(",", "")) == pytest.approx(float(ratio), abs=0.1)


@pytest.mark.parametrize("options", [["--clip", "none", "--sampling", "random"], ["--layers", "2", "--dropout", "0"]])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_options_reach_the_training(options, optimizer):
    from fastnn.io import load_arrays

    assert main([*TRAIN, *options, "--optimizer", optimizer, "--lr", "0.01", "--reports", "12", "--prefix", "the"]) == 0
    lm, (_, metadata) = fastnn.load("fastnn-lm.safetensors"), load_arrays("fastnn-lm.safetensors")
    settings = metadata["notes"]["settings"]
    assert (settings["optimizer"], settings["lr"], settings["reports"]) == (optimizer, 0.01, 12)
    assert (settings["num_steps"], settings["batch_size"], settings["epochs"]) == (8, 4, 2)
    assert (lm.config()["hidden_size"], lm.config()["embedding_size"]) == (8, 4)
    if "none" in options:
        assert (settings["clip"], settings["sampling"]) == (None, "random")
    else:
        assert (lm.config()["num_layers"], lm.config()["dropout"]) == (2, 0)


def test_any_utf8_text_will_do(capsys, directory):
    (directory / "学.txt").write_text("深度学习学习笔记。\n循环神经网络。\n" * 20, encoding="utf-8")
    assert main(["lm", "train", "学.txt", "--epochs", "1", *QUICK]) == 0
    assert main(["lm", "sample", "fastnn-lm.safetensors", "--prefix", "学习", "--length", "5"]) == 0
    assert len(capsys.readouterr().out.splitlines()[-1]) <= 7


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_alone(terminal):
    reader, writer = os.openpty() if terminal else os.pipe()
    subprocess.run([sys.executable, "-m", "fastnn", *TRAIN], stdout=subprocess.PIPE, stderr=writer, check=True)
    with open(reader, "rb", buffering=0) as shown, open(writer, "wb"):
        ready, _, _ = select.select([shown], [], [], 5 if terminal else 0)  # a terminal takes its time
        assert (b"% |" in shown.read(4096) if ready else False) == terminal


# bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.txt"], "missing.txt: No such file or directory"),
        (["."], ".: Is a directory"),
        (["empty.txt"], "text is empty"),
        (["short.txt"], "text has 18 characters, expected at least 36"),
        (["latin.txt"], "latin.txt is not UTF-8 text: invalid continuation byte at byte 2"),
        (["text.txt", "--out", "no/lm"], "no/lm: No such file or directory"),
        (["text.txt", "--out", "text.txt/lm"], "text.txt/lm: Not a directory"),
        (["text.txt", "--out", "sub"], "sub exists"),
        (["text.txt", "--out", "sub", "--overwrite"], "sub: Is a directory"),
        (["text.txt", "--prefix", "Ünknown"], "'Ü' (U+00DC)"),
        (["text.txt", "--prefix", ""], "prefix is empty"),
        (["text.txt", "--hidden-size", "0"], "hidden_size is 0"),
        (["text.txt", "--dropout", "1.5"], "p is 1.5"),
        (["text.txt", "--seconds", "-1"], "seconds is -1.0"),
        (["text.txt", "--lr", "nan"], "lr is nan"),
        (["text.txt", "--twin-seconds", "-1"], "twin_seconds is -1.0"),
        (["text.txt", "--optimizer", "sgd", "--lr", "1e38", "--clip", "none"], "is the first that is not finite"),
        (["text.txt", "--resume"], "fastnn-lm.safetensors: No such file or directory"),
        (["text.txt", "--resume", "--out", "text.txt"], "text.txt is truncated or not a safetensors file"),
        (["text.txt", "--resume", "--out", "linear"], "linear holds a Linear"),
    ],
)
def test_train_rejects_in_one_sentence(capsys, directory, arguments, words):
    (directory / "empty.txt").write_text("")
    (directory / "short.txt").write_text("the cat sat on the ma")
    (directory / "latin.txt").write_bytes("na\xefve".encode("latin-1"))
    (directory / "sub").mkdir()
    nn.Linear(2, 2).save("linear")
    before = files(directory)
    options = [] if "--resume" in arguments else [*QUICK, "--seconds", "9"]
    assert main(["lm", "train", *arguments[:1], *options, *arguments[1:]]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.startswith("fastnn: ")
    assert err.count("\n") == 1
    assert files(directory) == before


def test_a_want_of_memory_is_told_in_one_line(capsys, directory):
    before = files(directory)
    assert main(["lm", "train", "text.txt", "--hidden-size", str(10**8)]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"fastnn: Unable to allocate .*\n", err)
    assert files(directory) == before


def test_words(capsys, directory):
    assert main([*TRAIN, "--words", "--min-freq", "20", "--input-dropout", "0.1", "--prefix", "The cat sat"]) == 0
    out = capsys.readouterr().out
    for line in ("504 words to learn, the last 56 to validate", "vocabulary: 9 words", "words/s", "words a second"):
        assert line in out
    assert "\nThe cat sat" in out
    assert "<unk>" not in out.split("goes on")[1]
    assert max(map(len, out.split("goes on:")[1].splitlines())) <= 100
    lm = fastnn.load("fastnn-lm.safetensors")
    assert type(lm).__name__ == "LanguageModel"
    sample = ["lm", "sample", "fastnn-lm.safetensors", "--prefix", "the bird", "--top-p", "0.9", "--length", "5"]
    assert main([*sample, "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("the bird ")
    assert main(["lm", "train", "text.txt", "--resume", "--epochs", "3", "--twin-seconds", "0.01"]) == 0
    assert "NumPy twin" in capsys.readouterr().out or fastnn._backend.BACKEND == "reference"


def test_chinese_verse(capsys, directory):
    assert main(["lm", "train", "--text", "zh", "--seconds", "0.5", "--reports", "1", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "Three Hundred Tang Poems" in out
    assert "vocabulary: 2842 characters" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["text.txt", "--text", "zh"], "both text.txt and --text zh are given"),
        (["text.txt", "--min-freq", "3"], "min_freq is 3, but only --words has use for it"),
        (["text.txt", "--words", "--min-freq", "0"], "min_freq is 0"),
        (["empty.txt", "--words"], "text is empty, expected at least one token"),
        (["one.txt"], "vocabulary has 1 token"),
        (["blank.txt", "--words"], "the last tenth of blank.txt, which is to validate, holds no words"),
    ],
)
def test_texts_and_words_rejects_in_one_sentence(capsys, directory, options, words):
    (directory / "empty.txt").write_text("")
    (directory / "one.txt").write_text("aaaa")
    (directory / "blank.txt").write_text("the cat " * 50 + "\n" * 100)
    assert main(["lm", "train", *options]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing"], "missing: No such file or directory"),
        (["text.txt"], "text.txt is truncated or not a safetensors file"),
        (["half"], "half is truncated or not a safetensors file"),
        (["linear"], "linear holds a Linear"),
        (["lm", "--prefix", ""], "prefix is empty"),
        (["lm", "--prefix", "the Cat"], "'C' (U+0043) at position 4"),
        (["lm", "--temperature", "-1"], "temperature is -1.0"),
        (["lm", "--top-k", "0"], "top_k is 0"),
        (["lm", "--length", "-1"], "n is -1"),
    ],
)
def test_sample_rejects_in_one_sentence(capsys, directory, arguments, words):
    main([*TRAIN, "--out", "lm"])
    (directory / "half").write_bytes((directory / "lm").read_bytes()[:3000])
    nn.Linear(2, 2).save("linear")
    capsys.readouterr()
    assert main(["lm", "sample", arguments[0], "--prefix", "the", *arguments[1:]]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lm"],
        ["fly"],
        ["lm", "train", "--cell", "x"],
        ["lm", "train", "--seed", "-1"],
        ["lm", "train", "--lr", "x"],
        ["lm", "train", "--resume", "--overwrite"],
        ["lm", "sample", "lm"],
    ],
)
def test_words_that_are_no_command_end_with_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: fastnn" in capsys.readouterr().err


# Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_ctrl_c_keeps_the_last_checkpoint_whole(capsys, directory):
    options = ["--seconds", "60", "--reports", "300", *QUICK]
    command = [sys.executable, "-u", "-m", "fastnn", "lm", "train", "text.txt", *options]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        seen = 0
        for line in run.stdout:
            seen += bool(re.match(r" +[\d,]+ +\d+ +[\d.]+ ", line))
            if seen == 3:
                break
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert re.fullmatch(
        r"fastnn: interrupted after step \d+, which fastnn-lm.safetensors holds, and --resume goes on from it\n", err
    )
    assert set(files(directory)) == {"text.txt", "fastnn-lm.safetensors"}
    assert fastnn.load("fastnn-lm.safetensors").perplexity(TEXT[:100]) < 16
    assert main(["lm", "train", "text.txt", "--resume", "--seconds", "2", "--twin-seconds", "0"]) == 0
