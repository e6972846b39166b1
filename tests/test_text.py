"""common/text: sentences from files, their parts, their words, and the words' vectors."""

import functools
import http.server
import os
import sys
import tarfile
import threading
from pathlib import Path

from common import cli
from common.data import download
from common.text import dataset, docstrings, tables, word_vectors

import numpy as np
import pytest

BAD = ["« bad » , not good ...", *(f"a bad film — {count} ." for count in range(19))]
GOOD = ["a café — and a good one .", *(f"a good film {count} ." for count in range(19))]
REVIEWS = [("negative", line) for line in BAD] + [("positive", line) for line in GOOD]
ANIMALS, COLOURS = ["cat", "dog", "cow", "hen"], ["red", "blue", "green", "grey"]


def write_reviews(folder, encoding="utf-8", good=GOOD):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(tables.FILES.values(), (BAD, good), strict=True):
        (folder / name).write_bytes("".join(f"{line} \n" for line in lines).encode(encoding))
    return folder


def pack(folder):
    """Return Cornell's archive of the two files, made beside their folder."""
    with tarfile.open(folder.parent / tables.ARCHIVE, "w:gz") as archive:
        archive.add(folder, "rt-polaritydata")
    return folder.parent / tables.ARCHIVE


def write_table(path, rows):
    path.write_text("".join(f"{label}\t{sentence}\n" for label, sentence in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    """Forty lines in the reviews' files, passed off as the reviews."""
    monkeypatch.setattr(dataset, "REVIEWS_SHA256", dataset.sha256(REVIEWS))
    return write_reviews(tmp_path / "made")


@pytest.fixture
def few_docstrings(monkeypatch):
    monkeypatch.setattr(docstrings, "sentences", lambda package: [f"{package} has {count} ." for count in range(15)])


@pytest.mark.parametrize("header", [[], [("label", "text")], [("标签", "正文")]])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", [".csv", ".tsv"])
def test_a_table_is_read_with_and_without_a_header_in_either_order(kind, order, header, tmp_path):
    rows = [("1", "很好看\uff0c推荐\uff01"), ("0", 'so "bad", really'), ("0", "never\u2028again"), ("1", "good")]
    lines = []
    for fields in [*header, *rows]:
        quoted = ['"' + field.replace('"', '""') + '"' for field in fields]
        lines.append(",".join(quoted[::order]) if kind == ".csv" else "\t".join(fields[::order]))
    path = tmp_path / f"reviews{kind}"
    path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n\n", encoding="utf-8", newline="")
    assert tables.read(path) == rows


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("some.csv", b"", "two different labels"),
        ("some.csv", b"1,a\n2,b\n3,c\n1,d\n2,e\n", "two different labels"),
        ("some.csv", b"1,a\n1,b\n1,c\n1,d\n", "two different labels"),
        ("some.csv", b"1,good\n0,so, so\n", "line 2"),
        ("some.tsv", b"1,good\n0,bad\n", "columns"),
        ("some.csv", "1,café\n0,b\n".encode("latin-1"), "UTF-8"),
        ("some.tsv", b"".join(b"%d\tfilm %d\n" % (count % 2, count % 10) for count in range(100)), "10 different"),
        ("some.txt", b"1\ta\n0\tb\n", "expected a .csv or .tsv"),
        ("rt-polaritydata.tar.gz", b"<html>", "could not be opened|not a gzip"),
        ("nowhere.csv", None, "not there"),
    ],
)
def test_bad_content_is_one_line_that_names_the_file(name, content, word, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(cli.UserError, match=f"{name}: .*({word})"):
        dataset.load(str(tmp_path / name))


def test_a_folder_or_an_archive_without_both_files_is_refused(tmp_path):
    (write_reviews(tmp_path / "reviews") / tables.FILES["negative"]).unlink()
    for path in (tmp_path / "reviews", pack(tmp_path / "reviews")):
        with pytest.raises(cli.UserError, match=r"rt-polarity[.]neg"):
            dataset.load(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("place", ["data", "data/reviews", "archive", "cache", "cached archive"])
def test_the_reviews_are_found_wherever_they_lie(place, encoding, reviews):
    write_reviews(reviews, encoding)
    folder = Path(os.environ["KERAS_HOME"], "datasets") if "cache" in place else download.DATA_DIR
    folder = folder / "reviews" if place == "data/reviews" else folder
    folder.mkdir(parents=True)
    file = pack(reviews) if "archive" in place else reviews
    file.rename(folder / file.name if file.is_file() else folder)
    data = dataset.load()
    assert (data.name, data.classes) == ("film reviews", ["negative", "positive"])
    assert {*data.train, *data.test} == {*BAD, *GOOD}
    assert [sentence in GOOD for sentence in data.train] == [label == 1 for label in data.y_train]


def test_the_reviews_are_known_by_their_sentences_and_others_by_their_file(reviews, tmp_path):
    rows = [(int(label == "positive"), sentence) for label, sentence in REVIEWS]
    assert dataset.load(write_table(tmp_path / "copy.tsv", rows[::-1])).name == "film reviews"
    for name, told in (("copy", "copy"), ("film reviews", "film reviews.tsv (not the original)")):
        changed = dataset.load(write_table(tmp_path / f"{name}.tsv", [(0, "a new one"), *rows[1:]]))
        assert (changed.name, changed.origin) == (told, str(tmp_path / f"{name}.tsv"))
    assert dataset.load(str(write_reviews(reviews, good=["fine", *GOOD]))).name == "made (not the original)"


def test_the_parts_follow_the_seed_and_share_no_sentence(tmp_path):
    rows = [(count % 2, f"{start} film  of {count} minutes") for count in range(50) for start in ("a", "A")]
    path = write_table(tmp_path / "some.tsv", rows)
    data, again, other = (dataset.load(path, seed) for seed in (3, 3, 4))
    assert (len(data.train), len(data.test)) == (45, 5)
    assert not {*map(str.lower, data.train)} & {*map(str.lower, data.test)}
    for sentence, label in zip([*data.train, *data.test], [*data.y_train, *data.y_test], strict=True):
        assert int(sentence.split()[3]) % 2 == label
    assert again.test == data.test
    assert other.test != data.test
    np.testing.assert_array_equal(again.y_train, data.y_train)


def test_without_a_network_the_stand_in_says_so_and_names_itself(few_docstrings, capsys):
    download.DATA_DIR.mkdir()
    data = dataset.load()
    assert (data.name, data.classes) == ("docstrings (not film reviews)", ["matplotlib", "scikit-learn"])
    warned = capsys.readouterr().err
    for word in ("warning", data.name, str(download.DATA_DIR), tables.ARCHIVE, "--data PATH"):
        assert word in warned
    assert dataset.load("docstrings").train == data.train
    assert capsys.readouterr().err == ""
    with pytest.raises(cli.UserError, match="no film reviews"):
        dataset.load("reviews")


def test_text_without_labels_holds_no_sentence_of_either_part(few_docstrings, tmp_path):
    rows = [(count % 2, f"numpy has {count} .") for count in range(20)]
    sentences = dataset.unlabelled(dataset.load(write_table(tmp_path / "some.tsv", rows)))
    assert sentences == [[package, "has", str(count), "."] for package in ("scipy", "keras") for count in range(15)]


@pytest.mark.parametrize("good", [GOOD, ["others", *GOOD]], ids=["the reviews", "others"])
def test_the_archive_is_downloaded_and_kept_only_if_it_holds_the_reviews(good, reviews, tmp_path, monkeypatch,
                                                                        few_docstrings):
    served = pack(write_reviews(tmp_path / "web" / "reviews", good=good)).parent
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_port}/"
        monkeypatch.setattr(download, "REVIEWS", [(address, {tables.ARCHIVE: None})])
        found = dataset.load()
        web.shutdown()
    assert (found.name == "film reviews") is (good == GOOD)
    assert [path.name for path in download.DATA_DIR.iterdir()] == [tables.ARCHIVE] * (good == GOOD)


def test_a_packages_sentences_are_read_without_importing_it(tmp_path, monkeypatch):
    (tmp_path / "some_package" / "tests").mkdir(parents=True)
    for name, content in {
        "__init__.py": '"""A heading\n\nThe first sentence stands here. Is the second\none here?"""\nraise SystemExit',
        "module.py": 'class A:\n  """The first sentence stands here. Too short."""\n'
                     '  def f(self):\n    """>>> This is an example of its use.\n\n    It is the last sentence!"""',
        "broken.py": "def",
        "tests/test_it.py": '"""This sentence belongs to a test."""',
    }.items():
        (tmp_path / "some_package" / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    expected = ["The first sentence stands here.", "Is the second one here?", "It is the last sentence!"]
    assert docstrings.sentences("some_package") == expected
    assert "some_package" not in sys.modules


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It's GOOD, isn\u2019t it? \n", ["it's", "good", ",", "isn\u2019t", "it", "?"]),
        ("well-made — naïve café in 3d . .", ["well", "-", "made", "—", "naïve", "café", "in", "3d", ".", "."]),
        ("iPhone很好\uff01123元 とても", ["iphone", "很", "好", "\uff01", "123", "元", "と", "て", "も"]),
    ],
)
def test_a_sentence_becomes_words_and_chinese_becomes_characters(sentence, expected):
    assert word_vectors.split(sentence) == expected


