import json

import paint_digits
from common import cli, results
from common.plots.gan_mnist import as_pixels

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves an untrained generator whose last layer has the activation, and returns its path."""

    def save(activation, *shapers):
        keras.utils.set_random_seed(0)
        network = keras.Sequential([
            keras.Input((4,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(784, activation=activation),
            *(shapers or [layers.Reshape((28, 28, 1))]),
        ])  # fmt: skip
        network.save(tmp_path / "generator.keras")
        return str(tmp_path / "generator.keras")

    return save


def images_of(model, noise):
    """Return what a saved network paints, (count, 28, 28, 1)."""
    return keras.models.load_model(model).predict(noise, verbose=0)


def test_a_saved_generator_paints_and_walks(saved, capsys):
    model = saved("tanh")
    result = paint_digits.main([model, "--count", "9", "--interpolate", "--seed", "3"])
    images = np.load(result["folder"] / "generated.npz")["images"]
    assert (images.shape, images.dtype) == ((9, 28, 28, 1), np.uint8)
    noise = np.random.default_rng(3).standard_normal((9, 4))
    assert np.abs(images / 127.5 - 1 - images_of(model, noise)).max() < 1 / 127
    assert {path.name for path in result["folder"].iterdir()} == {
        "generated.npz", "generated.png", "interpolation.png", "result.json",
    }  # fmt: skip
    assert result["folder"].parent == results.RUNS_DIR / "paint_digits"
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written.items() >= {"script": "paint_digits", "status": "finished", "model": model, "seed": 3}.items()
    assert capsys.readouterr().out.splitlines()[-1].endswith(cli.relative(result["folder"]))


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
def test_black_and_white_are_the_ends_of_the_networks_range(saved, activation, rng):
    model, noise = saved(activation), rng.standard_normal((20, 4))
    images = images_of(model, noise)
    pixels = paint_digits.paint(keras.models.load_model(model), noise)
    black, white = (-1, 1) if activation == "tanh" else (0, 1)
    expected = np.clip((images - black) / (white - black), 0, 1)
    np.testing.assert_allclose(pixels / 255, expected, atol=0.51 / 255)


def test_a_recurrent_decoder_is_no_tanh(rng):
    """Its LSTM has the activation tanh, but the layer that paints ends in a sigmoid."""
    decoder = keras.Sequential([
        keras.Input((4,)), layers.RepeatVector(28), layers.LSTM(8, return_sequences=True),
        layers.TimeDistributed(layers.Dense(28, activation="sigmoid")), layers.Reshape((28, 28, 1)),
    ])  # fmt: skip
    noise = rng.standard_normal((5, 4))
    expected = np.rint(255 * decoder.predict(noise, verbose=0))
    assert np.abs(paint_digits.paint(decoder, noise).astype(float) - expected).max() <= 1


def test_a_conditional_generator_paints_the_digit_that_is_ordered(tmp_path, rng):
    noise, label = keras.Input((4,)), keras.Input((3,))
    images = layers.Dense(784, activation="sigmoid")(layers.Concatenate()([noise, label]))
    generator = keras.Model([noise, label], layers.Reshape((28, 28, 1))(images))
    generator.save(tmp_path / "generator.keras")
    z = np.random.default_rng(0).standard_normal((5, 4))
    for argv, digits in ((["--digit", "2", "--interpolate"], [2] * 5), ([], [0, 1, 2, 0, 1])):
        folder = paint_digits.main([str(tmp_path / "generator.keras"), "--count", "5", *argv])["folder"]
        expected = 255 * generator.predict([z, np.eye(3)[digits]], verbose=0)
        assert np.abs(np.load(folder / "generated.npz")["images"] - expected).max() <= 1
    with pytest.raises(cli.UserError, match=r"--digit 3: .*generator.keras paints digits from 0 to 2"):
        paint_digits.main([str(tmp_path / "generator.keras"), "--digit", "3"])


def test_a_walk_leads_from_one_image_to_another_in_small_steps(saved, monkeypatch):
    shown = {}
    monkeypatch.setattr(paint_digits, "grid", lambda path, pixels, title, **options: shown.update({path.stem: pixels}))
    model = saved("tanh")
    paint_digits.main([model, "--interpolate"])
    start, end = np.random.default_rng(0).standard_normal((2, 8, 1, 4))
    rows = shown["interpolation"].reshape(8, 10, 28, 28, 1).astype(int)
    for column, noise in ((0, start), (-1, end)):
        assert np.abs(rows[:, column] - as_pixels(images_of(model, noise[:, 0])).astype(int)).max() <= 1
    steps = np.abs(np.diff(rows, axis=1)).mean(axis=(2, 3, 4))  # (8, 9)
    assert (steps.max(axis=1) < np.abs(rows[:, -1] - rows[:, 0]).mean(axis=(1, 2, 3))).all()


def test_the_picture_shows_the_first_of_very_many_images_and_the_file_has_all(saved, monkeypatch):
    shown = {}
    monkeypatch.setattr(paint_digits, "grid", lambda path, pixels, title, **options: shown.update({path.stem: pixels}))
    result = paint_digits.main([saved("sigmoid"), "--count", "401"])
    assert len(np.load(result["folder"] / "generated.npz")["images"]) == 401
    assert {name: len(pixels) for name, pixels in shown.items()} == {"generated": 400}


def test_what_is_no_generator_is_refused_before_anything_is_written(saved, tmp_path):
    flat = saved("tanh", layers.Reshape((784,)))
    inputs = keras.Input((4,)), keras.Input((3,)), keras.Input((2,))
    images = layers.Reshape((28, 28, 1))(layers.Dense(784)(layers.Concatenate()(inputs)))
    keras.Model(inputs, images).save(tmp_path / "three.keras")
    keras.Sequential([keras.Input((28, 28, 1)), layers.Identity()]).save(tmp_path / "same.keras")
    for model in (flat, tmp_path / "three.keras", tmp_path / "same.keras"):
        with pytest.raises(cli.UserError, match=r"not a generator of \(None, 28, 28, 1\) from \(None, N\)"):
            paint_digits.main([str(model)])
    for argv, message in (
        (["nowhere.keras"], "nowhere.keras: there is no such file"),
        ([], "MODEL"),
        ([flat, "--count", "0"], "--count: expected a whole number of at least 1"),
        ([saved("tanh"), "--digit", "7"], r"--digit 7: .*generator.keras was trained without labels; gan_mnist"),
    ):
        with pytest.raises(cli.UserError, match=message):
            paint_digits.main(argv)
    assert not results.RUNS_DIR.exists()
