"""Where the seconds of a whole command go, from the shell to the closing line.

Each command runs in a process of its own, in turns with the others. A phase does not count the phases within it: while
`fit` runs, TensorFlow's tracing of its graphs is counted as tracing. "other" is mostly the making of layers and of
batches, and what a lesson measures by NumPy.

Run       python benchmarks/commands.py                            three rounds of the short commands; five minutes
          python benchmarks/commands.py --rounds 1 gan_mnist.py "mlp_mnist.py --epochs 5"
"""

import argparse
import atexit
import contextlib
import functools
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
COMMANDS = (
    "mlp_mnist.py --data digits",
    "fast_mnist.py mlp",
    "fast_mnist.py cnn",
    "mnist_sampler.py",
    "figures_training.py",
    "figures_convolution.py",
    "rnn_cells.py",
    "lstm_regressor.py",
    "text_classifier.py",
    "autoencoder_mnist.py",
)
PHASES = ("import", "data", "tracing", "training", "evaluation", "pictures", "other", "exit")
seconds, running, since = Counter(), ["other"], time.perf_counter()


@contextlib.contextmanager
def phase(name):
    """Count the time within as `name`, save that of phases within it."""

    def switch():
        global since
        now = time.perf_counter()
        seconds[running[-1]] += now - since
        since = now

    switch()
    running.append(name)
    try:
        yield
    finally:
        switch()
        running.pop()


def timed(owner, name, kind):
    """Let calls of the function `name` of `owner` count as `kind`."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def call(*args, **kwargs):
        with phase(kind):
            return function(*args, **kwargs)

    setattr(owner, name, call)


def trace(command, out):
    """Run the command in this process, and write {phase: seconds} and when it was over into the file `out`."""
    script, *sys.argv[1:] = shlex.split(command)
    sys.argv[0] = sys.modules["__main__"].__file__ = str(PROJECT / script)
    with phase("import"):
        from common import device, mnist  # noqa: F401  device starts TensorFlow
        from common.plots import base
        from common.text import dataset

        from tensorflow import keras
        from tensorflow.python.framework import func_graph
    for owner, names, kind in (
        (mnist, ("load_mnist",), "data"),
        (dataset, ("load",), "data"),
        (func_graph, ("func_graph_from_py_func",), "tracing"),
        (keras.Model, ("fit", "train_on_batch"), "training"),
        (keras.Model, ("evaluate", "predict", "predict_on_batch"), "evaluation"),
    ):
        for name in names:
            timed(owner, name, kind)
    optional = base.optional

    @contextlib.contextmanager
    def counted(path):
        with phase("pictures"), optional(path):
            yield

    base.optional = counted

    def over():
        with phase("other"):
            pass
        Path(out).write_text(json.dumps({"seconds": seconds, "over": time.time()}))

    atexit.register(over)
    exec(compile((PROJECT / script).read_bytes(), script, "exec"), {"__name__": "__main__", "__file__": script})


def measure(command):
    """Run the command as a process of its own; return {phase: seconds}, which add up to what a person waits."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.time()
        subprocess.run([sys.executable, __file__, "--trace", f"{folder}/times", f"{command} --out {folder}/run"],
                       check=True, stdout=subprocess.DEVNULL)
        ended, times = time.time(), json.loads(Path(folder, "times").read_text())
    phases = Counter(times["seconds"]) + Counter({"exit": ended - times["over"]})
    phases["import"] += ended - started - phases.total()  # Python's own start
    return phases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", default=COMMANDS, metavar="COMMAND", help="a script, with its flags")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default %(default)s)")
    parser.add_argument("--trace", help=argparse.SUPPRESS)  # for the processes of `measure`
    args = parser.parse_args()
    if args.trace:
        return trace(args.commands[0], args.trace)
    rounds = [{command: measure(command) for command in args.commands} for _ in range(args.rounds)]
    print(f"Seconds, medians of rounds: {args.rounds}\n")
    print(f"| command | all | {' | '.join(PHASES)} |")
    print("|---" * (2 + len(PHASES)) + "|")
    for command in args.commands:
        every = [statistics.median(measured[command][phase] for measured in rounds) for phase in PHASES]
        whole = statistics.median(measured[command].total() for measured in rounds)
        print(f"| `python {command}` | {whole:.1f} | {' | '.join(f'{value:.1f}' for value in every)} |")


if __name__ == "__main__":
    main()
