import contextlib
import gzip
import hashlib
import http.server
import os
import re
import socket
import threading

from common import cli, download, mnist

import numpy as np
import pytest
from test_formats import IDX_NAMES, some_digits, write_folder, write_npz


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves http://127.0.0.1:<port>/<manner>/<file> in that manner: it can stall, lie and break off."""

    def do_GET(self):
        server = self.server
        manner, name = self.path.strip("/").split("/")
        server.asked.append(self.path)
        if manner == "absent":
            self.send_error(404)
            return
        if manner == "redirecting":
            self.send_response(302)
            self.send_header("Location", server.location)
            self.end_headers()
            return
        if manner == "together" and len(server.asked) <= server.guests.parties:
            server.guests.wait(120)
        content = server.files[name]
        if manner == "lying":
            content = content[::-1]
        self.send_response(200)
        if manner == "packing":
            content = gzip.compress(content + bytes(10**7))
            self.send_header("Content-Encoding", "gzip")
        if manner not in ("dripping", "endless"):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        while manner == "dripping" and not server.released.wait(0.1):
            self.wfile.write(b"x")
        while manner == "endless" and not server.released.is_set():
            self.wfile.write(bytes(2**16))
        if manner == "breaking":
            content = content[: len(content) // 2]
        self.wfile.write(content[:1000])
        self.wfile.flush()
        if manner == "stalling":
            server.released.wait(120)
        self.wfile.write(content[1000:])

    def handle(self):
        with contextlib.suppress(ConnectionError):  # they have hung up
            super().handle()

    def log_message(self, *args):
        pass


@pytest.fixture
def genuine(rng, monkeypatch):
    """Ten random images, passed off as MNIST."""
    arrays = some_digits(rng)
    hashes = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    monkeypatch.setattr(mnist, "MNIST_SHA256", hashes)
    return arrays


@pytest.fixture
def server(genuine, tmp_path):
    """A server that has those images as an .npz file and as IDX files."""
    folder = write_folder(tmp_path / "served", genuine)
    write_npz(folder / "mnist.npz", genuine)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    web.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    web.asked, web.released, web.guests = [], threading.Event(), threading.Barrier(3)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.released.set()
    web.shutdown()
    web.server_close()


def source(server, manner, names=("mnist.npz",)):
    known = {name: ("sha256:" + hashlib.sha256(server.files[name]).hexdigest(), len(server.files[name]))
             for name in names}  # fmt: skip
    return f"http://127.0.0.1:{server.server_port}/{manner}/", known


def fetch(folder, *sources):
    return download.fetch("MNIST", sources, folder, mnist._pack)


def assert_only_mnist_npz(folder, arrays):
    assert [path.name for path in folder.iterdir()] == ["mnist.npz"]
    digits = mnist.read(folder)
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(digits, key), array)


def test_a_download_lands_in_the_data_folder_and_is_not_repeated(server, monkeypatch, genuine, capsys):
    monkeypatch.setattr(download, "MNIST", (source(server, "good"),))
    assert mnist.load_mnist().name == "MNIST"
    assert "Downloading MNIST" in capsys.readouterr().err
    assert_only_mnist_npz(mnist.DATA_DIR, genuine)
    asked = len(server.asked)
    assert mnist.load_mnist("mnist").origin == cli.relative(mnist.DATA_DIR / "mnist.npz")
    assert len(server.asked) == asked


