"""A variational autoencoder (VAE) paints digits from noise, and tells how probable it finds an image.

Idea      An autoencoder's codes leave holes, from which nothing was ever painted. Here the encoder answers with a cloud
          of codes, and is penalised by the cloud's KL divergence from N(0, 1), in nats (1 nat is 1.44 bits). So random
          noise is a valid code. The loss is one sum, minus the evidence lower bound (ELBO) of log p(image).
Model     Encoder 784-400-200-(20 means, 20 log variances), decoder 20-200-400-784; 801,224 parameters. --conv: strided
          convolutions, 32 and 64 filters, 1,691,369. --gan: VAE-GAN, 1,689,353, and a discriminator, 209,457.
Run       python vae_mnist.py
Expect    Means of seeds 0 to 2 on MNIST, TensorFlow 2.21.0, Keras 3.15.1; a test image costs, in nats:
          dense  98.31 (importance-weighted 94.32), Frechet distance 52.7, classifier score 6.11, 35 s of training
          conv   92.92 (importance-weighted 88.77), Frechet distance 29.4, classifier score 6.66
          gan    270.1 (importance-weighted 150.4), Frechet distance 10.7, classifier score 7.24: its loss is no ELBO
Baseline  205.8 nats: each pixel is white, independently of the others, as often as in the training images.
Try next  --latent-dim 2    The codes are a plane, and plane.png shows all of it. Which digits are neighbours?
          --beta 4          The KL divergence counts four times. How many numbers are given up? See kl.png.
          tf.reduce_mean in kl_divergence    The most frequent mistake: the headline gains. Does samples.png?
Source    "Deep learning: RNNs and LSTMs" (document 001): variational autoencoder (Kingma and Welling 2014), VAE-GAN.
          With --gan it continues gan_mnist.py.
"""

import math

from common import cli, device, mnist, runs, script  # first: device starts TensorFlow without its log lines
from common.judge import Judge
from common.plots.autoencoder_mnist import reconstructions
from common.plots.diagram import diagram
from common.plots.gan_mnist import as_pixels, grid
from common.plots.vae_mnist import kl_of_each
from gan_mnist import build_discriminator, build_generator  # for --gan

import numpy as np
import tensorflow as tf
from scipy import stats
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = {"dense": 10, "conv": 10, "gan": 8}  # passes over the training images
BATCH_SIZE = 128  # images per weight update
LEARNING_RATE = {"dense": 3e-3, "conv": 3e-3, "gan": 2e-3}  # Adam's at its peak: it climbs to there, then falls to zero
LATENT_DIM = 20  # numbers of a code
BETA = 1.0  # weight of the KL divergence; with 1 the loss is the negative evidence lower bound
SAMPLES = 100  # codes per image in the importance-weighted bound
PRECISION = 30.0  # 1 / variance of the Gaussian by which --gan compares what the discriminator sees in two images
FEATURE_WEIGHT = 0.01  # of that comparison beside the discriminator's opinion, in the decoder's loss
PENALTY = 1.0  # weight of R1; as images lie in [0, 1] here, four times that of gan_mnist.py


def build_encoder(form="dense", latent_dim=LATENT_DIM):
    """Return the encoder: images (batch, 28, 28, 1) to (batch, 2, latent_dim), mean and log variance of the codes."""
    if form == "dense":
        return keras.Sequential([
            keras.Input((28, 28, 1)),
            layers.Flatten(),  # (784,)
            layers.Dense(400, activation="relu"),  # (400,)  314,000 = 784 x 400 + 400
            layers.Dense(200, activation="relu"),  # (200,)  80,200 = 400 x 200 + 200
            layers.Dense(2 * latent_dim),  # (40,)  8,040 = 200 x 40 + 40
            layers.Reshape((2, latent_dim)),  # (2, 20)
        ], name="encoder")  # fmt: skip
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 4, strides=2, padding="same", activation="relu"),  # (14, 14, 32)  544 = 32 x (4*4*1 + 1)
        layers.Conv2D(64, 4, strides=2, padding="same", activation="relu"),  # (7, 7, 64)  32,832 = 64 x (4*4*32 + 1)
        layers.Flatten(),  # (3136,)
        layers.Dense(256, activation="relu"),  # (256,)  803,072 = 3136 x 256 + 256
        layers.Dense(2 * latent_dim),  # (40,)  10,280 = 256 x 40 + 40
        layers.Reshape((2, latent_dim)),  # (2, 20)
    ], name="encoder")  # fmt: skip


