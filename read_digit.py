"""Your own digits, read by a classifier that was trained in a lesson; this script continues those lessons.

Idea      A network answers well only what looks like its training data. So the ink is found against the paper,
          which must fill the picture; it is cropped, fitted into 20 x 20 pixels, and centred by its centre of mass
          in 28 x 28, white on black, as MNIST was made.
Run       python read_digit.py photo.jpg drawing.png
          python read_digit.py --draw       a page in the browser to draw on
          python read_digit.py --check      how well it reads simulated photographs
Expect    With the CNN of fast_mnist.py, --check --seed 1: 99.2 % of 1,000 simulated photographs of MNIST's test images,
          of which it reads 99.5 % directly, and 94.3 % of 1,000 of scikit-learn's digits, 8 x 8 pixels by other hands.
Try next  --draw                    What does the network see, and at which stroke does its answer change?
          --model of an MLP         Does it mind a slant, or one digit pasted together from halves of two?
          round(14 - mass) + 3      in as_mnist: what does a digit off the centre cost an MLP, and what a CNN?
Source    The preparation is that of MNIST itself: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import contextlib
import json

from common import cli, device, ink, mnist, pad, photographs, results, saved, script  # noqa: F401  device starts TensorFlow
from common.plots.common import show
from common.plots.read_digit import what_it_sees
from rnn_mnist import belief_by_row

import numpy as np
from PIL import Image
from scipy import ndimage

LESSONS = ("cnn_mnist", "fast_mnist", "mlp_mnist", "rnn_mnist")  # whose newest run is the default model
PORT = 8000  # of --draw


def main(argv=None):
    """Read the pictures, check the reading, or let the person draw; return the content of result.json."""
    args = parse(argv)

    # 1. Pictures, each with the digits that are found in it
    pictures = [read_picture(path) for path in args.pictures]

    # 2. Model
    path, dataset = newest_model() if args.model is None else (args.model, None)
    model = saved.load_model(path, "a classifier of images of 28 x 28 pixels", is_classifier)
    print(f"Model: {cli.relative(path)}" + (f", trained on {dataset}" if dataset else ""), flush=True)
    result = {"script": "read_digit", "status": "finished", "flags": vars(args), "model": str(path), "digits": []}
    if args.draw:
        pad.serve(lambda image: for_the_pad(model, image), args.port)  # until Ctrl-C; nothing is written
        return result
    digits = mnist.load_mnist(args.data) if args.check else None
    folder = results.new_folder("read_digit", args.out)

    # 3. Answers
    answers = [ask(model, images) for _, images, _ in pictures]  # (count, classes) of each picture
    for name, probabilities in zip(args.pictures, answers, strict=True):
        if len(probabilities) > 1:
            print(f"{name}: {len(probabilities)} digits, from left to right")
        for row in probabilities:
            print(f"{name}: {row.argmax()} ({100 * row.max():.1f} %)")
            result["digits"].append({"picture": name, "answer": int(row.argmax()), "probability": float(row.max())})
    if args.check:
        result |= photographs.check(digits, find_digits, lambda images: ask(model, images), args.seed)

    # 4. Show
    if pictures:
        what_it_sees(folder / "read.png", args.pictures, pictures, answers)
    results.write_result(folder, result)
    print(f"{', '.join(sorted(file.name for file in folder.iterdir()))}: {cli.relative(folder)}")
    if args.show:
        show(folder)
    return {**result, "folder": folder}


def read_picture(path):
    """Return the PIL image in a file, its digits in MNIST's form (count, 28, 28) uint8, and their boxes (count, 4)."""
    image = ink.open_picture(path)
    try:
        return image, *find(image)
    except cli.UserError as error:
        raise cli.UserError(f"{path}: {error}") from None


def find(image):
    """Return the digits in a PIL image in MNIST's form, (count, 28, 28) uint8, from left to right, and their boxes.

    Raises cli.UserError where there is none.
    """
    amounts, boxes = ink.cut_out(image)
    return np.stack([as_mnist(amount) for amount in amounts]), boxes


