import contextlib
import csv
import io
import json
import re

import gan_mnist
from common import cli, judge, mnist, results
from common.plots.gan_mnist import Snapshots, as_pixels

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

CARD = " ".join(gan_mnist.__doc__.split())
SMALL = ["--data", "digits", "--limit", "60", "--batch-size", "16", "--latent-dim", "4"]
PARAMETERS = {"dense": (109_456, 100_609), "conv": (853_889, 209_457)}
CONDITIONAL = {"dense": (110_736, 101_889), "conv": (856_449, 210_737)}


def small_gan(architecture="dense", generator_rate=0.01, discriminator_rate=0.01, classes=0):
    keras.utils.set_random_seed(0)
    gan = gan_mnist.GAN(*gan_mnist.build_networks(architecture, 4, classes))
    gan.compile(keras.optimizers.SGD(generator_rate), keras.optimizers.SGD(discriminator_rate))
    return gan


def some_images(rng, count=8):
    return tf.constant(rng.uniform(-1, 1, (count, 28, 28, 1)), "float32")


def weights(network):
    return [variable.numpy() for variable in network.trainable_variables]


def moved(before, network):
    return [not np.array_equal(old, new) for old, new in zip(before, weights(network), strict=True)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "LEAST_STEPS", 2)
        patch.setattr(gan_mnist, "SNAPSHOT_EVERY", 5)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            result = gan_mnist.main([*SMALL, "--steps", "12", "--out", str(out)])
    return {**result, "printed": printed.getvalue()}


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_parameters_and_shapes(architecture):
    networks = gan_mnist.build_generator(architecture), gan_mnist.build_discriminator(architecture)
    assert tuple(network.count_params() for network in networks) == PARAMETERS[architecture]
    for count in PARAMETERS[architecture]:
        assert f"{count:,}" in CARD
    assert [network.input_shape for network in networks] == [(None, 64), (None, 28, 28, 1)]
    assert [network.output_shape for network in networks] == [(None, 28, 28, 1), (None, 1)]


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_images_are_in_range(architecture, rng):
    generator = gan_mnist.build_generator(architecture)
    images = generator.predict(100 * rng.normal(size=(50, 64)), verbose=0)
    assert -1 <= images.min() < 0 < images.max() <= 1


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_one_step_moves_every_weight_of_both_networks(architecture, rng):
    gan = small_gan(architecture)
    before = weights(gan.generator), weights(gan.discriminator)
    statistics = [variable.numpy() for variable in gan.generator.non_trainable_variables]
    gan.train_step(some_images(rng))
    assert all(moved(before[0], gan.generator))
    assert all(moved(before[1], gan.discriminator))
    for old, new in zip(statistics, gan.generator.non_trainable_variables, strict=True):
        assert (old != new.numpy()).any(), "normalisation that is not frozen collects statistics"


@pytest.mark.parametrize("still", ["generator", "discriminator"])
def test_each_network_moves_only_by_its_own_optimizer(still, rng):
    gan = small_gan(**{f"{still}_rate": 0.0})
    other = {"generator": "discriminator", "discriminator": "generator"}[still]
    before = {name: weights(getattr(gan, name)) for name in (still, other)}
    gan.train_step(some_images(rng))
    assert not any(moved(before[still], getattr(gan, still)))
    assert all(moved(before[other], getattr(gan, other)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_follows_the_gradients_written_out_in_numpy(smoothing, rng, monkeypatch):
    """With one dense layer in each network, logits x w + b and images z W, both gradients fit on a line."""
    real = rng.uniform(-1, 1, (8, 28, 28, 1))
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(784, use_bias=False), layers.Reshape((28, 28, 1))])
    discriminator = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(1)])
    monkeypatch.setattr(gan_mnist, "LABEL_SMOOTHING", smoothing)
    gan = gan_mnist.GAN(generator, discriminator)
    gan.compile(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0))
    gan.noise_seed = keras.random.SeedGenerator(1)
    z = keras.random.normal((8, 3), seed=keras.random.SeedGenerator(1)).numpy().astype(float)
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


def test_both_losses_are_ln_2_while_the_discriminator_can_only_guess(rng):
    gan = small_gan()
    gan.discriminator.set_weights([np.zeros_like(array) for array in gan.discriminator.get_weights()])
    logs = gan.train_step(some_images(rng))
    assert [float(logs[name]) for name in ("d_loss", "g_loss")] == pytest.approx([np.log(2)] * 2)


