"""Several processors, and several machines, compute what one would."""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import mlp_mnist
from common import cli, device

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from test_readers import write_npz

MLP = ["--data", "digits", "--limit", "256", "--epochs", "2", "--dropout", "0"]  # replicas draw their own dropout
PATIENCE = 240  # seconds for a process on a busy machine


def strategy(name="auto", single=None):
    return device.strategy(argparse.Namespace(device=name, batch_size=64), single)


def tf_config(workers, index=0):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def losses(folder):
    return [float(row.split(",")[-1]) for row in (folder / "history.csv").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The result of the same training on one processor."""
    return mlp_mnist.main([*MLP, "--out", str(tmp_path_factory.mktemp("one"))])


def test_replicas_compute_what_one_processor_would_and_round_the_batch_up(one, capsys):
    two = mlp_mnist.main([*MLP, "--batch-size", "127", "--device", "cpu:2"])
    assert "device cpu x 2;" in capsys.readouterr().out
    assert two["flags"]["batch_size"] == one["flags"]["batch_size"] == 128
    assert (one["replicas"], two["replicas"]) == (1, 2)
    np.testing.assert_allclose(losses(two["folder"]), losses(one["folder"]), atol=1e-5)
    ours, theirs = (keras.models.load_model(run["folder"] / "model.keras").get_weights() for run in (one, two))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_several_gpus_work_together_unless_the_model_cannot_be_copied(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu 0", "gpu 1"])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: argparse.Namespace(num_replicas_in_sync=2))
    assert strategy().num_replicas_in_sync == 2
    assert strategy(single="its state is one").num_replicas_in_sync == 1


@pytest.mark.parametrize(
    ("name", "single", "workers", "message"),
    [
        ("cpu:3", None, None, "start it anew"),  # the tests have split the CPU in two
        ("cpu:2", "the state is one", None, "the state is one"),
        ("tpu", "the state is one", None, "the state is one"),
        ("auto", "the state is one", ["a:1", "b:1"], "the state is one"),
    ],
)
def test_what_does_not_go_together_is_refused(name, single, workers, message, monkeypatch):
    if workers:
        monkeypatch.setenv("TF_CONFIG", tf_config(workers))
    with pytest.raises(cli.UserError, match=message):
        strategy(name, single)


@pytest.mark.parametrize("config", ["", "{}", '{"environment": "cloud"}'])
def test_a_tf_config_that_names_no_workers_changes_nothing(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    assert strategy(single="the state is one") is tf.distribute.get_strategy()


@pytest.mark.parametrize("config", ['{"worker": ["a:1", "b:1"]', tf_config(["a:1", "b:1"], index=2), tf_config(3)])
def test_a_wrong_tf_config_is_one_line(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(cli.UserError, match="TF_CONFIG"):
        strategy()


@pytest.fixture
def workers(tmp_path):
    """Return a function that starts two processes of a script, joined over the loopback address."""
    processes = []

    def start(*argv, script="mlp_mnist", of_second=()):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
        for index in (0, 1):
            command = [sys.executable, cli.PROJECT / f"{script}.py", *argv, *of_second * index]
            with (tmp_path / f"printed{index}").open("w") as printed:
                processes.append(subprocess.Popen(
                    [*command, "--out", tmp_path / f"worker{index}"], stdout=printed, stderr=subprocess.STDOUT,
                    env={**os.environ, "TF_CONFIG": tf_config(addresses, index)}))
        return processes

    yield start
    for process in processes:
        process.kill()
        process.wait()


linux = pytest.mark.skipif(sys.platform == "win32", reason="TensorFlow's collectives were tried on Linux only")


@linux
def test_two_machines_train_what_one_would_and_the_first_keeps_the_files(workers, one, tmp_path):
    codes = [process.wait(PATIENCE) for process in workers(*MLP)]
    assert codes == [0, 0], (tmp_path / "printed0").read_text()
    np.testing.assert_allclose(losses(tmp_path / "worker0"), losses(one["folder"]), atol=1e-4)
    result = json.loads((tmp_path / "worker0" / "result.json").read_text())
    assert (result["replicas"], result["status"]) == (2, "finished")
    assert result["test_loss"] == pytest.approx(one["test_loss"], abs=1e-4)
    assert {path.name for path in (tmp_path / "worker0").iterdir()} == {path.name for path in one["folder"].iterdir()}
    assert not (tmp_path / "worker1").exists()
    assert "worker 0 has the files" in (tmp_path / "printed1").read_text()


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"),
    [("cnn_mnist", "--epochs 2 --filters 8"), ("rnn_mnist", "--epochs 2 --units 16"), ("fast_mnist", "rnn --epochs 1")],
)
def test_two_machines_train_the_other_scripts_too(script, flags, workers, tmp_path):
    processes = workers("--data", "digits", "--limit", "200", *flags.split(), script=script)
    assert [process.wait(PATIENCE) for process in processes] == [0, 0], (tmp_path / "printed0").read_text()
    assert json.loads((tmp_path / "worker0" / "result.json").read_text())["replicas"] == 2


@linux
@pytest.mark.slow
@pytest.mark.parametrize("differ", ["seed", "images"])
def test_machines_that_differ_name_the_difference_and_train_nothing(differ, workers, tmp_path, arrays):
    files = [write_npz(tmp_path / folder / "some.npz", arrays) for folder in ("here", "there")]
    if differ == "images":
        write_npz(files[1], {**arrays, "x_train": arrays["x_train"] ^ 1})
    of_second = ("--data", files[1], *(("--seed", "1") if differ == "seed" else ()))
    processes = workers("--data", files[0], "--epochs", "1", of_second=of_second)
    assert [process.wait(PATIENCE) for process in processes] == [2, 2]
    assert f"differ in {differ}" in (tmp_path / "printed0").read_text()
    assert not (tmp_path / "worker0").exists()


@linux
@pytest.mark.slow
def test_ctrl_c_ends_the_waiting_for_a_machine_that_does_not_come(workers, tmp_path):
    first, other = workers(*MLP)
    other.kill()
    while "waiting" not in (tmp_path / "printed0").read_text():
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    assert first.wait(30) != 0
