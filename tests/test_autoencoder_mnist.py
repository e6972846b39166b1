import json
import re

import autoencoder_mnist
import paint_digits
from common import cli, mnist, results

import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from tensorflow import keras

CARD = " ".join(autoencoder_mnist.__doc__.split())
SMALL = ["--data", "digits", "--limit", "200", "--epochs", "2"]
PARAMETERS = {"basic": 50_992, "deep": 439_728, "denoising": 837_424, "linear": 50_992, "lstm": 170_556}
every_kind = pytest.mark.parametrize("kind", PARAMETERS)

# What the card's last "Try next" asks for (Rifai et al. 2011): put it into the lesson, and into `basic` as its code.
CONTRACTIVE = '''
class Contractive(layers.Dense):
    def call(self, x):
        h = super().call(x)  # (batch, code)
        slopes = (h * (1 - h)) ** 2  # of the sigmoid, squared
        self.add_loss(1e-3 * keras.ops.mean(slopes @ keras.ops.sum(self.kernel**2, axis=0)[:, None]))  # |dh/dx|^2
        return h
'''


@every_kind
def test_parameters_and_shapes(kind, rng):
    encoder, decoder = autoencoder_mnist.build_networks(kind)
    assert encoder.count_params() + decoder.count_params() == PARAMETERS[kind]
    assert f"{PARAMETERS[kind]:,}" in CARD
    assert (encoder.input_shape, encoder.output_shape) == ((None, 28, 28, 1), (None, 32))
    assert (decoder.input_shape, decoder.output_shape) == ((None, 32), (None, 28, 28, 1))
    painted = decoder.predict(100 * rng.normal(size=(9, 32)), verbose=0)
    assert (kind == "linear") == (painted.min() < 0 or painted.max() > 1), "all but the linear one paint in [0, 1]"


@pytest.mark.parametrize("kind", [
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("basic", "deep", "linear", "lstm")), "denoising"])
def test_a_run_leaves_networks_pictures_and_numbers(kind, capsys):
    result = autoencoder_mnist.main([*SMALL, "--kind", kind])
    folder, written = result["folder"], json.loads((result["folder"] / "result.json").read_text())
    keys = {"test_mse", "pca_mse", "mean_mse", "psnr", "judged_same", "nearest_same", "nearest_same_pca"}
    keys |= {"denoising": {"psnr_gain"}, "linear": {"principal_angle", "component_cosine"}}.get(kind, set())
    assert written.keys() >= keys
    assert written["psnr"] == pytest.approx(-10 * np.log10(written["test_mse"]))
    assert {path.name for path in folder.iterdir()} == {
        "model.keras", "decoder.keras", "model.png", "reconstructions.png", "components.png", "history.csv",
        "result.json",
    }  # fmt: skip
    model, decoder = (keras.models.load_model(folder / f"{name}.keras") for name in ("model", "decoder"))
    x_test = mnist.as_images(mnist.load_mnist("digits").x_test)
    given = x_test
    if kind == "denoising":
        given = np.clip(x_test + 0.5 * np.random.default_rng(0).standard_normal(x_test.shape, dtype="float32"), 0, 1)
    rebuilt = model.predict(given, verbose=0)
    assert np.mean((rebuilt - x_test) ** 2) == pytest.approx(written["test_mse"], rel=1e-4)
    codes = keras.Model(model.inputs, model.layers[-1 - len(decoder.layers)].output).predict(given, verbose=0)
    np.testing.assert_allclose(decoder.predict(codes, verbose=0), rebuilt, atol=1e-5)
    printed = capsys.readouterr()
    assert np.load(paint_digits.main([str(folder / "decoder.keras")])["folder"] / "generated.npz")["images"].any()
    assert f"\n{kind:16}{written['test_mse']:11.5f}" in printed.out
    headline = f"Test error: {written['test_mse']:.5f} ({written['psnr']:.2f} dB) on "
    assert printed.out.splitlines()[-1].startswith(headline)
    assert printed.err == ""


