import sys

from common import docstrings

import pytest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import would end the tests."""
    (tmp_path / "some_package" / "tests").mkdir(parents=True)
    for name, content in {
        "__init__.py": '"""A heading\n\nThe first sentence stands here. Is the second\none here?"""\nraise SystemExit',
        "module.py": 'class A:\n  """The first sentence stands here. Too short."""\n'
                     '  def f(self):\n    """>>> This is an example of its use.\n\n    It is the last sentence!"""',
        "broken.py": "def",
        "tests/test_it.py": '"""This sentence belongs to a test."""',
    }.items():  # fmt: skip
        (tmp_path / "some_package" / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_package"
    docstrings.sentences.cache_clear()


def test_a_packages_sentences_are_read_without_importing_it(package):
    assert docstrings.sentences(package) == [
        "The first sentence stands here.", "Is the second one here?", "It is the last sentence!"]  # fmt: skip
    assert package not in sys.modules
