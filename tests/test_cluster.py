import argparse
import json
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
