import json

import mnist_sampler
from common import mnist

import numpy as np
import pytest


def test_the_sampler_counts_labels_and_draws_what_each_network_sees(capsys):
    result = mnist_sampler.main(["--data", "digits"])
    digits = mnist.load_mnist("digits")
    printed = capsys.readouterr().out
    assert f"Train labels: {{0: {np.sum(digits.y_train == 0)}, 1: {np.sum(digits.y_train == 1)}," in printed
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written["test_labels"]["9"] == np.sum(digits.y_test == 9)
    assert {path.name for path in result["folder"].glob("*.png")} == {"samples.png", "three_views.png"}


@pytest.mark.slow
def test_the_label_counts_are_the_documents_and_the_cards(tmp_path):
    result = mnist_sampler.main(["--data", "mnist", "--out", str(tmp_path / "out")])
    train, test = (list(result[name].values()) for name in ("train_labels", "test_labels"))
    assert train == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # document 003, Listing 3.6
    assert test == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    for count in (min(train), max(train), min(test), max(test)):
        assert f" {count:,} " in mnist_sampler.__doc__
