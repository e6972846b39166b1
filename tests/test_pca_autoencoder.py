import json

import pca_autoencoder

import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg
from sklearn.decomposition import PCA
from tensorflow import keras


def test_pca_is_the_best_that_straight_lines_can_do(images, rng):
    """With PCA's components for weights the linear autoencoder is PCA, and no gradient is left."""
    pca = PCA(8).fit(images.reshape(-1, 784))
    encoder, decoder = pca_autoencoder.build_networks(8)
    mixer = rng.normal(size=(8, 8))  # any basis of the span does
    encoder.set_weights([pca.components_.T @ mixer, -pca.mean_ @ pca.components_.T @ mixer])
    decoder.set_weights([linalg.inv(mixer) @ pca.components_, pca.mean_])
    with tf.GradientTape() as tape:
        rebuilt = decoder(encoder(images))
        loss = tf.reduce_mean((rebuilt - images) ** 2)
    expected = pca.inverse_transform(pca.transform(images.reshape(-1, 784))).reshape(images.shape)
    np.testing.assert_allclose(rebuilt, expected, atol=1e-4)
    for gradient in tape.gradient(loss, [*encoder.trainable_variables, *decoder.trainable_variables]):
        assert np.abs(gradient).max() < 1e-5
    span = pca_autoencoder.strokes(decoder).T
    angle, found, cosines = pca_autoencoder.compare_spans(span, pca, images.reshape(-1, 784))
    assert angle < 0.1
    assert cosines.min() > 0.999
    np.testing.assert_allclose(found, pca.components_, atol=0.02)  # with PCA's signs


def test_the_components_come_back_from_any_basis_of_their_span(images, rng):
    flat = images.reshape(-1, 784)
    pca = PCA(12).fit(flat)
    span = pca.components_.T @ rng.normal(size=(12, 12))  # (784, 12): mixtures, as training finds them
    cosines = np.abs(np.sum(pca_autoencoder.components_inside(span, flat) * pca.components_[:10], axis=1))
    assert cosines.min() > 0.999
    mixed = np.abs(np.sum(span.T[:10] * pca.components_[:10], axis=1)) / np.linalg.norm(span, axis=0)[:10]
    assert mixed.max() < 0.95, "the columns themselves are not the components"


def test_a_run_leaves_networks_pictures_and_numbers_even_of_two_images(capsys):
    result = pca_autoencoder.main(["--data", "digits", "--epochs", "2", "--limit", "2", "--code", "2"])
    folder, written = result["folder"], json.loads((result["folder"] / "result.json").read_text())
    assert written["status"] == "finished"
    assert written.keys() >= {"test_mse", "pca_mse", "mean_mse", "psnr", "principal_angle", "component_cosine"}
    names = {"model.png", "reconstructions.png", "components.png", "code.png", "model.keras", "encoder.keras"}
    assert names <= {path.name for path in folder.iterdir()}
    assert keras.models.load_model(folder / "decoder.keras").count_params() == 2 * 784 + 784
    assert f"{written['principal_angle']:.2f} degrees" in capsys.readouterr().out


@pytest.mark.slow
def test_a_diverged_training_still_ends_in_a_result(monkeypatch):
    monkeypatch.setattr(pca_autoencoder, "LEARNING_RATE", 1e30)
    result = pca_autoencoder.main(["--data", "digits", "--limit", "200", "--epochs", "2"])
    assert result["status"] == "diverged"
    assert "principal_angle" not in result
    assert np.isfinite(result["pca_mse"])


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    result = pca_autoencoder.main(["--data", "mnist"])
    assert "50,992" in pca_autoencoder.__doc__
    assert result["parameters"] == 50_992
    assert result["test_mse"] == pytest.approx(0.01683, rel=0.01)
    assert result["test_mse"] < 1.01 * result["pca_mse"]
    assert result["principal_angle"] < 2
    assert result["component_cosine"] > 0.99
