"""Find, check, name and reshape the MNIST images, or others in their form."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from common import archives, cli, download, formats, terminal

import numpy as np

DATA_DIR = Path(__file__).resolve().parent.parent / "data"
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
        counts = {"train_images": len(self.x_train), "test_images": len(self.x_test), "classes": self.num_classes}
        return {"dataset": self.name, "data_origin": self.origin, **counts}

    @property
    def about(self):
        """What the first line of a run says of the data."""
        classes = "" if self.num_classes == 10 else f" of {self.num_classes} classes"
        return f"{len(self.x_train):,} training and {len(self.x_test):,} test images{classes} from {self.origin}"


def load_mnist(source=None, limit=None):
    """Return the images as `Digits`, the training set cut to its first `limit` images.

    `source` is a file or folder as `archives.read` takes them, "digits" (scikit-learn's bundled stand-in), "mnist"
    (no stand-in) or None: the project's data folder, the Keras cache, a download, and with no network the stand-in.
    The name is "MNIST" only where the arrays' hashes say so, else that of the file or folder.

    Raises cli.UserError for data that is missing, damaged or of another kind.
    """
    if source == "digits":
        digits = Digits(**formats.bundled_digits(), name=STAND_IN, origin="scikit-learn")
    elif source is None or source == "mnist":
        digits = _search(stand_in_allowed=source is None)
    else:
        if not os.path.lexists(source):
            raise cli.UserError(f"--data {source}: not there; it takes a path, or the word digits or mnist")
        digits = read(Path(source))
    return digits._replace(x_train=digits.x_train[:limit], y_train=digits.y_train[:limit])


def as_vectors(images):
    """Return uint8 (count, 28, 28) as float32 (count, 784) in [0, 1]: what an MLP sees, rows end to end."""
    return _scaled(images, (-1, 28 * 28))


def as_images(images):
    """Return uint8 (count, 28, 28) as float32 (count, 28, 28, 1) in [0, 1]: what a CNN sees, one channel of grey."""
    return _scaled(images, (-1, 28, 28, 1))


def as_sequences(images):
    """Return uint8 (count, 28, 28) as float32 (count, 28, 28) in [0, 1]: what an RNN sees, 28 steps of 28 pixels."""
    return _scaled(images, (-1, 28, 28))


def _scaled(images, shape):
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(f"expected images uint8 (count, 28, 28) from 0 to 255, got {images.dtype} {images.shape}")
    room = np.empty(4 * images.size + 64, np.uint8)
    start = -room.ctypes.data % 64  # from there TensorFlow reads in place, without a copy (common/tfdata.py)
    scaled = room[start : start + 4 * images.size].view(np.float32).reshape(shape)
    return np.divide(images.reshape(shape), 255, out=scaled)


def read(path):
    """Return the data set in a file or folder, in any of the forms that `archives.read` knows.

    Raises cli.UserError, naming the file and what is wrong with it. Pickled objects are refused unread.
    """
    try:
        path.stat()
        arrays, name = archives.read(path)
    except (OSError, ValueError) as error:
        raise cli.UserError(f"{cli.relative(path)}: {getattr(error, 'strerror', None) or error}") from None
    if all(hashlib.sha256(np.ascontiguousarray(arrays[key])).hexdigest() == MNIST_SHA256[key] for key in arrays):
        name = "MNIST"
    elif name.lower() == "mnist":
        name += " (not the original)"
    packed = path / "mnist.npz"
    return Digits(**arrays, name=name, origin=cli.relative(packed if os.path.exists(packed) else path))


def _pack(folder):
    """Return the path of mnist.npz in a folder of downloaded files; of a mirror's four IDX files it is made."""
    packed = folder / "mnist.npz"
    if not packed.exists():
        np.savez_compressed(packed, **archives.read(folder)[0])
    return packed


def _search(stand_in_allowed):
    cache = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "datasets", "mnist.npz")
    tried = []
    packed = DATA_DIR / "mnist.npz"
    if os.path.exists(packed) or archives.holds_mnist(DATA_DIR):
        digits = read(DATA_DIR)
        if digits.name == "MNIST" or stand_in_allowed:
            return digits
        tried.append(f"{digits.origin}: not MNIST")
    else:
        tried.append(f"{cli.relative(DATA_DIR)}: no mnist.npz, no IDX files")
    try:
        digits = read(cache)
        if digits.name == "MNIST":
            return digits
        tried.append(f"{cache}: not MNIST")
    except cli.UserError as error:
        tried.append(str(error))
    if not os.path.exists(packed):
        tried += download.fetch("MNIST", download.MNIST, DATA_DIR, _pack)
        if os.path.exists(packed):
            return read(DATA_DIR)
    advice = (
        f"To get MNIST, fetch {download.OFFICIAL}mnist.npz on a machine that can and put it into {DATA_DIR}, "
        "or name your copy with --data PATH."
    )
    if not stand_in_allowed:
        raise cli.UserError(f"no MNIST: {'; '.join(tried)}. {advice}")
    lines = [f"warning: no MNIST here, so this run uses {STAND_IN}.", *(f"tried {line}" for line in tried), advice]
    terminal.tell("\n  ".join(lines))
    return load_mnist("digits")
