"""Images that fool a network: a small change of every pixel, in just the direction that raises the loss.

Idea      Training follows the gradient of the loss with respect to the weights, downwards. An attack follows that with
          respect to the pixels, upwards. Each pixel moves by eps at most, yet all 784 push the same way; random noise
          of the same size does not. Then a second network trains on attacked images, and is attacked in turn.
Model     Those of mlp_mnist.py and cnn_mnist.py, which this lesson continues, with 269,322 and 80,266 parameters.
Run       python adversarial_mnist.py                      the MLP, and a defence that proves to be a sham
          python adversarial_mnist.py --architecture cnn   the CNN, and a defence that holds
Expect    Accuracy at eps 0.25, means of seeds 0 to 2 on MNIST, TensorFlow 2.21.0, Keras 3.15.1; cnn in three minutes:
          mlp  noise 78.4 %, FGSM 5.0 %, PGD 0.0 %; defended: clean 83.8 %, FGSM 82.8 %, PGD 1.2 %
          cnn  noise 98.5 %, FGSM 27.3 %, PGD 0.0 %; defended: clean 98.7 %, FGSM 94.0 %, PGD 88.7 %
Baseline  Noise of the same size. A defence that is tested with the attack that it has trained against proves nothing.
Try next  --defence random for the MLP    What does the stronger training do to a network that sees no neighbours?
          --model runs/mlp_mnist/1/model.keras    Is a network that was trained for longer harder to fool?
          tf.sign out of fgsm    The same step along the gradient itself: why does so little happen?
Source    "Deep learning: RNNs and LSTMs" (001), the panda; Goodfellow et al. 2014, Madry et al. 2017, Wong et al. 2020
"""

import math

from common import cli, device, mnist, runs, saved, script  # first: device starts TensorFlow without its log lines
from common.plots.adversarial_mnist import curves, examples
from common.plots.diagram import diagram
from fast_mnist import NETWORKS, one_cycle

import numpy as np
import tensorflow as tf
from tensorflow import keras

EPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # most that a pixel may change; black is 0, white is 1
SHOWN = 0.25  # the eps of the defence and of the examples
EPOCHS = {"mlp": 5, "cnn": 2}  # passes over the training images
BATCH_SIZE = {"mlp": 256, "cnn": 32}  # images per weight update
PEAK = {"mlp": 0.005, "cnn": 0.004}  # highest learning rate; a little lower than in fast_mnist.py
DROPOUT = {"mlp": 0.15, "cnn": 0.1}  # fraction of the features dropped at each training step
DEFENCES = {"fgsm": "FGSM", "random": "FGSM from a random start"}
DEFENCE = {"mlp": "fgsm", "cnn": "random"}  # what the second network is trained against
STEPS = 20  # of the strong attack, PGD
EVERY = 5  # of the test images every fifth is attacked: 2,000, of which an accuracy of 80 % is known to 0.9 %


def logits(model, x):
    """Return what the last layer computes before its softmax, (batch, 10).

    Probabilities are too late. Keras undoes a softmax only where the model's output goes straight into its loss; after
    any step in between it clips them at 1e-7: a confident network's loss has no gradient, and the network looks robust.
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


class Defended(keras.Model):
    """A network that trains on attacked images; the training step is Keras's own."""

    def __init__(self, model, defence):
        super().__init__()
        self.model, self.defence = model, defence
        self.seed = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed

    def call(self, x, training=False):
        return self.model(x, training=training)

    def train_step(self, data):
        x, y = data
        if self.defence == "fgsm":  # Goodfellow et al. 2014
            attacked = fgsm(self.model, x, y, SHOWN)
        else:  # Wong et al. 2020: one step again, but from a random start, and a quarter larger
            attacked = pgd(self.model, x, y, SHOWN, self.seed, steps=1, size=1.25)
        return super().train_step((attacked, y))


