"""A run: its folder, its first and its closing line, result.json, history.csv, and Ctrl-C."""

import argparse
import csv
import math
import signal
import sys

from common import cli, mnist, runs
from common.data import files

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="written for the signals of POSIX")


@pytest.fixture(scope="module")
def digits():
    return mnist.load_mnist("digits", limit=100)


def begin(data, about="", changed=(), **flags):
    flags = {"out": None, "seed": 3, "show": False, "changed": dict(changed)} | flags
    return runs.Run("/lessons/script.py", argparse.Namespace(**flags), tf.distribute.get_strategy(), data, about)


@pytest.fixture
def run(digits):
    return begin(digits, epochs=2)


@pytest.fixture
def loop():
    return begin("sine wave", "10 windows", steps=10)


@pytest.fixture
def fit(digits):
    def fit(run, callbacks=()):
        model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(mnist.as_vectors(digits.x_train), digits.y_train, epochs=run.args.epochs, batch_size=10, verbose=0,
                  callbacks=[*run.callbacks, *callbacks], validation_split=0.1)
        return model

    return fit


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((784,)), keras.layers.Dense(10)])


def history(run):
    with (run.folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_folders_are_numbered_and_never_shared():
    assert runs.new_folder("script.py") == runs.RUNS_DIR / "script" / "1"
    (runs.RUNS_DIR / "script" / "7").mkdir()
    (runs.RUNS_DIR / "script" / "mine").mkdir()
    assert [runs.new_folder("script.py").name for _ in range(4)] == ["8", "9", "10", "11"]


def test_out_is_made_with_its_parents_and_refused_where_files_are(tmp_path):
    out = tmp_path / "a" / "b"
    assert runs.new_folder("script.py", str(out)) == out
    with pytest.raises(cli.UserError, match="--out"):
        runs.new_folder("script.py", str(out))
    for place in ("result.json", "result.json/below"):  # a file is in the way
        with pytest.raises(cli.UserError, match="--out"):
            runs.new_folder("script.py", str(out / place))
    assert runs.read_result(out) == {"script": "script", "status": "unfinished"}


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    with files.whole(tmp_path / "model.keras") as path:
        assert path.suffix == ".keras", "Keras and matplotlib go by the ending"
        path.write_text("whole")
        assert not (tmp_path / "model.keras").exists()
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)), files.whole(tmp_path / "model.keras") as path:
            path.write_text("ha")
            raise error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.keras", "whole")]


def test_the_first_line_names_data_device_seed_and_what_is_not_at_its_default(digits, capsys):
    assert runs.read_result(begin(digits).folder)["status"] == "unfinished"  # as it stays where a run is killed
    begin("sine wave", "10 windows", {"--steps": 10, "--long": True})
    assert capsys.readouterr().out.splitlines() == [
        "scikit-learn digits (not MNIST): 100 training and 360 test images from scikit-learn; device cpu; seed 3",
        "sine wave: 10 windows; device cpu; seed 3; --steps 10; --long",
    ]


def test_a_finished_run_leaves_result_and_history(run, fit, digits):
    model = fit(run)
    train, test = {"accuracy": 0.2, "loss": 2.0}, {"accuracy": 0.12, "loss": np.nan, "f1_score": np.float32([0.5, 0])}
    result = run.finish("Test accuracy: 12.0%", "baseline 50%", model, train=train, test=test, counts=np.arange(3))
    facts = runs.read_result(run.folder)
    assert result["folder"] == run.folder
    expected = {
        "script": "script", "status": "finished", "dataset": digits.name, "data_origin": "scikit-learn",
        "train_images": 100, "test_images": 360, "parameters": 7850, "epochs": 2, "steps": 18, "seed": 3,
        "device": "cpu", "replicas": 1, "precision": "float32", "train_accuracy": 0.2, "train_loss": 2.0,
        "test_accuracy": 0.12, "test_loss": None, "test_f1_score": [0.5, 0], "counts": [0, 1, 2],
    }
    assert {key: facts[key] for key in expected} == expected
    assert (facts["flags"]["epochs"], facts["versions"]["keras"]) == (2, keras.__version__)
    assert 0 < facts["seconds_training"] <= facts["seconds_total"]
    rows = history(run)
    assert [(row["epoch"], row["steps"]) for row in rows] == [("1", "9"), ("2", "18")]
    assert list(rows[0]) == ["dataset", "epoch", "steps", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])


