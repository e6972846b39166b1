"""Paint digits with a generator that was trained before, and walk through its latent space: the last step of a GAN.

Idea      What a generator has learned is a map: every point of the latent space, N random numbers, stands for an image.
          Random points give new digits; the points between two of them show how one digit turns into another.
Run       python paint_digits.py runs/gan_mnist/1/generator.keras
          python paint_digits.py runs/gan_mnist/1/generator.keras --count 64 --interpolate --seed 7
          python paint_digits.py runs/conditional_gan_mnist/1/generator.keras --digit 7
Expect    generated.png, and generated.npz with the images as an array (count, 28, 28, 1) of uint8; interpolation.png,
          eight walks of ten images.
Try next  --interpolate           Are the images half-way digits, too?
          --count 400             Which digits are rare? Do any come back again and again (mode collapse)?
          another run's model     Does the same noise give the same digits?
Source    "Deep learning: RNNs and LSTMs" (document 001), step 6 of a GAN.
"""

from common import cli, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.data.files import whole
from common.data.saved_models import load_model
from common.plots.gan_mnist import as_pixels, grid

import numpy as np

COUNT = 64  # images
WALKS = 8  # rows of interpolation.png
STEPS = 10  # images of each walk
MOST_SHOWN = 400  # images in generated.png; generated.npz has them all


def main(argv=None):
    """Paint, and walk if asked to; return the content of result.json, with the run's folder."""
    args = parse(argv)

    # 1. Generator
    generator = load_model(args.model, "a generator of (None, 28, 28, 1) from (None, N)", is_generator)
    name = cli.relative(args.model)
    if args.digit is not None:
        check_digit(args.digit, generator, name)
    latent_dim = generator.inputs[0].shape[1]
    folder = runs.new_folder(__file__, args.out)

    # 2. Random points of the latent space
    noise = np.random.default_rng(args.seed).standard_normal((args.count, latent_dim))
    pixels = paint(generator, noise, ordered(args.digit, args.count))
    with whole(folder / "generated.npz") as path:
        np.savez_compressed(path, images=pixels)  # (count, 28, 28, 1)
    shown = pixels[:MOST_SHOWN]
    grid(folder / "generated.png", shown, f"{len(shown)} images by {name}, seed {args.seed}")

    # 3. Walks from one point to another, along an arc. Half-way on a straight line the noise has half the variance: so
    # short a vector is rare in training. On the arc it keeps the distribution of its ends: cos^2 + sin^2 = 1.
    if args.interpolate:
        start, end = np.random.default_rng(args.seed).standard_normal((2, WALKS, 1, latent_dim))
        angle = np.linspace(0, np.pi / 2, STEPS)[:, None]  # (10, 1)
        noise = np.cos(angle) * start + np.sin(angle) * end  # (8, 10, latent_dim)
        digits = ordered(args.digit, WALKS).repeat(STEPS)  # one for each walk
        pixels = paint(generator, noise.reshape(-1, latent_dim), digits)
        grid(folder / "interpolation.png", pixels, f"{name}: from one random digit to another", columns=STEPS)
    return runs.finish(folder, args, model=args.model)


def is_generator(inputs, images):
    """Return whether these shapes, as Keras gives them, are a generator's: noise, or noise and labels, to images."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    vectors = all(len(shape) == 2 and shape[1] for shape in inputs)
    return images == (None, 28, 28, 1) and len(inputs) <= 2 and vectors


def check_digit(digit, generator, name):
    """Raise cli.UserError where the generator, whose file is `name`, cannot paint the digit."""
    if len(generator.inputs) == 1:
        able = "was trained without labels; conditional_gan_mnist.py trains one with labels"
        raise cli.UserError(f"--digit {digit}: {name} {able}")
    classes = generator.inputs[1].shape[1]
    if digit >= classes:
        raise cli.UserError(f"--digit {digit}: {name} paints digits from 0 to {classes - 1}")


def ordered(digit, count):
    """Return the digits (count,) to paint: `digit` alone, or every digit in turn where it is None."""
    return np.arange(count) if digit is None else np.full(count, digit)


def paint(generator, noise, digits):
    """Return the images of noise (count, latent_dim) as pixels (count, 28, 28, 1), uint8 from 0 to 255.

    A generator that was trained with labels paints `digits` (count,), any other whatever the noise stands for.

    A generator that ends in tanh paints in [-1, 1], any other in [0, 1]. Which it is shows with noise so large that the
    last layer saturates: tanh then comes to -1, a sigmoid to 0; a layer without an activation goes far below both.
    """
    images = generate(generator, noise, digits)
    lowest = generate(generator, 1000 * noise[:100], digits[:100]).min()
    ends_in_tanh = -1.01 < lowest < -0.5
    return as_pixels(images if ends_in_tanh else 2 * images - 1)


def generate(generator, noise, digits):
    """Return what the generator makes of noise (count, latent_dim) and, if it takes labels, of digits (count,)."""
    if len(generator.inputs) == 1:
        return generator.predict(noise, batch_size=500, verbose=0)
    classes = generator.inputs[1].shape[1]
    one_hot = np.eye(classes, dtype="float32")[digits % classes]  # (count, classes)
    return generator.predict([noise, one_hot], batch_size=500, verbose=0)


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    count = cli.number(int, at_least=1)
    digit = cli.number(int, at_least=0)
    parser = cli.parser(__doc__, images=False)
    parser.add_argument("model", type=cli.path, metavar="MODEL", help="a saved generator or decoder: generator.keras")
    parser.add_argument("--count", type=count, default=COUNT, metavar="N", help="images to paint (default %(default)s)")
    parser.add_argument("--digit", type=digit, metavar="D",
        help="paint only this digit, with a generator that takes labels (default: every digit in turn)")
    parser.add_argument("--interpolate", action="store_true", help="also walk from one random digit to another")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
