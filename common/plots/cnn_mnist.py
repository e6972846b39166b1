"""The pictures of cnn_mnist.py: its first kernels, and one digit after each layer."""

from common.plots.common import GREYS, picture

import numpy as np
from matplotlib.figure import Figure


@picture
def kernels(path, model, name):
    """Draw the first 64 kernels of a model's first convolution, for its first input channel; `name` is the data's."""
    from tensorflow.keras import layers

    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    if not convolutions:
        raise ValueError("the model has no Conv2D layer")
    weights = convolutions[0].get_weights()[0]
    shown = np.moveaxis(weights[:, :, 0, :64], -1, 0)  # (64, 3, 3)
    rows = -(-len(shown) // 8)
    figure = Figure(figsize=(6, 0.65 * max(rows, 4) + 1.2), layout="constrained")
    figure.suptitle(f"{name}: first kernels")
    grid = figure.subplots(rows, 8, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, kernel in zip(grid.flat, shown, strict=False):
        drawn = axes.imshow(kernel, cmap="RdBu_r", vmin=-abs(shown).max(), vmax=abs(shown).max())
    figure.colorbar(drawn, ax=grid, label="weight: red wants ink, blue wants none", shrink=0.8)
    figure.savefig(path, dpi=120)


@picture
def feature_maps(path, model, image, name):
    """Draw one image (28, 28) uint8 and the first ten maps after each activation and pooling; `name` is the data's."""
    from tensorflow import keras

    # With batch normalisation the activation is a layer of its own, and what a convolution gives it is not shown.
    silent = None, keras.activations.linear
    shown = [layer for layer in model.layers if len(layer.output.shape) == 4 and (
        "Pooling" in type(layer).__name__ or getattr(layer, "activation", None) not in silent)]  # fmt: skip
    if not shown:
        raise ValueError("no layer of the model is an activation or a pooling of maps")
    watched = keras.Model(model.inputs[0], [layer.output for layer in shown])
    answers = keras.tree.flatten(watched(image[None, :, :, None] / np.float32(255)))  # one layer alone gives no list
    figure = Figure(figsize=(10, 1.05 * len(shown) + 1.6), layout="constrained")
    figure.suptitle(f"{name}: the first ten maps of each layer; bright is strong, black is 0")
    grid = figure.subplots(len(shown) + 1, 10, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    grid[0, 0].imshow(image, **GREYS)
    grid[0, 0].set_ylabel("image\n28 x 28", rotation=0, ha="right", va="center", fontsize=8)
    for row, layer, answer in zip(grid[1:], shown, answers, strict=True):
        maps = np.moveaxis(np.array(answer[0]), -1, 0)[:10]  # (10, rows, columns)
        for axes, one in zip(row, maps, strict=False):
            axes.imshow(one, cmap="magma", vmin=0, vmax=maps.max())
        label = f"{layer.name}\n{maps.shape[1]} x {maps.shape[2]}"
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=120)
