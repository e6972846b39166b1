"""The pictures of adversarial_mnist.py: digits that fool a network, and its accuracy over the size of the change."""

from common.plots.common import picture

import numpy as np
from matplotlib.figure import Figure


@picture
def curves(path, eps, clean, numbers, title):
    """Draw the accuracies in `numbers`, {"accuracy_...": one per eps}, from those in `clean`, where eps is 0."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, values in numbers.items():
        defended = "defended" in name
        start = clean["accuracy_defended_clean" if defended else "accuracy_clean"]
        label = " ".join({"fgsm": "FGSM", "pgd": "PGD"}.get(word, word) for word in name.split("_")[1:])
        style = "-" if defended else ":" if "noise" in name else "--"
        axes.plot([0, *eps], 100 * np.array([start, *values]), style, marker=".", label=label)
    axes.set(title=title, xlabel="eps: largest change of a pixel (white is 1)", ylabel="accuracy in %", ylim=(-3, 103))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


@picture
def examples(path, answers, labels, eps, title, count=3):
    """Draw the images whose attack fooled the network most: image, change, attacked image, and noise of the same size.

    `answers` are three pairs, of the image, the attacked and the noisy one: pixels, and probabilities (n, classes).
    """
    (images, before), (attacked, after), (noisy, other) = ((np.reshape(x, (-1, 28, 28)), p) for x, p in answers)
    fooled = (before.argmax(axis=1) == labels) & (after.argmax(axis=1) != labels)
    chosen = np.argsort(np.where(fooled, -after.max(axis=1), 0), kind="stable")[:count]
    figure = Figure(figsize=(8, 2.1 * count + 0.5), layout="constrained")
    figure.suptitle(f"{title}, eps {eps}")
    for line, index in zip(figure.subplots(count, 4, squeeze=False), chosen, strict=False):
        change = (attacked - images)[index]
        for axes, image, answer in zip(line, (images[index], change, attacked[index], noisy[index]),
                                       (before[index], None, after[index], other[index]), strict=True):  # fmt: skip
            lowest = -1 if answer is None else 0
            axes.imshow(image, cmap="gray", vmin=lowest, vmax=1)
            axes.set_title("+ the change" if answer is None else f"{answer.argmax()} ({answer.max():.1%})", fontsize=10)
            axes.set_axis_off()
        line[2].set_title(f"= {after[index].argmax()} ({after[index].max():.1%})", fontsize=10)
        line[3].set_title(f"noise: {other[index].argmax()} ({other[index].max():.1%})", fontsize=10)
    figure.savefig(path, dpi=110)
