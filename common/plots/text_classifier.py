"""The picture of text_classifier.py: which words moved the answer."""

from common.plots.common import picture

import numpy as np
from matplotlib.figure import Figure

FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "SimHei",
         "WenQuanYi Zen Hei", "Hiragino Sans GB"]  # the first that has a letter draws it  # fmt: skip
MOST_WORDS = 40  # of a sentence, as many as there is room for


@picture
def readings(path, columns, classes, title):
    """Draw the probability of the second of two `classes` after each word of some sentences.

    `columns` is {heading: [(class, words, probabilities)]}; there is one probability more than words, as the first is
    that before any word.
    """
    rows = max(1, *map(len, columns.values()))
    figure = Figure(figsize=(7 * len(columns), 0.6 + 2.3 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for (heading, sentences), column in zip(columns.items(), grid.T, strict=True):
        for axes, (label, words, probabilities) in zip(column, sentences, strict=False):
            shown = words if len(words) <= MOST_WORDS else [*words[: MOST_WORDS - 1], "..."]
            words, probabilities = ["", *shown], probabilities[: len(shown) + 1]
            places = np.arange(len(words))
            axes.fill_between(places, 0.5, probabilities, step="mid", alpha=0.25)
            axes.step(places, probabilities, where="mid")
            axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
            axes.set_xticks(places, words, rotation=60, ha="right", rotation_mode="anchor", fontsize=8, family=FONTS)
            axes.set(ylim=(0, 1), yticks=(0, 0.5, 1), xlim=(-0.5, len(words) - 0.5))
            axes.set_ylabel(f"probability of\n{classes[1]}", fontsize=8, family=FONTS)
            axes.set_title(f"{heading}; label: {label}", fontsize=9, family=FONTS)
        for axes in column[len(sentences) :]:
            axes.set_axis_off()
    figure.savefig(path, dpi=100)
