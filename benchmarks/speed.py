"""Seconds of training: document 003's listing as typed today, the same in PyTorch, our lesson, and fast_mnist.py.

Each contender trains a few epochs in a process of its own, in turns, so that a busy machine slows all of them; whole
trainings are projected from that (first update apart, which waits for TensorFlow's graph). "share" is the fraction of
the speed that this machine reaches in one large float32 matrix product. Memory is a process's peak (Linux and macOS).
Accuracies stand in results.md with the commands that give them. gan.py and regressor.py time the two other lessons.

Run       python benchmarks/speed.py            three rounds on MNIST, into results.md; 20 minutes on 2 cores
          python benchmarks/speed.py --scripts mlp_mnist    its part of results.md alone; three minutes
          python benchmarks/speed.py --quick    one round of one epoch on the small digits, printed; two minutes
"""

import argparse
import importlib.util
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import cli

PROJECT = Path(__file__).resolve().parent.parent
# For each script the contenders, with the epochs of a whole training and those that are timed.
CONTENDERS = {
    "mlp_mnist": {"listing": (20, 3), "torch": (20, 3), "lesson": (20, 3), "fast mlp": (5, 5)},
    "rnn_mnist": {"listing": (20, 1), "torch": (20, 1), "lesson": (20, 1), "fast rnn": (4, 1)},
    "cnn_mnist": {"listing": (10, 1), "torch": (10, 1), "lesson": (10, 1), "fast cnn": (2, 1), "fast cnn-best": (8, 1)},
}
PRODUCTS = {  # multiplications of one image's forward pass: what reads the image, and the rest
    "mlp_mnist": (784 * 256, 256 * 256 + 256 * 10),
    "rnn_mnist": (28 * 28 * 256, 28 * 256 * 256 + 256 * 10),
    "cnn_mnist": (26 * 26 * 9 * 64, 11 * 11 * 9 * 64 * 64 + 3 * 3 * 9 * 64 * 64 + 576 * 10),
}


def listing(script, digits, epochs, seed):
    """Train document 003's listing in today's spelling; return the seconds up to its first update, and all of them."""
    import numpy as np
    from tensorflow import keras
    from tensorflow.keras.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, SimpleRNN
    from tensorflow.keras.models import Sequential
    from tensorflow.keras.utils import to_categorical

    keras.utils.set_random_seed(seed)
    y_train = to_categorical(digits.y_train)
    shape = {"mlp_mnist": (784,), "cnn_mnist": (28, 28, 1), "rnn_mnist": (28, 28)}[script]
    x_train = np.reshape(digits.x_train, (-1, *shape)).astype("float32") / 255
    model = Sequential([keras.Input(shape)])
    if script == "mlp_mnist":
        for layer in (Dense(256), Activation("relu"), Dropout(0.45), Dense(256), Activation("relu"), Dropout(0.45)):
            model.add(layer)
    elif script == "cnn_mnist":
        for layer in (Conv2D(64, 3, activation="relu"), MaxPooling2D(2), Conv2D(64, 3, activation="relu"),
                      MaxPooling2D(2), Conv2D(64, 3, activation="relu"), Flatten(), Dropout(0.2)):  # fmt: skip
            model.add(layer)
    else:
        model.add(SimpleRNN(256, dropout=0.2))
    model.add(Dense(10))
    model.add(Activation("softmax"))
    optimizer = "sgd" if script == "rnn_mnist" else "adam"
    model.compile(loss="categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    updates = []
    clock = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: updates.append(time.perf_counter()))
    started = time.perf_counter()
    model.fit(x_train, y_train, epochs=epochs, batch_size=128, verbose=2, callbacks=[clock])
    return updates[0] - started, time.perf_counter() - started


def torch(script, digits, epochs, seed):
    """Train the same network in PyTorch as its tutorials do; return what `listing` returns."""
    import torch
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.rnn, self.out = nn.Dropout(0.2), nn.RNN(28, 256, batch_first=True), nn.Linear(256, 10)

        def forward(self, x):
            return self.out(self.rnn(self.drop(x))[0][:, -1])

    torch.manual_seed(seed)
    shape = {"mlp_mnist": (784,), "cnn_mnist": (1, 28, 28), "rnn_mnist": (28, 28)}[script]
    x_train = torch.from_numpy(digits.x_train).reshape(-1, *shape).float() / 255
    y_train = torch.from_numpy(digits.y_train).long()
    if script == "mlp_mnist":
        model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.45), nn.Linear(256, 256), nn.ReLU(),
                              nn.Dropout(0.45), nn.Linear(256, 10))  # fmt: skip
    elif script == "cnn_mnist":
        model = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3), nn.ReLU(),
                              nn.MaxPool2d(2), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
                              nn.Linear(576, 10))  # fmt: skip
    else:
        model = Recurrent()
    parameters = model.parameters()
    optimizer = torch.optim.SGD(parameters, 0.01) if script == "rnn_mnist" else torch.optim.Adam(parameters, 0.001)
    loss = nn.CrossEntropyLoss()
    updates = []
    started = time.perf_counter()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x_train)).split(128):
            optimizer.zero_grad()
            loss(model(x_train[chosen]), y_train[chosen]).backward()
            optimizer.step()
            updates.append(time.perf_counter())
    return updates[0] - started, time.perf_counter() - started


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
    seconds = importlib.import_module(script).main(flags)["seconds_training"]
    return updates[1] - updates[0], seconds


