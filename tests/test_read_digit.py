import json
import os

import fast_mnist
import read_digit
from benchmarks import photographs
from common import cli, mnist, runs
from common.handwriting import drawing_pad

import numpy as np
import pytest
from PIL import Image
from tensorflow import keras
from test_segmentation import bundled, likeness, page


@pytest.fixture(scope="module")
def classifier():
    """A softmax regression, trained for a second on the bundled digits."""
    keras.utils.set_random_seed(0)
    digits = mnist.load_mnist("digits")
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(mnist.as_vectors(digits.x_train), digits.y_train, epochs=12, batch_size=32, verbose=0)
    return model


@pytest.fixture
def trained(classifier):
    """The network of a finished run, older than one that is not finished, one that has diverged, and one of a GAN."""
    for age, (name, status) in enumerate((("mlp_mnist/1", "finished"), ("cnn_mnist/4", "unfinished"),
                                          ("rnn_mnist/2", "diverged"), ("gan_mnist/1", "finished"))):
        folder = runs.RUNS_DIR / name
        folder.mkdir(parents=True)
        classifier.save(folder / "model.keras")
        runs.write_result(folder, {"status": status, "dataset": "my digits"})
        os.utime(folder / "result.json", (age, age))
    return runs.RUNS_DIR / "mlp_mnist" / "1" / "model.keras"


@pytest.mark.parametrize("shape", [(784,), (28, 28, 1), (28, 28)])
def test_every_classifier_gets_the_shape_and_the_range_that_it_was_trained_on(shape, rng):
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
    digits = rng.integers(0, 256, (501, 28, 28), dtype=np.uint8)  # one more than a batch
    expected = model.predict(digits.reshape(-1, *shape) / 255, verbose=0)
    np.testing.assert_allclose(read_digit.ask(model, digits), expected, atol=1e-5)


@pytest.mark.rendered
def test_pictures_are_read_by_the_newest_run_that_has_finished(trained, classifier, tmp_path, capsys):
    digits = bundled(3)
    expected = [read_digit.ask(classifier, read_digit.find(page(digit))[0])[0] for digit in digits]
    one, row = str(tmp_path / "one.png"), str(tmp_path / "row.png")
    page(digits[0]).save(one)
    Image.fromarray(np.concatenate([page(digit, size=300) for digit in digits[1:]], axis=1)).save(row)
    result = read_digit.main([one, row])
    printed = capsys.readouterr().out
    assert f"{trained}, trained on my digits" in printed
    assert f"{one}: {expected[0].argmax()} ({100 * expected[0].max():.1f} %)" in printed
    written = json.loads((result["folder"] / "result.json").read_text())["digits"]
    assert [digit["picture"] for digit in written] == [one, row, row]
    assert written[0]["answer"] == expected[0].argmax()
    assert written[0]["probability"] == pytest.approx(expected[0].max())
    with Image.open(result["folder"] / "read.png") as picture:
        assert picture.height > 600  # three rows


def test_without_a_picture_a_digit_or_a_model_nothing_is_written(tmp_path):
    page(bundled(1)[0]).save(tmp_path / "one.png")
    Image.new("L", (200, 200), 255).save(tmp_path / "blank.png")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)]).save(tmp_path / "other.keras")
    for argv, word in (
        ("one.png", "no finished run"),
        ("one.png --model other.keras", "other.keras: not a classifier"),
        ("blank.png", "blank.png: no digit"),
        ("nowhere.png", "nowhere.png: .*No such file"),
        ("", "name a picture"),
        ("one.png --draw", "name a picture"),
        ("--check", "benchmarks/photographs.py"),
    ):
        with pytest.raises(cli.UserError, match=word):
            read_digit.main([str(tmp_path / name) if "." in name else name for name in argv.split()])
    assert not runs.RUNS_DIR.exists()


def test_the_pad_is_served_what_the_network_sees_answers_and_believes(trained, classifier, monkeypatch):
    served = []
    monkeypatch.setattr(drawing_pad, "serve", lambda read, port: served.append((read, port)))
    read_digit.main(["--draw", "--port", "0"])
    read, port = served[0]
    digit = bundled(1)[0]
    (answer,) = read(page(digit))
    assert port == 0
    assert likeness(np.array(answer["seen"]), digit) > 0.9
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert "beliefs" not in answer
    assert not (runs.RUNS_DIR / "read_digit").exists()
    rnn = keras.Sequential([keras.Input((28, 28)), keras.layers.SimpleRNN(4), keras.layers.Dense(10, "softmax")])
    (answer,) = json.loads(json.dumps(read_digit.for_the_pad(rnn, page(digit))))
    assert np.shape(answer["beliefs"]) == (28, 10)
    np.testing.assert_allclose(answer["beliefs"][-1], answer["probabilities"], atol=1e-5)


def test_the_benchmark_counts_a_picture_in_which_nothing_is_found_as_misread(classifier, capsys):
    digit = page(bundled(1)[0])
    label = read_digit.ask(classifier, read_digit.find(digit)[0]).argmax()
    assert photographs.read(classifier, [digit, Image.new("L", (200, 200), 255)], [label, 0], "two pictures") == 0.5
    assert "1 not found" in capsys.readouterr().out


@pytest.mark.slow
def test_photographs_of_mnist_are_read_as_well_as_mnist():
    model = keras.models.load_model(fast_mnist.main(["cnn", "--data", "mnist"])["folder"] / "model.keras")
    accuracies = photographs.measure(model, mnist.load_mnist("mnist"), 0)
    assert accuracies["photographs"] > accuracies["direct"] - 0.01
    assert accuracies["bundled"] > 0.9
