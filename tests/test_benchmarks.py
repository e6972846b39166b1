"""The benchmarks still fit the lessons: a short run of each that has one comes to its end."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("command", [
    "commands.py --rounds 1 \"mlp_mnist.py --data digits\"", "conditional.py --quick", "gan.py --quick",
    "listing_weights.py", "regressor.py --quick", "scaling.py --quick", "speed.py --quick", "steps.py --quick",
    "tables.py --print --table 3.1", "tuning.py --quick", "vae.py --quick",
])
def test_a_short_run_comes_to_its_end(command):
    subprocess.run(f"{sys.executable} {BENCHMARKS}/{command}", shell=True, check=True, capture_output=True)
