"""The pictures of the GAN: arrays in, picture file out. Images are (count, 28, 28, 1), values in [-1, 1]."""

from common import plots

import numpy as np
from matplotlib.figure import Figure


def as_pixels(images):
    """Return images in [-1, 1] as the nearest grey values, uint8 from 0 to 255, of the same shape."""
    return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype("uint8")


def frame(figure, columns=8):
    """Prepare `figure` and return draw(images, title), which shows up to a whole number of rows."""
    axes = figure.subplots()
    axes.set_axis_off()

    def draw(images, title):
        rows = -(-len(images) // columns)
        blank = np.full((rows * columns - len(images), 28, 28, 1), -1.0)
        tiles = as_pixels(np.concatenate([images, blank])).reshape(rows, columns, 28, 28)
        axes.clear()
        axes.set_axis_off()
        axes.imshow(tiles.swapaxes(1, 2).reshape(rows * 28, columns * 28), **plots.GREYS)
        axes.set_title(title)

    return draw


@plots.picture
def grid(path, images, title, columns=8):
    """Draw the images row by row."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.75 * columns, 0.75 * rows + 0.6), layout="constrained")
    frame(figure, columns)(images, title)
    figure.savefig(path, dpi=100)


@plots.picture
def training_curves(path, steps, history, title):
    """Draw both losses and both accuracies: `history`, Keras's dict of one value per epoch, which ends at `steps`."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for name, label in (("d_loss", "discriminator"), ("g_loss", "generator")):
        left.plot(steps, history[name], marker=".", label=label)
    left.axhline(np.log(2), color="black", linestyle=":", label="ln 2: the discriminator can only guess")
    left.set(xlabel="step", ylabel="loss")
    for name, label in (("d_accuracy_real", "real images"), ("d_accuracy_fake", "generated images")):
        right.plot(steps, history[name], marker=".", label=label)
    right.axhline(0.5, color="black", linestyle=":", label="it can only guess")
    right.set(xlabel="step", ylabel="told right by the discriminator", ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
