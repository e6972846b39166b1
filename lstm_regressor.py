"""A stateful LSTM reads sin(x) and predicts cos(x), which no single value of the sine determines.

Idea      A sine of 0.5 has the cosine +0.87 on its way up and -0.87 on its way down: only memory tells which. This LSTM
          carries its memory, the state, from each window of 20 steps to the next, and so follows one long wave.
Model     Stateful LSTM 20, Dense 1 at every time step; 1,781 parameters.
Run       python lstm_regressor.py
          python lstm_regressor.py --stateless
Expect    The worst cost of the last 100 batches, seeds 0 to 4: 0.0021 0.0032 0.0075 0.0018 0.0062, after 4 s of
          training on 2 cores of an AMD EPYC; with seed 0, the stateless twin is at 0.08.
Baseline  0.5, the mean of cos(x)^2 over whole periods: without memory there is no better answer than 0.
Try next  --stateless        The twin forgets after every window. At which of its 20 steps does that cost most?
          --time-steps 5     Gradients now reach back 5 steps only, but the state lives on. Is that enough?
          model.predict_on_batch(sines[step])    In the loop, as the document has it: what does this do to the state?
Source    "RNN and LSTM" (document 004), Regressor.
"""

from common import cli, device, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots import lstm_regressor as plots
from common.plots.base import animation
from common.plots.model_diagram import model_diagram

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

STEPS = 501  # batches, each of them one update of the weights
BATCH_SIZE = 50  # windows in a batch, one after another along the wave
TIME_STEPS = 20  # points in a window; gradients reach back no further
UNITS = 20  # size of the hidden state h, and of the cell state c
LEARNING_RATE = 0.006  # of Adam, as in the document
CLIP_NORM = 1.0  # a weight array's gradient is scaled down to this norm where it is longer (not in the document)
SAMPLING = 10 * np.pi  # points per unit of x, so a period has 197 of them, about ten windows
FREQUENCIES = (0.5, 1.0, 2.0)  # of the waves to follow after the training, as multiples of the one trained on
SHOW_EVERY = 10  # batches between two printed costs, and between two frames of the animation
MEMORYLESS_BOUND = 0.5  # mean of cos(x)^2: a sine has two cosines, +c and -c; 0 is the best answer (loss="mae": 2 / pi)

# What to know about stateful=True:
# - Row i of a batch continues where row i of the previous batch ended, with the state it had there. So the batches must
#   come in order and have one size, which keras.Input(batch_shape=...) fixes.
# - EVERY call of the model moves the state on: fit, predict, evaluate, validation data. The document trains on a batch
#   and then calls predict on it, to draw it: the network reads each window twice, and its state is out of phase with
#   the wave. Over five seeds the worst cost is then anything from 0.001 to 0.97 (benchmarks/regressor.py). Here the
#   training step returns the prediction that it has made anyway, and `run_on` puts the state back.
# - layer.reset_state() sets the state to zero; the model has no such method. A saved model contains no state.


def windows(steps=STEPS, batch_size=BATCH_SIZE, time_steps=TIME_STEPS):
    """Return the x of every batch, (steps, batch_size, time_steps).

    Each row moves along the wave by one window a batch, and each row is one window ahead of the row above:
        batch 0 holds the windows 0 1 2 ... 49
        batch 1 holds the windows 1 2 3 ... 50
    """
    starts = time_steps * (np.arange(steps)[:, None] + np.arange(batch_size))  # (steps, batch_size)
    return (starts[:, :, None] + np.arange(time_steps)) / SAMPLING


def build_model(batch_size=BATCH_SIZE, time_steps=TIME_STEPS, units=UNITS, stateful=True):
    """Return the network: sines (batch_size, time_steps, 1) to cosines of the same shape (document 004, Regressor)."""
    return keras.Sequential([
        keras.Input(batch_shape=(batch_size, time_steps, 1)),
        # return_sequences: an output at every step, not only at the last. GRU and SimpleRNN take the same arguments.
        layers.LSTM(units, return_sequences=True, stateful=stateful),  # (50, 20, 20)  1,760 = 4 x 20 x (1 + 20 + 1)
        layers.TimeDistributed(layers.Dense(1)),  # (50, 20, 1)  21 = 20 x 1 + 1, the same weights at every time step
    ])


@tf.function  # compiled into a graph at the first call with a model
def train_step(model, x, y):
    """Update the weights once; `x` and `y` are (50, 20, 1). Return the cost, (), and the prediction, (50, 20, 1)."""
    with tf.GradientTape() as tape:
        prediction = model(x, training=True)  # the state moves on by one window
        cost = model.compute_loss(x, y, prediction)  # mean of (prediction - y)^2
    gradients = tape.gradient(cost, model.trainable_variables)
    model.optimizer.apply(gradients, model.trainable_variables)
    return cost, prediction


