"""What a convolutional network does to an image, as pictures: each is drawn by the code that it explains.

Idea      A kernel slides over an image and answers at each place by one number; pooling joins four answers into one.
          Six famous kernels on a photograph show what nine numbers can do. All of it before the first CNN.
Run       python figures_convolution.py
          python figures_convolution.py kernels --show
Expect    The 3 x 3 kernel turns 5 x 5 pixels into 3 x 3 numbers, with padding 5 x 5, with strides of two 2 x 2.
Try next  KERNEL                Turn it by 90 degrees. Which edges does it find now?
          FEATURE_MAP           Shift it by one column. Which numbers does a pooling keep?
          KERNELS               Replace a blur by a Sobel kernel. Which edges of the temple does it find?
Source    "TensorFlow fundamentals" (document 003), Figures 3.3, 3.13 and 3.14; Atienza (000), section 4.
"""

from common import cli, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.base import picture

import numpy as np
from sklearn.datasets import load_sample_image
from tensorflow import keras
from tensorflow.keras import layers

IMAGE = np.array([[0, 0, 9, 0, 0], [0, 9, 9, 0, 0], [0, 0, 9, 0, 0], [0, 0, 9, 0, 0], [0, 9, 9, 9, 0]])  # a small 1
KERNEL = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]])  # positive where the left is brighter: a vertical edge
FEATURE_MAP = np.array([[1, 3, 2, 0], [5, 4, 1, 1], [0, 2, 8, 6], [1, 1, 7, 3]])
KERNELS = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "corners and diagonals": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],  # 0 along every straight row or column
    "edges: centre against all around": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "box blur, 1/9 of": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    "Gaussian blur, 1/16 of": [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
}


def convolve(image, kernel, strides=1, same=False):
    """Return the feature map of an image (rows, columns): at each place the sum of pixel times weight, worked by hand.

    Mathematics calls this a cross-correlation; a convolution would turn the kernel by 180 degrees first.
    """
    size = len(kernel)
    if same:
        image = np.pad(image, size // 2)  # a border of zeros
    answers = []
    for row in range(0, image.shape[0] - size + 1, strides):
        for column in range(0, image.shape[1] - size + 1, strides):
            patch = image[row : row + size, column : column + size]
            answers.append(np.sum(patch * kernel))
    rows = (image.shape[0] - size) // strides + 1
    return np.array(answers).reshape(rows, -1)


def weights_of(kernel):
    """Return the kernel with a sum of 1, so that a blur keeps an image's mean, or of 0, which finds edges."""
    return np.array(kernel) / max(1, np.sum(kernel))


def pool(image, reduce):
    """Return `reduce`, such as np.max, of each patch of 2 x 2 pixels."""
    rows, columns = image.shape
    return reduce(image.reshape(rows // 2, 2, columns // 2, 2), axis=(1, 3))


def numbers(axes, array, title, shaded=()):
    """Write an array (rows, columns) as a table; the cells in `shaded`, pairs of row and column, in colour."""
    colour = np.zeros(array.shape)
    for cell in shaded:
        colour[cell] = 1
    axes.imshow(colour, cmap="Oranges", vmin=0, vmax=3)
    for (row, column), value in np.ndenumerate(array):
        axes.text(column, row, f"{value:g}", ha="center", va="center")
    axes.set(xticks=np.arange(array.shape[1] + 1) - 0.5, yticks=np.arange(array.shape[0] + 1) - 0.5)
    axes.grid(color="grey", alpha=1)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.set_title(title, fontsize=10)


@picture(13, 3.2)
def convolution(figure):
    """The shaded number is the sum of the nine shaded pixels, each times the weight that lies on it."""
    image, kernel, inside, padded, strided = figure.subplots(1, 5)
    numbers(image, IMAGE, "image (5, 5)", [(row, column) for row in range(3) for column in range(3)])
    numbers(kernel, KERNEL, "kernel (3, 3)")
    numbers(inside, convolve(IMAGE, KERNEL), "feature map (3, 3):\nthe kernel stays inside", [(0, 0)])
    numbers(padded, convolve(IMAGE, KERNEL, same=True), 'padding="same": (5, 5),\nzeros around the image', [(1, 1)])
    numbers(strided, convolve(IMAGE, KERNEL, strides=2), "strides=2: (2, 2),\nevery other place", [(0, 0)])


@picture(7, 2.8)
def pooling(figure):
    """A patch of 2 x 2 becomes one number: the largest tells that a feature is there, the mean how much of it."""
    left, middle, right = figure.subplots(1, 3)
    numbers(left, FEATURE_MAP, "feature map (4, 4)", [(0, 0), (0, 1), (1, 0), (1, 1)])
    numbers(middle, pool(FEATURE_MAP, np.max), "MaxPooling2D(2): (2, 2)", [(0, 0)])
    numbers(right, pool(FEATURE_MAP, np.mean), "AveragePooling2D(2): (2, 2)", [(0, 0)])


@picture(11, 6)
def kernels(figure):
    """Nine weights sharpen, blur or find edges. A Conv2D layer with six filters applies all; a CNN learns its own."""
    photograph = load_sample_image("china.jpg").mean(axis=2) / 255  # (427, 640) grey, in [0, 1]
    weights = np.array([weights_of(kernel) for kernel in KERNELS.values()])  # (6, 3, 3)
    layer = layers.Conv2D(len(weights), 3, padding="same", use_bias=False)
    layer.build((None, None, None, 1))
    layer.set_weights([weights.transpose(1, 2, 0)[:, :, None]])  # (3, 3, 1, 6)
    filtered = keras.ops.convert_to_numpy(layer(photograph[None, :, :, None]))[0]  # (427, 640, 6)
    places = figure.subplots(2, -(-len(KERNELS) // 2)).flat
    for axes, channel, (name, kernel) in zip(places, filtered.transpose(2, 0, 1), KERNELS.items(), strict=False):
        if np.sum(kernel) == 0:  # positive on one side of an edge, negative on the other
            channel = np.abs(channel)
            brightest = np.percentile(channel, 98)
        else:
            brightest = 1
        axes.imshow(channel, cmap="gray", vmin=0, vmax=brightest)
        axes.set_title(f"{name}\n{kernel}", fontsize=10)
        axes.set_axis_off()


@picture(10, 2.4)
def reshaping(figure):
    """The same nine pixels: a list to an MLP; rows, columns and a channel to a CNN; one row after another to an RNN."""
    image = np.arange(1, 10).reshape(3, 3)
    left, middle, right = figure.subplots(1, 3, width_ratios=(9, 3.5, 3.5))
    numbers(left, image.reshape(1, 9), "MLP: (9,)")
    numbers(middle, image, "CNN: (3, 3, 1),\nrows, columns, channel")
    numbers(right, image, "RNN: (3, 3),\ntime steps, features", [(0, 0), (0, 1), (0, 2)])


FIGURES = {draw.__name__: draw for draw in (convolution, pooling, kernels, reshaping)}


def main(argv=None):
    """Draw the pictures; return the content of result.json, with the run's folder."""
    args = parse(argv)
    folder = runs.new_folder(__file__, args.out)
    names = list(FIGURES) if "all" in args.names else args.names
    for name in names:
        print(f"{name}.png: {FIGURES[name].__doc__}", flush=True)
        FIGURES[name](folder / f"{name}.png")
    return runs.finish(folder, args, figures=names)


def parse(argv):
    """Return the command line as a namespace."""
    parser = cli.parser(__doc__, images=False)
    names = [*FIGURES, "all"]
    parser.add_argument("names", nargs="*", choices=names, default="all", metavar="NAME", help=", ".join(names))
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
