"""A stateful LSTM reads sin(x) and says cos(x), though no value of the sine tells which cosine goes with it.

Idea      A sine of 0.5 on the way up has the cosine +0.87, on the way down -0.87: only memory tells which. This LSTM
          keeps its memory, the state, from one window of 20 steps to the next, so one long wave passes through it.
Model     LSTM 20 with state, Dense 1 at every time step; 1,781 parameters.
Run       python lstm_regressor.py
          python lstm_regressor.py --stateless --frequency 0.5 1 1.5 3
Expect    The worst cost of the last 100 batches, seeds 0 to 4, after 5 s of training on 2 cores of an AMD EPYC with
          TensorFlow 2.21.0 and Keras 3.15.1:                      0.0021 0.0032 0.0075 0.0018 0.0062
          with gradients as long as they come (--clip-norm 1000):  0.0024 0.0062 0.0069 0.0119 0.0057
          the document's loop, which moves its own state:          0.2365 0.0258 0.0010 0.0323 0.5317
          The twin without state, which remembers within a window, is at 0.0801 (seed 0) and falls on, but never below
          0.025 = 0.5 / 20: at a window's first step it knows one point alone. Later, on a part of the wave that it has
          not seen, the stateful network holds (cost 0.0020, seed 0); at half the frequency 0.0875, at twice 0.2012.
Baseline  0.5: the mean of cos(x)^2 over whole periods, the least cost without memory, which can only say 0.
Try next  --stateless              The twin forgets after every window. At which of its 20 steps does that cost most?
          --units 5                Does a quarter of the memory do worse?
          --time-steps 5           Gradients reach back five steps, the state does not end there. Is that enough?
Source    Document 004, Regressor.
"""

import sys

from common import cli, device, plots, runs, waves  # first: device starts TensorFlow without its log lines

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

STEPS = 501  # batches, one update each
BATCH_SIZE = 50  # windows side by side, each at another place of the wave
TIME_STEPS = 20  # points in a window: as far back as a gradient reaches
UNITS = 20  # numbers in the state h, and as many in the cell c
CELL = "lstm"
LEARNING_RATE = 0.006
CLIP_NORM = 1.0  # longest gradient of a weight array, longer ones are shortened: the documents' cure if they explode
SAMPLING = 10 * np.pi  # points in a stretch of x of length 1, so one period has 197 of them, ten windows
FREQUENCIES = (0.5, 1.0, 2.0)  # of the waves after the training, as multiples of the one trained on
SHOW_EVERY = 10  # batches between two printed costs, and between two frames of the animation
SHOWN = 10  # rows of the batch in a frame, side by side: 10 windows of 20 steps are a whole period
MEMORYLESS_BOUND = 0.5  # mean of cos(x)^2: to one sine belong two cosines, +c and -c, so the best answer is 0

CELLS = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}

# What stateful=True asks of you:
# - Row i of a batch goes on where row i of the batch before stopped: the layer starts it with the state it had there.
#   So batches come in their order (shuffle=False) and keep one size, which stands in keras.Input(batch_shape=...).
# - EVERY call of the model moves the state: fit, predict, evaluate, validation data. The document predicts each window
#   once more to draw it, so the next one meets a state that has read this one twice, out of phase with the wave.
#   Whether training copes is luck (see Expect). Here the training step hands out the prediction that it made anyway,
#   and `run_on` puts the state back.
# - To start anew, call reset_state() of the layer; the model has no such method. A saved model has no state.


class Regressor(keras.Sequential):
    """A Sequential model whose training step also hands out its prediction, so that nobody has to ask again."""

    def train_step(self, data):
        """Update the weights from x and y, both (50, 20, 1), as Keras's own train_step does."""
        x, y = data
        with tf.GradientTape() as tape:
            prediction = self(x, training=True)  # (50, 20, 1), and the state moves on by one window
            cost = self.compute_loss(y=y, y_pred=prediction)  # mean of (prediction - y)^2
            scaled = self.optimizer.scale_loss(cost)  # as it is, but for --precision float16
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"cost": cost, "prediction": prediction}  # of this batch: the callbacks receive them


