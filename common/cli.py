"""The command line: the flags that the scripts share, and errors that a person can act on."""

import argparse
import contextlib
import difflib
import json
import math
import os
import re
from pathlib import Path

from common import terminal

OPTIMIZERS = ("adam", "sgd", "rmsprop", "adamw", "nadam", "adamax", "adagrad", "adadelta", "lion")
PROJECT = Path(__file__).resolve().parent.parent
CHECKPOINT = "checkpoint.npz"  # in the folder of a run that has not come to its end
ACTIVATIONS = ("relu", "elu", "selu", "gelu", "silu", "leaky_relu", "softplus", "softsign", "sigmoid", "tanh", "linear")


class UserError(Exception):
    """Something the person can put right: `script.launch` prints it as one line, `error: ...`, with exit code 2."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        mistyped = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        meant = difflib.get_close_matches(mistyped[1], self._option_string_actions, 1) if mistyped else ()
        raise UserError(f"{message} ({''.join(f'did you mean {flag}? ' for flag in meant)}--help lists the flags)")

    def parse_args(self, argv=None, namespace=None):
        """As ever; but --resume takes its run's flags, and a flag that says otherwise is refused."""
        argv = terminal.command_line() if argv is None else argv
        given = super().parse_args(argv, namespace)
        if getattr(given, "resume", None) is None:
            return given
        flags = _flags_of(given.resume)
        self.set_defaults(**flags)
        given = super().parse_args(argv, namespace)
        for name, value in flags.items():
            if name not in ("resume", "show") and getattr(given, name) != value:
                raise UserError(f"--resume goes on with the flags of {given.resume}, where {name.replace('_', '-')} is "
                                f"{'not given' if value is None else value}; leave yours out")  # fmt: skip
        return given


def _flags_of(folder):
    try:
        facts = json.loads(Path(folder, "result.json").read_text(encoding="utf-8"))
        status, flags = facts["status"], facts.get("flags", {})
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"--resume {folder}: no run's folder; name one such as runs/mlp_mnist/1") from None
    if status == "finished":
        raise UserError(f"--resume {folder}: that run has come to its end")
    if not Path(folder, CHECKPOINT).exists():
        raise UserError(f"--resume {folder}: that run ended before its first epoch did, and is lost; start it anew")
    return flags


def number(kind, at_least=-math.inf, above=-math.inf, below=math.inf):
    """Return an argparse type: an int or a finite float (`kind`) inside the bounds, which shut out inf and nan."""
    noun = "a whole number" if kind is int else "a number"
    bounds = [("of at least", at_least), ("above", above), ("below", below)]
    expected = noun + " and".join(f" {word} {bound}" for word, bound in bounds if math.isfinite(bound))

    def parse(text):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if at_least <= value and above < value < below:
                if kind is int and value >= 2**32:
                    raise argparse.ArgumentTypeError(f"no tensor has so many numbers as {text}")
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return parse


path = os.path.expanduser  # an argparse type: the shell leaves the ~ of --data=~/digits as it is


def _device(text):
    if re.fullmatch(r"auto|gpu|tpu|cpu(:[1-9]\d{0,2})?", text):
        return text
    raise argparse.ArgumentTypeError(f"expected auto, cpu, gpu, tpu or cpu:N, got {text!r}")


def parser(doc, epochs=None, steps=None, batch_size=None, images=True, optimizer=None):
    """Return an ArgumentParser with the shared flags, to which a script adds its own.

    `doc` is the script's docstring. A flag of training is there if its default is given: `epochs` (passes over the
    data) or `steps` (updates of the weights), `batch_size`, and `optimizer` with its learning rate. A script that reads
    no `images` has neither --data nor --limit.
    """
    shared = _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    count = number(int, at_least=1)
    for name, default, meaning in (
        ("epochs", epochs, "passes over the training data"),
        ("steps", steps, "weight updates"),
        ("batch-size", batch_size, "examples per weight update"),
    ):
        if default is not None:
            shared.add_argument(f"--{name}", type=count, default=default, metavar="N",
                                help=f"{meaning} (default %(default)s)")
    if optimizer:
        shared.add_argument("--optimizer", type=str.lower, choices=OPTIMIZERS, default=optimizer, metavar="NAME",
                            help=f"{', '.join(OPTIMIZERS)} (default %(default)s)")
        shared.add_argument("--learning-rate", type=number(float, above=0), metavar="X",
                            help="size of an update (adam's default 0.001, sgd's 0.01)")
    if images:
        shared.add_argument("--data", type=path, metavar="PATH",
                            help="an .npz file, a folder with IDX or CSV files, the word digits (the bundled "
                                 "stand-in) or mnist (no stand-in); default: found or downloaded")
    training = (epochs, steps) != (None, None)
    if images and training:
        shared.add_argument("--limit", type=count, metavar="N", help="only the first N training images (default all)")
        shared.add_argument("--resume", type=path, metavar="RUN",
                            help="go on with a run that was stopped; RUN is its folder")
    shared.add_argument("--seed", type=number(int, at_least=0, below=2**32), default=0, metavar="N",
                        help="one number fixes everything random (default %(default)s)")
    if training:
        shared.add_argument("--device", type=_device, default="auto", metavar="NAME",
                            help="auto, cpu, gpu, tpu, or cpu:N for the CPU split into N (default auto: GPUs, if any)")
    shared.add_argument("--out", type=path, metavar="DIR",
                        help="new folder for this run (default runs/<script>/<number>)")
    shared.add_argument("--show", action="store_true", help="also open the pictures in windows")
    return shared


def parse(parser, argv, choose):
    """Return the command line as a namespace; `choose(args)` gives defaults that follow from other flags, as a dict."""
    argv = terminal.command_line() if argv is None else argv
    parser.set_defaults(**choose(parser.parse_args([word for word in argv if word not in ("-h", "--help")])))
    return parser.parse_args(argv)


def line(error):
    """Return what is printed of a UserError: one line."""
    return f"error: {' '.join(str(error).split())}"


def relative(path):
    """Return a path as a person would type it: relative to the current folder where it lies below it."""
    with contextlib.suppress(OSError, ValueError):  # the current folder was deleted, or the path lies elsewhere
        return str(Path(path).absolute().relative_to(Path.cwd()))
    return str(path)
