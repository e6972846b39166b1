"""A multilayer perceptron (MLP) learns to read handwritten digits.

Idea      To this network an image is a list of 784 numbers. It does not know which pixels are neighbours: each hidden
          unit computes relu(w x + b) of all of them, and dropout keeps the units from relying on one another.
Model     Dense 256 relu, Dropout 0.45, Dense 256 relu, Dropout 0.45, Dense 10 softmax; 269,322 parameters.
Run       python mlp_mnist.py
Expect    Test accuracy 98.22 % +- 0.08 (seeds 0 to 2) after 49 s on 2 cores of a 2.5 GHz Xeon; the book prints 98.5 %.
Baseline  11.35 %: always answer 1, the most frequent digit.
Try next  --dropout 0             Does the training accuracy still tell you anything about the test accuracy?
          --activation linear     How good is a network that can only draw straight lines?
          fit(..., validation_split=0.1)    After which epoch does it overfit? See learning_curves.png.
Source    "TensorFlow fundamentals" (document 003), Listing 3.8 and Table 3.1 (whose networks have a third hidden
          layer); Atienza (000), section 3.
"""

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.classifier import report
from common.plots.model_diagram import model_diagram

from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 20  # passes over the training images, as in the book
BATCH_SIZE = 128  # images per weight update
UNITS = 256  # width of both hidden layers
DROPOUT = 0.45  # fraction of the hidden units dropped at each training step
ACTIVATION = "relu"  # max(0, x): without it three layers could compute no more than one
ACTIVATIONS = ("relu", "elu", "selu", "gelu", "silu", "leaky_relu", "softplus", "softsign", "sigmoid", "tanh", "linear")
OPTIMIZER = "adam"  # the best of the three in Table 3.1


def build_model(units=UNITS, dropout=DROPOUT, activation=ACTIVATION, num_classes=10):
    """Return the network: (batch, 784) pixels in [0, 1] to (batch, 10) probabilities (003, Listings 3.8 and 3.12)."""
    return keras.Sequential([
        keras.Input((784,)),
        # Another cure for overfitting: Dense(..., kernel_regularizer=keras.regularizers.L2(0.001)), as in Listing 3.13.
        layers.Dense(units, activation=activation),  # (256,)  200,960 = 784 x 256 + 256; the listing: Dense, Activation
        layers.Dropout(dropout),  # (256,)  about 141 of the 256 are kept in training, all in a test
        layers.Dense(units, activation=activation),  # (256,)  65,792 = 256 x 256 + 256
        layers.Dropout(dropout),  # (256,)
        layers.Dense(num_classes, activation="softmax"),  # (10,)  2,570 = 256 x 10 + 10; positive, summing to 1
    ])


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args)  # which processors
    keras.utils.set_random_seed(args.seed)

    # 1. Data: an image becomes a row of 784 numbers from 0 to 1, a label a one-hot vector: 2 is 0 0 1 0 0 0 0 0 0 0.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_vectors(digits.x_train), mnist.as_vectors(digits.x_test)  # (60000, 784), (10000, 784)
    y_train = keras.utils.to_categorical(digits.y_train, digits.num_classes)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, digits.num_classes)  # (10000, 10)

    # 2. Model
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    with strategy.scope():  # with several processors, each holds a copy of the model
        model = build_model(args.units, args.dropout, args.activation, digits.num_classes)
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

    # 5. Show: learning curves, confusion matrix, most confident mistakes
    report(run.folder, digits, history, model.predict(x_test, batch_size=1000, verbose=0), test, "MLP")
    return run.finish(runs.headline(test), f"baseline {digits.baseline:.2%}", model, train=train, test=test,
                      baseline=digits.baseline)


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    count, fraction = cli.number(int, at_least=1), cli.number(float, at_least=0, below=1)
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE, optimizer=OPTIMIZER)
    parser.add_argument("--units", type=count, default=UNITS, metavar="N",
                        help="width of both hidden layers (default %(default)s)")
    parser.add_argument("--dropout", type=fraction, default=DROPOUT, metavar="P",
                        help="fraction of the hidden units dropped in training (default %(default)s)")
    parser.add_argument("--activation", type=str.lower, choices=ACTIVATIONS, default=ACTIVATION, metavar="NAME",
                        help="of the hidden layers (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
