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
          "rnn_mnist": "keras.Input((28, 28)),"}  # fmt: skip
SPARSE = [
    ('"categorical_crossentropy"', '"sparse_categorical_crossentropy"'),
    ("keras.utils.to_categorical(digits.y_train, digits.num_classes)", "digits.y_train"),
    ("keras.utils.to_categorical(digits.y_test, digits.num_classes)", "digits.y_test"),
]
VALIDATION = (CALLBACKS, "validation_split=0.1, " + CALLBACKS)
EARLY = 'callbacks=[keras.callbacks.EarlyStopping("loss")'


def functional(script, body):
    """Return the edit that turns the flat list of layers into a functional model."""
    source = INPUTS[script]
    return [("return keras.Sequential([", f"x = inputs = {source[:-1]}\n{body}\n    return keras.Model(inputs, x)\n"
             "    keras.Sequential([")]  # fmt: skip


EDITS = {
    "another metric": ("mlp_mnist", [(METRICS, 'metrics=["accuracy", "auc"]')]),
    "other metrics": ("cnn_mnist", [(METRICS, 'metrics=["categorical_accuracy", "top_k_categorical_accuracy"]')]),
    "no metric": ("rnn_mnist", [(METRICS, "metrics=[]")]),
    "no metrics line": ("mlp_mnist", [(METRICS + ",", "")]),
    "sparse labels and validation_split, MLP": ("mlp_mnist", [*SPARSE, VALIDATION]),
    "sparse labels and validation_split, CNN": ("cnn_mnist", [*SPARSE, VALIDATION]),
    "sparse labels and validation_split, RNN": ("rnn_mnist", [*SPARSE, VALIDATION]),
    "another loss": ("mlp_mnist", [('"categorical_crossentropy"', '"categorical_focal_crossentropy"')]),
    "a regression loss": ("cnn_mnist", [('"categorical_crossentropy"', '"mse"')]),
    "logits": ("mlp_mnist", [('num_classes, activation="softmax"', "num_classes"), (
        '"categorical_crossentropy"', "keras.losses.CategoricalCrossentropy(from_logits=True)")]),
    "a callback more": ("mlp_mnist", [(CALLBACKS, f"{EARLY}, *run.callbacks]")]),
    "a callback less": ("cnn_mnist", [(CALLBACKS, f"{EARLY}]")]),
    "no callbacks": ("rnn_mnist", [(CALLBACKS + ",", "")]),
    "class weights": ("mlp_mnist", [(CALLBACKS, "class_weight={3: 2.0}, " + CALLBACKS)]),
    "a layer more": ("mlp_mnist", [(LAST, f"        layers.Dense(8, activation='selu'),\n{LAST}")]),
    "only one layer": ("mlp_mnist", [(f"        layers.D{kind}", f"        # layers.D{kind}") for kind in (
        "ense(units", "ropout(dropout")]),
    "softmax as a layer": ("mlp_mnist", [(
        'layers.Dense(num_classes, activation="softmax")', 'layers.Dense(num_classes), layers.Activation("softmax")')]),
    "a rescaling first": ("cnn_mnist", [(INPUTS["cnn_mnist"], f"{INPUTS['cnn_mnist']} layers.Rescaling(2.0, -1.0),")]),
    "augmentation first": ("cnn_mnist", [(
        INPUTS["cnn_mnist"], f"{INPUTS['cnn_mnist']} layers.RandomRotation(0.02), layers.RandomZoom(0.1),")]),
    "another activation": ("cnn_mnist", [(CONVOLUTION, 'layers.Conv2D(filters, 3, activation="tanh")')]),
    "other convolutions": ("cnn_mnist", [(CONVOLUTION, 'layers.SeparableConv2D(filters, 3, activation="relu")')]),
    "average pooling": ("cnn_mnist", [("MaxPooling2D", "AveragePooling2D")]),
    "global pooling": ("cnn_mnist", [("layers.Flatten()", "layers.GlobalAveragePooling2D()")]),
    "no convolution": ("cnn_mnist", [("*convolution(filters, batch_norm),", "")]),
    "a functional CNN": ("cnn_mnist", functional(
        "cnn_mnist",
        '    y = x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)\n'
        "    x = layers.Add()([layers.Conv2D(filters, 3, padding='same')(x), y])\n"
        "    x = layers.Dense(num_classes, activation='softmax')(layers.Flatten()(x))")),
    "a functional MLP": ("mlp_mnist", functional(
        "mlp_mnist", "    x = layers.Concatenate()([x, layers.Dense(units)(x)])\n"
        "    x = layers.Dense(num_classes, activation='softmax')(x)")),
    "dropout before the answer": ("rnn_mnist", [(LAST, f"        layers.Dropout(0.2),\n{LAST}")]),
    "stacked": ("rnn_mnist", [(INPUTS["rnn_mnist"],
                               f"{INPUTS['rnn_mnist']} layers.LSTM(units, return_sequences=True),")]),
    "an average over all rows": ("rnn_mnist", [
        ("dropout=dropout)", "dropout=dropout, return_sequences=True)"),
        (LAST, f"        layers.GlobalAveragePooling1D(),\n{LAST}")]),
    "a convolution over the rows": ("rnn_mnist", [(
        INPUTS["rnn_mnist"], f"{INPUTS['rnn_mnist']} layers.Conv1D(8, 3, padding='same'),")]),
    "no recurrent layer": ("rnn_mnist", [("layers.Bidirectional(recurrent) if bidirectional else recurrent",
                                          "layers.Flatten()")]),
    "a functional RNN": ("rnn_mnist", functional(
        "rnn_mnist", "    x = layers.Concatenate()([recurrent(x), layers.GRU(units, go_backwards=True)(x)])\n"
        "    x = layers.Dense(num_classes, activation='softmax')(x)")),
    "augmented for two epochs": ("fast_mnist", [("augment: bool = False", "augment: bool = True")]),
    "GAN without callbacks": ("gan_mnist", [("callbacks=[snapshots, *run.callbacks]", "callbacks=[snapshots]")]),
    "GAN without snapshots": ("gan_mnist", [("callbacks=[snapshots, *run.callbacks]", "callbacks=run.callbacks")]),
    "GAN with other layers and names": ("gan_mnist", [
        ("layers.Dense(1),", "layers.Dropout(0.3), layers.BatchNormalization(), layers.Dense(1),"),
        ('"g_loss", ', '"generator_loss", ')]),
    "an autoencoder with a convolution": ("autoencoder_mnist", [
        ("layers.Flatten(),  # (784,)", "layers.Conv2D(4, 3, strides=2), layers.Flatten(),"),
        ('loss="mse"', 'loss="binary_crossentropy", metrics=["mae"]'), (CALLBACKS + ",", "")]),
    "a linear layer more": ("autoencoder_mnist", [("layers.Dense(784),", "layers.Dense(50), layers.Dense(784),"),
                                                  ('default="basic"', 'default="linear"')]),
    "a layer more and no metric, in the lesson on memory": ("rnn_memory", [
        ("        recurrent(UNITS),", "        recurrent(UNITS), layers.Dropout(0.2),"),
        ('            metrics=["accuracy"],\n', "")]),
    "a VAE of grey images, without a warm-up": ("vae_mnist", [
        ('tf.cast(keras.random.uniform(tf.shape(images), seed=self.seed) < images, "float32")', "images"),
        ("keras.optimizers.Adam(rate)", '"adam"'), VALIDATION]),
}  # fmt: skip
SLOW = (  # tried on request: others stand for them
    "no metrics line", "another loss", "a regression loss", "class weights", "only one layer", "softmax as a layer",
    "another activation", "average pooling", "global pooling", "a convolution over the rows", "stacked",
    "an average over all rows", "other convolutions", "augmented for two epochs", "GAN without callbacks",
    "sparse labels and validation_split, MLP", "sparse labels and validation_split, RNN", "a callback less",
    "other metrics", "a rescaling first", "a layer more", "GAN without snapshots",
    "augmentation first", "a functional MLP", "dropout before the answer", "GAN with other layers and names",
    "a callback more", "logits", "an autoencoder with a convolution",
    "a layer more and no metric, in the lesson on memory", "a VAE of grey images, without a warm-up",
)  # fmt: skip
EPOCHS = "--epochs 2 --batch-size 16"
SMALL = {
    "mlp_mnist": f"--units 8 {EPOCHS}",
    "cnn_mnist": f"--filters 4 {EPOCHS}",
    "rnn_mnist": f"--units 4 {EPOCHS}",
    "fast_mnist": f"cnn {EPOCHS}",
    "gan_mnist": "--latent-dim 4 --steps 3 --batch-size 16",
    "autoencoder_mnist": f"--code 4 {EPOCHS}",
    "vae_mnist": f"--latent-dim 4 {EPOCHS}",
    "rnn_memory": f"--cell gru {EPOCHS}",
}
CLOSING = {"gan_mnist": ("generator", "Classifier score: "), "autoencoder_mnist": ("decoder", "Test error: "),
           "vae_mnist": ("decoder", "Negative ELBO: "), "rnn_memory": ("gru", "Test accuracy: ")}  # fmt: skip
