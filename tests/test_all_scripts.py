"""What every script promises, checked on each; and that common/ stays small and in order."""

import ast
import importlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys

from common import cli, mnist, runs

import numpy as np
import pytest
import tensorflow as tf
from layer_lines import layer_lines
from tensorflow import keras

PROJECT = cli.PROJECT
SCRIPTS = sorted(path.stem for path in PROJECT.glob("*.py"))
COMMON = sorted(PROJECT.glob("common/**/*.py"))
FEW = ["--data", "digits", "--limit", "100", "--epochs", "2"]
SHORT = {  # a few seconds of each script that trains
    "mlp_mnist": [*FEW, "--units", "16"],
    "cnn_mnist": [*FEW, "--filters", "8"],
    "rnn_mnist": [*FEW, "--units", "16"],
    "fast_mnist": ["mlp", *FEW],
    "rnn_gradients": [*FEW, "--cell", "simple_rnn"],
    "rnn_memory": [*FEW, "--cell", "simple_rnn"],
    "lstm_regressor": ["--steps", "12", "--units", "4"],
    "text_classifier": ["--data", "docstrings", "--labels", "60", "--epochs", "2", "--vectors", "random"],
    "autoencoder_mnist": [*FEW, "--code", "2"],
    "pca_autoencoder": [*FEW, "--code", "2"],
    "gan_mnist": ["--data", "digits", "--limit", "200", "--steps", "4", "--latent-dim", "4"],
    "conditional_gan_mnist": ["--data", "digits", "--limit", "200", "--steps", "4", "--latent-dim", "4"],
    "mode_collapse": ["--steps", "4", "--seeds", "1"],
    "vae_mnist": [*FEW, "--latent-dim", "4"],
    "vae_gan_mnist": [*FEW, "--latent-dim", "4"],
    "adversarial_mnist": FEW,
}
PATIENCE = 240  # seconds for a process on a busy machine
every_script = pytest.mark.parametrize("script", SCRIPTS)


def trained(*quick):
    """Try a test on each script that trains; on those that are not `quick`, as a slow test."""
    slow = [pytest.param(script, marks=pytest.mark.slow) for script in SHORT if script not in quick]
    return pytest.mark.parametrize("script", [*quick, *slow])


def module(script):
    return importlib.import_module(script)


