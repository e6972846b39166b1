"""A recurrent neural network (RNN) learns to read handwritten digits row by row.

Idea      To this network a picture is a sequence: 28 time steps of 28 pixels. It reads row after row with the same
          weights and keeps what it has seen in a state of 256 numbers, which must tell the digit after the last row.
          LSTM and GRU add gates, which decide what to keep, so the first rows are not forgotten by the last.
Model     SimpleRNN 256 with dropout 0.2, Dense 10 softmax; 75,530 parameters (--cell lstm 294,410, --cell gru 222,218).
Run       python rnn_mnist.py
          python rnn_mnist.py --cell lstm --recipe fast
          python rnn_mnist.py --listing rnn-16
          python rnn_mnist.py --compare --optimizer adam --epochs 3
Expect    98.11 % +- 0.09 of the test images (mean and standard deviation of seeds 0, 1, 2) after 235 s of training on
          2 cores of an AMD EPYC with TensorFlow 2.21.0 and Keras 3.15.1. The document prints 98.0 %.
          --recipe fast: 98.17 % (mean of seeds 0, 1, 2) after 49 s. With gates, seed 0:
          --cell lstm --recipe fast: 99.10 % after 243 s;  --cell gru --recipe fast: 99.09 % after 227 s
          The SimpleRNN decides in the last five rows (beliefs.png): in training it is never asked before.
Baseline  11.35 %: always answer 1, the most frequent digit.
Try next  --bidirectional          Two readers, one from each end: what is the second one worth?
          --cell gru --units 32    How much memory does a digit need?
          --optimizer adam         What is Adam worth without the rest of --recipe fast?
Source    Document 003, Listing 3.19 and Table 3.3; document 000, sections 5 and 6; for --listing see LISTINGS below.
"""

import argparse
import math
import time

from common import cli, device, mnist, plots, runs  # first: device starts TensorFlow without its log lines

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 20  # passes over the training images
BATCH_SIZE = 128  # images per update of the weights; a power of 2 suits the hardware
CELL = "simple_rnn"
UNITS = 256  # numbers in the state h
DROPOUT = 0.2  # share of the 28 columns silenced at each training step, the same ones in every row
ACTIVATION = "tanh"  # keeps the state in [-1, 1], however many steps there are
OPTIMIZER = "sgd"  # the best of the three in Table 3.3
STEPS_PER_EXECUTION = 25  # at most; then TensorFlow returns to Python, which costs time; an epoch has 469 = 67 x 7
TEST_EVERY = 500  # updates between two tests, where a listing counts updates

# --recipe fast trains the same layers as one would today: Adam, at a rate that climbs to its peak for a third of the
# time and then falls to zero (one-cycle). Large steps go far early on, small ones settle: 4 epochs in place of 20. So
# few want no dropout, and a smaller batch, which gives a third more updates.
RECIPES = {
    "book": {},
    "fast": {"optimizer": "adam", "epochs": 4, "batch_size": 96, "dropout": 0.0,
             "learning_rate": None, "steps": None},  # in place of a listing's: PEAK and the epochs count
}  # fmt: skip
PEAK = {"simple_rnn": 0.0015, "lstm": 0.004, "gru": 0.004}  # of the learning rate of fast; gates bear more
CLIP_NORM = 0.3  # of fast: longest gradient of a weight array; on its way back through 28 rows it may explode
# Of fast: it aims for 0.91 for the right digit and 0.01 for each other one, not for 1 and 0. Being surer than that
# improves no answer. Its loss cannot fall below 0.50, so it does not compare with book's.
LABEL_SMOOTHING = 0.1

LISTINGS = {  # the documents' four; document 001's log shows 256 units and 5 epochs beside its listing's 128 and 8
    "rnn": {},  # document 003, Listing 3.19: the constants above
    "rnn-128": {"units": 128, "dropout": 0.3, "epochs": 8},  # document 001, Listing 5.2
    "rnn-16": {"units": 16, "activation": "relu", "dropout": 0.0, "optimizer": "rmsprop", "learning_rate": 0.01,
               "batch_size": 100},  # document 002, which trains on 55,000 images
    "rnn-50": {"units": 50, "unroll": True, "dropout": 0.0, "optimizer": "adam", "batch_size": 50,
               "steps": 4001},  # document 004, Classifier
}  # fmt: skip

