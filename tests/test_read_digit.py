import io
import json
import os
import re
import warnings

import fast_mnist
import read_digit
from common import cli, ink, mnist, pad, photographs, results

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tensorflow import keras


def bundled(count=40):
    """Return digits in MNIST's form, (count, 28, 28) uint8: their ink is in a box of 20 x 20."""
    return mnist.load_mnist("digits").x_test[:count]


def page(digit, size=400, ink_colour=(20, 20, 60), paper=(240, 235, 225), height=150, at=(120, 90)):
    """Return a digit (28, 28) on a page as a PIL picture, its ink `height` pixels high."""
    box = digit[np.ix_(digit.any(axis=1), digit.any(axis=0))]
    mask = Image.new("L", (size, size))
    mask.paste(Image.fromarray(box).resize((round(height * box.shape[1] / box.shape[0]), height), 3), at)
    amount = np.asarray(mask)[..., None] / 255
    return Image.fromarray(np.uint8(np.asarray(paper) * (1 - amount) + np.asarray(ink_colour) * amount))


def likeness(one, other):
    """Return the correlation of two images (28, 28) at the best shift of up to two pixels."""
    shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    return max(np.corrcoef(np.roll(one, shift, (0, 1)).ravel(), other.ravel())[0, 1] for shift in shifts)


def assert_reads_as(picture, digit, least=0.9):
    found = read_digit.find_digits(picture)
    assert found.shape == (1, 28, 28) and found.dtype == np.uint8
    assert likeness(found[0], digit) > least


# MNIST's form


def test_a_digit_of_the_data_set_comes_out_as_it_went_in():
    likenesses = [likeness(read_digit.find_digits(Image.fromarray(digit))[0], digit) for digit in bundled()]
    assert np.median(likenesses) > 0.95
    assert min(likenesses) > 0.85


def test_the_longest_side_is_20_pixels_and_the_centre_of_mass_in_the_middle():
    for digit in bundled(20):
        found = read_digit.find_digits(page(digit))[0]
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
        assert found.max() == 255
        np.testing.assert_allclose(ndimage.center_of_mass(found), (14, 14), atol=0.51)


COLOURS = {
    "dark on light": {},
    "light on dark": {"ink_colour": (250, 250, 240), "paper": (20, 30, 20)},
    "red on green of the same brightness": {"ink_colour": (200, 30, 30), "paper": (30, 117, 30)},
    "pencil": {"ink_colour": (190, 190, 190), "paper": (235, 235, 235)},
    "small": {"size": 90, "height": 40, "at": (30, 20)},
    "large": {"size": 2500, "height": 2000, "at": (600, 250)},
    "tiny on a large page": {"size": 1500, "height": 60, "at": (1300, 1400)},
}


@pytest.mark.parametrize("colours", COLOURS)
def test_any_colours_any_size_and_any_place(colours):
    for digit in bundled(4):
        assert_reads_as(page(digit, **COLOURS[colours]), digit)


def test_a_shadow_across_the_digit_and_ruled_paper_are_no_ink():
    for digit in bundled(4):
        shaded = np.asarray(page(digit)) * np.where(np.arange(400) < 200, 1, 0.6)[:, None]
        assert_reads_as(Image.fromarray(np.uint8(shaded)), digit, least=0.85)
        ruled = np.array(page(digit))
        ruled[::30] = np.minimum(ruled[::30], (190, 200, 225))
        assert_reads_as(Image.fromarray(ruled), digit, least=0.85)


def test_a_dark_table_around_the_paper_is_no_ink():
    for digit in bundled(4):
        photo = np.full((480, 480, 3), 40, np.uint8)
        photo[40:-40, 40:-40] = page(digit)
        assert_reads_as(Image.fromarray(photo), digit)


@pytest.mark.parametrize("colour", [0, 255])
def test_ink_on_nothing_needs_no_background(colour):
    digit = bundled(1)[0]
    mask = Image.fromarray(255 - np.asarray(page(digit, ink_colour=(0,) * 3, paper=(255,) * 3).convert("L")))
    flat = Image.new("L", mask.size, colour)
    assert_reads_as(Image.merge("RGBA", [flat, flat, flat, mask]), digit)
    assert_reads_as(Image.merge("LA", [flat, mask]), digit)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF 16", "CMYK", "palette", "1 bit"])
def test_any_kind_of_file(kind, tmp_path):
    digit, path = bundled(1)[0], tmp_path / "picture"
    picture = page(digit)
    if kind == "TIFF 16":
        picture, kind = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 200), "PNG"
    elif kind == "CMYK":
        picture, kind = picture.convert("CMYK"), "JPEG"
    elif kind in ("palette", "1 bit"):
        picture, kind = picture.convert("P" if kind == "palette" else "1"), "PNG"
    picture.save(path, kind)
    assert_reads_as(ink.open_picture(path), digit)


