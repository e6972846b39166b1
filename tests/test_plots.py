import sys

from common import grids, mnist, plots, waves

import numpy as np
import pytest
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

DIGITS = mnist.load_mnist("digits", limit=25)
X = np.arange(60).reshape(3, 20) / 10
PIXELS = DIGITS.x_train[:11, :, :, None]
HISTORY = {"loss": [2.0, 1.0], "accuracy": [0.2, 0.6], "val_loss": [1.9, 1.2], "val_accuracy": [0.3, 0.5]}


def pixels(path):
    return np.asarray(Image.open(path).convert("L"), dtype=float)


def small_model(name="dense"):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu", name=name)])


def probabilities(labels, mistakes):
    """Return (count, 10) rows that give the label 0.91; the first `mistakes` give it to the next digit."""
    believed = labels.astype(int).copy()
    believed[:mistakes] = (believed[:mistakes] + 1) % 10
    return np.eye(10)[believed] * 0.9 + 0.01


DRAWINGS = {
    "learning_curves": lambda path: plots.learning_curves(path, HISTORY, 0.6, 0.75, "title"),
    "one epoch": lambda path: plots.learning_curves(path, {"loss": [2.0], "accuracy": [0.2]}, 0.6, 0.75, "title"),
    "confusion": lambda path: plots.confusion(path, DIGITS.y_train, DIGITS.y_train[::-1], "title"),
    "worst_mistakes": lambda path: plots.worst_mistakes(
        path, DIGITS.x_train, DIGITS.y_train, probabilities(DIGITS.y_train, 14), "title"
    ),
    "no mistakes": lambda path: plots.worst_mistakes(
        path, DIGITS.x_train, DIGITS.y_train, probabilities(DIGITS.y_train, 0), "title"
    ),
    "samples": lambda path: plots.samples(path, DIGITS.x_train, DIGITS.y_train, "title"),
    "three_views": lambda path: plots.three_views(path, DIGITS.x_train[0], DIGITS.y_train[0], "title"),
    "kernels": lambda path: plots.kernels(path, np.random.default_rng(0).normal(size=(3, 3, 1, 20)), "title"),
    "feature_maps": lambda path: plots.feature_maps(
        path, DIGITS.x_train[0], {"conv": np.ones((26, 26, 20)), "pool": np.ones((13, 13, 3))}, "title"
    ),
    "beliefs": lambda path: plots.beliefs(
        path, DIGITS.x_train, DIGITS.y_train, np.random.default_rng(0).dirichlet(np.ones(10), (25, 28)), "title"
    ),
    "comparison": lambda path: plots.comparison(path, {
        name: {"test_accuracy": 0.9, "parameters": 75_530, "seconds_training": 12.3} for name in ("lstm", "gru")
    }, "title"),
    "diagram": lambda path: plots.diagram(path, small_model()),
    "learned": lambda path: waves.learned(
        path, (X, np.cos(X) + 0.1, "title"), {"stateful": [0.5, 0.1], "stateless": [0.5, 0.4]},
        {"stateful": np.full(20, 0.01), "stateless": np.geomspace(0.5, 0.01, 20)}, 0.5,
    ),
    "unseen": lambda path: waves.unseen(path, {0.5: (X[0], np.sin(X[0])), 2.0: (X[1], np.sin(X[1]))}, {0.5: 1, 2.0: 2}),
    "grid": lambda path: grids.grid(path, PIXELS, "first line\nsecond line"),
    "training_curves": lambda path: grids.training_curves(
        path, [1, 2], {key: [0.9, 0.5] for key in ("d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake")}, "title"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_picture_is_drawn(name, tmp_path, capsys):
    path = tmp_path / "picture.png"
    DRAWINGS[name](path)
    assert capsys.readouterr().err == ""
    drawn = pixels(path)
    assert drawn.std() > 5
    if name not in ("diagram", "feature_maps"):  # a white margin all round: nothing is clipped
        assert np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]]).min() > 250


