import json
import re
from pathlib import Path

import autoencoder_mnist
import paint_digits
from common import cli, mnist, runs

import numpy as np
import pytest
import tensorflow as tf
from sklearn.neighbors import KNeighborsClassifier
from tensorflow import keras

RESULTS = (Path(autoencoder_mnist.__file__).parent / "benchmarks" / "results.md").read_text(encoding="utf-8")
SMALL = ["--data", "digits", "--limit", "100", "--epochs", "1"]
PARAMETERS = {"basic": 50_992, "deep": 439_728, "denoising": 837_424, "lstm": 170_556}
every_kind = pytest.mark.parametrize("kind", PARAMETERS)

# What the card's "Try next" asks for (Rifai et al. 2011): put it into the lesson, and into `basic` as its code.
CONTRACTIVE = '''
class Contractive(layers.Dense):
    def call(self, x):
        h = super().call(x)  # (batch, code)
        slopes = (h * (1 - h)) ** 2  # of the sigmoid, squared
        self.add_loss(1e-3 * keras.ops.mean(slopes @ keras.ops.sum(self.kernel**2, axis=0)[:, None]))  # |dh/dx|^2
        return h


def build_networks('''


@every_kind
def test_parameters_and_shapes(kind, rng):
    encoder, decoder = autoencoder_mnist.build_networks(kind)
    assert encoder.count_params() + decoder.count_params() == PARAMETERS[kind]
    assert f"{PARAMETERS[kind]:,}" in autoencoder_mnist.__doc__
    assert (encoder.input_shape, encoder.output_shape) == ((None, 28, 28, 1), (None, 32))
    assert (decoder.input_shape, decoder.output_shape) == ((None, 32), (None, 28, 28, 1))
    painted = decoder.predict(100 * rng.normal(size=(9, 32)), verbose=0)
    assert 0 <= painted.min() <= painted.max() <= 1


@pytest.mark.parametrize("kind", [
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("basic", "deep", "lstm")), "denoising"])
def test_a_run_leaves_networks_pictures_and_numbers(kind, capsys):
    result = autoencoder_mnist.main([*SMALL, "--kind", kind])
    folder, written = result["folder"], json.loads((result["folder"] / "result.json").read_text())
    assert written["psnr"] == pytest.approx(-10 * np.log10(written["test_mse"]))
    assert written.keys() >= {"pca_mse", "mean_mse", "judged_same", "nearest_same", "nearest_same_pca"}
    assert ("psnr_gain" in written) == (kind == "denoising")
    assert {path.name for path in folder.iterdir()} == {
        "model.keras", "encoder.keras", "decoder.keras", "model.png", "reconstructions.png", "components.png",
        "history.csv", "result.json"}
    given = x_test = mnist.as_images(mnist.load_mnist("digits").x_test)
    if kind == "denoising":
        given = np.clip(x_test + 0.5 * np.random.default_rng(0).standard_normal(x_test.shape, dtype="float32"), 0, 1)
    names = ("model", "encoder", "decoder")
    model, encoder, decoder = (keras.models.load_model(folder / f"{name}.keras") for name in names)
    rebuilt = model.predict(given, verbose=0)
    assert np.mean((rebuilt - x_test) ** 2) == pytest.approx(written["test_mse"], rel=1e-4)
    np.testing.assert_allclose(decoder(encoder(given)), rebuilt, atol=1e-5)
    printed = capsys.readouterr()
    assert f"\n{kind:16}{written['test_mse']:11.5f}" in printed.out
    assert printed.out.splitlines()[-1].startswith(f"Test error: {written['test_mse']:.5f} ({written['psnr']:.2f} dB)")
    assert printed.err == ""
    assert np.load(paint_digits.main([str(folder / "decoder.keras")])["folder"] / "generated.npz")["images"].any()


