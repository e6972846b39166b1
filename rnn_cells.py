"""Recurrent cells from the inside: one step of each as NumPy, beside Keras, and then masks and states.

Idea      A recurrent layer is a loop around one step: a few matrix products turn the input x and the last state into
          the next state, with the same weights every time. If you can write the step, you understand the cell. Where
          sequences differ in length, a mask keeps a state as it was after the last real step, and the output zero.
Model     Listing 5.1: SimpleRNN 512, Dense 5, 271,365 parameters. Listings 5.3 and 5.4: SimpleRNN 5 and LSTM 5 on four
          sequences (4, 2, 3). Also document 001's stateful cell (1, 1, 2), and two bidirectional LSTMs on (5, 10).
Run       python rnn_cells.py
Expect    NumPy's and Keras's states differ by 2e-7 at most (seed 0), by rounding; tests allow 1e-6.
Baseline  With one function wrong, document 001's candidate, an LSTM's states are off by up to 0.82 (seed 0).
Try next  mask = layers.Masking(0.0).compute_mask(x)    What becomes of a real step of zeros?
          zero_output_for_mask=False    What does Keras put out after a sequence's end, unless it is told?
          reset_after=False for layers.GRU    The gate r now comes before U: what must gru_step become?
Source    "Deep learning: RNNs and LSTMs" (document 001), Listings 5.1, 5.3, 5.4, and its stateful cell.
"""

from common import cli, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots import rnn_cells as plots
from common.plots.model_diagram import model_diagram

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

X = np.array([
    [[0, 1, 2], [9, 8, 7]],
    [[3, 4, 5], [0, 0, 0]],
    [[6, 7, 8], [6, 5, 4]],
    [[9, 0, 1], [3, 2, 1]],
], dtype="float32")  # (4, 2, 3): four sequences of two steps of three numbers
LENGTHS = np.array([2, 1, 2, 2])  # the second sequence has one step; its zeros are no input

# One step of each cell. x is (count, features), a state (count, units), W (features, units), U (units, units) and b
# (units,) for each gate, side by side as Keras stores them. A step returns all that it computes; h and c are the state.


def sigmoid(x):
    """Return a number from 0, a gate that is shut, to 1, a gate that is open."""
    return 1 / (1 + np.exp(-x))


def simple_rnn_step(x, state, W, U, b):
    """h(t) = tanh(x(t) W + h(t-1) U + b)."""
    return {"h": np.tanh(x @ W + state["h"] @ U + b)}


def lstm_step(x, state, W, U, b, candidate=np.tanh):
    """c(t) = f * c(t-1) + i * candidate: the long memory c has no weights between one step and the next."""
    i, f, new, o = np.split(x @ W + state["h"] @ U + b, 4, axis=-1)
    i, f, o = sigmoid(i), sigmoid(f), sigmoid(o)  # input, forget, output gate
    c = f * state["c"] + i * candidate(new)
    return {"h": o * np.tanh(c), "c": c, "f": f, "i": i, "o": o}


def gru_step(x, state, W, U, b):
    """h(t) = z * h(t-1) + (1 - z) * candidate: one gate both keeps and lets in."""
    xz, xr, xh = np.split(x @ W + b[0], 3, axis=-1)
    hz, hr, hh = np.split(state["h"] @ U + b[1], 3, axis=-1)  # the second bias, and r after U: for fast GPU kernels
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)  # update, reset gate
    return {"h": z * state["h"] + (1 - z) * np.tanh(xh + r * hh), "z": z, "r": r}


CELLS = {
    "simple_rnn": (layers.SimpleRNN, simple_rnn_step),
    "lstm": (layers.LSTM, lstm_step),
    "gru": (layers.GRU, gru_step),
}


def unroll(step, x, weights, **kwargs):
    """Return all that `step` computes over sequences x (count, steps, features), as {name: (count, steps, units)}."""
    W, U, b = weights
    zeros = np.zeros((len(x), len(U)))
    state = {"h": zeros, "c": zeros}
    seen = {}
    for t in range(x.shape[1]):
        state = step(x[:, t], state, W, U, b, **kwargs)
        for name, values in state.items():
            seen.setdefault(name, []).append(values)
    return {name: np.stack(values, axis=1) for name, values in seen.items()}


def candidate_of_001(x):
    """Document 001 has c~ = sigmoid(...) and c = f * c + i * tanh(c~); documents 000 and 002 have c~ = tanh(...)."""
    return np.tanh(sigmoid(x))


def read_sequences(layer, x, lengths):
    """Return outputs (4, 2, 5) and states (4, 5), one or two, as the listings' function of TensorFlow 1 did.

    The mask comes from the lengths: layers.Masking(0.0) would also take a real step of zeros for a sequence's end.
    """
    mask = np.arange(x.shape[1]) < lengths[:, None]  # (4, 2)
    return [array.numpy() for array in layer(x, mask=mask)]


def difference(ours, keras_s):
    """Return the largest difference between two arrays."""
    return float(np.abs(ours - keras_s).max())