def find_digits(image):
    """Return the digits of `find` alone."""
    return find(image)[0]


def as_mnist(amount):
    """Return an amount of ink (height, width) in [0, 1] in MNIST's form, (28, 28) uint8."""
    height, width = amount.shape
    scale = 20 / max(height, width)  # keeps the proportions
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = ink.resize(amount, size, Image.Resampling.HAMMING)
    small = np.clip(small / np.percentile(small, 99), 0, 1)
    y, x = ndimage.center_of_mass(small)
    top, left = (int(np.clip(round(14 - mass), 0, 28 - length)) for mass, length in ((y, size[1]), (x, size[0])))
    digit = np.zeros((28, 28), np.uint8)
    digit[top : top + size[1], left : left + size[0]] = np.rint(255 * small)
    return digit


def ask(model, digits):
    """Return the probabilities (count, classes) that a model gives to digits (count, 28, 28) uint8."""
    pixels = digits.reshape(-1, *model.input_shape[1:]) / np.float32(255)  # (count, 784), (count, 28, 28) or + (1,)
    parts = np.array_split(pixels, range(500, len(pixels), 500))
    return np.concatenate([model.predict_on_batch(part) for part in parts])  # predict() has an overhead of 0.2 s


def for_the_pad(model, image):
    """Return what the page shows of the digits in a PIL image: what the network sees, answers, and believes by row."""
    digits = find_digits(image)
    shown = [{"seen": digit.tolist(), "probabilities": probabilities.tolist()}
             for digit, probabilities in zip(digits, ask(model, digits), strict=True)]  # fmt: skip
    if model.input_shape == (None, 28, 28):  # an RNN
        for digit, beliefs in zip(shown, belief_by_row(model, mnist.as_sequences(digits)), strict=True):
            digit["beliefs"] = beliefs.tolist()
    return shown


def is_classifier(pixels, classes):
    """Return whether these shapes, as Keras gives them, fit a classifier of digits."""
    return pixels in ((None, 784), (None, 28, 28), (None, 28, 28, 1)) and len(classes) == 2 and classes[1] > 1


def newest_model():
    """Return the model of the newest finished run of LESSONS, and the name of the data that it was trained on."""
    runs = [path for lesson in LESSONS for path in results.RUNS_DIR.glob(f"{lesson}/*/result.json")]
    for path in sorted(runs, key=lambda path: path.stat().st_mtime, reverse=True):
        model = path.with_name("model.keras")
        with contextlib.suppress(ValueError, KeyError):  # of a run that was killed as it began
            facts = json.loads(path.read_text())
            if facts["status"] == "finished" and model.exists():
                return model, facts["dataset"]
    raise cli.UserError("no finished run of a classifier in runs/: python fast_mnist.py trains one in a minute; "
                        "of a run that was stopped, name the network with --model")  # fmt: skip


def parse(argv):
    """Return the command line as a namespace."""
    parser = cli.parser(__doc__)
    parser.add_argument("pictures", type=cli.path, nargs="*", metavar="PICTURE",
                        help="a photograph or drawing of one digit or more")
    parser.add_argument("--model", type=cli.path, metavar="FILE", help="a saved classifier (default: the newest run's)")
    parser.add_argument("--draw", action="store_true", help="draw in the browser, and see it read")
    parser.add_argument("--port", type=cli.number(int, at_least=0, below=65536), default=PORT, metavar="N",
                        help="port of the page to draw on; 0 takes any free one (default %(default)s)")
    parser.add_argument("--check", action="store_true", help="measure it on simulated photographs of the test images")
    args = parser.parse_args(argv)
    if (args.pictures != []) + args.check + args.draw != 1:
        raise cli.UserError("name a picture, or give one of --draw and --check (--help shows the card)")
    return args


if __name__ == "__main__":
    script.launch(main)
