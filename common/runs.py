"""One run of a script: its first line, its history, its result.json and its closing line; a saved model read back."""

import contextlib
import csv
import os
import platform
import signal
import stat
import sys
import threading
import time
import zipfile
from importlib.metadata import version

from common import cli, device, mnist, plots

from tensorflow import keras


class Run:
    """A folder of its own, and the facts about the run that end up in the folder's result.json."""

    def __init__(self, script, args, strategy, data, about=""):
        """Claim the folder and print the first line: data, device, seed.

        `data` is a mnist.Digits, and history.csv has a row per epoch; or it is the name of other data, with what to say
        `about` them, and history.csv has a row per step.

        Raises cli.UserError where the folder cannot be had.
        """
        images = {}
        if isinstance(data, mnist.Digits):
            images = {"data_origin": data.origin, "train_images": len(data.x_train), "test_images": len(data.x_test)}
            about = "{train_images:,} training and {test_images:,} test images from {data_origin}".format(**images)
            data = data.name
        self.args, self.dataset, self.stand_in = args, data, bool(images) and data != "MNIST"
        self.folder = cli.new_folder(script, args.out)
        self.recorder = _Recorder(self, every_step=not images)
        self.callbacks = [self.recorder]
        self.verbose = 1 if sys.stdout.isatty() else 2  # Keras's moving bar, or a line an epoch where no one watches
        self.facts = {
            "script": script,
            "status": "running",
            "dataset": data,
            **images,
            "seed": args.seed,
            "device": device.describe(strategy),
            "replicas": strategy.num_replicas_in_sync,
            "flags": {flag: value for flag, value in vars(args).items() if flag != "started"},
            "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")}
            | {"python": platform.python_version()},
        }
        cli.write_result(self.folder, self.facts)
        replicas = f" x {strategy.num_replicas_in_sync}" if strategy.num_replicas_in_sync > 1 else ""
        print(f"{data}: {about}; device {self.facts['device']}{replicas}; seed {args.seed}", flush=True)

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
        parts = [f"{headline} on {self.dataset}" if self.stand_in else headline]
        if self.recorder.interrupted:
            steps = getattr(self.args, "steps", None)
            unit, aim = ("steps", steps) if steps else ("epochs", self.recorder.params["epochs"])
            done = f"{self.facts[unit]} of {aim} {unit}" if self.facts[unit] < aim else "its training"
            parts.append(f"interrupted after {done}")
        if "baseline" in results:
            parts.append(f"baseline {100 * results['baseline']:.2f}%")
        parts.append(f"{self.facts['parameters']:,} parameters")
        parts.append(f"{self.facts['seconds_training']:.0f} s of training")
        index = cli.cluster()[1]
        parts.append(f"worker {index}: worker 0 has the files" if index else cli.relative(self.folder))
        print(" | ".join(parts), flush=True)
        if self.args.show:
            plots.show(self.folder)
        return {**self.facts, "folder": self.folder}


def load_model(path, what, fits):
    """Return the Keras model in the file `path`; `fits(input_shape, output_shape)` tells whether it is `what`.

    Raises cli.UserError where there is none, or another one.
    """
    try:
        model = keras.models.load_model(path, compile=False)
        shapes = model.input_shape, model.output_shape
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).split(". ")[0]
        raise cli.UserError(f"{path}: no Keras model can be read ({reason})") from None
    if not fits(*shapes):
        raise cli.UserError(f"{path}: not {what}: it turns {shapes[0]} into {shapes[1]}")
    return model


class _Recorder(keras.callbacks.Callback):
    """Write history.csv, time the training, and take Ctrl-C as a request to stop after the steps at hand.

    So `fit` returns as usual and the script goes on to save what was learned. A second Ctrl-C stops at once. Of several
    trainings the first is recorded.
    """

    def __init__(self, run, every_step):
        super().__init__()
        self.run, self.every_step = run, every_step
        self.interrupted, self._default = False, None
        self._batches = self._epochs = 0  # of the epoch at hand; whole ones

    def on_train_begin(self, logs=None):
        # No other thread may take signals; and where machines train together, none may stop without the others.
        if threading.current_thread() is threading.main_thread() and not cli.cluster()[0]:
            self._default = signal.signal(signal.SIGINT, self._stop)
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._epochs += self._batches == self.params["steps"]  # not one that was cut short
        if not self.every_step:
            steps = int(self.model.optimizer.iterations.numpy())
            self._write({"dataset": self.run.dataset, "epoch": epoch + 1, "steps": steps, **logs})

    def on_train_batch_end(self, batch, logs=None):
        self._batches = batch + 1
        if self.every_step and "steps" not in self.run.facts:
            self._write({"dataset": self.run.dataset, "step": batch + 1, **logs})

    def _write(self, row):
        path = self.run.folder / "history.csv"
        begun = path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if not begun:
                writer.writeheader()
            writer.writerow(row)

    def on_train_end(self, logs=None):
        steps = int(self.model.optimizer.iterations.numpy())
        if "steps" not in self.run.facts:
            if not self.every_step:
                self.run.facts["epochs"] = self._epochs
            self.run.facts |= {"steps": steps, "seconds_training": round(time.perf_counter() - self._started, 2)}
        self.run.facts["status"] = "interrupted" if self.interrupted else "trained"
        cli.write_result(self.run.folder, self.run.facts)
        if self._default is not None:  # SIG_DFL counts as false
            signal.signal(signal.SIGINT, self._default)

    def _stop(self, signal_number, frame):
        self.interrupted = True
        self.model.stop_training = True
        signal.signal(signal.SIGINT, self._default)
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
                sys.stdout = sys.stderr  # `| tee log` has died of the same Ctrl-C
            print("\nCtrl-C: stopping soon and keeping what was learned; once more to stop at once")
