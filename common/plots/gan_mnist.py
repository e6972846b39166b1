"""The pictures of the GANs. Pixels are (count, 28, 28, 1), uint8 from 0 to 255."""

from common.plots.base import GREYS, animation, picture

import numpy as np


def as_pixels(images):
    """Return images in [-1, 1] as the nearest grey values, uint8 from 0 to 255, in the same shape; nan is black."""
    return np.clip(np.rint((np.nan_to_num(images, nan=-1.0) + 1) * 127.5), 0, 255).astype("uint8")


def inches(pixels, columns):
    return 0.75 * columns, 0.6 + 0.75 * -(-len(pixels) // columns)  # with a title of two lines


def tiled(figure, columns):
    """Return draw(pixels, title), which draws the images into `figure`, in rows of `columns`."""
    axes = figure.subplots()

    def draw(pixels, title):
        rows = -(-len(pixels) // columns)
        places = np.full((rows * columns, 28, 28), 255, "uint8")  # white where no image is
        places[: len(pixels)] = pixels[..., 0]
        side_by_side = places.reshape(rows, columns, 28, 28).swapaxes(1, 2)
        axes.clear()
        axes.set_axis_off()
        axes.imshow(side_by_side.reshape(rows * 28, columns * 28), **GREYS)
        axes.set_title(title)

    return draw


@picture(6, 6.6)
def grid(figure, pixels, title, columns=8):
    """Draw the images in rows of `columns`."""
    figure.set_size_inches(inches(pixels, columns))
    tiled(figure, columns)(pixels, title)


class Film:
    """Pictures of the same noise during a training: each is drawn into `folder` at once, and all become a GIF."""

    def __init__(self, folder, columns=8):
        self.folder, self.columns, self.frames = folder, columns, []
        folder.mkdir(exist_ok=True)

    def add(self, pixels, step):
        """Draw the images in rows of `columns`, as step_0001000.png."""
        self.frames.append((pixels, f"step {step:,}"))
        grid(self.folder / f"step_{step:07}.png", *self.frames[-1], columns=self.columns)

    def save(self, path):
        """Write the GIF."""
        width, height = inches(self.frames[0][0], self.columns)
        animation(path, lambda figure: tiled(figure, self.columns), self.frames, figsize=(width, height), fps=4)


@picture(11, 4.6)
def training_curves(figure, steps, history, title):
    """Draw losses and accuracies: `history` is Keras's dict of one value per epoch of `steps` updates."""
    figure.suptitle(title)
    epochs = range(1, 1 + len(history["d_loss"]))
    losses, fractions = figure.subplots(1, 2)
    losses.plot(epochs, history["d_loss"], marker=".", label="discriminator")
    losses.plot(epochs, history["g_loss"], marker=".", label="generator")
    losses.axhline(np.log(2), color="black", linestyle=":", label="guessing: ln 2 (without label smoothing)")
    losses.set(ylabel="loss")
    fractions.plot(epochs, history["d_accuracy_real"], marker=".", label="discriminator, real")
    fractions.plot(epochs, history["d_accuracy_fake"], marker=".", label="discriminator, generated")
    if "ordered_digit_right" in history:
        fractions.plot(epochs, history["ordered_digit_right"], marker=".", label="ordered digit right")
    fractions.axhline(0.5, color="black", linestyle=":", label="guessing: 0.5 on average")
    fractions.set(ylabel="fraction right", ylim=(0, 1.02))
    for axes in (losses, fractions):
        axes.set(xlabel=f"epoch ({steps:,} steps)", xlim=(0, None))
        axes.grid()
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
