"""How far back a recurrent network remembers: gradients through time, and a task that needs memory.

Idea      What the loss teaches a network about step t passes through the gradient dL/dh(t), which every step on its
          way back from the end multiplies: 0.9^28 is 0.05, 1.1^28 is 14. Where it has vanished nothing is learned.
          With --wait 72 a digit is followed by 72 blank rows before the answer: a gate is a path, not a promise.
Model     SimpleRNN, LSTM, GRU of 64 units in turn, Dense 10 softmax; 6,602, 24,458 and 18,698 parameters.
Run       python rnn_memory.py
          python rnn_memory.py --wait 72 --cell gru --chrono
Expect    EXPECT
Baseline  11.35 %: always answer 1, the most frequent digit.
Try next  layers.SimpleRNN(units, recurrent_initializer="glorot_uniform")    Why is Keras's default orthogonal?
          --wait 72 --cell gru, then with --chrono    Look at gates.png: what does the gate do over the blank rows?
          --wait 10, 20, 40    How long does a default LSTM remember?
Source    "Deep learning: RNNs and LSTMs" (001), "RNN and LSTM" (004): vanishing, exploding, clipped and truncated
          gradients; Tallec and Ollivier (2018): biases. It continues rnn_cells.py, whose steps show the gates.
"""

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
LEARNING_RATE = 0.008  # of Adam, at its peak: it climbs for a fifth of the training and then falls to zero
CLIP_NORM = 1.0  # the gradient of all weights together is shortened to this norm where it is longer
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


def build_model(cell, steps=28, num_classes=10):
    """Return the network: (batch, steps, 28) rows to (batch, 10) probabilities."""
    recurrent, _ = CELLS[cell]
    return keras.Sequential([
        keras.Input((steps, 28)),
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


def through_time(model, x, y, reach=None):
    """Return the gradients of the loss at each state, [[dL/dh (count, units)], ...], and at the recurrent weights.

    An LSTM's states are pairs, h and c. With `reach` the gradient goes back that many steps and no further: truncated
    backpropagation through time. `x` is (count, steps, features), `y` (count,) the labels.
    """
    recurrent, dense = model.layers
    with tf.GradientTape() as tape:
        states = [recurrent.get_initial_state(len(x))]
        tape.watch(states)
        for step in range(x.shape[1]):
            state = states[-1]
            if step + (reach or 0) == x.shape[1]:
                state = [tf.stop_gradient(part) for part in state]
            states.append(recurrent.cell(x[:, step], state)[1])
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, dense(states[-1][0])))
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


def linear_cell(factor, x, y, num_classes):
    """Return |dL/dh(0)| / |dL/dh(end)|, and the gradient at the weights, of a SimpleRNN without tanh (document 004).

    Keras draws U orthogonal: it turns a vector and keeps its norm. `factor` times U also scales it, at every step.
    """
    model = build_model("simple_rnn", x.shape[1], num_classes)
    recurrent = model.layers[0]
    recurrent.cell.activation = keras.activations.linear
    W, U, b = recurrent.get_weights()
    recurrent.set_weights([W, factor * U, b])
    by_step, gradient = through_time(model, x, y)
    norms = norms_over_time(by_step)["h"]
    return float(norms[0] / norms[-1]), flat(gradient)