NOTES = {  # what is said on standard error where a picture does not fit the edit
    "no convolution": "kernels.png was not drawn: the model has no Conv2D layer",
    "other convolutions": "kernels.png was not drawn: the model has no Conv2D layer",
    "a functional RNN": "beliefs.png was not drawn",
    "GAN without snapshots": "was not drawn",
    "GAN with other layers and names": "training_curves.png was not drawn",
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return a file with a few digits, so that evaluation takes no time."""
    digits = mnist.load_mnist("digits", limit=40)
    path = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(path, x_train=digits.x_train, y_train=digits.y_train, x_test=digits.x_test[:30], y_test=digits.y_test[:30])
    return str(path)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in EDITS])
def test_a_changed_line_does_not_lose_the_result(name, few, edited, capsys):
    script, changes = EDITS[name]
    result = edited(script, *changes).main([*SMALL[script].split(), "--data", few])
    printed = capsys.readouterr()
    closing = printed.out.splitlines()[-1]
    if script in CLOSING:
        network, headline = CLOSING[script]
        assert closing.startswith(headline)
        assert (result["folder"] / f"{network}.keras").exists()
    else:
        lost = "metric" in name and name != "another metric"  # the edit takes the accuracy away
        assert re.match(f"Test {'loss' if lost else 'accuracy'}: [\\d.]+%? on few \\| baseline [\\d.]+% \\| ", closing)
        assert result["test_loss"] > 0
        assert (result["folder"] / "model.keras").exists()
    assert result["status"] == "finished"
    assert NOTES.get(name, "") in printed.err
    assert bool(printed.err) == (name in NOTES), printed.err
