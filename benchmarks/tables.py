"""Tables 3.1, 3.2 and 3.3 of document 003, measured: 26 networks, as printed, for 20 epochs of Keras's defaults.

Table 3.1 prints three hidden layers, where the listing has two: the rows here have three. Where 20 epochs end below the
printed training accuracy, the training goes on until it is reached, to see how many epochs the printed number takes.
Each row goes into tables.csv when it is done, and rows that stand there are not trained again: stop and start at will.

Run       python benchmarks/tables.py                hours; then the tables in Markdown, and pictures/tables.png
          python benchmarks/tables.py --table 3.1    its rows alone, and no picture
          python benchmarks/tables.py --print        what tables.csv has so far
"""

import argparse
import csv
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import device, mnist  # noqa: F401  first, to silence TensorFlow's log

import numpy as np
from matplotlib.figure import Figure
from tensorflow import keras
from tensorflow.keras import layers

HERE = Path(__file__).resolve().parent
EPOCHS, BATCH_SIZE, MOST_EPOCHS = 20, 128, 200
QUICK = 120  # seconds of both processors, a minute alone: rows that take less are trained with three seeds
FIELDS = ("table", "row", "seed", "epochs", "train", "test", "seconds")
FILE = HERE / "tables.csv"
COLOURS = {"sgd": "C0", "adam": "C1", "rmsprop": "C2"}
ROWS = {  # units or filters, regulariser, optimizer, activation; printed training and test accuracy in %
    "3.1": [
        ((256, 256, 256), "none", "sgd", "linear", 93.65, 92.5),
        ((256, 256, 256), "L2 0.001", "sgd", "relu", 93.35, 98.0),
        ((256, 256, 256), "L2 0.01", "sgd", "relu", 96.90, 96.7),
        ((256, 256, 256), "none", "sgd", "relu", 99.93, 98.0),
        ((256, 256, 256), "dropout 0.4", "sgd", "relu", 98.23, 98.1),
        ((256, 256, 256), "dropout 0.45", "sgd", "relu", 98.07, 98.1),
        ((256, 256, 256), "dropout 0.5", "sgd", "relu", 97.68, 98.1),
        ((256, 256, 256), "dropout 0.6", "sgd", "relu", 97.11, 97.9),
        ((256, 512, 256), "dropout 0.45", "sgd", "relu", 98.21, 98.2),
        ((512, 512, 512), "dropout 0.2", "sgd", "relu", 99.45, 98.3),
        ((512, 512, 512), "dropout 0.4", "sgd", "relu", 98.95, 98.3),
        ((512, 1024, 512), "dropout 0.45", "sgd", "relu", 98.90, 98.2),
        ((1024, 1024, 1024), "dropout 0.4", "sgd", "relu", 99.37, 98.3),
        ((256, 256, 256), "dropout 0.6", "adam", "relu", 98.64, 98.2),
        ((256, 256, 256), "dropout 0.55", "adam", "relu", 99.01, 98.3),
        ((256, 256, 256), "dropout 0.45", "adam", "relu", 99.39, 98.5),
        ((256, 256, 256), "dropout 0.45", "rmsprop", "relu", 98.75, 98.1),
        ((128, 128, 128), "dropout 0.45", "adam", "relu", 98.70, 97.7),
    ],
    "3.2": [
        ((64, 64, 64), "dropout 0.2", "sgd", "relu", 97.76, 98.5),
        ((64, 64, 64), "dropout 0.2", "rmsprop", "relu", 99.11, 99.0),
        ((64, 64, 64), "dropout 0.2", "adam", "relu", 99.75, 99.4),
        ((64, 64, 64), "dropout 0.4", "adam", "relu", 99.64, 99.3),
    ],
    "3.3": [
        ((256,), "dropout 0.2", "sgd", "tanh", 97.26, 98.0),
        ((256,), "dropout 0.2", "rmsprop", "tanh", 96.72, 97.6),
        ((256,), "dropout 0.2", "adam", "tanh", 96.79, 97.4),
        ((512,), "dropout 0.2", "sgd", "tanh", 97.88, 98.3),  # printed as 256, like the first row
    ],
}


def build(table, sizes, regulariser, activation):
    """Return the network of a row."""
    kind, _, amount = regulariser.partition(" ")
    l2 = keras.regularizers.L2(float(amount)) if kind == "L2" else None
    drop = float(amount) if kind == "dropout" else 0.0
    if table == "3.1":
        hidden = [layer for units in sizes for layer in (
            layers.Dense(units, activation=activation, kernel_regularizer=l2), layers.Dropout(drop))]
        return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(10, activation="softmax")])
    if table == "3.2":
        first, second, third = sizes
        return keras.Sequential([
            keras.Input((28, 28, 1)),
            layers.Conv2D(first, 3, activation=activation), layers.MaxPooling2D(2),
            layers.Conv2D(second, 3, activation=activation), layers.MaxPooling2D(2),
            layers.Conv2D(third, 3, activation=activation),
            layers.Flatten(), layers.Dropout(drop), layers.Dense(10, activation="softmax"),
        ])
    return keras.Sequential([
        keras.Input((28, 28)), layers.SimpleRNN(sizes[0], activation=activation, dropout=drop),
        layers.Dense(10, activation="softmax"),
    ])


