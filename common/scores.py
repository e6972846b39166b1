"""How good are generated digits? A classifier's answers to them, as numbers."""

import numpy as np


def judged(probabilities):
    """Return what a classifier says of many images; `probabilities` is (count, 10), a row of 10 with the sum 1 each.

    - confident_share: how many of the images it is sure of (0.9 or more for one class), from 0 to 1
    - classes_covered: how many classes have at least 2 % of the images
    - class_entropy: of the shares of the classes, in nats; at most ln 10 = 2.303, where all have the same
    - classifier_score: the Inception score with this classifier, exp(mean KL(p(class | image) || p(class))). It is 1
      if every image looks alike, 10 if each is clearly one of ten equally frequent classes (Salimans et al. 2016).
    """
    shares = np.bincount(probabilities.argmax(axis=1), minlength=10) / len(probabilities)
    present = shares[shares > 0]
    p = np.clip(probabilities.astype("float64"), 1e-12, None)
    divergence = np.sum(p * np.log(p / p.mean(axis=0)), axis=1)  # (count,)
    return {
        "confident_share": np.mean(probabilities.max(axis=1) >= 0.9),
        "classes_covered": int(np.sum(shares >= 0.02)),
        "class_entropy": np.sum(present * np.log(1 / present)),
        "classifier_score": np.exp(divergence.mean()),
    }


def frechet_distance(a, b):
    """Return the Frechet distance of two sets of features, (count, features) each, as if both were Gaussian.

    |mean(a) - mean(b)|^2 + trace(cov(a) + cov(b) - 2 (cov(a) cov(b))^(1/2)), from Heusel et al. 2017: 0 for equal
    means and covariances. Numbers compare only for the same classifier and the same counts. nan where it is undefined:
    for less than two images, or features that are no numbers.
    """
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.nan
    a, b = a.astype("float64"), b.astype("float64")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T  # cov(a)^(1/2)
    overlap = np.linalg.eigvalsh(root @ cov_b @ root)  # has the eigenvalues of cov(a) cov(b), and is symmetric
    distance = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return distance + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sum(np.sqrt(np.maximum(overlap, 0)))
