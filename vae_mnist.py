"""A variational autoencoder (VAE) paints digits from noise, and tells how probable it finds an image.

Idea      An autoencoder's codes leave holes, from which nothing was ever painted. Here the encoder answers with a cloud
          of codes, and is penalised by the cloud's KL divergence from N(0, 1), in nats (1 nat is 1.44 bits). So random
          noise is a valid code. The loss is one sum, minus the evidence lower bound (ELBO) of log p(image).
Model     Encoder 784-400-200-(20 means, 20 log variances), decoder 20-200-400-784; 801,224 parameters. --conv: strided
          convolutions, 32 and 64 filters; 1,691,369.
Run       python vae_mnist.py
Expect    98.31 +- 0.23 nats a test image (seeds 0 to 2) after 35 s of training on 2 cores of an Intel Xeon.
Baseline  205.8 nats: each pixel is white, independently of the others, as often as in the training images.
Try next  --latent-dim 2    The codes are a plane, and plane.png shows all of it. Which digits are neighbours?
          --beta 4          The KL divergence counts four times. How many numbers are given up? See kl.png.
          tf.reduce_mean in kl_divergence    The most frequent mistake: the headline gains. Does samples.png?
Source    "Deep learning: RNNs and LSTMs" (document 001): variational autoencoder (Kingma and Welling 2014).
"""

import math

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.generative.metrics import Judge
from common.plots.model_diagram import model_diagram
from common.plots.vae_mnist import pictures
from common.training.schedules import one_cycle

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 10  # passes over the training images
BATCH_SIZE = 128  # images per weight update
LEARNING_RATE = 3e-3  # Adam's at its peak: it rises to there in the first fifth of the steps, then falls to zero
LATENT_DIM = 20  # numbers of a code
BETA = 1.0  # weight of the KL divergence; with 1 the loss is the negative evidence lower bound


def build_encoder(architecture="dense", latent_dim=LATENT_DIM):
    """Return the encoder: images (batch, 28, 28, 1) to (batch, 2, latent_dim), mean and log variance of the codes."""
    if architecture == "dense":
        return keras.Sequential([
            keras.Input((28, 28, 1)),
            layers.Flatten(),  # (784,)
            layers.Dense(400, activation="relu"),  # (400,)  314,000 = 784 x 400 + 400
            layers.Dense(200, activation="relu"),  # (200,)  80,200 = 400 x 200 + 200
            layers.Dense(2 * latent_dim),  # (40,)  8,040 = 200 x 40 + 40
            layers.Reshape((2, latent_dim)),  # (2, 20)
        ], name="encoder")
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 4, strides=2, padding="same", activation="relu"),  # (14, 14, 32)  544 = 32 x (4*4*1 + 1)
        layers.Conv2D(64, 4, strides=2, padding="same", activation="relu"),  # (7, 7, 64)  32,832 = 64 x (4*4*32 + 1)
        layers.Flatten(),  # (3136,)
        layers.Dense(256, activation="relu"),  # (256,)  803,072 = 3136 x 256 + 256
        layers.Dense(2 * latent_dim),  # (40,)  10,280 = 256 x 40 + 40
        layers.Reshape((2, latent_dim)),  # (2, 20)
    ], name="encoder")


def build_decoder(architecture="dense", latent_dim=LATENT_DIM):
    """Return the decoder: codes (batch, latent_dim) to images (batch, 28, 28, 1), the probability that a pixel is 1."""
    if architecture == "dense":
        return keras.Sequential([
            keras.Input((latent_dim,)),
            layers.Dense(200, activation="relu"),  # (200,)  4,200 = 20 x 200 + 200
            layers.Dense(400, activation="relu"),  # (400,)  80,400 = 200 x 400 + 400
            layers.Dense(784),  # (784,)  314,384 = 400 x 784 + 784
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
            layers.Activation("sigmoid"),  # (28, 28, 1)  last, where Keras's cross-entropy finds and undoes it
        ], name="decoder")
    return keras.Sequential([
        keras.Input((latent_dim,)),
        layers.Dense(256, activation="relu"),  # (256,)  5,376 = 20 x 256 + 256
        layers.Dense(7 * 7 * 64, activation="relu"),  # (3136,)  805,952 = 256 x 3136 + 3136
        layers.Reshape((7, 7, 64)),  # (7, 7, 64)
        layers.Conv2DTranspose(32, 4, strides=2, padding="same", activation="relu"),  # (14, 14, 32)  32,800 = 32 x 1025
        layers.Conv2DTranspose(1, 4, strides=2, padding="same"),  # (28, 28, 1)  513 = 4*4*32 + 1
        layers.Activation("sigmoid"),  # (28, 28, 1)
    ], name="decoder")


def reconstruction(x, probabilities):
    """Return -log p(x | z) in nats, (batch,): the cross-entropy of black-or-white pixels, SUMMED over an image."""
    return tf.reduce_sum(keras.losses.binary_crossentropy(x, probabilities), axis=(1, 2))


def kl_divergence(mean, log_variance):
    """Return KL(N(mean, variance) || N(0, 1)) in nats, (batch,): SUMMED over the numbers of a code."""
    return tf.reduce_sum(mean**2 + tf.exp(log_variance) - 1 - log_variance, axis=1) / 2


def elbo(nats, kl, beta=1.0):
    """Return the evidence lower bound of log p(x), (batch,), from the two above; with another beta it is no bound."""
    return -nats - beta * kl


