import os

from common import cli, mnist
from common.plots import cnn_mnist, common, gan_mnist, lstm_regressor, mnist_sampler, rnn_mnist

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

pytestmark = pytest.mark.rendered

HISTORY = {"loss": [2.0, 1.0], "accuracy": [0.2, 0.6], "val_loss": [1.9, 1.2], "val_accuracy": [0.3, 0.5]}
WAVE = np.arange(60).reshape(3, 20) / 10
TEST = {"loss": 0.6, "accuracy": 0.75, "auc": 0.9}


@pytest.fixture(scope="module")
def digits():
    return mnist.load_mnist("digits", limit=25)


@pytest.fixture
def figure(monkeypatch):
    """A list that gets each figure in place of a file."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, dpi: figures.append(figure) or path.touch())
    return figures


def grey_values(path):
    return np.asarray(Image.open(path).convert("L"), dtype=float)


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
    ])  # fmt: skip


DRAWINGS = {
    "learning_curves": lambda path, d, rng: common.learning_curves(path, HISTORY, TEST, "title"),
    "one epoch": lambda path, d, rng: common.learning_curves(path, {"loss": [2.0], "accuracy": [0.2]}, TEST, "title"),
    "three metrics": lambda path, d, rng: common.learning_curves(path, HISTORY | {"auc": [0.5, 0.7]}, TEST, "title"),
    "the loss alone": lambda path, d, rng: common.learning_curves(path, {"loss": [2.0, 1.0]}, {"loss": 0.6}, "title"),
    "confusion": lambda path, d, rng: common.confusion(path, d.y_train, answers(d.y_train[::-1], 0), "title"),
    "26 classes": lambda path, d, rng: common.confusion(path, d.y_train, answers(d.y_train, 5, 26), "title"),
    "worst_mistakes": lambda path, d, rng: common.worst_mistakes(
        path, d.x_train, d.y_train, answers(d.y_train, 14), "title"),
    "no mistakes": lambda path, d, rng: common.worst_mistakes(
        path, d.x_train, d.y_train, answers(d.y_train, 0), "title"),
    "samples": lambda path, d, rng: mnist_sampler.samples(path, d.x_train, d.y_train, "title"),
    "three_views": lambda path, d, rng: mnist_sampler.three_views(path, d.x_train[0], d.y_train[0], "title"),
    "kernels": lambda path, d, rng: cnn_mnist.kernels(path, convolutional(), "title"),
    "kernels behind another layer": lambda path, d, rng: cnn_mnist.kernels(
        path, convolutional(layers.RandomRotation(0.1)), "title"),
    "a hundred kernels": lambda path, d, rng: cnn_mnist.kernels(path, convolutional(filters=100), "title"),
    "feature_maps": lambda path, d, rng: cnn_mnist.feature_maps(path, convolutional(), d.x_train[0], "title"),
    "three feature maps": lambda path, d, rng: cnn_mnist.feature_maps(
        path, convolutional(filters=3), d.x_train[0], "title"),
    "learned": lambda path, d, rng: lstm_regressor.learned(
        path, (WAVE, {"stateful": np.cos(WAVE) + 0.1, "stateless": np.cos(WAVE) / 2}, "title"),
        {"stateful": [0.5, 0.1], "stateless": [0.5, 0.4]},
        {"stateful": np.full(20, 0.01), "stateless": np.geomspace(0.5, 0.01, 20)}, 0.5),
    "unseen": lambda path, d, rng: lstm_regressor.unseen(
        path, {0.5: (WAVE[0], np.sin(WAVE[0])), 2.0: (WAVE[1], np.sin(WAVE[1]))}, {0.5: 1, 2.0: 2}),
    "grid": lambda path, d, rng: gan_mnist.grid(path, d.x_train[:11, :, :, None], "first line\nsecond line"),
    "training_curves": lambda path, d, rng: gan_mnist.training_curves(
        path, [1, 2], {key: [0.9, 0.5] for key in ("d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake")}, "title"),
    "beliefs": lambda path, d, rng: rnn_mnist.beliefs(
        path, d.x_train, d.y_train, rng.dirichlet(np.ones(10), (25, 28)), "title"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_picture_is_drawn(name, digits, rng, tmp_path, capsys):
    path = tmp_path / "picture.png"
    DRAWINGS[name](path, digits, rng)
    assert capsys.readouterr().err == ""
    drawn = grey_values(path)
    assert drawn.std() > 5
    if "feature" not in name:  # a white margin all round: nothing is clipped
        assert np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]]).min() > 250


def test_a_report_has_three_pictures_and_its_accuracy_in_their_title(digits, tmp_path, figure):
    believed = answers(digits.y_test, 36)
    common.report(tmp_path, digits, HISTORY, believed, TEST, "MLP")
    assert len(figure) == 3
    title = "scikit-learn digits (not MNIST), MLP, test accuracy 90.0 %"
    assert figure[0].get_suptitle() == title
    assert figure[1].axes[0].get_title().startswith(title)
    assert figure[2].get_suptitle() == f"{title}: the most confident of 36 mistakes in 360 images"


def test_a_report_lies_in_the_runs_folder(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, dpi: path.touch())
    common.report(tmp_path, digits, HISTORY, answers(digits.y_test, 1), TEST, "MLP")
    names = {"learning_curves.png", "confusion_matrix.png", "worst_mistakes.png"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_learning_curves_show_what_both_the_training_and_the_test_measured(tmp_path, figure, capsys):
    common.learning_curves(tmp_path / "a.png", {"learning_rate": [0.1, 0.01]} | HISTORY, TEST, "title")
    assert capsys.readouterr().err == ""
    assert [axes.get_ylabel() for axes in figure[0].axes] == ["loss", "accuracy"]
    training, validation, test = figure[0].axes[0].lines
    assert list(training.get_ydata()) == HISTORY["loss"]
    assert list(validation.get_ydata()) == HISTORY["val_loss"]
    assert list(test.get_ydata()) == [0.6, 0.6]


def test_the_worst_mistakes_are_those_the_network_is_most_confident_of(digits, tmp_path, figure):
    believed = answers(digits.y_train, 2)
    believed[0] = 0.4 * believed[0] + 0.06
    common.worst_mistakes(tmp_path / "picture.png", digits.x_train, digits.y_train, believed, "title")
    shown = [axes.images[0].get_array() for axes in figure[0].axes if axes.images]
    np.testing.assert_array_equal(shown, digits.x_train[[1, 0]])


def test_every_count_in_the_confusion_matrix_is_right_and_can_be_read(digits, tmp_path, figure):
    said = digits.y_train.copy()
    said[:5] = 9
    common.confusion(tmp_path / "picture.png", digits.y_train, answers(said, 0), "title")
    axes = figure[0].axes[0]
    counts = {tuple(map(round, text.get_position()[::-1])): int(text.get_text()) for text in axes.texts}
    assert counts == {
        (row, column): sum((digits.y_train == row) & (said == column)) for row in range(10) for column in range(10)
    }
    for text in axes.texts:
        column, row = map(round, text.get_position())
        shade = axes.images[0].cmap(axes.images[0].norm(axes.images[0].get_array()[row, column]))
        assert (text.get_color() == "white") == (sum(shade[:3]) < 1.5)


def test_feature_maps_are_what_each_relu_and_each_pooling_gives(digits, tmp_path, figure):
    inputs = keras.Input((28, 28, 1))
    plain = layers.Conv2D(3, 3, name="plain")(inputs)  # may be negative: its relu is a layer of its own
    relu = layers.Activation("relu", name="relu")(plain)
    outputs = layers.Dense(10)(layers.Flatten()(layers.AveragePooling2D(2, name="pool")(relu)))
    model = keras.Model(inputs, outputs)
    cnn_mnist.feature_maps(tmp_path / "picture.png", model, digits.x_train[0], "title")
    shown = [axes for axes in figure[0].axes if axes.images]
    assert [axes.get_ylabel() for axes in shown] == ["image\n28 x 28", "relu\n26 x 26", "", "", "pool\n13 x 13", "", ""]
    maps = np.array(keras.Model(inputs, relu)(mnist.as_images(digits.x_train[:1])))
    for index in range(3):
        np.testing.assert_allclose(shown[1 + index].images[0].get_array(), maps[0, :, :, index], atol=1e-6)


def test_kernels_are_those_of_the_first_convolution(tmp_path, figure):
    model = convolutional(layers.Rescaling(2), filters=9)
    cnn_mnist.kernels(tmp_path / "picture.png", model, "title")
    weights = model.layers[1].get_weights()[0]
    shown = [axes.images[0].get_array() for axes in figure[0].axes[:9]]
    np.testing.assert_array_equal(shown, np.moveaxis(weights[:, :, 0], -1, 0))


def test_a_picture_that_does_not_fit_is_one_line_and_no_exception(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no").write_text("a file")
    mnist_sampler.samples(tmp_path / "no" / "folder.png", digits.x_train, digits.y_train, "title")
    cnn_mnist.kernels(tmp_path / "kernels.png", keras.Sequential([keras.Input((784,)), layers.Dense(10)]), "title")
    with common.optional(tmp_path / "beliefs.png"):
        raise TypeError("not of\nthis network")
    notes = capsys.readouterr().err.splitlines()
    assert [note.partition(" was not drawn: ")[0] for note in notes] == [
        f"note: {name}" for name in (os.path.join("no", "folder.png"), "kernels.png", "beliefs.png")
    ]
    assert notes[2].endswith(": not of this network")
    assert list(tmp_path.iterdir()) == [tmp_path / "no"]


def test_an_animation_has_a_frame_for_each_picture(tmp_path, capsys):
    def prepare(figure):
        axes = figure.subplots()
        return lambda values, title: (axes.clear(), axes.plot(values), axes.set_title(title))

    frames = [([0, 1], "step 0"), ([1, 0], "step 1"), ([0, 1], "step 2")]
    common.animation(tmp_path / "a.gif", prepare, frames, figsize=(3, 3), fps=5)
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (3, 200)
        gif.seek(2)
        assert gif.info["duration"] == 1200, "the last one stays for a second"


def test_show_without_a_display_says_where_the_pictures_are(tmp_path, capsys):
    import matplotlib

    Image.new("L", (4, 4)).save(tmp_path / "samples.png")
    with matplotlib.rc_context({"backend": "agg"}):
        common.show(tmp_path)
    assert capsys.readouterr().err == f"note: no windows (no display); the pictures are in {cli.relative(tmp_path)}\n"


def test_a_grid_shows_the_pixels_row_by_row(tmp_path, monkeypatch, digits):
    shown, pixels = [], digits.x_train[:11, :, :, None]
    monkeypatch.setattr("matplotlib.axes.Axes.imshow", lambda axes, image, **kwargs: shown.append(image))
    gan_mnist.grid(tmp_path / "picture.png", pixels, "title", columns=4)
    assert shown[0].shape == (3 * 28, 4 * 28)
    np.testing.assert_array_equal(shown[0][28:56, 28:56], digits.x_train[5])
    assert (shown[0][56:, 84:] == 255).all(), "11 images leave the twelfth place white"


def test_grey_values_are_the_nearest():
    values = np.array([-1.0, -0.001, 0.0, 1.0, 1.5, np.nan])
    assert gan_mnist.as_pixels(values).tolist() == [0, 127, 128, 255, 255, 0]
