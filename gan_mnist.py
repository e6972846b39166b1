"""A generative adversarial network (GAN): one network learns to paint digits, another to tell them from real ones.

Idea      The classifiers turn a picture into an answer. A generator turns noise into a picture, and nobody tells it
          which. Its only teacher is a discriminator that learns at the same time what a real digit looks like.
Model     Generator: Dense 128, LeakyReLU, Dense 784 tanh; 109,456 parameters. Discriminator: Dense 128, LeakyReLU,
          Dense 1; 100,609. With --architecture conv strided convolutions, up and down; 853,889 and 209,457.
Run       python gan_mnist.py
          python gan_mnist.py --architecture conv
          python gan_mnist.py --generate 64 --interpolate --model runs/gan_mnist/1/generator.keras
Expect    Seeds 0 to 2 on MNIST, 2 cores of an AMD EPYC, TensorFlow 2.21.0, Keras 3.15.1; all ten classes are covered:
          dense  classifier score 7.06 6.96 6.75, Frechet distance 22.9 21.6 25.5, after 2 minutes of training
          conv   classifier score 8.71 8.69 8.65, Frechet distance 1.40 1.63 1.55, after 9 minutes
          Real images have a score of 9.76 and are 0.5 from other real ones.
Baseline  an untrained generator: a score of 1.0 and a distance of 450 to 570.
Try next  --latent-dim 2           A whole world on one sheet of paper: can two numbers tell all the digits apart?
          --label-smoothing 0.1    Tells the discriminator to be less sure of real images. Who gains?
          --steps 2000             Watch the losses, then look at the pictures. Would you have known when to stop?
Source    Document 001, Listing 5.5 and its six steps of a GAN.
"""

import math
from pathlib import Path

from common import cli, device, grids, mnist, plots, runs, scores  # first: starts TensorFlow without its log lines

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

LATENT_DIM = 64  # random numbers from which the generator paints an image
BETA_1 = 0.5  # of Adam, as in the listing: a short memory of past gradients, for the opponent moves too
LABEL_SMOOTHING = 0.0  # how far below 1 the discriminator's aim for real images lies
PENALTY = 1.0  # weight of the slope at real images in the discriminator's loss; 0 makes it a plain GAN
SNAPSHOT_EVERY = 1000  # steps between two pictures of what the same noise has become
STEPS_PER_EXECUTION = 20  # at most; then TensorFlow returns to Python, which costs time
RECIPES = {  # the learning rate, in the listing a slow 2e-4, falls to zero along a cosine
    "dense": {"learning_rate": 3e-3, "steps": 25_000, "batch_size": 128},
    "conv": {"learning_rate": 2e-3, "steps": 15_000, "batch_size": 64},
}
JUDGE_EPOCHS = 4  # of a judge's training, or more where there are few images
JUDGE_LEAST_STEPS = 100

# The trap: the classic recipe compiles the discriminator, sets discriminator.trainable = False, compiles generator and
# discriminator as one model, and calls train_on_batch of both in turn. Keras 3 reads `trainable` not when it compiles
# but when it turns the first training step into a graph: by then the discriminator is frozen, and none of its weights
# ever moves, though losses are printed and no error is raised. Here each optimizer is handed the weights it may change.


def build_generator(architecture="dense", latent_dim=LATENT_DIM):
    """Return the generator: noise (batch, latent_dim) to images (batch, 28, 28, 1) in [-1, 1] (001, Listing 5.5)."""
    if architecture == "dense":
        return keras.Sequential([
            keras.Input((latent_dim,)),
            layers.Dense(128),  # (128,)  8,320 = 64 x 128 + 128
            layers.LeakyReLU(0.01),
            layers.Dense(784, activation="tanh", dtype="float32"),  # (784,)  101,136 = 128 x 784 + 784
            layers.Reshape((28, 28, 1), dtype="float32"),
        ], name="generator")  # fmt: skip
    return keras.Sequential([  # no bias where normalisation follows: it has one, among its 4 numbers a channel
        keras.Input((latent_dim,)),
        layers.Dense(256, use_bias=False),  # (256,)  16,384 = 64 x 256
        layers.BatchNormalization(momentum=0.9),  # (256,)  1,024 = 4 x 256
        layers.LeakyReLU(0.2),
        layers.Dense(7 * 7 * 64, use_bias=False),  # (3136,)  802,816 = 256 x 3136
        layers.Reshape((7, 7, 64)),
        layers.BatchNormalization(momentum=0.9),  # (7, 7, 64)  256 = 4 x 64
        layers.LeakyReLU(0.2),
        layers.Conv2DTranspose(32, 4, strides=2, padding="same", use_bias=False),  # (14, 14, 32)  32,768 = 32 x 4*4*64
        layers.BatchNormalization(momentum=0.9),  # (14, 14, 32)  128 = 4 x 32
        layers.LeakyReLU(0.2),
        # (28, 28, 1)  513 = 4*4*32 + 1
        layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh", dtype="float32"),
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
            layers.LeakyReLU(0.01),
            layers.Dense(1, dtype="float32"),  # (1,)  129 = 128 + 1
        ], name="discriminator")  # fmt: skip
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(16, 4, strides=2, padding="same"),  # (14, 14, 16)  272 = 16 x (4*4*1 + 1)
        layers.LeakyReLU(0.2),
        layers.Conv2D(32, 4, strides=2, padding="same"),  # (7, 7, 32)  8,224 = 32 x (4*4*16 + 1)
        layers.LeakyReLU(0.2),
        layers.Flatten(),  # (1568,)
        layers.Dense(128),  # (128,)  200,832 = 1568 x 128 + 128; the first to see more than 10 x 10 pixels
        layers.LeakyReLU(0.2),
        layers.Dense(1, dtype="float32"),  # (1,)  129 = 128 + 1
    ], name="discriminator")  # fmt: skip