class VAE(keras.Model):
    """An encoder, a decoder, and the loss that trains both; the training step is Keras's own."""

    def __init__(self, encoder, decoder, beta=BETA):
        super().__init__()
        self.encoder, self.decoder, self.beta = encoder, decoder, beta
        self.seed = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed
        self.trackers = [keras.metrics.Mean(name) for name in ("reconstruction", "kl")]

    def binarize(self, images):
        """Return black or white pixels, 0 or 1, drawn anew: 1 with the probability that is the pixel's grey."""
        return tf.cast(keras.random.uniform(tf.shape(images), seed=self.seed) < images, "float32")

    def call(self, images, training=False):
        """Return pixels x of 0 and 1, drawn anew from grey images; p(x = 1 | z); and mean and log variance of z."""
        x = self.binarize(images)
        mean, log_variance = tf.unstack(self.encoder(x), axis=1)  # (batch, 20) each
        # The reparametrisation: a sample that is mean + standard deviation x noise lets gradients through to both.
        z = mean + tf.exp(log_variance / 2) * keras.random.normal(tf.shape(mean), seed=self.seed)  # (batch, 20)
        return x, self.decoder(z, training=training), mean, log_variance

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the mean negative ELBO in nats, with beta; Keras calls it in training and in evaluation."""
        pixels, probabilities, mean, log_variance = y_pred
        nats, kl = reconstruction(pixels, probabilities), kl_divergence(mean, log_variance)  # (batch,) each
        self.trackers[0].update_state(nats)
        self.trackers[1].update_state(kl)
        return -tf.reduce_mean(elbo(nats, kl, self.beta))  # the one mean: over the batch


def evaluate(vae, x_train, x_test):
    """Return what a test image costs, in nats, the KL divergence of each number of a code, pixels, and mean codes."""
    white = (x_train.sum(axis=0) + 1) / (len(x_train) + 2)  # (28, 28, 1)  how often each pixel is; never 0 or 1
    baseline = np.mean(reconstruction(x_test, np.broadcast_to(white, x_test.shape)))  # grey: the mean of all draws
    test = vae.evaluate(x_test, batch_size=500, verbose=0, return_dict=True)
    pixels, _, mean, log_variance = vae.predict(x_test, batch_size=500, verbose=0)  # means: (10000, 20)
    each = kl_divergence(mean.reshape(-1, 1), log_variance.reshape(-1, 1)).numpy()  # (200000,)
    kl_of_each = each.reshape(mean.shape).mean(axis=0)  # (20,)
    nats = {"reconstruction": test["reconstruction"], "kl": test["kl"], "baseline": baseline,
            "negative_elbo": test["reconstruction"] + test["kl"], "active_units": int(np.sum(kl_of_each > 0.01))}
    return nats, kl_of_each, pixels, mean


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the VAE draws its random numbers on one processor")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: grey images; what is black and what white in them is drawn anew whenever the network sees them
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_images(digits.x_train), mnist.as_images(digits.x_test)  # (60000, 28, 28, 1)

    # 2. Model
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    architecture = "conv" if args.conv else "dense"
    vae = VAE(build_encoder(architecture, args.latent_dim), build_decoder(architecture, args.latent_dim), args.beta)
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    rate = one_cycle(LEARNING_RATE, steps, warmup=0.2)  # without a warm-up some numbers stay unused: 101.9 nats
    vae.compile(optimizer=keras.optimizers.Adam(rate))
    for network in (vae.encoder, vae.decoder):
        network.summary()
        model_diagram(run.folder / f"{network.name}.png", network)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    vae.fit(x_train, epochs=args.epochs, batch_size=args.batch_size, verbose=run.verbose, callbacks=run.callbacks)
    run.write("encoder.keras", vae.encoder.save)  # written completely or not at all
    run.write("decoder.keras", vae.decoder.save)  # for paint_digits.py

    # 4. Evaluate: the bound on the test images, and what a classifier of real digits, the judge, says of painted ones
    nats, kl_of_each, pixels, mean = evaluate(vae, x_train, x_test)
    headline = "Negative ELBO: {negative_elbo:.2f} nats (pixels {reconstruction:.2f} + KL {kl:.2f})".format(**nats)
    noise = np.random.default_rng(args.seed).standard_normal(mean.shape)  # (10000, 20)
    painted = vae.decoder.predict(noise, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    rebuilt = vae.decoder.predict(mean, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    judge = Judge(digits)
    scores = judge.scores(painted)
    judge.compare(painted=scores)

    # 5. Show
    title = f"{digits.name}, {architecture}, {args.latent_dim} numbers\n{headline}"
    images = {"grey": x_test, "black or white": pixels, "rebuilt": rebuilt}
    pictures(run.folder, vae.decoder, title, images, painted, kl_of_each)
    return run.finish(
        headline, f"baseline {nats['baseline']:.1f}", vae,
        **nats, **scores, judged_same=judge.agreement(rebuilt, digits.y_test),
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--latent-dim", type=cli.number(int, at_least=1), default=LATENT_DIM, metavar="N",
                        help="numbers of a code (default %(default)s)")
    parser.add_argument("--beta", type=cli.number(float, at_least=0), default=BETA, metavar="X",
                        help="weight of the KL divergence in the loss (default %(default)s)")
    parser.add_argument("--conv", action="store_true", help="convolutions in place of dense layers")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
