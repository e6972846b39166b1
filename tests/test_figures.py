import figures_convolution
import figures_training
from figures_convolution import convolve, pool, weights_of
from figures_training import descend, one_minimum, two_minima

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize_scalar
from scipy.signal import convolve2d
from tensorflow import keras
from tensorflow.keras import layers

X = np.linspace(-3.97, 4.03, 201)  # never 0, where relu has no derivative


@pytest.mark.parametrize("name", figures_training.ACTIVATIONS)
def test_activations_and_their_derivatives_are_keras_own(name):
    _, function, derivative = figures_training.ACTIVATIONS[name]
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.activations.get(name)(x)
    np.testing.assert_allclose(function(X), y, atol=1e-6)
    np.testing.assert_allclose(derivative(X), tape.gradient(y, x), atol=1e-6)


def test_selu_keeps_mean_and_variance_of_normal_numbers(rng):
    equation, selu, _ = figures_training.ACTIVATIONS["selu"]
    y = selu(rng.standard_normal(1_000_000))
    assert (y.mean(), y.var()) == (pytest.approx(0, abs=0.005), pytest.approx(1, abs=0.01))
    assert f"{figures_training.SELU_SCALE * figures_training.SELU_ALPHA:.4f} (exp(x) - 1)" in equation


@pytest.mark.parametrize(
    "name", ["mean_squared_error", "mean_absolute_error", "categorical_crossentropy", "binary_crossentropy"])
def test_losses_and_the_softmax_are_keras_own(name):
    logits = figures_training.LOGITS
    label, predicted = np.eye(4)[1], figures_training.softmax(logits)
    np.testing.assert_allclose(predicted, keras.activations.softmax(tf.constant(logits[None]))[0], atol=1e-6)
    np.testing.assert_allclose(predicted, figures_training.softmax(logits + 5), atol=1e-6)
    expected = keras.losses.get(name)(label[None], predicted[None])[0]
    assert getattr(figures_training, name)(label, predicted) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("curve", [one_minimum, two_minima])
def test_slopes_are_those_of_the_curves(curve):
    finite = (curve(X + 1e-6)[0] - curve(X - 1e-6)[0]) / 2e-6
    np.testing.assert_allclose(curve(X)[1], finite, rtol=1e-4, atol=1e-4)


def test_the_minima_are_where_the_document_has_them():
    lowest = minimize_scalar(lambda x: one_minimum(x)[0])
    assert (lowest.x, lowest.fun) == (pytest.approx(0.5), pytest.approx(-1.25))
    for bounds, place, value in (((-2.5, 0), -1.51, -1.51), ((0, 2.5), 1.66, -3.10)):
        lowest = minimize_scalar(lambda x: two_minima(x)[0], bounds=bounds)
        assert (round(lowest.x, 2), round(lowest.fun, 2)) == (place, value)
    assert two_minima(0.0)[1] == 0


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.9, 1.1])
def test_descent_on_a_parabola_is_a_geometric_series(rate):
    path = descend(one_minimum, -0.5, rate, 20)
    np.testing.assert_allclose(path, 0.5 - (1 - 2 * rate) ** np.arange(21.0))
    assert (abs(path[-1] - 0.5) < 1) == (rate < 1)


def test_the_first_step_is_the_documents_and_keras_sgd_takes_the_same():
    path = descend(one_minimum, -0.5, 0.01, 3)
    assert (one_minimum(-0.5)[1], path[1]) == (-2, pytest.approx(-0.48))
    assert "from -0.5, where the slope is -2, to -0.48" in figures_training.__doc__
    x, sgd = keras.Variable(-0.5), keras.optimizers.SGD(0.01)
    for place in path[1:]:
        with tf.GradientTape() as tape:
            y = x**2 - x - 1
        sgd.apply(tape.gradient(y, [x.value]), [x])
        assert float(x) == pytest.approx(place, rel=1e-5)


def test_a_small_rate_stays_left_a_larger_one_passes_over_the_top_and_too_large_a_one_never_settles():
    ends = [descend(two_minima, -2.4, rate, 200)[-1] for rate in (0.01, 0.06, 0.069, 0.07, 0.08, 0.1)]
    assert [round(end, 2) for end in ends] == [-1.51, -1.51, -1.51, 1.66, 1.66, 1.81]
    assert abs(two_minima(ends[-1])[1]) > 0.1