class GAN(keras.Model):
    """A generator and a discriminator, and the step that trains both."""

    def __init__(self, generator, discriminator, label_smoothing=LABEL_SMOOTHING):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.label_smoothing = label_smoothing
        self.noise_seed = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed
        self.means = [keras.metrics.Mean(f"d_{name}") for name in ("loss", "accuracy_real", "accuracy_fake")]
        self.means.append(keras.metrics.Mean("g_loss"))
        self.built = True  # its parts are; there is nothing to build from the first batch

    def compile(self, generator_optimizer, discriminator_optimizer, **options):
        """Give each network its own optimizer, which knows the weights of no other."""
        super().compile(optimizer=discriminator_optimizer, **options)
        if self.compute_dtype == "float16":  # as Keras has just done with the other: small gradients would become 0
            generator_optimizer = keras.optimizers.LossScaleOptimizer(generator_optimizer)
        self.generator_optimizer = generator_optimizer
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.optimizer.build(self.discriminator.trainable_variables)

    def train_step(self, real):
        """Update both networks once; `real` is (batch, 28, 28, 1) in [-1, 1].

        In the comments G is the generator and D the discriminator's answer as a probability, sigmoid(logit). A tape
        records what is computed, to tell afterwards how a loss changes with each weight: one tape for each network's
        loss. The third asks how the logit changes with the pixels, which are no weights and so must be watched.
        """
        context = tf.distribute.get_replica_context()  # of several replicas each gets its share of images and of noise
        replica, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync  # 0 of 1, where it is alone
        shape = (replicas, tf.shape(real)[0], self.generator.input_shape[1])
        noise = keras.random.normal(shape, seed=self.noise_seed)[replica]  # (batch, 64)
        cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = self.generator(noise, training=True)  # (batch, 28, 28, 1)
            with tf.GradientTape() as slope_tape:
                slope_tape.watch(real)
                real_logits = self.discriminator(real, training=True)  # (batch, 1)
            fake_logits = self.discriminator(fake, training=True)  # (batch, 1)
            one, zero = tf.ones_like(real_logits), tf.zeros_like(real_logits)
            # D wants real = 1 and fake = 0: -(log D(real) + log(1 - D(fake))) / 2, ln 2 = 0.693 if it can only guess
            d_loss = cross_entropy(one - self.label_smoothing, real_logits) / 2 + cross_entropy(zero, fake_logits) / 2
            # and shall be flat at real images: |d logit/dx|^2 (R1, Mescheder et al. 2018), which is 0 if it guesses.
            slope = slope_tape.gradient(real_logits, real)  # (batch, 28, 28, 1)
            d_total = d_loss + PENALTY / 2 * tf.reduce_mean(tf.reduce_sum(slope**2, axis=(1, 2, 3))) / replicas
            # G wants fake = 1: -log D(fake), again ln 2 if D can only guess. (It could want a large d_loss instead, but
            # as long as D is sure, that has no slope to learn from.)
            g_loss = cross_entropy(one, fake_logits)
            # The optimizers add up the replicas' gradients: Keras's losses are divided by `replicas`, as is the slope.
            g_scaled, d_scaled = self.generator_optimizer.scale_loss(g_loss), self.optimizer.scale_loss(d_total)
        generator_weights = self.generator.trainable_variables
        discriminator_weights = self.discriminator.trainable_variables
        gradients = generator_tape.gradient(g_scaled, generator_weights)
        self.generator_optimizer.apply(gradients, generator_weights)
        gradients = discriminator_tape.gradient(d_scaled, discriminator_weights)
        self.optimizer.apply(gradients, discriminator_weights)
        right = tf.cast(real_logits > 0, "float32"), tf.cast(fake_logits < 0, "float32")
        values = (replicas * d_loss, *right, replicas * g_loss)
        for mean, value in zip(self.means, values, strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.means}


