"""Downloads from a small server on the loopback address, which can lie, break off, and lack a file."""

import contextlib
import hashlib
import http.server
import threading

from common import cli, mnist
from common.data import download

import numpy as np
import pytest
from test_readers import IDX_NAMES, write_folder, write_npz


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves http://127.0.0.1:<port>/<manner>/<file> in that manner."""

    def do_GET(self):
        manner, name = self.path.strip("/").split("/")
        self.server.asked.append(self.path)
        if manner == "absent":
            self.send_error(404)
            return
        content = self.server.files[name]
        if manner == "lying":
            content = content[::-1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if manner == "breaking":
            content = content[: len(content) // 2]
        self.wfile.write(content[:1000])
        self.wfile.flush()
        if manner == "stalling":
            self.server.released.wait(120)
        self.wfile.write(content[1000:])

    def handle(self):
        with contextlib.suppress(ConnectionError):  # they have hung up
            super().handle()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(genuine, tmp_path):
    """A server that has those images as an .npz file and as IDX files."""
    folder = write_folder(tmp_path / "served", genuine)
    write_npz(folder / "mnist.npz", genuine)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    web.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    web.asked, web.released = [], threading.Event()
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.released.set()
    web.shutdown()
    web.server_close()


NPZ, IDX = ("mnist.npz",), tuple(IDX_NAMES.values())


@pytest.fixture
def offer(server, monkeypatch):
    """Return a function that sets where MNIST is to be had: (manner of the server, names of its files), ..."""

    def offer(*sources):
        servers = []
        for manner, names in sources:
            hashes = {name: f"sha256:{hashlib.sha256(server.files[name]).hexdigest()}" for name in names}
            servers.append((f"http://127.0.0.1:{server.server_port}/{manner}/", hashes))
        monkeypatch.setattr(download, "MNIST", servers)

    return offer


def in_data_folder():
    return sorted(path.name for path in download.DATA_DIR.iterdir())


def assert_is_genuine(digits, genuine):
    assert digits.name == "MNIST"
    for key, array in genuine.items():
        np.testing.assert_array_equal(getattr(digits, key), array)


@pytest.mark.parametrize("names", [NPZ, IDX])
def test_a_download_lands_in_the_data_folder_and_is_not_repeated(names, server, offer, genuine, capsys):
    offer(("good", names))
    assert_is_genuine(mnist.load_mnist(), genuine)
    assert "Downloading MNIST" in capsys.readouterr().err
    assert in_data_folder() == sorted(names)
    asked = len(server.asked)
    assert_is_genuine(mnist.load_mnist("mnist"), genuine)
    assert len(server.asked) == asked == len(names)


@pytest.mark.parametrize("manner", ["absent", "lying", "breaking", "stalling"])
def test_the_next_server_takes_over_from_one_that_fails(manner, offer, genuine, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (5, 1) if manner == "stalling" else (60, 60))
    offer((manner, NPZ), (manner, IDX), ("good", IDX))
    assert_is_genuine(mnist.load_mnist("mnist"), genuine)
    assert in_data_folder() == sorted(IDX)


def test_when_every_server_fails_nothing_is_left_behind_and_each_is_named(offer, capsys):
    offer(("absent", NPZ), ("lying", IDX), ("breaking", NPZ))
    assert mnist.load_mnist().name == mnist.STAND_IN
    assert in_data_folder() == []
    warning = capsys.readouterr().err
    assert all(f"/{manner}/: " in warning for manner in ("absent", "lying", "breaking"))
    with pytest.raises(cli.UserError, match=r"absent/mnist\.npz elsewhere"):
        mnist.load_mnist("mnist")


def test_a_file_that_is_already_there_is_never_overwritten(server, offer, genuine):
    download.DATA_DIR.mkdir()
    mine = download.DATA_DIR / IDX_NAMES["y_test"]
    mine.write_bytes(b"mine")
    offer(("good", IDX))
    with pytest.raises(cli.UserError, match="incomplete"):
        mnist.load_mnist("mnist")
    other = write_npz(download.DATA_DIR / "mnist.npz", {**genuine, "x_test": genuine["x_test"] ^ 1}).read_bytes()
    offer(("good", NPZ))
    with pytest.raises(cli.UserError, match="MNIST"):
        mnist.load_mnist("mnist")
    assert (mine.read_bytes(), (download.DATA_DIR / "mnist.npz").read_bytes()) == (b"mine", other)


def test_several_runs_at_once_do_not_hurt_one_another(offer, genuine):
    offer(("lying", NPZ), ("good", IDX))
    found = []
    threads = [threading.Thread(target=lambda: found.append(mnist.load_mnist("mnist"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for digits in found:
        assert_is_genuine(digits, genuine)
    assert in_data_folder() == sorted(IDX)
