import re

import cnn_mnist
import mlp_mnist
from common import cli, mnist

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(cnn_mnist.__doc__.split())


def test_the_network_is_the_listings():
    model = cnn_mnist.build_model()
    assert [(type(layer).__name__, layer.output.shape[1:], layer.count_params()) for layer in model.layers] == [
        ("Conv2D", (26, 26, 64), 640),
        ("MaxPooling2D", (13, 13, 64), 0),
        ("Conv2D", (11, 11, 64), 36_928),
        ("MaxPooling2D", (5, 5, 64), 0),
        ("Conv2D", (3, 3, 64), 36_928),
        ("Flatten", (576,), 0),
        ("Dropout", (576,), 0),
        ("Dense", (10,), 5_770),
    ]
    assert model.count_params() == 80_266
    assert "80,266 parameters" in CARD
    assert model.layers[-2].rate == 0.2
    assert {layer.activation.__name__ for layer in model.layers[:5:2]} == {"relu"}


def test_convolution_and_pooling_compute_what_the_figures_say():
    keras.utils.set_random_seed(0)
    model = cnn_mnist.build_model(filters=(3, 2), kernel_size=3)
    image = np.random.default_rng(0).random((1, 28, 28, 1), dtype=np.float32)
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in model.layers[:3:2])

    def convolve(picture, weights, bias):  # document 003, Figure 3.13: multiply a patch by the kernel, add up
        rows, columns = picture.shape[0] - 2, picture.shape[1] - 2
        patches = np.array([[picture[i : i + 3, j : j + 3] for j in range(columns)] for i in range(rows)])
        return np.maximum(0, np.einsum("ijabc,abcf->ijf", patches, weights) + bias)

    first = convolve(image[0], w1, b1)
    pooled = first.reshape(13, 2, 13, 2, 3).max(axis=(1, 3))  # Figure 3.14: the largest of each 2 x 2
    second = convolve(pooled, w2, b2)
    seen = keras.Model(model.inputs, [layer.output for layer in model.layers[:3]]).predict(image, verbose=0)
    for expected, actual in zip((first, pooled, second), seen, strict=True):
        np.testing.assert_allclose(actual[0], expected, atol=1e-5)


def test_batch_normalisation_stands_between_convolution_and_activation():
    model = cnn_mnist.build_model(batch_norm=True)
    assert [type(layer).__name__ for layer in model.layers[:4]] == [
        "Conv2D", "BatchNormalization", "Activation", "MaxPooling2D",
    ]  # fmt: skip
    assert model.layers[0].activation.__name__ == "linear"
    assert model.count_params() == 80_266 + 3 * 4 * 64


def test_pooling_before_relu_gives_the_same_numbers():
    x = np.random.default_rng(0).random((3, 28, 28, 1), dtype=np.float32)
    book, fast = cnn_mnist.build_model(), cnn_mnist.build_model(pool_first=True)
    fast.set_weights(book.get_weights())
    assert [type(layer).__name__ for layer in fast.layers[:3]] == ["Conv2D", "MaxPooling2D", "Activation"]
    np.testing.assert_allclose(fast.predict(x, verbose=0), book.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0, 0, 0, 0, 0), lambda x: x),
        ((np.pi / 2, 0, 0, 0, 0, 0), lambda x: np.rot90(x, axes=(1, 2))),
        ((0, 0, 0, 0, 2, 0), lambda x: np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 0)))[:, :, 2:]),
        ((0, 0, 0, 0, 0, -1), lambda x: np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]),
        ((0, 0, -1, 0, 0, 0), lambda x: np.broadcast_to((x[:, :, 13:14] + x[:, :, 14:15]) / 2, x.shape)),
        ((0, 0, 0, -1, 0, 0), lambda x: np.broadcast_to((x[:, 13:14] + x[:, 14:15]) / 2, x.shape)),
    ],
)
def test_an_image_is_turned_scaled_and_moved_as_far_as_was_drawn(values, expected, monkeypatch):
    drawn = iter(values)
    monkeypatch.setattr(keras.random, "uniform", lambda shape, *args, **kwargs: tf.fill(shape, float(next(drawn))))
    x = np.random.default_rng(0).random((2, 28, 28, 1), dtype=np.float32)
    np.testing.assert_allclose(cnn_mnist.RandomAffine()(x, training=True), expected(x), atol=1e-4)


def test_each_image_of_a_batch_moves_its_own_way_and_in_training_only():
    x = np.repeat(mnist.as_images(mnist.load_mnist("digits").x_train[:1]), 50, axis=0)
    layer = cnn_mnist.RandomAffine()
    np.testing.assert_array_equal(layer(x), x)
    moved = np.array(layer(x, training=True))
    assert len(np.unique(moved.reshape(50, -1), axis=0)) == 50
    rows = (moved.sum(axis=(2, 3)) @ np.arange(28)) / moved.sum(axis=(1, 2, 3))
    assert 0.5 < rows.std() < 2.5
    assert rows.mean() == pytest.approx((x[0].sum(axis=(1, 2)) @ np.arange(28)) / x[0].sum(), abs=1)


