import gzip
import os
import re
import struct

from common import archives, formats

import numpy as np
import pytest
from test_formats import IDX_NAMES, idx, some_digits, write_folder, write_npz


@pytest.fixture
def arrays(rng):
    return some_digits(rng)


def assert_same(read, arrays):
    assert sorted(read) == sorted(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array, strict=True)


def write_csv(folder, arrays, name="{}.csv"):
    for part in ("train", "test"):
        rows = np.column_stack([arrays[f"y_{part}"], arrays[f"x_{part}"].reshape(-1, 784)])
        np.savetxt(folder / name.format(part), rows, "%d", ",")


# The archives as they are found


@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_may_be_zipped_and_spelled_with_a_dot(zipped, spelling, arrays, tmp_path):
    folder = write_folder(tmp_path / "some", arrays, zipped)
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("-idx", spelling))
    read, name = archives.read(folder)
    assert_same(read, arrays)
    assert name == "some"


def test_one_file_stands_for_its_set(arrays, tmp_path):
    folder = write_folder(tmp_path / "some", arrays)
    assert_same(archives.read(folder / IDX_NAMES["x_test"])[0], arrays)


def test_kaggle_puts_each_file_into_a_folder_of_its_name(arrays, tmp_path):
    folder = write_folder(tmp_path / "kaggle", arrays, zipped=False)
    for path in list(folder.iterdir()):
        path.rename(folder / "moved")
        path.mkdir()
        (folder / "moved").rename(path / path.name)
    read, name = archives.read(folder)
    assert_same(read, arrays)
    assert name == "kaggle"
    file = folder / formats.IDX_FILES[0] / formats.IDX_FILES[0]
    assert_same(archives.read(file)[0], arrays)


@pytest.mark.parametrize("given", [".", "FashionMNIST", "FashionMNIST/raw"])
def test_torchvisions_set_has_the_name_of_its_folder(given, arrays, tmp_path):
    write_folder(tmp_path / "FashionMNIST" / "raw", arrays)
    read, name = archives.read(tmp_path / given)
    assert_same(read, arrays)
    assert name == "FashionMNIST"


def test_qmnist_tells_more_of_an_image_than_its_label(arrays, tmp_path):
    for key, array in arrays.items():
        part = "train" if key.endswith("train") else "test"
        if key[0] == "x":
            content, name = idx(array), f"qmnist-{part}-images-idx3-ubyte.gz"
        else:
            rows = np.column_stack([array, *[np.full(len(array), 1000)] * 7]).astype(">i4")
            content = bytes((0, 0, 12, 2)) + struct.pack(">2I", *rows.shape) + rows.tobytes()
            name = f"qmnist-{part}-labels-idx2-int.gz"
        (tmp_path / name).write_bytes(gzip.compress(content))
    read, name = archives.read(tmp_path)
    assert_same(read, arrays)
    assert name == "qmnist"


def test_kmnist_has_four_npz_files(arrays, tmp_path):
    for key, name in zip(formats.KEYS, ("train-imgs", "train-labels", "test-imgs", "test-labels"), strict=True):
        np.savez_compressed(tmp_path / f"kmnist-{name}.npz", arrays[key])
    for given in (tmp_path, tmp_path / "kmnist-test-imgs.npz"):
        read, name = archives.read(given)
        assert_same(read, arrays)
        assert name == "kmnist"


def write_emnist(folder, arrays, name):
    for key, path in IDX_NAMES.items():
        array = arrays[key].swapaxes(1, 2) if key[0] == "x" else arrays[key]
        content = idx(np.ascontiguousarray(array))
        (folder / f"emnist-{name}-{path.replace('t10k', 'test')}").write_bytes(gzip.compress(content))


@pytest.mark.parametrize(("name", "first", "classes"), [("letters", 1, 26), ("balanced", 0, 47), ("byclass", 0, 62)])
def test_emnists_images_are_set_upright_and_its_letters_counted_from_0(name, first, classes, arrays, tmp_path):
    arrays |= {"y_train": np.uint8([0, 1, 2, 3, 4, classes - 1])}
    write_emnist(tmp_path, arrays | {key: arrays[key] + np.uint8(first) for key in ("y_train", "y_test")}, name)
    read, found = archives.read(tmp_path)
    assert_same(read, arrays)
    assert found == f"emnist-{name}"


def test_labels_from_1_are_counted_from_0_in_letters_only(arrays, tmp_path):
    some = {**arrays, "y_train": np.uint8([1, 2, 3, 4, 5, 11]), "y_test": np.uint8([1, 2, 3, 4])}
    assert_same(archives.read(write_npz(tmp_path / "some.npz", some))[0], some)


