"""A training that was killed, and goes on."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import cli, results
from common.recorder import Recorder

import numpy as np
import pytest
from PIL import Image
from tensorflow import keras

PROJECT = Path(results.__file__).parent.parent
PATIENCE = 240  # seconds for a process on a busy machine
MLP = "--data digits --limit 200 --epochs 3 --units 8".split()


class Killed(Exception):
    pass


@pytest.fixture
def killed(monkeypatch):
    """Return a function that runs a lesson until `step` of its training, and returns the folder that is left."""

    def run_until(main, argv, step):
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "on_train_batch_end", kill)
            run_until.step = step
            with pytest.raises(Killed):
                main(argv)
        return max(results.RUNS_DIR.glob("*/*"), key=lambda folder: int(folder.name))

    def kill(recorder, batch, logs=None):
        recorder._batches = batch + 1
        if recorder.model.optimizer.iterations >= run_until.step:
            raise Killed

    return run_until


def weights(folder, name="model.keras"):
    return [array.tobytes() for array in keras.models.load_model(folder / name).get_weights()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of a training that nothing stopped, with the flags MLP."""
    return importlib.import_module("mlp_mnist").main([*MLP, "--out", str(tmp_path_factory.mktemp("runs") / "whole")])


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        ("mlp_mnist", MLP),  # Adam's averages, dropout, the order of the images
        # augmentation, and a learning rate that changes
        pytest.param("fast_mnist", ["cnn-best", *"--data digits --limit 60 --epochs 3 --batch-size 20".split()],
                     marks=pytest.mark.slow),
        pytest.param("mlp_mnist", [*MLP, "--device", "cpu:2"], marks=pytest.mark.slow),
        pytest.param("cnn_mnist", "--data digits --limit 60 --epochs 3 --batch-size 30 --batch-norm".split(),
                     marks=pytest.mark.slow),
        pytest.param("rnn_mnist", "--data digits --limit 300 --epochs 3 --units 16 --cell gru".split(),
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_training_that_was_killed_goes_on_to_the_same_weights(script, argv, killed, whole, capsys):
    main = importlib.import_module(script).main
    whole = whole if argv == MLP else main(argv)
    folder = killed(main, argv, step=whole["steps"] - 1)  # in the last of three epochs
    assert json.loads((folder / "result.json").read_text())["status"] == "running"
    capsys.readouterr()
    result = main(["--resume", str(folder)])
    assert "going on after epoch 2 of 3\n" in capsys.readouterr().out
    assert result["folder"] == folder
    assert weights(folder) == weights(whole["folder"])
    assert (folder / "history.csv").read_text() == (whole["folder"] / "history.csv").read_text()
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole["folder"].iterdir()}
    same = ("status", "epochs", "steps", "train_loss", "test_loss", "seed")
    assert {key: result[key] for key in same} == {key: whole[key] for key in same}
    assert result["seconds_training"] > json.loads((folder / "result.json").read_text())["seconds_training"] / 2


def test_a_run_that_was_interrupted_goes_on_from_its_last_whole_epoch(whole, monkeypatch):
    main = importlib.import_module("mlp_mnist").main

    def press(recorder, batch, logs=None):
        if recorder.model.optimizer.iterations == 4:  # the first step of the last epoch
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_batch_begin", press)
        result = main(MLP)
    assert (result["status"], result["epochs"]) == ("interrupted", 2)
    again = main(["--resume", str(result["folder"])])
    assert (again["status"], again["epochs"]) == ("finished", 3)
    assert weights(again["folder"]) == weights(whole["folder"])
    assert (again["folder"] / "history.csv").read_text() == (whole["folder"] / "history.csv").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="written for the signals of POSIX")
