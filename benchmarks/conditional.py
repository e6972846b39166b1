"""How a discriminator is told which digit was ordered: by a projection, as in the lesson, or by one more input.

Run       python benchmarks/conditional.py      1,500 steps of the convolutional pair each; five minutes
          python benchmarks/conditional.py --quick
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import device, mnist  # noqa: F401  device first: it silences TensorFlow's start-up log
from common.generative.metrics import Judge
from common.training.input_pipeline import endless
from conditional_gan_mnist import BETA_1, LEARNING_RATE, ConditionalGAN, build_discriminator, build_networks

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers


def projection():
    return build_networks("conv")


def concatenation():
    """The same generator, and a discriminator that reads the label beside the 1,568 features of its convolutions."""
    generator, _ = build_networks("conv")
    image, label = keras.Input((28, 28, 1)), keras.Input((10,))
    *convolutions, _, _ = build_discriminator("conv").layers
    features = image
    for layer in convolutions:
        features = layer(features)  # at last (1568,)
    hidden = layers.LeakyReLU(0.2)(layers.Dense(128)(layers.Concatenate()([features, label])))
    return generator, keras.Model([image, label], layers.Dense(1)(hidden))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 steps")
    steps = 20 if parser.parse_args().quick else 1500
    digits = mnist.load_mnist("mnist")
    judge = Judge(digits)
    x_train, y_train = 2 * mnist.as_images(digits.x_train) - 1, keras.utils.to_categorical(digits.y_train)
    order = np.arange(10_000) % 10
    for build in (projection, concatenation):
        keras.utils.set_random_seed(0)
        gan = ConditionalGAN(*build())
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE["conv"], steps)
        gan.compile(keras.optimizers.Adam(rate, BETA_1), keras.optimizers.Adam(rate, BETA_1), steps_per_execution=20)
        gan.fit(endless([x_train, y_train], 64), steps_per_epoch=steps, shuffle=False, verbose=0)
        noise = np.random.default_rng(0).standard_normal((10_000, 64))
        images = gan.generator.predict([noise, np.eye(10)[order]], batch_size=500, verbose=0)
        scores = judge.scores((images + 1) / 2, order)
        print("{:14} ordered digit right {ordered_digit_right:.1%}, classifier score {classifier_score:.2f}, "
              "Frechet distance {frechet_distance:.1f}".format(build.__name__, **scores), flush=True)


if __name__ == "__main__":
    main()
