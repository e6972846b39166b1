import argparse
import csv
import json
import math
import os
import signal
import sys
import threading
import time

from common import mnist, runs

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

DIGITS = mnist.load_mnist("digits", limit=100)


@pytest.fixture
def run():
    args = argparse.Namespace(out=None, seed=3, started=time.perf_counter(), show=False)
    return runs.Run("script", args, tf.distribute.get_strategy(), DIGITS)


def fit(run, epochs=2, callbacks=(), optimizer="sgd"):
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [*run.callbacks, *callbacks]
    x = mnist.as_vectors(DIGITS.x_train)
    model.fit(x, DIGITS.y_train, epochs=epochs, batch_size=10, verbose=0, callbacks=callbacks, validation_split=0.1)
    return model


def test_the_first_line_names_data_device_and_seed(run, capsys):
    runs.Run("script", run.args, tf.distribute.get_strategy(), DIGITS)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "scikit-learn digits (not MNIST): 100 training and 360 test images from scikit-learn; device cpu; seed 3"
    )


def test_a_finished_run_leaves_result_and_history(run, capsys):
    model = fit(run)
    result = run.finish("Test accuracy: 12.0%", model, test_accuracy=np.float32(0.12), test_loss=np.nan, baseline=0.1)
    written = json.loads((run.folder / "result.json").read_text())
    assert result == {**written, "test_loss": pytest.approx(np.nan, nan_ok=True), "folder": run.folder}
    expected = {
        "script": "script", "status": "finished", "dataset": DIGITS.name, "train_images": 100, "test_images": 360,
        "parameters": 7850, "epochs": 2, "steps": 18, "seed": 3, "device": "cpu", "replicas": 1, "precision": "float32",
        "test_accuracy": pytest.approx(0.12), "test_loss": None, "baseline": 0.1,
    }  # fmt: skip
    assert {key: written[key] for key in expected} == expected
    assert 0 < written["seconds_training"] <= written["seconds_total"]
    assert written["versions"]["keras"] == keras.__version__
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert list(rows[0]) == ["dataset", "epoch", "steps", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert rows[0]["dataset"] == DIGITS.name
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])


def test_the_closing_line_has_headline_baseline_parameters_seconds_and_folder(run, capsys):
    run.finish("Test accuracy: 12.0%", fit(run, epochs=1), baseline=0.1135)
    headline, baseline, parameters, seconds, folder = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert headline == "Test accuracy: 12.0% on scikit-learn digits (not MNIST)"
    assert (baseline, parameters) == ("baseline 11.35%", "7,850 parameters")
    assert seconds.endswith(" s of training")
    assert folder == str(run.folder)


def test_a_run_that_dies_leaves_a_result_that_says_running(run):
    assert json.loads((run.folder / "result.json").read_text())["status"] == "running"


class PressCtrlC(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 13:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_update_that_float16_gives_up_ends_no_epoch(run):
    overflowing = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=math.inf)
    result = run.finish("Test accuracy: 12.0%", fit(run, optimizer=overflowing))
    assert (result["status"], result["epochs"]) == ("finished", 2)
    assert result["steps"] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process on Windows")
def test_ctrl_c_ends_the_training_after_the_step_and_keeps_the_run(run, capsys):
    before = signal.getsignal(signal.SIGINT)
    model = fit(run, epochs=5, callbacks=[PressCtrlC()])
    result = run.finish("Test accuracy: 12.0%", model)
    assert (result["status"], result["epochs"], result["steps"]) == ("interrupted", 1, 13)
    assert json.loads((run.folder / "result.json").read_text())["status"] == "interrupted"
    assert len((run.folder / "history.csv").read_text().splitlines()) == 3  # header, a whole epoch, what there was
    assert "interrupted after 1 of 5 epochs" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process on Windows")
def test_ctrl_c_keeps_the_run_when_the_reader_of_its_pipe_dies_too(run, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        model = fit(run, epochs=5, callbacks=[PressCtrlC()])
        run.finish("Test accuracy: 12.0%", model)
    assert "interrupted after 1 of 5 epochs" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process on Windows")
def test_a_second_ctrl_c_stops_at_once(run):
    class PressTwice(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        fit(run, callbacks=[PressTwice()])


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process on Windows")
def test_a_run_that_is_stopped_again_after_its_training_is_marked_interrupted(run):
    fit(run, epochs=5, callbacks=[PressCtrlC()])
    written = json.loads((run.folder / "result.json").read_text())
    assert (written["status"], written["steps"]) == ("interrupted", 13)


def test_training_works_in_a_thread_where_signals_cannot_be_caught(run):
    thread = threading.Thread(target=fit, args=(run,))
    thread.start()
    thread.join()
    assert run.facts["epochs"] == 2
