"""Steps per second of gan_mnist.py beside the classic loop done right, in turns, after a warm-up of each.

The classic loop toggles `discriminator.trainable` before each train_on_batch, so that Keras 3 traces each step with the
weights it is to train, and paints its fake images by generator.predict. Both train the dense pair on batches of 128.

Run       python benchmarks/gan.py              five rounds; two minutes
          python benchmarks/gan.py --quick      one short round
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gan_mnist  # first: it starts TensorFlow without its log lines

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

BATCH_SIZE = 128
RATE = 2e-4  # the listing's


def classic(x_train):
    """Return a function that takes `steps` steps with the listing's networks, and its discriminator."""
    generator = gan_mnist.build_generator()
    discriminator = keras.Sequential([*gan_mnist.build_discriminator().layers, layers.Activation("sigmoid")])
    discriminator.build((None, 28, 28, 1))
    discriminator.compile(keras.optimizers.Adam(RATE, 0.5), "binary_crossentropy")
    both = keras.Sequential([generator, discriminator])
    both.compile(keras.optimizers.Adam(RATE, 0.5), "binary_crossentropy")
    rng = np.random.default_rng(0)
    targets = np.repeat([[1.0], [0.0]], BATCH_SIZE, axis=0)

    def train(steps):
        for _ in range(steps):
            noise = rng.standard_normal((BATCH_SIZE, gan_mnist.LATENT_DIM)).astype("float32")
            real = x_train[rng.integers(len(x_train), size=BATCH_SIZE)]
            images = np.concatenate([real, generator.predict(noise, verbose=0)])
            discriminator.trainable = True
            discriminator.train_on_batch(images, targets)
            discriminator.trainable = False
            both.train_on_batch(noise, targets[:BATCH_SIZE])

    return train, discriminator


def ours(x_train):
    """Return a function that takes `steps` steps by `fit`, and its discriminator."""
    gan = gan_mnist.GAN(gan_mnist.build_generator(), gan_mnist.build_discriminator())
    gan.compile(keras.optimizers.Adam(RATE, 0.5), keras.optimizers.Adam(RATE, 0.5), steps_per_execution=20)
    indices = tf.data.Dataset.range(len(x_train)).shuffle(len(x_train)).repeat().batch(BATCH_SIZE)
    dataset = indices.map(lambda chosen: tf.gather(x_train, chosen)).prefetch(2)

    def train(steps):
        gan.fit(dataset, steps_per_epoch=steps, shuffle=False, verbose=0)

    return train, gan.discriminator


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    rounds, steps = (1, {classic: 20, ours: 200}) if parser.parse_args().quick else (5, {classic: 100, ours: 2000})
    x_train = np.random.default_rng(0).uniform(-1, 1, (10_000, 28, 28, 1)).astype("float32")
    loops = {}
    for kind in steps:
        keras.utils.set_random_seed(0)
        loops[kind], discriminator = kind(x_train)
        before = [array.copy() for array in discriminator.get_weights()]
        loops[kind](20)
        moved = sum((a != b).any() for a, b in zip(before, discriminator.get_weights(), strict=True))
        print(f"{kind.__name__:8} 20 steps moved {moved} of {len(before)} weight arrays of the discriminator")
        if moved < len(before):
            raise SystemExit("that is no training")
    rates = {kind: [] for kind in loops}
    for _ in range(rounds):
        for kind, train in loops.items():
            started = time.perf_counter()
            train(steps[kind])
            rates[kind].append(steps[kind] / (time.perf_counter() - started))
            print(f"{kind.__name__:8} {rates[kind][-1]:7.1f} steps per second", flush=True)
    ratios = sorted(b / a for a, b in zip(*rates.values(), strict=True))
    medians = [f"{kind.__name__} {statistics.median(rate):.1f}" for kind, rate in rates.items()]
    print(f"median of {rounds}: {', '.join(medians)} steps per second; {statistics.median(ratios):.1f} times faster "
          f"({ratios[0]:.1f} to {ratios[-1]:.1f})")


if __name__ == "__main__":
    main()
