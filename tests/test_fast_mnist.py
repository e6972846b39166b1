import re

import cnn_mnist
import fast_mnist
from common import cli, mnist, results

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(fast_mnist.__doc__.split())


@pytest.mark.parametrize(("peak", "warmup", "steps"), [(0.005, 0.3, 50), (0.004, 0.1, 200)])
def test_the_rate_climbs_to_its_peak_and_falls_to_zero(peak, warmup, steps):
    schedule = fast_mnist.one_cycle(peak, warmup, steps)
    rates = np.array([float(schedule(step)) for step in range(steps + 1)])
    top = round(warmup * steps)
    assert rates[[0, top, steps]] == pytest.approx([peak / 25, peak, 0], abs=1e-8)
    assert rates[:top] == pytest.approx(np.linspace(peak / 25, peak, top, endpoint=False), rel=1e-4)
    after = np.arange(steps - top + 1) / (steps - top)
    assert rates[top:] == pytest.approx(peak * (1 + np.cos(np.pi * after)) / 2, abs=1e-7)


@pytest.fixture
def trained(monkeypatch):
    """Return a function that trains a network on a few digits; it returns the result and the model that was fitted."""

    def train(network, *flags):
        fitted = []
        fit = keras.Sequential.fit
        monkeypatch.setattr(keras.Sequential, "fit", lambda self, *args, **kwargs: (
            fitted.append(self), fit(self, *args, **kwargs))[1])  # fmt: skip
        return fast_mnist.main([network, "--data", "digits", *flags]), fitted[0]

    return train


def test_the_cnn_trains_with_its_settings_and_is_saved_as_the_lessons_network(trained):
    result, fitted = trained("cnn", "--limit", "97", "--batch-size", "10", "--precision", "bfloat16")
    optimizer = fitted.optimizer
    rates = [float(optimizer._learning_rate(step)) for step in (0, 2, 20)]
    assert rates == pytest.approx([0.0002, 0.005, 0], abs=1e-8)
    assert (type(optimizer).__name__, optimizer.beta_2) == ("Adam", 0.99)
    assert (result["epochs"], result["steps"], result["network"]) == (2, 20, "cnn")
    assert result["precision"] == "mixed_bfloat16"
    assert [layer.compute_dtype for layer in fitted.layers] == ["bfloat16"] * 7 + ["float32"]
    saved = keras.models.load_model(result["folder"] / "model.keras")
    assert [type(layer) for layer in saved.layers] == [type(layer) for layer in cnn_mnist.build_model().layers]
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    for ours, theirs in zip(saved.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_saved_network_goes_on_learning(trained):
    result, _ = trained("mlp", "--limit", "200", "--epochs", "1")
    digits = mnist.load_mnist("digits", limit=200)
    x, y = mnist.as_vectors(digits.x_train), keras.utils.to_categorical(digits.y_train, 10)
    saved = keras.models.load_model(result["folder"] / "model.keras")
    before = saved.evaluate(x, y, verbose=0, return_dict=True)
    assert before["accuracy"] == pytest.approx(result["train_accuracy"])
    saved.fit(x, y, epochs=3, verbose=0)
    assert saved.evaluate(x, y, verbose=0, return_dict=True)["loss"] < 0.8 * before["loss"]


@pytest.mark.parametrize("network", ["mlp", "cnn", "rnn"])
def test_the_loss_aims_for_the_confidence_that_label_smoothing_leaves(network, trained):
    _, fitted = trained(network, "--limit", "20", "--epochs", "1", "--precision", "float32")
    truth, answer = np.eye(10)[:1], np.full((1, 10), 0.1 / 9)
    answer[0, 0] = 0.9
    expected = -0.91 * np.log(0.9) - 0.09 * np.log(0.1 / 9)
    assert float(fitted.loss(truth, answer)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("network", ["rnn", "lstm", "gru"])
def test_muon_moves_the_weights_between_states_equally_far_in_every_direction(network, rng):
    settings = fast_mnist.NETWORKS[network]
    model = settings.build_model()
    optimizer = fast_mnist.optimizer(settings, rate := 0.004)
    before = model.get_weights()
    size = before[1].shape  # of U: (256, 256), of the LSTM's four gates side by side (256, 1024)
    left, right = (np.linalg.qr(rng.normal(size=(n, 256)))[0] for n in size)
    lengths = np.geomspace(1, 0.05, 256)
    gradients = [rng.choice([-1, 1], weights.shape).astype("float32") for weights in before]
    gradients[1] = (left * lengths @ right.T).astype("float32")  # 20 times as far in one direction
    optimizer.apply([tf.constant(gradient) for gradient in gradients], model.trainable_variables)
    moved = [new - old for new, old in zip(model.get_weights(), before, strict=True)]
    along = left.T @ moved[1] @ right / (-rate * 0.2 * np.sqrt(size[1]))
    np.testing.assert_allclose(along, np.diag(along.diagonal()), atol=0.02)  # the directions are the gradient's
    assert 0.3 < along.diagonal().min() < along.diagonal().max() < 1.3
    for step, gradient in zip(moved[:1] + moved[2:], gradients[:1] + gradients[2:], strict=True):
        np.testing.assert_allclose(step, -rate * gradient, rtol=0.02)  # Adam's first step


@pytest.mark.slow
def test_several_replicas_take_one_step_at_a_call(trained):
    result, fitted = trained("rnn", "--limit", "60", "--epochs", "1", "--device", "cpu:2", "--batch-size", "20")
    assert (result["replicas"], result["steps"]) == (2, 3)
    assert fitted.steps_per_execution == 1


@pytest.mark.parametrize(("limit", "steps"), [(1437, 15), (97, 4)])
def test_the_steps_of_a_call_divide_an_epoch_so_that_the_progress_bar_fits(limit, steps, trained):
    _, fitted = trained("mlp", "--limit", str(limit), "--batch-size", "32" if limit < 1437 else "96", "--epochs", "1")
    assert fitted.steps_per_execution == steps


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0, 0, 0, 0, 0), lambda x: x),
        ((np.pi / 2, 0, 0, 0, 0, 0), lambda x: np.rot90(x, axes=(1, 2))),
        ((0, 0, 0, 0, 2, 0), lambda x: np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 0)))[:, :, 2:]),
        ((0, 0, 0, 0, 0, -1), lambda x: np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]),
        ((0, 0, -1, 0, 0, 0), lambda x: np.broadcast_to((x[:, :, 13:14] + x[:, :, 14:15]) / 2, x.shape)),
        ((0, 0, 0, -1, 0, 0), lambda x: np.broadcast_to((x[:, 13:14] + x[:, 14:15]) / 2, x.shape)),
    ],
)
def test_an_image_is_rotated_zoomed_and_shifted_as_far_as_was_drawn(values, expected, monkeypatch, rng):
    drawn = iter(values)
    monkeypatch.setattr(keras.random, "uniform", lambda shape, *args, **kwargs: tf.fill(shape, float(next(drawn))))
    x = rng.random((2, 28, 28, 1), dtype=np.float32)
    np.testing.assert_allclose(fast_mnist.RandomAffine()(x, training=True), expected(x), atol=1e-4)


