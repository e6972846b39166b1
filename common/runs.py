"""One run of a script: its first line, its history, Ctrl-C, and its closing line."""

import contextlib
import csv
import os
import platform
import signal
import time
from importlib.metadata import version

from common import cli, device, files, results, terminal
from common.plots import common as plots
from common.recorder import Recorder


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
        self.resumable = hasattr(args, "resume") and self.worker is None
        self.resumes = getattr(args, "resume", None)
        if self.resumes and not self.resumable:
            raise cli.UserError("--resume: what several machines trained cannot be resumed; start it anew")
        self.callbacks = [Recorder(self)]
        self.verbose = 1 if terminal.is_watched() else 2  # Keras's moving bar, or a line an epoch where no one watches
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
        if self.worker is not None:
            from common import machines

            machines.agree(strategy, self.facts, data[:4] if images else ())
        self.folder = (results.reopen(script, self.resumes, self.dataset) if self.resumes
                       else results.new_folder(script, args.out, keep=not self.worker))  # fmt: skip
        self.lost = {}  # files that could not be written, and why
        self._write_facts()
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
        path = self.folder / "history.csv"
        with self.may_lose("history.csv"), files.remake_folder(path).open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)

    def write(self, name, save):
        """Call `save(path)`, such as a model's `save`, for the run's file `name`; Ctrl-C and the like wait for it."""
        with self.may_lose(name), files.stop_waits(), files.whole(self.folder / name) as path:
            save(path)

    @contextlib.contextmanager
    def may_lose(self, name):
        """Let the file `name` be lost to a full disk and the like, in one line: the training is worth more."""
        try:
            yield
            self.lost.pop(name, None)
        except OSError as error:
            if name not in self.lost:
                terminal.tell(f"note: {cli.relative(self.folder / name)} was not written ({error.strerror})")
            self.lost[name] = error.strerror

    def _write_facts(self):
        with self.may_lose("result.json"):
            results.write_result(self.folder, self.facts)

    @contextlib.contextmanager
    def training(self, seconds=0):
        """Let the first Ctrl-C set `interrupted`, which training checks, and a second one stop the script at once.

        `seconds` is what it took before, where it goes on.
        """
        self._begun = time.perf_counter() - seconds
        self._started -= seconds
        # Where machines train together, none may stop without the others.
        with files.stop_calls(self._stop) if self.worker is None else contextlib.nullcontext():
            yield

    def seconds(self):
        """Return how long the training has taken so far."""
        return round(time.perf_counter() - self._begun, 2)

    def trained(self, **counts):
        """Note steps, epochs and seconds of a training; of several the first counts, or the one interrupted."""
        if "steps" not in self.facts or self.interrupted:
            self.facts |= {**counts, "seconds_training": self.seconds()}
        self.facts["status"] = "interrupted" if self.interrupted else "trained"
        self._write_facts()

    def _stop(self, number, frame):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        terminal.say(f"\n{name}: stopping soon and keeping what was learned; once more to stop at once")

    def finish(self, headline, baseline, model, /, train=(), test=(), **numbers):
        """Write result.json, print the closing line, open the pictures if asked to; return the result as a dict.

        `headline` and `baseline` are the closing line's texts, such as "Test accuracy: 98.3%" and "baseline 11.35%".
        `train` and `test` are what `evaluate` says of the two sets; with the other `numbers` they go into result.json.
        """
        self.lost.pop(cli.CHECKPOINT, None)  # of use to a later run only
        self.facts |= {
            "status": "interrupted" if self.interrupted else "failed" if self.lost else "finished",
            "parameters": model.count_params(),
            "precision": model.dtype_policy.name,
            "seconds_total": round(time.perf_counter() - self._started, 2),
            **{f"train_{name}": value for name, value in dict(train).items()},
            **{f"test_{name}": value for name, value in dict(test).items()},
            **{name: float(value) if hasattr(value, "dtype") else value for name, value in numbers.items()},
        }
        self._write_facts()
        checkpoint, to_go_on = self.folder / cli.CHECKPOINT, results.to_go_on(self.facts["script"], self.folder)
        if self.facts["status"] == "finished" and not self.lost:
            checkpoint.unlink(missing_ok=True)
        parts = [f"{headline} on {self.dataset}" if self.stand_in else headline]
        if self.interrupted:
            unit = "steps" if hasattr(self.args, "steps") else "epochs"
            done, aim = self.facts.get(unit, 0), getattr(self.args, unit)
            parts.append(f"interrupted after {f'{done} of {aim} {unit}' if done < aim else 'its training'}")
            if os.path.exists(checkpoint):
                print(f"to go on: {to_go_on}")
        parts += [baseline, f"{self.facts['parameters']:,} parameters"]
        if "seconds_training" in self.facts:
            parts.append(f"{self.facts['seconds_training']:.0f} s of training")
        parts.append(f"worker {self.worker}: worker 0 has the files" if self.worker else cli.relative(self.folder))
        print(" | ".join(parts), flush=True)
        if self.lost:
            cure = f"; mend that, then {to_go_on}" if os.path.exists(checkpoint) else ""
            reasons = ", ".join(sorted({*self.lost.values()}))
            raise cli.UserError(f"{', '.join(self.lost)} could not be written ({reasons}){cure}")
        if self.args.show:
            plots.show(self.folder)
        return {**self.facts, "folder": self.folder}


def headline(test):
    """Return "Test accuracy: 98.3%" from what `evaluate` says of the test set, or its loss where no accuracy is."""
    if "accuracy" in test:
        return f"Test accuracy: {100 * test['accuracy']:.1f}%"
    return f"Test loss: {test['loss']:.4f}"
