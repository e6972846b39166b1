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
        with pytest.raises(cli.UserError, match=f"finds no {name} here, only cpu"):
            device.strategy(name)


def test_another_keras_backend_is_refused(monkeypatch):
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(cli.UserError, match="KERAS_BACKEND=tensorflow"):
        device.strategy("auto")


def test_the_cpu_is_no_more_to_be_had_once_a_gpu_is_in_use(monkeypatch):
    def refuse(*args):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.raises(cli.UserError, match="start it anew"):
        device.strategy("cpu")


def test_a_gpu_repeats_to_the_bit(monkeypatch):
    asked = []
    monkeypatch.setattr(device, "FOUND", ["cpu", "gpu"])
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append("determinism"))
    device.strategy("gpu")
    assert asked == ["determinism"]
    device.strategy("cpu")
    assert asked == ["determinism"]
