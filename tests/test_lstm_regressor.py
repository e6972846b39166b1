import json
import re

import lstm_regressor

import numpy as np
import pytest
from tensorflow import keras

SMALL = ["--steps", "25", "--units", "4", "--batch-size", "6"]
LSTM, DENSE = "layers.LSTM(units, return_sequences=True, stateful=stateful)", "layers.TimeDistributed(layers.Dense(1))"
GRU, SIMPLE_RNN = LSTM.replace("LSTM", "GRU"), LSTM.replace("LSTM", "SimpleRNN")


def states(model):
    return [np.array(state) for layer in model.layers if hasattr(layer, "states") for state in layer.states]


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


def test_a_step_is_keras_own_step_and_returns_the_prediction_before_the_update():
    ours, keras_alone = lstm_regressor.build_model(batch_size=6), lstm_regressor.build_model(batch_size=6)
    keras_alone.set_weights(ours.get_weights())
    for model in (ours, keras_alone):
        model.compile(loss="mse", optimizer=keras.optimizers.Adam(0.006, clipnorm=0.1))
        model.optimizer.build(model.trainable_variables)
    for x in lstm_regressor.windows(5, 6)[..., None].astype("float32"):
        cost, prediction = lstm_regressor.train_step(ours, np.sin(x), np.cos(x))
        assert float(cost) == pytest.approx(float(keras_alone.train_on_batch(np.sin(x), np.cos(x))), rel=1e-6)
        assert float(cost) == pytest.approx(np.mean((prediction - np.cos(x)) ** 2), rel=1e-5)
    both = zip(ours.get_weights() + states(ours), keras_alone.get_weights() + states(keras_alone), strict=True)
    for mine, theirs in both:
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("layer", "count"), [(LSTM, 2), (SIMPLE_RNN, 1), (f"layers.Dropout(0.1), {LSTM}, {GRU}", 3)])
def test_a_plain_prediction_moves_the_state_and_run_on_puts_it_back(layer, count, edited):
    lesson = edited("lstm_regressor", (LSTM, layer))
    model, x = lesson.build_model(batch_size=3), lesson.windows(2, 3)
    model.predict_on_batch(np.sin(x[0])[:, :, None])
    weights, before = model.get_weights(), states(model)
    assert len(before) == count
    x_next, prediction = lesson.run_on(model, x[0], frequency=1.0, length=2)
    np.testing.assert_allclose(x_next[:20], x[1, -1], atol=1e-12)
    for old, new in zip(weights + before, model.get_weights() + states(model), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.predict_on_batch(np.sin(x[1])[:, :, None])[-1, :, 0], prediction[:20])
    assert all(np.abs(old - new).max() > 1e-3 for old, new in zip(before, states(model), strict=True))
    thrice, _ = lesson.run_on(model, x[1], frequency=3.0, length=4)
    np.testing.assert_allclose(np.diff(thrice, prepend=x.max()), 3 / (10 * np.pi))  # where no training has been


@pytest.mark.slow
def test_it_learns_what_no_network_without_memory_can(monkeypatch):
    monkeypatch.setattr(lstm_regressor, "FREQUENCIES", (1.0, 3.0))
    monkeypatch.setattr(lstm_regressor, "SHOW_EVERY", 300)
    result = lstm_regressor.main(["--steps", "300", "--stateless"])
    twin = result["stateless"]
    assert result["worst_cost_last_100"] < 0.03 < twin["worst_cost_last_100"] < 0.5
    assert result["cost_at_first_step"] < 0.03
    assert twin["cost_at_first_step"] == pytest.approx(0.5, abs=0.02), "there the twin has no memory"
    same, thrice = result["cost_by_frequency"].values()
    assert same < 0.03 < 0.3 < thrice, "it follows the wave it knows, and not one thrice as fast"


def test_the_bound_without_memory_is_right():
    x = lstm_regressor.windows()[:, 0].ravel()  # 51 periods; to a sine of s comes now c, now -c
    assert np.mean(np.cos(x) ** 2) == pytest.approx(lstm_regressor.MEMORYLESS_BOUND, abs=0.001)
    assert np.mean(np.abs(np.cos(x))) == pytest.approx(2 / np.pi, abs=0.001)
    bins = np.digitize(np.sin(x), np.linspace(-1, 1, 101))
    best = (np.bincount(bins, np.cos(x)) / np.maximum(np.bincount(bins), 1))[bins]  # the mean for each sine
    assert np.mean((np.cos(x) - best) ** 2) == pytest.approx(lstm_regressor.MEMORYLESS_BOUND, abs=0.01)


def test_a_run_leaves_the_result_pictures_and_the_network_that_the_flags_describe(capsys):
    result = lstm_regressor.main([*SMALL, "--stateless", "--time-steps", "5", "--clip-norm", "0.5"])
    written = json.loads((result["folder"] / "result.json").read_text())
    assert (written["steps"], written["parameters"], written["status"]) == (25, 101, "finished")
    assert written["stateless"].keys() == {"worst_cost_last_100", "final_cost", "cost_at_first_step"} < written.keys()
    assert len((result["folder"] / "history.csv").read_text().splitlines()) == 1 + 25
    assert {path.name for path in result["folder"].iterdir()} == {
        "result.json", "history.csv", "model.keras", "model.png", "regressor.png", "unseen.png", "regressor.gif",
    }
    assert capsys.readouterr().out.splitlines()[-1].startswith("Worst cost of the last 100 batches: ")
    model = keras.models.load_model(result["folder"] / "model.keras")
    assert (model.input_shape, model.layers[0].units, model.optimizer.clipnorm) == ((6, 5, 1), 4, 0.5)


def test_a_cost_of_nan_ends_the_training_and_is_reported_as_it_is(monkeypatch):
    monkeypatch.setattr(lstm_regressor, "LEARNING_RATE", np.nan)
    result = lstm_regressor.main(SMALL)
    assert (result["status"], result["steps"]) == ("diverged", 2)
    assert np.isnan(result["worst_cost_last_100"])


@pytest.mark.slow
@pytest.mark.parametrize("edits", [
    [(LSTM, f"layers.Dropout(0.1), {LSTM}, {GRU}"), (DENSE, "layers.Dense(1)"), ('loss="mse"', 'loss="mae"')],
    [(LSTM, f"layers.Bidirectional({GRU})"), ("=(batch_size, time_steps", "=(batch_size, None")],
    [(LSTM, f"{SIMPLE_RNN}, layers.LayerNormalization()"), ("0.5, 1.0, 2.0", "1.5,"), ("EVERY = 10", "EVERY = 1")],
    [("optimizers.Adam", "optimizers.SGD"), ('loss="mse"', 'loss="huber", metrics=["mae"]'),
     ("        run.record", "        model.predict_on_batch(sines[step])\n        run.record")],
])
def test_a_changed_line_loses_no_result(edits, edited, capsys):
    result = edited("lstm_regressor", *edits).main([*SMALL, "--steps", "3"])
    assert result["status"] == "finished"
    assert 0 < result["worst_cost_last_100"] < 2
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_card_is_right(seed):
    card = " ".join(lstm_regressor.__doc__.split())
    worst = re.search(r"seeds 0 to 4: ([\d. ]+),", card)[1].split()
    result = lstm_regressor.main(["--seed", str(seed), "--stateless"])
    assert result["worst_cost_last_100"] == pytest.approx(float(worst[seed]), rel=0.5)
    assert f"{result['parameters']:,} parameters" in card
    assert result["stateless"]["worst_cost_last_100"] == pytest.approx(0.08, abs=0.03)
