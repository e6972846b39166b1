import json
import re
from pathlib import Path

import rnn_mnist
from common import cli, mnist

import numpy as np
import pytest
from tensorflow import keras

CARD = " ".join(rnn_mnist.__doc__.split())
CODE = Path(rnn_mnist.__file__).read_text(encoding="utf-8")
X = np.random.default_rng(0).random((4, 28, 28), dtype=np.float32)
PARAMETERS = {"simple_rnn": 72_960, "lstm": 291_840, "gru": 219_648}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# One step of each cell as the script's comment writes it, with the weights as Keras stores them.


def simple_rnn_step(x, state, W, U, b):
    h = np.tanh(x @ W + state["h"] @ U + b)
    return {"h": h}


def lstm_step(x, state, W, U, b):
    i, f, candidate, o = np.split(x @ W + state["h"] @ U + b, 4, axis=-1)
    c = sigmoid(f) * state["c"] + sigmoid(i) * np.tanh(candidate)
    return {"h": sigmoid(o) * np.tanh(c), "c": c}


def gru_step(x, state, W, U, b):
    xz, xr, xh = np.split(x @ W + b[0], 3, axis=-1)
    hz, hr, hh = np.split(state["h"] @ U + b[1], 3, axis=-1)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    return {"h": z * state["h"] + (1 - z) * np.tanh(xh + r * hh)}


STEPS = {"simple_rnn": simple_rnn_step, "lstm": lstm_step, "gru": gru_step}


def states(cell, x, weights):
    """Return the state h after every row, (count, 28, units), by a loop over the rows."""
    units = weights[1].shape[0]
    state = {"h": np.zeros((len(x), units)), "c": np.zeros((len(x), units))}
    seen = []
    for row in range(x.shape[1]):
        state = STEPS[cell](x[:, row], state, *weights)
        seen.append(state["h"])
    return np.stack(seen, axis=1)


def model_with_biases(**kwargs):
    """Return a model with every weight moved off its start: biases that are still 0 would prove nothing."""
    keras.utils.set_random_seed(1)
    model = rnn_mnist.build_model(**kwargs)
    rng = np.random.default_rng(1)
    model.set_weights([weights + rng.normal(0, 0.1, weights.shape) for weights in model.get_weights()])
    return model, [weights.astype(float) for weights in model.get_weights()]


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("unroll", [False, True])
def test_each_cell_computes_its_equations(cell, unroll):
    model, (*cell_weights, V, c) = model_with_biases(cell=cell, units=5, unroll=unroll)
    expected = softmax(states(cell, X, cell_weights)[:, -1] @ V + c)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
