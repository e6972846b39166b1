"""Which processors, which tf.distribute strategy, which precision. Importing this starts TensorFlow without log lines.

A strategy copies the model to each of N replicas, gives each an equal share of every batch, and adds up their gradients
before each update, so N replicas compute what one would. Exceptions: all draw the same random numbers, so dropout
silences the same units in each of the shares; batch normalisation sees one share; each share's gradient is clipped, not
their sum; and a last batch of unequal shares weighs its examples unequally.
"""

import functools
import os
import sys
from pathlib import Path

from common import cli

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"  # tf.keras is Keras 3, which ~/.keras/keras.json may point elsewhere
os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # fast kernels, by default on the newest x86 processors only
if "--verbose" not in sys.argv:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no error lines either: what fails raises an exception

try:
    with cli.quiet():
        import tensorflow as tf

        FOUND = sorted({device.device_type.lower() for device in tf.config.list_physical_devices()})
except KeyboardInterrupt:
    sys.exit(130)


class _Options(tf.data.Options):
    """The options of a dataset, such as Keras makes of arrays, without the thread that tunes it while it is read.

    That thread sleeps for 0.01, 0.02, 0.04 ... seconds, and a dataset that ends often waits until it wakes: with
    TensorFlow 2.21 on 2 cores, three of four epochs of 3.3 seconds of work took 5.2 (10 ms x (2^9 - 1) = 5.1 s).
    """

    def __init__(self):
        super().__init__()
        self.autotune.enabled = False


tf.data.Options = _Options  # there is no flag for it, and Keras makes its own

KERAS_REPAIRED = "3.15"  # the release that `_repair_fit` was written for


def strategy(args, single=None):
    """Return the strategy for `args.device` and `args.replicas`, in whose scope a script builds and compiles its model.

    One processor needs none, so it gets TensorFlow's default strategy, which changes nothing. Several GPUs are used
    together, and so are the machines that TF_CONFIG names. `args.batch_size` is rounded up to a multiple of the
    replicas. A model that cannot be copied gives the reason as `single`: it gets one processor. The layers' precision
    is set as well, from `args.precision`.

    Raises cli.UserError for a processor that this machine lacks, and for flags that do not go together.
    """
    if tf.keras.backend.backend() != "tensorflow":
        raise cli.UserError("Keras was started with another backend; start Python anew with KERAS_BACKEND=tensorflow")
    several = "--replicas" if args.replicas > 1 else "TF_CONFIG" if cli.cluster()[0] else None
    if several and single:
        raise cli.UserError(f"{several}: {single}; leave it out")
    if args.replicas > 1:
        chosen = _split_cpu(args)
    elif args.device == "tpu":
        chosen = _tpu_strategy()
    else:
        _choose(args.device)
        chosen = _gather(single)
    count = chosen.num_replicas_in_sync
    if count > 1 and single:
        raise cli.UserError(f"--device {args.device}: {single}; try --device cpu")
    if count > 1 and args.precision == "float16":  # Keras looks for overflow in each replica's own gradients
        raise cli.UserError("--precision float16 does not go with several replicas; take bfloat16")
    tf.keras.config.set_dtype_policy(_policy(args.precision, describe(chosen)))
    if args.batch_size % count:
        rounded = args.batch_size + -args.batch_size % count
        print(f"batch size {args.batch_size} becomes {rounded}, which {count} replicas can share", flush=True)
        args.batch_size = rounded
    return chosen


def tensor(prepare, images):
    """Return `prepare(images)`, an array, as a tensor: of an array, fit and evaluate would each make and keep a copy.

    It is made in parts, for while TensorFlow takes over an array it needs its memory three times.
    """
    return tf.concat([tf.constant(prepare(part)) for part in np.array_split(images, 16)], axis=0)


def steps_per_execution(strategy, steps, most):
    """Return the largest number up to `most` that divides `steps`, the updates of an epoch, for Keras.

    TensorFlow takes that many steps before it returns to Python: the less work a step has, the more time that saves.
    With several replicas Keras can take only one at a time.
    """
    if strategy.num_replicas_in_sync > 1:
        return 1
    return max(number for number in range(1, most + 1) if steps % number == 0)