def run_on(model, x, frequency, length=30):
    """Let a trained model follow the wave for `length` more windows, at `frequency` times the trained one.

    `x` (batch_size, time_steps) is the last batch of its training. Return the x and the predictions of the last row,
    both (points,); it is ahead of the other rows, whose next windows were trained on. The state is put back afterwards.
    """
    points = length * x.shape[1]
    x = x[:, -1:] + frequency * np.arange(1, points + 1) / SAMPLING  # (batch_size, points)
    states = tf.nest.flatten([getattr(layer, "states", None) or [] for layer in model.layers])  # h and c of the LSTM
    before = [state.numpy() for state in states]
    predictions = []
    for window in np.split(x, length, axis=1):
        prediction = model.predict_on_batch(np.sin(window)[:, :, None])  # (batch_size, time_steps, 1)
        predictions.append(prediction[-1, :, 0])
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    return x[-1], np.concatenate(predictions)


def summary(costs, errors):
    """Return what result.json says of a network with these costs (steps,) and errors by position (time_steps,).

    The worst of the last batches shows a state that is out of phase now and then; a mean would hide it.
    """
    return {
        "worst_cost_last_100": float(np.max(costs[-100:])),
        "final_cost": costs[-1],
        "cost_at_first_step": float(errors[0]),
    }


def main(argv=None):
    """Train on one long wave, then follow others; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the state of a row lives on one device, where its next window must go")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: one long wave, cut into windows
    x = windows(args.steps, args.batch_size, args.time_steps)  # (501, 50, 20)
    sines, cosines = np.sin(x)[..., None].astype("float32"), np.cos(x)[..., None].astype("float32")  # (501, 50, 20, 1)

    # 2. Model, and with --stateless its twin, which starts from the same weights
    about = f"{args.steps:,} x {args.batch_size} windows of {args.time_steps} steps"
    run = runs.Run(__file__, args, strategy, "sine wave", about)  # makes the run's folder, prints the first line
    with strategy.scope():
        model = build_model(args.batch_size, args.time_steps, args.units)
        networks = {"stateful": model}
        if args.stateless:
            networks["stateless"] = build_model(args.batch_size, args.time_steps, args.units, stateful=False)
            networks["stateless"].set_weights(model.get_weights())
        model.summary()
        for network in networks.values():
            network.compile(loss="mse", optimizer=keras.optimizers.Adam(LEARNING_RATE, clipnorm=args.clip_norm))
            network.optimizer.build(network.trainable_variables)  # now: a tf.function creates variables only once
    model_diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    costs, errors, frames = {name: [] for name in networks}, {name: [] for name in networks}, []
    for step in run.until_ctrl_c(range(args.steps)):
        predictions = {}
        for name, network in networks.items():
            cost, prediction = train_step(network, sines[step], cosines[step])
            predictions[name] = prediction.numpy()[:, :, 0]  # (50, 20)
            costs[name].append(float(cost))
            errors[name].append(np.mean((predictions[name] - np.cos(x[step])) ** 2, axis=0))  # (20,): at each position
        run.record(step=step + 1, cost=costs["stateful"][-1])
        if step % SHOW_EVERY == 0:
            text = f"batch {step}, cost: " + ", ".join(f"{name} {costs[name][-1]:.4f}" for name in networks)
            moving = run.verbose == 1 and step + SHOW_EVERY < args.steps  # one line in a terminal
            print(text, end="   \r" if moving else "\n", flush=True)
            frames.append((x[step], predictions, text))
    run.write("model.keras", model.save)  # written completely or not at all

    # 4. Evaluate
    errors = {name: np.mean(errors[name][-100:], axis=0) for name in networks}  # (20,)
    summaries = {name: summary(costs[name], errors[name]) for name in networks}
    for name, numbers in summaries.items():
        print(f"{name}: worst cost of the last 100 batches {numbers['worst_cost_last_100']:.4f}, "
              f"error at the first step of a window {numbers['cost_at_first_step']:.4f}")
    unseen, cost_by_frequency = {}, {}
    for frequency in FREQUENCIES:
        x_next, prediction = run_on(model, x[step], frequency)
        unseen[frequency] = x_next, prediction
        cost_by_frequency[frequency] = float(np.mean((prediction - np.cos(x_next)) ** 2))
        print(f"unseen wave, {frequency:g} times the trained frequency: cost {cost_by_frequency[frequency]:.4f}")

    # 5. Show
    plots.learned(run.folder / "regressor.png", frames[-1], costs, errors, MEMORYLESS_BOUND)
    plots.unseen(run.folder / "unseen.png", unseen, cost_by_frequency)
    animation(run.folder / "regressor.gif", plots.frame, frames, figsize=(7, 3.6), fps=10)
    result = summaries.pop("stateful")
    return run.finish(
        f"Worst cost of the last 100 batches: {result['worst_cost_last_100']:.4f}",
        f"from a single point at least {MEMORYLESS_BOUND}",
        model, **result, **summaries, memoryless_bound=MEMORYLESS_BOUND, cost_by_frequency=cost_by_frequency,
    )


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, steps=STEPS, batch_size=BATCH_SIZE, images=False)
    count, norm = cli.number(int, at_least=1), cli.number(float, above=0)
    parser.add_argument("--units", type=count, default=UNITS, metavar="N", help="size of a state (default %(default)s)")
    parser.add_argument("--time-steps", type=count, default=TIME_STEPS, metavar="N",
        help="points in a window (default %(default)s)")
    parser.add_argument("--clip-norm", type=norm, default=CLIP_NORM, metavar="X",
        help="largest gradient norm of a weight array (default %(default)s)")
    parser.add_argument("--stateless", action="store_true", help="train a twin without state as well, and compare")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
