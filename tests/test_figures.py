import re

import figures
from common import cli, results

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize_scalar
from scipy.signal import convolve2d
from tensorflow import keras
from tensorflow.keras import layers

CARD = " ".join(figures.__doc__.split())
X = np.linspace(-3.97, 4.03, 201)  # never 0, where relu has no derivative


@pytest.mark.parametrize("name", figures.ACTIVATIONS)
def test_activations_and_their_derivatives_are_keras_own(name):
    _, function, derivative = figures.ACTIVATIONS[name]
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.activations.get(name)(x)
    np.testing.assert_allclose(function(X), y, atol=1e-6)
    np.testing.assert_allclose(derivative(X), tape.gradient(y, x), atol=1e-6)


def test_selu_keeps_mean_and_variance(rng):
    """What its two constants are for (Klambauer et al. 2017): a network of any depth stays at mean 0, variance 1."""
    y = figures.ACTIVATIONS["selu"][1](rng.standard_normal(1_000_000))
    assert (y.mean(), y.var()) == (pytest.approx(0, abs=0.005), pytest.approx(1, abs=0.01))
    assert f"{figures.SELU_SCALE * figures.SELU_ALPHA:.4f} (exp(x) - 1)" in figures.ACTIVATIONS["selu"][0]


def test_a_softmax_is_keras_own_and_ignores_a_constant():
    expected = keras.activations.softmax(tf.constant(figures.LOGITS[None]))[0]
    np.testing.assert_allclose(figures.softmax(figures.LOGITS), expected, atol=1e-6)
    np.testing.assert_allclose(figures.softmax(figures.LOGITS + 5), expected, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["mean_squared_error", "mean_absolute_error", "categorical_crossentropy", "binary_crossentropy"])
def test_losses_are_keras_own(name):
    label, predicted = np.array([0.0, 1.0, 0.0]), np.array([0.2, 0.7, 0.1])
    expected = keras.losses.get(name)(label[None], predicted[None])[0]
    assert getattr(figures, name)(label, predicted) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("curve", [figures.one_minimum, figures.two_minima])
def test_slopes_are_those_of_the_curves(curve):
    finite = (curve(X + 1e-6)[0] - curve(X - 1e-6)[0]) / 2e-6
    np.testing.assert_allclose(curve(X)[1], finite, rtol=1e-4, atol=1e-4)


def test_the_minima_are_where_the_document_has_them():
    lowest = minimize_scalar(lambda x: figures.one_minimum(x)[0])
    assert (lowest.x, lowest.fun) == (pytest.approx(0.5), pytest.approx(-1.25))
    for bounds, place, value in (((-2.5, 0), -1.51, -1.51), ((0, 2.5), 1.66, -3.10)):
        lowest = minimize_scalar(lambda x: figures.two_minima(x)[0], bounds=bounds)
        assert (round(lowest.x, 2), round(lowest.fun, 2)) == (place, value)
    assert figures.two_minima(0.0)[1] == 0


@pytest.mark.parametrize("rate", figures.RATES)
def test_descent_on_a_parabola_is_a_geometric_series(rate):
    path = figures.descend(figures.one_minimum, -0.5, rate, 20)
    np.testing.assert_allclose(path, 0.5 - (1 - 2 * rate) ** np.arange(21.0))
    assert (abs(path[-1] - 0.5) < 1) == (rate < 1)


def test_the_first_step_is_the_documents_and_keras_sgd_takes_the_same():
    assert figures.one_minimum(-0.5)[1] == -2
    path = figures.descend(figures.one_minimum, -0.5, 0.01, 3)
    assert path[1] == pytest.approx(-0.48)
    assert "from -0.5, where the slope is -2, to -0.48" in CARD
    assert 0 < 0.5 - figures.descend(figures.one_minimum, -0.5, 0.01, 200)[-1] < 0.02
    x, sgd = keras.Variable(-0.5), keras.optimizers.SGD(0.01)
    for place in path[1:]:
        with tf.GradientTape() as tape:
            y = x**2 - x - 1
        sgd.apply(tape.gradient(y, [x.value]), [x])
        assert float(x) == pytest.approx(place, rel=1e-5)


