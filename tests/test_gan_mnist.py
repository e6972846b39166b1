import csv
import json
import re
from pathlib import Path

import cnn_mnist
import gan_mnist
from common import cli, grids, mnist

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

CARD = " ".join(gan_mnist.__doc__.split())
CODE = Path(gan_mnist.__file__).read_text(encoding="utf-8")
SMALL = ["--data", "digits", "--limit", "60", "--batch-size", "16", "--latent-dim", "4"]
PARAMETERS = {"dense": (109_456, 100_609), "conv": (853_889, 209_457)}
RNG = np.random.default_rng(0)


def small_gan(architecture="dense", generator_rate=0.01, discriminator_rate=0.01, **options):
    keras.utils.set_random_seed(0)
    generator = gan_mnist.build_generator(architecture, 4)
    gan = gan_mnist.GAN(generator, gan_mnist.build_discriminator(architecture), **options)
    gan.compile(keras.optimizers.SGD(generator_rate), keras.optimizers.SGD(discriminator_rate))
    return gan


def weights(network):
    return [variable.numpy() for variable in network.trainable_variables]


def moved(before, network):
    return [not np.array_equal(old, new) for old, new in zip(before, weights(network), strict=True)]


@pytest.fixture(scope="session")  # once in each process, whatever order xdist takes the tests in
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_mnist, "JUDGE_LEAST_STEPS", 2)
        return gan_mnist.main([*SMALL, "--steps", "12", "--snapshot-every", "5", "--out", str(out)])


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_parameters_and_shapes(architecture):
    networks = gan_mnist.build_generator(architecture), gan_mnist.build_discriminator(architecture)
    assert tuple(network.count_params() for network in networks) == PARAMETERS[architecture]
    for count in PARAMETERS[architecture]:
        assert f"{count:,}" in CARD
    assert [network.input_shape for network in networks] == [(None, 64), (None, 28, 28, 1)]
    assert [network.output_shape for network in networks] == [(None, 28, 28, 1), (None, 1)]
    for layer in (layer for network in [*networks, gan_mnist.build_judge()] for layer in network.layers):
        if layer.count_params():
            assert f"  {layer.count_params():,} = " in CODE


def test_every_formula_on_a_layers_line_gives_its_number():
    formulas = re.findall(r"\)  ([\d,]+) = ([\dx*+() ]+)", CODE)
    assert len(formulas) >= 12
    for total, formula in formulas:
        assert eval(formula.replace("x", "*")) == int(total.replace(",", ""))


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_images_are_in_range(architecture):
    generator = gan_mnist.build_generator(architecture)
    images = generator.predict(100 * RNG.normal(size=(50, 64)), verbose=0)
    assert -1 <= images.min() < 0 < images.max() <= 1


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_one_step_moves_every_weight_of_both_networks(architecture):
    gan = small_gan(architecture)
    before = weights(gan.generator), weights(gan.discriminator)
    statistics = [variable.numpy() for variable in gan.generator.non_trainable_variables]
    gan.train_step(tf.constant(RNG.uniform(-1, 1, (8, 28, 28, 1)), "float32"))
    assert all(moved(before[0], gan.generator))
    assert all(moved(before[1], gan.discriminator))
    for old, new in zip(statistics, gan.generator.non_trainable_variables, strict=True):
        assert "seed" in new.path or (old != new.numpy()).any(), "normalisation that is not frozen collects statistics"


@pytest.mark.parametrize("still", ["generator", "discriminator"])
def test_each_network_moves_only_by_its_own_optimizer(still):
    gan = small_gan(**{f"{still}_rate": 0.0})
    other = {"generator": "discriminator", "discriminator": "generator"}[still]
    before = {name: weights(getattr(gan, name)) for name in (still, other)}
    gan.train_step(tf.constant(RNG.uniform(-1, 1, (8, 28, 28, 1)), "float32"))
    assert not any(moved(before[still], getattr(gan, still)))
    assert all(moved(before[other], getattr(gan, other)))


