"""How a script ends: its exit code, and one line for what went wrong outside of it."""

import _thread
import errno
import functools
import signal
import sys
import threading

from common import cli, files, results, terminal

# The disk is full or broken, or the folder is no longer ours.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.EEXIST, errno.EACCES)


def launch(main):
    """Run `main()` and exit: 0, 2 after a UserError in one line, 130 after Ctrl-C. A bug keeps its traceback.

    As other Unix tools do, exit with 141 where the reader of a pipe has left, as `head` does.
    """
    before = sys.unraisablehook
    sys.unraisablehook = functools.partial(_not_lost, before)
    try:
        with files.stop_calls(signal.default_int_handler):  # which raises KeyboardInterrupt
            code, line = 130 if main().get("status") == "interrupted" else 0, None
            sys.stdout.flush()
    except BaseException as error:
        with files.stop_calls(signal.SIG_IGN):  # once more Ctrl-C
            code, line = _ending(error)
            results.close_all("interrupted" if code in (130, 141) else "failed")
            if code is None:
                raise
    finally:
        sys.unraisablehook = before
    if line:
        terminal.tell(line)
    for stream in (sys.stdout, sys.stderr):
        terminal.flush(stream)
    if not terminal.in_notebook():
        for number in files.STOP * (threading.current_thread() is threading.main_thread()):
            signal.signal(number, signal.SIG_IGN)  # nothing is left to stop
        sys.exit(code)


def _ending(error):
    """Return exit code and last line for what a person did, or a machine lacks; None, None for a bug."""
    if isinstance(error, cli.UserError):
        return 2, cli.line(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "\ninterrupted"
    if BrokenPipeError in (type(error), type(error.__context__)):  # of which the summary's rich makes a SystemExit
        return 141, None
    if isinstance(error, OSError) and error.errno in DISK:
        where = f"{cli.relative(error.filename)}: " if error.filename else "output or files: "
        return 2, f"error: {where}{error.strerror}"
    kind = type(error).__name__  # TensorFlow's errors, which this room does not import
    if kind in ("MemoryError", "ResourceExhaustedError"):
        return 2, "error: not enough memory; try a smaller network, --batch-size or --limit"
    if kind in ("UnavailableError", "DeadlineExceededError", "AbortedError"):
        return 2, ("error: a worker of TF_CONFIG cannot be reached any more, and none goes on alone; start all of them "
                   "again")  # fmt: skip
    return None, None


def _not_lost(hook, unraisable):
    """Let a Ctrl-C that came while an object was being cleaned up, where Python ignores exceptions, come again."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.01, _thread.interrupt_main).start()  # at once would be in here, and ignored as well
    else:
        hook(unraisable)