def test_what_macos_packs_beside_a_file_is_no_set_of_its_own(arrays, tmp_path):
    write_emnist(tmp_path, arrays, "digits")
    for path in list(tmp_path.iterdir()):
        (tmp_path / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert_same(archives.read(tmp_path)[0], arrays)


def test_of_several_sets_in_a_folder_one_is_named_by_a_file_of_it(arrays, tmp_path):
    write_emnist(tmp_path, arrays, "digits")
    write_emnist(tmp_path, arrays, "mnist")
    with pytest.raises(ValueError, match=r"holds several data sets \(emnist-digits, emnist-mnist\); name one of"):
        archives.read(tmp_path)
    read, name = archives.read(tmp_path / "emnist-mnist-train-labels-idx1-ubyte.gz")
    assert_same(read, arrays)
    assert name == "emnist-mnist"
    for path in write_folder(tmp_path / "more", arrays).iterdir():
        path.rename(tmp_path / path.name)
    assert archives.read(tmp_path)[1] == tmp_path.name, "files without a name of their own come first"


@pytest.mark.parametrize(("name", "called"), [("fashion-mnist_{}.csv", "fashion-mnist"), ("{}.csv", "csv")])
def test_csv_files_have_the_label_first(name, called, arrays, tmp_path):
    (tmp_path / "csv").mkdir()
    write_csv(tmp_path / "csv", arrays, name)
    for given in (tmp_path / "csv", tmp_path / "csv" / name.format("train")):
        read, found = archives.read(given)
        assert_same(read, arrays)
        assert all(array.flags.c_contiguous for array in read.values())
        assert found == called


def test_emnists_csv_lies_on_its_side_as_well(arrays, tmp_path):
    sideways = {key: arrays[key].swapaxes(1, 2) for key in ("x_train", "x_test")}
    write_csv(tmp_path, arrays | sideways, "emnist-balanced-{}.csv")
    assert_same(archives.read(tmp_path)[0], arrays)


@pytest.mark.parametrize("names", ["x_train y_train x_test y_test", "X_train Y_train X_test Y_test",
                                   "train_images train_labels test_images test_labels",
                                   "training_images training_labels test_images test_labels",
                                   "train_x train_y test_x test_y", "data_train targets_train data_test targets_test",
                                   "trainImages trainLabels testImages testLabels"])  # fmt: skip
def test_an_npz_may_have_the_usual_other_names(names, arrays, tmp_path):
    renamed = dict(zip(names.split(), (arrays[key] for key in formats.KEYS), strict=True))
    read, name = archives.read(write_npz(tmp_path / "some.npz", renamed | {"val_images": np.zeros(3)}))
    assert_same(read, arrays)
    assert name == "some"


# What is missing


def test_an_npz_that_lacks_an_array_says_what_it_holds(arrays, tmp_path):
    del arrays["y_test"]
    path = write_npz(tmp_path / "bad.npz", arrays)
    with pytest.raises(ValueError, match=r"holds the arrays \['x_test', 'x_train', 'y_train'\]"):
        archives.read(path)


def test_a_folder_with_three_of_four_files_says_which_is_missing(arrays, tmp_path):
    folder = write_folder(tmp_path / "idx", arrays)
    (folder / IDX_NAMES["y_train"]).unlink()
    with pytest.raises(ValueError, match=r"^lacks train-labels-idx1-ubyte; "):
        archives.read(folder)


def test_a_csv_without_its_other_half_says_which_is_missing(arrays, tmp_path):
    write_csv(tmp_path, arrays, "mnist_{}.csv")
    (tmp_path / "mnist_test.csv").unlink()
    for given in (tmp_path, tmp_path / "mnist_train.csv"):
        with pytest.raises(ValueError, match=r"^lacks the file of the test images; "):
            archives.read(given)


def test_an_empty_folder_lacks_all_four(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"lacks {', '.join(formats.IDX_FILES)}; a data folder holds")):
        archives.read(tmp_path)


# One form for all


@pytest.mark.parametrize("shape", [(-1, 784), (-1, 28, 28, 1), (-1, 1, 28, 28)])
def test_images_in_another_shape_and_type_and_labels_in_a_column_are_the_same(shape, arrays, tmp_path):
    other = {key: array.reshape(shape).astype(np.int64) if key[0] == "x" else array[:, None]
             for key, array in arrays.items()}  # fmt: skip
    assert_same(archives.read(write_npz(tmp_path / "some.npz", other))[0], arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": np.zeros((4, 32, 32), np.uint8)}, r"x_test is uint8 \(4, 32, 32\), expected"),
        ({"x_test": np.zeros((4, 28, 28, 3), np.uint8)}, r"x_test is uint8 \(4, 28, 28, 3\), expected"),
        ({"x_train": np.zeros((6, 28, 28))}, "x_train is float64, expected whole numbers from 0 to 255"),
        ({"x_train": np.full((6, 28, 28), 256)}, "x_train is int64, expected whole numbers from 0 to 255"),
        ({"y_train": np.zeros(5, np.uint8)}, "expected one whole number for each of 6 images"),
        ({"y_test": np.eye(4, 10, dtype=np.uint8)}, "expected one whole number for each of 4 images"),
        ({"y_test": np.zeros(4)}, "y_test is float64"),
        ({"y_train": np.arange(251, 257)}, "labels from 251 to 256"),
        ({"y_train": np.arange(-1, 5)}, "labels from -1 to 4"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)}, "each of 0 images"),
        ({"y_test": np.array([{}, 1, 2, 3], dtype=object)}, "pickled Python objects"),
    ],
)
def test_other_arrays_are_refused_by_what_is_wrong_with_them(changes, message, arrays, tmp_path):
    with pytest.raises(ValueError, match=message):
        archives.read(write_npz(tmp_path / "bad.npz", {**arrays, **changes}))


def test_labels_of_any_whole_number_type_become_bytes(arrays, tmp_path):
    letters = {**arrays, "y_train": np.arange(20, 26)}
    read = archives.read(write_npz(tmp_path / "letters.npz", letters))[0]
    np.testing.assert_array_equal(read["y_train"], letters["y_train"].astype(np.uint8), strict=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has none")
def test_a_pipe_is_refused_whatever_its_name(tmp_path):
    for name in ("some.npz", "train-images-idx3-ubyte", "mnist_train.csv"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} is neither a file nor a folder"):
            archives.read(tmp_path / name)
