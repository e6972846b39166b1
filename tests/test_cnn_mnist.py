import re

import cnn_mnist
import mlp_mnist

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(cnn_mnist.__doc__.split())
KERNEL = 'filters, 3, activation="relu"'


def test_the_network_is_the_listings():
    model = cnn_mnist.build_model()
    assert model.count_params() == 80_266
    assert "80,266 parameters" in CARD
    assert model.layers[-2].rate == 0.2
    assert {layer.activation.__name__ for layer in model.layers[:5:2]} == {"relu"}


def test_convolution_and_pooling_compute_what_the_figures_say(rng):
    keras.utils.set_random_seed(0)
    model = cnn_mnist.build_model(filters=3)
    image = rng.random((1, 28, 28, 1), dtype=np.float32)
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in model.layers[:3:2])

    def convolve(picture, weights, bias):  # document 003, Figure 3.13: multiply a patch by the kernel, add up
        rows, columns = picture.shape[0] - 2, picture.shape[1] - 2
        patches = np.array([[picture[i : i + 3, j : j + 3] for j in range(columns)] for i in range(rows)])
        return np.maximum(0, np.einsum("ijabc,abcf->ijf", patches, weights) + bias)

    first = convolve(image[0], w1, b1)
    pooled = first.reshape(13, 2, 13, 2, 3).max(axis=(1, 3))  # Figure 3.14: the largest of each 2 x 2
    second = convolve(pooled, w2, b2)
    seen = keras.Model(model.inputs[0], [layer.output for layer in model.layers[:3]]).predict(image, verbose=0)
    for expected, actual in zip((first, pooled, second), seen, strict=True):
        np.testing.assert_allclose(actual[0], expected, atol=1e-5)


def test_batch_normalisation_stands_between_convolution_and_activation():
    model = cnn_mnist.build_model(batch_norm=True)
    names = [type(layer).__name__ for layer in model.layers[:4]]
    assert names == ["Conv2D", "BatchNormalization", "Activation", "MaxPooling2D"]
    assert model.layers[0].activation.__name__ == "linear"
    assert model.count_params() == 80_266 + 3 * 4 * 64


@pytest.mark.parametrize(
    ("old", "new", "shapes"),
    [
        (KERNEL, 'filters, (3, 5), padding="same", activation="relu"', [(28, 28), (14, 14), (7, 7)]),
        (KERNEL, 'filters, 3, strides=2, padding="same", activation="relu"', [(14, 14), (4, 4), (1, 1)]),
        (KERNEL, 'filters, 1, activation="relu"', [(28, 28), (14, 14), (7, 7)]),
        ("MaxPooling2D(2)", "AveragePooling2D(2)", [(26, 26), (11, 11), (3, 3)]),
        ("MaxPooling2D(2)", "MaxPooling2D((2, 1))", [(26, 26), (11, 24), (3, 22)]),
    ],
)
def test_a_layer_edited_as_the_script_suggests_has_the_shape_of_the_formula(old, new, shapes, edited):
    module = edited("cnn_mnist", (old, new))
    convolutions = [layer for layer in module.build_model(filters=2).layers if "Conv2D" in type(layer).__name__]
    assert [layer.output.shape[1:3] for layer in convolutions] == shapes


@pytest.mark.slow
def test_a_handful_of_digits_is_memorised_and_its_pictures_drawn(capsys):
    own = "--filters 12 --dropout 0.1 --epochs 40 --batch-size 16"
    result = cnn_mnist.main(["--data", "digits", "--limit", "64", *own.split()])
    assert result["train_accuracy"] == 1.0
    assert result["test_accuracy"] > 0.6
    assert {*"model learning_curves confusion_matrix worst_mistakes kernels feature_maps".split()} == {
        path.stem for path in result["folder"].glob("*.png")}
    assert capsys.readouterr().err == ""
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert result["parameters"] == model.count_params()
    assert [weights.shape for weights in model.get_weights() if weights.ndim == 4] == [
        (3, 3, 1, 12), (3, 3, 12, 12), (3, 3, 12, 12)]
    assert model.layers[-2].rate == 0.1


def test_the_card_counts_a_small_networks_parameters_and_compares_with_the_card_of_the_mlp():
    assert f"{cnn_mnist.build_model(filters=8).count_params():,} parameters" in CARD
    accuracy = re.search(r"Expect +Test accuracy ([\d.]+ %)", mlp_mnist.__doc__)[1]
    assert f"The MLP: {accuracy} with {mlp_mnist.build_model().count_params():,} parameters" in CARD


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect Test accuracy ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    runs = [cnn_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in runs])
    assert mean >= 99.2
    assert mean == pytest.approx(expected, abs=2 * spread)