def test_a_small_rate_stays_left_and_a_larger_one_passes_over_the_top():
    ends = [figures.descend(figures.two_minima, -2.4, rate, 200)[-1] for rate in (*figures.RATES_FROM_THE_LEFT, 0.1)]
    assert (round(ends[0], 2), round(ends[1], 2)) == (-1.51, 1.66)
    assert abs(figures.two_minima(ends[2])[1]) > 0.1, "a rate of 0.1 never settles"


@pytest.mark.parametrize(("strides", "same"), [(1, False), (1, True), (2, False)])
def test_convolution_by_hand_is_keras_own_and_turns_no_kernel(strides, same, rng):
    for image, kernel in ((figures.IMAGE, figures.KERNEL), (rng.normal(size=(7, 9)), rng.normal(size=(3, 3)))):
        layer = layers.Conv2D(1, 3, strides=strides, padding="same" if same else "valid", use_bias=False)
        layer.build((None, None, None, 1))
        layer.set_weights([kernel[:, :, None, None]])
        ours = figures.convolve(image, kernel, strides, same)
        np.testing.assert_allclose(ours, layer(image[None, :, :, None].astype("float32"))[0, ..., 0], atol=1e-4)
        turned = convolve2d(image, kernel[::-1, ::-1], "same" if same else "valid")[::strides, ::strides]
        np.testing.assert_allclose(ours, turned, atol=1e-9)
    assert figures.convolve(figures.IMAGE, figures.KERNEL)[0, 0] == 0 + 0 - 9 + 0 + 0 - 9 + 0 + 0 - 9


def test_pooling_by_hand_is_keras_own():
    image = figures.FEATURE_MAP[None, :, :, None].astype("float32")
    for reduce, layer in ((np.max, layers.MaxPooling2D(2)), (np.mean, layers.AveragePooling2D(2))):
        np.testing.assert_array_equal(figures.pool(figures.FEATURE_MAP, reduce), layer(image)[0, ..., 0])
    assert figures.pool(figures.FEATURE_MAP, np.max).tolist() == [[5, 2], [2, 8]]


def test_edges_are_black_where_nothing_changes_and_a_blur_keeps_the_mean():
    weights = [figures.weights_of(kernel) for kernel in figures.KERNELS.values()]
    assert [array.sum() for array in weights] == pytest.approx([1, 0, 0, 1, 1, 1])
    assert weights[4][0, 0] == pytest.approx(1 / 9) and weights[5][0, 0] == pytest.approx(1 / 16)
    assert re.findall(r"1/(\d+)", " ".join(figures.KERNELS)) == ["9", "16"]


def test_each_figure_is_drawn_and_says_what_to_see(capsys):
    result = figures.main([])
    printed = capsys.readouterr()
    assert {path.stem for path in result["folder"].glob("*.png")} == set(figures.FIGURES)
    for name, (draw, _) in figures.FIGURES.items():
        assert f"\n{name}.png: {draw.__doc__}\n" in f"\n{printed.out}"
    assert printed.err == ""


@pytest.mark.rendered
def test_one_figure_alone():
    folder = figures.main(["reshaping"])["folder"]
    assert [path.name for path in folder.glob("*.png")] == ["reshaping.png"]
    assert (folder / "reshaping.png").read_bytes().startswith(b"\x89PNG")


def test_dropout_is_keras_own_and_leaves_the_mean_as_it_is(rng):
    units = np.ones((1000, 100), "float32")
    ours, kept = figures.drop(units, rng), layers.Dropout(1 - figures.KEEP, seed=0)(units, training=True).numpy()
    np.testing.assert_allclose(np.unique(ours), np.unique(kept), rtol=1e-6)
    assert (ours.mean(), kept.mean()) == (pytest.approx(1, abs=0.02), pytest.approx(1, abs=0.02))


def test_an_unknown_figure_is_refused_with_the_names_of_the_others():
    with pytest.raises(cli.UserError, match="there is no figure 'dessent'; choose from activations, losses, descent"):
        figures.main(["dessent"])
    assert not results.RUNS_DIR.exists()
