"""The pictures of rnn_cells.py: sequences that end at different steps, and what the candidate's function does."""

from common.plots.common import picture

import numpy as np
from matplotlib.figure import Figure


@picture
def table(path, x, outputs, states, title):
    """Draw sequences x (count, steps, features), their outputs (count, steps, units) and last states (count, units)."""
    count, steps, _ = x.shape
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    figure.suptitle(title)
    columns = [*((f"x, step {step}", x[:, step]) for step in range(steps)),
               *((f"output, step {step}", outputs[:, step]) for step in range(steps)), ("state", states)]  # fmt: skip
    for axes, (name, values) in zip(figure.subplots(1, len(columns)), columns, strict=True):
        limit, form = (np.abs(x).max(), "g") if name[0] == "x" else (1, ".2f")
        axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            shade = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, format(value, form), ha="center", va="center", fontsize=7, color=shade)
        axes.set(title=name, xticks=[], yticks=range(count) if axes is figure.axes[0] else [])
    figure.axes[0].set_ylabel("sequence")
    figure.savefig(path, dpi=120)


@picture
def candidates(path, memories, title):
    """Draw the long memory c of each unit over time: `memories` is {name of the candidate: (steps, units)}."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    for axes, (name, c) in zip(figure.subplots(1, len(memories), sharey=True), memories.items(), strict=True):
        axes.plot(np.arange(1, len(c) + 1), c, linewidth=1)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(title=name, xlabel="time step")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("long memory c of each unit")
    figure.savefig(path, dpi=120)
