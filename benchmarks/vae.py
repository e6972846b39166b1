"""The VAE of pytorch/examples on its own terms: 784-400-20-400-784, grey pixels taken for probabilities, 10 epochs.

Their log shows a test loss of 106.66 nats after seven epochs. On grey pixels this is no bound of anything (Loaiza-Ganem
and Cunningham 2019), so vae_mnist.py draws black or white pixels; this is here to compare.

Run       python benchmarks/vae.py              ten epochs; two minutes
          python benchmarks/vae.py --quick      one
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import vae_mnist  # first: it starts TensorFlow without its log lines
from common import mnist

from tensorflow import keras
from tensorflow.keras import layers


class Grey(vae_mnist.VAE):
    def binarize(self, images):
        return images


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one epoch")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)
    digits = mnist.load_mnist("mnist")
    encoder = keras.Sequential([
        keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(400, activation="relu"), layers.Dense(40),
        layers.Reshape((2, 20)),
    ])  # fmt: skip
    decoder = keras.Sequential([
        keras.Input((20,)), layers.Dense(400, activation="relu"), layers.Dense(784), layers.Reshape((28, 28, 1)),
        layers.Activation("sigmoid"),
    ])  # fmt: skip
    vae, epochs = Grey(encoder, decoder), 1 if args.quick else 10
    steps = epochs * 469
    rate = keras.optimizers.schedules.CosineDecay(0.0, 0.8 * steps, warmup_target=3e-3, warmup_steps=0.2 * steps)
    vae.compile(optimizer=keras.optimizers.Adam(rate))
    vae.fit(mnist.as_images(digits.x_train), epochs=epochs, batch_size=128, verbose=2)
    test = vae.evaluate(mnist.as_images(digits.x_test), batch_size=500, verbose=0, return_dict=True)
    print("test loss {loss:.2f} nats ({reconstruction:.2f} + {kl:.2f}); theirs 106.66".format(**test))


if __name__ == "__main__":
    main()
