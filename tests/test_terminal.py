"""What a script does where it is started and where it prints; most of it in a process that starts no TensorFlow."""

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

from common import cli, script, terminal

import pytest

PROJECT = Path(terminal.__file__).parent.parent
SCRIPT = """
import os, sys
from pathlib import Path
from common import results, script
results.RUNS_DIR = Path(sys.argv[1])
def main():
    folder = results.new_folder("script")
    for line in range(20_000):  # more than a pipe holds
        print("line", line, flush=True)
    results.write_result(folder, {"status": "finished"})
    return {"status": "finished"}
script.launch(main)
"""
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


def python(code, *argv, env=(), **streams):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, "-c", code, *argv], cwd=PROJECT, text=True, encoding="utf-8",
                          env={**os.environ, **dict(env)}, **streams)  # fmt: skip


def status(runs):
    return json.loads((runs / "script" / "1" / "result.json").read_text())["status"]


# Streams


def test_a_pipe_whose_reader_left_ends_the_script_without_a_word(tmp_path):
    script = subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path], cwd=PROJECT, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)  # fmt: skip
    assert script.stdout.readline() == b"line 0\n"
    script.stdout.close()
    assert script.stderr.read() == b""
    assert script.wait() == 141
    assert status(tmp_path) == "interrupted"


@full
def test_a_full_disk_under_the_output_is_one_line(tmp_path):
    with open("/dev/full", "w") as disk:
        run = python(SCRIPT, tmp_path, stdout=disk)
    assert (run.returncode, run.stderr) == (2, "error: output or files: No space left on device\n")
    assert status(tmp_path) == "failed"


@full
def test_a_full_disk_under_both_streams_is_an_exit_code(tmp_path):
    with open("/dev/full", "w") as disk:
        assert python(SCRIPT, tmp_path, stdout=disk, stderr=disk).returncode == 2
    assert status(tmp_path) == "failed"


@full
def test_output_that_is_still_held_back_at_the_end_counts_as_well():
    with open("/dev/full", "w") as disk:
        run = python("from common import script; script.launch(lambda: print('a line') or {})", stdout=disk)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such shell")
def test_closed_streams_do_no_harm_and_are_not_taken_by_files(tmp_path):
    code = SCRIPT.replace("script.launch(main)", "main(); sys.exit(os.open(os.devnull, os.O_RDONLY) < 3)")
    command = '"$0" -c "$1" "$2" <&- >&- 2>&-'
    run = subprocess.run(["sh", "-c", command, sys.executable, code, tmp_path], cwd=PROJECT)
    assert (run.returncode, status(tmp_path)) == (0, "finished")


def test_an_output_without_isatty_is_not_watched(monkeypatch):
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(write=str, flush=str))
    assert not terminal.is_watched()
    terminal.say("once more to stop at once")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_the_console_cannot_spell_is_escaped(encoding):
    code = r"from common import terminal; print('\u6570\u636e \u2501\u2501 \udcff')"
    run = python(code, env={"PYTHONIOENCODING": encoding})
    assert (run.returncode, run.stdout) == (0, "\\u6570\\u636e == \\udcff\n")


def test_a_narrow_window_is_used_as_a_wider_one():
    code = "from common import terminal; import shutil; print(shutil.get_terminal_size().columns)"
    assert python(code, env={"COLUMNS": "10"}).stdout == "40\n"
    assert python(code, env={"COLUMNS": "70"}).stdout == "70\n"


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "svg"])
def test_a_matplotlib_backend_that_is_not_there_does_not_stop_a_run(backend):
    run = python("from common import terminal; import matplotlib.pyplot as plt; print(plt.rcParams['backend'])",
                 env={"MPLBACKEND": backend})  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert backend != "svg" or run.stdout == "svg\n"


@pytest.mark.skipif(sys.platform == "win32", reason="the current folder cannot be deleted there")
def test_a_working_folder_that_was_deleted_does_no_harm(tmp_path):
    code = ("import os, sys, shutil; from common import cli; shutil.rmtree(os.getcwd())\n"
            "print(cli.relative('/somewhere'), cli.relative('runs'))")  # fmt: skip
    (tmp_path / "gone").mkdir()
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "gone", env={**os.environ, "PYTHONPATH": PROJECT},
                         capture_output=True, text=True)  # fmt: skip
    assert (run.stdout, run.stderr) == ("/somewhere runs\n", "")


# Notebooks


@pytest.fixture
def kernel(monkeypatch):
    """Return a function that makes this process look like the kernel of a notebook, started by `argv`."""

    def start(*argv):
        monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
        monkeypatch.setattr(sys, "ps1", "In [1]: ", raising=False)
        monkeypatch.setattr(sys, "argv", list(argv))

    return start


@pytest.mark.parametrize(
    "argv",
    [
        ("/lib/ipykernel_launcher.py", "-f", "/tmp/kernel-1.json"),
        ("/lib/ipykernel_launcher.py", "--f=/tmp/kernel-v3.json"),
        ("/lib/colab_kernel_launcher.py", "-f", "/root/kernel.json"),
        ("/lib/spyder_kernels/console/__main__.py", "-f", "/tmp/kernel.json"),
    ],
)
def test_the_command_line_of_a_kernel_is_not_the_lessons(argv, kernel):
    kernel(*argv)
    assert cli.parser("A script.", epochs=20).parse_args().epochs == 20
    assert cli.parse(cli.parser("A script.", epochs=20), None, lambda args: {"epochs": 3}).epochs == 3


def test_that_of_percent_run_and_runfile_is(kernel):
    kernel("mlp_mnist.py", "--epochs", "3")
    assert cli.parser("A script.", epochs=20).parse_args().epochs == 3


def test_in_a_notebook_nothing_exits(kernel, capsys):
    def fail():
        raise cli.UserError("no such file")

    kernel("/lib/ipykernel_launcher.py", "-f", "/tmp/kernel-1.json")
    assert script.launch(lambda: {"status": "finished"}) is None
    assert script.launch(fail) is None
    assert capsys.readouterr().err == "error: no such file\n"
    assert terminal.is_watched(), "a notebook shows Keras's progress bar"


def test_the_width_of_the_tests_own_window_is_left_alone():
    assert shutil.get_terminal_size().columns >= terminal.NARROWEST