class Snapshots(keras.callbacks.Callback):
    """Paint the same noise (count, latent_dim) every time an epoch ends; end the training after `last` updates."""

    def __init__(self, last, noise, folder):
        super().__init__()
        self.last, self.noise, self.folder = last, noise, folder
        self.steps, self.frames = [], []  # when, and what the animation shows: pixels (count, 28, 28, 1) and a title

    def on_train_begin(self, logs=None):
        self.folder.mkdir()
        self.paint(0)

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() >= self.last:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.paint(int(self.model.optimizer.iterations.numpy()))

    def paint(self, step):
        self.steps.append(step)
        self.frames.append((grids.as_pixels(self.model.generator.predict(self.noise, verbose=0)), f"step {step:,}"))
        grids.grid(self.folder / f"step_{step:07d}.png", *self.frames[-1])


def build_judge():
    """Return a small classifier of images (batch, 28, 28, 1) in [0, 1]; its last layer reads 64 features."""
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(24, 3, activation="relu"),  # (26, 26, 24)  240 = 24 x (3*3*1 + 1)
        layers.MaxPooling2D(2),  # (13, 13, 24)
        layers.Conv2D(48, 3, activation="relu"),  # (11, 11, 48)  10,416 = 48 x (3*3*24 + 1)
        layers.MaxPooling2D(2),  # (5, 5, 48)
        layers.Flatten(),  # (1200,)
        layers.Dense(64, activation="relu"),  # (64,)  76,864 = 1200 x 64 + 64
        layers.Dense(mnist.NUM_CLASSES, activation="softmax"),  # (10,)  650 = 64 x 10 + 10
    ], name="judge")  # fmt: skip


def train_judge(digits):
    """Return a judge trained on the training images, in half a minute on 2 cores."""
    judge = build_judge()
    per_epoch = math.ceil(len(digits.x_train) / 128)  # 469 batches
    epochs = max(JUDGE_EPOCHS, math.ceil(JUDGE_LEAST_STEPS / per_epoch))
    steps = epochs * per_epoch  # the learning rate climbs for a quarter of them, then falls to zero
    rate = keras.optimizers.schedules.CosineDecay(1e-4, 0.75 * steps, warmup_target=3e-3, warmup_steps=0.25 * steps)
    judge.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(rate))
    judge.fit(mnist.as_images(digits.x_train), digits.y_train, batch_size=128, epochs=epochs, verbose=0)
    return judge


def with_features(judge):
    """Return a model that tells the judge's probabilities (count, 10) and its features, what the last layer reads."""
    return keras.Model(judge.inputs, [judge.outputs[0], judge.layers[-1].input])


def evaluate(judge, images, real_features):
    """Return the scores of images (count, 28, 28, 1) in [0, 1], and how far their features are from the real ones'."""
    probabilities, features = judge.predict(images, batch_size=500, verbose=0)
    if not np.isfinite(images).all():  # the training diverged; relu may turn nan into 0, and the judge would score it
        probabilities, features = np.nan * probabilities, np.nan * features
    return {**scores.judged(probabilities), "frechet_distance": scores.frechet_distance(features, real_features)}


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, or those of --architecture."""
    parser = cli.parser(__doc__, batch_size=RECIPES["dense"]["batch_size"], steps=RECIPES["dense"]["steps"])
    count = cli.number(int, at_least=1)
    parser.add_argument("--architecture", choices=RECIPES, default="dense",
                        help="the listing's dense layers, or the document's convolutional form, which by default takes "
                             "{steps} steps of batch size {batch_size} (default dense)".format(**RECIPES["conv"]))
    parser.add_argument("--latent-dim", type=count, default=LATENT_DIM, metavar="N",
                        help="random numbers behind an image (default %(default)s)")
    parser.add_argument("--label-smoothing", type=cli.number(float, at_least=0, below=1), default=LABEL_SMOOTHING,
                        metavar="X", help="aim for 1 - X on real images (default %(default)s)")
    parser.add_argument("--snapshot-every", type=count, default=SNAPSHOT_EVERY, metavar="N",
                        help="steps between two snapshots (default %(default)s)")
    parser.add_argument("--judge", metavar="MODEL",
                        help="a model.keras of cnn_mnist.py --recipe book (default: a small one, trained first)")
    parser.add_argument("--model", metavar="MODEL",
                        help="a generator.keras, for the next two; flags of training do nothing then")
    parser.add_argument("--generate", type=count, metavar="N", help="train nothing; paint N images with --model")
    parser.add_argument("--interpolate", action="store_true", help="train nothing; walk through --model's latent space")
    recipe = RECIPES[parser.parse_args(argv).architecture]
    parser.set_defaults(steps=recipe["steps"], batch_size=recipe["batch_size"])
    args = parser.parse_args(argv)
    if bool(args.model) != bool(args.generate or args.interpolate):
        raise cli.UserError("--generate and --interpolate need a trained generator and --model one of them, as in "
                            "--generate 64 --model runs/gan_mnist/1/generator.keras")
    return args


def main(argv=None):
    """Train and judge a GAN, or use one; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args)
    return use(args) if args.model else train(args, strategy)


