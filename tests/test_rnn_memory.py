import json
import re

import rnn_memory
from common import cli, results
from rnn_cells import CELLS

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(rnn_memory.__doc__.split())
PARAMETERS = {"simple_rnn": 6_602, "lstm": 24_458, "gru": 18_698}
every_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture
def model(cell, monkeypatch):
    monkeypatch.setattr(rnn_memory, "UNITS", 6)
    keras.utils.set_random_seed(0)
    return rnn_memory.build_model(cell, wait=2)


@pytest.fixture
def x(rng):
    return rng.random((4, 7, 28), dtype=np.float32)  # 9 steps with the wait


Y = np.array([3, 1, 4, 1])


def loss_of(model, h):
    V, c = (array.astype(float) for array in model.layers[2].get_weights())
    powers = np.exp(h @ V + c)
    return -np.mean(np.log(powers / powers.sum(axis=1, keepdims=True))[range(4), Y])


@every_cell
def test_parameters(cell):
    assert rnn_memory.build_model(cell).count_params() == PARAMETERS[cell]
    assert f"{PARAMETERS[cell]:,}" in CARD


@every_cell
def test_a_states_gradient_is_what_finite_differences_say(cell, model, x):
    weights = [array.astype(float) for array in model.layers[1].get_weights()]
    rows = np.pad(x, ((0, 0), (0, 2), (0, 0))).astype(float)
    by_step, _ = rnn_memory.through_time(model, x, Y)
    assert len(by_step) == 10

    def loss(step, name, change):
        """Return the loss where state `name` is changed after `step` steps."""
        state = dict.fromkeys("hc", np.zeros((4, 6)))
        for now in range(10):
            if now == step:
                state = {**state, name: state[name] + change}
                if name == "c" and now:  # h(t) is made of c(t)
                    state["h"] = state["o"] * np.tanh(state["c"])
            if now < 9:
                state = CELLS[cell][1](rows[:, now], state, *weights)
        return loss_of(model, state["h"])

    for step in (0, 5, 8):
        for index, name in enumerate("hc"[: len(by_step[0])]):
            change = np.zeros((4, 6))
            change[2, 3] = 1e-5
            slope = (loss(step, name, change) - loss(step, name, -change)) / 2e-5
            assert float(by_step[step][index][2, 3]) == pytest.approx(slope, rel=1e-3, abs=1e-7)


@every_cell
def test_the_whole_gradient_is_that_of_keras_s_own_layer(cell, model, x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(Y, model(x)))
    expected = tape.gradient(loss, model.layers[1].trainable_weights)
    for reach in (None, 9):
        for ours, keras_s in zip(rnn_memory.through_time(model, x, Y, reach)[1], expected, strict=True):
            np.testing.assert_allclose(ours, keras_s, atol=1e-6)


@every_cell
def test_a_truncated_gradient_is_that_of_the_last_steps_from_a_state_that_is_given(cell, model, x):
    waiting, recurrent, dense = model.layers
    rows = waiting(x)
    before = recurrent.get_initial_state(4)
    for step in range(6):
        before = recurrent.cell(rows[:, step], before)[1]
    with tf.GradientTape() as tape:
        h = recurrent(rows[:, 6:], initial_state=[tf.constant(part.numpy()) for part in before])
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(Y, dense(h)))
    expected = tape.gradient(loss, recurrent.trainable_weights)
    for ours, keras_s in zip(rnn_memory.through_time(model, x, Y, reach=3)[1], expected, strict=True):
        np.testing.assert_allclose(ours, keras_s, atol=1e-6)


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize("steps", [28, 100])
def test_without_tanh_a_gradient_shrinks_and_grows_exactly_as_document_004_says(factor, steps, rng):
    x = rng.random((4, 28, 28), dtype=np.float32)
    ratio, gradient = rnn_memory.linear_cell(factor, x, Y, steps - 28, 10)
    assert ratio == pytest.approx(factor**steps, rel=1e-3)
    by_norm, by_value = rnn_memory.clipped(gradient)
    assert np.linalg.norm(by_norm) == pytest.approx(min(1, np.linalg.norm(gradient)), rel=1e-5)
    assert rnn_memory.cosine(by_norm, gradient) == pytest.approx(1, abs=1e-5), "it keeps its direction"
    assert np.abs(by_value).max() <= 0.01


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chrono_biases_make_memories_of_up_to_the_wait(cell, rng):
    keras.utils.set_random_seed(0)
    model = rnn_memory.build_model(cell, wait=72)
    x = rng.random((4, 28, 28), dtype=np.float32)
    before = rnn_memory.norms_over_time(rnn_memory.through_time(model, x, Y)[0])
    rnn_memory.give_gates_time(model.layers[1], 100, rng)
    bias = model.layers[1].get_weights()[2]
    keep = bias[64:128] if cell == "lstm" else bias[0, :64]
    assert ((np.exp(keep) >= 1) & (np.exp(keep) <= 99)).all(), "a gate of sigmoid(b) keeps for about 1 + e^b steps"
    assert np.exp(keep).max() > 80
    if cell == "lstm":
        np.testing.assert_array_equal(bias[:64], -keep)
    else:
        assert not bias[0, 64:].any() and not bias[1].any()
    state = "c" if cell == "lstm" else "h"
    after = rnn_memory.norms_over_time(rnn_memory.through_time(model, x, Y)[0])
    assert before[state][28] / before[state][-1] < 1e-5
    assert after[state][28] / after[state][-1] > 1e-2, "the gradient now comes through the blank rows"


