import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

from common import cli, results

import pytest

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


@pytest.fixture
def killed():
    """Return a function that leaves the folder of a run that was killed, and returns it."""

    def leave(status="running", checkpoint=True):
        folder = results.RUNS_DIR / "mlp_mnist" / "1"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"status": status}))
        if checkpoint:
            (folder / "checkpoint.npz").touch()
        return folder

    return leave


@pytest.mark.skipif(not results.fcntl, reason="Windows has no such lock")
@pytest.mark.parametrize("status", ["running", "trained"])
def test_a_run_that_was_killed_is_told_of_once_with_the_command_that_goes_on(status, killed, capsys):
    folder = cli.relative(killed(status))
    results.new_folder("mlp_mnist")
    expected = f"note: {folder} was killed; to go on with it: python mlp_mnist.py --resume {folder}\n"
    assert capsys.readouterr().err == expected
    assert json.loads((results.RUNS_DIR / "mlp_mnist" / "1" / "result.json").read_text())["status"] == "killed"
    results.new_folder("mlp_mnist")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not results.fcntl, reason="Windows has no such lock")
def test_a_run_that_was_killed_before_its_first_epoch_ended_is_lost(killed, capsys):
    killed(checkpoint=False)
    results.new_folder("mlp_mnist")
    assert capsys.readouterr().err.endswith(" was killed; nothing of it can be resumed\n")


@pytest.mark.skipif(not results.fcntl, reason="Windows has no such lock")
def test_nothing_is_said_of_a_run_that_goes_on_or_has_come_to_an_end(killed, capsys):
    folder = killed()
    going_on = results._lock(folder)
    results.new_folder("mlp_mnist")
    os.close(going_on)
    for status in ("finished", "interrupted", "failed"):
        (results.RUNS_DIR / "mlp_mnist" / "2" / "result.json").write_text(json.dumps({"status": status}))
        results.new_folder("mlp_mnist")
        (results.RUNS_DIR / "mlp_mnist" / "3").rename(results.RUNS_DIR / f"moved-{status}")
    assert capsys.readouterr().err == ""
