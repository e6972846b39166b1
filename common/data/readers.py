"""Read the images and labels of a data set from the files that its makers publish: .npz, IDX or CSV."""

import gzip
import importlib.util
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

KEYS = ("x_train", "y_train", "x_test", "y_test")
# emnist-letters-train-images-idx3-ubyte.gz, t10k-labels.idx1-ubyte, mnist_train.csv
FILE = re.compile(r"(?:(.+)[-_])?(train|t10k|test)(?:-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?|\.csv)")
DAMAGED = (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile)  # what a foreign or damaged file raises
FORMS = "expected mnist.npz, the four IDX files (plain or .gz), or two CSV files, NAME_train.csv and NAME_test.csv"


def read(path):
    """Return the arrays in a file or folder by KEYS, and the data set's name.

    `path` is an .npz file with all four arrays, a folder with the other files of one set, or one of these files where
    the folder holds several sets. Images are uint8 (count, 28, 28), upright, labels uint8 (count,), from 0 on.
    Raises FileNotFoundError where there is nothing of the kind, and one of DAMAGED, saying what is wrong.
    """
    match = FILE.fullmatch(path.name)
    if path.is_file() and not match:
        return _tidy(read_npz(path)), path.stem
    folder = path.parent if path.is_file() else path
    sets = _sets(folder)
    if not sets:
        raise FileNotFoundError(f"no data set in it; {FORMS}")
    if path.is_dir() and len(sets) > 1:
        raise ValueError(f"holds several data sets ({', '.join(sets)}); name one of the files of the one you want")
    name = next(iter(sets)) if path.is_dir() else match[1] or ""
    arrays = _tidy(_read_set(sets[name]))
    if "emnist" in name:  # its images lie on their side
        arrays |= {key: np.ascontiguousarray(arrays[key].swapaxes(1, 2)) for key in ("x_train", "x_test")}
    if "letters" in name and arrays["y_train"].min() == 1:  # a is 1
        arrays |= {key: arrays[key] - np.uint8(1) for key in ("y_train", "y_test")}
    return arrays, name or folder.resolve().name


def _sets(folder):
    """Return {name: {"x_train" or "csv_train" and so on: path}}; a set without a name is called ""."""
    sets = {}
    for path in sorted(folder.iterdir()):
        match = FILE.fullmatch(path.name)
        if match:
            kind = {"images": "x", "labels": "y", None: "csv"}[match[3]]
            part = match[2].replace("t10k", "test")
            sets.setdefault(match[1] or "", {})[f"{kind}_{part}"] = path
    return sets


def _read_set(files):
    if {*KEYS} <= {*files}:
        return {key: read_idx(files[key]) for key in KEYS}
    if {"csv_train", "csv_test"} <= {*files}:
        train, test = read_csv(files["csv_train"]), read_csv(files["csv_test"])
        return {"x_train": train[:, 1:], "y_train": train[:, 0], "x_test": test[:, 1:], "y_test": test[:, 0]}
    raise ValueError(f"an incomplete data set (only {', '.join(path.name for path in files.values())}); {FORMS}")


def read_npz(path):
    """Return the four arrays in an .npz file by KEYS, also from names such as train_images. Pickles stay unread."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"not an .npz file, or a damaged one; {FORMS}")
    arrays = {}
    with np.load(path, allow_pickle=False) as held:
        for name in held.files:
            words = name.lower().split("_")  # x_train, test_labels
            kind = "x" if {"x", "images"} & {*words} else "y"
            part = "train" if "train" in words else "test"
            arrays[f"{kind}_{part}"] = held[name]
        if len(held.files) != 4 or len(arrays) != 4:
            raise ValueError(f"holds the arrays {sorted(held.files)}, expected {list(KEYS)}")
    return arrays


def read_idx(path):
    """Return an IDX file, plain or .gz, as an array: two zeros, 8 for bytes, number of axes, lengths, bytes."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":  # zipped, whatever its name says
        content = gzip.decompress(content)
    if content[:3] != b"\0\0\x08" or len(content) < 4:
        raise ValueError(f"{path.name} is not an IDX file of bytes")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4")
    values = np.frombuffer(content[start:], np.uint8)
    if values.size != np.prod(shape):
        raise ValueError(f"{path.name} holds {values.size:,} bytes, expected {np.prod(shape):,}; get it anew")
    return values.reshape(shape)


def read_csv(path):
    """Return a CSV file as uint8 (count, 785): a label and 784 pixels a line; a first line may name the columns."""
    with path.open(encoding="utf-8-sig") as file:
        columns = file.readline().split(",")
    if len(columns) != 785:
        raise ValueError(f"{path.name} has {len(columns)} columns; expected the label first, then 784 pixels")
    header = not columns[1].strip().isdecimal()
    return np.loadtxt(path, np.uint8, delimiter=",", skiprows=int(header), ndmin=2, encoding="utf-8-sig")


def _tidy(arrays):
    """Return the arrays with images (count, 28, 28) and labels (count,), both uint8. Raises ValueError for others."""
    tidy = {}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"].squeeze()
        shapes_fit = x.shape[1:] in ((784,), (28, 28), (28, 28, 1)) and y.shape == (len(x),)
        whole = x.dtype.kind in "iu" and y.dtype.kind in "iu"
        if not shapes_fit or not whole or min(x.min(), y.min()) < 0 or max(x.max(), y.max()) > 255:
            raise ValueError(f"x_{part} is {x.dtype} {x.shape}, y_{part} {y.dtype} {y.shape}; expected images 28 x 28 "
                             f"and {len(x)} labels, all whole numbers from 0 to 255")
        tidy[f"x_{part}"] = x.reshape(-1, 28, 28).astype(np.uint8)
        tidy[f"y_{part}"] = y.astype(np.uint8)
    return tidy


def bundled_digits():
    """Return scikit-learn's 1,797 digits, 8 x 8 in 17 greys, in MNIST's geometry: 20 x 20 centred in 28 x 28."""
    # The file that load_digits reads: to import scikit-learn would take half a second.
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")  # (1797, 64 + 1)
    images, labels = np.zeros((len(table), 28, 28), np.uint8), table[:, 64].astype(np.uint8)
    for image, small in zip(images, table[:, :64].reshape(-1, 8, 8), strict=True):
        grey = Image.fromarray(np.uint8(small * 255 / 16))
        image[4:24, 4:24] = grey.resize((20, 20), Image.Resampling.BICUBIC)
    train = 1437  # four fifths, in the order of the set
    return dict(zip(KEYS, (images[:train], labels[:train], images[train:], labels[train:]), strict=True))
