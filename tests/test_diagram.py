import itertools
import sys

from common.plots.diagram import diagram

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers


def classifier():
    return keras.Sequential([
        keras.Input((28, 28, 1), name="image"),
        layers.Conv2D(8, 3, activation="relu", name="conv"),
        layers.MaxPooling2D(name="pool"),
        layers.Flatten(name="flat"),
        layers.Dense(10, activation="softmax", name="answer"),
    ])  # fmt: skip


def recurrent():
    return keras.Sequential([
        keras.Input(batch_shape=(50, 20, 1), name="wave"),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both"),
        layers.LSTM(4, return_sequences=True, stateful=True, name="stateful"),
        layers.TimeDistributed(layers.Dense(1, activation="sigmoid"), name="each"),
    ])  # fmt: skip


def deep():
    return keras.Sequential([keras.Input((4,)), *(layers.Dense(4, activation="relu") for _ in range(20))])


def residual():
    """A skip connection, a second input that comes in late, and two outputs."""
    image, label = keras.Input((28, 28, 1), name="image"), keras.Input((10,), name="label")
    x = layers.Conv2D(8, 3, padding="same", name="conv_1")(image)
    y = layers.Conv2D(8, 3, padding="same", name="conv_2")(x)
    y = layers.Conv2D(8, 3, padding="same", name="conv_3")(y)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="sum")([x, y]))
    x = layers.Concatenate(name="joined")([x, label])
    return keras.Model([image, label], [layers.Dense(10, name="digit")(x), layers.Dense(1, name="real")(x)])


def branches():
    """Four branches of different lengths that merge, twice."""
    x = inputs = keras.Input((6,))
    for _ in range(2):
        ends = [x]
        for length in (1, 2, 3):
            y = x
            for _ in range(length):
                y = layers.Dense(6)(y)
            ends.append(y)
        x = layers.Concatenate()(ends)
    return keras.Model(inputs, x)


def dense_skips():
    """Each layer reads all that came before it."""
    before = [keras.Input((4,))]
    for _ in range(4):
        before.append(layers.Dense(4)(layers.Concatenate()(before) if len(before) > 1 else before[0]))
    return keras.Model(before[0], before[-1])


