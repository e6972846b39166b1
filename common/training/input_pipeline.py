"""How arrays reach a model: endless batches, and two cures for Keras 3.15 that need no line in a lesson.

1. A tuning thread, which Keras cannot turn off: a tf.data dataset that ends waits for it to wake. With TensorFlow 2.21
   on 2 cores, three of four epochs of 3.3 s of work took 5.2 s.
2. A shuffle that does not reshuffle. After keras.utils.set_random_seed, `fit` on arrays gives the examples in the same
   order in every epoch: Keras shuffles inside Dataset.map, whose random state starts anew with each iterator
   (tensorflow#35682). Here the order is drawn from (seed, epoch), so the same seed still gives the same run.
"""

import random

import numpy as np
import tensorflow as tf
from keras.src.trainers import data_adapters

first_epoch = 0  # of the training at hand: more where a run goes on


class _UntunedOptions(tf.data.Options):
    def __init__(self):
        super().__init__()
        self.autotune.enabled = False


class _ReshufflingAdapter(data_adapters.ArrayDataAdapter):
    """Keras's adapter of arrays, with an order of the examples that is drawn anew for each epoch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._seed = random.getrandbits(32) if self._shuffle is True else 0  # follows keras.utils.set_random_seed
        self._epoch = [-1]  # a list, so that permute sees it change; Keras calls on_epoch_end once before epoch 0

    def on_epoch_end(self):
        self._epoch[0] += 1

    def get_tf_dataset(self):
        if self._shuffle is not True:
            return super().get_tf_dataset()
        seed, epoch = self._seed, self._epoch  # not self with its arrays: TensorFlow never lets a numpy_function go

        def permute(indices):
            return np.random.default_rng((seed, first_epoch + max(0, epoch[0]))).permutation(indices)

        def reshuffle(indices):  # Keras calls it once, while it writes the dataset's graph
            return tf.ensure_shape(tf.numpy_function(permute, [indices], indices.dtype), indices.shape)

        original, tf.random.shuffle = tf.random.shuffle, reshuffle  # the name by which Keras's next lines shuffle
        try:
            return super().get_tf_dataset()
        finally:
            tf.random.shuffle = original


tf.data.Options = _UntunedOptions  # the name by which Keras's fit makes its options
if tf.keras.__version__.startswith("3.15."):  # another release keeps its own adapter
    data_adapters.ArrayDataAdapter = _ReshufflingAdapter


def endless(arrays, batch_size):
    """Return a dataset of shuffled batches without end, of an array or of tuples from a list of equally long ones."""
    tensors = tuple(map(tf.constant, arrays)) if isinstance(arrays, list) else tf.constant(arrays)
    count = len(tf.nest.flatten(tensors)[0])
    indices = tf.data.Dataset.range(count).shuffle(count).repeat().batch(batch_size)
    rows = indices.map(lambda chosen: tf.nest.map_structure(lambda tensor: tf.gather(tensor, chosen), tensors))
    return rows.prefetch(2)
