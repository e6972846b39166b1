import json
import re

import rnn_gradients
from rnn_cells import CELLS
from rnn_memory import build_model

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(rnn_gradients.__doc__.split())
Y = np.array([3, 1, 4, 1])
every_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture
def model(cell, monkeypatch):
    """A network of six units that waits for two blank rows, which is the more general one."""
    monkeypatch.setattr("rnn_memory.UNITS", 6)
    keras.utils.set_random_seed(0)
    return build_model(cell, wait=2)


@pytest.fixture
def x(rng):
    return rng.random((4, 7, 28), dtype=np.float32)  # 9 steps with the wait


@every_cell
def test_a_states_gradient_is_what_finite_differences_say(cell, model, x):
    _, recurrent, (dense,) = rnn_gradients.split(model)
    weights = [array.astype(float) for array in recurrent.get_weights()]
    V, bias = (array.astype(float) for array in dense.get_weights())
    rows = np.pad(x, ((0, 0), (0, 2), (0, 0))).astype(float)
    by_step, _ = rnn_gradients.through_time(model, x, Y)
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
        powers = np.exp(state["h"] @ V + bias)
        return -np.mean(np.log(powers / powers.sum(axis=1, keepdims=True))[range(4), Y])

    for step in (0, 5, 8):
        for index, name in enumerate("hc"[: len(by_step[0])]):
            change = np.zeros((4, 6))
            change[2, 3] = 1e-5
            slope = (loss(step, name, change) - loss(step, name, -change)) / 2e-5
            assert float(by_step[step][index][2, 3]) == pytest.approx(slope, rel=1e-3, abs=1e-7)


@every_cell
@pytest.mark.parametrize("reach", [9, 3], ids=["all steps", "three steps"])
def test_a_truncated_gradient_is_that_of_keras_s_own_layer_from_a_state_that_is_given(cell, reach, model, x):
    waiting, recurrent, dense = model.layers
    rows = waiting(x)
    state = recurrent.get_initial_state(4)
    for step in range(9 - reach):
        _, state = recurrent.cell(rows[:, step], state)
    with tf.GradientTape() as tape:
        h = recurrent(rows[:, 9 - reach :], initial_state=[tf.constant(part.numpy()) for part in state])
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(Y, dense(h)))
    expected = np.concatenate([np.ravel(array) for array in tape.gradient(loss, recurrent.trainable_weights)])
    np.testing.assert_allclose(rnn_gradients.through_time(model, x, Y, reach)[1], expected, atol=1e-6)
    if reach == 9:
        np.testing.assert_allclose(rnn_gradients.through_time(model, x, Y)[1], expected, atol=1e-6)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_without_tanh_a_gradient_shrinks_and_grows_exactly_as_document_004_says(factor, rng):
    x = rng.random((4, 28, 28), dtype=np.float32)
    ratio, gradient = rnn_gradients.linear_cell(factor, x, Y, 10)
    assert ratio == pytest.approx(factor**28, rel=1e-3)
    by_norm, by_value = rnn_gradients.clipped(gradient).values()
    assert np.linalg.norm(by_norm) == pytest.approx(min(1, np.linalg.norm(gradient)), rel=1e-5)
    assert rnn_gradients.cosine(by_norm, gradient) == pytest.approx(1, abs=1e-5), "it keeps its direction"
    assert np.abs(by_value).max() <= 0.01


def test_a_run_measures_each_cell_and_keras_s_initial_weights_turn_the_textbook_upside_down(capsys):
    result = rnn_gradients.main("--data digits --limit 60 --epochs 1".split())
    assert capsys.readouterr().err == ""
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written["linear"]["0.9"] == pytest.approx(0.9**28, rel=1e-3)
    assert {state: len(sizes) for state, sizes in written["norms"]["lstm"]["after"].items()} == {"h": 29, "c": 29}
    assert written["truncated_cosine"]["lstm"]["1"] < written["truncated_cosine"]["lstm"]["28"] == 1
    simple_rnn, lstm, gru = (sizes["before"]["h"][0] / sizes["before"]["h"][-1] for sizes in written["norms"].values())
    assert simple_rnn > 10 * lstm > 100 * gru
    assert (result["folder"] / "gradients.png").exists()
    for cell in CELLS:
        assert f"{keras.models.load_model(result['folder'] / f'{cell}.keras').count_params():,}" in CARD


@pytest.mark.slow
def test_the_card_tells_the_truth():
    result = rnn_gradients.main(["--data", "mnist"])
    before, after, accuracies = (re.findall(r"\d[\d.]*(?:e-\d)?", part) for part in re.search(
        r"LSTM and GRU: (.+) before training, .+; (.+) after it, with test accuracies of (.+) %", CARD).groups())
    for index, (cell, norms) in enumerate(result["norms"].items()):
        ratios = {when: norms[when]["h"][0] / norms[when]["h"][-1] for when in norms}
        assert ratios["before"] == pytest.approx(float(before[index]), rel=0.1)
        assert ratios["after"] == pytest.approx(float(after[index]), rel=0.5)
        assert 100 * result["test_accuracy"][cell] == pytest.approx(float(accuracies[index]), abs=1.5)
