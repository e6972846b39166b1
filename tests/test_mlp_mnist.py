import re

import mlp_mnist
from common import mnist

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(mlp_mnist.__doc__.split())


def test_the_network_is_the_listings():
    model = mlp_mnist.build_model()
    assert model.count_params() == 269_322
    assert "269,322 parameters" in CARD
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


def test_a_handful_of_digits_is_memorised_and_the_flags_reach_network_and_optimizer():
    own = "--units 32 --dropout 0 --activation tanh --optimizer sgd --learning-rate 0.5"
    result = mlp_mnist.main(["--data", "digits", "--limit", "64", "--epochs", "30", "--batch-size", "8", *own.split()])
    assert result["train_accuracy"] == 1.0
    assert result["test_accuracy"] > 0.6
    assert result["baseline"] == pytest.approx(0.1, abs=0.02)
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert result["parameters"] == model.count_params() == 784 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10
    assert (model.layers[0].activation.__name__, model.layers[1].rate) == ("tanh", 0)
    assert (type(model.optimizer).__name__, float(model.optimizer.learning_rate)) == ("SGD", 0.5)
    digits = mnist.load_mnist("digits")  # the saved network gives the accuracy that was printed
    answers = model.predict(mnist.as_vectors(digits.x_test), verbose=0).argmax(axis=1)
    assert np.mean(answers == digits.y_test) == pytest.approx(result["test_accuracy"])


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect Test accuracy ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    runs = [mlp_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in runs])
    assert mean >= 98.1
    assert mean == pytest.approx(expected, abs=2 * spread)
    assert f"{100 * runs[0]['baseline']:.2f} %" in CARD
