"""A quiet start of TensorFlow, and which processor trains."""

import argparse
import os
import subprocess
import sys

from common import cli, device

import pytest
import tensorflow as tf
from tensorflow import keras

ROUTINE = b"I0000 00:00:1.5    1 cudart_stub.cc:31] Could not find cuda drivers on your machine\n"


def strategy(name="auto"):
    return device.strategy(argparse.Namespace(device=name, batch_size=64))


def python(code, *folders, **variables):
    """Run `code` in a new Python that finds the project; `folders` come before it."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, (*folders, cli.PROJECT)))} | variables
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_a_start_says_only_that_another_backend_is_not_used_and_imports_nothing_that_one_processor_does_not_need():
    run = python(
        "import sys; from common import device, runs\n"
        "assert 'sklearn' not in sys.modules\n"
        "import argparse, sklearn.datasets\n"
        "device.strategy(argparse.Namespace(device='auto', batch_size=1))\n"
        "assert 'common.training.distributed' not in sys.modules\n"
        "print(device.tf.keras.config.backend())",
        KERAS_BACKEND="jax",
    )
    assert (run.returncode, run.stdout) == (0, "tensorflow\n"), run.stderr
    assert run.stderr.count("\n") == 1
    assert "KERAS_BACKEND=jax" in run.stderr


@pytest.mark.parametrize(
    ("tensorflow", "shown", "code"),
    [("raise ImportError('no libcuda')", "no libcuda", 1), ("raise KeyboardInterrupt", "", 130)],
)
def test_a_start_that_fails_shows_what_was_written(tensorflow, shown, code, tmp_path):
    (tmp_path / "tensorflow.py").write_text(f"import os; os.write(2, {ROUTINE})\n{tensorflow}\n")
    run = python("from common import device", tmp_path)
    assert run.stderr.startswith(ROUTINE.decode() if shown else "")
    assert shown in run.stderr
    assert run.returncode == code


def test_log_lines_are_held_back_unless_they_are_asked_for(capfd, monkeypatch):
    with device.quiet():
        os.write(2, ROUTINE)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(device, "VERBOSE", True)
    with device.quiet():
        os.write(2, ROUTINE)
        assert capfd.readouterr().err == ROUTINE.decode()


@pytest.mark.parametrize("name", ["auto", "cpu", "cpu:1"])
def test_one_processor_gets_no_strategy_in_the_way(name):
    assert strategy(name) is tf.distribute.get_strategy()
    assert strategy(name).num_replicas_in_sync == 1
    assert device.describe(strategy(name)) == "cpu"


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_a_processor_that_is_missing_is_named(name):
    with pytest.raises(cli.UserError, match=f"--device {name}: "):
        strategy(name)


def test_another_keras_backend_is_refused(monkeypatch):
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(cli.UserError, match="KERAS_BACKEND=tensorflow"):
        strategy()


def test_a_gpu_repeats_to_the_bit(monkeypatch):
    asked = []
    monkeypatch.setattr(device, "FOUND", ["cpu", "gpu"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu 0"])
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append("determinism"))
    assert device.describe(strategy("gpu")) == "gpu"
    assert asked == ["determinism"]
    strategy("cpu")
    assert asked == ["determinism"]


def test_a_precision_that_the_learner_sets_is_respected():
    keras.config.set_dtype_policy("mixed_bfloat16")
    strategy()
    assert keras.layers.Dense(1).compute_dtype == "bfloat16"
