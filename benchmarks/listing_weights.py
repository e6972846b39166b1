"""Weights with which Keras prints document 001's own tables, of Listings 5.3 (SimpleRNN) and 5.4 (LSTM).

The document prints what its cells of TensorFlow 1 put out, and not the random weights that they had. Here weights are
found from what it prints, and Keras's layers with these weights must print the tables again: so the document's
equations, its masks and its states are Keras's. The tests check that (tests/test_rnn_cells.py).

Run       python benchmarks/listing_weights.py             about ten seconds
          python benchmarks/listing_weights.py --seed 1    other weights for Listing 5.4, and the same table
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rnn_cells import LENGTHS, X, difference, lstm_step, read_sequences  # first: it starts TensorFlow quietly

import numpy as np
from scipy import optimize
from tensorflow import keras
from tensorflow.keras import layers

# What the document prints, (4, 2, 5), and of the LSTM also c after each sequence's last step, (4, 5)
OUTPUTS_53 = np.array([
    [[-0.09700205, 0.7671716, 0.6775758, 0.01522888, 0.5460828],
     [0.92776424, -0.5916748, 0.67824966, 0.99423325, 0.9999991]],
    [[0.24040672, 0.81568515, 0.8890421, 0.780813, 0.99762475],
     [0, 0, 0, 0, 0]],
    [[0.5282535, 0.8549201, 0.9647311, 0.9692446, 0.99999046],
     [0.9725177, -0.7165484, 0.46688017, 0.9411293, 0.9999323]],
    [[0.81080747, -0.9926888, 0.56612366, 0.9561879, 0.9997731],
     [0.48786768, -0.7099759, -0.7283263, 0.76442945, 0.9971904]],
])
OUTPUTS_54 = np.array([
    [[-0.139581457, -0.0817378387, -0.0870967656, -0.0305497926, 0.116406225],
     [-0.733636796, -0.060770195, -0.14044404, -0.0265002381, 0.00053733401]],
    [[-0.483454257, 0.00339480606, -0.0336034223, -0.0259866733, 0.0449425131],
     [0, 0, 0, 0, 0]],
    [[-0.621303201, 0.00413885061, -0.00617417134, -0.00889408588, 0.00483810157],
     [-0.736429453, 0.0263450593, -0.0442487188, -0.105846934, 0.0052268412]],
    [[-0.10141024, 0.049985759, -0.0094735818, -0.374739647, 0.00964458846],
     [-0.373311013, 0.135892674, -0.0972046256, -0.279455721, 0.0536275432]],
])
C_54 = np.array([
    [-1.0492262, -0.1059267, -0.27163735, -0.64399946, 0.06018598],
    [-0.7445494, 0.00723887, -0.11805946, -0.26550752, 0.21816696],
    [-1.4126835, 0.05187892, -0.07408151, -0.66379607, 0.1348486],
    [-0.5987958, 0.24536057, -0.16916996, -0.8177415, 0.39747238],
])
ENDS = range(4), LENGTHS - 1  # where each sequence has its last step
TWO = LENGTHS == 2  # the sequences with a second step


def weights_of_listing_53():
    """Return W (3, 5), U (5, 5) and b (5,) with which a SimpleRNN gives OUTPUTS_53.

    As h = tanh(x W) at the first step, x W = arctanh h: four equations for the three numbers of a unit, each weighted
    by 1 - h^2, the slope of tanh, for where tanh saturates few digits are left. U has but three equations for five
    numbers of a unit, one for each sequence with a second step; lstsq takes the smallest solution. b starts at zero.
    """
    first, second = OUTPUTS_53[:, 0], OUTPUTS_53[TWO, 1]  # (4, 5), (3, 5)
    W = np.zeros((3, 5))
    for unit in range(5):
        slope = 1 - first[:, unit] ** 2  # (4,)
        W[:, unit] = np.linalg.lstsq(slope[:, None] * X[:, 0], slope * np.arctanh(first[:, unit]))[0]
    U = np.linalg.lstsq(first[TWO], np.arctanh(second) - X[TWO, 1] @ W)[0]
    return [W, U, np.zeros(5)]


def weights_of_listing_54(rng):
    """Return W (3, 20), U (5, 20) and b (20,) with which an LSTM gives OUTPUTS_54 and C_54.

    The document prints 55 numbers for 160 weights: its own cannot be known, but others that print the same can be
    found, also within the range from which TensorFlow 1 drew its own. Unit by unit, for what the second step reads of
    the others is printed: x and h are its eight inputs. A forget bias of 1 was added by TensorFlow 1; here b holds it.
    """
    limit = np.sqrt(6 / (8 + 20))  # Glorot and Bengio (2010), for 8 inputs and 4 x 5 outputs
    b = np.array([0.0, 1, 0, 0])
    first = np.concatenate([X[:, 0], np.zeros((4, 5))], axis=1)  # (4, 8)
    second = np.concatenate([X[TWO, 1], OUTPUTS_54[TWO, 0]], axis=1)  # (3, 8)

    def misses(numbers, unit):
        """Return by how much the unit misses the 11 printed numbers, with its 32 weights."""
        weights = numbers.reshape(8, 4), np.zeros((1, 4)), b  # i, f, c~ and o of one unit
        start = lstm_step(first, {"h": np.zeros((4, 1)), "c": np.zeros((4, 1))}, *weights)
        end = lstm_step(second, {"h": np.zeros((3, 1)), "c": start["c"][TWO]}, *weights)
        found = start["h"], end["h"], start["c"][~TWO], end["c"]
        printed = OUTPUTS_54[:, 0, unit], OUTPUTS_54[TWO, 1, unit], C_54[~TWO, unit], C_54[TWO, unit]
        return np.concatenate(found)[:, 0] - np.concatenate(printed)  # (11,)

    W = np.zeros((8, 4, 5))
    for unit in range(5):
        cost, starts = 1, 0
        while cost > 1e-20 and starts < 50:  # another start, where one ends in a local minimum
            starts += 1
            found = optimize.least_squares(
                misses, rng.uniform(-limit, limit, 32), bounds=(-limit, limit), max_nfev=200,
                xtol=1e-15, ftol=1e-15, gtol=1e-14, args=(unit,),
            )
            if found.cost < cost:
                W[:, :, unit], cost = found.x.reshape(8, 4), found.cost
    return [*np.split(W.reshape(8, 20), [3]), np.repeat(b, 5)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the search for Listing 5.4's weights (default 0)")
    seed = parser.parse_args().seed
    keras.utils.set_random_seed(seed)
    for listing, kind, weights, *printed in (
        ("5.3", layers.SimpleRNN, weights_of_listing_53(), OUTPUTS_53, OUTPUTS_53[ENDS]),
        ("5.4", layers.LSTM, weights_of_listing_54(np.random.default_rng(seed)), OUTPUTS_54, OUTPUTS_54[ENDS], C_54),
    ):
        layer = kind(5, return_sequences=True, return_state=True, zero_output_for_mask=True)
        by_chance = difference(read_sequences(layer, X, LENGTHS)[0], printed[0])
        layer.set_weights(weights)
        seen = read_sequences(layer, X, LENGTHS)
        off = max(difference(ours, theirs) for ours, theirs in zip(seen, printed, strict=True))
        print(f"\nListing {listing}, outputs:\n{seen[0]}\nstates:\n{seen[1:]}\nweights W, U, b:")
        for array in weights:
            print(array.round(4))
        print(f"off from the document's tables by {off:.1e}; with random weights by {by_chance:.2f}")
    print(f"\n{np.sum(C_54 < 0)} of the {C_54.size} numbers that the document prints for c are negative")


if __name__ == "__main__":
    main()
