import argparse
import csv
import errno
import json
import os
import shutil
import signal
import sys
import threading
import time

from common import cli, mnist, results, runs, script

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

PATIENCE = 60  # seconds on a busy machine
not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="written for the signals of POSIX")


@pytest.fixture(scope="module")
def digits():
    return mnist.load_mnist("digits", limit=100)


def begin(data, about="", **flags):
    flags = {"out": None, "seed": 3, "show": False} | flags
    return runs.Run("script", argparse.Namespace(**flags), tf.distribute.get_strategy(), data, about)


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
                  callbacks=[*run.callbacks, *callbacks], validation_split=0.1)  # fmt: skip
        return model

    return fit


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((784,)), keras.layers.Dense(10)])


def written(run):
    return json.loads((run.folder / "result.json").read_text())


def history(run):
    with (run.folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# A training with fit


def test_the_first_line_names_data_device_and_seed(digits, capsys):
    begin(digits)
    begin("sine wave", "10 windows")
    assert capsys.readouterr().out.splitlines() == [
        "scikit-learn digits (not MNIST): 100 training and 360 test images from scikit-learn; device cpu; seed 3",
        "sine wave: 10 windows; device cpu; seed 3",
    ]


def test_a_run_that_is_killed_leaves_a_result_that_says_running(run):
    assert written(run)["status"] == "running"


def test_a_finished_run_leaves_result_and_history(run, fit, digits):
    model = fit(run)
    assert written(run)["status"] == "trained"
    train, test = {"accuracy": 0.2, "loss": 2.0}, {"accuracy": 0.12, "loss": np.nan, "auc": 0.5}
    baseline = np.float32(0.5)
    result = run.finish("Test accuracy: 12.0%", "baseline 50%", model, train=train, test=test, baseline=baseline)
    facts = written(run)
    assert result == {**facts, "test_loss": pytest.approx(np.nan, nan_ok=True), "folder": run.folder}
    expected = {
        "script": "script", "status": "finished", "dataset": digits.name, "data_origin": "scikit-learn",
        "train_images": 100, "test_images": 360, "parameters": 7850, "epochs": 2, "steps": 18, "seed": 3,
        "device": "cpu", "replicas": 1, "precision": "float32", "train_accuracy": 0.2, "train_loss": 2.0,
        "test_accuracy": 0.12, "test_loss": None, "test_auc": 0.5, "baseline": 0.5,
        "flags": {"out": None, "seed": 3, "show": False, "epochs": 2},
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected
    assert 0 < facts["seconds_training"] <= facts["seconds_total"]
    assert facts["versions"]["keras"] == keras.__version__
    rows = history(run)
    assert [(row["epoch"], row["steps"]) for row in rows] == [("1", "9"), ("2", "18")]
    assert list(rows[0]) == ["dataset", "epoch", "steps", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert rows[0]["dataset"] == digits.name
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])


def test_the_closing_line_has_headline_baseline_parameters_seconds_and_folder(run, fit, capsys):
    run.finish("Test accuracy: 12.0%", "without memory at least 0.5", fit(run))
    headline, baseline, parameters, seconds, folder = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert headline == "Test accuracy: 12.0% on scikit-learn digits (not MNIST)"
    assert (baseline, parameters) == ("without memory at least 0.5", "7,850 parameters")
    assert seconds.endswith(" s of training")
    assert folder == cli.relative(run.folder)


def test_a_run_without_its_callbacks_still_ends_with_a_result(run, model, capsys):
    result = run.finish("Test loss: 2.3", "baseline 50%", model)
    assert result["status"] == written(run)["status"] == "finished"
    assert "seconds_training" not in result
    assert capsys.readouterr().out.splitlines()[-1].split(" | ")[1:3] == ["baseline 50%", "7,850 parameters"]


def test_the_headline_is_the_accuracy_or_without_one_the_loss():
    assert runs.headline({"loss": 0.05, "accuracy": 0.98264}) == "Test accuracy: 98.3%"
    assert runs.headline({"loss": 0.05, "auc": 0.98}) == "Test loss: 0.0500"


# Ctrl-C


def press_ctrl_c(times=1, number=signal.SIGINT):
    for _ in range(times):
        signal.raise_signal(number)


class PressCtrlC(keras.callbacks.Callback):
    """Press it in the fourth update of the second epoch."""

    def __init__(self, *times):
        super().__init__()
        self.times = times

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.iterations == 12:
            press_ctrl_c(*self.times)


@not_on_windows
@pytest.mark.parametrize(("name", "called"), [("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP")])
def test_ctrl_c_and_the_like_end_fit_after_the_update_and_keep_the_run(name, called, run, fit, capsys):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    model = fit(run, [PressCtrlC(1, number)])
    assert f"{called}: stopping soon and keeping what was learned" in capsys.readouterr().out
    assert (written(run)["status"], written(run)["steps"]) == ("interrupted", 13)  # also if it is killed from here on
    result = run.finish("Test accuracy: 12.0%", "baseline 50%", model)
    assert (result["status"], result["epochs"], result["steps"]) == ("interrupted", 1, 13)
    assert written(run)["status"] == "interrupted"
    assert [row["steps"] for row in history(run)] == ["9", "13"]  # a whole epoch, and what there was of the next
    assert "| interrupted after 1 of 2 epochs |" in capsys.readouterr().out
    assert signal.getsignal(number) is before


@not_on_windows
def test_ctrl_c_in_a_validation_ends_fit_with_its_epoch(run, fit):
    class PressInValidation(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            press_ctrl_c(times=not run.interrupted)

    fit(run, [PressInValidation()])
    assert (written(run)["status"], written(run)["epochs"], written(run)["steps"]) == ("interrupted", 1, 9)


@not_on_windows
def test_ctrl_c_keeps_the_run_when_the_reader_of_its_pipe_dies_too(run, fit, monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        run.finish("Test accuracy: 12.0%", "baseline 50%", fit(run, [PressCtrlC()]))
        assert sys.stdout is broken
    assert "interrupted after 1 of 2 epochs" in capfd.readouterr().err


@not_on_windows
def test_a_second_ctrl_c_stops_fit_at_once(run, fit):
    with pytest.raises(KeyboardInterrupt):
        fit(run, [PressCtrlC(2)])


def test_fit_works_in_a_thread_where_signals_cannot_be_caught(run, fit):
    thread = threading.Thread(target=fit, args=(run,))
    thread.start()
    thread.join()
    assert run.facts["epochs"] == 2


# A disk that is full, a folder that is gone, a clock that is wrong


def epoch_ends(action):
    """Return a callback that calls `action(epoch)` at the end of an epoch."""
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: action(epoch))


def full(path):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_cannot_be_written_is_one_note_and_at_the_end_one_error(digits, fit, capsys):
    run = begin(digits, epochs=2, resume=None)
    capsys.readouterr()
    (run.folder / "history.csv").mkdir()  # and so cannot be written
    model = fit(run)
    run.write("model.keras", full)
    why = r"history.csv, model.keras could not be written \(Is a directory, No space left on device\)"
    with pytest.raises(cli.UserError, match=f"^{why}; mend that, then python script.py --resume "):
        run.finish("Test accuracy: 12.0%", "baseline 50%", model)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"note: {cli.relative(run.folder)}/history.csv was not written (Is a directory)",
        f"note: {cli.relative(run.folder)}/model.keras was not written (No space left on device)",
    ]
    assert printed.out.splitlines()[-1].startswith("Test accuracy: 12.0% on scikit-learn digits (not MNIST) | ")
    assert (written(run)["status"], written(run)["epochs"]) == ("failed", 2)
    assert (run.folder / "checkpoint.npz").exists()


def test_a_file_that_is_written_at_last_is_not_lost(run, fit):
    (run.folder / "history.csv").mkdir()
    model = fit(run, [epoch_ends(lambda epoch: epoch or (run.folder / "history.csv").rmdir())])
    assert run.finish("Test accuracy: 12.0%", "baseline 50%", model)["status"] == written(run)["status"] == "finished"
    assert [row["epoch"] for row in history(run)] == ["2"]


def test_a_disk_that_is_full_at_the_last_write_loses_no_checkpoint(digits, fit, monkeypatch):
    run = begin(digits, epochs=2, resume=None)
    model = fit(run)
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_result", lambda folder, facts: full(folder))
        with pytest.raises(cli.UserError, match=r"^result.json could not be written \(No space left on device\); mend"):
            run.finish("Test accuracy: 12.0%", "baseline 50%", model)
    assert written(run)["status"] == "trained"
    assert (run.folder / "checkpoint.npz").exists()
    assert run.finish("Test accuracy: 12.0%", "baseline 50%", model)["status"] == written(run)["status"]


def test_a_folder_that_was_deleted_is_there_again(run, fit, capsys):
    model = fit(run, [epoch_ends(lambda epoch: epoch or shutil.rmtree(run.folder))])
    run.write("model.keras", model.save)
    run.finish("Test accuracy: 12.0%", "baseline 50%", model)
    assert capsys.readouterr().err == f"note: {run.folder} was gone; it is there again, without what it held\n"
    assert {path.name for path in run.folder.iterdir()} == {"result.json", "history.csv", "model.keras"}
    assert (written(run)["status"], written(run)["epochs"]) == ("finished", 2)


def test_a_file_in_place_of_the_folder_ends_in_one_line(run, fit, capsys):
    def replace(epoch):
        if epoch == 0:
            shutil.rmtree(run.folder)
            run.folder.write_text("mine")

    def main():
        model = fit(run, [epoch_ends(replace)])
        run.write("model.keras", model.save)
        return run.finish("Test accuracy: 12.0%", "baseline 50%", model)

    with pytest.raises(SystemExit) as caught:
        script.launch(main)
    assert caught.value.code == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert all(line.startswith("note: ") for line in notes)
    assert error.startswith("error: history.csv, result.json, model.keras could not be written (File exists)")
    assert run.folder.read_text() == "mine"


@pytest.mark.parametrize("now", [0, 5_000_000_000])
def test_a_clock_before_1980_or_after_2107_loses_no_network(now, run, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now)
        run.write("model.keras", model.save)
    loaded = keras.models.load_model(run.folder / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


# A training loop


def test_a_loop_counts_its_steps_and_its_seconds(loop, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(runs.time, "perf_counter", lambda: seconds[0])
    for _ in loop.until_ctrl_c(range(4)):
        seconds[0] += 2.5
    assert (written(loop)["status"], written(loop)["steps"], written(loop)["seconds_training"]) == ("trained", 4, 10.0)
    assert "epochs" not in loop.facts


def test_of_two_trainings_the_first_is_recorded(loop):
    for steps in (4, 9):
        assert list(loop.until_ctrl_c(range(steps))) == list(range(steps))
    assert written(loop)["steps"] == 4


def test_history_has_the_columns_that_the_script_records(loop):
    for step in loop.until_ctrl_c(range(2)):
        loop.record(step=step + 1, cost=0.5**step)
    assert history(loop) == [
        {"dataset": "sine wave", "step": "1", "cost": "1.0"},
        {"dataset": "sine wave", "step": "2", "cost": "0.5"},
    ]


@not_on_windows
@pytest.mark.parametrize(("pressed_in", "ending"), [(3, "interrupted after 4 of 10 steps"),
                                                    (9, "interrupted after its training")])  # fmt: skip
def test_ctrl_c_ends_a_loop_after_the_step_and_keeps_the_run(pressed_in, ending, loop, model, capsys):
    before = signal.getsignal(signal.SIGINT)
    for step in loop.until_ctrl_c(range(10)):
        if step == pressed_in:
            press_ctrl_c()
        last = step
    assert last == pressed_in
    assert signal.getsignal(signal.SIGINT) is before
    result = loop.finish("Cost: 0.5", "baseline 0.5", model)
    assert (result["status"], result["steps"]) == ("interrupted", pressed_in + 1)
    assert f"| {ending} |" in capsys.readouterr().out


@not_on_windows
def test_a_second_ctrl_c_stops_a_loop_at_once(loop):
    with pytest.raises(KeyboardInterrupt):
        for _ in loop.until_ctrl_c(range(10)):
            press_ctrl_c(times=2)
            pytest.fail("it went on")
