"""Seconds, memory and accuracy of each script's recipes beside the listing typed by hand and the same model in PyTorch.

Every training is a process of its own. In each round, which has its own seed, all contenders of a script take turns:

listing   document 003's listing as one would type it today: plain Keras, no common/, no figures
torch     the same layers, optimizer and batches in PyTorch, eager, where torch is installed
book      our script with its defaults
fast      our script with --recipe fast
best      cnn_mnist.py --recipe best

The listing and torch take as many epochs as the book, of which only a few are timed here (`TIMED`): the seconds up to
their first update, once, and the rest in proportion. Share is the training's floating-point operations per second, of
the layers' products alone, out of what this machine reaches in one large float32 matrix product. Memory is a process's
peak (Linux and macOS). The two scripts that count steps have benchmarks of their own: gan.py and regressor.py.

Run       python benchmarks/speed.py            three rounds on MNIST, into results.md; an hour on 2 cores
          python benchmarks/speed.py --scripts mlp_mnist    its part of results.md alone; six minutes
          python benchmarks/speed.py --quick    one round of one epoch on the small digits, printed; two minutes
"""

import argparse
import importlib.util
import json
import os
import platform
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
TIMED = {"mlp_mnist": 3, "rnn_mnist": 1, "cnn_mnist": 1}  # epochs of the listing and of torch
CONTENDERS = {
    "mlp_mnist": ("listing", "torch", "book", "fast"),
    "rnn_mnist": ("listing", "torch", "book", "fast"),
    "cnn_mnist": ("listing", "torch", "book", "fast", "best"),
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


def contend(script, contender, data, seed, epochs):
    """Train `listing` or `torch` in this process and print the outcome for the parent process."""
    from common import mnist

    digits = mnist.load_mnist(data)
    start, seconds = {"listing": listing, "torch": torch}[contender](script, digits, epochs, seed)
    print(json.dumps({"train_images": len(digits.x_train), "epochs": epochs, "start": start, "seconds": seconds}))


def measure(script, contender, data, seed, epochs, *flags):
    """Run one contender as a process of its own; return its facts, with its peak memory in MB.

    `epochs` of None are the contender's own; `flags` are more flags of our script.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if contender in ("listing", "torch"):
            command = [__file__, "--contend", script, contender, "--epochs", str(epochs or TIMED[script])]
        else:
            command = [str(PROJECT / f"{script}.py"), "--recipe", contender, "--out", str(out)]
            command += [*flags, *(["--epochs", str(epochs)] if epochs else [])]
        with (Path(folder) / "printed").open("w+") as printed:
            process = subprocess.Popen([sys.executable, *command, "--data", data, "--seed", str(seed)],
                                       stdout=printed, stderr=subprocess.STDOUT)  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            printed.seek(0)
            text = printed.read()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{text}")
        if out.exists():
            result = json.loads((out / "result.json").read_text())
            facts = {key: result[key] for key in ("train_images", "epochs", "test_accuracy")}
            facts["seconds"] = result["seconds_training"]
        else:
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
    """Return the seconds of a whole training: as measured, or for as many `epochs` as the book's."""
    if "start" not in facts:
        return facts["seconds"]
    return facts["start"] + (facts["seconds"] - facts["start"]) * epochs / facts["epochs"]


def section(script, rounds, rate, about):
    """Return a script's part of results.md; `rounds` has for each contender a list of facts, one a round."""
    median = statistics.median
    book_epochs = rounds["book"][0]["epochs"]
    book_accuracy = median(facts["test_accuracy"] for facts in rounds["book"])
    heads = (script, "test accuracy", "epochs", "s per epoch", "s of training", "of book's", "memory", "share")
    lines = [f"## {script}", "", about, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    first, rest = PRODUCTS[script]
    for contender, measured in rounds.items():
        ours = "test_accuracy" in measured[0]
        epochs = measured[0]["epochs"] if ours else book_epochs
        times = [training_time(facts, book_epochs) for facts in measured]
        ratios = [one / book["seconds"] for one, book in zip(times, rounds["book"], strict=True)]
        accuracy, short = "not measured", ""
        if ours:
            each = [facts["test_accuracy"] for facts in measured]
            accuracy = f"{100 * median(each):.2f} % ({', '.join(f'{100 * one:.2f}' for one in each)})"
            short = " without reaching book's accuracy" if median(each) < book_accuracy else ""
        # the first layer needs no gradient of its input, so two products in place of three; each is a * b + c
        operations = 2 * (2 * first + 3 * rest) * measured[0]["train_images"] * epochs
        lines.append(
            f"| {contender} | {accuracy} | {epochs} | {median(times) / epochs:.1f} | {median(times):.0f}{short} | "
            f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | "
            f"{median(facts['megabytes'] for facts in measured):.0f} MB | {operations / median(times) / rate:.0%} |"
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
    args = parser.parse_args()
    if args.contend:
        return contend(*args.contend, args.data, args.seed, args.epochs)
    data, rounds, epochs = ("digits", 1, 1) if args.quick else (args.data, args.rounds, None)
    packages = ["tensorflow", "keras", "numpy", *(["torch"] if importlib.util.find_spec("torch") else [])]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    results = PROJECT / "benchmarks" / "results.md"
    for script in args.scripts:
        measured = {name: [] for name in CONTENDERS[script] if name != "torch" or "torch" in packages}
        rate = product_rate()
        for seed in range(rounds):
            for contender, facts in measured.items():
                facts.append(measure(script, contender, data, seed, epochs))
                print(f"{script} {contender} seed {seed}: {facts[-1]}", flush=True)
        rate = max(rate, product_rate())
        about = (f"`{' '.join(['python benchmarks/speed.py', *sys.argv[1:]])}`, {time.strftime('%Y-%m-%d')}: "
                 f"{os.cpu_count()} cores, {processor()}, {rate / 1e9:.0f} GFLOP/s in a float32 matrix product; Python "
                 f"{platform.python_version()}, {versions}. Medians of rounds: {rounds}.")  # fmt: skip
        part = section(script, measured, rate, about)
        print(f"\n{part}", flush=True)
        if not args.quick:
            old = results.read_text(encoding="utf-8").split("## ")[1:] if results.exists() else []
            parts = {text.split("\n")[0]: f"## {text.rstrip()}\n" for text in old} | {script: part}
            results.write_text("\n".join(["# Speed\n", *parts.values()]), encoding="utf-8")


def processor():
    """Return the processor's name, as far as the system tells it."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
