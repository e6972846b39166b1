"""The pictures of the autoencoders."""

from common.plots.base import image_rows, picture

import numpy as np
from matplotlib import colormaps


@picture(10.6, 4)
def reconstructions(figure, rows, title, count=10):
    """Draw the first `count` images of each of `rows`, {name: images (n, 28, 28, 1) in [0, 1]}."""
    figure.set_size_inches(1.6 + 0.9 * count, 0.7 + 0.95 * len(rows))
    figure.suptitle(title)
    image_rows(figure, rows, count)


@picture(10.6, 4)
def components(figure, rows, title):
    """Draw the first ten of each of `rows`, {name: vectors (n, 784)}, each vector to its own scale."""
    count = min(10, max(map(len, rows.values())))
    scaled = {name: vectors / (np.abs(vectors).max(axis=1, keepdims=True) + 1e-12) for name, vectors in rows.items()}
    figure.set_size_inches(max(1.6 + 0.9 * count, 4.5), 1 + 0.95 * len(rows))
    figure.suptitle(f"{title}\nwhat a number adds (red) and takes away (blue)")
    image_rows(figure, scaled, count, cmap="RdBu_r", vmin=-1)


@picture(8, 7)
def code_map(figure, codes, labels, title):
    """Draw each code (count, 2) as a point in the colour of its digit, `labels` (count,)."""
    axes = figure.subplots()
    classes = np.unique(labels)
    colours = colormaps["tab10" if len(classes) <= 10 else "nipy_spectral"]
    for place, label in zip(np.linspace(0, 0.99, len(classes)), classes, strict=True):
        axes.plot(*codes[labels == label].T, ".", markersize=2, color=colours(place), label=label)
    axes.set(title=title, xlabel="first number of the code", ylabel="second number")
    axes.legend(markerscale=6, loc="center left", bbox_to_anchor=(1, 0.5), ncols=-(-len(classes) // 24))
