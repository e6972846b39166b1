"""How images reach a model: endless batches, and three cures for Keras 3.15 that need no line in a lesson.

1. A tuning thread. tf.data tunes a dataset while it is read. Its thread sleeps for 10, 20, 40 ... ms, and a dataset
   that has ended often waits for it to wake: with TensorFlow 2.21 on 2 cores, three of four epochs of 3.3 s of work
   took 5.2 s (10 ms x (2^9 - 1) = 5.1 s). There is no flag for it, and Keras makes its own options.
2. A shuffle that does not reshuffle. After keras.utils.set_random_seed, `fit` on arrays gives the images in one and the
   same order in every epoch: Keras shuffles inside Dataset.map, whose random state starts anew with each iterator
   (tensorflow#35682). Here the order is drawn anew from (seed, epoch), so the same seed still gives the same run.
3. Two copies of all images: TensorFlow copies an array twice when it makes a tensor of it. Float32 numbers from an
   address divisible by 64, as `mnist` makes them, are read in place.
"""

import random

import numpy as np
import tensorflow as tf
from keras.src.trainers import data_adapters

first_epoch = 0  # of the training at hand: more where a run goes on
KERAS_REPAIRED = "3.15"  # the release whose adapter `_Reshuffling` was written for; another one keeps its own


def _in_place(array):
    """Return a tensor over the memory of the array, where TensorFlow can read it there, or else the array."""
    whole = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.flags.carray
    if whole and array.ctypes.data % 64 == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return array


class _Options(tf.data.Options):
    def __init__(self):
        super().__init__()
        self.autotune.enabled = False


class _Reshuffling(data_adapters.ArrayDataAdapter):
    """Keras's adapter of arrays, which reads them in place where it can, in an order drawn anew for each epoch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._order = [0, -1]  # seed, epoch: Keras ends one before the first, in which a strategy may look at a batch
        if self._shuffle is True:
            self._order[0] = random.getrandbits(32)  # follows keras.utils.set_random_seed

    def on_epoch_end(self):
        self._order[1] += 1

    def get_tf_dataset(self):
        self._inputs = tf.nest.map_structure(_in_place, self._inputs)
        if self._shuffle is not True:
            return super().get_tf_dataset()
        order = self._order  # not self with all its arrays, for TensorFlow never lets go of a numpy_function

        def permute(indices):
            seed, epoch = order
            return np.random.default_rng((seed, first_epoch + max(0, epoch))).permutation(indices)

        def reshuffle(indices):  # Keras asks for it once, while it writes the dataset's graph
            return tf.ensure_shape(tf.numpy_function(permute, [indices], indices.dtype), indices.shape)

        original, tf.random.shuffle = tf.random.shuffle, reshuffle
        try:
            return super().get_tf_dataset()
        finally:
            tf.random.shuffle = original


tf.data.Options = _Options
if tf.keras.__version__.startswith(f"{KERAS_REPAIRED}."):
    data_adapters.ArrayDataAdapter = _Reshuffling


def endless(arrays, batch_size):
    """Return a dataset of shuffled batches without end, of an array or of tuples from a list of equally long ones."""
    tensors = tuple(map(tf.constant, arrays)) if isinstance(arrays, list) else tf.constant(arrays)
    count = len(tf.nest.flatten(tensors)[0])
    indices = tf.data.Dataset.range(count).shuffle(count).repeat().batch(batch_size)

    def rows(chosen):
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, chosen), tensors)

    return indices.map(rows).prefetch(2)
