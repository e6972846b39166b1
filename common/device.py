"""Which processor, and which tf.distribute strategy. Importing this module starts TensorFlow without its log lines."""

import os
import sys

from common import cli

os.environ["KERAS_BACKEND"] = "tensorflow"  # tf.keras is Keras 3, which ~/.keras/keras.json may point elsewhere
os.environ["TF_USE_LEGACY_KERAS"] = "0"
if "--verbose" not in sys.argv:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors, no warnings

try:
    with cli.quiet():
        import tensorflow as tf

        FOUND = sorted({device.device_type.lower() for device in tf.config.list_physical_devices()})
except KeyboardInterrupt:
    sys.exit(130)


def strategy(name="auto"):
    """Return the strategy for `--device NAME` in whose scope a script builds and compiles its model.

    One processor needs none, so it gets TensorFlow's default strategy, which changes nothing.

    Raises cli.UserError for a processor that this machine lacks.
    """
    if tf.keras.backend.backend() != "tensorflow":
        raise cli.UserError("Keras was started with another backend; start Python anew with KERAS_BACKEND=tensorflow")
    if name == "tpu":
        return _tpu_strategy()
    if name == "gpu" and "gpu" not in FOUND:
        raise _missing("gpu")
    if name == "cpu":
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # a notebook, where something has run on the GPU already
            raise cli.UserError("--device cpu: this Python has begun to use the GPU; start it anew") from None
    elif "gpu" in FOUND:
        tf.config.experimental.enable_op_determinism()  # GPUs add in any order; a CPU run repeats to the bit without it
    return tf.distribute.get_strategy()


def describe(strategy):
    """Return the kind of processor that `strategy` trains on: cpu, gpu or tpu."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "tpu"
    return "gpu" if tf.config.get_visible_devices("GPU") else "cpu"


def _tpu_strategy():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    except ValueError:
        raise _missing("tpu") from None
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def _missing(name):
    found = ", ".join(FOUND)
    return cli.UserError(f"--device {name}: TensorFlow finds no {name} here, only {found} (--verbose shows why)")
