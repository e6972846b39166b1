"""What the tests share: no network, no data but the bundled digits, a CPU in two halves, a folder for every run."""

import os
import signal
import types
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the oracles are exact to 1e-5, which a GPU's rounding is not

from common import device, download, files, judge, mnist, results  # noqa: F401  device starts TensorFlow quietly

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

PROJECT = Path(__file__).resolve().parent.parent
CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)  # for --device cpu:2
tf.config.list_logical_devices()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path, request):
    """Keep a test off the network, the project's data and its runs; slow tests keep the data."""
    monkeypatch.setattr(download, "MNIST", ())
    monkeypatch.setattr(download, "REVIEWS", ())
    monkeypatch.setattr(results, "RUNS_DIR", tmp_path / "runs")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power cut is expected
    monkeypatch.setattr(judge, "LEAST_STEPS", 2)  # it need not be able to read; on MNIST it takes more anyway
    if "slow" not in request.keywords:
        monkeypatch.setattr(mnist, "DATA_DIR", tmp_path / "data")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    yield
    tf.keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def sketch(monkeypatch, request):
    """Compose pictures without rendering them, which takes most of a short run's time."""
    if "rendered" not in request.keywords:
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: path.write_bytes(b"composed"))


@pytest.fixture(autouse=True)
def terminal():
    """Take Ctrl-C and the like as in a terminal; a background job may ignore them."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in files.STOP}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images():
    return mnist.as_images(mnist.load_mnist("digits").x_train)  # (1437, 28, 28, 1)


@pytest.fixture
def edited():
    """Return a function that returns a lesson as a module, with lines of its source replaced as a learner would."""

    def edit(script, *changes):
        source = (PROJECT / f"{script}.py").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in source, f"{script}.py has no {old!r} any more: edit the test as well"
            source = source.replace(old, new)
        module = types.ModuleType(script)
        exec(compile(source, f"{script}.py", "exec"), module.__dict__)
        return module

    return edit
