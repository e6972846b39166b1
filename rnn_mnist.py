"""A recurrent neural network (RNN) learns to read handwritten digits row by row.

Idea      To this network an image is a sequence: 28 time steps of 28 pixels. It reads row after row with the same
          weights and keeps what it has seen in a state of 256 numbers, from which the digit is predicted after the last
          row. LSTM and GRU add gates, which decide what to keep and what to forget.
Model     SimpleRNN 256 with dropout 0.2, Dense 10 softmax; 75,530 parameters (--cell lstm 294,410, --cell gru 222,218).
Run       python rnn_mnist.py
          python rnn_mnist.py --listing rnn-16
Expect    Test accuracy 97.62 % +- 0.25 (seeds 0 to 2) after 159 s on 2 cores of a 2.5 GHz Xeon; the book prints 98.0 %.
Baseline  11.35 %: always answer 1, the most frequent digit.
Try next  --bidirectional          Two readers, one from each end: what is the second one worth?
          --cell gru --units 32 --optimizer adam    How much memory does a digit need?
          --optimizer adam         What is Adam worth, and what do LSTM and GRU do without it?
Source    "TensorFlow fundamentals" (document 003), Listing 3.19, Table 3.3; document 000, sections 5, 6; LISTINGS.
"""

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.base import GREYS, optional, picture, ticks
from common.plots.classifier import report
from common.plots.model_diagram import model_diagram

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 20  # passes over the training images
BATCH_SIZE = 128  # images per weight update
UNITS = 256  # size of the state h
DROPOUT = 0.2  # fraction of the 28 columns dropped at each training step, the same ones in every row
ACTIVATION = "tanh"  # keeps the state in [-1, 1], however many steps there are
OPTIMIZER = "sgd"  # the best of the three in Table 3.3

LISTINGS = {
    "rnn": {},  # document 003, Listing 3.19: the constants above
    # document 001, Listing 5.2; the log that it prints is that of another run, of 256 units and 5 epochs
    "rnn-128": {"units": 128, "dropout": 0.3, "epochs": 8},
    # document 002, whose read_data_sets keeps 5,000 of the 60,000 images for validation
    "rnn-16": {
        "units": 16, "activation": "relu", "dropout": 0.0,
        "optimizer": "rmsprop", "learning_rate": 0.01, "batch_size": 100,
    },
    # document 004, Classifier, which updates 4,001 times and tests at every 500th. Its unroll=True is left out: it
    # computes the same numbers, by a longer graph.
    "rnn-50": {
        "units": 50, "dropout": 0.0,
        "optimizer": "adam", "batch_size": 50, "epochs": 8, "steps_per_epoch": 500,
    },
}

# One step of each cell, from the row x (28,) and the last state h (256,) to the next h. W is (28, 256), U (256, 256),
# b (256,), every gate with its own; * multiplies number by number; sigmoid moves a gate from 0 (shut) to 1 (open). The
# letters are document 001's; document 003 has W and U the other way round.
#
# SimpleRNN   h = tanh(x W + h U + b)                                     72,960 = 256 x (28 + 256 + 1)
#
# LSTM        i, f, o = sigmoid(x W + h U + b)   input, forget, output gate
#             c~ = tanh(x W + h U + b)           candidate: what this row adds
#             c = f * c + i * c~                 the long memory: no weights between one c and the next
#             h = o * tanh(c)                                            291,840 = 4 x 256 x (28 + 256 + 1)
#
# GRU         z, r = sigmoid(x W + b + h U + b') update, reset gate
#             h~ = tanh(x W + b + r * (h U + b'))
#             h = z * h + (1 - z) * h~                                   219,648 = 3 x 256 x (28 + 256 + 2)
#
# Keras stores the gates side by side, LSTM as i f c~ o and GRU as z r h~; the GRU's second bias b' is for fast kernels.
CELLS = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def build_model(
    cell="simple_rnn", units=UNITS, dropout=DROPOUT, activation=ACTIVATION, bidirectional=False, num_classes=10
):
    """Return the network: (batch, 28, 28) pixels in [0, 1] to (batch, 10) probabilities (003, Listing 3.19)."""
    recurrent = CELLS[cell](units, activation=activation, dropout=dropout)
    return keras.Sequential([
        keras.Input((28, 28)),
        # To stack two: put layers.LSTM(units, return_sequences=True) here, which hands on its state after every row.
        layers.Bidirectional(recurrent) if bidirectional else recurrent,  # (256,)  72,960 = 256 x (28 + 256 + 1)
        layers.Dense(num_classes, activation="softmax"),  # (10,)  2,570 = 256 x 10 + 10
    ])


def belief_by_row(model, x):
    """Return (count, 28, 10): what the network would say of `x` (count, 28, 28) if it ended after 1, 2, ... 28 rows."""
    beliefs = []
    for images in np.array_split(x, range(50, len(x), 50)):  # in batches of 50, to save memory
        answer = np.repeat(images, 28, axis=0)  # (50 * 28, 28, 28): each image 28 times
        mask = np.tile(np.tri(28, dtype=bool), (len(images), 1))  # (50 * 28, 28): copy n may be read up to row n
        for layer in model.layers:
            if isinstance(layer, (layers.RNN, layers.Bidirectional)):
                answer = layer(answer, mask=mask)  # a masked row leaves the state unchanged
            else:
                answer = layer(answer)
        beliefs.append(np.reshape(answer, (len(images), 28, -1)))
    return np.concatenate(beliefs)


