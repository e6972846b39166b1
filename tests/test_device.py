import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import gan_mnist
import mlp_mnist
from common import cli, device

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

PROJECT = Path(__file__).resolve().parent.parent
MLP = ["--data", "digits", "--limit", "256", "--epochs", "2", "--dropout", "0"]  # replicas draw their own dropout


def strategy(name="auto", single=None, **flags):
    args = argparse.Namespace(**{"device": name, "replicas": 1, "precision": "float32", "batch_size": 64} | flags)
    return device.strategy(args, single)


def losses(folder):
    return [float(row.split(",")[-1]) for row in (folder / "history.csv").read_text().splitlines()[1:]]


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_one_processor_gets_no_strategy_in_the_way(name):
    assert strategy(name) is tf.distribute.get_strategy()
    assert strategy(name).num_replicas_in_sync == 1


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
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append("determinism"))
    strategy("gpu")
    assert asked == ["determinism"]
    strategy("cpu")
    assert asked == ["determinism"]


def test_several_gpus_work_together_unless_the_model_cannot_be_copied(monkeypatch, capsys):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu 0", "gpu 1"])
    monkeypatch.setattr(device, "_mirrored", lambda: argparse.Namespace(num_replicas_in_sync=2))
    assert strategy().num_replicas_in_sync == 2
    assert strategy(single="its state is one").num_replicas_in_sync == 1
    assert capsys.readouterr().out == "one of 2 GPUs is used: its state is one\n"


def test_replicas_compute_what_one_processor_would_and_round_the_batch_up_to_shares(capsys):
    one = mlp_mnist.main([*MLP, "--batch-size", "64"])
    two = mlp_mnist.main([*MLP, "--batch-size", "63", "--replicas", "2"])
    assert "batch size 63 becomes 64, which 2 replicas can share" in capsys.readouterr().out
    assert two["flags"]["batch_size"] == 64
    assert (one["replicas"], two["replicas"]) == (1, 2)
    np.testing.assert_allclose(losses(two["folder"]), losses(one["folder"]), atol=1e-5)
    for a, b in zip(*(keras.models.load_model(run["folder"] / "model.keras").get_weights() for run in (one, two)),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("replicas", "steps", "expected"), [(1, 469, 7), (1, 1875, 25), (1, 938, 14), (1, 29, 1), (1, 3, 3), (2, 1875, 1)]
)
def test_the_steps_of_a_call_divide_an_epoch_and_are_1_for_several_replicas(replicas, steps, expected):
    assert device.steps_per_execution(strategy(replicas=replicas), steps, 25) == expected


def test_replicas_train_the_gan_that_one_processor_would():
    real = np.random.default_rng(0).uniform(-1, 1, (64, 28, 28, 1)).astype("float32")
    trained = []
    for replicas in (1, 2):
        with strategy(replicas=replicas).scope():
            keras.utils.set_random_seed(0)
            gan = gan_mnist.GAN(gan_mnist.build_generator(), gan_mnist.build_discriminator())
            gan.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
        history = gan.fit(real, batch_size=32, epochs=2, shuffle=False, verbose=0).history
        trained.append([*gan.get_weights(), *history.values()])
    for one, two in zip(*trained, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "cluster", "message"),
    [
        ({"replicas": 3}, None, "start it anew"),  # the tests have split the CPU in two
        ({"replicas": 2, "name": "gpu"}, None, "leave out --device gpu"),
        ({"replicas": 2, "precision": "float16"}, None, "take bfloat16"),
        ({"replicas": 2}, ["a:1", "b:1"], "and TF_CONFIG"),
        ({"replicas": 2, "single": "the state is one"}, None, "--replicas: the state is one"),
        ({"single": "the state is one"}, ["a:1", "b:1"], "TF_CONFIG: the state is one"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, cluster, message, monkeypatch):
    if cluster:
        config = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": 0}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(cli.UserError, match=message):
        strategy(**flags)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_the_precision_asked_for_and_answer_in_float32(precision):
    result = mlp_mnist.main(["--data", "digits", "--epochs", "2", "--precision", precision])
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert result["precision"] == f"mixed_{precision}"
    assert [layer.compute_dtype for layer in model.layers] == [precision] * 4 + ["float32"]
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert result["test_accuracy"] > 0.6


def test_auto_takes_bfloat16_where_the_cpu_has_instructions_for_it(monkeypatch):
    monkeypatch.setattr(device.Path, "exists", lambda path: True)
    for flags, expected in (("fma avx2", "float32"), ("avx512f avx512_bf16", "mixed_bfloat16")):
        monkeypatch.setattr(device.Path, "read_text", lambda path, flags=flags: f"flags : {flags}")
        strategy(precision="auto")
        assert keras.config.dtype_policy().name == expected


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


def test_a_newer_keras_is_left_alone_and_the_person_told_what_to_do(monkeypatch, capsys):
    from keras.src.backend.tensorflow import trainer

    before = trainer.reduce_per_replica
    monkeypatch.setattr(keras, "__version__", "3.16.0")
    device._repair_fit()
    assert "can go; if fit fails, pip install 'keras==3.15.*'" in capsys.readouterr().out
    assert trainer.reduce_per_replica is before


def test_no_thread_tunes_the_datasets_that_keras_makes(monkeypatch):
    assert tf.data.Options().autotune.enabled is False
    seen = []
    monkeypatch.setattr(tf.data, "Options", lambda: seen.append(device._Options()) or seen[-1])
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.zeros((4, 1)), np.zeros((4, 1)), verbose=0)
    assert seen, "Keras makes its datasets in another way now"


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
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            with (tmp_path / f"printed{index}").open("w") as printed:
                processes.append(subprocess.Popen(
                    [sys.executable, PROJECT / f"{script}.py", *argv, "--out", tmp_path / f"worker{index}"],
                    env={**os.environ, "TF_CONFIG": json.dumps(config)}, stdout=printed, stderr=subprocess.STDOUT,
                ))  # fmt: skip
        return processes

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="TensorFlow's collectives over gRPC were tried on Linux only")
def test_two_machines_train_what_one_would_and_the_chief_keeps_the_files(workers, tmp_path):
    codes = [process.wait(timeout=120) for process in workers(*MLP)]
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
        ("cnn_mnist", "--epochs 2 --filters 8 8"),
        ("rnn_mnist", "--epochs 2 --units 16"),
        ("gan_mnist", "--steps 20 --snapshot-every 10 --architecture conv"),
    ],
)
def test_two_machines_train_the_other_scripts_too(script, flags, workers, tmp_path):
    processes = workers("--data", "digits", "--limit", "200", *flags.split(), script=script)
    codes = [process.wait(timeout=300) for process in processes]
    assert codes == [0, 0], (tmp_path / "printed0").read_text()
    assert json.loads((tmp_path / "worker0" / "result.json").read_text())["replicas"] == 2
    assert not (tmp_path / "worker1").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows stops no process by a signal")
@pytest.mark.parametrize("sent", ["SIGKILL", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_worker_that_is_stopped_does_not_leave_the_other_waiting(sent, workers, tmp_path):
    chief, other = workers("--data", "digits", "--limit", "100", "--epochs", "100000")
    deadline = time.monotonic() + 120
    while not (tmp_path / "worker0" / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    other.send_signal(getattr(signal, sent))
    assert chief.wait(timeout=120) == 2
    assert "error: a worker of TF_CONFIG cannot be reached any more" in (tmp_path / "printed0").read_text()
    assert json.loads((tmp_path / "worker0" / "result.json").read_text())["status"] == "failed"
