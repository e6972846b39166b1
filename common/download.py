"""Fetch the files of a data set: mirrors in their order, one deadline, hashes, and a move into place at the end."""

import shutil
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path

from common import formats, terminal

CONNECT_SECONDS = 5  # to wait for a server's answer
STALL_SECONDS = 20  # without a byte before a transfer is given up
PROBE_SECONDS = 8  # for all servers together, name look-ups included, to say that they are there
TRANSFER_SECONDS = 600  # for all servers, each of which gets an equal part of what is left
LEFT_SECONDS = 24 * 3600  # after which a temporary folder is that of a download which was killed

OFFICIAL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_IDX = {f"{stem}.gz": (f"md5:{md5}", size) for stem, md5, size in zip(
    formats.IDX_FILES,
    ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
     "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
    (9912422, 28881, 1648877, 4542),
    strict=True,
)}  # fmt: skip
_NPZ = {"mnist.npz": ("sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1", 11490434)}
MNIST = (  # mirrors, tried in this order: address, {file: (hash, bytes)}
    (OFFICIAL, _NPZ),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX),
    ("https://storage.googleapis.com/cvdf-datasets/mnist/", _IDX),
)
REVIEWS = (  # the set is known by its sentences, not by the bytes of its archive
    ("https://www.cs.cornell.edu/people/pabo/movie-review-data/", {"rt-polaritydata.tar.gz": (None, 2**20)}),
)


def fetch(what, sources, folder, pack):
    """Put one file of the data set `what` into `folder`; return a line for each source that failed.

    Each source is a folder's address and {file name: (published hash or None, bytes at most)}. A transfer goes into a
    temporary folder inside `folder`, where `pack(temporary)` makes the one file out of what came, or raises an error,
    and returns its path; only then is it moved into place, so runs side by side do not hurt one another. A file that is
    already there stays as it is.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    try:
        folder.mkdir(exist_ok=True)
        for left in folder.glob(".download-*"):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return [f"a download into {folder}: {error.strerror}"]
    terminal.tell(f"No {what} here yet: looking for a server that has it ...")
    failed = []
    answers = _probe([base + next(iter(files)) for base, files in sources])
    end = time.monotonic() + TRANSFER_SECONDS
    for place, ((base, files), refusal) in enumerate(zip(sources, answers, strict=True)):
        host = base.split("://")[1].rstrip("/")
        if refusal:
            failed.append(f"{host}: {refusal}")
            continue
        terminal.tell(f"Downloading {what} from {host} ...")
        seconds = (end - time.monotonic()) / (len(sources) - place)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder, ignore_cleanup_errors=True) as temporary:

            finished = []

            def transfer(base=base, files=files, temporary=temporary, finished=finished):
                for name, (known_hash, size) in files.items():
                    if not Path(temporary).exists():  # it took too long
                        return
                    pooch.retrieve(base + name, known_hash, fname=name, path=temporary, downloader=_Limited(size))
                finished.append(pack(Path(temporary)))

            reason = _within(seconds, transfer, "not all there")
            if reason is None:
                (file,) = finished
                if not (folder / file.name).exists():
                    file.replace(folder / file.name)
                return failed
            failed.append(f"{host}: {reason}")
    return failed


class _Limited:
    """A downloader for pooch that takes `size` bytes at most, as they come: packed ones are not unpacked."""

    def __init__(self, size):
        self.size = size

    def __call__(self, url, path, pooch):
        import requests
        from tqdm import tqdm

        quiet = not terminal.is_watched(sys.stderr)
        with (
            requests.get(url, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)) as response,
            tqdm(total=self.size, unit="B", unit_scale=True, leave=False, disable=quiet) as bar,
            open(path, "wb") as file,
        ):
            response.raise_for_status()
            while chunk := response.raw.read(2**14, decode_content=False):
                bar.update(len(chunk))
                if file.tell() + len(chunk) > self.size:
                    raise ValueError(f"it sends more than the file's {self.size:,} bytes")
                file.write(chunk)


def _within(seconds, work, late):
    """Return None if `work()` is done by then, else why not. It goes on in its thread: a read cannot be cut short."""
    outcome = [f"{late} within {seconds:.3g} s"]

    def run():
        try:
            work()
            outcome[0] = None
        except Exception as error:  # requests and urllib3 have no common one for malformed answers
            outcome[0] = _reason(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0]


def _probe(urls):
    """Return for each address None if its server has it, else why not. All are asked at once, under one deadline.

    The deadline is for networks that swallow packets: a name look-up has no time-out of its own, and a connection is
    tried at each of a name's addresses in turn.
    """
    import requests

    def ask(url):
        with requests.get(url, stream=True, timeout=CONNECT_SECONDS) as response:
            response.raise_for_status()

    with futures.ThreadPoolExecutor(len(urls) or 1) as pool:
        return list(pool.map(lambda url: _within(PROBE_SECONDS, lambda: ask(url), "no answer"), urls))


def _reason(error):
    while error.__context__:  # requests wraps urllib3, which wraps what really happened
        error = error.__context__
    text = " ".join(str(error).split()) or type(error).__name__
    if "CERTIFICATE" in text.upper():
        text += "; behind a company's proxy, name its certificate file in REQUESTS_CA_BUNDLE"
    return text
