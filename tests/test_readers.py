"""The files of MNIST and its look-alikes, as their makers publish them."""

import gzip
import struct

from common.data import readers

import numpy as np
import pytest
from sklearn.datasets import load_digits

IDX_NAMES = {"x_train": "train-images-idx3-ubyte.gz", "y_train": "train-labels-idx1-ubyte.gz",
             "x_test": "t10k-images-idx3-ubyte.gz", "y_test": "t10k-labels-idx1-ubyte.gz"}


def write_npz(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_folder(folder, arrays, prefix="", zipped=True):
    """Write the four IDX files as the mirrors have them."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, array in arrays.items():
        path = folder / (prefix + IDX_NAMES[key])
        if zipped:
            path.write_bytes(gzip.compress(idx(array)))
        else:
            path.with_suffix("").write_bytes(idx(array))
    return folder


def write_csv(folder, arrays, name="{}.csv"):
    folder.mkdir()
    for part in ("train", "test"):
        rows = np.column_stack([arrays[f"y_{part}"], arrays[f"x_{part}"].reshape(-1, 784)])
        np.savetxt(folder / name.format(part), rows, "%d", ",")
    return folder


def sideways(arrays):
    return arrays | {key: np.ascontiguousarray(arrays[key].swapaxes(1, 2)) for key in ("x_train", "x_test")}


def assert_read(path, arrays, name):
    """Assert that `path` gives these arrays, to the bit and the type, and this name."""
    read, found = readers.read(path)
    assert found == name
    assert sorted(read) == sorted(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array, strict=True)
        assert read[key].flags.c_contiguous


@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_may_be_zipped_and_spelled_with_a_dot(zipped, spelling, arrays, tmp_path):
    folder = write_folder(tmp_path / "some", arrays, zipped=zipped)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", spelling).removesuffix(".gz"))  # the content tells
    assert_read(folder, arrays, "some")
    assert_read(next(folder.iterdir()), arrays, "some")  # one file stands for its set


@pytest.mark.parametrize(("name", "first", "classes"), [("letters", 1, 26), ("balanced", 0, 47), ("byclass", 0, 62)])
def test_emnists_images_are_set_upright_and_its_letters_counted_from_0(name, first, classes, arrays, tmp_path):
    arrays |= {"y_train": np.uint8([0, 1, 2, 3, 4, classes - 1])}
    published = arrays | {key: arrays[key] + np.uint8(first) for key in ("y_train", "y_test")}
    write_folder(tmp_path / "idx", sideways(published), f"emnist-{name}-")
    for path in (tmp_path / "idx").iterdir():
        path.rename(path.with_name(path.name.replace("t10k", "test")))
    assert_read(tmp_path / "idx", arrays, f"emnist-{name}")
    assert_read(write_csv(tmp_path / "csv", sideways(published), f"emnist-{name}-{{}}.csv"), arrays, f"emnist-{name}")


def test_of_several_sets_in_a_folder_one_is_named_by_a_file_of_it(arrays, tmp_path):
    for name in ("digits", "mnist"):
        write_folder(tmp_path, sideways(arrays), f"emnist-{name}-")
    with pytest.raises(ValueError, match="emnist-digits, emnist-mnist"):
        readers.read(tmp_path)
    assert_read(tmp_path / "emnist-mnist-train-labels-idx1-ubyte.gz", arrays, "emnist-mnist")


@pytest.mark.parametrize("header", ["", "\ufeff", "label" + ",pixel" * 784 + "\n"])
@pytest.mark.parametrize(("name", "called"), [("fashion-mnist_{}.csv", "fashion-mnist"), ("{}.csv", "csv")])
def test_csv_files_have_the_label_first(name, called, header, arrays, tmp_path):
    folder = write_csv(tmp_path / "csv", arrays, name)
    for path in folder.iterdir():
        path.write_text(header + path.read_text(), encoding="utf-8")
    for given in (folder, folder / name.format("train")):
        assert_read(given, arrays, called)


@pytest.mark.parametrize("names", ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels",
                                   "images_train labels_train images_test labels_test"])
def test_an_npz_may_have_the_usual_other_names(names, arrays, tmp_path):
    renamed = dict(zip(names.split(), (arrays[key] for key in readers.KEYS), strict=True))
    assert_read(write_npz(tmp_path / "some.npz", renamed), arrays, "some")


@pytest.mark.parametrize("shape", [(-1, 784), (-1, 28, 28, 1)])
def test_images_in_another_shape_and_type_and_labels_in_a_column_are_the_same(shape, arrays, tmp_path):
    other = {key: array.reshape(shape).astype(np.int64) if key[0] == "x" else array[:, None].astype(np.int32)
             for key, array in arrays.items()}
    assert_read(write_npz(tmp_path / "some.npz", other), arrays, "some")


def test_a_path_and_a_folder_without_data_are_not_found(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError):
            readers.read(path)


def test_a_set_that_lacks_a_part_names_what_is_there(arrays, tmp_path):
    lacking = {key: array for key, array in arrays.items() if key != "y_test"}
    with pytest.raises(ValueError, match=r"\['x_test', 'x_train', 'y_train'\]"):
        readers.read(write_npz(tmp_path / "bad.npz", lacking))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte"):
        readers.read(write_folder(tmp_path / "idx", lacking))
    (write_csv(tmp_path / "csv", arrays, "mnist_{}.csv") / "mnist_test.csv").unlink()
    with pytest.raises(ValueError, match=r"mnist_train\.csv"):
        readers.read(tmp_path / "csv")


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "page"])
@pytest.mark.parametrize("form", ["npz", "idx", "idx.gz"])
def test_a_damaged_file_is_told_from_one_that_can_be_read(form, damage, arrays, tmp_path):
    if form == "npz":
        given = path = write_npz(tmp_path / "some.npz", arrays)
    else:
        given = write_folder(tmp_path, arrays, zipped=form == "idx.gz")
        path = given / IDX_NAMES["x_test"].removesuffix(".gz" if form == "idx" else "")
    whole = path.read_bytes()
    path.write_bytes({
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:12] + bytes(byte ^ 255 for byte in whole[12:60]) + whole[60:],
        "empty": b"",
        "page": b"<html>404</html>",
    }[damage])
    with pytest.raises(readers.DAMAGED):
        readers.read(given)


@pytest.mark.parametrize(
    ("line", "message"),
    [(["0"] * 784, "784 columns"), (["0"] * 10, "10 columns"), (["0"] * 784 + ["256"], "256"),
     (["0"] * 784 + ["0.5"], r"0\.5")],
)
def test_another_csv_is_refused_by_what_it_holds(line, message, tmp_path):
    (tmp_path / "some.csv").write_text(",".join(line) + "\n")
    with pytest.raises(ValueError, match=message):
        readers.read_csv(tmp_path / "some.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": np.zeros((4, 32, 32), np.uint8)}, r"x_test .*\(4, 32, 32\)"),
        ({"x_train": np.zeros((6, 28, 28))}, "x_train .*float64"),
        ({"x_train": np.full((6, 28, 28), 256)}, "x_train .* 255"),
        ({"y_train": np.zeros(5, np.uint8)}, "y_train .* 6 "),
        ({"y_test": np.eye(4, 10, dtype=np.uint8)}, "y_test .* 4 "),
        ({"y_test": np.array([{}, 1, 2, 3], dtype=object)}, "pickle"),
        ({"y_train": np.arange(251, 257)}, "y_train .* 255"),
        ({"y_train": np.arange(-1, 5)}, "y_train .* 0 "),
        ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)}, "."),
    ],
)
def test_other_arrays_are_refused_by_what_is_wrong_with_them(changes, message, arrays, tmp_path):
    with pytest.raises(ValueError, match=message):
        readers.read(write_npz(tmp_path / "bad.npz", arrays | changes))


def test_the_bundled_digits_have_the_geometry_of_mnist():
    digits = readers.bundled_digits()
    assert list(digits) == list(readers.KEYS)
    x_train = digits["x_train"]
    assert (x_train.shape, digits["x_test"].shape) == ((1437, 28, 28), (360, 28, 28))
    assert x_train.dtype == digits["y_train"].dtype == np.uint8
    for border in (x_train[:, :4], x_train[:, 24:], x_train[:, :, :4], x_train[:, :, 24:]):
        assert not border.any()
    assert x_train.max() == 255
    assert 0.1 < x_train.mean() / 255 < 0.2  # MNIST: 0.13
    bundled = load_digits()
    assert np.array_equal(np.concatenate([digits["y_train"], digits["y_test"]]), bundled.target)
    squares = np.concatenate([x_train, digits["x_test"]])[:, 4:24, 4:24]
    greys = squares.reshape(-1, 400).mean(axis=1) / 255 * 16
    assert np.allclose(greys, bundled.images.reshape(-1, 64).mean(axis=1), atol=0.15)  # enlarged, and rounded
