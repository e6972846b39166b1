import csv
import re

import conditional_gan_mnist
from common import mnist

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(conditional_gan_mnist.__doc__.split())
PARAMETERS = {"dense": (110_736, 101_889), "conv": (856_449, 210_737)}


@pytest.fixture
def some_images(rng):
    return tf.constant(rng.uniform(-1, 1, (8, 28, 28, 1)), "float32")


def arrays(network):
    return [variable.numpy() for variable in network.trainable_variables]


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_both_networks_have_a_second_input_and_every_weight_of_both_learns(architecture, some_images):
    networks = conditional_gan_mnist.build_networks(architecture)
    assert tuple(network.count_params() for network in networks) == PARAMETERS[architecture]
    for count in PARAMETERS[architecture]:
        assert f"{count:,}" in CARD
    assert [network.input_shape for network in networks] == [[(None, 64), (None, 10)], [(None, 28, 28, 1), (None, 10)]]
    keras.utils.set_random_seed(0)
    gan = conditional_gan_mnist.ConditionalGAN(*conditional_gan_mnist.build_networks(architecture, 4, classes=3))
    gan.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    before = arrays(gan.generator) + arrays(gan.discriminator)
    gan.train_step((some_images, tf.one_hot([0, 1, 2, 0, 1, 2, 0, 1], 3)))
    for old, new in zip(before, arrays(gan.generator) + arrays(gan.discriminator), strict=True):
        assert (old != new).any()


def test_a_label_adds_the_product_of_its_vector_and_the_features(some_images):
    _, discriminator = conditional_gan_mnist.build_networks(classes=3)
    logits = [discriminator([some_images, tf.one_hot([label] * 8, 3)]).numpy() for label in range(3)]  # (8, 1) each
    trained = [layer for layer in discriminator.layers if layer.count_params()]
    first, vectors, answer = sorted(trained, key=lambda layer: -layer.count_params())
    features = first(tf.reshape(some_images, (8, 784))).numpy()  # (8, 128)
    features = np.where(features > 0, features, 0.01 * features)
    for label, logit in enumerate(logits):
        expected = answer(features) + features @ vectors.kernel.numpy()[label][:, None]
        np.testing.assert_allclose(logit, expected, atol=1e-4)


def test_the_generator_learns_which_digit_is_which(rng):
    pair = 2 * mnist.as_images(mnist.load_mnist("digits", 2).x_train) - 1  # (2, 28, 28, 1): two digits
    keras.utils.set_random_seed(0)
    gan = conditional_gan_mnist.ConditionalGAN(*conditional_gan_mnist.build_networks(latent_dim=4, classes=2))
    gan.compile(keras.optimizers.Adam(3e-3, 0.5), keras.optimizers.Adam(3e-3, 0.5))
    gan.fit(np.tile(pair, (1600, 1, 1, 1)), np.tile(np.eye(2), (1600, 1)), batch_size=16, verbose=0)  # 200 steps
    for label in range(2):
        images = gan.generator.predict([rng.normal(size=(20, 4)), np.eye(2)[[label] * 20]], verbose=0)
        distances = [np.mean((images - digit) ** 2) for digit in pair]
        assert distances[label] < distances[1 - label] / 2


def test_a_run_tells_after_each_epoch_how_often_it_obeys_and_paints_a_noise_as_every_digit(capsys, monkeypatch):
    painted = []
    monkeypatch.setattr(conditional_gan_mnist, "grid", lambda path, pixels, title, columns: painted.append(pixels))
    flags = "--data digits --limit 60 --batch-size 16 --latent-dim 4 --steps 4"
    result = conditional_gan_mnist.main(flags.split())
    with (result["folder"] / "history.csv").open() as file:
        right = [float(row["ordered_digit_right"]) for row in csv.DictReader(file)]
    assert len(right) == 4
    assert right[-1] == pytest.approx(result["ordered_digit_right"]), "360 of 360 images"
    generator = keras.models.load_model(result["folder"] / "generator.keras")
    noise = np.random.default_rng(0).standard_normal((360, 4))[:8]
    for row, digit in ((0, 0), (0, 7), (7, 3)):
        expected = generator.predict([noise[[row]], np.eye(10)[[digit]]], verbose=0)[0]
        assert np.abs(painted[0][10 * row + digit] - 127.5 * (expected + 1)).max() <= 1
    printed = capsys.readouterr()
    last = printed.out.splitlines()[-1]
    assert last.startswith(f"Ordered digit right: {result['ordered_digit_right']:.1%}, classifier score: ")
    assert f" | untrained {result['untrained']['ordered_digit_right']:.1%} | " in last
    assert printed.err == ""


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    result = conditional_gan_mnist.main(["--data", "mnist"])
    right = re.search(r"Expect ([\d.]+) % of the digits", CARD)[1]
    assert 100 * result["ordered_digit_right"] == pytest.approx(float(right), abs=2)
