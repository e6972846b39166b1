import re

import cnn_mnist
import fast_mnist
from common import mnist
from common.training.schedules import one_cycle

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(fast_mnist.__doc__.split())


@pytest.mark.parametrize(("peak", "warmup", "steps"), [(0.005, 0.3, 50), (0.004, 0.1, 200)])
def test_the_rate_climbs_to_its_peak_and_falls_to_zero(peak, warmup, steps):
    schedule = one_cycle(peak, steps, warmup, start=peak / 25)
    rates = np.array([float(schedule(step)) for step in range(steps + 1)])
    top = round(warmup * steps)
    assert rates[:top] == pytest.approx(np.linspace(peak / 25, peak, top, endpoint=False), rel=1e-4)
    after = np.arange(steps - top + 1) / (steps - top)
    assert rates[top:] == pytest.approx(peak * (1 + np.cos(np.pi * after)) / 2, abs=1e-7)


@pytest.fixture
def trained(monkeypatch):
    """Return a function that trains a network on a few digits; it returns the result and the model that was fitted."""
    fitted, fit = [], keras.Sequential.fit

    def remember(model, *args, **kwargs):
        fitted.append(model)
        return fit(model, *args, **kwargs)

    def train(flags):
        monkeypatch.setattr(keras.Sequential, "fit", remember)
        return fast_mnist.main(["--data", "digits", *flags.split()]), fitted[0]

    return train


def test_the_best_cnn_trains_on_moved_images_in_16_bits_and_is_saved_as_the_lessons_network(trained, monkeypatch):
    monkeypatch.setattr(cnn_mnist.build_model, "__defaults__", (8, 0.2, False, 10))  # fewer filters
    result, fitted = trained("cnn-best --limit 97 --batch-size 10 --epochs 2 --precision bfloat16")
    assert [type(layer).__name__ for layer in fitted.layers] == ["RandomAffine", "Sequential"]
    model = fitted.layers[1]
    assert [layer.compute_dtype for layer in model.layers] == ["bfloat16"] * 7 + ["float32"]
    rates = [float(fitted.optimizer._learning_rate(step)) for step in (0, 2, 20)]
    assert rates == pytest.approx([0.004 / 25, 0.004, 0], abs=1e-8)
    assert (result["epochs"], result["steps"], result["network"]) == (2, 20, "cnn-best")
    saved = keras.models.load_model(result["folder"] / "model.keras")
    assert [type(layer) for layer in saved.layers] == [type(layer) for layer in cnn_mnist.build_model().layers]
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    for ours, theirs in zip(saved.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_mlp_aims_for_a_confidence_of_0_91_and_goes_on_learning_after_it_was_saved(trained):
    result, fitted = trained("mlp --limit 97 --batch-size 25 --epochs 1")
    assert fitted.steps_per_execution == 4  # divides an epoch
    truth, answer = np.eye(10)[:1], np.full((1, 10), 0.1 / 9)
    answer[0, 0] = 0.9
    expected = -0.91 * np.log(0.9) - 0.09 * np.log(0.1 / 9)
    assert float(fitted.loss(truth, answer)) == pytest.approx(expected, rel=1e-5)
    digits = mnist.load_mnist("digits", limit=97)
    x, y = mnist.as_vectors(digits.x_train), keras.utils.to_categorical(digits.y_train, 10)
    saved = keras.models.load_model(result["folder"] / "model.keras")
    before = saved.evaluate(x, y, verbose=0, return_dict=True)
    assert before["accuracy"] == pytest.approx(result["train_accuracy"])
    saved.fit(x, y, epochs=5, verbose=0)
    assert saved.evaluate(x, y, verbose=0, return_dict=True)["loss"] < 0.8 * before["loss"]


@pytest.mark.parametrize("network", ["rnn", "lstm", "gru"])
def test_muon_moves_the_weights_between_states_along_the_gradients_directions_at_more_equal_lengths(network, rng):
    settings, rate = fast_mnist.NETWORKS[network], 0.004
    model = settings.build_model()
    optimizer = fast_mnist.optimizer(settings, rate)
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


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((np.pi / 2, 0, 0, 0, 0, 0), lambda x: np.rot90(x, axes=(1, 2))),
        ((0, 0, 0, 0, 2, 0), lambda x: np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 0)))[:, :, 2:]),
        ((0, 0, 0, 0, 0, -1), lambda x: np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]),
        ((0, 0, -1, 0, 0, 0), lambda x: np.broadcast_to((x[:, :, 13:14] + x[:, :, 14:15]) / 2, x.shape)),
        ((0, 0, 0, -1, 0, 0), lambda x: np.broadcast_to((x[:, 13:14] + x[:, 14:15]) / 2, x.shape)),
    ],
)
def test_an_image_is_rotated_shifted_and_zoomed_as_far_as_was_drawn(values, expected, monkeypatch, rng):
    drawn = iter(values)
    monkeypatch.setattr(keras.random, "uniform", lambda shape, *args, **kwargs: tf.fill(shape, float(next(drawn))))
    x = rng.random((2, 28, 28, 1), dtype=np.float32)
    np.testing.assert_allclose(fast_mnist.RandomAffine()(x, training=True), expected(x), atol=1e-4)


def test_each_image_of_a_batch_moves_its_own_way_and_in_training_only(images):
    x, layer = np.repeat(images[:1], 50, axis=0), fast_mnist.RandomAffine()
    np.testing.assert_array_equal(layer(x), x)
    moved = np.array(layer(x, training=True))
    assert len(np.unique(moved.reshape(50, -1), axis=0)) == 50
    centres = (moved.sum(axis=(2, 3)) @ np.arange(28)) / moved.sum(axis=(1, 2, 3))
    assert 0.5 < centres.std() < 2.5
    assert centres.mean() == pytest.approx((x[0].sum(axis=(1, 2)) @ np.arange(28)) / x[0].sum(), abs=1)


@pytest.mark.parametrize("network", fast_mnist.NETWORKS)
def test_each_network_has_the_cards_parameters_and_its_own_defaults(network):
    settings, args = fast_mnist.NETWORKS[network], fast_mnist.parse([network, "--peak", "0.5"])
    assert (args.epochs, args.batch_size, args.peak) == (settings.epochs, settings.batch_size, 0.5)
    assert re.search(rf"\b{network[:3]}\w* {settings.build_model().count_params():,}", CARD)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "tolerance"), [("mlp", 0.1), ("cnn", 0.08), ("cnn-best", 0.08), ("rnn", 0.1),
                                                    ("lstm", 0.14), ("gru", 0.15)])
def test_the_networks_reach_what_the_card_says(network, tolerance):
    expected = float(re.search(rf"\b{network} ([\d.]+) %", CARD)[1])
    runs = [fast_mnist.main([network, "--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    assert 100 * np.mean([result["test_accuracy"] for result in runs]) == pytest.approx(expected, abs=tolerance)