def test_each_image_of_a_batch_moves_its_own_way_and_in_training_only():
    x = np.repeat(mnist.as_images(mnist.load_mnist("digits").x_train[:1]), 50, axis=0)
    layer = fast_mnist.RandomAffine()
    np.testing.assert_array_equal(layer(x), x)
    moved = np.array(layer(x, training=True))
    assert len(np.unique(moved.reshape(50, -1), axis=0)) == 50
    rows = (moved.sum(axis=(2, 3)) @ np.arange(28)) / moved.sum(axis=(1, 2, 3))
    assert 0.5 < rows.std() < 2.5
    assert rows.mean() == pytest.approx((x[0].sum(axis=(1, 2)) @ np.arange(28)) / x[0].sum(), abs=1)


def test_the_best_cnn_learns_from_moved_images_and_saves_the_plain_network(trained, monkeypatch):
    monkeypatch.setattr(fast_mnist.cnn_mnist.build_model, "__defaults__", (16, 0.2, False, 10))  # fewer filters
    result, fitted = trained("cnn-best", "--limit", "300", "--epochs", "4", "--batch-size", "16")
    assert [type(layer).__name__ for layer in fitted.layers] == ["RandomAffine", "Sequential"]
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert type(model.layers[0]).__name__ == "Conv2D"
    digits = mnist.load_mnist("digits")
    probabilities = model.predict(mnist.as_images(digits.x_test), verbose=0)
    assert np.mean(probabilities.argmax(axis=1) == digits.y_test) == pytest.approx(result["test_accuracy"])
    assert result["test_accuracy"] > 0.4


@pytest.mark.parametrize(("network", "parameters"), [("mlp", 269_322), ("cnn", 80_266), ("cnn-best", 80_266),
                                                     ("rnn", 75_530), ("lstm", 294_410), ("gru", 222_218)])  # fmt: skip
def test_each_network_is_the_lessons(network, parameters):
    assert fast_mnist.NETWORKS[network].build_model().count_params() == parameters
    assert f"{network.removesuffix('-best')} {parameters:,}" in CARD.replace(" parameters", "")


def test_other_flags_override_a_networks_settings():
    args = fast_mnist.parse(["gru", "--epochs", "7", "--peak", "0.5"])
    assert (args.epochs, args.peak, args.batch_size, args.precision) == (7, 0.5, 128, "auto")
    assert fast_mnist.parse([]).network == "cnn"


@pytest.mark.parametrize(
    ("argv", "message"),
    [("brain", "choose from .*mlp.*gru"), ("mlp --peak 0", "above 0"), ("mlp --precision float16", "choose from")],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        fast_mnist.main(argv.split())
    assert not results.RUNS_DIR.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "tolerance", "least"),
    [("mlp", 0.15, 98.27), ("cnn", 0.08, 99.22), ("cnn-best", 0.08, 99.5), ("rnn", 0.1, 98.1), ("lstm", 0.15, 99.0),
     ("gru", 0.15, 99.0)],
)  # fmt: skip
def test_the_networks_reach_what_the_card_says(network, tolerance, least):
    expected = float(re.search(rf"\b{network} ([\d.]+) %", CARD)[1])
    runs = [fast_mnist.main([network, "--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in runs])
    assert mean == pytest.approx(expected, abs=tolerance)
    assert mean >= least
