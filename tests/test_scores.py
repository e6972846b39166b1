from common import scores

import numpy as np
import pytest
from scipy.linalg import sqrtm

RNG = np.random.default_rng(0)


def test_images_of_one_digit_are_one_class_without_entropy():
    judged = scores.judged(np.tile(np.eye(10)[3], (500, 1)))
    assert judged == {
        "confident_share": 1, "classes_covered": 1, "class_entropy": 0, "classifier_score": pytest.approx(1),
    }  # fmt: skip


def test_ten_clear_and_equally_frequent_digits_have_the_greatest_score():
    judged = scores.judged(np.tile(np.eye(10), (50, 1)))
    assert (judged["confident_share"], judged["classes_covered"]) == (1, 10)
    assert judged["class_entropy"] == pytest.approx(np.log(10))
    assert judged["classifier_score"] == pytest.approx(10)


def test_a_judge_that_cannot_tell_gives_the_least_score():
    judged = scores.judged(np.full((100, 10), 0.1))
    assert (judged["confident_share"], judged["classifier_score"]) == (0, pytest.approx(1))


def test_shares_count_from_two_percent_and_confidence_from_nine_tenths():
    labels = np.repeat([0, 1, 2], [960, 20, 19])  # 999 images: 96 %, 2.002 % and 1.9 %
    judged = scores.judged(np.eye(10)[labels])
    assert judged["classes_covered"] == 2
    believed = np.full((4, 10), 0.01)
    believed[:, 5] = [0.91, 0.9, 0.89, 0.5]
    assert scores.judged(believed)["confident_share"] == 0.5


def test_the_score_is_the_exponential_of_the_mean_divergence():
    p = RNG.dirichlet(np.ones(10), 300)
    expected = np.exp(np.mean([sum(p_i * np.log(p_i / q_i) for p_i, q_i in zip(row, p.mean(axis=0), strict=True))
                               for row in p]))  # fmt: skip
    assert scores.judged(p)["classifier_score"] == pytest.approx(expected)


def test_the_distance_of_gaussians_is_the_textbooks():
    a = RNG.normal(size=(4000, 6)) @ RNG.normal(size=(6, 6))
    b = RNG.normal(size=(3000, 6)) @ RNG.normal(size=(6, 6)) + 2
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert scores.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert scores.frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_what_has_no_distance_is_nan():
    a = RNG.normal(size=(50, 3))
    assert np.isnan(scores.frechet_distance(a, a[:1]))
    assert np.isnan(scores.frechet_distance(np.where(a > 2, np.nan, a), a)) == bool((a > 2).any())
    assert np.isnan(scores.frechet_distance(a, np.full_like(a, np.inf)))


def test_equal_features_are_no_distance_apart_and_a_dead_feature_does_no_harm():
    a = np.c_[RNG.normal(size=(500, 5)), np.zeros(500)].astype("float32")
    assert scores.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert scores.frechet_distance(a, a + 3) == pytest.approx(9 * 6, rel=1e-4)
