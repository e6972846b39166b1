import gzip
import hashlib
import http.server
import json
import os
import re
import socket
import struct
import threading
import time
import zipfile
from pathlib import Path

from common import cli, mnist

import numpy as np
import pytest

IDX_NAMES = dict(zip(mnist.MNIST_SHA256, mnist.IDX_FILES, strict=True))  # x_train: train-images-idx3-ubyte.gz, ...


@pytest.fixture
def arrays():
    """Ten random images, six to train on."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(10, 28, 28), dtype=np.uint8), np.arange(10, dtype=np.uint8)
    return {"x_train": images[:6], "y_train": labels[:6], "x_test": images[6:], "y_test": labels[6:]}


@pytest.fixture
def genuine(arrays, monkeypatch):
    """The same images, passed off as MNIST."""
    hashes = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    monkeypatch.setattr(mnist, "MNIST_SHA256", hashes)
    return arrays


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_folder(folder, arrays, zipped=True):
    folder.mkdir(parents=True)
    for key, array in arrays.items():
        path = folder / IDX_NAMES[key]
        if zipped:
            path.write_bytes(gzip.compress(idx(array)))
        else:
            path.with_suffix("").write_bytes(idx(array))
    return folder


def write_npz(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def assert_same(digits, arrays):
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(digits, key), array)


# Reshaping


def test_each_network_sees_the_same_pixels_in_its_own_shape():
    images = np.arange(2 * 784).reshape(2, 28, 28).astype(np.uint8)
    images[1, 27, 27] = 255
    for reshape, shape in (
        (mnist.as_vectors, (2, 784)),
        (mnist.as_images, (2, 28, 28, 1)),
        (mnist.as_sequences, (2, 28, 28)),
    ):
        seen = reshape(images)
        assert seen.shape == shape
        assert seen.dtype == np.float32
        assert seen.min() == 0
        assert seen.max() == 1
        np.testing.assert_array_equal(np.rint(seen.ravel() * 255), images.ravel())


# Reading


def test_npz_plain_idx_and_gzipped_idx_give_the_same_arrays(arrays, tmp_path):
    sources = [
        write_npz(tmp_path / "some.npz", arrays),
        write_folder(tmp_path / "plain", arrays, zipped=False),
        write_folder(tmp_path / "zipped", arrays),
    ]
    for source in sources:
        digits = mnist.load_mnist(str(source))
        assert_same(digits, arrays)
        assert digits.y_train.dtype == np.uint8


def test_idx_files_spelled_with_a_dot_are_found_too(arrays, tmp_path):
    folder = write_folder(tmp_path / "dots", arrays, zipped=False)
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("-idx", ".idx"))
    assert_same(mnist.load_mnist(str(folder)), arrays)


def test_limit_cuts_the_training_images_only(arrays, tmp_path):
    digits = mnist.load_mnist(str(write_npz(tmp_path / "some.npz", arrays)), limit=4)
    assert (len(digits.x_train), len(digits.y_train), len(digits.x_test)) == (4, 4, 4)


def test_data_is_called_mnist_only_when_the_hashes_say_so(genuine, tmp_path):
    assert mnist.load_mnist(str(write_npz(tmp_path / "anything.npz", genuine))).name == "MNIST"
    forged = {**genuine, "x_test": genuine["x_test"] ^ 1}
    assert mnist.load_mnist(str(write_npz(tmp_path / "mnist.npz", forged))).name == "mnist (not the original)"
    assert mnist.load_mnist(str(write_npz(tmp_path / "fashion.npz", forged))).name == "fashion"
    assert mnist.load_mnist(str(write_folder(tmp_path / "kuzushiji", forged))).name == "kuzushiji"


BAD_ARRAYS = {
    "missing key": ({"y_test": None}, r"holds the arrays \['x_test', 'x_train', 'y_train'\]"),
    "flat images": ({"x_train": np.zeros((6, 784), np.uint8)}, r"x_train is uint8 \(6, 784\), expected"),
    "other size": ({"x_test": np.zeros((4, 32, 32), np.uint8)}, r"x_test is uint8 \(4, 32, 32\), expected"),
    "float images": ({"x_train": np.zeros((6, 28, 28))}, "x_train is float64"),
    "counts differ": ({"y_train": np.zeros(5, np.uint8)}, "expected one whole number for each of 6 images"),
    "one-hot labels": ({"y_test": np.eye(4, 10, dtype=np.uint8)}, "expected one whole number for each of 4 images"),
    "float labels": ({"y_test": np.zeros(4)}, "y_test is float64"),
    "label 10": ({"y_train": np.arange(5, 11)}, "labels from 5 to 10"),
    "label -1": ({"y_train": np.arange(-1, 5)}, "labels from -1 to 4"),
    "no images": ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)}, "each of 0 images"),
    "objects": ({"y_test": np.array([{}, 1, 2, 3], dtype=object)}, "pickled Python objects"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_an_npz_with_other_arrays_is_refused_by_what_is_wrong(case, arrays, tmp_path):
    changes, message = BAD_ARRAYS[case]
    changed = {key: array for key, array in {**arrays, **changes}.items() if array is not None}
    path = write_npz(tmp_path / "bad.npz", changed)
    with pytest.raises(cli.UserError, match=message) as caught:
        mnist.load_mnist(str(path))
    assert "bad.npz" in str(caught.value)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_unread(arrays, tmp_path):
    sprung = tmp_path / "sprung"
    path = write_npz(tmp_path / "trap.npz", {**arrays, "y_test": np.array([Trap(sprung)] * 4, dtype=object)})
    with pytest.raises(cli.UserError, match="refused unread"):
        mnist.load_mnist(str(path))
    assert not sprung.exists()


def test_damaged_files_are_named(arrays, tmp_path):
    whole = write_npz(tmp_path / "whole.npz", arrays).read_bytes()
    damaged = {
        "cut.npz": whole[: len(whole) // 2],
        "empty.npz": b"",
        "text.npz": b"<html>404</html>",
        "flipped.npz": whole[:200] + bytes(byte ^ 255 for byte in whole[200:260]) + whole[260:],
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(cli.UserError, match=rf"{name}: not an .npz file, or a damaged one"):
            mnist.load_mnist(str(tmp_path / name))
    with zipfile.ZipFile(tmp_path / "strange.npz", "w") as file:
        for key in arrays:
            file.writestr(f"{key}.npy", "no array")
    with pytest.raises(cli.UserError, match=r"strange.npz: x_train is \|?S8 \(\)"):
        mnist.load_mnist(str(tmp_path / "strange.npz"))
    np.save(tmp_path / "array.npy", arrays["x_test"])
    with pytest.raises(cli.UserError, match=r"array.npy: not an .npz file"):
        mnist.load_mnist(str(tmp_path / "array.npy"))


@pytest.mark.parametrize("content", ["half", "header only", "not gzip", "labels in place of images"])
def test_a_damaged_idx_file_is_named(content, arrays, tmp_path):
    folder = write_folder(tmp_path / "idx", arrays)
    path = folder / IDX_NAMES["x_test"]
    whole = path.read_bytes()
    path.write_bytes({
        "half": whole[: len(whole) // 2],
        "header only": gzip.compress(idx(arrays["x_test"])[:16]),
        "not gzip": b"<html>404</html>",
        "labels in place of images": gzip.compress(idx(arrays["y_test"])),
    }[content])
    with pytest.raises(cli.UserError, match=r"t10k-images-idx3-ubyte.gz|x_test is uint8 \(4,\)"):
        mnist.load_mnist(str(folder))


def test_a_folder_with_three_of_four_files_says_which_is_missing(arrays, tmp_path):
    folder = write_folder(tmp_path / "idx", arrays)
    (folder / IDX_NAMES["y_train"]).unlink()
    with pytest.raises(cli.UserError, match=r"idx: lacks train-labels-idx1-ubyte \(plain or .gz\)"):
        mnist.load_mnist(str(folder))


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(cli.UserError, match="nowhere: "):
        mnist.load_mnist(str(tmp_path / "nowhere"))
    with pytest.raises(cli.UserError, match="n" * 300):
        mnist.load_mnist(str(tmp_path / ("n" * 300)))


# The search


def test_the_stand_in_has_the_geometry_of_mnist():
    digits = mnist.load_mnist("digits")
    assert digits.name == "scikit-learn digits (not MNIST)"
    assert (digits.x_train.shape, digits.x_test.shape) == ((1437, 28, 28), (360, 28, 28))
    assert digits.x_train.dtype == digits.y_train.dtype == np.uint8
    assert set(digits.y_train) == set(digits.y_test) == set(range(10))
    for border in (digits.x_train[:, :4], digits.x_train[:, 24:], digits.x_train[:, :, :4], digits.x_train[:, :, 24:]):
        assert not border.any()
    assert digits.x_train.max() == 255
    assert 0.1 < digits.x_train.mean() / 255 < 0.2  # MNIST: 0.13


def test_without_a_network_the_stand_in_takes_over_with_one_warning(capsys, monkeypatch):
    monkeypatch.setattr(mnist, "SOURCES", (("http://127.0.0.1:1/", {"mnist.npz": None}),))
    begun = time.monotonic()
    digits = mnist.load_mnist()
    assert time.monotonic() - begun < 10
    warning = capsys.readouterr().err
    assert digits.name in warning
    assert warning.count("warning:") == 1
    for tried in (str(mnist.DATA_DIR), os.environ["KERAS_HOME"], "127.0.0.1:1: ", f"{mnist.OFFICIAL}mnist.npz"):
        assert tried in warning


def test_the_word_mnist_forbids_the_stand_in(arrays):
    with pytest.raises(cli.UserError, match=r"no MNIST: .*--data PATH"):
        mnist.load_mnist("mnist")
    write_npz(mnist.DATA_DIR / "mnist.npz", arrays)  # some other data under that name
    with pytest.raises(cli.UserError, match="not MNIST"):
        mnist.load_mnist("mnist")
    assert mnist.load_mnist().name == "mnist (not the original)"


def test_the_word_mnist_looks_past_other_data_into_the_keras_cache(arrays, monkeypatch):
    other = {**arrays, "x_test": arrays["x_test"] ^ 1}
    hashes = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    monkeypatch.setattr(mnist, "MNIST_SHA256", hashes)
    write_npz(mnist.DATA_DIR / "mnist.npz", other)
    cache = write_npz(Path(os.environ["KERAS_HOME"], "datasets", "mnist.npz"), arrays)
    assert mnist.load_mnist("mnist").origin == str(cache)


def test_the_projects_data_folder_comes_before_the_keras_cache(genuine):
    cache = write_npz(Path(os.environ["KERAS_HOME"], "datasets", "mnist.npz"), genuine)
    assert mnist.load_mnist().origin == str(cache)
    write_folder(mnist.DATA_DIR, genuine)
    assert mnist.load_mnist("mnist").origin == str(mnist.DATA_DIR)
    write_npz(mnist.DATA_DIR / "mnist.npz", genuine)
    assert mnist.load_mnist().origin == str(mnist.DATA_DIR / "mnist.npz")


def test_a_damaged_file_in_the_data_folder_is_reported_and_left_alone(server, monkeypatch):
    monkeypatch.setattr(mnist, "SOURCES", (source(server, "good"),))
    mnist.DATA_DIR.mkdir()
    (mnist.DATA_DIR / "mnist.npz").write_bytes(b"mine")
    with pytest.raises(cli.UserError, match="damaged"):
        mnist.load_mnist()
    assert (mnist.DATA_DIR / "mnist.npz").read_bytes() == b"mine"


def test_a_keras_cache_with_other_data_is_passed_over_and_left_alone(arrays, capsys):
    cache = write_npz(Path(os.environ["KERAS_HOME"], "datasets", "mnist.npz"), arrays)
    before = cache.read_bytes()
    assert mnist.load_mnist().name == mnist.STAND_IN
    assert f"{cache}: not MNIST" in capsys.readouterr().err
    assert cache.read_bytes() == before


# The download, from a server on the loopback address that can stall, lie and break off


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        manner, name = self.path.strip("/").split("/")
        server.asked.append(self.path)
        content = server.files.get(name)
        if manner == "absent" or content is None:
            self.send_error(404)
            return
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
            server.released.wait(30)
        self.wfile.write(content[1000:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(genuine, tmp_path):
    """A server of the genuine files: http://127.0.0.1:<port>/<manner>/<file>."""
    folder = write_folder(tmp_path / "served", genuine)
    write_npz(folder / "mnist.npz", genuine)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    web.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    web.asked, web.released = [], threading.Event()
    web.hashes = {name: "sha256:" + hashlib.sha256(content).hexdigest() for name, content in web.files.items()}
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.released.set()
    web.shutdown()
    web.server_close()