def test_pca_is_the_best_that_straight_lines_can_do(images, rng):
    """With PCA's components for weights the linear autoencoder is PCA, and no gradient is left."""
    pca = PCA(8).fit(images.reshape(-1, 784))
    encoder, decoder = autoencoder_mnist.build_networks("linear", 8)
    mixer = rng.normal(size=(8, 8))  # any basis of the span does
    encoder.set_weights([pca.components_.T @ mixer, -pca.mean_ @ pca.components_.T @ mixer])
    decoder.set_weights([linalg.inv(mixer) @ pca.components_, pca.mean_])
    with tf.GradientTape() as tape:
        rebuilt = decoder(encoder(images))
        loss = tf.reduce_mean((rebuilt - images) ** 2)
    expected = pca.inverse_transform(pca.transform(images.reshape(-1, 784))).reshape(images.shape)
    np.testing.assert_allclose(rebuilt, expected, atol=1e-4)
    for gradient in tape.gradient(loss, [*encoder.trainable_variables, *decoder.trainable_variables]):
        assert np.abs(gradient).max() < 1e-5


def test_the_components_come_back_from_any_basis_of_their_span(images, rng):
    flat = images.reshape(-1, 784)
    pca = PCA(12).fit(flat)
    span = pca.components_.T @ rng.normal(size=(12, 12))  # (784, 12): mixtures, as training finds them
    cosines = np.abs(np.sum(autoencoder_mnist.components_inside(span, flat) * pca.components_[:10], axis=1))
    assert cosines.min() > 0.999
    mixed = np.abs(np.sum(span.T[:10] * pca.components_[:10], axis=1)) / np.linalg.norm(span, axis=0)[:10]
    assert mixed.max() < 0.95, "the columns themselves are not the components"


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


def test_two_numbers_are_a_map_and_few_images_are_enough():
    few = ["--data", "digits", "--epochs", "1", "--code", "2", "--kind", "linear", "--limit"]
    with pytest.raises(cli.UserError, match="needs two training images"):
        autoencoder_mnist.main([*few, "1"])
    result = autoencoder_mnist.main([*few, "2"])
    assert (result["folder"] / "code.png").exists()
    assert result["status"] == "finished"


def test_the_contractive_penalty_is_the_squared_norm_of_the_jacobian(edited, images):
    """A known trap: a formula that sums the weights before it squares them looks as plausible."""
    lesson = edited("autoencoder_mnist", ("def build_networks(", CONTRACTIVE + "\n\ndef build_networks("),
                    ('layers.Dense(code, activation="relu"),', 'Contractive(code, activation="sigmoid"),'))  # fmt: skip
    encoder, _ = lesson.build_networks("basic", 6)
    x = tf.constant(images[:7])
    with tf.GradientTape() as tape:
        tape.watch(x)
        codes = encoder(x)  # (7, 6)
    jacobian = tape.batch_jacobian(codes, x)  # (7, 6, 28, 28, 1)
    (penalty,) = encoder.losses
    assert float(penalty) == pytest.approx(1e-3 * np.mean(np.sum(jacobian.numpy() ** 2, axis=(1, 2, 3, 4))), rel=1e-5)
    assert lesson.main(SMALL)["status"] == "finished"


@pytest.mark.slow
def test_a_diverged_training_still_ends_in_a_result(monkeypatch):
    monkeypatch.setitem(autoencoder_mnist.LEARNING_RATE, "linear", 1e30)
    result = autoencoder_mnist.main([*SMALL, "--kind", "linear"])
    assert result["status"] == "finished"
    assert np.isnan(result["nearest_same"])
    assert np.isfinite(result["pca_mse"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [("--kind sparse", "choose from .*basic.*lstm"), ("--code 0", "--code: expected a whole number of at least 1")],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        autoencoder_mnist.main(["--data", "digits", *argv.split()])
    assert not results.RUNS_DIR.exists()


@pytest.mark.slow
@every_kind
def test_the_card_tells_the_truth_about_mnist(kind):
    error, decibels, same = re.search(rf"{kind} +([\d.]+) \(([\d.]+) dB\), ([\d.]+) %", CARD).groups()
    result = autoencoder_mnist.main(["--data", "mnist", "--kind", kind])
    assert result["test_mse"] == pytest.approx(float(error), rel=0.15 if kind == "lstm" else 0.05)
    assert result["psnr"] == pytest.approx(float(decibels), abs=0.6 if kind == "lstm" else 0.2)
    assert 100 * result["judged_same"] == pytest.approx(float(same), abs=1.5)
    if kind == "linear":
        assert result["test_mse"] < 1.01 * result["pca_mse"]
        assert result["principal_angle"] < 2
        assert result["component_cosine"] > 0.99
    if kind == "denoising":
        assert result["psnr_gain"] > 9
    if kind in ("basic", "deep"):
        assert result["test_mse"] < {"basic": 0.7, "deep": 0.5}[kind] * result["pca_mse"]