def help_of(script, capsys, monkeypatch):
    """Return what --help prints in a window of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        module(script).main(["--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@every_script
def test_a_lesson_is_short_and_help_shows_its_card_and_every_flag_on_a_screen_and_a_half(script, capsys, monkeypatch):
    assert len((PROJECT / f"{script}.py").read_text(encoding="utf-8").splitlines()) <= 205
    card, printed = module(script).__doc__.strip(), help_of(script, capsys, monkeypatch)
    assert len(card.splitlines()) <= 16
    parts = dict(re.findall(r"^(\w+(?: \w+)?)  (.+?)(?=^\w|\Z)", card, re.DOTALL | re.MULTILINE))
    of_training = ["Model", "Baseline"] if script in SHORT else []
    assert {"Idea", "Run", "Expect", "Try next", "Source", *of_training} <= parts.keys()
    assert len(parts["Expect"].splitlines()) <= 2, "its variants stand in benchmarks/results.md"
    assert card in printed
    assert printed.count("\n") <= 45
    assert ("--device" in printed) == (script in SHORT), "what trains is tried in SHORT"
    of_images = ["--limit", "--resume"] if "digits" in SHORT.get(script, []) else []
    assert not [flag for flag in ("--seed", "--out", "--show", *of_images) if flag not in printed]
    assert "None" not in printed


@every_script
def test_a_bad_value_of_any_flag_is_one_line_that_names_it_before_anything_is_written(script, capsys, monkeypatch):
    lines = re.findall(r"^  (--[\w-]+)(?: ([A-Z]+|\{\S+))?", help_of(script, capsys, monkeypatch), re.MULTILINE)
    files = ("PATH", "RUN", "DIR", "FILE", "MODEL", "KIND")  # whose names may be anything
    flags = {flag: value for flag, value in lines if value and value not in files}
    assert "--seed" in flags
    for flag, value in flags.items():
        for bad in ("nonsense", "nan", "-1") if value in ("N", "X", "P", "D") else ("nonsense",):
            with pytest.raises(cli.UserError, match=flag) as caught:
                module(script).main([f"{flag}={bad}"])
            assert "\n" not in str(caught.value)
    needed = {"paint_digits": ["some.keras"], "ask_text": ["a word"]}.get(script, [])
    with pytest.raises(cli.UserError, match="did you mean --seed"):
        module(script).main([*needed, "--sede=1"])
    assert not runs.RUNS_DIR.exists()


@pytest.mark.parametrize(
    ("script", "argv", "command"),
    [
        ("vae_mnist", "--gan", "vae_gan_mnist.py"),
        ("gan_mnist", "--conditional --steps 3", "conditional_gan_mnist.py"),
        ("autoencoder_mnist", "--kind linear", "pca_autoencoder.py"),
        ("text_classifier", "--ask good", "ask_text.py"),
        ("read_digit", "--check", "benchmarks/photographs.py"),
        ("mlp_mnist", "--lr 0.1", "--learning-rate"),
    ],
)
def test_a_flag_that_moved_is_answered_with_the_new_command(script, argv, command):
    with pytest.raises(cli.UserError, match=command) as caught:
        module(script).main(argv.split())
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def without_common(tmp_path_factory):
    """A folder with copies of all scripts, and nothing else."""
    folder = tmp_path_factory.mktemp("copies")
    for script in SCRIPTS:
        shutil.copy(PROJECT / f"{script}.py", folder)
    return folder


@every_script
def test_a_script_without_common_says_that_it_belongs_beside_it(script, without_common):
    run = subprocess.run([sys.executable, f"{script}.py"], cwd=without_common, capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": ""})
    assert run.returncode == 1
    assert "the folder common/ beside this file" in run.stderr


@trained("mlp_mnist")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no way to send Ctrl-C to one process")
def test_a_run_elsewhere_is_tidy_and_ctrl_c_keeps_what_was_learned_without_the_tee_behind_its_pipe(script, tmp_path):
    argv = [*SHORT[script], "--out", "out", "--seed", "7"]
    argv[1 + argv.index("--steps" if "--steps" in argv else "--epochs")] = "100000"
    out, environment = tmp_path / "out", {**os.environ, "PYTHONPATH": "", "HOME": str(tmp_path / "home")}
    with (tmp_path / "errors").open("w") as errors:
        run = subprocess.Popen([sys.executable, PROJECT / f"{script}.py", *argv], cwd=tmp_path, env=environment,
                               stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8")
        lines = [run.stdout.readline()]
        while not (out / "history.csv").exists() and lines[-1]:
            lines.append(run.stdout.readline())
        run.stdout.close()  # as the `tee` of `| tee log` does, which hears the same Ctrl-C
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=PATIENCE) == 130
    said = (tmp_path / "errors").read_text(encoding="utf-8")
    first, last, printed = lines[0], said.splitlines()[-1], "".join(lines) + said
    assert re.search(r"device cpu.*; seed 7; --\w+ \d+", first), "the seed, and what is not at its default"
    assert re.search(r"interrupted after \d+ of 100000 .* \| out$", last)
    if "digits" in SHORT[script]:
        assert f"python {script}.py --resume out\n" in said
        assert mnist.STAND_IN in first
        assert mnist.STAND_IN in last
    assert not re.search(r"[\x08\x1b\r]", printed), "control characters in a pipe"
    assert not re.search(r"(?i)warning|cuda|oneDNN|deprecat", printed), printed
    assert {path.suffix for path in out.iterdir()} >= {".json", ".csv", ".keras", ".png"}
    assert runs.read_result(out)["status"] == "interrupted"
    assert not (tmp_path / "runs").exists()


def test_a_run_is_named_after_the_file_that_runs(tmp_path):
    copied = shutil.copy(PROJECT / "mnist_sampler.py", tmp_path / "my_sampler.py")
    spec = importlib.util.spec_from_file_location("my_sampler", copied)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    result = script.main(["--data", "digits"])
    assert (result["script"], result["folder"]) == ("my_sampler", runs.RUNS_DIR / "my_sampler" / "1")


@trained()
def test_there_are_as_many_answers_and_baselines_as_the_labels_name_classes(script, tmp_path):
    if "digits" not in SHORT[script]:
        pytest.skip("reads no images")
    digits = mnist.load_mnist("digits", limit=60)
    for classes in (3, 26):
        first = 0 if classes == 3 else 16
        y_train, y_test = (first + labels % (classes - first) for labels in (digits.y_train, digits.y_test))
        np.savez(tmp_path / "some.npz", x_train=digits.x_train, x_test=digits.x_test, y_train=y_train, y_test=y_test)
        argv = [str(tmp_path / "some.npz") if word == "digits" else word for word in SHORT[script]]
        result = module(script).main(argv)
        assert (result["status"], result["classes"]) == ("finished", classes)
        if not re.search("gan|autoencoder|vae|adversarial", script):
            (network,) = result["folder"].glob("*.keras")
            assert keras.models.load_model(network).output_shape[1] == classes
            assert result["baseline"] == np.mean(y_test == np.bincount(y_train).argmax())


@trained()  # by default test_recorder.py compares runs to the bit
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(script):
    def outcome(seed):
        folder = module(script).main([*SHORT[script], "--seed", seed])["folder"]
        networks = [keras.models.load_model(path) for path in sorted(folder.glob("*.keras"))]
        weights = [array.tobytes() for network in networks for array in network.get_weights()]
        return weights, (folder / "history.csv").read_text()

    first = outcome("1")
    assert outcome("1") == first
    assert outcome("2")[0] != first[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_the_code_in_the_readme_runs_as_printed(tmp_path, monkeypatch, rng, capsys):
    monkeypatch.chdir(tmp_path)
    module("mlp_mnist").main([*FEW, "--out", "runs/mlp_mnist/1"])
    (tmp_path / "data").mkdir()
    np.savez("data/mnist.npz", x_test=mnist.load_mnist("digits").x_test)
    block = re.search(r"```python\n(.+?)```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    names = {}
    exec(block, names)
    assert re.search(r"^\[\d \d \d \d \d\]$", capsys.readouterr().out, re.MULTILINE)
    x = rng.random((1, 784), dtype=np.float32)
    answer = tf.lite.Interpreter("model.tflite").get_signature_runner()(args_0=x)
    np.testing.assert_allclose(*answer.values(), names["model"].predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize(
    ("script", "function", "choices"),
    [
        ("mlp_mnist", "build_model", [()]),
        ("cnn_mnist", "build_model", [()]),
        ("rnn_mnist", "build_model", [()]),
        ("rnn_cells", "build_listing_51", [()]),
        ("rnn_cells", "build_bidirectional", [()]),
        ("rnn_gradients", "build_model", [("simple_rnn",)]),
        ("rnn_memory", "build_model", [("simple_rnn",)]),
        ("lstm_regressor", "build_model", [()]),
        ("text_classifier", "build_model", [()]),
        ("autoencoder_mnist", "build_networks", [("basic",), ("deep",), ("denoising",), ("lstm",)]),
        ("pca_autoencoder", "build_networks", [()]),
        ("gan_mnist", "build_generator", [("dense",), ("conv",)]),
        ("gan_mnist", "build_discriminator", [("dense",), ("conv",)]),
        ("mode_collapse", "build_generator", [()]),
        ("mode_collapse", "build_discriminator", [()]),
        ("vae_mnist", "build_encoder", [("dense",), ("conv",)]),
        ("vae_mnist", "build_decoder", [("dense",), ("conv",)]),
    ],
)
def test_each_layers_line_tells_its_shape_and_its_parameters(script, function, choices):
    build = getattr(module(script), function)
    networks = keras.tree.flatten([build(*arguments) for arguments in choices])
    layers = [layer for network in networks for layer in network.layers]
    expected = [(tuple(size for size in layer.output.shape if size), layer.count_params()) for layer in layers]
    assert layer_lines(build) == expected


@every_script
def test_a_lesson_imports_no_other_unless_it_continues_them(script):
    others = [name for name in imports(PROJECT / f"{script}.py") if name in SCRIPTS]
    assert not others or "continues" in module(script).__doc__.lower()


def imports(path):
    """Return the names of the modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = [f"{node.module}.{name.name}" for name in node.names]
            names |= {name if (PROJECT / f"{name.replace('.', '/')}.py").exists() else node.module for name in inside}
    return names - {"common"}


