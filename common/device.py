"""A quiet start of TensorFlow, which processor, which precision. Import this before TensorFlow."""

import contextlib
import faulthandler
import gc
import os
import re
import sys
import tempfile
from pathlib import Path

from common import cli, early

early.answer()
os.environ["KERAS_BACKEND"] = "tensorflow"  # tf.keras is Keras 3, which ~/.keras/keras.json may point elsewhere
os.environ["TF_USE_LEGACY_KERAS"] = "0"
for limit in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(limit, None)
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # fast kernels, by default on the newest x86 processors only
VERBOSE = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"  # 3: what fails raises an exception anyway

# What TensorFlow writes on a healthy machine: information, warnings, the "errors" that there is no GPU or that a CUDA
# library was registered twice.
ROUTINE = re.compile(
    rb"WARNING: All log messages before absl|To enable the following instructions"
    rb"|([IW]|E(?=.*(cuInit.*(303|NO_DEVICE)|Unable to register cu\w+ factory)))\d{4} "
    rb"|\d{4}-\d\d-\d\d [\d:.]+: ([IW] |E .*(cuInit.*(303|NO_DEVICE)|Unable to register cu\w+ factory))"
)


@contextlib.contextmanager
def quiet():
    """Hold the error stream back and drop C++ libraries' ROUTINE lines from it.

    All of it is shown if the body fails, and with TF_CPP_MIN_LOG_LEVEL=0 nothing is held back. Of a library that aborts
    (on a processor without AVX, say) the place is shown, and its reason only with TF_CPP_MIN_LOG_LEVEL=0.
    """
    if VERBOSE:
        yield
        return
    sys.stderr.flush()
    screen = os.dup(2)
    shows_faults = faulthandler.is_enabled()
    faulthandler.enable(screen)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            faulthandler.enable() if shows_faults else faulthandler.disable()
            os.close(screen)
            held.seek(0)
            with contextlib.suppress(OSError):  # the error stream is full, too
                os.write(2, b"".join(line for line in held if failed or not ROUTINE.match(line)))


# The import makes half a million objects that stay. To search them for garbage, again and again and once more at the
# end, took 0.9 of 2.9 s; what is frozen is not searched.
gc.disable()
try:
    with quiet():
        # Keras imports scikit-learn where it is installed, for wrappers that no lesson uses: 0.6 s of a start of 3.1 s.
        sys.modules.setdefault("sklearn", None)
        import tensorflow as tf

        FOUND = sorted({device.device_type.lower() for device in tf.config.list_physical_devices()})
        from common import tfdata  # noqa: F401  cures for how Keras feeds a model, here for all lessons

        if sys.modules["sklearn"] is None:
            del sys.modules["sklearn"]
except KeyboardInterrupt:
    sys.exit(130)
finally:
    gc.freeze()
    gc.enable()
tf.keras.config.set_floatx("float32")  # whatever ~/.keras/keras.json says
tf.keras.config.set_epsilon(1e-7)
tf.keras.config.set_image_data_format("channels_last")
if not VERBOSE:
    tf.get_logger().setLevel("ERROR")  # no word about predict, which is traced again for each batch size


def strategy(args, single=None):
    """Return the tf.distribute strategy for `args.device`, in whose scope a lesson builds and compiles its model.

    One processor needs none and gets TensorFlow's default strategy, which changes nothing. Several (--device cpu:N,
    several GPUs, a TPU, the machines of TF_CONFIG) get theirs from common/cluster.py, which may round `args.batch_size`
    up. A lesson whose model must stay on one processor gives the reason as `single`. The layers' precision is set as
    well, from `args.precision` where there is one.

    Raises cli.UserError for a processor that this machine lacks, and for flags that do not go together.
    """
    if tf.keras.backend.backend() != "tensorflow":
        raise cli.UserError("Keras was started with another backend; start Python anew with KERAS_BACKEND=tensorflow")
    kind = args.device.partition(":")[0]
    if kind == "gpu" and "gpu" not in FOUND:
        raise missing(kind)
    if kind == "cpu":
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # a notebook, where something has run on the GPU already
            raise cli.UserError("--device cpu: this Python has begun to use the GPU; start it anew") from None
    elif "gpu" in FOUND:
        tf.config.experimental.enable_op_determinism()  # GPUs add in any order; a CPU run repeats to the bit without it
    gpus = len(tf.config.get_visible_devices("GPU"))
    tf.keras.config.set_dtype_policy(policy(getattr(args, "precision", "float32")))
    if kind == "tpu" or ":" in args.device or gpus > 1 or os.environ.get("TF_CONFIG"):
        from common import cluster

        return cluster.strategy(args, single)
    return tf.distribute.get_strategy()


def missing(name):
    """Return the error that there is no such processor."""
    found = ", ".join(FOUND)
    return cli.UserError(f"--device {name}: TensorFlow finds no {name} here, only {found} "
                         "(TF_CPP_MIN_LOG_LEVEL=0 in the environment shows why)")  # fmt: skip


def describe(strategy):
    """Return the kind of processor that `strategy` trains on: cpu, gpu or tpu."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "tpu"
    return "gpu" if tf.config.get_visible_devices("GPU") else "cpu"


def worker(strategy):
    """Return which of several machines this one is, from 0, or None where it is alone."""
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return strategy.cluster_resolver.task_id if several else None


def policy(precision):
    """Return Keras's name for `precision`; in bfloat16 the layers compute, while the weights stay in float32.

    `auto` is bfloat16 on a CPU with instructions for it, where convolutions and LSTM were measured to gain by it.
    """
    if precision == "auto":
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        precision = "bfloat16" if "avx512_bf16" in flags and not tf.config.get_visible_devices("GPU") else "float32"
    return precision if precision == "float32" else f"mixed_{precision}"