def train(args, strategy):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    keras.utils.set_random_seed(args.seed)
    per_epoch = min(args.snapshot_every, args.steps)

    # Step 1. Data: images in [-1, 1], the range of tanh; no labels.
    digits = mnist.load_mnist(args.data, args.limit)
    judge = load_judge(args.judge) if args.judge else None
    x_train = tf.constant(2 * mnist.as_images(digits.x_train) - 1)  # (60000, 28, 28, 1)
    indices = tf.data.Dataset.range(len(x_train)).shuffle(len(x_train)).repeat().batch(args.batch_size)
    dataset = indices.map(lambda chosen: tf.gather(x_train, chosen)).prefetch(2)  # (128, 28, 28, 1), without end

    # Steps 2 and 3. Discriminator and generator
    run = runs.Run("gan_mnist", args, strategy, digits)
    with strategy.scope():
        generator = build_generator(args.architecture, args.latent_dim)
        discriminator = build_discriminator(args.architecture)
        gan = GAN(generator, discriminator, args.label_smoothing)
        rate = keras.optimizers.schedules.CosineDecay(RECIPES[args.architecture]["learning_rate"], args.steps)
        steps = math.gcd(per_epoch, args.steps)  # so that a call ends where an epoch and the training end
        gan.compile(
            keras.optimizers.Adam(rate, BETA_1),
            keras.optimizers.Adam(rate, BETA_1),
            steps_per_execution=device.steps_per_execution(strategy, steps, STEPS_PER_EXECUTION),
        )
    for network in (generator, discriminator):
        network.summary()
        plots.diagram(run.folder / f"{network.name}.png", network)
    x_test = mnist.as_images(digits.x_test)  # (10000, 28, 28, 1) in [0, 1]; as many generated images will be judged
    rng = np.random.default_rng(args.seed)
    noise = rng.standard_normal((len(x_test), args.latent_dim)).astype("float32")
    untrained = generator.predict(noise, batch_size=500, verbose=0)
    keras.config.set_dtype_policy("float32")  # the judge is the same, whatever --precision the GAN is trained in
    if not judge:
        print("judge: a small classifier learns to read the digits first, in up to a minute", flush=True)
        judge = train_judge(digits)
    judge = with_features(judge)
    probabilities, real_features = judge.predict(x_test, batch_size=500, verbose=0)  # (10000, 10), (10000, 64)
    judge_accuracy = np.mean(probabilities.argmax(axis=1) == digits.y_test)
    print(f"judge: reads {judge_accuracy:.2%} of the test images correctly"
          + ("" if judge_accuracy >= 0.99 else "; below 99 % its scores mean less"), flush=True)

    # Step 4. Train. Ctrl-C ends the training early and goes on with what was learned.
    print(f"steps: {args.steps:,}, with a snapshot after every {per_epoch:,}, which Keras calls an epoch", flush=True)
    snapshots = Snapshots(args.steps, noise[:64], run.folder / "snapshots")
    history = gan.fit(
        dataset,
        epochs=math.ceil(args.steps / per_epoch),
        steps_per_epoch=per_epoch,
        shuffle=False,  # the dataset does
        verbose=run.verbose,
        callbacks=[snapshots, *run.callbacks],  # history.csv, the time, Ctrl-C
    ).history
    generator.save(run.folder / "generator.keras")
    discriminator.save(run.folder / "discriminator.keras")

    # Step 5. Evaluate: what the judge says of painted images, of an untrained generator's, and of the test set.
    painted = generator.predict(noise, batch_size=500, verbose=0)
    training_images = x_train.numpy()[rng.permutation(len(x_train))[: len(x_test)]]
    floor = evaluate(judge, (training_images + 1) / 2, real_features)
    results = {
        "generated": evaluate(judge, (painted + 1) / 2, real_features),
        "untrained": evaluate(judge, (untrained + 1) / 2, real_features),
        "real": {**scores.judged(probabilities), "frechet_distance": floor["frechet_distance"]},  # of real from real
    }
    print(f"\n{'the judge (common/scores.py)':30}" + "".join(f"{name:>12}" for name in [*results, "best"]))
    for key, best in zip(floor, (1, 10, 2.303, 10, 0), strict=True):
        row = [result[key] for result in results.values()] + [best]
        print(f"{key.replace('_', ' '):30}" + "".join(f"{number:12.4g}" for number in row))
    print(f"to paint more: python gan_mnist.py --generate 64 --interpolate --model "
          f"{cli.relative(run.folder / 'generator.keras')}")

    # Show
    score, distance = results["generated"]["classifier_score"], results["generated"]["frechet_distance"]
    title = f"{digits.name}, {args.architecture}\nclassifier score {score:.2f}, Frechet distance {distance:.1f}"
    grids.grid(run.folder / "samples.png", grids.as_pixels(painted[:64]), title)
    grids.training_curves(run.folder / "training_curves.png", snapshots.steps[1:], history, title)
    plots.animation(run.folder / "training.gif", grids.frame, snapshots.frames, figsize=(6, 6.4), fps=4)
    return run.finish(
        f"Classifier score: {score:.2f} of 10, Frechet distance: {distance:.1f}",
        gan,
        **results["generated"],
        frechet_floor=floor["frechet_distance"],
        frechet_untrained=results["untrained"]["frechet_distance"],
        d_accuracy_real=np.mean(discriminator.predict(2 * x_test - 1, batch_size=500, verbose=0) > 0),
        d_accuracy_fake=np.mean(discriminator.predict(painted, batch_size=500, verbose=0) < 0),
        steps_per_second=run.facts["steps"] / run.facts["seconds_training"],
        judge_accuracy=judge_accuracy,
    )


