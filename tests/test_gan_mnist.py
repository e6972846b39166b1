import contextlib
import csv
import io
import json
import re

import gan_mnist
from common import mnist
from common.data import download
from common.generative import metrics
from common.plots.gan_mnist import as_pixels

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

CARD = " ".join(gan_mnist.__doc__.split())
SMALL = ["--data", "digits", "--limit", "60", "--batch-size", "16", "--latent-dim", "4"]
PARAMETERS = {"dense": (109_456, 100_609), "conv": (853_889, 209_457)}


def small_gan(architecture="dense", generator_rate=0.01, discriminator_rate=0.01):
    keras.utils.set_random_seed(0)
    gan = gan_mnist.GAN(gan_mnist.build_generator(architecture, 4), gan_mnist.build_discriminator(architecture))
    gan.compile(keras.optimizers.SGD(generator_rate), keras.optimizers.SGD(discriminator_rate))
    return gan


@pytest.fixture
def some_images(rng):
    return tf.constant(rng.uniform(-1, 1, (8, 28, 28, 1)), "float32")


def weights(network):
    return [variable.numpy() for variable in network.trainable_variables]


def moved(before, network):
    return {not np.array_equal(old, new) for old, new in zip(before, weights(network), strict=True)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the result of a run of four steps, one an epoch, with what it printed and the `frames` of its film."""
    frames, folder = {}, tmp_path_factory.mktemp("trained")
    add = gan_mnist.Film.add

    def watched(film, pixels, step):
        frames[step] = pixels
        add(film, pixels, step)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(download, "DATA_DIR", folder / "data")
        patch.setattr(metrics, "LEAST_STEPS", 2)
        patch.setattr(gan_mnist.Film, "add", watched)
        result = gan_mnist.main([*SMALL, "--steps", "4", "--out", str(folder / "out")])
    return {**result, "printed": printed.getvalue(), "frames": frames}


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_parameters_shapes_and_range(architecture, rng):
    networks = gan_mnist.build_generator(architecture), gan_mnist.build_discriminator(architecture)
    assert tuple(network.count_params() for network in networks) == PARAMETERS[architecture]
    for count in PARAMETERS[architecture]:
        assert f"{count:,}" in CARD
    assert networks[0].output_shape == networks[1].input_shape == (None, 28, 28, 1)
    images = networks[0].predict(100 * rng.normal(size=(50, 64)), verbose=0)
    assert -1 <= images.min() < 0 < images.max() <= 1


@pytest.mark.parametrize("architecture", PARAMETERS)
@pytest.mark.parametrize("rates", [(0.01, 0.0), (0.0, 0.01)])
def test_a_step_moves_every_weight_of_each_network_by_its_own_optimizer_alone(architecture, rates, some_images):
    gan = small_gan(architecture, *rates)
    before = weights(gan.generator), weights(gan.discriminator)
    statistics = [variable.numpy() for variable in gan.generator.non_trainable_variables]
    gan.train_step(some_images)
    assert (moved(before[0], gan.generator), moved(before[1], gan.discriminator)) == ({rates[0] > 0}, {rates[1] > 0})
    for old, new in zip(statistics, gan.generator.non_trainable_variables, strict=True):
        assert (old != new.numpy()).any(), "normalisation that is not frozen collects statistics"


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_follows_the_gradients_written_out_in_numpy(smoothing, rng, monkeypatch):
    """With one dense layer in each network, logits x w + b and images z W, both gradients fit on a line."""
    real = rng.uniform(-1, 1, (8, 28, 28, 1))
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(784, use_bias=False), layers.Reshape((28, 28, 1))])
    discriminator = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(1)])
    monkeypatch.setattr(gan_mnist, "LABEL_SMOOTHING", smoothing)
    gan = gan_mnist.GAN(generator, discriminator)
    gan.compile(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0))
    gan.noise_seed = keras.random.SeedGenerator(1)
    z = keras.random.normal((8, 3), seed=keras.random.SeedGenerator(1)).numpy().astype(float)
    (W,), (w, b) = weights(generator), weights(discriminator)
    logs = gan.train_step(tf.constant(real, "float32"))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    x, fake = real.reshape(8, 784), z @ W
    d_real, d_fake = sigmoid(x @ w + b), sigmoid(fake @ w + b)  # (8, 1) each
    d_loss = -np.mean((1 - smoothing) * np.log(d_real) + smoothing * np.log(1 - d_real) + np.log(1 - d_fake)) / 2
    assert float(logs["d_loss"]) == pytest.approx(d_loss, rel=1e-4)
    assert float(logs["g_loss"]) == pytest.approx(-np.mean(np.log(d_fake)), rel=1e-4)
    assert float(logs["d_accuracy_real"]) == pytest.approx(np.mean(d_real > 0.5))
    assert float(logs["d_accuracy_fake"]) == pytest.approx(np.mean(d_fake < 0.5))
    errors_real, errors_fake = (d_real - 1 + smoothing) / 16, d_fake / 16
    gradient_w = x.T @ errors_real + fake.T @ errors_fake + gan_mnist.PENALTY * w  # |dD/dx|^2 = |w|^2
    gradient_W = z.T @ ((d_fake - 1) / 8 @ w.T)
    np.testing.assert_allclose(weights(discriminator)[0], w - gradient_w, atol=1e-5)
    np.testing.assert_allclose(weights(discriminator)[1], b - np.sum(errors_real + errors_fake), atol=1e-5)
    np.testing.assert_allclose(weights(generator)[0], W - gradient_W, atol=1e-5)


def test_both_losses_are_ln_2_while_the_discriminator_can_only_guess(some_images):
    gan = small_gan()
    gan.discriminator.set_weights([np.zeros_like(array) for array in gan.discriminator.get_weights()])
    logs = gan.train_step(some_images)
    assert [float(logs[name]) for name in ("d_loss", "g_loss")] == pytest.approx([np.log(2)] * 2)


def test_every_step_draws_new_noise_and_a_seed_repeats_it(some_images):
    first, second = small_gan(generator_rate=0.0, discriminator_rate=0.0), small_gan(discriminator_rate=0.0)
    losses = [float(gan.train_step(some_images)["g_loss"]) for gan in (first, second, first)]
    assert losses[0] == losses[1] != losses[2]


def test_two_hundred_steps_pull_the_images_towards_the_only_one_there_is(rng):
    digit = 2 * mnist.as_images(mnist.load_mnist("digits", 1).x_train) - 1  # (1, 28, 28, 1)
    keras.utils.set_random_seed(0)
    generator = gan_mnist.build_generator(latent_dim=4)
    gan = gan_mnist.GAN(generator, gan_mnist.build_discriminator())
    gan.compile(keras.optimizers.Adam(3e-3, 0.5), keras.optimizers.Adam(3e-3, 0.5))
    noise = rng.normal(size=(50, 4))
    before = np.mean((generator.predict(noise, verbose=0) - digit) ** 2)
    gan.fit(np.repeat(digit, 3200, axis=0), batch_size=16, verbose=0)  # 200 steps
    assert np.mean((generator.predict(noise, verbose=0) - digit) ** 2) < before / 4


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")  # all that Keras says of it
def test_the_classic_recipe_still_leaves_its_discriminator_untrained(rng):
    """The trap that the script tells of. If this fails, Keras trains the classic recipe again: tell the reader so."""
    keras.utils.set_random_seed(0)
    generator = gan_mnist.build_generator(latent_dim=4)
    discriminator = keras.Sequential([*gan_mnist.build_discriminator().layers, layers.Activation("sigmoid")])
    discriminator.build((None, 28, 28, 1))
    discriminator.compile("adam", "binary_crossentropy")
    discriminator.trainable = False
    both = keras.Sequential([generator, discriminator])
    both.compile("adam", "binary_crossentropy")
    untrained = discriminator.get_weights(), generator.get_weights()
    losses = []
    for _ in range(5):
        noise = rng.normal(size=(16, 4)).astype("float32")
        images = np.concatenate([rng.uniform(-1, 1, (16, 28, 28, 1)), generator.predict(noise, verbose=0)])
        losses.append(discriminator.train_on_batch(images, np.repeat([[1.0], [0.0]], 16, axis=0)))
        losses.append(both.train_on_batch(noise, np.ones((16, 1))))
    assert all(0.1 < loss < 3 for loss in losses), "plausible"
    for before, after in zip(untrained[0], discriminator.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert any((before != after).any() for before, after in zip(untrained[1], generator.get_weights(), strict=True))


def test_a_run_leaves_networks_pictures_and_scores(trained):
    folder = trained["folder"]
    written = json.loads((folder / "result.json").read_text())
    assert {"classes_covered", "classifier_score"} <= written["untrained"].keys() & written.keys()
    assert written["real"]["frechet_distance"] < written["untrained"]["frechet_distance"]
    assert {path.name for path in folder.iterdir()} == {
        "generator.keras", "discriminator.keras", "generator.png", "discriminator.png", "samples.png", "snapshots",
        "training_curves.png", "training.gif", "history.csv", "result.json",
    }
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0].keys() >= {"d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake"}
    assert re.search(r"the judge .+ generated +untrained +real\n", trained["printed"])
    row = re.search(r"frechet distance +([\d.]+) +([\d.]+) +([\d.]+)\n", trained["printed"])
    distances = [scores["frechet_distance"] for scores in (trained, trained["untrained"], trained["real"])]
    assert [float(number) for number in row.groups()] == pytest.approx(distances, rel=1e-3)


def test_the_same_noise_is_painted_before_the_training_and_after_each_epoch(trained):
    frames, noise = trained["frames"], np.random.default_rng(0).standard_normal((360, 4))[:64]
    assert list(frames) == [0, 1, 2, 3, 4]
    names = [f"step_{step:07}.png" for step in frames]
    assert sorted(path.name for path in (trained["folder"] / "snapshots").iterdir()) == names
    with Image.open(trained["folder"] / "training.gif") as gif:
        assert gif.n_frames == 5
    keras.utils.set_random_seed(0)
    untrained = gan_mnist.build_generator("dense", 4)
    saved = keras.models.load_model(trained["folder"] / "generator.keras")
    for step, generator in ((0, untrained), (4, saved)):
        expected = as_pixels(generator.predict(noise, verbose=0)).astype(int)
        assert np.abs(frames[step] - expected).max() <= 1


@pytest.mark.slow
def test_one_image_and_a_diverged_training_still_end_in_a_result(monkeypatch):
    monkeypatch.setitem(gan_mnist.LEARNING_RATE, "dense", 1e30)
    result = gan_mnist.main(["--data", "digits", "--limit", "1", "--steps", "4"])
    assert result["status"] == "diverged"
    assert np.isnan(result["frechet_distance"]), "a picture of nan is near to nothing"


def test_each_architecture_has_its_own_defaults_and_flags_override_them():
    for architecture in PARAMETERS:
        args = gan_mnist.parse(["--architecture", architecture])
        assert (args.steps, args.batch_size) == (gan_mnist.STEPS[architecture], gan_mnist.BATCH_SIZE[architecture])
    assert gan_mnist.parse(["--architecture", "conv", "--steps", "7"]).steps == 7


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    result = gan_mnist.main(["--data", "mnist"])
    score, distance = re.search(r"Classifier score ([\d.]+).*?, Frechet distance ([\d.]+)", CARD).groups()
    assert result["classes_covered"] == 10
    assert result["classifier_score"] == pytest.approx(float(score), abs=0.4)
    assert result["frechet_distance"] == pytest.approx(float(distance), rel=0.35)
