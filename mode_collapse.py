"""Mode collapse: a generator that covers only some of the modes, in a plane where it can be seen, and two cures.

Idea      Real points lie in eight clusters on a ring, the modes. Nobody tells a generator to paint all of them: one is
          enough to fool the discriminator, and once that notices, the generator moves to the next. With minibatch
          discrimination the discriminator also sees how close the points of a batch lie; R1 keeps its slopes small.
Model     Generator 2-128-128-2, 17,154 parameters; discriminator 2-128-128-1, 17,025, with minibatch discrimination
          21,129.
Run       python mode_collapse.py
Expect    Seeds 0 to 4 on an Intel Xeon, TensorFlow 2.21.0, Keras 3.15.1, in a few minutes; other processors round
          otherwise, and the plain GAN then collapses with other seeds. Of real points 98.9 % lie in a mode.
          plain                     6 6 8 7 8 modes, 65 91 19 95 24 % of the points in some mode
          minibatch discrimination  8 5 8 8 7 modes, 94 85 95 93 91 %
          R1                        8 8 8 8 8 modes, 88 86 91 90 86 %
Baseline  An untrained generator: no mode.
Try next  LEARNING_RATE = 1e-3    Does the plain GAN still collapse at a quarter of the rate?
          KERNELS = 1             How little must the discriminator know of the other points?
          --steps 1000, 2000, 8000    Does a generator stay at its modes? Does time cure it?
Source    "Deep learning: RNNs and LSTMs" (document 001): minibatch discrimination (Salimans et al. 2016). It continues
          gan_mnist.py: the training step is the same.
"""

import itertools
import math

from common import cli, device, runs, script, tfdata  # first: device starts TensorFlow without its log lines
from common.plots.diagram import diagram
from common.plots.mode_collapse import rings
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
# of each kind: with minibatch discrimination? the weight of R1
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
        likeness = tf.reduce_mean(tf.exp(-distances), axis=1)  # (batch, 8)  1 if all are alike
        return tf.concat([features, likeness], axis=1)  # (batch, 136)


def build_generator():
    """Return the generator: noise (batch, 2) to points (batch, 2)."""
    return keras.Sequential([
        keras.Input((2,)),
        layers.Dense(128, activation="relu"),  # (128,)  384 = 2 x 128 + 128
        layers.Dense(128, activation="relu"),  # (128,)  16,512 = 128 x 128 + 128
        layers.Dense(2),  # (2,)  258 = 128 x 2 + 2
    ])  # fmt: skip


def build_discriminator(minibatch=False):
    """Return the discriminator: points (batch, 2) to logits (batch, 1)."""
    return keras.Sequential([
        keras.Input((2,)),
        layers.Dense(128, activation="relu"),  # (128,)  384 = 2 x 128 + 128
        layers.Dense(128, activation="relu"),  # (128,)  16,512 = 128 x 128 + 128
        *([MinibatchDiscrimination()] if minibatch else []),
        layers.Dense(1),  # (1,)  129 = 128 + 1; 137 with minibatch discrimination
    ])  # fmt: skip


def judged(points):
    """Return how many modes hold 1 % of the points (count, 2) or more, and what fraction of them lies in any mode.

    A mode reaches as far as three standard deviations, in which 98.9 % of its real points lie.
    """
    inside = np.linalg.norm(points[:, None] - MODES, axis=2) < 3 * SPREAD  # (count, 8)
    return int(np.sum(inside.mean(axis=0) >= 0.01)), float(inside.any(axis=1).mean())


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the GAN's train_step is written for one processor")

    # 1. Data: equally many points of each mode
    rng = np.random.default_rng(args.seed)
    real = np.tile(MODES, (10_000, 1)) + SPREAD * rng.standard_normal((80_000, 2))  # (80000, 2)
    noise = rng.standard_normal((PAINTED, 2))

    # 2. and 3. Networks and training, again and again. Ctrl-C stops it; the script goes on with what was learned.
    run = runs.Run("mode_collapse", args, strategy, "ring of eight Gaussians", about=f"{len(real):,} points")
    painted, seconds = {kind: [] for kind in KINDS}, 0
    for kind, seed in itertools.product(KINDS, range(args.seed, args.seed + args.seeds)):
        keras.utils.set_random_seed(seed)
        dataset = tfdata.endless(real.astype("float32"), args.batch_size)  # shuffled batches of 64
        minibatch, penalty = KINDS[kind]
        generator, discriminator = build_generator(), build_discriminator(minibatch)
        gan = GAN(generator, discriminator, penalty)
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, args.steps)
        gan.compile(
            generator_optimizer=keras.optimizers.Adam(rate, BETA_1),
            discriminator_optimizer=keras.optimizers.Adam(rate, BETA_1),
            steps_per_execution=math.gcd(100, args.steps),  # fewer returns to Python
        )
        run.facts.pop("steps", None)  # those of the training before
        gan.fit(dataset, epochs=1, steps_per_epoch=args.steps, shuffle=False, verbose=0, callbacks=run.callbacks)
        seconds += run.facts["seconds_training"]
        if run.interrupted and painted["plain"]:
            break
        painted[kind].append(generator.predict(noise, batch_size=PAINTED, verbose=0))  # (2000, 2)
        modes, fraction = judged(painted[kind][-1])
        print(f"{kind:25} seed {seed}: {modes} of 8 modes, {fraction:.0%} of the points in some mode", flush=True)
        if run.interrupted:
            break
    run.facts["seconds_training"] = round(seconds, 2)
    diagram(run.folder / "generator.png", generator)
    run.write("generator.keras", generator.save)  # the last one

    # 4. Evaluate and 5. show
    table = {kind: np.array([judged(points) for points in painted[kind]]) for kind in KINDS if painted[kind]}  # (5, 2)
    for kind, rows in table.items():
        print(f"{kind:25} modes {rows[:, 0].astype(int)}, in a mode {np.round(100 * rows[:, 1]).astype(int)} %")
    worst = {}
    for kind, rows in table.items():  # of each kind the training with the fewest modes, and points in one
        index = min(range(len(rows)), key=lambda index, rows=rows: tuple(rows[index]))
        name = f"{kind}, seed {args.seed + index}\n{rows[index, 0]:.0f} of 8 modes, {rows[index, 1]:.0%} of the points"
        worst[name] = painted[kind][index]
    rings(run.folder / "rings.png", real[:PAINTED], worst)
    modes = {kind: rows[:, 0].mean() for kind, rows in table.items()}
    untrained, _ = judged(build_generator().predict(noise, batch_size=PAINTED, verbose=0))
    return run.finish(
        "Modes of 8: " + ", ".join(f"{kind} {mean:.1f}" for kind, mean in modes.items()),
        f"untrained {untrained}",
        gan,
        modes={kind: rows[:, 0].tolist() for kind, rows in table.items()},
        in_a_mode={kind: rows[:, 1].tolist() for kind, rows in table.items()},
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, steps=STEPS, batch_size=BATCH_SIZE, images=False)
    parser.add_argument("--seeds", type=cli.number(int, at_least=1), default=SEEDS, metavar="N",
                        help="trainings of each kind, from --seed on (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    script.launch(main)
