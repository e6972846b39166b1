from common import cli, device

import pytest
import tensorflow as tf


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_one_processor_gets_no_strategy_in_the_way(name):
    strategy = device.strategy(name)
    assert strategy is tf.distribute.get_strategy()
    assert strategy.num_replicas_in_sync == 1


def test_a_processor_that_is_missing_is_named_beside_those_at_hand(monkeypatch):
    monkeypatch.setattr(device, "FOUND", ["cpu"])
    for name in ("gpu", "tpu"):
        with pytest.raises(cli.UserError, match=f"finds no {name} here; this machine has: cpu"):
            device.strategy(name)


def test_another_keras_backend_is_refused(monkeypatch):
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(cli.UserError, match="KERAS_BACKEND=tensorflow"):
        device.strategy("auto")


def test_the_model_trains_on_the_processor_that_is_described():
    kind = device.describe(device.strategy("cpu"))
    assert kind == "cpu"
    assert f"device:{kind.upper()}" in tf.Variable(1.0).device
