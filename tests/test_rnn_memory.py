import json
import re

import rnn_memory
from common import cli
from rnn_gradients import norms_over_time, through_time

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(rnn_memory.__doc__.split())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chrono_biases_make_memories_of_up_to_the_wait(cell, rng):
    keras.utils.set_random_seed(0)
    model = rnn_memory.build_model(cell)
    x, y = rng.random((4, 28, 28), dtype=np.float32), np.array([3, 1, 4, 1])
    before = norms_over_time(through_time(model, x, y)[0])
    rnn_memory.give_gates_time(model.layers[1], 100, rng)
    bias = model.layers[1].get_weights()[2]
    keep = bias[64:128] if cell == "lstm" else bias[0, :64]
    assert 1 <= np.exp(keep).min() < 80 < np.exp(keep).max() <= 99, "a gate of sigmoid(b) keeps for about 1 + e^b steps"
    if cell == "lstm":
        np.testing.assert_array_equal(bias[:64], -keep)
    state = "c" if cell == "lstm" else "h"
    after = norms_over_time(through_time(model, x, y)[0])
    assert before[state][28] / before[state][-1] < 1e-5
    assert after[state][28] / after[state][-1] > 1e-2, "the gradient now comes through the blank rows"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_gates_that_are_drawn_are_those_of_the_network_on_the_digit_and_the_blank_rows(cell, rng):
    model = rnn_memory.build_model(cell, wait=3)
    x = rng.random((1, 28, 28), dtype=np.float32)
    rows, seen = rnn_memory.gates_over_time(model, cell, x)
    np.testing.assert_array_equal(rows, np.pad(x[0], ((0, 3), (0, 0))))
    assert seen["f" if cell == "lstm" else "z"].shape == (1, 31, 64)
    np.testing.assert_allclose(model.layers[-1](seen["h"][:, -1]), model(x), atol=1e-5)


def test_a_run_trains_and_draws_a_network_whose_biases_were_set(capsys):
    result = rnn_memory.main("--data digits --limit 60 --epochs 1 --wait 3 --cell gru --chrono".split())
    assert capsys.readouterr().err == ""
    written = json.loads((result["folder"] / "result.json").read_text())
    assert len(written["norms"]["gru"]["after"]["h"]) == 32
    assert {path.name for path in result["folder"].iterdir()} == {
        "result.json", "history.csv", "gradients.png", "gru.png", "gru.keras", "gates_gru.png"}
    saved = keras.models.load_model(result["folder"] / "gru.keras")
    assert saved.layers[1].get_weights()[2][0, :64].max() > 1


def test_biases_for_the_gates_of_a_cell_without_gates_are_refused():
    with pytest.raises(cli.UserError, match="gates"):
        rnn_memory.parse(["--chrono"])


@pytest.mark.slow
def test_the_card_tells_the_truth_about_waiting():
    default = rnn_memory.main(["--data", "mnist"])["test_accuracy"]
    chrono = rnn_memory.main("--data mnist --cell lstm gru --chrono".split())["test_accuracy"]
    simple_rnn, baseline, lstm, gru = map(float, re.findall(r"([\d.]+) %", CARD.partition("Expect")[2])[:4])
    measured = [100 * accuracy for accuracy in (*default.values(), *chrono.values())]
    assert measured == pytest.approx([simple_rnn, baseline, baseline, lstm, gru], abs=2)
    assert default["lstm"] == default["gru"] == pytest.approx(0.1135), "the baseline"
