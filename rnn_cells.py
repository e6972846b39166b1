"""Recurrent cells from the inside: one step of each as NumPy, beside Keras, and the tables that document 001 prints.

Idea      A recurrent layer is a loop around one step: a few matrix products turn the input x and the last state into
          the next state, with the same weights every time. Whoever can write the step knows the cell. Sequences in a
          batch differ in length: after its end a sequence's output is zero and its state stays that of its last step.
Model     Listing 5.1: SimpleRNN 512, Dense 5, 271,365 parameters. Listings 5.3 and 5.4: SimpleRNN 5 and LSTM 5 on four
          sequences (4, 2, 3). Also document 001's stateful cell (1, 1, 2), and two bidirectional LSTMs on (5, 10).
Run       python rnn_cells.py
Expect    In about ten seconds: NumPy and Keras differ by less than 1e-6. Keras prints the document's own tables, of
          Listings 5.3 and 5.4, to 3e-7, with weights that are fitted to what the document prints.
Baseline  With random weights, which the document had, the tables are off by up to 2.00 and 0.98 (seed 0).
Try next  zero_output_for_mask=False    What does Keras put out after a sequence's end, unless it is told?
          --seed 1                      Other weights for Listing 5.4, and the same table: why?
          reset_after=False for layers.GRU    The gate r now comes before U: what must gru_step become?
Source    "Deep learning: RNNs and LSTMs" (document 001), Listings 5.1, 5.3, 5.4; equations also in 000 and 002.
"""

from common import cli, device, results, script  # noqa: F401  first: device starts TensorFlow without its log lines
from common.plots import rnn_cells as plots
from common.plots.common import show
from common.plots.diagram import diagram

import numpy as np
from scipy import optimize
from tensorflow import keras
from tensorflow.keras import layers

X = np.array([[[0, 1, 2], [9, 8, 7]],  # (4, 2, 3): four sequences of two steps of three numbers
              [[3, 4, 5], [0, 0, 0]],
              [[6, 7, 8], [6, 5, 4]],
              [[9, 0, 1], [3, 2, 1]]], dtype="float32")  # fmt: skip
LENGTHS = np.array([2, 1, 2, 2])  # the second sequence has one step; its zeros are no input

# What the document prints, (4, 2, 5), and of the LSTM also c after each sequence's last step, (4, 5)
OUTPUTS_53 = np.array([
    [[-0.09700205, 0.7671716, 0.6775758, 0.01522888, 0.5460828],
     [0.92776424, -0.5916748, 0.67824966, 0.99423325, 0.9999991]],
    [[0.24040672, 0.81568515, 0.8890421, 0.780813, 0.99762475], [0, 0, 0, 0, 0]],
    [[0.5282535, 0.8549201, 0.9647311, 0.9692446, 0.99999046],
     [0.9725177, -0.7165484, 0.46688017, 0.9411293, 0.9999323]],
    [[0.81080747, -0.9926888, 0.56612366, 0.9561879, 0.9997731],
     [0.48786768, -0.7099759, -0.7283263, 0.76442945, 0.9971904]],
])  # fmt: skip
OUTPUTS_54 = np.array([
    [[-0.139581457, -0.0817378387, -0.0870967656, -0.0305497926, 0.116406225],
     [-0.733636796, -0.060770195, -0.14044404, -0.0265002381, 0.00053733401]],
    [[-0.483454257, 0.00339480606, -0.0336034223, -0.0259866733, 0.0449425131], [0, 0, 0, 0, 0]],
    [[-0.621303201, 0.00413885061, -0.00617417134, -0.00889408588, 0.00483810157],
     [-0.736429453, 0.0263450593, -0.0442487188, -0.105846934, 0.0052268412]],
    [[-0.10141024, 0.049985759, -0.0094735818, -0.374739647, 0.00964458846],
     [-0.373311013, 0.135892674, -0.0972046256, -0.279455721, 0.0536275432]],
])  # fmt: skip
C_54 = np.array([[-1.0492262, -0.1059267, -0.27163735, -0.64399946, 0.06018598],
                 [-0.7445494, 0.00723887, -0.11805946, -0.26550752, 0.21816696],
                 [-1.4126835, 0.05187892, -0.07408151, -0.66379607, 0.1348486],
                 [-0.5987958, 0.24536057, -0.16916996, -0.8177415, 0.39747238]])  # fmt: skip

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


CELLS = {"simple_rnn": (layers.SimpleRNN, simple_rnn_step), "lstm": (layers.LSTM, lstm_step),
         "gru": (layers.GRU, gru_step)}  # fmt: skip


def unroll(step, x, weights, **kwargs):
    """Return all that `step` computes over sequences x (count, steps, features), as {name: (count, steps, units)}."""
    state = dict.fromkeys("hc", np.zeros((len(x), len(weights[1]))))
    seen = []
    for now in np.swapaxes(x, 0, 1):
        state = step(now, state, *weights, **kwargs)
        seen.append(state)
    return {name: np.stack([state[name] for state in seen], axis=1) for name in state}


