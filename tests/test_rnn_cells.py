import json
import re

import rnn_cells
from rnn_cells import C_54, CELLS, LENGTHS, OUTPUTS_53, OUTPUTS_54, X

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers

CARD = " ".join(rnn_cells.__doc__.split())
LISTED = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
LIMIT_53, LIMIT_54 = np.sqrt(6 / (3 + 5 + 5)), np.sqrt(6 / (3 + 5 + 20))  # of TensorFlow 1's first weights


def random_layer(cell, rng, **kwargs):
    """Return a layer of five units with biases that are not zero, and its weights in float64."""
    layer = CELLS[cell][0](5, **kwargs)
    layer.build((None, None, 3))
    weights = [rng.normal(0, 0.5, array.shape) for array in layer.get_weights()]
    layer.set_weights(weights)
    return layer, weights


def test_the_networks_have_the_documents_parameters():
    listing, bidirectional = rnn_cells.build_listing_51(), rnn_cells.build_bidirectional()
    assert [layer.count_params() for layer in listing.layers] == [268_800, 2_565]
    assert listing.count_params() == 271_365
    assert "271,365" in CARD
    assert bidirectional.input_shape == (None, 5, 10)
    assert bidirectional.count_params() == 2 * 4 * 10 * 21 + 2 * 4 * 10 * 31 + 105


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_written_from_the_equations_is_keras_s(cell, rng):
    layer, weights = random_layer(cell, rng, return_sequences=True)
    x = rng.normal(size=(4, 10, 3))
    np.testing.assert_allclose(rnn_cells.unroll(CELLS[cell][1], x, weights)["h"], layer(x), atol=1e-6)


def test_the_last_c_of_a_step_is_keras_s(rng):
    layer, weights = random_layer("lstm", rng, return_state=True)
    x = rng.normal(size=(4, 10, 3))
    _, h, c = layer(x)
    seen = rnn_cells.unroll(rnn_cells.lstm_step, x, weights)
    np.testing.assert_allclose(seen["h"][:, -1], h, atol=1e-6)
    np.testing.assert_allclose(seen["c"][:, -1], c, atol=1e-6)


def test_keras_prints_the_documents_table_of_listing_53():
    layer = layers.SimpleRNN(5, **LISTED)
    layer.build(X.shape)
    layer.set_weights(rnn_cells.weights_of_listing_53())
    outputs, state = rnn_cells.read_sequences(layer, X, LENGTHS)
    np.testing.assert_allclose(outputs, OUTPUTS_53, atol=1e-6)
    np.testing.assert_allclose(state, OUTPUTS_53[range(4), LENGTHS - 1], atol=1e-6)
    assert (outputs[1, 1] == 0).all()


def test_the_input_weights_found_for_listing_53_are_what_tensorflow_1_could_have_drawn():
    W, U, b = rnn_cells.weights_of_listing_53()
    assert np.abs(W).max() < LIMIT_53
    assert not b.any()
    # W has four equations for the three numbers of a unit: that they agree says that the document ran this equation
    np.testing.assert_allclose((X[:, 0] @ W)[:, :4], np.arctanh(OUTPUTS_53[:, 0, :4]), atol=1e-5)
    assert U.shape == (5, 5)


def test_keras_prints_the_documents_table_of_listing_54():
    found = []
    for seed in (0, 1):
        weights = rnn_cells.weights_of_listing_54(np.random.default_rng(seed))
        layer = layers.LSTM(5, **LISTED)
        layer.build(X.shape)
        layer.set_weights(weights)
        outputs, h, c = rnn_cells.read_sequences(layer, X, LENGTHS)
        np.testing.assert_allclose(outputs, OUTPUTS_54, atol=1e-6)
        np.testing.assert_allclose(h, OUTPUTS_54[range(4), LENGTHS - 1], atol=1e-6)
        np.testing.assert_allclose(c, C_54, atol=1e-6)
        assert max(np.abs(array).max() for array in weights[:2]) <= LIMIT_54
        found.append(weights[0])
    assert np.abs(found[0] - found[1]).max() > 0.1, "other weights, the same table"