def build_decoder(form="dense", latent_dim=LATENT_DIM):
    """Return the decoder: codes (batch, latent_dim) to images (batch, 28, 28, 1), the probability that a pixel is 1."""
    if form == "dense":
        return keras.Sequential([
            keras.Input((latent_dim,)),
            layers.Dense(200, activation="relu"),  # (200,)  4,200 = 20 x 200 + 200
            layers.Dense(400, activation="relu"),  # (400,)  80,400 = 200 x 400 + 400
            layers.Dense(784),  # (784,)  314,384 = 400 x 784 + 784
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
            layers.Activation("sigmoid"),  # (28, 28, 1)  last, where Keras's cross-entropy finds and undoes it
        ], name="decoder")  # fmt: skip
    if form == "gan":
        generator = build_generator("conv", latent_dim)  # ends in tanh
        to_unit = layers.Rescaling(0.5, 0.5)  # from [-1, 1] to [0, 1]
        return keras.Sequential([keras.Input((latent_dim,)), *generator.layers, to_unit], name="decoder")
    return keras.Sequential([
        keras.Input((latent_dim,)),
        layers.Dense(256, activation="relu"),  # (256,)  5,376 = 20 x 256 + 256
        layers.Dense(7 * 7 * 64, activation="relu"),  # (3136,)  805,952 = 256 x 3136 + 3136
        layers.Reshape((7, 7, 64)),  # (7, 7, 64)
        layers.Conv2DTranspose(32, 4, strides=2, padding="same", activation="relu"),  # (14, 14, 32)  32,800 = 32 x 1025
        layers.Conv2DTranspose(1, 4, strides=2, padding="same"),  # (28, 28, 1)  513 = 4*4*32 + 1
        layers.Activation("sigmoid"),  # (28, 28, 1)
    ], name="decoder")  # fmt: skip


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


