"""How far back a recurrent network remembers: gradients through time, and a task that needs memory.

Idea      What the loss teaches a network about step t passes through the gradient dL/dh(t), which every step on its
          way back from the end multiplies: 0.9^28 is 0.05, 1.1^28 is 14. Where it has vanished, a step teaches nothing.
          With --wait 72 a digit is followed by 72 blank rows before the answer: gates can carry its gradient across
          them, but Keras's default gates do not.
Model     SimpleRNN, LSTM, GRU of 64 units in turn, Dense 10 softmax; 6,602, 24,458 and 18,698 parameters.
Run       python rnn_memory.py
          python rnn_memory.py --wait 72 --cell gru --chrono
Expect    Test accuracy, seed 0: SimpleRNN 90.3 %, LSTM 96.5 %, GRU 95.9 %, in a minute on 2 cores of an Intel Xeon.
          |dL/dh(0)| / |dL/dh(28)|: 4.4e-2, 6.1e-4, 1.8e-6 before training, contrary to the textbook; 8, 1, 0.7 after.
          --wait 72, means and standard deviations of seeds 0 to 2: SimpleRNN 88.5 % +- 0.9, LSTM and GRU 11.35 %, for
          their default gates forget; with --chrono LSTM 97.12 % +- 0.08, GRU 97.67 % +- 0.22.
Baseline  11.35 %: always answer 1, the most frequent digit.
Try next  --wait 10, 20, 40 --cell lstm    How long does a default LSTM remember?
          --wait 72 --cell gru --chrono    In gates_gru.png: what does each gate do over the blank rows?
          recurrent(UNITS, recurrent_initializer="glorot_uniform")    With --wait 72 --cell simple_rnn: what is lost?
Source    "Deep learning: RNNs and LSTMs" (001), "RNN and LSTM" (004): vanishing, exploding, clipped and truncated
          gradients; Tallec and Ollivier (2018): biases. It continues rnn_cells.py, whose steps show the gates.
"""

import itertools

from common import cli, device, mnist, runs, script  # first: device starts TensorFlow without its log lines
from common.plots import rnn_memory as plots
from common.plots.diagram import diagram
from rnn_cells import CELLS, unroll

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS, WAITING_EPOCHS = 2, 5  # passes over the training images, without and with --wait
BATCH_SIZE = 500  # large: a step of 64 units takes hardly longer for 500 images than for 100
UNITS = 64  # size of the state
LEARNING_RATE = {  # of Adam, at its peak: it climbs for a fifth of the training and then falls to zero
    "simple_rnn": 0.003, "lstm": 0.008, "gru": 0.008}  # fmt: skip
CLIP_NORM = 1.0  # the gradient of all weights together is scaled down to this norm where it is longer
CLIP_VALUE = 0.01  # another way to clip, to compare: no number of a gradient may be larger
EXAMPLES = 100  # test images over which a gradient's size is averaged
REACHES = (1, 3, 7, 14, 28, 50, 75, 100)  # steps to which backpropagation is truncated

# What to expect of a gradient on its way back, before any training:
# - SimpleRNN: each step back multiplies it by U and by the slope of tanh. In the textbook it vanishes. But Keras draws
#   U orthogonal, which leaves a norm as it is, so only tanh shrinks it: of the three cells this one keeps the most.
# - LSTM: along c each step back multiplies it by f. In the textbook it lives on, which is true of f = 1. Keras begins
#   with a forget bias of 1: f = sigmoid(1) = 0.73, and 0.73^72 = 1.5e-10. A GRU begins with z = 0.5, which is worse.
#   Such a gate forgets within some ten steps, and no gradient comes through to tell it that it should not.
# - The cure is a bias. A gate of sigmoid(b) keeps a memory for about 1 + e^b steps. Tallec and Ollivier (2018) draw e^b
#   between 1 and T - 1, where T is the longest wait: some units forget soon, others remember throughout.


def build_model(cell, wait=0, num_classes=10):
    """Return the network: (batch, 28, 28) rows to (batch, 10) probabilities, after `wait` blank rows."""
    recurrent, _ = CELLS[cell]
    return keras.Sequential([
        keras.Input((28, 28)),
        layers.ZeroPadding1D((0, wait)),  # (28, 28)  28 + wait rows
        recurrent(UNITS),  # (64,)  5,952 = 64 x (28 + 64 + 1); LSTM 23,808, GRU 18,048
        layers.Dense(num_classes, activation="softmax"),  # (10,)  650 = 64 x 10 + 10
    ])  # fmt: skip