def test_the_best_recipe_learns_from_moved_images_and_saves_the_plain_network(monkeypatch):
    seen = []
    call = cnn_mnist.RandomAffine.call
    monkeypatch.setattr(cnn_mnist.RandomAffine, "call", lambda self, images, training=False: (
        seen.append(training), call(self, images, training))[1])  # fmt: skip
    result = cnn_mnist.main("--data digits --limit 300 --epochs 3 --filters 16 16 --recipe best".split())
    assert True in seen
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert [type(layer).__name__ for layer in model.layers[:2]] == ["Conv2D", "MaxPooling2D"]
    digits = mnist.load_mnist("digits")
    probabilities = model.predict(mnist.as_images(digits.x_test), verbose=0)
    assert np.mean(probabilities.argmax(axis=1) == digits.y_test) == pytest.approx(result["test_accuracy"])
    assert result["test_accuracy"] > 0.4


@pytest.mark.parametrize(("recipe", "beta_2"), [("book", 0.999), ("fast", 0.99), ("best", 0.999)])
def test_fast_looks_back_less_far(recipe, beta_2, compiled):
    _, options = compiled(cnn_mnist.main, ["--data", "digits", "--recipe", recipe])
    assert options["optimizer"].beta_2 == beta_2


def test_a_handful_of_digits_is_memorised_and_its_pictures_drawn():
    result = cnn_mnist.main("--data digits --limit 64 --epochs 30 --batch-size 16 --filters 16 16".split())
    assert result["train_accuracy"] == 1.0
    assert result["test_accuracy"] > 0.6
    drawn = {path.name for path in result["folder"].glob("*.png")}
    assert drawn == {
        "model.png", "learning_curves.png", "confusion_matrix.png", "worst_mistakes.png", "kernels.png",
        "feature_maps.png",
    }  # fmt: skip


def test_the_flags_reach_the_network(capsys):
    own = "--filters 4 6 --kernel-size 5 --pool-size 3 --dropout 0.1 --batch-norm --validation 0.5"
    result = cnn_mnist.main(["--data", "digits", "--limit", "40", "--epochs", "1", *own.split()])
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert result["parameters"] == model.count_params()
    shapes = [weights.shape for weights in model.get_weights() if weights.ndim == 4]
    assert shapes == [(5, 5, 1, 4), (5, 5, 4, 6)]
    assert [layer.pool_size for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)] == [(3, 3)]
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.1]
    assert result["steps"] == 1
    assert "mlp_mnist.py" not in capsys.readouterr().out, "a comparison of the stand-in with MNIST"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--kernel-size 29", "convolution 1 has no room"),
        ("--filters 8 8 8 8 8", "convolution 4 has no room: its maps would be -1 pixels wide"),
        ("--pool-size 20", "convolution 2 has no room"),
        ("--filters 0", "at least 1"),
        ("--kernel-size 0", "at least 1"),
        ("--pool-size 0", "at least 1"),
        ("--dropout 1", "below 1"),
        ("--optimizer magic", "choose from .*adam"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        cnn_mnist.main(["--data", "digits", *argv.split()])
    assert not cli.RUNS_DIR.exists()


def test_the_largest_kernel_that_fits_is_taken():
    args = cnn_mnist.parse(["--filters", "4", "--kernel-size", "28"])
    assert cnn_mnist.build_model(args.filters, args.kernel_size).layers[0].output.shape == (None, 1, 1, 4)


def test_the_mlp_it_is_compared_with_is_the_one_of_mlp_mnist():
    card = " ".join(mlp_mnist.__doc__.split())
    assert f"Expect {100 * cnn_mnist.MLP_ACCURACY:.2f} %" in card
    assert f"{cnn_mnist.MLP_PARAMETERS:,} parameters" in card
    assert f"The MLP: {100 * cnn_mnist.MLP_ACCURACY:.2f} % with {cnn_mnist.MLP_PARAMETERS:,} parameters" in CARD


def test_the_comparison_with_the_mlp_is_printed_for_mnist(capsys, monkeypatch):
    digits = mnist.load_mnist("digits", 20)._replace(name="MNIST")
    monkeypatch.setattr(mnist, "load_mnist", lambda source, limit: digits)
    result = cnn_mnist.main(["--epochs", "1", "--filters", "2"])
    gain = 100 * (result["test_accuracy"] - cnn_mnist.MLP_ACCURACY)
    printed = capsys.readouterr()
    assert f"98.3% with 269,322 parameters. This CNN: {gain:+.1f} points with" in printed.out
    assert printed.err == ""
    assert (result["folder"] / "feature_maps.png").exists()


def test_the_number_on_the_card_for_a_small_network_is_right():
    small = cnn_mnist.build_model(filters=(8, 8, 8)).count_params()
    assert f"{small:,} parameters, a fortieth" in CARD
    assert round(80_266 / small, -1) == 40


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    results = [cnn_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in results])
    assert mean >= 99.2
    assert mean == pytest.approx(expected, abs=2 * spread)
