"""A generative adversarial network (GAN): one network learns to paint digits, another to tell them from real ones.

Idea      The classifiers turn an image into an answer. A generator turns noise into an image, and no label says which.
          Its only teacher is a discriminator, which learns at the same time what a real digit looks like.
Model     Generator: Dense 128, LeakyReLU, Dense 784 tanh; 109,456 parameters. Discriminator: Dense 128, LeakyReLU,
          Dense 1; 100,609. --architecture conv: strided convolutions, up and down; 853,889 and 209,457.
Run       python gan_mnist.py
Expect    Classifier score 7.05, Frechet distance 18.3 (seed 0) after 2 minutes of training on 2 cores of an AMD EPYC.
Baseline  An untrained generator: a score of 1.0 (10 is the best) and a distance of 466 (0 is the best).
Try next  --latent-dim 2            The latent space becomes a plane: is there a place on it for every digit?
          LABEL_SMOOTHING = 0.1     The discriminator aims for 0.9 on real images, not for 1. Who gains?
          --steps 2000              Watch the losses, then look at the images. Would you have known when to stop?
Source    "Deep learning: RNNs and LSTMs" (document 001), Listing 5.5 and its six steps of a GAN.
"""

import math

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.generative.metrics import Judge
from common.plots.gan_mnist import Film, as_pixels, grid, training_curves
from common.plots.model_diagram import model_diagram
from common.training.input_pipeline import endless

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

STEPS = {"dense": 25_000, "conv": 15_000}  # updates of both networks
BATCH_SIZE = {"dense": 128, "conv": 64}  # real images in a step, and as many generated ones
LEARNING_RATE = {"dense": 3e-3, "conv": 2e-3}  # at first; it falls to zero along a cosine. The listing's is 2e-4
BETA_1 = 0.5  # of Adam, as in the listing: a short memory of past gradients, because the opponent moves too
LATENT_DIM = 64  # random numbers from which the generator paints an image
LABEL_SMOOTHING = 0.0  # how far below 1 the discriminator's target for real images lies
PENALTY = 1.0  # weight of the gradient penalty R1 (Mescheder et al. 2018) in the discriminator's loss; 0: a plain GAN
SNAPSHOT_EVERY = 1000  # steps, at most, between two pictures of what the same noise has become

# The trap: the classic recipe, of which the listing's build_gan is a part, compiles the discriminator, sets its
# `trainable` to False, compiles both networks as one model, and calls train_on_batch of both in turn. Keras 3 reads
# `trainable` when it turns the first training step into a graph: the discriminator is frozen by then, and its weights
# never move. The losses look plausible; the only sign is a warning: "The model does not have any trainable weights".


def build_generator(architecture="dense", latent_dim=LATENT_DIM):
    """Return the generator: noise (batch, latent_dim) to images (batch, 28, 28, 1) in [-1, 1] (001, Listing 5.5)."""
    if architecture == "dense":
        return keras.Sequential([
            keras.Input((latent_dim,)),
            layers.Dense(128),  # (128,)  8,320 = 64 x 128 + 128
            layers.LeakyReLU(0.01),  # (128,)  negative values x 0.01, not 0: a gradient remains
            layers.Dense(784, activation="tanh"),  # (784,)  101,136 = 128 x 784 + 784
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
        ], name="generator")
    return keras.Sequential([  # the document's outline ends in a Conv2D; batch normalisation, as in DCGAN, has the bias
        keras.Input((latent_dim,)),
        layers.Dense(256, use_bias=False),  # (256,)  16,384 = 64 x 256
        layers.BatchNormalization(momentum=0.9),  # (256,)  1,024 = 4 x 256
        layers.LeakyReLU(0.2),  # (256,)
        layers.Dense(7 * 7 * 64, use_bias=False),  # (3136,)  802,816 = 256 x 3136
        layers.Reshape((7, 7, 64)),  # (7, 7, 64)
        layers.BatchNormalization(momentum=0.9),  # (7, 7, 64)  256 = 4 x 64
        layers.LeakyReLU(0.2),  # (7, 7, 64)
        layers.Conv2DTranspose(32, 4, strides=2, padding="same", use_bias=False),  # (14, 14, 32)  32,768 = 32 x 4*4*64
        layers.BatchNormalization(momentum=0.9),  # (14, 14, 32)  128 = 4 x 32
        layers.LeakyReLU(0.2),  # (14, 14, 32)
        layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh"),  # (28, 28, 1)  513 = 4*4*32 + 1
    ], name="generator")


