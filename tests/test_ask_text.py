import json
import os

import ask_text
import text_classifier
from common import cli, runs
from common.text import word_vectors

import numpy as np
import pytest

ROWS = {"a": 2, "good": 3, "dull": 4, "film": 5, ",": 6}


@pytest.fixture
def model(rng):
    return text_classifier.build_model("gru", rng.standard_normal((7, 4)), length=6)


def leave_run(model, number, status="finished"):
    """Write what a run of text_classifier.py leaves, and return its folder."""
    folder = runs.RUNS_DIR / "text_classifier" / str(number)
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    known = {"dataset": "films", "classes": ["con", "pro"], "words": list(ROWS)}
    (folder / "vocabulary.json").write_text(json.dumps(known))
    runs.write_result(folder, {"status": status})
    os.utime(folder / "result.json", (number, number))
    return folder


def test_a_sentence_is_answered_word_by_word(model, capsys):
    leave_run(model, 1)
    result = ask_text.main(["A DULL film, unheard good"])
    words = ["a", "dull", "film", ",", "unheard", "good"]
    beginnings = word_vectors.encode([words[:count] for count in range(7)], ROWS, 6)
    probabilities = np.array(model(beginnings))[:, 0]
    assert result["probability"] == pytest.approx(probabilities[-1], abs=1e-6)
    assert (result["status"], result["answer"]) == ("finished", "pro" if probabilities[-1] > 0.5 else "con")
    assert {path.name for path in result["folder"].iterdir()} == {"readings.png", "result.json"}
    lines = capsys.readouterr().out.splitlines()[1:8]
    for line, word, probability in zip(lines, ["", *words], probabilities, strict=True):
        assert line.split("%")[0].split() == [*word.split(), f"{100 * probability:.1f}"]
        assert ("not in the vocabulary" in line) is (word == "unheard")
    for nothing in ("", "zzz yyy"):
        with pytest.raises(cli.UserError, match="knows none"):
            ask_text.main([nothing])


def test_the_newest_run_that_has_finished_is_asked(model, tmp_path):
    with pytest.raises(cli.UserError, match=r"python text_classifier[.]py"):
        ask_text.main(["a good film"])
    folders = [leave_run(model, number) for number in (2, 10)]
    folders += [leave_run(model, number, status) for number, status in ((11, "diverged"), (12, "interrupted"))]
    assert ask_text.main(["a good film"])["model"] == str(folders[1])
    assert ask_text.main(["a good film", "--model", str(folders[3])])["model"] == str(folders[3])
    with pytest.raises(cli.UserError, match="not a run"):
        ask_text.main(["a good film", "--model", str(tmp_path)])