def test_the_closing_line_has_headline_baseline_parameters_seconds_and_folder(run, model, capsys):
    run.finish("Test accuracy: 12.0%", "without memory at least 0.5", model)  # the callbacks were never called
    headline, baseline, parameters, seconds, folder = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert headline == "Test accuracy: 12.0% on scikit-learn digits (not MNIST)"
    assert (baseline, parameters) == ("without memory at least 0.5", "7,850 parameters")
    assert seconds.endswith(" s of training")
    assert folder == cli.relative(run.folder)


def test_a_script_that_trains_nothing_names_its_files(capsys):
    folder = runs.new_folder("script.py")
    (folder / "b.png").touch()
    (folder / "a.png").touch()
    result = runs.finish(folder, argparse.Namespace(seed=3, show=False), answer=42)
    assert capsys.readouterr().out == f"a.png, b.png: {cli.relative(folder)}\n"
    facts = runs.read_result(folder)
    assert result == {**facts, "folder": folder}
    assert (facts["script"], facts["status"], facts["seed"], facts["answer"]) == ("script", "finished", 3, 42)


def test_a_loop_counts_its_steps_and_the_seconds_of_several_trainings_are_summed(loop, model, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(runs.time, "perf_counter", lambda: seconds[0])
    for count in (4, 2):
        for _ in loop.until_ctrl_c(range(count)):
            seconds[0] += 2.5
        seconds[0] += 100  # what the script does between them
        assert runs.read_result(loop.folder)["steps"] == count
    assert loop.finish("Cost: 0.5", "baseline 0.5", model)["seconds_training"] == 15


def test_history_has_the_columns_that_the_script_records(loop):
    for step in loop.until_ctrl_c(range(2)):
        loop.record(step=step + 1, cost=0.5**step)
    assert history(loop) == [
        {"dataset": "sine wave", "step": "1", "cost": "1.0"},
        {"dataset": "sine wave", "step": "2", "cost": "0.5"},
    ]


def test_a_loop_that_diverges_stops_and_says_so_in_one_line(loop, model, capsys):
    for step in loop.until_ctrl_c(range(10)):
        loop.record(step=step + 1, cost=math.nan if step >= 3 else 1.0)
    result = loop.finish("Cost: nan", "baseline 0.5", model)
    printed = capsys.readouterr()
    assert (result["status"], result["steps"]) == ("diverged", 4)
    assert "diverged after 4 of 10 steps" in printed.out
    assert printed.err.strip().count("\n") == 0
    assert "nan" in printed.err


def press_ctrl_c(times=1, number=signal.SIGINT):
    for _ in range(times):
        signal.raise_signal(number)


@not_on_windows
def test_ctrl_c_in_a_validation_ends_fit_with_its_epoch(run, fit):
    fit(run, [keras.callbacks.LambdaCallback(on_test_begin=lambda logs: press_ctrl_c(times=not run.interrupted))])
    assert (run.interrupted, run.facts["epochs"], run.facts["steps"]) == (True, 1, 9)


@not_on_windows
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_and_the_like_end_a_loop_after_the_step_and_keep_the_run(name, loop, model, capfd):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    for step in loop.until_ctrl_c(range(10)):
        if step == 3:
            press_ctrl_c(1, number)
    assert step == 3
    assert name in capfd.readouterr().err
    assert signal.getsignal(number) is before
    result = loop.finish("Cost: 0.5", "baseline 0.5", model)
    assert (result["status"], result["steps"]) == ("interrupted", 4)


@not_on_windows
def test_a_second_ctrl_c_stops_at_once(loop):
    with pytest.raises(KeyboardInterrupt):
        for _ in loop.until_ctrl_c(range(10)):
            press_ctrl_c(times=2)
            pytest.fail("it went on")


@not_on_windows
def test_a_signal_that_is_ignored_as_under_nohup_stays_ignored(loop):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert [press_ctrl_c(1, signal.SIGHUP) for _ in loop.until_ctrl_c(range(10))] == [None] * 10
