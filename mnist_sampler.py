"""The data, before any network: how many of each digit there are, and what they look like.

Idea      MNIST holds 60,000 training and 10,000 test images of 28 x 28 grey pixels, and a label for each. An image can
          be read as a list of 784 numbers, as rows and columns, or as a sequence of rows: so an MLP, a CNN and an RNN
          will see it.
Run       python mnist_sampler.py
          python mnist_sampler.py --seed 7 --show
Expect    Train labels from 5,421 fives to 6,742 ones, test labels from 892 fives to 1,135 ones, as the book prints.
Try next  --seed 1              Which of the 25 digits would you misread yourself?
          --data digits         How do the small digits differ that stand in for MNIST when there is no network?
Source    "TensorFlow fundamentals" (document 003), Listing 3.6 and Figure 3.3.
"""

from common import cli, mnist, results, script
from common.plots.common import show
from common.plots.mnist_sampler import samples, three_views

import numpy as np


def main(argv=None):
    """Print the label counts and draw two pictures; return the content of result.json, with the run's folder."""
    args = parse(argv)
    digits = mnist.load_mnist(args.data)
    folder = results.new_folder("mnist_sampler", args.out)
    print(f"{digits.name}: {digits.about}")

    # How many of each digit
    result = {"script": "mnist_sampler", "status": "finished", "dataset": digits.name, "seed": args.seed}
    for part, labels in (("Train", digits.y_train), ("Test", digits.y_test)):
        unique, counts = np.unique(labels, return_counts=True)  # (10,), (10,)
        result[f"{part.lower()}_labels"] = dict(zip(unique.tolist(), counts.tolist(), strict=True))
        print(f"{part} labels: {result[f'{part.lower()}_labels']}")

    # 25 random digits, and the first of them as each kind of network sees it
    chosen = np.random.default_rng(args.seed).integers(len(digits.x_train), size=25)  # (25,)
    samples(folder / "samples.png", digits.x_train[chosen], digits.y_train[chosen], digits.name)
    three_views(folder / "three_views.png", digits.x_train[chosen[0]], digits.y_train[chosen[0]], digits.name)
    results.write_result(folder, result)
    print(f"Pictures: {cli.relative(folder)}")
    if args.show:
        show(folder)
    return {**result, "folder": folder}


def parse(argv):
    """Return the command line as a namespace."""
    return cli.parser(__doc__).parse_args(argv)


if __name__ == "__main__":
    script.launch(main)
