import gzip
import re
import struct
import zipfile
from pathlib import Path

from common import formats

import numpy as np
import pytest

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


def assert_same(read, arrays):
    assert list(read) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array, strict=True)


def test_an_npz_gives_the_four_arrays_and_nothing_else(arrays, tmp_path):
    assert_same(formats.read_npz(write_npz(tmp_path / "some.npz", arrays | {"notes": np.zeros(3)})), arrays)


@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_may_be_zipped_and_spelled_with_a_dot(zipped, spelling, arrays, tmp_path):
    folder = write_folder(tmp_path / "idx", arrays, zipped)
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("-idx", spelling))
    assert_same(formats.read_folder(folder), arrays)


def test_an_npz_that_lacks_an_array_says_what_it_holds(arrays, tmp_path):
    del arrays["y_test"]
    path = write_npz(tmp_path / "bad.npz", arrays)
    with pytest.raises(ValueError, match=r"holds the arrays \['x_test', 'x_train', 'y_train'\]"):
        formats.read_npz(path)


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
        formats.read_npz(path)
    assert not sprung.exists()


@pytest.mark.parametrize("content", ["cut", "empty", "text", "flipped", "array"])
def test_a_damaged_npz_is_told_from_one_that_can_be_read(content, arrays, tmp_path):
    whole = write_npz(tmp_path / "whole.npz", arrays).read_bytes()
    np.save(tmp_path / "array.npy", arrays["x_test"])
    (tmp_path / "bad.npz").write_bytes({
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"<html>404</html>",
        "flipped": whole[:200] + bytes(byte ^ 255 for byte in whole[200:260]) + whole[260:],
        "array": (tmp_path / "array.npy").read_bytes(),
    }[content])  # fmt: skip
    with pytest.raises(ValueError, match=r"not an \.npz file, or a damaged one"):
        formats.read_npz(tmp_path / "bad.npz")


def test_an_npz_of_bytes_that_are_no_arrays_gives_no_numbers(arrays, tmp_path):
    with zipfile.ZipFile(tmp_path / "strange.npz", "w") as file:
        for key in arrays:
            file.writestr(f"{key}.npy", "no array")
    assert formats.read_npz(tmp_path / "strange.npz")["x_train"].dtype.kind == "S"


@pytest.mark.parametrize("content", ["half", "header only", "not gzip", "nothing", "floats"])
def test_a_damaged_idx_file_is_named(content, arrays, tmp_path):
    folder = write_folder(tmp_path / "idx", arrays)
    path = folder / IDX_NAMES["x_test"]
    whole = path.read_bytes()
    path.write_bytes({
        "half": whole[: len(whole) // 2],
        "header only": gzip.compress(idx(arrays["x_test"])[:16]),
        "not gzip": b"<html>404</html>",
        "nothing": gzip.compress(b""),
        "floats": gzip.compress(b"\0\0\x0d" + idx(arrays["x_test"])[3:]),
    }[content])  # fmt: skip
    with pytest.raises(ValueError, match=re.escape(IDX_NAMES["x_test"])):
        formats.read_folder(folder)


def test_a_folder_with_three_of_four_files_says_which_is_missing(arrays, tmp_path):
    folder = write_folder(tmp_path / "idx", arrays)
    (folder / IDX_NAMES["y_train"]).unlink()
    with pytest.raises(ValueError, match=r"lacks train-labels-idx1-ubyte \(plain or .gz\)"):
        formats.read_folder(folder)


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
