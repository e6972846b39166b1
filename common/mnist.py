"""Find, check and reshape the MNIST images; `python -m common.mnist` shows them.

Source: document 003, Listing 3.6 (the sampler) and Figure 3.3 (one picture as MLP, CNN and RNN see it).
"""

import gzip
import hashlib
import math
import os
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from common import cli

import numpy as np

NUM_CLASSES = 10  # digits 0 to 9; counting the labels at hand, as the listing does, goes wrong on a handful of images
DATA_DIR = Path(__file__).resolve().parent.parent / "data"
STAND_IN = "scikit-learn digits (not MNIST)"

CONNECT_SECONDS = 5  # to wait for a server's answer
STALL_SECONDS = 20  # without a byte before a transfer is given up
PROBE_SECONDS = 8  # for all servers together, name look-ups included, to say that they are there

OFFICIAL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
# Each source: the folder's address and the files in it with their published hashes, tried in this order.
IDX_FILES = {
    "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
SOURCES = (
    (OFFICIAL, {"mnist.npz": "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"}),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", IDX_FILES),
    ("https://storage.googleapis.com/cvdf-datasets/mnist/", IDX_FILES),
)

# SHA-256 of each array's bytes: the same in whatever file they come, so they tell MNIST from its look-alikes.
MNIST_SHA256 = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}


