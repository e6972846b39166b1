"""Several processors that train one model together. A run on one processor never imports this.

A tf.distribute strategy copies the model to each of N replicas, gives each an equal part of every batch, and adds up
their gradients before each update, so N replicas compute what one would. Exceptions: all draw the same random numbers,
so dropout drops the same units in each part; batch normalisation sees one part; clipping is applied to each part's
gradient, not to their sum; and a last batch of unequal parts weighs its examples unequally.
"""

import functools
import hashlib
import json
import os
import signal

from common import cli

import tensorflow as tf

KERAS_REPAIRED = "3.15."  # the release that `_repair_fit` was written for


def strategy(args, single=None):
    """Return the strategy for --device cpu:N, a TPU, the machines of TF_CONFIG, or all the GPUs of this one.

    `args.batch_size` is rounded up to a multiple of the replicas. `single` is the reason why a model cannot be copied.
    """
    split = int(args.device.partition(":")[2] or 1)
    machines = "worker" in os.environ.get("TF_CONFIG", "")
    if single and (machines or split > 1 or args.device == "tpu"):
        raise cli.UserError(f"{single}; try --device cpu, without TF_CONFIG")
    if args.device == "tpu":
        chosen = _tpu()
    elif split > 1:
        chosen = _split_cpu(split)
    elif machines:
        chosen = _machines()
    elif single or len(tf.config.get_visible_devices("GPU")) < 2:
        return tf.distribute.get_strategy()
    else:
        chosen = _mirrored()
    rest = args.batch_size % chosen.num_replicas_in_sync
    if rest:
        args.batch_size += chosen.num_replicas_in_sync - rest
        print(f"the batch size becomes {args.batch_size}, which the replicas can share", flush=True)
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
        raise cli.UserError("--device tpu: TensorFlow finds no tpu (TF_CPP_MIN_LOG_LEVEL=0 shows why)") from None


@functools.cache
def _machines():
    """Return TensorFlow's strategy for the machines of TF_CONFIG, once all of them have started."""
    _repair_fit()
    print("waiting for the other machines of TF_CONFIG (Ctrl-C ends this)", flush=True)
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # TensorFlow hears no signal while it waits
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise cli.UserError(f"TF_CONFIG: no cluster ({str(error)[:200]}); see the README for its form") from None
    finally:
        signal.signal(signal.SIGINT, before)


def agree(strategy, facts, data):
    """Raise cli.UserError, on every machine, where they differ in script, versions, images, or flags that matter."""
    digests = [hashlib.sha256(array).hexdigest()[:8] for array in data[:4]]
    flags = {flag: value for flag, value in facts["flags"].items() if flag not in ("data", "out", "show", "changed")}
    mine = {"script": facts["script"], "images": digests, **facts["versions"], **flags}
    text = json.dumps(mine).encode().ljust(4096)  # machines exchange tensors of one shape: bytes as numbers
    rows = strategy.gather(strategy.run(lambda: tf.constant([list(text)])), axis=0).numpy()  # (replicas, 4096)
    for row in rows:
        other = json.loads(bytes(row.tolist()))
        differ = [name for name, value in mine.items() if value != other.get(name)]
        if differ:
            raise cli.UserError(f"the machines of TF_CONFIG differ in {', '.join(differ)}; start the same on all")


def _repair_fit():
    """Let Keras's fit, evaluate and predict work under MultiWorkerMirroredStrategy (keras#20585).

    Two lines of Keras 3.15 fail there: both average over the replicas, the one the first batch, of which only the shape
    is wanted, the other metrics, as if they had an axis of examples.
    """
    from keras.src.backend.tensorflow import trainer

    if not tf.keras.__version__.startswith(KERAS_REPAIRED):
        cli.tell(f"note: several machines were tried with Keras {KERAS_REPAIRED}* only; this is {tf.keras.__version__}")
        return
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

    trainer.reduce_per_replica = reduce_per_replica
    trainer.TensorFlowTrainer._maybe_symbolic_build = build_from_one_part
