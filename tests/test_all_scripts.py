"""What every script promises, checked on each: run as a person runs it, from the shell."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import cli, mnist, results
from common.script import launch

import numpy as np
import pytest
import tensorflow as tf
from layer_lines import layer_lines
from tensorflow import keras

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.stem for path in PROJECT.glob("*.py"))
SHORT = {  # a few seconds of each script that trains
    "mlp_mnist": ["--data", "digits", "--limit", "200", "--epochs", "2"],
    "cnn_mnist": ["--data", "digits", "--limit", "100", "--epochs", "2", "--filters", "8"],
    "rnn_mnist": ["--data", "digits", "--limit", "100", "--epochs", "2", "--units", "16"],
    "fast_mnist": ["mlp", "--data", "digits", "--limit", "100", "--epochs", "2"],
    "rnn_memory": ["--data", "digits", "--limit", "100", "--epochs", "2"],
    "lstm_regressor": ["--steps", "12", "--units", "4"],
    "autoencoder_mnist": ["--data", "digits", "--limit", "100", "--epochs", "2", "--code", "2"],
    "vae_mnist": ["--data", "digits", "--limit", "100", "--epochs", "2", "--latent-dim", "4"],
    "gan_mnist": ["--data", "digits", "--limit", "200", "--steps", "4", "--latent-dim", "4"],
    "mode_collapse": ["--steps", "4", "--seeds", "1"],
    "adversarial_mnist": ["--data", "digits", "--limit", "100", "--epochs", "2"],
    "text_classifier": ["--data", "docstrings", "--labels", "60", "--epochs", "2", "--vectors", "random"],
}
REPLICATED = ("mlp_mnist", "cnn_mnist", "rnn_mnist", "fast_mnist", "autoencoder_mnist")
OTHERS = {"mnist_sampler": ["--data", "digits"], "figures": [], "rnn_cells": [], "paint_digits": ["nowhere.keras"],
          "read_digit": ["nowhere.png"]}  # fmt: skip
PATIENCE = 240  # seconds for a process on a busy machine
SHARED_FLAGS = ["--batch-size", "--seed", "--device", "--out", "--show"]
NETWORK = {name: "model" for name in SHORT} | {  # the file it is saved in
    "rnn_memory": "simple_rnn", "gan_mnist": "generator", "mode_collapse": "generator", "vae_mnist": "decoder",
    "adversarial_mnist": "defended"}  # fmt: skip
every_script = pytest.mark.parametrize("script", SHORT)
every_script_with_digits = pytest.mark.parametrize("script", [name for name in SHORT if "digits" in SHORT[name]])


def scripts(*quick):
    """Try a test on each of the scripts; on those that are not `quick`, as a slow test."""
    return pytest.mark.parametrize(
        "script", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in SHORT]
    )


def shell(script, *argv, cwd=None, **env):
    return subprocess.run(
        [sys.executable, PROJECT / f"{script}.py", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def test_every_script_is_tried_here():
    assert {*SHORT, *OTHERS} == set(SCRIPTS)


@scripts("mlp_mnist")
def test_a_run_elsewhere_is_tidy_from_the_first_line_to_the_last(script, tmp_path):
    run = shell(script, *SHORT[script], "--out", "out", "--seed", "7", cwd=tmp_path, HOME=str(tmp_path / "home"))
    assert run.returncode == 0, run.stdout
    first, *_, last = run.stdout.splitlines()
    if "digits" in SHORT[script]:
        assert "scikit-learn digits (not MNIST)" in first
        assert "scikit-learn digits (not MNIST)" in last
    assert "device cpu" in first or "device gpu" in first
    assert first.endswith("seed 7")
    assert last.endswith(" | out")
    assert not re.search(r"[\x08\x1b\r]", run.stdout), "control characters in a pipe"
    assert not re.search(r"(?i)warning|cuda|oneDNN|deprecat", run.stdout), run.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"result.json", "history.csv", f"{NETWORK[script]}.keras", f"{NETWORK[script]}.png"}
    assert json.loads((tmp_path / "out" / "result.json").read_text())["seed"] == 7
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_the_card_and_every_flag_on_a_screen_and_a_half(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(script).main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    flags = SHARED_FLAGS if script in SHORT else ["--seed", "--out", "--show"]
    of_images = ["--data", "--limit"] if "digits" in SHORT.get(script, []) else []
    model = ["Model", "Baseline"] if script in SHORT else []
    for word in ("Idea", "Run", "Expect", "Try next", "Source", *model, *flags, *of_images):
        assert word in printed
    assert "None" not in printed
    assert printed.count("\n") <= 45 + (script in ("gan_mnist", "lstm_regressor")) * 5


@every_script
def test_a_mistake_is_one_line_and_exit_code_2(script, capsys):
    main = importlib.import_module(script).main
    with pytest.raises(SystemExit) as caught:
        launch(lambda: main([*SHORT[script], "--batch-size", "none"]))
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: argument --batch-size: expected a whole number of at least 1, got 'none'")
    assert printed.err.count("\n") == 1


@pytest.mark.slow
def test_a_network_beyond_memory_is_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        launch(lambda: importlib.import_module("mlp_mnist").main([*SHORT["mlp_mnist"], "--units", "4000000000"]))
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: not enough memory; try a smaller network, --batch-size or --limit"]  # fmt: skip


@scripts("mlp_mnist")
def test_there_are_as_many_answers_and_baselines_as_the_labels_name_classes(script, tmp_path):
    if "digits" not in SHORT[script]:
        pytest.skip("reads no images")
    digits = mnist.load_mnist("digits", limit=60)
    for classes in (3, 26):
        first = 0 if classes == 3 else 16
        y_train, y_test = (first + labels % (classes - first) for labels in (digits.y_train, digits.y_test))
        np.savez(tmp_path / "some.npz", x_train=digits.x_train, x_test=digits.x_test, y_train=y_train, y_test=y_test)
        argv = [word for word in SHORT[script] if word != "digits"]
        argv.insert(argv.index("--data") + 1, str(tmp_path / "some.npz"))
        result = importlib.import_module(script).main(argv)
        assert (result["status"], result["classes"]) == ("finished", classes)
        if not re.search("gan|autoencoder|vae|adversarial", script):
            assert keras.models.load_model(result["folder"] / f"{NETWORK[script]}.keras").output_shape[1] == classes
            assert result["baseline"] == np.mean(y_test == np.bincount(y_train).argmax())


@scripts()  # by default test_recorder.py compares runs to the bit
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(script):
    main = importlib.import_module(script).main

    def trained(seed):
        folder = main([*SHORT[script], "--seed", seed])["folder"]
        weights = keras.models.load_model(folder / f"{NETWORK[script]}.keras").get_weights()
        return [array.tobytes() for array in weights], (folder / "history.csv").read_text()

    first = trained("1")
    assert trained("1") == first
    assert trained("2")[0] != first[0]


@scripts()
def test_two_replicas_train_and_draw_as_one_does(script):
    if script not in REPLICATED:
        pytest.skip("stays on one device")
    result = importlib.import_module(script).main([*SHORT[script], "--device", "cpu:2"])
    assert (result["status"], result["replicas"]) == ("finished", 2)
    assert len(list(result["folder"].glob("*.png"))) >= 4


@scripts("mlp_mnist")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no way to send Ctrl-C to one process")
def test_ctrl_c_keeps_what_was_learned_and_exits_130(script, tmp_path):
    endless = ["10000" if before in ("--epochs", "--steps") else word
               for before, word in zip(["", *SHORT[script]], SHORT[script], strict=False)]
    with (tmp_path / "printed").open("w") as printed:
        run = subprocess.Popen([sys.executable, PROJECT / f"{script}.py", *endless, "--out", tmp_path / "out"],
                               stdout=printed, stderr=subprocess.STDOUT)
        history = tmp_path / "out" / "history.csv"
        deadline = time.monotonic() + PATIENCE
        while not history.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=PATIENCE) == 130
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "out" / f"{NETWORK[script]}.keras").stat().st_size > 1000
    assert "Traceback" not in (tmp_path / "printed").read_text()
    if script == "gan_mnist":
        assert (tmp_path / "out" / "discriminator.keras").stat().st_size > 1000
        assert (tmp_path / "out" / "training.gif").exists()
        assert len(list((tmp_path / "out" / "snapshots").iterdir())) >= 2


@every_script_with_digits
def test_bad_data_are_refused_before_training(script, tmp_path):
    main = importlib.import_module(script).main
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4 cut short")
    for data, message in (("bad.npz", "bad.npz: not an .npz file, or a damaged one"), ("nowhere", "nowhere: ")):
        with pytest.raises(cli.UserError, match=message):
            main([*SHORT[script], "--data", str(tmp_path / data)])
    assert not results.RUNS_DIR.exists()


@every_script
def test_a_bad_device_or_folder_is_refused_before_training(script, tmp_path):
    main = importlib.import_module(script).main
    (tmp_path / "file").write_text("mine")
    for argv, message in (
        (["--device", "tpu"], "finds no tpu here|try --device cpu"),
        (["--out", str(tmp_path / "file")], "a file is in the way"),
    ):
        with pytest.raises(cli.UserError, match=message):
            main([*SHORT[script], *argv])
    assert not results.RUNS_DIR.exists()


@pytest.mark.parametrize("path", sorted(PROJECT.glob("common/**/*.py")), ids=lambda path: path.name)
def test_common_hides_no_lesson(path):
    code = path.read_text(encoding="utf-8")
    if path.name != "judge.py":  # a measuring instrument
        assert not re.search(r"layers\.\w+\(|model\.compile\(|\.fit\(|keras\.Sequential\(", code)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_lesson_imports_no_other_unless_it_continues_them(script):
    code = (PROJECT / f"{script}.py").read_text(encoding="utf-8")
    if "continues" not in importlib.import_module(script).__doc__:
        for other in SCRIPTS:
            assert not re.search(rf"^(import|from) {other}\b", code, re.MULTILINE)


@pytest.mark.parametrize(
    ("script", "function", "choices"),
    [
        ("mlp_mnist", "build_model", [()]),
        ("cnn_mnist", "build_model", [()]),
        ("rnn_mnist", "build_model", [()]),
        ("rnn_cells", "build_listing_51", [()]),
        ("rnn_cells", "build_bidirectional", [()]),
        ("rnn_memory", "build_model", [("simple_rnn",)]),
        ("lstm_regressor", "build_model", [()]),
        ("gan_mnist", "build_generator", [("dense",), ("conv",)]),
        ("autoencoder_mnist", "build_networks", [("basic",), ("deep",), ("denoising",), ("linear",), ("lstm",)]),
        ("vae_mnist", "build_encoder", [("dense",), ("conv",)]),
        ("vae_mnist", "build_decoder", [("dense",), ("conv",)]),
        ("gan_mnist", "build_discriminator", [("dense",), ("conv",)]),
        ("mode_collapse", "build_generator", [()]),
        ("mode_collapse", "build_discriminator", [()]),
        ("text_classifier", "build_model", [()]),
    ],
)
def test_each_layers_line_tells_its_shape_and_its_parameters(script, function, choices):
    build = getattr(importlib.import_module(script), function)
    networks = keras.tree.flatten([build(*arguments) for arguments in choices])
    layers = [layer for network in networks for layer in network.layers]
    expected = [(tuple(size for size in layer.output.shape if size), layer.count_params()) for layer in layers]
    assert layer_lines(build) == expected


DROPPED = (
    r"batch_input_shape|input_length|input_shape=\(|lr=|keras.layers.recurrent|np_utils|"
    r"model\.reset_states|tf\.placeholder|tf\.Session|dynamic_rnn|LeakyReLU\(alpha="
)


@pytest.mark.parametrize("path", [*PROJECT.glob("*.py"), *PROJECT.glob("common/**/*.py")], ids=lambda path: path.name)
def test_spellings_that_keras_3_dropped_are_nowhere(path):
    assert not re.search(DROPPED, path.read_text(encoding="utf-8"))


def test_the_code_in_the_readme_runs_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    importlib.import_module("mlp_mnist").main([*SHORT["mlp_mnist"], "--out", "runs/mlp_mnist/1"])
    digits = mnist.load_mnist("digits")
    (tmp_path / "data").mkdir()
    np.savez("data/mnist.npz", x_test=digits.x_test)
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.+?)```", readme, re.DOTALL)[1]
    exec(block, {})
    assert re.search(r"^\[\d \d \d \d \d\]$", capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / "model.tflite").stat().st_size > 1_000_000


@scripts("rnn_mnist")
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_the_saved_network_becomes_a_tflite_model_with_the_same_answers(script, rng, tmp_path):
    folder = importlib.import_module(script).main(SHORT[script])["folder"]
    model = keras.models.load_model(folder / f"{NETWORK[script]}.keras")
    shape = (model.input_shape[0] or 1, *model.input_shape[1:])
    model.export(tmp_path / "model.tflite", format="litert", verbose=False,
                 input_signature=[keras.InputSpec(shape=shape, dtype="float32")])  # fmt: skip
    x = rng.random(shape, dtype=np.float32)
    answer = next(iter(tf.lite.Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()(args_0=x).values()))
    np.testing.assert_allclose(answer, model.predict(x, verbose=0, batch_size=shape[0]), atol=1e-5)
