"""Mode collapse: a generator that covers only some of the modes, in a plane where it can be seen, and two remedies.

Idea      Real points lie in eight clusters on a ring, the modes. Nothing tells a generator to paint all of them: one is
          enough to fool the discriminator, and once that notices, the generator moves to the next. With minibatch
          discrimination the discriminator also sees how close the points of a batch lie; R1 keeps its slopes small.
Model     Generator 2-128-128-2, 17,154 parameters; discriminator 2-128-128-1, 17,025 (21,129 with minibatches).
Run       python mode_collapse.py
Expect    Modes (seeds 0 to 4, Intel Xeon): plain 6 6 8 7 8, minibatch discrimination 8 5 8 8 7, R1 8 8 8 8 8.
Baseline  An untrained generator: no mode.
Try next  LEARNING_RATE = 1e-3    Does the plain GAN still collapse at a quarter of the rate?
          KERNELS = 1             How little must the discriminator know of the other points?
          --steps 1000, 2000, 8000    Does a generator stay at its modes? Does time cure it?
Source    "Deep learning: RNNs and LSTMs" (document 001): minibatch discrimination (Salimans et al. 2016). It continues
          gan_mnist.py: the training step is the same.
"""

import math

from common import cli, device, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.base import picture
from common.plots.model_diagram import model_diagram
from common.training.input_pipeline import endless
from gan_mnist import BETA_1, GAN

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

STEPS = 4000  # updates of both networks
BATCH_SIZE = 64  # real points in a step, and as many generated ones
LEARNING_RATE = 4e-3  # of both Adams, at first; it falls to zero along a cosine
SEEDS = 5  # trainings of each kind
KERNELS, DIMENSIONS = 8, 4  # of minibatch discrimination: ways to be alike, each a distance between 4 numbers
SPREAD = 0.02  # standard deviation of a mode; the ring has a radius of 1
ANGLES = np.arange(8) * np.pi / 4
MODES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)  # (8, 2)
# What each kind of GAN has: minibatch discrimination or not, and the weight of R1
KINDS = {"plain": (False, 0.0), "minibatch discrimination": (True, 0.0), "R1": (False, 0.1)}
PAINTED = 2000  # points by which a generator is judged


class MinibatchDiscrimination(layers.Layer):
    """Add to the features (batch, 128) of each example how alike those of its batch are to it, in each of 8 ways.

    Real and generated points come in separate batches: in a mixed one each would be compared with both kinds.
    """

    def __init__(self):
        super().__init__()
        self.project = layers.Dense(KERNELS * DIMENSIONS, use_bias=False)

    def build(self, shape):
        self.project.build(shape)  # 4,096 = 128 x 32

    def call(self, features):
        points = tf.reshape(self.project(features), (-1, KERNELS, DIMENSIONS))  # (batch, 8, 4)
        distances = tf.reduce_sum(tf.abs(points[:, None] - points), axis=3)  # (batch, batch, 8)
        likeness = tf.reduce_mean(tf.exp(-distances), axis=1)  # (batch, 8)  1 if all are alike; Salimans et al. sum
        return tf.concat([features, likeness], axis=1)  # (batch, 136)


def build_generator():
    """Return the generator: noise (batch, 2) to points (batch, 2)."""
    return keras.Sequential([
        keras.Input((2,)),
        layers.Dense(128, activation="relu"),  # (128,)  384 = 2 x 128 + 128
        layers.Dense(128, activation="relu"),  # (128,)  16,512 = 128 x 128 + 128
        layers.Dense(2),  # (2,)  258 = 128 x 2 + 2
    ])


def build_discriminator(minibatch=False):
    """Return the discriminator: points (batch, 2) to logits (batch, 1)."""
    return keras.Sequential([
        keras.Input((2,)),
        layers.Dense(128, activation="relu"),  # (128,)  384 = 2 x 128 + 128
        layers.Dense(128, activation="relu"),  # (128,)  16,512 = 128 x 128 + 128
        *([MinibatchDiscrimination()] if minibatch else []),
        layers.Dense(1),  # (1,)  129 = 128 + 1; 137 with minibatch discrimination
    ])


