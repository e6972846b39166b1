import hashlib
import os
from pathlib import Path

from common import cli, download, mnist

import numpy as np
import pytest
from test_formats import some_digits, write_folder, write_npz


@pytest.fixture
def arrays(rng):
    return some_digits(rng)


@pytest.fixture
def genuine(arrays, monkeypatch):
    """The same images, passed off as MNIST."""
    hashes = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    monkeypatch.setattr(mnist, "MNIST_SHA256", hashes)
    return arrays


def keras_cache():
    return Path(os.environ["KERAS_HOME"], "datasets", "mnist.npz")


# What is made of the arrays

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


@pytest.mark.parametrize("reshape", RESHAPED)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 28, 28), "float32"), ((2, 28, 28), "int64"), ((28, 28), "uint8"), ((2, 784), "uint8"), ((784, 28), "uint8")],
)
def test_images_of_another_kind_are_refused_and_not_mangled(shape, dtype, reshape):
    with pytest.raises(ValueError, match=r"expected images uint8 \(count, 28, 28\) from 0 to 255, got") as caught:
        reshape(np.zeros(shape, dtype))
    assert str(caught.value).endswith(f"{dtype} {shape}")


@pytest.mark.parametrize(("y_train", "y_test", "expected"), [([0, 1], [1], 2), ([0, 25], [1], 26), ([1], [255], 256)])
def test_there_are_as_many_classes_as_the_labels_name(y_train, y_test, expected):
    digits = mnist.Digits(None, np.array(y_train, np.uint8), None, np.array(y_test, np.uint8), "some", "here")
    assert digits.num_classes == expected


def test_the_baseline_always_answers_the_most_frequent_training_label():
    digits = mnist.Digits(None, np.array([7, 7, 1]), None, np.array([7, 1, 1, 1]), "some", "here")
    assert digits.baseline == 0.25


