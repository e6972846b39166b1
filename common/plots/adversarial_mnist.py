"""The pictures of adversarial_mnist.py: digits that fool a network, and its accuracy over the size of the change."""

from common.plots.base import image_rows, picture

import numpy as np


@picture(8, 5)
def curves(figure, eps, clean, numbers, title):
    """Draw the accuracies in `numbers`, {"accuracy_...": one per eps}.

    `clean` are those on unchanged images, where eps is 0: of the plain network, and of the defended one.
    """
    axes = figure.subplots()
    for name, values in numbers.items():
        defended = "defended" in name
        label = name.removeprefix("accuracy_").replace("_", " ").replace("fgsm", "FGSM").replace("pgd", "PGD")
        style = "-" if defended else ":" if "noise" in name else "--"
        axes.plot([0, *eps], 100 * np.array([clean[defended], *values]), style, marker=".", label=label)
    axes.set(title=title, xlabel="eps: largest change of a pixel (white is 1)", ylabel="accuracy in %", ylim=(-3, 103))
    axes.legend()
    axes.grid()


@picture(8, 6.8)
def examples(figure, images, answers, labels, title):
    """Draw the three images whose attack fooled the network most: clean, the change, attacked, and with noise.

    `images` are the clean, attacked and noisy ones, each (n, ...), `answers` to them each (n, classes), `labels` (n,).
    """
    clean, attacked, noisy = (np.reshape(pixels, (-1, 28, 28)) for pixels in images)
    before, after, other = answers
    fooled = (before.argmax(axis=1) == labels) & (after.argmax(axis=1) != labels)
    chosen = np.argsort(np.where(fooled, -after.max(axis=1), 0), kind="stable")[:3]
    change = (attacked - clean + 1) / 2  # grey where nothing changes
    rows = {f"image {index}": np.stack([x[index] for x in (clean, change, attacked, noisy)]) for index in chosen}
    figure.suptitle(title)
    for line, index in zip(image_rows(figure, rows, 4), chosen, strict=True):
        line[0].set_title(_answer(before[index]))
        line[1].set_title("+ the change")
        line[2].set_title(f"= {_answer(after[index])}")
        line[3].set_title(f"noise: {_answer(other[index])}")


def _answer(probabilities):
    return f"{probabilities.argmax()} ({probabilities.max():.1%})"