def candidate_of_001(x):
    """Document 001 has c~ = sigmoid(...) and c = f * c + i * tanh(c~); documents 000 and 002 have c~ = tanh(...)."""
    return np.tanh(sigmoid(x))


def read_sequences(layer, x, lengths):
    """Return outputs (4, 2, 5) and states (4, 5), one or two, as the listings' function of TensorFlow 1 did.

    The mask comes from the lengths: layers.Masking(0.0) would also take a real step of zeros for a sequence's end.
    """
    return [array.numpy() for array in layer(x, mask=np.arange(x.shape[1]) < lengths[:, None])]


def weights_of_listing_53():
    """Return W (3, 5), U (5, 5) and b (5,) with which a SimpleRNN gives OUTPUTS_53.

    As h = tanh(x W) at the first step, x W = arctanh h: four equations for the three numbers of a unit, each weighted
    by 1 - h^2, the slope of tanh, for where tanh saturates few digits are left. U has but three equations for five
    numbers of a unit, one for each sequence with a second step; lstsq takes the smallest solution. b starts at zero.
    """
    first, second = OUTPUTS_53[:, 0], OUTPUTS_53[LENGTHS == 2, 1]  # (4, 5), (3, 5)
    slope = 1 - first**2
    W = np.stack([np.linalg.lstsq(slope[:, [unit]] * X[:, 0], slope[:, unit] * np.arctanh(first[:, unit]))[0]
                  for unit in range(5)], axis=1)  # fmt: skip
    U = np.linalg.lstsq(first[LENGTHS == 2], np.arctanh(second) - X[LENGTHS == 2, 1] @ W)[0]
    return [W, U, np.zeros(5)]


def weights_of_listing_54(rng):
    """Return W (3, 20), U (5, 20) and b (20,) with which an LSTM gives OUTPUTS_54 and C_54.

    The document prints 55 numbers for 160 weights: its own cannot be known, but others that print the same can be
    found, also within the range from which TensorFlow 1 drew its own. Unit by unit, for what the second step reads of
    the others is printed: x and h are its eight inputs. A forget bias of 1 was added by TensorFlow 1; here b holds it.
    """
    two, limit, b = LENGTHS == 2, np.sqrt(6 / (8 + 20)), np.array([0.0, 1, 0, 0])  # the limit: Glorot and Bengio 2010
    first = np.concatenate([X[:, 0], np.zeros((4, 5))], axis=1)  # (4, 8)
    second = np.concatenate([X[two, 1], OUTPUTS_54[two, 0]], axis=1)  # (3, 8)

    def misses(numbers, unit):
        weights = numbers.reshape(8, 4), np.zeros((1, 4)), b  # i, f, c~ and o of one unit
        start = lstm_step(first, {"h": np.zeros((4, 1)), "c": np.zeros((4, 1))}, *weights)
        end = lstm_step(second, {"h": np.zeros((3, 1)), "c": start["c"][two]}, *weights)
        h, c = np.concatenate([start["h"], end["h"]]), np.concatenate([start["c"][~two], end["c"]])  # (7, 1), (4, 1)
        printed = OUTPUTS_54[:, 0, unit], OUTPUTS_54[two, 1, unit], C_54[~two, unit], C_54[two, unit]
        return np.concatenate([h, c])[:, 0] - np.concatenate(printed)  # (11,)

    W = np.zeros((8, 4, 5))
    for unit in range(5):
        cost, starts = 1, 0
        while cost > 1e-20 and starts < 50:  # another start, where one ends in a local minimum
            starts += 1
            found = optimize.least_squares(misses, rng.uniform(-limit, limit, 32), bounds=(-limit, limit), max_nfev=200,
                                           xtol=1e-15, ftol=1e-15, gtol=1e-14, args=(unit,))  # fmt: skip
            if found.cost < cost:
                W[:, :, unit], cost = found.x.reshape(8, 4), found.cost
    return [*np.split(W.reshape(8, 20), [3]), np.repeat(b, 5)]


def build_listing_51():
    """Return Listing 5.1: (batch, 30, 12) to five probabilities."""
    return keras.Sequential([
        keras.Input((30, 12)),
        layers.SimpleRNN(512, dropout=0.2),  # (512,)  268,800 = 512 x (12 + 512 + 1)
        layers.Dense(5, activation="softmax"),  # (5,)  2,565 = 512 x 5 + 5
    ])  # fmt: skip


def build_bidirectional():
    """Return document 001's bidirectional network: (batch, 5, 10) to five probabilities."""
    return keras.Sequential([
        keras.Input((5, 10)),
        layers.Bidirectional(layers.LSTM(10, return_sequences=True)),  # (5, 20)  1,680 = 2 x 4 x 10 x (10 + 10 + 1)
        layers.Bidirectional(layers.LSTM(10)),  # (20,)  2,480 = 2 x 4 x 10 x (20 + 10 + 1)
        layers.Dense(5),  # (5,)  105 = 20 x 5 + 5
        layers.Activation("softmax"),  # (5,)
    ])  # fmt: skip


