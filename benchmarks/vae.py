"""The VAE of pytorch/examples on its own terms: 784-400-20-400-784, grey pixels taken for probabilities, 10 epochs.

Their log shows a test loss of 106.66 nats after seven epochs. On grey pixels this is not a bound of anything
(Loaiza-Ganem and Cunningham 2019), so vae_mnist.py draws black or white pixels; this is here to compare.

Run       python benchmarks/vae.py              ten epochs; two minutes
          python benchmarks/vae.py --quick      one
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import vae_mnist  # first: it silences TensorFlow's start-up log
from common import mnist
from common.training.schedules import one_cycle

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
        keras.Input((28, 28, 1)),
        layers.Flatten(),
        layers.Dense(400, activation="relu"),
        layers.Dense(40),
        layers.Reshape((2, 20)),
    ])
    decoder = keras.Sequential([
        keras.Input((20,)),
        layers.Dense(400, activation="relu"),
        layers.Dense(784),
        layers.Reshape((28, 28, 1)),
        layers.Activation("sigmoid"),
    ])
    vae = Grey(encoder, decoder)
    epochs = 1 if args.quick else 10
    vae.compile(optimizer=keras.optimizers.Adam(one_cycle(3e-3, epochs * 469, warmup=0.2)))
    vae.fit(mnist.as_images(digits.x_train), epochs=epochs, batch_size=128, verbose=2)
    test = vae.evaluate(mnist.as_images(digits.x_test), batch_size=500, verbose=0, return_dict=True)
    print("test loss {loss:.2f} nats ({reconstruction:.2f} + {kl:.2f}); theirs 106.66".format(**test))


if __name__ == "__main__":
    main()
