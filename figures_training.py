"""How a network learns, as pictures: each is drawn by the formula in NumPy that it explains.

Idea      A unit sends a weighted sum through an activation, a loss tells how wrong the answer is, and gradient descent
          walks down the loss. Dropout keeps a network from relying on single units. All of it before the first network.
Run       python figures_training.py
          python figures_training.py descent minima --show
Expect    At rate 0.01 a first step leads from -0.5, where the slope is -2, to -0.48; the minimum is -1.25 at 0.5.
Try next  RATES                 At which learning rate does descent jump from side to side for ever? Why exactly there?
          RATES_FROM_THE_LEFT   From which rate on does it pass the first minimum? From which does it never settle?
          KEEP = 0.1            What is left of a layer, and why does its mean stay the same?
Source    "TensorFlow fundamentals" (document 003), Figures 3.6 to 3.9; Atienza (000), Table 5.3.
"""

from common import cli, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.base import picture

import numpy as np

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # with lecun_normal weights: mean 0, variance 1
LOGITS = np.array([2.0, 1.0, 0.1, -1.0])  # what a last layer says of four classes, before the softmax
RATES = (0.01, 0.1, 0.9, 1.1)  # learning rates on the curve with one minimum
RATES_FROM_THE_LEFT = (0.01, 0.08)  # on the curve with two
KEEP = 0.55  # fraction of the units that dropout leaves, as in mlp_mnist.py


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.sum(np.exp(x))


