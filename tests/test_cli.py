"""The command line and how a script ends; most of it starts no TensorFlow."""

import os
import subprocess
import sys
import types

import mlp_mnist
from common import cli

import pytest
from tensorflow import keras


def flags(*argv):
    return cli.parser("A script.", epochs=20, batch_size=128, optimizer="adam").parse_args(argv)


@pytest.mark.parametrize(
    ("defaults", "expected"),
    [
        ({}, "data seed out show"),
        ({"steps": 501, "batch_size": 50, "images": False}, "steps batch_size seed device out show"),
        ({"epochs": 5, "optimizer": "sgd"}, "epochs optimizer learning_rate data limit resume seed device out show"),
    ],
)
def test_a_flag_of_training_is_there_only_if_its_default_is_given(defaults, expected):
    args = cli.parser("A script.", **defaults).parse_args([])
    assert set(vars(args)) == {"changed", *expected.split()}
    assert all(getattr(args, name) == default for name, default in defaults.items() if name != "images")


@pytest.mark.parametrize(
    "argv",
    [
        ("--epochs", "0"), ("--epochs", "-3"), ("--epochs", "many"), ("--epochs", "2.5"), ("--batch-size", "0"),
        ("--learning-rate", "0"), ("--learning-rate", "inf"), ("--optimizer", "magic"), ("--limit", "0"),
        ("--limit", "nan"), ("--seed", "-1"), ("--seed", str(2**32)), ("--device", "abacus"), ("--device", "cpu:0"),
        ("--device", "cpu:" + "9" * 30), ("--device", "gpu:1"), ("--epoch", "3"), ("--unknown",),
    ],
)
def test_a_bad_flag_is_named_in_one_line(argv):
    with pytest.raises(cli.UserError, match=argv[0]) as caught:
        flags(*argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("argv", "cure"), [("--lr 0.1", "--learning-rate"), ("--lr=0.1", "--learning-rate"),
                                            ("--sede 1", "did you mean --seed")])
def test_a_flag_with_another_name_or_a_mistyped_one_is_answered_with_the_right_one(argv, cure):
    with pytest.raises(cli.UserError, match=cure):
        flags(*argv.split())


@pytest.mark.parametrize(
    ("argv", "epochs", "changed"),
    [
        ("", 5, {}),
        ("cnn", 9, {"kind": "cnn"}),
        ("cnn --epochs 9", 9, {"kind": "cnn"}),
        ("cnn --epochs 5", 5, {"kind": "cnn", "--epochs": 5}),  # the other kind's default is obeyed if it is given
    ],
)
def test_a_default_may_depend_on_another_flag_and_a_flag_that_is_given_is_obeyed(argv, epochs, changed):
    parser = cli.parser("A script.", epochs=5)
    parser.add_argument("kind", nargs="?", default="mlp")
    args = parser.parse_args(argv.split(), own=lambda args: {"epochs": {"mlp": 5, "cnn": 9}[args.kind]})
    assert (args.epochs, args.changed) == (epochs, changed)


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    args = flags("--data=~/digits", "--out=~/runs/1")
    assert (args.data, args.out) == ("/home/me/digits", "/home/me/runs/1")


def test_keras_knows_every_optimizer_and_activation_on_the_lists():
    for name in cli.OPTIMIZERS:
        assert isinstance(keras.optimizers.get(name), keras.optimizers.Optimizer)
        assert flags("--optimizer", name.upper()).optimizer == name
    for name in mlp_mnist.ACTIVATIONS:
        assert callable(keras.activations.get(name))


def test_a_path_is_shown_as_one_would_type_it(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.relative(tmp_path / "here" / "runs" / "1") == os.path.join("runs", "1")
    assert cli.relative("runs") == "runs"
    assert cli.relative(tmp_path / "there") == str(tmp_path / "there")


def exit_code(main):
    with pytest.raises(SystemExit) as caught:
        cli.launch(main)
    return caught.value.code


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("diverged", 0), ("interrupted", 130)])
def test_the_exit_code_tells_how_the_run_ended_and_a_bug_keeps_its_traceback(status, code):
    assert exit_code(lambda: {"status": status}) == code
    with pytest.raises(ZeroDivisionError):
        cli.launch(lambda: 1 / 0)


def test_a_persons_mistake_is_one_line_and_exit_code_2(capsys):
    def main():
        raise cli.UserError("the file\nis not there")

    assert exit_code(main) == 2
    assert capsys.readouterr() == ("", "error: the file is not there\n")


def start(code, **env):
    """Start Python with `code`, which begins with the import of cli."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from common import cli\n{code}"], cwd=cli.PROJECT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, encoding="utf-8", env={**os.environ, **env})


def test_a_pipe_whose_reader_left_ends_the_script_without_a_word():
    script = start("cli.launch(lambda: [print('line', line, flush=True) for line in range(20_000)])")
    assert script.stdout.readline() == "line 0\n"
    script.stdout.close()
    assert script.stderr.read() == ""
    assert script.wait() == 141


def test_a_letter_that_the_console_lacks_is_escaped():
    script = start(r"cli.launch(lambda: print('\u6570') or {'status': 'finished'})", PYTHONIOENCODING="ascii")
    assert (*script.communicate(), script.returncode) == ("\\u6570\n", "", 0)


@pytest.fixture
def kernel(monkeypatch):
    """Return a function that makes this process look like the kernel of a notebook, started by `argv`."""

    def start(*argv):
        monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
        monkeypatch.setattr(cli, "INTERACTIVE", True)
        monkeypatch.setattr(sys, "argv", list(argv))

    return start


@pytest.mark.parametrize("program", ["ipykernel_launcher.py", "colab_kernel_launcher.py", "console/__main__.py"])
def test_the_command_line_of_a_kernel_is_not_the_lessons(program, kernel):
    kernel(f"/lib/{program}", "-f", "/tmp/kernel-1.json")
    assert cli.parser("A script.", epochs=20).parse_args().epochs == 20
    kernel("mlp_mnist.py", "--epochs", "3")  # as %run and runfile set it
    assert cli.parser("A script.", epochs=20).parse_args().epochs == 3


def test_in_a_notebook_nothing_exits(kernel, capsys):
    def fail():
        raise cli.UserError("no such file")

    kernel("/lib/ipykernel_launcher.py", "-f", "/tmp/kernel-1.json")
    assert cli.launch(lambda: {"status": "finished"}) is None
    assert cli.launch(fail) is None
    assert capsys.readouterr().err == "error: no such file\n"
