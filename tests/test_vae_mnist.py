import json
import math
import re

import paint_digits
import vae_mnist
from common import cli, mnist, results

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(vae_mnist.__doc__.split())
SMALL = ["--data", "digits", "--limit", "200", "--epochs", "2", "--latent-dim", "2"]
PARAMETERS = {"dense": 801_224, "conv": 1_691_369, "gan": 1_689_353}
FLAGS = {"dense": [], "conv": ["--conv"], "gan": ["--gan"]}


def small_vae(lesson=vae_mnist, latent_dim=4):
    keras.utils.set_random_seed(0)
    return lesson.VAE(lesson.build_encoder("dense", latent_dim), lesson.build_decoder("dense", latent_dim))


def trained(lesson, images):
    vae = small_vae(lesson)
    vae.compile(keras.optimizers.Adam(3e-3))
    vae.fit(images, epochs=30, batch_size=100, verbose=0)
    x, probabilities, mean, log_variance = vae.predict(images, verbose=0, batch_size=500)
    return (np.mean(vae_mnist.reconstruction(x, probabilities)), np.mean(vae_mnist.kl_divergence(mean, log_variance)))


@pytest.mark.parametrize("form", PARAMETERS)
def test_parameters_and_shapes(form, rng):
    encoder, decoder = vae_mnist.build_encoder(form), vae_mnist.build_decoder(form)
    assert encoder.count_params() + decoder.count_params() == PARAMETERS[form]
    assert f"{PARAMETERS[form]:,}" in CARD
    assert (encoder.input_shape, encoder.output_shape) == ((None, 28, 28, 1), (None, 2, 20))
    assert (decoder.input_shape, decoder.output_shape) == ((None, 20), (None, 28, 28, 1))
    painted = decoder.predict(100 * rng.normal(size=(9, 20)), verbose=0)
    assert 0 <= painted.min() < painted.max() <= 1


def test_the_kl_divergence_is_what_many_samples_say(rng):
    mean, log_variance = 2 * rng.normal(size=(2, 1, 3))
    z = mean + np.exp(log_variance / 2) * rng.standard_normal((100_000, 3))
    log_ratio = np.sum(z**2 - (z - mean) ** 2 / np.exp(log_variance) - log_variance, axis=1) / 2  # log q(z) - log p(z)
    assert float(vae_mnist.kl_divergence(mean, log_variance)[0]) == pytest.approx(log_ratio.mean(), rel=0.01)


def test_the_loss_of_a_decoder_that_knows_nothing_is_784_ln_2_and_the_kl(images):
    vae = small_vae()
    vae.decoder.set_weights([np.zeros_like(array) for array in vae.decoder.get_weights()])
    vae.compile()
    test = vae.evaluate(images, verbose=0, return_dict=True)
    assert test["reconstruction"] == pytest.approx(784 * np.log(2), rel=1e-5)
    assert test["loss"] == pytest.approx(test["reconstruction"] + test["kl"], rel=1e-5)
    vae.beta = 3.0
    vae.compile()
    assert vae.evaluate(images, verbose=0)[0] == pytest.approx(test["reconstruction"] + 3 * test["kl"], rel=1e-3)


def test_pixels_are_drawn_anew_with_the_probability_that_they_are_grey():
    vae = small_vae()
    grey = np.linspace(0, 1, 784, dtype="float32").reshape(1, 28, 28, 1).repeat(2000, axis=0)
    first, second = vae.binarize(grey).numpy(), vae.binarize(grey).numpy()
    assert {*np.unique(first)} == {0, 1}
    assert (first != second).any()
    assert np.abs(first.mean(axis=0) - grey[0]).max() < 5 * 0.5 / np.sqrt(2000)
    assert (first[..., 0, 0, 0].max(), first[:, -1, -1, 0].min()) == (0, 1)


def test_gradients_reach_the_encoder_through_the_code(images):
    vae = small_vae()
    with tf.GradientTape() as tape:
        x, probabilities, _, _ = vae(images[:50], training=True)
        nats = tf.reduce_mean(vae_mnist.reconstruction(x, probabilities))
    for gradient in tape.gradient(nats, vae.encoder.trainable_variables):
        assert np.abs(gradient).max() > 0


def test_the_importance_weighted_bound_is_exact_for_an_empty_code_and_tighter_for_another(images):
    vae = small_vae()
    vae.encoder.layers[-2].set_weights([np.zeros_like(array) for array in vae.encoder.layers[-2].get_weights()])
    vae.decoder.layers[-3].kernel.assign(tf.zeros_like(vae.decoder.layers[-3].kernel))
    np.testing.assert_allclose(vae_mnist.importance_weighted(vae, images[:3]), [-784 * np.log(2)] * 3, rtol=1e-5)
    vae = small_vae()
    vae.compile(keras.optimizers.Adam(3e-3))
    vae.fit(images[:300], epochs=10, batch_size=50, verbose=0)
    test = vae.evaluate(images[:100], verbose=0, return_dict=True)
    assert -np.mean(vae_mnist.importance_weighted(vae, images[:100])) < test["loss"] - 0.1


