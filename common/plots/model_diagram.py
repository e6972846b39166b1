"""Draw a model's layers: with Graphviz where its program `dot` is installed, and otherwise as one column of boxes."""

import contextlib
import shutil

from common.data import files
from common.plots.base import picture

from matplotlib.patches import FancyBboxPatch

HEIGHT, GAP, LINE, LETTER = 0.78, 0.28, 0.17, 0.085  # inches: of a box, between boxes, of a line, width of a letter
BOX = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "#eaf1fa", "edgecolor": "#33557f"}
ARROW = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": "#333333"}


def model_diagram(path, model):
    """Write a picture of a Keras model to `path`: each layer's name, kind, activation and output shape."""
    from tensorflow.keras.utils import plot_model

    if shutil.which("dot") and getattr(model, "inputs", None):
        with contextlib.suppress(Exception), files.whole(path) as partial:  # pydot is missing, or dot writes no PNG
            plot_model(model, partial, show_shapes=True, show_layer_names=True, show_layer_activations=True, dpi=96)
            return
    column(path, model)


@picture(4, 4)
def column(figure, model):
    """Draw a box for each layer, and an arrow to it if it reads what the box above returns.

    A layer that reads anything else, such as a second input, names all that it reads. A nested model is one box.
    """
    if not getattr(model, "inputs", None):
        raise ValueError(f"{model.name} is not Sequential or functional, or its input shape is not known yet")
    calls = []  # Keras's nodes, one for each time that a layer is called
    for tensor in model.outputs:
        layer, index, _ = tensor._keras_history
        collect(layer._inbound_nodes[index], calls)
    labels = []  # the lines in each box
    for place, call in enumerate(calls):
        shapes = ", ".join(str(tensor.shape) for tensor in call.outputs)
        labels.append([call.operation.name, kind(call.operation), shapes])
        if call.parent_nodes not in ([], [calls[place - 1]]):
            names = dict.fromkeys(parent.operation.name for parent in call.parent_nodes)
            labels[-1].append(f"from: {', '.join(names)}")
    width = 0.3 + LETTER * max(len(line) for lines in labels for line in lines)
    height = len(calls) * (HEIGHT + GAP)
    figure.set_layout_engine("none")
    figure.set_size_inches(width + 0.3, height + 0.1)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.15, width + 0.15), ylim=(height - 0.1, -0.2))  # in inches, y down
    axes.set_axis_off()
    for place, lines in enumerate(labels):
        top, middle = place * (HEIGHT + GAP), width / 2
        first = top + (HEIGHT - LINE * len(lines)) / 2
        axes.add_patch(FancyBboxPatch((0, top), width, HEIGHT, **BOX))
        axes.text(middle, first, lines[0], ha="center", va="top", fontsize=10, weight="bold")
        axes.text(middle, first + LINE, "\n".join(lines[1:]), ha="center", va="top", fontsize=9)
        if place and calls[place - 1] in calls[place].parent_nodes:
            axes.annotate("", (middle, top), (middle, top - GAP), arrowprops=ARROW)


def collect(call, calls):
    """Append `call` to `calls`, after all that it depends on, each once."""
    if call not in calls:
        for parent in call.parent_nodes:
            collect(parent, calls)
        calls.append(call)


def kind(layer):
    """Return a layer's class and activation, those of a wrapped layer in brackets: `Bidirectional(LSTM, tanh)`."""
    name = type(layer).__name__
    wrapped = getattr(layer, "forward_layer", getattr(layer, "layer", None))
    if wrapped:
        return f"{name}({kind(wrapped)})"
    activation = getattr(layer, "activation", None)
    activation = getattr(activation, "__name__", type(activation).__name__)
    return name if activation in ("linear", "NoneType") else f"{name}, {activation}"
