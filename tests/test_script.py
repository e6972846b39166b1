import errno
import json
import signal
import sys
import time

from common import cli, results, script
from common.plots import common as plots

import pytest
import tensorflow as tf

PATIENCE = 60  # seconds on a busy machine
not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="written for the signals of POSIX")


def press_ctrl_c(times=1):
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("result", "code"), [({"status": "finished"}, 0), ({"status": "interrupted"}, 130), ({"folder": "runs"}, 0)]
)
def test_the_exit_code_tells_how_the_run_ended(result, code):
    with pytest.raises(SystemExit) as caught:
        script.launch(lambda: result)
    assert caught.value.code == code


def test_a_persons_mistake_is_one_line_and_exit_code_2(capsys):
    def main():
        raise cli.UserError("the file\nis not there")

    with pytest.raises(SystemExit) as caught:
        script.launch(main)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "error: the file is not there\n")


@not_on_windows
def test_ctrl_c_is_not_lost_while_an_object_is_cleaned_up():
    class Slow:
        def __del__(self):
            press_ctrl_c()

    def main():
        Slow()
        for _ in range(10 * PATIENCE):
            time.sleep(0.1)
        pytest.fail("it went on")

    with pytest.raises(SystemExit) as caught:
        script.launch(main)
    assert caught.value.code == 130


@not_on_windows
def test_the_second_and_the_third_ctrl_c_exit_130_as_well(monkeypatch, capsys):
    def close_all(status):
        press_ctrl_c(times=2)

    monkeypatch.setattr(results, "close_all", close_all)
    with pytest.raises(SystemExit) as caught:
        script.launch(press_ctrl_c)
    press_ctrl_c()  # until Python ends
    assert (caught.value.code, capsys.readouterr().err) == (130, "\ninterrupted\n")


@not_on_windows
def test_ctrl_c_while_a_picture_is_drawn_leaves_no_part_of_it():
    folder = results.new_folder("some")

    @plots.picture
    def draw(path):
        path.write_bytes(b"a part")
        press_ctrl_c()

    with pytest.raises(SystemExit) as caught:
        script.launch(lambda: draw(folder / "picture.png"))
    assert caught.value.code == 130
    assert [path.name for path in folder.iterdir()] == ["result.json"]
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "error: output or files: No space left on device"),
        (FileExistsError(errno.EEXIST, "File exists", "/runs/1"), "error: /runs/1: File exists"),
        (MemoryError(), "error: not enough memory; try a smaller network, --batch-size or --limit"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
         "error: not enough memory; try a smaller network, --batch-size or --limit"),
        (tf.errors.UnavailableError(None, None, "Connection reset by peer"),
         "error: a worker of TF_CONFIG cannot be reached any more, and none goes on alone; start all of them again"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "error: /data/x: Permission denied"),
    ],
)  # fmt: skip
def test_what_the_machine_lacks_is_one_line(error, line, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        script.launch(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        script.launch(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed"), (cli.UserError("no worker"), "failed")],
)
def test_a_run_that_dies_says_so(error, status):
    def main():
        results.write_result(finished, {"script": "script", "status": "finished"})
        results.write_result(running, {"script": "script", "status": "running"})
        raise error

    finished, running = results.new_folder("script"), results.new_folder("script")
    with pytest.raises((SystemExit, ZeroDivisionError)):
        script.launch(main)
    facts = [json.loads((folder / "result.json").read_text()) for folder in (finished, running)]
    assert facts == [{"script": "script", "status": kept} for kept in ("finished", status)]