def give_gates_time(layer, steps, rng):
    """Set the biases of the gates for memories of up to `steps` steps."""
    W, U, b = layer.get_weights()
    keep = np.log(rng.uniform(1, steps - 1, layer.units))
    if isinstance(layer, layers.LSTM):
        b[: layer.units], b[layer.units : 2 * layer.units] = -keep, keep  # input gate: shut as far as the other is open
    else:
        b[0, : layer.units] = keep  # the GRU's update gate does both
    layer.set_weights([W, U, b])


def apart(model):
    """Return the layers before the (last) recurrent one, that one, and those after it."""
    index = max(i for i, layer in enumerate(model.layers) if isinstance(layer, layers.RNN))
    return model.layers[:index], model.layers[index], model.layers[index + 1 :]


def through_time(model, x, y, reach=None):
    """Return the gradients of the loss at each state, [[dL/dh (count, units)], ...], and at the recurrent weights.

    An LSTM's states are pairs, h and c. With `reach` the gradient goes back that many steps and no further: truncated
    backpropagation through time. `x` is (count, 28, 28), `y` (count,) the labels.
    """
    before, recurrent, after = apart(model)
    for layer in before:
        x = layer(x)  # at last (count, steps, 28)
    with tf.GradientTape() as tape:
        states = [recurrent.get_initial_state(len(x))]
        tape.watch(states)
        for step in range(x.shape[1]):
            state = states[-1]
            if step + (reach or 0) == x.shape[1]:
                state = [tf.stop_gradient(part) for part in state]
            states.append(recurrent.cell(x[:, step], state)[1])
        answer = states[-1][0]
        for layer in after:
            answer = layer(answer)  # at last (count, 10)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, answer))
    return tape.gradient(loss, (states, recurrent.trainable_weights), unconnected_gradients="zero")


def norms_over_time(by_step):
    """Return the mean norm of an image's dL/dh(t), t = 0 to the end, as {"h": (steps + 1,)}; of an LSTM also "c"."""
    return {name: len(by_step[0][0]) * np.array([np.linalg.norm(states[index], axis=1).mean() for states in by_step])
            for index, name in enumerate("hc"[: len(by_step[0])])}  # fmt: skip


def flat(gradients):
    """Return all the numbers of some arrays as one vector."""
    return np.concatenate([np.ravel(gradient) for gradient in gradients])


def cosine(a, b):
    """Return 1 for vectors of one direction, 0 for a right angle."""
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def linear_cell(factor, x, y, wait, num_classes):
    """Return |dL/dh(0)| / |dL/dh(end)|, and the gradient of the weights, of a SimpleRNN without tanh (document 004).

    Keras draws U orthogonal: it turns a vector and keeps its norm. `factor` times U also scales it, at every step.
    """
    model = build_model("simple_rnn", wait, num_classes)
    _, recurrent, _ = apart(model)
    recurrent.cell.activation = keras.activations.linear
    W, U, b = recurrent.get_weights()
    recurrent.set_weights([W, factor * U, b])
    by_step, gradient = through_time(model, x, y)
    norms = norms_over_time(by_step)["h"]
    return float(norms[0] / norms[-1]), flat(gradient)


def clipped(gradient):
    """Return it scaled down to CLIP_NORM where it is longer, and each number clipped to CLIP_VALUE (document 001)."""
    return gradient * min(1, CLIP_NORM / np.linalg.norm(gradient)), np.clip(gradient, -CLIP_VALUE, CLIP_VALUE)


def measure(model, x, y, steps):
    """Return the norms of the gradients over time, and the cosine similarities of truncated with full gradients."""
    by_step, whole = through_time(model, x, y)
    cut = {reach: flat(through_time(model, x, y, reach)[1]) for reach in REACHES if reach <= steps}
    return norms_over_time(by_step), {reach: cosine(part, flat(whole)) for reach, part in cut.items()}


def linear_cells(x, y, wait, num_classes):
    """Print how a gradient shrinks and grows with 0.9 and 1.1, and what clipping makes of it; return the ratios."""
    ratios, steps = {}, 28 + wait
    for factor in (0.9, 1.1):
        ratios[factor], gradient = linear_cell(factor, x, y, wait, num_classes)
        print(f"linear cell: |dL/dh(0)| / |dL/dh({steps})| = {ratios[factor]:.5g}, and {factor}^{steps} = "
              f"{factor**steps:.5g}")  # fmt: skip
    print(f"its gradient with respect to the weights has a norm of {np.linalg.norm(gradient):.3g}")
    for way, short in zip(("norm", "value"), clipped(gradient), strict=True):
        print(f"clipped by {way}: {np.linalg.norm(short):.3g}, cosine similarity with what it was "
              f"{cosine(short, gradient):.3f}")  # fmt: skip
    return ratios


