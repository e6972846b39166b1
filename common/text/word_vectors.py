"""The words of a sentence, a vocabulary, and the words' vectors: learned from text, or random."""

import re
import unicodedata
from collections import Counter

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd
from tensorflow import keras

CHINESE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Japanese too: a character is a word
WORD = re.compile(rf"[{CHINESE}]|[^\W{CHINESE}]+(?:['\u2019][^\W{CHINESE}]+)*|[^\w\s]")  # so is a punctuation mark
PADDING, UNKNOWN, FIRST = 0, 1, 2  # row 0 is masked, row 1 stands for every other word, the vocabulary begins at row 2
WINDOW = 4  # words on either side that count as neighbours
FLATTER = 0.75  # power of a neighbour's frequency: PMI overrates rare ones (Levy, Goldberg and Dagan 2015)


def split(sentence):
    """Return the words of a sentence, in lower case."""
    return WORD.findall(unicodedata.normalize("NFC", sentence).lower())


def vocabulary(sentences, most):
    """Return {word: row}, the `most` frequent words that the sentences (lists of words) hold more than once."""
    counts = Counter(word for words in sentences for word in words)
    return {word: FIRST + row for row, (word, count) in enumerate(counts.most_common(most)) if count > 1}


def encode(sentences, rows, length):
    """Return sentences (lists of words) as int32 (count, length): rows of the embedding matrix, then padding."""
    codes = []
    for words in sentences:
        codes.append([rows.get(word, UNKNOWN) for word in words])
    return keras.utils.pad_sequences(codes, length, padding="post", truncating="post", value=PADDING)


def learn(sentences, rows, dimension, seed=0):
    """Return float32 (words + 2, dimension): vectors of length 1; words with similar neighbours get similar ones.

    Positive pointwise mutual information, PPMI = max(0, log(p(word, neighbour) / (p(word) p(neighbour)))), with a
    flattened p(neighbour), and its truncated singular value decomposition (Levy and Goldberg 2014). No label is used.
    Words without a neighbour are 0.
    """
    size = len(rows) + FIRST
    codes = []
    for words in sentences:
        codes += [rows.get(word, 0) for word in words] + [0] * WINDOW  # no word has neighbours in another sentence
    codes = np.array(codes, int)
    counts = sparse.csr_matrix((size, size))  # how often the one word stands at most WINDOW words before the other
    for distance in range(1, WINDOW + 1):
        left, right = codes[:-distance], codes[distance:]
        known = (left > 0) & (right > 0)
        counts += sparse.csr_matrix((np.ones(known.sum()), (left[known], right[known])), (size, size))
    counts = (counts + counts.T).tocoo()  # before or after it
    totals = np.asarray(counts.sum(axis=1)).ravel()
    neighbours = totals**FLATTER / max(1, np.sum(totals**FLATTER))
    information = np.log(counts.data / (totals[counts.row] * neighbours[counts.col]))
    ppmi = sparse.csr_matrix((np.maximum(0, information), (counts.row, counts.col)), (size, size))
    left, values, _ = randomized_svd(ppmi, min(dimension, size), random_state=seed)
    vectors = (totals > 0)[:, None] * left * np.sqrt(values)  # else rounding would give a direction to nothing
    return _unit(np.pad(vectors, [(0, 0), (0, dimension - len(values))]))


def random(rows, dimension, seed=0):
    """Return float32 (words + 2, dimension): vectors of length 1 in random directions."""
    vectors = np.random.default_rng(seed).standard_normal((len(rows) + FIRST, dimension))
    vectors[PADDING] = 0
    return _unit(vectors)


def _unit(vectors):
    """Return the vectors with length 1, the unknown word's as their mean; a zero stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norms > 0, norms, 1)
    vectors[UNKNOWN] = vectors[FIRST:].mean(axis=0) if len(vectors) > FIRST else 0
    return vectors.astype("float32")


def neighbours(word, rows, vectors, count):
    """Return the `count` words whose vectors point most nearly in the direction of the word's; none of a zero."""
    if not vectors[rows[word]].any():
        return []
    units, names = _unit(vectors), list(rows)
    nearest = np.argsort(-units @ units[rows[word]], kind="stable")
    return [names[row - FIRST] for row in nearest if row >= FIRST and row != rows[word]][:count]
