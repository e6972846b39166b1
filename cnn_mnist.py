"""A convolutional neural network (CNN) learns to read handwritten digits.

Idea      To this network an image is an image. A kernel of 3 x 3 weights slides over it and looks for one pattern
          everywhere; pooling keeps the strongest response of each 2 x 2 patch, so that the next kernel sees twice as
          far: edges first, then parts, then wholes. The MLP had to learn each pattern anew at every place.
Model     Conv 64 3x3 relu, MaxPool 2, Conv 64 3x3 relu, MaxPool 2, Conv 64 3x3 relu, Dropout 0.2, Dense 10 softmax;
          80,266 parameters.
Run       python cnn_mnist.py
Expect    Test accuracy 99.23 % +- 0.08 (seeds 0 to 2) after 233 s on 2 cores of a 2.5 GHz Xeon; the book prints 99.4 %.
Baseline  11.35 %: always answer 1, the most frequent digit. The MLP: 98.22 % with 269,322 parameters.
Try next  --filters 8            With 1,978 parameters, a fortieth: how much of the accuracy do they buy?
          --batch-norm           Does it learn more in its first epoch? What does a step cost now?
          Conv2D(filters, 1, activation="relu")    What is left of a CNN whose kernels see no neighbours?
Source    Atienza (000), section 4; "TensorFlow fundamentals" (003), Table 3.2, and the summary in Listing 3.18.
"""

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.base import image_rows, picture
from common.plots.classifier import report
from common.plots.model_diagram import model_diagram

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 10  # passes over the training images
BATCH_SIZE = 128  # images per weight update
FILTERS = 64  # feature maps that each convolution makes
DROPOUT = 0.2  # fraction of the 576 features dropped at each training step
OPTIMIZER = "adam"  # the best of the three in Table 3.2


def convolution(filters, batch_norm):
    """Return a convolution and its activation; with `batch_norm` the maps are normalised between the two."""
    if batch_norm:  # 4 numbers a map: running mean and variance, learned scale and shift
        return [layers.Conv2D(filters, 3), layers.BatchNormalization(), layers.Activation("relu")]
    return [layers.Conv2D(filters, 3, activation="relu")]  # or (3, 5), or strides=2, each with padding="same"


def build_model(filters=FILTERS, dropout=DROPOUT, batch_norm=False, num_classes=10):
    """Return the network: (batch, 28, 28, 1) pixels in [0, 1] to (batch, 10) probabilities (003, Listing 3.18)."""
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        *convolution(filters, batch_norm),  # (26, 26, 64)  640 = 64 x (3*3*1 + 1)
        layers.MaxPooling2D(2),  # (13, 13, 64)  or AveragePooling2D(2)
        *convolution(filters, batch_norm),  # (11, 11, 64)  36,928 = 64 x (3*3*64 + 1)
        layers.MaxPooling2D(2),  # (5, 5, 64)  the last row and column are dropped
        *convolution(filters, batch_norm),  # (3, 3, 64)  36,928 = 64 x (3*3*64 + 1)
        layers.Flatten(),  # (576,)  3 rows x 3 columns x 64 maps
        layers.Dropout(dropout),  # (576,)
        layers.Dense(num_classes, activation="softmax"),  # (10,)  5,770 = 576 x 10 + 10
    ])


@picture(6, 3.8)
def kernels(figure, model, name):
    """Draw the first 64 kernels of a model's first convolution, for its first input channel; `name` is the data's."""
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    if not convolutions:
        raise ValueError("the model has no Conv2D layer")
    weights = convolutions[0].get_weights()[0]  # (3, 3, channels, filters)
    shown = np.moveaxis(weights[:, :, 0, :64], -1, 0)  # (64, 3, 3)
    rows = {str(first): shown[first : first + 8] for first in range(0, len(shown), 8)}
    figure.set_size_inches(6, 0.65 * max(len(rows), 4) + 1.2)
    figure.suptitle(f"{name}: first kernels")
    largest = abs(shown).max()
    grid = image_rows(figure, rows, 8, cmap="RdBu_r", vmin=-largest, vmax=largest)
    figure.colorbar(grid[0, 0].images[0], ax=grid, label="weight: red wants ink, blue wants none", shrink=0.8)


