"""Seconds per epoch and memory of mlp_mnist.py with more and more images, and with more and more replicas.

The images are MNIST's, cut short or repeated. Each number is the median of some runs in turns, each a process of its
own; memory is the peak of the process. The dotted line grows by two bytes for each byte of the images.

Run       python benchmarks/scaling.py            three rounds; ten minutes on 2 cores
          python benchmarks/scaling.py --quick    one round with a tenth of the images
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import mnist

import numpy as np
import speed
from matplotlib.figure import Figure

SIZES = (15_000, 30_000, 60_000, 240_000)
REPLICAS = (1, 2, 4)
EPOCHS = 3
SCRIPT = "mlp_mnist"
IMAGE = 784 * (1 + 4) / 1e6  # megabytes of an image as it is loaded, uint8, and as the network reads it, float32


def measure(rounds, cases):
    """Return {case: (seconds per epoch, megabytes)}, medians; `cases` maps each to its data and device."""
    measured = {case: [] for case in cases}
    for seed in range(rounds):
        for case, (data, device) in cases.items():
            facts = speed.measure(SCRIPT, "lesson", str(data), seed, EPOCHS, device)
            measured[case].append((facts["seconds"] / EPOCHS, facts["megabytes"]))
            print(f"{case}: {measured[case][-1][0]:.2f} s per epoch, {measured[case][-1][1]:.0f} MB", flush=True)
    return {case: tuple(map(statistics.median, zip(*runs, strict=True))) for case, runs in measured.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round with a tenth of the images")
    parser.add_argument("--rounds", type=int, default=3, help="runs of which each number is the median (default 3)")
    parser.add_argument("--data", help="as in the scripts")
    args = parser.parse_args()
    rounds, part = (1, 10) if args.quick else (args.rounds, 1)
    sizes = [size // part for size in SIZES]
    digits = mnist.load_mnist(args.data)
    with tempfile.TemporaryDirectory() as folder:
        files = {size: Path(folder) / f"{size}.npz" for size in sizes}
        for size, path in files.items():
            chosen = np.arange(size) % len(digits.x_train)
            np.savez(path, x_train=digits.x_train[chosen], y_train=digits.y_train[chosen],
                     x_test=digits.x_test, y_test=digits.y_test)  # fmt: skip
        by_size = measure(rounds, {size: (path, "auto") for size, path in files.items()})
        replicated = {count: (files[sizes[2]], f"cpu:{count}" if count > 1 else "cpu") for count in REPLICAS}
        by_replicas = measure(rounds, replicated)

    smallest, largest = min(sizes), max(sizes)
    growth = (by_size[largest][1] - by_size[smallest][1]) / (largest - smallest)
    print(f"\nfrom {smallest:,} to {largest:,} images: {by_size[largest][0] / by_size[smallest][0]:.1f} times the "
          f"seconds for {largest / smallest:.0f} times the images, {growth / IMAGE:.2f} bytes of memory "
          "for each byte of images")  # fmt: skip
    for count, (seconds, _) in by_replicas.items():
        print(f"{count} replicas: {seconds:.2f} s per epoch, {seconds / by_replicas[1][0]:.2f} times those of one")

    figure = Figure(figsize=(12, 4), layout="constrained")
    time_axes, memory_axes, replica_axes = figure.subplots(1, 3)
    thousands = np.array(sizes) / 1000
    time_axes.plot(thousands, [by_size[size][0] for size in sizes], "o-", label="measured")
    time_axes.plot(thousands, thousands * by_size[sizes[2]][0] / thousands[2], "k:", label="in proportion")
    time_axes.set(ylabel="seconds per epoch", ylim=0)
    base = by_size[smallest][1]
    memory_axes.plot(thousands, [by_size[size][1] for size in sizes], "o-", label="measured")
    memory_axes.plot(thousands, base + 2 * IMAGE * (np.array(sizes) - smallest), "k:", label="twice the images' bytes")
    memory_axes.set(ylabel="peak memory in MB", ylim=0)
    for axes in (time_axes, memory_axes):
        axes.set(xlabel="training images in thousands", xlim=0)
        axes.legend()
    replica_axes.bar([str(count) for count in REPLICAS], [by_replicas[count][0] for count in REPLICAS], width=0.6)
    replica_axes.set(xlabel=f"replicas on {os.cpu_count()} cores", ylabel="seconds per epoch")
    figure.suptitle(f"{SCRIPT}.py on {digits.name}")
    if not args.quick:
        figure.savefig(speed.PROJECT / "benchmarks" / "scaling.png", dpi=100)
        print("benchmarks/scaling.png")


if __name__ == "__main__":
    main()
