"""The picture of rnn_gradients.py and rnn_memory.py: gradients through time."""

from common.plots.base import picture

import numpy as np

COLORS = {"simple_rnn": "tab:green", "lstm": "tab:blue", "gru": "tab:orange"}
LEAST = 1e-12  # what is smaller is drawn at this height


@picture(13, 4.6)
def gradients(figure, norms, title, similar=None):
    """Draw the size of dL/dh(t) before and after training, and how `similar` truncated gradients are, if that is known.

    `norms` is {cell: {"before" or "after": {"h" or "c": (steps + 1,)}}}, `similar` {cell: {steps back: cosine}}.
    """
    figure.suptitle(title)
    grid = figure.subplots(1, 3 if similar else 2)
    for axes, when in zip(grid, ("before", "after"), strict=False):
        for cell, both in norms.items():
            for state, sizes in both[when].items():
                style = {"color": COLORS[cell], "linestyle": "--" if state == "c" else "-", "label": f"{cell}, {state}"}
                axes.plot(np.maximum(sizes / sizes[-1], LEAST), **style)
        axes.set(title=f"{when} training", xlabel="time step t", yscale="log", ylim=(LEAST / 2, 50))
        axes.grid()
    grid[0].set_ylabel("size of dL/dh(t), 1 at the end")
    grid[1].legend(fontsize="small", loc="lower right")
    if similar:
        for cell, cosines in similar.items():
            grid[2].plot(list(cosines), list(cosines.values()), marker=".", color=COLORS[cell])
        grid[2].set(title="truncated BPTT, after training", xlabel="steps back", ylabel="cosine similarity")
        grid[2].grid()
