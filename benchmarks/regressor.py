"""The training loop of lstm_regressor.py beside the document's and its peers', in turns: seconds, and what is learned.

The document's loop, in today's spelling, trains on a batch and then predicts the same batch to draw it, which moves the
state on (document 004, Regressor). Nothing is drawn here. PyTorch and JAX (peers.py) take part where they are
installed. All are timed with their compilation, ours with the making of its graph.

Run       python benchmarks/regressor.py              five rounds of 501 batches; some minutes
          python benchmarks/regressor.py --quick      one round of 101 batches
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lstm_regressor  # first: it silences TensorFlow's start-up log

import numpy as np
import peers
from tensorflow import keras


def of_the_document(x):
    """Train and predict batch by batch; return the cost of every batch."""
    model = lstm_regressor.build_model()
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(lstm_regressor.LEARNING_RATE))
    costs = []
    for batch in x[:, :, :, None]:
        costs.append(float(model.train_on_batch(np.sin(batch), np.cos(batch))))
        model.predict(np.sin(batch), batch_size=len(batch), verbose=0)
    return costs


def ours(x):
    """Train by the lesson's step, which returns the prediction too; return the cost of every batch."""
    model = lstm_regressor.build_model()
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
    kinds = {"ours": ours, "the document's": of_the_document, **peers.installed(peers.REGRESSORS)}
    seconds = {name: [] for name in kinds}
    for train in kinds.values():
        train(x[:1])  # so that no import is timed
    keras.backend.clear_session()
    for seed in range(rounds):
        for name, train in kinds.items():
            keras.utils.set_random_seed(seed)
            started = time.perf_counter()
            costs = train(x)
            seconds[name].append(time.perf_counter() - started)
            print(f"{name:14} round {seed}: {seconds[name][-1]:6.2f} s, worst cost of the last 100 batches "
                  f"{max(costs[-100:]):.4f}", flush=True)
            keras.backend.clear_session()
    print(f"\nmedians of {rounds}, {steps} batches:")
    for name, taken in seconds.items():
        ratios = sorted(other / mine for mine, other in zip(seconds["ours"], taken, strict=True))
        print(f"{name:14} {statistics.median(taken):6.2f} s, {statistics.median(ratios):.2f} times ours "
              f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
