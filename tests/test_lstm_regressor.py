import itertools
import json
import re
import signal
import sys
from types import SimpleNamespace

import lstm_regressor
from common import cli, waves

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from tensorflow import keras

SMALL = ["--steps", "25", "--units", "4", "--batch-size", "6"]


@pytest.fixture(scope="session")  # once in each process, whatever order xdist takes the tests in
def learned():
    """Return what both networks make of 300 batches: their Watch, and the stateful model."""
    args = lstm_regressor.parse(["--steps", "300"])
    x = lstm_regressor.windows(300)
    watched = {}
    for name in ("stateless", "stateful"):
        keras.utils.set_random_seed(0)
        model = lstm_regressor.build_model(stateful=name == "stateful")
        watched[name] = lstm_regressor.Watch(name, x)
        lstm_regressor.train(model, x, args, [watched[name]])
    return watched, model


@pytest.mark.parametrize(("cell", "parameters"), [("lstm", 1781), ("gru", 1401), ("simple_rnn", 461)])
def test_parameters_and_shapes(cell, parameters):
    model = lstm_regressor.build_model(cell=cell)
    assert model.count_params() == parameters
    assert model.input_shape == model.output_shape == (50, 20, 1)
    assert [layer.output.shape for layer in model.layers] == [(50, 20, 20), (50, 20, 1)]
    if cell == "lstm":
        assert [layer.count_params() for layer in model.layers] == [1760, 21]
        assert "1,781 parameters" in lstm_regressor.__doc__


def test_every_row_goes_on_where_it_stopped():
    x = lstm_regressor.windows(steps=7, batch_size=5, time_steps=20)
    assert x.shape == (7, 5, 20)
    for row in range(5):
        points = 20 * row + np.arange(7 * 20)  # document 004: row i starts 20 i steps on, x = step / (10 pi)
        np.testing.assert_array_equal(x[:, row].ravel(), points / (10 * np.pi))


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