def test_a_camera_that_was_turned_is_turned_back(tmp_path):
    digit = bundled(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    page(digit).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.jpg", exif=exif)
    assert_reads_as(ink.open_picture(tmp_path / "photo.jpg"), digit)


def test_several_digits_are_read_from_left_to_right():
    first, second, third = bundled(3)
    row = np.concatenate([page(digit, size=300, at=(70, 60)) for digit in (first, second, third)], axis=1)
    found = read_digit.find_digits(Image.fromarray(row))
    assert len(found) == 3
    for one, digit in zip(found, (first, second, third), strict=True):
        assert likeness(one, digit) > 0.9


def test_simulated_photographs_keep_the_digit(rng):
    digits = bundled(30)
    found = []
    for digit in digits:
        picture = photographs.photograph(digit, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found.append(read_digit.find_digits(picture))
    one = [len(digits) == 1 for digits in found]
    assert np.mean(one) > 0.9
    alike = [likeness(images[0], digit) for images, digit in zip(found, digits, strict=True) if len(images) == 1]
    assert np.median(alike) > 0.9  # turned by some degrees, with noise


# What cannot be read


@pytest.mark.parametrize("content", ["blank", "a little noise", "noise", "a gradient"])
def test_a_page_without_a_digit_is_one_line(content, rng, tmp_path):
    grey = {
        "blank": np.full((200, 300), 230.0),
        "a little noise": 200 + 4 * rng.standard_normal((200, 300)),
        "noise": rng.uniform(0, 255, (200, 300)),
        "a gradient": np.tile(np.linspace(90, 250, 300), (200, 1)),
    }[content]
    path = tmp_path / "page.png"
    Image.fromarray(np.uint8(np.clip(grey, 0, 255))).save(path)
    with pytest.raises(cli.UserError, match=f"{re.escape(str(path))}: no digit found"):
        read_digit.read_picture(path)


def test_what_is_no_picture_is_one_line_each(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no picture")
    page(bundled(1)[0]).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:700])
    for name, message in (("text.png", "not a picture"), ("cut.png", "cannot be read as a picture"),
                          ("nowhere.png", "not there"), (".", "cannot be read")):  # fmt: skip
        with pytest.raises(cli.UserError, match=message) as caught:
            read_digit.main([str(tmp_path / name), "--model", "unused"])
        assert str(caught.value).startswith(str(tmp_path / name))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(cli.UserError, match=r"whole.png: too large; at most 2,000 pixels are read"):
        read_digit.read_picture(tmp_path / "whole.png")
    assert not results.RUNS_DIR.exists()


# The script


@pytest.fixture(scope="module")
def classifier():
    """A softmax regression, trained for a second on the bundled digits."""
    keras.utils.set_random_seed(0)
    digits = mnist.load_mnist("digits")
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(mnist.as_vectors(digits.x_train), digits.y_train, epochs=12, batch_size=32, verbose=0)
    return model


@pytest.fixture
def trained(classifier):
    """The folder of a finished run of mlp_mnist.py, older than one that is not finished and than one of a GAN."""
    folders = [results.RUNS_DIR / name for name in ("mlp_mnist/1", "cnn_mnist/4", "gan_mnist/1")]
    for age, (folder, status) in enumerate(zip(folders, ("finished", "running", "finished"), strict=True)):
        folder.mkdir(parents=True)
        results.write_result(folder, {"status": status, "dataset": "my digits"})
        os.utime(folder / "result.json", (age, age))
    classifier.save(folders[0] / "model.keras")
    (results.RUNS_DIR / "mlp_mnist" / "2").mkdir()
    (results.RUNS_DIR / "mlp_mnist" / "2" / "result.json").touch()  # killed as it began
    return folders[0]


@pytest.mark.parametrize("shape", [(784,), (28, 28, 1), (28, 28)])
def test_every_classifier_gets_the_shape_and_the_range_that_it_was_trained_on(shape, rng):
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
    digits = rng.integers(0, 256, (501, 28, 28), dtype=np.uint8)  # one more than a batch
    expected = model.predict(digits.reshape(-1, *shape) / 255, verbose=0)
    np.testing.assert_allclose(read_digit.ask(model, digits), expected, atol=1e-5)


@pytest.mark.rendered
def test_a_picture_is_read_by_the_newest_finished_run(trained, classifier, tmp_path, capsys):
    digits = bundled(3)
    expected = [read_digit.ask(classifier, read_digit.find_digits(page(digit)))[0] for digit in digits]
    Image.fromarray(np.concatenate([page(digit, size=300) for digit in digits[1:]], axis=1)).save(tmp_path / "row.png")
    page(digits[0]).save(tmp_path / "one.png")
    result = read_digit.main([str(tmp_path / "one.png"), str(tmp_path / "row.png")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Model: {cli.relative(trained / 'model.keras')}, trained on my digits"
    assert lines[1] == f"{tmp_path / 'one.png'}: {expected[0].argmax()} ({100 * expected[0].max():.1f} %)"
    assert lines[2] == f"{tmp_path / 'row.png'}: 2 digits, from left to right"
    assert lines[3].startswith(f"{tmp_path / 'row.png'}: ")
    written = json.loads((result["folder"] / "result.json").read_text())
    assert [row["picture"] for row in written["digits"]] == [str(tmp_path / f"{n}.png") for n in ("one", "row", "row")]
    assert written["digits"][0]["answer"] == expected[0].argmax()
    assert written["digits"][0]["probability"] == pytest.approx(expected[0].max())
    with Image.open(result["folder"] / "read.png") as picture:
        assert picture.width > 500


def test_without_a_run_one_line_says_what_makes_one(tmp_path):
    page(bundled(1)[0]).save(tmp_path / "one.png")
    with pytest.raises(cli.UserError, match=r"no finished run of a classifier in runs/: python fast_mnist.py trains"):
        read_digit.main([str(tmp_path / "one.png")])
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)]).save(tmp_path / "other.keras")
    with pytest.raises(cli.UserError, match=r"other.keras: not a classifier of images of 28 x 28 pixels: it turns"):
        read_digit.main([str(tmp_path / "one.png"), "--model", str(tmp_path / "other.keras")])