def load_judge(path):
    """Return the classifier in the file `path`, such as model.keras of cnn_mnist.py.

    Raises cli.UserError where there is none.
    """
    judge = runs.load_model(path, "a classifier of (None, 28, 28, 1) into (None, 10)",
                            lambda images, classes: (images, classes) == ((None, 28, 28, 1), (None, 10)))  # fmt: skip
    if not np.allclose(np.sum(judge.predict(np.zeros((1, 28, 28, 1)), verbose=0)), 1, atol=1e-3):
        raise cli.UserError(f"{path}: its ten answers are no probabilities; a judge ends in a softmax")
    return judge


def use(args):
    """Step 6. Paint with a trained generator, or walk through its latent space; return what result.json says."""
    generator = runs.load_model(args.model, "a generator of (None, 28, 28, 1) from (None, N)",
                                lambda noise, images: images == (None, 28, 28, 1) and isinstance(noise, tuple)
                                and len(noise) == 2 and noise[1])  # fmt: skip
    latent_dim, name = generator.input_shape[1], Path(args.model).name
    folder = cli.new_folder("gan_mnist", args.out)
    if args.generate:
        noise = np.random.default_rng(args.seed).standard_normal((args.generate, latent_dim))
        pixels = grids.as_pixels(generator.predict(noise, batch_size=500, verbose=0))
        np.savez_compressed(folder / "generated.npz", images=pixels)  # (N, 28, 28, 1) uint8
        shown = pixels[:400]
        grids.grid(folder / "generated.png", shown, f"{len(shown)} images by {name}, seed {args.seed}")
    if args.interpolate:
        start, end = np.random.default_rng(args.seed).standard_normal((2, 8, 1, latent_dim))
        angle = np.linspace(0, np.pi / 2, 10)[:, None]  # along an arc: a straight line leads through unlikely noise
        noise = np.cos(angle) * start + np.sin(angle) * end  # (8, 10, latent_dim), each from N(0, 1) like its ends
        pixels = grids.as_pixels(generator.predict(noise.reshape(-1, latent_dim), verbose=0))
        grids.grid(folder / "interpolation.png", pixels, f"{name}: from one random digit to another", columns=10)
    facts = {"script": "gan_mnist", "status": "finished", "model": args.model, "seed": args.seed,
             "generate": args.generate, "interpolate": args.interpolate}
    cli.write_result(folder, facts)
    print(f"{', '.join(sorted(path.name for path in folder.iterdir()))}: {cli.relative(folder)}")
    if args.show:
        plots.show(folder)
    return {**facts, "folder": folder}


if __name__ == "__main__":
    cli.launch(main)
