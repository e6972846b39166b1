"""Paint digits with a generator that was trained before, and walk through its latent space: the last step of a GAN.

Idea      What a generator has learned is a map: every point of the latent space, N random numbers, stands for an image.
          Random points give new digits; the points between two of them show how one digit turns into another.
Run       python paint_digits.py runs/gan_mnist/1/generator.keras
          python paint_digits.py runs/gan_mnist/1/generator.keras --count 64 --interpolate --seed 7
          python paint_digits.py runs/gan_mnist/2/generator.keras --digit 7    of gan_mnist.py --conditional
Expect    generated.png, and generated.npz with the images as an array (count, 28, 28, 1) of uint8; interpolation.png,
          eight walks of ten images.
Try next  --interpolate           Are the images half-way digits, too?
          --count 400             Which digits are rare? Do any come back again and again (mode collapse)?
          another run's model     Does the same noise give the same digits?
Source    "Deep learning: RNNs and LSTMs" (document 001), step 6 of a GAN.
"""

from common import cli, device, files, results, saved, script  # noqa: F401  device starts TensorFlow without its log lines
from common.plots.common import show
from common.plots.gan_mnist import as_pixels, grid

import numpy as np

COUNT = 64  # images
WALKS, STEPS = 8, 10  # rows and columns of interpolation.png
MOST_SHOWN = 400  # images in generated.png; generated.npz has them all


def main(argv=None):
    """Paint, and walk if asked to; return the content of result.json, with the run's folder."""
    args = parse(argv)
    generator = saved.load_model(args.model, "a generator of (None, 28, 28, 1) from (None, N)", is_generator)
    latent_dim, *classes = (tensor.shape[1] for tensor in generator.inputs)  # [64], or [64, 10] of a conditional one
    name = cli.relative(args.model)
    if args.digit is not None and (not classes or args.digit >= classes[0]):
        able = f"paints digits from 0 to {classes[0] - 1}" if classes else (
            "was trained without labels; gan_mnist.py --conditional trains one with")  # fmt: skip
        raise cli.UserError(f"--digit {args.digit}: {name} {able}")
    folder = results.new_folder("paint_digits", args.out)

    def order(count):
        """Return the second input of a conditional generator: one-hot labels of --digit, or of every digit in turn."""
        digits = np.arange(count) if args.digit is None else np.full(count, args.digit)
        return [np.eye(number, dtype="float32")[digits % number] for number in classes]

    # Random points of the latent space
    noise = np.random.default_rng(args.seed).standard_normal((args.count, latent_dim))
    pixels = paint(generator, noise, *order(args.count))
    with files.whole(folder / "generated.npz") as path:
        np.savez_compressed(path, images=pixels)  # (count, 28, 28, 1)
    shown = pixels[:MOST_SHOWN]
    grid(folder / "generated.png", shown, f"{len(shown)} images by {name}, seed {args.seed}")

    # Walks from one point to another, along an arc: half-way on a straight line, noise is smaller than it ever was in
    # training. On the arc it keeps the distribution of its ends: cos^2 + sin^2 = 1.
    if args.interpolate:
        start, end = np.random.default_rng(args.seed).standard_normal((2, WALKS, 1, latent_dim))
        angle = np.linspace(0, np.pi / 2, STEPS)[:, None]  # (10, 1)
        noise = np.cos(angle) * start + np.sin(angle) * end  # (8, 10, latent_dim)
        orders = [labels.repeat(STEPS, axis=0) for labels in order(WALKS)]  # one for each walk
        pixels = paint(generator, noise.reshape(-1, latent_dim), *orders)
        grid(folder / "interpolation.png", pixels, f"{name}: from one random digit to another", columns=STEPS)

    result = {"script": "paint_digits", "status": "finished", **vars(args)}
    results.write_result(folder, result)
    print(f"{', '.join(sorted(path.name for path in folder.iterdir()))}: {cli.relative(folder)}")
    if args.show:
        show(folder)
    return {**result, "folder": folder}


def is_generator(inputs, images):
    """Return whether these shapes, as Keras gives them, are a generator's: noise, or noise and labels, to images."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return images == (None, 28, 28, 1) and len(inputs) <= 2 and all(len(shape) == 2 and shape[1] for shape in inputs)


def paint(generator, noise, *labels):
    """Return the images of noise (count, latent_dim) as pixels (count, 28, 28, 1), uint8 from 0 to 255.

    A conditional generator also takes one-hot labels (count, classes).

    A generator that ends in tanh paints in [-1, 1], any other in [0, 1]. Which it is shows with noise so large that the
    last layer saturates: tanh then comes to -1, a sigmoid to 0; a layer without an activation goes far below both.
    """
    inputs = [noise, *labels] if labels else noise
    extreme = [1000 * noise[:100], labels[0][:100]] if labels else 1000 * noise[:100]
    images = generator.predict(inputs, batch_size=500, verbose=0)
    lowest = generator.predict(extreme, batch_size=500, verbose=0).min()
    return as_pixels(images if -1.01 < lowest < -0.5 else 2 * images - 1)


def parse(argv):
    """Return the command line as a namespace."""
    parser = cli.parser(__doc__, images=False)
    parser.add_argument("model", type=cli.path, metavar="MODEL",
                        help="a saved generator or decoder, such as generator.keras of a GAN")
    parser.add_argument("--count", type=cli.number(int, at_least=1), default=COUNT, metavar="N",
                        help="images to paint (default %(default)s)")
    parser.add_argument("--digit", type=cli.number(int, at_least=0), metavar="D",
                        help="paint only this digit, with a conditional generator (default: every digit in turn)")
    parser.add_argument("--interpolate", action="store_true", help="also walk from one random digit to another")
    return parser.parse_args(argv)


if __name__ == "__main__":
    script.launch(main)
