"""Gradients through time: what the loss at the end of a sequence teaches a recurrent network about its first steps.

Idea      The loss reaches step t through the gradient dL/dh(t), which every step on its way back multiplies: 0.9^28 is
          0.05, 1.1^28 is 14. Where it has vanished, a step teaches nothing; where it explodes, it is clipped. Here it
          is measured: before and after training, and truncated (backpropagation through time, BPTT, for few steps).
Model     SimpleRNN, LSTM, GRU of 64 units in turn, Dense 10 softmax; 6,602, 24,458 and 18,698 parameters.
Run       python rnn_gradients.py
Expect    |dL/dh(0)| / |dL/dh(28)|, seed 0, of SimpleRNN, LSTM and GRU: 4.4e-2, 6.1e-4, 1.8e-6 before training, contrary
          to the textbook; 8, 1, 0.7 after it, with test accuracies of 90.3, 96.5 and 95.9 %.
Baseline  11.35 %: always answer 1, the most frequent digit.
Try next  FACTORS = (0.9, 1.0, 1.1)    What does a matrix that only turns do to a gradient?
          CLIP_VALUE = 1.0    How far does clipping by value turn a gradient?
          unit_forget_bias=False for layers.LSTM    What is Keras's forget bias of 1 worth?
Source    "Deep learning: RNNs and LSTMs" (document 001); "RNN and LSTM" (document 004), which has 0.9 and 1.1.
"""

from common import cli, device, mnist, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots import rnn_gradients as plots
from common.plots.model_diagram import model_diagram
from common.training.schedules import one_cycle

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 2  # passes over the training images
BATCH_SIZE = 500  # large: a step of 64 units takes hardly longer for 500 images than for 100
UNITS = 64  # size of the state
LEARNING_RATE = {"simple_rnn": 0.003, "lstm": 0.008, "gru": 0.008}  # of Adam, at the peak of one cycle
CLIP_NORM = 1.0  # the gradient of all weights together is scaled down to this norm where it is longer
CLIP_VALUE = 0.01  # another way to clip, to compare: no number of a gradient may be larger
REACHES = (1, 3, 7, 14, 28)  # steps to which backpropagation is truncated
FACTORS = (0.9, 1.1)  # by which each step of the linear cell multiplies a gradient

# What to expect of a gradient on its way back, before any training:
# - SimpleRNN: each step back multiplies it by U and by the slope of tanh. In the textbook it vanishes. But Keras draws
#   U orthogonal, which leaves a norm as it is, so only tanh shrinks it: of the three cells this one keeps the most.
# - LSTM: along c each step back multiplies it by f. In the textbook it lives on, which is true of f = 1. Keras begins
#   with a forget bias of 1: f = sigmoid(1) = 0.73, and 0.73^28 is 1.5e-4 along this path alone.
# - GRU: along h each step back multiplies it by z, which begins at sigmoid(0) = 0.5, and 0.5^28 is 4e-9.
# Over 28 rows enough is left: the last rows teach the gates, which then let the gradients of earlier rows through.
CELLS = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def build_model(cell, num_classes=10):
    """Return the network: (batch, 28, 28) rows to (batch, 10) probabilities."""
    recurrent = CELLS[cell]
    return keras.Sequential([
        keras.Input((28, 28)),
        recurrent(UNITS),  # (64,)  5,952 = 64 x (28 + 64 + 1); LSTM 23,808, GRU 18,048
        layers.Dense(num_classes, activation="softmax"),  # (10,)  650 = 64 x 10 + 10
    ])


def split(model):
    """Return the layers before the (last) recurrent one, that one, and those after it."""
    index = max(i for i, layer in enumerate(model.layers) if isinstance(layer, layers.RNN))
    return model.layers[:index], model.layers[index], model.layers[index + 1 :]


def through_time(model, x, y, reach=None):
    """Return the gradients of the loss at each state, [[dL/dh (count, units)], ...], and at the weights (n,).

    An LSTM's states are pairs, h and c. With `reach` the gradient goes back that many steps and no further: truncated
    backpropagation through time. `x` is (count, 28, 28), `y` (count,) the labels.
    """
    before, recurrent, after = split(model)
    for layer in before:
        x = layer(x)  # at last (count, steps, features)
    steps = x.shape[1]
    with tf.GradientTape() as tape:
        states = [recurrent.get_initial_state(len(x))]
        tape.watch(states)
        for step in range(steps):
            state = states[-1]
            if reach and step == steps - reach:
                state = [tf.stop_gradient(part) for part in state]
            _, state = recurrent.cell(x[:, step], state)
            states.append(state)
        answer = states[-1][0]  # the last h
        for layer in after:
            answer = layer(answer)  # at last (count, 10)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, answer))
    by_step, by_array = tape.gradient(loss, (states, recurrent.trainable_weights), unconnected_gradients="zero")
    return by_step, np.concatenate([np.ravel(gradient) for gradient in by_array])


def norms_over_time(by_step):
    """Return the mean norm of an image's dL/dh(t), t = 0 to the end, as {"h": (steps + 1,)}; of an LSTM also "c"."""
    count = len(by_step[0][0])  # the loss is a mean over so many images: one image's own gradient is longer
    norms = {}
    for index, name in enumerate("hc"[: len(by_step[0])]):
        norms[name] = count * np.array([np.linalg.norm(states[index], axis=1).mean() for states in by_step])
    return norms


