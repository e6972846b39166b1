"""The picture of mode collapse."""

from common.plots.common import picture

from matplotlib.figure import Figure


@picture
def rings(path, real, painted):
    """Draw points (count, 2): the real ones, and those of each kind in `painted`, {name: points}, over them."""
    figure = Figure(figsize=(3.4 * (1 + len(painted)), 3.8), layout="constrained")
    rows = {"real": real, **painted}
    for axes, (name, points) in zip(figure.subplots(1, len(rows)), rows.items(), strict=True):
        if name != "real":
            axes.plot(*real.T, ".", color="0.8", markersize=4)
        axes.plot(*points.T, ".", color="tab:blue", markersize=2)
        axes.set(title=name, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xlabel="x")
    figure.axes[0].set_ylabel("y")
    figure.savefig(path, dpi=110)
