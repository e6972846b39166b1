import importlib.util
import itertools
import json
import re
import signal
import sys
from pathlib import Path

import lstm_regressor
from common import cli, results, script
from common.plots import lstm_regressor as plots

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from tensorflow import keras

SMALL = ["--steps", "25", "--units", "4", "--batch-size", "6"]
LSTM = "layers.LSTM(units, return_sequences=True, stateful=stateful)"
DENSE = "layers.TimeDistributed(layers.Dense(1))"
GRU, SIMPLE_RNN = LSTM.replace("LSTM", "GRU"), LSTM.replace("LSTM", "SimpleRNN")
STACKED = f"{LSTM}, {GRU}"
RECORD, PREDICT = " " * 8 + "run.record", " " * 8 + "model.predict_on_batch(sines[step])\n"


@pytest.fixture
def edited(tmp_path):
    """Return a function that returns the lesson as a module, after {old text: new text} in its source."""

    def edit(replacements):
        source = Path(lstm_regressor.__file__).read_text(encoding="utf-8")
        for old, new in replacements.items():
            assert old in source
            source = source.replace(old, new)
        path = tmp_path / "edited.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("edited", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return edit


@pytest.fixture(scope="session")  # once in each process, whatever order xdist takes the tests in
def learned(tmp_path_factory):
    """Return what 300 batches give: the result, and the costs and errors that are drawn."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm_regressor, "FREQUENCIES", (1.0, 3.0))
        patch.setattr(lstm_regressor, "SHOW_EVERY", 300)
        patch.setattr(plots, "learned", lambda path, last, costs, errors, bound: drawn.extend([costs, errors]))
        folder = tmp_path_factory.mktemp("runs") / "learned"
        return lstm_regressor.main(["--steps", "300", "--stateless", "--out", str(folder)]), *drawn


def compiled(batch_size=6):
    """Return a network with random weights, compiled as in the lesson."""
    model = lstm_regressor.build_model(batch_size)
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(0.006, clipnorm=0.1))
    model.optimizer.build(model.trainable_variables)
    return model


def states(model):
    return [np.array(state) for layer in model.layers if hasattr(layer, "states") for state in layer.states]


def sines_and_cosines(x):
    return np.sin(x)[..., None].astype("float32"), np.cos(x)[..., None].astype("float32")


def test_every_row_goes_on_where_it_stopped():
    x = lstm_regressor.windows(steps=7, batch_size=5, time_steps=20)
    assert x.shape == (7, 5, 20)
    for row in range(5):
        points = 20 * row + np.arange(7 * 20)  # document 004: row i starts 20 i steps on, x = step / (10 pi)
        np.testing.assert_array_equal(x[:, row].ravel(), points / (10 * np.pi))


@pytest.mark.parametrize(("cell", "parameters"), [("LSTM", 1781), ("GRU", 1401), ("SimpleRNN", 461)])
def test_parameters_and_shapes_with_each_cell(cell, parameters, edited):
    model = edited({"layers.LSTM": f"layers.{cell}"}).build_model()
    assert model.count_params() == parameters
    assert model.input_shape == model.output_shape == (50, 20, 1)
    assert [layer.output.shape for layer in model.layers] == [(50, 20, 20), (50, 20, 1)]
    if cell == "LSTM":
        assert [layer.count_params() for layer in model.layers] == [1760, 21]
        assert f"{parameters:,} parameters" in lstm_regressor.__doc__


def test_two_half_windows_with_state_are_one_whole_window_without():
    whole = lstm_regressor.build_model(batch_size=3, time_steps=20, stateful=False)
    half = lstm_regressor.build_model(batch_size=3, time_steps=10)
    half.set_weights(whole.get_weights())
    sines = np.sin(lstm_regressor.windows(1, 3, 20)[0])[:, :, None]
    halves = [half.predict_on_batch(part) for part in np.split(sines, 2, axis=1)]
    np.testing.assert_allclose(np.concatenate(halves, axis=1), whole.predict_on_batch(sines), atol=1e-6)
    again = half.predict_on_batch(sines[:, :10])
    assert np.abs(again - halves[0]).max() > 1e-3, "the state of the window before is felt"
    half.layers[0].reset_state()
    np.testing.assert_array_equal(half.predict_on_batch(sines[:, :10]), halves[0])


def test_a_step_is_keras_own_step_and_returns_the_prediction_before_the_update():
    ours, keras_alone = compiled(), compiled()
    keras_alone.set_weights(ours.get_weights())
    for x, y in zip(*sines_and_cosines(lstm_regressor.windows(5, 6)), strict=True):
        cost, prediction = lstm_regressor.train_step(ours, x, y)
        assert float(cost) == pytest.approx(float(keras_alone.train_on_batch(x, y)), rel=1e-6)
        assert float(cost) == pytest.approx(np.mean((prediction - y) ** 2), rel=1e-5)
    for mine, theirs in zip(ours.get_weights(), keras_alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(states(ours), states(keras_alone), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("layer", [LSTM, SIMPLE_RNN, f"layers.Dropout(0.1), {STACKED}"])
def test_a_plain_prediction_moves_the_state_and_run_on_puts_it_back(layer, edited):
    lesson = edited({LSTM: layer})
    model, x = lesson.build_model(batch_size=3), lstm_regressor.windows(2, 3)
    model.predict_on_batch(np.sin(x[0])[:, :, None])
    weights, before = model.get_weights(), states(model)
    assert len(before) == {"LSTM": 2, "Simp": 1, "Drop": 3}[layer[7:11]]
    x_next, prediction = lesson.run_on(model, x[0], frequency=1.0, length=2)
    np.testing.assert_allclose(x_next[:20], x[1, -1], atol=1e-12)
    for old, new in zip(weights + before, model.get_weights() + states(model), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.predict_on_batch(np.sin(x[1])[:, :, None])[-1, :, 0], prediction[:20])
    assert all(np.abs(old - new).max() > 1e-3 for old, new in zip(before, states(model), strict=True))


def test_the_wave_goes_on_where_the_training_has_not_been_at_any_frequency():
    model = lstm_regressor.build_model(batch_size=2)
    x = lstm_regressor.windows(steps=7, batch_size=2)
    x_next, prediction = lstm_regressor.run_on(model, x[-1], frequency=3.0, length=4)
    assert x_next.shape == prediction.shape == (80,)
    assert x_next.min() > x.max()
    np.testing.assert_allclose(np.diff(x_next, prepend=x.max()), 3 / (10 * np.pi))


def test_it_learns_what_no_network_without_memory_can(learned):
    result, costs, errors = learned
    twin = result["stateless"]
    assert result["worst_cost_last_100"] < 0.03 < twin["worst_cost_last_100"] < 0.5
    assert costs["stateful"][0] == costs["stateless"][0], "both start from the same weights, and no state"
    assert result["cost_at_first_step"] < 2 * errors["stateful"].mean(), "no peak at the first step"
    assert twin["cost_at_first_step"] == pytest.approx(0.5, abs=0.02), "there the twin has no memory"
    assert errors["stateless"][0] > 20 * errors["stateless"][-1]
    for name in ("stateful", "stateless"):
        assert errors[name].mean() == pytest.approx(np.mean(costs[name][-100:]), rel=1e-4)


def test_it_follows_the_wave_it_knows_and_not_one_thrice_as_fast(learned):
    same, thrice = learned[0]["cost_by_frequency"].values()
    assert same < 0.03 < 0.3 < thrice


def test_the_bound_without_memory_is_right():
    x = lstm_regressor.windows()[:, 0].ravel()  # 51 periods; to a sine of s comes now c, now -c
    assert np.mean(np.cos(x) ** 2) == pytest.approx(lstm_regressor.MEMORYLESS_BOUND, abs=0.001)
    assert np.mean(np.abs(np.cos(x))) == pytest.approx(2 / np.pi, abs=0.001)
    bins = np.digitize(np.sin(x), np.linspace(-1, 1, 101))
    best = (np.bincount(bins, np.cos(x)) / np.maximum(np.bincount(bins), 1))[bins]  # the mean for each sine
    assert np.mean((np.cos(x) - best) ** 2) == pytest.approx(lstm_regressor.MEMORYLESS_BOUND, abs=0.01)


def test_a_run_leaves_the_result_and_a_moving_picture(monkeypatch, capsys):
    monkeypatch.setattr(lstm_regressor, "FREQUENCIES", (1.0, 4.0))
    result = lstm_regressor.main([*SMALL, "--stateless"])
    written = json.loads((result["folder"] / "result.json").read_text())
    assert {key: written[key] for key in ("dataset", "steps", "parameters", "memoryless_bound")} == {
        "dataset": "sine wave", "steps": 25, "parameters": 101, "memoryless_bound": 0.5,
    }  # fmt: skip
    assert "epochs" not in written
    keys = {"worst_cost_last_100", "final_cost", "cost_at_first_step"}
    assert written.keys() >= keys
    assert written["stateless"].keys() == keys
    assert all(isinstance(written["stateless"][key], float) for key in keys)
    assert written["cost_by_frequency"].keys() == {"1.0", "4.0"}
    rows = (result["folder"] / "history.csv").read_text().splitlines()
    assert (rows[0], len(rows)) == ("dataset,step,cost", 26)
    assert rows[-1] == f"sine wave,25,{written['final_cost']}"
    assert {path.name for path in result["folder"].iterdir()} == {
        "result.json", "history.csv", "model.keras", "model.png", "regressor.png", "unseen.png", "regressor.gif",
    }  # fmt: skip
    with Image.open(result["folder"] / "regressor.gif") as gif:
        assert gif.n_frames == 3  # batches 0, 10 and 20
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            red, green, blue = np.moveaxis(np.asarray(gif.convert("RGB")).astype(int), -1, 0)
            frames.append((blue > 150) & (red < 100) & (green < 100))  # the stateful network's curve
    assert all(np.sum(before != after) > 100 for before, after in itertools.pairwise(frames))
    printed = capsys.readouterr().out
    assert re.search(r"\nbatch 20, cost: stateful 0\.\d{4}, stateless 0\.\d{4}\n", printed)
    assert re.match(
        r"Worst cost of the last 100 batches: 0\.\d{4} \| from a single point at least 0.5 \| 101 parameters \| ",
        printed.splitlines()[-1],
    )


def test_a_cost_of_nan_is_reported_as_it_is(monkeypatch, capsys):
    monkeypatch.setattr(lstm_regressor, "LEARNING_RATE", np.nan)
    result = lstm_regressor.main([*SMALL, "--steps", "3"])
    assert np.isnan(result["worst_cost_last_100"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("Worst cost of the last 100 batches: nan | ")


def test_ctrl_c_ends_the_training_and_keeps_both_networks(monkeypatch, tmp_path, capsys):
    def press_ctrl_c(x, predictions, title):
        if title.startswith("batch 10,"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(plots, "window", lambda show: press_ctrl_c)
    with pytest.raises(SystemExit) as caught:
        script.launch(lambda: lstm_regressor.main([*SMALL, "--stateless", "--out", str(tmp_path / "out")]))
    assert caught.value.code == 130
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("interrupted", 11)
    assert result["worst_cost_last_100"] > 0
    assert result["stateless"]["worst_cost_last_100"] > 0
    assert (tmp_path / "out" / "model.keras").exists()
    assert " | interrupted after 11 of 25 steps | " in capsys.readouterr().out.splitlines()[-1]


def test_several_replicas_are_refused():
    for kind in ("tpu", "cpu:2"):
        with pytest.raises(cli.UserError, match=f"--device {kind}: the state of a row lives on one device"):
            lstm_regressor.main(["--device", kind])
    assert not results.RUNS_DIR.exists()


def test_the_saved_network_has_the_flags_and_trains_on_without_the_script():
    flags = ["--steps", "2", "--units", "3", "--time-steps", "5", "--batch-size", "4", "--clip-norm", "0.5"]
    model = keras.models.load_model(lstm_regressor.main(flags)["folder"] / "model.keras")
    assert type(model) is keras.Sequential
    assert (model.input_shape, model.layers[0].units) == ((4, 5, 1), 3)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.006)
    assert model.optimizer.clipnorm == 0.5
    before, ones = model.get_weights(), np.ones((4, 5, 1))
    assert model.predict_on_batch(ones).shape == (4, 5, 1)
    model.fit(ones, ones, batch_size=4, verbose=0)
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    "edits",
    [
        {LSTM: f"layers.Dropout(0.1), {STACKED}", DENSE: "layers.Dense(1)", 'loss="mse"': 'loss="mae"'},
        {LSTM: f"layers.Bidirectional({GRU})", "=(batch_size, time_steps": "=(batch_size, None"},
        {LSTM: f"{SIMPLE_RNN}, layers.LayerNormalization()", "0.5, 1.0, 2.0": "1.5,", "EVERY = 10": "EVERY = 1"},
        {"optimizers.Adam": "optimizers.SGD", 'loss="mse"': 'loss="huber", metrics=["mae"]', RECORD: PREDICT + RECORD},
    ],
)
def test_a_changed_line_loses_no_result(edits, edited, capsys):
    result = edited(edits).main([*SMALL, "--steps", "3"])
    printed = capsys.readouterr()
    assert result["status"] == "finished"
    assert 0 < result["worst_cost_last_100"] < 2
    assert printed.err == ""
    assert printed.out.splitlines()[-1].startswith("Worst cost of the last 100 batches: ")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--clip-norm", "0"], "--clip-norm: expected a number above 0"),
        (["--steps", "0"], "--steps: expected a whole number of at least 1"),
        (["--time-steps", "0"], "--time-steps: expected"),
        (["--data", "digits"], "unrecognized arguments: --data"),
    ],
)
def test_bad_flags_are_named(argv, expected):
    with pytest.raises(cli.UserError, match=expected):
        lstm_regressor.main(argv)


def test_in_a_terminal_without_a_display_the_cost_is_one_moving_line(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert lstm_regressor.main([*SMALL, "--show"])["status"] == "finished"
    printed = capsys.readouterr()
    assert printed.err.count("note: the training is not shown live (no display)") == 1
    assert re.search(
        r"\nbatch 0, cost: stateful [\d.]+ +\rbatch 10, cost: stateful [\d.]+ +\rbatch 20, cost: stateful [\d.]+\n",
        printed.out,
    )


def test_closing_the_window_ends_the_drawing_and_not_the_run(monkeypatch):
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "a window")
    monkeypatch.setattr(plt.Figure, "show", lambda figure: None)
    draw = plots.window(show=True)
    x = lstm_regressor.windows(1)[0]
    draw(x, {"stateful": np.cos(x)}, "open")
    assert plt.gca().get_title() == "open"
    assert len(plt.gca().lines[1].get_xdata()) == 10 * 20
    plt.close("all")
    draw(x, {"stateful": np.cos(x)}, "closed")
    assert not plt.get_fignums()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_card_is_right(seed):
    result = lstm_regressor.main(["--seed", str(seed), "--stateless"])
    assert result["worst_cost_last_100"] < 0.01
    card = " ".join(lstm_regressor.__doc__.split())
    worst = re.search(r"seeds 0 to 4: ([\d. ]+),", card)[1].split()
    assert result["worst_cost_last_100"] == pytest.approx(float(worst[seed]), rel=0.5)
    if seed == 0:
        line = r"twin is at ([\d.]+); .* cost is ([\d.]+), at half the frequency ([\d.]+), at twice ([\d.]+)\."
        twin, same, half, twice = map(float, re.search(line, card).groups())
        assert result["stateless"]["worst_cost_last_100"] == pytest.approx(twin, abs=0.005)
        assert list(result["cost_by_frequency"].values()) == pytest.approx([half, same, twice], rel=0.5)
