import argparse
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from concurrent import futures
from pathlib import Path

import mlp_mnist
from common import cli, device, machines

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

PROJECT = Path(machines.__file__).parent.parent
MLP = ["--data", "digits", "--limit", "256", "--epochs", "2", "--dropout", "0"]  # replicas draw their own dropout
PATIENCE = 240  # seconds


def tf_config(workers, index=0):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def losses(folder):
    return [float(row.split(",")[-1]) for row in (folder / "history.csv").read_text().splitlines()[1:]]


# What TF_CONFIG says


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[3]",
        "3",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1e999}}',
        '{"cluster": {"worker": [1, 2]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": 3}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_tf_config_that_names_no_workers_is_refused(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(cli.UserError, match="TF_CONFIG: expected"):
        machines.named()


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{}",
        '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
        '{"environment": "cloud", "task": {"type": "master", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"master": ["a:1"]}, "environment": "cloud", "task": {"index": 0, "type": "master"}}',
    ],
)
def test_a_tf_config_of_one_machine_changes_nothing(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    args = argparse.Namespace(device="auto", batch_size=64)
    assert device.strategy(args, single="the state is one") is tf.distribute.get_strategy()


@pytest.mark.parametrize("first", ["chief", "master"])
@pytest.mark.parametrize(("role", "index", "place"), [(None, 0, 0), ("worker", 0, 1), ("worker", "1", 2)])
def test_a_chief_is_the_first_of_the_workers(first, role, index, place, monkeypatch):
    cluster = {"worker": ["b:1", "c:1"], first: ["a:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": role or first, "index": index}}))
    assert machines.named() == (["a:1", "b:1", "c:1"], place)


# They meet


def free_addresses(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]


def test_workers_meet_in_whatever_order_they_come():
    addresses, all_met = free_addresses(3), threading.Barrier(3, timeout=PATIENCE)

    def come(index):
        machines._meet(addresses, index)
        with socket.create_server(("", int(addresses[index].rpartition(":")[2]))):  # as TensorFlow does then
            all_met.wait()

    with futures.ThreadPoolExecutor() as pool:
        coming = []
        for index in (2, 0, 1):
            coming.append(pool.submit(come, index))
            time.sleep(0.1)
        assert [one.result(PATIENCE) for one in coming] == [None] * 3


@pytest.mark.parametrize("missing", ["127.0.0.1:1", "nowhere.invalid:2222", "127.0.0.1:99999", "..:1"])
def test_a_worker_that_does_not_come_is_named_and_given_up(missing, monkeypatch, capsys):
    monkeypatch.setattr(machines, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(machines, "WORD_SECONDS", 0.1)
    clock = types.SimpleNamespace(monotonic=itertools.count(step=0.2).__next__, sleep=lambda seconds: None)
    monkeypatch.setattr(machines, "time", clock)  # not this machine's, which may be busy
    with pytest.raises(cli.UserError, match=rf"TF_CONFIG: not there after 0.3 s: {missing} \(.+\); start the same"):
        machines._meet([*free_addresses(1), missing], 0)
    assert f"still waiting for {missing} (" in capsys.readouterr().out


def test_a_machine_that_cannot_have_its_address_says_so():
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(cli.UserError, match=f"this machine cannot be {address} \\(Address already in use"):
            machines._meet([address, "b:1"], 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows stops no process by a signal")
def test_ctrl_c_ends_the_waiting_at_once():
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        machines._meet([*free_addresses(1), "127.0.0.1:1"], 0)


def test_where_tensorflow_does_not_join_them_the_script_says_so_and_ends():
    code = ("from common import machines; import threading\n"
            "machines.WAIT_SECONDS, machines.WORD_SECONDS = 2, 1\n"
            "threading.Thread(target=machines._limit, args=(threading.Event(),), daemon=True).start()\n"
            "threading.Event().wait()")  # fmt: skip
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    *words, error = run.stdout.splitlines()
    assert run.returncode == 2
    assert words == ["still waiting for TensorFlow on the other machines; has each one an index of its own?"] * 2
    assert error == "error: TF_CONFIG: the workers did not come together in 2 s"


# They do the same

FACTS = {"script": "mlp_mnist", "dataset": "MNIST", "flags": {"seed": 0, "learning_rate": None, "out": "here"},
         "versions": {"keras": "3.15.1"}}  # fmt: skip


class Two:
    """A strategy of two machines; the other one's `facts` and `images` are given."""

    def __init__(self, facts, images):
        self.facts, self.images = facts, images

    def run(self, body):
        return body()

    def gather(self, mine, axis):
        alone = argparse.Namespace(run=self.run, gather=lambda row, axis: setattr(self, "row", row) or row)
        machines.agree(alone, self.facts, self.images)
        return tf.concat([mine, self.row], axis)


def test_machines_that_do_the_same_may_have_other_folders(rng):
    images = rng.random((3, 28, 28))
    machines.agree(Two({**FACTS, "flags": {**FACTS["flags"], "out": "there"}}, [images]), FACTS, [images.copy()])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"script": "cnn_mnist"}, "script: mlp_mnist here, cnn_mnist there"),
        ({"dataset": "digits"}, "data: MNIST here, digits there"),
        ({"versions": {"keras": "3.16.0"}}, r"keras: 3\.15\.1 here, 3\.16\.0 there"),
        ({"flags": {"seed": 1, "learning_rate": None}}, "--seed: 0 here, 1 there"),
        ({"flags": {"seed": 0, "learning_rate": 0.1}}, r"--learning-rate: None here, 0\.1 there"),
        ({"flags": {"seed": 0, "learning_rate": None, "units": 9}}, "--units: None here, 9 there"),
    ],
)
def test_machines_that_differ_name_the_difference(changes, named):
    with pytest.raises(cli.UserError, match=f"the workers of TF_CONFIG differ in {named}; start the same command"):
        machines.agree(Two(FACTS | changes, []), FACTS)