TREE = {".".join(path.relative_to(PROJECT).with_suffix("").parts): imports(path) for path in COMMON}


def of_ours(name):
    return {imported for imported in TREE[name] if imported.split(".")[0] in ("common", *SCRIPTS)}


def test_common_is_small_and_shows_a_newcomer_four_files():
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in COMMON) <= 2400
    front = {path.stem for path in COMMON if path.parent.name == "common"}
    assert front == {"__init__", "cli", "device", "mnist", "runs"}


def test_in_common_all_arrows_point_one_way():
    left = {name: of_ours(name) for name in TREE}
    while left:
        free = {name for name, needed in left.items() if not needed & left.keys()}
        assert free, f"these import one another, or a lesson: {left}"
        left = {name: needed for name, needed in left.items() if name not in free}


def test_what_stands_at_the_bottom_of_common_imports_nothing_of_ours():
    for name in ("common.cli", "common.training.input_pipeline", "common.data.files", "common.data.readers"):
        assert of_ours(name) == set()
    assert of_ours("common.device") <= {"common.cli", "common.training.input_pipeline", "common.training.distributed"}
    assert of_ours("common.training.distributed") == {"common.cli"}
    assert of_ours("common.mnist") <= {"common.cli", "common.data.download", "common.data.readers"}


@pytest.mark.parametrize("path", COMMON, ids=lambda path: path.name)
def test_common_hides_no_lesson(path):
    if path.name != "metrics.py":  # the judge, a measuring instrument
        hidden = r"layers\.[A-Z]\w+\(|model\.compile\(|\.fit\(|keras\.Sequential\("
        assert not re.search(hidden, path.read_text(encoding="utf-8"))