@pytest.mark.parametrize("cell", lstm_regressor.CELLS)
def test_a_plain_prediction_moves_the_state_and_run_on_puts_it_back(cell):
    model = lstm_regressor.build_model(batch_size=3, cell=cell)
    x = lstm_regressor.windows(2, 3)
    model.predict_on_batch(np.sin(x[0])[:, :, None])
    weights, states = model.get_weights(), [np.array(state) for state in model.layers[0].states]
    x_next, prediction = lstm_regressor.run_on(model, x[0, :, -1], frequency=1.0, length=2)
    np.testing.assert_allclose(x_next[:20], x[1, -1], atol=1e-12)
    for before, after in zip(weights + states, model.get_weights() + model.layers[0].states, strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(model.predict_on_batch(np.sin(x[1])[:, :, None])[-1, :, 0], prediction[:20])
    assert np.abs(states[0] - np.array(model.layers[0].states[0])).max() > 1e-3


def test_the_wave_goes_on_where_the_training_has_not_been_at_any_frequency():
    model = lstm_regressor.build_model(batch_size=2)
    x = lstm_regressor.windows(steps=7, batch_size=2)
    x_next, prediction = lstm_regressor.run_on(model, x[-1, :, -1], frequency=3.0, length=4)
    assert x_next.shape == prediction.shape == (80,)
    assert x_next.min() > x.max()
    np.testing.assert_allclose(np.diff(x_next, prepend=x.max()), 3 / (10 * np.pi))


def test_watching_and_drawing_leave_the_training_as_keras_alone_does_it():
    x = lstm_regressor.windows(12, 6)
    args = lstm_regressor.parse(["--batch-size", "6"])

    def trained(kind, callbacks):
        keras.utils.set_random_seed(0)
        model = kind(lstm_regressor.build_model(6).layers)
        model.build((6, 20, 1))
        lstm_regressor.train(model, x, args, callbacks)
        return model

    drawn = []
    watch = lstm_regressor.Watch("stateful", x, lambda *frame: drawn.append(frame))
    ours, keras_alone = trained(lstm_regressor.Regressor, [watch]), trained(keras.Sequential, [])
    for mine, theirs in zip(ours.get_weights(), keras_alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(ours.layers[0].states, keras_alone.layers[0].states, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [title[:19] for _, _, title in drawn] == ["stateful: batch 0, ", "stateful: batch 10,"]
    kept = np.mean((np.array(watch.predictions) - np.cos(x)) ** 2, axis=(1, 2))
    np.testing.assert_allclose(kept, watch.costs, rtol=1e-4)  # of this very batch, before its update


def test_it_learns_what_no_network_without_memory_can(learned):
    watched, _ = learned
    stateful, errors = watched["stateful"].results()
    stateless, twin_errors = watched["stateless"].results()
    assert stateful["worst_cost_last_100"] < 0.03 < stateless["worst_cost_last_100"] < 0.5
    assert stateful["cost_at_first_step"] < 2 * errors.mean(), "no peak at the first step"
    assert stateless["cost_at_first_step"] == pytest.approx(0.5, abs=0.02), "there the twin has no memory"
    assert twin_errors[0] > 20 * twin_errors[-1]
    assert errors.mean() == pytest.approx(np.mean(watched["stateful"].costs[-100:]), rel=1e-4)


def test_it_follows_the_wave_it_knows_and_not_one_thrice_as_fast(learned):
    _, model = learned
    costs = []
    for frequency in (1.0, 3.0):
        x, prediction = lstm_regressor.run_on(model, lstm_regressor.windows(300)[-1, :, -1], frequency)
        costs.append(np.mean((prediction - np.cos(x)) ** 2))
    assert costs[0] < 0.03 < 0.3 < costs[1]


def test_a_run_leaves_the_result_and_a_moving_picture(capsys):
    result = lstm_regressor.main([*SMALL, "--stateless", "--frequency", "1", "4"])
    written = json.loads((result["folder"] / "result.json").read_text())
    assert {key: written[key] for key in ("dataset", "steps", "parameters")} == {
        "dataset": "sine wave", "steps": 25, "parameters": 101,
    }  # fmt: skip
    assert written["memoryless_bound"] == 0.5
    assert "epochs" not in written
    keys = {"worst_cost_last_100", "final_cost", "cost_at_first_step"}
    assert written.keys() >= keys
    assert written["stateless"].keys() == keys
    assert written["cost_by_frequency"].keys() == {"1.0", "4.0"}
    rows = (result["folder"] / "history.csv").read_text().splitlines()
    assert (rows[0], len(rows)) == ("dataset,step,cost", 26)
    assert float(rows[-1].split(",")[-1]) == pytest.approx(written["final_cost"])
    assert {path.name for path in result["folder"].iterdir()} >= {"regressor.png", "unseen.png", "model.png"}
    with Image.open(result["folder"] / "regressor.gif") as gif:
        assert gif.n_frames == 3  # batches 0, 10 and 20
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            red, green, blue = np.moveaxis(np.asarray(gif.convert("RGB")).astype(int), -1, 0)
            frames.append((blue > 150) & (red < 100) & (green < 100))  # the network's curve
    assert all(np.sum(before != after) > 100 for before, after in itertools.pairwise(frames))
    printed = capsys.readouterr().out
    assert "stateful: batch   20, cost " in printed
    assert "stateless: batch   20, cost " in printed
    assert "Worst cost of the last 100 batches: " in printed.splitlines()[-1]


def test_the_bound_without_memory_is_right():
    x = lstm_regressor.windows()[:, 0].ravel()  # 51 periods; to a sine of s comes now c, now -c
    assert np.mean(np.cos(x) ** 2) == pytest.approx(lstm_regressor.MEMORYLESS_BOUND, abs=0.001)
    bins = np.digitize(np.sin(x), np.linspace(-1, 1, 101))
    best = np.array([np.mean(np.cos(x)[bins == index]) for index in bins])  # the mean for each sine: nothing is better
    assert np.mean((np.cos(x) - best) ** 2) == pytest.approx(lstm_regressor.MEMORYLESS_BOUND, abs=0.01)


def test_flags_reach_the_training():
    model = lstm_regressor.build_model(2)
    x = lstm_regressor.windows(3, 2)
    for argv, rate, norm in ([], 0.006, 1.0), (["--learning-rate", "0.1", "--clip-norm", "3"], 0.1, 3.0):
        args = lstm_regressor.parse([*argv, "--batch-size", "2"])
        lstm_regressor.train(model, x, args, [lstm_regressor.Watch("stateful", x)])
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
        assert model.optimizer.clipnorm == norm


def test_a_cost_of_nan_is_reported_as_it_is():
    watch = lstm_regressor.Watch("stateful", lstm_regressor.windows(2, 3))
    watch.costs, watch.predictions = [1.0, np.nan], np.zeros((2, 3, 20))
    assert np.isnan(watch.results()[0]["worst_cost_last_100"])


def test_in_a_terminal_the_cost_is_one_moving_line(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lstm_regressor.main(SMALL)
    printed = capsys.readouterr().out
    assert printed.count("\r") == 3
    assert re.search(r"batch    0, cost [\d.]+ +\rstateful: batch   10, cost [\d.]+ +\r.* 20, cost [^\n]*\r\n", printed)


def test_ctrl_c_in_the_twin_keeps_both(monkeypatch, capsys):
    class PressCtrlC(lstm_regressor.Watch):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if self.name == "stateless" and batch == 5:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(lstm_regressor, "Watch", PressCtrlC)
    result = lstm_regressor.main([*SMALL, "--stateless"])
    assert (result["status"], result["steps"]) == ("interrupted", 25)
    assert result["stateless"]["worst_cost_last_100"] > 0
    assert "interrupted after its training" in capsys.readouterr().out


def test_several_replicas_are_refused(monkeypatch):
    monkeypatch.setattr(lstm_regressor.device, "_tpu_strategy", lambda: SimpleNamespace(num_replicas_in_sync=8))
    for flags in ("--device tpu", "--replicas 2"):
        with pytest.raises(cli.UserError, match=f"{flags.split()[0]}.*: the state of a row lives on one device"):
            lstm_regressor.main(flags.split())
    assert not cli.RUNS_DIR.exists()


@pytest.mark.slow
def test_in_float16_it_learns_as_in_float32():
    costs = [lstm_regressor.main([*SMALL, "--precision", name])["final_cost"] for name in ("float32", "float16")]
    assert costs[1] == pytest.approx(costs[0], rel=0.02)


def test_the_saved_network_loads_without_the_script():
    folder = lstm_regressor.main(SMALL)["folder"]
    model = keras.models.load_model(folder / "model.keras")
    assert type(model) is keras.Sequential
    assert model.predict_on_batch(np.zeros((6, 20, 1))).shape == (6, 20, 1)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--clip-norm", "0"], "--clip-norm: expected a number above 0"),
        (["--frequency", "-1"], "--frequency: expected"),
        (["--steps", "0"], "--steps: expected a whole number of at least 1"),
        (["--time-steps", "0"], "--time-steps: expected"),
        (["--cell", "brain"], "--cell: invalid choice"),
        (["--data", "digits"], "unrecognized arguments: --data"),
    ],
)
def test_bad_flags_are_named(argv, expected):
    with pytest.raises(cli.UserError, match=expected):
        lstm_regressor.main(argv)


def test_without_a_display_show_says_so_and_the_run_goes_on(capsys):
    assert lstm_regressor.main([*SMALL, "--show"])["status"] == "finished"
    assert "note: the training is not shown live (no display)" in capsys.readouterr().err


def test_closing_the_window_ends_the_drawing_and_not_the_run(monkeypatch):
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "a window")
    monkeypatch.setattr(plt.Figure, "show", lambda figure: None)
    draw = waves.window()
    x = lstm_regressor.windows(1)[0]
    draw(x, np.cos(x), "open")
    assert plt.gca().get_title() == "open"
    plt.close("all")
    draw(x, np.cos(x), "closed")
    assert not plt.get_fignums()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_card_is_right(seed):
    result = lstm_regressor.main(["--seed", str(seed), "--stateless"])
    assert result["worst_cost_last_100"] < 0.01
    default, _clipped_late, _document = re.findall(r": +([\d.]+(?: [\d.]+){4})\n", lstm_regressor.__doc__)
    assert result["worst_cost_last_100"] == pytest.approx(float(default.split()[seed]), rel=0.5)
    if seed == 0:
        card = " ".join(lstm_regressor.__doc__.split())
        line = r"is at ([\d.]+) .* holds \(cost ([\d.]+), seed 0\); at half the frequency ([\d.]+), at twice ([\d.]+)\."
        twin, same, half, twice = map(float, re.search(line, card).groups())
        assert result["stateless"]["worst_cost_last_100"] == pytest.approx(twin, rel=0.1)
        assert list(result["cost_by_frequency"].values()) == pytest.approx([half, same, twice], rel=0.5)
