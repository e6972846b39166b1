"""The ideas as pictures, each drawn by the code that it explains: formulas in NumPy, which the tests hold to Keras.

Idea      Before the networks, what they are made of: activations, losses, gradient descent, dropout, convolution,
          pooling, six famous kernels, and one small image reshaped for three kinds of network.
Run       python figures.py
          python figures.py descent minima --show
Expect    Nine pictures in ten seconds. At rate 0.01 a first step leads from -0.5, where the slope is -2, to -0.48; to
          reach the minimum, -1.25 at 0.5, takes hundreds of such steps.
Try next  RATES                 At which learning rate does descent jump from side to side for ever? Why exactly there?
          KERNEL                Turn it by 90 degrees. Which edges does it find now?
          KEEP = 0.1            What is left of a layer, and why does its mean stay the same?
Source    "TensorFlow fundamentals" (document 003), Figures 3.3, 3.6 to 3.9, 3.13, 3.14; 000, Table 5.3 and section 4.
"""

from common import cli, device, results, script  # noqa: F401  first: device starts TensorFlow without its log lines
from common.plots.common import picture, show

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image
from tensorflow import keras
from tensorflow.keras import layers

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # they keep a deep network at mean 0, variance 1
ACTIVATIONS = {  # name: its equation, the function, its derivative
    "relu": ("max(0, x)", lambda x: np.maximum(0, x), lambda x: 1.0 * (x > 0)),
    "elu": ("x, or exp(x) - 1 below 0", lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.exp(np.minimum(x, 0))),
    "selu": (
        "1.0507 x, or 1.7581 (exp(x) - 1) below 0",  # 1.7581 = 1.0507 x 1.6733
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
        lambda x: SELU_SCALE * np.where(x > 0, 1, SELU_ALPHA * np.exp(x)),
    ),
    "softplus": ("log(1 + exp(x))", lambda x: np.log1p(np.exp(x)), lambda x: sigmoid(x)),
    "sigmoid": ("1 / (1 + exp(-x))", lambda x: sigmoid(x), lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": ("(exp(x) - exp(-x)) / (exp(x) + exp(-x))", np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}
LOGITS = np.array([2.0, 1.0, 0.1, -1.0])  # what a last layer says of four classes, before the softmax
RATES = (0.01, 0.1, 0.9, 1.1)  # learning rates on the curve with one minimum
RATES_FROM_THE_LEFT = (0.01, 0.08)  # on the curve with two
KEEP = 0.55  # fraction of the units that dropout leaves, as in mlp_mnist.py
IMAGE = np.array([[0, 0, 9, 0, 0], [0, 9, 9, 0, 0], [0, 0, 9, 0, 0], [0, 0, 9, 0, 0], [0, 9, 9, 9, 0]])  # a small 1
KERNEL = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]])  # positive where the left is brighter: a vertical edge
FEATURE_MAP = np.array([[1, 3, 2, 0], [5, 4, 1, 1], [0, 2, 8, 6], [1, 1, 7, 3]])
KERNELS = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "edges: differences across": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
    "edges: centre against all around": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "box blur, 1/9 of": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    "Gaussian blur, 1/16 of": [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.sum(np.exp(x))


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
    """Return y and its derivative: the curve of Figure 3.9, with minima of -1.51 at -1.51 and of -3.10 at 1.66."""
    return x**4 - 0.2 * x**3 - 5 * x**2 + 4, 4 * x**3 - 0.6 * x**2 - 10 * x


def descend(curve, x, rate, steps):
    """Return the places (steps + 1,) that gradient descent visits: x <- x - rate * dy/dx."""
    path = [x]
    for _ in range(steps):
        path.append(path[-1] - rate * curve(path[-1])[1])
    return np.array(path)


def convolve(image, kernel, strides=1, same=False):
    """Return the feature map of an image (rows, columns): at each place the sum of pixel times weight, worked by hand.

    Mathematics calls this a cross-correlation; a convolution would turn the kernel by 180 degrees first.
    """
    size = len(kernel)
    image = np.pad(image, size // 2) if same else image  # a border of zeros
    starts = [range(0, length - size + 1, strides) for length in image.shape]
    return np.array([[np.sum(image[row : row + size, column : column + size] * kernel) for column in starts[1]]
                     for row in starts[0]])  # fmt: skip


def weights_of(kernel):
    """Return the kernel with a sum of 1, so that a blur keeps an image's mean, or of 0, which finds edges."""
    return np.array(kernel) / max(1, np.sum(kernel))


def pool(image, reduce):
    """Return `reduce`, such as np.max, of each patch of 2 x 2 pixels."""
    rows, columns = image.shape
    return reduce(image.reshape(rows // 2, 2, columns // 2, 2), axis=(1, 3))


def drop(units, rng):
    """Return the units' values as dropout hands them on in training."""
    return units * (rng.random(units.shape) < KEEP) / KEEP


def activations(figure, rng):
    """The dashed derivative is what a gradient is multiplied by on its way back: where it is 0, nothing is learned."""
    x = np.linspace(-4, 4, 400)
    grid = figure.subplots(2, 4)
    for axes, (name, (equation, function, derivative)) in zip(grid[:, :3].flat, ACTIVATIONS.items(), strict=True):
        axes.plot(x, function(x), label="value")
        axes.plot(x, derivative(x), "--", label="derivative")
        axes.set(title=f"{name}\n{equation}", xlabel="x", ylim=(-2.1, 4.1))
        axes.grid(alpha=0.3)
    grid[0, 0].legend(loc="upper left")
    for axes, logits in zip(grid[:, 3], (LOGITS, LOGITS + 1), strict=True):
        axes.bar([f"{logit:.1f}" for logit in logits], softmax(logits))
        axes.set(title="softmax\nexp(x) / sum of all exp(x)", xlabel="x of four classes", ylim=(0, 1))
        axes.set_ylabel("probability")
        axes.grid(axis="y", alpha=0.3)
    grid[1, 3].set_title("softmax\n1 added to each x: the same")


def losses(figure, rng):
    """For a confident mistake a cross-entropy and its slope grow without bound; a squared error stays below 1."""
    p, difference = np.linspace(0.002, 0.998, 400), np.linspace(-2, 2, 400)
    left, middle, right = figure.subplots(1, 3)
    left.plot(difference, [mean_squared_error(0, d) for d in difference], label="mean squared error")
    left.plot(difference, [mean_absolute_error(0, d) for d in difference], label="mean absolute error")
    left.set(title="the answer is a number: linear or tanh output", xlabel="prediction - label", ylim=(0, 4))
    left.set_ylabel("loss")
    for label in (1, 0):
        middle.plot(p, [binary_crossentropy(label, value) for value in p], label=f"binary cross-entropy, label {label}")
    middle.plot(p, [mean_squared_error(1, value) for value in p], ":", label="mean squared error, label 1")
    middle.set(title="the answer is yes or no: one sigmoid output", xlabel="prediction", ylabel="loss", ylim=(0, 6))
    right.plot(p, [categorical_crossentropy(np.array([1, 0, 0]), np.array([value, (1 - value) / 2, (1 - value) / 2]))
                   for value in p], label="categorical cross-entropy")  # fmt: skip
    right.axhline(np.log(3), color="black", linestyle=":", label="ln 3: all three equally probable")
    right.set(title="the answer is one of three classes: softmax output", xlabel="prediction for the right class",
              ylabel="loss", ylim=(0, 6))  # fmt: skip
    for axes in (left, middle, right):
        axes.legend()
        axes.grid(alpha=0.3)


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
        axes.grid(alpha=0.3)


def dropout(figure, rng):
    """In training each image loses different units; those kept are scaled up, so that the mean stays about the same."""
    units = np.ones((16, 128))  # a hidden layer of 128 units, all 1, for each of 16 images
    shown = {"in prediction": units, "in training": drop(units, rng)}
    for axes, (title, values) in zip(figure.subplots(2, 1), shown.items(), strict=True):
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1 / KEEP)
        axes.set(title=f"{title}: mean {values.mean():.2f}", xlabel="hidden unit", ylabel="image", xticks=[], yticks=[])


def numbers(axes, array, title, shaded=()):
    """Write an array (rows, columns) as a table; the cells in `shaded`, pairs of row and column, in colour."""
    colour = np.zeros(array.shape)
    for cell in shaded:
        colour[cell] = 1
    axes.imshow(colour, cmap="Oranges", vmin=0, vmax=3)
    for (row, column), value in np.ndenumerate(array):
        axes.text(column, row, f"{value:g}", ha="center", va="center")
    axes.set(xticks=np.arange(array.shape[1] + 1) - 0.5, yticks=np.arange(array.shape[0] + 1) - 0.5)
    axes.grid(color="grey")
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.set_title(title, fontsize=10)


def convolution(figure, rng):
    """The shaded number is the sum of the nine shaded pixels, each times the weight that lies on it."""
    window, first = [(row, column) for row in range(3) for column in range(3)], [(0, 0)]
    shown = {
        "image (5, 5)": (IMAGE, window),
        "kernel (3, 3)": (KERNEL, ()),
        "feature map (3, 3):\nthe kernel stays inside": (convolve(IMAGE, KERNEL), first),
        'padding="same": (5, 5),\nzeros around the image': (convolve(IMAGE, KERNEL, same=True), [(1, 1)]),
        "strides=2: (2, 2),\nevery other place": (convolve(IMAGE, KERNEL, strides=2), first),
    }
    for axes, (title, (array, shaded)) in zip(figure.subplots(1, 5), shown.items(), strict=True):
        numbers(axes, array, title, shaded)


def pooling(figure, rng):
    """A patch of 2 x 2 becomes one number: the largest tells that a feature is there, the mean how much of it."""
    patch = [(0, 0), (0, 1), (1, 0), (1, 1)]
    left, middle, right = figure.subplots(1, 3)
    numbers(left, FEATURE_MAP, "feature map (4, 4)", patch)
    numbers(middle, pool(FEATURE_MAP, np.max), "MaxPooling2D(2): (2, 2)", [(0, 0)])
    numbers(right, pool(FEATURE_MAP, np.mean), "AveragePooling2D(2): (2, 2)", [(0, 0)])


def kernels(figure, rng):
    """Nine weights sharpen, blur or find edges. A Conv2D layer with six filters applies all; a CNN learns its own."""
    photograph = load_sample_image("china.jpg").mean(axis=2) / 255  # (427, 640) grey, in [0, 1]
    weights = np.array([weights_of(kernel) for kernel in KERNELS.values()])  # (6, 3, 3)
    layer = layers.Conv2D(len(weights), 3, padding="same", use_bias=False)
    layer.build((None, None, None, 1))
    layer.set_weights([weights.transpose(1, 2, 0)[:, :, None]])  # (3, 3, 1, 6)
    filtered = keras.ops.convert_to_numpy(layer(photograph[None, :, :, None]))[0]  # (427, 640, 6)
    places = figure.subplots(2, -(-len(KERNELS) // 2)).flat
    for axes, channel, (name, kernel) in zip(places, filtered.transpose(2, 0, 1), KERNELS.items(), strict=False):
        edges = name.startswith("edges")
        brightest = np.percentile(np.abs(channel), 98) if edges else 1
        axes.imshow(np.abs(channel) if edges else channel, cmap="gray", vmin=0, vmax=brightest)
        axes.set_title(f"{name}\n{kernel}", fontsize=10)
        axes.set_axis_off()


def reshaping(figure, rng):
    """The same nine pixels: a list to an MLP; rows, columns and a channel to a CNN; one row after another to an RNN."""
    image = np.arange(1, 10).reshape(3, 3)
    left, middle, right = figure.subplots(1, 3, width_ratios=(9, 3.5, 3.5))
    numbers(left, image.reshape(1, 9), "MLP: (9,)")
    numbers(middle, image, "CNN: (3, 3, 1),\nrows, columns, channel")
    numbers(right, image, "RNN: (3, 3),\ntime steps, features", [(0, 0), (0, 1), (0, 2)])


FIGURES = {  # name: what draws it, and its size in inches
    "activations": (activations, (14, 6.5)), "losses": (losses, (14, 4.5)), "descent": (descent, (14, 4)),
    "minima": (minima, (11, 4.5)), "dropout": (dropout, (8, 3.6)), "convolution": (convolution, (13, 3.2)),
    "pooling": (pooling, (7, 2.8)), "kernels": (kernels, (11, 6)), "reshaping": (reshaping, (10, 2.4)),
}  # fmt: skip


@picture
def save(path, draw, size, rng):
    figure = Figure(figsize=size, layout="constrained")
    draw(figure, rng)
    figure.savefig(path, dpi=110)


def main(argv=None):
    """Draw the pictures; return the content of result.json, with the run's folder."""
    args = parse(argv)
    folder = results.new_folder("figures", args.out)
    names = args.names or list(FIGURES)
    for name in names:
        draw, size = FIGURES[name]
        print(f"{name}.png: {draw.__doc__}", flush=True)
        save(folder / f"{name}.png", draw, size, np.random.default_rng(args.seed))
    result = {"script": "figures", "status": "finished", "seed": args.seed, "figures": names}
    results.write_result(folder, result)
    print(f"Pictures: {cli.relative(folder)}")
    if args.show:
        show(folder)
    return {**result, "folder": folder}


def parse(argv):
    """Return the command line as a namespace. Raises cli.UserError for a figure that is not there."""
    parser = cli.parser(__doc__, images=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(FIGURES)} (default all)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in FIGURES]
    if unknown:
        raise cli.UserError(f"there is no figure {unknown[0]!r}; choose from {', '.join(FIGURES)}")
    return args


if __name__ == "__main__":
    script.launch(main)
