"""Arrays in, picture file out. A picture that cannot be drawn is reported in one line; it never stops a run."""

import contextlib
import functools
import logging
import os
import sys
import tempfile
from pathlib import Path

from common import cli

import numpy as np
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no notice about the font cache on the first run

GREYS = {"cmap": "gray", "vmin": 0, "vmax": 255}


def picture(draw):
    """Let `draw(path, ...)` fail in one line."""

    @functools.wraps(draw)
    def guarded(path, *args, **kwargs):
        try:
            draw(Path(path), *args, **kwargs)
        except Exception as error:
            print(f"note: {cli.relative(path)} was not drawn: {' '.join(str(error).split())}", file=sys.stderr)

    return guarded


@picture
def diagram(path, model):
    """Draw a Keras model's layers and shapes.

    pygraphviz brings Graphviz along; where it is missing, an installed `dot` program is used.
    """
    from tensorflow import keras

    dot = keras.utils.model_to_dot(model, show_shapes=True, show_layer_names=True, show_layer_activations=True, dpi=96)
    try:
        from pygraphviz import AGraph
    except ImportError:
        import graphviz

        try:
            path.write_bytes(graphviz.Source(dot.to_string()).pipe(format="png"))
        except graphviz.ExecutableNotFound:
            raise RuntimeError("it needs `pip install pygraphviz`, or the program dot from graphviz.org") from None
    else:
        with cli.quiet(), _fonts():
            AGraph(string=dot.to_string()).draw(path, prog="dot")


