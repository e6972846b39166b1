"""Document 001's advice for tuning an LSTM, one change at a time on rnn_mnist.py's: 256 units, dropout 0.2, 3 epochs.

The network to compare with is trained by Adam, for with the lesson's SGD three epochs are too few for an LSTM to show a
difference; SGD is one of the changes. Seed by seed, each row is written as it comes; a further call goes on from there.

Run       python benchmarks/tuning.py               three seeds; a minute and a half a row with nothing else running
          python benchmarks/tuning.py --quick       one epoch on 2,000 images, one seed
"""

import argparse
import csv
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rnn_mnist  # first: it silences TensorFlow's log
from common import mnist, runs

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

SETTINGS = {  # {name: what it changes}
    "Adam, nothing changed": {},
    "RMSprop": {"optimizer": "rmsprop"},
    "momentum 0.9 (SGD)": {"optimizer": keras.optimizers.SGD(momentum=0.9)},
    "AdaGrad": {"optimizer": "adagrad"},  # at Keras's rate of 0.001
    "softsign for tanh": {"activation": "softsign"},
    "Xavier for U too": {"recurrent_initializer": "glorot_uniform"},
    "L2 of 0.001": {"kernel_regularizer": keras.regularizers.L2(1e-3)},
    "L1 of 0.0001": {"kernel_regularizer": keras.regularizers.L1(1e-4)},
    "two layers": {"stacked": True},
    "no Xavier for W": {"kernel_initializer": "random_uniform"},
    "SGD, no momentum": {"optimizer": "sgd"},
    "64 units": {"units": 64},
    "half of the images": {"limit": 30_000},
    "AdaGrad, rate 0.01": {"optimizer": keras.optimizers.Adagrad(0.01)},
}
COLUMNS = ("setting", "seed", "train_loss", "train_accuracy", "epoch_1", "epoch_2", "epoch_3", "seconds")


def build_model(units=rnn_mnist.UNITS, stacked=False, **changes):
    """Return rnn_mnist.py's LSTM with its constants, or two of them, with some arguments changed."""
    changes = {"dropout": rnn_mnist.DROPOUT, **changes}
    return keras.Sequential([
        keras.Input((28, 28)),
        *([layers.LSTM(units, return_sequences=True, **changes)] if stacked else []),
        layers.LSTM(units, **changes),
        layers.Dense(10, activation="softmax"),
    ])


def measure(digits, seed, epochs, optimizer="adam", limit=None, **changes):
    """Train once; return the last loss and accuracy on the images trained on, and the test accuracy of each epoch."""
    keras.utils.set_random_seed(seed)
    if isinstance(optimizer, keras.Optimizer):
        optimizer = optimizer.from_config(optimizer.get_config())  # one optimizer trains one model
    x, y = mnist.as_sequences(digits.x_train[:limit]), digits.y_train[:limit]
    model = build_model(**changes)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=epochs, batch_size=rnn_mnist.BATCH_SIZE, verbose=0,
                        validation_data=(mnist.as_sequences(digits.x_test), digits.y_test),
                        validation_batch_size=500).history
    _, train = model.evaluate(x[:10_000], y[:10_000], batch_size=500, verbose=0)
    return [history["loss"][-1], train, *history["val_accuracy"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one epoch on 2,000 images, one seed")
    quick = parser.parse_args().quick
    path = runs.RUNS_DIR / ("tuning_quick.csv" if quick else "tuning.csv")
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    digits = mnist.load_mnist("mnist", limit=2000 if quick else None)
    for seed, (name, changes) in itertools.product(range(1 if quick else 3), SETTINGS.items()):
        with path.open(newline="", encoding="utf-8") as file:
            done = list(csv.DictReader(file))
        if (name, str(seed)) in {(row["setting"], row["seed"]) for row in done}:
            continue
        started = time.perf_counter()
        loss, train, *tests = measure(digits, seed, 1 if quick else 3, **changes)
        tests = [tests[min(epoch, len(tests) - 1)] for epoch in range(3)]
        seconds = time.perf_counter() - started
        row = [name, seed, *(f"{number:.4f}" for number in (loss, train, *tests)), f"{seconds:.0f}"]
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
        print(*row, sep=", ", flush=True)
        keras.backend.clear_session()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    print("\n| change | test accuracy after 1, 2, 3 epochs (%) | of the images trained on | seeds |\n|---|---|---|---|")
    for name in SETTINGS:
        of_it = [row for row in rows if row["setting"] == name]
        epochs = np.array([[100 * float(row[f"epoch_{epoch}"]) for epoch in (1, 2, 3)] for row in of_it])
        train = np.mean([100 * float(row["train_accuracy"]) for row in of_it])
        means = ", ".join(f"{mean:.2f}" for mean in epochs.mean(axis=0))
        print(f"| {name} | {means} +- {epochs[:, -1].std(ddof=1):.2f} | {train:.2f} | {len(of_it)} |")


if __name__ == "__main__":
    main()
