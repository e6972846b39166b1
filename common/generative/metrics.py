"""How good generated digits are, said by a judge: a classifier of real ones, the one network that common/ trains."""

import hashlib
import math

from common import mnist
from common.data import download, files
from common.training.schedules import one_cycle

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS, LEAST_STEPS = 4, 100  # of the judge's training: more epochs where few images make few steps


class Judge:
    """A classifier of images (count, 28, 28, 1) in [0, 1]; its `accuracy` is that on the test images.

    `real` are the scores of the test images; their Frechet distance, of one random half from the other, is the floor.
    """

    def __init__(self, digits):
        """Load the judge for these training images from the data folder; the first time, train and keep it."""
        content = digits.x_train.tobytes() + digits.y_train.tobytes()
        path = download.DATA_DIR / f"judge-{hashlib.sha256(content).hexdigest()[:8]}.keras"
        if path.exists():
            model = keras.models.load_model(path, compile=False)
        else:
            model = train_judge(digits)
            path.parent.mkdir(exist_ok=True)
            with files.whole(path) as partial:
                model.save(partial)
        self._model = keras.Model(model.inputs, [model.outputs[0], model.layers[-1].input])
        probabilities, self._features = self.read(mnist.as_images(digits.x_test))
        self.accuracy = np.mean(probabilities.argmax(axis=1) == digits.y_test)
        print(f"judge: reads {self.accuracy:.2%} of the test images; below 99 % its scores mean less", flush=True)
        one, other = np.array_split(np.random.default_rng(0).permutation(self._features), 2)
        self.real = {**judged(probabilities), "frechet_distance": frechet_distance(one, other)}

    def read(self, images):
        """Return probabilities (count, classes), and features (count, 64): what the classifier's last layer reads."""
        return self._model.predict(images, batch_size=500, verbose=0)

    def scores(self, images, order=None):
        """Return what `judged` says of the images, and their Frechet distance from the test images.

        With `order`, the digits (count,) that were to be painted, also the fraction of images that are read as these.
        """
        probabilities, features = self.read(images)
        if not np.isfinite(images).all():  # relu may turn nan into 0, which would get a score
            probabilities, features = np.nan * probabilities, np.nan * features
        scores = {**judged(probabilities), "frechet_distance": frechet_distance(features, self._features)}
        return scores if order is None else {**scores, "ordered_digit_right": self.agreement(images, order)}

    def agreement(self, images, labels):
        """Return the fraction of the images that it reads as their `labels`, (count,); nan where training diverged."""
        probabilities, _ = self.read(images)
        return np.mean(probabilities.argmax(axis=1) == labels) if np.isfinite(images).all() else np.nan

    def compare(self, **scores):
        """Print a table with a column for each of `scores`, and one for real images."""
        columns = {**scores, "real": self.real}
        print(f"\n{'the judge says':20}" + "".join(f"{name:>12}" for name in columns))
        for key in self.real:
            print(f"{key.replace('_', ' '):20}" + "".join(f"{column[key]:12.4g}" for column in columns.values()))


def train_judge(digits):
    """Return a classifier trained on the images. It moves no random state, so a lesson's numbers do not change."""
    print("judge: a small classifier learns to read the digits, once, in up to a minute", flush=True)
    first, second, third, last = (keras.initializers.GlorotUniform(seed) for seed in range(4))
    judge = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(24, 3, activation="relu", kernel_initializer=first),  # (26, 26, 24)  240 = 24 x (3*3*1 + 1)
        layers.MaxPooling2D(2),  # (13, 13, 24)
        layers.Conv2D(48, 3, activation="relu", kernel_initializer=second),  # (11, 11, 48)  10,416 = 48 x (3*3*24 + 1)
        layers.MaxPooling2D(2),  # (5, 5, 48)
        layers.Flatten(),  # (1200,)
        layers.Dense(64, activation="relu", kernel_initializer=third),  # (64,)  76,864 = 1200 x 64 + 64
        layers.Dense(digits.num_classes, activation="softmax", kernel_initializer=last),  # (10,)  650 = 64 x 10 + 10
    ])
    per_epoch = math.ceil(len(digits.x_train) / 128)  # 469 batches
    epochs = max(EPOCHS, math.ceil(LEAST_STEPS / per_epoch))
    rate = one_cycle(3e-3, epochs * per_epoch, warmup=0.25, start=1e-4)
    judge.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(rate))
    images, rng = mnist.as_images(digits.x_train), np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        judge.fit(images[order], digits.y_train[order], batch_size=128, shuffle=False, verbose=0)
    return judge


def judged(probabilities):
    """Return what a classifier's answers say of many images; `probabilities` is (count, classes), each row's sum 1.

    - confident_fraction: of the images, those of which it is confident, with 0.9 or more for one class
    - classes_covered: classes of which at least a fifth of the average count is read: of ten, 2 % of the images
    - classifier_score: the Inception score with this classifier, exp(mean KL(p(class | image) || p(class))). It is 1
      if every image looks alike, 10 if each is clearly one of ten equally frequent classes (Salimans et al. 2016).
    """
    fractions = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1]) / len(probabilities)
    p = np.maximum(probabilities.astype("float64"), 1e-12)
    return {
        "confident_fraction": np.mean(probabilities.max(axis=1) >= 0.9),
        "classes_covered": int(np.sum(fractions >= 0.2 / len(fractions))),
        "classifier_score": np.exp(np.mean(np.sum(p * np.log(p / p.mean(axis=0)), axis=1))),
    }


def frechet_distance(a, b):
    """Return the Frechet distance of two sets of features, (count, features) each, as if both were Gaussian.

    |mean(a) - mean(b)|^2 + trace(cov(a) + cov(b) - 2 (cov(a) cov(b))^(1/2)), from Heusel et al. 2017: 0 for equal means
    and covariances, nan for too few images or nan in one. It compares only for the same classifier and counts.
    """
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.nan
    a, b = a.astype("float64"), b.astype("float64")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    overlap = np.linalg.eigvals(cov_a @ cov_b).real  # not negative, but for rounding
    distance = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return distance + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sum(np.sqrt(np.maximum(overlap, 0)))
