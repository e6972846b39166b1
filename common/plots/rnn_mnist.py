"""The pictures of rnn_mnist.py: what the network would answer after each row."""

from common.plots.common import GREYS, picture, ticks

import numpy as np
from matplotlib.figure import Figure


@picture
def beliefs(path, images, labels, beliefs, title):
    """Draw what a network believes after each row of six digits, and how often it is right by then.

    `images` (count, 28, 28) uint8, `labels` (count,), `beliefs` (count, 28, classes) probabilities.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subfigures(1, 2, width_ratios=(2.2, 1))
    grid = left.subplots(3, 4, width_ratios=(1, 1.2, 1, 1.2)).reshape(-1, 2)
    for (left_axes, chart), image, label, belief in zip(grid, images, labels, beliefs, strict=False):
        left_axes.imshow(image, aspect="auto", extent=(0.5, 28.5, 28.5, 0.5), **GREYS)
        left_axes.set(xticks=[], yticks=range(7, 29, 7), ylabel="row", title=f"a {label}", box_aspect=1)
        drawn = chart.imshow(belief, aspect="auto", cmap="viridis", vmin=0, vmax=1)
        chart.set_box_aspect(1)
        chart.set(xticks=ticks(belief.shape[1]), yticks=[], title="believed to be")
    for _, chart in grid[-2:]:
        chart.set_xlabel("digit")
    left.colorbar(drawn, ax=grid, label="probability", location="bottom", shrink=0.6, aspect=40)
    axes = right.subplots()
    axes.plot(100 * np.mean(beliefs.argmax(axis=2) == labels[:, None], axis=0), np.arange(1, 29), marker=".")
    axes.invert_yaxis()
    axes.set(xlabel=f"right by then, % of {len(labels):,} test images", ylabel="rows read", xlim=(0, 100))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