@contextlib.contextmanager
def _fonts():
    """Lend matplotlib's fonts to Graphviz, which reads this setting once: a bare machine has none, and draws boxes."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "fonts.conf").write_text(
            f"<fontconfig><dir>{get_data_path()}/fonts/ttf</dir><cachedir>{folder}</cachedir>"
            "<config><rescan><int>0</int></rescan></config></fontconfig>",
            encoding="utf-8",
        )
        before = os.environ.get("FONTCONFIG_FILE")
        os.environ["FONTCONFIG_FILE"] = str(Path(folder, "fonts.conf"))
        try:
            yield
        finally:
            del os.environ["FONTCONFIG_FILE"]
            if before is not None:
                os.environ["FONTCONFIG_FILE"] = before


def report(folder, digits, history, probabilities, test_loss, test_accuracy, network):
    """Draw what every classifier shows: learning curves, confusion matrix and worst mistakes.

    `history` is Keras's dict of one value per epoch, `probabilities` (count, 10) the answers to the test images.
    """
    title = f"{digits.name}, {network}, test accuracy {100 * test_accuracy:.1f} %"
    learning_curves(folder / "learning_curves.png", history, test_loss, test_accuracy, title)
    confusion(folder / "confusion_matrix.png", digits.y_test, probabilities.argmax(axis=1), title)
    worst_mistakes(folder / "worst_mistakes.png", digits.x_test, digits.y_test, probabilities, title)


@picture
def learning_curves(path, history, test_loss, test_accuracy, title):
    """Draw `history` (Keras's dict of one value per epoch): loss and accuracy, with the test set's as a dotted line."""
    figure = Figure(figsize=(10, 4.3), layout="constrained")
    figure.suptitle(title)
    for axes, name, test in zip(figure.subplots(1, 2), ("loss", "accuracy"), (test_loss, test_accuracy), strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], marker=".", label="training, mean over the epoch")
        if f"val_{name}" in history:
            axes.plot(epochs, history[f"val_{name}"], marker=".", label="validation")
        axes.axhline(test, color="black", linestyle=":", label="test, after training")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)


@picture
def confusion(path, labels, predicted, title):
    """Draw how often each digit (`labels`, (count,)) was taken for which (`predicted`, (count,))."""
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    counts = confusion_matrix(labels, predicted, labels=range(10))
    mistakes = counts - np.diag(counts.diagonal())
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axes = figure.subplots()
    # The colours are scaled to the mistakes: beside the diagonal, a hundred times theirs, all would look alike.
    colours = {"vmin": 0, "vmax": 2 * max(1, mistakes.max())}
    display = ConfusionMatrixDisplay(counts).plot(ax=axes, cmap="Blues", colorbar=False, im_kw=colours)
    for count, text in zip(counts.flat, display.text_.flat, strict=True):
        text.set_color("white" if count > colours["vmax"] / 2 else "black")
    axes.set(title=f"{title}\n(colours scaled to the mistakes)", xlabel="the network says", ylabel="the digit is")
    figure.savefig(path, dpi=120)


@picture
def worst_mistakes(path, images, labels, probabilities, title):
    """Draw the 12 mistakes of which the network was surest, and the probability that it gave to each digit.

    `images` (count, 28, 28) uint8, `labels` (count,), `probabilities` (count, 10).
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:12]
    figure = Figure(figsize=(10, 8))
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.06, top=0.9, wspace=0.25, hspace=0.55)
    figure.suptitle(f"{title}: the surest of {len(wrong):,} mistakes in {len(labels):,} images")
    for index, axes in zip(worst, figure.subplots(4, 6).reshape(-1, 2), strict=False):
        axes[0].imshow(images[index], **GREYS)
        axes[0].set_title(f"is {labels[index]}, read as {predicted[index]}", fontsize=10)
        axes[1].barh(range(10), probabilities[index])
        axes[1].set(xlim=(0, 1), xticks=(0, 1), yticks=range(10), xlabel="probability")
        axes[1].tick_params(labelsize=7)
        axes[1].invert_yaxis()
    for axes in figure.axes[::2]:
        axes.set_axis_off()
    for axes in figure.axes[2 * len(worst) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


@picture
def kernels(path, weights, title):
    """Draw a convolution's kernels for its first input channel; `weights` is (rows, columns, channels, filters)."""
    shown = np.moveaxis(weights[:, :, 0, :64], -1, 0)
    rows = -(-len(shown) // 8)
    figure = Figure(figsize=(6, 0.65 * rows + 1.2), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, 8, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, kernel in zip(grid.flat, shown, strict=False):
        drawn = axes.imshow(kernel, cmap="RdBu_r", vmin=-abs(shown).max(), vmax=abs(shown).max())
    figure.colorbar(drawn, ax=grid, label="weight: red wants ink, blue wants none", shrink=0.8)
    figure.savefig(path, dpi=120)


@picture
def feature_maps(path, image, maps, title):
    """Draw one image (28, 28) and the first ten maps after each layer; `maps` is {layer: (rows, columns, filters)}."""
    figure = Figure(figsize=(10, 1.05 * len(maps) + 1.6), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(maps) + 1, 10, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    grid[0, 0].imshow(image, **GREYS)
    grid[0, 0].set_ylabel("image\n28 x 28", rotation=0, ha="right", va="center", fontsize=8)
    for row, (name, answers) in zip(grid[1:], maps.items(), strict=True):
        for axes, answer in zip(row, np.moveaxis(answers, -1, 0), strict=False):
            axes.imshow(answer, cmap="magma", vmin=0, vmax=answers[:, :, :10].max())
        label = f"{name}\n{answers.shape[0]} x {answers.shape[1]}"
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=120)


@picture
def beliefs(path, images, labels, beliefs, title):
    """Draw what a network believes after each row of six digits, and how often it is right by then.

    `images` (count, 28, 28) uint8, `labels` (count,), `beliefs` (count, 28, 10) probabilities.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subfigures(1, 2, width_ratios=(2.2, 1))
    grid = left.subplots(3, 4, width_ratios=(1, 1.2, 1, 1.2)).reshape(-1, 2)
    for (picture, chart), image, label, belief in zip(grid, images, labels, beliefs, strict=False):
        picture.imshow(image, aspect="auto", extent=(0.5, 28.5, 28.5, 0.5), **GREYS)
        picture.set(xticks=[], yticks=range(7, 29, 7), ylabel="row", title=f"a {label}", box_aspect=1)
        drawn = chart.imshow(belief, aspect="auto", cmap="viridis", vmin=0, vmax=1)
        chart.set_box_aspect(1)
        chart.set(xticks=range(10), yticks=[], title="believed to be")
    for _, chart in grid[-2:]:
        chart.set_xlabel("digit")
    left.colorbar(drawn, ax=grid, label="probability", location="bottom", shrink=0.6, aspect=40)
    axes = right.subplots()
    axes.plot(100 * np.mean(beliefs.argmax(axis=2) == labels[:, None], axis=0), np.arange(1, 29), marker=".")
    axes.invert_yaxis()
    axes.set(xlabel=f"right by then, % of {len(labels):,} test images", ylabel="rows read", xlim=(0, 100))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


@picture
def comparison(path, results, title):
    """Draw test accuracy, parameters and training time of several runs side by side; `results` is {name: result}."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    figure.suptitle(title)
    bars = {
        "test accuracy, %": [100 * result["test_accuracy"] for result in results.values()],
        "parameters": [result["parameters"] for result in results.values()],
        "seconds of training": [result["seconds_training"] for result in results.values()],
    }
    for axes, (label, heights) in zip(figure.subplots(1, 3), bars.items(), strict=True):
        axes.bar_label(axes.bar(list(results), heights), fmt="{:,.0f}" if label == "parameters" else "{:,.1f}")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(ylabel=label)
        axes.margins(y=0.15)
    figure.savefig(path, dpi=120)


@picture
def samples(path, images, labels, title):
    """Draw 25 images (25, 28, 28) uint8 in a 5 x 5 grid, each with its label."""
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    figure.suptitle(title)
    for axes, image, label in zip(figure.subplots(5, 5).flat, images, labels, strict=True):
        axes.imshow(image, **GREYS)
        axes.set_title(label, fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


@picture
def three_views(path, image, label, title):
    """Draw one image (28, 28) uint8 as an MLP, a CNN and an RNN take it in (document 003, Figure 3.3)."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle(f"{title}: one {label}, reshaped for three kinds of network")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2.6))
    vector = top.subplots()
    vector.imshow(image.reshape(1, 784), aspect="auto", **GREYS)
    vector.set(title="MLP: (784,), the rows end to end", yticks=[], xlabel="pixel")
    square, sequence = bottom.subplots(1, 2)
    square.imshow(image, **GREYS)
    square.set(title="CNN: (28, 28, 1), rows, columns, channel", xlabel="column", ylabel="row")
    spaced = np.full((28 * 3, 28), np.nan)  # a gap after every row: the network sees one row at a time
    for offset in (0, 1):
        spaced[offset::3] = image
    sequence.imshow(spaced, aspect="auto", **GREYS)
    sequence.set(title="RNN: (28, 28), one row a time step", xlabel="feature: column", ylabel="time step: row")
    sequence.set_yticks(np.arange(0, 28, 5) * 3 + 0.5, np.arange(0, 28, 5))
    figure.savefig(path, dpi=120)


@picture
def animation(path, prepare, frames, figsize, fps):
    """Write a GIF of `fps` frames a second; `prepare(figure)` returns draw(...), called with each tuple in `frames`."""
    figure = Figure(figsize=figsize, dpi=80, layout="constrained")
    canvas, draw = FigureCanvasAgg(figure), prepare(figure)
    images = []
    for frame in frames:
        draw(*frame)
        canvas.draw()
        images.append(Image.fromarray(np.array(canvas.buffer_rgba())[..., :3]))
        figure.set_layout_engine("none")  # the first frame's layout stays: anew each time takes longer
    durations = [1000 // fps] * len(images)
    durations[-1] += 1000  # the last frame stays a second longer
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def show(folder):
    """Open every picture in `folder` in a window and wait until they are closed; without a display, say so."""
    import matplotlib
    import matplotlib.pyplot as plt

    try:
        for path in sorted(Path(folder).glob("*.png")):
            figure = plt.figure(path.name, layout="constrained")
            figure.gca().imshow(plt.imread(path))
            figure.gca().set_axis_off()
        if matplotlib.get_backend().lower() == "agg":
            raise RuntimeError("no display")
        plt.show()
    except Exception as error:
        print(f"note: no windows ({error}); the pictures are in {cli.relative(folder)}", file=sys.stderr)
    finally:
        plt.close("all")
