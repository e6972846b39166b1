"""A multilayer perceptron (MLP) learns to read handwritten digits.

Idea      To this network a picture is a list of 784 numbers. It does not know which pixels are neighbours; each hidden
          unit weighs all of them, and dropout keeps the units from relying on one another.
Model     Dense 256 relu, Dropout 0.45, Dense 256 relu, Dropout 0.45, Dense 10 softmax; 269,322 parameters.
Run       python mlp_mnist.py
          python mlp_mnist.py --recipe fast
          python mlp_mnist.py --units 512 1024 512 --optimizer sgd --epochs 5
Expect    98.27 % +- 0.15 of the test images (mean and standard deviation of seeds 0, 1, 2) after 40 s of training on 2
          cores of an AMD EPYC with TensorFlow 2.21.0 and Keras 3.15.1. The document prints 98.5 %.
          --recipe fast: 98.38 % (mean of seeds 0, 1, 2) after 8 s
Baseline  11.35 %: always answer 1, the most frequent digit.
Try next  --dropout 0              Does the training accuracy still tell you anything about the test accuracy?
          --activation linear      How good is a network that can only draw straight lines?
          --units 32               How many of the 269,322 parameters does it need?
Source    Document 003, Listing 3.8 (mlp-mnist-1.3.2.py) and Table 3.1; document 000, section 3.
"""

import math

from common import cli, device, mnist, plots, runs  # first: device starts TensorFlow without its log lines

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 20  # passes over the training images; the document: "20 epochs are enough"
BATCH_SIZE = 128  # images per update of the weights; a power of 2 suits the hardware
UNITS = (256, 256)  # width of each hidden layer in the listing, where Table 3.1 writes 256-256-256
DROPOUT = 0.45  # share of hidden units silenced at each training step
ACTIVATION = "relu"  # max(0, x): without it three layers could compute no more than one
OPTIMIZER = "adam"  # the best of the three in Table 3.1
# --recipe fast trains the same layers as one would today. The learning rate climbs to its peak for a third of the time,
# then falls to zero (one-cycle): large steps go far early on, small ones settle. Larger batches waste less of the
# processor and bear a higher rate. Dropout slows learning down, so few epochs want less of it.
RECIPES = {"book": {}, "fast": {"epochs": 5, "batch_size": 256, "dropout": 0.15}}
PEAK = 0.005  # five times Adam's own rate, though only for a moment
STEPS_PER_EXECUTION = 67  # at most; then TensorFlow returns to Python, which costs time; an epoch has 469 = 7 x 67


def build_model(units=UNITS, dropout=DROPOUT, activation=ACTIVATION, l1=0.0, l2=0.0):
    """Return the network: (batch, 784) pixels in [0, 1] to (batch, 10) probabilities (document 003, Listing 3.12).

    `l1` and `l2` weigh the penalties on large weights: l1 x sum(|w|) + l2 x sum(w^2) (Listing 3.13).
    """
    penalty = keras.regularizers.L1L2(l1, l2) if l1 or l2 else None
    model = keras.Sequential([keras.Input((784,))])
    # With the defaults, each layer's output shape and parameters (the listing writes relu and softmax as own layers):
    #   Dense 256 relu     (256,)   200,960 = 784 x 256 + 256
    #   Dropout 0.45       (256,)   in training about 140 of the 256 remain, in a test all
    #   Dense 256 relu     (256,)    65,792 = 256 x 256 + 256
    #   Dropout 0.45       (256,)
    #   Dense 10 softmax   (10,)      2,570 = 256 x 10 + 10; positive, with the sum 1: probabilities
    for width in units:
        model.add(layers.Dense(width, activation=activation, kernel_regularizer=penalty))
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(mnist.NUM_CLASSES, activation="softmax", dtype="float32"))
    return model


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, batch_size=BATCH_SIZE, epochs=EPOCHS)
    parser.add_argument("--units", type=cli.number(int, at_least=1), nargs="+", default=UNITS, metavar="N",
                        help=f"width of each of the hidden layers (default {' '.join(map(str, UNITS))})")
    for penalty in ("--l1", "--l2"):
        parser.add_argument(penalty, type=cli.number(float, at_least=0), default=0.0, metavar="X",
                            help="weight of this penalty on large weights (default %(default)s)")
    parser.add_argument("--activation", type=str.lower, choices=cli.ACTIVATIONS, default=ACTIVATION, metavar="NAME",
                        help="of the hidden layers (default %(default)s)")
    cli.classifier_flags(parser, DROPOUT, OPTIMIZER, RECIPES)
    parser.set_defaults(**RECIPES[parser.parse_args(argv).recipe])
    return parser.parse_args(argv)


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args)
    keras.utils.set_random_seed(args.seed)

    # 1. Data: a picture becomes a row of 784 numbers, a label a one-hot vector: 2 is 0 0 1 0 0 0 0 0 0 0.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train = device.tensor(mnist.as_vectors, digits.x_train)  # (60000, 784) in [0, 1]
    x_test = mnist.as_vectors(digits.x_test)  # (10000, 784)
    y_train = keras.utils.to_categorical(digits.y_train, mnist.NUM_CLASSES)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, mnist.NUM_CLASSES)  # (10000, 10)
    num_train = mnist.num_train(len(x_train), args.validation)  # 60000; --validation holds out the last of them

    # 2. Model
    run = runs.Run("mlp_mnist", args, strategy, digits)
    steps_per_epoch = math.ceil(num_train / args.batch_size)  # 469
    with strategy.scope():
        model = build_model(args.units, args.dropout, args.activation, args.l1, args.l2)
        optimizer = keras.optimizers.get(args.optimizer)
        if args.learning_rate:
            optimizer.learning_rate = args.learning_rate
        if args.recipe == "fast":
            peak, steps = args.learning_rate or PEAK, args.epochs * steps_per_epoch
            optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(
                peak / 25, decay_steps=0.7 * steps, warmup_target=peak, warmup_steps=0.3 * steps
            )
        model.compile(
            loss="categorical_crossentropy",  # -log of the probability given to the right digit; guessing costs ln 10
            optimizer=optimizer,
            metrics=["accuracy"],
            steps_per_execution=device.steps_per_execution(strategy, steps_per_epoch, STEPS_PER_EXECUTION),
        )
    model.summary()
    plots.diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C ends the training early and goes on with what was learned.
    history = model.fit(
        x_train,
        y_train,
        epochs=args.epochs,
        batch_size=args.batch_size,
        validation_split=args.validation,
        verbose=run.verbose,
        callbacks=run.callbacks,  # history.csv, the time, Ctrl-C
    ).history
    model.save(run.folder / "model.keras")

    # 4. Evaluate. The test images are used once, here, and choose nothing.
    _, train_accuracy = model.evaluate(x_train[:num_train], y_train[:num_train], batch_size=args.batch_size, verbose=0)
    test_loss, test_accuracy = model.evaluate(x_test, y_test, batch_size=args.batch_size, verbose=0)
    baseline = np.mean(digits.y_test == np.bincount(digits.y_train).argmax())  # always the most frequent digit

    # 5. Show
    model.steps_per_execution = 1  # predict would make one graph of as many batches
    probabilities = model.predict(x_test, batch_size=1000, verbose=0)  # (10000, 10)
    plots.report(run.folder, digits, history, probabilities, test_loss, test_accuracy, "MLP")
    return run.finish(
        f"Test accuracy: {100 * test_accuracy:.1f}%",
        model,
        train_accuracy=train_accuracy,
        test_accuracy=test_accuracy,
        test_loss=test_loss,
        baseline=baseline,
    )


if __name__ == "__main__":
    cli.launch(main)
