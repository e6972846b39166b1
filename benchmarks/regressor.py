"""The training loop of lstm_regressor.py beside the document's, in turns: seconds, and what each has learned.

The document's loop, in today's spelling, trains on a batch and then predicts the same batch to draw it, which moves the
state on (document 004, Regressor). Nothing is drawn here.

Run       python benchmarks/regressor.py              five rounds of 501 batches; some minutes
          python benchmarks/regressor.py --quick      one round of 101 batches
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lstm_regressor  # first: it starts TensorFlow without its log lines

import numpy as np
from tensorflow import keras


def of_the_document(model, x):
    """Train and predict batch by batch; return the cost of every batch."""
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(lstm_regressor.LEARNING_RATE))
    costs = []
    for batch in x[:, :, :, None]:
        costs.append(float(model.train_on_batch(np.sin(batch), np.cos(batch))))
        model.predict(np.sin(batch), batch_size=len(batch), verbose=0)
    return costs


def ours(model, x):
    """Train by the lesson's step, which returns the prediction too; return the cost of every batch."""
    optimizer = keras.optimizers.Adam(lstm_regressor.LEARNING_RATE, clipnorm=lstm_regressor.CLIP_NORM)
    model.compile(loss="mse", optimizer=optimizer)
    optimizer.build(model.trainable_variables)
    sines, cosines = np.sin(x)[..., None].astype("float32"), np.cos(x)[..., None].astype("float32")
    costs = []
    for step in range(len(x)):
        cost, prediction = lstm_regressor.train_step(model, sines[step], cosines[step])
        costs.append(float(cost))
        prediction.numpy()
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    steps, rounds = (101, 1) if parser.parse_args().quick else (501, 5)
    x = lstm_regressor.windows(steps)
    seconds = {of_the_document: [], ours: []}
    for seed in range(rounds):
        for train, taken in seconds.items():
            keras.utils.set_random_seed(seed)
            model = lstm_regressor.build_model()
            started = time.perf_counter()
            costs = train(model, x)
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