class Digits(NamedTuple):
    """Images (count, 28, 28) uint8, 0 black to 255 white, and labels (count,) uint8, 0 to 9; their name and origin."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str
    origin: str


def load_mnist(source=None, limit=None):
    """Return the images as `Digits`, the training set cut to its first `limit` images.

    `source` is an .npz file, a folder with the four IDX files, "digits" (scikit-learn's bundled stand-in), "mnist"
    (no stand-in) or None: the project's data folder, the Keras cache, a download, and with no network the stand-in.
    The name is "MNIST" only where the arrays' hashes say so, else that of the file or folder.

    Raises cli.UserError for data that is missing, damaged or of another kind.
    """
    if source == "digits":
        digits = _stand_in()
    elif source is None or source == "mnist":
        digits = _search(stand_in_allowed=source is None)
    else:
        if not os.path.lexists(source):
            raise cli.UserError(f"--data {source}: not there; it takes a path, or the word digits or mnist")
        digits = read(Path(source))
    return digits._replace(x_train=digits.x_train[:limit], y_train=digits.y_train[:limit])


def num_train(count, validation):
    """Return how many of `count` training images are left when Keras holds out the last `validation` share of them.

    Raises cli.UserError where that is none or all of them.
    """
    left = int(count * (1 - validation))
    if validation and not 0 < left < count:
        raise cli.UserError(f"--validation {validation} does not split {count} training images into two parts")
    return left


def as_vectors(images):
    """Return uint8 (count, 28, 28) as float32 (count, 784) in [0, 1]: what an MLP sees, rows end to end."""
    return np.divide(np.reshape(images, [-1, 28 * 28]), 255, dtype="float32")


def as_images(images):
    """Return uint8 (count, 28, 28) as float32 (count, 28, 28, 1) in [0, 1]: what a CNN sees, one channel of grey."""
    return np.divide(np.reshape(images, [-1, 28, 28, 1]), 255, dtype="float32")


def as_sequences(images):
    """Return uint8 (count, 28, 28) as float32 (count, 28, 28) in [0, 1]: what an RNN sees, 28 steps of 28 pixels."""
    return np.divide(np.reshape(images, [-1, 28, 28]), 255, dtype="float32")


def read(path):
    """Return the data set in an .npz file, or in a folder that holds mnist.npz or the four IDX files.

    Raises cli.UserError, naming the file and what is wrong with it. Pickled objects are refused unread.
    """
    try:
        path.stat()
        if path.is_dir() and (path / "mnist.npz").exists():
            path = path / "mnist.npz"
        arrays = _read_folder(path) if path.is_dir() else _read_npz(path)
        _check(arrays)
    except (OSError, ValueError) as error:
        raise cli.UserError(f"{cli.relative(path)}: {getattr(error, 'strerror', None) or error}") from None
    return Digits(**arrays, name=_name(arrays, path), origin=cli.relative(path))


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as npz:
            arrays = {key: np.asarray(npz[key]) for key in MNIST_SHA256 if key in npz}
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen types for a damaged or foreign file
        if "Object arrays" in str(error):
            raise ValueError("holds pickled Python objects, which can run code when opened; refused unread") from None
        why = "" if "pickle" in str(error) else f" ({error})"  # NumPy suspects a pickle in whatever it does not know
        raise ValueError(f"not an .npz file, or a damaged one{why}; IDX files are given by their folder") from None
    if len(arrays) < len(MNIST_SHA256):
        raise ValueError(f"holds the arrays {sorted(arrays)}, expected {list(MNIST_SHA256)}")
    return arrays


def _read_folder(folder):
    found = {}
    for name in IDX_FILES:
        stem = name.removesuffix(".gz")
        spellings = [stem, name, stem.replace("-idx", ".idx"), name.replace("-idx", ".idx")]
        found[stem] = next((folder / spelling for spelling in spellings if (folder / spelling).exists()), None)
    missing = [stem for stem, path in found.items() if path is None]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)} (plain or .gz); a data folder holds all four IDX files")
    return dict(zip(("x_train", "y_train", "x_test", "y_test"), map(_read_idx, found.values()), strict=True))


def _read_idx(path):
    """Return an IDX file as a uint8 array. In it: two zeros, 8 for uint8, number of axes, lengths, bytes."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged ({error}); get it anew") from None
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    shape = [int.from_bytes(content[4 * axis : 4 * axis + 4]) for axis in range(1, axes + 1)]
    data = content[4 + 4 * axes :]
    if not axes or len(data) != math.prod(shape):
        raise ValueError(f"{path.name} is not an IDX file of bytes, or was cut short; get it anew")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check(arrays):
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype != np.uint8 or x.ndim != 3 or x.shape[1:] != (28, 28):
            raise ValueError(f"x_{part} is {x.dtype} {x.shape}, expected uint8 (count, 28, 28)")
        if not np.issubdtype(y.dtype, np.integer) or y.shape != (len(x),) or not len(x):
            raise ValueError(f"y_{part} is {y.dtype} {y.shape}, expected one whole number for each of {len(x)} images")
        if y.min() < 0 or y.max() >= NUM_CLASSES:
            raise ValueError(f"y_{part} holds labels from {y.min()} to {y.max()}, expected 0 to 9")
        arrays[f"y_{part}"] = y.astype(np.uint8)


def _name(arrays, path):
    if all(hashlib.sha256(np.ascontiguousarray(arrays[key])).hexdigest() == MNIST_SHA256[key] for key in arrays):
        return "MNIST"
    path = path.resolve()
    name = path.name if path.is_dir() else path.stem
    return f"{name} (not the original)" if name.lower() == "mnist" else name


def _search(stand_in_allowed):
    cache = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "datasets", "mnist.npz")
    tried = []
    if any(DATA_DIR.glob("mnist.npz")) or any(DATA_DIR.glob("*-ubyte*")):
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
    if not (DATA_DIR / "mnist.npz").exists():
        tried += download(DATA_DIR, SOURCES)
        if (DATA_DIR / "mnist.npz").exists():
            return read(DATA_DIR)
    help_text = (
        f"To get MNIST, fetch {OFFICIAL}mnist.npz on a machine that can and put it into {DATA_DIR}, "
        "or name your copy with --data PATH."
    )
    if not stand_in_allowed:
        raise cli.UserError(f"no MNIST: {'; '.join(tried)}. {help_text}")
    print(
        f"warning: no MNIST here, so this run uses {STAND_IN}.",
        *(f"  tried {line}" for line in tried),
        f"  {help_text}",
        sep="\n",
        file=sys.stderr,
    )
    return _stand_in()


