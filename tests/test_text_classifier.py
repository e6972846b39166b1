import itertools
import json
import re
from pathlib import Path

import ask_text
import text_classifier
from common import cli, runs
from common.plots import text_classifier as plots
from common.text import docstrings, word_vectors

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(text_classifier.__doc__.split())
RESULTS = Path(text_classifier.__file__).with_name("benchmarks") / "results.md"
GOOD = "good great fine clever funny warm bright sharp".split()
BAD = "bad dull poor weak cold silly flat loud".split()
NOUNS = "film story plot cast".split()


@pytest.fixture(autouse=True)
def few_docstrings(monkeypatch, request):
    """Spare the time of reading whole packages, save in slow tests."""
    sentences = [f"A {noun} is {word} and not {other} ." for noun in NOUNS for word in GOOD for other in BAD]
    if "slow" not in request.keywords:
        monkeypatch.setattr(docstrings, "sentences", lambda package: sentences)


def write_table(path, rows):
    path.write_text("".join(f"{label}\t{sentence}\n" for label, sentence in rows))
    return ["--data", str(path)]


@pytest.fixture
def films(tmp_path):
    """A file with 320 sentences: which kind a sentence is, one word tells."""
    rows = []
    for good, bad, noun, adverb in itertools.product(GOOD, BAD, NOUNS, "so very rather really just".split()):
        rows += [("pro", f"this {noun} is {adverb} {good} ."), ("con", f"this {noun} is {adverb} {bad} .")]
    return write_table(tmp_path / "films.tsv", rows)


@pytest.mark.parametrize("cell", text_classifier.CELLS)
def test_parameters_mask_and_frozen_matrix(cell, rng):
    vectors = rng.standard_normal((30, 100)).astype("float32")
    model = text_classifier.build_model(cell, vectors, trainable=False, length=9)
    of_cell = {"simple_rnn": 64 * 165, "lstm": 4 * 64 * 165, "gru": 3 * 64 * 166}[cell]
    assert model.count_params() == 3000 + of_cell + 65
    x = np.zeros((8, 9), int)
    x[:, :4] = rng.integers(2, 30, (8, 4))
    short = text_classifier.build_model(cell, vectors, trainable=False, length=4)
    short.set_weights(model.get_weights())
    np.testing.assert_allclose(model(x), short(x[:, :4]), atol=1e-6)
    assert len(model.trainable_weights) == len(model.weights) - 1
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], vectors)


@pytest.mark.slow
def test_only_the_order_of_words_tells_and_the_bag_of_words_is_lost(tmp_path):
    """Each bag of words comes twice, once with either label."""
    rows = []
    for good, bad, noun in itertools.product(GOOD, BAD, NOUNS):
        rows += [("pro", f"the {noun} is {good} , not {bad} ."), ("con", f"the {noun} is {bad} , not {good} ."),
                 ("pro", f"not {bad} but {good} , the {noun} ."), ("con", f"not {good} but {bad} , the {noun} .")]
    argv = [*write_table(tmp_path / "negations.tsv", rows), "--cell", "gru", "--vectors", "random", "--epochs", "8"]
    result = text_classifier.main(argv)
    assert result["test_accuracy"] >= 0.95
    assert result["bag_of_words_accuracy"] <= 0.6


def test_a_run_leaves_the_network_its_vocabulary_pictures_and_numbers(films, capsys):
    result = text_classifier.main([*films, "--epochs", "3"])
    written = runs.read_result(result["folder"])
    assert {path.name for path in result["folder"].iterdir()} == {
        "model.keras", "model.png", "vocabulary.json", "learning_curves.png", "readings.png", "history.csv",
        "result.json"}
    assert (written["dataset"], written["classes"]) == ("films", ["con", "pro"])
    assert (written["train_sentences"], written["test_sentences"]) == (288, 32)
    assert written["steps"] == 15, "--epochs is obeyed, also where it is the default"
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert model.layers[0].input_dim == written["vocabulary"] + word_vectors.FIRST
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "The most confident mistakes:" in printed.out
    assert re.search(r"\n +(good|bad|great|dull|\w+)   \w+, \w+", printed.out), "nearest neighbours"
    assert " on films | bag of words 100.0% | baseline " in printed.out.splitlines()[-1]
    assert ask_text.main(["this film is not so good"])["model"] == str(result["folder"])


def test_the_card_counts_the_words_of_the_film_reviews_and_their_weights():
    found = re.search(r"of ([\d,]+) rows .+; ([\d,]+) parameters, .+ last ([\d,]+) only", CARD)
    rows, total, trained = (int(number.replace(",", "")) for number in found.groups())
    model = text_classifier.build_model("lstm", np.zeros((rows, text_classifier.DIMENSION)))
    assert model.count_params() == total == 100 * rows + trained


def test_reading_along_ends_in_the_answer_to_the_whole_sentence(rng):
    rows = {word: row for row, word in enumerate("abcdefgh", start=2)}
    model = text_classifier.build_model("gru", rng.standard_normal((10, 5)), length=6)
    read, long, nothing = text_classifier.read_along(model, [[*"abzc"], [*"abcdefgh"], []], rows)
    assert (len(read), len(long), len(nothing)) == (5, 7, 1), "what is cut is not read"
    beginnings = word_vectors.encode([[*"abzc"][:count] for count in range(5)], rows, 6)
    np.testing.assert_allclose(read, model(beginnings)[:, 0], atol=1e-6)


def test_few_labels_get_more_epochs_and_leave_all_words_and_frozen_vectors_stay(films, monkeypatch):
    monkeypatch.setattr(text_classifier, "LEAST_STEPS", 11)
    argv = [*films, "--vectors", "frozen", "--batch-size", "20", "--labels"]
    with pytest.raises(cli.UserError, match=r"--labels 2: .*same label"):
        text_classifier.main([*argv, "2"])
    result = text_classifier.main([*argv, "40"])
    assert result["steps"] == 12
    known = json.loads((result["folder"] / "vocabulary.json").read_text())["words"]
    assert {*known} >= {*GOOD, *BAD, *NOUNS, "rather", "."}
    matrix = keras.models.load_model(result["folder"] / "model.keras").layers[0].get_weights()[0][2:]
    lengths = np.linalg.norm(matrix, axis=1)
    np.testing.assert_allclose(lengths[lengths > 0], text_classifier.SCALE, atol=1e-5)


@pytest.mark.rendered
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_picture_takes_chinese_and_signs_of_formulas_and_a_sentence_whose_end_was_not_read(tmp_path, capsys):
    column = [("pro", ["a", "$", "^", "很"], [0.5, 0.6, 0.2, 0.7, 0.9]), ("con", ["a"] * 50, [0.5] * 9)]
    plots.readings(tmp_path / "readings.png", [column, []], ("con", "pro"), "some")
    assert (tmp_path / "readings.png").stat().st_size > 10_000
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_results_tell_the_truth_about_the_film_reviews(cell):
    result = text_classifier.main(["--data", "reviews", "--cell", cell])
    row = re.search(r"\n\| seed \| majority \| bag .+\n.+\n\| 0 \|(.+)\|\n", RESULTS.read_text(encoding="utf-8"))[1]
    _, bag, lstm, _, gru, _ = row.split("|")
    assert (result["train_sentences"], result["test_sentences"]) == (9596, 1066)
    assert 100 * result["test_accuracy"] == pytest.approx(float(lstm if cell == "lstm" else gru), abs=1.5)
    assert 100 * result["bag_of_words_accuracy"] == pytest.approx(float(bag), abs=0.1)
