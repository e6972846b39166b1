"""Files that are whole, and the signals that ask a script to stop."""

import contextlib
import os
import signal
import threading
import zipfile

from common import terminal

# Ctrl-C, what a shutdown or a job queue sends before it kills, and what a terminal sends when its window is closed
STOP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _ClampedZipInfo(zipfile.ZipInfo):
    """An entry of a zip file, such as a saved model, whose years end in 2107: a clock may be set to any other."""

    def __init__(self, filename="NoName", date_time=(1980, 1, 1, 0, 0, 0)):
        super().__init__(filename, min(max(date_time, (1980, 1, 1, 0, 0, 0)), (2107, 12, 31, 23, 59, 58)))


zipfile.ZipInfo = _ClampedZipInfo


@contextlib.contextmanager
def whole(path):
    """Yield a temporary path to write to, and move that file to `path` afterwards: what stands there is whole.

    It is on the disk before it gets its name, so not even a power cut leaves a part of it under that name.
    """
    partial = remake_folder(path).with_name(f"partial-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remake_folder(path):
    """Return `path`, and make its folder again if it was deleted or renamed while a run wrote into it."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        terminal.tell(f"note: {path.parent} was gone; it is there again, without what it held")
    return path


@contextlib.contextmanager
def stop_calls(handler):
    """Let STOP's signals call `handler(number, frame)`; one that is ignored, as under nohup, stays ignored.

    Does nothing in a thread, where Python takes no signals.
    """
    before = {number: signal.getsignal(number) for number in STOP}
    in_main = threading.current_thread() is threading.main_thread()
    taken = {number: old for number, old in before.items() if in_main and old not in (signal.SIG_IGN, None)}
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in taken.items():
            if signal.getsignal(number) is handler:  # not where this ends late, as after an error in `fit`
                with contextlib.suppress(ValueError):  # and in a thread
                    signal.signal(number, old)


@contextlib.contextmanager
def stop_waits():
    """Let a signal of STOP take effect only after what is done here."""
    late = []
    try:
        with stop_calls(lambda number, frame: late.append(number)):
            yield
    finally:
        for number in late[:1]:
            signal.raise_signal(number)
