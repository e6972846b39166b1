"""A training that was killed or interrupted goes on, to the same bits; one that does not belong is refused."""

import importlib
import shutil
import signal

import mlp_mnist
from common import cli, runs
from common.training.recorder import Recorder

import pytest
from tensorflow import keras

MLP = "--data digits --limit 200 --epochs 3 --units 8".split()  # 2 steps an epoch


class Killed(Exception):
    pass


def kill_at(step, main, argv, patch):
    """Run a lesson until `step` of its training."""

    def kill(recorder, batch, logs=None):
        recorder.batches = batch + 1
        if recorder.model.optimizer.iterations >= step:
            raise Killed

    with patch.context() as context:
        context.setattr(Recorder, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            main(argv)


def weights(folder):
    return [array.tobytes() for array in keras.models.load_model(folder / "model.keras").get_weights()]


def history(folder):
    return (folder / "history.csv").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of a training that nothing stopped, with the flags MLP."""
    return mlp_mnist.main([*MLP, "--out", str(tmp_path_factory.mktemp("runs") / "whole")])


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The result of a run that Ctrl-C ended in the first of the two steps of its last epoch."""

    def press(recorder, batch, logs=None):
        if recorder.model.optimizer.iterations == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "on_train_batch_begin", press)
        return mlp_mnist.main([*MLP, "--out", str(tmp_path_factory.mktemp("runs") / "left")])


slow = pytest.mark.slow
SMALL = "--data digits --limit 60 --epochs 3"


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        ("mlp_mnist", MLP),  # Adam's averages, dropout, the order of the images
        # augmentation, and a learning rate that changes
        pytest.param("fast_mnist", ["cnn-best", *f"{SMALL} --batch-size 20".split()], marks=slow),
        pytest.param("mlp_mnist", [*MLP, "--device", "cpu:2"], marks=slow),
        pytest.param("cnn_mnist", f"{SMALL} --batch-size 30 --batch-norm".split(), marks=slow),
        pytest.param("rnn_mnist", "--data digits --limit 300 --epochs 3 --units 16 --cell gru".split(), marks=slow),
    ],
)
def test_a_training_that_was_killed_goes_on_to_the_same_bits(script, argv, whole, monkeypatch, tmp_path, capsys):
    main, folder = importlib.import_module(script).main, tmp_path / "killed"
    whole = whole if argv == MLP else main(argv)
    kill_at(whole["steps"] - 1, main, [*argv, "--out", str(folder)], monkeypatch)  # in the last of three epochs
    assert runs.read_result(folder)["status"] == "unfinished"
    capsys.readouterr()
    result = main(["--resume", str(folder)])
    assert "going on after epoch 2 of 3\n" in capsys.readouterr().out
    assert result["folder"] == folder
    assert weights(folder) == weights(whole["folder"])
    assert history(folder) == history(whole["folder"])
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole["folder"].iterdir()}
    same = ("status", "epochs", "steps", "train_loss", "test_loss", "seed")
    assert {key: result[key] for key in same} == {key: whole[key] for key in same}


def test_a_run_that_was_interrupted_goes_on_from_its_last_whole_epoch(left, whole, tmp_path):
    assert (left["status"], left["epochs"], left["steps"]) == ("interrupted", 2, 5)
    assert history(left["folder"]).count("\n") == 4  # with what there was of the last epoch
    folder = shutil.copytree(left["folder"], tmp_path / "copy")
    result = mlp_mnist.main(["--resume", str(folder)])
    assert (result["status"], result["epochs"]) == ("finished", 3)
    assert weights(folder) == weights(whole["folder"])
    assert history(folder) == history(whole["folder"])


@slow
def test_a_gan_goes_on_with_both_optimizers_and_all_its_snapshots(monkeypatch, tmp_path):
    main = importlib.import_module("gan_mnist").main
    kill_at(16, main, f"--data digits --limit 100 --steps 30 --latent-dim 4 --out {tmp_path}".split(), monkeypatch)
    result = main(["--resume", str(tmp_path)])
    assert (result["status"], result["epochs"], result["steps"]) == ("finished", 10, 30)
    assert len(list((tmp_path / "snapshots").glob("*.png"))) == 11


@pytest.mark.parametrize("argv", ["--units 9", "--units=8", "--out elsewhere", "--seed 0"])
def test_a_run_goes_on_with_its_own_flags_only(argv, left):
    with pytest.raises(cli.UserError, match="flags"):
        mlp_mnist.main(["--resume", str(left["folder"]), *argv.split()])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("layers.Dense(num_classes,", "layers.Dense(1 + num_classes,"), "checkpoint"),
        (('loss="categorical_crossentropy"', 'loss="mse"'), "mse"),
        (("keras.optimizers.get(args.optimizer)", "keras.optimizers.AdamW()"), "AdamW"),  # the same variables
    ],
)
def test_another_model_loss_or_optimizer_is_refused(change, named, left, edited):
    before = history(left["folder"])
    with pytest.raises(cli.UserError, match=named):
        edited("mlp_mnist", change).main(["--resume", str(left["folder"])])
    assert history(left["folder"]) == before


def test_another_script_and_other_images_are_refused(left, tmp_path):
    with pytest.raises(cli.UserError, match="mlp_mnist"):
        importlib.import_module("cnn_mnist").main(["--resume", str(left["folder"])])
    folder = shutil.copytree(left["folder"], tmp_path / "copy")
    runs.write_result(folder, {**runs.read_result(folder), "dataset": "MNIST"})
    with pytest.raises(cli.UserError, match="on MNIST"):
        mlp_mnist.main(["--resume", str(folder)])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"status": "unfinished", "flags": {}}', "checkpoint"),
        ('{"status": "finished", "flags": {}}', "end"),
        ("{", "not the folder of a run"),
        (None, "not the folder of a run"),
    ],
)
def test_a_folder_from_which_no_run_can_go_on_is_refused(content, named, tmp_path):
    if content:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(cli.UserError, match=named):
        mlp_mnist.main(["--resume", str(tmp_path)])
