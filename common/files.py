"""Files that are whole, and the signals that ask a script to stop."""

import contextlib
import os
import signal
import threading

# Ctrl-C, what a shutdown or a job queue sends before it kills, and what a terminal sends when its window is closed
STOP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def whole(path):
    """Yield a temporary path to write to, and move that file to `path` afterwards: what stands there is whole.

    It is on the disk before it gets its name, so not even a power cut leaves a part of it under that name.
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
