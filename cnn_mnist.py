"""A convolutional neural network (CNN) learns to read handwritten digits.

Idea      To this network an image is an image. A kernel of 3 x 3 weights slides over it and looks for one pattern
          everywhere; pooling keeps the strongest response of each 2 x 2 patch, so that the next kernel sees twice as
          far: edges first, then parts, then wholes. The MLP had to learn each pattern anew at every place.
Model     Conv 64 3x3 relu, MaxPool 2, Conv 64 3x3 relu, MaxPool 2, Conv 64 3x3 relu, Dropout 0.2, Dense 10 softmax;
          80,266 parameters.
Run       python cnn_mnist.py
          python cnn_mnist.py --filters 32 --epochs 3
Expect    Test accuracy 99.23 % +- 0.08 (mean and standard deviation of seeds 0, 1, 2) after 233 s of training on 2
          cores (Intel Xeon, 2.5 GHz, TensorFlow 2.21.0, Keras 3.15.1). The book prints 99.4 %.
Baseline  11.35 %: always answer 1, the most frequent digit. The MLP: 98.22 % with 269,322 parameters.
Try next  --filters 8            With 1,978 parameters, a fortieth: how much of the accuracy do they buy?
          --batch-norm           Does it learn more in its first epoch? What does a step cost now?
          Conv2D(filters, 1, activation="relu")    What is left of a CNN whose kernels see no neighbours?
Source    "TensorFlow fundamentals" (document 003), Listings 3.17 and 3.18, Table 3.2; Atienza (000), section 4.
"""

from common import cli, device, mnist, runs, script  # first: device starts TensorFlow without its log lines
from common.plots.cnn_mnist import feature_maps, kernels
from common.plots.common import report
from common.plots.diagram import diagram

from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 10  # passes over the training images
BATCH_SIZE = 128  # images per weight update; a power of 2 suits the hardware
FILTERS = 64  # feature maps that each convolution makes
DROPOUT = 0.2  # fraction of the 576 features dropped at each training step
OPTIMIZER = "adam"  # the best of the three in Table 3.2


def convolution(filters, batch_norm):
    """Return a convolution and its activation; with `batch_norm` the maps are normalised between the two."""
    if batch_norm:  # 4 numbers a map: running mean and variance, learned scale and shift
        return [layers.Conv2D(filters, 3), layers.BatchNormalization(), layers.Activation("relu")]
    return [layers.Conv2D(filters, 3, activation="relu")]  # or (3, 5), or strides=2, each with padding="same"


def build_model(filters=FILTERS, dropout=DROPOUT, batch_norm=False, num_classes=10):
    """Return the network: (batch, 28, 28, 1) pixels in [0, 1] to (batch, 10) probabilities (003, Listing 3.17)."""
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
    ])  # fmt: skip


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
    run = runs.Run("cnn_mnist", args, strategy, digits)  # makes the run's folder, prints the first line
    with strategy.scope():  # of several processors each gets a copy of the model
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
    diagram(run.folder / "model.png", model)  # the listing's plot_model

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    history = model.fit(
        x_train,
        y_train,
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,  # a progress bar, or a line an epoch
        callbacks=run.callbacks,  # history.csv, the time, Ctrl-C
    ).history
    run.write("model.keras", model.save)  # a whole file or none

    # 4. Evaluate. The test images are used once, here: no setting was chosen by them.
    train = model.evaluate(x_train, y_train, batch_size=args.batch_size, verbose=0, return_dict=True)
    test = model.evaluate(x_test, y_test, batch_size=args.batch_size, verbose=0, return_dict=True)

    # 5. Show: what every classifier shows, and what the kernels look for and find
    report(run.folder, digits, history, model.predict(x_test, batch_size=1000, verbose=0), test, "CNN")
    kernels(run.folder / "kernels.png", model, digits.name)
    feature_maps(run.folder / "feature_maps.png", model, digits.x_test[0], digits.name)
    return run.finish(runs.headline(test), f"baseline {digits.baseline:.2%}", model, train=train, test=test,
                      baseline=digits.baseline)  # fmt: skip


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE, optimizer=OPTIMIZER)
    parser.add_argument("--filters", type=cli.number(int, at_least=1), default=FILTERS, metavar="N",
                        help="feature maps of each convolution (default %(default)s)")
    parser.add_argument("--dropout", type=cli.number(float, at_least=0, below=1), default=DROPOUT, metavar="P",
                        help="fraction of the features dropped in training (default %(default)s)")
    parser.add_argument("--batch-norm", action="store_true", help="normalise the maps between convolution and relu")
    return parser.parse_args(argv)


if __name__ == "__main__":
    script.launch(main)