@pytest.mark.slow
def test_what_becomes_of_a_mean_where_there_should_be_a_sum(edited, images):
    """The most frequent mistakes: pixels as a mean leave the code empty, numbers of the code as a mean overfill it."""
    nats, kl = trained(vae_mnist, images[:300])
    empty, full = (trained(edited("vae_mnist", (f"tf.reduce_sum({what}", f"tf.reduce_mean({what}")), images[:300])
                   for what in ("keras.losses.binary", "mean**2"))
    assert empty[1] < 0.1 < 3 < kl < full[1] / 1.5
    assert full[0] + full[1] > nats + kl


@pytest.mark.parametrize("form", [
    *(pytest.param(form, marks=pytest.mark.slow) for form in ("dense", "conv")), "gan"])
def test_a_run_leaves_networks_pictures_and_numbers(form, capsys):
    result = vae_mnist.main([*SMALL, *FLAGS[form]])
    folder, written = result["folder"], json.loads((result["folder"] / "result.json").read_text())
    assert written.keys() >= set(
        "negative_elbo reconstruction kl active_units importance_weighted frechet_distance classifier_score".split())
    assert written["negative_elbo"] == pytest.approx(written["reconstruction"] + written["kl"])
    assert written["importance_weighted"] < written["negative_elbo"]
    assert {path.name for path in folder.iterdir()} == {
        "encoder.keras", "decoder.keras", "encoder.png", "decoder.png", "reconstructions.png", "samples.png", "kl.png",
        "plane.png", "history.csv", "result.json",
    }  # fmt: skip
    encoder, decoder = (keras.models.load_model(folder / f"{name}.keras") for name in ("encoder", "decoder"))
    assert (encoder.output_shape, decoder.output_shape) == ((None, 2, 2), (None, 28, 28, 1))
    painted = paint_digits.main([str(folder / "decoder.keras"), "--count", "5"])["folder"]
    expected = 255 * decoder.predict(np.random.default_rng(0).standard_normal((5, 2)), verbose=0)
    assert np.abs(np.load(painted / "generated.npz")["images"] - expected).max() <= 1
    printed = capsys.readouterr()
    assert f"Negative ELBO: {written['negative_elbo']:.2f} nats (pixels " in printed.out
    assert printed.err == ""


@pytest.mark.parametrize("mover", ["encoder", "decoder", "discriminator"])
def test_each_network_of_the_vae_gan_moves_only_by_its_own_optimizer(mover, images):
    keras.utils.set_random_seed(0)
    discriminator = vae_mnist.build_discriminator("conv")
    vae = vae_mnist.VAEGAN(vae_mnist.build_encoder("gan", 2), vae_mnist.build_decoder("gan", 2), discriminator)
    names = ("encoder", "decoder", "discriminator")
    vae.compile(*(keras.optimizers.SGD(0.01 if name == mover else 0.0) for name in names))
    before = {name: [array.numpy() for array in getattr(vae, name).trainable_variables] for name in names}
    vae.train_step(tf.constant(images[:8]))
    for name in names:
        pairs = zip(before[name], getattr(vae, name).trainable_variables, strict=True)
        assert {bool((old != new.numpy()).any()) for old, new in pairs} == {name == mover}


@pytest.mark.parametrize(
    ("argv", "message"),
    [("--beta -1", "--beta: expected a number of at least 0"), ("--latent-dim 0", "--latent-dim: expected a whole"),
     ("--conv --gan", "not allowed with"), ("--device cpu:2", "--device cpu:2: the VAE")],
)  # fmt: skip
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        vae_mnist.main(["--data", "digits", *argv.split()])
    assert not results.RUNS_DIR.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("form", "most"), [("dense", 99), ("conv", 95), ("gan", math.inf)])
def test_the_card_tells_the_truth_about_mnist(form, most):
    result = vae_mnist.main(["--data", "mnist", *FLAGS[form]])
    nats, distance = re.search(rf"{form} +([\d.]+) .*?Frechet distance ([\d.]+)", CARD).groups()
    assert result["negative_elbo"] == pytest.approx(float(nats), rel=0.2 if form == "gan" else 0.01)
    assert result["frechet_distance"] == pytest.approx(float(distance), rel=0.4)
    assert result["importance_weighted"] < result["negative_elbo"] < most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "least"),
    [("tf.reduce_sum(mean**2", "tf.reduce_mean(mean**2", 120),
     ("tf.reduce_sum(keras.losses.binary", "tf.reduce_mean(keras.losses.binary", 200)],
)  # fmt: skip
def test_the_famous_mistakes_on_mnist(old, new, least, edited):
    lesson, digits = edited("vae_mnist", (old, new)), mnist.load_mnist("mnist")
    vae = small_vae(lesson, 20)
    vae.compile(keras.optimizers.Adam(2e-3))
    vae.fit(mnist.as_images(digits.x_train), epochs=4, batch_size=128, verbose=0)
    x, probabilities, mean, log_variance = vae.predict(mnist.as_images(digits.x_test), verbose=0, batch_size=500)
    kl = np.mean(vae_mnist.kl_divergence(mean, log_variance))
    assert np.mean(vae_mnist.reconstruction(x, probabilities)) + kl > least
    assert (kl < 0.1) == (least == 200)
