import argparse
import os
import subprocess
import sys
from pathlib import Path

from common import cli, device

import pytest
import tensorflow as tf
from tensorflow import keras

PROJECT = Path(device.__file__).parent.parent
ROUTINE = b"I0000 00:00:1.5    1 cudart_stub.cc:31] Could not find cuda drivers on your machine\n"


def strategy(name="auto", **flags):
    return device.strategy(argparse.Namespace(device=name, batch_size=64, **flags))


def python(code, *folders, **variables):
    """Run `code` in a new Python that finds the project; `folders` come before it."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, (*folders, PROJECT)))} | variables
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


# The start


def test_a_quiet_start_imports_nothing_that_one_processor_does_not_need():
    run = python(
        "import sys; from common import device\n"
        "assert 'sklearn' not in sys.modules\n"
        "import argparse, sklearn.datasets\n"
        "device.strategy(argparse.Namespace(device='auto', batch_size=1))\n"
        "assert 'common.cluster' not in sys.modules"
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_the_environment_and_keras_json_can_ask_for_log_lines_but_not_for_another_arithmetic(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"backend": "jax", "floatx": "float64", "epsilon": 0.1, "image_data_format": "channels_first"}'
    )
    run = python(
        f"import os; from common import device\nwith device.quiet(): os.write(2, {ROUTINE})\n"
        "asked = 'backend', 'floatx', 'epsilon', 'image_data_format', 'max_epochs', 'max_steps_per_epoch'\n"
        "print(*[getattr(device.tf.keras.config, name)() for name in asked])",
        TF_CPP_MIN_LOG_LEVEL="0", KERAS_BACKEND="jax", TF_USE_LEGACY_KERAS="1", KERAS_HOME=str(tmp_path),
        KERAS_MAX_EPOCHS="1", KERAS_MAX_STEPS_PER_EPOCH="1",
    )  # fmt: skip
    assert ROUTINE.decode() in run.stderr
    assert run.stdout == "tensorflow float32 1e-07 channels_last None None\n"


@pytest.mark.parametrize(
    ("tensorflow", "shown", "code"),
    [("raise ImportError('no libcuda')", "no libcuda", 1), ("raise KeyboardInterrupt", "", 130)],
)
def test_a_start_that_fails_shows_all_that_was_written(tensorflow, shown, code, tmp_path):
    (tmp_path / "tensorflow.py").write_text(f"import os; os.write(2, {ROUTINE})\n{tensorflow}\n")
    run = python("from common import device", tmp_path)
    assert run.stderr.startswith(ROUTINE.decode())
    assert shown in run.stderr
    assert run.returncode == code


def test_quiet_drops_routine_lines_and_nothing_else(capfd):
    with device.quiet():
        os.write(2, ROUTINE)
        os.write(2, b"E0000 00:00:1.5    1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n")
        os.write(2, b"2026-01-01 10:00:00.5: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b"E0000 00:00:1.5    1 cuda_fft.cc:477] Unable to register cuFFT factory: one is registered\n")
        os.write(2, b"E0000 00:00:1.5    1 platform.cc:52] failed call to cuInit: DRIVER_MISMATCH\n")
        os.write(2, b"\xff not text\n")
        assert capfd.readouterr().err == "", "it holds everything back until the end"
    os.write(2, b"I0000 after\n")
    assert capfd.readouterr().err == (
        "E0000 00:00:1.5    1 platform.cc:52] failed call to cuInit: DRIVER_MISMATCH\n\ufffd not text\nI0000 after\n"
    )


def test_quiet_shows_everything_where_the_body_fails(capfd):
    with pytest.raises(ZeroDivisionError), device.quiet():
        os.write(2, ROUTINE)
        raise ZeroDivisionError
    assert capfd.readouterr().err == ROUTINE.decode()


# Which processor


@pytest.mark.parametrize("name", ["auto", "cpu", "cpu:1"])
def test_one_processor_gets_no_strategy_in_the_way(name):
    assert strategy(name) is tf.distribute.get_strategy()
    assert strategy(name).num_replicas_in_sync == 1
    assert device.describe(strategy(name)) == "cpu"


def test_a_processor_that_is_missing_is_named_beside_those_at_hand(monkeypatch):
    monkeypatch.setattr(device, "FOUND", ["cpu"])
    for name in ("gpu", "tpu"):
        with pytest.raises(cli.UserError, match=f"finds no {name} here, only cpu"):
            strategy(name)


def test_another_keras_backend_is_refused(monkeypatch):
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(cli.UserError, match="KERAS_BACKEND=tensorflow"):
        strategy()


def test_the_cpu_is_no_more_to_be_had_once_a_gpu_is_in_use(monkeypatch):
    def refuse(*args):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.raises(cli.UserError, match="start it anew"):
        strategy("cpu")


def test_a_gpu_repeats_to_the_bit(monkeypatch):
    asked = []
    monkeypatch.setattr(device, "FOUND", ["cpu", "gpu"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu 0"])
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append("determinism"))
    assert device.describe(strategy("gpu")) == "gpu"
    assert asked == ["determinism"]
    strategy("cpu")
    assert asked == ["determinism"]


# Which precision


def test_layers_compute_in_the_precision_asked_for_and_keep_their_weights_in_float32():
    strategy(precision="bfloat16")
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    assert layer.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    strategy()
    assert keras.layers.Dense(1).compute_dtype == "float32"


@pytest.mark.parametrize(
    ("cpuinfo", "gpus", "expected"),
    [
        ("flags : fma avx2", [], "float32"),
        ("flags : avx512f avx512_bf16", [], "mixed_bfloat16"),
        ("flags : avx512f avx512_bf16", ["gpu 0"], "float32"),
        (None, [], "float32"),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_has_instructions_for_it(cpuinfo, gpus, expected, monkeypatch, tmp_path):
    if cpuinfo:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(device, "Path", lambda path: tmp_path / "cpuinfo")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    assert device.policy("auto") == expected