def train(table, row, seed, digits, printed=None):
    """Train a row for 20 epochs, or until its `printed` training accuracy, where given; return a row of the file."""
    sizes, regulariser, optimizer, activation, *_ = ROWS[table][row]
    keras.utils.set_random_seed(seed)
    reshape = {"3.1": mnist.as_vectors, "3.2": mnist.as_images, "3.3": mnist.as_sequences}[table]
    x_train, x_test = reshape(digits.x_train), reshape(digits.x_test)
    model = build(table, sizes, regulariser, activation)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])

    def accuracy(x, y):
        return round(100 * model.evaluate(x, y, batch_size=1000, verbose=0)[1], 2)

    started, epochs, reached = time.process_time(), 0, 0
    while epochs < EPOCHS or (printed and reached < printed and epochs < MOST_EPOCHS):
        more = epochs + (EPOCHS if epochs < EPOCHS else 5)
        model.fit(x_train, digits.y_train, initial_epoch=epochs, epochs=more, batch_size=BATCH_SIZE, verbose=0)
        epochs, reached = more, accuracy(x_train, digits.y_train)
    return dict(zip(FIELDS, (table, row, seed, epochs, reached, accuracy(x_test, digits.y_test),
                             round(time.process_time() - started)), strict=True))


def measured():
    """Return the rows of the file, {(table, row): [dict, ...]}, in the order in which they were measured."""
    rows = {}
    if FILE.exists():
        with FILE.open(newline="") as file:
            for line in csv.DictReader(file):
                line = {key: value if key == "table" else float(value) for key, value in line.items()}
                rows.setdefault((line["table"], int(line["row"])), []).append(line)
    return rows


def record(line):
    new = not FILE.exists()
    with FILE.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(line)
    print(line, flush=True)


def to_do(tables):
    """Yield what is not measured yet: (table, row, seed, printed training accuracy to be reached or None)."""
    every = [(table, row) for table in tables for row in range(len(ROWS[table]))]
    for table, row in every:
        if not measured().get((table, row)):
            yield table, row, 0, None
    best = [max((row for row in every if row[0] == table), key=lambda row: measured()[row][0]["test"])
            for table in tables]
    for table, row in every:
        short = measured()[table, row]
        if short[0]["seconds"] < QUICK or (table, row) in best:
            for seed in (1, 2):
                if not any(line["seed"] == seed for line in short):
                    yield table, row, seed, None
    for table, row in every:
        lines, printed = measured()[table, row], ROWS[table][row][4]
        if lines[0]["train"] < printed and not any(line["epochs"] > EPOCHS for line in lines):
            yield table, row, 0, printed


def report(tables):
    """Print the tables in Markdown, and draw printed against measured test accuracy."""
    figure = Figure(figsize=(5 * len(tables), 4.6), layout="constrained")
    for axes, table in zip(figure.subplots(1, len(tables), squeeze=False).flat, tables, strict=True):
        print(f"\nTable {table}: accuracy in %, training / test\n")
        print("| layers | regulariser | optimizer | activation | printed | 20 epochs | epochs to printed training |")
        print("|---|---|---|---|---|---|---|")
        for row, (sizes, regulariser, optimizer, activation, *printed) in enumerate(ROWS[table]):
            lines = measured().get((table, row), [])
            short = np.array([(line["train"], line["test"]) for line in lines if line["epochs"] == EPOCHS])
            long = "".join(f"{line['epochs']:.0f}: {line['train']} / {line['test']}" for line in lines
                           if line["epochs"] > EPOCHS)
            mean = " / ".join(f"{value:.2f}" for value in short.mean(axis=0)) if len(short) else "not yet"
            if len(short) > 1:
                mean += f" ({len(short)} seeds, test +- {short[:, 1].std(ddof=1):.2f})"
            print(f"| {'-'.join(map(str, sizes))} | {regulariser} | {optimizer} | {activation} | "
                  f"{printed[0]} / {printed[1]} | {mean} | {long} |")
            if len(short):
                axes.plot(printed[1], short[:, 1].mean(), "o", color=COLOURS[optimizer])
            for line in lines:
                if line["epochs"] > EPOCHS:
                    axes.plot(printed[1], line["test"], "o", color=COLOURS[optimizer], fillstyle="none")
        limits = axes.get_xlim()
        axes.plot(limits, limits, color="black", linewidth=0.8)
        axes.set(title=f"Table {table}", xlabel="printed test accuracy in %", ylabel="measured test accuracy in %")
        axes.grid(alpha=0.3)
    for name, colour in COLOURS.items():
        axes.plot([], [], "o", color=colour, label=f"{name}, {EPOCHS} epochs")
    axes.plot([], [], "o", color="black", fillstyle="none", label="until the printed training accuracy")
    axes.plot([], [], color="black", linewidth=0.8, label="measured as printed")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    if len(tables) == len(ROWS):
        figure.savefig(HERE.parent / "pictures" / "tables.png", dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=ROWS, help="this table alone")
    parser.add_argument("--print", action="store_true", help="train nothing")
    args = parser.parse_args()
    tables = [args.table] if args.table else list(ROWS)
    if not args.print:
        digits = mnist.load_mnist("mnist")
        for table, row, seed, printed in to_do(tables):
            record(train(table, row, seed, digits, printed))
    report(tables)


if __name__ == "__main__":
    main()