def main(argv=None):
    """Train each cell and measure it before and after; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="its gradients through time are taken on one processor")

    # 1. Data: a digit's 28 rows, and then the blank ones
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = (np.pad(mnist.as_sequences(images), ((0, 0), (0, args.wait), (0, 0)))  # (60000, 28 + wait, 28)
                       for images in (digits.x_train, digits.x_test))  # fmt: skip
    x, y = x_test[:EXAMPLES], digits.y_test[:EXAMPLES]
    steps = x.shape[1]
    run = runs.Run("rnn_memory", args, strategy, digits)

    # 2. A cell whose gradient is known: no tanh, and a matrix that turns and scales
    keras.utils.set_random_seed(args.seed)
    linear = {}
    for factor in (0.9, 1.1):
        linear[factor], gradient = linear_cell(factor, x, y, digits.num_classes)
        print(f"linear cell, U = {factor} x orthogonal: |dL/dh(0)| / |dL/dh({steps})| = {linear[factor]:.5g}, "
              f"{factor}^{steps} = {factor**steps:.5g}")  # fmt: skip
    norm = np.linalg.norm(gradient)
    by_norm, by_value = gradient * min(1, CLIP_NORM / norm), np.clip(gradient, -0.01, 0.01)
    print(f"its gradient has norm {norm:.3g}; clipped by norm {np.linalg.norm(by_norm):.3g}, cosine "
          f"{cosine(by_norm, gradient):.3f}; each number clipped to 0.01: {np.linalg.norm(by_value):.3g}, cosine "
          f"{cosine(by_value, gradient):.3f}")  # fmt: skip

    # 3. Three cells: gradients, training, gradients. Ctrl-C stops it; the script goes on with what was learned.
    updates = args.epochs * -(-len(x_train) // args.batch_size)
    norms, cut, test, seconds = {}, {}, {}, 0
    for cell in args.cell:
        keras.utils.set_random_seed(args.seed)
        model = build_model(cell, steps, digits.num_classes)
        if args.chrono:
            give_gates_time(model.layers[0], steps, np.random.default_rng(args.seed))
        diagram(run.folder / f"{cell}.png", model)
        before = norms_over_time(through_time(model, x, y)[0])
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, 0.8 * updates, warmup_target=LEARNING_RATE, warmup_steps=0.2 * updates)  # fmt: skip
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
            callbacks=run.callbacks,
        )
        seconds += run.seconds()
        run.write(f"{cell}.keras", model.save)
        by_step, whole = through_time(model, x, y)
        norms[cell] = {"before": before, "after": norms_over_time(by_step)}
        cut[cell] = {reach: cosine(flat(through_time(model, x, y, reach)[1]), flat(whole))
                     for reach in REACHES if reach <= steps}  # fmt: skip
        test[cell] = model.evaluate(x_test, digits.y_test, batch_size=500, verbose=0, return_dict=True)["accuracy"]
        print(f"{cell}: test accuracy {test[cell]:.2%}")
        for when, measured in norms[cell].items():
            for state, sizes in measured.items():
                print(f"  {when:6} training: |dL/d{state}(0)| / |dL/dh({steps})| = {sizes[0] / sizes[-1]:.1e}")
        print("  truncated BPTT, cosine to the whole gradient: "
              + ", ".join(f"{reach} steps {along:.2f}" for reach, along in cut[cell].items()))  # fmt: skip
        if cell != "simple_rnn":
            weights = [array.numpy() for array in model.layers[0].trainable_weights]
            plots.gates(run.folder / f"gates_{cell}.png", x[0], unroll(CELLS[cell][1], x[:1], weights), cell)
        if run.interrupted:
            break
    run.facts["seconds_training"] = round(seconds, 2)

    # 4. Show
    title = f"{digits.name}: 28 rows" + f", then {args.wait} blank ones" * bool(args.wait)
    plots.gradients(run.folder / "gradients.png", norms, cut, title + ", gate biases for as long" * args.chrono)
    return run.finish(
        "Test accuracy: " + ", ".join(f"{cell} {100 * accuracy:.1f}%" for cell, accuracy in test.items()),
        f"baseline {digits.baseline:.2%}",
        model,
        test_accuracy=test,
        baseline=digits.baseline,
        linear=linear,
        gradient_ratio={cell: {when: {state: float(sizes[0] / sizes[-1]) for state, sizes in measured.items()}
                               for when, measured in both.items()} for cell, both in norms.items()},
        truncated_cosine=cut,
    )  # fmt: skip


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--wait", type=cli.number(int, at_least=0), default=0, metavar="N",
                        help="blank rows between the digit and the answer (default %(default)s)")
    parser.add_argument("--cell", nargs="+", choices=CELLS, default=list(CELLS), metavar="NAME",
                        help=f"which: {', '.join(CELLS)} (default all)")
    parser.add_argument("--chrono", action="store_true", help="gate biases for the whole wait, of LSTM and GRU")
    args = cli.parse(parser, argv, lambda args: {"epochs": WAITING_EPOCHS} if args.wait else {})
    if args.chrono and "simple_rnn" in args.cell:
        raise cli.UserError("--chrono: a SimpleRNN has no gates; add --cell lstm gru")
    return args


if __name__ == "__main__":
    script.launch(main)
