"""A VAE-GAN: a VAE whose decoder is the generator of a GAN, and whose images the discriminator compares.

Idea      A VAE that compares images pixel by pixel is safest with a blur. A GAN's discriminator learns what makes a
          digit look real, so here its hidden layer compares: an image and its rebuilt version are alike if it sees the
          same in both. It also tells rebuilt and painted images from real ones, as in a GAN.
Model     vae_mnist.py's encoder of strided convolutions and gan_mnist.py's generator, together 1,689,353 parameters;
          gan_mnist.py's discriminator, 209,457.
Run       python vae_gan_mnist.py
Expect    Pixels that cost 301, 243 and 266 nats (seeds 0 to 2): it does not learn to rebuild every pixel.
Baseline  vae_mnist.py, which compares pixels: 98.31 nats, Frechet distance 49.8 and classifier score 6.18 (seed 0).
Try next  python vae_mnist.py --conv                  It compares pixels. Which paints, and which rebuilds better?
          python gan_mnist.py --architecture conv     The same generator without an encoder. Which paints better?
Source    "Deep learning: RNNs and LSTMs" (document 001): VAE-GAN (Larsen et al. 2016). It continues vae_mnist.py and
          gan_mnist.py.
"""

import math

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.generative.metrics import Judge
from common.plots.model_diagram import model_diagram
from common.plots.vae_mnist import pictures
from common.training.schedules import one_cycle
from gan_mnist import BETA_1, build_discriminator, build_generator
from vae_mnist import BATCH_SIZE, BETA, LATENT_DIM, VAE, build_encoder, evaluate, kl_divergence, reconstruction

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 8  # passes over the training images
LEARNING_RATE = 2e-3  # of all three Adams at its peak: it rises to there in a fifth of the steps, then falls to zero
PRECISION = 30.0  # 1 / variance of the Gaussian by which is measured how differently the discriminator sees two images
FEATURE_WEIGHT = 0.01  # of that difference beside the discriminator's opinion, in the decoder's loss
PENALTY = 1.0  # weight of R1; gradients are twice those of gan_mnist.py, as pixels span 1, not 2: it counts 4 times


def build_decoder(latent_dim=LATENT_DIM):
    """Return the decoder: codes (batch, latent_dim) to images (batch, 28, 28, 1) in [0, 1]."""
    return keras.Sequential([
        keras.Input((latent_dim,)),
        *build_generator("conv", latent_dim).layers,  # (28, 28, 1)  in [-1, 1]
        layers.Rescaling(0.5, 0.5),  # (28, 28, 1)  in [0, 1]
    ], name="decoder")


