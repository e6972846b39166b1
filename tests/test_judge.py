import re

from common import cli, judge, mnist

import numpy as np
import pytest
from scipy.linalg import sqrtm
from tensorflow import keras
from tensorflow.keras import layers


@pytest.fixture(scope="module")
def digits():
    return mnist.load_mnist("digits")


@pytest.fixture(scope="module")
def trained(digits):
    keras.utils.set_random_seed(0)
    return judge.Judge(digits)


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves an untrained network under a name and returns the file's path."""

    def save(*last, inputs=(28, 28, 1)):
        keras.Sequential([keras.Input(inputs), layers.Flatten(), *last]).save(tmp_path / "judge.keras")
        return tmp_path / "judge.keras"

    return save


def test_the_judge_learns_to_read(trained, digits):
    assert trained.accuracy > 0.85
    probabilities, features = trained.read(mnist.as_images(digits.x_test))
    assert (probabilities.shape, features.shape) == ((360, 10), (360, 64))
    assert trained.accuracy == np.mean(probabilities.argmax(axis=1) == digits.y_test)


def test_real_images_are_near_the_floor_and_noise_is_not(trained, digits, rng):
    real = trained.scores(mnist.as_images(digits.x_train))
    noise = trained.scores(rng.uniform(0, 1, (500, 28, 28, 1)))
    one = trained.scores(np.repeat(mnist.as_images(digits.x_train[:1]), 500, axis=0))
    assert (real["classes_covered"], one["classes_covered"], one["class_entropy"]) == (10, 1, 0)
    assert real["classifier_score"] > 7
    assert one["classifier_score"] == pytest.approx(1, abs=0.01)
    assert 20 * real["frechet_distance"] < min(noise["frechet_distance"], one["frechet_distance"])
    assert 10 * trained.real["frechet_distance"] < min(noise["frechet_distance"], one["frechet_distance"])


def test_the_test_images_are_no_distance_from_themselves(trained, digits):
    scores = trained.scores(mnist.as_images(digits.x_test))
    assert scores.pop("frechet_distance") == pytest.approx(0, abs=1e-3)
    assert scores == pytest.approx({key: trained.real[key] for key in scores})


def test_images_that_are_no_numbers_get_no_score(trained):
    scores = trained.scores(np.full((20, 28, 28, 1), np.nan, "float32"))
    assert np.isnan([scores["classifier_score"], scores["frechet_distance"]]).all()
    assert scores["confident_share"] == 0


def test_the_comparison_has_a_column_for_each_and_a_row_for_each_score(trained, digits, capsys):
    scores = trained.scores(mnist.as_images(digits.x_train[:100]))
    trained.compare(generated=scores)
    head, *rows = capsys.readouterr().out.strip().splitlines()
    assert head.split()[-3:] == ["generated", "real", "best"]
    for key, best, row in zip(scores, (1, 10, np.log(10), 10, 0), rows, strict=True):
        name, *numbers = re.split(r"\s{2,}", row)
        assert name == key.replace("_", " ")
        expected = [scores[key], trained.real[key], best]
        assert [float(number) for number in numbers] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_saved_classifier_is_a_judge_for_as_many_classes_as_the_data_has(saved, digits, capsys):
    path = saved(layers.Dense(8, activation="relu"), layers.Dense(10, activation="softmax"))
    loaded = judge.Judge(digits, path)
    images = mnist.as_images(digits.x_test)
    expected = keras.models.load_model(path).predict(images, verbose=0)
    np.testing.assert_allclose(loaded.read(images)[0], expected, atol=1e-6)
    assert loaded.read(images)[1].shape == (360, 8)
    assert "learns to read" not in capsys.readouterr().out
    letters = digits._replace(y_train=digits.y_train + 10)  # classes 10 to 19
    with pytest.raises(cli.UserError, match=r"not a classifier of \(None, 28, 28, 1\) into \(None, 20\)"):
        judge.Judge(letters, path)
    assert judge.Judge(letters).read(images[:5])[0].shape == (5, 20)


