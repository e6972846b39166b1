"""The pictures of the regressor: arrays in, picture file out, or a window that shows the training as it goes."""

import contextlib

from common import terminal
from common.plots.common import picture

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

ROWS = 10  # of a batch in a frame, one after another: 10 windows of 20 steps are a whole period


def frame(figure):
    """Prepare `figure`; return draw(x, predictions, title), which draws one batch.

    `x` is (batch_size, time_steps), and `predictions` {network: array of the same shape}.
    """
    axes = figure.subplots()
    (truth,) = axes.plot([], [], color="red", label="cos(x), to predict from sin(x)")
    lines = [axes.plot([], [], color=color, linestyle="--")[0] for color in ("blue", "darkorange")]
    axes.set(ylim=(-1.2, 1.2), xlabel="x (grey lines: the next row of the batch begins, which has a state of its own)")

    def draw(x, predictions, title):
        x = x[:ROWS]
        truth.set_data(x.ravel(), np.cos(x).ravel())
        for line, (name, prediction) in zip(lines, predictions.items(), strict=False):
            line.set(xdata=x.ravel(), ydata=prediction[:ROWS].ravel(), label=f"{name} network")
        axes.set(xlim=(x.min(), max(x.max(), x.min() + 1e-3)), title=title)  # a single point has no width
        axes.set_xticks(x[:, 0], minor=True)
        axes.grid(axis="x", which="minor", alpha=0.4)  # where a window begins
        if not figure.legends:
            figure.legend(loc="outside lower center", ncols=3)

    return draw


def window(show):
    """Open a window if `show`; return draw(...) of a `frame` in it, which does nothing where no window is open."""
    if not show:
        return lambda *frame: None
    import matplotlib
    import matplotlib.pyplot as plt

    try:
        figure = plt.figure("training", figsize=(9, 4.5), layout="constrained")
        if matplotlib.get_backend().lower() == "agg":
            raise RuntimeError("no display")
        draw = frame(figure)
        figure.show()
    except Exception as error:
        terminal.tell(f"note: the training is not shown live ({error})")
        plt.close("training")

    def update(*frame):
        if plt.fignum_exists("training"):
            with contextlib.suppress(Exception):  # closed while it is drawn; training goes on
                draw(*frame)
                figure.canvas.draw()
                figure.canvas.flush_events()

    return update


@picture
def learned(path, last, costs, errors, bound):
    """Draw the last frame, the cost of every batch, and the error at each position in a window.

    `last` is the x, predictions and title of that frame; `costs` is {network: (steps,)}, `errors` {network:
    (time_steps,)}, and `bound` the least cost without memory.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    frame(top)(*last)
    left, right = bottom.subplots(1, 2)
    for name, values in costs.items():
        left.plot(np.arange(1, len(values) + 1), values, label=name, linewidth=1)
    left.set(xlabel="batch", ylabel="cost", yscale="log")
    for name, values in errors.items():
        right.plot(np.arange(1, len(values) + 1), values, marker=".", label=name)
    right.set(xlabel="position in the window", ylabel="squared error, last 100 batches", yscale="log")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.axhline(bound, color="black", linestyle=":", label="least cost from one point alone")
        axes.grid(alpha=0.3)
    bottom.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)


@picture
def unseen(path, stretches, costs):
    """Draw the predictions for waves that the network has not seen.

    `stretches` is {frequency: (x, prediction)}, both (points,); `costs` is {frequency: mean squared error}.
    """
    figure = Figure(figsize=(11, 1.9 * len(stretches) + 1), layout="constrained")
    figure.suptitle("After the training, with fixed weights: the wave goes on, also at other frequencies")
    grid = figure.subplots(len(stretches), 1, squeeze=False, sharex=True)
    for axes, (frequency, (x, prediction)) in zip(grid.flat, stretches.items(), strict=True):
        axes.plot(np.sin(x), color="lightgrey", label="sin(x), which it reads")
        axes.plot(np.cos(x), color="red", label="cos(x)")
        axes.plot(prediction, color="blue", linestyle="--", label="the network")
        axes.set(ylim=(-1.5, 1.5), xlim=(0, len(x) - 1))
        axes.set_title(f"{frequency:g} times the trained frequency, cost {costs[frequency]:.4f}", fontsize=10)
    axes.set_xlabel("steps after the training")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)
