import os
import subprocess
import sys
from pathlib import Path

from common import cli

import pytest
from tensorflow import keras

PROJECT = Path(cli.__file__).parent.parent


def flags(*argv):
    return cli.parser("A script.", epochs=20, batch_size=128, optimizer="adam").parse_args(argv)


def test_the_defaults_are_the_scripts():
    args = flags()
    assert (args.epochs, args.batch_size, args.optimizer, args.learning_rate) == (20, 128, "adam", None)
    assert (args.data, args.limit, args.seed, args.device, args.out, args.show) == (None, None, 0, "auto", None, False)
    assert cli.parser("A script.", steps=501).parse_args([]).steps == 501


@pytest.mark.parametrize(
    ("defaults", "expected"),
    [
        ({}, "data seed out show"),
        ({"images": False}, "seed out show"),
        ({"steps": 501, "batch_size": 50, "images": False}, "steps batch_size seed device out show"),
        ({"epochs": 5}, "epochs data limit resume seed device out show"),
        ({"epochs": 5, "optimizer": "sgd"}, "epochs optimizer learning_rate data limit resume seed device out show"),
    ],
)
def test_a_flag_of_training_is_there_only_if_its_default_is_given(defaults, expected):
    args = cli.parser("A script.", **defaults).parse_args([])
    assert set(vars(args)) == set(expected.split())


@pytest.mark.parametrize(
    "argv",
    [
        ("--epochs", "0"),
        ("--epochs", "-3"),
        ("--epochs", "many"),
        ("--epochs", "2.5"),
        ("--batch-size", "0"),
        ("--batch-size", str(2**63)),
        ("--epochs", str(10**30)),
        ("--learning-rate", "0"),
        ("--optimizer", "magic"),
        ("--limit", "0"),
        ("--limit", "nan"),
        ("--limit", "9" * 400 + ".5"),
        ("--seed", "-1"),
        ("--seed", str(2**32)),
        ("--device", "abacus"),
        ("--device", "cpu:0"),
        ("--device", "cpu:" + "9" * 30),
        ("--device", "cpu:x"),
        ("--device", "gpu:1"),
        ("--epoch", "3"),
        ("--unknown",),
    ],
)
def test_a_bad_flag_is_named_with_what_was_expected(argv):
    with pytest.raises(cli.UserError, match=argv[0]) as caught:
        flags(*argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["auto", "cpu", "gpu", "tpu", "cpu:2", "cpu:16"])
def test_a_device_is_a_kind_of_processor_or_the_cpu_in_parts(name):
    assert flags("--device", name).device == name


def test_numbers_stop_at_their_bounds():
    dropout = cli.number(float, at_least=0, below=1)
    assert dropout("0") == 0
    assert dropout("0.99") == 0.99
    for text in ("1", "-0.1", "nan", "inf", "half"):
        with pytest.raises(cli.argparse.ArgumentTypeError, match="a number of at least 0 and below 1, got"):
            dropout(text)
    with pytest.raises(cli.argparse.ArgumentTypeError, match="above 0"):
        cli.number(float, above=0)("0")


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    args = flags("--data=~/digits", "--out=~/runs/1")
    assert (args.data, args.out) == ("/home/me/digits", "/home/me/runs/1")


def test_keras_knows_every_optimizer_and_activation_on_the_lists():
    for name in cli.OPTIMIZERS:
        assert isinstance(keras.optimizers.get(name), keras.optimizers.Optimizer)
        assert flags("--optimizer", name.upper()).optimizer == name
    for name in cli.ACTIVATIONS:
        assert callable(keras.activations.get(name))


def test_a_path_is_shown_as_one_would_type_it(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.relative(tmp_path / "here" / "runs" / "1") == os.path.join("runs", "1")
    assert cli.relative("runs") == "runs"
    assert cli.relative(tmp_path / "there") == str(tmp_path / "there")


def test_a_command_line_is_read_before_tensorflow_starts():
    code = "import sys, common.cli; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PROJECT)}).returncode == 0