def contend(script, contender, data, seed, epochs, device):
    """Train one contender in this process and print the outcome for the parent process."""
    from common import mnist

    if contender in ("listing", "torch"):
        digits = mnist.load_mnist(data)
        start, seconds = {"listing": listing, "torch": torch}[contender](script, digits, epochs, seed)
    else:
        own = [script] if contender == "lesson" else ["fast_mnist", contender.split()[1]]
        with tempfile.TemporaryDirectory() as folder:
            flags = f"--data {data} --seed {seed} --epochs {epochs} --device {device} --out {folder}/run"
            start, seconds = ours([*own, *flags.split()])
    print(json.dumps({"epochs": epochs, "start": start, "seconds": seconds}))


def measure(script, contender, data, seed, epochs, device="auto"):
    """Run one contender as a process of its own; return its facts, with its peak memory in MB."""
    command = [sys.executable, __file__, "--contend", script, contender, "--epochs", str(epochs), "--data", data,
               "--seed", str(seed), "--device", device]  # fmt: skip
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text}")
    facts = json.loads(text.splitlines()[-1])
    return facts | {"megabytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6}


def product_rate():
    """Return the floating-point operations per second of a large float32 matrix product, the best of ten."""
    code = (
        "import time; from common import device; import tensorflow as tf\n"
        "x = tf.random.normal((2048, 2048)); multiply = tf.function(lambda: tf.matmul(x, x)); multiply(); times = []\n"
        "for _ in range(10):\n    started = time.perf_counter(); multiply().numpy()\n"
        "    times.append(time.perf_counter() - started)\n"
        "print(2 * 2048**3 / min(times))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return float(run.stdout)


def training_time(facts, epochs):
    """Return the seconds of a whole training of `epochs`, projected from those that were timed."""
    return facts["start"] + (facts["seconds"] - facts["start"]) * epochs / facts["epochs"]


def section(script, rounds, images, rate, about):
    """Return a script's part of results.md; `rounds` has for each contender a list of facts, one a round."""
    median = statistics.median
    heads = (script, "epochs", "s per epoch", "s of training", "of the lesson's", "memory", "share")
    lines = [f"## {script}", "", about, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    first, rest = PRODUCTS[script]
    times = {name: [training_time(facts, CONTENDERS[script][name][0]) for facts in rounds[name]] for name in rounds}
    for name, seconds in times.items():
        epochs = CONTENDERS[script][name][0]
        ratios = [one / lesson for one, lesson in zip(seconds, times["lesson"], strict=True)]
        # the first layer needs no gradient of its input, so two products in place of three; each is a * b + c
        operations = 2 * (2 * first + 3 * rest) * images * epochs
        lines.append(
            f"| {name} | {epochs} | {median(seconds) / epochs:.1f} | {median(seconds):.0f} | "
            f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | "
            f"{median(facts['megabytes'] for facts in rounds[name]):.0f} MB | "
            f"{operations / median(seconds) / rate:.0%} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of one epoch on the small digits")
    parser.add_argument("--scripts", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=cli.number(int, at_least=1), default=3, help="each has a seed (default 3)")
    parser.add_argument("--data", default="mnist", help="as in the scripts")
    parser.add_argument("--contend", nargs=2, help=argparse.SUPPRESS)  # the rest is for the processes of main
    for hidden in ("--seed", "--epochs"):
        parser.add_argument(hidden, type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--device", default="auto", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contend:
        return contend(*args.contend, args.data, args.seed, args.epochs, args.device)
    from common import mnist

    data, rounds = ("digits", 1) if args.quick else (args.data, args.rounds)
    images = len(mnist.load_mnist(data).x_train)
    packages = ["tensorflow", "keras", "numpy", *(["torch"] if importlib.util.find_spec("torch") else [])]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    path = PROJECT / "benchmarks" / "results.md"
    for script in args.scripts:
        measured = {name: [] for name in CONTENDERS[script] if name != "torch" or "torch" in packages}
        rate = product_rate()
        for seed in range(rounds):
            for contender, facts in measured.items():
                epochs = 1 if args.quick else CONTENDERS[script][contender][1]
                facts.append(measure(script, contender, data, seed, epochs))
                print(f"{script} {contender} seed {seed}: {facts[-1]}", flush=True)
        rate = max(rate, product_rate())
        about = (f"`{' '.join(['python benchmarks/speed.py', *sys.argv[1:]])}`, {time.strftime('%Y-%m-%d')}: "
                 f"{os.cpu_count()} cores, {processor()}, {rate / 1e9:.0f} GFLOP/s in a float32 matrix product; Python "
                 f"{platform.python_version()}, {versions}. Medians of rounds: {rounds}.")  # fmt: skip
        part = section(script, measured, images, rate, about)
        print(f"\n{part}", flush=True)
        if not args.quick:
            parts = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            old = next((index for index, text in enumerate(parts) if text.startswith(f"## {script}\n")), len(parts))
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