def test_result_and_first_line_say_where_the_data_are_from_and_how_many_they_are(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = mnist.load_mnist(str(write_npz(tmp_path / "some.npz", arrays)))
    counts = {"train_images": 6, "test_images": 4, "classes": 10}
    assert digits.facts == {"dataset": "some", "data_origin": "some.npz", **counts}
    assert digits.about == "6 training and 4 test images from some.npz"
    letters = digits._replace(y_test=digits.y_test + np.uint8(16))
    assert letters.about == "6 training and 4 test images of 26 classes from some.npz"
    assert digits._replace(x_train=np.zeros((60000, 1))).about.startswith("60,000 training and 4 test")


# Checking and naming


def test_an_npz_and_a_folder_give_the_same_digits(arrays, tmp_path):
    for source in (write_npz(tmp_path / "some.npz", arrays), write_folder(tmp_path / "idx", arrays)):
        digits = mnist.load_mnist(str(source))
        for key, array in arrays.items():
            np.testing.assert_array_equal(getattr(digits, key), array, strict=True)


def test_limit_cuts_the_training_images_only(arrays, tmp_path):
    digits = mnist.load_mnist(str(write_npz(tmp_path / "some.npz", arrays)), limit=4)
    assert (len(digits.x_train), len(digits.y_train), len(digits.x_test)) == (4, 4, 4)


def test_data_is_called_mnist_only_when_the_hashes_say_so(genuine, tmp_path):
    assert mnist.load_mnist(str(write_npz(tmp_path / "anything.npz", genuine))).name == "MNIST"
    forged = {**genuine, "x_test": genuine["x_test"] ^ 1}
    assert mnist.load_mnist(str(write_npz(tmp_path / "mnist.npz", forged))).name == "mnist (not the original)"
    assert mnist.load_mnist(str(write_npz(tmp_path / "fashion.npz", forged))).name == "fashion"
    assert mnist.load_mnist(str(write_folder(tmp_path / "kuzushiji", forged))).name == "kuzushiji"


def test_an_error_names_the_file_and_what_is_wrong_with_it(arrays, tmp_path):
    path = write_npz(tmp_path / "bad.npz", {**arrays, "y_test": np.zeros(4)})
    with pytest.raises(cli.UserError, match=r"bad\.npz: y_test is float64"):
        mnist.load_mnist(str(path))


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    for name in ("nowhere", "n" * 300):
        with pytest.raises(cli.UserError, match=f"{name}: "):
            mnist.load_mnist(str(tmp_path / name))


# The search


def test_the_word_digits_takes_the_stand_in_by_its_name():
    digits = mnist.load_mnist("digits", limit=10)
    assert (digits.name, digits.origin) == ("scikit-learn digits (not MNIST)", "scikit-learn")
    assert (len(digits.x_train), len(digits.x_test), digits.num_classes) == (10, 360, 10)


def test_without_a_network_the_stand_in_takes_over_with_one_warning(capsys, monkeypatch):
    monkeypatch.setattr(download, "MNIST", (("http://127.0.0.1:1/", {"mnist.npz": (None, 9)}),))
    digits = mnist.load_mnist()
    warning = capsys.readouterr().err
    assert digits.name in warning
    assert warning.count("warning:") == 1
    places = cli.relative(mnist.DATA_DIR), cli.relative(keras_cache()), "127.0.0.1:1"
    assert all(f"tried {place}: " in warning for place in places)
    assert f"{download.OFFICIAL}mnist.npz" in warning


def test_the_word_mnist_forbids_the_stand_in(arrays):
    with pytest.raises(cli.UserError, match=r"no MNIST: .*--data PATH"):
        mnist.load_mnist("mnist")
    write_npz(mnist.DATA_DIR / "mnist.npz", arrays)  # some other data under that name
    with pytest.raises(cli.UserError, match="not MNIST"):
        mnist.load_mnist("mnist")
    assert mnist.load_mnist().name == "mnist (not the original)"


def test_the_word_mnist_looks_past_other_data_into_the_keras_cache(genuine):
    write_npz(mnist.DATA_DIR / "mnist.npz", {**genuine, "x_test": genuine["x_test"] ^ 1})
    cache = write_npz(keras_cache(), genuine)
    assert mnist.load_mnist("mnist").origin == cli.relative(cache)


def test_the_projects_data_folder_comes_before_the_keras_cache(genuine):
    cache = write_npz(keras_cache(), genuine)
    assert mnist.load_mnist().origin == cli.relative(cache)
    write_folder(mnist.DATA_DIR, genuine)
    assert mnist.load_mnist("mnist").origin == cli.relative(mnist.DATA_DIR)
    write_npz(mnist.DATA_DIR / "mnist.npz", genuine)
    assert mnist.load_mnist().origin == cli.relative(mnist.DATA_DIR / "mnist.npz")


def test_files_of_other_sets_in_the_data_folder_are_passed_over():
    mnist.DATA_DIR.mkdir()
    for name in ("test.csv", "train.csv", "train", "emnist-letters-train-images-idx3-ubyte.gz"):
        (mnist.DATA_DIR / name).touch()
    assert mnist.load_mnist().name == mnist.STAND_IN


def test_a_damaged_file_in_the_data_folder_is_reported_and_left_alone():
    mnist.DATA_DIR.mkdir()
    (mnist.DATA_DIR / "mnist.npz").write_bytes(b"mine")
    with pytest.raises(cli.UserError, match="damaged"):
        mnist.load_mnist()
    assert (mnist.DATA_DIR / "mnist.npz").read_bytes() == b"mine"


def test_a_keras_cache_with_other_data_is_passed_over_and_left_alone(arrays, capsys):
    cache = write_npz(keras_cache(), arrays)
    before = cache.read_bytes()
    assert mnist.load_mnist().name == mnist.STAND_IN
    assert f"{cache}: not MNIST" in capsys.readouterr().err
    assert cache.read_bytes() == before
