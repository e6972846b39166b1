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
    assert f"9: {np.sum(digits.y_test == 9)}}}" in printed
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written["test_labels"]["9"] == np.sum(digits.y_test == 9)
    assert {path.name for path in result["folder"].glob("*.png")} == {"samples.png", "three_views.png"}


@pytest.mark.slow
def test_the_label_counts_are_the_documents(capsys, tmp_path):
    mnist_sampler.main(["--data", "mnist", "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.splitlines()[1:3] == [  # document 003, Listing 3.6
        "Train labels: {0: 5923, 1: 6742, 2: 5958, 3: 6131, 4: 5842, 5: 5421, 6: 5918, 7: 6265, 8: 5851, 9: 5949}",
        "Test labels: {0: 980, 1: 1135, 2: 1032, 3: 1010, 4: 982, 5: 892, 6: 958, 7: 1028, 8: 974, 9: 1009}",
    ]
