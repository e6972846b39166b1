"""The command line of every script: shared flags, errors a person can act on, a quiet terminal."""

import argparse
import atexit
import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS_DIR = Path(__file__).resolve().parent.parent / "runs"
OPTIMIZERS = ("adam", "sgd", "rmsprop", "adamw", "nadam", "adamax", "adagrad", "adadelta", "lion")
ACTIVATIONS = ("relu", "elu", "selu", "gelu", "silu", "leaky_relu", "softplus", "softsign", "sigmoid", "tanh", "linear")

# What TensorFlow and fontconfig write on a healthy machine: information, warnings, the "errors" that there is no GPU or
# that a CUDA library was registered twice. All else on the error stream is kept.
ROUTINE = (
    r"^(WARNING: All log messages before absl|To enable the following instructions|Fontconfig warning:"
    r"|([IW]|E(?=.*(cuInit.*(303|NO_DEVICE)|Unable to register cu\w+ factory)))\d{4} "
    r"|\d{4}-\d\d-\d\d [\d:.]+: ([IW] |E .*(cuInit.*(303|NO_DEVICE)|Unable to register cu\w+ factory)))"
)


_folders = []  # of the runs that this process has begun


class UserError(Exception):
    """Something the person can put right: `launch` shows it as one line, `error: ...`, with exit code 2."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (--help lists the flags)")


def number(kind, at_least=-math.inf, above=-math.inf, below=math.inf):
    """Return an argparse type: an int or a finite float (`kind`) inside the bounds, which shut out inf and nan."""
    noun = "a whole number" if kind is int else "a number"
    bounds = [("of at least", at_least), ("above", above), ("below", below)]
    expected = noun + " and".join(f" {word} {bound}" for word, bound in bounds if math.isfinite(bound))

    def parse(text):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if at_least <= value and above < value < below:
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return parse


def base_parser(doc, images=True):
    """Return an ArgumentParser with the flags that even `python -m common.mnist` has; `doc` is its description.

    A script that needs no `images` has no --data.
    """
    base = _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    base.set_defaults(started=time.perf_counter())
    if images:
        base.add_argument("--data", metavar="PATH",
                          help="an .npz file, a folder with the four IDX files, the word digits (the bundled stand-in) "
                               "or the word mnist (no stand-in); default: found or downloaded by itself")
    base.add_argument("--seed", type=number(int, at_least=0, below=2**32), default=0, metavar="N",
                      help="one number fixes everything random (default %(default)s)")
    base.add_argument("--out", metavar="DIR", help="new folder for this run's files (default runs/<script>/<number>)")
    base.add_argument("--show", action="store_true", help="also open the pictures in windows")
    base.add_argument("--verbose", action="store_true", help="show TensorFlow's own log lines too")
    return base


def parser(doc, batch_size, epochs=None, steps=None, images=True):
    """Return an ArgumentParser with the flags of every script, to which it adds its own.

    `doc` is the script's docstring. Give either `epochs` (passes over the data) or `steps` (updates of the weights).
    A script that needs no `images` has neither --data nor --limit.
    """
    shared = base_parser(doc, images)
    count = number(int, at_least=1)
    length, meaning = ("epochs", "passes over the training images") if epochs else ("steps", "updates of the weights")
    shared.add_argument(f"--{length}", type=count, default=epochs or steps, metavar="N",
                        help=f"{meaning} (default %(default)s)")
    shared.add_argument("--batch-size", type=count, default=batch_size, metavar="N",
                        help="examples per update of the weights (default %(default)s)")
    if images:
        shared.add_argument("--limit", type=count, metavar="N", help="only the first N training images (default all)")
    shared.add_argument("--device", choices=("auto", "cpu", "gpu", "tpu"), default="auto",
                        help="processor to train on (default %(default)s: the GPUs where there are any)")
    shared.add_argument("--replicas", type=count, default=1, metavar="N",
                        help="split the CPU into N devices that share every batch (default no)")
    shared.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="float32",
                        help="numbers to compute in (default float32); auto takes bfloat16 where the CPU can")
    return shared


def cluster():
    """Return what TF_CONFIG says of the machines that train together: their addresses, and which of them this one is.

    Without it, or with one worker only, there are none: ([], 0). Number 0 is the chief, who keeps the run's files.

    Raises UserError where TF_CONFIG is no such thing.
    """
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        if not config:
            return [], 0
        workers, index = config["cluster"]["worker"], int(config["task"]["index"])
        others = set(config["cluster"]) != {"worker"} or config["task"].get("type", "worker") != "worker"
        if others or not isinstance(workers, list) or not 0 <= index < len(workers):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            'TF_CONFIG: expected {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", '
            '"index": 0}}, with the index of this machine; unset it to use one machine'
        ) from None
    return (workers, index) if len(workers) > 1 else ([], 0)


def launch(main):
    """Run `main()` and exit: 0, 2 after a UserError in one line, 130 after Ctrl-C. A bug keeps its traceback."""
    try:
        result = main()
    except UserError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        _close("interrupted")
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _close("failed")
        if cluster()[0] and type(error).__name__ in ("UnavailableError", "DeadlineExceededError", "AbortedError"):
            print("error: a worker of TF_CONFIG cannot be reached any more, and none goes on alone; start all of them "
                  "again", file=sys.stderr)  # fmt: skip
            sys.exit(2)
        raise
    sys.exit(130 if result.get("status") == "interrupted" else 0)


def _close(status):
    """Write `status` into the result.json of every run that has not come to its end."""
    for folder in _folders:
        facts = json.loads((folder / "result.json").read_text() or "{}")
        if facts.get("status") != "finished":
            write_result(folder, {**facts, "status": status})


def classifier_flags(parser, dropout, optimizer, recipes):
    """Add the flags that the three classifiers share, with the script's defaults."""
    parser.add_argument("--recipe", choices=recipes, default="book",
                        help="book trains as the document does, the others as one would today, with defaults of their "
                             "own: see RECIPES in the script (default %(default)s)")
    parser.add_argument("--dropout", type=number(float, at_least=0, below=1), default=dropout, metavar="P",
                        help="share of a layer's inputs silenced in training (default %(default)s)")
    parser.add_argument("--optimizer", type=str.lower, choices=OPTIMIZERS, default=optimizer, metavar="NAME",
                        help="how a gradient becomes an update (default %(default)s)")
    parser.add_argument("--learning-rate", type=number(float, above=0), metavar="X",
                        help="size of an update (default the optimizer's own: adam 0.001, sgd 0.01); of the other "
                             "recipes its peak")
    parser.add_argument("--validation", type=number(float, at_least=0, below=1), default=0.0, metavar="FRACTION",
                        help="share of the training images held out to choose settings by (default 0)")