def test_a_step_in_float16_goes_where_one_in_float32_does():
    real = tf.constant(RNG.uniform(-1, 1, (8, 28, 28, 1)), "float32")
    steps = {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(0)
        gan = gan_mnist.GAN(gan_mnist.build_generator(), gan_mnist.build_discriminator())
        gan.compile(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0))
        before = weights(gan.generator) + weights(gan.discriminator)
        gan.train_step(real)
        after = weights(gan.generator) + weights(gan.discriminator)
        steps[policy] = np.concatenate([(new - old).ravel() for old, new in zip(before, after, strict=True)])
    difference = np.linalg.norm(steps["mixed_float16"] - steps["float32"])
    assert difference < 0.02 * np.linalg.norm(steps["float32"])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_follows_the_gradients_written_out_in_numpy(smoothing, monkeypatch):
    """With one dense layer in each network, logits x w + b and images z W, both gradients fit on a line."""
    z, real = RNG.normal(size=(8, 3)), RNG.uniform(-1, 1, (8, 28, 28, 1))
    monkeypatch.setattr(keras.random, "normal", lambda shape, seed: keras.ops.convert_to_tensor(z[None], "float32"))
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(784, use_bias=False), layers.Reshape((28, 28, 1))])
    discriminator = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(1)])
    gan = gan_mnist.GAN(generator, discriminator, label_smoothing=smoothing)
    gan.compile(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0))
    (W,), (w, b) = weights(generator), weights(discriminator)
    logs = gan.train_step(tf.constant(real, "float32"))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    x, fake = real.reshape(8, 784), z @ W
    d_real, d_fake = sigmoid(x @ w + b), sigmoid(fake @ w + b)  # (8, 1) each
    d_loss = -np.mean((1 - smoothing) * np.log(d_real) + smoothing * np.log(1 - d_real) + np.log(1 - d_fake)) / 2
    assert float(logs["d_loss"]) == pytest.approx(d_loss, rel=1e-4)
    assert float(logs["g_loss"]) == pytest.approx(-np.mean(np.log(d_fake)), rel=1e-4)
    assert float(logs["d_accuracy_real"]) == pytest.approx(np.mean(d_real > 0.5))
    assert float(logs["d_accuracy_fake"]) == pytest.approx(np.mean(d_fake < 0.5))
    errors_real, errors_fake = (d_real - 1 + smoothing) / 16, d_fake / 16
    gradient_w = x.T @ errors_real + fake.T @ errors_fake + gan_mnist.PENALTY * w  # |dD/dx|^2 = |w|^2
    gradient_W = z.T @ ((d_fake - 1) / 8 @ w.T)
    np.testing.assert_allclose(weights(discriminator)[0], w - gradient_w, atol=1e-5)
    np.testing.assert_allclose(weights(discriminator)[1], b - np.sum(errors_real + errors_fake), atol=1e-5)
    np.testing.assert_allclose(weights(generator)[0], W - gradient_W, atol=1e-5)


