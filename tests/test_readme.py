"""The README in English and in Chinese: the same commands, numbers, rows and pictures; links that lead somewhere."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = ((PROJECT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))


def rows(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def commands(text):
    return re.findall(r"^```\w*\n(.+?)^```", text, re.DOTALL | re.MULTILINE)


def test_both_have_the_same_commands_and_lengths():
    assert commands(ENGLISH) == commands(CHINESE)
    assert len(commands(ENGLISH)) > 3
    assert max(text.count("\n") for text in (ENGLISH, CHINESE)) <= 140


def test_both_have_the_same_rows_numbers_and_pictures():
    assert len(rows(ENGLISH)) == len(rows(CHINESE)) > 20
    for ours, theirs in zip(rows(ENGLISH), rows(CHINESE), strict=True):
        if "](" in ours[-1]:  # a lesson
            assert (ours[0], ours[-1]) == (theirs[0], theirs[-1])
            numbers = [sorted(re.findall(r"\d[\d,.]*(?:e-\d+)?\b", cell)) for cell in (ours[2], theirs[2])]
            for written in numbers:  # a number that is a word in the other language
                written[:] = [number for number in written if float(number.replace(",", "")) > 10 or "." in number]
            assert numbers[0] == numbers[1], ours[0]


def test_both_name_the_same_flags_and_files():
    plain = (re.sub(r"(?ms)^```.+?^```", "", text) for text in (ENGLISH, CHINESE))
    prose = [" ".join(text.split()) for text in plain]
    ours, theirs = ({name for name in re.findall(r"`([^`]+)`", text) if re.search(r"[-./]", name)} for text in prose)
    assert ours - theirs == set()
    assert theirs - ours <= {"-i", "pip config set global.index-url"}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_pictures_and_links_lead_to_files(text):
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 15
    for target in targets:
        assert (PROJECT / target).exists(), target
    lessons = re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE)
    users = {"read_digit.py", "paint_digits.py", "ask_text.py"}  # of what the lessons trained
    assert {*lessons} | users == {path.name for path in PROJECT.glob("*.py")}
