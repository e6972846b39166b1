import json
import re

import adversarial_mnist
from adversarial_mnist import fgsm, gradient, logits, noise, pgd, under
from common import cli, mnist, results

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


def as_read(model):
    """Return the bundled test images as the model reads them, and their one-hot labels."""
    digits = mnist.load_mnist("digits")
    x = digits.x_test.reshape(-1, *model.input_shape[1:]).astype("float32") / 255
    return tf.constant(x), tf.constant(keras.utils.to_categorical(digits.y_test, 10))


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


def test_the_logits_are_what_the_softmax_gets(batch):
    model = network(layers.Dense(8, activation="relu"), layers.Dropout(0.5))
    probabilities = keras.ops.softmax(logits(model, batch[0]))
    np.testing.assert_allclose(probabilities, model.predict(batch[0], verbose=0), atol=1e-6)


def test_the_gradient_of_softmax_regression_is_its_closed_form(batch):
    x, y = batch
    model = network()
    kernel, _ = model.get_weights()
    expected = (model.predict(x, verbose=0) - y) @ kernel.T
    np.testing.assert_allclose(gradient(model, x, y), expected, atol=1e-5)


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


def test_the_images_that_a_defended_network_trains_on_are_attacked_by_its_own_gradient(batch):
    x, y = batch
    model = network(layers.Dense(8, activation="relu"))
    for defence in adversarial_mnist.DEFENCES:
        defended = adversarial_mnist.Defended(model, defence)
        defended.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy", metrics=["accuracy"])
        trained = defended.fit(x, y, batch_size=50, verbose=0).history
        expected = losses(model, fgsm(model, x, y, adversarial_mnist.SHOWN), y).mean()
        clean = losses(model, x, y).mean()
        if defence == "fgsm":
            assert trained["loss"][0] == pytest.approx(expected, rel=1e-4)
        assert trained["loss"][0] > clean + 0.5 * (expected - clean)
        assert defended.evaluate(x, y, verbose=0)[0] == pytest.approx(clean, rel=1e-4)  # a test is on clean images


@pytest.mark.parametrize("architecture", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def test_a_run_leaves_networks_pictures_and_numbers(architecture, capsys):
    result = adversarial_mnist.main([*SMALL, "--architecture", architecture])
    folder, written = result["folder"], json.loads((result["folder"] / "result.json").read_text())
    curves = ["accuracy_noise", "accuracy_fgsm", "accuracy_pgd", "accuracy_defended_fgsm", "accuracy_defended_pgd"]
    assert {len(written[name]) for name in ("eps", *curves)} == {len(adversarial_mnist.EPS)}
    assert {path.name for path in folder.iterdir()} == {
        "attacked.keras", "defended.keras", "defended.png", "accuracy.png", "examples.png", "history.csv",
        "result.json",
    }  # fmt: skip
    for name, clean in (("attacked", "accuracy_clean"), ("defended", "accuracy_defended_clean")):
        model = keras.models.load_model(folder / f"{name}.keras")
        x, y = (array[::5] for array in as_read(model))
        assert adversarial_mnist.accuracy(model, *as_read(model)) == pytest.approx(written[clean])
        assert under(fgsm, model, x, y, 0.0) == pytest.approx(adversarial_mnist.accuracy(model, x, y))
    assert written["accuracy_pgd"][-1] <= written["accuracy_fgsm"][-1] <= written["accuracy_clean"]
    printed = capsys.readouterr()
    at = written["accuracy_pgd"][adversarial_mnist.EPS.index(0.25)]
    assert f"Test accuracy at eps 0.25 under PGD: {at:.1%}, defended " in printed.out.splitlines()[-1]
    assert printed.err == ""


def test_a_network_of_ones_own_is_attacked_and_another_refused(tmp_path, capsys):
    keras.utils.set_random_seed(1)
    mine, linear, apart, image = (tmp_path / f"{name}.keras" for name in ("mine", "linear", "apart", "image"))
    keras.Sequential([keras.Input((784,)), layers.Dense(10, activation="softmax")]).save(mine)
    keras.Sequential([keras.Input((784,)), layers.Dense(10)]).save(linear)
    keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, activation="softmax")]).save(image)
    keras.Sequential([keras.Input((784,)), layers.Dense(10), layers.Softmax()]).save(apart)
    for path, message in ((linear, "not a list of layers that ends in a Dense layer with a softmax"),
                          (apart, "not a list of layers that ends in a Dense layer with a softmax"),
                          (image, "not a classifier of .None, 784. into"), (tmp_path, "a folder; name a file")):
        with pytest.raises(cli.UserError, match=message):
            adversarial_mnist.main([*SMALL, "--model", str(path)])
    assert not results.RUNS_DIR.exists()
    result = adversarial_mnist.main([*SMALL, "--model", str(mine)])
    model = keras.models.load_model(mine)
    assert result["accuracy_clean"] == pytest.approx(adversarial_mnist.accuracy(model, *as_read(model)))
    assert not (result["folder"] / "attacked.keras").exists()
    assert "to be attacked" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "holds"), [("mlp", False), ("cnn", True)])
def test_the_card_tells_the_truth_about_mnist(architecture, holds):
    result = adversarial_mnist.main(["--data", "mnist", "--architecture", architecture])
    line = re.search(rf"{architecture} noise (.+?)(?: cnn| Baseline)", CARD)[1]
    at = result["eps"].index(0.25)
    names = ("noise", "fgsm", "pgd", "defended_clean", "defended_fgsm", "defended_pgd")
    for name, printed in zip(names, re.findall(r"([\d.]+) %", line), strict=True):
        value = result[f"accuracy_{name}"]
        assert 100 * (value if name == "defended_clean" else value[at]) == pytest.approx(float(printed), abs=6), name
    assert (result["accuracy_defended_pgd"][at] > 0.8) == holds
    assert result["accuracy_fgsm"][at] < (0.4 if holds else 0.1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [("--defence none", "choose from .*fgsm.*random"), ("--device cpu:2", "--device cpu:2: an attack is written"),
     ("--architecture rnn", "choose from .*mlp.*cnn")],
)  # fmt: skip
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        adversarial_mnist.main(["--data", "digits", *argv.split()])
    assert not results.RUNS_DIR.exists()
