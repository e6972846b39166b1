import gzip
import os
import struct
import sys
import zipfile
from pathlib import Path

from common import formats

import numpy as np
import pytest
from sklearn.datasets import load_digits

IDX_NAMES = dict(zip(formats.KEYS, (f"{stem}.gz" for stem in formats.IDX_FILES), strict=True))


def some_digits(rng):
    """Return ten random images, six to train on, with the labels 0 to 9."""
    images, labels = rng.integers(256, size=(10, 28, 28), dtype=np.uint8), np.arange(10, dtype=np.uint8)
    return {"x_train": images[:6], "y_train": labels[:6], "x_test": images[6:], "y_test": labels[6:]}


def write_npz(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_folder(folder, arrays, zipped=True):
    """Write the four IDX files as the mirrors have them."""
    folder.mkdir(parents=True)
    for key, array in arrays.items():
        path = folder / IDX_NAMES[key]
        if zipped:
            path.write_bytes(gzip.compress(idx(array)))
        else:
            path.with_suffix("").write_bytes(idx(array))
    return folder


@pytest.fixture
def arrays(rng):
    return some_digits(rng)


def test_an_npz_gives_its_arrays_by_their_names(arrays, tmp_path):
    read = formats.load_npz(write_npz(tmp_path / "some.npz", arrays))
    assert list(read) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array, strict=True)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_unread(arrays, tmp_path):
    sprung = tmp_path / "sprung"
    path = write_npz(tmp_path / "trap.npz", {**arrays, "y_test": np.array([Trap(sprung)] * 4, dtype=object)})
    with pytest.raises(ValueError, match=r"pickled Python objects.*refused unread"):
        formats.load_npz(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cut", "not an .npz file, or a damaged one"),
        ("empty", "not an .npz file, or a damaged one"),
        ("text", "not an .npz file, or a damaged one"),
        ("array", "not an .npz file, or a damaged one"),
        ("flipped", "a damaged .npz file"),
        ("strange", "a damaged .npz file"),
    ],
)
def test_a_damaged_npz_is_told_from_one_that_can_be_read(content, message, arrays, tmp_path):
    whole = write_npz(tmp_path / "whole.npz", arrays).read_bytes()
    np.save(tmp_path / "array.npy", arrays["x_test"])
    with zipfile.ZipFile(tmp_path / "strange.npz", "w") as file:
        file.writestr("x_train.npy", b"\x93NUMPY\x01\x00 no header")
    (tmp_path / "bad.npz").write_bytes({
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"<html>404</html>",
        "flipped": whole[:200] + bytes(byte ^ 255 for byte in whole[200:260]) + whole[260:],
        "array": (tmp_path / "array.npy").read_bytes(),
        "strange": (tmp_path / "strange.npz").read_bytes(),
    }[content])  # fmt: skip
    with pytest.raises(ValueError, match=message):
        formats.load_npz(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("half", "x is damaged"),
        ("half, not zipped", "x was cut short, or goes on after its 3,136 bytes"),
        ("longer", "x was cut short, or goes on after its 3,136 bytes"),
        ("header only", "x was cut short"),
        ("html", "x is not an IDX file"),
        ("nothing", "x is not an IDX file"),
    ],
)
def test_a_damaged_idx_file_is_named(content, message, arrays, tmp_path):
    whole = idx(arrays["x_test"])
    zipped = gzip.compress(whole)
    (tmp_path / "x").write_bytes({
        "half": zipped[: len(zipped) // 2],
        "half, not zipped": whole[: len(whole) // 2],
        "longer": whole + b"more",
        "header only": gzip.compress(whole[:16]),
        "html": b"<html>404</html>",
        "nothing": gzip.compress(b""),
    }[content])  # fmt: skip
    with pytest.raises(ValueError, match=message):
        formats.read_idx(tmp_path / "x")


def test_whether_an_idx_file_is_zipped_shows_in_it_and_not_in_its_name(arrays, tmp_path):
    (tmp_path / "plain.gz").write_bytes(idx(arrays["x_test"]))
    (tmp_path / "zipped").write_bytes(gzip.compress(idx(arrays["x_test"])))
    for name in ("plain.gz", "zipped"):
        np.testing.assert_array_equal(formats.read_idx(tmp_path / name), arrays["x_test"], strict=True)


@pytest.mark.parametrize(("kind", "dtype"), [(9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
def test_an_idx_file_may_hold_numbers_of_another_type(kind, dtype, tmp_path):
    numbers = np.array([[1, -2], [3, 4]], f">{dtype}")
    (tmp_path / "x").write_bytes(bytes((0, 0, kind, 2)) + struct.pack(">2I", 2, 2) + numbers.tobytes())
    np.testing.assert_array_equal(formats.read_idx(tmp_path / "x"), numbers)


READERS = {"npz": formats.load_npz, "idx": formats.read_idx, "csv": formats.read_csv}


@pytest.mark.skipif(sys.platform == "win32", reason="has neither")
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_pipe_and_a_device_are_refused_unread(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match=f"{path.name} is neither a file nor a folder"):
            read(path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_file_too_large_for_memory_is_refused_unread(read, tmp_path):
    most = formats.LARGEST_CSV if read is formats.read_csv else formats.LARGEST
    with (tmp_path / "large").open("wb") as file:
        file.truncate(most + 1)
    with pytest.raises(ValueError, match=f"large has more than {most >> 20} MB"):
        read(tmp_path / "large")


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "LARGEST", 2**20)
    write_npz(tmp_path / "bomb.npz", {"x_train": np.zeros(2**20 + 1, np.uint8)})
    (tmp_path / "idx.gz").write_bytes(gzip.compress(bytes((0, 0, 8, 1)) + struct.pack(">I", 2**20 + 1) + bytes(2**21)))
    for read, name in ((formats.load_npz, "bomb.npz"), (formats.read_idx, "idx.gz")):
        with pytest.raises(ValueError, match="holds more than 1 MB"):
            read(tmp_path / name)
    (tmp_path / "idx.gz").write_bytes(gzip.compress(bytes((0, 0, 8, 1)) + struct.pack(">I", 9) + bytes(2**21)))
    with pytest.raises(ValueError, match="goes on after its 9 bytes"):
        formats.read_idx(tmp_path / "idx.gz")


NAMED = "label," + ",".join(f"pixel{number}" for number in range(784)) + "\n"


@pytest.mark.parametrize("header", ["", "\ufeff", NAMED])
def test_a_csv_has_a_label_and_784_pixels_a_line(header, tmp_path):
    (tmp_path / "some.csv").write_text(f"{header}7,{','.join(['0'] * 783)},255\n", encoding="utf-8")
    (row,) = formats.read_csv(tmp_path / "some.csv")
    assert (row.dtype, row[0], row[1], row[784]) == (np.uint8, 7, 0, 255)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["0"] * 784, "some.csv has 784 columns: no labels; expected the label first"),
        (["0"] * 10, "some.csv has 10 columns: not a label and 784 pixels"),
        (["0"] * 784 + ["256"], "some.csv: could not convert string '256' to uint8"),
        (["0"] * 784 + ["0.5"], "some.csv: could not convert string '0.5' to uint8"),
    ],
)
def test_another_csv_is_refused_by_what_it_holds(line, message, tmp_path):
    (tmp_path / "some.csv").write_text(",".join(line) + "\n")
    with pytest.raises(ValueError, match=message):
        formats.read_csv(tmp_path / "some.csv")


def test_the_bundled_digits_have_the_geometry_of_mnist():
    digits = formats.bundled_digits()
    assert list(digits) == list(formats.KEYS)
    x_train = digits["x_train"]
    assert (x_train.shape, digits["x_test"].shape) == ((1437, 28, 28), (360, 28, 28))
    assert x_train.dtype == digits["y_train"].dtype == np.uint8
    assert set(digits["y_train"]) == set(digits["y_test"]) == set(range(10))
    for border in (x_train[:, :4], x_train[:, 24:], x_train[:, :, :4], x_train[:, :, 24:]):
        assert not border.any()
    assert x_train.max() == 255
    assert 0.1 < x_train.mean() / 255 < 0.2  # MNIST: 0.13
    bundled = load_digits()
    assert np.array_equal(np.concatenate([digits["y_train"], digits["y_test"]]), bundled.target)
    squares = np.concatenate([x_train, digits["x_test"]])[:, 4:24, 4:24]
    greys = squares.reshape(-1, 400).mean(axis=1) / 255 * 16
    assert np.allclose(greys, bundled.images.reshape(-1, 64).mean(axis=1), atol=0.15)  # enlarged, and rounded
