"""Sentences that every installation has: those of the docstrings in the packages of requirements.txt."""

import ast
import contextlib
import functools
import importlib.util
import re
from pathlib import Path

SENTENCE = re.compile(r"[A-Z][^\n]{19,299}[.!?]")  # with a beginning and an end; no heading, no table, no signature


@functools.cache
def sentences(package):
    """Return the different sentences of a package's docstrings, in a fixed order. Nothing of it is imported."""
    found = {}
    root = Path(importlib.util.find_spec(package).origin).parent
    for path in sorted(root.rglob("*.py")):
        if "tests" in path.relative_to(root).parts:
            continue
        with contextlib.suppress(OSError, SyntaxError, ValueError):  # a template, or a test of an encoding
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    found |= dict.fromkeys(_split(ast.get_docstring(node) or ""))
    return list(found)


def _split(docstring):
    for paragraph in re.split(r"\n\s*\n", docstring):
        if ">>>" not in paragraph:  # no example
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph):
                if SENTENCE.fullmatch(sentence := " ".join(sentence.split())):
                    yield sentence