def source(server, manner, names=("mnist.npz",)):
    return f"http://127.0.0.1:{server.server_port}/{manner}/", {name: server.hashes[name] for name in names}


def test_a_download_lands_in_the_data_folder_and_is_not_repeated(server, monkeypatch, genuine, capsys):
    monkeypatch.setattr(mnist, "SOURCES", (source(server, "good"),))
    digits = mnist.load_mnist()
    assert_same(digits, genuine)
    assert digits.name == "MNIST"
    assert "Downloading MNIST" in capsys.readouterr().err
    asked = len(server.asked)
    assert mnist.load_mnist("mnist").origin == str(mnist.DATA_DIR / "mnist.npz")
    assert len(server.asked) == asked
    assert [path.name for path in mnist.DATA_DIR.iterdir()] == ["mnist.npz"]


def test_a_mirrors_four_files_become_one_npz(server, monkeypatch, genuine):
    monkeypatch.setattr(mnist, "SOURCES", (source(server, "good", IDX_NAMES.values()),))
    assert_same(mnist.load_mnist("mnist"), genuine)
    assert [path.name for path in mnist.DATA_DIR.iterdir()] == ["mnist.npz"]


@pytest.mark.parametrize(
    ("manner", "reason"),
    [("absent", "404"), ("lying", "hash"), ("breaking", "IncompleteRead|broken"), ("stalling", "timed out")],
)
def test_the_next_source_takes_over_from_one_that_fails(manner, reason, server, monkeypatch, tmp_path):
    monkeypatch.setattr(mnist, "STALL_SECONDS", 0.5)
    folder = tmp_path / "data"
    failed = mnist.download(folder, (source(server, manner), source(server, "good", IDX_NAMES.values())))
    assert len(failed) == 1
    assert re.search(reason, failed[0]), failed
    assert mnist.read(folder).name == "MNIST"
    assert [path.name for path in folder.iterdir()] == ["mnist.npz"]