@picture(11, 6.4)
def draw_beliefs(figure, images, labels, beliefs, title):
    """Draw what a network believes after each row of six digits, and how often it is right by then.

    `images` (count, 28, 28) uint8, `labels` (count,), `beliefs` (count, 28, classes) probabilities.
    """
    figure.suptitle(title)
    left, right = figure.subfigures(1, 2, width_ratios=(2.2, 1))
    grid = left.subplots(3, 4, width_ratios=(1, 1.2, 1, 1.2)).reshape(-1, 2)
    for (digit, chart), image, label, belief in zip(grid, images, labels, beliefs, strict=False):
        digit.imshow(image, aspect="auto", extent=(0.5, 28.5, 28.5, 0.5), **GREYS)
        digit.set(xticks=[], yticks=range(7, 29, 7), ylabel="row", title=f"a {label}", box_aspect=1)
        drawn = chart.imshow(belief, aspect="auto", cmap="viridis", vmin=0, vmax=1)
        chart.set(xticks=ticks(belief.shape[1]), yticks=[], title="believed to be", xlabel="digit", box_aspect=1)
    left.colorbar(drawn, ax=grid, label="probability", location="bottom", shrink=0.6, aspect=40)
    axes = right.subplots()
    axes.plot(100 * np.mean(beliefs.argmax(axis=2) == labels[:, None], axis=0), np.arange(1, 29), marker=".")
    axes.set(xlabel=f"right by then, % of {len(labels):,} test images", ylabel="rows read", xlim=(0, 100), ylim=(29, 0))
    axes.grid()


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args)  # which processors
    keras.utils.set_random_seed(args.seed)

    # 1. Data: an image is a sequence of 28 rows, its pixels 0 to 255 become 0 to 1; a label becomes a one-hot vector.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_sequences(digits.x_train), mnist.as_sequences(digits.x_test)  # (60000, 28, 28)
    y_train = keras.utils.to_categorical(digits.y_train, digits.num_classes)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, digits.num_classes)  # (10000, 10)

    # 2. Model
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    with strategy.scope():  # with several processors, each holds a copy of the model
        model = build_model(
            args.cell, args.units, args.dropout, args.activation, args.bidirectional, digits.num_classes
        )
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
    x, y, validation = x_train, y_train, None
    if args.steps_per_epoch:  # document 004: in order, over and over, with a test after every 500 updates
        x, y = tf.data.Dataset.from_tensor_slices((x, y)).batch(args.batch_size).repeat(), None
        validation = x_test, y_test
    history = model.fit(
        x,
        y,
        epochs=args.epochs,
        steps_per_epoch=args.steps_per_epoch,
        batch_size=args.batch_size,
        validation_data=validation,
        shuffle=not args.steps_per_epoch,
        verbose=run.verbose,  # a progress bar, or a line an epoch
        callbacks=run.callbacks,  # history.csv, the checkpoint, Ctrl-C
    ).history
    run.write("model.keras", model.save)  # written completely or not at all

    # 4. Evaluate. Optimizer and dropout are the book's, which chose them by test accuracy; nothing else was.
    train = model.evaluate(x_train, y_train, batch_size=args.batch_size, verbose=0, return_dict=True)
    test = model.evaluate(x_test, y_test, batch_size=args.batch_size, verbose=0, return_dict=True)

    # 5. Show: learning curves, confusion matrix, most confident mistakes. In beliefs.png the network decides in the
    # last five rows, although row 26 is blank in 76 % of MNIST's test images: training asks only after row 28.
    report(run.folder, digits, history, model.predict(x_test, batch_size=1000, verbose=0), test, args.cell)
    with optional(run.folder / "beliefs.png"):  # edited layers may not read row by row: then a note, no picture
        title = f"{digits.name}, {args.cell}: what it believes after each row (trained to answer after the last)"
        beliefs = belief_by_row(model, x_test[:500])  # (500, 28, 10)
        draw_beliefs(run.folder / "beliefs.png", digits.x_test[:500], digits.y_test[:500], beliefs, title)
    baseline = f"baseline {digits.baseline:.2%}"
    return run.finish(runs.headline(test), baseline, model, train=train, test=test, baseline=digits.baseline)


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, or those of --listing."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE, optimizer=OPTIMIZER)
    count = cli.number(int, at_least=1)
    parser.add_argument("--listing", choices=LISTINGS, default="rnn", metavar="NAME",
        help=f"settings of a listing: {', '.join(LISTINGS)}")
    parser.add_argument("--cell", choices=CELLS, default="simple_rnn", metavar="NAME",
        help=f"what a time step does: {', '.join(CELLS)} (default %(default)s)")
    parser.add_argument("--units", type=count, default=UNITS, metavar="N", help="numbers in h (default %(default)s)")
    parser.add_argument("--bidirectional", action="store_true", help="read from both ends")
    parser.set_defaults(dropout=DROPOUT, activation=ACTIVATION, steps_per_epoch=None)  # no flags, but listings set them
    return parser.parse_args(argv, own=lambda args: LISTINGS[args.listing])


if __name__ == "__main__":
    cli.launch(main)
