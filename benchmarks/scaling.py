"""Seconds per epoch and memory of mlp_mnist.py with more images, more replicas, and two processes.

The images are MNIST's, cut short or repeated. Each number is the median of some runs in turns, each a process of its
own; memory is the peak of a process. The dotted lines: time in proportion to the images,
and two bytes of memory for each byte of theirs.

Run       python benchmarks/scaling.py            three rounds, into benchmarks/scaling.png; ten minutes on 2 cores
          python benchmarks/scaling.py --quick    one round with a tenth of the images
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import cli, mnist

import numpy as np
import speed
from matplotlib.figure import Figure

PROJECT = Path(__file__).resolve().parent.parent
SIZES = (15_000, 30_000, 60_000, 120_000, 240_000)
SPLITS = {  # 60,000 images: among replicas in one process, or among processes of one replica each
    "1 replica": ("cpu", 1), "2 replicas": ("cpu:2", 1), "4 replicas": ("cpu:4", 1), "2 processes": ("cpu", 2),
}
EPOCHS = 3
IMAGE = 784 * (1 + 4) / 1e6  # megabytes of an image as it is loaded, uint8, and as the network reads it, float32


def train(data, device, processes):
    """Run mlp_mnist.py in one or two processes; return its seconds per epoch and the most memory of one, in MB."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ports:
        free = [ports.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(processes)]
        workers = [f"127.0.0.1:{port.getsockname()[1]}" for port in free]
        ports.close()
        started = []
        for index in range(processes):
            command = f"mlp_mnist.py --data {data} --device {device} --epochs {EPOCHS} --out {folder}/{index}"
            cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            environment = os.environ | ({"TF_CONFIG": json.dumps(cluster)} if processes > 1 else {})
            started.append(subprocess.Popen([sys.executable, *command.split()], cwd=PROJECT, env=environment,
                                            stdout=subprocess.DEVNULL))
        megabytes = [speed.peak_memory(process) for process in started]
        if any(process.returncode for process in started):
            raise SystemExit(f"mlp_mnist.py --data {data} --device {device} failed")
        result = json.loads(Path(folder, "0", "result.json").read_text(encoding="utf-8"))
    return result["seconds_training"] / EPOCHS, max(megabytes)


def measure(rounds, cases):
    """Return {case: (seconds per epoch, megabytes)}, medians; `cases` maps each to the arguments of `train`."""
    measured = {case: [] for case in cases}
    for _ in range(rounds):
        for case, how in cases.items():
            measured[case].append(train(*how))
            print(f"{case}: {measured[case][-1][0]:.2f} s per epoch, {measured[case][-1][1]:.0f} MB", flush=True)
    return {case: tuple(map(statistics.median, zip(*runs, strict=True))) for case, runs in measured.items()}


def draw(path, by_size, by_split, title):
    """Draw seconds and memory over the number of images, and the seconds of each split."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    time_axes, memory_axes, split_axes = figure.subplots(1, 3)
    images = np.array(list(by_size))
    seconds, megabytes = np.transpose(list(by_size.values()))
    middle = len(images) // 2
    time_axes.plot(images / 1000, seconds, "o-", label="measured")
    time_axes.plot(images / 1000, images * seconds[middle] / images[middle], "k:", label="in proportion")
    time_axes.set(ylabel="seconds per epoch", ylim=0)
    memory_axes.plot(images / 1000, megabytes, "o-", label="measured")
    limit = megabytes[0] + 2 * IMAGE * (images - images[0])
    memory_axes.plot(images / 1000, limit, "k:", label="twice the images' bytes")
    memory_axes.set(ylabel="peak memory in MB", ylim=0)
    for axes in (time_axes, memory_axes):
        axes.set(xlabel="training images in thousands", xlim=0)
        axes.legend()
    split_axes.bar(list(by_split), [seconds for seconds, _ in by_split.values()], width=0.6)
    split_axes.set(xlabel=f"{images[middle]:,} images on {os.cpu_count()} cores", ylabel="seconds per epoch")
    figure.suptitle(title)
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round with a tenth of the images")
    parser.add_argument("--rounds", type=cli.number(int, at_least=1), default=3,
                        help="runs of which each number is the median (default 3)")
    parser.add_argument("--data", help="as in the scripts")
    args = parser.parse_args()
    rounds, part = (1, 10) if args.quick else (args.rounds, 1)
    digits = mnist.load_mnist(args.data)
    with tempfile.TemporaryDirectory() as folder:
        files = {size // part: Path(folder) / f"{size}.npz" for size in SIZES}
        for size, path in files.items():
            chosen = np.arange(size) % len(digits.x_train)
            np.savez(path, x_train=digits.x_train[chosen], y_train=digits.y_train[chosen],
                     x_test=digits.x_test, y_test=digits.y_test)
        by_size = measure(rounds, {size: (path, "cpu", 1) for size, path in files.items()})
        by_split = measure(rounds, {name: (files[60_000 // part], *how) for name, how in SPLITS.items()})

    smallest, largest = min(by_size), max(by_size)
    growth = (by_size[largest][1] - by_size[smallest][1]) / (largest - smallest)
    print(f"\nfrom {smallest:,} to {largest:,} images: {by_size[largest][0] / by_size[smallest][0]:.1f} times the "
          f"seconds for {largest / smallest:.0f} times the images, {growth / IMAGE:.2f} bytes of memory "
          "for each byte of images")
    for name, (seconds, megabytes) in by_split.items():
        print(f"{name}: {seconds:.2f} s per epoch, {seconds / by_split['1 replica'][0]:.2f} times those of one; "
              f"{megabytes:.0f} MB a process")
    if not args.quick:
        draw(PROJECT / "benchmarks" / "scaling.png", by_size, by_split, f"mlp_mnist.py on {digits.name}")
        print("benchmarks/scaling.png")


if __name__ == "__main__":
    main()
