import sys

from common.plots.model_diagram import model_diagram

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorflow import keras
from tensorflow.keras import layers


def classifier():
    return keras.Sequential([
        keras.Input((28, 28, 1), name="image"),
        layers.Conv2D(8, 3, activation="relu", name="conv"),
        layers.Flatten(name="flat"),
        layers.Dense(10, activation=layers.LeakyReLU(), name="dense"),
        layers.Activation(keras.ops.sin, name="answer"),
    ])


def recurrent():
    return keras.Sequential([
        keras.Input(batch_shape=(50, 20, 1), name="wave"),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both"),
        layers.TimeDistributed(layers.Dense(1, activation="sigmoid"), name="each"),
    ])


def conditional():
    """A second input that comes in late, a branch, and a function between layers."""
    image, label = keras.Input((9,), name="image"), keras.Input((5,), name="label")
    features = layers.Dense(4, name="features")(image)
    logit = layers.Dense(1, name="logit")(features)
    product = layers.Dot(1, name="dot")([layers.Dense(4, name="vector")(label), features])
    return keras.Model([image, label], keras.ops.exp(layers.Add(name="sum")([logit, product])))


def nested():
    encoder = keras.Sequential([keras.Input((8,)), layers.Dense(2)], name="encoder")
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(8)], name="decoder")
    inputs = keras.Input((8,), name="inputs")
    return keras.Model(inputs, encoder(decoder(encoder(inputs))))


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws a model where there is no Graphviz, and returns its axes."""
    figures = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure) or path.touch())

    def draw(model):
        model_diagram(tmp_path / "model.png", model)
        return figures.pop().axes[0]

    return draw


def boxes(axes):
    """Return the lines of text in each box, and from which boxes an arrow leads to the next one."""
    bounds = [patch.get_bbox() for patch in axes.patches]
    inside = [[text for text in axes.texts if box.contains(*text.get_position())] for box in bounds]
    texts = [[line for text in texts for line in text.get_text().splitlines()] for texts in inside]
    arrows = [round(text.xyann[1], 3) for text in axes.texts if hasattr(text, "arrow_patch")]  # y of the start
    return texts, [index for index, box in enumerate(bounds) if round(box.y1, 3) in arrows]


@pytest.mark.parametrize(("model", "expected", "arrows"), [
    (classifier, ["image InputLayer (None, 28, 28, 1)", "conv Conv2D, relu (None, 26, 26, 8)",
                  "flat Flatten (None, 5408)", "dense Dense, LeakyReLU (None, 10)",
                  "answer Activation, sin (None, 10)"], [0, 1, 2, 3]),
    (recurrent, ["wave InputLayer (50, 20, 1)", "both Bidirectional(LSTM, tanh) (50, 20, 6)",
                 "each TimeDistributed(Dense, sigmoid) (50, 20, 1)"], [0, 1]),
    (conditional, ["image InputLayer (None, 9)", "features Dense (None, 4)", "logit Dense (None, 1)",
                   "label InputLayer (None, 5)", "vector Dense (None, 4)", "dot Dot (None, 1) from: vector, features",
                   "sum Add (None, 1) from: logit, dot", "exp Exp (None, 1)"], [0, 1, 3, 4, 5, 6]),
    (nested, ["inputs InputLayer (None, 8)", "encoder Sequential (None, 2)", "decoder Sequential (None, 8)",
              "encoder Sequential (None, 2)"], [0, 1, 2]),
])
def test_boxes_show_name_kind_activation_shape_and_what_a_layer_reads(model, expected, arrows, drawn):
    axes = drawn(model())
    texts, starts = boxes(axes)
    assert [" ".join(lines) for lines in texts] == expected
    assert starts == arrows
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    bounds = [patch.get_window_extent(renderer) for patch in axes.patches]
    assert all(axes.figure.bbox.contains(*corner) for box in bounds for corner in box.corners()), "nothing is cut off"
    for text in axes.texts:
        if text.get_text():
            extent = text.get_window_extent(renderer)
            assert any(box.contains(*extent.min) and box.contains(*extent.max) for box in bounds), f"{text} sticks out"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for dot")
@pytest.mark.parametrize("works", [True, False])
def test_where_graphviz_works_it_draws_and_where_it_fails_matplotlib_does(works, tmp_path, monkeypatch):
    dot = tmp_path / "dot"
    dot.write_text(f"#!/bin/sh\n{'exec /bin/cat $2' if works else 'exit 1'}\n")  # dot -Tpng FILE
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    model_diagram(tmp_path / "model.png", classifier())
    written = (tmp_path / "model.png").read_bytes()
    assert written.startswith(b"digraph" if works else b"composed")
    assert (b"Conv2D" in written and b"(None, 26, 26, 8)" in written) == works


def test_a_model_without_a_graph_of_layers_is_one_line_and_no_picture(tmp_path, capsys):
    class Subclassed(keras.Model):
        pass

    for model in (Subclassed(), keras.Sequential([layers.Dense(3)])):
        model_diagram(tmp_path / "model.png", model)
        note = capsys.readouterr().err
        assert note.count("\n") == 1
        assert "model.png was not drawn" in note
        assert not (tmp_path / "model.png").exists()
