"""A generative adversarial network (GAN): one network learns to paint digits, another to tell them from real ones.

Idea      The classifiers turn an image into an answer. A generator turns noise into an image, and no label says which.
          Its only teacher is a discriminator, which learns at the same time what a real digit looks like.
Model     Generator: Dense 128, LeakyReLU, Dense 784 tanh; 109,456 parameters. Discriminator: Dense 128, LeakyReLU,
          Dense 1; 100,609. --architecture conv: strided convolutions, up and down; 853,889 and 209,457.
          --conditional: both get a label, too; 110,736 and 101,889, conv 856,449 and 210,737.
Run       python gan_mnist.py
          python gan_mnist.py --architecture conv --conditional
Expect    Seeds 0 to 2 on MNIST, 2 cores of an AMD EPYC, TensorFlow 2.21.0, Keras 3.15.1; all ten classes are covered:
          dense  classifier score 7.10 6.93 6.89, Frechet distance 18.3 22.1 22.9, after 2 minutes of training
          conv   classifier score 8.60, Frechet distance 1.67 (seed 0), after 8 minutes
          --conditional  the ordered digit is read in 94.5 93.9 93.4 %, score 9.02 8.97 8.96, distance 6.4 8.1 8.6;
                         conv: 98.9 99.1 98.7 %, score 9.70 9.73 9.67, distance 1.10 1.04 1.05
          Real images have a score of 9.73 and are 0.5 from other real ones.
Baseline  An untrained generator: a score of 1.0 (more is better) and a distance of 424 to 544 (less is better).
Try next  --latent-dim 2            The latent space becomes a plane: is there a place on it for every digit?
          LABEL_SMOOTHING = 0.1     The discriminator aims for 0.9 on real images, not for 1. Who gains?
          --steps 2000              Watch the losses, then look at the images. Would you have known when to stop?
Source    "Deep learning: RNNs and LSTMs" (document 001), Listing 5.5 and its six steps of a GAN; conditional GAN.
"""

import math

from common import cli, device, mnist, runs, script, tfdata  # first: device starts TensorFlow without its log lines
from common.judge import Judge
from common.plots.common import animation
from common.plots.diagram import diagram
from common.plots.gan_mnist import Snapshots, frame, samples, training_curves

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

STEPS = {"dense": 25_000, "conv": 15_000}  # updates of both networks
BATCH_SIZE = {"dense": 128, "conv": 64}  # real images in a step, and as many generated ones
LEARNING_RATE = {"dense": 3e-3, "conv": 2e-3}  # at first; it falls to zero along a cosine. The listing's is 2e-4
BETA_1 = 0.5  # of Adam, as in the listing: a short memory of past gradients, because the opponent moves too
CONDITIONAL_RATE = {"dense": 1.5e-3, "conv": 2e-3}  # the same with --conditional; at 3e-3 dense ignores its labels
LATENT_DIM = 64  # random numbers from which the generator paints an image
LABEL_SMOOTHING = 0.0  # how far below 1 the discriminator's target for real images lies
PENALTY = 1.0  # weight of the gradient penalty R1 (Mescheder et al. 2018) in the discriminator's loss; 0: a plain GAN
SNAPSHOT_EVERY = 1000  # steps, at most, between two pictures of what the same noise has become

# The trap: the classic recipe, of which the listing's build_gan is a part, compiles the discriminator, sets
# discriminator.trainable = False, compiles generator and discriminator as one model, and calls train_on_batch of both
# in turn. Keras 3 reads `trainable` not when it compiles but when it turns the first training step into a graph: by
# then the discriminator is frozen, and none of its weights ever moves, though losses are printed and no error is
# raised. Here each optimizer is handed the weights that it may change.


