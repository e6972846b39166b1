"""Read the arrays of a data set: from an .npz file, a folder with four IDX files, or scikit-learn's bundled digits."""

import gzip
import math
import zlib

import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def read_npz(path):
    """Return the four arrays in an .npz file by their keys. Pickled objects are refused unread.

    Raises ValueError for a damaged or foreign file.
    """
    try:
        with np.load(path, allow_pickle=False) as npz:
            arrays = {key: np.asarray(npz[key]) for key in KEYS if key in npz}
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen types for a damaged or foreign file
        if "Object arrays" in str(error):
            raise ValueError("holds pickled Python objects, which can run code when opened; refused unread") from None
        why = "" if "pickle" in str(error) else f" ({error})"  # NumPy suspects a pickle in whatever it does not know
        raise ValueError(f"not an .npz file, or a damaged one{why}; IDX files are given by their folder") from None
    if len(arrays) < len(KEYS):
        raise ValueError(f"holds the arrays {sorted(arrays)}, expected {list(KEYS)}")
    return arrays


def read_folder(folder):
    """Return the four arrays in a folder of IDX files, plain or .gz, spelled with -idx or .idx.

    Raises ValueError where one is missing or damaged.
    """
    found = {}
    for stem in IDX_FILES:
        spellings = [name + zipped for name in (stem, stem.replace("-idx", ".idx")) for zipped in ("", ".gz")]
        found[stem] = next((folder / spelling for spelling in spellings if (folder / spelling).exists()), None)
    missing = [stem for stem, path in found.items() if path is None]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)} (plain or .gz); a data folder holds mnist.npz or all four")
    return dict(zip(KEYS, map(_read_idx, found.values()), strict=True))


def _read_idx(path):
    """Return an IDX file as a uint8 array. In it: two zeros, 8 for uint8, number of axes, lengths, bytes."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged ({error}); get it anew") from None
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    shape = [int.from_bytes(content[4 * axis : 4 * axis + 4]) for axis in range(1, axes + 1)]
    if not axes or len(content) != 4 + 4 * axes + math.prod(shape):
        raise ValueError(f"{path.name} is not an IDX file of bytes, or was cut short; get it anew")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def bundled_digits():
    """Return scikit-learn's 1,797 digits, 8 x 8 in 17 greys, in MNIST's geometry: 20 x 20 centred in 28 x 28."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bundled = load_digits()
    images = np.zeros((len(bundled.images), 28, 28), np.uint8)
    for image, small in zip(images, bundled.images, strict=True):
        grey = Image.fromarray(np.uint8(small * 255 / 16))
        image[4:24, 4:24] = grey.resize((20, 20), Image.Resampling.BICUBIC)
    labels = bundled.target.astype(np.uint8)
    train = 1437  # four fifths, in the order of the set
    return dict(zip(KEYS, (images[:train], labels[:train], images[train:], labels[train:]), strict=True))