def test_dropout_is_keras_own_and_leaves_the_mean_as_it_is(rng):
    units, keep = np.ones((1000, 100), "float32"), figures_training.KEEP
    ours, kept = figures_training.drop(units, rng), layers.Dropout(1 - keep, seed=0)(units, training=True).numpy()
    np.testing.assert_allclose(np.unique(ours), np.unique(kept), rtol=1e-6)
    assert (ours.mean(), kept.mean()) == (pytest.approx(1, abs=0.02), pytest.approx(1, abs=0.02))


@pytest.mark.parametrize(("strides", "same"), [(1, False), (1, True), (2, False)])
def test_convolution_by_hand_is_keras_own_and_turns_no_kernel(strides, same, rng):
    small = figures_convolution.IMAGE, figures_convolution.KERNEL
    for image, kernel in (small, (rng.normal(size=(7, 9)), rng.normal(size=(3, 3)))):
        layer = layers.Conv2D(1, 3, strides=strides, padding="same" if same else "valid", use_bias=False)
        layer.build((None, None, None, 1))
        layer.set_weights([kernel[:, :, None, None]])
        ours = convolve(image, kernel, strides, same)
        np.testing.assert_allclose(ours, layer(image[None, :, :, None].astype("float32"))[0, ..., 0], atol=1e-4)
        turned = convolve2d(image, kernel[::-1, ::-1], "same" if same else "valid")[::strides, ::strides]
        np.testing.assert_allclose(ours, turned, atol=1e-9)
    assert convolve(*small)[0, 0] == 0 + 0 - 9 + 0 + 0 - 9 + 0 + 0 - 9
    assert [convolve(*small).shape, convolve(*small, same=True).shape, convolve(*small, strides=2).shape] == [
        (3, 3), (5, 5), (2, 2)]  # as the card says


def test_pooling_by_hand_is_keras_own():
    feature_map = figures_convolution.FEATURE_MAP
    for reduce, layer in ((np.max, layers.MaxPooling2D(2)), (np.mean, layers.AveragePooling2D(2))):
        expected = layer(feature_map[None, :, :, None].astype("float32"))[0, ..., 0]
        np.testing.assert_array_equal(pool(feature_map, reduce), expected)
    assert pool(feature_map, np.max).tolist() == [[5, 2], [2, 8]]


def test_edges_are_black_where_nothing_changes_and_a_blur_keeps_the_mean():
    weights = {name: weights_of(kernel) for name, kernel in figures_convolution.KERNELS.items()}
    assert [array.sum() for array in weights.values()] == pytest.approx([1, 0, 0, 1, 1, 1])
    assert weights["box blur, 1/9 of"][0, 0] == pytest.approx(1 / 9)
    assert weights["Gaussian blur, 1/16 of"][0, 0] == pytest.approx(1 / 16)


def test_the_kernel_of_corners_and_diagonals_is_blind_to_upright_and_level_edges():
    kernel = np.array(figures_convolution.KERNELS["corners and diagonals"])
    upright = np.repeat([[0, 0, 0, 1, 1, 1]], 6, axis=0)
    assert not convolve(upright, kernel).any()
    assert not convolve(upright.T, kernel).any()
    assert convolve(np.triu(np.ones((6, 6))), kernel).any()
    assert convolve(upright * upright.T, kernel).any(), "a corner"


@pytest.mark.rendered
@pytest.mark.parametrize(("lesson", "name"), [(figures_training, "losses"), (figures_convolution, "reshaping")])
def test_one_figure_alone_or_all_are_drawn_and_say_what_to_see(lesson, name, capsys, monkeypatch):
    folder = lesson.main([name])["folder"]
    assert [path.name for path in folder.glob("*.png")] == [f"{name}.png"]
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path: path.touch())
    folder = lesson.main([])["folder"]
    printed = capsys.readouterr()
    assert {path.stem for path in folder.glob("*.png")} == set(lesson.FIGURES)
    assert printed.err == ""
    for name, draw in lesson.FIGURES.items():
        assert f"{name}.png: {draw.__doc__}" in printed.out.splitlines()
