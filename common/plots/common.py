"""Arrays in, picture file out. A picture that cannot be drawn is reported in one line; it never stops a run."""

import contextlib
import functools
import logging
import warnings
from pathlib import Path

from common import cli, files, terminal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no notice about the font cache on the first run
warnings.filterwarnings("ignore", "Glyph")  # a file's name in a title may have letters that the font lacks

GREYS = {"cmap": "gray", "vmin": 0, "vmax": 255}


def ticks(classes):
    """Return the classes that a short axis has room to name: ten digits, or six numbers of two digits."""
    return range(0, classes, 1 if classes <= 10 else -(-classes // 6))


@contextlib.contextmanager
def optional(path):
    """Let what draws the picture `path` fail in one line: a changed network that it does not fit loses no result."""
    try:
        yield
    except Exception as error:
        terminal.tell(f"note: {cli.relative(path)} was not drawn: {' '.join(str(error).split())}")


def picture(draw):
    """Let `draw(path, ...)` fail in one line, and leave a whole picture or none."""

    @functools.wraps(draw)
    def guarded(path, *args, **kwargs):
        with optional(path), files.whole(Path(path)) as partial:
            draw(partial, *args, **kwargs)

    return guarded


def report(folder, digits, history, probabilities, test, network):
    """Draw what every classifier shows: learning curves, confusion matrix and worst mistakes.

    `history` is Keras's dict of one value per epoch, `probabilities` (count, classes) the answers to the test images,
    `test` what `evaluate` says of them.
    """
    accuracy = np.mean(probabilities.argmax(axis=1) == digits.y_test)
    title = f"{digits.name}, {network}, test accuracy {100 * accuracy:.1f} %"
    learning_curves(folder / "learning_curves.png", history, test, title)
    confusion(folder / "confusion_matrix.png", digits.y_test, probabilities, title)
    worst_mistakes(folder / "worst_mistakes.png", digits.x_test, digits.y_test, probabilities, title)


@picture
def learning_curves(path, history, test, title):
    """Draw the loss and the metrics in `history` (one value per epoch), with those of `test` as a dotted line."""
    names = sorted((name for name in history if name in test), key=lambda name: name != "loss")  # which comes first
    figure = Figure(figsize=(5 * len(names), 4.3), layout="constrained")
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], marker=".", label="training, mean over the epoch")
        if f"val_{name}" in history:
            axes.plot(epochs, history[f"val_{name}"], marker=".", label="validation")
        axes.axhline(test[name], color="black", linestyle=":", label="test, after training")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)


@picture
def confusion(path, labels, probabilities, title):
    """Draw how often each class (`labels`, (count,)) was taken for which (`probabilities`, (count, classes))."""
    classes = probabilities.shape[1]
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    # The colours are scaled to the mistakes: beside the diagonal, a hundred times theirs, all would look alike.
    darkest = 2 * max(1, (counts - np.diag(counts.diagonal())).max())
    cell = 0.5 if classes <= 26 else 0.3  # inches
    figure = Figure(figsize=(2.2 + cell * classes, 1.8 + cell * classes), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=darkest)
    for (row, column), count in np.ndenumerate(counts):
        if count or classes <= 10:  # among many classes zeros would bury the rest
            colour = "white" if count > darkest / 2 else "black"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=18 * cell)
    axes.set(xticks=range(classes), yticks=range(classes), xlabel="the network says")
    axes.set_ylabel("the digit is" if classes <= 10 else "the class is")
    axes.tick_params(labelsize=20 * cell)
    axes.set_title(f"{title}\n(colours scaled to the mistakes)", fontsize=max(11, cell * classes))
    figure.savefig(path, dpi=120)


@picture
def worst_mistakes(path, images, labels, probabilities, title):
    """Draw the 12 most confident mistakes, and the probability that the network gave to each class.

    `images` (count, 28, 28) uint8, `labels` (count,), `probabilities` (count, classes).
    """
    classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:12]
    figure = Figure(figsize=(10, 8))
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.06, top=0.9, wspace=0.25, hspace=0.55)
    figure.suptitle(f"{title}: the most confident of {len(wrong):,} mistakes in {len(labels):,} images")
    for index, axes in zip(worst, figure.subplots(4, 6).reshape(-1, 2), strict=False):
        axes[0].imshow(images[index], **GREYS)
        axes[0].set_title(f"is {labels[index]}, read as {predicted[index]}", fontsize=10)
        axes[1].barh(range(classes), probabilities[index])
        axes[1].set(xlim=(0, 1), xticks=(0, 1), yticks=ticks(classes), xlabel="probability")
        axes[1].tick_params(labelsize=7)
        axes[1].invert_yaxis()
    for axes in figure.axes[::2]:
        axes.set_axis_off()
    for axes in figure.axes[2 * len(worst) :]:
        axes.set_axis_off()
    if not len(worst):
        figure.text(0.5, 0.5, "no mistakes", ha="center")
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
        terminal.tell(f"note: no windows ({error}); the pictures are in {cli.relative(folder)}")
    finally:
        plt.close("all")