class VAEGAN(VAE):
    """A VAE whose decoder is a GAN's generator, and whose images its discriminator compares (Larsen et al. 2016)."""

    def __init__(self, encoder, decoder, discriminator, beta=BETA):
        super().__init__(encoder, decoder, beta)
        self.discriminator = keras.Model(  # images to logits (batch, 1), and to what its last layer reads, (batch, 128)
            discriminator.inputs, [discriminator.outputs[0], discriminator.layers[-1].input])  # fmt: skip
        self.trackers += [keras.metrics.Mean(name) for name in ("difference", "d_loss", "g_loss")]

    def compile(self, optimizer, decoder_optimizer, discriminator_optimizer):
        """Take an optimizer for each network: the encoder's, the decoder's and the discriminator's."""
        super().compile(optimizer=optimizer)
        self.decoder_optimizer, self.discriminator_optimizer = decoder_optimizer, discriminator_optimizer
        optimizer.build(self.encoder.trainable_variables)
        decoder_optimizer.build(self.decoder.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    def train_step(self, images):
        """Update each network once, by its own loss; `images` are (batch, 28, 28, 1)."""
        cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape(persistent=True) as tape:
            x, rebuilt, mean, log_variance = self(images, training=True)
            painted = self.decoder(keras.random.normal(tf.shape(mean), seed=self.seed), training=True)
            with tf.GradientTape() as pixel_tape:
                pixel_tape.watch(images)
                real_logits, seen = self.discriminator(images)
            (rebuilt_logits, seen_again), (painted_logits, _) = self.discriminator(rebuilt), self.discriminator(painted)
            one, zero = tf.ones_like(real_logits), tf.zeros_like(real_logits)
            # In place of -log p(x | z): how differently the discriminator sees both; -log of a Gaussian
            difference = PRECISION / 2 * tf.reduce_sum((seen - seen_again) ** 2, axis=1)
            e_loss = tf.reduce_mean(difference + self.beta * kl_divergence(mean, log_variance))
            # As in gan_mnist.py, but of two kinds of fakes, rebuilt and painted: 2 ln 2 if D can only guess
            g_loss = cross_entropy(one, rebuilt_logits) + cross_entropy(one, painted_logits)
            d_fake = cross_entropy(zero, rebuilt_logits) + cross_entropy(zero, painted_logits)
            d_loss = cross_entropy(one, real_logits) / 2 + d_fake / 4
            gradient = pixel_tape.gradient(real_logits, images)
            d_total = d_loss + PENALTY / 2 * tf.reduce_mean(tf.reduce_sum(gradient**2, axis=(1, 2, 3)))
            g_total = g_loss + FEATURE_WEIGHT * tf.reduce_mean(difference)
        for network, optimizer, loss in ((self.encoder, self.optimizer, e_loss),
                                         (self.decoder, self.decoder_optimizer, g_total),
                                         (self.discriminator, self.discriminator_optimizer, d_total)):  # fmt: skip
            weights = network.trainable_variables  # a loss moves the weights of its own network alone
            optimizer.apply(tape.gradient(loss, weights), weights)
        values = reconstruction(x, rebuilt), kl_divergence(mean, log_variance), difference, d_loss, g_loss
        for tracker, value in zip(self.trackers, values, strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


@tf.function
def importance_weighted(vae, images):
    """Return a lower bound of log p(x) in nats, (batch,), from SAMPLES codes per image (Burda et al. 2016).

    log mean p(x | z) p(z) / q(z | x), over codes z that the encoder q proposes: the more, the closer to log p(x).
    """
    x = vae.binarize(images)  # (batch, 28, 28, 1)
    clouds = tf.unstack(vae.encoder(x), axis=1)  # (batch, 20) each
    x, mean, log_variance = (tf.repeat(array, SAMPLES, axis=0) for array in (x, *clouds))  # batch x 100 each
    noise = keras.random.normal(tf.shape(mean), seed=vae.seed)
    z = mean + tf.exp(log_variance / 2) * noise
    log_ratio = tf.reduce_sum(noise**2 + log_variance - z**2, axis=1) / 2  # log p(z) - log q(z | x)
    log_weights = tf.reshape(log_ratio - reconstruction(x, vae.decoder(z)), (-1, SAMPLES))
    return tf.reduce_logsumexp(log_weights, axis=1) - math.log(SAMPLES)


def evaluate(vae, x_train, x_test):
    """Return what test images cost, in nats, the mean KL divergence of each number of a code, pixels and mean codes."""
    white = (x_train.sum(axis=0) + 1) / (len(x_train) + 2)  # (28, 28, 1)  how often each pixel is; never 0 or 1
    test = vae.evaluate(x_test, batch_size=500, verbose=0, return_dict=True)
    tenth = x_test[::10]  # (1000, 28, 28, 1)  with a hundred codes per image
    batches = np.split(tenth, range(100, len(tenth), 100))
    closer = np.mean(np.concatenate([importance_weighted(vae, batch) for batch in batches]))
    same = vae.evaluate(tenth, batch_size=500, verbose=0, return_dict=True)  # the ELBO of the same images
    negative_elbo, gain = test["reconstruction"] + test["kl"], closer + same["reconstruction"] + same["kl"]
    pixels, _, mean, log_variance = vae.predict(x_test, batch_size=500, verbose=0)  # (10000, 20) each
    each = kl_divergence(mean.reshape(-1, 1), log_variance.reshape(-1, 1)).numpy()  # (200000,)
    kl_per_unit = each.reshape(mean.shape).mean(axis=0)  # (20,)
    return {
        "baseline": float(np.mean(reconstruction(x_test, np.broadcast_to(white, x_test.shape)))),
        "negative_elbo": negative_elbo,
        "reconstruction": test["reconstruction"],
        "kl": test["kl"],
        "active_units": int(np.sum(kl_per_unit > 0.01)),
        "importance_weighted": negative_elbo - gain,
    }, kl_per_unit, pixels, mean


def plane(decoder, count=20):
    """Return images (400, 28, 28, 1) of a grid of equally probable places of a code of two numbers."""
    places = stats.norm.ppf((np.arange(count) + 0.5) / count)  # (20,)
    codes = np.stack(np.meshgrid(places, -places), axis=-1).reshape(-1, 2)  # (400, 2)
    return decoder.predict(codes, batch_size=500, verbose=0)


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the VAE draws its random numbers on one processor")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: grey images; what is black and what white in them is drawn anew whenever the network sees them
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_images(digits.x_train), mnist.as_images(digits.x_test)  # (60000, 28, 28, 1)

    # 2. Model
    run = runs.Run("vae_mnist", args, strategy, digits)
    encoder, decoder = build_encoder(args.form, args.latent_dim), build_decoder(args.form, args.latent_dim)
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(  # without a warm-up some numbers stay unused: 101.9 nats
        0.0, 0.8 * steps, warmup_target=LEARNING_RATE[args.form], warmup_steps=0.2 * steps)  # fmt: skip
    if args.form == "gan":
        vae = VAEGAN(encoder, decoder, build_discriminator("conv"), args.beta)
        vae.compile(*(keras.optimizers.Adam(rate, beta_1=0.5) for _ in range(3)))
    else:
        vae = VAE(encoder, decoder, args.beta)
        vae.compile(optimizer=keras.optimizers.Adam(rate))
    for network in (encoder, decoder):
        network.summary()
        diagram(run.folder / f"{network.name}.png", network)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    vae.fit(
        x_train,
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,
        callbacks=run.callbacks,  # history.csv, the time, Ctrl-C
    )
    run.write("encoder.keras", encoder.save)  # a whole file or none
    run.write("decoder.keras", decoder.save)  # for paint_digits.py

    # 4. Evaluate: the bound on the test images, and what the judge says of images painted from noise
    nats, kl_per_unit, pixels, mean = evaluate(vae, x_train, x_test)
    judge = Judge(digits)  # a classifier of real digits
    noise = np.random.default_rng(args.seed).standard_normal((len(x_test), args.latent_dim))  # (10000, 20)
    painted = decoder.predict(noise, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    rebuilt = decoder.predict(mean, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    scores = judge.scores(painted)
    judge.compare(painted=scores)

    # 5. Show
    headline = "Negative ELBO: {negative_elbo:.2f} nats (pixels {reconstruction:.2f} + KL {kl:.2f})".format(**nats)
    judged = "Classifier score: {classifier_score:.2f}, Frechet distance: {frechet_distance:.1f}".format(**scores)
    name = f"{digits.name}, {args.form}, {args.latent_dim} numbers"
    title = f"{name}\n{headline}"
    shown = {"grey": x_test, "black or white": pixels, "rebuilt": rebuilt}
    reconstructions(run.folder / "reconstructions.png", shown, title)
    grid(run.folder / "samples.png", as_pixels(2 * painted[:64] - 1), f"{name}\n{judged}")
    kl_of_each(run.folder / "kl.png", kl_per_unit, title)
    if args.latent_dim == 2:
        grid(run.folder / "plane.png", as_pixels(2 * plane(decoder) - 1), title, columns=20)
    return run.finish(
        headline,
        "importance-weighted {importance_weighted:.2f} | baseline {baseline:.1f}".format(**nats),
        vae,
        **nats,
        judged_same=judge.agreement(rebuilt, digits.y_test),
        **scores,
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS["dense"], batch_size=BATCH_SIZE)
    parser.add_argument("--latent-dim", type=cli.number(int, at_least=1), default=LATENT_DIM, metavar="N",
                        help="numbers of a code (default %(default)s)")
    parser.add_argument("--beta", type=cli.number(float, at_least=0), default=BETA, metavar="X",
                        help="weight of the KL divergence in the loss (default %(default)s)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--conv", dest="form", action="store_const", const="conv", default="dense",
                      help="convolutions in place of dense layers")
    form.add_argument("--gan", dest="form", action="store_const", const="gan",
                      help="VAE-GAN: with convolutions, and a discriminator that compares images")
    return cli.parse(parser, argv, lambda args: {"epochs": EPOCHS[args.form]})


if __name__ == "__main__":
    script.launch(main)