def print_norms(when, norms):
    """Print how much of the gradient at the end arrives at the first step, `when` "before" or "after" training."""
    for name, sizes in norms.items():
        ratio = sizes[0] / sizes[-1]
        print(f"  {when} training: |dL/d{name}(0)| / |dL/d{name}({len(sizes) - 1})| = {ratio:.1e}")


def cosine(a, b):
    """Return 1 for vectors of one direction, 0 for a right angle."""
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def truncated(model, x, y):
    """Return the cosine similarity of each truncated gradient with the full one, {reach: cosine}."""
    _, full = through_time(model, x, y)
    return {reach: round(cosine(through_time(model, x, y, reach)[1], full), 3) for reach in REACHES}


def linear_cell(factor, x, y, num_classes):
    """Return |dL/dh(0)| / |dL/dh(28)|, and the gradient of the weights, of a SimpleRNN without tanh (document 004).

    Keras draws U orthogonal: it turns a vector and keeps its norm. `factor` times U also scales it, at every step.
    """
    model = build_model("simple_rnn", num_classes)
    _, recurrent, _ = split(model)
    recurrent.cell.activation = keras.activations.linear
    recurrent.cell.recurrent_kernel.assign(factor * recurrent.cell.recurrent_kernel)
    by_step, gradient = through_time(model, x, y)
    sizes = norms_over_time(by_step)["h"]
    return float(sizes[0] / sizes[-1]), gradient


def clipped(gradient):
    """Return it scaled down to CLIP_NORM where it is longer, and each number clipped to CLIP_VALUE (document 001)."""
    by_norm = gradient * min(1, CLIP_NORM / np.linalg.norm(gradient))
    by_value = np.clip(gradient, -CLIP_VALUE, CLIP_VALUE)
    return {"clipped by norm": by_norm, "clipped by value": by_value}


def main(argv=None):
    """Train each cell and measure it before and after; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="its gradients through time are taken on one processor")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: an image is a sequence of 28 rows.
    digits = mnist.load_mnist(args.data, args.limit)
    x_train, x_test = mnist.as_sequences(digits.x_train), mnist.as_sequences(digits.x_test)  # (60000, 28, 28)
    x, y = x_test[:100], digits.y_test[:100]  # over which a gradient's size is averaged
    run = runs.Run(__file__, args, strategy, digits)  # makes the run's folder, prints the first line

    # 2. A cell whose gradient is known: no tanh, and a matrix that turns and scales. Then clip the gradient that grew.
    linear = {}
    for factor in FACTORS:
        linear[factor], gradient = linear_cell(factor, x, y, digits.num_classes)
        print(f"linear cell: |dL/dh(0)| / |dL/dh(28)| = {linear[factor]:.5g}, and {factor}^28 = {factor**28:.5g}")
    for way, short in {"not clipped": gradient, **clipped(gradient)}.items():
        print(f"its gradient {way}: norm {np.linalg.norm(short):.3g}, cosine similarity {cosine(short, gradient):.3f}")

    # 3. Cell by cell: gradients, training, gradients. Ctrl-C stops it; the script goes on with what was learned.
    updates = args.epochs * -(-len(x_train) // args.batch_size)
    norms, similar, test = {}, {}, {}
    for cell in args.cell:
        keras.utils.set_random_seed(args.seed)
        model = build_model(cell, digits.num_classes)
        model_diagram(run.folder / f"{cell}.png", model)
        before = norms_over_time(through_time(model, x, y)[0])
        rate = one_cycle(LEARNING_RATE[cell], updates, warmup=0.2)  # rises for a fifth of the training, falls to 0
        model.compile(
            loss="sparse_categorical_crossentropy",
            optimizer=keras.optimizers.Adam(rate, global_clipnorm=CLIP_NORM),
            metrics=["accuracy"],
        )
        model.fit(
            x_train, digits.y_train, epochs=args.epochs, batch_size=args.batch_size, verbose=run.verbose,
            callbacks=run.callbacks,  # history.csv, the checkpoint, Ctrl-C
        )
        run.write(f"{cell}.keras", model.save)  # written completely or not at all
        norms[cell] = {"before": before, "after": norms_over_time(through_time(model, x, y)[0])}
        similar[cell] = truncated(model, x, y)
        scores = model.evaluate(x_test, digits.y_test, batch_size=500, verbose=0, return_dict=True)
        test[cell] = scores.get("accuracy", np.nan)
        print(f"{cell}: test accuracy {test[cell]:.2%}")
        for when, sizes in norms[cell].items():
            print_norms(when, sizes)
        print(f"  truncated BPTT, steps and cosine similarity with the full gradient: {similar[cell]}")
        if run.interrupted or run.diverged:
            break

    # 4. Show
    plots.gradients(run.folder / "gradients.png", norms, f"{digits.name}: 28 rows", similar)
    accuracies = ", ".join(f"{cell} {100 * accuracy:.2f}%" for cell, accuracy in test.items())
    return run.finish(
        f"Test accuracy: {accuracies}", f"baseline {digits.baseline:.2%}", model,
        test_accuracy=test, baseline=digits.baseline, linear=linear, norms=norms, truncated_cosine=similar,
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--cell", nargs="+", choices=CELLS, default=list(CELLS), metavar="NAME",
        help=f"which: {', '.join(CELLS)} (default all)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