# One step of each cell, from the row x (28,) and the last state h (256,) to the next h. W is (28, 256), U (256, 256),
# b (256,), every gate with its own; * multiplies number by number; sigmoid moves a gate from 0 (shut) to 1 (open). The
# letters are document 001's; document 003 has W and U the other way round.
#
# SimpleRNN   h = tanh(x W + h U + b)                                     72,960 = 256 x (28 + 256 + 1)
#
# LSTM        i, f, o = sigmoid(x W + h U + b)   input, forget, output gate
#             c~ = tanh(x W + h U + b)           what this row has to say
#             c = f * c + i * c~                 the long memory: no weights between one c and the next
#             h = o * tanh(c)                                            291,840 = 4 x 256 x (28 + 256 + 1)
#
# GRU         z, r = sigmoid(x W + b + h U + b') update, reset gate
#             h~ = tanh(x W + b + r * (h U + b'))
#             h = z * h + (1 - z) * h~                                   219,648 = 3 x 256 x (28 + 256 + 2)
#
# Keras stores the gates side by side, LSTM as i f c~ o and GRU as z r h~; the GRU's second bias b' is for fast kernels.
CELLS = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def build_model(cell=CELL, units=UNITS, num_layers=1, dropout=DROPOUT, activation=ACTIVATION, bidirectional=False,
                unroll=False):
    """Return the network: (batch, 28, 28) pixels in [0, 1] to (batch, 10) probabilities (003, Listing 3.19)."""
    model = keras.Sequential([keras.Input((28, 28))])
    for index in range(num_layers):
        # (256,) the last state: 72,960 parameters; between stacked layers (28, 256), the state after every row
        layer = CELLS[cell](units, activation=activation, dropout=dropout, unroll=unroll,
                            return_sequences=index < num_layers - 1)
        model.add(layers.Bidirectional(layer) if bidirectional else layer)  # two of them: (512,), side by side
    model.add(layers.Dense(mnist.NUM_CLASSES, activation="softmax", dtype="float32"))  # (10,)  2,570 = 256 x 10 + 10
    return model


def belief_by_row(model, x):
    """Return (count, 28, 10): what the network would say of `x` (count, 28, 28) if it ended after 1, 2, ... 28 rows."""
    beliefs = []
    for images in np.array_split(x, range(50, len(x), 50)):  # in parts, which spares the memory
        sequences = np.repeat(images, 28, axis=0)  # (50 * 28, 28, 28): each picture 28 times, of which it may read
        mask = np.tile(np.tri(28, dtype=bool), (len(images), 1))  # (50 * 28, 28): one row, two rows, ... all of them
        for layer in model.layers[:-1]:
            sequences = layer(sequences, mask=mask)  # a masked row leaves the state as it is
        beliefs.append(np.reshape(model.layers[-1](sequences), (len(images), 28, mnist.NUM_CLASSES)))
    return np.concatenate(beliefs)


class StopAfter(keras.callbacks.Callback):
    """End the training after `steps` updates; print the test results after 1, 501, 1,001 ..., as document 004 does."""

    def __init__(self, steps, x_test, digits):
        super().__init__()
        self.steps, self.x_test, self.labels, self.name = steps, x_test, digits.y_test, digits.name

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations.numpy())
        if step % TEST_EVERY == 1:
            probabilities = self.model.predict(self.x_test, batch_size=1000, verbose=0)
            cost = -np.mean(np.log(probabilities[np.arange(len(self.labels)), self.labels]))
            accuracy = np.mean(probabilities.argmax(axis=1) == self.labels)
            print(f"\n{self.name}, update {step:,}: test cost {cost:.4f}, test accuracy {accuracy:.1%}", flush=True)
        if step >= self.steps:
            self.model.stop_training = True


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, or those of --listing."""
    parser = cli.parser(__doc__, batch_size=BATCH_SIZE, epochs=EPOCHS)
    count = cli.number(int, at_least=1)
    parser.add_argument("--listing", choices=LISTINGS, default="rnn", metavar="NAME",
                        help=f"take all settings from a listing: {', '.join(LISTINGS)}; other flags override it")
    parser.add_argument("--cell", choices=CELLS, default=CELL, help="what a time step does (default %(default)s)")
    parser.add_argument("--bidirectional", action="store_true", help="read from both ends")
    parser.add_argument("--layers", type=count, default=1, metavar="N", help="recurrent layers (default %(default)s)")
    parser.add_argument("--units", type=count, default=UNITS, metavar="N", help="size of a state (default %(default)s)")
    parser.add_argument("--activation", type=str.lower, choices=cli.ACTIVATIONS, default=ACTIVATION, metavar="NAME",
                        help="of the state (default %(default)s)")
    cli.classifier_flags(parser, DROPOUT, OPTIMIZER, RECIPES)
    parser.add_argument("--unroll", action=argparse.BooleanOptionalAction, default=False,
                        help="28 copies of the cell in place of a loop (default no)")
    parser.add_argument("--steps", type=count, metavar="N",
                        help=f"in place of --epochs: N updates on the images in their order, a test every {TEST_EVERY}")
    parser.add_argument("--compare", action="store_true", help="train all three cells alike (LSTM and GRU want adam)")
    chosen = parser.parse_args(argv)
    parser.set_defaults(**LISTINGS[chosen.listing] | RECIPES[chosen.recipe])
    return parser.parse_args(argv)


def main(argv=None):
    """Train one cell, or all of them with --compare; return the content of result.json, with the run's folder."""
    args = parse(argv)
    return compare(args) if args.compare else train(args)