def test_what_cannot_judge_is_refused(saved, digits, tmp_path):
    (tmp_path / "result.json").write_text("{}")
    for path, message in (
        (saved(layers.Dense(10, bias_initializer="ones")), "its answers are no probabilities"),
        (tmp_path / "result.json", "no Keras model can be read"),
        (tmp_path / "nowhere.keras", "there is no such file; expected a classifier of"),
        (tmp_path, "a folder; name a file in it"),
    ):
        with pytest.raises(cli.UserError, match=message):
            judge.Judge(digits, path)
    for last, reads in (
        ((layers.Dense(3000), layers.Dense(10, activation="softmax")), r"\(None, 3000\)"),
        ((layers.Dense(10, activation="softmax"), layers.Reshape((1, 10)), layers.GlobalAveragePooling1D()),
         r"\(None, 1, 10\)"),
    ):  # fmt: skip
        with pytest.raises(cli.UserError, match=rf"last layer reads {reads}; a judge's reads \(None, 2048\) at most"):
            judge.Judge(digits, saved(*last))
    with pytest.raises(cli.UserError, match=r"^'': there is no such file; expected a classifier"):
        judge.Judge(digits, "")
    with pytest.raises(cli.UserError, match=r"not a classifier of .* it turns \(None, 784\) into \(None, 10\)"):
        judge.Judge(digits, saved(layers.Dense(10, activation="softmax"), inputs=(784,)))


def test_images_of_one_digit_are_one_class_without_entropy():
    judged = judge.judged(np.tile(np.eye(10)[3], (500, 1)))
    assert judged == {
        "confident_share": 1, "classes_covered": 1, "class_entropy": 0, "classifier_score": pytest.approx(1),
    }  # fmt: skip


def test_ten_clear_and_equally_frequent_digits_have_the_greatest_score():
    judged = judge.judged(np.tile(np.eye(10), (50, 1)))
    assert (judged["confident_share"], judged["classes_covered"]) == (1, 10)
    assert judged["class_entropy"] == pytest.approx(np.log(10))
    assert judged["classifier_score"] == pytest.approx(10)


def test_a_judge_that_cannot_tell_gives_the_least_score():
    judged = judge.judged(np.full((100, 10), 0.1))
    assert (judged["confident_share"], judged["classifier_score"]) == (0, pytest.approx(1))


def test_a_class_counts_from_two_percent_and_confidence_from_nine_tenths():
    labels = np.repeat([0, 1, 2], [960, 20, 19])  # 999 images: 96 %, 2.002 % and 1.9 %
    judged = judge.judged(np.eye(10)[labels])
    assert judged["classes_covered"] == 2
    believed = np.full((4, 10), 0.01)
    believed[:, 5] = [0.91, 0.9, 0.89, 0.5]
    assert judge.judged(believed)["confident_share"] == 0.5


def test_the_score_is_the_exponential_of_the_mean_divergence(rng):
    p = rng.dirichlet(np.ones(10), 300)
    expected = np.exp(np.mean([sum(p_i * np.log(p_i / q_i) for p_i, q_i in zip(row, p.mean(axis=0), strict=True))
                               for row in p]))  # fmt: skip
    assert judge.judged(p)["classifier_score"] == pytest.approx(expected)


def test_the_entropy_is_that_of_the_classes_read(rng):
    p = rng.dirichlet(np.full(10, 0.2), 300)
    counts = np.unique(p.argmax(axis=1), return_counts=True)[1] / 300
    assert judge.judged(p)["class_entropy"] == pytest.approx(-sum(f * np.log(f) for f in counts))


def test_the_distance_of_gaussians_is_the_textbooks(rng):
    a = rng.normal(size=(4000, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 6)) + 2
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert judge.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert judge.frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_what_has_no_distance_is_nan(rng):
    a = rng.normal(size=(50, 3))
    assert np.isnan(judge.frechet_distance(a, a[:1]))
    assert np.isnan(judge.frechet_distance(np.where(a == a.max(), np.nan, a), a))
    assert np.isnan(judge.frechet_distance(a, np.full_like(a, np.inf)))


def test_equal_features_are_no_distance_apart_and_a_dead_feature_does_no_harm(rng):
    a = np.c_[rng.normal(size=(500, 5)), np.zeros(500)].astype("float32")
    assert judge.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert judge.frechet_distance(a, a + 3) == pytest.approx(9 * 6, rel=1e-4)
