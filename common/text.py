"""Find, check, name and split labelled sentences: film reviews, or others of two classes."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from common import cli, docstrings, download, labelled, mnist, terminal, words

import numpy as np

REVIEWS = "film reviews"
STAND_IN = "docstrings (not film reviews)"
PACKAGES = {"matplotlib": "matplotlib", "scikit-learn": "sklearn"}  # whose docstrings are the stand-in
UNLABELLED = ("numpy", "scipy", "keras")  # whose docstrings are read for their words alone
FEWEST = 20  # sentences, of which a tenth is for the test
# SHA-256 of the sentences of either label, sorted and without all that is not ASCII: the same in Cornell's archive,
# which is in Windows-1252, and in the copies in UTF-8.
REVIEWS_SHA256 = (
    "81d59be5106c40c61bd6075f43ef9ec6f7b342b0fc65ac2d97e4e4b0ab50bacf",
    "243693c584336bf05f239158eff78b6b2258a1bb16be4b2c14a467dc87488c3b",
)


class Sentences(NamedTuple):
    """Sentences with labels 0 and 1, which stand for the two `classes`, in two parts that share no sentence."""

    train: list
    y_train: np.ndarray
    test: list
    y_test: np.ndarray
    classes: tuple
    duplicates: int
    name: str
    origin: str

    @property
    def facts(self):
        """What result.json says of the data."""
        counts = {"train_sentences": len(self.train), "test_sentences": len(self.test), "duplicates": self.duplicates}
        return {"dataset": self.name, "data_origin": self.origin, **counts, "classes": self.classes}

    @property
    def about(self):
        """What the first line of a run says of the data."""
        return (f"{len(self.train):,} training and {len(self.test):,} test sentences from {self.origin}, "
                f"{self.duplicates:,} duplicates removed")  # fmt: skip


def load(source=None, seed=0):
    """Return `Sentences`, nine tenths for training and one for the test, split at random by `seed`.

    `source` is a file or folder as `labelled.read` takes them, "docstrings" (the stand-in), "reviews" (no stand-in) or
    None: the project's data folder, the Keras cache, a download, and with no network the stand-in. The name is "film
    reviews" only where the sentences' hashes say so, else that of the file or folder.

    Raises cli.UserError for data that is missing, damaged or of another kind.
    """
    if source == "docstrings":
        found = _stand_in()
    elif source is None or source == "reviews":
        found = _search(stand_in_allowed=source is None)
    elif os.path.lexists(source):
        found = _named(Path(source))
    else:
        raise cli.UserError(f"--data {source}: not there; it takes a path, or the word reviews or docstrings")
    return _split(*found, seed)


def _split(sentences, labels, name, origin, seed):
    """Return `Sentences`: each once, split at random. Sentences with the same words count as one."""
    once = {}
    for sentence, label in zip(sentences, labels, strict=True):
        once.setdefault(" ".join(words.split(sentence)), (sentence, label))
    once.pop("", None)  # without a word
    classes = sorted({label for _, label in once.values()})
    if len(once) < FEWEST or len(classes) < 2:
        raise cli.UserError(f"{origin}: has {len(once)} different sentences with {len(classes)} different labels; "
                            f"expected {FEWEST} sentences at least, and two labels")  # fmt: skip
    kept = list(once.values())
    order = np.random.default_rng(seed).permutation(len(kept))
    test, train = (([kept[index][0] for index in part], np.array([classes.index(kept[index][1]) for index in part]))
                   for part in np.split(order, [len(kept) // 10]))  # fmt: skip
    return Sentences(*train, *test, tuple(classes), len(sentences) - len(kept), name, origin)


def _named(path):
    """Return the sentences in `path`, their labels, the data set's name, and its origin."""
    sentences, labels = labelled.read(path)
    name = path.absolute().name
    if _hashes(sentences, labels) == REVIEWS_SHA256:
        name = REVIEWS
    elif path.suffix.lower() in (".csv", ".tsv"):
        name = f"{path.stem} (not the original)" if path.stem == REVIEWS else path.stem
    else:
        name = f"{name.partition('.')[0]} (not the original)"
    return sentences, labels, name, cli.relative(path)


def _hashes(sentences, labels):
    """Return the hash of each label's sentences."""
    plain = {label: [] for label in sorted({*labels})}
    for sentence, label in zip(sentences, labels, strict=True):
        plain[label].append(b" ".join(sentence.encode("ascii", "ignore").split()))
    return tuple(hashlib.sha256(b"\n".join(sorted(lines))).hexdigest() for lines in plain.values())


def _stand_in():
    rows = [(sentence, label) for label, package in PACKAGES.items() for sentence in docstrings.sentences(package)]
    return *zip(*rows, strict=True), STAND_IN, "matplotlib and scikit-learn"


def _search(stand_in_allowed):
    cache = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "datasets")
    tried = []
    for folder in (mnist.DATA_DIR, cache):
        places = [place for place in (folder, *sorted(folder.glob("*/")))
                  if any((place / name).exists() for name in labelled.FILES)]  # fmt: skip
        for path in (*places, *folder.glob(labelled.ARCHIVE)):
            try:
                found = _named(path)
            except cli.UserError as error:
                if folder == mnist.DATA_DIR:
                    raise
                tried.append(str(error))
                continue
            if found[2] == REVIEWS or (stand_in_allowed and folder == mnist.DATA_DIR):
                return found
            tried.append(f"{cli.relative(path)}: not the {REVIEWS}")
        tried.append(f"{cli.relative(folder)}: no {labelled.ARCHIVE}, no {labelled.FILES[1]}")
    archive = mnist.DATA_DIR / labelled.ARCHIVE
    if not archive.exists():
        tried += download.fetch(REVIEWS, download.REVIEWS, mnist.DATA_DIR, _checked)
        if archive.exists():
            return _named(archive)
    advice = (f"To get them, fetch https://www.cs.cornell.edu/people/pabo/movie-review-data/{labelled.ARCHIVE} on a "
              f"machine that can and put it into {mnist.DATA_DIR}, or name your copy with --data PATH.")  # fmt: skip
    if not stand_in_allowed:
        raise cli.UserError(f"no {REVIEWS}: {'; '.join(tried)}. {advice}")
    lines = [f"warning: no {REVIEWS} here, so this run uses {STAND_IN}.", *(f"tried {line}" for line in tried), advice]
    terminal.tell("\n  ".join(lines))
    return _stand_in()


def _checked(folder):
    """Return the archive among downloaded files. Raises ValueError where it holds other sentences."""
    archive = folder / labelled.ARCHIVE
    if _named(archive)[2] != REVIEWS:
        raise ValueError("it holds other sentences")
    return archive


def unlabelled(data):
    """Return sentences (lists of words) of other docstrings, none of which is in either part of `data`."""
    own = {tuple(words.split(sentence)) for sentence in (*data.train, *data.test)}
    found = (words.split(sentence) for package in UNLABELLED for sentence in docstrings.sentences(package))
    return [sentence for sentence in found if tuple(sentence) not in own]
