"""The pictures of the GAN, and the callback that makes some during training.

Pixels are (count, 28, 28, 1), uint8 from 0 to 255.
"""

from common import files
from common.plots.common import GREYS, optional, picture

import numpy as np
from matplotlib.figure import Figure
from tensorflow import keras


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
        axes.imshow(tiles.reshape(rows, columns, 28, 28).swapaxes(1, 2).reshape(rows * 28, columns * 28), **GREYS)
        axes.set_title(title)

    return draw


@picture
def grid(path, pixels, title, columns=8):
    """Draw the images row by row."""
    figure = Figure(figsize=(0.75 * columns, 0.75 * -(-len(pixels) // columns) + 0.6), layout="constrained")
    frame(figure, columns)(pixels, title)
    figure.savefig(path, dpi=100)


class Snapshots(keras.callbacks.Callback):
    """Paint with the same inputs whenever an epoch ends.

    `inputs` are the generator's: noise (count, latent_dim), or [noise, one-hot labels (count, classes)], which order a
    digit. The pictures show 64 images, or eight noises as every digit, a row for each; then `judge` also reads the
    first thousand images, and the epoch's numbers, those in history.csv, tell how often it saw the digit ordered.

    `steps` are the steps at which that was, `frames` what it gave: pixels and a title. A training that goes on finds
    those of before in the folder.
    """

    def __init__(self, inputs, folder, judge):
        super().__init__()
        self.inputs, self.folder, self.judge = inputs, folder, judge
        self.conditional = isinstance(inputs, list)
        if self.conditional:
            noise, classes = inputs[0][:8], inputs[1].shape[1]
            self.shown = [np.tile(noise, (classes, 1)), np.eye(classes).repeat(len(noise), axis=0)]
        else:
            self.shown = inputs[:64]
        self.steps, self.frames = [], []

    def on_train_begin(self, logs=None):
        with optional(self.folder):  # a full disk costs snapshots, and not the training
            self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "frames.npz").exists():
            with np.load(self.folder / "frames.npz") as saved:
                for step, pixels in zip(saved["steps"], saved["pixels"], strict=True):
                    self._add(int(step), pixels)
        else:
            self._paint()

    def on_epoch_begin(self, epoch, logs=None):
        now = int(self.model.optimizer.iterations.numpy())  # a training that goes on is at its checkpoint by now
        while self.steps and self.steps[-1] > now:
            self.steps.pop(), self.frames.pop()

    def on_epoch_end(self, epoch, logs):
        if self.conditional:
            asked = [array[:1000] for array in self.inputs]
            images = (self.model.generator.predict(asked, verbose=0) + 1) / 2
            logs["ordered_digit_right"] = float(self.judge.agreement(images, asked[1].argmax(axis=1)))
        self._paint()

    def _paint(self):
        pixels = as_pixels(self.model.generator.predict(self.shown, verbose=0))
        self._add(int(self.model.optimizer.iterations.numpy()), pixels)
        with optional(self.folder / "frames.npz"), files.whole(self.folder / "frames.npz") as path:
            np.savez_compressed(path, steps=self.steps, pixels=[pixels for pixels, _ in self.frames])
        grid(self.folder / f"step_{self.steps[-1]:07d}.png", *self.frames[-1])

    def _add(self, step, pixels):
        self.steps.append(step)
        self.frames.append((pixels, f"step {step:,}"))


def samples(path, snapshots, title):
    """Draw the last snapshot; where digits are ordered each row is a noise: the same hand writes all digits."""
    pixels = snapshots.frames[-1][0] if snapshots.frames else np.zeros((0, 28, 28, 1))
    columns = 8
    if snapshots.conditional:
        rows = len(snapshots.inputs[0][:8])
        pixels, columns = pixels.reshape(-1, rows, 28, 28, 1).swapaxes(0, 1).reshape(pixels.shape), len(pixels) // rows
    grid(path, pixels, title, columns)


@picture
def training_curves(path, steps, history, title):
    """Draw both losses and both accuracies: `history`, Keras's dict of one value per epoch, which ends at `steps`."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for name, label in (("d_loss", "discriminator"), ("g_loss", "generator")):
        left.plot(steps, history[name], marker=".", label=label)
    guess = "guessing: ln 2 (without label smoothing)"
    left.axhline(np.log(2), color="black", linestyle=":", label=guess)
    left.set(ylabel="loss")
    for name, label in (("d_accuracy_real", "discriminator, real"), ("d_accuracy_fake", "discriminator, generated")):
        right.plot(steps, history[name], marker=".", label=label)
    if "ordered_digit_right" in history:
        right.plot(steps, history["ordered_digit_right"], marker=".", label="ordered digit right")
    right.axhline(0.5, color="black", linestyle=":", label="guessing: 0.5 on average")
    right.set(ylabel="fraction right", ylim=(0, 1.02))
    for axes in (left, right):
        axes.set(xlabel="step", xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    figure.savefig(path, dpi=120)
