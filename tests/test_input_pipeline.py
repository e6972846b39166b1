"""How Keras feeds arrays to a model: what the cures in common/training/input_pipeline.py are worth."""

import gc
import weakref

from common.training import input_pipeline

import numpy as np
import pytest
import tensorflow as tf
from keras.src.trainers import data_adapters
from tensorflow import keras


class Witness(keras.Model):
    """Learns nothing and keeps the examples in the order in which `fit` gave them."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.compile("sgd", "mse", run_eagerly=True)

    def train_step(self, data):
        self.seen += data[0].numpy().ravel().tolist()
        return {"loss": 0.0}

    def test_step(self, data):
        return {"loss": 0.0}


def orders(seed=None, count=20, epochs=3, **options):
    """Return the order of `count` examples in each epoch, (epochs, count)."""
    if seed is not None:
        keras.utils.set_random_seed(seed)
    witness, x = Witness(), np.arange(count)[:, None]
    witness.fit(x, x, batch_size=6, epochs=epochs, verbose=0, **options)
    return np.reshape(witness.seen, (epochs, -1))


def test_each_epoch_has_an_order_of_its_own_and_gives_every_example_once():
    order = orders(seed=1)
    assert len({tuple(epoch) for epoch in order}) == 3
    np.testing.assert_array_equal(np.sort(order), np.tile(np.arange(20), (3, 1)))


def test_the_order_follows_from_the_seed_and_the_epoch():
    three = orders(seed=1)
    np.testing.assert_array_equal(orders(seed=1), three)
    np.testing.assert_array_equal(orders(seed=1, epochs=5)[:3], three)
    assert not np.array_equal(orders(seed=2), three)


def test_a_second_fit_goes_on_with_other_orders():
    first, second = orders(seed=1), orders()
    assert len({tuple(epoch) for epoch in [*first, *second]}) == 6


def test_what_is_held_out_is_never_trained_on():
    assert set(orders(seed=1, validation_split=0.25).ravel()) == set(range(15))


def test_without_shuffling_the_order_stays():
    np.testing.assert_array_equal(orders(seed=1, shuffle=False), np.tile(np.arange(20), (3, 1)))


def test_a_fit_lets_go_of_its_arrays():
    x = np.zeros((20, 1))
    alive = weakref.ref(x)
    Witness().fit(x, x, verbose=0)
    del x
    gc.collect()
    assert alive() is None


def test_keras_has_not_mended_its_shuffle(monkeypatch):
    mended = data_adapters.ArrayDataAdapter
    assert mended.__module__ == input_pipeline.__name__, f"Keras {keras.__version__} is not mended"
    monkeypatch.setattr(data_adapters, "ArrayDataAdapter", mended.__base__)
    order = orders(seed=1)
    assert not np.array_equal(order[0], np.arange(20))
    assert len({tuple(epoch) for epoch in order}) == 1, (
        f"Keras {keras.__version__} shuffles anew in every epoch: the cure in input_pipeline.py can go"
    )


@pytest.mark.parametrize("shuffle", [True, False])
def test_no_thread_tunes_the_datasets_that_keras_makes(shuffle, monkeypatch):
    untuned = tf.data.Options
    assert untuned().autotune.enabled is False
    seen = []
    monkeypatch.setattr(tf.data, "Options", lambda: seen.append(untuned()) or seen[-1])
    orders(shuffle=shuffle)
    assert seen, "Keras makes its datasets in another way now"


def test_endless_batches_give_every_row_once_a_round_and_pair_what_belongs_together():
    x = np.arange(10)
    batches = input_pipeline.endless([x, -x], batch_size=5).as_numpy_iterator()
    rounds = [np.concatenate([next(batches), next(batches)], axis=1) for _ in range(2)]  # each (2, 10)
    for first, second in rounds:
        np.testing.assert_array_equal(np.sort(first), x)
        np.testing.assert_array_equal(second, -first)
    assert not np.array_equal(rounds[0], rounds[1])
    assert next(input_pipeline.endless(x, batch_size=3).as_numpy_iterator()).shape == (3,)
