"""One run of a script: its first line, its history, its result.json and its closing line."""

import contextlib
import csv
import os
import platform
import signal
import stat
import sys
import threading
import time
from importlib.metadata import version

from common import cli, device, plots

from tensorflow import keras


class Run:
    """A folder of its own, and the facts about the run that end up in the folder's result.json."""

    def __init__(self, script, args, strategy, digits):
        """Claim the folder and print the first line: data, device, seed.

        Raises cli.UserError where the folder cannot be had.
        """
        self.args, self.dataset = args, digits.name
        self.folder = cli.new_folder(script, args.out)
        self.recorder = _Recorder(self)
        self.callbacks = [self.recorder]
        self.verbose = 1 if sys.stdout.isatty() else 2  # Keras's moving bar, or a line an epoch where no one watches
        self.facts = {
            "script": script,
            "status": "running",
            "dataset": digits.name,
            "data_origin": digits.origin,
            "train_images": len(digits.x_train),
            "test_images": len(digits.x_test),
            "seed": args.seed,
            "device": device.describe(strategy),
            "replicas": strategy.num_replicas_in_sync,
            "flags": {flag: value for flag, value in vars(args).items() if flag != "started"},
            "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")}
            | {"python": platform.python_version()},
        }
        cli.write_result(self.folder, self.facts)
        print(
            f"{digits.name}: {len(digits.x_train):,} training and {len(digits.x_test):,} test images from "
            f"{digits.origin}; device {self.facts['device']}; seed {args.seed}",
            flush=True,
        )

    def finish(self, headline, model, **results):
        """Write result.json, print the closing line, open the pictures if asked to; return the result as a dict.

        `headline` is the document's closing line, such as "Test accuracy: 98.3%"; `results` go into result.json.
        """
        self.facts |= {
            "status": "interrupted" if self.recorder.interrupted else "finished",
            "parameters": model.count_params(),
            "precision": model.dtype_policy.name,
            "seconds_total": round(time.perf_counter() - self.args.started, 2),
            **{name: float(value) if hasattr(value, "dtype") else value for name, value in results.items()},
        }
        cli.write_result(self.folder, self.facts)
        parts = [headline if self.dataset == "MNIST" else f"{headline} on {self.dataset}"]
        if self.recorder.interrupted:
            parts.append(f"interrupted after {self.facts['epochs']} of {self.recorder.params['epochs']} epochs")
        if "baseline" in results:
            parts.append(f"baseline {100 * results['baseline']:.2f}%")
        parts.append(f"{self.facts['parameters']:,} parameters")
        parts.append(f"{self.facts['seconds_training']:.0f} s of training")
        parts.append(cli.relative(self.folder))
        print(" | ".join(parts), flush=True)
        if self.args.show:
            plots.show(self.folder)
        return {**self.facts, "folder": self.folder}


class _Recorder(keras.callbacks.Callback):
    """Write history.csv, time the training, and take Ctrl-C as a request to stop after the step at hand.

    So `fit` returns as usual and the script goes on to save what was learned. A second Ctrl-C stops at once.
    """

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.interrupted = False

    def on_train_begin(self, logs=None):
        if threading.current_thread() is threading.main_thread():  # no other thread may take signals
            self._default = signal.signal(signal.SIGINT, self._stop)
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        steps = int(self.model.optimizer.iterations)  # tells an epoch that Ctrl-C cut short from a whole one
        row = {"dataset": self.run.dataset, "epoch": epoch + 1, "steps": steps, **logs}
        with (self.run.folder / "history.csv").open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if epoch == 0:
                writer.writeheader()
            writer.writerow(row)

    def on_train_end(self, logs=None):
        steps = int(self.model.optimizer.iterations)
        self.run.facts |= {
            "status": "interrupted" if self.interrupted else "trained",
            "epochs": steps // self.params["steps"],  # whole passes over the data
            "steps": steps,
            "seconds_training": round(time.perf_counter() - self._started, 2),
        }
        cli.write_result(self.run.folder, self.run.facts)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._default)

    def _stop(self, signal_number, frame):
        self.interrupted = True
        self.model.stop_training = True
        signal.signal(signal.SIGINT, self._default)
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
                sys.stdout = sys.stderr  # `| tee log` has died of the same Ctrl-C
            print("\nCtrl-C: stopping after this step and keeping what was learned; once more to stop at once")
