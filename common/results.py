"""The folders of runs, and their result.json."""

import atexit
import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from common import cli, files, terminal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

RUNS_DIR = cli.PROJECT / "runs"
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
            _tell_of(script, RUNS_DIR / script / str(max(taken, default=0)))
        else:
            folder = Path(out).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise cli.UserError(f"--out {out}: holds files already, maybe another run's; name a new folder")
        _held(folder)  # before it says that it is running
        with (folder / "result.json").open("x") as file:
            file.write('{"status": "running"}\n')
        return folder
    except (FileExistsError, NotADirectoryError):
        given = RUNS_DIR if out is None else f"--out {out}"
        raise cli.UserError(f"{given}: a file is in the way, or another run has just begun there") from None
    except OSError as error:
        raise cli.UserError(f"cannot write to {out or RUNS_DIR} ({error.strerror}); name a folder with --out") from None


def _tell_of(script, folder):
    """Say, once, that the run before this one in `folder` was killed, and how to go on with it."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((folder / "result.json").read_text())
        if fcntl and facts["status"] in ("running", "trained"):
            os.close(_lock(folder))  # raises BlockingIOError, an OSError, where the run still goes on
            write_result(folder, {**facts, "status": "killed"})
            resumable = (folder / cli.CHECKPOINT).exists()
            cure = f"to go on with it: {to_go_on(script, folder)}" if resumable else "nothing of it can be resumed"
            terminal.tell(f"note: {cli.relative(folder)} was killed; {cure}")


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
            _lock(folder)
        except BlockingIOError:
            raise
        except OSError:  # a network disk that knows no locks
            pass
    _folders.append(folder)
    return folder


def _lock(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    except OSError:
        os.close(descriptor)
        raise


def to_go_on(script, folder):
    """Return the command that goes on with a run."""
    return f"python {script}.py --resume {cli.relative(folder)}"


def write_result(folder, facts):
    """Write `facts` to result.json in `folder`; numbers that JSON does not know, such as a loss of nan, become null."""
    facts = json.loads(json.dumps(facts, default=str), parse_constant=lambda name: None)
    with files.whole(folder / "result.json") as path:
        path.write_text(json.dumps(facts, indent=2) + "\n")


def close_all(status):
    """Write `status` into the result.json of every run that has not come to its end."""
    for folder in _folders:
        with contextlib.suppress(OSError, ValueError):  # it was deleted, or the disk is full
            facts = json.loads((folder / "result.json").read_text())
            if facts["status"] in ("running", "trained"):
                write_result(folder, {**facts, "status": status})
