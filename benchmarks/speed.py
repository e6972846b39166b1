"""Seconds, memory and accuracy of each script's recipes beside the listing typed by hand and the same model in PyTorch.

Every training is a process of its own. In each round, which has its own seed, all contenders of a script take turns:

listing   document 003's listing as one would type it today: plain Keras, no common/, no figures
torch     the same layers, optimizer and batches in PyTorch, eager, where torch is installed
book      our script with its defaults
fast      our script with --recipe fast
best      cnn_mnist.py --recipe best

The listing and torch train as the book does, so they are timed for a few epochs only (`TIMED`, a start-up of a second
or two included), and their seconds to the book's accuracy are those of all its epochs. Share is the training's
floating-point operations per second, of the layers' products alone, out of what this machine reaches in one large
float32 matrix product. Memory is a process's peak.

The two scripts that count steps have benchmarks of their own: gan.py and regressor.py.

Run       python benchmarks/speed.py            three rounds on MNIST; about 75 minutes on 2 cores
          python benchmarks/speed.py --quick    one round of one epoch on the small digits; two minutes
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

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

TIMED = {"mlp_mnist": 5, "rnn_mnist": 2, "cnn_mnist": 2}  # epochs of the listing and of torch
CONTENDERS = {
    "mlp_mnist": ("listing", "torch", "book", "fast"),
    "rnn_mnist": ("listing", "torch", "book", "fast"),
    "cnn_mnist": ("listing", "torch", "book", "fast", "best"),
}
PRODUCTS = {  # multiplications of one image's forward pass; a training step needs three times as many
    "mlp_mnist": 784 * 256 + 256 * 256 + 256 * 10,
    "rnn_mnist": 28 * (28 + 256) * 256 + 256 * 10,
    "cnn_mnist": 26 * 26 * 9 * 64 + 11 * 11 * 9 * 64 * 64 + 3 * 3 * 9 * 64 * 64 + 576 * 10,
}


def listing(script, digits, epochs, seed):
    """Train document 003's listing in today's spelling; return its test accuracy and the seconds of `fit`."""
    import numpy as np
    from tensorflow import keras
    from tensorflow.keras.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, SimpleRNN
    from tensorflow.keras.models import Sequential
    from tensorflow.keras.utils import to_categorical

    keras.utils.set_random_seed(seed)
    x_train, y_train, x_test, y_test = digits
    y_train, y_test = to_categorical(y_train), to_categorical(y_test)
    shape = {"mlp_mnist": (784,), "cnn_mnist": (28, 28, 1), "rnn_mnist": (28, 28)}[script]
    x_train = np.reshape(x_train, (-1, *shape)).astype("float32") / 255
    x_test = np.reshape(x_test, (-1, *shape)).astype("float32") / 255
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
    started = time.perf_counter()
    model.fit(x_train, y_train, epochs=epochs, batch_size=128, verbose=2)
    seconds = time.perf_counter() - started
    return model.evaluate(x_test, y_test, batch_size=128, verbose=0)[1], seconds


def torch(script, digits, epochs, seed):
    """Train the same network in PyTorch as its tutorials do; return its test accuracy and the seconds of training."""
    import torch
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.rnn, self.out = nn.Dropout(0.2), nn.RNN(28, 256, batch_first=True), nn.Linear(256, 10)

        def forward(self, x):
            return self.out(self.rnn(self.drop(x))[0][:, -1])

    torch.manual_seed(seed)
    x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in digits)
    shape = {"mlp_mnist": (784,), "cnn_mnist": (1, 28, 28), "rnn_mnist": (28, 28)}[script]
    x_train, x_test = (x.reshape(-1, *shape).float() / 255 for x in (x_train, x_test))
    y_train, y_test = y_train.long(), y_test.long()
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
    started = time.perf_counter()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x_train)).split(128):
            optimizer.zero_grad()
            loss(model(x_train[chosen]), y_train[chosen]).backward()
            optimizer.step()
    seconds = time.perf_counter() - started
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(part).argmax(dim=1) for part in x_test.split(1000)])
    return float((answers == y_test).float().mean()), seconds


def contend(script, contender, data, seed, epochs):
    """Train `listing` or `torch` in this process and print the outcome for the parent process."""
    from common import mnist

    digits = mnist.load_mnist(data)
    arrays = digits.x_train, digits.y_train, digits.x_test, digits.y_test
    train = {"listing": listing, "torch": torch}[contender]
    accuracy, seconds = train(script, arrays, epochs, seed)
    facts = {"test_accuracy": accuracy, "seconds_training": seconds, "epochs": epochs}
    print(json.dumps(facts | {"train_images": len(digits.x_train)}))


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
        facts = json.loads((out / "result.json").read_text() if out.exists() else text.splitlines()[-1])
    unit = 1 if sys.platform == "darwin" else 1024
    facts = {key: facts[key] for key in ("test_accuracy", "seconds_training", "epochs", "train_images")}
    return facts | {"megabytes": usage.ru_maxrss * unit / 1e6}


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


def table(script, rounds, rate):
    """Return the rows of a script's table; `rounds` has for each contender a list of facts, one a round."""
    medians = {
        contender: {key: statistics.median(facts[key] for facts in measured) for key in measured[0]}
        for contender, measured in rounds.items()
    }
    epochs = medians["book"]["epochs"]
    for facts in medians.values():
        facts["per_epoch"] = facts["seconds_training"] / facts["epochs"]
    heads = (script, "accuracy", "epochs", "s per epoch", "s to book's accuracy", "of book's time", "memory", "share")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for contender, facts in medians.items():
        same = contender in ("listing", "torch")
        seconds = facts["per_epoch"] * (epochs if same else facts["epochs"])
        ratios = [
            mine["seconds_training"] / mine["epochs"] * (epochs if same else mine["epochs"]) / book["seconds_training"]
            for mine, book in zip(rounds[contender], rounds["book"], strict=True)
        ]
        reached = same or facts["test_accuracy"] >= medians["book"]["test_accuracy"]
        share = 6 * PRODUCTS[script] * facts["train_images"] / facts["per_epoch"] / rate
        accuracies = ", ".join(f"{100 * one['test_accuracy']:.2f}" for one in rounds[contender])
        accuracy = "as book" if same else f"{100 * facts['test_accuracy']:.2f} % ({accuracies})"
        lines.append(
            f"| {contender} | {accuracy} | {epochs if same else facts['epochs']:g} | {facts['per_epoch']:.1f} | "
            f"{f'{seconds:.0f}' if reached else f'not reached in {seconds:.0f}'} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}) | {facts['megabytes']:.0f} MB | {share:.0%} |"
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of one epoch on the small digits")
    parser.add_argument("--scripts", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with its own seed (default 3)")
    parser.add_argument("--data", default="mnist")
    for hidden in ("--seed", "--epochs"):
        parser.add_argument(hidden, type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--contend", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contend:
        return contend(*args.contend, args.data, args.seed, args.epochs)
    data, rounds, epochs = ("digits", 1, 1) if args.quick else (args.data, args.rounds, None)
    has_torch = importlib.util.find_spec("torch") is not None
    lines, rates = [], [product_rate()]
    for script in args.scripts:
        measured = {name: [] for name in CONTENDERS[script] if has_torch or name != "torch"}
        for seed in range(rounds):
            for contender, facts in measured.items():
                facts.append(measure(script, contender, data, seed, epochs))
                print(f"{script} {contender} seed {seed}: {facts[-1]}", flush=True)
        rates.append(product_rate())
        lines += [*table(script, measured, max(rates)), ""]
    packages = ["tensorflow", "keras", "numpy", *(["torch"] if has_torch else [])]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    text = "\n".join([
        "# Speed", "",
        f"`python benchmarks/speed.py{' --quick' if args.quick else ''}`, {time.strftime('%Y-%m-%d')}: "
        f"{os.cpu_count()} cores, {processor()}, {max(rates) / 1e9:.0f} GFLOP/s in a float32 matrix product; "
        f"Python {platform.python_version()}, {versions}. Medians of {rounds} rounds.", "",
        *lines,
    ])  # fmt: skip
    print(f"\n{text}")
    if not args.quick:
        (PROJECT / "benchmarks" / "results.md").write_text(text.rstrip() + "\n", encoding="utf-8")


def processor():
    """Return the processor's name, as far as the system tells it."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
