"""Several processors and machines that train one model together. A run on one processor never imports this.

A tf.distribute strategy copies the model to each of N replicas, gives each an equal part of every batch, and adds up
their gradients before each update, so N replicas compute what one would. Exceptions: all draw the same random numbers,
so dropout drops the same units in each part; batch normalisation sees one part; clipping is applied to each part's
gradient, not to their sum; and a last batch of unequal parts weighs its examples unequally.
"""

import functools
import json
import os

from common import cli, device

import tensorflow as tf

KERAS_REPAIRED = "3.15"  # the release that `_repair_fit` was written for


def strategy(args, single=None):
    """Return the strategy for --device cpu:N, a TPU, the machines of TF_CONFIG, or all the GPUs of this one.

    `args.batch_size` is rounded up to a multiple of the replicas. `single` is the reason why a model cannot be copied.

    Raises cli.UserError for what is missing, what does not go together, and a TF_CONFIG that names no workers.
    """
    split = int(args.device.partition(":")[2] or 1)
    workers, index = _workers()
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
        chosen = _multi_worker(tuple(workers), index)
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


def _workers():
    """Return what TF_CONFIG says: the addresses of the machines, and which of them this one is; ([], 0) for one."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        if not config:
            return [], 0
        workers, index = config["cluster"]["worker"], int(config["task"]["index"])
        others = set(config["cluster"]) != {"worker"} or config["task"].get("type", "worker") != "worker"
        if others or not isinstance(workers, list) or not 0 <= index < len(workers):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise cli.UserError(
            'TF_CONFIG: expected {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", '
            '"index": 0}}, with the index of this machine; unset it to use one machine'
        ) from None
    return (workers, index) if len(workers) > 1 else ([], 0)


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


@functools.cache
def _multi_worker(workers, index):
    _repair_fit()
    print(f"worker {index} of {len(workers)}: waiting for the others ({', '.join(workers)})", flush=True)
    try:
        with device.quiet():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise cli.UserError(
            f"TF_CONFIG: the workers did not come together; start the same command on all of them ({reason})"
        ) from None


def _repair_fit():
    """Let Keras's fit, evaluate and predict work under MultiWorkerMirroredStrategy (keras#20585).

    Two lines of Keras 3.15 fail there. Both average over the replicas: the first batch, although only its shape is
    wanted, and the metrics, as if they had an axis of examples. In their place stand one replica's part of the batch,
    and a mean of scalars. A worker that is lost ends the others with one line in place of TensorFlow's traceback.
    """
    from keras.src.backend.tensorflow import trainer

    if trainer.reduce_per_replica.__module__ == __name__:
        return  # done before
    original_reduce = trainer.reduce_per_replica
    original_build = trainer.TensorFlowTrainer._maybe_symbolic_build

    def build_from_one_part(model, iterator=None, data_batch=None):
        strategy = model._distribute_strategy
        if strategy is None or iterator is None:  # made outside of the strategy's scope, or called with a batch
            return original_build(model, iterator, data_batch)
        _, _, batches = next(iter(iterator))
        part = tf.nest.map_structure(lambda of_all: strategy.experimental_local_results(of_all)[0], next(batches))
        with strategy.scope():
            model._symbolic_build(data_batch=part)

    def reduce_per_replica(values, strategy, reduction):
        if reduction == "auto":  # of the metrics
            return tf.nest.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
        return original_reduce(values, strategy, reduction)

    def in_one_line(method):
        @functools.wraps(method)
        def guarded(*args, **kwargs):
            try:
                return method(*args, **kwargs)
            except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError):
                raise cli.UserError("a worker of TF_CONFIG cannot be reached any more, and none goes on alone; "
                                    "start all of them again") from None  # fmt: skip

        return guarded

    for name in ("fit", "evaluate", "predict"):
        setattr(trainer.TensorFlowTrainer, name, in_one_line(getattr(trainer.TensorFlowTrainer, name)))
    if tf.keras.__version__.startswith(f"{KERAS_REPAIRED}."):
        trainer.reduce_per_replica = reduce_per_replica
        trainer.TensorFlowTrainer._maybe_symbolic_build = build_from_one_part
    else:
        print(
            f"Keras {tf.keras.__version__} was not tried on several machines. If it trains, _repair_fit in "
            f"common/cluster.py can go; if fit fails, pip install 'keras=={KERAS_REPAIRED}.*'",
            flush=True,
        )
