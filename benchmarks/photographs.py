"""How well read_digit.py reads: MNIST's test images directly, as simulated photographs, and scikit-learn's digits.

Run       python benchmarks/photographs.py                      the newest classifier in runs/; three minutes
          python benchmarks/photographs.py --model FILE --seed 1
"""

import argparse
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import read_digit  # first: it silences TensorFlow's start-up log
from common import cli, mnist
from common.data.saved_models import load_model

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

COUNT = 1000  # images of each kind
CONTRAST = 0.25  # least difference of ink and paper, in red, green or blue; 1 is black on white
LARGE = 0.85  # fraction of the digits above 500 pixels that are made smaller: a large picture takes a second


def main(argv=None):
    """Print the three accuracies, and return them as a dict."""
    args = parse(argv)
    path = args.model or read_digit.newest_model()[0]
    model = load_model(path, "a classifier of images of 28 x 28 pixels", read_digit.is_classifier)
    print(f"Model: {cli.relative(path)}", flush=True)
    return {"status": "finished", **measure(model, mnist.load_mnist(args.data), args.seed)}


def measure(model, digits, seed, count=COUNT):
    """Read `count` images of each kind; print and return the accuracies.

    `digits` is a mnist.Digits, whose test images are read directly and from simulated photographs.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(digits.x_test))[:count]
    images, labels = digits.x_test[chosen], digits.y_test[chosen]
    answers = read_digit.ask(model, images).argmax(axis=1)
    direct = float(np.mean(answers == labels))
    print(f"{digits.name}, {len(images):,} test images, read directly: {direct:.1%}", flush=True)
    photographs = (photograph(image, rng) for image in images)
    return {
        "direct": direct,
        "photographs": read(model, photographs, labels, "The same as simulated photographs"),
        "bundled": read(model, enlarged(count), load_digits().target[:count], "scikit-learn's digits of 8 x 8 pixels"),
    }


def read(model, pictures, labels, what):
    """Print and return the accuracy; a picture in which no digit is found, or several, counts as misread."""
    none = several = right = 0
    for picture, label in zip(pictures, labels, strict=True):
        try:
            digits, _ = read_digit.find(picture)
        except cli.UserError:
            none += 1
            continue
        if len(digits) > 1:
            several += 1
        else:
            right += read_digit.ask(model, digits).argmax() == label
    accuracy = right / len(labels)
    print(f"{what}: {accuracy:.1%} ({none} not found, {several} taken for several digits)", flush=True)
    return float(accuracy)


def enlarged(count):
    """Yield scikit-learn's digits, 8 x 8 pixels, as PIL pictures of 240 x 240 pixels, black on white."""
    images = load_digits().images[:count]  # 0 to 16
    pages = 255 - np.pad(images, [(0, 0), (2, 2), (2, 2)]) * (255 / 16)  # (count, 12, 12)
    for page in pages:
        yield Image.fromarray(np.uint8(page)).resize((240, 240), Image.Resampling.BICUBIC)


def photograph(digit, rng):
    """Return an image of a digit, (28, 28) uint8, as a PIL picture: any place, size, colours, light, noise, format.

    The digit is 40 to 2,000 pixels high and rotated by up to 8 degrees; the standard deviation of the noise is up to a
    tenth of the contrast.
    """
    image = page(digit, rng)
    ink, paper = rng.random((2, 3), np.float32)  # red, green, blue
    while np.abs(ink - paper).max() < CONTRAST:
        ink, paper = rng.random((2, 3), np.float32)
    if rng.random() < 0.15:  # ink on nothing
        channels = [Image.new("L", image.size, int(255 * value)) for value in ink]
        return Image.merge("RGBA", [*channels, image])
    contrast = np.abs(ink - paper).max()
    picture = paper + (ink - paper) * (np.asarray(image, np.float32)[..., None] / 255)
    picture *= light(image.size, rng)[..., None]
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


def page(digit, rng):
    """Return how much ink there is on a page, as a PIL image of greys."""
    ink = digit[np.ix_(digit.any(axis=1), digit.any(axis=0))]
    height = int(np.exp(rng.uniform(np.log(40), np.log(2000))))
    if height > 500 and rng.random() < LARGE:
        height = int(rng.uniform(40, 500))
    size = max(1, round(height * ink.shape[1] / ink.shape[0])), height
    angle = rng.uniform(-8, 8)
    upright = Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC)
    rotated = upright.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    free = np.int64(8 + height * rng.uniform(0.2, 3 if height < 400 else 0.8, 2))
    page = Image.new("L", tuple(np.add(rotated.size, free).tolist()))
    page.paste(rotated, tuple(rng.integers(3, free - 3).tolist()))
    return page


def light(size, rng):
    """Return the light on a page, (height, width): uneven on half of them, a shadow's hard or soft edge on 30 %."""
    down, right = np.mgrid[0 : 1 : size[1] * 1j, 0 : 1 : size[0] * 1j].astype(np.float32)

    def side():
        """Return the distance of each point from a random line, below 0 on one side of it."""
        angle = rng.uniform(0, 2 * np.pi)
        return np.cos(angle) * (right - rng.uniform(0.3, 0.7)) + np.sin(angle) * (down - rng.uniform(0.3, 0.7))

    light = np.ones_like(down)
    if rng.random() < 0.5:
        light -= rng.uniform(0, 0.4) * np.clip(0.5 + side(), 0, 1)
    if rng.random() < 0.3:
        light *= 1 - rng.uniform(0.1, 0.5) / (1 + np.exp(-np.clip(side() / rng.choice([0.004, 0.05]), -50, 50)))
    return light


def parse(argv):
    """Return the command line as a namespace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=cli.path, metavar="FILE", help="a saved classifier (default: the newest run's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the photographs (default %(default)s)")
    parser.add_argument("--data", type=cli.path, metavar="PATH", help="as in the lessons (default: MNIST)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