def test_two_hundred_steps_pull_the_images_towards_the_only_one_there_is():
    digit = 2 * mnist.as_images(mnist.load_mnist("digits", 1).x_train) - 1  # (1, 28, 28, 1)
    keras.utils.set_random_seed(0)
    generator = gan_mnist.build_generator(latent_dim=4)
    gan = gan_mnist.GAN(generator, gan_mnist.build_discriminator())
    gan.compile(keras.optimizers.Adam(3e-3, 0.5), keras.optimizers.Adam(3e-3, 0.5))
    noise = RNG.normal(size=(50, 4))
    before = np.mean((generator.predict(noise, verbose=0) - digit) ** 2)
    gan.fit(np.repeat(digit, 3200, axis=0), batch_size=16, verbose=0)  # 200 steps
    assert np.mean((generator.predict(noise, verbose=0) - digit) ** 2) < before / 4


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")  # all that Keras says of it
def test_the_classic_recipe_still_leaves_its_discriminator_untrained():
    """The trap that the script tells of. If this fails, Keras trains the classic recipe again: tell the reader so."""
    keras.utils.set_random_seed(0)
    generator = gan_mnist.build_generator(latent_dim=4)
    discriminator = keras.Sequential([*gan_mnist.build_discriminator().layers, layers.Activation("sigmoid")])
    discriminator.build((None, 28, 28, 1))
    discriminator.compile("adam", "binary_crossentropy")
    discriminator.trainable = False
    both = keras.Sequential([generator, discriminator])
    both.compile("adam", "binary_crossentropy")
    untrained = discriminator.get_weights(), generator.get_weights()
    losses = []
    for _ in range(5):
        noise = RNG.normal(size=(16, 4)).astype("float32")
        images = np.concatenate([RNG.uniform(-1, 1, (16, 28, 28, 1)), generator.predict(noise, verbose=0)])
        losses.append(discriminator.train_on_batch(images, np.repeat([[1.0], [0.0]], 16, axis=0)))
        losses.append(both.train_on_batch(noise, np.ones((16, 1))))
    assert all(0.1 < loss < 3 for loss in losses), "plausible"
    for before, after in zip(untrained[0], discriminator.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert any((before != after).any() for before, after in zip(untrained[1], generator.get_weights(), strict=True))


def test_a_run_leaves_networks_pictures_and_judgement(trained):
    folder = trained["folder"]
    written = json.loads((folder / "result.json").read_text())
    keys = (
        "confident_share classes_covered class_entropy classifier_score frechet_distance frechet_floor "
        "frechet_untrained d_accuracy_real d_accuracy_fake steps_per_second judge_accuracy"
    )
    assert written.keys() >= set(keys.split())
    assert (written["steps"], written["parameters"]) == (12, sum(map(keras.Model.count_params, (
        gan_mnist.build_generator("dense", 4), gan_mnist.build_discriminator()))))  # fmt: skip
    assert written["frechet_floor"] < written["frechet_untrained"]
    discriminator = keras.models.load_model(folder / "discriminator.keras")
    real = 2 * mnist.as_images(mnist.load_mnist("digits").x_test) - 1
    assert written["d_accuracy_real"] == pytest.approx(np.mean(discriminator.predict(real, verbose=0) > 0))
    noise = np.random.default_rng(0).standard_normal((len(real), 4))
    fake = keras.models.load_model(folder / "generator.keras").predict(noise, verbose=0)
    assert written["d_accuracy_fake"] == pytest.approx(np.mean(discriminator.predict(fake, verbose=0) < 0), abs=0.01)
    assert written["steps_per_second"] == pytest.approx(12 / written["seconds_training"])
    names = {path.name for path in folder.iterdir()}
    assert names >= {"generator.keras", "discriminator.keras", "generator.png", "discriminator.png", "samples.png"}
    assert "training_curves.png" in names
    steps = ["0000000", "0000005", "0000010", "0000012"]
    assert sorted(path.stem for path in (folder / "snapshots").iterdir()) == [f"step_{step}" for step in steps]
    with Image.open(folder / "training.gif") as gif:
        assert gif.n_frames == 4
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["5", "10", "12"]
    assert rows[0].keys() >= {"d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake"}


@pytest.mark.parametrize("architecture", [pytest.param("dense", marks=pytest.mark.slow), "conv"])
def test_the_closing_lines_set_the_images_beside_untrained_and_real_ones(architecture, capsys):
    result = gan_mnist.main([*SMALL, "--steps", "3", "--architecture", architecture])
    printed = capsys.readouterr().out
    assert re.search(r"the judge .+ generated +untrained +real +best\n", printed)
    row = re.search(r"frechet distance +([\d.]+) +([\d.]+) +([\d.]+) +0\n", printed)
    assert str(cli.relative(result["folder"] / "generator.keras")) in printed
    expected = [result[key] for key in ("frechet_distance", "frechet_untrained", "frechet_floor")]
    assert [float(number) for number in row.groups()] == pytest.approx(expected, rel=1e-3)
    assert printed.splitlines()[-1].startswith(f"Classifier score: {result['classifier_score']:.2f} of 10, Frechet")


def test_one_image_and_a_diverged_training_still_end_in_a_result(capsys, monkeypatch):
    monkeypatch.setitem(gan_mnist.RECIPES["dense"], "learning_rate", 1e30)
    result = gan_mnist.main(["--data", "digits", "--limit", "1", "--steps", "4"])
    assert np.isnan(result["frechet_floor"]), "one image has no spread"
    assert np.isnan(result["frechet_distance"]), "a picture of nan is near to nothing"
    assert json.loads((result["folder"] / "result.json").read_text())["frechet_distance"] is None
    assert (result["folder"] / "training.gif").exists()
    assert capsys.readouterr().err == ""


def test_label_smoothing_reaches_the_network(compiled):
    gan, _ = compiled(gan_mnist.main, [*SMALL, "--label-smoothing", "0.2"], gan_mnist.GAN)
    assert gan.label_smoothing == 0.2


def test_snapshots_paint_the_same_noise(tmp_path):
    gan = small_gan()
    noise = RNG.normal(size=(9, 4)).astype("float32")
    snapshots = gan_mnist.Snapshots(1000, noise, tmp_path / "snapshots")
    expected = [gan.generator.predict(noise, verbose=0)]
    gan.fit(RNG.uniform(-1, 1, (16, 28, 28, 1)).astype("float32"), batch_size=4, verbose=0, callbacks=[snapshots])
    expected.append(gan.generator.predict(noise, verbose=0))
    assert snapshots.steps == [0, 4]
    for (images, _), known in zip(snapshots.frames, expected, strict=True):
        np.testing.assert_array_equal(images, grids.as_pixels(known))


def test_the_judge_learns_to_read():
    digits = mnist.load_mnist("digits")
    keras.utils.set_random_seed(0)
    believed = gan_mnist.train_judge(digits).predict(mnist.as_images(digits.x_test), verbose=0)
    assert np.mean(believed.argmax(axis=1) == digits.y_test) > 0.85


def test_real_images_are_near_the_floor_and_noise_is_not():
    digits = mnist.load_mnist("digits")
    keras.utils.set_random_seed(0)
    judge = gan_mnist.with_features(gan_mnist.train_judge(digits))
    _, real_features = judge.predict(mnist.as_images(digits.x_test), verbose=0)
    real = gan_mnist.evaluate(judge, mnist.as_images(digits.x_train), real_features)
    noise = gan_mnist.evaluate(judge, RNG.uniform(0, 1, (500, 28, 28, 1)), real_features)
    one = gan_mnist.evaluate(judge, np.repeat(mnist.as_images(digits.x_train[:1]), 500, axis=0), real_features)
    assert (real["classes_covered"], one["classes_covered"], one["class_entropy"]) == (10, 1, 0)
    assert real["classifier_score"] > 7
    assert one["classifier_score"] == pytest.approx(1, abs=0.01)
    assert 20 * real["frechet_distance"] < min(noise["frechet_distance"], one["frechet_distance"])


def test_a_judge_of_the_cnn_script_is_taken(trained, capsys):
    cnn = cnn_mnist.main(["--data", "digits", "--limit", "60", "--epochs", "1", "--filters", "4", "4"])
    result = gan_mnist.main([*SMALL, "--steps", "2", "--judge", str(cnn["folder"] / "model.keras")])
    assert result["judge_accuracy"] == pytest.approx(cnn["test_accuracy"])
    assert "learns to read" not in capsys.readouterr().out
    logits = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, bias_initializer="ones")])
    logits.save(cnn["folder"] / "logits.keras")
    for judge, message in (
        (cnn["folder"] / "logits.keras", "its ten answers are no probabilities"),
        (trained["folder"] / "generator.keras", r"not a classifier of \(None, 28, 28, 1\) into \(None, 10\)"),
        (trained["folder"] / "result.json", "no Keras model can be read"),
        (trained["folder"] / "nowhere.keras", "no Keras model can be read"),
        (trained["folder"], "no Keras model can be read"),
    ):
        with pytest.raises(cli.UserError, match=message):
            gan_mnist.main([*SMALL, "--judge", str(judge)])


