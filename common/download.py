"""Fetch the files of a data set: mirrors in their order, one deadline, hashes, and a move into place at the end."""

import sys
import tempfile
import threading
import time
from pathlib import Path

from common import formats

CONNECT_SECONDS = 5  # to wait for a server's answer
STALL_SECONDS = 20  # without a byte before a transfer is given up
PROBE_SECONDS = 8  # for all servers together, name look-ups included, to say that they are there

OFFICIAL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_MD5 = ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c")  # fmt: skip
_IDX = {f"{stem}.gz": f"md5:{md5}" for stem, md5 in zip(formats.IDX_FILES, _MD5, strict=True)}
MNIST = (  # mirrors, tried in this order
    (OFFICIAL, {"mnist.npz": "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"}),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX),
    ("https://storage.googleapis.com/cvdf-datasets/mnist/", _IDX),
)


def fetch(what, sources, folder, pack):
    """Put one file of the data set `what` into `folder`; return a line for each source that failed.

    Each source is a folder's address and {file name: published hash}. A transfer goes into a temporary folder inside
    `folder`, where `pack(temporary)` makes the one file out of what came and returns its path; only then is it moved
    into place, so runs side by side do not hurt one another. A file that is already there stays as it is.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    print(f"No {what} here yet: looking for a server that has it ...", file=sys.stderr)
    failed = []
    answers = _probe([base + next(iter(files)) for base, files in sources])
    for (base, files), refusal in zip(sources, answers, strict=True):
        host = base.split("://")[1].rstrip("/")
        if refusal:
            failed.append(f"{host}: {refusal}")
            continue
        print(f"Downloading {what} from {host} ...", file=sys.stderr)
        downloader = pooch.HTTPDownloader(timeout=(CONNECT_SECONDS, STALL_SECONDS), progressbar=sys.stderr.isatty())
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
                for name, known_hash in files.items():
                    pooch.retrieve(base + name, known_hash, fname=name, path=temporary, downloader=downloader)
                finished = pack(Path(temporary))
                if not (folder / finished.name).exists():
                    finished.replace(folder / finished.name)
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