def test_every_step_draws_new_noise_and_a_seed_repeats_it(rng):
    first, second = small_gan(), small_gan()
    real = some_images(rng)
    for gan in (first, second):
        gan.train_step(real)
    assert not any(moved(weights(first.generator), second.generator))
    still = small_gan(generator_rate=0.0, discriminator_rate=0.0)
    assert float(still.train_step(real)["g_loss"]) != float(still.train_step(real)["g_loss"])


def test_two_hundred_steps_pull_the_images_towards_the_only_one_there_is(rng):
    digit = 2 * mnist.as_images(mnist.load_mnist("digits", 1).x_train) - 1  # (1, 28, 28, 1)
    keras.utils.set_random_seed(0)
    generator = gan_mnist.build_generator(latent_dim=4)
    gan = gan_mnist.GAN(generator, gan_mnist.build_discriminator())
    gan.compile(keras.optimizers.Adam(3e-3, 0.5), keras.optimizers.Adam(3e-3, 0.5))
    noise = rng.normal(size=(50, 4))
    before = np.mean((generator.predict(noise, verbose=0) - digit) ** 2)
    gan.fit(np.repeat(digit, 3200, axis=0), batch_size=16, verbose=0)  # 200 steps
    assert np.mean((generator.predict(noise, verbose=0) - digit) ** 2) < before / 4


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")  # all that Keras says of it
def test_the_classic_recipe_still_leaves_its_discriminator_untrained(rng):
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
        noise = rng.normal(size=(16, 4)).astype("float32")
        images = np.concatenate([rng.uniform(-1, 1, (16, 28, 28, 1)), generator.predict(noise, verbose=0)])
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
    assert {path.name for path in folder.iterdir()} == {
        "generator.keras", "discriminator.keras", "generator.png", "discriminator.png", "samples.png", "snapshots",
        "training_curves.png", "training.gif", "history.csv", "result.json",
    }  # fmt: skip
    steps = [f"{step:07d}" for step in range(0, 13, 2)]
    assert sorted(path.name for path in (folder / "snapshots").iterdir()) == [
        "frames.npz", *(f"step_{step}.png" for step in steps)
    ]  # fmt: skip
    with Image.open(folder / "training.gif") as gif:
        assert gif.n_frames == 7
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["2", "4", "6", "8", "10", "12"]
    assert rows[0].keys() >= {"d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake"}


def test_the_saved_networks_are_plain_ones_in_float32(trained):
    for name in ("generator", "discriminator"):
        network = keras.models.load_model(trained["folder"] / f"{name}.keras")
        assert type(network) is keras.Sequential
        assert {variable.dtype for variable in network.variables} == {"float32"}


def test_the_closing_lines_set_the_images_beside_untrained_and_real_ones(trained):
    result, printed = trained, trained["printed"]
    assert re.search(r"the judge .+ generated +untrained +real +best\n", printed)
    row = re.search(r"frechet distance +([\d.]+) +([\d.]+) +([\d.]+) +0\n", printed)
    expected = [result[key] for key in ("frechet_distance", "frechet_untrained", "frechet_floor")]
    assert [float(number) for number in row.groups()] == pytest.approx(expected, rel=1e-3)
    assert f"python paint_digits.py {cli.relative(result['folder'] / 'generator.keras')} " in printed
    last = printed.splitlines()[-1]
    assert last.startswith(f"Classifier score: {result['classifier_score']:.2f} of 10, Frechet distance: ")
    assert f" | untrained: score 1.0, distance {result['frechet_untrained']:.0f} | " in last


@pytest.mark.slow
def test_one_image_and_a_diverged_training_still_end_in_a_result(capsys, monkeypatch):
    monkeypatch.setitem(gan_mnist.LEARNING_RATE, "dense", 1e30)
    result = gan_mnist.main(["--data", "digits", "--limit", "1", "--steps", "4"])
    assert np.isnan(result["frechet_floor"]), "one image has no spread"
    assert np.isnan(result["frechet_distance"]), "a picture of nan is near to nothing"
    assert json.loads((result["folder"] / "result.json").read_text())["frechet_distance"] is None
    assert (result["folder"] / "training.gif").exists()
    assert capsys.readouterr().err == ""


def test_snapshots_paint_the_same_noise(tmp_path, rng):
    gan = small_gan()
    noise = rng.normal(size=(9, 4)).astype("float32")
    snapshots = Snapshots(noise, tmp_path / "snapshots", judge=None)
    expected = [gan.generator.predict(noise, verbose=0)]
    gan.fit(some_images(rng, 16), batch_size=4, verbose=0, callbacks=[snapshots])
    expected.append(gan.generator.predict(noise, verbose=0))
    assert snapshots.steps == [0, 4]
    for (images, _), known in zip(snapshots.frames, expected, strict=True):
        np.testing.assert_array_equal(images, as_pixels(known))