def modes_covered(points):
    """Return how many modes hold 1 % of the points (count, 2) or more, and what fraction of them lies in any mode.

    A mode reaches as far as three standard deviations, in which 98.9 % of its real points lie.
    """
    inside = np.linalg.norm(points[:, None] - MODES, axis=2) < 3 * SPREAD  # (count, 8)
    return int(np.sum(inside.mean(axis=0) >= 0.01)), float(inside.any(axis=1).mean())


@picture(13.6, 3.8)
def rings(figure, real, painted):
    """Draw points (count, 2): the real ones, and those of each kind in `painted`, {name: points}, over them."""
    rows = {"real": real, **painted}
    figure.set_size_inches(3.4 * len(rows), 3.8)
    for axes, (name, points) in zip(figure.subplots(1, len(rows)), rows.items(), strict=True):
        if name != "real":
            axes.plot(*real.T, ".", color="0.8", markersize=4)
        axes.plot(*points.T, ".", color="tab:blue", markersize=2)
        axes.set(title=name, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xlabel="x")
    figure.axes[0].set_ylabel("y")


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the GAN's train_step is written for one processor")

    # 1. Data: equally many points of each mode
    rng = np.random.default_rng(args.seed)
    real = np.tile(MODES, (10_000, 1)) + SPREAD * rng.standard_normal((80_000, 2))  # (80000, 2)
    noise = rng.standard_normal((PAINTED, 2))

    # 2. and 3. Networks and training, again and again. Ctrl-C ends it; the script goes on with what it has.
    run = runs.Run(__file__, args, strategy, "ring of eight Gaussians", about=f"{len(real):,} points")
    painted = {}  # what the generators of each kind paint, (2000, 2) each
    trainings = [(kind, args.seed + index) for kind in KINDS for index in range(args.seeds)]
    for kind, seed in trainings:
        keras.utils.set_random_seed(seed)
        dataset = endless(real.astype("float32"), args.batch_size)  # shuffled batches of 64
        minibatch, penalty = KINDS[kind]
        gan = GAN(build_generator(), build_discriminator(minibatch), penalty)
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, args.steps)
        optimizers = keras.optimizers.Adam(rate, BETA_1), keras.optimizers.Adam(rate, BETA_1)
        gan.compile(*optimizers, steps_per_execution=math.gcd(100, args.steps))  # fewer returns to Python
        gan.fit(dataset, epochs=1, steps_per_epoch=args.steps, shuffle=False, verbose=0, callbacks=run.callbacks)
        points = gan.generator.predict(noise, batch_size=PAINTED, verbose=0)  # (2000, 2)
        painted.setdefault(kind, []).append(points)
        modes, fraction = modes_covered(points)
        print(f"{kind:25} seed {seed}: {modes} of 8 modes, {fraction:.0%} of the points in some mode", flush=True)
        if run.interrupted:
            break
    model_diagram(run.folder / "generator.png", gan.generator)
    run.write("generator.keras", gan.generator.save)  # that of the last training

    # 4. Evaluate and 5. show: of each kind all trainings in a line, and the worst one in the picture
    modes, fractions, shown = {}, {}, {}
    for kind, clouds in painted.items():
        rows = [modes_covered(points) for points in clouds]
        modes[kind] = [count for count, _ in rows]
        fractions[kind] = [fraction for _, fraction in rows]
        print(f"{kind:25} modes {modes[kind]}, fraction of the points in a mode {np.round(fractions[kind], 2)}")
        worst = np.lexsort((fractions[kind], modes[kind]))[0]  # the fewest modes, and of these the fewest points in one
        few = f"{modes[kind][worst]} of 8 modes, {fractions[kind][worst]:.0%} of the points"
        shown[f"{kind}, seed {args.seed + worst}\n{few}"] = clouds[worst]
    rings(run.folder / "rings.png", real[:PAINTED], shown)
    untrained, _ = modes_covered(build_generator().predict(noise, batch_size=PAINTED, verbose=0))
    return run.finish(
        "Modes of 8: " + ", ".join(f"{kind} {np.mean(numbers):.1f}" for kind, numbers in modes.items()),
        f"untrained {untrained}",
        gan,
        modes=modes,
        in_a_mode=fractions,
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, steps=STEPS, batch_size=BATCH_SIZE, images=False)
    parser.add_argument("--seeds", type=cli.number(int, at_least=1), default=SEEDS, metavar="N",
                        help="trainings of each kind, from --seed on (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
