"""ANSWERS.md: every "Try next" of every card is answered, by a command that parses or an edit that still fits."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TEXT = (PROJECT / "ANSWERS.md").read_text(encoding="utf-8")
CHAPTERS = dict(re.findall(r"^## `(\w+)\.py`\n(.+?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
CARDS = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in PROJECT.glob("*.py")}


def questions(card):
    """Return what a card asks to try, and what that would tell, [(change, question), ...]."""
    lines = re.search(r"^Try next  (.+?)(?=^\w)", card, re.DOTALL | re.MULTILINE)[1].splitlines()
    return [tuple(re.fullmatch(r"\s*(.+?) {2,}(.+)", line).groups()) for line in lines]


def blocks(kind):
    """Return the code blocks of a kind, [(script, text), ...]."""
    return [(script, text) for script, chapter in CHAPTERS.items()
            for text in re.findall(rf"^```{kind}\n(.+?)^```", chapter, re.DOTALL | re.MULTILINE)]


def test_every_card_has_its_chapter():
    assert set(CHAPTERS) == set(CARDS)


@pytest.mark.parametrize("script", CARDS)
def test_every_question_of_the_card_is_answered_in_its_order(script):
    form = r"^### `?(.+?)`?\n\n\*(.+?)\*\n\n(.+?)(?=^### |\Z)"  # change, question, answer
    answers = re.findall(form, CHAPTERS[script], re.DOTALL | re.MULTILINE)
    assert [answer[:2] for answer in answers] == questions(CARDS[script])
    for _, question, answer in answers:
        assert re.search(r"^```(bash|diff)\n", answer, re.MULTILINE), question  # how it was found out
        prose = re.sub(r"(?ms)^```.+?^```", "", answer)
        assert re.search(r"\d", prose), question  # what was measured


@pytest.mark.parametrize(("script", "text"), blocks("bash"))
def test_the_commands_parse(script, text):
    for line in text.splitlines():
        python, path, *argv = shlex.split(line)
        assert python == "python"
        importlib.import_module(path.removesuffix(".py").replace("/", ".")).parse(argv)


@pytest.mark.parametrize(("script", "text"), blocks("diff"))
def test_the_edits_fit_the_script(script, text):
    source = (PROJECT / f"{script}.py").read_text(encoding="utf-8")
    edits = re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", text, re.MULTILINE)
    assert "".join(old + new for old, new in edits) == text  # no other line, which would not be tried
    for old, new in edits:
        old, new = (re.sub(r"(?m)^[-+]", "", part) for part in (old, new))
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    ast.parse(source)


@pytest.mark.parametrize("picture", re.findall(r"\]\(([^)]+)\)", TEXT))
def test_the_pictures_exist(picture):
    assert (PROJECT / picture).exists()
