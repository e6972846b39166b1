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

import rnn_mnist
from common import cli

import numpy as np
import pytest
from tensorflow import keras

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.stem for path in PROJECT.glob("*.py"))
SHORT = {  # a few seconds of each script
    "mlp_mnist": ["--data", "digits", "--limit", "200", "--epochs", "2"],
    "cnn_mnist": ["--data", "digits", "--limit", "100", "--epochs", "2", "--filters", "8", "8", "--recipe", "fast"],
    "rnn_mnist": ["--data", "digits", "--limit", "100", "--epochs", "2", "--units", "16", "--recipe", "fast"],
    "lstm_regressor": ["--steps", "12", "--units", "4"],
    "gan_mnist": ["--data", "digits", "--limit", "1000", "--steps", "10", "--snapshot-every", "5", "--latent-dim", "4"],
}
SHARED_FLAGS = ["--batch-size", "--seed", "--device", "--replicas", "--precision", "--out", "--show", "--verbose"]
NETWORK = {name: "generator" if name == "gan_mnist" else "model" for name in SCRIPTS}  # the file it is saved in
every_script = pytest.mark.parametrize("script", SCRIPTS)
every_script_with_digits = pytest.mark.parametrize("script", [name for name in SHORT if "--data" in SHORT[name]])


def scripts(*quick):
    """Try a test on each of the scripts; on those that are not `quick`, as a slow test."""
    return pytest.mark.parametrize(
        "script", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in SCRIPTS]
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
    assert set(SHORT) == set(SCRIPTS)


@every_script
def test_a_run_elsewhere_is_tidy_from_the_first_line_to_the_last(script, tmp_path):
    run = shell(script, *SHORT[script], "--out", "out", "--seed", "7", cwd=tmp_path, HOME=str(tmp_path / "home"))
    assert run.returncode == 0, run.stdout
    first, *_, last = run.stdout.splitlines()
    if "--data" in SHORT[script]:
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


@every_script
def test_help_shows_the_card_and_every_flag(script, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(script).main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    of_images = ["--data", "--limit"] if "--data" in SHORT[script] else []
    for word in ("Idea", "Model", "Run", "Expect", "Baseline", "Try next", "Source", *SHARED_FLAGS, *of_images):
        assert word in printed
    assert re.search(r"--(epochs|steps) N", printed)
    assert "None" not in printed


@every_script
def test_a_mistake_is_one_line_and_exit_code_2(script, capsys):
    main = importlib.import_module(script).main
    with pytest.raises(SystemExit) as caught:
        cli.launch(lambda: main([*SHORT[script], "--batch-size", "none"]))
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: argument --batch-size: expected a whole number of at least 1, got 'none'")
    assert printed.err.count("\n") == 1


@scripts("mlp_mnist", "gan_mnist")
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(script):
    main = importlib.import_module(script).main

    def trained(seed):
        folder = main([*SHORT[script], "--seed", seed])["folder"]
        weights = keras.models.load_model(folder / f"{NETWORK[script]}.keras").get_weights()
        return [array.tobytes() for array in weights], (folder / "history.csv").read_text()

    first = trained("1")
    assert trained("1") == first
    assert trained("2")[0] != first[0]


@pytest.mark.parametrize(
    ("script", "flags", "peak", "climb"),
    [
        ("mlp_mnist", "", 0.005, 0.3),
        ("cnn_mnist", "--filters 4 4", 0.004, 0.1),
        *(("rnn_mnist", f"--units 4 --cell {cell}", peak, 0.3) for cell, peak in rnn_mnist.PEAK.items()),
    ],
)
def test_the_fast_recipe_climbs_to_its_peak_and_falls_to_zero(script, flags, peak, climb, compiled):
    module = importlib.import_module(script)
    _, options = compiled(module.main, f"--data digits --limit 97 --batch-size 10 {flags} --recipe fast".split())
    optimizer = options["optimizer"]
    assert type(optimizer).__name__ == "Adam"
    steps = 10 * module.RECIPES["fast"]["epochs"]
    rates = np.array([float(optimizer._learning_rate(step)) for step in range(steps + 1)])
    top = round(climb * steps)
    assert rates[[0, top, steps]] == pytest.approx([peak / 25, peak, 0], abs=1e-8)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[:top] == pytest.approx(np.linspace(peak / 25, peak, top, endpoint=False), rel=1e-4)


@pytest.mark.parametrize(
    ("script", "recipe", "aim"),
    [
        ("mlp_mnist", "fast", 1),
        ("cnn_mnist", "book", 1),
        ("cnn_mnist", "fast", 0.91),
        ("cnn_mnist", "best", 0.91),
        ("rnn_mnist", "book", 1),
        ("rnn_mnist", "fast", 0.91),
    ],
)
def test_the_loss_is_least_at_the_certainty_that_the_recipe_aims_for(script, recipe, aim, compiled):
    _, options = compiled(importlib.import_module(script).main, ["--data", "digits", "--recipe", recipe])
    truth, answer = np.eye(10)[:1], np.full((1, 10), 0.1 / 9)
    answer[0, 0] = 0.9
    expected = -aim * np.log(0.9) - (1 - aim) * np.log(0.1 / 9)
    assert float(keras.losses.get(options["loss"])(truth, answer).numpy().mean()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("script", "flags", "expected"),
    [
        ("cnn_mnist", "", 12),
        ("rnn_mnist", "", 12),
        ("cnn_mnist", "--batch-size 32", 15),
        ("cnn_mnist", "--replicas 2", 1),
        ("rnn_mnist", "--listing rnn-50", 1),
    ],
)
def test_keras_takes_as_many_steps_at_a_call_as_divide_an_epoch(script, flags, expected, compiled):
    _, options = compiled(importlib.import_module(script).main, ["--data", "digits", *flags.split()])
    assert options["steps_per_execution"] == expected


@pytest.mark.parametrize("script", ["cnn_mnist", *(pytest.param(name, marks=pytest.mark.slow)
                                                   for name in ("rnn_mnist", "gan_mnist"))])  # fmt: skip
def test_two_replicas_in_half_the_precision_train_and_draw_as_one_does(script):
    main = importlib.import_module(script).main
    result = main([*SHORT[script], "--replicas", "2", "--precision", "bfloat16"])
    assert (result["status"], result["replicas"], result["precision"]) == ("finished", 2, "mixed_bfloat16")
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
        deadline = time.monotonic() + 60
        while not history.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) == 130
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
    assert not cli.RUNS_DIR.exists()


