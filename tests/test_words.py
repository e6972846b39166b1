from common import cli, words

import numpy as np
import pytest

ANIMALS, COLOURS = ["cat", "dog", "cow", "hen"], ["red", "blue", "green", "grey"]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It's GOOD, isn\u2019t it?", ["it's", "good", ",", "isn\u2019t", "it", "?"]),
        ("well-made film in 3d . . .", ["well", "-", "made", "film", "in", "3d", ".", ".", "."]),
        ("这部电影很好看\uff01", [*"这部电影很好看\uff01"]),
        ("iPhone很好123元 とても", ["iphone", "很", "好", "123", "元", "と", "て", "も"]),
        ("naïve café \n\u2028 — ok", ["naïve", "café", "—", "ok"]),
        (" \n ", []),
    ],
)
def test_a_sentence_becomes_words_and_chinese_becomes_characters(sentence, expected):
    assert words.split(sentence) == expected


def test_the_vocabulary_has_the_frequent_words_and_rows_0_and_1_are_taken():
    sentences = [["a", "b"], ["a", "c"], ["a", "b"]]
    assert words.vocabulary(sentences, most=10) == {"a": 2, "b": 3}
    assert words.vocabulary(sentences, most=1) == {"a": 2}
    assert words.vocabulary(sentences, most=10, at_least=1) == {"a": 2, "b": 3, "c": 4}


def test_sentences_become_rows_cut_and_padded_on_the_right():
    codes = words.encode([["a", "x", "b", "a"], ["b"], []], {"a": 2, "b": 3}, 3)
    np.testing.assert_array_equal(codes, [[2, 1, 3], [3, 0, 0], [0, 0, 0]])


def test_words_with_like_neighbours_get_like_vectors(rng):
    """An animal is fed and a colour is painted; which one it is, is chance."""
    sentences = [["we", "feed", "the", word, "today"] for word in rng.choice(ANIMALS, 200)]
    sentences += [["they", "paint", "a", word, "wall"] for word in rng.choice(COLOURS, 200)]
    rows = words.vocabulary(sentences, 100)
    vectors = words.learn(sentences, rows, 6)
    assert vectors.shape == (len(rows) + 2, 6)
    assert {*words.neighbours("cat", rows, vectors, 3)} == {*ANIMALS[1:]}
    assert {*words.neighbours("red", rows, vectors, 3)} == {*COLOURS[1:]}
    np.testing.assert_allclose(np.linalg.norm(vectors[2:], axis=1), 1, atol=1e-5)
    assert not vectors[0].any(), "padding"
    np.testing.assert_allclose(vectors[1], vectors[2:].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(words.learn(sentences, rows, 6), vectors)


def test_learned_vectors_are_the_singular_vectors_of_the_positive_pointwise_mutual_information():
    """The oracle counts with loops, over a text so small that no dimension is left out."""
    sentences = [["a", "b", "c", "a"], ["b", "d", "d", "a", "c", "b", "d"]]
    rows = words.vocabulary(sentences, 9, at_least=1)
    size = len(rows) + 2
    counts = np.zeros((size, size))
    for sentence in sentences:
        for place, word in enumerate(sentence):
            for other in sentence[max(0, place - 4) : place] + sentence[place + 1 : place + 5]:
                counts[rows[word], rows[other]] += 1
    p_word = counts.sum(axis=1) / counts.sum()
    p_neighbour = counts.sum(axis=1) ** 0.75 / np.sum(counts.sum(axis=1) ** 0.75)
    with np.errstate(divide="ignore", invalid="ignore"):
        ppmi = np.maximum(0, np.nan_to_num(np.log(counts / counts.sum() / np.outer(p_word, p_neighbour)), neginf=0))
    left, values, _ = np.linalg.svd(ppmi)
    expected = (left * np.sqrt(values))[2:]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = words.learn(sentences, rows, size)[2:]
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)


@pytest.mark.parametrize("sentences", [[], [["a"]], [["a", "b"]], [["x"], ["y"]]])
def test_a_text_of_next_to_nothing_gives_finite_vectors(sentences):
    vectors = words.learn(sentences, {"a": 2, "b": 3}, 5)
    assert vectors.shape == (4, 5)
    assert np.isfinite(vectors).all()


def test_random_vectors_have_length_1_and_follow_the_seed():
    rows = {"a": 2, "b": 3}
    vectors = words.random(rows, 8, seed=1)
    np.testing.assert_allclose(np.linalg.norm(vectors[2:], axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(words.random(rows, 8, seed=1), vectors)
    assert (words.random(rows, 8, seed=2) != vectors)[2:].all()


GLOVE = "the 3 4\n. . . 9 9\ngood 0 -2\nGood 7 7\n很 1 0\n"


@pytest.mark.parametrize("text", [GLOVE, "5 2\n" + GLOVE.replace("\n", " \n")], ids=["GloVe", "word2vec"])
def test_vectors_of_glove_and_word2vec_are_read(text, tmp_path):
    (tmp_path / "vectors.txt").write_text(text, encoding="utf-8")
    vectors = words.read(tmp_path / "vectors.txt", {"good": 2, "the": 3, "很": 4, ".": 5, "absent": 6})
    np.testing.assert_allclose(vectors[[2, 3, 4]], [[0, -1], [0.6, 0.8], [1, 0]], atol=1e-6)
    assert not vectors[[0, 5, 6]].any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no word with its numbers"),
        (b"good\n", "holds no word with its numbers"),
        (b"good 1 2\nbad 1\n", "line 2 holds no 2 numbers after its word"),
        (b"the 1 2\ngood 1 x\n", "line 2 holds no 2 numbers after its word"),
        (b"3 2\nbad 1 2 3\n", "line 2 holds no 2 numbers after its word|knows none"),
        (b"some 1 2\n", "knows none of the words"),
        (b"good nan 1\n", "numbers that are not finite"),
        (b"3 300\n\x93\xf8\xff\xfe\x00", "no text in UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_without_vectors_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "vectors.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(cli.UserError, match=message):
        words.read(path, {"good": 2, "bad": 3})