@pytest.mark.parametrize("cell", CELLS)
def test_after_its_end_a_sequence_is_zero_and_its_state_that_of_its_last_step(cell, rng):
    layer, _ = random_layer(cell, rng, **LISTED)
    x = rng.normal(size=(4, 6, 3)).astype("float32")
    lengths = np.array([6, 1, 3, 5])
    x[3, 2] = 0  # a real step of zeros is not the end
    outputs, *states = rnn_cells.read_sequences(layer, x, lengths)
    for index, length in enumerate(lengths):
        alone, *ends = layer(x[index : index + 1, :length])
        np.testing.assert_allclose(outputs[index, :length], alone[0], atol=1e-6)
        assert (outputs[index, length:] == 0).all()
        for state, end in zip(states, ends, strict=True):
            np.testing.assert_allclose(state[index], end[0], atol=1e-6)


def test_the_candidate_of_document_001_can_only_fill_the_memory_and_its_own_table_was_not_made_so(rng):
    x = rng.normal(size=(3, 40, 3))
    weights = [rng.normal(0, 1, shape) for shape in ((3, 20), (5, 20), (20,))]
    ours = rnn_cells.unroll(rnn_cells.lstm_step, x, weights)
    theirs = rnn_cells.unroll(rnn_cells.lstm_step, x, weights, candidate=rnn_cells.candidate_of_001)
    assert ours["c"].min() < 0 < theirs["c"].min()
    assert (C_54 < 0).sum() == 13
    # c(t) = f c(t-1) + i tanh(sigmoid(...)), written out for one unit
    i, _, new, _ = np.split(x[0, 0] @ weights[0] + weights[2], 4)
    assert theirs["c"][0, 0, 2] == pytest.approx(np.tanh(1 / (1 + np.exp(-new[2]))) / (1 + np.exp(-i[2])))


def test_a_run_prints_and_draws_the_listings(capsys):
    result = rnn_cells.main([])
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "Total params: 271,365" in printed.out
    for number in ("-0.0970020", "[0.          0.          0.          0.          0.        ]", "-1.04922"):
        assert number.strip("[]") in printed.out
    assert {path.name for path in result["folder"].glob("*.png")} == {
        "listing_5.1.png", "bidirectional.png", "listing_5.3.png", "listing_5.4.png", "candidates.png",
    }  # fmt: skip
    written = json.loads((result["folder"] / "result.json").read_text())
    assert max(written["off"].values()) <= float(re.search(r"5.3 and 5.4, to ([\de-]+),", CARD)[1])
    assert max(written["apart"].values()) < 1e-6
    assert written["apart"].keys() == CELLS.keys()
    by_chance = re.search(r"off by up to ([\d.]+) and ([\d.]+)", CARD).groups()
    assert [f"{off:.2f}" for off in written["by_chance"].values()] == list(by_chance)
    same, after, reset = re.findall(r"^\[([^[\]]+)\]$", printed.out.split("stateful")[1], re.MULTILINE)[:3]
    assert same == reset != after


def test_the_stateful_cell_of_document_001_goes_on_where_it_was(rng):
    stateful = keras.Sequential([keras.Input(batch_shape=(1, 1, 2)), layers.SimpleRNN(5, stateful=True)])
    x = rng.normal(size=(1, 3, 2)).astype("float32")
    answers = [stateful(x[:, step : step + 1]).numpy()[0] for step in range(3)]
    expected = rnn_cells.unroll(rnn_cells.simple_rnn_step, x, stateful.get_weights())["h"][0]
    np.testing.assert_allclose(answers, expected, atol=1e-6)


def test_the_printed_states_of_listing_54_are_possible():
    assert X.shape == (4, 2, 3)
    assert OUTPUTS_53.shape == OUTPUTS_54.shape == (4, 2, 5)
    gate = OUTPUTS_54[range(4), LENGTHS - 1] / np.tanh(C_54)  # o = h / tanh(c)
    assert ((gate > 0) & (gate < 1)).all(), "an output gate between shut and open, twenty times"
