"""A script's folder and its result.json, how a script ends, and a saved model read back."""

import _thread
import atexit
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

from common import cli, files

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

RUNS_DIR = Path(__file__).resolve().parent.parent / "runs"
_folders = []  # of the runs that this process has begun


def new_folder(script, out=None, keep=True):
    """Make and return a folder that no other run has: `out`, or the next number in runs/<script>/.

    With keep=False the folder is temporary: of several machines all take part in saving a model, and one keeps it.

    Raises cli.UserError where `out` is a file, cannot be written, or is not empty.
    """
    if not keep:
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
    try:
        if out is None:
            (RUNS_DIR / script).mkdir(parents=True, exist_ok=True)
            while True:
                taken = [int(path.name) for path in (RUNS_DIR / script).iterdir() if path.name.isdecimal()]
                folder = RUNS_DIR / script / str(max(taken, default=0) + 1)
                with contextlib.suppress(FileExistsError):  # a run beside this one was quicker: take the next number
                    folder.mkdir()
                    break
        else:
            folder = Path(out).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise cli.UserError(f"--out {out}: holds files already, maybe another run's; name a new folder")
        with (folder / "result.json").open("x") as file:
            file.write('{"status": "running"}\n')
        return _held(folder)
    except (FileExistsError, NotADirectoryError):
        raise cli.UserError(f"{out or RUNS_DIR}: a file is in the way, or another run has just begun there") from None
    except OSError as error:
        raise cli.UserError(f"cannot write to {out or RUNS_DIR} ({error.strerror}); name a folder with --out") from None


def reopen(script, run, dataset):
    """Return the folder of the `run` that --resume names, once it is known that it is this script's, on these images.

    Raises cli.UserError where it is another one.
    """
    folder = Path(run).absolute()
    before = json.loads((folder / "result.json").read_text())
    for what, then, now in (("script", before["script"], script), ("data set", before["dataset"], dataset)):
        if then != now:
            raise cli.UserError(f"--resume {run}: the {what} of that run is {then}, not {now}")
    try:
        return folder if folder in _folders else _held(folder)
    except BlockingIOError:
        raise cli.UserError(f"--resume {run}: that run is still going on in another process") from None


def _held(folder):
    """Lock the folder until this process ends, in whatever way, so that no other one resumes it meanwhile."""
    if fcntl:
        try:
            fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a network disk that knows no locks
            pass
    _folders.append(folder)
    return folder


def write_result(folder, facts):
    """Write `facts` to result.json in `folder`; numbers that JSON does not know, such as a loss of nan, become null."""
    facts = json.loads(json.dumps(facts, default=str), parse_constant=lambda name: None)
    with files.whole(folder / "result.json") as path:
        path.write_text(json.dumps(facts, indent=2) + "\n")


def close_all(status):
    """Write `status` into the result.json of every run that has not come to its end."""
    for folder in _folders:
        facts = json.loads((folder / "result.json").read_text())
        if facts["status"] != "finished":
            write_result(folder, {**facts, "status": status})


def launch(main):
    """Run `main()` and exit: 0, 2 after a UserError in one line, 130 after Ctrl-C. A bug keeps its traceback."""
    before, sys.unraisablehook = sys.unraisablehook, _not_lost
    try:
        with files.stop_calls(signal.default_int_handler):  # which raises KeyboardInterrupt
            result = main()
    except cli.UserError as error:
        close_all("failed")
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        close_all("interrupted")
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except Exception:
        close_all("failed")
        raise
    finally:
        sys.unraisablehook = before
    sys.exit(130 if result.get("status") == "interrupted" else 0)


def _not_lost(unraisable):
    """Let a Ctrl-C that came while an object was being cleaned up, where Python ignores exceptions, come again."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.01, _thread.interrupt_main).start()  # at once would be in here, and ignored as well
    else:
        sys.__unraisablehook__(unraisable)


def load_model(path, what, fits):
    """Return the Keras model in the file `path`; `fits(input_shape, output_shape)` tells whether it is `what`.

    Raises cli.UserError where there is none, or another one.
    """
    from tensorflow import keras

    try:
        model = keras.models.load_model(path, compile=False)
        shapes = model.input_shape, model.output_shape
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).split(". ")[0]
        raise cli.UserError(f"{path}: no Keras model can be read ({reason})") from None
    if not fits(*shapes):
        raise cli.UserError(f"{path}: not {what}: it turns {shapes[0]} into {shapes[1]}")
    return model