def test_a_mirrors_four_files_become_one_npz(server, monkeypatch, genuine):
    monkeypatch.setattr(download, "MNIST", (source(server, "good", IDX_NAMES.values()),))
    assert mnist.load_mnist("mnist").name == "MNIST"
    assert_only_mnist_npz(mnist.DATA_DIR, genuine)


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("absent", "404"),
        ("lying", "hash"),
        ("breaking", "hash|IncompleteRead|broken"),
        ("stalling", "timed out"),
        ("dripping", "not all there within"),
        ("endless", "it sends more than the file's [0-9,]+ bytes"),
        ("packing", "it sends more than the file's|hash"),
    ],
)
def test_the_next_source_takes_over_from_one_that_fails(manner, reason, server, monkeypatch, tmp_path, genuine):
    if manner == "stalling":
        monkeypatch.setattr(download, "STALL_SECONDS", 3)
    if manner == "dripping":
        monkeypatch.setattr(download, "TRANSFER_SECONDS", 6)
    failed = fetch(tmp_path / "data", source(server, manner), source(server, "good", IDX_NAMES.values()))
    assert len(failed) == 1
    assert re.search(reason, failed[0]), failed
    assert_only_mnist_npz(tmp_path / "data", genuine)


ASTRAY = ("http://[::1", "http://:99999/", "http://\x7f", "//", "http://.", "ftp://a/b", "/redirecting/again")


@pytest.mark.parametrize("location", ASTRAY)
def test_a_server_that_sends_one_astray_is_passed_over(location, server, tmp_path, genuine, capfd):
    server.location = location
    (failed,) = fetch(tmp_path / "data", source(server, "redirecting"), source(server, "good"))
    assert "no answer" not in failed
    assert "Traceback" not in capfd.readouterr().err
    assert_only_mnist_npz(tmp_path / "data", genuine)


def test_what_a_killed_download_left_is_removed_after_a_day(server, tmp_path):
    old, new = tmp_path / "data" / ".download-old", tmp_path / "data" / ".download-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "mnist.npz").write_bytes(b"a part")
    os.utime(old, (0, 0))
    fetch(tmp_path / "data", source(server, "good"))
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".download-new", "mnist.npz"]


@pytest.mark.parametrize("kind", ["a file", "a closed folder"])
def test_a_folder_that_is_closed_to_us_is_said_before_anybody_is_asked(kind, server, tmp_path):
    data = tmp_path / "data"
    if kind == "a file":
        data.write_text("mine")
    else:
        data.mkdir(mode=0o500)
        if os.access(data, os.W_OK):
            pytest.skip("an administrator may write anywhere")
    (failed,) = fetch(data, source(server, "good"))
    assert failed.startswith(f"a download into {data}: ")
    assert server.asked == []


def test_when_every_source_fails_nothing_is_left_behind(server, tmp_path):
    manners = ("absent", "lying", "breaking")
    assert len(fetch(tmp_path / "data", *(source(server, manner) for manner in manners))) == len(manners)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_file_that_is_already_there_is_never_overwritten(server, tmp_path):
    mine = tmp_path / "data" / "mnist.npz"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    fetch(tmp_path / "data", source(server, "good"))
    assert mine.read_bytes() == b"mine"


def test_four_runs_at_once_do_not_hurt_one_another(server, tmp_path, genuine):
    sources = source(server, "lying"), source(server, "good", IDX_NAMES.values())
    failed = []
    threads = [threading.Thread(target=lambda: failed.append(fetch(tmp_path / "data", *sources))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(lines) for lines in failed] == [1, 1, 1, 1]
    assert_only_mnist_npz(tmp_path / "data", genuine)


def test_all_servers_are_asked_at_once(server, monkeypatch, tmp_path, genuine):
    for seconds in ("CONNECT_SECONDS", "PROBE_SECONDS"):
        monkeypatch.setattr(download, seconds, 120)
    assert fetch(tmp_path / "data", *[source(server, "together")] * 3) == []  # it answers none before all have asked
    assert_only_mnist_npz(tmp_path / "data", genuine)


def test_servers_that_swallow_packets_are_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "CONNECT_SECONDS", 120)
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        base = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        failed = fetch(tmp_path / "data", *[(base, {"mnist.npz": (None, 9)})] * 3)
    assert failed == [f"{base[7:-1]}: no answer within 0.5 s"] * 3