def build_discriminator(architecture="dense"):
    """Return the discriminator: images (batch, 28, 28, 1) to logits (batch, 1), above 0 for "this one is real"."""
    if architecture == "dense":
        return keras.Sequential([
            keras.Input((28, 28, 1)),
            layers.Flatten(),  # (784,)
            layers.Dense(128),  # (128,)  100,480 = 784 x 128 + 128
            layers.LeakyReLU(0.01),  # (128,)
            layers.Dense(1),  # (1,)  129 = 128 + 1; the listing's sigmoid is in the loss, where its log cannot be 0
        ], name="discriminator")
    return keras.Sequential([  # strides in place of pooling, as the document says
        keras.Input((28, 28, 1)),
        layers.Conv2D(16, 4, 2, padding="same", activation="leaky_relu"),  # (14, 14, 16)  272 = 16 x (4*4*1 + 1)
        layers.Conv2D(32, 4, 2, padding="same", activation="leaky_relu"),  # (7, 7, 32)  8,224 = 32 x (4*4*16 + 1)
        layers.Flatten(),  # (1568,)
        layers.Dense(128, activation="leaky_relu"),  # (128,)  200,832 = 1568 x 128 + 128; sees more than 10 x 10 pixels
        layers.Dense(1),  # (1,)  129 = 128 + 1
    ], name="discriminator")