def build_model(batch_size=BATCH_SIZE, time_steps=TIME_STEPS, units=UNITS, cell=CELL, stateful=True):
    """Return the network: sines (batch_size, time_steps, 1) to cosines of the same shape (document 004, Regressor)."""
    return Regressor([
        keras.Input(batch_shape=(batch_size, time_steps, 1)),
        # (50, 20, 20)  1,760 = 4 x 20 x (1 + 20 + 1); return_sequences: an answer at every step, not only the last
        CELLS[cell](units, return_sequences=True, stateful=stateful),
        # (50, 20, 1)  21 = 20 x 1 + 1, the same ones at every time step
        layers.TimeDistributed(layers.Dense(1, dtype="float32"), dtype="float32"),
    ])  # fmt: skip


def windows(steps=STEPS, batch_size=BATCH_SIZE, time_steps=TIME_STEPS):
    """Return x of every batch, (steps, batch_size, time_steps).

    Each row walks along the wave, a window a batch, and the next row goes one window ahead of it:
        batch 0 reads the windows 0 1 2 ... 49
        batch 1 reads the windows 1 2 3 ... 50
    """
    starts = time_steps * (np.arange(steps)[:, None] + np.arange(batch_size))  # (steps, batch_size)
    return (starts[:, :, None] + np.arange(time_steps)) / SAMPLING


class Watch(keras.callbacks.Callback):
    """Keep the cost and the prediction of every batch of `x`; print the cost, on one moving line in a terminal.

    It must be the first callback, for it takes the prediction out of Keras's logs, where others expect numbers.
    """

    def __init__(self, name, x, draw=None):
        super().__init__()
        self.name, self.x, self.draw = name, x, draw
        self.costs, self.predictions = [], []  # (steps,), (steps, batch_size, time_steps)

    def on_train_batch_end(self, batch, logs=None):
        self.predictions.append(logs.pop("prediction")[:, :, 0])
        self.costs.append(logs["cost"])
        if batch % SHOW_EVERY == 0:
            end = "      \r" if sys.stdout.isatty() else "\n"  # the blanks wipe out a longer cost
            print(f"{self.name}: batch {batch:4d}, cost {logs['cost']:.4f}", end=end, flush=True)
            if self.draw:
                self.draw(*self.frame(batch))

    def on_train_end(self, logs=None):
        if sys.stdout.isatty():
            print()

    def frame(self, batch):
        """Return what a picture shows of a batch: x and prediction, each (10, time_steps), and a title."""
        batch = range(len(self.costs))[batch]  # -1 is the last one
        title = f"{self.name}: batch {batch}, cost {self.costs[batch]:.4f}"
        return self.x[batch, :SHOWN], self.predictions[batch][:SHOWN], title

    def results(self):
        """Return what result.json says of a network, and (time_steps,) its squared error by position in a window."""
        x, predictions = self.x[: len(self.costs)][-100:], self.predictions[-100:]
        error_by_position = np.mean((predictions - np.cos(x)) ** 2, axis=(0, 1))
        return {
            "worst_cost_last_100": np.max(self.costs[-100:]),
            "final_cost": self.costs[-1],
            "cost_at_first_step": error_by_position[0],
        }, error_by_position


def run_on(model, x, frequency, length=30):
    """Return where the wave goes from `x` (batch_size,) on and what the network says of it, both (points,).

    `length` windows follow, at `frequency` times the trained one. They are those of the last row, which is farthest
    ahead: what the others would read next was trained on. The network learns nothing, and its state is put back.
    """
    time_steps = model.input_shape[1]
    x = x[:, None] + frequency * np.arange(1, length * time_steps + 1) / SAMPLING
    before = [state.numpy() for state in model.layers[0].states]
    predictions = [model.predict_on_batch(np.sin(part)[:, :, None])[:, :, 0] for part in np.split(x, length, axis=1)]
    for state, value in zip(model.layers[0].states, before, strict=True):
        state.assign(value)
    return x[-1], np.concatenate(predictions, axis=1)[-1]


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, batch_size=BATCH_SIZE, steps=STEPS, images=False)
    count, positive = cli.number(int, at_least=1), cli.number(float, above=0)
    parser.add_argument("--cell", choices=CELLS, default=CELL, help="what a time step does (default %(default)s)")
    parser.add_argument("--units", type=count, default=UNITS, metavar="N", help="size of a state (default %(default)s)")
    parser.add_argument("--time-steps", type=count, default=TIME_STEPS, metavar="N",
                        help="points in a window (default %(default)s)")
    parser.add_argument("--learning-rate", type=positive, default=LEARNING_RATE, metavar="X",
                        help="size of an update (default %(default)s)")
    parser.add_argument("--clip-norm", type=positive, default=CLIP_NORM, metavar="X",
                        help="greatest length of a weight array's gradient (default %(default)s)")
    parser.add_argument("--stateless", action="store_true", help="train a twin without state too, and compare")
    parser.add_argument("--frequency", type=positive, nargs="+", default=FREQUENCIES, metavar="F",
                        help="of the waves after the training, as multiples (default 0.5 1 2)")
    return parser.parse_args(argv)


