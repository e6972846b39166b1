import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlp_mnist
from common import cli, cluster, device

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

PROJECT = Path(cluster.__file__).parent.parent
MLP = ["--data", "digits", "--limit", "256", "--epochs", "2", "--dropout", "0"]  # replicas draw their own dropout
PATIENCE = 240  # seconds


def strategy(name="auto", single=None):
    return device.strategy(argparse.Namespace(device=name, batch_size=64), single)


def tf_config(workers, index=0):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def losses(folder):
    return [float(row.split(",")[-1]) for row in (folder / "history.csv").read_text().splitlines()[1:]]


# Several processors


def test_replicas_compute_what_one_processor_would_and_round_the_batch_up(capsys):
    one = mlp_mnist.main([*MLP, "--batch-size", "64"])
    two = mlp_mnist.main([*MLP, "--batch-size", "63", "--device", "cpu:2"])
    printed = capsys.readouterr().out
    assert "batch size 63 becomes 64, which 2 replicas can share" in printed
    assert "device cpu x 2;" in printed
    assert two["flags"]["batch_size"] == 64
    assert (one["replicas"], two["replicas"]) == (1, 2)
    np.testing.assert_allclose(losses(two["folder"]), losses(one["folder"]), atol=1e-5)
    for a, b in zip(*(keras.models.load_model(run["folder"] / "model.keras").get_weights() for run in (one, two)),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_several_gpus_work_together_unless_the_model_cannot_be_copied(monkeypatch, capsys):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu 0", "gpu 1"])
    monkeypatch.setattr(cluster, "_mirrored", lambda: argparse.Namespace(num_replicas_in_sync=2))
    assert strategy().num_replicas_in_sync == 2
    assert strategy(single="its state is one").num_replicas_in_sync == 1
    assert capsys.readouterr().out == "one of several GPUs is used: its state is one\n"


@pytest.mark.parametrize(
    ("name", "single", "workers", "message"),
    [
        ("cpu:3", None, None, "--device cpu:3: .* start it anew"),  # the tests have split the CPU in two
        ("cpu:2", None, ["a:1", "b:1"], "--device cpu:2 does not go with TF_CONFIG"),
        ("tpu", None, ["a:1", "b:1"], "--device tpu does not go with TF_CONFIG"),
        ("cpu:2", "the state is one", None, "--device cpu:2: the state is one; try --device cpu"),
        ("tpu", "the state is one", None, "--device tpu: the state is one; try --device cpu"),
        ("auto", "the state is one", ["a:1", "b:1"], "TF_CONFIG: the state is one; unset it"),
    ],
)
def test_what_does_not_go_together_is_refused(name, single, workers, message, monkeypatch):
    if workers:
        monkeypatch.setenv("TF_CONFIG", tf_config(workers))
    with pytest.raises(cli.UserError, match=message):
        strategy(name, single)


# Several machines


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[3]",
        "3",
        '{"cluster": {}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_tf_config_that_names_no_workers_is_refused(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(cli.UserError, match="TF_CONFIG: expected"):
        strategy()


@pytest.mark.parametrize("config", ["", "{}", tf_config(["a:1"])])
def test_a_tf_config_of_one_machine_changes_nothing(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    assert strategy(single="the state is one") is tf.distribute.get_strategy()


def test_a_newer_keras_is_left_alone_and_the_person_told_what_to_do(monkeypatch, capsys):
    from keras.src.backend.tensorflow import trainer

    before = trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build
    for name in ("fit", "evaluate", "predict"):
        monkeypatch.setattr(trainer.TensorFlowTrainer, name, getattr(trainer.TensorFlowTrainer, name))
    monkeypatch.setattr(keras, "__version__", "3.16.0")
    cluster._repair_fit()
    assert "can go; if fit fails, pip install 'keras==3.15.*'" in capsys.readouterr().out
    assert (trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build) == before


@pytest.fixture
def workers(tmp_path):
    """Return a function that starts two processes of a script, joined over the loopback address."""
    processes = []

    def start(*argv, script="mlp_mnist"):
        with socket.socket() as first, socket.socket() as second:
            for free in (first, second):
                free.bind(("127.0.0.1", 0))
            addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in (first, second)]
        for index in (0, 1):
            with (tmp_path / f"printed{index}").open("w") as printed:
                processes.append(subprocess.Popen(
                    [sys.executable, PROJECT / f"{script}.py", *argv, "--out", tmp_path / f"worker{index}"],
                    env={**os.environ, "TF_CONFIG": tf_config(addresses, index)}, stdout=printed,
                    stderr=subprocess.STDOUT,
                ))  # fmt: skip
        return processes

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="TensorFlow's collectives over gRPC were tried on Linux only")
def test_two_machines_train_what_one_would_and_the_chief_keeps_the_files(workers, tmp_path):
    codes = [process.wait(PATIENCE) for process in workers(*MLP)]
    assert codes == [0, 0], (tmp_path / "printed0").read_text()
    alone = mlp_mnist.main(MLP)
    np.testing.assert_allclose(losses(tmp_path / "worker0"), losses(alone["folder"]), atol=1e-4)
    result = json.loads((tmp_path / "worker0" / "result.json").read_text())
    assert (result["replicas"], result["status"]) == (2, "finished")
    assert result["test_loss"] == pytest.approx(alone["test_loss"], abs=1e-4)
    assert {path.name for path in (tmp_path / "worker0").iterdir()} == {
        path.name for path in alone["folder"].iterdir()
    }
    assert not (tmp_path / "worker1").exists()
    assert "worker 1: worker 0 has the files" in (tmp_path / "printed1").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("cnn_mnist", "--epochs 2 --filters 8"),
        ("rnn_mnist", "--epochs 2 --units 16"),
        ("fast_mnist", "rnn --epochs 1"),
    ],
)
def test_two_machines_train_the_other_scripts_too(script, flags, workers, tmp_path):
    processes = workers("--data", "digits", "--limit", "200", *flags.split(), script=script)
    codes = [process.wait(PATIENCE) for process in processes]
    assert codes == [0, 0], (tmp_path / "printed0").read_text()
    assert json.loads((tmp_path / "worker0" / "result.json").read_text())["replicas"] == 2
    assert not (tmp_path / "worker1").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows stops no process by a signal")
@pytest.mark.parametrize("sent", ["SIGKILL", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_worker_that_is_stopped_does_not_leave_the_other_waiting(sent, workers, tmp_path):
    chief, other = workers("--data", "digits", "--limit", "100", "--epochs", "100000")
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "worker0" / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    other.send_signal(getattr(signal, sent))
    assert chief.wait(PATIENCE) == 2, (tmp_path / "printed0").read_text()
    assert "error: a worker of TF_CONFIG cannot be reached any more" in (tmp_path / "printed0").read_text()
    assert json.loads((tmp_path / "worker0" / "result.json").read_text())["status"] == "failed"
