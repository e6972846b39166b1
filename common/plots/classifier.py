"""What every classifier shows: its learning curves, its confusion matrix and its most confident mistakes."""

from common.plots.base import GREYS, picture, ticks

import numpy as np
from matplotlib.ticker import MaxNLocator


def report(folder, digits, history, probabilities, test, network):
    """Draw all: `probabilities` (count, classes), and `test`, what `evaluate` returned, are of the test images."""
    accuracy = np.mean(probabilities.argmax(axis=1) == digits.y_test)
    title = f"{digits.name}, {network}, test accuracy {100 * accuracy:.1f} %"
    learning_curves(folder / "learning_curves.png", history, test, title)
    confusion(folder / "confusion_matrix.png", digits.y_test, probabilities, title)
    worst_mistakes(folder / "worst_mistakes.png", digits.x_test, digits.y_test, probabilities, title)


def mean_of_classes(values):
    """Return one number per epoch, (epochs,): a metric with a value for each class, such as F1Score, as its mean."""
    values = np.asarray(values, dtype=float)
    return values.reshape(len(values), -1).mean(axis=1)


@picture(5, 4.3)
def learning_curves(figure, history, test, title):
    """Draw the loss and the metrics in `history` (one value per epoch), and those of `test` as a dotted line."""
    names = [name for name in history if name in test]
    names.sort(key=lambda name: name != "loss")  # the loss comes first
    figure.set_size_inches(5 * len(names), 4.3)
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        axes.plot(epochs, mean_of_classes(history[name]), marker=".", label="training, mean over the epoch")
        if f"val_{name}" in history:
            axes.plot(epochs, mean_of_classes(history[f"val_{name}"]), marker=".", label="validation")
        axes.axhline(np.mean(test[name]), color="black", linestyle=":", label="test, after training")
        axes.set(xlabel="epoch", ylabel=f"{name}, mean over the classes" if np.ndim(test[name]) else name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.grid()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


@picture(7.2, 6.8)
def confusion(figure, labels, probabilities, title):
    """Draw how often each class (`labels`, (count,)) was taken for which (`probabilities`, (count, classes))."""
    classes = probabilities.shape[1]
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    # The colours are scaled to the mistakes: beside the diagonal, a hundred times theirs, all would look alike.
    darkest = 2 * max(1, (counts - np.diag(counts.diagonal())).max())
    cell = 0.5 if classes <= 26 else 0.3  # inches
    figure.set_size_inches(2.2 + cell * classes, 1.8 + cell * classes)
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=darkest)
    for (row, column), count in np.ndenumerate(counts):
        if count or classes <= 10:  # among many classes zeros would bury the rest
            colour = "white" if count > darkest / 2 else "black"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=18 * cell)
    axes.set(xticks=range(classes), yticks=range(classes), xlabel="the network says", ylabel="the label says")
    axes.tick_params(labelsize=20 * cell)
    axes.set_title(f"{title}\n(colours scaled to the mistakes)", fontsize=max(11, cell * classes))


@picture(10, 8)
def worst_mistakes(figure, images, labels, probabilities, title):
    """Draw the 12 most confident mistakes, and the probability that the network gave to each class.

    `images` (count, 28, 28) uint8, `labels` (count,), `probabilities` (count, classes).
    """
    figure.set_layout_engine("none")  # a fixed layout: to compute one for 24 axes takes a second
    layout = {"left": 0.02, "right": 0.98, "bottom": 0.06, "top": 0.9, "wspace": 0.25, "hspace": 0.55}
    classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:12]
    figure.suptitle(f"{title}: the most confident of {len(wrong):,} mistakes in {len(labels):,} images")
    grid = figure.subplots(4, 6, gridspec_kw=layout).reshape(12, 2)  # 12 pairs: an image, and its bars at the right
    for axes in grid[len(worst) :].flat:
        axes.set_axis_off()
    for (left, right), index in zip(grid, worst, strict=False):
        left.imshow(images[index], **GREYS)
        left.set_title(f"is {labels[index]}, read as {predicted[index]}", fontsize=10)
        left.set_axis_off()
        right.barh(range(classes), probabilities[index])
        right.set(xlim=(0, 1), xticks=(0, 1), yticks=ticks(classes), xlabel="probability")
        right.tick_params(labelsize=7)
        right.invert_yaxis()