def test_what_a_killed_process_left_goes_on_to_the_same_weights(tmp_path):
    script, out = PROJECT / "mlp_mnist.py", tmp_path / "out"
    whole = importlib.import_module("mlp_mnist").main([*MLP, "--epochs", "40"])
    run = subprocess.Popen([sys.executable, script, *MLP, "--epochs", "40", "--out", out], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while not (out / "checkpoint.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    run.wait()
    assert json.loads((out / "result.json").read_text())["status"] != "finished"
    importlib.import_module("mlp_mnist").main(["--resume", str(out)])
    assert json.loads((out / "result.json").read_text())["status"] == "finished"
    assert weights(out) == weights(whole["folder"])
    assert not list(out.glob("partial-*"))
    assert not (out / "checkpoint.npz").exists()


def test_a_network_that_could_not_be_saved_is_saved_once_there_is_room(whole, tmp_path, monkeypatch):
    main, folder = importlib.import_module("mlp_mnist").main, tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("keras.Sequential.save", lambda model, path: os.listdir(path))
        with pytest.raises(cli.UserError, match=r"^model.keras could not be written .*; mend that, then python"):
            main([*MLP, "--out", str(folder)])
    result = main(["--resume", str(folder)])
    assert (result["status"], result["epochs"]) == ("finished", 3)
    assert weights(folder) == weights(whole["folder"])
    assert (folder / "history.csv").read_text() == (whole["folder"] / "history.csv").read_text()


@pytest.mark.slow
def test_a_gan_goes_on_with_both_optimizers_and_all_its_snapshots(killed, capsys):
    main = importlib.import_module("gan_mnist").main
    argv = "--data digits --limit 100 --steps 30 --latent-dim 4".split()
    folder = killed(main, argv, step=16)
    pixels = np.load(folder / "snapshots" / "frames.npz")["pixels"]
    result = main(["--resume", str(folder)])
    assert "going on after epoch 5 of 10\n" in capsys.readouterr().out
    assert (result["status"], result["epochs"], result["steps"]) == ("finished", 10, 30)
    with np.load(folder / "snapshots" / "frames.npz") as frames:
        assert list(frames["steps"]) == list(range(0, 31, 3))
        np.testing.assert_array_equal(frames["pixels"][: len(pixels)], pixels)
    with Image.open(folder / "training.gif") as gif:
        assert gif.n_frames == 11
    assert (folder / "training_curves.png").exists()


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The folder of a run that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("runs") / "left"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "on_train_end", lambda recorder, logs=None: os.fspath(None))
        with pytest.raises(TypeError):
            importlib.import_module("mlp_mnist").main([*MLP, "--out", str(folder)])
    return folder


@pytest.mark.parametrize(
    ("script", "argv", "message"),
    [
        ("mlp_mnist", "--units 9", "goes on with the flags of .+, where units is 8; leave yours out"),
        ("mlp_mnist", "--learning-rate 0.1", "where learning-rate is not given; leave yours out"),
        ("mlp_mnist", "--out elsewhere", "where out is .+; leave yours out"),
        ("cnn_mnist", "", "the script of that run is mlp_mnist, not cnn_mnist"),
    ],
)
def test_what_contradicts_the_run_is_refused(script, argv, message, left):
    before = {path.name: path.read_bytes() for path in left.iterdir()}
    with pytest.raises(cli.UserError, match=message):
        importlib.import_module(script).main(["--resume", str(left), *argv.split()])
    assert {path.name: path.read_bytes() for path in left.iterdir()} == before


def test_other_images_and_another_model_are_refused(left, edited, monkeypatch):
    with monkeypatch.context() as patch:
        facts = json.loads((left / "result.json").read_text())
        patch.setattr(json, "loads", lambda text, **options: {**facts, "dataset": "MNIST"})
        with pytest.raises(cli.UserError, match=r"data set of that run is MNIST, not scikit-learn digits"):
            importlib.import_module("mlp_mnist").main(["--resume", str(left)])
    other = edited("mlp_mnist", ("layers.Dense(num_classes,", "layers.Dense(1 + num_classes,"))
    with pytest.raises(cli.UserError, match=r"checkpoint.npz: belongs to another model; was the script edited"):
        other.main(["--resume", str(left)])


def test_a_run_without_an_epoch_and_a_finished_one_are_refused(left, tmp_path):
    main = importlib.import_module("mlp_mnist").main
    for facts, message in (
        ('{"status": "running"}', "ended before its first epoch did, and is lost; start it anew"),
        ('{"status": "finished"}', "has come to its end"),
        ("{", "no run's folder; name one such as runs/mlp_mnist/1"),
    ):
        (tmp_path / "result.json").write_text(facts)
        with pytest.raises(cli.UserError, match=message):
            main(["--resume", str(tmp_path)])
    with pytest.raises(cli.UserError, match="no run's folder"):
        main(["--resume", str(tmp_path / "nowhere")])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such lock")
def test_a_run_that_is_still_going_on_is_refused(left, tmp_path):
    code = ("from common import results; import sys; results.reopen('mlp_mnist', sys.argv[1], sys.argv[2]);"
            "print('held', flush=True); input()")  # fmt: skip
    dataset = json.loads((left / "result.json").read_text())["dataset"]
    for name in ("result.json", "checkpoint.npz"):
        (tmp_path / name).write_bytes((left / name).read_bytes())
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path, dataset], cwd=PROJECT, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)  # fmt: skip
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(cli.UserError, match="still going on in another process"):
        results.reopen("mlp_mnist", str(tmp_path), dataset)
    other.kill()
    other.wait()
    assert results.reopen("mlp_mnist", str(tmp_path), dataset) == tmp_path
