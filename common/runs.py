"""One run of a script: its folder, its first line, its history, Ctrl-C, and its closing line."""

import contextlib
import csv
import json
import os
import signal
import stat
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from common import cli, device
from common.data import files
from common.plots import base
from common.training.recorder import Recorder

import numpy as np

RUNS_DIR = cli.PROJECT / "runs"
# Ctrl-C; what a shutdown or a job queue sends before it kills; what a terminal sends when its window is closed
STOP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Run:
    """A folder of its own, and the facts about the run that end up in the folder's result.json."""

    def __init__(self, file, args, strategy, data, about=""):
        """Make the folder and print the first line: data, device, seed, and the flags that are not at their default.

        `file` is the script's __file__, `data` a mnist.Digits, or the name of other data with what to say `about` them.
        """
        facts = getattr(data, "facts", {"dataset": data})
        self.script, self.dataset, self.args = Path(file).stem, facts["dataset"], args
        self.interrupted, self.diverged, self.trainings = False, False, 0
        self.started = time.perf_counter()
        self.worker = device.worker(strategy)  # of several machines number 0 keeps the files
        self.resumes = getattr(args, "resume", None)
        self.resumable = hasattr(args, "resume") and self.worker is None
        self.callbacks = [Recorder(self)]
        self.verbose = 1 if cli.INTERACTIVE or sys.stdout.isatty() else 2  # Keras's moving bar, or a line an epoch
        self.facts = {
            "script": self.script,
            "status": "unfinished",
            **facts,
            "seed": args.seed,
            "device": device.describe(strategy),
            "replicas": strategy.num_replicas_in_sync,
            "flags": vars(args),
            "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
        }
        if self.worker is not None:
            from common.training import distributed

            distributed.agree(strategy, self.facts, data)
        if self.worker:
            self.folder = Path(tempfile.mkdtemp())  # all take part in saving a model, and one keeps it
        elif self.resumes:
            self.folder = Path(self.resumes).absolute()
            before = read_result(self.folder)
            if (before["script"], before["dataset"]) != (self.script, self.dataset):
                raise cli.UserError(f"--resume {self.resumes}: a run of {before['script']} on {before['dataset']}")
        else:
            self.folder = new_folder(file, args.out)
        self.save_facts()
        changed = [flag if value is True else f"{flag} {value}" for flag, value in args.changed.items()]
        times = f" x {strategy.num_replicas_in_sync}" if strategy.num_replicas_in_sync > 1 else ""
        words = [f"{self.dataset}: {about or data.about}", f"device {device.describe(strategy)}{times}"]
        print("; ".join([*words, f"seed {args.seed}", *changed]), flush=True)

    def save_facts(self, **more):
        """Write result.json, with `more` facts."""
        self.facts |= more
        write_result(self.folder, self.facts)

    def until_ctrl_c(self, steps):
        """Yield from `steps`, one for each update of a training loop, and end early after Ctrl-C; time the loop."""
        with self.training() as counts:
            for done, step in enumerate(steps, start=1):
                counts["steps"] = done
                yield step
                if self.interrupted or self.diverged:
                    break

    def record(self, **row):
        """Add a row to history.csv; a loss or cost that is nan means that the training has diverged."""
        path, row = self.folder / "history.csv", {"dataset": self.dataset, **row}
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if not file.tell():  # appending begins at the file's end: 0 is a new file
                writer.writeheader()
            writer.writerow(row)
        losses = [value for name, value in row.items() if name.endswith(("loss", "cost"))]
        if not np.isfinite(losses).all():
            self.diverged = True
            cli.tell("\nthe loss is nan: the training has diverged, and stops; try a smaller learning rate")

    def write(self, name, save):
        """Call `save(path)`, such as a model's `save`, for the run's file `name`: written completely or not at all."""
        with files.whole(self.folder / name) as path:
            save(path)

    @contextlib.contextmanager
    def training(self, seconds=0):
        """Let the first Ctrl-C set `interrupted`, which training checks, and a second one stop the script at once.

        Yield a dict for the numbers of steps and epochs. `seconds` is what a training that goes on took before.
        """
        counts, self.begun = {}, time.perf_counter() - seconds
        before = {number: signal.getsignal(number) for number in STOP}
        for number, handler in before.items():
            if handler != signal.SIG_IGN and self.worker is None:  # nohup ignores one; of machines none stops alone
                signal.signal(number, self._stop)
        try:
            yield counts
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.trainings += 1
            seconds = self.facts.get("seconds_training", 0) + time.perf_counter() - self.begun
            self.save_facts(**counts, seconds_training=round(seconds, 2))

    def _stop(self, number, frame):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        if number == signal.SIGINT and not cli.INTERACTIVE and stat.S_ISFIFO(os.fstat(1).st_mode):
            os.dup2(2, 1)  # the `tee log` behind a pipe has died of the same Ctrl-C
        name = signal.Signals(number).name
        os.write(2, f"\n{name}: stopping soon, keeping what was learned; once more to stop at once\n".encode())

    def finish(self, headline, baseline, model, /, train=(), test=(), **numbers):
        """Write result.json, print the closing line, open the pictures if asked to; return the result as a dict.

        `headline` and `baseline` are the closing line's texts, such as "Test accuracy: 98.3%" and "baseline 11.35%".
        `train` and `test` are what `evaluate` says of the two sets; with the other `numbers` they go into result.json.
        """
        status = "interrupted" if self.interrupted else "diverged" if self.diverged else "finished"
        numbers |= {f"train_{name}": value for name, value in dict(train).items()}
        numbers |= {f"test_{name}": value for name, value in dict(test).items()}
        numbers |= {"precision": model.dtype_policy.name, "seconds_total": round(time.perf_counter() - self.started, 2)}
        self.save_facts(status=status, parameters=model.count_params(), **numbers)
        checkpoint = self.folder / cli.CHECKPOINT
        if not self.interrupted:
            checkpoint.unlink(missing_ok=True)
        if checkpoint.exists():
            print(f"to go on: python {self.script}.py --resume {cli.relative(self.folder)}")
        other_data = "data_origin" in self.facts and self.dataset != "MNIST"
        parts = [f"{headline} on {self.dataset}" if other_data else headline]
        if status != "finished":
            unit = "steps" if hasattr(self.args, "steps") else "epochs"
            parts.append(f"{status} after {self.facts.get(unit, 0)} of {getattr(self.args, unit)} {unit}")
        parts += [baseline, f"{self.facts['parameters']:,} parameters"]
        parts.append(f"{self.facts.get('seconds_training', 0):.0f} s of training")
        parts.append(f"worker {self.worker}: worker 0 has the files" if self.worker else cli.relative(self.folder))
        print(" | ".join(parts), flush=True)
        if self.args.show:
            base.show(self.folder)
        return {**self.facts, "folder": self.folder}