@picture(10, 6)
def feature_maps(figure, model, image, name):
    """Draw one image (28, 28) uint8 and the first ten maps after each activation and pooling; `name` is the data's."""
    shown = [layer for layer in model.layers if makes_maps(layer)]
    if not shown:
        raise ValueError("no layer of the model is an activation or a pooling of maps")
    watched = keras.Model(model.inputs[0], [layer.output for layer in shown])
    answers = keras.tree.flatten(watched(image[None, :, :, None] / np.float32(255)))  # one layer alone gives no list
    rows = {"image\n28 x 28": image[None] / 255}
    for layer, answer in zip(shown, answers, strict=True):
        maps = np.moveaxis(np.array(answer[0]), -1, 0)[:10]  # (10, rows, columns)
        rows[f"{layer.name}\n{maps.shape[1]} x {maps.shape[2]}"] = maps / max(maps.max(), 1e-7)
    figure.set_size_inches(10, 1.05 * len(rows) + 0.6)
    figure.suptitle(f"{name}: the first ten maps of each layer; the brightest pixel of a row is its maximum")
    image_rows(figure, rows, 10, cmap="magma")


def makes_maps(layer):
    """Return whether `layer` is an activation or a pooling of maps, which is where their values can be seen.

    With batch normalisation the activation is a layer of its own, and what the convolution gives it is not shown.
    """
    is_pooling = "Pooling" in type(layer).__name__
    is_active = getattr(layer, "activation", None) not in (None, keras.activations.linear)
    return len(layer.output.shape) == 4 and (is_pooling or is_active)


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args)  # which processors
    keras.utils.set_random_seed(args.seed)

    # 1. Data: an image keeps its rows and columns, with numbers from 0 to 1; a label becomes a one-hot vector.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_images(digits.x_train), mnist.as_images(digits.x_test)  # (60000, 28, 28, 1)
    y_train = keras.utils.to_categorical(digits.y_train, digits.num_classes)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, digits.num_classes)  # (10000, 10)

    # 2. Model
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    with strategy.scope():  # with several processors, each holds a copy of the model
        model = build_model(args.filters, args.dropout, args.batch_norm, digits.num_classes)
        optimizer = keras.optimizers.get(args.optimizer)
        if args.learning_rate:
            optimizer.learning_rate = args.learning_rate
        model.compile(
            loss="categorical_crossentropy",  # -log of the probability given to the right digit; guessing costs ln 10
            optimizer=optimizer,
            metrics=["accuracy"],
        )
    model.summary()
    model_diagram(run.folder / "model.png", model)  # the listing's plot_model

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    history = model.fit(
        x_train,
        y_train,
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,  # a progress bar, or a line an epoch
        callbacks=run.callbacks,  # history.csv, the checkpoint, Ctrl-C
    ).history
    run.write("model.keras", model.save)  # written completely or not at all

    # 4. Evaluate. This lesson uses the test images once, here; the book chose optimizer and dropout by test accuracy.
    train = model.evaluate(x_train, y_train, batch_size=args.batch_size, verbose=0, return_dict=True)
    test = model.evaluate(x_test, y_test, batch_size=args.batch_size, verbose=0, return_dict=True)

    # 5. Show: what every classifier shows, and what the kernels look for and find
    report(run.folder, digits, history, model.predict(x_test, batch_size=1000, verbose=0), test, "CNN")
    kernels(run.folder / "kernels.png", model, digits.name)
    feature_maps(run.folder / "feature_maps.png", model, digits.x_test[0], digits.name)
    return run.finish(runs.headline(test), f"baseline {digits.baseline:.2%}", model, train=train, test=test,
                      baseline=digits.baseline)


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    count, fraction = cli.number(int, at_least=1), cli.number(float, at_least=0, below=1)
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE, optimizer=OPTIMIZER)
    parser.add_argument("--filters", type=count, default=FILTERS, metavar="N",
                        help="feature maps of each convolution (default %(default)s)")
    parser.add_argument("--dropout", type=fraction, default=DROPOUT, metavar="P",
                        help="fraction of the features dropped in training (default %(default)s)")
    parser.add_argument("--batch-norm", action="store_true", help="normalise the maps between convolution and relu")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
