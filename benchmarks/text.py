"""What a word's vector is worth, over the number of labelled sentences: learned and frozen, trained along, or random.

Run       python benchmarks/text.py              three seeds; half an hour. Stopped, it goes on where it was.
          python benchmarks/text.py --seeds 1
"""

import argparse
import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import text_classifier  # first: it silences TensorFlow's log
from common import runs
from common.text import dataset, word_vectors

import numpy as np

LABELS = (100, 500, 2000, 10_000)  # the last one stands for all


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default 3)")
    seeds = range(parser.parse_args().seeds)
    own = len(dataset.load("reviews").train)
    learn, learned, source = word_vectors.learn, {}, "both"

    def learn_once(sentences, rows, dimension, seed):
        if (source, seed) not in learned:
            parts = {"both": sentences, "docstrings": sentences[own:], "sentences": sentences[:own]}
            learned[source, seed] = learn(parts[source], rows, dimension, seed)
        return learned[source, seed]

    word_vectors.learn = learn_once
    rows = [(labels, kind, "both") for labels in LABELS for kind in ("frozen", "trained", "random")]
    rows += [(500, "frozen", "docstrings"), (500, "frozen", "sentences")]
    table = {}
    for seed in seeds:
        for labels, kind, source in rows:
            folder = runs.RUNS_DIR / "benchmark_text" / f"{labels}_{kind}_{source}_{seed}"
            argv = ["--data", "reviews", "--labels", labels, "--vectors", kind, "--seed", seed, "--out", folder]
            written = folder / "result.json"
            facts = json.loads(written.read_text()) if written.exists() else {}
            if facts.get("status") != "finished":
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.redirect_stdout(io.StringIO()):
                    facts = text_classifier.main([*map(str, argv)])
            if facts["status"] != "finished":
                return
            numbers = 100 * np.array([facts["test_accuracy"], facts["bag_of_words_accuracy"]])
            table.setdefault((labels, kind, source), []).append(numbers)
            print(f"seed {seed}, {labels} labels, {kind}, vectors from {source}: {numbers.round(1)}", flush=True)
    print("labels | vectors | learned from | network | bag of words (% right, means of the seeds)")
    for (labels, kind, source), numbers in table.items():
        print(labels, kind, source, *np.mean(numbers, axis=0).round(1), sep=" | ")


if __name__ == "__main__":
    main()
