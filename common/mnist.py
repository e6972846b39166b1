"""Find, name and reshape the MNIST images, or others in their form."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from common import cli
from common.data import download, readers

import numpy as np

STAND_IN = "scikit-learn digits (not MNIST)"

# SHA-256 of each array's bytes: the same in whatever file they come, so they tell MNIST from its look-alikes.
MNIST_SHA256 = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}


class Digits(NamedTuple):
    """Images (count, 28, 28) uint8, 0 black to 255 white, and labels (count,) uint8; their name and origin."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str
    origin: str

    @property
    def num_classes(self):
        """How many classes the labels name, from 0 to the highest of them."""
        return 1 + max(int(self.y_train.max()), int(self.y_test.max()))

    @property
    def baseline(self):
        """The test accuracy of a program that always answers the most frequent training label."""
        return float(np.mean(self.y_test == np.bincount(self.y_train).argmax()))

    @property
    def facts(self):
        """What result.json says of the data."""
        return {"dataset": self.name, "data_origin": self.origin, "train_images": len(self.x_train),
                "test_images": len(self.x_test), "classes": self.num_classes}

    @property
    def about(self):
        """What the first line of a run says of the data."""
        classes = "" if self.num_classes == 10 else f" of {self.num_classes} classes"
        return f"{len(self.x_train):,} training and {len(self.x_test):,} test images{classes} from {self.origin}"


def load_mnist(source=None, limit=None):
    """Return the images as `Digits`, the training set cut to its first `limit` images.

    `source` is a file or folder, "digits" (scikit-learn's bundled stand-in), "mnist" (no stand-in) or None: the
    project's data folder, the Keras cache, a download, or else the stand-in. Raises cli.UserError for bad data.
    """
    if source == "digits":
        digits = _stand_in()
    elif source in (None, "mnist"):
        digits = download.search("MNIST", read, download.MNIST, "mnist.npz", None if source else _stand_in)
    else:
        try:
            digits = read(Path(source))
        except FileNotFoundError as error:
            raise cli.UserError(f"--data {error}; it takes a path, or the word digits or mnist") from None
    return digits._replace(x_train=digits.x_train[:limit], y_train=digits.y_train[:limit])


def read(path):
    """Return the `Digits` in a file or folder. Raises FileNotFoundError for none, cli.UserError for damaged ones."""
    if (path / "mnist.npz").exists():
        path = path / "mnist.npz"
    try:
        arrays, name = readers.read(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{cli.relative(path)}: {error.strerror or error}") from None
    except readers.DAMAGED as error:
        raise cli.UserError(f"{cli.relative(path)}: {getattr(error, 'strerror', None) or error}") from None
    if all(hashlib.sha256(arrays[key]).hexdigest() == MNIST_SHA256[key] for key in arrays):
        name = "MNIST"
    elif name.lower() == "mnist":
        name += " (not the original)"
    return Digits(**arrays, name=name, origin=cli.relative(path))


def _stand_in():
    return Digits(**readers.bundled_digits(), name=STAND_IN, origin="scikit-learn")


def as_vectors(images):
    """Return uint8 (count, 28, 28) as float32 (count, 784) in [0, 1]: what an MLP sees, rows end to end."""
    return as_sequences(images).reshape(-1, 28 * 28)


def as_images(images):
    """Return uint8 (count, 28, 28) as float32 (count, 28, 28, 1) in [0, 1]: what a CNN sees, one channel of grey."""
    return as_sequences(images).reshape(-1, 28, 28, 1)


def as_sequences(images):
    """Return uint8 (count, 28, 28) as float32 (count, 28, 28) in [0, 1]: what an RNN sees, 28 steps of 28 pixels."""
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(f"expected images uint8 (count, 28, 28) from 0 to 255, got {images.dtype} {images.shape}")
    return images / np.float32(255)
