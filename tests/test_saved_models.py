"""Model files that anybody may have made: what is no model ends in one line, and runs no code."""

import os
import re

from common import cli
from common.data.saved_models import load_model

import pytest
from tensorflow import keras
from tensorflow.keras import layers


def load(path):
    return load_model(path, "a small model", lambda given, answer: given == (None, 4) and answer == (None, 3))


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a network with other layers between, and returns the file's path."""

    def save(*between):
        model = keras.Sequential([keras.Input((4,)), *between, layers.Dense(3)])
        model.compile("adam", "mse")
        model.save(tmp_path / "model.keras")
        return tmp_path / "model.keras"

    return save


def test_a_saved_model_is_read_back_without_its_optimizer_if_it_is_what_was_asked_for(save):
    path = save(layers.Dropout(0.1))
    model = load(path)
    assert (model.count_params(), model.compiled) == (15, False)
    with pytest.raises(cli.UserError, match="a generator"):
        load_model(path, "a generator", lambda given, answer: False)


@pytest.mark.parametrize("path", ["hf://user/model", "gs://bucket/model.keras", "http://host/model.keras", "."])
def test_only_files_are_opened_and_no_network(path, monkeypatch):
    monkeypatch.setattr(keras.models, "load_model", lambda *args, **options: pytest.fail("Keras was asked"))
    with pytest.raises(cli.UserError, match=f"^{re.escape(path)}: .*a small model"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"no model", "cut", b"\x89HDF\r\n\x1a\n"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.txt"])
def test_what_is_no_model_or_cut_short_says_so(name, content, tmp_path, save):
    whole = save().read_bytes()
    (tmp_path / name).write_bytes(whole[:-1000] if content == "cut" else content)
    with pytest.raises(cli.UserError, match=name):
        load(tmp_path / name)


def test_a_layer_that_holds_code_is_refused_unrun(save, tmp_path):
    sprung = str(tmp_path / "sprung")
    path = save(layers.Lambda(lambda x: os.mkdir(sprung) or x, output_shape=(4,)))
    with pytest.raises(cli.UserError, match="no Keras model"):
        load(path)
    assert not os.path.exists(sprung)
