"""Your own digits, read by a classifier that was trained in a lesson; this script continues those lessons.

Idea      A network answers well only what looks like its training data. So the ink is found against the paper,
          which must fill the picture; it is cropped, fitted into 20 x 20 pixels, and centred by its centre of mass
          in 28 x 28, white on black, as MNIST was made.
Run       python read_digit.py photo.jpg drawing.png
          python read_digit.py --draw       a page in the browser to draw on
          read_digit.read_picture(path)     in Python: the digits of a picture, for any other network
Expect    The CNN of fast_mnist.py --epochs 1 reads 98.7 % of 1,000 simulated photographs, plain images 99.3 %.
Try next  --draw                    What does the network see, and at which stroke does its answer change?
          --model of an MLP         Does it mind a slant, or one digit pasted together from halves of two?
          CENTRE = 17               What does a digit off the centre cost an MLP, and what a CNN?
Source    The preparation is that of MNIST itself: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

from common import cli, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.data.saved_models import load_model
from common.handwriting import drawing_pad, segmentation
from common.plots.base import GREYS, picture, ticks
from rnn_mnist import belief_by_row

import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image
from scipy import ndimage

LESSONS = ("cnn_mnist", "fast_mnist", "mlp_mnist", "rnn_mnist")  # whose newest run is the default model
BOX = 20  # pixels: longest side of MNIST's digits
CENTRE = 14  # pixels from the top and from the left: where MNIST has the centre of mass
PORT = 8000  # of --draw
MOST_SHOWN = 20  # digits; result.json has all answers


def main(argv=None):
    """Read the pictures, or let the person draw; return the content of result.json."""
    args = parse(argv)

    # 1. Pictures, each with the digits that are found in it
    pictures = [read_picture(path) for path in args.pictures]

    # 2. Model
    path, trained = (args.model, "") if args.model else newest_model()
    model = load_model(path, "a classifier of images of 28 x 28 pixels", is_classifier)
    print(f"Model: {cli.relative(path)}{trained}", flush=True)
    if args.draw:
        drawing_pad.serve(lambda image: for_the_pad(model, image), args.port)  # until Ctrl-C; nothing is written
        return {"script": "read_digit", "status": "finished"}
    folder = runs.new_folder(__file__, args.out)

    # 3. Answers
    answers = [ask(model, digits) for _, digits, _ in pictures]  # (count, classes) of each picture
    found = []
    for name, probabilities in zip(args.pictures, answers, strict=True):
        if len(probabilities) > 1:
            print(f"{name}: {len(probabilities)} digits, from left to right")
        for row in probabilities:
            print(f"{name}: {row.argmax()} ({100 * row.max():.1f} %)")
            found.append({"picture": name, "answer": int(row.argmax()), "probability": float(row.max())})

    # 4. Show
    what_it_sees(folder / "read.png", args.pictures, pictures, answers)
    return runs.finish(folder, args, model=path, digits=found)


def read_picture(path):
    """Return the PIL image in a file, its digits in MNIST's form (count, 28, 28) uint8, and their boxes (count, 4).

    The digits stand from left to right; a box is left, upper, right, lower, in pixels. For another network than a
    classifier divide the digits by 255, as its lesson does. Raises cli.UserError where no digit is found.
    """
    image = segmentation.open_picture(path)
    try:
        digits, boxes = find(image)
    except cli.UserError as error:
        raise cli.UserError(f"{path}: {error}") from None
    return image, digits, boxes


def find(image):
    """Return the digits in a PIL image in MNIST's form, (count, 28, 28) uint8, from left to right, and their boxes.

    Raises cli.UserError where there is none.
    """
    amounts, boxes = segmentation.cut_out(image)
    return np.stack([as_mnist(amount) for amount in amounts]), boxes


def as_mnist(amount):
    """Return an amount of ink (height, width) in [0, 1] in MNIST's form, (28, 28) uint8."""
    height, width = amount.shape
    scale = BOX / max(height, width)  # keeps the proportions
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    amount = Image.fromarray(np.float32(amount))
    small = np.asarray(amount.resize((width, height), Image.Resampling.HAMMING))
    small = np.clip(small / np.percentile(small, 99), 0, 1)
    y, x = ndimage.center_of_mass(small)
    top = np.clip(round(CENTRE - y), 0, 28 - height)
    left = np.clip(round(CENTRE - x), 0, 28 - width)
    digit = np.zeros((28, 28), np.uint8)
    digit[top : top + height, left : left + width] = np.rint(255 * small)
    return digit


def ask(model, digits):
    """Return the probabilities (count, classes) that a model gives to digits (count, 28, 28) uint8."""
    pixels = digits.reshape(-1, *model.input_shape[1:]) / np.float32(255)  # (count, 784), (count, 28, 28) or + (1,)
    parts = np.array_split(pixels, range(500, len(pixels), 500))
    return np.concatenate([model.predict_on_batch(part) for part in parts])  # predict() has an overhead of 0.2 s