def translator():
    """Two recurrent layers, of which the first hands two states to the second."""
    source, target = keras.Input((None, 5), name="source"), keras.Input((None, 5), name="target")
    _, *states = layers.LSTM(4, return_state=True, name="reader")(source)
    return keras.Model(
        [source, target], layers.LSTM(4, return_sequences=True, name="writer")(target, initial_state=states)
    )


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws a model where there is no Graphviz, and returns the Figure."""
    figures = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure))

    def draw(model):
        diagram(tmp_path / "model.png", model)
        return figures.pop()

    return draw


def boxes(figure):
    """Return [(bounding box, [lines in it])] in inches."""
    axes = figure.axes[0]
    bounds = [patch.get_bbox() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    return [(box, [text.get_text() for text in axes.texts if box.contains(*text.get_position())]) for box in bounds]


def labels(figure):
    return [lines for _, lines in boxes(figure)]


def courses(figure):
    """Return the path of every arrow, its head included, in inches."""
    paths = [patch.get_path() for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    return [Path(path.vertices[path.codes != Path.CLOSEPOLY], path.codes[path.codes != Path.CLOSEPOLY])
            for path in paths]  # fmt: skip


def arrows(figure):
    """Return [(name of the box at the start, at the end)]; all arrows point down."""

    def at(x, y):
        return next(lines[0] for box, lines in boxes(figure) if box.padded(0.05).contains(x, y))

    points = [course.vertices for course in courses(figure)]
    return [(at(*course[0]), at(*course[course[:, 1].argmax()])) for course in points]


def test_every_layer_shows_its_name_kind_activation_and_output_shape(drawn):
    assert labels(drawn(classifier())) == [
        ["image", "InputLayer", "(None, 28, 28, 1)"],
        ["conv", "Conv2D, relu", "(None, 26, 26, 8)"],
        ["pool", "MaxPooling2D", "(None, 13, 13, 8)"],
        ["flat", "Flatten", "(None, 1352)"],
        ["answer", "Dense, softmax", "(None, 10)"],
    ]


def test_a_wrapper_shows_what_it_wraps_and_a_stateful_model_its_batch_size(drawn):
    assert labels(drawn(recurrent())) == [
        ["wave", "InputLayer", "(50, 20, 1)"],
        ["both", "Bidirectional(LSTM, tanh)", "(50, 20, 6)"],
        ["stateful", "LSTM, tanh", "(50, 20, 4)"],
        ["each", "TimeDistributed(Dense, sigmoid)", "(50, 20, 1)"],
    ]


def test_an_activation_of_ones_own_is_named(drawn):
    def wobble(x):
        return keras.ops.sin(x)

    model = keras.Sequential([
        keras.Input((4,)), layers.Dense(3, activation=wobble), layers.Dense(3, activation=layers.LeakyReLU()),
        layers.Activation("relu"), layers.Dense(3, activation="linear"),
    ])  # fmt: skip
    kinds = [kind for _, kind, _ in labels(drawn(model))]
    assert kinds == ["InputLayer", "Dense, wobble", "Dense, LeakyReLU", "Activation, relu", "Dense"]


def test_arrows_join_the_layers_in_their_order(drawn):
    assert arrows(drawn(classifier())) == [("image", "conv"), ("conv", "pool"), ("pool", "flat"), ("flat", "answer")]


def test_a_skip_connection_and_several_inputs_and_outputs_have_their_arrows(drawn):
    assert sorted(arrows(drawn(residual()))) == sorted([
        ("image", "conv_1"), ("conv_1", "conv_2"), ("conv_2", "conv_3"), ("conv_3", "sum"), ("conv_1", "sum"),
        ("sum", "pool"), ("pool", "joined"), ("label", "joined"), ("joined", "digit"), ("joined", "real"),
    ])  # fmt: skip


def test_two_tensors_between_the_same_layers_are_one_arrow(drawn):
    figure = drawn(translator())
    assert sorted(arrows(figure)) == [("reader", "writer"), ("source", "reader"), ("target", "writer")]
    assert ["reader", "LSTM, tanh", "(None, 4), (None, 4), (None, 4)"] in labels(figure)


def test_a_nested_model_is_one_box_and_a_layer_called_twice_is_two(drawn):
    encoder = keras.Sequential([keras.Input((8,)), layers.Dense(2)], name="encoder")
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(8)], name="decoder")
    inputs = keras.Input((8,), name="inputs")
    figure = drawn(keras.Model(inputs, encoder(decoder(encoder(inputs)))))
    assert labels(figure)[1:] == [
        ["encoder (shared)", "Sequential", "(None, 2)"],
        ["decoder", "Sequential", "(None, 8)"],
        ["encoder (shared)", "Sequential", "(None, 2)"],
    ]
    assert len(arrows(figure)) == 3


def test_a_function_between_layers_is_drawn_like_a_layer(drawn):
    inputs = keras.Input((3,), name="inputs")
    figure = drawn(keras.Model(inputs, keras.ops.exp(layers.Dense(2, name="dense")(inputs))))
    assert labels(figure)[-1] == ["exp", "Exp", "(None, 2)"]
    assert ("dense", "exp") in arrows(figure)


def test_a_part_of_a_model_shows_only_that_part(drawn):
    whole = classifier()
    part = keras.Model(whole.get_layer("pool").output, whole.outputs)
    assert [lines[0] for lines in labels(drawn(part))][1:] == ["flat", "answer"]


@pytest.mark.parametrize("model", [classifier, recurrent, deep, residual, branches, dense_skips, translator])
def test_nothing_overlaps_and_nothing_is_cut_off(model, drawn):
    figure = drawn(model())
    axes, bounds = figure.axes[0], [box for box, _ in boxes(figure)]
    renderer = FigureCanvasAgg(figure).get_renderer()
    for one, other in itertools.combinations(bounds, 2):
        assert not one.padded(0.05).overlaps(other)
    for text in axes.texts:
        extent = text.get_window_extent(renderer).transformed(axes.transData.inverted())
        assert sum(box.containsx(extent.x0) and box.containsx(extent.x1) and box.containsy(extent.y0)
                   and box.containsy(extent.y1) for box in bounds) == 1, f"{text} leaves its box"  # fmt: skip
    for course, box in itertools.product(courses(figure), bounds):
        assert not course.intersects_bbox(box.padded(-0.01), filled=False)
    for patch in axes.patches:
        extent = patch.get_window_extent(renderer)
        assert figure.bbox.padded(-5).contains(extent.x0, extent.y0), f"{patch} leaves the picture"
        assert figure.bbox.padded(-5).contains(extent.x1, extent.y1), f"{patch} leaves the picture"


def test_a_chain_is_straight_and_branches_lie_on_both_sides_of_it(drawn):
    x = {lines[0]: (box.x0 + box.x1) / 2 for box, lines in boxes(drawn(residual()))}
    assert x["conv_1"] == x["conv_2"] == x["conv_3"] == x["sum"] == x["pool"]
    assert (x["digit"] + x["real"]) / 2 == pytest.approx(x["joined"])


def test_arrows_that_pass_the_same_layer_run_apart(drawn):
    figure = drawn(dense_skips())
    passed = 0
    for box, _ in boxes(figure):
        middle = (box.y0 + box.y1) / 2
        x = sorted(after[0] for course in courses(figure) for before, after in itertools.pairwise(course.vertices)
                   if before[1] < middle < after[1])  # fmt: skip
        assert (np.diff(x) > 0.1).all()
        passed += len(x)
    assert passed > 10


def test_letters_and_boxes_are_as_large_in_a_deep_model_as_in_a_small_one(drawn):
    small, large = drawn(classifier()), drawn(deep())
    assert boxes(small)[0][0].height == pytest.approx(boxes(large)[0][0].height)
    for figure in (small, large):
        width, height = figure.get_size_inches()
        left, right = figure.axes[0].get_xlim()
        assert (abs(right - left), abs(np.diff(figure.axes[0].get_ylim())[0])) == pytest.approx((width, height))


@pytest.mark.rendered
def test_without_graphviz_the_picture_is_drawn_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    diagram(tmp_path / "model.png", residual())
    assert capsys.readouterr().err == ""
    with Image.open(tmp_path / "model.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 5
    assert np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).min() == 255, "a white margin"


def install(dot, script):
    dot.write_text(f"#!/bin/sh\n{script}\n")
    dot.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for dot")
def test_where_a_dot_program_answers_it_draws(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    install(tmp_path / "dot", 'exec /bin/cat "$2"')  # dot -Tpng FILE
    diagram(tmp_path / "model.png", classifier())
    source = (tmp_path / "model.png").read_text()
    assert source.startswith("digraph")
    for word in ("conv", "Conv2D", "relu", "(None, 26, 26, 8)"):
        assert word in source


def test_where_dot_fails_matplotlib_draws(tmp_path, drawn):
    install(tmp_path / "dot", "exit 1")
    assert len(labels(drawn(classifier()))) == 5


def test_a_model_without_a_graph_of_layers_is_one_line_and_no_picture(tmp_path, capsys):
    class Subclassed(keras.Model):
        pass

    for model in (Subclassed(), keras.Sequential([layers.Dense(3)])):
        diagram(tmp_path / "model.png", model)
        note = capsys.readouterr().err
        assert note.count("\n") == 1
        assert "model.png was not drawn: " in note
        assert "not Sequential or functional" in note
        assert not (tmp_path / "model.png").exists()
