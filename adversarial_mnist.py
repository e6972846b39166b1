"""Images that fool a network: a small change of every pixel, in just the direction that raises the loss.

Idea      Training follows the gradient of the loss with respect to the weights, downwards. An attack follows that with
          respect to the pixels, upwards: each moves by eps at most, but all 784 push the same way, as noise does not.
          Then a second network trains on attacked images, and is attacked in turn.
Model     Those of mlp_mnist.py and cnn_mnist.py, which this lesson continues, with 269,322 and 80,266 parameters.
Run       python adversarial_mnist.py                      the MLP, and a defence that PGD breaks
          python adversarial_mnist.py --architecture cnn   the CNN, and one that this PGD does not break
Expect    At eps 0.25 FGSM and PGD leave mlp 5.0, 0.0 %, defended 82.8, 1.2 %; cnn 27.3, 0.0 %, defended 94.0, 88.7 %.
Baseline  Noise of the same eps leaves 78.4 and 98.5 %. (All are means of seeds 0 to 2.)
Try next  --defence random for the MLP    What does the stronger training do to a network that sees no neighbours?
          --model runs/mlp_mnist/1/model.keras    Is a network that was trained for longer harder to fool?
          tf.sign out of fgsm    A step of eps times the gradient itself: why does so little happen?
Source    "Deep learning: RNNs and LSTMs" (001), the panda; Goodfellow et al. 2014, Madry et al. 2017, Wong et al. 2020
"""

import math

import cnn_mnist  # which imports common/ first
import mlp_mnist
from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.data.saved_models import load_model
from common.plots.adversarial_mnist import curves, examples
from common.plots.model_diagram import model_diagram
from common.training.schedules import one_cycle

import numpy as np
import tensorflow as tf
from tensorflow import keras

EPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # most that a pixel may change; black is 0, white is 1
SHOWN = 0.25  # the eps of the defence and of the examples
LESSONS = {"mlp": (mlp_mnist.build_model, mnist.as_vectors), "cnn": (cnn_mnist.build_model, mnist.as_images)}
EPOCHS = {"mlp": 5, "cnn": 2}  # passes over the training images
BATCH_SIZE = {"mlp": 256, "cnn": 32}  # images per weight update
PEAK = {"mlp": 0.005, "cnn": 0.004}  # highest learning rate
WARMUP = {"mlp": 0.3, "cnn": 0.1}  # fraction of the updates in which the rate climbs
DROPOUT = {"mlp": 0.15, "cnn": 0.1}  # fraction of the features dropped at each training step
DEFENCE = {"mlp": "fgsm", "cnn": "random"}  # what the second network trains against; random: from a random start
STEPS = 20  # of the strong attack, PGD
EVERY = 5  # of the test images every fifth is attacked: 2,000, of which an accuracy of 80 % is known to 0.9 %


def logits(model, x):
    """Return what the last layer computes before its softmax, (batch, 10).

    Keras clips probabilities at 1e-7: the loss of a confident network then has no gradient, and it looks robust.
    """
    *hidden, last = model.layers
    for layer in hidden:
        x = layer(x)  # Dropout drops nothing: this is no training
    return x @ last.kernel + last.bias


@tf.function
def gradient(model, x, y):
    """Return d loss / d x, of the shape of x: how the loss of each image changes with each of its pixels."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = keras.losses.categorical_crossentropy(y, logits(model, x), from_logits=True)  # (batch,)
    return tape.gradient(loss, x)  # of the sum over the batch; no image changes another's loss


def fgsm(model, x, y, eps):
    """Return images attacked by the fast gradient sign method: one step of eps, up or down, for every pixel."""
    return tf.clip_by_value(x + eps * tf.sign(gradient(model, x, y)), 0, 1)


def pgd(model, x, y, eps, seed, steps=STEPS, size=2.5):
    """Return images attacked by projected gradient descent: smaller steps from a random start near the image.

    The steps add up to `size` times eps; whatever leads farther than eps from the image is clipped.
    """
    attacked = x + keras.random.uniform(tf.shape(x), -eps, eps, seed=seed)
    for _ in range(steps):
        attacked += size * eps / steps * tf.sign(gradient(model, attacked, y))
        attacked = tf.clip_by_value(tf.clip_by_value(attacked, x - eps, x + eps), 0, 1)
    return attacked


def noise(model, x, y, eps, seed):
    """Return images in which each pixel moved by eps, as in `fgsm`, but up or down at random."""
    return tf.clip_by_value(x + eps * tf.sign(keras.random.uniform(tf.shape(x), -1, 1, seed=seed)), 0, 1)


class Defended(keras.Model):
    """A network that trains on attacked images only; the training step is Keras's own."""

    def __init__(self, model, defence):
        super().__init__()
        self.model, self.defence = model, defence
        self.seed = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed

    def call(self, x, training=False):
        return self.model(x, training=training)

    def train_step(self, data):
        x, y = data
        if self.defence == "fgsm":  # Goodfellow et al. 2014, who train on the clean images as well
            attacked = fgsm(self.model, x, y, SHOWN)
        else:  # Wong et al. 2020: one step again, but from a random start, and a quarter larger
            attacked = pgd(self.model, x, y, SHOWN, self.seed, steps=1, size=1.25)
        return super().train_step((attacked, y))


def accuracy(model, x, y):
    """Return the fraction of the images that the model reads as their one-hot labels."""
    return float(np.mean(model.predict(x, batch_size=500, verbose=0).argmax(axis=1) == np.argmax(y, axis=1)))


