"""What all pictures share: arrays in, picture file out. A picture that cannot be drawn never stops a run."""

import contextlib
import functools
import logging
import warnings

from common import cli
from common.data import files

import matplotlib
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.figure import Figure

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no notice about the font cache on the first run
warnings.filterwarnings("ignore", "Glyph")  # a file's name in a title may have letters that the font lacks
matplotlib.rcParams["figure.constrained_layout.use"] = True  # nothing overlaps, nothing is cut off
matplotlib.rcParams["savefig.dpi"] = 110  # pixels per inch
matplotlib.rcParams["grid.alpha"] = 0.3

GREYS = {"cmap": "gray", "vmin": 0, "vmax": 255}  # how imshow draws uint8 pixels: 0 is black


def ticks(classes):
    """Return the classes that a short axis has room to name: ten digits, or at most six longer numbers."""
    return range(0, classes, 1 if classes <= 10 else -(-classes // 6))


@contextlib.contextmanager
def optional(path):
    """Let what draws the picture `path` fail in one line: a model that it does not fit must not lose its results."""
    try:
        yield
    except Exception as error:
        cli.tell(f"note: {cli.relative(path)} was not drawn: {' '.join(str(error).split())}")


def picture(width, height):
    """Return a decorator: define draw(figure, ...), call draw(path, ...); it makes the figure and writes the file.

    The figure is `width` x `height` inches; where the data decide, draw() first calls figure.set_size_inches.
    """

    def decorate(draw):
        @functools.wraps(draw)
        def guarded(path, *args, **kwargs):
            with optional(path), files.whole(path) as partial:
                figure = Figure(figsize=(width, height))
                draw(figure, *args, **kwargs)
                figure.savefig(partial)

        return guarded

    return decorate


def image_rows(figure, rows, count, **imshow):
    """Draw a row of at most `count` small images for each of `rows`, and return the grid of axes (rows, count).

    `rows` is {name: images}, the images (n, height, width), (n, height, width, 1) or (n, 784); the name stands at the
    left. `imshow` holds matplotlib's own arguments, such as GREYS; without any, 0 is black and 1 is white.
    """
    style = {"cmap": "gray", "vmin": 0, "vmax": 1, **imshow}
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        shown = np.asarray(images[:count])
        shape = (28, 28) if shown.ndim == 2 else shown.shape[1:3]
        for axes, image in zip(line, shown.reshape(-1, *shape), strict=False):
            axes.imshow(image, **style)
    return grid


def animation(path, prepare, frames, figsize, fps):
    """Write a GIF; `prepare(figure)` returns draw(...), called with each tuple in `frames`; `figsize` is in inches."""
    with optional(path), files.whole(path) as partial:
        figure = Figure(figsize=figsize)
        draw = prepare(figure)
        frames = [*frames, *frames[-1:] * fps]  # the last one stays a second longer

        def update(frame):
            draw(*frame)
            if figure.get_layout_engine():
                figure.draw_without_rendering()
                figure.set_layout_engine("none")  # the first frame's layout stays: anew each time takes longer

        FuncAnimation(figure, update, frames, cache_frame_data=False).save(partial, PillowWriter(fps), dpi=80)


def show(folder):
    """Open every picture in `folder` in a window, until they are closed; matplotlib warns without a display."""
    import matplotlib.pyplot as plt  # only here: it is slow to import, and not needed to write files

    for path in sorted(folder.glob("*.png")):
        plt.figure(path.name)
        plt.imshow(plt.imread(path))
        plt.axis("off")
    plt.show()