ACTIVATIONS = {  # name: its equation, the function, its derivative
    "relu": ("max(0, x)", lambda x: np.maximum(0, x), lambda x: np.where(x > 0, 1, 0)),
    "elu": (
        "x, or exp(x) - 1 below 0",
        lambda x: np.where(x > 0, x, np.expm1(x)),
        lambda x: np.where(x > 0, 1, np.exp(x)),
    ),
    "selu": (
        "1.0507 x, or 1.7581 (exp(x) - 1) below 0",  # 1.7581 = 1.0507 x 1.6733
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
        lambda x: SELU_SCALE * np.where(x > 0, 1, SELU_ALPHA * np.exp(x)),
    ),
    "softplus": ("log(1 + exp(x))", lambda x: np.log1p(np.exp(x)), sigmoid),
    "sigmoid": ("1 / (1 + exp(-x))", sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": ("(exp(x) - exp(-x)) / (exp(x) + exp(-x))", np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}


def mean_squared_error(y, predicted):
    return np.mean((y - predicted) ** 2)


def mean_absolute_error(y, predicted):
    return np.mean(np.abs(y - predicted))


def categorical_crossentropy(y, predicted):
    return -np.sum(y * np.log(predicted))


def binary_crossentropy(y, predicted):
    return np.mean(-y * np.log(predicted) - (1 - y) * np.log(1 - predicted))


def one_minimum(x):
    """Return y and its derivative: the curve of Figure 3.8, with its minimum of -1.25 at 0.5."""
    return x**2 - x - 1, 2 * x - 1


def two_minima(x):
    """Return y and its derivative: flat at -1.51, 0 and 1.66, as in Figure 3.9; scale and offset are ours."""
    return x**4 - 0.2 * x**3 - 5 * x**2 + 4, 4 * x**3 - 0.6 * x**2 - 10 * x


def descend(curve, x, rate, steps):
    """Return the places (steps + 1,) that gradient descent visits: x <- x - rate * dy/dx."""
    path = [x]
    for _ in range(steps):
        _, slope = curve(path[-1])
        path.append(path[-1] - rate * slope)
    return np.array(path)


def drop(units, rng):
    """Return the units' values as dropout hands them on in training: some become 0, the others are scaled up."""
    kept = rng.random(units.shape) < KEEP
    return units * kept / KEEP


@picture(14, 6.5)
def activations(figure, rng):
    """The dashed derivative is what a gradient is multiplied by on its way back: where it is 0, nothing is learned."""
    x = np.linspace(-4, 4, 400)
    grid = figure.subplots(2, 4)
    for axes, (name, (equation, function, derivative)) in zip(grid[:, :3].flat, ACTIVATIONS.items(), strict=True):
        axes.plot(x, function(x), label="value")
        axes.plot(x, derivative(x), "--", label="derivative")
        axes.set(title=f"{name}\n{equation}", xlabel="x", ylim=(-2.1, 4.1))
        axes.grid()
    grid[0, 0].legend(loc="upper left")
    for axes, logits in zip(grid[:, 3], (LOGITS, LOGITS + 1), strict=True):
        axes.bar([f"{logit:.1f}" for logit in logits], softmax(logits))
        axes.set(title="softmax\nexp(x) / sum of all exp(x)", xlabel="x of four classes", ylim=(0, 1))
        axes.set_ylabel("probability")
        axes.grid(axis="y")
    grid[1, 3].set_title("softmax\n1 added to each x: the same")


@picture(14, 4.5)
def losses(figure, rng):
    """For a confident mistake a cross-entropy and its slope grow without bound; a squared error stays below 1."""
    p, differences = np.linspace(0.002, 0.998, 400), np.linspace(-2, 2, 400)
    left, middle, right = figure.subplots(1, 3)
    for loss in (mean_squared_error, mean_absolute_error):
        left.plot(differences, [loss(0, d) for d in differences], label=loss.__name__.replace("_", " "))
    left.set(title="the answer is a number: linear or tanh output", xlabel="prediction - label", ylim=(0, 4))
    for label in (1, 0):
        middle.plot(p, [binary_crossentropy(label, value) for value in p], label=f"binary cross-entropy, label {label}")
    middle.plot(p, [mean_squared_error(1, value) for value in p], ":", label="mean squared error, label 1")
    middle.set(title="the answer is yes or no: one sigmoid output", xlabel="prediction", ylim=(0, 6))
    right_class = np.array([1, 0, 0])
    answers = [np.array([value, (1 - value) / 2, (1 - value) / 2]) for value in p]
    costs = [categorical_crossentropy(right_class, answer) for answer in answers]
    right.plot(p, costs, label="categorical cross-entropy")
    right.axhline(np.log(3), color="black", linestyle=":", label="ln 3: all three equally probable")
    right.set(title="the answer is one of three classes: softmax output", xlabel="prediction for the right class",
              ylim=(0, 6))
    for axes in (left, middle, right):
        axes.set_ylabel("loss")
        axes.legend()
        axes.grid()


@picture(14, 4)
def descent(figure, rng):
    """Twenty steps, each the rate times the slope: too small a rate crawls, too large a rate climbs out of sight."""
    x = np.linspace(-1.6, 2.6, 400)
    for axes, rate in zip(figure.subplots(1, len(RATES), squeeze=False).flat, RATES, strict=True):
        path = descend(one_minimum, -0.5, rate, 20)
        path = path[np.abs(path - 0.5) < 2]  # what is in the picture
        axes.plot(x, one_minimum(x)[0], color="lightgrey", linewidth=3)
        axes.plot(path, one_minimum(path)[0], ".-", linewidth=0.8)
        axes.plot(0.5, -1.25, "k*", markersize=10, label="minimum: -1.25 at 0.5")
        first = ", ".join(f"{place:.4g}" for place in path[:3])
        axes.set(title=f"rate {rate}: {first} ...", xlabel="x", ylim=(-1.5, 3))
    figure.axes[0].set_ylabel("y = x² - x - 1")
    figure.axes[0].legend(loc="upper center")


@picture(11, 4.5)
def minima(figure, rng):
    """From the left a small rate ends in the first minimum it meets; a larger one passes over 0 to the lower one."""
    x = np.linspace(-2.5, 2.5, 400)
    values, slopes = figure.subplots(1, 2)
    values.plot(x, two_minima(x)[0], color="lightgrey", linewidth=3)
    for rate in RATES_FROM_THE_LEFT:
        path = descend(two_minima, -2.4, rate, 200)
        values.plot(path, two_minima(path)[0], ".-", linewidth=0.8, label=f"rate {rate}, ends at {path[-1]:.2f}")
    values.set(title="two minima", xlabel="x", ylabel="y = x⁴ - 0.2 x³ - 5 x² + 4")
    values.legend(loc="upper center")
    slopes.plot(x, two_minima(x)[1])
    slopes.plot([-1.51, 0, 1.66], [0, 0, 0], "k*", markersize=10, label="flat: -1.51, 0 and 1.66")
    slopes.set(title="its derivative", xlabel="x", ylabel="dy/dx", ylim=(-30, 30))
    slopes.legend(loc="upper left")
    for axes in (values, slopes):
        axes.grid()


@picture(8, 3.6)
def dropout(figure, rng):
    """In training each image loses different units; those kept are scaled up, so that the mean stays about the same."""
    units = np.ones((16, 128))  # a hidden layer of 128 units, all 1, for each of 16 images
    shown = {"in prediction": units, "in training": drop(units, rng)}
    for axes, (title, values) in zip(figure.subplots(2, 1), shown.items(), strict=True):
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1 / KEEP)
        axes.set(title=f"{title}: mean {values.mean():.2f}", xlabel="hidden unit", ylabel="image", xticks=[], yticks=[])


FIGURES = {draw.__name__: draw for draw in (activations, losses, descent, minima, dropout)}


def main(argv=None):
    """Draw the pictures; return the content of result.json, with the run's folder."""
    args = parse(argv)
    folder = runs.new_folder(__file__, args.out)
    names = list(FIGURES) if "all" in args.names else args.names
    for name in names:
        print(f"{name}.png: {FIGURES[name].__doc__}", flush=True)
        FIGURES[name](folder / f"{name}.png", np.random.default_rng(args.seed))
    return runs.finish(folder, args, figures=names)


def parse(argv):
    """Return the command line as a namespace."""
    parser = cli.parser(__doc__, images=False)
    names = [*FIGURES, "all"]
    parser.add_argument("names", nargs="*", choices=names, default="all", metavar="NAME", help=", ".join(names))
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
