import json
import re

import vae_gan_mnist

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(vae_gan_mnist.__doc__.split())
NETWORKS = ("encoder", "decoder", "discriminator")


def small_vae(**rates):
    """Return a VAE-GAN with codes of two numbers, whose networks learn at these rates."""
    keras.utils.set_random_seed(0)
    encoder, decoder = vae_gan_mnist.build_encoder("conv", 2), vae_gan_mnist.build_decoder(2)
    vae = vae_gan_mnist.VAEGAN(encoder, decoder, vae_gan_mnist.build_discriminator("conv"))
    vae.compile(*(keras.optimizers.SGD(rates.get(name, 0.0)) for name in NETWORKS))
    return vae


def test_parameters_and_range(rng):
    encoder, decoder = vae_gan_mnist.build_encoder("conv"), vae_gan_mnist.build_decoder()
    for count in (encoder.count_params() + decoder.count_params(),
                  vae_gan_mnist.build_discriminator("conv").count_params()):
        assert f"{count:,}" in CARD
    painted = decoder.predict(100 * rng.normal(size=(9, 20)), verbose=0)
    assert painted.shape == (9, 28, 28, 1)
    assert 0 <= painted.min() < painted.max() <= 1


@pytest.mark.parametrize("mover", NETWORKS)
def test_each_network_moves_only_by_its_own_optimizer_and_then_all_of_it_does(mover, images):
    vae = small_vae(**{mover: 0.01})
    before = {name: [array.numpy() for array in getattr(vae, name).trainable_variables] for name in NETWORKS}
    vae.train_step(tf.constant(images[:8]))
    for name in NETWORKS:
        pairs = zip(before[name], getattr(vae, name).trainable_variables, strict=True)
        assert {bool((old != new.numpy()).any()) for old, new in pairs} == {name == mover}


def test_a_discriminator_that_can_only_guess_costs_ln_2_and_sees_no_difference(images):
    vae = small_vae()
    vae.discriminator.set_weights([np.zeros_like(array) for array in vae.discriminator.get_weights()])
    logs = {name: float(value) for name, value in vae.train_step(tf.constant(images[:8])).items()}
    assert logs["d_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert logs["g_loss"] == pytest.approx(2 * np.log(2), rel=1e-5)
    assert logs["difference"] == 0
    assert logs["reconstruction"] > 0 < logs["kl"]


@pytest.mark.slow
def test_a_run_leaves_networks_pictures_and_numbers(capsys):
    result = vae_gan_mnist.main("--data digits --limit 200 --epochs 2 --latent-dim 2".split())
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written.keys() >= {"negative_elbo", "classifier_score", "judged_same"}
    names = {path.name for path in result["folder"].iterdir()}
    assert {"encoder.keras", "decoder.keras", "samples.png", "plane.png"} <= names
    printed = capsys.readouterr()
    assert f"Frechet distance: {written['frechet_distance']:.1f}, classifier score: " in printed.out
    assert printed.err == ""


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    result = vae_gan_mnist.main(["--data", "mnist"])
    nats = [float(number) for number in re.search(r"cost (\d+), (\d+) and (\d+) nats", CARD).groups()]
    assert min(nats) - 30 < result["negative_elbo"] < max(nats) + 30
    distance = re.search(r"Frechet distance ([\d.]+)", CARD)[1]
    assert result["frechet_distance"] < float(distance), "it paints better than the dense VAE"