def tell(norms, cut):
    """Print what was measured of a cell: gradients over time, before and after training, and truncated ones."""
    for when, state in itertools.product(norms, norms["before"]):
        sizes = norms[when][state]
        print(f"  {when:6} training: |dL/d{state}(0)| / |dL/d{state}({len(sizes) - 1})| = {sizes[0] / sizes[-1]:.1e}")
    along = ", ".join(f"{reach} steps {value:.2f}" for reach, value in cut.items())
    print(f"  truncated BPTT, cosine similarity with the full gradient: {along}")


def main(argv=None):
    """Train each cell and measure it before and after; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="its gradients through time are taken on one processor")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: an image is a sequence of 28 rows; the network itself adds the blank ones.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_sequences(digits.x_train), mnist.as_sequences(digits.x_test)  # (60000, 28, 28)
    x, y, steps = x_test[:EXAMPLES], digits.y_test[:EXAMPLES], 28 + args.wait
    run = runs.Run("rnn_memory", args, strategy, digits)

    # 2. A cell whose gradient is known: no tanh, and a matrix that turns and scales
    linear = linear_cells(x, y, args.wait, digits.num_classes)

    # 3. Cell by cell: gradients, training, gradients. Ctrl-C stops it; the script goes on with what was learned.
    updates = args.epochs * -(-len(x_train) // args.batch_size)
    norms, cut, test, seconds = {}, {}, {}, 0
    for cell in args.cell:
        keras.utils.set_random_seed(args.seed)
        model = build_model(cell, args.wait, digits.num_classes)
        if args.chrono:
            give_gates_time(apart(model)[1], steps, np.random.default_rng(args.seed))
        diagram(run.folder / f"{cell}.png", model)
        before, _ = measure(model, x, y, steps=0)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, 0.8 * updates, warmup_target=LEARNING_RATE[cell], warmup_steps=0.2 * updates)  # fmt: skip
        model.compile(
            loss="sparse_categorical_crossentropy",
            optimizer=keras.optimizers.Adam(rate, global_clipnorm=CLIP_NORM),
            metrics=["accuracy"],
        )
        model.fit(
            x_train,
            digits.y_train,
            epochs=args.epochs,
            batch_size=args.batch_size,
            verbose=run.verbose,
            callbacks=run.callbacks,  # history.csv, the time, Ctrl-C
        )
        seconds += run.seconds()
        run.write(f"{cell}.keras", model.save)  # a whole file or none
        after, cut[cell] = measure(model, x, y, steps)
        norms[cell] = {"before": before, "after": after}
        scores = model.evaluate(x_test, digits.y_test, batch_size=500, verbose=0, return_dict=True)
        test[cell] = scores.get("accuracy", np.nan)
        print(f"{cell}: test accuracy {test[cell]:.2%}")
        tell(norms[cell], cut[cell])
        if cell != "simple_rnn":
            before, recurrent, _ = apart(model)
            row = keras.Sequential(before)(x[:1]).numpy()  # (1, steps, 28)
            plots.gates(run.folder / f"gates_{cell}.png", row[0], unroll(CELLS[cell][1], row, recurrent.get_weights()),
                        cell)  # fmt: skip
        if run.interrupted:
            break
    run.facts["seconds_training"] = round(seconds, 2)

    # 4. Show
    title = f"{digits.name}: 28 rows" + f", then {args.wait} blank ones" * bool(args.wait)
    plots.gradients(run.folder / "gradients.png", norms, cut, test, title + ", gate biases for as long" * args.chrono)
    return run.finish(
        "Test accuracy: " + ", ".join(f"{cell} {100 * accuracy:.2f}%" for cell, accuracy in test.items()),
        f"baseline {digits.baseline:.2%}",
        model,
        test_accuracy=test,
        baseline=digits.baseline,
        linear=linear,
        norms=keras.tree.map_structure(lambda sizes: sizes.tolist(), norms),
        truncated_cosine=cut,
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--wait", type=cli.number(int, at_least=0, below=501), default=0, metavar="N",
                        help="blank rows between the digit and the answer (default %(default)s)")
    parser.add_argument("--cell", nargs="+", choices=LEARNING_RATE, default=list(LEARNING_RATE), metavar="NAME",
                        help=f"which: {', '.join(LEARNING_RATE)} (default all)")
    parser.add_argument("--chrono", action="store_true", help="gate biases for the whole wait, of LSTM and GRU")
    args = cli.parse(parser, argv, lambda args: {"epochs": WAITING_EPOCHS} if args.wait else {})
    if args.chrono and "simple_rnn" in args.cell:
        raise cli.UserError("--chrono: a SimpleRNN has no gates; add --cell lstm gru")
    return args


if __name__ == "__main__":
    script.launch(main)