def build_generator(architecture="dense", latent_dim=LATENT_DIM):
    """Return the generator: noise (batch, latent_dim) to images (batch, 28, 28, 1) in [-1, 1] (001, Listing 5.5)."""
    if architecture == "dense":
        return keras.Sequential([
            keras.Input((latent_dim,)),
            layers.Dense(128),  # (128,)  8,320 = 64 x 128 + 128
            layers.LeakyReLU(0.01),  # (128,)  negative values x 0.01, not 0: a gradient remains
            layers.Dense(784, activation="tanh"),  # (784,)  101,136 = 128 x 784 + 784
            layers.Reshape((28, 28, 1)),  # (28, 28, 1)
        ], name="generator")  # fmt: skip
    return keras.Sequential([  # the document's outline, with DCGAN's batch normalisation, which has the bias
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
    ], name="generator")  # fmt: skip


def build_discriminator(architecture="dense"):
    """Return the discriminator: images (batch, 28, 28, 1) to logits (batch, 1), above 0 for "this one is real".

    The listing ends in a sigmoid; here it stands in the loss, where log(sigmoid(x)) cannot underflow.
    """
    if architecture == "dense":
        return keras.Sequential([
            keras.Input((28, 28, 1)),
            layers.Flatten(),  # (784,)
            layers.Dense(128),  # (128,)  100,480 = 784 x 128 + 128
            layers.LeakyReLU(0.01),  # (128,)
            layers.Dense(1),  # (1,)  129 = 128 + 1
        ], name="discriminator")  # fmt: skip
    return keras.Sequential([  # strides in place of pooling, as the document says
        keras.Input((28, 28, 1)),
        layers.Conv2D(16, 4, strides=2, padding="same"),  # (14, 14, 16)  272 = 16 x (4*4*1 + 1)
        layers.LeakyReLU(0.2),  # (14, 14, 16)
        layers.Conv2D(32, 4, strides=2, padding="same"),  # (7, 7, 32)  8,224 = 32 x (4*4*16 + 1)
        layers.LeakyReLU(0.2),  # (7, 7, 32)
        layers.Flatten(),  # (1568,)
        layers.Dense(128),  # (128,)  200,832 = 1568 x 128 + 128; the first to see more than 10 x 10 pixels
        layers.LeakyReLU(0.2),  # (128,)
        layers.Dense(1),  # (1,)  129 = 128 + 1
    ], name="discriminator")  # fmt: skip


