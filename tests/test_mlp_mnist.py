import re

import mlp_mnist
from common import cli, mnist, results

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(mlp_mnist.__doc__.split())


def test_the_network_is_the_listings():
    model = mlp_mnist.build_model()
    assert [type(layer).__name__ for layer in model.layers] == ["Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert [layer.count_params() for layer in model.layers] == [200_960, 0, 65_792, 0, 2_570]
    assert model.count_params() == 269_322
    assert "269,322 parameters" in CARD
    assert (model.input_shape, model.output_shape) == ((None, 784), (None, 10))
    assert [layer.activation.__name__ for layer in model.layers[::2]] == ["relu", "relu", "softmax"]
    assert [layer.rate for layer in model.layers[1::2]] == [0.45, 0.45]


def test_the_network_computes_what_the_formulas_say(rng):
    keras.utils.set_random_seed(0)
    model = mlp_mnist.build_model(units=16)
    x = rng.random((5, 784), dtype=np.float32)
    w1, b1, w2, b2, w3, b3 = (weights.astype(float) for weights in model.get_weights())
    hidden = np.maximum(0, np.maximum(0, x @ w1 + b1) @ w2 + b2)
    powers = np.exp(hidden @ w3 + b3)
    np.testing.assert_allclose(model.predict(x, verbose=0), powers / powers.sum(axis=1, keepdims=True), rtol=1e-4)


def test_dropout_drops_its_fraction_of_units_in_training_only():
    x = np.ones((1000, 256), np.float32)
    dropout = mlp_mnist.build_model().layers[1]
    dropped = np.mean(np.asarray(dropout(x, training=True)) == 0)
    assert dropped == pytest.approx(0.45, abs=0.01)
    np.testing.assert_array_equal(dropout(x, training=False), x)


@pytest.mark.parametrize(("name", "norm"), [("L2", np.square), ("L1", np.abs)])
def test_the_penalty_that_the_comment_tells_of_is_added_to_the_loss(name, norm, edited):
    dense = "layers.Dense(units, activation=activation"
    penalty = f", kernel_regularizer=keras.regularizers.{name}(0.001)"
    model = edited("mlp_mnist", (dense, dense + penalty)).build_model(units=4)
    for layer, loss in zip(model.layers[:3:2], model.losses, strict=True):
        assert float(loss) == pytest.approx(0.001 * np.sum(norm(layer.get_weights()[0].astype(float))), rel=1e-4)


def test_without_an_activation_the_network_is_one_straight_line(rng):
    model = mlp_mnist.build_model(activation="linear")
    model.layers[-1].activation = keras.activations.linear
    x, y = rng.random((2, 3, 784))
    middle = model.predict((x + y) / 2, verbose=0)
    np.testing.assert_allclose(middle, (model.predict(x, verbose=0) + model.predict(y, verbose=0)) / 2, atol=1e-5)


def test_a_handful_of_digits_is_memorised():
    result = mlp_mnist.main(["--data", "digits", "--limit", "64", "--epochs", "30", "--batch-size", "8"])
    assert result["train_accuracy"] == 1.0
    assert result["test_accuracy"] > 0.6
    digits = mnist.load_mnist("digits")  # the saved network gives the accuracy that was printed
    probabilities = keras.models.load_model(result["folder"] / "model.keras").predict(mnist.as_vectors(digits.x_test))
    assert np.mean(probabilities.argmax(axis=1) == digits.y_test) == pytest.approx(result["test_accuracy"])
    assert result["baseline"] == pytest.approx(0.1, abs=0.02)


def test_the_flags_reach_the_network_and_the_optimizer():
    own = "--units 8 --dropout 0 --activation tanh --optimizer sgd --learning-rate 0.5"
    result = mlp_mnist.main(["--data", "digits", "--limit", "50", "--epochs", "1", *own.split()])
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert result["parameters"] == model.count_params() == 784 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    hidden, dropout, *_ = model.layers
    assert (hidden.activation.__name__, dropout.rate) == ("tanh", 0)
    assert type(model.optimizer).__name__ == "SGD"
    assert float(model.optimizer.learning_rate) == 0.5


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--units 0", "at least 1"),
        ("--units 256 -1", "unrecognized arguments: -1"),
        ("--dropout 1", "below 1"),
        ("--dropout -0.1", "at least 0"),
        ("--dropout nan", "a number of at least 0 and below 1, got 'nan'"),
        ("--learning-rate 0", "above 0"),
        ("--optimizer magic", "choose from .*adam.*sgd"),
        ("--activation magic", "choose from .*relu.*tanh"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        mlp_mnist.main(argv.split())
    assert not results.RUNS_DIR.exists()


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect Test accuracy ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    runs = [mlp_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in runs])
    assert mean >= 98.1
    assert mean == pytest.approx(expected, abs=2 * spread)
    assert f"{100 * runs[0]['baseline']:.2f} %" in CARD
