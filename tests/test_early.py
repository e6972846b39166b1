"""A wrong flag and --help are answered before TensorFlow starts; here it would end the script."""

import importlib
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

from common import early, files

import pytest

PROJECT = Path(early.__file__).parent.parent
SCRIPTS = sorted(path.stem for path in PROJECT.glob("*.py"))


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was started')")

    def run(script, *argv):
        return subprocess.run([sys.executable, PROJECT / f"{script}.py", *argv], capture_output=True, text=True,
                              encoding="utf-8", cwd=tmp_path,
                              env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "80"})  # fmt: skip

    return run


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_same_as_later_and_waits_for_nothing(script, shell, capsys, monkeypatch):
    early_help = shell(script, "--help")
    assert (early_help.returncode, early_help.stderr) == (0, "")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", [f"{script}.py"])
    with pytest.raises(SystemExit):
        importlib.import_module(script).main(["--help"])
    assert early_help.stdout == capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistyped_flag_is_refused_at_once(script, shell):
    needed = ["some.keras"] if script == "paint_digits" else []
    run = shell(script, *needed, "--sede=1")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "error: unrecognized arguments: --sede=1 (did you mean --seed? --help lists the flags)\n"


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"# coding: latin-1\n# \xe9\n"])
def test_a_lesson_may_be_saved_in_another_way(content, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_bytes(content + b"def parse(argv):\n    raise cli.UserError('x')\n")
    monkeypatch.setattr(early.cli, "PROJECT", tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__file__=str(tmp_path / "own.py")))
    with pytest.raises(SystemExit):
        early.answer()


def test_a_right_command_line_goes_on_to_tensorflow(shell):
    assert shell("rnn_mnist", "--cell", "gru").stderr == "TensorFlow was started\n"


def test_a_lesson_that_cannot_be_looked_at_is_parsed_later(shell, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("from common import cli\ndef parse(argv):\n    return undefined + 1\n) wrong\n")
    monkeypatch.setattr(early.cli, "PROJECT", tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__file__=str(tmp_path / "own.py")))
    before = {number: signal.getsignal(number) for number in files.STOP}
    assert early.answer() is None
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no way to send Ctrl-C to one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_tensorflow_starts_ends_the_script_without_a_word(number, tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os, time; os.write(1, b'starting'); time.sleep(100)")
    run = subprocess.Popen([sys.executable, PROJECT / "mlp_mnist.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env={**os.environ, "PYTHONPATH": str(tmp_path)})  # fmt: skip
    assert run.stdout.read(8) == b"starting"
    run.send_signal(number)
    assert run.communicate() == (b"", b"")
    assert run.returncode == 130
