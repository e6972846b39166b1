"""The pictures of the GAN: arrays in, picture file out. Pixels are (count, 28, 28, 1), uint8 from 0 to 255."""

from common import plots

import numpy as np
from matplotlib.figure import Figure


def as_pixels(images):
    """Return images in [-1, 1] as the nearest grey values, uint8 from 0 to 255, in the same shape; nan is black."""
    return np.clip(np.rint((np.nan_to_num(images, nan=-1.0) + 1) * 127.5), 0, 255).astype("uint8")


def frame(figure, columns=8):
    """Prepare `figure` and return draw(pixels, title), which shows the images row by row, up to whole rows."""
    axes = figure.subplots()

    def draw(pixels, title):
        rows = -(-len(pixels) // columns)
        tiles = np.full((rows * columns, 28, 28), 255, "uint8")
        tiles[: len(pixels)] = pixels[..., 0]
        axes.clear()
        axes.set_axis_off()
        axes.imshow(tiles.reshape(rows, columns, 28, 28).swapaxes(1, 2).reshape(rows * 28, columns * 28), **plots.GREYS)
        axes.set_title(title)

    return draw


@plots.picture
def grid(path, pixels, title, columns=8):
    """Draw the images row by row."""
    figure = Figure(figsize=(0.75 * columns, 0.75 * -(-len(pixels) // columns) + 0.6), layout="constrained")
    frame(figure, columns)(pixels, title)
    figure.savefig(path, dpi=100)


@plots.picture
def training_curves(path, steps, history, title):
    """Draw both losses and both accuracies: `history`, Keras's dict of one value per epoch, which ends at `steps`."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for name, label in (("d_loss", "discriminator"), ("g_loss", "generator")):
        left.plot(steps, history[name], marker=".", label=label)
    guess = "ln 2: the discriminator can only guess\n(without label smoothing)"
    left.axhline(np.log(2), color="black", linestyle=":", label=guess)
    left.set(xlabel="step", ylabel="loss")
    for name, label in (("d_accuracy_real", "real images"), ("d_accuracy_fake", "generated images")):
        right.plot(steps, history[name], marker=".", label=label)
    right.axhline(0.5, color="black", linestyle=":", label="their mean, if it can only guess")
    right.set(xlabel="step", ylabel="told right by the discriminator", ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
