"""The pictures of the autoencoders."""

from common.plots.common import picture

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure


def table(rows, title, count, draw):
    """Return a figure with a line of `count` small pictures for each of `rows`, {name: arrays}; `draw(axes, array)`."""
    figure = Figure(figsize=(1.6 + 0.9 * count, 0.7 + 0.95 * len(rows)), layout="constrained")
    figure.suptitle(title)
    for line, (name, arrays) in zip(figure.subplots(len(rows), count, squeeze=False), rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, array in zip(line, arrays, strict=False):
            draw(axes, array)
    return figure


@picture
def reconstructions(path, rows, title, count=10):
    """Draw the first `count` images of each of `rows`, {name: images (n, 28, 28, 1) in [0, 1]}."""
    figure = table(rows, title, count, lambda axes, image: axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1))
    figure.savefig(path, dpi=110)


@picture
def components(path, rows, title):
    """Draw the first ten of each of `rows`, {name: vectors (n, 784)}."""
    count = min(10, max(map(len, rows.values())))

    def draw(axes, vector):
        most = np.abs(vector).max()
        axes.imshow(vector.reshape(28, 28), cmap="RdBu_r", vmin=-most, vmax=most)

    table(rows, f"{title}\nwhat a number adds (red) and takes away (blue)", count, draw).savefig(path, dpi=110)


@picture
def code_map(path, codes, labels, title):
    """Draw each code (count, 2) as a point in the colour of its digit, `labels` (count,)."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    classes = np.unique(labels)
    colours = colormaps["tab10" if len(classes) <= 10 else "nipy_spectral"]
    for place, label in zip(np.linspace(0, 0.99, len(classes)), classes, strict=True):
        axes.plot(*codes[labels == label].T, ".", markersize=2, color=colours(place), label=label)
    axes.set(title=title, xlabel="first number of the code", ylabel="second number")
    axes.legend(markerscale=6, loc="center left", bbox_to_anchor=(1, 0.5), ncols=-(-len(classes) // 24))
    figure.savefig(path, dpi=110)