def _stand_in():
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
    return Digits(images[:train], labels[:train], images[train:], labels[train:], STAND_IN, "scikit-learn")


def download(folder, sources):
    """Fetch MNIST into `folder`/mnist.npz from the first source that works; return one line for each that did not.

    A transfer goes into a temporary folder, its hash is checked, and only a finished file is moved into place, so runs
    side by side do not hurt one another. A file that is already there stays as it is.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    print("No MNIST here yet: looking for a server that has it ...", file=sys.stderr)
    failed = []
    answers = _probe([base + next(iter(files)) for base, files in sources])
    for (base, files), refusal in zip(sources, answers, strict=True):
        host = base.split("://")[1].rstrip("/")
        if refusal:
            failed.append(f"{host}: {refusal}")
            continue
        print(f"Downloading MNIST (11 MB) from {host} ...", file=sys.stderr)
        fetch = pooch.HTTPDownloader(timeout=(CONNECT_SECONDS, STALL_SECONDS), progressbar=sys.stderr.isatty())
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
                for name, known_hash in files.items():
                    pooch.retrieve(base + name, known_hash, fname=name, path=temporary, downloader=fetch)
                finished = Path(temporary, "mnist.npz")
                if not finished.exists():
                    np.savez_compressed(finished, **_read_folder(Path(temporary)))
                if not (folder / "mnist.npz").exists():
                    finished.replace(folder / "mnist.npz")
            return failed
        except (requests.RequestException, OSError, ValueError) as error:
            failed.append(f"{host}: {_reason(error)}")
    return failed


def _probe(urls):
    """Return for each address None if its server has it, else why not. All are asked at once, under one deadline.

    The deadline is for networks that swallow packets: a name look-up has no time-out of its own, and a connection is
    tried at each of a name's addresses in turn.
    """
    import requests

    answers = [f"no answer within {PROBE_SECONDS} s"] * len(urls)

    def ask(index, url):
        try:
            with requests.get(url, stream=True, timeout=CONNECT_SECONDS) as response:
                response.raise_for_status()
            answers[index] = None
        except requests.RequestException as error:
            answers[index] = _reason(error)

    threads = [threading.Thread(target=ask, args=question, daemon=True) for question in enumerate(urls)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return list(answers)


def _reason(error):
    while error.__context__:  # requests wraps urllib3, which wraps what really happened
        error = error.__context__
    text = " ".join(str(error).split()) or type(error).__name__
    if "CERTIFICATE" in text.upper():
        text += "; behind a company's proxy, name its certificate file in REQUESTS_CA_BUNDLE"
    return text


def main(argv=None):
    """Print the label counts and draw 25 random digits, and one digit as each kind of network sees it."""
    from common import plots

    args = cli.base_parser(__doc__).parse_args(argv)
    digits = load_mnist(args.data)
    folder = cli.new_folder("mnist", args.out)
    print(f"{digits.name} from {digits.origin}")
    result = {"script": "mnist", "dataset": digits.name, "seed": args.seed}
    for part, labels in (("Train", digits.y_train), ("Test", digits.y_test)):
        counts = {digit: int(count) for digit, count in enumerate(np.bincount(labels, minlength=NUM_CLASSES))}
        result[f"{part.lower()}_labels"] = counts
        print(f"{part} labels: {counts}")
    cli.write_result(folder, result)
    chosen = np.random.default_rng(args.seed).integers(len(digits.x_train), size=25)
    plots.samples(folder / "samples.png", digits.x_train[chosen], digits.y_train[chosen], digits.name)
    plots.three_views(folder / "three_views.png", digits.x_train[chosen[0]], digits.y_train[chosen[0]], digits.name)
    print(f"Pictures: {cli.relative(folder)}")
    if args.show:
        plots.show(folder)
    return {**result, "folder": folder}


if __name__ == "__main__":
    cli.launch(main)
