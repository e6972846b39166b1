"""The pictures of rnn_cells.py: sequences that end at different steps, and what the candidate's function does."""

from common.plots.base import picture

import numpy as np


@picture(11, 3.6)
def table(figure, x, outputs, states, title):
    """Draw sequences x (count, steps, features), their outputs (count, steps, units) and last states (count, units)."""
    count, steps, _ = x.shape
    figure.suptitle(title)
    columns = {f"x, step {step}": x[:, step] for step in range(steps)}
    columns |= {f"output, step {step}": outputs[:, step] for step in range(steps)} | {"state": states}
    grid = figure.subplots(1, len(columns))
    for axes, (name, values) in zip(grid, columns.items(), strict=True):
        limit, form = (np.abs(x).max(), "g") if name.startswith("x") else (1, ".2f")
        axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            shade = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, format(value, form), ha="center", va="center", fontsize=7, color=shade)
        axes.set(title=name, xticks=[], yticks=[])
    grid[0].set(yticks=range(count), ylabel="sequence")


@picture(10, 4)
def candidates(figure, memories, title):
    """Draw the long memory c of each unit over time: `memories` is {name of the candidate: (steps, units)}."""
    figure.suptitle(title)
    grid = figure.subplots(1, len(memories), sharey=True)
    for axes, (name, c) in zip(grid, memories.items(), strict=True):
        axes.plot(np.arange(1, len(c) + 1), c, linewidth=1)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(title=name, xlabel="time step")
        axes.grid()
    grid[0].set_ylabel("long memory c of each unit")
