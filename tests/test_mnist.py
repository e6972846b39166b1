"""Find, name and reshape the images."""

import os
from pathlib import Path

from common import cli, mnist
from common.data import download

import numpy as np
import pytest
from test_readers import write_folder, write_npz


def keras_cache():
    return Path(os.environ["KERAS_HOME"], "datasets", "mnist.npz")

RESHAPED = {mnist.as_vectors: (2, 784), mnist.as_images: (2, 28, 28, 1), mnist.as_sequences: (2, 28, 28)}


@pytest.mark.parametrize("reshape", RESHAPED)
def test_each_network_sees_the_same_pixels_in_its_own_shape(reshape):
    images = np.arange(2 * 784).reshape(2, 28, 28).astype(np.uint8)
    images[1, 27, 27] = 255
    seen = reshape(images)
    assert seen.shape == RESHAPED[reshape]
    assert seen.dtype == np.float32
    assert (seen.min(), seen.max()) == (0, 1)
    np.testing.assert_array_equal(np.rint(seen.ravel() * 255), images.ravel())


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 28, 28), "float32"), ((2, 28, 28), "int64"), ((28, 28), "uint8"), ((2, 784), "uint8"), ((784, 28), "uint8")],
)
def test_images_of_another_kind_are_refused_and_not_mangled(shape, dtype):
    for reshape in RESHAPED:
        with pytest.raises(ValueError) as caught:
            reshape(np.zeros(shape, dtype))
        assert str(caught.value).endswith(f"{dtype} {shape}")


def test_the_labels_tell_how_many_classes_there_are_and_what_always_to_answer():
    digits = mnist.Digits(None, np.uint8([7, 7, 1]), None, np.uint8([7, 1, 255, 1]), "some", "here")
    assert digits.num_classes == 256
    assert digits.baseline == 0.25  # the test accuracy of the most frequent training label


def test_result_and_first_line_say_where_the_data_are_from_and_how_many_they_are(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = mnist.load_mnist(str(write_npz(tmp_path / "some.npz", arrays)))
    counts = {"train_images": 6, "test_images": 4, "classes": 10}
    assert digits.facts == {"dataset": "some", "data_origin": "some.npz", **counts}
    assert digits.about == "6 training and 4 test images from some.npz"
    letters = digits._replace(y_test=digits.y_test + np.uint8(16))
    assert letters.about == "6 training and 4 test images of 26 classes from some.npz"


def test_data_is_called_mnist_only_when_the_hashes_say_so(genuine, tmp_path):
    assert mnist.load_mnist(str(write_npz(tmp_path / "anything.npz", genuine))).name == "MNIST"
    forged = {**genuine, "x_test": genuine["x_test"] ^ 1}
    assert "not the original" in mnist.load_mnist(str(write_npz(tmp_path / "mnist.npz", forged))).name
    assert mnist.load_mnist(str(write_npz(tmp_path / "fashion.npz", forged))).name == "fashion"
    assert mnist.load_mnist(str(write_folder(tmp_path / "kuzushiji", forged))).name == "kuzushiji"


def test_an_error_names_the_path(arrays, tmp_path):
    bad = write_npz(tmp_path / "bad.npz", {**arrays, "y_test": np.zeros(4)})
    for path in (bad, tmp_path / "nowhere", tmp_path):
        with pytest.raises(cli.UserError, match=path.name):
            mnist.load_mnist(str(path))


def test_the_word_digits_takes_the_stand_in_by_its_name():
    digits = mnist.load_mnist("digits", limit=10)
    assert (digits.name, digits.origin) == ("scikit-learn digits (not MNIST)", "scikit-learn")
    assert (len(digits.x_train), len(digits.x_test), digits.num_classes) == (10, 360, 10)


def test_without_a_network_the_stand_in_takes_over_with_one_warning(capsys, monkeypatch):
    monkeypatch.setattr(download, "MNIST", [("http://127.0.0.1:1/", {"mnist.npz": None})])
    digits = mnist.load_mnist()
    warning = capsys.readouterr().err
    assert warning.count("warning:") == 1
    places = cli.relative(download.DATA_DIR), cli.relative(keras_cache()), "http://127.0.0.1:1/mnist.npz", "--data"
    assert all(place in warning for place in (digits.name, *places))


def test_the_word_mnist_forbids_the_stand_in(arrays):
    with pytest.raises(cli.UserError, match="--data PATH"):
        mnist.load_mnist("mnist")
    write_npz(download.DATA_DIR / "mnist.npz", arrays)  # some other data under that name
    with pytest.raises(cli.UserError, match="not MNIST"):
        mnist.load_mnist("mnist")
    assert "not the original" in mnist.load_mnist().name


def test_the_word_mnist_looks_past_other_data_into_the_keras_cache(genuine):
    write_npz(download.DATA_DIR / "mnist.npz", {**genuine, "x_test": genuine["x_test"] ^ 1})
    cache = write_npz(keras_cache(), genuine)
    assert mnist.load_mnist("mnist").origin == cli.relative(cache)


def test_the_projects_data_folder_comes_before_the_keras_cache(genuine):
    cache = write_npz(keras_cache(), genuine)
    assert mnist.load_mnist().origin == cli.relative(cache)
    write_folder(download.DATA_DIR, genuine)
    assert mnist.load_mnist("mnist").origin == cli.relative(download.DATA_DIR)
    write_npz(download.DATA_DIR / "mnist.npz", genuine)
    assert mnist.load_mnist().origin == cli.relative(download.DATA_DIR / "mnist.npz")


def test_a_damaged_file_in_the_data_folder_is_reported_and_left_alone():
    download.DATA_DIR.mkdir()
    (download.DATA_DIR / "mnist.npz").write_bytes(b"mine")
    with pytest.raises(cli.UserError, match="damaged"):
        mnist.load_mnist()
    assert (download.DATA_DIR / "mnist.npz").read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["other data", "a damaged file"])
def test_a_keras_cache_without_mnist_is_passed_over_and_left_alone(content, arrays, capsys):
    cache = write_npz(keras_cache(), arrays)
    if content == "a damaged file":
        cache.write_bytes(b"mine")
    before = cache.read_bytes()
    assert mnist.load_mnist().name == mnist.STAND_IN
    assert str(cache) in capsys.readouterr().err
    assert cache.read_bytes() == before
