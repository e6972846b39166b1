"""Read the arrays in one file: .npz, IDX, or CSV; and scikit-learn's bundled digits."""

import gzip
import importlib.util
import math
import stat
import zipfile
import zlib
from pathlib import Path

import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
LARGEST = 2**30  # bytes of a file, and of what is packed in it; EMNIST's largest set has 640 MB
LARGEST_CSV = 2**31  # as text it has 1.3 GB


def size(path, most=LARGEST):
    """Return the bytes of a file. Raises ValueError where it is a pipe or a device, or too large."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError(f"{path.name} is neither a file nor a folder")
    if facts.st_size > most:
        raise ValueError(f"{path.name} has more than {most >> 20} MB")
    return facts.st_size


def load_npz(path):
    """Return the arrays in an .npz file by their names. Pickled objects are refused unread.

    Raises ValueError for a damaged or foreign file.
    """
    if not size(path) or not zipfile.is_zipfile(path):
        raise ValueError("not an .npz file, or a damaged one; CSV files are called NAME_train.csv and NAME_test.csv, "
                         f"IDX files {IDX_FILES[0]} and so on")
    try:
        with zipfile.ZipFile(path) as file:
            if sum(entry.file_size for entry in file.infolist()) > LARGEST:
                raise MemoryError
        with np.load(path, allow_pickle=False) as npz:
            return {key: np.asarray(npz[key]) for key in npz.files}
    except MemoryError:
        raise ValueError(f"holds more than {LARGEST >> 20} MB") from None
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen types for a damaged or foreign file
        if "Object arrays" in str(error):
            raise ValueError("holds pickled Python objects, which can run code when opened; refused unread") from None
        raise ValueError(f"a damaged .npz file ({error})") from None


def read_idx(path):
    """Return an IDX file as an array. In it: two zeros, type, number of axes, lengths, numbers."""
    size(path)
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"  # whatever its name says
    try:
        with (gzip.open if zipped else open)(path, "rb") as file:
            *zeros, kind, axes = file.read(4).ljust(4, b"\1")
            if any(zeros) or kind not in IDX_TYPES or axes > 4:
                raise ValueError(f"{path.name} is not an IDX file; get it anew")
            shape = [int.from_bytes(file.read(4)) for _ in range(axes)]
            expected = math.prod(shape) * np.dtype(IDX_TYPES[kind]).itemsize
            if expected > LARGEST:
                raise ValueError(f"{path.name} holds more than {LARGEST >> 20} MB")
            content = file.read(expected + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name} is damaged ({error}); get it anew") from None
    if len(content) != expected:
        raise ValueError(f"{path.name} was cut short, or goes on after its {expected:,} bytes; get it anew")
    return np.frombuffer(content, IDX_TYPES[kind]).reshape(shape)


def read_csv(path):
    """Return a CSV file as uint8 (count, 785): a label and 784 pixels a line; a first line may name the columns."""
    size(path, LARGEST_CSV)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        columns = file.readline(2**16).split(",")
    if len(columns) != 785:
        hint = "no labels" if len(columns) == 784 else "not a label and 784 pixels"
        raise ValueError(f"{path.name} has {len(columns)} columns: {hint}; expected the label first, then 784 pixels")
    try:
        header = not columns[1].strip().isdecimal()
        return np.loadtxt(path, np.uint8, delimiter=",", skiprows=int(header), ndmin=2,
                          encoding="utf-8-sig")  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}; expected whole numbers from 0 to 255") from None


def bundled_digits():
    """Return scikit-learn's 1,797 digits, 8 x 8 in 17 greys, in MNIST's geometry: 20 x 20 centred in 28 x 28."""
    from PIL import Image

    # The file that load_digits reads: importing scikit-learn, scipy.stats and all, would take half a second.
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")  # (1797, 64 + 1)
    images, labels = np.zeros((len(table), 28, 28), np.uint8), table[:, 64].astype(np.uint8)
    for image, small in zip(images, table[:, :64].reshape(-1, 8, 8), strict=True):
        grey = Image.fromarray(np.uint8(small * 255 / 16))
        image[4:24, 4:24] = grey.resize((20, 20), Image.Resampling.BICUBIC)
    train = 1437  # four fifths, in the order of the set
    return dict(zip(KEYS, (images[:train], labels[:train], images[train:], labels[train:]), strict=True))
