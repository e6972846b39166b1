"""One run of a script: its first line, its history, Ctrl-C, and its closing line."""

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

from common import cli, device, results
from common.plots import common as plots

from tensorflow import keras


class Run:
    """A folder of its own, and the facts about the run that end up in the folder's result.json."""

    def __init__(self, script, args, strategy, data, about=""):
        """Claim the folder and print the first line: data, device, seed.

        `data` is a mnist.Digits, or the name of other data with what to say `about` them.

        Raises cli.UserError where the folder cannot be had.
        """
        images = getattr(data, "facts", {})
        self.dataset, about = images.get("dataset", data), about or getattr(data, "about", "no images")
        self.args, self.interrupted, self._columns, self._started = args, False, [], time.perf_counter()
        self.stand_in = bool(images) and self.dataset != "MNIST"
        self.worker = device.worker(strategy)  # of several machines number 0 keeps the files
        self.folder = results.new_folder(script, args.out, keep=not self.worker)
        self.callbacks = [_Recorder(self)]
        self.verbose = 1 if sys.stdout.isatty() else 2  # Keras's moving bar, or a line an epoch where no one watches
        replicas = strategy.num_replicas_in_sync
        self.facts = {
            "script": script,
            "status": "running",
            "dataset": self.dataset,
            **images,
            "seed": args.seed,
            "device": device.describe(strategy),
            "replicas": replicas,
            "flags": vars(args),
            "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")}
            | {"python": platform.python_version()},
        }
        results.write_result(self.folder, self.facts)
        times = f" x {replicas}" if replicas > 1 else ""
        print(f"{self.dataset}: {about}; device {self.facts['device']}{times}; seed {args.seed}", flush=True)

    def until_ctrl_c(self, steps):
        """Yield from `steps`, one for each update of a training loop, and end early after Ctrl-C; time the loop."""
        done = 0
        with self.training():
            try:
                for step in steps:
                    done += 1
                    yield step
                    if self.interrupted:
                        break
            finally:  # a `break` in the loop ends here as well
                self.trained(steps=done)

    def record(self, **row):
        """Add a row to history.csv."""
        row = {"dataset": self.dataset, **row}
        self._columns = self._columns or list(row)  # those of the first row
        with (self.folder / "history.csv").open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)

    @contextlib.contextmanager
    def training(self):
        """Let the first Ctrl-C set `interrupted`, which training checks, and a second one stop the script at once."""
        self._default, self._begun = None, time.perf_counter()
        # No other thread may take signals; and where machines train together, none may stop without the others.
        if threading.current_thread() is threading.main_thread() and self.worker is None:
            self._default = signal.signal(signal.SIGINT, self._stop)
        try:
            yield
        finally:
            if self._default is not None:  # SIG_DFL counts as false
                signal.signal(signal.SIGINT, self._default)

    def trained(self, **counts):
        """Note how many steps (and epochs) a training took, and its seconds; of several trainings the first counts."""
        if "steps" not in self.facts:
            self.facts |= {**counts, "seconds_training": round(time.perf_counter() - self._begun, 2)}
        self.facts["status"] = "interrupted" if self.interrupted else "trained"
        results.write_result(self.folder, self.facts)

    def _stop(self, signal_number, frame):
        self.interrupted = True
        signal.signal(signal.SIGINT, self._default)
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
                sys.stdout = sys.stderr  # `| tee log` has died of the same Ctrl-C
            print("\nCtrl-C: stopping soon and keeping what was learned; once more to stop at once")

    def finish(self, headline, baseline, model, /, train=(), test=(), **numbers):
        """Write result.json, print the closing line, open the pictures if asked to; return the result as a dict.

        `headline` and `baseline` are the closing line's texts, such as "Test accuracy: 98.3%" and "baseline 11.35%".
        `train` and `test` are what `evaluate` says of the two sets; with the other `numbers` they go into result.json.
        """
        self.facts |= {
            "status": "interrupted" if self.interrupted else "finished",
            "parameters": model.count_params(),
            "precision": model.dtype_policy.name,
            "seconds_total": round(time.perf_counter() - self._started, 2),
            **{f"train_{name}": value for name, value in dict(train).items()},
            **{f"test_{name}": value for name, value in dict(test).items()},
            **{name: float(value) if hasattr(value, "dtype") else value for name, value in numbers.items()},
        }
        results.write_result(self.folder, self.facts)
        parts = [f"{headline} on {self.dataset}" if self.stand_in else headline]
        if self.interrupted:
            unit = "steps" if hasattr(self.args, "steps") else "epochs"
            done, aim = self.facts.get(unit, 0), getattr(self.args, unit)
            parts.append(f"interrupted after {f'{done} of {aim} {unit}' if done < aim else 'its training'}")
        parts += [baseline, f"{self.facts['parameters']:,} parameters"]
        if "seconds_training" in self.facts:
            parts.append(f"{self.facts['seconds_training']:.0f} s of training")
        parts.append(f"worker {self.worker}: worker 0 has the files" if self.worker else cli.relative(self.folder))
        print(" | ".join(parts), flush=True)
        if self.args.show:
            plots.show(self.folder)
        return {**self.facts, "folder": self.folder}


class _Recorder(keras.callbacks.Callback):
    """Write a row of history.csv an epoch, time `fit`, and end it early after Ctrl-C, so that the script goes on."""

    def __init__(self, run):
        super().__init__()
        self.run, self._context = run, contextlib.ExitStack()
        self._batches = self._epochs = 0  # of the epoch at hand; whole ones

    def on_train_begin(self, logs=None):
        self._context.enter_context(self.run.training())

    def on_train_batch_end(self, batch, logs=None):
        self._batches = batch + 1
        self.model.stop_training |= self.run.interrupted

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= self.run.interrupted  # while it validated
        self._epochs += self._batches == self.params["steps"]  # not one that was cut short
        self.run.record(epoch=epoch + 1, steps=int(self.model.optimizer.iterations.numpy()), **logs)

    def on_train_end(self, logs=None):
        self.run.trained(epochs=self._epochs, steps=int(self.model.optimizer.iterations.numpy()))
        self._context.close()


def headline(test):
    """Return "Test accuracy: 98.3%" from what `evaluate` says of the test set, or its loss where no accuracy is."""
    if "accuracy" in test:
        return f"Test accuracy: {100 * test['accuracy']:.1f}%"
    return f"Test loss: {test['loss']:.4f}"