def test_a_training_that_goes_on_paints_anew_what_came_after_its_checkpoint(tmp_path, rng):
    gan, images, noise = small_gan(), some_images(rng), rng.normal(size=(9, 4)).astype("float32")
    gan.fit(images, batch_size=4, verbose=0, callbacks=[Snapshots(noise, tmp_path / "snapshots", judge=None)])
    gan.optimizer.iterations.assign(1)  # as the recorder does, to where its checkpoint is
    resumed = Snapshots(noise, tmp_path / "snapshots", judge=None)
    gan.fit(images, batch_size=4, verbose=0, callbacks=[resumed])
    assert resumed.steps == [0, 3], "2 is gone"
    assert len(resumed.frames) == 2


def test_a_judge_of_ones_own_is_taken_and_label_smoothing_reaches_the_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(gan_mnist, "LABEL_SMOOTHING", 0.9)
    path, digits = tmp_path / "judge.keras", mnist.load_mnist("digits")
    classifier = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, activation="softmax")])
    classifier.save(path)
    believed = classifier.predict(mnist.as_images(digits.x_test), verbose=0)
    result = gan_mnist.main([*SMALL, "--steps", "20", "--judge", str(path)])
    assert result["judge_accuracy"] == np.mean(believed.argmax(axis=1) == digits.y_test)
    assert result["d_accuracy_real"] < 0.1, "its target for real images is 0.1"


def test_a_full_disk_costs_snapshots_and_not_the_training(tmp_path, monkeypatch, capsys):
    def full(path, **arrays):
        raise OSError(28, "No space left on device")

    gan = gan_mnist.GAN(gan_mnist.build_generator(latent_dim=4), gan_mnist.build_discriminator())
    gan.compile(keras.optimizers.Adam(), keras.optimizers.Adam())
    snapshots = Snapshots(np.zeros((2, 4)), tmp_path / "out" / "snapshots", judge=None)
    snapshots.set_model(gan)
    monkeypatch.setattr(np, "savez_compressed", full)
    snapshots.on_train_begin()
    assert "frames.npz was not drawn: [Errno 28] No space left on device\n" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out" / "snapshots").iterdir()] == ["step_0000000.png"]
    assert len(snapshots.frames) == 1


