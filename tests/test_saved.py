"""Model files that anybody may have made: what is no model, too large, or a trap ends in one line, and runs no code."""

import json
import os
import re
import zipfile

from common import cli, saved

import pytest
from tensorflow import keras
from tensorflow.keras import layers


def load(path):
    return saved.load_model(path, "a small model", lambda given, answer: given == (None, 4) and answer == (None, 3))


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a network, with parts of its file replaced, and returns the file's path."""

    def save(*between, **parts):
        whole, path = tmp_path / "whole.keras", tmp_path / "model.keras"
        keras.Sequential([keras.Input((4,)), *between, layers.Dense(3)]).save(whole)
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                change = parts.get(name.split(".")[0], lambda content: content)
                new.writestr(name, change(old.read(name)))
        return path

    return save


def test_a_compiled_model_is_read_back_without_its_optimizer(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.1), layers.Dense(3)])
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    assert not load(tmp_path / "model.keras").compiled


def test_recurrent_and_wrapped_layers_are_read_back(tmp_path):
    model = keras.Sequential([
        keras.Input((4, 2)), layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.GRU(2),
        layers.RepeatVector(3), layers.TimeDistributed(layers.Dense(1)), layers.SimpleRNN(3),
    ])  # fmt: skip
    model.save(tmp_path / "model.keras")
    loaded = saved.load_model(tmp_path / "model.keras", "a small model", lambda *shapes: True)
    assert loaded.count_params() == model.count_params()


def test_a_saved_model_is_read_back_if_it_is_what_was_asked_for(save):
    path = save()
    assert load(path).count_params() == 15
    with pytest.raises(cli.UserError, match=r"model.keras: not a generator: it turns \(None, 4\) into \(None, 3\)"):
        saved.load_model(path, "a generator", lambda given, answer: False)


@pytest.mark.parametrize("path", ["hf://user/model", "gs://bucket/model.keras", "http://host/model.keras"])
def test_only_files_are_opened_and_no_network(path, monkeypatch):
    monkeypatch.setattr(keras.models, "load_model", lambda *args, **options: pytest.fail("Keras was asked"))
    with pytest.raises(cli.UserError, match=f"^{re.escape(path)}: there is no such file; expected a small model"):
        load(path)


def test_of_a_folder_its_file_is_wanted(tmp_path):
    with pytest.raises(cli.UserError, match=r"a folder; name a file in it, such as model\.keras"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has none")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.keras")
    with pytest.raises(cli.UserError, match="there is no such file; expected a small model"):
        load(tmp_path / "model.keras")


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\3\4 cut short", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_model_says_so(content, tmp_path):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(cli.UserError, match=r"model.keras: no Keras model can be read \(damaged, or no .keras file"):
        load(tmp_path / "model.keras")


def larger(content):
    return content.replace(b'"units": 3', b'"units": 3000000000')


def another_class(content):
    config = json.loads(content)
    config["config"]["layers"][1] |= {"module": "os", "class_name": "mkdir", "config": {"path": "sprung"}}
    return json.dumps(config).encode()


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("model", lambda content: content[:100], "."),
        ("model", lambda content: b"\0" * len(content), "."),
        ("config", lambda content: b"{", "."),
        ("config", lambda content: b"[" * 100_000, "recursion|."),
        ("config", lambda content: b" " * (saved.CONFIG_BYTES + 1), "the description of its layers is too long"),
        ("config", larger, r"its layers want 15,000,000,000 weights, and it holds fewer"),
        ("config", another_class, "."),
    ],
)
def test_a_damaged_or_prepared_file_is_one_line(part, change, reason, save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cli.UserError, match=rf"no Keras model can be read \(.*{reason}") as caught:
        load(save(**{part: change}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not (tmp_path / "sprung").exists()


def test_a_layer_whose_answer_is_larger_than_memory_is_refused(save):
    path = save(layers.RepeatVector(10**9), layers.GlobalMaxPooling1D())
    with pytest.raises(cli.UserError, match=r"the layer repeat_vector.* is too large"):
        load(path)


def test_a_layer_that_holds_code_is_refused_unrun(save, tmp_path):
    sprung = str(tmp_path / "sprung")
    path = save(layers.Lambda(lambda x: os.mkdir(sprung) or x, output_shape=(4,)))
    with pytest.raises(cli.UserError, match="no Keras model can be read"):
        load(path)
    assert not os.path.exists(sprung)


def test_what_was_laid_out_to_be_measured_takes_no_memory_afterwards(save):
    with pytest.raises(cli.UserError, match="its layers want"):
        load(save(config=larger))
    assert keras.Sequential([keras.Input((4,)), layers.Dense(3)]).count_params() == 15  # and no 60 GB
