import json

import paint_digits
from common import cli, runs
from common.plots.gan_mnist import as_pixels

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves an untrained generator whose last layer has the activation, and returns its path."""

    def save(activation, name="generator", shape=(28, 28, 1)):
        keras.utils.set_random_seed(0)
        last = [layers.Dense(784, activation=activation), layers.Reshape(shape)]
        network = keras.Sequential([keras.Input((4,)), layers.Dense(16, activation="relu"), *last])
        network.save(tmp_path / f"{name}.keras")
        return str(tmp_path / f"{name}.keras")

    return save


@pytest.fixture
def shown(monkeypatch):
    """What the pictures show: {name: pixels}."""
    pictures = {}
    monkeypatch.setattr(paint_digits, "grid", lambda path, pixels, title, **_: pictures.update({path.stem: pixels}))
    return pictures


def images_of(model, noise):
    """Return what a saved network paints, (count, 28, 28, 1)."""
    return keras.models.load_model(model).predict(noise, verbose=0)


def test_a_saved_generator_paints_and_walks(saved):
    model = saved("tanh")
    folder = paint_digits.main([model, "--count", "9", "--interpolate", "--seed", "3"])["folder"]
    images = np.load(folder / "generated.npz")["images"]
    assert (images.shape, images.dtype) == ((9, 28, 28, 1), np.uint8)
    noise = np.random.default_rng(3).standard_normal((9, 4))
    assert np.abs(images / 127.5 - 1 - images_of(model, noise)).max() < 1 / 127
    assert {path.name for path in folder.glob("*.png")} == {"generated.png", "interpolation.png"}
    written = json.loads((folder / "result.json").read_text())
    assert written.items() >= {"script": "paint_digits", "status": "finished", "model": model, "seed": 3}.items()


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
def test_black_and_white_are_the_ends_of_the_networks_range(saved, activation, rng):
    model, noise = saved(activation), rng.standard_normal((20, 4))
    images = images_of(model, noise)
    pixels = paint_digits.paint(keras.models.load_model(model), noise, np.arange(20))
    black, white = (-1, 1) if activation == "tanh" else (0, 1)
    expected = np.clip((images - black) / (white - black), 0, 1)
    np.testing.assert_allclose(pixels / 255, expected, atol=0.51 / 255)


def test_a_recurrent_decoder_that_ends_in_a_sigmoid_is_not_taken_for_a_tanh(rng):
    decoder = keras.Sequential([
        keras.Input((4,)),
        layers.RepeatVector(28),
        layers.LSTM(8, return_sequences=True),  # whose activation is tanh
        layers.TimeDistributed(layers.Dense(28, activation="sigmoid")),
        layers.Reshape((28, 28, 1)),
    ])
    noise = rng.standard_normal((5, 4))
    expected = np.rint(255 * decoder.predict(noise, verbose=0))
    assert np.abs(paint_digits.paint(decoder, noise, np.arange(5)).astype(float) - expected).max() <= 1


def test_a_generator_with_labels_paints_the_digit_that_is_ordered(tmp_path):
    noise, label = keras.Input((4,)), keras.Input((3,))
    images = layers.Dense(784, activation="sigmoid")(layers.Concatenate()([noise, label]))
    generator = keras.Model([noise, label], layers.Reshape((28, 28, 1))(images))
    generator.save(tmp_path / "generator.keras")
    z = np.random.default_rng(0).standard_normal((5, 4))
    for argv, digits in ((["--digit", "2", "--interpolate"], [2] * 5), ([], [0, 1, 2, 0, 1])):
        folder = paint_digits.main([str(tmp_path / "generator.keras"), "--count", "5", *argv])["folder"]
        expected = 255 * generator.predict([z, np.eye(3)[digits]], verbose=0)
        assert np.abs(np.load(folder / "generated.npz")["images"] - expected).max() <= 1
    with pytest.raises(cli.UserError, match="from 0 to 2"):
        paint_digits.main([str(tmp_path / "generator.keras"), "--digit", "3"])


def test_a_walk_leads_from_one_image_to_another_in_small_steps(saved, shown):
    model = saved("tanh")
    paint_digits.main([model, "--interpolate"])
    start, end = np.random.default_rng(0).standard_normal((2, 8, 1, 4))
    rows = shown["interpolation"].reshape(8, 10, 28, 28, 1).astype(int)
    for column, noise in ((0, start), (-1, end)):
        assert np.abs(rows[:, column] - as_pixels(images_of(model, noise[:, 0])).astype(int)).max() <= 1
    steps = np.abs(np.diff(rows, axis=1)).mean(axis=(2, 3, 4))  # (8, 9)
    assert (steps.max(axis=1) < np.abs(rows[:, -1] - rows[:, 0]).mean(axis=(1, 2, 3))).all()


def test_the_picture_shows_the_first_of_very_many_images_and_the_file_has_all(saved, shown):
    result = paint_digits.main([saved("sigmoid"), "--count", "401"])
    assert len(np.load(result["folder"] / "generated.npz")["images"]) == 401
    assert {name: len(pixels) for name, pixels in shown.items()} == {"generated": 400}


def test_what_is_no_generator_is_refused_before_anything_is_written(saved, tmp_path):
    keras.Sequential([keras.Input((28, 28, 1)), layers.Identity()]).save(tmp_path / "same.keras")
    for argv, word in (
        ([saved("tanh", "flat", (784,))], "not a generator"),
        ([str(tmp_path / "same.keras")], "not a generator"),
        ([saved("tanh"), "--digit", "7"], "without labels"),
    ):
        with pytest.raises(cli.UserError, match=word):
            paint_digits.main(argv)
    assert not runs.RUNS_DIR.exists()
