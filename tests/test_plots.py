import os
from pathlib import Path

import cnn_mnist
import mnist_sampler
import rnn_mnist
from common import mnist
from common.plots import autoencoder_mnist as autoencoders
from common.plots import base, classifier, gan_mnist, lstm_regressor, model_diagram

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

pytestmark = pytest.mark.rendered

HISTORY = {"loss": [2.0, 1.0], "accuracy": [0.2, 0.6], "val_loss": [1.9, 1.2], "val_accuracy": [0.3, 0.5]}
TEST = {"loss": 0.6, "accuracy": 0.75}
GAN_HISTORY = {key: [0.9, 0.5] for key in ("d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake")}
WAVE = np.arange(60).reshape(3, 20) / 10
RNNS = {"stateful": np.cos(WAVE) + 0.1, "stateless": np.cos(WAVE) / 2}
COSTS = {"stateful": [0.5, 0.1], "stateless": [0.5, 0.4]}
ERRORS = {"stateful": np.full(20, 0.01), "stateless": np.geomspace(0.5, 0.01, 20)}
STRETCHES = {0.5: (WAVE[0], np.sin(WAVE[0])), 2.0: (WAVE[1], np.sin(WAVE[1]))}


@pytest.fixture(scope="module")
def digits():
    return mnist.load_mnist("digits", limit=25)


@pytest.fixture
def figures(monkeypatch):
    """A list that gets each figure in place of a file."""
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: drawn.append(figure) or path.touch())
    return drawn


def answers(labels, mistakes, classes=10):
    """Return (count, classes) rows that give the label 0.9 and more; the first `mistakes` give it to the next class."""
    believed = labels.astype(int).copy()
    believed[:mistakes] = (believed[:mistakes] + 1) % 10
    return np.eye(classes)[believed] * 0.9 + 0.1 / classes


def convolutional(*before, filters=20):
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        *before,
        layers.Conv2D(filters, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(10),
    ])


DRAWINGS = {  # name: what draws it to a path, from digits and random numbers
    "learning_curves": lambda path, d, rng: classifier.learning_curves(path, HISTORY, TEST, "title"),
    "one epoch": lambda path, d, rng: classifier.learning_curves(path, {"loss": [2.0]}, TEST, "title"),
    "confusion": lambda path, d, rng: classifier.confusion(path, d.y_train, answers(d.y_train[::-1], 0), "title"),
    "26 classes": lambda path, d, rng: classifier.confusion(path, d.y_train, answers(d.y_train, 5, 26), "title"),
    "worst": lambda path, d, rng: classifier.worst_mistakes(path, d.x_train, d.y_train, answers(d.y_train, 14), "t"),
    "no mistakes": lambda path, d, rng: classifier.worst_mistakes(
        path, d.x_train, d.y_train, answers(d.y_train, 0), "title"),
    "model_diagram": lambda path, d, rng: model_diagram.column(path, convolutional()),
    "samples": lambda path, d, rng: mnist_sampler.samples(path, d.x_train, d.y_train, "title"),
    "three_views": lambda path, d, rng: mnist_sampler.three_views(path, d.x_train[0], d.y_train[0], "title"),
    "kernels": lambda path, d, rng: cnn_mnist.kernels(path, convolutional(layers.RandomRotation(0.1)), "title"),
    "feature_maps": lambda path, d, rng: cnn_mnist.feature_maps(path, convolutional(filters=3), d.x_train[0], "title"),
    "learned": lambda path, d, rng: lstm_regressor.learned(path, (WAVE, RNNS, "title"), COSTS, ERRORS, 0.5),
    "unseen": lambda path, d, rng: lstm_regressor.unseen(path, STRETCHES, {0.5: 1, 2.0: 2}),
    "grid": lambda path, d, rng: gan_mnist.grid(path, d.x_train[:11, :, :, None], "first line\nsecond line"),
    "training_curves": lambda path, d, rng: gan_mnist.training_curves(path, 500, GAN_HISTORY, "title"),
    "beliefs": lambda path, d, rng: rnn_mnist.draw_beliefs(
        path, d.x_train, d.y_train, rng.dirichlet(np.ones(10), (25, 28)), "title"),
    "reconstructions": lambda path, d, rng: autoencoders.reconstructions(
        path, {"original": mnist.as_images(d.x_train), "mean image": mnist.as_images(d.x_train[:3])}, "title"),
    "components": lambda path, d, rng: autoencoders.components(path, {"PCA": rng.normal(size=(2, 784))}, "title"),
    "code_map": lambda path, d, rng: autoencoders.code_map(path, rng.normal(size=(25, 2)), d.y_train, "title"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_picture_is_drawn_with_a_white_margin_so_that_nothing_is_clipped(name, digits, rng, tmp_path, capsys):
    DRAWINGS[name](tmp_path / "picture.png", digits, rng)
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / "picture.png") as image:
        grey = np.asarray(image.convert("L"), dtype=float)
    assert grey.std() > 5
    if name != "feature_maps":  # whose black maps reach the edge
        assert np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]).min() > 250


