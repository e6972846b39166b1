"""Find, name and split labelled sentences: film reviews, or others of two classes."""

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

from common import cli
from common.data import download
from common.text import docstrings, tables
from common.text.word_vectors import split

import numpy as np

REVIEWS = "film reviews"
REVIEWS_SHA256 = "fc44cba596efccdbf5f470d7e56f36b6bce8160e2a659981a9b691dc96f77093"  # as `sha256` returns it
FEWEST = 20  # sentences, of which a tenth is for the test


class Sentences(NamedTuple):
    """Sentences with labels 0 and 1, which stand for the two `classes`, in two parts that share no sentence."""

    train: list
    y_train: np.ndarray
    test: list
    y_test: np.ndarray
    classes: list
    name: str
    origin: str

    @property
    def facts(self):
        """What result.json says of the data."""
        counts = {"train_sentences": len(self.train), "test_sentences": len(self.test), "classes": self.classes}
        return {"dataset": self.name, "data_origin": self.origin, **counts}

    @property
    def about(self):
        """What the first line of a run says of the data."""
        return f"{len(self.train):,} training and {len(self.test):,} test sentences from {self.origin}"


def load(source=None, seed=0):
    """Return `Sentences`, nine tenths for training and one for the test, split at random by `seed`.

    `source` is a file or folder as `tables.read` takes them, "docstrings" (the stand-in), "reviews" (no stand-in) or
    None: the project's data folder, the Keras cache, a download, or else the stand-in. Raises cli.UserError.
    """
    if source == "docstrings":
        return _stand_in(seed)
    if source in (None, "reviews"):
        stand_in = functools.partial(_stand_in, seed) if source is None else None
        return download.search(REVIEWS, functools.partial(read, seed=seed), download.REVIEWS, "", stand_in)
    try:
        return read(Path(source), seed)
    except FileNotFoundError as error:
        raise cli.UserError(f"--data {error}; it takes a file, a folder, or the word docstrings or reviews") from None


def read(path, seed=0):
    """Return the `Sentences` in a file or folder. Raises FileNotFoundError for none, cli.UserError for a bad file."""
    archive, file = tables.ARCHIVE, tables.FILES["positive"]
    places = [path, *path.glob(archive), *path.glob(file), *path.glob(f"*/{file}")]
    found = [place for place in places if place.is_file()]
    if not found:
        raise FileNotFoundError(f"{cli.relative(path)}: not there, or a folder with no {archive} and no {file}")
    place = found[0].parent if found[0].name == file else found[0]
    rows = tables.read(place)
    if sha256(rows) == REVIEWS_SHA256:
        name = REVIEWS
    elif place.suffix.lower() in tables.TABLES and place.stem != REVIEWS:
        name = place.stem
    else:
        name = f"{place.absolute().name} (not the original)"
    return _divide(rows, name, cli.relative(place), seed)


def sha256(rows):
    """Return the hash of the sentences, sorted by label, and without what is not ASCII: no encoding counts."""
    plain = sorted((label, sentence.encode("ascii", "ignore").split()) for label, sentence in rows)
    return hashlib.sha256(b"\n".join(b" ".join(words) for _, words in plain)).hexdigest()


def _stand_in(seed):
    rows = []
    for label, package in (("matplotlib", "matplotlib"), ("scikit-learn", "sklearn")):
        rows += [(label, sentence) for sentence in docstrings.sentences(package)]
    return _divide(rows, "docstrings (not film reviews)", "matplotlib and scikit-learn", seed)


def _divide(rows, name, origin, seed):
    """Return `Sentences`, each of them once: those with the same words count as one."""
    once = {}
    for label, sentence in rows:
        once.setdefault(" ".join(split(sentence)), (label, sentence))
    once.pop("", None)  # without a word
    kept = list(once.values())
    classes = sorted({label for label, _ in kept})
    if len(kept) < FEWEST or len(classes) < 2:
        raise cli.UserError(f"{origin}: {len(kept)} different sentences; expected at least {FEWEST}, with two labels")
    order = np.random.default_rng(seed).permutation(len(kept))
    x = [kept[index][1] for index in order]
    y = np.array([classes.index(kept[index][0]) for index in order])
    tests = len(kept) // 10
    return Sentences(x[tests:], y[tests:], x[:tests], y[:tests], classes, name, origin)


def unlabelled(data):
    """Return sentences (lists of words) of other docstrings, none of which is in either part of `data`."""
    own = {*data.train, *data.test}
    found = [sentence for package in ("numpy", "scipy", "keras") for sentence in docstrings.sentences(package)]
    return [split(sentence) for sentence in found if sentence not in own]
