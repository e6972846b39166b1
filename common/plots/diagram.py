"""Draw a model's layers: with Graphviz where its program `dot` is installed, and otherwise with matplotlib alone."""

import contextlib
import shutil
from itertools import pairwise

from common.plots.common import picture

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

HEIGHT, GAP, MARGIN = 0.7, 0.36, 0.2  # inches: of a box, between two rows of boxes, around the picture
ASIDE, LANE = 0.3, 0.24  # inches: between two boxes of a row, for an arrow that passes a row
NAME, TEXT = FontProperties(family="DejaVu Sans", size=10, weight="bold"), FontProperties(family="DejaVu Sans", size=9)
BOX = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "#eaf1fa", "edgecolor": "#33557f"}
ARROW = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0, "color": "#333333"}
LINES = ((0.17, NAME), (0.37, TEXT), (0.55, TEXT))  # of a box: inches from its top, font


@picture
def diagram(path, model):
    """Draw each layer's name, kind, activation and output shape, and the arrows between; a nested model is one box.

    A model that is not Sequential or functional, or whose input shape is not known yet, gets a note in place of it.
    """
    from tensorflow.keras.utils import plot_model

    if not getattr(model, "inputs", None):
        raise ValueError(f"{model.name} is not Sequential or functional, or its input shape is not known yet")
    if shutil.which("dot"):
        with contextlib.suppress(Exception):  # pydot is missing, or this dot cannot write PNG
            plot_model(model, path, show_shapes=True, show_layer_names=True, show_layer_activations=True, dpi=96)
            return
    parents = {}  # by call, as a layer may be called more than once
    for layer, index, _ in (tensor._keras_history for tensor in model.inputs + model.outputs):
        trace(layer._inbound_nodes[index], parents)
    names = [call.operation.name for call in parents]
    draw(path, parents, {
        call: (name + " (shared)" * (names.count(name) > 1), kind(call.operation),
               ", ".join(str(tensor.shape) for tensor in call.outputs))
        for call, name in zip(parents, names, strict=True)
    })  # fmt: skip


def trace(call, parents):
    """Write {call: its parents} into `parents`, after those of everything that it depends on."""
    for parent in call.parent_nodes:
        if parent not in parents:
            trace(parent, parents)
    parents[call] = list(dict.fromkeys(call.parent_nodes))


def kind(layer):
    """Return a layer's class and activation, those of a wrapped layer in brackets: `Bidirectional(LSTM, tanh)`."""
    name, activation = type(layer).__name__, getattr(layer, "activation", None)
    if wrapped := getattr(layer, "forward_layer", getattr(layer, "layer", None)):
        return f"{name}({kind(wrapped)})"
    activation = getattr(activation, "__name__", type(activation).__name__)
    return name if activation in ("linear", "NoneType") else f"{name}, {activation}"


def arrange(parents, width):
    """Return {call: row} and {call: x of its middle}; x also has (parent, call, row) for each row an arrow passes."""
    rows, x = {}, {}  # a row is the longest path from an input
    for call in parents:
        rows[call] = 1 + max((rows[parent] for parent in parents[call]), default=-1)
    arrows = [(parent, call) for call in parents for parent in parents[call]]
    for row in range(max(rows.values()) + 1):
        wanted = {call: np.mean([x[parent] for parent in parents[call]] or [0]) for call in rows if rows[call] == row}
        wanted |= {(parent, call, row): x[parent] for parent, call in arrows if rows[parent] < row < rows[call]}
        x |= place(wanted, width)
    return rows, x


def place(wanted, width):
    """Return {item: x} of one row: side by side, and as near to the wanted x as that allows."""
    x, end = {}, -np.inf
    for item in sorted(wanted, key=wanted.get):
        half = (LANE if isinstance(item, tuple) else width + ASIDE) / 2
        x[item] = max(wanted[item], end + half)
        end = x[item] + half
    shift = np.mean([wanted[item] - x[item] for item in x if not isinstance(item, tuple)])
    return {item: x[item] + shift for item in x}


def draw(path, parents, labels):
    """Draw a box for each call, with its three lines in `labels`, and an arrow to it from each of its parents."""
    lines = [(line, font) for label in labels.values() for line, (_, font) in zip(label, LINES, strict=True)]
    width = max(TextPath((0, 0), line, prop=font).vertices[:, 0].max() for line, font in lines) / 72 + 0.3
    rows, x = arrange(parents, width)
    sides = [x[item] + half for item in x for half in (-width / 2, width / 2) if item in rows] + list(x.values())
    left, right = min(sides) - MARGIN, max(sides) + MARGIN
    bottom = max(rows.values()) * (HEIGHT + GAP) + HEIGHT + MARGIN
    figure = Figure(figsize=(right - left, bottom + MARGIN))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(bottom, -MARGIN))  # in inches, y points down
    axes.set_axis_off()
    for call, before in parents.items():
        top = rows[call] * (HEIGHT + GAP)
        axes.add_patch(FancyBboxPatch((x[call] - width / 2, top), width, HEIGHT, **BOX))
        for line, (below, font) in zip(labels[call], LINES, strict=True):
            axes.text(x[call], top + below, line, ha="center", va="center", fontproperties=font)
        for parent in before:
            passed = [x[parent, call, row] for row in range(rows[parent] + 1, rows[call])]
            axes.add_patch(arrow([x[parent], *passed, x[call]], rows[parent] * (HEIGHT + GAP) + HEIGHT))
    figure.savefig(path, dpi=min(120, 60_000 / max(figure.get_size_inches())))  # matplotlib's limit is 65,536 pixels


def arrow(stops, y):
    """Return an arrow from (stops[0], y) through an x in every row: curved between rows, straight past boxes."""
    points, codes = [(stops[0], y)], [Path.MOVETO]
    for before, x in pairwise(stops):
        points += [(before, y + GAP / 2), (x, y + GAP / 2), (x, y + GAP), (x, y + GAP + HEIGHT)]
        codes += [Path.CURVE4] * 3 + [Path.LINETO]
        y += GAP + HEIGHT
    return FancyArrowPatch(path=Path(points[:-1], codes[:-1]), **ARROW)
