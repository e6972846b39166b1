"""The pictures of lstm_regressor.py."""

from common.plots.base import picture

import numpy as np
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
        axes.grid(axis="x", which="minor")  # where a window begins
        if not figure.legends:
            figure.legend(loc="outside lower center", ncols=3)

    return draw


@picture(11, 7)
def learned(figure, last, costs, errors, bound):
    """Draw the `last` frame, the cost of every batch, and the error at each position in a window.

    `costs` is {network: (steps,)}, `errors` {network: (time_steps,)}, and `bound` the least cost without memory.
    """
    top, bottom = figure.subfigures(2, 1)
    frame(top)(*last)
    left, right = bottom.subplots(1, 2)
    for axes, curves in ((left, costs), (right, errors)):
        for name, values in curves.items():
            axes.plot(np.arange(1, len(values) + 1), values, linewidth=1, label=name)
        axes.axhline(bound, color="black", linestyle=":", label="least cost from one point alone")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_yscale("log")
        axes.grid()
    left.set(xlabel="batch", ylabel="cost")
    right.set(xlabel="position in the window", ylabel="squared error, last 100 batches")
    bottom.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)


@picture(11, 7)
def unseen(figure, stretches, costs):
    """Draw the predictions for unseen waves, {frequency: (x, prediction)}, and their costs, {frequency: cost}."""
    figure.set_size_inches(11, 1.9 * len(stretches) + 1)
    figure.suptitle("After the training, with fixed weights: the wave goes on, also at other frequencies")
    grid = figure.subplots(len(stretches), 1, squeeze=False, sharex=True).flat
    for axes, (frequency, (x, prediction)) in zip(grid, stretches.items(), strict=True):
        axes.plot(np.sin(x), color="lightgrey", label="sin(x), which it reads")
        axes.plot(np.cos(x), color="red", label="cos(x)")
        axes.plot(prediction, color="blue", linestyle="--", label="the network")
        title = f"{frequency:g} times the trained frequency, cost {costs[frequency]:.4f}"
        axes.set(ylim=(-1.5, 1.5), xlim=(0, len(x) - 1), title=title)
    axes.set_xlabel("steps after the training")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