class VAEGAN(VAE):
    """A VAE with a discriminator, and a step that trains all three networks."""

    def __init__(self, encoder, decoder, discriminator, beta=BETA):
        super().__init__(encoder, decoder, beta)
        features = discriminator.layers[-1].input  # (batch, 128)  what the last layer reads
        self.discriminator = keras.Model(discriminator.inputs, [discriminator.outputs[0], features])
        self.trackers += [keras.metrics.Mean(name) for name in ("difference", "d_loss", "g_loss")]

    def compile(self, optimizer, decoder_optimizer, discriminator_optimizer):
        """Take an optimizer for each network: the encoder's, the decoder's and the discriminator's."""
        super().compile(optimizer=optimizer)
        self.decoder_optimizer, self.discriminator_optimizer = decoder_optimizer, discriminator_optimizer
        optimizer.build(self.encoder.trainable_variables)
        decoder_optimizer.build(self.decoder.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    def train_step(self, images):
        """Update each network once, by its own loss; `images` are (batch, 28, 28, 1) in [0, 1]."""
        cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape(persistent=True) as tape:  # asked three times, for three losses
            x, rebuilt, mean, log_variance = self(images, training=True)
            painted = self.decoder(keras.random.normal(tf.shape(mean), seed=self.seed), training=True)
            with tf.GradientTape() as pixel_tape:
                pixel_tape.watch(images)
                real_logits, seen = self.discriminator(images)  # (batch, 1), (batch, 128)
            rebuilt_logits, seen_again = self.discriminator(rebuilt)
            painted_logits, _ = self.discriminator(painted)
            one, zero = tf.ones_like(real_logits), tf.zeros_like(real_logits)

            # The encoder's loss, as in a VAE; in place of -log p(x | z), the -log of a Gaussian of what D sees
            difference = PRECISION / 2 * tf.reduce_sum((seen - seen_again) ** 2, axis=1)  # (batch,)
            e_loss = tf.reduce_mean(difference + self.beta * kl_divergence(mean, log_variance))

            # The decoder's, as in a GAN, but of two kinds of fakes, rebuilt and painted: 2 ln 2 if D can only guess
            g_loss = cross_entropy(one, rebuilt_logits) + cross_entropy(one, painted_logits)
            g_total = g_loss + FEATURE_WEIGHT * tf.reduce_mean(difference)

            # The discriminator's, with R1: ln 2 if D can only guess
            d_fake = cross_entropy(zero, rebuilt_logits) + cross_entropy(zero, painted_logits)
            d_loss = cross_entropy(one, real_logits) / 2 + d_fake / 4
            gradient = pixel_tape.gradient(real_logits, images)
            d_total = d_loss + PENALTY / 2 * tf.reduce_mean(tf.reduce_sum(gradient**2, axis=(1, 2, 3)))

        for network, optimizer, loss in (
            (self.encoder, self.optimizer, e_loss),
            (self.decoder, self.decoder_optimizer, g_total),
            (self.discriminator, self.discriminator_optimizer, d_total),
        ):
            weights = network.trainable_variables  # a loss moves the weights of its own network alone
            optimizer.apply(tape.gradient(loss, weights), weights)
        values = reconstruction(x, rebuilt), kl_divergence(mean, log_variance), difference, d_loss, g_loss
        for tracker, value in zip(self.trackers, values, strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the VAE draws its random numbers on one processor")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: grey images; what is black and what white in them is drawn anew whenever the encoder sees them
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_images(digits.x_train), mnist.as_images(digits.x_test)  # (60000, 28, 28, 1)

    # 2. Model
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    encoder, decoder = build_encoder("conv", args.latent_dim), build_decoder(args.latent_dim)
    vae = VAEGAN(encoder, decoder, build_discriminator("conv"), args.beta)
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    rate = one_cycle(LEARNING_RATE, steps, warmup=0.2)
    vae.compile(*(keras.optimizers.Adam(rate, BETA_1) for _ in range(3)))
    for network in (encoder, decoder):
        network.summary()
        model_diagram(run.folder / f"{network.name}.png", network)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    vae.fit(x_train, epochs=args.epochs, batch_size=args.batch_size, verbose=run.verbose, callbacks=run.callbacks)
    run.write("encoder.keras", encoder.save)  # written completely or not at all
    run.write("decoder.keras", decoder.save)  # for paint_digits.py

    # 4. Evaluate, as in vae_mnist.py. The nats are those of the pixels, by which nothing was trained here.
    nats, kl_of_each, pixels, mean = evaluate(vae, x_train, x_test)
    noise = np.random.default_rng(args.seed).standard_normal(mean.shape)  # (10000, 20)
    painted = decoder.predict(noise, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    rebuilt = decoder.predict(mean, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    judge = Judge(digits)  # a classifier of real digits
    scores = judge.scores(painted)
    judge.compare(painted=scores)
    headline = "Frechet distance: {frechet_distance:.1f}, classifier score: {classifier_score:.2f}".format(**scores)

    # 5. Show
    images = {"grey": x_test, "black or white": pixels, "rebuilt": rebuilt}
    title = f"{digits.name}, VAE-GAN, {args.latent_dim} numbers\n{headline}"
    pictures(run.folder, decoder, title, images, painted, kl_of_each)
    return run.finish(
        headline, "pixels {negative_elbo:.1f} nats, baseline {baseline:.1f}".format(**nats), vae,
        **nats, **scores, judged_same=judge.agreement(rebuilt, digits.y_test),
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--latent-dim", type=cli.number(int, at_least=1), default=LATENT_DIM, metavar="N",
                        help="numbers of a code (default %(default)s)")
    parser.add_argument("--beta", type=cli.number(float, at_least=0), default=BETA, metavar="X",
                        help="weight of the KL divergence in the encoder's loss (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