def test_when_every_source_fails_nothing_is_left_behind(server, monkeypatch, tmp_path):
    monkeypatch.setattr(mnist, "STALL_SECONDS", 0.5)
    manners = ("absent", "lying", "breaking", "stalling")
    failed = mnist.download(tmp_path / "data", [source(server, manner) for manner in manners])
    assert len(failed) == len(manners)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_file_that_is_already_there_is_never_overwritten(server, tmp_path):
    mine = tmp_path / "data" / "mnist.npz"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    mnist.download(tmp_path / "data", (source(server, "good"),))
    assert mine.read_bytes() == b"mine"


def test_four_runs_at_once_do_not_hurt_one_another(server, tmp_path, genuine):
    sources = (source(server, "lying"), source(server, "good", IDX_NAMES.values()))
    failed = []
    threads = [
        threading.Thread(target=lambda: failed.append(mnist.download(tmp_path / "data", sources))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(lines) for lines in failed] == [1, 1, 1, 1]
    assert_same(mnist.read(tmp_path / "data"), genuine)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mnist.npz"]


def test_servers_that_swallow_packets_share_one_deadline(server, monkeypatch, tmp_path):
    monkeypatch.setattr(mnist, "PROBE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        base = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        begun = time.monotonic()
        failed = mnist.download(tmp_path / "data", [(base, {"mnist.npz": None})] * 3)
        assert time.monotonic() - begun < 3
        assert failed == [f"{base[7:-1]}: no answer within 0.5 s"] * 3


# The sampler


def test_the_sampler_counts_labels_and_draws_what_each_network_sees(capsys):
    result = mnist.main(["--data", "digits"])
    digits = mnist.load_mnist("digits")
    printed = capsys.readouterr().out
    assert f"Train labels: {{0: {np.sum(digits.y_train == 0)}, 1: {np.sum(digits.y_train == 1)}," in printed
    assert f"9: {np.sum(digits.y_test == 9)}}}" in printed
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written["test_labels"]["9"] == np.sum(digits.y_test == 9)
    assert {path.name for path in result["folder"].glob("*.png")} == {"samples.png", "three_views.png"}


@pytest.mark.slow
def test_the_label_counts_are_the_documents(capsys, tmp_path):
    mnist.main(["--data", "mnist", "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.splitlines()[1:3] == [  # document 003, Listing 3.6
        "Train labels: {0: 5923, 1: 6742, 2: 5958, 3: 6131, 4: 5842, 5: 5421, 6: 5918, 7: 6265, 8: 5851, 9: 5949}",
        "Test labels: {0: 980, 1: 1135, 2: 1032, 3: 1010, 4: 982, 5: 892, 6: 958, 7: 1028, 8: 974, 9: 1009}",
    ]
