"""An autoencoder squeezes an image through a few numbers and paints it again from them.

Idea      No label tells this network what to answer: its target is its own input. Between the encoder and the decoder
          stands a code of 32 numbers, so it cannot copy, and has to find out what all digits have in common.
Model     --kind basic 784-32-784, 50,992 parameters; deep 784-256-64-32-64-256-784, 439,728; denoising noise, then
          784-512-32-512-784, 837,424; lstm 28 rows, LSTM 128, 32, LSTM 128, 28 rows, 170,556.
Run       python autoencoder_mnist.py --kind deep
Expect    basic: mean squared error 0.01007 +- 0.00002 per pixel, 19.97 dB (seeds 0 to 2), 20 to 29 s on 2 cores.
Baseline  The mean image: 0.0675. PCA (principal component analysis) with 32 numbers: 0.0168; of noisy images 0.0327.
Try next  --kind deep --code 2      Two numbers are a place on a map, code.png. Which digits share one?
          a contractive code        A penalty on its slopes (tests/test_autoencoder_mnist.py): what does it cost?
          python paint_digits.py .../decoder.keras    Random codes: why are they no digits? Compare code.png.
Source    "Deep learning: RNNs and LSTMs" (document 001): basic, denoising, stacked and deep, LSTM, contractive.
"""

import math

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.generative.metrics import Judge
from common.plots import autoencoder_mnist as plots
from common.plots.model_diagram import model_diagram
from common.training.schedules import one_cycle

import numpy as np
from scipy import ndimage
from sklearn.decomposition import PCA
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = {"basic": 10, "deep": 12, "denoising": 12, "lstm": 4}  # passes over the training images
LEARNING_RATE = {"basic": 2e-3, "deep": 2e-3, "denoising": 3e-3, "lstm": 4e-3}  # Adam's, at its highest
BATCH_SIZE = 128  # images per weight update
CODE = 32  # numbers between encoder and decoder
NOISE = 0.5  # standard deviation of the noise that `denoising` removes; black is 0, white is 1


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
            layers.Dense(code),  # (32,)  2,080 = 64 x 32 + 32; relu would leave only half of each number's range
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
    encoder = keras.Sequential([keras.Input((28, 28, 1)), *encoder], name="encoder")
    decoder = keras.Sequential([keras.Input((code,)), *decoder], name="decoder")
    return encoder, decoder


def mse(images, originals):
    """Return the mean squared error of a pixel: the loss."""
    return float(np.mean((images - originals) ** 2))


def psnr(error):
    """Return the peak signal-to-noise ratio in dB of images in [0, 1] with this mean squared error over all of them."""
    return -10 * math.log10(error) if error else math.inf


def filtered(noisy, originals):
    """Return {name: images} for what removes noise without learning; of the Gaussian filters the best."""
    blurred = [ndimage.gaussian_filter(noisy, (0, width, width, 0)) for width in np.arange(0.5, 1.6, 0.1)]  # pixels
    best = blurred[np.argmin([mse(images, originals) for images in blurred])]
    return {"noisy": noisy, "Gaussian filter": best, "median filter": ndimage.median_filter(noisy, (1, 3, 3, 1))}


def strokes(decoder):
    """Return what each number of a code alone adds to an image, (code, 784)."""
    code = np.eye(decoder.input_shape[1])  # (32, 32)
    return (decoder.predict(code, verbose=0) - decoder.predict(0 * code, verbose=0)).reshape(-1, 784)


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
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    with strategy.scope():  # with several processors, each holds a copy of the model
        encoder, decoder = build_networks(args.kind, args.code)
        model = keras.Sequential([keras.Input((28, 28, 1)), *encoder.layers, *decoder.layers], name="autoencoder")
        rate = one_cycle(LEARNING_RATE[args.kind], steps, warmup=0.2)  # climbs to its peak, then falls to zero
        model.compile(loss="mse", optimizer=keras.optimizers.Adam(rate))
    model.summary()
    model_diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    model.fit(
        x_train, x_train,  # the target is the input
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,
        callbacks=run.callbacks,  # history.csv, the checkpoint, Ctrl-C
    )
    run.write("model.keras", model.save)  # written completely or not at all
    run.write("encoder.keras", encoder.save)
    run.write("decoder.keras", decoder.save)  # for paint_digits.py

    # 4. Evaluate, beside the best that any linear method can do with as many numbers: PCA
    codes = encoder.predict(given, batch_size=1000, verbose=0)  # (10000, 32)
    images = filtered(given, x_test) if args.kind == "denoising" else {}  # (10000, 28, 28, 1) by name
    images[args.kind] = decoder.predict(codes, batch_size=1000, verbose=0)
    flat = x_train.reshape(-1, 784)  # (60000, 784)
    pca = PCA(min(args.code, len(flat) - 1, 784)).fit(flat)
    pca_codes = pca.transform(given.reshape(-1, 784))  # (10000, 32)
    images["PCA"] = pca.inverse_transform(pca_codes).reshape(x_test.shape)
    images["mean image"] = np.broadcast_to(x_train.mean(axis=0), x_test.shape)
    judge = Judge(digits)  # a classifier of real digits
    errors = {name: mse(shown, x_test) for name, shown in images.items()}
    same = {name: judge.agreement(shown, digits.y_test) for name, shown in images.items()}
    print(f"\n{args.code:3} numbers      test error       dB   judged same")
    for name in images:
        print(f"{name:16}{errors[name]:11.5f}{psnr(errors[name]):9.2f}{same[name]:14.1%}")
    nearest = nearest_same(encoder.predict(x_train, batch_size=1000, verbose=0), digits.y_train, codes, digits.y_test)
    nearest_pca = nearest_same(pca.transform(flat), digits.y_train, pca_codes, digits.y_test)
    print(f"the nearest code is of the same digit: {args.kind} {nearest:.1%}, PCA {nearest_pca:.1%}")

    # 5. Show
    title = f"{digits.name}, {args.kind}, {args.code} numbers"
    plots.reconstructions(run.folder / "reconstructions.png", {"original": x_test, **images}, title)
    plots.components(run.folder / "components.png", {"PCA": pca.components_, args.kind: strokes(decoder)}, title)
    if args.code == 2:
        plots.code_map(run.folder / "code.png", codes, digits.y_test, title)
    error = errors[args.kind]
    gain = {"psnr_gain": psnr(error) - psnr(errors["noisy"])} if args.kind == "denoising" else {}
    return run.finish(f"Test error: {error:.5f} ({psnr(error):.2f} dB)", f"PCA {errors['PCA']:.5f}", model,
                      test_mse=error, pca_mse=errors["PCA"], mean_mse=errors["mean image"], psnr=psnr(error),
                      judged_same=same[args.kind], nearest_same=nearest, nearest_same_pca=nearest_pca, **gain)


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, those of --kind."""
    count = cli.number(int, at_least=1)
    parser = cli.parser(__doc__, epochs=EPOCHS["basic"], batch_size=BATCH_SIZE)
    parser.add_argument("--kind", choices=EPOCHS, default="basic", help="which autoencoder (default %(default)s)")
    parser.add_argument("--code", type=count, default=CODE, metavar="N", help="numbers in a code (default %(default)s)")
    return parser.parse_args(argv, own=lambda args: {"epochs": EPOCHS[args.kind]})


if __name__ == "__main__":
    cli.launch(main)
