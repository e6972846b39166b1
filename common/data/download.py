"""Find a data set: in the project's data folder, in Keras's cache, on the network; else take a stand-in, and say so."""

import os
import sys
import tempfile
from pathlib import Path

from common import cli

DATA_DIR = cli.PROJECT / "data"
TIMEOUT = 5, 20  # seconds: for a server's answer, and without a byte before a transfer is given up
# The data sets, each from a list of servers: address, {file: its hash, or None where `read` knows the content}.
_NPZ = {"mnist.npz": "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"}
_IDX = {
    "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
MNIST = [
    ("https://storage.googleapis.com/tensorflow/tf-keras-datasets/", _NPZ),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX),
    ("https://storage.googleapis.com/cvdf-datasets/mnist/", _IDX),
]
REVIEWS = [("https://www.cs.cornell.edu/people/pabo/movie-review-data/", {"rt-polaritydata.tar.gz": None})]


def search(what, read, servers, cached, stand_in=None):
    """Return the data set called `what`: from DATA_DIR, from `cached` in Keras's cache, or downloaded into DATA_DIR.

    `read(path)` returns a data set with its true `name`, or raises FileNotFoundError where `path` holds none. Where
    `what` is not to be had, return `stand_in()` after one warning; then DATA_DIR may also hold another set.
    Raises cli.UserError without a stand-in, and for damaged files in DATA_DIR.
    """
    cached = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "datasets", cached)
    tried, first = [], "".join(address + next(iter(files)) for address, files in servers[:1])
    for path in (DATA_DIR, cached):
        try:
            found = read(path)
            if found.name == what or (stand_in and path == DATA_DIR):
                return found
            tried.append(f"{cli.relative(path)}: not {what}")
            servers = servers if path == cached else []  # beside another set in DATA_DIR a download would not be found
        except (FileNotFoundError, cli.UserError) as error:
            if path == DATA_DIR and isinstance(error, cli.UserError):
                raise
            tried.append(str(error))
    for address, files in servers:
        try:
            _download(what, read, address, files)
            return read(DATA_DIR)
        except Exception as error:  # requests, urllib3 and pooch raise many types
            certificate = "; name your proxy's certificate in REQUESTS_CA_BUNDLE" if "SSL" in str(error) else ""
            tried.append(f"{address}: {type(error).__name__}{certificate}")
    advice = f"To get it, fetch {first} elsewhere and put it into {DATA_DIR}, or name your copy with --data PATH."
    if stand_in is None:
        raise cli.UserError(f"no {what}: {'; '.join(tried)}. {advice}")
    found = stand_in()
    cli.tell("\n  ".join([f"warning: no {what} here, so this run uses {found.name}. Tried:", *tried, advice]))
    return found


def _download(what, read, address, files):
    """Put the `files` at `address` into DATA_DIR, all of them or none."""
    import pooch

    cli.tell(f"Downloading {what} from {address} ...")
    pooch.get_logger().setLevel("ERROR")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    DATA_DIR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DATA_DIR) as folder:
        for name, known_hash in files.items():
            pooch.retrieve(address + name, known_hash, name, folder, downloader=downloader)
        if read(Path(folder)).name != what:
            raise ValueError("another data set")
        for name in files:
            Path(folder, name).replace(DATA_DIR / name)