def train(args):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    strategy = device.strategy(args)
    keras.utils.set_random_seed(args.seed)

    # 1. Data: a picture is a sequence of 28 rows; a label becomes a one-hot vector.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train = device.tensor(mnist.as_sequences, digits.x_train)  # (60000, 28, 28) in [0, 1]
    x_test = mnist.as_sequences(digits.x_test)  # (10000, 28, 28)
    y_train = keras.utils.to_categorical(digits.y_train, mnist.NUM_CLASSES)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, mnist.NUM_CLASSES)  # (10000, 10)
    num_train = mnist.num_train(len(x_train), args.validation)  # 60000; --validation holds out the last of them

    # 2. Model
    run = runs.Run("rnn_mnist", args, strategy, digits)
    steps_per_epoch = math.ceil(num_train / args.batch_size)  # 469
    with strategy.scope():
        model = build_model(args.cell, args.units, args.layers, args.dropout, args.activation, args.bidirectional,
                            args.unroll)
        optimizer = keras.optimizers.get(args.optimizer)
        if args.learning_rate:
            optimizer.learning_rate = args.learning_rate
        if args.recipe == "fast":
            peak = args.learning_rate or PEAK[args.cell]
            steps = args.steps or args.epochs * steps_per_epoch
            optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(
                peak / 25, decay_steps=0.7 * steps, warmup_target=peak, warmup_steps=0.3 * steps
            )
            optimizer.clipnorm = CLIP_NORM / strategy.num_replicas_in_sync  # each clips its share before they add up
        most = 1 if args.steps else STEPS_PER_EXECUTION  # the listing that counts updates looks at each
        model.compile(
            # -log of the right digit's probability, ln 10 if it only guesses; label smoothing counts the other nine too
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING if args.recipe == "fast" else 0),
            optimizer=optimizer,
            metrics=["accuracy"],
            steps_per_execution=device.steps_per_execution(strategy, steps_per_epoch, most),
        )
    model.summary()
    plots.diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C ends the training early and goes on with what was learned.
    callbacks = run.callbacks  # history.csv, the time, Ctrl-C
    epochs = args.epochs
    if args.steps:
        callbacks = [StopAfter(args.steps, x_test, digits), *callbacks]
        epochs = math.ceil(args.steps / steps_per_epoch)
    history = model.fit(
        x_train,
        y_train,
        epochs=epochs,
        batch_size=args.batch_size,
        validation_split=args.validation,
        shuffle=not args.steps,  # the listing that counts updates takes the images as they come
        verbose=run.verbose,
        callbacks=callbacks,
    ).history
    model.save(run.folder / "model.keras")

    # 4. Evaluate. The test images choose nothing.
    _, train_accuracy = model.evaluate(x_train[:num_train], y_train[:num_train], batch_size=args.batch_size, verbose=0)
    test_loss, test_accuracy = model.evaluate(x_test, y_test, batch_size=args.batch_size, verbose=0)
    baseline = np.mean(digits.y_test == np.bincount(digits.y_train).argmax())  # always the most frequent digit

    # 5. Show
    model.steps_per_execution = 1  # predict would make one graph of as many batches
    probabilities = model.predict(x_test, batch_size=1000, verbose=0)  # (10000, 10)
    plots.report(run.folder, digits, history, probabilities, test_loss, test_accuracy, args.cell)
    beliefs = belief_by_row(model, x_test[:500])  # (500, 28, 10)
    title = f"{digits.name}, {args.cell}: what it believes after each row (trained to answer after the last)"
    plots.beliefs(run.folder / "beliefs.png", digits.x_test[:500], digits.y_test[:500], beliefs, title)
    return run.finish(
        f"Test accuracy: {100 * test_accuracy:.1f}%",
        model,
        train_accuracy=train_accuracy,
        test_accuracy=test_accuracy,
        test_loss=test_loss,
        baseline=baseline,
    )


def compare(args):
    """Train the three cells under the same settings, each in a folder of its own; print and draw the comparison."""
    device.strategy(args)  # what is wrong with the flags is said before the folder is made
    mnist.num_train(len(mnist.load_mnist(args.data, args.limit).x_train), args.validation)
    folder = cli.new_folder("rnn_mnist", args.out)
    cli.write_result(folder, {"script": "rnn_mnist", "status": "running"})
    results = {}
    for cell in CELLS:
        own = {"cell": cell, "out": folder / cell, "show": False, "started": time.perf_counter()}
        results[cell] = train(argparse.Namespace(**vars(args) | own))
        if results[cell]["status"] == "interrupted":
            break
    last = results[cell]
    print(f"\n{last['dataset']}: test accuracy, parameters, seconds of training")
    for cell, result in results.items():
        print(f"{cell:12}{result['test_accuracy']:8.1%}{result['parameters']:10,}{result['seconds_training']:8.0f}")
    title = f"{last['dataset']}, {args.optimizer}, epochs: {last['epochs']}"
    plots.comparison(folder / "comparison.png", results, title)
    result = {"script": "rnn_mnist", "status": last["status"], "dataset": last["dataset"], "cells": results}
    cli.write_result(folder, result)
    print(f"{', '.join(results)} on {last['dataset']}: {cli.relative(folder)}")
    if args.show:
        plots.show(folder)
    return {**result, "folder": folder}


if __name__ == "__main__":
    cli.launch(main)
