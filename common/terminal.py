"""Where a script is started and prints: a shell, a notebook, or a stream that is closed, full, or knows no Chinese."""

import codecs
import contextlib
import os
import shutil
import stat
import sys
from pathlib import Path

NARROWEST = 40  # columns: with fewer, Keras's summary gives up


def command_line():
    """Return the words after the script's name; those of a notebook's kernel (-f kernel.json) are none of ours."""
    kernels = ("ipykernel_launcher", "colab_kernel_launcher", "__main__")  # of Jupyter and VS Code, Colab, Spyder
    return [] if "ipykernel" in sys.modules and Path(sys.argv[0]).stem in kernels else sys.argv[1:]


def in_notebook():
    """Return whether Python goes on after the script, as in a notebook or an interactive session."""
    return hasattr(sys, "ps1")


def is_watched(stream=None):
    """Return whether a person watches what is printed, and not a file or a pipe."""
    return in_notebook() or bool(getattr(stream or sys.stdout, "isatty", bool)())


def tell(line):
    """Print a line on the error stream, if that can be had."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def flush(stream):
    """Print what is held back; if the reader has left or the disk is full, let it go nowhere, without an error."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(message):
    """Print a message from a signal's handler, and make sure that what is printed after it raises no error.

    The signal may have ended the reader of the output as well: then it goes to the error stream, or nowhere.
    """
    if in_notebook() or not hasattr(sys.stdout, "fileno"):
        print(message)
        return
    try:
        output = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(output).st_mode):
            os.dup2(2, output)  # `| tee log` has died of the same Ctrl-C
        os.write(output, f"{message}\n".encode(errors="replace"))  # print() may be at work at this moment
    except ValueError:  # no file
        print(message)
    except OSError:  # the window was closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output)
        os.dup2(nowhere, 2)


def _escape(error):
    """Spell what the console's encoding lacks, in a path, as \\u4e2d; and the lines of Keras's tables as =."""
    missing = error.object[error.start : error.end]
    lines = all("\u2500" <= character <= "\u257f" for character in missing)
    return ("=" * len(missing), error.end) if lines else codecs.backslashreplace_errors(error)


def prepare():
    """Let every stream take whatever is printed; let a narrow window, and a backend that is not there, do no harm."""
    for number in range(3):  # the first file that is opened would take the place of a closed one
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    codecs.register_error("escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="escape")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    backend = os.environ.pop("MPLBACKEND", None)
    if backend:
        import matplotlib as mpl

        with contextlib.suppress(ValueError):  # a notebook's backend, in a command that is run from it: not here
            mpl.rcParams["backend"] = backend


prepare()
