"""What the tests share: no network, no data but the bundled digits, a CPU in two halves, a folder for every run."""

import os
import re

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the oracles are exact to 1e-5, which a GPU's rounding is not

import gan_mnist
from common import cli, mnist

import pytest
import tensorflow as tf
from matplotlib.figure import Figure

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)  # for --replicas 2
tf.config.list_logical_devices()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path, request):
    """Keep a test off the network, the project's data and its runs; slow tests keep the data."""
    monkeypatch.setattr(mnist, "SOURCES", ())
    monkeypatch.setattr(cli, "RUNS_DIR", tmp_path / "runs")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if "slow" not in request.keywords:
        monkeypatch.setattr(mnist, "DATA_DIR", tmp_path / "data")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    yield
    tf.keras.config.set_dtype_policy("float32")  # the next test's session fixtures come before this one


@pytest.fixture
def compiled(monkeypatch):
    """Return a function that runs `main(argv)` up to compile and returns the network and compile's named arguments."""

    class Compiled(Exception):
        pass

    def spy(model, *optimizers, **options):
        raise Compiled(model, options)

    def run(main, argv, kind=tf.keras.Sequential):
        with monkeypatch.context() as patch, pytest.raises(Compiled) as caught:
            patch.setattr(kind, "compile", spy)
            main(argv)
        return caught.value.args

    return run


@pytest.fixture(autouse=True)
def hasty_judge(monkeypatch, request):
    """Spare the time of a judge that can read, where no test asks it to."""
    if "slow" not in request.keywords and not re.search("the_judge_learns|real_images", request.node.name):
        monkeypatch.setattr(gan_mnist, "JUDGE_LEAST_STEPS", 2)


@pytest.fixture(autouse=True)
def sketch(monkeypatch, request):
    """Compose pictures without rendering them, which takes most of a short run's time; tests of pictures render."""
    if request.module.__name__ != "test_plots":
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: path.write_bytes(b"composed"))
