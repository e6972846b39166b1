"""An autoencoder squeezes an image through a few numbers and paints it again from them.

Idea      No label tells this network what to answer: its target is its own input. Between the encoder and the decoder
          stands a code of 32 numbers, so it cannot copy, and has to find out what all digits have in common.
Model     --kind basic 784-32-784, 50,992 parameters; deep 784-256-64-32-64-256-784, 439,728; denoising noise, then
          784-512-32-512-784, 837,424; linear 784-32-784 without activations, 50,992; lstm 28 rows, LSTM 128, 32,
          LSTM 128, 28 rows, 170,556.
Run       python autoencoder_mnist.py --kind deep
Expect    Mean squared error per pixel, means of seeds 0 to 2 on MNIST (TensorFlow 2.21.0, Keras 3.15.1), and how often
          a classifier still reads the same digit; lstm takes 73 s on 2 cores of an Intel Xeon:
          basic 0.01007 (19.97 dB), 96.7 %; deep 0.00664 (21.78 dB), 98.2 %; denoising 0.01298 (18.87 dB), 96.0 %;
          linear 0.01684 (17.74 dB), 96.6 %; lstm 0.01572 (18.05 dB), 93.8 %.
Baseline  PCA (principal component analysis) with 32 numbers: 0.0168; of noisy images 0.0327. The mean image: 0.0675.
Try next  --kind linear --code 8    Which of PCA's components come back? See components.png.
          --kind deep --code 2      Two numbers are a place on a map, code.png. Which digits share one?
          a contractive code        A penalty on its slopes (tests/test_autoencoder_mnist.py): what does it cost?
          python paint_digits.py .../decoder.keras    Random codes: why are they no digits? Compare code.png.
Source    "Deep learning: RNNs and LSTMs" (document 001): basic, deep, denoising, linear, LSTM, contractive.
"""

import math

from common import cli, device, mnist, runs, script  # first: device starts TensorFlow without its log lines
from common.judge import Judge
from common.plots import autoencoder_mnist as plots
from common.plots.diagram import diagram

import numpy as np
from scipy import linalg, ndimage
from sklearn.decomposition import PCA
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = {"basic": 10, "deep": 12, "denoising": 12, "linear": 10, "lstm": 4}  # passes over the training images
LEARNING_RATE = {"basic": 2e-3, "deep": 2e-3, "denoising": 3e-3, "linear": 2e-3, "lstm": 4e-3}  # Adam's, at its highest
BATCH_SIZE = 128  # images per weight update
CODE = 32  # numbers between encoder and decoder
NOISE = 0.5  # standard deviation of the noise that `denoising` removes; black is 0, white is 1
BLURS = np.arange(0.5, 1.6, 0.1)  # widths in pixels of the Gaussian filter, the best of which `denoising` has to beat


def build_networks(kind="basic", code=CODE):
    """Return the encoder, (batch, 28, 28, 1) in [0, 1] to (batch, code), and the decoder, which leads back."""
    if kind == "basic":
        encoder = [
            layers.Flatten(),  # (784,)
            layers.Dense(code, activation="relu"),  # (32,)  25,120 = 784 x 32 + 32
        ]
        decoder = [
            layers.Dense(784, activation="sigmoid"),  # (784,)  25,872 = 32 x 784 + 784; a pixel lies in [0, 1]
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
        ]
    elif kind == "deep":
        encoder = [
            layers.Flatten(),  # (784,)
            layers.Dense(256, activation="relu"),  # (256,)  200,960 = 784 x 256 + 256
            layers.Dense(64, activation="relu"),  # (64,)  16,448 = 256 x 64 + 64
            layers.Dense(code),  # (32,)  2,080 = 64 x 32 + 32; relu would waste half of each number's range
        ]
        decoder = [
            layers.Dense(64, activation="relu"),  # (64,)  2,112 = 32 x 64 + 64
            layers.Dense(256, activation="relu"),  # (256,)  16,640 = 64 x 256 + 256
            layers.Dense(784, activation="sigmoid"),  # (784,)  201,488 = 256 x 784 + 784
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
        ]
    elif kind == "denoising":
        encoder = [
            layers.GaussianNoise(NOISE),  # (28, 28, 1)  new noise for each image in each epoch; none in a test
            layers.ReLU(max_value=1.0),  # (28, 28, 1)  below black is black, above white is white
            layers.Flatten(),  # (784,)
            layers.Dense(512, activation="relu"),  # (512,)  401,920 = 784 x 512 + 512
            layers.Dense(code),  # (32,)  16,416 = 512 x 32 + 32
        ]
        decoder = [
            layers.Dense(512, activation="relu"),  # (512,)  16,896 = 32 x 512 + 512
            layers.Dense(784, activation="sigmoid"),  # (784,)  402,192 = 512 x 784 + 784
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
        ]
    elif kind == "linear":
        encoder = [
            layers.Flatten(),  # (784,)
            layers.Dense(code),  # (32,)  25,120 = 784 x 32 + 32
        ]
        decoder = [
            layers.Dense(784),  # (784,)  25,872 = 32 x 784 + 784
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
        ]
    else:
        encoder = [
            layers.Reshape((28, 28)),  # (28, 28)  28 rows of 28 pixels
            layers.LSTM(128),  # (128,)  80,384 = 4 x 128 x (28 + 128 + 1); reads the rows, keeps its last state
            layers.Dense(code),  # (32,)  4,128 = 128 x 32 + 32
        ]
        decoder = [
            layers.RepeatVector(28),  # (28, 32)  the code, once for each row: all that the decoder ever sees
            layers.LSTM(128, return_sequences=True),  # (28, 128)  82,432 = 4 x 128 x (32 + 128 + 1)
            layers.Dense(28, activation="sigmoid"),  # (28, 28)  3,612 = 128 x 28 + 28; the same for each row
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
        ]
    return (keras.Sequential([keras.Input((28, 28, 1)), *encoder], name="encoder"),
            keras.Sequential([keras.Input((code,)), *decoder], name="decoder"))  # fmt: skip