def train(model, x, args, callbacks):
    """Train `model` on the batches of `x` (steps, batch_size, time_steps), each once and in its order."""
    examples = x.reshape(-1, args.time_steps, 1)  # (25050, 20, 1): batch after batch
    model.compile(
        loss="mse",  # the mean of (prediction - cos)^2
        optimizer=keras.optimizers.Adam(args.learning_rate, clipnorm=args.clip_norm),
    )
    model.fit(
        np.sin(examples),
        np.cos(examples),
        batch_size=args.batch_size,
        shuffle=False,  # row i goes on where it stopped
        verbose=0,
        callbacks=callbacks,
    )


def main(argv=None):
    """Train on one long wave, then follow others; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="the state of a row lives on one device, where its next window must go")
    shape = (args.batch_size, args.time_steps, args.units, args.cell)

    # 1. Data: a wave, cut into windows
    x = windows(args.steps, args.batch_size, args.time_steps)  # (501, 50, 20)

    # 2. Model
    about = f"{args.steps:,} x {args.batch_size} windows of {args.time_steps} steps"
    run = runs.Run("lstm_regressor", args, strategy, "sine wave", about)
    keras.utils.set_random_seed(args.seed)
    with strategy.scope():
        model = build_model(*shape)
    model.summary()
    plots.diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C ends the training early and goes on with what was learned.
    draw = waves.window() if args.show else None
    watched = {"stateful": Watch("stateful", x, draw)}
    with strategy.scope():
        train(model, x, args, [watched["stateful"], *run.callbacks])  # history.csv, the time, Ctrl-C
    plain = keras.Sequential([keras.Input(batch_shape=model.input_shape), *model.layers])
    plain.save(run.folder / "model.keras")  # which loads without this file's class Regressor
    if args.stateless and not run.recorder.interrupted:
        watched["stateless"] = Watch("stateless", x, draw)
        keras.utils.set_random_seed(args.seed)  # the same weights to begin with
        with strategy.scope():
            train(build_model(*shape, stateful=False), x, args, [watched["stateless"], *run.callbacks])

    # 4. Evaluate: the worst of the last batches tells of a state that is out of phase now and then; a mean would not.
    results, errors = {}, {}
    for name, watch in watched.items():
        results[name], errors[name] = watch.results()
        print(f"{name}: worst cost of the last 100 batches {results[name]['worst_cost_last_100']:.4f}, "
              f"at the first step of a window {results[name]['cost_at_first_step']:.4f}")
    stateful = watched["stateful"]
    x_end = x[len(stateful.costs) - 1, :, -1]  # (50,): where each row has stopped
    unseen, cost_by_frequency = {}, {}
    for frequency in args.frequency:
        x_next, prediction = unseen[frequency] = run_on(model, x_end, frequency)
        cost_by_frequency[frequency] = np.mean((prediction - np.cos(x_next)) ** 2)
        print(f"an unseen stretch at {frequency:g} x the trained frequency: cost {cost_by_frequency[frequency]:.4f}")

    # 5. Show
    costs = {name: watch.costs for name, watch in watched.items()}
    waves.learned(run.folder / "regressor.png", stateful.frame(-1), costs, errors, MEMORYLESS_BOUND)
    waves.unseen(run.folder / "unseen.png", unseen, cost_by_frequency)
    frames = map(stateful.frame, range(0, len(stateful.costs), SHOW_EVERY))
    plots.animation(run.folder / "regressor.gif", waves.frame, frames, figsize=(7, 3.6), fps=10)
    worst = results["stateful"]["worst_cost_last_100"]
    twin = {"stateless": results["stateless"]} if "stateless" in results else {}
    return run.finish(
        f"Worst cost of the last 100 batches: {worst:.4f} (without memory at least {MEMORYLESS_BOUND})",
        model,
        **results["stateful"],
        **twin,
        memoryless_bound=MEMORYLESS_BOUND,
        cost_by_frequency=cost_by_frequency,
    )


if __name__ == "__main__":
    cli.launch(main)
