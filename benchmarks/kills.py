"""Kill every script that trains, at random moments of its life, and see what is left.

Run: python benchmarks/kills.py [KILLS]      of each script; 12 take about half an hour on 2 cores

Each file that is left under its own name must be complete. A run that does not say "finished" must go on with --resume
to its end, or say in one line that it kept no checkpoint.
"""

import collections
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "mlp_mnist": "--data digits --epochs 8",
    "cnn_mnist": "--data digits --epochs 3 --filters 8",
    "rnn_mnist": "--data digits --epochs 6 --units 32",
    "fast_mnist": "cnn-best --data digits --epochs 3",
    "gan_mnist": "--data digits --steps 200",
    "lstm_regressor": "--steps 300",
}


def start(script, *argv):
    command = [sys.executable, PROJECT / f"{script}.py", *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check(path):
    """Raise an error where the file is not complete."""
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".keras":
        assert zipfile.ZipFile(path).testzip() is None
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            for name in arrays:
                arrays[name]
    elif path.suffix in (".png", ".gif"):
        with Image.open(path) as image:
            for frame in range(getattr(image, "n_frames", 1)):
                image.seek(frame)
                image.load()
    else:
        assert path.read_text().endswith("\n"), "cut short"


def kill(script, argv, folder, number, seconds):
    """Return what became of the run: what it said of itself, and what --resume made of it."""
    run = start(script, *argv, "--out", folder)
    time.sleep(seconds)
    run.send_signal(number)
    printed = run.communicate()[0]
    if not (folder / "result.json").exists():
        return f"nothing written (exit code {run.returncode})"
    assert "Traceback" not in printed, printed
    for path in folder.rglob("*.*"):
        if path.is_file() and not path.name.startswith("partial-"):
            check(path)
    status = json.loads((folder / "result.json").read_text())["status"]
    if status == "finished" or script == "lstm_regressor":
        return status
    again = start(script, "--resume", folder)
    printed = again.communicate()[0]
    if again.returncode == 2:
        assert printed.startswith("error: ") and "start it anew" in printed, printed
        return f"{status}, lost before its first epoch"
    assert again.returncode == 0, printed
    assert json.loads((folder / "result.json").read_text())["status"] == "finished"
    assert not list(folder.rglob("partial-*")) and not (folder / "checkpoint.npz").exists()
    for path in folder.rglob("*.*"):
        check(path)
    return f"{status}, resumed to its end"


def main(kills):
    choose = random.Random(0)
    for script, flags in SCRIPTS.items():
        counts = collections.Counter()
        folder = Path(tempfile.mkdtemp())
        begun = time.perf_counter()
        assert start(script, *flags.split(), "--out", folder / "0").communicate()[0]
        life = time.perf_counter() - begun
        for index in range(1, kills + 1):
            number = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[index % 3]
            seconds = choose.uniform(0, life)
            counts[number.name, kill(script, flags.split(), folder / str(index), number, seconds)] += 1
        print(f"{script}, {life:.1f} s", flush=True)
        for (name, outcome), count in sorted(counts.items()):
            print(f"  {count:3} {name:8} {outcome}", flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