def test_the_nearest_codes_are_those_of_scikit_learn(rng):
    known, asked = rng.normal(size=(300, 5)).astype("float32"), rng.normal(size=(70, 5)).astype("float32")
    y_known, y_asked = rng.integers(4, size=300), rng.integers(4, size=70)
    expected = KNeighborsClassifier(1).fit(known, y_known).score(asked, y_asked)
    assert autoencoder_mnist.nearest_same(known, y_known, asked, y_asked) == expected


def test_noise_is_new_for_each_image_in_training_and_absent_in_a_test():
    encoder, _ = autoencoder_mnist.build_networks("denoising")
    noise, clip = encoder.layers[:2]
    grey = np.full((200, 28, 28, 1), 0.5, "float32")
    first, second = (clip(noise(grey, training=True)).numpy() for _ in range(2))
    assert (first != second).mean() > 0.5
    assert (first[0] != first[1]).mean() > 0.5
    assert noise(grey, training=True).numpy().std() == pytest.approx(0.5, rel=0.02)
    assert (first.min(), first.max()) == (0, 1)
    np.testing.assert_array_equal(clip(noise(grey, training=False)), grey)


def test_ten_digits_can_be_learned_by_heart():
    ten = mnist.as_images(mnist.load_mnist("digits").x_train[:10])
    keras.utils.set_random_seed(0)
    encoder, decoder = autoencoder_mnist.build_networks("deep")
    model = keras.Sequential([keras.Input((28, 28, 1)), encoder, decoder])
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    many = np.tile(ten, (150, 1, 1, 1))
    model.fit(many, many, batch_size=10, verbose=0)  # 150 steps
    assert model.evaluate(ten, ten, verbose=0) < 0.2 * np.mean((ten - ten.mean(axis=0)) ** 2)


@pytest.mark.slow
def test_the_contractive_penalty_is_the_squared_norm_of_the_jacobian(edited, images):
    """A known trap: a formula that sums the weights before it squares them looks as plausible."""
    lesson = edited("autoencoder_mnist", ("def build_networks(", CONTRACTIVE),
                    ('layers.Dense(code, activation="relu"),', 'Contractive(code, activation="sigmoid"),'))
    encoder, _ = lesson.build_networks("basic", 6)
    x = tf.constant(images[:7])
    with tf.GradientTape() as tape:
        tape.watch(x)
        codes = encoder(x)  # (7, 6)
    jacobian = tape.batch_jacobian(codes, x)  # (7, 6, 28, 28, 1)
    (penalty,) = encoder.losses
    assert float(penalty) == pytest.approx(1e-3 * np.mean(np.sum(jacobian.numpy() ** 2, axis=(1, 2, 3, 4))), rel=1e-5)
    result = lesson.main([*SMALL, "--code", "2"])
    assert result["status"] == "finished"
    assert (result["folder"] / "code.png").exists(), "two numbers are a map"


def test_one_image_is_too_few_for_pca_and_is_refused_before_anything_is_written():
    with pytest.raises(cli.UserError, match="two"):
        autoencoder_mnist.main(["--data", "digits", "--limit", "1"])
    assert not runs.RUNS_DIR.exists()


@pytest.mark.slow
@every_kind
def test_the_documented_numbers_hold_on_mnist(kind):
    row = re.search(rf"^\| {kind} \|.+\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) % \|.+$", RESULTS, re.MULTILINE)
    of_pca, decibels, same = map(float, row.groups())
    result = autoencoder_mnist.main(["--data", "mnist", "--kind", kind])
    loose = 3 if kind == "lstm" else 1  # whose seeds differ most
    assert result["test_mse"] / result["pca_mse"] == pytest.approx(of_pca, rel=0.05 * loose)
    assert result["psnr"] == pytest.approx(decibels, abs=0.2 * loose)
    assert 100 * result["judged_same"] == pytest.approx(same, abs=1.5)
    if kind == "denoising":
        assert result["psnr_gain"] > 9
    if kind == "basic":
        assert result["test_mse"] == pytest.approx(0.01007, rel=0.05), "the card's number"