def mse(images, originals):
    """Return the mean squared error of a pixel: the loss."""
    return float(np.mean((images - originals) ** 2))


def psnr(error):
    """Return the peak signal-to-noise ratio in dB of images in [0, 1] with this mean squared error."""
    return -10 * math.log10(error) if error else math.inf


def rivals(pca, pca_codes, x_train, x_test, given):
    """Return what needs no network, as images (10000, 28, 28, 1) by name; if `given` is noisy, two filters as well."""
    images = {
        "PCA": pca.inverse_transform(pca_codes).reshape(x_test.shape),
        "mean image": np.broadcast_to(x_train.mean(axis=0), x_test.shape),
    }
    if given is not x_test:
        blurred = (ndimage.gaussian_filter(given, (0, width, width, 0)) for width in BLURS)
        images |= {"noisy": given, "Gaussian filter": min(blurred, key=lambda image: mse(image, x_test)),
                   "median filter": ndimage.median_filter(given, (1, 3, 3, 1))}  # fmt: skip
    return images


def components_inside(span, images, count=10):
    """Return the first `count` principal components (count, 784) of images (n, 784) seen within `span` (784, code).

    A linear autoencoder finds the same subspace as PCA, but not its axes: any mixture of them gives the same loss, and
    its weights are one. PCA of what the subspace lets through finds the axes.
    """
    basis = linalg.orth(span)  # (784, code)
    return PCA(min(count, basis.shape[1], len(images) - 1)).fit(images @ basis).components_ @ basis.T


def strokes(decoder):
    """Return what each number of a code alone adds to an image, (code, 784): the span of a linear decoder."""
    code = np.eye(decoder.input_shape[1])  # (32, 32)
    return (decoder.predict(code, verbose=0) - decoder.predict(0 * code, verbose=0)).reshape(-1, 784)


def compare_spans(span, pca, images):
    """Return how far `span` (784, code) is from that of PCA, and PCA's components as found within it, (10, 784)."""
    found = components_inside(span, images)  # (10, 784)
    cosines = np.sum(found * pca.components_[: len(found)], axis=1, keepdims=True)  # (10, 1)
    angle, cosine = np.degrees(linalg.subspace_angles(span, pca.components_.T)).mean(), np.abs(cosines).min()
    print(f"its span and that of PCA are {angle:.2f} degrees apart on average; within it PCA's first {len(found)} "
          f"components are found with |cos| {cosine:.4f} or more")  # fmt: skip
    return {"principal_angle": angle, "component_cosine": cosine}, np.sign(cosines) * found  # an axis has no sign


