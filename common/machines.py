"""The machines that TF_CONFIG names: they meet, check that they run the same command, and train one model together."""

import functools
import hashlib
import json
import os
import re
import signal
import socket
import threading
import time

from common import cli, device, files, terminal

import tensorflow as tf

KERAS_REPAIRED = "3.15"  # the release that `_repair_fit` was written for
WAIT_SECONDS, WORD_SECONDS = 600, 30  # for the other machines in all, and between two words about who is missing
OWN_FLAGS = ("data", "out", "show")  # in which machines may differ


def named():
    """Return what TF_CONFIG says: the addresses of the machines, and which of them this one is; ([], 0) for one.

    A chief, or master, is the first of the workers. Cluster managers write such a TF_CONFIG for a single machine, too.
    """
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        cluster, task = config.get("cluster") or {}, config.get("task") or {}
        roles = [(role, index) for role in ("chief", "master", "worker") for index in range(len(cluster.get(role, [])))]
        workers = [cluster[role][index] for role, index in roles]
        if not all(re.fullmatch(r"[^,]+:\d{1,5}", address) for address in workers) or len(roles) < sum(
            map(len, cluster.values())  # there are parameter servers, say
        ):
            raise ValueError
        if len(workers) < 2:
            return [], 0
        return workers, roles.index((task.get("type", "worker"), int(task["index"])))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise cli.UserError(
            'TF_CONFIG: expected {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", '
            '"index": 0}}, with the index of this machine; unset it to use one machine'
        ) from None


@functools.cache
def strategy(workers, index):
    _repair_fit()
    print(f"worker {index} of {len(workers)}: waiting for the others ({', '.join(workers)})", flush=True)
    _meet(workers, index)
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
    # TensorFlow hears no signal while it waits: the system's own handlers end the script at once.
    default = signal.default_int_handler if terminal.in_notebook() else signal.SIG_DFL
    joined = threading.Event()
    threading.Thread(target=_limit, args=(joined,), daemon=True).start()
    try:
        with device.quiet(), files.stop_calls(default):
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise cli.UserError(
            f"TF_CONFIG: the workers did not come together; start the same command on all of them ({reason})"
        ) from None
    finally:
        joined.set()


def _limit(joined):
    """End the script where TensorFlow has not joined the machines after WAIT_SECONDS; say every now and then it waits.

    They have answered one another by then, so it is no worker that answers, or two of them have the same index.
    """
    for _ in range(WAIT_SECONDS // WORD_SECONDS):
        if joined.wait(WORD_SECONDS):
            return
        print("still waiting for TensorFlow on the other machines; has each one an index of its own?", flush=True)
    print(f"error: TF_CONFIG: the workers did not come together in {WAIT_SECONDS} s", flush=True)
    os._exit(2)


def _meet(workers, index):
    """Wait until something answers at every worker's address, and say who is missing.

    Raises cli.UserError after WAIT_SECONDS, and where the port of this machine is taken.
    """
    try:
        own = socket.create_server(("", int(workers[index].rpartition(":")[2])))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise cli.UserError(f"TF_CONFIG: this machine cannot be {workers[index]} ({reason})") from None
    missing = {address: "" for place, address in enumerate(workers) if place != index}
    begun, words = time.monotonic(), 0
    with own:
        while missing:
            for address in list(missing):
                host, _, port = address.rpartition(":")
                try:
                    socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
                    del missing[address]
                except (OSError, OverflowError, UnicodeError) as error:
                    missing[address] = f"{address} ({getattr(error, 'strerror', None) or error})"
            waited = time.monotonic() - begun
            if missing and waited > WAIT_SECONDS:
                raise cli.UserError(f"TF_CONFIG: not there after {WAIT_SECONDS} s: {', '.join(missing.values())}; "
                                    "start the same command on all of them")  # fmt: skip
            if missing and waited > (words + 1) * WORD_SECONDS:
                words += 1
                print(f"still waiting for {', '.join(missing.values())}", flush=True)
            time.sleep(0.2 if missing else 0)


def agree(strategy, facts, images=()):
    """Raise cli.UserError, on every machine, where the machines differ in script, flags, versions, or `images`."""
    digest = hashlib.sha256()
    for array in images:
        digest.update(array)
    mine = {"script": facts["script"], "data": facts["dataset"], "images": digest.hexdigest()[:8], **facts["versions"]}
    mine |= {f"--{flag.replace('_', '-')}": value for flag, value in facts["flags"].items() if flag not in OWN_FLAGS}
    text = json.dumps(mine).encode().ljust(4096)
    rows = strategy.gather(strategy.run(lambda: tf.constant([list(text)])), axis=0).numpy()  # (replicas, 4096)
    for other in (json.loads(bytes(row.tolist())) for row in rows):
        for name in {**mine, **other}:
            if mine.get(name) != other.get(name):
                raise cli.UserError(f"the workers of TF_CONFIG differ in {name}: {mine.get(name)} here, "
                                    f"{other.get(name)} there; start the same command on all of them")  # fmt: skip


def _repair_fit():
    """Let Keras's fit, evaluate and predict work under MultiWorkerMirroredStrategy (keras#20585).

    Two lines of Keras 3.15 fail there. Both average over the replicas: the first batch, although only its shape is
    wanted, and the metrics, as if they had an axis of examples. In their place stand one replica's part of the batch,
    and a mean of scalars.
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

    if tf.keras.__version__.startswith(f"{KERAS_REPAIRED}."):
        trainer.reduce_per_replica = reduce_per_replica
        trainer.TensorFlowTrainer._maybe_symbolic_build = build_from_one_part
    else:
        print(
            f"Keras {tf.keras.__version__} was not tried on several machines. If it trains, _repair_fit in "
            f"common/machines.py can go; if fit fails, pip install 'keras=={KERAS_REPAIRED}.*'",
            flush=True,
        )
