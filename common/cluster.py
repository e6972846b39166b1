"""Several processors that train one model together. A run on one processor never imports this.

A tf.distribute strategy copies the model to each of N replicas, gives each an equal part of every batch, and adds up
their gradients before each update, so N replicas compute what one would. Exceptions: all draw the same random numbers,
so dropout drops the same units in each part; batch normalisation sees one part; clipping is applied to each part's
gradient, not to their sum; and a last batch of unequal parts weighs its examples unequally.
"""

import functools

from common import cli, device, machines

import tensorflow as tf


def strategy(args, single=None):
    """Return the strategy for --device cpu:N, a TPU, the machines of TF_CONFIG, or all the GPUs of this one.

    `args.batch_size` is rounded up to a multiple of the replicas. `single` is the reason why a model cannot be copied.

    Raises cli.UserError for what is missing, what does not go together, and a TF_CONFIG that names no workers.
    """
    split = int(args.device.partition(":")[2] or 1)
    workers, index = machines.named()
    if single and (workers or split > 1 or args.device == "tpu"):
        given, cure = ("TF_CONFIG", "unset it") if workers else (f"--device {args.device}", "try --device cpu")
        raise cli.UserError(f"{given}: {single}; {cure}")
    if workers and args.device not in ("auto", "cpu", "gpu"):
        raise cli.UserError(f"--device {args.device} does not go with TF_CONFIG; leave one of them out")
    if args.device == "tpu":
        chosen = _tpu()
    elif split > 1:
        chosen = _split_cpu(split)
    elif workers:
        chosen = machines.strategy(tuple(workers), index)
    elif len(tf.config.get_visible_devices("GPU")) > 1:
        if single:
            print(f"one of several GPUs is used: {single}", flush=True)
            return tf.distribute.get_strategy()
        chosen = _mirrored()
    else:
        return tf.distribute.get_strategy()
    count = chosen.num_replicas_in_sync
    if args.batch_size % count:
        rounded = args.batch_size + -args.batch_size % count
        print(f"batch size {args.batch_size} becomes {rounded}, which {count} replicas can share", flush=True)
        args.batch_size = rounded
    return chosen


@functools.cache  # a second strategy for the same devices would mix up its sums with those of the first
def _mirrored(*devices):
    return tf.distribute.MirroredStrategy(devices or None)


def _split_cpu(count):
    """Return a MirroredStrategy over `count` logical devices, which share the CPU's threads."""
    try:
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    except RuntimeError:  # TensorFlow has begun to work, in a notebook or a test
        if len(tf.config.list_logical_devices("CPU")) != count:
            raise cli.UserError(f"--device cpu:{count}: this Python uses the CPU otherwise; start it anew") from None
    return _mirrored(*(f"CPU:{index}" for index in range(count)))


@functools.cache
def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError):
        raise device.missing("tpu") from None