@pytest.mark.parametrize("argv", [[], ["--draw", "--check"], ["one.png", "--draw"]])
def test_one_thing_at_a_time(argv):
    with pytest.raises(cli.UserError, match="name a picture, or give one of --draw and --check"):
        read_digit.main(argv)


def test_the_check_counts_what_is_read_and_what_is_not_found(trained, classifier, capsys, monkeypatch):
    monkeypatch.setattr(photographs, "CHECKED", 12)
    photos = []
    monkeypatch.setattr(photographs, "photograph", lambda digit, rng: photos.append(page(digit)) or photos[-1])
    result = read_digit.main(["--check", "--data", "digits"])
    printed = capsys.readouterr().out
    assert result["photographs"]["not_found"] == result["photographs"]["several"] == 0
    assert len(photos) == 12
    assert result["photographs"]["accuracy"] > 0.6
    assert result["bundled_digits"]["accuracy"] > 0.6
    assert f"read directly: {result['direct_accuracy']:.1%}" in printed
    assert "scikit-learn digits (not MNIST)" in printed


def test_the_pad_is_served_what_the_network_sees_answers_and_believes(trained, classifier, monkeypatch):
    served = []
    monkeypatch.setattr(pad, "serve", lambda read, port: served.append((read, port)))
    read_digit.main(["--draw", "--port", "0"])
    read, port = served[0]
    digit = bundled(1)[0]
    (answer,) = read(page(digit))
    assert port == 0
    assert likeness(np.array(answer["seen"]), digit) > 0.9
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert "beliefs" not in answer
    assert not (results.RUNS_DIR / "read_digit").exists()
    rnn = keras.Sequential([keras.Input((28, 28)), keras.layers.SimpleRNN(4), keras.layers.Dense(10, "softmax")])
    (answer,) = json.loads(json.dumps(read_digit.for_the_pad(rnn, page(digit))))
    assert np.shape(answer["beliefs"]) == (28, 10)
    np.testing.assert_allclose(answer["beliefs"][-1], answer["probabilities"], atol=1e-5)


@pytest.mark.slow
def test_photographs_of_mnist_are_read_as_well_as_mnist():
    model = keras.models.load_model(fast_mnist.main(["cnn", "--data", "mnist"])["folder"] / "model.keras")
    check = photographs.check(mnist.load_mnist("mnist"), read_digit.find_digits, lambda x: read_digit.ask(model, x), 0)
    assert check["photographs"]["accuracy"] > check["direct_accuracy"] - 0.01
    assert check["bundled_digits"]["accuracy"] > 0.9


def test_a_picture_in_memory_is_as_good_as_a_file():
    file = io.BytesIO()
    page(bundled(1)[0]).save(file, "PNG")
    assert_reads_as(Image.open(file), bundled(1)[0])
