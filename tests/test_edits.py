"""Learners change lines. Whatever they change, a run that trains comes to its closing line with its result."""

import re

from common import mnist

import numpy as np
import pytest

METRICS = 'metrics=["accuracy"]'
CALLBACKS = "callbacks=run.callbacks"
CONVOLUTION = 'layers.Conv2D(filters, 3, activation="relu")'
LAST = '        layers.Dense(num_classes, activation="softmax")'
INPUTS = {"mlp_mnist": "keras.Input((784,)),", "cnn_mnist": "keras.Input((28, 28, 1)),",
          "rnn_mnist": "keras.Input((28, 28)),"}
SPARSE = [
    ('"categorical_crossentropy"', '"sparse_categorical_crossentropy"'),
    ("keras.utils.to_categorical(digits.y_train, digits.num_classes)", "digits.y_train"),
    ("keras.utils.to_categorical(digits.y_test, digits.num_classes)", "digits.y_test"),
]
VALIDATION = (CALLBACKS, "validation_split=0.1, " + CALLBACKS)
EARLY = 'callbacks=[keras.callbacks.EarlyStopping("loss")'


def functional(script, body):
    """Return the edit that turns the flat list of layers into a functional model."""
    inputs = INPUTS[script].rstrip(",")
    start, end = f"x = inputs = {inputs}\n", "\n    return keras.Model(inputs, x)\n    keras.Sequential(["
    return [("return keras.Sequential([", start + body + end)]


