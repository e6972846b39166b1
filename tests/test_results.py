import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

from common import cli, results

import pytest
from tensorflow import keras

PROJECT = Path(results.__file__).parent.parent


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_run_folders_are_numbered_and_never_shared():
    assert results.new_folder("script") == results.RUNS_DIR / "script" / "1"
    (results.RUNS_DIR / "script" / "7").mkdir()
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(results.new_folder("script"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(folder.name) for folder in folders) == list(range(8, 16))


def test_out_is_made_with_its_parents_and_refused_the_second_time(tmp_path):
    out = tmp_path / "a" / "b"
    assert results.new_folder("script", str(out)) == out
    with pytest.raises(cli.UserError, match="holds files already"):
        results.new_folder("script", str(out))


def test_out_cannot_be_a_file_or_lie_in_one(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below"):
        with pytest.raises(cli.UserError, match="a file is in the way"):
            results.new_folder("script", str(tmp_path / out))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_an_error_that_names_out(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(results.Path, "mkdir", refuse)
    with pytest.raises(cli.UserError, match=r"Permission denied.*--out"):
        results.new_folder("script", str(tmp_path / "locked"))


@pytest.mark.skipif(results.fcntl is None, reason="Windows has no such lock")
def test_a_disk_that_knows_no_locks_keeps_its_runs(monkeypatch):
    def refuse(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(results.fcntl, "flock", refuse)
    assert (results.new_folder("script") / "result.json").exists()


def test_a_folder_that_is_not_kept_goes_when_the_process_ends(tmp_path):
    code = "from common import results; print(results.new_folder('script', 'unused', keep=False))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
                         env={**os.environ, "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path)})  # fmt: skip
    assert Path(run.stdout.strip()).is_absolute()
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_json_does_not_know_becomes_null(tmp_path):
    results.write_result(tmp_path, {"loss": math.nan, "costs": {0.5: math.inf}, "out": tmp_path})
    assert read(tmp_path) == {"loss": None, "costs": {"0.5": None}, "out": str(tmp_path)}


def test_every_run_that_has_not_come_to_its_end_says_why():
    finished, running, begun = (results.new_folder("script") for _ in range(3))
    results.write_result(finished, {"status": "finished"})
    results.write_result(running, {"status": "running", "seed": 3})
    results.close_all("failed")
    assert read(finished) == {"status": "finished"}
    assert read(running) == {"status": "failed", "seed": 3}
    assert read(begun) == {"status": "failed"}


def test_a_saved_model_is_read_back_if_it_is_what_was_asked_for(tmp_path):
    def fits(given, answer):
        return given == (None, 4) and answer == (None, 3)

    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(tmp_path / "model.keras")
    assert results.load_model(tmp_path / "model.keras", "a small model", fits).count_params() == 15
    with pytest.raises(cli.UserError, match=r"model.keras: not a generator: it turns \(None, 4\) into \(None, 3\)"):
        results.load_model(tmp_path / "model.keras", "a generator", lambda given, answer: False)
    (tmp_path / "text.keras").write_text("no model")
    for name in ("text.keras", "nowhere.keras", "."):
        with pytest.raises(cli.UserError, match="no Keras model can be read") as caught:
            results.load_model(tmp_path / name, "a small model", fits)
        assert str(caught.value).startswith(str(tmp_path / name))
