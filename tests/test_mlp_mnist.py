import re

import mlp_mnist
from common import cli, mnist

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(mlp_mnist.__doc__.split())


def parameters(**kwargs):
    return mlp_mnist.build_model(**kwargs).count_params()


def test_the_network_is_the_listings():
    model = mlp_mnist.build_model()
    assert [type(layer).__name__ for layer in model.layers] == ["Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert [layer.count_params() for layer in model.layers] == [200_960, 0, 65_792, 0, 2_570]
    assert model.count_params() == 269_322
    assert "269,322 parameters" in CARD
    assert (model.input_shape, model.output_shape) == ((None, 784), (None, 10))
    assert [layer.activation.__name__ for layer in model.layers[::2]] == ["relu", "relu", "softmax"]
    assert [layer.rate for layer in model.layers[1::2]] == [0.45, 0.45]


def test_any_number_of_layers_can_be_asked_for():
    assert parameters(units=(32,)) == 784 * 32 + 32 + 32 * 10 + 10
    assert parameters(units=(256, 512, 256)) == 200_960 + (256 * 512 + 512) + (512 * 256 + 256) + 2_570


def test_the_network_computes_what_the_formulas_say():
    keras.utils.set_random_seed(0)
    model = mlp_mnist.build_model(units=(16, 8))
    x = np.random.default_rng(0).random((5, 784), dtype=np.float32)
    w1, b1, w2, b2, w3, b3 = (weights.astype(float) for weights in model.get_weights())
    hidden = np.maximum(0, np.maximum(0, x @ w1 + b1) @ w2 + b2)
    powers = np.exp(hidden @ w3 + b3)
    np.testing.assert_allclose(model.predict(x, verbose=0), powers / powers.sum(axis=1, keepdims=True), rtol=1e-4)


def test_dropout_silences_its_share_of_units_in_training_only():
    x = np.ones((1000, 256), np.float32)
    dropout = mlp_mnist.build_model().layers[1]
    silenced = np.mean(np.asarray(dropout(x, training=True)) == 0)
    assert silenced == pytest.approx(0.45, abs=0.01)
    np.testing.assert_array_equal(dropout(x, training=False), x)


def test_the_penalties_are_added_to_the_loss():
    model = mlp_mnist.build_model(units=(4,), l1=0.1, l2=0.01)
    w = model.get_weights()[0].astype(float)
    assert float(model.losses[0]) == pytest.approx(0.1 * np.abs(w).sum() + 0.01 * (w**2).sum(), rel=1e-4)
    assert mlp_mnist.build_model().losses == []


def test_without_an_activation_the_network_is_one_straight_line():
    model = mlp_mnist.build_model(activation="linear")
    model.layers[-1].activation = keras.activations.linear
    x, y = np.random.default_rng(0).random((2, 3, 784))
    middle = model.predict((x + y) / 2, verbose=0)
    np.testing.assert_allclose(middle, (model.predict(x, verbose=0) + model.predict(y, verbose=0)) / 2, atol=1e-5)


def test_a_handful_of_digits_is_memorised():
    result = mlp_mnist.main(["--data", "digits", "--limit", "64", "--epochs", "60", "--batch-size", "16"])
    assert result["train_accuracy"] == 1.0
    assert result["test_accuracy"] > 0.6
    assert result["baseline"] == pytest.approx(0.1, abs=0.02)


def test_validation_holds_images_out_of_the_training():
    result = mlp_mnist.main(["--data", "digits", "--limit", "200", "--epochs", "1", "--validation", "0.2"])
    assert result["steps"] == 2  # 160 images in batches of 128
    assert "val_accuracy" in (result["folder"] / "history.csv").read_text()
    digits = mnist.load_mnist("digits", limit=160)
    probabilities = keras.models.load_model(result["folder"] / "model.keras").predict(mnist.as_vectors(digits.x_train))
    right = np.mean(probabilities.argmax(axis=1) == digits.y_train)
    assert result["train_accuracy"] == pytest.approx(right)  # of the images it was trained on
    for limit, fraction in (("1", "0.5"), ("100", "1e-17")):
        with pytest.raises(cli.UserError, match="does not split"):
            mlp_mnist.main(["--data", "digits", "--limit", limit, "--validation", fraction])


def test_the_flags_reach_the_network_and_the_optimizer():
    own = "--units 8 --dropout 0 --l1 0.1 --l2 0.2 --activation tanh --optimizer sgd --learning-rate 0.5"
    result = mlp_mnist.main(["--data", "digits", "--limit", "50", "--epochs", "1", *own.split()])
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert result["parameters"] == model.count_params() == 784 * 8 + 8 + 8 * 10 + 10
    hidden, dropout, _ = model.layers
    assert (hidden.activation.__name__, dropout.rate) == ("tanh", 0)
    assert (float(hidden.kernel_regularizer.l1), float(hidden.kernel_regularizer.l2)) == pytest.approx((0.1, 0.2))
    assert type(model.optimizer).__name__ == "SGD"
    assert float(model.optimizer.learning_rate) == 0.5


def test_the_saved_model_gives_the_accuracy_that_was_printed():
    result = mlp_mnist.main(["--data", "digits", "--limit", "300", "--epochs", "3"])
    digits = mnist.load_mnist("digits")
    model = keras.models.load_model(result["folder"] / "model.keras")
    probabilities = model.predict(mnist.as_vectors(digits.x_test), verbose=0)
    assert np.mean(probabilities.argmax(axis=1) == digits.y_test) == pytest.approx(result["test_accuracy"])


@pytest.mark.parametrize(("limit", "steps"), [(60_000, 67), (1437, 12), (60_000 - 128 * 67, 67), (128 * 71, 1)])
def test_the_steps_of_a_call_divide_an_epoch_so_that_the_progress_bar_fits(limit, steps, monkeypatch, compiled):
    digits = mnist.load_mnist("digits")
    blank = digits._replace(x_train=np.zeros((limit, 28, 28), np.uint8), y_train=np.zeros(limit, np.uint8))
    monkeypatch.setattr(mnist, "load_mnist", lambda source, limit: blank)
    _, options = compiled(mlp_mnist.main, [])
    assert options["steps_per_execution"] == steps


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--units 0", "at least 1"),
        ("--units 256 -1", "at least 1"),
        ("--units", "at least one argument"),
        ("--dropout 1", "below 1"),
        ("--dropout -0.1", "at least 0"),
        ("--l2 -1", "at least 0"),
        ("--l1 nan", "a number of at least 0, got 'nan'"),
        ("--learning-rate 0", "above 0"),
        ("--validation 1", "below 1"),
        ("--optimizer magic", "choose from .*adam.*sgd"),
        ("--activation magic", "choose from .*relu.*tanh"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        mlp_mnist.main(argv.split())
    assert not cli.RUNS_DIR.exists()


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    results = [mlp_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in results])
    assert mean >= 98.2
    assert mean == pytest.approx(expected, abs=2 * spread)
    assert f"{100 * results[0]['baseline']:.2f} %" in CARD