def describe(strategy):
    """Return the kind of processor that `strategy` trains on: cpu, gpu or tpu."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "tpu"
    return "gpu" if tf.config.get_visible_devices("GPU") else "cpu"


def _policy(precision, kind):
    """Return the name of Keras's policy: in bfloat16 and float16 the layers compute, the weights stay in float32.

    `auto` is bfloat16 on a CPU with instructions for it, where convolutions and LSTM were measured to gain by it.
    """
    if precision == "auto":
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        precision = "bfloat16" if kind == "cpu" and "avx512_bf16" in flags else "float32"
    return precision if precision == "float32" else f"mixed_{precision}"


def _choose(name):
    if name == "gpu" and "gpu" not in FOUND:
        raise _missing("gpu")
    if name == "cpu":
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # a notebook, where something has run on the GPU already
            raise cli.UserError("--device cpu: this Python has begun to use the GPU; start it anew") from None
    elif "gpu" in FOUND:
        tf.config.experimental.enable_op_determinism()  # GPUs add in any order; a CPU run repeats to the bit without it


def _gather(single):
    """Return the strategy for the machines of TF_CONFIG, or else for the GPUs of this one."""
    gpus = tf.config.get_visible_devices("GPU")
    if cli.cluster()[0]:
        return _multi_worker()
    if len(gpus) > 1 and single:
        print(f"one of {len(gpus)} GPUs is used: {single}", flush=True)
    elif len(gpus) > 1:
        return _mirrored()
    return tf.distribute.get_strategy()


@functools.cache  # a second strategy for the same devices would mix up its sums with those of the first
def _mirrored(*devices):
    return tf.distribute.MirroredStrategy(devices or None)


@functools.cache
def _multi_worker():
    workers, index = cli.cluster()
    _repair_fit()
    print(f"worker {index} of {len(workers)}: waiting for the others ({', '.join(workers)})", flush=True)
    try:
        with cli.quiet():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise cli.UserError(
            f"TF_CONFIG: the workers did not come together; start the same command on all of them ({reason})"
        ) from None


def _split_cpu(args):
    """Return a MirroredStrategy over `args.replicas` logical devices, which share the CPU's threads."""
    if args.device not in ("auto", "cpu") or cli.cluster()[0]:
        raise cli.UserError("--replicas splits the CPU of one machine: leave out --device gpu or tpu and TF_CONFIG")
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_visible_devices([], "GPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * args.replicas)
    except RuntimeError:  # TensorFlow has begun to work, in a notebook or a test
        if len(tf.config.list_logical_devices("CPU")) != args.replicas:
            raise cli.UserError("--replicas: this Python has begun to use the CPU otherwise; start it anew") from None
    return _mirrored(*(f"CPU:{index}" for index in range(args.replicas)))


def _repair_fit():
    """Let Keras's fit, evaluate and predict work under MultiWorkerMirroredStrategy (keras#20585).

    Two lines of Keras 3.15 fail there. Both average over the replicas: the first batch, although only its shape is
    wanted, and the metrics, as if they had an axis of examples. In their place stand one replica's share of the batch,
    and a mean of scalars.
    """
    if not tf.keras.__version__.startswith(f"{KERAS_REPAIRED}."):
        print(
            f"Keras {tf.keras.__version__} was not tried on several machines. If it trains, _repair_fit in "
            f"common/device.py can go; if fit fails, pip install 'keras=={KERAS_REPAIRED}.*'",
            flush=True,
        )
        return
    from keras.src.backend.tensorflow import trainer

    def build_from_one_share(model, iterator=None, data_batch=None):
        strategy = model._distribute_strategy
        if strategy is None or iterator is None:  # made outside of the strategy's scope, or called with a batch
            return original_build(model, iterator, data_batch)
        _, _, batches = next(iter(iterator))
        share = tf.nest.map_structure(lambda of_all: strategy.experimental_local_results(of_all)[0], next(batches))
        with strategy.scope():
            model._symbolic_build(data_batch=share)

    def reduce_per_replica(values, strategy, reduction):
        if reduction == "auto":  # of the metrics
            return tf.nest.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
        return original_reduce(values, strategy, reduction)

    if trainer.reduce_per_replica.__module__ != __name__:  # once
        original_reduce = trainer.reduce_per_replica
        original_build = trainer.TensorFlowTrainer._maybe_symbolic_build
        trainer.reduce_per_replica = reduce_per_replica
        trainer.TensorFlowTrainer._maybe_symbolic_build = build_from_one_share


@functools.cache
def _tpu_strategy():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError):
        raise _missing("tpu") from None


def _missing(name):
    found = ", ".join(FOUND)
    return cli.UserError(f"--device {name}: TensorFlow finds no {name} here, only {found} (--verbose shows why)")
