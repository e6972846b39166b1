import json
import os
import subprocess
import sys
import threading

from common import cli

import pytest
from tensorflow import keras


def flags(*argv):
    return cli.parser("A script.", batch_size=128, epochs=20).parse_args(argv)


def test_the_defaults_are_the_scripts():
    args = flags()
    assert (args.epochs, args.batch_size, args.seed, args.limit, args.device) == (20, 128, 0, None, "auto")
    assert cli.parser("A script.", batch_size=50, steps=501).parse_args([]).steps == 501


@pytest.mark.parametrize(
    "argv",
    [
        ("--epochs", "0"),
        ("--epochs", "-3"),
        ("--epochs", "many"),
        ("--epochs", "2.5"),
        ("--batch-size", "0"),
        ("--limit", "0"),
        ("--limit", "nan"),
        ("--limit", "9" * 400 + ".5"),
        ("--seed", "-1"),
        ("--seed", str(2**32)),
        ("--device", "abacus"),
        ("--epoch", "3"),
        ("--unknown",),
    ],
)
def test_a_bad_flag_is_named_with_what_was_expected(argv):
    with pytest.raises(cli.UserError, match=argv[0]) as caught:
        flags(*argv)
    assert "\n" not in str(caught.value)


def test_numbers_stop_at_their_bounds():
    dropout = cli.number(float, at_least=0, below=1)
    assert dropout("0") == 0
    assert dropout("0.99") == 0.99
    for text in ("1", "-0.1", "nan", "inf", "half"):
        with pytest.raises(cli.argparse.ArgumentTypeError, match="a number of at least 0 and below 1, got"):
            dropout(text)
    with pytest.raises(cli.argparse.ArgumentTypeError, match="above 0"):
        cli.number(float, above=0)("0")


def test_keras_knows_every_optimizer_and_activation_on_the_lists():
    for name in cli.OPTIMIZERS:
        assert isinstance(keras.optimizers.get(name), keras.optimizers.Optimizer)
    for name in cli.ACTIVATIONS:
        assert callable(keras.activations.get(name))


@pytest.mark.parametrize(
    ("result", "code"), [({"status": "finished"}, 0), ({"status": "interrupted"}, 130), ({"folder": "runs"}, 0)]
)
def test_the_exit_code_tells_how_the_run_ended(result, code):
    with pytest.raises(SystemExit) as caught:
        cli.launch(lambda: result)
    assert caught.value.code == code


def test_a_persons_mistake_is_one_line_and_exit_code_2(capsys):
    def main():
        raise cli.UserError("the file\nis not there")

    with pytest.raises(SystemExit) as caught:
        cli.launch(main)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "error: the file is not there\n")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.launch(lambda: 1 / 0)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed")])
def test_a_run_that_dies_says_so(error, status):
    def main():
        cli.write_result(cli.new_folder("script"), {"script": "script", "status": "finished"})
        cli.write_result(cli.new_folder("script"), {"script": "script", "status": "running"})
        cli.new_folder("script")
        raise error

    with pytest.raises((SystemExit, ZeroDivisionError)):
        cli.launch(main)
    written = [json.loads((cli.RUNS_DIR / "script" / number / "result.json").read_text()) for number in "123"]
    assert [facts["status"] for facts in written] == ["finished", status, status]
    assert written[1]["script"] == "script"


def test_run_folders_are_numbered_and_never_shared():
    assert cli.new_folder("script") == cli.RUNS_DIR / "script" / "1"
    (cli.RUNS_DIR / "script" / "7").mkdir()
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(cli.new_folder("script"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(folder.name) for folder in folders) == list(range(8, 16))


def test_out_is_made_with_its_parents_and_refused_the_second_time(tmp_path):
    out = tmp_path / "a" / "b"
    assert cli.new_folder("script", str(out)) == out
    with pytest.raises(cli.UserError, match="holds files already"):
        cli.new_folder("script", str(out))


def test_out_cannot_be_a_file_or_lie_in_one(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below"):
        with pytest.raises(cli.UserError, match="a file is in the way"):
            cli.new_folder("script", str(tmp_path / out))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_an_error_that_names_out(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cli.Path, "mkdir", refuse)
    with pytest.raises(cli.UserError, match=r"Permission denied.*--out"):
        cli.new_folder("script", str(tmp_path / "locked"))


@pytest.mark.skipif(sys.platform == "win32", reason="a Windows console is not filtered")
def test_quiet_drops_routine_lines_and_nothing_else(capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mlp_mnist.py"])
    with cli.quiet():
        os.write(2, b"I0000 00:00:1.5    1 cudart_stub.cc:31] Could not find cuda drivers on your machine\n")
        os.write(2, b"E0000 00:00:1.5    1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n")
        os.write(2, b"2026-01-01 10:00:00.5: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b'Fontconfig warning: "conf", line 6: unknown element "reset-dirs"\n')
        os.write(2, b"E0000 00:00:1.5    1 cuda_fft.cc:477] Unable to register cuFFT factory: one is registered\n")
        os.write(2, b"E0000 00:00:1.5    1 platform.cc:52] failed call to cuInit: DRIVER_MISMATCH\n")
        os.write(2, b"\xff not text\n")
    os.write(2, b"I0000 after\n")
    assert capfd.readouterr().err == (
        "E0000 00:00:1.5    1 platform.cc:52] failed call to cuInit: DRIVER_MISMATCH\n\ufffd not text\nI0000 after\n"
    )


def test_quiet_keeps_the_last_words_of_a_library_that_aborts():
    code = "import os\nfrom common import cli\nwith cli.quiet():\n os.write(2, b'needs AVX\\n')\n os.abort()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cli.RUNS_DIR.anchor or None,
                         env={**os.environ, "PYTHONPATH": str(cli.Path(cli.__file__).parent.parent)})
    assert "needs AVX" in run.stderr
    assert run.returncode != 0
