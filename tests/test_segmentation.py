import read_digit
from benchmarks import photographs
from common import cli, mnist
from common.handwriting import segmentation

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage


def bundled(count):
    """Return digits in MNIST's form, (count, 28, 28) uint8: their ink is in a box of 20 x 20."""
    return mnist.load_mnist("digits").x_test[:count]


def page(digit, size=400, ink=(20, 20, 60), paper=(240, 235, 225), height=150, at=(120, 90)):
    """Return a digit (28, 28) on a page as a PIL picture, its ink `height` pixels high."""
    box = Image.fromarray(digit[np.ix_(digit.any(axis=1), digit.any(axis=0))])
    mask = Image.new("L", (size, size))
    mask.paste(box.resize((round(height * box.width / box.height), height), Image.Resampling.BICUBIC), at)
    amount = np.asarray(mask)[..., None] / 255
    return Image.fromarray(np.uint8(np.multiply(paper, 1 - amount) + np.multiply(ink, amount)))


def likeness(one, other):
    """Return the correlation of two images (28, 28) at the best shift of up to two pixels."""
    shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    return max(np.corrcoef(np.roll(one, shift, (0, 1)).ravel(), other.ravel())[0, 1] for shift in shifts)


def assert_reads_as(picture, *digits, least=0.9):
    found, boxes = read_digit.find(picture)
    assert found.shape == (len(digits), 28, 28) and found.dtype == np.uint8 and boxes.shape == (len(digits), 4)
    for one, digit in zip(found, digits, strict=True):
        assert likeness(one, digit) > least


def shaded(digit):
    return Image.fromarray(np.uint8(page(digit) * np.where(np.arange(400) < 200, 1, 0.6)[:, None, None]))


def ruled(digit):
    paper = np.array(page(digit))
    paper[::30] = np.minimum(paper[::30], (190, 200, 225))
    return Image.fromarray(paper)


def on_a_table(digit):
    return Image.fromarray(np.pad(page(digit), [(40, 40), (40, 40), (0, 0)], constant_values=40))


def on_nothing(digit):
    mask = Image.fromarray(255 - np.asarray(page(digit, ink=(0, 0, 0), paper=(255, 255, 255)).convert("L")))
    return Image.merge("LA", [Image.new("L", mask.size, 0), mask])


PAGES = {
    "dark on light": page,
    "light on dark": lambda digit: page(digit, ink=(250, 250, 240), paper=(20, 30, 20)),
    "red on green of the same brightness": lambda digit: page(digit, ink=(200, 30, 30), paper=(30, 117, 30)),
    "pencil": lambda digit: page(digit, ink=(190, 190, 190), paper=(235, 235, 235)),
    "small": lambda digit: page(digit, size=90, height=40, at=(30, 20)),
    "large": lambda digit: page(digit, size=1500, height=1200, at=(300, 150)),
    "tiny on a large page": lambda digit: page(digit, size=1500, height=60, at=(1300, 1400)),
    "a shadow across the digit": shaded,
    "ruled paper": ruled,
    "on a dark table": on_a_table,
    "ink on nothing": on_nothing,
    "16 bits": lambda digit: Image.fromarray(np.asarray(page(digit).convert("L")).astype(np.uint16) * 200),
    "1 bit": lambda digit: page(digit).convert("1"),
    "a palette": lambda digit: page(digit).convert("P"),
    "CMYK": lambda digit: page(digit).convert("CMYK"),
}


@pytest.mark.parametrize("kind", PAGES)
def test_any_colours_any_light_any_size_and_any_kind_of_picture_is_read(kind):
    for digit in bundled(2):
        assert_reads_as(PAGES[kind](digit), digit, least=0.85)


def test_a_digit_of_the_data_set_comes_out_as_it_went_in():
    likenesses = [likeness(read_digit.find(Image.fromarray(digit))[0][0], digit) for digit in bundled(20)]
    assert np.median(likenesses) > 0.95
    assert min(likenesses) > 0.85


def test_several_digits_are_read_from_left_to_right():
    digits = bundled(3)
    row = np.concatenate([page(digit, size=300, at=(70, 60)) for digit in digits], axis=1)
    assert_reads_as(Image.fromarray(row), *digits)


def test_a_file_is_opened_as_its_camera_was_held(tmp_path):
    digit = bundled(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    page(digit).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.jpg", exif=exif)
    assert_reads_as(segmentation.open_picture(tmp_path / "photo.jpg"), digit)


def test_simulated_photographs_keep_the_digit(rng):
    alike = []
    for digit in bundled(12):
        found, _ = read_digit.find(photographs.photograph(digit, rng))
        if len(found) == 1:
            alike.append(likeness(found[0], digit))
    assert len(alike) >= 11
    assert np.median(alike) > 0.9  # rotated by some degrees, with noise


@pytest.mark.parametrize("content", ["blank", "a little noise", "noise", "a gradient"])
def test_on_a_page_without_a_digit_none_is_found(content, rng):
    grey = {
        "blank": np.full((200, 300), 230.0),
        "a little noise": 200 + 4 * rng.standard_normal((200, 300)),
        "noise": rng.uniform(0, 255, (200, 300)),
        "a gradient": np.tile(np.linspace(90, 250, 300), (200, 1)),
    }[content]
    with pytest.raises(cli.UserError, match="no digit found"):
        segmentation.cut_out(Image.fromarray(np.uint8(np.clip(grey, 0, 255))))


def test_what_is_no_picture_is_one_line_each(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    page(bundled(1)[0]).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:700])
    for name, word in (("text.png", "PNG or JPEG"), ("cut.png", "cannot be read"), ("nowhere.png", "No such file"),
                       (".", "cannot be read")):
        with pytest.raises(cli.UserError, match=word):
            segmentation.open_picture(tmp_path / name)


def test_the_longest_side_is_20_pixels_and_the_centre_of_mass_in_the_middle():
    for digit in bundled(10):
        found = read_digit.find(page(digit))[0][0]
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
        assert found.max() == 255
        np.testing.assert_allclose(ndimage.center_of_mass(found), (14, 14), atol=0.51)