def for_the_pad(model, image):
    """Return what the page shows of the digits in a PIL image: what the network sees, answers, and believes by row."""
    digits, _ = find(image)
    shown = []
    for digit, probabilities in zip(digits, ask(model, digits), strict=True):
        shown.append({"seen": digit.tolist(), "probabilities": probabilities.tolist()})
    if model.input_shape == (None, 28, 28):  # an RNN
        for digit, beliefs in zip(shown, belief_by_row(model, mnist.as_sequences(digits)), strict=True):
            digit["beliefs"] = beliefs.tolist()
    return shown


@picture(9, 3)
def what_it_sees(figure, names, pictures, answers):
    """Draw a row for each digit: the picture with a box around it, its 28 x 28 pixels, its probabilities as bars.

    `names` are the pictures' files, `pictures` their (image, digits (count, 28, 28), boxes (count, 4)), `answers` the
    probabilities (count, classes) of each one's digits.
    """
    rows = []
    for name, (image, digits, boxes), probabilities in zip(names, pictures, answers, strict=True):
        given = small(image)
        for digit, box, answer in zip(digits, boxes, probabilities, strict=True):
            rows.append((name, image.size, given, digit, box, answer))
    shown = rows[:MOST_SHOWN]
    title = "What was given, what the network sees, what it answers"
    if len(rows) > len(shown):
        title += f" (the first {len(shown)} of {len(rows)})"
    figure.set_size_inches(9, 0.5 + 2.3 * len(shown))
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(len(shown), 3, squeeze=False)
    for axes, (name, (width, height), given, digit, box, answer) in zip(grid, shown, strict=True):
        left, upper, right, lower = box
        axes[0].imshow(given, cmap="gray", extent=(0, width, height, 0))
        frame = Rectangle((left, upper), right - left, lower - upper, fill=False, edgecolor="tab:orange", linewidth=2)
        axes[0].add_patch(frame)
        axes[0].set_title(str(name)[-40:], fontsize=9)
        axes[0].set(xticks=[], yticks=[], facecolor="lightgrey")  # behind what is transparent
        axes[1].imshow(digit, **GREYS)
        axes[1].set_title("28 x 28 pixels, as in MNIST", fontsize=9)
        axes[1].set_axis_off()
        axes[2].bar(range(len(answer)), answer)
        axes[2].set(ylim=(0, 1), xticks=ticks(len(answer)), xlabel="digit", ylabel="probability")
        axes[2].set_title(f"{answer.argmax()} ({100 * answer.max():.1f} %)", fontsize=9)


def small(image):
    """Return a PIL image as an array for imshow, at most 600 pixels high and wide: a large one would take long."""
    given = segmentation.plain(image)
    given.thumbnail((600, 600))
    return np.asarray(given.convert("RGBA") if given.mode == "RGBa" else given)


def is_classifier(pixels, classes):
    """Return whether these shapes, as Keras gives them, fit a classifier of digits."""
    return pixels in ((None, 784), (None, 28, 28), (None, 28, 28, 1)) and len(classes) == 2 and classes[1] > 1


def newest_model():
    """Return the model of the newest finished run of LESSONS, and what it was trained on, as a text.

    A run that was stopped or has diverged is passed over. Raises cli.UserError where there is no other.
    """
    results = [path for lesson in LESSONS for path in runs.RUNS_DIR.glob(f"{lesson}/*/result.json")]
    for result in sorted(results, key=lambda path: path.stat().st_mtime, reverse=True):
        facts = runs.read_result(result.parent)
        model = result.with_name("model.keras")
        if facts["status"] == "finished" and model.exists():
            return model, f", trained on {facts['dataset']}"
    raise cli.UserError("no finished run of a classifier in runs/: python fast_mnist.py trains one in a minute; "
                        "to use a run that was stopped, name its network with --model")


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    port = cli.number(int, at_least=0, below=65536)
    parser = cli.parser(__doc__, images=False)
    parser.add_argument("pictures", type=cli.path, nargs="*", metavar="PICTURE", help="a photograph or a drawing")
    parser.add_argument("--model", type=cli.path, metavar="FILE", help="a saved classifier (default: the newest run's)")
    parser.add_argument("--draw", action="store_true", help="draw in the browser, and see it read")
    parser.add_argument("--port", type=port, default=PORT, metavar="N",
        help="port of the page to draw on; 0 takes any free one (default %(default)s)")
    args = parser.parse_args(argv)
    if bool(args.pictures) == args.draw:
        raise cli.UserError("name a picture, or give --draw (--help shows the card)")
    return args


if __name__ == "__main__":
    cli.launch(main)
