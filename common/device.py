"""A quiet start of TensorFlow, and which processor trains. Import this before TensorFlow."""

import contextlib
import gc
import os
import sys
import tempfile

from common import cli

if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
    cli.tell(f"note: KERAS_BACKEND={os.environ['KERAS_BACKEND']} is not used: these lessons are written for TensorFlow")
    os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # fast kernels, by default on the newest x86 processors only
VERBOSE = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"  # 3: what fails raises an error anyway


@contextlib.contextmanager
def quiet():
    """Hold back the error stream, on which TensorFlow's C++ libraries log their start; show it if the body fails."""
    screen = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(screen if VERBOSE else held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(screen, held.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


# The import makes half a million objects that stay: to search them for garbage took 0.9 of its 2.9 s.
gc.disable()
try:
    with quiet():
        sys.modules.setdefault("sklearn", None)  # Keras would import it, for wrappers that no lesson uses: 0.6 of 3.1 s
        import tensorflow as tf

        FOUND = sorted({device.device_type.lower() for device in tf.config.list_physical_devices()})
        from common.training import input_pipeline  # noqa: F401  mends how Keras feeds arrays to a model

        if sys.modules["sklearn"] is None:
            del sys.modules["sklearn"]
except KeyboardInterrupt:
    sys.exit(130)
finally:
    gc.freeze()
    gc.enable()
if not VERBOSE:
    tf.get_logger().setLevel("ERROR")  # no word about predict, which is traced again for each batch size


def strategy(args, single=None):
    """Return the tf.distribute strategy for `args.device`; the default one, for one processor, changes nothing.

    `single` is why a model must stay on one processor. Raises cli.UserError for a processor that this machine lacks.
    """
    if tf.keras.backend.backend() != "tensorflow":  # in a notebook that has imported Keras before
        raise cli.UserError("Keras runs on another backend here; start Python anew with KERAS_BACKEND=tensorflow")
    kind = args.device.partition(":")[0]
    if kind == "gpu" and "gpu" not in FOUND:
        raise cli.UserError("--device gpu: TensorFlow finds no gpu (TF_CPP_MIN_LOG_LEVEL=0 shows why)")
    if kind == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif "gpu" in FOUND:
        tf.config.experimental.enable_op_determinism()  # GPUs add in any order; a CPU run repeats to the bit without it
    gpus = len(tf.config.get_visible_devices("GPU"))
    if kind == "tpu" or ":" in args.device or gpus > 1 or os.environ.get("TF_CONFIG"):
        from common.training import distributed

        return distributed.strategy(args, single)
    return tf.distribute.get_strategy()


def describe(strategy):
    """Return the kind of processor that `strategy` trains on: cpu, gpu or tpu."""
    kind = "gpu" if tf.config.get_visible_devices("GPU") else "cpu"
    return "tpu" if isinstance(strategy, tf.distribute.TPUStrategy) else kind


def worker(strategy):
    """Return which of several machines this one is, from 0, or None where it is alone."""
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return strategy.cluster_resolver.task_id if several else None