def test_a_saved_generator_paints_and_walks(trained, capsys):
    model = str(trained["folder"] / "generator.keras")
    result = gan_mnist.main(["--model", model, "--generate", "9", "--interpolate", "--seed", "3"])
    images = np.load(result["folder"] / "generated.npz")["images"]
    assert (images.shape, images.dtype) == ((9, 28, 28, 1), np.uint8)
    noise = np.random.default_rng(3).standard_normal((9, 4))
    expected = keras.models.load_model(model).predict(noise, verbose=0)
    assert np.abs(images / 127.5 - 1 - expected).max() < 1 / 127
    assert {path.name for path in result["folder"].iterdir()} == {
        "generated.npz", "generated.png", "interpolation.png", "result.json",
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1].endswith(str(cli.relative(result["folder"])))


def test_a_walk_leads_from_one_image_to_another(trained, monkeypatch):
    shown = []
    monkeypatch.setattr(grids, "grid", lambda path, images, title, columns: shown.append(images))
    gan_mnist.main(["--model", str(trained["folder"] / "generator.keras"), "--interpolate"])
    start, end = np.random.default_rng(0).standard_normal((2, 8, 1, 4))
    generator = keras.models.load_model(trained["folder"] / "generator.keras")
    rows = shown[0].reshape(8, 10, 28, 28, 1)
    for column, noise in ((0, start), (-1, end)):
        expected = grids.as_pixels(generator.predict(noise[:, 0], verbose=0)).astype(int)
        assert np.abs(rows[:, column] - expected).max() <= 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--steps 0", "--steps: expected a whole number of at least 1"),
        ("--latent-dim 0", "--latent-dim: expected"),
        ("--label-smoothing 1", "--label-smoothing: expected a number of at least 0 and below 1"),
        ("--architecture round", "choose from .*dense.*conv"),
        ("--generate 4", "--generate and --interpolate need a trained generator"),
        ("--model generator.keras", "and --model one of them"),
        ("--model nowhere.keras --generate 4", "nowhere.keras: no Keras model can be read"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        gan_mnist.main(["--data", "digits", *argv.split()])
    assert not cli.RUNS_DIR.exists()


def test_a_classifier_is_no_generator_and_neither_is_a_network_with_two_inputs(trained, tmp_path):
    first, second = keras.Input((4,)), keras.Input((3,))
    images = layers.Reshape((28, 28, 1))(layers.Dense(784)(layers.Concatenate()([first, second])))
    keras.Model([first, second], images).save(tmp_path / "two.keras")
    for model in (trained["folder"] / "discriminator.keras", tmp_path / "two.keras"):
        with pytest.raises(cli.UserError, match=r"not a generator of \(None, 28, 28, 1\) from \(None, N\)"):
            gan_mnist.main(["--model", str(model), "--generate", "4"])


def test_a_generator_needs_its_device_too(trained):
    with pytest.raises(cli.UserError, match="finds no tpu here"):
        gan_mnist.main(["--model", str(trained["folder"] / "generator.keras"), "--generate", "4", "--device", "tpu"])


def test_each_architecture_has_its_own_defaults_and_flags_override_them():
    for architecture, recipe in gan_mnist.RECIPES.items():
        args = gan_mnist.parse(["--architecture", architecture])
        assert (args.steps, args.batch_size) == (recipe["steps"], recipe["batch_size"])
    args = gan_mnist.parse(["--architecture", "conv", "--steps", "7", "--batch-size", "5"])
    assert (args.steps, args.batch_size) == (7, 5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_card_tells_the_truth_about_mnist(seed):
    results = {}
    for architecture, least, longest in (("dense", 6, 3 * 60), ("conv", 8.5, 10 * 60)):
        result = results[architecture] = gan_mnist.main(
            ["--data", "mnist", "--seed", str(seed), "--architecture", architecture]
        )
        numbers = re.search(rf"{architecture} classifier score ([\d. ]+), Frechet distance ([\d. ]+),", CARD).groups()
        score, distance = (float(series.split()[seed]) for series in numbers)
        assert result["judge_accuracy"] >= 0.99
        assert result["classes_covered"] == 10
        assert result["classifier_score"] >= least
        assert result["classifier_score"] == pytest.approx(score, abs=0.3)
        assert result["frechet_distance"] == pytest.approx(distance, rel=0.3)
        assert result["seconds_training"] < 2 * longest, "on a machine that others use too"
    assert results["conv"]["frechet_distance"] <= results["dense"]["frechet_distance"] / 5