def noise(model, x, y, eps, seed):
    """Return images changed as much as by `fgsm`, but each pixel up or down at random."""
    return tf.clip_by_value(x + eps * tf.sign(keras.random.uniform(tf.shape(x), -1, 1, seed=seed)), 0, 1)


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
    settings = NETWORKS[args.architecture]  # of fast_mnist.py: the network, and how its learning rate climbs

    # 1. Data
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = settings.reshape(digits.x_train), settings.reshape(digits.x_test)  # (60000, 784) for the MLP
    y_train = keras.utils.to_categorical(digits.y_train, digits.num_classes)  # (60000, 10)
    y_test = keras.utils.to_categorical(digits.y_test, digits.num_classes)  # (10000, 10)

    # 2. Models
    dropout = DROPOUT[args.architecture]
    plain, model = (settings.build_model(dropout=dropout, num_classes=digits.num_classes) for _ in range(2))
    if args.model:
        plain = load(args.model, plain)
    run = runs.Run("adversarial_mnist", args, strategy, digits)
    defended = Defended(model, args.defence)
    steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
    rate = one_cycle(PEAK[args.architecture], settings.warmup, steps)
    for network in (plain, defended):
        network.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(rate), metrics=["accuracy"])
    model.summary()
    diagram(run.folder / "defended.png", model)

    # 3. Train: first the network to be attacked, then one that trains on attacked images
    options = {"epochs": args.epochs, "batch_size": args.batch_size, "verbose": run.verbose}
    seconds = 0
    if not args.model:
        print("the network to be attacked:", flush=True)
        plain.fit(x_train, y_train, callbacks=run.callbacks, **options)  # Ctrl-C keeps what was learned
        run.write("attacked.keras", plain.save)
        seconds = run.seconds()
    print(f"the network to be defended, by training against {DEFENCES[args.defence]}:", flush=True)
    if not run.interrupted:
        defended.fit(x_train, y_train, callbacks=run.callbacks, **options)
        seconds += run.seconds()
    run.write("defended.keras", model.save)
    run.facts["seconds_training"] = round(seconds, 2)

    # 4. Attack both, beside noise of the same size
    x, y = tf.constant(x_test[::EVERY]), tf.constant(y_test[::EVERY])  # (2000, 784), (2000, 10)
    seed = keras.random.SeedGenerator(args.seed)
    attacks = {
        "accuracy_noise": (plain, noise, seed),
        "accuracy_fgsm": (plain, fgsm),
        "accuracy_pgd": (plain, pgd, seed),
        "accuracy_defended_fgsm": (model, fgsm),
        "accuracy_defended_pgd": (model, pgd, seed),
    }
    sizes = sorted({*EPS, SHOWN})
    numbers = {name: [under(attack, network, x, y, eps, *more) for eps in sizes]
               for name, (network, attack, *more) in attacks.items()}  # fmt: skip
    clean = {f"accuracy_{name}clean": accuracy(network, x_test, y_test)
             for name, network in (("", plain), ("defended_", model))}  # fmt: skip
    print(f"\n{'eps':26}{0:6}" + "".join(f"{eps:8}" for eps in sizes))
    for name, values in numbers.items():
        first = clean["accuracy_defended_clean" if "defended" in name else "accuracy_clean"]
        print(f"{name.replace('_', ' '):24}" + "".join(f"{value:8.1%}" for value in (first, *values)))

    # 5. Show
    title = f"{digits.name}, {args.architecture}"
    at = sizes.index(SHOWN)
    against = f"{title}, defended by training against {DEFENCES[args.defence]}"
    curves(run.folder / "accuracy.png", sizes, clean, numbers, against)
    shown = x[:200], y[:200], SHOWN
    answers = [(images, plain.predict(images, verbose=0)) for images in (
        shown[0], fgsm(plain, *shown), noise(plain, *shown, seed))]  # fmt: skip
    examples(run.folder / "examples.png", answers, digits.y_test[::EVERY][:200], SHOWN, title)
    return run.finish(
        f"Test accuracy at eps {SHOWN} under PGD: {numbers['accuracy_pgd'][at]:.1%}, "
        f"defended {numbers['accuracy_defended_pgd'][at]:.1%}",
        f"noise {numbers['accuracy_noise'][at]:.1%}",
        model,
        eps=sizes,
        **clean,
        **numbers,
    )


def load(path, like):
    """Return the classifier in the file `path`. Raises cli.UserError where it is none that could stand for `like`."""
    model = saved.load_model(path, f"a classifier of {like.input_shape} into {like.output_shape}",
                             lambda *shapes: shapes == (like.input_shape, like.output_shape))  # fmt: skip
    last = model.layers[-1]
    ends_well = isinstance(last, keras.layers.Dense) and last.activation is keras.activations.softmax
    if not isinstance(model, keras.Sequential) or not ends_well:
        raise cli.UserError(f"{path}: not a list of layers that ends in a Dense layer with a softmax")
    return model


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above, those of --architecture."""
    parser = cli.parser(__doc__, epochs=EPOCHS["mlp"], batch_size=BATCH_SIZE["mlp"])
    parser.add_argument("--architecture", choices=DEFENCE, default="mlp",
                        help="the network of mlp_mnist.py or of cnn_mnist.py (default %(default)s)")
    parser.add_argument("--defence", choices=DEFENCES, default=DEFENCE["mlp"],
                        help=f"train against FGSM, or FGSM from a random start (default of the MLP "
                             f"{DEFENCE['mlp']}, of the CNN {DEFENCE['cnn']})")
    parser.add_argument("--model", type=cli.path, metavar="MODEL",
                        help="attack this model.keras of the same architecture (default: one that is trained first)")
    own = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "defence": DEFENCE}
    return cli.parse(parser, argv, lambda args: {flag: values[args.architecture] for flag, values in own.items()})


if __name__ == "__main__":
    script.launch(main)