def test_keras_s_initial_weights_turn_the_textbook_upside_down(rng):
    x = rng.random((20, 28, 28), dtype=np.float32) * (rng.random((20, 28, 28)) < 0.2)
    ratios = {}
    for cell in CELLS:
        keras.utils.set_random_seed(0)
        by_step, _ = rnn_memory.through_time(rnn_memory.build_model(cell), x.astype("float32"), np.arange(20) % 10)
        norms = rnn_memory.norms_over_time(by_step)
        ratios[cell] = norms["h"][0] / norms["h"][-1]
    assert ratios["simple_rnn"] > 10 * ratios["lstm"] > 100 * ratios["gru"]


def test_a_run_measures_trains_and_draws_each_cell(capsys, monkeypatch):
    monkeypatch.setattr(rnn_memory, "REACHES", (1, 28))
    result = rnn_memory.main("--data digits --limit 60 --epochs 1 --wait 3 --cell gru lstm --chrono".split())
    printed = capsys.readouterr()
    assert printed.err == ""
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written["test_accuracy"].keys() == written["norms"].keys() == {"gru", "lstm"}
    assert {state: len(sizes) for state, sizes in written["norms"]["lstm"]["after"].items()} == {"h": 32, "c": 32}
    assert written["linear"]["0.9"] == pytest.approx(0.9**31, rel=1e-3)
    assert written["truncated_cosine"]["gru"]["1"] < written["truncated_cosine"]["gru"]["28"]
    assert re.search(r"clipped by norm: 1, cosine .* 1\.000\nclipped by value: .* 0\.", printed.out)
    assert {path.name for path in result["folder"].iterdir()} == {
        "result.json", "history.csv", "gradients.png", "gru.png", "lstm.png", "gru.keras", "lstm.keras",
        "gates_gru.png", "gates_lstm.png",
    }  # fmt: skip
    saved = keras.models.load_model(result["folder"] / "gru.keras")
    assert saved.layers[0].output.shape == (None, 31, 28)
    assert saved.layers[1].get_weights()[2][0, :64].max() > 1, "the biases were set before the training"


def test_waiting_takes_its_own_number_of_epochs():
    assert rnn_memory.parse([]).epochs == rnn_memory.EPOCHS
    assert rnn_memory.parse(["--wait", "72"]).epochs == rnn_memory.WAITING_EPOCHS
    assert rnn_memory.parse(["--wait", "72", "--epochs", "1"]).epochs == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--chrono", "a SimpleRNN has no gates; add --cell lstm gru"),
        ("--wait -1", "at least 0"),
        ("--cell mlp", "choose from .*simple_rnn.*lstm.*gru"),
        ("--device cpu:2", "one processor"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        rnn_memory.main(["--data", "digits", *argv.split()])
    assert not results.RUNS_DIR.exists()


@pytest.mark.slow
def test_the_card_tells_the_truth_about_28_rows():
    result = rnn_memory.main(["--data", "mnist"])
    expected = re.search(r"SimpleRNN ([\d.]+) %, LSTM ([\d.]+) %, GRU ([\d.]+) %, in a minute", CARD).groups()
    for cell, percent in zip(CELLS, expected, strict=True):
        assert 100 * result["test_accuracy"][cell] == pytest.approx(float(percent), abs=1.5)
    ratios = re.search(r"28\)\|: ([\de-]\.?[\de-]*), ([\d.e-]+), ([\d.e-]+) before", CARD).groups()
    for cell, ratio in zip(CELLS, ratios, strict=True):
        norms = result["norms"][cell]
        assert norms["before"]["h"][0] / norms["before"]["h"][-1] == pytest.approx(float(ratio), rel=0.1)
        assert norms["after"]["h"][0] / norms["after"]["h"][-1] > 0.3


@pytest.mark.slow
def test_the_card_tells_the_truth_about_waiting():
    default = rnn_memory.main(["--data", "mnist", "--wait", "72"])["test_accuracy"]
    chrono = rnn_memory.main("--data mnist --wait 72 --cell lstm gru --chrono".split())["test_accuracy"]
    waiting = CARD.partition("--wait 72, means")[2].partition("Baseline")[0]
    simple, default_gates, lstm, gru = (float(percent) for percent in re.findall(r"([\d.]+) %", waiting))
    measured = [100 * accuracy for accuracy in (*default.values(), *chrono.values())]
    assert measured == pytest.approx([simple, default_gates, default_gates, lstm, gru], abs=2)
    assert default["lstm"] == default["gru"] == pytest.approx(0.1135), "the baseline"
    assert chrono["gru"] > 0.95
