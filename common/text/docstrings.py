"""Sentences that every installation has: those of the docstrings in the packages of requirements.txt."""

import ast
import contextlib
import functools
import importlib.util
import re
from pathlib import Path

SENTENCE = re.compile(r"[A-Z][^\n]{19,299}[.!?]")  # with a beginning and an end; no heading, no table, no signature
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def sentences(package):
    """Return the different sentences of a package's docstrings, in a fixed order. Nothing of it is imported."""
    root = Path(importlib.util.find_spec(package).origin).parent
    docstrings, found = [], {}
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.relative_to(root).parts:
            with contextlib.suppress(SyntaxError, ValueError):  # a template, or a test of an encoding
                nodes = ast.walk(ast.parse(path.read_bytes()))
                docstrings += [ast.get_docstring(node) or "" for node in nodes if isinstance(node, DOCUMENTED)]
    for paragraph in re.split(r"\n\s*\n", "\n\n".join(docstrings)):
        if ">>>" not in paragraph:  # no example
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph):
                found[" ".join(sentence.split())] = None
    return [sentence for sentence in found if SENTENCE.fullmatch(sentence)]
