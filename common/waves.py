"""The pictures of the regressor: arrays in, picture file out, or a window that shows the training as it goes."""

import contextlib
import sys

from common import plots

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def frame(figure):
    """Prepare `figure` and return draw(x, prediction, title), both arrays (windows, time_steps), one under another."""
    axes = figure.subplots()
    (truth,) = axes.plot([], [], color="red", label="cos(x)")
    (answer,) = axes.plot([], [], color="blue", linestyle="--", label="the network, which reads sin(x)")
    axes.set(ylim=(-1.2, 1.2), xlabel="x (grey lines: here begins the next row of the batch, which has its own state)")
    figure.legend(loc="outside lower center", ncols=2)

    def draw(x, prediction, title):
        truth.set_data(x.ravel(), np.cos(x).ravel())
        answer.set_data(x.ravel(), prediction.ravel())
        axes.set(xlim=(x.min(), max(x.max(), x.min() + 1e-3)), title=title)  # one point is a stretch, too
        axes.set_xticks(x[:, 0], minor=True)
        axes.grid(axis="x", which="minor", alpha=0.4)  # where a window begins

    return draw


def window():
    """Open a window; return draw(x, prediction, title), which does nothing without a display or once it is closed."""
    import matplotlib
    import matplotlib.pyplot as plt

    try:
        figure = plt.figure("training", figsize=(9, 4.5), layout="constrained")
        if matplotlib.get_backend().lower() == "agg":
            raise RuntimeError("no display")
        draw = frame(figure)
        figure.show()
    except Exception as error:
        print(f"note: the training is not shown live ({error})", file=sys.stderr)
        plt.close("training")
        return lambda x, prediction, title: None

    def update(*frame):
        if plt.fignum_exists("training"):
            with contextlib.suppress(Exception):  # closed while it is drawn; training goes on
                draw(*frame)
                figure.canvas.draw()
                figure.canvas.flush_events()

    return update


@plots.picture
def learned(path, last, costs, errors, bound):
    """Draw the last fit, the cost of every batch, and the error at each position inside a window.

    `last` is a frame: x and prediction, (windows, time_steps) each, and a title; `costs` {network: (steps,)}, `errors`
    {network: (time_steps,)}; `bound` is the least cost without memory.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    frame(top)(*last)
    left, right = bottom.subplots(1, 2)
    for name, values in costs.items():
        left.plot(np.arange(1, len(values) + 1), values, label=name, linewidth=1)
    left.set(xlabel="batch", ylabel="cost: mean squared error", yscale="log")
    for name, values in errors.items():
        right.plot(np.arange(1, len(values) + 1), values, marker=".", label=name)
    right.set(xlabel="position inside the window", ylabel="squared error, last 100 batches", yscale="log")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.axhline(bound, color="black", linestyle=":", label="least cost from one point alone")
        axes.grid(alpha=0.3)
    bottom.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)


@plots.picture
def unseen(path, stretches, costs):
    """Draw what a network says of waves that it has not seen.

    `stretches` is {frequency: (x, prediction)}, both (points,); `costs` is {frequency: mean squared error}.
    """
    figure = Figure(figsize=(11, 1.9 * len(stretches) + 1), layout="constrained")
    figure.suptitle("The wave goes on after the training, at other frequencies too; the network learns no more")
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
