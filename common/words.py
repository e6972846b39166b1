"""Words and their vectors: the words of a sentence, a vocabulary, and vectors learned from text or read from a file."""

import itertools
import re
import unicodedata
from collections import Counter

from common import cli

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

CHARACTERS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese, Japanese: no spaces, so
# each is a word. Else a word is a run of letters and digits, with its apostrophe; a punctuation mark is one as well.
WORD = re.compile(rf"[{CHARACTERS}]|[^\W{CHARACTERS}]+(?:['\u2019][^\W{CHARACTERS}]+)*|[^\w\s]")
PADDING, UNKNOWN, FIRST = 0, 1, 2  # row 0 is masked, row 1 stands for every other word, the vocabulary begins at row 2
WINDOW = 4  # words on either side that count as neighbours
MOST_NUMBERS = 10_000  # in a vector of a file
FLATTER = 0.75  # power of a neighbour's frequency: PMI overrates rare ones (Levy, Goldberg and Dagan 2015)


def split(sentence):
    """Return the words of a sentence, in lower case."""
    return WORD.findall(unicodedata.normalize("NFC", sentence).lower())


def vocabulary(sentences, most, at_least=2):
    """Return {word: row}, the `most` frequent words that the sentences (lists of words) hold `at_least` times."""
    counts = Counter(word for words in sentences for word in words)
    return {word: FIRST + row for row, (word, count) in enumerate(counts.most_common(most)) if count >= at_least}


def encode(sentences, rows, length):
    """Return sentences (lists of words) as int32 (count, length): rows of the embedding matrix, then padding."""
    codes = np.full((len(sentences), length), PADDING, "int32")
    for code, words in zip(codes, sentences, strict=True):
        words = words[:length]
        code[: len(words)] = [rows.get(word, UNKNOWN) for word in words]
    return codes


def learn(sentences, rows, dimension, seed=0):
    """Return float32 (words + 2, dimension): vectors of length 1 by which words with like neighbours are alike.

    Positive pointwise mutual information, PPMI = max(0, log(p(word, neighbour) / (p(word) p(neighbour)))), with a
    flattened p(neighbour), and its truncated singular value decomposition (Levy and Goldberg 2014). No label is used.
    Words without a neighbour are 0.
    """
    size = len(rows) + FIRST
    padded = [code for words in sentences for code in (*(rows.get(word, 0) for word in words), *[0] * WINDOW)]
    codes = np.array(padded or [0])
    counts = sparse.csr_matrix((size, size))
    for distance in range(1, min(WINDOW, len(codes) - 1) + 1):
        left, right = codes[:-distance], codes[distance:]
        known = (left > 0) & (right > 0)
        ones = np.ones(known.sum())
        counts += sparse.csr_matrix((ones, (left[known], right[known])), (size, size))
    counts = (counts + counts.T).tocoo()
    totals = np.asarray(counts.sum(axis=1)).ravel()
    neighbours = totals**FLATTER / max(1, np.sum(totals**FLATTER))
    information = np.log(counts.data / (totals[counts.row] * neighbours[counts.col]))
    ppmi = sparse.csr_matrix((np.maximum(0, information), (counts.row, counts.col)), (size, size))
    left, values, _ = randomized_svd(ppmi, min(dimension, size), random_state=seed)
    vectors = (totals > 0)[:, None] * left * np.sqrt(values)  # else rounding would give a direction to nothing
    return _unit(np.pad(vectors, [(0, 0), (0, dimension - len(values))]))


def _unit(vectors):
    """Return the vectors with length 1, the unknown word's as their mean; a zero stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norms > 0, norms, 1)
    vectors[UNKNOWN] = vectors[FIRST:].mean(axis=0) if len(vectors) > FIRST else 0
    return vectors.astype("float32")


def random(rows, dimension, seed=0):
    """Return float32 (words + 2, dimension): vectors of length 1 in random directions."""
    vectors = np.random.default_rng(seed).standard_normal((len(rows) + FIRST, dimension))
    vectors[PADDING] = 0
    return _unit(vectors)


def read(path, rows):
    """Return float32 (words + 2, dimension) from a text file of GloVe or word2vec.

    A line holds a word and its numbers; word2vec's first line tells how many of both there are. The vectors get length
    1; a word that the file lacks is 0.

    Raises cli.UserError for a file of another kind.
    """
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            first = file.readline().split()
            header = len(first) == 2
            dimension = int(first[1]) if header else len(first) - 1
            if not 1 <= dimension <= MOST_NUMBERS:
                raise ValueError("line 1 holds no word with its numbers")
            vectors = np.zeros((len(rows) + FIRST, dimension))
            lines = file if header else itertools.chain([" ".join(first)], file)
            for number, line in enumerate(lines, start=1 + header):
                row = rows.get(line[: max(0, line.find(" "))].lower())
                if row is None or vectors[row].any():  # the first spelling counts: that in lower case, as a rule
                    continue
                word, *numbers = line.rstrip().rsplit(" ", dimension)
                if " " in word:  # GloVe has words such as ". . ."
                    continue
                try:
                    vectors[row] = np.array(numbers, float).reshape(dimension)
                except ValueError:
                    raise ValueError(f"line {number} holds no {dimension} numbers after its word") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = "no text in UTF-8"
        raise cli.UserError(f"--vectors {path}: {reason}; expected a text file of GloVe or word2vec") from None
    if not vectors.any() or not np.isfinite(vectors).all():
        reason = "holds numbers that are not finite" if vectors.any() else "knows none of the words"
        raise cli.UserError(f"--vectors {path}: {reason}")
    return _unit(vectors)


def neighbours(word, rows, vectors, count):
    """Return the `count` words whose vectors point most nearly in the direction of the word's; none of a zero."""
    if not vectors[rows[word]].any():
        return []
    lengths = np.linalg.norm(vectors, axis=1) + 1e-9
    cosines = vectors @ vectors[rows[word]] / lengths
    cosines[[PADDING, UNKNOWN, rows[word]]] = -np.inf
    names = list(rows)
    return [names[row - FIRST] for row in np.argsort(-cosines, kind="stable")[: min(count, len(rows) - 1)]]