def under(attack, model, x, y, *more):
    """Return the model's accuracy on images changed by `attack(model, x, y, *more)`, 500 at a time."""
    parts = [attack(model, x[i : i + 500], y[i : i + 500], *more) for i in range(0, len(x), 500)]
    return accuracy(model, np.concatenate(parts), y)


def main(argv=None):
    """Train, attack, defend, attack again, and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="an attack is written for one processor")
    keras.utils.set_random_seed(args.seed)
    name = args.architecture
    build_model, reshape = LESSONS[name]

    # 1. Data
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = reshape(digits.x_train), reshape(digits.x_test)  # (60000, 784), (10000, 784) for the MLP
    y_train = keras.utils.to_categorical(digits.y_train, digits.num_classes)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, digits.num_classes)  # (10000, 10)

    # 2. Models
    plain = build_model(dropout=DROPOUT[name], num_classes=digits.num_classes)
    model = build_model(dropout=DROPOUT[name], num_classes=digits.num_classes)
    plain = load(args.model, plain) if args.model else plain
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line
    defended = Defended(model, args.defence)
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    rate = one_cycle(PEAK[name], steps, WARMUP[name], start=PEAK[name] / 25)
    for network in (plain, defended):
        network.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(rate), metrics=["accuracy"])
    model.summary()
    model_diagram(run.folder / "defended.png", model)

    # 3. Train: first the network to be attacked, then one that trains on attacked images
    options = {"epochs": args.epochs, "batch_size": args.batch_size, "verbose": run.verbose, "callbacks": run.callbacks}
    if not args.model:
        print("the network to be attacked:", flush=True)
        plain.fit(x_train, y_train, **options)  # Ctrl-C keeps what was learned
        run.write("attacked.keras", plain.save)  # written completely or not at all
    if not run.interrupted:
        print(f"the network to be defended, by training against {args.defence}:", flush=True)
        defended.fit(x_train, y_train, **options)
    run.write("defended.keras", model.save)

    # 4. Attack both, beside noise of the same eps
    x, y = tf.constant(x_test[::EVERY]), tf.constant(y_test[::EVERY])  # (2000, 784), (2000, 10)
    seed = keras.random.SeedGenerator(args.seed)
    sizes = sorted({*EPS, SHOWN})
    numbers = {
        "accuracy_noise": [under(noise, plain, x, y, eps, seed) for eps in sizes],
        "accuracy_fgsm": [under(fgsm, plain, x, y, eps) for eps in sizes],
        "accuracy_pgd": [under(pgd, plain, x, y, eps, seed) for eps in sizes],
        "accuracy_defended_fgsm": [under(fgsm, model, x, y, eps) for eps in sizes],
        "accuracy_defended_pgd": [under(pgd, model, x, y, eps, seed) for eps in sizes],
    }
    clean, defended_clean = accuracy(plain, x_test, y_test), accuracy(model, x_test, y_test)  # of all 10,000
    print(f"\n{'accuracy at eps':24}" + "".join(f"{eps:8}" for eps in sizes))
    for key, values in numbers.items():
        print(f"{key.removeprefix('accuracy_'):24}" + "".join(f"{value:8.1%}" for value in values))

    # 5. Show
    title = f"{digits.name}, {name}"
    curves(run.folder / "accuracy.png", sizes, (clean, defended_clean), numbers, f"{title}, defence: {args.defence}")
    images = [x[:200], fgsm(plain, x[:200], y[:200], SHOWN), noise(plain, x[:200], y[:200], SHOWN, seed)]
    answers = [plain.predict(changed, verbose=0) for changed in images]
    examples(run.folder / "examples.png", images, answers, digits.y_test[::EVERY][:200], f"{title}, eps {SHOWN}")
    at = {key: values[sizes.index(SHOWN)] for key, values in numbers.items()}
    headline = f"under PGD: {at['accuracy_pgd']:.1%}, defended {at['accuracy_defended_pgd']:.1%}"
    return run.finish(f"Test accuracy at eps {SHOWN} {headline}", f"noise {at['accuracy_noise']:.1%}", model, eps=sizes,
                      accuracy_clean=clean, accuracy_defended_clean=defended_clean, **numbers)


def load(path, like):
    """Return the classifier in the file `path`. Raises cli.UserError if it cannot stand for `like`."""
    shapes = like.input_shape, like.output_shape
    model = load_model(path, f"a classifier of {shapes[0]} into {shapes[1]}", lambda *found: found == shapes)
    last = model.layers[-1]
    ends_well = isinstance(last, keras.layers.Dense) and last.activation is keras.activations.softmax
    if not isinstance(model, keras.Sequential) or not ends_well:
        raise cli.UserError(f"{path}: not a list of layers that ends in a Dense layer with a softmax")
    return model


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, those of --architecture."""
    parser = cli.parser(__doc__, epochs=EPOCHS["mlp"], batch_size=BATCH_SIZE["mlp"])
    parser.add_argument("--architecture", choices=LESSONS, default="mlp", help="whose network (default %(default)s)")
    parser.add_argument("--defence", choices=("fgsm", "random"), help="what to train against (default: the network's)")
    parser.add_argument("--model", type=cli.path, metavar="MODEL", help="attack this model.keras (default: train one)")
    own = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "defence": DEFENCE}
    return parser.parse_args(argv, own=lambda args: {flag: values[args.architecture] for flag, values in own.items()})


if __name__ == "__main__":
    cli.launch(main)
