"""The pictures of mnist_sampler.py: 25 digits, and one digit as each kind of network sees it."""

from common.plots.common import GREYS, picture

import numpy as np
from matplotlib.figure import Figure


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
