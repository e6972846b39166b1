"""Answer --help, and refuse a wrong flag, before TensorFlow starts, which takes some seconds."""

import ast
import builtins
import contextlib
import os
import signal
import sys
from pathlib import Path

from common import cli, files, terminal


class _Unknown:
    """What TensorFlow or another module would give a lesson. Whoever tries to print it fails."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return self

    def __repr__(self):
        raise TypeError


class _Names(dict):
    def __missing__(self, name):
        return getattr(builtins, name, _Unknown())


def answer():
    """Parse the command line of the lesson that is run: to refuse or to help need not wait for TensorFlow's import.

    Of the lesson only constants and functions are looked at. What cannot be parsed here is parsed in its `main`.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if terminal.in_notebook() or not script or Path(script).resolve().parent != cli.PROJECT:
        return
    try:
        names = _look_at(Path(script))
        names["parse"](None)
    except cli.UserError as error:
        terminal.tell(cli.line(error))
        sys.exit(2)
    except Exception:
        pass
    for number in files.STOP:  # until `script.launch`: a KeyboardInterrupt amid TensorFlow's import would be a wall
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, lambda *stopped: os._exit(130))


def _look_at(script):
    """Return the constants and functions of a lesson, by their names."""
    lesson = ast.parse(script.read_bytes())
    names = _Names(__doc__=ast.get_docstring(lesson), __name__=script.stem, cli=cli)
    for part in lesson.body:
        kept = isinstance(part, (ast.Assign, ast.FunctionDef, ast.ClassDef))
        if isinstance(part, (ast.Import, ast.ImportFrom)):
            module = getattr(part, "module", part.names[0].name)  # from X import, import X
            kept = module.partition(".")[0] in sys.stdlib_module_names
        if kept:
            with contextlib.suppress(Exception):
                exec(compile(ast.Module([part], []), str(script), "exec"), names)
    return names
