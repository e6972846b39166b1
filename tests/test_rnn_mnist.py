import re
from pathlib import Path

import rnn_cells
import rnn_mnist
from common import cli, mnist, results

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(rnn_mnist.__doc__.split())
CODE = Path(rnn_mnist.__file__).read_text(encoding="utf-8")
STEPS = {cell: step for cell, (_, step) in rnn_cells.CELLS.items()}
PARAMETERS = {"simple_rnn": 72_960, "lstm": 291_840, "gru": 219_648}


@pytest.fixture
def x(rng):
    return rng.random((4, 28, 28), dtype=np.float32)


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def states(cell, x, weights):
    """Return the state h after every row, (count, 28, units), by a loop over the rows."""
    return rnn_cells.unroll(STEPS[cell], x, weights)["h"]


def model_with_biases(module=rnn_mnist, **kwargs):
    """Return a model with every weight moved off its start: biases that are still 0 would prove nothing."""
    keras.utils.set_random_seed(1)
    model = module.build_model(**kwargs)
    rng = np.random.default_rng(1)
    model.set_weights([weights + rng.normal(0, 0.1, weights.shape) for weights in model.get_weights()])
    return model, [weights.astype(float) for weights in model.get_weights()]


STACKED = (
    "        layers.Bidirectional(recurrent)",
    "        CELLS[cell](units, return_sequences=True),\n        layers.Bidirectional(recurrent)",
)
UNROLLED = ("dropout=dropout)", "dropout=dropout, unroll=True)")


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("edits", [[], [UNROLLED]], ids=["a loop", "unrolled"])
def test_each_cell_computes_its_equations(cell, edits, x, edited):
    model, (*cell_weights, V, c) = model_with_biases(edited("rnn_mnist", *edits), cell=cell, units=5)
    expected = softmax(states(cell, x, cell_weights)[:, -1] @ V + c)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
def test_two_directions_are_a_second_reader_from_the_end(cell, x):
    model, weights = model_with_biases(cell=cell, units=5, bidirectional=True)
    forward, backward = states(cell, x, weights[:3])[:, -1], states(cell, x[:, ::-1], weights[3:6])[:, -1]
    expected = softmax(np.concatenate([forward, backward], axis=1) @ weights[6] + weights[7])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
