"""The pictures of rnn_memory.py: gradients through time, and the gates over a sequence's rows."""

from common.plots.common import picture

import numpy as np
from matplotlib.figure import Figure

COLORS = {"simple_rnn": "tab:green", "lstm": "tab:blue", "gru": "tab:orange"}
GATES = {"f": "forget gate f", "i": "input gate i", "o": "output gate o", "z": "update gate z", "r": "reset gate r"}


@picture
def gradients(path, norms, cut, test, title):
    """Draw the size of dL/dh(t), before and after training, and how truncated gradients differ from the whole.

    `norms` is {cell: {"before" or "after": {"h" or "c": (steps + 1,)}}}, `cut` {cell: {steps back: cosine}},
    `test` {cell: accuracy}.
    """
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    figure.suptitle(title)
    *pair, right = figure.subplots(1, 3)
    least = 1e-12  # what is smaller than this no training notices
    for axes, when in zip(pair, ("before", "after"), strict=True):
        for cell, both in norms.items():
            for state, sizes in both[when].items():
                axes.plot(np.maximum(sizes / sizes[-1], least), "--" if state == "c" else "-", color=COLORS[cell],
                          label=f"{cell}, c" if state == "c" else cell)  # fmt: skip
        axes.set(title=f"{when} training", xlabel="time step t", yscale="log", ylim=(least / 2, 50))
        axes.grid(alpha=0.3)
    pair[0].set_ylabel("size of dL/dh(t), 1 at the end")
    pair[0].legend(fontsize="small", loc="lower right")
    for cell, parts in cut.items():
        right.plot(list(parts), list(parts.values()), marker=".", color=COLORS[cell],
                   label=f"{cell}, test accuracy {100 * test[cell]:.1f} %")  # fmt: skip
    right.set(title="truncated BPTT, after training", xlabel="steps back", ylim=(-0.05, 1.05),
              ylabel="cosine similarity with the full gradient")  # fmt: skip
    right.grid(alpha=0.3)
    right.legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=110)


@picture
def gates(path, rows, seen, cell):
    """Draw the gates of every unit over the rows (steps, 28) of one sequence; `seen` is what `unroll` returns of it."""
    named = {name: seen[name][0] for name in GATES if name in seen}  # (steps, units)
    order = np.argsort(named["f" if "f" in named else "z"].mean(axis=0))  # those that forget soonest come first
    figure = Figure(figsize=(3 + 3 * len(named), 5), layout="constrained")
    figure.suptitle(f"{cell}: its gates, row by row; f and z keep the old state where they are 1")
    first, *rest = figure.subplots(1, 1 + len(named), sharey=True)
    first.imshow(rows, cmap="gray", aspect="auto", vmin=0, vmax=1)
    first.set(title="what it reads", xlabel="column", ylabel="row = time step")
    for axes, (name, values) in zip(rest, named.items(), strict=True):
        drawn = axes.imshow(values[:, order], cmap="viridis", aspect="auto", vmin=0, vmax=1, interpolation="nearest")
        axes.set(title=f"{GATES[name]}, mean {values.mean():.2f}", xlabel="unit")
    figure.colorbar(drawn, ax=rest, label="value of the gate", shrink=0.8)
    figure.savefig(path, dpi=110)
