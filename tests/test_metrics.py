import random

from common import mnist
from common.data import download
from common.generative import metrics

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm
from tensorflow import keras


@pytest.fixture(scope="module")
def digits():
    return mnist.load_mnist("digits")


@pytest.fixture(scope="module")
def judge(digits, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "DATA_DIR", tmp_path_factory.mktemp("data"))
        return metrics.Judge(digits)


def drawn_next():
    """Return a number from every source of random numbers that a lesson may use."""
    order = tf.data.Dataset.range(1000).shuffle(1000)
    weights = keras.layers.Dense(1)(np.ones((1, 3), "float32"))
    numbers = keras.random.uniform(()), tf.random.uniform(()), next(iter(order)), weights[0, 0]
    return [random.random(), np.random.rand(), *map(float, numbers)]


def test_the_judge_learns_to_read(judge, digits):
    images = mnist.as_images(digits.x_test)
    probabilities, features = judge.read(images)
    assert (probabilities.shape, features.shape) == ((360, 10), (360, 64))
    assert judge.accuracy == np.mean(probabilities.argmax(axis=1) == digits.y_test) > 0.85
    assert judge.agreement(images, digits.y_test) == judge.accuracy


def test_it_is_trained_once_and_neither_follows_a_runs_seed_nor_changes_its_random_numbers(digits, capsys, tmp_path):
    few = digits._replace(x_train=digits.x_train[:100], y_train=digits.y_train[:100])
    real, drawn = [], []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        real.append(metrics.Judge(few).real)
        drawn.append(drawn_next())
    assert capsys.readouterr().out.count("learns to read") == 1, "the second time it is loaded"
    keras.utils.set_random_seed(7)
    assert drawn[0] == drawn[1] == drawn_next(), "neither has drawn a number"
    (path,) = (tmp_path / "data").iterdir()
    path.unlink()
    keras.utils.set_random_seed(8)
    assert real[0] == real[1] == metrics.Judge(few).real


def test_other_classes_get_another_judge(judge, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "DATA_DIR", tmp_path / "data")
    letters = digits._replace(x_train=digits.x_train[:100], y_train=digits.y_train[:100] + 10)  # classes 10 to 19
    probabilities, _ = metrics.Judge(letters).read(np.zeros((5, 28, 28, 1)))
    assert probabilities.shape == (5, 20)


def test_real_images_are_near_and_noise_is_not(judge, digits, rng):
    real = judge.scores(mnist.as_images(digits.x_train))
    noise = judge.scores(rng.uniform(0, 1, (500, 28, 28, 1)))
    one = judge.scores(np.repeat(mnist.as_images(digits.x_train[:1]), 500, axis=0))
    assert (real["classes_covered"], one["classes_covered"]) == (10, 1)
    assert (real["classifier_score"] > 7, one["classifier_score"]) == (True, pytest.approx(1, abs=0.01))
    near = max(real["frechet_distance"], judge.real["frechet_distance"])
    assert 10 * near < min(noise["frechet_distance"], one["frechet_distance"])


def test_the_floor_is_the_distance_of_two_halves_of_the_test_images(judge, digits):
    images = mnist.as_images(digits.x_test)
    scores = judge.scores(images)
    assert scores.pop("frechet_distance") == pytest.approx(0, abs=1e-3), "from themselves"
    assert scores == pytest.approx({key: judge.real[key] for key in scores})
    _, features = judge.read(images)
    halves = np.split(np.random.default_rng(0).permutation(features), 2)
    assert judge.real["frechet_distance"] == pytest.approx(metrics.frechet_distance(*halves), rel=1e-3)


def test_images_that_are_no_numbers_get_no_score(judge):
    scores = judge.scores(np.full((20, 28, 28, 1), np.nan, "float32"), order=np.zeros(20))
    assert np.isnan([scores[key] for key in ("classifier_score", "frechet_distance", "ordered_digit_right")]).all()


def test_the_score_is_the_exponential_of_the_mean_divergence_from_1_to_10(rng):
    p = rng.dirichlet(np.ones(10), 300)
    divergences = [sum(row * np.log(row / p.mean(axis=0))) for row in p]
    assert metrics.judged(p)["classifier_score"] == pytest.approx(np.exp(np.mean(divergences)))
    one = metrics.judged(np.tile(np.eye(10)[3], (500, 1)))
    assert one == {"confident_fraction": 1, "classes_covered": 1, "classifier_score": pytest.approx(1)}
    ten = metrics.judged(np.tile(np.eye(10), (50, 1)))
    assert ten == {"confident_fraction": 1, "classes_covered": 10, "classifier_score": pytest.approx(10)}


def test_a_class_counts_from_two_percent_and_confidence_from_nine_tenths():
    labels = np.repeat([0, 1, 2], [960, 20, 19])  # 999 images: 96 %, 2.002 % and 1.9 %
    assert metrics.judged(np.eye(10)[labels])["classes_covered"] == 2
    believed = np.full((4, 10), 0.01)
    believed[:, 5] = [0.91, 0.9, 0.89, 0.5]
    assert metrics.judged(believed)["confident_fraction"] == 0.5


def test_the_distance_of_gaussians_is_the_textbooks(rng):
    a = rng.normal(size=(4000, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 6)) + 2
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert metrics.frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_equal_features_are_no_distance_apart_a_dead_one_does_no_harm_and_nan_is_no_distance(rng):
    a = np.c_[rng.normal(size=(500, 5)), np.zeros(500)].astype("float32")
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet_distance(a, a + 3) == pytest.approx(9 * 6, rel=1e-4)
    for other in (a[:1], np.where(a == a.max(), np.nan, a), np.full_like(a, np.inf)):
        assert np.isnan(metrics.frechet_distance(a, other))