def test_a_report_is_three_files_with_the_accuracy_in_their_titles(digits, tmp_path, figures):
    classifier.report(tmp_path, digits, HISTORY, answers(digits.y_test, 36), TEST, "MLP")
    names = {"learning_curves.png", "confusion_matrix.png", "worst_mistakes.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    title = "scikit-learn digits (not MNIST), MLP, test accuracy 90.0 %"
    assert figures[0].get_suptitle() == title
    assert figures[1].axes[0].get_title().startswith(title)
    assert figures[2].get_suptitle() == f"{title}: the most confident of 36 mistakes in 360 images"


def test_learning_curves_show_what_both_the_training_and_the_test_measured(tmp_path, figures):
    classifier.learning_curves(tmp_path / "a.png", {"learning_rate": [0.1, 0.01]} | HISTORY, TEST, "title")
    assert [axes.get_ylabel() for axes in figures[0].axes] == ["loss", "accuracy"]
    training, validation, test = figures[0].axes[0].lines
    assert list(training.get_ydata()) == HISTORY["loss"]
    assert list(validation.get_ydata()) == HISTORY["val_loss"]
    assert list(test.get_ydata()) == [0.6, 0.6]


def test_a_metric_with_a_value_for_each_class_is_drawn_as_their_mean(tmp_path, figures):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    x, y = np.eye(4)[:3], np.eye(3)
    history = model.fit(x, y, epochs=2, verbose=0).history
    test = model.evaluate(x, y, verbose=0, return_dict=True)
    classifier.learning_curves(tmp_path / "a.png", history, test, "title")
    axes = figures[0].axes[1]
    assert axes.get_ylabel() == "f1_score, mean over the classes"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.mean(history["f1_score"], axis=1), rtol=1e-6)
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), np.mean(test["f1_score"]), rtol=1e-6)


def test_the_worst_mistakes_are_those_the_network_is_most_confident_of(digits, tmp_path, figures):
    believed = answers(digits.y_train, 2)
    believed[0] = 0.4 * believed[0] + 0.06
    classifier.worst_mistakes(tmp_path / "picture.png", digits.x_train, digits.y_train, believed, "title")
    shown = [axes.images[0].get_array() for axes in figures[0].axes if axes.images]
    np.testing.assert_array_equal(shown, digits.x_train[[1, 0]])


def test_every_count_in_the_confusion_matrix_is_right_and_can_be_read(digits, tmp_path, figures):
    said = digits.y_train.copy()
    said[:5] = 9
    classifier.confusion(tmp_path / "picture.png", digits.y_train, answers(said, 0), "title")
    axes = figures[0].axes[0]
    assert len(axes.texts) == 100
    for text in axes.texts:
        column, row = map(round, text.get_position())
        assert int(text.get_text()) == sum((digits.y_train == row) & (said == column))
        shade = axes.images[0].cmap(axes.images[0].norm(axes.images[0].get_array()[row, column]))
        assert (text.get_color() == "white") == (sum(shade[:3]) < 1.5)