def main(argv=None):
    """Print the listings' tables and draw them; return the content of result.json, with the run's folder."""
    args = parse(argv)
    folder = results.new_folder("rnn_cells", args.out)
    keras.utils.set_random_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    result = {"script": "rnn_cells", "status": "finished", "seed": args.seed, "off": {}, "by_chance": {}, "apart": {}}

    # Listing 5.1, and the bidirectional network
    for name, model in (("listing_5.1", build_listing_51()), ("bidirectional", build_bidirectional())):
        model.summary()
        diagram(folder / f"{name}.png", model)

    # Listings 5.3 and 5.4, with random weights and with those found from what the document prints
    ends = range(4), LENGTHS - 1  # where each sequence has its last step
    for listing, kind, weights, *printed in (
        ("5.3", layers.SimpleRNN, weights_of_listing_53(), OUTPUTS_53, OUTPUTS_53[ends]),
        ("5.4", layers.LSTM, weights_of_listing_54(rng), OUTPUTS_54, OUTPUTS_54[ends], C_54),
    ):
        layer = kind(5, return_sequences=True, return_state=True, zero_output_for_mask=True)
        by_chance = read_sequences(layer, X, LENGTHS)[0]
        layer.set_weights(weights)
        seen = read_sequences(layer, X, LENGTHS)
        off = max(float(np.abs(ours - theirs).max()) for ours, theirs in zip(seen, printed, strict=True))
        result["off"][listing], result["by_chance"][listing] = off, float(np.abs(by_chance - printed[0]).max())
        print(f"\nListing {listing}: x {X.shape}, lengths {LENGTHS}")
        for name, array in zip(("outputs", "state h", "state c"), seen, strict=False):
            print(f"{name} {array.shape}:\n{array}")
        print(f"off from the document's tables by {off:.1e}; with random weights by "
              f"{result['by_chance'][listing]:.2f}")  # fmt: skip
        plots.table(folder / f"listing_{listing}.png", X, *seen[:2],
                    f"Listing {listing}: zero after a sequence's end, and the state of its last step")  # fmt: skip

    # Document 001's stateful cell: its answer depends on what it has read before. (The LSTMCell that the document puts
    # into a Sequential is one step only; the layer around it is layers.RNN(layers.LSTMCell(6)).)
    stateful = keras.Sequential([keras.Input(batch_shape=(1, 1, 2)), layers.SimpleRNN(5, stateful=True)])
    x = np.array([[[0.5, -1.0]]], dtype="float32")  # (1, 1, 2)
    answers = [stateful(x).numpy() for _ in range(2)]
    stateful.layers[0].reset_state()
    answers.append(stateful(x).numpy())
    print("\nThe stateful cell reads the same step twice, and once more after reset_state:")
    for answer in answers:
        print(answer[0])

    # The steps beside Keras, on random sequences and weights
    print()
    x = rng.normal(size=(4, 10, 3)).astype("float32")
    for name, (kind, step) in CELLS.items():
        layer = kind(5, return_sequences=True)
        layer.build(x.shape)
        weights = [rng.normal(0, 0.5, array.shape) for array in layer.get_weights()]  # biases too, which start at zero
        layer.set_weights(weights)
        result["apart"][name] = float(np.abs(layer(x).numpy() - unroll(step, x, weights)["h"]).max())
        print(f"{name}: NumPy's states and Keras's differ by {result['apart'][name]:.1e} at most")

    # The documents differ in the candidate. With 001's it is never negative, so c can only be filled and leak out.
    # The table that it prints under Listing 5.4 was not made so: most of its c are negative.
    x = rng.normal(size=(1, 50, 3))
    weights = [rng.normal(0, 0.5, shape) for shape in ((3, 32), (8, 32), (32,))]  # of 8 units
    memories = {
        "tanh (000, 002, Keras)": unroll(lstm_step, x, weights)["c"][0],
        "tanh(sigmoid) (001)": unroll(lstm_step, x, weights, candidate=candidate_of_001)["c"][0],
    }
    for name, c in memories.items():
        print(f"candidate {name}: c from {c.min():.2f} to {c.max():.2f}")
    print(f"c as document 001 prints it: {np.sum(C_54 < 0)} of {C_54.size} numbers are negative")
    plots.candidates(folder / "candidates.png", memories, "An LSTM's long memory with two candidates, the same weights")
    results.write_result(folder, result)
    print(f"\nPictures: {cli.relative(folder)}")
    if args.show:
        show(folder)
    return {**result, "folder": folder}


def parse(argv):
    """Return the command line as a namespace."""
    return cli.parser(__doc__, images=False).parse_args(argv)


if __name__ == "__main__":
    script.launch(main)
