"""The data, before any network: how many of each digit there are, and what they look like.

Idea      MNIST holds 60,000 training and 10,000 test images of 28 x 28 grey pixels, and a label for each. An image can
          be read as a list of 784 numbers, as rows and columns, or as a sequence of rows: this is how an MLP, a CNN
          and an RNN will see it.
Run       python mnist_sampler.py
          python mnist_sampler.py --seed 7 --show
Expect    Training labels from 5,421 fives to 6,742 ones, test labels from 892 fives to 1,135 ones, as the book prints.
Try next  --seed 1              Which of the 25 digits would you misread yourself?
          --data digits         How do the small digits differ that stand in for MNIST when there is no network?
          np.flatnonzero(digits.y_train == 7)[:25]    How many ways are there to write a seven?
Source    "TensorFlow fundamentals" (document 003), Listing 3.6 and Figure 3.3.
"""

from common import cli, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.base import GREYS, image_rows, picture

import numpy as np


@picture(5, 5.6)
def samples(figure, images, labels, title):
    """Draw 25 images (25, 28, 28) uint8 in five numbered rows, each with its label."""
    figure.suptitle(title)
    grid = image_rows(figure, {f"{row + 1}": images[5 * row : 5 * row + 5] for row in range(5)}, 5, **GREYS)
    for axes, label in zip(grid.flat, labels, strict=True):
        axes.set_title(label, fontsize=9)


@picture(10, 4.6)
def three_views(figure, image, label, title):
    """Draw one image (28, 28) uint8 as an MLP, a CNN and an RNN take it in (document 003, Figure 3.3)."""
    figure.suptitle(f"{title}: one {label}, reshaped for three kinds of network")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2.6))
    vector = top.subplots()
    vector.imshow(image.reshape(1, 784), aspect="auto", **GREYS)
    vector.set(title="MLP: (784,), the rows end to end", yticks=[], xlabel="pixel")
    square, sequence = bottom.subplots(1, 2)
    square.imshow(image, **GREYS)
    square.set(title="CNN: (28, 28, 1), rows, columns, channel", xlabel="column", ylabel="row")
    spaced = np.full((28 * 3, 28), np.nan)  # a gap after every row: the network sees one row at a time
    spaced[0::3] = spaced[1::3] = image
    sequence.imshow(spaced, aspect="auto", **GREYS)
    sequence.set(title="RNN: (28, 28), one row a time step", xlabel="feature: column", ylabel="time step: row")
    sequence.set_yticks(np.arange(0, 28, 5) * 3 + 0.5, np.arange(0, 28, 5))


def main(argv=None):
    """Print the label counts and draw two pictures; return the content of result.json, with the run's folder."""
    args = parse(argv)
    digits = mnist.load_mnist(args.data)
    folder = runs.new_folder(__file__, args.out)
    print(f"{digits.name}: {digits.about}")

    # How many of each digit
    train_labels, test_labels = count(digits.y_train), count(digits.y_test)
    print(f"Train labels: {train_labels}")
    print(f"Test labels: {test_labels}")

    # 25 random digits, and the first of them as each kind of network sees it
    chosen = np.random.default_rng(args.seed).integers(len(digits.x_train), size=25)  # (25,)
    images, labels = digits.x_train[chosen], digits.y_train[chosen]  # (25, 28, 28), (25,)
    samples(folder / "samples.png", images, labels, digits.name)
    three_views(folder / "three_views.png", images[0], labels[0], digits.name)
    return runs.finish(folder, args, dataset=digits.name, train_labels=train_labels, test_labels=test_labels)


def count(labels):
    """Return how often each label occurs, {label: count}."""
    unique, counts = np.unique(labels, return_counts=True)  # (10,), (10,)
    return dict(zip(unique.tolist(), counts.tolist(), strict=True))


def parse(argv):
    """Return the command line as a namespace."""
    return cli.parser(__doc__).parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
