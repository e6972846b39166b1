import http.server
import os
import threading
from pathlib import Path

from common import cli, docstrings, download, labelled, mnist, text, words

import numpy as np
import pytest
from test_download import Handler
from test_labelled import pack, write_reviews


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    """Forty lines in the reviews' files, passed off as the reviews."""
    folder = write_reviews(tmp_path / "made")
    for name, word in zip(labelled.FILES, ("bad", "good"), strict=True):
        folder.joinpath(name).write_text("".join(f"a {word} film caf\xe9 \u2014 {count} . \n" for count in range(20)))
    monkeypatch.setattr(text, "REVIEWS_SHA256", text._hashes(*labelled.read(folder)))
    return folder


@pytest.fixture
def few_docstrings(monkeypatch):
    found = {"matplotlib": "A figure", "sklearn": "An estimator", "numpy": "An array", "scipy": "A matrix"}
    monkeypatch.setattr(docstrings, "sentences", lambda package: [
        f"{found.get(package, 'A layer')} has the number {count}." for count in range(15)])  # fmt: skip


def keras_cache():
    return Path(os.environ["KERAS_HOME"], "datasets")


def table(path, rows):
    path.write_text("".join(f"{label}\t{sentence}\n" for label, sentence in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("place", ["data", "data/reviews", "archive", "cache", "cached archive"])
def test_the_reviews_are_found_wherever_they_lie(place, reviews, tmp_path):
    folder = keras_cache() if "cache" in place else mnist.DATA_DIR
    if "archive" in place:
        folder.mkdir(parents=True)
        pack(reviews).rename(folder / labelled.ARCHIVE)
    else:
        folder.parent.mkdir(exist_ok=True)
        reviews.rename(folder if place == "data" else folder.mkdir() or folder / "reviews")
    data = text.load()
    assert (data.name, data.classes) == ("film reviews", ("negative", "positive"))
    assert (len(data.train), len(data.test)) == (36, 4)
    assert ["bad" in sentence for sentence in data.train] == [label == 0 for label in data.y_train]


def test_reviews_in_windows_1252_and_in_a_table_are_known_by_their_sentences(reviews, tmp_path):
    for name in labelled.FILES:
        (reviews / name).write_bytes((reviews / name).read_text(encoding="utf-8").encode("cp1252"))
    assert text.load(str(reviews)).name == "film reviews"
    sentences, labels = labelled.read(reviews)
    rows = [(int(label == "positive"), sentence) for label, sentence in zip(labels, sentences, strict=True)]
    assert text.load(table(tmp_path / "copy.tsv", rows[::-1])).name == "film reviews"
    changed = text.load(table(tmp_path / "copy.tsv", [(1, "a new one"), *rows[1:]]))
    assert (changed.name, changed.origin) == ("copy", str(tmp_path / "copy.tsv"))
    (reviews / labelled.FILES[0]).write_text("".join(f"worse {count}\n" for count in range(20)))
    assert text.load(str(reviews)).name == "made (not the original)"


def test_the_parts_follow_the_seed_and_share_no_sentence(tmp_path):
    rows = [(count % 2, f"{'A' if twice else 'a'} film  of {count} minutes") for count in range(50) for twice in (0, 1)]
    data, again, other = (text.load(table(tmp_path / "some.tsv", rows), seed) for seed in (3, 3, 4))
    assert data.duplicates == 50
    assert (len(data.train), len(data.test)) == (45, 5)
    assert not {*map(str.lower, data.train)} & {*map(str.lower, data.test)}
    for sentence, label in zip([*data.train, *data.test], [*data.y_train, *data.y_test], strict=True):
        assert int(words.split(sentence)[3]) % 2 == label
    assert again.test == data.test
    assert other.test != data.test
    np.testing.assert_array_equal(again.y_train, data.y_train)


def test_chinese_sentences_are_taken(tmp_path):
    rows = [("\u597d\u8bc4" if count % 2 else "\u5dee\u8bc4", f"\u7535\u5f71{count}") for count in range(30)]
    data = text.load(table(tmp_path / "\u8bc4\u8bba.tsv", rows))
    assert (data.classes, data.name) == (("\u597d\u8bc4", "\u5dee\u8bc4"), "\u8bc4\u8bba")


def test_too_few_sentences_or_labels_are_refused(tmp_path):
    with pytest.raises(cli.UserError, match="has 10 different sentences with 2 different labels; expected 20"):
        text.load(table(tmp_path / "some.tsv", [(count % 2, f"film {count % 10}") for count in range(100)]))
    with pytest.raises(cli.UserError, match="nowhere: not there; it takes a path, or the word reviews or docstrings"):
        text.load("nowhere")


def test_without_a_network_the_stand_in_says_so_and_names_itself(few_docstrings, capsys):
    data = text.load()
    assert (data.name, data.classes) == ("docstrings (not film reviews)", ("matplotlib", "scikit-learn"))
    assert data.facts["dataset"] == data.name
    warned = capsys.readouterr().err
    assert "\nwarning: no film reviews here, so this run uses docstrings (not film reviews).\n" in warned
    for told in (f"tried {mnist.DATA_DIR}: no {labelled.ARCHIVE}", f"tried {keras_cache()}: no", "--data PATH",
                 "https://www.cs.cornell.edu/people/pabo/movie-review-data/rt-polaritydata.tar.gz"):  # fmt: skip
        assert told in warned
    assert text.load("docstrings").train == data.train
    assert capsys.readouterr().err == ""
    with pytest.raises(cli.UserError, match="no film reviews: "):
        text.load("reviews")


def test_text_without_labels_holds_no_sentence_of_either_part(few_docstrings, tmp_path):
    rows = [(count % 2, f"An array has the number {count}.") for count in range(20)]
    sentences = text.unlabelled(text.load(table(tmp_path / "some.tsv", rows)))
    assert len(sentences) == 30, "15 of SciPy and 15 of Keras, and none of NumPy"
    assert ["a", "matrix", "has", "the", "number", "0", "."] in sentences


@pytest.mark.parametrize(("manner", "found"), [("good", True), ("lying", False), ("breaking", False)])
def test_the_archive_is_downloaded_and_kept_only_if_it_holds_the_reviews(manner, found, reviews, monkeypatch, capsys,
                                                                        few_docstrings):  # fmt: skip
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    web.asked, web.files = [], {labelled.ARCHIVE: pack(reviews).read_bytes()}
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{web.server_port}/{manner}/"
    monkeypatch.setattr(download, "REVIEWS", ((address, {labelled.ARCHIVE: (None, 2**20)}),))
    assert (text.load().name == "film reviews") is found
    assert [path.name for path in mnist.DATA_DIR.iterdir()] == [labelled.ARCHIVE] * found
    assert (f"tried 127.0.0.1:{web.server_port}/{manner}: " in capsys.readouterr().err) is not found
    asked = len(web.asked)
    assert (text.load().name == "film reviews") is found
    assert (len(web.asked) == asked) is found
    web.shutdown()
    web.server_close()


@pytest.mark.slow
def test_the_real_reviews_are_known():
    data = text.load("reviews")
    assert (len(data.train), len(data.test), data.duplicates) == (9596, 1066, 0)