def test_machines_with_other_images_of_the_same_name_are_refused(rng):
    images = rng.random((3, 28, 28))
    with pytest.raises(cli.UserError, match="differ in images"):
        machines.agree(Two(FACTS, [images + 1]), FACTS, [images])


# They train together


def test_a_newer_keras_is_left_alone_and_the_person_told_what_to_do(monkeypatch, capsys):
    from keras.src.backend.tensorflow import trainer

    before = trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build
    for name in ("fit", "evaluate", "predict"):
        monkeypatch.setattr(trainer.TensorFlowTrainer, name, getattr(trainer.TensorFlowTrainer, name))
    monkeypatch.setattr(keras, "__version__", "3.16.0")
    machines._repair_fit()
    assert "can go; if fit fails, pip install 'keras==3.15.*'" in capsys.readouterr().out
    assert (trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build) == before


@pytest.fixture
def workers(tmp_path):
    """Return a function that starts two processes of a script, joined over the loopback address."""
    processes = []

    def start(*argv, script="mlp_mnist", of_second=()):
        addresses = free_addresses(2)
        for index in (0, 1):
            with (tmp_path / f"printed{index}").open("w") as printed:
                processes.append(subprocess.Popen(
                    [sys.executable, PROJECT / f"{script}.py", *argv, *of_second * index, "--out",
                     tmp_path / f"worker{index}"],
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
@pytest.mark.slow
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_worker_that_is_stopped_does_not_leave_the_other_waiting(sent, workers, tmp_path):
    chief, other = workers("--data", "digits", "--limit", "100", "--epochs", "100000")
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "worker0" / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    other.send_signal(getattr(signal, sent))
    assert chief.wait(PATIENCE) == 2, (tmp_path / "printed0").read_text()
    assert "error: a worker of TF_CONFIG cannot be reached any more" in (tmp_path / "printed0").read_text()
    assert json.loads((tmp_path / "worker0" / "result.json").read_text())["status"] == "failed"
    assert other.wait(PATIENCE) == (-signal.SIGKILL if sent == "SIGKILL" else 130)


@pytest.mark.slow
def test_two_machines_with_other_flags_train_nothing(workers, tmp_path):
    codes = [process.wait(PATIENCE) for process in workers(*MLP, of_second=("--seed", "1"))]
    assert codes == [2, 2]
    assert "error: the workers of TF_CONFIG differ in --seed: 0 here, 1 there" in (tmp_path / "printed0").read_text()
    assert not (tmp_path / "worker0").exists()