def test_a_layer_stacked_as_the_comment_says_reads_the_states_of_the_one_below(cell, x, edited):
    model, weights = model_with_biases(edited("rnn_mnist", STACKED), cell=cell, units=5)
    upper = states(cell, states(cell, x, weights[:3]), weights[3:6])[:, -1]
    np.testing.assert_allclose(model.predict(x, verbose=0), softmax(upper @ weights[6] + weights[7]), atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
def test_the_parameters_are_those_of_the_formulas(cell):
    layer, dense = rnn_mnist.build_model(cell=cell).layers
    assert layer.count_params() == PARAMETERS[cell]
    assert dense.count_params() == 2_570
    assert f"{PARAMETERS[cell] + 2_570:,}" in CARD
    formula = re.search(rf"{PARAMETERS[cell]:,} = ([^\n]+)", CODE).group(1)
    assert eval(formula.replace("x", "*")) == PARAMETERS[cell]


def test_the_listings_have_the_documents_parameters():
    totals = {}
    for name in rnn_mnist.LISTINGS:
        args = rnn_mnist.parse(["--listing", name])
        totals[name] = rnn_mnist.build_model(args.cell, args.units).count_params()
    assert totals == {"rnn": 75_530, "rnn-128": 21_386, "rnn-16": 890, "rnn-50": 4_460}
    assert totals["rnn-128"] == 128 * (28 + 128 + 1) + 128 * 10 + 10


def test_a_listing_sets_everything_and_other_flags_override_it():
    args = rnn_mnist.parse(["--listing", "rnn-50"])
    assert (args.epochs * args.steps_per_epoch, args.batch_size, args.units, args.dropout) == (4000, 50, 50, 0)
    assert (args.optimizer, args.learning_rate) == ("adam", None)
    assert float(keras.optimizers.get("adam").learning_rate) == pytest.approx(0.001)
    args = rnn_mnist.parse(["--units", "7", "--listing", "rnn-16", "--learning-rate", "0.1"])
    assert (args.units, args.learning_rate) == (7, 0.1)
    assert (args.activation, args.optimizer, args.batch_size, args.epochs) == ("relu", "rmsprop", 100, 20)
    args = rnn_mnist.parse(["--listing", "rnn-128"])
    assert (args.units, args.dropout, args.optimizer, args.batch_size, args.epochs) == (128, 0.3, "sgd", 128, 8)


def test_updates_are_counted_in_the_images_order_and_tested_as_document_004_does(monkeypatch):
    monkeypatch.setitem(rnn_mnist.LISTINGS["rnn-50"], "steps_per_epoch", 20)
    result = rnn_mnist.main("--data digits --limit 250 --listing rnn-50 --epochs 3 --units 8".split())
    assert (result["steps"], result["epochs"]) == (60, 3)  # twelve times through the 250 images
    history = (result["folder"] / "history.csv").read_text().splitlines()
    rows = [dict(zip(history[0].split(","), row.split(","), strict=True)) for row in history[1:]]
    assert [row["steps"] for row in rows] == ["20", "40", "60"]
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(result["test_accuracy"], abs=1e-6)
    keras.utils.set_random_seed(0)  # the same by hand
    model = rnn_mnist.build_model(units=8, dropout=0.0)
    model.compile("adam", "categorical_crossentropy")
    digits = mnist.load_mnist("digits", limit=250)
    x, y = mnist.as_sequences(digits.x_train), keras.utils.to_categorical(digits.y_train, 10)
    for step in range(60):
        part = slice(step % 5 * 50, step % 5 * 50 + 50)
        model.train_on_batch(x[part], y[part])
    for ours, theirs in zip(keras.models.load_model(result["folder"] / "model.keras").get_weights(),
                            model.get_weights(), strict=True):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
def test_the_belief_after_each_row_is_the_dense_layer_on_the_state_by_then(cell, rng):
    model, (*cell_weights, V, c) = model_with_biases(cell=cell, units=5)
    x = rng.random((60, 28, 28), dtype=np.float32)  # more than one part
    beliefs = rnn_mnist.belief_by_row(model, x)
    assert beliefs.shape == (60, 28, 10)
    np.testing.assert_allclose(beliefs, softmax(states(cell, x, cell_weights) @ V + c), atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize(("edits", "kind"), [([], {"bidirectional": True}), ([STACKED], {}), ([UNROLLED], {})],
                         ids=["bidirectional", "stacked", "unrolled"])  # fmt: skip
def test_the_belief_after_n_rows_is_the_answer_to_an_image_of_n_rows(cell, edits, kind, x, edited):
    model, _ = model_with_biases(edited("rnn_mnist", *edits), cell=cell, units=5, **kind)
    beliefs = rnn_mnist.belief_by_row(model, x)
    np.testing.assert_allclose(beliefs[:, -1], model.predict(x, verbose=0), atol=1e-5)
    for rows in (1, 14):
        answer = x[:, :rows]
        for layer in model.layers:
            answer = layer(answer)
        np.testing.assert_allclose(beliefs[:, rows - 1], answer, atol=1e-5)


@pytest.mark.parametrize("cell", [pytest.param(cell, marks=pytest.mark.slow) if cell != "simple_rnn" else cell
                                  for cell in STEPS])  # fmt: skip
def test_a_handful_of_digits_is_memorised(cell):
    flags = "--data digits --limit 48 --epochs 50 --batch-size 16 --units 64 --optimizer adam --learning-rate 0.003"
    result = rnn_mnist.main([*flags.split(), "--cell", cell])
    assert result["train_accuracy"] > 0.95
    assert result["test_accuracy"] > 0.4
    assert (result["folder"] / "beliefs.png").exists()
    digits = mnist.load_mnist("digits")
    saved = keras.models.load_model(result["folder"] / "model.keras")
    answers = saved.predict(mnist.as_sequences(digits.x_test), verbose=0).argmax(axis=1)
    assert np.mean(answers == digits.y_test) == pytest.approx(result["test_accuracy"])


def test_the_flags_reach_the_network():
    flags = "--data digits --limit 20 --epochs 1 --cell lstm --bidirectional --units 6 --optimizer rmsprop"
    result = rnn_mnist.main(flags.split())
    model = keras.models.load_model(result["folder"] / "model.keras")
    recurrent, _ = model.layers
    assert recurrent.output.shape == (None, 12)
    assert type(recurrent.forward_layer).__name__ == "LSTM"
    assert recurrent.forward_layer.dropout == 0.2
    assert type(model.optimizer).__name__ == "RMSprop"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--cell mlp", "choose from .*simple_rnn.*lstm.*gru"),
        ("--listing 5.2", "choose from .*rnn-128"),
        ("--units 0", "at least 1"),
        ("--optimizer magic", "choose from .*sgd"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        rnn_mnist.main(["--data", "digits", *argv.split()])
    assert not results.RUNS_DIR.exists()


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect Test accuracy ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    runs = [rnn_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in runs])
    assert mean >= 97.3
    assert mean == pytest.approx(expected, abs=2 * spread)
