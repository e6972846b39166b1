"""Files that are written completely or not at all."""

import contextlib
import os


@contextlib.contextmanager
def whole(path):
    """Yield a temporary path, whose file replaces that at `path` (pathlib.Path) at the end unless the body fails."""
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
