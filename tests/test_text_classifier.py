import itertools
import json
import re
import shutil

import text_classifier
from common import cli, docstrings, results, words
from common.plots import text_classifier as plots

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(text_classifier.__doc__.split())
GOOD = "good great fine clever funny warm bright sharp".split()
BAD = "bad dull poor weak cold silly flat loud".split()
every_cell = pytest.mark.parametrize("cell", text_classifier.CELLS)


@pytest.fixture(autouse=True)
def few_docstrings(monkeypatch, request):
    """Spare the time of reading whole packages, save in slow tests."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(docstrings, "sentences", lambda package: [
            f"{package} has a {word} film and {count} more." for word in (*GOOD, *BAD) for count in range(2)
        ])  # fmt: skip


@pytest.fixture
def films(tmp_path):
    """A file with 320 sentences: which kind a sentence is, one word tells."""
    path = tmp_path / "films.tsv"
    rows = [(kind, f"this {noun} is {adverb} {word} .") for kind, chosen in (("pro", GOOD), ("con", BAD))
            for word, noun, adverb in itertools.product(chosen, "film story plot cast".split(),
                                                        "so very rather really just".split())]  # fmt: skip
    path.write_text("".join(f"{kind}\t{sentence}\n" for kind, sentence in rows))
    return ["--data", str(path)]


@pytest.fixture
def negations(tmp_path):
    """A file in which each bag of words comes twice, once with either label: only their order tells."""
    rows = []
    for good, bad, noun in itertools.product(GOOD, BAD, "film story plot cast".split()):
        rows += [("pro", f"the {noun} is {good} , not {bad} ."), ("con", f"the {noun} is {bad} , not {good} ."),
                 ("pro", f"not {bad} but {good} , the {noun} ."), ("con", f"not {good} but {bad} , the {noun} .")]
    path = tmp_path / "negations.csv"
    path.write_text("label,text\n" + "".join(f'{kind},"{sentence}"\n' for kind, sentence in rows))
    return ["--data", str(path)]


@every_cell
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


def test_only_the_order_of_words_tells_and_the_bag_of_words_is_lost(negations):
    result = text_classifier.main([*negations, "--cell", "gru", "--vectors", "random", "--epochs", "8"])
    assert result["test_accuracy"] >= 0.95
    assert result["bag_of_words_accuracy"] <= 0.6


def test_a_run_leaves_the_network_its_vocabulary_pictures_and_numbers(films, capsys):
    result = text_classifier.main([*films, "--epochs", "2"])
    written = json.loads((result["folder"] / "result.json").read_text())
    assert {path.name for path in result["folder"].iterdir()} == {
        "model.keras", "model.png", "vocabulary.json", "learning_curves.png", "readings.png", "history.csv",
        "result.json",
    }  # fmt: skip
    keys = {"dataset", "test_accuracy", "bag_of_words_accuracy", "baseline", "vocabulary"}
    assert {key: written[key] for key in keys} == {key: result[key] for key in keys}
    assert (written["dataset"], written["classes"]) == ("films", ["con", "pro"])
    assert (written["train_sentences"], written["test_sentences"], written["duplicates"]) == (288, 32, 0)
    assert written["bag_of_words_accuracy"] == 1
    known = json.loads((result["folder"] / "vocabulary.json").read_text())
    assert len(known["words"]) == written["vocabulary"]
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert model.layers[0].input_dim == written["vocabulary"] + words.FIRST
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("films: 288 training and 32 test sentences from ")
    assert re.match(r"Test accuracy: [\d.]+% on films \| bag of words 100.0% \| baseline [\d.]+% \| ",
                    printed.out.splitlines()[-1])  # fmt: skip
    assert "The most confident mistakes:" in printed.out
    assert re.search(r"\n +(good|bad|great|dull|\w+)   \w+, \w+", printed.out), "nearest neighbours"


def test_the_newest_run_is_asked_word_by_word(films, capsys):
    with pytest.raises(cli.UserError, match=r"no run in .*text_classifier yet; python text_classifier.py trains one"):
        text_classifier.main(["--ask", "a good film"])
    first = text_classifier.main([*films, "--epochs", "1", "--labels", "20", "--vectors", "random"])["folder"]
    for number in ("2", "10"):
        last = shutil.copytree(first, first.parent / number)
    results.new_folder("text_classifier")  # number 11 has only begun
    sentence = "A DULL film, unheard good"
    answer = text_classifier.main(["--ask", sentence])
    assert answer["folder"] == last, "10 is newer than 2"
    model = keras.models.load_model(last / "model.keras")
    known = json.loads((last / "vocabulary.json").read_text())["words"]
    codes = words.encode([words.split(sentence)], {word: row for row, word in enumerate(known, start=2)}, 7)
    assert answer["probability"] == pytest.approx(float(model(codes)[0, 0]), abs=1e-6)
    assert answer["answer"] == ("pro" if answer["probability"] > 0.5 else "con")
    *_, unheard, good, closing = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r" +unheard +[\d.]+% #+  \(not in the vocabulary\)", unheard)
    assert re.fullmatch(r" +good +[\d.]+% #+", good)
    assert closing.startswith(f"{answer['answer']}: ")
    for nothing in ("", "zzz yyy"):
        with pytest.raises(cli.UserError, match="trained on films, knows none of these words"):
            text_classifier.main(["--ask", nothing])
    (last / "vocabulary.json").write_text("{}")
    with pytest.raises(cli.UserError, match=r"vocabulary.json is damaged"):
        text_classifier.main(["--ask", sentence])


def test_the_card_counts_the_words_of_the_film_reviews_and_their_weights():
    found = re.search(r"of ([\d,]+) rows .+; ([\d,]+) parameters, .+ last ([\d,]+) only", CARD)
    rows, total, trained = (int(number.replace(",", "")) for number in found.groups())
    model = text_classifier.build_model("lstm", np.zeros((rows, text_classifier.DIMENSION)))
    assert model.count_params() == total == 100 * rows + trained


@pytest.mark.parametrize(("labels", "steps"), [("10", 12), ("40", 12), ("288", 27)])
def test_few_sentences_are_read_so_often_that_there_are_enough_updates(labels, steps, films, monkeypatch):
    monkeypatch.setattr(text_classifier, "LEAST_STEPS", 11)
    result = text_classifier.main([*films, "--labels", labels, "--batch-size", "32", "--vectors", "random"])
    assert result["steps"] == {"10": 11, "40": 12, "288": 27}[labels]


def test_reading_along_ends_in_the_answer_to_the_whole_sentence(rng):
    rows = {word: row for row, word in enumerate("abcdefgh", start=2)}
    model = text_classifier.build_model("gru", rng.standard_normal((10, 5)), length=6)
    read, long, nothing = text_classifier.read_along(model, [[*"abzc"], [*"abcdefgh"], []], rows)
    assert (len(read), len(long), len(nothing)) == (5, 7, 1), "what is cut is not read"
    beginnings = words.encode([[*"abzc"][:count] for count in range(5)], rows, 6)
    np.testing.assert_allclose(read, model(beginnings)[:, 0], atol=1e-6)


def test_vectors_of_a_file_stay_as_they_are_and_few_labels_leave_all_words(films, tmp_path, monkeypatch):
    monkeypatch.setattr(text_classifier, "LEAST_STEPS", 60)
    (tmp_path / "glove.txt").write_text("good 3 0 4\nbad 0 -1 0\n")
    result = text_classifier.main([*films, "--vectors", str(tmp_path / "glove.txt"), "--labels", "40",
                                   "--batch-size", "20"])  # fmt: skip
    known = json.loads((result["folder"] / "vocabulary.json").read_text())["words"]
    matrix = keras.models.load_model(result["folder"] / "model.keras").layers[0].get_weights()[0]
    length = text_classifier.SCALE
    np.testing.assert_allclose(matrix[known.index("good") + 2], [0.6 * length, 0, 0.8 * length], atol=1e-5)
    np.testing.assert_allclose(matrix[known.index("bad") + 2], [0, -length, 0], atol=1e-5)
    assert not matrix[known.index("film") + 2].any()
    assert {*known} >= {*GOOD, *BAD, "film", "story", "plot", "cast", "rather", "."}
    assert result["steps"] == 60


@pytest.mark.rendered
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_picture_takes_chinese_and_signs_of_formulas(tmp_path):
    columns = {"turned": [("pro", ["a", "$", "^", "很"], [0.5, 0.6, 0.2, 0.7, 0.9])] * 2, "mistakes": []}
    plots.readings(tmp_path / "readings.png", columns, ("con", "pro"), "some")
    assert (tmp_path / "readings.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--cell rnn", "choose from .*simple_rnn"),
        ("--vectors nowhere.txt", "--vectors nowhere.txt: No such file"),
        ("--labels 1", "--labels: expected a whole number of at least 2"),
        ("--labels 2 --seed 0", "--labels 2: those sentences all have the same label; take more"),
        ("--data nowhere.csv", "--data nowhere.csv: not there"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message, films):
    with pytest.raises(cli.UserError, match=message):
        text_classifier.main([*films, *argv.split()])
    assert not results.RUNS_DIR.exists()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_card_tells_the_truth_about_the_film_reviews(cell):
    result = text_classifier.main(["--data", "reviews", "--cell", cell])
    expected, bag = (float(re.search(rf"{name} ([\d.]+), [\d.]+, [\d.]+ %", CARD)[1])
                     for name in (cell.upper(), "order:"))  # fmt: skip
    assert 100 * result["test_accuracy"] == pytest.approx(expected, abs=1.5)
    assert 100 * result["bag_of_words_accuracy"] == pytest.approx(bag, abs=0.1)