class GAN(keras.Model):
    """A generator and a discriminator, and the step that trains both."""

    def __init__(self, generator, discriminator, penalty=PENALTY):
        super().__init__()
        self.generator, self.discriminator, self.penalty = generator, discriminator, penalty
        self.noise_seed = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed
        self.means = [keras.metrics.Mean(name) for name in ("d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake")]
        self.built = True  # as both networks are

    def compile(self, generator_optimizer, discriminator_optimizer, **options):
        """Take an optimizer for each network: each keeps averages of its own network's gradients."""
        super().compile(optimizer=discriminator_optimizer, **options)  # from now on self.optimizer
        self.generator_optimizer = generator_optimizer
        discriminator_optimizer.build(self.discriminator.trainable_variables)
        generator_optimizer.build(self.generator.trainable_variables)

    def train_step(self, real):
        """Update both networks once; `fit` calls this with real images (batch, 28, 28, 1) in [-1, 1]."""
        return self.update(real, self.generator, self.discriminator)

    def update(self, real, generator, discriminator):
        """Update both networks once; in comments D is sigmoid(logit), the discriminator's answer as a probability."""
        noise = keras.random.normal((tf.shape(real)[0], self.generator.inputs[0].shape[1]), seed=self.noise_seed)
        cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:  # record for gradients
            fake = generator(noise, training=True)  # (batch, 28, 28, 1)
            with tf.GradientTape() as pixel_tape:
                pixel_tape.watch(real)  # how do the logits change with the pixels? They are no weights
                real_logits = discriminator(real, training=True)  # (batch, 1)
            fake_logits = discriminator(fake, training=True)  # (batch, 1)
            one, zero = tf.ones_like(real_logits), tf.zeros_like(real_logits)
            # D wants real = 1 and fake = 0: -(log D(real) + log(1 - D(fake))) / 2, ln 2 = 0.693 if D can only guess
            d_loss = cross_entropy(one - LABEL_SMOOTHING, real_logits) / 2 + cross_entropy(zero, fake_logits) / 2
            d_total = d_loss
            if self.penalty:  # D also wants small gradients at real images: |d logit/dx|^2 (R1), 0 if D can only guess
                squares = pixel_tape.gradient(real_logits, real) ** 2  # (batch, 28, 28, 1)
                d_total += self.penalty / 2 * tf.reduce_mean(tf.reduce_sum(squares, axis=range(1, len(squares.shape))))
            # The generator wants fake = 1: -log D(fake), again ln 2 if D can only guess. It is the non-saturating loss:
            g_loss = cross_entropy(one, fake_logits)  # maximising d_loss has vanishing gradients while D is confident
        weights = self.generator.trainable_variables
        self.generator_optimizer.apply(generator_tape.gradient(g_loss, weights), weights)
        weights = self.discriminator.trainable_variables
        self.optimizer.apply(discriminator_tape.gradient(d_total, weights), weights)
        for mean, value in zip(self.means, (d_loss, g_loss, real_logits > 0, fake_logits < 0), strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.means}  # over the epoch so far


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the GAN's train_step is written for one processor")
    keras.utils.set_random_seed(args.seed)

    # Step 1. Data: images in [-1, 1], the range of tanh, and no labels
    digits = mnist.load_mnist(args.data, args.limit)
    real = endless(2 * mnist.as_images(digits.x_train) - 1, args.batch_size)  # shuffled batches (128, 28, 28, 1)

    # Steps 2 and 3. Discriminator and generator
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    gan = GAN(build_generator(args.architecture, args.latent_dim), build_discriminator(args.architecture))
    per_epoch = math.ceil(args.steps / max(10, round(args.steps / SNAPSHOT_EVERY)))  # an epoch ends with a snapshot
    epochs = math.ceil(args.steps / per_epoch)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE[args.architecture], epochs * per_epoch)
    optimizers = keras.optimizers.Adam(rate, BETA_1), keras.optimizers.Adam(rate, BETA_1)
    gan.compile(*optimizers, steps_per_execution=math.gcd(20, per_epoch))  # fewer returns to Python, a quarter faster
    for network in (gan.generator, gan.discriminator):
        network.summary()
        model_diagram(run.folder / f"{network.name}.png", network)

    # Step 4. Train. Ctrl-C stops it early; the script goes on with what was learned.
    noise = np.random.default_rng(args.seed).standard_normal((len(digits.x_test), args.latent_dim))  # (10000, 64)
    untrained = gan.generator.predict(noise, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    film = Film(run.folder / "snapshots")

    def snapshot(epoch, logs=None):  # what the same noise has become
        film.add(as_pixels(gan.generator.predict(noise[:64], verbose=0)), step=int(gan.optimizer.iterations))

    snapshot(-1)
    history = gan.fit(
        real, epochs=epochs, steps_per_epoch=per_epoch, shuffle=False, verbose=run.verbose,  # the dataset shuffles
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=snapshot), *run.callbacks],  # history.csv, Ctrl-C
    ).history
    run.write("generator.keras", gan.generator.save)  # written completely or not at all
    run.write("discriminator.keras", gan.discriminator.save)

    # Step 5. Evaluate. A classifier of real digits, the judge, reads the images. Score: 1 if all look alike, 10 if each
    # is clearly one of ten equally frequent digits. Distance: of the features that it sees from those of real images.
    judge = Judge(digits)
    fake = gan.generator.predict(noise, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    scores, baseline = judge.scores((fake + 1) / 2), judge.scores((untrained + 1) / 2)
    judge.compare(generated=scores, untrained=baseline)
    headline = "Classifier score: {classifier_score:.2f}, Frechet distance: {frechet_distance:.1f}".format(**scores)

    # Step 6. Use the generator: samples.png shows some of its images, paint_digits.py paints more.
    title = f"{digits.name}, {args.architecture}\n{headline}"
    grid(run.folder / "samples.png", as_pixels(fake[:64]), title)
    training_curves(run.folder / "training_curves.png", per_epoch, history, title)
    film.save(run.folder / "training.gif")
    before = "untrained: score {classifier_score:.1f}, distance {frechet_distance:.0f}".format(**baseline)
    return run.finish(headline, before, gan, **scores, untrained=baseline, real=judge.real)


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, those of --architecture."""
    parser = cli.parser(__doc__, steps=STEPS["dense"], batch_size=BATCH_SIZE["dense"])
    parser.add_argument("--architecture", choices=STEPS, default="dense", help="dense as in the listing, or conv")
    parser.add_argument("--latent-dim", type=cli.number(int, at_least=1), default=LATENT_DIM, metavar="N",
                        help="random numbers behind an image (default %(default)s)")
    return parser.parse_args(argv, own=lambda args: {"steps": STEPS[args.architecture],
                                                     "batch_size": BATCH_SIZE[args.architecture]})


if __name__ == "__main__":
    cli.launch(main)