def headline(test):
    """Return "Test accuracy: 98.3%" from what `evaluate` says of the test set, or its loss where no accuracy is."""
    return f"Test accuracy: {100 * test['accuracy']:.1f}%" if "accuracy" in test else f"Test loss: {test['loss']:.4f}"


def new_folder(file, out=None):
    """Make and return a folder that no other run has: `out`, or the next number in runs/<name of the script `file`>/.

    Raises cli.UserError where `out` is a file, cannot be written, or holds files.
    """
    script = Path(file).stem
    taken = [int(path.name) for path in (RUNS_DIR / script).glob("*") if path.name.isdecimal()]
    folder = Path(out).absolute() if out else RUNS_DIR / script / str(1 + max(taken, default=0))
    try:
        folder.mkdir(parents=True, exist_ok=bool(out))
        if any(folder.iterdir()):
            raise cli.UserError(f"--out {out}: holds files already, maybe another run's; name a new folder")
        write_result(folder, {"script": script, "status": "unfinished"})
    except OSError as error:
        raise cli.UserError(f"{out or folder}: {error.strerror}; name another folder with --out") from None
    return folder


def read_result(folder):
    """Return the content of result.json in `folder`, as a dict."""
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def write_result(folder, facts):
    """Write `facts` to result.json in `folder`; arrays become lists, and nan, which JSON does not know, null."""
    text = json.dumps(facts, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))
    facts = json.loads(text, parse_constant=lambda name: None)
    with files.whole(folder / "result.json") as path:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def finish(folder, args, **facts):
    """Write result.json for a script that trains nothing, name its files, and return the facts as a dict."""
    facts = {**read_result(folder), "status": "finished", "seed": args.seed, **facts, "flags": vars(args)}
    names = ", ".join(sorted(path.name for path in folder.iterdir() if path.name != "result.json"))
    write_result(folder, facts)
    print(f"{names}: {cli.relative(folder)}")
    if args.show:
        base.show(folder)
    return {**facts, "folder": folder}