def test_sentences_become_rows_of_the_frequent_words_cut_and_padded_on_the_right():
    rows = word_vectors.vocabulary([["a", "b"], ["a", "c"], ["a", "b"]], most=10)
    assert rows == {"a": 2, "b": 3}, "0 is padding, 1 is unknown"
    codes = word_vectors.encode([["a", "c", "b", "a"], ["b"], []], rows, 3)
    np.testing.assert_array_equal(codes, [[2, 1, 3], [3, 0, 0], [0, 0, 0]])


def test_words_with_similar_neighbours_get_similar_vectors(rng):
    """An animal is fed and a colour is painted; which one it is, is chance."""
    sentences = [["we", "feed", "the", word, "today"] for word in rng.choice(ANIMALS, 200)]
    sentences += [["they", "paint", "a", word, "wall"] for word in rng.choice(COLOURS, 200)]
    rows = word_vectors.vocabulary(sentences, 100)
    vectors = word_vectors.learn(sentences, rows, 6)
    assert {*word_vectors.neighbours("cat", rows, vectors, 3)} == {*ANIMALS[1:]}
    assert {*word_vectors.neighbours("red", rows, vectors, 3)} == {*COLOURS[1:]}
    np.testing.assert_allclose(np.linalg.norm(vectors[2:], axis=1), 1, atol=1e-5)
    assert not vectors[0].any(), "padding"
    np.testing.assert_allclose(vectors[1], vectors[2:].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(word_vectors.learn(sentences, rows, 6), vectors)


def test_learned_vectors_are_the_singular_vectors_of_the_positive_pointwise_mutual_information():
    """The oracle counts with loops, over a text so small that no dimension is left out."""
    sentences = [["a", "b", "c", "a"], ["b", "d", "d", "a", "c", "b", "d"]]
    rows = word_vectors.vocabulary(sentences, 9)
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
    vectors = word_vectors.learn(sentences, rows, size)[2:]
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)


@pytest.mark.parametrize("sentences", [[], [["a"]], [["x"], ["y"]]])
def test_a_text_of_next_to_nothing_gives_finite_vectors(sentences):
    vectors = word_vectors.learn(sentences, {"a": 2, "b": 3}, 5)
    assert vectors.shape == (4, 5)
    assert np.isfinite(vectors).all()