def test_feature_maps_are_what_each_relu_and_each_pooling_gives(digits, tmp_path, figures):
    inputs = keras.Input((28, 28, 1))
    plain = layers.Conv2D(3, 3, name="plain")(inputs)  # may be negative: its relu is a layer of its own
    relu = layers.Activation("relu", name="relu")(plain)
    outputs = layers.Dense(10)(layers.Flatten()(layers.AveragePooling2D(2, name="pool")(relu)))
    cnn_mnist.feature_maps(tmp_path / "picture.png", keras.Model(inputs, outputs), digits.x_train[0], "title")
    shown = [axes for axes in figures[0].axes if axes.images]
    assert [axes.get_ylabel() for axes in shown] == ["image\n28 x 28", "relu\n26 x 26", "", "", "pool\n13 x 13", "", ""]
    maps = np.array(keras.Model(inputs, relu)(mnist.as_images(digits.x_train[:1])))[0]  # (26, 26, 3)
    for index in range(3):
        np.testing.assert_allclose(shown[1 + index].images[0].get_array(), maps[..., index] / maps.max(), atol=1e-6)


def test_kernels_are_the_first_64_of_the_first_convolution(tmp_path, figures):
    model = convolutional(layers.Rescaling(2), filters=70)
    cnn_mnist.kernels(tmp_path / "picture.png", model, "title")
    weights = model.layers[1].get_weights()[0]  # (3, 3, 1, 70)
    shown = [axes.images[0].get_array() for axes in figures[0].axes[:64]]
    np.testing.assert_array_equal(shown, np.moveaxis(weights[:, :, 0, :64], -1, 0))


def test_a_grid_of_generated_images_shows_the_pixels_row_by_row(tmp_path, figures, digits):
    gan_mnist.grid(tmp_path / "picture.png", digits.x_train[:11, :, :, None], "title", columns=4)
    shown = figures[0].axes[0].images[0].get_array()
    assert shown.shape == (3 * 28, 4 * 28)
    np.testing.assert_array_equal(shown[28:56, 28:56], digits.x_train[5])
    assert (shown[56:, 84:] == 255).all(), "11 images leave the twelfth place white"


def test_grey_values_are_the_nearest():
    values = np.array([-1.0, -0.001, 0.0, 1.0, 1.5, np.nan])
    assert gan_mnist.as_pixels(values).tolist() == [0, 127, 128, 255, 255, 0]


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 28, 28, 1), (3, 784)])
def test_image_rows_take_images_in_every_form_and_leave_the_rest_of_a_row_empty(shape, rng):
    images = rng.random(shape)
    grid = base.image_rows(Figure(), {"a few": images, "one": images[:1]}, 5, vmax=2)
    assert grid.shape == (2, 5)
    assert [len(axes.images) for axes in grid.flat] == [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(grid[0, 2].images[0].get_array(), images[2].reshape(28, 28))
    assert (grid[0, 0].images[0].get_clim(), grid[1, 0].get_ylabel()) == ((0, 2), "one")


def test_a_picture_that_fails_is_one_line_and_no_exception_and_leaves_no_file(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mnist_sampler.samples(Path("no") / "folder.png", digits.x_train, digits.y_train, "title")
    cnn_mnist.kernels(tmp_path / "kernels.png", keras.Sequential([keras.Input((784,)), layers.Dense(10)]), "title")
    with base.optional(tmp_path / "beliefs.png"):
        raise TypeError("not of\nthis network")
    notes = capsys.readouterr().err.splitlines()
    for note, name in zip(notes, (os.path.join("no", "folder.png"), "kernels.png", "beliefs.png"), strict=True):
        assert note.startswith(f"note: {name} ")
    assert list(tmp_path.iterdir()) == []


def test_an_animation_has_a_frame_for_each_picture_and_the_last_stays(tmp_path, capsys):
    def prepare(figure):
        axes = figure.subplots()
        return lambda values, title: (axes.clear(), axes.plot(values), axes.set_title(title))

    frames = [([0, 1], "step 0"), ([1, 0], "step 1"), ([0, 1], "step 2")]
    base.animation(tmp_path / "a.gif", prepare, frames, figsize=(3, 3), fps=5)
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (3, 200)
        gif.seek(2)
        assert gif.info["duration"] >= 1200, "a second longer"
