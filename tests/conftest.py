"""What the tests share: no network, no data but the bundled digits, a CPU in two halves, a folder for every run."""

import hashlib
import os
import signal
import types
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the oracles are exact to 1e-5, which a GPU's rounding is not

from common import cli, device, mnist, runs  # noqa: F401  device starts TensorFlow quietly
from common.data import download
from common.generative import metrics

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

PROJECT = Path(__file__).resolve().parent.parent
CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)  # for --device cpu:2
tf.config.list_logical_devices()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path, tmp_path_factory, request):
    """Keep a test off the network, the project's data and its runs; slow tests may read the data."""
    monkeypatch.setattr(download, "MNIST", [])
    monkeypatch.setattr(download, "REVIEWS", [])
    monkeypatch.setattr(runs, "RUNS_DIR", tmp_path / "runs")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(metrics, "LEAST_STEPS", 2)  # the judge need not be able to read; on MNIST it takes more anyway
    data = tmp_path / "data"
    if "slow" in request.keywords:
        data = tmp_path_factory.mktemp("data")
        for path in download.DATA_DIR.glob("*"):
            (data / path.name).symlink_to(path)
    else:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "DATA_DIR", data)
    yield
    tf.keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def sketch(monkeypatch, request):
    """Compose pictures without rendering them, which takes most of a short run's time."""

    def compose(film, path, *writer, **options):
        film._init_draw()  # the first frame
        path.write_bytes(b"composed")

    if "rendered" not in request.keywords:
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: path.write_bytes(b"composed"))
        monkeypatch.setattr(FuncAnimation, "save", compose)


@pytest.fixture(autouse=True)
def terminal():
    """Take Ctrl-C and the like as in a terminal; a background job may ignore them."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in runs.STOP}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def arrays(rng):
    """Ten random images, six to train on, with the labels 0 to 9."""
    images, labels = rng.integers(256, size=(10, 28, 28), dtype=np.uint8), np.arange(10, dtype=np.uint8)
    return {"x_train": images[:6], "y_train": labels[:6], "x_test": images[6:], "y_test": labels[6:]}


@pytest.fixture
def genuine(arrays, monkeypatch):
    """The same images, passed off as MNIST."""
    hashes = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    monkeypatch.setattr(mnist, "MNIST_SHA256", hashes)
    return arrays


@pytest.fixture
def images():
    return mnist.as_images(mnist.load_mnist("digits").x_train)  # (1437, 28, 28, 1)


@pytest.fixture
def edited():
    """Return a function that returns a lesson as a module, with lines of its source replaced as a learner would."""

    def edit(script, *changes):
        path = PROJECT / f"{script}.py"
        source = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in source, f"{script}.py has no {old!r} any more: edit the test as well"
            source = source.replace(old, new)
        module = types.ModuleType(script)
        module.__file__ = str(path)
        exec(compile(source, str(path), "exec"), module.__dict__)
        return module

    return edit