@every_script
def test_a_bad_device_or_folder_is_refused_before_training(script, tmp_path):
    main = importlib.import_module(script).main
    (tmp_path / "file").write_text("mine")
    for argv, message in (
        (["--device", "tpu"], "finds no tpu here"),
        (["--out", str(tmp_path / "file")], "a file is in the way"),
    ):
        with pytest.raises(cli.UserError, match=message):
            main([*SHORT[script], *argv])
    assert not cli.RUNS_DIR.exists()


@pytest.mark.parametrize("path", [*PROJECT.glob("*.py"), *PROJECT.glob("common/*.py")], ids=lambda path: path.name)
def test_spellings_that_keras_3_dropped_are_nowhere(path):
    dropped = (
        "batch_input_shape|output_dim|input_length|input_dim|input_shape=|lr=|keras.layers.recurrent|np_utils|"
        r"model\.reset_states|tf\.placeholder|tf\.Session|dynamic_rnn|LeakyReLU\(alpha="
    )
    assert not re.search(dropped, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(PROJECT.glob("common/*.py")), ids=lambda p: p.name)
def test_common_hides_no_lesson(path):
    code = path.read_text(encoding="utf-8")
    assert not re.search(r"keras\.layers|import layers|model\.compile\(|\.fit\(|keras\.Sequential|keras\.Model", code)


@every_script
def test_a_script_stands_alone(script):
    code = (PROJECT / f"{script}.py").read_text(encoding="utf-8")
    for other in SCRIPTS:
        assert not re.search(rf"(import|from) {other}", code)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "recipe", "tolerance", "least"),
    [
        ("mlp_mnist", "fast", 0.2, 98.2),
        ("cnn_mnist", "fast", 0.08, 99.2),
        ("cnn_mnist", "best", 0.08, 99.5),
        ("rnn_mnist", "fast", 0.1, 98.1),
    ],
)
def test_the_recipes_reach_what_the_card_says(script, recipe, tolerance, least):
    module = importlib.import_module(script)
    expected = float(re.search(rf" --recipe {recipe}: ([\d.]+) %", module.__doc__)[1])
    results = [module.main(["--data", "mnist", "--recipe", recipe, "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in results])
    assert mean == pytest.approx(expected, abs=tolerance)
    assert mean >= least
