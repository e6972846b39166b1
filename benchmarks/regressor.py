"""The training loop of lstm_regressor.py beside the document's, in turns: seconds, and what each has learned.

The document's loop, in today's spelling, trains on a batch and then predicts the same batch to draw it, which moves the
state on (document 004, Regressor). Nothing is drawn here.

Run       python benchmarks/regressor.py              five rounds of 501 batches; some minutes
          python benchmarks/regressor.py --quick      one round of 101 batches
"""

import argparse
import contextlib
import io
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lstm_regressor  # first: it starts TensorFlow without its log lines

import numpy as np
from tensorflow import keras


def of_the_document(model, x, args):
    """Train and predict batch by batch; return the cost of every batch."""
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(args.learning_rate))
    costs = []
    for batch in x[:, :, :, None]:
        costs.append(float(model.train_on_batch(np.sin(batch), np.cos(batch))))
        model.predict(np.sin(batch), batch_size=len(batch), verbose=0)
    return costs


def ours(model, x, args):
    """Train by `fit`, which keeps the predictions too; return the cost of every batch."""
    watch = lstm_regressor.Watch("stateful", x)
    with contextlib.redirect_stdout(io.StringIO()):
        lstm_regressor.train(model, x, args, [watch])
    return watch.costs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    steps, rounds = (101, 1) if parser.parse_args().quick else (501, 5)
    args = lstm_regressor.parse(["--steps", str(steps)])
    x = lstm_regressor.windows(steps)
    seconds = {of_the_document: [], ours: []}
    for seed in range(rounds):
        for train, taken in seconds.items():
            keras.utils.set_random_seed(seed)
            model = lstm_regressor.build_model()
            if train is of_the_document:
                model = keras.Sequential([keras.Input(batch_shape=model.input_shape), *model.layers])
            started = time.perf_counter()
            costs = train(model, x, args)
            taken.append(time.perf_counter() - started)
            print(f"{train.__name__:16} seed {seed}: {taken[-1]:6.2f} s, worst cost of the last 100 batches "
                  f"{max(costs[-100:]):.4f}", flush=True)
            keras.backend.clear_session()
    document, mine = (statistics.median(taken) for taken in seconds.values())
    ratios = sorted(a / b for a, b in zip(*seconds.values(), strict=True))
    print(f"median of {rounds}: the document's {document:.2f} s, ours {mine:.2f} s for {steps} batches; "
          f"{statistics.median(ratios):.1f} times faster ({ratios[0]:.1f} to {ratios[-1]:.1f})")


if __name__ == "__main__":
    main()