def build_listing_51():
    """Return Listing 5.1: (batch, 30, 12) to five probabilities."""
    return keras.Sequential([
        keras.Input((30, 12)),
        layers.SimpleRNN(512, dropout=0.2),  # (512,)  268,800 = 512 x (12 + 512 + 1)
        layers.Dense(5, activation="softmax"),  # (5,)  2,565 = 512 x 5 + 5
    ])


def build_bidirectional():
    """Return document 001's bidirectional network: (batch, 5, 10) to five probabilities."""
    return keras.Sequential([
        keras.Input((5, 10)),
        layers.Bidirectional(layers.LSTM(10, return_sequences=True)),  # (5, 20)  1,680 = 2 x 4 x 10 x (10 + 10 + 1)
        layers.Bidirectional(layers.LSTM(10)),  # (20,)  2,480 = 2 x 4 x 10 x (20 + 10 + 1)
        layers.Dense(5),  # (5,)  105 = 20 x 5 + 5
        layers.Activation("softmax"),  # (5,)
    ])


def main(argv=None):
    """Read sequences by Keras and by NumPy, and draw what comes out; return the content of result.json."""
    args = parse(argv)
    folder = runs.new_folder(__file__, args.out)
    keras.utils.set_random_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    apart = {}  # the largest differences between NumPy and Keras

    # 1. Listing 5.1, and the bidirectional network
    for name, model in {"listing_5.1": build_listing_51(), "bidirectional": build_bidirectional()}.items():
        model.summary()
        model_diagram(folder / f"{name}.png", model)

    # 2. Steps: each cell beside Keras's, on random sequences, with random weights (biases too, which start at zero)
    print()
    x = rng.normal(size=(4, 10, 3)).astype("float32")
    for name, (kind, step) in CELLS.items():
        layer = kind(5, return_sequences=True)
        layer.build(x.shape)
        weights = [rng.normal(0, 0.5, array.shape) for array in layer.get_weights()]
        layer.set_weights(weights)
        apart[name] = difference(unroll(step, x, weights)["h"], layer(x))
        print(f"{name}: NumPy's states and Keras's differ by {apart[name]:.1e} at most")

    # 3. Masks: Listings 5.3 and 5.4, whose sequences end at different steps
    for listing, cell in {"listing_5.3": "simple_rnn", "listing_5.4": "lstm"}.items():
        kind, step = CELLS[cell]
        layer = kind(5, return_sequences=True, return_state=True, zero_output_for_mask=True)
        outputs, *states = read_sequences(layer, X, LENGTHS)
        print(f"\n{listing}, {cell}: x {X.shape}, lengths {LENGTHS}\noutputs {outputs.shape}:\n{outputs}")
        for name, state in zip(("h", "c"), states, strict=False):
            last = unroll(step, X, layer.get_weights())[name][range(4), LENGTHS - 1]  # at each sequence's last step
            apart[f"{listing}, {name}"] = difference(last, state)
            print(f"state {name} {state.shape}:\n{state}")
        title = f"{listing.replace('_', ' ')}, {cell}: zero after a sequence's end, and the state of its last step"
        plots.table(folder / f"{listing}.png", X, outputs, states[0], title)

    # 4. State: document 001's stateful cell, whose answer depends on what it has read before. (The LSTMCell that the
    # document puts into a Sequential is one step only; the layer around it is layers.RNN(layers.LSTMCell(6)).)
    stateful = keras.Sequential([keras.Input(batch_shape=(1, 1, 2)), layers.SimpleRNN(5, stateful=True)])
    x = np.array([[[0.5, -1.0]]], dtype="float32")  # (1, 1, 2)
    answers = [stateful(x).numpy(), stateful(x).numpy()]
    stateful.layers[0].reset_state()
    answers.append(stateful(x).numpy())
    print("\nThe stateful cell reads the same step twice, and once more after reset_state:")
    for answer in answers:
        print(answer[0])

    # 5. The documents differ in the candidate. With 001's it is never negative, so c can only be filled and leak out.
    # The table that it prints under Listing 5.4 was not made so: 13 of its 20 c are negative.
    print()
    x = rng.normal(size=(1, 50, 3))
    weights = [rng.normal(0, 0.5, shape) for shape in ((3, 32), (8, 32), (32,))]  # of 8 units
    with_tanh = unroll(lstm_step, x, weights)
    with_sigmoid = unroll(lstm_step, x, weights, candidate=candidate_of_001)
    memories = {"tanh (000, 002, Keras)": with_tanh["c"][0], "tanh(sigmoid) (001)": with_sigmoid["c"][0]}
    for name, c in memories.items():
        print(f"candidate {name}: c from {c.min():.2f} to {c.max():.2f}")
    apart["candidate of 001, h"] = difference(with_tanh["h"], with_sigmoid["h"])
    print(f"their states h differ by up to {apart['candidate of 001, h']:.2f}")
    plots.candidates(folder / "candidates.png", memories, "An LSTM's long memory with two candidates, the same weights")
    return runs.finish(folder, args, apart=apart)


def parse(argv):
    """Return the command line as a namespace."""
    return cli.parser(__doc__, images=False).parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
