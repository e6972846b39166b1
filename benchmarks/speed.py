"""Seconds of training: document 003's listing as typed today, in PyTorch and in JAX, our lesson, and fast_mnist.py.

Each contender trains a few epochs in a process of its own, in turns, so that a busy machine slows all of them; whole
trainings are projected from that (what the first call takes longer, to make a graph, is counted once; torch.compile
keeps its work on disk for the next process). "share" is the fraction of the speed that this machine reaches in one
large float32 matrix product. Memory is a process's peak (Linux and macOS). Accuracies stand in results.md with the
commands that give them; --whole prints those of every contender. gan.py and regressor.py time the two other lessons,
and steps.py tells where a step's time goes.

Run       python benchmarks/speed.py            three rounds on MNIST, into results.md; an hour on 2 cores
          python benchmarks/speed.py --networks mlp    its part of results.md alone; five minutes
          python benchmarks/speed.py --whole    one round of whole trainings, with test accuracies, printed; hours
          python benchmarks/speed.py --quick    one round of one epoch on the small digits, printed; five minutes
"""

import argparse
import importlib
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import cli

import peers

PROJECT = Path(__file__).resolve().parent.parent
LESSONS = {"mlp": "mlp_mnist", "cnn": "cnn_mnist", "rnn": "rnn_mnist", "lstm": "rnn_mnist --cell lstm",
           "gru": "rnn_mnist --cell gru"}
WHOLE = {"mlp": 20, "cnn": 10, "rnn": 20, "lstm": 20, "gru": 20}  # epochs of the listing, its peers and the lesson
TIMED = {"mlp": 3}  # epochs that are timed, of others one
FAST = {"mlp": ("mlp",), "cnn": ("cnn", "cnn-best"), "rnn": ("rnn",), "lstm": ("lstm",), "gru": ("gru",)}
IMAGE, STATE, ANSWER = 28 * 28 * 256, 28 * 256 * 256, 256 * 10  # of a recurrent network
PRODUCTS = {  # multiplications of one image's forward pass: what reads the image, and the rest
    "mlp": (784 * 256, 256 * 256 + 256 * 10),
    "cnn": (26 * 26 * 9 * 64, 11 * 11 * 9 * 64 * 64 + 3 * 3 * 9 * 64 * 64 + 576 * 10),
    "rnn": (IMAGE, STATE + ANSWER), "lstm": (4 * IMAGE, 4 * STATE + ANSWER), "gru": (3 * IMAGE, 3 * STATE + ANSWER),
}


