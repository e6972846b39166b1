"""A measuring instrument, and so the one room of common/ that builds and fits a model: it judges generated digits."""

import math

from common import cli, mnist, saved

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

MOST_FEATURES = 2048  # a Frechet distance of so many takes 4 s, and time goes with their third power
EPOCHS, LEAST_STEPS = 4, 100  # of its training: more epochs where few images make few steps


class Judge:
    """A classifier of images (count, 28, 28, 1) in [0, 1].

    `accuracy` is the fraction of the test images that it reads correctly. `real` are the scores of the test images; its
    Frechet distance is that of as many training images from them, the floor for generated ones.
    """

    def __init__(self, digits, path=None):
        """Train a small classifier on `digits`, or load the one in the file `path`, such as cnn_mnist.py's model.keras.

        Raises cli.UserError where `path` is no classifier of these classes.
        """
        model = train_judge(digits) if path is None else load_judge(path, digits.num_classes)
        self._model = keras.Model(model.inputs, [model.outputs[0], model.layers[-1].input])
        probabilities, self._features = self.read(mnist.as_images(digits.x_test))
        self.accuracy = np.mean(probabilities.argmax(axis=1) == digits.y_test)
        note = "" if self.accuracy >= 0.99 else "; below 99 % its scores mean less"
        print(f"judge: reads {self.accuracy:.2%} of the test images correctly{note}", flush=True)
        chosen = np.random.default_rng(0).permutation(len(digits.x_train))[: len(digits.x_test)]
        floor = self.scores(mnist.as_images(digits.x_train[chosen]))["frechet_distance"]
        self.real = {**judged(probabilities), "frechet_distance": floor}

    def read(self, images):
        """Return probabilities (count, classes), and features (count, 64): what the classifier's last layer reads."""
        return self._model.predict(images, batch_size=500, verbose=0)

    def scores(self, images, order=None):
        """Return what `judged` says of the images, and their Frechet distance from the test images.

        Where `order` (count,) tells which digits were to be painted, also in what fraction they are read.
        """
        probabilities, features = self.read(images)
        diverged = not np.isfinite(images).all()  # relu may turn nan into 0, which would get a score
        obeyed = {} if order is None else {
            "ordered_digit_right": np.nan if diverged else np.mean(probabilities.argmax(axis=1) == order)}  # fmt: skip
        if diverged:
            probabilities, features = np.nan * probabilities, np.nan * features
        return {**judged(probabilities), "frechet_distance": frechet_distance(features, self._features), **obeyed}

    def agreement(self, images, labels):
        """Return the fraction of the images that it reads as their `labels`, (count,); nan where training diverged."""
        return np.mean(self.read(images)[0].argmax(axis=1) == labels) if np.isfinite(images).all() else np.nan

    def compare(self, **scores):
        """Print a table with a column for each of `scores`, for real images, and for the best that there can be."""
        classes = self._model.outputs[0].shape[1]
        best = dict(zip(self.real, (1, classes, math.log(classes), classes, 0), strict=True))
        columns = {**scores, "real": self.real, "best": best}
        print(f"\n{'the judge says':20}" + "".join(f"{name:>12}" for name in columns))
        for key in self.real:
            print(f"{key.replace('_', ' '):20}" + "".join(f"{column[key]:12.4g}" for column in columns.values()))


def train_judge(digits):
    """Return a classifier trained on the training images, in half a minute on 2 cores."""
    print("judge: a small classifier learns to read the digits, in up to a minute", flush=True)
    judge = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(24, 3, activation="relu"),  # (26, 26, 24)  240 = 24 x (3*3*1 + 1)
        layers.MaxPooling2D(2),  # (13, 13, 24)
        layers.Conv2D(48, 3, activation="relu"),  # (11, 11, 48)  10,416 = 48 x (3*3*24 + 1)
        layers.MaxPooling2D(2),  # (5, 5, 48)
        layers.Flatten(),  # (1200,)
        layers.Dense(64, activation="relu"),  # (64,)  76,864 = 1200 x 64 + 64
        layers.Dense(digits.num_classes, activation="softmax"),  # (10,)  650 = 64 x 10 + 10
    ])  # fmt: skip
    per_epoch = math.ceil(len(digits.x_train) / 128)  # 469 batches
    epochs = max(EPOCHS, math.ceil(LEAST_STEPS / per_epoch))
    steps = epochs * per_epoch  # the learning rate climbs for a quarter of them, then falls to zero
    rate = keras.optimizers.schedules.CosineDecay(1e-4, 0.75 * steps, warmup_target=3e-3, warmup_steps=0.25 * steps)
    judge.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(rate))
    judge.fit(mnist.as_images(digits.x_train), digits.y_train, batch_size=128, epochs=epochs, verbose=0)
    return judge


def load_judge(path, num_classes):
    """Return the classifier in the file `path`. Raises cli.UserError where there is none."""
    expected = (None, 28, 28, 1), (None, num_classes)
    judge = saved.load_model(path, "a classifier of {} into {}".format(*expected), lambda *shapes: shapes == expected)
    if not np.allclose(np.sum(judge.predict(np.zeros((1, 28, 28, 1)), verbose=0)), 1, atol=1e-3):
        raise cli.UserError(f"{path}: its answers are no probabilities; a judge ends in a softmax")
    features = getattr(judge.layers[-1].input, "shape", ())  # what its last layer reads, in which images are compared
    if len(features) != 2 or features[1] > MOST_FEATURES:
        raise cli.UserError(f"{path}: its last layer reads {features}; a judge's reads (None, {MOST_FEATURES}) at most")
    return judge


def judged(probabilities):
    """Return what a classifier's answers say of many images; `probabilities` is (count, classes), each row's sum 1.

    - confident_share: fraction of the images that it is confident of, with 0.9 or more for one class
    - classes_covered: number of classes that get at least a fifth of an equal share: of ten classes, 2 % of the images
    - class_entropy: of the classes' fractions, in nats; at most ln 10 = 2.303, where ten are equally frequent
    - classifier_score: the Inception score with this classifier, exp(mean KL(p(class | image) || p(class))). It is 1
      if every image looks alike, 10 if each is clearly one of ten equally frequent classes (Salimans et al. 2016).
    """
    fractions = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1]) / len(probabilities)
    p = np.maximum(probabilities.astype("float64"), 1e-12)
    return {
        "confident_share": np.mean(probabilities.max(axis=1) >= 0.9),
        "classes_covered": int(np.sum(fractions >= 0.2 / len(fractions))),
        "class_entropy": np.sum(fractions * np.log(1 / np.maximum(fractions, 1e-12))),
        "classifier_score": np.exp(np.mean(np.sum(p * np.log(p / p.mean(axis=0)), axis=1))),
    }


def frechet_distance(a, b):
    """Return the Frechet distance of two sets of features, (count, features) each, as if both were Gaussian.

    |mean(a) - mean(b)|^2 + trace(cov(a) + cov(b) - 2 (cov(a) cov(b))^(1/2)), from Heusel et al. 2017: 0 for equal
    means and covariances, nan for fewer than two images and for features that are not finite. Numbers compare only for
    the same classifier and the same counts.
    """
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.nan
    a, b = a.astype("float64"), b.astype("float64")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    overlap = np.linalg.eigvals(cov_a @ cov_b).real  # not negative, but for rounding
    distance = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return distance + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sum(np.sqrt(np.maximum(overlap, 0)))