def test_two_directions_are_a_second_reader_from_the_end(cell):
    model, weights = model_with_biases(cell=cell, units=5, bidirectional=True)
    forward, backward = states(cell, X, weights[:3])[:, -1], states(cell, X[:, ::-1], weights[3:6])[:, -1]
    expected = softmax(np.concatenate([forward, backward], axis=1) @ weights[6] + weights[7])
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
def test_a_stacked_layer_reads_the_states_of_the_one_below(cell):
    model, weights = model_with_biases(cell=cell, units=5, num_layers=2)
    upper = states(cell, states(cell, X, weights[:3]), weights[3:6])[:, -1]
    np.testing.assert_allclose(model.predict(X, verbose=0), softmax(upper @ weights[6] + weights[7]), atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
def test_the_parameters_are_those_of_the_formulas(cell):
    layer, dense = rnn_mnist.build_model(cell=cell).layers
    assert layer.count_params() == PARAMETERS[cell]
    assert dense.count_params() == 2_570
    assert f"{PARAMETERS[cell]:,} = " in CODE
    assert f"{PARAMETERS[cell] + 2_570:,}" in CARD
    formula = re.search(rf"{PARAMETERS[cell]:,} = ([^\n]+)", CODE).group(1)
    assert eval(formula.replace("x", "*")) == PARAMETERS[cell]


def test_the_listings_have_the_documents_parameters():
    totals = {}
    for name in rnn_mnist.LISTINGS:
        args = rnn_mnist.parse(["--listing", name])
        totals[name] = rnn_mnist.build_model(args.cell, args.units, unroll=args.unroll).count_params()
    assert totals == {"rnn": 75_530, "rnn-128": 21_386, "rnn-16": 890, "rnn-50": 4_460}
    assert totals["rnn-128"] == 128 * (28 + 128 + 1) + 128 * 10 + 10


def test_a_listing_sets_everything_and_other_flags_override_it():
    args = rnn_mnist.parse(["--listing", "rnn-50"])
    assert (args.steps, args.batch_size, args.units, args.unroll, args.dropout) == (4001, 50, 50, True, 0)
    assert (args.optimizer, args.learning_rate) == ("adam", None)
    assert float(keras.optimizers.get("adam").learning_rate) == pytest.approx(0.001)
    assert not rnn_mnist.parse(["--listing", "rnn-50", "--no-unroll"]).unroll
    args = rnn_mnist.parse(["--units", "7", "--listing", "rnn-16", "--learning-rate", "0.1"])
    assert (args.units, args.learning_rate) == (7, 0.1)
    assert (args.activation, args.optimizer, args.batch_size, args.epochs) == ("relu", "rmsprop", 100, 20)
    args = rnn_mnist.parse(["--listing", "rnn-128"])
    assert (args.units, args.dropout, args.optimizer, args.batch_size, args.epochs) == (128, 0.3, "sgd", 128, 8)


def test_updates_are_counted_and_tested_as_document_004_does(capsys, monkeypatch):
    monkeypatch.setattr(rnn_mnist, "TEST_EVERY", 20)
    flags = ["--data", "digits", "--limit", "250", "--listing", "rnn-50", "--steps", "41"]
    result = rnn_mnist.main(flags)
    assert result["steps"] == 41
    assert result["epochs"] == 8  # of 5 updates each; the ninth was cut short
    printed = capsys.readouterr().out
    assert printed.count(f"{mnist.STAND_IN}, update") == 3
    tested = re.findall(r"update (\d+): test cost ([\d.]+), test accuracy ([\d.]+)%", printed)
    assert [int(step) for step, *_ in tested] == [1, 21, 41]
    assert float(tested[-1][1]) == pytest.approx(result["test_loss"], abs=1e-4)
    assert float(tested[-1][2]) == pytest.approx(100 * result["test_accuracy"], abs=0.06)


@pytest.mark.parametrize("cell", STEPS)
def test_the_belief_after_each_row_is_the_dense_layer_on_the_state_by_then(cell):
    model, (*cell_weights, V, c) = model_with_biases(cell=cell, units=5)
    x = np.random.default_rng(2).random((60, 28, 28), dtype=np.float32)  # more than one part
    beliefs = rnn_mnist.belief_by_row(model, x)
    assert beliefs.shape == (60, 28, 10)
    np.testing.assert_allclose(beliefs, softmax(states(cell, x, cell_weights) @ V + c), atol=1e-5)


@pytest.mark.parametrize("kind", [{"bidirectional": True}, {"num_layers": 2}, {"unroll": True}])
@pytest.mark.parametrize("cell", STEPS)
def test_the_belief_after_n_rows_is_the_answer_to_a_picture_of_n_rows(cell, kind):
    model, _ = model_with_biases(cell=cell, units=5, **kind)
    beliefs = rnn_mnist.belief_by_row(model, X)
    np.testing.assert_allclose(beliefs[:, -1], model.predict(X, verbose=0), atol=1e-5)
    for rows in (1, 14):
        answer = X[:, :rows]
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


def test_the_flags_reach_the_network(compiled):
    own = "--cell lstm --bidirectional --layers 2 --units 6 --dropout 0.1 --activation softsign --optimizer rmsprop"
    model, options = compiled(rnn_mnist.main, ["--data", "digits", *own.split()])
    first, second, _ = model.layers
    assert first.output.shape == (None, 28, 12)
    assert second.output.shape == (None, 12)
    assert (first.forward_layer.dropout, first.forward_layer.activation.__name__) == (0.1, "softsign")
    assert type(options["optimizer"]).__name__ == "RMSprop"


@pytest.mark.parametrize(("recipe", "longest"), [("book", 5), ("fast", rnn_mnist.CLIP_NORM)])
def test_the_fast_recipe_clips_the_gradient_of_each_weight_array(recipe, longest, compiled):
    _, options = compiled(rnn_mnist.main, ["--data", "digits", "--recipe", recipe, "--optimizer", "sgd"])
    long, short = keras.Variable(np.zeros(2)), keras.Variable(np.zeros(2))
    rate = float(options["optimizer"].learning_rate)
    options["optimizer"].apply([keras.ops.array([3.0, 4.0]), keras.ops.array([0.1, 0.0])], [long, short])
    np.testing.assert_allclose(long, [-rate * longest * 0.6, -rate * longest * 0.8], rtol=1e-5)
    np.testing.assert_allclose(short, [-rate * 0.1, 0], rtol=1e-5)


def test_replicas_share_the_longest_gradient(compiled):
    _, options = compiled(rnn_mnist.main, ["--data", "digits", "--recipe", "fast", "--replicas", "2"])
    assert options["optimizer"].clipnorm == rnn_mnist.CLIP_NORM / 2


def test_other_flags_override_the_recipe():
    args = rnn_mnist.parse(["--recipe", "fast", "--epochs", "7", "--learning-rate", "0.5"])
    assert (args.epochs, args.learning_rate, args.optimizer) == (7, 0.5, "adam")
    args = rnn_mnist.parse(["--listing", "rnn-16", "--recipe", "fast"])
    assert (args.epochs, args.learning_rate) == (4, None)
    assert rnn_mnist.parse(["--listing", "rnn-50", "--recipe", "fast"]).steps is None


def test_compare_trains_the_three_cells_side_by_side_and_one_may_diverge(capsys):
    flags = "--data digits --limit 40 --epochs 2 --units 4 --compare --activation linear --learning-rate 1e30"
    result = rnn_mnist.main(flags.split())
    assert list(result["cells"]) == ["simple_rnn", "lstm", "gru"]
    printed = capsys.readouterr().out
    text = (result["folder"] / "result.json").read_text()
    written = json.loads(text, parse_constant=pytest.fail)  # nan is no JSON
    assert written["cells"]["simple_rnn"]["test_loss"] is None
    for cell, own in result["cells"].items():
        assert own["folder"] == result["folder"] / cell
        assert re.search(rf"{cell} +{100 * own['test_accuracy']:.1f}% +{own['parameters']:,}", printed)
        assert written["cells"][cell]["parameters"] == own["parameters"]
    assert (result["folder"] / "comparison.png").exists()
    assert result["dataset"] == mnist.STAND_IN


def test_compare_refuses_what_is_wrong_before_it_makes_a_folder():
    for flags in ("--device tpu", "--data nowhere", "--limit 1 --validation 0.5"):
        with pytest.raises(cli.UserError):
            rnn_mnist.main(["--compare", "--data", "digits", *flags.split()])
    assert not cli.RUNS_DIR.exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--cell mlp", "choose from .*simple_rnn.*lstm.*gru"),
        ("--listing 5.2", "choose from .*rnn-128"),
        ("--units 0", "at least 1"),
        ("--layers 0", "at least 1"),
        ("--steps 0", "at least 1"),
        ("--dropout 1", "below 1"),
        ("--activation magic", "choose from .*tanh"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        rnn_mnist.main(["--data", "digits", *argv.split()])
    assert not cli.RUNS_DIR.exists()


@pytest.mark.slow
def test_the_card_tells_the_truth_about_mnist():
    expected, spread = map(float, re.search(r"Expect ([\d.]+) % \+- ([\d.]+) ", CARD).groups())
    results = [rnn_mnist.main(["--data", "mnist", "--seed", str(seed)]) for seed in range(3)]
    mean = 100 * np.mean([result["test_accuracy"] for result in results])
    assert mean >= 97.9
    assert mean == pytest.approx(expected, abs=2 * spread)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_gated_cells_reach_what_the_card_says(cell):
    flags, expected = re.search(rf"(--cell {cell} --recipe fast): ([\d.]+) %", CARD).groups()
    result = rnn_mnist.main(["--data", "mnist", *flags.split()])
    assert result["test_accuracy"] >= 0.989
    assert 100 * result["test_accuracy"] == pytest.approx(float(expected), abs=0.2)
