"""Steps per second of gan_mnist.py beside the classic loop done right and its peers, in turns, after a warm-up of each.

The classic loop toggles `discriminator.trainable` before each train_on_batch, so that Keras 3 traces each step with the
weights it is to train, and paints its fake images by generator.predict. All train the dense pair on batches of 128, and
all but the classic loop with the gradient penalty R1. PyTorch and JAX (peers.py) take part where they are installed.

Run       python benchmarks/gan.py              five rounds; four minutes with all peers
          python benchmarks/gan.py --quick      one short round
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gan_mnist  # first: it silences TensorFlow's start-up log
from common.training.input_pipeline import endless

import numpy as np
import peers
from peers import BATCH_SIZE, RATE
from tensorflow import keras
from tensorflow.keras import layers


def classic(x_train):
    """Return a function that takes `steps` steps with the listing's networks, and one that returns D's weights."""
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

    return train, discriminator.get_weights


def ours(x_train):
    """Return a function that takes `steps` steps by `fit`, and one that returns D's weights."""
    gan = gan_mnist.GAN(gan_mnist.build_generator(), gan_mnist.build_discriminator())
    gan.compile(keras.optimizers.Adam(RATE, 0.5), keras.optimizers.Adam(RATE, 0.5), steps_per_execution=20)
    dataset = endless(x_train, BATCH_SIZE)

    def train(steps):
        gan.fit(dataset, steps_per_epoch=steps, shuffle=False, verbose=0)

    return train, gan.discriminator.get_weights


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    rounds, few, many = (1, 20, 200) if parser.parse_args().quick else (5, 100, 2000)
    x_train = np.random.default_rng(0).uniform(-1, 1, (10_000, 28, 28, 1)).astype("float32")
    kinds = {"ours": ours, "classic": classic, **peers.installed(peers.GANS)}
    loops = {}
    for name, kind in kinds.items():
        keras.utils.set_random_seed(0)
        loops[name], weights = kind(x_train)
        before = [np.array(array) for array in weights()]
        loops[name](20)
        moved = sum((a != b).any() for a, b in zip(before, weights(), strict=True))
        print(f"{name:8} 20 steps moved {moved} of {len(before)} weight arrays of the discriminator")
        if moved < len(before):
            raise SystemExit("that is no training")
    rates = {name: [] for name in loops}
    for _ in range(rounds):
        for name, train in loops.items():
            steps = few if name == "classic" else many
            started = time.perf_counter()
            train(steps)
            rates[name].append(steps / (time.perf_counter() - started))
            print(f"{name:8} {rates[name][-1]:7.1f} steps per second", flush=True)
    print(f"\nmedians of {rounds}:")
    for name, rate in rates.items():
        ratios = sorted(mine / other for mine, other in zip(rates["ours"], rate, strict=True))
        print(f"{name:8} {statistics.median(rate):7.1f} steps per second; ours {statistics.median(ratios):.1f} times "
              f"as many ({ratios[0]:.1f} to {ratios[-1]:.1f})")


if __name__ == "__main__":
    main()
