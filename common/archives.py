"""Find the files of a data set, as its archive has them, and bring their arrays into one form."""

import re

from common import formats
from common.formats import IDX_FILES, KEYS

import numpy as np

# emnist-letters-train-images-idx3-ubyte.gz, kmnist-train-imgs.npz, mnist_train.csv: set, part, kind
FILE = re.compile(r"(?:(.+)[-_])?(train|t10k|test)(?:[-_](images|imgs|labels))?"
                  r"(?:[-.]idx\d-\w+(?:\.gz)?|\.npz|\.csv)?", re.IGNORECASE)  # fmt: skip
_PART, _KIND = r"(train|test)(?:ing)?", r"(x|y|images?|imgs|data|labels?|targets?)"
ARRAY = re.compile(f"{_PART}_?{_KIND}|{_KIND}_?{_PART}", re.IGNORECASE)  # x_train, test_labels, training_images


def read(path):
    """Return the arrays by KEYS that a file or folder holds, and the name of the data set.

    The file is an .npz file with all four, or one of a set's files; the folder has mnist.npz, or a set's files. Images
    are uint8 (count, 28, 28), upright, and labels uint8 (count,), from 0 on. Pickled objects are refused unread.

    Raises ValueError or OSError, saying what is wrong, for what is damaged, foreign, or larger than memory may be.
    """
    folder, wanted = path, None
    if path.is_dir() and (path / "mnist.npz").exists():
        path = path / "mnist.npz"
    elif path.is_dir() and len(raw := [*path.glob("raw"), *path.glob("*/raw")]) == 1:  # torchvision's
        folder = raw[0]
    if not path.is_dir():
        formats.size(path, formats.LARGEST_CSV)
        match = FILE.fullmatch(path.name)
        if not match or (path.suffix == ".npz" and not match[3]):
            return _tidy(read_npz(path)), path.stem
        folder, wanted = path.absolute().parent, match[1] or ""
        folder = folder.parent if folder.name == path.name else folder  # Kaggle's
    name, files = _choose(sets(folder), wanted)
    arrays = _tidy(_read_set(files))
    if "emnist" in name.lower():  # its images lie on their side
        arrays |= {key: np.ascontiguousarray(arrays[key].swapaxes(1, 2)) for key in ("x_train", "x_test")}
    if "letters" in name.lower() and min(arrays["y_train"].min(), arrays["y_test"].min()) == 1:  # a is 1
        arrays |= {key: arrays[key] - np.uint8(1) for key in ("y_train", "y_test")}
    folder = folder.resolve()
    return arrays, name or (folder.parent if folder.name == "raw" else folder).name


def sets(folder):
    """Return {name: {key: path}} of the sets in `folder`; that of train-images-... and the like is called ""."""
    found = {}
    for path in sorted(folder.iterdir()):
        path = path / path.name if path.is_dir() else path  # Kaggle puts each file into a folder of its name
        match = FILE.fullmatch(path.name)
        if match and path.exists() and path.name[0] != ".":  # macOS packs a ._NAME beside each file
            kind = {"images": "x", "imgs": "x", "labels": "y"}.get((match[3] or "").lower(), "csv")
            part = "train" if match[2].lower() == "train" else "test"
            found.setdefault(match[1] or "", {}).setdefault(f"{kind}_{part}", path)
    return found


def holds_mnist(folder):
    """Return whether `folder` has files with MNIST's own names."""
    try:
        return any(key in KEYS for key in sets(folder).get("", {}))
    except OSError:  # there is no such folder, or it is closed to us
        return False


def _choose(found, name):
    """Return name and files of the set called `name`, or of the only one. Raises ValueError where there is none."""
    whole = [each for each, files in found.items() if {*KEYS} <= {*files} or {"csv_train", "csv_test"} <= {*files}]
    chosen = [each for each in whole if each == (name or "")] or (whole if name is None else [])
    if len(chosen) > 1:
        raise ValueError(f"holds several data sets ({', '.join(whole)}); name one of the files of the one you want")
    if not chosen:
        files = found.get(name or "") or next(iter(found.values()), {})
        csv = [f"the file of the {part} images" for part in ("training", "test") if f"csv_{part[:5]}" not in files]
        idx = [stem for stem, key in zip(IDX_FILES, KEYS, strict=True) if key not in files]
        missing = csv if len(csv) == 1 else idx
        raise ValueError(f"lacks {', '.join(missing)}; a data folder holds mnist.npz, the four IDX files (plain or "
                         ".gz), or train.csv and test.csv, or NAME_train.csv and NAME_test.csv")  # fmt: skip
    return chosen[0], found[chosen[0]]


def _read_set(files):
    if not {*KEYS} <= {*files}:
        tables = {part: formats.read_csv(files[f"csv_{part}"]) for part in ("train", "test")}
        return {f"{kind}_{part}": table[:, 0] if kind == "y" else table[:, 1:]
                for part, table in tables.items() for kind in "xy"}  # fmt: skip
    arrays = {}
    for key in KEYS:
        path = files[key]
        arrays[key] = next(iter(formats.load_npz(path).values())) if path.suffix == ".npz" else formats.read_idx(path)
        if key[0] == "y" and arrays[key].ndim == 2 and arrays[key].shape[1] == 8:
            arrays[key] = arrays[key][:, 0]  # QMNIST's other columns tell the writer
    return arrays


def read_npz(path):
    """Return the four arrays in an .npz file by KEYS, also from the usual other names. Pickles are refused unread.

    Raises ValueError for a damaged or foreign file.
    """
    held = formats.load_npz(path)
    arrays = {}
    for name, array in held.items():
        if match := ARRAY.fullmatch(name):
            part, kind = (match[1] or match[4]).lower(), (match[2] or match[3]).lower()
            arrays[f"{'y' if kind[0] in 'ylt' else 'x'}_{part}"] = array
    if len(arrays) < len(KEYS):
        raise ValueError(f"holds the arrays {sorted(held)}, expected {list(KEYS)}")
    return {key: arrays[key] for key in KEYS}


def _tidy(arrays):
    """Return the arrays with images (count, 28, 28) and labels (count,), both uint8. Raises ValueError for others."""
    tidy = {}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.shape[1:] not in ((784,), (28, 28), (28, 28, 1), (1, 28, 28)):
            raise ValueError(f"x_{part} is {x.dtype} {x.shape}, expected uint8 (count, 28, 28)")
        if x.dtype != np.uint8 and (x.dtype.kind not in "iu" or (x.size and not 0 <= x.min() <= x.max() <= 255)):
            raise ValueError(f"x_{part} is {x.dtype}, expected whole numbers from 0 to 255, such as uint8")
        y = y[:, 0] if y.shape == (len(x), 1) else y
        if y.dtype.kind not in "iu" or y.shape != (len(x),) or not len(x):
            raise ValueError(f"y_{part} is {y.dtype} {y.shape}, expected one whole number for each of {len(x)} images")
        if y.min() < 0 or y.max() > 255:
            raise ValueError(f"y_{part} holds labels from {y.min()} to {y.max()}, expected 0 to 255 at most")
        tidy |= {f"x_{part}": x.reshape(-1, 28, 28).astype(np.uint8, "C", copy=False), f"y_{part}": y.astype(np.uint8)}
    return tidy