def nearest_same(known, y_known, asked, y_asked):
    """Return how often the nearest of the known codes is of the same digit as the one asked; nan without codes."""
    if not (np.isfinite(known).all() and np.isfinite(asked).all()):  # training diverged
        return math.nan
    squares = np.sum(known**2, axis=1)  # |asked - known|^2 is |asked|^2 + squares - 2 asked known
    nearest = [np.argmin(squares - 2 * part @ known.T, axis=1) for part in np.array_split(asked, 20)]
    return np.mean(y_known[np.concatenate(nearest)] == y_asked)


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args)  # which processors
    keras.utils.set_random_seed(args.seed)

    # 1. Data: the images alone; no label is needed. What `denoising` is tested on has its noise already.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_images(digits.x_train), mnist.as_images(digits.x_test)  # (60000, 28, 28, 1)
    if len(x_train) < 2:
        raise cli.UserError("PCA, to compare with, needs two training images at least")
    given = x_test  # (10000, 28, 28, 1)
    if args.kind == "denoising":
        noise = np.random.default_rng(args.seed).standard_normal(x_test.shape, dtype="float32")
        given = np.clip(x_test + NOISE * noise, 0, 1)

    # 2. Model
    run = runs.Run("autoencoder_mnist", args, strategy, digits)
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    with strategy.scope():
        encoder, decoder = build_networks(args.kind, args.code)
        model = keras.Sequential([keras.Input((28, 28, 1)), *encoder.layers, *decoder.layers], name="autoencoder")
        rate = keras.optimizers.schedules.CosineDecay(  # climbs to its peak, then falls to zero
            0.0, 0.8 * steps, warmup_target=LEARNING_RATE[args.kind], warmup_steps=0.2 * steps)  # fmt: skip
        model.compile(loss="mse", optimizer=keras.optimizers.Adam(rate))
    model.summary()
    diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    model.fit(
        x_train,
        x_train,  # the target is the input
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,
        callbacks=run.callbacks,  # history.csv, the time, Ctrl-C
    )
    run.write("model.keras", model.save)  # a whole file or none
    run.write("decoder.keras", decoder.save)  # for paint_digits.py

    # 4. Evaluate, beside the best that any linear method can do with as many numbers: PCA
    codes = encoder.predict(given, batch_size=1000, verbose=0)  # (10000, 32)
    flat = x_train.reshape(-1, 784)
    pca = PCA(min(args.code, len(flat) - 1, 784)).fit(flat)
    pca_codes = pca.transform(given.reshape(-1, 784))  # (10000, 32)
    rebuilt = decoder.predict(codes, batch_size=1000, verbose=0)  # (10000, 28, 28, 1)
    images = {args.kind: rebuilt, **rivals(pca, pca_codes, x_train, x_test, given)}
    judge = Judge(digits)  # a classifier of real digits
    errors = {name: mse(shown, x_test) for name, shown in images.items()}
    same = {name: judge.agreement(shown, digits.y_test) for name, shown in images.items()}
    print(f"\n{args.code:3} numbers      test error       dB   judged same")
    for name in images:
        print(f"{name:16}{errors[name]:11.5f}{psnr(errors[name]):9.2f}{same[name]:14.1%}")
    known = encoder.predict(x_train, batch_size=1000, verbose=0)  # (60000, 32)
    nearest = nearest_same(known, digits.y_train, codes, digits.y_test)
    nearest_pca = nearest_same(pca.transform(flat), digits.y_train, pca_codes, digits.y_test)
    print(f"the nearest code is of the same digit: {args.kind} {nearest:.1%}, PCA {nearest_pca:.1%}")
    added = strokes(decoder)  # (32, 784)
    numbers, components = {}, {"PCA": pca.components_, args.kind: added}
    if args.kind == "denoising":
        numbers = {"psnr_gain": psnr(errors[args.kind]) - psnr(errors["noisy"])}
    if args.kind == "linear" and np.isfinite(codes).all():
        numbers, components["PCA within it"] = compare_spans(added.T, pca, flat)

    # 5. Show
    title = f"{digits.name}, {args.kind}, {args.code} numbers"
    first = {"noisy": given} if args.kind == "denoising" else {}
    plots.reconstructions(run.folder / "reconstructions.png", {"original": x_test, **first, **images}, title)
    plots.components(run.folder / "components.png", components, title)
    if args.code == 2:
        plots.code_map(run.folder / "code.png", codes, digits.y_test, title)
    return run.finish(
        f"Test error: {errors[args.kind]:.5f} ({psnr(errors[args.kind]):.2f} dB)",
        f"PCA {errors['PCA']:.5f}",
        model,
        test_mse=errors[args.kind],
        pca_mse=errors["PCA"],
        mean_mse=errors["mean image"],
        psnr=psnr(errors[args.kind]),
        judged_same=same[args.kind],
        nearest_same=nearest,
        nearest_same_pca=nearest_pca,
        **numbers,
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, those of --kind."""
    parser = cli.parser(__doc__, epochs=EPOCHS["basic"], batch_size=BATCH_SIZE)
    parser.add_argument("--kind", choices=EPOCHS, default="basic",
                        help="which autoencoder; each takes its own number of epochs (default %(default)s)")
    parser.add_argument("--code", type=cli.number(int, at_least=1), default=CODE, metavar="N",
                        help="numbers between encoder and decoder (default %(default)s)")
    return cli.parse(parser, argv, lambda args: {"epochs": EPOCHS[args.kind]})


if __name__ == "__main__":
    script.launch(main)
