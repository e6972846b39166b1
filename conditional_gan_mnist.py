"""A conditional GAN: the generator paints the digit that is asked for, because both networks are given labels.

Idea      The generator of gan_mnist.py paints whatever digit it likes. Here it reads beside the noise which digit to
          paint, and the discriminator reads the label, too: a perfect 3 that should be a 7 gives itself away.
Model     gan_mnist.py's two networks and 1,280 more weights in each, for ten labels: 110,736 and 101,889 parameters;
          --architecture conv: 856,449 and 210,737.
Run       python conditional_gan_mnist.py
Expect    93.7 % of the digits are read as asked for; classifier score 8.96, Frechet distance 8.5 (seed 0).
Baseline  10 %: an untrained generator does not know one digit from another.
Try next  --architecture conv                 Does a generator that paints better also obey better?
          --architecture conv --steps 1500    Is a tenth of the steps enough to know ten digits apart?
          LEARNING_RATE["dense"] = 3e-3       This is gan_mnist.py's rate. Does the generator obey at it?
Source    "Deep learning: RNNs and LSTMs" (document 001): conditional GAN. It continues gan_mnist.py: the networks and
          the training step come from there.
"""

import math

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.generative.metrics import Judge
from common.plots.gan_mnist import Film, as_pixels, grid, training_curves
from common.plots.model_diagram import model_diagram
from common.training.input_pipeline import endless
from gan_mnist import BATCH_SIZE, BETA_1, GAN, LATENT_DIM, SNAPSHOT_EVERY, STEPS, build_discriminator, build_generator

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

LEARNING_RATE = {"dense": 1.5e-3, "conv": 2e-3}  # at first; it falls to zero along a cosine
ROWS = 8  # of samples.png: as many noises, each painted as every digit
WATCHED = 1000  # images that the judge reads after every epoch


def build_networks(architecture="dense", latent_dim=LATENT_DIM, classes=10):
    """Return generator and discriminator, each with a second input: one-hot labels (batch, classes).

    The generator reads noise and label as one vector. To the discriminator's logit a label adds a projection (Miyato
    and Koyama 2018): its features times a vector for each digit. With the label as one more input of its hidden layer,
    conv did not learn to tell ten digits apart in 1,500 steps (benchmarks/conditional.py).
    """
    generator = build_generator(architecture, latent_dim + classes)
    discriminator = build_discriminator(architecture)
    noise, label = keras.Input((latent_dim,)), keras.Input((classes,))
    painted = layers.Concatenate()([noise, label])  # (74,)
    for layer in generator.layers:
        painted = layer(painted)  # at last (28, 28, 1)
    features = discriminator.layers[-1].input  # (128,)
    vector = layers.Dense(features.shape[1], use_bias=False)(label)  # (128,)  1,280 = 10 x 128: a label picks a row
    projection = layers.Dot(1)([vector, features])  # (1,)
    logit = layers.Add()([discriminator.outputs[0], projection])  # (1,)
    return (keras.Model([noise, label], painted, name="generator"),
            keras.Model([*discriminator.inputs, label], logit, name="discriminator"))


class ConditionalGAN(GAN):
    """A GAN whose networks read labels beside noise and images."""

    def train_step(self, data):
        """Update both networks once, with real images (batch, 28, 28, 1) and their labels (batch, classes).

        The same labels order the generated images: so real and generated digits are equally frequent, and all that the
        discriminator can go by is whether an image is well painted and fits its label.
        """
        real, labels = data

        def generator(noise, training):
            return self.generator([noise, labels], training=training)

        def discriminator(images, training):
            return self.discriminator([images, labels], training=training)

        return self.update(real, generator, discriminator)


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the GAN's train_step is written for one processor")
    keras.utils.set_random_seed(args.seed)

    # Step 1. Data: images in [-1, 1], the range of tanh, and their labels
    digits = mnist.load_mnist(args.data, args.limit)
    classes = digits.num_classes
    images, labels = 2 * mnist.as_images(digits.x_train) - 1, keras.utils.to_categorical(digits.y_train, classes)
    real = endless([images, labels], args.batch_size)  # shuffled batches (128, 28, 28, 1) and (128, 10)

    # Steps 2 and 3. Discriminator and generator
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    gan = ConditionalGAN(*build_networks(args.architecture, args.latent_dim, classes))
    per_epoch = math.ceil(args.steps / max(10, round(args.steps / SNAPSHOT_EVERY)))  # an epoch ends with a snapshot
    epochs = math.ceil(args.steps / per_epoch)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE[args.architecture], epochs * per_epoch)
    optimizers = keras.optimizers.Adam(rate, BETA_1), keras.optimizers.Adam(rate, BETA_1)
    gan.compile(*optimizers, steps_per_execution=math.gcd(20, per_epoch))  # fewer returns to Python, a quarter faster
    for network in (gan.generator, gan.discriminator):
        network.summary()
        model_diagram(run.folder / f"{network.name}.png", network)

    # Step 4. Train. Ctrl-C stops it early; the script goes on with what was learned.
    judge = Judge(digits)  # a classifier of real digits, which tells after every epoch whether the generator obeys
    noise = np.random.default_rng(args.seed).standard_normal((len(digits.x_test), args.latent_dim))  # (10000, 64)
    order = np.arange(len(noise)) % classes  # (10000,)  each digit in turn
    inputs = [noise, keras.utils.to_categorical(order, classes)]
    each_as_all = [noise[:ROWS].repeat(classes, axis=0), np.tile(np.eye(classes), (ROWS, 1))]  # (80, 64), (80, 10)
    untrained = gan.generator.predict(inputs, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    film = Film(run.folder / "snapshots", columns=classes)

    def snapshot(epoch, logs):  # what the same noise has become, and whether it is the digit that was asked for
        film.add(as_pixels(gan.generator.predict(each_as_all, verbose=0)), step=int(gan.optimizer.iterations))
        painted = gan.generator.predict([array[:WATCHED] for array in inputs], verbose=0)
        logs["ordered_digit_right"] = float(judge.agreement((painted + 1) / 2, order[:WATCHED]))  # into history.csv

    snapshot(-1, {})
    history = gan.fit(
        real, epochs=epochs, steps_per_epoch=per_epoch, shuffle=False, verbose=run.verbose,  # the dataset shuffles
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=snapshot), *run.callbacks],  # history.csv, Ctrl-C
    ).history
    run.write("generator.keras", gan.generator.save)  # written completely or not at all
    run.write("discriminator.keras", gan.discriminator.save)

    # Step 5. Evaluate: how often does the judge read the digit that was asked for? Scores as in gan_mnist.py
    fake = gan.generator.predict(inputs, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    scores, baseline = judge.scores((fake + 1) / 2, order), judge.scores((untrained + 1) / 2, order)
    judge.compare(generated=scores, untrained=baseline)
    headline = ("Ordered digit right: {ordered_digit_right:.1%}, classifier score: {classifier_score:.2f}, "
                "Frechet distance: {frechet_distance:.1f}").format(**scores)

    # Step 6. Use the generator: paint_digits.py paints more, with --digit 7 only sevens. A row of samples.png shows one
    # noise as every digit, all by the same hand.
    title = f"{digits.name}, {args.architecture}, conditional\n{headline}"
    painted = as_pixels(gan.generator.predict(each_as_all, verbose=0))
    grid(run.folder / "samples.png", painted, title, columns=classes)
    training_curves(run.folder / "training_curves.png", per_epoch, history, title)
    film.save(run.folder / "training.gif")
    before = "untrained {ordered_digit_right:.1%}".format(**baseline)
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
