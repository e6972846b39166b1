"""How well digits are read from simulated photographs: what `read_digit.py --check` measures."""

import io

from common import cli

import numpy as np
from PIL import Image

CHECKED = 1000  # images, of each kind
CONTRAST = 0.25  # least difference of ink and paper, in red, green or blue; 1 is black on white
LARGE = 0.85  # fraction of the digits above 500 pixels that are made smaller: a large picture takes a second


def check(digits, find, ask, seed):
    """Read test images directly and from simulated photographs, and scikit-learn's digits; print and return accuracies.

    `find(image)` returns the digits in a PIL image, (count, 28, 28) uint8, `ask(digits)` the probabilities.
    """
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(digits.x_test))[:CHECKED]
    images, labels, bundled = digits.x_test[chosen], digits.y_test[chosen], load_digits()
    direct = float(np.mean(ask(images).argmax(axis=1) == labels))
    print(f"{digits.name}, {len(images):,} test images, read directly: {direct:.1%}")
    photos = _read((photograph(image, rng) for image in images), labels, find, ask)
    _tell(f"The same as simulated photographs of {digits.name}", photos)
    pages = 255 - np.pad(bundled.images[:CHECKED], [(0, 0), (2, 2), (2, 2)]) * (255 / 16)  # (1000, 12, 12)
    enlarged = (Image.fromarray(np.uint8(page)).resize((240, 240), Image.Resampling.BICUBIC) for page in pages)
    others = _read(enlarged, bundled.target[:CHECKED], find, ask)
    _tell(f"{len(pages):,} of scikit-learn's digits, enlarged from 8 x 8 pixels", others)
    return {"dataset": digits.name, "direct_accuracy": direct, "photographs": photos, "bundled_digits": others}


def _read(pictures, labels, find, ask):
    """Return the accuracy, and how many pictures had no digit found and how many several; both count as misread."""
    found = []
    for picture in pictures:
        try:
            found.append(find(picture))
        except cli.UserError:
            found.append([])
    one = np.array([len(digits) == 1 for digits in found])
    answers = ask(np.concatenate([digits for digits in found if len(digits) == 1])).argmax(axis=1)
    return {
        "accuracy": float(np.sum(answers == labels[one]) / len(labels)),
        "not_found": sum(len(digits) == 0 for digits in found),
        "several": sum(len(digits) > 1 for digits in found),
    }


def _tell(what, read):
    print(f"{what}: {read['accuracy']:.1%} ({read['not_found']} not found, {read['several']} taken for several digits)")


def photograph(digit, rng):
    """Return an image of a digit, (28, 28) uint8, as a PIL picture: any place, size, colours, light, noise, format.

    The digit is 40 to 2,000 pixels high and turned by up to 8 degrees; the standard deviation of the noise is up to a
    tenth of the contrast.
    """
    image = _page(digit, rng)
    ink, paper = rng.random((2, 3), np.float32)  # red, green, blue
    while np.abs(ink - paper).max() < CONTRAST:
        ink, paper = rng.random((2, 3), np.float32)
    if rng.random() < 0.15:  # ink on nothing
        return Image.merge("RGBA", [Image.new("L", image.size, int(255 * value)) for value in ink] + [image])
    contrast = np.abs(ink - paper).max()
    picture = paper + (ink - paper) * (np.asarray(image, np.float32)[..., None] / 255)
    picture *= _light(image.size, rng)[..., None]
    noise = rng.standard_normal((image.height, image.width, 1), np.float32)
    picture = np.clip(picture + rng.uniform(0, 0.1) * contrast * noise, 0, 1)
    if rng.random() < 0.15 and abs((ink - paper).mean()) > CONTRAST:
        return Image.fromarray(np.uint16(65535 * picture.mean(axis=-1)))
    photo = Image.fromarray(np.uint8(255 * picture))
    if rng.random() < 0.5:
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=int(rng.integers(30, 95)))
        photo = Image.open(file)
    return photo


def _page(digit, rng):
    """Return how much ink there is on a page, as a PIL image of greys."""
    ink = digit[np.ix_(digit.any(axis=1), digit.any(axis=0))]
    height = int(np.exp(rng.uniform(np.log(40), np.log(2000))))
    if height > 500 and rng.random() < LARGE:
        height = int(rng.uniform(40, 500))
    size = max(1, round(height * ink.shape[1] / ink.shape[0])), height
    angle = rng.uniform(-8, 8)
    turned = Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC).rotate(
        angle, Image.Resampling.BICUBIC, expand=True)  # fmt: skip
    free = np.int64(8 + height * rng.uniform(0.2, 3 if height < 400 else 0.8, 2))
    page = Image.new("L", tuple(np.add(turned.size, free).tolist()))
    page.paste(turned, tuple(rng.integers(3, free - 3).tolist()))
    return page


def _light(size, rng):
    """Return the light on a page, (height, width): uneven on half of them, a shadow's hard or soft edge on 30 %."""
    down, right = np.mgrid[0 : 1 : size[1] * 1j, 0 : 1 : size[0] * 1j].astype(np.float32)

    def side():
        angle = rng.uniform(0, 2 * np.pi)
        return np.cos(angle) * (right - rng.uniform(0.3, 0.7)) + np.sin(angle) * (down - rng.uniform(0.3, 0.7))

    light = np.ones_like(down)
    if rng.random() < 0.5:
        light -= rng.uniform(0, 0.4) * np.clip(0.5 + side(), 0, 1)
    if rng.random() < 0.3:
        light *= 1 - rng.uniform(0.1, 0.5) / (1 + np.exp(-np.clip(side() / rng.choice([0.004, 0.05]), -50, 50)))
    return light