EDITS = {
    "a metric that is a vector": ("mlp_mnist", [
        (METRICS, 'metrics=["accuracy", keras.metrics.F1Score()]'), VALIDATION]),
    "no metric and no callbacks": ("rnn_mnist", [(METRICS, "metrics=[]"), (CALLBACKS + ",", "")]),
    "sparse labels and validation_split": ("cnn_mnist", [*SPARSE, VALIDATION]),
    "another loss and a layer more": ("mlp_mnist", [
        ('"categorical_crossentropy"', '"categorical_focal_crossentropy"'),
        (LAST, f"        layers.Dense(8, activation='selu'),\n{LAST}")]),
    "logits": ("mlp_mnist", [
        ('num_classes, activation="softmax"', "num_classes"),
        ('"categorical_crossentropy"', "keras.losses.CategoricalCrossentropy(from_logits=True)")]),
    "a callback less": ("cnn_mnist", [(CALLBACKS, f"{EARLY}]")]),
    "augmentation first": ("cnn_mnist", [
        (INPUTS["cnn_mnist"], f"{INPUTS['cnn_mnist']} layers.RandomRotation(0.02), layers.RandomZoom(0.1),")]),
    "other convolutions": ("cnn_mnist", [(CONVOLUTION, 'layers.SeparableConv2D(filters, 3, activation="tanh")')]),
    "no convolution": ("cnn_mnist", [("*convolution(filters, batch_norm),", "")]),
    "a functional CNN": ("cnn_mnist", functional(
        "cnn_mnist",
        '    y = x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)\n'
        "    x = layers.Add()([layers.Conv2D(filters, 3, padding='same')(x), y])\n"
        "    x = layers.Dense(num_classes, activation='softmax')(layers.Flatten()(x))")),
    "a functional RNN": ("rnn_mnist", functional(
        "rnn_mnist",
        "    x = layers.Concatenate()([recurrent(x), layers.GRU(units, go_backwards=True)(x)])\n"
        "    x = layers.Dense(num_classes, activation='softmax')(x)")),
    "stacked, with dropout before the answer": ("rnn_mnist", [
        (INPUTS["rnn_mnist"], f"{INPUTS['rnn_mnist']} layers.LSTM(units, return_sequences=True),"),
        (LAST, f"        layers.Dropout(0.2),\n{LAST}")]),
    "no recurrent layer": ("rnn_mnist", [
        ("layers.Bidirectional(recurrent) if bidirectional else recurrent", "layers.Flatten()")]),
    "GAN with other layers": ("gan_mnist", [
        ("layers.Dense(1),", "layers.Dropout(0.3), layers.BatchNormalization(), layers.Dense(1),")]),
    "an autoencoder with a convolution": ("autoencoder_mnist", [
        ("layers.Flatten(),  # (784,)", "layers.Conv2D(4, 3, strides=2), layers.Flatten(),"),
        ('loss="mse"', 'loss="binary_crossentropy", metrics=["mae"]'), (CALLBACKS + ",", "")]),
    "a linear layer more": ("pca_autoencoder", [("layers.Dense(784),", "layers.Dense(50), layers.Dense(784),")]),
    "a layer more and no metric, in the lesson on memory": ("rnn_memory", [
        ("        recurrent(UNITS),", "        recurrent(UNITS), layers.Dropout(0.2),"),
        ('            metrics=["accuracy"],\n', "")]),
    "a VAE of grey images, without a warm-up": ("vae_mnist", [
        ('tf.cast(keras.random.uniform(tf.shape(images), seed=self.seed) < images, "float32")', "images"),
        ("keras.optimizers.Adam(rate)", '"adam"')]),
}
QUICK = (  # by default these stand for all
    "a metric that is a vector", "another loss and a layer more", "sparse labels and validation_split",
    "no convolution", "a functional CNN", "no metric and no callbacks", "a functional RNN",
)
EPOCHS = "--epochs 2 --batch-size 16"
SMALL = {
    "mlp_mnist": f"--units 8 {EPOCHS}",
    "cnn_mnist": f"--filters 4 {EPOCHS}",
    "rnn_mnist": f"--units 4 {EPOCHS}",
    "gan_mnist": "--latent-dim 4 --steps 3 --batch-size 16",
    "autoencoder_mnist": f"--code 4 {EPOCHS}",
    "pca_autoencoder": f"--code 4 {EPOCHS}",
    "vae_mnist": f"--latent-dim 4 {EPOCHS}",
    "rnn_memory": f"--cell simple_rnn {EPOCHS}",
}
NOT_DRAWN = {  # the picture that does not fit the edit, of which one line tells
    "no convolution": "kernels.png",
    "other convolutions": "kernels.png",
    "a functional RNN": "beliefs.png",
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return a file with a few digits, so that evaluation takes no time."""
    digits = mnist.load_mnist("digits", limit=40)
    path = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(path, x_train=digits.x_train, y_train=digits.y_train, x_test=digits.x_test[:30], y_test=digits.y_test[:30])
    return str(path)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in EDITS])
def test_a_changed_line_does_not_lose_the_result(name, few, edited, capsys):
    script, changes = EDITS[name]
    result = edited(script, *changes).main([*SMALL[script].split(), "--data", few])
    printed = capsys.readouterr()
    closing = printed.out.splitlines()[-1]
    assert result["status"] == "finished"
    assert closing.endswith(f" s of training | {result['folder']}")
    assert list(result["folder"].glob("*.keras"))
    if script in ("mlp_mnist", "cnn_mnist", "rnn_mnist"):
        lost = name == "no metric and no callbacks"  # the edit takes the accuracy away
        assert re.match(f"Test {'loss' if lost else 'accuracy'}: [\\d.]+%? on few \\| baseline [\\d.]+% \\| ", closing)
        assert result["test_loss"] > 0
    assert printed.err.count("\n") == (name in NOT_DRAWN), printed.err
    assert NOT_DRAWN.get(name, "") in printed.err


def test_a_learning_rate_that_is_too_large_is_said_in_one_line_and_stops_the_training(few, edited, capsys):
    argv = [*SMALL["mlp_mnist"].split(), "--data", few, "--optimizer", "sgd", "--learning-rate", "1e30"]
    result = edited("mlp_mnist").main(argv)
    printed = capsys.readouterr()
    assert (result["status"], result["epochs"]) == ("diverged", 0)
    assert "diverged after 0 of 2 epochs" in printed.out.splitlines()[-1]
    assert printed.err.strip().count("\n") == 0
    assert "nan" in printed.err
