"""The picture of text_classifier.py and ask_text.py: which words moved the answer."""

from common.plots.base import picture

import numpy as np

FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "SimHei",
         "WenQuanYi Zen Hei", "Hiragino Sans GB"]  # the first one that has a letter draws it
MOST_WORDS = 40  # of a sentence, as many as there is room for


@picture(7, 2.9)
def readings(figure, columns, classes, title):
    """Draw the probability of the second of two `classes` after each word of some sentences.

    Each of `columns` is a list of (heading, words, probabilities), the first probability being that before any word.
    """
    rows = max(len(sentences) for sentences in columns) or 1
    figure.set_size_inches(7 * len(columns), 0.6 + 2.3 * rows)
    figure.suptitle(title, family=FONTS)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for sentences, column in zip(columns, grid.T, strict=True):
        for axes, (heading, words, probabilities) in zip(column, sentences, strict=False):
            shown = words if len(words) <= MOST_WORDS else [*words[: MOST_WORDS - 1], "..."]
            labels = ["", *shown][: len(probabilities)]  # the end of a long sentence is not read
            heights = probabilities[: len(labels)]
            places = np.arange(len(labels))
            axes.fill_between(places, 0.5, heights, step="mid", alpha=0.25)
            axes.step(places, heights, where="mid")
            axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
            axes.set_xticks(places, labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8, family=FONTS)
            axes.set(ylim=(0, 1), yticks=(0, 0.5, 1), xlim=(-0.5, len(labels) - 0.5))
            axes.set_ylabel(f"probability of\n{classes[1]}", fontsize=8, family=FONTS)
            axes.set_title(heading, fontsize=9, family=FONTS)
        for axes in column[len(sentences) :]:
            axes.set_axis_off()