def test_the_worst_mistakes_are_those_the_network_is_surest_of(tmp_path, monkeypatch):
    believed = probabilities(DIGITS.y_train, 2)
    believed[0] = 0.4 * believed[0] + 0.06
    shown = []
    monkeypatch.setattr("matplotlib.axes.Axes.imshow", lambda axes, image, **kwargs: shown.append(image))
    plots.worst_mistakes(tmp_path / "picture.png", DIGITS.x_train, DIGITS.y_train, believed, "title")
    np.testing.assert_array_equal(shown, DIGITS.x_train[[1, 0]])


def test_every_count_in_the_confusion_matrix_can_be_read(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots.Figure, "savefig", lambda figure, path, dpi: drawn.append(figure))
    predicted = DIGITS.y_train.copy()
    predicted[:5] = 9
    plots.confusion(tmp_path / "picture.png", DIGITS.y_train, predicted, "title")
    axes = drawn[0].axes[0]
    for text in axes.texts:
        column, row = map(round, text.get_position())
        shade = axes.images[0].cmap(axes.images[0].norm(axes.images[0].get_array()[row, column]))
        assert (text.get_color() == "white") == (sum(shade[:3]) < 1.5)


def test_the_diagram_has_letters_where_a_bare_machine_draws_boxes(tmp_path):
    plots.diagram(tmp_path / "1.png", small_model("abcd"))
    plots.diagram(tmp_path / "2.png", small_model("efgh"))
    assert abs(pixels(tmp_path / "1.png").sum() - pixels(tmp_path / "2.png").sum()) > 100


def test_without_pygraphviz_an_installed_dot_draws_the_diagram(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    drawn = []
    monkeypatch.setattr("graphviz.Source.pipe", lambda source, format: drawn.append(source.source) or b"a picture")
    plots.diagram(tmp_path / "model.png", small_model())
    assert drawn[0].startswith("digraph")
    assert (tmp_path / "model.png").read_bytes() == b"a picture"


def test_without_either_the_run_is_told_how_to_get_one_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    plots.diagram(tmp_path / "model.png", small_model())
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert "model.png was not drawn: it needs `pip install pygraphviz`" in note
    assert list(tmp_path.glob("*")) == []


def test_a_picture_that_fails_is_one_line_and_no_exception(tmp_path, capsys):
    plots.samples(tmp_path / "no" / "such" / "folder.png", DIGITS.x_train, DIGITS.y_train, "title")
    note = capsys.readouterr().err
    assert note.startswith("note: ")
    assert note.count("\n") == 1


def test_show_without_a_display_says_where_the_pictures_are(tmp_path, monkeypatch, capsys):
    plots.samples(tmp_path / "samples.png", DIGITS.x_train, DIGITS.y_train, "title")
    import matplotlib

    with matplotlib.rc_context({"backend": "agg"}):
        plots.show(tmp_path)
    assert capsys.readouterr().err == f"note: no windows (no display); the pictures are in {tmp_path}\n"


def test_a_grid_shows_the_pixels_row_by_row(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("matplotlib.axes.Axes.imshow", lambda axes, image, **kwargs: shown.append(image))
    grids.grid(tmp_path / "picture.png", PIXELS, "title", columns=4)
    assert shown[0].shape == (3 * 28, 4 * 28)
    np.testing.assert_array_equal(shown[0][28:56, 28:56], DIGITS.x_train[5])
    assert (shown[0][56:, 84:] == 255).all(), "11 images leave the twelfth place white"


def test_grey_values_are_the_nearest():
    assert grids.as_pixels(np.array([-1.0, -0.001, 0.0, 1.0, 1.5, np.nan])).tolist() == [0, 127, 128, 255, 255, 0]


def test_an_animation_has_a_frame_for_each_picture(tmp_path, capsys):
    frames = [(PIXELS, "step 0"), (255 - PIXELS, "step 1"), (PIXELS, "step 2")]
    plots.animation(tmp_path / "a.gif", grids.frame, frames, figsize=(3, 3), fps=5)
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (3, 200)
        gif.seek(2)
        assert gif.info["duration"] == 1200, "the last one stays for a second"
