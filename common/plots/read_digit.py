"""The picture of read_digit.py: what was given, what the network sees, and what it answers."""

from common import ink
from common.plots.common import GREYS, picture, ticks

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

MOST_SHOWN = 20  # digits; result.json has all answers


@picture
def what_it_sees(path, names, pictures, answers):
    """Draw a row a digit: the picture with a box around the digit, its 28 x 28 pixels, its probabilities as bars.

    `names` are the pictures' files, `pictures` their (image, digits (count, 28, 28), boxes (count, 4)), `answers` the
    probabilities (count, classes) of each one's digits.
    """
    rows = []
    for name, (image, digits, boxes), probabilities in zip(names, pictures, answers, strict=True):
        given = ink.plain(image)  # once for all its digits: a large picture takes a moment
        given.thumbnail((600, 600))
        given = np.asarray(given.convert("RGBA") if given.mode == "RGBa" else given)
        rows += [(name, image.size, given, *digit) for digit in zip(digits, boxes, probabilities, strict=True)]
    shown = rows[:MOST_SHOWN]
    figure = Figure(figsize=(9, 0.5 + 2.3 * len(shown)), layout="constrained")
    more = f" (the first {len(shown)} of {len(rows)})" if len(rows) > len(shown) else ""
    figure.suptitle(f"What was given, what the network sees, what it answers{more}", fontsize=11)
    for axes, row in zip(figure.subplots(len(shown), 3, squeeze=False), shown, strict=True):
        name, (width, height), given, digit, box, probabilities = row
        axes[0].imshow(given, cmap="gray", extent=(0, width, height, 0))
        axes[0].add_patch(Rectangle(box[:2], *(box[2:] - box[:2]), fill=False, edgecolor="tab:orange", linewidth=2))
        axes[0].set_title(str(name)[-40:], fontsize=9)
        axes[0].set(xticks=[], yticks=[], facecolor="lightgrey")  # behind what is transparent
        axes[1].imshow(digit, **GREYS)
        axes[1].set_title("28 x 28 pixels, as in MNIST", fontsize=9)
        axes[1].set_axis_off()
        axes[2].bar(range(len(probabilities)), probabilities)
        axes[2].set(ylim=(0, 1), xticks=ticks(len(probabilities)), xlabel="digit", ylabel="probability")
        axes[2].set_title(f"{probabilities.argmax()} ({100 * probabilities.max():.1f} %)", fontsize=9)
    figure.savefig(path, dpi=100)
