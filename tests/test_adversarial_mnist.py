import re

import adversarial_mnist
from adversarial_mnist import fgsm, gradient, logits, noise, pgd
from common import cli, mnist

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

CARD = " ".join(adversarial_mnist.__doc__.split())
SMALL = ["--data", "digits", "--limit", "200", "--epochs", "2"]


@pytest.fixture
def seed():
    return keras.random.SeedGenerator(0)


@pytest.fixture
def batch(rng):
    """Return images (50, 6) away from black and white, and one-hot labels (50, 3)."""
    x = rng.uniform(0.3, 0.7, (50, 6)).astype("float32")
    return tf.constant(x), tf.constant(np.eye(3, dtype="float32")[rng.integers(3, size=50)])


def network(*hidden, classes=3, scale=3.0):
    """Return a small classifier with weights so large that its answers differ."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(classes, activation="softmax")])
    model.set_weights([scale * array for array in model.get_weights()])
    return model


def losses(model, x, y):
    return keras.losses.categorical_crossentropy(y, logits(model, x), from_logits=True).numpy()


def test_logits_and_the_gradient_of_softmax_regression_are_their_closed_forms(batch):
    x, y = batch
    model = network()
    kernel, _ = model.get_weights()
    probabilities = model.predict(x, verbose=0)
    np.testing.assert_allclose(keras.ops.softmax(logits(model, x)), probabilities, atol=1e-6)
    np.testing.assert_allclose(gradient(model, x, y), (probabilities - y) @ kernel.T, atol=1e-5)


def test_a_confident_network_hides_its_gradient_behind_the_softmax_but_not_before_it(batch):
    x, _ = batch
    model = network(scale=100.0)
    y = tf.one_hot(np.argmax(model.predict(x, verbose=0), axis=1), 3)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = keras.losses.categorical_crossentropy(y, 1.0 * model(x))  # as FGSM is often written
    behind = np.abs(tape.gradient(loss, x)).max(axis=1)
    before = np.abs(gradient(model, x, y)).max(axis=1)
    assert np.mean(behind == 0) > 0.3
    assert np.mean(before == 0) == 0


def test_on_a_line_the_attack_is_the_worst_that_can_be(batch, seed, rng):
    """For two classes and no hidden layer the logits differ by eps |w|_1 less: no change of that size does more."""
    x, y = batch[0], tf.one_hot(np.arange(50) % 2, 2)
    model, eps = network(classes=2), 0.1
    kernel, _ = model.get_weights()
    sign = 1 - 2 * y.numpy().argmax(axis=1)  # of the wrong class's logit minus the right one's

    def margin(images):
        first, second = logits(model, images).numpy().T
        return sign * (second - first)

    worst = margin(x) + eps * np.abs(kernel[:, 0] - kernel[:, 1]).sum()
    np.testing.assert_allclose(margin(fgsm(model, x, y, eps)), worst, rtol=1e-4)
    np.testing.assert_allclose(margin(pgd(model, x, y, eps, seed)), worst, rtol=1e-4)
    for _ in range(64):
        assert np.all(margin(x + eps * rng.choice(np.float32([-1, 1]), x.shape)) <= worst + 1e-5)


def test_a_random_search_over_signs_finds_nothing_worse_than_projected_gradient_descent(batch, seed, rng):
    x, y = batch
    model, eps = network(layers.Dense(8, activation="tanh"), scale=2.0), 0.05
    attacked = losses(model, pgd(model, x, y, eps, seed), y)
    found = np.max([losses(model, x + eps * rng.choice(np.float32([-1, 1]), x.shape), y) for _ in range(200)], axis=0)
    assert np.mean(attacked >= found - 1e-4) > 0.95
    assert attacked.mean() > losses(model, noise(model, x, y, eps, seed), y).mean()


@pytest.mark.parametrize("attack", [fgsm, pgd, noise])
@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_no_pixel_moves_farther_than_eps_or_out_of_range(attack, eps, rng, seed):
    x = tf.constant(rng.uniform(0, 1, (40, 6)), "float32")
    y = tf.one_hot(rng.integers(3, size=40), 3)
    more = () if attack is fgsm else (seed,)
    changed = attack(network(layers.Dense(8, activation="relu")), x, y, eps, *more).numpy()
    assert np.abs(changed - x).max() <= eps + 1e-6
    assert 0 <= changed.min() <= changed.max() <= 1
    assert (eps == 0) == np.allclose(changed, x)


@pytest.mark.parametrize("defence", ["fgsm", "random"])
def test_a_defended_network_trains_on_attacked_images_and_is_tested_on_clean_ones(defence, batch):
    x, y = batch
    model = network(layers.Dense(8, activation="relu"))
    defended = adversarial_mnist.Defended(model, defence)
    defended.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy", metrics=["accuracy"])
    loss = defended.fit(x, y, batch_size=50, verbose=0).history["loss"][0]
    clean, expected = losses(model, x, y).mean(), losses(model, fgsm(model, x, y, adversarial_mnist.SHOWN), y).mean()
    if defence == "fgsm":
        assert loss == pytest.approx(expected, rel=1e-4)
    assert loss > clean + 0.5 * (expected - clean)
    assert defended.evaluate(x, y, verbose=0)[0] == pytest.approx(clean, rel=1e-4)


@pytest.mark.parametrize("architecture", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def test_a_run_leaves_networks_pictures_and_numbers(architecture, capsys, monkeypatch):
    monkeypatch.setattr(adversarial_mnist, "EPS", (0.1, 0.25))
    result = adversarial_mnist.main([*SMALL, "--architecture", architecture])
    assert capsys.readouterr().err == ""
    names = "attacked.keras defended.keras defended.png accuracy.png examples.png history.csv result.json"
    assert {path.name for path in result["folder"].iterdir()} == {*names.split()}
    digits = mnist.load_mnist("digits")
    y = keras.utils.to_categorical(digits.y_test, 10)
    for name, clean in (("attacked", "accuracy_clean"), ("defended", "accuracy_defended_clean")):
        model = keras.models.load_model(result["folder"] / f"{name}.keras")
        x = digits.x_test.reshape(-1, *model.input_shape[1:]) / np.float32(255)
        assert adversarial_mnist.accuracy(model, x, y) == pytest.approx(result[clean])
    assert result["accuracy_pgd"][1] <= result["accuracy_fgsm"][1] <= result["accuracy_clean"]


def test_a_network_of_ones_own_is_attacked_and_one_without_logits_refused(tmp_path, batch):
    like, softmax = network(layers.Dense(5)), layers.Dense(3, activation="softmax")
    models = {
        "mine": keras.Sequential([keras.Input((6,)), softmax]),
        "linear": keras.Sequential([keras.Input((6,)), layers.Dense(3)]),
        "apart": keras.Sequential([keras.Input((6,)), layers.Dense(3), layers.Softmax()]),
        "image": keras.Sequential([keras.Input((2, 3)), layers.Flatten(), softmax]),
    }
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
        if name != "mine":
            with pytest.raises(cli.UserError, match=rf"{name}\.keras: not a "):
                adversarial_mnist.load(str(tmp_path / f"{name}.keras"), like)
    mine = adversarial_mnist.load(str(tmp_path / "mine.keras"), like)
    np.testing.assert_array_equal(fgsm(mine, *batch, 0.1), fgsm(models["mine"], *batch, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "holds"), [("mlp", False), ("cnn", True)])
def test_the_card_tells_the_truth_about_mnist(architecture, holds):
    result = adversarial_mnist.main(["--data", "mnist", "--architecture", architecture])
    at = result["eps"].index(0.25)
    leave = re.search(rf"{architecture} ([\d.]+), ([\d.]+) %, defended ([\d.]+), ([\d.]+) %", CARD).groups()
    noises = re.search(r"Noise .+ leaves ([\d.]+) and ([\d.]+) %", CARD).groups()
    names = ("fgsm", "pgd", "defended_fgsm", "defended_pgd", "noise")
    for name, printed in zip(names, (*leave, noises[holds]), strict=True):
        assert 100 * result[f"accuracy_{name}"][at] == pytest.approx(float(printed), abs=6), name
    assert (result["accuracy_defended_pgd"][at] > 0.8) == holds
    assert result["accuracy_fgsm"][at] < (0.4 if holds else 0.1)