def build_networks(architecture="dense", latent_dim=LATENT_DIM, classes=0):
    """Return generator and discriminator; with `classes` both have a second input, one-hot labels (batch, classes).

    The generator reads beside the noise which digit is ordered. To the discriminator's logit a label adds a projection
    (Miyato and Koyama 2018): its features times a vector for each digit. As just another input it would be ignored.
    """
    generator, discriminator = build_generator(architecture, latent_dim + classes), build_discriminator(architecture)
    if not classes:
        return generator, discriminator
    noise, label = keras.Input((latent_dim,)), keras.Input((classes,))
    painted = layers.Concatenate()([noise, label])  # (74,)
    for layer in generator.layers:
        painted = layer(painted)  # at last (28, 28, 1)
    features = discriminator.layers[-1].input  # (128,)
    vector = layers.Dense(features.shape[1], use_bias=False)(label)  # (128,)  1,280 = 10 x 128: a label picks a row
    projection = layers.Dot(1)([vector, features])  # (1,)
    logit = layers.Add()([discriminator.outputs[0], projection])  # (1,)
    return (keras.Model([noise, label], painted, name="generator"),
            keras.Model([*discriminator.inputs, label], logit, name="discriminator"))  # fmt: skip


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

    def train_step(self, data):
        """Update both networks once; `data` are images (batch, 28, 28, 1) in [-1, 1], or images and one-hot labels.

        In the comments G is the generator and D the discriminator's answer as a probability, sigmoid(logit). A tape
        records what is computed, to tell afterwards how a loss changes with each weight: one tape for each network's
        loss. The third tells how the logits change with the pixels, which are no weights and so must be watched.
        """
        real, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        ordered = (lambda x: x) if labels is None else (lambda x: [x, labels])  # with --conditional a label for each
        shape = tf.shape(real)[0], self.generator.inputs[0].shape[1]  # (batch, 64)
        noise = keras.random.normal(shape, seed=self.noise_seed)
        cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = self.generator(ordered(noise), training=True)  # (batch, 28, 28, 1)
            with tf.GradientTape() as pixel_tape:
                pixel_tape.watch(real)
                real_logits = self.discriminator(ordered(real), training=True)  # (batch, 1)
            fake_logits = self.discriminator(ordered(fake), training=True)  # (batch, 1)
            one, zero = tf.ones_like(real_logits), tf.zeros_like(real_logits)
            # D wants real = 1 and fake = 0: -(log D(real) + log(1 - D(fake))) / 2, ln 2 = 0.693 if D can only guess
            d_loss = cross_entropy(one - LABEL_SMOOTHING, real_logits) / 2 + cross_entropy(zero, fake_logits) / 2
            d_total = d_loss
            if self.penalty:  # D also wants small gradients at real images: |d logit/dx|^2 (R1), 0 if D can only guess
                gradient = pixel_tape.gradient(real_logits, real)  # (batch, 28, 28, 1)
                squares = tf.reduce_sum(gradient**2, axis=range(1, len(gradient.shape)))  # (batch,)
                d_total += self.penalty / 2 * tf.reduce_mean(squares)
            # G wants fake = 1: -log D(fake), again ln 2 if D can only guess. It is the non-saturating loss: maximising
            # d_loss has vanishing gradients while D is confident.
            g_loss = cross_entropy(one, fake_logits)
        weights = self.generator.trainable_variables
        self.generator_optimizer.apply(generator_tape.gradient(g_loss, weights), weights)
        weights = self.discriminator.trainable_variables
        self.optimizer.apply(discriminator_tape.gradient(d_total, weights), weights)
        values = d_loss, g_loss, tf.cast(real_logits > 0, "float32"), tf.cast(fake_logits < 0, "float32")
        for mean, value in zip(self.means, values, strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.means}  # over the epoch so far


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the GAN's train_step is written for one processor")
    keras.utils.set_random_seed(args.seed)

    # Step 1. Data: images in [-1, 1], the range of tanh; labels only where a digit can be ordered.
    digits = mnist.load_mnist(args.data, args.limit)
    classes = digits.num_classes if args.conditional else 0
    train, real = 2 * mnist.as_images(digits.x_train) - 1, 2 * mnist.as_images(digits.x_test) - 1  # (60000, 28, 28, 1)
    if classes:
        train = [train, keras.utils.to_categorical(digits.y_train, classes)]  # and (60000, 10)
        real = [real, keras.utils.to_categorical(digits.y_test, classes)]
    dataset = tfdata.endless(train, args.batch_size)  # shuffled batches of 128

    # Steps 2 and 3. Discriminator and generator
    run = runs.Run("gan_mnist", args, strategy, digits)
    generator, discriminator = build_networks(args.architecture, args.latent_dim, classes)
    gan = GAN(generator, discriminator)
    per_epoch = math.ceil(args.steps / max(10, round(args.steps / SNAPSHOT_EVERY)))  # an epoch ends with a snapshot
    epochs = math.ceil(args.steps / per_epoch)
    peak = (CONDITIONAL_RATE if classes else LEARNING_RATE)[args.architecture]
    rate = keras.optimizers.schedules.CosineDecay(peak, epochs * per_epoch)
    gan.compile(
        generator_optimizer=keras.optimizers.Adam(rate, BETA_1),
        discriminator_optimizer=keras.optimizers.Adam(rate, BETA_1),
        steps_per_execution=math.gcd(20, per_epoch),  # fewer returns to Python; dense: a quarter faster
    )
    for network in (generator, discriminator):
        network.summary()
        diagram(run.folder / f"{network.name}.png", network)

    # Step 4. Train. Ctrl-C stops it early; the script goes on with what was learned.
    judge = Judge(digits, args.judge)  # for step 5; here, so that a wrong --judge ends before the training
    rng, count = np.random.default_rng(args.seed), len(digits.x_test)
    noise = rng.standard_normal((count, args.latent_dim)).astype("float32")  # (10000, 64)
    order = np.arange(count) % classes if classes else None  # (10000,)  each digit in turn
    inputs = [noise, keras.utils.to_categorical(order, classes)] if classes else noise
    untrained = generator.predict(inputs, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    print(f"{epochs * per_epoch:,} steps, with a snapshot after every {per_epoch:,}, called an epoch", flush=True)
    snapshots = Snapshots(inputs, run.folder / "snapshots", judge)
    history = gan.fit(
        dataset,
        epochs=epochs,
        steps_per_epoch=per_epoch,
        shuffle=False,  # the dataset does
        verbose=run.verbose,
        callbacks=[snapshots, *run.callbacks],  # history.csv, the time, Ctrl-C
    ).history
    run.write("generator.keras", generator.save)  # a whole file or none
    run.write("discriminator.keras", discriminator.save)

    # Step 5. Evaluate. A classifier of real digits, the judge, reads as many generated images as there are test images.
    fake = generator.predict(inputs, batch_size=500, verbose=0)  # (10000, 28, 28, 1)
    judged = [fake, inputs[1]] if classes else fake  # by the discriminator
    scores, baseline = judge.scores((fake + 1) / 2, order), judge.scores((untrained + 1) / 2)
    judge.compare(generated=scores, untrained=baseline)
    score, distance = scores["classifier_score"], scores["frechet_distance"]
    headline = f"Classifier score: {score:.2f} of {digits.num_classes}, Frechet distance: {distance:.1f}"
    if classes:
        headline += f", ordered digit right: {scores['ordered_digit_right']:.1%}"

    # Step 6. Use the generator: samples.png shows some of its images, paint_digits.py paints more.
    more = "--digit 7" if classes else "--count 64 --interpolate"
    print(f"to paint more: python paint_digits.py {cli.relative(run.folder)}/generator.keras {more}")
    title = f"{digits.name}, {args.architecture}{', conditional' if classes else ''}\n{headline}"
    samples(run.folder / "samples.png", snapshots, title)
    training_curves(run.folder / "training_curves.png", snapshots.steps[1:], history, title)
    animation(run.folder / "training.gif", frame, snapshots.frames, figsize=(6, 6.4), fps=4)
    return run.finish(
        headline,
        "untrained: score {classifier_score:.1f}, distance {frechet_distance:.0f}".format(**baseline),
        gan,
        **scores,
        frechet_floor=judge.real["frechet_distance"],
        frechet_untrained=baseline["frechet_distance"],
        d_accuracy_real=np.mean(discriminator.predict(real, batch_size=500, verbose=0) > 0),
        d_accuracy_fake=np.mean(discriminator.predict(judged, batch_size=500, verbose=0) < 0),
        steps_per_second=run.facts["steps"] / run.facts["seconds_training"] if "steps" in run.facts else None,
        judge_accuracy=judge.accuracy,
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, those of --architecture."""
    parser = cli.parser(__doc__, steps=STEPS["dense"], batch_size=BATCH_SIZE["dense"])
    parser.add_argument("--architecture", choices=STEPS, default="dense",
                        help="dense: the listing's layers; conv: the document's convolutional form, which by default "
                             f"takes {STEPS['conv']} steps of batch size {BATCH_SIZE['conv']} (default %(default)s)")
    parser.add_argument("--latent-dim", type=cli.number(int, at_least=1), default=LATENT_DIM, metavar="N",
                        help="random numbers behind an image (default %(default)s)")
    parser.add_argument("--conditional", action="store_true", help="paint the digit that is ordered by its label")
    parser.add_argument("--judge", type=cli.path, metavar="MODEL",
                        help="a model.keras of cnn_mnist.py as the judge (default: a small one, trained first); not of "
                             "fast_mnist.py, whose label smoothing lowers all scores")
    return cli.parse(parser, argv, lambda args: {"steps": STEPS[args.architecture],
                                                 "batch_size": BATCH_SIZE[args.architecture]})  # fmt: skip


if __name__ == "__main__":
    script.launch(main)