def listing(network, digits, epochs, seed):
    """Train document 003's listing in today's spelling; return what the peers return."""
    import numpy as np
    from tensorflow import keras
    from tensorflow.keras.layers import (
        GRU,
        LSTM,
        Activation,
        Conv2D,
        Dense,
        Dropout,
        Flatten,
        MaxPooling2D,
        SimpleRNN,
    )
    from tensorflow.keras.models import Sequential
    from tensorflow.keras.utils import to_categorical

    keras.utils.set_random_seed(seed)
    y_train, y_test = to_categorical(digits.y_train), to_categorical(digits.y_test)
    shape = peers.SHAPES[network]
    x_train = np.reshape(digits.x_train, (-1, *shape)).astype("float32") / 255
    x_test = np.reshape(digits.x_test, (-1, *shape)).astype("float32") / 255
    model = Sequential([keras.Input(shape)])
    if network == "mlp":
        for layer in (Dense(256), Activation("relu"), Dropout(0.45), Dense(256), Activation("relu"), Dropout(0.45)):
            model.add(layer)
    elif network == "cnn":
        for layer in (Conv2D(64, 3, activation="relu"), MaxPooling2D(2), Conv2D(64, 3, activation="relu"),
                      MaxPooling2D(2), Conv2D(64, 3, activation="relu"), Flatten(), Dropout(0.2)):
            model.add(layer)
    else:
        model.add({"rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}[network](256, dropout=0.2))
    model.add(Dense(10))
    model.add(Activation("softmax"))
    optimizer = "adam" if network in ("mlp", "cnn") else "sgd"
    model.compile(loss="categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    updates = []
    clock = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: updates.append(time.perf_counter()))
    started = time.perf_counter()
    model.fit(x_train, y_train, epochs=epochs, batch_size=128, verbose=2, callbacks=[clock])
    seconds = time.perf_counter() - started
    return updates[0] - started, seconds, model.evaluate(x_test, y_test, verbose=2)[1]


def ours(argv):
    """Run a script of ours with its flags; return what `listing` returns."""
    from common import runs

    updates = []

    class Recorder(runs.Recorder):
        def on_train_batch_end(self, batch, logs=None):
            updates.append(time.perf_counter())
            super().on_train_batch_end(batch, logs)

        def on_train_begin(self, logs=None):
            updates.append(time.perf_counter())
            super().on_train_begin(logs)

    runs.Recorder = Recorder
    script, *flags = argv
    result = importlib.import_module(script).main(flags)
    first, *later = (after - before for before, after in itertools.pairwise(updates))
    start = first - (later[0] if later else 0)  # a call may take many updates, which each epoch has
    return start, result["seconds_training"], result["test_accuracy"]


def contenders(network):
    """Return {name: function} of what is trained beside the lesson; a peer that is not installed is left out."""
    return {"listing": listing, **peers.installed(peers.RECURRENT if "rnn" in LESSONS[network] else peers.CLASSIFIERS)}


def contend(network, contender, data, seed, epochs):
    """Train one contender in this process, with 0 epochs its whole training, and print the outcome for the parent."""
    from common import mnist

    whole = WHOLE[network]
    if contender in contenders(network):
        epochs = epochs or whole
        start, seconds, accuracy = contenders(network)[contender](network, mnist.load_mnist(data), epochs, seed)
    else:
        own = LESSONS[network] if contender == "lesson" else contender.replace("fast", "fast_mnist")
        if contender != "lesson":
            whole = importlib.import_module("fast_mnist").NETWORKS[own.split()[1]].epochs
        epochs = epochs or whole
        with tempfile.TemporaryDirectory() as folder:
            flags = f"{own} --data {data} --seed {seed} --epochs {epochs} --out {folder}/run"
            start, seconds, accuracy = ours(flags.split())
    facts = {"whole": whole, "epochs": epochs, "start": start, "seconds": seconds, "accuracy": accuracy}
    print(json.dumps(facts))


def measure(network, contender, data, seed, epochs):
    """Run one contender as a process of its own; return its facts, with its peak memory in MB."""
    command = [sys.executable, __file__, "--contend", network, contender, "--epochs", str(epochs), "--data", data,
               "--seed", str(seed)]
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        megabytes = peak_memory(process)
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text}")
    facts = json.loads(text.splitlines()[-1])
    return facts | {"megabytes": megabytes}


def peak_memory(process):
    """Wait for the process to end, set its return code, and return the most memory that it had, in MB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def product_rate(numbers="float32"):
    """Return the floating-point operations per second of a large matrix product, the best of ten."""
    code = (
        "import time; from common import device; import tensorflow as tf\n"
        f"x = tf.cast(tf.random.normal((2048, 2048)), {numbers!r}); times = []\n"
        "multiply = tf.function(lambda: tf.matmul(x, x)); multiply()\n"
        "for _ in range(10):\n    started = time.perf_counter(); multiply().numpy()\n"
        "    times.append(time.perf_counter() - started)\n"
        "print(2 * 2048**3 / min(times))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return float(run.stdout)


def training_time(facts):
    """Return the seconds of a whole training, projected from the epochs that were timed."""
    return facts["start"] + (facts["seconds"] - facts["start"]) * facts["whole"] / facts["epochs"]


def section(network, rounds, images, rate, about):
    """Return a network's part of results.md; `rounds` has for each contender a list of facts, one a round."""
    median = statistics.median
    heads = (network, "epochs", "s per epoch", "s of training", "of the listing's", "memory", "share")
    lines = [f"## Speed: {network}", "", about, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    first, rest = PRODUCTS[network]
    times = {name: [training_time(facts) for facts in rounds[name]] for name in rounds}
    for name, seconds in times.items():
        epochs = rounds[name][0]["whole"]
        ratios = [one / listing for one, listing in zip(seconds, times["listing"], strict=True)]
        # the first layer needs no gradient of its input, so two products in place of three; each is a * b + c
        operations = 2 * (2 * first + 3 * rest) * images * epochs
        lines.append(
            f"| {name} | {epochs} | {median(seconds) / epochs:.1f} | {median(seconds):.0f} | "
            f"{median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}) | "
            f"{median(facts['megabytes'] for facts in rounds[name]):.0f} MB | "
            f"{operations / median(seconds) / rate:.0%} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of one epoch on the small digits")
    parser.add_argument("--whole", action="store_true", help="one round of whole trainings, with test accuracies")
    parser.add_argument("--networks", nargs="+", choices=LESSONS, default=list(LESSONS))
    parser.add_argument("--rounds", type=cli.number(int, at_least=1), default=3, help="each has a seed (default 3)")
    parser.add_argument("--data", default="mnist", help="as in the scripts")
    parser.add_argument("--contend", nargs=2, help=argparse.SUPPRESS)  # the rest is for the processes of main
    for hidden in ("--seed", "--epochs"):
        parser.add_argument(hidden, type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contend:
        return contend(*args.contend, args.data, args.seed, args.epochs)
    from common import mnist

    data, rounds = ("digits" if args.quick else args.data), (1 if args.quick or args.whole else args.rounds)
    images = len(mnist.load_mnist(data).x_train)
    packages = [name for name in ("tensorflow", "keras", "numpy", "torch", "jax", "flax") if find_spec(name)]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    path = PROJECT / "benchmarks" / "results.md"
    for network in args.networks:
        measured = {name: [] for name in (*contenders(network), "lesson", *(f"fast {name}" for name in FAST[network]))}
        rate = product_rate()
        for seed in range(rounds):
            for contender, facts in measured.items():
                epochs = 0 if args.whole else 1 if args.quick else TIMED.get(network, 1)
                facts.append(measure(network, contender, data, seed, epochs))
                print(f"{network} {contender} seed {seed}: {facts[-1]}", flush=True)
        rate = max(rate, product_rate())
        about = (f"`{' '.join(['python benchmarks/speed.py', *sys.argv[1:]])}`, {time.strftime('%Y-%m-%d')}: "
                 f"{os.cpu_count()} cores, {processor()}, {rate / 1e9:.0f} GFLOP/s in a float32 matrix product; Python "
                 f"{platform.python_version()}, {versions}. Medians of {rounds} rounds.")
        part = section(network, measured, images, rate, about)
        print(f"\n{part}", flush=True)
        if not args.quick and not args.whole:
            parts = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            heading = f"## Speed: {network}\n"
            old = next((index for index, text in enumerate(parts) if text.startswith(heading)), len(parts))
            parts[old : old + 1] = [part]
            path.write_text("\n".join(f"{text.strip()}\n" for text in parts), encoding="utf-8")


def processor():
    """Return the processor's name, as far as the system tells it."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
