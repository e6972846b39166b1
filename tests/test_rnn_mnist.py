import re
from pathlib import Path

import rnn_mnist
from common import mnist
from rnn_cells import CELLS, unroll

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(rnn_mnist.__doc__.split())
PARAMETERS = {"simple_rnn": 72_960, "lstm": 291_840, "gru": 219_648}
EDITS = {  # what a learner makes of the network
    "plain": [],
    "bidirectional": [],
    "stacked": [("        layers.Bidirectional(recurrent)",
                 "        CELLS[cell](units, return_sequences=True),\n        layers.Bidirectional(recurrent)")],
    "unrolled": [("dropout=dropout)", "dropout=dropout, unroll=True)")],
}
every_network = pytest.mark.parametrize(("cell", "kind"), [
    *((cell, "plain") for cell in CELLS), ("lstm", "stacked"), ("gru", "bidirectional"), ("simple_rnn", "unrolled")])


def model_with_biases(module, cell, bidirectional):
    """Return a model with every weight moved off its start: biases that are still 0 would prove nothing."""
    keras.utils.set_random_seed(1)
    model = module.build_model(cell, units=5, bidirectional=bidirectional)
    rng = np.random.default_rng(1)
    model.set_weights([weights + rng.normal(0, 0.1, weights.shape) for weights in model.get_weights()])
    return model, [weights.astype(float) for weights in model.get_weights()]


@every_network
def test_each_network_computes_its_equations(cell, kind, rng, edited):
    model, (*weights, V, c) = model_with_biases(edited("rnn_mnist", *EDITS[kind]), cell, kind == "bidirectional")
    x, step = rng.random((4, 28, 28), dtype=np.float32), CELLS[cell][1]
    h = unroll(step, x, weights[:3])["h"]  # (4, 28, 5), by a loop over the rows
    if kind == "stacked":
        h = unroll(step, h, weights[3:])["h"]
    if kind == "bidirectional":
        h = np.concatenate([h, unroll(step, x[:, ::-1], weights[3:])["h"]], axis=2)
    expected = np.exp(h[:, -1] @ V + c)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


@every_network
def test_the_belief_after_n_rows_is_the_answer_to_an_image_of_n_rows(cell, kind, rng, edited):
    model, _ = model_with_biases(edited("rnn_mnist", *EDITS[kind]), cell, kind == "bidirectional")
    x = rng.random((60, 28, 28), dtype=np.float32)  # more than one part
    beliefs = rnn_mnist.belief_by_row(model, x)
    assert beliefs.shape == (60, 28, 10)
    for rows in (1, 14, 28):
        answer = x[:, :rows]
        for layer in model.layers:
            answer = layer(answer)
        np.testing.assert_allclose(beliefs[:, rows - 1], answer, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_the_parameters_are_those_of_the_formulas(cell):
    layer, dense = rnn_mnist.build_model(cell=cell).layers
    assert (layer.count_params(), dense.count_params()) == (PARAMETERS[cell], 2_570)
    assert f"{PARAMETERS[cell] + 2_570:,}" in CARD
    formula = re.search(rf"{PARAMETERS[cell]:,} = ([^\n]+)", Path(rnn_mnist.__file__).read_text(encoding="utf-8"))[1]
    assert eval(formula.replace("x", "*")) == PARAMETERS[cell]


def test_a_listing_sets_everything_and_other_flags_override_it():
    units = {name: rnn_mnist.parse(["--listing", name]).units for name in rnn_mnist.LISTINGS}
    totals = [rnn_mnist.build_model(units=number).count_params() for number in units.values()]
    assert totals == [75_530, 21_386, 890, 4_460]
    args = rnn_mnist.parse(["--listing", "rnn-50"])
    assert (args.epochs * args.steps_per_epoch, args.batch_size, args.units, args.dropout) == (4000, 50, 50, 0)
    assert (args.optimizer, args.learning_rate) == ("adam", None)
    args = rnn_mnist.parse(["--units", "256", "--listing", "rnn-16", "--learning-rate", "0.1"])
    assert (args.units, args.learning_rate) == (256, 0.1), "256 is the lesson's default, and was given"
    assert (args.activation, args.optimizer, args.batch_size, args.epochs) == ("relu", "rmsprop", 100, 20)
    args = rnn_mnist.parse(["--listing", "rnn-128"])
    assert (args.units, args.dropout, args.optimizer, args.batch_size, args.epochs) == (128, 0.3, "sgd", 128, 8)


@pytest.mark.slow
def test_updates_are_counted_in_the_images_order_and_tested_as_document_004_does(monkeypatch):
    monkeypatch.setitem(rnn_mnist.LISTINGS["rnn-50"], "steps_per_epoch", 10)
    result = rnn_mnist.main("--data digits --limit 250 --listing rnn-50 --epochs 3 --units 8".split())
    assert (result["steps"], result["epochs"]) == (30, 3)  # six times through the 250 images
    assert "val_accuracy" in (result["folder"] / "history.csv").read_text()
    keras.utils.set_random_seed(0)  # the same by hand
    model = rnn_mnist.build_model(units=8, dropout=0.0)
    model.compile("adam", "categorical_crossentropy")
    digits = mnist.load_mnist("digits", limit=250)
    x, y = mnist.as_sequences(digits.x_train), keras.utils.to_categorical(digits.y_train, 10)
    for step in range(30):
        part = slice(step % 5 * 50, step % 5 * 50 + 50)
        model.train_on_batch(x[part], y[part])
    saved = keras.models.load_model(result["folder"] / "model.keras")
    for ours, theirs in zip(saved.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_a_handful_of_digits_is_memorised():
    flags = "--data digits --limit 48 --epochs 50 --batch-size 16 --units 64 --optimizer adam --learning-rate 0.003"
    result = rnn_mnist.main(flags.split())
    assert result["train_accuracy"] > 0.95
    assert result["test_accuracy"] > 0.4
    assert (result["folder"] / "beliefs.png").exists()


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect Test accuracy ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    results = [rnn_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in results])
    assert mean == pytest.approx(expected, abs=2 * spread)
    row_26 = mnist.load_mnist("mnist").x_test[:, 25]  # (10000, 28); the script says that 76 % are blank
    assert np.mean(row_26.max(axis=1) == 0) == pytest.approx(0.76, abs=0.005)
