import json
import re

import mode_collapse

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

CARD = " ".join(mode_collapse.__doc__.split())


def test_parameters():
    discriminators = [mode_collapse.build_discriminator(minibatch) for minibatch in (False, True)]
    networks = mode_collapse.build_generator(), *discriminators
    assert [network.count_params() for network in networks] == [17_154, 17_025, 21_129]
    for network in networks:
        assert f"{network.count_params():,}" in CARD


def test_minibatch_discrimination_is_what_a_loop_over_pairs_says_and_one_if_all_points_are_alike(rng):
    keras.utils.set_random_seed(0)
    layer = mode_collapse.MinibatchDiscrimination()
    features = rng.normal(size=(5, 128)).astype("float32")
    answer = layer(features).numpy()
    projected = (features @ layer.project.kernel.numpy()).reshape(5, mode_collapse.KERNELS, mode_collapse.DIMENSIONS)
    for i in range(5):
        for kernel in range(mode_collapse.KERNELS):
            near = [np.exp(-np.abs(projected[i, kernel] - projected[j, kernel]).sum()) for j in range(5)]
            assert answer[i, 128 + kernel] == pytest.approx(np.mean(near), rel=1e-4)
    np.testing.assert_array_equal(answer[:, :128], features)
    np.testing.assert_allclose(layer(np.ones((50, 128), "float32"))[:, 128:], 1, rtol=1e-5)


def test_real_points_cover_eight_modes_and_a_collapsed_generators_one(rng):
    noise = mode_collapse.SPREAD * rng.standard_normal((8000, 2))
    modes, fraction = mode_collapse.modes_covered(np.tile(mode_collapse.MODES, (1000, 1)) + noise)
    assert modes == 8
    assert fraction == pytest.approx(1 - np.exp(-4.5), abs=0.005), "within 3 standard deviations in a plane: 98.9 %"
    assert mode_collapse.modes_covered(mode_collapse.MODES[[3]] + noise)[0] == 1
    assert mode_collapse.modes_covered(np.zeros((100, 2))) == (0, 0.0)


@pytest.mark.slow
def test_a_run_trains_each_kind_with_each_seed(capsys):
    result = mode_collapse.main("--steps 10 --seeds 2 --seed 5".split())
    written = json.loads((result["folder"] / "result.json").read_text())
    assert written["modes"].keys() == written["in_a_mode"].keys() == mode_collapse.KINDS.keys()
    assert {len(values) for values in written["modes"].values()} == {2}
    assert {path.name for path in result["folder"].iterdir()} == {
        "generator.keras", "generator.png", "rings.png", "history.csv", "result.json",
    }
    printed = capsys.readouterr()
    assert len(re.findall(r"seed [56]: \d of 8 modes", printed.out)) == 6
    assert printed.err == ""


def test_the_kinds_differ_in_what_they_say_they_do():
    weights = {}
    for kind, (minibatch, penalty) in mode_collapse.KINDS.items():
        keras.utils.set_random_seed(0)
        gan = mode_collapse.GAN(mode_collapse.build_generator(), mode_collapse.build_discriminator(minibatch), penalty)
        gan.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
        gan.train_step(tf.constant(mode_collapse.MODES, "float32"))
        weights[kind] = gan.discriminator.layers[0].kernel.numpy()
    assert (weights["plain"] != weights["R1"]).any()
    assert (weights["plain"] != weights["minibatch discrimination"]).any()


@pytest.mark.slow
def test_the_card_tells_the_truth():
    result = mode_collapse.main([])
    for kind, modes in result["modes"].items():
        printed = re.search(rf"{kind} ((?:\d ?)+)", CARD)[1].split()
        assert np.mean(modes) == pytest.approx(np.mean([int(number) for number in printed]), abs=2)
