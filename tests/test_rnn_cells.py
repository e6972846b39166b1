import json

import rnn_cells
from benchmarks.listing_weights import C_54, ENDS, OUTPUTS_53, OUTPUTS_54, weights_of_listing_53, weights_of_listing_54
from rnn_cells import CELLS, LENGTHS, X

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers

CARD = " ".join(rnn_cells.__doc__.split())
LISTED = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
LIMIT_53, LIMIT_54 = np.sqrt(6 / (3 + 5 + 5)), np.sqrt(6 / (3 + 5 + 20))  # of TensorFlow 1's first weights
every_cell = pytest.mark.parametrize("cell", CELLS)


def random_layer(cell, rng, **kwargs):
    """Return a layer of five units with biases that are not zero, and its weights in float64."""
    layer = CELLS[cell][0](5, **kwargs)
    layer.build((None, None, 3))
    weights = [rng.normal(0, 0.5, array.shape) for array in layer.get_weights()]
    layer.set_weights(weights)
    return layer, weights


def table(kind, weights):
    """Return what Keras's layer puts out for the listings' sequences."""
    layer = kind(5, **LISTED)
    layer.build(X.shape)
    layer.set_weights(weights)
    return rnn_cells.read_sequences(layer, X, LENGTHS)


@every_cell
def test_a_step_written_from_the_equations_is_keras_s(cell, rng):
    layer, weights = random_layer(cell, rng, return_sequences=True, return_state=True)
    x = rng.normal(size=(4, 10, 3))
    outputs, *states = layer(x)
    seen = rnn_cells.unroll(CELLS[cell][1], x, weights)
    np.testing.assert_allclose(seen["h"], outputs, atol=1e-6)
    for name, state in zip("hc", states, strict=False):
        np.testing.assert_allclose(seen[name][:, -1], state, atol=1e-6)


def test_keras_prints_the_documents_table_of_listing_53():
    weights = weights_of_listing_53()
    outputs, state = table(layers.SimpleRNN, weights)
    np.testing.assert_allclose(outputs, OUTPUTS_53, atol=1e-6)
    np.testing.assert_allclose(state, OUTPUTS_53[ENDS], atol=1e-6)
    W = weights[0]
    assert np.abs(W).max() < LIMIT_53, "TensorFlow 1 could have drawn it"
    # W has four equations for the three numbers of a unit: that they agree says that the document ran this equation
    np.testing.assert_allclose((X[:, 0] @ W)[:, :4], np.arctanh(OUTPUTS_53[:, 0, :4]), atol=1e-5)


@pytest.mark.slow
def test_keras_prints_the_documents_table_of_listing_54(rng):
    weights = weights_of_listing_54(rng)
    outputs, h, c = table(layers.LSTM, weights)
    np.testing.assert_allclose(outputs, OUTPUTS_54, atol=1e-6)
    np.testing.assert_allclose(h, OUTPUTS_54[ENDS], atol=1e-6)
    np.testing.assert_allclose(c, C_54, atol=1e-6)
    assert max(np.abs(array).max() for array in weights[:2]) <= LIMIT_54
    gate = OUTPUTS_54[ENDS] / np.tanh(C_54)  # o = h / tanh(c)
    assert ((gate > 0) & (gate < 1)).all(), "an output gate between shut and open, twenty times"


@every_cell
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


def test_the_stateful_cell_of_document_001_goes_on_where_it_was(rng):
    stateful = keras.Sequential([keras.Input(batch_shape=(1, 1, 2)), layers.SimpleRNN(5, stateful=True)])
    x = rng.normal(size=(1, 3, 2)).astype("float32")
    answers = [stateful(x[:, step : step + 1]).numpy()[0] for step in range(3)]
    expected = rnn_cells.unroll(rnn_cells.simple_rnn_step, x, stateful.get_weights())["h"][0]
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    stateful.layers[0].reset_state()
    np.testing.assert_allclose(stateful(x[:, :1])[0], expected[0], atol=1e-6)


def test_a_run_prints_and_draws_the_listings(capsys):
    result = rnn_cells.main([])
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "Total params: 271,365" in printed.out and "271,365 parameters" in CARD
    assert {path.name for path in result["folder"].glob("*.png")} == {
        "listing_5.1.png", "bidirectional.png", "listing_5.3.png", "listing_5.4.png", "candidates.png",
    }
    apart = json.loads((result["folder"] / "result.json").read_text())["apart"]
    by_candidate = apart.pop("candidate of 001, h")
    assert f"off by up to {by_candidate:.2f}" in CARD
    assert max(apart.values()) < 1e-6
    assert apart.keys() == {*CELLS, "listing_5.3, h", "listing_5.4, h", "listing_5.4, c"}
