"""Where the time of one training step goes, by kind of operation, and how near it comes to the machine's product rate.

The five classifiers as in their lessons and as in fast_mnist.py, but at a constant rate, on random images. A column is
the sum of its operations' times in TensorFlow's own trace; operations that run side by side add up to more than the
step. "share" is the fraction of the speed of one large float32 matrix product, which bfloat16 may exceed.

Run       python benchmarks/steps.py            ten networks; three minutes
          python benchmarks/steps.py --quick    two of them, a few steps
"""

import argparse
import collections
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fast_mnist  # first, to silence TensorFlow's log

import numpy as np
import speed
import tensorflow as tf
from tensorflow import keras
from tensorflow.tsl.profiler.protobuf import xplane_pb2

KINDS = ("forward products", "backward products", "optimizer", "dropout", "pooling", "rest")
CALLS = {"While", "If", "StatefulPartitionedCall", "PartitionedCall", "StatelessIf", "StatelessWhile"}  # hold others


def compiled(network, fast):
    """Return the network compiled as in its lesson or in fast_mnist.py, with its batch size and precision."""
    settings = fast_mnist.NETWORKS[network]
    policy = fast_mnist.policy(settings.precision) if fast else "float32"
    keras.config.set_dtype_policy(policy)
    model = settings.build_model(dropout=settings.dropout) if fast else settings.build_model()
    model.layers[-1].dtype_policy = "float32"
    if fast:
        optimizer = fast_mnist.optimizer(settings, settings.peak)
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)
    else:
        optimizer, loss = "adam" if network in ("mlp", "cnn") else "sgd", "categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], steps_per_execution=20 if fast else 1)
    return model, settings.batch_size if fast else 128, policy.removeprefix("mixed_")


def kind(name):
    """Return the kind of the operation with this name, "path:type", or None for what is none or holds others."""
    operation = re.fullmatch(r"([^: ]+):(\w+)", name)
    if not operation or operation[2] in CALLS:
        return None
    path, operation = operation.groups()
    if re.search(r"(adam|muon|sgd)(_\d+)?/", path):
        return "optimizer"
    if "dropout" in path:
        return "dropout"
    if "MatMul" in operation or "Conv2D" in operation:
        return "backward products" if "gradient" in path or "Backprop" in operation else "forward products"
    return "pooling" if "Pool" in operation else "rest"


def traced(train):
    """Return {kind: milliseconds} of the operations in one call of `train`."""
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            train()
        (path,) = Path(folder).glob("plugins/profile/*/*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    times = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                times[kind(plane.event_metadata[event.metadata_id].name)] += event.duration_ps / 1e9
    return times


def measure(network, fast, steps):
    """Return batch size, precision, milliseconds of a step, and those of each kind of operation."""
    model, batch_size, precision = compiled(network, fast)
    rng = np.random.default_rng(0)
    x = rng.random((batch_size * 3 * steps, *model.input_shape[1:]), dtype="float32")
    y = keras.utils.to_categorical(rng.integers(10, size=len(x)), 10)

    def train(steps):
        started = time.perf_counter()
        model.fit(x[: batch_size * steps], y[: batch_size * steps], batch_size=batch_size, verbose=0)
        return (time.perf_counter() - started) * 1000

    train(steps)
    times = [(train(3 * steps) - train(steps)) / (2 * steps) for _ in range(5)]  # without what `fit` takes to begin
    kinds = traced(lambda: train(steps))
    return batch_size, precision, statistics.median(times), {name: kinds[name] / steps for name in KINDS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two networks, a few steps")
    quick = parser.parse_args().quick
    networks, steps = (("mlp",), 20) if quick else (speed.LESSONS, 60)
    rate = speed.product_rate()
    print(f"{rate / 1e9:.0f} GFLOP/s in a float32 matrix product, {speed.product_rate('bfloat16') / 1e9:.0f} in "
          "bfloat16; milliseconds\n")
    heads = ("network", "batch size", "precision", "a step", "share", *KINDS)
    print(f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", sep="\n")
    for network in networks:
        first, rest = speed.PRODUCTS[network]
        for fast in (False, True):
            batch_size, precision, step, kinds = measure(network, fast, steps)
            forward, backward = (2 * batch_size * products for products in (first + rest, first + 2 * rest))
            cells = [f"{kinds[name]:.2f}" for name in KINDS]
            for index, operations in enumerate((forward, backward)):
                cells[index] += f" ({operations / kinds[KINDS[index]] / 1e6:.0f} GFLOP/s)"
            print(f"| {'fast ' if fast else ''}{network} | {batch_size} | {precision} | {step:.2f} | "
                  f"{(forward + backward) / step * 1000 / rate:.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
