import json
import re

import paint_digits
import vae_mnist
from benchmarks.importance_weighted import importance_weighted

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(vae_mnist.__doc__.split())
PARAMETERS = {"dense": 801_224, "conv": 1_691_369}


def small_vae(lesson=vae_mnist):
    keras.utils.set_random_seed(0)
    return lesson.VAE(lesson.build_encoder("dense", 4), lesson.build_decoder("dense", 4))


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_parameters_shapes_and_range(architecture, rng):
    encoder, decoder = vae_mnist.build_encoder(architecture), vae_mnist.build_decoder(architecture)
    assert encoder.count_params() + decoder.count_params() == PARAMETERS[architecture]
    assert f"{PARAMETERS[architecture]:,}" in CARD
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
    assert ({*np.unique(first)}, (first != second).any()) == ({0, 1}, True)
    assert np.abs(first.mean(axis=0) - grey[0]).max() < 5 * 0.5 / np.sqrt(2000)
    assert (first[..., 0, 0, 0].max(), first[:, -1, -1, 0].min()) == (0, 1)


def test_gradients_reach_the_encoder_through_the_code(images):
    vae = small_vae()
    with tf.GradientTape() as tape:
        x, probabilities, _, _ = vae(images[:50], training=True)
        nats = tf.reduce_mean(vae_mnist.reconstruction(x, probabilities))
    for gradient in tape.gradient(nats, vae.encoder.trainable_variables):
        assert np.abs(gradient).max() > 0


@pytest.mark.slow
def test_the_importance_weighted_bound_is_exact_for_an_empty_code_and_tighter_for_another(images):
    vae = small_vae()
    vae.encoder.layers[-2].set_weights([np.zeros_like(array) for array in vae.encoder.layers[-2].get_weights()])
    vae.decoder.layers[-3].kernel.assign(tf.zeros_like(vae.decoder.layers[-3].kernel))
    bounds = importance_weighted(vae, vae_mnist.reconstruction, images[:3])
    np.testing.assert_allclose(bounds, [-784 * np.log(2)] * 3, rtol=1e-5)
    vae = small_vae()
    vae.compile(keras.optimizers.Adam(3e-3))
    vae.fit(images[:300], epochs=10, batch_size=50, verbose=0)
    test = vae.evaluate(images[:150], verbose=0, return_dict=True)
    bounds = importance_weighted(vae, vae_mnist.reconstruction, images[:150])
    assert bounds.shape == (150,)
    assert -bounds.mean() < test["loss"] - 0.1


@pytest.mark.slow
def test_what_becomes_of_a_mean_where_there_should_be_a_sum(edited, images):
    """The most frequent mistakes: pixels as a mean leave the code empty, numbers of the code as a mean overfill it."""
    ends = []
    for changes in [], ["keras.losses.binary"], ["mean**2"]:
        vae = small_vae(edited("vae_mnist", *((f"tf.reduce_sum({what}", f"tf.reduce_mean({what}") for what in changes)))
        vae.compile(keras.optimizers.Adam(3e-3))
        vae.fit(images[:300], epochs=30, batch_size=100, verbose=0)
        x, probabilities, mean, log_variance = vae.predict(images[:300], verbose=0, batch_size=500)
        nats = np.mean(vae_mnist.reconstruction(x, probabilities))  # in truth
        ends.append((nats, np.mean(vae_mnist.kl_divergence(mean, log_variance))))
    (nats, kl), (_, empty), (overfilled_nats, overfilled) = ends
    assert empty < 0.1 < 3 < kl < overfilled / 1.5
    assert overfilled_nats + overfilled > nats + kl


@pytest.mark.parametrize("flags", ["", pytest.param("--conv", marks=pytest.mark.slow)])
def test_a_run_leaves_networks_pictures_and_numbers(flags, capsys):
    small = "--data digits --limit 200 --epochs 2 --latent-dim 2 " + flags
    result = vae_mnist.main(small.split())
    folder, written = result["folder"], json.loads((result["folder"] / "result.json").read_text())
    assert written.keys() >= {"active_units", "frechet_distance", "classifier_score", "judged_same"}
    assert written["negative_elbo"] == pytest.approx(written["reconstruction"] + written["kl"])
    names = "reconstructions.png samples.png kl.png plane.png encoder.png decoder.png history.csv"
    assert {*names.split()} <= {path.name for path in folder.iterdir()}
    encoder, decoder = (keras.models.load_model(folder / f"{name}.keras") for name in ("encoder", "decoder"))
    assert (encoder.output_shape, decoder.output_shape) == ((None, 2, 2), (None, 28, 28, 1))
    painted = paint_digits.main([str(folder / "decoder.keras"), "--count", "5"])["folder"]
    expected = 255 * decoder.predict(np.random.default_rng(0).standard_normal((5, 2)), verbose=0)
    assert np.abs(np.load(painted / "generated.npz")["images"] - expected).max() <= 1
    printed = capsys.readouterr()
    assert f"Negative ELBO: {written['negative_elbo']:.2f} nats (pixels " in printed.out
    assert printed.err == ""


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    result = vae_mnist.main(["--data", "mnist"])
    nats, distance = re.search(r"Expect ([\d.]+) .*?Frechet distance ([\d.]+)", CARD).groups()
    assert result["negative_elbo"] == pytest.approx(float(nats), rel=0.01)
    assert result["frechet_distance"] == pytest.approx(float(distance), rel=0.4)
