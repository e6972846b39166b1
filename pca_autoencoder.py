"""A linear autoencoder finds the subspace of PCA (principal component analysis). Continues autoencoder_mnist.py.

Idea      Without activations encoder and decoder are two matrices. The best that they can do is to project an image
          onto the plane of its 32 strongest components, which PCA computes without training. Gradient descent finds
          the same plane, but not its axes: any mixture of them gives the same loss.
Model     784-32-784 without activations, 50,992 parameters.
Run       python pca_autoencoder.py
Expect    Mean squared error 0.01683, as PCA; the spans are 0.70 degrees apart on average (seeds 0 to 2); 16 to 30 s.
Baseline  PCA: 0.01683. The mean image: 0.0675.
Try next  --code 8                  Which of PCA's components come back? See components.png.
          another linear layer      A longer chain of matrices: does it beat PCA?
          a sigmoid at the end      One step away from linear: does that beat PCA?
Source    "Deep learning: RNNs and LSTMs" (document 001): the linear autoencoder; Baldi and Hornik 1989.
"""

import math

from autoencoder_mnist import BATCH_SIZE, CODE, mse, psnr, strokes  # which imports common/ first
from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots import autoencoder_mnist as plots
from common.plots.model_diagram import model_diagram
from common.training.schedules import one_cycle

import numpy as np
from scipy import linalg
from sklearn.decomposition import PCA
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 10  # passes over the training images
LEARNING_RATE = 2e-3  # Adam's, at its highest


def build_networks(code=CODE):
    """Return the encoder, (batch, 28, 28, 1) in [0, 1] to (batch, code), and the decoder, which leads back."""
    encoder = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Flatten(),  # (784,)
        layers.Dense(code),  # (32,)  25,120 = 784 x 32 + 32
    ], name="encoder")
    decoder = keras.Sequential([
        keras.Input((code,)),
        layers.Dense(784),  # (784,)  25,872 = 32 x 784 + 784; the bias learns the mean image
        layers.Reshape((28, 28, 1)),  # (28, 28, 1)
    ], name="decoder")
    return encoder, decoder


def components_inside(span, images, count=10):
    """Return the first `count` principal components (count, 784) of images (n, 784) seen within `span` (784, code).

    The weights of a linear autoencoder are a mixture of PCA's axes. PCA of what the subspace lets through finds them.
    """
    basis = linalg.orth(span)  # (784, code): perpendicular columns of length 1
    inside = PCA(min(count, basis.shape[1], len(images) - 1)).fit(images @ basis)
    return inside.components_ @ basis.T


def compare_spans(span, pca, images):
    """Return the mean angle in degrees between `span` (784, code) and the span of PCA's components, and the axes in it.

    They are PCA's components as found within the span, (10, 784), each with its |cosine| to the true one, (10,).
    """
    found = components_inside(span, images)  # (10, 784)
    cosines = np.sum(found * pca.components_[: len(found)], axis=1)  # (10,)
    angles = linalg.subspace_angles(span, pca.components_.T)  # (32,) in radians, from 0 to pi / 2
    return np.degrees(angles).mean(), np.sign(cosines)[:, None] * found, np.abs(cosines)  # an axis has no sign


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args)  # which processors
    keras.utils.set_random_seed(args.seed)

    # 1. Data: the images alone; no label is needed.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_images(digits.x_train), mnist.as_images(digits.x_test)  # (60000, 28, 28, 1)
    if len(x_train) < 2:
        raise cli.UserError("PCA, to compare with, needs two training images at least")

    # 2. Model
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    with strategy.scope():  # with several processors, each holds a copy of the model
        encoder, decoder = build_networks(args.code)
        model = keras.Sequential([keras.Input((28, 28, 1)), *encoder.layers, *decoder.layers], name="autoencoder")
        rate = one_cycle(LEARNING_RATE, steps, warmup=0.2)  # climbs to its peak, then falls to zero
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

    # 4. Evaluate, beside PCA
    flat = x_train.reshape(-1, 784)  # (60000, 784)
    pca = PCA(min(args.code, len(flat) - 1, 784)).fit(flat)
    codes = encoder.predict(x_test, batch_size=1000, verbose=0)  # (10000, 32)
    images = {
        "linear": decoder.predict(codes, batch_size=1000, verbose=0),  # (10000, 28, 28, 1)
        "PCA": pca.inverse_transform(pca.transform(x_test.reshape(-1, 784))).reshape(x_test.shape),
    }
    error, pca_error = mse(images["linear"], x_test), mse(images["PCA"], x_test)
    # The decoder's span, not the encoder's: a pixel that is always black leaves its weights there as they were drawn.
    span = strokes(decoder).T  # (784, 32)
    components, numbers = {"PCA": pca.components_, "linear": span.T}, {}
    if np.isfinite(span).all():  # not where the training diverged
        angle, found, cosines = compare_spans(span, pca, flat)
        components["PCA within it"] = found
        numbers = {"principal_angle": angle, "component_cosine": cosines.min()}
        print(f"its span and that of PCA are {angle:.2f} degrees apart on average; within it PCA's first {len(found)} "
              f"components are found with |cos| {cosines.min():.4f} or more")

    # 5. Show
    title = f"{digits.name}, linear, {args.code} numbers"
    plots.reconstructions(run.folder / "reconstructions.png", {"original": x_test, **images}, title)
    plots.components(run.folder / "components.png", components, title)
    if args.code == 2:
        plots.code_map(run.folder / "code.png", codes, digits.y_test, title)
    return run.finish(f"Test error: {error:.5f} ({psnr(error):.2f} dB)", f"PCA {pca_error:.5f}", model,
                      test_mse=error, pca_mse=pca_error, mean_mse=mse(x_train.mean(axis=0), x_test), psnr=psnr(error),
                      **numbers)


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    count = cli.number(int, at_least=1)
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--code", type=count, default=CODE, metavar="N", help="numbers in a code (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
