"""The command line: the flags that the scripts share, errors that a person can act on, and how a script ends."""

import argparse
import contextlib
import difflib
import json
import math
import os
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CHECKPOINT = "checkpoint.npz"  # in the folder of a run that has not come to its end
OPTIMIZERS = ("adam", "sgd", "rmsprop", "adamw", "nadam", "adamax", "adagrad", "adadelta", "lion")
MOVED = {  # what people type, and what to type instead
    "--lr": "--learning-rate",
    "--gan": "python vae_gan_mnist.py",
    "--conditional": "python conditional_gan_mnist.py",
    "--kind: invalid choice: 'linear'": "python pca_autoencoder.py",
    "--ask": "python ask_text.py SENTENCE",
    "--check": "python benchmarks/photographs.py",
}
SAID_ANYWAY = ("help", "data", "device", "seed", "out", "show", "resume")  # no news in the first line of a run
INTERACTIVE = hasattr(sys, "ps1")  # as in a notebook: Python goes on after the script
path = os.path.expanduser  # an argparse type: the shell leaves the ~ of --data=~/digits as it is


class UserError(Exception):
    """Something the person can put right: `launch` prints it as one line, `error: ...`, and exits with 2."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        flags = list(self._option_string_actions)
        for old, new in MOVED.items():
            if re.search(rf"{old}(\W|$)", message) and (new in flags or not new.startswith("--")):
                raise UserError(f"{message}: use {new}")
        mistyped = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        meant = difflib.get_close_matches(mistyped[1], flags, 1) if mistyped else []
        hint = f"did you mean {meant[0]}? " if meant else ""
        raise UserError(f"{message} ({hint}--help lists the flags)")

    def parse_args(self, argv=None, own=None):
        """Return the flags in `argv`, by default those that were typed; `changed` holds what is not at its default.

        `own(args)` returns defaults that depend on another flag. --resume brings the flags of the run that goes on.
        """
        if argv is None:
            in_kernel = "ipykernel" in sys.modules and sys.argv[-1].endswith(".json")
            argv = [] if in_kernel else sys.argv[1:]  # a kernel's -f kernel.json is none of ours
        args = super().parse_args(argv)
        if own:  # parsed once to learn the flags that decide, and again with the defaults that follow from them
            self.set_defaults(**own(args))
            args = super().parse_args(argv)
        args.changed = {}
        for action in self._actions:
            flag, value = (action.option_strings or [action.dest])[-1], getattr(args, action.dest, None)
            if action.dest not in SAID_ANYWAY and value != self.get_default(action.dest):
                args.changed[flag] = " ".join(value) if isinstance(value, list) else value
        return _resumed(args, argv) if getattr(args, "resume", None) else args


def _resumed(args, argv):
    """Return the flags of the run `args.resume`. Raises UserError where it cannot go on."""
    given = {word.partition("=")[0] for word in argv if word.startswith("--")}
    if given - {"--resume", "--show"}:
        raise UserError(f"--resume goes on with the flags of {args.resume}; omit all others")
    try:
        flags = json.loads(Path(args.resume, "result.json").read_text(encoding="utf-8"))["flags"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"--resume {args.resume}: not the folder of a run; name one such as runs/mlp_mnist/1") from None
    if not Path(args.resume, CHECKPOINT).exists():
        raise UserError(f"--resume {args.resume}: no checkpoint: that run has come to its end, or keeps none")
    return argparse.Namespace(**{**flags, "resume": args.resume, "show": args.show})


def number(kind, at_least=-math.inf, above=-math.inf, below=math.inf):
    """Return an argparse type: an int or a finite float (`kind`) inside the bounds."""
    bounds = [("of at least", at_least), ("above", above), ("below", below)]
    expected = " and".join(f" {word} {bound}" for word, bound in bounds if math.isfinite(bound))

    def parse(text):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if math.isfinite(value) and at_least <= value and above < value < below:
                return value
        noun = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"expected {noun}{expected}, got {text!r}")

    return parse


def _device(text):
    if re.fullmatch(r"auto|gpu|tpu|cpu(:[1-9]\d?)?", text):
        return text
    raise argparse.ArgumentTypeError(f"expected auto, cpu, gpu, tpu or cpu:N, got {text!r}")


def parser(doc, epochs=None, steps=None, batch_size=None, images=True, optimizer=None):
    """Return an ArgumentParser with the shared flags, to which a script adds its own; `doc` is its docstring.

    A flag of training is there if its default is given, --data, --limit and --resume if the script reads `images`.
    """
    shared = _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    count, rate, seed = number(int, at_least=1), number(float, above=0), number(int, at_least=0, below=2**32)
    trains = epochs or steps
    data = "an .npz file, a folder with IDX or CSV files, digits (the stand-in) or mnist (no stand-in); default: found"
    for wanted, flag, kind, default, value, meaning in (
        (epochs, "--epochs", count, epochs, "N", "passes over the training data"),
        (steps, "--steps", count, steps, "N", "weight updates"),
        (batch_size, "--batch-size", count, batch_size, "N", "examples per weight update"),
        (optimizer, "--optimizer", str.lower, optimizer, "NAME", ", ".join(OPTIMIZERS)),
        (optimizer, "--learning-rate", rate, None, "X", "size of an update; adam's is 0.001, sgd's 0.01"),
        (images, "--data", path, None, "PATH", data),
        (images and trains, "--limit", count, None, "N", "only the first N training images"),
        (images and trains, "--resume", path, None, "RUN", "go on with a run that was stopped; RUN is its folder"),
        (True, "--seed", seed, 0, "N", "fixes every random number"),
        (trains, "--device", _device, "auto", "NAME", "auto, cpu, gpu, tpu, or cpu:N: the CPU as N devices"),
        (True, "--out", path, None, "DIR", "folder for the results; default: the next number in runs/<script>"),
    ):
        if wanted:
            meaning += "" if default is None else " (default %(default)s)"
            choices = OPTIMIZERS if flag == "--optimizer" else None
            shared.add_argument(flag, type=kind, default=default, choices=choices, metavar=value, help=meaning)
    shared.add_argument("--show", action="store_true", help="open the pictures in windows")
    return shared


def tell(line):
    """Print a line on the error stream."""
    print(line, file=sys.stderr, flush=True)


def relative(path):
    """Return a path as a person would type it: relative to the current folder where it lies below it."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def launch(main):
    """Run `main()` and exit with 0; with 2 after a UserError, in one line; with 130 after Ctrl-C.

    A pipe whose reader has left, as `head` does, ends a script with 141, as it ends other Unix tools.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a notebook
            stream.reconfigure(errors="backslashreplace")  # a letter that the console lacks is shown as its number
    try:
        result = main()
        sys.stdout.flush()
        code = 130 if result["status"] == "interrupted" else 0
    except UserError as error:
        code = 2
        tell(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        code = 130
        tell("\ninterrupted")
    except (BrokenPipeError, SystemExit) as error:
        if BrokenPipeError not in (type(error), type(error.__context__)):  # Keras's summary makes a SystemExit of it
            raise
        code = 141
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python prints at its end
    if not INTERACTIVE:
        sys.exit(code)