def test_a_wrong_judge_ends_the_run_before_the_training(tmp_path):
    with pytest.raises(cli.UserError, match=r"nowhere.keras: there is no such file"):
        gan_mnist.main([*SMALL, "--judge", "nowhere.keras", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "history.csv").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--steps 0", "--steps: expected a whole number of at least 1"),
        ("--latent-dim 0", "--latent-dim: expected"),
        ("--architecture round", "choose from .*dense.*conv"),
        ("--device cpu:2", "--device cpu:2: the GAN's train_step is written for one processor"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_is_written(argv, message):
    with pytest.raises(cli.UserError, match=message):
        gan_mnist.main(["--data", "digits", *argv.split()])
    assert not results.RUNS_DIR.exists()


def test_each_architecture_has_its_own_defaults_and_flags_override_them():
    for architecture in PARAMETERS:
        args = gan_mnist.parse(["--architecture", architecture])
        assert (args.steps, args.batch_size) == (gan_mnist.STEPS[architecture], gan_mnist.BATCH_SIZE[architecture])
    args = gan_mnist.parse(["--architecture", "conv", "--steps", "7", "--batch-size", "5"])
    assert (args.steps, args.batch_size) == (7, 5)


@pytest.mark.parametrize("architecture", CONDITIONAL)
def test_with_labels_both_networks_have_a_second_input_and_learn_from_it(architecture, rng):
    networks = gan_mnist.build_networks(architecture, classes=10)
    assert tuple(network.count_params() for network in networks) == CONDITIONAL[architecture]
    for count in CONDITIONAL[architecture]:
        assert f"{count:,}" in CARD
    assert [network.input_shape for network in networks] == [[(None, 64), (None, 10)], [(None, 28, 28, 1), (None, 10)]]
    gan = small_gan(architecture, classes=3)
    before = weights(gan.generator), weights(gan.discriminator)
    labels = tf.one_hot([0, 1, 2, 0, 1, 2, 0, 1], 3)  # (8, 3)
    gan.train_step((some_images(rng), labels))
    assert all(moved(before[0], gan.generator))
    assert all(moved(before[1], gan.discriminator))


def test_a_label_adds_the_product_of_its_vector_and_the_features(rng):
    _, discriminator = gan_mnist.build_networks(classes=3)
    images = some_images(rng, 5)
    logits = [discriminator([images, tf.one_hot([label] * 5, 3)]).numpy() for label in range(3)]  # (5, 1) each
    trained = [layer for layer in discriminator.layers if layer.count_params()]
    first, vectors, answer = sorted(trained, key=lambda layer: -layer.count_params())
    features = first(tf.reshape(images, (5, 784))).numpy()  # (5, 128)
    features = np.where(features > 0, features, 0.01 * features)
    for label, logit in enumerate(logits):
        expected = answer(features) + features @ vectors.kernel.numpy()[label][:, None]
        np.testing.assert_allclose(logit, expected, atol=1e-4)


def test_a_conditional_generator_learns_which_digit_is_which(rng):
    pair = 2 * mnist.as_images(mnist.load_mnist("digits", 2).x_train) - 1  # (2, 28, 28, 1): two digits
    keras.utils.set_random_seed(0)
    gan = gan_mnist.GAN(*gan_mnist.build_networks(latent_dim=4, classes=2))
    gan.compile(keras.optimizers.Adam(3e-3, 0.5), keras.optimizers.Adam(3e-3, 0.5))
    gan.fit(np.tile(pair, (1600, 1, 1, 1)), np.tile(np.eye(2), (1600, 1)), batch_size=16, verbose=0)  # 200 steps
    for label in range(2):
        ordered = [rng.normal(size=(20, 4)), np.eye(2)[[label] * 20]]
        images = gan.generator.predict(ordered, verbose=0)
        distances = [np.mean((images - digit) ** 2) for digit in pair]
        assert distances[label] < distances[1 - label] / 2


def test_a_conditional_run_tells_at_each_snapshot_how_often_it_obeys(capsys, monkeypatch):
    monkeypatch.setattr(gan_mnist, "SNAPSHOT_EVERY", 5)
    result = gan_mnist.main([*SMALL, "--steps", "12", "--conditional"])
    folder, count = result["folder"], len(mnist.load_mnist("digits").x_test)
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [0 <= float(row["ordered_digit_right"]) <= 1 for row in rows] == [True] * 6
    assert np.load(folder / "snapshots" / "frames.npz")["pixels"].shape == (7, 80, 28, 28, 1)
    assert float(rows[-1]["ordered_digit_right"]) == pytest.approx(result["ordered_digit_right"]), "360 of 360 images"
    printed = capsys.readouterr()
    assert f"ordered digit right: {result['ordered_digit_right']:.1%} on " in printed.out.splitlines()[-1]
    assert printed.out.count("generator.keras --digit 7") == 1
    assert printed.err == ""
    generator = keras.models.load_model(folder / "generator.keras")
    noise = np.random.default_rng(0).standard_normal((count, 4)).astype("float32")
    shown = as_pixels(generator.predict([np.tile(noise[:8], (10, 1)), np.eye(10).repeat(8, axis=0)], verbose=0))
    last = np.load(folder / "snapshots" / "frames.npz")["pixels"][-1]
    assert np.abs(last.astype(int) - shown).max() <= 1, "a digit in each row, a noise in each column"


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "right"), [("dense", 0.92), ("conv", 0.98)])
def test_the_card_tells_the_truth_about_orders(architecture, right):
    result = gan_mnist.main(["--data", "mnist", "--conditional", "--architecture", architecture])
    assert result["ordered_digit_right"] >= right


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "seeds", "least"), [("dense", 3, 6), ("conv", 1, 8.5)])
def test_the_card_tells_the_truth_about_mnist(architecture, seeds, least):
    number = r"([\d.]+(?: [\d.]+)*)"
    printed = re.search(f"{architecture} classifier score {number}, Frechet distance {number}", CARD).groups()
    scores, distances = (series.split() for series in printed)
    for seed in range(seeds):
        result = gan_mnist.main(["--data", "mnist", "--seed", str(seed), "--architecture", architecture])
        assert result["judge_accuracy"] >= 0.99
        assert result["classes_covered"] == 10
        assert result["classifier_score"] >= least
        assert result["classifier_score"] == pytest.approx(float(scores[seed]), abs=0.3)
        assert result["frechet_distance"] == pytest.approx(float(distances[seed]), rel=0.3)