def new_folder(script, out=None):
    """Make and return a folder that no other run has: `out`, or the next number in runs/<script>/.

    Of several machines only the chief keeps its files; the others, which take part in saving, get a passing folder.

    Raises UserError where `out` is a file, cannot be written, or is not empty.
    """
    if cluster()[1] > 0:
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
    try:
        if out is None:
            (RUNS_DIR / script).mkdir(parents=True, exist_ok=True)
            while True:
                taken = [int(path.name) for path in (RUNS_DIR / script).iterdir() if path.name.isdecimal()]
                folder = RUNS_DIR / script / str(max(taken, default=0) + 1)
                try:
                    folder.mkdir()
                    break
                except FileExistsError:
                    pass  # a run beside this one was quicker: take the next number
        else:
            folder = Path(out)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UserError(f"--out {out}: holds files already, maybe another run's; name a new folder")
        (folder / "result.json").touch(exist_ok=False)
        _folders.append(folder)
        return folder
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{out or RUNS_DIR}: a file is in the way, or another run has just begun there") from None
    except OSError as error:
        raise UserError(f"cannot write to {out or RUNS_DIR} ({error.strerror}); name a folder with --out") from None


def write_result(folder, facts):
    """Write `facts` to result.json in `folder`; numbers that JSON does not know, such as a loss of nan, become null."""
    facts = json.loads(json.dumps(facts, default=str), parse_constant=lambda name: None)
    (folder / "result.json").write_text(json.dumps(facts, indent=2) + "\n")


def relative(path):
    """Return a path as a person would type it: relative to the current folder where it lies below it."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextlib.contextmanager
def quiet():
    """Drop the ROUTINE lines that C++ libraries write to file descriptor 2; --verbose keeps them.

    A small process filters the stream, so that the last words of a library that aborts still reach the screen. It is
    in a session of its own, where the terminal's Ctrl-C does not end it. A Windows console does not take this.
    """
    if "--verbose" in sys.argv or sys.platform == "win32":
        yield
        return
    program = (
        f"import re, sys; routine = re.compile({ROUTINE.encode()!r})\n"
        "for line in sys.stdin.buffer:\n    routine.search(line) or sys.stderr.buffer.write(line), sys.stderr.flush()"
    )
    sys.stderr.flush()
    screen = os.dup(2)
    command = [sys.executable, "-S", "-E", "-c", program]
    sieve = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=screen, start_new_session=True)
    os.dup2(sieve.stdin.fileno(), 2)
    sieve.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)  # closes the pipe's last end, so the filter finishes
        os.close(screen)
        sieve.wait()
